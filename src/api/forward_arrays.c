/* forward_arrays.c - vn_forward_arrays: a model's network run on a program's own arrays. forward.c
 * runs one on a file's, with gradients. */
#include "api/internal.h"

/* What a caller gives may be anything. */
static vn_status check(size_t n, const vn_array *arrays, const char *what, vn_err *err) {
    if (n > VN_MAX_PORTS || (n && !arrays))
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_forward_arrays: %zu %ss; 1 to %d can be given", n,
                       what, VN_MAX_PORTS);
    for (size_t i = 0; i < n; i++)
        if (!arrays[i].name)
            return vn_fail(err, VN_BAD_ARGUMENT, "vn_forward_arrays: %s %zu has no name", what, i);
    return VN_OK;
}

static vn_status check_inputs(size_t n, const vn_array *in, vn_err *err) {
    const vn_status status = check(n, in, "input", err);
    if (status) return status;
    for (size_t i = 0; i < n; i++) {
        const vn_array *a = &in[i];
        size_t count, bytes;
        if ((unsigned)a->dtype >= VN_DTYPE_COUNT || a->shape.rank < 0 ||
            a->shape.rank > VN_MAX_RANK || !vn_shape_valid(&a->shape) ||
            !vn_array_size(&a->shape, a->dtype, &count, &bytes))
            return vn_fail(err, VN_BAD_ARGUMENT, "%.64s: its dtype or shape is none", a->name);
        if (!a->data) return vn_fail(err, VN_BAD_ARGUMENT, "%.64s: data is needed", a->name);
    }
    return VN_OK;
}

/* Shapes of the outputs, and memory for them all. One that the network does not have takes none:
 * the runner refuses it. */
static vn_status place(vn_model *m, const vn_extent *extent, size_t n, vn_array *out,
                       vn_fetch *takes, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(vn_model_net(m));
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        const vn_port *port = vn_net_output(io, out[i].name);
        out[i].dtype = VN_F32;
        out[i].shape = port ? vn_port_shape(port, extent) : VN_SHAPE(0);
        total += (size_t)vn_shape_count(&out[i].shape);
    }
    vn_free(m->outputs);
    float *next = m->outputs = vn_alloc(total, sizeof *m->outputs);
    if (!next) return vn_no_memory(err);
    for (size_t i = 0; i < n; next += vn_shape_count(&out[i].shape), i++) {
        takes[i] = (vn_fetch){out[i].name, next};
        out[i].data = next;
    }
    return VN_OK;
}

static vn_status run(vn_model *m, size_t n_in, const vn_array *in, size_t n_out, vn_array *out,
                     vn_err *err) {
    const vn_net *net = vn_model_net(m);
    vn_feed feeds[VN_MAX_PORTS] = {0};
    vn_fetch takes[VN_MAX_PORTS];
    vn_net_spec spec = {0};
    for (size_t i = 0; i < n_in; i++) feeds[i].array = in[i];
    vn_status status = vn_net_match(net, &spec.extent, (int)n_in, feeds, err);
    if (!status && !m->runner)
        status = vn_runner_open(net, m->engine.device, m->part[0].values, &m->runner, err);
    if (!status) status = place(m, &spec.extent, n_out, out, takes, err);
    if (!status) status = vn_runner_run(m->runner, &spec, (int)n_in, feeds, (int)n_out, takes, err);
    return status;
}

vn_status vn_forward_arrays(vn_model *m, size_t n_in, const vn_array *in, size_t n_out,
                            vn_array *out) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    if (!vn_model_net(m)) return vn_fail(err, VN_UNSUPPORTED, "%s: is no network", m->source);
    vn_status status = check_inputs(n_in, in, err);
    if (!status) status = check(n_out, out, "output", err);
    if (!status) status = run(m, n_in, in, n_out, out, err);
    for (size_t i = 0; status && out && i < n_out && n_out <= VN_MAX_PORTS; i++) out[i].data = NULL;
    return status;
}
