/* A sample's bits do not depend on how many others are computed with it: every kernel whose result
 * has a row for each sample and which sums, on sizes that are cut into parts, blocks and panels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/support_kernel.h"

enum { MAX_BATCH = 20 };

/* Shapes of one sample; inputs of all samples alike have no dimension for them. */
typedef struct batch_case {
    vn_op op;
    vn_attr attr;
    int inputs;
    vn_shape in[VN_MAX_IN], out; /* out: where the op's rule needs it */
    bool shared[VN_MAX_IN];
} batch_case;

static void open_batch(kernel_case *c, const batch_case *b, int64_t samples) {
    vn_shape in[VN_MAX_IN], out = b->out;
    for (int i = 0; i < b->inputs; i++) {
        in[i] = b->in[i];
        if (!b->shared[i]) in[i].dim[0] *= samples;
    }
    out.dim[0] *= samples;
    kernel_open(c, b->op, b->attr, b->inputs, in, out.rank > 0 ? &out : NULL);
}

/* The result of samples [first, first + count). */
static void run_batch(const vn_device_row *row, const batch_case *b, int64_t first, int64_t count,
                      float *const *all, float *out, int threads) {
    kernel_case c;
    float *in[VN_MAX_IN];
    open_batch(&c, b, count);
    for (int i = 0; i < b->inputs; i++)
        in[i] = all[i] + (b->shared[i] ? 0 : first * vn_shape_count(&b->in[i]));
    kernel_run(row, &c.node, in, out, threads, NULL);
}

/* together, alone: arrays of MAX_BATCH results of `each` numbers. */
static void check_row(const vn_device_row *row, const batch_case *b, float *const *in,
                      float *together, float *alone, int64_t each) {
    static const int64_t counts[] = {1, 2, 3, 4, 5, 15, 17};
    run_batch(row, b, 0, MAX_BATCH, in, together, 2);
    for (size_t i = 0; i < VN_COUNT(counts); i++) {
        const int64_t first = MAX_BATCH - counts[i];
        run_batch(row, b, first, counts[i], in, alone, 1 + (int)(i % 4));
        if (memcmp(alone, together + first * each, (size_t)(counts[i] * each) * sizeof(float)) != 0)
            fail_msg("%s, %s in %s: %lld samples differ from the same ones among %d",
                     vn_op_get(b->op)->name, row->name, row->precision, (long long)counts[i],
                     MAX_BATCH);
    }
}

static void check_batch(const batch_case *b) {
    kernel_case c;
    open_batch(&c, b, MAX_BATCH);
    const int64_t all = vn_shape_count(&c.node.shape), each = all / MAX_BATCH;
    float *in[VN_MAX_IN] = {0}, *together = kernel_array_open(all), *alone = kernel_array_open(all);
    for (int i = 0; i < b->inputs; i++) {
        const int64_t count = vn_shape_count(&c.in[i].shape);
        in[i] = kernel_array_open(count);
        vn_random_normal(in[i], (size_t)count, 2, VN_STREAM_TEST, (uint64_t)i, 0);
    }
    for (size_t k = 0; vn_cpu_row_at(k); k++)
        check_row(vn_cpu_row_at(k), b, in, together, alone, each);
    for (size_t k = 0; kernel_bf16_row(k); k++)
        check_row(kernel_bf16_row(k), b, in, together, alone, each);
    for (int i = 0; i < b->inputs; i++) kernel_array_close(in[i], vn_shape_count(&c.in[i].shape));
    kernel_array_close(together, all);
    kernel_array_close(alone, all);
}

static void samples_do_not_depend_on_their_batch(void **state) {
    (void)state;
    const vn_shape image = VN_SHAPE(1, 30, 40, 96), stats = VN_SHAPE(1, 8, 2), each = VN_SHAPE(96);
    const vn_attr none = {.fill = {0}};
    const vn_attr norm = {.norm = {.groups = 8, .eps = 1e-5}};
    const batch_case cases[] = {
        {VN_OP_LINEAR,
         none,
         3,
         {VN_SHAPE(1, 300), VN_SHAPE(70, 300), VN_SHAPE(70)},
         {0},
         {false, true, true}},
        {VN_OP_LINEAR, none, 2, {VN_SHAPE(1, 1024), VN_SHAPE(200, 1024)}, {0}, {false, true}},
        {VN_OP_LINEAR, none, 2, {VN_SHAPE(1, 9, 40), VN_SHAPE(3, 40)}, {0}, {false, true}},
        {VN_OP_LINEAR, none, 2, {VN_SHAPE(1, 50, 40), VN_SHAPE(60, 40)}, {0}, {false, true}},
        {VN_OP_MATMUL,
         {.matmul = {false, false}},
         2,
         {VN_SHAPE(1, 7, 33), VN_SHAPE(33, 50)},
         {0},
         {false, true}},
        {VN_OP_MATMUL,
         {.matmul = {false, true}},
         2,
         {VN_SHAPE(1, 3, 33), VN_SHAPE(1, 50, 33)},
         {0},
         {0}},
        {VN_OP_MATMUL,
         {.matmul = {true, false}},
         2,
         {VN_SHAPE(1, 33, 9), VN_SHAPE(1, 33, 50)},
         {0},
         {0}},
        {VN_OP_NORM_STATS, norm, 1, {image}, {0}, {0}},
        {VN_OP_NORM, norm, 4, {image, stats, each, each}, {0}, {false, false, true, true}},
        {VN_OP_NORM_GRAD_X,
         norm,
         5,
         {image, stats, image, each, each},
         {0},
         {false, false, false, true, true}},
        {VN_OP_SUM_TO, none, 1, {image}, VN_SHAPE(1, 1, 1, 96), {0}},
        {VN_OP_SUM_TO, none, 1, {VN_SHAPE(1, 300, 256)}, VN_SHAPE(1, 300, 1), {0}},
        {VN_OP_SUM_TO, none, 2, {image, image}, VN_SHAPE(1, 1, 1, 1), {0}},
        {VN_OP_ATTENTION,
         {.attention = {.heads = 2, .scale = .2}},
         3,
         {VN_SHAPE(1, 70, 48), VN_SHAPE(1, 50, 48), VN_SHAPE(1, 50, 48)},
         {0},
         {0}},
        {VN_OP_CONV2D,
         {.conv = {.stride = 1, .pad = {1, 1, 1, 1}}},
         2,
         {VN_SHAPE(1, 14, 14, 16), VN_SHAPE(3, 3, 16, 20)},
         VN_SHAPE(1, 14, 14, 20),
         {false, true}},
        {VN_OP_CONV2D,
         {.conv = {.stride = 1, .pad = {1, 1, 1, 1}}},
         2,
         {VN_SHAPE(1, 14, 14, 48), VN_SHAPE(3, 3, 48, 64)},
         VN_SHAPE(1, 14, 14, 64),
         {false, true}},
        /* Winograd's way with weights that fit no cache */
        {VN_OP_CONV2D,
         {.conv = {.stride = 1, .pad = {1, 1, 1, 1}}},
         2,
         {VN_SHAPE(1, 8, 8, 272), VN_SHAPE(3, 3, 272, 256)},
         VN_SHAPE(1, 8, 8, 256),
         {false, true}},
        {VN_OP_RMS_NORM, norm, 2, {VN_SHAPE(1, 9, 700), VN_SHAPE(700)}, {0}, {false, true}},
        {VN_OP_ROTATE,
         none,
         3,
         {VN_SHAPE(1, 9, 3, 72), VN_SHAPE(1, 9, 1, 72), VN_SHAPE(1, 9, 1, 72)},
         {0},
         {false, true, true}},
        {VN_OP_LINEAR_PLUS,
         {.linear = {.act = VN_FN_SILU, .times = true, .plus = true}},
         4,
         {VN_SHAPE(1, 50, 40), VN_SHAPE(160, 40), VN_SHAPE(1, 1, 160), VN_SHAPE(1, 50, 160)},
         {0},
         {false, true}},
        {VN_OP_CONV2D_PLUS,
         {.conv = {1, {1, 1, 1, 1}, 2, false, true}},
         3,
         {VN_SHAPE(1, 7, 9, 48), VN_SHAPE(3, 3, 48, 64), VN_SHAPE(1, 14, 18, 64)},
         VN_SHAPE(1, 14, 18, 64),
         {false, true}},
        {VN_OP_CONV2D_PLUS,
         {.conv = {1, {1, 1, 1, 1}, 2, false, true}},
         3,
         {VN_SHAPE(1, 7, 9, 16), VN_SHAPE(3, 3, 16, 20), VN_SHAPE(1, 14, 18, 20)},
         VN_SHAPE(1, 14, 18, 20),
         {false, true}},
        {VN_OP_SOFTMAX, none, 1, {VN_SHAPE(1, 700)}, {0}, {0}},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) check_batch(&cases[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples_do_not_depend_on_their_batch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
