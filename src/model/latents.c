/* latents.c - models that denoise latents of an autoencoder, which is one of their parts and
 * decodes what is drawn: pipelines of diffusers, and runs of vane's that were trained with
 * `latents`, whose vane.json has
 *
 *     "latents": {"autoencoder": "autoencoder-kl", "folder": "vae", "factor": 4, "channels": 4,
 *                 "pictures": [3, 64, 64]}
 *
 * the kind of the autoencoder and where it is, how many times smaller latents are on each side, how
 * many numbers a pixel of them has, and the shape of the data's pictures. */
#include "model/internal.h"

#include <string.h>

/* Numbers in the pictures that are decoded at once, so that memory does not grow with their
 * number. */
#define DECODED ((int64_t)1 << 20)

/* ---- the network, whose size is that of pictures --------------------------------------------- */

/* What sizes the network takes. */
typedef struct network_sizes {
    bool fixed;
    int64_t multiple, height, width;
} network_sizes;

static vn_status read_sizes(const vn_model *m, network_sizes *out, vn_err *err) {
    vn_model_dir dir = {0};
    vn_net *net = NULL;
    vn_status status = vn_model_dir_open(m->source, &dir, err);
    if (!status && (status = vn_net_open(dir.config, &net, err)))
        vn_fail_in(err, "%s/%s/config.json", m->source, dir.folder);
    if (!status) {
        const vn_net_io *io = vn_net_get_io(net);
        *out = (network_sizes){io->fixed_size, io->multiple, io->height, io->width};
    }
    vn_net_close(&net);
    vn_model_dir_close(&dir);
    return status;
}

/* The size of latents, of the pixels that were asked for; 0: as the files have it. */
static vn_status read_size(const vn_model *m, const char *text, int64_t factor,
                           vn_network_setup *setup, vn_err *err) {
    int64_t height = 0, width = 0;
    network_sizes takes;
    if (!text) return VN_OK;
    vn_status status = read_sizes(m, &takes, err);
    if (!status) status = vn_model_read_size(text, &height, &width, err);
    if (status) return status;
    const int64_t unit = factor * takes.multiple;
    if (takes.fixed && (height != takes.height * factor || width != takes.width * factor))
        return vn_fail(err, VN_BAD_ARGUMENT, "size %.40s: %s draws %lld x %lld alone", text,
                       m->source, (long long)(takes.height * factor),
                       (long long)(takes.width * factor));
    if (height % unit || width % unit)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "size %.40s: %s draws images whose sides are multiples of %lld: a latent "
                       "is of %lld x %lld pixels, and the network takes %lld x %lld of them at "
                       "least",
                       text, m->source, (long long)unit, (long long)factor, (long long)factor,
                       (long long)takes.multiple, (long long)takes.multiple);
    setup->height = height / factor;
    setup->width = width / factor;
    return VN_OK;
}

vn_status vn_latents_open(vn_model *m, const vn_network_setup *setup, const vn_net *autoencoder,
                          vn_err *err) {
    const vn_net_io *io = vn_net_get_io(autoencoder);
    const int64_t factor = io->latents.factor, channels = io->latents.channels;
    vn_model_source source = *setup->source;
    vn_network_setup of_latents = *setup;
    of_latents.source = &source;
    source.size = NULL;
    vn_status status = read_size(m, setup->source->size, factor, &of_latents, err);
    if (!status) status = vn_network_open(m, &of_latents, err);
    if (status) return status;
    if (!vn_shape_is_image(&m->sample))
        return vn_fail(err, VN_BAD_FILE, "%s: has an autoencoder, and its network is for points",
                       m->source);
    if (channels != m->sample.dim[0])
        return vn_fail(err, VN_BAD_FILE,
                       "%s: its autoencoder has latents of %lld channels, and its network takes "
                       "%lld",
                       m->source, (long long)channels, (long long)m->sample.dim[0]);
    m->shown = VN_SHAPE(vn_net_output(io, "decoded")->shape.dim[1], m->sample.dim[1] * factor,
                        m->sample.dim[2] * factor);
    return VN_OK;
}

/* ---- runs ------------------------------------------------------------------------------------ */

vn_status vn_latents_check(const json_t *latents, const vn_net *autoencoder, const char *source,
                           vn_err *err) {
    const vn_latents *l = &vn_net_get_io(autoencoder)->latents;
    const struct {
        const char *key;
        int64_t is;
    } numbers[] = {{"factor", l->factor}, {"channels", l->channels}};
    for (size_t i = 0; i < VN_COUNT(numbers); i++) {
        const int64_t was = json_integer_value(json_object_get(latents, numbers[i].key));
        if (was != numbers[i].is)
            return vn_fail(err, VN_BAD_FILE,
                           "%s: was trained on latents of %s %lld, and its autoencoder has %lld",
                           source, numbers[i].key, (long long)was, (long long)numbers[i].is);
    }
    return VN_OK;
}

/* The autoencoder that vane.json names, which is in the folder of such networks. */
static vn_status open_named(const vn_model *m, const json_t *latents, vn_model_part *part,
                            vn_err *err) {
    const char *name = json_string_value(json_object_get(latents, "folder"));
    const vn_net_row *row;
    bool known = false;
    for (size_t i = 0; name && (row = vn_net_row_at(i)); i++)
        known = known || (row->role == VN_ROLE_AUTOENCODER && !strcmp(row->folder, name));
    if (!known)
        return vn_fail(err, VN_BAD_FILE, "%s/vane.json: latents of no autoencoder that vane knows",
                       m->source);
    const vn_status status = vn_model_open_part(m, name, VN_ROLE_AUTOENCODER, part, err);
    return status ? status : vn_latents_check(latents, part->net, m->source, err);
}

vn_status vn_latents_open_run(vn_model *m, const vn_model_source *source,
                              vn_model_part *autoencoder, vn_err *err) {
    const vn_network_setup setup = {.source = source};
    vn_model_dir dir = {0};
    vn_status status = vn_model_dir_open(m->source, &dir, err);
    if (status) return status;
    const json_t *latents = json_object_get(dir.vane, "latents");
    if (json_is_object(latents)) {
        status = open_named(m, latents, autoencoder, err);
        if (!status) status = vn_latents_open(m, &setup, autoencoder->net, err);
    } else {
        status = vn_network_open(m, &setup, err);
    }
    vn_model_dir_close(&dir);
    return status;
}

/* ---- decoding and encoding ------------------------------------------------------------------- */

void vn_latents_add_autoencoder(vn_model *m, vn_model_part *part) {
    if (part->net) m->decoder = vn_model_add_part(m, part);
}

vn_status vn_latents_open_autoencoder(vn_model *m, vn_err *err) {
    const vn_model_part *part = &m->part[m->decoder];
    if (m->autoencoder) return VN_OK;
    return vn_autoencoder_on(m->vn, &m->engine, part->name, part->net, part->values,
                             &m->autoencoder, err);
}

vn_status vn_latents_decode(vn_model *m, int64_t n, const float *x, float *shown, vn_err *err) {
    static const vn_coding how = {.scaled = true};
    const int64_t size = vn_shape_count(&m->shown), *d = m->sample.dim,
                  most = size < DECODED ? DECODED / size : 1;
    vn_status status = vn_latents_open_autoencoder(m, err);
    for (int64_t i = 0, k; i < n && !status; i += k) {
        k = n - i < most ? n - i : most;
        const vn_array in = {"latents", VN_F32, VN_SHAPE(k, d[0], d[1], d[2]), x + i * m->size};
        vn_array out;
        status = vn_autoencoder_decode_array(m->autoencoder, &how, &in, &out, err);
        if (!status) memcpy(shown + i * size, out.data, (size_t)(k * size) * sizeof *shown);
    }
    return status;
}

/* To the mean of the latents where they are a distribution. */
vn_status vn_latents_encode(vn_model *m, int64_t n, const float *shown, float *x, vn_err *err) {
    static const vn_coding how = {.scaled = true};
    const int64_t size = vn_shape_count(&m->shown), *d = m->shown.dim,
                  most = size < DECODED ? DECODED / size : 1;
    vn_status status = vn_latents_open_autoencoder(m, err);
    for (int64_t i = 0, k; i < n && !status; i += k) {
        k = n - i < most ? n - i : most;
        const vn_array in = {"sample", VN_F32, VN_SHAPE(k, d[0], d[1], d[2]), shown + i * size};
        vn_array z = {.name = "latents"};
        status = vn_autoencoder_encode_arrays(m->autoencoder, &how, &in, 1, &z, err);
        if (!status) memcpy(x + i * m->size, z.data, (size_t)(k * m->size) * sizeof *x);
    }
    return status;
}

vn_status vn_latents_decode_vjp(vn_model *m, const float *x, const float *direction, float *out,
                                vn_err *err) {
    static const vn_coding how = {.scaled = true};
    const int64_t *d = m->sample.dim;
    const vn_array in = {"latents", VN_F32, VN_SHAPE(1, d[0], d[1], d[2]), x};
    const vn_status status = vn_latents_open_autoencoder(m, err);
    return status ? status
                  : vn_autoencoder_decode_vjp(m->autoencoder, &how, &in, direction, out, err);
}

vn_status vn_latents_encode_vjp(vn_model *m, const float *shown, const float *direction, float *out,
                                vn_err *err) {
    static const vn_coding how = {.scaled = true};
    const int64_t *d = m->shown.dim;
    const vn_array in = {"sample", VN_F32, VN_SHAPE(1, d[0], d[1], d[2]), shown};
    const vn_status status = vn_latents_open_autoencoder(m, err);
    return status ? status
                  : vn_autoencoder_encode_vjp(m->autoencoder, &how, &in, direction, out, err);
}
