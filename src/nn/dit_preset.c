/* dit_preset.c - `--model dit:depth=...`: a config.json for the data at hand. The default has 2.1 million parameters
 * and is for 28x28 pictures on a few cores; the paper's sizes are depth=12,width=384,heads=6 (S), 768 and 12 (B),
 * depth=24,width=1024,heads=16 (L) and depth=28,width=1152,heads=16 (XL). */
#include "nn/internal.h"

// clang-format off
const vn_param vn_dit_presets[] = {
    {"depth", "transformer blocks",                                    6,   1, 1024,  1, NULL},
    {"width", "numbers in a token; heads and 4 must divide it",        128, 4, 65536, 1, NULL},
    {"heads", "attention heads",                                       4,   1, 1024,  1, NULL},
    {"patch", "pixels on a side of a token; it must divide the image", 2,   1, 64,    1, NULL},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
// clang-format on

/* A preset's four numbers. */
typedef struct sizes {
    int64_t depth, width, heads, patch;
} sizes;

static vn_status check(const sizes *z, const vn_net_data *data, vn_err *err) {
    const long long height = data->height, width = data->width;
    if (data->rank != 3) return vn_fail(err, VN_BAD_ARGUMENT, "dit is for images; for points use mlp");
    if (z->width % z->heads)
        return vn_fail(err, VN_BAD_ARGUMENT, "dit: width=%lld is not divisible by heads=%lld", (long long)z->width,
                       (long long)z->heads);
    if (z->width % 4)
        return vn_fail(err, VN_BAD_ARGUMENT, "dit: width=%lld is not divisible by 4", (long long)z->width);
    if (height % z->patch || width % z->patch)
        return vn_fail(err, VN_BAD_ARGUMENT, "dit: images of %lld x %lld are not divisible by patch=%lld", height,
                       width, (long long)z->patch);
    if (height != width)
        return vn_fail(err, VN_BAD_ARGUMENT, "dit is for square images, these are %lld x %lld; use unet2d", height,
                       width);
    return VN_OK;
}

json_t *vn_dit_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    const sizes z = {.depth = (int64_t)vn_preset(preset, "depth", NULL),
                     .width = (int64_t)vn_preset(preset, "width", NULL),
                     .heads = (int64_t)vn_preset(preset, "heads", NULL),
                     .patch = (int64_t)vn_preset(preset, "patch", NULL)};
    if (check(&z, data, err) != VN_OK) return NULL;
    json_t *c = json_object();
    int bad = json_object_set_new(c, "_class_name", json_string("DiTTransformer2DModel"));
    bad |= json_object_set_new(c, "_diffusers_version", json_string("0.42.1"));
    bad |= json_object_set_new(c, "num_attention_heads", json_integer(z.heads));
    bad |= json_object_set_new(c, "attention_head_dim", json_integer(z.width / z.heads));
    bad |= json_object_set_new(c, "in_channels", json_integer(data->channels));
    bad |= json_object_set_new(c, "out_channels", json_integer((data->learns_variance ? 2 : 1) * data->channels));
    bad |= json_object_set_new(c, "num_layers", json_integer(z.depth));
    bad |= json_object_set_new(c, "dropout", json_real(data->dropout < 0 ? 0 : data->dropout));
    bad |= json_object_set_new(c, "sample_size", json_integer(data->height));
    bad |= json_object_set_new(c, "patch_size", json_integer(z.patch));
    // diffusers adds the null row itself
    bad |= json_object_set_new(c, "num_embeds_ada_norm", json_integer(data->labels ? data->labels - 1 : 0));
    return vn_config_done(c, bad, err);
}
