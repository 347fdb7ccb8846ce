/* autoencoder.c - an autoencoder as a program uses it: images to latents or codes, and back. Its
 * encoder and decoder are networks on one set of weights, run by autoencoder_half.c. */
#include "model/autoencoder.h"

#include <math.h>
#include <string.h>

/* ---- opening --------------------------------------------------------------------------------- */

/* The folder of a pipeline's autoencoder; the path itself where it is no pipeline. New string. */
static vn_status find_folder(const char *path, char **out, vn_err *err) {
    static const char *const folders[] = {"vae", "vqvae"};
    char *index = vn_path_join(path, "model_index.json");
    const bool pipeline = index && vn_is_file(index);
    vn_free(index);
    *out = NULL;
    for (size_t i = 0; pipeline && i < VN_COUNT(folders) && !*out; i++) {
        char *folder = vn_path_join(path, folders[i]);
        if (!folder) return vn_no_memory(err);
        if (vn_is_dir(folder))
            *out = folder;
        else
            vn_free(folder);
    }
    if (pipeline && !*out)
        return vn_fail(err, VN_UNSUPPORTED, "%s: has no autoencoder, neither vae nor vqvae", path);
    if (!*out) *out = vn_strdup(path);
    return *out ? VN_OK : vn_no_memory(err);
}

static vn_status load(vn_autoencoder *a, vn_err *err) {
    vn_model_dir dir = {0};
    vn_status status = vn_model_dir_open(a->source, &dir, err);
    if (status) return status;
    status = vn_net_open(dir.config, &a->net, err);
    if (status) {
        vn_fail_in(err, "%s/config.json", a->source);
    } else if (vn_net_get_row(a->net)->role != VN_ROLE_AUTOENCODER) {
        status = vn_fail(err, VN_UNSUPPORTED, "%s: %s is no autoencoder", a->source,
                         vn_net_get_row(a->net)->row.name);
    } else {
        status = vn_model_dir_values(&dir, a->source, &a->engine, a->net, &a->values, err);
    }
    vn_model_dir_close(&dir);
    return status;
}

vn_status vn_autoencoder_open_source(vn_context *vn, const vn_engine *engine, const char *path,
                                     vn_autoencoder **out, vn_err *err) {
    vn_autoencoder *a = vn_calloc(1, sizeof *a);
    if (!a) return vn_no_memory(err);
    a->vn = vn;
    a->engine = *engine;
    vn_status status = find_folder(path, &a->source, err);
    if (!status) status = load(a, err);
    if (!status)
        *out = a;
    else
        vn_autoencoder_free(&a);
    return status;
}

vn_status vn_autoencoder_on(vn_context *vn, const vn_engine *engine, const char *source,
                            vn_net *net, vn_values *values, vn_autoencoder **out, vn_err *err) {
    vn_autoencoder *a = *out = vn_calloc(1, sizeof *a);
    if (!a) return vn_no_memory(err);
    *a = (vn_autoencoder){.vn = vn,
                          .engine = *engine,
                          .source = vn_strdup(source),
                          .net = net,
                          .values = values,
                          .borrowed = true};
    if (a->source) return VN_OK;
    vn_autoencoder_free(out);
    return vn_no_memory(err);
}

void vn_autoencoder_free(vn_autoencoder **at) {
    vn_autoencoder *a = *at;
    if (!a) return;
    for (int i = 0; i < VN_HALF_COUNT; i++) {
        vn_runner_close(&a->runner[i]);
        vn_net_close(&a->half[i]);
    }
    if (!a->borrowed) vn_values_close(&a->values);
    if (!a->borrowed) vn_net_close(&a->net);
    vn_free(a->outputs);
    vn_free(a->source);
    vn_free(a);
    *at = NULL;
}

const vn_net *vn_autoencoder_net(const vn_autoencoder *a) {
    return a->net;
}

vn_context *vn_autoencoder_context(const vn_autoencoder *a) {
    return a->vn;
}

const char *vn_autoencoder_folder(const vn_autoencoder *a) {
    return a->source;
}

bool vn_autoencoder_hash(const vn_autoencoder *a, uint64_t *hash) {
    const vn_model_part part = {.net = a->net, .values = a->values};
    char *config = vn_json_text(vn_net_config(a->net), JSON_COMPACT | JSON_SORT_KEYS);
    if (!config) return false;
    *hash = vn_hash_text(*hash, config);
    vn_free(config);
    return vn_hash_part(&part, hash);
}

/* ---- latents --------------------------------------------------------------------------------- */

/* What an image is encoded to, before anything is made of it. */
typedef struct encoded {
    int64_t n, channels, pixels; /* of the latents */
    bool normal;                 /* raw has means, then log variances; else latents */
    const float *raw;
    const float *codes;
} encoded;

static const double least = -30, most = 20; /* of a log variance */

static double log_variance(const encoded *e, int64_t i, int64_t k) {
    const double x = (double)e->raw[i * 2 * e->channels * e->pixels + e->channels * e->pixels + k];
    return x < least ? least : x > most ? most : x;
}

/* z as a diffusion model sees it, or back. */
static void scale(const vn_latents *l, const encoded *e, bool back, float *z) {
    for (int64_t i = 0; i < e->n * e->channels; i++) {
        const int64_t c = i % e->channels;
        const double by = l->scale / (l->deviation ? l->deviation[c] : 1),
                     from = l->shift + (l->mean ? l->mean[c] : 0);
        for (int64_t k = i * e->pixels; k < (i + 1) * e->pixels; k++)
            z[k] = (float)(back ? (double)z[k] / by + from : ((double)z[k] - from) * by);
    }
}

/* The means, or the latents of an autoencoder that has no more than those; drawn where asked. */
static void give_latents(const vn_autoencoder *a, const vn_coding *how, const encoded *e,
                         float *to) {
    const int64_t each = e->channels * e->pixels, stride = e->normal ? 2 * each : each;
    for (int64_t i = 0; i < e->n; i++) {
        float *z = to + i * each;
        const float *mean = e->raw + i * stride;
        if (how->draw && e->normal)
            vn_random_normal(z, (size_t)each, how->seed, VN_STREAM_LATENT, how->first + (uint64_t)i,
                             0);
        for (int64_t k = 0; k < each; k++) {
            const double by = how->draw && e->normal ? exp(log_variance(e, i, k) / 2) : 0;
            z[k] = (float)((double)mean[k] + (by > 0 ? by * (double)z[k] : 0));
        }
    }
    if (how->scaled) scale(vn_autoencoder_latents(a), e, false, to);
}

static void give_moment(const encoded *e, bool variance, float *to) {
    const int64_t each = e->channels * e->pixels;
    for (int64_t i = 0; i < e->n; i++)
        for (int64_t k = 0; k < each; k++)
            to[i * each + k] = variance ? (float)log_variance(e, i, k) : e->raw[i * 2 * each + k];
}

static void give_codes(const encoded *e, float *to) {
    int32_t *whole = (int32_t *)(void *)to;
    for (int64_t i = 0; i < e->n * e->pixels; i++) whole[i] = (int32_t)e->codes[i];
}

enum { LATENTS, MEAN, LOGVAR, CODES, OUTPUTS };
_Static_assert((int)OUTPUTS == (int)VN_ENCODED, "all of them");
static const char *const outputs[OUTPUTS] = {"latents", "mean", "logvar", "codes"};

static vn_status find_output(const vn_autoencoder *a, const char *name, int *which, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(a->net);
    const char *kind = vn_net_get_row(a->net)->row.name;
    for (*which = 0; *which < OUTPUTS; ++*which)
        if (!strcmp(name, outputs[*which])) break;
    if (*which == OUTPUTS) {
        const char *near = vn_nearest(name, outputs, OUTPUTS);
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s gives no \"%.64s\" but latents, mean, logvar and codes%s%s%s", kind,
                       name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    if (*which == LATENTS || vn_net_output(io, name)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s has no %s", kind, name);
}

static vn_status check_drawing(const vn_autoencoder *a, const vn_coding *how, vn_err *err) {
    if (!how->draw || vn_net_output(vn_net_get_io(a->net), "logvar")) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "draw: %s has one latent for an image, and none to draw",
                   vn_net_get_row(a->net)->row.name);
}

/* Memory for the outputs and, after them, for `more` numbers, whose place is *raw. */
static vn_status place(vn_autoencoder *a, const encoded *e, size_t n, vn_array *out,
                       const int *which, int64_t more, float **raw, vn_err *err) {
    int64_t total = more;
    for (size_t i = 0; i < n; i++)
        total += e->n * e->pixels * (which[i] == CODES ? 1 : e->channels);
    float *next = a->outputs = vn_alloc((size_t)total, sizeof *next);
    if (!next) return vn_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        out[i].data = next;
        next += e->n * e->pixels * (which[i] == CODES ? 1 : e->channels);
    }
    *raw = next;
    return VN_OK;
}

static void shape_output(const encoded *e, int which, int64_t rows, vn_array *out) {
    const int64_t columns = e->pixels / rows;
    out->dtype = which == CODES ? VN_I32 : VN_F32;
    out->shape =
        which == CODES ? VN_SHAPE(e->n, rows, columns) : VN_SHAPE(e->n, e->channels, rows, columns);
}

static void give(const vn_autoencoder *a, const vn_coding *how, const encoded *e, int which,
                 float *to) {
    if (which == LATENTS) give_latents(a, how, e, to);
    if (which == MEAN || which == LOGVAR) give_moment(e, which == LOGVAR, to);
    if (which == CODES) give_codes(e, to);
}

/* An array as floats: *copy (to be freed) where it has others. */
static vn_status as_floats(vn_array *x, float **copy, vn_err *err) {
    *copy = NULL;
    if (x->dtype == VN_F32 && (uintptr_t)x->data % _Alignof(float) == 0) return VN_OK;
    *copy = vn_alloc((size_t)vn_shape_count(&x->shape), sizeof **copy);
    if (!*copy) return vn_no_memory(err);
    vn_array_read_f32(x, *copy);
    x->dtype = VN_F32;
    x->data = *copy;
    return VN_OK;
}

static vn_status check_encoding(vn_autoencoder *a, const vn_coding *how, const vn_array *sample,
                                size_t n_out, const vn_array *out, int *which, vn_err *err) {
    vn_status status = vn_half_check_tile(a, how->tile, err);
    if (!status) status = check_drawing(a, how, err);
    for (size_t i = 0; i < n_out && !status; i++)
        status = find_output(a, out[i].name, &which[i], err);
    return status ? status : vn_half_check_input(a, VN_HALF_ENCODER, sample, err);
}

static vn_status encode(vn_autoencoder *a, const vn_coding *how, const vn_array *images,
                        size_t n_out, vn_array *out, vn_err *err) {
    const vn_latents *l = vn_autoencoder_latents(a);
    int which[VN_ENCODED] = {0};
    vn_array sample = *images;
    sample.name = "sample";
    vn_status status = check_encoding(a, how, &sample, n_out, out, which, err);
    if (status) return status;
    const int64_t *d = sample.shape.dim, rows = d[2] / l->factor;
    encoded e = {.n = d[0],
                 .channels = l->channels,
                 .pixels = rows * (d[3] / l->factor),
                 .normal = vn_net_output(vn_net_get_io(a->net), "logvar") != NULL};
    const int64_t raw = e.channels * e.pixels * (e.normal ? 2 : 1), codes = l->codes ? e.pixels : 0;
    float *at = NULL, *copy = NULL;
    status = place(a, &e, n_out, out, which, e.n * (raw + codes), &at, err);
    if (!status) status = as_floats(&sample, &copy, err);
    if (status) return status;
    vn_half_call r = {.a = a,
                      .half = VN_HALF_ENCODER,
                      .in = &sample,
                      .fetches = codes ? 2 : 1,
                      .out = {{e.normal ? "moments" : "latents", at}, {"codes", at + e.n * raw}},
                      .floats = {raw, codes}};
    status = vn_half_run(&r, how->tile, err);
    vn_free(copy);
    e.raw = at;
    e.codes = at + e.n * raw;
    float *to = a->outputs;
    for (size_t i = 0; i < n_out && !status; i++) {
        shape_output(&e, which[i], rows, &out[i]);
        give(a, how, &e, which[i], to);
        to += vn_shape_count(&out[i].shape);
    }
    return status;
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* Latents as floats of the autoencoder's own scale: a copy, to be freed. */
static vn_status unscaled(const vn_autoencoder *a, const vn_coding *how, vn_array *z, float **copy,
                          vn_err *err) {
    const int64_t *d = z->shape.dim;
    *copy = vn_alloc((size_t)vn_shape_count(&z->shape), sizeof **copy);
    if (!*copy) return vn_no_memory(err);
    vn_array_read_f32(z, *copy);
    z->dtype = VN_F32;
    z->data = *copy;
    const encoded e = {.n = d[0], .channels = d[1], .pixels = d[2] * d[3]};
    if (how->scaled) scale(vn_autoencoder_latents(a), &e, true, *copy);
    return VN_OK;
}

static vn_status decode(vn_autoencoder *a, const vn_coding *how, const vn_array *in, vn_array *out,
                        vn_err *err) {
    const bool looked_up = !strcmp(in->name, "codes");
    const vn_half half = looked_up ? VN_HALF_LOOKUP : VN_HALF_DECODER;
    vn_status status = vn_half_check_tile(a, how->tile, err);
    if (status) return status;
    if (!looked_up && strcmp(in->name, "latents") != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s decodes latents or codes, not \"%.64s\"",
                       vn_net_get_row(a->net)->row.name, in->name);
    vn_array sample = *in;
    if (!looked_up) sample.name = "sample";
    status = vn_half_check_input(a, half, &sample, err);
    if (status) return status;
    const int64_t *d = in->shape.dim, rank = in->shape.rank;
    const vn_extent extent = {.batch = d[0], .height = d[rank - 2], .width = d[rank - 1]};
    const vn_shape whole =
        vn_port_shape(vn_net_output(vn_net_get_io(a->half[half]), "decoded"), &extent);
    float *copy = NULL;
    a->outputs = vn_alloc((size_t)vn_shape_count(&whole), sizeof *a->outputs);
    if (!a->outputs) return vn_no_memory(err);
    if (!looked_up) status = unscaled(a, how, &sample, &copy, err);
    vn_half_call r = {.a = a,
                      .half = half,
                      .in = &sample,
                      .fetches = 1,
                      .out = {{"decoded", a->outputs}},
                      .floats = {vn_shape_count(&whole) / d[0]}};
    if (!status) status = vn_half_run(&r, how->tile, err);
    vn_free(copy);
    *out = (vn_array){"decoded", VN_F32, whole, a->outputs};
    return status;
}

/* A product with the transposed derivative of a half by its input, which was checked. */
static vn_status derive(vn_autoencoder *a, vn_half half, const char *output, const vn_array *sample,
                        const float *direction, float *out, vn_err *err) {
    const int64_t *d = sample->shape.dim;
    const vn_net_spec spec = {.extent = {.batch = 1, .height = d[2], .width = d[3]}};
    const vn_feed feed = {.array = *sample};
    return vn_runner_derive(a->runner[half], &spec, VN_VJP, output, 1, &feed, direction, out, err);
}

vn_status vn_autoencoder_decode_vjp(vn_autoencoder *a, const vn_coding *how, const vn_array *in,
                                    const float *direction, float *out, vn_err *err) {
    const vn_latents *l = vn_autoencoder_latents(a);
    vn_array sample = *in;
    float *copy = NULL;
    sample.name = "sample";
    if (l->codes)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s rounds latents to codes, so that pictures have no derivative by them",
                       vn_net_get_row(a->net)->row.name);
    vn_status status = vn_half_check_input(a, VN_HALF_DECODER, &sample, err);
    if (!status) status = unscaled(a, how, &sample, &copy, err);
    const int64_t *d = sample.shape.dim, pixels = d[2] * d[3];
    if (!status) status = derive(a, VN_HALF_DECODER, "decoded", &sample, direction, out, err);
    vn_free(copy);
    for (int64_t i = 0; i < d[1] * pixels && how->scaled && !status; i++) {
        const double by = l->scale / (l->deviation ? l->deviation[i / pixels] : 1);
        out[i] = (float)((double)out[i] / by);
    }
    return status;
}

vn_status vn_autoencoder_encode_vjp(vn_autoencoder *a, const vn_coding *how, const vn_array *in,
                                    const float *direction, float *out, vn_err *err) {
    const vn_latents *l = vn_autoencoder_latents(a);
    vn_array sample = *in;
    sample.name = "sample";
    vn_status status = vn_half_check_input(a, VN_HALF_ENCODER, &sample, err);
    if (status) return status;
    const int64_t *d = sample.shape.dim, pixels = d[2] * d[3] / l->factor / l->factor,
                  numbers = l->channels * pixels;
    const bool normal = vn_net_output(vn_net_get_io(a->net), "logvar") != NULL;
    float *by = vn_alloc((size_t)numbers, sizeof *by);
    if (!by) return vn_no_memory(err);
    for (int64_t i = 0; i < numbers; i++) {
        const double scaled = l->scale / (l->deviation ? l->deviation[i / pixels] : 1);
        by[i] = how->scaled ? (float)(scaled * (double)direction[i]) : direction[i];
    }
    status = derive(a, VN_HALF_ENCODER, normal ? "mean" : "latents", &sample, by, out, err);
    vn_free(by);
    return status;
}

/* ---- the calls: what the one before gave may be what this one takes -------------------------- */

vn_status vn_autoencoder_encode_arrays(vn_autoencoder *a, const vn_coding *how,
                                       const vn_array *images, size_t n_out, vn_array *out,
                                       vn_err *err) {
    float *before = a->outputs;
    a->outputs = NULL;
    const vn_status status = encode(a, how, images, n_out, out, err);
    vn_free(before);
    return status;
}

vn_status vn_autoencoder_decode_array(vn_autoencoder *a, const vn_coding *how, const vn_array *in,
                                      vn_array *out, vn_err *err) {
    float *before = a->outputs;
    a->outputs = NULL;
    const vn_status status = decode(a, how, in, out, err);
    vn_free(before);
    return status;
}
