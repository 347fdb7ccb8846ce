/* kernel_winograd_grad_w.c - Winograd's way to the gradient with respect to the weights: for each
 * point the sum over tiles of the outer product of V and A dY A^T, and G^T .. G of that at the end.
 *
 * Input and output channels are cut into pieces, so that a piece's sums at all points stay in the
 * second cache while tiles pass by. The tiles are dealt out to chunks by the shape alone, so that
 * the sum has the same order for any number of threads; the chunks' gradients are added in order at
 * the end. */
#include "cpu/kernel_sums.h"
#include "cpu/kernel_winograd.h"

#define VN_PIECE 64 /* channels, at most */
#define VN_TILES 48 /* between two additions to the sums */

/* Of pieces times chunks, that there be work for all threads; and of tiles in a chunk, to be worth
 * its sums. */
#define VN_MAX_TASKS   32
#define VN_CHUNK_TILES 256

/* From point to point, see vn_winograd_step. */
#define VN_TILES_STEP (VN_TILES * VN_PIECE + 16)
#define VN_SUMS_STEP  (VN_PIECE * VN_PIECE + 16)

/* A thread's memory: the points of a block of tiles of x and of dy, and the sums. dy's points and
 * the sums are cut into panels of columns, one after the other, as vn_gemm_outer_panel likes
 * them. */
typedef struct vn_winograd_sums {
    float x[VN_POINTS * VN_TILES_STEP], dy[VN_POINTS * VN_TILES_STEP],
        sums[VN_POINTS * VN_SUMS_STEP];
    float zeros[VN_PIECE];
} vn_winograd_sums;

/* What the tasks share. */
typedef struct vn_winograd_grad {
    const vn_windows *v;
    int64_t n, c_pieces, n_pieces, chunks;
    const float *x, *dy;
    float *chunk; /* gradients of all chunks but the first, which is out's */
    float *out;
    vn_winograd_sums *threads;
} vn_winograd_grad;

/* A task's part: channels [c, c + inputs) and [n, n + outputs), tiles [begin, end). */
typedef struct vn_grad_part {
    int64_t c, inputs, n, outputs, begin, end;
} vn_grad_part;

static vn_winograd_grad describe(const vn_windows *v, int64_t n) {
    vn_winograd_grad g = {.v = v,
                          .n = n,
                          .c_pieces = vn_ceil_div(v->c, VN_PIECE),
                          .n_pieces = vn_ceil_div(n, VN_PIECE)};
    const int64_t pieces = g.c_pieces * g.n_pieces, tiles = vn_winograd_tiles(v);
    /* so that two threads have work */
    const int64_t least = pieces == 1 && tiles >= 2 * VN_TILES ? 2 : 1;
    g.chunks = vn_max_i64(vn_min_i64(VN_MAX_TASKS / pieces, tiles / VN_CHUNK_TILES), least);
    return g;
}

static int64_t weights_of(const vn_winograd_grad *g) {
    return 9 * g->v->c * g->n;
}

static size_t chunk_bytes(const vn_winograd_grad *g) {
    return vn_region((size_t)((g->chunks - 1) * weights_of(g)), sizeof(float));
}

size_t vn_winograd_grad_w_bytes(const vn_windows *v, int64_t n, int threads) {
    const vn_winograd_grad g = describe(v, n);
    return chunk_bytes(&g) + (size_t)threads * sizeof(vn_winograd_sums);
}

/* ---- dY to points ---------------------------------------------------------------------------- */

/* A dY A^T of one tile, to point p's row at to + p * VN_TILES_STEP. */
static void tile_points(const float *const pixel[4], int64_t width, float *to) {
    for (int64_t k = 0; k < width; k += VN_LANES) {
        vn_vec y[4];
        VN_UNROLL for (int i = 0; i < 4; i++) y[i] = vn_load(pixel[i] + k);
        VN_UNROLL for (int i = 0; i < 4; i++) {
            const vn_vec left = vn_winograd_a(i, y[0], y[2]), right = vn_winograd_a(i, y[1], y[3]);
            VN_UNROLL for (int j = 0; j < 4; j++)
                vn_store(to + (4 * i + j) * VN_TILES_STEP + k, vn_winograd_a(j, left, right));
        }
    }
}

static void block_points(const vn_winograd_grad *g, const vn_grad_part *p, int64_t begin,
                         int64_t end, vn_winograd_sums *s) {
    const vn_windows *v = g->v;
    for (int64_t t = begin; t < end; t++) {
        const vn_winograd_place tile = vn_winograd_tile(v, t);
        const float *first = g->dy + ((tile.image * v->oh + tile.y) * v->ow + tile.x) * g->n + p->n;
        const bool below = tile.y + 1 < v->oh, right = tile.x + 1 < v->ow;
        for (int64_t at = 0; at < p->outputs; at += VN_PANEL) {
            const int64_t width = vn_min_i64(VN_PANEL, p->outputs - at);
            const float *const pixel[4] = {first + at, right ? first + g->n + at : s->zeros,
                                           below ? first + v->ow * g->n + at : s->zeros,
                                           below && right ? first + (v->ow + 1) * g->n + at
                                                          : s->zeros};
            tile_points(pixel, width, s->dy + at * (end - begin) + (t - begin) * width);
        }
    }
}

/* ---- sums ------------------------------------------------------------------------------------ */

static void add_block(const vn_grad_part *p, int64_t tiles, vn_winograd_sums *s) {
    const float *row[VN_TILES];
    for (int64_t i = 0; i < VN_POINTS; i++) {
        for (int64_t t = 0; t < tiles; t++) row[t] = s->x + i * VN_TILES_STEP + t * p->inputs;
        for (int64_t at = 0; at < p->outputs; at += VN_PANEL)
            vn_gemm_outer_panel(p->inputs, vn_min_i64(VN_PANEL, p->outputs - at), tiles, row,
                                s->dy + i * VN_TILES_STEP + at * tiles,
                                s->sums + i * VN_SUMS_STEP + at * p->inputs);
    }
}

/* G^T .. G of the sums of one input channel and a vector of output channels, to taps `tap`
 * apart. */
VN_INLINE void kernel_gradient(const float *sums, float *to, int64_t tap) {
    vn_vec g[3][4];
    VN_UNROLL for (int j = 0; j < 4; j++) {
        const float *from = sums + j * VN_SUMS_STEP;
        const vn_vec p0 = vn_load(from), p1 = vn_load(from + 4 * VN_SUMS_STEP),
                     p2 = vn_load(from + 8 * VN_SUMS_STEP), p3 = vn_load(from + 12 * VN_SUMS_STEP);
        VN_UNROLL for (int i = 0; i < 3; i++) g[i][j] = vn_winograd_gt(i, p0, p1, p2, p3);
    }
    VN_UNROLL for (int i = 0; i < 9; i++) vn_store(
        to + i * tap, vn_winograd_gt(i % 3, g[i / 3][0], g[i / 3][1], g[i / 3][2], g[i / 3][3]));
}

static void part_gradient(const vn_winograd_grad *g, const vn_grad_part *p, const float *sums,
                          float *out) {
    for (int64_t at = 0; at < p->outputs; at += VN_PANEL) {
        const int64_t width = vn_min_i64(VN_PANEL, p->outputs - at);
        for (int64_t c = 0; c < p->inputs; c++)
            for (int64_t k = 0; k < width; k += VN_LANES)
                kernel_gradient(sums + at * p->inputs + c * width + k,
                                out + (p->c + c) * g->n + p->n + at + k, g->v->c * g->n);
    }
}

static vn_grad_part part_of(const vn_winograd_grad *g, int64_t chunk, int64_t piece) {
    vn_grad_part p = {.c = piece / g->n_pieces * VN_PIECE, .n = piece % g->n_pieces * VN_PIECE};
    p.inputs = vn_min_i64(VN_PIECE, g->v->c - p.c);
    p.outputs = vn_min_i64(VN_PIECE, g->n - p.n);
    vn_part(vn_winograd_tiles(g->v), g->chunks, chunk, &p.begin, &p.end);
    return p;
}

static void sum_task(void *context, int64_t i, int thread) {
    const vn_winograd_grad *g = context;
    const int64_t pieces = g->c_pieces * g->n_pieces, chunk = i / pieces;
    const vn_grad_part p = part_of(g, chunk, i % pieces);
    vn_winograd_sums *s = &g->threads[thread];
    const int64_t blocks = vn_ceil_div(p.end - p.begin, VN_TILES);
    memset(s->zeros, 0, sizeof s->zeros);
    for (int64_t k = 0; k < VN_POINTS; k++)
        memset(s->sums + k * VN_SUMS_STEP, 0, (size_t)(p.inputs * p.outputs) * sizeof(float));
    for (int64_t b = 0; b < blocks; b++) {
        int64_t begin, end;
        vn_part(p.end - p.begin, blocks, b, &begin, &end);
        begin += p.begin, end += p.begin;
        vn_winograd_windows(g->v, g->x + p.c, p.inputs, begin, end, s->zeros, s->x, VN_TILES_STEP);
        block_points(g, &p, begin, end, s);
        add_block(&p, end - begin, s);
    }
    part_gradient(g, &p, s->sums, chunk ? g->chunk + (chunk - 1) * weights_of(g) : g->out);
}

void vn_winograd_grad_w(const vn_windows *v, int64_t n, const float *x, const float *dy, float *out,
                        void *work, vn_thread_pool *pool) {
    vn_winograd_grad g = describe(v, n);
    const double products = (double)vn_winograd_tiles(v) * VN_POINTS * (double)(v->c * n);
    g.x = x;
    g.dy = dy;
    g.out = out;
    g.chunk = work;
    g.threads = (vn_winograd_sums *)((char *)work + chunk_bytes(&g));
    vn_thread_pool_run(vn_share(pool, products / 25), g.chunks * g.c_pieces * g.n_pieces, sum_task,
                       &g);
    vn_add_arrays(out, g.chunk, weights_of(&g), g.chunks - 1, pool);
}
