/* support_slope.c - see support_slope.h. */
#include "nn/support_slope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/reference.h"
#include "support/seed.h"

/* [n,C,H,W] to the graph's [n,H,W,C], in double. */
static double channels_last(const float *in, const vn_shape *s, int64_t i) {
    if (s->rank < 4) return (double)in[i];
    const int64_t c = s->dim[3], pixels = s->dim[1] * s->dim[2];
    return (double)in[i / c / pixels * c * pixels + i % c * pixels + i / c % pixels];
}

/* d<c, y>/dx . v */
static double slope_along(const slope_at *at, const float *c, const float *v) {
    const double step = 1e-5;
    vn_graph *g = NULL;
    vn_net_inputs in;
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    vn_node *all =
        vn_net_build_perturbed(at->net, g, at->n, at->height, at->width, false, at->perturb, &in);
    vn_node *y = vn_net_prediction(at->net, g, all);
    if (vn_graph_status(g, &err) != VN_OK) fail_msg("%s", err.text);
    ref_graph r = ref_open(g);
    if (in.timestep && in.timestep->dtype == VN_F32) ref_set_f32(&r, in.timestep, at->time);
    for (int64_t i = 0; in.timestep && in.timestep->dtype == VN_I32 && i < at->n; i++) {
        r.set[in.timestep->id] = true;
        r.value[in.timestep->id][i] = (double)at->time[i];
    }
    if (in.class_labels) ref_set_i32(&r, in.class_labels, at->labels);
    double side[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        r.set[in.sample->id] = true;
        for (int64_t i = 0; i < vn_shape_count(&in.sample->shape); i++)
            r.value[in.sample->id][i] = channels_last(at->x, &in.sample->shape, i) +
                                        (k ? step : -step) * channels_last(v, &in.sample->shape, i);
        ref_run(&r, &(vn_run){.values = at->values});
        for (int64_t i = 0; i < vn_shape_count(&y->shape); i++)
            side[k] += channels_last(c, &y->shape, i) * ref_get(&r, y)[i];
    }
    ref_close(&r);
    vn_graph_close(&g);
    return (side[1] - side[0]) / (2 * step);
}

double slope_error(const slope_at *at, const float *c, const float *back) {
    const vn_net_io *io = vn_net_get_io(at->net);
    const size_t n =
        (size_t)(at->n * io->in_channels * (io->rank == 3 ? at->height * at->width : 1));
    float *v = vn_alloc(n, sizeof *v);
    double norm = 0, worst = 0;
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) norm += (double)back[i] * (double)back[i];
    for (uint64_t k = 0; k < 4; k++) {
        double product = 0;
        vn_random_normal(v, n, test_seed(4), VN_STREAM_TEST, k, 0);
        for (size_t i = 0; i < n; i++) product += (double)back[i] * (double)v[i];
        worst = fmax(worst, fabs(slope_along(at, c, v) - product));
    }
    vn_free(v);
    return worst / sqrt(norm);
}

void expect_slope_error(double error) {
    print_message("gradient: %.1e off, of at most %.1e\n", error, SLOPE_BOUND);
    if (!(error < SLOPE_BOUND))
        fail_msg("the gradient is %.2e of its norm off, of at most %.1e", error, SLOPE_BOUND);
}
