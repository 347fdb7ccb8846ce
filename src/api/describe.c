/* describe.c - vn_describe: what a path is, in JSON. A row of the table below a kind of thing. */
#include "api/internal.h"
#include "api/train_options.h"
#include "data/data.h"

#include <string.h>

static json_t *name_list(const vn_model *m) {
    json_t *list = json_array();
    for (int32_t i = 0; list && i < m->classes; i++) {
        if (json_array_append_new(list, json_string(m->names[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

/* ---- models ---------------------------------------------------------------------------------- */

static bool add_plan(const vn_model *m, json_t *out, vn_err *err) {
    vn_graph *g = NULL;
    vn_program *program = NULL;
    vn_net_nodes nodes;
    vn_extent one = vn_extent_of(1, &m->sample);
    if (vn_shape_is_image(&m->sample))
        one.patches = vn_net_patches(vn_net_get_io(vn_model_net(m)), one.height, one.width);
    one.tokens = vn_model_tokens(m);
    const vn_net_spec spec = {.extent = vn_net_usual(vn_net_get_io(vn_model_net(m)), &one)};
    bool ok = vn_graph_open(&g, err) == VN_OK;
    if (ok) {
        const vn_program_options o = {
            .device = &m->vn->device, .n_outputs = 1, .outputs = nodes.out};
        ok = vn_net_build(vn_model_net(m), g, &spec, &nodes, err) == VN_OK &&
             vn_program_open(g, &o, &program, err) == VN_OK;
    }
    if (ok) {
        json_t *pass = json_pack("{s:f, s:f}", "gflop", 1e-9 * vn_program_cost(program).flops,
                                 "memory_mb", 1e-6 * (double)vn_program_bytes(program));
        ok = json_object_set_new(out, "one_pass", pass) == 0 || vn_no_memory(err) == VN_OK;
    }
    vn_program_close(&program);
    vn_graph_close(&g);
    return ok;
}

/* How a pipeline is sampled where nobody says otherwise, or why it is not. */
static bool add_scheduler(const vn_model *m, json_t *out, vn_err *err) {
    if (!m->scheduler.name[0]) return true;
    vn_sampling_setup setup = {0};
    vn_err why = {0};
    const vn_status status = vn_scheduler_apply(&m->scheduler, m->path, &setup, &why);
    json_t *one = !status ? json_pack("{s:s, s:s, s:s, s:s}", "class", m->scheduler.name, "sampler",
                                      setup.sampler, "grid", setup.grid, "guide",
                                      setup.guide ? setup.guide : "cfg")
                          : json_pack("{s:s, s:o}", "class", m->scheduler.name, "refused",
                                      vn_json_string(why.text));
    vn_free(setup.made_guide);
    return json_object_set_new(out, "scheduler", one) == 0 || vn_no_memory(err) == VN_OK;
}

static json_t *describe_model(vn_context *vn, const char *path, vn_err *err) {
    vn_model *m = NULL;
    if (vn_model_load(vn, path, NULL, &m, err) != VN_OK) return NULL;
    const vn_model_info info = vn_model_describe(m);
    vn_model_dir dir = {0};
    json_t *out = json_pack("{s:s}", "is", "model");
    bool ok = out ? vn_model_dir_open(path, &dir, err) == VN_OK &&
                        vn_describe_run(m, dir.vane, out, err) == VN_OK
                  : vn_no_memory(err) == VN_OK;
    json_t *kind = ok ? json_pack("{s:s, s:o, s:o, s:b}", "kind", info.kind, "shape",
                                  vn_size_list(info.shape, info.rank), "classes", name_list(m),
                                  "null", info.has_null)
                      : NULL;
    ok = ok && (json_object_update(out, kind) == 0 || vn_no_memory(err) == VN_OK);
    json_decref(kind);
    if (ok && info.path)
        ok = json_object_set_new(out, "path", json_string(info.path)) == 0 &&
             json_object_set_new(out, "predict", json_string(info.predict)) == 0;
    if (ok)
        ok = json_object_set_new(out, "parameters", json_integer(info.parameters)) == 0 &&
             (info.steps == 0 ||
              json_object_set_new(out, "steps", json_integer(info.steps)) == 0); /* 0: not known */
    if (ok)
        ok =
            json_object_set_new(out, "dtype", vn_dtypes_json(vn_net_weights(vn_model_net(m)))) == 0;
    if (!ok && !err->status) vn_no_memory(err);
    if (ok) ok = add_scheduler(m, out, err);
    if (ok) ok = add_plan(m, out, err);
    if (ok && m->shown.rank) ok = vn_describe_parts(m, out, err) == VN_OK;
    if (ok) {
        json_t *train = json_object_get(dir.vane, "train"),
               *data = json_object_get(dir.vane, "data");
        if (json_is_object(train))
            ok = json_object_set_new(out, "train", vn_train_options_describe(train)) == 0 ||
                 vn_no_memory(err) == VN_OK;
        if (ok && data) ok = json_object_set(out, "data", data) == 0;
    }
    vn_model_dir_close(&dir);
    vn_model_close(&m);
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* A config.json without weights: what the network would be. */
static json_t *describe_network(const vn_model_dir *dir, const char *path, vn_err *err) {
    vn_net *net = NULL;
    if (vn_net_open(dir->config, &net, err) != VN_OK) {
        vn_fail_in(err, "%s", path);
        return NULL;
    }
    const vn_net_io *io = vn_net_get_io(net);
    const vn_shape shape = vn_net_sample(io);
    const vn_net_row *row = vn_net_get_row(net);
    const json_t *own = json_object_get(dir->config, "_class_name"),
                 *first = json_array_get(json_object_get(dir->config, "architectures"), 0);
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:o, s:I, s:I}", "is", "network", "kind", row->row.name, "class",
                  json_string_value(own ? own : first), "shape",
                  vn_size_list(shape.dim, shape.rank), "labels", (json_int_t)vn_net_labels(io),
                  "parameters", (json_int_t)vn_weights_parameters(vn_net_weights(net)));
    if (!out) vn_no_memory(err);
    vn_net_close(&net);
    return out;
}

static json_t *describe_dir(vn_context *vn, const char *path, vn_err *err) {
    vn_model_dir dir = {0};
    const char *weights = NULL;
    json_t *out = NULL;
    vn_status status = vn_model_dir_open(path, &dir, err);
    if (!status) status = vn_model_dir_weights(&dir, &weights, err);
    if (status == VN_BAD_FILE && dir.config && !dir.index) {
        *err = (vn_err){0};
        out = describe_network(&dir, path, err);
    }
    /* a model is opened by its folder, not by its config */
    if (!status)
        out = vn_is_autoencoder(dir.config) ? vn_describe_autoencoder(vn, &dir, err)
                                            : describe_model(vn, dir.path, err);
    vn_model_dir_close(&dir);
    return out;
}

/* ---- worlds ---------------------------------------------------------------------------------- */

/* The file has been read as a world, so all of it makes sense. */
static double class_weight(const json_t *world, int32_t i) {
    const json_t *weights = json_object_get(world, "class_weights");
    return weights ? json_number_value(json_array_get(weights, (size_t)i)) : 1;
}

static json_t *class_list(const vn_model *m, const json_t *world) {
    double sum = 0;
    for (int32_t i = 0; i < m->classes; i++) sum += class_weight(world, i);
    json_t *list = json_array();
    for (int32_t i = 0; list && i < m->classes; i++) {
        const json_t *one = json_array_get(json_object_get(world, "classes"), (size_t)i);
        const size_t parts = json_array_size(json_object_get(one, "components"));
        json_t *row = json_pack("{s:s, s:f, s:o}", "name", m->names[i], "weight",
                                class_weight(world, i) / sum, "components",
                                json_sprintf("%zu component%s", parts, parts == 1 ? "" : "s"));
        if (json_array_append_new(list, row) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *describe_world(vn_context *vn, const char *path, vn_err *err) {
    vn_model *m = NULL;
    json_t *world = NULL, *out = NULL;
    if (vn_model_load(vn, path, NULL, &m, err) == VN_OK &&
        vn_json_read(path, &world, err) == VN_OK) {
        const json_t *all = json_object_get(world, "unconditional");
        json_t *unconditional =
            all ? json_sprintf("its own, of %zu component%s", json_array_size(all),
                               json_array_size(all) == 1 ? "" : "s")
                : json_string("the weighted union of the classes");
        out = json_pack("{s:s, s:I, s:o, s:o, s:b}", "is", "world", "dimension",
                        (json_int_t)m->size, "classes", class_list(m, world), "unconditional",
                        unconditional, "weak", vn_world_has_weak(m->truth));
        if (!out) vn_no_memory(err);
    }
    json_decref(world);
    vn_model_close(&m);
    return out;
}

/* ---- files ----------------------------------------------------------------------------------- */

static json_t *describe_safetensors(vn_context *vn, const char *path, vn_err *err) {
    (void)vn;
    vn_safetensors *st = NULL;
    if (vn_safetensors_open(path, &st, err) != VN_OK) return NULL;
    const json_t *metadata = vn_safetensors_metadata(st);
    json_t *tensors = json_array(), *copy = metadata ? vn_json_copy(metadata) : json_object();
    bool ok = tensors && copy;
    for (size_t i = 0; ok && i < vn_safetensors_count(st); i++) {
        const vn_array *t = vn_safetensors_at(st, i);
        ok = json_array_append_new(tensors, json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype",
                                                      vn_dtype_name(t->dtype), "shape",
                                                      vn_size_list(t->shape.dim, t->shape.rank))) ==
             0;
    }
    json_t *out =
        ok ? json_pack("{s:s, s:O, s:O}", "is", "safetensors", "metadata", copy, "tensors", tensors)
           : NULL;
    if (out && vn_describe_samples(st, out, err) != VN_OK) {
        json_decref(out);
        out = NULL;
    }
    json_decref(copy);
    json_decref(tensors);
    vn_safetensors_close(&st);
    if (!out && !err->status) vn_no_memory(err);
    return out;
}

static json_t *describe_picture(const char *path, vn_err *err) {
    json_t *picture = NULL, *out = NULL;
    if (vn_image_describe(path, &picture, err) != VN_OK) return NULL;
    out = json_pack("{s:s}", "is", "picture");
    const bool ok = out && json_object_update(out, picture) == 0;
    json_decref(picture);
    if (ok) return out;
    vn_no_memory(err);
    json_decref(out);
    return NULL;
}

/* A directory, or the config.json that stands for it, is a model; a file is a picture by its
 * ending, or what this says. */
static const struct {
    const char *ending;
    json_t *(*describe)(vn_context *vn, const char *path, vn_err *err);
} table[] = {
    {".safetensors", describe_safetensors},
    {".json", describe_world},
};

/* A folder of runs, which could be taken for data, as runs hold previews. */
static json_t *describe_runs(const char *path, json_t *runs, vn_err *err) {
    char *one = vn_path_join(path, json_string_value(json_array_get(runs, 0))),
         *word = one ? vn_shell_word(one) : NULL,
         *command = word ? vn_format("vane info %s", word) : NULL;
    json_t *out = command ? json_pack("{s:s, s:I, s:O, s:o}", "is", "a folder of runs", "count",
                                      (json_int_t)json_array_size(runs), "runs", runs, "one_with",
                                      vn_json_string(command))
                          : NULL;
    if (!out) vn_no_memory(err);
    vn_free(command);
    vn_free(word);
    vn_free(one);
    return out;
}

static json_t *describe_folder(vn_context *vn, const char *path, vn_err *err) {
    json_t *runs = NULL, *out = NULL;
    if (vn_runs_in(path, &runs, err) == VN_OK)
        out = runs ? describe_runs(path, runs, err) : vn_describe_data(vn, path, err);
    if (!out && err->status == VN_BAD_FILE) vn_fail_after(err, "nor is it a model");
    json_decref(runs);
    return out;
}

static json_t *describe(vn_context *vn, const char *path, vn_err *err) {
    const char *slash = strrchr(path, '/');
    if (vn_is_dir(path) && !vn_is_model_dir(path)) return describe_folder(vn, path, err);
    if (vn_is_dir(path) || strcmp(slash ? slash + 1 : path, "config.json") == 0)
        return describe_dir(vn, path, err);
    for (size_t i = 0; i < VN_COUNT(table); i++)
        if (vn_ends_with(path, table[i].ending)) return table[i].describe(vn, path, err);
    if (vn_image_kind_named(path)) return describe_picture(path, err);
    if (vn_data_is_known(path)) return vn_describe_data(vn, path, err);
    if (vn_check_regular(path, err) == VN_OK && vn_data_is_archive(path))
        vn_fail(err, VN_UNSUPPORTED, "%s: an archive: unpack it, and name the folder", path);
    else if (!err->status && vn_ends_with(path, ".npy"))
        vn_fail(err, VN_UNSUPPORTED,
                "%s: one array of numpy; `vane eval --samples` reads it as samples, and data to "
                "train on are an .npz with `images` or `points`, and `labels`",
                path);
    else if (!err->status)
        vn_fail(
            err, VN_UNSUPPORTED,
            "%s: no known kind of file; expected .safetensors, .json, a picture (" VN_IMAGE_ENDINGS
            "), or data that can be trained on",
            path);
    return NULL;
}

vn_status vn_describe(vn_context *vn, const char *path, char **json) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!path || !json)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_describe: path and json are needed");
    *json = NULL;
    json_t *object = describe(vn, path, err);
    if (!object) return vn_end_reading(vn, err->status);
    *json = vn_json_text(object, JSON_INDENT(2));
    json_decref(object);
    return *json ? VN_OK : vn_no_memory(err);
}

void vn_text_free(char **text) {
    if (!text) return;
    vn_free(*text);
    *text = NULL;
}
