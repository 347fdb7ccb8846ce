/* exchange.c - what ranks send each other of a step: gradients, whose sums each gets for its own
 * shard (shard.c), and the weights that it makes of them. */
#include "train/internal.h"

typedef vn_status exchange_fn(void *self, float *x, int n, const vn_owned *run, vn_err *err);

/* What ranks do with gradients, or weights, of the parts that are due: arrays[i] of part i. */
static vn_status exchange(const vn_trainer *t, exchange_fn *what, float *const *arrays,
                          vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    const vn_device *d = t->s->device;
    vn_status status = VN_OK;
    for (int i = 0; i < t->s->parts && !status; i++) {
        const vn_part_state *p = &t->part[i];
        if (!arrays[i] || !vn_trainer_part_due(t, i)) continue;
        float *here = t->shared ? t->shared + p->base : arrays[i];
        const size_t bytes = p->floats * sizeof(float);
        if (here != arrays[i]) d->row->read(d->self, here, arrays[i], bytes);
        status = what(r->self, here, p->shard.runs, p->shard.owned, err);
        if (!status && here != arrays[i]) d->row->write(d->self, arrays[i], here, bytes);
    }
    return status;
}

/* From a weight's last number to where the next begins, as far as that lies in the run. */
void vn_clear_gaps(const vn_trainer *t, const vn_part_state *p, size_t begin, size_t end) {
    const vn_device *d = t->s->device;
    const vn_weights *w = p->saved_as->weights;
    const size_t count = vn_weights_count(w);
    for (size_t i = 0; i < count; i++) {
        const vn_weight *one = vn_weights_at(w, i);
        size_t from = one->offset + one->count,
               to = i + 1 < count ? vn_weights_at(w, i + 1)->offset : p->floats;
        if (from < begin) from = begin;
        if (to > end) to = end;
        if (to > from)
            d->row->clear(d->self, t->grads + p->base + from, (to - from) * sizeof(float));
    }
}

vn_status vn_reduce_gradients(const vn_trainer *t, vn_err *err) {
    float *grads[VN_TRAIN_PARTS] = {NULL};
    if (!vn_trainer_is_shared(t)) return VN_OK;
    for (int i = 0; i < t->s->parts; i++) {
        if (!vn_trainer_part_due(t, i)) continue;
        vn_clear_gaps(t, &t->part[i], 0, t->part[i].floats);
        grads[i] = t->grads + t->part[i].base;
    }
    return exchange(t, t->s->ranks->reduce, grads, err);
}

vn_status vn_share_weights(const vn_trainer *t, vn_err *err) {
    float *live[VN_TRAIN_PARTS] = {NULL}, *average[VN_TRAIN_PARTS] = {NULL};
    if (!vn_trainer_is_shared(t)) return VN_OK;
    for (int i = 0; i < t->s->parts; i++) {
        live[i] = t->part[i].live;
        if (t->part[i].average_whole) average[i] = t->part[i].average;
    }
    const vn_status status = exchange(t, t->s->ranks->share, live, err);
    return status ? status : exchange(t, t->s->ranks->share, average, err);
}
