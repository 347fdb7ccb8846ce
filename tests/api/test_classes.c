/* test_classes.c - which rows of a network's class table are classes and which is null: of models
 * made elsewhere, and of runs. */
#include "api/support_context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "support/kernels.h"
#include "support/scratch.h"

/* A UNet2DModel of num_class_embeds 3 with its scheduler, as diffusers 0.42.1 saved them, without
 * vane.json. */
#define FOREIGN VN_SOURCE_DIR "/tests/cases/three_classes_no_null"

enum { SIZE = 64 };

static vn_model *open_with(const char *source, int32_t null_class) {
    vn_model *m = NULL;
    const vn_model_options o = {.struct_size = sizeof o, .null_class = null_class};
    expect_ok(vn, vn_model_open_with(vn, source, &o, &m));
    return m;
}

static void refuse_with(const char *source, int32_t null_class, const char *words) {
    vn_model *m = NULL;
    const vn_model_options o = {.struct_size = sizeof o, .null_class = null_class};
    expect_refused(vn_model_open_with(vn, source, &o, &m), VN_BAD_ARGUMENT, words);
    assert_null(m);
}

static vn_sample_options options_of(int32_t label, double guidance) {
    vn_sample_options o = vn_sample_options_default();
    o.count = 1;
    o.label = label;
    o.guidance = guidance;
    o.steps = 3;
    return o;
}

/* One sample of a class. */
static void draw(vn_model *m, int32_t label, double guidance, float x[SIZE]) {
    vn_samples *s = NULL;
    const vn_sample_options o = options_of(label, guidance);
    expect_ok(vn, vn_sample(m, &o, &s));
    memcpy(x, vn_samples_data(s), SIZE * sizeof *x);
    vn_samples_close(&s);
}

static void refuse(vn_model *m, int32_t label, double guidance, const char *guide,
                   const char *words) {
    vn_samples *s = NULL;
    vn_sample_options o = options_of(label, guidance);
    o.guide = guide;
    expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT, words);
    assert_null(s);
}

static void all_rows_of_a_foreign_table_are_classes(void **state) {
    (void)state;
    vn_model *m = open_with(FOREIGN, -1);
    vn_model_info info = info_of(m);
    assert_int_equal(info.classes, 3);
    assert_int_equal(info.has_null, 0);
    assert_string_equal(vn_model_label_name(m, 2), "2");
    vn_samples *s = NULL;
    vn_sample_options o = options_of(VN_LABEL_ALL, 1);
    o.count = 7;
    expect_ok(vn, vn_sample(m, &o, &s));
    for (int i = 0; i < 7; i++) assert_int_equal(vn_samples_labels(s)[i], i % 3);
    vn_samples_close(&s);
    float x[3][SIZE];
    for (int i = 0; i < 3; i++) draw(m, i, 1, x[i]);
    assert_true(memcmp(x[0], x[1], sizeof x[0]) && memcmp(x[1], x[2], sizeof x[0]) &&
                memcmp(x[0], x[2], sizeof x[0]));
    int32_t label = 7;
    expect_ok(vn, vn_model_find_label(m, "2", &label));
    assert_int_equal(label, 2);
    expect_refused(vn_model_find_label(m, "3", &label), VN_BAD_ARGUMENT,
                   "class 3: " FOREIGN " has classes 0 to 2");
    refuse(m, 3, 1, NULL, "class 3: " FOREIGN " has classes 0 to 2");
    refuse(m, VN_LABEL_NULL, 1, NULL, "has no null condition, only classes 0 to 2");
    vn_model_close(&m);
}

static void guidance_without_null_names_the_guides_that_need_none(void **state) {
    (void)state;
    vn_model *m = open_with(FOREIGN, -1);
    static const char *const able[] = {
        "guides that do without: negative, autoguidance (with a weak model), icg, tsg; at",
        "tsg; at guidance 1: energy (with a reward), fk (with a reward), momentum, higs",
        "higs, pag, seg, slg, stg, s2, tpg, pladis; beside them: ", "interval, schedule"};
    for (size_t i = 0; i < sizeof able / sizeof *able; i++) refuse(m, 0, 2, NULL, able[i]);
    /* What guides at guidance 1 leaves the rule to cfg. */
    refuse(m, 0, 2, "pag", "guidance 2 by cfg needs the null condition");
    refuse(m, 0, 2, NULL,
           "guidance 2 by cfg needs the null condition, which this model does not have");
    assert_null(strstr(vn_error_text(vn), "perp-neg"));
    assert_null(strstr(vn_error_text(vn), "apg"));
    refuse(m, 0, 1, "cfg-plus-plus", "guidance 1 by cfg-plus-plus needs the null condition");
    static const char *const guides[] = {"negative", "icg,interval", "tsg", "pag",
                                         "seg",      "slg",          "stg", "pladis,icg"};
    for (size_t i = 0; i < sizeof guides / sizeof *guides; i++) {
        vn_samples *s = NULL;
        vn_sample_options o = options_of(1, i >= 3 && i < 7 ? 1 : 2);
        o.guide = guides[i];
        expect_ok(vn, vn_sample(m, &o, &s));
        vn_samples_close(&s);
    }
    vn_model_close(&m);
}

static void the_null_row_may_be_named(void **state) {
    (void)state;
    vn_model *whole = open_with(FOREIGN, -1);
    for (int32_t row = 0; row < 3; row++) {
        vn_model *m = open_with(FOREIGN, row);
        const vn_model_info info = info_of(m);
        assert_int_equal(info.classes, 2);
        assert_true(info.has_null);
        float x[SIZE], truth[SIZE];
        for (int32_t label = 0; label < 2; label++) {
            /* the row that it stands for, and is named by */
            const int32_t of = label + (label >= row);
            char name[16];
            snprintf(name, sizeof name, "%d", (int)of);
            assert_string_equal(vn_model_label_name(m, label), name);
            draw(m, label, 1, x);
            draw(whole, of, 1, truth);
            assert_memory_equal(x, truth, sizeof x);
        }
        draw(m, VN_LABEL_NULL, 1, x);
        draw(whole, row, 1, truth);
        assert_memory_equal(x, truth, sizeof x);
        draw(m, 0, 0, x); /* guidance 0 is null */
        assert_memory_equal(x, truth, sizeof x);
        draw(m, 0, 3, x);
        assert_true(memcmp(x, truth, sizeof x) != 0);
        vn_model_close(&m);
    }
    vn_model_close(&whole);
}

static void a_null_row_without_effect_is_refused(void **state) {
    (void)state;
    make_world("world.json");
    make_data("data", 12);
    const vn_train_options o = tiny_options(1);
    expect_ok(vn, vn_train(vn, "data", "run", &o, NULL));
    refuse_with(FOREIGN, 3, "`null_class` 3: the class table of " FOREIGN " has 3 rows");
    refuse_with(FOREIGN, -2, "`null_class` -2");
    refuse_with("world.json", 0, "`null_class` 0 has no effect on a world");
    refuse_with("run", 2, "`null_class` 2: run says itself");
}

static void a_run_keeps_its_last_row_as_null(void **state) {
    (void)state;
    make_data("data", 12);
    vn_train_options o = tiny_options(1);
    o.overwrite = 1;
    expect_ok(vn, vn_train(vn, "data", "run", &o, NULL));
    vn_model *m = open_with("run", -1);
    const vn_model_info info = info_of(m);
    assert_int_equal(info.classes, 2);
    assert_true(info.has_null);
    int32_t label = 0;
    expect_refused(vn_model_find_label(m, "2", &label), VN_BAD_ARGUMENT,
                   "class 2: run has classes 0 to 1; null is the word for none");
    float x[SIZE];
    draw(m, 1, 2, x);
    vn_model_close(&m);
    /* The network by itself says nothing of null: all of its rows are classes. */
    m = open_with("run/unet", -1);
    assert_int_equal(info_of(m).classes, 3);
    assert_false(info_of(m).has_null);
    vn_model_close(&m);
}

/* A folder with a network of random weights, as diffusers lays it out. */
static void make_network(const char *dir, const char *config) {
    vn_err err = {0};
    json_t *json = json_loads(config, 0, NULL);
    char path[256];
    vn_net *net = NULL;
    assert_int_equal(vn_net_open(json, &net, &err), VN_OK);
    const vn_weights *w = vn_net_weights(net);
    float *values = vn_alloc_aligned(vn_weights_floats(w), sizeof *values);
    vn_weights_init(w, values, 5);
    mkdir(dir, 0777);
    snprintf(path, sizeof path, "%s/config.json", dir);
    scratch_write_text(path, config);
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", dir);
    assert_int_equal(vn_store_save_weights(path, w, values, -1, &err), VN_OK);
    vn_free(values);
    vn_net_close(&net);
    json_decref(json);
}

#define UNET                                                                                       \
    "{\"_class_name\": \"UNet2DModel\", \"sample_size\": 8, \"in_channels\": 1, "                  \
    "\"out_channels\": 1, "                                                                        \
    "\"block_out_channels\": [4], \"layers_per_block\": 1, \"norm_num_groups\": 2, "               \
    "\"attention_head_dim\": 4, "                                                                  \
    "\"down_block_types\": [\"DownBlock2D\"], \"up_block_types\": [\"UpBlock2D\"]"

static void a_transformer_has_its_own_null_row(void **state) {
    (void)state;
    make_network(
        "dit",
        "{\"_class_name\": \"DiTTransformer2DModel\", \"num_attention_heads\": 2, "
        "\"attention_head_dim\": 4, \"in_channels\": 1, \"num_layers\": 1, \"sample_size\": 8, "
        "\"num_embeds_ada_norm\": 3}");
    vn_model *m = open_with("dit", -1);
    assert_int_equal(info_of(m).classes, 3);
    assert_true(info_of(m).has_null);
    vn_samples *s = NULL;
    vn_sample_options o = options_of(2, 2);
    o.path = "ddpm:linear";
    expect_ok(vn, vn_sample(m, &o, &s));
    vn_samples_close(&s);
    vn_model_close(&m);
    refuse_with("dit", 0, "`null_class` 0: dit says itself");
}

static void a_table_of_one_row_has_one_class(void **state) {
    (void)state;
    int32_t label = 7;
    make_network("one", UNET ", \"num_class_embeds\": 1}");
    vn_model *m = open_with("one", -1);
    assert_int_equal(info_of(m).classes, 1);
    expect_ok(vn, vn_model_find_label(m, "0", &label));
    assert_int_equal(label, 0);
    expect_refused(vn_model_find_label(m, "1", &label), VN_BAD_ARGUMENT,
                   "class 1: one has one class, 0");
    vn_model_close(&m);
    m = open_with("one", 0); /* nothing but null */
    assert_int_equal(info_of(m).classes, 0);
    assert_true(info_of(m).has_null);
    expect_refused(vn_model_find_label(m, "0", &label), VN_BAD_ARGUMENT,
                   "class 0: one has no classes");
    vn_samples *s = NULL;
    vn_sample_options o = options_of(VN_LABEL_ALL, 1);
    o.path = "ddpm:linear";
    expect_ok(vn, vn_sample(m, &o, &s));
    assert_int_equal(vn_samples_labels(s)[0], VN_LABEL_NULL);
    vn_samples_close(&s);
    vn_model_close(&m);
}

static void classes_that_are_no_table_are_named(void **state) {
    (void)state;
    make_network("plain", UNET "}");
    vn_model *m = open_with("plain", -1);
    assert_int_equal(info_of(m).classes, 0);
    assert_true(info_of(m).has_null);
    vn_model_close(&m);
    refuse_with("plain", 0, "`null_class` 0: the class table of plain has 0 rows");
    static const struct {
        const char *dir, *config, *words;
    } kinds[] = {
        {"number", UNET ", \"class_embed_type\": \"timestep\", \"num_class_embeds\": 3}",
         "takes a number as its class"},
        {"vector", UNET ", \"class_embed_type\": \"identity\"}", "takes a vector as its class"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        make_network(kinds[i].dir, kinds[i].config);
        m = open_with(kinds[i].dir, -1);
        assert_int_equal(info_of(m).classes, 0);
        assert_false(info_of(m).has_null);
        vn_samples *s = NULL;
        vn_sample_options o = options_of(VN_LABEL_ALL, 1);
        o.path = "ddpm:linear";
        expect_refused(vn_sample(m, &o, &s), VN_UNSUPPORTED, kinds[i].words);
        vn_model_close(&m);
    }
}

static void vane_json_may_name_classes_and_null_of_a_foreign_model(void **state) {
    (void)state;
    assert_int_equal(system("cp -r '" FOREIGN "' said && chmod -R u+w said"), 0);
    scratch_write_text("said/vane.json", "{\"null_class\": 1, \"classes\": [\"cat\", \"dog\"]}");
    vn_model *m = open_with("said", -1), *whole = open_with(FOREIGN, -1);
    float x[SIZE], truth[SIZE];
    assert_string_equal(vn_model_label_name(m, 1), "dog");
    draw(m, 1, 1, x);
    draw(whole, 2, 1, truth);
    assert_memory_equal(x, truth, sizeof x);
    draw(m, VN_LABEL_NULL, 1, x);
    draw(whole, 1, 1, truth);
    assert_memory_equal(x, truth, sizeof x);
    vn_model_close(&m);
    scratch_write_text("said/vane.json",
                       "{\"null_class\": null, \"classes\": [\"cat\", \"dog\", \"hen\"]}");
    m = open_with("said", -1);
    assert_int_equal(info_of(m).classes, 3);
    assert_false(info_of(m).has_null);
    vn_model_close(&m);
    vn_model_close(&whole);
    static const char *const bad[] = {"{\"null_class\": 3}", "{\"null_class\": -1}",
                                      "{\"null_class\": \"dog\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_write_text("said/vane.json", bad[i]);
        expect_refused(vn_model_open(vn, "said", &m), VN_BAD_FILE,
                       "null_class in vane.json is no row");
    }
}

static void a_weak_model_must_know_the_samples_conditions(void **state) {
    (void)state;
    make_network("weak", UNET ", \"num_class_embeds\": 2}");
    make_network("main", UNET ", \"num_class_embeds\": 3}");
    vn_model *m = open_with("main", 2), *weak = open_with("weak", -1);
    vn_samples *s = NULL;
    vn_sample_options o = options_of(VN_LABEL_NULL, 2);
    o.path = "ddpm:linear";
    o.guide = "autoguidance";
    o.weak = weak;
    expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT,
                   "weak: class null: weak has no null condition");
    o.label = 1;
    expect_ok(vn, vn_sample(m, &o, &s));
    vn_samples_close(&s);
    vn_model_close(&m);
    m = open_with("main", -1);
    expect_refused(vn_sample(m, &o, &s), VN_BAD_ARGUMENT, "weak: weak has 2 classes, main has 3");
    vn_model_close(&weak);
    vn_model_close(&m);
}

static void a_likelihood_takes_the_classes_there_are(void **state) {
    (void)state;
    vn_model *m = open_with(FOREIGN, -1);
    float x[SIZE] = {0};
    double log_p[4];
    const int32_t last = 2, none = VN_LABEL_NULL, more = 3;
    vn_likelihood_settings settings = vn_likelihood_settings_default();
    settings.rtol = settings.atol = 0.1;
    expect_ok(vn, vn_log_likelihood(m, &settings, 1, x, &last, log_p, NULL));
    expect_refused(vn_log_likelihood(m, &settings, 1, x, &none, log_p, NULL), VN_BAD_ARGUMENT,
                   "no null condition");
    expect_refused(vn_log_likelihood(m, &settings, 1, x, &more, log_p, NULL), VN_BAD_ARGUMENT,
                   "class 3 is none of the model's");
    vn_model_close(&m);
}

static void guides_take_classes_by_name(void **state) {
    (void)state;
    scratch_write_text(
        "things.json",
        "{\"classes\": [{\"name\": \"shirt\", \"components\": [{\"mean\": [-1, 0], \"std\": "
        "0.3}]}, "
        "{\"name\": \"tench, Tinca tinca\", \"components\": [{\"mean\": [1, 0.5], \"std\": 0.3}]}, "
        "{\"name\": \"Ankle boot\", \"components\": [{\"mean\": [2, -1], \"std\": 0.3}]}]}");
    static const char *const pairs[][2] = {
        {"negative:class=Ankle boot", "negative:class=2"},
        {"cfg,compose:class=\"tench, Tinca tinca\",weight=0.5,interval",
         "cfg,compose:class=1,weight=0.5,interval"},
        {"cfg, compose:class=Ankle boot, perp-neg:weight=2,class=shirt",
         "cfg,compose:class=2,perp-neg:class=0,weight=2"},
    };
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, "things.json", &m));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        vn_samples *s[2] = {NULL, NULL};
        for (int k = 0; k < 2; k++) {
            vn_sample_options o = options_of(VN_LABEL_ALL, 3);
            o.count = 6;
            o.guide = pairs[i][k];
            expect_ok(vn, vn_sample(m, &o, &s[k]));
        }
        assert_memory_equal(vn_samples_data(s[0]), vn_samples_data(s[1]), 6 * 2 * sizeof(float));
        vn_samples_close(&s[0]);
        vn_samples_close(&s[1]);
    }
    refuse(m, 0, 3, "negative:class=boot",
           "negative: class=boot is no class of the model; did you mean 'Ankle boot'?");
    refuse(m, 0, 3, "cfg,compose:class=3", "compose: class=3 is none of the model's 3 classes");
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_rows_of_a_foreign_table_are_classes),
        cmocka_unit_test(guidance_without_null_names_the_guides_that_need_none),
        cmocka_unit_test(the_null_row_may_be_named),
        cmocka_unit_test(a_null_row_without_effect_is_refused),
        cmocka_unit_test(a_run_keeps_its_last_row_as_null),
        cmocka_unit_test(a_transformer_has_its_own_null_row),
        cmocka_unit_test(a_table_of_one_row_has_one_class),
        cmocka_unit_test(classes_that_are_no_table_are_named),
        cmocka_unit_test(vane_json_may_name_classes_and_null_of_a_foreign_model),
        cmocka_unit_test(a_weak_model_must_know_the_samples_conditions),
        cmocka_unit_test(a_likelihood_takes_the_classes_there_are),
        cmocka_unit_test(guides_take_classes_by_name),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
