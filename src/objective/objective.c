/* objective.c - opens an objective from its texts, and turns data into the inputs of a training
 * step. */
#include "objective/internal.h"

#include <math.h>
#include <string.h>

#define TIMES      VN_TABLE("distribution of times", vn_times_rows, vn_times_row_count)
#define LEAST_TIME 1e-5 /* score_sde's; no target is infinite there */

struct vn_objective {
    const vn_path *path;
    vn_prediction prediction;
    const vn_objective_row *row;
    const vn_times_row *times;
    vn_choice choice, times_choice;
    const vn_denoiser *truth;
    bool stratified;
    double drop;
    int32_t null_label;
    uint64_t seed;
};

/* ---- opening --------------------------------------------------------------------------------- */

/* Whether `name` is one of "a|b|c". */
static bool among(const char *name, const char *list) {
    size_t n = strlen(name);
    for (; list; list = strchr(list, '|') ? strchr(list, '|') + 1 : NULL)
        if (strcspn(list, "|") == n && strncmp(list, name, n) == 0) return true;
    return false;
}

static vn_status choose_objective(vn_objective *o, const char *text, vn_err *err) {
    vn_status status = vn_choice_parse(text, &vn_objectives, &o->choice, err);
    if (status) return status;
    o->row = (const vn_objective_row *)o->choice.row;
    const char *prediction = o->prediction.row->row.name;
    if (!among(prediction, o->row->predictions))
        return vn_fail(err, VN_BAD_ARGUMENT, "the objective %s trains %s, not %s", o->row->row.name,
                       o->row->predictions, prediction);
    if (o->row->exact && !o->truth)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "the objective %s needs data whose score is known: points:gaussians or a world file",
            o->row->row.name);
    if (o->row->bound && !o->path->steps)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "the objective %s learns the variance of a step, and %s has no steps; use ddpm",
            o->row->row.name, o->path->row->row.name);
    const bool regresses = o->row->weight != NULL;
    /* one, not two */
    if (regresses && strcmp(prediction, "edm") == 0 && !o->choice.given[VN_WEIGHT_SIGMA_DATA])
        o->choice.value[VN_WEIGHT_SIGMA_DATA] = o->prediction.choice.value[0];
    return o->row->check ? o->row->check(&o->choice, err) : VN_OK;
}

static vn_status choose_times(vn_objective *o, const char *text, vn_err *err) {
    vn_status status = vn_choice_parse(text, TIMES, &o->times_choice, err);
    if (status) return status;
    o->times = &vn_times_rows[o->times_choice.index];
    o->stratified = o->times->stratified;
    const vn_param *params = o->times->row.params;
    for (int i = 0; params && params[i].name; i++)
        if (strcmp(params[i].name, "stratified") == 0)
            o->stratified = o->times_choice.value[i] != 0;
    return VN_OK;
}

vn_status vn_objective_check(const char *objective, const char *times, vn_err *err) {
    vn_choice choice;
    vn_status status = objective ? vn_choice_parse(objective, &vn_objectives, &choice, err) : VN_OK;
    if (!status && times) status = vn_choice_parse(times, TIMES, &choice, err);
    return status;
}

vn_status vn_objective_open(const vn_objective_options *options, vn_objective **out, vn_err *err) {
    *out = NULL;
    if (!(options->drop >= 0 && options->drop <= 1))
        return vn_fail(err, VN_BAD_ARGUMENT, "drop %g is outside [0, 1]", options->drop);
    vn_objective *o = vn_calloc(1, sizeof *o);
    if (!o) return vn_no_memory(err);
    o->path = options->path;
    o->prediction = *options->prediction;
    o->drop = options->drop;
    o->null_label = options->null_label;
    o->seed = options->seed;
    o->truth = options->truth;
    const char *objective = options->objective ? options->objective : o->prediction.row->objective;
    vn_status status = choose_objective(o, objective, err);
    if (!status)
        status = choose_times(o, options->times ? options->times : o->path->row->times, err);
    if (status) vn_objective_close(&o);
    *out = o;
    return status;
}

void vn_objective_close(vn_objective **o) {
    vn_free(*o);
    *o = NULL;
}

bool vn_objective_learns_variance(const vn_objective *o) {
    return o->row->bound != NULL;
}

/* ---- a batch --------------------------------------------------------------------------------- */

static double draw_time(const vn_objective *o, const vn_objective_batch *b, uint64_t sample) {
    const int64_t total = b->total ? b->total : b->n;
    double u = vn_random_double(o->seed, VN_STREAM_TIME, o->stratified ? 0 : sample, b->step);
    if (o->stratified) u = fmod(u + (double)sample / (double)total, 1);
    u = fmin(fmax(u, 1e-12), 1 - 1e-12);
    double t = o->times->quantile(&o->times_choice, o->path, u);
    return vn_path_snap(o->path, fmin(fmax(t, LEAST_TIME), 1));
}

static int32_t draw_label(const vn_objective *o, const vn_objective_batch *b, int64_t i,
                          uint64_t sample) {
    const bool dropped = vn_random_double(o->seed, VN_STREAM_DROP, sample, b->step) < o->drop;
    return dropped || !b->labels || b->labels[i] < 0 ? VN_LABEL_NULL : b->labels[i];
}

/* x_t, and the raw output that is the prediction for the (x0, eps) that made it. eps is drawn into
 * x's memory. */
static void mix(const vn_objective *o, const vn_objective_batch *b, int64_t i,
                const vn_coefficients *m) {
    const vn_level *l = &b->level[i];
    const size_t size = (size_t)b->size, at = (size_t)i * size;
    const float alpha = (float)l->alpha, sigma = (float)l->sigma, raw_x0 = (float)m->raw_x0,
                raw_eps = (float)m->raw_eps;
    const float *restrict x0 = b->x0 + at;
    float *restrict x = b->x + at, *restrict target = b->target ? b->target + at : NULL;
    vn_random_normal(x, size, o->seed, VN_STREAM_TRAIN_NOISE, b->first + (uint64_t)i, b->step);
    if (target && !o->row->exact)
        for (size_t j = 0; j < size; j++) target[j] = raw_x0 * x0[j] + raw_eps * x[j];
    for (size_t j = 0; j < size; j++) x[j] = alpha * x0[j] + sigma * x[j];
}

static void fill_bound(const vn_objective *o, const vn_objective_batch *b, int64_t i,
                       const vn_coefficients *m) {
    double number[VN_BOUND_NUMBERS];
    o->row->bound(&o->choice, o->path, &b->level[i], m, number);
    for (int k = 0; k < VN_BOUND_NUMBERS; k++) b->bound[k * b->n + i] = (float)number[k];
}

static void fill_row(const vn_objective *o, const vn_objective_batch *b, int64_t i) {
    const uint64_t sample = b->first + (uint64_t)i;
    const vn_level l = b->level[i] = vn_path_level(o->path, draw_time(o, b, sample));
    const vn_coefficients m = vn_prediction_coefficients(&o->prediction, &l);
    mix(o, b, i, &m);
    b->time[i] = (float)vn_path_network_time(o->path, &l);
    b->network_labels[i] = draw_label(o, b, i, sample);
    if (b->weight) b->weight[i] = (float)o->row->weight(&o->choice, &o->prediction, &l);
    if (b->probe)
        o->row->probe(&o->choice, (size_t)b->size, o->seed, sample, b->step,
                      b->probe + i * o->row->directions(&o->choice, b->size) * b->size);
    if (b->noise) {
        b->noise[i] = (float)(m.eps_x / m.input);
        b->noise[b->n + i] = (float)m.eps_raw;
        b->noise[2 * b->n + i] = (float)(l.sigma * m.input);
    }
    if (b->data)
        memcpy(b->data + i * b->size, b->x0 + i * b->size, (size_t)b->size * sizeof *b->data);
    if (b->bound) fill_bound(o, b, i, &m);
}

/* Until here x is x_t, and the null label is VN_LABEL_NULL, as for denoisers; the network's input
 * is scaled, and its null label has another number. */
static void finish_row(const vn_objective *o, const vn_objective_batch *b, int64_t i) {
    const float scale = (float)vn_prediction_coefficients(&o->prediction, &b->level[i]).input;
    float *x = b->x + i * b->size;
    for (int64_t j = 0; scale != 1 && j < b->size; j++) x[j] *= scale;
    if (b->network_labels[i] == VN_LABEL_NULL) b->network_labels[i] = o->null_label;
}

typedef struct filling {
    const vn_objective *objective;
    const vn_objective_batch *batch;
} filling;

static void fill_task(void *context, int64_t i, int thread) {
    const filling *f = context;
    (void)thread;
    fill_row(f->objective, f->batch, i);
}

vn_status vn_objective_fill(const vn_objective *o, const vn_objective_batch *b, vn_err *err) {
    vn_thread_pool_run(b->pool, b->n, fill_task, &(filling){o, b});
    vn_status status = VN_OK;
    if (o->row->exact) {
        const vn_query q = {
            .n = b->n, .x = b->x, .level = b->level, .condition = b->network_labels};
        status = o->truth->predict(o->truth->self, &q, b->target, err);
    }
    for (int64_t i = 0; i < b->n && !status; i++) finish_row(o, b, i);
    return status;
}

vn_node *vn_objective_loss(const vn_objective *o, vn_graph *g, vn_loss_nodes *nodes) {
    return nodes->x && nodes->output ? o->row->loss(&o->choice, g, nodes) : NULL;
}

/* ---- what losses share ----------------------------------------------------------------------- */

vn_shape vn_sample_shape(const vn_shape *x) {
    vn_shape one = {.rank = x->rank, .dim = {x->dim[0]}};
    for (int i = 1; i < one.rank; i++) one.dim[i] = 1;
    return one;
}

vn_node *vn_per_sample(vn_graph *g, vn_node *numbers, const vn_node *x) {
    return vn_reshape(g, numbers, vn_sample_shape(&x->shape));
}
