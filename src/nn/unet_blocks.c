/* unet_blocks.c - the levels of a U-Net: diffusers' down and up block types as a table. A level
 * runs its layers, keeps each result for the way up, and changes size; the way up takes those
 * results back, last first. Families:
 *   DDPM   residual blocks, perhaps attention after each, resized by a convolution or by a residual
 *          block
 *   skip   score-SDE's: a smoothed copy of the image in every size is added to the features
 *   K      k-diffusion's: norms modulated by the time, smooth resampling, one skip connection a
 *          level
 * A name that diffusers knows but UNet2DModel cannot run is listed here with the reason. */
#include "nn/internal.h"

#include <math.h>
#include <string.h>

/* ---- skip connections ------------------------------------------------------------------------ */

static void push(const vn_scope *s, vn_unet_state *state) {
    if (state->skips == VN_UNET_MAX_SKIPS) {
        state->x = vn_scope_fail(s, "more than %d skip connections", VN_UNET_MAX_SKIPS);
        return;
    }
    state->skip[state->skips++] = state->x;
}

/* x and the last kept result, concatenated by channels. */
static vn_node *join_skip(const vn_scope *s, vn_unet_state *state) {
    if (state->skips == 0)
        return vn_scope_fail(s, "the down blocks leave too few skip connections");
    vn_node *x = state->x, *skip = state->skip[--state->skips];
    if (!x || !skip) return NULL;
    const int64_t *a = x->shape.dim, *b = skip->shape.dim;
    if (a[1] != b[1] || a[2] != b[2])
        return vn_scope_fail(s,
                             "%lld x %lld pixels meet a skip connection of %lld x %lld: the "
                             "image's sides must halve evenly",
                             (long long)a[1], (long long)a[2], (long long)b[1], (long long)b[2]);
    return vn_concat(s->g, -1, 2, (vn_node *[]){x, skip});
}

/* ---- what the families share ----------------------------------------------------------------- */

/* A residual block from `in` to `out` channels in the U-Net's style. */
static vn_resnet resnet_of(const vn_unet_style *u, int64_t in, int64_t out) {
    return (vn_resnet){.in = in,
                       .out = out,
                       .groups_in = u->groups,
                       .groups_out = u->groups,
                       .eps = u->eps,
                       .dropout = u->dropout,
                       .act = u->act,
                       .output_scale = 1,
                       .scale_shift = u->scale_shift};
}

static int64_t head_dim_of(const vn_unet_style *u, int64_t channels) {
    return u->head_dim ? u->head_dim : channels;
}

static void attend(const vn_scope *s, const vn_unet_style *u, vn_unet_state *state, int index,
                   int64_t channels, int64_t groups, double output_scale) {
    vn_scope at = vn_scope_in(s, "attentions.%d", index);
    at.layer = state->attentions++;
    vn_attention_layer a = {.channels = channels,
                            .head_dim = head_dim_of(u, channels),
                            .groups = groups,
                            .eps = u->eps,
                            .output_scale = output_scale};
    state->x = vn_attention_block(&at, state->x, &a);
}

/* Input channels of layer i on the way up, without those of its skip connection. */
static int64_t input_channels(const vn_unet_level *l, int64_t i) {
    return i == 0 ? l->prev : l->out;
}

static int64_t skip_channels(const vn_unet_level *l, int64_t i, int64_t layers) {
    return i == layers - 1 ? l->in : l->out;
}

/* ---- DDPM ------------------------------------------------------------------------------------ */

static void ddpm_down(const vn_scope *s, const vn_unet_style *u, const vn_unet_level *l,
                      vn_unet_state *state, const vn_unet_block *self) {
    for (int i = 0; i < u->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = resnet_of(u, i == 0 ? l->in : l->out, l->out);
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
        if (self->attention) attend(s, u, state, i, l->out, u->groups, 1);
        push(s, state);
    }
    if (!l->resize) return;
    vn_scope at = vn_scope_in(s, "downsamplers.0");
    if (self->resnet || (self->attention && u->resnet_downsample)) {
        vn_resnet r = resnet_of(u, l->out, l->out);
        r.resize = VN_RESIZE_DOWN;
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
    } else {
        state->x = vn_downsample_conv(&at, state->x, l->out, (int)u->downsample_pad);
    }
    push(s, state);
}

static void ddpm_up(const vn_scope *s, const vn_unet_style *u, const vn_unet_level *l,
                    vn_unet_state *state, const vn_unet_block *self) {
    int64_t layers = u->layers + 1;
    for (int i = 0; i < layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = resnet_of(u, input_channels(l, i) + skip_channels(l, i, layers), l->out);
        state->x = vn_resnet_block(&at, join_skip(s, state), &state->time, &r);
        if (self->attention) attend(s, u, state, i, l->out, u->groups, 1);
    }
    if (!l->resize) return;
    vn_scope at = vn_scope_in(s, "upsamplers.0");
    if (self->resnet || (self->attention && u->resnet_upsample)) {
        vn_resnet r = resnet_of(u, l->out, l->out);
        r.resize = VN_RESIZE_UP;
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
    } else {
        state->x = vn_upsample_conv(&at, state->x, l->out);
    }
}

/* ---- skip ------------------------------------------------------------------------------------ */

#define SKIP_ATTENTION_GROUPS 32
#define IMAGE_CHANNELS        3 /* the skip blocks' side image is always RGB */

int64_t vn_unet_default_groups(int64_t channels) {
    return channels / 4 < 32 ? channels / 4 : 32;
}

static vn_resnet skip_resnet_of(const vn_unet_style *u, int64_t in, int64_t out, vn_resize resize) {
    vn_resnet r = resnet_of(u, in, out);
    r.groups_in = vn_unet_default_groups(in);
    r.groups_out = vn_unet_default_groups(out);
    r.output_scale = sqrt(2.0);
    r.resize = resize;
    r.always_shortcut = resize != VN_RESIZE_NONE;
    return r;
}

/* The skip image plus the features of the same size. */
vn_node *vn_unet_add_image(const vn_scope *s, vn_node *image, vn_node *x) {
    if (image && x && !vn_shape_equal(&image->shape, &x->shape))
        return vn_scope_fail(s, "the skip image is %lld x %lld where the features are %lld x %lld",
                             (long long)image->shape.dim[1], (long long)image->shape.dim[2],
                             (long long)x->shape.dim[1], (long long)x->shape.dim[2]);
    return vn_add(s->g, image, x);
}

static void skip_down(const vn_scope *s, const vn_unet_style *u, const vn_unet_level *l,
                      vn_unet_state *state, const vn_unet_block *self) {
    for (int i = 0; i < u->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = skip_resnet_of(u, i == 0 ? l->in : l->out, l->out, VN_RESIZE_NONE);
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
        if (self->attention) attend(s, u, state, i, l->out, SKIP_ATTENTION_GROUPS, r.output_scale);
        push(s, state);
    }
    if (!l->resize) return;
    vn_scope at = vn_scope_in(s, "resnet_down");
    vn_resnet r = skip_resnet_of(u, l->out, l->out, VN_RESIZE_FIR_DOWN);
    state->x = vn_resnet_block(&at, state->x, &state->time, &r);
    state->image = vn_resize_to(s, state->image, VN_RESIZE_FIR_DOWN);
    vn_node *image = vn_layer_conv1(s, "skip_conv", state->image, IMAGE_CHANNELS, l->out, true);
    state->x = vn_unet_add_image(s, image, state->x);
    push(s, state);
}

static void skip_up(const vn_scope *s, const vn_unet_style *u, const vn_unet_level *l,
                    vn_unet_state *state, const vn_unet_block *self) {
    int64_t layers = u->layers + 1;
    for (int i = 0; i < layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        int64_t a = input_channels(l, i), b = skip_channels(l, i, layers);
        vn_resnet r = skip_resnet_of(u, a + b, l->out, VN_RESIZE_NONE);
        if (self->attention && a + b / 4 < 32)
            r.groups_in = a + b / 4; /* as diffusers: not (a + b) / 4 */
        else if (self->attention)
            r.groups_in = 32;
        state->x = vn_resnet_block(&at, join_skip(s, state), &state->time, &r);
    }
    if (self->attention) attend(s, u, state, 0, l->out, SKIP_ATTENTION_GROUPS, sqrt(2.0));

    state->image = vn_resize_to(s, state->image, VN_RESIZE_FIR_UP);
    if (!l->resize) return;
    vn_node *image = vn_layer_group_norm(s, "skip_norm", state->x, l->out,
                                         vn_unet_default_groups(l->out), u->eps, VN_FN_SILU);
    image = vn_layer_conv3(s, "skip_conv", image, l->out, IMAGE_CHANNELS);
    state->image = state->image ? vn_unet_add_image(s, state->image, image) : image;

    vn_scope at = vn_scope_in(s, "resnet_up");
    vn_resnet r = skip_resnet_of(u, l->out, l->out, VN_RESIZE_FIR_UP);
    state->x = vn_resnet_block(&at, state->x, &state->time, &r);
}

/* ---- K --------------------------------------------------------------------------------------- */

#define K_GROUP_SIZE 32

static vn_resnet k_resnet_of(const vn_unet_style *u, int64_t in, int64_t out,
                             int64_t level_channels) {
    vn_resnet r = resnet_of(u, in, out);
    r.groups_in = in / K_GROUP_SIZE;
    r.groups_out = level_channels / K_GROUP_SIZE;
    return r;
}

static void k_down(const vn_scope *s, const vn_unet_style *u, const vn_unet_level *l,
                   vn_unet_state *state, const vn_unet_block *self) {
    (void)self;
    for (int i = 0; i < u->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = k_resnet_of(u, i == 0 ? l->in : l->out, l->out, l->out);
        state->x = vn_resnet_ada_block(&at, state->x, &state->time, &r);
        push(s, state);
    }
    if (l->resize) state->x = vn_resize_reflect(s, state->x, false);
}

static void k_up(const vn_scope *s, const vn_unet_style *u, const vn_unet_level *l,
                 vn_unet_state *state, const vn_unet_block *self) {
    (void)self;
    /* of the `layers` results it takes, it uses one */
    size_t drop = u->layers > 1 ? (size_t)u->layers - 1 : 0;
    state->x = join_skip(s, state);
    state->skips -= drop < state->skips ? drop : state->skips;
    for (int i = 0; i < u->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = k_resnet_of(u, i == 0 ? 2 * l->out : l->out,
                                  i == u->layers - 1 ? l->in : l->out, l->out);
        state->x = vn_resnet_ada_block(&at, state->x, &state->time, &r);
    }
    if (l->resize) state->x = vn_resize_reflect(s, state->x, true);
}

/* ---- middle ---------------------------------------------------------------------------------- */

void vn_unet_mid_block(const vn_scope *s, const vn_unet_style *u, const vn_unet_mid *mid,
                       vn_unet_state *state) {
    vn_resnet r = resnet_of(u, mid->channels, mid->channels);
    r.groups_in = r.groups_out = mid->groups;
    r.output_scale = mid->output_scale;
    for (int i = 0; i < 2; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
        if (i == 0 && mid->attention)
            attend(s, u, state, 0, mid->channels, mid->attention_groups, mid->output_scale);
    }
}

/* ---- counting -------------------------------------------------------------------------------- */

int64_t vn_unet_attentions(const vn_unet_style *u, const vn_unet_block *block, bool up) {
    if (!block->attention) return 0;
    return block->build == skip_up ? 1 : u->layers + up;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define NEEDS_ENCODER "needs encoder_hidden_states, which UNet2DModel does not pass"
#define KEEPS_NOTHING "keeps no skip connections: UNet2DModel cannot run it"

/* clang-format off */
static const vn_unet_block down_blocks[] = {
    /* attention resnet refusal */
    {"DownBlock2D",                ddpm_down,  false, false, NULL},
    {"AttnDownBlock2D",            ddpm_down,  true,  false, NULL},
    {"ResnetDownsampleBlock2D",    ddpm_down,  false, true,  NULL},
    {"SkipDownBlock2D",            skip_down,  false, false, NULL},
    {"AttnSkipDownBlock2D",        skip_down,  true,  false, NULL},
    {"KDownBlock2D",               k_down,     false, false, NULL},
    {"CrossAttnDownBlock2D",       NULL,       true,  false, NEEDS_ENCODER},
    {"SimpleCrossAttnDownBlock2D", NULL,       true,  true,  NEEDS_ENCODER},
    {"KCrossAttnDownBlock2D",      NULL,       true,  false, NEEDS_ENCODER},
    {"DownEncoderBlock2D",         NULL,       false, false, KEEPS_NOTHING},
    {"AttnDownEncoderBlock2D",     NULL,       true,  false, KEEPS_NOTHING},
};
static const vn_unet_block up_blocks[] = {
    {"UpBlock2D",                  ddpm_up,    false, false, NULL},
    {"AttnUpBlock2D",              ddpm_up,    true,  false, NULL},
    {"ResnetUpsampleBlock2D",      ddpm_up,    false, true,  NULL},
    {"SkipUpBlock2D",              skip_up,    false, false, NULL},
    {"AttnSkipUpBlock2D",          skip_up,    true,  false, NULL},
    {"KUpBlock2D",                 k_up,       false, false, NULL},
    {"CrossAttnUpBlock2D",         NULL,       true,  false, NEEDS_ENCODER},
    {"SimpleCrossAttnUpBlock2D",   NULL,       true,  true,  NEEDS_ENCODER},
    {"KCrossAttnUpBlock2D",        NULL,       true,  false, NEEDS_ENCODER},
    {"UpDecoderBlock2D",           NULL,       false, false, KEEPS_NOTHING},
    {"AttnUpDecoderBlock2D",       NULL,       true,  false, KEEPS_NOTHING},
};
/* clang-format on */

static vn_status find_block(const vn_unet_block *rows, size_t count, const char *key,
                            const char *name, const vn_unet_block **out, vn_err *err) {
    static const char prefix[] = "UNetRes"; /* an old spelling that diffusers still reads */
    const char *known[VN_COUNT(down_blocks) + VN_COUNT(up_blocks)];
    const char *bare = strncmp(name, prefix, sizeof prefix - 1) ? name : name + sizeof prefix - 1;
    size_t runnable = 0;
    for (size_t i = 0; i < count; i++) {
        *out = &rows[i];
        if (!strcmp(bare, rows[i].name))
            return rows[i].refusal ? vn_fail(err, VN_UNSUPPORTED, "unet2d: %s: \"%s\" %s", key,
                                             name, rows[i].refusal)
                                   : VN_OK;
        if (!rows[i].refusal) known[runnable++] = rows[i].name;
    }
    return vn_config_refuse("unet2d", key, name, known, runnable, err);
}

vn_status vn_unet_down_block(const char *name, const vn_unet_block **out, vn_err *err) {
    return find_block(down_blocks, VN_COUNT(down_blocks), "down_block_types", name, out, err);
}

vn_status vn_unet_up_block(const char *name, const vn_unet_block **out, vn_err *err) {
    return find_block(up_blocks, VN_COUNT(up_blocks), "up_block_types", name, out, err);
}
