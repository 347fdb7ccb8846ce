/* lower.c - a graph for a device: ops that it computes in one pass become one (fuse.c), and ops
 * that it lacks kernels of are replaced by the ops of their expansions, and these in turn, until
 * all have kernels or have no expansion.
 *
 * Each pass copies what is needed into a new graph, node by node, with the expansion in the
 * place of what has no kernel. Expansions lead from fused ops to plain ones, so that a few
 * passes do.
 * */
#include "tensor/internal.h"

/* One pass: by id of the graph that is copied. */
typedef struct lowering {
    const vn_graph *from;
    bool *needed;
    vn_node **copy;
    vn_graph *to;
    vn_fused fused; /* in the first pass */
} lowering;

static bool has_kernel(const vn_device_row *row, const vn_node *n) {
    return n->op == VN_OP_INPUT || n->op == VN_OP_PARAM || n->op == VN_OP_CONST ||
           n->op == VN_OP_VIEW || row->kernel[n->op];
}

static void find_needed(const vn_graph *g, const vn_program_options *o, bool *needed) {
    for (int i = 0; i < o->n_outputs; i++) needed[o->outputs[i]->id] = true;
    for (int i = 0; i < o->n_grads; i++) needed[o->grads[i]->id] = true;
    for (int id = g->count - 1; id >= 0; id--)
        for (int i = 0; needed[id] && i < g->node[id]->inputs; i++)
            needed[g->node[id]->in[i]->id] = true;
}

/* Does a needed node lack a kernel that its expansion would make up for? */
static bool lacks(const vn_graph *g, const vn_device_row *row, const bool *needed) {
    for (int id = 0; id < g->count; id++)
        if (needed[id] && !has_kernel(row, g->node[id]) && vn_op_get(g->node[id]->op)->expand)
            return true;
    return false;
}

static void copy_needed(lowering *l, const vn_device_row *row) {
    for (int id = 0; id < l->from->count && !l->to->err.status; id++) {
        const vn_fused *f = &l->fused;
        if (!l->needed[id] || (f->uses && f->uses[id] < 0)) continue;
        vn_node twin = *l->from->node[id];
        if (f->draft && f->draft[id].op != VN_OP_COUNT) twin = f->draft[id];
        const vn_op_row *op = vn_op_get(twin.op);
        for (int i = 0; i < twin.inputs; i++) twin.in[i] = l->copy[twin.in[i]->id];
        twin.graph = l->to;
        l->to->label = twin.label;
        l->copy[id] = has_kernel(row, &twin) || !op->expand ? vn_graph_add_copy(l->to, &twin)
                                                            : op->expand(&twin);
    }
}

/* options' nodes, and where they come from, by the copies. */
static vn_status follow(vn_lowered *low, const lowering *l, vn_err *err) {
    const vn_node **origin = vn_calloc((size_t)l->to->count, sizeof(vn_node *));
    if (!origin) return vn_no_memory(err);
    for (int id = 0; id < l->from->count; id++)
        if (l->copy[id] && l->from->node[id]->op == VN_OP_INPUT)
            origin[l->copy[id]->id] = low->origin ? low->origin[id] : l->from->node[id];
    for (int i = 0; i < low->options.n_outputs; i++)
        low->outputs[i] = l->copy[low->options.outputs[i]->id];
    for (int i = 0; i < low->options.n_grads; i++)
        low->grads[i] = l->copy[low->options.grads[i]->id];
    low->options.outputs = low->outputs;
    low->options.grads = low->grads;
    vn_free(low->origin);
    low->origin = origin;
    return VN_OK;
}

/* One pass over `from`, the graph that was given or the last pass's; *again: it was not the
 * last. */
static vn_status pass(vn_lowered *low, const vn_graph *from, bool *again, vn_err *err) {
    const vn_device_row *row = low->asked->device->row;
    lowering l = {.from = from,
                  .needed = vn_calloc((size_t)from->count, sizeof *l.needed),
                  .copy = vn_calloc((size_t)from->count, sizeof(vn_node *))};
    vn_status status = l.needed && l.copy ? VN_OK : vn_no_memory(err);
    if (!status) find_needed(from, &low->options, l.needed);
    bool fuses = false;
    if (!status && !low->graph && !vn_fuse(&l.fused, from, &low->options, l.needed, &fuses))
        status = vn_no_memory(err);
    *again = !status && (fuses || lacks(from, row, l.needed));
    if (*again) status = vn_graph_open(&l.to, err);
    if (*again && !status) {
        copy_needed(&l, row);
        status = vn_graph_status(l.to, err);
        if (!status) status = follow(low, &l, err);
        if (status)
            vn_graph_close(&l.to);
        else {
            vn_graph_close(&low->graph);
            low->graph = l.to;
        }
    }
    vn_fused_close(&l.fused);
    vn_free(l.needed);
    vn_free(l.copy);
    return status;
}

vn_status vn_lower(const vn_graph *g, const vn_program_options *options, vn_lowered *low,
                   vn_err *err) {
    *low = (vn_lowered){.asked = options, .options = *options};
    low->outputs = vn_alloc((size_t)options->n_outputs, sizeof(vn_node *));
    low->grads = vn_alloc((size_t)options->n_grads, sizeof(vn_node *));
    vn_status status = low->outputs && low->grads ? VN_OK : vn_no_memory(err);
    bool again = !status;
    while (again && !status) status = pass(low, low->graph ? low->graph : g, &again, err);
    return status;
}

void vn_lowered_close(vn_lowered *low) {
    vn_graph_close(&low->graph);
    vn_free(low->outputs);
    vn_free(low->grads);
    vn_free(low->origin);
    *low = (vn_lowered){0};
}
