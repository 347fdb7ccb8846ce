/* alloc.h - fails allocations on purpose, wherever they are made: in vane, jansson, libpng or libc.
 * Include it in one source of a test program (it defines malloc and its kin for the whole program),
 * then:
 *
 *     for (alloc_turn t = {0}; alloc_next(&t);) {
 *         vn_status status = the_call();
 *         if (!alloc_hit(&t, status)) ..          // the last turn: the call made no more than t.n
 *         ..                                      // frees what it made
 *     }
 *
 * In turn t.n the n-th allocation from there on fails, or all from it on.
 *
 * The loop holds the call to its word: VN_NO_MEMORY where an allocation failed, else VN_OK, and no
 * block left over. Where more is to be said, alloc_fail(n, mode) and alloc_fail_end() around a call
 * do the failing alone.
 *
 * alloc_live() counts blocks that were not freed: equal before and after means no leak, without a
 * sanitizer too. alloc_bytes() counts what they hold. alloc_made() counts allocations since the
 * start. Run the call once before counting: libc keeps what it makes at first use. */
#ifndef VN_TEST_ALLOC_H
#define VN_TEST_ALLOC_H

#include <pthread.h>
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vane.h"

#if defined(__SANITIZE_ADDRESS__)
#define ALLOC_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ALLOC_SANITIZED 1
#endif
#endif

enum { ALLOC_ONCE, ALLOC_FROM_THEN_ON };

static struct {
    _Atomic int64_t made, live, bytes,
        left; /* left: allocations until the failure; < 0 is past it */
    atomic_bool armed, hit;
    int mode;
    pthread_t by; /* the thread that asked for failures */
} alloc_state;

static inline void alloc_fail(int64_t n, int mode) {
    alloc_state.left = n;
    alloc_state.mode = mode;
    alloc_state.hit = false;
    alloc_state.by = pthread_self();
    alloc_state.armed = true;
}

/* Stops failing; true if an allocation was failed. */
static inline bool alloc_fail_end(void) {
    alloc_state.armed = false;
    return alloc_state.hit;
}

static inline int64_t alloc_live(void) {
#ifdef ALLOC_SANITIZED
    return 0; /* it has allocations of its own, and finds leaks itself */
#else
    return alloc_state.live;
#endif
}

static inline int64_t alloc_bytes(void) {
#ifdef ALLOC_SANITIZED
    return 0;
#else
    return alloc_state.bytes;
#endif
}

static inline int64_t alloc_made(void) {
    return alloc_state.made;
}

/* ---- each allocation in turn ----------------------------------------------------------------- */

typedef struct alloc_turn {
    bool once; /* not also all from the n-th on */
    /* libc gets by without some (a stream's buffer, qsort's): then VN_OK is right, if the result
     * is */
    bool recovers;
    int mode;
    int64_t n, live, refused; /* refused: turns that ended in VN_NO_MEMORY */
    bool begun, hit;
} alloc_turn;

/* Begins a turn; false after the last. */
static inline bool alloc_next(alloc_turn *t) {
    if (t->begun) {
        assert_int_equal(alloc_live(), t->live);
        if (!t->hit && (t->once || t->mode == ALLOC_FROM_THEN_ON)) return false;
        t->mode = t->hit ? t->mode : ALLOC_FROM_THEN_ON;
        t->n = t->hit ? t->n + 1 : 0;
    }
    t->begun = true;
    t->live = alloc_live();
    alloc_fail(t->n, t->mode);
    return true;
}

/* Stops failing and checks what the call answered; true if an allocation was failed. */
static inline bool alloc_hit(alloc_turn *t, vn_status status) {
    t->hit = alloc_fail_end();
    if (status || !t->recovers) assert_int_equal(status, t->hit ? VN_NO_MEMORY : VN_OK);
    t->refused += status == VN_NO_MEMORY;
    return t->hit;
}

/* ---- the interposed functions, over those of libc or of the address sanitizer ---------------- */

#ifdef ALLOC_SANITIZED
#define ALLOC_REAL(name) __interceptor_##name
#else
#define ALLOC_REAL(name) __libc_##name
#endif

void *ALLOC_REAL(malloc)(size_t);
void *ALLOC_REAL(calloc)(size_t, size_t);
void *ALLOC_REAL(realloc)(void *, size_t);
void *ALLOC_REAL(memalign)(size_t, size_t);
void ALLOC_REAL(free)(void *);
void *memalign(size_t alignment, size_t size);

/* They run before the sanitizer is ready, and shared libraries must find them whatever -fvisibility
 * says. */
#define ALLOC_PLAIN __attribute__((no_sanitize("address")))
#define ALLOC_SEEN  __attribute__((no_sanitize("address"), visibility("default")))

ALLOC_PLAIN static bool alloc_refused(void) {
    alloc_state.made++;
    if (!alloc_state.armed) return false;
#ifdef ALLOC_SANITIZED /* its own allocations where a thread starts must not fail */
    if (!pthread_equal(alloc_state.by, pthread_self())) return false;
#endif
    int64_t left = alloc_state.left--;
    if (left > 0 || (left < 0 && alloc_state.mode == ALLOC_ONCE)) return false;
    alloc_state.hit = true;
    errno = ENOMEM;
    return true;
}

/* Counts a block that is new, or with sign -1 one that goes. */
ALLOC_PLAIN static void *alloc_counted(void *p, int sign) {
    if (!p) return NULL;
    alloc_state.live += sign;
#ifndef ALLOC_SANITIZED
    alloc_state.bytes += sign * (int64_t)malloc_usable_size(p);
#endif
    return p;
}

ALLOC_SEEN void *malloc(size_t size) {
    return alloc_refused() ? NULL : alloc_counted(ALLOC_REAL(malloc)(size), 1);
}

ALLOC_SEEN void *calloc(size_t count, size_t size) {
    return alloc_refused() ? NULL : alloc_counted(ALLOC_REAL(calloc)(count, size), 1);
}

ALLOC_SEEN void *realloc(void *old, size_t size) {
    if (alloc_refused()) return NULL;
    alloc_counted(old, -1);
    void *p = ALLOC_REAL(realloc)(old, size);
    alloc_counted(p ? p : old, 1);
    return p;
}

ALLOC_SEEN void *aligned_alloc(size_t alignment, size_t size) {
    return alloc_refused() ? NULL : alloc_counted(ALLOC_REAL(memalign)(alignment, size), 1);
}

ALLOC_SEEN void *memalign(size_t alignment, size_t size) {
    return aligned_alloc(alignment, size);
}

ALLOC_SEEN int posix_memalign(void **p, size_t alignment, size_t size) {
    void *block = aligned_alloc(alignment, size);
    if (!block) return ENOMEM;
    *p = block;
    return 0;
}

ALLOC_SEEN void free(void *p) {
    alloc_counted(p, -1);
    ALLOC_REAL(free)(p);
}

#endif
