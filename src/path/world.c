/* world.c - reads a world file: classes of weighted Gaussians, their union, and the weak model of
 * autoguidance. The file is untrusted; an error is reported with its place, such as
 * "classes[1].components[0].cov". Every component becomes a mean and an eigen-decomposition, as
 * mixture.c uses them. */
#include "path/internal.h"

#include <math.h>
#include <string.h>

#define MAX_SIZE     512
#define MAX_NUMBER   1e12
#define SMALLEST_STD 1e-6

/* A file being read. `place` is where, for messages. */
typedef struct world_reader {
    vn_world *w;
    vn_err *err;
    char place[160];
} world_reader;

static vn_status bad(world_reader *r, const char *what) {
    return vn_fail(r->err, VN_BAD_FILE, "%s %s", r->place, what);
}

static void *take(world_reader *r, size_t count, size_t size) {
    size_t bytes;
    void *p = vn_mul_overflows(count, size, &bytes)
                  ? NULL
                  : vn_arena_alloc(&r->w->arena, bytes ? bytes : 1);
    if (!p) vn_no_memory(r->err);
    return p;
}

/* Extends the place by one piece; undo by cutting at the returned length. */
static size_t enter(world_reader *r, const char *format, size_t index) {
    size_t end = strlen(r->place);
    snprintf(r->place + end, sizeof r->place - end, format, index); /* only the literals below */
    return end;
}

static vn_status only_keys(world_reader *r, const json_t *object, const char *const *keys,
                           size_t count) {
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return bad(r, "is not an object");
    json_object_foreach((json_t *)object, key, value) {
        size_t i = 0;
        while (i < count && strcmp(keys[i], key) != 0) i++;
        if (i < count) continue;
        const char *nearest = vn_nearest(key, keys, count);
        return vn_fail(r->err, VN_BAD_FILE, "%s has an unknown key '%.60s'%s%s%s", r->place, key,
                       nearest ? "; did you mean '" : "", nearest ? nearest : "",
                       nearest ? "'?" : "");
    }
    return VN_OK;
}

/* An array of numbers, within bounds that keep all later arithmetic finite. */
static vn_status read_numbers(world_reader *r, const json_t *array, size_t count, double *out) {
    if (!json_is_array(array)) return bad(r, "is not an array of numbers");
    if (json_array_size(array) != count)
        return vn_fail(r->err, VN_BAD_FILE, "%s has %zu numbers, not %zu", r->place,
                       json_array_size(array), count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_number(item)) return bad(r, "is not an array of numbers");
        out[i] = json_number_value(item);
        if (!(fabs(out[i]) <= MAX_NUMBER)) return bad(r, "has a number above 1e12");
    }
    return VN_OK;
}

/* ---- a component ----------------------------------------------------------------------------- */

static vn_status read_std(world_reader *r, const json_t *std, vn_component *c) {
    double *value = take(r, r->w->size, sizeof *value), s = json_number_value(std);
    if (!value) return VN_NO_MEMORY;
    if (!json_is_number(std) || !(s >= SMALLEST_STD && s <= MAX_NUMBER))
        return bad(r, "is not in [1e-6, 1e12]");
    for (size_t i = 0; i < r->w->size; i++) value[i] = s * s;
    c->value = value;
    return VN_OK;
}

static vn_status read_matrix(world_reader *r, const json_t *cov, double *matrix, bool *diagonal) {
    const size_t n = r->w->size;
    vn_status status = VN_OK;
    *diagonal = true;
    if (!json_is_array(cov) || json_array_size(cov) != n)
        return bad(r, "is not a square array of the mean's size");
    for (size_t i = 0; i < n && !status; i++)
        status = read_numbers(r, json_array_get(cov, i), n, matrix + i * n);
    for (size_t i = 0; i < n && !status; i++)
        for (size_t j = 0; j < i && !status; j++) {
            double a = matrix[i * n + j], b = matrix[j * n + i];
            if (fabs(a - b) > 1e-9 * (fabs(a) + fabs(b))) status = bad(r, "is not symmetric");
            if (a != 0 || b != 0) *diagonal = false;
            matrix[i * n + j] = matrix[j * n + i] = (a + b) / 2;
        }
    return status;
}

static vn_status read_cov(world_reader *r, const json_t *cov, vn_component *c) {
    const size_t n = r->w->size;
    bool diagonal;
    double *value = take(r, n, sizeof *value), *matrix = vn_alloc(n, n * sizeof *matrix),
           *vector = NULL;
    vn_status status = !value ? VN_NO_MEMORY : matrix ? VN_OK : vn_no_memory(r->err);
    if (!status) status = read_matrix(r, cov, matrix, &diagonal);
    if (!status && diagonal)
        for (size_t i = 0; i < n; i++) value[i] = matrix[i * n + i];
    if (!status && !diagonal) {
        vector = take(r, n * n, sizeof *vector);
        if (vector)
            vn_eigen(n, matrix, value, vector);
        else
            status = VN_NO_MEMORY;
    }
    double largest = 0;
    for (size_t i = 0; i < n && !status; i++) largest = fmax(largest, value[i]);
    for (size_t i = 0; i < n && !status; i++)
        if (!(value[i] >= SMALLEST_STD * SMALLEST_STD && value[i] >= 1e-13 * largest))
            status = bad(r, "is not positive definite (or nearly so)");
    vn_free(matrix);
    c->value = value;
    c->vector = vector;
    return status;
}

static vn_status read_weight(world_reader *r, const json_t *weight, double *out) {
    *out = weight ? json_number_value(weight) : 1;
    if (weight && !json_is_number(weight)) return bad(r, "has a weight that is not a number");
    if (!(*out >= 0 && *out <= MAX_NUMBER)) return bad(r, "has a weight outside [0, 1e12]");
    return VN_OK;
}

static vn_status read_component(world_reader *r, const json_t *json, vn_component *c,
                                double *weight) {
    static const char *const keys[] = {"weight", "mean", "cov", "std"};
    vn_status status = only_keys(r, json, keys, VN_COUNT(keys));
    if (!status) status = read_weight(r, json_object_get(json, "weight"), weight);
    if (status) return status;
    const json_t *mean = json_object_get(json, "mean"), *cov = json_object_get(json, "cov"),
                 *std = json_object_get(json, "std");
    if (!cov == !std) return bad(r, "needs either cov or std");
    if (r->w->size == 0) r->w->size = json_array_size(mean); /* the first mean decides */
    if (r->w->size == 0 || r->w->size > MAX_SIZE) return bad(r, "needs a mean of 1 to 512 numbers");
    double *m = take(r, r->w->size, sizeof *m);
    if (!m) return VN_NO_MEMORY;
    c->mean = m;
    size_t end = enter(r, ".mean", 0);
    status = read_numbers(r, mean, r->w->size, m);
    r->place[end] = 0;
    enter(r, cov ? ".cov" : ".std", 0);
    if (!status) status = cov ? read_cov(r, cov, c) : read_std(r, std, c);
    r->place[end] = 0;
    return status;
}

/* ---- a mixture, a class, a model ------------------------------------------------------------- */

/* Replaces weights by the logarithms of weights that sum to 1; that of 0 is minus infinity. */
static vn_status normalise(world_reader *r, size_t count, double *weight) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += weight[i];
    if (!(sum > 0)) return bad(r, "has weights that sum to 0");
    for (size_t i = 0; i < count; i++) weight[i] = log(weight[i] / sum);
    return VN_OK;
}

static vn_status read_mixture(world_reader *r, const json_t *array, vn_mixture *m) {
    if (!json_is_array(array) || json_array_size(array) == 0)
        return bad(r, "is not a list of components");
    m->count = json_array_size(array);
    m->component = take(r, m->count, sizeof *m->component);
    double *weight = vn_alloc(m->count, sizeof *weight);
    vn_status status = !m->component ? VN_NO_MEMORY : weight ? VN_OK : vn_no_memory(r->err);
    for (size_t i = 0; i < m->count && !status; i++) {
        size_t end = enter(r, "[%zu]", i);
        status = read_component(r, json_array_get(array, i), &m->component[i], &weight[i]);
        r->place[end] = 0;
    }
    if (!status) status = normalise(r, m->count, weight);
    for (size_t i = 0; i < m->count && !status; i++) m->component[i].log_weight = weight[i];
    vn_free(weight);
    if (m->count > r->w->max_components) r->w->max_components = m->count;
    return status;
}

static vn_status read_name(world_reader *r, const json_t *name, size_t index) {
    if (name && (!json_is_string(name) || !json_string_value(name)[0]))
        return bad(r, "has a name that is no text");
    char number[24];
    snprintf(number, sizeof number, "%zu", index);
    const char *text = name ? json_string_value(name) : number;
    char *copy = take(r, strlen(text) + 1, 1);
    if (!copy) return VN_NO_MEMORY;
    r->w->name[index] = strcpy(copy, text);
    return VN_OK;
}

static vn_status read_class(world_reader *r, const json_t *json, size_t index, bool named,
                            vn_mixture *m) {
    static const char *const keys[] = {"name", "components"};
    vn_status status = only_keys(r, json, keys, VN_COUNT(keys));
    if (!status && named) status = read_name(r, json_object_get(json, "name"), index);
    if (status) return status;
    size_t end = enter(r, ".components", 0);
    status = read_mixture(r, json_object_get(json, "components"), m);
    r->place[end] = 0;
    return status;
}

/* p(x) = sum over classes of p(y) p(x|y). */
static vn_status unite(world_reader *r, vn_world_mixtures *model) {
    const vn_world *w = r->w;
    vn_mixture *m = &model->null;
    for (int32_t y = 0; y < w->classes; y++) m->count += model->of_class[y].count;
    m->component = take(r, m->count, sizeof *m->component);
    if (!m->component) return VN_NO_MEMORY;
    vn_component *c = m->component;
    for (int32_t y = 0; y < w->classes; y++)
        for (size_t k = 0; k < model->of_class[y].count; k++, c++) {
            *c = model->of_class[y].component[k];
            c->log_weight += w->log_prior[y];
        }
    if (m->count > r->w->max_components) r->w->max_components = m->count;
    return VN_OK;
}

static vn_status read_classes(world_reader *r, const json_t *array, bool named,
                              vn_world_mixtures *model) {
    vn_status status = VN_OK;
    model->of_class = take(r, (size_t)r->w->classes, sizeof *model->of_class);
    if (!model->of_class) return VN_NO_MEMORY;
    for (size_t i = 0; i < (size_t)r->w->classes && !status; i++) {
        size_t end = enter(r, "classes[%zu]", i);
        status = read_class(r, json_array_get(array, i), i, named, &model->of_class[i]);
        r->place[end] = 0;
    }
    return status;
}

/* The mixtures of a model: the main one at the file's top, or the one in its "weak". */
static vn_status read_model(world_reader *r, const json_t *json, bool main,
                            vn_world_mixtures *model) {
    const json_t *all = json_object_get(json, "unconditional");
    vn_status status = read_classes(r, json_object_get(json, "classes"), main, model);
    if (status || !all) return status ? status : unite(r, model);
    size_t end = enter(r, "unconditional", 0);
    status = read_mixture(r, all, &model->null);
    r->place[end] = 0;
    return status;
}

/* ---- the file -------------------------------------------------------------------------------- */

static vn_status read_prior(world_reader *r, const json_t *weights) {
    const size_t n = (size_t)r->w->classes;
    double *prior = take(r, n, sizeof *prior);
    if (!prior) return VN_NO_MEMORY;
    r->w->log_prior = prior;
    strcpy(r->place, "class_weights");
    vn_status status = weights ? read_numbers(r, weights, n, prior) : VN_OK;
    for (size_t i = 0; i < n && !status; i++) {
        if (!weights) prior[i] = 1;
        if (prior[i] < 0) status = bad(r, "has a negative number");
    }
    return status ? status : normalise(r, n, prior);
}

static vn_status read_count(world_reader *r, const json_t *json) {
    const size_t count = json_array_size(json_object_get(json, "classes"));
    if (count == 0 || count > INT32_MAX) return bad(r, "has no list of classes");
    if (r->w->classes && (size_t)r->w->classes != count)
        return bad(r, "has another number of classes than the world");
    r->w->classes = (int32_t)count;
    return VN_OK;
}

static vn_status read_main(world_reader *r, const json_t *json) {
    static const char *const keys[] = {"classes", "class_weights", "unconditional", "weak"};
    strcpy(r->place, "the world");
    vn_status status = only_keys(r, json, keys, VN_COUNT(keys));
    if (!status) status = read_count(r, json);
    if (!status && !(r->w->name = take(r, (size_t)r->w->classes, sizeof *r->w->name)))
        status = VN_NO_MEMORY;
    if (!status) status = read_prior(r, json_object_get(json, "class_weights"));
    r->place[0] = 0;
    return status ? status : read_model(r, json, true, &r->w->model[VN_NETWORK_MAIN]);
}

static vn_status read_weak(world_reader *r, const json_t *json) {
    static const char *const keys[] = {"classes", "unconditional"};
    strcpy(r->place, "weak");
    vn_status status = only_keys(r, json, keys, VN_COUNT(keys));
    if (!status) status = read_count(r, json);
    strcpy(r->place, "weak.");
    return status ? status : read_model(r, json, false, &r->w->model[VN_NETWORK_WEAK]);
}

vn_status vn_world_from_json(const json_t *json, vn_world **out, vn_err *err) {
    *out = NULL;
    world_reader r = {.w = vn_calloc(1, sizeof *r.w), .err = err};
    if (!r.w) return vn_no_memory(err);
    const json_t *weak = json_object_get(json, "weak");
    vn_status status = read_main(&r, json);
    r.w->has_weak = weak != NULL;
    if (!status && weak) status = read_weak(&r, weak);
    if (status) vn_world_close(&r.w);
    *out = r.w;
    return status;
}

vn_status vn_world_open(const char *file, vn_world **out, vn_err *err) {
    json_t *json;
    *out = NULL;
    vn_status status = vn_json_read(file, &json, err);
    if (status) return status;
    status = vn_world_from_json(json, out, err);
    json_decref(json);
    return status == VN_BAD_FILE ? vn_fail_in(err, "%s", file) : status;
}

void vn_world_close(vn_world **w) {
    if (*w && atomic_fetch_sub(&(*w)->shared, 1) == 0) {
        vn_arena_free(&(*w)->arena);
        vn_free(*w);
    }
    *w = NULL;
}

vn_world *vn_world_share(vn_world *w) {
    atomic_fetch_add(&w->shared, 1);
    return w;
}

int64_t vn_world_size(const vn_world *w) {
    return (int64_t)w->size;
}

int32_t vn_world_classes(const vn_world *w) {
    return w->classes;
}

const char *vn_world_class_name(const vn_world *w, int32_t label) {
    return label >= 0 && label < w->classes ? w->name[label] : NULL;
}

double vn_world_prior(const vn_world *w, int32_t label) {
    return exp(w->log_prior[label]);
}

bool vn_world_has_weak(const vn_world *w) {
    return w->has_weak;
}
