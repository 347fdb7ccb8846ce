/* order.c - which sample stands at a position: the held-out split, and a permutation for every
 * epoch.
 *
 * Both come from Philox, keyed by the seed: the split is permutation 0 of the order stream, epoch e
 * is permutation e + 1. So any position can be found without having walked there, which is what
 * makes resuming exact. */
#include "data/internal.h"

#include <math.h>

void vn_order_close(vn_order *o) {
    vn_free(o->train_index);
    vn_free(o->held_index);
    vn_free(o->shuffled);
    *o = (vn_order){0};
}

/* Permutation 0, to be stopped between two parts of it. */
static vn_status permute(const vn_order *o, int64_t *permutation, const vn_watch *watch,
                         vn_err *err) {
    const int64_t part = 1 << 20;
    vn_reading reading;
    vn_reading_begin(&reading, watch, (uint64_t)o->count * sizeof *permutation);
    vn_status status = VN_OK;
    for (int64_t first = 0; !status && first < o->count; first += part) {
        vn_random_permute(permutation, o->count, o->seed, VN_STREAM_ORDER, 0, first, first + part);
        status = first > 0 ? vn_reading_advance(&reading, (uint64_t)part * sizeof *permutation, err)
                           : VN_OK;
    }
    return status;
}

/* The first `held` of the split's permutation are held out; both parts keep the source's order. */
static void split(vn_order *o, const int64_t *permutation, bool *is_held) {
    for (int64_t i = 0; i < o->held; i++) is_held[permutation[i]] = true;
    int64_t train = 0, held = 0;
    for (int64_t i = 0; i < o->count; i++)
        if (is_held[i])
            o->held_index[held++] = i;
        else
            o->train_index[train++] = i;
}

vn_status vn_order_open(vn_order *o, int64_t count, double validate, uint64_t seed,
                        const vn_watch *watch, vn_err *err) {
    const int64_t held = (int64_t)floor(validate * (double)count);
    *o = (vn_order){.count = count, .held = held, .train = count - held, .seed = seed};
    o->train_index = vn_alloc((size_t)o->train, sizeof *o->train_index);
    o->held_index = vn_alloc((size_t)o->held, sizeof *o->held_index);
    /* until the first epoch the split's permutation */
    o->shuffled = vn_alloc((size_t)count, sizeof *o->shuffled);
    bool *is_held = vn_calloc((size_t)count, sizeof *is_held);
    const bool ok = o->train_index && o->held_index && o->shuffled && is_held;
    const vn_status status = ok ? permute(o, o->shuffled, watch, err) : vn_no_memory(err);
    if (!status) split(o, o->shuffled, is_held);
    vn_free(is_held);
    if (status) vn_order_close(o);
    return status;
}

int64_t vn_order_next(const vn_order *o, vn_data_part part, int64_t index) {
    if (part == VN_DATA_ALL) return (index + 1) % o->count;
    const int64_t *list = part == VN_DATA_TRAIN ? o->train_index : o->held_index;
    const int64_t count = part == VN_DATA_TRAIN ? o->train : o->held;
    int64_t low = 0, high = count; /* the first that is larger */
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (list[middle] <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return list[low % count];
}

int64_t vn_order_at(vn_order *o, vn_data_part part, uint64_t position) {
    if (part == VN_DATA_ALL) return (int64_t)(position % (uint64_t)o->count);
    if (part == VN_DATA_HELD) return o->held_index[position % (uint64_t)o->held];
    const uint64_t epoch = position / (uint64_t)o->train;
    if (!o->have_epoch || o->epoch != epoch) {
        vn_random_permutation(o->shuffled, o->train, o->seed, VN_STREAM_ORDER, epoch + 1);
        o->epoch = epoch;
        o->have_epoch = true;
    }
    return o->train_index[o->shuffled[position % (uint64_t)o->train]];
}
