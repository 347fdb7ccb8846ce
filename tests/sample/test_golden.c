/* Whole trajectories against diffusers' schedulers and k-diffusion's Heun on an exact mixture: golden/sampler, made by
 * golden/sampler.py. Samplers that draw noise are held step by step to the coefficients that diffusers moves with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_walk.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/sampler/"
#define ROWS   3
#define SIZE   2
/* Largest error over the cases, relative to the largest number of the answer: 7e-6, from diffusers' float32 states. */
#define TOLERANCE 1e-5

static json_t *golden;
static char *world;

static int open_golden(void **state) {
    (void)state;
    vn_err err;
    size_t size;
    assert_int_equal(vn_json_read(GOLDEN "trajectories.json", &golden, &err), VN_OK);
    assert_int_equal(vn_read_file(GOLDEN "world.json", 1 << 20, &world, &size, &err), VN_OK);
    return 0;
}

static int close_golden(void **state) {
    (void)state;
    json_decref(golden);
    vn_free(world);
    return 0;
}

static const char *text_of(const json_t *c, const char *key) {
    return json_string_value(json_object_get(c, key));
}

static double number_of(const json_t *c, const char *key) {
    return json_number_value(json_object_get(c, key));
}

static double entry(const json_t *rows, size_t i, size_t j) {
    return json_number_value(json_array_get(json_array_get(rows, i), j));
}

static void start(float noise[ROWS * SIZE]) {
    for (size_t i = 0; i < ROWS * SIZE; i++)
        noise[i] = (float)entry(json_object_get(golden, "noise"), i / SIZE, i % SIZE);
}

static vn_walk_options told(const json_t *c, double *sigmas) {
    const json_t *list = json_object_get(c, "sigmas");
    for (size_t i = 0; i < json_array_size(list); i++) sigmas[i] = json_number_value(json_array_get(list, i));
    return (vn_walk_options){.sampler = text_of(c, "sampler"),
                             .grid = text_of(c, "grid"),
                             .steps = (int)number_of(c, "steps"),
                             .sigmas = list ? sigmas : NULL,
                             .sigma_count = json_array_size(list),
                             .guidance = number_of(c, "gamma")};
}

static double error_of(const json_t *c, const float *x) {
    double worst = 0, size = 0;
    for (size_t i = 0; i < ROWS * SIZE; i++) {
        double want = entry(json_object_get(c, "x"), i / SIZE, i % SIZE);
        worst = fmax(worst, fabs((double)x[i] - want));
        size = fmax(size, fabs(want));
    }
    return worst / size;
}

static void trajectories_are_those_of_diffusers(void **state) {
    (void)state;
    const json_t *cases = json_object_get(golden, "cases");
    float noise[ROWS * SIZE], x[ROWS * SIZE];
    double sigmas[64], worst = 0;
    start(noise);
    assert_true(json_array_size(cases) >= 35);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        vn_err err = {0};
        bench b = bench_open(world, text_of(c, "path"), text_of(c, "predict"));
        vn_status s = bench_run(&b, told(c, sigmas), ROWS, 0, (int32_t)number_of(c, "label"), noise, x, NULL, &err);
        if (s) fail_msg("case %zu: %s", i, err.text);
        double error = error_of(c, x);
        worst = fmax(worst, error);
        if (!(error < TOLERANCE))
            fail_msg("case %zu, %s on %s, %s: error %.2e", i, text_of(c, "sampler"), text_of(c, "path"),
                     text_of(c, "grid"), error);
        bench_close(&b);
    }
    print_message("largest error: %.2e\n", worst);
}

/* x' = a x + b x0 + c noise with diffusers' a, b, c, the world's x0 and vane's noise. */
static void replay(const bench *b, const json_t *c, const float *noise, uint64_t seed, double x[ROWS * SIZE]) {
    const json_t *rows = json_object_get(c, "rows");
    int32_t label = (int32_t)number_of(c, "label");
    double *work = malloc(vn_world_work(b->world) * sizeof *work), x0[SIZE], eps[SIZE];
    for (size_t i = 0; i < ROWS * SIZE; i++) x[i] = (double)noise[i] * entry(rows, 0, 1);
    for (size_t k = 0; k < json_array_size(rows); k++)
        for (size_t i = 0; i < ROWS; i++) {
            float z[SIZE];
            vn_random_normal(z, SIZE, seed, VN_STREAM_STEP_NOISE, i, 8 * k);
            vn_world_denoise(b->world, VN_NETWORK_MAIN, label, entry(rows, k, 0), entry(rows, k, 1), x + i * SIZE, x0,
                             eps, work);
            for (size_t j = 0; j < SIZE; j++)
                x[i * SIZE + j] =
                    entry(rows, k, 2) * x[i * SIZE + j] + entry(rows, k, 3) * x0[j] + entry(rows, k, 4) * (double)z[j];
        }
    free(work);
}

static void noisy_steps_have_the_coefficients_of_diffusers(void **state) {
    (void)state;
    const json_t *cases = json_object_get(golden, "stochastic");
    float noise[ROWS * SIZE], x[ROWS * SIZE];
    double want[ROWS * SIZE];
    start(noise);
    assert_int_equal(json_array_size(cases), 5);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        vn_err err = {0};
        bench b = bench_open(world, text_of(c, "path"), text_of(c, "predict"));
        vn_walk_options o = told(c, NULL);
        o.seed = 77 + i;
        assert_int_equal(bench_run(&b, o, ROWS, 0, (int32_t)number_of(c, "label"), noise, x, NULL, &err), VN_OK);
        replay(&b, c, noise, o.seed, want);
        for (size_t j = 0; j < ROWS * SIZE; j++)
            if (!(fabs((double)x[j] - want[j]) < TOLERANCE))
                fail_msg("case %zu, %s: %.8g, not %.8g", i, text_of(c, "sampler"), (double)x[j], want[j]);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories_are_those_of_diffusers),
        cmocka_unit_test(noisy_steps_have_the_coefficients_of_diffusers),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
