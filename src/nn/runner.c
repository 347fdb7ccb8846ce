/* runner.c - forward passes, and backward passes to the input. A program is kept for each batch
 * shape and perturbation, so that one seen before runs without allocating; all share one arena, as
 * large as the largest of them needs. A sampler uses a handful: the batch, the batch with both
 * passes of guidance, the rest at the end, and for each guide with a perturbation the batch and the
 * rest again. Beyond MAX_KEPT the least recently used is freed. */
#include "nn/internal.h"

#include <string.h>

#define MAX_KEPT 16

/* What a program is made for: a batch's shape, forward or backward, and the perturbations. */
typedef struct pass {
    int64_t n, height, width;
    bool back; /* the vector-Jacobian product by the sample */
    vn_perturb perturb[VN_NET_PERTURBS];
} pass;

typedef struct kept {
    pass pass;     /* n = 0: free */
    uint64_t used; /* the number of the run that used it last */
    vn_graph *graph;
    vn_program *program;
    vn_net_inputs in;
    vn_node *y;         /* the network's prediction */
    vn_node *variance;  /* NULL: it learns none */
    vn_node *cotangent; /* of a pass back */
    vn_gradients by;    /* likewise */
    vn_node *out;       /* the result: y, or the gradient of <cotangent, y> by the sample */
} kept;

struct vn_runner {
    const vn_net *net;
    vn_device device;
    const float *values;
    uint64_t runs;
    vn_program_arena arena; /* of all that are kept */
    vn_perturb perturb[VN_NET_PERTURBS];
    kept kept[MAX_KEPT];
};

vn_status vn_runner_open(const vn_net *net, const vn_device *device, const float *values,
                         vn_runner **out, vn_err *err) {
    vn_runner *r = vn_calloc(1, sizeof *r);
    if (!r) return vn_no_memory(err);
    r->net = net;
    r->device = *device;
    r->values = values;
    *out = r;
    return VN_OK;
}

void vn_runner_perturb(vn_runner *r, const vn_perturb *perturb) {
    for (int i = 0; i < VN_NET_PERTURBS; i++)
        r->perturb[i] = perturb ? perturb[i] : (vn_perturb){0};
}

static void let_go(kept *k) {
    vn_program_close(&k->program);
    vn_gradients_close(&k->by);
    vn_graph_close(&k->graph);
    *k = (kept){0};
}

void vn_runner_close(vn_runner **r) {
    if (!*r) return;
    for (size_t i = 0; i < MAX_KEPT; i++) let_go(&(*r)->kept[i]);
    vn_program_arena_close(&(*r)->arena);
    vn_free(*r);
    *r = NULL;
}

static vn_status build(const vn_net *net, const pass *p, kept *k, vn_err *err) {
    vn_status status = vn_graph_open(&k->graph, err);
    if (status) return status;
    vn_node *output =
        vn_net_build_perturbed(net, k->graph, p->n, p->height, p->width, false, p->perturb, &k->in);
    k->out = k->y = vn_net_prediction(net, k->graph, output);
    if (!p->back) k->variance = vn_net_variance(net, k->graph, output);
    if (k->y && p->back) k->cotangent = vn_input(k->graph, VN_F32, k->y->shape);
    status = vn_graph_status(k->graph, err);
    if (status || !p->back) return status;
    k->by.x = k->in.sample;
    status = vn_gradients_open(&k->by, k->y, k->cotangent, err);
    k->out = k->by.by_x;
    return status;
}

static vn_status prepare(vn_runner *r, const pass *p, kept *k, vn_err *err) {
    vn_status status = build(r->net, p, k, err);
    /* y in both, so that every input is part of it */
    vn_node *const outputs[] = {k->out, p->back ? k->y : k->variance};
    const vn_program_options options = {.device = &r->device,
                                        .arena = &r->arena,
                                        .n_outputs = outputs[1] ? 2 : 1,
                                        .outputs = outputs};
    if (!status) status = vn_program_open(k->graph, &options, &k->program, err);
    if (!status)
        k->pass = *p;
    else
        let_go(k);
    return status;
}

static bool same_pass(const pass *a, const pass *b) {
    bool same =
        a->n == b->n && a->height == b->height && a->width == b->width && a->back == b->back;
    for (int i = 0; i < VN_NET_PERTURBS; i++)
        same = same && vn_perturb_equal(&a->perturb[i], &b->perturb[i]);
    return same;
}

/* The program for a pass, made if there is none. */
static vn_status find(vn_runner *r, const pass *p, kept **out, vn_err *err) {
    *out = r->kept;
    for (kept *k = r->kept; k < r->kept + MAX_KEPT; k++) {
        if (same_pass(&k->pass, p)) {
            *out = k;
            return VN_OK;
        }
        if (k->used < (*out)->used) *out = k;
    }
    let_go(*out);
    return prepare(r, p, *out, err);
}

/* Pixels of one channel: those of an image, else 1 (points, a classifier's logits). */
static int64_t pixels_of(const vn_node *node) {
    return node->shape.rank == 4 ? node->shape.dim[1] * node->shape.dim[2] : 1;
}

static int64_t channels_of(const vn_node *node) {
    return node->shape.dim[node->shape.rank - 1];
}

static void put(vn_runner *r, kept *k, const vn_node *input, const float *x) {
    vn_channels_last(vn_program_map(k->program, input), x, k->pass.n, channels_of(input),
                     pixels_of(input), r->device.pool);
}

static void get(vn_runner *r, kept *k, const vn_node *node, float *out) {
    vn_channels_first(out, vn_program_map(k->program, node), k->pass.n, channels_of(node),
                      pixels_of(node), r->device.pool);
}

/* cotangent NULL: forward. variance NULL: not wanted. */
static vn_status run(vn_runner *r, pass p, const float *x, const float *time, const int32_t *labels,
                     const float *cotangent, float *out, float *variance, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(r->net);
    if (variance && !io->learns_variance)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: this network learns no variance",
                       vn_net_get_row(r->net)->row.name);
    if (p.n == 0) return VN_OK;
    memcpy(p.perturb, r->perturb, sizeof p.perturb);
    if (io->rank != 3) p.height = p.width = 0;
    if (io->rank == 3 && p.height == 0) p.height = io->height;
    if (io->rank == 3 && p.width == 0) p.width = io->width;
    kept *k = NULL;
    vn_status status = find(r, &p, &k, err);
    if (!status) status = vn_net_write_inputs(r->net, k->program, &k->in, time, labels, err);
    if (status) return status;
    k->used = ++r->runs;
    put(r, k, k->in.sample, x);
    if (cotangent) put(r, k, k->cotangent, cotangent);
    vn_program_run(k->program, &(vn_run){.values = r->values});
    status = vn_program_wait(k->program, err);
    if (status) return status;
    get(r, k, k->out, out);
    if (variance) get(r, k, k->variance, variance);
    return VN_OK;
}

vn_status vn_runner_forward(vn_runner *r, int64_t n, int64_t height, int64_t width, const float *x,
                            const float *time, const int32_t *labels, float *y, float *variance,
                            vn_err *err) {
    return run(r, (pass){.n = n, .height = height, .width = width}, x, time, labels, NULL, y,
               variance, err);
}

vn_status vn_runner_vjp(vn_runner *r, int64_t n, int64_t height, int64_t width, const float *x,
                        const float *time, const int32_t *labels, const float *cotangent,
                        float *back, vn_err *err) {
    return run(r, (pass){.n = n, .height = height, .width = width, .back = true}, x, time, labels,
               cotangent, back, NULL, err);
}

/* ---- layout ---------------------------------------------------------------------------------- */

/* Matrices of rows x columns, to be transposed. */
typedef struct matrices {
    float *out;
    const float *in;
    int64_t rows, columns;
} matrices;

/* out[j][i] = in[i][j], in blocks that stay in the first-level cache. */
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
                for (int64_t j = j0; j < columns && j < j0 + BLOCK; j++)
                    b[j * rows + i] = a[i * columns + j];
}

static void transpose(float *out, const float *in, int64_t n, int64_t rows, int64_t columns,
                      vn_thread_pool *pool) {
    matrices m = {out, in, rows, columns};
    if (rows == 1 || columns == 1)
        memcpy(out, in, (size_t)(n * rows * columns) * sizeof *out);
    else
        vn_thread_pool_run(pool, n, transpose_one, &m);
}

void vn_channels_last(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                      vn_thread_pool *pool) {
    transpose(out, in, n, channels, pixels, pool);
}

void vn_channels_first(float *out, const float *in, int64_t n, int64_t channels, int64_t pixels,
                       vn_thread_pool *pool) {
    transpose(out, in, n, pixels, channels, pool);
}
