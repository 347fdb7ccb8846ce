/* footprint.c - what a program would take, computed without allocating it: bytes, arithmetic, and
 * the arrays in the arena at the step with most of them.
 *
 * It is computed from the planned steps: an array is alive from the step that writes it to the last
 * one that reads its memory, or to the step that writes over it.
 */
#include "tensor/internal.h"

#include <stdlib.h>

/* An array in the arena. */
typedef struct lifetime {
    const vn_node *node;
    size_t bytes;
    int first, last;
} lifetime;

typedef struct lifetimes {
    const vn_program_plan *plan;
    lifetime *lifetime;
    int n;
    int *latest;   /* by buffer: the array that was written there last, + 1; 0: none */
    size_t *alive; /* by step: bytes */
} lifetimes;

static lifetime *find(const lifetimes *l, const vn_location *at) {
    const int latest = at->home == VN_IN_ARENA ? l->latest[at->index] : 0;
    return latest ? &l->lifetime[latest - 1] : NULL;
}

static void add(lifetimes *l, const vn_node *n, const vn_location *at, int first, int last) {
    const size_t bytes = (size_t)vn_shape_count(&n->shape) * vn_dtype_size(n->dtype);
    if (at->home != VN_IN_ARENA) return;
    lifetime *over = find(l, at); /* written over at this step: one array, not two */
    if (over && over->last == first && first > 0) over->last = first - 1;
    l->lifetime[l->n++] = (lifetime){n, bytes, first, last};
    l->latest[at->index] = l->n;
}

static void find_lifetimes(lifetimes *l) {
    const vn_program_plan *plan = l->plan;
    for (int i = 0; i < plan->inputs; i++)
        add(l, plan->input[i].node, &plan->input[i].place, 0, plan->steps);
    for (int s = 0; s < plan->steps; s++) {
        const vn_program_step *step = &plan->step[s];
        for (int i = 0; i < step->node->inputs; i++) {
            lifetime *in = find(l, &step->in[i]);
            if (in && in->last < s) in->last = s;
        }
        if (step->node->op != VN_OP_VIEW) add(l, step->node, &step->out, s, s);
    }
    for (int i = 0; i < plan->outputs; i++) {
        lifetime *out = find(l, &plan->output[i].place);
        if (out) out->last = plan->steps;
    }
}

/* The step at which most is alive. Each array adds its bytes at the step where it begins and
 * subtracts them after its end; unsigned arithmetic wraps, so that the prefix sums are right. */
static int fullest(const lifetimes *l, size_t *most) {
    int at = 0;
    size_t sum = *most = 0;
    for (int i = 0; i < l->n; i++) {
        l->alive[l->lifetime[i].first] += l->lifetime[i].bytes;
        l->alive[l->lifetime[i].last + 1] -= l->lifetime[i].bytes;
    }
    for (int s = 0; s < l->plan->steps; s++) {
        sum += l->alive[s];
        if (sum <= *most) continue;
        *most = sum;
        at = s;
    }
    return at;
}

static int by_bytes(const void *a, const void *b) {
    const vn_footprint_line *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : x->node->id - y->node->id;
}

static void fill(vn_footprint *f, const lifetimes *l) {
    const int at = fullest(l, &f->alive_bytes);
    for (int i = 0; i < l->n; i++) {
        const lifetime *a = &l->lifetime[i];
        if (a->first <= at && at <= a->last)
            f->array[f->arrays++] =
                (vn_footprint_line){vn_graph_node(a->node->graph, a->node->id), a->bytes};
    }
    qsort(f->array, (size_t)f->arrays, sizeof *f->array, by_bytes);
}

vn_status vn_footprint_open(const vn_graph *g, const vn_program_options *options, vn_footprint *f,
                            vn_err *err) {
    vn_program_plan plan;
    *f = (vn_footprint){0};
    vn_status status = vn_program_plan_open(&plan, g, options, err);
    if (status) return status;
    f->bytes = plan.arena_bytes + plan.work_bytes;
    for (int s = 0; s < plan.steps; s++) {
        const vn_cost c = vn_program_step_cost(&plan.step[s]);
        f->cost.flops += c.flops;
        f->cost.bytes += c.bytes;
    }
    const size_t most = (size_t)plan.steps + (size_t)plan.inputs;
    lifetimes l = {.plan = &plan,
                   .lifetime = vn_alloc(most, sizeof *l.lifetime),
                   .latest = vn_calloc((size_t)plan.buffers, sizeof *l.latest),
                   .alive = vn_calloc((size_t)plan.steps + 2, sizeof *l.alive)};
    f->array = vn_alloc(most, sizeof *f->array);
    if (l.lifetime && l.latest && l.alive && f->array) {
        find_lifetimes(&l);
        fill(f, &l);
    } else
        status = vn_no_memory(err);
    f->lowered = plan.lowered; /* whose nodes are listed */
    plan.lowered = NULL;
    vn_free(l.lifetime);
    vn_free(l.latest);
    vn_free(l.alive);
    vn_program_plan_close(&plan);
    return status;
}

void vn_footprint_close(vn_footprint *f) {
    vn_free(f->array);
    vn_graph_close(&f->lowered);
    *f = (vn_footprint){0};
}
