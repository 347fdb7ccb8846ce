/* kernel_gather.c - embedding lookup and its gradient. An index outside the table stands for a row
 * of zeros. */
#include "cpu/internal.h"

/* A table [rows,length] of any floats, and n rows of it that are taken. */
typedef struct taking {
    int64_t rows, n;
    size_t bytes; /* of a row */
    const int32_t *index;
    const char *from;
    char *to;
    int64_t parts;
} taking;

static void take_rows(void *context, int64_t part, int thread) {
    const taking *t = context;
    int64_t begin, end;
    (void)thread;
    vn_part(t->n, t->parts, part, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        char *to = t->to + (size_t)i * t->bytes;
        if (t->index[i] >= 0 && t->index[i] < t->rows)
            memcpy(to, t->from + (size_t)t->index[i] * t->bytes, t->bytes);
        else
            memset(to, 0, t->bytes);
    }
}

void VN_K(embedding)(const vn_kernel_args *a) {
    const vn_node *table = a->node->in[0];
    const int64_t length = table->shape.dim[1], n = vn_shape_count(&a->node->in[1]->shape);
    taking t = {.rows = table->shape.dim[0],
                .n = n,
                .bytes = (size_t)length * vn_dtype_size(table->dtype),
                .index = a->in[1],
                .from = a->in[0],
                .to = a->out,
                .parts = vn_row_parts(n, length)};
    vn_thread_pool_run(vn_share(a->pool, 2.0 * (double)(n * length)), t.parts, take_rows, &t);
}

/* A table, and rows that are added to it. */
typedef struct lookup {
    int64_t rows, length, n; /* of the table [rows,length]; of the indices */
    const int32_t *index;
    const float *from;
    float *to;
    int64_t parts;
} lookup;

static void add_row(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

/* Each part owns a range of the table and reads all indices in order, so no two threads add to one
 * row and the order of addition is that of the batch. */
static void add_rows(void *context, int64_t part, int thread) {
    const lookup *l = context;
    int64_t begin, end;
    (void)thread;
    vn_part(l->rows, l->parts, part, &begin, &end);
    memset(l->to + begin * l->length, 0, (size_t)((end - begin) * l->length) * sizeof *l->to);
    for (int64_t i = 0; i < l->n; i++)
        if (l->index[i] >= begin && l->index[i] < end)
            add_row(l->to + l->index[i] * l->length, l->from + i * l->length, l->length);
}

void VN_K(embedding_grad)(const vn_kernel_args *a) {
    const vn_shape *table = &a->node->shape;
    const int64_t rows = table->dim[0], length = table->dim[1],
                  n = vn_shape_count(&a->node->in[0]->shape);
    vn_thread_pool *pool = vn_share(a->pool, (double)(n * length) * 3.0 + (double)(rows * length));
    lookup l = {rows, length, n, a->in[0], a->in[1], a->out, vn_thread_pool_threads(pool)};
    vn_thread_pool_run(pool, l.parts, add_rows, &l);
}
