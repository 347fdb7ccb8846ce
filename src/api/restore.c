/* restore.c - restoration and SDEdit: what was observed is read and checked, and stands with its
 * operator and rule around the model's denoiser; samples may begin from others. */
#include "api/internal.h"

#include <math.h>
#include <string.h>

void vn_callback_operator_init(vn_callback_operator *o, size_t size) {
    static const vn_callback_operator initial = {.rank = 1, .shape = {1}};
    vn_struct_init(o, size, &initial, sizeof initial);
}

/* ---- options --------------------------------------------------------------------------------- */

static vn_status no_effect(const char *name, const char *beside, vn_err *err) {
    return vn_fail(err, VN_BAD_ARGUMENT, "%s has no effect without %s", name, beside);
}

static vn_status check_restoration(const vn_sample_options *o, vn_err *err) {
    if (!o->restore) {
        const char *name = o->forward_operator || o->user_operator ? "an operator"
                           : o->operator_array                     ? "operator_array"
                           : o->observed_file || o->observed       ? "an observation"
                           : o->noise_level != 0                   ? "a noise level"
                                                                   : NULL;
        return name ? no_effect(name, "a rule: `restore`, such as mmps or dps", err) : VN_OK;
    }
    vn_choice rule;
    const vn_status unknown = vn_choice_parse(o->restore, &vn_restorers, &rule, err);
    if (unknown) return unknown;
    if (!o->forward_operator && !o->user_operator)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "restoration needs an operator, such as downsample:factor=4: what was observed");
    if (!o->observed_file && !o->observed)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "restoration needs an observation: a picture or an array");
    if (o->forward_operator && o->user_operator)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "forward_operator and user_operator exclude each other");
    if (o->observed_file && o->observed)
        return vn_fail(err, VN_BAD_ARGUMENT, "observed_file and observed exclude each other");
    if (o->operator_array && o->user_operator)
        return no_effect("operator_array", "an operator of the table", err);
    if (vn_guides_need(o->guide) & VN_NEEDS_VJP)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "the guides %s and the restorer %s cannot be combined: a restored "
                       "prediction has no derivatives",
                       o->guide, o->restore);
    return VN_OK;
}

vn_status vn_observing_check(const vn_sample_options *o, vn_err *err) {
    const vn_status status = check_restoration(o, err);
    if (status) return status;
    if (o->init_file && o->init)
        return vn_fail(err, VN_BAD_ARGUMENT, "init_file and init exclude each other");
    if (!o->init_file && !o->init) {
        if (o->strength != 0) return no_effect("strength", "an init to begin from", err);
        return o->invert ? no_effect("invert", "an init to begin from", err) : VN_OK;
    }
    if (o->strength != 0 && o->sigmas)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "sigmas say where sampling begins: a strength beside them would have no "
                       "effect");
    if (o->begin)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "begin has no effect beside an init: its noise is that of the level");
    if (o->invert && (o->noise || o->noise_file))
        return vn_fail(err, VN_BAD_ARGUMENT, "invert finds the noise: another has no effect");
    if (o->invert && o->restore)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "invert and restore exclude each other: what is inverted is known");
    return VN_OK;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* Something that was given as a file or an array. */
typedef struct source {
    vn_safetensors *file;
    vn_array array;
    float *pixels; /* of a picture */
} source;

static void close_source(source *s) {
    vn_safetensors_close(&s->file);
    vn_free(s->pixels);
}

/* A picture as an array [channels, height, width]; from 0 (black) or -1 to 1. channels 0: its
 * own. */
static vn_status read_picture(const char *path, int channels, float least, source *s, vn_err *err) {
    vn_image image = {0};
    vn_status status = vn_image_read(path, &image, err);
    if (!status && channels && image.channels != channels) {
        if (channels == 1 || channels == 3)
            status = vn_image_set_channels(&image, channels, err);
        else
            status = vn_fail(err, VN_BAD_ARGUMENT,
                             "%s: a picture has 1 or 3 channels, not the %d that are needed", path,
                             channels);
    }
    if (!status) {
        const int64_t pixels = (int64_t)image.width * image.height;
        s->array = (vn_array){.name = path,
                              .dtype = VN_F32,
                              .shape = VN_SHAPE(image.channels, image.height, image.width)};
        s->pixels = vn_alloc((size_t)(pixels * image.channels), sizeof *s->pixels);
        if (!s->pixels) status = vn_no_memory(err);
        for (int64_t i = 0; i < pixels * image.channels && !status; i++)
            s->pixels[i % image.channels * pixels + i / image.channels] =
                least + (1 - least) * (float)image.pixels[i] / 255;
        s->array.data = s->pixels;
    }
    vn_image_free(&image);
    return status;
}

/* file: a picture or a .safetensors with the tensor `name`. */
static vn_status open_source(const char *file, const vn_array *array, const char *name,
                             int channels, float least, source *s, vn_err *err) {
    *s = (source){0};
    if (array) {
        if (!array->data) return vn_fail(err, VN_BAD_ARGUMENT, "the array %s has no data", name);
        s->array = *array;
        return VN_OK;
    }
    if (vn_image_named(file)) return read_picture(file, channels, least, s, err);
    const vn_array *found = NULL;
    vn_status status = vn_safetensors_open(file, &s->file, err);
    if (!status) status = vn_safetensors_get(s->file, name, &found, err);
    if (!status) s->array = *found;
    return status;
}

/* Rows of an array of [one], or [N, one]: N, or 0 where it is neither. */
static int64_t rows_of(const vn_shape *shape, const vn_shape *one) {
    if (vn_shape_equal(shape, one)) return 1;
    if (shape->rank != one->rank + 1) return 0;
    const vn_shape rest = vn_shape_make(one->rank, shape->dim + 1);
    return vn_shape_equal(&rest, one) ? shape->dim[0] : 0;
}

/* Numbers of rows of `one` [*rows, one], a new array, finite. what: "observed". */
static vn_status take_rows(const source *s, const char *what, const char *of, const vn_shape *one,
                           vn_drawing *d, float **out, int64_t *rows, vn_err *err) {
    char given[128], needed[128];
    *rows = rows_of(&s->array.shape, one);
    if (!*rows)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s has the size %s; %s has %s, alone or N of them",
                       what, vn_shape_text(&s->array.shape, given), of, vn_shape_text(one, needed));
    const bool open = !d->o.count && !d->noise; /* how many samples there are is open */
    if (*rows > 1 && open && d->count_given <= 1) d->count = d->count_given = *rows;
    if (*rows > 1 && *rows != d->count)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s is %lld, for %lld samples: one each, or one", what,
                       (long long)*rows, (long long)d->count);
    const int64_t n = *rows * vn_shape_count(one);
    *out = vn_alloc((size_t)n, sizeof **out);
    if (!*out) return vn_no_memory(err);
    vn_array_read_f32(&s->array, *out);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite((*out)[i]))
            return vn_fail(err, VN_BAD_ARGUMENT, "%s: number %lld is %s", what, (long long)i,
                           isnan((*out)[i]) ? "NaN" : "infinite");
    return VN_OK;
}

/* ---- the operator and its observation -------------------------------------------------------- */

static vn_status decode_one(void *model, const float *x, float *shown, vn_err *err) {
    return vn_model_decode(model, 1, x, shown, err);
}

static vn_status decode_vjp(void *model, const float *x, const float *direction, float *out,
                            vn_err *err) {
    return vn_model_decode_vjp(model, x, direction, out, err);
}

static vn_status encode_one(void *model, const float *shown, float *x, vn_err *err) {
    return vn_model_encode(model, 1, shown, x, err);
}

static vn_status encode_vjp(void *model, const float *shown, const float *direction, float *out,
                            vn_err *err) {
    return vn_model_encode_vjp(model, shown, direction, out, err);
}

/* Whether the rule puts latents in the place of what is known, as it is itself decoded. */
static bool replaces_latents(const vn_drawing *d) {
    return d->m->shown.rank && vn_restorer_replaces(d->o.restore);
}

/* The mask of pictures as one of latents, which becomes the operator's array and is its. */
static vn_status mask_latents(vn_drawing *d, const vn_operator_row *row, vn_array *mask,
                              vn_err *err) {
    const char *name = row ? row->row.name : "a program's own operator", *rule = d->o.restore;
    const vn_shape *shown = &d->m->shown, *sample = &d->m->sample;
    if (!row || strcmp(name, "mask") != 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s puts latents in the place of what is known, as a mask alone can say; "
                       "with %s there are dps, psld, daps and red-diff",
                       rule, name);
    if (d->o.noise_level != 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s puts latents in the place of what is known, and a noise level of "
                       "pictures is none of latents: 0, or dps, psld, daps and red-diff",
                       rule);
    if (!mask->data) return VN_OK; /* which the operator refuses */
    float *of_latents = vn_alloc((size_t)(sample->dim[1] * sample->dim[2]), sizeof *of_latents);
    d->observing.mask = vn_alloc((size_t)vn_shape_count(shown), sizeof(float));
    vn_status status = of_latents && d->observing.mask ? VN_OK : vn_no_memory(err);
    if (!status) status = vn_mask_reduce(mask, shown, sample, d->observing.mask, of_latents, err);
    if (status)
        vn_free(of_latents);
    else
        *mask = (vn_array){"mask", VN_F32, VN_SHAPE(sample->dim[1], sample->dim[2]), of_latents};
    return status;
}

static vn_status open_operator(vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    vn_observing *r = &d->observing;
    char file[VN_MAX_CHOICE_TEXT] = "";
    const vn_operator_row *row = NULL;
    source s = {0};
    vn_status status = VN_OK;
    if (o->user_operator) {
        r->user = vn_callback_operator_default();
        status =
            vn_struct_take(&r->user, sizeof r->user, o->user_operator, "vn_callback_operator", err);
    } else {
        status = vn_operator_file(o->forward_operator, &row, file, err);
    }
    if (status) return status;
    if (row && row->array && file[0] && o->operator_array)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: file and operator_array exclude each other",
                       row->row.name);
    const bool given = row && row->array && (file[0] || o->operator_array);
    if (given) status = open_source(file, o->operator_array, row->array, 1, 0, &s, err);
    vn_array mask = given ? s.array : (vn_array){0};
    const bool in_latents = replaces_latents(d);
    if (!status && in_latents) status = mask_latents(d, row, &mask, err);
    const vn_decoding decoding = {.shown = d->m->shown,
                                  .decode = decode_one,
                                  .vjp = decode_vjp,
                                  .encode = encode_one,
                                  .encode_vjp = encode_vjp,
                                  .self = d->m};
    const vn_operator_options options = {
        .text = o->forward_operator,
        .user = o->user_operator ? &r->user : NULL,
        .given = given ? &mask : o->operator_array,
        .sample = d->m->sample,
        .decoding = d->m->shown.rank && !in_latents ? &decoding : NULL,
    };
    if (!status) status = vn_operator_open(&options, &r->operator, err);
    if (status == VN_BAD_ARGUMENT && file[0]) vn_fail_in(err, "%s", file);
    if (r->mask && mask.data != s.array.data) vn_free((void *)(uintptr_t)mask.data);
    close_source(&s);
    return status;
}

/* Pictures, with grey where they are not known, become latents. */
static vn_status encode_observed(vn_drawing *d, float **y, vn_err *err) {
    const vn_observing *r = &d->observing;
    const int64_t shown = vn_shape_count(&d->m->shown);
    float *x = vn_alloc((size_t)r->observations, (size_t)d->m->size * sizeof *x);
    for (int64_t i = 0; i < r->observations * shown; i++) (*y)[i] *= r->mask[i % shown];
    const vn_status status =
        x ? vn_model_encode(d->m, r->observations, *y, x, err) : vn_no_memory(err);
    vn_free(*y);
    *y = x;
    return status;
}

static vn_status read_observed(vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    vn_observing *r = &d->observing;
    const vn_shape *one = r->mask ? &d->m->shown : &r->operator->observed;
    const char *what = o->observed_file ? o->observed_file : "observed";
    source s;
    float *y = NULL;
    vn_status status = open_source(o->observed_file, o->observed, "observed",
                                   vn_shape_is_image(one) ? (int)one->dim[0] : 0, -1, &s, err);
    if (!status)
        status = take_rows(&s, what, "what the operator gives", one, d, &y, &r->observations, err);
    if (!status && r->mask) status = encode_observed(d, &y, err);
    const int64_t n = r->observations * r->operator->count;
    if (!status && !(r->observed = vn_alloc((size_t)n, sizeof *r->observed)))
        status = vn_no_memory(err);
    for (int64_t i = 0; i < n && !status; i++) r->observed[i] = (double)y[i];
    for (int64_t i = 0; i < n && !status && r->operator->row->take; i += r->operator->count)
        r->operator->row->take(r->operator, r->observed + i);
    vn_free(y);
    close_source(&s);
    return status;
}

/* What is begun from are samples; they are given as they are shown. */
static vn_status encode_init(vn_drawing *d, vn_err *err) {
    vn_observing *r = &d->observing;
    float *x = vn_alloc((size_t)r->inits, (size_t)d->m->size * sizeof *x);
    const vn_status status =
        x ? vn_model_encode(d->m, r->inits, r->init, x, err) : vn_no_memory(err);
    vn_free(r->init);
    r->init = x;
    return status;
}

static vn_status read_init(vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    vn_observing *r = &d->observing;
    const vn_shape *one = vn_model_shown(d->m);
    source s;
    vn_status status = open_source(o->init_file, o->init, "samples",
                                   vn_shape_is_image(one) ? (int)one->dim[0] : 0, -1, &s, err);
    if (!status)
        status = take_rows(&s, o->init_file ? o->init_file : "init", "a sample", one, d, &r->init,
                           &r->inits, err);
    close_source(&s);
    return !status && d->m->shown.rank ? encode_init(d, err) : status;
}

/* ---- a drawing's part ------------------------------------------------------------------------ */

static vn_status choose_sampler(vn_sample_options *o, vn_err *err) {
    bool only = false;
    const char *own = o->invert ? "ddim" : o->restore ? vn_restorer_sampler(o->restore, &only) : 0;
    if (!o->sampler) o->sampler = own;
    if (!own || !only || !strcmp(o->sampler, own)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the restorer %s is valid with the sampler %s; not with %s", o->restore, own,
                   o->sampler);
}

vn_status vn_observing_open(vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    vn_status status = choose_sampler(&d->o, err);
    if (!status && o->restore) status = open_operator(d, err);
    if (!status && o->restore) status = read_observed(d, err);
    if (!status && (o->init_file || o->init)) status = read_init(d, err);
    return status;
}

/* Whether a prediction may take more than one pass. */
static bool is_guided(const vn_drawing *d) {
    const vn_sample_options *o = &d->o;
    bool classes = false;
    if (o->guide && strcmp(o->guide, "cfg") != 0) return true;
    for (int64_t i = 0; i < d->count && !classes; i++)
        classes = vn_drawing_label(d, i) != VN_LABEL_NULL;
    return classes && o->guidance != 0 && o->guidance != 1;
}

vn_status vn_observing_restore(vn_drawing *d, vn_err *err) {
    vn_observing *r = &d->observing;
    if (r->init && !(r->scratch = vn_alloc((size_t)d->batch, (size_t)d->m->size * sizeof(float))))
        return vn_no_memory(err);
    if (!d->o.restore) return VN_OK;
    const vn_restoration_options options = {.rule = d->o.restore,
                                            .denoiser = &d->denoiser,
                                            .operator= r->operator,
                                            .observed = r->observed,
                                            .observations = r->observations,
                                            .first = d->o.first,
                                            .noise = d->o.noise_level,
                                            .guided = is_guided(d),
                                            .seed = d->o.seed,
                                            .capacity = d->batch};
    return vn_restoration_open(&options, &r->restoration, err);
}

void vn_observing_close(vn_observing *r) {
    vn_restoration_close(&r->restoration);
    vn_operator_close(&r->operator);
    vn_free(r->observed);
    vn_free(r->mask);
    vn_free(r->init);
    vn_free(r->scratch);
    *r = (vn_observing){0};
}

const vn_denoiser *vn_drawing_denoiser(const vn_drawing *d) {
    return d->observing.restoration ? vn_restoration_denoiser(d->observing.restoration)
                                    : &d->denoiser;
}

const float *vn_observing_init(vn_drawing *d, int64_t first, int64_t n) {
    vn_observing *r = &d->observing;
    const int64_t size = d->m->size;
    if (!r->init) return NULL;
    if (r->inits > 1) return r->init + first * size;
    for (int64_t i = 0; i < n; i++)
        memcpy(r->scratch + i * size, r->init, (size_t)size * sizeof *r->init);
    return r->scratch;
}

void vn_observing_compare(vn_drawing *d, const vn_trajectory_batch *batch) {
    vn_observing *r = &d->observing;
    const int64_t n = batch->n * d->m->size;
    if (!batch->begun) return;
    for (int64_t i = 0; i < n; i++) {
        const double apart = (double)batch->x[i] - (double)batch->init[i];
        r->square += apart * apart;
    }
    r->numbers += n;
}

double vn_observing_round_trip(const vn_drawing *d) {
    const vn_observing *r = &d->observing;
    return r->numbers ? sqrt(r->square / (double)r->numbers) : (double)NAN;
}

/* ---- what is remembered of it ---------------------------------------------------------------- */

static bool note(json_t *to, const char *key, const char *text) {
    return !text || json_object_set_new(to, key, vn_json_string(text)) == 0;
}

static bool note_number(json_t *to, const char *key, double value) {
    char text[32];
    vn_number_text(text, value);
    return note(to, key, text);
}

bool vn_observing_note(const vn_drawing *d, json_t *to) {
    const vn_sample_options *o = &d->o;
    const char *user = o->user_operator ? d->observing.user.name : NULL;
    bool ok = note(to, "restore", o->restore);
    if (ok && o->restore)
        ok = note(to, "operator",
                  o->user_operator ? (user ? user : "callback") : o->forward_operator) &&
             note(to, "observe", o->observed_file) &&
             note_number(to, "noise-level", o->noise_level);
    if (ok && d->observing.init) ok = note(to, "init", o->init_file);
    if (ok && d->observing.init && !o->sigmas) ok = note_number(to, "strength", o->strength);
    if (ok && o->invert) ok = note_number(to, "invert", (double)o->invert);
    return ok;
}
