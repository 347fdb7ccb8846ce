/* Training on latents: they are those of the autoencoder, computed once, drawn anew each time and
 * kept in a file that is made again where it is damaged or of something else; a run that stopped
 * goes on to the same bits by its own copy of the autoencoder; and what does not fit together is
 * named with both numbers. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/internal.h"
#include "api/support_context.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

enum { PICTURES = 40, SIDE = 8, PIXELS = SIDE * SIDE, CHANNELS = 4, LATENTS = 4 * 4 * CHANNELS };

static vn_train_options coding_options(const char *model) {
    vn_train_options o = tiny_options(3);
    o.model = model;
    return o;
}

static vn_train_options latent_options(int64_t steps) {
    vn_train_options o = tiny_options(steps);
    o.model = "dit:width=16,depth=1,heads=2,patch=2";
    o.latents = "ae";
    o.flip = 1;
    return o;
}

static int enter(void **state) {
    context_enter(state);
    make_data("data", PICTURES);
    const vn_train_options kl = coding_options("autoencoder:kind=kl,channels=8,factor=2"),
                           tiny = coding_options("autoencoder:kind=tiny,channels=8,factor=4");
    expect_ok(vn, vn_train(vn, "data", "ae", &kl, NULL));
    expect_ok(vn, vn_train(vn, "data", "tiny", &tiny, NULL));
    return 0;
}

/* ---- the file -------------------------------------------------------------------------------- */

static float picture[PICTURES][PIXELS];

static vn_status read_picture(void *from, int64_t i, float *x, vn_err *err) {
    (void)err;
    ++*(int *)from;
    memcpy(x, picture[i], sizeof picture[i]);
    return VN_OK;
}

static vn_latent_cache *open_cache(vn_autoencoder *a, bool flips, uint64_t most,
                                   uint64_t fingerprint, int *reads) {
    const vn_latent_cache_setup setup = {.autoencoder = a,
                                         .path = "latents",
                                         .picture = VN_SHAPE(1, SIDE, SIDE),
                                         .count = PICTURES,
                                         .flips = flips,
                                         .fingerprint = fingerprint,
                                         .read = read_picture,
                                         .from = reads,
                                         .most = most};
    vn_latent_cache *c = NULL;
    vn_err err = {0};
    *reads = 0;
    if (vn_latent_cache_open(&setup, &c, &err)) fail_msg("%s", err.text);
    return c;
}

static void make_pictures(void) {
    for (int i = 0; i < PICTURES; i++)
        for (int k = 0; k < PIXELS; k++)
            picture[i][k] = (float)sin(0.3 * i + 0.1 * k * (1 + i % 5));
}

/* Latents of a picture or its mirror image are what the autoencoder encodes it to: the mean and the
 * deviation times noise that the draw says, shifted and scaled. [h,w,c] here, [c,h,w] there. */
static void expect_latents(vn_autoencoder *a, vn_latent_cache *c, int64_t i, bool mirrored) {
    float x[PIXELS], got[LATENTS], noise[LATENTS], mean[LATENTS];
    vn_err err = {0};
    const vn_draw draw = {.seed = 5, .index = 70 + (uint64_t)i, .step = 1};
    for (int k = 0; k < PIXELS; k++)
        x[k] = picture[i][mirrored ? k / SIDE * SIDE + SIDE - 1 - k % SIDE : k];
    const vn_array in = {"sample", VN_F32, VN_SHAPE(1, 1, SIDE, SIDE), x};
    vn_array z[2] = {{.name = "mean"}, {.name = "logvar"}};
    if (vn_latent_cache_read(c, i, mirrored, &draw, got, &err)) fail_msg("%s", err.text);
    if (vn_autoencoder_encode_arrays(a, &(vn_coding){0}, &in, 2, z, &err)) fail_msg("%s", err.text);
    const vn_latents *l = &vn_net_get_io(vn_autoencoder_net(a))->latents;
    vn_random_normal(noise, LATENTS, 5, VN_STREAM_LATENT, draw.index, 1);
    memcpy(mean, z[0].data, sizeof mean);
    for (int k = 0; k < LATENTS; k++) {
        const int there = k % CHANNELS * (LATENTS / CHANNELS) + k / CHANNELS;
        const double logvar = (double)((const float *)z[1].data)[there],
                     want = ((double)mean[there] + exp(logvar / 2) * (double)noise[k] - l->shift) *
                            l->scale;
        /* numbers of size 1, rounded a few times */
        expect_below("latents", fabs((double)got[k] - want), 1e-5);
    }
}

static vn_autoencoder *open_autoencoder(const char *path) {
    vn_autoencoder *a = NULL;
    vn_err err = {0};
    const vn_engine engine = vn_context_engine(vn);
    if (vn_autoencoder_open_source(vn, &engine, path, &a, &err)) fail_msg("%s", err.text);
    return a;
}

#define MOST ((uint64_t)1 << 30)

static void latents_are_those_of_the_autoencoder(void **state) {
    (void)state;
    int reads;
    make_pictures();
    vn_autoencoder *a = open_autoencoder("ae");
    vn_latent_cache *c = open_cache(a, true, MOST, 1, &reads);
    assert_int_equal(reads, PICTURES);
    for (int64_t i = 0; i < PICTURES; i += 7) {
        expect_latents(a, c, i, false);
        expect_latents(a, c, i, true);
    }
    assert_int_equal(reads, PICTURES); /* each was read once */
    vn_latent_cache_close(&c);
    c = open_cache(a, true, MOST, 1, &reads);
    assert_int_equal(reads, 0);
    expect_latents(a, c, 3, true);
    vn_latent_cache_close(&c);
    /* of a file that may hold 10 pictures the others are encoded when they are read */
    unlink("latents");
    c = open_cache(a, true, 40 + 10 * 4 * LATENTS * sizeof(float), 1, &reads);
    assert_int_equal(reads, 10);
    expect_latents(a, c, 9, true);
    assert_int_equal(reads, 10);
    expect_latents(a, c, 10, true);
    expect_latents(a, c, 39, false);
    assert_int_equal(reads, 12);
    vn_latent_cache_close(&c);
    vn_autoencoder_free(&a);
}

static void damage(const char *path, long at, long cut) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    if (at >= 0) {
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        const int byte = fgetc(f);
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        fputc(byte ^ 1, f);
    }
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    const long size = ftell(f);
    fclose(f);
    if (cut) assert_int_equal(truncate(path, size - cut), 0);
}

static void a_file_that_is_not_right_is_made_anew(void **state) {
    (void)state;
    int reads;
    vn_autoencoder *a = open_autoencoder("ae"), *other = open_autoencoder("tiny");
    unlink("latents");
    vn_latent_cache *c = open_cache(a, false, MOST, 1, &reads);
    vn_latent_cache_close(&c);
    size_t size, again;
    char *whole = scratch_read("latents", &size);
    assert_int_equal(size, 40 + PICTURES * 2 * LATENTS * sizeof(float));
    const struct {
        long at, cut;
    } faults[] = {{0, 0},
                  {8, 0},
                  {16, 0},
                  {24, 0},
                  {32, 0},
                  {40, 0},
                  {5000, 0},
                  {(long)size - 1, 0},
                  {-1, 1},
                  {-1, 4},
                  {-1, (long)size - 40},
                  {-1, (long)size}};
    for (size_t i = 0; i < VN_COUNT(faults); i++) {
        damage("latents", faults[i].at, faults[i].cut);
        c = open_cache(a, false, MOST, 1, &reads);
        vn_latent_cache_close(&c);
        if (reads != PICTURES) fail_msg("fault %zu: %d pictures were encoded", i, reads);
        char *made = scratch_read("latents", &again);
        assert_int_equal(again, size);
        assert_memory_equal(made, whole, size);
        free(made);
    }
    free(whole);
    /* of other data, with mirror images, and of another autoencoder */
    c = open_cache(a, false, MOST, 2, &reads);
    vn_latent_cache_close(&c);
    assert_int_equal(reads, PICTURES);
    c = open_cache(a, true, MOST, 2, &reads);
    vn_latent_cache_close(&c);
    assert_int_equal(reads, PICTURES);
    c = open_cache(other, true, MOST, 2, &reads);
    vn_latent_cache_close(&c);
    assert_int_equal(reads, PICTURES);
    vn_autoencoder_free(&a);
    vn_autoencoder_free(&other);
}

static void a_file_that_becomes_shorter_fails_a_read(void **state) {
    (void)state;
    int reads;
    float x[LATENTS];
    vn_err err = {0};
    vn_autoencoder *a = open_autoencoder("ae");
    vn_latent_cache *c = open_cache(a, false, MOST, 1, &reads);
    damage("latents", -1, 4);
    assert_int_equal(vn_latent_cache_read(c, PICTURES - 1, false, &(vn_draw){0}, x, &err), VN_IO);
    assert_non_null(strstr(err.text, "has become shorter"));
    vn_latent_cache_close(&c);
    vn_autoencoder_free(&a);
}

/* ---- runs ------------------------------------------------------------------------------------ */

#define WEIGHTS "transformer/diffusion_pytorch_model.safetensors"

/* It goes on without the folder that the autoencoder came from, and with a file of latents that was
 * cut short, or that is not there. */
static void a_run_that_stopped_ends_in_the_same_bits(void **state) {
    (void)state;
    vn_train_options o = latent_options(8);
    expect_ok(vn, vn_train(vn, "data", "straight", &o, NULL));
    for (int k = 0; k < 3; k++) {
        char run[32], path[64], weights[96];
        snprintf(run, sizeof run, "stopped%d", k);
        snprintf(path, sizeof path, "%s/state/latents", run);
        snprintf(weights, sizeof weights, "%s/" WEIGHTS, run);
        o = latent_options(3);
        expect_ok(vn, vn_train(vn, "data", run, &o, NULL));
        assert_int_equal(rename("ae", "gone"), 0);
        if (k == 1) damage(path, -1, 100);
        if (k == 2) unlink(path);
        vn_train_options on = vn_train_options_default();
        on.resume = 1;
        on.steps = 8;
        expect_ok(vn, vn_train(vn, "data", run, &on, NULL));
        assert_int_equal(rename("gone", "ae"), 0);
        expect_same_file(weights, "straight/" WEIGHTS);
        expect_same_file(path, "straight/state/latents");
    }
}

static void a_run_has_its_autoencoder(void **state) {
    (void)state;
    json_t *vane = json_load_file("straight/vane.json", 0, NULL),
           *latents = json_object_get(vane, "latents"),
           *shape = json_object_get(json_object_get(vane, "data"), "shape");
    assert_int_equal(json_integer_value(json_object_get(latents, "factor")), 2);
    assert_int_equal(json_integer_value(json_object_get(latents, "channels")), CHANNELS);
    assert_int_equal(json_integer_value(json_array_get(shape, 0)), CHANNELS);
    assert_int_equal(json_integer_value(json_array_get(shape, 1)), 4);
    json_decref(vane);
    expect_same_file("straight/vae/config.json", "ae/vae/config.json");
    expect_same_file("straight/vae/diffusion_pytorch_model.safetensors",
                     "ae/vae/diffusion_pytorch_model.safetensors");
    vn_autoencoder *a = open_autoencoder("straight");
    vn_autoencoder_free(&a);
}

/* Previews of latents are pictures. */
static void previews_are_decoded(void **state) {
    (void)state;
    vn_train_options o = latent_options(2);
    o.preview_every = 2;
    expect_ok(vn, vn_train(vn, "data", "shown", &o, NULL));
    struct stat info;
    assert_int_equal(stat("shown/previews/000002.png", &info), 0);
}

static void what_does_not_fit_is_named_with_both_numbers(void **state) {
    (void)state;
    vn_train_options o = latent_options(2);
    o.model = "autoencoder";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT,
                   "`latents` has no effect on an autoencoder");
    o = latent_options(2);
    o.skip_bad = 1;
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT, "`skip_bad`");
    o = latent_options(2);
    o.flip = 0;
    o.model = "mlp";
    expect_refused(vn_train(vn, "points:moons", "no", &o, NULL), VN_BAD_ARGUMENT, "holds points");
    o = latent_options(2);
    o.latents = "data";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_FILE, "data");
    scratch_write_text("net.json",
                       "{\"_class_name\": \"DiTTransformer2DModel\", \"sample_size\": 4, "
                       "\"patch_size\": 2, \"in_channels\": 3, \"out_channels\": 3, "
                       "\"num_layers\": 1, \"num_attention_heads\": 2, "
                       "\"attention_head_dim\": 8, \"num_embeds_ada_norm\": 2}");
    o = latent_options(2);
    o.model = "net.json";
    expect_refused(vn_train(vn, "data", "no", &o, NULL), VN_BAD_ARGUMENT,
                   "takes 3 channels and gives 3; latents of data has 4");
    o = latent_options(2);
    expect_ok(vn, vn_train(vn, "data", "other", &o, NULL));
    json_t *vane = json_load_file("other/vane.json", 0, NULL);
    json_object_set_new(json_object_get(vane, "latents"), "factor", json_integer(8));
    assert_int_equal(json_dump_file(vane, "other/vane.json", JSON_INDENT(2)), 0);
    json_decref(vane);
    vn_train_options on = vn_train_options_default();
    on.resume = 1;
    on.steps = 4;
    expect_refused(vn_train(vn, "data", "other", &on, NULL), VN_BAD_FILE,
                   "was trained on latents of factor 8, and its autoencoder has 2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latents_are_those_of_the_autoencoder),
        cmocka_unit_test(a_file_that_is_not_right_is_made_anew),
        cmocka_unit_test(a_file_that_becomes_shorter_fails_a_read),
        cmocka_unit_test(a_run_that_stopped_ends_in_the_same_bits),
        cmocka_unit_test(a_run_has_its_autoencoder),
        cmocka_unit_test(previews_are_decoded),
        cmocka_unit_test(what_does_not_fit_is_named_with_both_numbers),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
