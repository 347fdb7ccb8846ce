/* device.c - a device opened by its row, and arrays in its memory. */
#include "tensor/internal.h"

vn_status vn_device_open(const vn_device_row *row, const char *which, vn_thread_pool *pool,
                         vn_device *out, vn_err *err) {
    *out = (vn_device){.row = row, .pool = pool};
    const vn_status status = row->open ? row->open(which, &out->self, err) : VN_OK;
    if (status) *out = (vn_device){0};
    return status;
}

void vn_device_close(vn_device *d) {
    if (d->row && d->row->close) d->row->close(d->self);
    *d = (vn_device){0};
}

vn_status vn_device_zeros(const vn_device *d, size_t bytes, void **at, vn_err *err) {
    const vn_status status = d->row->take(d->self, bytes, at, err);
    if (!status) d->row->clear(d->self, *at, bytes);
    return status;
}

void vn_device_give(const vn_device *d, void *at) {
    if (at) d->row->give(d->self, at);
}
