/* step.c - one step of training: gradients and losses of the microbatches that are this process's,
 * which workers.c makes, are added over the ranks by the tree of ranks/tree.h, and every rank makes
 * the same update. */
#include "train/internal.h"

#include <math.h>

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
    return vn_fail(err, VN_IO, VN_ANOTHER_FAILED " after step %lld", (long long)t->at.step);
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

/* The gradients and losses of all ranks. */
static vn_status sum_over_ranks(vn_trainer *t, float loss[VN_OBJECTIVE_LOSSES], vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    const vn_device *d = t->s->device;
    vn_status status = VN_OK;
    if (!r) return VN_OK;
    for (int i = 0; i < t->s->parts && !status; i++) {
        if (!vn_trainer_part_due(t, i)) continue;
        const vn_part_state *p = &t->part[i];
        float *there = t->grads + p->base, *here = t->shared ? t->shared + p->base : there;
        const size_t bytes = p->floats * sizeof(float);
        if (here != there) d->row->read(d->self, here, there, bytes);
        status = r->sum(r->self, here, p->floats, err);
        if (!status && here != there) d->row->write(d->self, there, here, bytes);
    }
    for (int i = 0; i < t->losses && !status; i++)
        if (vn_trainer_loss_due(t, i)) status = r->sum(r->self, &loss[i], 1, err);
    return status;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* One update of a part's live weights and their average, by the gradients' sum times `scale`. */
static void update(vn_trainer *t, const vn_part_state *p, double rate, double scale) {
    const vn_train_setup *s = t->s;
    const double factor = s->part[p - t->part].lr;
    const int64_t made = vn_objective_loss_taken(s->objective, p->loss, t->at.step);
    const vn_update u = {.device = s->device,
                         .choice = &p->choice,
                         .weights = p->saved_as->weights,
                         .second = vn_checkpoint_second(p->saved_as),
                         .live = p->live,
                         .grads = t->grads + p->base,
                         .moment1 = p->moment1,
                         .moment2 = p->moment2,
                         .average = p->average,
                         .rate = rate * (factor > 0 ? factor : 1),
                         .weight_decay = s->weight_decay,
                         .grad_scale = scale,
                         .ema = p->average ? vn_train_ema(s, made) : 0,
                         .step = made + 1};
    ((const vn_optimizer_row *)p->choice.row)->update(p->optimizer, &u);
    vn_trainer_track_narrow(t, p, made);
}

static vn_status refuse_divergence(const vn_trainer *t, int loss, double value, double norm,
                                   vn_err *err) {
    return vn_fail(err, VN_NOT_FINITE,
                   "training%s%s diverged at step %lld: loss %g, gradient norm %g (a smaller "
                   "learning rate than %g may help)",
                   loss ? " of " : "", loss ? vn_objective_loss_part(t->s->objective, loss) : "",
                   (long long)t->at.step + 1, fabs(value), fabs(norm), t->s->lr);
}

/* The norm of the mean gradient of a loss. */
static double norm_of(const vn_trainer *t, int loss) {
    const vn_device *d = t->s->device;
    double sum = 0;
    for (int i = 0; i < t->s->parts; i++) {
        const vn_part_state *p = &t->part[i];
        if (p->saved_as && p->loss == loss)
            sum += d->row->sum_squares(d, p->floats, t->grads + p->base);
    }
    return sqrt(sum) / (double)vn_microbatches(t->s);
}

/* Losses and norms of what is due, all of them finite. */
static vn_status take(vn_trainer *t, const float sum[VN_OBJECTIVE_LOSSES],
                      double norm[VN_OBJECTIVE_LOSSES], vn_err *err) {
    for (int k = 0; k < t->losses; k++) {
        if (!vn_trainer_loss_due(t, k)) continue;
        const double loss = (double)sum[k] / (double)vn_microbatches(t->s);
        norm[k] = norm_of(t, k);
        *(k ? &t->more[k] : &t->loss) = loss;
        if (k == 0) t->grad_norm = norm[k];
        if (!isfinite(loss) || !isfinite(norm[k]))
            return refuse_divergence(t, k, loss, norm[k], err);
    }
    return VN_OK;
}

vn_status vn_trainer_step(vn_trainer *t, double rate, vn_err *err) {
    const vn_train_setup *s = t->s;
    float loss[VN_OBJECTIVE_LOSSES] = {0};
    double norm[VN_OBJECTIVE_LOSSES] = {0};
    bool stop = false;
    if (s->ranks && s->ranks->at_step) s->ranks->at_step(s->ranks->self, t->at.step + 1);
    vn_status status = vn_trainer_agree(t, vn_workers_score(t, loss, err), &stop, err);
    if (!status) status = sum_over_ranks(t, loss, err);
    if (!status) status = take(t, loss, norm, err);
    if (status) return status;
    for (int i = 0; i < s->parts; i++) {
        const vn_part_state *p = &t->part[i];
        if (!vn_trainer_part_due(t, i)) continue;
        const double clip = s->clip > 0 && norm[p->loss] > s->clip ? s->clip / norm[p->loss] : 1;
        update(t, p, rate, clip / (double)vn_microbatches(s));
    }
    t->at.step++;
    vn_trainer_tend(t);
    t->smooth = isnan(t->smooth) ? t->loss : 0.98 * t->smooth + 0.02 * t->loss;
    return agree_on_time(t, err);
}
