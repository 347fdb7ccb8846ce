/* The objectives of autoencoders against their formulas in double, their gradients against
 * differences of those; what they measure, by hand; and the codes that are moved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "objective/internal.h"
#include "support/bound.h"
#include "support/loss.h"
#include "support/reference.h"

enum { N = 2, PIXELS = 4, ALL = N * PIXELS };

/* ---- a network of nodes ---------------------------------------------------------------------- */

/* What the encoder gives, by name, and a decoder that is 1.5 z + 0.2. */
typedef struct coder {
    vn_graph *g;
    vn_node *mean, *logvar, *latents, *quantised, *codes, *decoded;
} coder;

static vn_node *answer(void *self, const vn_loss_call *call) {
    const coder *c = self;
    const struct {
        const char *name;
        vn_node *node;
    } outputs[] = {{"mean", c->mean},           {"logvar", c->logvar}, {"latents", c->latents},
                   {"quantised", c->quantised}, {"codes", c->codes},   {"decoded", c->decoded}};
    if (call->part) { /* features: maps of 2 and of 4 channels */
        assert_string_equal(call->part, VN_LOSS_FEATURES);
        assert_int_equal(call->n, 1);
        const bool first = !strcmp(call->output, "map0");
        return vn_affine(c->g,
                         vn_reshape(c->g, call->given[0].node,
                                    first ? VN_SHAPE(N, 2, 1, 2) : VN_SHAPE(N, 1, 1, 4)),
                         first ? 2 : -1, first ? 0.3 : 0.5);
    }
    if (call->half && !strcmp(call->half, VN_LOSS_DECODER)) {
        assert_int_equal(call->n, 1);
        return vn_affine(c->g, call->given[0].node, 1.5, 0.2);
    }
    for (size_t i = 0; i < VN_COUNT(outputs); i++)
        if (!strcmp(outputs[i].name, call->output)) return outputs[i].node;
    fail_msg("no output %s", call->output);
    return NULL;
}

static bool has(void *self, const char *part, const char *output) {
    (void)self;
    return part && !strcmp(part, VN_LOSS_FEATURES) &&
           (!strcmp(output, "map0") || !strcmp(output, "map1"));
}

typedef struct setting {
    vn_path *path;
    vn_prediction prediction;
    vn_objective *objective;
    coder coder;
    vn_loss l;
    vn_node *loss, *by[2];
} setting;

static vn_status try_open(setting *s, const char *objective, const char *times, vn_trains trains,
                          const char *network, vn_err *err) {
    *s = (setting){0};
    vn_status status = vn_path_open("rectified", &s->path, err);
    if (!status) status = vn_prediction_parse("x0", &s->prediction, err);
    const vn_objective_options o = {.path = s->path,
                                    .prediction = &s->prediction,
                                    .objective = objective,
                                    .times = times,
                                    .trains = trains,
                                    .network = network,
                                    .null_label = -1,
                                    .seed = 3};
    return !status ? vn_objective_open(&o, &s->objective, err) : status;
}

static vn_node *image(vn_graph *g) {
    return vn_input(g, VN_F32, VN_SHAPE(N, 2, 2, 1));
}

/* A loss on inputs of that coder, with its gradients by the first two of `by`. */
static void open_with(setting *s, const char *objective, const char *network, bool quantised,
                      bool features) {
    vn_err err = {0};
    if (try_open(s, objective, NULL, VN_TRAINS_AUTOENCODERS, network, &err))
        fail_msg("%s", err.text);
    assert_int_equal(vn_graph_open(&s->coder.g, &err), VN_OK);
    vn_graph *g = s->coder.g;
    coder *c = &s->coder;
    c->decoded = image(g);
    if (quantised) {
        c->latents = image(g);
        c->quantised = image(g);
        c->codes = vn_input(g, VN_F32, VN_SHAPE(N, 2, 2));
    } else {
        c->mean = image(g);
        c->logvar = image(g);
    }
    s->l = (vn_loss){
        .g = g, .x = image(g), .network = answer, .has = features ? has : NULL, .self = c};
    s->loss = vn_objective_loss(s->objective, &s->l);
    vn_node *wrt[2] = {quantised ? c->latents : c->mean, quantised ? c->quantised : c->logvar};
    if (!strncmp(objective, "reconstruction", 14)) wrt[0] = wrt[1] = c->decoded;
    if (vn_graph_gradient(g, s->loss, NULL, wrt[0] == wrt[1] ? 1 : 2, wrt, s->by, &err))
        fail_msg("%s", err.text);
}

static void open(setting *s, const char *objective, const char *network, bool quantised) {
    open_with(s, objective, network, quantised, false);
}

static void close(setting *s) {
    vn_graph_close(&s->coder.g);
    vn_objective_close(&s->objective);
    vn_path_close(&s->path);
}

static const double x[ALL] = {0.4, -0.7, 0.1, 0.9, -0.2, 0.3, -1, 0.6};
static const double a[ALL] = {0.3, -0.5, 0.8, -1.2, 0.05, 0.7, -0.4, 0.2};
static const double b[ALL] = {-1, 0.5, -2, 0.1, -0.3, 0.9, -3, -0.6};

/* ---- formulas -------------------------------------------------------------------------------- */

typedef struct formula {
    bool square;
    double kl, codebook, commitment, perceptual;
    const double *noise;
    double fixed_a[ALL], fixed_b[ALL]; /* what no gradient goes through */
    double (*value)(const struct formula *f, const double *a, const double *b);
} formula;

/* Of numbers in pixels of so many channels, each a direction: the mean over pixels of the squared
 * distance. */
static double directions_apart(const double *decoded, int channels, double scale, double shift) {
    double sum = 0;
    for (int i = 0; i < ALL; i += channels) {
        double of[2] = {1e-10, 1e-10};
        for (int k = i; k < i + channels; k++) {
            of[0] += pow(scale * x[k] + shift, 2);
            of[1] += pow(scale * decoded[k] + shift, 2);
        }
        for (int k = i; k < i + channels; k++)
            sum += pow((scale * x[k] + shift) / sqrt(of[0]) -
                           (scale * decoded[k] + shift) / sqrt(of[1]),
                       2);
    }
    return sum / (ALL / channels);
}

static double features_apart(const double *decoded) {
    return directions_apart(decoded, 2, 2, 0.3) + directions_apart(decoded, 4, -1, 0.5);
}

static double apart(const formula *f, const double *decoded) {
    double sum = 0;
    for (int i = 0; i < ALL; i++)
        sum += f->square ? (decoded[i] - x[i]) * (decoded[i] - x[i]) : fabs(decoded[i] - x[i]);
    return sum / ALL + (f->perceptual > 0 ? f->perceptual * features_apart(decoded) : 0);
}

static double plain(const formula *f, const double *decoded, const double *ignored) {
    (void)ignored;
    return apart(f, decoded);
}

static double vae(const formula *f, const double *mean, const double *logvar) {
    double decoded[ALL], kl = 0;
    for (int i = 0; i < ALL; i++) {
        decoded[i] = 1.5 * (mean[i] + exp(logvar[i] / 2) * f->noise[i]) + 0.2;
        kl += 0.5 * (mean[i] * mean[i] + exp(logvar[i]) - 1 - logvar[i]);
    }
    return apart(f, decoded) + f->kl * kl / N / PIXELS;
}

/* The gradient is that of this function, in which what is stopped is fixed. */
static double vq(const formula *f, const double *z, const double *rows) {
    double decoded[ALL], follow = 0, commit = 0;
    for (int i = 0; i < ALL; i++) {
        decoded[i] = 1.5 * z[i] + 0.2;
        follow += (rows[i] - f->fixed_a[i]) * (rows[i] - f->fixed_a[i]);
        commit += (z[i] - f->fixed_b[i]) * (z[i] - f->fixed_b[i]);
    }
    return apart(f, decoded) + f->codebook * follow / ALL + f->commitment * commit / ALL;
}

static void hold(const char *what, const setting *s, const ref_graph *r, const formula *f) {
    const double h = 1e-5;
    expect_below_as(fabs(ref_get(r, s->loss)[0] - f->value(f, a, b)), 1e-12, "%s", what);
    for (int k = 0; k < 2 && s->by[k]; k++)
        for (int i = 0; i < ALL; i++) {
            double up[2][ALL], down[2][ALL];
            memcpy(up[0], a, sizeof a);
            memcpy(up[1], b, sizeof b);
            memcpy(down, up, sizeof up);
            up[k][i] += h;
            down[k][i] -= h;
            const double by = (f->value(f, up[0], up[1]) - f->value(f, down[0], down[1])) / (2 * h);
            /* the third derivative, of size 1, times h^2 / 6, and rounding over h */
            expect_below_as(fabs(ref_get(r, s->by[k])[i] - by), 1e-9, "%s: derivatives", what);
        }
}

static void try_formula(const char *objective, const char *network, bool quantised, formula f) {
    setting s;
    open_with(&s, objective, network, quantised, f.perceptual > 0);
    ref_graph r = ref_open(s.coder.g);
    ref_set(&r, s.l.x, x);
    if (s.coder.mean) ref_set(&r, s.coder.mean, a);
    if (s.coder.logvar) ref_set(&r, s.coder.logvar, b);
    if (s.coder.latents) ref_set(&r, s.coder.latents, a);
    if (s.coder.quantised) ref_set(&r, s.coder.quantised, b);
    if (loss_node(&s.l, "noise")) ref_set(&r, loss_node(&s.l, "noise"), f.noise);
    ref_set(&r, s.coder.decoded, a);
    if (s.coder.codes) ref_set(&r, s.coder.codes, x); /* any numbers: they are measured alone */
    memcpy(f.fixed_a, a, sizeof a);
    memcpy(f.fixed_b, b, sizeof b);
    ref_run(&r, NULL);
    hold(objective, &s, &r, &f);
    ref_close(&r);
    close(&s);
}

static void losses_are_their_formulas(void **state) {
    static const double noise[ALL] = {0.5, -1.3, 0.2, 1.1, -0.7, 0.4, 2, -0.1};
    (void)state;
    try_formula("reconstruction", "autoencoder-fsq", false, (formula){.value = plain});
    try_formula("reconstruction:distance=l2", "autoencoder-tiny", false,
                (formula){.square = true, .value = plain});
    try_formula("vae:kl=0.3", "autoencoder-kl", false,
                (formula){.kl = 0.3, .noise = noise, .value = vae});
    try_formula("vae:kl=2,distance=l2", "autoencoder-kl", false,
                (formula){.square = true, .kl = 2, .noise = noise, .value = vae});
    try_formula("reconstruction:perceptual=0.4", "autoencoder-tiny", false,
                (formula){.perceptual = 0.4, .value = plain});
    try_formula("vae:kl=0", "autoencoder-kl", false,
                (formula){.perceptual = 0.1, .noise = noise, .value = vae});
    try_formula("vq-vae", "autoencoder-vq", true,
                (formula){.codebook = 1, .commitment = 0.25, .value = vq});
    try_formula("vq-vae:codebook=0.5,commitment=2,distance=l2", "autoencoder-vq", true,
                (formula){.square = true, .codebook = 0.5, .commitment = 2, .value = vq});
}

/* Sample i of step k has noise of its own, that of its place in the step. */
static void noise_is_by_sample_and_step(void **state) {
    (void)state;
    setting s;
    open(&s, "vae", "autoencoder-kl", false);
    float x0[ALL] = {0}, made[ALL], time[N], noise[ALL], want[PIXELS];
    int32_t given[N];
    vn_level level[N];
    vn_err err = {0};
    vn_objective_batch batch = {.n = N,
                                .size = PIXELS,
                                .step = 5,
                                .first = 8,
                                .total = 16,
                                .x0 = x0,
                                .level = level,
                                .x = made,
                                .time = time,
                                .network_labels = given};
    loss_bind(&s.l, &batch, "noise", noise);
    assert_int_equal(vn_objective_fill(s.objective, &s.l, &batch, &err), VN_OK);
    for (int i = 0; i < N; i++) {
        vn_random_normal(want, PIXELS, 3, VN_STREAM_LATENT, 8 + (uint64_t)i, 5);
        assert_memory_equal(noise + i * PIXELS, want, sizeof want);
        assert_true(level[i].t == 0);
    }
    for (int i = 0; i < ALL; i++) assert_true(made[i] == 0); /* no noise is on the pictures */
    close(&s);
}

static void each_network_has_its_objective(void **state) {
    (void)state;
    static const struct {
        const char *objective, *times;
        vn_trains trains;
        const char *network, *words; /* NULL: it is allowed */
    } cases[] = {
        {NULL, NULL, VN_TRAINS_AUTOENCODERS, "autoencoder-kl", NULL},
        {NULL, "clean", VN_TRAINS_AUTOENCODERS, "autoencoder-vq", NULL},
        {NULL, NULL, VN_TRAINS_AUTOENCODERS, "autoencoder-tiny", NULL},
        {"vae", NULL, VN_TRAINS_AUTOENCODERS, "autoencoder-vq",
         "the objective vae trains autoencoder-kl; vq-vae is for autoencoder-vq"},
        {"reconstruction", NULL, VN_TRAINS_AUTOENCODERS, "autoencoder-vq",
         "vq-vae is for autoencoder-vq"},
        {"dsm", NULL, VN_TRAINS_AUTOENCODERS, "autoencoder-kl",
         "the objective dsm trains denoisers; vae is for autoencoders"},
        {"vae", NULL, VN_TRAINS_DENOISERS, "unet2d",
         "the objective vae trains autoencoders: name one as the model"},
        {NULL, "uniform", VN_TRAINS_AUTOENCODERS, "autoencoder-kl",
         "times uniform: an autoencoder learns of clean samples"},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        setting s;
        vn_err err = {0};
        const vn_status status = try_open(&s, cases[i].objective, cases[i].times, cases[i].trains,
                                          cases[i].network, &err);
        if (!cases[i].words && status) fail_msg("case %zu: %s", i, err.text);
        if (cases[i].words && (status != VN_BAD_ARGUMENT || !strstr(err.text, cases[i].words)))
            fail_msg("case %zu: %s", i, err.text);
        close(&s);
    }
}

/* ---- what is measured ------------------------------------------------------------------------ */

/* Of the first picture every number is off by 0.2, one of them further, but only past what is
 * shown; of the second by 0.02: 10 log10(4 / 0.04) = 20 dB and 40 dB. Codes 3, 3, 3, 3 and
 * 3, 3, 9, 9 have the entropy of 3/4 and 1/4. */
static void pictures_are_measured_as_they_are_shown(void **state) {
    (void)state;
    static const double truth[ALL] = {0.8, 0, 0.5, -0.5, 0.3, -0.3, 0, 0.9};
    static const double made[ALL] = {1.7, 0.2, 0.3, -0.7, 0.32, -0.28, 0.02, 0.88};
    static const double codes[ALL] = {3, 3, 3, 3, 3, 3, 9, 9};
    setting s;
    double z[ALL];
    char text[256] = "";
    open(&s, "vq-vae", "autoencoder-vq", true);
    ref_graph r = ref_open(s.coder.g);
    for (int i = 0; i < ALL; i++) z[i] = (made[i] - 0.2) / 1.5;
    ref_set(&r, s.l.x, truth);
    ref_set(&r, s.coder.latents, z);
    ref_set(&r, s.coder.quantised, z);
    ref_set(&r, s.coder.codes, codes);
    ref_set(&r, s.coder.decoded, z);
    ref_run(&r, NULL);
    const vn_held_measure *m = vn_objective_measure(s.objective);
    assert_int_equal(vn_shape_count(&s.l.measured->shape), N * (1 + PIXELS));
    void *sums = vn_calloc(1, m->bytes);
    assert_non_null(sums);
    for (int i = 0; i < N; i++) {
        float numbers[1 + PIXELS];
        for (int k = 0; k <= PIXELS; k++)
            numbers[k] = (float)ref_get(&r, s.l.measured)[i * (1 + PIXELS) + k];
        m->add(sums, numbers, 1 + PIXELS, VN_LABEL_NULL, &vn_level_clean);
    }
    FILE *to = fmemopen(text, sizeof text, "w");
    m->write(sums, to);
    fclose(to);
    vn_free(sums);
    double psnr = 0, perplexity = 0;
    int used = 0;
    assert_int_equal(sscanf(text,
                            ", \"held_psnr\": %lf, \"codes_used\": %d, \"code_perplexity\": %lf",
                            &psnr, &used, &perplexity),
                     3);
    expect_small(fabs(psnr - 30), 1e-4);
    assert_int_equal(used, 2);
    expect_small(fabs(perplexity - exp(-0.75 * log(0.75) - 0.25 * log(0.25))), 2e-5);
    ref_close(&r);
    close(&s);
}

/* ---- codes that are moved -------------------------------------------------------------------- */

enum { ROWS = 40, WIDTH = 3, USED = 5, NUMBERS = ROWS * WIDTH };

typedef struct codebook {
    float live[NUMBERS], average[NUMBERS], moment1[NUMBERS], moment2[NUMBERS];
} codebook;

/* Adam's moments after 400 steps of gradients, which the first `used` rows have in each, row 0
 * larger ones than the others; one other row had them for 300 steps, and the rest never. */
static codebook trained(int used) {
    codebook c = {0};
    for (int i = 0; i < NUMBERS; i++) c.live[i] = c.average[i] = (float)(i % 7) - 3;
    for (int i = 0; i <= used && i < ROWS; i++)
        for (int k = 0; k < WIDTH; k++) {
            double m = 0, v = 0;
            for (uint64_t t = 0; t < 400; t++) {
                float g;
                vn_random_normal(&g, 1, 1, VN_STREAM_TEST, (uint64_t)(i * WIDTH + k), t);
                const double size = i == 0 ? 4 : 1, by = i < used || t < 300 ? size * (double)g : 0;
                m = 0.9 * m + 0.1 * by;
                v = 0.999 * v + 0.001 * by * by;
            }
            c.moment1[i * WIDTH + k] = (float)m;
            c.moment2[i * WIDTH + k] = (float)v;
        }
    return c;
}

static void tend(codebook *c, uint64_t step) {
    setting s;
    vn_err err = {0};
    if (try_open(&s, "vq-vae:revive=50", NULL, VN_TRAINS_AUTOENCODERS, "autoencoder-vq", &err))
        fail_msg("%s", err.text);
    assert_true(vn_objective_tends(s.objective, 150) && !vn_objective_tends(s.objective, 151));
    const vn_tended w = {.rows = ROWS,
                         .width = WIDTH,
                         .live = c->live,
                         .average = c->average,
                         .moment1 = c->moment1,
                         .moment2 = c->moment2,
                         .seed = 2,
                         .step = step};
    vn_objective_tend(s.objective, &w);
    close(&s);
}

/* The row in use that a row is beside now. */
static int beside(const codebook *c, int row) {
    int nearest = -1;
    double least = 1e9;
    for (int i = 0; i < USED; i++) {
        double sum = 0;
        for (int k = 0; k < WIDTH; k++)
            sum += pow((double)c->live[row * WIDTH + k] - (double)c->live[i * WIDTH + k], 2);
        if (sum < least) {
            least = sum;
            nearest = i;
        }
    }
    /* the noise's deviation is a hundredth of 2, the numbers' root mean square */
    assert_true(least > 0 && sqrt(least) < 0.02 * 5);
    return nearest;
}

static void unused_codes_move_beside_used_ones(void **state) {
    (void)state;
    const codebook before = trained(USED);
    codebook c = before;
    int beside_first = 0;
    tend(&c, 150);
    assert_memory_equal(c.live, before.live, USED * WIDTH * sizeof(float));
    assert_memory_equal(c.moment1, before.moment1, USED * WIDTH * sizeof(float));
    assert_memory_equal(c.average, before.average, USED * WIDTH * sizeof(float));
    for (int i = USED; i < ROWS; i++) {
        const int near = beside(&c, i);
        beside_first += near == 0;
        for (int k = 0; k < WIDTH; k++) {
            assert_true(c.moment1[i * WIDTH + k] == 0);
            assert_true(c.moment2[i * WIDTH + k] == before.moment2[near * WIDTH + k]);
            assert_true(c.average[i * WIDTH + k] == c.live[i * WIDTH + k]);
        }
    }
    /* row 0 has half of all shares: 17.5 of 35, with a deviation of 3 */
    assert_true(beside_first > 17.5 - 4 * 3 && beside_first < 17.5 + 4 * 3);
    codebook again = before, later = before;
    tend(&again, 150);
    tend(&later, 200);
    assert_memory_equal(&again, &c, sizeof c);
    assert_true(memcmp(&later, &c, sizeof c) != 0);
}

static void nothing_moves_where_all_or_none_are_used(void **state) {
    (void)state;
    const codebook all = trained(ROWS);
    codebook c = all, none = {.live = {1, 2, 3}}, same = none;
    tend(&c, 150);
    assert_memory_equal(&c, &all, sizeof c);
    tend(&same, 150);
    assert_memory_equal(&same, &none, sizeof none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_their_formulas),
        cmocka_unit_test(noise_is_by_sample_and_step),
        cmocka_unit_test(each_network_has_its_objective),
        cmocka_unit_test(pictures_are_measured_as_they_are_shown),
        cmocka_unit_test(unused_codes_move_beside_used_ones),
        cmocka_unit_test(nothing_moves_where_all_or_none_are_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
