/* train_autoencoder.c - see the header. */
#include "api/train_autoencoder.h"

#include "model/model.h"
#include "objective/objective.h"

#include <math.h>
#include <string.h>

/* Of the training data, whose latents' mean and deviation are measured; of the pictures that are
 * reconstructed; and how many at once. */
enum { ENCODED = 1024, RECONSTRUCTED = 512, BATCH = 32, MOST_CODES = 65536 };

typedef struct measuring {
    vn_autoencoder *a;
    vn_data *data;
    const vn_net *net;
    float *last, *pictures; /* [BATCH,H,W,C] and [BATCH,C,H,W] */
    /* of latents */
    double sum, square;
    int64_t numbers, encoded;
    /* of reconstructions */
    double decibels;
    int64_t reconstructed;
    uint32_t *used; /* [MOST_CODES]; NULL: it has no codes, or more than those */
} measuring;

static vn_status read_pictures(const measuring *m, vn_data_part part, int64_t at, int64_t n,
                               vn_array *out, vn_err *err) {
    const int64_t *d = vn_data_get_info(m->data)->sample.dim;
    const vn_status status = vn_data_batch(m->data, part, (uint64_t)at, n, m->last, NULL, err);
    if (status) return status;
    vn_channels_first(m->pictures, m->last, n, d[0], d[1] * d[2], NULL, NULL);
    *out = (vn_array){"sample", VN_F32, VN_SHAPE(n, d[0], d[1], d[2]), m->pictures};
    return VN_OK;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- latents --------------------------------------------------------------------------------- */

/* Of the training data as it is trained on, flips included; latents that are drawn, as those are
 * that a diffusion model is trained on. */
static vn_status measure_latents(measuring *m, vn_err *err) {
    const int64_t count = least(vn_data_get_info(m->data)->train, ENCODED);
    const bool draws = vn_net_output(vn_net_get_io(m->net), "logvar") != NULL;
    vn_status status = VN_OK;
    for (int64_t at = 0; at < count && !status; at += BATCH) {
        const int64_t n = least(BATCH, count - at);
        const vn_coding how = {.draw = draws, .first = (uint64_t)at};
        vn_array in, z = {.name = "latents"};
        status = read_pictures(m, VN_DATA_TRAIN, at, n, &in, err);
        if (!status) status = vn_autoencoder_encode_arrays(m->a, &how, &in, 1, &z, err);
        if (status) return status;
        const float *x = z.data;
        const int64_t numbers = vn_shape_count(&z.shape);
        for (int64_t i = 0; i < numbers; i++) {
            m->sum += (double)x[i];
            m->square += (double)x[i] * (double)x[i];
        }
        m->numbers += numbers;
    }
    m->encoded = count;
    return status;
}

static double mean_of(const measuring *m) {
    return m->sum / (double)m->numbers;
}

static double deviation_of(const measuring *m) {
    const double mean = mean_of(m);
    return sqrt(fmax(m->square / (double)m->numbers - mean * mean, 0));
}

/* ---- reconstructions ------------------------------------------------------------------------- */

static double psnr_of(const float *x, const float *y, int64_t size) {
    double error = 0;
    for (int64_t k = 0; k < size; k++) {
        const double shown = fmin(fmax((double)y[k], -1), 1), off = shown - (double)x[k];
        error += off * off;
    }
    return vn_picture_psnr(error / (double)size);
}

/* A batch to latents and back. What encoding gives is the autoencoder's, and decoding may take
 * it. */
static vn_status reconstruct(measuring *m, const vn_array *in, vn_err *err) {
    const vn_coding how = {0};
    vn_array z[2] = {{.name = "latents"}, {.name = "codes"}}, out;
    const int64_t n = in->shape.dim[0], size = vn_shape_count(&in->shape) / n;
    vn_status status = vn_autoencoder_encode_arrays(m->a, &how, in, m->used ? 2 : 1, z, err);
    if (status) return status;
    const int32_t *code = z[1].data;
    for (int64_t i = 0; m->used && i < vn_shape_count(&z[1].shape); i++) m->used[code[i]]++;
    status = vn_autoencoder_decode_array(m->a, &how, z, &out, err);
    if (status) return status;
    const float *x = in->data, *y = out.data;
    for (int64_t i = 0; i < n; i++, m->reconstructed++)
        m->decibels += psnr_of(x + i * size, y + i * size, size);
    return VN_OK;
}

static vn_status measure_pictures(measuring *m, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(m->data);
    const int64_t count = least(info->held ? info->held : info->count, RECONSTRUCTED);
    vn_status status = VN_OK;
    for (int64_t at = 0; at < count && !status; at += BATCH) {
        vn_array in;
        status = read_pictures(m, info->held ? VN_DATA_HELD : VN_DATA_ALL, at,
                               least(BATCH, count - at), &in, err);
        if (!status) status = reconstruct(m, &in, err);
    }
    return status;
}

/* ---- what is written ------------------------------------------------------------------------- */

static vn_status write_json(const char *run, const char *folder, const char *name, json_t *json,
                            vn_err *err) {
    char *path = vn_format("%s/%s%s%s", run, folder, folder[0] ? "/" : "", name);
    const vn_status status = path && json ? vn_json_write(path, json, err) : vn_no_memory(err);
    vn_free(path);
    return status;
}

/* A model is to see latents of mean 0 and deviation 1. Not all kinds have a shift: then the
 * deviation is all that is taken away. */
static vn_status write_scale(const measuring *m, const char *run, vn_err *err) {
    json_t *config = vn_json_copy(vn_net_config(m->net));
    const double deviation = deviation_of(m);
    bool ok = config != NULL;
    if (ok && deviation > 0 && isfinite(1 / deviation))
        ok = json_object_set_new(config, "scaling_factor", json_real(1 / deviation)) == 0;
    if (ok && json_object_get(config, "shift_factor"))
        ok = json_object_set_new(config, "shift_factor", json_real(mean_of(m))) == 0;
    if (!ok) {
        json_decref(config);
        return vn_no_memory(err);
    }
    const vn_status status =
        write_json(run, vn_net_get_row(m->net)->folder, "config.json", config, err);
    json_decref(config);
    return status;
}

static json_t *measured_of(const measuring *m) {
    const double psnr = m->decibels / (double)m->reconstructed;
    const vn_code_usage u = m->used ? vn_count_codes(m->used, MOST_CODES) : (vn_code_usage){0};
    return json_pack("{s:f, s:I, s:b, s:f, s:f, s:I, s:o*, s:o*}", "psnr", psnr, "pictures",
                     (json_int_t)m->reconstructed, "held", vn_data_get_info(m->data)->held > 0,
                     "latents_mean", mean_of(m), "latents_deviation", deviation_of(m), "encoded",
                     (json_int_t)m->encoded, "codes_used",
                     m->used ? json_integer((json_int_t)u.used) : NULL, "code_perplexity",
                     m->used ? json_real(u.perplexity) : NULL);
}

static vn_status write_measured(const measuring *m, const char *run, vn_err *err) {
    vn_model_dir dir;
    vn_status status = vn_model_dir_open(run, &dir, err);
    if (status) return status;
    json_t *vane = vn_json_copy(dir.vane);
    vn_model_dir_close(&dir);
    if (vane && json_object_set_new(vane, "measured", measured_of(m)) == 0)
        status = write_json(run, "", "vane.json", vane, err);
    else
        status = vn_no_memory(err);
    json_decref(vane);
    return status;
}

static void tell(const measuring *m, const vn_watch *watch) {
    char codes[96] = "";
    if (m->used) {
        const vn_code_usage u = vn_count_codes(m->used, MOST_CODES);
        vn_snprintf(codes, sizeof codes, "; %lld of %lld codes used, as if %.0f were equally often",
                    (long long)u.used, (long long)vn_net_get_io(m->net)->latents.codes,
                    u.perplexity);
    }
    vn_log(watch, VN_LOG_INFO,
           "PSNR %.2f dB over %lld pictures%s; latents of mean %.3g and deviation %.3g%s",
           m->decibels / (double)m->reconstructed, (long long)m->reconstructed,
           vn_data_get_info(m->data)->held ? " that were held out" : " of the training data",
           mean_of(m), deviation_of(m), codes);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static vn_status measure(measuring *m, const char *run, vn_err *err) {
    const vn_shape *sample = &vn_data_get_info(m->data)->sample;
    const size_t numbers = (size_t)(BATCH * vn_shape_count(sample));
    const int64_t codes = vn_net_get_io(m->net)->latents.codes;
    m->last = vn_alloc(numbers, sizeof(float));
    m->pictures = vn_alloc(numbers, sizeof(float));
    if (codes && codes <= MOST_CODES) m->used = vn_calloc(MOST_CODES, sizeof *m->used);
    if (!m->last || !m->pictures || (codes && codes <= MOST_CODES && !m->used))
        return vn_no_memory(err);
    vn_status status = measure_latents(m, err);
    if (!status) status = measure_pictures(m, err);
    if (!status) status = write_scale(m, run, err);
    return status ? status : write_measured(m, run, err);
}

vn_status vn_train_measure_coding(vn_context *vn, const char *run, vn_data *data, vn_err *err) {
    const vn_watch quiet = {0}; /* the seconds that it takes are not to be cancelled */
    vn_engine engine = vn_context_engine(vn);
    engine.watch = &quiet;
    measuring m = {.data = data};
    vn_status status = vn_autoencoder_open_source(vn, &engine, run, &m.a, err);
    if (!status) {
        m.net = vn_autoencoder_net(m.a);
        status = measure(&m, run, err);
    }
    if (!status) tell(&m, &vn->watch);
    vn_autoencoder_free(&m.a);
    vn_free(m.last);
    vn_free(m.pictures);
    vn_free(m.used);
    return status;
}
