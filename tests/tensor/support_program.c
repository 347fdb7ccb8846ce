#include "tensor/support_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

vn_graph *open_graph(void) {
    vn_graph *g = NULL;
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    return g;
}

vn_program *open_program(vn_graph *g, vn_program_options o, const vn_device *device) {
    vn_program *p = NULL;
    vn_err err = {0};
    o.device = device;
    if (vn_program_open(g, &o, &p, &err) != VN_OK) fail_msg("%s", err.text);
    return p;
}

vn_values *random_values(const vn_weights *w, const vn_device *device, uint64_t seed) {
    vn_values *v = NULL;
    assert_int_equal(vn_values_open(w, device, NULL, &v, NULL), VN_OK);
    assert_int_equal(vn_values_init(v, seed, NULL), VN_OK);
    return v;
}
