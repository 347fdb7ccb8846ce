/* autoencoder.c - an autoencoder as a program uses it: images to latents or codes, and back. Its
 * encoder and decoder are networks on one set of weights. A batch is run in slices, and a large
 * image in parts, where memory asks for it (tiles.c). */
#include "model/internal.h"

#include <math.h>
#include <string.h>

#define PASS_BYTES ((size_t)256 << 20) /* that a slice of several images may take */

struct vn_autoencoder {
    vn_context *vn;
    vn_engine engine;
    char *source;
    vn_net *net;
    vn_values *values;
    bool borrowed;               /* the two are somebody else's */
    vn_net *half[VN_HALF_COUNT]; /* opened on first use, and their runners */
    vn_runner *runner[VN_HALF_COUNT];
    float *outputs; /* of the latest call */
};

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

static const vn_latents *latents_of(const vn_autoencoder *a) {
    return &vn_net_get_io(a->net)->latents;
}

static vn_status open_half(vn_autoencoder *a, vn_half half, vn_err *err) {
    if (a->runner[half]) return VN_OK;
    vn_status status = a->half[half] ? VN_OK : vn_net_open_half(a->net, half, &a->half[half], err);
    if (!status)
        status = vn_runner_open(a->half[half], a->engine.device, a->values, &a->runner[half], err);
    return status ? vn_fail_in(err, "%s", a->source) : VN_OK;
}

/* ---- one half on a batch --------------------------------------------------------------------- */

/* What a half is run on, and what is taken of it. */
typedef struct half_run {
    vn_autoencoder *a;
    vn_half half;
    const vn_array *in;    /* [n,..] */
    int64_t rows, columns; /* of the input */
    int fetches;
    vn_fetch out[2];
    int64_t floats[2]; /* of one sample, of each output */
} half_run;

static vn_status run_slice(const half_run *r, int64_t first, int64_t n, vn_err *err) {
    vn_feed feed = {.array = *r->in};
    const int64_t each = vn_shape_count(&r->in->shape) / r->in->shape.dim[0];
    vn_fetch out[2];
    feed.array.shape.dim[0] = n;
    feed.array.data =
        (const char *)r->in->data + (size_t)(first * each) * vn_dtype_size(r->in->dtype);
    for (int i = 0; i < r->fetches; i++)
        out[i] = (vn_fetch){r->out[i].name, r->out[i].data + first * r->floats[i]};
    const vn_net_spec spec = {.extent = {.batch = n, .height = r->rows, .width = r->columns}};
    return vn_runner_run(r->a->runner[r->half], &spec, 1, &feed, r->fetches, out, err);
}

/* So many at once as PASS_BYTES allow. */
static vn_status run_slices(const half_run *r, vn_err *err) {
    const int64_t n = r->in->shape.dim[0];
    const vn_extent extent = {.batch = n, .height = r->rows, .width = r->columns};
    int64_t slice = 1;
    vn_status status = vn_net_rows_within(r->a->half[r->half], r->a->engine.device, &extent,
                                          PASS_BYTES, &slice, err);
    for (int64_t i = 0; i < n && !status; i += slice)
        status = run_slice(r, i, n - i < slice ? n - i : slice, err);
    return status;
}

static vn_status run_tile(void *self, int64_t rows, int64_t columns, const float *in, float *out,
                          vn_err *err) {
    const half_run *r = self;
    const vn_feed feed = {
        .array = {"sample", VN_F32, VN_SHAPE(1, r->in->shape.dim[1], rows, columns), in}};
    const vn_net_spec spec = {.extent = {.batch = 1, .height = rows, .width = columns}};
    return vn_runner_run(r->a->runner[r->half], &spec, 1, &feed, 1,
                         &(vn_fetch){r->out[0].name, out}, err);
}

static vn_status run_tiles(const half_run *r, int64_t tile, vn_err *err) {
    const vn_latents *l = latents_of(r->a);
    const bool up = r->half == VN_HALF_DECODER;
    const vn_port *port = vn_net_output(vn_net_get_io(r->a->half[r->half]), r->out[0].name);
    const int64_t n = r->in->shape.dim[0], each = vn_shape_count(&r->in->shape) / n;
    const vn_tiles t = {.n = 1,
                        .channels = r->in->shape.dim[1],
                        .rows = r->rows,
                        .columns = r->columns,
                        .out_channels = port->shape.dim[1],
                        .tile = up ? tile / l->factor : tile,
                        .reduced = port->reduced ? port->reduced : 1,
                        .enlarged = port->enlarged ? port->enlarged : 1,
                        .ramps = l->ramps,
                        .run = run_tile,
                        .self = (void *)r};
    vn_status status = VN_OK;
    for (int64_t i = 0; i < n && !status; i++)
        status = vn_tiles_run(&t, (const float *)r->in->data + i * each,
                              r->out[0].data + i * r->floats[0], err);
    return status;
}

/* ---- whole or in parts ----------------------------------------------------------------------- */

/* Parts must have whole latents in what they overlap by. */
static vn_status check_tile(const vn_autoencoder *a, int64_t tile, vn_err *err) {
    const vn_latents *l = latents_of(a);
    const char *name = vn_net_get_row(a->net)->row.name;
    const int64_t unit = (l->ramps ? 16 : 4) * l->factor;
    if (tile <= 0) return VN_OK;
    if (!l->tile)
        return vn_fail(err, VN_UNSUPPORTED, "tile: %s takes images as a whole alone", name);
    if (tile % unit == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "tile: %lld is not a multiple of %lld, as parts of %s are",
                   (long long)tile, (long long)unit, name);
}

/* The side of the parts that an image is run in; 0: it is run whole. */
static vn_status choose_tile(const half_run *r, int64_t asked, int64_t *tile, vn_err *err) {
    const vn_latents *l = latents_of(r->a);
    const int64_t unit = r->half == VN_HALF_ENCODER ? 1 : l->factor, rows = r->rows * unit,
                  columns = r->columns * unit;
    *tile = asked > 0 ? asked : l->tile;
    if (asked < 0 || r->half == VN_HALF_LOOKUP || !*tile || (rows <= *tile && columns <= *tile))
        *tile = 0;
    if (asked || !*tile) return VN_OK;
    size_t bytes = 0;
    const vn_extent one = {.batch = 1, .height = r->rows, .width = r->columns};
    const vn_status status =
        vn_net_pass_bytes(r->a->half[r->half], r->a->engine.device, &one, &bytes, err);
    if (status || bytes <= vn_memory_total() / 2) *tile = 0;
    if (!status && *tile) return check_tile(r->a, *tile, err);
    return status;
}

/* Opens the half and holds an array to its input. */
static vn_status check_input(vn_autoencoder *a, vn_half half, const vn_array *in, vn_err *err) {
    const vn_shape *s = &in->shape;
    const vn_feed feed = {.array = *in};
    vn_extent extent = {0};
    vn_status status = open_half(a, half, err);
    if (!status) status = vn_net_match(a->half[half], &extent, 1, &feed, err);
    if (status) return status;
    const long long rows = s->dim[s->rank - 2], columns = s->dim[s->rank - 1],
                    multiple = vn_net_get_io(a->half[half])->multiple;
    if (rows % multiple == 0 && columns % multiple == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s: images of %lld x %lld: both sides must be multiples of %lld",
                   vn_net_get_row(a->net)->row.name, rows, columns, multiple);
}

/* Of an input that was checked. */
static vn_status run_half(half_run *r, int64_t asked, vn_err *err) {
    const vn_shape *s = &r->in->shape;
    int64_t tile = 0;
    r->rows = s->dim[s->rank - 2];
    r->columns = s->dim[s->rank - 1];
    const vn_status status = choose_tile(r, asked, &tile, err);
    if (status) return status;
    return tile ? run_tiles(r, tile, err) : run_slices(r, err);
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
    if (how->scaled) scale(latents_of(a), e, false, to);
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
    vn_status status = check_tile(a, how->tile, err);
    if (!status) status = check_drawing(a, how, err);
    for (size_t i = 0; i < n_out && !status; i++)
        status = find_output(a, out[i].name, &which[i], err);
    return status ? status : check_input(a, VN_HALF_ENCODER, sample, err);
}

static vn_status encode(vn_autoencoder *a, const vn_coding *how, const vn_array *images,
                        size_t n_out, vn_array *out, vn_err *err) {
    const vn_latents *l = latents_of(a);
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
    half_run r = {.a = a,
                  .half = VN_HALF_ENCODER,
                  .in = &sample,
                  .fetches = codes ? 2 : 1,
                  .out = {{e.normal ? "moments" : "latents", at}, {"codes", at + e.n * raw}},
                  .floats = {raw, codes}};
    status = run_half(&r, how->tile, err);
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
    if (how->scaled) scale(latents_of(a), &e, true, *copy);
    return VN_OK;
}

static vn_status decode(vn_autoencoder *a, const vn_coding *how, const vn_array *in, vn_array *out,
                        vn_err *err) {
    const bool looked_up = !strcmp(in->name, "codes");
    const vn_half half = looked_up ? VN_HALF_LOOKUP : VN_HALF_DECODER;
    vn_status status = check_tile(a, how->tile, err);
    if (status) return status;
    if (!looked_up && strcmp(in->name, "latents") != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s decodes latents or codes, not \"%.64s\"",
                       vn_net_get_row(a->net)->row.name, in->name);
    vn_array sample = *in;
    if (!looked_up) sample.name = "sample";
    status = check_input(a, half, &sample, err);
    if (status) return status;
    const int64_t *d = in->shape.dim, rank = in->shape.rank;
    const vn_extent extent = {.batch = d[0], .height = d[rank - 2], .width = d[rank - 1]};
    const vn_shape whole =
        vn_port_shape(vn_net_output(vn_net_get_io(a->half[half]), "decoded"), &extent);
    float *copy = NULL;
    a->outputs = vn_alloc((size_t)vn_shape_count(&whole), sizeof *a->outputs);
    if (!a->outputs) return vn_no_memory(err);
    if (!looked_up) status = unscaled(a, how, &sample, &copy, err);
    half_run r = {.a = a,
                  .half = half,
                  .in = &sample,
                  .fetches = 1,
                  .out = {{"decoded", a->outputs}},
                  .floats = {vn_shape_count(&whole) / d[0]}};
    if (!status) status = run_half(&r, how->tile, err);
    vn_free(copy);
    *out = (vn_array){"decoded", VN_F32, whole, a->outputs};
    return status;
}

vn_status vn_autoencoder_plan(vn_autoencoder *a, int64_t rows, int64_t columns, size_t *bytes,
                              int64_t *tile, vn_err *err) {
    const vn_latents *l = latents_of(a);
    const half_run r = {.a = a, .half = VN_HALF_DECODER, .rows = rows, .columns = columns};
    vn_status status = open_half(a, VN_HALF_DECODER, err);
    if (!status) status = choose_tile(&r, 0, tile, err);
    vn_extent one = {.batch = 1, .height = rows, .width = columns};
    if (!status && *tile) one.height = one.width = *tile / l->factor;
    return status ? status
                  : vn_net_pass_bytes(a->half[VN_HALF_DECODER], a->engine.device, &one, bytes, err);
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
