/* dit_preset.c - `--model dit:depth=...`: a config.json for the data at hand. The default has 2.1
 * million parameters and is for 28x28 pictures on a few cores; the paper's sizes are
 * depth=12,width=384,heads=6 (S), 768 and 12 (B), depth=24,width=1024,heads=16 (L) and
 * depth=28,width=1152,heads=16 (XL). With options that diffusers' class lacks, the config is of
 * vane's own class. */
#include "nn/internal.h"

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
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

/* In the order of the choices above. */
static const char *const activations[] = {
    "gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu"};
enum { GELU_APPROXIMATE = 1 };
static const char *const norms[] = {"layer_norm", "rms_norm"};
enum { LAYER, NONE = VN_COUNT(norms) };

typedef struct sizes {
    int64_t depth, width, heads, patch;
    size_t mlp, norm, qk_norm;
    int64_t rope, registers;
} sizes;

static sizes read_sizes(const vn_choice *preset) {
    return (sizes){.depth = (int64_t)vn_preset(preset, "depth", NULL),
                   .width = (int64_t)vn_preset(preset, "width", NULL),
                   .heads = (int64_t)vn_preset(preset, "heads", NULL),
                   .patch = (int64_t)vn_preset(preset, "patch", NULL),
                   .mlp = (size_t)vn_preset(preset, "mlp", NULL),
                   .norm = (size_t)vn_preset(preset, "norm", NULL),
                   .qk_norm = (size_t)vn_preset(preset, "qk_norm", NULL),
                   .rope = (int64_t)vn_preset(preset, "rope", NULL),
                   .registers = (int64_t)vn_preset(preset, "registers", NULL)};
}

static bool is_own(const sizes *z) {
    return z->norm != LAYER || z->qk_norm != NONE || z->rope || z->registers;
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
    if (z->rope && (z->width / z->heads % 4 || z->width / z->heads > VN_ROPE_MOST))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "dit: width=%lld and heads=%lld make heads of %lld numbers; rope needs a "
                       "multiple of 4, up to %d",
                       (long long)z->width, (long long)z->heads, (long long)(z->width / z->heads),
                       VN_ROPE_MOST);
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

/* Sets the keys that only vane's own class has. */
static int set_own(json_t *c, const sizes *z) {
    int bad = json_object_set_new(c, "block_norm", json_string(norms[z->norm]));
    bad |= json_object_set_new(c, "qk_norm",
                               z->qk_norm == NONE ? json_null() : json_string(norms[z->qk_norm]));
    bad |= json_object_set_new(c, "rope_theta", z->rope ? json_integer(z->rope) : json_null());
    bad |= json_object_set_new(c, "num_register_tokens", json_integer(z->registers));
    return bad;
}

json_t *vn_dit_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    const sizes z = read_sizes(preset);
    if (check(&z, data, err) != VN_OK) return NULL;
    const bool own = is_own(&z);
    json_t *c = json_object();
    int bad = json_object_set_new(c, "_class_name",
                                  json_string(own ? VN_DIT_OWN_CLASS : "DiTTransformer2DModel"));
    if (!own) bad |= json_object_set_new(c, "_diffusers_version", json_string("0.42.1"));
    bad |= json_object_set_new(c, "num_attention_heads", json_integer(z.heads));
    bad |= json_object_set_new(c, "attention_head_dim", json_integer(z.width / z.heads));
    bad |= json_object_set_new(c, "in_channels", json_integer(data->sample.dim[0]));
    bad |= json_object_set_new(c, "out_channels",
                               json_integer((data->learns_variance ? 2 : 1) * data->sample.dim[0]));
    bad |= json_object_set_new(c, "num_layers", json_integer(z.depth));
    bad |= json_object_set_new(c, "dropout", json_real(data->dropout < 0 ? 0 : data->dropout));
    bad |= json_object_set_new(c, "sample_size", json_integer(data->sample.dim[1]));
    bad |= json_object_set_new(c, "patch_size", json_integer(z.patch));
    if (z.mlp != GELU_APPROXIMATE)
        bad |= json_object_set_new(c, "activation_fn", json_string(activations[z.mlp]));
    /* diffusers adds the null row itself */
    bad |= json_object_set_new(c, "num_embeds_ada_norm",
                               json_integer(data->labels ? data->labels - 1 : 0));
    if (own) bad |= set_own(c, &z);
    return vn_config_done(c, bad, err);
}
