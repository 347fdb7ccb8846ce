/* unet_blocks.c - the levels of a U-Net: diffusers' down and up block types as a table. A level
 * runs its layers, keeps each result for the way up, and changes size; the way up takes those
 * results back, last first. Families:
 *   DDPM   residual blocks, perhaps attention after each, resized by a convolution or by a residual
 *          block
 *   skip   score-SDE's: a smoothed copy of the image in every size is added to the features
 *   K      k-diffusion's: norms modulated by the time, smooth resampling, one skip connection a
 *          level
 * Where a level attends, it is pixels to pixels, or by transformers to a text, or to both at once
 * (unet_transformer.c). A name that diffusers knows but a class cannot run is listed here with the
 * reason. */
#include "nn/unet.h"

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

/* The same of a block of the DDPM family. */
static vn_resnet ddpm_resnet_of(const vn_unet_style *u, const vn_unet_block *self, int64_t in,
                                int64_t out) {
    vn_resnet r = resnet_of(u, in, out);
    if (!self->resnet) return r;
    if (u->resnet_scale != 0) r.output_scale = u->resnet_scale;
    r.raw_time = u->resnet_raw_time;
    return r;
}

/* Layer `index` of a level attends; groups and output_scale are of attention over pixels. */
static void attend(const vn_scope *s, const vn_unet_style *u, vn_unet_state *state,
                   const vn_unet_attention *a, vn_unet_attends how, int index, int64_t channels,
                   int64_t groups, double output_scale) {
    if (how == VN_UNET_NO_ATTENTION) return;
    vn_scope at = vn_scope_in(s, "attentions.%d", index);
    at.layer = state->attentions++;
    if (how == VN_UNET_TRANSFORMERS) {
        state->x =
            vn_unet_transformer(&at, u, state->x, channels, groups, a, a->depth[index], state);
    } else if (how == VN_UNET_ADDED_KEYS) {
        state->x = vn_unet_added_keys(&at, u, state->x, channels, groups, a, state);
    } else {
        const vn_attention_layer layer = {.channels = channels,
                                          .head_dim = a->head_dim ? a->head_dim : channels,
                                          .groups = groups,
                                          .eps = u->eps,
                                          .output_scale = output_scale};
        state->x = vn_attention_block(&at, state->x, &layer);
    }
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
    for (int i = 0; i < l->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = ddpm_resnet_of(u, self, i == 0 ? l->in : l->out, l->out);
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
        attend(s, u, state, &l->attention, self->attends, i, l->out, u->groups, 1);
        push(s, state);
    }
    if (!l->resize) return;
    vn_scope at = vn_scope_in(s, "downsamplers.0");
    if (self->resnet || (self->attends && u->resnet_downsample)) {
        vn_resnet r = ddpm_resnet_of(u, self, l->out, l->out);
        r.resize = VN_RESIZE_DOWN;
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
    } else {
        state->x = vn_downsample_conv(&at, state->x, l->out, (int)u->downsample_pad);
    }
    push(s, state);
}

static void ddpm_up(const vn_scope *s, const vn_unet_style *u, const vn_unet_level *l,
                    vn_unet_state *state, const vn_unet_block *self) {
    int64_t layers = l->layers + 1;
    for (int i = 0; i < layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r =
            ddpm_resnet_of(u, self, input_channels(l, i) + skip_channels(l, i, layers), l->out);
        state->x = vn_resnet_block(&at, join_skip(s, state), &state->time, &r);
        attend(s, u, state, &l->attention, self->attends, i, l->out, u->groups, 1);
        if (!l->resize && i + 1 == u->inner) state->inner = state->x;
    }
    if (!l->resize) return;
    vn_scope at = vn_scope_in(s, "upsamplers.0");
    if (self->resnet || (self->attends && u->resnet_upsample)) {
        vn_resnet r = ddpm_resnet_of(u, self, l->out, l->out);
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
    for (int i = 0; i < l->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = skip_resnet_of(u, i == 0 ? l->in : l->out, l->out, VN_RESIZE_NONE);
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
        attend(s, u, state, &l->attention, self->attends, i, l->out, SKIP_ATTENTION_GROUPS,
               r.output_scale);
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
    int64_t layers = l->layers + 1;
    for (int i = 0; i < layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        int64_t a = input_channels(l, i), b = skip_channels(l, i, layers);
        vn_resnet r = skip_resnet_of(u, a + b, l->out, VN_RESIZE_NONE);
        if (self->attends && a + b / 4 < 32)
            r.groups_in = a + b / 4; /* as diffusers: not (a + b) / 4 */
        else if (self->attends)
            r.groups_in = 32;
        state->x = vn_resnet_block(&at, join_skip(s, state), &state->time, &r);
    }
    attend(s, u, state, &l->attention, self->attends, 0, l->out, SKIP_ATTENTION_GROUPS, sqrt(2.0));

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
    for (int i = 0; i < l->layers; i++) {
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
    size_t drop = l->layers > 1 ? (size_t)l->layers - 1 : 0;
    state->x = join_skip(s, state);
    state->skips -= drop < state->skips ? drop : state->skips;
    for (int i = 0; i < l->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        vn_resnet r = k_resnet_of(u, i == 0 ? 2 * l->out : l->out,
                                  i == l->layers - 1 ? l->in : l->out, l->out);
        state->x = vn_resnet_ada_block(&at, state->x, &state->time, &r);
    }
    if (l->resize) state->x = vn_resize_reflect(s, state->x, true);
}

/* ---- middle ---------------------------------------------------------------------------------- */

static void go_through(const vn_scope *s, const vn_unet_style *u, const vn_unet_mid *mid,
                       vn_unet_state *state) {
    vn_resnet r = resnet_of(u, mid->channels, mid->channels);
    r.groups_in = r.groups_out = mid->groups;
    r.output_scale = mid->output_scale;
    r.raw_time = mid->raw_time;
    const int64_t groups = mid->attends == VN_UNET_PIXELS ? mid->attention_groups : mid->groups;
    for (int i = 0; i < mid->layers; i++) {
        vn_scope at = vn_scope_in(s, "resnets.%d", i);
        state->x = vn_resnet_block(&at, state->x, &state->time, &r);
        if (i == 0)
            attend(s, u, state, &mid->attention, mid->attends, 0, mid->channels, groups,
                   mid->output_scale);
    }
}

/* ---- the way down and up --------------------------------------------------------------------- */

void vn_unet_go_down(const vn_scope *s, const vn_unet *u, vn_unet_state *state) {
    state->skip[state->skips++] = state->x;
    for (size_t i = 0; i < u->levels; i++) {
        vn_scope at = vn_scope_in(s, "down_blocks.%zu", i);
        u->down[i]->build(&at, &u->style, &u->going_down[i], state, u->down[i]);
    }
    vn_scope at = vn_scope_in(s, "mid_block");
    go_through(&at, &u->style, &u->mid, state);
    vn_scope_hidden(s, state->x);
}

void vn_unet_go_up(const vn_scope *s, const vn_unet *u, vn_unet_state *state) {
    for (size_t i = 0; i < u->levels; i++) {
        vn_scope at = vn_scope_in(s, "up_blocks.%zu", i);
        u->up[i]->build(&at, &u->style, &u->going_up[i], state, u->up[i]);
    }
}

void vn_unet_set_channels(vn_unet *u, const vn_config_ints *channels) {
    const int64_t *c = channels->at;
    for (size_t i = 0; i < u->levels; i++) {
        vn_unet_level *down = &u->going_down[i], *up = &u->going_up[i];
        const size_t own = u->levels - 1 - i; /* the level on the way down of the same size */
        down->in = c[i ? i - 1 : 0];
        down->out = c[i];
        down->resize = i + 1 < u->levels;
        up->in = c[own ? own - 1 : 0];
        up->out = c[own];
        up->prev = c[i ? own + 1 : own];
        up->resize = own > 0;
    }
}

int64_t vn_unet_inner_blocks(const vn_unet *u) {
    const size_t last = u->levels - 1;
    return u->up[last]->build == ddpm_up ? u->going_up[last].layers + 1 : 0;
}

/* ---- which layers can be perturbed ----------------------------------------------------------- */

/* How many attention layers a level has, on the way down or up. */
static int64_t attentions(const vn_unet_block *block, const vn_unet_level *l, bool up) {
    if (block->attends == VN_UNET_NO_ATTENTION) return 0;
    return block->build == skip_up ? 1 : l->layers + up;
}

/* The innermost layer is that of the middle or, without one, the last on the way down. */
void vn_unet_set_io(const vn_unet *u, vn_net_io *io) {
    int64_t down = 0, up = 0;
    const bool middle = u->mid.layers > 0 && u->mid.attends != VN_UNET_NO_ATTENTION;
    bool text = u->mid.layers > 0 && u->mid.attends >= VN_UNET_TRANSFORMERS,
         added = u->mid.layers > 0 && u->mid.attends == VN_UNET_ADDED_KEYS;
    for (size_t i = 0; i < u->levels; i++) {
        down += attentions(u->down[i], &u->going_down[i], false);
        up += attentions(u->up[i], &u->going_up[i], true);
        text = text || u->down[i]->attends >= VN_UNET_TRANSFORMERS ||
               u->up[i]->attends >= VN_UNET_TRANSFORMERS;
        added = added || u->down[i]->attends == VN_UNET_ADDED_KEYS ||
                u->up[i]->attends == VN_UNET_ADDED_KEYS;
    }
    io->multiple = 1;
    for (size_t i = 1; i < u->levels; i++) io->multiple *= 2;
    io->layers = (int)(down + middle + up);
    io->middle = (int)(middle || !down ? down : down - 1);
    if (io->layers)
        io->perturbations = VN_ATTENTION_IDENTITY | VN_ATTENTION_BLUR | VN_ATTENTION_SPARSE |
                            VN_ATTENTION_SKIPPED | VN_BLOCKS_SKIPPED |
                            (text ? VN_ATTENTION_NORMALIZED : 0) | (added ? 0 : VN_TOKENS_SHUFFLED);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define NEEDS_ENCODER "needs encoder_hidden_states, which UNet2DModel does not pass"
#define NEEDS_IMAGE   "hands an image from level to level, which UNet2DConditionModel does not"
#define NOT_BUILT     "is not supported by vane"
#define ANY                                                                                        \
    { NULL, NULL }
#define PLAIN_ONLY                                                                                 \
    { NULL, NEEDS_IMAGE }
#define TEXT_ONLY                                                                                  \
    { NEEDS_ENCODER, NULL }
#define TEXT_NOT_YET                                                                               \
    { NEEDS_ENCODER, NOT_BUILT }
#define NONE                                                                                       \
    {                                                                                              \
        "keeps no skip connections: UNet2DModel cannot run it",                                    \
            "keeps no skip connections: UNet2DConditionModel cannot run it"                        \
    }

/* clang-format off */
static const vn_unet_block down_blocks[] = {
    /* attends, resnet, refusal */
    {"DownBlock2D",                ddpm_down,  VN_UNET_NO_ATTENTION, false, ANY},
    {"AttnDownBlock2D",            ddpm_down,  VN_UNET_PIXELS,       false, ANY},
    {"ResnetDownsampleBlock2D",    ddpm_down,  VN_UNET_NO_ATTENTION, true,  ANY},
    {"CrossAttnDownBlock2D",       ddpm_down,  VN_UNET_TRANSFORMERS, false, TEXT_ONLY},
    {"SimpleCrossAttnDownBlock2D", ddpm_down,  VN_UNET_ADDED_KEYS,   true,  TEXT_ONLY},
    {"SkipDownBlock2D",            skip_down,  VN_UNET_NO_ATTENTION, false, PLAIN_ONLY},
    {"AttnSkipDownBlock2D",        skip_down,  VN_UNET_PIXELS,       false, PLAIN_ONLY},
    {"KDownBlock2D",               k_down,     VN_UNET_NO_ATTENTION, false, ANY},
    {"KCrossAttnDownBlock2D",      NULL,       VN_UNET_NO_ATTENTION, false, TEXT_NOT_YET},
    {"DownEncoderBlock2D",         NULL,       VN_UNET_NO_ATTENTION, false, NONE},
    {"AttnDownEncoderBlock2D",     NULL,       VN_UNET_NO_ATTENTION, false, NONE},
};
static const vn_unet_block up_blocks[] = {
    {"UpBlock2D",                  ddpm_up,    VN_UNET_NO_ATTENTION, false, ANY},
    {"AttnUpBlock2D",              ddpm_up,    VN_UNET_PIXELS,       false, ANY},
    {"ResnetUpsampleBlock2D",      ddpm_up,    VN_UNET_NO_ATTENTION, true,  ANY},
    {"CrossAttnUpBlock2D",         ddpm_up,    VN_UNET_TRANSFORMERS, false, TEXT_ONLY},
    {"SimpleCrossAttnUpBlock2D",   ddpm_up,    VN_UNET_ADDED_KEYS,   true,  TEXT_ONLY},
    {"SkipUpBlock2D",              skip_up,    VN_UNET_NO_ATTENTION, false, PLAIN_ONLY},
    {"AttnSkipUpBlock2D",          skip_up,    VN_UNET_PIXELS,       false, PLAIN_ONLY},
    {"KUpBlock2D",                 k_up,       VN_UNET_NO_ATTENTION, false, ANY},
    {"KCrossAttnUpBlock2D",        NULL,       VN_UNET_NO_ATTENTION, false, TEXT_NOT_YET},
    {"UpDecoderBlock2D",           NULL,       VN_UNET_NO_ATTENTION, false, NONE},
    {"AttnUpDecoderBlock2D",       NULL,       VN_UNET_NO_ATTENTION, false, NONE},
};
/* clang-format on */
_Static_assert(VN_COUNT(down_blocks) == VN_COUNT(up_blocks), "a block down for each up");

static const char *const class_names[] = {"unet2d", "unet2d-condition"};

vn_status vn_unet_find_block(vn_unet_class class, bool up, const char *name,
                             const vn_unet_block **out, vn_err *err) {
    static const char prefix[] = "UNetRes"; /* an old spelling that diffusers still reads */
    const vn_unet_block *rows = up ? up_blocks : down_blocks;
    const char *known[VN_COUNT(down_blocks)],
        *net = class_names[class], *key = up ? "up_block_types" : "down_block_types",
        *bare = strncmp(name, prefix, sizeof prefix - 1) ? name : name + sizeof prefix - 1;
    size_t runnable = 0;
    for (size_t i = 0; i < VN_COUNT(down_blocks); i++) {
        const char *refusal = rows[i].refusal[class];
        *out = &rows[i];
        if (!strcmp(bare, rows[i].name))
            return refusal
                       ? vn_fail(err, VN_UNSUPPORTED, "%s: %s: \"%s\" %s", net, key, name, refusal)
                       : VN_OK;
        if (!refusal) known[runnable++] = rows[i].name;
    }
    return vn_config_refuse(net, key, name, known, runnable, err);
}

vn_status vn_unet_find_blocks(vn_unet *u, const vn_config_names *down, const vn_config_names *up,
                              const vn_config_ints *channels, vn_err *err) {
    u->levels = channels->count;
    if (down->count != u->levels || up->count != u->levels)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: down_block_types, up_block_types and block_out_channels must be of one "
                       "length; they have %zu, %zu and %zu entries",
                       class_names[u->class], down->count, up->count, u->levels);
    vn_status status = VN_OK;
    for (size_t i = 0; i < u->levels && !status; i++) {
        status = vn_unet_find_block(u->class, false, down->at[i], &u->down[i], err);
        if (!status) status = vn_unet_find_block(u->class, true, up->at[i], &u->up[i], err);
    }
    return status;
}

const char *const vn_unet_activations[] = {"silu", "swish", "mish", "gelu", "relu", NULL};
const vn_fn vn_unet_activation_fn[] = {VN_FN_SILU, VN_FN_SILU, VN_FN_MISH, VN_FN_GELU, VN_FN_RELU};
