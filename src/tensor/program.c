/* program.c - a plan with its memory: run without allocating, and timed op by op when asked. */
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

struct vn_program {
    vn_plan plan;
    const vn_backend *backend;
    vn_thread_pool *pool;
    char *memory; /* arena, then work space */
    /* With options.profile: */
    double *seconds; /* of each step, over all runs; NULL without */
    int64_t runs;
};

vn_status vn_program_open(vn_graph *g, const vn_program_options *options, vn_program **out,
                          vn_err *err) {
    *out = NULL;
    vn_program *p = vn_calloc(1, sizeof *p);
    if (!p) return vn_no_memory(err);
    p->backend = options->backend;
    p->pool = options->pool;
    vn_status status = vn_plan_open(&p->plan, g, options, err);
    if (!status) {
        p->memory = vn_alloc_aligned(vn_program_bytes(p), 1);
        if (options->profile) p->seconds = vn_calloc((size_t)p->plan.steps, sizeof *p->seconds);
        if (!p->memory || (options->profile && !p->seconds)) status = vn_no_memory(err);
    }
    if (!status)
        *out = p;
    else
        vn_program_close(&p);
    return status;
}

void vn_program_close(vn_program **p) {
    if (!*p) return;
    vn_plan_close(&(*p)->plan);
    vn_free((*p)->memory);
    vn_free((*p)->seconds);
    vn_free(*p);
    *p = NULL;
}

static void *port(const vn_program *p, const vn_port *ports, int n, const vn_node *node) {
    for (int i = 0; i < n; i++)
        if (ports[i].node == node)
            return ports[i].place.home == VN_IN_DATA ? (void *)ports[i].place.data
                                                     : p->memory + ports[i].place.offset;
    return NULL;
}

void *vn_program_input(vn_program *p, const vn_node *input) {
    return port(p, p->plan.input, p->plan.inputs, input);
}

const void *vn_program_output(const vn_program *p, const vn_node *output) {
    return port(p, p->plan.output, p->plan.outputs, output);
}

size_t vn_program_bytes(const vn_program *p) {
    return p->plan.arena_bytes + p->plan.work_bytes;
}

/* ---- run ------------------------------------------------------------------------------------- */

static void *locate(const vn_program *p, const vn_run *run, const vn_location *place) {
    switch (place->home) {
    case VN_IN_VALUES: return (char *)run->values + place->offset;
    case VN_IN_GRADS: return (char *)run->grads + place->offset;
    case VN_IN_DATA: return (void *)place->data;
    default: return p->memory + place->offset;
    }
}

static void run_step(const vn_program *p, const vn_step *step, const vn_run *run) {
    if (step->node->op == VN_OP_VIEW) {
        size_t bytes = (size_t)vn_shape_count(&step->node->shape) * sizeof(float);
        memcpy(locate(p, run, &step->out), locate(p, run, &step->in[0]), bytes);
        return;
    }
    vn_kernel_args a = {.node = step->node,
                        .out = locate(p, run, &step->out),
                        .work = p->memory + p->plan.arena_bytes,
                        .pool = p->pool,
                        .run = run};
    for (int i = 0; i < step->node->inputs; i++) a.in[i] = locate(p, run, &step->in[i]);
    p->backend->kernel[step->node->op](&a);
}

void vn_program_run(vn_program *p, const vn_run *run) {
    for (int s = 0; s < p->plan.steps; s++) {
        double begin = p->seconds ? vn_now() : 0;
        run_step(p, &p->plan.step[s], run);
        if (p->seconds) p->seconds[s] += vn_now() - begin;
    }
    p->runs++;
}

/* ---- cost and profile ------------------------------------------------------------------------ */

vn_cost vn_step_cost(const vn_step *step) {
    double copied = 2 * (double)sizeof(float) * (double)vn_shape_count(&step->node->shape);
    return step->node->op == VN_OP_VIEW ? (vn_cost){0, copied} : vn_node_cost(step->node);
}

vn_cost vn_program_cost(const vn_program *p) {
    vn_cost sum = {0, 0};
    for (int s = 0; s < p->plan.steps; s++) {
        vn_cost c = vn_step_cost(&p->plan.step[s]);
        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}

static int by_seconds(const void *a, const void *b) {
    const vn_profile_line *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static bool same_label(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Gathers the steps into lines[steps]; returns how many there are. O(steps * lines), once. */
static int gather(const vn_program *p, bool by_place, vn_profile_line *lines) {
    int n = 0;
    for (int s = 0; s < p->plan.steps; s++) {
        const vn_step *step = &p->plan.step[s];
        const char *label = by_place ? step->node->label : NULL;
        const char *op = step->node->op == VN_OP_VIEW ? "copy" : vn_op_get(step->node->op)->name;
        int i = 0;
        while (i < n && (lines[i].op != op || !same_label(lines[i].label, label))) i++;
        if (i == n) lines[n++] = (vn_profile_line){.op = op, .label = label};
        vn_cost c = vn_step_cost(step);
        lines[i].steps++;
        lines[i].seconds += p->seconds[s] / (double)p->runs;
        lines[i].cost.flops += c.flops;
        lines[i].cost.bytes += c.bytes;
    }
    return n;
}

vn_status vn_program_profile(const vn_program *p, bool by_place, vn_profile_line **lines, int *n,
                             vn_err *err) {
    *lines = NULL;
    *n = 0;
    if (!p->seconds || !p->runs)
        return vn_fail(err, VN_BAD_ARGUMENT, "the program was not run to be profiled");
    *lines = vn_alloc((size_t)p->plan.steps, sizeof **lines);
    if (!*lines) return vn_no_memory(err);
    *n = gather(p, by_place, *lines);
    qsort(*lines, (size_t)*n, sizeof **lines, by_seconds);
    return VN_OK;
}

void vn_program_forget_times(vn_program *p) {
    for (int s = 0; p->seconds && s < p->plan.steps; s++) p->seconds[s] = 0;
    p->runs = 0;
}
