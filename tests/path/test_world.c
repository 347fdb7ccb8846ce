/* Worlds: densities, denoiser, derivatives and posteriors against each other and against one-line
 * truths; and files that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "path/internal.h"
#include "support/alloc.h"
#include "support/bound.h"
#include "support/thread_pool.h"
#include "support/mutate.h"
#include "support/scratch.h"

#define D 3

/* Full and plain covariances, a zero weight, own unconditional and weak models. */
static const char text[] =
    "{\"classes\": [{\"name\": \"round\", \"components\": [{\"weight\": 2, \"mean\": [1, 0, -1], "
    "\"std\": 0.5},"
    "   {\"weight\": 1, \"mean\": [-1, 0.5, 0], \"cov\": [[0.5, 0.2, 0], [0.2, 0.4, -0.1], [0, "
    "-0.1, 0.3]]}]},"
    " {\"components\": [{\"mean\": [0, 2, 1], \"cov\": [[1, 0, 0], [0, 0.25, 0], [0, 0, 0.04]]},"
    "   {\"weight\": 0, \"mean\": [9, 9, 9], \"std\": 1}]}],"
    " \"class_weights\": [1, 3],"
    " \"weak\": {\"classes\": [{\"components\": [{\"mean\": [1, 1, 1], \"std\": 2}]},"
    "   {\"components\": [{\"mean\": [-1, 1, 1], \"std\": 3}]}],"
    "   \"unconditional\": [{\"mean\": [0, 0, 0], \"std\": 4}]}}";

static const double levels[][2] = {{1, 0.01}, {1, 1}, {1, 80}, {0.6, 0.8}, {0.01, 0.99995}, {0, 1}};
static const double points[][D] = {{0.3, -0.2, 0.9}, {1, 0, -1}, {-4, 3, 2}};

static vn_status parse(const char *json_text, vn_world **w, vn_err *err) {
    json_t *json = NULL;
    *w = NULL;
    vn_status status = vn_json_parse(json_text, strlen(json_text), "world", &json, err);
    if (!status) status = vn_world_from_json(json, w, err);
    json_decref(json);
    return status;
}

static vn_world *open(void) {
    vn_world *w;
    vn_err err = {0};
    if (parse(text, &w, &err)) fail_msg("%s", err.text);
    return w;
}

static double *new_work(const vn_world *w) {
    double *work = malloc(vn_world_work(w) * sizeof *work);
    assert_non_null(work);
    return work;
}

/* Runs `f` at every level, point, network and condition. */
typedef void (*visit)(const vn_world *w, vn_network which, int32_t label, const double *level,
                      const double *x, double *work);

static void everywhere(visit f) {
    vn_world *w = open();
    double *work = new_work(w);
    for (size_t l = 0; l < VN_COUNT(levels); l++)
        for (size_t p = 0; p < VN_COUNT(points); p++)
            for (int which = 0; which < VN_NETWORK_COUNT; which++)
                for (int32_t label = -1; label < 2; label++)
                    f(w, (vn_network)which, label, levels[l], points[p], work);
    free(work);
    vn_world_close(&w);
}

static void near(double a, double b, double tolerance) {
    expect_small(fabs(a - b), tolerance * (1 + fabs(b)));
}

/* eps = -sigma grad log p by central differences, and x = alpha x0 + sigma eps. */
static void check_score(const vn_world *w, vn_network which, int32_t label, const double *level,
                        const double *x, double *work) {
    double x0[D], eps[D], moved[D];
    const double alpha = level[0], sigma = level[1], h = 1e-5 * fmax(sigma, 0.1);
    vn_world_denoise(w, which, label, alpha, sigma, x, x0, eps, work);
    for (int i = 0; i < D; i++) {
        memcpy(moved, x, sizeof moved);
        moved[i] = x[i] + h;
        double up = vn_world_log_density(w, which, label, alpha, sigma, moved, work);
        moved[i] = x[i] - h;
        double down = vn_world_log_density(w, which, label, alpha, sigma, moved, work);
        near(eps[i], -sigma * (up - down) / (2 * h), 1e-5);
        near(alpha * x0[i] + sigma * eps[i], x[i], 1e-12);
    }
}

static void scores_are_gradients(void **state) {
    (void)state;
    everywhere(check_score);
}

/* The product with the Jacobian of x0, by central differences of v . x0. */
static void check_vjp(const vn_world *w, vn_network which, int32_t label, const double *level,
                      const double *x, double *work) {
    const double v[D] = {0.4, -1.1, 0.7}, alpha = level[0], sigma = level[1],
                 h = 1e-5 * fmax(sigma, 0.1);
    double back[D], moved[D], x0[2][D], eps[D];
    vn_world_vjp(w, which, label, alpha, sigma, x, v, back, work);
    for (int i = 0; i < D; i++) {
        double slope = 0;
        for (int side = 0; side < 2; side++) {
            memcpy(moved, x, sizeof moved);
            moved[i] += side ? h : -h;
            vn_world_denoise(w, which, label, alpha, sigma, moved, x0[side], eps, work);
        }
        for (int j = 0; j < D; j++) slope += v[j] * (x0[1][j] - x0[0][j]) / (2 * h);
        near(back[i], slope, 1e-5);
    }
}

static void products_with_the_jacobian(void **state) {
    (void)state;
    everywhere(check_vjp);
}

/* One Gaussian with std s: x0 = m + alpha s^2/(alpha^2 s^2 + sigma^2) (x - alpha m). */
static void one_gaussian_is_linear(void **state) {
    (void)state;
    vn_world *w;
    vn_err err;
    assert_int_equal(
        parse("{\"classes\": [{\"components\": [{\"mean\": [2, -1, 0], \"std\": 1.5}]}]}", &w,
              &err),
        VN_OK);
    double *work = new_work(w), x0[D], eps[D];
    const double m[D] = {2, -1, 0};
    for (size_t l = 0; l < VN_COUNT(levels); l++) {
        const double a = levels[l][0], s = levels[l][1], gain = a * 2.25 / (a * a * 2.25 + s * s);
        vn_world_denoise(w, VN_NETWORK_MAIN, 0, a, s, points[0], x0, eps, work);
        for (int i = 0; i < D; i++) near(x0[i], m[i] + gain * (points[0][i] - a * m[i]), 1e-12);
    }
    assert_string_equal(vn_world_class_name(w, 0), "0");
    assert_null(vn_world_class_name(w, 1));
    assert_false(vn_world_has_weak(w));
    free(work);
    vn_world_close(&w);
}

/* p(x) = sum of p(y) p(x|y), and the posterior is Bayes' rule. */
static void classes_make_up_the_whole(void **state) {
    (void)state;
    vn_world *w = open();
    double *work = new_work(w), posterior[2];
    for (size_t l = 0; l < VN_COUNT(levels); l++) {
        const double a = levels[l][0], s = levels[l][1];
        double joint[2] = {
            0.25 * exp(vn_world_log_density(w, VN_NETWORK_MAIN, 0, a, s, points[0], work)),
            0.75 * exp(vn_world_log_density(w, VN_NETWORK_MAIN, 1, a, s, points[0], work))};
        near(vn_world_log_density(w, VN_NETWORK_MAIN, -1, a, s, points[0], work),
             log(joint[0] + joint[1]), 1e-12);
        vn_world_posterior(w, a, s, points[0], posterior, work);
        near(posterior[0], joint[0] / (joint[0] + joint[1]), 1e-12);
        near(posterior[0] + posterior[1], 1, 1e-12);
    }
    assert_string_equal(vn_world_class_name(w, 0), "round");
    assert_int_equal(vn_world_classes(w), 2);
    assert_int_equal(vn_world_size(w), D);
    free(work);
    vn_world_close(&w);
}

/* V A V^T is diagonal, V orthogonal, for a random symmetric matrix of some size. */
static void eigenvectors_diagonalise(void **state) {
    (void)state;
    enum { N = 40 };
    static double a[N * N], copy[N * N], vector[N * N], value[N];
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++)
            a[i * N + j] = a[j * N + i] = vn_random_double(1, VN_STREAM_TEST, i, j) - 0.5;
    memcpy(copy, a, sizeof a);
    vn_eigen(N, a, value, vector);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            double form = 0, dot = 0;
            for (size_t k = 0; k < N; k++) {
                double row = 0;
                for (size_t l = 0; l < N; l++) row += copy[k * N + l] * vector[j * N + l];
                form += vector[i * N + k] * row;
                dot += vector[i * N + k] * vector[j * N + k];
            }
            near(form, i == j ? value[i] : 0, 1e-12);
            near(dot, i == j, 1e-12);
        }
}

/* Rows are independent: one at a time, many, and with threads, bit for bit; every prediction means
 * the same pair. */
static void the_denoiser_answers_row_by_row(void **state) {
    (void)state;
    enum { N = 7 };
    vn_world *w = open();
    vn_path *path;
    vn_err err;
    float x[N * D], one[D], raw[N * D], x0[D], eps[D];
    vn_level level[N];
    int32_t label[N];
    assert_int_equal(vn_path_open("vp", &path, &err), VN_OK);
    for (int i = 0; i < N; i++) {
        vn_random_normal(x + i * D, D, 5, VN_STREAM_TEST, (uint64_t)i, 0);
        level[i] = vn_path_level(path, (i + 1.0) / N);
        label[i] = i % 3 - 1;
    }
    double *work = new_work(w), exact_x[D], exact_x0[D], exact_eps[D];
    for (size_t k = 0; k < vn_prediction_row_count; k++) {
        vn_prediction p;
        vn_denoiser d;
        assert_int_equal(vn_prediction_parse(vn_prediction_rows[k].row.name, &p, &err), VN_OK);
        assert_int_equal(vn_world_denoiser(w, path, &p, crew_of(3), &d, &err), VN_OK);
        vn_query q = {.n = N, .x = x, .level = level, .condition = label};
        assert_int_equal(d.predict(d.self, &q, raw, &err), VN_OK);
        for (int i = 0; i < N; i++) {
            vn_query alone = {.n = 1, .x = x + i * D, .level = level + i, .condition = label + i};
            assert_int_equal(d.predict(d.self, &alone, one, &err), VN_OK);
            assert_memory_equal(one, raw + i * D, sizeof one);
            vn_prediction_to_estimate(&p, &level[i], D, x + i * D, one, x0, eps);
            for (int j = 0; j < D; j++) exact_x[j] = (double)x[i * D + j];
            vn_world_denoise(w, VN_NETWORK_MAIN, label[i], level[i].alpha, level[i].sigma, exact_x,
                             exact_x0, exact_eps, work);
            double lost = 1e-6 / fmin(level[i].alpha, level[i].sigma);
            for (int j = 0; j < D; j++) near((double)x0[j], exact_x0[j], lost);
            for (int j = 0; j < D; j++) near((double)eps[j], exact_eps[j], lost);
        }
        vn_world_denoiser_close(&d);
        assert_null(d.self);
    }
    free(work);
    vn_path_close(&path);
    vn_world_close(&w);
}

static void the_denoiser_refuses_what_it_lacks(void **state) {
    (void)state;
    vn_world *w;
    vn_path *path;
    vn_denoiser d;
    vn_err err;
    float x[1] = {0}, raw[1];
    assert_int_equal(
        parse("{\"classes\": [{\"components\": [{\"mean\": [0], \"std\": 1}]}]}", &w, &err), VN_OK);
    assert_int_equal(vn_path_open("rectified", &path, &err), VN_OK);
    assert_int_equal(vn_world_denoiser(w, path, NULL, NULL, &d, &err), VN_OK);
    assert_string_equal(d.prediction.row->row.name, "v");
    vn_level level = vn_path_level(path, 0.5);
    int32_t label = 1;
    vn_query q = {.n = 1, .x = x, .level = &level, .condition = &label};
    assert_int_equal(d.predict(d.self, &q, raw, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "class 1"));
    label = 0;
    q.network = VN_NETWORK_WEAK;
    assert_int_equal(d.predict(d.self, &q, raw, &err), VN_UNSUPPORTED);
    assert_false((d.can & VN_CAN_WEAK));
    vn_world_denoiser_close(&d);
    vn_path_close(&path);
    vn_world_close(&w);
}

/* ---- files that lie -------------------------------------------------------------------------- */

#define C(components) "{\"classes\": [{\"components\": " components "}]}"

static void lies_are_refused_with_their_place(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"[]", "the world is not an object"},
        {"{}", "no list of classes"},
        {"{\"classes\": []}", "no list of classes"},
        {"{\"classes\": 3}", "no list of classes"},
        {"{\"classes\": [3]}", "classes[0] is not an object"},
        {"{\"klasses\": []}", "'klasses'; did you mean 'classes'?"},
        {C("[]"), "classes[0].components is not a list"},
        {C("{}"), "classes[0].components is not a list"},
        {C("[[]]"), "components[0] is not an object"},
        {C("[{\"std\": 1}]"), "needs a mean"},
        {C("[{\"mean\": [], \"std\": 1}]"), "needs a mean"},
        {C("[{\"mean\": [\"a\"], \"std\": 1}]"), "components[0].mean is not an array of numbers"},
        {C("[{\"mean\": [1e300], \"std\": 1}]"), "above 1e12"},
        {C("[{\"mean\": [0]}]"), "either cov or std"},
        {C("[{\"mean\": [0], \"std\": 1, \"cov\": [[1]]}]"), "either cov or std"},
        {C("[{\"mean\": [0], \"std\": 0}]"), "std is not in"},
        {C("[{\"mean\": [0], \"std\": \"1\"}]"), "std is not in"},
        {C("[{\"mean\": [0], \"std\": -1}]"), "std is not in"},
        {C("[{\"mean\": [0, 0], \"cov\": [[1, 0]]}]"), "square array"},
        {C("[{\"mean\": [0, 0], \"cov\": [[1, 0], [0]]}]"), "has 1 numbers, not 2"},
        {C("[{\"mean\": [0, 0], \"cov\": [[1, 0.5], [0.4, 1]]}]"), "not symmetric"},
        {C("[{\"mean\": [0, 0], \"cov\": [[1, 2], [2, 1]]}]"), "not positive definite"},
        {C("[{\"mean\": [0, 0], \"cov\": [[1, 1], [1, 1]]}]"), "not positive definite"},
        {C("[{\"mean\": [0, 0], \"cov\": [[1, 0], [0, 0]]}]"), "not positive definite"},
        {C("[{\"mean\": [0], \"std\": 1, \"weight\": 0}]"), "sum to 0"},
        {C("[{\"mean\": [0], \"std\": 1, \"weight\": -1}]"), "weight outside"},
        {C("[{\"mean\": [0], \"std\": 1, \"weight\": \"x\"}]"), "weight that is not a number"},
        {C("[{\"mean\": [0], \"std\": 1}, {\"mean\": [0, 1], \"std\": 1}]"),
         "components[1].mean has 2 numbers, not 1"},
        {"{\"class_weights\": [1, 2], \"classes\": [{\"components\": [{\"mean\": [0], \"std\": "
         "1}]}]}",
         "class_weights has 2"},
        {"{\"class_weights\": [-1], \"classes\": [{\"components\": [{\"mean\": [0], \"std\": "
         "1}]}]}",
         "negative"},
        {"{\"class_weights\": [0], \"classes\": [{\"components\": [{\"mean\": [0], \"std\": 1}]}]}",
         "sum to 0"},
        {"{\"classes\": [{\"name\": 3, \"components\": [{\"mean\": [0], \"std\": 1}]}]}",
         "classes[0] has a name"},
        {"{\"unconditional\": 1, \"classes\": [{\"components\": [{\"mean\": [0], \"std\": 1}]}]}",
         "unconditional is not a list"},
        {"{\"weak\": 1, \"classes\": [{\"components\": [{\"mean\": [0], \"std\": 1}]}]}",
         "weak is not an object"},
        {"{\"weak\": {\"classes\": [1, 2]}, \"classes\": [{\"components\": [{\"mean\": [0], "
         "\"std\": 1}]}]}",
         "weak has another number of classes"},
        {"{\"weak\": {\"classes\": [{\"components\": [{\"mean\": [0], \"std\": 0}]}]}, "
         "\"classes\": [{\"components\": "
         "[{\"mean\": "
         "[0], \"std\": 1}]}]}",
         "weak.classes[0].components[0].std"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_world *w = (void *)1;
        vn_err err = {0};
        vn_status status = parse(bad[i][0], &w, &err);
        if (status != VN_BAD_FILE || !strstr(err.text, bad[i][1]))
            fail_msg("%s: %d %s", bad[i][0], status, err.text);
        assert_null(w);
    }
}

static void too_large_is_refused(void **state) {
    (void)state;
    char *large = malloc(8000);
    assert_non_null(large);
    size_t n = (size_t)sprintf(large, "{\"classes\": [{\"components\": [{\"std\": 1, \"mean\": [0");
    for (int i = 0; i < 512; i++) n += (size_t)sprintf(large + n, ",0");
    sprintf(large + n, "]}]}]}");
    vn_world *w;
    vn_err err = {0};
    assert_int_equal(parse(large, &w, &err), VN_BAD_FILE);
    assert_non_null(strstr(err.text, "1 to 512"));
    free(large);
}

static void open_and_close(const char *path) {
    vn_world *w;
    vn_err err = {0};
    vn_status status = vn_world_open(path, &w, &err);
    assert_true(!status || status == VN_BAD_FILE);
    if (status) assert_non_null(strstr(err.text, path));
    vn_world_close(&w);
}

static void damaged_files_are_survived(void **state) {
    (void)state;
    const char *good = "world.json", *damaged = "damaged.json";
    scratch_write(good, text, sizeof text - 1);
    open_and_close(good);
    mutate_each(good, damaged, 1000, open_and_close);
    mutate_truncations(good, damaged, open_and_close);
    vn_world *w;
    vn_err err = {0};
    assert_int_equal(vn_world_open("no/such/world.json", &w, &err), VN_IO);
    assert_non_null(strstr(err.text, "no/such/world.json"));
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    vn_path *path;
    vn_err err;
    assert_int_equal(vn_path_open("vp", &path, &err), VN_OK);
    json_t *json = NULL;
    assert_int_equal(vn_json_parse(text, sizeof text - 1, "world", &json, &err), VN_OK);
    vn_thread_pool *pool = crew_of(2);
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        vn_world *w;
        vn_denoiser d = {0};
        vn_status status = vn_world_from_json(json, &w, &err);
        if (!status) status = vn_world_denoiser(w, path, NULL, pool, &d, &err);
        assert_true(alloc_hit(&t, status) || t.n > 10);
        vn_world_denoiser_close(&d);
        vn_world_close(&w);
    }
    json_decref(json);
    vn_path_close(&path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_gradients),
        cmocka_unit_test(products_with_the_jacobian),
        cmocka_unit_test(one_gaussian_is_linear),
        cmocka_unit_test(classes_make_up_the_whole),
        cmocka_unit_test(eigenvectors_diagonalise),
        cmocka_unit_test(the_denoiser_answers_row_by_row),
        cmocka_unit_test(the_denoiser_refuses_what_it_lacks),
        cmocka_unit_test(lies_are_refused_with_their_place),
        cmocka_unit_test(too_large_is_refused),
        cmocka_unit_test(damaged_files_are_survived),
        cmocka_unit_test(failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
