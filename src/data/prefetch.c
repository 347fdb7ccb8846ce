/* prefetch.c - pictures decoded ahead by background threads.
 *
 * A ring of slots holds the pictures at positions [tail, tail + slots). Workers claim positions in
 * order at `head`, the caller takes them in order at `tail`. Asking for any other position empties
 * the ring and starts there. What fits in memory is kept as well, so that a small folder is decoded
 * once. All shared state is under one lock, which is not held while decoding; the order (and with
 * it the random numbers) is touched only under it, so what stands at a position does not depend on
 * how many workers there are. A picture that cannot be decoded fails the position it stands at,
 * when that is taken; or, where such may be skipped, another stands in for it. */
#include "data/internal.h"

#include <pthread.h>
#include <string.h>

enum { MAX_SLOTS = 512, MAX_THREADS = 64 };

typedef enum slot_state { SLOT_EMPTY, SLOT_BUSY, SLOT_READY, SLOT_FAILED } slot_state;

typedef struct slot {
    slot_state state;
    int64_t index;
    uint8_t *pixels;
    vn_err err;
} slot;

struct vn_prefetch {
    vn_prefetch_options options;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a slot became free, or stop */
    pthread_cond_t ready; /* a slot became ready or failed, or a worker became idle */
    bool have_lock, have_work, have_ready;
    bool stop, paused; /* paused: no new work is begun */
    int busy;          /* workers that are decoding */
    vn_data_part part;
    uint64_t tail, head;
    slot *slots;
    size_t slot_count;
    uint8_t *ring;       /* [slot_count, sample] */
    uint8_t *cache;      /* [count, sample], or NULL when that does not fit */
    bool *cached;        /* [count] */
    bool *spoilt;        /* [count] pictures that another stands in for */
    vn_spoilt *reported; /* [reported_count] those of them that are to be taken */
    size_t reported_count, reported_capacity;
    pthread_t threads[MAX_THREADS];
    int thread_count;
};

/* ---- workers --------------------------------------------------------------------------------- */

static bool cache_get(const vn_prefetch *f, int64_t index, uint8_t *pixels) {
    const size_t size = f->options.sample_bytes;
    if (!f->cache || !f->cached[index]) return false;
    memcpy(pixels, f->cache + (size_t)index * size, size);
    return true;
}

static void cache_put(vn_prefetch *f, int64_t index, const uint8_t *pixels) {
    const size_t size = f->options.sample_bytes;
    if (!f->cache || f->cached[index]) return;
    memcpy(f->cache + (size_t)index * size, pixels, size);
    f->cached[index] = true;
}

/* The picture s->index into the slot. The lock is held on entry and return, not while decoding. */
static vn_status fill(vn_prefetch *f, slot *s) {
    if (cache_get(f, s->index, s->pixels)) return VN_OK;
    pthread_mutex_unlock(&f->lock);
    const vn_status status = vn_folder_decode(f->options.folder, s->index, s->pixels, &s->err);
    pthread_mutex_lock(&f->lock);
    if (!status) cache_put(f, s->index, s->pixels);
    return status;
}

/* Whether another may stand in for the picture that failed with this status: it is its own fault,
 * and not the whole folder's, which may have been taken away. */
static bool may_skip(const vn_prefetch *f, vn_status status) {
    return f->options.skip_bad && vn_is_files_fault(status) &&
           vn_folder_is_there(f->options.folder);
}

static vn_status add_report(vn_prefetch *f, const slot *s) {
    if (f->reported_count == f->reported_capacity) {
        const size_t capacity = f->reported_capacity > 0 ? 2 * f->reported_capacity : 8;
        vn_spoilt *grown = vn_realloc(f->reported, capacity, sizeof *grown);
        if (!grown) return VN_NO_MEMORY;
        f->reported = grown;
        f->reported_capacity = capacity;
    }
    f->reported[f->reported_count++] = (vn_spoilt){s->index, s->err};
    f->spoilt[s->index] = true;
    return VN_OK;
}

/* The picture s->index or, where that cannot be read and may be skipped, the first after it in its
 * part that can. Which one that is depends on the files alone, not on what has been read before. */
static vn_status fill_or_stand_in(vn_prefetch *f, slot *s) {
    const int64_t first = s->index;
    const vn_data_part part = f->part;
    for (;;) {
        vn_status status = VN_OK;
        if (!f->spoilt[s->index]) {
            status = fill(f, s);
            if (!status || !may_skip(f, status)) return status;
            if (f->spoilt[s->index]) continue; /* another thread has met it too */
            status = add_report(f, s);
            if (status) return vn_no_memory(&s->err);
        }
        s->index = vn_order_next(f->options.order, part, s->index);
        if (s->index == first)
            return vn_fail(&s->err, VN_BAD_FILE, "none of the pictures can be read any more");
    }
}

/* Makes the picture at the next position. The lock is held on entry and return, not while
 * decoding. */
static void work_once(vn_prefetch *f) {
    const uint64_t position = f->head++;
    slot *s = &f->slots[position % f->slot_count];
    s->state = SLOT_BUSY;
    s->index = vn_order_at(f->options.order, f->part, position);
    f->busy++;
    s->state = fill_or_stand_in(f, s) == VN_OK ? SLOT_READY : SLOT_FAILED;
    f->busy--;
    pthread_cond_broadcast(&f->ready);
}

static void *worker(void *argument) {
    vn_prefetch *f = argument;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        if (f->paused || f->head - f->tail >= f->slot_count)
            pthread_cond_wait(&f->work, &f->lock);
        else
            work_once(f);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static vn_status start_threads(vn_prefetch *f, vn_err *err) {
    const int wanted = f->options.threads < MAX_THREADS ? f->options.threads : MAX_THREADS;
    while (f->thread_count < wanted && vn_thread_begin(&f->threads[f->thread_count], worker, f))
        f->thread_count++;
    if (f->thread_count > 0) return VN_OK;
    return vn_fail(
        err, VN_NO_MEMORY,
        "no thread can be started to decode pictures: out of memory, or too many threads");
}

static vn_status make_ring(vn_prefetch *f, vn_err *err) {
    const size_t size = f->options.sample_bytes, fit = f->options.memory / size,
                 count = (size_t)f->options.count;
    const size_t least = (size_t)f->options.threads + 1;
    char each[32], all[32];
    if (fit < least)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "%zu decoded pictures of %s do not fit in %s: give a smaller size (`size=64`)", least,
            vn_bytes_text((double)size, each), vn_bytes_text((double)f->options.memory, all));
    const bool keep = fit >= least && count <= fit - least;
    f->slot_count = fit - (keep ? count : 0);
    if (f->slot_count > MAX_SLOTS) f->slot_count = MAX_SLOTS;
    f->slots = vn_calloc(f->slot_count, sizeof *f->slots);
    f->ring = vn_alloc(f->slot_count, size);
    f->spoilt = vn_calloc(count, sizeof *f->spoilt);
    if (keep) f->cache = vn_alloc(count, size);
    if (keep) f->cached = vn_calloc(count, sizeof *f->cached);
    if (!f->slots || !f->ring || !f->spoilt || (keep && (!f->cache || !f->cached)))
        return vn_no_memory(err);
    for (size_t i = 0; i < f->slot_count; i++) f->slots[i].pixels = f->ring + i * size;
    for (size_t i = 0; i < count; i++)
        f->spoilt[i] = vn_folder_is_hole(f->options.folder, (int64_t)i);
    return VN_OK;
}

static vn_status make_locks(vn_prefetch *f, vn_err *err) {
    f->have_lock = pthread_mutex_init(&f->lock, NULL) == 0;
    f->have_work = pthread_cond_init(&f->work, NULL) == 0;
    f->have_ready = pthread_cond_init(&f->ready, NULL) == 0;
    return f->have_lock && f->have_work && f->have_ready ? VN_OK : vn_no_memory(err);
}

vn_status vn_prefetch_open(const vn_prefetch_options *options, vn_prefetch **out, vn_err *err) {
    vn_prefetch *f = vn_calloc(1, sizeof *f);
    *out = NULL;
    if (!f) return vn_no_memory(err);
    f->options = *options;
    f->paused = true; /* until the first position is asked for */
    vn_status status = make_locks(f, err);
    if (!status) status = make_ring(f, err);
    if (!status) status = start_threads(f, err);
    if (status) vn_prefetch_close(&f);
    *out = f;
    return status;
}

void vn_prefetch_close(vn_prefetch **feed) {
    vn_prefetch *f = *feed;
    if (!f) return;
    if (f->thread_count > 0) {
        pthread_mutex_lock(&f->lock);
        f->stop = true;
        pthread_cond_broadcast(&f->work);
        pthread_mutex_unlock(&f->lock);
    }
    for (int i = 0; i < f->thread_count; i++) pthread_join(f->threads[i], NULL);
    if (f->have_ready) pthread_cond_destroy(&f->ready);
    if (f->have_work) pthread_cond_destroy(&f->work);
    if (f->have_lock) pthread_mutex_destroy(&f->lock);
    vn_free(f->slots);
    vn_free(f->ring);
    vn_free(f->cache);
    vn_free(f->cached);
    vn_free(f->spoilt);
    vn_free(f->reported);
    vn_free(f);
    *feed = NULL;
}

size_t vn_prefetch_bytes(const vn_prefetch *feed) {
    const size_t kept = feed->cache ? (size_t)feed->options.count : 0;
    return (feed->slot_count + kept) * feed->options.sample_bytes;
}

/* ---- taking ---------------------------------------------------------------------------------- */

/* Empties the ring and starts at a position; waits for pictures that are being decoded into it. The
 * lock is held. */
static void seek(vn_prefetch *f, vn_data_part part, uint64_t position) {
    f->paused = true;
    while (f->busy > 0) pthread_cond_wait(&f->ready, &f->lock);
    for (size_t i = 0; i < f->slot_count; i++) f->slots[i].state = SLOT_EMPTY;
    f->part = part;
    f->tail = f->head = position;
    f->paused = false;
    pthread_cond_broadcast(&f->work);
}

bool vn_prefetch_spoilt(vn_prefetch *feed, vn_spoilt *out) {
    pthread_mutex_lock(&feed->lock);
    const bool any = feed->reported_count > 0;
    if (any) *out = feed->reported[--feed->reported_count];
    pthread_mutex_unlock(&feed->lock);
    return any;
}

vn_status vn_prefetch_take(vn_prefetch *feed, vn_data_part part, uint64_t position,
                           const uint8_t **pixels, int64_t *index, vn_err *err) {
    pthread_mutex_lock(&feed->lock);
    if (feed->paused || feed->part != part || feed->tail != position) seek(feed, part, position);
    slot *s = &feed->slots[position % feed->slot_count];
    while (s->state != SLOT_READY && s->state != SLOT_FAILED)
        pthread_cond_wait(&feed->ready, &feed->lock);
    *pixels = s->pixels;
    *index = s->index;
    const vn_status status = s->state == SLOT_READY ? VN_OK : s->err.status;
    if (status && err) *err = s->err;
    pthread_mutex_unlock(&feed->lock);
    return status;
}

void vn_prefetch_done(vn_prefetch *feed) {
    pthread_mutex_lock(&feed->lock);
    feed->slots[feed->tail % feed->slot_count].state = SLOT_EMPTY;
    feed->tail++;
    pthread_cond_signal(&feed->work);
    pthread_mutex_unlock(&feed->lock);
}
