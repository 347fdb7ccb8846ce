/* The text DiT and the text encoder that is trained with it, in one graph: the gradients by the
 * weights of both and by the image are the slopes of the loss in double. What PyTorch makes of each
 * alone is test_golden.c's and test_encoders.c's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/nn.h"
#include "nn/support_slope.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/reference.h"
#include "support/seed.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

enum { DENOISER, ENCODER, NETS };
enum { BATCH = 3, TOKENS = 5, SIDE = 4, CHANNELS = 2, NUMBERS = BATCH * CHANNELS * SIDE * SIDE };

static const char *const configs[NETS] = {
    "{\"_class_name\": \"VaneTextTransformer2DModel\", \"num_attention_heads\": 2, "
    "\"attention_head_dim\": 6, \"in_channels\": 2, \"num_layers\": 2, \"sample_size\": 4, "
    "\"patch_size\": 2, \"joint_attention_dim\": 8}",
    "{\"_class_name\": \"VaneTextEncoder\", \"vocab_size\": 11, \"width\": 8, \"layers\": 2, "
    "\"heads\": 2, \"max_length\": 6, \"pad_token_id\": 10}"};

/* Texts of different lengths, filled up with the padding token; the last is of nothing. */
static const int32_t ids[BATCH * TOKENS] = {3, 1, 4, 1, 5, 9, 2, 10, 10, 10, 10, 10, 10, 10, 10},
                                 seen[BATCH * TOKENS] = {1, 1, 1, 1, 1, 1, 1, 0,
                                                         0, 0, 0, 0, 0, 0, 0};
/* a larger time is a larger angle in the embedding, whose rounding is of its size */
static const float times[BATCH] = {0.25F, 1, 3};

/* Both networks in one graph, and its gradients by everything. */
typedef struct both {
    vn_net *net[NETS];
    float *value[NETS]; /* flat, of all weights */
    vn_values *values[NETS];
    vn_graph *graph;
    vn_node *ids, *mask, *sample, *time, *cotangent, *y;
    vn_gradients by;
    size_t base[NETS + 1]; /* where each network's gradients begin */
} both;

static vn_node *input_of(const both *b, const vn_net_nodes *nodes, const char *name) {
    vn_node *node = vn_net_in(b->net[DENOISER], nodes, name);
    assert_non_null(node);
    return node;
}

/* No weight is at its first value: then most gradients of this network would be zero. */
static void fill_values(both *b, int i) {
    const vn_weights *w = vn_net_weights(b->net[i]);
    const size_t n = vn_weights_floats(w);
    b->value[i] = vn_alloc_aligned(n, sizeof(float));
    assert_non_null(b->value[i]);
    vn_random_normal(b->value[i], n, test_seed(4), VN_STREAM_TEST, (uint64_t)i, 1);
    for (size_t k = 0; k < vn_weights_count(w); k++) {
        const vn_weight *each = vn_weights_at(w, k);
        const bool norm = each->file.rank == 1 && strstr(each->name, "weight");
        float *x = b->value[i] + each->offset;
        for (size_t j = 0; j < each->count; j++) x[j] = (norm ? 1.0F : 0.0F) + 0.15F * x[j];
    }
    CHECK(vn_values_over(w, &(vn_device){kernels, NULL, NULL}, b->value[i], &b->values[i], &err));
}

/* The encoder's states and the same mask are what the denoiser takes of the texts. */
static void build_both(both *b) {
    const vn_net_spec spec = {
        .extent = {.batch = BATCH, .height = SIDE, .width = SIDE, .tokens = TOKENS}};
    vn_net_nodes denoiser, encoder;
    CHECK(vn_graph_open(&b->graph, &err));
    vn_graph_set_values(b->graph, ENCODER);
    CHECK(vn_net_build(b->net[ENCODER], b->graph, &spec, &encoder, &err));
    b->ids = vn_net_in(b->net[ENCODER], &encoder, "input_ids");
    vn_graph_set_values(b->graph, DENOISER);
    CHECK(vn_net_make_inputs(b->net[DENOISER], b->graph, &spec, &denoiser, &err));
    const vn_net_io *io = vn_net_get_io(b->net[DENOISER]);
    for (int i = 0; i < io->inputs; i++)
        if (!strcmp(io->input[i].name, "encoder_hidden_states"))
            denoiser.in[i] = vn_net_out(b->net[ENCODER], &encoder, "last_hidden_state");
    b->sample = input_of(b, &denoiser, "sample");
    b->time = input_of(b, &denoiser, "timestep");
    b->mask = input_of(b, &denoiser, "encoder_attention_mask");
    CHECK(vn_net_build_on(b->net[DENOISER], b->graph, &spec, &denoiser, &err));
    b->y = vn_net_out(b->net[DENOISER], &denoiser, "sample");
    b->cotangent = vn_input(b->graph, VN_F32, b->y->shape);
}

static void open_both(both *b) {
    *b = (both){.graph = NULL};
    for (int i = 0; i < NETS; i++) {
        json_t *config = json_loads(configs[i], 0, NULL);
        assert_non_null(config);
        CHECK(vn_net_open(config, &b->net[i], &err));
        json_decref(config);
        fill_values(b, i);
        b->base[i + 1] = b->base[i] + vn_weights_floats(vn_net_weights(b->net[i]));
    }
    build_both(b);
    const vn_weight_set sets[NETS] = {
        {vn_net_weights(b->net[DENOISER]), DENOISER, b->base[DENOISER]},
        {vn_net_weights(b->net[ENCODER]), ENCODER, b->base[ENCODER]}};
    b->by = (vn_gradients){.sets = NETS, .set = sets, .x = b->sample};
    CHECK(vn_gradients_open(&b->by, b->y, b->cotangent, &err));
}

static void close_both(both *b) {
    vn_gradients_close(&b->by);
    vn_graph_close(&b->graph);
    for (int i = 0; i < NETS; i++) {
        vn_values_close(&b->values[i]);
        vn_net_close(&b->net[i]);
        vn_free(b->value[i]);
    }
}

/* The gradients of <c, y>, by the weights into grads and by the image into by_x. */
static void run_gradients(const both *b, const float *x, const float *c, float *grads,
                          float *by_x) {
    vn_program *p = NULL;
    const vn_program_options options = {.device = &(vn_device){kernels, NULL, NULL},
                                        .n_outputs = 1,
                                        .outputs = &b->by.by_x,
                                        .n_grads = b->by.n,
                                        .grads = b->by.node,
                                        .grad_offset = b->by.offset};
    CHECK(vn_program_open(b->graph, &options, &p, &err));
    vn_program_write(p, b->ids, ids);
    vn_program_write(p, b->mask, seen);
    vn_program_write(p, b->sample, x);
    vn_program_write(p, b->time, times);
    vn_program_write(p, b->cotangent, c);
    const vn_values *const more[] = {b->values[ENCODER]};
    vn_program_run(p, &(vn_run){.values = b->values[DENOISER], .more = more, .grads = grads});
    vn_program_read(p, b->by.by_x, by_x);
    vn_program_close(&p);
}

/* ---- the slope ------------------------------------------------------------------------------- */

/* Two networks follow upon each other, each of which SLOPE_BOUND would be for; of 40 seeds the
 * worst is 3.4e-6. */
#define BOUND (2 * SLOPE_BOUND)

/* A direction: of the image, and of each network's weights; NULL: it stays. */
typedef struct direction {
    const float *x, *weight[NETS];
} direction;

/* <c, y> in double, where everything is moved by so much of v. */
static double moved(const both *b, const float *x, const float *c, const direction *v, double by) {
    ref_graph r = ref_open(b->graph);
    double sum = 0;
    ref_set_i32(&r, b->ids, ids);
    ref_set_i32(&r, b->mask, seen);
    ref_set_f32(&r, b->time, times);
    ref_set_f32(&r, b->sample, x);
    ref_set_f32(&r, b->cotangent, c);
    for (int i = 0; v->x && i < NUMBERS; i++) r.value[b->sample->id][i] += by * (double)v->x[i];
    for (int id = 0; id < vn_graph_size(b->graph); id++) {
        const vn_node *n = vn_graph_node(b->graph, id);
        if (n->op != VN_OP_PARAM) continue;
        const int net = n->attr.param.set;
        const size_t at = vn_weights_at(vn_net_weights(b->net[net]), n->from.param)->offset;
        ref_set_f32(&r, n, b->value[net] + at);
        for (int64_t i = 0; v->weight[net] && i < vn_shape_count(&n->shape); i++)
            r.value[id][i] += by * (double)v->weight[net][at + (size_t)i];
    }
    ref_run(&r, &(vn_run){0});
    for (int i = 0; i < NUMBERS; i++) sum += (double)c[i] * ref_get(&r, b->y)[i];
    ref_close(&r);
    return sum;
}

/* How far the gradient is off the slope along four random directions, in parts of its norm. */
static double error_along(const both *b, const float *x, const float *c, const float *gradient,
                          size_t n, int part) {
    const double step = 1e-6;
    float *v = vn_alloc(n, sizeof *v);
    double norm = 0, worst = 0;
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) norm += (double)gradient[i] * (double)gradient[i];
    assert_true(norm > 0);
    for (uint64_t k = 0; k < 4; k++) {
        double product = 0;
        vn_random_normal(v, n, test_seed(4), VN_STREAM_TEST, 10 + k, (uint64_t)part);
        for (size_t i = 0; i < n; i++) product += (double)gradient[i] * (double)v[i];
        direction d = {.x = NULL};
        if (part == NETS)
            d.x = v;
        else
            d.weight[part] = v;
        const double slope = (moved(b, x, c, &d, step) - moved(b, x, c, &d, -step)) / (2 * step);
        worst = fmax(worst, fabs(slope - product));
    }
    vn_free(v);
    return worst / sqrt(norm);
}

static void gradients_through_the_text_are_slopes(void **state) {
    (void)state;
    both b;
    float x[NUMBERS], c[NUMBERS], by_x[NUMBERS];
    open_both(&b);
    float *grads = vn_calloc(b.base[NETS], sizeof *grads);
    assert_non_null(grads);
    vn_random_normal(x, NUMBERS, test_seed(4), VN_STREAM_TEST, 2, 2);
    vn_random_normal(c, NUMBERS, test_seed(4), VN_STREAM_TEST, 3, 2);
    run_gradients(&b, x, c, grads, by_x);
    for (int i = 0; i < NETS; i++)
        expect_below("gradient by weights, of its norm",
                     error_along(&b, x, c, grads + b.base[i], b.base[i + 1] - b.base[i], i), BOUND);
    expect_below("gradient by the image, of its norm", error_along(&b, x, c, by_x, NUMBERS, NETS),
                 BOUND);
    vn_free(grads);
    close_both(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_through_the_text_are_slopes)};
    return run_under_each_kernel_set(tests, NULL, NULL);
}
