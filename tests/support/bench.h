/* bench.h - what predictions are made from, opened together: an exact world on a path, as a
 * denoiser. */
#ifndef VN_TEST_BENCH_H
#define VN_TEST_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "path/path.h"

typedef struct bench {
    vn_world *world;
    vn_path *path;
    vn_prediction prediction;
    vn_denoiser denoiser;
} bench;

/* world: JSON text. prediction NULL: the path's own. thread pool NULL: no threads. */
static inline bench bench_open_crew(const char *world, const char *path, const char *prediction,
                                    vn_thread_pool *pool) {
    bench b = {0};
    vn_err err = {0};
    json_t *json = NULL;
    vn_status status = vn_json_parse(world, strlen(world), "world", &json, &err);
    if (!status) status = vn_world_from_json(json, &b.world, &err);
    if (!status) status = vn_path_open(path, &b.path, &err);
    if (!status)
        status = vn_prediction_parse(prediction ? prediction : b.path->row->prediction,
                                     &b.prediction, &err);
    if (!status)
        status = vn_world_denoiser(b.world, b.path, &b.prediction, pool, &b.denoiser, &err);
    if (status) fail_msg("the bench does not open: %s", err.text);
    json_decref(json);
    return b;
}

static inline bench bench_open(const char *world, const char *path, const char *prediction) {
    return bench_open_crew(world, path, prediction, NULL);
}

static inline void bench_close(bench *b) {
    vn_world_denoiser_close(&b->denoiser);
    vn_path_close(&b->path);
    vn_world_close(&b->world);
}

#endif
