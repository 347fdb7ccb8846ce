/* net_denoiser.c - a trained network as a denoiser: scales the input, gives the network its time and
 * class, and runs the rows in chunks, so that memory does not grow with the batch. The output is
 * interpreted by path/prediction.c. */
#include "model/internal.h"

/* Rows of a forward pass for each sample of a batch: guidance asks for two. The activations kept
 * for a gradient take several times the memory of a forward pass, so its chunks are smaller. */
enum { ROWS_A_SAMPLE = 2, BACK_PART = 4 };

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
    if (!vn_mul_overflows((size_t)n, (size_t)d->size, &floats))
        d->input = vn_alloc_aligned(floats, sizeof(float));
    d->time = vn_alloc((size_t)n, sizeof(float));
    d->labels = vn_alloc((size_t)n, sizeof(int32_t));
    if (!d->input || !d->time || !d->labels) {
        close_arrays(d);
        return vn_no_memory(err);
    }
    d->capacity = n;
    return VN_OK;
}

/* The row of the class table that stands for a label: labels count the rows without null's. */
static int32_t row_of(const vn_net_denoiser *d, vn_condition label) {
    if (label == VN_CONDITION_NULL) return d->null_row;
    return label + (d->null_row >= 0 && label >= d->null_row);
}

/* raw = F(c x), so d<v, raw>/dx = c (dF)^T v. Rows [first, first + n) of the query. */
static vn_status run_chunk(vn_net_denoiser *d, const vn_query *q, int64_t first, int64_t n,
                           float *raw, vn_err *err) {
    const float *x = q->x + first * d->size;
    const vn_condition *label = q->condition + first;
    raw += first * d->size;
    for (int64_t i = 0; i < n; i++) {
        const vn_level *level = &q->level[first + i];
        const float scale = (float)vn_prediction_coefficients(&d->prediction, level).input;
        for (int64_t j = i * d->size; j < (i + 1) * d->size; j++) d->input[j] = scale * x[j];
        d->time[i] = (float)vn_path_network_time(d->path, level);
        d->labels[i] = row_of(d, label[i]);
    }
    const int32_t *labels = vn_net_get_io(d->net)->labels > 0 ? d->labels : NULL;
    float *variance = q->variance ? q->variance + first * d->size : NULL;
    if (q->want == VN_ANSWER)
        return vn_runner_forward(d->runner, n, d->height, d->width, d->input, d->time, labels, raw,
                                 variance, err);
    const vn_status status = vn_runner_vjp(d->runner, n, d->height, d->width, d->input, d->time,
                                           labels, q->direction + first * d->size, raw, err);
    for (int64_t i = 0; !status && i < n; i++) {
        const float scale =
            (float)vn_prediction_coefficients(&d->prediction, &q->level[first + i]).input;
        for (int64_t j = i * d->size; j < (i + 1) * d->size; j++) raw[j] *= scale;
    }
    return status;
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_net_denoiser *d = self;
    vn_runner_perturb(d->runner, (vn_perturb[VN_NET_PERTURBS]){q->perturb, q->always});
    const int64_t part = q->want ? d->chunk / BACK_PART : d->chunk, chunk = part < 1 ? 1 : part;
    vn_status status = reserve(d, q->n < chunk ? q->n : chunk, err);
    for (int64_t first = 0; first < q->n && !status; first += chunk) {
        const int64_t left = q->n - first;
        status = run_chunk(d, q, first, left < chunk ? left : chunk, raw, err);
    }
    return status;
}

void vn_net_denoiser_batch(vn_net_denoiser *d, int64_t batch) {
    d->chunk = ROWS_A_SAMPLE * (batch ? batch : VN_BATCH_FLOATS / d->size);
    if (d->chunk < ROWS_A_SAMPLE) d->chunk = ROWS_A_SAMPLE;
}

vn_status vn_net_denoiser_open(vn_net_denoiser *d, const vn_model_host *host, const vn_net *net,
                               const float *values, const vn_path *path,
                               const vn_prediction *prediction, const vn_shape *sample,
                               int32_t null_row, vn_denoiser *out, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(net);
    *d = (vn_net_denoiser){.net = net,
                           .path = path,
                           .prediction = *prediction,
                           .size = vn_shape_count(sample),
                           .null_row = null_row};
    vn_net_denoiser_batch(d, 0);
    d->height = vn_shape_is_image(sample) ? sample->dim[1] : 0;
    d->width = vn_shape_is_image(sample) ? sample->dim[2] : 0;
    if (io->class_kind == VN_CLASS_NUMBER || io->class_kind == VN_CLASS_VECTOR)
        return vn_fail(err, VN_UNSUPPORTED,
                       "the network takes a %s as its class (class_embed_type); samples are drawn "
                       "from networks with a "
                       "table of classes, or without classes",
                       io->class_kind == VN_CLASS_NUMBER ? "number" : "vector");
    const vn_status status = vn_runner_open(net, host->device, values, &d->runner, err);
    if (status) return status;
    *out = (vn_denoiser){.path = path,
                         .prediction = *prediction,
                         .sample = *sample,
                         .size = d->size,
                         .conditions = {.classes = (vn_condition)io->labels - (null_row >= 0),
                                        .has_null = null_row >= 0 || io->labels == 0},
                         .can = VN_CAN_VJP |
                                (io->learns_variance && path->steps > 0 ? VN_CAN_VARIANCE : 0),
                         .perturbations = io->perturbations,
                         .layers = io->layers,
                         .middle = io->middle,
                         .self = d,
                         .predict = predict};
    return VN_OK;
}

void vn_net_denoiser_close(vn_net_denoiser *d) {
    close_arrays(d);
    vn_runner_close(&d->runner);
}
