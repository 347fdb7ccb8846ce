/* kernels.c - pointwise, norm, reduction and movement kernels against memory copies of as many
 * bytes, by turns in one run.
 *
 * Not part of the build. With vane built in DIR:
 *
 *   cc -std=c17 -D_DEFAULT_SOURCE -O2 -pthread -Iinclude -Isrc bench/kernels.c DIR/libvane.a \
 *      $(pkg-config --libs jansson libzip libarchive libpng libjpeg libwebp libwebpdemux) \
 *      $(pkg-config --libs libutf8proc zlib) \
 *      -lm -o kernels
 *   ./kernels [BACKEND [THREADS [ROUNDS [PART-OF-A-NAME]]]]
 *
 * GB/s counts each input and the output once, whatever a kernel reads again; the copy reads and
 * writes as many bytes in all, with memcpy on as many threads. "cached" works on the same arrays
 * each round, "cold" on others in turn, more than a cache holds, as most do in a network. Times are
 * the fastest of the rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"

#define MAX_BYTES ((size_t)128 << 20) /* of one array */

typedef struct bench_case {
    const char *name;
    vn_op op;
    vn_attr attr;
    int inputs;
    vn_shape in[VN_MAX_IN], out;
} bench_case;

#define UNARY(FN, ORDER)                                                                           \
    {                                                                                              \
        .unary = { VN_FN_##FN, ORDER }                                                             \
    }
#define GROUPS(G, ACT)                                                                             \
    {                                                                                              \
        .norm = { G, 1e-5, VN_FN_##ACT }                                                           \
    }
#define IMAGE                                                                                      \
    {                                                                                              \
        4, {                                                                                       \
            64, 28, 28, 32                                                                         \
        }                                                                                          \
    }
#define SMALL                                                                                      \
    {                                                                                              \
        4, {                                                                                       \
            64, 14, 14, 128                                                                        \
        }                                                                                          \
    }
#define TOKENS                                                                                     \
    {                                                                                              \
        2, {                                                                                       \
            16384, 128                                                                             \
        }                                                                                          \
    }
#define STATS(N, G)                                                                                \
    {                                                                                              \
        3, {                                                                                       \
            N, G, 2                                                                                \
        }                                                                                          \
    }
#define C(N)                                                                                       \
    {                                                                                              \
        1, {                                                                                       \
            N                                                                                      \
        }                                                                                          \
    }

/* clang-format off */
static const bench_case cases[] = {
    {"add same",             VN_OP_ADD, {{0}}, 2, {IMAGE, IMAGE}, IMAGE},
    {"add bias",             VN_OP_ADD, {{0}}, 2, {IMAGE, C(32)}, IMAGE},
    {"add per sample",       VN_OP_ADD, {{0}}, 2, {IMAGE, {4, {64, 1, 1, 32}}}, IMAGE},
    {"affine",               VN_OP_AFFINE, {.affine = {2, 1}}, 1, {IMAGE}, IMAGE},
    {"relu",                 VN_OP_UNARY, UNARY(RELU, 0), 1, {IMAGE}, IMAGE},
    {"silu",                 VN_OP_UNARY, UNARY(SILU, 0), 1, {IMAGE}, IMAGE},
    {"silu grad",            VN_OP_UNARY_GRAD, UNARY(SILU, 0), 2, {IMAGE, IMAGE}, IMAGE},
    {"gelu",                 VN_OP_UNARY, UNARY(GELU, 0), 1, {IMAGE}, IMAGE},
    {"gelu grad",            VN_OP_UNARY_GRAD, UNARY(GELU, 0), 2, {IMAGE, IMAGE}, IMAGE},
    {"gelu tanh",            VN_OP_UNARY, UNARY(GELU_TANH, 0), 1, {IMAGE}, IMAGE},
    {"gelu tanh grad",       VN_OP_UNARY_GRAD, UNARY(GELU_TANH, 0), 2, {IMAGE, IMAGE}, IMAGE},
    {"tanh",                 VN_OP_UNARY, UNARY(TANH, 0), 1, {IMAGE}, IMAGE},
    {"sin",                  VN_OP_UNARY, UNARY(SIN, 0), 1, {IMAGE}, IMAGE},
    {"group norm stats",     VN_OP_NORM_STATS, GROUPS(8, IDENTITY), 1, {IMAGE}, STATS(64, 8)},
    {"group norm",           VN_OP_NORM, GROUPS(8, IDENTITY), 4,
     {IMAGE, STATS(64, 8), C(32), C(32)}, IMAGE},
    {"group norm+silu",      VN_OP_NORM, GROUPS(8, SILU), 4, {IMAGE, STATS(64, 8), C(32), C(32)},
     IMAGE},
    {"group norm dx",        VN_OP_NORM_GRAD_X, GROUPS(8, IDENTITY), 5,
     {IMAGE, STATS(64, 8), IMAGE, C(32), C(32)}, IMAGE},
    {"group norm+silu dx",   VN_OP_NORM_GRAD_X, GROUPS(8, SILU), 5,
     {IMAGE, STATS(64, 8), IMAGE, C(32), C(32)}, IMAGE},
    {"group norm+silu dg",   VN_OP_NORM_GRAD_AFFINE, GROUPS(8, SILU), 5,
     {IMAGE, STATS(64, 8), IMAGE, C(32), C(32)}, {2, {2, 32}}},
    {"gn stats 14x14x128",   VN_OP_NORM_STATS, GROUPS(32, IDENTITY), 1, {SMALL}, STATS(64, 32)},
    {"gn+silu 14x14x128",    VN_OP_NORM, GROUPS(32, SILU), 4,
     {SMALL, STATS(64, 32), C(128), C(128)}, SMALL},
    {"gn+silu dx 14x14x128", VN_OP_NORM_GRAD_X, GROUPS(32, SILU), 5,
     {SMALL, STATS(64, 32), SMALL, C(128), C(128)}, SMALL},
    {"gn+silu dg 14x14x128", VN_OP_NORM_GRAD_AFFINE, GROUPS(32, SILU), 5,
     {SMALL, STATS(64, 32), SMALL, C(128), C(128)}, {2, {2, 128}}},
    {"layer norm stats",     VN_OP_NORM_STATS, GROUPS(1, IDENTITY), 1, {TOKENS}, STATS(16384, 1)},
    {"layer norm",           VN_OP_NORM, GROUPS(1, IDENTITY), 4,
     {TOKENS, STATS(16384, 1), C(128), C(128)}, TOKENS},
    {"layer norm dx",        VN_OP_NORM_GRAD_X, GROUPS(1, IDENTITY), 5,
     {TOKENS, STATS(16384, 1), TOKENS, C(128), C(128)}, TOKENS},
    {"layer norm dg",        VN_OP_NORM_GRAD_AFFINE, GROUPS(1, IDENTITY), 5,
     {TOKENS, STATS(16384, 1), TOKENS, C(128), C(128)}, {2, {2, 128}}},
    {"sum to bias",          VN_OP_SUM_TO, {{0}}, 1, {IMAGE}, C(32)},
    {"sum to per sample",    VN_OP_SUM_TO, {{0}}, 1, {IMAGE}, {4, {64, 1, 1, 32}}},
    {"sum to one",           VN_OP_SUM_TO, {{0}}, 1, {IMAGE}, {0, {0}}},
    {"sum last axis",        VN_OP_SUM_TO, {{0}}, 1, {TOKENS}, {2, {16384, 1}}},
    {"broadcast per sample", VN_OP_BROADCAST, {{0}}, 1, {{4, {64, 1, 1, 32}}}, IMAGE},
    {"concat channels",      VN_OP_CONCAT, {.slice = {3, 0}}, 2, {IMAGE, IMAGE},
     {4, {64, 28, 28, 64}}},
    {"slice channels",       VN_OP_SLICE, {.slice = {3, 32}}, 1, {{4, {64, 28, 28, 64}}}, IMAGE},
    {"permute to channels first", VN_OP_PERMUTE, {.permute = {{0, 3, 1, 2}}}, 1, {IMAGE},
     {4, {64, 32, 28, 28}}},
    {"upsample",             VN_OP_RESAMPLE, {.resample = {2, 1, {0, 0}, 2, {1, 1}}}, 1,
     {{4, {64, 14, 14, 64}}}, {4, {64, 28, 28, 64}}},
    {"average pool",         VN_OP_RESAMPLE, {.resample = {1, 2, {1, 1}, 2, {0.5f, 0.5f}}}, 1,
     {{4, {64, 28, 28, 64}}}, {4, {64, 14, 14, 64}}},
    {"softmax 64",           VN_OP_SOFTMAX, {{0}}, 1, {{2, {32768, 64}}}, {2, {32768, 64}}},
    {"dropout",              VN_OP_DROPOUT, {.dropout = {0.1, 1}}, 1, {IMAGE}, IMAGE},
};
/* clang-format on */

static void *allocate(size_t bytes) {
    void *p = vn_alloc_aligned(bytes, 1);
    if (!p) fprintf(stderr, "out of memory\n"), exit(1);
    return p;
}

typedef struct copying {
    char *to;
    const char *from;
    size_t bytes;
} copying;

#define COPY_BLOCK ((size_t)1 << 18)

static void copy_block(void *context, int64_t i, int thread) {
    const copying *c = context;
    const size_t at = (size_t)i * COPY_BLOCK, rest = c->bytes - at;
    (void)thread;
    memcpy(c->to + at, c->from + at, rest < COPY_BLOCK ? rest : COPY_BLOCK);
}

static void copy(char *to, const char *from, size_t bytes, vn_thread_pool *pool) {
    vn_thread_pool_run(pool, (int64_t)((bytes + COPY_BLOCK - 1) / COPY_BLOCK), copy_block,
                       &(copying){to, from, bytes});
}

typedef struct measured {
    double seconds, copy; /* of the kernel and of a copy of as many bytes: the fastest */
} measured;

static void note(measured *m, double seconds, double copied) {
    if (m->seconds == 0 || seconds < m->seconds) m->seconds = seconds;
    if (m->copy == 0 || copied < m->copy) m->copy = copied;
}

static void print_row(const char *name, double bytes, measured cached, measured cold) {
    printf("%-26s %7.3f ms %6.1f of %6.1f GB/s %4.0f%%  %9.3f ms %6.1f of %6.1f GB/s %4.0f%%\n",
           name, 1e3 * cached.seconds, bytes / cached.seconds / 1e9, bytes / cached.copy / 1e9,
           100 * cached.copy / cached.seconds, 1e3 * cold.seconds, bytes / cold.seconds / 1e9,
           bytes / cold.copy / 1e9, 100 * cold.copy / cold.seconds);
}

/* Where in an array of MAX_BYTES a round works, when each takes another place. */
static size_t place(int64_t floats, int round) {
    size_t step = ((size_t)floats + 15) / 16 * 16, places = MAX_BYTES / 4 / step;
    return places > 1 ? (size_t)round % places * step : 0;
}

static measured time_case(const vn_device_row *b, const bench_case *c, vn_kernel_args a,
                          double bytes, vn_thread_pool *pool, int rounds, bool cold,
                          float **array) {
    measured m = {0};
    for (int r = 0; r < rounds; r++) {
        int turn = cold ? 2 * r : 0;
        for (int i = 0; i < c->inputs; i++)
            a.in[i] = array[i] + place(vn_shape_count(&c->in[i]), turn);
        a.out = array[VN_MAX_IN] + place(vn_shape_count(&c->out), turn);
        double begin = vn_now();
        b->kernel[c->op](&a);
        double middle = vn_now();
        size_t at = place((int64_t)bytes / 8, cold ? turn + 1 : 0);
        copy((char *)(array[VN_MAX_IN] + at), (const char *)(array[0] + at), (size_t)bytes / 2,
             pool);
        note(&m, middle - begin, vn_now() - middle);
    }
    return m;
}

static void run_case(const vn_device_row *b, const bench_case *c, vn_thread_pool *pool, int rounds,
                     float **array) {
    vn_node in[VN_MAX_IN] = {0},
            n = {.op = c->op, .attr = c->attr, .inputs = c->inputs, .shape = c->out};
    vn_run run = {0};
    double bytes = 4 * (double)vn_shape_count(&c->out);
    vn_kernel_args a = {.node = &n, .pool = pool, .run = &run};
    for (int i = 0; i < c->inputs; i++) {
        in[i].shape = c->in[i];
        n.in[i] = &in[i];
        bytes += 4 * (double)vn_shape_count(&c->in[i]);
    }
    a.work =
        allocate(b->workspace[c->op] ? b->workspace[c->op](&n, vn_thread_pool_threads(pool)) : 0);
    measured cached = time_case(b, c, a, bytes, pool, rounds, false, array);
    measured cold = time_case(b, c, a, bytes, pool, rounds, true, array);
    print_row(c->name, bytes, cached, cold);
    vn_free(a.work);
}

static measured time_adamw(const vn_device_row *b, size_t count, vn_thread_pool *pool, int rounds,
                           float **array) {
    measured m = {0};
    const vn_device d = {b, NULL, pool};
    vn_adamw o = {1e-3, 0.9, 0.999, 1e-8, 0.01, 1, 1, 0.999};
    for (int r = 0; r < rounds; r++) {
        double begin = vn_now();
        b->adamw(&d, &o, count, array[0], array[1], array[2], array[3], array[4]);
        double middle = vn_now();
        copy((char *)array[VN_MAX_IN], (const char *)array[0], count * 4 * 9 / 2, pool);
        note(&m, middle - begin, vn_now() - middle);
    }
    return m;
}

/* Five arrays read, four written. */
static void run_adamw(const vn_device_row *b, vn_thread_pool *pool, int rounds, float **array) {
    size_t few = 1 << 18, many = 3 << 20;
    measured cached = time_adamw(b, few, pool, rounds, array),
             cold = time_adamw(b, many, pool, rounds, array);
    double scale = (double)few / (double)many;
    print_row("adamw+ema, per 256k", 36.0 * (double)few, cached,
              (measured){cold.seconds * scale, cold.copy * scale});
}

int main(int argc, char **argv) {
    vn_err err = {0};
    const vn_device_row *b = vn_cpu_row(argc > 1 ? argv[1] : NULL, &err);
    int threads = argc > 2 ? atoi(argv[2]) : vn_cpu_cores(), rounds = argc > 3 ? atoi(argv[3]) : 50;
    const char *part = argc > 4 ? argv[4] : "";
    float *array[VN_MAX_IN + 1];
    if (!b || threads < 1 || rounds < 1) {
        fprintf(stderr, "%s\n",
                b ? "usage: kernels [BACKEND [THREADS [ROUNDS [PART-OF-A-NAME]]]]" : err.text);
        return 2;
    }
    vn_thread_pool *pool = NULL;
    if (vn_thread_pool_open(threads, &pool, &err) != VN_OK)
        return fprintf(stderr, "%s\n", err.text), 1;
    for (int i = 0; i <= VN_MAX_IN; i++) {
        array[i] = allocate(MAX_BYTES);
        for (size_t k = 0; k < MAX_BYTES / 4; k++)
            array[i][k] = (float)(k * 2654435761u >> 16 & 0xffff) / 16384 + 0.01f;
    }
    printf("%s, %d threads\n%-26s %-41s  %s\n", b->name, threads, "", "cached", "cold");
    for (size_t i = 0; i < VN_COUNT(cases); i++)
        if (strstr(cases[i].name, part)) run_case(b, &cases[i], pool, rounds, array);
    if (strstr("adamw", part)) run_adamw(b, pool, rounds, array);
    for (int i = 0; i <= VN_MAX_IN; i++) vn_free(array[i]);
    vn_thread_pool_close(&pool);
    return 0;
}
