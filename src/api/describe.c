/* describe.c - vn_describe: what a path is, in JSON. A row of the table below a kind of thing. */
#include "api/internal.h"

static json_t *size_list(const int64_t *dim, int rank) {
    json_t *list = json_array();
    for (int i = 0; list && i < rank; i++) {
        if (json_array_append_new(list, json_integer(dim[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *name_list(const vn_model *m) {
    json_t *list = json_array();
    for (int32_t i = 0; list && i < m->classes; i++) {
        if (json_array_append_new(list, json_string(m->names[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

static bool add_plan(const vn_model *m, json_t *out, vn_err *err) {
    vn_graph *g = NULL;
    vn_program *program = NULL;
    vn_net_inputs in;
    bool ok = vn_graph_open(&g, err) == VN_OK;
    if (ok) {
        vn_node *y =
            vn_net_build(m->net, g, 1, m->rank == 3 ? m->shape[1] : 0, m->rank == 3 ? m->shape[2] : 0, false, &in);
        const vn_program_options o = {.backend = m->vn->backend, .crew = m->vn->crew, .n_outputs = 1, .outputs = &y};
        ok = vn_graph_status(g, err) == VN_OK && vn_program_open(g, &o, &program, err) == VN_OK;
    }
    if (ok) {
        json_t *pass = json_pack("{s:f, s:f}", "gflop", 1e-9 * vn_program_cost(program).flops, "memory_mb",
                                 1e-6 * (double)vn_program_bytes(program));
        ok = json_object_set_new(out, "one_pass", pass) == 0 || vn_no_memory(err) == VN_OK;
    }
    vn_program_close(&program);
    vn_graph_close(&g);
    return ok;
}

static json_t *describe_model(vn_context *vn, const char *path, vn_err *err) {
    vn_model *m = NULL;
    if (vn_model_open(vn, path, &m) != VN_OK) return NULL;
    const vn_model_info info = vn_model_get_info(m);
    json_t *out = json_pack("{s:s, s:s, s:o, s:o, s:b}", "is", m->world ? "world" : "model", "kind", info.kind, "shape",
                            size_list(info.shape, info.rank), "classes", name_list(m), "null", info.has_null);
    bool ok = out != NULL;
    if (ok && info.path)
        ok = json_object_set_new(out, "path", json_string(info.path)) == 0 &&
             json_object_set_new(out, "predict", json_string(info.predict)) == 0;
    if (ok && m->net)
        ok = json_object_set_new(out, "parameters", json_integer(info.parameters)) == 0 &&
             json_object_set_new(out, "steps", json_integer(info.steps)) == 0;
    if (!ok) vn_no_memory(err);
    if (ok && m->net) ok = add_plan(m, out, err);
    vn_model_dir dir = {0};
    if (ok && m->net) {
        ok = vn_model_dir_open(path, &dir, err) == VN_OK;
        json_t *train = json_object_get(dir.vane, "train"), *data = json_object_get(dir.vane, "data");
        if (ok && train) ok = json_object_set(out, "train", train) == 0;
        if (ok && data) ok = json_object_set(out, "data", data) == 0;
    }
    vn_model_dir_close(&dir);
    vn_model_close(&m);
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

static json_t *describe_safetensors(vn_context *vn, const char *path, vn_err *err) {
    (void)vn;
    vn_safetensors *st = NULL;
    if (vn_safetensors_open(path, &st, err) != VN_OK) return NULL;
    const json_t *metadata = vn_safetensors_metadata(st);
    json_t *tensors = json_array(), *copy = metadata ? json_deep_copy(metadata) : json_object();
    bool ok = tensors && copy;
    for (size_t i = 0; ok && i < vn_safetensors_count(st); i++) {
        const vn_file_tensor *t = vn_safetensors_at(st, i);
        ok = json_array_append_new(tensors,
                                   json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype", vn_file_dtype_name(t->dtype),
                                             "shape", size_list(t->shape.dim, t->shape.rank))) == 0;
    }
    json_t *out = ok ? json_pack("{s:s, s:O, s:O}", "is", "safetensors", "metadata", copy, "tensors", tensors) : NULL;
    json_decref(copy);
    json_decref(tensors);
    vn_safetensors_close(&st);
    if (!out) vn_no_memory(err);
    return out;
}

static json_t *describe_png(vn_context *vn, const char *path, vn_err *err) {
    (void)vn;
    json_t *out = NULL;
    if (vn_png_describe(path, &out, err) != VN_OK) return NULL;
    if (json_object_set_new(out, "is", json_string("picture")) == 0) return out;
    vn_no_memory(err);
    json_decref(out);
    return NULL;
}

/* By the path's ending, the first that fits; what has none of them is a model. */
static const struct {
    const char *ending;
    json_t *(*describe)(vn_context *vn, const char *path, vn_err *err);
} table[] = {
    {".safetensors", describe_safetensors},
    {".png", describe_png},
    {"", describe_model},
};

vn_status vn_describe(vn_context *vn, const char *path, char **json) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!path || !json) return vn_fail(err, VN_BAD_ARGUMENT, "vn_describe: path and json are needed");
    *json = NULL;
    size_t i = 0;
    while (!vn_ends_with(path, table[i].ending)) i++;
    json_t *object = table[i].describe(vn, path, err);
    if (!object) return err->status;
    *json = vn_json_text(object, JSON_INDENT(2));
    json_decref(object);
    return *json ? VN_OK : vn_no_memory(err);
}

void vn_text_free(char **text) {
    if (!text) return;
    vn_free(*text);
    *text = NULL;
}
