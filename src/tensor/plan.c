/* plan.c - plans a graph: a list of kernel calls, and one arena for all arrays.
 *
 *   lower    what the device has no kernel for is written with simpler ops (lower.c)
 *   need     mark what the outputs depend on; the rest is not run
 *   order    the steps, with copies where a gradient cannot be written in its place
 *   memory   which step reads an array last; a view shares its root's memory; an op that may writes
 *            over its input
 *   pack     offsets (pack.c)
 *
 * A gradient that is asked for in the run's flat array is written there by the op that computes it,
 * also when views lie between, provided the weights it covers lie there as it lies in memory.
 */
#include "tensor/internal.h"

#include <string.h>

#define ALIGNMENT 64 /* bytes */

/* What the planner knows of a node, by its id. */
typedef struct info {
    const vn_node *node; /* the graph's, or the plan's own version of it */
    int root;            /* the node in whose memory it lies: its own unless it is a view */
    int64_t shift;       /* elements from the root's begin */
    /* Of roots only: */
    int last;      /* the last step that reads it */
    int buffer;    /* its memory, if that is in the arena */
    int constant;  /* of a CONST: which of the plan's */
    size_t bound;  /* where it is written in run.grads, in floats */
    bool is_bound; /* it is */
    int gradient;  /* the first gradient that lies in its memory; -1: none */
    bool kept;     /* readable after the run */
    bool needed;
} info;

typedef struct planner {
    const vn_graph *g;
    const vn_program_options *o;
    vn_program_plan *plan;
    info *info;
    int *next; /* by gradient: the next one that lies in the same memory; -1: none */
    vn_buffer *buffer;
    int buffers;
    vn_err *err;
} planner;

static size_t align(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t bytes_of(const vn_node *n) {
    return (size_t)vn_shape_count(&n->shape) * vn_dtype_size(n->dtype);
}

static info *root_of(planner *p, const vn_node *n) {
    return &p->info[p->info[n->id].root];
}

static bool is_leaf(const vn_node *n) {
    return n->op == VN_OP_INPUT || n->op == VN_OP_PARAM || n->op == VN_OP_CONST;
}

/* ---- need ------------------------------------------------------------------------------------ */

/* Arithmetic ops broadcast by themselves: such an op reads the input of a broadcast instead of its
 * result, in a copy of its node. False: out of memory. */
static bool skip_broadcasts(planner *p, info *at) {
    const vn_node *n = at->node;
    if (n->op != VN_OP_ADD && n->op != VN_OP_SUB && n->op != VN_OP_MUL && n->op != VN_OP_DIV)
        return true;
    for (int i = 0; i < 2; i++) {
        vn_shape both;
        const vn_node *from = at->node->in[i], *other = at->node->in[1 - i];
        if (from->op != VN_OP_BROADCAST ||
            !vn_shape_broadcast(&from->in[0]->shape, &other->shape, &both) ||
            !vn_shape_equal(&both, &n->shape))
            continue;
        vn_node *own = vn_arena_alloc(&p->plan->arena, sizeof *own);
        if (!own) return false;
        *own = *at->node;
        own->in[i] = from->in[0];
        at->node = own;
    }
    return true;
}

/* Marks what the outputs need, and finds each node's root and each root's gradients. */
static vn_status find_needed(planner *p) {
    for (int i = 0; i < p->o->n_outputs; i++) p->info[p->o->outputs[i]->id].needed = true;
    for (int i = 0; i < p->o->n_grads; i++) p->info[p->o->grads[i]->id].needed = true;
    for (int id = p->g->count - 1; id >= 0; id--) {
        info *at = &p->info[id];
        at->node = p->g->node[id];
        if (!at->needed) continue;
        if (!skip_broadcasts(p, at)) return vn_no_memory(p->err);
        for (int i = 0; i < at->node->inputs; i++) p->info[at->node->in[i]->id].needed = true;
    }
    for (int id = 0; id < p->g->count; id++) {
        info *at = &p->info[id];
        at->root = id;
        at->buffer = at->last = at->gradient = -1;
        if (at->node->op != VN_OP_VIEW) continue;
        const info *in = &p->info[at->node->in[0]->id];
        at->root = in->root;
        at->shift = in->shift + at->node->attr.view.offset;
    }
    for (int i = 0; i < p->o->n_outputs; i++) root_of(p, p->o->outputs[i])->kept = true;
    for (int k = p->o->n_grads - 1; k >= 0; k--) {
        info *root = root_of(p, p->o->grads[k]);
        p->next[k] = root->gradient;
        root->gradient = k;
    }
    return VN_OK;
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Where the root of gradient k would begin in run.grads for k to land in its place; may be
 * negative. */
static int64_t base_of(const planner *p, int k) {
    return (int64_t)p->o->grad_offset[k] - p->info[p->o->grads[k]->id].shift;
}

/* Can gradient k's root be written to run.grads as a whole? Its wanted parts must cover it
 * there. */
static bool can_bind(planner *p, int k) {
    const info *root = root_of(p, p->o->grads[k]);
    int64_t base = base_of(p, k), covered = 0;
    if (is_leaf(root->node) || root->kept || base < 0 ||
        base % (int64_t)(ALIGNMENT / sizeof(float)))
        return false;
    for (int j = root->gradient; j >= 0; j = p->next[j])
        if (base_of(p, j) == base) covered += vn_shape_count(&p->o->grads[j]->shape);
    return covered == vn_shape_count(&root->node->shape);
}

static void bind_gradients(planner *p) {
    for (int k = 0; k < p->o->n_grads; k++) {
        info *root = root_of(p, p->o->grads[k]);
        if (root->is_bound || !can_bind(p, k)) continue;
        root->is_bound = true;
        root->bound = (size_t)base_of(p, k);
    }
}

static bool is_in_place(planner *p, int k) {
    const info *root = root_of(p, p->o->grads[k]);
    return root->is_bound && (int64_t)root->bound == base_of(p, k);
}

/* A step that copies x to `to`. */
static vn_status add_copy(planner *p, const vn_node *x, vn_location to) {
    vn_node *n = vn_arena_alloc(&p->plan->arena, sizeof *n);
    if (!n) return vn_no_memory(p->err);
    *n = *x;
    n->op = VN_OP_VIEW;
    n->inputs = 1;
    n->in[0] = p->g->node[x->id];
    p->plan->step[p->plan->steps++] = (vn_program_step){.node = n, .out = to};
    return VN_OK;
}

/* Copies to run.grads of what lies in root's memory and is not there already. */
static vn_status copy_gradients(planner *p, const info *root) {
    vn_status status = VN_OK;
    for (int k = root->gradient; k >= 0 && !status; k = p->next[k])
        if (!is_in_place(p, k))
            status = add_copy(
                p, p->o->grads[k],
                (vn_location){.home = VN_IN_GRADS, .offset = p->o->grad_offset[k] * sizeof(float)});
    return status;
}

/* In the order of the graph, which is the order in which memory is freed early: see gradient.c. */
static vn_status list_steps(planner *p) {
    vn_status status = VN_OK;
    for (int id = 0; id < p->g->count && !status; id++) {
        const info *at = &p->info[id];
        if (!at->needed || at->root != id) continue;
        if (!is_leaf(at->node))
            p->plan->step[p->plan->steps++] = (vn_program_step){.node = at->node};
        status = copy_gradients(p, at);
    }
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static vn_location place_of(planner *p, const vn_node *n) {
    const info *root = root_of(p, n);
    const size_t shift = (size_t)p->info[n->id].shift * vn_dtype_size(n->dtype);
    if (root->is_bound)
        return (vn_location){.home = VN_IN_GRADS, .offset = root->bound * sizeof(float) + shift};
    if (root->node->op == VN_OP_PARAM)
        return (vn_location){.home = VN_IN_VALUES,
                             .index = (int)root->node->from.param,
                             .set = root->node->attr.param.set,
                             .offset = shift};
    if (root->node->op == VN_OP_CONST)
        return (vn_location){.home = VN_IN_CONSTANTS, .index = root->constant, .offset = shift};
    return (vn_location){.home = VN_IN_ARENA,
                         .index = root->buffer,
                         .offset = p->buffer[root->buffer].offset + shift};
}

/* Finds the last step that reads each root; what stays readable after the run counts as read after
 * all steps. */
static void find_last(planner *p) {
    for (int s = 0; s < p->plan->steps; s++) {
        const vn_node *n = p->plan->step[s].node;
        for (int i = 0; i < n->inputs; i++) root_of(p, n->in[i])->last = s;
    }
    for (int id = 0; id < p->g->count; id++)
        if (p->info[id].kept || p->info[id].node->op == VN_OP_INPUT)
            p->info[id].last = p->plan->steps;
}

/* May step s write over input i? It must own all of that memory, and read it elsewhere only as it
 * reads input i. */
static bool can_overwrite(planner *p, int s, int i) {
    const vn_node *n = p->plan->step[s].node;
    unsigned mask = vn_op_get(n->op)->in_place;
    const info *root = root_of(p, n->in[i]);
    int64_t count = vn_shape_count(&n->shape);
    if (!(mask >> i & 1) || root->buffer < 0 || root->last != s ||
        vn_shape_count(&root->node->shape) != count)
        return false;
    for (int j = 0; j < n->inputs; j++)
        if (root_of(p, n->in[j]) == root &&
            (!(mask >> j & 1) || vn_shape_count(&n->in[j]->shape) != count))
            return false;
    return true;
}

static int new_buffer(planner *p, const vn_node *n, int first, int last) {
    p->buffer[p->buffers] = (vn_buffer){align(bytes_of(n)), first, last, 0};
    return p->buffers++;
}

static void give_memory(planner *p, int s) {
    const vn_node *n = p->plan->step[s].node;
    info *at = &p->info[n->id];
    if (n->op == VN_OP_VIEW || at->is_bound) return;
    int last = at->last > s ? at->last : s;
    for (int i = 0; i < n->inputs && at->buffer < 0; i++)
        if (can_overwrite(p, s, i)) {
            at->buffer = root_of(p, n->in[i])->buffer;
            p->buffer[at->buffer].last = last;
        }
    if (at->buffer < 0) at->buffer = new_buffer(p, n, s, last);
}

static vn_status plan_memory(planner *p) {
    vn_program_plan *plan = p->plan;
    find_last(p);
    for (int id = 0; id < p->g->count; id++)
        if (p->info[id].needed && p->info[id].node->op == VN_OP_INPUT)
            p->info[id].buffer = new_buffer(p, p->info[id].node, 0, plan->steps);
    for (int s = 0; s < plan->steps; s++) give_memory(p, s);
    plan->buffers = p->buffers;
    vn_status status = vn_pack(p->buffer, p->buffers, &plan->arena_bytes, p->err);
    for (int s = 0; s < plan->steps && !status; s++) {
        vn_program_step *step = &plan->step[s];
        for (int i = 0; i < step->node->inputs; i++) step->in[i] = place_of(p, step->node->in[i]);
        if (step->node->op != VN_OP_VIEW) step->out = place_of(p, step->node);
    }
    return status;
}

/* One work space for all steps: as large as the largest that an op needs. */
static vn_status plan_work(planner *p) {
    const vn_device *d = p->o->device;
    for (int s = 0; s < p->plan->steps; s++) {
        const vn_node *n = p->plan->step[s].node;
        if (n->op == VN_OP_VIEW) continue;
        if (!d->row->kernel[n->op])
            return vn_fail(p->err, VN_UNSUPPORTED,
                           "the %s device has no kernel for %s, which has no simpler form",
                           d->row->name, vn_op_get(n->op)->name);
        size_t bytes = d->row->workspace[n->op]
                           ? align(d->row->workspace[n->op](n, vn_thread_pool_threads(d->pool)))
                           : 0;
        if (bytes > p->plan->work_bytes) p->plan->work_bytes = bytes;
    }
    return VN_OK;
}

static void list_constants(planner *p) {
    for (int id = 0; id < p->g->count; id++) {
        info *at = &p->info[id];
        if (!at->needed || at->node->op != VN_OP_CONST) continue;
        at->constant = p->plan->constants;
        p->plan->constant[p->plan->constants++] = at->node;
    }
}

static void list_ports(planner *p) {
    vn_program_plan *plan = p->plan;
    for (int id = 0; id < p->g->count; id++)
        if (p->info[id].needed && p->info[id].node->op == VN_OP_INPUT)
            plan->input[plan->inputs++] =
                (vn_program_port){p->g->node[id], place_of(p, p->g->node[id])};
    for (int i = 0; i < p->o->n_outputs; i++)
        plan->output[plan->outputs++] =
            (vn_program_port){p->o->outputs[i], place_of(p, p->o->outputs[i])};
}

/* ---- the plan -------------------------------------------------------------------------------- */

static vn_status check_options(const vn_graph *g, const vn_program_options *o, vn_err *err) {
    vn_status status = vn_graph_status(g, err);
    for (int i = 0; i < o->n_outputs && !status; i++)
        if (!o->outputs[i] || o->outputs[i]->graph != g)
            status = vn_fail(err, VN_BAD_ARGUMENT, "output %d is not a node of this graph", i);
    for (int i = 0; i < o->n_grads && !status; i++)
        if (!o->grads[i] || o->grads[i]->graph != g || o->grads[i]->dtype != VN_F32)
            status =
                vn_fail(err, VN_BAD_ARGUMENT, "gradient %d is not a float node of this graph", i);
    return status;
}

static vn_status check_outputs(planner *p) {
    for (int i = 0; i < p->o->n_outputs; i++)
        if (root_of(p, p->o->outputs[i])->node->op == VN_OP_PARAM)
            return vn_fail(p->err, VN_UNSUPPORTED,
                           "output %d is a weight: it is in the values already", i);
    return VN_OK;
}

static vn_status make(planner *p) {
    vn_status status = find_needed(p);
    if (!status) status = check_outputs(p);
    if (status) return status;
    bind_gradients(p);
    status = list_steps(p);
    list_constants(p);
    if (!status) status = plan_work(p);
    if (!status) status = plan_memory(p);
    if (!status) list_ports(p);
    return status;
}

/* The plan of what has kernels, or is refused. */
static vn_status plan_graph(vn_program_plan *plan, const vn_graph *g,
                            const vn_program_options *options, vn_err *err) {
    size_t nodes = (size_t)g->count, steps = nodes + (size_t)options->n_grads;
    plan->step = vn_alloc(steps, sizeof *plan->step);
    plan->input = vn_alloc(nodes, sizeof *plan->input);
    plan->output = vn_alloc((size_t)options->n_outputs, sizeof *plan->output);
    plan->constant = vn_alloc(nodes, sizeof *plan->constant);
    planner p = {.g = g, .o = options, .plan = plan, .err = err};
    p.info = vn_calloc(nodes, sizeof *p.info);
    p.next = vn_alloc((size_t)options->n_grads, sizeof *p.next);
    p.buffer = vn_alloc(nodes, sizeof *p.buffer);
    bool room =
        plan->step && plan->input && plan->output && plan->constant && p.info && p.next && p.buffer;
    const vn_status status = room ? make(&p) : vn_no_memory(err);
    vn_free(p.info);
    vn_free(p.next);
    vn_free(p.buffer);
    return status;
}

/* Ports are known by the nodes of the graph that was asked for. */
static void name_ports(vn_program_plan *plan, const vn_lowered *l) {
    for (int i = 0; i < plan->inputs; i++) plan->input[i].node = l->origin[plan->input[i].node->id];
    for (int i = 0; i < plan->outputs; i++) plan->output[i].node = l->asked->outputs[i];
}

vn_status vn_program_plan_open(vn_program_plan *plan, const vn_graph *g,
                               const vn_program_options *options, vn_err *err) {
    vn_lowered low = {0};
    *plan = (vn_program_plan){0};
    vn_status status = check_options(g, options, err);
    if (!status) status = vn_lower(g, options, &low, err);
    if (!status) status = plan_graph(plan, low.graph ? low.graph : g, &low.options, err);
    if (!status && low.graph) name_ports(plan, &low);
    plan->lowered = low.graph;
    low.graph = NULL;
    vn_lowered_close(&low);
    if (status) vn_program_plan_close(plan);
    return status;
}

void vn_program_plan_close(vn_program_plan *plan) {
    vn_arena_free(&plan->arena);
    vn_free(plan->step);
    vn_free(plan->input);
    vn_free(plan->output);
    vn_free(plan->constant);
    vn_graph_close(&plan->lowered);
    memset(plan, 0, sizeof *plan);
}
