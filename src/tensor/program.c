/* program.c - a plan with its memory: run without allocating, and timed op by op when asked. */
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

struct vn_program {
    vn_plan plan;
    const vn_backend *backend;
    vn_crew *crew;
    char *memory; /* arena, then work space */
    /* With options.profile: */
    double *seconds; /* of each step, over all runs; NULL without */
    int64_t runs;
};

vn_status vn_program_open(vn_graph *g, const vn_program_options *options, vn_program **out, vn_err *err) {
    *out = NULL;
    vn_program *p = vn_calloc(1, sizeof *p);
    if (!p) return vn_no_memory(err);
    p->backend = options->backend;
    p->crew = options->crew;
    vn_status status = vn_plan_open(&p->plan, g, options, err);
    if (status == VN_OK) {
        p->memory = vn_alloc_aligned(vn_program_bytes(p), 1);
        if (options->profile) p->seconds = vn_calloc((size_t)p->plan.steps, sizeof *p->seconds);
        if (!p->memory || (options->profile && !p->seconds)) status = vn_no_memory(err);
    }
    if (status == VN_OK)
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
            return ports[i].place.home == VN_IN_DATA ? (void *)ports[i].place.data : p->memory + ports[i].place.offset;
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

/* ---- run -------------------------------------------------------------------------------------------- */

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
                        .crew = p->crew,
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

/* ---- cost and profile ------------------------------------------------------------------------------- */

static vn_cost step_cost(const vn_step *step) {
    double copied = 2 * (double)sizeof(float) * (double)vn_shape_count(&step->node->shape);
    return step->node->op == VN_OP_VIEW ? (vn_cost){0, copied} : vn_node_cost(step->node);
}

vn_cost vn_program_cost(const vn_program *p) {
    vn_cost sum = {0, 0};
    for (int s = 0; s < p->plan.steps; s++) {
        vn_cost c = step_cost(&p->plan.step[s]);
        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}

/* A line of the profile: all steps of one op, or of one op at one place in the model. */
typedef struct line {
    const char *op, *label;
    int steps;
    double seconds;
    vn_cost cost;
} line;

static int by_seconds(const void *a, const void *b) {
    const line *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static bool same_label(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Gathers the steps into lines[steps]; returns how many there are, the slowest first. */
static int gather(const vn_program *p, bool with_labels, line *lines) {
    int n = 0;
    for (int s = 0; s < p->plan.steps; s++) {
        const vn_step *step = &p->plan.step[s];
        const char *label = with_labels ? step->node->label : NULL;
        const char *op = step->node->op == VN_OP_VIEW ? "copy" : vn_op_get(step->node->op)->name;
        int i = 0;
        while (i < n && (lines[i].op != op || !same_label(lines[i].label, label))) i++;
        if (i == n) lines[n++] = (line){.op = op, .label = label};
        vn_cost c = step_cost(step);
        lines[i].steps++;
        lines[i].seconds += p->seconds[s] / (double)p->runs;
        lines[i].cost.flops += c.flops;
        lines[i].cost.bytes += c.bytes;
    }
    qsort(lines, (size_t)n, sizeof *lines, by_seconds);
    return n;
}

static void print_lines(const line *lines, int n, double total, FILE *to) {
    for (int i = 0; i < n; i++) {
        const line *l = &lines[i];
        double time = l->seconds > 0 ? l->seconds : 1e-12, share = total > 0 ? 100 * l->seconds / total : 0;
        fprintf(to, "%-20s %-48s %5d %9.3f %5.1f%% %8.1f %8.1f\n", l->op, l->label ? l->label : "", l->steps,
                1e3 * l->seconds, share, l->cost.flops / time * 1e-9, l->cost.bytes / time * 1e-9);
    }
}

void vn_program_print_profile(const vn_program *p, FILE *to) {
    enum { SLOWEST = 40 };
    line *lines = p->seconds && p->runs ? vn_alloc((size_t)p->plan.steps, sizeof *lines) : NULL;
    if (!lines) return;
    double total = 0;
    for (int s = 0; s < p->plan.steps; s++) total += p->seconds[s] / (double)p->runs;
    fprintf(to, "%lld runs of %.3f ms\n", (long long)p->runs, 1e3 * total);
    fprintf(to, "%-20s %-48s %5s %9s %6s %8s %8s\n", "op", "label", "calls", "ms", "share", "GF/s", "GB/s");
    print_lines(lines, gather(p, false, lines), total, to);
    int n = gather(p, true, lines);
    fprintf(to, "the slowest by place:\n");
    print_lines(lines, n < SLOWEST ? n : SLOWEST, total, to);
    vn_free(lines);
}
