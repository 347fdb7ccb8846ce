/* kernel_reduce.c - sum_to, the adjoint of broadcasting: sums of x, or of x y.
 *
 * After merging, the input's axes alternate between kept and summed ones. The output is cut into
 * tasks: an index of the kept axes but the last, and a tile of the last. Few outputs (a bias's
 * gradient, a loss) would leave threads idle, so there the summed rows are cut too, into a number
 * of parts that the size of one sum decides, not how many sums there are: a sample's bits do not
 * depend on the batch. The parts' sums meet in the workspace, in order. */
#include "cpu/kernel_axes.h"
#include "cpu/kernel_sums.h"

#define COLUMNS     256 /* outputs of a task, at most */
#define MAX_PARTS   64
#define PART_FLOATS 8192 /* read by a part, at least */

typedef struct plan {
    vn_axes kept, summed; /* operand 0: the input; operand 1 of kept: the output */
    /* the innermost rectangle: columns are outputs, rows are summed */
    int64_t columns, rows, row_step;
    int64_t outer, inner; /* indices of kept, of summed */
    int64_t tiles, parts;
} plan;

static void add_axis(vn_axes *to, int64_t dim, int64_t in_step, int64_t out_step) {
    to->dim[to->rank] = dim;
    to->stride[0][to->rank] = in_step;
    to->stride[1][to->rank++] = out_step;
}

static plan plan_of(const vn_node *n) {
    vn_axes all = vn_axes_of(&n->in[0]->shape);
    vn_axes_broadcast(&all, 0, &n->in[0]->shape);
    vn_axes_broadcast(&all, 1, &n->shape);
    vn_axes_merge(&all);
    plan p = {.columns = 1, .rows = 1};
    int i = all.rank - 1;
    if (all.stride[1][i] != 0) p.columns = all.dim[i--];
    if (i >= 0 && all.stride[1][i] == 0) p.rows = all.dim[i], p.row_step = all.stride[0][i], i--;
    for (int k = 0; k <= i; k++) {
        vn_axes *to = all.stride[1][k] != 0 ? &p.kept : &p.summed;
        add_axis(to, all.dim[k], all.stride[0][k], all.stride[1][k]);
    }
    p.outer = vn_axes_count(&p.kept, p.kept.rank);
    p.inner = vn_axes_count(&p.summed, p.summed.rank);
    p.tiles = vn_ceil_div(p.columns, COLUMNS);
    int64_t want = MAX_PARTS / vn_max_i64(p.tiles, 1),
            have = p.inner * p.rows * p.columns / PART_FLOATS;
    p.parts = vn_max_i64(1, vn_min_i64(vn_min_i64(want, have), p.rows));
    return p;
}

size_t VN_W(sum_to)(const vn_node *n, int threads) {
    (void)threads;
    plan p = plan_of(n);
    return p.parts == 1 ? 0 : vn_region((size_t)(p.parts * p.outer * p.columns), sizeof(double));
}

/* sum[columns] of one task: a tile of outputs over one part of the rows, for every index of the
 * other summed axes. */
VN_INLINE void sum_tile(const plan *p, const float *x, const float *y, int64_t outer, int64_t first,
                        int64_t columns, int64_t part, double *sum) {
    int64_t begin, end;
    vn_part(p->rows, p->parts, part, &begin, &end);
    const int64_t at =
        vn_axes_offset(&p->kept, 0, p->kept.rank, outer) + begin * p->row_step + first;
    for (int64_t c = 0; c < columns; c++) sum[c] = 0;
    for (int64_t i = 0; i < p->inner; i++) {
        const int64_t from = at + vn_axes_offset(&p->summed, 0, p->summed.rank, i);
        if (columns == 1 && p->row_step == 1)
            sum[0] += vn_sum_terms(x + from, y ? y + from : y, end - begin);
        else
            vn_column_terms(x + from, y ? y + from : y, p->row_step, end - begin, columns, sum);
    }
}

typedef struct reduction {
    plan p;
    const float *x, *by; /* by: NULL, or what x is multiplied with */
    float *y;
    double *parts;
} reduction;

/* Adds the parts of a block of outputs. */
static void parts_task(void *context, int64_t block, int thread) {
    const reduction *r = context;
    const int64_t outputs = r->p.outer * r->p.columns;
    int64_t begin, end;
    (void)thread;
    vn_part(outputs, vn_block_count(outputs), block, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        double sum = 0;
        for (int64_t part = 0; part < r->p.parts; part++) sum += r->parts[part * outputs + i];
        r->y[i] = (float)sum;
    }
}

static void sum_task(void *context, int64_t task, int thread) {
    const reduction *r = context;
    const plan *p = &r->p;
    const int64_t part = task % p->parts, tile = task / p->parts % p->tiles,
                  outer = task / p->parts / p->tiles;
    const int64_t first = tile * COLUMNS, columns = vn_min_i64(COLUMNS, p->columns - first);
    const int64_t at = outer * p->columns + first;
    double sum[COLUMNS];
    (void)thread;
    if (r->by)
        sum_tile(p, r->x, r->by, outer, first, columns, part, sum);
    else
        sum_tile(p, r->x, NULL, outer, first, columns, part, sum);
    if (p->parts == 1)
        for (int64_t c = 0; c < columns; c++) r->y[at + c] = (float)sum[c];
    else
        memcpy(r->parts + part * p->outer * p->columns + at, sum, (size_t)columns * sizeof(double));
}

void VN_K(sum_to)(const vn_kernel_args *a) {
    reduction r = {plan_of(a->node), a->in[0], a->node->inputs > 1 ? a->in[1] : NULL, a->out,
                   a->work};
    const double inputs = a->node->inputs * (double)vn_shape_count(&a->node->in[0]->shape);
    vn_thread_pool_run(vn_share(a->pool, inputs), r.p.outer * r.p.tiles * r.p.parts, sum_task, &r);
    const int64_t outputs = r.p.outer * r.p.columns;
    if (r.p.parts > 1)
        vn_thread_pool_run(vn_share(a->pool, (double)(outputs * r.p.parts)),
                           vn_block_count(outputs), parts_task, &r);
}
