/* preview.c - a few samples of each class with the average weights, always from the same noise, so
 * that pictures of one run can be laid side by side; and drawn as `vane sample` would draw them, so
 * that they show what one will get. */
#include "api/preview.h"
#include "sample/sample.h"

/* Enough to see. */
enum { EACH_CLASS = 4, MAX_IMAGES = 40, POINTS = 1000 };

bool vn_preview_possible(const vn_shape *shown) {
    return shown->dim[0] == 1 || shown->dim[0] == (vn_shape_is_image(shown) ? 3 : 2);
}

/* The texts as conditions, by the encoder's weights as they are now; their numbers stay. */
static vn_status encode_texts(vn_preview *p, vn_err *err) {
    vn_condition number;
    vn_prompter *prompter = p->frozen ? p->frozen : p->prompter;
    vn_model_forget_conditions(p->model);
    vn_status status = vn_prompter_keep(prompter, p->model, "", &number, err);
    for (int i = 0; i < p->texts && !status; i++)
        status = vn_prompter_keep(prompter, p->model, p->text[i], &number, err);
    return status;
}

static vn_status open_texts(vn_preview *p, vn_values *const *values, vn_err *err) {
    vn_engine engine = vn_context_engine(p->vn);
    engine.watch = NULL; /* texts that are cut were told of */
    vn_status status =
        vn_model_of_ports(p->vn, &engine, (vn_net *)(uintptr_t)p->net, &p->model, err);
    if (!status && !p->frozen)
        status = vn_prompter_open(&engine, p->tokenizer, p->encoder, values[1], p->length,
                                  &p->prompter, err);
    return status ? status : encode_texts(p, err);
}

/* How many kinds of samples there are. */
static int32_t kinds_of(const vn_preview *p) {
    return p->model ? p->model->named_count : p->classes;
}

static vn_status open_trajectory(vn_preview *p, vn_values *const *values, vn_err *err) {
    const vn_engine engine = vn_context_engine(p->vn);
    vn_status status = p->encoder || p->frozen ? open_texts(p, values, err) : VN_OK;
    if (!status)
        status = vn_net_denoiser_open(&p->net_denoiser, &engine, p->net, values[0], p->path,
                                      p->prediction, p->sample, p->classes ? p->classes : -1,
                                      p->model, &p->denoiser, err);
    if (status) return status;
    if (p->sampling.consistency) p->denoiser.can |= VN_X0_IS_SAMPLE;
    const int32_t kinds = kinds_of(p);
    if (p->model) p->denoiser.conditions = vn_model_conditions(p->model);
    p->size = p->denoiser.size;
    p->count = !vn_shape_is_image(p->sample) ? POINTS
               : kinds                       ? (int64_t)kinds * EACH_CLASS
                                             : EACH_CLASS * EACH_CLASS;
    if (vn_shape_is_image(p->sample) && p->count > MAX_IMAGES) p->count = MAX_IMAGES;
    p->samples = vn_alloc((size_t)p->count, (size_t)p->size * sizeof(float));
    p->labels = vn_alloc((size_t)p->count, sizeof(int32_t));
    if (!p->samples || !p->labels) return vn_no_memory(err);
    for (int64_t i = 0; i < p->count; i++)
        p->labels[i] = kinds ? (int32_t)(i % kinds) : VN_LABEL_NULL;
    const vn_trajectory_options options = {.denoiser = &p->denoiser,
                                           .guide = p->sampling.guide[0] ? p->sampling.guide : NULL,
                                           .sampler =
                                               p->sampling.sampler[0] ? p->sampling.sampler : NULL,
                                           .steps = p->sampling.steps,
                                           .guidance = p->sampling.guidance,
                                           .seed = p->seed,
                                           .capacity = p->count};
    return vn_trajectory_open(&options, &p->trajectory, err);
}

/* A guide that a run is sampled with may need what a preview does not have, another model or
 * derivatives: then it is drawn as every model is. */
static vn_status open_anyhow(vn_preview *p, vn_values *const *values, vn_err *err) {
    vn_status status = open_trajectory(p, values, err);
    const bool refused = status == VN_BAD_ARGUMENT || status == VN_UNSUPPORTED;
    if (!refused || (!p->sampling.guide[0] && !p->sampling.sampler[0])) return status;
    vn_preview_close(p);
    p->sampling.guide[0] = p->sampling.sampler[0] = 0;
    return open_trajectory(p, values, err);
}

/* With the settings that vn_sample's pictures have. */
static vn_status write(const vn_preview *p, int64_t step, const vn_image *image, const char *path,
                       vn_err *err) {
    char *form = vn_path_text(p->path);
    const vn_preview_words words = {.run = p->run,
                                    .seed = p->seed,
                                    .count = p->count,
                                    .step = step,
                                    .guidance = p->sampling.guidance,
                                    .guide = p->sampling.guide,
                                    .sampler = p->sampling.sampler[0]
                                                   ? p->sampling.sampler
                                                   : vn_sampler_usual(p->path, p->sampling.guide),
                                    .path = form,
                                    .grid = p->path->row->grid,
                                    .steps = p->sampling.steps,
                                    .classes = p->classes,
                                    .text = p->text,
                                    .texts = p->texts};
    const vn_status status = form ? vn_preview_write(&words, image, path, err) : vn_no_memory(err);
    vn_free(form);
    return status;
}

/* What is to be seen of the samples: themselves or, of latents, pictures, which are the
 * decoder's. */
static vn_status decode(const vn_preview *p, vn_array *out, vn_err *err) {
    *out = (vn_array){"latents", VN_F32, *p->sample, p->samples};
    if (!p->decoder) return VN_OK;
    const int64_t *d = p->sample->dim;
    const vn_coding how = {.scaled = true};
    vn_array decoded;
    out->shape = VN_SHAPE(p->count, d[0], d[1], d[2]);
    const vn_status status = vn_autoencoder_decode_array(p->decoder, &how, out, &decoded, err);
    if (status) return status;
    const int64_t *whole = decoded.shape.dim;
    *out = (vn_array){"decoded", VN_F32, VN_SHAPE(whole[1], whole[2], whole[3]), decoded.data};
    return VN_OK;
}

vn_status vn_preview_draw(void *preview, vn_values *const *values, int64_t step, const char *path,
                          vn_err *err) {
    vn_preview *p = preview;
    vn_status status = !p->trajectory           ? open_anyhow(p, values, err)
                       : p->model && !p->frozen ? encode_texts(p, err)
                                                : VN_OK;
    if (status) {
        vn_preview_close(p); /* the next one tries again */
        return status;
    }
    const vn_trajectory_batch batch = {.n = p->count, .condition = p->labels, .x = p->samples};
    const vn_watch quiet = {.cancel = p->vn->watch.cancel};
    status = vn_trajectory_run(p->trajectory, &batch, &quiet, 0, vn_trajectory_steps(p->trajectory),
                               err);
    /* Asked to stop amid a picture: the loop hears of it too, and saves. Numbers gone wild early on
     * are no failure either. */
    if (status == VN_CANCELLED || status == VN_NOT_FINITE) return VN_OK;
    vn_array shown;
    if (!status) status = decode(p, &shown, err);
    if (status) return status;
    const bool image = vn_shape_is_image(&shown.shape);
    char title[96];
    vn_snprintf(title, sizeof title, "training step %lld; guidance %g, %d step%s", (long long)step,
                p->sampling.guidance, p->sampling.steps, VN_S(p->sampling.steps));
    const vn_band whole = {.title = title, .count = p->count};
    const vn_show show = {.samples = shown.data,
                          .count = p->count,
                          .channels = image ? (int)shown.shape.dim[0] : 0,
                          .height = image ? (int)shown.shape.dim[1] : 0,
                          .width = image ? (int)shown.shape.dim[2] : 0,
                          .dimension = (int)p->size,
                          .labels = p->labels,
                          .names = p->model ? (const char *const *)p->model->names : p->names,
                          .classes = kinds_of(p),
                          .texts = p->model != NULL,
                          .bands = &whole,
                          .band_count = 1};
    vn_image picture = {0};
    status = image ? vn_show_grid(&show, &picture, err) : vn_show_points(&show, &picture, err);
    if (!status) status = write(p, step, &picture, path, err);
    vn_image_free(&picture);
    return status;
}

void vn_preview_close(vn_preview *p) {
    vn_trajectory_close(&p->trajectory);
    vn_net_denoiser_close(&p->net_denoiser);
    vn_prompter_close(&p->prompter);
    if (p->model) p->model->parts = 0; /* its network is the caller's */
    vn_model_close(&p->model);
    vn_free(p->samples);
    vn_free(p->labels);
    p->samples = NULL;
    p->labels = NULL;
}
