/* Log-likelihood by the ODE against that of worlds in closed form: on every path, exactly and by
 * Hutchinson's estimate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sample/likelihood.h"
#include "support_trajectory.h"
#include "support/bound.h"

#define D 2
#define N 8
static const float points[N * D] = {-1,    0.4f, 0.5f, -0.8f, 1.1f, 0.9f, 0,     0,
                                    -1.6f, 1.3f, 0.9f, -0.2f, 1.9f, 0.4f, -0.4f, -0.9f};
static const int32_t labels[N] = {0, 0, 1, VN_CONDITION_NULL, 0, VN_CONDITION_NULL, 1, 0};

static vn_status run(const vn_likelihood_options *o, int64_t n, uint64_t first, double *log_p,
                     int64_t *evaluations, vn_err *err) {
    const vn_likelihood_batch batch = {.n = n,
                                       .first = first,
                                       .x = points + first * D,
                                       .condition = labels + first,
                                       .log_p = log_p,
                                       .evaluations = evaluations};
    return vn_likelihood(o, &batch, err);
}

/* Of x0 + ratio noise. */
static double truth(const bench *b, size_t row, double ratio) {
    double *work = malloc(vn_world_work(b->world) * sizeof *work);
    const double x[D] = {(double)points[row * D], (double)points[row * D + 1]};
    const double log_p =
        vn_world_log_density(b->world, VN_NETWORK_MAIN, labels[row], 1, ratio, x, work);
    free(work);
    return log_p;
}

static double least_ratio(const bench *b) {
    const vn_level least = vn_path_level(b->path, b->path->row->min_time(b->path));
    return vn_level_ratio(&least);
}

static const char *const paths[] = {"vp", "rectified", "edm", "trigonometric", "ve", "ddpm"};

static void exact_divergence_gives_the_worlds_density(void **state) {
    (void)state;
    /* nats, what steps within 1e-5 each add up to; measured: 3.3e-4, rectified with eps */
    const double tolerance = 8e-4;
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t r = 0; r < vn_prediction_row_count; r++) {
            bench b = bench_open(bench_world, paths[p], vn_prediction_rows[r].row.name);
            vn_likelihood_options o = vn_likelihood_default(&b.denoiser);
            double log_p[N], worst = 0;
            int64_t evaluations[N], sum = 0;
            vn_err err = {0};
            o.divergence = VN_DIVERGENCE_EXACT;
            if (run(&o, N, 0, log_p, evaluations, &err)) fail_msg("%s", err.text);
            for (size_t i = 0; i < N; i++) {
                worst = fmax(worst, fabs(log_p[i] - truth(&b, i, least_ratio(&b))));
                sum += evaluations[i];
            }
            print_message("%-13s %-8s error %.1e nats, %lld evaluations a sample\n", paths[p],
                          vn_prediction_rows[r].row.name, worst, (long long)sum / N);
            expect_below_as(worst, tolerance, "log p on %s", paths[p]);
            bench_close(&b);
        }
}

/* The trajectory may begin at any noise, which the density then has. */
static void ratio_chooses_the_noise(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "rectified", NULL);
    vn_likelihood_options o = vn_likelihood_default(&b.denoiser);
    const double ratios[] = {1e-4, 0.05, 0.7};
    o.divergence = VN_DIVERGENCE_EXACT;
    for (size_t k = 0; k < VN_COUNT(ratios); k++) {
        double log_p[N];
        vn_err err = {0};
        o.ratio = ratios[k];
        if (run(&o, N, 0, log_p, NULL, &err)) fail_msg("%s", err.text);
        /* of the solver's tolerance; measured at most 2.9e-4 */
        for (size_t i = 0; i < N; i++) expect_small(fabs(log_p[i] - truth(&b, i, o.ratio)), 8e-4);
    }
    bench_close(&b);
}

/* Mean over seeds within four of its standard errors of the exact value, which are far smaller than
 * the spread. */
static void estimates_are_right_in_the_mean(void **state) {
    (void)state;
    enum { SEEDS = 300 };
    bench b = bench_open(bench_world, "vp", NULL);
    for (int kind = VN_DIVERGENCE_RADEMACHER; kind <= VN_DIVERGENCE_NORMAL; kind++)
        for (size_t i = 0; i < 4; i++) {
            vn_likelihood_options o = vn_likelihood_default(&b.denoiser);
            double one, sum = 0, squares = 0;
            vn_err err = {0};
            o.divergence = (vn_divergence)kind;
            o.probes = 2;
            for (o.seed = 0; o.seed < SEEDS; o.seed++) {
                if (run(&o, 1, i, &one, NULL, &err)) fail_msg("%s", err.text);
                sum += one;
                squares += one * one;
            }
            const double mean = sum / SEEDS, deviation = sqrt(squares / SEEDS - mean * mean);
            const double error = mean - truth(&b, i, least_ratio(&b));
            print_message("%s: error %+.3f, of deviation %.3f\n",
                          kind == VN_DIVERGENCE_NORMAL ? "normal" : "signs", error, deviation);
            expect_small(fabs(error), 4 * deviation / sqrt(SEEDS) + 4e-4);
            assert_true(deviation > 0.01); /* they are estimates */
        }
    bench_close(&b);
}

/* Of one seed: more probes, less spread; and more than fit in one query are all used. */
static void probes_are_independent(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "edm", NULL);
    vn_likelihood_options o = vn_likelihood_default(&b.denoiser);
    double one;
    vn_err err = {0};
    o.probes = 4000;
    o.rtol = o.atol = 1e-3;
    if (run(&o, 1, 0, &one, NULL, &err)) fail_msg("%s", err.text);
    const double error = fabs(one - truth(&b, 0, least_ratio(&b)));
    print_message("error of 4000 probes: %.1e\n", error);
    expect_small(error, 0.03); /* 1.2e-2 */
    bench_close(&b);
}

static void rows_do_not_depend_on_their_batch(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "trigonometric", NULL);
    const vn_likelihood_options o = vn_likelihood_default(&b.denoiser);
    double together[N], alone;
    int64_t evaluations[N], own;
    vn_err err = {0};
    if (run(&o, N, 0, together, evaluations, &err)) fail_msg("%s", err.text);
    for (uint64_t i = 0; i < N; i++) {
        if (run(&o, 1, i, &alone, &own, &err)) fail_msg("%s", err.text);
        assert_true(alone == together[i] && own == evaluations[i]);
    }
    bench_close(&b);
}

/* A denoiser that counts what it is asked. */
typedef struct counted {
    const vn_denoiser *denoiser;
    int64_t queries, rows;
} counted;

static vn_status count(void *self, const vn_query *q, float *raw, vn_err *err) {
    counted *c = self;
    c->queries++;
    c->rows += q->n;
    return c->denoiser->predict(c->denoiser->self, q, raw, err);
}

/* More rows than are under way at once, with steps of their own: in few queries, and each as if
 * alone. */
static void many_rows_are_evaluated_together(void **state) {
    (void)state;
    enum { MANY = 150 };
    bench b = bench_open(bench_world, "rectified", NULL);
    counted c = {.denoiser = &b.denoiser};
    vn_denoiser d = b.denoiser;
    d.self = &c;
    d.predict = count;
    vn_likelihood_options o = vn_likelihood_default(&d);
    o.rtol = o.atol = 1e-3;
    float x[MANY * D];
    int32_t label[MANY];
    double together[MANY], alone;
    int64_t evaluations[MANY], own;
    vn_err err = {0};
    for (int i = 0; i < MANY; i++) {
        label[i] = labels[i % N];
        for (int j = 0; j < D; j++) x[i * D + j] = points[i % N * D + j] + 0.01f * (float)i;
    }
    const vn_likelihood_batch all = {
        .n = MANY, .x = x, .condition = label, .log_p = together, .evaluations = evaluations};
    if (vn_likelihood(&o, &all, &err)) fail_msg("%s", err.text);
    print_message("%lld rows in %lld queries\n", (long long)c.rows, (long long)c.queries);
    assert_true(c.rows > 30 * c.queries);
    for (int i = 0; i < MANY; i++) {
        const vn_likelihood_batch one = {.n = 1,
                                         .first = (uint64_t)i,
                                         .x = x + i * D,
                                         .condition = label + i,
                                         .log_p = &alone,
                                         .evaluations = &own};
        if (vn_likelihood(&o, &one, &err)) fail_msg("%s", err.text);
        assert_true(alone == together[i] && own == evaluations[i]);
    }
    bench_close(&b);
}

static vn_status note_rows(void *self, const vn_query *q, float *raw, vn_err *err) {
    (void)raw;
    *(int64_t *)self = q->n;
    return vn_fail(err, VN_IO, "seen enough");
}

/* Of large samples fewer, for memory: 50176 numbers together, or one sample. */
static void large_rows_are_few_together(void **state) {
    (void)state;
    enum { LARGE = 20000, MANY = 5 };
    static float x[MANY * 4 * LARGE];
    static const int32_t label[MANY] = {0};
    const struct { int size, rows; } cases[] = {{LARGE, 2}, {4 * LARGE, 1}};
    bench b = bench_open(bench_world, "rectified", NULL);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        int64_t rows = 0;
        double log_p[MANY];
        vn_err err = {0};
        vn_denoiser d = b.denoiser;
        d.self = &rows;
        d.predict = note_rows;
        d.size = cases[i].size;
        const vn_likelihood_options o = vn_likelihood_default(&d);
        const vn_likelihood_batch all = {.n = MANY, .x = x, .condition = label, .log_p = log_p};
        assert_int_equal(vn_likelihood(&o, &all, &err), VN_IO);
        assert_int_equal(rows, cases[i].rows);
    }
    bench_close(&b);
}

static vn_status broken(void *self, const vn_query *q, float *raw, vn_err *err) {
    (void)self, (void)err;
    for (int64_t i = 0; i < q->n * D; i++) raw[i] = NAN;
    return VN_OK;
}

static vn_status failing(void *self, const vn_query *q, float *raw, vn_err *err) {
    (void)self, (void)q, (void)raw;
    return vn_fail(err, VN_IO, "the network is away");
}

static void refused(const vn_likelihood_options *o, vn_status status, const char *words) {
    double log_p[N];
    vn_err err = {0};
    assert_int_equal(run(o, N, 0, log_p, NULL, &err), status);
    if (!strstr(err.text, words)) fail_msg("%s", err.text);
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    bench b = bench_open(bench_world, "rectified", NULL);
    vn_denoiser d = b.denoiser;
    const vn_likelihood_options fine = vn_likelihood_default(&d);
    vn_likelihood_options o = fine;
    o.probes = 0;
    refused(&o, VN_BAD_ARGUMENT, "likelihood: 0 probes");
    o = fine;
    o.rtol = (double)NAN;
    refused(&o, VN_BAD_ARGUMENT, "rtol nan is not in [1e-7, 0.1]");
    o = fine;
    o.ratio = -1;
    refused(&o, VN_BAD_ARGUMENT, "ratio -1 is not a finite noise level");
    d.conditions.classes = 1;
    refused(&fine, VN_BAD_ARGUMENT, "likelihood: sample 2: class 1 is none of the model's");
    d = b.denoiser;
    d.conditions.has_null = false;
    refused(&fine, VN_BAD_ARGUMENT, "likelihood: sample 3: this model has no null condition");
    d = b.denoiser;
    d.can &= ~(unsigned)VN_CAN_VJP;
    refused(&fine, VN_UNSUPPORTED, "likelihood needs derivatives");
    d = b.denoiser;
    d.predict = broken;
    refused(&fine, VN_NOT_FINITE, "likelihood: sample 0: the step has shrunk to nothing");
    d.predict = failing;
    refused(&fine, VN_IO, "likelihood: the network is away");
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_divergence_gives_the_worlds_density),
        cmocka_unit_test(ratio_chooses_the_noise),
        cmocka_unit_test(estimates_are_right_in_the_mean),
        cmocka_unit_test(probes_are_independent),
        cmocka_unit_test(rows_do_not_depend_on_their_batch),
        cmocka_unit_test(many_rows_are_evaluated_together),
        cmocka_unit_test(large_rows_are_few_together),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
