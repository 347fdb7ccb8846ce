/* net_denoiser.c - a trained network as a denoiser: gives the network each row's factor of the
 * input, its time, its class and how strongly to guide, and runs the rows in chunks, so that
 * memory does not grow with the batch. Rows are read and written where the caller has them. The
 * output is interpreted by path/prediction.c. */
#include "model/internal.h"

#include <math.h>
#include <string.h>

/* Rows of a forward pass for each sample of a batch: guidance requests two passes. The activations
 * that a derivative keeps take several times the memory of a forward pass, so its chunks are
 * smaller. */
enum { ROWS_A_SAMPLE = 2, DERIVATIVE_SHARE = 4 };

/* What a network that takes guidance is told where nobody says: FluxPipeline's guidance_scale. */
#define USUAL_GUIDANCE 3.5

static void close_arrays(vn_net_denoiser *d) {
    float **const floats[] = {&d->scale,     &d->time,     &d->end,
                              &d->strength,  &d->packed_x, &d->packed_direction,
                              &d->packed_raw};
    for (size_t i = 0; i < VN_COUNT(floats); i++) {
        vn_free(*floats[i]);
        *floats[i] = NULL;
    }
    vn_free(d->labels);
    d->labels = NULL;
    d->capacity = 0;
}

/* Room for n rows of packed images. */
static bool reserve_packed(vn_net_denoiser *d, int64_t n) {
    const size_t floats = (size_t)(n * d->size);
    if (!d->patches) return true;
    d->packed_x = vn_alloc(floats, sizeof(float));
    d->packed_direction = vn_alloc(floats, sizeof(float));
    d->packed_raw = vn_alloc(floats, sizeof(float));
    return d->packed_x && d->packed_direction && d->packed_raw;
}

/* Only the first query of a new size takes memory. */
static vn_status reserve(vn_net_denoiser *d, int64_t n, vn_err *err) {
    if (n <= d->capacity) return VN_OK;
    close_arrays(d);
    d->scale = vn_alloc((size_t)n, sizeof(float));
    d->time = vn_alloc((size_t)n, sizeof(float));
    d->end = vn_alloc((size_t)n, sizeof(float));
    d->strength = vn_alloc((size_t)n, sizeof(float));
    d->labels = vn_alloc((size_t)n, sizeof(int32_t));
    if (!d->scale || !d->time || !d->end || !d->strength || !d->labels || !reserve_packed(d, n)) {
        close_arrays(d);
        return vn_no_memory(err);
    }
    d->capacity = n;
    return VN_OK;
}

/* The row of the class table for a label: labels number the rows without the null one. */
static int32_t row_of(const vn_net_denoiser *d, vn_condition label) {
    if (label == VN_CONDITION_NULL) return d->null_row;
    return label + (d->null_row >= 0 && label >= d->null_row);
}

/* Numbers of the rows [first, first + n): factors of the input, times, guidance, classes. */
static void fill_rows(vn_net_denoiser *d, const vn_query *q, int64_t first, int64_t n) {
    const double unit = d->io->time_unit > 0 ? d->io->time_unit : 1;
    const float usual = (float)(isnan(d->guidance) ? d->usual_guidance : d->guidance);
    for (int64_t i = 0; i < n; i++) {
        const vn_level *level = &q->level[first + i];
        const float strength = q->guidance ? q->guidance[first + i] : NAN;
        d->scale[i] = (float)vn_prediction_coefficients(&d->prediction, level).input;
        d->time[i] = (float)(vn_path_network_time(d->path, level) * unit);
        const vn_level *end = q->to ? &q->to[first + i] : level;
        d->end[i] = (float)(vn_path_network_time(d->path, end) * unit);
        d->strength[i] = isnan(strength) ? usual : strength;
        d->labels[i] = row_of(d, q->condition[first + i]);
    }
}

/* The feed of the rows' samples, x [n,size]. */
static vn_feed feed_samples(const vn_net_denoiser *d, int64_t n, const float *x) {
    vn_shape rows = {.rank = d->sample.rank + 1, .dim = {n}};
    memcpy(rows.dim + 1, d->sample.dim, (size_t)d->sample.rank * sizeof *rows.dim);
    if (d->patches) {
        vn_pack_images(d, x, n, d->packed_x);
        rows = VN_SHAPE(n, d->patches, d->size / d->patches);
        x = d->packed_x;
    }
    return (vn_feed){.array = {"sample", VN_F32, rows, x}, .scale = d->scale};
}

/* The feeds of n rows whose numbers are filled, but for the arrays of their conditions; returns how
 * many. */
static int feed_rows(const vn_net_denoiser *d, int64_t n, const float *x, vn_feed *in) {
    const vn_port *labels = vn_net_input(d->io, "class_labels");
    int k = 0;
    in[k++] = feed_samples(d, n, x);
    in[k++] = (vn_feed){.array = {"timestep", VN_F32, VN_SHAPE(n), d->time}};
    if (labels && vn_is_class_table(labels))
        in[k++] = (vn_feed){.array = {"class_labels", VN_I32, VN_SHAPE(n), d->labels}};
    if (vn_net_input(d->io, VN_STEP_END))
        in[k++] = (vn_feed){.array = {VN_STEP_END, VN_F32, VN_SHAPE(n), d->end}};
    if (vn_net_input(d->io, "guidance"))
        in[k++] = (vn_feed){.array = {"guidance", VN_F32, VN_SHAPE(n), d->strength}};
    if (d->ids)
        in[k++] =
            (vn_feed){.array = {"img_ids", VN_F32, VN_SHAPE(d->patches, VN_PATCH_AXES), d->ids}};
    return k;
}

/* raw = F(c x), or a product with its derivative. Rows [first, first + n) of the query. */
static vn_status run_chunk(vn_net_denoiser *d, const vn_query *q, int64_t first, int64_t n,
                           float *raw, vn_err *err) {
    const int64_t from = first * d->size;
    vn_feed in[VN_MAX_PORTS] = {{.scale = NULL}};
    fill_rows(d, q, first, n);
    int inputs = feed_rows(d, n, q->x + from, in), more = 0;
    vn_status status = vn_condition_feeds(d, q, first, n, in + inputs, &more, err);
    if (status) return status;
    inputs += more;
    const vn_row_tokens tokens = vn_tokens_of(d, q, first);
    vn_net_spec spec = {.extent = vn_extent_of(n, &d->sample),
                        .negative = tokens.negative,
                        .perturb = {q->perturb, q->always}};
    spec.extent.tokens = tokens.own + tokens.negative;
    spec.extent.patches = d->patches;
    float *out = d->patches ? d->packed_raw : raw + from;
    if (q->want) {
        const float *direction = q->direction + from;
        if (d->patches) vn_pack_images(d, direction, n, d->packed_direction);
        if (d->patches) direction = d->packed_direction;
        status =
            vn_runner_derive(d->runner, &spec, q->want, d->output, inputs, in, direction, out, err);
    } else {
        const vn_fetch fetch[] = {{d->output, out},
                                  {"variance", q->variance ? q->variance + from : NULL}};
        status = vn_runner_run(d->runner, &spec, inputs, in, q->variance ? 2 : 1, fetch, err);
    }
    if (!status && d->patches) vn_unpack_images(d, out, n, raw + from);
    return status;
}

/* A query whose rows all have the same number of tokens. */
static vn_status run_equal_tokens(vn_net_denoiser *d, const vn_query *q, float *raw, vn_err *err) {
    const int64_t part = q->want ? d->chunk / DERIVATIVE_SHARE : d->chunk,
                  chunk = part < 1 ? 1 : part;
    vn_status status = reserve(d, q->n < chunk ? q->n : chunk, err);
    for (int64_t first = 0; first < q->n && !status; first += chunk) {
        const int64_t left = q->n - first;
        status = run_chunk(d, q, first, left < chunk ? left : chunk, raw, err);
    }
    return status;
}

/* ---- rows with different numbers of tokens --------------------------------------------------- */

typedef struct gathered {
    int64_t n, *row; /* [n] its index in the query */
    vn_level *level, *to;
    vn_condition *condition;
    uint64_t *sample;
    float *x, *direction, *raw, *variance, *guidance;
} gathered;

static void free_gathered(gathered *g) {
    void *all[] = {g->row, g->level, g->to,       g->condition, g->sample,
                   g->x,   g->raw,   g->variance, g->guidance,  g->direction};
    for (size_t i = 0; i < VN_COUNT(all); i++) vn_free(all[i]);
}

static vn_status take_gathered(gathered *g, const vn_query *q, size_t size, vn_err *err) {
    const size_t n = (size_t)q->n;
    *g = (gathered){.row = vn_alloc(n, sizeof *g->row),
                    .level = vn_alloc(n, sizeof *g->level),
                    .to = q->to ? vn_alloc(n, sizeof *g->to) : NULL,
                    .condition = vn_alloc(n, sizeof *g->condition),
                    .sample = q->sample ? vn_alloc(n, sizeof *g->sample) : NULL,
                    .x = vn_alloc(n * size, sizeof *g->x),
                    .direction = q->want ? vn_alloc(n * size, sizeof *g->x) : NULL,
                    .raw = vn_alloc(n * size, sizeof *g->x),
                    .variance = q->variance ? vn_alloc(n * size, sizeof *g->x) : NULL,
                    .guidance = q->guidance ? vn_alloc(n, sizeof *g->x) : NULL};
    return g->row && g->level && g->condition && g->x && g->raw && (!q->want || g->direction) &&
                   (!q->variance || g->variance) && (!q->guidance || g->guidance) &&
                   (!q->sample || g->sample) && (!q->to || g->to)
               ? VN_OK
               : vn_no_memory(err);
}

/* Whether two rows have the same numbers of tokens. */
static bool alike(const vn_net_denoiser *d, const vn_query *q, int64_t i, int64_t k) {
    if (q->condition[i] == q->condition[k]) return true;
    const vn_row_tokens a = vn_tokens_of(d, q, i), b = vn_tokens_of(d, q, k);
    return a.own == b.own && a.negative == b.negative;
}

/* The rows with as many tokens as row `like`, one after another. */
static void gather(const vn_net_denoiser *d, const vn_query *q, int64_t like, gathered *g) {
    const size_t size = (size_t)d->size, bytes = size * sizeof(float);
    g->n = 0;
    for (int64_t i = 0; i < q->n; i++) {
        if (!alike(d, q, i, like)) continue;
        const size_t to = (size_t)g->n * size, from = (size_t)i * size;
        g->level[g->n] = q->level[i];
        if (q->to) g->to[g->n] = q->to[i];
        g->condition[g->n] = q->condition[i];
        if (q->guidance) g->guidance[g->n] = q->guidance[i];
        if (q->sample) g->sample[g->n] = q->sample[i];
        memcpy(g->x + to, q->x + from, bytes);
        if (q->want) memcpy(g->direction + to, q->direction + from, bytes);
        g->row[g->n++] = i;
    }
}

/* Copies rows and takes memory for them at each query, which is little beside such networks. */
static vn_status run_groups(vn_net_denoiser *d, const vn_query *q, float *raw, vn_err *err) {
    const size_t size = (size_t)d->size, bytes = size * sizeof(float);
    gathered g;
    vn_status status = take_gathered(&g, q, size, err);
    for (int64_t i = 0; i < q->n && !status; i++) {
        bool done = false;
        for (int64_t k = 0; k < i && !done; k++) done = alike(d, q, k, i);
        if (done) continue;
        gather(d, q, i, &g);
        vn_query part = *q;
        part.n = g.n;
        part.x = g.x;
        part.level = g.level;
        part.to = g.to;
        part.condition = g.condition;
        part.direction = g.direction;
        part.variance = g.variance;
        part.guidance = g.guidance;
        part.sample = g.sample;
        status = run_equal_tokens(d, &part, g.raw, err);
        for (int64_t k = 0; k < g.n && !status; k++) {
            memcpy(raw + (size_t)g.row[k] * size, g.raw + (size_t)k * size, bytes);
            if (q->variance)
                memcpy(q->variance + (size_t)g.row[k] * size, g.variance + (size_t)k * size, bytes);
        }
    }
    free_gathered(&g);
    return status;
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_net_denoiser *d = self;
    bool one = true;
    for (int64_t i = 1; d->source && i < q->n && one; i++) one = alike(d, q, i, 0);
    return one ? run_equal_tokens(d, q, raw, err) : run_groups(d, q, raw, err);
}

/* Whether some port takes a condition that noise can be added to. */
static bool anneals(const vn_net_io *io) {
    bool any = false;
    for (int i = 0; i < io->inputs; i++) any = any || vn_is_annealed(&io->input[i]);
    return any;
}

void vn_net_denoiser_batch(vn_net_denoiser *d, int64_t batch) {
    d->chunk = batch ? ROWS_A_SAMPLE * batch : d->usual;
}

vn_status vn_net_denoiser_open(vn_net_denoiser *d, const vn_engine *engine, const vn_net *net,
                               vn_values *values, const vn_path *path,
                               const vn_prediction *prediction, const vn_shape *sample,
                               int32_t null_row, const vn_model *source, vn_denoiser *out,
                               vn_err *err) {
    const vn_net_io *io = vn_net_get_io(net);
    *d = (vn_net_denoiser){.io = io,
                           .path = path,
                           .prediction = *prediction,
                           .sample = *sample,
                           .size = vn_shape_count(sample),
                           .output = vn_net_prediction(io)->name,
                           .null_row = null_row,
                           .guidance = (double)NAN,
                           .usual_guidance = USUAL_GUIDANCE,
                           .source = source};
    const vn_port *labels = vn_net_input(io, "class_labels");
    if (labels && !vn_is_class_table(labels) && !(source && source->added_count))
        return vn_fail(err, VN_UNSUPPORTED,
                       "the network takes a %s as its class (class_embed_type); give "
                       "conditions of that kind to it first (vn_model_add_condition)",
                       labels->shape.rank == 1 ? "number" : "vector");
    d->patches = vn_net_patches(io, sample->dim[1], sample->dim[2]);
    if (d->patches && vn_net_input(io, "img_ids")) {
        d->ids = vn_alloc((size_t)(VN_PATCH_AXES * d->patches), sizeof *d->ids);
        if (!d->ids) return vn_no_memory(err);
        vn_patch_ids(sample->dim[1] / io->packing, sample->dim[2] / io->packing, d->ids);
    }
    const int64_t by_size = ROWS_A_SAMPLE * (VN_BATCH_FLOATS / d->size);
    vn_extent extent = vn_extent_of(by_size < ROWS_A_SAMPLE ? ROWS_A_SAMPLE : by_size, sample);
    extent.patches = d->patches;
    extent.tokens = 1; /* or as many as the longest condition has */
    for (vn_condition c = VN_CONDITION_NULL; source && c < source->named_count; c++) {
        const int64_t tokens = source->added_count ? vn_condition_tokens(d, c) : 0;
        if (tokens > extent.tokens) extent.tokens = tokens;
    }
    vn_status status = vn_net_rows_a_pass(net, engine->device, &extent, &d->usual, err);
    d->chunk = d->usual;
    if (!status) status = vn_runner_open(net, engine->device, values, &d->runner, err);
    if (status) return status;
    *out = (vn_denoiser){
        .path = path,
        .prediction = *prediction,
        .sample = *sample,
        .size = d->size,
        .conditions = {.classes = (vn_condition)vn_net_labels(io) - (null_row >= 0),
                       .has_null = null_row >= 0 || !labels},
        .can = VN_CAN_VJP | VN_CAN_JVP | (vn_net_input(io, "guidance") ? VN_TAKES_GUIDANCE : 0) |
               (vn_net_input(io, VN_STEP_END) ? VN_TAKES_TO : 0) |
               (vn_net_output(io, "variance") && path->steps > 0 ? VN_CAN_VARIANCE : 0) |
               (anneals(io) ? VN_CAN_ANNEAL : 0),
        .perturbations = io->perturbations,
        .layers = io->layers,
        .middle = io->middle,
        .self = d,
        .predict = predict};
    return VN_OK;
}

void vn_net_denoiser_close(vn_net_denoiser *d) {
    close_arrays(d);
    vn_free(d->ids);
    d->ids = NULL;
    vn_condition_feeds_close(d);
    vn_runner_close(&d->runner);
}
