/* nn.c - the table of networks, and what they share: opening from a config, building the graph for
 * a batch, and writing a batch's inputs. */
#include "nn/internal.h"

#include <math.h>
#include <string.h>

#define VN_NET_FUNCTIONS(id)                                                                       \
    .config = vn_##id##_config, .open = vn_##id##_open, .close = vn_##id##_close,                  \
    .build = vn_##id##_build

const vn_net_row vn_net_rows[] = {
    {.row = {.name = "unet2d",
             .summary = "convolutional U-Net with attention, for images: diffusers' UNet2DModel",
             .source = "arXiv 1505.04597, 2006.11239; diffusers 0.42.1",
             .params = vn_unet2d_presets},
     .class_name = "UNet2DModel",
     .folder = "unet",
     VN_NET_FUNCTIONS(unet2d)},
    {.row =
         {.name = "dit",
          .summary =
              "diffusion transformer, for square images: diffusers' DiTTransformer2DModel and more",
          .source = "arXiv 2212.09748, 2401.08740; diffusers 0.42.1",
          .params = vn_dit_presets},
     .class_name = "DiTTransformer2DModel",
     .own_class = VN_DIT_OWN_CLASS,
     .folder = "transformer",
     VN_NET_FUNCTIONS(dit)},
    {.row = {.name = "mlp",
             .summary = "residual multi-layer perceptron, for points",
             .source = "vane",
             .params = vn_mlp_presets},
     .class_name = "VaneMLP",
     .folder = "model",
     VN_NET_FUNCTIONS(mlp)},
    {.row = {.name = "classifier",
             .summary = "classifier of images or points, clean or noisy at a known time",
             .source = "arXiv 1512.03385, 2105.05233",
             .params = vn_classifier_presets},
     .class_name = "VaneClassifier",
     .folder = "classifier",
     VN_NET_FUNCTIONS(classifier)},
};
const size_t vn_net_row_count = VN_COUNT(vn_net_rows);
/* all but the last, the classifier */
const size_t vn_net_denoiser_count = VN_COUNT(vn_net_rows) - 1;

struct vn_net {
    const vn_net_row *row;
    json_t *config;
    void *self;
    vn_net_io io;
    vn_weights *weights;
};

static vn_status find_row(const json_t *config, const vn_net_row **row, vn_err *err) {
    const char *class_name = json_string_value(json_object_get(config, "_class_name"));
    if (!class_name)
        return vn_fail(err, VN_BAD_FILE, "no \"_class_name\": not the config of a network");
    const char *known[2 * VN_COUNT(vn_net_rows)];
    size_t count = 0;
    for (size_t i = 0; i < vn_net_row_count; i++) {
        *row = &vn_net_rows[i];
        known[count++] = (*row)->class_name;
        if ((*row)->own_class) known[count++] = (*row)->own_class;
        if (!strcmp(class_name, (*row)->class_name) || !strcmp(class_name, known[count - 1]))
            return VN_OK;
    }
    return vn_config_refuse("network", "_class_name", class_name, known, count, err);
}

/* Builds the network once, for its list of weights, at a size that every network can take. So an
 * error here comes from the config. */
static vn_status declare_weights(vn_net *net, vn_err *err) {
    vn_graph *g = NULL;
    vn_status status = vn_graph_open(&g, err);
    if (status) return status;
    vn_net_inputs in;
    vn_net_build(net, g, 1, 4 * net->io.multiple, 4 * net->io.multiple, false, &in);
    status = vn_graph_status(g, err);
    vn_graph_close(&g);
    if (status == VN_BAD_ARGUMENT) {
        status = VN_BAD_FILE;
        if (err) err->status = status;
    }
    return status;
}

vn_status vn_net_open(const json_t *config, vn_net **out, vn_err *err) {
    vn_net *net = vn_calloc(1, sizeof *net);
    if (!net) return vn_no_memory(err);
    net->config = vn_json_copy(config);
    vn_status status = net->config ? vn_config_update(net->config, err) : vn_no_memory(err);
    if (!status) status = find_row(net->config, &net->row, err);
    if (!status) status = vn_weights_open(&net->weights, err);
    if (!status) status = net->row->open(net->config, &net->self, &net->io, err);
    if (!status) status = declare_weights(net, err);
    if (!status)
        *out = net;
    else
        vn_net_close(&net);
    return status;
}

void vn_net_close(vn_net **net) {
    if (!*net) return;
    if ((*net)->self) (*net)->row->close((*net)->self);
    vn_weights_close(&(*net)->weights);
    json_decref((*net)->config);
    vn_free(*net);
    *net = NULL;
}

const vn_net_row *vn_net_get_row(const vn_net *net) {
    return net->row;
}

const vn_net_io *vn_net_get_io(const vn_net *net) {
    return &net->io;
}

const json_t *vn_net_config(const vn_net *net) {
    return net->config;
}

vn_weights *vn_net_weights(const vn_net *net) {
    return net->weights;
}

static vn_node *class_input(const vn_net_io *io, vn_graph *g, int64_t batch) {
    switch (io->class_kind) {
    case VN_CLASS_INDEX: return vn_input(g, VN_I32, VN_SHAPE(batch));
    case VN_CLASS_NUMBER: return vn_input(g, VN_F32, VN_SHAPE(batch));
    case VN_CLASS_VECTOR: return vn_input(g, VN_F32, VN_SHAPE(batch, io->class_width));
    case VN_CLASS_NONE: break;
    }
    return NULL;
}

/* Whether the network has the layers and knows the perturbation; fails the graph otherwise. */
static bool can_perturb(const vn_net *net, vn_graph *g, const vn_perturb *d) {
    const char *name = net->row->row.name;
    if (d->kind & ~net->io.perturbations)
        vn_graph_fail(g, VN_UNSUPPORTED, "%s: no layer here can be perturbed in this way", name);
    else if (d->kind && (d->first < 0 || d->first > d->last || d->first >= net->io.layers))
        vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: layers %d to %d of %d", name, d->first, d->last,
                      net->io.layers);
    else
        return true;
    return false;
}

vn_node *vn_net_build(const vn_net *net, vn_graph *g, int64_t batch, int64_t height, int64_t width,
                      bool train, vn_net_inputs *in) {
    return vn_net_build_perturbed(net, g, batch, height, width, train, NULL, in);
}

vn_node *vn_net_build_perturbed(const vn_net *net, vn_graph *g, int64_t batch, int64_t height,
                                int64_t width, bool train, const vn_perturb *perturb,
                                vn_net_inputs *in) {
    const vn_net_io *io = &net->io;
    *in = (vn_net_inputs){.train = train};
    for (int i = 0; perturb && i < VN_NET_PERTURBS; i++) {
        if (!can_perturb(net, g, &perturb[i])) return NULL;
        in->perturb[i] = perturb[i];
    }
    const char *name = net->row->row.name, *whose = height == 0 ? " (sample_size)" : "";
    if (height == 0) height = io->height;
    if (width == 0) width = io->width;
    if (batch >= 1 && io->rank == 3 && *whose && height < 1)
        return vn_graph_fail(g, VN_BAD_ARGUMENT,
                             "%s: no sample_size in the config, so images of no known size", name);
    if (batch < 1 || (io->rank == 3 && (height < 1 || width < 1)))
        return vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: a batch of %lld images of %lld x %lld pixels",
                             name, (long long)batch, (long long)height, (long long)width);
    if (io->rank == 3 && (height % io->multiple || width % io->multiple))
        return vn_graph_fail(
            g, VN_BAD_ARGUMENT, "%s: images of %lld x %lld%s: both sides must be multiples of %lld",
            name, (long long)height, (long long)width, whose, (long long)io->multiple);
    vn_shape shape = io->rank == 3 ? VN_SHAPE(batch, height, width, io->in_channels)
                                   : VN_SHAPE(batch, io->in_channels);
    in->sample = vn_input(g, VN_F32, shape);
    if (io->takes_time) in->timestep = vn_input(g, io->times ? VN_I32 : VN_F32, VN_SHAPE(batch));
    in->class_labels = class_input(io, g, batch);
    return net->row->build(net->self, g, net->weights, in);
}

vn_node *vn_net_prediction(const vn_net *net, vn_graph *g, vn_node *output) {
    return net->io.learns_variance ? vn_slice(g, output, -1, 0, net->io.in_channels) : output;
}

vn_node *vn_net_variance(const vn_net *net, vn_graph *g, vn_node *output) {
    const vn_net_io *io = &net->io;
    return io->learns_variance ? vn_slice(g, output, -1, io->in_channels, io->in_channels) : NULL;
}

/* ---- feeding --------------------------------------------------------------------------------- */

static vn_status write_times(const vn_net *net, void *to, int64_t n, const float *time,
                             vn_err *err) {
    if (!time) return vn_fail(err, VN_BAD_ARGUMENT, "%s needs a timestep", net->row->row.name);
    if (!net->io.times) {
        memcpy(to, time, (size_t)n * sizeof *time);
        return VN_OK;
    }
    int32_t *row = to;
    for (int64_t i = 0; i < n; i++) {
        if (!(time[i] >= 0 && time[i] < (float)net->io.times) || time[i] != floorf(time[i]))
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "%s: timestep %g is not a whole number in 0 .. %lld", net->row->row.name,
                           (double)time[i], (long long)net->io.times - 1);
        row[i] = (int32_t)time[i];
    }
    return VN_OK;
}

static vn_status write_labels(const vn_net *net, void *to, int64_t n, const int32_t *labels,
                              vn_err *err) {
    const char *name = net->row->row.name;
    if (net->io.class_kind == VN_CLASS_VECTOR)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: class_embed_type \"identity\" takes a vector, not a class", name);
    if (!labels) return vn_fail(err, VN_BAD_ARGUMENT, "%s needs class_labels", name);
    for (int64_t i = 0; i < n; i++) {
        if (net->io.class_kind == VN_CLASS_NUMBER) {
            ((float *)to)[i] = (float)labels[i];
            continue;
        }
        if (labels[i] < 0 || labels[i] >= net->io.labels)
            return vn_fail(err, VN_BAD_ARGUMENT, "%s: class label %d is not in 0 .. %lld", name,
                           (int)labels[i], (long long)net->io.labels - 1);
        ((int32_t *)to)[i] = labels[i];
    }
    return VN_OK;
}

vn_status vn_net_write_inputs(const vn_net *net, vn_program *p, const vn_net_inputs *in,
                              const float *time, const int32_t *labels, vn_err *err) {
    int64_t n = in->sample->shape.dim[0];
    vn_status status = VN_OK;
    /* NULL where the outputs do not depend on the input */
    void *to = in->timestep ? vn_program_map(p, in->timestep) : NULL;
    if (to) status = write_times(net, to, n, time, err);
    to = in->class_labels ? vn_program_map(p, in->class_labels) : NULL;
    if (!status && to) status = write_labels(net, to, n, labels, err);
    return status;
}
