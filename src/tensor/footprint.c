/* footprint.c - what a plan takes, told without taking it: bytes, arithmetic, and what fills the arena when it is fullest.
 *
 * Read off the finished steps: an array lives from the step that writes it to the last that reads its memory, or to the step
 * that writes over it.
 */
#include "tensor/internal.h"

#include <stdlib.h>

/* An array in the arena. */
typedef struct life {
    const vn_node *node;
    size_t begin, end; /* bytes of the arena */
    int first, last;
} life;

typedef struct lives {
    const vn_plan *plan;
    life *life;
    int n;
} lives;

/* The array that a location of the arena is in: the latest that was written there. */
static life *find(const lives *l, const vn_location *at) {
    for (int i = l->n - 1; at->home == VN_IN_ARENA && i >= 0; i--)
        if (at->offset >= l->life[i].begin && at->offset < l->life[i].end) return &l->life[i];
    return NULL;
}

static void add(lives *l, const vn_node *n, const vn_location *at, int first, int last) {
    const size_t bytes = (size_t)vn_shape_count(&n->shape) * 4; // both dtypes
    if (at->home != VN_IN_ARENA) return;
    life *over = find(l, at); // written over at this step: one array, not two
    if (over && over->last == first && first > 0) over->last = first - 1;
    l->life[l->n++] = (life){n, at->offset, at->offset + bytes, first, last};
}

static void find_lives(lives *l) {
    const vn_plan *plan = l->plan;
    for (int i = 0; i < plan->inputs; i++) add(l, plan->input[i].node, &plan->input[i].place, 0, plan->steps);
    for (int s = 0; s < plan->steps; s++) {
        const vn_step *step = &plan->step[s];
        for (int i = 0; i < step->node->inputs; i++) {
            life *in = find(l, &step->in[i]);
            if (in && in->last < s) in->last = s;
        }
        if (step->node->op != VN_OP_VIEW) add(l, step->node, &step->out, s, s);
    }
    for (int i = 0; i < plan->outputs; i++) {
        life *out = find(l, &plan->output[i].place);
        if (out) out->last = plan->steps;
    }
}

/* The step at which most is alive. */
static int fullest(const lives *l, size_t *most) {
    int at = 0;
    *most = 0;
    for (int s = 0; s < l->plan->steps; s++) {
        size_t sum = 0;
        for (int i = 0; i < l->n; i++)
            if (l->life[i].first <= s && s <= l->life[i].last) sum += l->life[i].end - l->life[i].begin;
        if (sum <= *most) continue;
        *most = sum;
        at = s;
    }
    return at;
}

static int by_bytes(const void *a, const void *b) {
    const vn_array *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : x->node->id - y->node->id;
}

static void fill(vn_footprint *f, const lives *l) {
    const int at = fullest(l, &f->alive_bytes);
    for (int i = 0; i < l->n; i++) {
        const life *a = &l->life[i];
        if (a->first <= at && at <= a->last)
            f->array[f->arrays++] = (vn_array){vn_graph_node(a->node->graph, a->node->id), a->end - a->begin};
    }
    qsort(f->array, (size_t)f->arrays, sizeof *f->array, by_bytes);
}

vn_status vn_footprint_open(const vn_graph *g, const vn_program_options *options, vn_footprint *f, vn_err *err) {
    vn_plan plan;
    *f = (vn_footprint){0};
    vn_status status = vn_plan_open(&plan, g, options, err);
    if (status != VN_OK) return status;
    f->bytes = plan.arena_bytes + plan.work_bytes;
    for (int s = 0; s < plan.steps; s++) {
        const vn_cost c = vn_step_cost(&plan.step[s]);
        f->cost.flops += c.flops;
        f->cost.bytes += c.bytes;
    }
    const size_t most = (size_t)plan.steps + (size_t)plan.inputs;
    lives l = {.plan = &plan, .life = vn_alloc(most, sizeof *l.life)};
    f->array = vn_alloc(most, sizeof *f->array);
    if (l.life && f->array) {
        find_lives(&l);
        fill(f, &l);
    } else
        status = vn_no_memory(err);
    vn_free(l.life);
    vn_plan_close(&plan);
    return status;
}

void vn_footprint_close(vn_footprint *f) {
    vn_free(f->array);
    *f = (vn_footprint){0};
}
