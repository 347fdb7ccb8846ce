/* ranks.c - sums, agreement and words among ranks, made of messages.
 *
 * A long array is summed block by block. Of a block each rank owns an equal piece: it gets that
 * piece from all others, adds them in the tree's order, and sends the sum to all. Whatever the
 * number of ranks, each sends and receives about twice the array. A short one goes to all as it is.
 * In both ways each waits for all others at first, so that one that is lost is known by its
 * number. */
#include "ranks/internal.h"

#include <string.h>
#include <time.h>

enum {
    BLOCK = 1 << 21, /* floats that are received at a time, over all ranks */
    SHORT = 1 << 10  /* floats of an array that is not cut into pieces, and no fewer than ranks */
};

typedef struct comm {
    vn_ranks ranks;
    vn_carrier *carrier;
    vn_message *messages; /* [2 count] */
    float *rows;          /* [count,piece] of a block, one of each rank */
    size_t piece;
    bool settled; /* by the last call */
} comm;

/* ---- messages -------------------------------------------------------------------------------- */

static int add(comm *c, int n, int rank, bool sends, void *at, size_t bytes) {
    if (rank == c->ranks.rank || !bytes || vn_carrier_lost(c->carrier) != VN_NONE_LOST) return n;
    c->messages[n] = (vn_message){rank, sends, at, bytes};
    return n + 1;
}

static vn_status exchange(comm *c, int n, vn_err *err) {
    c->settled = false;
    return vn_carrier_exchange(c->carrier, n, c->messages, err);
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

/* The first n of the rows [count,stride], added by the tree, to `to` [n]. */
static void add_rows(const comm *c, size_t stride, size_t n, float *to) {
    int branch[64], top = -1; /* the first row of each partial sum, which it is in */
    for (int i = 0; i < c->ranks.count; i++) {
        branch[++top] = i;
        for (int joins = vn_tree_joins(i, c->ranks.count); joins > 0 && top > 0; joins--, top--) {
            float *sum = c->rows + (size_t)branch[top - 1] * stride;
            const float *term = c->rows + (size_t)branch[top] * stride;
            for (size_t k = 0; k < n; k++) sum[k] += term[k];
        }
    }
    memcpy(to, c->rows, n * sizeof *to);
}

/* A block of x, cut into pieces of which the last are shorter, or empty. */
typedef struct block {
    float *x;
    size_t n, piece;
} block;

static float *piece_of(const block *b, int rank, size_t *n) {
    const size_t begin = (size_t)rank * b->piece < b->n ? (size_t)rank * b->piece : b->n;
    *n = b->n - begin < b->piece ? b->n - begin : b->piece;
    return b->x + begin;
}

/* This rank's piece of the block becomes its sum. */
static vn_status reduce(comm *c, const block *b, vn_err *err) {
    size_t own, size;
    float *mine = piece_of(b, c->ranks.rank, &own);
    int n = 0;
    for (int i = 0; i < c->ranks.count; i++)
        n = add(c, n, i, false, c->rows + (size_t)i * c->piece, own * sizeof(float));
    for (int i = 0; i < c->ranks.count; i++) {
        float *piece = piece_of(b, i, &size);
        n = add(c, n, i, true, piece, size * sizeof(float));
    }
    const vn_status status = exchange(c, n, err);
    if (status || !own) return status;
    memcpy(c->rows + (size_t)c->ranks.rank * c->piece, mine, own * sizeof(float));
    add_rows(c, c->piece, own, mine);
    return VN_OK;
}

/* Each rank's piece of the block goes to all. */
static vn_status share(comm *c, const block *b, vn_err *err) {
    size_t own, size;
    float *mine = piece_of(b, c->ranks.rank, &own);
    int n = 0;
    for (int i = 0; i < c->ranks.count; i++) {
        float *piece = piece_of(b, i, &size);
        n = add(c, n, i, false, piece, size * sizeof(float));
    }
    for (int i = 0; i < c->ranks.count; i++) n = add(c, n, i, true, mine, own * sizeof(float));
    return exchange(c, n, err);
}

static vn_status sum_short(comm *c, float *x, size_t n, vn_err *err) {
    memcpy(c->rows + (size_t)c->ranks.rank * n, x, n * sizeof *x);
    const vn_status status = gather(c, c->rows, n * sizeof *x, err);
    if (!status) add_rows(c, n, n, x);
    return status;
}

static vn_status sum(void *self, float *x, size_t n, vn_err *err) {
    comm *c = self;
    const size_t count = (size_t)c->ranks.count;
    vn_status status = VN_OK;
    if (n <= SHORT) return sum_short(c, x, n, err);
    for (size_t at = 0; at < n && !status; at += count * c->piece) {
        block b = {.x = x + at, .n = n - at < count * c->piece ? n - at : count * c->piece};
        b.piece = (b.n + count - 1) / count;
        status = reduce(c, &b, err);
        if (!status) status = share(c, &b, err);
    }
    return status;
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
        c->messages = vn_alloc(2 * count, sizeof *c->messages);
        c->rows = vn_alloc_aligned(count * c->piece, sizeof(float));
        if (!c->messages || !c->rows) status = vn_no_memory(err);
        c->ranks = (vn_ranks){.rank = vn_carrier_rank(c->carrier),
                              .count = (int)count,
                              .self = c,
                              .sum = sum,
                              .agree = agree,
                              .gather = gather,
                              .at_step = at_step};
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
    vn_free(c->rows);
    vn_free(c);
}
