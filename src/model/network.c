/* network.c - the network that denoises, of every kind of model that has one, opened by what its
 * files say of shape, path, prediction and classes; and its denoiser. */
#include "model/internal.h"

#include <string.h>

vn_status vn_model_read_size(const char *text, int64_t *height, int64_t *width, vn_err *err) {
    long long rows = 0, columns = 0;
    int end = 0, found = sscanf(text, "%9lldx%9lld%n", &rows, &columns, &end);
    if (found < 2 && (found = sscanf(text, "%9lld%n", &rows, &end)) == 1) columns = rows;
    if (found < 1 || text[end])
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "size '%.40s' is neither a side nor a height x width, as 512 and 512x768 "
                       "are",
                       text);
    if (rows < 1 || columns < 1 || rows > VN_MAX_SIDE || columns > VN_MAX_SIDE)
        return vn_fail(err, VN_BAD_ARGUMENT, "size %.40s: sides are from 1 to %d pixels", text,
                       VN_MAX_SIDE);
    *height = rows;
    *width = columns;
    return VN_OK;
}

/* The size that is asked for in the place of the files'. */
static vn_status resize(vn_model *m, const vn_net_io *io, const vn_network_setup *setup,
                        vn_err *err) {
    const char *text = setup->source->size;
    int64_t height = setup->height, width = setup->width;
    vn_status status = VN_OK;
    if (height < 1 && !text) return VN_OK;
    if (!vn_shape_is_image(&m->sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "size %.40s: %s draws no images", text ? text : "",
                       m->source);
    if (height < 1) status = vn_model_read_size(text, &height, &width, err);
    if (status) return status;
    if (io->fixed_size && (height != m->sample.dim[1] || width != m->sample.dim[2]))
        return vn_fail(err, VN_BAD_ARGUMENT, "size %.40s: %s draws %lld x %lld alone",
                       text ? text : "", m->source, (long long)m->sample.dim[1],
                       (long long)m->sample.dim[2]);
    if (height % io->multiple || width % io->multiple)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "size %.40s: %s needs both sides to be multiples of %lld", text ? text : "",
                       m->source, (long long)io->multiple);
    m->sample.dim[1] = height;
    m->sample.dim[2] = width;
    m->asked_size = true;
    return VN_OK;
}

/* The shape of a sample, by the config and, for a network of any size, by vane.json. */
static vn_status read_shape(vn_model *m, const vn_model_dir *dir, const vn_network_setup *setup,
                            vn_err *err) {
    const vn_net_io *io = vn_net_get_io(vn_model_net(m));
    const int64_t channels = vn_net_sample(io).dim[0], gives = vn_net_out_channels(io);
    const vn_role role = vn_net_get_row(vn_model_net(m))->role;
    if (role == VN_ROLE_AUTOENCODER)
        return vn_fail(err, VN_UNSUPPORTED, "%s: an autoencoder; samples are drawn from denoisers",
                       m->source);
    if (role == VN_ROLE_ENCODER)
        return vn_fail(err, VN_UNSUPPORTED, "%s: a text encoder; samples are drawn from denoisers",
                       m->source);
    if (role == VN_ROLE_SEQUENCE)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: a sequence model without what makes images of its tokens", m->source);
    m->sample = vn_net_sample(io);
    const json_t *shape = json_object_get(json_object_get(dir->vane, "data"), "shape");
    if (json_array_size(shape) == (size_t)m->sample.rank)
        for (int i = 0; i < m->sample.rank; i++)
            m->sample.dim[i] = json_integer_value(json_array_get(shape, (size_t)i));
    vn_status status = resize(m, io, setup, err);
    if (status) return status;
    m->size = 1;
    for (int i = 0; i < m->sample.rank; i++) {
        if (m->sample.dim[i] < 1 || m->sample.dim[i] > VN_MAX_SIDE)
            return vn_fail(
                err, VN_BAD_FILE,
                "%s: neither the config's sample_size nor vane.json gives the size of a sample",
                m->source);
        m->size *= m->sample.dim[i];
    }
    if (m->size > VN_MAX_SAMPLE)
        return vn_fail(err, VN_BAD_FILE, "%s: a sample of %lld numbers; at most %d are possible",
                       m->source, (long long)m->size, VN_MAX_SAMPLE);
    if (vn_shape_is_image(&m->sample) &&
        (m->sample.dim[1] % io->multiple || m->sample.dim[2] % io->multiple))
        return vn_fail(err, VN_BAD_FILE,
                       "%s: images of %lld x %lld (sample_size); this network needs both sides to "
                       "be multiples of %lld",
                       m->source, (long long)m->sample.dim[1], (long long)m->sample.dim[2],
                       (long long)io->multiple);
    if (m->sample.dim[0] != channels)
        return vn_fail(err, VN_BAD_FILE, "%s: vane.json has %lld channels, config.json %lld",
                       m->source, (long long)m->sample.dim[0], (long long)channels);
    if (m->row->classifies) return VN_OK;
    if (gives != channels && !vn_net_output(io, "variance"))
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: takes %lld channels and gives %lld; a denoiser gives what it takes",
                       m->source, (long long)channels, (long long)gives);
    return VN_OK;
}

/* How many tokens a sample is to a transformer; for other networks, how many pixels. */
static int64_t count_tokens(const vn_model *m, const vn_model_dir *dir) {
    const json_t *patch = json_object_get(dir->config, "patch_size");
    const int64_t packing = vn_net_get_io(vn_model_net(m))->packing,
                  own = json_is_integer(patch) ? json_integer_value(patch) : 0,
                  side = packing   ? packing
                         : own > 0 ? own
                                   : 1;
    const int64_t tokens = vn_shape_is_image(&m->sample)
                               ? (m->sample.dim[1] / side) * (m->sample.dim[2] / side)
                               : m->size;
    return tokens < 1 ? 1 : tokens;
}

/* The prediction by vane.json; NULL: it says none. Runs of earlier versions have its parameters
 * only where the options of the training are. */
static const char *prediction_of(const json_t *vane) {
    const char *name = json_string_value(json_object_get(vane, "predict")),
               *typed =
                   json_string_value(json_object_get(json_object_get(vane, "train"), "predict"));
    const size_t length = name ? strlen(name) : 0;
    return name && typed && !strncmp(typed, name, length) && typed[length] == ':' ? typed : name;
}

/* The path, the prediction and how it is sampled: by vane.json, else by diffusers' scheduler
 * config. */
static vn_status read_path(vn_model *m, const vn_model_dir *dir, const vn_network_setup *setup,
                           vn_err *err) {
    const json_t *scheduler = setup->scheduler ? setup->scheduler : dir->scheduler;
    const char *path = json_string_value(json_object_get(dir->vane, "path"));
    const char *predict = prediction_of(dir->vane);
    vn_status status = VN_OK;
    m->tokens = count_tokens(m, dir);
    if (path && predict) {
        status = vn_path_open(path, &m->path, err);
        if (!status) status = vn_prediction_parse(predict, &m->prediction, err);
        if (status == VN_BAD_ARGUMENT) err->status = status = VN_BAD_FILE;
        if (status) return vn_fail_in(err, "%s/vane.json", m->source);
    } else if (scheduler) {
        const vn_scheduler_use use = {m->tokens, setup->own_times};
        status = vn_path_from_scheduler(scheduler, &m->path, &m->prediction, err);
        if (!status) status = vn_scheduler_read(scheduler, m->path, &use, &m->scheduler, err);
        if (status) return vn_fail_in(err, "%s/scheduler/scheduler_config.json", m->source);
    }
    status =
        vn_sampling_defaults_from_json(json_object_get(dir->vane, "sampling"), &m->sampling, err);
    if (status) return vn_fail_in(err, "%s/vane.json", m->source);
    const char *variance = json_string_value(json_object_get(scheduler, "variance_type"));
    const vn_net_io *io = vn_net_get_io(vn_model_net(m));
    if (variance && !strcmp(variance, "learned_range") && !vn_net_output(io, "variance"))
        return vn_fail(err, VN_BAD_FILE,
                       "%s: variance_type learned_range in scheduler_config.json, but the network "
                       "gives %lld channels",
                       m->source, (long long)vn_net_out_channels(io));
    if (m->path && !(m->path_text = vn_path_text(m->path))) return vn_no_memory(err);
    return VN_OK;
}

vn_status vn_weights_fit(size_t bytes, const char *source, vn_err *err) {
    const double memory = (double)vn_memory_total();
    char takes[32], has[32];
    if ((double)bytes <= memory) return VN_OK;
    return vn_fail(err, VN_NO_MEMORY, "%s: its weights would take %s, and there are %s of memory",
                   source, vn_bytes_text((double)bytes, takes), vn_bytes_text(memory, has));
}

json_t *vn_dtypes_json(const vn_weights *w) {
    static const vn_dtype types[] = {VN_F32, VN_BF16, VN_F16};
    char text[32] = "";
    for (size_t k = 0; k < VN_COUNT(types); k++) {
        size_t i = 0;
        while (i < vn_weights_count(w) && vn_weights_at(w, i)->dtype != types[k]) i++;
        const size_t used = strlen(text);
        if (i < vn_weights_count(w))
            snprintf(text + used, sizeof text - used, "%s%s", used ? ", " : "",
                     vn_dtype_name(types[k]));
    }
    return json_string(text);
}

vn_status vn_model_dir_values(const vn_model_dir *dir, const char *source, const vn_engine *engine,
                              vn_net *net, vn_values **out, vn_err *err) {
    vn_weights *weights = vn_net_weights(net);
    const char *file = NULL;
    vn_status status = vn_model_dir_weights(dir, &file, err);
    if (status) return status;
    if (dir->variant)
        vn_log(engine->watch, VN_LOG_INFO, "%s is taken, as there are no other weights", file);
    status = vn_store_read_types(file, weights, engine->device->row, err);
    if (!status) status = vn_weights_fit(vn_weights_bytes(weights), source, err);
    if (!status)
        status = vn_store_open_values(file, weights, engine->device, engine->watch, out, err);
    return status;
}

static vn_status random_values(vn_model *m, vn_err *err) {
    const vn_weights *weights = vn_net_weights(vn_model_net(m));
    vn_values **values = &m->part[0].values;
    vn_status status = vn_weights_fit(vn_weights_bytes(weights), m->source, err);
    if (!status) status = vn_values_open(weights, m->engine.device, NULL, values, err);
    return !status ? vn_values_init(*values, 0, err) : status;
}

static vn_status load_values(vn_model *m, const vn_model_dir *dir, bool random, vn_err *err) {
    if (random && !dir->weights) return random_values(m, err);
    vn_model_part *part = &m->part[0];
    vn_status status =
        vn_model_dir_values(dir, m->source, &m->engine, part->net, &part->values, err);
    if (!status) status = vn_store_weights_step(dir->weights, &m->steps, err);
    if (m->steps < 0) m->steps = 0;
    return status;
}

vn_status vn_network_open(vn_model *m, const vn_network_setup *setup, vn_err *err) {
    const vn_model_source *source = setup->source;
    vn_model_dir dir = {0};
    vn_status status = vn_model_dir_open(m->source, &dir, err);
    if (status) return status;
    vn_model_part *part = &m->part[m->parts++];
    if (!(part->name = vn_strdup(dir.folder)))
        status = vn_no_memory(err);
    else
        status = vn_net_open(dir.config, &part->net, err);
    if (status) {
        vn_fail_in(err, "%s/%s%sconfig.json", m->source, dir.folder, dir.folder[0] ? "/" : "");
    } else {
        m->kind = vn_net_get_row(part->net)->row.name;
        m->vane = json_incref(dir.vane);
        status = read_shape(m, &dir, setup, err);
        m->asked_null = source->null_class;
        if (!status) status = read_path(m, &dir, setup, err);
        if (!status) status = load_values(m, &dir, source->random, err);
        /* Not before the weights are known to be there: a config may claim any number of classes,
         * each with a name. */
        if (!status) status = vn_model_read_classes(m, &dir, source->null_class, err);
    }
    vn_model_dir_close(&dir);
    return status;
}

/* ---- its denoiser ---------------------------------------------------------------------------- */

vn_status vn_network_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err) {
    const vn_model_part *part = &m->part[0];
    if (!m->self && !(m->self = vn_calloc(1, sizeof(vn_net_denoiser)))) return vn_no_memory(err);
    vn_net_denoiser *d = m->self;
    const vn_status status =
        vn_net_denoiser_open(d, &m->engine, part->net, part->values, path, &m->prediction,
                             &m->sample, m->null_row, m, out, err);
    if (m->vane) d->usual_guidance = 1; /* as trained, where guides guide from outside */
    if (!status && m->sampling.consistency) out->can |= VN_X0_IS_SAMPLE;
    return status;
}

void vn_network_close_denoiser(vn_model *m) {
    vn_net_denoiser_close(m->self);
}

int64_t vn_network_batch(const vn_model *m) {
    const int64_t n = VN_BATCH_FLOATS / m->size;
    return n < 1 ? 1 : n;
}

void vn_network_set_batch(vn_model *m, int64_t requested) {
    vn_net_denoiser_batch(m->self, requested);
}

void vn_network_set_guidance(vn_model *m, double guidance) {
    vn_net_denoiser *d = m->self;
    d->guidance = guidance;
}

bool vn_network_fingerprint(vn_model *m, uint64_t *out) {
    bool ok = true;
    *out = vn_hash_begin;
    for (int i = 0; i < m->parts && ok; i++) ok = vn_hash_part(&m->part[i], out);
    return ok;
}

void vn_network_close(vn_model *m) {
    vn_free(m->self);
}
