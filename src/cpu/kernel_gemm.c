/* kernel_gemm.c - register tiles of the matrix product, and the loops that walk them.
 *
 * A tile is some rows by one or two vectors of columns, held in registers for the whole sum. The
 * tile functions are written once for constant sizes that the compiler unrolls; a table holds one
 * for each number of rows, so that m rows are cut into tiles of nearly equal height instead of many
 * tall ones and a poor short one. */
#include "cpu/kernel_gemm.h"
#include "cpu/kernel_turn.h"

/* Tallest tile: 2 * MR sums, 2 vectors of B and one of A must fit the registers (32 with AVX-512,
 * 16 otherwise). */
#if defined(__AVX512F__)
#define VN_MAX_ROWS 14
/* clang-format off */
#define VN_EACH_HEIGHT(X, nv) \
    X(1, nv) X(2, nv) X(3, nv) X(4, nv) X(5, nv) X(6, nv) X(7, nv) \
    X(8, nv) X(9, nv) X(10, nv) X(11, nv) X(12, nv) X(13, nv) X(14, nv)
/* clang-format on */
#else
#define VN_MAX_ROWS           6
#define VN_EACH_HEIGHT(X, nv) X(1, nv) X(2, nv) X(3, nv) X(4, nv) X(5, nv) X(6, nv)
#endif

/* m rows cut into tiles of nearly equal height: tile i has `height` rows, one more if i <
 * taller. */
typedef struct vn_tiles {
    int64_t count, height, taller;
} vn_tiles;

static inline vn_tiles cut_tiles(int64_t m) {
    const int64_t count = vn_ceil_div(m, VN_MAX_ROWS);
    return count > 0 ? (vn_tiles){count, m / count, m % count} : (vn_tiles){0};
}

/* ---- packing --------------------------------------------------------------------------------- */

#if !defined(VN_ROUNDED)
static inline void copy_row(float *to, const float *from, int64_t n, int64_t step) {
    if (step == 1)
        memcpy(to, from, (size_t)n * sizeof(float));
    else
        for (int64_t j = 0; j < n; j++) to[j] = from[j * step];
}

void vn_gemm_pack(float *packed, int64_t k, int64_t n, int64_t p, int64_t begin, int64_t count,
                  const float *b, int64_t row, int64_t column) {
    const int64_t first = p * VN_PANEL, columns = vn_min_i64(VN_PANEL, n - first);
    const int64_t width = vn_ceil_div(columns, VN_LANES) * VN_LANES;
    float *to = packed + first * k + begin * width;
    b += first * column;
    if (row == 1) vn_turn(to, width, b, column, columns, count);
    for (int64_t i = 0; i < count; i++, to += width, b += row) {
        if (row != 1) copy_row(to, b, columns, column);
        for (int64_t j = columns; j < width; j++) to[j] = 0;
    }
}
#endif

/* ---- tiles of the row form ------------------------------------------------------------------- */

/* A part of the sum, for one panel of columns: rows are read from `from` on; b is where that meets
 * the panel; `column` is the panel's first in out. */
typedef struct vn_part_sum {
    vn_reach reach;
    int64_t from, column;
    const vn_term *b;
    const float *bias; /* whole vectors, or NULL */
    bool add;
} vn_part_sum;

typedef void (*vn_rows_tile)(const vn_part_sum *p, const vn_term *const *row, float *const *out);

VN_INLINE void rows_tile(const int mr, const int nv, const vn_part_sum *p,
                         const vn_term *const *row, float *const *out) {
    vn_vec sum[VN_MAX_ROWS][2];
    const vn_term *a[VN_MAX_ROWS];
    VN_UNROLL for (int i = 0; i < mr; i++) {
        a[i] = row[i];
        VN_UNROLL for (int j = 0; j < nv; j++) sum[i][j] =
            p->bias ? vn_load(p->bias + j * VN_LANES) : vn_set(0);
    }
    for (int64_t s = 0; s < p->reach.segments; s++) {
        const int64_t from = p->from + s * p->reach.jump, to = from + p->reach.length;
        const vn_term *b = p->b + s * p->reach.step * nv * VN_LANES;
        for (int64_t k = from; k < to; k += VN_PAIR, b += nv * VN_LANES * VN_PAIR) {
            const vn_terms b0 = vn_terms_load(b),
                           b1 = nv > 1 ? vn_terms_load(b + VN_LANES * VN_PAIR) : b0;
            VN_UNROLL for (int i = 0; i < mr; i++) {
                const vn_terms x = vn_terms_spread(a[i] + k);
                VN_UNROLL for (int j = 0; j < nv; j++) sum[i][j] =
                    vn_terms_add(x, j ? b1 : b0, sum[i][j]);
            }
        }
    }
    VN_UNROLL for (int i = 0; i < mr; i++) {
        VN_UNROLL for (int j = 0; j < nv; j++) {
            float *to = out[i] + p->column + j * VN_LANES;
            vn_store(to, p->add ? vn_load(to) + sum[i][j] : sum[i][j]);
        }
    }
}

#define VN_ROWS_TILE(mr, nv)                                                                       \
    static void rows_tile_##mr##_##nv(const vn_part_sum *p, const vn_term *const *row,             \
                                      float *const *out) {                                         \
        rows_tile(mr, nv, p, row, out);                                                            \
    }
#define VN_ROWS_NAME(mr, nv) rows_tile_##mr##_##nv,

VN_EACH_HEIGHT(VN_ROWS_TILE, 1)
VN_EACH_HEIGHT(VN_ROWS_TILE, 2)

static const vn_rows_tile rows_tiles[2][VN_MAX_ROWS] = {{VN_EACH_HEIGHT(VN_ROWS_NAME, 1)},
                                                        {VN_EACH_HEIGHT(VN_ROWS_NAME, 2)}};

/* A tile that is not whole vectors wide goes through memory of its own. */
static void rows_partial(vn_rows_tile tile, const vn_part_sum *p, int64_t height, int64_t columns,
                         const vn_term *const *row, float *const *out) {
    float sum[VN_MAX_ROWS][VN_PANEL];
    float *to[VN_MAX_ROWS] = {0};
    vn_part_sum alone = *p;
    alone.add = false;
    alone.column = 0;
    for (int64_t i = 0; i < height; i++) to[i] = sum[i];
    tile(&alone, row, to);
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < columns; j++) {
            float *at = out[i] + p->column + j;
            *at = p->add ? *at + sum[i][j] : sum[i][j];
        }
}

/* Asks for what the tile after this one will write: a store waits for its line, and at a tile's end
 * all lines are missing. */
static inline void fetch_tile(int64_t height, int64_t column, float *const *out) {
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < VN_PANEL; j += 64 / (int64_t)sizeof(float))
            __builtin_prefetch(out[i] + column + j, 1, 2);
}

/* Rows of A so short that the processor would not see them coming, unlike longer ones. */
#define VN_SHORT_TERMS (128 * VN_PAIR)

/* Asks for the rows of A that the next tile will read. */
static inline void fetch_terms(int64_t height, const vn_part_sum *p, const vn_term *const *row) {
    for (int64_t i = 0; i < height; i++)
        for (int64_t k = 0; k < p->reach.length; k += 64 / (int64_t)sizeof(vn_term))
            __builtin_prefetch(row[i] + p->from + k, 0, 3);
}

/* All rows, for a panel's columns and a part of the sum. */
static void rows_panel(int64_t m, int64_t columns, const vn_part_sum *p, const vn_term *const *row,
                       float *const *out) {
    const vn_tiles tiles = cut_tiles(m);
    const int64_t vectors = columns > VN_LANES ? 2 : 1;
    const bool unseen =
        p->column == 0 && p->reach.segments == 1 && p->reach.length <= VN_SHORT_TERMS;
    float *const *const first = out;
    for (int64_t i = 0; i < tiles.count; i++) {
        const int64_t height = tiles.height + (i < tiles.taller);
        const vn_rows_tile tile = rows_tiles[vectors - 1][height - 1];
        if (i + 1 < tiles.count)
            fetch_tile(tiles.height, p->column, out + height);
        else
            fetch_tile(tiles.height, p->column + VN_PANEL, first);
        if (unseen && i + 1 < tiles.count) fetch_terms(tiles.height, p, row + height);
        if (columns == vectors * VN_LANES)
            tile(p, row, out);
        else
            rows_partial(tile, p, height, columns, row, out);
        row += height;
        out += height;
    }
}

/* So many rows of B are used at a time: a panel's stay in the first cache while all rows of A pass
 * by, and A's in the second while the panels do. */
#define VN_ROWS_TERMS (256 * VN_PAIR)

/* One part of the sum, for all panels. */
static void rows_part(int64_t m, int64_t n, int64_t k, const vn_part_sum *part,
                      const vn_term *const *row, const vn_term *packed, const float *bias,
                      float *const *out) {
    vn_part_sum p = *part;
    float padded[VN_PANEL] = {0};
    for (p.column = 0; p.column < n; p.column += VN_PANEL) {
        const int64_t columns = vn_min_i64(VN_PANEL, n - p.column),
                      width = vn_ceil_div(columns, VN_LANES) * VN_LANES;
        p.b = packed + p.column * vn_paired(k) + p.reach.first * width;
        p.bias = bias ? bias + p.column : NULL;
        if (bias && columns < width) {
            memcpy(padded, p.bias, (size_t)columns * sizeof(float));
            p.bias = padded;
        }
        rows_panel(m, columns, &p, row, out);
    }
}

void vn_gemm_rows(int64_t m, int64_t n, int64_t k, const vn_reach *reach, const vn_term *const *row,
                  const vn_term *packed, const float *bias, bool add, float *const *out) {
    /* segments in a part */
    const int64_t together = vn_max_i64(VN_ROWS_TERMS / vn_max_i64(reach->length, 1), 1);
    /* parts of a segment */
    const int64_t pieces = vn_max_i64(vn_ceil_div(reach->length, VN_ROWS_TERMS), 1);
    vn_part_sum p = {.reach = *reach, .add = add};
    for (int64_t s = 0; s == 0 || s < reach->segments; s += together)
        for (int64_t piece = 0; piece < pieces; piece++) {
            int64_t begin, end;
            vn_part(reach->length / VN_PAIR, pieces, piece, &begin, &end);
            begin *= VN_PAIR;
            end *= VN_PAIR;
            p.reach.segments = vn_min_i64(together, reach->segments - s);
            p.reach.length = end - begin;
            p.reach.first = reach->first + s * reach->step + begin;
            p.from = s * reach->jump + begin;
            rows_part(m, n, k, &p, row, packed, bias, out);
            bias = NULL;
            p.add = true;
        }
}

/* ---- dot products ---------------------------------------------------------------------------- */

#if !defined(VN_ROUNDED)
#define VN_DOT_ROWS 4

VN_INLINE void dots_tile(const int mr, const int nc, const vn_reach *reach, const float *const *row,
                         const float *columns, int64_t stride,
                         float sums[VN_DOT_ROWS][VN_DOT_COLUMNS]) {
    vn_vec sum[VN_DOT_ROWS][VN_DOT_COLUMNS];
    float rest[VN_DOT_ROWS][VN_DOT_COLUMNS] = {{0}};
    VN_UNROLL for (int i = 0; i < mr; i++) {
        VN_UNROLL for (int j = 0; j < nc; j++) sum[i][j] = vn_set(0);
    }
    for (int64_t s = 0; s < reach->segments; s++) {
        const int64_t from = s * reach->jump;
        const float *b = columns + reach->first + s * reach->step;
        int64_t k = 0;
        for (; k + VN_LANES <= reach->length; k += VN_LANES) {
            VN_UNROLL for (int i = 0; i < mr; i++) {
                const vn_vec x = vn_load(row[i] + from + k);
                VN_UNROLL for (int j = 0; j < nc; j++) sum[i][j] =
                    vn_fma(x, vn_load(b + j * stride + k), sum[i][j]);
            }
        }
        for (; k < reach->length; k++)
            for (int i = 0; i < mr; i++)
                for (int j = 0; j < nc; j++) rest[i][j] += row[i][from + k] * b[j * stride + k];
    }
    VN_UNROLL for (int i = 0; i < mr; i++) {
        VN_UNROLL for (int j = 0; j < nc; j++) sums[i][j] = vn_hsum(sum[i][j]) + rest[i][j];
    }
}

typedef void (*vn_dots_tile)(const vn_reach *reach, const float *const *row, const float *b,
                             int64_t stride, float sums[VN_DOT_ROWS][VN_DOT_COLUMNS]);

#define VN_DOTS_TILE(mr, nc)                                                                       \
    static void dots_tile_##mr##_##nc(const vn_reach *reach, const float *const *row,              \
                                      const float *b, int64_t stride,                              \
                                      float sums[VN_DOT_ROWS][VN_DOT_COLUMNS]) {                   \
        dots_tile(mr, nc, reach, row, b, stride, sums);                                            \
    }
#define VN_DOTS_NAME(mr, nc)      dots_tile_##mr##_##nc,
#define VN_EACH_DOT_HEIGHT(X, nc) X(1, nc) X(2, nc) X(3, nc) X(4, nc)

VN_EACH_DOT_HEIGHT(VN_DOTS_TILE, 1)
VN_EACH_DOT_HEIGHT(VN_DOTS_TILE, 2)
VN_EACH_DOT_HEIGHT(VN_DOTS_TILE, 3)
VN_EACH_DOT_HEIGHT(VN_DOTS_TILE, 4)

static const vn_dots_tile dots_tiles[VN_DOT_COLUMNS][VN_DOT_ROWS] = {
    {VN_EACH_DOT_HEIGHT(VN_DOTS_NAME, 1)},
    {VN_EACH_DOT_HEIGHT(VN_DOTS_NAME, 2)},
    {VN_EACH_DOT_HEIGHT(VN_DOTS_NAME, 3)},
    {VN_EACH_DOT_HEIGHT(VN_DOTS_NAME, 4)}};

void vn_gemm_dots(int64_t m, int64_t n, int64_t k, const vn_reach *reach, const float *const *row,
                  const float *b, const float *bias, float *const *out) {
    for (int64_t j = 0; j < n; j += VN_DOT_COLUMNS) {
        const int64_t columns = vn_min_i64(VN_DOT_COLUMNS, n - j);
        for (int64_t i = 0; i < m; i += VN_DOT_ROWS) {
            const int64_t height = vn_min_i64(VN_DOT_ROWS, m - i);
            float sums[VN_DOT_ROWS][VN_DOT_COLUMNS];
            dots_tiles[columns - 1][height - 1](reach, row + i, b + j * k, k, sums);
            for (int64_t r = 0; r < height; r++)
                for (int64_t c = 0; c < columns; c++)
                    out[i + r][j + c] = sums[r][c] + (bias ? bias[j + c] : 0);
        }
    }
}
#endif

/* ---- tiles of the outer form ----------------------------------------------------------------- */

/* `terms` counts pairs here, where terms come in pairs. */
typedef void (*vn_outer_tile)(int64_t terms, const vn_term *const *a, int64_t from,
                              const vn_term *b, float *out, int64_t stride);

VN_INLINE void outer_tile(const int mr, const int nv, int64_t terms, const vn_term *const *a,
                          int64_t from, const vn_term *b, float *out, int64_t stride) {
    vn_vec sum[VN_MAX_ROWS][2];
    VN_UNROLL for (int i = 0; i < mr; i++) {
        VN_UNROLL for (int j = 0; j < nv; j++) sum[i][j] = vn_set(0);
    }
    for (int64_t k = 0; k < terms; k++, b += nv * VN_LANES * VN_PAIR) {
        const vn_term *x = a[k] + from * VN_PAIR;
        const vn_terms b0 = vn_terms_load(b),
                       b1 = nv > 1 ? vn_terms_load(b + VN_LANES * VN_PAIR) : b0;
        VN_UNROLL for (int i = 0; i < mr; i++) {
            const vn_terms xi = vn_terms_spread(x + i * VN_PAIR);
            VN_UNROLL for (int j = 0; j < nv; j++) sum[i][j] =
                vn_terms_add(xi, j ? b1 : b0, sum[i][j]);
        }
    }
    VN_UNROLL for (int i = 0; i < mr; i++) {
        VN_UNROLL for (int j = 0; j < nv; j++) {
            float *to = out + i * stride + j * VN_LANES;
            vn_store(to, vn_load(to) + sum[i][j]);
        }
    }
}

#define VN_OUTER_TILE(mr, nv)                                                                      \
    static void outer_tile_##mr##_##nv(int64_t terms, const vn_term *const *a, int64_t from,       \
                                       const vn_term *b, float *out, int64_t stride) {             \
        outer_tile(mr, nv, terms, a, from, b, out, stride);                                        \
    }
#define VN_OUTER_NAME(mr, nv) outer_tile_##mr##_##nv,

VN_EACH_HEIGHT(VN_OUTER_TILE, 1)
VN_EACH_HEIGHT(VN_OUTER_TILE, 2)

static const vn_outer_tile outer_tiles[2][VN_MAX_ROWS] = {{VN_EACH_HEIGHT(VN_OUTER_NAME, 1)},
                                                          {VN_EACH_HEIGHT(VN_OUTER_NAME, 2)}};

/* Asks for the lines that a tile adds to when its sum is done. */
static inline void fetch_sums(int64_t height, int64_t columns, const float *out, int64_t stride) {
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < columns; j += 64 / (int64_t)sizeof(float))
            __builtin_prefetch(out + i * stride + j, 1, 3);
}

/* One tile's rows by all packed panels. */
static void outer_columns(int64_t height, int64_t n, int64_t terms, const vn_term *const *a,
                          int64_t from, const vn_term *b, float *out, int64_t stride) {
    for (int64_t first = 0; first < n; first += VN_PANEL, b += VN_PANEL * VN_PAIR * terms) {
        const int64_t columns = vn_min_i64(VN_PANEL, n - first),
                      vectors = vn_ceil_div(columns, VN_LANES);
        const vn_outer_tile tile = outer_tiles[vectors - 1][height - 1];
        fetch_sums(height, columns, out + first, stride);
        if (columns == vectors * VN_LANES) {
            tile(terms, a, from, b, out + first, stride);
            continue;
        }
        float sum[VN_MAX_ROWS][VN_PANEL] = {{0}}; /* the last tile is not whole vectors wide */
        tile(terms, a, from, b, sum[0], VN_PANEL);
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < columns; j++) out[i * stride + first + j] += sum[i][j];
    }
}

#if defined(VN_ROUNDED)

_Static_assert(VN_OUTER_ROWS <= VN_OUTER_COLUMNS, "no_row is as long as either needs");
static const float no_row[VN_OUTER_COLUMNS];

/* The second row of pair k; zeros after the last term. */
static inline const float *odd_row(int64_t terms, const float *const *row, int64_t k,
                                   int64_t from) {
    return VN_PAIR * k + 1 < terms ? row[VN_PAIR * k + 1] + from : no_row;
}

/* Columns [from, from + n) of each pair of rows of B as panels, zeros beside them to whole
 * vectors. */
static void pack_panels(int64_t n, int64_t terms, const float *const *b, int64_t from,
                        vn_term *to) {
    const int64_t pairs = vn_ceil_div(terms, VN_PAIR);
    for (int64_t j = 0; j < n; j += VN_PANEL) {
        const int64_t columns = vn_min_i64(VN_PANEL, n - j),
                      width = vn_ceil_div(columns, VN_LANES) * VN_LANES;
        for (int64_t k = 0; k < pairs; k++, to += width * VN_PAIR) {
            vn_terms_interleave(to, b[VN_PAIR * k] + from + j, odd_row(terms, b, k, from + j),
                                columns);
            memset(to + columns * VN_PAIR, 0,
                   (size_t)((width - columns) * VN_PAIR) * sizeof(vn_term));
        }
    }
}

/* Columns [from, from + m) of each pair of rows of A, one after the other. */
static void pair_rows(int64_t m, int64_t terms, const float *const *a, int64_t from, vn_term *to,
                      const vn_term **row) {
    const int64_t pairs = vn_ceil_div(terms, VN_PAIR);
    for (int64_t k = 0; k < pairs; k++, to += (VN_OUTER_ROWS + VN_OUTER_APART) * VN_PAIR) {
        vn_terms_interleave(to, a[VN_PAIR * k] + from, odd_row(terms, a, k, from), m);
        row[k] = to;
    }
}

/* At most VN_OUTER_TERMS pairs and VN_OUTER_COLUMNS columns, whose panels are packed; rows of A
 * are paired as many at a time as there is room for. */
static void outer_block(const vn_reach *reach, int64_t n, int64_t terms, const float *const *a,
                        float *out, int64_t stride, const vn_term *panels, vn_term *rows) {
    const vn_term *row[VN_OUTER_TERMS];
    const int64_t all = vn_ceil_div(reach->length, VN_OUTER_ROWS) * reach->segments;
    for (int64_t i = 0; i < all; i++) {
        const int64_t s = i % reach->segments, first = i / reach->segments * VN_OUTER_ROWS;
        const vn_tiles tiles = cut_tiles(vn_min_i64(VN_OUTER_ROWS, reach->length - first));
        float *to = out + (reach->first + s * reach->step + first) * stride;
        pair_rows(vn_min_i64(VN_OUTER_ROWS, reach->length - first), terms, a,
                  s * reach->jump + first, rows, row);
        for (int64_t t = 0, from = 0; t < tiles.count; t++) {
            const int64_t height = tiles.height + (t < tiles.taller);
            outer_columns(height, n, vn_ceil_div(terms, VN_PAIR), row, from, panels, to, stride);
            from += height;
            to += height * stride;
        }
    }
}

void vn_gemm_outer(const vn_reach *reach, int64_t n, int64_t terms, const float *const *a,
                   const float *const *b, int64_t b_from, float *out, int64_t stride,
                   float *scratch) {
    const int64_t pairs = vn_ceil_div(terms, VN_PAIR), blocks = vn_ceil_div(pairs, VN_OUTER_TERMS);
    vn_term *panels = (vn_term *)(void *)scratch;
    vn_term *rows = panels + VN_OUTER_TERMS * VN_OUTER_COLUMNS * VN_PAIR;
    for (int64_t i = 0; i < blocks; i++) {
        int64_t begin, end;
        vn_part(pairs, blocks, i, &begin, &end);
        begin *= VN_PAIR;
        end = vn_min_i64(end * VN_PAIR, terms);
        for (int64_t j = 0; j < n; j += VN_OUTER_COLUMNS) {
            const int64_t columns = vn_min_i64(VN_OUTER_COLUMNS, n - j);
            pack_panels(columns, end - begin, b + begin, b_from + j, panels);
            outer_block(reach, columns, end - begin, a + begin, out + j, stride, panels, rows);
        }
    }
}

#else

/* Packs columns [from, from + n) of each row of B into panels, zeros beside them to whole vectors.
 * Row by row, because that is how memory likes to be read. */
static void pack_panels(int64_t n, int64_t terms, const float *const *b, int64_t from, float *to) {
    const int64_t whole = n / VN_PANEL * VN_PANEL,
                  rest = vn_ceil_div(n - whole, VN_LANES) * VN_LANES;
    for (int64_t k = 0; k < terms; k++) {
        const float *y = b[k] + from;
        float *panel = to + k * VN_PANEL;
        for (int64_t j = 0; j < whole; j += VN_PANEL, panel += VN_PANEL * terms) {
            vn_store(panel, vn_load(y + j));
            vn_store(panel + VN_LANES, vn_load(y + j + VN_LANES));
        }
        panel = to + whole * terms + k * rest;
        for (int64_t j = 0; j < rest; j++) panel[j] = whole + j < n ? y[whole + j] : 0;
    }
}

/* Asks for `floats` floats from `from` on of each of `count` rows. */
static void fetch_rows(int64_t count, const float *const *row, int64_t from, int64_t floats) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < floats; k += 64 / (int64_t)sizeof(float))
            __builtin_prefetch(row[i] + from + k, 0, 2);
}

/* At most VN_OUTER_TERMS terms and VN_OUTER_COLUMNS columns. Between the tiles the rows of the
 * `ahead` terms that come next are fetched, which otherwise all miss at once; of windows only the
 * last segment, because the others were that before. */
static void outer_block(const vn_reach *reach, int64_t n, int64_t terms, int64_t ahead,
                        const float *const *a, const float *const *b, int64_t b_from, float *out,
                        int64_t stride, float *panels) {
    const vn_tiles tiles = cut_tiles(reach->length);
    const int64_t all = tiles.count * reach->segments;
    pack_panels(n, terms, b, b_from, panels);
    for (int64_t s = 0, t = 0; s < reach->segments; s++) {
        float *to = out + (reach->first + s * reach->step) * stride;
        int64_t from = s * reach->jump;
        for (int64_t i = 0; i < tiles.count; i++, t++) {
            const int64_t height = tiles.height + (i < tiles.taller);
            int64_t begin, end;
            vn_part(ahead, all, t, &begin, &end);
            fetch_rows(end - begin, a + terms + begin, (reach->segments - 1) * reach->jump,
                       reach->length);
            fetch_rows(end - begin, b + terms + begin, b_from, n);
            outer_columns(height, n, terms, a, from, panels, to, stride);
            from += height;
            to += height * stride;
        }
    }
}

/* Whether A's rows are so far apart (a multiple of 512 bytes) that a tile's columns of them all
 * want the same few lines of the first cache and drive each other out. Windows of several segments
 * are not moved: theirs are too many. */
static bool terms_clash(const vn_reach *reach, int64_t terms, const float *const *a) {
    return reach->segments == 1 && reach->length <= VN_OUTER_ROWS && terms > 1 &&
           (a[1] - a[0]) % 128 == 0;
}

/* Copies `terms` rows of m floats to where they do not clash and points `row` at them, then at the
 * `ahead` that follow. */
static void copy_apart(int64_t terms, int64_t ahead, int64_t m, const float *const *a, float *to,
                       const float **row) {
    for (int64_t k = 0; k < terms; k++, to += VN_OUTER_ROWS + VN_OUTER_APART)
        row[k] = memcpy(to, a[k], (size_t)m * sizeof(float));
    for (int64_t k = terms; k < terms + ahead; k++) row[k] = a[k];
}

void vn_gemm_outer(const vn_reach *reach, int64_t n, int64_t terms, const float *const *a,
                   const float *const *b, int64_t b_from, float *out, int64_t stride,
                   float *scratch) {
    const int64_t blocks = vn_ceil_div(terms, VN_OUTER_TERMS);
    const bool clash = terms_clash(reach, terms, a);
    const float *apart[2 * VN_OUTER_TERMS];
    for (int64_t i = 0; i < blocks; i++) {
        int64_t begin, end;
        vn_part(terms, blocks, i, &begin, &end);
        const int64_t ahead = vn_min_i64(end - begin, terms - end);
        if (clash)
            copy_apart(end - begin, ahead, reach->length, a + begin,
                       scratch + VN_OUTER_TERMS * VN_OUTER_COLUMNS, apart);
        for (int64_t j = 0; j < n; j += VN_OUTER_COLUMNS)
            outer_block(reach, vn_min_i64(VN_OUTER_COLUMNS, n - j), end - begin, ahead,
                        clash ? apart : a + begin, b + begin, b_from + j, out + j, stride, scratch);
    }
}

#endif

void vn_gemm_outer_panel(int64_t m, int64_t width, int64_t terms, const vn_term *const *a,
                         const vn_term *panel, float *out) {
    const int64_t blocks = vn_ceil_div(terms, VN_OUTER_TERMS);
    const vn_tiles tiles = cut_tiles(m);
    for (int64_t i = 0; i < blocks; i++) {
        int64_t begin, end, from = 0;
        vn_part(terms, blocks, i, &begin, &end);
        for (int64_t t = 0; t < tiles.count; t++) {
            const int64_t height = tiles.height + (t < tiles.taller);
            outer_tiles[width / VN_LANES - 1][height - 1](end - begin, a + begin, from,
                                                          panel + begin * width * VN_PAIR,
                                                          out + from * width, width);
            from += height;
        }
    }
}
