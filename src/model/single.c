/* single.c - a model that is one network: a run, a directory of diffusers, or a bare config with
 * weights; and, of a run that was trained on latents, the autoencoder that decodes them. */
#include "model/internal.h"

static vn_status open(vn_model *m, const vn_model_source *source, vn_err *err) {
    vn_model_part autoencoder = {0};
    const vn_status status = vn_latents_open_run(m, source, &autoencoder, err);
    if (!status) vn_latents_add_autoencoder(m, &autoencoder);
    vn_model_close_part(&autoencoder);
    return status;
}

static bool detect(const char *path) {
    return vn_is_dir(path) || vn_model_dir_is_weights(path);
}

const vn_model_row vn_network_model = {
    .row = {"network", "a run, a directory of diffusers, or a config with weights", "", NULL},
    .detect = detect,
    .open = open,
    .denoiser = vn_network_denoiser,
    .close_denoiser = vn_network_close_denoiser,
    .batch = vn_network_batch,
    .set_batch = vn_network_set_batch,
    .set_guidance = vn_network_set_guidance,
    VN_LATENTS_CODING,
    .fingerprint = vn_network_fingerprint,
    .close = vn_network_close,
    .needs_path = true,
};
