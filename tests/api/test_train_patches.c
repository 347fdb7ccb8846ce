/* test_train_patches.c - training of a network that takes images as rows of patches (Flux): each
 * number lies where sampling has it, at the patch's own place, whatever the sides; and what such a
 * network cannot be trained for is refused. */
#include "api/support_captioned.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "image/image.h"
#include "support/bound.h"
#include "support/scratch.h"

enum { WIDE = 8, HIGH = 6, COLOURS = 3, NUMBERS = WIDE * HIGH * COLOURS };

static float pattern[NUMBERS]; /* [C,H,W] in [-1,1], of no symmetry */

/* One picture several times. */
static void make_pattern(const char *folder) {
    uint8_t pixels[NUMBERS];
    const vn_image image = {WIDE, HIGH, COLOURS, pixels};
    vn_err err = {0};
    for (int i = 0; i < NUMBERS; i++) {
        const int channel = i % COLOURS, place = i / COLOURS;
        const bool on = vn_random_double(5, VN_STREAM_TEST, (uint64_t)i, 0) < 0.5;
        pixels[i] = on ? 225 : 25;
        pattern[channel * WIDE * HIGH + place] = (float)pixels[i] / 127.5F - 1;
    }
    assert_int_equal(mkdir(folder, 0777), 0);
    for (int i = 0; i < 8; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        if (vn_png_write(path, &image, NULL, 0, &err)) fail_msg("%s", err.text);
        write_caption(folder, i, "it");
    }
}

/* How far the correlation of a sample and the pattern is from 1. */
static double unlike(const float *x) {
    double xy = 0, xx = 0, yy = 0, x_mean = 0, y_mean = 0;
    for (int i = 0; i < NUMBERS; i++) {
        x_mean += (double)x[i] / NUMBERS;
        y_mean += (double)pattern[i] / NUMBERS;
    }
    for (int i = 0; i < NUMBERS; i++) {
        const double a = (double)x[i] - x_mean, b = (double)pattern[i] - y_mean;
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    return 1 - xy / sqrt(xx * yy);
}

/* After so few steps samples are like the picture; in any other order of its numbers, or of
 * patches, the correlation would be 0 but for 1/sqrt(NUMBERS), which is 0.08. */
static void samples_are_the_picture(void **state) {
    (void)state;
    static const char *const prompts[] = {"it"};
    vn_model *m = NULL;
    vn_samples *s = NULL;
    vn_train_options o = captioned_options("flux:depth=1,single=1,width=32,heads=2", 200);
    o.schedule = "cosine";
    expect_ok(vn, vn_train(vn, "pattern", "run", &o, NULL));
    expect_ok(vn, vn_model_open(vn, "run", &m));
    const vn_model_info info = info_of(m);
    assert_true(info.takes_prompts && info.shape[1] == HIGH && info.shape[2] == WIDE);
    vn_sample_options how = vn_sample_options_default();
    how.count = 4;
    how.steps = 8;
    how.guidance = 1;
    how.prompts = prompts;
    how.prompt_count = 1;
    expect_ok(vn, vn_sample(m, &how, &s));
    for (int i = 0; i < 4; i++)
        expect_below("the correlation, from 1", unlike(vn_samples_data(s) + i * NUMBERS), 0.6);
    vn_samples_close(&s);
    vn_model_close(&m);
}

static void refused(const char *model, const char *objective, const char *words) {
    vn_train_options o = captioned_options(model, 1);
    o.objective = objective;
    if (objective) o.path = "ddpm";
    expect_refused(vn_train(vn, "pattern", "no", &o, NULL), VN_BAD_ARGUMENT, words);
    assert_false(vn_is_dir("no"));
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    refused("flux:width=20,heads=4", NULL, "width=20 is not heads=4 times an even number");
    refused("flux:width=16,heads=4", NULL, "of at least 6");
    refused("flux:depth=0,single=0", NULL, "no blocks at all");
    refused("flux", "hybrid", "gives no variance");
    vn_train_options o = captioned_options("flux", 1);
    o.size = 7;
    expect_refused(vn_train(vn, "pattern", "no", &o, NULL), VN_BAD_ARGUMENT,
                   "images of 7 x 7 are not divisible by 2");
    /* as files describe them */
    scratch_write_text("guided.json",
                       "{\"_class_name\": \"FluxTransformer2DModel\", \"in_channels\": 12, "
                       "\"num_layers\": 1, \"num_single_layers\": 1, \"attention_head_dim\": 8, "
                       "\"num_attention_heads\": 1, \"joint_attention_dim\": 8, "
                       "\"pooled_projection_dim\": 8, \"axes_dims_rope\": [4, 2, 2], "
                       "\"guidance_embeds\": true}");
    o = captioned_options("guided.json", 1);
    expect_refused(vn_train(vn, "pattern", "no", &o, NULL), VN_UNSUPPORTED,
                   "takes guidance, which pattern does not have: it can be sampled, not trained");
}

static int enter(void **state) {
    scratch_enter(state);
    if (vn_context_open(&vn, NULL)) return 1;
    make_pattern("pattern");
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_the_picture),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, enter, context_leave);
}
