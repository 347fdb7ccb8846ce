/* Every op of the table has a kernel on every instruction set, and every kernel agrees with the
 * plain reference on random shapes: odd sizes, one element, empty arrays, and sizes at which
 * several threads really run. The table below is locked to VN_OPS: an op without a row fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/support_kernel.h"

#define ROUNDS 40
#define LARGE  8 /* every so many rounds the shape is large */

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Mostly small axes, ones and now and then an empty one; large shapes have some 50000 elements. */
static vn_shape draw_shape(int rank, int round) {
    vn_shape s = {.rank = rank};
    for (int i = 0; i < rank; i++)
        s.dim[i] = kernel_draw(0, 3) ? kernel_draw(1, rank > 3 ? 7 : 21) : 1;
    if (rank > 0 && kernel_draw(0, 15) == 0) s.dim[kernel_draw(0, rank - 1)] = 0;
    if (rank > 0 && round % LARGE == 0) {
        int64_t count = 1, grow = kernel_draw(0, rank - 1);
        for (int i = 0; i < rank; i++) count *= i == grow ? 1 : s.dim[i];
        if (count > 0) s.dim[grow] = 50000 / count + 1;
    }
    return s;
}

/* A shape that broadcasts to s: some axes of length 1, some leading ones missing. */
static vn_shape draw_smaller(const vn_shape *s) {
    int drop = s->rank ? (int)kernel_draw(0, s->rank) * (kernel_draw(0, 2) == 0) : 0;
    vn_shape t = {.rank = s->rank - drop};
    for (int i = 0; i < t.rank; i++) t.dim[i] = kernel_draw(0, 2) ? s->dim[i + drop] : 1;
    return t;
}

static vn_shape shape1(int64_t a) {
    return (vn_shape){1, {a}};
}

static vn_shape shape2(int64_t a, int64_t b) {
    return (vn_shape){2, {a, b}};
}

static vn_shape shape3(int64_t a, int64_t b, int64_t c) {
    return (vn_shape){3, {a, b, c}};
}

static vn_shape shape4(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (vn_shape){4, {a, b, c, d}};
}

/* ---- a case of each op ----------------------------------------------------------------------- */

static void open_fill(kernel_case *c, vn_op op, int round) {
    vn_shape out = draw_shape((int)kernel_draw(0, 4), round);
    kernel_open(c, op, (vn_attr){.fill = {1.25}}, 0, NULL, &out);
}

static void open_permute(kernel_case *c, vn_op op, int round) {
    vn_shape in = draw_shape((int)kernel_draw(1, 6), round);
    vn_attr attr = {.permute = {{0, 1, 2, 3, 4, 5}}};
    for (int i = in.rank - 1; i > 0; i--) {
        int j = (int)kernel_draw(0, i), keep = attr.permute.perm[i];
        attr.permute.perm[i] = attr.permute.perm[j];
        attr.permute.perm[j] = keep;
    }
    kernel_open(c, op, attr, 1, &in, NULL);
}

static void open_concat(kernel_case *c, vn_op op, int round) {
    vn_shape in[VN_MAX_IN] = {draw_shape((int)kernel_draw(1, 4), round)};
    int axis = (int)kernel_draw(0, in[0].rank - 1), inputs = (int)kernel_draw(1, VN_MAX_IN);
    for (int i = 1; i < inputs; i++) {
        in[i] = in[0];
        in[i].dim[axis] = kernel_draw(0, 9);
    }
    kernel_open(c, op, (vn_attr){.slice = {axis, 0}}, inputs, in, NULL);
}

static void open_slice(kernel_case *c, vn_op op, int round) {
    vn_shape whole = draw_shape((int)kernel_draw(1, 4), round), part = whole;
    int axis = (int)kernel_draw(0, whole.rank - 1);
    part.dim[axis] = kernel_draw(0, whole.dim[axis]);
    vn_attr attr = {.slice = {axis, kernel_draw(0, whole.dim[axis] - part.dim[axis])}};
    if (op == VN_OP_SLICE)
        kernel_open(c, op, attr, 1, &whole, &part);
    else
        kernel_open(c, op, attr, 1, &part, &whole);
}

static void open_broadcast(kernel_case *c, vn_op op, int round) {
    vn_shape large = draw_shape((int)kernel_draw(0, 5), round), small = draw_smaller(&large);
    if (op == VN_OP_BROADCAST)
        kernel_open(c, op, (vn_attr){0}, 1, &small, &large);
    else
        kernel_open(c, op, (vn_attr){0}, 1 + round % 2, (vn_shape[]){large, large}, &small);
}

static void open_binary(kernel_case *c, vn_op op, int round) {
    vn_shape large = draw_shape((int)kernel_draw(0, 5), round), in[2] = {large, large};
    if (kernel_draw(0, 3)) in[0] = draw_smaller(&large);
    if (kernel_draw(0, 3)) in[1] = draw_smaller(&large);
    kernel_open(c, op, (vn_attr){0}, 2, in, NULL);
    if (op == VN_OP_DIV) c->fill[1] = KERNEL_POSITIVE;
}

static void open_mul_add(kernel_case *c, vn_op op, int round) {
    vn_shape large = draw_shape((int)kernel_draw(0, 5), round), in[3] = {large, large, large};
    if (kernel_draw(0, 3)) in[1] = draw_smaller(&large);
    kernel_open(c, op, (vn_attr){0}, 3, in, NULL);
}

static void open_affine(kernel_case *c, vn_op op, int round) {
    vn_shape in = draw_shape((int)kernel_draw(0, 4), round);
    kernel_open(c, op, (vn_attr){.affine = {-1.5, 0.75}}, 1, &in, NULL);
}

/* All functions in turn; orders in a turn of another length. */
static void open_unary(kernel_case *c, vn_op op, int round) {
    vn_shape in[2] = {draw_shape((int)kernel_draw(0, 3), round)};
    vn_fn fn = (vn_fn)(round % VN_FN_COUNT);
    in[1] = in[0];
    kernel_open(c, op, (vn_attr){.unary = {fn, op == VN_OP_UNARY ? round / VN_FN_COUNT % 3 : 0}},
                op == VN_OP_UNARY ? 1 : 2, in, NULL);
    if (fn == VN_FN_LOG || fn == VN_FN_SQRT || fn == VN_FN_RSQRT || fn == VN_FN_RECIPROCAL)
        c->fill[0] = KERNEL_POSITIVE;
}

static void open_matmul(kernel_case *c, vn_op op, int round) {
    bool ta = kernel_draw(0, 1), tb = kernel_draw(0, 1);
    int64_t b = kernel_draw(1, 3), m = kernel_draw(1, 40), n = kernel_draw(1, 40),
            k = kernel_draw(1, 40);
    if (round % LARGE == 0) m = 150, n = 140;
    vn_shape in[2] = {shape3(b, ta ? k : m, ta ? m : k), shape3(b, tb ? n : k, tb ? k : n)};
    kernel_open(c, op, (vn_attr){.matmul = {ta, tb}}, 2, in, NULL);
}

static void open_linear(kernel_case *c, vn_op op, int round) {
    int64_t in_width = kernel_draw(1, 40), out_width = kernel_draw(1, 40);
    const int64_t from = round % 4 ? 0 : kernel_draw(0, 9), after = round % 4 ? 0 : 3;
    vn_shape in[3] = {shape2(round % LARGE ? kernel_draw(1, 30) : 800, in_width),
                      shape2(out_width, from + in_width + after), shape1(out_width)};
    const vn_attr attr = {.linear = {.act = round % 3 ? VN_FN_IDENTITY : VN_FN_GELU_TANH,
                                     .part = after,
                                     .from = from}};
    kernel_open(c, op, attr, (int)kernel_draw(2, 3), in, NULL);
}

/* With and without each of bias, factor and addend; a row of the factor for a row, a sample or
 * all. */
static void open_linear_plus(kernel_case *c, vn_op op, int round) {
    const int64_t in_width = kernel_draw(1, 40), out_width = kernel_draw(1, round % 4 ? 40 : 300),
                  samples = kernel_draw(1, 4), tokens = round % LARGE ? kernel_draw(1, 20) : 200;
    const bool bias = round % 2, times = round / 2 % 2, plus = round / 4 % 2;
    const vn_shape out = shape3(samples, tokens, out_width);
    const int64_t run = kernel_draw(0, 2);
    const int64_t from = round % 5 ? 0 : kernel_draw(1, 9);
    vn_shape in[VN_MAX_IN] = {shape3(samples, tokens, in_width),
                              shape2(out_width, from + in_width)};
    int inputs = 2;
    if (bias) in[inputs++] = shape1(out_width);
    if (times) in[inputs++] = shape3(run < 2 ? samples : 1, run ? 1 : tokens, out_width);
    if (plus) in[inputs++] = out;
    const vn_attr attr = {
        .linear = {round % 3 ? VN_FN_IDENTITY : VN_FN_GELU_TANH, bias, times, plus, from, from}};
    kernel_open(c, op, attr, inputs, in, NULL);
}

/* Of sizes that either way of convolving takes, on some instruction set or on all. */
static void open_conv_plus(kernel_case *c, vn_op op, int round) {
    const bool bias = round % 2, plus = round / 4 % 2, large = round % LARGE == 0;
    const int up = 1 + round / 2 % 2, stride = round % 5 ? 1 : 2, pad = round % 7 ? 1 : 0;
    const int64_t h = kernel_draw(4, 7), w = kernel_draw(4, 7), i = large ? 32 : kernel_draw(1, 9),
                  o = large ? 48 : kernel_draw(1, 9);
    vn_shape in[VN_MAX_IN] = {shape4(large ? 3 : 2, h, w, i), shape4(3, 3, i, o)};
    int inputs = 2;
    if (bias) in[inputs++] = shape1(o);
    if (plus)
        in[inputs++] = shape4(in[0].dim[0], (up * h + 2 * pad - 3) / stride + 1,
                              (up * w + 2 * pad - 3) / stride + 1, o);
    const vn_attr attr = {.conv = {stride, {pad, pad, pad, pad}, up, bias, plus}};
    kernel_open(c, op, attr, inputs, in, NULL);
}

static void open_conv(kernel_case *c, vn_op op, int round) {
    int64_t h = kernel_draw(3, 9), w = kernel_draw(3, 9), i = kernel_draw(1, 9),
            o = kernel_draw(1, 9), kernel = kernel_draw(0, 1) * 2 + 1;
    int stride = (int)kernel_draw(1, 2), pad = kernel == 3;
    vn_attr attr = {.conv = {.stride = stride, .pad = {pad, pad, pad, pad}}};
    vn_shape x = shape4(round % LARGE ? 2 : 24, h, w, i), weight = shape4(kernel, kernel, i, o),
             bias = shape1(o);
    vn_shape y = shape4(x.dim[0], (h + 2 * pad - kernel) / stride + 1,
                        (w + 2 * pad - kernel) / stride + 1, o);
    if (op == VN_OP_CONV2D)
        kernel_open(c, op, attr, (int)kernel_draw(2, 3), (vn_shape[]){x, weight, bias}, NULL);
    if (op == VN_OP_CONV2D_GRAD_X) kernel_open(c, op, attr, 2, (vn_shape[]){y, weight}, &x);
    if (op == VN_OP_CONV2D_GRAD_W) kernel_open(c, op, attr, 2, (vn_shape[]){x, y}, &weight);
}

/* [N,C] to [N,..,C], one group or several, with and without affine map and silu. */
static void open_norm(kernel_case *c, vn_op op, int round) {
    int64_t groups = kernel_draw(0, 1) ? 1 : kernel_draw(1, 8),
            channels = groups * kernel_draw(1, 12);
    vn_shape x = draw_shape((int)kernel_draw(2, 4), round);
    bool large = round % LARGE == 0, affine = op == VN_OP_NORM_GRAD_AFFINE || kernel_draw(0, 1);
    x.dim[x.rank - 1] = channels;
    /* one sample, cut into parts */
    if (large && round % (2 * LARGE) == 0) x = shape3(1, 70000 / channels, channels);
    vn_shape stats = shape3(x.dim[0], groups, 2), width = shape1(channels);
    /* an affine map for each of some runs of samples */
    if (x.dim[0] > 0 && kernel_draw(0, 2) == 0) {
        int64_t runs = kernel_draw(1, 4);
        while (x.dim[0] % runs) runs--;
        width = shape2(runs, channels);
    }
    vn_attr attr = {.norm = {(int)groups, 1e-5, kernel_draw(0, 1) ? VN_FN_SILU : VN_FN_IDENTITY}};
    if (op == VN_OP_NORM_STATS) kernel_open(c, op, attr, 1, &x, NULL);
    if (op == VN_OP_NORM)
        kernel_open(c, op, attr, affine ? 4 : 2, (vn_shape[]){x, stats, width, width}, NULL);
    if (op == VN_OP_NORM_GRAD_X || op == VN_OP_NORM_GRAD_AFFINE)
        kernel_open(c, op, attr, affine ? 5 : 3, (vn_shape[]){x, stats, x, width, width}, NULL);
    if (op != VN_OP_NORM_STATS) c->fill[1] = KERNEL_POSITIVE;
}

static void open_rms_norm(kernel_case *c, vn_op op, int round) {
    vn_shape in[2] = {draw_shape((int)kernel_draw(1, 4), round)};
    in[1] = shape1(in[0].dim[in[0].rank - 1]);
    kernel_open(c, op, (vn_attr){.norm = {.eps = 1e-5}}, (int)kernel_draw(1, 2), in, NULL);
}

/* Rows of an even length, some longer than a vector; angles of their own or shared. */
static void open_rotate(kernel_case *c, vn_op op, int round) {
    vn_shape x = draw_shape((int)kernel_draw(1, 4), round);
    x.dim[x.rank - 1] = 2 * kernel_draw(1, 40);
    vn_shape angle = draw_smaller(&x);
    if (angle.rank == 0) angle = shape1(1);
    angle.dim[angle.rank - 1] = x.dim[x.rank - 1];
    kernel_open(c, op, (vn_attr){.rotate = {round % 2 == 1}}, 3, (vn_shape[]){x, angle, angle},
                NULL);
}

static void open_softmax(kernel_case *c, vn_op op, int round) {
    vn_shape in[2] = {draw_shape((int)kernel_draw(1, 4), round)};
    in[1] = in[0];
    kernel_open(c, op, (vn_attr){0}, op == VN_OP_SOFTMAX_GRAD ? 2 : 1, in, NULL);
}

static void open_cross_entropy(kernel_case *c, vn_op op, int round) {
    int64_t n = round % LARGE ? kernel_draw(0, 20) : 2000, k = kernel_draw(1, 40);
    kernel_open(c, op, (vn_attr){0}, op == VN_OP_CROSS_ENTROPY ? 2 : 3,
                (vn_shape[]){shape2(n, k), shape1(n), shape1(n)}, NULL);
    c->labels = k;
}

static void open_one_hot(kernel_case *c, vn_op op, int round) {
    vn_shape in = draw_shape((int)kernel_draw(0, 2), round), out = in;
    out.dim[out.rank++] = c->labels = kernel_draw(1, 9);
    kernel_open(c, op, (vn_attr){0}, 1, &in, &out);
    c->labels = out.dim[out.rank - 1];
}

static void open_embedding(kernel_case *c, vn_op op, int round) {
    vn_shape table = shape2(kernel_draw(1, 20), kernel_draw(1, 40)),
             index = draw_shape((int)kernel_draw(0, 2), round), rows = index;
    rows.dim[rows.rank++] = table.dim[1];
    if (op == VN_OP_EMBEDDING)
        kernel_open(c, op, (vn_attr){0}, 2, (vn_shape[]){table, index}, NULL);
    else
        kernel_open(c, op, (vn_attr){0}, 2, (vn_shape[]){index, rows}, &table);
    c->labels = table.dim[0];
    if (op != VN_OP_EMBEDDING || round % 3 == 0) return;
    c->in[0].dtype = round % 3 == 1 ? VN_F16 : VN_BF16;
    c->fill[0] = KERNEL_BITS;
    assert_null(vn_op_get(op)->shape(&c->node));
}

static void open_nearest(kernel_case *c, vn_op op, int round) {
    vn_shape table = shape2(kernel_draw(1, 40), kernel_draw(1, 20)),
             x = draw_shape((int)kernel_draw(0, 2), round);
    x.dim[x.rank++] = table.dim[1];
    kernel_open(c, op, (vn_attr){0}, 2, (vn_shape[]){x, table}, NULL);
}

static void open_attention(kernel_case *c, vn_op op, int round) {
    int64_t heads = kernel_draw(1, 3), width = heads * kernel_draw(1, 9), b = round % LARGE ? 2 : 8;
    vn_shape q = shape3(b, kernel_draw(1, 30), width), k = shape3(b, kernel_draw(1, 30), width);
    vn_attr attr = {.attention = {.heads = (int)heads, .scale = 0.4}};
    kernel_open(c, op, attr, op == VN_OP_ATTENTION ? 3 : 4, (vn_shape[]){q, k, k, q}, NULL);
}

static void open_resample(kernel_case *c, vn_op op, int round) {
    vn_attr attr = {.resample = {.up = (int)kernel_draw(1, 3),
                                 .down = (int)kernel_draw(1, 3),
                                 .taps = (int)kernel_draw(1, VN_MAX_TAPS)}};
    for (int i = 0; i < attr.resample.taps; i++)
        attr.resample.tap[i] = (float)kernel_draw(-8, 8) / 7.0f;
    for (int i = 0; i < 2; i++) attr.resample.pad[i] = (int)kernel_draw(0, attr.resample.taps - 1);
    vn_shape x =
        shape4(round % LARGE ? 2 : 40, kernel_draw(1, 8), kernel_draw(1, 8), kernel_draw(1, 40));
    vn_shape y = shape4(x.dim[0], kernel_draw(1, 9), kernel_draw(1, 9), x.dim[3]);
    kernel_open(c, op, attr, 1, &x, &y);
}

static void open_dropout(kernel_case *c, vn_op op, int round) {
    vn_shape x = draw_shape((int)kernel_draw(0, 4), round);
    kernel_open(c, op,
                (vn_attr){.dropout = {(double)kernel_draw(0, 9) / 10, (uint32_t)kernel_draw(0, 9)}},
                1, &x, NULL);
}

static void open_cast(kernel_case *c, vn_op op, int round) {
    static const vn_dtype from[] = {VN_BF16, VN_F16, VN_F32, VN_F32, VN_I32},
                          to[] = {VN_F32, VN_F32, VN_BF16, VN_F16, VN_F32};
    const size_t k = (size_t)round % VN_COUNT(from);
    *c = (kernel_case){.node = {.op = op, .inputs = 1, .dtype = to[k]}, .labels = 1 << 20};
    c->in[0] = (vn_node){.op = VN_OP_INPUT, .dtype = from[k]};
    c->in[0].shape = draw_shape((int)kernel_draw(0, 4), round);
    c->node.in[0] = &c->in[0];
    c->fill[0] = from[k] == VN_I32 ? KERNEL_LABELS : KERNEL_BITS;
    if (vn_op_get(op)->shape(&c->node)) fail_msg("cast: %s", vn_op_get(op)->shape(&c->node));
}

static void (*const open_case[VN_OP_COUNT])(kernel_case *c, vn_op op, int round) = {
    [VN_OP_FILL] = open_fill,
    [VN_OP_PERMUTE] = open_permute,
    [VN_OP_CONCAT] = open_concat,
    [VN_OP_SLICE] = open_slice,
    [VN_OP_PLACE] = open_slice,
    [VN_OP_BROADCAST] = open_broadcast,
    [VN_OP_SUM_TO] = open_broadcast,
    [VN_OP_ADD] = open_binary,
    [VN_OP_SUB] = open_binary,
    [VN_OP_MUL] = open_binary,
    [VN_OP_DIV] = open_binary,
    [VN_OP_MUL_ADD] = open_mul_add,
    [VN_OP_CAST] = open_cast,
    [VN_OP_AFFINE] = open_affine,
    [VN_OP_UNARY] = open_unary,
    [VN_OP_UNARY_GRAD] = open_unary,
    [VN_OP_MATMUL] = open_matmul,
    [VN_OP_LINEAR] = open_linear,
    [VN_OP_CONV2D] = open_conv,
    [VN_OP_CONV2D_GRAD_X] = open_conv,
    [VN_OP_CONV2D_GRAD_W] = open_conv,
    [VN_OP_NORM_STATS] = open_norm,
    [VN_OP_NORM] = open_norm,
    [VN_OP_NORM_GRAD_X] = open_norm,
    [VN_OP_NORM_GRAD_AFFINE] = open_norm,
    [VN_OP_RMS_NORM] = open_rms_norm,
    [VN_OP_ROTATE] = open_rotate,
    [VN_OP_CONV2D_PLUS] = open_conv_plus,
    [VN_OP_LINEAR_PLUS] = open_linear_plus,
    [VN_OP_SOFTMAX] = open_softmax,
    [VN_OP_SOFTMAX_GRAD] = open_softmax,
    [VN_OP_CROSS_ENTROPY] = open_cross_entropy,
    [VN_OP_CROSS_ENTROPY_GRAD] = open_cross_entropy,
    [VN_OP_ONE_HOT] = open_one_hot,
    [VN_OP_EMBEDDING] = open_embedding,
    [VN_OP_EMBEDDING_GRAD] = open_embedding,
    [VN_OP_NEAREST] = open_nearest,
    [VN_OP_ATTENTION] = open_attention,
    [VN_OP_ATTENTION_GRAD] = open_attention,
    [VN_OP_RESAMPLE] = open_resample,
    [VN_OP_DROPOUT] = open_dropout,
    [VN_OP_ENTMAX_ROOT] = open_softmax,
};

static bool bound_by_the_program(vn_op op) {
    return op == VN_OP_INPUT || op == VN_OP_PARAM || op == VN_OP_CONST || op == VN_OP_VIEW;
}

static void every_op_has_a_kernel(void **state) {
    (void)state;
    for (int op = 0; op < VN_OP_COUNT; op++)
        for (size_t i = 0; vn_cpu_row_at(i); i++)
            if (bound_by_the_program((vn_op)op) == (vn_cpu_row_at(i)->kernel[op] != NULL))
                fail_msg("%s on %s: kernel table", vn_op_get((vn_op)op)->name,
                         vn_cpu_row_at(i)->name);
}

static void every_kernel_agrees_with_the_reference(void **state) {
    (void)state;
    for (int op = 0; op < VN_OP_COUNT; op++) {
        if (bound_by_the_program((vn_op)op)) continue;
        if (!open_case[op]) fail_msg("%s has no test case", vn_op_get((vn_op)op)->name);
        int rounds = op == VN_OP_UNARY ? 4 * VN_FN_COUNT : ROUNDS;
        for (int round = 0; round < rounds; round++) {
            kernel_case c;
            open_case[op](&c, (vn_op)op, round);
            kernel_check(&c);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_a_kernel),
        cmocka_unit_test(every_kernel_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
