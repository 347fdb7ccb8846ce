/* kernel_matmul.c - linear layers and matrix products: which form of the product of kernel_gemm.h a
 * shape takes, and how it is cut into tasks. */
#include "cpu/kernel_gemm.h"
#include "cpu/kernel_sums.h"
#include "cpu/kernel_unary.h"

/* What bfloat16 changes: operands are rounded where they are copied, and what dots serves is left
 * to float32. */
#if defined(VN_ROUNDED)
#define VN_ROUNDS   1
#define VN_HAS_DOTS 0
#else
#define VN_ROUNDS   0
#define VN_HAS_DOTS 1
#endif

/* Rows of A in a task: they and their pointers stay in cache while the panels of B pass by. */
#define VN_TASK_ROWS    126
#define VN_TASK_TERMS   (8 * VN_OUTER_TERMS)
#define VN_TASK_COLUMNS (4 * VN_PANEL)

/* Of a sum of outer products: terms in a chunk, at least; chunks, at most; and chunks times blocks
 * of the result, at most. */
#define VN_CHUNK_TERMS  1024
#define VN_MAX_CHUNKS   8
#define VN_CHUNK_BLOCKS 16

/* out [m, n] = A [m, k] B [k, n] + bias; A's element (i, j) is a[i * a_row + j * a_column], B's
 * likewise. */
typedef struct vn_product {
    int64_t m, n, k;
    const float *a, *b, *bias;
    int64_t a_row, a_column, b_row, b_column;
    float *out;
    /* Of linear layers: what is done to the result. A row of `times` meets a run of rows; plus lies
     * as out does, which it may be. */
    vn_fn act;
    const float *times, *plus; /* or NULL */
    int64_t times_rows;
    bool aside; /* there are such: the sums are kept apart until then */
} vn_product;

/* Few columns, and both operands contiguous along k, B whole: no packing. Not for few rows: they
 * may be samples, whose bits must not depend on how many there are. */
static bool is_dots(const vn_product *p) {
    return VN_HAS_DOTS && p->a_column == 1 && p->b_row == 1 && (p->b_column == p->k || p->n == 1) &&
           p->n <= VN_DOT_COLUMNS;
}

/* A is contiguous along m: a sum of outer products. */
static bool is_outer(const vn_product *p) {
    return p->a_column != 1;
}

/* A long sum of outer products with a small result is cut into chunks of its terms, which are
 * summed apart and added in order: threads then read rows of their own, which they do half as fast
 * again as rows that they share. Cut by the shape alone. */
static int64_t chunk_count(const vn_product *p) {
    if (!is_outer(p)) return 1;
    const int64_t blocks = vn_ceil_div(p->m, VN_OUTER_ROWS) * vn_ceil_div(p->n, VN_OUTER_COLUMNS);
    const int64_t most = vn_min_i64(VN_MAX_CHUNKS, VN_CHUNK_BLOCKS / vn_max_i64(blocks, 1));
    return vn_max_i64(vn_min_i64(most, p->k / VN_CHUNK_TERMS), 1);
}

/* One block of rows, so that every panel of B is used once: each is packed where it is used. */
static bool is_flat(const vn_product *p) {
    return !is_outer(p) && !is_dots(p) && p->m <= VN_TASK_ROWS;
}

/* Bytes of B copied: packed for rows, transposed for outer products of a B that is contiguous along
 * k. */
static size_t copy_bytes(const vn_product *p) {
    if (is_outer(p)) return p->b_column == 1 ? 0 : vn_region((size_t)(p->k * p->n), sizeof(float));
    return is_dots(p) || is_flat(p) ? 0 : vn_packed_bytes(p->k, p->n);
}

/* Rows a whole number of 4 kB apart, and long: those of a tile all want the same few lines of the
 * first cache and drive each other out. Each block of them is copied to rows that are not. */
static bool rows_clash(const vn_product *p) {
    return !is_outer(p) && !is_dots(p) && p->a_row % 1024 == 0 && p->k >= 512;
}

/* Rows that are rounded are copied too. */
static bool rows_move(const vn_product *p) {
    return VN_ROUNDS ? !is_outer(p) : rows_clash(p);
}

/* From a copied row to the next, in terms: not whole 4 kB either. */
static int64_t row_step(const vn_product *p) {
    return vn_paired(p->k) + 16 * VN_PAIR;
}

/* Copies B, or the part of it that is panel `panel` of vn_panels(n). */
static void copy_panel(const vn_product *p, int64_t panel, void *to) {
    float *copy = to;
    if (!is_outer(p)) {
        vn_gemm_pack(to, p->k, p->n, panel, 0, p->k, p->b, p->b_row, p->b_column);
        return;
    }
    const int64_t first = panel * VN_PANEL, last = vn_min_i64(first + VN_PANEL, p->n);
    for (int64_t i = 0; i < p->k; i++)
        for (int64_t j = first; j < last; j++)
            copy[i * p->n + j] = p->b[i * p->b_row + j * p->b_column];
}

/* ---- one block of the output ----------------------------------------------------------------- */

/* A block of the result, and for an outer product the chunk whose terms it sums and the array [m,
 * n] of that chunk. */
typedef struct vn_block {
    int64_t row, rows, column, columns, chunk;
    float *out;
} vn_block;

static void block_outer(const vn_product *p, const float *b, int64_t b_row, const vn_block *block,
                        float *scratch) {
    const float *a_rows[VN_TASK_TERMS], *b_rows[VN_TASK_TERMS];
    const vn_reach reach = vn_reach_row(block->rows);
    float *out = block->out + block->row * p->n + block->column;
    int64_t begin, end;
    vn_part(p->k, chunk_count(p), block->chunk, &begin, &end);
    for (int64_t i = 0; i < block->rows; i++)
        memset(out + i * p->n, 0, (size_t)block->columns * sizeof(float));
    for (int64_t k = begin; k < end; k += VN_TASK_TERMS) {
        const int64_t terms = vn_min_i64(VN_TASK_TERMS, end - k);
        for (int64_t i = 0; i < terms; i++) {
            a_rows[i] = p->a + (k + i) * p->a_column + block->row;
            b_rows[i] = b + (k + i) * b_row;
        }
        vn_gemm_outer(&reach, block->columns, terms, a_rows, b_rows, block->column, out, p->n,
                      scratch);
    }
}

/* Bytes of a packed panel, in whole lines. */
static size_t panel_bytes(const vn_product *p) {
    return vn_region((size_t)(vn_paired(p->k) * VN_PANEL), sizeof(vn_term));
}

static void block_dots(const vn_product *p, const vn_block *block, const vn_term *const *row,
                       const float *bias, float *const *out) {
#if VN_HAS_DOTS
    const vn_reach reach = vn_reach_row(p->k);
    vn_gemm_dots(block->rows, block->columns, p->k, &reach, row, p->b + block->column * p->b_column,
                 bias, out);
#else
    (void)p, (void)block, (void)row, (void)bias, (void)out;
#endif
}

/* The block panel by panel, each packed first. */
static void flat_panels(const vn_product *p, const vn_block *block, const vn_term *const *row,
                        float **out, vn_term *panel) {
    const vn_reach reach = vn_reach_row(vn_paired(p->k));
    for (int64_t first = block->column, end = first + block->columns; first < end;
         first += VN_PANEL) {
        const int64_t columns = vn_min_i64(VN_PANEL, end - first);
        float *to[VN_TASK_ROWS];
        for (int64_t i = 0; i < block->rows; i++) to[i] = out[i] + first - block->column;
        vn_gemm_pack(panel, p->k, columns, 0, 0, p->k, p->b + first * p->b_column, p->b_row,
                     p->b_column);
        vn_gemm_rows(block->rows, columns, p->k, &reach, row, panel,
                     p->bias ? p->bias + first : NULL, false, to);
    }
}

/* What is done to row `row` of the result, whose n sums from `column` on these are. */
static void finish_row(const vn_product *p, int64_t row, int64_t column, int64_t n, float *sum) {
    float *out = p->out + row * p->n + column;
    if (p->act != VN_FN_IDENTITY) vn_unary_span(p->act, sum, n, sum);
    if (!p->aside) return;
    const float *plus = p->plus ? p->plus + row * p->n + column : NULL, *times = NULL;
    if (p->times) times = p->times + row * p->times_rows / p->m * p->n + column;
    for (int64_t j = 0; j < n; j += VN_LANES) {
        const int64_t k = vn_min_i64(VN_LANES, n - j);
        const vn_vec y = vn_load_n(sum + j, k), t = times ? vn_load_n(times + j, k) : vn_set(1),
                     z = plus ? vn_load_n(plus + j, k) : vn_set(0);
        vn_store_n(out + j, !times ? y + z : plus ? vn_fma(y, t, z) : y * t, k);
    }
}

/* Columns that are finished before the next ones are begun, so that they are still near. */
static int64_t finished_columns(const vn_product *p, int64_t columns) {
    const bool plain = p->act == VN_FN_IDENTITY && !p->aside;
    return plain ? columns : vn_min_i64(columns, VN_TASK_COLUMNS);
}

/* Points to the rows of A that a block reads, or to their copies. */
static void find_rows(const vn_product *p, const vn_block *block, vn_term *copies,
                      const vn_term **row) {
    for (int64_t i = 0; i < block->rows; i++) {
        const float *from = p->a + (block->row + i) * p->a_row;
        if (rows_move(p)) {
            vn_terms_round(copies + i * row_step(p), from, p->k);
            row[i] = copies + i * row_step(p);
        } else
            row[i] = (const vn_term *)(const void *)from;
    }
}

static void block_rows(const vn_product *p, const void *copy, const vn_block *block,
                       char *scratch) {
    const vn_reach reach = vn_reach_row(vn_paired(p->k));
    const int64_t end = block->column + block->columns,
                  step = finished_columns(p, vn_max_i64(block->columns, 1));
    const vn_term *row[VN_TASK_ROWS], *packed = copy;
    float *out[VN_TASK_ROWS], *sums = (float *)(void *)scratch;
    if (p->aside) scratch += vn_region(VN_TASK_ROWS * VN_TASK_COLUMNS, sizeof(float));
    vn_term *panel = (vn_term *)(void *)scratch;
    find_rows(p, block, is_flat(p) ? panel + panel_bytes(p) / sizeof(vn_term) : panel, row);
    vn_block part = *block;
    for (; part.column < end; part.column += step) {
        part.columns = vn_min_i64(step, end - part.column);
        const float *bias = p->bias ? p->bias + part.column : NULL;
        for (int64_t i = 0; i < part.rows; i++)
            out[i] = p->aside ? sums + i * step : p->out + (part.row + i) * p->n + part.column;
        if (is_dots(p))
            block_dots(p, &part, row, bias, out);
        else if (is_flat(p))
            flat_panels(p, &part, row, out, panel);
        else
            vn_gemm_rows(part.rows, part.columns, p->k, &reach, row,
                         packed + part.column * vn_paired(p->k), bias, false, out);
        for (int64_t i = 0; i < part.rows; i++)
            finish_row(p, part.row + i, part.column, part.columns, out[i]);
    }
}

static void product_block(const vn_product *p, const void *copy, char *scratch,
                          const vn_block *block) {
    if (!is_outer(p))
        block_rows(p, copy, block, scratch);
    else if (p->b_column == 1)
        block_outer(p, p->b, p->b_row, block, (float *)(void *)scratch);
    else
        block_outer(p, copy, p->n, block, (float *)(void *)scratch);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

/* How one product is cut for a number of threads: into blocks of rows x columns, for each chunk. */
typedef struct vn_cut {
    int64_t rows, columns, down, across, chunks;
} vn_cut;

/* Items in a part when n are cut into about so many; a whole number of `step`. */
static int64_t part_size(int64_t n, int64_t parts, int64_t step) {
    return vn_max_i64(vn_ceil_div(vn_ceil_div(n, parts), step) * step, step);
}

/* Every block reads A's and B's columns from the chunk's first row to the last: few blocks, cut
 * along the longer side first, and as many rows as `outer` can copy at most. */
static void cut_outer(const vn_product *p, int threads, vn_cut *cut) {
    int64_t parts = threads > 1 ? vn_ceil_div(2 * threads, cut->chunks) : 1;
    if (p->m >= p->n) {
        cut->rows = part_size(p->m, parts, 16);
        parts = vn_ceil_div(parts, vn_max_i64(vn_ceil_div(p->m, cut->rows), 1));
        cut->columns = part_size(p->n, parts, VN_PANEL);
    } else {
        cut->columns = part_size(p->n, parts, VN_PANEL);
        parts = vn_ceil_div(parts, vn_ceil_div(p->n, cut->columns));
        cut->rows = part_size(p->m, parts, 16);
    }
    cut->rows = vn_min_i64(cut->rows, VN_OUTER_ROWS);
}

/* Blocks of rows; of columns too when there are too few for all threads. */
static void cut_rows(const vn_product *p, int threads, vn_cut *cut) {
    if (is_flat(p)) {
        cut->rows = vn_max_i64(p->m, 1);
        cut->columns = p->n > 2 * threads * VN_TASK_COLUMNS ? VN_TASK_COLUMNS : VN_PANEL;
        return;
    }
    cut->rows = vn_min_i64(part_size(p->m, 3 * threads, 14), VN_TASK_ROWS);
    cut->columns =
        vn_ceil_div(p->m, cut->rows) < 2 * threads ? VN_TASK_COLUMNS : vn_max_i64(p->n, 1);
}

static vn_cut cut_product(const vn_product *p, int threads) {
    vn_cut cut = {.chunks = chunk_count(p)};
    if (is_outer(p))
        cut_outer(p, threads, &cut);
    else
        cut_rows(p, threads, &cut);
    cut.down = vn_ceil_div(p->m, cut.rows);
    cut.across = vn_ceil_div(p->n, cut.columns);
    return cut;
}

/* Memory for a product: the copy of B, what each thread needs for itself, and the sums of all
 * chunks but the first. */
static size_t scratch_bytes(const vn_product *p) {
    if (is_outer(p)) return vn_region(VN_OUTER_FLOATS, sizeof(float));
    const int64_t rows = rows_move(p) ? VN_TASK_ROWS * row_step(p) : 0;
    const int64_t sums = p->aside ? VN_TASK_ROWS * VN_TASK_COLUMNS : 0;
    return vn_region((size_t)rows, sizeof(vn_term)) + vn_region((size_t)sums, sizeof(float)) +
           (is_flat(p) ? panel_bytes(p) : 0);
}

static size_t product_bytes(const vn_product *p, int threads) {
    const int64_t sums = (chunk_count(p) - 1) * p->m * p->n;
    return copy_bytes(p) + (size_t)threads * scratch_bytes(p) +
           vn_region((size_t)sums, sizeof(float));
}

/* What the tasks of a product share. */
typedef struct vn_sharing {
    const vn_product *p;
    vn_cut cut;
    char *work;
    float *sums;
} vn_sharing;

/* The chunks of a block come one after the other. */
static vn_block block_of(const vn_sharing *s, int64_t task) {
    const vn_product *p = s->p;
    const vn_cut *cut = &s->cut;
    const int64_t chunk = task % cut->chunks, at = task / cut->chunks;
    const int64_t row = at / cut->across * cut->rows, column = at % cut->across * cut->columns;
    return (vn_block){.row = row,
                      .rows = vn_min_i64(cut->rows, p->m - row),
                      .column = column,
                      .columns = vn_min_i64(cut->columns, p->n - column),
                      .chunk = chunk,
                      .out = chunk > 0 ? s->sums + (chunk - 1) * p->m * p->n : p->out};
}

static void copy_task(void *context, int64_t panel, int thread) {
    const vn_sharing *s = context;
    (void)thread;
    copy_panel(s->p, panel, s->work);
}

static void block_task(void *context, int64_t i, int thread) {
    const vn_sharing *s = context;
    char *scratch = s->work + copy_bytes(s->p) + (size_t)thread * scratch_bytes(s->p);
    const vn_block block = block_of(s, i);
    product_block(s->p, s->work, scratch, &block);
}

/* One product by all threads. */
static void product_shared(const vn_product *p, char *work, vn_thread_pool *pool) {
    const int threads = vn_thread_pool_threads(pool);
    vn_sharing s = {p, cut_product(p, threads), work, NULL};
    s.sums = (float *)(work + copy_bytes(p) + (size_t)threads * scratch_bytes(p));
    const size_t copied = copy_bytes(p);
    const int64_t panels = copied > 0 ? vn_panels(p->n) : 0, count = p->m * p->n;
    vn_thread_pool_run(vn_share(pool, (double)copied / sizeof(float)), panels, copy_task, &s);
    vn_thread_pool_run(vn_share(pool, (double)count * (double)p->k / 25),
                       s.cut.chunks * s.cut.down * s.cut.across, block_task, &s);
    vn_add_arrays(p->out, s.sums, count, s.cut.chunks - 1, pool);
}

/* ---- ops ------------------------------------------------------------------------------------- */

static int64_t rows_of(const vn_shape *s, int from_end) {
    int64_t count = 1;
    for (int i = 0; i < s->rank - from_end; i++) count *= s->dim[i];
    return count;
}

static vn_product linear_product(const vn_node *n) {
    const vn_shape *x = &n->in[0]->shape;
    const int64_t inputs = x->dim[x->rank - 1];
    return (vn_product){.m = rows_of(&n->shape, 1),
                        .n = n->in[1]->shape.dim[0],
                        .k = inputs,
                        .a_row = inputs,
                        .a_column = 1,
                        .b_row = 1,
                        .b_column = n->in[1]->shape.dim[1],
                        .act = n->attr.linear.act};
}

/* The product of one matrix of the batch, or of all of them at once where that is the same; *batch
 * is how many are left. */
static vn_product matmul_product(const vn_node *n, int64_t *batch) {
    const bool ta = n->attr.matmul.ta, tb = n->attr.matmul.tb, shared = n->in[1]->shape.rank == 2;
    const vn_shape *a = &n->in[0]->shape, *out = &n->shape;
    const int64_t k = a->dim[a->rank - (ta ? 2 : 1)];
    vn_product p = {.m = out->dim[out->rank - 2], .n = out->dim[out->rank - 1], .k = k};
    *batch = rows_of(out, 2);
    if (shared && !ta) {
        p.m *= *batch;
        *batch = p.m > 0 ? 1 : 0;
    }
    p.a_row = ta ? 1 : k;
    p.a_column = ta ? p.m : 1;
    p.b_row = tb ? 1 : p.n;
    p.b_column = tb ? k : 1;
    return p;
}

/* What is left to float32: by the columns alone, because rows may be samples. */
static bool is_left(const vn_product *p) {
    return VN_ROUNDS && p->n <= VN_DOT_COLUMNS;
}

size_t VN_W(linear)(const vn_node *n, int threads) {
    const vn_product p = linear_product(n);
    if (is_left(&p)) return VN_W_F32(linear)(n, threads);
    return product_bytes(&p, threads);
}

static const float *weight_of(const vn_kernel_args *args) {
    return (const float *)args->in[1] + args->node->attr.linear.from;
}

void VN_K(linear)(const vn_kernel_args *args) {
    vn_product p = linear_product(args->node);
    if (is_left(&p)) {
        VN_K_F32(linear)(args);
        return;
    }
    p.a = args->in[0];
    p.b = weight_of(args);
    p.bias = args->node->inputs > 2 ? args->in[2] : NULL;
    p.out = args->out;
    product_shared(&p, args->work, args->pool);
}

static vn_product linear_plus_product(const vn_node *n) {
    vn_product p = linear_product(n);
    const bool bias = n->attr.linear.bias;
    p.aside = n->attr.linear.times || n->attr.linear.plus;
    p.times_rows = n->attr.linear.times ? rows_of(&n->in[2 + bias]->shape, 1) : 0;
    return p;
}

size_t VN_W(linear_plus)(const vn_node *n, int threads) {
    const vn_product p = linear_plus_product(n);
    return is_left(&p) ? VN_W_F32(linear_plus)(n, threads) : product_bytes(&p, threads);
}

void VN_K(linear_plus)(const vn_kernel_args *args) {
    const vn_node *n = args->node;
    const bool bias = n->attr.linear.bias;
    vn_product p = linear_plus_product(n);
    if (is_left(&p)) {
        VN_K_F32(linear_plus)(args);
        return;
    }
    p.a = args->in[0];
    p.b = weight_of(args);
    p.bias = bias ? args->in[2] : NULL;
    p.times = n->attr.linear.times ? args->in[2 + bias] : NULL;
    p.plus = n->attr.linear.plus ? args->in[n->inputs - 1] : NULL;
    p.out = args->out;
    product_shared(&p, args->work, args->pool);
}

/* Many small products go one to a thread, each with a copy of its own B. */
static bool is_many(int64_t batch, int threads) {
    return batch >= 4 * threads;
}

size_t VN_W(matmul)(const vn_node *n, int threads) {
    int64_t batch;
    const vn_product p = matmul_product(n, &batch);
    if (is_left(&p)) return VN_W_F32(matmul)(n, threads);
    return is_many(batch, threads) ? (size_t)threads * product_bytes(&p, 1)
                                   : product_bytes(&p, threads);
}

typedef struct vn_batch {
    vn_product first;
    int64_t b_step;
    char *work;
} vn_batch;

static vn_product batch_product(const vn_batch *b, int64_t i) {
    vn_product p = b->first;
    p.a += i * p.m * p.k;
    p.b += i * b->b_step;
    p.out += i * p.m * p.n;
    return p;
}

static void product_task(void *context, int64_t i, int thread) {
    const vn_batch *b = context;
    const vn_product p = batch_product(b, i);
    product_shared(&p, b->work + (size_t)thread * product_bytes(&p, 1), NULL);
}

void VN_K(matmul)(const vn_kernel_args *args) {
    const vn_node *node = args->node;
    int64_t batch;
    vn_batch b = {.first = matmul_product(node, &batch), .work = args->work};
    vn_product *first = &b.first;
    if (is_left(first)) {
        VN_K_F32(matmul)(args);
        return;
    }
    first->a = args->in[0];
    first->b = args->in[1];
    first->out = args->out;
    b.b_step = node->in[1]->shape.rank == 2 ? 0 : first->k * first->n;
    if (is_many(batch, vn_thread_pool_threads(args->pool))) {
        const double flops =
            2.0 * (double)batch * (double)first->m * (double)first->n * (double)first->k;
        vn_thread_pool_run(vn_share(args->pool, flops / 50), batch, product_task, &b);
        return;
    }
    for (int64_t i = 0; i < batch; i++) {
        const vn_product p = batch_product(&b, i);
        product_shared(&p, b.work, args->pool);
    }
}
