/* joint.c - blocks of transformers with two streams of tokens, an image's and a text's, each with
 * weights of its own, that meet in attention: MMDiT (arXiv 2403.03206), as Stable Diffusion 3 has
 * it, and the double blocks of Flux. A block, with c what time and text say of the whole sample:
 *
 *     b1, s1, g1, b2, s2, g2 = W silu(c)              for each stream
 *     x <- x + g1 attention(norm(x) (1 + s1) + b1)    over the tokens of both streams
 *     x <- x + g2 feed_forward(norm(x) (1 + s2) + b2)
 *
 * and what both networks begin and end with. A text to be led away from (NAG, 2505.21179) is a
 * third stream, with the text's weights and c; the image's tokens, which are the same for both,
 * take from each what vn_normalized_attention makes one of. The text's tokens lie before the
 * image's wherever the two are one row; diffusers' SD3 has them behind, which is the same but
 * for rounding. */
#include "nn/transformer.h"

#include <math.h>

static const vn_feed_forward feed_forward = {.fn = VN_FN_GELU_TANH, .slope = 1};

/* Where diffusers has a stream's weights. */
typedef struct stream_names {
    const char *norm1, *q, *k, *v, *norm_q, *norm_k, *out, *feed;
} stream_names;

static const stream_names image_names = {"norm1",  "to_q",   "to_k",     "to_v",
                                         "norm_q", "norm_k", "to_out.0", "ff"};
static const stream_names text_names = {"norm1_context", "add_q_proj",   "add_k_proj",
                                        "add_v_proj",    "norm_added_q", "norm_added_k",
                                        "to_add_out",    "ff_context"};

static int64_t width_of(const vn_joint *j) {
    return j->style.heads * j->style.head_dim;
}

/* ---- modulation ------------------------------------------------------------------------------ */

/* The parts of a modulation, in diffusers' order. */
enum {
    SHIFT_1,
    SCALE_1,
    GATE_1,
    SHIFT_2,
    SCALE_2,
    GATE_2,
    PARTS,
    SHIFT_3 = PARTS,
    SCALE_3,
    GATE_3
};
#define DUAL_PARTS (PARTS + 3)

vn_node *vn_joint_modulation(const vn_scope *s, const char *name, vn_node *c, int64_t width,
                             int parts) {
    vn_scope at = vn_scope_in(s, "%s", name);
    at.init = VN_LAYER_INIT_ZERO;
    return vn_layer_linear(&at, "linear", vn_unary(s->g, c, VN_FN_SILU), width, parts * width);
}

vn_node *vn_joint_norm(const vn_scope *s, vn_node *x, vn_node *e, int shift, int scale,
                       int64_t width) {
    const vn_modulation by = {vn_part_of(s, e, scale, width), vn_part_of(s, e, shift, width)};
    return vn_layer_modulated_norm(s, NULL, x, &by, width, 0, VN_MODULATED_EPS, VN_FN_IDENTITY);
}

/* x + gate y */
static vn_node *add_gated(const vn_scope *s, vn_node *x, vn_node *y, vn_node *e, int gate,
                          int64_t width) {
    return vn_mul_add(s->g, y, vn_token_part(s, e, gate, width), x);
}

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct projections {
    vn_node *q, *k, *v;
} projections;

static projections project(const vn_scope *s, const vn_joint *j, const stream_names *n,
                           vn_node *x) {
    const int64_t width = width_of(j);
    vn_node *q = vn_layer_linear(s, n->q, x, width, width);
    vn_node *k = vn_layer_linear(s, n->k, x, width, width);
    vn_node *v = vn_layer_linear(s, n->v, x, width, width);
    return (projections){vn_normed_heads(s, n->norm_q, q, &j->style),
                         vn_normed_heads(s, n->norm_k, k, &j->style), v};
}

/* Of a text's tokens, if there are any, and the image's after them. */
static vn_node *attend(const vn_scope *s, const vn_joint *j, const vn_rope *rope, int64_t text,
                       const projections *p) {
    const vn_heads heads = {.count = (int)j->style.heads,
                            .scale = 1 / sqrt((double)j->style.head_dim),
                            .prefix = text,
                            .rows = j->rows,
                            .columns = j->columns,
                            .text = true};
    return vn_self_attention(s, vn_rotated_heads(s, p->q, &j->style, rope),
                             vn_rotated_heads(s, p->k, &j->style, rope), p->v, &heads);
}

vn_node *vn_joint_self_attention(const vn_scope *s, const vn_joint *j, vn_node *x) {
    const projections p = project(s, j, &image_names, x);
    return attend(s, j, &j->rope, 0, &p);
}

static vn_node *joined(const vn_scope *s, vn_node *text, vn_node *image) {
    return vn_concat(s->g, 1, 2, (vn_node *[]){text, image});
}

vn_node *vn_joint_join(const vn_scope *s, const vn_streams *x) {
    return joined(s, x->text, x->image);
}

vn_streams vn_joint_split(const vn_scope *s, vn_node *both, int64_t text) {
    if (!both) return (vn_streams){0};
    const int64_t all = both->shape.dim[1];
    return (vn_streams){.image = vn_slice(s->g, both, 1, text, all - text),
                        .text = vn_slice(s->g, both, 1, 0, text)};
}

/* What a text and the image take from both. */
static vn_streams meet(const vn_scope *s, const vn_joint *j, const vn_rope *rope,
                       const projections *text, const projections *image) {
    const projections both = {joined(s, text->q, image->q), joined(s, text->k, image->k),
                              joined(s, text->v, image->v)};
    if (!both.q) return (vn_streams){0};
    const int64_t tokens = text->q->shape.dim[1];
    return vn_joint_split(s, attend(s, j, rope, tokens, &both), tokens);
}

/* The image meets the text, and the one to be led away from. */
static vn_streams meet_texts(const vn_scope *s, const vn_joint *j, const projections *text,
                             const projections *negative, const projections *image) {
    vn_streams y = meet(s, j, &j->rope, text, image);
    if (!negative->q) return y;
    const vn_streams other = meet(s, j, &j->negative_rope, negative, image);
    y.image = vn_normalized_attention(s, y.image, other.image);
    y.negative = other.text;
    return y;
}

/* What attention adds to each stream, before the gates. text_out: the texts' are wanted. */
static vn_streams joint_attention(const vn_scope *s, const vn_joint *j, vn_streams x,
                                  bool text_out) {
    if (!x.image || !x.text) return (vn_streams){0};
    const int64_t width = width_of(j);
    const projections image = project(s, j, &image_names, x.image),
                      text = project(s, j, &text_names, x.text);
    projections negative = {0};
    if (x.negative) negative = project(s, j, &text_names, x.negative);
    vn_streams y = meet_texts(s, j, &text, &negative, &image);
    y.image = vn_layer_linear(s, image_names.out, y.image, width, width);
    y.text = text_out ? vn_layer_linear(s, text_names.out, y.text, width, width) : NULL;
    y.negative = text_out && y.negative
                     ? vn_layer_linear(s, text_names.out, y.negative, width, width)
                     : NULL;
    return y;
}

/* Tokens of one weight that are projected together, as the two that they are. */
static projections part_of(const vn_scope *s, const projections *p, int64_t begin, int64_t count) {
    return (projections){vn_slice(s->g, p->q, 1, begin, count),
                         vn_slice(s->g, p->k, 1, begin, count),
                         vn_slice(s->g, p->v, 1, begin, count)};
}

vn_node *vn_joint_single_attention(const vn_scope *s, const vn_joint *j, int64_t text, vn_node *x,
                                   vn_node **negative) {
    const projections both = project(s, j, &image_names, x);
    if (!negative || !*negative || !both.q) return attend(s, j, &j->rope, text, &both);
    const projections other = project(s, j, &image_names, *negative),
                      of_text = part_of(s, &both, 0, text),
                      image = part_of(s, &both, text, x->shape.dim[1] - text);
    const vn_streams y = meet_texts(s, j, &of_text, &other, &image);
    *negative = y.negative;
    return vn_joint_join(s, &y);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The norm of a text before attention: the last block's has a scale and a shift, in that order, and
 * nothing else. */
static vn_node *normed_text(const vn_scope *s, vn_node *x, vn_node *e, bool last, int64_t width) {
    if (!x) return NULL;
    return last ? vn_joint_norm(s, x, e, 1, 0, width)
                : vn_joint_norm(s, x, e, SHIFT_1, SCALE_1, width);
}

/* The second half of a block, of one stream. */
static vn_node *feed(const vn_scope *s, const stream_names *n, vn_node *x, vn_node *e,
                     int64_t width) {
    const vn_scope at = vn_scope_in(s, "%s", n->feed);
    vn_node *h = vn_joint_norm(s, x, e, SHIFT_2, SCALE_2, width);
    h = vn_layer_feed_forward(&at, h, width, &feed_forward);
    return add_gated(s, x, h, e, GATE_2, width);
}

vn_streams vn_joint_block(const vn_scope *s, const vn_joint *j, vn_streams x, vn_node *c,
                          vn_joint_kind kind) {
    const int64_t width = width_of(j);
    const vn_scope first = vn_scope_in(s, "attn"), second = vn_scope_in(s, "attn2");
    vn_node *of_image =
        vn_joint_modulation(s, image_names.norm1, c, width, kind.dual ? DUAL_PARTS : PARTS);
    vn_node *of_text = vn_joint_modulation(s, text_names.norm1, c, width, kind.last ? 2 : PARTS);
    if (!vn_perturbed(s, VN_ATTENTION_SKIPPED, NULL)) {
        const vn_streams normed = {
            .image = vn_joint_norm(s, x.image, of_image, SHIFT_1, SCALE_1, width),
            .text = normed_text(s, x.text, of_text, kind.last, width),
            .negative = normed_text(s, x.negative, of_text, kind.last, width)};
        const vn_streams a = joint_attention(&first, j, normed, !kind.last);
        vn_node *image = add_gated(s, x.image, a.image, of_image, GATE_1, width);
        if (kind.dual) {
            vn_node *h = vn_joint_norm(s, x.image, of_image, SHIFT_3, SCALE_3, width);
            h = vn_joint_self_attention(&second, j, h);
            h = vn_layer_linear(&second, image_names.out, h, width, width);
            image = add_gated(s, image, h, of_image, GATE_3, width);
        }
        x.image = image;
        if (!kind.last) x.text = add_gated(s, x.text, a.text, of_text, GATE_1, width);
        if (!kind.last && x.negative)
            x.negative = add_gated(s, x.negative, a.negative, of_text, GATE_1, width);
    }
    x.image = feed(s, &image_names, x.image, of_image, width);
    if (!kind.last) x.text = feed(s, &text_names, x.text, of_text, width);
    if (!kind.last && x.negative) x.negative = feed(s, &text_names, x.negative, of_text, width);
    vn_block_end(x.text);
    vn_block_end(x.image);
    return x;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

#define FEATURES 256 /* of a number's sinusoids */

vn_node *vn_joint_embed_number(const vn_scope *s, const char *name, vn_node *number,
                               int64_t width) {
    const vn_scope at = vn_scope_in(s, "time_text_embed");
    return vn_time_embedding(&at, name, vn_time_sinusoids(s, number, FEATURES, true, 0), FEATURES,
                             width);
}

vn_node *vn_joint_embed_pooled(const vn_scope *s, int64_t in, int64_t width) {
    const vn_scope at = vn_scope_in(s, "time_text_embed");
    return vn_time_embedding(&at, "text_embedder", vn_scope_input(s, "pooled_projections"), in,
                             width);
}

vn_node *vn_joint_output(const vn_scope *s, vn_node *x, vn_node *c, int64_t width, int64_t out) {
    vn_scope zero = *s;
    zero.init = VN_LAYER_INIT_ZERO;
    vn_node *e = vn_joint_modulation(s, "norm_out", c, width, 2);
    return vn_layer_linear(&zero, "proj_out", vn_joint_norm(s, x, e, 1, 0, width), width, out);
}

void vn_joint_add_text(vn_net_io *io, int64_t width, int64_t pooled) {
    vn_net_add_input(io, (vn_port){.name = "encoder_hidden_states",
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, width),
                                   .features = true});
    vn_net_add_input(io, (vn_port){.name = "pooled_projections",
                                   .shape = VN_SHAPE(VN_DIM_BATCH, pooled),
                                   .features = true});
}
