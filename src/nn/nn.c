/* nn.c - what all networks share: they are opened from a config, and built into a graph by a
 * spec. */
#include "nn/internal.h"

#include <string.h>

struct vn_net {
    const vn_net_row *row;
    const vn_net *whole; /* of which it is a part: its config, self and weights; NULL: it is none */
    void (*build)(const void *self, const vn_scope *s);
    json_t *config;
    void *self;
    vn_net_io io;
    vn_weights *weights;
};

static vn_status find_row(const json_t *config, const vn_net_row **row, vn_err *err) {
    const char *class_name = json_string_value(json_object_get(config, "_class_name"));
    if (!class_name)
        return vn_fail(err, VN_BAD_FILE, "no \"_class_name\": not the config of a network");
    const char *known[2 * VN_NET_ROWS];
    size_t count = 0;
    for (size_t i = 0; (*row = vn_net_row_at(i)); i++) {
        known[count++] = (*row)->class_name;
        if ((*row)->own_class) known[count++] = (*row)->own_class;
        if (!strcmp(class_name, (*row)->class_name) || !strcmp(class_name, known[count - 1]))
            return VN_OK;
    }
    return vn_config_refuse("network", "_class_name", class_name, known, count, err);
}

/* Builds the network once, for its list of weights, at a size that it can take. So an error here
 * comes from the config. */
static vn_status declare_weights(vn_net *net, vn_err *err) {
    vn_graph *g = NULL;
    vn_status status = vn_graph_open(&g, err);
    if (status) return status;
    const int64_t most = net->io.max_side, usual = 4 * net->io.multiple,
                  side = most && most < usual ? most : usual;
    const bool fixed = net->io.fixed_size;
    const vn_net_spec spec = {.extent = {.batch = 1,
                                         .height = fixed ? net->io.height : side,
                                         .width = fixed ? net->io.width : side,
                                         .tokens = 1,
                                         .patches = 4}};
    vn_net_nodes nodes;
    status = vn_net_build(net, g, &spec, &nodes, err);
    if (!status) status = vn_net_find_hidden(net->weights, &net->io, g, &nodes, err);
    vn_graph_close(&g);
    if (status == VN_BAD_ARGUMENT) {
        status = VN_BAD_FILE;
        if (err) err->status = status;
    }
    return status;
}

/* row NULL: the config says which. */
static vn_status open_net(const vn_net_row *row, const json_t *config, vn_net **out, vn_err *err) {
    vn_net *net = vn_calloc(1, sizeof *net);
    if (!net) return vn_no_memory(err);
    net->row = row;
    net->config = vn_json_copy(config);
    vn_status status = net->config ? vn_config_update(net->config, err) : vn_no_memory(err);
    if (!status && !row) status = find_row(net->config, &net->row, err);
    if (!status) status = vn_weights_open(&net->weights, err);
    if (!status) net->build = net->row->build;
    if (!status) status = net->row->open(net->config, &net->self, &net->io, err);
    /* the class is named as the given config names it, by which its files are called too */
    if (!status && !json_object_get(config, "_class_name"))
        json_object_del(net->config, "_class_name");
    if (!status) status = declare_weights(net, err);
    if (!status)
        *out = net;
    else
        vn_net_close(&net);
    return status;
}

vn_status vn_net_open(const json_t *config, vn_net **out, vn_err *err) {
    return open_net(NULL, config, out, err);
}

vn_status vn_net_open_row(const vn_net_row *row, const json_t *config, vn_net **out, vn_err *err) {
    return open_net(row, config, out, err);
}

vn_status vn_net_open_half(const vn_net *whole, vn_half half, vn_net **out, vn_err *err) {
    static const char *const parts[] = {"encoder", "decoder", "codebook"};
    const vn_half_row *row = &whole->row->half[half];
    if (!row->ports)
        return vn_fail(err, VN_UNSUPPORTED, "%s has no %s", whole->row->row.name, parts[half]);
    vn_net *net = vn_calloc(1, sizeof *net);
    if (!net) return vn_no_memory(err);
    *net = *whole;
    net->whole = whole;
    net->build = row->build;
    net->io = (vn_net_io){.multiple = 1, .latents = whole->io.latents};
    row->ports(net->self, &net->io);
    *out = net;
    return VN_OK;
}

void vn_net_close(vn_net **net) {
    if (!*net) return;
    if ((*net)->whole) {
        vn_free(*net);
        *net = NULL;
        return;
    }
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

const void *vn_net_self(const vn_net *net) {
    return net->self;
}

const json_t *vn_net_config(const vn_net *net) {
    return net->config;
}

vn_weights *vn_net_weights(const vn_net *net) {
    return net->weights;
}

/* ---- building -------------------------------------------------------------------------------- */

/* Whether an input has a length of this kind. */
static bool has_dim(const vn_net_io *io, int64_t dim) {
    for (int i = 0; i < io->inputs; i++)
        for (int k = 0; k < io->input[i].shape.rank; k++)
            if (io->input[i].shape.dim[k] == dim) return true;
    return false;
}

void vn_net_complete(const vn_net *net, vn_extent *extent) {
    const vn_net_io *io = &net->io;
    if (extent->height == 0) extent->height = io->height;
    if (extent->width == 0) extent->width = io->width;
    if (!has_dim(io, VN_DIM_HEIGHT)) extent->height = 0;
    if (!has_dim(io, VN_DIM_WIDTH)) extent->width = 0;
    if (!has_dim(io, VN_DIM_TOKENS)) extent->tokens = 0;
    if (!has_dim(io, VN_DIM_PATCHES)) extent->patches = 0;
}

int64_t vn_net_patches(const vn_net_io *io, int64_t height, int64_t width) {
    return io->packing ? height / io->packing * (width / io->packing) : 0;
}

vn_extent vn_net_usual(const vn_net_io *io, const vn_extent *extent) {
    vn_extent usual = *extent;
    if (!usual.patches) usual.patches = vn_net_patches(io, usual.height, usual.width);
    if (!usual.patches) usual.patches = VN_USUAL_PATCHES;
    if (!usual.tokens) usual.tokens = VN_USUAL_TOKENS;
    return usual;
}

/* The lengths that a graph is built for. */
static vn_extent lengths_of(const vn_net *net, const vn_extent *extent) {
    vn_extent all = *extent;
    vn_net_complete(net, &all);
    if (all.ids == 0) all.ids = net->io.usual_ids;
    if (all.pooled == 0) all.pooled = net->io.usual_pooled;
    return all;
}

/* Fails the graph where the network is not for such lengths. given: before they were completed. */
static bool check_extent(const vn_net *net, vn_graph *g, const vn_extent *extent,
                         const vn_extent *given) {
    const vn_net_io *io = &net->io;
    const char *name = net->row->row.name, *whose = given->height == 0 ? " (sample_size)" : "";
    const bool image = has_dim(io, VN_DIM_HEIGHT);
    const long long n = extent->batch, height = extent->height, width = extent->width;
    if (n >= 1 && image && *whose && height < 1)
        vn_graph_fail(g, VN_BAD_ARGUMENT,
                      "%s: no sample_size in the config, so images of no known size", name);
    else if (n < 1 || (image && (height < 1 || width < 1)))
        vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: a batch of %lld images of %lld x %lld pixels", name,
                      n, height, width);
    else if (has_dim(io, VN_DIM_TOKENS) && extent->tokens < 1)
        vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: %lld tokens", name, (long long)extent->tokens);
    else if (has_dim(io, VN_DIM_PATCHES) && extent->patches < 1)
        vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: %lld patches", name, (long long)extent->patches);
    else if (image && io->max_side && (height > io->max_side || width > io->max_side))
        vn_graph_fail(g, VN_BAD_ARGUMENT,
                      "%s: images of %lld x %lld%s; it takes up to %lld on a side", name, height,
                      width, whose, (long long)io->max_side);
    else if (image && io->fixed_size && (height != io->height || width != io->width))
        vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: images of %lld x %lld; it takes %lld x %lld alone",
                      name, height, width, (long long)io->height, (long long)io->width);
    else if (image && (height % io->multiple || width % io->multiple))
        vn_graph_fail(g, VN_BAD_ARGUMENT,
                      "%s: images of %lld x %lld%s: both sides must be multiples of %lld", name,
                      height, width, whose, (long long)io->multiple);
    else
        return true;
    return false;
}

/* Whether the network has the layers and knows the perturbation; fails the graph otherwise. */
static bool can_perturb(const vn_net *net, vn_graph *g, const vn_perturb *d) {
    const char *name = net->row->row.name;
    if (d->kind & ~net->io.perturbations)
        vn_graph_fail(g, VN_UNSUPPORTED, "%s: no layer here can be perturbed in this way", name);
    else if (d->kind && d->kind != VN_ANSWER_EXTRAPOLATED &&
             (d->first < 0 || d->first > d->last || d->first >= net->io.layers))
        vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: layers %d to %d of %d", name, d->first, d->last,
                      net->io.layers);
    else
        return true;
    return false;
}

/* Whether the text to be led away from is there where a perturbation needs one, and only there;
 * fails the graph otherwise. */
static bool check_negative(const vn_net *net, vn_graph *g, const vn_extent *extent,
                           const vn_net_spec *spec) {
    bool needs = false;
    for (int i = 0; i < VN_NET_PERTURBS; i++)
        needs = needs || spec->perturb[i].kind == VN_ATTENTION_NORMALIZED;
    if (needs ? spec->negative > 0 && spec->negative < extent->tokens : spec->negative == 0)
        return true;
    vn_graph_fail(g, VN_BAD_ARGUMENT,
                  "%s: %lld of %lld tokens are those of a text to be led away from",
                  net->row->row.name, (long long)spec->negative, (long long)extent->tokens);
    return false;
}

/* What the node of a port is. */
static void node_of(const vn_port *port, const vn_extent *extent, vn_dtype *dtype,
                    vn_shape *shape) {
    *shape = vn_port_shape(port, extent);
    if (shape->rank == 4)
        *shape = VN_SHAPE(shape->dim[0], shape->dim[2], shape->dim[3], shape->dim[1]);
    *dtype = port->below || port->dtype == VN_I32 ? VN_I32 : VN_F32;
}

vn_status vn_net_make_inputs(const vn_net *net, vn_graph *g, const vn_net_spec *spec,
                             vn_net_nodes *nodes, vn_err *err) {
    const vn_net_io *io = &net->io;
    const vn_extent extent = lengths_of(net, &spec->extent);
    *nodes = (vn_net_nodes){0};
    const bool ok = check_extent(net, g, &extent, &spec->extent);
    for (int i = 0; ok && i < io->inputs; i++) {
        vn_dtype dtype;
        vn_shape shape;
        node_of(&io->input[i], &extent, &dtype, &shape);
        nodes->in[i] = vn_input(g, dtype, shape);
    }
    return vn_graph_status(g, err);
}

/* Whether the nodes can stand for the inputs; fails the graph otherwise. */
static bool check_nodes(const vn_net *net, vn_graph *g, const vn_extent *extent,
                        const vn_net_nodes *nodes) {
    const vn_net_io *io = &net->io;
    for (int i = 0; i < io->inputs; i++) {
        vn_dtype dtype;
        vn_shape shape;
        node_of(&io->input[i], extent, &dtype, &shape);
        const vn_node *n = nodes->in[i];
        if (n && n->dtype == dtype && vn_shape_equal(&n->shape, &shape)) continue;
        vn_graph_fail(g, VN_BAD_ARGUMENT, "%s: what is given for %s has not its type and shape",
                      net->row->row.name, io->input[i].name);
        return false;
    }
    return true;
}

vn_status vn_net_build_on(const vn_net *net, vn_graph *g, const vn_net_spec *spec,
                          vn_net_nodes *nodes, vn_err *err) {
    const vn_extent extent = lengths_of(net, &spec->extent);
    bool ok = check_extent(net, g, &extent, &spec->extent);
    for (int i = 0; i < VN_NET_PERTURBS && ok; i++) ok = can_perturb(net, g, &spec->perturb[i]);
    ok = ok && check_negative(net, g, &extent, spec);
    if (ok && check_nodes(net, g, &extent, nodes)) {
        const vn_scope root = {.g = g,
                               .w = net->weights,
                               .train = spec->train,
                               .net = net->row->row.name,
                               .io = &net->io,
                               .nodes = nodes,
                               .perturb = spec->perturb,
                               .negative = spec->negative};
        nodes->hidden = NULL;
        net->build(net->self, &root);
    }
    return vn_graph_status(g, err);
}

vn_status vn_net_build(const vn_net *net, vn_graph *g, const vn_net_spec *spec, vn_net_nodes *nodes,
                       vn_err *err) {
    const vn_status status = vn_net_make_inputs(net, g, spec, nodes, err);
    return status ? status : vn_net_build_on(net, g, spec, nodes, err);
}

vn_node *vn_net_in(const vn_net *net, const vn_net_nodes *nodes, const char *name) {
    const vn_port *port = vn_net_input(&net->io, name);
    return port ? nodes->in[port - net->io.input] : NULL;
}

vn_node *vn_net_out(const vn_net *net, const vn_net_nodes *nodes, const char *name) {
    const vn_port *port = vn_net_output(&net->io, name);
    return port ? nodes->out[port - net->io.output] : NULL;
}

vn_node *vn_scope_input(const vn_scope *s, const char *name) {
    const vn_port *port = vn_net_input(s->io, name);
    return port ? s->nodes->in[port - s->io->input] : NULL;
}

vn_node *vn_scope_text(const vn_scope *s, const char *name, int axis) {
    vn_node *x = vn_scope_input(s, name);
    if (!x || !s->negative) return x;
    return vn_slice(s->g, x, axis, 0, x->shape.dim[axis] - s->negative);
}

vn_node *vn_scope_negative(const vn_scope *s, const char *name, int axis) {
    vn_node *x = vn_scope_input(s, name);
    if (!x || !s->negative) return NULL;
    return vn_slice(s->g, x, axis, x->shape.dim[axis] - s->negative, s->negative);
}

void vn_scope_output(const vn_scope *s, const char *name, vn_node *y) {
    const vn_port *port = vn_net_output(s->io, name);
    if (port) s->nodes->out[port - s->io->output] = y;
}

void vn_scope_denoised(const vn_scope *s, vn_node *y) {
    vn_scope_output(s, "sample", y);
    if (!vn_net_output(s->io, "variance")) return;
    const int64_t channels = vn_net_out_channels(s->io) / 2;
    vn_scope_output(s, "prediction", vn_slice(s->g, y, -1, 0, channels));
    vn_scope_output(s, "variance", vn_slice(s->g, y, -1, channels, channels));
}

void vn_scope_denoised_twice(const vn_scope *s, vn_node *inner, vn_node *y) {
    vn_scope_output(s, VN_INTERNAL, inner);
    vn_scope_denoised(s, vn_extrapolated(s, inner, y));
}

void vn_scope_hidden(const vn_scope *s, vn_node *x) {
    s->nodes->hidden = x;
}
