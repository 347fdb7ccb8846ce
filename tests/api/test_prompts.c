/* Prompts: what the encoder makes of a text is what the denoiser is given, sample by sample; the
 * empty text is the null condition; guides name texts; and what is no prompt is refused in
 * words. */
#include "api/support_context.h"
#include "api/support_words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "store/store.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { SIZE = WORDS_SIDE * WORDS_SIDE, STEPS = 4 };

static vn_model *model;

static int enter(void **state) {
    if (context_enter(state)) return 1;
    make_words_run("run");
    return vn_model_open(vn, "run", &model) != VN_OK;
}

static int leave(void **state) {
    vn_model_close(&model);
    return context_leave(state);
}

static vn_sample_options options(int64_t count, const char *const *prompts, size_t n) {
    vn_sample_options o = vn_sample_options_default();
    o.count = count;
    o.prompts = prompts;
    o.prompt_count = n;
    o.steps = STEPS;
    o.seed = 5;
    return o;
}

static vn_samples *draw_of(vn_model *m, const vn_sample_options *o) {
    vn_samples *s = NULL;
    expect_ok(vn, vn_sample(m, o, &s));
    return s;
}

static vn_samples *draw(const vn_sample_options *o) {
    return draw_of(model, o);
}

static void expect_same(const vn_samples *a, int64_t i, const vn_samples *b, int64_t k) {
    assert_memory_equal(vn_samples_data(a) + i * SIZE, vn_samples_data(b) + k * SIZE,
                        SIZE * sizeof(float));
}

static void expect_other(const vn_samples *a, int64_t i, const vn_samples *b, int64_t k) {
    double most = 0;
    for (int64_t j = 0; j < SIZE; j++)
        most = fmax(most, fabs((double)vn_samples_data(a)[i * SIZE + j] -
                               (double)vn_samples_data(b)[k * SIZE + j]));
    assert_true(most > 1e-3);
}

static void samples_get_prompts_in_turn(void **state) {
    (void)state;
    const char *both[] = {"a red boat", "two boats"}, *second[] = {"two boats"};
    vn_sample_options o = options(4, both, 2), one = options(1, second, 1);
    vn_samples *all = draw(&o);
    one.first = 3;
    vn_samples *last = draw(&one);
    expect_same(all, 3, last, 0);
    one.first = 2;
    vn_samples *other = draw(&one);
    expect_other(all, 2, other, 0);
    o.first = 1; /* sample 1 is the first, and has the second prompt */
    o.count = 3;
    vn_samples *later = draw(&o);
    expect_same(later, 0, all, 1);
    o.batch = 1;
    vn_samples *alone = draw(&o);
    for (int64_t i = 0; i < 3; i++) expect_same(later, i, alone, i);
    vn_samples *opened[] = {all, last, other, later, alone};
    for (size_t i = 0; i < VN_COUNT(opened); i++) vn_samples_close(&opened[i]);
}

/* The text encoder by itself, and its answer as a condition of the denoiser by itself. */
static void a_prompt_is_what_its_encoder_makes_of_it(void **state) {
    (void)state;
    static const char text[] = "a red boat";
    int64_t ids[WORDS_LENGTH], mask[WORDS_LENGTH] = {0};
    float states[2][WORDS_LENGTH * WORDS_WIDTH];
    int64_t masks[2][WORDS_LENGTH] = {{0}};
    vn_err err = {0};
    for (int k = 0; k < 2; k++) { /* the text, and the empty one */
        const size_t n = k ? 0 : strlen(text);
        for (size_t i = 0; i < WORDS_LENGTH; i++) {
            ids[i] = i == 0 ? 257 : i <= n ? (unsigned char)text[i - 1] : i == n + 1 ? 258 : 256;
            masks[k][i] = mask[i] = i <= n + 1;
        }
        const vn_array in = {"input_ids", VN_I64, {2, {1, WORDS_LENGTH}}, ids}, *out;
        vn_safetensors *file = NULL;
        assert_int_equal(vn_safetensors_write("in.safetensors", &in, 1, NULL, &err), VN_OK);
        expect_ok(vn,
                  vn_forward(vn, "run/text_encoder", "in.safetensors", "out.safetensors", NULL));
        assert_int_equal(vn_safetensors_open("out.safetensors", &file, &err), VN_OK);
        assert_int_equal(vn_safetensors_get(file, "last_hidden_state", &out, &err), VN_OK);
        vn_array_read_f32(out, states[k]);
        vn_safetensors_close(&file);
    }
    vn_model *alone = NULL;
    vn_condition number[2];
    expect_ok(vn, vn_model_open(vn, "run/transformer", &alone));
    for (int k = 0; k < 2; k++) {
        const vn_array arrays[] = {
            {"encoder_hidden_states", VN_F32, {2, {WORDS_LENGTH, WORDS_WIDTH}}, states[k]},
            {"encoder_attention_mask", VN_I64, {1, {WORDS_LENGTH}}, masks[k]}};
        expect_ok(vn, vn_model_add_condition(alone, k ? "null" : "text", 2, arrays, &number[k]));
    }
    const char *prompts[] = {text};
    vn_sample_options o = options(2, prompts, 1), by_number = options(2, NULL, 0);
    o.guidance = by_number.guidance = 2;
    by_number.label = number[0];
    by_number.path = "rectified";
    vn_samples *a = draw(&o), *b = draw_of(alone, &by_number);
    expect_same(a, 0, b, 0);
    expect_same(a, 1, b, 1);
    vn_samples_close(&a);
    vn_samples_close(&b);
    vn_model_close(&alone);
}

static void the_empty_text_is_the_null_condition(void **state) {
    (void)state;
    const char *prompts[] = {"", "a boat"};
    vn_sample_options o = options(1, prompts, 1), null = options(1, NULL, 0),
                      zero = options(1, prompts + 1, 1);
    null.label = VN_LABEL_NULL;
    zero.guidance = 0; /* what is conditioned does not count */
    vn_samples *empty = draw(&o), *none = draw(&null), *unguided = draw(&zero);
    expect_same(empty, 0, none, 0);
    expect_same(empty, 0, unguided, 0);
    assert_int_equal(vn_samples_labels(empty)[0], VN_LABEL_NULL);
    vn_samples_close(&empty);
    vn_samples_close(&none);
    vn_samples_close(&unguided);
}

static void the_negative_takes_the_place_of_none(void **state) {
    (void)state;
    const char *prompts[] = {"a boat"};
    vn_sample_options o = options(2, prompts, 1), guide = options(2, prompts, 1);
    o.guidance = guide.guidance = 3;
    vn_samples *plain = draw(&o);
    o.negative = "fog, \"thick\": grey";
    guide.guide = "negative:class=\"fog, \"\"thick\"\": grey\"";
    vn_samples *a = draw(&o), *b = draw(&guide);
    for (int64_t i = 0; i < 2; i++) {
        expect_same(a, i, b, i);
        expect_other(a, i, plain, i);
    }
    o.negative = "";
    vn_samples *none = draw(&o);
    expect_same(none, 0, plain, 0);
    /* away from it, nothing asked for: guided all the same */
    const char *nothing[] = {""};
    vn_sample_options away = options(2, nothing, 1);
    vn_samples *unguided = draw(&away);
    away.guidance = 3;
    away.negative = o.negative = "fog";
    vn_samples *c = draw(&away);
    expect_other(c, 0, unguided, 0);
    vn_samples *opened[] = {plain, a, b, none, unguided, c};
    for (size_t i = 0; i < VN_COUNT(opened); i++) vn_samples_close(&opened[i]);
}

/* Every guide that takes a condition takes a text: other samples than with another text. */
static void guides_name_texts(void **state) {
    (void)state;
    static const char *const guides[][2] = {
        {"compose:class=\"a, b\",weight=2", "compose:class=c,weight=2"},
        {"perp-neg:class=\"a, b\"", "perp-neg:class=c"},
        {"negative:class=7", "negative:class=8"},
    };
    const char *prompts[] = {"a boat"};
    for (size_t i = 0; i < VN_COUNT(guides); i++) {
        vn_sample_options o = options(1, prompts, 1);
        o.guidance = 3;
        o.guide = guides[i][0];
        vn_samples *a = draw(&o), *again = draw(&o);
        o.guide = guides[i][1];
        vn_samples *b = draw(&o);
        expect_same(a, 0, again, 0);
        expect_other(a, 0, b, 0);
        vn_samples_close(&a);
        vn_samples_close(&again);
        vn_samples_close(&b);
    }
}

/* Led away from itself a text stays what it is; from another it does not. Without a name it is what
 * stands for none, at guidance 1 too, where nothing else is asked for. */
static void nag_leads_away_from_a_text(void **state) {
    (void)state;
    const char *prompts[] = {"a boat", "a house"};
    vn_sample_options o = options(3, prompts, 2);
    o.guidance = 1;
    vn_samples *plain = draw(&o);
    o.guide = "nag:class=a boat";
    vn_samples *away = draw(&o);
    expect_same(away, 0, plain, 0);
    expect_other(away, 1, plain, 1);
    expect_same(away, 2, plain, 2);
    o.guide = "nag";
    vn_samples *none = draw(&o);
    expect_other(none, 0, plain, 0);
    o.negative = "a boat";
    vn_samples *negative = draw(&o);
    for (int i = 0; i < 3; i++) expect_same(negative, i, away, i);
    o.batch = 1;
    o.guidance = 3; /* the null pass is left as it is, whatever the batch */
    vn_samples *alone = draw(&o);
    o.batch = 0;
    vn_samples *together = draw(&o);
    for (int i = 0; i < 3; i++) expect_same(alone, i, together, i);
    vn_samples *opened[] = {plain, away, none, negative, alone, together};
    for (size_t i = 0; i < VN_COUNT(opened); i++) vn_samples_close(&opened[i]);
}

/* The noise is a sample's own, whatever the batch; samples of no text have none. */
static void cads_adds_noise_to_texts(void **state) {
    (void)state;
    const char *prompts[] = {"a boat", ""};
    vn_sample_options o = options(4, prompts, 2), one = options(1, prompts, 1);
    o.guidance = one.guidance = 2;
    vn_samples *plain = draw(&o);
    o.guide = one.guide = "cads";
    vn_samples *noisy = draw(&o);
    one.first = 2;
    vn_samples *third = draw(&one);
    expect_other(noisy, 0, plain, 0);
    expect_same(noisy, 1, plain, 1);
    expect_same(noisy, 2, third, 0);
    /* with less of it, and where there is none at any level */
    o.guide = "cads:scale=0.1";
    vn_samples *less = draw(&o);
    expect_other(less, 0, noisy, 0);
    vn_samples *opened[] = {plain, noisy, third, less};
    for (size_t i = 0; i < VN_COUNT(opened); i++) vn_samples_close(&opened[i]);
    vn_samples *s = NULL;
    o.guide = "cads:from=0.9,to=0.9";
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "cads: from=0.9 is not below to=0.9");
    o.guide = "cads:scale=0";
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "cads: scale=0 is no noise");
}

/* Each guide that looks inside the network, and rules of two texts, on a model of texts. */
static void guides_act_on_texts(void **state) {
    (void)state;
    static const char *const guides[] = {"pag",     "seg",         "slg:first=0,start=0,stop=1",
                                         "stg",     "nag",         "pladis",
                                         "cads",    "icg",         "apg",
                                         "rescale", "nag,cads,pag"};
    const char *prompts[] = {"a boat", "a house"};
    vn_sample_options o = options(2, prompts, 2);
    o.guidance = 2;
    vn_samples *plain = draw(&o);
    for (size_t i = 0; i < VN_COUNT(guides); i++) {
        o.guide = guides[i];
        vn_samples *guided = draw(&o);
        double most = 0;
        for (int64_t j = 0; j < 2 * SIZE; j++)
            most = fmax(
                most, fabs((double)vn_samples_data(guided)[j] - (double)vn_samples_data(plain)[j]));
        if (!(most > 1e-4)) fail_msg("%s changes nothing", guides[i]);
        vn_samples_close(&guided);
    }
    vn_samples_close(&plain);
}

static int warnings;

static void count_warnings(void *user, vn_log_level level, const char *text) {
    (void)user;
    if (level == VN_LOG_WARNING && strstr(text, "26 tokens, of which the first 24 count"))
        warnings++;
}

static void a_long_text_is_cut_and_it_is_said_once(void **state) {
    (void)state;
    const char *longer[] = {"abcdefghijklmnopqrstuvwx"}, *cut[] = {"abcdefghijklmnopqrstuv"};
    vn_sample_options a = options(1, longer, 1), b = options(1, cut, 1);
    vn_context *heard = NULL;
    vn_context_options listens = vn_context_options_default();
    vn_model *m = NULL;
    listens.cpu = kernels->name;
    listens.log = count_warnings;
    warnings = 0;
    assert_int_equal(vn_context_open(&heard, &listens), VN_OK);
    expect_ok(heard, vn_model_open(heard, "run", &m));
    vn_samples *one = draw_of(m, &a), *again = draw_of(m, &a), *other = draw_of(m, &b);
    expect_same(one, 0, other, 0);
    expect_same(one, 0, again, 0);
    assert_int_equal(warnings, 1);
    vn_samples_close(&one);
    vn_samples_close(&again);
    vn_samples_close(&other);
    vn_model_close(&m);
    vn_context_close(&heard);
}

static const char *setting(const json_t *metadata, const char *key) {
    return json_string_value(json_object_get(metadata, key));
}

static void what_was_asked_for_is_kept(void **state) {
    (void)state;
    const char *prompts[] = {"a \"boat\"", "Boote \xE8\x88\xB9"};
    vn_sample_options o = options(3, prompts, 2);
    o.first = 1;
    o.negative = "fog";
    vn_samples *s = draw(&o);
    expect_ok(vn, vn_samples_save(s, "x.safetensors"));
    expect_ok(vn, vn_samples_save(s, "x.png"));
    for (int k = 0; k < 2; k++) {
        char *text = NULL;
        expect_ok(vn, vn_describe(vn, k ? "x.png" : "x.safetensors", &text));
        json_t *all = json_loads(text, 0, NULL),
               *settings = json_object_get(all, k ? "text" : "metadata");
        assert_string_equal(setting(settings, "negative"), "fog");
        assert_string_equal(setting(settings, "prompts-in-turn"),
                            "[\"a \\\"boat\\\"\",\"Boote \xE8\x88\xB9\"]");
        assert_null(setting(settings, "class"));
        if (!k)
            assert_string_equal(setting(settings, "prompts"),
                                "[\"Boote \xE8\x88\xB9\",\"a \\\"boat\\\"\",\"Boote "
                                "\xE8\x88\xB9\"]");
        json_decref(all);
        vn_text_free(&text);
    }
    vn_samples_close(&s);
}

/* Where nothing is asked for, the run's own captions are drawn in turn. */
static void examples_are_drawn_where_nothing_is_given(void **state) {
    (void)state;
    const char *examples[] = {"a boat", "two boats"};
    vn_sample_options o = options(2, NULL, 0), given = options(2, examples, 2);
    vn_samples *a = draw(&o), *b = draw(&given);
    expect_same(a, 0, b, 0);
    expect_same(a, 1, b, 1);
    assert_true(info_of(model).takes_prompts);
    assert_int_equal(info_of(model).classes, 0);
    vn_samples_close(&a);
    vn_samples_close(&b);
}

static void what_is_no_prompt_is_refused_in_words(void **state) {
    (void)state;
    vn_samples *s = NULL;
    const char *good[] = {"a boat"}, *bad[] = {"a boat", "\xFF"}, *null[] = {NULL};
    const int32_t labels[] = {0};
    vn_sample_options o = options(1, bad, 2);
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "prompt 2: a text is not UTF-8");
    o = options(1, bad + 1, 1);
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "prompt: a text is not UTF-8");
    o = options(1, good, SIZE_MAX); /* a negative count */
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "is more than 2147483647");
    o = options(1, NULL, 1);
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "prompts have a count");
    o = options(-1, good, 1);
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "count");
    o = options(1, null, 1);
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "prompt 1 is NULL");
    o = options(1, good, 0);
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "prompts have a count");
    o = options(1, good, 1);
    o.labels = labels;
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "exclude each other");
    o = options(1, good, 1);
    o.negative = "\xC0";
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "negative: a text is not UTF-8");
    o = options(1, good, 1);
    o.guidance = 2;
    o.guide = "perp-neg:class=\"\xFF\"";
    expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "guide: a text is not UTF-8");
    static const char *const unnamed[] = {"negative", "compose:weight=2", "perp-neg"};
    for (size_t i = 0; i < VN_COUNT(unnamed); i++) {
        o.guide = unnamed[i];
        expect_refused(vn_sample(model, &o, &s), VN_BAD_ARGUMENT, "class= has to say which");
    }
    make_world("world.json");
    vn_model *world = NULL;
    expect_ok(vn, vn_model_open(vn, "world.json", &world));
    o = options(1, good, 1);
    expect_refused(vn_sample(world, &o, &s), VN_UNSUPPORTED,
                   "world.json: takes no prompts; its samples are of classes");
    vn_model_close(&world);
    assert_null(s);
}

/* What its files say does not fit together. */
static void files_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"{\"tokenizer\": \"bytes\", \"length\": 1}", "texts of 1 tokens"},
        {"{\"tokenizer\": \"bytes\", \"length\": 25}", "texts of 25 tokens"},
        {"{\"tokenizer\": \"bytes\", \"length\": 100000}", "texts of 100000 tokens"},
        {"{\"tokenizer\": \"other\", \"length\": 24}", "other/tokenizer"},
        {"{}", "other/tokenizer"},
    };
    make_words_run("other");
    vn_model *m = NULL;
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"path\": \"rectified\", \"predict\": \"velocity\", \"data\": {\"shape\": [1, "
                 "8, 8]}, \"text\": %s}",
                 bad[i].text);
        scratch_write_text("other/vane.json", text);
        assert_int_not_equal(vn_model_open(vn, "other", &m), VN_OK);
        if (!strstr(vn_error_text(vn), bad[i].words))
            fail_msg("'%s' does not say '%s'", vn_error_text(vn), bad[i].words);
        assert_null(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_get_prompts_in_turn),
        cmocka_unit_test(a_prompt_is_what_its_encoder_makes_of_it),
        cmocka_unit_test(the_empty_text_is_the_null_condition),
        cmocka_unit_test(the_negative_takes_the_place_of_none),
        cmocka_unit_test(guides_name_texts),
        cmocka_unit_test(nag_leads_away_from_a_text),
        cmocka_unit_test(cads_adds_noise_to_texts),
        cmocka_unit_test(guides_act_on_texts),
        cmocka_unit_test(a_long_text_is_cut_and_it_is_said_once),
        cmocka_unit_test(what_was_asked_for_is_kept),
        cmocka_unit_test(examples_are_drawn_where_nothing_is_given),
        cmocka_unit_test(what_is_no_prompt_is_refused_in_words),
        cmocka_unit_test(files_that_do_not_fit_are_refused),
    };
    return run_under_each_kernel_set(tests, enter, leave);
}
