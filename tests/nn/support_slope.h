/* support_slope.h - a network's gradient held to the slope of its output in double, along one
 * direction at a time. The slope comes from central differences of the reference evaluator, whose
 * own error is below 1e-8; so what is measured is the rounding of the gradient, and no step has to
 * be weighed against the rounding of floats. */
#ifndef VN_TEST_SUPPORT_SLOPE_H
#define VN_TEST_SUPPORT_SLOPE_H

#include "nn/support_batch.h"

/* Of a gradient's norm, what float32 may be off: some hundred roundings follow upon each other in
 * the networks of the tests, forward and back, each of at most 6e-8, so sqrt(100) * 6e-8 were they
 * even by chance; four times that for the largest of the normal directions, and twice that. */
#define SLOPE_BOUND 4.8e-6

/* Where the slope is taken. */
typedef struct slope_at {
    const vn_net *net;
    const vn_values *values;
    batch batch;
} slope_at;

/* How far `back`, the gradient of <c, y> by x, is off that slope along four random directions, in
 * parts of its norm. */
double slope_error(const slope_at *at, const float *c, const float *back);
/* Fails the test with both numbers unless the error is within SLOPE_BOUND. */
void expect_slope_error(double error);

#endif
