/* mlp.c - a denoiser for points in a few dimensions: pre-normed residual layers with SiLU, to which
 * sinusoids of the time and a class embedding are added as in a U-Net's residual blocks. Config
 * class "VaneMLP", vane's own. */
#include "nn/internal.h"

static const char net_name[] = "mlp";

typedef struct mlp {
    int64_t dimension, width, layers, time_features, num_class_embeds;
    double dropout;
    bool learns_variance; /* the output is twice as wide */
    bool takes_step_end, takes_guidance;
    double time_scale; /* of the time before its sinusoids; 0: the usual */
} mlp;

static const mlp defaults = {.dimension = 2, .width = 128, .layers = 4, .time_features = 64};

#define KEY(kind, member) VN_CONFIG_KEY(mlp, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key                null   min  max    choices  null is */
    {KEY(INT, dimension),        false, 1,   65536, NULL,    0},
    {KEY(INT, width),            false, 1,   65536, NULL,    0},
    {KEY(INT, layers),           false, 0,   64,    NULL,    0},
    {KEY(INT, time_features),    false, 2,   65536, NULL,    0},
    {KEY(INT, num_class_embeds), true,  1,   1e8,   NULL,    0},
    {KEY(NUMBER, dropout),       false, 0,   0.999, NULL,    0},
    {KEY(BOOL, learns_variance), false, 0,   0,     NULL,    0},
    VN_EXTRA_FIELDS(mlp),
};

static const vn_param presets[] = {
    {"width",    "units of a layer",             128, 1, 65536, 1, NULL},
    {"layers",   "residual layers",              4,   0, 64,    1, NULL},
    {"features", "sinusoids of the time",        64,  2, 65536, 1, NULL},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

static json_t *new_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    if (vn_shape_is_image(&data->sample)) {
        vn_fail(err, VN_BAD_ARGUMENT, "mlp is for points; for images use unet2d");
        return NULL;
    }
    const mlp m = {.dimension = data->sample.dim[0],
                   .width = (int64_t)vn_preset(preset, "width", NULL),
                   .layers = (int64_t)vn_preset(preset, "layers", NULL),
                   .time_features = (int64_t)vn_preset(preset, "features", NULL),
                   .num_class_embeds = data->labels,
                   .dropout = data->dropout < 0 ? 0 : data->dropout,
                   .learns_variance = data->learns_variance,
                   .takes_step_end = data->step_end,
                   .takes_guidance = data->guidance,
                   .time_scale = vn_extras_time_scale(data)};
    const size_t keys = VN_COUNT(fields) - vn_extras_left_out(data);
    return vn_config_write(vn_mlp_net.class_name, false, fields, keys, &m, err);
}

static vn_status open_mlp(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    mlp *m = vn_calloc(1, sizeof *m);
    if (!m) return vn_no_memory(err);
    *m = defaults;
    vn_status status = vn_config_read(config, net_name, fields, VN_COUNT(fields), m, err);
    if (status) {
        vn_free(m);
        return status;
    }
    *io = (vn_net_io){.multiple = 1, .null_row = m->num_class_embeds > 0};
    vn_net_add_sample(io, false, m->dimension);
    vn_net_add_time(io, 0);
    vn_net_add_labels(io, m->num_class_embeds);
    vn_net_add_extras(io, m->takes_step_end, m->takes_guidance);
    vn_net_add_denoised(io, (m->learns_variance ? 2 : 1) * m->dimension);
    io->time = (vn_net_time){.layer = "time_embedding.linear_1",
                             .width = m->time_features,
                             .flip = true,
                             .scale = vn_time_scale(m->takes_step_end, m->time_scale)};
    *self = m;
    return VN_OK;
}

#define NORM_EPS 1e-5

vn_node *vn_mlp_trunk(const vn_scope *s, vn_node *x, const vn_time *time, int64_t in, int64_t width,
                      int64_t layers, double dropout) {
    x = vn_layer_linear(s, "input", x, in, width);
    for (int i = 0; i < layers; i++) {
        vn_scope at = vn_scope_in(s, "layers.%d", i);
        vn_node *h = vn_layer_group_norm(&at, "norm", x, width, 1, NORM_EPS, VN_FN_SILU);
        h = vn_layer_linear(&at, "linear_1", h, width, width);
        if (time->active)
            h = vn_add(s->g, h,
                       vn_layer_linear(&at, "time_proj", time->active, time->width, width));
        h = vn_layer_dropout(&at, vn_unary(s->g, h, VN_FN_SILU), dropout);
        x = vn_block_end(vn_add(s->g, x, vn_layer_linear(&at, "linear_2", h, width, width)));
    }
    return vn_layer_group_norm(s, "norm_out", x, width, 1, NORM_EPS, VN_FN_SILU);
}

static void build(const void *self, const vn_scope *s) {
    const mlp *m = self;
    vn_node *t = vn_time_sinusoids(s, vn_scope_time(s, m->time_scale), m->time_features, true, 0);
    vn_node *e = vn_time_embedding(s, "time_embedding", t, m->time_features, m->width);
    if (m->num_class_embeds)
        e = vn_add(s->g, e,
                   vn_layer_embedding(s, "class_embedding", vn_scope_input(s, "class_labels"),
                                      m->num_class_embeds, m->width));
    e = vn_add_extras(s, e, m->width);
    vn_time time = {e, vn_unary(s->g, e, VN_FN_SILU), m->width};
    vn_node *x = vn_mlp_trunk(s, vn_scope_input(s, "sample"), &time, m->dimension, m->width,
                              m->layers, m->dropout);
    const int64_t out = (m->learns_variance ? 2 : 1) * m->dimension;
    vn_scope_denoised(s, vn_layer_linear(s, "output", x, m->width, out));
}

const vn_net_row vn_mlp_net = {
    .row = {.name = net_name,
            .summary = "residual multi-layer perceptron, for points",
            .source = "vane",
            .params = presets},
    .role = VN_ROLE_DENOISER,
    .class_name = "VaneMLP",
    .folder = "model",
    .extras = true,
    .config = new_config,
    .open = open_mlp,
    .close = vn_free,
    .build = build,
};
