/* features.c - a small convolutional network whose means over pixels describe an image: at each
 * level a convolution and ReLU, from the second on with stride 2, and the mean of every channel of
 * every level. With random weights (He 1502.01852) such features already order images as a
 * trained network's do, and need nothing (2604.22379 trains with them); with weights of the user's
 * it is the network that samples are compared by. Config class "VaneFeatures", vane's own. */
#include "nn/internal.h"

static const char net_name[] = "features";

typedef struct features {
    int64_t in_channels, sample_size[2];
    vn_config_ints block_out_channels;
} features;

static const features defaults = {.in_channels = 3, .block_out_channels = {3, {16, 32, 64}}};

#define KEY(kind, member) VN_CONFIG_KEY(features, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key                   null   min  max    choices  null is */
    {KEY(INT, in_channels),         false, 1,   65536, NULL,    0},
    {KEY(SIZE, sample_size),        true,  1,   65536, NULL,    0},
    {KEY(INTS, block_out_channels), false, 1,   65536, NULL,    0},
};

static const vn_param presets[] = {
    {"channels", "channels of the first level, doubled in each", 16, 1, 4096, VN_PARAM_WHOLE, NULL},
    {"levels", "convolutions, from the second on of stride 2",   3,  1, 8,    VN_PARAM_WHOLE, NULL},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

static json_t *new_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    if (!vn_shape_is_image(&data->sample)) {
        vn_fail(err, VN_BAD_ARGUMENT, "features are of images; points are compared as they are");
        return NULL;
    }
    const features f = {.in_channels = data->sample.dim[0],
                        .sample_size = {data->sample.dim[1], data->sample.dim[2]},
                        .block_out_channels =
                            vn_config_growing((int64_t)vn_preset(preset, "levels", NULL),
                                              (int64_t)vn_preset(preset, "channels", NULL), 2)};
    return vn_config_write(vn_features_net.class_name, false, fields, VN_COUNT(fields), &f, err);
}

static vn_status open_features(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    features *f = vn_calloc(1, sizeof *f);
    if (!f) return vn_no_memory(err);
    *f = defaults;
    const vn_status status = vn_config_read(config, net_name, fields, VN_COUNT(fields), f, err);
    if (status) {
        vn_free(f);
        return status;
    }
    int64_t width = 0;
    for (size_t i = 0; i < f->block_out_channels.count; i++) width += f->block_out_channels.at[i];
    *io = (vn_net_io){.height = f->sample_size[0], .width = f->sample_size[1], .multiple = 1};
    vn_net_add_sample(io, true, f->in_channels);
    vn_net_add_output(io, vn_port_of_sample("features", false, width));
    vn_net_add_maps(io, &f->block_out_channels);
    *self = f;
    return VN_OK;
}

static void build(const void *self, const vn_scope *s) {
    const features *f = self;
    vn_node *x = vn_scope_input(s, "sample"), *means[VN_CONFIG_MAX_LIST] = {NULL};
    const size_t levels = f->block_out_channels.count;
    for (size_t i = 0; i < levels; i++) {
        vn_scope at = vn_scope_in(s, "levels.%zu", i);
        at.init = VN_LAYER_INIT_HE;
        const vn_conv conv = {.in = i ? f->block_out_channels.at[i - 1] : f->in_channels,
                              .out = f->block_out_channels.at[i],
                              .kernel = 3,
                              .stride = i ? 2 : 1,
                              .pad = {1, 1, 1, 1},
                              .bias = true};
        x = vn_unary(s->g, vn_layer_conv(&at, "conv", x, conv), VN_FN_RELU);
        vn_scope_map(s, i, x);
        means[i] = vn_spatial_mean(&at, x);
    }
    vn_scope_output(s, "features", levels > 1 ? vn_concat(s->g, 1, (int)levels, means) : means[0]);
}

const vn_net_row vn_features_net = {
    .row = {.name = net_name,
            .summary = "means of a few convolutions, for comparing images",
            .source = "arXiv 1502.01852, 2604.22379",
            .params = presets},
    .role = VN_ROLE_FEATURES,
    .class_name = "VaneFeatures",
    .folder = "features",
    .config = new_config,
    .open = open_features,
    .close = vn_free,
    .build = build,
};
