/* workers.c - the microbatches of a step, computed by as many workers at the same time as there are
 * threads for: a small network's ops are too short for all threads to share each. A worker makes a
 * branch of this process's tree (ranks.h), with graphs, gradients and a group of threads of its
 * own, and the workers' sums are joined as the tree joins their branches: the bits depend on the
 * number of microbatches alone, and not on the number of workers or threads.
 *
 * Batches are read and filled by one thread after another, before the workers begin: data,
 * tokenizers and objectives need not know of them. */
#include "train/internal.h"

/* ---- life ------------------------------------------------------------------------------------ */

static vn_status open_worker(vn_trainer *t, vn_worker *w, vn_err *err) {
    const vn_train_setup *s = t->s;
    vn_status status = VN_OK;
    w->device = *s->device;
    if (t->groups) w->device.pool = vn_thread_groups_pool(t->groups, (int)(w - t->worker));
    for (int i = 0; i < t->losses && !status; i++) {
        w->train[i].reader = i ? &w->train[0] : NULL;
        w->train[i].device = &w->device;
        status = vn_scorer_open(&w->train[i], s, i, vn_micro_batch(s), true, err);
    }
    return status;
}

vn_status vn_workers_open(vn_trainer *t, vn_err *err) {
    const vn_train_setup *s = t->s;
    float *grads = t->grads;
    vn_status status = VN_OK;
    t->workers = vn_train_workers(s);
    t->worker = vn_calloc((size_t)t->workers, sizeof *t->worker);
    if (!t->worker) return vn_no_memory(err);
    if (t->workers > 1)
        status = vn_thread_groups_open(s->device->pool, t->workers, &t->groups, err);
    for (int i = 0; i < t->workers && !status; i++) {
        vn_worker *w = &t->worker[i];
        vn_worker_share(s, i, &w->first, &w->own);
        w->grads = grads;
        grads += (size_t)vn_tree_depth(w->own) * t->floats;
        status = open_worker(t, w, err);
    }
    return status;
}

void vn_workers_close(vn_trainer *t) {
    for (int i = 0; i < t->workers && t->worker; i++)
        for (int k = 0; k < VN_OBJECTIVE_LOSSES; k++) vn_scorer_close(&t->worker[i].train[k]);
    vn_thread_groups_close(&t->groups);
    vn_free(t->worker);
    t->worker = NULL;
    t->workers = 0;
}

size_t vn_workers_bytes(const vn_trainer *t) {
    size_t bytes = 0;
    for (int i = 0; i < t->workers; i++)
        for (int k = 0; k < t->losses; k++)
            bytes += vn_program_bytes(t->worker[i].train[k].program);
    return bytes;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* What comes next is microbatch `at` of every worker that has so many. */
typedef struct round {
    vn_trainer *t;
    int64_t at;
} round;

static vn_scored samples_of(const vn_trainer *t, const vn_worker *w, int64_t at) {
    const vn_train_setup *s = t->s;
    const int64_t sample = (w->first + at) * vn_micro_batch(s);
    return (vn_scored){.part = VN_DATA_TRAIN,
                       .position = (uint64_t)(t->at.step * s->batch + sample),
                       .draw = (uint64_t)t->at.step,
                       .first = sample,
                       .total = s->batch,
                       .whole = t->whole.x0 ? &t->whole : NULL};
}

/* The batches of a round. */
static vn_status fill(round *r, vn_err *err) {
    vn_trainer *t = r->t;
    const vn_scored first = samples_of(t, t->worker, 0);
    vn_status status = VN_OK;
    if (r->at == 0 && first.whole)
        status = vn_whole_read(&t->whole, &t->worker->train[0], &first, err);
    for (int i = 0; i < t->workers; i++) {
        vn_worker *w = &t->worker[i];
        if (r->at >= w->own) continue;
        const vn_scored which = samples_of(t, w, r->at);
        for (int k = 0; k < t->losses && !status; k++)
            if (vn_trainer_loss_due(t, k)) status = vn_scorer_fill(&w->train[k], &which, err);
    }
    return status;
}

/* The gradients of part i. */
static vn_span run_of(const vn_trainer *t, int i) {
    return (vn_span){t->part[i].base, t->part[i].floats};
}

/* A worker's microbatch, which has been filled, with what the tree joins then. */
static void score(const vn_trainer *t, vn_worker *w, int64_t at) {
    const bool last = at == w->own - 1;
    const vn_scored which = samples_of(t, w, at);
    const int sum = ++w->top;
    vn_status status = VN_OK;
    for (int k = 0; k < t->losses && !status; k++) {
        if (!vn_trainer_loss_due(t, k)) continue;
        w->train[k].watch = vn_overlap_watch(t->overlap, w, last);
        status = vn_scorer_compute(&w->train[k], &which, t->training,
                                   w->grads + (size_t)sum * t->floats, &w->loss[sum][k], &w->err);
    }
    for (int joins = vn_tree_joins(at, w->own); joins > 0 && !status; joins--, w->top--) {
        vn_join_losses(t, w, w->top);
        for (int i = 0; i < t->s->parts && !(t->overlap && last); i++) {
            const vn_span run = run_of(t, i);
            if (vn_trainer_part_due(t, i)) vn_join_sums(t, w, w->top, &run);
        }
    }
}

static void score_task(void *context, int64_t i, int thread) {
    const round *r = context;
    vn_worker *w = &r->t->worker[i];
    (void)thread;
    if (r->at < w->own) score(r->t, w, r->at);
}

static vn_status run_round(round *r, vn_err *err) {
    const vn_trainer *t = r->t;
    vn_status status = fill(r, err);
    if (t->overlap)
        status = vn_overlap_begin(t->overlap, r->at == 0, r->at == t->worker->own - 1, status, err);
    if (status) return status;
    if (t->groups)
        vn_thread_groups_run(t->groups, score_task, r);
    else
        score_task(r, 0, 0);
    for (int i = 0; i < t->workers; i++) {
        if (!t->worker[i].err.status) continue;
        *err = t->worker[i].err;
        return err->status;
    }
    return VN_OK;
}

vn_status vn_workers_score(vn_trainer *t, float loss[VN_OBJECTIVE_LOSSES], vn_err *err) {
    round r = {.t = t};
    for (int i = 0; i < t->workers; i++) {
        t->worker[i].top = -1;
        t->worker[i].err = (vn_err){0};
    }
    vn_status status = VN_OK;
    for (; r.at < t->worker[0].own && !status; r.at++) status = run_round(&r, err);
    if (status) return status;
    vn_join_workers_losses(t);
    for (int i = 0; i < t->s->parts && !t->overlap; i++) {
        const vn_span run = run_of(t, i);
        if (vn_trainer_part_due(t, i)) vn_join_workers(t, t->s->device, &run);
    }
    for (int k = 0; k < t->losses; k++) loss[k] = t->worker[0].loss[0][k];
    return t->overlap ? vn_overlap_end(t->overlap, err) : VN_OK;
}
