/* ranks.c - sums, agreement and words among ranks, made of messages.
 *
 * Every float of a gradient is the business of one rank, which gets it from all others and adds
 * what it got in the tree's order; what it makes of the sums goes back to all. Whatever the number
 * of ranks, each sends and receives about twice the array. Each waits for all others at first, so
 * that one that is lost is known by its number. */
#include "ranks/internal.h"

#include <string.h>
#include <time.h>

enum {
    BLOCK = 1 << 21, /* floats that are received at a time, over all ranks */
    SHORT = 1 << 10  /* of one rank, at least */
};

typedef struct comm {
    vn_ranks ranks;
    vn_carrier *carrier;
    vn_message *messages; /* [capacity] */
    size_t capacity;
    size_t *before; /* [count] of next_cut */
    float *rows;    /* [count,piece] of what is added, one of each rank */
    size_t piece;
    char here, *there; /* words without meaning, from this rank and [count] from all */
    bool settled;      /* by the last call */
} comm;

/* ---- messages -------------------------------------------------------------------------------- */

static int add(comm *c, int n, int rank, bool sends, void *at, size_t bytes) {
    if (rank == c->ranks.rank || !bytes || vn_carrier_lost(c->carrier) != VN_NONE_LOST) return n;
    c->messages[n] = (vn_message){rank, sends, at, bytes};
    return n + 1;
}

/* Space for so many messages, and 2 more for each rank. */
static vn_status reserve(comm *c, size_t messages, vn_err *err) {
    messages += 2 * (size_t)c->ranks.count;
    if (messages <= c->capacity) return VN_OK;
    if (vn_carrier_lost(c->carrier) != VN_NONE_LOST) return VN_OK; /* they may be in use still */
    vn_free(c->messages);
    c->messages = vn_alloc(messages, sizeof *c->messages);
    c->capacity = c->messages ? messages : 0;
    return c->messages ? VN_OK : vn_no_memory(err);
}

static vn_status exchange(comm *c, int n, vn_err *err) {
    c->settled = false;
    return vn_carrier_exchange(c->carrier, n, c->messages, err);
}

/* An exchange in which some have nothing for some others: all hear of all, so that none goes on
 * before one that hangs, and waits for those who wait for it. */
static vn_status exchange_all(comm *c, int n, vn_err *err) {
    for (int i = 0; i < c->ranks.count; i++) {
        n = add(c, n, i, true, &c->here, 1);
        n = add(c, n, i, false, &c->there[i], 1);
    }
    return exchange(c, n, err);
}

/* rows [count,bytes], of which this rank's is filled. */
static vn_status gather(void *self, void *rows, size_t bytes, vn_err *err) {
    comm *c = self;
    char *own = (char *)rows + (size_t)c->ranks.rank * bytes;
    int n = 0;
    for (int i = 0; i < c->ranks.count; i++)
        n = add(c, n, i, false, (char *)rows + (size_t)i * bytes, bytes);
    for (int i = 0; i < c->ranks.count; i++) n = add(c, n, i, true, own, bytes);
    return exchange(c, n, err);
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* The first n floats of each of the rows become their sum by the tree, in the first row. */
static void add_rows(const comm *c, size_t n) {
    int branch[64], top = -1; /* the first row of each partial sum, which it is in */
    for (int i = 0; i < c->ranks.count; i++) {
        branch[++top] = i;
        for (int joins = vn_tree_joins(i, c->ranks.count); joins > 0 && top > 0; joins--, top--) {
            float *sum = c->rows + (size_t)branch[top - 1] * c->piece;
            const float *term = c->rows + (size_t)branch[top] * c->piece;
            for (size_t k = 0; k < n; k++) sum[k] += term[k];
        }
    }
}

/* The runs of each rank, one after the other, are a row of its own; of every row the floats from
 * `begin` to `end` are cut out. */
typedef struct cuts {
    comm *c;
    int n;
    const vn_owned *run;
    size_t begin, end;
    int next;
    /* the latest: length floats of the array from `at` on, of this rank's row from `row` on */
    int rank;
    size_t at, length, row;
} cuts;

static cuts cut(comm *c, int n, const vn_owned *run, size_t begin, size_t end) {
    memset(c->before, 0, (size_t)c->ranks.count * sizeof *c->before);
    return (cuts){.c = c, .n = n, .run = run, .begin = begin, .end = end};
}

static bool next_cut(cuts *k) {
    while (k->next < k->n) {
        const vn_owned *run = &k->run[k->next++];
        const size_t before = k->c->before[run->rank], after = before + run->n,
                     from = before > k->begin ? before : k->begin,
                     to = after < k->end ? after : k->end;
        k->c->before[run->rank] = after;
        if (from >= to) continue;
        k->rank = run->rank;
        k->at = run->at + (from - before);
        k->length = to - from;
        k->row = from - k->begin;
        return true;
    }
    return false;
}

/* The part of a reduction that fits into the rows. */
static vn_status reduce_cuts(comm *c, float *x, cuts k, vn_err *err) {
    const int own = c->ranks.rank;
    float *mine = c->rows + (size_t)own * c->piece;
    const cuts again = k;
    size_t most = 0;
    int n = 0;
    while (next_cut(&k)) {
        const size_t bytes = k.length * sizeof *x;
        if (k.rank != own) n = add(c, n, k.rank, true, x + k.at, bytes);
        for (int i = 0; i < c->ranks.count && k.rank == own; i++)
            n = add(c, n, i, false, c->rows + (size_t)i * c->piece + k.row, bytes);
        if (k.rank != own) continue;
        memcpy(mine + k.row, x + k.at, bytes);
        most = k.row + k.length;
    }
    const vn_status status = exchange_all(c, n, err);
    if (status) return status;
    add_rows(c, most);
    k = cut(c, again.n, again.run, again.begin, again.end);
    while (next_cut(&k))
        if (k.rank == own) memcpy(x + k.at, c->rows + k.row, k.length * sizeof *x);
    return VN_OK;
}

/* Floats of the rank that has most. */
static size_t longest(comm *c, int n, const vn_owned *run) {
    size_t most = 0;
    cuts k = cut(c, n, run, 0, SIZE_MAX);
    while (next_cut(&k))
        if (k.row + k.length > most) most = k.row + k.length;
    return most;
}

static vn_status reduce(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    comm *c = self;
    const size_t most = longest(c, n, run);
    vn_status status = reserve(c, (size_t)n * (size_t)c->ranks.count, err);
    for (size_t at = 0; at < most && !status; at += c->piece)
        status = reduce_cuts(c, x, cut(c, n, run, at, at + c->piece), err);
    return status;
}

static vn_status share(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    comm *c = self;
    int messages = 0;
    const vn_status status = reserve(c, (size_t)n * (size_t)c->ranks.count, err);
    if (status) return status;
    for (int k = 0; k < n; k++) {
        const size_t bytes = run[k].n * sizeof *x;
        float *at = x + run[k].at;
        messages = add(c, messages, run[k].rank, false, at, bytes);
        for (int i = 0; i < c->ranks.count && run[k].rank == c->ranks.rank; i++)
            messages = add(c, messages, i, true, at, bytes);
    }
    return exchange_all(c, messages, err);
}

static vn_status collect(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    comm *c = self;
    int messages = 0;
    const vn_status status = reserve(c, (size_t)n, err);
    if (status) return status;
    for (int k = 0; k < n; k++) {
        const size_t bytes = run[k].n * sizeof *x;
        if (c->ranks.rank == 0)
            messages = add(c, messages, run[k].rank, false, x + run[k].at, bytes);
        else if (run[k].rank == c->ranks.rank)
            messages = add(c, messages, 0, true, x + run[k].at, bytes);
    }
    return exchange(c, messages, err);
}

/* ---- items ----------------------------------------------------------------------------------- */

static int64_t begin_of(const vn_ranks *r, int64_t n, int rank) {
    return n / r->count * rank + (n % r->count < rank ? n % r->count : rank);
}

void vn_ranks_deal(const vn_ranks *r, int64_t n, int64_t *first, int64_t *own) {
    *first = begin_of(r, n, r->rank);
    *own = begin_of(r, n, r->rank + 1) - *first;
}

vn_status vn_ranks_collect(const vn_ranks *r, void *x, int64_t n, size_t bytes, vn_err *err) {
    comm *c = r->self;
    int messages = 0;
    for (int i = 1; i < r->count; i++) {
        const int64_t begin = begin_of(r, n, i), own = begin_of(r, n, i + 1) - begin;
        char *at = (char *)x + (size_t)begin * bytes;
        if (r->rank == 0) messages = add(c, messages, i, false, at, (size_t)own * bytes);
        if (r->rank == i) messages = add(c, messages, 0, true, at, (size_t)own * bytes);
    }
    return exchange(c, messages, err);
}

/* ---- agreement ------------------------------------------------------------------------------- */

static vn_status agree(void *self, int64_t *least, vn_err *err) {
    comm *c = self;
    int64_t *all = (int64_t *)(void *)c->rows; /* a row is longer */
    all[c->ranks.rank] = *least;
    const vn_status status = gather(c, all, sizeof *all, err);
    for (int i = 0; i < c->ranks.count && !status; i++)
        if (all[i] < *least) *least = all[i];
    return status;
}

static bool complete(const void *self) {
    const comm *c = self;
    return vn_carrier_lost(c->carrier) == VN_NONE_LOST;
}

static void at_step(void *self, int64_t step) {
    const comm *c = self;
    vn_carrier_set_step(c->carrier, step);
}

vn_status vn_ranks_compare(const vn_ranks *r, const void *own, size_t bytes, int *other,
                           vn_err *err) {
    char *all = vn_calloc((size_t)r->count, bytes);
    *other = -1;
    if (!all) return vn_no_memory(err);
    memcpy(all + (size_t)r->rank * bytes, own, bytes);
    const vn_status status = r->gather(r->self, all, bytes, err);
    for (int i = r->count - 1; i >= 0 && !status; i--)
        if (memcmp(all + (size_t)i * bytes, own, bytes) != 0) *other = i;
    vn_free(all);
    return status;
}

/* The rank whose failure the others hear of; -1: none has failed. One that fails because another
 * has is the last to be named. */
static int first_failed(const vn_err *all, int count) {
    int echo = -1;
    for (int i = 0; i < count; i++) {
        const bool heard = !strncmp(all[i].text, VN_ANOTHER_FAILED, strlen(VN_ANOTHER_FAILED));
        if (all[i].status && !heard) return i;
        if (all[i].status && echo < 0) echo = i;
    }
    return echo;
}

vn_status vn_ranks_settle(const vn_ranks *r, vn_status status, vn_err *err) {
    comm *c = r ? r->self : NULL;
    if (!c || vn_carrier_lost(c->carrier) != VN_NONE_LOST) return status;
    vn_err *all = vn_calloc((size_t)r->count, sizeof *all), second = {0};
    if (!all) return status ? status : vn_no_memory(err);
    if (status) all[r->rank] = *err;
    if (r->gather(r->self, all, sizeof *all, &second)) {
        if (!status) *err = second;
        vn_free(all);
        return err->status;
    }
    c->settled = true;
    const int failed = first_failed(all, r->count);
    if (failed >= 0) *err = all[failed];
    if (failed > 0) vn_fail_in(err, "rank %d of %d", failed, r->count);
    vn_free(all);
    return failed >= 0 ? err->status : VN_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

void vn_ranks_be_patient(vn_ranks *r, bool patient) {
    comm *c = r->self;
    vn_carrier_set_patient(c->carrier, patient);
}

bool vn_ranks_speaks(const vn_ranks *r) {
    const comm *c = r ? r->self : NULL;
    const int lost = c ? vn_carrier_lost(c->carrier) : VN_NONE_LOST;
    return !r || r->rank == (lost == 0 ? 1 : 0);
}

vn_status vn_ranks_open_over(const vn_transport *t, const vn_ranks_options *o, vn_ranks **out,
                             vn_err *err) {
    comm *c = vn_calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return vn_no_memory(err);
    vn_status status = vn_carrier_open(t, o, &c->carrier, err);
    if (!status) {
        const size_t count = (size_t)vn_carrier_count(c->carrier);
        c->piece = BLOCK / count > SHORT ? BLOCK / count : SHORT;
        c->before = vn_alloc(count, sizeof *c->before);
        c->there = vn_calloc(count, 1);
        c->rows = vn_alloc_aligned(count * c->piece, sizeof(float));
        c->ranks = (vn_ranks){.rank = vn_carrier_rank(c->carrier),
                              .count = (int)count,
                              .self = c,
                              .reduce = reduce,
                              .share = share,
                              .collect = collect,
                              .agree = agree,
                              .gather = gather,
                              .at_step = at_step,
                              .complete = complete};
        status = c->before && c->there && c->rows ? reserve(c, 0, err) : vn_no_memory(err);
    }
    c->ranks.self = c;
    *out = &c->ranks;
    if (status) vn_ranks_close(out);
    return status;
}

void vn_ranks_close(vn_ranks **r) {
    comm *c = *r ? (*r)->self : NULL;
    *r = NULL;
    if (!c) return;
    const struct timespec linger = {.tv_sec = 10};
    const bool lost = c->carrier && vn_carrier_lost(c->carrier) != VN_NONE_LOST;
    /* A launcher ends all when one has ended: the one that speaks, and saves, is the first to. */
    if (lost && !vn_ranks_speaks(&c->ranks)) nanosleep(&linger, NULL);
    vn_carrier_close(&c->carrier, c->settled);
    if (lost) return; /* a call that hangs may still read and write there */
    vn_free(c->messages);
    vn_free(c->before);
    vn_free(c->there);
    vn_free(c->rows);
    vn_free(c);
}
