/* model.c - the life of a model: new, opened by the row that detects its source, a denoiser on a
 * path, shared, closed. What depends on its kind is in the rows. */
#include "model/internal.h"

#include <string.h>

static const vn_model_row *const rows[] = {
    &vn_classifier_model, &vn_sequence_model,       &vn_text_sequence_model, &vn_text_model,
    &vn_pipeline_model,   &vn_class_pipeline_model, &vn_network_model,       &vn_chains_model,
    &vn_world_model,      &vn_callback_model_row};
const vn_table vn_model_kinds = {"kind of model", rows, 0, VN_COUNT(rows), NULL, NULL};

/* Samples of a sampling run, where the row sets no batch: bounds the memory of the run's own
 * arrays. */
enum { MANY = 4096 };

vn_status vn_model_new(vn_context *vn, const vn_engine *engine, const vn_model_row *row,
                       const char *source, vn_model **out, vn_err *err) {
    vn_model *m = vn_calloc(1, sizeof *m);
    if (m) m->source = vn_strdup(source);
    if (!m || !m->source) {
        vn_free(m);
        return vn_no_memory(err);
    }
    m->vn = vn;
    m->engine = *engine;
    m->row = row;
    m->kind = row->row.name;
    m->sampling = vn_sampling_defaults_as_trained();
    m->asked_null = -1;
    m->null_row = -1;
    atomic_init(&m->holders, 1);
    *out = m;
    return VN_OK;
}

vn_status vn_model_copy_names(vn_model *m, int32_t classes,
                              const char *(*name)(const void *from, int32_t i), const void *from,
                              vn_err *err) {
    m->names = vn_calloc((size_t)classes + 1, sizeof(char *));
    if (!m->names) return vn_no_memory(err);
    for (m->classes = 0; m->classes < classes; m->named_count = ++m->classes) {
        const char *text = name(from, m->classes);
        m->names[m->classes] = text ? vn_strdup(text) : vn_format("%d", (int)m->classes);
        if (!m->names[m->classes]) return vn_no_memory(err);
    }
    return VN_OK;
}

vn_status vn_model_open_source(vn_context *vn, const vn_engine *engine,
                               const vn_model_source *source, vn_model **out, vn_err *err) {
    const vn_model_row *row = NULL;
    for (size_t i = 0; i < VN_COUNT(rows) && !row; i++)
        if (rows[i]->detect && rows[i]->detect(source->path)) row = rows[i];
    vn_model *m = NULL;
    vn_status status = vn_model_new(vn, engine, row, source->path, &m, err);
    if (!status) status = row->open(m, source, err);
    if (status) vn_model_close(&m);
    *out = m;
    return status;
}

const vn_net *vn_model_net(const vn_model *m) {
    return m->parts ? m->part[0].net : NULL;
}

int64_t vn_model_batch(const vn_model *m) {
    return m->row->batch ? m->row->batch(m) : MANY;
}

void vn_model_set_batch(vn_model *m, int64_t requested) {
    if (m->row->set_batch) m->row->set_batch(m, requested);
}

void vn_model_set_guidance(vn_model *m, double guidance) {
    if (m->row->set_guidance) m->row->set_guidance(m, guidance);
}

const vn_shape *vn_model_shown(const vn_model *m) {
    return m->shown.rank ? &m->shown : &m->sample;
}

vn_status vn_model_decode(vn_model *m, int64_t n, const float *x, float *shown, vn_err *err) {
    const vn_status status = m->row->decode(m, n, x, shown, err);
    return status ? vn_fail_in(err, "%s", m->source) : VN_OK;
}

vn_status vn_model_encode(vn_model *m, int64_t n, const float *shown, float *x, vn_err *err) {
    const vn_status status = m->row->encode(m, n, shown, x, err);
    return status ? vn_fail_in(err, "%s", m->source) : VN_OK;
}

vn_status vn_model_decode_vjp(vn_model *m, const float *x, const float *direction, float *out,
                              vn_err *err) {
    const vn_status status = m->row->decode_vjp(m, x, direction, out, err);
    return status ? vn_fail_in(err, "%s", m->source) : VN_OK;
}

vn_status vn_model_encode_vjp(vn_model *m, const float *shown, const float *direction, float *out,
                              vn_err *err) {
    const vn_status status = m->row->encode_vjp(m, shown, direction, out, err);
    return status ? vn_fail_in(err, "%s", m->source) : VN_OK;
}

/* ---- the denoiser ---------------------------------------------------------------------------- */

static void close_denoiser(vn_model *m) {
    if (m->denoiser.self && m->row->close_denoiser) m->row->close_denoiser(m);
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
static vn_status take_path(vn_model *m, const char *requested, vn_err *err) {
    if (!requested && m->row->needs_path) {
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
    vn_path_close(&m->requested);
    m->requested = path;
    return m->has_prediction ? VN_OK
                             : vn_prediction_parse(path->row->prediction, &m->prediction, err);
}

static vn_status open_denoiser(vn_model *m, const char *requested, const vn_denoiser **out,
                               vn_err *err) {
    vn_status status = VN_OK;
    *out = NULL;
    if (m->held)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: a sampling of it is open; close that, or share the model", m->source);
    if (!m->path)
        status = take_path(m, requested, err);
    else if (requested)
        status = confirm_path(m, requested, err);
    const vn_path *path = m->path ? m->path : m->requested;
    if (!status && !m->row->any_path) status = vn_path_allows(path, &m->prediction, err);
    if (!status && !m->denoiser.self) {
        status = m->row->denoiser(m, path, &m->denoiser, err);
        if (status == VN_UNSUPPORTED) vn_fail_in(err, "%s", m->source);
    }
    m->denoiser.conditions = vn_model_conditions(m);
    /* a model of texts has conditions before it was asked for the first */
    if (m->row->prompt && !m->denoiser.conditions.count) m->denoiser.conditions.count = 1;
    m->denoiser.tokens = m->tokens;
    *out = &m->denoiser;
    return status;
}

vn_status vn_model_denoise(vn_model *m, const char *requested, const vn_denoiser **out,
                           vn_err *err) {
    *out = NULL;
    if (!m->row->classifies) return open_denoiser(m, requested, out, err);
    return vn_fail(err, VN_UNSUPPORTED,
                   "%s: is a classifier; samples are drawn from denoisers. It is the `classifier` "
                   "of one, and vane info says how well it tells what was held out",
                   m->source);
}

vn_status vn_model_classifier(vn_model *m, const char *requested, const vn_denoiser **out,
                              vn_err *err) {
    const vn_status status = open_denoiser(m, requested, out, err);
    if (status || (*out)->classify) return status;
    return vn_fail(err, VN_UNSUPPORTED, "%s: tells no classes: it is no classifier", m->source);
}

/* ---- sharing --------------------------------------------------------------------------------- */

/* All members but those that change while a model is used, and those of its context. */
static void take_shared(vn_model *m, const vn_model *of) {
    m->kind = of->kind;
    m->source = of->source;
    m->sample = of->sample;
    m->size = of->size;
    m->shown = of->shown;
    m->decoder = of->decoder;
    m->empty_text = of->empty_text;
    m->tokens = of->tokens;
    m->steps = of->steps;
    m->parts = of->parts;
    memcpy(m->part, of->part, sizeof m->part);
    m->classes = of->classes;
    m->has_null = of->has_null;
    m->null_row = of->null_row;
    m->named_by_row = of->named_by_row;
    m->asked_null = of->asked_null;
    m->asked_size = of->asked_size;
    m->path = of->path;
    m->path_text = of->path_text;
    m->prediction = of->prediction;
    m->has_prediction = of->has_prediction;
    m->scheduler = of->scheduler;
    m->sampling = of->sampling;
    m->vane = of->vane;
    m->truth = of->truth;
    m->trained_on = of->trained_on;
}

vn_status vn_model_share_with(vn_context *vn, const vn_engine *engine, vn_model *of, vn_model **out,
                              vn_err *err) {
    vn_model *m = *out = vn_calloc(1, sizeof *m);
    if (!m) return vn_no_memory(err);
    m->vn = vn;
    m->engine = *engine;
    m->row = of->row;
    m->shared = of->shared ? of->shared : of;
    atomic_fetch_add(&m->shared->holders, 1);
    take_shared(m, of);
    vn_status status = vn_model_take_conditions(m, of, err);
    if (!status && m->row->share) status = m->row->share(m, of, err);
    if (!status && of->fingerprint && !(m->fingerprint = vn_strdup(of->fingerprint)))
        status = vn_no_memory(err);
    if (status) vn_model_close(out);
    return status;
}

/* ---- closing --------------------------------------------------------------------------------- */

/* Releases what is shared; the last holder frees it. */
static void let_go(vn_model *m) {
    if (atomic_fetch_sub(&m->holders, 1) > 1) return;
    for (int i = 0; i < m->parts; i++) {
        vn_free(m->part[i].name);
        vn_values_close(&m->part[i].values);
        vn_net_close(&m->part[i].net);
    }
    vn_free(m->source);
    vn_free(m->path_text);
    vn_free(m->trained_on);
    vn_path_close(&m->path);
    json_decref(m->vane);
    vn_free(m);
}

void vn_model_close(vn_model **model) {
    if (!model || !*model) return;
    vn_model *m = *model, *shared = m->shared;
    close_denoiser(m);
    if (m->row->close) m->row->close(m);
    vn_prompter_close(&m->prompter);
    vn_autoencoder_free(&m->autoencoder);
    vn_runner_close(&m->runner);
    vn_free(m->outputs);
    vn_free(m->fingerprint);
    vn_free(m->drawn);
    vn_model_drop_conditions(m);
    vn_path_close(&m->requested);
    if (shared) vn_free(m);
    let_go(shared ? shared : m);
    *model = NULL;
}
