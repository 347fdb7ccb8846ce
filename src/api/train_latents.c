/* train_latents.c - see the header. A run holds its autoencoder, so that it can be sampled and go
 * on without the folder that it came from; and in state/latents what this makes of every
 * picture. */
#include "api/train_latents.h"

#include <string.h>

/* The most that state/latents takes, and of the disk's free space. */
#define MOST_BYTES ((uint64_t)8 << 30)
#define MOST_SHARE 2
#define LATENTS    "state/latents"

vn_status vn_train_latents_open(vn_train_latents *l, vn_context *vn, const char *source,
                                vn_err *err) {
    const vn_engine engine = vn_context_engine(vn);
    vn_status status = vn_autoencoder_open_source(vn, &engine, source, &l->autoencoder, err);
    if (!status) status = vn_model_dir_open(vn_autoencoder_folder(l->autoencoder), &l->dir, err);
    return status;
}

static const vn_net *net_of(const vn_train_latents *l) {
    return vn_autoencoder_net(l->autoencoder);
}

static const vn_latents *latents_of(const vn_train_latents *l) {
    return &vn_net_get_io(net_of(l))->latents;
}

static vn_status check_pictures(const vn_train_latents *l, const vn_data_info *info,
                                const char *name, vn_err *err) {
    const vn_shape takes = vn_net_sample(vn_net_get_io(net_of(l)));
    const char *folder = vn_autoencoder_folder(l->autoencoder);
    const int64_t *d = info->sample.dim, factor = latents_of(l)->factor;
    if (!vn_shape_is_image(&info->sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "`latents` %s: is for pictures, and %s holds points",
                       folder, name);
    if (info->brings_noise)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`latents` %s: the samples of %s bring noise of a picture's size", folder,
                       name);
    if (takes.dim[0] != d[0])
        return vn_fail(err, VN_BAD_ARGUMENT, "`latents` %s: encodes %lld channels, and %s has %lld",
                       folder, (long long)takes.dim[0], name, (long long)d[0]);
    if (d[1] % factor == 0 && d[2] % factor == 0) return VN_OK;
    return vn_fail(
        err, VN_BAD_ARGUMENT,
        "`latents` %s: makes pictures %lld times smaller, which does not divide %lldx%lld, "
        "the size of %s",
        folder, (long long)factor, (long long)d[2], (long long)d[1], name);
}

static vn_status read_latents(void *self, int64_t i, bool mirrored, uint64_t index, uint64_t step,
                              float *x, vn_err *err) {
    const vn_train_latents *l = self;
    const vn_draw draw = {.seed = l->seed, .index = index, .step = step};
    return vn_latent_cache_read(l->cache, i, mirrored, &draw, x, err);
}

vn_status vn_train_latents_take(vn_train_latents *l, vn_data *data, const char *name, uint64_t seed,
                                vn_err *err) {
    const vn_data_info *info = vn_data_get_info(data);
    const vn_latents *known = latents_of(l);
    const vn_status status = check_pictures(l, info, name, err);
    if (status) return status;
    l->data = data;
    l->seed = seed;
    l->picture = info->sample;
    l->sample = VN_SHAPE(known->channels, info->sample.dim[1] / known->factor,
                         info->sample.dim[2] / known->factor);
    vn_data_set_coder(data, &(vn_data_coder){l->sample, read_latents, l});
    return VN_OK;
}

static vn_status read_picture(void *from, int64_t i, float *x, vn_err *err) {
    return vn_data_at(from, i, x, NULL, err);
}

vn_status vn_train_latents_encode(vn_train_latents *l, const char *run, bool flips,
                                  const vn_watch *watch, vn_err *err) {
    char *path = vn_path_join(run, LATENTS);
    if (!path) return vn_no_memory(err);
    const vn_data_info *info = vn_data_get_info(l->data);
    const uint64_t share = vn_free_space(path) / MOST_SHARE;
    const vn_latent_cache_setup setup = {.autoencoder = l->autoencoder,
                                         .path = path,
                                         .picture = l->picture,
                                         .count = info->count,
                                         .flips = flips,
                                         .fingerprint = info->fingerprint,
                                         .read = read_picture,
                                         .from = l->data,
                                         .most = share < MOST_BYTES ? share : MOST_BYTES,
                                         .watch = watch};
    const vn_status status = vn_latent_cache_open(&setup, &l->cache, err);
    vn_free(path);
    return status;
}

/* ---- the run's files ------------------------------------------------------------------------- */

const char *vn_train_latents_folder(const vn_train_latents *l) {
    return vn_net_get_row(net_of(l))->folder;
}

const json_t *vn_train_latents_config(const vn_train_latents *l) {
    return l->dir.config;
}

vn_status vn_train_latents_copy(const vn_train_latents *l, const char *run, vn_err *err) {
    char *folder = vn_path_join(run, vn_train_latents_folder(l));
    const vn_status status =
        folder ? vn_store_copy_weights(l->dir.weights, folder, err) : vn_no_memory(err);
    vn_free(folder);
    return status;
}

json_t *vn_train_latents_json(const vn_train_latents *l) {
    const int64_t *d = l->picture.dim;
    return json_pack("{s:s, s:s, s:I, s:I, s:[I, I, I]}", "autoencoder",
                     vn_net_get_row(net_of(l))->row.name, "folder", vn_train_latents_folder(l),
                     "factor", (json_int_t)latents_of(l)->factor, "channels",
                     (json_int_t)latents_of(l)->channels, "pictures", (json_int_t)d[0],
                     (json_int_t)d[1], (json_int_t)d[2]);
}

vn_status vn_train_latents_check(const vn_train_latents *l, const json_t *vane, const char *run,
                                 vn_err *err) {
    return vn_latents_check(json_object_get(vane, "latents"), net_of(l), run, err);
}

const json_t *vn_run_data_shape(const json_t *vane) {
    const json_t *latents = json_object_get(vane, "latents");
    return latents ? json_object_get(latents, "pictures")
                   : json_object_get(json_object_get(vane, "data"), "shape");
}

void vn_train_latents_close(vn_train_latents *l) {
    vn_latent_cache_close(&l->cache);
    vn_autoencoder_free(&l->autoencoder);
    vn_model_dir_close(&l->dir);
    *l = (vn_train_latents){0};
}
