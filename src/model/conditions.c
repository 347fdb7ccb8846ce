/* conditions.c - what the numbers stand for that samplers and guides know conditions by. Classes
 * are rows of a network's table. Other conditions are added by name, each a set of arrays for the
 * network's input ports (a vector for class_labels, a prompt's tokens for encoder_hidden_states),
 * kept once: the same name is the same condition. The one named "null" is the null condition. */
#include "model/internal.h"

#include <string.h>

/* Not changed once it is kept, so that the models that share it may read it at once; the last of
 * them frees it. */
struct vn_condition_entry {
    atomic_int holders;
    char *name;
    vn_condition number; /* VN_CONDITION_NULL for "null" */
    int count;
    vn_array array[VN_MAX_PORTS]; /* f32 or i32, without a batch axis; names and data are its own */
};

/* Numbers follow each other in the order of the entries, among which the null one has a place
 * too. */
static const struct vn_condition_entry *entry_of(const vn_model *m, vn_condition c) {
    for (int i = c >= m->classes ? c - m->classes : 0; i < m->added_count; i++)
        if (m->added[i]->number == c) return m->added[i];
    return NULL;
}

bool vn_model_find_added(const vn_model *m, const char *name, vn_condition *out) {
    for (int i = 0; i < m->added_count; i++) {
        if (m->added[i]->number == VN_CONDITION_NULL || strcmp(m->added[i]->name, name) != 0)
            continue;
        *out = m->added[i]->number;
        return true;
    }
    return false;
}

const vn_array *vn_model_condition_array(const void *model, vn_condition c, const char *port) {
    const struct vn_condition_entry *e = entry_of(model, c);
    for (int i = 0; e && i < e->count; i++)
        if (!strcmp(e->array[i].name, port)) return &e->array[i];
    return NULL;
}

vn_conditions vn_model_conditions(const vn_model *m) {
    return (vn_conditions){.classes = m->classes,
                           .count = m->named_count,
                           .names = (const char *const *)m->names,
                           .has_null = m->has_null};
}

/* ---- ports that take them -------------------------------------------------------------------- */

bool vn_is_class_table(const vn_port *p) {
    return p->below > 0 && p->shape.rank == 1 && !strcmp(p->name, "class_labels");
}

bool vn_is_condition(const vn_port *p) {
    static const char *const others[] = {"sample", "timestep", VN_STEP_END, "guidance"};
    for (size_t i = 0; i < VN_COUNT(others); i++)
        if (!strcmp(p->name, others[i])) return false;
    return p->shape.dim[0] == VN_DIM_BATCH;
}

/* ---- checking -------------------------------------------------------------------------------- */

/* The port's shape without its batch axis, against the array's; *tokens: what all of them have. */
static bool fits(const vn_port *p, const vn_array *a, int64_t *tokens) {
    if (a->shape.rank != p->shape.rank - 1) return false;
    for (int i = 0; i < a->shape.rank; i++) {
        const int64_t want = p->shape.dim[i + 1], is = a->shape.dim[i];
        if (want >= 0 && want != is) return false;
        if (want < 0 && is < 1) return false;
        if (want == VN_DIM_TOKENS && *tokens > 0 && *tokens != is) return false;
        if (want == VN_DIM_TOKENS) *tokens = is;
    }
    return true;
}

/* A condition whose array for the port has other free lengths than tokens; NULL: there is none. All
 * conditions of a model are of the same. */
static const struct vn_condition_entry *other_lengths(const vn_model *m, const vn_port *p,
                                                      const vn_array *a) {
    for (int i = 0; i < m->added_count; i++) {
        const vn_array *b = vn_model_condition_array(m, m->added[i]->number, p->name);
        for (int k = 0; b && k < a->shape.rank; k++)
            if (p->shape.dim[k + 1] != VN_DIM_TOKENS && a->shape.dim[k] != b->shape.dim[k])
                return m->added[i];
    }
    return NULL;
}

static vn_status check(const vn_model *m, const char *name, int n, const vn_array *arrays,
                       vn_err *err) {
    const vn_net *net = vn_model_net(m);
    int64_t tokens = 0;
    char text[128];
    if (!net)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: its conditions are its own; only a network takes others", m->source);
    const vn_net_io *io = vn_net_get_io(net);
    for (int i = 0; i < n; i++) {
        const vn_port *p = arrays[i].name ? vn_net_input(io, arrays[i].name) : NULL;
        if (!p || !vn_is_condition(p))
            return vn_fail(err, VN_BAD_ARGUMENT, "condition %s: %s takes no '%.80s'", name,
                           m->source, arrays[i].name ? arrays[i].name : "");
        if (!fits(p, &arrays[i], &tokens))
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "condition %s: %s is of shape %s, which %s does not "
                           "take",
                           name, p->name, vn_shape_text(&arrays[i].shape, text), m->source);
        const struct vn_condition_entry *other = other_lengths(m, p, &arrays[i]);
        if (other)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "condition %s: %s is of shape %s, and that of condition %s is not", name,
                           p->name, vn_shape_text(&arrays[i].shape, text), other->name);
        for (int k = 0; k < i; k++)
            if (!strcmp(arrays[k].name, p->name))
                return vn_fail(err, VN_BAD_ARGUMENT, "condition %s: %s is given twice", name,
                               p->name);
    }
    for (int i = 0; i < io->inputs; i++) {
        bool given = io->input[i].optional || !vn_is_condition(&io->input[i]);
        for (int k = 0; k < n; k++) given = given || !strcmp(arrays[k].name, io->input[i].name);
        if (!given)
            return vn_fail(err, VN_BAD_ARGUMENT, "condition %s: %s takes %s, and it has none", name,
                           m->source, io->input[i].name);
    }
    return VN_OK;
}

/* ---- keeping --------------------------------------------------------------------------------- */

static void let_go(struct vn_condition_entry *e) {
    if (atomic_fetch_sub(&e->holders, 1) > 1) return;
    for (int i = 0; i < e->count; i++) {
        vn_free((char *)(uintptr_t)e->array[i].name);
        vn_free((void *)(uintptr_t)e->array[i].data);
    }
    vn_free(e->name);
    vn_free(e);
}

static struct vn_condition_entry *new_entry(const char *name) {
    struct vn_condition_entry *e = vn_calloc(1, sizeof *e);
    if (!e) return NULL;
    atomic_init(&e->holders, 1);
    if ((e->name = vn_strdup(name))) return e;
    vn_free(e);
    return NULL;
}

void vn_model_drop_conditions(vn_model *m) {
    for (int i = 0; i < m->added_count; i++) let_go(m->added[i]);
    vn_free(m->added);
    for (int32_t i = 0; m->names && i < m->named_count; i++) vn_free(m->names[i]);
    vn_free(m->names);
    m->added = NULL;
    m->names = NULL;
    m->added_count = m->named_count = 0;
}

vn_status vn_model_take_conditions(vn_model *m, const vn_model *of, vn_err *err) {
    if (of->names && !(m->names = vn_calloc((size_t)of->named_count + 1, sizeof *m->names)))
        return vn_no_memory(err);
    if (of->added &&
        !(m->added = vn_calloc((size_t)of->added_count + 1, sizeof(struct vn_condition_entry *))))
        return vn_no_memory(err);
    for (; m->named_count < of->named_count; m->named_count++)
        if (!(m->names[m->named_count] = vn_strdup(of->names[m->named_count])))
            return vn_no_memory(err);
    for (; m->added_count < of->added_count; m->added_count++) {
        m->added[m->added_count] = of->added[m->added_count];
        atomic_fetch_add(&m->added[m->added_count]->holders, 1);
    }
    return VN_OK;
}

void vn_model_forget_conditions(vn_model *m) {
    for (int i = 0; i < m->added_count; i++) let_go(m->added[i]);
    for (int32_t i = m->classes; i < m->named_count; i++) vn_free(m->names[i]);
    m->named_count = m->classes;
    m->added_count = 0;
}

/* As the numbers that its port takes: f32, or i32 where they are rows of a table. */
static vn_status copy_array(const vn_net_io *io, const vn_array *from, vn_array *to, vn_err *err) {
    const vn_port *p = vn_net_input(io, from->name);
    const size_t count = (size_t)vn_shape_count(&from->shape);
    void *data = vn_alloc(count, 4);
    *to = *from;
    to->dtype = p->dtype == VN_I32 ? VN_I32 : VN_F32;
    to->data = data;
    if (!(to->name = vn_strdup(from->name)) || !data) return vn_no_memory(err);
    if (to->dtype == VN_F32) {
        vn_array_read_f32(from, data);
        return VN_OK;
    }
    const vn_status status = vn_array_read_i32(from, data, err);
    for (size_t i = 0; !status && p->below && i < count; i++) {
        const int32_t value = ((const int32_t *)data)[i];
        if (value < 0 || value >= p->below)
            return vn_fail(err, VN_BAD_ARGUMENT, "%s: %d is outside [0, %lld]", p->name, value,
                           (long long)p->below - 1);
    }
    return status;
}

static bool same_arrays(const struct vn_condition_entry *a, const struct vn_condition_entry *b) {
    bool same = a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = !strcmp(a->array[i].name, b->array[i].name) &&
               vn_shape_equal(&a->array[i].shape, &b->array[i].shape) &&
               !memcmp(a->array[i].data, b->array[i].data,
                       4 * (size_t)vn_shape_count(&a->array[i].shape));
    return same;
}

/* Capacity for one more name and one more entry. */
static vn_status grow(vn_model *m, vn_err *err) {
    char **names = vn_realloc(m->names, (size_t)m->named_count + 2, sizeof *names);
    if (!names) return vn_no_memory(err);
    m->names = names;
    struct vn_condition_entry **added =
        vn_realloc(m->added, (size_t)m->added_count + 1, sizeof(struct vn_condition_entry *));
    if (!added) return vn_no_memory(err);
    m->added = added;
    return VN_OK;
}

static vn_status keep(vn_model *m, struct vn_condition_entry *e, bool null, vn_condition *out,
                      vn_err *err) {
    for (int i = 0; i < m->added_count; i++) {
        if (null != (m->added[i]->number == VN_CONDITION_NULL) ||
            strcmp(m->added[i]->name, e->name) != 0)
            continue;
        if (!same_arrays(m->added[i], e))
            return vn_fail(err, VN_BAD_ARGUMENT, "condition %s: there is another one of this name",
                           e->name);
        *out = m->added[i]->number;
        let_go(e);
        return VN_OK;
    }
    for (int32_t i = 0; i < m->classes; i++)
        if (!strcmp(m->names[i], e->name))
            return vn_fail(err, VN_BAD_ARGUMENT, "condition %s: a class is called so", e->name);
    vn_status status = grow(m, err);
    if (!status && !null && !(m->names[m->named_count] = vn_strdup(e->name)))
        status = vn_no_memory(err);
    if (status) return status;
    *out = e->number = null ? VN_CONDITION_NULL : m->named_count++;
    m->has_null = m->has_null || null;
    m->added[m->added_count++] = e;
    return VN_OK;
}

vn_status vn_model_keep_condition(vn_model *m, const char *name, int n, const vn_array *arrays,
                                  vn_condition *out, vn_err *err) {
    if (!name[0]) return vn_fail(err, VN_BAD_ARGUMENT, "a condition needs a name");
    return vn_model_keep_as(m, name, !strcmp(name, "null"), n, arrays, out, err);
}

vn_status vn_model_keep_as(vn_model *m, const char *name, bool null, int n, const vn_array *arrays,
                           vn_condition *out, vn_err *err) {
    if (n < 1 || n > VN_MAX_PORTS)
        return vn_fail(err, VN_BAD_ARGUMENT, "condition %s: %d arrays are outside [1, %d]", name, n,
                       VN_MAX_PORTS);
    vn_status status = check(m, name, n, arrays, err);
    if (status) return status;
    struct vn_condition_entry *e = new_entry(name);
    if (!e) return vn_no_memory(err);
    for (; e->count < n && !status; e->count++) {
        status =
            copy_array(vn_net_get_io(vn_model_net(m)), &arrays[e->count], &e->array[e->count], err);
        if (status) vn_fail_in(err, "condition %s", name);
    }
    if (!status) status = keep(m, e, null, out, err);
    if (status) let_go(e);
    return status;
}
