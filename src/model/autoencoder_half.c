/* autoencoder_half.c - an autoencoder's encoder or decoder on a batch: in slices, and a large image
 * in parts, where memory asks for it (tiles.c). */
#include "model/autoencoder.h"

#define PASS_BYTES ((size_t)256 << 20) /* that a slice of several images may take */

const vn_latents *vn_autoencoder_latents(const vn_autoencoder *a) {
    return &vn_net_get_io(a->net)->latents;
}

vn_status vn_half_open(vn_autoencoder *a, vn_half half, vn_err *err) {
    if (a->runner[half]) return VN_OK;
    vn_status status = a->half[half] ? VN_OK : vn_net_open_half(a->net, half, &a->half[half], err);
    if (!status)
        status = vn_runner_open(a->half[half], a->engine.device, a->values, &a->runner[half], err);
    return status ? vn_fail_in(err, "%s", a->source) : VN_OK;
}

/* ---- one half on a batch --------------------------------------------------------------------- */

static vn_status run_slice(const vn_half_call *r, int64_t first, int64_t n, vn_err *err) {
    vn_feed feed = {.array = *r->in};
    const int64_t each = vn_shape_count(&r->in->shape) / r->in->shape.dim[0];
    vn_fetch out[2];
    feed.array.shape.dim[0] = n;
    feed.array.data =
        (const char *)r->in->data + (size_t)(first * each) * vn_dtype_size(r->in->dtype);
    for (int i = 0; i < r->fetches; i++)
        out[i] = (vn_fetch){r->out[i].name, r->out[i].data + first * r->floats[i]};
    const vn_net_spec spec = {.extent = {.batch = n, .height = r->rows, .width = r->columns}};
    return vn_runner_run(r->a->runner[r->half], &spec, 1, &feed, r->fetches, out, err);
}

/* So many at once as PASS_BYTES allow. */
static vn_status run_slices(const vn_half_call *r, vn_err *err) {
    const int64_t n = r->in->shape.dim[0];
    const vn_extent extent = {.batch = n, .height = r->rows, .width = r->columns};
    int64_t slice = 1;
    vn_status status = vn_net_rows_within(r->a->half[r->half], r->a->engine.device, &extent,
                                          PASS_BYTES, &slice, err);
    for (int64_t i = 0; i < n && !status; i += slice)
        status = run_slice(r, i, n - i < slice ? n - i : slice, err);
    return status;
}

static vn_status run_tile(void *self, int64_t rows, int64_t columns, const float *in, float *out,
                          vn_err *err) {
    const vn_half_call *r = self;
    const vn_feed feed = {
        .array = {"sample", VN_F32, VN_SHAPE(1, r->in->shape.dim[1], rows, columns), in}};
    const vn_net_spec spec = {.extent = {.batch = 1, .height = rows, .width = columns}};
    return vn_runner_run(r->a->runner[r->half], &spec, 1, &feed, 1,
                         &(vn_fetch){r->out[0].name, out}, err);
}

static vn_status run_tiles(const vn_half_call *r, int64_t tile, vn_err *err) {
    const vn_latents *l = vn_autoencoder_latents(r->a);
    const bool up = r->half == VN_HALF_DECODER;
    const vn_port *port = vn_net_output(vn_net_get_io(r->a->half[r->half]), r->out[0].name);
    const int64_t n = r->in->shape.dim[0], each = vn_shape_count(&r->in->shape) / n;
    const vn_tiles t = {.n = 1,
                        .channels = r->in->shape.dim[1],
                        .rows = r->rows,
                        .columns = r->columns,
                        .out_channels = port->shape.dim[1],
                        .tile = up ? tile / l->factor : tile,
                        .reduced = port->reduced ? port->reduced : 1,
                        .enlarged = port->enlarged ? port->enlarged : 1,
                        .ramps = l->ramps,
                        .run = run_tile,
                        .self = (void *)r};
    vn_status status = VN_OK;
    for (int64_t i = 0; i < n && !status; i++)
        status = vn_tiles_run(&t, (const float *)r->in->data + i * each,
                              r->out[0].data + i * r->floats[0], err);
    return status;
}

/* ---- whole or in parts ----------------------------------------------------------------------- */

/* Parts must have whole latents in what they overlap by. */
vn_status vn_half_check_tile(const vn_autoencoder *a, int64_t tile, vn_err *err) {
    const vn_latents *l = vn_autoencoder_latents(a);
    const char *name = vn_net_get_row(a->net)->row.name;
    const int64_t unit = (l->ramps ? 16 : 4) * l->factor;
    if (tile <= 0) return VN_OK;
    if (!l->tile)
        return vn_fail(err, VN_UNSUPPORTED, "tile: %s takes images as a whole alone", name);
    if (tile % unit == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "tile: %lld is not a multiple of %lld, as parts of %s are",
                   (long long)tile, (long long)unit, name);
}

/* The side of the parts that an image is run in; 0: it is run whole. */
static vn_status choose_tile(const vn_half_call *r, int64_t asked, int64_t *tile, vn_err *err) {
    const vn_latents *l = vn_autoencoder_latents(r->a);
    const int64_t unit = r->half == VN_HALF_ENCODER ? 1 : l->factor, rows = r->rows * unit,
                  columns = r->columns * unit;
    *tile = asked > 0 ? asked : l->tile;
    if (asked < 0 || r->half == VN_HALF_LOOKUP || !*tile || (rows <= *tile && columns <= *tile))
        *tile = 0;
    if (asked || !*tile) return VN_OK;
    size_t bytes = 0;
    const vn_extent one = {.batch = 1, .height = r->rows, .width = r->columns};
    const vn_status status =
        vn_net_pass_bytes(r->a->half[r->half], r->a->engine.device, &one, &bytes, err);
    if (status || bytes <= vn_memory_total() / 2) *tile = 0;
    if (!status && *tile) return vn_half_check_tile(r->a, *tile, err);
    return status;
}

/* Opens the half and holds an array to its input. */
vn_status vn_half_check_input(vn_autoencoder *a, vn_half half, const vn_array *in, vn_err *err) {
    const vn_shape *s = &in->shape;
    const vn_feed feed = {.array = *in};
    vn_extent extent = {0};
    vn_status status = vn_half_open(a, half, err);
    if (!status) status = vn_net_match(a->half[half], &extent, 1, &feed, err);
    if (status) return status;
    const long long rows = s->dim[s->rank - 2], columns = s->dim[s->rank - 1],
                    multiple = vn_net_get_io(a->half[half])->multiple;
    if (rows % multiple == 0 && columns % multiple == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s: images of %lld x %lld: both sides must be multiples of %lld",
                   vn_net_get_row(a->net)->row.name, rows, columns, multiple);
}

/* Of an input that was checked. */
vn_status vn_half_run(vn_half_call *r, int64_t asked, vn_err *err) {
    const vn_shape *s = &r->in->shape;
    int64_t tile = 0;
    r->rows = s->dim[s->rank - 2];
    r->columns = s->dim[s->rank - 1];
    const vn_status status = choose_tile(r, asked, &tile, err);
    if (status) return status;
    return tile ? run_tiles(r, tile, err) : run_slices(r, err);
}

vn_status vn_autoencoder_plan(vn_autoencoder *a, int64_t rows, int64_t columns, size_t *bytes,
                              int64_t *tile, vn_err *err) {
    const vn_latents *l = vn_autoencoder_latents(a);
    const vn_half_call r = {.a = a, .half = VN_HALF_DECODER, .rows = rows, .columns = columns};
    vn_status status = vn_half_open(a, VN_HALF_DECODER, err);
    if (!status) status = choose_tile(&r, 0, tile, err);
    vn_extent one = {.batch = 1, .height = rows, .width = columns};
    if (!status && *tile) one.height = one.width = *tile / l->factor;
    return status ? status
                  : vn_net_pass_bytes(a->half[VN_HALF_DECODER], a->engine.device, &one, bytes, err);
}
