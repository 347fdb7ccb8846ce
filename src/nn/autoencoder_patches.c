/* autoencoder_patches.c - pictures as patches, each of which is the nearest of a codebook of
 * patches: what stands for an autoencoder where there is none, so that sequence models have tokens.
 * Patches of one pixel are pixels in a few levels; a codebook of larger ones is vector
 * quantisation as it was before networks (Gersho and Gray, Vector Quantization and Signal
 * Compression, 1992), learned by k-means (train/codebook.c). Config class "VanePatchCodes", vane's
 * own. */
#include "nn/transformer.h"

static const char net_name[] = "autoencoder-patches";

typedef struct patches {
    int64_t in_channels, patch_size, num_codes, sample_size[2];
} patches;

static const patches defaults = {.in_channels = 3, .patch_size = 4, .num_codes = 1024};

#define KEY(kind, member) VN_CONFIG_KEY(patches, kind, member)
/* clang-format off */
static const vn_field fields[] = {
    /* kind, key             null   min max            choices null is */
    {KEY(INT, in_channels),   false, 1,  4096,          NULL,   0},
    {KEY(INT, patch_size),    false, 1,  VN_MAX_PATCH,  NULL,   0},
    {KEY(INT, num_codes),     false, 1,  1 << 20,       NULL,   0},
    {KEY(SIZE, sample_size),  true,  1,  65536,         NULL,   0},
};
/* clang-format on */

static int64_t width_of(const patches *p) {
    return p->patch_size * p->patch_size * p->in_channels;
}

static void add_codes(const patches *p, vn_net_io *io, bool optional) {
    vn_net_add_output(io, (vn_port){.name = "codes",
                                    .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_HEIGHT, VN_DIM_WIDTH),
                                    .reduced = p->patch_size,
                                    .optional = optional});
}

static void add_latents(const patches *p, vn_net_io *io) {
    vn_port port = vn_port_of_sample("latents", true, width_of(p));
    port.reduced = p->patch_size;
    vn_net_add_output(io, port);
}

static void encoder_ports(const void *self, vn_net_io *io) {
    const patches *p = self;
    io->height = p->sample_size[0];
    io->width = p->sample_size[1];
    io->multiple = p->patch_size;
    vn_net_add_sample(io, true, p->in_channels);
    add_latents(p, io);
    add_codes(p, io, false);
}

static void decoded_port(const patches *p, vn_net_io *io) {
    vn_port decoded = vn_port_of_sample("decoded", true, p->in_channels);
    decoded.enlarged = p->patch_size;
    vn_net_add_output(io, decoded);
}

static void decoder_ports(const void *self, vn_net_io *io) {
    vn_net_add_sample(io, true, width_of(self));
    decoded_port(self, io);
}

static void lookup_ports(const void *self, vn_net_io *io) {
    const patches *p = self;
    vn_net_add_input(io, (vn_port){.name = "codes",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_HEIGHT, VN_DIM_WIDTH),
                                   .below = p->num_codes});
    decoded_port(p, io);
}

static vn_status open_patches(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    patches *p = vn_calloc(1, sizeof *p);
    if (!p) return vn_no_memory(err);
    *p = defaults;
    const vn_status status = vn_config_read(config, net_name, fields, VN_COUNT(fields), p, err);
    if (status) {
        vn_free(p);
        return status;
    }
    *io = (vn_net_io){
        .height = p->sample_size[0],
        .width = p->sample_size[1],
        .multiple = p->patch_size,
        .latents = {
            .channels = width_of(p), .factor = p->patch_size, .scale = 1, .codes = p->num_codes}};
    vn_net_add_sample(io, true, p->in_channels);
    vn_net_add_output(io, vn_port_of_sample("decoded", true, p->in_channels));
    add_latents(p, io);
    add_codes(p, io, true);
    *self = p;
    return VN_OK;
}

json_t *vn_patch_codes_config(int64_t channels, int64_t height, int64_t width, int64_t patch,
                              int64_t codes, vn_err *err) {
    const patches p = {.in_channels = channels,
                       .patch_size = patch,
                       .num_codes = codes,
                       .sample_size = {height, width}};
    return vn_config_write(vn_autoencoder_patches_net.class_name, false, fields, VN_COUNT(fields),
                           &p, err);
}

/* ---- the network ----------------------------------------------------------------------------- */

static vn_node *codebook(const vn_scope *s, const patches *p) {
    return vn_param_node(s->g, s->w, VN_PATCH_CODEBOOK, VN_SHAPE(p->num_codes, width_of(p)),
                         VN_LAYOUT_PLAIN, (vn_init){VN_INIT_UNIFORM, 1});
}

/* x [N,H,W,C] as [N,h,w,patch patch C]: the rows of a patch, one after another. */
static vn_node *cut(const vn_scope *s, const patches *p, vn_node *x) {
    if (!x) return NULL;
    const int64_t k = p->patch_size, n = x->shape.dim[0], h = x->shape.dim[1] / k,
                  w = x->shape.dim[2] / k;
    x = vn_reshape(s->g, x, VN_SHAPE(n, h, k, w, k, p->in_channels));
    x = vn_permute(s->g, x, (int[6]){0, 1, 3, 2, 4, 5});
    return vn_reshape(s->g, x, VN_SHAPE(n, h, w, width_of(p)));
}

static vn_node *join(const vn_scope *s, const patches *p, vn_node *y) {
    if (!y) return NULL;
    const int64_t k = p->patch_size, n = y->shape.dim[0], h = y->shape.dim[1], w = y->shape.dim[2];
    y = vn_reshape(s->g, y, VN_SHAPE(n, h, w, k, k, p->in_channels));
    y = vn_permute(s->g, y, (int[6]){0, 1, 3, 2, 4, 5});
    return vn_reshape(s->g, y, VN_SHAPE(n, h * k, w * k, p->in_channels));
}

static void give_codes(const vn_scope *s, vn_node *codes) {
    if (codes) vn_scope_output(s, "codes", vn_cast(s->g, codes, VN_F32));
}

static vn_node *encode(const vn_scope *s, const patches *p) {
    vn_node *z = cut(s, p, vn_scope_input(s, "sample"));
    vn_scope_output(s, "latents", z);
    return z;
}

static void decode(const vn_scope *s, const patches *p, vn_node *codes) {
    vn_scope_output(s, "decoded", join(s, p, vn_embedding(s->g, codebook(s, p), codes)));
}

static void build_encoder(const void *self, const vn_scope *s) {
    give_codes(s, vn_nearest_row(s->g, encode(s, self), codebook(s, self)));
}

static void build_decoder(const void *self, const vn_scope *s) {
    decode(s, self, vn_nearest_row(s->g, vn_scope_input(s, "sample"), codebook(s, self)));
}

static void build_lookup(const void *self, const vn_scope *s) {
    decode(s, self, vn_scope_input(s, "codes"));
}

static void build(const void *self, const vn_scope *s) {
    vn_node *codes = vn_nearest_row(s->g, encode(s, self), codebook(s, self));
    give_codes(s, codes);
    decode(s, self, codes);
}

const vn_net_row vn_autoencoder_patches_net = {
    .row = {.name = net_name,
            .summary = "pictures as the nearest patches of a codebook, or as pixels in levels",
            .source = "Gersho and Gray 1992"},
    .role = VN_ROLE_AUTOENCODER,
    .class_name = "VanePatchCodes",
    .folder = "vqvae",
    .open = open_patches,
    .close = vn_free,
    .build = build,
    .half =
        {
            [VN_HALF_ENCODER] = {encoder_ports, build_encoder},
            [VN_HALF_DECODER] = {decoder_ports, build_decoder},
            [VN_HALF_LOOKUP] = {lookup_ports, build_lookup},
        },
};
