/* select.c - which samples of a data set a model is measured on when it is not all of them. Data
 * often lies sorted by class, so that its first samples are of one. Of every class its share is
 * drawn (to a whole number, by largest remainders), by the seed and without replacement, and read
 * in the data's own order. */
#include "metric/metric.h"

#include <stdlib.h>

/* Classes [first, last] of labels; unlabelled samples are a class of their own. */
static void find_range(const int32_t *labels, int64_t available, int32_t *first, int32_t *last) {
    *first = *last = labels ? labels[0] : 0;
    for (int64_t i = 0; labels && i < available; i++) {
        if (labels[i] < *first) *first = labels[i];
        if (labels[i] > *last) *last = labels[i];
    }
}

typedef struct share {
    int64_t have, take; /* samples of a class */
    int64_t begin;      /* of its samples among all, sorted by class */
    int64_t remainder, number;
} share;

static int by_remainder(const void *a, const void *b) {
    const share *x = a, *y = b;
    if (x->remainder != y->remainder) return x->remainder > y->remainder ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int by_number(const void *a, const void *b) {
    const share *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* count * have / available of each class, rounded so that they add up to count. */
static void divide(share *shares, int64_t classes, int64_t count, int64_t available) {
    int64_t left = count;
    for (int64_t k = 0; k < classes; k++) {
        shares[k].take = count * shares[k].have / available;
        shares[k].remainder = count * shares[k].have % available;
        left -= shares[k].take;
    }
    qsort(shares, (size_t)classes, sizeof *shares, by_remainder);
    for (int64_t k = 0; k < left; k++) shares[k].take++;
    qsort(shares, (size_t)classes, sizeof *shares, by_number);
}

/* The samples of each class, in their order, one class behind the other: places [available]. */
static void sort_places(share *shares, int64_t classes, const int32_t *labels, int32_t first,
                        int64_t available, int64_t *places) {
    int64_t begin = 0;
    for (int64_t k = 0; k < classes; k++) {
        shares[k].begin = begin;
        begin += shares[k].have;
        shares[k].have = 0;
    }
    for (int64_t i = 0; i < available; i++) {
        share *s = &shares[labels ? labels[i] - first : 0];
        places[s->begin + s->have++] = i;
    }
}

/* Marks s->take of the samples of its class. order [s->have] is scratch memory. */
static void mark(const share *s, uint64_t seed, const int64_t *places, int64_t *order,
                 bool *marked) {
    if (s->take == 0) return;
    vn_random_permutation(order, s->have, seed, VN_STREAM_SELECT, (uint64_t)s->number);
    for (int64_t i = 0; i < s->take; i++) marked[places[s->begin + order[i]]] = true;
}

vn_status vn_metric_select(const int32_t *labels, int64_t available, int64_t count, uint64_t seed,
                           int64_t *index, vn_err *err) {
    int32_t first, last;
    find_range(labels, available, &first, &last);
    const int64_t classes = (int64_t)last - first + 1;
    share *shares = vn_calloc((size_t)classes, sizeof *shares);
    int64_t *places = vn_alloc((size_t)available, sizeof *places),
            *order = vn_alloc((size_t)available, sizeof *order);
    bool *marked = vn_calloc((size_t)available, sizeof *marked);
    const bool ok = shares && places && order && marked;
    if (ok) {
        for (int64_t k = 0; k < classes; k++) shares[k].number = k;
        for (int64_t i = 0; i < available; i++) shares[labels ? labels[i] - first : 0].have++;
        divide(shares, classes, count, available);
        sort_places(shares, classes, labels, first, available, places);
        for (int64_t k = 0; k < classes; k++) mark(&shares[k], seed, places, order, marked);
        for (int64_t i = 0, n = 0; i < available; i++)
            if (marked[i]) index[n++] = i;
    }
    vn_free(shares);
    vn_free(places);
    vn_free(order);
    vn_free(marked);
    return ok ? VN_OK : vn_no_memory(err);
}
