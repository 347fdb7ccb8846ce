/* cross_entropy.c - the objective of classifiers: minus log p(y|x_t), at the path's own levels, so
 * that the gradient of log p(y|x_t) is worth something at each (2105.05233); or on clean samples,
 * with the times `clean`.
 *
 *     loss = log sum_k exp z_k - sum_k q_k z_k      z the logits [N,K],
 *                                                   q = (1 - s) onehot(y) + s/K
 *
 * with label smoothing s (1512.00567), which keeps the logits from growing without end: guidance
 * uses the gradient of log p, so over-confidence is over-guidance. Samples without a label count
 * for nothing. On held-out samples it measures how well the classes are told, by quarter of t. */
#include "objective/internal.h"

#include <math.h>

static const vn_param params[] = {
    {"smoothing", "share of each label that is spread over all classes", 0, 0, 0.9, 0, NULL},
    {0},
};
enum { SMOOTHING };

/* ---- the loss -------------------------------------------------------------------------------- */

/* q of one sample [K]; zero without a label. */
static void fill_target(const vn_loss_sample *s, float *row) {
    const int64_t classes = s->row;
    const double smoothing = s->choice->value[SMOOTHING];
    const bool labelled = s->label >= 0 && s->label < classes;
    for (int64_t k = 0; k < classes; k++)
        row[k] = labelled ? (float)(smoothing / (double)classes) : 0;
    if (labelled) row[s->label] += (float)(1 - smoothing);
}

/* log sum_k exp z_k [N,1]: the cross entropy of class 0, plus its logit. */
static vn_node *log_sum_exp(vn_graph *g, vn_node *logits) {
    const int64_t n = logits->shape.dim[0];
    int32_t *zeros = vn_calloc((size_t)n, sizeof *zeros);
    if (!zeros) return vn_graph_fail(g, VN_NO_MEMORY, "out of memory");
    vn_node *first = vn_const(g, VN_I32, VN_SHAPE(n), zeros);
    vn_free(zeros);
    vn_node *of_first = vn_reshape(g, vn_cross_entropy(g, logits, first), VN_SHAPE(n, 1));
    return vn_add(g, of_first, vn_slice(g, logits, 1, 0, 1));
}

static vn_node *loss(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_graph *g = l->g;
    vn_node *logits = l->network(l->self, &(vn_loss_call){.output = "logits"});
    vn_node *target = logits ? vn_loss_filled(l, "target", logits->shape, fill_target) : NULL;
    if (!target) return NULL;
    l->measured = logits;
    const vn_shape column = VN_SHAPE(logits->shape.dim[0], 1);
    vn_node *labelled = vn_sum_to(g, target, column);
    return vn_mean(g, vn_sub(g, vn_mul(g, labelled, log_sum_exp(g, logits)),
                             vn_sum_product_to(g, target, logits, column)));
}

/* ---- what is measured ------------------------------------------------------------------------ */

enum { QUARTERS = 4, MEASURED_SAMPLES = 2048 };

typedef struct by_quarter {
    vn_class_quality quarter[QUARTERS];
} by_quarter;

static void measure(void *state, const float *logits, int64_t classes, int32_t label,
                    const vn_level *level) {
    by_quarter *q = state;
    const int i = (int)(level->t * QUARTERS);
    vn_class_quality_add(&q->quarter[i < 0          ? 0
                                     : i < QUARTERS ? i
                                                    : QUARTERS - 1],
                         logits, classes, label);
}

/* Numbers by name; those of a quarter without samples are null. */
static void write_measures(const void *state, FILE *to) {
    static const struct {
        const char *name;
        double (*of)(const vn_class_quality *q);
    } measures[] = {{"accuracy", vn_class_accuracy}, {"nll", vn_class_nll}, {"ece", vn_class_ece}};
    const by_quarter *q = state;
    vn_class_quality all = {0};
    for (int i = 0; i < QUARTERS; i++) vn_class_quality_join(&all, &q->quarter[i]);
    if (!(all.count > 0)) return;
    for (size_t m = 0; m < VN_COUNT(measures); m++) {
        vn_fprintf(to, ", \"held_%s\": %.6g", measures[m].name, measures[m].of(&all));
        fprintf(to, ", \"%s_by_quarter\": [", measures[m].name);
        for (int i = 0; i < QUARTERS; i++) {
            const double value = measures[m].of(&q->quarter[i]);
            fputs(i ? ", " : "", to);
            if (isfinite(value))
                vn_fprintf(to, "%.6g", value);
            else
                fputs("null", to);
        }
        fputs("]", to);
    }
}

static const vn_held_measure measures = {
    .bytes = sizeof(by_quarter),
    .samples = MEASURED_SAMPLES,
    .add = measure,
    .write = write_measures,
};

const vn_objective_row vn_cross_entropy_objective = {
    {"cross-entropy", "of classifiers: minus log p(class|x_t), accuracy measured by quarter of t",
     "2105.05233", params},
    .predictions = "edm",
    .trains = VN_TRAINS_CLASSIFIERS,
    .loss = loss,
    .measure = &measures,
};
