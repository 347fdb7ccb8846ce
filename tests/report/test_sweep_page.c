/* The page of a sweep: it needs no other file and runs nothing, every plot is there, names are
 * shown and not obeyed, and what was not measured is not shown. tools/page.sh opens it in a
 * browser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "report/report.h"
#include "support/alloc.h"
#include "support/scratch.h"

static void add(vn_sweep_folder *s, const char *guide, double guidance, int steps, int64_t count) {
    const double g = log(guidance / 1.6), fd = 5 + 12 * g * g + 40.0 / steps;
    const vn_point_result r = {
        .point = {guide, NULL, guidance, steps},
        .count = count,
        .numbers = 4,
        .number = {{"fd", fd, fd - 0.5, fd + 0.5},
                   {"accuracy", 1 - 0.4 / guidance, 1 - 0.45 / guidance, 1 - 0.35 / guidance},
                   {"precision", 1 - 0.3 / guidance, (double)NAN, (double)NAN},
                   {"recall", 0.8 / guidance, (double)NAN, (double)NAN}},
        .passes = 2.0 * steps,
        .seconds = 0.004 * steps,
        .example = (char *)(uintptr_t) "dot.png"};
    assert_int_equal(vn_sweep_append(s, &r, NULL), VN_OK);
}

static void open_sweep(vn_sweep_folder *s, const char *dir) {
    json_t *settings = json_pack("{s:s, s:i, s:[s, s]}", "model", "unet2d-01", "count", 1000,
                                 "metrics", "fd", "<b>");
    assert_int_equal(vn_sweep_open(s, dir, settings, NULL), VN_OK);
    json_decref(settings);
}

static vn_sweep_page page_of(const vn_sweep_folder *s, const vn_history *h) {
    vn_sweep_page page = {.sweep = s,
                          .source = "runs/<script>alert(1)</script> & \"more\"",
                          .objective = "fd",
                          .count = 1000,
                          .history = h,
                          .command = "vane sample 'a <run>' --out samples.png"};
    page.chosen = vn_sweep_recommend(s, "fd", 1000, &page.best);
    return page;
}

static char *write_page(const vn_sweep_folder *s, const vn_history *h) {
    vn_err err = {0};
    const vn_sweep_page page = page_of(s, h);
    size_t size;
    if (vn_sweep_page_write("report.html", &page, &err)) fail_msg("%s", err.text);
    return scratch_read("report.html", &size);
}

static size_t count_of(const char *text, const char *words) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, words)); at += strlen(words)) n++;
    return n;
}

static void expect(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("no \"%s\"", words);
}

/* The least PNG: its bytes only have to come back. */
static const unsigned char dot[] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10, 0, 255};

static void read_history(vn_history *h) {
    scratch_write_text("log.jsonl", "{\"step\": 10, \"loss_mean\": 1.5}\n"
                                    "{\"step\": 20, \"loss_mean\": 0.5, \"held_loss\": 0.4}\n");
    assert_int_equal(vn_history_read(h, "log.jsonl", NULL), VN_OK);
}

static void a_page_has_all_and_needs_nothing(void **state) {
    (void)state;
    static const double guidance[] = {1, 1.5, 2, 3};
    vn_sweep_folder s;
    vn_history h = {0};
    open_sweep(&s, "sweep");
    scratch_write("sweep/dot.png", dot, sizeof dot);
    for (size_t i = 0; i < 4; i++)
        for (int steps = 8; steps <= 16; steps *= 2) add(&s, "cfg", guidance[i], steps, 1000);
    const vn_point_result failed = {.point = {"cfg", NULL, 40, 16},
                                    .count = 1000,
                                    .passes = (double)NAN,
                                    .seconds = (double)NAN,
                                    .error = (char *)(uintptr_t) "sample 3 is <not> finite"};
    assert_int_equal(vn_sweep_append(&s, &failed, NULL), VN_OK);
    read_history(&h);
    char *text = write_page(&s, &h);

    expect(text, "<title>Sweep of runs/&lt;script&gt;alert(1)&lt;/script&gt; &amp; "
                 "&quot;more&quot;</title>");
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "<not>"));
    assert_null(strstr(text, "<b>"));
    assert_null(strstr(text, "http:"));
    assert_null(strstr(text, "https:"));
    assert_null(strstr(text, "url("));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf,"));
    expect(text, "sample 3 is &lt;not&gt; finite");
    expect(text, "<strong>cfg, guidance 1.5, 16 steps</strong>");
    expect(text, "vane sample &#39;a &lt;run&gt;&#39; --out samples.png");
    /* four measures, two fronts, cost, training */
    assert_int_equal(count_of(text, "<figure class=\"plot\">"), 8);
    expect(text, "Accuracy against guidance");
    expect(text, "Recall against precision");
    expect(text, "against seconds a sample");
    expect(text, "Loss against steps of training");
    expect(text, "8 steps</li>");
    /* of each picture the four with 16 steps */
    assert_int_equal(count_of(text, "<img "), 4);
    expect(text, "src=\"data:image/png;base64,iVBORw0KGgoA/w==\"");
    assert_int_equal(count_of(text, "<tr"), 1 + 9);
    assert_int_equal(count_of(text, "<tr class=\"chosen\">"), 1);
    assert_int_equal(count_of(text, "class=\"ring\""), 7);
    free(text);
    vn_history_close(&h);
    vn_sweep_close(&s);
}

/* Numbers become places: the largest y is highest, the least x leftmost, and a line joins them. */
static void points_are_where_they_belong(void **state) {
    (void)state;
    vn_sweep_folder s;
    open_sweep(&s, "places");
    const double y[] = {2, 4, 3};
    for (int i = 0; i < 3; i++) {
        const vn_point_result r = {.point = {"cfg", NULL, 1 + i, 8},
                                   .count = 1000,
                                   .numbers = 1,
                                   .number = {{"fd", y[i], (double)NAN, (double)NAN}},
                                   .passes = 8,
                                   .seconds = (double)NAN};
        assert_int_equal(vn_sweep_append(&s, &r, NULL), VN_OK);
    }
    char *text = write_page(&s, NULL);
    const char *curve = strstr(text, "<path class=\"curve\" d=\"");
    double px[3], py[3];
    assert_int_equal(sscanf(curve, "<path class=\"curve\" d=\"M%lf %lfL%lf %lfL%lf %lf\"", &px[0],
                            &py[0], &px[1], &py[1], &px[2], &py[2]),
                     6);
    assert_true(fabs((px[2] - px[0]) - 2 * (px[1] - px[0])) < 0.11);
    assert_true(px[0] > 52 && px[2] < 386 && py[1] > 10 && py[0] < 236);
    assert_true(fabs((py[0] - py[1]) - 2 * (py[0] - py[2])) < 0.21);
    assert_true(py[0] - py[1] > 100);
    assert_null(strstr(text, "Loss against"));
    assert_null(strstr(text, "<img"));
    free(text);
    vn_sweep_close(&s);
}

static void a_sweep_without_results_has_a_page(void **state) {
    (void)state;
    vn_sweep_folder s;
    open_sweep(&s, "none");
    char *text = write_page(&s, NULL);
    expect(text, "No point could be measured");
    assert_int_equal(count_of(text, "<figure"), 0);
    free(text);
    vn_sweep_close(&s);
}

/* After halving the plots show the rung with the most points, not numbers from unlike counts. */
static void halving_is_shown_by_its_largest_rung(void **state) {
    (void)state;
    static const double guidance[] = {1, 1.5, 2, 3, 4};
    vn_sweep_folder s;
    open_sweep(&s, "halved");
    for (size_t i = 0; i < 5; i++) add(&s, "cfg", guidance[i], 8, 250);
    add(&s, "cfg", 1.5, 8, 1000);
    add(&s, "cfg", 2, 8, 1000);
    char *text = write_page(&s, NULL);
    expect(text, "<small>250 samples a point</small>");
    assert_int_equal(count_of(text, "<tr"), 1 + 7);
    expect(text, "<tr class=\"chosen\"><td>cfg, guidance 1.5, 8 steps</td><td>1000</td>");
    assert_int_equal(count_of(text, "class=\"mark\"") / 7, 5);
    free(text);
    vn_sweep_close(&s);
}

static void memory_may_run_out(void **state) {
    (void)state;
    vn_sweep_folder s;
    vn_history h = {0};
    open_sweep(&s, "memory");
    scratch_write("memory/dot.png", dot, sizeof dot);
    add(&s, "cfg", 1.5, 8, 1000);
    add(&s, "cfg", 2, 8, 1000);
    read_history(&h);
    const vn_sweep_page page = page_of(&s, &h);
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        vn_err err = {0};
        const vn_status status = vn_sweep_page_write("memory.html", &page, &err);
        alloc_hit(&t, status);
    }
    vn_history_close(&h);
    vn_sweep_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_has_all_and_needs_nothing),
        cmocka_unit_test(points_are_where_they_belong),
        cmocka_unit_test(a_sweep_without_results_has_a_page),
        cmocka_unit_test(halving_is_shown_by_its_largest_rung),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
