/* pack.c - offsets in one arena for buffers that are alive from one step to another.
 *
 * Finding the smallest arena is NP-hard; each greedy order below, with the tightest gap that fits,
 * comes within a few percent of the lower bound, which is the most that is alive at one step. Which
 * is best depends on the network; they are cheap, so all are tried. The buffers that are alive at
 * the same time as another are found in a tree over the steps, so that a network of a thousand
 * layers is planned in a second.
 */
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

typedef int (*compare_fn)(const void *, const void *);

static int by_size(const void *a, const void *b) {
    const vn_buffer *x = *(vn_buffer *const *)a, *y = *(vn_buffer *const *)b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->first != y->first ? x->first - y->first : x < y ? -1 : x > y;
}

static int by_life(const void *a, const void *b) {
    const vn_buffer *x = *(vn_buffer *const *)a, *y = *(vn_buffer *const *)b;
    int life = (y->last - y->first) - (x->last - x->first);
    return life ? life : by_size(a, b);
}

static int by_time(const void *a, const void *b) {
    const vn_buffer *x = *(vn_buffer *const *)a, *y = *(vn_buffer *const *)b;
    return x->first != y->first ? x->first - y->first : by_size(a, b);
}

static const compare_fn orders[] = {by_size, by_life, by_time};

/* ---- what is taken --------------------------------------------------------------------------- */

/* Bytes of the arena: disjoint spans, rising, those that touch made one. Well packed buffers leave
 * few. */
typedef struct span {
    size_t begin, end;
} span;
typedef struct spans {
    span *at;
    int n, capacity;
} spans;

/* Takes [begin, end) in. False: out of memory. */
static bool take(spans *s, size_t begin, size_t end) {
    int low = 0, high = s->n;
    while (low < high) { /* to the first that ends at begin or behind it */
        const int middle = (low + high) / 2;
        if (s->at[middle].end < begin)
            low = middle + 1;
        else
            high = middle;
    }
    for (; high < s->n && s->at[high].begin <= end; high++) {
        if (s->at[high].begin < begin) begin = s->at[high].begin;
        if (s->at[high].end > end) end = s->at[high].end;
    }
    if (low == high && s->n == s->capacity) {
        const int capacity = s->capacity ? 2 * s->capacity : 4;
        span *grown = vn_realloc(s->at, (size_t)capacity, sizeof *grown);
        if (!grown) return false;
        s->at = grown;
        s->capacity = capacity;
    }
    memmove(s->at + low + 1, s->at + high, (size_t)(s->n - high) * sizeof *s->at);
    s->n += low + 1 - high;
    s->at[low] = (span){begin, end};
    return true;
}

static bool take_all(spans *s, const spans *more) {
    bool ok = true;
    for (int i = 0; i < more->n && ok; i++) ok = take(s, more->at[i].begin, more->at[i].end);
    return ok;
}

/* A segment tree whose leaves are the steps. A buffer's lifetime is covered by a few nodes; `whole`
 * of a node has the buffers with that node in their cover, `part` all that are alive in some of its
 * steps. The buffers alive together with another are the parts of the nodes of its cover and the
 * wholes of the nodes above those. */
typedef struct taken {
    spans *whole, *part; /* [2 leaves]; the children of node v are 2v and 2v + 1 */
    int leaves;
    spans found; /* scratch */
} taken;

/* Adds a placed buffer. */
static bool add(taken *t, const vn_buffer *b) {
    const size_t begin = b->offset, end = b->offset + b->bytes;
    bool ok = true;
    int low = b->first + t->leaves, high = b->last + t->leaves;
    for (int v = low; v > 0 && ok; v /= 2) ok = take(&t->part[v], begin, end);
    for (int v = high; v > 0 && ok; v /= 2) ok = take(&t->part[v], begin, end);
    for (high++; low < high && ok; low /= 2, high /= 2) {
        if (low & 1) {
            ok = take(&t->whole[low], begin, end) && take(&t->part[low], begin, end);
            low++;
        }
        if (high & 1) {
            high--;
            ok = ok && take(&t->whole[high], begin, end) && take(&t->part[high], begin, end);
        }
    }
    return ok;
}

/* Finds the buffers that are alive together with b: in t->found. */
static bool find(taken *t, const vn_buffer *b) {
    spans *found = &t->found;
    bool ok = true;
    int low = b->first + t->leaves, high = b->last + t->leaves;
    found->n = 0;
    for (int v = low; v > 0 && ok; v /= 2) ok = take_all(found, &t->whole[v]);
    for (int v = high; v > 0 && ok; v /= 2) ok = take_all(found, &t->whole[v]);
    for (high++; low < high && ok; low /= 2, high /= 2) {
        if (low & 1) ok = take_all(found, &t->part[low++]);
        if (high & 1) ok = ok && take_all(found, &t->part[--high]);
    }
    return ok;
}

/* ---- placing --------------------------------------------------------------------------------- */

/* The tightest gap for so many bytes, the first of such; without one the end of all. */
static size_t find_gap(const spans *s, size_t bytes) {
    size_t end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (int i = 0; i < s->n; i++) {
        const size_t gap = s->at[i].begin - end;
        if (gap >= bytes && gap < best_gap) {
            best = end;
            best_gap = gap;
        }
        end = s->at[i].end;
    }
    return best != SIZE_MAX ? best : end;
}

/* Places queue[n] one after another. False: out of memory. */
static bool pack_in_order(taken *t, vn_buffer *const *queue, int n, size_t *total) {
    *total = 0;
    for (int v = 0; v < 2 * t->leaves; v++) t->whole[v].n = t->part[v].n = 0;
    for (int i = 0; i < n; i++) {
        vn_buffer *b = queue[i];
        if (!find(t, b)) return false;
        b->offset = find_gap(&t->found, b->bytes);
        if (b->offset + b->bytes > *total) *total = b->offset + b->bytes;
        if (!add(t, b)) return false;
    }
    return true;
}

/* As vn_pack, with queue[n] of the buffers in any order. */
static bool pack_best(taken *t, vn_buffer **queue, int n, size_t *total) {
    size_t best = 0, bytes;
    *total = SIZE_MAX;
    for (size_t k = 0; k < VN_COUNT(orders); k++) {
        qsort(queue, (size_t)n, sizeof(vn_buffer *), orders[k]);
        if (!pack_in_order(t, queue, n, &bytes)) return false;
        if (bytes >= *total) continue;
        *total = bytes;
        best = k;
    }
    if (best == VN_COUNT(orders) - 1) return true;
    qsort(queue, (size_t)n, sizeof(vn_buffer *), orders[best]);
    return pack_in_order(t, queue, n, total);
}

static bool open_taken(taken *t, const vn_buffer *buffer, int n) {
    t->leaves = 1;
    for (int i = 0; i < n; i++)
        while (t->leaves <= buffer[i].last) t->leaves *= 2;
    t->whole = vn_calloc(2 * (size_t)t->leaves, sizeof *t->whole);
    t->part = vn_calloc(2 * (size_t)t->leaves, sizeof *t->part);
    return t->whole && t->part;
}

static void close_taken(taken *t) {
    for (int v = 0; t->whole && t->part && v < 2 * t->leaves; v++) {
        vn_free(t->whole[v].at);
        vn_free(t->part[v].at);
    }
    vn_free(t->whole);
    vn_free(t->part);
    vn_free(t->found.at);
}

vn_status vn_pack(vn_buffer *buffer, int n, size_t *total, vn_err *err) {
    vn_buffer **queue = vn_alloc((size_t)n, sizeof(vn_buffer *));
    taken t = {0};
    bool ok = open_taken(&t, buffer, n) && queue;
    for (int i = 0; i < n && ok; i++) queue[i] = &buffer[i];
    ok = ok && pack_best(&t, queue, n, total);
    close_taken(&t);
    vn_free(queue);
    return ok ? VN_OK : vn_no_memory(err);
}
