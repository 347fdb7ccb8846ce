/* step.c - one step of training: the microbatches that are this process's are scored one after
 * another, their gradients and losses are added by the tree of ranks.h, first here and then over
 * the ranks, and every rank makes the same update. */
#include "train/internal.h"

#include <math.h>

bool vn_trainer_leads(const vn_trainer *t) {
    return !t->s->ranks || t->s->ranks->rank == 0;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

enum { FAILED, STOPS, GOES_ON };

vn_status vn_trainer_agree(const vn_trainer *t, vn_status status, bool *stop, vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    if (!r) return status;
    int64_t least = status ? FAILED : *stop ? STOPS : GOES_ON;
    vn_err second = {0};
    const vn_status agreed = r->agree(r->self, &least, status ? &second : err);
    if (status || agreed) return status ? status : agreed;
    *stop = least == STOPS;
    if (least != FAILED) return VN_OK;
    return vn_fail(err, VN_IO, "another process of this training failed after step %lld",
                   (long long)t->at.step);
}

/* The clock of all is that of the rank that is behind. */
static vn_status agree_on_time(vn_trainer *t, vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    int64_t microseconds = (int64_t)(1e6 * vn_trainer_seconds(t));
    vn_status status = VN_OK;
    if (r && !t->s->steps) status = r->agree(r->self, &microseconds, err);
    t->clock = 1e-6 * (double)microseconds;
    return status;
}

/* The gradient and loss of all ranks. */
static vn_status sum_over_ranks(vn_trainer *t, float *loss, vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    const vn_device *d = t->s->device;
    if (!r) return VN_OK;
    const size_t bytes = t->floats * sizeof(float);
    if (t->shared) d->row->read(d->self, t->shared, t->grads, bytes);
    vn_status status = r->sum(r->self, t->shared ? t->shared : t->grads, t->floats, err);
    if (!status) status = r->sum(r->self, loss, 1, err);
    if (!status && t->shared) d->row->write(d->self, t->grads, t->shared, bytes);
    return status;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* The sums of the gradients, in t->grads, and of the losses of the microbatches of this process. */
static vn_status score(vn_trainer *t, float *loss, vn_err *err) {
    const vn_train_setup *s = t->s;
    const vn_device *d = s->device;
    const int64_t micro = vn_micro_batch(s);
    float sum[64] = {0}; /* of losses, as t->grads of gradients: vn_tree_depth of any number */
    int64_t first, own;
    int top = -1; /* the newest partial sum */
    vn_own_microbatches(s, &first, &own);
    for (int64_t i = 0; i < own; i++) {
        const int64_t sample = (first + i) * micro;
        const vn_scored which = {.part = VN_DATA_TRAIN,
                                 .position = (uint64_t)(t->at.step * s->batch + sample),
                                 .draw = (uint64_t)t->at.step,
                                 .first = sample,
                                 .total = s->batch};
        top++;
        const vn_status status = vn_scorer_run(&t->train, s, &which, t->live_values,
                                               t->grads + (size_t)top * t->floats, &sum[top], err);
        if (status) return status;
        for (int joins = vn_tree_joins(i, own); joins > 0; joins--) {
            top--;
            sum[top] += sum[top + 1];
            d->row->accumulate(d, t->floats, t->grads + (size_t)top * t->floats,
                               t->grads + (size_t)(top + 1) * t->floats);
        }
    }
    *loss = sum[0];
    return VN_OK;
}

/* One update of the live weights and their average, by the gradients' sum times `scale`. Frozen
 * weights get no gradient and no decay. */
static void update(vn_trainer *t, double rate, double scale) {
    const vn_train_setup *s = t->s;
    const vn_adamw o = {.lr = rate,
                        VN_ADAMW_DEFAULTS,
                        .weight_decay = s->weight_decay,
                        .step = t->at.step + 1,
                        .grad_scale = scale,
                        .ema = vn_train_ema(s, t->at.step)};
    const size_t count = vn_weights_count(t->at.weights);
    for (size_t i = 0; i < count;) { /* runs of weights that train lie together */
        const vn_weight *w = vn_weights_at(t->at.weights, i++);
        if (w->frozen) continue;
        const size_t begin = w->offset;
        size_t end = begin + w->count;
        for (; i < count && !vn_weights_at(t->at.weights, i)->frozen; i++)
            end = vn_weights_at(t->at.weights, i)->offset + vn_weights_at(t->at.weights, i)->count;
        s->device->row->adamw(s->device, &o, end - begin, t->live + begin, t->grads + begin,
                              t->moment1 + begin, t->moment2 + begin, t->average + begin);
    }
}

static vn_status refuse_divergence(const vn_trainer *t, vn_err *err) {
    return vn_fail(err, VN_NOT_FINITE,
                   "training diverged at step %lld: loss %g, gradient norm %g (a smaller learning "
                   "rate than %g may help)",
                   (long long)t->at.step + 1, fabs(t->loss), fabs(t->grad_norm), t->s->lr);
}

vn_status vn_trainer_step(vn_trainer *t, double rate, vn_err *err) {
    const vn_train_setup *s = t->s;
    const double all = (double)vn_microbatches(s);
    float loss = 0;
    bool stop = false;
    vn_status status = vn_trainer_agree(t, score(t, &loss, err), &stop, err);
    if (!status) status = sum_over_ranks(t, &loss, err);
    if (status) return status;
    t->loss = (double)loss / all;
    t->grad_norm = sqrt(s->device->row->sum_squares(s->device, t->floats, t->grads)) / all;
    if (!isfinite(t->loss) || !isfinite(t->grad_norm)) return refuse_divergence(t, err);
    const double clip = s->clip > 0 && t->grad_norm > s->clip ? s->clip / t->grad_norm : 1;
    update(t, rate, clip / all);
    t->at.step++;
    t->smooth = isnan(t->smooth) ? t->loss : 0.98 * t->smooth + 0.02 * t->loss;
    return agree_on_time(t, err);
}
