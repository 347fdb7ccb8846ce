/* test_denoiser.c - networks as denoisers: their vector-Jacobian products against `vane forward
 * --grad` and against differences, chunks that nobody can see, and memory that is planned once. */
#include "support/alloc.h"

#include "api/internal.h"
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { ROWS = 7, SIZE = 64 };

/* Gradients of up to 1.2, half an ulp of which is 6e-8, scaled and rounded in two ways: three such
 * roundings. Measured at most: 7.5e-8. */
#define FORWARD_ERROR 2e-7

static vn_model *model;
static const vn_denoiser *d;
static float x[ROWS * SIZE], cotangent[ROWS * SIZE], raw[ROWS * SIZE];
static vn_level level[ROWS];
static int32_t label[ROWS];

static int prepare(void **state) {
    if (context_enter(state)) return -1;
    make_data("data", 24);
    vn_train_options o = tiny_options(4);
    o.path = "edm"; /* its input is scaled, which a derivative must know */
    d = train_and_open("data", "run", &o, &model);
    vn_random_normal(x, ROWS * SIZE, 1, VN_STREAM_TEST, 0, 0);
    vn_random_normal(cotangent, ROWS * SIZE, 1, VN_STREAM_TEST, 1, 0);
    for (int i = 0; i < ROWS; i++) {
        level[i] = vn_path_level_of_ratio(d->path, 0.3 + 0.4 * i);
        label[i] = i % 3 - 1; /* null, then both classes */
    }
    return 0;
}

static int finish(void **state) {
    vn_model_close(&model);
    return context_leave(state);
}

static void ask(int64_t n, const float *at, const float *v, float *out) {
    const vn_query q = {.n = n,
                        .x = at,
                        .level = level,
                        .condition = label,
                        .want = v ? VN_VJP : VN_ANSWER,
                        .direction = v};
    vn_err err = {0};
    if (d->predict(d->self, &q, out, &err) != VN_OK) fail_msg("%s", err.text);
}

static double dot(const float *a, const float *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* <cotangent, answer> at x moved along the direction; *size: the root of the sum of its terms'
 * squares. */
static double product_at(const float *direction, double step, double *size) {
    static float moved[ROWS * SIZE];
    for (int i = 0; i < ROWS * SIZE; i++) moved[i] = x[i] + (float)step * direction[i];
    ask(ROWS, moved, NULL, raw);
    *size = 0;
    for (int i = 0; i < ROWS * SIZE; i++) *size += pow((double)cotangent[i] * (double)raw[i], 2);
    *size = sqrt(*size);
    return dot(cotangent, raw, ROWS * SIZE);
}

/* Differences in float32 are off by rounding over step, plus step squared. Rounding: the answer's
 * numbers have each seen some hundred roundings of at most 6e-8, so they are off by sqrt(100) *
 * 6e-8 of their size, apart from each other; three times that for chance. The step's part is what a
 * step twice as large adds, by three. */
static void test_derivatives_are_those_of_differences(void **state) {
    (void)state;
    static float back[ROWS * SIZE], direction[ROWS * SIZE];
    const double step = 4e-3;
    assert_true((d->can & VN_CAN_VJP));
    ask(ROWS, x, cotangent, back);
    for (uint64_t k = 0; k < 4; k++) {
        double difference[2], size;
        vn_random_normal(direction, ROWS * SIZE, 2, VN_STREAM_TEST, k, 0);
        for (int twice = 0; twice < 2; twice++) {
            const double h = step * (1 + twice);
            difference[twice] =
                (product_at(direction, h, &size) - product_at(direction, -h, &size)) / (2 * h);
        }
        const double norm = sqrt(dot(back, back, ROWS * SIZE)),
                     rounding = 3 * 10 * 6e-8 * size / (sqrt(2) * step);
        const double bound = (rounding + 2 * fabs(difference[1] - difference[0]) / 3) / norm;
        const double error = fabs(difference[0] - dot(back, direction, ROWS * SIZE)) / norm;
        print_message("%.1e of the gradient's norm, of at most %.1e\n", error, bound);
        expect_below("slope, of the gradient's norm", error, bound);
        assert_true(bound < 2e-3);
    }
}

/* sample is what the network sees, so its gradient there is what x gets, over the input's scale. */
static void test_derivatives_are_those_of_forward(void **state) {
    (void)state;
    static float seen[ROWS * SIZE], back[ROWS * SIZE], expected[ROWS * SIZE];
    float time[ROWS];
    int64_t labels[ROWS];
    vn_err err = {0};
    for (int i = 0; i < ROWS; i++) {
        const float scale = (float)vn_prediction_coefficients(&d->prediction, &level[i]).input;
        for (int j = 0; j < SIZE; j++) seen[i * SIZE + j] = scale * x[i * SIZE + j];
        time[i] = (float)vn_path_network_time(d->path, &level[i]);
        labels[i] = label[i] < 0 ? d->conditions.classes : label[i];
    }
    const vn_array in[] = {
        {.name = "sample", .dtype = VN_F32, .shape = VN_SHAPE(ROWS, 1, 8, 8), .data = seen},
        {.name = "timestep", .dtype = VN_F32, .shape = VN_SHAPE(ROWS), .data = time},
        {.name = "class_labels", .dtype = VN_I64, .shape = VN_SHAPE(ROWS), .data = labels},
        {.name = "cotangent", .dtype = VN_F32, .shape = VN_SHAPE(ROWS, 1, 8, 8), .data = cotangent},
    };
    assert_int_equal(vn_safetensors_write("in.safetensors", in, VN_COUNT(in), NULL, &err), VN_OK);
    expect_ok(vn, vn_forward(vn, "run", "in.safetensors", "out.safetensors", "grad.safetensors"));
    vn_safetensors *grads = NULL;
    const vn_array *t = NULL;
    assert_int_equal(vn_safetensors_open("grad.safetensors", &grads, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(grads, "grad.sample", &t, &err), VN_OK);
    vn_array_read_f32(t, expected);
    vn_safetensors_close(&grads);
    ask(ROWS, x, cotangent, back);
    double most = 0;
    for (int i = 0; i < ROWS * SIZE; i++) {
        const double scale = vn_prediction_coefficients(&d->prediction, &level[i / SIZE]).input;
        most = fmax(most, fabs((double)back[i] - scale * (double)expected[i]));
    }
    expect_below("scaled gradient", most, FORWARD_ERROR);
}

/* ---- chunks and memory ----------------------------------------------------------------------- */

static void test_chunks_cannot_be_seen(void **state) {
    (void)state;
    static float whole[2][ROWS * SIZE];
    double most = 0;
    ask(ROWS, x, NULL, whole[0]);
    ask(ROWS, x, cotangent, whole[1]);
    vn_model_set_batch(model, 1); /* two rows forward, one back */
    for (int back = 0; back < 2; back++) {
        ask(ROWS, x, back ? cotangent : NULL, raw);
        for (int i = 0; i < ROWS * SIZE; i++)
            most = fmax(most, fabs((double)raw[i] - (double)whole[back][i]));
    }
    assert_true(((vn_net_denoiser *)model->self)->chunk == 2);
    vn_model_set_batch(model, 0);
    if (most > 0) fail_msg("%.2e", most); /* the same bits */
}

static void test_nothing_is_allocated_for_a_shape_seen_before(void **state) {
    (void)state;
    ask(ROWS, x, NULL, raw);
    ask(ROWS, x, cotangent, raw);
    const int64_t made = alloc_made();
    ask(ROWS, x, cotangent, raw);
    ask(ROWS, x, NULL, raw);
    ask(ROWS, x, cotangent, raw);
    assert_int_equal(alloc_made(), made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_derivatives_are_those_of_differences),
        cmocka_unit_test(test_derivatives_are_those_of_forward),
        cmocka_unit_test(test_chunks_cannot_be_seen),
        cmocka_unit_test(test_nothing_is_allocated_for_a_shape_seen_before),
    };
    return run_under_each_kernel_set(tests, prepare, finish);
}
