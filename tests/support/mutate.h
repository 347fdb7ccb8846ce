/* mutate.h - damaged copies of a valid file, others with each VANE_TEST_SEED (seed.h): what a
 * fuzzer tries first, without a fuzzer. A reader is handed each of them under the sanitizers, and
 * may refuse it but not fall over:
 *
 *     static void check(const char *path) { ... open path, read all it claims to hold, close ... }
 *     mutate_each("valid.png", "damaged.png", 3000, check);   // damaged at random
 *     mutate_truncations("valid.png", "damaged.png", check);  // and cut after each byte */
#ifndef VN_TEST_MUTATE_H
#define VN_TEST_MUTATE_H

#include <stdint.h>

#include "support/scratch.h"
#include "support/seed.h"

typedef void (*mutate_check)(const char *path);

typedef struct mutator {
    uint64_t random; /* splitmix64 */
    uint8_t *bytes;
    size_t size, room;
} mutator;

static inline uint64_t mutate_random(mutator *m, uint64_t below) {
    uint64_t z = m->random += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (z ^ z >> 31) % below;
}

/* A place in the file: half of them in its first 256 bytes, where headers are. */
static inline size_t mutate_place(mutator *m) {
    size_t reach = mutate_random(m, 2) && m->size > 256 ? 256 : m->size;
    return reach ? (size_t)mutate_random(m, reach) : 0;
}

static inline void mutate_bit(mutator *m) {
    if (m->size) m->bytes[mutate_place(m)] ^= (uint8_t)(1U << mutate_random(m, 8));
}

static inline void mutate_byte(mutator *m) {
    static const uint8_t interesting[] = {0,   1,   0x7F, 0x80, 0xFF, ' ', '"', '-',
                                          '0', '9', '[',  '{',  '}',  ']', ':', ','};
    if (m->size) m->bytes[mutate_place(m)] = interesting[mutate_random(m, sizeof interesting)];
}

/* An integer of 2, 4 or 8 bytes at the edge of some range, in either byte order. */
static inline void mutate_integer(mutator *m) {
    static const uint64_t interesting[] = {0,          1,         0x7F,      0x80,       0xFF,
                                           0x7FFF,     0x8000,    0xFFFF,    0x7FFFFFFF, 0x80000000,
                                           0xFFFFFFFF, INT64_MAX, UINT64_MAX};
    size_t n = (size_t)2 << mutate_random(m, 3), at = mutate_place(m);
    uint64_t value = interesting[mutate_random(m, sizeof interesting / sizeof *interesting)];
    bool big = mutate_random(m, 2);
    for (size_t i = 0; i < n && at + i < m->size; i++)
        m->bytes[at + i] = (uint8_t)(value >> 8 * (big ? n - 1 - i : i));
}

static inline void mutate_cut(mutator *m) {
    m->size = mutate_place(m);
}

static inline void mutate_remove(mutator *m) {
    size_t at = mutate_place(m), n = 1 + (size_t)mutate_random(m, 16);
    if (at + n > m->size) return;
    memmove(m->bytes + at, m->bytes + at + n, m->size - at - n);
    m->size -= n;
}

/* Repeats a piece of the file just after itself. */
static inline void mutate_repeat(mutator *m) {
    size_t at = mutate_place(m), n = 1 + (size_t)mutate_random(m, 16);
    if (at + n > m->size || m->size + n > m->room) return;
    memmove(m->bytes + at + n, m->bytes + at, m->size - at);
    m->size += n;
}

/* Copies a piece of the file over another. */
static inline void mutate_splice(mutator *m) {
    size_t from = mutate_place(m), to = mutate_place(m), n = 1 + (size_t)mutate_random(m, 32);
    if (from + n <= m->size && to + n <= m->size) memmove(m->bytes + to, m->bytes + from, n);
}

/* The next number written in decimal becomes another one. */
static inline void mutate_decimal(mutator *m) {
    size_t at = mutate_place(m);
    while (at < m->size && (m->bytes[at] < '0' || m->bytes[at] > '9')) at++;
    for (; at < m->size && m->bytes[at] >= '0' && m->bytes[at] <= '9'; at++)
        m->bytes[at] = (uint8_t)('0' + mutate_random(m, 10));
}

/* Damages m->bytes in one to four ways. */
static inline void mutate(mutator *m) {
    static void (*const ways[])(mutator *) = {mutate_bit,    mutate_byte,   mutate_integer,
                                              mutate_cut,    mutate_remove, mutate_repeat,
                                              mutate_splice, mutate_decimal};
    for (uint64_t n = 1 + mutate_random(m, 4); n > 0; n--)
        ways[mutate_random(m, sizeof ways / sizeof *ways)](m);
}

/* Writes `count` damaged copies of `valid` to `damaged`, one after the other, and calls check on
 * each. */
static inline void mutate_each(const char *valid, const char *damaged, int count,
                               mutate_check check) {
    size_t size;
    char *original = scratch_read(valid, &size);
    mutator m = {.room = size + 64};
    m.bytes = malloc(m.room);
    scratch_require(m.bytes, "mutate_each");
    for (int i = 0; i < count; i++) {
        memcpy(m.bytes, original, size);
        m.size = size;
        m.random = test_seed((uint64_t)i);
        mutate(&m);
        scratch_write(damaged, m.bytes, m.size);
        check(damaged);
    }
    free(m.bytes);
    free(original);
}

/* Calls check on `valid` cut to each shorter length. */
static inline void mutate_truncations(const char *valid, const char *damaged, mutate_check check) {
    size_t size;
    char *original = scratch_read(valid, &size);
    for (size_t n = 0; n < size; n++) {
        scratch_write(damaged, original, n);
        check(damaged);
    }
    free(original);
}

#endif
