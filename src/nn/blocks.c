/* blocks.c - the blocks of diffusers that U-Nets, autoencoders and classifiers are made of:
 * ResnetBlock2D and its variants with an adaptive norm, self-attention over pixels, and the layers
 * that change the size by two. They agree with diffusers 0.42 number for number. The output of each
 * block is marked (vn_block_end), so that recomputation in the backward pass can begin there. */
#include "nn/internal.h"

#include <math.h>

/* x / by: the division by output_scale, which keeps a residual sum's variance. */
static vn_node *divided(const vn_scope *s, vn_node *x, double by) {
    return by == 1 ? x : vn_affine(s->g, x, 1 / by, 0);
}

/* The end of every residual block: conv2 of the branch, the shortcut, and their sum. */
static vn_node *close_residual(const vn_scope *s, vn_node *x, vn_node *branch, const vn_resnet *r,
                               bool shortcut_bias) {
    branch = vn_layer_conv3(s, "conv2", vn_layer_dropout(s, branch, r->dropout), r->out, r->out);
    if (r->in != r->out || r->always_shortcut)
        x = vn_layer_conv1(s, "conv_shortcut", x, r->in, r->out, shortcut_bias);
    return vn_block_end(divided(s, vn_add(s->g, x, branch), r->output_scale));
}

vn_node *vn_resnet_block(const vn_scope *s, vn_node *x, const vn_time *time, const vn_resnet *r) {
    vn_node *h = vn_layer_group_norm(s, "norm1", x, r->in, r->groups_in, r->eps, r->act);
    h = vn_layer_conv3(s, "conv1", vn_resize_to(s, h, r->resize), r->in, r->out);

    vn_node *e = NULL;
    if (time->active)
        e = vn_layer_linear(s, "time_emb_proj", r->raw_time ? time->raw : time->active, time->width,
                            r->scale_shift ? 2 * r->out : r->out);
    if (e && r->scale_shift) {
        const vn_modulation by = vn_modulation_of(s, e, r->out);
        h = vn_layer_modulated_norm(s, "norm2", h, &by, r->out, r->groups_out, r->eps, r->act);
    } else {
        if (e) h = vn_add_channels(s, h, e);
        h = vn_layer_group_norm(s, "norm2", h, r->out, r->groups_out, r->eps, r->act);
    }
    return close_residual(s, vn_resize_to(s, x, r->resize), h, r, true);
}

/* A norm modulated by the time, then the activation. */
static vn_node *ada_norm(const vn_scope *s, const char *name, vn_node *x, const vn_time *time,
                         int64_t channels, int64_t groups, const vn_resnet *r) {
    vn_node *h = vn_layer_ada_norm(s, name, x, time->raw, time->width, channels, groups, r->eps);
    return vn_unary(s->g, h, r->act);
}

vn_node *vn_resnet_ada_block(const vn_scope *s, vn_node *x, const vn_time *time,
                             const vn_resnet *r) {
    vn_node *h = ada_norm(s, "norm1", x, time, r->in, r->groups_in, r);
    h = vn_layer_conv3(s, "conv1", h, r->in, r->out);
    h = ada_norm(s, "norm2", h, time, r->out, r->groups_out, r);
    return close_residual(s, x, h, r, false);
}

#define SPATIAL_GROUPS 32 /* of SpatialNorm, always */
#define SPATIAL_EPS    1e-6

/* A 1x1 convolution of z, enlarged to the size of x: the same in either order, and there are fewer
 * pixels to convolve in this one. */
static vn_node *spread(const vn_scope *s, const char *name, const vn_node *x, vn_node *z,
                       int64_t z_channels, int64_t channels) {
    vn_node *y = vn_layer_conv1(s, name, z, z_channels, channels, true);
    while (y && x && y->shape.dim[1] < x->shape.dim[1]) y = vn_upsample_nearest(s->g, y, 2);
    return y;
}

vn_node *vn_layer_spatial_norm(const vn_scope *s, const char *name, vn_node *x, vn_node *z,
                               int64_t channels, int64_t z_channels, vn_fn act) {
    const vn_scope at = vn_scope_in(s, "%s", name);
    vn_node *h = vn_layer_group_norm(&at, "norm_layer", x, channels, SPATIAL_GROUPS, SPATIAL_EPS,
                                     VN_FN_IDENTITY);
    h = vn_mul(s->g, h, spread(&at, "conv_y", x, z, z_channels, channels));
    h = vn_add(s->g, h, spread(&at, "conv_b", x, z, z_channels, channels));
    return vn_unary(s->g, h, act);
}

vn_node *vn_resnet_spatial_block(const vn_scope *s, vn_node *x, vn_node *z, const vn_resnet *r) {
    vn_node *h = vn_layer_spatial_norm(s, "norm1", x, z, r->in, r->z_channels, r->act);
    h = vn_layer_conv3(s, "conv1", h, r->in, r->out);
    h = vn_layer_spatial_norm(s, "norm2", h, z, r->out, r->z_channels, r->act);
    return close_residual(s, x, h, r, true);
}

vn_node *vn_attention_block(const vn_scope *s, vn_node *x, const vn_attention_layer *a) {
    if (!x || vn_perturbed(s, VN_BLOCKS_SKIPPED, NULL)) return x;
    if (vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL)) return divided(s, x, a->output_scale);
    int64_t heads = a->channels / a->head_dim, inner = heads * a->head_dim;
    if (heads < 1)
        return vn_scope_fail(s, "attention_head_dim %lld is more than its %lld channels",
                             (long long)a->head_dim, (long long)a->channels);
    vn_shape image = x->shape;
    vn_node *h = x;
    if (a->z)
        h = vn_layer_spatial_norm(s, "spatial_norm", x, a->z, a->channels, a->z_channels,
                                  VN_FN_IDENTITY);
    if (a->groups)
        h = vn_layer_group_norm(s, "group_norm", x, a->channels, a->groups, a->eps, VN_FN_IDENTITY);
    h = vn_reshape(s->g, h, VN_SHAPE(image.dim[0], image.dim[1] * image.dim[2], image.dim[3]));
    h = vn_shuffled_tokens(s, h, 0);
    vn_node *q = vn_layer_linear(s, "to_q", h, a->channels, inner);
    vn_node *k = vn_layer_linear(s, "to_k", h, a->channels, inner);
    vn_node *v = vn_layer_linear(s, "to_v", h, a->channels, inner);
    const vn_heads of = {.count = (int)heads,
                         .scale = 1 / sqrt((double)a->head_dim),
                         .rows = image.dim[1],
                         .columns = image.dim[2]};
    h = vn_self_attention(s, q, k, v, &of);
    h = vn_reshape(s->g, vn_layer_linear(s, "to_out.0", h, inner, a->channels), image);
    return vn_block_end(divided(s, vn_add(s->g, h, x), a->output_scale));
}

vn_node *vn_downsample_conv(const vn_scope *s, vn_node *x, int64_t channels, int pad) {
    vn_conv c = {.in = channels,
                 .out = channels,
                 .kernel = 3,
                 .stride = 2,
                 .pad = {pad, pad, pad, pad},
                 .bias = true};
    if (pad == 0) c.pad[1] = c.pad[3] = 1; /* diffusers then pads below and to the right */
    return vn_block_end(vn_layer_conv(s, "conv", x, c));
}

vn_node *vn_upsample_conv(const vn_scope *s, vn_node *x, int64_t channels) {
    return vn_block_end(
        vn_layer_conv3(s, "conv", vn_upsample_nearest(s->g, x, 2), channels, channels));
}

static vn_node *too_small(const vn_scope *s, const vn_node *x) {
    return vn_scope_fail(s, "%lld x %lld pixels cannot be resampled", (long long)x->shape.dim[1],
                         (long long)x->shape.dim[2]);
}

/* The binomial filter (1,3,3,1)/8; doubled when it fills the gaps of upsampling. */
static const float smooth[4] = {0.125F, 0.375F, 0.375F, 0.125F};
static const float smooth_up[4] = {0.25F, 0.75F, 0.75F, 0.25F};

vn_node *vn_resize_to(const vn_scope *s, vn_node *x, vn_resize resize) {
    if (!x) return NULL;
    int64_t h = x->shape.dim[1], w = x->shape.dim[2];
    if ((resize == VN_RESIZE_DOWN || resize == VN_RESIZE_FIR_DOWN) && (h < 2 || w < 2))
        return too_small(s, x);
    switch (resize) {
    case VN_RESIZE_UP: return vn_upsample_nearest(s->g, x, 2);
    case VN_RESIZE_DOWN: return vn_avg_pool(s->g, x, 2);
    case VN_RESIZE_FIR_UP:
        return vn_resample(s->g, x, 2, 1, 4, smooth_up, (int[2]){1, 1}, 2 * h, 2 * w);
    case VN_RESIZE_FIR_DOWN:
        return vn_resample(s->g, x, 1, 2, 4, smooth, (int[2]){2, 2}, h / 2, w / 2);
    case VN_RESIZE_NONE: break;
    }
    return x;
}

/* One row (axis 1) or column (axis 2) more on both sides, mirrored without repeating the edge. */
static vn_node *reflected(const vn_scope *s, vn_node *x, int axis) {
    if (!x) return NULL;
    int64_t size = x->shape.dim[axis];
    vn_node *parts[3] = {vn_slice(s->g, x, axis, 1, 1), x, vn_slice(s->g, x, axis, size - 2, 1)};
    return vn_concat(s->g, axis, 3, parts);
}

vn_node *vn_resize_reflect(const vn_scope *s, vn_node *x, bool up) {
    if (!x) return NULL;
    int64_t h = x->shape.dim[1], w = x->shape.dim[2];
    if (h < 2 || w < 2) return too_small(s, x);
    x = reflected(s, reflected(s, x, 1), 2);
    if (up) return vn_resample(s->g, x, 2, 1, 4, smooth_up, (int[2]){3, 3}, 2 * h, 2 * w);
    return vn_resample(s->g, x, 1, 2, 4, smooth, (int[2]){3, 3}, h / 2, w / 2);
}
