/* Order of convergence of every deterministic sampler on every continuous path: the error at the last level before 0 of an exact
 * mixture, steps doubled. What is printed is what docs quote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "support_walk.h"

#define N     4
#define FLOAT 8 // numbers in a state
/* Two Gaussians a class, wide enough that the ODE is smooth at 64 steps. */
static const char world[] =
    "{\"classes\": [{\"components\": [{\"weight\": 0.6, \"mean\": [-1, 0.4], \"cov\": [[0.5, 0.2], [0.2, 0.4]]},"
    "                             {\"weight\": 0.4, \"mean\": [0.8, -0.6], \"std\": 0.7}]}]}";

/* The state at the last level that is not 0. */
static void end_state(const bench *b, const char *sampler, const char *grid, int steps, float x[FLOAT]) {
    vn_walk *w;
    vn_err err = {0};
    const int32_t labels[N] = {0};
    vn_walk_options o = {.denoiser = &b->denoiser,
                         .sampler = sampler,
                         .grid = grid,
                         .steps = steps,
                         .guidance = 1,
                         .seed = 11,
                         .capacity = N};
    if (vn_walk_open(&o, &w, &err)) fail_msg("%s", err.text);
    const vn_walk_batch batch = {.n = N, .labels = labels, .x = x};
    bool done;
    assert_int_equal(vn_walk_begin(w, &batch, &err), VN_OK);
    for (int i = 0; i < steps - 1; i++) assert_int_equal(vn_walk_step(w, &done, &err), VN_OK);
    vn_walk_close(&w);
}

static double distance(const float *a, const float *b) {
    double sum = 0;
    for (int i = 0; i < FLOAT; i++) sum += pow((double)a[i] - (double)b[i], 2);
    return sqrt(sum);
}

static void check(const char *sampler, double order, const char *path, const char *grid, int steps) {
    bench b = bench_open(world, path, "v");
    float truth[FLOAT], coarse[FLOAT], fine[FLOAT];
    end_state(&b, "heun", grid, 1025, truth);
    end_state(&b, sampler, grid, steps + 1, coarse);
    end_state(&b, sampler, grid, 2 * steps + 1, fine);
    double measured = log2(distance(coarse, truth) / distance(fine, truth));
    print_message("%-10s on %-14s %-10s order %.2f (error %.1e at %d steps)\n", sampler, path, grid, measured,
                  distance(fine, truth), 2 * steps);
    if (!(measured > order - 0.1 && measured < order + 0.3)) fail_msg("%s on %s: order %.2f", sampler, path, measured);
    bench_close(&b);
}

static void samplers_converge_at_their_order(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double order;
    } samplers[] = {{"euler", 1}, {"ddim", 1}, {"heun", 2}, {"dpmpp-2m", 2}};
    static const struct {
        const char *path, *grid;
        int steps; // few enough that float32 does not show, many enough for the order to
    } walks[] = {{"edm", "karras", 64},
                 {"ve", "linspace", 64},
                 {"vp", "linspace", 64},
                 {"rectified", "linspace", 16},
                 {"trigonometric", "linspace", 16}};
    for (size_t i = 0; i < VN_COUNT(samplers); i++)
        for (size_t k = 0; k < VN_COUNT(walks); k++)
            check(samplers[i].name, samplers[i].order, walks[k].path, walks[k].grid, walks[k].steps);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(samplers_converge_at_their_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
