/* next_token.c - the objective of sequence models: cross entropy of each token, given those before
 * it (2406.06525, of images). The part "vqvae" makes codes of the picture. The sequence begins with
 * a token of the class, or of the null condition where the class was dropped; or with the tokens of
 * the picture's text, of the empty one where it was dropped. The numbers of tokens are those of the
 * codes, then of the classes, then the null one; or of the codes, then of texts' tokens. Only codes
 * are predicted, so that the loss is exactly minus log p of the picture's codes, divided by their
 * number. */
#include "objective/internal.h"

#include <math.h>

/* ---- the loss -------------------------------------------------------------------------------- */

/* The class as the network is told it, and as many classes as there are: none. */
static void fill_class(const vn_loss_sample *s, float *row) {
    row[0] = s->given < 0 ? 0 : (float)s->given;
}

/* Whole numbers [..] of floats as i32. */
static vn_node *whole(vn_graph *g, vn_node *x, int64_t below) {
    if (!x) return NULL;
    float *table = vn_alloc((size_t)below, sizeof *table);
    if (!table) return vn_graph_fail(g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < below; i++) table[i] = (float)i;
    vn_node *numbers = vn_const(g, VN_F32, VN_SHAPE(below, 1), table);
    vn_free(table);
    x = vn_reshape(g, x, VN_SHAPE(vn_shape_count(&x->shape), 1));
    return vn_nearest_row(g, x, numbers);
}

/* The picture's codes as numbers [N,T]. */
static vn_node *codes_of(vn_loss *l) {
    const vn_given picture = {"sample", l->x};
    vn_node *codes = l->network(
        l->self,
        &(vn_loss_call){.part = VN_CODES_PART, .output = "codes", .n = 1, .given = &picture});
    if (!codes) return NULL;
    const int64_t n = codes->shape.dim[0];
    return vn_reshape(l->g, codes, VN_SHAPE(n, vn_shape_count(&codes->shape) / n));
}

/* How many codes there are: the first of the tokens that the network knows. */
static int64_t known_codes(const vn_loss *l) {
    const int64_t classes = l->null_label < 0 ? 0 : l->null_label;
    return l->tokens - (l->text ? l->words : classes + 1);
}

/* The tokens of the texts as numbers [N,L], which follow those of the codes. */
static vn_node *words_of(const vn_loss *l) {
    const int64_t known = known_codes(l), words = l->words;
    float *table = vn_alloc((size_t)words, sizeof *table);
    if (!table) return vn_graph_fail(l->g, VN_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < words; i++) table[i] = (float)(known + i);
    vn_node *numbers = vn_const(l->g, VN_F32, VN_SHAPE(words, 1), table);
    vn_free(table);
    return vn_reshape(l->g, vn_embedding(l->g, numbers, l->text), l->text->shape);
}

/* What the sequences begin with, as numbers [N,P]. */
static vn_node *prefix_of(vn_loss *l, int64_t n) {
    if (l->text) return words_of(l);
    vn_node *class = vn_loss_filled(l, "class", VN_SHAPE(n, 1), fill_class);
    return vn_affine(l->g, class, 1, (double)known_codes(l));
}

/* The logits of the codes [N,T,known], each given what goes before it. */
static vn_node *logits_of(vn_loss *l, vn_node *codes) {
    vn_graph *g = l->g;
    const int64_t n = codes->shape.dim[0], tokens = codes->shape.dim[1];
    vn_node *before = prefix_of(l, n);
    if (!before) return NULL;
    const int64_t prefix = before->shape.dim[1];
    if (tokens > 1)
        before = vn_concat(g, 1, 2, (vn_node *[]){before, vn_slice(g, codes, 1, 0, tokens - 1)});
    const vn_given ids = {
        "input_ids", vn_reshape(g, whole(g, before, l->tokens), VN_SHAPE(n, prefix + tokens - 1))};
    vn_node *logits =
        l->network(l->self, &(vn_loss_call){.output = "logits", .n = 1, .given = &ids});
    if (prefix > 1) logits = vn_slice(g, logits, 1, prefix - 1, tokens);
    return vn_slice(g, logits, -1, 0, known_codes(l));
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_graph *g = l->g;
    vn_node *codes = codes_of(l), *logits = codes ? logits_of(l, codes) : NULL;
    if (!logits) return NULL;
    const int64_t n = codes->shape.dim[0], tokens = codes->shape.dim[1], known = known_codes(l);
    logits = vn_reshape(g, logits, VN_SHAPE(n * tokens, known));
    vn_node *nats = vn_cross_entropy(g, logits, whole(g, codes, known));
    /* bits of each picture, for each of its numbers */
    const int64_t numbers = vn_shape_count(&l->x->shape) / n;
    l->measured =
        vn_affine(g, vn_sum_to(g, vn_reshape(g, nats, VN_SHAPE(n, tokens)), VN_SHAPE(n, 1)),
                  1 / ((double)numbers * log(2)), 0);
    return vn_mean(g, nats);
}

/* ---- what is measured ------------------------------------------------------------------------ */

enum { MEASURED_SAMPLES = 512 };

typedef struct bits {
    double count, sum;
} bits;

static void measure(void *state, const float *numbers, int64_t size, int32_t label,
                    const vn_level *level) {
    bits *b = state;
    (void)size, (void)label, (void)level;
    b->count++;
    b->sum += (double)numbers[0];
}

static void write_measures(const void *state, FILE *to) {
    const bits *b = state;
    if (b->count > 0) vn_fprintf(to, ", \"held_bits_per_dim\": %.6g", b->sum / b->count);
}

static const vn_held_measure measures = {
    .bytes = sizeof(bits), .samples = MEASURED_SAMPLES, .add = measure, .write = write_measures};

const vn_objective_row vn_next_token_objective = {
    {"next-token", "of sequence models: minus log p(token|those before it)", "2406.06525", NULL},
    .predictions = "x0",
    .trains = VN_TRAINS_SEQUENCES,
    .loss = loss,
    .measure = &measures,
};
