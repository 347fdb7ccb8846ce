/* conv_vs_onednn.c - vane's convolutions and matrix products beside oneDNN's and OpenBLAS's, by
 * turns in one run.
 *
 * Not part of the build, because vane needs neither library. With vane built in DIR (apt:
 * libdnnl-dev libopenblas-dev):
 *
 *   cc -std=c17 -D_DEFAULT_SOURCE -O2 -pthread -Iinclude -Isrc bench/conv_vs_onednn.c \
 *      DIR/libvane.a -ldnnl -lopenblas \
 *      $(pkg-config --libs jansson libzip libarchive libpng libjpeg libwebp libwebpdemux) \
 *      $(pkg-config --libs libutf8proc zlib) \
 *      -lm \
 *      -o conv_vs_onednn
 *   OMP_WAIT_POLICY=passive ./conv_vs_onednn [ROUNDS [THREADS [PART-OF-A-NAME]]]
 *
 * In each round every contender runs once, so that what else the machine does meets all alike.
 * Rates are GF/s by the fastest and by the median round; the ratio is the library's time over
 * vane's, so above 1 vane is faster. oneDNN: channels last, weights in the layout it likes best,
 * packed before the clock starts (vane packs inside). */
#include <cblas.h>
#include <dnnl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cpu/cpu.h"

void openblas_set_num_threads(int threads); /* cblas.h of other BLASes lacks it */

#define MAX_ROUNDS 201
#define MAX_RIVALS 4
#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != dnnl_success) {                                                              \
            fprintf(stderr, "oneDNN failed: %s\n", #call);                                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* One who computes the case: a name, what to call, and the seconds of each round. */
typedef struct rival {
    const char *name;
    void (*run)(void *state);
    void *state;
    double seconds[MAX_ROUNDS];
} rival;

static struct {
    int rounds, threads;
    vn_thread_pool *pool;
    const char *only;
    double log_ratio[2]; /* of vane's kernel sets to the library: sum of logarithms */
    double worst[2];
    int cases;
} run = {.rounds = 21, .threads = 2, .worst = {INFINITY, INFINITY}};

static float *numbers(int64_t count) {
    float *p = vn_alloc_aligned((size_t)count, sizeof(float));
    if (!p) exit(1);
    vn_random_uniform(p, (size_t)count, 1, VN_STREAM_TEST, 0, 0);
    return p;
}

/* ---- vane ------------------------------------------------------------------------------------ */

typedef struct vane_state {
    const vn_device_row *row;
    vn_kernel_args args;
} vane_state;

static void run_vane(void *state) {
    const vane_state *s = state;
    s->row->kernel[s->args.node->op](&s->args);
}

static vane_state vane_open(const char *set, const vn_node *node, float *const *in, float *out) {
    vn_err err;
    vane_state s = {.row = vn_cpu_row(set, &err)};
    if (!s.row) return s;
    const size_t bytes =
        s.row->workspace[node->op] ? s.row->workspace[node->op](node, run.threads) : 0;
    s.args = (vn_kernel_args){
        .node = node, .out = out, .work = vn_alloc_aligned(bytes, 1), .pool = run.pool};
    for (int i = 0; i < node->inputs; i++) s.args.in[i] = in[i];
    return s;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* With one thread the processor's time, which a busy machine does not stretch. */
static double now(void) {
    struct timespec t;
    if (run.threads > 1) return vn_now();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void compete(const char *name, double flops, rival *rivals, int count) {
    for (int r = -1; r < run.rounds; r++) /* the first does not count */
        for (int i = 0; i < count; i++) {
            usleep(2000); /* threads of the last rival stop spinning */
            const double begin = now();
            rivals[i].run(rivals[i].state);
            if (r >= 0) rivals[i].seconds[r] = now() - begin;
        }
    printf("%-34s", name);
    for (int i = 0; i < count; i++) {
        qsort(rivals[i].seconds, (size_t)run.rounds, sizeof(double), by_size);
        printf(" | %s %6.1f %6.1f", rivals[i].name, flops / rivals[i].seconds[0] * 1e-9,
               flops / rivals[i].seconds[run.rounds / 2] * 1e-9);
    }
    const double library = rivals[count - 1].seconds[0];
    for (int i = 0; i < count - 1; i++) {
        const double ratio = library / rivals[i].seconds[0];
        printf(" | %.2f %.2f", ratio,
               rivals[count - 1].seconds[run.rounds / 2] / rivals[i].seconds[run.rounds / 2]);
        run.log_ratio[i] += log(ratio);
        if (ratio < run.worst[i]) run.worst[i] = ratio;
    }
    run.cases++;
    printf("\n");
    fflush(stdout);
}

/* Both of vane's fast kernel sets, then the library. */
static void compete_vane(const char *name, double flops, const vn_node *node, float *const *in,
                         float *out, void (*library)(void *), void *state,
                         const char *library_name) {
    static const char *sets[] = {"avx512", "avx2"};
    rival rivals[MAX_RIVALS];
    vane_state vane[2];
    int count = 0;
    for (int i = 0; i < 2; i++) {
        vane[count] = vane_open(sets[i], node, in, out);
        if (vane[count].row) {
            rivals[count] = (rival){.name = sets[i], .run = run_vane, .state = &vane[count]};
            count++;
        }
    }
    rivals[count++] = (rival){.name = library_name, .run = library, .state = state};
    compete(name, flops, rivals, count);
    for (int i = 0; i < count - 1; i++) vn_free(vane[i].args.work);
}

/* ---- convolutions ---------------------------------------------------------------------------- */

typedef struct conv_case {
    int64_t inputs, outputs, size, kernel;
    int stride;
} conv_case;

typedef struct onednn_state {
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[4];
    int count;
} onednn_state;

static void run_onednn(void *state) {
    onednn_state *s = state;
    CHECK(dnnl_primitive_execute(s->primitive, s->stream, s->count, s->args));
    CHECK(dnnl_stream_wait(s->stream));
}

static dnnl_memory_desc_t describe(int rank, const dnnl_dim_t *dims, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t d;
    CHECK(dnnl_memory_desc_init_by_tag(&d, rank, dims, dnnl_f32, tag));
    return d;
}

static void add_arg(onednn_state *s, dnnl_engine_t engine, int arg, const_dnnl_primitive_desc_t pd,
                    dnnl_query_t what) {
    dnnl_memory_t memory;
    CHECK(dnnl_memory_create(&memory, dnnl_primitive_desc_query_md(pd, what, 0), engine,
                             DNNL_MEMORY_ALLOCATE));
    const size_t bytes = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, what, 0));
    void *data;
    CHECK(dnnl_memory_get_data_handle(memory, &data));
    vn_random_uniform(data, bytes / sizeof(float), 2, VN_STREAM_TEST, 0, 0);
    s->args[s->count++] = (dnnl_exec_arg_t){arg, memory};
}

static onednn_state open_onednn(dnnl_engine_t engine, const conv_case *c, int64_t batch, vn_op op) {
    const int64_t pad = c->kernel / 2, out = (c->size + 2 * pad - c->kernel) / c->stride + 1;
    const dnnl_dims_t x = {batch, c->inputs, c->size, c->size},
                      w = {c->outputs, c->inputs, c->kernel, c->kernel};
    const dnnl_dims_t y = {batch, c->outputs, out, out}, b = {c->outputs};
    const dnnl_dims_t strides = {c->stride, c->stride}, pads = {pad, pad};
    const dnnl_memory_desc_t xd = describe(4, x, dnnl_nhwc), yd = describe(4, y, dnnl_nhwc),
                             wd = describe(4, w, dnnl_format_tag_any), bd = describe(1, b, dnnl_a);
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t pd, hint = NULL;
    CHECK(dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, dnnl_convolution_direct,
                                             &xd, &wd, &bd, &yd, strides, pads, pads));
    CHECK(dnnl_primitive_desc_create(&hint, &d, NULL, engine, NULL));
    if (op == VN_OP_CONV2D_GRAD_X)
        CHECK(dnnl_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, &xd, &wd, &yd,
                                                       strides, pads, pads));
    if (op == VN_OP_CONV2D_GRAD_W)
        CHECK(dnnl_convolution_backward_weights_desc_init(&d, dnnl_convolution_direct, &xd, &wd,
                                                          NULL, &yd, strides, pads, pads));
    CHECK(dnnl_primitive_desc_create(&pd, &d, NULL, engine, op == VN_OP_CONV2D ? NULL : hint));
    onednn_state s = {0};
    CHECK(dnnl_stream_create(&s.stream, engine, dnnl_stream_default_flags));
    CHECK(dnnl_primitive_create(&s.primitive, pd));
    if (op == VN_OP_CONV2D) {
        add_arg(&s, engine, DNNL_ARG_SRC, pd, dnnl_query_src_md);
        add_arg(&s, engine, DNNL_ARG_WEIGHTS, pd, dnnl_query_weights_md);
        add_arg(&s, engine, DNNL_ARG_DST, pd, dnnl_query_dst_md);
        dnnl_memory_t bias;
        CHECK(dnnl_memory_create(&bias, &bd, engine, DNNL_MEMORY_ALLOCATE));
        s.args[s.count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, bias};
    } else if (op == VN_OP_CONV2D_GRAD_X) {
        add_arg(&s, engine, DNNL_ARG_DIFF_DST, pd, dnnl_query_diff_dst_md);
        add_arg(&s, engine, DNNL_ARG_WEIGHTS, pd, dnnl_query_weights_md);
        add_arg(&s, engine, DNNL_ARG_DIFF_SRC, pd, dnnl_query_diff_src_md);
    } else {
        add_arg(&s, engine, DNNL_ARG_SRC, pd, dnnl_query_src_md);
        add_arg(&s, engine, DNNL_ARG_DIFF_DST, pd, dnnl_query_diff_dst_md);
        add_arg(&s, engine, DNNL_ARG_DIFF_WEIGHTS, pd, dnnl_query_diff_weights_md);
    }
    CHECK(dnnl_primitive_desc_destroy(pd));
    CHECK(dnnl_primitive_desc_destroy(hint));
    return s;
}

static void close_onednn(onednn_state *s) {
    for (int i = 0; i < s->count; i++) CHECK(dnnl_memory_destroy(s->args[i].memory));
    CHECK(dnnl_primitive_destroy(s->primitive));
    CHECK(dnnl_stream_destroy(s->stream));
}

static void bench_conv(dnnl_engine_t engine, const conv_case *c, vn_op op) {
    static const char *verbs[] = {"forward", "grad_x", "grad_w"};
    char name[64];
    const int64_t batch = 64, pad = c->kernel / 2,
                  out = (c->size + 2 * pad - c->kernel) / c->stride + 1;
    snprintf(name, sizeof name, "%s %dx%d%s %d->%d at %d", verbs[op - VN_OP_CONV2D], (int)c->kernel,
             (int)c->kernel, c->stride > 1 ? "/2" : "", (int)c->inputs, (int)c->outputs,
             (int)c->size);
    if (run.only && !strstr(name, run.only)) return;
    vn_node x = {.shape = VN_SHAPE(batch, c->size, c->size, c->inputs)},
            y = {.shape = VN_SHAPE(batch, out, out, c->outputs)};
    vn_node w = {.shape = VN_SHAPE(c->kernel, c->kernel, c->inputs, c->outputs)},
            b = {.shape = VN_SHAPE(c->outputs)};
    vn_node node = {.op = op,
                    .inputs = op == VN_OP_CONV2D ? 3 : 2,
                    .attr = {.conv = {c->stride, {(int)pad, (int)pad, (int)pad, (int)pad}}}};
    float *xs = numbers(vn_shape_count(&x.shape)), *ys = numbers(vn_shape_count(&y.shape)),
          *ws = numbers(vn_shape_count(&w.shape)), *bs = numbers(c->outputs), *in[3], *to;
    if (op == VN_OP_CONV2D) {
        node.shape = y.shape, node.in[0] = &x, node.in[1] = &w, node.in[2] = &b;
        in[0] = xs, in[1] = ws, in[2] = bs, to = ys;
    } else if (op == VN_OP_CONV2D_GRAD_X) {
        node.shape = x.shape, node.in[0] = &y, node.in[1] = &w;
        in[0] = ys, in[1] = ws, in[2] = NULL, to = xs;
    } else {
        node.shape = w.shape, node.in[0] = &x, node.in[1] = &y;
        in[0] = xs, in[1] = ys, in[2] = NULL, to = ws;
    }
    onednn_state library = open_onednn(engine, c, batch, op);
    const double flops =
        2.0 * (double)vn_shape_count(&y.shape) * (double)(c->kernel * c->kernel * c->inputs);
    compete_vane(name, flops, &node, in, to, run_onednn, &library, "onednn");
    close_onednn(&library);
    vn_free(xs);
    vn_free(ys);
    vn_free(ws);
    vn_free(bs);
}

/* ---- matrix products ------------------------------------------------------------------------- */

typedef struct blas_state {
    bool ta, tb;
    int m, n, k;
    const float *a, *b;
    float *out;
} blas_state;

static void run_blas(void *state) {
    const blas_state *s = state;
    cblas_sgemm(CblasRowMajor, s->ta ? CblasTrans : CblasNoTrans, s->tb ? CblasTrans : CblasNoTrans,
                s->m, s->n, s->k, 1, s->a, s->ta ? s->m : s->k, s->b, s->tb ? s->k : s->n, 0,
                s->out, s->n);
}

static void bench_product(int m, int n, int k, bool ta, bool tb) {
    char name[64];
    snprintf(name, sizeof name, "matmul %c%c m %d n %d k %d", ta ? 't' : 'n', tb ? 't' : 'n', m, n,
             k);
    if (run.only && !strstr(name, run.only)) return;
    vn_node a = {.shape = ta ? VN_SHAPE(k, m) : VN_SHAPE(m, k)},
            b = {.shape = tb ? VN_SHAPE(n, k) : VN_SHAPE(k, n)};
    const vn_node node = {.op = VN_OP_MATMUL,
                          .inputs = 2,
                          .in = {&a, &b},
                          .shape = VN_SHAPE(m, n),
                          .attr = {.matmul = {ta, tb}}};
    float *in[2] = {numbers((int64_t)m * k), numbers((int64_t)n * k)},
          *out = numbers((int64_t)m * n);
    blas_state library = {ta, tb, m, n, k, in[0], in[1], out};
    compete_vane(name, 2.0 * m * n * k, &node, in, out, run_blas, &library, "openblas");
    vn_free(in[0]);
    vn_free(in[1]);
    vn_free(out);
}

/* x w^T, dy w and dy^T x of a linear layer. */
static void bench_linear(int rows, int inputs, int outputs) {
    bench_product(rows, outputs, inputs, false, true);
    bench_product(rows, inputs, outputs, false, false);
    bench_product(outputs, inputs, rows, true, false);
}

static void print_total(const char *what) {
    if (run.cases > 0)
        printf("%s: library's time over vane's, geometric mean %.3f %.3f, least %.2f %.2f\n\n",
               what, exp(run.log_ratio[0] / run.cases), exp(run.log_ratio[1] / run.cases),
               run.worst[0], run.worst[1]);
    run.log_ratio[0] = run.log_ratio[1] = 0;
    run.worst[0] = run.worst[1] = INFINITY;
    run.cases = 0;
}

int main(int argc, char **argv) {
    static const conv_case cases[] = {
        {32, 32, 28, 3, 1},  {64, 32, 28, 3, 1},   {96, 32, 28, 3, 1},   {64, 64, 14, 3, 1},
        {128, 64, 14, 3, 1}, {128, 128, 14, 3, 1}, {256, 128, 14, 3, 1}, {128, 128, 7, 3, 1},
        {256, 128, 7, 3, 1}, {1, 32, 28, 3, 1},    {32, 1, 28, 3, 1},    {32, 32, 28, 3, 2},
        {64, 32, 28, 1, 1},  {128, 64, 14, 1, 1},
    };
    if (argc > 1) run.rounds = atoi(argv[1]) | 1;
    if (argc > 2) run.threads = atoi(argv[2]);
    if (argc > 3) run.only = argv[3];
    if (run.rounds > MAX_ROUNDS) run.rounds = MAX_ROUNDS;
    dnnl_engine_t engine;
    CHECK(dnnl_engine_create(&engine, dnnl_cpu, 0));
    if (vn_thread_pool_open(run.threads, &run.pool, NULL) != VN_OK) return 1;
    openblas_set_num_threads(run.threads);
    printf("GF/s best and median of %d rounds, %d threads; then the library's time over vane's, by "
           "best and by median\n",
           run.rounds, run.threads);
    bench_product(1920, 1920, 1920, false, false);
    print_total("largest product");
    for (vn_op op = VN_OP_CONV2D; op <= VN_OP_CONV2D_GRAD_W; op++) {
        for (size_t i = 0; i < VN_COUNT(cases); i++) bench_conv(engine, &cases[i], op);
        print_total("convolutions");
    }
    bench_linear(12544, 128, 128);
    bench_linear(12544, 128, 512);
    bench_linear(12544, 512, 128);
    bench_linear(64, 128, 512);
    bench_linear(1, 128, 512);
    bench_product(49, 49, 32, false, true);
    print_total("matrix products");
    CHECK(dnnl_engine_destroy(engine));
    vn_thread_pool_close(&run.pool);
    return 0;
}
