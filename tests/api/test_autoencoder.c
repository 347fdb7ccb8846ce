/* test_autoencoder.c - autoencoders of the public header, in directories as diffusers saves them:
 * encoded, decoded, in parts as diffusers runs large images, scaled, drawn, and what is refused. */
#include "api/support_context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "store/store.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/autoencoder/"
enum { MAX_TENSORS = 200 };
/* As in tests/nn/test_autoencoder.c; a mixture of two parts adds nothing to it. */
#define TOLERANCE 4e-6

/* The example of docs/library.md. */
const float *there_and_back(vn_autoencoder *autoencoder, const float *picture, int64_t height,
                            int64_t width);

static vn_safetensors *golden;

/* Opens a golden file, and writes its weights and config as diffusers does, into `folder`. */
static vn_autoencoder *open_golden(const char *name, const char *folder) {
    static const char of_weight[] = "weight.";
    static vn_array tensors[MAX_TENSORS];
    char path[512];
    size_t n = 0;
    vn_err err = {0};
    snprintf(path, sizeof path, GOLDEN "%s.safetensors", name);
    if (vn_safetensors_open(path, &golden, &err)) fail_msg("%s", err.text);
    for (size_t i = 0; i < vn_safetensors_count(golden); i++) {
        const vn_array *t = vn_safetensors_at(golden, i);
        if (strncmp(t->name, of_weight, sizeof of_weight - 1) != 0) continue;
        assert_true(n < MAX_TENSORS);
        tensors[n] = *t;
        tensors[n++].name = t->name + sizeof of_weight - 1;
    }
    mkdir(folder, 0777);
    const char *config = vn_safetensors_metadata_text(golden, "config");
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write(path, config, strlen(config));
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", folder);
    if (vn_safetensors_write(path, tensors, n, NULL, &err)) fail_msg("%s", err.text);
    vn_autoencoder *a = NULL;
    expect_ok(vn, vn_autoencoder_open(vn, folder, &a));
    return a;
}

static void close_golden(vn_autoencoder **a) {
    vn_autoencoder_close(a);
    vn_safetensors_close(&golden);
}

static vn_array tensor(const char *name, const char *as) {
    const vn_array *t = vn_safetensors_find(golden, name);
    if (!t) fail_msg("no %s", name);
    vn_array x = *t;
    x.name = as;
    return x;
}

/* Relative, in the norm, of whole arrays or, where `channels` is less than those of the expected,
 * of its first ones of the first image. */
static double error_of(const vn_array *found, const char *name) {
    const vn_array *expected = vn_safetensors_find(golden, name);
    const int64_t count = vn_shape_count(&found->shape);
    assert_non_null(expected);
    assert_true(count <= vn_shape_count(&expected->shape) && found->dtype == VN_F32);
    for (int i = 2; i < 4; i++) assert_int_equal(found->shape.dim[i], expected->shape.dim[i]);
    const float *x = found->data, *y = expected->data;
    double off = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        off += pow((double)x[i] - (double)y[i], 2);
        norm += pow((double)y[i], 2);
    }
    return sqrt(off / norm);
}

static void expect_near(const vn_array *found, const char *name) {
    expect_below_as(error_of(found, name), TOLERANCE, "%s", name);
}

/* ---- encoding and decoding ------------------------------------------------------------------- */

static void it_says_what_it_is(void **state) {
    (void)state;
    vn_autoencoder *a = open_golden("kl", "kl");
    vn_autoencoder_info info = vn_autoencoder_info_default();
    expect_ok(vn, vn_autoencoder_get_info(a, &info));
    assert_string_equal(info.kind, "autoencoder-kl");
    assert_true(info.in_channels == 3 && info.out_channels == 3 && info.latent_channels == 4);
    assert_true(info.factor == 2 && info.codes == 0 && info.tile == 8 && info.parameters == 12739);
    assert_true(fabs(info.scale - 0.18215) < 1e-12 && info.shift == 0.0);
    close_golden(&a);
    a = open_golden("vq", "vq");
    expect_ok(vn, vn_autoencoder_get_info(a, &info));
    assert_true(info.codes == 11 && info.tile == 0 && info.latent_channels == 2);
    close_golden(&a);
}

static void images_become_latents_and_images(void **state) {
    (void)state;
    vn_autoencoder *a = open_golden("kl", "kl");
    const vn_array images = tensor("sample", "sample");
    vn_array out[] = {{.name = "logvar"}, {.name = "latents"}, {.name = "mean"}}, decoded;
    expect_ok(vn, vn_autoencoder_encode(a, NULL, &images, 3, out));
    expect_near(&out[0], "logvar");
    expect_near(&out[1], "mean");
    expect_near(&out[2], "mean");
    const vn_array latents = tensor("mean", "latents");
    expect_ok(vn, vn_autoencoder_decode(a, NULL, &latents, &decoded));
    assert_string_equal(decoded.name, "decoded");
    expect_near(&decoded, "output");
    const float *back = there_and_back(a, images.data, images.shape.dim[2], images.shape.dim[3]);
    assert_non_null(back);
    const vn_array again = {"decoded", VN_F32, {4, {1, 3, 8, 12}}, back};
    expect_near(&again, "output"); /* of the first image */
    close_golden(&a);
}

static void codes_are_those_of_the_latents(void **state) {
    static const char *const names[] = {"vq", "vq-spatial", "fsq"};
    (void)state;
    for (size_t k = 0; k < VN_COUNT(names); k++) {
        vn_autoencoder *a = open_golden(names[k], names[k]);
        const vn_array images = tensor("sample", "sample"), expected = tensor("codes", "codes");
        vn_array out[] = {{.name = "codes"}, {.name = "latents"}}, decoded;
        expect_ok(vn, vn_autoencoder_encode(a, NULL, &images, 2, out));
        assert_true(out[0].dtype == VN_I32 && vn_shape_equal(&out[0].shape, &expected.shape));
        assert_memory_equal(out[0].data, expected.data,
                            (size_t)vn_shape_count(&expected.shape) * sizeof(int32_t));
        expect_near(&out[1], "latents");
        expect_ok(vn, vn_autoencoder_decode(a, NULL, &expected, &decoded));
        expect_near(&decoded, "output");
        close_golden(&a);
    }
}

/* ---- in parts -------------------------------------------------------------------------------- */

static void expect_in_parts(vn_autoencoder *a, const vn_autoencoder_options *o) {
    const vn_array images = tensor("large_sample", "sample"), z = tensor("large", "latents");
    vn_array latents = {.name = "latents"}, decoded;
    expect_ok(vn, vn_autoencoder_decode(a, o, &z, &decoded));
    expect_near(&decoded, "tiled");
    expect_ok(vn, vn_autoencoder_encode(a, o, &images, 1, &latents));
    expect_near(&latents, "tiled_latents"); /* moments begin with the means */
}

static void large_images_are_run_in_the_parts_of_diffusers(void **state) {
    static const char *const names[] = {"kl", "kl-statistics", "tiny-four"};
    (void)state;
    for (size_t k = 0; k < VN_COUNT(names); k++) {
        vn_autoencoder *a = open_golden(names[k], names[k]);
        const vn_array tile = tensor("tile", "tile"), z = tensor("large", "latents");
        vn_autoencoder_options o = vn_autoencoder_options_default();
        o.tile = *(const int64_t *)tile.data;
        expect_in_parts(a, &o);
        vn_array whole;
        expect_ok(vn, vn_autoencoder_decode(a, NULL, &z, &whole)); /* memory allows it */
        assert_true(error_of(&whole, "tiled") > 1e-3);
        close_golden(&a);
    }
}

/* A pass takes more than half of what there is. */
static void memory_asks_for_parts(void **state) {
    (void)state;
    vn_autoencoder *a = open_golden("kl", "kl");
    vn_autoencoder_options o = vn_autoencoder_options_default();
    assert_int_equal(setenv("VANE_MEMORY", "4K", 1), 0);
    expect_in_parts(a, &o);
    o.tile = -1;
    const vn_array z = tensor("large", "latents");
    vn_array whole;
    expect_ok(vn, vn_autoencoder_decode(a, &o, &z, &whole));
    assert_int_equal(unsetenv("VANE_MEMORY"), 0);
    assert_true(error_of(&whole, "tiled") > 1e-3);
    close_golden(&a);
}

/* ---- scaled and drawn ------------------------------------------------------------------------ */

static void scaled_latents_are_those_of_a_diffusion_model(void **state) {
    static const double mean[] = {0.5, -1.5}, deviation[] = {2, 0.75}, factor = 0.5;
    (void)state;
    vn_autoencoder *a = open_golden("kl-statistics", "kl-statistics");
    const vn_array images = tensor("sample", "sample");
    vn_autoencoder_options o = vn_autoencoder_options_default();
    o.scaled = 1;
    vn_array out[] = {{.name = "latents"}, {.name = "mean"}}, decoded;
    expect_ok(vn, vn_autoencoder_encode(a, &o, &images, 2, out));
    const float *z = out[0].data, *plain = out[1].data;
    const int64_t count = vn_shape_count(&out[0].shape), pixels = count / 2;
    for (int64_t i = 0; i < count; i++) {
        const int64_t c = i / pixels;
        const double expected = ((double)plain[i] - mean[c]) * factor / deviation[c];
        assert_true(fabs((double)z[i] - expected) <= 0x1p-23 * fabs(expected));
    }
    float copy[64];
    assert_true(count <= 64);
    memcpy(copy, z, (size_t)count * sizeof *copy);
    const vn_array scaled = {"latents", VN_F32, out[0].shape, copy};
    expect_ok(vn, vn_autoencoder_decode(a, &o, &scaled, &decoded));
    expect_near(&decoded, "output");
    close_golden(&a);
}

static void drawn_latents_depend_on_seed_and_index_alone(void **state) {
    (void)state;
    vn_autoencoder *a = open_golden("kl", "kl");
    const vn_array images = tensor("sample", "sample");
    vn_array second = images, out[] = {{.name = "latents"}, {.name = "mean"}, {.name = "logvar"}};
    const int64_t each = vn_shape_count(&images.shape) / 2;
    second.shape.dim[0] = 1;
    second.data = (const float *)images.data + each;
    vn_autoencoder_options o = vn_autoencoder_options_default();
    o.draw = 1;
    o.seed = 7;
    expect_ok(vn, vn_autoencoder_encode(a, &o, &images, 3, out));
    const int64_t count = vn_shape_count(&out[0].shape);
    const float *z = out[0].data, *mean = out[1].data, *logvar = out[2].data;
    double squares = 0;
    for (int64_t i = 0; i < count; i++)
        squares += pow((double)(z[i] - mean[i]) / exp((double)logvar[i] / 2), 2);
    /* the mean of `count` squares of normal numbers is 1, off by sqrt(2 / count) */
    expect_below("variance of what is drawn", fabs(squares / (double)count - 1),
                 8 * sqrt(2 / (double)count));
    float *first = malloc((size_t)count * sizeof *first);
    assert_non_null(first);
    memcpy(first, z, (size_t)count * sizeof *first);
    o.first = 1;
    expect_ok(vn, vn_autoencoder_encode(a, &o, &second, 1, out));
    assert_memory_equal(out[0].data, first + count / 2, (size_t)count / 2 * sizeof *first);
    o.seed = 8;
    expect_ok(vn, vn_autoencoder_encode(a, &o, &second, 1, out));
    assert_memory_not_equal(out[0].data, first + count / 2, (size_t)count / 2 * sizeof *first);
    free(first);
    close_golden(&a);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    vn_autoencoder *a = open_golden("kl", "kl");
    vn_array images = tensor("sample", "sample"), out = {.name = "latents"};
    vn_autoencoder_options o = vn_autoencoder_options_default();
    images.shape.dim[2] = 7;
    expect_refused(vn_autoencoder_encode(a, NULL, &images, 1, &out), VN_BAD_ARGUMENT,
                   "autoencoder-kl: images of 7 x 12: both sides must be multiples of 2");
    assert_null(out.data);
    images.shape = VN_SHAPE(1, 1, 8, 12);
    expect_refused(vn_autoencoder_encode(a, NULL, &images, 1, &out), VN_BAD_ARGUMENT,
                   "autoencoder-kl: sample has shape [1, 1, 8, 12], expected F32 [N, 3, H, W]");
    images = tensor("sample", "sample");
    out.name = "latent";
    expect_refused(vn_autoencoder_encode(a, NULL, &images, 1, &out), VN_BAD_ARGUMENT,
                   "did you mean \"latents\"?");
    out.name = "codes";
    expect_refused(vn_autoencoder_encode(a, NULL, &images, 1, &out), VN_BAD_ARGUMENT,
                   "autoencoder-kl has no codes");
    o.tile = 12;
    expect_refused(vn_autoencoder_decode(a, &o, &images, &out), VN_BAD_ARGUMENT,
                   "tile: 12 is not a multiple of 8, as parts of autoencoder-kl are");
    expect_refused(vn_autoencoder_decode(a, NULL, &images, &out), VN_BAD_ARGUMENT,
                   "autoencoder-kl decodes latents or codes, not \"sample\"");
    images.name = "codes";
    expect_refused(vn_autoencoder_decode(a, NULL, &images, &out), VN_UNSUPPORTED,
                   "autoencoder-kl has no codebook");
    images.name = "latents";
    expect_refused(vn_autoencoder_decode(a, NULL, &images, &out), VN_BAD_ARGUMENT,
                   "sample has shape [2, 3, 8, 12], expected F32 [N, 4, H, W]");
    close_golden(&a);
    a = open_golden("vq", "vq");
    images = tensor("sample", "sample");
    out.name = "latents";
    o.tile = 8;
    expect_refused(vn_autoencoder_encode(a, &o, &images, 1, &out), VN_UNSUPPORTED,
                   "tile: autoencoder-vq takes images as a whole alone");
    o.tile = 0;
    o.draw = 1;
    expect_refused(vn_autoencoder_encode(a, &o, &images, 1, &out), VN_BAD_ARGUMENT,
                   "draw: autoencoder-vq has one latent for an image, and none to draw");
    static const int32_t beyond[2] = {3, 11};
    const vn_array codes = {"codes", VN_I32, VN_SHAPE(1, 1, 2), beyond};
    expect_refused(vn_autoencoder_decode(a, NULL, &codes, &out), VN_BAD_ARGUMENT,
                   "codes has 11, which is not a whole number in 0 .. 10");
    close_golden(&a);
}

static void a_pipeline_has_it_in_its_folder(void **state) {
    (void)state;
    static const char index[] = "{\"_class_name\": \"StableDiffusionPipeline\", \"vae\": "
                                "[\"diffusers\", \"AutoencoderKL\"]}",
                      other[] = "{\"_class_name\": \"X\"}",
                      net[] = "{\"_class_name\": \"VaneMLP\"}";
    mkdir("pipe", 0777);
    scratch_write("pipe/model_index.json", index, strlen(index));
    vn_autoencoder *a = open_golden("kl", "pipe/vae"), *b = NULL;
    expect_ok(vn, vn_autoencoder_open(vn, "pipe", &b));
    close_golden(&a);
    vn_autoencoder_close(&b);
    mkdir("bare", 0777);
    scratch_write("bare/model_index.json", other, strlen(other));
    expect_refused(vn_autoencoder_open(vn, "bare", &a), VN_UNSUPPORTED,
                   "bare: has no autoencoder, neither vae nor vqvae");
    mkdir("mlp", 0777);
    scratch_write("mlp/config.json", net, strlen(net));
    expect_refused(vn_autoencoder_open(vn, "mlp", &a), VN_UNSUPPORTED, "mlp is no autoencoder");
    vn_model *m = NULL;
    expect_refused(vn_model_open(vn, "kl", &m), VN_UNSUPPORTED,
                   "kl: an autoencoder; samples are drawn from denoisers");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_is),
        cmocka_unit_test(images_become_latents_and_images),
        cmocka_unit_test(codes_are_those_of_the_latents),
        cmocka_unit_test(large_images_are_run_in_the_parts_of_diffusers),
        cmocka_unit_test(memory_asks_for_parts),
        cmocka_unit_test(scaled_latents_are_those_of_a_diffusion_model),
        cmocka_unit_test(drawn_latents_depend_on_seed_and_index_alone),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_pipeline_has_it_in_its_folder),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
