/* discriminator.c - the discriminator of patches that autoencoders are trained against (PatchGAN,
 * 1611.07004; of autoencoders 2012.09841): one number for each place that says how real the pixels
 * around it are. Convolutions of 4x4 pixels with stride 2, whose channels double up to eight times
 * the first, one with stride 1, and one that answers; LeakyReLU of slope 0.2 between them. Where
 * the papers normalise over a batch, this normalises groups of channels of a sample, so that what
 * it says of one picture does not depend on others, and a step not on how its batch is split. It is
 * in no table: training alone has it. Config class "VaneDiscriminator", vane's own. */
#include "nn/internal.h"

enum { MOST_LAYERS = 6, USUAL_LAYERS = 3, USUAL_PATCHES = 4 };
#define SLOPE 0.2
#define EPS   1e-5

typedef struct discriminator {
    int64_t in_channels, sample_size[2], channels, layers;
} discriminator;

static const discriminator defaults = {
    .in_channels = 3, .sample_size = {64, 64}, .channels = 64, .layers = USUAL_LAYERS};

#define KEY(kind, member) VN_CONFIG_KEY(discriminator, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key             null   min  max          choices  null is */
    {KEY(INT, in_channels),   false, 1,   65536,       NULL,    0},
    {KEY(SIZE, sample_size),  false, 1,   65536,       NULL,    0},
    {KEY(INT, channels),      false, 1,   4096,        NULL,    0},
    {KEY(INT, layers),        false, 1,   MOST_LAYERS, NULL,    0},
};
/* clang-format on */

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Patches along a side: each layer halves it, and the last two take a pixel each. */
static int64_t patches_of(int64_t side, int64_t layers) {
    return (side >> layers) - 2;
}

static int64_t shorter(const int64_t size[2]) {
    return size[0] < size[1] ? size[0] : size[1];
}

static vn_status check(const discriminator *d, vn_err *err) {
    if (patches_of(shorter(d->sample_size), d->layers) >= 1) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the discriminator: %lld layers (disc_layers) leave nothing of pictures of "
                   "%lldx%lld",
                   (long long)d->layers, (long long)d->sample_size[1],
                   (long long)d->sample_size[0]);
}

json_t *vn_discriminator_config(const vn_shape *sample, int64_t channels, int64_t layers,
                                vn_err *err) {
    discriminator d = {.in_channels = sample->dim[0],
                       .sample_size = {sample->dim[1], sample->dim[2]},
                       .channels = channels,
                       .layers = layers ? layers : USUAL_LAYERS};
    while (!layers && d.layers > 1 && patches_of(shorter(d.sample_size), d.layers) < USUAL_PATCHES)
        d.layers--;
    if (check(&d, err)) return NULL;
    return vn_config_write(vn_discriminator_net.class_name, false, fields, VN_COUNT(fields), &d,
                           err);
}

/* ---- the network ----------------------------------------------------------------------------- */

static vn_status open_discriminator(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    discriminator *d = vn_calloc(1, sizeof *d);
    if (!d) return vn_no_memory(err);
    *d = defaults;
    vn_status status =
        vn_config_read(config, vn_discriminator_net.row.name, fields, VN_COUNT(fields), d, err);
    if (!status) status = check(d, err);
    if (status) {
        vn_free(d);
        return status;
    }
    *io = (vn_net_io){
        .height = d->sample_size[0], .width = d->sample_size[1], .multiple = 1, .fixed_size = true};
    vn_net_add_sample(io, true, d->in_channels);
    vn_net_add_output(io, vn_port_of_sample("logits", true, 1));
    *self = d;
    return VN_OK;
}

/* Groups of four channels at least, 32 at most, as many as divide them. */
static int64_t groups_of(int64_t channels) {
    int64_t groups = 32;
    while (groups > 1 && (channels % groups || channels / groups < 4)) groups /= 2;
    return groups;
}

/* max(x, SLOPE x) */
static vn_node *leaky(vn_graph *g, vn_node *x) {
    vn_node *above = vn_affine(g, vn_unary(g, x, VN_FN_RELU), 1 - SLOPE, 0);
    return vn_add(g, vn_affine(g, x, SLOPE, 0), above);
}

static vn_node *convolved(const vn_scope *s, const char *name, vn_node *x, int64_t in, int64_t out,
                          int stride, bool bias) {
    const vn_conv conv = {
        .in = in, .out = out, .kernel = 4, .stride = stride, .pad = {1, 1, 1, 1}, .bias = bias};
    return vn_layer_conv(s, name, x, conv);
}

static void build(const void *self, const vn_scope *scope) {
    const discriminator *d = self;
    vn_scope s = *scope;
    s.init = VN_LAYER_INIT_SMALL;
    vn_node *x = vn_scope_input(&s, "sample");
    int64_t in = d->in_channels;
    for (int64_t i = 0; i <= d->layers; i++) {
        const vn_scope at = vn_scope_in(&s, "layers.%lld", (long long)i);
        const int64_t out = d->channels << (i < 3 ? i : 3);
        x = convolved(&at, "conv", x, in, out, i < d->layers ? 2 : 1, i == 0);
        if (i > 0)
            x = vn_layer_group_norm(&at, "norm", x, out, groups_of(out), EPS, VN_FN_IDENTITY);
        x = leaky(s.g, x);
        in = out;
    }
    vn_scope_output(&s, "logits", convolved(&s, "conv_out", x, in, 1, 1, true));
}

const vn_net_row vn_discriminator_net = {
    .row = {.name = "discriminator",
            .summary = "how real the patches of a picture are, trained against an autoencoder",
            .source = "arXiv 1611.07004, 2012.09841"},
    .role = VN_ROLE_FEATURES,
    .class_name = "VaneDiscriminator",
    .folder = "discriminator",
    .open = open_discriminator,
    .close = vn_free,
    .build = build,
};
