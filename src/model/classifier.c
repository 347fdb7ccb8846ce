/* classifier.c - a model that tells classes instead of drawing samples: a classifier's run, opened
 * as any network's, which answers with log p(class|x_t) and its gradient. One gradient is a pass
 * forward and one back through the classifier. Its rows run in chunks, so that memory does not grow
 * with the batch, and do not depend on each other. */
#include "model/internal.h"

#include <string.h>

/* In a chunk, of a gradient, which keeps the activations; a pass forward takes the same. */
#define CHUNK_FLOATS (VN_BATCH_FLOATS / 2)

typedef struct net_classifier {
    const vn_net_io *io;
    vn_runner *runner;
    const vn_path *path;
    vn_prediction prediction; /* which scales the input, as in training */
    vn_shape sample;
    int64_t size, classes, chunk;
    /* [chunk] factors of the input, its times, the labels asked for, ones */
    float *scale, *time, *one;
    int32_t *label;
} net_classifier;

/* ---- a chunk of rows ------------------------------------------------------------------------- */

/* The arrays of n rows from x on, all at one level; label NULL: none are asked for. */
static int fill(net_classifier *c, int64_t n, const float *x, const vn_level *level,
                const vn_condition *label, vn_feed in[3]) {
    const float scale = (float)vn_prediction_coefficients(&c->prediction, level).input;
    vn_shape rows = {.rank = c->sample.rank + 1, .dim = {n}};
    int inputs = 1;
    memcpy(rows.dim + 1, c->sample.dim, (size_t)c->sample.rank * sizeof *rows.dim);
    for (int64_t i = 0; i < n; i++) {
        c->scale[i] = scale;
        c->one[i] = 1;
        if (label) c->label[i] = label[i];
    }
    in[0] = (vn_feed){.array = {"sample", VN_F32, rows, x}, .scale = c->scale};
    if (vn_net_input(c->io, "timestep")) {
        const float time = (float)vn_path_network_time(c->path, level);
        for (int64_t i = 0; i < n; i++) c->time[i] = time;
        in[inputs++] = (vn_feed){.array = {"timestep", VN_F32, VN_SHAPE(n), c->time}};
    }
    if (label) in[inputs++] = (vn_feed){.array = {"label", VN_I32, VN_SHAPE(n), c->label}};
    return inputs;
}

/* sigma^2/alpha times the gradient; at alpha = 0, where x says nothing of x0, a trained classifier
 * knows nothing of the limit, and the shift is 0. */
static vn_status shift_rows(net_classifier *c, const vn_net_spec *spec, int inputs,
                            const vn_feed *in, const vn_level *level, float *out, vn_err *err) {
    const int64_t numbers = spec->extent.batch * c->size;
    if (!(level->alpha > 0)) {
        memset(out, 0, (size_t)numbers * sizeof *out);
        return VN_OK;
    }
    const float by = (float)(level->sigma * level->sigma / level->alpha);
    const vn_status status =
        vn_runner_derive(c->runner, spec, VN_VJP, "log_probability", inputs, in, c->one, out, err);
    for (int64_t i = 0; i < numbers && !status; i++) out[i] *= by;
    return status;
}

static vn_status classify(void *self, const vn_classify *q, vn_err *err) {
    net_classifier *c = self;
    vn_status status = VN_OK;
    for (int64_t i = 0; i < q->n; i++)
        if (q->condition[i] < 0 || q->condition[i] >= c->classes)
            return vn_fail(err, VN_BAD_ARGUMENT, "the classifier has no class %d",
                           (int)q->condition[i]);
    for (int64_t first = 0, n; first < q->n && !status; first += n) {
        n = q->n - first < c->chunk ? q->n - first : c->chunk;
        const vn_net_spec spec = {.extent = vn_extent_of(n, &c->sample)};
        vn_feed in[3];
        const int inputs = fill(c, n, q->x + first * c->size, q->level, q->condition + first, in);
        if (q->log_probability) {
            const vn_fetch out = {"log_probability", q->log_probability + first};
            status = vn_runner_run(c->runner, &spec, inputs, in, 1, &out, err);
        }
        if (q->shift && !status)
            status = shift_rows(c, &spec, inputs, in, q->level, q->shift + first * c->size, err);
    }
    return status;
}

vn_status vn_model_logits(vn_model *m, int64_t n, const float *x, const vn_level *level,
                          float *logits, vn_err *err) {
    const vn_denoiser *d = NULL;
    vn_status status = vn_model_classifier(m, NULL, &d, err);
    if (!status && m->row != &vn_classifier_model)
        status = vn_fail(err, VN_UNSUPPORTED, "%s: is no trained classifier", m->source);
    if (status) return status;
    net_classifier *c = m->self;
    for (int64_t first = 0, k; first < n && !status; first += k) {
        k = n - first < c->chunk ? n - first : c->chunk;
        const vn_net_spec spec = {.extent = vn_extent_of(k, &c->sample)};
        vn_feed in[3];
        const int inputs = fill(c, k, x + first * c->size, level, NULL, in);
        const vn_fetch out = {"logits", logits + first * c->classes};
        status = vn_runner_run(c->runner, &spec, inputs, in, 1, &out, err);
    }
    return status;
}

/* ---- the row --------------------------------------------------------------------------------- */

static void close_classifier(vn_model *m) {
    net_classifier *c = m->self;
    if (!c) return;
    vn_runner_close(&c->runner);
    vn_free(c->scale);
    vn_free(c->time);
    vn_free(c->one);
    vn_free(c->label);
    vn_free(c);
    m->self = NULL;
}

static vn_status open_arrays(net_classifier *c, vn_err *err) {
    const size_t n = (size_t)c->chunk;
    c->scale = vn_alloc(n, sizeof *c->scale);
    c->time = vn_alloc(n, sizeof *c->time);
    c->one = vn_alloc(n, sizeof *c->one);
    c->label = vn_alloc(n, sizeof *c->label);
    return c->scale && c->time && c->one && c->label ? VN_OK : vn_no_memory(err);
}

static vn_status make_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err) {
    const vn_model_part *part = &m->part[0];
    const int64_t chunk = CHUNK_FLOATS / m->size;
    net_classifier *c = m->self = vn_alloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    *c = (net_classifier){.io = vn_net_get_io(part->net),
                          .path = path,
                          .prediction = m->prediction,
                          .sample = m->sample,
                          .size = m->size,
                          .classes = m->classes,
                          .chunk = chunk < 1 ? 1 : chunk};
    vn_status status = open_arrays(c, err);
    if (!status)
        status = vn_runner_open(part->net, m->engine.device, part->values, &c->runner, err);
    if (status) {
        close_classifier(m);
        return status;
    }
    *out = (vn_denoiser){.path = path,
                         .prediction = m->prediction,
                         .sample = m->sample,
                         .size = m->size,
                         .conditions = {.classes = m->classes},
                         .self = c,
                         .classify = classify};
    return VN_OK;
}

/* Whether a directory's config is a classifier's; where it cannot be read, the network's row says
 * why. */
static bool detect(const char *path) {
    vn_model_dir dir = {0};
    bool is = false;
    if (!vn_network_model.detect(path)) return false;
    if (vn_model_dir_open(path, &dir, NULL) == VN_OK) {
        const char *class_name = json_string_value(json_object_get(dir.config, "_class_name"));
        const vn_table *table = &vn_models[VN_ROLE_CLASSIFIER];
        for (size_t i = 0; i < table->count && class_name; i++)
            is =
                is || !strcmp(((const vn_net_row *)vn_table_row(table, i))->class_name, class_name);
    }
    vn_model_dir_close(&dir);
    return is;
}

static vn_status open(vn_model *m, const vn_model_source *source, vn_err *err) {
    if (source->null_class >= 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "`null_class` %d has no effect on a classifier",
                       (int)source->null_class);
    return vn_network_open(m, &(vn_network_setup){.source = source}, err);
}

static bool fingerprint(vn_model *m, uint64_t *out) {
    return vn_network_model.fingerprint(m, out);
}

const vn_model_row vn_classifier_model = {
    .row = {"classifier", "a network that tells classes, for guidance and for measuring", "", NULL},
    .detect = detect,
    .open = open,
    .denoiser = make_denoiser,
    .close_denoiser = close_classifier,
    .fingerprint = fingerprint,
    .needs_path = true,
    .classifies = true,
};
