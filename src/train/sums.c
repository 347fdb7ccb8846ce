/* sums.c - partial sums of the microbatches of a step, joined as the tree of ranks/tree.h joins
 * them: of a worker, whose newest is on top, and then of the workers. */
#include "train/internal.h"

static float *grads_of(const vn_trainer *t, const vn_worker *w, int sum, const vn_span *run) {
    return w->grads + (size_t)sum * t->floats + run->at;
}

static void add_losses(const vn_trainer *t, float *to, const float *from) {
    for (int k = 0; k < t->losses; k++)
        if (vn_trainer_loss_due(t, k)) to[k] += from[k];
}

void vn_join_sums(const vn_trainer *t, vn_worker *w, int sum, const vn_span *run) {
    w->device.row->accumulate(&w->device, run->n, grads_of(t, w, sum - 1, run),
                              grads_of(t, w, sum, run));
}

void vn_join_losses(const vn_trainer *t, vn_worker *w, int sum) {
    add_losses(t, w->loss[sum - 1], w->loss[sum]);
}

/* The sums of workers whose branches the tree joins, in its order: of the run's gradients, or NULL,
 * of losses. */
static void join_workers(const vn_trainer *t, const vn_device *d, const vn_span *run) {
    int branch[VN_MOST_SUMS] = {0}, top = -1; /* the first worker of each sum */
    for (int i = 0; i < t->workers; i++) {
        branch[++top] = i;
        for (int joins = vn_tree_joins(i, t->workers); joins > 0 && top > 0; joins--, top--) {
            vn_worker *to = &t->worker[branch[top - 1]], *from = &t->worker[branch[top]];
            if (run)
                d->row->accumulate(d, run->n, grads_of(t, to, 0, run), grads_of(t, from, 0, run));
            else
                add_losses(t, to->loss[0], from->loss[0]);
        }
    }
}

void vn_join_workers(const vn_trainer *t, const vn_device *d, const vn_span *run) {
    join_workers(t, d, run);
}

void vn_join_workers_losses(const vn_trainer *t) {
    join_workers(t, t->s->device, NULL);
}
