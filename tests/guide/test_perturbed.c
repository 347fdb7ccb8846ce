/* Guides with a hand inside the network, on exact answers that a perturbation scales: what they ask
 * for, their sum, the steps in which they act, how they go with each other and with rules, and what
 * is refused. What a perturbation does to a network is in tests/nn/test_perturb.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "guide/internal.h"
#include "support/bench.h"
#include "support_rules.h"

#define N         4
#define D         3
#define F         (N * D)
#define TOLERANCE 8e-7 /* some roundings of 6e-8 each; measured: 3.0e-7 */

enum {
    LAYERS = 12,
    MIDDLE = 5,
    ALL = VN_ANSWER_EXTRAPOLATED | VN_ATTENTION_IDENTITY | VN_ATTENTION_BLUR | VN_ATTENTION_SPARSE |
          VN_ATTENTION_SKIPPED | VN_BLOCKS_SKIPPED | VN_ATTENTION_NORMALIZED | VN_TOKENS_SHUFFLED
};

static const char text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4, 0], \"std\": 0.5}]},"
    " {\"components\": [{\"mean\": [1.1, 0.9, -0.3], \"std\": 0.3}]}],"
    " \"weak\": {\"classes\": [{\"components\": [{\"mean\": [0, 0, 0], \"std\": 1}]},"
    "   {\"components\": [{\"mean\": [1, 1, 0], \"std\": 1}]}]}}";

static bench exact;
static vn_denoiser denoiser;
static vn_level level, next;
static float x[F];
static const int32_t labels[N] = {0, 1, VN_CONDITION_NULL, 1};
static const int32_t none[N] = {-1, -1, -1, -1};

typedef struct rows {
    float x0[F], eps[F];
} rows;

static vn_estimate pair_of(rows *r) {
    return (vn_estimate){r->x0, r->eps};
}

/* ---- a denoiser that can be perturbed -------------------------------------------------------- */

static struct {
    vn_perturb perturb, always;
    vn_network network;
} asked[16]; /* the queries of a prediction */
static int queries;

static float factor(const vn_perturb *d) {
    return d->kind == VN_TOKENS_SHUFFLED ? 0.5F + 0.05F * (float)d->amount - 0.01F * (float)d->first
           : d->kind                     ? 1 - 0.05F * (float)d->kind - 0.01F * (float)d->first
                                         : 1;
}

static vn_status answer(void *self, const vn_query *q, float *raw, vn_err *err) {
    const vn_denoiser *inner = self;
    const vn_status status = inner->predict(inner->self, q, raw, err);
    assert_true(queries < (int)VN_COUNT(asked));
    asked[queries].perturb = q->perturb;
    asked[queries].always = q->always;
    asked[queries++].network = q->network;
    for (int64_t i = 0; i < q->n * D; i++) raw[i] *= factor(&q->perturb) * factor(&q->always);
    return status;
}

/* What the denoiser says of x, perturbed. */
static rows ask(const int32_t *condition, const vn_perturb *perturb) {
    rows r;
    queries = 0;
    unguided(&denoiser, (vn_query){.n = N, .x = x, .condition = condition, .perturb = *perturb},
             &level, pair_of(&r));
    return r;
}

static const vn_perturb unperturbed = {0};

static int set_up(void **state) {
    (void)state;
    exact = bench_open(text, "vp", "v");
    denoiser = exact.denoiser;
    denoiser.self = &exact.denoiser;
    denoiser.predict = answer;
    denoiser.perturbations = ALL;
    denoiser.layers = LAYERS;
    denoiser.middle = MIDDLE;
    level = vn_path_level(exact.path, 0.5);
    next = vn_path_level(exact.path, 0.4);
    for (int i = 0; i < N; i++) vn_random_normal(x + i * D, D, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bench_close(&exact);
    return 0;
}

/* One prediction of a sampling run; returns its passes. */
static double predict(const char *list, double gamma, const int32_t *condition, int step, int steps,
                      rows *out) {
    queries = 0;
    return guided_at(list, gamma, &denoiser, N, condition, x, &level, &next, step, steps,
                     pair_of(out));
}

/* ---- the sum --------------------------------------------------------------------------------- */

static const struct {
    const char *list;
    double scale;
    vn_perturb perturb;
} rules[] = {
    {"pag", 3, {.kind = VN_ATTENTION_IDENTITY, .first = MIDDLE, .last = MIDDLE}},
    {"pag:scale=-1.5,first=0", -1.5, {.kind = VN_ATTENTION_IDENTITY}},
    {"seg",
     3,
     {.kind = VN_ATTENTION_BLUR, .amount = VN_BLUR_INFINITE, .first = MIDDLE, .last = MIDDLE}},
    {"seg:sigma=2.5,first=3,last=7",
     3,
     {.kind = VN_ATTENTION_BLUR, .amount = 2.5, .first = 3, .last = 7}},
    {"slg", 2.8, {.kind = VN_BLOCKS_SKIPPED, .first = MIDDLE, .last = MIDDLE}},
    {"slg:first=7,last=9", 2.8, {.kind = VN_BLOCKS_SKIPPED, .first = 7, .last = 9}},
    {"stg", 1, {.kind = VN_ATTENTION_SKIPPED, .first = MIDDLE, .last = MIDDLE}},
    {"stg:skip=scores,scale=2",
     2,
     {.kind = VN_ATTENTION_IDENTITY, .first = MIDDLE, .last = MIDDLE}},
    {"stg:skip=block,first=11", 1, {.kind = VN_BLOCKS_SKIPPED, .first = 11, .last = 11}},
};

static void check_sum(size_t i, double gamma, const int32_t *condition, double passes) {
    rows got;
    const rows c = ask(condition, &unperturbed), u = ask(none, &unperturbed),
               d = ask(condition, &rules[i].perturb);
    const double took = predict(rules[i].list, gamma, condition, 1, 28, &got);
    if (took != passes) fail_msg("%s at %g: %g passes, not %g", rules[i].list, gamma, took, passes);
    bool found = false;
    for (int k = 0; k < queries; k++)
        found |= vn_perturb_equal(&asked[k].perturb, &rules[i].perturb);
    if (!found) fail_msg("%s asks for something else", rules[i].list);
    rows want;
    const float g = (float)gamma, s = (float)rules[i].scale;
    for (int k = 0; k < F; k++) {
        want.x0[k] = u.x0[k] + g * (c.x0[k] - u.x0[k]) + s * (c.x0[k] - d.x0[k]);
        want.eps[k] = u.eps[k] + g * (c.eps[k] - u.eps[k]) + s * (c.eps[k] - d.eps[k]);
    }
    near(rules[i].list, F, got.x0, want.x0, TOLERANCE);
    near(rules[i].list, F, got.eps, want.eps, TOLERANCE);
}

static void each_moves_away_from_the_perturbed(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(rules); i++) {
        check_sum(i, 2, labels, 3); /* c once for both */
        check_sum(i, 1, labels, 2); /* they are additions: gamma 1 does not switch them off */
        check_sum(i, 0, labels, 3);
        check_sum(i, 2, none, 2); /* and need no condition */
    }
}

static void they_add_up_and_share_passes(void **state) {
    (void)state;
    static const vn_perturb values = {.kind = VN_ATTENTION_IDENTITY,
                                      .first = MIDDLE,
                                      .last = MIDDLE},
                            three = {.kind = VN_BLOCKS_SKIPPED, .first = 3, .last = 3};
    const rows c = ask(labels, &unperturbed), p = ask(labels, &values), s = ask(labels, &three);
    rows got, want;
    assert_true(predict("pag,slg:first=3", 1, labels, 0, 28, &got) == 3);
    for (int i = 0; i < F; i++)
        want.x0[i] = c.x0[i] + 3 * (c.x0[i] - p.x0[i]) + 2.8F * (c.x0[i] - s.x0[i]);
    near("pag,slg", F, got.x0, want.x0, TOLERANCE);
    /* one pass is enough for both */
    assert_true(predict("pag,stg:skip=scores", 1, labels, 0, 28, &got) == 2);
    for (int i = 0; i < F; i++) want.x0[i] = c.x0[i] + 4 * (c.x0[i] - p.x0[i]);
    near("pag,stg", F, got.x0, want.x0, TOLERANCE);
    assert_true(predict("apg,pag,interval:lo=0,hi=99,rescale", 2, labels, 0, 28, &got) == 3);
    assert_true(all_finite(F, got.x0) && all_finite(F, got.eps));
}

/* ---- windows --------------------------------------------------------------------------------- */

/* Steps of a sampling run in which a list acts, as bits. */
static uint64_t steps_of(const char *list, int steps) {
    uint64_t bits = 0;
    rows got;
    for (int k = 0; k < steps; k++)
        bits |= (uint64_t)(predict(list, 1, labels, k, steps, &got) == 2) << k;
    return bits;
}

static void windows_are_fractions_of_the_steps(void **state) {
    (void)state;
    static const struct {
        const char *list;
        int steps;
        uint64_t acts;
    } cases[] = {
        {"pag", 5, 0x1f},
        {"slg", 28, 0x3f}, /* diffusers leaves out step 0; both stop after step 5 < 5.6 */
        {"slg", 20, 0xf},
        {"slg", 4, 1}, /* diffusers: int(0.8) = 0, never */
        {"slg", 1, 1},
        {"pag:start=0.5", 4, 0xc},
        {"pag:start=0.3,stop=0.4", 2, 1}, /* never none */
        {"seg:start=0.29,stop=0.3", 50, 0x4000},
        {"stg:stop=0.28", 25, 0x7f}, /* 0.28 of 25 is above 7 in binary */
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        const uint64_t acts = steps_of(cases[i].list, cases[i].steps);
        if (acts != cases[i].acts)
            fail_msg("%s in %d steps: %llx", cases[i].list, cases[i].steps,
                     (unsigned long long)acts);
    }
}

/* ---- the network itself ---------------------------------------------------------------------- */

static void sparse_attention_is_in_every_pass(void **state) {
    (void)state;
    static const struct {
        const char *list;
        int first, last;
    } cases[] = {{"pladis", 0, INT_MAX}, {"pladis:first=4", 4, 4}, {"pladis:first=4,last=6", 4, 6}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        const vn_perturb sparse = {.kind = VN_ATTENTION_SPARSE,
                                   .amount = 2,
                                   .first = cases[i].first,
                                   .last = cases[i].last};
        const rows c = ask(labels, &sparse), u = ask(none, &sparse);
        rows got, want;
        assert_true(predict(cases[i].list, 2, labels, 0, 28, &got) == 2);
        assert_int_equal(queries, 1);
        assert_true(vn_perturb_equal(&asked[0].always, &sparse) && !asked[0].perturb.kind);
        for (int k = 0; k < F; k++) want.x0[k] = u.x0[k] + 2 * (c.x0[k] - u.x0[k]);
        near(cases[i].list, F, got.x0, want.x0, TOLERANCE);
        /* gamma 1 does not switch it off */
        assert_true(predict(cases[i].list, 1, labels, 0, 28, &got) == 1);
        near(cases[i].list, F, got.x0, c.x0, TOLERANCE);
    }
}

static void sparse_attention_is_in_perturbed_passes_too(void **state) {
    (void)state;
    rows got;
    assert_true(predict("pladis,pag", 2, labels, 0, 28, &got) == 3);
    for (int i = 0; i < queries; i++) assert_true(asked[i].always.kind == VN_ATTENTION_SPARSE);
    assert_true(predict("autoguidance,pladis", 2, labels, 0, 28, &got) == 2);
    for (int i = 0; i < queries; i++) /* the weak model is another network */
        assert_int_equal(asked[i].always.kind, asked[i].network == VN_NETWORK_MAIN
                                                   ? VN_ATTENTION_SPARSE
                                                   : VN_UNPERTURBED);
}

/* Both answers come from one pass, in each pass of the rule, and only within the interval. */
static void internal_guidance_costs_no_pass(void **state) {
    (void)state;
    const vn_perturb by = {.kind = VN_ANSWER_EXTRAPOLATED, .amount = 1.4};
    const double ratio = vn_level_ratio(&level);
    const rows c = ask(labels, &by), u = ask(none, &by);
    rows got, want;
    char list[96];
    assert_true(predict("ig", 2, labels, 0, 28, &got) == 2);
    assert_int_equal(queries, 1);
    assert_true(vn_perturb_equal(&asked[0].always, &by) && !asked[0].perturb.kind);
    for (int k = 0; k < F; k++) want.x0[k] = u.x0[k] + 2 * (c.x0[k] - u.x0[k]);
    near("ig", F, got.x0, want.x0, TOLERANCE);
    assert_true(predict("cfg,ig", 1, labels, 0, 28, &got) == 1);
    near("ig alone", F, got.x0, c.x0, TOLERANCE);
    for (int inside = 0; inside < 2; inside++) {
        snprintf(list, sizeof list, "ig:lo=%g", inside ? ratio * 0.9 : ratio * 1.1);
        predict(list, 2, labels, 0, 28, &got);
        assert_int_equal(asked[0].always.kind, inside ? VN_ANSWER_EXTRAPOLATED : 0);
        snprintf(list, sizeof list, "ig:hi=%g", inside ? ratio * 1.1 : ratio * 0.9);
        predict(list, 2, labels, 0, 28, &got);
        assert_int_equal(asked[0].always.kind, inside ? VN_ANSWER_EXTRAPOLATED : 0);
    }
}

/* What nag asks of the network, and under which condition it is left as it is. */
static void normalized_attention_names_the_other_text(void **state) {
    (void)state;
    static const struct {
        const char *list;
        vn_perturb by;
    } cases[] = {
        {"nag", {.amount = 5, .last = INT_MAX, .limit = 2.5, .part = 0.25, .against = -1}},
        {"nag:class=1,scale=-2,tau=3,alpha=0.5,first=4,last=6",
         {.amount = -2, .first = 4, .last = 6, .limit = 3, .part = 0.5, .against = 1}},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++)
        for (int32_t against = -1; against < 2; against++) {
            vn_perturb by = cases[i].by;
            by.kind = VN_ATTENTION_NORMALIZED;
            by.none = against;
            if (i == 0) by.against = against;
            vn_guidance *g = NULL;
            vn_err err = {0};
            rows got;
            const vn_guidance_options o = {.guide = cases[i].list,
                                           .gamma = 2,
                                           .denoiser = &denoiser,
                                           .capacity = N,
                                           .none = against < 0 ? NULL : &against};
            if (vn_guidance_open(&o, &g, &err)) fail_msg("%s", err.text);
            queries = 0;
            vn_guidance_begin(g, N, 0, labels);
            vn_guidance_step(g, 0, 28, 0, &next);
            if (vn_guidance_predict(g, &(vn_request){.x = x, .level = &level}, pair_of(&got), &err))
                fail_msg("%s", err.text);
            assert_int_equal(queries, 1);
            assert_true(vn_perturb_equal(&asked[0].always, &by) && !asked[0].perturb.kind);
            vn_guidance_close(&g);
        }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *list, *words;
    } bad[] = {
        {"pag:first=12", "pag: layer 12: this model has 12, from 0 to 11"},
        {"slg:first=7,last=40", "slg: layer 40: this model has 12, from 0 to 11"},
        {"pladis:first=12", "pladis: layer 12: this model has 12, from 0 to 11"},
        {"stg:last=3", "stg: last=3 needs first"},
        {"seg:first=3,last=2", "seg: last=2 is before first=3"},
        {"pag:scale=0", "pag: scale=0 has no effect"},
        {"pladis:scale=0", "pladis: scale=0 has no effect"},
        {"slg:start=0.2", "slg: start=0.2 is not below stop=0.2"},
        {"seg:sigma=0.1", "seg: sigma=0.1 is outside [0.2, 1e+09]"},
        {"stg:skip=all", "skip=all is none of attention|scores|block"},
        {"pag:first=0.5", "first=0.5 is not a whole number"},
        {"pag,pag:first=2", "the guide pag is named twice"},
        {"pladis,pladis", "the guide pladis is named twice"},
        {"nag:scale=1", "nag: scale=1 has no effect"},
        {"nag:alpha=0", "nag: alpha=0 has no effect"},
        {"nag:tau=0.5", "nag: tau=0.5 is outside [1, 1e+30]"},
        {"nag:first=12", "nag: layer 12: this model has 12, from 0 to 11"},
        {"ig:scale=1", "ig: scale=1 has no effect"},
        {"ig:lo=2,hi=1", "ig: lo=2 is not below hi=1"},
        {"ig,pladis", "ig and pladis cannot be combined: each changes the network itself"},
        {"nag,pladis", "nag and pladis cannot be combined: each changes the network itself"},
        {"cads", "guidance 2 by cads needs conditions that noise can be added to"},
        {"cfg-plus-plus,pag", "cfg-plus-plus and pag cannot be combined"},
        {"fkc,pladis", "fkc and pladis cannot be combined: fkc is right for cfg alone"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) refused(bad[i].list, 2, &denoiser, bad[i].words);
}

/* ---- blocks that are drawn ------------------------------------------------------------------- */

static int drawn(int64_t sample, int step, int request, int count) {
    const uint64_t key = ((uint64_t)request + 1) << 32 | (uint64_t)step;
    return (int)(vn_random_double(3, VN_STREAM_GUIDE, (uint64_t)sample, key) *
                 (LAYERS - count + 1));
}

/* out + scale (c - c'), c' of each sample by its own draw, in every prediction another. */
static void s2_draws_blocks_for_each_sample(void **state) {
    (void)state;
    vn_guidance *g = open_guides("cfg,s2:scale=0.5,blocks=3", 2, &denoiser, N);
    vn_err err;
    int differ = 0, queried = 0;
    vn_guidance_begin(g, N, 0, labels);
    for (int step = 0; step < 4; step++) {
        vn_guidance_step(g, step, 4, 0, &next);
        for (int request = 0; request < 2; request++) {
            rows got, c = ask(labels, &unperturbed), u = ask(none, &unperturbed), want;
            queries = 0;
            assert_int_equal(
                vn_guidance_predict(g, &(vn_request){.x = x, .level = &level}, pair_of(&got), &err),
                VN_OK);
            queried = queries;
            int apart = 1;
            for (int i = 0; i < N; i++) {
                const int first = drawn(i, step, request, 3);
                const vn_perturb without = {
                    .kind = VN_BLOCKS_SKIPPED, .first = first, .last = first + 2};
                const rows d = ask(labels, &without);
                bool before = false;
                for (int k = 0; k < i; k++) before |= drawn(k, step, request, 3) == first;
                apart += !before;
                differ += first != drawn(i, 0, 0, 3);
                for (int j = i * D; j < (i + 1) * D; j++) {
                    want.x0[j] = u.x0[j] + 2 * (c.x0[j] - u.x0[j]) + (c.x0[j] - d.x0[j]) / 2;
                    want.eps[j] = u.eps[j] + 2 * (c.eps[j] - u.eps[j]) + (c.eps[j] - d.eps[j]) / 2;
                }
            }
            assert_int_equal(queried, apart); /* samples that drew the same are run together */
            near("s2", F, got.x0, want.x0, TOLERANCE);
            near("s2", F, got.eps, want.eps, TOLERANCE);
        }
    }
    assert_true(vn_guidance_passes(g) == 3 * 8 && differ > N);
    vn_guidance_close(&g);
}

/* In the middle layer, by one of 8 orders that the sample draws. */
static void tpg_draws_an_order_for_each_sample(void **state) {
    (void)state;
    rows got, c = ask(labels, &unperturbed), want = c;
    bool seen[8] = {false};
    assert_true(predict("tpg:scale=2", 1, labels, 3, 4, &got) == 2);
    for (int i = 0; i < N; i++) {
        const uint64_t key = (uint64_t)1 << 32 | 3;
        const int order = (int)(8 * vn_random_double(3, VN_STREAM_GUIDE, (uint64_t)i, key));
        const vn_perturb shuffled = {
            .kind = VN_TOKENS_SHUFFLED, .amount = order, .first = MIDDLE, .last = MIDDLE};
        const rows d = ask(labels, &shuffled);
        seen[order] = true;
        for (int j = i * D; j < (i + 1) * D; j++) {
            want.x0[j] = c.x0[j] + 2 * (c.x0[j] - d.x0[j]);
            want.eps[j] = c.eps[j] + 2 * (c.eps[j] - d.eps[j]);
        }
    }
    int apart = 0;
    for (int k = 0; k < 8; k++) apart += seen[k];
    assert_true(apart > 1);
    near("tpg", F, got.x0, want.x0, TOLERANCE);
    near("tpg", F, got.eps, want.eps, TOLERANCE);
    refused("tpg:first=12", 2, &denoiser, "tpg: layer 12: this model has 12, from 0 to 11");
}

static void s2_does_not_depend_on_the_batch(void **state) {
    (void)state;
    rows all;
    predict("cfg,s2", 2, labels, 1, 4, &all);
    for (int64_t i = 0; i < N; i++) {
        vn_guidance *one = open_guides("cfg,s2", 2, &denoiser, 1);
        vn_err err;
        float x0[D], eps[D];
        vn_guidance_begin(one, 1, (uint64_t)i, labels + i);
        vn_guidance_step(one, 1, 4, 0, &next);
        queries = 0;
        assert_int_equal(vn_guidance_predict(one, &(vn_request){.x = x + i * D, .level = &level},
                                             (vn_estimate){x0, eps}, &err),
                         VN_OK);
        assert_memory_equal(x0, all.x0 + i * D, sizeof x0);
        assert_memory_equal(eps, all.eps + i * D, sizeof eps);
        vn_guidance_close(&one);
    }
    refused("s2:scale=0", 2, &denoiser, "s2: scale=0 has no effect");
    refused("s2:blocks=12", 2, &denoiser, "s2: 12 blocks: this model has 12, of which some stay");
}

static void models_without_layers_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < vn_guides.count; i++) {
        const vn_guide_row *row = (const vn_guide_row *)vn_table_row(&vn_guides, i);
        char words[96];
        if (!row->perturbations) continue;
        snprintf(words, sizeof words, "guidance 1 by %s needs %s", row->row.name,
                 row->perturbations == VN_ATTENTION_NORMALIZED  ? "attention to a text"
                 : row->perturbations == VN_ANSWER_EXTRAPOLATED ? "an internal head"
                                                                : "layers that can be perturbed");
        refused(row->row.name, 1, &exact.denoiser, words);
    }
    vn_denoiser some = denoiser;
    some.perturbations = VN_ATTENTION_IDENTITY;
    refused("stg", 1, &some, "needs layers that can be perturbed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_moves_away_from_the_perturbed),
        cmocka_unit_test(they_add_up_and_share_passes),
        cmocka_unit_test(windows_are_fractions_of_the_steps),
        cmocka_unit_test(sparse_attention_is_in_every_pass),
        cmocka_unit_test(sparse_attention_is_in_perturbed_passes_too),
        cmocka_unit_test(internal_guidance_costs_no_pass),
        cmocka_unit_test(normalized_attention_names_the_other_text),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(s2_draws_blocks_for_each_sample),
        cmocka_unit_test(s2_does_not_depend_on_the_batch),
        cmocka_unit_test(tpg_draws_an_order_for_each_sample),
        cmocka_unit_test(models_without_layers_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
