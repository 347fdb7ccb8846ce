/* Training on captions: denoiser and text encoder learn together, to the same bits whether or not
 * they stopped between; a caption that is dropped is the empty text; the run that comes of it takes
 * prompts, and draws what they say. */
#include "api/support_captioned.h"

#include <string.h>

#include "support/kernels.h"
#include "support/scratch.h"

static const char encoder[] = "text_encoder/diffusion_pytorch_model.safetensors",
                  denoiser[] = "transformer/diffusion_pytorch_model.safetensors";

static vn_train_options options(int64_t steps) {
    return captioned_options("text-dit:depth=1,width=16,heads=2,text_depth=1,text_width=16", steps);
}

static int enter(void **state) {
    static const char *const captions[] = {"it is black", "it is white"},
                             *const others[] = {"un", "deux \xC3\xA9t\xC3\xA9s"};
    if (context_enter(state)) return 1;
    make_captioned("data", captions);
    make_captioned("other", others);
    return 0;
}

static void train(const char *data, const char *run, const vn_train_options *o) {
    expect_ok(vn, vn_train(vn, data, run, o, NULL));
}

static void a_run_that_stopped_ends_in_the_same_bits(void **state) {
    (void)state;
    vn_train_options o = options(6), first = options(3);
    o.drop = first.drop = 0.3;
    o.validate = first.validate = 0.25;
    o.dropout = first.dropout = 0.1;
    train("data", "whole", &o);
    train("data", "parts", &first);
    assert_false(same_part("whole", "parts", encoder));
    go_on("data", "parts", 6);
    assert_true(same_part("whole", "parts", encoder));
    assert_true(same_part("whole", "parts", denoiser));
}

/* What captions say does not matter where all are dropped; it does where some are not. */
static void a_caption_that_is_dropped_is_the_empty_text(void **state) {
    (void)state;
    for (int all = 0; all < 2; all++) {
        char a[16], b[16];
        vn_train_options o = options(4);
        o.model = "text-dit:depth=1,width=16,heads=2,text_depth=1,text_width=16,text_length=16,"
                  "text_tokens=0"; /* one tokenizer for both */
        o.drop = all ? 1 : 0.5;
        snprintf(a, sizeof a, "a%d", all);
        snprintf(b, sizeof b, "b%d", all);
        train("data", a, &o);
        train("other", b, &o);
        assert_int_equal(same_part(a, b, encoder), all);
        assert_int_equal(same_part(a, b, denoiser), all);
    }
}

static void samples_are_what_prompts_say(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_train_options o = options(150);
    o.schedule = "cosine";
    train("data", "run", &o);
    expect_ok(vn, vn_model_open(vn, "run", &m));
    assert_true(info_of(m).takes_prompts);
    expect_black_and_white(m);
    vn_model_close(&m);
    /* and the encoder has learned: its weights are those of no other training */
    o = options(1);
    train("data", "begun", &o);
    assert_false(same_part("run", "begun", encoder));
}

/* What vane.json of a run says about how it was trained: `said` may be any of it. */
static bool says(const char *run, const char *said) {
    char path[256];
    size_t size;
    snprintf(path, sizeof path, "%s/vane.json", run);
    char *vane = scratch_read(path, &size);
    const bool found = strstr(vane, said) != NULL;
    free(vane);
    return found;
}

/* A network's habits take the place of what was not asked for, and of nothing else. */
static void a_model_of_texts_has_habits_of_its_own(void **state) {
    (void)state;
    vn_train_options o = options(1);
    o.batch = -1;
    o.lr = -1;
    train("data", "habits", &o);
    assert_true(says("habits", "\"optimizer\": \"muon\""));
    assert_true(says("habits", "\"batch\": 32"));
    assert_true(says("habits", "\"lr\": 0.004"));
    o = options(1);
    o.optimizer = "adamw";
    train("data", "asked", &o);
    assert_true(says("asked", "\"optimizer\": \"adamw\""));
    assert_true(says("asked", "\"batch\": 8"));
    assert_true(says("asked", "\"lr\": 0.005"));
}

/* The run says what it is, and its previews have prompts. */
static void a_run_of_captions_picks_its_model(void **state) {
    (void)state;
    vn_train_options o = options(2);
    o.model = NULL;
    o.preview_every = 2;
    train("data", "chosen", &o);
    size_t size;
    char *vane = scratch_read("chosen/vane.json", &size), *text = NULL;
    assert_non_null(strstr(vane, "\"model\": \"text-dit\""));
    assert_non_null(strstr(vane, "\"tokenizer\": \"own\""));
    assert_non_null(strstr(vane, "\"length\": 8")); /* 3 words, and what begins and ends them */
    assert_non_null(strstr(vane, "it is black"));
    free(vane);
    expect_ok(vn, vn_describe(vn, "chosen/previews/000002.png", &text));
    assert_non_null(strstr(text, "it is white"));
    vn_text_free(&text);
    /* words of the captions are tokens, at their beginning as within */
    vn_tokenizer *t = NULL;
    vn_tokens tokens = vn_tokens_default();
    static const char *const captions[] = {"it is black black"};
    expect_ok(vn, vn_tokenizer_open(vn, "chosen/tokenizer", &t));
    expect_ok(vn, vn_tokenizer_encode(t, 1, captions, NULL, &tokens));
    assert_int_equal(tokens.length, 6);
    assert_int_equal(tokens.ids[3], tokens.ids[4]);
    vn_tokenizer_close(&t);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    vn_train_options o = options(2);
    make_data("classes", 12);
    expect_refused(vn_train(vn, "classes", "no", &o, NULL), VN_BAD_ARGUMENT, "these have none");
    o.model = "text-dit:width=18";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT, "width=18");
    o.model = "text-dit:text_tokens=100";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT, "at least 259");
    o.model = "text-dit:patch=5";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT, "patch=5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_stopped_ends_in_the_same_bits),
        cmocka_unit_test(a_caption_that_is_dropped_is_the_empty_text),
        cmocka_unit_test(samples_are_what_prompts_say),
        cmocka_unit_test(a_model_of_texts_has_habits_of_its_own),
        cmocka_unit_test(a_run_of_captions_picks_its_model),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
