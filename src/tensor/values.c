/* values.c - where a network's weights lie in a device's memory: an address for each, and memory
 * for those that lie nowhere else. */
#include "tensor/internal.h"

struct vn_values {
    const vn_weights *weights;
    vn_device device;
    const void **at; /* [weights] */
    char *own;       /* the memory of those that were not lent */
    size_t bytes;    /* of it */
    void *kept;      /* closed with the values */
    void (*close)(void *kept);
    atomic_int holders;
};

size_t vn_weight_bytes(const vn_weight *w) {
    return (w->count * vn_dtype_size(w->dtype) + 63) / 64 * 64;
}

/* Memory for the weights without an address, which get one. */
static vn_status take_own(vn_values *v, vn_err *err) {
    const size_t count = vn_weights_count(v->weights);
    for (size_t i = 0; i < count; i++)
        if (!v->at[i]) v->bytes += vn_weight_bytes(vn_weights_at(v->weights, i));
    if (v->bytes == 0) return VN_OK;
    void *own = NULL;
    const vn_status status = v->device.row->take(v->device.self, v->bytes, &own, err);
    if (status) return status;
    const char *next = v->own = own;
    for (size_t i = 0; i < count; i++) {
        if (v->at[i]) continue;
        v->at[i] = next;
        next += vn_weight_bytes(vn_weights_at(v->weights, i));
    }
    return VN_OK;
}

vn_status vn_values_open(const vn_weights *w, const vn_device *d, const void *const *lent,
                         vn_values **out, vn_err *err) {
    vn_values *v = *out = vn_calloc(1, sizeof *v);
    if (!v) return vn_no_memory(err);
    v->weights = w;
    v->device = *d;
    atomic_init(&v->holders, 1);
    v->at = vn_calloc(vn_weights_count(w), sizeof(void *));
    for (size_t i = 0; v->at && lent && i < vn_weights_count(w); i++) v->at[i] = lent[i];
    const vn_status status = v->at ? take_own(v, err) : vn_no_memory(err);
    if (status) vn_values_close(out);
    return status;
}

vn_status vn_values_over(const vn_weights *w, const vn_device *d, const float *flat,
                         vn_values **out, vn_err *err) {
    const void **lent = vn_alloc(vn_weights_count(w), sizeof(void *));
    *out = NULL;
    if (!lent) return vn_no_memory(err);
    for (size_t i = 0; i < vn_weights_count(w); i++) lent[i] = flat + vn_weights_at(w, i)->offset;
    const vn_status status = vn_values_open(w, d, lent, out, err);
    vn_free(lent);
    return status;
}

void vn_values_keep(vn_values *v, void *what, void (*close)(void *what)) {
    v->kept = what;
    v->close = close;
}

vn_values *vn_values_share(vn_values *v) {
    atomic_fetch_add(&v->holders, 1);
    return v;
}

void vn_values_close(vn_values **out) {
    vn_values *v = *out;
    *out = NULL;
    if (!v || atomic_fetch_sub(&v->holders, 1) > 1) return;
    vn_device_give(&v->device, v->own);
    if (v->close) v->close(v->kept);
    vn_free(v->at);
    vn_free(v);
}

void vn_values_write(vn_values *v, size_t i, const void *inside) {
    const vn_weight *w = vn_weights_at(v->weights, i);
    v->device.row->write(v->device.self, (void *)v->at[i], inside,
                         w->count * vn_dtype_size(w->dtype));
}

vn_status vn_values_read(const vn_values *v, size_t i, float *out, vn_err *err) {
    const vn_weight *w = vn_weights_at(v->weights, i);
    const size_t bytes = w->count * vn_dtype_size(w->dtype);
    const bool host = v->device.row->host_memory;
    void *copy = host ? NULL : vn_alloc(bytes, 1);
    if (!host && !copy) return vn_no_memory(err);
    if (!host) v->device.row->read(v->device.self, copy, v->at[i], bytes);
    vn_array_read_f32(
        &(vn_array){.dtype = w->dtype, .shape = w->shape, .data = host ? v->at[i] : copy}, out);
    vn_free(copy);
    return VN_OK;
}

vn_status vn_values_init(vn_values *v, uint64_t seed, vn_err *err) {
    size_t largest = 0;
    for (size_t i = 0; i < vn_weights_count(v->weights); i++)
        if (vn_weights_at(v->weights, i)->count > largest)
            largest = vn_weights_at(v->weights, i)->count;
    float *one = vn_alloc(largest, sizeof *one);
    if (!one) return vn_no_memory(err);
    for (size_t i = 0; i < vn_weights_count(v->weights); i++) {
        vn_weight_init(vn_weights_at(v->weights, i), one, seed);
        vn_values_write(v, i, one);
    }
    vn_free(one);
    return VN_OK;
}

const void *vn_values_at(const vn_values *v, size_t i) {
    return v->at[i];
}

size_t vn_values_bytes(const vn_values *v) {
    return v->bytes;
}
