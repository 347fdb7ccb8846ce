/* cache.h - step caches: passes of a step that are not run, since what they gave in steps before
 * says what they would give. A cache stands between the plan of the guides and the network
 * (guidance.c): guides do not know of it, and every sampler and network will do. */
#ifndef VN_CACHE_H
#define VN_CACHE_H

#include "guide/internal.h"

typedef struct vn_cache vn_cache;

/* What a cache has kept of one pass, known from step to step by what is the same about it. */
typedef struct vn_cache_entry {
    vn_pass pass;
    bool *filled;           /* [capacity] */
    float *kept;            /* [capacity,size] in the cache's space */
    float *earlier;         /* the same of the row that was run before it */
    float *at, *earlier_at; /* [capacity] their levels' angles; equal: there is no earlier one */
} vn_cache_entry;

typedef struct vn_cache_row {
    vn_row row;
    /* What is kept of a pass is its difference to the conditional one, which is always run. */
    bool of_difference;
    /* Whether row k of a pass that has been kept need not be run now. */
    bool (*reuses)(vn_cache *c, const vn_guide_at *at, size_t k);
    /* What it looks at once a row of the conditional pass has been run, with its answer [size] in
     * the cache's space before and now; NULL: nothing. */
    void (*ran)(vn_cache *c, const vn_guide_at *at, size_t k, const float *before,
                const float *now);
} vn_cache_row;

/* How far off what was kept would have been where passes were run after all, once the cache acts:
 * sums of squares of the difference, and of the answers. */
typedef struct vn_cache_error {
    double off, length;
} vn_cache_error;

#define VN_CACHE_NUMBERS 3

struct vn_cache {
    const vn_cache_row *row;
    vn_choice choice;
    const vn_denoiser *denoiser;
    int64_t capacity;
    int passes, count;
    vn_cache_entry *entry; /* [passes] */
    bool *reused;          /* [passes,capacity] of the plan: the row is not run; else scratch */
    float *x;              /* [capacity,size] where the conditional pass was last asked */
    float *now, *guess;    /* [size] scratch */
    vn_cache_error error;  /* since vn_cache_begin */
    double *number;        /* [capacity,VN_CACHE_NUMBERS] the row's own */
};

/* text NULL: *out is NULL, which all of these take. passes: of a plan, at most. */
vn_status vn_cache_open(const char *text, const vn_denoiser *d, int64_t capacity, int passes,
                        vn_cache **out, vn_err *err);
void vn_cache_close(vn_cache **c);
/* A sampling run begins: nothing has been kept. */
void vn_cache_begin(vn_cache *c);
/* Samples change places: place i has what ancestor[i] had. spare: [capacity,size]. */
void vn_cache_move(vn_cache *c, int64_t n, const int64_t *ancestor, float *spare);

/* The passes of a prediction. acts: something may be reused and kept; false: all rows are run, of a
 * state that is not the whole batch's, say. */
typedef struct vn_cached_plan {
    int count;
    const vn_pass *pass;
    const vn_estimate *estimate;
    bool acts;
} vn_cached_plan;
/* Says which rows of pass i are not run (vn_cache_skips). */
void vn_cache_choose(vn_cache *c, const vn_guide_at *at, const vn_cached_plan *plan, int i);
static inline bool vn_cache_skips(const vn_cache *c, int pass, size_t row) {
    return c && c->reused[(size_t)pass * (size_t)c->capacity + row];
}
/* Once the passes from `first` on have been run but for those rows: fills them in, and keeps what
 * was run. */
void vn_cache_fill(vn_cache *c, const vn_guide_at *at, const vn_cached_plan *plan, int first);

#endif
