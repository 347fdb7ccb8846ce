/* Tokenizers against Hugging Face's (golden/text.py): the ids of texts of many scripts, as they are
 * and cut, for each folder of tests/golden/text; what is learned from texts, against Hugging Face's
 * trainer; and the tokenizer of bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "text/text.h"

#define FOLDER VN_SOURCE_DIR "/tests/golden/text"

static const char *const folders[] = {"clip", "clip-files", "clip-sd1", "clip-sd2",
                                      "t5",   "t5-legacy",  "gpt2",     "llama"};

static json_t *cases;

static int read_cases(void **state) {
    (void)state;
    vn_err err = {0};
    return vn_json_read(FOLDER "/cases.json", &cases, &err);
}

static int free_cases(void **state) {
    (void)state;
    json_decref(cases);
    return 0;
}

static vn_text *open_text(const char *source) {
    vn_text *t = NULL;
    vn_err err = {0};
    if (vn_text_open(source, &t, &err)) fail_msg("%s", err.text);
    return t;
}

static vn_text *open_golden(const char *folder) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", FOLDER, folder);
    return open_text(path);
}

/* Holds the ids of text i, in a row of at least `length`, to the reference. */
static void expect_ids(vn_text *t, const char *folder, size_t i, int64_t length,
                       const json_t *expected) {
    const char *text = json_string_value(json_array_get(json_object_get(cases, "texts"), i));
    vn_ids ids = {0};
    vn_err err = {0};
    int64_t whole;
    bool left;
    assert_non_null(text);
    if (vn_text_encode(t, text, length, &ids, &whole, &err)) fail_msg("%s", err.text);
    const int32_t pad = vn_text_pad(t, &left);
    const size_t count = json_array_size(expected), spare = count - ids.count;
    if (ids.count > count)
        fail_msg("%s: text %zu: %zu tokens, expected %zu", folder, i, ids.count, count);
    for (size_t k = 0; k < count; k++) {
        const size_t at = left ? k - spare : k; /* wraps in front */
        const int32_t found = at < ids.count ? ids.at[at] : length ? pad : -1;
        const int32_t id = (int32_t)json_integer_value(json_array_get(expected, k));
        if (found != id)
            fail_msg("%s: text %zu \"%s\": token %zu is %d, expected %d", folder, i, text, k,
                     (int)found, (int)id);
    }
    assert_true(length ? whole >= (int64_t)ids.count : whole == (int64_t)ids.count);
    vn_ids_free(&ids);
}

static void ids_are_those_of_hugging_face(void **state) {
    const char *folder = *state;
    vn_text *t = open_golden(folder);
    const json_t *whole = json_object_get(json_object_get(cases, "ids"), folder),
                 *cut = json_object_get(json_object_get(cases, "cut"), folder);
    const int64_t length = json_integer_value(json_object_get(cases, "length"));
    assert_true(json_array_size(whole) > 250);
    for (size_t i = 0; i < json_array_size(whole); i++) {
        expect_ids(t, folder, i, 0, json_array_get(whole, i));
        expect_ids(t, folder, i, length, json_array_get(cut, i));
    }
    vn_text_close(&t);
}

static void bytes_are_tokens(void **state) {
    (void)state;
    vn_text *t = open_text("bytes");
    vn_ids ids = {0};
    vn_err err = {0};
    int64_t whole;
    bool left;
    assert_string_equal(vn_text_row(t)->name, "bytes");
    assert_int_equal(vn_text_size(t), 259);
    assert_int_equal(vn_text_pad(t, &left), 256);
    assert_false(left);
    assert_int_equal(vn_text_framing(t), 2);
    assert_int_equal(vn_text_encode(t, "a \xC3\xA9", 0, &ids, &whole, &err), VN_OK);
    static const int32_t expected[] = {257, 'a', ' ', 0xC3, 0xA9, 258};
    assert_int_equal(ids.count, VN_COUNT(expected));
    assert_memory_equal(ids.at, expected, sizeof expected);
    ids.count = 0;
    assert_int_equal(vn_text_encode(t, "abcdef", 4, &ids, &whole, &err), VN_OK);
    static const int32_t cut[] = {257, 'a', 'b', 258};
    assert_int_equal(ids.count, VN_COUNT(cut));
    assert_memory_equal(ids.at, cut, sizeof cut);
    assert_int_equal(whole, 8);
    assert_string_equal(vn_text_token(t, 'a'), "a");
    assert_string_equal(vn_text_token(t, 0xC3), "<C3>");
    assert_string_equal(vn_text_token(t, 258), "<end>");
    assert_null(vn_text_token(t, 259));
    assert_null(vn_text_token(t, -1));
    vn_ids_free(&ids);
    vn_text_close(&t);
}

/* By their letters, and the pad tokens that the files name. */
static void tokens_have_letters(void **state) {
    (void)state;
    static const struct {
        const char *folder, *kind, *pad;
        bool left;
        int framing;
    } expected[] = {{"clip", "bpe", "!", false, 2},
                    {"clip-files", "bpe", "<|endoftext|>", false, 2},
                    {"clip-sd1", "bpe", "<|endoftext|>", false, 2},
                    {"clip-sd2", "bpe", "!", false, 2},
                    {"t5", "unigram", "<pad>", false, 1},
                    {"gpt2", "bpe", "<pad>", true, 2},
                    {"llama", "bpe", "</s>", false, 1}};
    for (size_t i = 0; i < VN_COUNT(expected); i++) {
        vn_text *t = open_golden(expected[i].folder);
        bool left;
        const int32_t pad = vn_text_pad(t, &left);
        assert_string_equal(vn_text_row(t)->name, expected[i].kind);
        assert_true(pad >= 0 && pad < vn_text_size(t));
        assert_string_equal(vn_text_token(t, pad), expected[i].pad);
        assert_int_equal(left, expected[i].left);
        assert_int_equal(vn_text_framing(t), expected[i].framing);
        vn_text_close(&t);
    }
}

static void texts_are_utf8_and_not_endless(void **state) {
    (void)state;
    vn_text *t = open_text("bytes");
    vn_ids ids = {0};
    vn_err err = {0};
    assert_int_equal(vn_text_encode(t, "a\xFF", 0, &ids, NULL, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "a text is not UTF-8");
    char *text = vn_alloc(VN_TEXT_MAX_BYTES + 2, 1);
    assert_non_null(text);
    memset(text, 'a', VN_TEXT_MAX_BYTES + 1);
    text[VN_TEXT_MAX_BYTES + 1] = 0;
    assert_int_equal(vn_text_encode(t, text, 0, &ids, NULL, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "a text of 1048577 bytes; the longest has 1048576");
    text[VN_TEXT_MAX_BYTES] = 0;
    assert_int_equal(vn_text_encode(t, text, 0, &ids, NULL, &err), VN_OK);
    assert_int_equal(ids.count, VN_TEXT_MAX_BYTES + 2);
    vn_text_close(&t);
    /* and where the model works on all of it as one word */
    for (size_t i = 0; i < 4; i++) {
        t = open_golden(folders[2 * i]);
        ids.count = 0;
        text[VN_TEXT_MAX_BYTES / 16] = 0;
        assert_int_equal(vn_text_encode(t, text, 0, &ids, NULL, &err), VN_OK);
        assert_true(ids.count > 1000);
        vn_text_close(&t);
    }
    vn_ids_free(&ids);
    vn_free(text);
}

/* ---- learned --------------------------------------------------------------------------------- */

/* The texts in which no special token can be. */
static const char *text_of(const void *self, int32_t i) {
    const char *text = json_string_value(json_array_get(self, (size_t)i));
    return strchr(text, '<') ? "" : text;
}

static json_t *learn(int32_t count, int32_t size) {
    const json_t *all = json_object_get(cases, "texts");
    const vn_texts texts = {all, text_of, count < 0 ? (int32_t)json_array_size(all) : count};
    vn_err err = {0};
    json_t *out = vn_text_learn(&texts, size, &err);
    if (!out) fail_msg("%s", err.text);
    return out;
}

static void what_is_learned_is_hugging_face_s(void **state) {
    (void)state;
    vn_err err = {0};
    json_t *expected = NULL;
    if (vn_json_read(FOLDER "/learned.json", &expected, &err)) fail_msg("%s", err.text);
    const json_t *vocab = json_object_get(expected, "vocab");
    json_t *file = learn(-1, (int32_t)json_object_size(vocab));
    const json_t *model = json_object_get(file, "model");
    assert_true(json_array_size(json_object_get(model, "merges")) > 200);
    assert_true(json_equal(json_object_get(model, "merges"), json_object_get(expected, "merges")));
    assert_true(json_equal(json_object_get(model, "vocab"), vocab));
    json_decref(file);
    json_decref(expected);
}

/* Every text has tokens, also of bytes that were never seen, and without any text to learn from. */
static void what_is_learned_takes_every_text(void **state) {
    (void)state;
    static const char *const text = "\u20AC<end> \x7F";
    vn_ids found = {0};
    vn_err err = {0};
    vn_text *t = NULL;
    bool left;
    json_t *file = learn(0, VN_TEXT_LEARN_MOST);
    assert_int_equal(vn_text_open_json(file, &t, &err), VN_OK);
    json_decref(file);
    assert_int_equal(vn_text_size(t), VN_TEXT_LEARN_LEAST);
    assert_int_equal(vn_text_pad(t, &left), 0);
    assert_int_equal(vn_text_encode(t, text, 0, &found, NULL, &err), VN_OK);
    /* begin, blank, three bytes, the special token in the text, blank, a byte, end */
    assert_int_equal(found.count, 9);
    assert_true(found.at[0] == 1 && found.at[5] == 2 && found.at[8] == 2);
    vn_ids_free(&found);
    vn_text_close(&t);
}

int main(void) {
    struct CMUnitTest tests[VN_COUNT(folders) + 5] = {
        cmocka_unit_test(bytes_are_tokens),
        cmocka_unit_test(tokens_have_letters),
        cmocka_unit_test(texts_are_utf8_and_not_endless),
        cmocka_unit_test(what_is_learned_is_hugging_face_s),
        cmocka_unit_test(what_is_learned_takes_every_text),
    };
    for (size_t i = 0; i < VN_COUNT(folders); i++)
        tests[5 + i] = (struct CMUnitTest){folders[i], ids_are_those_of_hugging_face, NULL, NULL,
                                           (void *)folders[i]};
    return cmocka_run_group_tests(tests, read_cases, free_cases);
}
