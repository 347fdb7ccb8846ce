/* tend.c - what an objective does to a weight between two steps, such as moving codes that are
 * not used: on the host, after the update, by the rank that made it, before the others get the
 * weight. */
#include "train/internal.h"

#include <string.h>

enum { ARRAYS = 4 };

static size_t bytes_of(const vn_tender *w) {
    return w->weight->count * sizeof(float);
}

vn_status vn_tender_open(vn_tender *w, const vn_train_setup *s, vn_err *err) {
    const vn_tending *tending = vn_objective_tending(s->objective);
    const vn_weights *all = vn_net_weights(s->part[0].net);
    *w = (vn_tender){0};
    for (size_t i = 0; tending && i < vn_weights_count(all); i++)
        if (!strcmp(vn_weights_at(all, i)->name, tending->weight))
            w->weight = vn_weights_at(all, i);
    if (tending && (!w->weight || w->weight->shape.rank != 2))
        return vn_fail(err, VN_UNSUPPORTED, "%s has no weight %s of two axes",
                       vn_net_get_row(s->part[0].net)->row.name, tending->weight);
    if (tending && vn_optimizer_takes(&s->part[0], w->weight))
        return vn_fail(err, VN_UNSUPPORTED,
                       "the optimizer keeps no second moment of %s, which the objective needs",
                       tending->weight);
    if (!tending || s->device->row->host_memory) return VN_OK;
    w->copy = vn_alloc(ARRAYS, bytes_of(w));
    return w->copy ? VN_OK : vn_no_memory(err);
}

void vn_tender_close(vn_tender *w) {
    vn_free(w->copy);
    *w = (vn_tender){0};
}

/* The run of this rank's that has it as a whole; NULL: another rank's. */
static const vn_shard_run *run_of(const vn_shard *s, const vn_weight *w) {
    for (int i = 0; i < s->runs; i++) {
        const vn_shard_run *run = &s->run[i];
        if (run->rank == s->rank && run->at <= w->offset && w->offset < run->at + run->n)
            return run;
    }
    return NULL;
}

void vn_trainer_tend(const vn_trainer *t, int64_t step) {
    const vn_tender *w = &t->tender;
    const vn_device *d = t->s->device;
    const vn_part_state *p = &t->part[0];
    if (!vn_objective_tends(t->s->objective, step)) return;
    const vn_shard_run *run = run_of(&p->shard, w->weight);
    if (!run) return;
    const size_t at = w->weight->offset, bytes = bytes_of(w), in = at - run->at;
    float *const there[ARRAYS] = {
        p->live + at, p->average ? p->average + (p->average_whole ? at : run->own + in) : NULL,
        p->moment1 + run->own + in, p->moment2 + run->second_own + in};
    float *here[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        here[i] = w->copy && there[i] ? w->copy + (size_t)i * w->weight->count : there[i];
        if (w->copy && there[i]) d->row->read(d->self, here[i], there[i], bytes);
    }
    const vn_tended tended = {.rows = w->weight->shape.dim[0],
                              .width = w->weight->shape.dim[1],
                              .live = here[0],
                              .average = here[1],
                              .moment1 = here[2],
                              .moment2 = here[3],
                              .seed = t->s->seed,
                              .step = (uint64_t)step};
    vn_objective_tend(t->s->objective, &tended);
    for (int i = 0; i < ARRAYS; i++)
        if (w->copy && there[i]) d->row->write(d->self, there[i], here[i], bytes);
}
