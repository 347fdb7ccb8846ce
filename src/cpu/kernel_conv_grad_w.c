/* kernel_conv_grad_w.c - the gradient of a convolution with respect to its weights: a sum over all pixels of the outer product of
 * the pixel's window and its dy.
 *
 * The strips of pixels are dealt out to chunks by the shape alone, so that the sum has the same order for any number of threads;
 * each chunk sums into an array of its own, and these are added in order at the end. */
#include <omp.h>

#include "cpu/kernel_conv.h"

#define VN_MOST_CHUNKS  16
#define VN_CHUNK_PIXELS 512       /* at least, to be worth an array */
#define VN_CHUNK_FLOATS (1 << 21) /* all chunks' sums together, if that leaves two */

/* A strip is large, so that its edges too make long sums. */
#define VN_STRIP_WINDOWS 4096

typedef struct vn_grad_w {
    vn_windows windows;
    int64_t outputs, window; /* the sum is [window, outputs] */
    bool turned;             /* few outputs: it is [outputs, window], so that vectors are full
                */
    vn_strips strips;
    int64_t chunks;
    const float *x, *dy;
} vn_grad_w;

static vn_grad_w describe(const vn_node *node) {
    const vn_shape *x = &node->in[0]->shape, *dy = &node->in[1]->shape, *w = &node->shape;
    vn_grad_w g = {.windows = VN_C(windows)(node, x, w, dy), .outputs = w->dim[3]};
    g.window = w->dim[0] * w->dim[1] * w->dim[2];
    g.turned = g.outputs < VN_LANES / 2 && w->dim[1] * w->dim[2] > g.outputs;
    const int64_t pixels = g.windows.n * g.windows.oh * g.windows.ow;
    g.chunks = vn_min_i64(VN_CHUNK_FLOATS / vn_max_i64(g.window * g.outputs, 1), pixels / VN_CHUNK_PIXELS);
    g.chunks = vn_max_i64(vn_min_i64(g.chunks, VN_MOST_CHUNKS), 2);
    g.strips = VN_C(cut)(&g.windows, INT64_MAX, VN_STRIP_WINDOWS, g.chunks);
    g.chunks = vn_max_i64(vn_min_i64(g.chunks, g.strips.count), 1);
    return g;
}

/* ---- memory: the sums of chunks; then, for each thread, what `outer` needs
 * and pointers to windows and to dy --------------- */

static size_t sum_bytes(const vn_grad_w *g) {
    return vn_region((size_t)(g->chunks * g->window * g->outputs), sizeof(float));
}

static size_t pointer_bytes(const vn_grad_w *g) {
    return vn_region((size_t)g->strips.windows, sizeof(float *));
}

static size_t thread_bytes(const vn_grad_w *g) {
    return vn_region(VN_OUTER_FLOATS, sizeof(float)) + 2 * pointer_bytes(g);
}

/* ---- sums ------------------------------------------------------------------------------------------- */

static void point_to_dy(const vn_grad_w *g, const vn_strip *s, const vn_group *group, const float **dy) {
    const vn_windows *v = &g->windows;
    for (int64_t i = s->image; i < s->last; i++)
        for (int64_t y = group->y.begin; y < group->y.end; y++) {
            const float *row = g->dy + (i * v->oh + y) * v->ow * g->outputs;
            for (int64_t x = group->x.begin; x < group->x.end; x++) *dy++ = row + x * g->outputs;
        }
}

/* sum [outputs, window] += dy^T windows, one row of the kernel after the other. */
static void add_turned(const vn_grad_w *g, const vn_reach *reach, int64_t count, const float *const *window,
                       const float *const *dy, float *sum, float *scratch) {
    const vn_reach outputs = vn_reach_row(g->outputs);
    for (int64_t s = 0; s < reach->segments; s++) VN_G(outer)
    (&outputs, reach->length, count, dy, window, s * reach->jump, sum + reach->first + s * reach->step, g->window,
     scratch);
}

static void add_strip(const vn_grad_w *g, const vn_strip *s, char *memory, float *sum) {
    const vn_windows *v = &g->windows;
    float *scratch = (float *)memory;
    const float **window = (const float **)(memory + vn_region(VN_OUTER_FLOATS, sizeof(float)));
    const float **dy = (const float **)((char *)window + pointer_bytes(g));
    for (vn_group group = {0}; VN_C(next_group)(v, s, &group);) {
        const vn_reach reach = VN_C(reach)(v, &group);
        const int64_t count = VN_C(gather)(v, s, &group, g->x, window);
        point_to_dy(g, s, &group, dy);
        if (g->turned)
            add_turned(g, &reach, count, window, dy, sum, scratch);
        else
            VN_G(outer)
        (&reach, g->outputs, count, window, dy, 0, sum, g->outputs, scratch);
    }
}

static void sum_chunk(const vn_grad_w *g, int64_t chunk, char *memory, float *sum) {
    int64_t begin, end;
    vn_part(g->strips.count, g->chunks, chunk, &begin, &end);
    memset(sum, 0, (size_t)(g->window * g->outputs) * sizeof(float));
    for (int64_t i = begin; i < end; i++) {
        const vn_strip strip = VN_C(strip)(&g->windows, &g->strips, i);
        add_strip(g, &strip, memory, sum);
    }
}

/* out[begin, end) = the sum over chunks, turned back where they are turned. */
static void add_chunks(const vn_grad_w *g, const float *sum, int64_t begin, int64_t end, float *out) {
    for (int64_t i = begin; i < end; i++) {
        const float *from = sum + (g->turned ? i % g->outputs * g->window + i / g->outputs : i);
        float total = *from;
        for (int64_t c = 1; c < g->chunks; c++) total += from[c * g->window * g->outputs];
        out[i] = total;
    }
}

size_t VN_W(conv2d_grad_w)(const vn_node *n, int threads) {
    const vn_grad_w g = describe(n);
    return sum_bytes(&g) + (size_t)threads * thread_bytes(&g);
}

void VN_K(conv2d_grad_w)(const vn_kernel_args *a) {
    vn_grad_w g = describe(a->node);
    g.x = a->in[0];
    g.dy = a->in[1];
    float *sum = a->work;
    const int64_t weights = g.window * g.outputs;
    const double flops = 2.0 * (double)(g.windows.n * g.windows.oh * g.windows.ow) * (double)weights;
#pragma omp parallel num_threads(vn_threads_for(a->threads, flops / 50))
    {
        char *memory = (char *)a->work + sum_bytes(&g) + (size_t)omp_get_thread_num() * thread_bytes(&g);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < g.chunks; i++) sum_chunk(&g, i, memory, sum + i * weights);
#pragma omp for
        for (int64_t i = 0; i < VN_MOST_CHUNKS; i++) {
            int64_t begin, end;
            vn_part(weights, VN_MOST_CHUNKS, i, &begin, &end);
            add_chunks(&g, sum, begin, end, a->out);
        }
    }
}
