/* values.c - a network's weights for programs that only read them: mapped from their files where
 * they lie there as they do inside, else repacked once. Either way they keep their number type, so
 * that a model of 16 bits takes no more memory than its file. */
#include "store/internal.h"

/* ---- number types ---------------------------------------------------------------------------- */

/* What a tensor's numbers are kept as: 16 bits as they are where the device can read them. */
static vn_dtype kept_as(vn_dtype dtype, const vn_device_row *row) {
    const bool half = dtype == VN_F16 || dtype == VN_BF16;
    return half && row->kernel[VN_OP_CAST] ? dtype : VN_F32;
}

/* Of every weight: its tensor, looked at; and w's number types by them. */
static vn_status find_all(const vn_shards *s, vn_weights *w, const vn_device_row *row,
                          const vn_array **tensor, vn_err *err) {
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        const char *path = NULL;
        vn_status status =
            vn_store_find_tensor(s->file, s->count, "", weight->name, &tensor[i], &path, err);
        if (!status) status = vn_store_check_tensor(tensor[i], weight, path, err);
        if (status) return status;
        vn_weights_set_dtype(w, i, kept_as(tensor[i]->dtype, row));
    }
    return VN_OK;
}

vn_status vn_store_read_types(const char *path, vn_weights *w, const vn_device_row *row,
                              vn_err *err) {
    vn_shards s;
    vn_status status = vn_shards_open(path, &s, err);
    if (status) return status;
    const vn_array **tensor = vn_alloc(vn_weights_count(w), sizeof(vn_array *));
    status = tensor ? find_all(&s, w, row, tensor, err) : vn_no_memory(err);
    vn_free(tensor);
    vn_shards_close(&s);
    return status;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Can programs read the weight where the file has it? */
static bool lies_inside(const vn_array *t, const vn_weight *w, const vn_device *d) {
    return d->row->host_memory && w->layout == VN_LAYOUT_PLAIN && t->dtype == w->dtype &&
           (uintptr_t)t->data % vn_dtype_size(t->dtype) == 0;
}

/* One weight into memory of its own. scratch: room for it twice, in 4 bytes a number. */
static void fill(vn_values *v, const vn_weight *w, const vn_array *t, char *scratch) {
    const size_t size = vn_dtype_size(w->dtype);
    const void *numbers = t->data;
    if (t->dtype != w->dtype) {
        vn_array_read_f32(t, (float *)(void *)scratch);
        numbers = scratch;
    }
    void *inside = scratch + w->count * sizeof(float);
    vn_weight_repack(w, size, numbers, inside);
    vn_values_write(v, w->index, inside);
}

#define LET_GO ((size_t)8 << 20) /* numbers: after as many the files' pages are let go */

/* What was read of the files leaves this process's memory; programs bring back what they read. */
static void let_go(const vn_shards *s) {
    for (size_t i = 0; i < s->count; i++) vn_safetensors_let_go(s->file[i]);
}

static vn_status fill_all(vn_values *v, const vn_shards *s, const vn_weights *w,
                          const vn_array *const *tensor, const void *const *lent,
                          const vn_watch *watch, vn_err *err) {
    char *scratch = vn_alloc(2 * vn_store_largest_weight(w), sizeof(float));
    vn_status status = scratch ? VN_OK : vn_no_memory(err);
    size_t numbers = 0, read = 0;
    for (size_t i = 0; i < vn_weights_count(w) && !status; i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        status = vn_store_report(watch, w, numbers, err);
        numbers += weight->count;
        if (status || lent[i]) continue;
        fill(v, weight, tensor[i], scratch);
        read += weight->count;
        if (read < LET_GO) continue;
        let_go(s);
        read = 0;
    }
    let_go(s);
    vn_free(scratch);
    return status;
}

static void close_shards(void *shards) {
    vn_shards_close(shards);
    vn_free(shards);
}

/* tensor, lent: [weights], to be filled. The files go to the values. */
static vn_status open_values(vn_shards *s, vn_weights *w, const vn_device *d,
                             const vn_array **tensor, const void **lent, const vn_watch *watch,
                             vn_values **out, vn_err *err) {
    vn_status status = find_all(s, w, d->row, tensor, err);
    if (!status)
        status = vn_store_refuse_extras(s->file, s->count,
                                        &(vn_weight_array){.prefix = "", .weights = w}, 1, err);
    for (size_t i = 0; i < vn_weights_count(w) && !status; i++)
        lent[i] = lies_inside(tensor[i], vn_weights_at(w, i), d) ? tensor[i]->data : NULL;
    if (!status) status = vn_values_open(w, d, lent, out, err);
    if (!status) status = fill_all(*out, s, w, tensor, lent, watch, err);
    vn_shards *kept = status ? NULL : vn_alloc(1, sizeof *kept);
    if (!status && !kept) status = vn_no_memory(err);
    if (status) {
        vn_values_close(out);
        return status;
    }
    *kept = *s;
    *s = (vn_shards){0};
    vn_values_keep(*out, kept, close_shards);
    return VN_OK;
}

vn_status vn_store_open_values(const char *path, vn_weights *w, const vn_device *d,
                               const vn_watch *watch, vn_values **out, vn_err *err) {
    vn_shards s;
    *out = NULL;
    vn_status status = vn_shards_open(path, &s, err);
    if (status) return status;
    const size_t count = vn_weights_count(w);
    const vn_array **tensor = vn_alloc(count, sizeof(vn_array *));
    const void **lent = vn_alloc(count, sizeof(void *));
    status =
        tensor && lent ? open_values(&s, w, d, tensor, lent, watch, out, err) : vn_no_memory(err);
    vn_free(tensor);
    vn_free(lent);
    vn_shards_close(&s);
    return status;
}
