/* next_token.c - the objective of sequence models: cross entropy of each token, given those before
 * it (2406.06525, of images). The part "vqvae" makes codes of the picture; the sequence begins with
 * a token of the class, or of the null condition where the class was dropped. The numbers of tokens
 * are those of the codes, then of the classes, then the null one; only codes are predicted, so that
 * the loss is exactly minus log p of the picture's codes, divided by their number. */
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

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_graph *g = l->g;
    vn_node *codes = codes_of(l);
    if (!codes) return NULL;
    const int64_t n = codes->shape.dim[0], tokens = codes->shape.dim[1],
                  classes = l->null_label < 0 ? 0 : l->null_label, known = l->tokens - classes - 1;
    vn_node *class = vn_loss_filled(l, "class", VN_SHAPE(n, 1), fill_class);
    class = vn_affine(g, class, 1, (double)known);
    vn_node *before = class;
    if (tokens > 1)
        before = vn_concat(g, 1, 2, (vn_node *[]){class, vn_slice(g, codes, 1, 0, tokens - 1)});
    const vn_given ids = {"input_ids",
                          vn_reshape(g, whole(g, before, l->tokens), VN_SHAPE(n, tokens))};
    vn_node *logits =
        l->network(l->self, &(vn_loss_call){.output = "logits", .n = 1, .given = &ids});
    logits = vn_slice(g, logits, -1, 0, known);
    if (!logits) return NULL;
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
