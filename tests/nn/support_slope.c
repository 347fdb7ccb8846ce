/* support_slope.c - see support_slope.h. */
#include "nn/support_slope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/bound.h"
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
    vn_net_nodes nodes;
    const batch *b = &at->batch;
    const vn_net_spec spec = batch_spec(b);
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    if (vn_net_build(at->net, g, &spec, &nodes, &err) != VN_OK) fail_msg("%s", err.text);
    vn_node *y = vn_net_out(at->net, &nodes, batch_answer(at->net));
    vn_node *sample = vn_net_in(at->net, &nodes, "sample"),
            *time = vn_net_in(at->net, &nodes, "timestep"),
            *labels = vn_net_in(at->net, &nodes, "class_labels");
    ref_graph r = ref_open(g);
    if (time && time->dtype == VN_F32) ref_set_f32(&r, time, b->time);
    for (int64_t i = 0; time && time->dtype == VN_I32 && i < b->n; i++) {
        r.set[time->id] = true;
        r.value[time->id][i] = (double)b->time[i];
    }
    if (labels) ref_set_i32(&r, labels, b->labels);
    double side[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        r.set[sample->id] = true;
        for (int64_t i = 0; i < vn_shape_count(&sample->shape); i++)
            r.value[sample->id][i] = channels_last(b->x, &sample->shape, i) +
                                     (k ? step : -step) * channels_last(v, &sample->shape, i);
        ref_run(&r, &(vn_run){.values = at->values});
        for (int64_t i = 0; i < vn_shape_count(&y->shape); i++)
            side[k] += channels_last(c, &y->shape, i) * ref_get(&r, y)[i];
    }
    ref_close(&r);
    vn_graph_close(&g);
    return (side[1] - side[0]) / (2 * step);
}

double slope_error(const slope_at *at, const float *c, const float *back) {
    vn_feed in[3];
    batch_feeds(at->net, &at->batch, in);
    const size_t n = (size_t)vn_shape_count(&in[0].array.shape);
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
    expect_below("gradient, of its norm", error, SLOPE_BOUND);
}
