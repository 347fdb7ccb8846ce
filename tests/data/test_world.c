/* test_world.c - points drawn from a world file, and the distribution that data hands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/bound.h"
#include "support/scratch.h"
#include "support_data.h"

enum { COUNT = 20000 };

static void write_world(void) {
    scratch_write_text(
        "world.json",
        "{\"classes\": [{\"name\": \"a\", \"components\": [{\"mean\": [1, 0, -1], \"std\": 0.5}]},"
        " {\"name\": \"b\", \"components\": [{\"mean\": [-1, 2, 0], \"cov\": [[0.3, 0.1, 0],"
        " [0.1, 0.2, 0], [0, 0, 0.1]]}]}], \"class_weights\": [3, 1]}");
}

/* Weights, means and covariances of the classes, within four standard errors. */
static void points_are_the_worlds(void **state) {
    (void)state;
    static const double mean[2][3] = {{1, 0, -1}, {-1, 2, 0}};
    static const double cov[2][3][3] = {{{0.25, 0, 0}, {0, 0.25, 0}, {0, 0, 0.25}},
                                        {{0.3, 0.1, 0}, {0.1, 0.2, 0}, {0, 0, 0.1}}};
    static int32_t labels[COUNT];
    write_world();
    vn_data *data = must_open("world.json:count=20000", &(vn_data_options){.seed = 3});
    const vn_data_info *info = vn_data_get_info(data);
    assert_string_equal(info->source, "world");
    assert_true(!vn_shape_is_image(&info->sample) && info->sample.dim[0] == 3 &&
                info->count == COUNT && info->classes == 2);
    assert_string_equal(vn_data_class_name(data, 1), "b");
    float *x = read_all(data, labels);
    double n[2] = {0}, first[2][3] = {{0}}, second[2][3][3] = {{{0}}};
    for (int i = 0; i < COUNT; i++) {
        const int k = labels[i];
        n[k]++;
        for (int a = 0; a < 3; a++) {
            first[k][a] += (double)x[3 * i + a];
            for (int b = 0; b < 3; b++)
                second[k][a][b] +=
                    ((double)x[3 * i + a] - mean[k][a]) * ((double)x[3 * i + b] - mean[k][b]);
        }
    }
    expect_small(fabs(n[0] / COUNT - 0.75), 6 * sqrt(0.75 * 0.25 / COUNT));
    for (int k = 0; k < 2; k++)
        for (int a = 0; a < 3; a++) {
            expect_small(fabs(first[k][a] / n[k] - mean[k][a]), 6 * sqrt(cov[k][a][a] / n[k]));
            for (int b = 0; b < 3; b++)
                expect_small(fabs(second[k][a][b] / n[k] - cov[k][a][b]),
                             6 * sqrt((cov[k][a][a] * cov[k][b][b] + pow(cov[k][a][b], 2)) / n[k]));
        }
    free(x);
    vn_data_close(&data);
}

static void points_are_keyed(void **state) {
    (void)state;
    write_world();
    vn_data *few = must_open("world.json:count=50", &(vn_data_options){.seed = 4}),
            *many = must_open("world.json", &(vn_data_options){.seed = 4}),
            *other = must_open("world.json:count=50", &(vn_data_options){.seed = 5});
    assert_int_equal(vn_data_get_info(many)->count, 10000);
    must_be_keyed(few, many, other, 150);
}

/* Data whose density is known hands it on: worlds, and the one toy that is a mixture of
 * Gaussians. */
static void truth_is_handed_on(void **state) {
    (void)state;
    static const double origin[2] = {0, 0};
    write_world();
    vn_data *data = must_open("world.json:count=5", &(vn_data_options){.seed = 1});
    assert_int_equal(vn_world_size(vn_data_world(data)), 3);
    vn_data_close(&data);
    data = must_open("points:moons:count=5", &(vn_data_options){.seed = 1});
    assert_null(vn_data_world(data));
    vn_data_close(&data);
    data = must_open("points:gaussians:noise=0,count=5", &(vn_data_options){.seed = 1});
    assert_null(vn_data_world(data));
    vn_data_close(&data);
    data = must_open("points:gaussians:noise=0.3,count=5", &(vn_data_options){.seed = 1});
    const vn_world *w = vn_data_world(data);
    double *work = malloc(vn_world_work(w) * sizeof *work);
    assert_int_equal(vn_world_classes(w), 8);
    /* at the centre of the circle all eight are at 0.8 from the point */
    const double want = -0.64 / (2 * 0.09) - log(2 * acos(-1.0) * 0.09);
    for (int32_t label = VN_LABEL_NULL; label < 8; label++)
        expect_small(
            fabs(vn_world_log_density(w, VN_NETWORK_MAIN, label, 1, 0, origin, work) - want), 1e-5);
    const double third[2] = {0, 0.8}; /* class 2, up */
    expect_small(fabs(vn_world_log_density(w, VN_NETWORK_MAIN, 2, 1, 0, third, work) +
                      log(2 * acos(-1.0) * 0.09)),
                 1e-6);
    free(work);
    vn_data_close(&data);
}

static void refuses_by_name(void **state) {
    (void)state;
    const vn_data_options plain = {.seed = 1};
    write_world();
    scratch_write_text("other.json", "{\"clases\": []}");
    must_refuse("absent.json", &plain, VN_IO, "absent.json");
    must_refuse("world.json:cuont=5", &plain, VN_BAD_ARGUMENT, "count");
    must_refuse("world.json:count=0", &plain, VN_BAD_ARGUMENT, "count");
    must_refuse("other.json", &plain, VN_BAD_FILE,
                "other.json: the world has an unknown key 'clases'");
    must_refuse("world.json", &(vn_data_options){.flip = true}, VN_BAD_ARGUMENT,
                "flip has no effect on points");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_are_the_worlds),
        cmocka_unit_test(points_are_keyed),
        cmocka_unit_test(truth_is_handed_on),
        cmocka_unit_test(refuses_by_name),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
