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

/* Under sanitizers statistics are of fewer samples: they look at memory, and are slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#endif
