/* cpu.c - the CPU as a device: a row with its kernels for each instruction set this build has,
 * chosen by what the CPU that runs it can do. Its memory is the host's, and all is done at once. */
#include "cpu/internal.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static vn_status take(void *self, size_t bytes, void **at, vn_err *err) {
    (void)self;
    *at = vn_alloc_aligned(bytes, 1);
    return *at ? VN_OK : vn_no_memory(err);
}

static void give(void *self, void *at) {
    (void)self;
    vn_free(at);
}

static void copy(void *self, void *to, const void *from, size_t bytes) {
    (void)self;
    memcpy(to, from, bytes);
}

static void clear(void *self, void *at, size_t bytes) {
    (void)self;
    memset(at, 0, bytes);
}

static vn_status wait(void *self, vn_err *err) {
    (void)self;
    (void)err;
    return VN_OK;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Every op is in exactly one of the two lists. */
#define VN_COUNT_KERNEL(op, kernel, work, isa) +1
#define VN_COUNT_KERNELLESS(op)                +1
_Static_assert(0 VN_KERNELS(VN_COUNT_KERNEL, any, any)
                       VN_KERNELLESS(VN_COUNT_KERNELLESS) == VN_OP_COUNT,
               "an op is missing from VN_KERNELS");

#define VN_ROW_KERNEL(op, kernel, work, isa) [VN_OP_##op] = vn_k_##kernel##_##isa,
#define VN_ROW_PLAIN(op, kernel, isa)
#define VN_ROW_WORK(op, kernel, isa)            [VN_OP_##op] = vn_w_##kernel##_##isa,
#define VN_ROW_WORKSPACE(op, kernel, work, isa) VN_ROW_##work(op, kernel, isa)

#define VN_ROW(isa, products, row_precision, row_unit, row_exact)                                  \
    {                                                                                              \
        .name = #isa, .precision = row_precision, .unit = row_unit, .exact = row_exact,            \
        .host_memory = true, .fuses = true, .take = take, .give = give, .write = copy,             \
        .read = copy, .copy = copy, .clear = clear, .wait = wait,                                  \
        .kernel = {VN_KERNELS(VN_ROW_KERNEL, isa, products)},                                      \
        .workspace = {VN_KERNELS(VN_ROW_WORKSPACE, isa, products)}, .adamw = vn_k_adamw_##isa,     \
        .momentum = vn_k_momentum_##isa, .descend = vn_k_descend_##isa,                            \
        .sum_squares = vn_k_sum_squares_##isa, .accumulate = vn_k_accumulate_##isa,                \
    }

/* The row of an instruction set, and the one whose products are of bfloat16 operands. */
#define VN_CPU_ROW(isa, unit)                                                                      \
    VN_DECLARE_ISA(isa)                                                                            \
    VN_DECLARE_PRODUCTS(bf16_##isa)                                                                \
    static const vn_device_row row_##isa = VN_ROW(isa, isa, "float32", unit, NULL);                \
    static const vn_device_row row_bf16_##isa = VN_ROW(isa, bf16_##isa, "bf16", unit, &row_##isa);

static bool runs_anywhere(void) {
    return true;
}

VN_CPU_ROW(portable, "portable code")

#if defined(VN_HAVE_avx2)
VN_CPU_ROW(avx2, "AVX2 and FMA")

static bool runs_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#if defined(VN_HAVE_avx512)
VN_CPU_ROW(avx512, "AVX-512")

static bool runs_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
}

/* The same with bfloat16's own instructions in the products. */
VN_DECLARE_PRODUCTS(bf16_avx512bf16)
static const vn_device_row row_bf16_avx512bf16 =
    VN_ROW(avx512, bf16_avx512bf16, "bf16", "AVX512-BF16", &row_avx512);

static bool runs_avx512bf16(void) {
    return runs_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

/* Best first. */
static const struct {
    const vn_device_row *row;
    bool (*runs)(void);
} sets[] = {
#if defined(VN_HAVE_avx512)
    {&row_avx512, runs_avx512},
#endif
#if defined(VN_HAVE_avx2)
    {&row_avx2, runs_avx2},
#endif
    {&row_portable, runs_anywhere},
};

const vn_device_row *vn_cpu_row_at(size_t i) {
    for (size_t k = 0; k < VN_COUNT(sets); k++)
        if (sets[k].runs() && i-- == 0) return sets[k].row;
    return NULL;
}

const vn_device_row *vn_cpu_row(const char *name, vn_err *err) {
    if (!name || strcmp(name, "auto") == 0) return vn_cpu_row_at(0);
    for (size_t k = 0; k < VN_COUNT(sets); k++) {
        if (strcmp(name, sets[k].row->name) != 0) continue;
        if (sets[k].runs()) return sets[k].row;
        vn_fail(err, VN_UNSUPPORTED, "`cpu`: this machine cannot run %s kernels", name);
        return NULL;
    }
    const char *known[] = {"auto", "avx512", "avx2", "portable"};
    const char *near = vn_nearest(name, known, VN_COUNT(known));
    vn_fail(err, VN_BAD_ARGUMENT, "`cpu`: unknown kernels '%s'%s%s%s", name,
            near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : " (known: auto, avx512, avx2, portable)");
    return NULL;
}

/* ---- precisions ------------------------------------------------------------------------------ */

/* For each row of float32 those of bf16, best first, and whether they gain time. */
static const struct {
    const vn_device_row *exact, *row;
    bool (*runs)(void);
    bool is_faster;
} bf16_rows[] = {
#if defined(VN_HAVE_avx512)
    {&row_avx512, &row_bf16_avx512bf16, runs_avx512bf16, true},
    {&row_avx512, &row_bf16_avx512, runs_anywhere, false},
#endif
#if defined(VN_HAVE_avx2)
    {&row_avx2, &row_bf16_avx2, runs_anywhere, false},
#endif
    {&row_portable, &row_bf16_portable, runs_anywhere, false},
};

const vn_device_row *vn_cpu_row_bf16(const vn_device_row *exact, size_t i, bool *is_faster) {
    for (size_t k = 0; k < VN_COUNT(bf16_rows); k++) {
        if (bf16_rows[k].exact != exact || !bf16_rows[k].runs() || i-- > 0) continue;
        *is_faster = bf16_rows[k].is_faster;
        return bf16_rows[k].row;
    }
    return NULL;
}

const vn_device_row *vn_cpu_row_of(const vn_device_row *exact, const char *precision, vn_err *err) {
    bool is_faster = false;
    const vn_device_row *bf16 = vn_cpu_row_bf16(exact, 0, &is_faster);
    if (!precision || strcmp(precision, "float32") == 0) return exact;
    if (strcmp(precision, "bf16") == 0) return bf16;
    if (strcmp(precision, "auto") == 0) return is_faster ? bf16 : exact;
    const char *known[] = {"auto", "float32", "bf16"};
    const char *near = vn_nearest(precision, known, VN_COUNT(known));
    vn_fail(err, VN_BAD_ARGUMENT, "`precision`: unknown number type '%s'%s%s%s", precision,
            near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : " (known: auto, float32, bf16)");
    return NULL;
}

/* ---- measuring the machine ------------------------------------------------------------------- */

#define GEMM_SIZE       1024
#define COPY_BYTES      ((size_t)32 << 20) /* with its twin, more than most caches hold */
#define MEASURE_SECONDS 0.12               /* for each figure */

/* Best rate, in `amount` a second, over MEASURE_SECONDS of calls; the first call is not timed. */
static double best_rate(void (*run)(void *), void *what, double amount) {
    run(what);
    double best = 0, begin = vn_now(), now = begin;
    do {
        double start = now;
        run(what);
        now = vn_now();
        if (now > start && amount / (now - start) > best) best = amount / (now - start);
    } while (now - begin < MEASURE_SECONDS);
    return best;
}

typedef struct gemm_case {
    vn_kernel kernel;
    vn_kernel_args args;
} gemm_case;

static void run_gemm(void *what) {
    gemm_case *c = what;
    c->kernel(&c->args);
}

static double measure_gemm(const vn_device_row *row, vn_thread_pool *pool) {
    vn_node a = {.op = VN_OP_INPUT, .dtype = VN_F32, .shape = {2, {GEMM_SIZE, GEMM_SIZE}}};
    vn_node n = {
        .op = VN_OP_MATMUL, .dtype = VN_F32, .shape = a.shape, .inputs = 2, .in = {&a, &a}};
    size_t count = (size_t)GEMM_SIZE * GEMM_SIZE;
    size_t work = row->workspace[VN_OP_MATMUL]
                      ? row->workspace[VN_OP_MATMUL](&n, vn_thread_pool_threads(pool))
                      : 0;
    float *in = vn_alloc_aligned(count, sizeof(float));
    float *out = vn_alloc_aligned(count, sizeof(float));
    void *scratch = vn_alloc_aligned(work, 1);
    double rate = 0;
    if (in && out && scratch) {
        for (size_t i = 0; i < count; i++) in[i] = (float)(i % 13) / 13;
        vn_run run = {0};
        gemm_case c = {
            row->kernel[VN_OP_MATMUL],
            {.node = &n, .in = {in, in}, .out = out, .work = scratch, .pool = pool, .run = &run}};
        rate = best_rate(run_gemm, &c, 2.0 * GEMM_SIZE * GEMM_SIZE * GEMM_SIZE) / 1e9;
    }
    vn_free(in);
    vn_free(out);
    vn_free(scratch);
    return rate;
}

typedef struct copy_case {
    char *to;
    const char *from;
    vn_thread_pool *pool;
} copy_case;

#define COPY_TASK ((size_t)1 << 20)

static void copy_task(void *what, int64_t i, int thread) {
    const copy_case *c = what;
    (void)thread;
    memcpy(c->to + (size_t)i * COPY_TASK, c->from + (size_t)i * COPY_TASK, COPY_TASK);
}

static void run_copy(void *what) {
    const copy_case *c = what;
    vn_thread_pool_run(c->pool, COPY_BYTES / COPY_TASK, copy_task, what);
}

static double measure_copy(vn_thread_pool *pool) {
    char *from = vn_alloc_aligned(COPY_BYTES, 1), *to = vn_alloc_aligned(COPY_BYTES, 1);
    double rate = 0;
    if (from && to) {
        memset(from, 1, COPY_BYTES);
        copy_case c = {to, from, pool};
        rate = best_rate(run_copy, &c, 2.0 * (double)COPY_BYTES) / 1e9; /* read and written */
    }
    vn_free(from);
    vn_free(to);
    return rate;
}

/* 0 where memory for the measurement is lacking. */
void vn_cpu_measure(const vn_device_row *row, vn_thread_pool *pool, double *gemm_gflops,
                    double *memory_gbs) {
    *gemm_gflops = measure_gemm(row, pool);
    *memory_gbs = measure_copy(pool);
}
