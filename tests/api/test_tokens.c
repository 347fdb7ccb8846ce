/* test_tokens.c - vn_tokenizer_...: rows of one length, on both sides, what is refused, and files
 * of lines. That the ids are right is tests/text's to say. */
#include "api/support_context.h"

#include <string.h>

#include "base/base.h"
#include "store/store.h"
#include "support/alloc.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define CLIP VN_SOURCE_DIR "/tests/golden/text/clip"
#define GPT2 VN_SOURCE_DIR "/tests/golden/text/gpt2"

static vn_tokenizer *open_tokenizer(const char *source) {
    vn_tokenizer *t = NULL;
    expect_ok(vn, vn_tokenizer_open(vn, source, &t));
    return t;
}

static void expect_rows(const vn_tokens *k, int64_t n, int64_t length, const int64_t *ids) {
    assert_int_equal(k->n, n);
    assert_int_equal(k->length, length);
    for (int64_t i = 0; i < n * length; i++) assert_int_equal(k->ids[i], ids[i]);
}

enum { PAD = 256, BEGIN, END };

static void test_rows_are_filled_up_and_cut(void **state) {
    (void)state;
    static const char *const texts[] = {"abc", "", "abcde"};
    vn_tokenizer *t = open_tokenizer("bytes");
    vn_tokens k = vn_tokens_default();
    expect_ok(vn, vn_tokenizer_encode(t, 3, texts, NULL, &k));
    expect_rows(&k, 3, 7,
                (const int64_t[]){BEGIN, 'a', 'b', 'c',   END, PAD, PAD, BEGIN, END, PAD, PAD,
                                  PAD,   PAD, PAD, BEGIN, 'a', 'b', 'c', 'd',   'e', END});
    assert_true(k.used[0] == 5 && k.used[1] == 2 && k.used[2] == 7 && k.whole[2] == 7);
    vn_token_options o = vn_token_options_default();
    o.length = 4;
    expect_ok(vn, vn_tokenizer_encode(t, 3, texts, &o, &k));
    expect_rows(
        &k, 3, 4,
        (const int64_t[]){BEGIN, 'a', 'b', END, BEGIN, END, PAD, PAD, BEGIN, 'a', 'b', END});
    assert_true(k.used[1] == 2 && k.used[2] == 4 && k.whole[2] == 7 && k.whole[1] == 2);
    expect_ok(vn, vn_tokenizer_encode(t, 0, NULL, &o, &k));
    assert_int_equal(k.n, 0);
    assert_string_equal(vn_tokenizer_kind(t), "bytes");
    assert_int_equal(vn_tokenizer_size(t), 259);
    assert_string_equal(vn_tokenizer_token(t, 'a'), "a");
    assert_null(vn_tokenizer_token(t, 259));
    assert_null(vn_tokenizer_token(t, INT64_C(1) << 33));
    vn_tokenizer_close(&t);
    assert_null(t);
}

/* This one's files say "left" for both. */
static void test_a_tokenizer_fills_and_cuts_at_its_own_side(void **state) {
    (void)state;
    static const char *const texts[] = {"a", "one two three four five"};
    vn_tokenizer *t = open_tokenizer(GPT2);
    vn_token_options o = vn_token_options_default();
    vn_tokens k = vn_tokens_default();
    o.length = 6;
    expect_ok(vn, vn_tokenizer_encode(t, 2, texts, &o, &k));
    assert_string_equal(vn_tokenizer_token(t, k.ids[0]), "<pad>");
    assert_string_equal(vn_tokenizer_token(t, k.ids[5]), "</s>");
    assert_string_equal(vn_tokenizer_token(t, k.ids[6]), "<s>");
    assert_string_equal(vn_tokenizer_token(t, k.ids[10]), "e");
    vn_tokenizer_close(&t);
}

static void test_what_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"fine", "no\xFF"};
    vn_tokenizer *t = NULL;
    vn_tokens k = vn_tokens_default();
    vn_token_options o = vn_token_options_default();
    expect_refused(vn_tokenizer_open(vn, "nowhere", &t), VN_IO, "nowhere: is neither a folder");
    assert_null(t);
    expect_refused(vn_tokenizer_open(vn, NULL, &t), VN_BAD_ARGUMENT, "source and out are needed");
    assert_int_equal(vn_tokenizer_encode(NULL, 0, NULL, NULL, &k), VN_BAD_ARGUMENT);
    assert_null(vn_tokenizer_kind(NULL));
    assert_int_equal(vn_tokenizer_size(NULL), 0);
    assert_null(vn_tokenizer_token(NULL, 0));
    vn_tokenizer_close(&t);
    t = open_tokenizer(CLIP);
    expect_refused(vn_tokenizer_encode(t, 2, texts, NULL, &k), VN_BAD_ARGUMENT,
                   "text 2: a text is not UTF-8");
    expect_refused(vn_tokenizer_encode(t, 1, NULL, NULL, &k), VN_BAD_ARGUMENT, "are needed");
    o.length = 1;
    expect_refused(vn_tokenizer_encode(t, 1, texts, &o, &k), VN_BAD_ARGUMENT,
                   "`length` 1 is less than the 2 tokens that begin and end every text");
    o.length = 1048577;
    expect_refused(vn_tokenizer_encode(t, 1, texts, &o, &k), VN_BAD_ARGUMENT, "`length` 1048577");
    k.struct_size = 0;
    expect_refused(vn_tokenizer_encode(t, 1, texts, NULL, &k), VN_BAD_ARGUMENT, "vn_tokens");
    vn_tokenizer_close(&t);
}

/* A file without a token for filling up is right until one is needed. */
static void test_a_pad_token_may_be_missing(void **state) {
    (void)state;
    static const char *const texts[] = {"a", "ab", "aa"};
    vn_tokens k = vn_tokens_default();
    assert_int_equal(mkdir("t", 0777), 0);
    static const char json[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}";
    scratch_write("t/tokenizer.json", json, sizeof json - 1);
    vn_tokenizer *t = open_tokenizer("t");
    expect_ok(vn, vn_tokenizer_encode(t, 2, texts + 1, NULL, &k));
    expect_rows(&k, 2, 2, (const int64_t[]){0, 1, 0, 0});
    expect_refused(vn_tokenizer_encode(t, 2, texts, NULL, &k), VN_BAD_FILE,
                   "t: no file says which token pads short texts");
    vn_tokenizer_close(&t);
}

static void test_lines_become_rows_of_a_file(void **state) {
    (void)state;
    static const char lines[] = "ab\n\na\r\nlast";
    vn_tokenizer *t = open_tokenizer("bytes");
    vn_tokens k = vn_tokens_default();
    vn_err err = {0};
    vn_safetensors *file = NULL;
    const vn_array *ids = NULL;
    scratch_write("in.txt", lines, sizeof lines - 1);
    expect_ok(vn, vn_tokenizer_encode_file(t, "in.txt", "out.safetensors", NULL, &k));
    assert_true(k.n == 4 && k.length == 6);
    assert_int_equal(vn_safetensors_open("out.safetensors", &file, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(file, "ids", &ids, &err), VN_OK);
    assert_int_equal(ids->dtype, VN_I64);
    assert_true(ids->shape.rank == 2 && ids->shape.dim[0] == 4 && ids->shape.dim[1] == 6);
    int64_t found[24];
    assert_int_equal(vn_array_read_i64(ids, found, &err), VN_OK);
    assert_memory_equal(found, k.ids, sizeof found);
    assert_true(found[6] == BEGIN && found[7] == END && found[8] == PAD); /* the empty line */
    assert_true(found[13] == 'a' && found[14] == '\r' && found[15] == END);
    vn_safetensors_close(&file);
    expect_refused(vn_tokenizer_encode_file(t, "in.txt", "in.txt", NULL, &k), VN_BAD_ARGUMENT,
                   "in.txt is named twice");
    scratch_write("zero.txt", "a\0b", 3);
    expect_refused(vn_tokenizer_encode_file(t, "zero.txt", "o.safetensors", NULL, &k), VN_BAD_FILE,
                   "zero.txt: holds a byte 0, at 1");
    scratch_write("no.txt", "a\n\xFF\n", 4);
    expect_refused(vn_tokenizer_encode_file(t, "no.txt", "o.safetensors", NULL, &k),
                   VN_BAD_ARGUMENT, "no.txt: text 2: a text is not UTF-8");
    expect_refused(vn_tokenizer_encode_file(t, "none.txt", "o.safetensors", NULL, &k), VN_IO,
                   "none.txt");
    assert_int_equal(access("o.safetensors", F_OK), -1);
    scratch_write("empty.txt", "", 0);
    expect_ok(vn, vn_tokenizer_encode_file(t, "empty.txt", "o.safetensors", NULL, &k));
    assert_int_equal(k.n, 0);
    vn_tokenizer_close(&t);
}

static vn_status whole_life(void) {
    static const char *const texts[] = {"abc", ""};
    vn_tokenizer *t = NULL;
    vn_tokens k = vn_tokens_default();
    vn_status status = vn_tokenizer_open(vn, "bytes", &t);
    if (!status) status = vn_tokenizer_encode(t, 2, texts, NULL, &k);
    if (!status) status = vn_tokenizer_encode_file(t, "in.txt", "out.safetensors", NULL, &k);
    vn_tokenizer_close(&t);
    return status;
}

static void test_memory_may_run_out_anywhere(void **state) {
    (void)state;
    scratch_write("in.txt", "a\nbc\n", 5);
    expect_ok(vn, whole_life());
    for (alloc_turn turn = {.recovers = true}; alloc_next(&turn);) alloc_hit(&turn, whole_life());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_filled_up_and_cut),
        cmocka_unit_test(test_a_tokenizer_fills_and_cuts_at_its_own_side),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_a_pad_token_may_be_missing),
        cmocka_unit_test(test_lines_become_rows_of_a_file),
        cmocka_unit_test(test_memory_may_run_out_anywhere),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
