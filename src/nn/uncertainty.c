/* uncertainty.c - u(t) of EDM2's loss (2312.02696): a layer on sinusoids of the time that says how
 * large the log of the loss is at a noise level. It is trained beside a denoiser and no part of it.
 * It begins at 0, where the loss is as it would be without. Config class "VaneUncertainty", vane's
 * own. */
#include "nn/internal.h"

enum { FEATURES = 128 };

json_t *vn_uncertainty_config(vn_err *err) {
    return vn_config_write(vn_uncertainty_net.class_name, false, NULL, 0, NULL, err);
}

static vn_status open_uncertainty(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    (void)config;
    *self = vn_calloc(1, 1);
    if (!*self) return vn_no_memory(err);
    *io = (vn_net_io){.multiple = 1};
    vn_net_add_time(io, 0);
    vn_net_add_output(io, (vn_port){.name = VN_LOG_VARIANCE, .shape = VN_SHAPE(VN_DIM_BATCH, 1)});
    return VN_OK;
}

static void build(const void *self, const vn_scope *s) {
    (void)self;
    vn_scope zero = *s;
    zero.init = VN_LAYER_INIT_ZERO;
    vn_node *t = vn_time_sinusoids(s, vn_scope_input(s, "timestep"), FEATURES, true, 0);
    vn_scope_output(s, VN_LOG_VARIANCE, vn_layer_linear(&zero, "linear", t, FEATURES, 1));
}

const vn_net_row vn_uncertainty_net = {
    .row = {.name = "uncertainty",
            .summary = "log of the loss at a noise level, trained beside a denoiser",
            .source = "arXiv 2312.02696"},
    .role = VN_ROLE_FEATURES,
    .class_name = "VaneUncertainty",
    .folder = "uncertainty",
    .open = open_uncertainty,
    .close = vn_free,
    .build = build,
};
