/* Runs on latents draw pictures: those that their own autoencoder decodes the latents to, of
 * classes and of captions, of other sizes, in whatever batches; they are measured against the data
 * that they were trained on; they begin from pictures, and follow what was observed of one through
 * the decoder; and a run whose parts do not fit together is refused with both numbers. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/support_captioned.h"
#include "model/model.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { PICTURES = 40, SIDE = 8, PIXELS = SIDE * SIDE, CHANNELS = 4, DRAWN = 5 };

static vn_train_options latent_options(const char *autoencoder, const char *model) {
    vn_train_options o = tiny_options(3);
    o.model = model;
    o.latents = autoencoder;
    return o;
}

static int enter(void **state) {
    static const char *const captions[] = {"it is black", "it is white"};
    if (context_enter(state)) return 1;
    make_data("data", PICTURES);
    make_captioned("words", captions);
    vn_train_options o = latent_options(NULL, "autoencoder:kind=kl,channels=8,factor=2");
    expect_ok(vn, vn_train(vn, "data", "kl", &o, NULL));
    o.model = "autoencoder:kind=vq,channels=8,factor=2,latents=3,codes=32";
    expect_ok(vn, vn_train(vn, "data", "vq", &o, NULL));
    o = latent_options("kl", "dit:width=16,depth=1,heads=2,patch=2");
    expect_ok(vn, vn_train(vn, "data", "dit", &o, NULL));
    o = latent_options("vq", "unet2d:channels=8,levels=2");
    expect_ok(vn, vn_train(vn, "data", "unet", &o, NULL));
    o = captioned_options("text-dit:depth=1,width=16,heads=2,text_depth=1,text_width=16", 3);
    o.latents = "kl";
    o.validate = 0.25;
    expect_ok(vn, vn_train(vn, "words", "text", &o, NULL));
    return 0;
}

static vn_model *open_model(const char *run) {
    vn_model *m = NULL;
    expect_ok(vn, vn_model_open(vn, run, &m));
    return m;
}

static vn_sample_options drawing(void) {
    vn_sample_options o = vn_sample_options_default();
    o.count = DRAWN;
    o.steps = 3;
    o.seed = 4;
    return o;
}

static vn_samples *draw(vn_model *m, const vn_sample_options *o) {
    vn_samples *s = NULL;
    expect_ok(vn, vn_sample(m, o, &s));
    return s;
}

/* Pictures are what the autoencoder in the run's folder decodes the latents to, bit for bit. */
static void expect_decoded(const char *run, const vn_samples *s, int64_t channels, int64_t side) {
    int64_t shape[3] = {0}, of_latents[3] = {0};
    vn_autoencoder *a = NULL;
    vn_autoencoder_options how = vn_autoencoder_options_default();
    vn_array decoded;
    how.scaled = 1;
    const float *latents = vn_samples_latents(s, of_latents);
    const int64_t n = vn_samples_count(s);
    assert_non_null(latents);
    assert_int_equal(vn_samples_shape(s, shape), 3);
    assert_int_equal(shape[0], 1);
    assert_int_equal(shape[1], side);
    assert_int_equal(of_latents[0], channels);
    assert_int_equal(of_latents[1], side / 2);
    const vn_array in = {"latents", VN_F32, VN_SHAPE(n, channels, side / 2, side / 2), latents};
    expect_ok(vn, vn_autoencoder_open(vn, run, &a));
    expect_ok(vn, vn_autoencoder_decode(a, &how, &in, &decoded));
    assert_memory_equal(decoded.data, vn_samples_data(s),
                        (size_t)(n * side * side) * sizeof(float));
    vn_autoencoder_close(&a);
}

static void samples_are_decoded_latents(void **state) {
    (void)state;
    static const struct {
        const char *run;
        int64_t channels;
    } runs[] = {{"dit", CHANNELS}, {"unet", 3}, {"text", CHANNELS}};
    for (size_t i = 0; i < VN_COUNT(runs); i++) {
        vn_model *m = open_model(runs[i].run);
        const vn_model_info info = info_of(m);
        assert_int_equal(info.shape[1], SIDE);
        assert_int_equal(info.latent_shape[0], runs[i].channels);
        assert_null(info.pipeline);
        vn_sample_options o = drawing();
        vn_samples *all = draw(m, &o);
        expect_decoded(runs[i].run, all, runs[i].channels, SIDE);
        o.batch = 2;
        vn_samples *parts = draw(m, &o);
        assert_memory_equal(vn_samples_data(all), vn_samples_data(parts),
                            DRAWN * PIXELS * sizeof(float));
        vn_samples_close(&all);
        vn_samples_close(&parts);
        vn_model_close(&m);
    }
}

/* Another handle of the model has the same weights, and an autoencoder of its own. */
static void models_that_share_decode_alike(void **state) {
    (void)state;
    vn_model *m = open_model("dit"), *other = NULL;
    vn_sample_options o = drawing();
    expect_ok(vn, vn_model_share(m, vn, &other));
    vn_samples *a = draw(m, &o), *b = draw(other, &o);
    assert_memory_equal(vn_samples_data(a), vn_samples_data(b), DRAWN * PIXELS * sizeof(float));
    vn_samples_close(&a);
    vn_samples_close(&b);
    vn_model_close(&m);
    vn_model_close(&other);
}

static void files_have_pictures_and_latents(void **state) {
    (void)state;
    vn_err err = {0};
    vn_safetensors *st = NULL;
    const vn_array *samples, *latents;
    vn_model *m = open_model("dit");
    const vn_sample_options o = drawing();
    vn_samples *s = draw(m, &o);
    expect_ok(vn, vn_samples_save(s, "s.safetensors"));
    assert_int_equal(vn_safetensors_open("s.safetensors", &st, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(st, "samples", &samples, &err), VN_OK);
    assert_int_equal(vn_safetensors_get(st, "latents", &latents, &err), VN_OK);
    assert_int_equal(samples->shape.dim[2], SIDE);
    assert_int_equal(latents->shape.dim[2], SIDE / 2);
    assert_memory_equal(samples->data, vn_samples_data(s), DRAWN * PIXELS * sizeof(float));
    vn_safetensors_close(&st);
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* In pixels; a network of any size draws others than those it was trained on. */
static void sizes_are_in_pixels(void **state) {
    (void)state;
    vn_model_options o = vn_model_options_default();
    vn_model *m = NULL;
    o.size = "16";
    expect_ok(vn, vn_model_open_with(vn, "unet", &o, &m));
    const vn_sample_options how = drawing();
    vn_samples *s = draw(m, &how);
    expect_decoded("unet", s, 3, 16);
    vn_samples_close(&s);
    vn_model_close(&m);
    o.size = "18";
    expect_refused(vn_model_open_with(vn, "unet", &o, &m), VN_BAD_ARGUMENT,
                   "size 18: unet draws images whose sides are multiples of 4");
}

static void runs_are_measured_against_their_data(void **state) {
    (void)state;
    static const char *const runs[] = {"dit", "text"};
    for (size_t i = 0; i < VN_COUNT(runs); i++) {
        vn_model *m = open_model(runs[i]);
        vn_eval_options o = vn_eval_options_default();
        vn_eval_result r = vn_eval_result_default();
        vn_sample_options how = drawing();
        o.metric = "kd";
        o.data = runs[i]; /* what was held out of its data */
        o.sample = &how;
        o.resamples = 0;
        expect_ok(vn, vn_eval(m, &o, &r));
        assert_in_range(r.measures, 1, 16);
        assert_true(isfinite(r.measure[0].value));
        o.metric = "nll";
        expect_refused(vn_eval(m, &o, &r), VN_UNSUPPORTED, "denoises latents");
        vn_model_close(&m);
    }
}

static void a_run_says_what_it_is(void **state) {
    (void)state;
    static const struct {
        const char *run;
        size_t parts;
    } runs[] = {{"dit", 2}, {"text", 3}};
    for (size_t i = 0; i < VN_COUNT(runs); i++) {
        char *text = NULL;
        expect_ok(vn, vn_describe(vn, runs[i].run, &text));
        json_t *d = json_loads(text, 0, NULL), *parts = json_object_get(d, "parts");
        assert_int_equal(json_integer_value(json_array_get(json_object_get(d, "shape"), 1)), SIDE);
        assert_int_equal(json_integer_value(json_array_get(json_object_get(d, "latents"), 1)),
                         SIDE / 2);
        assert_null(json_object_get(d, "pipeline"));
        assert_int_equal(json_array_size(parts), runs[i].parts);
        const json_t *last = json_array_get(parts, runs[i].parts - 1);
        assert_string_equal(json_string_value(json_object_get(last, "part")), "vae");
        assert_string_equal(json_string_value(json_object_get(last, "kind")), "autoencoder-kl");
        json_decref(d);
        vn_text_free(&text);
    }
}

/* ---- beginning from a picture, and restoring one --------------------------------------------- */

/* One that is bright on the left. */
static float left[PIXELS];
static const vn_array picture = {"samples", VN_F32, {3, {1, SIDE, SIDE}}, left};

static void make_picture(void) {
    for (int i = 0; i < PIXELS; i++) left[i] = i % SIDE < SIDE / 2 ? 0.8F : -0.7F;
}

/* With little noise they begin near the picture's latents: (1-t) z + t eps on the rectified path,
 * of which the network moves little in one short step. */
static void samples_begin_from_a_picture(void **state) {
    (void)state;
    enum { NUMBERS = CHANNELS * 16 };
    vn_model *m = open_model("dit");
    vn_autoencoder *a = NULL;
    vn_sample_options o = drawing();
    vn_autoencoder_options how = vn_autoencoder_options_default();
    const vn_array one = {"sample", VN_F32, {4, {1, 1, SIDE, SIDE}}, left};
    vn_array z = {.name = "latents"};
    how.scaled = 1;
    make_picture();
    expect_ok(vn, vn_autoencoder_open(vn, "dit", &a));
    expect_ok(vn, vn_autoencoder_encode(a, &how, &one, 1, &z));
    o.init = &picture;
    o.strength = 0.02;
    o.steps = 50;
    o.guidance = 1;
    vn_samples *s = draw(m, &o);
    double off = 0, size = 0;
    for (int i = 0; i < DRAWN * NUMBERS; i++) {
        const double to = (double)((const float *)z.data)[i % NUMBERS];
        off += pow((double)vn_samples_latents(s, NULL)[i] - to, 2);
        size += to * to;
    }
    print_message("off by %.4f of %.4f\n", sqrt(off / (DRAWN * NUMBERS)),
                  sqrt(size / (DRAWN * NUMBERS)));
    /* t = 0.02: noise of 0.02, and a prediction that is off by about as much */
    expect_below("begun from", sqrt(off / (DRAWN * NUMBERS)), 0.05);
    assert_true(sqrt(size / (DRAWN * NUMBERS)) > 0.2);
    expect_decoded("dit", s, CHANNELS, SIDE);
    vn_samples_close(&s);
    vn_autoencoder_close(&a);
    vn_model_close(&m);
}

static const char operator[] = "downsample:factor=2";
enum { SEEN = 16 };

/* What the operator gives of a picture. */
static void see(const float *x, float *y) {
    for (int i = 0; i < SEEN; i++) {
        const float *at = x + i / 4 * 2 * SIDE + i % 4 * 2;
        y[i] = (at[0] + at[1] + at[SIDE] + at[SIDE + 1]) / 4;
    }
}

static double residual_of(const float *x, const float *y) {
    float seen[SEEN];
    double sum = 0;
    see(x, seen);
    for (int i = 0; i < SEEN; i++) sum += pow((double)seen[i] - (double)y[i], 2);
    return sqrt(sum);
}

/* What was observed of another picture of the model is nearer to what is seen of samples that
 * follow it than of those that do not; and their bits do not depend on the batch. */
static void samples_follow_what_was_observed(void **state) {
    (void)state;
    float y[SEEN];
    const vn_array observed = {"observed", VN_F32, {3, {1, 4, 4}}, y};
    vn_model *m = open_model("dit");
    vn_sample_options o = drawing();
    o.steps = 20;
    o.guidance = 1;
    o.sampler = "ddpm";
    vn_samples *free_ones = draw(m, &o);
    o.seed = 9;
    vn_samples *others = draw(m, &o);
    see(vn_samples_data(others), y);
    vn_samples_close(&others);
    o.seed = 4;
    o.restore = "dps:scale=5";
    o.forward_operator = operator;
    o.observed = &observed;
    vn_samples *all = draw(m, &o);
    o.batch = 2;
    vn_samples *parts = draw(m, &o);
    assert_memory_equal(vn_samples_data(all), vn_samples_data(parts),
                        DRAWN * PIXELS * sizeof(float));
    double with = 0, without = 0;
    for (int i = 0; i < DRAWN; i++) {
        with += residual_of(vn_samples_data(all) + i * PIXELS, y);
        without += residual_of(vn_samples_data(free_ones) + i * PIXELS, y);
    }
    print_message("residual %.3f, of others %.3f\n", with / DRAWN, without / DRAWN);
    assert_true(with < 0.5 * without);
    vn_samples *none = NULL;
    o.restore = "mmps";
    expect_refused(vn_sample(m, &o, &none), VN_BAD_ARGUMENT,
                   "these are decoded first; there are dps, psld, daps and red-diff, and of a "
                   "mask");
    o.restore = "replacement";
    expect_refused(vn_sample(m, &o, &none), VN_BAD_ARGUMENT, "with downsample there are dps");
    o.restore = "daps:kernel=exact";
    o.sampler = "lcm";
    expect_refused(vn_sample(m, &o, &none), VN_BAD_ARGUMENT, "kernel=langevin follows");
    vn_model_close(&m);
    m = open_model("unet");
    o.sampler = "ddpm";
    o.restore = "dps";
    expect_refused(vn_sample(m, &o, &none), VN_UNSUPPORTED, "rounds latents to codes");
    vn_model_close(&m);
    vn_samples_close(&free_ones);
    vn_samples_close(&all);
    vn_samples_close(&parts);
}

static double residuals_of(const vn_samples *s, const float *y) {
    double sum = 0;
    for (int i = 0; i < DRAWN; i++) sum += residual_of(vn_samples_data(s) + i * PIXELS, y);
    return sum / DRAWN;
}

/* All rules that follow a gradient through the decoder. psld without its gluing term is dps. */
static void other_rules_go_through_the_decoder(void **state) {
    (void)state;
    static const char *const rules[] = {"psld:scale=5", "daps:moves=40,rate=2e-3,tau=0.05",
                                        "red-diff:rate=0.2"};
    float y[SEEN];
    const vn_array observed = {"observed", VN_F32, {3, {1, 4, 4}}, y};
    vn_model *m = open_model("dit");
    vn_sample_options o = drawing();
    o.steps = 20;
    o.guidance = 1;
    o.sampler = "ddpm";
    vn_samples *others = draw(m, &o);
    const float *x = vn_samples_data(others) + PIXELS;
    see(x, y);
    o.seed = 11;
    vn_samples *unled = draw(m, &o);
    const double without = residuals_of(unled, y);
    o.forward_operator = operator;
    o.observed = &observed;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        o.restore = rules[i];
        o.sampler = NULL;
        vn_samples *led = draw(m, &o);
        o.batch = 2;
        vn_samples *parts = draw(m, &o);
        o.batch = 0;
        assert_memory_equal(vn_samples_data(led), vn_samples_data(parts),
                            DRAWN * PIXELS * sizeof(float));
        print_message("%s: residual %.3f, without %.3f\n", rules[i], residuals_of(led, y), without);
        assert_true(residuals_of(led, y) < 0.6 * without);
        vn_samples_close(&led);
        vn_samples_close(&parts);
    }
    o.steps = 4;
    o.restore = "dps:scale=2";
    vn_samples *dps = draw(m, &o);
    o.restore = "psld:scale=2,gamma=0";
    vn_samples *same = draw(m, &o);
    o.restore = "psld:scale=2,gamma=1";
    vn_samples *glued = draw(m, &o);
    double off = 0, other = 0;
    for (int i = 0; i < DRAWN * PIXELS; i++) {
        const double of_dps = (double)vn_samples_data(dps)[i];
        off = fmax(off, fabs((double)vn_samples_data(same)[i] - of_dps));
        other = fmax(other, fabs((double)vn_samples_data(glued)[i] - of_dps));
    }
    print_message("psld without gluing is off dps by %.1e, with it by %.1e\n", off, other);
    expect_below("psld without gluing", off, 2e-5);
    assert_true(other > 1e-2);
    vn_samples_close(&dps);
    vn_samples_close(&same);
    vn_samples_close(&glued);
    vn_samples_close(&unled);
    vn_samples_close(&others);
    vn_model_close(&m);
}

/* The left half of a picture is known: its latents are those of the picture with a grey right half,
 * which is not looked at, and the others are the model's. */
static void latents_are_put_in_place_under_a_mask(void **state) {
    (void)state;
    static const char *const rules[] = {"replacement", "repaint:rounds=2,jump=2", "ddnm"};
    enum { NUMBERS = CHANNELS * 16 };
    int64_t shape[3];
    float mask[PIXELS], photo[PIXELS], grey[PIXELS], z[NUMBERS];
    const vn_array of_mask = {"mask", VN_F32, {2, {SIDE, SIDE}}, mask},
                   observed = {"observed", VN_F32, {3, {1, SIDE, SIDE}}, photo};
    vn_err err = {0};
    vn_model *m = open_model("dit");
    vn_sample_options o = drawing();
    for (int i = 0; i < PIXELS; i++) {
        mask[i] = i % SIDE < SIDE / 2;
        photo[i] = (float)sin(0.7 * i);
        grey[i] = mask[i] * photo[i];
    }
    if (vn_model_encode(m, 1, grey, z, &err)) fail_msg("%s", err.text);
    o.steps = 6;
    o.guidance = 1;
    o.operator_array = &of_mask;
    o.forward_operator = "mask";
    o.observed = &observed;
    for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
        o.restore = rules[k];
        vn_samples *s = draw(m, &o);
        const float *made = vn_samples_latents(s, shape);
        assert_non_null(made);
        double off = 0, apart = 0;
        for (int i = 0; i < DRAWN * NUMBERS; i++) {
            const double by = fabs((double)made[i] - (double)z[i % NUMBERS]);
            *(i % 4 < 2 ? &off : &apart) = fmax(i % 4 < 2 ? off : apart, by);
        }
        print_message("%s: known latents off by %.1e, others by %.1e\n", rules[k], off, apart);
        expect_below_as(off, 2e-6, "%s", rules[k]);
        assert_true(apart > 0.5);
        for (int i = 0; i < PIXELS; i++) photo[i] += 3 * (1 - mask[i]); /* what is hidden */
        vn_samples *again = draw(m, &o);
        assert_memory_equal(vn_samples_data(s), vn_samples_data(again),
                            DRAWN * PIXELS * sizeof(float));
        vn_samples_close(&s);
        vn_samples_close(&again);
    }
    vn_samples *none = NULL;
    o.noise_level = 0.1;
    expect_refused(vn_sample(m, &o, &none), VN_BAD_ARGUMENT,
                   "a noise level of pictures is none of");
    o.noise_level = 0;
    o.operator_array = NULL;
    expect_refused(vn_sample(m, &o, &none), VN_BAD_ARGUMENT, "mask needs a mask");
    vn_model_close(&m);
    /* codes have no derivatives, and need none here */
    m = open_model("unet");
    o.operator_array = &of_mask;
    o.restore = "replacement";
    vn_samples *s = draw(m, &o);
    vn_samples_close(&s);
    vn_model_close(&m);
}

/* Encoding or decoding, and its derivative: `from` numbers become `to`. */
typedef struct coding {
    vn_status (*code)(vn_model *m, int64_t n, const float *x, float *out, vn_err *err);
    vn_status (*vjp)(vn_model *m, const float *x, const float *direction, float *out, vn_err *err);
    int from, to;
} coding;

/* The derivative by central differences: h^2 of the third derivative, and 1e-7 / h of rounding. */
static void has_its_derivative(const char *name, const coding *c) {
    enum { MOST = PIXELS > CHANNELS * 16 ? PIXELS : CHANNELS * 16 };
    const float h = 1e-2F;
    vn_err err = {0};
    vn_model *m = open_model("dit");
    float x[MOST], direction[MOST], by[MOST], at[MOST], up[MOST], down[MOST];
    double off = 0, size = 0;
    vn_random_normal(x, (size_t)c->from, 1, VN_STREAM_PROBE, 0, 0);
    vn_random_normal(direction, (size_t)c->to, 1, VN_STREAM_PROBE, 1, 0);
    if (c->vjp(m, x, direction, by, &err)) fail_msg("%s", err.text);
    for (int k = 0; k < c->from; k++) {
        double slope = 0;
        memcpy(at, x, (size_t)c->from * sizeof *at);
        at[k] = x[k] + h;
        const double above = (double)at[k];
        if (c->code(m, 1, at, up, &err)) fail_msg("%s", err.text);
        at[k] = x[k] - h;
        const double apart = above - (double)at[k];
        if (c->code(m, 1, at, down, &err)) fail_msg("%s", err.text);
        for (int i = 0; i < c->to; i++)
            slope += (double)direction[i] * ((double)up[i] - (double)down[i]) / apart;
        off += pow((double)by[k] - slope, 2);
        size += slope * slope;
    }
    expect_below_as(sqrt(off / size), 2e-3, "derivative of %s", name);
    vn_model_close(&m);
}

static void encoding_has_its_derivative(void **state) {
    (void)state;
    has_its_derivative("encoding",
                       &(coding){vn_model_encode, vn_model_encode_vjp, PIXELS, CHANNELS * 16});
}

static void decoding_has_its_derivative(void **state) {
    (void)state;
    has_its_derivative("decoding",
                       &(coding){vn_model_decode, vn_model_decode_vjp, CHANNELS * 16, PIXELS});
}

/* ---- what does not fit ----------------------------------------------------------------------- */

/* The run with one thing in vane.json changed. */
static void change(const char *key, json_t *value) {
    json_t *vane = json_load_file("dit/vane.json", 0, NULL);
    json_object_set_new(json_object_get(vane, "latents"), key, value);
    assert_int_equal(rename("dit/vane.json", "kept.json"), 0);
    assert_int_equal(json_dump_file(vane, "dit/vane.json", JSON_INDENT(2)), 0);
    json_decref(vane);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    vn_model *m = NULL;
    const struct {
        const char *key, *words;
        json_t *value;
    } faults[] = {
        {"factor", "was trained on latents of factor 4, and its autoencoder has 2",
         json_integer(4)},
        {"channels", "was trained on latents of channels 7, and its autoencoder has 4",
         json_integer(7)},
        {"folder", "latents of no autoencoder that vane knows", json_string("../kl/vae")},
        {"folder", "vqvae", json_string("vqvae")},
    };
    for (size_t i = 0; i < VN_COUNT(faults); i++) {
        change(faults[i].key, faults[i].value);
        const vn_status status = vn_model_open(vn, "dit", &m);
        assert_int_not_equal(status, VN_OK);
        expect_refused(status, status, faults[i].words);
        assert_int_equal(rename("kept.json", "dit/vane.json"), 0);
    }
    /* its network alone is a model of latents still */
    vn_model_options o = vn_model_options_default();
    expect_ok(vn, vn_model_open_with(vn, "dit/transformer", &o, &m));
    assert_int_equal(info_of(m).shape[0], CHANNELS);
    vn_model_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_decoded_latents),
        cmocka_unit_test(models_that_share_decode_alike),
        cmocka_unit_test(files_have_pictures_and_latents),
        cmocka_unit_test(sizes_are_in_pixels),
        cmocka_unit_test(runs_are_measured_against_their_data),
        cmocka_unit_test(a_run_says_what_it_is),
        cmocka_unit_test(samples_begin_from_a_picture),
        cmocka_unit_test(samples_follow_what_was_observed),
        cmocka_unit_test(other_rules_go_through_the_decoder),
        cmocka_unit_test(latents_are_put_in_place_under_a_mask),
        cmocka_unit_test(encoding_has_its_derivative),
        cmocka_unit_test(decoding_has_its_derivative),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
