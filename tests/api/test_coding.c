/* Autoencoders that are trained: every kind learns more than the mean picture, a run that stopped
 * goes on to the same bits, its latents are scaled by what was measured, programs and `vane info`
 * open it, and what has no effect is refused. */
#include "api/support_context.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { PICTURES = 60, SIDE = 8, PIXELS = SIDE * SIDE };

static int enter(void **state) {
    context_enter(state);
    make_data("data", PICTURES);
    return 0;
}

static vn_train_options coding_options(const char *model, int64_t steps) {
    vn_train_options o = tiny_options(steps);
    o.model = model;
    o.batch = 8;
    o.lr = 5e-3;
    o.warmup = 5;
    o.ema = 0.9;
    o.microbatches = 2;
    return o;
}

static json_t *described(const char *path) {
    char *text = NULL;
    expect_ok(vn, vn_describe(vn, path, &text));
    json_t *out = json_loads(text, 0, NULL);
    vn_text_free(&text);
    assert_non_null(out);
    return out;
}

static double number_at(const json_t *object, const char *of, const char *key) {
    const json_t *value = json_object_get(json_object_get(object, of), key);
    if (!json_is_number(value)) fail_msg("%s.%s is no number", of, key);
    return json_number_value(value);
}

/* The pictures as they are read, [PICTURES,1,8,8]. */
static float *pictures(void) {
    static float x[PICTURES * PIXELS];
    size_t size;
    char *bytes = scratch_read("data/train-images-idx3-ubyte", &size);
    for (int i = 0; i < PICTURES * PIXELS; i++)
        x[i] = (float)(unsigned char)bytes[16 + i] / 127.5F - 1;
    free(bytes);
    return x;
}

/* The signal-to-noise ratio in dB of the mean picture of all. */
static double mean_psnr(void) {
    const float *x = pictures();
    double mean[PIXELS] = {0}, sum = 0;
    for (int i = 0; i < PICTURES * PIXELS; i++) mean[i % PIXELS] += (double)x[i] / PICTURES;
    for (int i = 0; i < PICTURES; i++) {
        double error = 0;
        for (int k = 0; k < PIXELS; k++) error += pow((double)x[i * PIXELS + k] - mean[k], 2);
        sum += 10 * log10(4 * PIXELS / error);
    }
    return sum / PICTURES;
}

static const struct {
    const char *model, *folder, *run;
    bool has_shift, has_codes;
} kinds[] = {
    {"autoencoder:kind=kl,channels=8,factor=2", "vae", "kl", true, false},
    {"autoencoder:kind=tiny,channels=8,factor=2,latents=3", "vae", "tiny", true, false},
    {"autoencoder:kind=vq,channels=8,factor=2,codes=16,latents=2", "vqvae", "vq", false, true},
    {"autoencoder:kind=fsq,channels=8,factor=2,codes=256", "vqvae", "fsq", false, true},
};
enum { KINDS = (int)(sizeof kinds / sizeof kinds[0]) };

static void every_kind_learns_more_than_the_mean(void **state) {
    (void)state;
    const double mean = mean_psnr();
    for (int k = 0; k < KINDS; k++) {
        const vn_train_options o = coding_options(kinds[k].model, 120);
        expect_ok(vn, vn_train(vn, "data", kinds[k].run, &o, NULL));
        json_t *d = described(kinds[k].run);
        const double psnr = number_at(d, "measured", "psnr");
        print_message("%s: %.1f dB, the mean picture %.1f dB\n", kinds[k].model, psnr, mean);
        assert_true(psnr > mean + 3);
        assert_string_equal(json_string_value(json_object_get(d, "is")), "autoencoder");
        assert_int_equal(json_integer_value(json_object_get(d, "factor")), 2);
        assert_int_equal(number_at(d, "trained", "steps"), 120);
        assert_true(number_at(d, "trained", "held_psnr") > mean);
        if (kinds[k].has_codes) assert_true(number_at(d, "measured", "codes_used") >= 2);
        json_decref(d);
    }
}

/* What is in config.json is by the run's own latents: encoded again, all of them have about mean 0
 * and deviation 1. They are the 48 that were measured and 12 others of the same kinds. */
static void latents_are_scaled_by_what_was_measured(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        vn_autoencoder *a = NULL;
        expect_ok(vn, vn_autoencoder_open(vn, kinds[k].run, &a));
        vn_autoencoder_options o = vn_autoencoder_options_default();
        o.scaled = 1;
        o.draw = k == 0; /* as those that were measured: of kl, with the deviation of each */
        const vn_array in = {"sample", VN_F32, {4, {PICTURES, 1, SIDE, SIDE}}, (void *)pictures()};
        vn_array z = {.name = "latents"};
        expect_ok(vn, vn_autoencoder_encode(a, &o, &in, 1, &z));
        const int64_t *d = z.shape.dim, count = d[0] * d[1] * d[2] * d[3];
        double sum = 0, square = 0;
        for (int64_t i = 0; i < count; i++) {
            const double v = (double)((const float *)z.data)[i];
            sum += v;
            square += v * v;
        }
        const double mean = sum / (double)count,
                     deviation = sqrt(square / (double)count - mean * mean);
        print_message("%s: mean %.3f, deviation %.3f\n", kinds[k].run, mean, deviation);
        assert_true(fabs(deviation - 1) < 0.05);
        if (kinds[k].has_shift) assert_true(fabs(mean) < 0.05);
        vn_autoencoder_close(&a);
    }
}

/* What vane eval says of an autoencoder is what its run says of the pictures that were held out. */
static void reconstructions_are_measured(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        vn_eval_options o = vn_eval_options_default();
        vn_eval_result r = vn_eval_result_default();
        json_t *d = described(kinds[k].run);
        o.metric = "psnr,kd";
        o.samples = o.data = kinds[k].run;
        o.features = "raw";
        o.resamples = 0;
        expect_ok(vn, vn_eval_samples(vn, &o, &r));
        assert_int_equal(r.count, (int64_t)number_at(d, "measured", "pictures"));
        expect_below("psnr", fabs(r.measure[0].value - number_at(d, "measured", "psnr")), 1e-5);
        assert_true(isfinite(r.measure[1].value));
        o.metric = "accuracy";
        o.features = "random";
        expect_refused(vn_eval_samples(vn, &o, &r), VN_BAD_ARGUMENT, "classifier");
        json_decref(d);
    }
}

static void what_cannot_be_reconstructed_is_refused(void **state) {
    (void)state;
    vn_eval_result r = vn_eval_result_default();
    vn_eval_options o = vn_eval_options_default();
    o.metric = "psnr";
    o.samples = "kl";
    o.data = "points:moons";
    expect_refused(vn_eval_samples(vn, &o, &r), VN_BAD_ARGUMENT,
                   "is of pictures, and points:moons");
    o.data = NULL;
    expect_refused(vn_eval_samples(vn, &o, &r), VN_BAD_ARGUMENT, "`data` is needed");
    o.data = "data";
    o.data_count = 7;
    expect_refused(vn_eval_samples(vn, &o, &r), VN_BAD_ARGUMENT, "`data_count` has no effect");
    o.data_count = 0;
    o.metric = "nll";
    expect_refused(vn_eval_samples(vn, &o, &r), VN_BAD_ARGUMENT, "nll is of a model");
}

static bool same_weights(const char *a, const char *b, const char *folder) {
    char path[2][128];
    size_t size[2];
    snprintf(path[0], sizeof path[0], "%s/%s/diffusion_pytorch_model.safetensors", a, folder);
    snprintf(path[1], sizeof path[1], "%s/%s/diffusion_pytorch_model.safetensors", b, folder);
    char *one = scratch_read(path[0], &size[0]), *two = scratch_read(path[1], &size[1]);
    const bool same = size[0] == size[1] && !memcmp(one, two, size[0]);
    free(one);
    free(two);
    return same;
}

static void expect_same_weights(const char *a, const char *b, const char *folder) {
    char one[128], other[128];
    snprintf(one, sizeof one, "%s/%s/diffusion_pytorch_model.safetensors", a, folder);
    snprintf(other, sizeof other, "%s/%s/diffusion_pytorch_model.safetensors", b, folder);
    expect_same_file(one, other);
}

/* Trained in one go, and stopped after 4 steps of 10. */
static void expect_resumed(const char *run, const char *folder, vn_train_options o) {
    char stopped[32], whole[32];
    snprintf(whole, sizeof whole, "%s-whole", run);
    snprintf(stopped, sizeof stopped, "%s-stopped", run);
    expect_ok(vn, vn_train(vn, "data", whole, &o, NULL));
    o.steps = 4;
    expect_ok(vn, vn_train(vn, "data", stopped, &o, NULL));
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 10;
    expect_ok(vn, vn_train(vn, "data", stopped, &on, NULL));
    expect_same_weights(whole, stopped, folder);
    json_t *a = described(whole), *b = described(stopped);
    assert_true(json_equal(json_object_get(a, "measured"), json_object_get(b, "measured")));
    json_decref(a);
    json_decref(b);
}

/* With codes that are revived every 3 steps, between which it stops. */
static void a_resumed_run_ends_in_the_same_bits(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        vn_train_options o = coding_options(kinds[k].model, 10);
        if (kinds[k].has_codes && !strcmp(kinds[k].run, "vq")) o.objective = "vq-vae:revive=3";
        expect_resumed(kinds[k].run, kinds[k].folder, o);
    }
    expect_same_file("kl-whole/vae/config.json", "kl-stopped/vae/config.json");
}

/* Muon keeps a second moment of some weights alone, and revival reads that of the codebook. */
static void codes_are_revived_under_muon(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        if (strcmp(kinds[k].run, "vq") != 0) continue;
        vn_train_options o = coding_options(kinds[k].model, 10), never;
        o.optimizer = "muon";
        o.objective = "vq-vae:revive=3";
        expect_resumed("muon", kinds[k].folder, o);
        never = o;
        never.objective = "vq-vae:revive=1000";
        expect_ok(vn, vn_train(vn, "data", "never", &never, NULL));
        assert_false(same_weights("muon-whole", "never", kinds[k].folder));
    }
}

/* A preview is a picture, and what it says of itself names the step. */
static void previews_show_pairs(void **state) {
    (void)state;
    vn_train_options o = coding_options("autoencoder:kind=tiny,channels=8,factor=2", 2);
    o.preview_every = 2;
    expect_ok(vn, vn_train(vn, "data", "shown", &o, NULL));
    json_t *d = described("shown/previews/000002.png");
    const char *shows = json_string_value(json_object_get(json_object_get(d, "text"), "shows"));
    assert_true(shows && strstr(shows, "training step 2; a picture, then its reconstruction"));
    json_decref(d);
}

/* Compared by features too, of a random network or of a classifier of the run's own, it learns
 * something else, and a run that stopped goes on without the classifier's folder. */
static void features_change_what_is_learned(void **state) {
    (void)state;
    const char *const model = "autoencoder:kind=tiny,channels=8,factor=2";
    vn_train_options c = tiny_options(2), o = coding_options(model, 6);
    c.model = "classifier:time=no,channels=8,levels=2";
    expect_ok(vn, vn_train(vn, "data", "classifier", &c, NULL));
    vn_train_result without = vn_train_result_default(), with = without;
    o.objective = "reconstruction:perceptual=2";
    o.perceptual = NULL;
    expect_refused(vn_train(vn, "data", "refused", &o, NULL), VN_BAD_ARGUMENT,
                   "perceptual=2 has no effect without features");
    o.objective = NULL;
    expect_ok(vn, vn_train(vn, "data", "by-numbers", &o, &without));
    o.objective = "reconstruction:perceptual=2";
    o.perceptual = "random";
    expect_ok(vn, vn_train(vn, "data", "by-random", &o, &with));
    assert_true(with.loss > without.loss); /* by what the features add */
    o.perceptual = "classifier";
    expect_ok(vn, vn_train(vn, "data", "by-classifier", &o, &with));
    assert_true(with.loss > without.loss);
    o.steps = 2;
    expect_ok(vn, vn_train(vn, "data", "by-stopped", &o, NULL));
    assert_int_equal(rename("classifier", "elsewhere"), 0);
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 6;
    expect_ok(vn, vn_train(vn, "data", "by-stopped", &on, NULL));
    assert_int_equal(rename("elsewhere", "classifier"), 0);
    expect_same_weights("by-classifier", "by-stopped", "vae");
    c.model = "classifier:channels=8,levels=2";
    c.overwrite = 1;
    expect_ok(vn, vn_train(vn, "data", "classifier", &c, NULL));
    expect_refused(vn_train(vn, "data", "refused", &o, NULL), VN_BAD_ARGUMENT,
                   "is of noisy samples");
    o.perceptual = "shown";
    expect_refused(vn_train(vn, "data", "refused", &o, NULL), VN_BAD_ARGUMENT, "has no maps");
    c.model = "unet2d:channels=8,levels=2";
    c.perceptual = "random";
    expect_refused(vn_train(vn, "data", "refused", &c, NULL), VN_BAD_ARGUMENT,
                   "on autoencoders alone");
}

/* A config.json of diffusers may be trained as well. */
static void a_config_is_trained(void **state) {
    (void)state;
    scratch_write_text("net.json",
                       "{\"_class_name\": \"AutoencoderKL\", \"in_channels\": 1, \"out_channels\": "
                       "1, \"block_out_channels\": [4, 4], \"down_block_types\": "
                       "[\"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], \"up_block_types\": "
                       "[\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"], \"norm_num_groups\": 2, "
                       "\"latent_channels\": 2, \"sample_size\": 8}");
    const vn_train_options o = coding_options("net.json", 2);
    expect_ok(vn, vn_train(vn, "data", "of-config", &o, NULL));
}

static void what_has_no_effect_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *model, *path, *predict, *times, *objective;
        double drop;
        const char *word;
    } cases[] = {
        {"autoencoder:factor=3", 0, 0, 0, 0, -1, "factor=3 is no power of 2"},
        {"autoencoder:factor=16", 0, 0, 0, 0, -1, "factor=16 does not divide images of 8x8"},
        {"autoencoder:codes=16", 0, 0, 0, 0, -1, "codes has no effect with kind=kl"},
        {"autoencoder:kind=tiny,attention=no", 0, 0, 0, 0, -1, "attention has no effect"},
        {"autoencoder:kind=fsq,codes=100", 0, 0, 0, 0, -1, "codes=256, 1024"},
        {"autoencoder:kind=fsq,latents=3", 0, 0, 0, 0, -1, "latents has no effect with kind=fsq"},
        {"autoencoder", "vp", 0, 0, 0, -1, "`path` has no effect on an autoencoder"},
        {"autoencoder", 0, "eps", 0, 0, -1, "`predict` has no effect on an autoencoder"},
        {"autoencoder", 0, 0, "uniform", 0, -1, "`times` has no effect on an autoencoder"},
        {"autoencoder", 0, 0, 0, 0, 0.1, "`drop` has no effect on an autoencoder"},
        {"autoencoder", 0, 0, 0, "vq-vae", -1, "vae is for autoencoder-kl"},
        {"autoencoder", 0, 0, 0, "dsm", -1, "vae is for autoencoders"},
        {"unet2d:channels=8,levels=2", 0, 0, 0, "vae", -1, "name one as the model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vn_train_options o = coding_options(cases[i].model, 2);
        o.path = cases[i].path;
        o.predict = cases[i].predict;
        o.times = cases[i].times;
        o.objective = cases[i].objective;
        o.drop = cases[i].drop;
        expect_refused(vn_train(vn, "data", "refused", &o, NULL), VN_BAD_ARGUMENT, cases[i].word);
        struct stat info;
        assert_int_not_equal(stat("refused", &info), 0);
    }
    vn_train_options o = coding_options("autoencoder", 2);
    expect_refused(vn_train(vn, "points:moons", "refused", &o, NULL), VN_BAD_ARGUMENT,
                   "autoencoder: is for images");
    vn_model *m = NULL;
    expect_refused(vn_model_open(vn, "kl", &m), VN_UNSUPPORTED,
                   "an autoencoder; samples are drawn from denoisers");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_learns_more_than_the_mean),
        cmocka_unit_test(latents_are_scaled_by_what_was_measured),
        cmocka_unit_test(reconstructions_are_measured),
        cmocka_unit_test(what_cannot_be_reconstructed_is_refused),
        cmocka_unit_test(a_resumed_run_ends_in_the_same_bits),
        cmocka_unit_test(codes_are_revived_under_muon),
        cmocka_unit_test(previews_show_pairs),
        cmocka_unit_test(features_change_what_is_learned),
        cmocka_unit_test(a_config_is_trained),
        cmocka_unit_test(what_has_no_effect_is_refused),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
