/* The worked examples of docs/extending.md, compiled from the page: the sampler has the order that
 * it claims, the guide keeps its word, and both go through the tables as rows of vane's own do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "sample/sample.h"
#include "sample/support_trajectory.h"
#include "support/bound.h"

extern const vn_sampler_row vn_ralston_sampler;
extern const vn_guide_row vn_limit_guide;

static const vn_table samplers = {
    "sampler", &vn_ralston_sampler, sizeof vn_ralston_sampler, 1, NULL, NULL};

enum { N = 2, D = 2 };
static const float noise[N * D] = {0.4f, -0.9f, 1.2f, 0.3f};

static void walk(const bench *b, vn_trajectory_options o, float x[N * D]) {
    vn_err err = {0};
    if (bench_run(b, o, N, 0, 0, noise, x, NULL, &err)) fail_msg("%s", err.text);
}

static void the_sampler_has_order_two(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "rectified", "v");
    float truth[N * D], x[N * D];
    double error[2] = {0, 0};
    walk(&b, (vn_trajectory_options){.sampler = "heun", .guidance = 1, .steps = 4000}, truth);
    for (int k = 0; k < 2; k++) {
        walk(&b,
             (vn_trajectory_options){
                 .samplers = &samplers, .sampler = "ralston", .guidance = 1, .steps = 40 << k},
             x);
        for (int i = 0; i < N * D; i++) error[k] = fmax(error[k], fabs((double)(x[i] - truth[i])));
    }
    print_message("errors %g and %g with twice the steps: order %.2f\n", error[0], error[1],
                  log2(error[0] / error[1]));
    assert_true(log2(error[0] / error[1]) > 1.8);
    bench_close(&b);
}

/* A list of the example behind vane's own rule. */
static void the_guide_keeps_its_word(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "rectified", "v");
    const vn_guide_row rows[] = {*(const vn_guide_row *)vn_table_row(&vn_guides, 0),
                                 vn_limit_guide};
    const vn_table guides = {"guide", rows, sizeof *rows, VN_COUNT(rows), NULL, NULL};
    float free_x[N * D], none[N * D], tight[N * D], loose[N * D];
    walk(&b, (vn_trajectory_options){.guidance = 1, .steps = 20}, none);
    walk(&b, (vn_trajectory_options){.guidance = 5, .steps = 20}, free_x);
    walk(&b,
         (vn_trajectory_options){
             .guides = &guides, .guide = "limit:r=0", .guidance = 5, .steps = 20},
         tight);
    walk(&b,
         (vn_trajectory_options){
             .guides = &guides, .guide = "limit:r=1000", .guidance = 5, .steps = 20},
         loose);
    for (int i = 0; i < N * D; i++) {
        expect_small(fabsf(tight[i] - none[i]), 1e-5f);
        assert_true(loose[i] == free_x[i]);
    }
    assert_true(fabsf(free_x[0] - none[0]) > 1e-2f);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sampler_has_order_two),
        cmocka_unit_test(the_guide_keeps_its_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
