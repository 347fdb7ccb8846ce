/* layout.c - images between a file's order, channels first, and the graph's, channels last; points
 * are the same in both. A factor for each sample goes along, so that scaling takes no pass of its
 * own. */
#include "nn/internal.h"

#include <string.h>

/* n matrices of rows x columns, to be transposed. */
typedef struct matrices {
    float *out;
    const float *in, *scale; /* scale [n] or NULL */
    int64_t rows, columns;
} matrices;

/* out[j][i] = scale in[i][j], in blocks that stay in the first-level cache. */
static void transpose_one(void *context, int64_t index, int thread) {
    enum { BLOCK = 16 };
    const matrices *m = context;
    const int64_t rows = m->rows, columns = m->columns;
    const float *a = m->in + index * rows * columns, scale = m->scale ? m->scale[index] : 1;
    float *b = m->out + index * rows * columns;
    (void)thread;
    for (int64_t i0 = 0; i0 < rows; i0 += BLOCK)
        for (int64_t j0 = 0; j0 < columns; j0 += BLOCK)
            for (int64_t i = i0; i < rows && i < i0 + BLOCK; i++)
                for (int64_t j = j0; j < columns && j < j0 + BLOCK; j++)
                    b[j * rows + i] = scale * a[i * columns + j];
}

/* out and in may be one array. */
static void scale_rows(float *out, const float *in, int64_t n, int64_t size, const float *scale) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i * size; j < (i + 1) * size; j++) out[j] = scale[i] * in[j];
}

static void transpose(float *out, const float *in, int64_t n, int64_t rows, int64_t columns,
                      const float *scale, vn_thread_pool *pool) {
    matrices m = {out, in, scale, rows, columns};
    if (rows > 1 && columns > 1)
        vn_thread_pool_run(pool, n, transpose_one, &m);
    else if (scale)
        scale_rows(out, in, n, rows * columns, scale);
    else
        memcpy(out, in, (size_t)(n * rows * columns) * sizeof *out);
}

void vn_channels_last(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                      const float *scale, vn_thread_pool *pool) {
    transpose(out, in, n, channels, pixels, scale, pool);
}

void vn_channels_first(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                       const float *scale, vn_thread_pool *pool) {
    transpose(out, in, n, pixels, channels, scale, pool);
}

/* Pixels of one channel: those of an image, else 1 (points, a classifier's logits). */
static int64_t pixels_of(const vn_node *node) {
    return node->shape.rank == 4 ? node->shape.dim[1] * node->shape.dim[2] : 1;
}

static int64_t channels_of(const vn_node *node) {
    const int64_t rows = node->shape.dim[0] * pixels_of(node);
    return rows ? vn_shape_count(&node->shape) / rows : 0;
}

void vn_net_write_node(vn_program *p, const vn_node *node, const float *in, const float *scale,
                       vn_thread_pool *pool) {
    vn_channels_last(vn_program_map(p, node), in, node->shape.dim[0], channels_of(node),
                     pixels_of(node), scale, pool);
}

void vn_net_read_node(vn_program *p, const vn_node *node, float *out, const float *scale,
                      vn_thread_pool *pool) {
    vn_channels_first(out, vn_program_map(p, node), node->shape.dim[0], channels_of(node),
                      pixels_of(node), scale, pool);
}

vn_shape vn_net_file_shape(const vn_node *node) {
    const vn_shape s = node->shape;
    return s.rank == 4 ? VN_SHAPE(s.dim[0], s.dim[3], s.dim[1], s.dim[2]) : s;
}
