/* test_save_drawn.c - samples that go to disk as they are drawn: they are those drawn at once, take
 * no more memory however many they are, and leave whole files where the run is stopped. Bytes are
 * compared, which are the same under each kernel set; the best one is used. */
#include "api/support_pictures.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "support/scratch.h"

enum { WIDE = 4096 }; /* numbers of a point, so that few are many bytes */

static vn_status denoise_wide(void *user, const vn_predict_query *q, float *out) {
    (void)user;
    asked++;
    for (int64_t i = 0; i < q->n * WIDE; i++) out[i] = 0.5f * q->x[i];
    return VN_OK;
}

/* Stops when so many samples are done. */
static int64_t stop_at = INT64_MAX;
static vn_progress latest;
static int64_t falls; /* how often progress went back */

static int on_progress(void *user, const vn_progress *p) {
    (void)user;
    if (p->done < latest.done) falls++;
    latest = *p;
    return p->done >= stop_at;
}

static fixture begin_wide_with(vn_context_options o) {
    fixture f = {0};
    o.progress = on_progress;
    assert_int_equal(vn_context_open(&f.vn, &o), VN_OK);
    vn_callback_model spec = vn_callback_model_default();
    spec.rank = 1;
    spec.shape[0] = WIDE;
    spec.predict = denoise_wide;
    expect_ok(f.vn, vn_model_from_callback(f.vn, &spec, &f.model));
    stop_at = INT64_MAX;
    latest = (vn_progress){0};
    falls = 0;
    return f;
}

static fixture begin_wide(void) {
    return begin_wide_with(vn_context_options_default());
}

static vn_sample_options wide(int64_t count) {
    vn_sample_options o = vn_sample_options_default();
    o.count = count;
    o.steps = 1;
    o.batch = 64;
    o.path = "rectified";
    o.sampler = "euler"; /* has no arrays to keep */
    return o;
}

/* 1024 of them are written at a time. */
static void test_samples_written_as_they_are_drawn_are_those_drawn_at_once(void **state) {
    (void)state;
    fixture f = begin_wide();
    vn_sample_options bands[] = {wide(1100), wide(40)};
    bands[1].seed = 8;
    bands[0].trace = bands[1].trace = 1; /* two levels: 341 at a time, in whole batches 320 */
    static const char *const forms[][2] = {{"at-once.safetensors", "drawn.safetensors"},
                                           {"at-once.npy", "drawn.npy"}};
    vn_samples *s = draw_bands(&f, bands, 2);
    latest = (vn_progress){0};
    falls = 0;
    for (int i = 0; i < 2; i++) {
        expect_ok(f.vn, vn_samples_save(s, forms[i][0]));
        expect_ok(f.vn, vn_sample_to(f.model, bands, 2, forms[i][1], VN_EXISTING_REFUSE, NULL));
        expect_same_file(forms[i][0], forms[i][1]);
        assert_int_equal(latest.done, 1140);
        assert_int_equal(latest.total, 1140);
        assert_string_equal(latest.unit, "samples");
        latest = (vn_progress){0};
        unlink(forms[i][0]);
        unlink(forms[i][1]);
        bands[0].trace = bands[1].trace = 0; /* which .npy does not hold */
    }
    assert_int_equal(falls, 0);
    vn_samples_close(&s);
    end(&f);
}

static void test_what_the_disk_has_no_space_for_is_refused_before_the_first_sample(void **state) {
    (void)state;
    fixture f = begin_wide();
    const vn_sample_options o = wide(2000000000);
    asked = 0;
    expect_refused_by(&f, vn_sample_to(f.model, &o, 1, "huge.npy", VN_EXISTING_REFUSE, NULL), VN_IO,
                      "huge.npy: needs 33 TB, and its disk has ");
    assert_int_equal(asked, 0);
    assert_int_not_equal(access("huge.npy", F_OK), 0);
    end(&f);
}

static int64_t peak_bytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)usage.ru_maxrss * 1024;
}

/* A hundred times as many samples take no more memory than the 16 MiB that are held: 105 MB of
 * samples here. */
static void test_memory_does_not_grow_with_the_count(void **state) {
    (void)state;
    fixture f = begin_wide();
    vn_sample_options o = wide(64);
    expect_ok(f.vn, vn_sample_to(f.model, &o, 1, "few.npy", VN_EXISTING_REFUSE, NULL));
    const int64_t before = peak_bytes();
    o = wide(6400);
    expect_ok(f.vn, vn_sample_to(f.model, &o, 1, "many.npy", VN_EXISTING_REFUSE, NULL));
    /* Measured: 15.8 MB. */
    if (peak_bytes() - before > 32000000)
        fail_msg("%lld bytes more", (long long)(peak_bytes() - before));
    unlink("many.npy");
    end(&f);
}

static void test_what_is_stopped_leaves_no_half_file_and_whole_pictures(void **state) {
    (void)state;
    fixture f = begin_wide();
    vn_sample_options o = wide(6400);
    stop_at = 2000;
    expect_refused_by(&f, vn_sample_to(f.model, &o, 1, "half.npy", VN_EXISTING_REFUSE, NULL),
                      VN_CANCELLED, "cancelled");
    expect_refused_by(&f,
                      vn_sample_to(f.model, &o, 1, "half.safetensors", VN_EXISTING_REFUSE, NULL),
                      VN_CANCELLED, "");
    end(&f);
    mkdir("halves", 0777);
    assert_int_equal(system("ls -A | grep -q half[.]"), 256);

    vn_context_options c = vn_context_options_default();
    c.progress = on_progress;
    assert_int_equal(vn_context_open(&f.vn, &c), VN_OK);
    f.model = open_pictures(f.vn, shoes, 2);
    vn_sample_options bands[] = {few(5, 1, NULL), few(5, 2, NULL)};
    stop_at = 8;
    bands[0].batch = bands[1].batch = 2;
    expect_refused_by(&f, vn_sample_to(f.model, bands, 2, "halves", VN_EXISTING_REFUSE, NULL),
                      VN_CANCELLED, "7 of 10 samples are in halves");
    /* the whole first band, and a batch of the second */
    assert_int_equal(scratch_count("halves"), 7);
    end(&f);
}

static char logged[256];

static void note_log(void *user, vn_log_level level, const char *text) {
    (void)user;
    (void)level;
    snprintf(logged, sizeof logged, "%s", text);
}

static vn_status reward_nothing(void *user, int64_t n, const float *x0, const int32_t *labels,
                                float *value, float *gradient) {
    (void)user;
    (void)x0;
    (void)labels;
    memset(value, 0, (size_t)n * sizeof *value);
    if (gradient) memset(gradient, 0, (size_t)n * WIDE * sizeof *gradient);
    return VN_OK;
}

static void test_what_must_be_held_is_said(void **state) {
    (void)state;
    vn_context_options o = vn_context_options_default();
    o.log = note_log;
    fixture f = begin_wide_with(o);
    vn_sample_options s = wide(1100);
    expect_ok(f.vn, vn_sample_to(f.model, &s, 1, "held.npy", VN_EXISTING_REFUSE, NULL));
    assert_string_equal(logged, "");
    s.batch = 0;
    s.guide = "fk";
    s.reward = reward_nothing;
    expect_ok(f.vn, vn_sample_to(f.model, &s, 1, "held.npy", VN_EXISTING_REFUSE, NULL));
    assert_string_equal(logged, "fk selects among samples: all 1100 are held, 18.02 MB");
    unlink("held.npy");
    end(&f);
}

/* Guides that select among samples see all samples of their band. */
static void test_populations_are_drawn_at_once(void **state) {
    (void)state;
    vn_context *vn = NULL;
    vn_model *model = NULL;
    make_world("world.json");
    assert_int_equal(vn_context_open(&vn, NULL), VN_OK);
    expect_ok(vn, vn_model_open(vn, "world.json", &model));
    fixture f = {vn, model};
    vn_sample_options o = few(6000, 2, "fk");
    vn_samples *s = draw(&f, o);
    expect_ok(vn, vn_samples_save(s, "at-once.npy"));
    expect_ok(vn, vn_sample_to(model, &o, 1, "drawn.npy", VN_EXISTING_REFUSE, NULL));
    expect_same_file("at-once.npy", "drawn.npy");
    vn_samples_close(&s);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_disk_has_no_space_for_is_refused_before_the_first_sample),
        cmocka_unit_test(test_memory_does_not_grow_with_the_count),
        cmocka_unit_test(test_samples_written_as_they_are_drawn_are_those_drawn_at_once),
        cmocka_unit_test(test_what_is_stopped_leaves_no_half_file_and_whole_pictures),
        cmocka_unit_test(test_populations_are_drawn_at_once),
        cmocka_unit_test(test_what_must_be_held_is_said),
    };
    return cmocka_run_group_tests_name("samples as they are drawn", tests, scratch_enter,
                                       scratch_leave);
}
