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
    CHECK(vn_model_keep_condition(&f->model, names[i], 2, arrays, &f->condition[i], &err));
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
    assert_true(f.condition[1] == VN_CONDITION_NULL && f.denoiser.can == (VN_CAN_VJP | VN_CAN_JVP));
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
        cmocka_unit_test(what_is_no_condition_is_refused),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
