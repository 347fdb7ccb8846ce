/* fit.c - how many rows of a forward pass fit in so many bytes. The memory of a pass is almost
 * linear in its rows, so that a few plans find the number; no memory is taken to find it. */
#include "nn/internal.h"

enum { MAX_PLANS = 8 };

/* Bytes of a pass of more than one row: half of the weights', between these. */
#define LEAST_A_PASS ((size_t)128 << 20)
#define MOST_A_PASS  ((size_t)1 << 30)

/* The bytes of a forward pass of so many rows. */
static vn_status planned(const vn_net *net, const vn_device *device, const vn_extent *extent,
                         int64_t rows, size_t *bytes, vn_err *err) {
    vn_net_spec spec = {.extent = *extent};
    vn_net_nodes nodes;
    vn_footprint f = {0};
    vn_graph *g = NULL;
    vn_status status = vn_graph_open(&g, err);
    spec.extent.batch = rows;
    if (!status) status = vn_net_build(net, g, &spec, &nodes, err);
    const vn_program_options o = {.device = device, .n_outputs = 1, .outputs = nodes.out};
    if (!status) status = vn_footprint_open(g, &o, &f, err);
    *bytes = f.bytes;
    vn_footprint_close(&f);
    vn_graph_close(&g);
    return status;
}

vn_status vn_net_pass_bytes(const vn_net *net, const vn_device *device, const vn_extent *extent,
                            size_t *bytes, vn_err *err) {
    return planned(net, device, extent, extent->batch, bytes, err);
}

/* Where the line through (fits, at_fits) and (over, at_over) meets `bytes`, strictly between. */
static int64_t between(int64_t fits, size_t at_fits, int64_t over, size_t at_over, size_t bytes) {
    const double part = (double)(bytes - at_fits) / (double)(at_over - at_fits);
    const int64_t rows = fits + (int64_t)(part * (double)(over - fits));
    return rows <= fits ? fits + 1 : rows >= over ? over - 1 : rows;
}

vn_status vn_net_rows_within(const vn_net *net, const vn_device *device, const vn_extent *extent,
                             size_t bytes, int64_t *rows, vn_err *err) {
    const int64_t all = extent->batch;
    int64_t fits = 1, over = all;
    size_t at_fits = 0, at_over = 0, at = 0;
    vn_status status = planned(net, device, extent, all, &at_over, err);
    *rows = all;
    if (status || at_over <= bytes || all <= 1) return status;
    status = planned(net, device, extent, 1, &at_fits, err);
    if (!status && at_fits > bytes) over = fits;
    for (int k = 0; k < MAX_PLANS && !status && over - fits > 1; k++) {
        const int64_t guess = between(fits, at_fits, over, at_over, bytes);
        status = planned(net, device, extent, guess, &at, err);
        if (at <= bytes) {
            fits = guess;
            at_fits = at;
        } else {
            over = guess;
            at_over = at;
        }
    }
    *rows = fits;
    return status;
}

vn_status vn_net_rows_a_pass(const vn_net *net, const vn_device *device, const vn_extent *extent,
                             int64_t *rows, vn_err *err) {
    const size_t half = vn_weights_bytes(vn_net_weights(net)) / 2,
                 bytes = half < LEAST_A_PASS  ? LEAST_A_PASS
                         : half > MOST_A_PASS ? MOST_A_PASS
                                              : half;
    return vn_net_rows_within(net, device, extent, bytes, rows, err);
}
