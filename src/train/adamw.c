/* adamw.c - the row of AdamW (Loshchilov and Hutter, arXiv 1711.05101), which devices compute in
 * one pass (vn_adamw); and the same for the weights that another optimiser leaves to it. */
#include "train/internal.h"

/* The weights of a run. Frozen ones get no gradient and no decay. Those that lie together are one
 * call. */
static void update_run(const vn_update *u, const vn_adamw *o, const vn_shard_run *run) {
    const size_t count = vn_weights_count(u->weights), end = run->at + run->n;
    float *average = vn_average_of(u, run);
    for (size_t i = 0; i < count && vn_weights_at(u->weights, i)->offset < end;) {
        const vn_weight *one = vn_weights_at(u->weights, i++);
        size_t from = one->offset, to = one->offset + one->count;
        if (one->frozen || to <= run->at) continue;
        for (; i < count; i++) {
            one = vn_weights_at(u->weights, i);
            if (one->frozen || one->offset >= end) break;
            to = one->offset + one->count;
        }
        if (from < run->at) from = run->at;
        if (to > end) to = end;
        const size_t at = from - run->at; /* in the run */
        u->device->row->adamw(u->device, o, to - from, u->live + from, u->grads + from,
                              u->moment1 + run->own + at, u->moment2 + run->second_own + at,
                              average ? average + at : NULL);
    }
}

void vn_update_by_adamw(const vn_update *u, size_t first) {
    const double *value = u->choice->value + first;
    const vn_adamw o = {.lr = u->rate,
                        .beta1 = value[VN_BETA1],
                        .beta2 = value[VN_BETA2],
                        .eps = value[VN_EPS],
                        .weight_decay = u->weight_decay,
                        .step = u->step,
                        .grad_scale = u->grad_scale,
                        .ema = u->average ? u->ema : 0};
    for (int i = 0; i < u->shard->runs; i++) {
        const vn_shard_run *run = &u->shard->run[i];
        if (run->rank == u->shard->rank && run->second != VN_NO_SECOND) update_run(u, &o, run);
    }
}

static const vn_param params[] = {VN_ADAMW_PARAMS, {0}};

static void update(void *self, const vn_update *u) {
    (void)self;
    vn_update_by_adamw(u, 0);
}

const vn_optimizer_row vn_adamw_optimizer = {
    .row = {"adamw", "each weight by the mean of its gradients over the root of their mean square",
            "1711.05101", params},
    .update = update,
};
