/* kernel_winograd.c - Winograd's convolution: weights to points once, then, a block of tiles at a
 * time, windows to points, 16 products, points to results.
 *
 * A block's points stay in the second cache between the steps. Tiles of different images share a
 * block: a row of a product does not depend on the others. */
#include "cpu/kernel_winograd.h"

/* Channels below this make products too short for what the transforms cost. */
#define VN_MIN_CHANNELS 32

bool vn_winograd_suits(const vn_windows *v, int64_t n) {
    const int64_t tiles = vn_ceil_div(v->oh, 2) * vn_ceil_div(v->ow, 2);
    return v->kh == 3 && v->kw == 3 && v->stride == 1 && v->c % VN_LANES == 0 &&
           n % VN_LANES == 0 && v->c >= VN_MIN_CHANNELS && n >= VN_MIN_CHANNELS && tiles >= 16 &&
           v->oh * v->ow >= 3 * tiles; /* results of the 4 in each */
}

bool vn_winograd_reads_small(const vn_convolution *c) {
    const vn_windows *v = &c->windows;
    return c->enlarged && v->top == 1 && v->left == 1 && vn_winograd_suits(v, c->taps.n);
}

/* ---- blocks of tiles ------------------------------------------------------------------------- */

/* A block's points should stay in the second cache, but a block be worth reading all the weights
 * for. Where those of a point fit no second cache, they come from far away for every block: it has
 * many tiles, and there are only as many more blocks as give each thread as many. */
#define VN_BLOCK_POINTS (VN_LANES == 16 ? 131072 : 98304) /* with AVX-512 it is of 1 MB and more */
#define VN_MIN_TILES    24
#define VN_MAX_TILES    (VN_LANES == 16 ? 84 : 48) /* 84: six tiles of the product's 14 rows */
#define VN_NEAR_WEIGHTS (256 * 256)
#define VN_FAR_TILES    128
#define VN_FEW_TILES    8 /* the fewest that a block is cut down to for the sake of more threads */

/* What the tasks share. The workspace: the weights' points, then for each thread those of a block's
 * windows, those of its results, and a pixel for what is beside the image. */
typedef struct vn_winograd {
    const vn_convolution *c;
    float *work;
    int64_t blocks, tiles;                  /* so many tiles at most in a block */
    int64_t weight_step, in_step, out_step; /* from point to point */
    int64_t own;                            /* a thread's floats */
} vn_winograd;

static vn_winograd describe(const vn_convolution *c, int threads) {
    const int64_t in = c->windows.c, out = c->taps.n, tiles = vn_winograd_tiles(&c->windows);
    const bool near = in * out <= VN_NEAR_WEIGHTS;
    vn_winograd w = {.c = c};
    const int64_t points = vn_winograd_reads_small(c) ? 9 : VN_POINTS;
    w.tiles =
        vn_min_i64(vn_max_i64(VN_BLOCK_POINTS / (points * (in + out)), VN_MIN_TILES), VN_MAX_TILES);
    if (!near) w.tiles = vn_max_i64(vn_min_i64(VN_FAR_TILES, tiles), VN_MIN_TILES);
    w.blocks = vn_ceil_div(tiles, w.tiles);
    const int64_t wanted = near ? 4 * threads : vn_ceil_div(w.blocks, threads) * threads;
    if (threads > 1) w.blocks = vn_max_i64(w.blocks, vn_min_i64(wanted, tiles / VN_FEW_TILES));
    w.weight_step = vn_winograd_step((int64_t)vn_packed_floats(in, out));
    w.in_step = vn_winograd_step(w.tiles * in);
    w.out_step = vn_winograd_step(w.tiles * out);
    w.own = VN_POINTS * (w.in_step + w.out_step) + vn_winograd_step(vn_max_i64(in, out));
    return w;
}

size_t vn_winograd_bytes(const vn_convolution *c, int threads) {
    const vn_winograd w = describe(c, threads);
    return (size_t)(VN_POINTS * w.weight_step + threads * w.own) * sizeof(float);
}

static float *own_work(const vn_winograd *w, int thread) {
    return w->work + VN_POINTS * w->weight_step + thread * w->own;
}

/* ---- weights --------------------------------------------------------------------------------- */

/* U of `floats` places; the taps at a place are `floats` apart. */
static void kernel_points(bool enlarged, const float *taps, int64_t floats, float *to,
                          int64_t step) {
    for (int64_t k = 0; k < floats; k += VN_LANES) {
        vn_vec g[9];
        VN_UNROLL for (int i = 0; i < 9; i++) g[i] = vn_load(taps + i * floats + k);
        VN_UNROLL for (int i = 0; i < 4; i++) {
            vn_vec u[3];
            VN_UNROLL for (int j = 0; j < 3; j++) u[j] = vn_winograd_g(i, g[j], g[3 + j], g[6 + j]);
            VN_UNROLL for (int j = 0; j < 4; j++) if (!vn_winograd_skips(enlarged, 4 * i + j))
                vn_store(to + (4 * i + j) * step + k, vn_winograd_g(j, u[0], u[1], u[2]));
        }
    }
}

/* A panel of every point's matrix. Its nine taps are packed where the thread will have its
 * windows. */
_Static_assert(9 * VN_PANEL <= VN_POINTS * VN_MIN_TILES, "no room for a panel's taps");

static void weights_task(void *context, int64_t panel, int thread) {
    const vn_winograd *w = context;
    const vn_taps *t = &w->c->taps;
    const int64_t in = w->c->windows.c, first = panel * VN_PANEL,
                  columns = vn_min_i64(VN_PANEL, t->n - first);
    float *taps = own_work(w, thread);
    for (int64_t i = 0; i < 9; i++)
        vn_gemm_pack(taps + i * in * columns, in, columns, 0, 0, in,
                     w->c->w + t->from + i / 3 * t->down + i % 3 * t->across + first * t->column,
                     t->row, t->column);
    kernel_points(w->c->enlarged, taps, in * columns, w->work + first * in, w->weight_step);
}

/* ---- windows --------------------------------------------------------------------------------- */

/* V of one window. A row of it at a time, for which pixels are loaded again, because 16 vectors do
 * not fit the registers. */
static void window_points(const float *const pixel[VN_POINTS], int64_t channels, float *to,
                          int64_t step) {
    for (int64_t k = 0; k < channels; k += VN_LANES) {
        VN_UNROLL for (int i = 0; i < 4; i++) {
            vn_vec d[4];
            VN_UNROLL for (int j = 0; j < 4; j++) {
                const vn_vec p0 = vn_load(pixel[j] + k), p1 = vn_load(pixel[4 + j] + k),
                             p2 = vn_load(pixel[8 + j] + k), p3 = vn_load(pixel[12 + j] + k);
                d[j] = vn_winograd_bt(i, p0, p1, p2, p3);
            }
            VN_UNROLL for (int j = 0; j < 4; j++)
                vn_store(to + (4 * i + j) * step + k, vn_winograd_bt(j, d[0], d[1], d[2], d[3]));
        }
    }
}

void vn_winograd_windows(const vn_windows *v, const float *in, int64_t channels, int64_t begin,
                         int64_t end, const float *zeros, float *to, int64_t step) {
    for (int64_t t = begin; t < end; t++, to += channels) {
        const vn_winograd_place tile = vn_winograd_tile(v, t);
        const float *pixel[VN_POINTS];
        for (int64_t i = 0; i < VN_POINTS; i++) {
            const int64_t y = tile.y - v->top + i / 4, x = tile.x - v->left + i % 4;
            const bool inside = y >= 0 && y < v->h && x >= 0 && x < v->w;
            pixel[i] = inside ? in + ((tile.image * v->h + y) * v->w + x) * v->c : zeros;
        }
        window_points(pixel, channels, to, step);
    }
}

/* The points that are not zero, of a window of 3 x 3 pixels of the small image. */
static void small_points(const float *const pixel[9], int64_t channels, float *to, int64_t step) {
    for (int64_t k = 0; k < channels; k += VN_LANES) {
        VN_UNROLL for (int i = 0; i < 4; i++) {
            if (vn_winograd_is_zero(i)) continue;
            vn_vec d[3];
            VN_UNROLL for (int j = 0; j < 3; j++) {
                const vn_vec a = vn_load(pixel[j] + k), b = vn_load(pixel[3 + j] + k),
                             c = vn_load(pixel[6 + j] + k);
                d[j] = vn_winograd_bt(i, a, b, b, c);
            }
            VN_UNROLL for (int j = 0; j < 4; j++) if (!vn_winograd_is_zero(j))
                vn_store(to + (4 * i + j) * step + k, vn_winograd_bt(j, d[0], d[1], d[1], d[2]));
        }
    }
}

static void small_windows(const vn_windows *v, const float *in, int64_t begin, int64_t end,
                          const float *zeros, float *to, int64_t step) {
    const int64_t high = v->h / 2, wide = v->w / 2;
    for (int64_t t = begin; t < end; t++, to += v->c) {
        const vn_winograd_place tile = vn_winograd_tile(v, t);
        const float *pixel[9];
        for (int64_t i = 0; i < 9; i++) {
            const int64_t y = tile.y / 2 - 1 + i / 3, x = tile.x / 2 - 1 + i % 3;
            const bool inside = y >= 0 && y < high && x >= 0 && x < wide;
            pixel[i] = inside ? in + ((tile.image * high + y) * wide + x) * v->c : zeros;
        }
        small_points(pixel, v->c, to, step);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

/* plus: what is added to each pixel, or NULL. */
VN_INLINE void tile_results(const bool enlarged, const float *points, int64_t step, int64_t n,
                            const float *bias, const float *const *plus, float *const pixel[4]) {
    for (int64_t k = 0; k < n; k += VN_LANES) {
        const vn_vec b = bias ? vn_load(bias + k) : vn_set(0);
        vn_vec m[2][4];
        VN_UNROLL for (int j = 0; j < 4; j++) {
            const float *from = points + j * step + k;
            vn_vec p[4];
            VN_UNROLL for (int i = 0; i < 4; i++) p[i] =
                vn_winograd_skips(enlarged, 4 * i + j) ? vn_set(0) : vn_load(from + 4 * i * step);
            VN_UNROLL for (int i = 0; i < 2; i++) m[i][j] =
                vn_winograd_at(i, p[0], p[1], p[2], p[3]);
        }
        VN_UNROLL for (int i = 0; i < 4; i++) {
            const vn_vec y =
                vn_winograd_at(i % 2, m[i / 2][0], m[i / 2][1], m[i / 2][2], m[i / 2][3]) + b;
            vn_store(pixel[i] + k, plus ? y + vn_load(plus[i] + k) : y);
        }
    }
}

/* nowhere: a pixel's worth, for results beside the image. */
static void block_results(const vn_winograd *w, int64_t begin, int64_t end, const float *points,
                          float *nowhere) {
    const vn_convolution *c = w->c;
    const vn_windows *v = &c->windows;
    const vn_target *t = &c->target;
    for (int64_t i = begin; i < end; i++, points += c->taps.n) {
        const vn_winograd_place tile = vn_winograd_tile(v, i);
        float *first =
            c->out + t->from + tile.image * t->image + tile.y * t->row + tile.x * t->pixel;
        const bool below = tile.y + 1 < v->oh, right = tile.x + 1 < v->ow;
        float *const pixel[4] = {first, right ? first + t->pixel : nowhere,
                                 below ? first + t->row : nowhere,
                                 below && right ? first + t->row + t->pixel : nowhere};
        const float *plus[4];
        for (int k = 0; k < 4 && c->plus; k++)
            plus[k] = pixel[k] == nowhere ? nowhere : c->plus + (pixel[k] - c->out);
        if (c->enlarged)
            tile_results(true, points, w->out_step, c->taps.n, c->bias, c->plus ? plus : NULL,
                         pixel);
        else
            tile_results(false, points, w->out_step, c->taps.n, c->bias, c->plus ? plus : NULL,
                         pixel);
    }
}

/* ---- a block --------------------------------------------------------------------------------- */

static void multiply_points(const vn_winograd *w, int64_t tiles, const float *in, float *out) {
    const int64_t k = w->c->windows.c, n = w->c->taps.n;
    const vn_reach reach = vn_reach_row(k);
    const float *row[VN_FAR_TILES];
    float *to[VN_FAR_TILES];
    for (int64_t p = 0; p < VN_POINTS; p++) {
        if (vn_winograd_skips(w->c->enlarged, p)) continue;
        for (int64_t t = 0; t < tiles; t++) {
            row[t] = in + p * w->in_step + t * k;
            to[t] = out + p * w->out_step + t * n;
        }
        vn_gemm_rows(tiles, n, k, &reach, row, w->work + p * w->weight_step, NULL, false, to);
    }
}

static void block_task(void *context, int64_t block, int thread) {
    const vn_winograd *w = context;
    const vn_windows *v = &w->c->windows;
    float *in = own_work(w, thread), *out = in + VN_POINTS * w->in_step,
          *pixel = out + VN_POINTS * w->out_step;
    int64_t begin, end;
    vn_part(vn_winograd_tiles(v), w->blocks, block, &begin, &end);
    memset(pixel, 0, (size_t)v->c * sizeof(float));
    if (w->c->enlarged)
        small_windows(v, w->c->in, begin, end, pixel, in, w->in_step);
    else
        vn_winograd_windows(v, w->c->in, v->c, begin, end, pixel, in, w->in_step);
    multiply_points(w, end - begin, in, out);
    block_results(w, begin, end, out, pixel);
}

void vn_winograd_convolve(const vn_convolution *c, void *work, vn_thread_pool *pool) {
    const int64_t tiles = vn_winograd_tiles(&c->windows);
    const double weights = VN_POINTS * (double)(c->windows.c * c->taps.n);
    vn_winograd w = describe(c, vn_thread_pool_threads(pool));
    w.work = work;
    vn_thread_pool_run(vn_share(pool, weights), vn_panels(c->taps.n), weights_task, &w);
    vn_thread_pool_run(vn_share(pool, (double)tiles * weights / 25), w.blocks, block_task, &w);
}
