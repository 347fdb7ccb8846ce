/* runner.c - forward passes and derivatives. A program is kept for each spec, so that one seen
 * before runs without allocating; all share one arena, as large as the largest of them needs. A
 * sampler uses a handful: the batch, the batch with both passes of guidance, the rest at the end,
 * and for each guide with a perturbation the batch and the rest again. Beyond MAX_KEPT the least
 * recently used is freed. */
#include "nn/internal.h"

#include <string.h>

#define MAX_KEPT 16

/* What a program is kept for. */
typedef struct program_key {
    vn_net_spec spec; /* batch 0: none */
    vn_want want;
    int output; /* that is differentiated */
} program_key;

typedef struct kept {
    program_key key;
    uint64_t used; /* the number of the run that used it last */
    vn_graph *graph;
    vn_program *program;
    vn_net_nodes nodes;
    /* of a derivative: */
    vn_node *direction, *product;
    vn_gradients by; /* of VN_VJP */
} kept;

struct vn_runner {
    const vn_net *net;
    vn_device device;
    vn_values *values;
    uint64_t runs;
    vn_program_arena arena; /* of all that are kept */
    kept kept[MAX_KEPT];
};

vn_status vn_runner_open(const vn_net *net, const vn_device *device, vn_values *values,
                         vn_runner **out, vn_err *err) {
    vn_runner *r = vn_calloc(1, sizeof *r);
    if (!r) return vn_no_memory(err);
    r->net = net;
    r->device = *device;
    r->values = vn_values_share(values);
    *out = r;
    return VN_OK;
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
    vn_values_close(&(*r)->values);
    vn_free(*r);
    *r = NULL;
}

/* ---- programs -------------------------------------------------------------------------------- */

static vn_status differentiate(const vn_runner *r, const program_key *p, kept *k, vn_err *err) {
    vn_node *x = vn_net_in(r->net, &k->nodes, "sample"), *y = k->nodes.out[p->output];
    k->direction = vn_input(k->graph, VN_F32, p->want == VN_VJP ? y->shape : x->shape);
    vn_status status = vn_graph_status(k->graph, err);
    if (status) return status;
    if (p->want == VN_JVP) return vn_graph_jvp(k->graph, y, 1, &x, &k->direction, &k->product, err);
    k->by.x = x;
    status = vn_gradients_open(&k->by, y, k->direction, err);
    k->product = k->by.by_x;
    return status;
}

static vn_status prepare(vn_runner *r, const program_key *p, kept *k, vn_err *err) {
    vn_status status = vn_graph_open(&k->graph, err);
    if (!status) status = vn_net_build(r->net, k->graph, &p->spec, &k->nodes, err);
    if (!status && p->want) status = differentiate(r, p, k, err);
    /* the output beside its derivative, so that every input is part of the program */
    vn_node *const both[] = {k->product, k->nodes.out[p->output]};
    const vn_program_options options = {.device = &r->device,
                                        .arena = &r->arena,
                                        .n_outputs = p->want ? 2 : vn_net_get_io(r->net)->outputs,
                                        .outputs = p->want ? both : k->nodes.out};
    if (!status) status = vn_program_open(k->graph, &options, &k->program, err);
    if (!status)
        k->key = *p;
    else
        let_go(k);
    return status;
}

static bool same_key(const program_key *a, const program_key *b) {
    const vn_extent *x = &a->spec.extent, *y = &b->spec.extent;
    bool same = x->batch == y->batch && x->height == y->height && x->width == y->width &&
                x->tokens == y->tokens && x->patches == y->patches && x->ids == y->ids &&
                x->pooled == y->pooled && a->spec.train == b->spec.train &&
                a->spec.negative == b->spec.negative && a->want == b->want &&
                a->output == b->output;
    for (int i = 0; i < VN_NET_PERTURBS; i++)
        same = same && vn_perturb_equal(&a->spec.perturb[i], &b->spec.perturb[i]);
    return same;
}

/* The program for a key, made if there is none. */
static vn_status find(vn_runner *r, const program_key *p, kept **out, vn_err *err) {
    *out = r->kept;
    for (kept *k = r->kept; k < r->kept + MAX_KEPT; k++) {
        if (same_key(&k->key, p)) {
            *out = k;
            return VN_OK;
        }
        if (k->used < (*out)->used) *out = k;
    }
    let_go(*out);
    return prepare(r, p, *out, err);
}

/* The program for a key, its inputs filled. */
static vn_status begin(vn_runner *r, program_key *p, int n_in, const vn_feed *in, kept **k,
                       vn_err *err) {
    vn_net_complete(r->net, &p->spec.extent);
    vn_status status = vn_net_match(r->net, &p->spec.extent, n_in, in, err);
    if (!status) status = find(r, p, k, err);
    if (!status)
        status = vn_net_fill(r->net, (*k)->program, &(*k)->nodes, n_in, in, r->device.pool, err);
    return status;
}

static vn_status go(vn_runner *r, kept *k, vn_err *err) {
    k->used = ++r->runs;
    vn_program_run(k->program, &(vn_run){.values = r->values});
    return vn_program_wait(k->program, err);
}

/* ---- runs ------------------------------------------------------------------------------------ */

vn_status vn_runner_run(vn_runner *r, const vn_net_spec *spec, int n_in, const vn_feed *in,
                        int n_out, const vn_fetch *out, vn_err *err) {
    for (int i = 0; i < n_out; i++)
        if (vn_net_find_output(r->net, out[i].name, err) < 0) return VN_BAD_ARGUMENT;
    if (spec->extent.batch == 0) return VN_OK;
    program_key p = {.spec = *spec};
    kept *k = NULL;
    vn_status status = begin(r, &p, n_in, in, &k, err);
    if (!status) status = go(r, k, err);
    for (int i = 0; i < n_out && !status; i++)
        vn_net_read_node(k->program, vn_net_out(r->net, &k->nodes, out[i].name), out[i].data, NULL,
                         r->device.pool);
    return status;
}

/* The factors that the sample is fed with, which by the chain rule its derivative has too. */
static const float *scale_of(int n_in, const vn_feed *in) {
    for (int i = 0; i < n_in; i++)
        if (!strcmp(in[i].array.name, "sample")) return in[i].scale;
    return NULL;
}

vn_status vn_runner_derive(vn_runner *r, const vn_net_spec *spec, vn_want want, const char *output,
                           int n_in, const vn_feed *in, const float *direction, float *out,
                           vn_err *err) {
    program_key p = {
        .spec = *spec, .want = want, .output = vn_net_find_output(r->net, output, err)};
    if (p.output < 0) return VN_BAD_ARGUMENT;
    if (spec->extent.batch == 0) return VN_OK;
    kept *k = NULL;
    vn_status status = begin(r, &p, n_in, in, &k, err);
    if (status) return status;
    const float *scale = scale_of(n_in, in);
    vn_net_write_node(k->program, k->direction, direction, want == VN_JVP ? scale : NULL,
                      r->device.pool);
    status = go(r, k, err);
    if (!status)
        vn_net_read_node(k->program, k->product, out, want == VN_VJP ? scale : NULL,
                         r->device.pool);
    return status;
}
