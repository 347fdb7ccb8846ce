/* Score matching held to what it says: losses against the papers' formulas with derivatives by
 * differences, their gradients, and the one minimum that all four forms share, found where it is
 * known in closed form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "objective/internal.h"
#include "support/bench.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/reference.h"

enum { MAX_ROWS = 4096, SIZE = 2, PROBES = 3 };

/* Two classes, one Gaussian each, far from round. */
static const char world_text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"cov\": [[0.5, 0.3], [0.3, 0.4]]}]},"
    " {\"components\": [{\"mean\": [-0.6, 0.8], \"std\": 0.4}]}], \"class_weights\": [0.7, 0.3]}";
/* Of class 0. */
static const double mean_0[2] = {1, -0.5}, cov_0[2][2] = {{0.5, 0.3}, {0.3, 0.4}};

typedef struct setting {
    bench truth;
    vn_objective *objective;
} setting;

static void open(setting *s, const char *path, const char *prediction, const char *objective,
                 const char *times, double drop) {
    *s = (setting){.truth = bench_open(world_text, path, prediction)};
    vn_err err = {0};
    const vn_objective_options o = {.path = s->truth.path,
                                    .prediction = &s->truth.prediction,
                                    .objective = objective,
                                    .times = times,
                                    .drop = drop,
                                    .null_label = 2,
                                    .seed = 8,
                                    .asked[VN_ASK_TRUTH] = &s->truth.denoiser};
    if (vn_objective_open(&o, &s->objective, &err))
        fail_msg("%s, %s, %s: %s", path, prediction, objective, err.text);
}

static void close(setting *s) {
    vn_objective_close(&s->objective);
    bench_close(&s->truth);
}

typedef struct arrays {
    float x0[MAX_ROWS * SIZE], x[MAX_ROWS * SIZE], target[MAX_ROWS * SIZE], time[MAX_ROWS],
        weight[MAX_ROWS];
    float probe[MAX_ROWS * PROBES * SIZE], noise[MAX_ROWS * 3];
    int32_t labels[MAX_ROWS], network_labels[MAX_ROWS];
    vn_level level[MAX_ROWS];
} arrays;

/* Samples of the world's classes in turn, or of class 0 alone. */
static void fill(const setting *s, arrays *a, const vn_loss *loss, int n, uint64_t step,
                 bool one_class) {
    for (int i = 0; i < n; i++) {
        a->labels[i] = one_class ? 0 : i % 2;
        vn_world_draw(s->truth.world, a->labels[i], 77, step * MAX_ROWS + (uint64_t)i,
                      a->x0 + i * SIZE);
    }
    vn_objective_batch b = {.n = n,
                            .size = SIZE,
                            .step = step,
                            .x0 = a->x0,
                            .labels = a->labels,
                            .level = a->level,
                            .x = a->x,
                            .time = a->time,
                            .network_labels = a->network_labels};
    loss_bind(loss, &b, "target", a->target);
    loss_bind(loss, &b, "weight", a->weight);
    loss_bind(loss, &b, "probe", a->probe);
    loss_bind(loss, &b, "noise", a->noise);
    vn_err err = {0};
    if (vn_objective_fill(s->objective, loss, &b, &err)) fail_msg("%s", err.text);
}

/* Puts the arrays where the loss reads them. */
static void feed(ref_graph *r, const vn_loss *loss, const arrays *a) {
    static const char *const name[] = {"target", "weight", "probe", "noise"};
    const float *from[] = {a->target, a->weight, a->probe, a->noise};
    ref_set_f32(r, loss->x, a->x);
    for (size_t i = 0; i < VN_COUNT(name); i++)
        if (loss_input(loss, name[i])) ref_set_f32(r, loss_node(loss, name[i]), from[i]);
}

/* ---- a small network ------------------------------------------------------------------------- */

/* out = c tanh(a x + b) + d, with numbers that are inputs of the graph. */
enum {
    WIDTH = 4,
    A = 0,
    B = A + WIDTH * SIZE,
    C = B + WIDTH,
    D = C + SIZE * WIDTH,
    NUMBERS = D + SIZE
};

typedef struct net {
    vn_graph *g;
    vn_loss parts;
    vn_node *part[4], *grad[4], *loss;
} net;

static const int part_at[] = {A, B, C, D, NUMBERS};

static vn_node *small_network(void *self, const vn_loss_call *call) {
    const net *t = self;
    (void)call;
    vn_node *h = vn_linear(t->g, t->parts.x, t->part[0], t->part[1], true);
    return vn_linear(t->g, vn_unary(t->g, h, VN_FN_TANH), t->part[2], t->part[3], true);
}

static void build(net *t, const setting *s, int n) {
    vn_err err = {0};
    *t = (net){0};
    assert_int_equal(vn_graph_open(&t->g, &err), VN_OK);
    const vn_shape shapes[] = {VN_SHAPE(WIDTH, SIZE), VN_SHAPE(WIDTH), VN_SHAPE(SIZE, WIDTH),
                               VN_SHAPE(SIZE)};
    for (int i = 0; i < 4; i++) t->part[i] = vn_input(t->g, VN_F32, shapes[i]);
    t->parts = (vn_loss){.g = t->g,
                         .x = vn_input(t->g, VN_F32, VN_SHAPE(n, SIZE)),
                         .network = small_network,
                         .self = t};
    t->loss = vn_objective_loss(s->objective, &t->parts);
    if (vn_graph_status(t->g, &err) ||
        vn_graph_gradient(t->g, t->loss, NULL, 4, t->part, t->grad, &err))
        fail_msg("%s", err.text);
}

static double loss_at(const net *t, ref_graph *r, const double *numbers) {
    for (int i = 0; i < 4; i++) ref_set(r, t->part[i], numbers + part_at[i]);
    ref_run(r, NULL);
    return ref_get(r, t->loss)[0];
}

static void evaluate(const double *w, const double *x, double *out) {
    for (int i = 0; i < SIZE; i++) out[i] = w[D + i];
    for (int k = 0; k < WIDTH; k++) {
        double h = w[B + k];
        for (int j = 0; j < SIZE; j++) h += w[A + k * SIZE + j] * x[j];
        for (int i = 0; i < SIZE; i++) out[i] += w[C + i * WIDTH + k] * tanh(h);
    }
}

/* ---- the papers' losses, by differences ------------------------------------------------------ */

/* The score that the network states, by the definitions of its predictions. */
static void score(const char *prediction, const vn_level *l, const double *w, const double *x,
                  double *s) {
    const double a = l->alpha, sg = l->sigma, sd = 0.5, q = sg * sg + a * a * sd * sd;
    const bool edm = strcmp(prediction, "edm") == 0;
    double in[SIZE], raw[SIZE];
    for (int i = 0; i < SIZE; i++) in[i] = edm ? x[i] / sqrt(q) : x[i];
    evaluate(w, in, raw);
    for (int i = 0; i < SIZE; i++) {
        double x0 = 0;
        if (strcmp(prediction, "score") == 0) s[i] = raw[i];
        if (strcmp(prediction, "eps") == 0) s[i] = -raw[i] / sg;
        if (strcmp(prediction, "v") == 0) x0 = (a * x[i] - sg * raw[i]) / (a * a + sg * sg);
        if (strcmp(prediction, "velocity") == 0) /* x = a x0 + sg eps, raw = a' x0 + sg' eps */
            x0 = (l->dsigma * x[i] - sg * raw[i]) / (l->dsigma * a - l->dalpha * sg);
        if (edm) x0 = sd * sd * a / q * x[i] + sg * sd / sqrt(q) * raw[i];
        if (edm || prediction[0] == 'v') s[i] = (a * x0 - x[i]) / (sg * sg);
    }
}

/* v.(ds/dx)v */
static double curve(const char *prediction, const vn_level *l, const double *w, const double *x,
                    const double *v) {
    const double h = 1e-4;
    double up[SIZE], down[SIZE], s1[SIZE], s0[SIZE], sum = 0;
    for (int i = 0; i < SIZE; i++) up[i] = x[i] + h * v[i], down[i] = x[i] - h * v[i];
    score(prediction, l, w, up, s1);
    score(prediction, l, w, down, s0);
    for (int i = 0; i < SIZE; i++) sum += v[i] * (s1[i] - s0[i]) / (2 * h);
    return sum;
}

/* 2 sigma^2 (v.(ds/dx)v + 1/2 |s|^2), or 1/2 (v.s)^2 for it, a coordinate; directions: the unit
 * vectors if probe is NULL. */
static double implicit_loss(const char *prediction, const vn_level *l, const double *w,
                            const double *x, const float *probe, int count, bool sliced) {
    double s[SIZE], sum = 0, square = 0;
    score(prediction, l, w, x, s);
    for (int i = 0; i < SIZE; i++) square += s[i] * s[i];
    for (int k = 0; k < count; k++) {
        double v[SIZE] = {0}, along = 0;
        for (int i = 0; i < SIZE; i++) v[i] = probe ? (double)probe[k * SIZE + i] : i == k;
        for (int i = 0; i < SIZE; i++) along += v[i] * s[i];
        sum += curve(prediction, l, w, x, v) + (sliced ? along * along / 2 : 0);
    }
    return 2 * l->sigma * l->sigma * ((probe ? sum / count : sum) + (sliced ? 0 : square / 2)) /
           SIZE;
}

static const struct {
    const char *objective;
    int directions; /* 0: the unit vectors */
    bool sliced;
} forms[] = {
    {"ism", 1, false},
    {"ism:projections=3", 3, false},
    {"ism:exact=1", 0, false},
    {"ssm", 1, true},
    {"ssm:projections=3,directions=signs", 3, true},
    {"ssm:reduced=yes", 1, false},
};

static void check_implicit(const char *path, const char *prediction, size_t form, const double *w) {
    enum { N = 16 };
    static arrays a;
    setting s;
    open(&s, path, prediction, forms[form].objective, "logit-normal", 0.2);
    net t;
    build(&t, &s, N);
    fill(&s, &a, &t.parts, N, 3, false);
    double want = 0;
    const int count = forms[form].directions ? forms[form].directions : SIZE;
    for (int i = 0; i < N; i++) {
        const double in = vn_prediction_coefficients(&s.truth.prediction, &a.level[i]).input;
        double x[SIZE];
        for (int j = 0; j < SIZE; j++) x[j] = (double)a.x[i * SIZE + j] / in;
        const float *probe = forms[form].directions ? a.probe + i * count * SIZE : NULL;
        want += implicit_loss(prediction, &a.level[i], w, x, probe, count, forms[form].sliced) / N;
    }
    ref_graph r = ref_open(t.g);
    feed(&r, &t.parts, &a);
    const double got = loss_at(&t, &r, w);
    /* two roundings of the float32 coefficients, and twice that; measured 5.9e-8 */
    expect_below_as(fabs(got - want), 2.4e-7 * (1 + fabs(want)), "%s, %s, %s", path, prediction,
                    forms[form].objective);
    ref_close(&r);
    vn_graph_close(&t.g);
    close(&s);
}

/* A picture is its numbers in a row. */
static void the_loss_does_not_depend_on_the_layout(void **state) {
    (void)state;
    enum { N = 3, COUNT = 12 };
    static const double slope = 0.7;
    for (size_t f = 0; f < VN_COUNT(forms); f++) {
        setting s;
        open(&s, "rectified", "score", forms[f].objective, NULL, 0);
        double loss[2];
        for (int flat = 0; flat < 2; flat++) {
            vn_graph *g;
            vn_err err = {0};
            assert_int_equal(vn_graph_open(&g, &err), VN_OK);
            vn_loss parts = {
                .g = g,
                .x = vn_input(g, VN_F32, flat ? VN_SHAPE(N, COUNT) : VN_SHAPE(N, 2, 3, 2)),
                .network = loss_answer};
            vn_node *output = vn_affine(g, vn_unary(g, parts.x, VN_FN_TANH), slope, 0);
            parts.self = &output;
            vn_node *node = vn_objective_loss(s.objective, &parts);
            if (vn_graph_status(g, &err)) fail_msg("%s", err.text);
            const vn_node *input[] = {parts.x, loss_node(&parts, "probe"),
                                      loss_node(&parts, "noise")};
            ref_graph r = ref_open(g);
            for (size_t k = 0; k < VN_COUNT(input); k++) {
                double *to = r.value[input[k]->id];
                r.set[input[k]->id] = true;
                for (int64_t i = 0; i < vn_shape_count(&input[k]->shape); i++)
                    to[i] = vn_random_double(6, VN_STREAM_TEST, (uint64_t)i, k) - 0.5;
            }
            ref_run(&r, NULL);
            loss[flat] = ref_get(&r, node)[0];
            ref_close(&r);
            vn_graph_close(&g);
        }
        expect_below(forms[f].objective, fabs(loss[0] - loss[1]), 1e-14);
        close(&s);
    }
}

static void random_numbers(double *w) {
    for (int i = 0; i < NUMBERS; i++)
        w[i] = 2 * vn_random_double(5, VN_STREAM_TEST, (uint64_t)i, 0) - 1;
}

static void implicit_losses_are_those_of_the_papers(void **state) {
    (void)state;
    static const char *const paths[] = {"rectified", "vp", "edm", "ddpm:cosine"};
    static const char *const predictions[] = {"eps", "score", "v", "velocity", "edm"};
    double w[NUMBERS];
    random_numbers(w);
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t k = 0; k < VN_COUNT(predictions); k++)
            for (size_t f = 0; f < VN_COUNT(forms); f++)
                check_implicit(paths[p], predictions[k], f, w);
}

/* The gradient of every objective's loss, against differences of the loss in double. */
static void gradients_are_those_of_the_loss(void **state) {
    (void)state;
    enum { N = 5 };
    static const char *const objectives[] = {"dsm",         "esm", "ism",
                                             "ism:exact=1", "ssm", "ssm:reduced=yes"};
    static arrays a;
    double w[NUMBERS];
    random_numbers(w);
    for (size_t k = 0; k < VN_COUNT(objectives); k++) {
        setting s;
        open(&s, "rectified", "score", objectives[k], NULL, 0.2);
        net t;
        build(&t, &s, N);
        fill(&s, &a, &t.parts, N, 1, false);
        ref_graph r = ref_open(t.g);
        feed(&r, &t.parts, &a);
        for (int i = 0; i < NUMBERS; i++) {
            const double keep = w[i], h = 1e-5;
            int part = 0;
            while (i >= part_at[part + 1]) part++;
            loss_at(&t, &r, w);
            const double got = ref_get(&r, t.grad[part])[i - part_at[part]];
            w[i] = keep + h;
            double slope = loss_at(&t, &r, w);
            w[i] = keep - h;
            slope = (slope - loss_at(&t, &r, w)) / (2 * h);
            w[i] = keep;
            /* measured: 1.6e-11 */
            expect_below_as(fabs(got - slope), 4e-11 * (1 + fabs(slope)), "slope of %s",
                            objectives[k]);
        }
        ref_close(&r);
        vn_graph_close(&t.g);
        close(&s);
    }
}

/* ---- directions and targets ------------------------------------------------------------------ */

static void directions_have_the_unit_matrix_as_second_moment(void **state) {
    (void)state;
    static arrays a;
    for (size_t f = 0; f < VN_COUNT(forms); f++) {
        setting s;
        open(&s, "rectified", "eps", forms[f].objective, NULL, 0);
        const int count = forms[f].directions ? forms[f].directions : SIZE;
        net t;
        build(&t, &s, MAX_ROWS);
        fill(&s, &a, &t.parts, MAX_ROWS, 2, false);
        double moment[SIZE][SIZE] = {{0}};
        bool signs = true;
        for (int k = 0; k < MAX_ROWS * count; k++)
            for (int i = 0; i < SIZE; i++)
                for (int j = 0; j < SIZE; j++) {
                    const double vi = (double)a.probe[k * SIZE + i],
                                 vj = (double)a.probe[k * SIZE + j];
                    moment[i][j] += vi * vj / (MAX_ROWS * count);
                    signs &= fabs(vi) == 1;
                }
        for (int i = 0; i < SIZE; i++) /* standard error: at most sqrt(2/4096) = 0.022 */
            for (int j = 0; j < SIZE; j++) expect_small(fabs(moment[i][j] - (i == j)), 0.066);
        assert_true(signs == (strstr(forms[f].objective, "ism") && forms[f].directions) ||
                    strstr(forms[f].objective, "signs"));
        float before[PROBES * SIZE];
        memcpy(before, a.probe, (size_t)count * SIZE * sizeof(float));
        fill(&s, &a, &t.parts, MAX_ROWS, 2, false);
        assert_memory_equal(before, a.probe, (size_t)count * SIZE * sizeof(float));
        vn_graph_close(&t.g);
        close(&s);
    }
}

/* log p_t(x|label) of the world above, up to a constant. */
static double log_density(const vn_level *l, int label, const double *x) {
    static const double mean[2][2] = {{1, -0.5}, {-0.6, 0.8}}, prior[2] = {0.7, 0.3};
    static const double cov[2][2][2] = {{{0.5, 0.3}, {0.3, 0.4}}, {{0.16, 0}, {0, 0.16}}};
    double density = 0;
    for (int k = 0; k < 2; k++) {
        if (label < 2 && label != k) continue;
        const double aa = l->alpha * l->alpha, ss = l->sigma * l->sigma;
        const double p = aa * cov[k][0][0] + ss, q = aa * cov[k][0][1], r = aa * cov[k][1][1] + ss,
                     det = p * r - q * q;
        const double u = x[0] - l->alpha * mean[k][0], v = x[1] - l->alpha * mean[k][1];
        density += prior[k] / sqrt(det) * exp(-(r * u * u - 2 * q * u * v + p * v * v) / (2 * det));
    }
    return log(density);
}

/* esm's target is the gradient of log p_t(x|y), or of log p_t(x) where y was dropped, in the
 * network's terms. */
static void explicit_targets_are_exact(void **state) {
    (void)state;
    enum { N = 64 };
    static const char *const paths[] = {"rectified", "vp", "edm"};
    static arrays a;
    for (size_t p = 0; p < VN_COUNT(paths); p++)
        for (size_t k = 0; k < vn_prediction_row_count; k++) {
            setting s;
            open(&s, paths[p], vn_prediction_rows[k].row.name, "esm", "logit-normal", 0.4);
            int met[3] = {0};
            net t;
            build(&t, &s, N);
            fill(&s, &a, &t.parts, N, 4, false);
            for (int i = 0; i < N; i++) {
                const vn_level *l = &a.level[i];
                const vn_coefficients m = vn_prediction_coefficients(&s.truth.prediction, l);
                double x[SIZE];
                for (int j = 0; j < SIZE; j++) x[j] = (double)a.x[i * SIZE + j] / m.input;
                met[a.network_labels[i]]++;
                for (int j = 0; j < SIZE; j++) {
                    const double h = 1e-5 * l->sigma, keep = x[j];
                    x[j] = keep + h;
                    double slope = log_density(l, a.network_labels[i], x);
                    x[j] = keep - h;
                    slope = (slope - log_density(l, a.network_labels[i], x)) / (2 * h);
                    x[j] = keep;
                    const double eps = -l->sigma * slope, x0 = (keep - l->sigma * eps) / l->alpha;
                    const double want = m.raw_x0 * x0 + m.raw_eps * eps,
                                 got = (double)a.target[i * SIZE + j];
                    /* measured: 6.6e-8 */
                    expect_below_as(fabs(got - want), 2e-7 * (1 + fabs(want)), "%s, %s", paths[p],
                                    vn_prediction_rows[k].row.name);
                }
            }
            assert_true(met[0] > 0 && met[1] > 0 && met[2] > 0); /* both classes, and null */
            vn_graph_close(&t.g);
            close(&s);
        }
}

/* ---- one minimum ----------------------------------------------------------------------------- */

enum { LINEAR = SIZE * SIZE + SIZE };

/* a x = b by elimination with pivots; b becomes x. */
static void solve(double a[LINEAR][LINEAR], double *b) {
    for (int k = 0; k < LINEAR; k++) {
        int pivot = k;
        for (int i = k + 1; i < LINEAR; i++)
            if (fabs(a[i][k]) > fabs(a[pivot][k])) pivot = i;
        for (int j = 0; j < LINEAR; j++) {
            const double swap = a[k][j];
            a[k][j] = a[pivot][j], a[pivot][j] = swap;
        }
        const double swap = b[k];
        b[k] = b[pivot], b[pivot] = swap;
        for (int i = 0; i < LINEAR; i++) {
            const double factor = i == k ? 0 : a[i][k] / a[k][k];
            for (int j = k; j < LINEAR; j++) a[i][j] -= factor * a[k][j];
            b[i] -= factor * b[k];
        }
    }
    for (int k = 0; k < LINEAR; k++) b[k] /= a[k][k];
}

/* The numbers (W, b) of the score s = W x + b that minimise the objective over many samples of
 * class 0 at t = 0.5. */
static void minimise(const char *objective, double *out) {
    enum { BATCHES = 8 };
    static arrays a;
    setting s;
    open(&s, "rectified", "score", objective, "logit-normal:std=0.001", 0);
    vn_graph *g;
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    vn_node *part[2] = {vn_input(g, VN_F32, VN_SHAPE(SIZE, SIZE)),
                        vn_input(g, VN_F32, VN_SHAPE(SIZE))},
            *grad[2];
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(MAX_ROWS, SIZE)),
            *output = vn_linear(g, x, part[0], part[1], true);
    vn_loss parts = {.g = g, .x = x, .network = loss_answer, .self = &output};
    vn_node *loss = vn_objective_loss(s.objective, &parts);
    if (vn_graph_gradient(g, loss, NULL, 2, part, grad, &err)) fail_msg("%s", err.text);
    /* the loss is a square form */
    double slope[LINEAR + 1][LINEAR] = {{0}}, matrix[LINEAR][LINEAR];
    ref_graph r = ref_open(g);
    for (uint64_t step = 0; step < BATCHES; step++) {
        fill(&s, &a, &parts, MAX_ROWS, step, true);
        feed(&r, &parts, &a);
        for (int k = 0; k <= LINEAR; k++) {
            double at[LINEAR] = {0};
            if (k < LINEAR) at[k] = 1;
            ref_set(&r, part[0], at);
            ref_set(&r, part[1], at + SIZE * SIZE);
            ref_run(&r, NULL);
            for (int i = 0; i < LINEAR; i++)
                slope[k][i] += i < SIZE * SIZE ? ref_get(&r, grad[0])[i]
                                               : ref_get(&r, grad[1])[i - SIZE * SIZE];
        }
    }
    for (int k = 0; k < LINEAR; k++)
        for (int i = 0; i < LINEAR; i++) matrix[i][k] = slope[k][i] - slope[LINEAR][i];
    for (int i = 0; i < LINEAR; i++) out[i] = -slope[LINEAR][i];
    solve(matrix, out);
    ref_close(&r);
    vn_graph_close(&g);
    close(&s);
}

/* Of N(m, S): s = -(alpha^2 S + sigma^2)^-1 (x - alpha m). */
static void all_have_the_minimum_of_a_gaussian(void **state) {
    (void)state;
    static const struct {
        const char *objective;
        /* twice what was measured with 32768 samples, as by chance; esm has no noise but t's
         * spread */
        double bound;
    } known[] = {
        {"dsm", 0.008},            /* 0.0035 */
        {"esm", 4e-5},             /* 0.000015 */
        {"ism", 0.06},             /* 0.026 */
        {"ism:exact=1", 0.035},    /* 0.015 */
        {"ssm", 0.035},            /* 0.016 */
        {"ssm:reduced=yes", 0.03}, /* 0.0125 */
    };
    const double p = 0.25 * cov_0[0][0] + 0.25, q = 0.25 * cov_0[0][1],
                 r = 0.25 * cov_0[1][1] + 0.25;
    const double det = p * r - q * q, w[4] = {-r / det, q / det, q / det, -p / det};
    const double want[LINEAR] = {w[0],
                                 w[1],
                                 w[2],
                                 w[3],
                                 -0.5 * (w[0] * mean_0[0] + w[1] * mean_0[1]),
                                 -0.5 * (w[2] * mean_0[0] + w[3] * mean_0[1])};
    for (size_t k = 0; k < VN_COUNT(known); k++) {
        double got[LINEAR], error = 0, size = 0;
        minimise(known[k].objective, got);
        for (int i = 0; i < LINEAR; i++)
            error += pow(got[i] - want[i], 2), size += want[i] * want[i];
        expect_below_as(sqrt(error / size), known[k].bound, "closed form, %s", known[k].objective);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void nonsense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *prediction, *objective, *word;
    } bad[] = {
        {"eps", "esm", "esm needs data whose score is known"},
        {"x0", "ism", "ism trains eps|v|score|velocity|edm, not x0"},
        {"x0", "ssm", "ssm trains eps|v|score|velocity|edm, not x0"},
        {"eps", "ism:exact=1,projections=2", "projections has no effect with exact=1"},
        {"eps", "ism:reduced=yes", "reduced"},
        {"eps", "ssm:directions=axes", "normal|signs"},
        {"eps", "ssm:projections=0", "projections"},
        {"eps", "ssm:weight=edm", "weight"},
    };
    vn_path *path;
    vn_err err = {0};
    assert_int_equal(vn_path_open("rectified", &path, &err), VN_OK);
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_objective *o = (void *)1;
        vn_prediction p;
        assert_int_equal(vn_prediction_parse(bad[i].prediction, &p, &err), VN_OK);
        const vn_objective_options options = {
            .path = path, .prediction = &p, .objective = bad[i].objective};
        assert_int_equal(vn_objective_open(&options, &o, &err), VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].word)) fail_msg("%zu: %s", i, err.text);
        assert_null(o);
    }
    vn_path_close(&path);
}

/* A network that is itself a second derivative would need a fourth; a wide sample a pass for each
 * coordinate. */
static void graphs_that_cannot_be_differentiated_are_refused(void **state) {
    (void)state;
    vn_graph *g;
    vn_err err = {0};
    setting s;
    open(&s, "rectified", "score", "ism:exact=1", NULL, 0);
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    vn_node *w = vn_input(g, VN_F32, VN_SHAPE(1, SIZE)), *grad;
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(4, SIZE)), *output = NULL;
    vn_node *energy = vn_unary(g, vn_mul(g, x, w), VN_FN_TANH);
    vn_graph_gradient(g, energy, NULL, 1, &x, &output, &err);
    vn_loss parts = {.g = g, .x = x, .network = loss_answer, .self = &output};
    vn_node *loss = vn_objective_loss(s.objective, &parts);
    assert_int_equal(vn_graph_gradient(g, loss, NULL, 1, &w, &grad, &err), VN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "unary"));
    vn_graph_close(&g);

    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    parts.g = g;
    parts.x = vn_input(g, VN_F32, VN_SHAPE(4, 65));
    output = vn_affine(g, parts.x, 2, 0);
    assert_null(vn_objective_loss(s.objective, &parts));
    assert_int_equal(vn_graph_status(g, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "ism: exact=1 is for at most 64 coordinates, not 65");
    vn_graph_close(&g);
    close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(implicit_losses_are_those_of_the_papers),
        cmocka_unit_test(the_loss_does_not_depend_on_the_layout),
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(directions_have_the_unit_matrix_as_second_moment),
        cmocka_unit_test(explicit_targets_are_exact),
        cmocka_unit_test(all_have_the_minimum_of_a_gaussian),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(graphs_that_cannot_be_differentiated_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
