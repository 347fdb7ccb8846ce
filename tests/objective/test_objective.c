/* What a training step is given, worked out again from the definitions; how t and dropped labels
 * are distributed; the loss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/support_setting.h"
#include "support/alloc.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/thread_pool.h"
#include "support/reference.h"

#define N    64
#define SIZE 6

static objective_setting open_loss(const char *path, const char *prediction, const char *objective,
                                   const char *times, double drop) {
    objective_setting s;
    setting_open(
        &s, path, prediction,
        &(vn_objective_options){
            .objective = objective, .times = times, .drop = drop, .null_label = 10, .seed = 21});
    return s;
}

/* A batch's arrays. */
typedef struct arrays {
    float x0[N * SIZE], x[N * SIZE], target[N * SIZE], time[N], weight[N];
    int32_t labels[N], network_labels[N];
    vn_level level[N];
} arrays;

/* Fills the batch; the first call builds the loss. */
static void fill(objective_setting *s, vn_objective_batch b, float *target, float *weight) {
    vn_err err = {0};
    if (!s->g) {
        setting_build(s, VN_SHAPE(N, SIZE));
        assert_non_null(vn_objective_loss(s->objective, &s->loss));
    }
    loss_bind(&s->loss, &b, "target", target);
    loss_bind(&s->loss, &b, "weight", weight);
    if (vn_objective_fill(s->objective, &s->loss, &b, &err)) fail_msg("%s", err.text);
}

static vn_objective_batch batch_of(arrays *a) {
    for (int i = 0; i < N; i++) {
        vn_random_normal(a->x0 + i * SIZE, SIZE, 2, VN_STREAM_TEST, (uint64_t)i, 0);
        a->labels[i] = i % 11 - 1;
    }
    return (vn_objective_batch){.n = N,
                                .size = SIZE,
                                .step = 5,
                                .first = 0,
                                .x0 = a->x0,
                                .labels = a->labels,
                                .level = a->level,
                                .x = a->x,
                                .time = a->time,
                                .network_labels = a->network_labels};
}

/* Some roundings of 1.1e-16; measured at most: 1.9e-16. */
#define DOUBLE_ERROR 1e-15

static void near(double got, double want, double tolerance, const char *what) {
    const double error = fabs(got - want) / (1 + fabs(want));
    expect_below(what, error, tolerance);
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* t from what the network was told. */
static double t_of(const vn_path *p, double time) {
    const char *name = p->row->row.name;
    if (strcmp(name, "rectified") == 0 || strcmp(name, "trigonometric") == 0) return time / 1000;
    if (strcmp(name, "vp") == 0) return time / 999;
    if (strcmp(name, "edm") == 0) return exp(4 * time) / 80;
    return (time + 1) / p->steps; /* ddpm */
}

/* raw of (x0, eps) as the papers define it. */
static double raw_of(const char *prediction, const vn_level *l, double x0, double eps) {
    if (strcmp(prediction, "x0") == 0) return x0;
    if (strcmp(prediction, "eps") == 0) return eps;
    if (strcmp(prediction, "v") == 0) return l->alpha * eps - l->sigma * x0;
    if (strcmp(prediction, "score") == 0) return -eps / l->sigma;
    if (strcmp(prediction, "velocity") == 0) return l->dalpha * x0 + l->dsigma * eps;
    const double s = l->sigma / l->alpha, y = x0 + s * eps, sd = 0.5;
    return (x0 - sd * sd / (s * s + sd * sd) * y) / (s * sd / sqrt(s * s + sd * sd));
}

static void check_batch(const char *path, const char *prediction) {
    static arrays a;
    objective_setting s = open_loss(path, prediction, NULL, NULL, 0.1);
    fill(&s, batch_of(&a), a.target, a.weight);
    for (int i = 0; i < N; i++) {
        float eps[SIZE];
        vn_random_normal(eps, SIZE, 21, VN_STREAM_TRAIN_NOISE, (uint64_t)i, 5);
        vn_level l = vn_path_level(s.path, t_of(s.path, (double)a.time[i]));
        const double c_in =
            strcmp(prediction, "edm") == 0 ? 1 / sqrt(pow(l.sigma, 2) + 0.25 * pow(l.alpha, 2)) : 1;
        /* t comes back from float32, which moves noise levels by 1e-6 of themselves and alpha near
         * t = 1 by more */
        const double tolerance =
            6e-7; /* x and target are float32, of a few roundings of 6e-8; measured: 2.2e-7 */
        for (int j = i * SIZE; j < (i + 1) * SIZE; j++) {
            const double x0 = (double)a.x0[j], e = (double)eps[j - i * SIZE];
            near((double)a.x[j], c_in * (l.alpha * x0 + l.sigma * e), tolerance, path);
            near((double)a.target[j], raw_of(prediction, &l, x0, e), tolerance, prediction);
        }
        near((double)a.weight[i], strcmp(prediction, "score") == 0 ? l.sigma * l.sigma : 1,
             tolerance, "weight");
    }
    setting_close(&s);
}

static void batches_are_made_as_defined(void **state) {
    (void)state;
    static const char *const paths[] = {"rectified", "trigonometric", "vp",
                                        "edm",       "ddpm",          "ddpm:cosine"};
    for (size_t i = 0; i < VN_COUNT(paths); i++)
        for (size_t k = 0; k < vn_prediction_row_count; k++)
            check_batch(paths[i], vn_prediction_rows[k].row.name);
}

/* The same bits with more threads, and as two workers' halves; others at another step. */
static void batches_do_not_depend_on_how_they_are_made(void **state) {
    (void)state;
    static const char *const times[] = {"uniform", "stratified", "logit-normal:stratified=yes",
                                        "edm"};
    static arrays a, other;
    for (size_t k = 0; k < VN_COUNT(times); k++) {
        objective_setting s = open_loss("rectified", "velocity", NULL, times[k], 0.5);
        fill(&s, batch_of(&a), a.target, a.weight);
        vn_objective_batch b = batch_of(&other);
        b.pool = crew_of(3);
        b.n = N / 4;
        b.total = N;
        for (b.first = 0; b.first < N; b.first += N / 4) {
            fill(&s, b, other.target + b.first * SIZE, other.weight + b.first);
            b.x0 += N / 4 * SIZE, b.x += N / 4 * SIZE, b.time += N / 4;
            b.labels += N / 4, b.network_labels += N / 4, b.level += N / 4;
        }
        assert_memory_equal(&a, &other, sizeof a);
        b = batch_of(&other);
        b.step = 6;
        fill(&s, b, other.target, other.weight);
        for (int i = 0; i < N; i++) assert_true(a.time[i] != other.time[i]);
        setting_close(&s);
    }
}

/* Noise that the data bring is that of x_t and of the target; nothing else changes. */
static void data_may_bring_their_noise(void **state) {
    (void)state;
    static arrays a, other;
    float eps[N * SIZE];
    objective_setting s = open_loss("rectified", "velocity", NULL, NULL, 0);
    vn_objective_batch b = batch_of(&a);
    fill(&s, b, a.target, a.weight);
    b = batch_of(&other);
    for (int i = 0; i < N * SIZE; i++) eps[i] = (float)i / 100;
    b.noise = eps;
    fill(&s, b, other.target, other.weight);
    assert_memory_equal(other.time, a.time, sizeof a.time);
    for (int i = 0; i < N * SIZE; i++) {
        const double t = (double)other.time[i / SIZE] / 1000, x0 = (double)other.x0[i],
                     e = (double)eps[i];
        near((double)other.x[i], (1 - t) * x0 + t * e, 6e-7, "x");
        near((double)other.target[i], e - x0, 6e-7, "target");
    }
    setting_close(&s);
}

static void labels_are_dropped_at_their_rate(void **state) {
    (void)state;
    static const double rates[] = {0, 0.1, 0.5, 1};
    static arrays a;
    for (size_t k = 0; k < VN_COUNT(rates); k++) {
        objective_setting s = open_loss("rectified", "velocity", NULL, NULL, rates[k]);
        int dropped = 0, all = 0;
        for (uint64_t step = 0; step < 200; step++) {
            vn_objective_batch b = batch_of(&a);
            b.step = step;
            fill(&s, b, a.target, a.weight);
            for (int i = 0; i < N; i++) {
                if (a.labels[i] < 0) { /* no label to begin with */
                    assert_int_equal(a.network_labels[i], 10);
                    continue;
                }
                assert_true(a.network_labels[i] == 10 || a.network_labels[i] == a.labels[i]);
                dropped += a.network_labels[i] == 10;
                all++;
            }
        }
        const double rate = (double)dropped / all; /* all is about 11600 */
        expect_small(fabs(rate - rates[k]), 4 * sqrt(rates[k] * (1 - rates[k]) / all));
        setting_close(&s);
    }
}

/* ---- times ----------------------------------------------------------------------------------- */

static void the_normal_quantile_inverts_the_distribution(void **state) {
    (void)state;
    expect_small(fabs(vn_normal_quantile(0.975) - 1.959963984540054), 1e-14);
    expect_small(fabs(vn_normal_quantile(0.5)), 1e-15);
    for (double u = 1e-12; u < 0.5; u *= 1.3) {
        double z = vn_normal_quantile(u);
        expect_small(fabs(0.5 * erfc(-z / sqrt(2)) / u - 1), 1e-13);
        expect_small(fabs(vn_normal_quantile(1 - u) + z), 1e-4); /* as far as 1 - u keeps u */
    }
}

/* Mean and deviation of f(t) over many draws. */
static void moments(const char *path, const char *times, double (*f)(double), double out[2]) {
    enum { BATCHES = 400 };
    static arrays a;
    objective_setting s = open_loss(path, "x0", NULL, times, 0);
    double sum = 0, squares = 0;
    for (uint64_t step = 0; step < BATCHES; step++) {
        vn_objective_batch b = batch_of(&a);
        b.step = step;
        fill(&s, b, a.target, a.weight);
        for (int i = 0; i < N; i++) {
            double value = f(t_of(s.path, (double)a.time[i]));
            sum += value;
            squares += value * value;
        }
    }
    out[0] = sum / (BATCHES * N);
    out[1] = sqrt(squares / (BATCHES * N) - out[0] * out[0]);
    setting_close(&s);
}

static double itself(double t) {
    return t;
}
static double logit(double t) {
    return log(t / (1 - t));
}
static double log_sigma(double t) {
    return log(80 * t);
}

static void times_have_their_distribution(void **state) {
    (void)state;
    static const struct {
        const char *path, *times;
        double (*f)(double);
        double mean, std;
    } known[] = {
        {"rectified", "uniform", itself, 0.5, 0.288675},
        {"rectified", "stratified", itself, 0.5, 0.288675},
        {"ddpm", "uniform", itself, 0.5005, 0.288675}, /* the steps' t are 1/T .. 1 */
        {"rectified", "logit-normal", logit, 0, 1},
        {"rectified", "logit-normal:mean=-0.5,std=0.7,stratified=yes", logit, -0.5, 0.7},
        {"edm", "edm", log_sigma, -1.2, 1.2},
        {"edm", "edm:mean=-0.4,std=1", log_sigma, -0.4, 1},
    };
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        /* of 25600 draws: standard error of the mean std/160, of the deviation less */
        double got[2];
        moments(known[i].path, known[i].times, known[i].f, got);
        if (!(fabs(got[0] - known[i].mean) < 3 * known[i].std / 160 &&
              fabs(got[1] / known[i].std - 1) < 0.02))
            fail_msg("%s on %s: %g, %g", known[i].times, known[i].path, got[0], got[1]);
    }
}

/* Each of n equal parts of the distribution is met once in a batch of n. */
static void stratified_batches_cover_evenly(void **state) {
    (void)state;
    static arrays a;
    objective_setting s = open_loss("rectified", "velocity", NULL, "stratified", 0);
    for (uint64_t step = 0; step < 20; step++) {
        int met[N] = {0};
        vn_objective_batch b = batch_of(&a);
        b.step = step;
        fill(&s, b, a.target, a.weight);
        for (int i = 0; i < N; i++) met[(int)((double)a.time[i] / 1000 * N)]++;
        for (int i = 0; i < N; i++) assert_int_equal(met[i], 1);
    }
    setting_close(&s);
}

/* ---- weights and loss ------------------------------------------------------------------------ */

static double weight(const char *objective, const char *prediction, const vn_level *l) {
    vn_choice c;
    vn_prediction p;
    vn_err err;
    assert_int_equal(vn_choice_parse(objective, &vn_objectives, &c, &err), VN_OK);
    assert_int_equal(vn_prediction_parse(prediction, &p, &err), VN_OK);
    return vn_weight_of(&c, &p, l);
}

/* The forms that min-SNR's and EDM's papers give. */
static void weights_are_those_of_the_papers(void **state) {
    (void)state;
    vn_path *vp, *edm, *rectified;
    vn_err err;
    assert_int_equal(vn_path_open("vp", &vp, &err), VN_OK);
    assert_int_equal(vn_path_open("edm", &edm, &err), VN_OK);
    assert_int_equal(vn_path_open("rectified", &rectified, &err), VN_OK);
    for (int k = 1; k <= 20; k++) {
        vn_level l = vn_path_level(vp, k / 20.0), e = vn_path_level(edm, pow(k / 20.0, 3));
        const double snr = pow(l.alpha / l.sigma, 2), s = e.sigma, sd = 0.5;
        near(weight("dsm:weight=min-snr", "eps", &l), fmin(snr, 5) / snr, DOUBLE_ERROR, "eps");
        near(weight("dsm:weight=min-snr", "x0", &l), fmin(snr, 5), DOUBLE_ERROR, "x0");
        near(weight("dsm:weight=min-snr,gamma=1", "v", &l), fmin(snr, 1) / (snr + 1), DOUBLE_ERROR,
             "v");
        near(weight("dsm:weight=min-snr", "score", &l), fmin(snr, 5) / snr * pow(l.sigma, 2),
             DOUBLE_ERROR, "score");
        near(weight("dsm:weight=edm", "edm", &e), 1, DOUBLE_ERROR, "edm");
        near(weight("dsm:weight=edm", "x0", &e), (s * s + sd * sd) / pow(s * sd, 2), DOUBLE_ERROR,
             "x0");
        near(weight("dsm:weight=edm", "eps", &e), (s * s + sd * sd) / pow(sd, 2), DOUBLE_ERROR,
             "eps");
        /* JiT's loss: x0 and its target are both made velocities, by (x - x0)/max(t, floor) */
        const vn_level r = vn_path_level(rectified, k / 20.0);
        near(weight("dsm:weight=velocity", "x0", &r), pow(1 / fmax(r.t, 0.05), 2), DOUBLE_ERROR,
             "x0 as velocity");
        near(weight("dsm:weight=velocity,floor=0.5", "x0", &r), pow(1 / fmax(r.t, 0.5), 2),
             DOUBLE_ERROR, "floor");
        near(weight("cfm:weight=velocity", "velocity", &r), 1, DOUBLE_ERROR, "velocity");
        near(weight("cfm:weight=velocity,floor=0.5", "velocity", &r), pow(r.t / fmax(r.t, 0.5), 2),
             DOUBLE_ERROR, "velocity below the floor");
        for (size_t i = 0; i < vn_prediction_row_count; i++) {
            const vn_prediction_row *row = &vn_prediction_rows[i];
            near(weight(row->objective, row->row.name, &l),
                 strcmp(row->row.name, "score") ? 1 : l.sigma * l.sigma, DOUBLE_ERROR,
                 row->row.name);
        }
    }
    vn_path_close(&vp);
    vn_path_close(&edm);
    vn_path_close(&rectified);
}

/* At pure noise and just above data every weight is finite. */
static void weights_are_finite_at_the_ends(void **state) {
    (void)state;
    static const char *const weights[] = {"dsm", "dsm:weight=min-snr", "dsm:weight=edm",
                                          "dsm:weight=velocity"};
    vn_path *p;
    vn_err err;
    assert_int_equal(vn_path_open("rectified", &p, &err), VN_OK);
    vn_level ends[] = {vn_path_level(p, 1), vn_path_level(p, 1e-5)};
    for (size_t i = 0; i < VN_COUNT(weights); i++)
        for (size_t k = 0; k < vn_prediction_row_count; k++)
            for (size_t e = 0; e < VN_COUNT(ends); e++) {
                double w = weight(weights[i], vn_prediction_rows[k].row.name, &ends[e]);
                assert_true(isfinite(w) && w >= 0);
            }
    near(weight("dsm:weight=min-snr", "eps", &ends[0]), 1, DOUBLE_ERROR, "eps at pure noise");
    vn_path_close(&p);
}

static void the_loss_is_a_weighted_mean_square(void **state) {
    (void)state;
    enum { B = 3, H = 2, C = 2, COUNT = B * H * H * C };
    vn_err err;
    double output[COUNT], target[COUNT], w[B] = {0.5, 2, 1}, want = 0;
    objective_setting s = open_loss("rectified", "velocity", NULL, NULL, 0);
    setting_build(&s, VN_SHAPE(B, H, H, C));
    vn_node *loss = vn_objective_loss(s.objective, &s.loss), *gradient;
    assert_non_null(loss);
    assert_int_equal(loss->shape.rank, 0);
    assert_int_equal(vn_graph_gradient(s.g, loss, NULL, 1, &s.output, &gradient, &err), VN_OK);
    ref_graph r = ref_open(s.g);
    for (int i = 0; i < COUNT; i++) {
        output[i] = vn_random_double(1, VN_STREAM_TEST, (uint64_t)i, 0);
        target[i] = vn_random_double(1, VN_STREAM_TEST, (uint64_t)i, 1);
        want += w[i / (COUNT / B)] * pow(output[i] - target[i], 2) / COUNT;
    }
    ref_set(&r, s.output, output);
    ref_set(&r, loss_node(&s.loss, "target"), target);
    ref_set(&r, loss_node(&s.loss, "weight"), w);
    ref_run(&r, NULL);
    near(ref_get(&r, loss)[0], want, DOUBLE_ERROR, "loss");
    for (int i = 0; i < COUNT; i++)
        near(ref_get(&r, gradient)[i], 2 * w[i / (COUNT / B)] * (output[i] - target[i]) / COUNT,
             DOUBLE_ERROR, "gradient");
    ref_close(&r);
    setting_close(&s);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *prediction, *objective, *times, *word;
        double drop;
    } bad[] = {
        {"velocity", "dsm", NULL, "dsm trains x0|eps|v|score|edm, not velocity", 0},
        {"eps", "cfm", NULL, "cfm trains velocity, not eps", 0},
        {"eps", "dms", NULL, "dsm", 0},
        {"eps", "dsm:gamma=3", NULL, "no effect", 0},
        {"eps", "dsm:weight=min-snr,sigma_data=1", NULL, "no effect", 0},
        {"eps", "dsm:floor=0.1", NULL, "floor has no effect without weight=velocity", 0},
        {"eps", "dsm:weight=max-snr", NULL, "none|min-snr|edm", 0},
        {"eps", NULL, "logit_normal", "logit-normal", 0},
        {"eps", NULL, "edm:std=0", "std", 0},
        {"eps", NULL, NULL, "drop", -0.1},
        {"eps", NULL, NULL, "drop", 1.5},
        {"eps", NULL, NULL, "drop", (double)NAN},
    };
    vn_path *path;
    vn_err err = {0};
    assert_int_equal(vn_path_open("vp", &path, &err), VN_OK);
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_objective *o = (void *)1;
        vn_prediction p;
        assert_int_equal(vn_prediction_parse(bad[i].prediction, &p, &err), VN_OK);
        vn_objective_options options = {.path = path,
                                        .prediction = &p,
                                        .objective = bad[i].objective,
                                        .times = bad[i].times,
                                        .drop = bad[i].drop,
                                        .null_label = 1};
        assert_int_equal(vn_objective_open(&options, &o, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%zu: %s", i, err.text);
        assert_null(o);
    }
    vn_path_close(&path);
}

/* What each prediction and path name as their own objective and times exists. */
static void defaults_are_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < vn_path_row_count; i++)
        for (size_t k = 0; k < vn_prediction_row_count; k++) {
            objective_setting s = open_loss(vn_path_rows[i].row.name,
                                            vn_prediction_rows[k].row.name, NULL, NULL, 0.1);
            setting_close(&s);
        }
}

/* Opening fails cleanly at every allocation; filling makes none. */
static void memory_is_taken_once(void **state) {
    (void)state;
    static arrays a;
    objective_setting s = open_loss("ddpm", "edm", NULL, NULL, 0.1);
    fill(&s, batch_of(&a), a.target, a.weight); /* builds the loss */
    vn_objective_options options = {.path = s.path, .prediction = &s.prediction, .null_label = 3};
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        vn_objective *o;
        vn_err err;
        if (!alloc_hit(&t, vn_objective_open(&options, &o, &err))) {
            vn_objective_batch b = batch_of(&a);
            const int64_t made = alloc_made();
            assert_int_equal(vn_objective_fill(o, &s.loss, &b, &err), VN_OK);
            assert_int_equal(alloc_made(), made);
            assert_true(t.n >= 3);
        }
        vn_objective_close(&o);
    }
    setting_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_made_as_defined),
        cmocka_unit_test(batches_do_not_depend_on_how_they_are_made),
        cmocka_unit_test(data_may_bring_their_noise),
        cmocka_unit_test(labels_are_dropped_at_their_rate),
        cmocka_unit_test(the_normal_quantile_inverts_the_distribution),
        cmocka_unit_test(times_have_their_distribution),
        cmocka_unit_test(stratified_batches_cover_evenly),
        cmocka_unit_test(weights_are_those_of_the_papers),
        cmocka_unit_test(weights_are_finite_at_the_ends),
        cmocka_unit_test(the_loss_is_a_weighted_mean_square),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(defaults_are_rows),
        cmocka_unit_test(memory_is_taken_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
