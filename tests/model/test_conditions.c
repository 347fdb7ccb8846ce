/* Conditions beside classes: arrays by name behind a number, kept once, fed to the ports of a
 * network that takes them, whatever the batch they come in and however many tokens each has. The
 * network is the test's own: x plus a linear map of a vector, plus the mean of a linear map of
 * tokens. */
#include "nn/internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "model/model.h"
#include "support/alloc.h"
#include "support/bound.h"
#include "support/kernels.h"

enum { D = 2, WIDTH = 3 };

/* ---- the network ----------------------------------------------------------------------------- */

static vn_status open_net(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    (void)config;
    if (!(*self = vn_alloc(1, 1))) return vn_no_memory(err);
    *io = (vn_net_io){.multiple = 1};
    vn_net_add_sample(io, false, D);
    vn_net_add_time(io, 0);
    vn_net_add_input(io, (vn_port){.name = "class_labels", .shape = VN_SHAPE(VN_DIM_BATCH, WIDTH)});
    vn_net_add_input(io, (vn_port){.name = "encoder_hidden_states",
                                   .shape = VN_SHAPE(VN_DIM_BATCH, VN_DIM_TOKENS, D),
                                   .optional = true});
    vn_net_add_denoised(io, D);
    return VN_OK;
}

static void build_net(const void *self, const vn_scope *s) {
    (void)self;
    vn_node *x = vn_scope_input(s, "sample"), *tokens = vn_scope_input(s, "encoder_hidden_states"),
            *of_class = vn_layer_linear(s, "class", vn_scope_input(s, "class_labels"), WIDTH, D),
            *of_tokens = vn_layer_linear(s, "text", tokens, D, D);
    vn_node *time = vn_scope_input(s, "timestep");
    if (of_tokens) {
        const int64_t n = of_tokens->shape.dim[0], length = of_tokens->shape.dim[1];
        of_tokens = vn_reshape(s->g, vn_sum_to(s->g, of_tokens, VN_SHAPE(n, 1, D)), VN_SHAPE(n, D));
        of_tokens = vn_affine(s->g, of_tokens, 1 / (double)length, 0);
        x = vn_mul(s->g, x, vn_reshape(s->g, time, VN_SHAPE(n, 1)));
    }
    vn_scope_output(s, "sample", vn_add(s->g, x, vn_add(s->g, of_class, of_tokens)));
}

static const vn_net_row row = {.row = {.name = "prompted"},
                               .class_name = "Prompted",
                               .folder = "unet",
                               .open = open_net,
                               .close = vn_free,
                               .build = build_net};

/* ---- a model of it --------------------------------------------------------------------------- */

typedef struct fixture {
    vn_model model;
    vn_device device;
    vn_path *path;
    vn_prediction prediction;
    vn_net_denoiser net_denoiser;
    vn_denoiser denoiser;
} fixture;

static fixture f;

static int open(void **state) {
    (void)state;
    vn_err err = {0};
    json_t *config = json_object();
    f = (fixture){.device = {kernels, NULL, NULL}};
    f.model = (vn_model){.source = vn_strdup("prompted"), .parts = 1};
    vn_model_part *part = &f.model.part[0];
    if (vn_net_open_row(&row, config, &part->net, &err)) fail_msg("%s", err.text);
    json_decref(config);
    if (vn_values_open(vn_net_weights(part->net), &f.device, NULL, &part->values, &err) ||
        vn_values_init(part->values, 3, &err))
        fail_msg("%s", err.text);
    assert_int_equal(vn_path_open("rectified", &f.path, &err), VN_OK);
    assert_int_equal(vn_prediction_parse("x0", &f.prediction, &err), VN_OK);
    return 0;
}

static int close(void **state) {
    (void)state;
    vn_net_denoiser_close(&f.net_denoiser);
    vn_model *m = &f.model;
    vn_model_drop_conditions(m);
    vn_net_close(&m->part[0].net);
    vn_values_close(&m->part[0].values);
    vn_free(m->source);
    vn_path_close(&f.path);
    return 0;
}

static void denoise(void) {
    vn_err err = {0};
    const vn_engine engine = {.device = &f.device};
    const vn_shape sample = VN_SHAPE(D);
    vn_net_denoiser_close(&f.net_denoiser);
    if (vn_net_denoiser_open(&f.net_denoiser, &engine, f.model.part[0].net, f.model.part[0].values,
                             f.path, &f.prediction, &sample, -1, &f.model, &f.denoiser, &err))
        fail_msg("%s", err.text);
    f.denoiser.conditions = vn_model_conditions(&f.model);
}

static const float vectors[3][WIDTH] = {{1, 0, -1}, {0.5F, 2, 0.25F}, {0, 0, 0}};
static const float texts[2][5 * D] = {{0.1F, 0.2F, -0.3F, 0.4F, 0.5F, -0.6F, 0.7F, 0.8F, -0.9F, 1},
                                      {2, -1, 0.5F, 0.25F}};

static vn_status add(const char *name, const float *vector, const float *text, int64_t tokens,
                     vn_condition *out, vn_err *err) {
    const vn_array arrays[] = {{"class_labels", VN_F32, VN_SHAPE(WIDTH), vector},
                               {"encoder_hidden_states", VN_F32, VN_SHAPE(tokens, D), text}};
    return vn_model_keep_condition(&f.model, name, text ? 2 : 1, arrays, out, err);
}

/* ---- what the network would say -------------------------------------------------------------- */

static const float *weight(const char *name) {
    const vn_weights *w = vn_net_weights(f.model.part[0].net);
    for (size_t i = 0; i < vn_weights_count(w); i++)
        if (!strcmp(vn_weights_at(w, i)->name, name))
            return vn_values_at(f.model.part[0].values, i);
    fail_msg("no weight %s", name);
    return NULL;
}

/* A linear layer's answer; weights are kept [out, in]. */
static void linear(const char *name, int in, const float *x, double *y) {
    char text[32];
    snprintf(text, sizeof text, "%s.weight", name);
    const float *w = weight(text);
    snprintf(text, sizeof text, "%s.bias", name);
    const float *b = weight(text);
    for (int o = 0; o < D; o++) {
        y[o] = (double)b[o];
        for (int i = 0; i < in; i++) y[o] += (double)x[i] * (double)w[o * in + i];
    }
}

static void expected(const float *x, double time, const float *vector, const float *text,
                     int64_t tokens, double *out) {
    double of_class[D], mean[D] = {0}, one[D];
    static const float nothing[D];
    linear("class", WIDTH, vector, of_class);
    for (int64_t t = 0; t < tokens; t++) {
        linear("text", D, text ? text + t * D : nothing, one);
        for (int j = 0; j < D; j++) mean[j] += one[j] / (double)tokens;
    }
    for (int j = 0; j < D; j++) out[j] = (double)x[j] * time + of_class[j] + mean[j];
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void a_name_with_its_arrays_is_one_condition(void **state) {
    (void)state;
    vn_err err = {0};
    vn_condition a, b, again, null;
    assert_int_equal(add("fox", vectors[0], texts[0], 5, &a, &err), VN_OK);
    assert_int_equal(add("owl", vectors[1], texts[1], 2, &b, &err), VN_OK);
    assert_int_equal(add("fox", vectors[0], texts[0], 5, &again, &err), VN_OK);
    assert_true(a == 0 && b == 1 && again == a);
    assert_false(f.model.has_null);
    assert_int_equal(add("null", vectors[2], NULL, 0, &null, &err), VN_OK);
    assert_int_equal(null, VN_CONDITION_NULL);
    const vn_conditions set = vn_model_conditions(&f.model);
    assert_true(set.has_null && set.classes == 0 && vn_conditions_count(&set) == 2);
    assert_string_equal(set.names[1], "owl");
    vn_condition found;
    assert_int_equal(vn_model_read_label(&f.model, "owl", &found, &err), VN_OK);
    assert_int_equal(found, b);
    /* kept, not borrowed */
    assert_ptr_not_equal(vn_model_condition_array(&f.model, a, "class_labels")->data, vectors[0]);
    assert_null(vn_model_condition_array(&f.model, null, "encoder_hidden_states"));
}

static void what_a_network_does_not_take_is_refused_by_name(void **state) {
    (void)state;
    static const float x[8];
    const struct {
        vn_array array;
        const char *words;
    } bad[] = {
        {{"sample", VN_F32, VN_SHAPE(D), x}, "condition fox: prompted takes no 'sample'"},
        {{"mask", VN_F32, VN_SHAPE(D), x}, "condition fox: prompted takes no 'mask'"},
        {{"class_labels", VN_F32, VN_SHAPE(WIDTH + 1), x}, "class_labels is of shape [4]"},
        {{"class_labels", VN_F32, VN_SHAPE(1, WIDTH), x}, "class_labels is of shape [1, 3]"},
        {{"encoder_hidden_states", VN_F32, VN_SHAPE(4, D), x},
         "takes class_labels, and it has none"},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_err err = {0};
        vn_condition c;
        assert_int_equal(vn_model_keep_condition(&f.model, "fox", 1, &bad[i].array, &c, &err),
                         VN_BAD_ARGUMENT);
        if (!strstr(err.text, bad[i].words)) fail_msg("%s", err.text);
    }
    vn_err err = {0};
    vn_condition c;
    assert_int_equal(add("fox", vectors[0], NULL, 0, &c, &err), VN_OK);
    assert_int_equal(add("fox", vectors[1], NULL, 0, &c, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "condition fox: there is another one of this name");
}

/* Rows of 5, 2 and no tokens in one query: each as by the formula, and with the same bits alone. */
static void rows_of_unlike_token_counts_go_in_one_query(void **state) {
    (void)state;
    enum { N = 6 };
    vn_err err = {0};
    vn_condition fox, owl, null;
    assert_int_equal(add("fox", vectors[0], texts[0], 5, &fox, &err), VN_OK);
    assert_int_equal(add("owl", vectors[1], texts[1], 2, &owl, &err), VN_OK);
    assert_int_equal(add("null", vectors[2], NULL, 0, &null, &err), VN_OK);
    denoise();
    const vn_condition rows[N] = {fox, owl, null, owl, fox, null};
    float x[N * D], raw[N * D], alone[D];
    vn_level level[N];
    vn_random_normal(x, N * D, 5, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) level[i] = vn_path_level(f.path, 0.1 + 0.12 * i);
    vn_query q = {.n = N, .x = x, .level = level, .condition = rows};
    if (f.denoiser.predict(f.denoiser.self, &q, raw, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < N; i++) {
        double want[D];
        const bool is_fox = rows[i] == fox, is_null = rows[i] == null;
        expected(x + i * D, vn_path_network_time(f.path, &level[i]),
                 vectors[is_fox    ? 0
                         : is_null ? 2
                                   : 1],
                 is_null ? NULL : texts[!is_fox],
                 is_fox    ? 5
                 : is_null ? 1
                           : 2,
                 want);
        for (int j = 0; j < D; j++) {
            const double off = fabs((double)raw[i * D + j] - want[j]);
            /* some ten roundings of numbers up to a few hundred times x */
            expect_small(off, 3e-6 * (1 + fabs(want[j])));
        }
        q = (vn_query){.n = 1, .x = x + i * D, .level = level + i, .condition = rows + i};
        if (f.denoiser.predict(f.denoiser.self, &q, alone, &err)) fail_msg("%s", err.text);
        assert_memory_equal(alone, raw + i * D, sizeof alone);
    }
}

/* ---- a U-Net that attends to a text ---------------------------------------------------------- */

enum { TEXT = 6, POOLED = 5, PIXELS = 2 * 4 * 4 };

static void open_unet(void) {
    vn_err err = {0};
    json_t *config = json_loads(
        "{\"_class_name\": \"UNet2DConditionModel\", \"in_channels\": 2, \"out_channels\": 2, "
        "\"down_block_types\": [\"CrossAttnDownBlock2D\"], \"up_block_types\": "
        "[\"CrossAttnUpBlock2D\"], \"block_out_channels\": [8], \"norm_num_groups\": 4, "
        "\"layers_per_block\": 1, \"cross_attention_dim\": 6, \"attention_head_dim\": 2, "
        "\"addition_embed_type\": \"text_time\", \"addition_time_embed_dim\": 2, "
        "\"projection_class_embeddings_input_dim\": 15}",
        0, NULL);
    vn_model_part *part = &f.model.part[0];
    vn_net_close(&part->net);
    vn_values_close(&part->values);
    if (vn_net_open(config, &part->net, &err) ||
        vn_values_open(vn_net_weights(part->net), &f.device, NULL, &part->values, &err) ||
        vn_values_init(part->values, 3, &err))
        fail_msg("%s", err.text);
    json_decref(config);
}

/* A text of so many tokens, by a seed, with a mask or without; 5 ids unless said otherwise. */
static vn_status add_text(const char *name, int64_t tokens, bool masked, int64_t ids,
                          vn_condition *out, vn_err *err) {
    float text[8 * TEXT], pooled[POOLED], numbers[8] = {8, 8, 0, 1, 4, 4},
                                          mask[8] = {1, 0, 1, 0, 1, 1, 0, 1};
    vn_random_normal(text, 8 * TEXT, (uint64_t)name[0], VN_STREAM_TEST, 0, 0);
    vn_random_normal(pooled, POOLED, (uint64_t)name[0], VN_STREAM_TEST, 1, 0);
    const vn_array arrays[] = {{"encoder_hidden_states", VN_F32, VN_SHAPE(tokens, TEXT), text},
                               {"text_embeds", VN_F32, VN_SHAPE(POOLED), pooled},
                               {"time_ids", VN_F32, VN_SHAPE(ids), numbers},
                               {"encoder_attention_mask", VN_F32, VN_SHAPE(tokens), mask}};
    return vn_model_keep_condition(&f.model, name, masked ? 4 : 3, arrays, out, err);
}

static void predict_texts(const vn_condition *rows, int n, const float *x, const vn_level *level,
                          vn_perturb always, float *raw) {
    vn_err err = {0};
    const vn_query q = {.n = n, .x = x, .level = level, .condition = rows, .always = always};
    if (f.denoiser.predict(f.denoiser.self, &q, raw, &err)) fail_msg("%s", err.text);
}

/* Texts of 5, 2 and 5 tokens of which some are hidden, in one query: each as alone, and PLADIS's
 * perturbation changes what is said. */
static void texts_of_unlike_lengths_go_through_a_unet(void **state) {
    (void)state;
    enum { N = 5 };
    vn_err err = {0};
    vn_condition fox, owl, null, other;
    open_unet();
    assert_int_equal(add_text("fox", 5, false, 5, &fox, &err), VN_OK);
    assert_int_equal(add_text("owl", 2, false, 5, &owl, &err), VN_OK);
    assert_int_equal(add_text("null", 5, true, 5, &null, &err), VN_OK);
    assert_int_equal(add_text("cat", 5, true, 6, &other, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "condition cat: time_ids is of shape [6], and that of condition "
                                  "fox is not");
    const vn_shape sample = VN_SHAPE(2, 4, 4);
    const vn_engine engine = {.device = &f.device};
    err = (vn_err){0};
    if (vn_net_denoiser_open(&f.net_denoiser, &engine, f.model.part[0].net, f.model.part[0].values,
                             f.path, &f.prediction, &sample, -1, &f.model, &f.denoiser, &err))
        fail_msg("%s", err.text);
    const vn_condition rows[N] = {fox, owl, null, fox, owl};
    const vn_perturb none = {0}, sparse = {.kind = VN_ATTENTION_SPARSE, .amount = 2, .last = 99};
    static float x[N * PIXELS], raw[N * PIXELS], alone[PIXELS], changed[PIXELS];
    vn_level level[N];
    vn_random_normal(x, N * PIXELS, 5, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) level[i] = vn_path_level(f.path, 0.3 + 0.1 * i);
    predict_texts(rows, N, x, level, none, raw);
    for (int i = 0; i < N; i++) {
        predict_texts(rows + i, 1, x + i * PIXELS, level + i, none, alone);
        assert_memory_equal(alone, raw + i * PIXELS, sizeof alone);
        predict_texts(rows + i, 1, x + i * PIXELS, level + i, sparse, changed);
        assert_memory_not_equal(changed, alone, sizeof alone);
    }
    /* a text is told from another, and a hidden token from one that is seen */
    const vn_condition seen[3] = {fox, owl, null};
    for (int i = 0; i < 3; i++) predict_texts(seen + i, 1, x, level, none, raw + i * PIXELS);
    assert_memory_not_equal(raw, raw + PIXELS, sizeof alone);
    assert_memory_not_equal(raw, raw + 2 * PIXELS, sizeof alone);
}

static void derivatives_of_mixed_rows_are_those_alone(void **state) {
    (void)state;
    enum { N = 4 };
    vn_err err = {0};
    vn_condition fox, owl;
    assert_int_equal(add("fox", vectors[0], texts[0], 5, &fox, &err), VN_OK);
    assert_int_equal(add("owl", vectors[1], texts[1], 2, &owl, &err), VN_OK);
    denoise();
    const vn_condition rows[N] = {fox, owl, owl, fox};
    float x[N * D], v[N * D], raw[N * D];
    vn_level level[N];
    vn_random_normal(x, N * D, 6, VN_STREAM_TEST, 0, 0);
    vn_random_normal(v, N * D, 7, VN_STREAM_TEST, 0, 0);
    for (int i = 0; i < N; i++) level[i] = vn_path_level(f.path, 0.2 + 0.2 * i);
    for (vn_want want = VN_VJP; want <= VN_JVP; want++) {
        const vn_query q = {
            .n = N, .x = x, .level = level, .condition = rows, .want = want, .direction = v};
        if (f.denoiser.predict(f.denoiser.self, &q, raw, &err)) fail_msg("%s", err.text);
        for (int i = 0; i < N * D; i++) { /* d (x time) / dx */
            const double wanted = (double)v[i] * vn_path_network_time(f.path, &level[i / D]);
            expect_small(fabs((double)raw[i] - wanted), 2e-6 * (1 + fabs(wanted)));
        }
    }
}

static void a_condition_that_nobody_gave_is_refused(void **state) {
    (void)state;
    vn_err err = {0};
    vn_condition fox;
    assert_int_equal(add("fox", vectors[0], texts[0], 5, &fox, &err), VN_OK);
    denoise();
    const float x[D] = {0};
    float raw[D];
    const vn_condition null = VN_CONDITION_NULL;
    const vn_level level = vn_path_level(f.path, 0.5);
    const vn_query q = {.n = 1, .x = x, .level = &level, .condition = &null};
    assert_int_equal(f.denoiser.predict(f.denoiser.self, &q, raw, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "the network takes class_labels, and no condition named \"null\" "
                                  "says what it is for none");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_name_with_its_arrays_is_one_condition, open, close),
        cmocka_unit_test_setup_teardown(what_a_network_does_not_take_is_refused_by_name, open,
                                        close),
        cmocka_unit_test_setup_teardown(rows_of_unlike_token_counts_go_in_one_query, open, close),
        cmocka_unit_test_setup_teardown(texts_of_unlike_lengths_go_through_a_unet, open, close),
        cmocka_unit_test_setup_teardown(derivatives_of_mixed_rows_are_those_alone, open, close),
        cmocka_unit_test_setup_teardown(a_condition_that_nobody_gave_is_refused, open, close),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
