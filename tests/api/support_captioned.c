/* support_captioned.c - see support_captioned.h. */
#include "api/support_captioned.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "image/image.h"
#include "nn/nn.h"
#include "store/store.h"
#include "support/bound.h"
#include "support/scratch.h"

#define TOKENIZERS VN_SOURCE_DIR "/tests/golden/text/"

const char captioned_clip[] =
    "{\"architectures\": [\"CLIPTextModel\"], \"vocab_size\": 878, \"hidden_size\": 16, "
    "\"intermediate_size\": 32, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
    "\"max_position_embeddings\": 20, \"eos_token_id\": 877, \"projection_dim\": 12}";
const char captioned_t5[] =
    "{\"architectures\": [\"T5EncoderModel\"], \"vocab_size\": 360, \"d_model\": 12, \"d_kv\": 4, "
    "\"d_ff\": 24, \"num_layers\": 2, \"num_heads\": 3}";

/* ---- data ------------------------------------------------------------------------------------ */

void write_caption(const char *folder, int i, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%02d.txt", folder, i);
    scratch_write_text(path, text);
}

void make_captioned(const char *folder, const char *const captions[2]) {
    uint8_t pixels[CAPTIONED_SIDE * CAPTIONED_SIDE];
    char path[256];
    vn_err err = {0};
    assert_int_equal(mkdir(folder, 0777), 0);
    for (int i = 0; i < CAPTIONED_PICTURES; i++) {
        const vn_image image = {CAPTIONED_SIDE, CAPTIONED_SIDE, 1, pixels};
        memset(pixels, i % 2 ? 230 - i : 20 + i, sizeof pixels);
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        if (vn_png_write(path, &image, NULL, 0, &err)) fail_msg("%s", err.text);
        write_caption(folder, i, captions[i % 2]);
    }
}

/* ---- encoders -------------------------------------------------------------------------------- */

static void copy(const char *from, const char *folder, const char *name) {
    char path[512];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", from, name);
    char *bytes = scratch_read(path, &size);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    scratch_write(path, bytes, size);
    free(bytes);
}

void make_network(const char *folder, const char *text, uint64_t seed) {
    vn_err err = {0};
    vn_net *net = NULL;
    char path[256];
    json_t *config = json_loads(text, 0, NULL);
    assert_non_null(config);
    if (vn_net_open(config, &net, &err)) fail_msg("%s", err.text);
    const vn_weights *w = vn_net_weights(net);
    float *values = vn_alloc(vn_weights_floats(w), sizeof *values);
    assert_non_null(values);
    vn_weights_init(w, values, seed);
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/%s", folder,
             json_object_get(config, "_class_name") ? "diffusion_pytorch_model.safetensors"
                                                    : "model.safetensors");
    if (vn_store_save_weights(path, w, values, -1, &err)) fail_msg("%s", err.text);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write_text(path, text);
    vn_free(values);
    vn_net_close(&net);
    json_decref(config);
}

void make_tokenizer(const char *folder, const char *kind) {
    char from[512];
    snprintf(from, sizeof from, TOKENIZERS "%s", kind);
    mkdir(folder, 0777);
    copy(from, folder, "tokenizer.json");
    copy(from, folder, "tokenizer_config.json");
}

/* ---- runs ------------------------------------------------------------------------------------ */

vn_train_options captioned_options(const char *model, int64_t steps) {
    vn_train_options o = vn_train_options_default();
    o.model = model;
    o.batch = 8;
    o.steps = steps;
    o.validate = 0;
    o.lr = 5e-3;
    o.warmup = 5;
    o.preview_every = -1;
    o.save_every = o.log_every = 1000;
    return o;
}

void go_on(const char *data, const char *run, int64_t steps) {
    vn_train_options more = vn_train_options_default();
    more.resume = 1;
    more.steps = steps;
    expect_ok(vn, vn_train(vn, data, run, &more, NULL));
}

bool same_part(const char *a, const char *b, const char *part) {
    char path[2][256];
    size_t size[2];
    snprintf(path[0], sizeof path[0], "%s/%s", a, part);
    snprintf(path[1], sizeof path[1], "%s/%s", b, part);
    char *one = scratch_read(path[0], &size[0]), *two = scratch_read(path[1], &size[1]);
    const bool same = size[0] == size[1] && !memcmp(one, two, size[0]);
    free(one);
    free(two);
    return same;
}

double mean_of(vn_model *m, const char *prompt) {
    const char *prompts[] = {prompt};
    vn_sample_options o = vn_sample_options_default();
    vn_samples *s = NULL;
    const int numbers = 8 * CAPTIONED_SIDE * CAPTIONED_SIDE;
    double sum = 0;
    o.count = 8;
    o.steps = 8;
    o.prompts = prompts;
    o.prompt_count = 1;
    o.guidance = 1.5;
    expect_ok(vn, vn_sample(m, &o, &s));
    for (int i = 0; i < numbers; i++) sum += (double)vn_samples_data(s)[i];
    vn_samples_close(&s);
    return sum / numbers;
}

void expect_black_and_white(vn_model *m) {
    const double black = mean_of(m, "it is black"), white = mean_of(m, "it is white");
    print_message("black %.2f, white %.2f\n", black, white);
    /* of the pictures: (20 + 11) / 127.5 - 1 and (230 - 12) / 127.5 - 1 */
    expect_below("black, off its pictures", fabs(black + 0.757), 0.5);
    expect_below("white, off its pictures", fabs(white - 0.710), 0.5);
}
