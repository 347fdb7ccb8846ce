/* support_data.h - for the tests of data: sources made on the spot, and opening them. */
#ifndef VN_TEST_DATA_SUPPORT_H
#define VN_TEST_DATA_SUPPORT_H

#include "data/data.h"

#define ARRAYS(name) VN_SOURCE_DIR "/tests/golden/arrays/" name ".npz"

/* Pixel k of picture i in the sources made below. */
uint8_t data_pixel(int64_t i, int64_t k);

/* An IDX pair PREFIX-images-idx3-ubyte / PREFIX-labels-idx1-ubyte of count pictures, labels i mod
 * 3; gzipped with ".gz" when `packed`. */
void make_idx(const char *prefix, int count, int height, int width, bool packed);
/* A PNG of data_pixel(i, ...). */
void make_picture(const char *path, int i, int width, int height, int channels);
/* FOLDER/{ant,bee,cat}/NN.png, `each` pictures in each class; picture i of the whole, in sorted
 * order. */
void make_classes(const char *folder, int each, int width, int height, int channels);

vn_data *must_open(const char *source, const vn_data_options *options);
/* Opens, expects this status and these words in the message, and nothing left over. */
void must_refuse(const char *source, const vn_data_options *options, vn_status status,
                 const char *words);
/* All samples of VN_DATA_ALL; freed by the caller. */
float *read_all(vn_data *data, int32_t *labels);
/* Sample i depends on (seed, i) alone: the first n floats are the same in few and in many, others
 * under another seed. Closes all three. */
void must_be_keyed(vn_data *few, vn_data *many, vn_data *other, size_t n);
size_t sample_size(const vn_data *data);

#endif
