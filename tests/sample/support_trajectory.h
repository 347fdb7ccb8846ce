/* support_trajectory.h - a sampling run over a world in one call, for the tests of samplers. */
#ifndef VN_TEST_WALK_H
#define VN_TEST_WALK_H

#include "sample/sample.h"
#include "support/bench.h"

/* Runs one batch of n rows of one label; what `o` lacks is filled in. x [n,D]; noise NULL: by
 * o->seed. */
vn_status bench_run(const bench *b, vn_trajectory_options o, int64_t n, uint64_t first,
                    int32_t label, const float *noise, float *x, int64_t *passes, vn_err *err);

/* A world of two classes with full covariances in two dimensions. */
extern const char *const bench_world;

#endif
