/* model.c - the public calls that open a model and ask what it is; models themselves are in the
 * room model. */
#include "api/internal.h"
#include "data/data.h"

#include <string.h>

vn_engine vn_context_engine(vn_context *vn) {
    return (vn_engine){.device = &vn->device, .pool = vn->pool, .watch = &vn->watch};
}

/* The folder of pictures that a run was trained on. The name may be from another folder's point of
 * view, so the run's list of files must agree. */
static vn_status find_trained_on(vn_model *m, vn_err *err) {
    const char *source =
        json_string_value(json_object_get(json_object_get(m->vane, "data"), "source"));
    char *list = source ? vn_path_join(m->source, VN_RUN_FILES) : NULL;
    if (source && !list) return vn_no_memory(err);
    const bool there = source && vn_data_is_folder(source) && vn_data_has_first(source, list);
    vn_free(list);
    if (there && !(m->trained_on = vn_strdup(source))) return vn_no_memory(err);
    return VN_OK;
}

/* What is no folder and no weights is a world, or nothing that is known. */
static vn_status check_source(const char *source, vn_err *err) {
    if (vn_is_dir(source) || vn_model_dir_is_weights(source)) return VN_OK;
    char *model = vn_model_dir_around(source);
    const bool part = model != NULL;
    vn_free(model);
    return part ? VN_OK : vn_refuse_source(source, err);
}

void vn_model_options_init(vn_model_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_MODEL, o, size);
}

vn_status vn_model_load(vn_context *vn, const char *source, const vn_model_options *options,
                        vn_model **out, vn_err *err) {
    *out = NULL;
    const vn_status wrong = options ? vn_options_check(VN_OPTIONS_MODEL, options, err) : VN_OK;
    if (wrong) return wrong;
    const vn_engine engine = vn_context_engine(vn);
    const vn_model_source from = {.path = source,
                                  .null_class = options ? (int32_t)options->null_class : -1,
                                  .size = options ? options->size : NULL};
    vn_status status = check_source(source, err);
    if (!status) status = vn_model_open_source(vn, &engine, &from, out, err);
    if (status && vn_is_dir(source) && !vn_is_model_dir(source)) vn_tell_runs(source, err);
    if (!status) status = find_trained_on(*out, err);
    if (status) vn_model_close(out);
    return status;
}

vn_status vn_model_open(vn_context *vn, const char *source, vn_model **out) {
    return vn_model_open_with(vn, source, NULL, out);
}

vn_status vn_model_open_with(vn_context *vn, const char *source, const vn_model_options *options,
                             vn_model **out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!source || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_model_open: source and out are needed");
    *out = NULL;
    vn_model_options o = vn_model_options_default();
    vn_status status = vn_struct_take(&o, sizeof o, options, "vn_model_options", err);
    if (!status) status = vn_model_load(vn, source, &o, out, err);
    return vn_end_reading(vn, status);
}

vn_status vn_model_share(vn_model *m, vn_context *vn, vn_model **out) {
    if (!m || !vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!out) return vn_fail(err, VN_BAD_ARGUMENT, "vn_model_share: out is needed");
    const vn_engine engine = vn_context_engine(vn);
    return vn_model_share_with(vn, &engine, m, out, err);
}

vn_status vn_model_from_world(vn_context *vn, const char *text, vn_model **out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!text || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_model_from_world: json and out are needed");
    *out = NULL;
    json_t *json = NULL;
    const vn_engine engine = vn_context_engine(vn);
    vn_status status = vn_json_parse(text, strlen(text), "world", &json, err);
    if (!status) status = vn_model_of_world(vn, &engine, json, out, err);
    json_decref(json);
    return status;
}

void vn_callback_model_init(vn_callback_model *o, size_t size) {
    static const vn_callback_model initial = {.prediction = "x0", .rank = 1, .shape = {1}};
    vn_struct_init(o, size, &initial, sizeof initial);
}

vn_status vn_model_from_callback(vn_context *vn, const vn_callback_model *given, vn_model **out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!given || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_model_from_callback: spec and out are needed");
    *out = NULL;
    const vn_engine engine = vn_context_engine(vn);
    vn_callback_model spec = vn_callback_model_default();
    const vn_status status = vn_struct_take(&spec, sizeof spec, given, "vn_callback_model", err);
    return status ? status : vn_model_of_callback(vn, &engine, &spec, out, err);
}

vn_status vn_model_open_random(vn_context *vn, const char *source, vn_model **out, vn_err *err) {
    const vn_engine engine = vn_context_engine(vn);
    return vn_model_open_source(
        vn, &engine, &(vn_model_source){.path = source, .null_class = -1, .random = true}, out,
        err);
}

void vn_model_info_init(vn_model_info *info, size_t size) {
    static const vn_model_info initial = {0};
    vn_struct_init(info, size, &initial, sizeof initial);
}

vn_model_info vn_model_describe(const vn_model *m) {
    const vn_shape *shown = vn_model_shown(m);
    vn_model_info info = {.struct_size = sizeof info,
                          .kind = m->kind,
                          .path = m->path_text,
                          .predict =
                              m->path || m->has_prediction ? m->prediction.row->row.name : NULL,
                          .rank = shown->rank,
                          .shape = {shown->dim[0], shown->dim[1], shown->dim[2]},
                          .pipeline = vn_model_pipeline(m),
                          .classes = m->classes,
                          .has_null = m->has_null,
                          .takes_prompts = m->row->prompt != NULL,
                          .classifies = m->row->classifies,
                          .steps = m->steps,
                          .guidance = m->sampling.guidance,
                          .sampling_steps = m->sampling.steps,
                          .guide = m->sampling.guide[0] ? m->sampling.guide : NULL,
                          .sampler = m->sampling.sampler[0] ? m->sampling.sampler : NULL,
                          .sampling_by = m->sampling.by[0] ? m->sampling.by : NULL};
    for (int i = 0; i < 3 && m->shown.rank; i++) info.latent_shape[i] = m->sample.dim[i];
    for (int i = 0; i < m->parts; i++)
        info.parameters += vn_weights_parameters(vn_net_weights(m->part[i].net));
    return info;
}

vn_status vn_model_get_info(const vn_model *m, vn_model_info *info) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    if (!info) return vn_fail(err, VN_BAD_ARGUMENT, "vn_model_get_info: info is needed");
    const vn_status status = vn_struct_check(info, "vn_model_info", err);
    const vn_model_info known = vn_model_describe(m);
    if (!status) vn_struct_give(info, &known, sizeof known);
    return status;
}

const char *vn_model_label_name(const vn_model *m, int32_t label) {
    return m && label >= 0 && label < m->named_count ? m->names[label] : NULL;
}

vn_status vn_model_add_condition(vn_model *m, const char *name, int n, const vn_array *arrays,
                                 vn_condition *out) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    if (!name || !arrays || !out)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "vn_model_add_condition: name, arrays and out are needed");
    return vn_model_keep_condition(m, name, n, arrays, out, err);
}

vn_status vn_model_find_label(const vn_model *m, const char *text, int32_t *label) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    if (!text || !label)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_model_find_label: text and label are needed");
    return vn_model_read_label(m, text, label, err);
}
