/* test_inside.c - guides with a hand inside the network, on small trained networks: each with every
 * sampler here they go with, alone and with others, ends in finite numbers other than those without
 * it; steps take no memory; what a network lacks is named. */
#include "support/alloc.h"

#include "api/support_api.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

static const char *const networks[] = {"transformer", "unet"};

static const char *const guides[] = {
    "pag",
    "seg",
    "seg:sigma=1.5,first=0",
    "slg",
    "stg",
    "stg:skip=scores",
    "stg:skip=block,stop=0.5",
    "pladis",
    "cfg,pag,pladis",
    "apg,seg,slg:first=0,interval:lo=0.2,hi=2,rescale",
};

static const char *const samplers[] = {"euler", "heun", "ddim", "dpmpp-2m", "euler-a", "unipc"};

/* Allocations at the last report, and whether a step after the first two made any. */
typedef struct record {
    int64_t made;
    int count, broken;
} record;

static record steps;

static int note(void *user, const vn_progress *p) {
    record *r = user;
    (void)p;
    r->broken += r->count > 2 && alloc_made() != r->made;
    r->made = alloc_made();
    r->count++;
    return 0;
}

static vn_context *open_context(void) {
    vn_context_options o = vn_context_options_default();
    o.cpu = kernels->name;
    o.threads = 2;
    o.progress = note;
    o.user = &steps;
    vn_context *vn = NULL;
    assert_int_equal(vn_context_open(&vn, &o), VN_OK);
    return vn;
}

static int prepare(void **state) {
    static const struct {
        const char *folder, *model;
    } runs[] = {{"transformer", "dit:depth=3,width=16,heads=2,patch=2"},
                {"unet", "unet2d:channels=8,levels=2,attention=1"},
                {"plain", "unet2d:channels=8,levels=2,attention=0"}};
    scratch_enter(state);
    make_data("data", 24);
    vn_context *vn = open_context();
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        vn_train_options o = tiny_options(30);
        o.model = runs[i].model;
        o.lr = 3e-3; /* a transformer begins as zero and must have left it */
        expect_ok(vn, vn_train(vn, "data", runs[i].folder, &o, NULL));
    }
    vn_train_options o = tiny_options(2);
    o.model = "mlp:width=16";
    expect_ok(vn, vn_train(vn, "points:moons", "points", &o, NULL));
    vn_context_close(&vn);
    return 0;
}

static vn_sample_options options(const char *sampler, const char *guide) {
    vn_sample_options o = vn_sample_options_default();
    o.count = 3;
    o.steps = 8;
    o.guidance = 2;
    o.seed = 4;
    o.sampler = sampler;
    o.guide = guide;
    return o;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static const float *must_sample(vn_context *vn, vn_model *model, const vn_sample_options *o,
                                vn_samples **out) {
    expect_ok(vn, vn_sample(model, o, out));
    const float *x = vn_samples_data(*out);
    for (int i = 0; i < 3 * 64; i++)
        if (!isfinite(x[i])) fail_msg("%s with %s is not finite", o->sampler, o->guide);
    return x;
}

/* Norm of a - b over that of b. */
static double change(const float *a, const float *b) {
    double difference = 0, norm = 0;
    for (int i = 0; i < 3 * 64; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / norm);
}

static void test_samples_are_finite_and_guided(void **state) {
    (void)state;
    vn_context *vn = open_context();
    double least = HUGE_VAL;
    for (size_t n = 0; n < 2; n++) {
        vn_model *model = NULL;
        expect_ok(vn, vn_model_open(vn, networks[n], &model));
        for (size_t s = 0; s < sizeof samplers / sizeof *samplers; s++) {
            vn_samples *without = NULL;
            vn_sample_options o = options(samplers[s], "cfg");
            const float *base = must_sample(vn, model, &o, &without);
            for (size_t g = 0; g < sizeof guides / sizeof *guides; g++) {
                vn_samples *with = NULL;
                o = options(samplers[s], guides[g]);
                const double moved = change(must_sample(vn, model, &o, &with), base);
                if (!(moved > 1e-5))
                    fail_msg("%s with %s on %s changes nothing", o.sampler, o.guide, networks[n]);
                least = moved < least ? moved : least;
                vn_samples_close(&with);
            }
            vn_samples_close(&without);
        }
        vn_model_close(&model);
    }
    print_message("moved by %.1e at least\n", least);
    vn_context_close(&vn);
}

/* A sample that draws its blocks, or stops its null pass, is the same to the bit alone and in a
 * batch whose other rows do otherwise. */
static void test_rows_that_differ_are_the_same_alone(void **state) {
    (void)state;
    static const char *const lists[] = {"cfg,s2:scale=1", "cfg,tpg", "cfg,adaptive:cos=0.9"};
    vn_context *vn = open_context();
    for (size_t n = 0; n < 2; n++) {
        vn_model *model = NULL;
        expect_ok(vn, vn_model_open(vn, networks[n], &model));
        for (size_t g = 0; g < sizeof lists / sizeof *lists; g++) {
            vn_samples *together = NULL, *alone = NULL, *without = NULL;
            vn_sample_options o = options("euler", lists[g]);
            const float *all = must_sample(vn, model, &o, &together);
            o.guide = "cfg";
            if (!(change(all, must_sample(vn, model, &o, &without)) > 1e-5))
                fail_msg("%s on %s changes nothing", lists[g], networks[n]);
            o = options("euler", lists[g]);
            o.count = 1;
            o.first = 2;
            expect_ok(vn, vn_sample(model, &o, &alone));
            if (memcmp(vn_samples_data(alone), all + 2 * 64, 64 * sizeof *all) != 0)
                fail_msg("%s on %s: a sample depends on its batch", lists[g], networks[n]);
            vn_samples_close(&together);
            vn_samples_close(&alone);
            vn_samples_close(&without);
        }
        vn_model_close(&model);
    }
    vn_context_close(&vn);
}

/* What the perturbed pass is, is compared in tests/nn/test_perturb.c; here, that a run adds `scale`
 * times the difference to it: one step of euler is the estimate of x0 itself, and moves twice as
 * far with twice the scale, but for roundings of numbers of the size of the result. */
static void test_a_step_moves_by_the_scale(void **state) {
    (void)state;
    static const char *const names[] = {"pag", "seg", "slg", "stg"};
    const double bound = 16 * 0x1p-24;
    vn_context *vn = open_context();
    double worst = 0;
    for (size_t n = 0; n < 2; n++) {
        vn_model *model = NULL;
        expect_ok(vn, vn_model_open(vn, networks[n], &model));
        for (size_t g = 0; g < sizeof names / sizeof *names; g++) {
            vn_samples *drawn[3] = {NULL};
            const float *x[3];
            for (int scale = 0; scale < 3; scale++) {
                char guide[64] = "cfg";
                if (scale)
                    snprintf(guide, sizeof guide, "%s:scale=%d,start=0,stop=1", names[g], scale);
                vn_sample_options o = options("euler", guide);
                o.steps = 1;
                x[scale] = must_sample(vn, model, &o, &drawn[scale]);
            }
            double error = 0, norm = 0;
            for (int i = 0; i < 3 * 64; i++) {
                const double once = (double)x[1][i] - (double)x[0][i],
                             twice = (double)x[2][i] - (double)x[0][i];
                error += (twice - 2 * once) * (twice - 2 * once);
                norm += (double)x[2][i] * (double)x[2][i];
            }
            error = sqrt(error / norm);
            worst = fmax(worst, error);
            const double moved = change(x[1], x[0]);
            expect_below_as(error, bound, "%s inside %s", names[g], networks[n]);
            assert_true(moved > 20 * bound);
            for (int scale = 0; scale < 3; scale++) vn_samples_close(&drawn[scale]);
        }
        vn_model_close(&model);
    }
    print_message("twice the scale moves twice as far but for %.2g, of at most %.2g\n", worst,
                  bound);
    vn_context_close(&vn);
}

static void test_steps_do_not_allocate(void **state) {
    (void)state;
    vn_context *vn = open_context();
    for (size_t n = 0; n < 2; n++) {
        vn_model *model = NULL;
        vn_samples *out = NULL;
        expect_ok(vn, vn_model_open(vn, networks[n], &model));
        for (size_t g = 0; g < sizeof guides / sizeof *guides; g++) {
            const vn_sample_options o = options(g % 2 ? "heun" : "euler", guides[g]);
            expect_ok(vn, vn_sample(model, &o, &out)); /* plans the network, with and without */
            vn_samples_close(&out);
            steps = (record){0};
            expect_ok(vn, vn_sample(model, &o, &out));
            vn_samples_close(&out);
            assert_true(steps.count >= 8);
            if (steps.broken)
                fail_msg("%s on %s: %d steps allocate", guides[g], networks[n], steps.broken);
        }
        vn_model_close(&model);
    }
    vn_context_close(&vn);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_what_a_network_lacks_is_named(void **state) {
    (void)state;
    static const struct {
        const char *run, *guide, *words;
    } cases[] = {
        {"transformer", "pag:first=3", "pag: layer 3: this model has 3, from 0 to 2"},
        {"transformer", "slg:first=1,last=7", "slg: layer 7: this model has 3, from 0 to 2"},
        {"unet", "seg:first=9", "seg: layer 9: this model has"},
        {"plain", "pag", "pag needs layers that can be perturbed, which this model does not have"},
        {"points", "pladis",
         "pladis needs layers that can be perturbed, which this model does not have"},
    };
    vn_context *vn = open_context();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vn_model *model = NULL;
        vn_samples *out = NULL;
        const vn_sample_options o = options(NULL, cases[i].guide);
        expect_ok(vn, vn_model_open(vn, cases[i].run, &model));
        assert_int_equal(vn_sample(model, &o, &out), VN_BAD_ARGUMENT);
        if (!strstr(vn_error_text(vn), cases[i].words))
            fail_msg("%s: \"%s\"", cases[i].guide, vn_error_text(vn));
        vn_model_close(&model);
    }
    vn_context_close(&vn);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_finite_and_guided),
        cmocka_unit_test(test_rows_that_differ_are_the_same_alone),
        cmocka_unit_test(test_a_step_moves_by_the_scale),
        cmocka_unit_test(test_steps_do_not_allocate),
        cmocka_unit_test(test_what_a_network_lacks_is_named),
    };
    return run_under_each_kernel_set(tests, prepare, scratch_leave);
}
