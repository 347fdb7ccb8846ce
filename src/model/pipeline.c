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

/* ---- parts ----------------------------------------------------------------------------------- */

static vn_status check_latents(const vn_model *m, const vn_net *vae, vn_err *err) {
    const int64_t gives = vn_net_get_io(vae)->latents.channels, takes = m->sample.dim[0];
    if (gives == takes) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: its autoencoder has latents of %lld channels, and its network takes %lld",
                   m->source, (long long)gives, (long long)takes);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The size of latents, of the pixels that were asked for; 0: as the network's config has it. */
static vn_status read_size(const vn_model *m, const char *text, int64_t factor, int64_t multiple,
                           vn_network_setup *setup, vn_err *err) {
    int64_t height = 0, width = 0;
    const int64_t unit = factor * multiple;
    if (!text) return VN_OK;
    const vn_status status = vn_model_read_size(text, &height, &width, err);
    if (status) return status;
    if (height % unit || width % unit)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "size %.40s: %s draws images whose sides are multiples of %lld: a latent "
                       "is of %lld x %lld pixels, and the network takes %lld x %lld of them at "
                       "least",
                       text, m->source, (long long)unit, (long long)factor, (long long)factor,
                       (long long)multiple, (long long)multiple);
    setup->height = height / factor;
    setup->width = width / factor;
    return VN_OK;
}

/* What the sides of the network's latents are multiples of. */
static vn_status read_multiple(const vn_model *m, int64_t *multiple, vn_err *err) {
    vn_model_dir dir = {0};
    vn_net *net = NULL;
    vn_status status = vn_model_dir_open(m->source, &dir, err);
    if (!status && (status = vn_net_open(dir.config, &net, err)))
        vn_fail_in(err, "%s/%s/config.json", m->source, dir.folder);
    if (!status) *multiple = vn_net_get_io(net)->multiple;
    vn_net_close(&net);
    vn_model_dir_close(&dir);
    return status;
}

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

/* The network, whose size is that of the images that are asked for. */
static vn_status open_network(vn_model *m, const vn_model_source *source, const vn_net *vae,
                              vn_err *err) {
    const int64_t factor = vn_net_get_io(vae)->latents.factor;
    vn_model_source latents = *source;
    vn_network_setup setup = {.source = &latents, .own_times = m->pipeline->row->own_times};
    json_t *scheduler = NULL;
    int64_t multiple = 1;
    latents.size = NULL;
    vn_status status = read_scheduler(m, &scheduler, err);
    if (!status && source->size) status = read_multiple(m, &multiple, err);
    if (!status) status = read_size(m, source->size, factor, multiple, &setup, err);
    setup.scheduler = scheduler;
    if (!status) status = vn_network_open(m, &setup, err);
    json_decref(scheduler);
    if (status) return status;
    const int64_t channels = vn_net_output(vn_net_get_io(vae), "decoded")->shape.dim[1];
    m->shown = VN_SHAPE(channels, m->sample.dim[1] * factor, m->sample.dim[2] * factor);
    return check_latents(m, vae, err);
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
    vn_pipeline *p = m->pipeline;
    vn_model_part vae = {0};
    vn_status status = vn_pipeline_need(m, index, "scheduler", err);
    if (!status) status = vn_pipeline_need(m, index, "vae", err);
    if (!status) status = vn_pipeline_open_part(m, "vae", VN_ROLE_AUTOENCODER, &vae, err);
    if (!status) status = open_network(m, source, vae.net, err);
    if (!status)
        p->decoder = vn_pipeline_add_part(m, &vae);
    else
        vn_pipeline_close_part(&vae);
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
    p->decoder = from->decoder;
    return VN_OK;
}

static void close(vn_model *m) {
    vn_pipeline *p = m->pipeline;
    vn_free(m->self);
    if (!p) return;
    for (int i = 0; i < VN_PIPELINE_TEXTS; i++) vn_prompter_close(&p->prompter[i]);
    vn_autoencoder_free(&p->autoencoder);
    vn_free(p);
    m->pipeline = NULL;
}

static vn_status prompt(vn_model *m, const char *text, vn_condition *out, vn_err *err) {
    return vn_pipeline_keep(m, text, false, out, err);
}

/* ---- denoising and decoding ------------------------------------------------------------------ */

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

static vn_status open_autoencoder(vn_model *m, vn_err *err) {
    vn_pipeline *p = m->pipeline;
    const vn_model_part *part = &m->part[p->decoder];
    if (p->autoencoder) return VN_OK;
    return vn_autoencoder_on(m->vn, &m->engine, part->name, part->net, part->values,
                             &p->autoencoder, err);
}

/* One by one, so that memory does not grow with their number. */
static vn_status decode(vn_model *m, int64_t n, const float *x, float *shown, vn_err *err) {
    static const vn_coding how = {.scaled = true};
    vn_pipeline *p = m->pipeline;
    const int64_t size = vn_shape_count(&m->shown), *d = m->sample.dim;
    vn_status status = open_autoencoder(m, err);
    for (int64_t i = 0; i < n && !status; i++) {
        const vn_array in = {"latents", VN_F32, VN_SHAPE(1, d[0], d[1], d[2]), x + i * m->size};
        vn_array out;
        status = vn_autoencoder_decode_array(p->autoencoder, &how, &in, &out, err);
        if (!status) memcpy(shown + i * size, out.data, (size_t)size * sizeof *shown);
    }
    return status;
}

const char *vn_model_pipeline(const vn_model *m) {
    return m->pipeline ? m->pipeline->row->row.name : NULL;
}

/* ---- what it takes --------------------------------------------------------------------------- */

/* A sample takes two rows where its guidance does. */
static vn_extent extent_of_network(const vn_model *m) {
    vn_extent e =
        vn_extent_of(m->sampling.guidance == 1 || m->sampling.guide[0] ? 1 : 2, &m->sample);
    e.patches = vn_net_patches(vn_net_get_io(vn_model_net(m)), e.height, e.width);
    e.tokens = vn_model_tokens(m);
    return e;
}

vn_status vn_model_plan_part(vn_model *m, int part, vn_part_plan *out, vn_err *err) {
    const vn_pipeline *p = m->pipeline;
    *out = (vn_part_plan){.name = m->part[part].name, .net = m->part[part].net};
    if (part == p->decoder) {
        const vn_status status = open_autoencoder(m, err);
        return status ? status
                      : vn_autoencoder_plan(p->autoencoder, m->sample.dim[1], m->sample.dim[2],
                                            &out->pass, &out->tile, err);
    }
    vn_extent extent = part == 0 ? extent_of_network(m) : (vn_extent){.batch = 1};
    for (int i = 0; i < VN_PIPELINE_TEXTS; i++)
        if (p->part[i] == part) extent.tokens = p->length[i];
    extent = vn_net_usual(vn_net_get_io(out->net), &extent);
    return vn_net_pass_bytes(out->net, m->engine.device, &extent, &out->pass, err);
}

#define WHAT_BOTH_ARE                                                                              \
    .open = open, .denoiser = make_denoiser, .close_denoiser = vn_network_close_denoiser,          \
    .batch = vn_network_batch, .set_batch = vn_network_set_batch,                                  \
    .set_guidance = vn_network_set_guidance, .decode = decode,                                     \
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
