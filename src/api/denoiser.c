/* denoiser.c - a trained network behind the denoiser's interface: scales the input, tells it time and class, runs one batch.
 * What its output means is the path room's business. */
#include "api/internal.h"

static void close_arrays(vn_net_denoiser *d) {
    vn_free(d->input);
    vn_free(d->time);
    vn_free(d->labels);
    d->input = d->time = NULL;
    d->labels = NULL;
    d->capacity = 0;
}

/* Only the first query of a new size takes memory. */
static vn_status reserve(vn_net_denoiser *d, int64_t n, vn_err *err) {
    if (n <= d->capacity) return VN_OK;
    close_arrays(d);
    size_t floats = 0;
    if (!vn_mul_overflows((size_t)n, (size_t)d->size, &floats)) d->input = vn_alloc_aligned(floats, sizeof(float));
    d->time = vn_alloc((size_t)n, sizeof(float));
    d->labels = vn_alloc((size_t)n, sizeof(int32_t));
    if (!d->input || !d->time || !d->labels) {
        close_arrays(d);
        return vn_no_memory(err);
    }
    d->capacity = n;
    return VN_OK;
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_net_denoiser *d = self;
    vn_status status = reserve(d, q->n, err);
    if (status != VN_OK) return status;
    for (int64_t i = 0; i < q->n; i++) {
        const vn_meaning meaning = vn_prediction_meaning(&d->prediction, &q->level[i]);
        const float scale = (float)meaning.input, *x = q->x + i * d->size;
        float *input = d->input + i * d->size;
        for (int64_t j = 0; j < d->size; j++) input[j] = scale * x[j];
        d->time[i] = (float)vn_path_network_time(d->path, &q->level[i]);
        d->labels[i] = q->label[i] == VN_LABEL_NULL ? d->null_label : q->label[i];
    }
    return vn_runner_forward(d->runner, q->n, d->height, d->width, d->input, d->time,
                             vn_net_get_io(d->net)->labels > 0 ? d->labels : NULL, raw, err);
}

vn_status vn_net_denoiser_open(vn_net_denoiser *d, vn_context *vn, const vn_net *net, const float *values,
                               const vn_path *path, const vn_prediction *prediction, const int64_t shape[3],
                               int32_t classes, vn_denoiser *out, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(net);
    *d = (vn_net_denoiser){.net = net, .path = path, .prediction = *prediction, .size = 1};
    for (int i = 0; i < io->rank; i++) d->size *= shape[i];
    d->height = io->rank == 3 ? shape[1] : 0;
    d->width = io->rank == 3 ? shape[2] : 0;
    d->null_label = io->labels > classes ? (int32_t)io->labels - 1 : -1;
    const vn_status status = vn_runner_open(net, vn->backend, vn->crew, values, &d->runner, err);
    if (status != VN_OK) return status;
    *out = (vn_denoiser){.path = path,
                         .prediction = *prediction,
                         .rank = io->rank,
                         .shape = {shape[0], shape[1], shape[2]},
                         .size = d->size,
                         .classes = classes,
                         .has_null = d->null_label >= 0 || io->labels == 0,
                         .self = d,
                         .predict = predict};
    return VN_OK;
}

void vn_net_denoiser_close(vn_net_denoiser *d) {
    close_arrays(d);
    vn_runner_close(&d->runner);
}
