/* train_features.c - the network by whose features an autoencoder's pictures are compared: a random
 * one, or a classifier, which the run holds a copy of. It is frozen. */
#include "api/train_job.h"

#include <string.h>

#define RANDOM "random"

static vn_status make_random(const vn_data_info *info, vn_train_part *out, vn_err *err) {
    vn_choice choice;
    const vn_net_data data = {.sample = info->sample, .dropout = -1};
    vn_status status = vn_choice_parse("features", &vn_models[VN_ROLE_FEATURES], &choice, err);
    if (status) return status;
    json_t *config = ((const vn_net_row *)choice.row)->config(&choice, &data, err);
    if (!config) return err->status;
    *out = (vn_train_part){.name = VN_LOSS_FEATURES, .frozen = true, .random = true};
    status = vn_net_open(config, &out->net, err);
    json_decref(config);
    return status;
}

/* Whether its maps are of such pictures, without a noise level. */
static vn_status check(const vn_train_part *p, const char *source, const vn_data_info *info,
                       vn_err *err) {
    const vn_net_io *io = vn_net_get_io(p->net);
    const vn_shape sample = vn_net_sample(io);
    const int64_t *d = info->sample.dim;
    const char *name = vn_net_get_row(p->net)->row.name;
    if (!vn_net_output(io, "map0"))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`perceptual` %s: %s has no maps that pictures could be compared by", source,
                       name);
    if (vn_net_input(io, "timestep"))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`perceptual` %s: this classifier is of noisy samples; time=no makes one of "
                       "clean ones",
                       source);
    if (sample.dim[0] != d[0] || (io->fixed_size && (io->height != d[1] || io->width != d[2])))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`perceptual` %s: takes %lldx%lld pictures of %lld channels, and the data "
                       "has %lldx%lld of %lld",
                       source, (long long)io->width, (long long)io->height,
                       (long long)sample.dim[0], (long long)d[2], (long long)d[1], (long long)d[0]);
    return VN_OK;
}

vn_status vn_job_open_features(vn_train_job *j, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(j->data);
    const char *text = j->o.perceptual;
    if (!text) return VN_OK;
    if (!j->reconstructs)
        return vn_fail(err, VN_BAD_ARGUMENT, "`perceptual` has an effect on autoencoders alone");
    if (!vn_shape_is_image(&info->sample)) return VN_OK; /* which the network refuses */
    if (!strcmp(text, RANDOM)) return make_random(info, &j->features, err);
    char *kept = j->dir.config ? vn_path_join(j->out, VN_LOSS_FEATURES) : vn_strdup(text);
    vn_status status =
        kept ? vn_train_open_frozen(kept, VN_LOSS_FEATURES, &j->features, err) : vn_no_memory(err);
    if (!status) status = check(&j->features, kept, info, err);
    vn_free(kept);
    return status;
}

vn_status vn_job_copy_features(const vn_train_job *j, vn_err *err) {
    if (!j->features.weights) return VN_OK;
    char *folder = vn_path_join(j->run.aside, VN_LOSS_FEATURES);
    const vn_status status =
        folder ? vn_store_copy_weights(j->features.weights, folder, err) : vn_no_memory(err);
    vn_free(folder);
    return status;
}
