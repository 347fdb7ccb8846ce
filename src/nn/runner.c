/* runner.c - forward passes: a program kept for each batch shape, so that a shape seen before runs without allocating.
 * A sampler uses a handful (the batch, both passes of guidance in one, the rest at the end); past MAX_KEPT the one
 * unused longest gives way. */
#include "nn/internal.h"

#include <string.h>

#define MAX_KEPT 8

typedef struct kept {
    int64_t n, height, width; // n = 0: free
    uint64_t used;            // when last, counted in runs
    vn_graph *graph;
    vn_program *program;
    vn_net_inputs in;
    vn_node *out;
} kept;

struct vn_runner {
    const vn_net *net;
    const vn_backend *backend;
    vn_crew *crew;
    const float *values;
    uint64_t runs;
    kept kept[MAX_KEPT];
};

vn_status vn_runner_open(const vn_net *net, const vn_backend *backend, vn_crew *crew, const float *values,
                         vn_runner **out, vn_err *err) {
    vn_runner *r = vn_calloc(1, sizeof *r);
    if (!r) return vn_no_memory(err);
    r->net = net;
    r->backend = backend;
    r->crew = crew;
    r->values = values;
    *out = r;
    return VN_OK;
}

static void let_go(kept *k) {
    vn_program_close(&k->program);
    vn_graph_close(&k->graph);
    *k = (kept){0};
}

void vn_runner_close(vn_runner **r) {
    if (!*r) return;
    for (size_t i = 0; i < MAX_KEPT; i++) let_go(&(*r)->kept[i]);
    vn_free(*r);
    *r = NULL;
}

static vn_status prepare(const vn_runner *r, kept *k, int64_t n, int64_t height, int64_t width, vn_err *err) {
    vn_status status = vn_graph_open(&k->graph, err);
    if (status != VN_OK) return status;
    k->out = vn_net_build(r->net, k->graph, n, height, width, false, &k->in);
    status = vn_graph_status(k->graph, err);
    vn_program_options options = {.backend = r->backend, .crew = r->crew, .n_outputs = 1, .outputs = &k->out};
    if (status == VN_OK) status = vn_program_open(k->graph, &options, &k->program, err);
    if (status != VN_OK) {
        let_go(k);
        return status;
    }
    k->n = n;
    k->height = height;
    k->width = width;
    return VN_OK;
}

/* The program for a shape, made if need be. */
static vn_status find(vn_runner *r, int64_t n, int64_t height, int64_t width, kept **out, vn_err *err) {
    *out = r->kept;
    for (kept *k = r->kept; k < r->kept + MAX_KEPT; k++) {
        if (k->n == n && k->height == height && k->width == width) {
            *out = k;
            return VN_OK;
        }
        if (k->used < (*out)->used) *out = k;
    }
    let_go(*out);
    return prepare(r, *out, n, height, width, err);
}

vn_status vn_runner_forward(vn_runner *r, int64_t n, int64_t height, int64_t width, const float *x, const float *time,
                            const int32_t *labels, float *y, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(r->net);
    if (n == 0) return VN_OK;
    if (io->rank != 3) height = width = 0;
    if (io->rank == 3 && height == 0) height = io->height;
    if (io->rank == 3 && width == 0) width = io->width;
    kept *k = NULL;
    vn_status status = find(r, n, height, width, &k, err);
    if (status == VN_OK) status = vn_net_write_inputs(r->net, k->program, &k->in, time, labels, err);
    if (status != VN_OK) return status;
    k->used = ++r->runs;
    int64_t pixels = io->rank == 3 ? height * width : 1;
    vn_channels_last(vn_program_input(k->program, k->in.sample), x, n, io->in_channels, pixels, r->crew);
    vn_program_run(k->program, &(vn_run){.values = r->values});
    int64_t out_pixels = k->out->shape.rank == 4 ? pixels : 1;
    vn_channels_first(y, vn_program_output(k->program, k->out), n, io->out_channels, out_pixels, r->crew);
    return VN_OK;
}

/* ---- layout ----------------------------------------------------------------------------------------- */

/* Matrices of rows x columns, to be transposed. */
typedef struct matrices {
    float *out;
    const float *in;
    int64_t rows, columns;
} matrices;

/* out[j][i] = in[i][j], in blocks that stay in the first cache. */
static void transpose_one(void *context, int64_t index, int thread) {
    enum { BLOCK = 16 };
    const matrices *m = context;
    const int64_t rows = m->rows, columns = m->columns;
    const float *a = m->in + index * rows * columns;
    float *b = m->out + index * rows * columns;
    (void)thread;
    for (int64_t i0 = 0; i0 < rows; i0 += BLOCK)
        for (int64_t j0 = 0; j0 < columns; j0 += BLOCK)
            for (int64_t i = i0; i < rows && i < i0 + BLOCK; i++)
                for (int64_t j = j0; j < columns && j < j0 + BLOCK; j++) b[j * rows + i] = a[i * columns + j];
}

static void transpose(float *out, const float *in, int64_t n, int64_t rows, int64_t columns, vn_crew *crew) {
    matrices m = {out, in, rows, columns};
    if (rows == 1 || columns == 1)
        memcpy(out, in, (size_t)(n * rows * columns) * sizeof *out);
    else
        vn_crew_run(crew, n, transpose_one, &m);
}

void vn_channels_last(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels, vn_crew *crew) {
    transpose(out, in, n, channels, pixels, crew);
}

void vn_channels_first(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels, vn_crew *crew) {
    transpose(out, in, n, pixels, channels, crew);
}
