/* support_metric.c - see the header. */
#include "metric/support_metric.h"

#include <string.h>

#include "support/kernels.h"

static vn_measured measured;

static vn_status read_memory(void *self, int64_t first, int64_t n, float *x, vn_err *err) {
    const vn_set *set = self;
    (void)err;
    memcpy(x, (const float *)set->self + first * set->size, (size_t)(n * set->size) * sizeof *x);
    return VN_OK;
}

/* A set whose `self` is the numbers; the one that is measured points to it. */
vn_set set_of(const vn_shape *sample, int64_t n, const float *x, const int32_t *labels) {
    return (vn_set){.name = "a set",
                    .sample = *sample,
                    .size = vn_shape_count(sample),
                    .count = n,
                    .labels = labels,
                    .self = (void *)x,
                    .read = read_memory,
                    .reading = "reading"};
}

vn_set points_of(int64_t n, int64_t d, const float *x) {
    const vn_shape shape = VN_SHAPE(d);
    return set_of(&shape, n, x, NULL);
}

int forget_rows(void **state) {
    (void)state;
    vn_measured_close(&measured);
    return 0;
}

static vn_status run(const char *features, const vn_metric_list *list, vn_set *outer[3],
                     int threads, vn_err *err) {
    vn_device device;
    vn_thread_pool *pool = NULL;
    vn_extractor *e = NULL;
    vn_status status = vn_thread_pool_open(threads, &pool, err);
    if (!status) status = vn_device_open(vn_cpu_row(NULL, err), NULL, pool, &device, err);
    const vn_engine engine = {.device = &device, .pool = pool, .watch = NULL};
    if (!status && features)
        status = vn_extractor_open(features, &outer[0]->sample, &engine, &e, err);
    const vn_measure_options o = {.metrics = list,
                                  .samples = outer[0],
                                  .data = outer[1],
                                  .training = outer[2],
                                  .features = e,
                                  .pool = pool,
                                  .seed = 1,
                                  .resamples = 50,
                                  .classes = 0};
    if (!status) status = vn_metric_measure(&o, &measured, err);
    vn_extractor_close(&e);
    if (pool) vn_device_close(&device);
    vn_thread_pool_close(&pool);
    return status;
}

vn_status measure_sets(const char *metrics, const char *features, const vn_set *samples,
                       const vn_set *data, const vn_set *training, int threads, vn_err *err) {
    const vn_set *inner[3] = {samples, data, training};
    vn_set copy[3], outside[3], *outer[3] = {NULL, NULL, NULL};
    vn_metric_list list;
    forget_rows(NULL);
    for (int i = 0; i < 3; i++) {
        if (!inner[i]) continue;
        copy[i] = outside[i] = *inner[i];
        outside[i].self = &copy[i];
        outer[i] = &outside[i];
    }
    const vn_status status = vn_metric_list_parse(metrics, &list, err);
    return status ? status : run(features, &list, outer, threads, err);
}

size_t row_count(void) {
    return measured.count;
}

const vn_eval_row *row_at(size_t i) {
    return &measured.row[i];
}

const vn_eval_row *row_of(const char *key) {
    for (size_t i = 0; i < measured.count; i++)
        if (measured.row[i].label == VN_LABEL_ALL && !strcmp(measured.row[i].metric, key))
            return &measured.row[i];
    fail_msg("no row %s", key);
    return NULL;
}
