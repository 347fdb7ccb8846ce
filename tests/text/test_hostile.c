/* Tokenizer files that are damaged, hold what is not known, or ask for what they should not get;
 * and memory that runs out: each is refused in one line that names the file, and nothing is lost.
 * Run under the sanitizers by ./check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "support/alloc.h"
#include "support/mutate.h"
#include "text/text.h"

#define FOLDER    VN_SOURCE_DIR "/tests/golden/text/"
#define MUTATIONS 150

/* Words, marks, special tokens, white space, what is in no vocabulary. */
static const char *const texts[] = {
    "", "a photo of a cat's hat, 12", "  <|endoftext|> <pad>\xE2\x96\x81 x </s> word",
    "e\xCC\x81 \xEF\xBC\xA1\xE3\x8E\x8F \xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD \xE0\xA4\x95\xE0\xA5\x8D",
    "\x01\x7F\xC2\x85\xE2\x80\xA8\t"};

/* Opens `folder`, which must be refused in one line that names it, or give ids that it has. */
static void read_or_refuse(const char *damaged) {
    (void)damaged;
    vn_text *t = NULL;
    vn_err err = {0};
    vn_ids ids = {0};
    vn_status status = vn_text_open("t", &t, &err);
    for (size_t i = 0; i < VN_COUNT(texts) && !status; i++) {
        status = vn_text_encode(t, texts[i], 0, &ids, NULL, &err);
        assert_true(!status || status == VN_BAD_FILE);
    }
    for (size_t i = 0; i < ids.count; i++) assert_true(ids.at[i] >= 0 && ids.at[i] < 1 << 22);
    if (!t) {
        assert_true(status == VN_BAD_FILE || status == VN_UNSUPPORTED || status == VN_IO);
        assert_non_null(strstr(err.text, "t/"));
        assert_null(strchr(err.text, '\n'));
    }
    vn_ids_free(&ids);
    vn_text_close(&t);
}

static void run(const char *format, const char *a, const char *b) {
    char command[1024];
    snprintf(command, sizeof command, format, a, b);
    assert_int_equal(system(command), 0);
}

static void damaged_files_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *folder, *file;
    } files[] = {{"clip", "tokenizer.json"},
                 {"clip", "tokenizer_config.json"},
                 {"clip-files", "vocab.json"},
                 {"clip-files", "merges.txt"},
                 {"clip-sd1", "special_tokens_map.json"},
                 {"t5", "tokenizer.json"},
                 {"t5-legacy", "tokenizer.json"},
                 {"llama", "tokenizer.json"}};
    for (size_t i = 0; i < VN_COUNT(files); i++) {
        char path[256];
        snprintf(path, sizeof path, "t/%s", files[i].file);
        run("rm -rf t && cp -r " FOLDER "%s t && cp t/%s valid", files[i].folder, files[i].file);
        mutate_each("valid", path, MUTATIONS, read_or_refuse);
    }
}

/* ---- what is not known ----------------------------------------------------------------------- */

static void write_tokenizer(const char *rest) {
    FILE *f = fopen("t/tokenizer.json", "w");
    assert_non_null(f);
    fputs(rest, f);
    fclose(f);
}

#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define UNIGRAM(rest) "{\"model\":{\"type\":\"Unigram\"," rest "}}"
#define WITH(rest)    "{" MODEL "," rest "}"

static void what_is_not_known_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *json, *words;
    } refused[] = {
        {"[]", "is not a JSON object"},
        {"{}", "there is no model in it: not a tokenizer"},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "model 'WordPiece' is not known; known: BPE"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}",
         "BPE: the vocabulary has 0 tokens, expected 1 to 4194304"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"more\":1}}",
         "BPE has a key 'more', which is not known"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
         "have one id, 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":9999999},\"merges\":[]}}",
         "the token 'a' has an id outside of [0, 4194303]"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
         "merge 0, of 'a' and 'b': these, or what they make, are no tokens"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}",
         "merge 0 is not a pair of tokens"},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}",
         "dropout is not 0"},
        {"{\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"a\":0},\"merges\":[]}}",
         "unk_token '?' is no token"},
        {UNIGRAM("\"vocab\":[[\"a\",0],[\"b\"]]"), "entry 1 of vocab is not a token and its score"},
        {UNIGRAM("\"vocab\":[[\"a\",0]],\"unk_id\":1"), "unk_id is outside of the vocabulary"},
        {WITH("\"normalizer\":{\"type\":\"BertNormalizer\"}"),
         "normalizer 'BertNormalizer' is not known"},
        {WITH("\"normalizer\":{\"type\":\"Lowercse\"}"), "did you mean 'Lowercase'?"},
        {WITH("\"normalizer\":{\"type\":\"NFC\",\"form\":1}"),
         "NFC has a key 'form', which is not known"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(a+)+b\"},"
              "\"content\":\"\"}"),
         "Replace: vane does not know the regular expression (a+)+b"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}"),
         "Precompiled: precompiled_charsmap is damaged"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Digits\"}"), "pre_tokenizer 'Digits' is not known"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"last\"}"),
         "prepend_scheme 'last' is not known"},
        {WITH("\"post_processor\":{\"type\":\"Other\"}"), "post_processor 'Other' is not known"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}"),
         "the template has no text, A"},
        {WITH("\"added_tokens\":[{\"id\":7,\"content\":\"<x>\"}]"),
         "the added token '<x>' has id 7, expected 3"},
    };
    run("rm -rf t && mkdir t", "", "");
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_text *t = NULL;
        vn_err err = {0};
        write_tokenizer(refused[i].json);
        const vn_status status = vn_text_open("t", &t, &err);
        if (!strstr(err.text, refused[i].words) || strncmp(err.text, "t/tokenizer.json: ", 18) != 0)
            fail_msg("'%s' does not say '%s'", err.text, refused[i].words);
        assert_true(status == VN_BAD_FILE || status == VN_UNSUPPORTED);
        assert_null(t);
    }
}

static void folders_that_are_none_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *make, *words;
    } refused[] = {
        {"rm -rf t", "t: is neither a folder nor \"bytes\""},
        {"mkdir t", "t: holds neither tokenizer.json nor vocab.json and merges.txt"},
        {"mkdir t/tokenizer && touch t/tokenizer/vocab.json",
         "t: holds neither tokenizer.json nor vocab.json and merges.txt, so it is no tokenizer; "
         "t/tokenizer may be one"},
        {"touch t/spiece.model", "t: has spiece.model alone"},
        {"cp " FOLDER "clip-files/* t && rm t/merges.txt", "t: has spiece.model alone"},
        {"cp " FOLDER "clip-files/* t && echo '{\"tokenizer_class\":\"GPT2Tokenizer\"}' "
         ">t/tokenizer_config.json",
         "t: vocab.json and merges.txt of a GPT2Tokenizer: only CLIPTokenizer's"},
        {"echo '{\"padding_side\":\"up\"}' >t/tokenizer_config.json",
         "t/tokenizer_config.json: padding_side 'up' is not known; known: left, right"},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_text *t = NULL;
        vn_err err = {0};
        run("%s%s", refused[i].make, "");
        assert_int_not_equal(vn_text_open("t", &t, &err), VN_OK);
        if (!strstr(err.text, refused[i].words))
            fail_msg("'%s' does not say '%s'", err.text, refused[i].words);
    }
}

/* A letter for which there is no token, and none for what is unknown: left out by BPE, refused by
 * Unigram, as Hugging Face's do. */
static void unknown_letters_are_left_out_or_refused(void **state) {
    (void)state;
    vn_text *t = NULL;
    vn_err err = {0};
    vn_ids ids = {0};
    run("rm -rf t && mkdir t", "", "");
    write_tokenizer("{" MODEL "}");
    assert_int_equal(vn_text_open("t", &t, &err), VN_OK);
    assert_int_equal(vn_text_encode(t, "axab", 0, &ids, NULL, &err), VN_OK);
    assert_int_equal(ids.count, 2);
    assert_true(ids.at[0] == 0 && ids.at[1] == 2);
    vn_text_close(&t);
    write_tokenizer(UNIGRAM("\"vocab\":[[\"a\",0]]"));
    assert_int_equal(vn_text_open("t", &t, &err), VN_OK);
    assert_int_equal(vn_text_encode(t, "ax", 0, &ids, NULL, &err), VN_BAD_FILE);
    assert_string_equal(err.text,
                        "the text has characters that are no tokens, and there is no unk_id");
    vn_text_close(&t);
    vn_ids_free(&ids);
}

/* Each letter becomes 64 kB, and each of these again: refused before memory is gone. */
static void a_text_does_not_grow_without_end(void **state) {
    (void)state;
    char *json = vn_alloc(300000, 1);
    assert_non_null(json);
    size_t used =
        (size_t)sprintf(json, "{%s,\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", MODEL);
    for (int i = 0; i < 3; i++) {
        used += (size_t)sprintf(json + used,
                                "%s{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},"
                                "\"content\":\"",
                                i ? "," : "");
        memset(json + used, 'a', 65536);
        used += 65536;
        used += (size_t)sprintf(json + used, "\"}");
    }
    sprintf(json + used, "]}}");
    run("rm -rf t && mkdir t", "", "");
    write_tokenizer(json);
    vn_text *t = NULL;
    vn_err err = {0};
    vn_ids ids = {0};
    assert_int_equal(vn_text_open("t", &t, &err), VN_OK);
    assert_int_equal(vn_text_encode(t, "a", 0, &ids, NULL, &err), VN_NO_MEMORY);
    assert_int_equal(vn_text_encode(t, "b", 0, &ids, NULL, &err), VN_OK);
    assert_int_equal(ids.count, 1);
    vn_ids_free(&ids);
    vn_text_close(&t);
    vn_free(json);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static vn_status open_and_encode(const char *source) {
    vn_text *t = NULL;
    vn_ids ids = {0};
    vn_status status = vn_text_open(source, &t, NULL);
    for (size_t i = 1; i < VN_COUNT(texts) && !status; i++)
        status = vn_text_encode(t, texts[i], 9, &ids, NULL, NULL);
    vn_ids_free(&ids);
    vn_text_close(&t);
    return status;
}

/* A tokenizer of a few tokens with every kind of step, so that each allocation can be the one that
 * fails; and CLIP's two files. */
static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    static const char *const sources[] = {"bytes", "t", "u", "v"};
    run("rm -rf t u v && mkdir t u v", "", "");
    write_tokenizer(WITH(
        "\"added_tokens\":[{\"id\":3,\"content\":\"</s>\",\"special\":true},"
        "{\"id\":4,\"content\":\"word\",\"normalized\":true,\"single_word\":true}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},"
        "{\"type\":\"Lowercase\"},{\"type\":\"StripAccents\"},{\"type\":\"Strip\"},"
        "{\"type\":\"Prepend\",\"prepend\":\"a\"},{\"type\":\"Replace\",\"pattern\":"
        "{\"Regex\":\"\\\\s+\"},\"content\":\" \"}]},\"pre_tokenizer\":{\"type\":\"Sequence\","
        "\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"ByteLevel\"}]},"
        "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"b\",1]}"));

    FILE *f = fopen("u/tokenizer.json", "w");
    assert_non_null(f);
    fputs("{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":"
          "[[\"?\",0],[\"a\",-1.5],[\"\xE2\x96\x81\",-2]]},"
          "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":"
          "\"BAAAAAAAAABhAA==\"},"
          "\"pre_tokenizer\":{\"type\":\"Metaspace\"}}",
          f);
    fclose(f);
    f = fopen("v/vocab.json", "w");
    assert_non_null(f);
    fputs("{\"a\":0,\"a</w>\":1,\"aa</w>\":2,\"<|startoftext|>\":3,\"<|endoftext|>\":4}", f);
    fclose(f);
    f = fopen("v/merges.txt", "w");
    assert_non_null(f);
    fputs("#version: 0.2\na a</w>\n", f);
    fclose(f);
    for (size_t i = 0; i < VN_COUNT(sources); i++) {
        assert_int_equal(open_and_encode(sources[i]), VN_OK); /* what libc makes at first use */
        /* qsort sorts in place where it gets no memory */
        for (alloc_turn t = {.recovers = true}; alloc_next(&t);)
            alloc_hit(&t, open_and_encode(sources[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(folders_that_are_none_are_refused),
        cmocka_unit_test(unknown_letters_are_left_out_or_refused),
        cmocka_unit_test(a_text_does_not_grow_without_end),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
