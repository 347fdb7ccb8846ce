/* idx.h - pictures and their labels in the files that MNIST is told in. */
#ifndef VN_TEST_IDX_H
#define VN_TEST_IDX_H

#include "support/scratch.h"

typedef void idx_writer(const char *path, const void *bytes, size_t size);

/* One file: the magic of bytes, `rank` sizes, the values. */
static inline void idx_write_file(const char *path, int rank, const int *sizes,
                                  const uint8_t *values, idx_writer *write) {
    size_t used = 4, count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)sizes[i];
    uint8_t *file = calloc(1, 4 + 4 * (size_t)rank + count);
    assert_non_null(file);
    file[2] = 8;
    file[3] = (uint8_t)rank;
    for (int i = 0; i < rank; i++)
        for (int shift = 24; shift >= 0; shift -= 8) file[used++] = (uint8_t)(sizes[i] >> shift);
    memcpy(file + used, values, count);
    write(path, file, used + count);
    free(file);
}

/* PREFIX-images-idx3-ubyteSUFFIX of sizes {count, height, width} and
 * PREFIX-labels-idx1-ubyteSUFFIX. */
static inline void idx_write(const char *prefix, const char *suffix, const int sizes[3],
                             const uint8_t *pixels, const uint8_t *labels, idx_writer *write) {
    char path[512];
    snprintf(path, sizeof path, "%s-images-idx3-ubyte%s", prefix, suffix);
    idx_write_file(path, 3, sizes, pixels, write);
    snprintf(path, sizeof path, "%s-labels-idx1-ubyte%s", prefix, suffix);
    idx_write_file(path, 1, sizes, labels, write);
}

#endif
