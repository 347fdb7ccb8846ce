/* preview.c - a few samples of each class with the average weights, always from the same noise, so
 * that pictures of one run can be laid side by side; and drawn as `vane sample` would draw them, so
 * that they show what one will get. */
#include "api/preview.h"
#include "sample/sample.h"

/* Enough to see. */
enum { EACH_CLASS = 4, MAX_IMAGES = 40, POINTS = 1000 };

bool vn_preview_possible(const vn_net_io *io) {
    const vn_shape sample = vn_net_sample(io);
    return sample.dim[0] == 1 || sample.dim[0] == (vn_shape_is_image(&sample) ? 3 : 2);
}

static vn_status open_trajectory(vn_preview *p, vn_values *values, vn_err *err) {
    const vn_engine engine = vn_context_engine(p->vn);
    vn_status status =
        vn_net_denoiser_open(&p->net_denoiser, &engine, p->net, values, p->path, p->prediction,
                             p->sample, p->classes ? p->classes : -1, NULL, &p->denoiser, err);
    if (status) return status;
    p->size = p->denoiser.size;
    p->count = !vn_shape_is_image(p->sample) ? POINTS
               : p->classes                  ? (int64_t)p->classes * EACH_CLASS
                                             : EACH_CLASS * EACH_CLASS;
    if (vn_shape_is_image(p->sample) && p->count > MAX_IMAGES) p->count = MAX_IMAGES;
    p->samples = vn_alloc((size_t)p->count, (size_t)p->size * sizeof(float));
    p->labels = vn_alloc((size_t)p->count, sizeof(int32_t));
    if (!p->samples || !p->labels) return vn_no_memory(err);
    for (int64_t i = 0; i < p->count; i++)
        p->labels[i] = p->classes ? (int32_t)(i % p->classes) : VN_LABEL_NULL;
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
static vn_status open_anyhow(vn_preview *p, vn_values *values, vn_err *err) {
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
    char seed[24], count[24], guidance[32], steps[16], trained[24];
    char *form = vn_path_text(p->path);
    json_t *run = vn_json_string(p->run); /* a name of any bytes, as UTF-8 */
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)p->seed);
    snprintf(count, sizeof count, "%lld", (long long)p->count);
    vn_snprintf(guidance, sizeof guidance, "%.15g", p->sampling.guidance);
    snprintf(steps, sizeof steps, "%d", p->sampling.steps);
    snprintf(trained, sizeof trained, "%lld", (long long)step);
    const vn_setting settings[] = {
        {"vane", vn_version()},
        {"source", json_string_value(run)},
        {"training_step", trained},
        {"seed", seed},
        {"first", "0"},
        {"count", count},
        {"guidance", guidance},
        {"guide", p->sampling.guide[0] ? p->sampling.guide : "cfg"},
        {"sampler", p->sampling.sampler[0] ? p->sampling.sampler : p->path->row->sampler},
        {"path", form},
        {"steps", steps},
        {"grid", p->path->row->grid},
        {"class", p->classes ? "all" : "null"}};
    const vn_status status = form && run
                                 ? vn_png_write(path, image, settings, VN_COUNT(settings), err)
                                 : vn_no_memory(err);
    vn_free(form);
    json_decref(run);
    return status;
}

vn_status vn_preview_draw(void *preview, vn_values *values, int64_t step, const char *path,
                          vn_err *err) {
    vn_preview *p = preview;
    vn_status status = p->trajectory ? VN_OK : open_anyhow(p, values, err);
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
    if (status) return status;
    char title[96];
    vn_snprintf(title, sizeof title, "training step %lld; guidance %g, %d step%s", (long long)step,
                p->sampling.guidance, p->sampling.steps, VN_S(p->sampling.steps));
    const vn_band whole = {.title = title, .count = p->count};
    const vn_show show = {.samples = p->samples,
                          .count = p->count,
                          .channels = vn_shape_is_image(p->sample) ? (int)p->sample->dim[0] : 0,
                          .height = vn_shape_is_image(p->sample) ? (int)p->sample->dim[1] : 0,
                          .width = vn_shape_is_image(p->sample) ? (int)p->sample->dim[2] : 0,
                          .dimension = (int)p->size,
                          .labels = p->labels,
                          .names = p->names,
                          .classes = p->classes,
                          .bands = &whole,
                          .band_count = 1};
    vn_image image = {0};
    status = vn_shape_is_image(p->sample) ? vn_show_grid(&show, &image, err)
                                          : vn_show_points(&show, &image, err);
    if (!status) status = write(p, step, &image, path, err);
    vn_image_free(&image);
    return status;
}

void vn_preview_close(vn_preview *p) {
    vn_trajectory_close(&p->trajectory);
    vn_net_denoiser_close(&p->net_denoiser);
    vn_free(p->samples);
    vn_free(p->labels);
    p->samples = NULL;
    p->labels = NULL;
}
