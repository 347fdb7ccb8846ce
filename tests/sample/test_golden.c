/* Whole trajectories against the programs that vane is compared with, on an exact mixture: every
 * file of cases in golden/sampler, each made by a script beside it. A file holds
 *
 *     noise       [rows][2] of unit variance, where its cases begin
 *     cases       the options given to vane (sampler, path, predict, grid and steps or sigmas,
 *                 label, gamma, guide if not cfg) and x, the samples of the other program
 *     stochastic  likewise for samplers that draw noise, with rows instead of x: alpha, sigma, a,
 *                 b, c of each step x' = a x + b x0 + c noise
 *
 * and any of them may be absent. The mixture is world.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_trajectory.h"
#include "support/bound.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/sampler/"
#define WORLD  "world.json"
#define ROWS   8 /* at most */
#define SIZE   2
/* Largest error over the cases, relative to the largest number of the answer: 7e-6, from diffusers'
 * float32 states. */
#define TOLERANCE 2e-5

static char *world;

static int open_world(void **state) {
    (void)state;
    vn_err err;
    size_t size;
    assert_int_equal(vn_read_file(GOLDEN WORLD, 1 << 20, &world, &size, &err), VN_OK);
    return 0;
}

static int close_world(void **state) {
    (void)state;
    vn_free(world);
    return 0;
}

/* ---- files of cases -------------------------------------------------------------------------- */

/* A file at work. */
typedef struct file {
    const char *name;
    size_t rows;
    float noise[ROWS * SIZE];
    double worst;
} file;

typedef void (*each)(file *f, const json_t *c, size_t index);

static int is_cases(const struct dirent *entry) {
    return vn_ends_with(entry->d_name, ".json") && strcmp(entry->d_name, WORLD) != 0;
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

/* Returns the number of cases under `key`. */
static size_t run_file(const char *name, const char *key, each run) {
    file f = {.name = name};
    vn_err err;
    json_t *golden;
    char *path = vn_path_join(GOLDEN, name);
    assert_non_null(path);
    if (vn_json_read(path, &golden, &err)) fail_msg("%s", err.text);
    const json_t *noise = json_object_get(golden, "noise"), *cases = json_object_get(golden, key);
    f.rows = json_array_size(noise);
    assert_in_range(f.rows, 1, ROWS);
    for (size_t i = 0; i < f.rows * SIZE; i++) f.noise[i] = (float)entry(noise, i / SIZE, i % SIZE);
    const size_t count = json_array_size(cases);
    for (size_t i = 0; i < count; i++) run(&f, json_array_get(cases, i), i);
    if (count) print_message("%s: %zu %s, largest error %.2e\n", name, count, key, f.worst);
    json_decref(golden);
    vn_free(path);
    return count;
}

static size_t run_files(const char *key, each run) {
    struct dirent **entries;
    const int count = scandir(GOLDEN, &entries, is_cases, alphasort);
    size_t cases = 0;
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        cases += run_file(entries[i]->d_name, key, run);
        free(entries[i]);
    }
    free(entries);
    return cases;
}

static vn_trajectory_options told(const json_t *c, double *sigmas) {
    const json_t *list = json_object_get(c, "sigmas");
    for (size_t i = 0; i < json_array_size(list); i++)
        sigmas[i] = json_number_value(json_array_get(list, i));
    return (vn_trajectory_options){.sampler = text_of(c, "sampler"),
                                   .grid = text_of(c, "grid"),
                                   .steps = (int)number_of(c, "steps"),
                                   .sigmas = list ? sigmas : NULL,
                                   .sigma_count = json_array_size(list),
                                   .guide = text_of(c, "guide"),
                                   .guidance = number_of(c, "gamma")};
}

/* ---- trajectories ---------------------------------------------------------------------------- */

static double error_of(const json_t *c, size_t rows, const float *x) {
    double worst = 0, size = 0;
    for (size_t i = 0; i < rows * SIZE; i++) {
        double want = entry(json_object_get(c, "x"), i / SIZE, i % SIZE);
        worst = fmax(worst, fabs((double)x[i] - want));
        size = fmax(size, fabs(want));
    }
    return worst / size;
}

static void run_trajectory(file *f, const json_t *c, size_t index) {
    float x[ROWS * SIZE];
    double sigmas[64];
    vn_err err = {0};
    assert_in_range(json_array_size(json_object_get(c, "sigmas")), 0, VN_COUNT(sigmas));
    bench b = bench_open(world, text_of(c, "path"), text_of(c, "predict"));
    vn_status status = bench_run(&b, told(c, sigmas), (int64_t)f->rows, 0,
                                 (int32_t)number_of(c, "label"), f->noise, x, NULL, &err);
    if (status) fail_msg("%s, case %zu: %s", f->name, index, err.text);
    const double error = error_of(c, f->rows, x);
    f->worst = fmax(f->worst, error);
    expect_below_as(error, TOLERANCE, "%s, %s", f->name, text_of(c, "sampler"));
    bench_close(&b);
}

static void trajectories_are_those_of_other_programs(void **state) {
    (void)state;
    assert_true(run_files("cases", run_trajectory) >= 35);
}

/* ---- samplers that draw noise ---------------------------------------------------------------- */

/* x' = a x + b x0 + c noise with diffusers' a, b, c, the world's x0 and vane's noise. */
static void replay(const bench *b, const json_t *c, const file *f, uint64_t seed, double *x) {
    const json_t *rows = json_object_get(c, "rows");
    int32_t label = (int32_t)number_of(c, "label");
    double *work = malloc(vn_world_work(b->world) * sizeof *work), x0[SIZE], eps[SIZE];
    for (size_t i = 0; i < f->rows * SIZE; i++) x[i] = (double)f->noise[i] * entry(rows, 0, 1);
    for (size_t k = 0; k < json_array_size(rows); k++)
        for (size_t i = 0; i < f->rows; i++) {
            float z[SIZE];
            vn_random_normal(z, SIZE, seed, VN_STREAM_STEP_NOISE, i, (VN_MAX_DRAWS + 1) * k);
            vn_world_denoise(b->world, VN_NETWORK_MAIN, label, entry(rows, k, 0), entry(rows, k, 1),
                             x + i * SIZE, x0, eps, work);
            for (size_t j = 0; j < SIZE; j++)
                x[i * SIZE + j] = entry(rows, k, 2) * x[i * SIZE + j] + entry(rows, k, 3) * x0[j] +
                                  entry(rows, k, 4) * (double)z[j];
        }
    free(work);
}

static void run_noisy(file *f, const json_t *c, size_t index) {
    float x[ROWS * SIZE];
    double want[ROWS * SIZE];
    vn_err err = {0};
    bench b = bench_open(world, text_of(c, "path"), text_of(c, "predict"));
    vn_trajectory_options o = told(c, NULL);
    o.seed = 77 + index;
    vn_status status = bench_run(&b, o, (int64_t)f->rows, 0, (int32_t)number_of(c, "label"),
                                 f->noise, x, NULL, &err);
    if (status) fail_msg("%s, noisy case %zu: %s", f->name, index, err.text);
    replay(&b, c, f, o.seed, want);
    for (size_t j = 0; j < f->rows * SIZE; j++) {
        f->worst = fmax(f->worst, fabs((double)x[j] - want[j]));
        expect_below_as(fabs((double)x[j] - want[j]), TOLERANCE, "%s, noisy", f->name);
    }
    bench_close(&b);
}

static void noisy_steps_have_the_coefficients_of_other_programs(void **state) {
    (void)state;
    assert_true(run_files("stochastic", run_noisy) >= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories_are_those_of_other_programs),
        cmocka_unit_test(noisy_steps_have_the_coefficients_of_other_programs),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
