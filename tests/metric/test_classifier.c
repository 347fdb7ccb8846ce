/* test_classifier.c - features and accuracy by a classifier of vane's own: a small one with random
 * weights, in a directory. */
#include <math.h>

#include "metric/support_metric.h"
#include "store/store.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { N = 90, CLASSES = 3, WIDTH = 8 };

static vn_err err;
static float x[2 * N], features[N * WIDTH], logits[N * CLASSES], head[CLASSES * WIDTH],
    bias[CLASSES];

static vn_device device;
static const vn_shape point = {.rank = 1, .dim = {2}};

#define CONFIG                                                                                     \
    "{\"_class_name\": \"VaneClassifier\", \"input\": \"points\", \"in_channels\": 2, "            \
    "\"num_classes\": 3, \"block_out_channels\": [8], \"layers_per_block\": 1, \"time\": %s}"

/* A run with random weights, trained on this path; NULL: a plain folder without one. */
static void make_classifier(const char *dir, const char *time, const char *path) {
    const char *folder = path ? "/classifier" : "";
    char *text = vn_format(CONFIG, time), *inside = vn_format("%s%s", dir, folder),
         *file = vn_format("%s%s/config.json", dir, folder),
         *weights = vn_format("%s%s/diffusion_pytorch_model.safetensors", dir, folder),
         *vane = vn_format("%s/vane.json", dir), *index = vn_format("%s/model_index.json", dir);
    json_t *config = NULL;
    vn_net *net = NULL;
    assert_true(text && inside && file && weights && vane && index);
    mkdir(dir, 0777);
    mkdir(inside, 0777);
    scratch_write_text(file, text);
    if (path) {
        char *says = vn_format("{\"path\": \"%s\", \"predict\": \"x0\"}", path);
        assert_non_null(says);
        scratch_write_text(vane, says);
        scratch_write_text(index, "{\"_class_name\": \"VaneClassifier\", \"classifier\": "
                                  "[\"vane\", \"VaneClassifier\"]}");
        vn_free(says);
    }
    assert_int_equal(vn_json_read(file, &config, &err), VN_OK);
    assert_int_equal(vn_net_open(config, &net, &err), VN_OK);
    const vn_weights *w = vn_net_weights(net);
    float *values = vn_calloc(vn_weights_floats(w), sizeof *values);
    assert_non_null(values);
    vn_weights_init(w, values, 11);
    const vn_weight *last = vn_weights_find(w, "head.weight");
    vn_weight_to_file(last, values + last->offset, head);
    const vn_weight *of_bias = vn_weights_find(w, "head.bias");
    vn_weight_to_file(of_bias, values + of_bias->offset, bias);
    if (vn_store_save_weights(weights, w, values, -1, &err) != VN_OK) fail_msg("%s", err.text);
    vn_free(values);
    vn_net_close(&net);
    json_decref(config);
    vn_free(text);
    vn_free(file);
    vn_free(weights);
    vn_free(vane);
    vn_free(inside);
    vn_free(index);
}

static int prepare(void **state) {
    scratch_enter(state);
    vn_random_normal(x, 2 * N, 3, VN_STREAM_TEST, 0, 0);
    make_classifier("clf", "false", NULL);
    return vn_device_open(vn_cpu_row(NULL, &err), NULL, NULL, &device, &err) ? -1 : 0;
}

static int leave(void **state) {
    vn_device_close(&device);
    return scratch_leave(state);
}

static void extract(const char *dir, float *out, float *of_logits) {
    vn_extractor *e = NULL;
    const vn_engine engine = {.device = &device};
    if (vn_extractor_open(dir, &point, &engine, &e, &err) != VN_OK) fail_msg("%s", err.text);
    assert_int_equal(vn_extractor_classes(e), CLASSES);
    assert_int_equal(vn_extractor_width(e), WIDTH);
    assert_int_equal(strncmp(vn_extractor_name(e), "classifier-", 11), 0);
    assert_int_equal(vn_extractor_run(e, N, x, out, of_logits, &err), VN_OK);
    vn_extractor_close(&e);
}

/* Logits are the last layer of the features. */
static void test_features_are_what_the_last_layer_sees(void **state) {
    (void)state;
    extract("clf", features, logits);
    double worst = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < CLASSES; k++) {
            double sum = (double)bias[k];
            for (int j = 0; j < WIDTH; j++)
                sum += (double)head[k * WIDTH + j] * (double)features[i * WIDTH + j];
            worst = fmax(worst, fabs(sum - (double)logits[i * CLASSES + k]));
        }
    print_message("logits: off by %.1e\n", worst);
    assert_true(worst < 2e-6); /* measured: 2.4e-7 */
}

/* A classifier of noisy samples is told the least noise of its own path: of edm the log of sigma,
 * which at 0 is no number. */
static void test_clean_samples_have_a_time(void **state) {
    (void)state;
    static float of_edm[N * WIDTH], of_flow[N * WIDTH];
    make_classifier("noisy-edm", "true", "edm");
    make_classifier("noisy-flow", "true", "rectified");
    extract("noisy-edm", of_edm, NULL);
    extract("noisy-flow", of_flow, NULL);
    for (int i = 0; i < N * WIDTH; i++) assert_true(isfinite(of_edm[i]) && isfinite(of_flow[i]));
    assert_memory_not_equal(of_edm, of_flow, sizeof of_edm);
}

static void test_accuracy_counts_and_says_how_sure_it_is(void **state) {
    (void)state;
    int32_t labels[N];
    extract("clf", features, logits);
    double nll = 0;
    for (int i = 0; i < N; i++) {
        const float *l = logits + i * CLASSES;
        labels[i] = l[1] > l[0] ? (l[2] > l[1] ? 2 : 1) : (l[2] > l[0] ? 2 : 0);
        if (i % 3 == 0) labels[i] = (labels[i] + 1) % CLASSES; /* a third is wrong */
        double sum = 0;
        for (int k = 0; k < CLASSES; k++) sum += exp((double)l[k]);
        nll += (log(sum) - (double)l[labels[i]]) / N;
    }
    vn_set set = set_of(&point, N, x, labels);
    if (measure_sets("accuracy", "clf", &set, NULL, NULL, 1, &err) != VN_OK)
        fail_msg("%s", err.text);
    const vn_eval_row *row = row_of("accuracy");
    assert_true(fabs(row->value - 2 / 3.0) < 1e-15);
    /* Wilson's, of 60 of 90, by its formula in Python */
    assert_true(fabs(row->low - 0.5642231776063374) < 1e-12);
    assert_true(fabs(row->high - 0.7554649472055536) < 1e-12);
    assert_true(fabs(row_of("class-nll")->value - nll) < 1e-6);
    labels[7] = 5;
    assert_int_equal(measure_sets("accuracy", "clf", &set, NULL, NULL, 1, &err), VN_BAD_ARGUMENT);
    assert_non_null(
        strstr(err.text, "sample 7 of a set is of class 5, and the classifier knows 3"));
    set.labels = NULL;
    assert_int_equal(measure_sets("accuracy", "clf", &set, NULL, NULL, 1, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "has no labels"));
}

static void test_what_has_no_features_is_named(void **state) {
    (void)state;
    const vn_engine engine = {.device = &device};
    const vn_shape wide = VN_SHAPE(3);
    vn_extractor *e = NULL;
    assert_int_equal(vn_extractor_open("clf", &wide, &engine, &e, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "features of samples [2], and these are [3]"));
    assert_int_equal(vn_extractor_open("rando", &point, &engine, &e, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "'rando'"));
    assert_non_null(strstr(err.text, "directory of a classifier"));
    assert_int_equal(vn_extractor_open("random", &point, &engine, &e, &err), VN_BAD_ARGUMENT);
    assert_non_null(strstr(err.text, "of images"));
    mkdir("mlp", 0777);
    scratch_write_text("mlp/config.json",
                       "{\"_class_name\": \"VaneMLP\", \"dimension\": 2, \"width\": 8}");
    assert_int_not_equal(vn_extractor_open("mlp", &point, &engine, &e, &err), VN_OK);
    assert_null(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features_are_what_the_last_layer_sees),
        cmocka_unit_test(test_clean_samples_have_a_time),
        cmocka_unit_test_teardown(test_accuracy_counts_and_says_how_sure_it_is, forget_rows),
        cmocka_unit_test(test_what_has_no_features_is_named),
    };
    return cmocka_run_group_tests(tests, prepare, leave);
}
