/* ports.c - what a network takes and gives: ports are declared by a network's file, found by name,
 * held to the arrays that a caller has, and filled from them. Arrays may come from files, so each
 * is checked before it is read. */
#include "nn/internal.h"

#include <math.h>
#include <string.h>

#define MAX_LENGTH (1 << 20) /* length of an array that is taken from a caller */

/* ---- declared -------------------------------------------------------------------------------- */

void vn_net_add_input(vn_net_io *io, vn_port port) {
    io->input[io->inputs++] = port;
}

void vn_net_add_output(vn_net_io *io, vn_port port) {
    io->output[io->outputs++] = port;
}

vn_port vn_port_of_sample(const char *name, bool image, int64_t channels) {
    return (vn_port){.name = name,
                     .shape = image ? VN_SHAPE(VN_DIM_BATCH, channels, VN_DIM_HEIGHT, VN_DIM_WIDTH)
                                    : VN_SHAPE(VN_DIM_BATCH, channels)};
}

void vn_net_add_sample(vn_net_io *io, bool image, int64_t channels) {
    vn_net_add_input(io, vn_port_of_sample("sample", image, channels));
}

void vn_net_add_time(vn_net_io *io, int64_t below) {
    vn_net_add_input(
        io, (vn_port){.name = "timestep", .shape = VN_SHAPE(VN_DIM_BATCH), .below = below});
}

void vn_net_add_labels(vn_net_io *io, int64_t rows) {
    if (rows == 0) return;
    vn_net_add_input(io, (vn_port){.name = "class_labels",
                                   .dtype = VN_I32,
                                   .shape = VN_SHAPE(VN_DIM_BATCH),
                                   .below = rows});
}

void vn_net_add_denoised(vn_net_io *io, int64_t channels) {
    const vn_port *in = vn_net_input(io, "sample");
    const bool image = in->shape.rank == 4;
    vn_net_add_output(io, vn_port_of_sample("sample", image, channels));
    if (channels != 2 * in->shape.dim[1]) return;
    static const char *const halves[] = {"prediction", "variance"};
    for (size_t i = 0; i < VN_COUNT(halves); i++) {
        vn_port half = vn_port_of_sample(halves[i], image, channels / 2);
        half.optional = true;
        vn_net_add_output(io, half);
    }
}

void vn_net_add_internal(vn_net_io *io, int64_t channels) {
    const vn_port *in = vn_net_input(io, "sample");
    vn_port port = vn_port_of_sample(VN_INTERNAL, in->shape.rank == 4, channels);
    port.optional = true;
    vn_net_add_output(io, port);
    io->perturbations |= VN_ANSWER_EXTRAPOLATED;
}

/* ---- found ----------------------------------------------------------------------------------- */

static int find(const vn_port *ports, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(ports[i].name, name)) return i;
    return -1;
}

const vn_port *vn_net_input(const vn_net_io *io, const char *name) {
    const int i = find(io->input, io->inputs, name);
    return i < 0 ? NULL : &io->input[i];
}

const vn_port *vn_net_output(const vn_net_io *io, const char *name) {
    const int i = find(io->output, io->outputs, name);
    return i < 0 ? NULL : &io->output[i];
}

/* Channels of an image or a point; of patches, the image's. */
static int64_t channels_of(const vn_net_io *io, const vn_port *port) {
    if (!port) return 0;
    if (port->shape.rank != 3) return port->shape.dim[1];
    return io->packing ? port->shape.dim[2] / (io->packing * io->packing) : port->shape.dim[2];
}

vn_shape vn_net_sample(const vn_net_io *io) {
    const vn_port *sample = vn_net_input(io, "sample");
    const int64_t channels = channels_of(io, sample);
    return sample && sample->shape.rank >= 3 ? VN_SHAPE(channels, io->height, io->width)
                                             : VN_SHAPE(channels);
}

int64_t vn_net_out_channels(const vn_net_io *io) {
    return channels_of(io, vn_net_output(io, "sample"));
}

int64_t vn_net_labels(const vn_net_io *io) {
    const vn_port *labels = vn_net_input(io, "class_labels");
    return labels ? labels->below : 0;
}

const vn_port *vn_net_prediction(const vn_net_io *io) {
    const vn_port *half = vn_net_output(io, "prediction");
    return half ? half : vn_net_output(io, "sample");
}

/* "unet2d has no input "sampel"; it has sample, timestep: did you mean ..." Returns -1. */
static int refuse_name(const vn_net *net, const char *kind, const vn_port *ports, int n,
                       const char *name, vn_err *err) {
    const char *known[VN_MAX_PORTS];
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        known[i] = ports[i].name;
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                     ports[i].name);
    }
    const char *near = vn_nearest(name, known, (size_t)n);
    vn_fail(err, VN_BAD_ARGUMENT, "%s has no %s \"%.64s\"; it has %s%s%s%s",
            vn_net_get_row(net)->row.name, kind, name, list, near ? "; did you mean \"" : "",
            near ? near : "", near ? "\"?" : "");
    return -1;
}

int vn_net_find_output(const vn_net *net, const char *name, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(net);
    const int i = find(io->output, io->outputs, name);
    return i < 0 ? refuse_name(net, "output", io->output, io->outputs, name, err) : i;
}

/* ---- matched --------------------------------------------------------------------------------- */

/* The length of *extent that `dim` of a port stands for; NULL: dim is a length itself. */
static int64_t *length_of(vn_extent *extent, int64_t dim) {
    switch (dim) {
    case VN_DIM_BATCH: return &extent->batch;
    case VN_DIM_HEIGHT: return &extent->height;
    case VN_DIM_WIDTH: return &extent->width;
    case VN_DIM_TOKENS: return &extent->tokens;
    case VN_DIM_PATCHES: return &extent->patches;
    case VN_DIM_IDS: return &extent->ids;
    case VN_DIM_POOLED: return &extent->pooled;
    default: return NULL;
    }
}

vn_extent vn_extent_of(int64_t batch, const vn_shape *sample) {
    const bool image = vn_shape_is_image(sample);
    return (vn_extent){
        .batch = batch, .height = image ? sample->dim[1] : 0, .width = image ? sample->dim[2] : 0};
}

void vn_extent_take(vn_extent *extent, const vn_port *port, const vn_node *node) {
    const vn_shape shape = vn_net_file_shape(node);
    for (int i = 0; i < shape.rank && i < port->shape.rank; i++) {
        int64_t *length = length_of(extent, port->shape.dim[i]);
        if (length) *length = shape.dim[i];
    }
}

vn_shape vn_port_shape(const vn_port *port, const vn_extent *extent) {
    vn_extent known = *extent;
    vn_shape shape = port->shape;
    for (int i = 0; i < shape.rank; i++) {
        const int64_t dim = shape.dim[i], *length = length_of(&known, dim);
        if (length) shape.dim[i] = *length;
        if (dim != VN_DIM_HEIGHT && dim != VN_DIM_WIDTH) continue;
        if (port->reduced) shape.dim[i] /= port->reduced;
        if (port->enlarged) shape.dim[i] *= port->enlarged;
    }
    return shape;
}

/* "F32 [2, 3, H, W]": lengths that are not known are letters. Returns text. */
static const char *port_text(const vn_port *port, const vn_extent *extent, char text[128]) {
    static const char letters[] = "?NHWTPIC";
    const vn_shape shape = vn_port_shape(port, extent);
    size_t used = (size_t)snprintf(text, 128, "%s [", vn_dtype_name(port->dtype));
    for (int i = 0; i < shape.rank && used < 128; i++) {
        const char *comma = i ? ", " : "";
        used += shape.dim[i] ? (size_t)snprintf(text + used, 128 - used, "%s%lld", comma,
                                                (long long)shape.dim[i])
                             : (size_t)snprintf(text + used, 128 - used, "%s%c", comma,
                                                letters[-port->shape.dim[i]]);
    }
    if (used < 128) snprintf(text + used, 128 - used, "]");
    return text;
}

/* Whether one number stands for all of a batch. */
static bool is_one_for_all(const vn_port *port, const vn_shape *shape) {
    return port->shape.rank == 1 && port->shape.dim[0] == VN_DIM_BATCH && shape->rank <= 1 &&
           vn_shape_count(shape) == 1;
}

/* Whether an array has a port's shape; lengths of *extent that are 0 become its own. */
static bool fits(const vn_port *port, const vn_shape *shape, vn_extent *extent) {
    if (extent->batch && is_one_for_all(port, shape)) return true;
    if (shape->rank != port->shape.rank) return false;
    vn_extent found = *extent;
    for (int i = 0; i < shape->rank; i++) {
        int64_t *length = length_of(&found, port->shape.dim[i]);
        if (length && *length == 0 && shape->dim[i] >= 1 && shape->dim[i] <= MAX_LENGTH)
            *length = shape->dim[i];
        if (shape->dim[i] != (length ? *length : port->shape.dim[i])) return false;
    }
    *extent = found;
    return true;
}

static const vn_feed *find_feed(const char *name, int n, const vn_feed *in) {
    for (int i = 0; i < n; i++)
        if (!strcmp(in[i].array.name, name)) return &in[i];
    return NULL;
}

static vn_status match_port(const vn_net *net, const vn_port *port, const vn_feed *feed,
                            vn_extent *extent, vn_err *err) {
    const char *name = vn_net_get_row(net)->row.name;
    char expected[128], found[128];
    if (!feed && port->optional) return VN_OK;
    if (!feed)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s needs %s, %s", name, port->name,
                       port_text(port, extent, expected));
    const vn_array *a = &feed->array;
    if (port->dtype == VN_I32 && vn_dtype_is_float(a->dtype))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s is %s, expected %s or other whole numbers",
                       name, port->name, vn_dtype_name(a->dtype),
                       port_text(port, extent, expected));
    if (fits(port, &a->shape, extent)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s has shape %s, expected %s", name, port->name,
                   vn_shape_text(&a->shape, found), port_text(port, extent, expected));
}

vn_status vn_net_match(const vn_net *net, vn_extent *extent, int n, const vn_feed *in,
                       vn_err *err) {
    const vn_net_io *io = vn_net_get_io(net);
    vn_status status = VN_OK;
    for (int i = 0; i < n; i++)
        if (!vn_net_input(io, in[i].array.name)) {
            refuse_name(net, "input", io->input, io->inputs, in[i].array.name, err);
            return VN_BAD_ARGUMENT;
        }
    for (int i = 0; i < io->inputs && !status; i++)
        status = match_port(net, &io->input[i], find_feed(io->input[i].name, n, in), extent, err);
    return status;
}

/* ---- filled ---------------------------------------------------------------------------------- */

/* One input of a program, and the array that it is filled from. */
typedef struct port_filling {
    const vn_net *net;
    const vn_port *port;
    const vn_feed *feed;
    const vn_node *node;
    vn_program *program;
    vn_thread_pool *pool;
    vn_err *err;
} port_filling;

static vn_status refuse_number(const port_filling *f, double found) {
    return vn_fail(
        f->err, VN_BAD_ARGUMENT, "%s: %s has %g, which is not a whole number in 0 .. %lld",
        vn_net_get_row(f->net)->row.name, f->port->name, found, (long long)f->port->below - 1);
}

/* Rows of a table from floats [count]. */
static vn_status fill_rows(const port_filling *f, const float *from, int32_t *to, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (!(from[i] >= 0 && (double)from[i] < (double)f->port->below) ||
            from[i] != floorf(from[i]))
            return refuse_number(f, (double)from[i]);
        to[i] = (int32_t)from[i];
    }
    return VN_OK;
}

static vn_status fill_whole(const port_filling *f, int32_t *to, int64_t count) {
    const vn_status status = vn_array_read_i32(&f->feed->array, to, f->err);
    if (status) return status;
    for (int64_t i = 0; i < count && f->port->below; i++)
        if (to[i] < 0 || to[i] >= f->port->below) return refuse_number(f, to[i]);
    return VN_OK;
}

/* The array's floats where they lie, if they can be used there; else NULL. */
static const float *floats_of(const vn_array *a) {
    const bool aligned = (uintptr_t)a->data % _Alignof(float) == 0;
    return a->dtype == VN_F32 && aligned ? a->data : NULL;
}

static vn_status fill_floats(const port_filling *f, const float *from, void *to) {
    const int64_t count = vn_shape_count(&f->feed->array.shape);
    if (f->node->dtype == VN_I32) return fill_rows(f, from, to, count);
    if (vn_shape_count(&f->node->shape) == count)
        vn_net_write_node(f->program, f->node, from, f->feed->scale, f->pool);
    else
        memcpy(to, from, (size_t)count * sizeof(float));
    return VN_OK;
}

static vn_status fill_any(const port_filling *f, void *to) {
    const vn_array *a = &f->feed->array;
    const int64_t count = vn_shape_count(&a->shape);
    if (f->node->dtype == VN_I32 && !vn_dtype_is_float(a->dtype)) return fill_whole(f, to, count);
    const float *floats = floats_of(a);
    if (floats) return fill_floats(f, floats, to);
    float *copy = vn_alloc((size_t)count, sizeof *copy);
    if (!copy) return vn_no_memory(f->err);
    vn_array_read_f32(a, copy);
    const vn_status status = fill_floats(f, copy, to);
    vn_free(copy);
    return status;
}

/* What stands for an input that is left out, in all of it. */
static vn_status fill_missing(const port_filling *f, uint32_t *to, int64_t count) {
    const int32_t whole = f->port->missing;
    if (f->port->fill) {
        const vn_status status = f->port->fill(&f->node->shape, (float *)(void *)to, f->err);
        return status ? vn_fail_in(f->err, "%s", vn_net_get_row(f->net)->row.name) : VN_OK;
    }
    const float number = (float)whole;
    for (int64_t i = 0; i < count; i++)
        memcpy(&to[i], f->node->dtype == VN_I32 ? (const void *)&whole : &number, sizeof *to);
    return VN_OK;
}

/* Numbers are of four bytes, floats or not. */
static vn_status fill(const port_filling *f) {
    uint32_t *to = vn_program_map(f->program, f->node);
    const int64_t count = vn_shape_count(&f->node->shape);
    if (!to) return VN_OK; /* the program's outputs do not depend on it */
    if (!f->feed) return f->port->optional ? fill_missing(f, to, count) : VN_OK;
    const vn_status status = fill_any(f, to);
    const bool one = vn_shape_count(&f->feed->array.shape) == 1;
    for (int64_t i = 1; i < count && one && !status; i++) to[i] = to[0];
    return status;
}

vn_status vn_net_fill(const vn_net *net, vn_program *p, const vn_net_nodes *nodes, int n,
                      const vn_feed *in, vn_thread_pool *pool, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(net);
    vn_status status = VN_OK;
    for (int i = 0; i < io->inputs && !status; i++) {
        const vn_port *port = &io->input[i];
        const port_filling f = {net,  port, find_feed(port->name, n, in), nodes->in[i], p,
                                pool, err};
        status = fill(&f);
    }
    return status;
}
