/* memory.c - malloc with sizes that cannot overflow, and arenas. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define ALIGNMENT       64 /* a cache line, and the widest vector */
#define LARGE_PAGE      ((size_t)2 << 20)
#define ARENA_BLOCK     16384 /* bytes asked of malloc at a time */
#define ARENA_ALIGNMENT 16

bool vn_mul_overflows(size_t a, size_t b, size_t *product) {
    return __builtin_mul_overflow(a, b, product);
}

/* count * size, at least 1 (malloc(0) may give NULL); false on overflow. */
static bool byte_count(size_t count, size_t size, size_t *bytes) {
    if (vn_mul_overflows(count, size, bytes)) return false;
    if (*bytes == 0) *bytes = 1;
    return true;
}

void *vn_alloc(size_t count, size_t size) {
    size_t bytes;
    return byte_count(count, size, &bytes) ? malloc(bytes) : NULL;
}

void *vn_calloc(size_t count, size_t size) {
    size_t bytes;
    return byte_count(count, size, &bytes) ? calloc(1, bytes) : NULL;
}

void *vn_realloc(void *old, size_t count, size_t size) {
    size_t bytes;
    return byte_count(count, size, &bytes) ? realloc(old, bytes) : NULL;
}

/* Large arrays ask for large pages: a step touches all of an arena, and looking up each of its
 * small pages costs a tenth of a training step where the machine is a virtual one. What remains of
 * the last page stays small. */
void *vn_alloc_aligned(size_t count, size_t size) {
    size_t bytes;
    void *p = NULL;
    if (!byte_count(count, size, &bytes)) return NULL;
    const bool large = bytes >= 2 * LARGE_PAGE;
    if (posix_memalign(&p, large ? LARGE_PAGE : ALIGNMENT, bytes) != 0) return NULL;
#if defined(MADV_HUGEPAGE)
    /* advice: a refusal changes nothing */
    if (large) madvise(p, bytes / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    return p;
}

char *vn_strdup(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = vn_alloc(bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

char *vn_vformat(const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int length = vn_vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : vn_alloc((size_t)length + 1, 1);
    if (text) vn_vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

char *vn_format(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = vn_vformat(format, args);
    va_end(args);
    return text;
}

void vn_free(void *p) {
    free(p);
}

struct vn_arena_block {
    struct vn_arena_block *next;
    size_t used, size; /* bytes, this header included */
};

static struct vn_arena_block *block_new(struct vn_arena_block *next, size_t size) {
    struct vn_arena_block *b = calloc(1, size);
    if (!b) return NULL;
    b->next = next;
    b->size = size;
    b->used = (sizeof *b + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    return b;
}

/* What does not fit in the newest block begins a new one; the rest of the old one is left
 * unused. */
void *vn_arena_alloc(vn_arena *arena, size_t size) {
    if (size > SIZE_MAX - 2 * ARENA_BLOCK) return NULL;
    size = (size + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    struct vn_arena_block *b = arena->head;
    if (!b || b->size - b->used < size) {
        size_t need = size + sizeof *b + ARENA_ALIGNMENT;
        b = block_new(arena->head, need > ARENA_BLOCK ? need : ARENA_BLOCK);
        if (!b) return NULL;
        arena->head = b;
    }
    void *p = (char *)b + b->used;
    b->used += size;
    return p;
}

void vn_arena_free(vn_arena *arena) {
    while (arena->head) {
        struct vn_arena_block *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
}
