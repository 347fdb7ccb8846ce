#include "cpu/support_kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/support_rounding.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/seed.h"
#include "support/thread_pool.h"
#include "support/reference.h"

#define GUARD 64 /* floats on either side of an array */

static const vn_run run_of_tests = {.seed = 11, .step = 5, .first_sample = 3};

static int64_t draw(uint64_t seed, uint64_t *draws, int64_t least, int64_t most) {
    const double u = vn_random_double(seed, VN_STREAM_TEST, (*draws)++, 0);
    return least + (int64_t)(u * (double)(most - least + 1));
}

int64_t kernel_draw(int64_t least, int64_t most) {
    static uint64_t draws;
    return draw(test_seed(7), &draws, least, most);
}

int64_t product_draw(int64_t least, int64_t most) {
    static uint64_t draws;
    return draw(1, &draws, least, most);
}

void kernel_open(kernel_case *c, vn_op op, vn_attr attr, int inputs, const vn_shape *in,
                 const vn_shape *out) {
    *c = (kernel_case){.node = {.op = op, .inputs = inputs, .attr = attr}};
    bool first_is_label = op == VN_OP_ONE_HOT || op == VN_OP_EMBEDDING_GRAD;
    bool second_is_label =
        op == VN_OP_EMBEDDING || op == VN_OP_CROSS_ENTROPY || op == VN_OP_CROSS_ENTROPY_GRAD;
    for (int i = 0; i < inputs; i++) {
        c->in[i].op = VN_OP_INPUT;
        c->in[i].shape = in[i];
        c->node.in[i] = &c->in[i];
        if ((i == 0 && first_is_label) || (i == 1 && second_is_label)) {
            c->in[i].dtype = VN_I32;
            c->fill[i] = KERNEL_LABELS;
        }
    }
    if (out) c->node.shape = *out;
    const char *why = vn_op_get(op)->shape(&c->node);
    if (why) fail_msg("%s: %s", vn_op_get(op)->name, why);
}

float *kernel_array_open(int64_t count) {
    size_t all = (size_t)count + 2 * GUARD;
    float *p = vn_alloc_aligned(all, sizeof(float));
    assert_non_null(p);
    memset(p, 0xff, all * sizeof(float));
    return p + GUARD;
}

void kernel_array_close(float *array, int64_t count) {
    for (int i = 0; i < GUARD; i++)
        if (!isnan(array[-1 - i]) || !isnan(array[count + i]))
            fail_msg("written outside an array of %lld", (long long)count);
    vn_free(array - GUARD);
}

void kernel_run(const vn_device_row *b, const vn_node *n, float *const *in, float *out, int threads,
                const vn_run *run) {
    size_t bytes = b->workspace[n->op] ? b->workspace[n->op](n, threads) : 0;
    unsigned char *work = vn_alloc_aligned(bytes + 64, 1);
    assert_non_null(work);
    memset(work, 0xff, bytes + 64);
    vn_kernel_args a = {.node = n, .out = out, .work = work, .pool = crew_of(threads), .run = run};
    for (int i = 0; i < n->inputs; i++) a.in[i] = in[i];
    b->kernel[n->op](&a);
    for (size_t i = bytes; i < bytes + 64; i++)
        if (work[i] != 0xff)
            fail_msg("%s on %s: written past the workspace", vn_op_get(n->op)->name, b->name);
    vn_free(work);
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Numbers of any type as floats; a new array. */
static float *floats_of(const vn_node *n, const void *numbers) {
    float *x = vn_alloc((size_t)vn_shape_count(&n->shape), sizeof *x);
    assert_non_null(x);
    vn_array_read_f32(&(vn_array){.dtype = n->dtype, .shape = n->shape, .data = numbers}, x);
    return x;
}

/* Random bits, but no NaN; of floats of 32 bits half have a size that those of 16 have too. */
static void fill_bits(const vn_node *n, float *x, double *exact) {
    const size_t size = vn_dtype_size(n->dtype);
    const uint32_t exponent = n->dtype == VN_F16    ? 0x7C00
                              : n->dtype == VN_BF16 ? 0x7F80
                                                    : 0x7F800000;
    for (int64_t k = 0; k < vn_shape_count(&n->shape); k++) {
        uint32_t bits = (uint32_t)kernel_draw(0, UINT32_MAX);
        if (size == 4 && bits & 1)
            bits = (bits & 0x807FFFFF) | (uint32_t)kernel_draw(97, 144) << 23;
        if ((bits & exponent) == exponent) bits &= ~(exponent >> 1 & exponent);
        memcpy((char *)x + (size_t)k * size, &bits, size);
    }
    float *shown = floats_of(n, x);
    for (int64_t k = 0; k < vn_shape_count(&n->shape); k++) exact[k] = (double)shown[k];
    vn_free(shown);
}

static void fill_input(const kernel_case *c, int i, float *x, double *exact) {
    int64_t count = vn_shape_count(&c->in[i].shape);
    int32_t *label = (int32_t *)(void *)x;
    if (c->fill[i] == KERNEL_BITS) {
        fill_bits(&c->in[i], x, exact);
        return;
    }
    uint64_t sample = c->fill[i] == KERNEL_SAME ? (uint64_t)i : (uint64_t)kernel_draw(0, 1 << 20);
    if (c->fill[i] == KERNEL_NORMAL || c->fill[i] == KERNEL_SAME)
        vn_random_normal(x, (size_t)count, test_seed(2), VN_STREAM_TEST, sample, 0);
    if (c->fill[i] == KERNEL_POSITIVE)
        vn_random_uniform(x, (size_t)count, test_seed(2), VN_STREAM_TEST, sample, 0);
    for (int64_t k = 0; k < count; k++) {
        if (c->fill[i] == KERNEL_POSITIVE) x[k] = 0.2f + 3.8f * x[k];
        if (i == 0 && c->offset != 0.0f) x[k] += c->offset;
        if (c->fill[i] == KERNEL_LABELS) label[k] = (int32_t)kernel_draw(0, c->labels - 1);
        if (c->fill[i] == KERNEL_MASK) x[k] = kernel_draw(0, 2) ? 0 : -INFINITY;
        exact[k] = c->fill[i] == KERNEL_LABELS ? label[k] : (double)x[k];
    }
}

/* The op; of functions which one and the order of its derivative. */
static const char *name_of(const vn_node *n) {
    static char name[64];
    if (n->op != VN_OP_UNARY && n->op != VN_OP_UNARY_GRAD) return vn_op_get(n->op)->name;
    snprintf(name, sizeof name, "%s of function %d, order %d", vn_op_get(n->op)->name,
             (int)n->attr.unary.fn, n->attr.unary.order);
    return name;
}

static void describe(const vn_node *n, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s", name_of(n));
    for (int i = 0; i <= n->inputs && used < size; i++) {
        const vn_shape *s = i < n->inputs ? &n->in[i]->shape : &n->shape;
        used += (size_t)snprintf(text + used, size - used, i < n->inputs ? " [" : " -> [");
        for (int k = 0; k < s->rank && used < size; k++)
            used += (size_t)snprintf(text + used, size - used, k ? ",%lld" : "%lld",
                                     (long long)s->dim[k]);
        if (used < size) used += (size_t)snprintf(text + used, size - used, "]");
    }
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* Of attention in bf16: 5 operands, 2^-9 / sqrt(3) each, three times. */
#define ATTENTION_ALLOWED (3 * sqrt(5.0 / 3) * 0x1p-9)

/* Times the errors of rounding_errors: no kernel set comes nearer than half of it. */
#define ALLOWED 2

/* In errors of rounding_errors: of the element where it is largest, *at; NaN for one that is. */
static double largest_error(int64_t count, const float *out, const double *truth,
                            const double *error, int64_t *at) {
    double worst = 0;
    *at = 0;
    for (int64_t i = 0; i < count; i++) {
        if ((double)out[i] == truth[i]) continue; /* infinities too */
        const double off = fabs((double)out[i] - truth[i]) / (0x1p-24 * error[i]);
        if (off <= worst) continue; /* a NaN is not */
        worst = off;
        *at = i;
        if (isnan(worst)) break;
    }
    return worst;
}

/* The result in place of input i has the same bits. */
static void check_in_place(const vn_device_row *b, const vn_node *n, float *const *in, int i,
                           const float *expected, const char *what) {
    int64_t count = vn_shape_count(&n->shape);
    float *shared[VN_MAX_IN], *out = kernel_array_open(count);
    memcpy(shared, in, sizeof shared);
    memcpy(out, in[i], (size_t)count * sizeof(float));
    shared[i] = out;
    kernel_run(b, n, shared, out, 2, &run_of_tests);
    if (memcmp(out, expected, (size_t)count * sizeof(float)) != 0)
        fail_msg("%s on %s: in place of input %d the result differs", what, b->name, i);
    kernel_array_close(out, count);
}

static void check_row(const vn_device_row *b, const vn_node *n, float *const *in,
                      const double *truth, const double *error) {
    int64_t count = vn_shape_count(&n->shape);
    float *first = kernel_array_open(count), *out = kernel_array_open(count);
    char what[256];
    describe(n, what, sizeof what);
    if (b->exact) snprintf(what + strlen(what), sizeof what - strlen(what), " by %s", b->unit);
    kernel_run(b, n, in, first, 1, &run_of_tests);
    int64_t at;
    float *shown = floats_of(n, first);
    const double off = largest_error(count, shown, truth, error, &at);
    if (!(off <= ALLOWED))
        print_error("%s on %s: [%lld] is %.9g, not %.9g, with an error of %.3g\n", what, b->name,
                    (long long)at, (double)shown[at], truth[at], 0x1p-24 * error[at]);
    kernels = b;
    expect_below(name_of(n), off, ALLOWED);
    kernels = NULL;
    vn_free(shown);
    for (int threads = 2; threads <= MAX_POOL; threads++) {
        memset(out, 0xff, (size_t)count * sizeof(float));
        kernel_run(b, n, in, out, threads, &run_of_tests);
        if (memcmp(out, first, (size_t)count * sizeof(float)) != 0)
            fail_msg("%s on %s: %d threads change the result", what, b->name, threads);
    }
    for (int i = 0; i < n->inputs; i++)
        if (vn_op_get(n->op)->in_place >> i & 1 && vn_shape_equal(&n->in[i]->shape, &n->shape))
            check_in_place(b, n, in, i, first, what);
    kernel_array_close(first, count);
    kernel_array_close(out, count);
}

/* ---- products of bfloat16 -------------------------------------------------------------------- */

const vn_device_row *kernel_bf16_row(size_t i) {
    const vn_device_row *exact, *row;
    bool is_faster;
    for (size_t k = 0; (exact = vn_cpu_row_at(k)); k++)
        for (size_t j = 0; (row = vn_cpu_row_bf16(exact, j, &is_faster)); j++)
            if (i-- == 0) return row;
    return NULL;
}

/* Whether the kernels of bf16 round the inputs of this node: products of few columns are left to
 * float32. */
static bool is_rounded(const vn_node *n) {
    return (n->op == VN_OP_MATMUL || n->op == VN_OP_LINEAR) && n->shape.dim[n->shape.rank - 1] > 4;
}

/* To 8 bits, ties to even: in double, by another way than the kernels'. */
static double round_to_bf16(double x) {
    int exponent;
    const double fraction = frexp(x, &exponent);
    return x == 0 ? x : ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8);
}

/* Of attention, whose probabilities are rounded too: against the reference of all digits, in the
 * root of the mean square. Each of some five operands that a result comes from is off by 2^-9 at
 * most, of which the mean square is a third, and what scores are off by, which grows with their
 * size, so are the probabilities. */
static void check_attention(const vn_device_row *b, const vn_node *n, float *const *in,
                            const double *truth) {
    const int64_t count = vn_shape_count(&n->shape);
    float *first = kernel_array_open(count), *out = kernel_array_open(count);
    const double width = (double)n->in[0]->shape.dim[2] / n->attr.attention.heads;
    const double scores = n->attr.attention.scale * sqrt(width); /* of standard normal inputs */
    double square = 0, off = 0;
    kernel_run(b, n, in, first, 1, &run_of_tests);
    for (int64_t i = 0; i < count; i++) {
        square += truth[i] * truth[i];
        off += ((double)first[i] - truth[i]) * ((double)first[i] - truth[i]);
    }
    kernels = b;
    if (square > 0)
        expect_below_as(sqrt(off / square), ATTENTION_ALLOWED * (1 + scores), "%s in bf16",
                        name_of(n));
    if (count > 1000) assert_true(off > square * 0x1p-24); /* they are rounded */
    kernels = NULL;
    for (int threads = 2; threads <= MAX_POOL; threads++) {
        kernel_run(b, n, in, out, threads, &run_of_tests);
        assert_memory_equal(first, out, (size_t)count * sizeof(float));
    }
    kernel_array_close(first, count);
    kernel_array_close(out, count);
}

/* The rows of bf16 against the reference of what they multiply. */
static void check_rounded(const vn_node *n, float *const *in, double *const *exact, double *truth,
                          double *error) {
    double *rounded[VN_MAX_IN] = {0};
    for (int i = 0; i < n->inputs; i++) {
        const int64_t count = vn_shape_count(&n->in[i]->shape);
        rounded[i] = vn_alloc((size_t)count, sizeof(double));
        assert_non_null(rounded[i]);
        for (int64_t k = 0; k < count; k++)
            rounded[i][k] = is_rounded(n) && i < 2 ? round_to_bf16(exact[i][k]) : exact[i][k];
    }
    memset(truth, 0, (size_t)vn_shape_count(&n->shape) * sizeof(double));
    memset(error, 0, (size_t)vn_shape_count(&n->shape) * sizeof(double));
    ref_eval(n, (ref_in)rounded, truth, &run_of_tests);
    rounding_errors(n, (ref_in)rounded, error);
    for (size_t i = 0; kernel_bf16_row(i); i++) check_row(kernel_bf16_row(i), n, in, truth, error);
    for (int i = 0; i < n->inputs; i++) vn_free(rounded[i]);
}

void kernel_check(kernel_case *c) {
    const vn_node *n = &c->node;
    float *in[VN_MAX_IN] = {0};
    double *exact[VN_MAX_IN] = {0};
    for (int i = 0; i < n->inputs; i++) {
        int64_t count = vn_shape_count(&n->in[i]->shape);
        in[i] = kernel_array_open(count);
        exact[i] = vn_alloc((size_t)count, sizeof(double));
        assert_non_null(exact[i]);
        fill_input(c, i, in[i], exact[i]);
    }
    double *truth = vn_calloc((size_t)vn_shape_count(&n->shape), sizeof(double));
    double *error = vn_calloc((size_t)vn_shape_count(&n->shape), sizeof(double));
    assert_non_null(truth);
    assert_non_null(error);
    ref_eval(n, (ref_in)exact, truth, &run_of_tests);
    rounding_errors(n, (ref_in)exact, error);
    for (size_t i = 0; vn_cpu_row_at(i); i++) check_row(vn_cpu_row_at(i), n, in, truth, error);
    if (n->op == VN_OP_ATTENTION || n->op == VN_OP_ATTENTION_GRAD)
        for (size_t k = 0; kernel_bf16_row(k); k++)
            check_attention(kernel_bf16_row(k), n, in, truth);
    if (n->op == VN_OP_MATMUL || n->op == VN_OP_LINEAR) check_rounded(n, in, exact, truth, error);
    for (int i = 0; i < n->inputs; i++) {
        int64_t count = vn_shape_count(&n->in[i]->shape);
        float *shown = floats_of(n->in[i], in[i]);
        for (int64_t k = 0; k < count && c->fill[i] != KERNEL_LABELS; k++)
            if ((double)shown[k] != exact[i][k]) fail_msg("input %d was written", i);
        vn_free(shown);
        kernel_array_close(in[i], count);
        vn_free(exact[i]);
    }
    vn_free(truth);
    vn_free(error);
}

vn_shape product_check(vn_op op, vn_attr attr, int inputs, const vn_shape *in,
                       const vn_shape *out) {
    kernel_case c;
    kernel_open(&c, op, attr, inputs, in, out);
    for (int i = 0; i < inputs; i++) c.fill[i] = KERNEL_SAME;
    kernel_check(&c);
    return c.node.shape;
}
