/* kernel_conv_grad_w.c - the gradient of a convolution with respect to its weights: a sum over all
 * pixels of the outer product of the pixel's window and its dy.
 *
 * The strips of pixels are dealt out to chunks by the shape alone, so that the sum has the same
 * order for any number of threads; each chunk sums into an array of its own, and these are added in
 * order at the end. Where fewer multiplications pay, kernel_winograd_grad_w.c has it. */
#include "cpu/kernel_winograd.h"

#define VN_MAX_CHUNKS   16
#define VN_CHUNK_PIXELS 512       /* at least, to be worth an array */
#define VN_CHUNK_FLOATS (1 << 21) /* all chunks' sums together, if that leaves two */

/* A strip is large, so that its edges too make long sums. */
#define VN_STRIP_WINDOWS 4096

typedef struct vn_grad_w {
    vn_windows windows;
    int64_t window, outputs; /* the weights are [window, outputs] */
    /* few outputs: the sum is [outputs, window], so that vectors are full */
    bool turned;
    int64_t rows, columns; /* of the sum */
    vn_strips strips;
    int64_t chunks;
    const float *x, *dy;
} vn_grad_w;

static vn_grad_w describe(const vn_node *node) {
    const vn_shape *x = &node->in[0]->shape, *dy = &node->in[1]->shape, *w = &node->shape;
    vn_grad_w g = {.windows = vn_conv_windows(node, x, w, dy), .outputs = w->dim[3]};
    g.window = w->dim[0] * w->dim[1] * w->dim[2];
    g.turned = g.outputs < VN_LANES / 2 && w->dim[1] * w->dim[2] > g.outputs;
    g.rows = g.turned ? g.outputs : g.window;
    g.columns = g.turned ? g.window : g.outputs;
    const int64_t pixels = g.windows.n * g.windows.oh * g.windows.ow;
    g.chunks =
        vn_min_i64(VN_CHUNK_FLOATS / vn_max_i64(g.window * g.outputs, 1), pixels / VN_CHUNK_PIXELS);
    g.chunks = vn_max_i64(vn_min_i64(g.chunks, VN_MAX_CHUNKS), 2);
    g.strips = vn_conv_cut(&g.windows, INT64_MAX, VN_STRIP_WINDOWS, g.chunks);
    g.chunks = vn_max_i64(vn_min_i64(g.chunks, g.strips.count), 1);
    return g;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The sums of chunks; then, for each thread, what `outer` needs and pointers to windows and to
 * dy. */

static size_t sum_bytes(const vn_grad_w *g) {
    return vn_region((size_t)(g->chunks * g->window * g->outputs), sizeof(float));
}

static size_t pointer_bytes(const vn_grad_w *g) {
    return vn_region((size_t)g->strips.windows, sizeof(float *));
}

static size_t thread_bytes(const vn_grad_w *g) {
    return vn_region(VN_OUTER_FLOATS, sizeof(float)) + 2 * pointer_bytes(g);
}

/* ---- sums ------------------------------------------------------------------------------------ */

static void point_to_dy(const vn_grad_w *g, const vn_strip *s, const vn_group *group,
                        const float **dy) {
    const vn_windows *v = &g->windows;
    for (int64_t i = s->image; i < s->last; i++)
        for (int64_t y = group->y.begin; y < group->y.end; y++) {
            const float *row = g->dy + (i * v->oh + y) * v->ow * g->outputs;
            for (int64_t x = group->x.begin; x < group->x.end; x++) *dy++ = row + x * g->outputs;
        }
}

/* sum [outputs, window] += dy^T windows, one row of the kernel after the other. */
static void add_turned(const vn_grad_w *g, const vn_reach *reach, int64_t count,
                       const float *const *window, const float *const *dy, float *sum,
                       float *panels) {
    const vn_reach outputs = vn_reach_row(g->outputs);
    for (int64_t s = 0; s < reach->segments; s++)
        vn_gemm_outer(&outputs, reach->length, count, dy, window, s * reach->jump,
                      sum + reach->first + s * reach->step, g->window, panels);
}

/* Some columns of the sum. */
typedef struct vn_columns {
    int64_t begin, end;
} vn_columns;

static void add_strip(const vn_grad_w *g, const vn_strip *s, const vn_columns *c, char *memory,
                      float *sum) {
    const vn_windows *v = &g->windows;
    float *panels = (float *)memory;
    const float **window = (const float **)(memory + vn_region(VN_OUTER_FLOATS, sizeof(float)));
    const float **dy = (const float **)((char *)window + pointer_bytes(g));
    for (vn_group group = {0}; vn_conv_next_group(v, s, &group);) {
        const vn_reach reach = vn_conv_reach(v, &group);
        const int64_t count = vn_conv_gather(v, s, &group, g->x, window);
        point_to_dy(g, s, &group, dy);
        if (g->turned)
            add_turned(g, &reach, count, window, dy, sum, panels);
        else
            vn_gemm_outer(&reach, c->end - c->begin, count, window, dy, c->begin, sum + c->begin,
                          g->outputs, panels);
    }
}

static void sum_chunk(const vn_grad_w *g, int64_t chunk, const vn_columns *c, char *memory,
                      float *sum) {
    int64_t begin, end;
    vn_part(g->strips.count, g->chunks, chunk, &begin, &end);
    for (int64_t i = 0; i < g->rows; i++)
        memset(sum + i * g->columns + c->begin, 0, (size_t)(c->end - c->begin) * sizeof(float));
    for (int64_t i = begin; i < end; i++) {
        const vn_strip strip = vn_conv_strip(&g->windows, &g->strips, i);
        add_strip(g, &strip, c, memory, sum);
    }
}

/* Parts that a chunk's columns are cut into when there are fewer chunks than threads want. A turned
 * sum is small and stays whole. */
static int64_t column_parts(const vn_grad_w *g, int threads) {
    return g->turned ? 1
                     : vn_max_i64(vn_min_i64(2 * threads / g->chunks, g->columns / VN_PANEL), 1);
}

static vn_columns columns_of(const vn_grad_w *g, int64_t parts, int64_t part) {
    vn_columns c;
    vn_part(vn_panels(g->columns), parts, part, &c.begin, &c.end);
    c.begin *= VN_PANEL;
    c.end = vn_min_i64(c.end * VN_PANEL, g->columns);
    return c;
}

/* out[begin, end) = the sum over chunks, turned back where they are turned. */
static void add_chunks(const vn_grad_w *g, const float *sum, int64_t begin, int64_t end,
                       float *out) {
    for (int64_t i = begin; i < end; i++) {
        const float *from = sum + (g->turned ? i % g->outputs * g->window + i / g->outputs : i);
        float total = *from;
        for (int64_t c = 1; c < g->chunks; c++) total += from[c * g->window * g->outputs];
        out[i] = total;
    }
}

size_t VN_W(conv2d_grad_w)(const vn_node *n, int threads) {
    const vn_grad_w g = describe(n);
    if (vn_winograd_suits(&g.windows, g.outputs))
        return vn_winograd_grad_w_bytes(&g.windows, g.outputs, threads);
    return sum_bytes(&g) + (size_t)threads * thread_bytes(&g);
}

/* What the tasks share: the workspace begins with the sums of chunks. */
typedef struct vn_summing {
    vn_grad_w g;
    int64_t parts, weights;
    void *work;
    float *out;
} vn_summing;

static void sum_task(void *context, int64_t i, int thread) {
    const vn_summing *s = context;
    char *memory = (char *)s->work + sum_bytes(&s->g) + (size_t)thread * thread_bytes(&s->g);
    const vn_columns columns = columns_of(&s->g, s->parts, i % s->parts);
    sum_chunk(&s->g, i / s->parts, &columns, memory, (float *)s->work + i / s->parts * s->weights);
}

static void add_task(void *context, int64_t i, int thread) {
    const vn_summing *s = context;
    int64_t begin, end;
    (void)thread;
    vn_part(s->weights, vn_row_parts(s->weights, s->g.chunks), i, &begin, &end);
    add_chunks(&s->g, s->work, begin, end, s->out);
}

void VN_K(conv2d_grad_w)(const vn_kernel_args *a) {
    vn_summing s = {.g = describe(a->node), .work = a->work, .out = a->out};
    if (vn_winograd_suits(&s.g.windows, s.g.outputs)) {
        vn_winograd_grad_w(&s.g.windows, s.g.outputs, a->in[0], a->in[1], a->out, a->work, a->pool);
        return;
    }
    s.g.x = a->in[0];
    s.g.dy = a->in[1];
    s.weights = s.g.window * s.g.outputs;
    s.parts = column_parts(&s.g, vn_thread_pool_threads(a->pool));
    const double flops =
        2.0 * (double)(s.g.windows.n * s.g.windows.oh * s.g.windows.ow) * (double)s.weights;
    vn_thread_pool_run(vn_share(a->pool, flops / 50), s.g.chunks * s.parts, sum_task, &s);
    vn_thread_pool_run(vn_share(a->pool, (double)(s.weights * s.g.chunks)),
                       vn_row_parts(s.weights, s.g.chunks), add_task, &s);
}
