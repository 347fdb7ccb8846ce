/* classifier.c - p(class | x) as logits [N,K]: a small residual network for images, or residual
 * layers for points. With the time as an input it classifies noisy samples, which classifier
 * guidance needs; without it, it classifies finished samples, for evaluation. Config class
 * "VaneClassifier", vane's own. */
#include "nn/internal.h"

static const char net_name[] = "classifier";

enum { INPUT_IMAGE, INPUT_POINTS };
static const char *const inputs[] = {"image", "points", NULL};

typedef struct classifier {
    int64_t input, in_channels, sample_size[2], num_classes;
    vn_config_ints block_out_channels; /* points: one entry, the width */
    int64_t layers_per_block, norm_num_groups;
    double dropout;
    bool time; /* whether it takes one */
} classifier;

static const classifier defaults = {.in_channels = 3,
                                    .num_classes = 10,
                                    .block_out_channels = {3, {32, 64, 128}},
                                    .layers_per_block = 1,
                                    .norm_num_groups = 8,
                                    .time = true};

#define KEY(kind, member) VN_CONFIG_KEY(classifier, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key                   null   min  max    choices  null is */
    {KEY(CHOICE, input),            false, 0,   0,     inputs,  0},
    {KEY(INT, in_channels),         false, 1,   65536, NULL,    0},
    {KEY(SIZE, sample_size),        true,  1,   65536, NULL,    0},
    {KEY(INT, num_classes),         false, 1,   1e7,   NULL,    0},
    {KEY(INTS, block_out_channels), false, 1,   65536, NULL,    0},
    {KEY(INT, layers_per_block),    false, 0,   64,    NULL,    0},
    {KEY(INT, norm_num_groups),     false, 1,   65536, NULL,    0},
    {KEY(NUMBER, dropout),          false, 0,   0.999, NULL,    0},
    {KEY(BOOL, time),               true,  0,   0,     NULL,    0},
};

static const vn_param presets[] = {
    {"channels", "channels of the first level, doubled in each; points: units",
     32, 4, 4096, 1, NULL},
    {"levels", "sizes of the image, each half of the one before",
     3, 1, 8, 1, NULL},
    {"layers", "residual blocks a level",
     1, 0, 64, 1, NULL},
    {"time", "whether it takes the noise level of its input",
     1, 0, 1, 1, "no|yes"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

static json_t *new_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    bool image = vn_shape_is_image(&data->sample);
    int64_t channels = (int64_t)vn_preset(preset, "channels", NULL), groups = 8;
    int64_t levels = image ? (int64_t)vn_preset(preset, "levels", NULL) : 1;
    while (channels % groups) groups--;
    if (data->labels < 2) {
        vn_fail(err, VN_BAD_ARGUMENT, "classifier needs data with labels");
        return NULL;
    }
    const classifier c = {
        .input = image ? INPUT_IMAGE : INPUT_POINTS,
        .in_channels = data->sample.dim[0],
        .sample_size = {image ? data->sample.dim[1] : 0, image ? data->sample.dim[2] : 0},
        .num_classes = data->labels - 1, /* the null row is not a class */
        .block_out_channels = vn_config_growing(levels, channels, 2),
        .layers_per_block = (int64_t)vn_preset(preset, "layers", NULL),
        .norm_num_groups = groups,
        .dropout = data->dropout < 0 ? 0 : data->dropout,
        .time = vn_preset(preset, "time", NULL) != 0};
    return vn_config_write(vn_classifier_net.class_name, false, fields, VN_COUNT(fields), &c, err);
}

static vn_status open_classifier(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    classifier *c = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    *c = defaults;
    vn_status status = vn_config_read(config, net_name, fields, VN_COUNT(fields), c, err);
    if (!status && c->input == INPUT_POINTS && c->block_out_channels.count != 1)
        status =
            vn_fail(err, VN_BAD_FILE,
                    "classifier: block_out_channels must have one entry where input is \"points\"");
    if (status) {
        vn_free(c);
        return status;
    }
    *io = (vn_net_io){.height = c->sample_size[0], .width = c->sample_size[1], .multiple = 1};
    vn_net_takes_sample(io, c->input == INPUT_IMAGE, c->in_channels);
    if (c->time) vn_net_takes_time(io, 0);
    vn_net_gives(io, vn_port_of_sample("logits", false, c->num_classes));
    *self = c;
    return VN_OK;
}

#define NORM_EPS 1e-5

static vn_node *image_trunk(const vn_scope *s, const classifier *c, vn_node *x,
                            const vn_time *time) {
    const int64_t *channels = c->block_out_channels.at;
    x = vn_layer_conv3(s, "conv_in", x, c->in_channels, channels[0]);
    for (size_t i = 0; i < c->block_out_channels.count; i++) {
        vn_scope level = vn_scope_in(s, "levels.%zu", i);
        if (i > 0)
            x = vn_layer_conv(&level, "downsample", x,
                              (vn_conv){channels[i - 1], channels[i], 3, 2, {1, 1, 1, 1}, true});
        for (int j = 0; j < c->layers_per_block; j++) {
            vn_scope at = vn_scope_in(&level, "resnets.%d", j);
            vn_resnet r = {.in = channels[i],
                           .out = channels[i],
                           .groups_in = c->norm_num_groups,
                           .groups_out = c->norm_num_groups,
                           .eps = NORM_EPS,
                           .dropout = c->dropout,
                           .act = VN_FN_SILU,
                           .output_scale = 1};
            x = vn_resnet_block(&at, x, time, &r);
        }
    }
    int64_t last = channels[c->block_out_channels.count - 1];
    return vn_spatial_mean(
        s, vn_layer_group_norm(s, "norm_out", x, last, c->norm_num_groups, NORM_EPS, VN_FN_SILU));
}

static void build(const void *self, const vn_scope *s) {
    const classifier *c = self;
    int64_t width = c->block_out_channels.at[0];
    vn_time time = {.width = 4 * width};
    if (c->time) {
        vn_node *t = vn_time_sinusoids(s, vn_scope_input(s, "timestep"), width, true, 0);
        time.raw = vn_time_embedding(s, "time_embedding", t, width, time.width);
        time.active = vn_unary(s->g, time.raw, VN_FN_SILU);
    }
    const bool points = c->input == INPUT_POINTS;
    vn_node *x = vn_scope_input(s, "sample");
    x = points ? vn_mlp_trunk(s, x, &time, c->in_channels, width, c->layers_per_block, c->dropout)
               : image_trunk(s, c, x, &time);
    const int64_t last = c->block_out_channels.at[c->block_out_channels.count - 1];
    vn_scope_output(s, "logits", vn_layer_linear(s, "head", x, last, c->num_classes));
}

const vn_net_row vn_classifier_net = {
    .row = {.name = net_name,
            .summary = "classifier of images or points, clean or noisy at a known time",
            .source = "arXiv 1512.03385, 2105.05233",
            .params = presets},
    .role = VN_ROLE_CLASSIFIER,
    .class_name = "VaneClassifier",
    .folder = "classifier",
    .config = new_config,
    .open = open_classifier,
    .close = vn_free,
    .build = build,
};
