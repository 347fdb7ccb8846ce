/* step.c - one step of training: gradients and losses of the microbatches that are this process's,
 * which workers.c makes, are added over the ranks by the tree of ranks/tree.h; every rank updates
 * the weights of its shards (shard.c), and gives them to the others. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* ---- ranks ----------------------------------------------------------------------------------- */

/* The clock of all is that of the rank that is behind. */
static vn_status agree_on_time(vn_trainer *t, vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    int64_t microseconds = (int64_t)(1e6 * vn_trainer_seconds(t));
    vn_status status = VN_OK;
    if (r && !t->s->steps) status = r->agree(r->self, &microseconds, err);
    t->clock = 1e-6 * (double)microseconds;
    return status;
}

/* ---- norms and losses ------------------------------------------------------------------------ */

/* What this rank knows of them: the squares of its blocks of what is due, and its losses. */
static void fill_row(const vn_trainer *t, const float loss[VN_OBJECTIVE_LOSSES], double *row) {
    const vn_device *d = t->s->device;
    memset(row, 0, t->totals_width * sizeof *row);
    for (int k = 0; k < t->losses; k++) row[k] = (double)loss[k];
    row += VN_OBJECTIVE_LOSSES;
    for (int i = 0; i < t->s->parts; row += t->part[i++].shard.blocks) {
        const vn_shard *shard = &t->part[i].shard;
        double *sum = t->squares;
        if (!vn_trainer_part_due(t, i)) continue;
        d->row->sum_squares(d, shard->own_blocks, shard->own_block, t->grads + t->part[i].base,
                            sum);
        for (int k = 0; k < shard->own_blocks; k++) row[shard->block_number[k]] = sum[k];
    }
}

/* The rows of all ranks. Each block's squares are in one of them. */
static vn_status gather_totals(const vn_trainer *t, const float loss[VN_OBJECTIVE_LOSSES],
                               vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    fill_row(t, loss, t->totals + (r ? (size_t)r->rank * t->totals_width : 0));
    if (!vn_trainer_is_shared(t)) return VN_OK;
    const vn_status status =
        r->gather(r->self, t->totals, t->totals_width * sizeof *t->totals, err);
    for (int i = 1; i < r->count && !status; i++)
        for (size_t k = VN_OBJECTIVE_LOSSES; k < t->totals_width; k++)
            t->totals[k] += t->totals[(size_t)i * t->totals_width + k];
    return status;
}

/* The sum over all microbatches, by the tree. */
static float loss_of(const vn_trainer *t, int loss) {
    const int ranks = t->s->ranks ? t->s->ranks->count : 1;
    float sum[VN_MOST_SUMS] = {0};
    for (int i = 0, top = 0; i < ranks; i++, top++) {
        sum[top] = (float)t->totals[(size_t)i * t->totals_width + (size_t)loss];
        for (int joins = vn_tree_joins(i, ranks); joins > 0; joins--, top--)
            sum[top - 1] += sum[top];
    }
    return sum[0];
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
                         .shard = &p->shard,
                         .live = p->live,
                         .grads = t->grads + p->base,
                         .moment1 = p->moment1,
                         .moment2 = p->moment2,
                         .average = p->average,
                         .average_whole = p->average_whole,
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
    const double *squares = t->totals + VN_OBJECTIVE_LOSSES;
    double sum = 0;
    for (int i = 0; i < t->s->parts; squares += t->part[i++].shard.blocks) {
        const vn_part_state *p = &t->part[i];
        double of_part = 0;
        if (!p->saved_as || p->loss != loss) continue;
        for (int k = 0; k < p->shard.blocks; k++) of_part += squares[k];
        sum += of_part;
    }
    return sqrt(sum) / (double)vn_microbatches(t->s);
}

/* Losses and norms of what is due, all of them finite. */
static vn_status take(vn_trainer *t, double norm[VN_OBJECTIVE_LOSSES], vn_err *err) {
    for (int k = 0; k < t->losses; k++) {
        if (!vn_trainer_loss_due(t, k)) continue;
        const double loss = (double)loss_of(t, k) / (double)vn_microbatches(t->s);
        norm[k] = norm_of(t, k);
        *(k ? &t->more[k] : &t->loss) = loss;
        if (k == 0) t->grad_norm = norm[k];
        if (!isfinite(loss) || !isfinite(norm[k]))
            return refuse_divergence(t, k, loss, norm[k], err);
    }
    return VN_OK;
}

/* Of all ranks; overlapped with the computing, they are summed when it ends. */
static vn_status sum_gradients(vn_trainer *t, float loss[VN_OBJECTIVE_LOSSES], vn_err *err) {
    bool stop = false;
    vn_status status = vn_workers_score(t, loss, err);
    if (t->overlap) return status;
    status = vn_trainer_agree(t, status, &stop, err);
    return status ? status : vn_reduce_gradients(t, err);
}

vn_status vn_trainer_step(vn_trainer *t, double rate, vn_err *err) {
    const vn_train_setup *s = t->s;
    float loss[VN_OBJECTIVE_LOSSES] = {0};
    double norm[VN_OBJECTIVE_LOSSES] = {0};
    if (s->ranks && s->ranks->at_step) s->ranks->at_step(s->ranks->self, t->at.step + 1);
    vn_status status = sum_gradients(t, loss, err);
    if (!status) status = gather_totals(t, loss, err);
    if (!status) status = take(t, norm, err);
    if (status) return status;
    for (int i = 0; i < s->parts; i++) {
        const vn_part_state *p = &t->part[i];
        if (!vn_trainer_part_due(t, i)) continue;
        const double clip = s->clip > 0 && norm[p->loss] > s->clip ? s->clip / norm[p->loss] : 1;
        update(t, p, rate, clip / (double)vn_microbatches(s));
    }
    vn_trainer_tend(t, t->at.step + 1);
    t->unshared = t->overlap != NULL;
    if (!t->unshared) status = vn_share_weights(t, err);
    if (status) return status;
    t->at.step++;
    t->smooth = isnan(t->smooth) ? t->loss : 0.98 * t->smooth + 0.02 * t->loss;
    return agree_on_time(t, err);
}
