/* net_denoiser.c - a trained network as a denoiser: gives the network each row's factor of the
 * input, its time and its class, and runs the rows in chunks, so that memory does not grow with the
 * batch. Rows are read and written where the caller has them. The output is interpreted by
 * path/prediction.c. */
#include "model/internal.h"

#include <string.h>

/* Rows of a forward pass for each sample of a batch: guidance asks for two. The activations kept
 * for a gradient take several times the memory of a forward pass, so its chunks are smaller. */
enum { ROWS_A_SAMPLE = 2, BACK_PART = 4 };

/* What a pass forward may take where nobody asks for a batch, if it is of more than one row. */
#define PASS_BYTES ((size_t)1 << 30)

static void close_arrays(vn_net_denoiser *d) {
    vn_free(d->scale);
    vn_free(d->time);
    vn_free(d->labels);
    d->scale = d->time = NULL;
    d->labels = NULL;
    d->capacity = 0;
}

/* Only the first query of a new size takes memory. */
static vn_status reserve(vn_net_denoiser *d, int64_t n, vn_err *err) {
    if (n <= d->capacity) return VN_OK;
    close_arrays(d);
    d->scale = vn_alloc((size_t)n, sizeof(float));
    d->time = vn_alloc((size_t)n, sizeof(float));
    d->labels = vn_alloc((size_t)n, sizeof(int32_t));
    if (!d->scale || !d->time || !d->labels) {
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

/* raw = F(c x). Rows [first, first + n) of the query. */
static vn_status run_chunk(vn_net_denoiser *d, const vn_query *q, int64_t first, int64_t n,
                           float *raw, vn_err *err) {
    for (int64_t i = 0; i < n; i++) {
        const vn_level *level = &q->level[first + i];
        d->scale[i] = (float)vn_prediction_coefficients(&d->prediction, level).input;
        d->time[i] = (float)vn_path_network_time(d->path, level);
        d->labels[i] = row_of(d, q->condition[first + i]);
    }
    vn_shape rows = {.rank = d->sample.rank + 1, .dim = {n}};
    memcpy(rows.dim + 1, d->sample.dim, (size_t)d->sample.rank * sizeof *rows.dim);
    const vn_feed in[] = {
        {.array = {"sample", VN_F32, rows, q->x + first * d->size}, .scale = d->scale},
        {.array = {"timestep", VN_F32, VN_SHAPE(n), d->time}},
        {.array = {"class_labels", VN_I32, VN_SHAPE(n), d->labels}},
    };
    const int inputs = (int)VN_COUNT(in) - !vn_net_input(d->io, "class_labels");
    const vn_net_call call = {.extent = vn_extent_of(n, &d->sample),
                              .perturb = {q->perturb, q->always}};
    raw += first * d->size;
    if (q->want)
        return vn_runner_derive(d->runner, &call, q->want, d->answer, inputs, in,
                                q->direction + first * d->size, raw, err);
    const vn_take out[] = {{d->answer, raw},
                           {"variance", q->variance ? q->variance + first * d->size : NULL}};
    return vn_runner_run(d->runner, &call, inputs, in, q->variance ? 2 : 1, out, err);
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_net_denoiser *d = self;
    const int64_t part = q->want ? d->chunk / BACK_PART : d->chunk, chunk = part < 1 ? 1 : part;
    vn_status status = reserve(d, q->n < chunk ? q->n : chunk, err);
    for (int64_t first = 0; first < q->n && !status; first += chunk) {
        const int64_t left = q->n - first;
        status = run_chunk(d, q, first, left < chunk ? left : chunk, raw, err);
    }
    return status;
}

void vn_net_denoiser_batch(vn_net_denoiser *d, int64_t batch) {
    d->chunk = batch ? ROWS_A_SAMPLE * batch : d->usual;
}

vn_status vn_net_denoiser_open(vn_net_denoiser *d, const vn_model_host *host, const vn_net *net,
                               vn_values *values, const vn_path *path,
                               const vn_prediction *prediction, const vn_shape *sample,
                               int32_t null_row, vn_denoiser *out, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(net);
    *d = (vn_net_denoiser){.io = io,
                           .path = path,
                           .prediction = *prediction,
                           .sample = *sample,
                           .size = vn_shape_count(sample),
                           .answer = vn_net_prediction(io)->name,
                           .null_row = null_row};
    const vn_port *labels = vn_net_input(io, "class_labels");
    if (labels && !labels->below)
        return vn_fail(err, VN_UNSUPPORTED,
                       "the network takes a %s as its class (class_embed_type); samples are drawn "
                       "from networks with a table of classes, or without classes",
                       labels->shape.rank == 1 ? "number" : "vector");
    const int64_t by_size = ROWS_A_SAMPLE * (VN_BATCH_FLOATS / d->size);
    const vn_extent extent =
        vn_extent_of(by_size < ROWS_A_SAMPLE ? ROWS_A_SAMPLE : by_size, sample);
    vn_status status = vn_net_rows_within(net, host->device, &extent, PASS_BYTES, &d->usual, err);
    d->chunk = d->usual;
    if (!status) status = vn_runner_open(net, host->device, values, &d->runner, err);
    if (status) return status;
    *out = (vn_denoiser){
        .path = path,
        .prediction = *prediction,
        .sample = *sample,
        .size = d->size,
        .conditions = {.classes = (vn_condition)vn_net_labels(io) - (null_row >= 0),
                       .has_null = null_row >= 0 || !labels},
        .can = VN_CAN_VJP | VN_CAN_JVP |
               (vn_net_output(io, "variance") && path->steps > 0 ? VN_CAN_VARIANCE : 0),
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
