/* unet2d_preset.c - `--model unet2d:channels=...`: a config.json for the data at hand. The default
 * is small on purpose: 0.69 million parameters learn 28x28 pictures in five minutes on two cores;
 * channels=32,layers=2,attention=2 is four times the work, and what colours get by default where
 * there is time for it (api/train_defaults.c). */
#include "nn/unet2d.h"

#define MAX_LEVELS 6.0

/* clang-format off */
const vn_param vn_unet2d_presets[] = {
    {"channels", "channels of the first level",
     16, 4, 1024, 1, NULL},
    {"growth", "channels of a level over those of the one before",
     2, 1, 4, 1, NULL},
    {"levels", "sizes of the image, each half of the one before",
     3, 1, MAX_LEVELS, 1, NULL},
    {"layers", "residual blocks a level",
     1, 1, VN_UNET_MAX_LAYERS, 1, NULL},
    {"attention", "levels with attention, from the smallest image up; 0: none",
     1, 0, MAX_LEVELS, 1, NULL},
    {"head_dim", "channels of an attention head; 0: one head",
     0, 0, 1024, 1, NULL},
    {"shift", "how the time enters: added, or as scale and shift",
     1, 0, 1, 1, "default|scale_shift"},
    {"internal", "a second answer before the last residual blocks, after so many; for the guide ig",
     0, 0, VN_UNET_MAX_LAYERS, 1, NULL},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

/* Largest divisor of `channels` that leaves at least four channels a group, 32 at most, as the DDPM
 * U-Net has. */
int64_t vn_preset_groups(int64_t channels) {
    int64_t groups = vn_unet_default_groups(channels);
    while (groups > 1 && channels % groups) groups--;
    return groups < 1 ? 1 : groups;
}

/* How many levels the data allows: an image must halve evenly from each to the next. */
vn_status vn_preset_levels(const vn_choice *preset, const vn_net_data *data, int64_t *levels,
                           vn_err *err) {
    bool given = false;
    *levels = (int64_t)vn_preset(preset, "levels", &given);
    int64_t possible = 1;
    while (possible < *levels && data->sample.dim[1] % (1 << possible) == 0 &&
           data->sample.dim[2] % (1 << possible) == 0)
        possible++;
    if (possible < *levels && given)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "%s: levels=%lld needs sides divisible by %d; %lld x %lld images allow levels=%lld",
            preset->row->name, (long long)*levels, 1 << (*levels - 1),
            (long long)data->sample.dim[1], (long long)data->sample.dim[2], (long long)possible);
    *levels = possible;
    return VN_OK;
}

static vn_config_names list_blocks(int64_t levels, int64_t attention, bool up) {
    vn_config_names list = {.count = (size_t)levels};
    for (int64_t i = 0; i < levels; i++) {
        bool attend = up ? i < attention : i >= levels - attention;
        list.at[i] = up ? (attend ? "AttnUpBlock2D" : "UpBlock2D")
                        : (attend ? "AttnDownBlock2D" : "DownBlock2D");
    }
    return list;
}

json_t *vn_unet2d_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    if (!vn_shape_is_image(&data->sample)) {
        vn_fail(err, VN_BAD_ARGUMENT, "unet2d is for images; for points use mlp");
        return NULL;
    }
    int64_t levels = 0;
    if (vn_preset_levels(preset, data, &levels, err) != VN_OK) return NULL;
    int64_t channels = (int64_t)vn_preset(preset, "channels", NULL);
    int64_t growth = (int64_t)vn_preset(preset, "growth", NULL);
    int64_t layers = (int64_t)vn_preset(preset, "layers", NULL);
    int64_t head_dim = (int64_t)vn_preset(preset, "head_dim", NULL);
    int64_t attention = (int64_t)vn_preset(preset, "attention", NULL);
    if (attention > levels) attention = levels;
    const int64_t internal = (int64_t)vn_preset(preset, "internal", NULL);
    if (internal > layers) {
        vn_fail(err, VN_BAD_ARGUMENT,
                "unet2d: internal=%lld: the last level has layers + 1 = %lld residual blocks, and "
                "it has to be less",
                (long long)internal, (long long)layers + 1);
        return NULL;
    }

    vn_unet2d_keys c = vn_unet2d_defaults;
    c.sample_size[0] = data->sample.dim[1];
    c.sample_size[1] = data->sample.dim[2];
    c.in_channels = data->sample.dim[0];
    c.out_channels = (data->learns_variance ? 2 : 1) * data->sample.dim[0];
    c.down_block_types = list_blocks(levels, attention, false);
    c.up_block_types = list_blocks(levels, attention, true);
    c.block_out_channels = vn_config_growing(levels, channels, growth);
    c.layers_per_block = layers;
    c.add_attention = attention > 0;
    c.attention_head_dim = head_dim;
    c.norm_num_groups = vn_preset_groups(channels);
    c.resnet_time_scale_shift =
        vn_preset(preset, "shift", NULL) == 0 ? VN_UNET2D_SHIFT_DEFAULT : VN_UNET2D_SHIFT_SCALE;
    c.dropout = data->dropout < 0 ? 0 : data->dropout;
    c.num_class_embeds = data->labels;
    c.internal_head = internal;
    c.takes_step_end = data->step_end;
    c.takes_guidance = data->guidance;
    c.time_scale = vn_extras_time_scale(data);
    const size_t unsaid = vn_extras_left_out(data);
    const bool own = unsaid < VN_EXTRAS;
    json_t *config = vn_config_write(own ? VN_UNET2D_OWN_CLASS : vn_unet2d_net.class_name, !own,
                                     vn_unet2d_fields, vn_unet2d_field_count - unsaid, &c, err);
    if (config && !internal) json_object_del(config, VN_INTERNAL_HEAD);
    return config;
}
