/* kernel_resample.c - up- and down-sampling of images by a separable filter of at most VN_MAX_TAPS
 * taps: in one dimension out[o] = sum over i of x[i] tap[o*down - i*up + pad]. */
#include "cpu/internal.h"

/* The input positions that one output position reads, and their taps. */
typedef struct reach {
    int64_t first;
    int count;
    float tap[VN_MAX_TAPS];
} reach;

static int64_t floor_div(int64_t a, int64_t b) {
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static reach reach_of(const vn_attr *attr, int64_t o, int pad, int64_t size) {
    int64_t up = attr->resample.up, at = o * attr->resample.down + pad;
    int64_t first = vn_max_i64(0, floor_div(at - attr->resample.taps, up) + 1);
    int64_t last = vn_min_i64(size - 1, floor_div(at, up));
    reach r = {.first = first, .count = (int)vn_max_i64(0, last - first + 1)};
    for (int k = 0; k < r.count; k++) r.tap[k] = attr->resample.tap[at - (first + k) * up];
    return r;
}

/* n channels of one output position; x: its sample, at the first channel. */
VN_INLINE void mix(const float *x, int64_t row_step, int64_t channels, const reach *rows,
                   const reach *columns, float *y, int64_t n) {
    vn_vec sum = {0};
    for (int i = 0; i < rows->count; i++)
        for (int j = 0; j < columns->count; j++) {
            const float *from = x + (rows->first + i) * row_step + (columns->first + j) * channels;
            sum = vn_fma(vn_load_n(from, n), vn_set(rows->tap[i] * columns->tap[j]), sum);
        }
    vn_store_n(y, sum, n);
}

/* The reach of every output column. */
size_t VN_W(resample)(const vn_node *n, int threads) {
    (void)threads;
    return vn_region((size_t)n->shape.dim[2], sizeof(reach));
}

/* One line of one output image. */
static void resample_line(void *context, int64_t line, int thread) {
    const vn_kernel_args *a = context;
    const vn_attr *attr = &a->node->attr;
    const vn_shape *from = &a->node->in[0]->shape, *to = &a->node->shape;
    const int64_t height = to->dim[1], width = to->dim[2], channels = to->dim[3],
                  row_step = from->dim[2] * channels;
    const float *sample = (const float *)a->in[0] + line / height * from->dim[1] * row_step;
    const reach rows = reach_of(attr, line % height, attr->resample.pad[0], from->dim[1]),
                *columns = a->work;
    (void)thread;
    for (int64_t o = 0; o < width; o++) {
        float *out = (float *)a->out + (line * width + o) * channels;
        int64_t c = 0;
        for (; c + VN_LANES <= channels; c += VN_LANES)
            mix(sample + c, row_step, channels, &rows, &columns[o], out + c, VN_LANES);
        if (c < channels)
            mix(sample + c, row_step, channels, &rows, &columns[o], out + c, channels - c);
    }
}

void VN_K(resample)(const vn_kernel_args *a) {
    const vn_attr *attr = &a->node->attr;
    const vn_shape *from = &a->node->in[0]->shape, *to = &a->node->shape;
    const double floats = 2.0 * (double)(vn_shape_count(from) + vn_shape_count(to));
    vn_kernel_args shared = *a;
    reach *columns = a->work;
    for (int64_t o = 0; o < to->dim[2]; o++)
        columns[o] = reach_of(attr, o, attr->resample.pad[1], from->dim[2]);
    vn_thread_pool_run(vn_share(a->pool, floats), to->dim[0] * to->dim[1], resample_line, &shared);
}
