/* features_network.c - features that a network makes: the fixed random one, or one of a model
 * directory, a classifier ("features" before its last layer, and logits) or a VaneFeatures. Images
 * are compared at the size that they have. */
#include <math.h>
#include <string.h>

#include "metric/internal.h"

enum { MAX_ROWS = 256 }; /* of a pass */

typedef struct feature_network {
    vn_net *net;
    vn_values *values;
    vn_runner *runner;
    bool takes_time;
    float clean;  /* the time of samples without noise */
    int64_t rows; /* of a pass, at most */
} feature_network;

static void close_network(vn_extractor *e) {
    feature_network *n = e->self;
    if (!n) return;
    vn_runner_close(&n->runner);
    vn_values_close(&n->values);
    vn_net_close(&n->net);
    vn_free(n);
    e->self = NULL;
}

/* What is asked of the network fits the samples. */
static vn_status check_shape(const vn_extractor *e, const feature_network *n, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(n->net);
    vn_shape takes = vn_net_sample(io);
    char one[128], other[128];
    bool fits = takes.rank == e->sample.rank && takes.dim[0] == e->sample.dim[0];
    for (int i = 1; fits && i < takes.rank; i++)
        fits = (io->fixed_size || io->height > 0) ? takes.dim[i] == e->sample.dim[i] : true;
    if (fits) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "features of samples %s, and these are %s",
                   vn_shape_text(&takes, one), vn_shape_text(&e->sample, other));
}

/* Sizes of the outputs, and the runner. */
static vn_status prepare(vn_extractor *e, feature_network *n, const vn_engine *engine,
                         vn_err *err) {
    const vn_net_io *io = vn_net_get_io(n->net);
    const vn_port *features = vn_net_output(io, "features"), *logits = vn_net_output(io, "logits");
    vn_status status = check_shape(e, n, err);
    if (!status && !features)
        status = vn_fail(err, VN_UNSUPPORTED, "a network without the output `features`");
    if (status) return status;
    e->d = features->shape.dim[1];
    e->classes = logits ? logits->shape.dim[1] : 0;
    n->takes_time = vn_net_input(io, "timestep") != NULL;
    const vn_extent extent = vn_extent_of(MAX_ROWS, &e->sample);
    status = vn_net_rows_within(n->net, engine->device, &extent, (size_t)256 << 20, &n->rows, err);
    if (!status) status = vn_runner_open(n->net, engine->device, n->values, &n->runner, err);
    return status;
}

static vn_status run_rows(const vn_extractor *e, int64_t rows, const float *x, float *features,
                          float *logits, vn_err *err) {
    const feature_network *n = e->self;
    const vn_net_spec spec = {.extent = vn_extent_of(rows, &e->sample)};
    vn_feed in[2] = {{.array = {.name = "sample", .dtype = VN_F32, .data = x}},
                     {.array = {.name = "timestep",
                                .dtype = VN_F32,
                                .shape = {.rank = 1, .dim = {1}},
                                .data = &n->clean}}};
    in[0].array.shape = (vn_shape){.rank = e->sample.rank + 1, .dim = {rows}};
    for (int i = 0; i < e->sample.rank; i++) in[0].array.shape.dim[i + 1] = e->sample.dim[i];
    const vn_fetch out[2] = {{"features", features}, {"logits", logits}};
    return vn_runner_run(n->runner, &spec, n->takes_time ? 2 : 1, in, logits ? 2 : 1, out, err);
}

static vn_status extract(vn_extractor *e, int64_t rows, const float *x, float *features,
                         float *logits, vn_err *err) {
    const feature_network *n = e->self;
    vn_status status = VN_OK;
    for (int64_t i = 0; i < rows && !status; i += n->rows) {
        const int64_t some = rows - i < n->rows ? rows - i : n->rows;
        status = run_rows(e, some, x + i * e->size, features + i * e->d,
                          logits ? logits + i * e->classes : NULL, err);
    }
    for (int64_t i = 0; i < rows * e->d && !status; i++)
        if (!isfinite(features[i]))
            status = vn_fail(err, VN_NOT_FINITE, "features %s: those of a sample are not finite",
                             e->name);
    return status;
}

/* ---- random ---------------------------------------------------------------------------------- */

enum { SEED, CHANNELS, LEVELS };

/* {"_class_name": "VaneFeatures", ...} of so many levels. */
static json_t *random_config(const vn_extractor *e, const vn_choice *choice) {
    json_t *widths = json_array();
    bool ok = widths != NULL;
    int64_t width = (int64_t)choice->value[CHANNELS];
    for (int i = 0; ok && i < (int)choice->value[LEVELS]; i++, width *= 2)
        ok = json_array_append_new(widths, json_integer(width)) == 0;
    json_t *out = ok ? json_pack("{s:s, s:I, s:O}", "_class_name", "VaneFeatures", "in_channels",
                                 (json_int_t)e->sample.dim[0], "block_out_channels", widths)
                     : NULL;
    json_decref(widths);
    return out;
}

/* "random:seed=0": all that makes the numbers, given or not. */
static char *random_name(const vn_choice *c) {
    char *seed = vn_format("random:seed=%lld", (long long)c->value[SEED]);
    if (!seed || (!c->given[CHANNELS] && !c->given[LEVELS])) return seed;
    char *all = vn_format("%s,channels=%lld,levels=%lld", seed, (long long)c->value[CHANNELS],
                          (long long)c->value[LEVELS]);
    vn_free(seed);
    return all;
}

static vn_status open_random(vn_extractor *e, const vn_choice *choice, const vn_engine *engine,
                             vn_err *err) {
    if (!vn_shape_is_image(&e->sample))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "features random are of images; points are compared raw");
    feature_network *n = e->self = vn_calloc(1, sizeof *n);
    json_t *config = random_config(e, choice);
    vn_status status = n && config ? vn_net_open(config, &n->net, err) : vn_no_memory(err);
    json_decref(config);
    if (!status)
        status = vn_values_open(vn_net_weights(n->net), engine->device, NULL, &n->values, err);
    if (!status) status = vn_values_init(n->values, (uint64_t)choice->value[SEED], err);
    if (!status) status = prepare(e, n, engine, err);
    if (!status) e->name = random_name(choice);
    if (!status && !e->name) status = vn_no_memory(err);
    return status;
}

static const vn_param random_params[] = {
    {"seed", "of the weights", 0, 0, 4294967295.0, VN_PARAM_WHOLE, NULL},
    {"channels", "of the first convolution, doubled in each", 16, 1, 1024, VN_PARAM_WHOLE, NULL},
    {"levels", "convolutions, from the second on of stride 2", 3, 1, 6, VN_PARAM_WHOLE, NULL},
    {0},
};

const vn_feature_row vn_random_features = {
    .row = {"random", "means over pixels of a fixed convolutional network with random weights",
            "2604.22379", random_params},
    .open = open_random,
    .extract = extract,
    .close = close_network,
};

/* ---- a model directory ----------------------------------------------------------------------- */

/* "classifier-0123456789abcdef": the network's kind and a number made of its weights (FNV-1a). */
static vn_status name_it(vn_extractor *e, const feature_network *n, vn_err *err) {
    const vn_weights *w = vn_net_weights(n->net);
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const size_t count = vn_weights_at(w, i)->count;
        float *x = vn_alloc(count, sizeof *x);
        const vn_status status = x ? vn_values_read(n->values, i, x, err) : vn_no_memory(err);
        for (size_t k = 0; !status && k < count; k++) {
            uint32_t word;
            memcpy(&word, x + k, sizeof word);
            hash = (hash ^ word) * 0x100000001b3u;
        }
        vn_free(x);
        if (status) return status;
    }
    e->name = vn_format("%s-%016llx", vn_net_get_row(n->net)->row.name, (unsigned long long)hash);
    return e->name ? VN_OK : vn_no_memory(err);
}

/* What the path of its training calls the least noise; 0 where no path is known. */
static vn_status set_clean_time(feature_network *n, const vn_model_dir *dir, vn_err *err) {
    const char *text = json_string_value(json_object_get(dir->vane, "path"));
    vn_path *path = NULL;
    if (!text || !n->takes_time) return VN_OK;
    const vn_status status = vn_path_open(text, &path, err);
    if (status) return status;
    vn_level level = vn_path_level(path, 0);
    double time = vn_path_network_time(path, &level);
    if (!isfinite(time)) { /* the log of a noise of 0 */
        level = vn_path_level(path, path->row->min_time(path));
        time = vn_path_network_time(path, &level);
    }
    n->clean = (float)time;
    vn_path_close(&path);
    return VN_OK;
}

vn_status vn_features_of_directory(vn_extractor *e, const char *path, const vn_engine *engine,
                                   vn_err *err) {
    vn_model_dir dir = {0};
    e->row = &vn_directory_features;
    feature_network *n = e->self = vn_calloc(1, sizeof *n);
    if (!n) return vn_no_memory(err);
    vn_status status = vn_model_dir_open(path, &dir, err);
    if (!status) status = vn_net_open(dir.config, &n->net, err);
    if (!status && vn_net_get_row(n->net)->role == VN_ROLE_DENOISER)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s: a denoiser (%s) has no features; a classifier or a VaneFeatures has",
                         path, vn_net_get_row(n->net)->row.name);
    if (!status) status = vn_model_dir_values(&dir, path, engine, n->net, &n->values, err);
    if (!status && (status = prepare(e, n, engine, err)) != VN_OK) vn_fail_in(err, "%s", path);
    if (!status) status = set_clean_time(n, &dir, err);
    if (!status) status = name_it(e, n, err);
    vn_model_dir_close(&dir);
    return status;
}

const vn_feature_row vn_directory_features = {
    .row = {"directory", "of a classifier, or of a network of the user's", "", NULL},
    .extract = extract,
    .close = close_network,
};
