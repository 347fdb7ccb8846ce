#include "cpu/support_product.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "support/crew.h"
#include "support/reference.h"

#define GUARD 64 /* floats on either side of an array, all NaN; without them an edge could be read unseen */

static struct {
    uint64_t draws;
    double worst;
} seen;

int64_t product_draw(int64_t least, int64_t most) {
    const double u = vn_random_double(1, VN_STREAM_TEST, seen.draws++, 0);
    return least + (int64_t)(u * (double)(most - least + 1));
}

double product_worst(void) {
    return seen.worst;
}

void product_open(product_case *c, vn_op op, vn_attr attr, int inputs, const vn_shape *in, const vn_shape *out) {
    *c = (product_case){.node = {.op = op, .inputs = inputs, .attr = attr}};
    for (int i = 0; i < inputs; i++) {
        c->in[i].shape = in[i];
        c->node.in[i] = &c->in[i];
    }
    if (out) c->node.shape = *out;
    const char *why = vn_op_get(op)->shape(&c->node);
    if (why) fail_msg("%s: %s", vn_op_get(op)->name, why);
}

/* count floats between guards; freed with guarded_free. */
static float *guarded(int64_t count) {
    const size_t all = (size_t)count + 2 * GUARD;
    float *p = vn_alloc_aligned(all, sizeof(float));
    assert_non_null(p);
    memset(p, 0xff, all * sizeof(float));
    return p + GUARD;
}

static void guarded_free(float *p, int64_t count) {
    for (int i = 0; i < GUARD; i++)
        if (!isnan(p[-1 - i]) || !isnan(p[count + i])) fail_msg("written outside an array of %lld", (long long)count);
    vn_free(p - GUARD);
}

static double largest_error(int64_t count, const float *out, const double *truth) {
    double error = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const double e = fabs((double)out[i] - truth[i]);
        if (!(e <= error)) error = e; /* a NaN stays */
        largest = fmax(largest, fabs(truth[i]));
    }
    return largest > 0 ? error / largest : error;
}

static void describe(const vn_node *n, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s", vn_op_get(n->op)->name);
    for (int i = 0; i <= n->inputs && used < size; i++) {
        const vn_shape *s = i < n->inputs ? &n->in[i]->shape : &n->shape;
        used += (size_t)snprintf(text + used, size - used, i < n->inputs ? " [" : " -> [");
        for (int k = 0; k < s->rank && used < size; k++)
            used += (size_t)snprintf(text + used, size - used, k ? ",%lld" : "%lld", (long long)s->dim[k]);
        if (used < size) used += (size_t)snprintf(text + used, size - used, "]");
    }
}

static void run_once(const vn_backend *b, const vn_node *n, float *const *in, float *out, int threads) {
    const int64_t count = vn_shape_count(&n->shape);
    const size_t bytes = b->workspace[n->op] ? b->workspace[n->op](n, threads) : 0;
    char *work = vn_alloc_aligned(bytes + 64, 1);
    assert_non_null(work);
    memset(work, 0xff, bytes + 64);
    memset(out, 0xff, (size_t)count * sizeof(float));
    const vn_run run = {0};
    vn_kernel_args a = {.node = n, .out = out, .work = work, .crew = crew_of(threads), .run = &run};
    for (int i = 0; i < n->inputs; i++) a.in[i] = in[i];
    b->kernel[n->op](&a);
    for (size_t i = bytes; i < bytes + 64; i++)
        if (work[i] != (char)0xff) fail_msg("%s: written past the workspace", b->name);
    vn_free(work);
}

static void check_backend(const vn_backend *b, const vn_node *n, float *const *in, const double *truth,
                          double tolerance) {
    const int64_t count = vn_shape_count(&n->shape);
    float *first = guarded(count), *out = guarded(count);
    char what[256];
    describe(n, what, sizeof what);
    run_once(b, n, in, first, 1);
    const double error = largest_error(count, first, truth);
    if (!(error <= seen.worst)) seen.worst = error;
    if (!(error <= tolerance)) fail_msg("%s on %s: error %g above %g", what, b->name, error, tolerance);
    for (int threads = 2; threads <= CREW_MOST; threads++) {
        run_once(b, n, in, out, threads);
        if (memcmp(out, first, (size_t)count * sizeof(float)) != 0)
            fail_msg("%s on %s: %d threads change the result", what, b->name, threads);
    }
    guarded_free(first, count);
    guarded_free(out, count);
}

void product_check(product_case *c, double tolerance) {
    const vn_node *n = &c->node;
    float *in[VN_MAX_IN] = {0};
    double *exact[VN_MAX_IN] = {0};
    for (int i = 0; i < n->inputs; i++) {
        const int64_t count = vn_shape_count(&n->in[i]->shape);
        in[i] = guarded(count);
        exact[i] = vn_alloc((size_t)count, sizeof(double));
        assert_non_null(exact[i]);
        vn_random_normal(in[i], (size_t)count, 2, VN_STREAM_TEST, (uint64_t)i, 0);
        for (int64_t k = 0; k < count; k++) exact[i][k] = (double)in[i][k];
    }
    double *truth = vn_calloc((size_t)vn_shape_count(&n->shape), sizeof(double));
    assert_non_null(truth);
    const vn_run run = {0};
    ref_eval(n, (ref_in)exact, truth, &run);
    for (size_t i = 0; vn_cpu_backend_at(i); i++) check_backend(vn_cpu_backend_at(i), n, in, truth, tolerance);
    for (int i = 0; i < n->inputs; i++) {
        guarded_free(in[i], vn_shape_count(&n->in[i]->shape));
        vn_free(exact[i]);
    }
    vn_free(truth);
}
