#include "support_trajectory.h"

#include <stdlib.h>

const char *const bench_world = "{\"classes\": ["
                                "{\"name\": \"a\", \"components\": [{\"weight\": 0.7, \"mean\": "
                                "[-1.0, 0.4], \"cov\": [[0.1, 0.03], [0.03, 0.2]]},"
                                " {\"weight\": 0.3, \"mean\": [0.5, -0.8], \"std\": 0.25}]},"
                                "{\"name\": \"b\", \"components\": [{\"mean\": [1.1, 0.9], "
                                "\"cov\": [[0.3, -0.15], [-0.15, 0.12]]}]}],"
                                " \"class_weights\": [0.4, 0.6]}";

vn_status bench_run(const bench *b, vn_trajectory_options o, int64_t n, uint64_t first,
                    int32_t label, const float *noise, float *x, int64_t *passes, vn_err *err) {
    vn_trajectory *w;
    o.denoiser = &b->denoiser;
    if (!o.capacity) o.capacity = n;
    vn_status status = vn_trajectory_open(&o, &w, err);
    if (status) return status;
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    if (!labels) abort();
    for (int64_t i = 0; i < n; i++) labels[i] = label;
    const vn_trajectory_batch batch = {
        .n = n, .first = first, .condition = labels, .noise = noise, .x = x};
    status = vn_trajectory_run(w, &batch, NULL, 0, vn_trajectory_steps(w), err);
    if (passes) *passes = vn_trajectory_passes(w);
    vn_trajectory_close(&w);
    free(labels);
    return status;
}
