/* Guides that keep something of each sample from step to step, under every sampler: a sample is the
 * same to the bit alone and in a batch, in a trajectory that has made another batch before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support_trajectory.h"

enum { N = 3, D = 2, STEPS = 16 };

static const char *const guides[] = {
    "cfg,adaptive:cos=0.2",          "cfg,momentum", "cfg,higs", "smc",
    "apg,momentum,adaptive:cos=0.2", "fbg"};

/* N samples from index `first` on, drawn as the second batch of a trajectory. */
static vn_status draw(const bench *b, const char *sampler, const char *guide, int64_t n,
                      uint64_t first, float *x, double *passes, vn_err *err) {
    static const int32_t labels[N] = {0, 0, 0};
    const vn_trajectory_options o = {.denoiser = &b->denoiser,
                                     .sampler = sampler,
                                     .guide = guide,
                                     .guidance = 2,
                                     .steps = STEPS,
                                     .seed = 5,
                                     .capacity = n};
    vn_trajectory *t;
    vn_status status = vn_trajectory_open(&o, &t, err);
    for (uint64_t other = 0; other < 2 && !status; other++) {
        const vn_trajectory_batch batch = {
            .n = n, .first = first + (1 - other) * 100, .condition = labels, .x = x};
        status = vn_trajectory_run(t, &batch, NULL, 0, STEPS, err);
    }
    if (!status) *passes = (double)vn_trajectory_passes(t);
    vn_trajectory_close(&t);
    return status;
}

static void a_sample_is_the_same_alone(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "vp", "v");
    int drawn = 0;
    for (size_t s = 0; s < vn_samplers.count; s++)
        for (size_t g = 0; g < VN_COUNT(guides); g++) {
            const char *sampler = vn_table_row(&vn_samplers, s)->name;
            float all[N * D], alone[D], plain[N * D];
            double passes = 0;
            vn_err err = {0};
            const vn_status status = draw(&b, sampler, guides[g], N, 4, all, &passes, &err);
            if (status == VN_BAD_ARGUMENT) continue; /* refused by name: test_combinations.c */
            if (status) fail_msg("%s, %s: %s", sampler, guides[g], err.text);
            for (uint64_t i = 0; i < N; i++) {
                if (draw(&b, sampler, guides[g], 1, 4 + i, alone, &passes, &err))
                    fail_msg("%s, %s: %s", sampler, guides[g], err.text);
                if (memcmp(alone, all + i * D, sizeof alone) != 0)
                    fail_msg("%s, %s: sample %d depends on its batch", sampler, guides[g], (int)i);
            }
            if (draw(&b, sampler, "cfg", N, 4, plain, &passes, &err)) fail_msg("%s", err.text);
            if (!memcmp(plain, all, sizeof plain)) fail_msg("%s, %s: is cfg", sampler, guides[g]);
            drawn++;
        }
    bench_close(&b);
    print_message("%d samplers and guides\n", drawn);
    assert_true(drawn > 5 * 40); /* of the six guides one needs an SDE */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_sample_is_the_same_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
