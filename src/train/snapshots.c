/* snapshots.c - snapshots of the averages of weights while they are trained, of which `vane ema`
 * makes averages of any width (posthoc.h): the usual average, and a narrow one that is kept for
 * this alone. They are spread evenly over the run so far, whose length nobody knows: they are
 * taken at the multiples of a number of steps that doubles as soon as there are too many, and
 * those between are removed. Which there are follows from the step alone, so a resumed run has the
 * same. */
#include "train/internal.h"

static int64_t distance_at(int64_t step, int64_t most) {
    int64_t every = 1;
    while (step / every > most) every *= 2;
    return every;
}

/* Those that are too near to each other, and those that a run ahead of this one left. */
static vn_status thin(const vn_trainer *t, int64_t every, vn_err *err) {
    int64_t *step = NULL;
    size_t n = 0;
    vn_status status = vn_store_list_snapshots(t->s->run, &step, &n, err);
    for (size_t i = 0; i < n && !status; i++)
        if (step[i] % every || step[i] > t->at.step)
            status = vn_store_remove_snapshot(t->s->run, step[i], err);
    vn_free(step);
    return status;
}

vn_status vn_trainer_snapshot(vn_trainer *t, vn_err *err) {
    const int64_t most = t->s->snapshots;
    if (!most || t->at.step % distance_at(t->at.step, most)) return VN_OK;
    vn_trainer_read(t);
    const vn_status status = vn_store_save_snapshot(t->s->run, &t->at, err);
    return status ? status : thin(t, distance_at(t->at.step, most), err);
}

/* The narrow average follows the weights as the optimiser left them: a descent of rate 0. */
void vn_trainer_track_narrow(const vn_trainer *t, const vn_part_state *p, int64_t made) {
    const vn_device *d = t->s->device;
    const vn_descent none = {.ema = vn_ema_decay(VN_EMA_NARROW, (double)made + 1)};
    for (int i = 0; i < p->shard.runs && p->narrow; i++) {
        const vn_shard_run *run = &p->shard.run[i];
        if (run->rank == p->shard.rank)
            d->row->descend(d, &none, run->n, p->live + run->at, p->moment1 + run->own,
                            p->narrow + run->own);
    }
}
