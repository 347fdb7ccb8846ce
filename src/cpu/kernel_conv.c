/* kernel_conv.c - convolution and its gradient with respect to the input.
 *
 * Both are one thing: windows times packed weights. The gradient reads dy, with the kernel turned
 * round. With a stride s its pixels fall into s * s phases, each a convolution of dy with its own
 * part of the kernel, so no zero is ever multiplied. Where fewer multiplications pay,
 * kernel_winograd.c has it. */
#include "cpu/kernel_winograd.h"

static bool is_dots(int64_t columns) {
    return columns <= VN_DOT_COLUMNS;
}

/* ---- weights --------------------------------------------------------------------------------- */

static int64_t window_floats(const vn_windows *v) {
    return v->kh * v->kw * v->c;
}

static size_t weight_floats(const vn_windows *v, int64_t n) {
    return is_dots(n) ? (size_t)(window_floats(v) * n) : vn_packed_floats(window_floats(v), n);
}

/* Packs kernel row i for dots: column o is window_floats(v) floats from packed + o *
 * window_floats(v). */
static void transpose_taps(const vn_convolution *c, int64_t i, float *packed) {
    const vn_windows *v = &c->windows;
    const vn_taps *t = &c->taps;
    const int64_t k = window_floats(v);
    for (int64_t j = 0; j < v->kw; j++) {
        const float *from = c->w + t->from + i * t->down + j * t->across;
        float *to = packed + (i * v->kw + j) * v->c;
        for (int64_t o = 0; o < t->n; o++)
            for (int64_t e = 0; e < v->c; e++) to[o * k + e] = from[e * t->row + o * t->column];
    }
}

/* Packs kernel row i. */
static void pack_taps(const vn_convolution *c, int64_t i, float *packed) {
    const vn_windows *v = &c->windows;
    const vn_taps *t = &c->taps;
    if (is_dots(t->n)) {
        transpose_taps(c, i, packed);
        return;
    }
    for (int64_t p = 0; p < vn_panels(t->n); p++)
        for (int64_t j = 0; j < v->kw; j++)
            vn_gemm_pack(packed, window_floats(v), t->n, p, (i * v->kw + j) * v->c, v->c,
                         c->w + t->from + i * t->down + j * t->across, t->row, t->column);
}

/* ---- windows times weights ------------------------------------------------------------------- */

/* A strip's input should stay in the second cache beside the weights in use, and give enough rows
 * for tall tiles. */
#define VN_STRIP_FLOATS  49152
#define VN_STRIP_WINDOWS 640

/* Strips of fewer windows, of small images, are not worth what more of them would help to share
 * work: the windows of a strip fall into groups by their edges, which would be a few windows
 * each. */
#define VN_FEW_WINDOWS 128

static vn_strips cut_strips(const vn_windows *v, int threads) {
    const int64_t worth = v->n * v->oh * v->ow / VN_FEW_WINDOWS;
    const int64_t least = vn_max_i64(threads, vn_min_i64(4 * threads, worth));
    return vn_conv_cut(v, VN_STRIP_FLOATS, VN_STRIP_WINDOWS, least);
}

static size_t packed_bytes(const vn_convolution *c) {
    return vn_region(weight_floats(&c->windows, c->taps.n), sizeof(float));
}

/* A thread's own: pointers to the windows of a strip and to where their results go; where something
 * is added, also the sums of a group of windows and pointers to these. */
typedef struct vn_strip_work {
    const float **window;
    float **out, **sum, *sums;
} vn_strip_work;

static size_t strip_bytes(const vn_strips *s, int64_t outputs, bool plus) {
    const size_t windows = (size_t)s->windows, pointers = vn_region(windows, sizeof(void *));
    if (!plus) return 2 * pointers;
    return 3 * pointers + vn_region(windows * (size_t)outputs, sizeof(float));
}

static vn_strip_work strip_work(const vn_strips *s, char *own) {
    const size_t pointers = vn_region((size_t)s->windows, sizeof(void *));
    return (vn_strip_work){(const float **)own, (float **)(own + pointers),
                           (float **)(own + 2 * pointers), (float *)(own + 3 * pointers)};
}

/* The packed weights, then what the threads have. */
static size_t convolve_bytes(const vn_convolution *c, bool plus, int threads) {
    if (vn_winograd_suits(&c->windows, c->taps.n)) return vn_winograd_bytes(c, threads);
    const vn_strips strips = cut_strips(&c->windows, threads);
    return packed_bytes(c) + (size_t)threads * strip_bytes(&strips, c->taps.n, plus);
}

static void point_to_results(const vn_convolution *c, const vn_strip *s, const vn_group *g,
                             float **out) {
    const vn_target *t = &c->target;
    for (int64_t i = s->image; i < s->last; i++)
        for (int64_t y = g->y.begin; y < g->y.end; y++) {
            float *row = c->out + t->from + i * t->image + y * t->row;
            for (int64_t x = g->x.begin; x < g->x.end; x++) *out++ = row + x * t->pixel;
        }
}

/* The sums of windows and what is added to them, while they are in the second cache. */
static void add_sums(const vn_convolution *c, int64_t count, float *const *sum, float *const *out) {
    for (int64_t i = 0; i < count; i++) {
        const float *plus = c->plus + (out[i] - c->out);
        for (int64_t k = 0; k < c->taps.n; k += VN_LANES) {
            const int64_t n = vn_min_i64(VN_LANES, c->taps.n - k);
            vn_store_n(out[i] + k, vn_load_n(sum[i] + k, n) + vn_load_n(plus + k, n), n);
        }
    }
}

static void convolve_strip(const vn_convolution *c, const float *packed, const vn_strip *s,
                           const vn_strip_work *own) {
    const vn_windows *v = &c->windows;
    for (vn_group g = {0}; vn_conv_next_group(v, s, &g);) {
        const vn_reach reach = vn_conv_reach(v, &g);
        const int64_t count = vn_conv_gather(v, s, &g, c->in, own->window);
        float **to = c->plus ? own->sum : own->out;
        point_to_results(c, s, &g, own->out);
        for (int64_t i = 0; c->plus && i < count; i++) own->sum[i] = own->sums + i * c->taps.n;
        if (is_dots(c->taps.n))
            vn_gemm_dots(count, c->taps.n, window_floats(v), &reach, own->window, packed, c->bias,
                         to);
        else
            vn_gemm_rows(count, c->taps.n, window_floats(v), &reach, own->window, packed, c->bias,
                         false, to);
        if (c->plus) add_sums(c, count, own->sum, own->out);
    }
}

/* What the tasks of a convolution share. */
typedef struct vn_convolving {
    const vn_convolution *c;
    vn_strips strips;
    void *work;
} vn_convolving;

static void pack_task(void *context, int64_t row, int thread) {
    const vn_convolving *t = context;
    (void)thread;
    pack_taps(t->c, row, t->work);
}

static void strip_task(void *context, int64_t i, int thread) {
    const vn_convolving *t = context;
    const size_t bytes = strip_bytes(&t->strips, t->c->taps.n, t->c->plus != NULL);
    const vn_strip_work own =
        strip_work(&t->strips, (char *)t->work + packed_bytes(t->c) + (size_t)thread * bytes);
    const vn_strip strip = vn_conv_strip(&t->c->windows, &t->strips, i);
    convolve_strip(t->c, t->work, &strip, &own);
}

static void convolve(const vn_convolution *c, void *work, vn_thread_pool *pool) {
    const vn_windows *v = &c->windows;
    if (vn_winograd_suits(v, c->taps.n)) {
        vn_winograd_convolve(c, work, pool);
        return;
    }
    const double flops =
        2.0 * (double)(v->n * v->oh * v->ow * c->taps.n) * (double)window_floats(v);
    vn_convolving t = {c, cut_strips(v, vn_thread_pool_threads(pool)), work};
    vn_thread_pool_run(vn_share(pool, (double)weight_floats(v, c->taps.n)), v->kh, pack_task, &t);
    vn_thread_pool_run(vn_share(pool, flops / 50), t.strips.count, strip_task, &t);
}

/* ---- forward --------------------------------------------------------------------------------- */

static vn_convolution forward(const vn_node *n) {
    const bool enlarged = n->op == VN_OP_CONV2D_PLUS && n->attr.conv.up == 2;
    vn_shape x = n->in[0]->shape;
    for (int i = 1; i < 3 && enlarged; i++) x.dim[i] *= 2;
    const vn_windows v = vn_conv_windows(n, &x, &n->in[1]->shape, &n->shape);
    const int64_t outputs = n->shape.dim[3];
    return (vn_convolution){
        .windows = v,
        .enlarged = enlarged,
        .taps = {.n = outputs,
                 .down = v.kw * v.c * outputs,
                 .across = v.c * outputs,
                 .row = outputs,
                 .column = 1},
        .target = {.image = v.oh * v.ow * outputs, .row = v.ow * outputs, .pixel = outputs},
    };
}

size_t VN_W(conv2d)(const vn_node *n, int threads) {
    const vn_convolution c = forward(n);
    return convolve_bytes(&c, false, threads);
}

void VN_K(conv2d)(const vn_kernel_args *a) {
    vn_convolution c = forward(a->node);
    c.in = a->in[0];
    c.w = a->in[1];
    c.bias = a->node->inputs > 2 ? a->in[2] : NULL;
    c.out = a->out;
    convolve(&c, a->work, a->pool);
}

/* ---- of an enlarged image, and added to another ---------------------------------------------- */

/* Floats of the copy that is enlarged; 0: pixels are read where they are. */
static size_t enlarged_floats(const vn_convolution *c) {
    const vn_windows *v = &c->windows;
    const bool copied = c->enlarged && !vn_winograd_reads_small(c);
    return copied ? (size_t)(v->n * v->h * v->w * v->c) : 0;
}

typedef struct vn_enlarging {
    const vn_windows *v;
    const float *in;
    float *out;
} vn_enlarging;

/* A row of small pixels to two rows of large ones. */
static void enlarge_task(void *context, int64_t row, int thread) {
    const vn_enlarging *e = context;
    const int64_t c = e->v->c, wide = e->v->w;
    const size_t pixel = (size_t)c * sizeof(float);
    float *out = e->out + 2 * row * wide * c;
    (void)thread;
    for (int64_t x = 0; x < wide; x++)
        memcpy(out + x * c, e->in + (row * (wide / 2) + x / 2) * c, pixel);
    memcpy(out + wide * c, out, (size_t)wide * pixel);
}

size_t VN_W(conv2d_plus)(const vn_node *n, int threads) {
    const vn_convolution c = forward(n);
    return vn_region(enlarged_floats(&c), sizeof(float)) +
           convolve_bytes(&c, n->attr.conv.plus, threads);
}

void VN_K(conv2d_plus)(const vn_kernel_args *a) {
    const vn_node *n = a->node;
    vn_convolution c = forward(n);
    const size_t floats = enlarged_floats(&c);
    vn_enlarging e = {&c.windows, a->in[0], a->work};
    c.in = a->in[0];
    c.w = a->in[1];
    c.bias = n->attr.conv.bias ? a->in[2] : NULL;
    c.plus = n->attr.conv.plus ? a->in[2 + n->attr.conv.bias] : NULL;
    c.out = a->out;
    if (floats > 0) {
        vn_thread_pool_run(vn_share(a->pool, (double)floats), c.windows.n * c.windows.h / 2,
                           enlarge_task, &e);
        c.in = e.out;
        c.enlarged = false;
    }
    convolve(&c, (char *)a->work + vn_region(floats, sizeof(float)), a->pool);
}

/* ---- gradient with respect to the input ------------------------------------------------------ */

/* In one dimension: dx[i] is the sum of dy[o] w[k] over i = o * stride + k - pad. For i = phase +
 * stride * u these are the taps k = first + stride * j, and o = u + shift - j. */
typedef struct vn_phase {
    int64_t first, last, taps, shift, count; /* count: how many u */
} vn_phase;

static vn_phase phase_of(int64_t phase, int64_t stride, int64_t pad, int64_t kernel, int64_t size) {
    const int64_t first = (phase + pad) % stride,
                  taps = kernel > first ? vn_ceil_div(kernel - first, stride) : 0;
    return (vn_phase){.first = first,
                      .last = taps > 0 ? first + stride * (taps - 1) : 0,
                      .taps = taps,
                      .shift = (phase + pad) / stride,
                      .count = size > phase ? vn_ceil_div(size - phase, stride) : 0};
}

/* Phase `index` of stride * stride. The taps are read from the last to the first: the kernel turned
 * round. */
static vn_convolution gradient(const vn_node *n, int64_t index) {
    const vn_shape *dy = &n->in[0]->shape, *w = &n->in[1]->shape, *dx = &n->shape;
    const int64_t stride = n->attr.conv.stride, inputs = w->dim[2], outputs = w->dim[3];
    const int64_t tap = inputs * outputs, tap_row = w->dim[1] * tap, row = dx->dim[2] * inputs;
    const vn_phase y = phase_of(index / stride, stride, n->attr.conv.pad[0], w->dim[0], dx->dim[1]);
    const vn_phase x = phase_of(index % stride, stride, n->attr.conv.pad[2], w->dim[1], dx->dim[2]);
    return (vn_convolution){
        .windows = {.n = dy->dim[0],
                    .h = dy->dim[1],
                    .w = dy->dim[2],
                    .c = outputs,
                    .kh = y.taps,
                    .kw = x.taps,
                    .stride = 1,
                    .top = y.taps - 1 - y.shift,
                    .left = x.taps - 1 - x.shift,
                    .oh = y.count,
                    .ow = x.count},
        .taps = {.n = inputs,
                 .from = y.last * tap_row + x.last * tap,
                 .down = -stride * tap_row,
                 .across = -stride * tap,
                 .row = 1,
                 .column = outputs},
        .target = {.from = index / stride * row + index % stride * inputs,
                   .image = dx->dim[1] * row,
                   .row = stride * row,
                   .pixel = stride * inputs},
    };
}

static int64_t phases(const vn_node *n) {
    return (int64_t)n->attr.conv.stride * n->attr.conv.stride;
}

size_t VN_W(conv2d_grad_x)(const vn_node *n, int threads) {
    size_t most = 0;
    for (int64_t i = 0; i < phases(n); i++) {
        const vn_convolution c = gradient(n, i);
        const size_t bytes = convolve_bytes(&c, false, threads);
        if (bytes > most) most = bytes;
    }
    return most;
}

void VN_K(conv2d_grad_x)(const vn_kernel_args *a) {
    for (int64_t i = 0; i < phases(a->node); i++) {
        vn_convolution c = gradient(a->node, i);
        c.in = a->in[0];
        c.w = a->in[1];
        c.out = a->out;
        convolve(&c, a->work, a->pool);
    }
}
