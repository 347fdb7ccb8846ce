/* graph.c - a graph: it is opened, nodes are added one at a time, and it is closed as a whole.
 *
 * A graph keeps the first error, so that code which builds a model needs no checks. Equal requests
 * (same op, inputs and attributes) give the same node: a weight is one node wherever it is used,
 * and a gradient that builds an existing node again gets that node.
 */
#include "tensor/internal.h"

#include <string.h>

vn_status vn_graph_open(vn_graph **out, vn_err *err) {
    *out = vn_calloc(1, sizeof **out);
    return *out ? VN_OK : vn_no_memory(err);
}

void vn_graph_close(vn_graph **g) {
    if (!*g) return;
    vn_arena_free(&(*g)->arena);
    vn_free((*g)->node);
    vn_free((*g)->shared);
    vn_free(*g);
    *g = NULL;
}

vn_status vn_graph_status(const vn_graph *g, vn_err *err) {
    if (g->err.status && err) *err = g->err;
    return g->err.status;
}

int vn_graph_size(const vn_graph *g) {
    return g->count;
}

vn_node *vn_graph_node(const vn_graph *g, int id) {
    return g->node[id];
}

void vn_graph_label(vn_graph *g, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vn_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (g->label && strcmp(g->label, text) == 0) return;
    g->label = NULL;
    if (!text[0]) return;
    char *copy = vn_arena_alloc(&g->arena, strlen(text) + 1);
    if (!copy) {
        if (!g->err.status) vn_no_memory(&g->err);
        return;
    }
    g->label = memcpy(copy, text, strlen(text) + 1);
}

vn_node *vn_graph_fail(vn_graph *g, vn_status status, const char *format, ...) {
    if (g->err.status) return NULL;
    char text[sizeof g->err.text];
    va_list args;
    va_start(args, format);
    vn_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vn_fail(&g->err, status, "%s%s%s", g->label ? g->label : "", g->label ? ": " : "", text);
    return NULL;
}

/* ---- adding a node --------------------------------------------------------------------------- */

vn_node vn_draft(vn_op op, int inputs, ...) {
    vn_node n;
    memset(&n, 0, sizeof n); /* padding too: attr is compared as bytes */
    n.op = op;
    n.inputs = inputs;
    va_list args;
    va_start(args, inputs);
    for (int i = 0; i < inputs; i++) n.in[i] = va_arg(args, vn_node *);
    va_end(args);
    return n;
}

static void shape_text(const vn_shape *s, char *text, size_t size) {
    size_t at = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < s->rank && i < VN_MAX_RANK && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? "," : "", (long long)s->dim[i]);
    if (at < size) snprintf(text + at, size - at, "]");
}

/* "LABEL: slice: why (inputs [2,3]; output [2,2])", the output only where the builder asked for its
 * shape. */
static vn_node *refuse(vn_graph *g, const vn_node *draft, const vn_shape *asked, const char *why) {
    char inputs[VN_MAX_IN * 100] = "", output[100] = "";
    for (int i = 0; i < draft->inputs; i++) {
        size_t used = strlen(inputs);
        inputs[used] = ' ';
        shape_text(&draft->in[i]->shape, inputs + used + 1, 98);
    }
    if (asked->rank) {
        memcpy(output, "; output ", 10);
        shape_text(asked, output + 9, sizeof output - 9);
    }
    return vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: %s (inputs%s%s)", vn_op_get(draft->op)->name, why,
                         draft->inputs ? inputs : " none", output);
}

static bool check(vn_graph *g, vn_node *draft) {
    const char *name = vn_op_get(draft->op)->name;
    if (g->err.status) return false;
    for (int i = 0; i < draft->inputs; i++) {
        if (!draft->in[i])
            vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: input %d is missing", name, i);
        else if (draft->in[i]->graph != g)
            vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: input %d is of another graph", name, i);
        if (g->err.status) return false;
    }
    const vn_shape asked = draft->shape;
    const char *why = vn_op_get(draft->op)->shape(draft);
    if (!why && !vn_shape_valid(&draft->shape)) why = "an array of this shape cannot be";
    if (why) refuse(g, draft, &asked, why);
    return !why;
}

static bool append(vn_graph *g, vn_node *n) {
    if (g->count == g->capacity) {
        int capacity = g->capacity ? 2 * g->capacity : 256;
        vn_node **grown = vn_realloc(g->node, (size_t)capacity, sizeof(vn_node *));
        if (!grown) return false;
        g->node = grown;
        g->capacity = capacity;
    }
    n->id = g->count;
    g->node[g->count++] = n;
    return true;
}

static vn_node *add_checked(vn_graph *g, const vn_node *draft) {
    vn_node *n = vn_arena_alloc(&g->arena, sizeof *n);
    if (n) {
        *n = *draft;
        n->graph = g;
        n->label = g->label;
    }
    if (n && append(g, n)) return n;
    vn_no_memory(&g->err);
    return NULL;
}

vn_node *vn_graph_add_new(vn_graph *g, vn_node *draft) {
    return check(g, draft) ? add_checked(g, draft) : NULL;
}

vn_node *vn_graph_add_copy(vn_graph *g, const vn_node *draft) {
    if (g->err.status) return NULL;
    g->label = draft->label;
    return add_checked(g, draft);
}

/* ---- equal requests -------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, const void *data, size_t size) {
    const unsigned char *byte = data;
    /* FNV-1a */
    for (size_t i = 0; i < size; i++) hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t node_hash(const vn_node *n) {
    uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), &n->op, sizeof n->op);
    hash = mix(hash, n->shape.dim, sizeof n->shape.dim);
    hash = mix(hash, &n->attr, sizeof n->attr);
    hash = mix(hash, &n->from, sizeof n->from);
    for (int i = 0; i < n->inputs; i++) hash = mix(hash, &n->in[i]->id, sizeof n->in[i]->id);
    return hash;
}

static bool same_bytes(const void *a, const void *b, size_t size) {
    return memcmp(a, b, size) == 0;
}

static bool node_equal(const vn_node *a, const vn_node *b) {
    if (a->op != b->op || a->dtype != b->dtype || a->inputs != b->inputs) return false;
    for (int i = 0; i < a->inputs; i++)
        if (a->in[i] != b->in[i]) return false;
    return vn_shape_equal(&a->shape, &b->shape) && same_bytes(&a->attr, &b->attr, sizeof a->attr) &&
           same_bytes(&a->from, &b->from, sizeof a->from);
}

/* Where a node equal to n is, or would be put. */
static int *find_shared(vn_graph *g, const vn_node *n) {
    size_t mask = (size_t)g->shared_size - 1, at = (size_t)node_hash(n) & mask;
    while (g->shared[at] && !node_equal(g->node[g->shared[at] - 1], n)) at = (at + 1) & mask;
    return &g->shared[at];
}

/* Keeps the table at most half full. */
static bool grow_shared(vn_graph *g) {
    if (2 * (g->count + 1) <= g->shared_size) return true;
    int old_size = g->shared_size, *old = g->shared;
    int size = old_size ? 2 * old_size : 1024, *grown = vn_calloc((size_t)size, sizeof *grown);
    if (!grown) return false;
    g->shared = grown;
    g->shared_size = size;
    for (int i = 0; i < old_size; i++)
        if (old[i]) *find_shared(g, g->node[old[i] - 1]) = old[i];
    vn_free(old);
    return true;
}

vn_node *vn_graph_add(vn_graph *g, vn_node *draft) {
    if (!check(g, draft)) return NULL;
    if (!grow_shared(g)) {
        vn_no_memory(&g->err);
        return NULL;
    }
    int *slot = find_shared(g, draft);
    if (*slot) return g->node[*slot - 1];
    vn_node *n = add_checked(g, draft);
    if (n) *slot = n->id + 1;
    return n;
}

/* ---- leaves ---------------------------------------------------------------------------------- */

const char *vn_shape_leaf(vn_node *n) {
    return vn_shape_valid(&n->shape) ? NULL : "such a shape cannot be";
}

vn_node *vn_input(vn_graph *g, vn_dtype dtype, vn_shape shape) {
    vn_node n = vn_draft(VN_OP_INPUT, 0);
    n.dtype = dtype;
    n.shape = shape;
    return vn_graph_add_new(g, &n);
}

vn_node *vn_const(vn_graph *g, vn_dtype dtype, vn_shape shape, const void *data) {
    vn_node n = vn_draft(VN_OP_CONST, 0);
    n.dtype = dtype;
    n.shape = shape;
    if (!check(g, &n)) return NULL;
    size_t bytes = (size_t)vn_shape_count(&shape) * vn_dtype_size(dtype);
    void *copy = vn_arena_alloc(&g->arena, bytes ? bytes : 1);
    if (!copy) {
        vn_no_memory(&g->err);
        return NULL;
    }
    if (bytes) memcpy(copy, data, bytes);
    n.from.data = copy;
    return add_checked(g, &n);
}

vn_node *vn_fill(vn_graph *g, vn_shape shape, double value) {
    vn_node n = vn_draft(VN_OP_FILL, 0);
    n.shape = shape;
    n.attr.fill.value = value;
    return vn_graph_add(g, &n);
}

bool vn_is_fill(const vn_node *n, double value) {
    return n && n->op == VN_OP_FILL && n->attr.fill.value == value;
}
