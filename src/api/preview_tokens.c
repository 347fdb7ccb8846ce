/* preview_tokens.c - previews of a sequence model: a few samples of each class, or of some captions
 * of the data, drawn with the average weights as `vane sample` draws them where nothing is asked
 * for, always by the same seed. */
#include "api/preview.h"

#include <string.h>

/* Enough to see. */
enum { EACH = 4, MOST = 40 };

bool vn_token_preview_possible(const vn_token_preview *p) {
    return p->parts.sample.dim[0] == 1 || p->parts.sample.dim[0] == 3;
}

/* ---- opened with the first picture ----------------------------------------------------------- */

static int32_t kinds_of(const vn_token_preview *p) {
    return p->texts ? (int32_t)p->texts : p->parts.classes;
}

/* The texts become conditions 0, 1, .., as classes are. */
static vn_status keep_texts(const vn_token_preview *p, vn_err *err) {
    vn_condition number;
    vn_status status = VN_OK;
    for (int i = 0; i < p->texts && !status; i++)
        status = vn_model_prompt(p->model, p->text[i], &number, err);
    return status;
}

static vn_status open_arrays(vn_token_preview *p, vn_err *err) {
    const int32_t kinds = kinds_of(p);
    const int64_t tokens = p->model->tokens;
    p->count = kinds ? (int64_t)kinds * EACH : EACH * EACH;
    if (p->count > MOST) p->count = MOST;
    p->samples = vn_alloc((size_t)p->count, (size_t)p->model->size * sizeof *p->samples);
    p->labels = vn_alloc((size_t)p->count, sizeof *p->labels);
    p->codes = vn_alloc((size_t)p->count, (size_t)tokens * sizeof *p->codes);
    if (!p->samples || !p->labels || !p->codes) return vn_no_memory(err);
    for (int64_t i = 0; i < p->count; i++)
        p->labels[i] = kinds ? (int32_t)(i % kinds) : VN_LABEL_NULL;
    return VN_OK;
}

static vn_status open_preview(vn_token_preview *p, vn_values *values, vn_err *err) {
    vn_engine engine = vn_context_engine(p->vn);
    engine.watch = NULL; /* texts that are cut were told of */
    p->parts.values = values;
    vn_status status = vn_model_of_sequence(p->vn, &engine, &p->parts, &p->model, err);
    if (!status) status = keep_texts(p, err);
    if (!status) status = open_arrays(p, err);
    if (status) return status;
    const vn_sequence_options options = {.sequence = p->model->row->sequence(p->model),
                                         .guidance = p->guidance,
                                         .temperature = 1,
                                         .top_p = 1,
                                         .seed = p->seed,
                                         .capacity = p->count};
    return vn_sequence_open(&options, &p->sequence, err);
}

/* ---- a picture ------------------------------------------------------------------------------- */

/* Drawn by the weights as they are now. *stopped: somebody asked for an end. */
static vn_status draw(vn_token_preview *p, bool *stopped, vn_err *err) {
    bool done = false;
    vn_status status = vn_sequence_begin(p->sequence, p->count, 0, p->labels, p->codes, err);
    const atomic_int *cancel = p->vn->watch.cancel;
    while (!status && !done && !(*stopped = cancel && *cancel))
        status = vn_sequence_step(p->sequence, &done, err);
    if (status || *stopped) return status;
    return p->model->row->from_codes(p->model, p->count, p->codes, p->samples, err);
}

/* With the settings that vn_sample's pictures have. */
static vn_status write(const vn_token_preview *p, int64_t step, const vn_image *image,
                       const char *path, vn_err *err) {
    const vn_preview_words words = {.run = p->run,
                                    .seed = p->seed,
                                    .count = p->count,
                                    .step = step,
                                    .guidance = p->guidance,
                                    .classes = p->parts.classes,
                                    .text = p->text,
                                    .texts = p->texts};
    return vn_preview_write(&words, image, path, err);
}

vn_status vn_token_preview_draw(void *preview, vn_values *const *values, int64_t step,
                                const char *path, vn_err *err) {
    vn_token_preview *p = preview;
    bool stopped = false;
    vn_status status = p->sequence ? VN_OK : open_preview(p, values[0], err);
    if (status) {
        vn_token_preview_close(p); /* the next one tries again */
        return status;
    }
    status = draw(p, &stopped, err);
    /* Asked to stop amid a picture: the loop hears of it too, and saves. Numbers gone wild early on
     * are no failure either. */
    if (stopped || status == VN_NOT_FINITE) return VN_OK;
    if (status) return status;
    char title[96];
    vn_snprintf(title, sizeof title, "training step %lld; guidance %g, %lld tokens",
                (long long)step, p->guidance, (long long)p->model->tokens);
    const vn_band whole = {.title = title, .count = p->count};
    const int64_t *d = p->model->sample.dim;
    const vn_show show = {.samples = p->samples,
                          .count = p->count,
                          .channels = (int)d[0],
                          .height = (int)d[1],
                          .width = (int)d[2],
                          .labels = p->labels,
                          .names = (const char *const *)p->model->names,
                          .classes = kinds_of(p),
                          .texts = p->texts > 0,
                          .bands = &whole,
                          .band_count = 1};
    vn_image image = {0};
    status = vn_show_grid(&show, &image, err);
    if (!status) status = write(p, step, &image, path, err);
    vn_image_free(&image);
    return status;
}

void vn_token_preview_close(vn_token_preview *p) {
    vn_sequence_close(&p->sequence);
    vn_model_of_sequence_close(&p->model);
    vn_free(p->samples);
    vn_free(p->labels);
    vn_free(p->codes);
    p->samples = NULL;
    p->labels = p->codes = NULL;
}
