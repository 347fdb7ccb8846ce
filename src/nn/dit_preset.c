/* dit_preset.c - `--model dit:depth=...`: a config.json for the data at hand. The default has 2.1
 * million parameters and is for 28x28 pictures on a few cores; the paper's sizes are
 * depth=12,width=384,heads=6 (S), 768 and 12 (B), depth=24,width=1024,heads=16 (L) and
 * depth=28,width=1152,heads=16 (XL). With options that diffusers' class lacks, the config is of
 * vane's own class. */
#include "nn/dit.h"
#include "nn/transformer.h"

/* clang-format off */
const vn_param vn_dit_presets[] = {
    {"depth", "transformer blocks",
     6, 1, 1024, 1, NULL},
    {"width", "numbers in a token; heads and 4 must divide it",
     128, 4, 65536, 1, NULL},
    {"heads", "attention heads",
     4, 1, 1024, 1, NULL},
    {"patch", "pixels on a side of a token; it must divide the image",
     2, 1, 64, 1, NULL},
    {"mlp", "what a block's hidden layer does; geglu and swiglu have half more weights",
     1, 0, 5, 1, "gelu|gelu-approximate|geglu|geglu-approximate|swiglu|linear-silu"},
    {"norm", "of the tokens",
     0, 0, 1, 1, "layer|rms"},
    {"qk_norm", "of each head's queries and keys",
     2, 0, 2, 1, "layer|rms|none"},
    {"rope", "base of rotary positions of queries and keys, often 10000; 0: none",
     0, 0, 1e9, 1, NULL},
    {"registers", "learned tokens that go with those of the image",
     0, 0, 1024, 1, NULL},
    {"internal", "a second answer after so many blocks, for the guide ig; 0: none",
     0, 0, 1023, 1, NULL},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

typedef struct sizes {
    int64_t depth, width, heads, patch;
    int64_t mlp, norm, qk_norm, rope, registers; /* choices as in the config's own lists */
} sizes;

static sizes read_sizes(const vn_choice *preset) {
    return (sizes){.depth = (int64_t)vn_preset(preset, "depth", NULL),
                   .width = (int64_t)vn_preset(preset, "width", NULL),
                   .heads = (int64_t)vn_preset(preset, "heads", NULL),
                   .patch = (int64_t)vn_preset(preset, "patch", NULL),
                   .mlp = (int64_t)vn_preset(preset, "mlp", NULL),
                   .norm = (int64_t)vn_preset(preset, "norm", NULL),
                   .qk_norm = (int64_t)vn_preset(preset, "qk_norm", NULL),
                   .rope = (int64_t)vn_preset(preset, "rope", NULL),
                   .registers = (int64_t)vn_preset(preset, "registers", NULL)};
}

static bool is_own(const sizes *z) {
    return z->norm != VN_NORM_LAYER || z->qk_norm != VN_NORM_NONE || z->rope || z->registers;
}

static vn_status check(const sizes *z, const vn_net_data *data, vn_err *err) {
    const long long height = data->sample.dim[1], width = data->sample.dim[2];
    if (!vn_shape_is_image(&data->sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "dit is for images; for points use mlp");
    if (z->width % z->heads)
        return vn_fail(err, VN_BAD_ARGUMENT, "dit: width=%lld is not divisible by heads=%lld",
                       (long long)z->width, (long long)z->heads);
    if (z->width % 4)
        return vn_fail(err, VN_BAD_ARGUMENT, "dit: width=%lld is not divisible by 4",
                       (long long)z->width);
    if (z->rope && (z->width / z->heads % 4 || z->width / z->heads > VN_ROPE_MAX_HEAD))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "dit: width=%lld and heads=%lld make heads of %lld numbers; rope needs a "
                       "multiple of 4, up to %d",
                       (long long)z->width, (long long)z->heads, (long long)(z->width / z->heads),
                       VN_ROPE_MAX_HEAD);
    if (height % z->patch || width % z->patch)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "dit: images of %lld x %lld are not divisible by patch=%lld", height, width,
                       (long long)z->patch);
    if (height != width)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "dit is for square images, these are %lld x %lld; use unet2d", height,
                       width);
    return VN_OK;
}

json_t *vn_dit_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    const sizes z = read_sizes(preset);
    const int64_t internal = (int64_t)vn_preset(preset, "internal", NULL);
    if (check(&z, data, err) != VN_OK) return NULL;
    if (internal >= z.depth) {
        vn_fail(err, VN_BAD_ARGUMENT, "dit: internal=%lld of depth=%lld: it has to be less",
                (long long)internal, (long long)z.depth);
        return NULL;
    }
    const size_t unsaid = vn_extras_left_out(data);
    const bool own = is_own(&z) || unsaid < VN_EXTRAS;
    vn_dit_keys c = vn_dit_defaults;
    c.num_attention_heads = z.heads;
    c.attention_head_dim = z.width / z.heads;
    c.in_channels = data->sample.dim[0];
    c.out_channels = (data->learns_variance ? 2 : 1) * data->sample.dim[0];
    c.num_layers = z.depth;
    c.dropout = data->dropout < 0 ? 0 : data->dropout;
    c.sample_size = data->sample.dim[1];
    c.patch_size = z.patch;
    c.activation_fn = z.mlp;
    /* diffusers adds the null row itself */
    c.num_embeds_ada_norm = data->labels ? data->labels - 1 : 0;
    c.block_norm = z.norm;
    c.qk_norm = z.qk_norm;
    c.rope_theta = (double)z.rope;
    c.num_register_tokens = z.registers;
    c.internal_head = internal;
    c.takes_step_end = data->step_end;
    c.takes_guidance = data->guidance;
    c.time_scale = vn_extras_time_scale(data);
    const size_t keys = vn_dit_field_count - (own ? unsaid : VN_DIT_OWN_FIELDS);
    json_t *config = vn_config_write(own ? VN_DIT_OWN_CLASS : vn_dit_net.class_name, !own,
                                     vn_dit_fields, keys, &c, err);
    if (config && !internal) json_object_del(config, VN_INTERNAL_HEAD);
    return config;
}
