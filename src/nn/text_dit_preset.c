/* text_dit_preset.c - `--model text-dit:depth=...`: a config.json for the captioned images at hand,
 * and that of the text encoder which is trained with it. The default has one and a half million
 * weights, encoder included, and is for pictures of 32 to 64 pixels on a few cores. */
#include "nn/text_dit.h"

/* clang-format off */
const vn_param vn_text_dit_presets[] = {
    {"depth", "transformer blocks",
     4, 1, 1024, 1, NULL},
    {"width", "numbers in a token; heads and 4 must divide it",
     96, 4, 65536, 1, NULL},
    {"heads", "attention heads",
     4, 1, 1024, 1, NULL},
    {"patch", "pixels on a side of a token; it must divide the image",
     4, 1, 64, 1, NULL},
    VN_TEXT_PRESETS(2, 64),
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

static vn_status check(const vn_text_dit_keys *k, int64_t width, const vn_net_data *data,
                       vn_err *err) {
    if (width % k->num_attention_heads || width % 4)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "text-dit: width=%lld is not divisible by heads=%lld and by 4",
                       (long long)width, (long long)k->num_attention_heads);
    if (data->sample.dim[1] % k->patch_size || data->sample.dim[2] % k->patch_size)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "text-dit: images of %lld x %lld are not divisible by patch=%lld",
                       (long long)data->sample.dim[1], (long long)data->sample.dim[2],
                       (long long)k->patch_size);
    return VN_OK;
}

json_t *vn_text_dit_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    const int64_t width = (int64_t)vn_preset(preset, "width", NULL);
    vn_text_dit_keys k = vn_text_dit_defaults;
    k.num_attention_heads = (int64_t)vn_preset(preset, "heads", NULL);
    k.attention_head_dim = width / k.num_attention_heads;
    k.num_layers = (int64_t)vn_preset(preset, "depth", NULL);
    k.patch_size = (int64_t)vn_preset(preset, "patch", NULL);
    if (vn_preset_text(preset, data, &k.joint_attention_dim, err) != VN_OK) return NULL;
    if (check(&k, width, data, err) != VN_OK) return NULL;
    k.in_channels = data->sample.dim[0];
    k.out_channels = (data->learns_variance ? 2 : 1) * data->sample.dim[0];
    k.dropout = data->dropout < 0 ? 0 : data->dropout;
    k.sample_size[0] = data->sample.dim[1];
    k.sample_size[1] = data->sample.dim[2];
    return vn_config_write(vn_text_dit_net.class_name, false, vn_text_dit_fields,
                           vn_text_dit_field_count, &k, err);
}
