/* Denoisers that take a text beside the image, SD3's and Flux's: a row's prediction is what the
 * network says of that row alone, whatever texts the other rows have; Flux's images are packed into
 * patches, its time is from 0 to 1, and guidance is an input. The networks are those of
 * tests/golden/mmdit, which test_golden.c holds to diffusers. */
#include "nn/support_golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guide/guide.h"
#include "model/model.h"
#include "support/bound.h"
#include "support/kernels.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

enum { TEXT = 5, POOLED = 6, MOST = 4 }; /* lengths of the golden networks' texts; most tokens */

typedef struct fixture {
    vn_golden golden;
    vn_model model;
    vn_device device;
    vn_path *path;
    vn_net_denoiser net_denoiser;
    vn_denoiser denoiser;
    vn_runner *runner;
    vn_condition condition[2];
    float text[2][MOST * TEXT], pooled[2][POOLED];
} fixture;

static const int64_t tokens[2] = {4, 1};

static void add_condition(fixture *f, int i) {
    const char *const names[2] = {"a fox", "null"};
    vn_random_normal(f->text[i], MOST * TEXT, 1, VN_STREAM_TEST, (uint64_t)i, 0);
    vn_random_normal(f->pooled[i], POOLED, 2, VN_STREAM_TEST, (uint64_t)i, 0);
    const vn_array arrays[] = {
        {"encoder_hidden_states", VN_F32, VN_SHAPE(tokens[i], TEXT), f->text[i]},
        {"pooled_projections", VN_F32, VN_SHAPE(POOLED), f->pooled[i]}};
    const bool pooled = vn_net_input(vn_net_get_io(f->golden.net), arrays[1].name);
    CHECK(vn_model_keep_condition(&f->model, names[i], pooled ? 2 : 1, arrays, &f->condition[i],
                                  &err));
}

static void open_fixture(fixture *f, const char *golden, vn_shape sample) {
    *f = (fixture){.device = {kernels, NULL, NULL}};
    vn_golden_open(&f->golden, golden);
    f->model = (vn_model){.source = vn_strdup("texts"), .parts = 1};
    f->model.part[0] = (vn_model_part){.net = f->golden.net, .values = f->golden.values};
    CHECK(vn_path_open("rectified", &f->path, &err));
    for (int i = 0; i < 2; i++) add_condition(f, i);
    vn_prediction prediction;
    CHECK(vn_prediction_parse("velocity", &prediction, &err));
    const vn_engine engine = {.device = &f->device};
    CHECK(vn_net_denoiser_open(&f->net_denoiser, &engine, f->golden.net, f->golden.values, f->path,
                               &prediction, &sample, -1, &f->model, &f->denoiser, &err));
    CHECK(vn_runner_open(f->golden.net, &f->device, f->golden.values, &f->runner, &err));
}

static void close_fixture(fixture *f) {
    vn_runner_close(&f->runner);
    vn_net_denoiser_close(&f->net_denoiser);
    vn_model_drop_conditions(&f->model);
    vn_path_close(&f->path);
    vn_free(f->model.source);
    vn_golden_close(&f->golden);
}

/* What the network says of one row: x in the network's shape; guidance where it takes that. */
static void ask(const fixture *f, const vn_array *x, float time, int text, float guidance,
                const vn_array *ids, float *out) {
    const vn_feed in[] = {
        {.array = *x},
        {.array = {"timestep", VN_F32, VN_SHAPE(1), &time}},
        {.array = {"encoder_hidden_states", VN_F32, VN_SHAPE(1, tokens[text], TEXT),
                   f->text[text]}},
        {.array = {"pooled_projections", VN_F32, VN_SHAPE(1, POOLED), f->pooled[text]}},
        {.array = {"guidance", VN_F32, VN_SHAPE(1), &guidance}},
        {.array = ids ? *ids : (vn_array){0}},
    };
    const int n = guidance > 0 ? (ids ? 6 : 5) : 4;
    vn_net_spec spec = {.extent = {.batch = 1}};
    CHECK(vn_net_match(f->golden.net, &spec.extent, n, in, &err));
    CHECK(vn_runner_run(f->runner, &spec, n, in, 1, &(vn_fetch){"sample", out}, &err));
}

static void mixed_texts_are_those_alone(void **state) {
    (void)state;
    enum { N = 5, SIZE = 2 * 4 * 6 };
    static const int text[N] = {0, 1, 0, 0, 1};
    fixture f;
    float x[N * SIZE], raw[N * SIZE], one[SIZE];
    vn_level level[N];
    vn_condition rows[N];
    open_fixture(&f, "mmdit/sd3", VN_SHAPE(2, 4, 6));
    assert_true(f.condition[1] == VN_CONDITION_NULL &&
                f.denoiser.can == (VN_CAN_VJP | VN_CAN_JVP | VN_CAN_ANNEAL));
    vn_random_normal(x, N * SIZE, 3, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        level[i] = vn_path_level(f.path, 0.1 + 0.2 * i);
        rows[i] = f.condition[text[i]];
    }
    const vn_query q = {.n = N, .x = x, .level = level, .condition = rows};
    CHECK(f.denoiser.predict(f.denoiser.self, &q, raw, &err));
    for (int i = 0; i < N; i++) {
        const vn_array sample = {"sample", VN_F32, VN_SHAPE(1, 2, 4, 6), x + i * SIZE};
        ask(&f, &sample, (float)(1000 * (0.1 + 0.2 * i)), text[i], 0, NULL, one);
        assert_memory_equal(one, raw + i * SIZE, sizeof one);
    }
    close_fixture(&f);
}

enum { C = 2, H = 4, W = 6, PATCHES = H / 2 * (W / 2), FLUX = C * H * W };

/* By the words of packing.c's head. */
static void pack(const float *image, float *packed) {
    for (int i = 0; i < H / 2; i++)
        for (int j = 0; j < W / 2; j++)
            for (int c = 0; c < C; c++)
                for (int a = 0; a < 2; a++)
                    for (int b = 0; b < 2; b++)
                        packed[(i * (W / 2) + j) * 4 * C + (c * 2 + a) * 2 + b] =
                            image[(c * H + 2 * i + a) * W + 2 * j + b];
}

static void flux_is_packed_and_told_how_to_guide(void **state) {
    (void)state;
    enum { N = 4 };
    static const int text[N] = {0, 1, 1, 0};
    static const float guidance[N] = {0.25F, NAN, 1, NAN};
    fixture f;
    float x[N * FLUX], raw[N * FLUX], packed[FLUX], one[FLUX], back[FLUX], ids[PATCHES * 3];
    vn_level level[N];
    vn_condition rows[N];
    open_fixture(&f, "mmdit/flux-guided", VN_SHAPE(C, H, W));
    assert_true(f.denoiser.can & VN_TAKES_GUIDANCE);
    vn_random_normal(x, N * FLUX, 4, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        level[i] = vn_path_level(f.path, 0.15 + 0.2 * i);
        rows[i] = f.condition[text[i]];
    }
    for (int i = 0; i < PATCHES; i++) {
        ids[3 * i] = 0;
        ids[3 * i + 1] = (float)(i / (W / 2));
        ids[3 * i + 2] = (float)(i % (W / 2));
    }
    const vn_array places = {"img_ids", VN_F32, VN_SHAPE(PATCHES, 3), ids};
    const vn_query q = {.n = N, .x = x, .level = level, .condition = rows, .guidance = guidance};
    CHECK(f.denoiser.predict(f.denoiser.self, &q, raw, &err));
    for (int i = 0; i < N; i++) {
        pack(x + i * FLUX, packed);
        const vn_array sample = {"sample", VN_F32, VN_SHAPE(1, PATCHES, 4 * C), packed};
        ask(&f, &sample, (float)(0.15 + 0.2 * i), text[i], isnan(guidance[i]) ? 3.5F : guidance[i],
            &places, one);
        pack(raw + i * FLUX, back);
        /* the same but for a rounding of the time, of up to 1000 sinusoids' 6e-8 */
        for (int k = 0; k < FLUX; k++) expect_small(fabs((double)back[k] - (double)one[k]), 1e-3);
    }
    close_fixture(&f);
}

/* J^T v and J v of packed images, held to each other: <u, J v> = <J^T u, v>. */
static void derivatives_are_unpacked(void **state) {
    (void)state;
    fixture f;
    float x[FLUX], u[FLUX], v[FLUX], forward[FLUX], back[FLUX];
    open_fixture(&f, "mmdit/flux", VN_SHAPE(C, H, W));
    assert_false(f.denoiser.can & VN_TAKES_GUIDANCE);
    const vn_level level = vn_path_level(f.path, 0.5);
    vn_random_normal(x, FLUX, 5, VN_STREAM_TEST, 0, 0);
    vn_random_normal(u, FLUX, 6, VN_STREAM_TEST, 0, 0);
    vn_random_normal(v, FLUX, 7, VN_STREAM_TEST, 0, 0);
    vn_query q = {
        .n = 1, .x = x, .level = &level, .condition = f.condition, .want = VN_JVP, .direction = v};
    CHECK(f.denoiser.predict(f.denoiser.self, &q, forward, &err));
    q.want = VN_VJP;
    q.direction = u;
    CHECK(f.denoiser.predict(f.denoiser.self, &q, back, &err));
    double left = 0, right = 0, size = 0;
    for (int k = 0; k < FLUX; k++) {
        left += (double)u[k] * (double)forward[k];
        right += (double)back[k] * (double)v[k];
        size += fabs((double)u[k] * (double)forward[k]);
    }
    assert_true(size > 1e-3);
    expect_small(fabs(left - right) / size, 1e-5); /* roundings of some thousand products */
    close_fixture(&f);
}

/* ---- guides inside the network --------------------------------------------------------------- */

/* What the network says of a row of SD3's, whose text lies before the one it is led away from. */
static void ask_led(const fixture *f, const float *x, float time, int text, const vn_perturb *by,
                    float *out) {
    float both[2 * MOST * TEXT];
    const size_t own = (size_t)tokens[text] * TEXT, other = (size_t)tokens[1] * TEXT;
    memcpy(both, f->text[text], own * sizeof *both);
    memcpy(both + own, f->text[1], other * sizeof *both);
    const vn_feed in[] = {
        {.array = {"sample", VN_F32, VN_SHAPE(1, 2, 4, 6), x}},
        {.array = {"timestep", VN_F32, VN_SHAPE(1), &time}},
        {.array = {"encoder_hidden_states", VN_F32, VN_SHAPE(1, tokens[text] + tokens[1], TEXT),
                   both}},
        {.array = {"pooled_projections", VN_F32, VN_SHAPE(1, POOLED), f->pooled[text]}}};
    vn_net_spec spec = {.extent = {.batch = 1}, .negative = tokens[1], .perturb = {*by}};
    CHECK(vn_net_match(f->golden.net, &spec.extent, 4, in, &err));
    CHECK(vn_runner_run(f->runner, &spec, 4, in, 1, &(vn_fetch){"sample", out}, &err));
}

/* NAG: each row has its text and the other behind it, whatever the batch; rows under none are those
 * of the network as it is. */
static void rows_are_led_away_from_the_other_text(void **state) {
    (void)state;
    enum { N = 4, SIZE = 2 * 4 * 6 };
    static const int text[N] = {0, 1, 0, 1};
    const vn_perturb led = {.kind = VN_ATTENTION_NORMALIZED,
                            .amount = 5,
                            .last = 99,
                            .limit = 2.5,
                            .part = 0.25,
                            .against = VN_CONDITION_NULL,
                            .none = VN_CONDITION_NULL};
    fixture f;
    float x[N * SIZE], raw[N * SIZE], one[SIZE], plain[N * SIZE];
    vn_level level[N];
    vn_condition rows[N];
    open_fixture(&f, "mmdit/sd3", VN_SHAPE(2, 4, 6));
    assert_true(f.denoiser.perturbations & VN_ATTENTION_NORMALIZED);
    vn_random_normal(x, N * SIZE, 8, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        level[i] = vn_path_level(f.path, 0.1 + 0.2 * i);
        rows[i] = f.condition[text[i]];
    }
    vn_query q = {.n = N, .x = x, .level = level, .condition = rows};
    CHECK(f.denoiser.predict(f.denoiser.self, &q, plain, &err));
    q.always = led;
    CHECK(f.denoiser.predict(f.denoiser.self, &q, raw, &err));
    for (int i = 0; i < N; i++) {
        ask_led(&f, x + i * SIZE, (float)(1000 * (0.1 + 0.2 * i)), text[i], &led, one);
        assert_memory_equal(one, raw + i * SIZE, sizeof one);
        assert_true((memcmp(raw + i * SIZE, plain + i * SIZE, sizeof one) == 0) == (text[i] == 1));
    }
    /* what stands for none is spared too */
    q.always.none = f.condition[0];
    CHECK(f.denoiser.predict(f.denoiser.self, &q, raw, &err));
    assert_memory_equal(raw, plain, sizeof raw);
    close_fixture(&f);
}

/* CADS: the noise is of a row's own sample and step, in Flux's networks too; there is none at low
 * noise levels and under none. */
static void noise_on_conditions_is_the_sample_s_own(void **state) {
    (void)state;
    enum { N = 4 };
    static const int text[N] = {0, 0, 1, 0};
    static const double t[N] = {0.95, 0.7, 0.95, 0.5};
    static const uint64_t sample[N] = {7, 7, 9, 11};
    vn_anneal anneal = {
        .from = 0.6, .to = 0.9, .scale = 0.25, .mix = 1, .seed = 3, .none = VN_CONDITION_NULL};
    fixture f;
    float x[N * FLUX], raw[N * FLUX], plain[N * FLUX], one[FLUX];
    vn_level level[N];
    vn_condition rows[N];
    open_fixture(&f, "mmdit/flux", VN_SHAPE(C, H, W));
    assert_true(f.denoiser.can & VN_CAN_ANNEAL);
    vn_random_normal(x, N * FLUX, 9, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        level[i] = vn_path_level(f.path, t[i]);
        rows[i] = f.condition[text[i]];
    }
    vn_query q = {.n = N, .x = x, .level = level, .condition = rows, .sample = sample, .step = 2};
    CHECK(f.denoiser.predict(f.denoiser.self, &q, plain, &err));
    q.anneal = &anneal;
    CHECK(f.denoiser.predict(f.denoiser.self, &q, raw, &err));
    for (int i = 0; i < N; i++) {
        const vn_query alone = {.n = 1,
                                .x = x + i * FLUX,
                                .level = level + i,
                                .condition = rows + i,
                                .sample = sample + i,
                                .step = 2,
                                .anneal = &anneal};
        CHECK(f.denoiser.predict(f.denoiser.self, &alone, one, &err));
        assert_memory_equal(one, raw + i * FLUX, sizeof one);
        assert_true((memcmp(raw + i * FLUX, plain + i * FLUX, sizeof one) != 0) == (i < 2));
        /* another sample, step or seed: other noise, where there is any */
        for (int k = 0; k < 3; k++) {
            static const uint64_t other = 8;
            vn_anneal reseeded = anneal;
            reseeded.seed += k == 2;
            vn_query changed = alone;
            changed.sample = k == 0 ? &other : alone.sample;
            changed.step += k == 1;
            changed.anneal = &reseeded;
            CHECK(f.denoiser.predict(f.denoiser.self, &changed, one, &err));
            assert_true((memcmp(one, raw + i * FLUX, sizeof one) != 0) == (i < 2));
        }
    }
    anneal.none = f.condition[0];
    CHECK(f.denoiser.predict(f.denoiser.self, &q, raw, &err));
    assert_memory_equal(raw, plain, sizeof raw);
    close_fixture(&f);
}

/* One guided prediction of the fox. */
static void guide_by(fixture *f, const char *guides, const float *x, const vn_level *level,
                     vn_estimate out) {
    vn_guidance *g = NULL;
    const vn_guidance_options o = {
        .guide = guides, .gamma = 2, .seed = 1, .denoiser = &f->denoiser, .capacity = 1};
    vn_err err = {0};
    if (vn_guidance_open(&o, &g, &err)) fail_msg("%s: %s", guides, err.text);
    vn_guidance_begin(g, 1, 0, f->condition);
    vn_guidance_step(g, 0, 10, 0, level);
    if (vn_guidance_predict(g, &(vn_request){.x = x, .level = level}, out, &err))
        fail_msg("%s: %s", guides, err.text);
    vn_guidance_close(&g);
}

/* Guides that are about texts have an effect on each kind of network that takes one, and one that
 * names a text which is not known is refused. */
static void guides_of_texts_act_on_each_network(void **state) {
    (void)state;
    static const struct {
        const char *golden;
        int64_t c, h, w;
    } cases[] = {{"mmdit/sd3", 2, 4, 6}, {"mmdit/flux", C, H, W}, {"unet_condition/sd1", 2, 8, 4}};
    static const char *const guides[] = {"negative:class=owl",
                                         "compose:class=owl,weight=2",
                                         "perp-neg:class=owl",
                                         "pladis",
                                         "nag",
                                         "nag:class=owl",
                                         "cads",
                                         "pag:first=0"};
    enum { MOST_SIZE = 2 * 8 * 4 };
    for (size_t k = 0; k < VN_COUNT(cases); k++) {
        fixture f;
        float x[MOST_SIZE], out[4][MOST_SIZE], owl[TEXT * 3], pooled[POOLED];
        vn_condition number;
        open_fixture(&f, cases[k].golden, VN_SHAPE(cases[k].c, cases[k].h, cases[k].w));
        vn_random_normal(owl, TEXT * 3, 11, VN_STREAM_TEST, 0, 0);
        vn_random_normal(pooled, POOLED, 12, VN_STREAM_TEST, 0, 0);
        const vn_array arrays[] = {{"encoder_hidden_states", VN_F32, VN_SHAPE(3, TEXT), owl},
                                   {"pooled_projections", VN_F32, VN_SHAPE(POOLED), pooled}};
        const bool has = vn_net_input(vn_net_get_io(f.golden.net), arrays[1].name);
        CHECK(vn_model_keep_condition(&f.model, "owl", has ? 2 : 1, arrays, &number, &err));
        f.denoiser.conditions = vn_model_conditions(&f.model);
        const vn_level level = vn_path_level(f.path, 0.8);
        vn_random_normal(x, MOST_SIZE, 10, VN_STREAM_TEST, 0, 0);
        guide_by(&f, "cfg", x, &level, (vn_estimate){out[0], out[1]});
        for (size_t i = 0; i < VN_COUNT(guides); i++) {
            guide_by(&f, guides[i], x, &level, (vn_estimate){out[2], out[3]});
            double most = 0;
            for (int64_t j = 0; j < f.denoiser.size; j++)
                most = fmax(most, fabs((double)out[2][j] - (double)out[0][j]));
            if (!(most > 1e-5)) fail_msg("%s changes nothing of %s", guides[i], cases[k].golden);
        }
        vn_guidance *g = NULL;
        vn_err err = {0};
        const vn_guidance_options o = {
            .guide = "nag:class=cat", .gamma = 2, .denoiser = &f.denoiser, .capacity = 1};
        assert_int_equal(vn_guidance_open(&o, &g, &err), VN_BAD_ARGUMENT);
        assert_non_null(strstr(err.text, "cat"));
        close_fixture(&f);
    }
}

static void what_is_no_condition_is_refused(void **state) {
    (void)state;
    static const float x[8];
    static const char *const names[] = {"guidance", "img_ids", "txt_ids", "sample"};
    fixture f;
    open_fixture(&f, "mmdit/flux-guided", VN_SHAPE(C, H, W));
    for (size_t i = 0; i < VN_COUNT(names); i++) {
        vn_err err = {0};
        vn_condition c;
        const vn_array array = {names[i], VN_F32, VN_SHAPE(1), x};
        assert_int_equal(vn_model_keep_condition(&f.model, "owl", 1, &array, &c, &err),
                         VN_BAD_ARGUMENT);
        if (!strstr(err.text, "takes no")) fail_msg("%s", err.text);
    }
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_texts_are_those_alone),
        cmocka_unit_test(flux_is_packed_and_told_how_to_guide),
        cmocka_unit_test(derivatives_are_unpacked),
        cmocka_unit_test(rows_are_led_away_from_the_other_text),
        cmocka_unit_test(noise_on_conditions_is_the_sample_s_own),
        cmocka_unit_test(guides_of_texts_act_on_each_network),
        cmocka_unit_test(what_is_no_condition_is_refused),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
