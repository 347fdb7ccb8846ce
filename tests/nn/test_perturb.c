/* A hand inside the networks: every perturbation against attention written out in PyTorch
 * (golden/perturb.py), which layers there are, what is refused, derivatives through sparse
 * attention, memory that runs out. */
#include "nn/internal.h"
#include "nn/support_golden.h"
#include "nn/support_slope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/alloc.h"
#include "support/bound.h"
#include "support/thread_pool.h"
#include "support/kernels.h"
#include "support/reference.h"

enum { MAX_SIZE = 1024 }; /* floats of a sample's batch */

/* Measured at most, against double precision: 2.4e-6, hardly more than without a hand inside
 * (test_golden.c says why). */
#define OUTPUT_TOLERANCE 6e-6

typedef struct fixture {
    vn_golden golden;
    vn_runner *runner;
    vn_shape shape;
    float *x, *time, *label;
    int32_t labels[8];
} fixture;

static fixture open_fixture(const char *network) {
    fixture f = {0};
    vn_err err = {0};
    vn_golden_open(&f.golden, network);
    f.x = vn_golden_read(&f.golden, "sample", &f.shape);
    f.time = vn_golden_read(&f.golden, "timestep", NULL);
    f.label = vn_golden_read(&f.golden, "class_labels", NULL);
    for (int i = 0; f.label && i < f.shape.dim[0]; i++) f.labels[i] = (int32_t)f.label[i];
    if (vn_runner_open(f.golden.net, &(vn_device){kernels, NULL, crew_of(2)}, f.golden.values,
                       &f.runner, &err))
        fail_msg("%s", err.text);
    return f;
}

static void close_fixture(fixture *f) {
    vn_runner_close(&f->runner);
    vn_golden_close(&f->golden);
    vn_free(f->x);
    vn_free(f->time);
    vn_free(f->label);
}

/* y: all that the network says to x and to what its file has besides, a learned variance's channels
 * behind the prediction's. */
static vn_status run(const fixture *f, const vn_perturb *perturb, const float *x, float *y,
                     vn_err *err) {
    const vn_net *net = f->golden.net;
    const vn_net_io *io = vn_net_get_io(net);
    vn_net_spec spec = {0};
    vn_feed in[VN_MAX_PORTS] = {0};
    int n = 0;
    for (int i = 0; i < io->inputs; i++) {
        const vn_array *t = vn_safetensors_find(f->golden.file, io->input[i].name);
        if (!t) continue;
        in[n].array = *t;
        if (!strcmp(t->name, "sample")) in[n].array.data = x;
        n++;
    }
    for (int i = 0; perturb && i < VN_NET_PERTURBS; i++) spec.perturb[i] = perturb[i];
    const vn_status status = vn_net_match(net, &spec.extent, n, in, err);
    return status ? status
                  : vn_runner_run(f->runner, &spec, n, in, 1, &(vn_fetch){"sample", y}, err);
}

static void must_run(const fixture *f, const vn_perturb *perturb, float *y) {
    vn_err err = {0};
    if (run(f, perturb, f->x, y, &err) != VN_OK) fail_msg("%s", err.text);
}

/* Norm of a - b over that of b. */
static double relative(const float *a, const float *b, int64_t n) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / norm);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* "dit/plain 2 0.7 0 99": the network's file; kind, amount, first, last, once or twice. */
static void parse(const char *name, char network[64], vn_perturb perturb[VN_NET_PERTURBS]) {
    int kind[VN_NET_PERTURBS] = {0},
        count = sscanf(name, "%63s %d %lf %d %d %d %lf %d %d", network, &kind[0],
                       &perturb[0].amount, &perturb[0].first, &perturb[0].last, &kind[1],
                       &perturb[1].amount, &perturb[1].first, &perturb[1].last);
    assert_true(count == 5 || count == 9);
    for (int i = 0; i < VN_NET_PERTURBS; i++) perturb[i].kind = (vn_perturbation)kind[i];
}

static void networks_are_perturbed_as_in_pytorch(void **state) {
    (void)state;
    vn_err err = {0};
    vn_safetensors *file = NULL;
    double worst = 0;
    unsigned kinds = 0;
    if (vn_safetensors_open(VN_SOURCE_DIR "/tests/golden/perturb/outputs.safetensors", &file, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < vn_safetensors_count(file); i++) {
        const vn_array *t = vn_safetensors_at(file, i);
        static float want[MAX_SIZE], got[MAX_SIZE], plain[MAX_SIZE];
        char network[64];
        vn_perturb perturb[VN_NET_PERTURBS] = {{0}};
        const int64_t n = vn_shape_count(&t->shape);
        assert_true(n <= MAX_SIZE);
        parse(t->name, network, perturb);
        kinds |= (unsigned)perturb[0].kind;
        vn_array_read_f32(t, want);
        fixture f = open_fixture(network);
        must_run(&f, perturb, got);
        must_run(&f, NULL, plain);
        const double error = relative(got, want, n);
        expect_below(t->name, error, OUTPUT_TOLERANCE);
        if (!(relative(plain, want, n) > 4 * OUTPUT_TOLERANCE))
            fail_msg("%s changes nothing", t->name);
        worst = fmax(worst, error);
        close_fixture(&f);
    }
    print_message("%d outputs, off by %.1e at most\n", (int)vn_safetensors_count(file), worst);
    assert_int_equal(kinds, VN_ATTENTION_IDENTITY | VN_ATTENTION_BLUR | VN_ATTENTION_SPARSE |
                                VN_ATTENTION_SKIPPED | VN_BLOCKS_SKIPPED);
    vn_safetensors_close(&file);
}

/* What is perturbed for one pass is not for the next. */
static void nothing_stays_behind(void **state) {
    (void)state;
    static float before[MAX_SIZE], other[MAX_SIZE], after[MAX_SIZE];
    fixture f = open_fixture("unet2d/shift");
    must_run(&f, NULL, before);
    must_run(&f,
             (vn_perturb[VN_NET_PERTURBS]){{.kind = VN_ATTENTION_IDENTITY, .first = 0, .last = 2}},
             other);
    must_run(&f, NULL, after);
    assert_memory_equal(before, after, (size_t)vn_shape_count(&f.shape) * sizeof *before);
    close_fixture(&f);
}

/* A transformer whose positions are added before its blocks does the same with tokens in any order:
 * shuffled before a block, what it says of the patches is in that order, and else as it was. Both
 * blocks shuffled: by the order twice. */
static void shuffled_tokens_are_patches_in_another_order(void **state) {
    (void)state;
    static float plain[MAX_SIZE], got[MAX_SIZE];
    enum { PATCH = 2, MAX_TOKENS = 64 };
    fixture f = open_fixture("dit/plain");
    const int64_t h = f.shape.dim[2], w = f.shape.dim[3], across = w / PATCH,
                  tokens = h / PATCH * across;
    int64_t order[MAX_TOKENS];
    int moved = 0;
    assert_true(tokens <= MAX_TOKENS);
    must_run(&f, NULL, plain);
    const int64_t planes =
        vn_net_get_io(f.golden.net)->output[0].shape.dim[1] * f.shape.dim[0]; /* of all samples */
    for (int which = 0; which < 3; which++)
        for (int last = 0; last < 2; last++) {
            must_run(&f,
                     (vn_perturb[VN_NET_PERTURBS]){
                         {.kind = VN_TOKENS_SHUFFLED, .amount = which, .first = 0, .last = last}},
                     got);
            vn_token_order(tokens, which, order);
            double worst = 0;
            for (int64_t p = 0; p < planes; p++)
                for (int64_t i = 0; i < h * w; i++) {
                    const int64_t token = i / w / PATCH * across + i % w / PATCH;
                    const int64_t from = last ? order[order[token]] : order[token];
                    const int64_t y = from / across * PATCH + i / w % PATCH,
                                  x = from % across * PATCH + i % w % PATCH;
                    moved += from != token;
                    worst = fmax(worst, fabs((double)got[p * h * w + i] -
                                             (double)plain[p * h * w + y * w + x]));
                }
            expect_below("patches in another order", worst, 1e-6);
        }
    assert_true(moved > 0);
    close_fixture(&f);
}

/* A U-Net's attention is of shuffled tokens, and what it is added to is not: another answer. */
static void unets_shuffle_what_attends(void **state) {
    (void)state;
    static float plain[MAX_SIZE], got[2][MAX_SIZE];
    fixture f = open_fixture("unet2d/plain");
    const int64_t n = vn_shape_count(&f.shape);
    must_run(&f, NULL, plain);
    for (int which = 0; which < 2; which++) {
        const vn_perturb shuffled = {.kind = VN_TOKENS_SHUFFLED, .amount = which, .last = 3};
        must_run(&f, (vn_perturb[VN_NET_PERTURBS]){shuffled}, got[which]);
        assert_true(relative(got[which], plain, n) > 1e-4);
    }
    assert_true(relative(got[0], got[1], n) > 1e-4);
    close_fixture(&f);
}

/* ---- tokens that are no part of the image ---------------------------------------------------- */

enum { BEFORE = 2, ROWS = 3, COLUMNS = 4, WIDTH = 2, TOKENS = BEFORE + ROWS * COLUMNS };

static int mirror(int i, int n) {
    return i < 0 ? -i : i < n ? i : 2 * n - 2 - i;
}

/* The queries blurred by both axes at once, with mirrored edges; sigma 0.5 has three taps. */
static void blur_plainly(const double *q, double sigma, double *out) {
    double tap[3], sum = 0;
    for (int k = 0; k < 3; k++) sum += tap[k] = exp(-0.5 * (k - 1) * (k - 1) / (sigma * sigma));
    memcpy(out, q, sizeof(double) * TOKENS * WIDTH);
    for (int i = 0; i < ROWS * COLUMNS * WIDTH; i++) {
        const int row = i / WIDTH / COLUMNS, column = i / WIDTH % COLUMNS;
        double *to = &out[BEFORE * WIDTH + i];
        *to = 0;
        for (int r = -1; r <= 1; r++)
            for (int c = -1; c <= 1; c++) {
                const int at = mirror(row + r, ROWS) * COLUMNS + mirror(column + c, COLUMNS);
                *to += tap[r + 1] * tap[c + 1] / (sum * sum) * q[(BEFORE + at) * WIDTH + i % WIDTH];
            }
    }
}

static void attend_plainly(const double *q, const double *k, const double *v, double scale,
                           double *out) {
    for (int i = 0; i < TOKENS; i++) {
        double p[TOKENS], sum = 0;
        for (int j = 0; j < TOKENS; j++) {
            double score = 0;
            for (int d = 0; d < WIDTH; d++) score += q[i * WIDTH + d] * k[j * WIDTH + d];
            sum += p[j] = exp(scale * score);
        }
        for (int d = 0; d < WIDTH; d++) {
            out[i * WIDTH + d] = 0;
            for (int j = 0; j < TOKENS; j++) out[i * WIDTH + d] += p[j] / sum * v[j * WIDTH + d];
        }
    }
}

static void tokens_before_the_grid_are_not_blurred(void **state) {
    (void)state;
    const vn_perturb blur[VN_NET_PERTURBS] = {{.kind = VN_ATTENTION_BLUR, .amount = 0.5}};
    const vn_heads heads = {
        .count = 1, .scale = 0.6, .prefix = BEFORE, .rows = ROWS, .columns = COLUMNS};
    vn_graph *g = NULL;
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&g, &err), VN_OK);
    const vn_scope s = {.g = g, .net = "test", .perturb = blur};
    vn_node *in[3];
    double value[3][TOKENS * WIDTH], blurred[TOKENS * WIDTH], want[TOKENS * WIDTH];
    for (int k = 0; k < 3; k++) in[k] = vn_input(g, VN_F32, VN_SHAPE(1, TOKENS, WIDTH));
    const vn_node *y = vn_self_attention(&s, in[0], in[1], in[2], &heads);
    if (vn_graph_status(g, &err)) fail_msg("%s", err.text);
    ref_graph r = ref_open(g);
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < TOKENS * WIDTH; i++)
            value[k][i] = 2 * vn_random_double(1, VN_STREAM_TEST, (uint64_t)k, (uint64_t)i) - 1;
        ref_set(&r, in[k], value[k]);
    }
    ref_run(&r, &(vn_run){.seed = 1});
    blur_plainly(value[0], 0.5, blurred);
    attend_plainly(blurred, value[1], value[2], heads.scale, want);
    /* taps are floats */
    for (int i = 0; i < TOKENS * WIDTH; i++) expect_small(fabs(ref_get(&r, y)[i] - want[i]), 1e-7);
    ref_close(&r);
    vn_graph_close(&g);
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* The layers that a network declares are those it has: one to_q each. */
static void layers_are_counted(void **state) {
    (void)state;
    static const struct {
        const char *network;
        int layers, middle;
    } cases[] = {{"dit/plain", 2, 0},
                 {"unet2d/plain", 4, 1},
                 {"unet2d/shift", 4, 1},
                 {"unet2d/learned", 3, 0},
                 {"unet2d/skip-attention", 2, 0},
                 {"unet2d/attention-skip", 1, 0},
                 {"unet2d/k", 0, 0},
                 {"nets/mlp", 0, 0}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_golden g;
        int layers = 0;
        vn_golden_open(&g, cases[i].network);
        for (size_t k = 0; k < vn_weights_count(vn_net_weights(g.net)); k++)
            layers += strstr(vn_weights_at(vn_net_weights(g.net), k)->name, ".to_q.weight") != NULL;
        const vn_net_io *io = vn_net_get_io(g.net);
        print_message("%s: %d layers, middle %d\n", cases[i].network, io->layers, io->middle);
        if (strncmp(cases[i].network, "nets", 4) != 0) assert_int_equal(io->layers, layers);
        assert_int_equal(io->layers > 0, io->perturbations != 0);
        assert_int_equal(io->layers, cases[i].layers);
        assert_int_equal(io->middle, cases[i].middle);
        vn_golden_close(&g);
    }
}

static void what_cannot_be_perturbed_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *network;
        vn_perturb perturb;
        vn_status status;
        const char *words;
    } cases[] = {
        {"nets/mlp",
         {.kind = VN_ATTENTION_IDENTITY},
         VN_UNSUPPORTED,
         "mlp: no layer here can be perturbed"},
        {"unet2d/k",
         {.kind = VN_BLOCKS_SKIPPED},
         VN_UNSUPPORTED,
         "unet2d: no layer here can be perturbed"},
        {"dit/plain",
         {.kind = VN_ATTENTION_BLUR, .amount = 1, .first = 2, .last = 3},
         VN_BAD_ARGUMENT,
         "dit: layers 2 to 3 of 2"},
        {"dit/plain",
         {.kind = VN_ATTENTION_BLUR, .amount = 1, .first = 1, .last = 0},
         VN_BAD_ARGUMENT,
         "dit: layers 1 to 0 of 2"},
        {"dit/plain",
         {.kind = VN_ATTENTION_BLUR, .amount = 1, .first = -1, .last = 0},
         VN_BAD_ARGUMENT,
         "dit: layers -1 to 0 of 2"},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_golden g;
        vn_graph *graph = NULL;
        vn_net_nodes nodes;
        vn_err err = {0};
        const vn_net_spec spec = {.extent = {.batch = 1, .height = 8, .width = 8},
                                  .perturb = {cases[i].perturb}};
        vn_golden_open(&g, cases[i].network);
        assert_int_equal(vn_graph_open(&graph, &err), VN_OK);
        assert_int_equal(vn_net_build(g.net, graph, &spec, &nodes, &err), cases[i].status);
        if (!strstr(err.text, cases[i].words))
            fail_msg("\"%s\" is not \"%s\"", err.text, cases[i].words);
        vn_graph_close(&graph);
        vn_golden_close(&g);
    }
}

/* ---- derivatives ----------------------------------------------------------------------------- */

static void derivatives_follow_what_is_perturbed(void **state) {
    (void)state;
    static const vn_perturb each[][VN_NET_PERTURBS] = {
        {{.kind = VN_ATTENTION_SPARSE, .amount = 2, .first = 0, .last = 9}},
        {{.kind = VN_ATTENTION_BLUR, .amount = 0.8, .first = 0, .last = 9},
         {.kind = VN_ATTENTION_SPARSE, .amount = 2, .first = 0, .last = 9}},
    };
    /* at 1000 an angle of the embedding is rounded to 3e-5 */
    static const float time[8] = {1, 2, 3, 5, 8, 13, 21, 34};
    static float c[MAX_SIZE], back[MAX_SIZE];
    fixture f = open_fixture("dit/plain");
    const int64_t *d = f.shape.dim;
    double error = 0;
    vn_err err = {0};
    for (size_t k = 0; k < VN_COUNT(each); k++) {
        const slope_at at = {
            f.golden.net, f.golden.values, {d[0], d[2], d[3], f.x, time, f.labels, each[k]}};
        vn_random_normal(c, (size_t)vn_shape_count(&f.shape), 1, VN_STREAM_TEST, k, 0);
        if (batch_derive(f.runner, f.golden.net, &at.batch, VN_VJP, c, back, &err))
            fail_msg("%s", err.text);
        error = fmax(error, slope_error(&at, c, back));
    }
    close_fixture(&f);
    expect_slope_error(error);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void says_when_memory_runs_out(void **state) {
    (void)state;
    static const vn_perturb perturb[VN_NET_PERTURBS] = {
        {.kind = VN_ATTENTION_BLUR, .amount = 0.8, .first = 0, .last = 9},
        {.kind = VN_ATTENTION_SPARSE, .amount = 2, .first = 0, .last = 9}};
    static float y[MAX_SIZE];
    fixture f = open_fixture("dit/plain");
    vn_runner_close(&f.runner);
    alloc_turn t = {.once = true, .recovers = true}; /* libc's qsort gets by without a buffer */
    while (alloc_next(&t)) {
        vn_err err = {0};
        vn_status status = vn_runner_open(f.golden.net, &(vn_device){kernels, NULL, crew_of(2)},
                                          f.golden.values, &f.runner, &err);
        if (!status) status = run(&f, perturb, f.x, y, &err);
        alloc_hit(&t, status);
        vn_runner_close(&f.runner);
    }
    print_message("%d allocations failed\n", (int)t.refused);
    assert_true(t.refused > 15);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_are_perturbed_as_in_pytorch),
        cmocka_unit_test(nothing_stays_behind),
        cmocka_unit_test(shuffled_tokens_are_patches_in_another_order),
        cmocka_unit_test(unets_shuffle_what_attends),
        cmocka_unit_test(tokens_before_the_grid_are_not_blurred),
        cmocka_unit_test(layers_are_counted),
        cmocka_unit_test(what_cannot_be_perturbed_is_refused),
        cmocka_unit_test(derivatives_follow_what_is_perturbed),
        cmocka_unit_test(says_when_memory_runs_out),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
