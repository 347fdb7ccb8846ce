/* test_place.c - where samples go while others write there too: one process at a time has a folder,
 * what others put into it stays, and a model's own files are not written over. */
#include "api/support_context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <fcntl.h>
#include <unistd.h>

#include "api/internal.h"
#include "api/run_dir.h"
#include "api/save.h"
#include "support/scratch.h"

enum { SIDE = 4, SIZE = SIDE * SIDE };

/* ---- a model that does something in the middle of sampling ----------------------------------- */

typedef struct meanwhile {
    void (*act)(void);
    int at, calls; /* the call in which it is done */
    vn_status returns;
} meanwhile;

static vn_status denoise(void *user, const vn_predict_query *q, float *out) {
    meanwhile *m = user;
    for (int64_t i = 0; i < q->n * SIZE; i++) out[i] = 0.1f * q->x[i];
    if (m->act && m->calls++ == m->at) m->act();
    return m->returns;
}

static const char *const same_names[] = {"x", "x", "x", "y,z"};

static vn_model *open_model(meanwhile *m) {
    vn_callback_model spec = vn_callback_model_default();
    vn_model *model = NULL;
    spec.rank = 3;
    spec.shape[0] = 1;
    spec.shape[1] = spec.shape[2] = SIDE;
    spec.classes = 4;
    spec.class_names = same_names;
    spec.has_null = 1;
    spec.predict = denoise;
    spec.user = m;
    expect_ok(vn, vn_model_from_callback(vn, &spec, &model));
    return model;
}

static vn_sample_options few(int64_t count) {
    vn_sample_options o = vn_sample_options_default();
    o.count = count;
    o.steps = 2;
    o.batch = 1;
    return o;
}

/* ---- two into one folder --------------------------------------------------------------------- */

static void sample_too(void) {
    vn_context *other = NULL;
    vn_model *model = NULL;
    static const char *const ways[] = {"refuse", "replace", "append"};
    vn_sample_options o = vn_sample_options_default();
    o.count = 1;
    o.steps = 1;
    assert_int_equal(vn_context_open(&other, NULL), VN_OK);
    vn_callback_model spec = vn_callback_model_default();
    meanwhile nothing = {0};
    spec.rank = 3;
    spec.shape[0] = 1;
    spec.shape[1] = spec.shape[2] = SIDE;
    spec.predict = denoise;
    spec.user = &nothing;
    expect_ok(other, vn_model_from_callback(other, &spec, &model));
    for (int way = 0; way < 3; way++) {
        const vn_status status = vn_sample_to(model, &o, 1, "two", (vn_existing)way, NULL);
        if (status != VN_IO ||
            strcmp(vn_error_text(other), "two is being written by another process") != 0)
            fail_msg("%s: %s", ways[way], vn_error_text(other));
    }
    assert_int_equal(vn_samples_can_save(model, "two"), VN_IO);
    assert_int_equal(vn_sample_check(model, &o, 1, "two", VN_EXISTING_APPEND), VN_IO);
    vn_model_close(&model);
    vn_context_close(&other);
}

/* From the first evaluation on: the folder is not there before. */
static void two_samplings_do_not_share_a_folder(void **state) {
    (void)state;
    meanwhile m = {.act = sample_too};
    vn_model *model = open_model(&m);
    const vn_sample_options o = few(3);
    expect_ok(vn, vn_sample_to(model, &o, 1, "two", VN_EXISTING_REFUSE, NULL));
    assert_int_equal(scratch_count("two"), 3); /* and no lock beside them */
    m.calls = 0;
    expect_ok(vn, vn_sample_to(model, &o, 1, "two/", VN_EXISTING_APPEND, NULL));
    assert_int_equal(scratch_count("two"), 6);
    m.act = NULL;
    expect_ok(vn, vn_sample_to(model, &o, 1, "two", VN_EXISTING_APPEND, NULL));
    assert_int_equal(scratch_count("two"), 9);
    vn_model_close(&model);
}

/* ---- what others put there ------------------------------------------------------------------- */

static void put_foreign(void) {
    scratch_write_text("shared/000001-x-1.png", "mine");
}

static void put_link(void) {
    assert_int_equal(symlink("nowhere", "linked/000001-x-1.png"), 0);
}

static void a_file_that_appears_meanwhile_stays(void **state) {
    (void)state;
    meanwhile m = {.act = put_foreign};
    vn_model *model = open_model(&m);
    const vn_sample_options o = few(3);
    expect_refused(vn_sample_to(model, &o, 1, "shared", VN_EXISTING_REFUSE, NULL), VN_IO,
                   "shared/000001-x-1.png: cannot be written: File exists; 1 of 3 samples are in");
    size_t size;
    char *text = scratch_read("shared/000001-x-1.png", &size);
    assert_string_equal(text, "mine");
    free(text);
    m = (meanwhile){.act = put_link};
    expect_refused(vn_sample_to(model, &o, 1, "linked", VN_EXISTING_REFUSE, NULL), VN_IO,
                   "linked/000001-x-1.png");
    assert_int_equal(access("linked/nowhere", F_OK), -1);
    assert_int_equal(system("ls -A shared linked | grep -q vane-tmp"), 256);
    vn_model_close(&model);
}

static void a_sampling_that_writes_nothing_leaves_no_folder(void **state) {
    (void)state;
    meanwhile m = {.returns = VN_IO};
    vn_model *model = open_model(&m);
    const vn_sample_options o = few(2);
    assert_int_equal(mkdir("there", 0777), 0);
    assert_int_equal(vn_sample_to(model, &o, 1, "there/a//b/c/", VN_EXISTING_REFUSE, NULL), VN_IO);
    assert_int_equal(scratch_count("there"), 0);
    assert_int_equal(vn_sample_to(model, &o, 1, "there", VN_EXISTING_REFUSE, NULL), VN_IO);
    assert_int_equal(scratch_count("there"), 0); /* which is there */
    vn_model_close(&model);
}

/* ---- leftovers ------------------------------------------------------------------------------- */

static void any_output_removes_what_a_killed_process_left_beside_it(void **state) {
    (void)state;
    static const char *const outputs[] = {"left/x.npy", "left/x.safetensors", "left/x.png", "left"};
    meanwhile m = {0};
    vn_model *model = open_model(&m);
    const vn_sample_options o = few(2);
    assert_int_equal(mkdir("left", 0777), 0);
    for (size_t i = 0; i < VN_COUNT(outputs); i++) {
        scratch_write_text("left/.vane-tmp-0123456789abcdef", "");
        expect_ok(vn, vn_sample_to(model, &o, 1, outputs[i], VN_EXISTING_REFUSE, NULL));
        if (access("left/.vane-tmp-0123456789abcdef", F_OK) == 0) fail_msg("%s", outputs[i]);
    }
    vn_model_close(&model);
}

/* ---- models ---------------------------------------------------------------------------------- */

static void a_models_own_files_are_not_written_over(void **state) {
    (void)state;
    static const char *const places[] = {
        "run/vane.json.npy",    "run/x.png", "run/model/diffusion_pytorch_model.safetensors",
        "run/new/x.npy",        "run/state", "link/x.npy",
        "to-run.npy",           "run/new",   "net/x.safetensors",
        "run/previews/../x.png"};
    meanwhile m = {0};
    vn_model *model = open_model(&m);
    const vn_sample_options o = few(1);
    assert_int_equal(system("mkdir -p run/model run/state run/previews net web; echo '{}' > "
                            "run/vane.json; echo '{}' > web/config.json; echo "
                            "'{\"_class_name\": \"X\"}' > net/config.json; ln -s run link; ln -s "
                            "run/state/train.safetensors to-run.npy"),
                     0);
    for (size_t i = 0; i < VN_COUNT(places); i++) {
        const vn_status status = vn_sample_to(model, &o, 1, places[i], VN_EXISTING_REFUSE, NULL);
        if (status != VN_BAD_ARGUMENT ||
            !strstr(vn_error_text(vn), " lies in the folder of a model, "))
            fail_msg("%s: %s", places[i], vn_error_text(vn));
        assert_int_equal(vn_samples_can_save(model, places[i]), VN_BAD_ARGUMENT);
    }
    assert_int_equal(system("test $(find run net | wc -l) = 7"), 0);
    static const char *const free_places[] = {"run/previews/x.png", "run/previews/new",
                                              "web/x.safetensors", "runs.png"};
    for (size_t i = 0; i < VN_COUNT(free_places); i++)
        expect_ok(vn, vn_sample_to(model, &o, 1, free_places[i], VN_EXISTING_REFUSE, NULL));
    static const char *const outputs[] = {"run/vane.json", "run/model/x.safetensors",
                                          "net/config.json"};
    for (size_t i = 0; i < VN_COUNT(outputs); i++)
        expect_refused(vn_forward(vn, "net", "in.safetensors", outputs[i], NULL), VN_BAD_ARGUMENT,
                       "lies in the folder of a model");
    expect_refused(vn_forward(vn, "net", "in.safetensors", "o.safetensors", "run/vane.json"),
                   VN_BAD_ARGUMENT, "lies in the folder of a model");
    vn_model_close(&model);
}

static void a_size_that_the_network_does_not_take_is_refused_at_once(void **state) {
    (void)state;
    vn_model *model = NULL;
    assert_int_equal(mkdir("odd", 0777), 0);
    scratch_write_text("odd/config.json",
                       "{\"_class_name\": \"DiTTransformer2DModel\", \"attention_head_dim\": 8, "
                       "\"num_attention_heads\": 2, \"num_layers\": 1, \"in_channels\": 1, "
                       "\"out_channels\": 1, \"patch_size\": 2, \"sample_size\": 9}");
    scratch_write_text("odd/diffusion_pytorch_model.safetensors", "");
    expect_refused(vn_model_open(vn, "odd", &model), VN_BAD_FILE,
                   "odd: images of 9 x 9 (sample_size); this network needs both sides to be "
                   "multiples of 2");
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void two_new_runs_of_one_name_are_told_apart(void **state) {
    (void)state;
    vn_run_dir first, second;
    vn_err err = {0};
    assert_int_equal(vn_run_dir_begin(&first, "new", false, &err), VN_OK);
    assert_int_equal(vn_run_dir_begin(&second, "new", false, &err), VN_OK);
    assert_int_equal(vn_run_dir_make(&first, &err), VN_OK);
    assert_int_equal(vn_run_dir_make(&second, &err), VN_OK);
    char *file = vn_path_join(first.aside, "vane.json");
    scratch_write_text(file, "{}");
    vn_free(file);
    assert_int_equal(vn_run_dir_name(&first, &err), VN_OK);
    assert_int_equal(vn_run_dir_name(&second, &err), VN_IO);
    assert_string_equal(err.text, "new is being trained by another process");
    vn_run_dir_close(&first, true);
    assert_int_equal(vn_run_dir_name(&second, &err), VN_IO);
    assert_string_equal(err.text, "new was made by another process in the meantime");
    vn_fail(&err, VN_IO, "%s/model/x: cannot be written: No space", second.aside);
    assert_int_equal(vn_run_dir_fail(&second, &err), VN_IO);
    assert_string_equal(err.text, "new/model/x: cannot be written: No space");
    vn_run_dir_close(&second, false);
}

/* ---- words for classes ----------------------------------------------------------------------- */

static const char *setting(const vn_samples *s, const char *key) {
    return vn_band_setting(&s->bands[0], key);
}

static void settings_name_the_class_beyond_doubt(void **state) {
    (void)state;
    static const struct {
        int32_t label;
        const char *word;
    } cases[] = {{0, "0"}, {1, "1"}, {2, "2"}, {3, "y,z"}, {VN_LABEL_NULL, "null"}};
    meanwhile m = {0};
    vn_model *model = open_model(&m);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_sample_options o = few(1);
        vn_samples *s = NULL;
        int32_t label;
        o.label = cases[i].label;
        expect_ok(vn, vn_sample(model, &o, &s));
        assert_string_equal(setting(s, "class"), cases[i].word);
        expect_ok(vn, vn_model_find_label(model, setting(s, "class"), &label));
        assert_int_equal(label, cases[i].label);
        vn_samples_close(&s);
    }
    int32_t label = 7;
    expect_refused(vn_model_find_label(model, "x", &label), VN_BAD_ARGUMENT,
                   "class x: callback has several called so, 0, 1 and 2: say which by its number");
    assert_int_equal(label, 7);
    vn_sample_options o = few(2);
    vn_samples *s = NULL;
    o.guidance = 2;
    o.guide = "negative:class=x";
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT,
                   "negative: class=x: several classes of the model are called so, 0, 1 and 2");
    o.guide = NULL;
    o.cycle = (const int32_t[]){0, 2};
    o.cycle_count = 2;
    expect_ok(vn, vn_sample(model, &o, &s));
    assert_string_equal(setting(s, "class"), "0,2");
    expect_ok(vn, vn_samples_save(s, "classes"));
    json_t *picture = NULL;
    assert_int_equal(vn_png_describe("classes/000001-x-2.png", &picture, NULL), VN_OK);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(picture, "text"), "class")), "2");
    json_decref(picture);
    vn_samples_close(&s);
    vn_model_close(&model);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static void what_is_asked_of_nothing_is_nothing(void **state) {
    (void)state;
    int64_t shape[3] = {7, 7, 7}, levels = 7;
    vn_model_info info = vn_model_info_default();
    assert_int_equal(vn_model_get_info(NULL, &info), VN_BAD_ARGUMENT);
    assert_null(vn_model_fingerprint(NULL));
    assert_null(vn_model_label_name(NULL, 0));
    assert_int_equal(vn_samples_count(NULL), 0);
    assert_int_equal(vn_samples_shape(NULL, shape), 0);
    assert_int_equal(vn_samples_passes(NULL), 0);
    assert_null(vn_samples_data(NULL));
    assert_null(vn_samples_labels(NULL));
    assert_null(vn_samples_guidance(NULL));
    assert_null(vn_samples_trace(NULL, &levels));
    assert_int_equal(levels, 0);
    assert_null(vn_samples_trace(NULL, NULL));
    assert_null(vn_samples_trace_times(NULL));
    meanwhile m = {0};
    vn_model *model = open_model(&m);
    const vn_sample_options o = few(1);
    vn_samples *s = NULL;
    expect_ok(vn, vn_sample(model, &o, &s));
    assert_int_equal(vn_samples_shape(s, NULL), 3);
    vn_samples_close(&s);
    vn_model_close(&model);
}

static vn_status sample_of(vn_model *model, vn_sample_options o) {
    vn_samples *s = NULL;
    const vn_status status = vn_sample(model, &o, &s);
    assert_null(s);
    return status;
}

static void numbers_that_are_too_large_are_refused_with_their_bound(void **state) {
    (void)state;
    meanwhile m = {0};
    vn_model *model = open_model(&m);
    vn_sample_options o = few(INT64_MAX);
    expect_refused(sample_of(model, o), VN_BAD_ARGUMENT,
                   "`count` 9223372036854775807 is outside [1, 2147483647]");
    o = few(1);
    o.batch = INT64_MAX;
    expect_refused(sample_of(model, o), VN_BAD_ARGUMENT,
                   "`batch` 9223372036854775807 is outside [1, 2147483647]");
    const float x = 0;
    const int32_t label = 0;
    double log_p;
    expect_refused(vn_log_likelihood(model, NULL, INT64_MAX, &x, &label, &log_p, NULL),
                   VN_BAD_ARGUMENT, "more than memory can hold");
    vn_model_close(&model);

    vn_callback_model spec = vn_callback_model_default();
    spec.predict = denoise;
    spec.classes = INT32_MAX;
    expect_refused(vn_model_from_callback(vn, &spec, &model), VN_BAD_ARGUMENT,
                   "classes: 2147483647 is outside [0, 1048576]: each has a name in memory");
    spec.classes = 0;
    spec.rank = 3;
    spec.shape[0] = spec.shape[1] = spec.shape[2] = 65536;
    expect_refused(vn_model_from_callback(vn, &spec, &model), VN_BAD_ARGUMENT,
                   "shape [65536, 65536, 65536]");
    spec.shape[0] = 1;
    spec.shape[1] = spec.shape[2] = 32768;
    spec.user = &m;
    expect_ok(vn, vn_model_from_callback(vn, &spec, &model));
    o = few(INT32_MAX);
    expect_refused(sample_of(model, o), VN_BAD_ARGUMENT, "more than a file can hold");
    vn_model_close(&model);
    vn_train_options t = vn_train_options_default();
    t.steps = 1;
    t.seed = 9210000000000000000u;
    expect_refused(vn_train(vn, "points:rings", "never", &t, NULL), VN_BAD_ARGUMENT,
                   "`seed` 9210000000000000000 is outside [0, 9200000000000000000]");
}

static void what_is_no_vn_existing_is_refused(void **state) {
    (void)state;
    meanwhile m = {0};
    vn_model *model = open_model(&m);
    const vn_sample_options o = few(1);
    for (int i = -1; i < 4; i += 4) {
        expect_refused(vn_sample_to(model, &o, 1, "existing", (vn_existing)i, NULL),
                       VN_BAD_ARGUMENT, "is no vn_existing");
        expect_refused(vn_sample_check(model, &o, 1, "x.npy", (vn_existing)i), VN_BAD_ARGUMENT,
                       "is no vn_existing");
    }
    scratch_write_text("file.npy", "");
    expect_refused(vn_sample_to(model, &o, 1, "file.npy", VN_EXISTING_APPEND, NULL),
                   VN_BAD_ARGUMENT, "file.npy: samples are appended to a folder, not to a file");
    vn_model_close(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_samplings_do_not_share_a_folder),
        cmocka_unit_test(a_file_that_appears_meanwhile_stays),
        cmocka_unit_test(a_sampling_that_writes_nothing_leaves_no_folder),
        cmocka_unit_test(any_output_removes_what_a_killed_process_left_beside_it),
        cmocka_unit_test(a_models_own_files_are_not_written_over),
        cmocka_unit_test(a_size_that_the_network_does_not_take_is_refused_at_once),
        cmocka_unit_test(two_new_runs_of_one_name_are_told_apart),
        cmocka_unit_test(settings_name_the_class_beyond_doubt),
        cmocka_unit_test(what_is_asked_of_nothing_is_nothing),
        cmocka_unit_test(numbers_that_are_too_large_are_refused_with_their_bound),
        cmocka_unit_test(what_is_no_vn_existing_is_refused),
    };
    return cmocka_run_group_tests(tests, context_enter_once, context_leave);
}
