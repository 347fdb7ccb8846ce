/* overlap.c - what ranks send each other while they compute. The arrays of the parts are cut into
 * pieces. In the forward pass of a step's first microbatches the pieces of the weights that the
 * last step made come one after the other, and what reads a piece waits for it; in the backward
 * pass of its last ones the sums over the ranks are taken of each piece whose gradients are
 * finished, from the end of the array on, which is where a backward pass begins. One thread does
 * all of that, in the same order on all ranks, so that it waits and sends while the others compute.
 *
 * Numbers are added in the order in which they are without this, so the bits are the same. The
 * thread has the ranks for itself from vn_overlap_begin, which comes to an agreement first, to
 * vn_overlap_end. */
#include "train/internal.h"

#include <pthread.h>

enum {
    PIECES = 32, /* of a part, about */
    LEAST = 1024 /* floats in a piece; whole lines of the cache */
};

typedef struct piece {
    const vn_part_state *part;
    vn_span span;  /* of the part's arrays */
    vn_owned *run; /* [runs] of the ranks */
    int runs;
    int workers;   /* whose gradients of it are finished */
    bool finished; /* all of them, and joined */
    bool here;     /* its weights are those of all ranks */
} piece;

/* A worker's steps that matter: of piece i, the first that reads its weights and the last that has
 * to do with its gradients, -1: none. */
typedef struct watcher {
    vn_overlap *o;
    vn_worker *worker;
    int *reads, *finishes; /* [pieces] */
    vn_run_watch every, last;
} watcher;

struct vn_overlap {
    vn_trainer *t;
    piece *piece; /* [pieces] in the order of their places */
    int pieces;
    vn_owned *runs;   /* of all pieces */
    watcher *watcher; /* [workers] */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shares, reduces; /* what the thread has been asked for, until it is done */
    bool ends;
    vn_err err;
};

/* ---- the thread ------------------------------------------------------------------------------ */

static void lock(vn_overlap *o) {
    pthread_mutex_lock(&o->lock);
}

static void unlock(vn_overlap *o) {
    pthread_mutex_unlock(&o->lock);
}

static void tell(vn_overlap *o, bool *what, bool value) {
    lock(o);
    *what = value;
    pthread_cond_broadcast(&o->changed);
    unlock(o);
}

static void wait_until(vn_overlap *o, const bool *what, bool value) {
    lock(o);
    while (*what != value) pthread_cond_wait(&o->changed, &o->lock);
    unlock(o);
}

static void share(vn_overlap *o) {
    const vn_ranks *r = o->t->s->ranks;
    for (int i = 0; i < o->pieces; i++) {
        piece *p = &o->piece[i];
        if (!o->err.status) r->share(r->self, p->part->live, p->runs, p->run, &o->err);
        tell(o, &p->here, true);
    }
    tell(o, &o->shares, false);
}

static void reduce(vn_overlap *o) {
    const vn_ranks *r = o->t->s->ranks;
    for (int i = o->pieces - 1; i >= 0; i--) {
        piece *p = &o->piece[i];
        wait_until(o, &p->finished, true);
        if (!o->err.status)
            r->reduce(r->self, o->t->grads + p->part->base, p->runs, p->run, &o->err);
    }
    tell(o, &o->reduces, false);
}

static void *serve(void *context) {
    vn_overlap *o = context;
    for (;;) {
        lock(o);
        while (!o->shares && !o->reduces && !o->ends) pthread_cond_wait(&o->changed, &o->lock);
        const bool shares = o->shares, reduces = o->reduces;
        unlock(o);
        if (shares)
            share(o);
        else if (reduces)
            reduce(o);
        else
            return NULL;
    }
}

/* ---- beside a run ---------------------------------------------------------------------------- */

/* A worker's gradients of a piece are finished: the last of the workers joins what all have. */
static void finish(watcher *a, piece *p) {
    vn_overlap *o = a->o;
    vn_trainer *t = o->t;
    const vn_span run = {p->part->base + p->span.at, p->span.n};
    for (int sum = a->worker->top; sum > 0; sum--) vn_join_sums(t, a->worker, sum, &run);
    lock(o);
    const bool all = ++p->workers == t->workers;
    unlock(o);
    if (!all) return;
    vn_join_workers(t, &a->worker->device, &run);
    vn_clear_gaps(t, p->part, p->span.at, p->span.at + p->span.n);
    tell(o, &p->finished, true);
}

static void await(void *self, int step) {
    watcher *a = self;
    for (int i = 0; i < a->o->pieces; i++)
        if (a->reads[i] == step) wait_until(a->o, &a->o->piece[i].here, true);
}

static void go_on(void *self, int step) {
    (void)self, (void)step;
}

/* Those that no step has to do with, before the first. */
static void await_and_begin(void *self, int step) {
    watcher *a = self;
    for (int i = a->o->pieces - 1; i >= 0 && step == 0; i--)
        if (a->finishes[i] < 0) finish(a, &a->o->piece[i]);
    await(self, step);
}

static void finish_all(void *self, int step) {
    watcher *a = self;
    for (int i = a->o->pieces - 1; i >= 0; i--)
        if (a->finishes[i] == step) finish(a, &a->o->piece[i]);
}

const vn_run_watch *vn_overlap_watch(vn_overlap *o, const vn_worker *w, bool last) {
    if (!o) return NULL;
    const watcher *a = &o->watcher[w - o->t->worker];
    return last ? &a->last : &a->every;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void begin_share(vn_overlap *o) {
    if (!o->t->unshared) return;
    o->t->unshared = false;
    for (int i = 0; i < o->pieces; i++) o->piece[i].here = false;
    tell(o, &o->shares, true);
}

static void begin_reduce(vn_overlap *o) {
    for (int i = 0; i < o->pieces; i++) {
        o->piece[i].workers = 0;
        o->piece[i].finished = false;
    }
    tell(o, &o->reduces, true);
}

/* Weights that come in an earlier round than the last do so whatever has failed: others, whose
 * round was filled, send theirs. */
vn_status vn_overlap_begin(vn_overlap *o, bool first, bool last, vn_status filled, vn_err *err) {
    bool stop = false;
    if (first && !last) begin_share(o);
    if (!last && !filled) return VN_OK;
    wait_until(o, &o->shares, false);
    const vn_status status = vn_trainer_agree(o->t, filled, &stop, err);
    if (status) return status;
    begin_share(o);
    begin_reduce(o);
    return VN_OK;
}

vn_status vn_overlap_end(vn_overlap *o, vn_err *err) {
    wait_until(o, &o->shares, false);
    wait_until(o, &o->reduces, false);
    if (o->err.status) *err = o->err;
    return o->err.status;
}

/* ---- life ------------------------------------------------------------------------------------ */

static size_t piece_floats(const vn_part_state *p) {
    const size_t even = (p->floats + PIECES - 1) / PIECES;
    return (even + LEAST - 1) / LEAST * LEAST;
}

/* The runs of the part's shards as far as they lie in the piece. */
static vn_owned *cut_runs(piece *p, vn_owned *to) {
    const vn_shard *shard = &p->part->shard;
    const size_t end = p->span.at + p->span.n;
    p->run = to;
    for (int i = 0; i < shard->runs; i++) {
        const vn_owned *one = &shard->owned[i];
        const size_t from = one->at > p->span.at ? one->at : p->span.at,
                     until = one->at + one->n < end ? one->at + one->n : end;
        if (from < until) *to++ = (vn_owned){from, until - from, one->rank};
    }
    p->runs = (int)(to - p->run);
    return to;
}

static vn_status open_pieces(vn_overlap *o, vn_err *err) {
    const vn_trainer *t = o->t;
    size_t runs = 0;
    for (int i = 0; i < t->s->parts; i++) {
        const vn_part_state *p = &t->part[i];
        if (!p->saved_as) continue;
        const size_t pieces = (p->floats + piece_floats(p) - 1) / piece_floats(p);
        o->pieces += (int)pieces;
        runs += pieces + (size_t)p->shard.runs;
    }
    o->piece = vn_calloc((size_t)o->pieces, sizeof *o->piece);
    o->runs = vn_calloc(runs, sizeof *o->runs);
    if (!o->piece || !o->runs) return vn_no_memory(err);
    piece *next = o->piece;
    vn_owned *to = o->runs;
    for (int i = 0; i < t->s->parts; i++) {
        const vn_part_state *p = &t->part[i];
        const size_t n = p->saved_as ? piece_floats(p) : 1;
        for (size_t at = 0; at < p->floats && p->saved_as; at += n, next++) {
            *next = (piece){
                .part = p, .span = {at, p->floats - at < n ? p->floats - at : n}, .here = true};
            to = cut_runs(next, to);
        }
    }
    return VN_OK;
}

static vn_status open_watcher(vn_overlap *o, watcher *a, vn_worker *w, vn_err *err) {
    const vn_trainer *t = o->t;
    const vn_run run = {.values = t->training[0], .more = t->training + 1, .grads = t->grads};
    int other;
    *a = (watcher){.o = o,
                   .worker = w,
                   .reads = vn_calloc((size_t)o->pieces, sizeof *a->reads),
                   .finishes = vn_calloc((size_t)o->pieces, sizeof *a->finishes),
                   .every = {a, await, go_on},
                   .last = {a, await_and_begin, finish_all}};
    if (!a->reads || !a->finishes) return vn_no_memory(err);
    for (int i = 0; i < o->pieces; i++) {
        const piece *p = &o->piece[i];
        const size_t bytes = p->span.n * sizeof(float);
        vn_program_uses(w->train[0].program, &run, p->part->live + p->span.at, bytes, &a->reads[i],
                        &other);
        vn_program_uses(w->train[0].program, &run, t->grads + p->part->base + p->span.at, bytes,
                        &other, &a->finishes[i]);
    }
    return VN_OK;
}

/* Several losses take turns at the parts; averages that all ranks have whole are shared too. */
static bool can_overlap(const vn_trainer *t) {
    if (!vn_trainer_is_shared(t) || !t->s->device->row->host_memory || t->losses > 1) return false;
    for (int i = 0; i < t->s->parts; i++)
        if (t->part[i].average_whole) return false;
    for (int i = 0; i < t->workers; i++)
        if (t->worker[i].own != t->worker[0].own) return false;
    return true;
}

static void release(vn_overlap *o) {
    for (int i = 0; i < o->t->workers && o->watcher; i++) {
        vn_free(o->watcher[i].reads);
        vn_free(o->watcher[i].finishes);
    }
    vn_free(o->watcher);
    vn_free(o->runs);
    vn_free(o->piece);
    vn_free(o);
}

vn_status vn_overlap_open(vn_trainer *t, vn_overlap **out, vn_err *err) {
    *out = NULL;
    if (!can_overlap(t)) return VN_OK;
    vn_overlap *o = vn_calloc(1, sizeof *o);
    if (!o) return vn_no_memory(err);
    o->t = t;
    vn_status status = open_pieces(o, err);
    o->watcher = vn_calloc((size_t)t->workers, sizeof *o->watcher);
    if (!status && !o->watcher) status = vn_no_memory(err);
    for (int i = 0; i < t->workers && !status; i++)
        status = open_watcher(o, &o->watcher[i], &t->worker[i], err);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, NULL);
    if (!status && !vn_thread_begin(&o->thread, serve, o))
        status = vn_fail(err, VN_IO, "no thread for messages beside a step can be begun");
    if (status) {
        pthread_cond_destroy(&o->changed);
        pthread_mutex_destroy(&o->lock);
        release(o);
        return status;
    }
    *out = o;
    return VN_OK;
}

void vn_overlap_close(vn_overlap **out) {
    vn_overlap *o = *out;
    *out = NULL;
    if (!o) return;
    lock(o);
    if (o->reduces) vn_fail(&o->err, VN_IO, "given up"); /* a step that has failed on its way */
    for (int i = 0; i < o->pieces; i++) o->piece[i].finished = true;
    unlock(o);
    tell(o, &o->ends, true);
    pthread_join(o->thread, NULL);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    release(o);
}
