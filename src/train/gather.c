/* gather.c - what the ranks of a training do beside a step: agree on going on, and bring arrays
 * that are dealt to them (shard.c) together for the first, which scores, draws and writes with
 * the whole.
 *
 * After a step the others wait to agree on the next one. What the first needs until then it asks
 * for in the place of its own answer; they give it, and wait again. An array comes to the place
 * of its part's gradients, which are not needed between two steps, one after the other. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* Of an answer, and all that is less is a request: -1 - number. */
enum { FAILED, STOPS, GOES_ON };
/* Numbers of requests: an array, part * VN_STATE_ARRAYS + which; and others. */
enum { CHECK_FINITE = VN_TRAIN_PARTS * VN_STATE_ARRAYS, SHARE_WEIGHTS };

bool vn_trainer_is_complete(const vn_trainer *t) {
    const vn_ranks *r = t->s->ranks;
    return !r || !r->complete || r->complete(r->self);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* The device's. */
static float *array_of(const vn_part_state *p, vn_state_array which) {
    float *const arrays[VN_STATE_ARRAYS] = {[VN_STATE_LIVE] = p->live,
                                            [VN_STATE_AVERAGE] = p->average,
                                            [VN_STATE_NARROW] = p->narrow,
                                            [VN_STATE_MOMENT1] = p->moment1,
                                            [VN_STATE_MOMENT2] = p->moment2};
    return arrays[which];
}

static bool is_whole(const vn_part_state *p, vn_state_array which) {
    return which == VN_STATE_LIVE || (which == VN_STATE_AVERAGE && p->average_whole);
}

/* Where the host sees an array as a whole. */
static float *place_of(const vn_trainer *t, const vn_part_state *p) {
    return t->shared ? t->shared + p->base : t->grads + p->base;
}

/* Between this rank's array and what the host sees of the whole. */
static void move(const vn_trainer *t, const vn_part_state *p, vn_state_array which, bool in) {
    const vn_device *d = t->s->device;
    for (int i = 0; i < p->shard.runs; i++) {
        const vn_shard_run *run = &p->shard.run[i];
        const bool second = which == VN_STATE_MOMENT2;
        if (run->rank != p->shard.rank || (second && run->second == VN_NO_SECOND)) continue;
        float *here = place_of(t, p) + (second ? run->second : run->at),
              *there = array_of(p, which) + (second ? run->second_own : run->own);
        if (in)
            d->row->write(d->self, there, here, run->n * sizeof *here);
        else
            d->row->read(d->self, here, there, run->n * sizeof *here);
    }
}

/* Every rank's part of an array, for the first. */
static vn_status collect(const vn_trainer *t, const vn_part_state *p, vn_state_array which,
                         vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    const bool second = which == VN_STATE_MOMENT2;
    move(t, p, which, false);
    return r->collect(r->self, place_of(t, p), second ? p->shard.seconds : p->shard.runs,
                      second ? p->shard.second : p->shard.owned, err);
}

/* ---- what is not finite ---------------------------------------------------------------------- */

static bool is_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static size_t floats_of(const vn_part_state *p, vn_state_array which) {
    return is_whole(p, which)          ? p->floats
           : which == VN_STATE_MOMENT2 ? p->shard.second_floats
                                       : p->shard.floats;
}

/* All that a checkpoint holds of a step that one process has made, as the host sees it. */
static bool all_finite(const vn_trainer *t) {
    for (int i = 0; i < t->at.parts; i++) {
        const vn_checkpoint_part *p = &t->at.part[i];
        const size_t floats = vn_weights_floats(p->weights),
                     second = vn_weights_floats(vn_checkpoint_second(p));
        const float *const arrays[] = {p->live, p->average, p->narrow, p->moment1};
        for (size_t a = 0; a < VN_COUNT(arrays); a++)
            if (arrays[a] && !is_finite(arrays[a], floats)) return false;
        if (p->moment2 && !is_finite(p->moment2, second)) return false;
    }
    return true;
}

/* All that this rank has of one. */
static bool own_finite(const vn_trainer *t) {
    const vn_device *d = t->s->device;
    for (int i = 0; i < t->s->parts; i++) {
        const vn_part_state *p = &t->part[i];
        for (vn_state_array a = 0; a < VN_STATE_ARRAYS && p->saved_as; a++) {
            const float *x = array_of(p, a);
            const size_t floats = floats_of(p, a);
            if (x && t->shared) {
                d->row->read(d->self, place_of(t, p), x, floats * sizeof *x);
                x = place_of(t, p);
            }
            if (x && !is_finite(x, floats)) return false;
        }
    }
    return true;
}

static vn_status agree_finite(const vn_trainer *t, bool *finite, vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    int64_t least = own_finite(t);
    const vn_status status = r->agree(r->self, &least, err);
    *finite = least > 0;
    return status;
}

/* ---- requests -------------------------------------------------------------------------------- */

static vn_status share(vn_trainer *t, vn_err *err) {
    t->unshared = false;
    return vn_share_weights(t, err);
}

/* What the first rank has asked for, by all others. */
static vn_status give(vn_trainer *t, int64_t number, vn_err *err) {
    const vn_part_state *p = &t->part[number / VN_STATE_ARRAYS % VN_TRAIN_PARTS];
    bool finite;
    if (number == CHECK_FINITE) return agree_finite(t, &finite, err);
    if (number == SHARE_WEIGHTS) return share(t, err);
    return collect(t, p, (vn_state_array)(number % VN_STATE_ARRAYS), err);
}

vn_status vn_trainer_agree(vn_trainer *t, vn_status status, bool *stop, vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    const int64_t own = status ? FAILED : *stop ? STOPS : GOES_ON;
    int64_t least = own;
    vn_err second = {0};
    if (!r) return status;
    vn_status agreed = r->agree(r->self, &least, status ? &second : err);
    while (!agreed && least < 0) {
        agreed = give(t, -1 - least, status ? &second : err);
        least = own;
        if (!agreed) agreed = r->agree(r->self, &least, status ? &second : err);
    }
    if (status || agreed) return status ? status : agreed;
    *stop = least == STOPS;
    if (least != FAILED) return VN_OK;
    return vn_fail(err, VN_IO, VN_ANOTHER_FAILED " after step %lld", (long long)t->at.step);
}

/* By the first. */
static vn_status ask(const vn_trainer *t, int64_t number, vn_err *err) {
    const vn_ranks *r = t->s->ranks;
    int64_t least = -1 - number;
    return r->agree(r->self, &least, err);
}

/* What is to be shared in the next step is needed before it. */
static vn_status complete(vn_trainer *t, vn_err *err) {
    if (!t->unshared) return VN_OK;
    const vn_status status = ask(t, SHARE_WEIGHTS, err);
    return status ? status : share(t, err);
}

static vn_part_state *part_of(vn_trainer *t, int part) {
    vn_part_state *p = t->part;
    while (p->saved_as != &t->at.part[part]) p++;
    return p;
}

vn_status vn_trainer_bring(void *self, int part, vn_state_array which, vn_err *err) {
    vn_trainer *t = self;
    const vn_device *d = t->s->device;
    const vn_part_state *p = part_of(t, part);
    if (!is_whole(p, which)) {
        const vn_status status = ask(t, (p - t->part) * VN_STATE_ARRAYS + which, err);
        return status ? status : collect(t, p, which, err);
    }
    if (t->shared)
        d->row->read(d->self, place_of(t, p), array_of(p, which), p->floats * sizeof(float));
    return VN_OK;
}

void vn_trainer_keep(void *self, int part, vn_state_array which) {
    vn_trainer *t = self;
    const vn_device *d = t->s->device;
    const vn_part_state *p = part_of(t, part);
    if (!is_whole(p, which))
        move(t, p, which, true);
    else if (t->shared)
        d->row->write(d->self, array_of(p, which), place_of(t, p), p->floats * sizeof(float));
}

vn_status vn_trainer_show(vn_trainer *t, vn_err *err) {
    const vn_device *d = t->s->device;
    if (!vn_trainer_is_shared(t)) return VN_OK;
    vn_status status = complete(t, err);
    for (int i = 0; i < t->at.parts && !status; i++) {
        const vn_part_state *p = part_of(t, i);
        if (!p->average || p->average_whole) continue;
        status = vn_trainer_bring(t, i, VN_STATE_AVERAGE, err);
        if (!status && t->shared)
            d->row->write(d->self, t->grads + p->base, place_of(t, p), p->floats * sizeof(float));
    }
    return status;
}

vn_status vn_trainer_check_finite(vn_trainer *t, bool *finite, vn_err *err) {
    vn_status status = VN_OK;
    *finite = false;
    if (!vn_trainer_is_shared(t)) {
        *finite = all_finite(t);
        return VN_OK;
    }
    status = complete(t, err);
    if (!status) status = ask(t, CHECK_FINITE, err);
    return status ? status : agree_finite(t, finite, err);
}
