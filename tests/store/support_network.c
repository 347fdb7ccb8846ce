#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/support_network.h"

vn_weights *open_network(void) {
    vn_weights *w;
    vn_graph *g;
    const vn_init init = {VN_INIT_ZEROS, 0};
    assert_int_equal(vn_weights_open(&w, NULL), VN_OK);
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    vn_param_node(g, w, "conv.weight", VN_SHAPE(4, 3, 2, 2), VN_LAYOUT_CONV, init);
    vn_param_node(g, w, "linear.weight", VN_SHAPE(3, 5), VN_LAYOUT_PLAIN, init);
    vn_param_node(g, w, "linear.bias", VN_SHAPE(3), VN_LAYOUT_PLAIN, init);
    assert_int_equal(vn_graph_status(g, NULL), VN_OK);
    vn_graph_close(&g);
    assert_int_equal(vn_weights_count(w), 3);
    return w;
}

float *number_values(const vn_weights *w, float first) {
    float *values = vn_calloc(vn_weights_floats(w), sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < vn_weights_count(w); i++)
        for (size_t k = 0; k < vn_weights_at(w, i)->count; k++)
            values[vn_weights_at(w, i)->offset + k] = first++;
    return values;
}
