/* autoencoder.c - the public calls of autoencoders; what they do is in the room model. */
#include "api/internal.h"

void vn_autoencoder_info_init(vn_autoencoder_info *info, size_t size) {
    static const vn_autoencoder_info initial = {0};
    vn_struct_init(info, size, &initial, sizeof initial);
}

void vn_autoencoder_options_init(vn_autoencoder_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_AUTOENCODER, o, size);
}

vn_status vn_autoencoder_open(vn_context *vn, const char *source, vn_autoencoder **out) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!source || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_autoencoder_open: source and out are needed");
    *out = NULL;
    const vn_engine engine = vn_context_engine(vn);
    return vn_end_reading(vn, vn_autoencoder_open_source(vn, &engine, source, out, err));
}

void vn_autoencoder_close(vn_autoencoder **a) {
    if (a) vn_autoencoder_free(a);
}

vn_status vn_autoencoder_get_info(const vn_autoencoder *a, vn_autoencoder_info *info) {
    if (!a) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn_autoencoder_context(a));
    if (!info) return vn_fail(err, VN_BAD_ARGUMENT, "vn_autoencoder_get_info: info is needed");
    const vn_net *net = vn_autoencoder_net(a);
    const vn_net_io *io = vn_net_get_io(net);
    const vn_autoencoder_info known = {.kind = vn_net_get_row(net)->row.name,
                                       .parameters = vn_weights_parameters(vn_net_weights(net)),
                                       .in_channels = vn_net_sample(io).dim[0],
                                       .out_channels = vn_net_output(io, "decoded")->shape.dim[1],
                                       .latent_channels = io->latents.channels,
                                       .factor = io->latents.factor,
                                       .codes = io->latents.codes,
                                       .tile = io->latents.tile,
                                       .scale = io->latents.scale,
                                       .shift = io->latents.shift};
    const vn_status status = vn_struct_check(info, "vn_autoencoder_info", err);
    if (!status) vn_struct_give(info, &known, sizeof known);
    return status;
}

static vn_status take_options(const vn_autoencoder_options *given, vn_coding *how, vn_err *err) {
    vn_autoencoder_options o = vn_autoencoder_options_default();
    vn_status status = vn_struct_take(&o, sizeof o, given, "vn_autoencoder_options", err);
    if (!status) status = vn_options_check(VN_OPTIONS_AUTOENCODER, &o, err);
    *how = (vn_coding){.tile = o.tile,
                       .scaled = o.scaled != 0,
                       .draw = o.draw != 0,
                       .seed = o.seed,
                       .first = o.first};
    return status;
}

/* What a caller gives may be anything. */
static vn_status check_array(const char *call, const vn_array *x, vn_err *err) {
    size_t count, bytes;
    if (!x || !x->name || !x->data)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: an array with name and data is needed", call);
    if ((unsigned)x->dtype >= VN_DTYPE_COUNT || x->shape.rank < 0 || x->shape.rank > VN_MAX_RANK ||
        !vn_shape_valid(&x->shape) || !vn_array_size(&x->shape, x->dtype, &count, &bytes))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %.64s: its dtype or shape is none", call,
                       x->name);
    return VN_OK;
}

static vn_status check_outputs(size_t n, const vn_array *out, vn_err *err) {
    if (n < 1 || n > VN_ENCODED || !out)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "vn_autoencoder_encode: %zu outputs; 1 to %d can be given", n, VN_ENCODED);
    for (size_t i = 0; i < n; i++)
        if (!out[i].name)
            return vn_fail(err, VN_BAD_ARGUMENT, "vn_autoencoder_encode: output %zu has no name",
                           i);
    return VN_OK;
}

vn_status vn_autoencoder_encode(vn_autoencoder *a, const vn_autoencoder_options *options,
                                const vn_array *images, size_t n_out, vn_array *out) {
    if (!a) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn_autoencoder_context(a));
    vn_coding how;
    vn_status status = take_options(options, &how, err);
    if (!status) status = check_array("vn_autoencoder_encode", images, err);
    if (!status) status = check_outputs(n_out, out, err);
    if (status) return status;
    status = vn_autoencoder_encode_arrays(a, &how, images, n_out, out, err);
    for (size_t i = 0; status && i < n_out; i++) out[i].data = NULL;
    return status;
}

vn_status vn_autoencoder_decode(vn_autoencoder *a, const vn_autoencoder_options *options,
                                const vn_array *in, vn_array *out) {
    if (!a) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn_autoencoder_context(a));
    vn_coding how;
    vn_status status = take_options(options, &how, err);
    if (!status) status = check_array("vn_autoencoder_decode", in, err);
    if (!status && !out)
        status = vn_fail(err, VN_BAD_ARGUMENT, "vn_autoencoder_decode: out is needed");
    if (status) return status;
    status = vn_autoencoder_decode_array(a, &how, in, out, err);
    if (status) out->data = NULL;
    return status;
}
