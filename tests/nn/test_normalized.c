/* test_normalized.c - attention led away from a second text (NAG) in all networks that attend to
 * one. Against the formula, in double; and by what must be so whatever the network is: the same
 * text twice changes nothing, nor does a scale of 1 or a part of 0; led all the way, the network is
 * the one under the other text, which nothing of the perturbation's own code computes. */
#include "nn/support_golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/internal.h"
#include "support/bound.h"
#include "support/kernels.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

/* What a network is told of a text beside its tokens. */
typedef enum whole { NOTHING, MEAN, POOL } whole;

static const struct {
    const char *golden;
    whole whole;
} networks[] = {
    {"text_dit/plain", MEAN},
    {"text_dit/one", MEAN},
    {"mmdit/sd3", NOTHING},
    {"mmdit/sd3-dual", NOTHING},
    {"mmdit/flux", NOTHING},
    {"mmdit/flux-guided", NOTHING},
    {"unet_condition/sd1", NOTHING},
    {"unet_condition/sdxl", NOTHING},
    {"unet_condition/lists", NOTHING},
    {"unet_condition/plain-middle", NOTHING},
    {"unet_condition/added-keys", POOL},
};

enum { MOST = 1024, ROWS = 3, TOKENS = 7, WIDE = 8 };

/* A text for each row: states [rows,tokens,width] and which of them are seen. */
typedef struct texts {
    int64_t tokens;
    float states[ROWS * TOKENS * WIDE];
    int32_t seen[ROWS * TOKENS];
} texts;

typedef struct fixture {
    vn_golden golden;
    vn_runner *runner;
    int64_t rows, width, count; /* of the text's numbers a token; of the output */
    texts text, other;
} fixture;

static texts make_texts(const fixture *f, int64_t tokens, uint64_t seed) {
    texts t = {.tokens = tokens};
    vn_random_normal(t.states, (size_t)(f->rows * tokens * f->width), seed, VN_STREAM_TEST, 0, 0);
    for (int64_t i = 0; i < f->rows * tokens; i++) t.seen[i] = i % tokens < 2 || i % 3 != 0;
    return t;
}

static fixture open_fixture(const char *golden) {
    fixture f;
    vn_golden_open(&f.golden, golden);
    CHECK(vn_runner_open(f.golden.net, &(vn_device){kernels, NULL, NULL}, f.golden.values,
                         &f.runner, &err));
    const vn_shape text = vn_safetensors_find(f.golden.file, "encoder_hidden_states")->shape;
    f.rows = text.dim[0];
    f.width = text.dim[2];
    f.count = vn_shape_count(&vn_safetensors_find(f.golden.file, "output")->shape);
    assert_true(f.count <= MOST && f.rows <= ROWS && f.width <= WIDE);
    f.text = make_texts(&f, 3, 1);
    f.other = make_texts(&f, 4, 2);
    return f;
}

static void close_fixture(fixture *f) {
    vn_runner_close(&f->runner);
    vn_golden_close(&f->golden);
}

/* The rows of a, and behind each those of b. */
static void lay_out(const fixture *f, const texts *a, const texts *b, texts *out) {
    out->tokens = a->tokens + (b ? b->tokens : 0);
    const size_t wide = (size_t)f->width * sizeof(float);
    assert_true(out->tokens <= TOKENS);
    for (int64_t i = 0; i < f->rows; i++)
        for (int64_t k = 0; k < out->tokens; k++) {
            const texts *from = k < a->tokens ? a : b;
            const int64_t at = i * from->tokens + (k < a->tokens ? k : k - a->tokens),
                          to = i * out->tokens + k;
            memcpy(out->states + to * f->width, from->states + at * f->width, wide);
            out->seen[to] = from->seen[at];
        }
}

/* The network's answer to the file's inputs, but with these texts. by NULL: without the other. */
static vn_status run(const fixture *f, const texts *text, const texts *other, const vn_perturb *by,
                     float *out, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(f->golden.net);
    static texts all;
    vn_feed in[VN_MAX_PORTS] = {{.scale = NULL}};
    int n = 0;
    lay_out(f, text, other, &all);
    for (int i = 0; i < io->inputs; i++) {
        const char *name = io->input[i].name;
        const vn_array *t = vn_safetensors_find(f->golden.file, name);
        if (!strcmp(name, "encoder_hidden_states"))
            in[n++].array =
                (vn_array){name, VN_F32, VN_SHAPE(f->rows, all.tokens, f->width), all.states};
        else if (!strcmp(name, "encoder_attention_mask"))
            in[n++].array = (vn_array){name, VN_I32, VN_SHAPE(f->rows, all.tokens), all.seen};
        else if (t && strcmp(name, "txt_ids") != 0)
            in[n++].array = *t;
    }
    vn_net_spec spec = {.negative = other ? other->tokens : 0};
    if (by) spec.perturb[1] = *by;
    const vn_status status = vn_net_match(f->golden.net, &spec.extent, n, in, err);
    return status ? status
                  : vn_runner_run(f->runner, &spec, n, in, 1, &(vn_fetch){"sample", out}, err);
}

static vn_perturb normalized(double amount, double limit, double part) {
    return (vn_perturb){.kind = VN_ATTENTION_NORMALIZED,
                        .amount = amount,
                        .last = 99,
                        .limit = limit,
                        .part = part};
}

#define NO_LIMIT 1e30

/* ---- what changes nothing -------------------------------------------------------------------- */

static void nothing_is_nothing_to_the_bit(void **state) {
    (void)state;
    float plain[MOST], led[MOST];
    const vn_perturb scale_1 = normalized(1, 2.5, 0.25), part_0 = normalized(5, 2.5, 0),
                     usual = normalized(5, 2.5, 0.25), no_limit = normalized(-3, NO_LIMIT, 1);
    for (size_t k = 0; k < VN_COUNT(networks); k++) {
        fixture f = open_fixture(networks[k].golden);
        const size_t bytes = (size_t)f.count * sizeof(float);
        CHECK(run(&f, &f.text, NULL, NULL, plain, &err));
        CHECK(run(&f, &f.text, &f.other, &scale_1, led, &err));
        assert_memory_equal(led, plain, bytes);
        CHECK(run(&f, &f.text, &f.other, &part_0, led, &err));
        assert_memory_equal(led, plain, bytes);
        CHECK(run(&f, &f.text, &f.text, &usual, led, &err));
        assert_memory_equal(led, plain, bytes);
        CHECK(run(&f, &f.text, &f.text, &no_limit, led, &err));
        assert_memory_equal(led, plain, bytes);
        CHECK(run(&f, &f.text, &f.other, &usual, led, &err));
        assert_true(memcmp(led, plain, bytes) != 0);
        close_fixture(&f);
    }
}

/* ---- all the way to the other text ----------------------------------------------------------- */

static double distance(const fixture *f, const float *a, const float *b) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < f->count; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(error / size);
}

/* Tokens mirrored at their mean, which stays: another text with the same mean. */
static texts mirrored(const fixture *f, texts t) {
    for (int64_t i = 0; i < f->rows; i++)
        for (int64_t c = 0; c < f->width; c++) {
            float *at = t.states + i * t.tokens * f->width + c;
            double mean = 0;
            for (int64_t k = 0; k < t.tokens; k++) mean += (double)at[k * f->width];
            mean /= (double)t.tokens;
            for (int64_t k = 0; k < t.tokens; k++)
                at[k * f->width] = (float)(2 * mean - (double)at[k * f->width]);
        }
    return t;
}

/* z + (0 - 1) (z - other) is `other` but for a rounding, in each layer, of which the networks have
 * up to ten; measured at most 8.1e-7. */
#define LED_ERROR 4e-6

static void led_all_the_way_it_is_the_other_text(void **state) {
    (void)state;
    const vn_perturb exchanged = normalized(0, NO_LIMIT, 1);
    float under[MOST], plain[MOST], led[MOST];
    for (size_t k = 0; k < VN_COUNT(networks); k++) {
        if (networks[k].whole == POOL) continue; /* other texts are another whole */
        fixture f = open_fixture(networks[k].golden);
        if (networks[k].whole == MEAN) {
            for (int64_t i = 0; i < ROWS * TOKENS; i++) f.text.seen[i] = 1;
            f.other = mirrored(&f, f.text);
        }
        CHECK(run(&f, &f.text, NULL, NULL, plain, &err));
        CHECK(run(&f, &f.other, NULL, NULL, under, &err));
        CHECK(run(&f, &f.text, &f.other, &exchanged, led, &err));
        assert_true(distance(&f, plain, under) > 1e-3);
        expect_below_as(distance(&f, led, under), LED_ERROR, "%s", networks[k].golden);
        close_fixture(&f);
    }
}

/* Without a limit what counts is part (amount - 1). */
static void part_and_scale_are_one_without_a_limit(void **state) {
    (void)state;
    const vn_perturb two = normalized(3, NO_LIMIT, 1), half = normalized(5, NO_LIMIT, 0.5);
    float a[MOST], b[MOST];
    for (size_t k = 0; k < VN_COUNT(networks); k++) {
        fixture f = open_fixture(networks[k].golden);
        CHECK(run(&f, &f.text, &f.other, &two, a, &err));
        CHECK(run(&f, &f.text, &f.other, &half, b, &err));
        expect_below_as(distance(&f, a, b), LED_ERROR, "%s", networks[k].golden);
        close_fixture(&f);
    }
}

/* Layer by layer: each of the two is another network, and so are both. */
static void layers_are_led_by_themselves(void **state) {
    (void)state;
    static const char *const golden[] = {"text_dit/plain", "mmdit/sd3", "mmdit/flux"};
    float out[4][MOST];
    for (size_t k = 0; k < VN_COUNT(golden); k++) {
        fixture f = open_fixture(golden[k]);
        vn_perturb by = normalized(5, 2.5, 0.25);
        CHECK(run(&f, &f.text, NULL, NULL, out[0], &err));
        for (int i = 1; i < 4; i++) {
            by.first = i == 2;
            by.last = i == 1 ? 0 : 1;
            CHECK(run(&f, &f.text, &f.other, &by, out[i], &err));
        }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < i; j++) assert_true(distance(&f, out[i], out[j]) > 1e-6);
        close_fixture(&f);
    }
}

/* ---- the formula ----------------------------------------------------------------------------- */

/* Two samples of four tokens; of the last the first is 0, and so is the other text's. */
static void tokens_are_as_the_paper_has_them(void **state) {
    (void)state;
    enum { N = 2, T = 4, C = 5, ALL = N * T * C };
    static const double amounts[] = {5, 2, -1}, limits[] = {1, 2.5, NO_LIMIT};
    float z[ALL], other[ALL], out[ALL];
    int limited = 0, unlimited = 0;
    vn_random_normal(z, ALL, 1, VN_STREAM_TEST, 0, 0);
    vn_random_normal(other, ALL, 2, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < 2 * C; i++) other[i] = z[i] * 0.9F;
    for (int i = ALL - C; i < ALL; i++) z[i] = other[i] = 0;
    double error = 0;
    for (size_t m = 0; m < VN_COUNT(amounts) * VN_COUNT(limits); m++) {
        const vn_perturb by[VN_NET_PERTURBS] = {normalized(amounts[m % 3], limits[m / 3], 0.25)};
        const vn_shape shape = VN_SHAPE(N, T, C);
        vn_graph *g = NULL;
        vn_program *program = NULL;
        CHECK(vn_graph_open(&g, &err));
        const vn_scope s = {.g = g, .net = "test", .perturb = by};
        vn_node *y = vn_normalized_attention(&s, vn_const(g, VN_F32, shape, z),
                                             vn_const(g, VN_F32, shape, other));
        CHECK(vn_graph_status(g, &err));
        const vn_program_options options = {
            .device = &(vn_device){kernels, NULL, NULL}, .n_outputs = 1, .outputs = &y};
        CHECK(vn_program_open(g, &options, &program, &err));
        vn_program_run(program, &(vn_run){0});
        vn_program_read(program, y, out);
        for (int i = 0; i < ALL; i += C) {
            double own = 0, far = 0, to[C];
            for (int c = 0; c < C; c++) {
                to[c] =
                    (double)other[i + c] + by->amount * ((double)z[i + c] - (double)other[i + c]);
                own += fabs((double)z[i + c]);
                far += fabs(to[c]);
            }
            const double f = far > by->limit * own ? by->limit * own / far : 1;
            limited += f < 1;
            unlimited += f == 1;
            for (int c = 0; c < C; c++)
                error = fmax(
                    error, fabs((double)out[i + c] - (0.75 * (double)z[i + c] + 0.25 * f * to[c])));
        }
        vn_program_close(&program);
        vn_graph_close(&g);
    }
    assert_true(limited > 10 && unlimited > 10);
    expect_small(error, 2e-6); /* some roundings of numbers up to 10 */
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* <u, J v> = <J^T u, v> through the led network. */
static void derivatives_go_through_it(void **state) {
    (void)state;
    static float u[MOST], v[MOST], forward[MOST], back[MOST];
    fixture f = open_fixture("mmdit/sd3");
    static texts all;
    const vn_array *t = vn_safetensors_find(f.golden.file, "timestep"),
                   *x = vn_safetensors_find(f.golden.file, "sample"),
                   *pooled = vn_safetensors_find(f.golden.file, "pooled_projections");
    lay_out(&f, &f.text, &f.other, &all);
    const vn_feed in[] = {{.array = *x},
                          {.array = *t},
                          {.array = *pooled},
                          {.array = {"encoder_hidden_states", VN_F32,
                                     VN_SHAPE(f.rows, all.tokens, f.width), all.states}}};
    vn_net_spec spec = {.negative = f.other.tokens, .perturb = {normalized(5, 1.5, 0.5)}};
    CHECK(vn_net_match(f.golden.net, &spec.extent, VN_COUNT(in), in, &err));
    vn_random_normal(u, (size_t)f.count, 3, VN_STREAM_TEST, 0, 0);
    vn_random_normal(v, (size_t)f.count, 4, VN_STREAM_TEST, 0, 0);
    CHECK(vn_runner_derive(f.runner, &spec, VN_JVP, "sample", VN_COUNT(in), in, v, forward, &err));
    CHECK(vn_runner_derive(f.runner, &spec, VN_VJP, "sample", VN_COUNT(in), in, u, back, &err));
    double left = 0, right = 0, size = 0;
    for (int64_t i = 0; i < f.count; i++) {
        left += (double)u[i] * (double)forward[i];
        right += (double)back[i] * (double)v[i];
        size += fabs((double)u[i] * (double)forward[i]);
    }
    assert_true(size > 1e-3);
    expect_small(fabs(left - right) / size, 2e-6); /* roundings of some thousand products */
    close_fixture(&f);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void a_text_without_its_use_is_refused(void **state) {
    (void)state;
    const vn_perturb by = normalized(5, 2.5, 0.25);
    float out[MOST];
    fixture f = open_fixture("mmdit/sd3");
    vn_err err = {0};
    assert_int_equal(run(&f, &f.text, NULL, &by, out, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "sd3: 0 of 3 tokens are those of a text to be led away from");
    err = (vn_err){0};
    assert_int_equal(run(&f, &f.text, &f.other, NULL, out, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "sd3: 4 of 7 tokens are those of a text to be led away from");
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_nothing_to_the_bit),
        cmocka_unit_test(led_all_the_way_it_is_the_other_text),
        cmocka_unit_test(part_and_scale_are_one_without_a_limit),
        cmocka_unit_test(layers_are_led_by_themselves),
        cmocka_unit_test(tokens_are_as_the_paper_has_them),
        cmocka_unit_test(derivatives_go_through_it),
        cmocka_unit_test(a_text_without_its_use_is_refused),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
