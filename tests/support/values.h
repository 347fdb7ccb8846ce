/* values.h - a flat array of floats of a test's own as the values of a network's weights. */
#ifndef VN_TEST_VALUES_H
#define VN_TEST_VALUES_H

#include "support/kernels.h"

/* To be closed with vn_values_close. */
static inline vn_values *values_over(const vn_weights *w, const float *flat) {
    vn_values *v = NULL;
    const vn_device device = {kernels ? kernels : vn_cpu_row_at(0), NULL, NULL};
    assert_int_equal(vn_values_over(w, &device, flat, &v, NULL), VN_OK);
    return v;
}

#endif
