/* test_device_parts.c - models of several networks on a device whose memory faults where the host
 * follows it (support/guarded.h): a denoiser with a text encoder beside it, trained or frozen, a
 * classifier that guides, likelihoods, a measure in a classifier's features, and an autoencoder.
 * What they give is what the CPU gives, bit for bit, and no array is left on the device. */
#include "api/internal.h"
#include "api/support_captioned.h"
#include "support/guarded.h"
#include "support/scratch.h"

#include <string.h>
#include <sys/stat.h>

static vn_device_row row;

/* `vn` becomes a context on the CPU, or on the guarded device with its kernels. */
static void begin(bool guarded) {
    vn_context_options o = vn_context_options_default();
    o.threads = 2;
    assert_int_equal(vn_context_open(&vn, &o), VN_OK);
    if (!guarded) return;
    row = guarded_row(vn->device.row, 0, NULL);
    vn_device_close(&vn->device);
    assert_int_equal(vn_device_open(&row, NULL, vn->pool, &vn->device, NULL), VN_OK);
}

static void end(bool guarded) {
    if (guarded) assert_int_equal(guarded_arrays(&vn->device), 0);
    vn_context_close(&vn);
}

static int enter(void **state) {
    static const char *const captions[] = {"it is black", "it is white"};
    scratch_enter(state);
    make_captioned("captioned", captions);
    make_data("classes", 40);
    make_network("clip", captioned_clip, 1);
    make_tokenizer("clip", "clip");
    return 0;
}

static const char *const place[] = {"here", "there"};

static char *of(const char *name, int guarded) {
    static char path[2][64];
    snprintf(path[guarded], sizeof path[guarded], "%s-%s", name, place[guarded]);
    return path[guarded];
}

/* ---- texts ----------------------------------------------------------------------------------- */

static void draw(const char *run, const char *const *prompts, const vn_sample_options *as,
                 const char *out) {
    vn_model *m = NULL;
    vn_samples *samples = NULL;
    vn_sample_options o = *as;
    o.count = 4;
    o.steps = 3;
    o.prompts = prompts;
    o.prompt_count = prompts ? 2 : 0;
    expect_ok(vn, vn_model_open(vn, run, &m));
    expect_ok(vn, vn_sample(m, &o, &samples));
    expect_ok(vn, vn_samples_save(samples, out));
    vn_samples_close(&samples);
    vn_model_close(&m);
}

static void texts_are_learned_and_drawn(const char *name, const char *text_encoder) {
    static const char *const prompts[] = {"it is black", "white it is"};
    char out[2][64];
    for (int guarded = 0; guarded < 2; guarded++) {
        begin(guarded);
        vn_train_options o = captioned_options("text-dit:depth=2,width=16,heads=2", 3);
        o.text_encoder = text_encoder;
        o.validate = 0.25;
        o.drop = 0.3;
        o.dropout = 0.1;
        o.preview_every = 3;
        const char *run = of(name, guarded);
        expect_ok(vn, vn_train(vn, "captioned", run, &o, NULL));
        go_on("captioned", run, 5);
        vn_sample_options how = vn_sample_options_default();
        how.guidance = 2;
        how.guide = "cfg,pag"; /* a network perturbed inside, too */
        snprintf(out[guarded], sizeof *out, "%s.npy", run);
        draw(run, prompts, &how, out[guarded]);
        end(guarded);
    }
    assert_true(
        same_part(of(name, 0), of(name, 1), "transformer/diffusion_pytorch_model.safetensors"));
    expect_same_file(out[0], out[1]);
}

static void a_text_encoder_learns_on_a_device(void **state) {
    (void)state;
    texts_are_learned_and_drawn("joint", NULL);
    assert_true(
        same_part("joint-here", "joint-there", "text_encoder/diffusion_pytorch_model.safetensors"));
}

static void a_frozen_text_encoder_runs_on_a_device(void **state) {
    (void)state;
    texts_are_learned_and_drawn("frozen", "clip");
    assert_true(same_part("frozen-here", "frozen-there", "state/texts"));
}

/* ---- classifiers ----------------------------------------------------------------------------- */

/* A model guided by a classifier, log-likelihoods by its derivatives, and a measure of its samples
 * in what the classifier makes of them. */
static void use(vn_model *m, const char *classifier, const char *out, float drawn[2],
                double log_p[2]) {
    static const float x[2 * 64] = {1, -1, 0.5F};
    static const int32_t labels[2] = {0, 1};
    vn_sample_options how = vn_sample_options_default();
    vn_samples *samples = NULL;
    vn_likelihood_settings likelihood = vn_likelihood_settings_default();
    vn_eval_options e = vn_eval_options_default();
    vn_eval_result result = vn_eval_result_default();
    how.guidance = 2;
    how.guide = "classifier";
    how.count = 4;
    how.steps = 3;
    expect_ok(vn, vn_model_open(vn, classifier, &how.classifier));
    expect_ok(vn, vn_sample(m, &how, &samples));
    expect_ok(vn, vn_samples_save(samples, out));
    vn_samples_close(&samples);
    likelihood.rtol = likelihood.atol = 0.1;
    expect_ok(vn, vn_log_likelihood(m, &likelihood, 2, x, labels, log_p, NULL));
    vn_sample_options plain = vn_sample_options_default();
    plain.steps = 2;
    e.metric = "kd";
    e.data = "classes";
    e.count = 16;
    e.sample = &plain;
    e.features = classifier;
    e.resamples = 0;
    expect_ok(vn, vn_eval(m, &e, &result));
    drawn[0] = (float)result.row[0].value;
    drawn[1] = (float)result.count;
    vn_model_close(&how.classifier);
}

static void a_classifier_guides_and_measures(void **state) {
    (void)state;
    float drawn[2][2];
    double log_p[2][2];
    char out[2][64];
    for (int guarded = 0; guarded < 2; guarded++) {
        vn_model *m = NULL;
        vn_train_options o = tiny_options(3);
        begin(guarded);
        const char *net = of("net", guarded);
        expect_ok(vn, vn_train(vn, "classes", net, &o, NULL));
        expect_ok(vn, vn_model_open(vn, net, &m));
        o.model = "classifier:channels=8,levels=2";
        const char *classifier = of("classifier", guarded);
        expect_ok(vn, vn_train(vn, "classes", classifier, &o, NULL));
        snprintf(out[guarded], sizeof *out, "guided-%s.npy", place[guarded]);
        use(m, classifier, out[guarded], drawn[guarded], log_p[guarded]);
        vn_model_close(&m);
        end(guarded);
    }
    assert_true(same_part("classifier-here", "classifier-there",
                          "classifier/diffusion_pytorch_model.safetensors"));
    expect_same_file(out[0], out[1]);
    assert_memory_equal(log_p[0], log_p[1], sizeof *log_p);
    assert_memory_equal(drawn[0], drawn[1], sizeof *drawn);
}

/* ---- autoencoders ---------------------------------------------------------------------------- */

static const char kl[] =
    "{\"_class_name\": \"AutoencoderKL\", \"block_out_channels\": [4, 8], \"down_block_types\": "
    "[\"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], \"up_block_types\": "
    "[\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"], \"layers_per_block\": 1, \"norm_num_groups\": "
    "2, \"latent_channels\": 4, \"sample_size\": 8}";
static const char vq[] =
    "{\"_class_name\": \"VQModel\", \"block_out_channels\": [4, 8], \"down_block_types\": "
    "[\"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], \"up_block_types\": "
    "[\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"], \"layers_per_block\": 1, \"norm_num_groups\": "
    "2, \"latent_channels\": 3, \"sample_size\": 8, \"num_vq_embeddings\": 11, "
    "\"vq_embed_dim\": 2}";

enum { IMAGE = 3 * 16 * 16 };

/* Encoded, perhaps in parts, and decoded again, to out[IMAGE]. */
static void there_and_back_again(const char *folder, const char *middle, int64_t tile, float *out) {
    static float pixels[IMAGE];
    vn_autoencoder *a = NULL;
    vn_autoencoder_options o = vn_autoencoder_options_default();
    vn_array latents = {.name = middle}, decoded;
    vn_random_normal(pixels, IMAGE, 7, VN_STREAM_TEST, 0, 0);
    const vn_array images = {"sample", VN_F32, VN_SHAPE(1, 3, 16, 16), pixels};
    o.tile = tile;
    expect_ok(vn, vn_autoencoder_open(vn, folder, &a));
    expect_ok(vn, vn_autoencoder_encode(a, &o, &images, 1, &latents));
    expect_ok(vn, vn_autoencoder_decode(a, &o, &latents, &decoded));
    assert_int_equal(vn_shape_count(&decoded.shape), IMAGE);
    memcpy(out, decoded.data, IMAGE * sizeof *out);
    vn_autoencoder_close(&a);
}

static void autoencoders_run_on_a_device(void **state) {
    (void)state;
    static float out[2][2][IMAGE];
    begin(false);
    make_network("kl", kl, 1);
    make_network("vq", vq, 2);
    end(false);
    for (int guarded = 0; guarded < 2; guarded++) {
        begin(guarded);
        there_and_back_again("kl", "latents", 8, out[0][guarded]);
        there_and_back_again("vq", "codes", -1, out[1][guarded]);
        end(guarded);
    }
    for (int i = 0; i < 2; i++) assert_memory_equal(out[i][0], out[i][1], sizeof out[i][0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_encoder_learns_on_a_device),
        cmocka_unit_test(a_frozen_text_encoder_runs_on_a_device),
        cmocka_unit_test(a_classifier_guides_and_measures),
        cmocka_unit_test(autoencoders_run_on_a_device),
    };
    return cmocka_run_group_tests(tests, enter, scratch_leave);
}
