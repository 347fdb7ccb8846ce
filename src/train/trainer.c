/* trainer.c - the life of a run: its first checkpoint; arrays, graphs and log opened from one;
 * saved; closed. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

double vn_trainer_seconds(const vn_trainer *t) {
    return t->before + (vn_now() - t->started);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

static float *zeros(size_t count) {
    float *x = vn_alloc_aligned(count, sizeof(float));
    for (size_t i = 0; x && i < count; i++) x[i] = 0;
    return x;
}

static vn_status open_host(vn_checkpoint *c, vn_err *err) {
    float **const arrays[] = {&c->live, &c->average, &c->moment1, &c->moment2};
    for (size_t i = 0; i < VN_COUNT(arrays); i++)
        if (!(*arrays[i] = zeros(vn_weights_floats(c->weights)))) return vn_no_memory(err);
    return VN_OK;
}

static void close_host(vn_checkpoint *c) {
    vn_free(c->live);
    vn_free(c->average);
    vn_free(c->moment1);
    vn_free(c->moment2);
}

static vn_status open_arrays(vn_trainer *t, vn_err *err) {
    const vn_device *d = t->s->device;
    float **const arrays[] = {&t->live, &t->average, &t->moment1, &t->moment2, &t->grads};
    for (size_t i = 0; i < VN_COUNT(arrays); i++) {
        void *at = NULL;
        const size_t rows = arrays[i] == &t->grads ? (size_t)t->sums : 1;
        const vn_status status = vn_device_zeros(d, rows * t->floats * sizeof(float), &at, err);
        if (status) return status;
        *arrays[i] = at;
    }
    vn_status status = vn_values_over(t->at.weights, d, t->live, &t->live_values, err);
    if (!status) status = vn_values_over(t->at.weights, d, t->average, &t->average_values, err);
    if (status) return status;
    if (!d->row->host_memory && t->s->ranks && !(t->shared = zeros(t->floats)))
        return vn_no_memory(err);
    if (!d->row->host_memory) return open_host(&t->at, err);
    t->at.live = t->live;
    t->at.average = t->average;
    t->at.moment1 = t->moment1;
    t->at.moment2 = t->moment2;
    return VN_OK;
}

static void close_arrays(vn_trainer *t) {
    const vn_device *d = t->s->device;
    float *const arrays[] = {t->live, t->average, t->moment1, t->moment2, t->grads};
    vn_values_close(&t->live_values);
    vn_values_close(&t->average_values);
    for (size_t i = 0; i < VN_COUNT(arrays); i++) vn_device_give(d, arrays[i]);
    if (!d->row->host_memory) close_host(&t->at);
    vn_free(t->shared);
}

/* Between the device's arrays and what the host sees of them. */
static void exchange(vn_trainer *t, bool to_device) {
    const vn_device *d = t->s->device;
    float *const there[] = {t->live, t->average, t->moment1, t->moment2}, *const here[] = {
                                                                              t->at.live,
                                                                              t->at.average,
                                                                              t->at.moment1,
                                                                              t->at.moment2};
    for (size_t i = 0; i < VN_COUNT(there); i++)
        if (here[i] == there[i])
            continue;
        else if (to_device)
            d->row->write(d->self, there[i], here[i], t->floats * sizeof(float));
        else
            d->row->read(d->self, here[i], there[i], t->floats * sizeof(float));
}

static vn_status write(vn_checkpoint *c, const char *run, const vn_net *net, double seconds,
                       double smooth, vn_err *err) {
    c->info = json_pack("{s:f}", "seconds", seconds);
    if (!c->info) return vn_no_memory(err);
    vn_status status = VN_OK;
    if (isfinite(smooth) && json_object_set_new(c->info, "loss_mean", json_real(smooth)) != 0)
        status = vn_no_memory(err);
    if (!status) status = vn_store_save_checkpoint(run, vn_net_get_row(net)->folder, c, err);
    json_decref(c->info);
    c->info = NULL;
    return status;
}

vn_status vn_train_create(const char *run, const vn_net *net, uint64_t seed, vn_err *err) {
    vn_checkpoint c = {.weights = vn_net_weights(net)};
    vn_status status = open_host(&c, err);
    if (!status) {
        vn_weights_init(c.weights, c.live, seed);
        memcpy(c.average, c.live, vn_weights_floats(c.weights) * sizeof(float));
        status = write(&c, run, net, 0, (double)NAN, err);
    }
    close_host(&c);
    return status;
}

/* All that a checkpoint holds of a step. */
static bool all_finite(const vn_trainer *t) {
    const float *const arrays[] = {t->at.live, t->at.average, t->at.moment1, t->at.moment2};
    for (size_t i = 0; i < VN_COUNT(arrays); i++)
        for (size_t k = 0; k < t->floats; k++)
            if (!isfinite(arrays[i][k])) return false;
    return true;
}

vn_status vn_trainer_save(vn_trainer *t, vn_err *err) {
    exchange(t, false);
    if (!all_finite(t))
        return vn_fail(err, VN_NOT_FINITE,
                       "training diverged: the weights of step %lld are not finite (a smaller "
                       "learning rate than %g may help)",
                       (long long)t->at.step, t->s->lr);
    return write(&t->at, t->s->run, t->s->net, vn_trainer_seconds(t), t->smooth, err);
}

static vn_status load(vn_trainer *t, vn_err *err) {
    const vn_status status =
        vn_store_load_checkpoint(t->s->run, vn_net_get_row(t->s->net)->folder, &t->at, err);
    if (status) return status;
    exchange(t, true);
    const json_t *smooth = json_object_get(t->at.info, "loss_mean");
    t->before = json_number_value(json_object_get(t->at.info, "seconds"));
    if (smooth) t->smooth = json_number_value(smooth);
    json_decref(t->at.info);
    t->at.info = NULL;
    return VN_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t vn_held_batch(const vn_train_setup *s) {
    return min_i64(min_i64(s->batch, vn_data_get_info(s->data)->held), 64);
}

int64_t vn_microbatches(const vn_train_setup *s) {
    return s->microbatches ? s->microbatches : 1;
}

int64_t vn_micro_batch(const vn_train_setup *s) {
    return s->batch / vn_microbatches(s);
}

void vn_own_microbatches(const vn_train_setup *s, int64_t *first, int64_t *own) {
    *own = vn_microbatches(s) / (s->ranks ? s->ranks->count : 1);
    *first = s->ranks ? s->ranks->rank * *own : 0;
}

static vn_status check_microbatches(const vn_train_setup *s, vn_err *err) {
    const int64_t all = vn_microbatches(s), ranks = s->ranks ? s->ranks->count : 1;
    const int64_t own = all / ranks;
    if (s->batch % all)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a batch of %lld cannot be split into %lld equal microbatches",
                       (long long)s->batch, (long long)all);
    if (ranks > 1 && (own < 1 || all % ranks || (own & (own - 1))))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%lld microbatches cannot be dealt to %lld processes: each makes as many, "
                       "1, 2, 4, 8 or another power of two",
                       (long long)all, (long long)ranks);
    return VN_OK;
}

/* Arrays as long as the weights: values, average, two moments, and partial sums of gradients. */
static int weight_arrays(const vn_train_setup *s) {
    int64_t first, own;
    vn_own_microbatches(s, &first, &own);
    return 4 + vn_tree_depth(own);
}

vn_status vn_train_measure(const vn_train_setup *s, double *bytes, vn_err *err) {
    const int64_t held = vn_held_batch(s);
    size_t step = 0, score = 0;
    double flops;
    vn_status status = check_microbatches(s, err);
    if (!status)
        status = vn_scorer_measure(s, vn_micro_batch(s), true, s->recompute, &step, &flops, err);
    if (!status && held > 0)
        status = vn_scorer_measure(s, held, false, s->recompute, &score, &flops, err);
    *bytes = (double)weight_arrays(s) * sizeof(float) *
                 (double)vn_weights_floats(vn_net_weights(s->net)) +
             (double)step + (double)score + (double)vn_data_get_info(s->data)->memory;
    return status;
}

vn_status vn_trainer_open(vn_trainer *t, const vn_train_setup *s, vn_err *err) {
    *t = (vn_trainer){.s = s,
                      .at.weights = vn_net_weights(s->net),
                      .smooth = (double)NAN,
                      .held_loss = (double)NAN,
                      .log.fd = -1};
    t->floats = vn_weights_floats(t->at.weights);
    t->started = t->saved = t->previewed = vn_now();
    vn_status status = check_microbatches(s, err);
    if (status) return status;
    t->sums = weight_arrays(s) - 4;
    const int64_t held = vn_held_batch(s);
    status = open_arrays(t, err);
    if (!status) status = vn_scorer_open(&t->train, s, vn_micro_batch(s), true, err);
    if (!status && held > 0) status = vn_scorer_open(&t->held, s, held, false, err);
    if (!status) status = load(t, err);
    if (!status && vn_trainer_leads(t)) status = vn_train_log_open(t, err);
    t->first = t->saved_step = t->at.step;
    t->clock = t->before;
    t->started = t->saved = t->previewed = vn_now();
    return status;
}

void vn_trainer_close(vn_trainer *t) {
    vn_scorer_close(&t->train);
    vn_scorer_close(&t->held);
    close_arrays(t);
    vn_train_log_close(t);
    *t = (vn_trainer){0};
}
