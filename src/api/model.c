/* model.c - opening what samples can be drawn from: a run or diffusers directory (a network, its
 * path and what its output means) or a world (exact). Callbacks are made in callback.c. */
#include "api/internal.h"
#include "data/data.h"

#include <string.h>

vn_status vn_model_new(vn_context *vn, const char *source, vn_model **out, vn_err *err) {
    vn_model *m = vn_calloc(1, sizeof *m);
    if (m) m->source = vn_strdup(source);
    if (!m || !m->source) {
        vn_free(m);
        return vn_no_memory(err);
    }
    m->vn = vn;
    m->sampling = vn_sampling_plain();
    m->asked_null = -1;
    m->null_row = -1;
    *out = m;
    return VN_OK;
}

vn_status vn_model_copy_names(vn_model *m, int32_t classes,
                              const char *(*name)(const void *from, int32_t i), const void *from,
                              vn_err *err) {
    m->names = vn_calloc((size_t)classes + 1, sizeof(char *));
    if (!m->names) return vn_no_memory(err);
    for (m->classes = 0; m->classes < classes; m->classes++) {
        const char *text = name(from, m->classes);
        m->names[m->classes] = text ? vn_strdup(text) : vn_format("%d", (int)m->classes);
        if (!m->names[m->classes]) return vn_no_memory(err);
    }
    return VN_OK;
}

static const char *world_name(const void *world, int32_t i) {
    return vn_world_class_name(world, i);
}

/* ---- worlds ---------------------------------------------------------------------------------- */

/* What the world, just read, says of the model. */
static vn_status take_world(vn_model *m, vn_err *err) {
    m->kind = "world";
    m->sample.rank = 1;
    m->sample.dim[0] = m->size = vn_world_size(m->world);
    m->has_null = true;
    return vn_model_copy_names(m, vn_world_classes(m->world), world_name, m->world, err);
}

/* A file of a model in place of the model, as completion of names gives it. */
static vn_status open_world(vn_model *m, vn_err *err) {
    static const char *const parts[] = {"config.json", "model_index.json", "vane.json",
                                        ".safetensors"};
    bool part = false;
    for (size_t i = 0; i < VN_COUNT(parts); i++) part = part || vn_ends_with(m->source, parts[i]);
    char *dir = part && vn_is_file(m->source) ? vn_model_dir_around(m->source) : NULL;
    vn_status status = VN_OK;
    if (dir) {
        status = vn_fail(err, VN_BAD_FILE, "%s: is a part of the model %s; name that folder",
                         m->source, dir);
    } else {
        status = vn_refuse_source(m->source, err);
        if (!status) status = vn_world_open(m->source, &m->world, err);
        if (!status) status = take_world(m, err);
    }
    vn_free(dir);
    return status;
}

/* ---- networks -------------------------------------------------------------------------------- */

/* Sizes that vane.json gives, which a network of any size leaves open. */
static vn_status read_shape(vn_model *m, const vn_model_dir *dir, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(m->net);
    m->sample.rank = io->rank;
    m->sample.dim[0] = io->in_channels;
    m->sample.dim[1] = io->height;
    m->sample.dim[2] = io->width;
    const json_t *shape = json_object_get(json_object_get(dir->vane, "data"), "shape");
    if (json_array_size(shape) == (size_t)io->rank)
        for (int i = 0; i < io->rank; i++)
            m->sample.dim[i] = json_integer_value(json_array_get(shape, (size_t)i));
    m->size = 1;
    for (int i = 0; i < io->rank; i++) {
        if (m->sample.dim[i] < 1 || m->sample.dim[i] > VN_LARGEST_SIDE)
            return vn_fail(
                err, VN_BAD_FILE,
                "%s: neither the config's sample_size nor vane.json gives the size of a sample",
                m->source);
        m->size *= m->sample.dim[i];
    }
    if (m->size > VN_LARGEST_SAMPLE)
        return vn_fail(err, VN_BAD_FILE, "%s: a sample of %lld numbers; at most %d are possible",
                       m->source, (long long)m->size, VN_LARGEST_SAMPLE);
    if (io->rank == 3 && (m->sample.dim[1] % io->multiple || m->sample.dim[2] % io->multiple))
        return vn_fail(err, VN_BAD_FILE,
                       "%s: images of %lld x %lld (sample_size); this network needs both sides to "
                       "be multiples of %lld",
                       m->source, (long long)m->sample.dim[1], (long long)m->sample.dim[2],
                       (long long)io->multiple);
    if (m->sample.dim[0] != io->in_channels)
        return vn_fail(err, VN_BAD_FILE, "%s: vane.json has %lld channels, config.json %lld",
                       m->source, (long long)m->sample.dim[0], (long long)io->in_channels);
    if (io->classifies)
        return vn_fail(err, VN_UNSUPPORTED, "%s: a classifier; samples are drawn from denoisers",
                       m->source);
    if (io->out_channels != io->in_channels && !io->learns_variance)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: takes %lld channels and gives %lld; a denoiser gives what it takes",
                       m->source, (long long)io->in_channels, (long long)io->out_channels);
    return VN_OK;
}

/* How many tokens an image is to its transformer; pixels for other networks. */
static int64_t count_tokens(const vn_model *m, const vn_model_dir *dir) {
    const json_t *patch = json_object_get(dir->config, "patch_size");
    const int64_t side =
        json_is_integer(patch) && json_integer_value(patch) > 0 ? json_integer_value(patch) : 1;
    const int64_t tokens = vn_shape_is_image(&m->sample)
                               ? (m->sample.dim[1] / side) * (m->sample.dim[2] / side)
                               : m->size;
    return tokens < 1 ? 1 : tokens;
}

/* The path, what the output means and how it is sampled: vane.json says it exactly, a scheduler
 * config in diffusers' words. */
static vn_status read_path(vn_model *m, const vn_model_dir *dir, vn_err *err) {
    const char *path = json_string_value(json_object_get(dir->vane, "path"));
    const char *predict = json_string_value(json_object_get(dir->vane, "predict"));
    vn_status status = VN_OK;
    m->tokens = count_tokens(m, dir);
    if (path && predict) {
        status = vn_path_open(path, &m->path, err);
        if (!status) status = vn_prediction_parse(predict, &m->prediction, err);
        if (status == VN_BAD_ARGUMENT) err->status = status = VN_BAD_FILE;
        if (status) return vn_fail_in(err, "%s/vane.json", m->source);
    } else if (dir->scheduler) {
        status = vn_path_from_scheduler(dir->scheduler, &m->path, &m->prediction, err);
        if (!status)
            status = vn_scheduler_read(dir->scheduler, m->path, m->tokens, &m->scheduler, err);
        if (status) return vn_fail_in(err, "%s/scheduler/scheduler_config.json", m->source);
    }
    status = vn_sampling_from_json(json_object_get(dir->vane, "sampling"), &m->sampling, err);
    if (status) return vn_fail_in(err, "%s/vane.json", m->source);
    const char *variance = json_string_value(json_object_get(dir->scheduler, "variance_type"));
    if (variance && !strcmp(variance, "learned_range") && !vn_net_get_io(m->net)->learns_variance)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: variance_type learned_range in scheduler_config.json, but the network "
                       "gives %lld channels",
                       m->source, (long long)vn_net_get_io(m->net)->out_channels);
    if (m->path && !(m->path_text = vn_path_text(m->path))) return vn_no_memory(err);
    return VN_OK;
}

vn_status vn_weights_fit(const vn_net *net, int arrays, const char *source, vn_err *err) {
    const double bytes =
        (double)arrays * sizeof(float) * (double)vn_weights_floats(vn_net_weights(net));
    const double memory = (double)vn_memory_total();
    char takes[32], has[32];
    if (bytes <= memory) return VN_OK;
    return vn_fail(err, VN_NO_MEMORY, "%s: its weights would take %s, and there are %s of memory",
                   source, vn_bytes_text(bytes, takes), vn_bytes_text(memory, has));
}

static vn_status load_values(vn_model *m, const vn_model_dir *dir, bool random, vn_err *err) {
    const vn_weights *weights = vn_net_weights(m->net);
    const char *file = NULL;
    vn_status status = vn_weights_fit(m->net, 1, m->source, err);
    if (status) return status;
    m->values = vn_alloc_aligned(vn_weights_floats(weights), sizeof(float));
    if (!m->values) return vn_no_memory(err);
    if (random && !dir->weights) {
        vn_weights_init(weights, m->values, 0);
        return VN_OK;
    }
    status = vn_model_dir_weights(dir, &file, err);
    if (status) return status;
    if (dir->variant)
        vn_log(&m->vn->watch, VN_LOG_INFO, "%s is taken, as there are no other weights", file);
    status = vn_store_load_weights(file, weights, m->values, &m->vn->watch, err);
    if (!status) status = vn_store_weights_step(file, &m->steps, err);
    if (m->steps < 0) m->steps = 0;
    return status;
}

/* The folder of pictures that a run was trained on. The name may be from another folder's point of
 * view, so the run's list of files must agree. */
static vn_status read_trained_on(vn_model *m, const vn_model_dir *dir, vn_err *err) {
    const char *source =
        json_string_value(json_object_get(json_object_get(dir->vane, "data"), "source"));
    char *list = source ? vn_path_join(m->source, VN_RUN_FILES) : NULL;
    if (source && !list) return vn_no_memory(err);
    const bool there = source && vn_data_is_folder(source) && vn_data_has_first(source, list);
    vn_free(list);
    if (there && !(m->trained_on = vn_strdup(source))) return vn_no_memory(err);
    return VN_OK;
}

static vn_status open_network(vn_model *m, int32_t null_class, bool random, vn_err *err) {
    vn_model_dir dir = {0};
    vn_status status = vn_model_dir_open(m->source, &dir, err);
    if (status) return status;
    status = vn_net_open(dir.config, &m->net, err);
    if (status) {
        vn_fail_in(err, "%s/%s%sconfig.json", m->source, dir.folder, dir.folder[0] ? "/" : "");
    } else {
        m->kind = vn_net_get_row(m->net)->row.name;
        status = read_shape(m, &dir, err);
        m->asked_null = null_class;
        if (!status) status = read_path(m, &dir, err);
        if (!status) status = read_trained_on(m, &dir, err);
        if (!status) status = load_values(m, &dir, random, err);
        /* Not before the weights are known to be there: a config may claim any number of classes,
         * each with a name. */
        if (!status) status = vn_model_read_classes(m, &dir, null_class, err);
    }
    vn_model_dir_close(&dir);
    return status;
}

/* ---- the public calls ------------------------------------------------------------------------ */

void vn_model_options_init(vn_model_options *o, size_t size) {
    static const vn_model_options initial = {.null_class = -1};
    vn_struct_init(o, size, &initial, sizeof initial);
}

vn_status vn_model_load(vn_context *vn, const char *source, int64_t null_class, vn_model **out,
                        vn_err *err) {
    *out = NULL;
    if (null_class < -1 || null_class > INT32_MAX)
        return vn_fail(err, VN_BAD_ARGUMENT, "`null_class` %lld is no row", (long long)null_class);
    vn_model *m = NULL;
    vn_status status = vn_model_new(vn, source, &m, err);
    if (!status && (vn_is_dir(source) || vn_model_dir_is_weights(source))) {
        status = open_network(m, (int32_t)null_class, false, err);
        if (status && !vn_is_model_dir(source)) vn_tell_runs(source, err);
    } else if (!status) {
        status = open_world(m, err);
        if (!status && null_class >= 0)
            status = vn_fail(err, VN_BAD_ARGUMENT, "`null_class` %lld has no effect on a world",
                             (long long)null_class);
    }
    if (status) vn_model_close(&m);
    *out = m;
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
    const vn_status status = vn_struct_take(&o, sizeof o, options, "vn_model_options", err);
    return status ? status : vn_model_load(vn, source, o.null_class, out, err);
}

vn_status vn_model_from_world(vn_context *vn, const char *text, vn_model **out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!text || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_model_from_world: json and out are needed");
    *out = NULL;
    json_t *json = NULL;
    vn_model *m = NULL;
    vn_status status = vn_json_parse(text, strlen(text), "world", &json, err);
    if (!status) status = vn_model_new(vn, "world", &m, err);
    if (!status) status = vn_world_from_json(json, &m->world, err);
    if (!status) status = take_world(m, err);
    if (!status) vn_model_set_fingerprint(m, json);
    json_decref(json);
    if (status) vn_model_close(&m);
    *out = m;
    return status;
}

vn_status vn_model_open_random(vn_context *vn, const char *source, vn_model **out, vn_err *err) {
    *out = NULL;
    vn_model *m = NULL;
    vn_status status = vn_model_new(vn, source, &m, err);
    if (!status) status = open_network(m, -1, true, err);
    if (status) vn_model_close(&m);
    *out = m;
    return status;
}

void vn_model_info_init(vn_model_info *info, size_t size) {
    static const vn_model_info initial = {0};
    vn_struct_init(info, size, &initial, sizeof initial);
}

vn_model_info vn_model_describe(const vn_model *m) {
    vn_model_info info = {.struct_size = sizeof info,
                          .kind = m->kind,
                          .path = m->path_text,
                          .predict = m->path || m->says ? m->prediction.row->row.name : NULL,
                          .rank = m->sample.rank,
                          .shape = {m->sample.dim[0], m->sample.dim[1], m->sample.dim[2]},
                          .classes = m->classes,
                          .has_null = m->has_null,
                          .steps = m->steps,
                          .guidance = m->sampling.guidance,
                          .sampling_steps = m->sampling.steps};
    if (m->net) info.parameters = vn_weights_parameters(vn_net_weights(m->net));
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

/* ---- the denoiser ---------------------------------------------------------------------------- */

static void close_denoiser(vn_model *m) {
    if (!m->denoiser.self) return;
    if (m->world) vn_world_denoiser_close(&m->denoiser);
    if (m->net) vn_net_denoiser_close(&m->net_denoiser);
    m->denoiser = (vn_denoiser){0};
}

/* Refuses a requested path that is not the model's own. */
static vn_status confirm_path(const vn_model *m, const char *requested, vn_err *err) {
    vn_path *other = NULL;
    vn_status status = vn_path_open(requested, &other, err);
    if (status) return status;
    char *text = vn_path_text(other);
    if (!text)
        status = vn_no_memory(err);
    else if (strcmp(text, m->path_text) != 0)
        status = vn_fail(err, VN_BAD_ARGUMENT, "path %s: %s was trained on %s", text, m->source,
                         m->path_text);
    vn_free(text);
    vn_path_close(&other);
    return status;
}

/* A path for a model that has none of its own. */
static vn_status choose_path(vn_model *m, const char *requested, vn_err *err) {
    if (!requested && m->net) {
        char *whole = vn_model_dir_around(m->source);
        vn_fail(err, VN_BAD_ARGUMENT,
                "%s has no scheduler_config.json or vane.json; name its path%s%s", m->source,
                whole ? ", or the model that it is a part of: " : "", whole ? whole : "");
        vn_free(whole);
        return err->status;
    }
    vn_path *path = NULL;
    vn_status status = vn_path_open(requested ? requested : "rectified", &path, err);
    if (status) return status;
    close_denoiser(m);
    vn_path_close(&m->chosen);
    m->chosen = path;
    return m->says ? VN_OK : vn_prediction_parse(path->row->prediction, &m->prediction, err);
}

vn_status vn_model_denoise(vn_model *m, const char *requested, const vn_denoiser **out,
                           vn_err *err) {
    vn_status status = VN_OK;
    if (!m->path)
        status = choose_path(m, requested, err);
    else if (requested)
        status = confirm_path(m, requested, err);
    const vn_path *path = m->path ? m->path : m->chosen;
    if (!status && !m->world) status = vn_path_allows(path, &m->prediction, err);
    if (!status && !m->denoiser.self) {
        if (m->world)
            status = vn_world_denoiser(m->world, path, NULL, m->vn->pool, &m->denoiser, err);
        else if (m->callback.predict)
            vn_callback_denoiser(&m->callback, m, path, &m->denoiser);
        else
            status =
                vn_net_denoiser_open(&m->net_denoiser, m->vn, m->net, m->values, path,
                                     &m->prediction, &m->sample, m->null_row, &m->denoiser, err);
        if (status == VN_UNSUPPORTED) vn_fail_in(err, "%s", m->source);
    }
    m->denoiser.conditions.names = (const char *const *)m->names;
    m->denoiser.tokens = m->tokens;
    *out = &m->denoiser;
    return status;
}

/* ---- closing --------------------------------------------------------------------------------- */

void vn_model_close(vn_model **model) {
    if (!model || !*model) return;
    vn_model *m = *model;
    close_denoiser(m);
    vn_callback_close(&m->callback);
    for (int32_t i = 0; m->names && i < m->classes; i++) vn_free(m->names[i]);
    vn_free(m->names);
    vn_free(m->source);
    vn_free(m->path_text);
    vn_free(m->fingerprint);
    vn_free(m->trained_on);
    vn_free(m->values);
    vn_free(m->drawn);
    vn_net_close(&m->net);
    vn_path_close(&m->path);
    vn_path_close(&m->chosen);
    vn_world_close(&m->world);
    vn_free(m);
    *model = NULL;
}
