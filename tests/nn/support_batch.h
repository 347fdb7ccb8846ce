/* support_batch.h - a batch as a denoiser hands it to a network: what the network does not take is
 * left out. */
#ifndef VN_TEST_SUPPORT_BATCH_H
#define VN_TEST_SUPPORT_BATCH_H

#include "nn/nn.h"

typedef struct batch {
    int64_t n, height, width;  /* height, width 0: points, or the config's */
    const float *x;            /* [n,C,H,W] or [n,D] */
    const float *time;         /* [n]; NULL: left out */
    const int32_t *labels;     /* likewise */
    const vn_perturb *perturb; /* [VN_NET_PERTURBS]; NULL: none */
} batch;

static inline vn_net_spec batch_spec(const batch *b) {
    vn_net_spec spec = {.extent = {.batch = b->n, .height = b->height, .width = b->width}};
    for (int i = 0; b->perturb && i < VN_NET_PERTURBS; i++) spec.perturb[i] = b->perturb[i];
    return spec;
}

/* Returns how many of in[3] there are. */
static inline int batch_feeds(const vn_net *net, const batch *b, vn_feed in[3]) {
    const vn_net_io *io = vn_net_get_io(net);
    const vn_shape sample = vn_net_sample(io);
    const int64_t h = b->height ? b->height : io->height, w = b->width ? b->width : io->width;
    int n = 0;
    in[n++] = (vn_feed){.array = {"sample", VN_F32,
                                  vn_shape_is_image(&sample) ? VN_SHAPE(b->n, sample.dim[0], h, w)
                                                             : VN_SHAPE(b->n, sample.dim[0]),
                                  b->x}};
    if (b->time && vn_net_input(io, "timestep"))
        in[n++] = (vn_feed){.array = {"timestep", VN_F32, VN_SHAPE(b->n), b->time}};
    if (b->labels && vn_net_input(io, "class_labels"))
        in[n++] = (vn_feed){.array = {"class_labels", VN_I32, VN_SHAPE(b->n), b->labels}};
    return n;
}

/* What the network is for: of a denoiser its prediction, else its first output. */
static inline const char *batch_answer(const vn_net *net) {
    const vn_net_io *io = vn_net_get_io(net);
    const vn_port *prediction = vn_net_prediction(io);
    return prediction ? prediction->name : io->output[0].name;
}

/* variance NULL: it is not asked for. */
static inline vn_status batch_run(vn_runner *r, const vn_net *net, const batch *b, float *y,
                                  float *variance, vn_err *err) {
    vn_feed in[3];
    const int n = batch_feeds(net, b, in);
    const vn_net_spec spec = batch_spec(b);
    const vn_fetch out[] = {{batch_answer(net), y}, {"variance", variance}};
    return vn_runner_run(r, &spec, n, in, variance ? 2 : 1, out, err);
}

static inline vn_status batch_derive(vn_runner *r, const vn_net *net, const batch *b, vn_want want,
                                     const float *direction, float *out, vn_err *err) {
    vn_feed in[3];
    const int n = batch_feeds(net, b, in);
    const vn_net_spec spec = batch_spec(b);
    return vn_runner_derive(r, &spec, want, batch_answer(net), n, in, direction, out, err);
}

#endif
