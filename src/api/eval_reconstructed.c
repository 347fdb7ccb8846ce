/* eval_reconstructed.c - what an autoencoder makes of the data, as a set of samples: of each
 * picture its reconstruction as it is shown, decoded from the mean of its latents, in the data's
 * order. */
#include <math.h>
#include <string.h>

#include "api/eval.h"
#include "api/train_latents.h"

enum { AT_ONCE = 64 };

bool vn_eval_is_autoencoder(const char *path) {
    vn_model_dir dir = {0};
    if (!path || !vn_is_dir(path)) return false;
    const bool is = vn_model_dir_open(path, &dir, NULL) == VN_OK && vn_is_autoencoder(dir.config);
    vn_model_dir_close(&dir);
    return is;
}

/* The size of the pictures that it was trained on, which those of a folder are made; of rank 0: no
 * run says it. */
static vn_status read_pictures(const char *path, vn_shape *out, vn_err *err) {
    vn_model_dir dir = {0};
    const vn_status status = vn_model_dir_open(path, &dir, err);
    const json_t *shape = vn_run_data_shape(dir.vane);
    *out = (vn_shape){0};
    for (size_t i = 0; !status && json_array_size(shape) == 3 && i < 3; i++)
        out->dim[i] = json_integer_value(json_array_get(shape, i));
    out->rank = out->dim[0] > 0 && out->dim[1] > 0 && out->dim[2] > 0 ? 3 : 0;
    vn_model_dir_close(&dir);
    return status;
}

vn_status vn_eval_autoencoder_open(vn_eval_set *s, vn_context *vn, const char *path,
                                   vn_shape *pictures, vn_err *err) {
    const vn_engine engine = vn_context_engine(vn);
    const vn_status status = vn_autoencoder_open_source(vn, &engine, path, &s->autoencoder, err);
    return status ? status : read_pictures(path, pictures, err);
}

static vn_status read_reconstructed(void *self, int64_t first, int64_t n, float *x, vn_err *err) {
    const vn_eval_set *s = self;
    const vn_set *of = &s->of->set;
    const int64_t *d = of->sample.dim;
    const vn_coding how = {0};
    const vn_array in = {"sample", VN_F32, VN_SHAPE(n, d[0], d[1], d[2]), x};
    vn_array z = {.name = "latents"}, out;
    vn_status status = of->read(of->self, first, n, x, err);
    if (!status) status = vn_autoencoder_encode_arrays(s->autoencoder, &how, &in, 1, &z, err);
    if (!status) status = vn_autoencoder_decode_array(s->autoencoder, &how, &z, &out, err);
    if (status) return status;
    const float *y = out.data;
    for (int64_t i = 0; i < n * of->size; i++) x[i] = fminf(fmaxf(y[i], -1), 1);
    return VN_OK;
}

vn_status vn_eval_set_reconstructed(vn_eval_set *s, const vn_eval_set *of, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(vn_autoencoder_net(s->autoencoder));
    const char *path = vn_autoencoder_folder(s->autoencoder);
    const int64_t *d = of->set.sample.dim, factor = io->latents.factor;
    if (!vn_shape_is_image(&of->set.sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: is of pictures, and %s holds points", path,
                       of->set.name);
    if (vn_net_sample(io).dim[0] != d[0] || vn_net_output(io, "decoded")->shape.dim[1] != d[0])
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: is of %lld channels, and %s has %lld", path,
                       (long long)vn_net_sample(io).dim[0], of->set.name, (long long)d[0]);
    if (d[1] % factor || d[2] % factor)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: makes pictures %lld times smaller, which does not divide %lldx%lld, "
                       "the size of %s",
                       path, (long long)factor, (long long)d[2], (long long)d[1], of->set.name);
    s->of = of;
    s->available = of->available;
    s->set = of->set;
    s->set.name = path;
    s->set.self = s;
    s->set.read = read_reconstructed;
    s->set.key[0] = 0;
    s->set.piece = AT_ONCE;
    s->set.reading = "reconstructing";
    return VN_OK;
}
