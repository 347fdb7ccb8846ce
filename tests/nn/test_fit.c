/* test_fit.c - how many rows fit in so many bytes: all plans from one row on say the same. */
#include "support/kernels.h"

#include "nn/nn.h"

enum { MAX_ROWS = 40, SIDE = 8 };

static vn_net *net;
static vn_device device;
static size_t planned[MAX_ROWS + 1]; /* bytes, by rows */

static int open_all(void **state) {
    (void)state;
    json_t *config = json_pack("{s:s, s:i, s:i, s:i, s:i, s:[i,i], s:i, s:[s,s], s:[s,s]}",
                               "_class_name", "UNet2DModel", "sample_size", SIDE, "in_channels", 1,
                               "out_channels", 1, "layers_per_block", 1, "block_out_channels", 8,
                               16, "norm_num_groups", 4, "down_block_types", "DownBlock2D",
                               "DownBlock2D", "up_block_types", "UpBlock2D", "UpBlock2D");
    vn_err err = {0};
    if (vn_net_open(config, &net, &err) != VN_OK) fail_msg("%s", err.text);
    json_decref(config);
    device = (vn_device){vn_cpu_row_at(0), NULL, NULL};
    for (int64_t n = 1; n <= MAX_ROWS; n++) {
        vn_graph *g = NULL;
        vn_net_nodes nodes;
        vn_footprint f;
        const vn_net_spec spec = {.extent = {.batch = n, .height = SIDE, .width = SIDE}};
        assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
        assert_int_equal(vn_net_build(net, g, &spec, &nodes, NULL), VN_OK);
        const vn_program_options o = {.device = &device, .n_outputs = 1, .outputs = nodes.out};
        assert_int_equal(vn_footprint_open(g, &o, &f, NULL), VN_OK);
        planned[n] = f.bytes;
        vn_footprint_close(&f);
        vn_graph_close(&g);
    }
    return 0;
}

static int close_all(void **state) {
    (void)state;
    vn_net_close(&net);
    return 0;
}

static int64_t rows_within(size_t bytes, int64_t most) {
    int64_t rows = 0;
    const vn_extent extent = {.batch = most, .height = SIDE, .width = SIDE};
    assert_int_equal(vn_net_rows_within(net, &device, &extent, bytes, &rows, NULL), VN_OK);
    return rows;
}

static void as_many_rows_as_fit(void **state) {
    (void)state;
    for (int64_t n = 1; n <= MAX_ROWS; n++) {
        assert_int_equal(rows_within(planned[n], MAX_ROWS), n);
        if (n > 1) assert_int_equal(rows_within(planned[n] - 1, MAX_ROWS), n - 1);
    }
}

static void one_row_at_least_and_no_more_than_asked(void **state) {
    (void)state;
    assert_int_equal(rows_within(0, MAX_ROWS), 1);
    assert_int_equal(rows_within(0, 1), 1);
    assert_int_equal(rows_within(SIZE_MAX, 7), 7);
    assert_int_equal(rows_within(planned[7], 7), 7);
}

/* This network's weights are few, so that a pass takes what is the least that is worth one. */
static void a_pass_takes_what_is_worth_it(void **state) {
    (void)state;
    enum { MANY = 1 << 16 };
    int64_t rows = 0;
    const vn_extent few = {.batch = 7, .height = SIDE, .width = SIDE},
                    many = {.batch = MANY, .height = SIDE, .width = SIDE};
    assert_int_equal(vn_net_rows_a_pass(net, &device, &few, &rows, NULL), VN_OK);
    assert_int_equal(rows, 7);
    assert_int_equal(vn_net_rows_a_pass(net, &device, &many, &rows, NULL), VN_OK);
    assert_int_equal(rows, rows_within((size_t)128 << 20, MANY));
    assert_in_range(rows, 1000, MANY - 1);
}

static void what_cannot_be_planned_is_refused(void **state) {
    (void)state;
    vn_err err = {0};
    int64_t rows;
    const vn_extent extent = {.batch = 4, .height = SIDE + 1, .width = SIDE};
    assert_int_not_equal(vn_net_rows_within(net, &device, &extent, 1, &rows, &err), VN_OK);
    assert_true(err.text[0] != 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_rows_as_fit),
        cmocka_unit_test(one_row_at_least_and_no_more_than_asked),
        cmocka_unit_test(a_pass_takes_what_is_worth_it),
        cmocka_unit_test(what_cannot_be_planned_is_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
