/* kernel_gather.c - embedding lookup and its gradient. An index outside the table stands for a row of zeros. */
#include "cpu/internal.h"

void VN_K(embedding)(const vn_kernel_args *a) {
    const vn_shape *table = &a->node->in[0]->shape;
    const float *from = a->in[0];
    const int32_t *index = a->in[1];
    float *y = a->out;
    int64_t rows = table->dim[0], length = table->dim[1], n = vn_shape_count(&a->node->in[1]->shape);
    size_t bytes = (size_t)length * sizeof(float);
#pragma omp parallel for schedule(static) num_threads(vn_threads_for(a->threads, 2.0 * (double)(n * length)))
    for (int64_t i = 0; i < n; i++) {
        if (index[i] >= 0 && index[i] < rows)
            memcpy(y + i * length, from + index[i] * length, bytes);
        else
            memset(y + i * length, 0, bytes);
    }
}

static void add_row(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

/* Each part owns a range of the table and reads all indices in order, so no two threads add to one row and the order of
 * addition is that of the batch. */
void VN_K(embedding_grad)(const vn_kernel_args *a) {
    const int32_t *index = a->in[0];
    const float *dy = a->in[1];
    float *table = a->out;
    int64_t rows = a->node->shape.dim[0], length = a->node->shape.dim[1], n = vn_shape_count(&a->node->in[0]->shape);
    int team = vn_threads_for(a->threads, (double)(n * length) * 3.0 + (double)(rows * length));
#pragma omp parallel for schedule(static) num_threads(team)
    for (int64_t part = 0; part < team; part++) {
        int64_t begin, end;
        vn_part(rows, team, part, &begin, &end);
        memset(table + begin * length, 0, (size_t)((end - begin) * length) * sizeof *table);
        for (int64_t i = 0; i < n; i++)
            if (index[i] >= begin && index[i] < end) add_row(table + index[i] * length, dy + i * length, length);
    }
}
