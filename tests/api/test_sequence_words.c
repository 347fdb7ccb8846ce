/* Sequence models that are trained on captions: a sequence begins with the tokens of its text. To
 * the same bits whether or not the training stopped between; a caption that is dropped is the empty
 * text; samples are what prompts say, whatever the batch; a picture has the likelihood that the
 * whole network gives its codes; and what has no effect is refused. */
#include "api/support_captioned.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "store/store.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

/* On bytes, so that ids are known without a tokenizer. */
#define TINY "gpt:depth=2,width=16,heads=2,patch=4,codes=4,text_tokens=0,text_length=16"

enum { SIZE = CAPTIONED_SIDE * CAPTIONED_SIDE, CODES = 4, TOKENS = 4, LENGTH = 16, KINDS = 259 };

static const char weights[] = "transformer/model.safetensors";

static vn_train_options options(int64_t steps) {
    return captioned_options(TINY, steps);
}

static void train(const char *data, const char *run, const vn_train_options *o) {
    expect_ok(vn, vn_train(vn, data, run, o, NULL));
}

static int enter(void **state) {
    static const char *const captions[] = {"it is black", "it is white"},
                             *const others[] = {"un", "deux \xC3\xA9t\xC3\xA9s"};
    if (context_enter(state)) return 1;
    make_captioned("data", captions);
    make_captioned("other", others);
    vn_train_options o = options(120);
    o.lr = 0.01;
    train("data", "run", &o);
    return 0;
}

static vn_model *open_run(const char *run) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, run, &m));
    return m;
}

/* So many samples of each of the prompts, by turns. */
static vn_samples *draw(vn_model *m, vn_sample_options o, const char *const *prompts, size_t n) {
    vn_samples *s = NULL;
    o.prompts = prompts;
    o.prompt_count = n;
    expect_ok(vn, vn_sample(m, &o, &s));
    return s;
}

static void a_run_that_stopped_ends_in_the_same_bits(void **state) {
    (void)state;
    vn_train_options o = options(6), first = options(3);
    o.drop = first.drop = 0.3;
    o.validate = first.validate = 0.25;
    train("data", "whole", &o);
    train("data", "parts", &first);
    assert_false(same_part("whole", "parts", weights));
    go_on("data", "parts", 6);
    assert_true(same_part("whole", "parts", weights));
}

/* What captions say does not matter where all are dropped; it does where some are not. */
static void a_caption_that_is_dropped_is_the_empty_text(void **state) {
    (void)state;
    for (int all = 0; all < 2; all++) {
        char a[16], b[16];
        vn_train_options o = options(4);
        o.drop = all ? 1 : 0.5;
        snprintf(a, sizeof a, "a%d", all);
        snprintf(b, sizeof b, "b%d", all);
        train("data", a, &o);
        train("other", b, &o);
        assert_int_equal(same_part(a, b, weights), all);
    }
    /* and the empty text is what guidance leads away from: 0 leaves all else out */
    vn_model *m = open_run("run");
    static const char *const empty[] = {""}, *const black[] = {"it is black"};
    vn_sample_options o = vn_sample_options_default();
    o.count = 20;
    o.guidance = 3;
    vn_samples *none = draw(m, o, empty, 1);
    o.guidance = 0;
    vn_samples *out = draw(m, o, black, 1);
    assert_memory_equal(vn_samples_data(none), vn_samples_data(out), 20 * SIZE * sizeof(float));
    vn_samples_close(&none);
    vn_samples_close(&out);
    vn_model_close(&m);
}

static double mean(const float *x) {
    double sum = 0;
    for (int i = 0; i < SIZE; i++) sum += (double)x[i];
    return sum / SIZE;
}

static void samples_are_what_prompts_say(void **state) {
    (void)state;
    static const char *const both[] = {"it is black", "it is white"};
    vn_model *m = open_run("run");
    assert_true(info_of(m).takes_prompts);
    vn_sample_options o = vn_sample_options_default();
    o.count = 100;
    o.guidance = 1.5;
    vn_samples *s = draw(m, o, both, 2);
    int wrong = 0;
    for (int i = 0; i < 100; i++)
        wrong += (mean(vn_samples_data(s) + (size_t)i * SIZE) > 0) != (i % 2 == 1);
    expect_below("part of samples that are not what the prompt says", wrong / 100.0, 0.1);
    vn_samples_close(&s);
    /* away from a text: what is not white is black */
    o.negative = "it is white";
    o.guidance = 3;
    s = draw(m, o, both, 1);
    wrong = 0;
    for (int i = 0; i < 100; i++) wrong += mean(vn_samples_data(s) + (size_t)i * SIZE) > 0;
    expect_below("part of samples that are white", wrong / 100.0, 0.1);
    vn_samples_close(&s);
    vn_model_close(&m);
}

static void samples_depend_on_seed_and_index_alone(void **state) {
    (void)state;
    static const char *const some[] = {"it is black", "it is white", "it is"};
    vn_model *m = open_run("run"), *shared = NULL;
    vn_sample_options o = vn_sample_options_default();
    o.count = 40;
    o.seed = 5;
    o.guidance = 2;
    o.guide = "cfg,interval:lo=0,hi=0.6";
    vn_samples *all = draw(m, o, some, 3);
    o.batch = 7;
    expect_ok(vn, vn_model_share(m, vn, &shared));
    vn_samples *other = draw(shared, o, some, 3);
    assert_memory_equal(vn_samples_data(all), vn_samples_data(other), 40 * SIZE * sizeof(float));
    o.first = 11;
    o.count = 9;
    vn_samples *part = draw(m, o, some, 3);
    assert_memory_equal(vn_samples_data(all) + 11 * SIZE, vn_samples_data(part),
                        9 * SIZE * sizeof(float));
    vn_samples_close(&all);
    vn_samples_close(&other);
    vn_samples_close(&part);
    vn_model_close(&shared);
    vn_model_close(&m);
}

/* ---- against the whole network --------------------------------------------------------------- */

/* Codes of a black picture and of a white one, by the run's own codebook. */
static void encode(const float *images, int64_t codes[2][TOKENS]) {
    vn_autoencoder *a = NULL;
    vn_array out = {.name = "codes"};
    const vn_array in = {"images", VN_F32, {4, {2, 1, CAPTIONED_SIDE, CAPTIONED_SIDE}}, images};
    expect_ok(vn, vn_autoencoder_open(vn, "run/vqvae", &a));
    expect_ok(vn, vn_autoencoder_encode(a, NULL, &in, 1, &out));
    for (int i = 0; i < 2 * TOKENS; i++)
        codes[i / TOKENS][i % TOKENS] = ((const int32_t *)out.data)[i];
    vn_autoencoder_close(&a);
}

/* The text's bytes between one that begins it and one that ends it, filled up, behind the codes. */
static void begin(const char *text, int64_t ids[LENGTH]) {
    enum { PAD = 256, BEGIN, END };
    const int n = (int)strlen(text);
    ids[0] = CODES + BEGIN;
    for (int i = 1; i < LENGTH; i++)
        ids[i] = CODES + (i <= n ? (unsigned char)text[i - 1] : i == n + 1 ? END : PAD);
}

/* log p of the codes after the texts, by one pass of the whole network on all tokens. */
static void whole(const char *const texts[2], int64_t codes[2][TOKENS], double log_p[2]) {
    enum { ROW = LENGTH + TOKENS - 1, VOCABULARY = CODES + KINDS };
    int64_t ids[2][ROW];
    vn_err err = {0};
    vn_safetensors *file = NULL;
    const vn_array *logits = NULL;
    for (int i = 0; i < 2; i++) {
        begin(texts[i], ids[i]);
        memcpy(ids[i] + LENGTH, codes[i], (TOKENS - 1) * sizeof(int64_t));
    }
    const vn_array in = {"input_ids", VN_I64, {2, {2, ROW}}, ids};
    assert_int_equal(vn_safetensors_write("in.safetensors", &in, 1, NULL, &err), VN_OK);
    expect_ok(vn, vn_forward(vn, "run/transformer", "in.safetensors", "out.safetensors", NULL));
    assert_int_equal(vn_safetensors_open("out.safetensors", &file, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(file, "logits", &logits, &err), VN_OK);
    assert_int_equal(logits->shape.dim[2], VOCABULARY);
    for (int i = 0; i < 2; i++) {
        log_p[i] = 0;
        for (int t = 0; t < TOKENS; t++) {
            const float *x =
                (const float *)logits->data + ((size_t)i * ROW + LENGTH - 1 + t) * VOCABULARY;
            double sum = 0;
            for (int k = 0; k < CODES; k++) sum += exp((double)x[k]);
            log_p[i] += (double)x[codes[i][t]] - log(sum);
        }
    }
    vn_safetensors_close(&file);
}

static void likelihoods_are_those_of_the_whole_network(void **state) {
    (void)state;
    static const char *const texts[] = {"it is black", "it is white"};
    static float images[2 * SIZE];
    int64_t codes[2][TOKENS];
    int32_t labels[2];
    double log_p[2], expected[2], empty;
    for (int i = 0; i < 2 * SIZE; i++) images[i] = i < SIZE ? -0.8F : 0.7F;
    vn_model *m = open_run("run");
    vn_sample_options o = vn_sample_options_default();
    o.count = 2;
    vn_samples *s = draw(m, o, texts, 2);
    memcpy(labels, vn_samples_labels(s), sizeof labels);
    encode(images, codes);
    whole(texts, codes, expected);
    expect_ok(vn, vn_log_likelihood(m, NULL, 2, images, labels, log_p, NULL));
    for (int i = 0; i < 2; i++)
        expect_below("nats, token by token and at once", fabs(log_p[i] - expected[i]), 2e-5);
    /* it says more of a picture than no text does */
    const int32_t null = VN_LABEL_NULL;
    expect_ok(vn, vn_log_likelihood(m, NULL, 1, images, &null, &empty, NULL));
    assert_true(empty < log_p[0]);
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* ---- previews -------------------------------------------------------------------------------- */

/* Drawn with the weights as they are at the time. */
static void previews_show_what_captions_say(void **state) {
    (void)state;
    vn_train_options o = options(30);
    size_t size[3];
    o.lr = 0.01;
    o.preview_every = 30;
    train("data", "shown", &o);
    char *first = scratch_read("shown/previews/000030.png", &size[0]);
    o.steps = 60;
    o.overwrite = 1;
    train("data", "shown", &o);
    char *text = NULL;
    expect_ok(vn, vn_describe(vn, "shown/previews/000060.png", &text));
    assert_non_null(strstr(text, "it is white"));
    assert_non_null(strstr(text, "\"training_step\": \"60\""));
    vn_text_free(&text);
    char *early = scratch_read("shown/previews/000030.png", &size[1]),
         *late = scratch_read("shown/previews/000060.png", &size[2]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(first, early, size[0]);
    assert_true(size[1] != size[2] || memcmp(early, late, size[1]) != 0);
    free(first);
    free(early);
    free(late);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void what_has_no_effect_is_refused(void **state) {
    (void)state;
    vn_train_options o = options(2);
    make_data("classes", 12);
    expect_refused(vn_train(vn, "classes", "no", &o, NULL), VN_BAD_ARGUMENT,
                   "text_length has no effect: the data has no captions");
    make_network("encoder", captioned_clip, 1);
    make_tokenizer("encoder", "clip");
    o.text_encoder = "encoder";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT,
                   "reads the captions' tokens itself");
    o = options(2);
    o.model = "gpt:text_tokens=100";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT, "at least 259");
    vn_model *m = open_run("run");
    vn_sample_options asked = vn_sample_options_default();
    vn_samples *s = NULL;
    asked.guide = "apg";
    expect_refused(vn_sample(m, &asked, &s), VN_BAD_ARGUMENT, "apg is of images with noise");
    /* a condition of a program's own that no sequence begins with */
    static const int64_t three[] = {1, 2, 3};
    const vn_array ids = {"input_ids", VN_I64, {1, {3}}, three};
    vn_condition c;
    expect_ok(vn, vn_model_add_condition(m, "short", 1, &ids, &c));
    asked = vn_sample_options_default();
    asked.label = c;
    expect_refused(vn_sample(m, &asked, &s), VN_UNSUPPORTED, "begins with the 16 tokens of a text");
    vn_model_close(&m);
}

/* transformers' configs have no _class_name. */
static void a_config_by_itself_is_described(void **state) {
    (void)state;
    char *text = NULL;
    mkdir("bare", 0777);
    scratch_write_text("bare/config.json",
                       "{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 9, "
                       "\"hidden_size\": 8, \"intermediate_size\": 8, \"num_hidden_layers\": 1, "
                       "\"num_attention_heads\": 1}");
    expect_ok(vn, vn_describe(vn, "bare", &text));
    assert_non_null(strstr(text, "\"class\": \"LlamaForCausalLM\""));
    vn_text_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_stopped_ends_in_the_same_bits),
        cmocka_unit_test(a_caption_that_is_dropped_is_the_empty_text),
        cmocka_unit_test(samples_are_what_prompts_say),
        cmocka_unit_test(samples_depend_on_seed_and_index_alone),
        cmocka_unit_test(likelihoods_are_those_of_the_whole_network),
        cmocka_unit_test(previews_show_what_captions_say),
        cmocka_unit_test(what_has_no_effect_is_refused),
        cmocka_unit_test(a_config_by_itself_is_described),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
