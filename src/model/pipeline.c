/* pipeline.c - a pipeline of diffusers as a model: its denoiser works on latents, its conditions
 * are texts that one, two or three encoders read, or classes, and its samples are shown as its
 * autoencoder decodes them. What one class does differently from another is in its row
 * (pipeline_*.c); the denoiser is that of any network (network.c).
 *
 * The null condition is encoded when a pass first asks for it: a network that guides itself may
 * never do so, and a large encoder takes a while. */
#include "model/pipeline.h"

#include <string.h>

static const vn_pipeline_row *const rows[] = {&vn_stable_diffusion, &vn_stable_diffusion_xl,
                                              &vn_stable_diffusion_3, &vn_flux_pipeline,
                                              &vn_dit_pipeline};
const vn_table vn_pipelines = {"pipeline", rows, 0, VN_COUNT(rows), NULL, NULL};

/* ---- what is a pipeline ---------------------------------------------------------------------- */

static vn_status read_index(const char *path, json_t **out, vn_err *err) {
    char *file = vn_path_join(path, "model_index.json");
    if (!file) return vn_no_memory(err);
    const vn_status status = vn_is_file(file) ? vn_json_read(file, out, err) : VN_OK;
    vn_free(file);
    return status;
}

static const vn_pipeline_row *find_row(const json_t *index) {
    size_t i;
    return (const vn_pipeline_row *)vn_table_find(&vn_pipelines, vn_pipeline_class(index), &i);
}

/* By the class, or by an autoencoder beside a network that is not a run of vane's: then open says
 * which classes are known. */
static bool is_pipeline(const char *path, bool texts) {
    json_t *index = NULL;
    vn_err ignored = {0};
    char *run = vn_path_join(path, "vane.json");
    bool is = run && !vn_is_file(run) && !read_index(path, &index, &ignored) && index;
    const vn_pipeline_row *row = find_row(index);
    const bool decodes = vn_pipeline_has(index, "vae") || vn_pipeline_has(index, "vqvae");
    if (row)
        is = is && vn_pipeline_takes_texts(row) == texts && (texts || decodes);
    else
        is = is && texts && decodes;
    json_decref(index);
    vn_free(run);
    return is;
}

static bool detect_texts(const char *path) {
    return is_pipeline(path, true);
}

static bool detect_classes(const char *path) {
    return is_pipeline(path, false);
}

static vn_status refuse_class(const vn_model *m, const json_t *index, vn_err *err) {
    char known[256] = "";
    for (size_t i = 0; i < VN_COUNT(rows); i++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", rows[i]->row.name);
    }
    return vn_fail(err, VN_UNSUPPORTED,
                   "%s: vane knows no pipeline of class '%.80s', but %s; its network by itself is "
                   "a folder inside",
                   m->source, vn_pipeline_class(index), known);
}

/* ---- opening --------------------------------------------------------------------------------- */

static vn_status read_scheduler(const vn_model *m, json_t **out, vn_err *err) {
    char *file = vn_format("%s/scheduler/scheduler_config.json", m->source);
    if (!file) return vn_no_memory(err);
    vn_status status = vn_json_read(file, out, err);
    if (!status && !json_is_object(*out))
        status = vn_fail(err, VN_BAD_FILE, "%s: is not a JSON object", file);
    if (!status && m->pipeline->row->schedule && !m->pipeline->row->schedule(*out))
        status = vn_no_memory(err);
    vn_free(file);
    return status;
}

/* The network, as the scheduler of its program has it. */
static vn_status open_network(vn_model *m, const vn_model_source *source, const vn_net *vae,
                              vn_err *err) {
    vn_network_setup setup = {.source = source, .own_times = m->pipeline->row->own_times};
    json_t *scheduler = NULL;
    vn_status status = read_scheduler(m, &scheduler, err);
    setup.scheduler = scheduler;
    if (!status) status = vn_latents_open(m, &setup, vae, err);
    json_decref(scheduler);
    return status;
}

static void set_defaults(vn_model *m) {
    const vn_pipeline_row *row = m->pipeline->row;
    const bool told = vn_net_input(vn_net_get_io(vn_model_net(m)), "guidance") != NULL;
    m->sampling.guidance = row->guides_itself && !told ? 1 : row->guidance;
    m->sampling.steps = row->steps;
    if (row->guides_itself && told)
        snprintf(m->sampling.guide, sizeof m->sampling.guide, "embedded");
}

static vn_status open_parts(vn_model *m, const vn_model_source *source, const json_t *index,
                            vn_err *err) {
    const vn_pipeline *p = m->pipeline;
    vn_model_part vae = {0};
    vn_status status = vn_pipeline_need(m, index, "scheduler", err);
    if (!status) status = vn_pipeline_need(m, index, "vae", err);
    if (!status) status = vn_model_open_part(m, "vae", VN_ROLE_AUTOENCODER, &vae, err);
    if (!status) status = open_network(m, source, vae.net, err);
    if (!status) vn_latents_add_autoencoder(m, &vae);
    vn_model_close_part(&vae);
    if (!status) status = vn_pipeline_open_texts(m, index, err);
    if (status) return status;
    m->has_null = m->has_null || vn_pipeline_takes_texts(p->row);
    m->empty_text = p->null_is_zeros;
    set_defaults(m);
    if (p->row->not_run && vn_pipeline_has(index, p->row->not_run))
        vn_log(m->engine.watch, VN_LOG_INFO, "%s: vane does not run its %s", m->source,
               p->row->not_run);
    return VN_OK;
}

static vn_status new_pipeline(vn_model *m, const vn_pipeline_row *row, vn_err *err) {
    vn_pipeline *p = m->pipeline = vn_calloc(1, sizeof *p);
    if (!p) return vn_no_memory(err);
    p->row = row;
    for (int i = 0; i < VN_PIPELINE_TEXTS; i++) p->part[i] = -1;
    return VN_OK;
}

static vn_status open(vn_model *m, const vn_model_source *source, vn_err *err) {
    json_t *index = NULL;
    vn_status status = read_index(m->source, &index, err);
    const vn_pipeline_row *row = status ? NULL : find_row(index);
    if (!status) status = row ? new_pipeline(m, row, err) : refuse_class(m, index, err);
    if (!status) {
        const json_t *zeros = row->zeros_key ? json_object_get(index, row->zeros_key) : NULL;
        m->pipeline->null_is_zeros = row->zeros_key && !json_is_false(zeros);
        status = open_parts(m, source, index, err);
    }
    json_decref(index);
    return status;
}

static vn_status share(vn_model *m, const vn_model *of, vn_err *err) {
    const vn_pipeline *from = of->pipeline;
    const vn_status status = new_pipeline(m, from->row, err);
    if (status) return status;
    vn_pipeline *p = m->pipeline;
    memcpy(p->part, from->part, sizeof p->part);
    memcpy(p->length, from->length, sizeof p->length);
    p->null_is_zeros = from->null_is_zeros;
    return VN_OK;
}

static void close(vn_model *m) {
    vn_pipeline *p = m->pipeline;
    vn_free(m->self);
    if (!p) return;
    for (int i = 0; i < VN_PIPELINE_TEXTS; i++) vn_prompter_close(&p->prompter[i]);
    vn_free(p);
    m->pipeline = NULL;
}

static vn_status prompt(vn_model *m, const char *text, vn_condition *out, vn_err *err) {
    return vn_pipeline_keep(m, text, false, out, err);
}

/* ---- denoising ------------------------------------------------------------------------------- */

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_model *m = self;
    const vn_denoiser *inner = &m->pipeline->inner;
    bool null = q->always.kind == VN_ATTENTION_NORMALIZED;
    for (int64_t i = 0; i < q->n && !null; i++) null = q->condition[i] == VN_CONDITION_NULL;
    const vn_status status =
        null && vn_pipeline_takes_texts(m->pipeline->row) ? vn_pipeline_keep_null(m, err) : VN_OK;
    return status ? status : inner->predict(inner->self, q, raw, err);
}

static vn_status make_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err) {
    vn_denoiser *inner = &m->pipeline->inner;
    const vn_status status = vn_network_denoiser(m, path, inner, err);
    *out = *inner;
    out->self = m;
    out->predict = predict;
    return status;
}

const char *vn_model_pipeline(const vn_model *m) {
    return m->pipeline ? m->pipeline->row->row.name : NULL;
}

#define WHAT_BOTH_ARE                                                                              \
    .open = open, .denoiser = make_denoiser, .close_denoiser = vn_network_close_denoiser,          \
    .batch = vn_network_batch, .set_batch = vn_network_set_batch,                                  \
    .set_guidance = vn_network_set_guidance, VN_LATENTS_CODING,                                    \
    .fingerprint = vn_network_fingerprint, .share = share, .close = close, .needs_path = true

const vn_model_row vn_pipeline_model = {
    .row = {"pipeline", "a pipeline of diffusers: texts, latents and an autoencoder", "", NULL},
    .detect = detect_texts,
    .prompt = prompt,
    WHAT_BOTH_ARE,
};

const vn_model_row vn_class_pipeline_model = {
    .row = {"class-pipeline", "a pipeline of diffusers: classes, latents and an autoencoder", "",
            NULL},
    .detect = detect_classes,
    WHAT_BOTH_ARE,
};
