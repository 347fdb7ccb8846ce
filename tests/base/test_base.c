/* Error texts, memory, arenas, watch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "support/alloc.h"

/* ---- errors ---------------------------------------------------------------------------------- */

static void fail_sets_status_and_text(void **state) {
    (void)state;
    vn_err err = {0};
    assert_int_equal(vn_fail(&err, VN_BAD_FILE, "%s: %d", "a.png", 3), VN_BAD_FILE);
    assert_int_equal(err.status, VN_BAD_FILE);
    assert_string_equal(err.text, "a.png: 3");
    assert_int_equal(vn_fail(NULL, VN_IO, "nobody listens"), VN_IO);
    assert_int_equal(vn_no_memory(&err), VN_NO_MEMORY);
    assert_string_equal(err.text, "out of memory");
}

static void fail_in_puts_a_prefix(void **state) {
    (void)state;
    vn_err err = {0};
    vn_fail(&err, VN_BAD_FILE, "shape is not a list");
    assert_int_equal(vn_fail_in(&err, "%s: tensor '%s'", "m", "w"), VN_BAD_FILE);
    assert_string_equal(err.text, "m: tensor 'w': shape is not a list");
}

static void fail_may_quote_its_own_text(void **state) {
    (void)state;
    vn_err err = {0};
    vn_fail(&err, VN_BAD_FILE, "inner");
    vn_fail(&err, VN_BAD_FILE, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
}

static void errno_gives_the_reason(void **state) {
    (void)state;
    vn_err err = {0};
    errno = ENOSPC;
    assert_int_equal(vn_fail_errno(&err, "%s", "out.png"), VN_IO);
    assert_string_equal(err.text, "out.png: No space left on device");
    errno = ENOMEM;
    assert_int_equal(vn_fail_errno(&err, "%s", "out.png"), VN_NO_MEMORY);
}

static void texts_are_one_printable_line(void **state) {
    (void)state;
    vn_err err = {0};
    vn_fail(&err, VN_BAD_FILE, "name '%s'", "a\nb\x1b[31m\x7f");
    assert_string_equal(err.text, "name 'a?b?[31m?'");
    /* a C1 control, a change of direction, a line separator, a byte order mark, bytes that are no
     * UTF-8; and letters */
    vn_fail(&err, VN_BAD_FILE, "%s",
            "\xC2\x9B|\xE2\x80\xAE|\xE2\x80\xA8|\xEF\xBB\xBF|\xFF\xC3|\xC0\x80|\xED\xA0\x80|é靴👟");
    assert_string_equal(err.text, "?|?|?|?|??|??|???|é靴👟");
}

static void characters_are_read_one_by_one(void **state) {
    (void)state;
    static const uint32_t codes[] = {'a', 0xE9,        0x9774, 0x1F45F, VN_NOT_UTF8,
                                     'b', VN_NOT_UTF8, 0,      0};
    const char *text = "aé靴👟\xE9"
                       "b\xF0";
    for (size_t i = 0; i < VN_COUNT(codes); i++) assert_true(vn_utf8_next(&text) == codes[i]);
}

static void long_texts_are_cut_between_characters(void **state) {
    (void)state;
    char text[3001];
    for (int shift = 0; shift < 3; shift++) {
        memset(text, 'x', sizeof text);
        for (size_t i = (size_t)shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 3);
        text[3000] = 0;
        vn_err err = {0};
        vn_fail(&err, VN_BAD_FILE, "%s", text);
        size_t n = strlen(err.text);
        assert_in_range(n, sizeof err.text - 4, sizeof err.text - 1);
        assert_true(vn_is_utf8(err.text));
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void sizes_do_not_overflow(void **state) {
    (void)state;
    size_t product;
    assert_true(vn_mul_overflows(SIZE_MAX / 2, 3, &product));
    assert_false(vn_mul_overflows(SIZE_MAX / 2, 2, &product));
    assert_null(vn_alloc(SIZE_MAX / 2, 3));
    assert_null(vn_calloc(SIZE_MAX, SIZE_MAX));
    assert_null(vn_alloc_aligned(SIZE_MAX / 4, 8));
    char *p = vn_alloc(4, 1);
    assert_null(vn_realloc(p, SIZE_MAX / 2, 4));
    vn_free(p);
}

static void nothing_is_something(void **state) {
    (void)state;
    void *a = vn_alloc(0, 8), *b = vn_calloc(8, 0), *c = vn_alloc_aligned(0, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    vn_free(a);
    vn_free(b);
    vn_free(c);
}

static void aligned_is_aligned(void **state) {
    (void)state;
    for (size_t n = 1; n < 300; n += 13) {
        char *p = vn_alloc_aligned(n, 1);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 1, n);
        vn_free(p);
    }
}

static void strings_are_made(void **state) {
    (void)state;
    char *text = vn_format("%s-%05d", "step", 42), *copy = vn_strdup(text);
    assert_string_equal(text, "step-00042");
    assert_string_equal(copy, text);
    assert_ptr_not_equal(copy, text);
    vn_free(text);
    vn_free(copy);
}

static void arena_gives_cleared_blocks_apart(void **state) {
    (void)state;
    vn_arena arena = {0};
    unsigned char *block[200];
    size_t size[200];
    for (int i = 0; i < 200; i++) {
        size[i] = i % 50 == 49 ? 40000 : (size_t)(i * 7);
        block[i] = vn_arena_alloc(&arena, size[i]);
        assert_non_null(block[i]);
        assert_int_equal((uintptr_t)block[i] % 16, 0);
        for (size_t j = 0; j < size[i]; j++) assert_int_equal(block[i][j], 0);
        memset(block[i], i + 1, size[i]);
    }
    for (int i = 0; i < 200; i++)
        for (size_t j = 0; j < size[i]; j++) assert_int_equal(block[i][j], (unsigned char)(i + 1));
    assert_null(vn_arena_alloc(&arena, SIZE_MAX - 8));
    vn_arena_free(&arena);
    assert_null(arena.head);
}

static void failed_allocations_are_null(void **state) {
    (void)state;
    vn_arena arena = {0};
    int64_t live = alloc_live();
    alloc_fail(0, ALLOC_FROM_THEN_ON);
    void *p[] = {vn_alloc(1, 1),           vn_calloc(1, 1), vn_realloc(NULL, 1, 1),
                 vn_alloc_aligned(1, 1),   vn_strdup("ab"), vn_format("%d", 1),
                 vn_arena_alloc(&arena, 8)};
    bool failed = alloc_fail_end();
    assert_true(failed);
    for (size_t i = 0; i < VN_COUNT(p); i++) assert_null(p[i]);
    assert_int_equal(alloc_live(), live);
    vn_arena_free(&arena);
}

/* ---- watch ----------------------------------------------------------------------------------- */

typedef struct heard {
    char text[64];
    vn_log_level level;
    int64_t done;
    int answer;
} heard;

static void hear_log(void *user, vn_log_level level, const char *text) {
    heard *h = user;
    h->level = level;
    snprintf(h->text, sizeof h->text, "%s", text);
}

static int hear_progress(void *user, const vn_progress *p) {
    heard *h = user;
    h->done = p->done;
    return h->answer;
}

static void watch_reports_and_stops(void **state) {
    (void)state;
    heard h = {0};
    atomic_int cancel = 0;
    vn_watch watch = {.log = hear_log, .progress = hear_progress, .user = &h, .cancel = &cancel};
    vn_progress p = {.what = "training", .done = 3};
    vn_log(&watch, VN_LOG_WARNING, "%d files", 2);
    assert_string_equal(h.text, "2 files");
    vn_log(&watch, VN_LOG_WARNING, "'%s'", "\033[2J\nowned");
    assert_string_equal(h.text, "'?[2J?owned'");
    assert_int_equal(h.level, VN_LOG_WARNING);
    assert_false(vn_report(&watch, &p));
    assert_int_equal(h.done, 3);
    h.answer = 1;
    assert_true(vn_report(&watch, &p));
    h.answer = 0;
    cancel = 1;
    assert_true(vn_report(&watch, &p));
    vn_watch silent = {.cancel = &cancel};
    assert_true(vn_report(&silent, &p));
    vn_log(&silent, VN_LOG_INFO, "nobody listens");
    assert_false(vn_report(NULL, &p));
    vn_log(NULL, VN_LOG_INFO, "nobody listens");
}

static void time_goes_on(void **state) {
    (void)state;
    double a = vn_now(), b = vn_now();
    assert_true(a > 0 && b >= a && b < a + 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_sets_status_and_text),
        cmocka_unit_test(fail_in_puts_a_prefix),
        cmocka_unit_test(fail_may_quote_its_own_text),
        cmocka_unit_test(errno_gives_the_reason),
        cmocka_unit_test(texts_are_one_printable_line),
        cmocka_unit_test(characters_are_read_one_by_one),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(sizes_do_not_overflow),
        cmocka_unit_test(nothing_is_something),
        cmocka_unit_test(aligned_is_aligned),
        cmocka_unit_test(strings_are_made),
        cmocka_unit_test(arena_gives_cleared_blocks_apart),
        cmocka_unit_test(failed_allocations_are_null),
        cmocka_unit_test(watch_reports_and_stops),
        cmocka_unit_test(time_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
