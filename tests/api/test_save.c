/* test_save.c - samples on disk: what a file or folder says of each sample, and which name it has. */
#include "api/support_api.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "image/image.h"
#include "store/store.h"
#include "support/scratch.h"

enum { SIDE = 4, SIZE = SIDE * SIDE };

/* ---- a model of small pictures: brighter under one class than the other, and shaped by the noise ------------- */

static vn_status denoise(void *user, const vn_predict_query *q, float *out) {
    (void)user;
    for (int64_t i = 0; i < q->n * SIZE; i++) out[i] = 0.25f * (float)(q->labels[i / SIZE] + 1) + 0.4f * tanhf(q->x[i]);
    return VN_OK;
}

static vn_model *open_pictures(vn_context *vn, const char *const *names, int32_t classes) {
    vn_callback_model spec = vn_callback_model_default();
    spec.rank = 3;
    spec.shape[0] = 1;
    spec.shape[1] = spec.shape[2] = SIDE;
    spec.classes = classes;
    spec.class_names = names;
    spec.has_null = 1;
    spec.predict = denoise;
    vn_model *model = NULL;
    expect_ok(vn, vn_model_from_callback(vn, &spec, &model));
    return model;
}

typedef struct fixture {
    vn_context *vn;
    vn_model *model;
} fixture;

static fixture begin(const char *const *names, int32_t classes) {
    fixture f = {0};
    assert_int_equal(vn_context_open(&f.vn, NULL), VN_OK);
    f.model = open_pictures(f.vn, names, classes);
    return f;
}

static void end(fixture *f) {
    vn_model_close(&f->model);
    vn_context_close(&f->vn);
}

static const char *const shoes[] = {"sandal", "boot"};

static vn_sample_options few(int64_t count, double guidance, const char *guide) {
    vn_sample_options o = vn_sample_options_default();
    o.count = count;
    o.steps = 4;
    o.seed = 3;
    o.guidance = guidance;
    o.guide = guide;
    o.path = "rectified";
    return o;
}

static vn_samples *draw(const fixture *f, vn_sample_options o) {
    vn_samples *out = NULL;
    expect_ok(f->vn, vn_sample(f->model, &o, &out));
    return out;
}

/* Samples of all options, as bands. */
static vn_samples *draw_bands(const fixture *f, const vn_sample_options *o, int count) {
    vn_samples *all = draw(f, o[0]);
    for (int i = 1; i < count; i++) {
        vn_samples *more = draw(f, o[i]);
        expect_ok(f->vn, vn_samples_append(all, more));
        vn_samples_close(&more);
    }
    return all;
}

/* ---- which guidance a sample had ------------------------------------------------------------------------------- */

static void test_each_sample_says_its_guidance(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_samples *s = draw_bands(&f, (vn_sample_options[]){few(3, 1, NULL), few(3, 2.5, NULL)}, 2);
    static const double expected[] = {1, 1, 1, 2.5, 2.5, 2.5};
    assert_memory_equal(vn_samples_guidance(s), expected, sizeof expected);
    expect_ok(f.vn, vn_samples_save(s, "bands.safetensors"));
    vn_samples_close(&s);

    vn_safetensors *st = NULL;
    const vn_file_tensor *t = NULL;
    assert_int_equal(vn_safetensors_open("bands.safetensors", &st, NULL), VN_OK);
    assert_int_equal(vn_safetensors_get(st, "guidance", &t, NULL), VN_OK);
    assert_int_equal(t->dtype, VN_FILE_F64);
    assert_int_equal(t->shape.rank, 1);
    assert_int_equal(t->shape.dim[0], 6);
    assert_memory_equal(t->data, expected, sizeof expected);
    json_t *bands = json_loads(json_string_value(json_object_get(vn_safetensors_metadata(st), "bands")), 0, NULL);
    json_t *same = json_loads("[{\"first\":0,\"count\":3,\"guidance\":1.0,\"guide\":\"cfg\",\"seed\":\"3\"},"
                              "{\"first\":3,\"count\":3,\"guidance\":2.5,\"guide\":\"cfg\",\"seed\":\"3\"}]",
                              0, NULL);
    assert_true(json_equal(bands, same));
    json_decref(bands);
    json_decref(same);
    vn_safetensors_close(&st);
    end(&f);
}

static void expect_files(const char *folder, const char *const *names, int count) {
    char path[256];
    assert_int_equal(scratch_count(folder), count);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (access(path, R_OK) != 0) fail_msg("there is no %s", path);
    }
}

static void test_names_in_a_folder_tell_bands_apart(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    const struct {
        const char *folder;
        vn_sample_options bands[2];
        const char *names[4];
    } cases[] = {
        {"one", {few(2, 2, NULL)}, {"000000-sandal.png", "000001-boot.png"}},
        {"guidance",
         {few(2, 1, NULL), few(2, 2.5, NULL)},
         {"000000-g1-sandal.png", "000001-g1-boot.png", "000000-g2.5-sandal.png", "000001-g2.5-boot.png"}},
        {"guides",
         {few(2, 2, NULL), few(2, 2, "cfg,rescale")},
         {"000000-cfg-sandal.png", "000001-cfg-boot.png", "000000-cfg-rescale-sandal.png",
          "000001-cfg-rescale-boot.png"}},
        {"both",
         {few(2, 1, NULL), few(2, 2, "apg")},
         {"000000-g1-cfg-sandal.png", "000001-g1-cfg-boot.png", "000000-g2-apg-sandal.png", "000001-g2-apg-boot.png"}},
        {"same",
         {few(2, 2, NULL), few(2, 2, NULL)},
         {"000000-b1-sandal.png", "000001-b1-boot.png", "000000-b2-sandal.png", "000001-b2-boot.png"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int bands = cases[i].bands[1].count ? 2 : 1;
        vn_samples *s = draw_bands(&f, cases[i].bands, bands);
        expect_ok(f.vn, vn_samples_save(s, cases[i].folder));
        expect_files(cases[i].folder, cases[i].names, 2 * bands);
        vn_samples_close(&s);
    }
    end(&f);
}

static const char *setting(json_t *text, const char *key) {
    const char *value = json_string_value(json_object_get(text, key));
    if (!value) fail_msg("the picture does not say its %s", key);
    return value;
}

/* What the picture says draws its pixels again, alone. */
static void test_a_picture_of_a_folder_says_how_to_draw_it_again(void **state) {
    (void)state;
    fixture f = begin(shoes, 2);
    vn_sample_options bands[] = {few(6, 1, NULL), few(6, 2.5, "apg")};
    bands[0].first = bands[1].first = 4;
    vn_samples *s = draw_bands(&f, bands, 2);
    expect_ok(f.vn, vn_samples_save(s, "again"));
    vn_samples_close(&s);
    json_t *picture = NULL;
    assert_int_equal(vn_png_describe("again/000007-g2.5-apg-boot.png", &picture, NULL), VN_OK);
    json_t *text = json_object_get(picture, "text");
    assert_string_equal(setting(text, "index"), "7");
    assert_string_equal(setting(text, "count"), "1");
    vn_sample_options o = few(atoi(setting(text, "count")), atof(setting(text, "guidance")), setting(text, "guide"));
    o.seed = strtoull(setting(text, "seed"), NULL, 10);
    o.first = strtoull(setting(text, "first"), NULL, 10);
    o.steps = atoi(setting(text, "steps"));
    expect_ok(f.vn, vn_model_find_label(f.model, setting(text, "class"), &o.label));
    s = draw(&f, o);
    vn_image then = {0}, now = {0};
    assert_int_equal(vn_image_read("again/000007-g2.5-apg-boot.png", &then, NULL), VN_OK);
    assert_int_equal(vn_image_from_sample(vn_samples_data(s), 1, SIDE, SIDE, &now, NULL), VN_OK);
    assert_memory_equal(now.pixels, then.pixels, SIZE);
    vn_image_free(&then);
    vn_image_free(&now);
    json_decref(picture);
    vn_samples_close(&s);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_sample_says_its_guidance),
        cmocka_unit_test(test_names_in_a_folder_tell_bands_apart),
        cmocka_unit_test(test_a_picture_of_a_folder_says_how_to_draw_it_again),
    };
    return cmocka_run_group_tests_name("samples on disk", tests, scratch_enter, scratch_leave);
}
