/* unet2d_condition_preset.c - `--model unet2d-condition:channels=...`: a config.json of Stable
 * Diffusion's kind of U-Net for the captioned images at hand, to be trained from nothing. The
 * default has 2 million weights beside those of the text encoder. */
#include "nn/unet2d_condition.h"

#define MAX_LEVELS 6.0

/* clang-format off */
const vn_param vn_unet2d_condition_presets[] = {
    {"channels", "channels of the first level",
     32, 4, 1024, 1, NULL},
    {"growth", "channels of a level over those of the one before",
     2, 1, 4, 1, NULL},
    {"levels", "sizes of the image, each half of the one before",
     3, 1, MAX_LEVELS, 1, NULL},
    {"layers", "residual blocks a level",
     1, 1, VN_UNET_MAX_LAYERS, 1, NULL},
    {"attention", "levels that attend to the text, from the smallest image up",
     2, 1, MAX_LEVELS, 1, NULL},
    {"depth", "transformer blocks where a level attends",
     1, 1, 64, 1, NULL},
    {"heads", "attention heads; they must divide the channels of levels that attend",
     4, 1, 1024, 1, NULL},
    VN_TEXT_PRESETS(4, 128),
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

static vn_config_names list_blocks(int64_t levels, int64_t attention, bool up) {
    vn_config_names list = {.count = (size_t)levels};
    for (int64_t i = 0; i < levels; i++) {
        const bool attend = up ? i < attention : i >= levels - attention;
        list.at[i] = up ? (attend ? "CrossAttnUpBlock2D" : "UpBlock2D")
                        : (attend ? "CrossAttnDownBlock2D" : "DownBlock2D");
    }
    return list;
}

static vn_status check_heads(const vn_config_ints *channels, int64_t attention, int64_t heads,
                             vn_err *err) {
    for (size_t i = channels->count - (size_t)attention; i < channels->count; i++)
        if (channels->at[i] % heads)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "unet2d-condition: level %zu has %lld channels, which heads=%lld does "
                           "not divide",
                           i + 1, (long long)channels->at[i], (long long)heads);
    return VN_OK;
}

json_t *vn_unet2d_condition_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    int64_t levels = 0, width = 0;
    if (vn_preset_text(preset, data, &width, err) != VN_OK ||
        vn_preset_levels(preset, data, &levels, err) != VN_OK)
        return NULL;
    const int64_t channels = (int64_t)vn_preset(preset, "channels", NULL),
                  growth = (int64_t)vn_preset(preset, "growth", NULL),
                  heads = (int64_t)vn_preset(preset, "heads", NULL);
    int64_t attention = (int64_t)vn_preset(preset, "attention", NULL);
    if (attention > levels) attention = levels;
    vn_unet2d_condition_keys c = vn_unet2d_condition_defaults;
    c.block_out_channels = vn_config_growing(levels, channels, growth);
    if (check_heads(&c.block_out_channels, attention, heads, err) != VN_OK) return NULL;
    c.sample_size[0] = data->sample.dim[1];
    c.sample_size[1] = data->sample.dim[2];
    c.in_channels = data->sample.dim[0];
    c.out_channels = (data->learns_variance ? 2 : 1) * data->sample.dim[0];
    c.down_block_types = list_blocks(levels, attention, false);
    c.up_block_types = list_blocks(levels, attention, true);
    c.layers_per_block.level[0].at[0] = (int64_t)vn_preset(preset, "layers", NULL);
    c.transformer_layers_per_block.level[0].at[0] = (int64_t)vn_preset(preset, "depth", NULL);
    c.attention_head_dim.level[0].at[0] = heads; /* by diffusers' name for it */
    c.cross_attention_dim.level[0].at[0] = width;
    c.norm_num_groups = vn_preset_groups(channels);
    c.dropout = data->dropout < 0 ? 0 : data->dropout;
    return vn_config_write(vn_unet2d_condition_net.class_name, true, vn_unet2d_condition_fields,
                           vn_unet2d_condition_field_count, &c, err);
}
