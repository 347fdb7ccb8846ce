/* What a frozen text encoder makes of texts, kept in a file: each text reads back as the encoder
 * gives it alone, bit for bit, whether the file has it or not; and a file that is cut short,
 * damaged, or of other texts or another encoder is made anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "model/model.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { LENGTH = 16, WIDTH = 8, TEXTS = 21 };

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

/* How often files were made, by the log. */
typedef struct heard {
    int made, anew, left_out;
} heard;

static void hear(void *user, vn_log_level level, const char *line) {
    heard *h = user;
    (void)level;
    h->made += strstr(line, "what the text encoder makes") != NULL;
    h->anew += strstr(line, "made anew") != NULL;
    h->left_out += strstr(line, "are not in it") != NULL;
}

typedef struct fixture {
    vn_device device;
    vn_model_part part;
    vn_prompter *prompter;
    heard heard;
    vn_watch watch;
} fixture;

static char texts[TEXTS][32];

static const char *text_of(const void *from, int32_t i) {
    (void)from;
    return texts[i];
}

static void open_fixture(fixture *f, uint64_t seed) {
    const vn_text_encoder_size size = {
        .tokens = 259, .pad = 256, .length = LENGTH, .width = WIDTH, .depth = 2};
    *f = (fixture){.device = {kernels, NULL, NULL}};
    f->watch = (vn_watch){.log = hear, .user = &f->heard};
    for (int i = 0; i < TEXTS; i++)
        snprintf(texts[i], sizeof texts[i], "%.*s%d", i, "a boat at night, seen from above", i);
    vn_err why = {0};
    json_t *config = vn_text_encoder_config(&size, &why);
    CHECK(vn_net_open(config, &f->part.net, &err));
    json_decref(config);
    CHECK(vn_values_open(vn_net_weights(f->part.net), &f->device, NULL, &f->part.values, &err));
    CHECK(vn_values_init(f->part.values, seed, &err));
    const vn_engine engine = {.device = &f->device};
    CHECK(vn_prompter_open(&engine, "bytes", f->part.net, f->part.values, LENGTH, &f->prompter,
                           &err));
}

static void close_fixture(fixture *f) {
    vn_prompter_close(&f->prompter);
    vn_values_close(&f->part.values);
    vn_net_close(&f->part.net);
}

static vn_text_cache *open_cache(fixture *f, bool masked, uint64_t most, int32_t count) {
    vn_text_cache *c = NULL;
    const vn_text_cache_setup setup = {.prompter = f->prompter,
                                       .encoder = &f->part,
                                       .path = "texts",
                                       .count = count,
                                       .text = text_of,
                                       .masked = masked,
                                       .most = most,
                                       .watch = &f->watch};
    f->heard = (heard){0};
    CHECK(vn_text_cache_open(&setup, &c, &err));
    return c;
}

/* Text i of the file against the prompter's. */
static void expect_text(fixture *f, vn_text_cache *c, int32_t i, bool masked) {
    float states[LENGTH * WIDTH], pooled[WIDTH];
    int32_t mask[LENGTH];
    vn_array alone[VN_PROMPT_ARRAYS];
    CHECK(vn_text_cache_read(c, i, states, mask, pooled, &err));
    CHECK(vn_prompter_encode(f->prompter, i < 0 ? "" : texts[i], alone, NULL, &err));
    assert_memory_equal(mask, alone[VN_PROMPT_MASK].data, sizeof mask);
    assert_memory_equal(pooled, alone[VN_PROMPT_POOLED].data, sizeof pooled);
    const float *expected = alone[VN_PROMPT_STATES].data;
    for (int t = 0; t < LENGTH; t++)
        for (int k = 0; k < WIDTH; k++)
            assert_true(states[t * WIDTH + k] ==
                        (mask[t] || !masked ? expected[t * WIDTH + k] : 0));
}

/* In any order, and more than once. */
static void expect_all(fixture *f, vn_text_cache *c, bool masked) {
    for (int k = 0; k < 2 * (TEXTS + 1); k++) expect_text(f, c, k * 5 % (TEXTS + 1) - 1, masked);
}

static void texts_are_as_the_encoder_gives_them(void **state) {
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        fixture f;
        open_fixture(&f, 1);
        remove("texts");
        for (int again = 0; again < 2; again++) {
            vn_text_cache *c = open_cache(&f, masked, UINT64_MAX, TEXTS);
            assert_true(f.heard.made == !again && f.heard.anew == 0 && f.heard.left_out == 0);
            expect_all(&f, c, masked);
            vn_text_cache_close(&c);
        }
        struct stat info;
        assert_int_equal(stat("texts", &info), 0);
        /* without masks all tokens are kept; with them, of text i: i + 1 or 2 and its frame */
        const int64_t all = 40 + (TEXTS + 1) * (16 + 4 * WIDTH * (LENGTH + 1));
        if (masked)
            assert_true(info.st_size < all);
        else
            assert_int_equal(info.st_size, all);
        close_fixture(&f);
    }
}

/* What has no space in the file is encoded when it is read; a file that holds less than it might
 * stays as it is. */
static void the_file_is_bounded(void **state) {
    (void)state;
    for (uint64_t most = 0; most < 10000; most += 700) {
        fixture f;
        struct stat info;
        open_fixture(&f, 1);
        remove("texts");
        vn_text_cache *c = open_cache(&f, true, most, TEXTS);
        /* 250 tokens and 22 wholes of 8 numbers, 22 entries, and the head */
        assert_int_equal(f.heard.left_out, most < 9096);
        assert_int_equal(stat("texts", &info), 0);
        assert_true(info.st_size == 40 || (uint64_t)info.st_size <= most);
        expect_all(&f, c, true);
        vn_text_cache_close(&c);
        c = open_cache(&f, true, UINT64_MAX, TEXTS);
        assert_int_equal(f.heard.made, 0);
        expect_all(&f, c, true);
        vn_text_cache_close(&c);
        close_fixture(&f);
    }
}

static void expect_anew(fixture *f, int32_t count) {
    vn_text_cache *c = open_cache(f, true, UINT64_MAX, count);
    assert_true(f->heard.made == 1 && f->heard.anew == 1);
    if (count == TEXTS) expect_all(f, c, true);
    vn_text_cache_close(&c);
}

static void what_is_not_whole_is_made_anew(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, 1);
    remove("texts");
    vn_text_cache *c = open_cache(&f, true, UINT64_MAX, TEXTS);
    vn_text_cache_close(&c);
    size_t size;
    char *whole = scratch_read("texts", &size);
    for (size_t cut = 0; cut < size; cut += cut < 48 ? 1 : 97) {
        scratch_write("texts", whole, cut);
        expect_anew(&f, TEXTS);
        whole[cut] = (char)(whole[cut] ^ 4); /* one bit */
        scratch_write("texts", whole, size);
        expect_anew(&f, TEXTS);
        whole[cut] = (char)(whole[cut] ^ 4);
    }
    /* of a file that was cut while it is used a read fails, in words */
    c = open_cache(&f, true, UINT64_MAX, TEXTS);
    assert_int_equal(f.heard.made, 0);
    assert_int_equal(truncate("texts", 60), 0);
    float states[LENGTH * WIDTH];
    vn_err err = {0};
    assert_int_equal(vn_text_cache_read(c, TEXTS - 1, states, NULL, NULL, &err), VN_IO);
    assert_non_null(strstr(err.text, "texts: cannot be read, or has become shorter"));
    vn_text_cache_close(&c);
    free(whole);
    close_fixture(&f);
}

static void another_text_or_encoder_is_noticed(void **state) {
    (void)state;
    fixture f, other;
    open_fixture(&f, 1);
    remove("texts");
    vn_text_cache *c = open_cache(&f, true, UINT64_MAX, TEXTS);
    vn_text_cache_close(&c);
    expect_anew(&f, TEXTS - 1);
    expect_anew(&f, TEXTS);
    texts[TEXTS / 2][0] ^= 1;
    expect_anew(&f, TEXTS);
    open_fixture(&other, 2);
    texts[TEXTS / 2][0] ^= 1;
    expect_anew(&other, TEXTS);
    close_fixture(&other);
    close_fixture(&f);
}

static int stop(void *user, const vn_progress *progress) {
    (void)user;
    return progress->done >= 16;
}

static void encoding_can_be_stopped(void **state) {
    (void)state;
    fixture f;
    vn_err err = {0};
    vn_text_cache *c = NULL;
    open_fixture(&f, 1);
    remove("texts");
    f.watch.progress = stop;
    const vn_text_cache_setup setup = {.prompter = f.prompter,
                                       .encoder = &f.part,
                                       .path = "texts",
                                       .count = TEXTS,
                                       .text = text_of,
                                       .most = UINT64_MAX,
                                       .watch = &f.watch};
    assert_int_equal(vn_text_cache_open(&setup, &c, &err), VN_CANCELLED);
    assert_null(c);
    assert_int_equal(scratch_count("."), 0); /* nothing half is left */
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_as_the_encoder_gives_them),
        cmocka_unit_test(the_file_is_bounded),
        cmocka_unit_test(what_is_not_whole_is_made_anew),
        cmocka_unit_test(another_text_or_encoder_is_noticed),
        cmocka_unit_test(encoding_can_be_stopped),
    };
    return run_under_each_kernel_set(tests, scratch_enter, scratch_leave);
}
