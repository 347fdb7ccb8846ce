/* pack.c - offsets in one arena for buffers that live from one step to another.
 *
 * Finding the smallest arena is NP-hard; each greedy order below, with the tightest gap that fits, comes within a few percent of
 * the most that is alive at one step, and which is best depends on the network. They are cheap, so all are tried.
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

/* The tightest gap for b between those of placed[n] (in order of offset) that live with it. */
static size_t find_gap(const vn_buffer *b, vn_buffer *const *placed, int n) {
    size_t end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (int i = 0; i < n; i++) {
        const vn_buffer *p = placed[i];
        if (p->first > b->last || b->first > p->last) continue;
        if (p->offset >= end + b->bytes && p->offset - end < best_gap) {
            best = end;
            best_gap = p->offset - end;
        }
        if (p->offset + p->bytes > end) end = p->offset + p->bytes;
    }
    return best != SIZE_MAX ? best : end;
}

/* Places queue[n] one after another; placed[n] is room to keep them by offset. */
static size_t pack_in_order(vn_buffer *const *queue, int n, vn_buffer **placed) {
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        vn_buffer *b = queue[i];
        b->offset = find_gap(b, placed, i);
        if (b->offset + b->bytes > total) total = b->offset + b->bytes;
        int at = i;
        for (; at > 0 && placed[at - 1]->offset > b->offset; at--) placed[at] = placed[at - 1];
        placed[at] = b;
    }
    return total;
}

/* As vn_pack, in queue[n] and placed[n]. */
static size_t pack_best(vn_buffer **queue, int n, vn_buffer **placed) {
    size_t total = SIZE_MAX, best = 0;
    for (size_t k = 0; k < VN_COUNT(orders); k++) {
        qsort(queue, (size_t)n, sizeof(vn_buffer *), orders[k]);
        size_t bytes = pack_in_order(queue, n, placed);
        if (bytes >= total) continue;
        total = bytes;
        best = k;
    }
    qsort(queue, (size_t)n, sizeof(vn_buffer *), orders[best]);
    return pack_in_order(queue, n, placed);
}

vn_status vn_pack(vn_buffer *buffer, int n, size_t *total, vn_err *err) {
    vn_buffer **queue = vn_alloc((size_t)n, sizeof(vn_buffer *)), **placed = vn_alloc((size_t)n, sizeof(vn_buffer *));
    bool room = queue && placed;
    if (room) {
        for (int i = 0; i < n; i++) queue[i] = &buffer[i];
        *total = pack_best(queue, n, placed);
    }
    vn_free(queue);
    vn_free(placed);
    return room ? VN_OK : vn_no_memory(err);
}
