/* test_muon.c - Muon against PyTorch's, in double, step by step; its orthogonalisation against what
 * the polynomial makes of singular values, which Jacobi's method finds in double; and the same bits
 * for every thread count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "golden/muon.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/thread_pool.h"
#include "train/internal.h"
#include "train/support_parts.h"

/* ---- weights that are updated ---------------------------------------------------------------- */

typedef struct one {
    const char *name;
    vn_shape file;
    bool hidden;
} one;

typedef struct bench {
    vn_device device;
    vn_choice choice;
    vn_weights *w, *second;
    vn_shard shard; /* of one rank, which has all */
    float *live, *grads, *moment1, *moment2, *average;
    void *self;
} bench;

static const vn_optimizer_row *row_of(const bench *b) {
    return (const vn_optimizer_row *)b->choice.row;
}

static float *floats(size_t n) {
    float *x = vn_alloc_aligned(n, sizeof *x);
    assert_non_null(x);
    memset(x, 0, n * sizeof *x);
    return x;
}

static bench open_bench(const char *choice, const one *of, size_t n, vn_thread_pool *pool) {
    vn_graph *g;
    vn_err err = {0};
    bench b = {.device = {kernels, NULL, pool}};
    const vn_init zeros = {VN_INIT_ZEROS, 0};
    if (vn_choice_parse(choice, &vn_optimizers, &b.choice, &err)) fail_msg("%s", err.text);
    assert_int_equal(vn_weights_open(&b.w, NULL), VN_OK);
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    for (size_t i = 0; i < n; i++) {
        vn_param_node(g, b.w, of[i].name, of[i].file,
                      of[i].file.rank == 4 ? VN_LAYOUT_CONV : VN_LAYOUT_PLAIN, zeros);
        vn_weights_set_hidden(b.w, i, of[i].hidden);
    }
    assert_int_equal(vn_graph_status(g, NULL), VN_OK);
    vn_graph_close(&g);
    const size_t all = vn_weights_floats(b.w);
    assert_int_equal(vn_weights_without(b.w, row_of(&b)->takes, &b.second, NULL), VN_OK);
    b.live = floats(all);
    b.grads = floats(all);
    b.moment1 = floats(all);
    b.moment2 = floats(vn_weights_floats(b.second));
    b.average = floats(all);
    const vn_dealing dealing = {
        .weights = b.w, .takes = row_of(&b)->takes, .averages = 1, .ranks = 1};
    assert_int_equal(vn_shard_open(&b.shard, &dealing, &err), VN_OK);
    if (row_of(&b)->open(&b.choice, &b.device, b.w, &b.shard, b.grads, &b.self, &err))
        fail_msg("%s", err.text);
    return b;
}

static void close_bench(bench *b) {
    float *const arrays[] = {b->live, b->grads, b->moment1, b->moment2, b->average};
    row_of(b)->close(b->self);
    for (size_t i = 0; i < VN_COUNT(arrays); i++) vn_free(arrays[i]);
    vn_shard_close(&b->shard);
    vn_weights_close(&b->second);
    vn_weights_close(&b->w);
}

static vn_update update_of(const bench *b, int64_t step) {
    return (vn_update){.device = &b->device,
                       .choice = &b->choice,
                       .weights = b->w,
                       .shard = &b->shard,
                       .live = b->live,
                       .grads = b->grads,
                       .moment1 = b->moment1,
                       .moment2 = b->moment2,
                       .average = b->average,
                       .rate = muon_lr,
                       .weight_decay = muon_decay,
                       .grad_scale = muon_scale,
                       .ema = muon_ema,
                       .step = step};
}

/* Arrays of the golden file, the weights one after the other as files have them. */
static void from_file(const bench *b, const float *file, float *to) {
    for (size_t i = 0; i < vn_weights_count(b->w); file += vn_weights_at(b->w, i++)->count)
        vn_weight_from_file(vn_weights_at(b->w, i), file, to + vn_weights_at(b->w, i)->offset);
}

static double error_of(const bench *b, const float *got, const float *file) {
    double worst = 0;
    for (size_t i = 0; i < vn_weights_count(b->w); i++) {
        const vn_weight *w = vn_weights_at(b->w, i);
        float *back = floats(w->count);
        vn_weight_to_file(w, got + w->offset, back);
        for (size_t k = 0; k < w->count; k++) {
            const double off = fabs((double)back[k] - (double)file[k]);
            if (!(off <= worst)) worst = off;
        }
        file += w->count;
        vn_free(back);
    }
    return worst;
}

static const one golden[] = {{"wide", {2, {3, 7}}, true},
                             {"tall", {2, {7, 3}}, true},
                             {"conv", {4, {4, 2, 3, 2}}, true},
                             {"bias", {1, {3}}, false}};

/* Weights of up to 3 are rounded to floats in five steps, 5 x 2^-23, and steps of up to 0.02 are
 * off by some 2^-20 of them. */
#define GOLDEN_ERROR 2e-6

static void agrees_with_pytorch(void **state) {
    (void)state;
    bench b = open_bench(muon_choice, golden, VN_COUNT(golden), NULL);
    from_file(&b, muon_start, b.live);
    from_file(&b, muon_start, b.average);
    assert_int_equal(vn_weights_floats(b.second), 16); /* of the bias alone */
    for (int step = 0; step < muon_steps; step++) {
        const vn_update u = update_of(&b, step + 1);
        from_file(&b, muon_grad + step * muon_count, b.grads);
        row_of(&b)->update(b.self, &u);
        expect_below("weights", error_of(&b, b.live, muon_value + step * muon_count), GOLDEN_ERROR);
        expect_below("average", error_of(&b, b.average, muon_average + step * muon_count),
                     GOLDEN_ERROR);
    }
    close_bench(&b);
}

/* ---- singular values ------------------------------------------------------------------------- */

/* Those of x [rows,columns], columns <= rows, by rotations of pairs of columns until they are
 * orthogonal (one-sided Jacobi); x becomes U S, and v [columns,columns], if any, V. */
static void rotate(double *x, int64_t rows, int64_t columns, int64_t i, int64_t j, double c,
                   double s) {
    for (int64_t k = 0; k < rows; k++) {
        const double a = x[k * columns + i], b = x[k * columns + j];
        x[k * columns + i] = c * a - s * b;
        x[k * columns + j] = s * a + c * b;
    }
}

static double dot(const double *x, int64_t rows, int64_t columns, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t k = 0; k < rows; k++) sum += x[k * columns + i] * x[k * columns + j];
    return sum;
}

static void jacobi(double *x, int64_t rows, int64_t columns, double *v) {
    bool turned = true;
    for (int sweep = 0; turned && sweep < 60; sweep++) {
        turned = false;
        for (int64_t i = 0; i < columns; i++)
            for (int64_t j = i + 1; j < columns; j++) {
                const double a = dot(x, rows, columns, i, i), b = dot(x, rows, columns, j, j),
                             d = dot(x, rows, columns, i, j);
                if (fabs(d) <= 1e-15 * sqrt(a * b)) continue;
                const double z = (b - a) / (2 * d),
                             t = (z < 0 ? -1 : 1) / (fabs(z) + sqrt(1 + z * z)),
                             c = 1 / sqrt(1 + t * t);
                rotate(x, rows, columns, i, j, c, c * t);
                rotate(v, columns, columns, i, j, c, c * t);
                turned = true;
            }
    }
    assert_false(turned);
}

static double polynomial(double s, int iterations) {
    for (int i = 0; i < iterations; i++)
        s = 3.4445 * s - 4.7750 * s * s * s + 2.0315 * s * s * s * s * s;
    return s;
}

/* U p(S) V^T of m [rows,columns], columns <= rows, and the least and the largest of p(S) where S is
 * not too small. */
typedef struct truth {
    double least, most;
    double *made;
} truth;

static truth truth_of(const double *m, int64_t rows, int64_t columns, int iterations) {
    double *x = vn_calloc((size_t)(rows * columns), sizeof *x);
    double *v = vn_calloc((size_t)(columns * columns), sizeof *v), norm = 0;
    truth t = {1e9, 0, vn_calloc((size_t)(rows * columns), sizeof(double))};
    assert_true(x && v && t.made);
    memcpy(x, m, (size_t)(rows * columns) * sizeof *x);
    for (int64_t i = 0; i < columns; i++) v[i * columns + i] = 1;
    for (int64_t i = 0; i < rows * columns; i++) norm += m[i] * m[i];
    jacobi(x, rows, columns, v);
    for (int64_t j = 0; j < columns; j++) {
        const double s = sqrt(dot(x, rows, columns, j, j)),
                     p = polynomial(s / sqrt(norm), iterations);
        if (s > 5e-3 * sqrt(norm)) {
            t.least = fmin(t.least, p);
            t.most = fmax(t.most, p);
        }
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; k < columns; k++)
                t.made[r * columns + k] += x[r * columns + j] / s * p * v[k * columns + j];
    }
    vn_free(x);
    vn_free(v);
    return t;
}

/* x [R,C] by the engine. */
static void orthogonalise(float *x, int64_t rows, int64_t columns, int iterations) {
    vn_graph *g;
    vn_program *p;
    vn_err err = {0};
    const vn_device device = {kernels, NULL, NULL};
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    vn_node *in = vn_input(g, VN_F32, VN_SHAPE(rows, columns));
    vn_node *out = vn_orthogonal(g, in, iterations);
    const vn_program_options o = {.device = &device, .n_outputs = 1, .outputs = &out};
    if (vn_program_open(g, &o, &p, &err)) fail_msg("%s", err.text);
    vn_program_write(p, in, x);
    vn_program_run(p, &(vn_run){0});
    vn_program_read(p, out, x);
    vn_program_close(&p);
    vn_graph_close(&g);
}

/* Numbers of up to 1, rounded to 2^-24 of them in some fifteen products and sums: measured
 * 1.1e-6. */
#define ORTHOGONAL_ERROR 4e-6

/* Where element i of a matrix [longer,shorter] is in the one that the engine has: wide: in its
 * transpose. */
static int64_t place_of(int64_t i, int64_t longer, int64_t shorter, bool wide) {
    return wide ? i % shorter * longer + i / shorter : i;
}

static void check_shape(int64_t longer, int64_t shorter, bool wide, double size, int iterations) {
    const int64_t count = longer * shorter;
    float *x = floats((size_t)count);
    double *m = vn_calloc((size_t)count, sizeof *m), worst = 0;
    assert_non_null(m);
    vn_random_normal(x, (size_t)count, 7, VN_STREAM_TEST, (uint64_t)count, 0);
    for (int64_t i = 0; i < count; i++) x[i] *= (float)size;
    for (int64_t i = 0; i < count; i++) m[i] = (double)x[place_of(i, longer, shorter, wide)];
    const truth t = truth_of(m, longer, shorter, iterations);
    orthogonalise(x, wide ? shorter : longer, wide ? longer : shorter, iterations);
    for (int64_t i = 0; i < count; i++) {
        const double off = fabs((double)x[place_of(i, longer, shorter, wide)] - t.made[i]);
        if (!(off <= worst)) worst = off;
    }
    expect_below("orthogonal", worst, ORTHOGONAL_ERROR);
    if (iterations == 5 && (t.least < 0.6 || t.most > 1.3))
        fail_msg("%lld x %lld: singular values from %g to %g", (long long)longer,
                 (long long)shorter, t.least, t.most);
    vn_free(t.made);
    vn_free(m);
    vn_free(x);
}

static void singular_values_come_near_one(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},   {9, 1},   {8, 3},   {16, 16},
                                        {33, 17}, {60, 59}, {200, 24}};
    for (size_t i = 0; i < VN_COUNT(shapes); i++)
        for (int wide = 0; wide < 2; wide++)
            for (double size = 1e-5; size < 1e6; size *= 1e5)
                check_shape(shapes[i][0], shapes[i][1], wide, size, 5);
    for (int iterations = 1; iterations < 8; iterations++) check_shape(12, 5, true, 1, iterations);
}

static void nothing_stays_nothing(void **state) {
    (void)state;
    float x[6 * 4] = {0};
    orthogonalise(x, 6, 4, 5);
    for (size_t i = 0; i < VN_COUNT(x); i++) assert_true(x[i] == 0);
}

/* ---- threads --------------------------------------------------------------------------------- */

static const one large[] = {{"a", {2, {150, 260}}, true},
                            {"c", {4, {70, 40, 3, 3}}, true},
                            {"b", {1, {70}}, false},
                            {"e", {2, {90, 30}}, false},
                            {"d", {2, {300, 100}}, true}};

/* The weights after three steps, and their average. */
static bench train_large(int threads) {
    bench b = open_bench("muon", large, VN_COUNT(large), crew_of(threads));
    const size_t n = vn_weights_floats(b.w);
    vn_random_normal(b.live, n, 1, VN_STREAM_TEST, 1, 0);
    for (int step = 1; step <= 3; step++) {
        const vn_update u = update_of(&b, step);
        vn_random_normal(b.grads, n, 1, VN_STREAM_TEST, 2, (uint64_t)step);
        row_of(&b)->update(b.self, &u);
    }
    return b;
}

static void threads_do_not_matter(void **state) {
    (void)state;
    bench first = train_large(1);
    const size_t bytes = vn_weights_floats(first.w) * sizeof(float);
    for (int threads = 2; threads <= MAX_POOL; threads++) {
        bench again = train_large(threads);
        assert_memory_equal(again.live, first.live, bytes);
        assert_memory_equal(again.average, first.average, bytes);
        assert_memory_equal(again.moment1, first.moment1, bytes);
        close_bench(&again);
    }
    close_bench(&first);
}

/* ---- in a training --------------------------------------------------------------------------- */

/* A network without matrices between its first layer and its last. */
static void no_effect_is_refused(void **state) {
    (void)state;
    job j;
    double bytes;
    vn_err err = {0};
    vn_choice choice;
    assert_int_equal(vn_choice_parse("muon", &vn_optimizers, &choice, &err), VN_OK);
    job_open(&j, "to_average", 0, 1);
    j.part[0] = (vn_train_part){.net = product(), .optimizer = &choice};
    j.setup.parts = 1;
    assert_int_equal(vn_train_measure(&j.setup, &bytes, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "the optimizer muon would do what adamw does: product has no "
                                  "matrix between its first layer and its last");
    job_close(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_pytorch),   cmocka_unit_test(singular_values_come_near_one),
        cmocka_unit_test(nothing_stays_nothing), cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(no_effect_is_refused),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
