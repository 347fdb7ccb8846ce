/* weights.c - the list of a network's parameters: names and shapes as PyTorch has them, the number
 * type of each, and its place in flat arrays. Offsets are multiples of 16 floats, so that every
 * weight begins a cache line.
 */
#include "tensor/internal.h"

#include <string.h>

#define ALIGNMENT 16 /* floats */

struct vn_weights {
    vn_arena arena;     /* weights and their names */
    vn_weight **weight; /* in the order of declaration */
    size_t *table;      /* [2 capacity] by hash of the name: place in weight + 1; 0: free */
    size_t count, capacity, floats;
};

vn_status vn_weights_open(vn_weights **out, vn_err *err) {
    *out = vn_calloc(1, sizeof **out);
    return *out ? VN_OK : vn_no_memory(err);
}

void vn_weights_close(vn_weights **w) {
    if (!*w) return;
    vn_arena_free(&(*w)->arena);
    vn_free((*w)->weight);
    vn_free((*w)->table);
    vn_free(*w);
    *w = NULL;
}

size_t vn_weights_count(const vn_weights *w) {
    return w->count;
}

const vn_weight *vn_weights_at(const vn_weights *w, size_t i) {
    return w->weight[i];
}

/* Where the name is in the table, or would be. FNV-1a. */
static size_t *slot_of(const vn_weights *w, const char *name) {
    const size_t mask = 2 * w->capacity - 1;
    uint32_t hash = 2166136261u;
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    size_t at = hash & mask;
    while (w->table[at] && strcmp(w->weight[w->table[at] - 1]->name, name) != 0)
        at = (at + 1) & mask;
    return &w->table[at];
}

const vn_weight *vn_weights_find(const vn_weights *w, const char *name) {
    const size_t place = w->count ? *slot_of(w, name) : 0;
    return place ? w->weight[place - 1] : NULL;
}

size_t vn_weights_floats(const vn_weights *w) {
    return w->floats;
}

size_t vn_weights_bytes(const vn_weights *w) {
    size_t sum = 0;
    for (size_t i = 0; i < w->count; i++) sum += vn_weight_bytes(w->weight[i]);
    return sum;
}

void vn_weights_set_dtype(vn_weights *w, size_t i, vn_dtype dtype) {
    w->weight[i]->dtype = dtype;
}

void vn_weights_set_hidden(vn_weights *w, size_t i, bool hidden) {
    w->weight[i]->hidden = hidden;
}

int64_t vn_weights_parameters(const vn_weights *w) {
    int64_t sum = 0;
    for (size_t i = 0; i < w->count; i++) sum += (int64_t)w->weight[i]->count;
    return sum;
}

/* ---- declaring ------------------------------------------------------------------------------- */

/* Room for one more; false when memory runs out. */
static bool grow(vn_weights *w) {
    if (w->count < w->capacity) return true;
    /* a power of two, as the table asks for */
    const size_t capacity = w->capacity ? 2 * w->capacity : 64;
    size_t *table = vn_calloc(2 * capacity, sizeof *table);
    vn_weight **grown = table ? vn_realloc(w->weight, capacity, sizeof(vn_weight *)) : NULL;
    if (!grown) {
        vn_free(table);
        return false;
    }
    vn_free(w->table);
    w->weight = grown;
    w->table = table;
    w->capacity = capacity;
    for (size_t i = 0; i < w->count; i++) *slot_of(w, grown[i]->name) = i + 1;
    return true;
}

static const vn_weight *declare(vn_weights *w, const char *name, const vn_weight *like) {
    size_t length = strlen(name) + 1;
    if (!grow(w)) return NULL;
    vn_weight *new = vn_arena_alloc(&w->arena, sizeof *new);
    char *copy = vn_arena_alloc(&w->arena, length);
    if (!new || !copy) return NULL;
    *new = *like;
    new->name = memcpy(copy, name, length);
    new->count = (size_t)vn_shape_count(&new->shape);
    new->index = w->count;
    new->offset = w->floats;
    w->floats += (new->count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *slot_of(w, name) = w->count + 1;
    return w->weight[w->count++] = new;
}

vn_status vn_weights_without(const vn_weights *w, bool (*unwanted)(const vn_weight *weight),
                             vn_weights **out, vn_err *err) {
    vn_status status = vn_weights_open(out, err);
    for (size_t i = 0; i < w->count && !status; i++)
        if (!unwanted(w->weight[i]) && !declare(*out, w->weight[i]->name, w->weight[i]))
            status = vn_no_memory(err);
    if (status) vn_weights_close(out);
    return status;
}

/* [O,I,kh,kw] is [kh,kw,I,O] inside. */
static vn_shape inside(vn_shape file, vn_layout layout) {
    if (layout == VN_LAYOUT_PLAIN) return file;
    return VN_SHAPE(file.dim[2], file.dim[3], file.dim[1], file.dim[0]);
}

static vn_node *param_node(vn_graph *g, vn_weights *w, const char *name, const vn_weight *like) {
    if (g->err.status) return NULL;
    if (!vn_shape_valid(&like->file) || (like->layout == VN_LAYOUT_CONV && like->file.rank != 4))
        return vn_graph_fail(g, VN_BAD_ARGUMENT, "weight %s: such a shape cannot be", name);
    const vn_weight *found = vn_weights_find(w, name);
    if (found && (!vn_shape_equal(&found->file, &like->file) || found->layout != like->layout))
        return vn_graph_fail(g, VN_BAD_ARGUMENT, "weight %s: used in two shapes", name);
    if (!found) {
        vn_weight new = *like;
        new.shape = inside(like->file, like->layout);
        found = declare(w, name, &new);
    }
    if (!found) {
        vn_no_memory(&g->err);
        return NULL;
    }
    vn_node n = vn_draft(VN_OP_PARAM, 0);
    n.dtype = found->dtype;
    n.shape = found->shape;
    n.from.param = found->index;
    n.attr.param.set = g->values;
    return vn_cast(g, vn_graph_add(g, &n), VN_F32);
}

void vn_graph_set_values(vn_graph *g, int set) {
    g->values = set;
}

vn_node *vn_param_node(vn_graph *g, vn_weights *w, const char *name, vn_shape file,
                       vn_layout layout, vn_init init) {
    return param_node(g, w, name, &(vn_weight){.file = file, .layout = layout, .init = init});
}

vn_node *vn_param_frozen(vn_graph *g, vn_weights *w, const char *name, vn_shape file,
                         vn_init init) {
    return param_node(
        g, w, name,
        &(vn_weight){.file = file, .layout = VN_LAYOUT_PLAIN, .init = init, .frozen = true});
}

vn_node *vn_param_computed(vn_graph *g, vn_weights *w, const char *name, vn_shape file,
                           double scale, void (*fill)(const vn_weight *weight, float *values)) {
    return param_node(g, w, name,
                      &(vn_weight){.file = file,
                                   .layout = VN_LAYOUT_PLAIN,
                                   .init = {VN_INIT_FUNCTION, scale},
                                   .frozen = true,
                                   .fill = fill});
}

/* ---- values ---------------------------------------------------------------------------------- */

void vn_weight_init(const vn_weight *weight, float *value, uint64_t seed) {
    const uint64_t index = weight->index;
    double scale = weight->init.scale;
    switch (weight->init.kind) {
    case VN_INIT_ZEROS: memset(value, 0, weight->count * sizeof *value); break;
    case VN_INIT_ONES:
        for (size_t i = 0; i < weight->count; i++) value[i] = 1;
        break;
    case VN_INIT_UNIFORM:
        vn_random_uniform(value, weight->count, seed, VN_STREAM_WEIGHTS, index, 0);
        for (size_t i = 0; i < weight->count; i++)
            value[i] = (float)((2 * (double)value[i] - 1) * scale);
        break;
    case VN_INIT_NORMAL:
        vn_random_normal(value, weight->count, seed, VN_STREAM_WEIGHTS, index, 0);
        for (size_t i = 0; i < weight->count; i++) value[i] = (float)((double)value[i] * scale);
        break;
    case VN_INIT_FUNCTION: weight->fill(weight, value); break;
    }
}

void vn_weights_init(const vn_weights *w, float *values, uint64_t seed) {
    memset(values, 0, w->floats * sizeof *values);
    for (size_t i = 0; i < w->count; i++)
        vn_weight_init(w->weight[i], values + w->weight[i]->offset, seed);
}

/* Of a convolution weight: rows [O] of [I*kh*kw] in the file, [kh*kw] of [I] of [O] inside. */
typedef struct conv_walk {
    size_t out, in, area;
} conv_walk;

static conv_walk trajectory_of(const vn_weight *w) {
    const int64_t *d = w->file.dim;
    return (conv_walk){(size_t)d[0], (size_t)d[1], (size_t)(d[2] * d[3])};
}

void vn_weight_to_file(const vn_weight *w, const float *from, float *file) {
    if (w->layout == VN_LAYOUT_PLAIN) {
        memcpy(file, from, w->count * sizeof *file);
        return;
    }
    conv_walk c = trajectory_of(w);
    for (size_t k = 0; k < c.area; k++)
        for (size_t i = 0; i < c.in; i++)
            for (size_t o = 0; o < c.out; o++)
                file[(o * c.in + i) * c.area + k] = from[(k * c.in + i) * c.out + o];
}

/* to[k][i][o] = file[o][i][k], of numbers of one size. */
#define TO_INSIDE(type)                                                                            \
    for (size_t k = 0; k < c.area; k++)                                                            \
        for (size_t i = 0; i < c.in; i++)                                                          \
            for (size_t o = 0; o < c.out; o++)                                                     \
                ((type *)to)[(k * c.in + i) * c.out + o] =                                         \
                    ((const type *)file)[(o * c.in + i) * c.area + k];

void vn_weight_repack(const vn_weight *w, size_t size, const void *file, void *to) {
    if (w->layout == VN_LAYOUT_PLAIN) {
        memcpy(to, file, w->count * size);
        return;
    }
    const conv_walk c = trajectory_of(w);
    if (size == sizeof(uint32_t)) {
        TO_INSIDE(uint32_t)
    } else {
        TO_INSIDE(uint16_t)
    }
}

void vn_weight_from_file(const vn_weight *w, const float *file, float *to) {
    vn_weight_repack(w, sizeof *to, file, to);
}
