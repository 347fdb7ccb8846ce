/* support_metric.h - sets of samples in memory, and what metrics say of them. */
#ifndef VN_TEST_SUPPORT_METRIC_H
#define VN_TEST_SUPPORT_METRIC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "metric/metric.h"

/* Samples [n,size] in memory as a set, of points or of images of this shape. */
vn_set set_of(const vn_shape *sample, int64_t n, const float *x, const int32_t *labels);
vn_set points_of(int64_t n, int64_t d, const float *x);
/* Measures `data` against `samples` by the metrics named, in features ("raw") where they need any;
 * threads: of the pool, 0: none. The rows are owned by the support until the next call. */
vn_status measure_sets(const char *metrics, const char *features, const vn_set *samples,
                       const vn_set *data, const vn_set *training, int threads, vn_err *err);
/* The row of that key of the last call, of all samples; fails the test where there is none. */
const vn_eval_row *row_of(const char *key);
size_t row_count(void);
const vn_eval_row *row_at(size_t i);
/* Frees what the last call left. */
int forget_rows(void **state);

#endif
