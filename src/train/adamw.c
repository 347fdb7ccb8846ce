/* adamw.c - the row of AdamW (Loshchilov and Hutter, arXiv 1711.05101), which devices compute in
 * one pass (vn_adamw); and the same for the weights that another optimiser leaves to it. */
#include "train/internal.h"

static bool has_second(const vn_update *u, const vn_weight *w) {
    const vn_optimizer_row *row = (const vn_optimizer_row *)u->choice->row;
    return !row->takes || !row->takes(w);
}

/* Frozen weights get no gradient and no decay. Runs of weights that lie together are one call. */
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
    const size_t count = vn_weights_count(u->weights);
    for (size_t i = 0, k = 0; i < count;) { /* k: place of weight i among those of moment2 */
        const vn_weight *one = vn_weights_at(u->weights, i++);
        if (!has_second(u, one)) continue;
        const size_t second = vn_weights_at(u->second, k++)->offset, begin = one->offset;
        if (one->frozen) continue;
        size_t end = begin + one->count;
        for (; i < count; i++, k++) {
            one = vn_weights_at(u->weights, i);
            if (one->frozen || !has_second(u, one)) break;
            end = one->offset + one->count;
        }
        u->device->row->adamw(u->device, &o, end - begin, u->live + begin, u->grads + begin,
                              u->moment1 + begin, u->moment2 + second,
                              u->average ? u->average + begin : NULL);
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
