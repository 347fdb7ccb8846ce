#include "nn/support_golden.h"

#include "cpu/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

/* ---- the file -------------------------------------------------------------------------------- */

float *vn_golden_read(const vn_golden *g, const char *name, vn_shape *shape) {
    const vn_array *t = vn_safetensors_find(g->file, name);
    if (!t) return NULL;
    size_t count = (size_t)vn_shape_count(&t->shape);
    float *out = vn_alloc(count, sizeof *out);
    assert_non_null(out);
    if (shape) *shape = t->shape;
    if (t->dtype != VN_I64) {
        vn_array_read_f32(t, out);
        return out;
    }
    int32_t *whole = vn_alloc(count, sizeof *whole);
    assert_non_null(whole);
    CHECK(vn_array_read_i32(t, whole, &err));
    for (size_t i = 0; i < count; i++) out[i] = (float)whole[i];
    vn_free(whole);
    return out;
}

static void read_weights(vn_golden *g) {
    vn_weights *w = vn_net_weights(g->net);
    CHECK(vn_values_open(w, &(vn_device){vn_cpu_row_at(0), NULL, NULL}, NULL, &g->values, &err));
    size_t in_file = 0;
    for (size_t i = 0; i < vn_safetensors_count(g->file); i++)
        in_file += strncmp(vn_safetensors_at(g->file, i)->name, "weight.", 7) == 0;
    assert_int_equal(in_file, vn_weights_count(w));
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        char name[256];
        snprintf(name, sizeof name, "weight.%s", weight->name);
        vn_shape shape;
        float *file = vn_golden_read(g, name, &shape);
        if (!file) fail_msg("the file has no %s", name);
        if (!vn_shape_equal(&shape, &weight->file)) fail_msg("%s has another shape", name);
        float *inside = vn_alloc(weight->count, sizeof *inside);
        assert_non_null(inside);
        vn_weight_from_file(weight, file, inside);
        vn_values_write(g->values, i, inside);
        vn_free(inside);
        vn_free(file);
    }
}

void vn_golden_open(vn_golden *g, const char *path) {
    vn_golden_open_row(g, NULL, path);
}

void vn_golden_open_row(vn_golden *g, const vn_net_row *row, const char *path) {
    *g = (vn_golden){0};
    char full[512];
    snprintf(full, sizeof full, "%s/tests/golden/%s.safetensors", VN_SOURCE_DIR, path);
    CHECK(vn_safetensors_open(full, &g->file, &err));
    json_t *config = json_loads(vn_safetensors_metadata_text(g->file, "config"), 0, NULL);
    assert_non_null(config);
    CHECK(row ? vn_net_open_row(row, config, &g->net, &err) : vn_net_open(config, &g->net, &err));
    json_decref(config);
    read_weights(g);
}

void vn_golden_close(vn_golden *g) {
    vn_values_close(&g->values);
    vn_net_close(&g->net);
    vn_safetensors_close(&g->file);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Relative error in the norm; `floor` keeps a gradient that is zero but for rounding from counting
 * as wrong. */
static double relative(const float *found, const float *expected, size_t n, double floor) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)found[i] - (double)expected[i];
        if (!isfinite(d)) return HUGE_VAL;
        difference += d * d;
        norm += (double)expected[i] * (double)expected[i];
    }
    return sqrt(difference) / fmax(sqrt(norm), floor);
}

/* Of images; all else is as in the file. */
static void sizes(const vn_shape *file, int64_t *channels, int64_t *pixels) {
    *pixels = file->rank == 4 ? file->dim[2] * file->dim[3] : 1;
    *channels = vn_shape_count(file) / file->dim[0] / *pixels;
}

static void write_sample(const vn_golden *g, const char *name, void *to, vn_thread_pool *pool) {
    vn_shape shape;
    float *file = vn_golden_read(g, name, &shape);
    int64_t channels, pixels;
    assert_non_null(file);
    sizes(&shape, &channels, &pixels);
    vn_channels_last(to, file, shape.dim[0], channels, pixels, NULL, pool);
    vn_free(file);
}

static double compare_sample(const vn_golden *g, const char *name, const void *found,
                             vn_thread_pool *pool) {
    vn_shape shape;
    float *expected = vn_golden_read(g, name, &shape);
    int64_t channels, pixels;
    assert_non_null(expected);
    sizes(&shape, &channels, &pixels);
    size_t count = (size_t)vn_shape_count(&shape);
    float *first = vn_alloc(count, sizeof *first);
    assert_non_null(first);
    vn_channels_first(first, found, shape.dim[0], channels, pixels, NULL, pool);
    double error = relative(first, expected, count, 0);
    vn_free(first);
    vn_free(expected);
    return error;
}

typedef struct run {
    vn_graph *graph;
    vn_program *program;
    vn_net_nodes nodes;
    vn_node *sample, *out, *cotangent, *sample_gradient;
    int arrays; /* inputs beside the sample that the file has a gradient by */
    const vn_port *array[VN_MAX_PORTS];
    vn_node *array_gradient[VN_MAX_PORTS];
    float *grads; /* flat, as the weights */
} run;

/* The file's arrays for the inputs, and the lengths that they give; returns how many. */
static int feeds_of(const vn_golden *g, vn_feed in[VN_MAX_PORTS], vn_extent *extent) {
    const vn_net_io *io = vn_net_get_io(g->net);
    int n = 0;
    for (int i = 0; i < io->inputs; i++) {
        const vn_array *t = vn_safetensors_find(g->file, io->input[i].name);
        assert_true(t || io->input[i].optional);
        if (t) in[n++].array = *t;
    }
    CHECK(vn_net_match(g->net, extent, n, in, &err));
    return n;
}

static void find_arrays(run *r, const vn_golden *g) {
    const vn_net_io *io = vn_net_get_io(g->net);
    for (int i = 1; i < io->inputs; i++) {
        char name[128];
        snprintf(name, sizeof name, "grad.%s", io->input[i].name);
        if (vn_safetensors_find(g->file, name)) r->array[r->arrays++] = &io->input[i];
    }
}

static void open_run(run *r, const vn_golden *g, const vn_device_row *row, vn_thread_pool *pool) {
    vn_weights *w = vn_net_weights(g->net);
    size_t count = vn_weights_count(w), params = 0;
    vn_feed in[VN_MAX_PORTS] = {0};
    vn_net_spec spec = {0};
    feeds_of(g, in, &spec.extent);
    find_arrays(r, g);
    CHECK(vn_graph_open(&r->graph, &err));
    CHECK(vn_net_build(g->net, r->graph, &spec, &r->nodes, &err));
    r->sample = vn_net_in(g->net, &r->nodes, "sample");
    r->out = r->nodes.out[0];
    r->cotangent = vn_input(r->graph, VN_F32, r->out->shape);

    const size_t most = count + 1 + VN_MAX_PORTS;
    vn_node **wrt = vn_alloc(most, sizeof *wrt), **grad = vn_alloc(most, sizeof *grad);
    size_t *offset = vn_alloc(count, sizeof *offset);
    assert_true(wrt && grad && offset);
    for (size_t i = 0; i < count; i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        if (weight->frozen) continue;
        offset[params] = weight->offset;
        wrt[params++] =
            vn_param_node(r->graph, w, weight->name, weight->file, weight->layout, weight->init);
    }
    wrt[params] = r->sample;
    for (int i = 0; i < r->arrays; i++)
        wrt[params + 1 + (size_t)i] = vn_net_in(g->net, &r->nodes, r->array[i]->name);
    CHECK(vn_graph_gradient(r->graph, r->out, r->cotangent, (int)params + 1 + r->arrays, wrt, grad,
                            &err));
    r->sample_gradient = grad[params];
    vn_node *outputs[2 + VN_MAX_PORTS] = {r->out, r->sample_gradient};
    for (int i = 0; i < r->arrays; i++)
        outputs[2 + i] = r->array_gradient[i] = grad[params + 1 + (size_t)i];
    vn_program_options options = {.device = &(vn_device){row, NULL, pool},
                                  .n_outputs = 2 + r->arrays,
                                  .outputs = outputs,
                                  .n_grads = (int)params,
                                  .grads = grad,
                                  .grad_offset = offset};
    CHECK(vn_program_open(r->graph, &options, &r->program, &err));
    r->grads = vn_calloc(vn_weights_floats(w), sizeof *r->grads);
    assert_non_null(r->grads);
    vn_free(wrt);
    vn_free(grad);
    vn_free(offset);
}

/* The file has every stride-th number of a gradient, which is whole[count], and is changed. */
static double compare_kept(const vn_golden *g, const char *of, float *whole, size_t count,
                           double floor) {
    char name[256];
    snprintf(name, sizeof name, "grad.%s", of);
    vn_shape shape;
    float *expected = vn_golden_read(g, name, &shape);
    assert_non_null(expected);
    size_t kept = (size_t)shape.dim[0], stride = (count + 399) / 400;
    assert_int_equal(kept, (count + stride - 1) / stride);
    for (size_t i = 0; i < kept; i++) whole[i] = whole[i * stride];
    double error = relative(whole, expected, kept, floor);
    vn_free(expected);
    return error;
}

static double compare_gradient(const vn_golden *g, const vn_weight *weight, const float *grads,
                               double floor) {
    float *file = vn_alloc(weight->count, sizeof *file);
    assert_non_null(file);
    vn_weight_to_file(weight, grads + weight->offset, file);
    const double error = compare_kept(g, weight->name, file, weight->count, floor);
    vn_free(file);
    return error;
}

/* By an input, which is as in the file. */
static double compare_array(const vn_golden *g, const run *r, int i, double floor) {
    const size_t count = (size_t)vn_shape_count(&r->array_gradient[i]->shape);
    float *copy = vn_alloc(count, sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, vn_program_map(r->program, r->array_gradient[i]), count * sizeof *copy);
    const double error = compare_kept(g, r->array[i]->name, copy, count, floor);
    vn_free(copy);
    return error;
}

static void keep_worst(vn_golden_error *e, double error, const char *name) {
    if (error <= e->gradient) return;
    e->gradient = error;
    snprintf(e->worst, sizeof e->worst, "%s", name);
}

/* A thousandth of the largest norm of a gradient in the file. Many gradients are zero but for
 * rounding: attention does not see the key's bias, nor a norm what it takes away. */
static double gradient_floor(const vn_golden *g) {
    double largest = 0;
    for (size_t i = 0; i < vn_safetensors_count(g->file); i++) {
        const char *name = vn_safetensors_at(g->file, i)->name;
        if (strncmp(name, "grad.", 5)) continue;
        vn_shape shape;
        float *values = vn_golden_read(g, name, &shape);
        double sum = 0;
        for (int64_t j = 0; j < vn_shape_count(&shape); j++)
            sum += (double)values[j] * (double)values[j];
        largest = fmax(largest, sqrt(sum));
        vn_free(values);
    }
    assert_true(largest > 0);
    return 1e-3 * largest;
}

vn_golden_error vn_golden_compare(const vn_golden *g, const vn_device_row *row,
                                  vn_thread_pool *pool) {
    run r = {0};
    open_run(&r, g, row, pool);
    write_sample(g, "cotangent", vn_program_map(r.program, r.cotangent), pool);
    vn_feed in[VN_MAX_PORTS] = {0};
    vn_extent extent = {0};
    const int n = feeds_of(g, in, &extent);
    CHECK(vn_net_fill(g->net, r.program, &r.nodes, n, in, pool, &err));
    vn_program_run(r.program, &(vn_run){.values = g->values, .grads = r.grads});

    vn_golden_error e = {0};
    e.output = compare_sample(g, "output", vn_program_map(r.program, r.out), pool);
    e.gradient =
        compare_sample(g, "grad.sample", vn_program_map(r.program, r.sample_gradient), pool);
    snprintf(e.worst, sizeof e.worst, "sample");
    const vn_weights *w = vn_net_weights(g->net);
    double floor = gradient_floor(g);
    for (size_t i = 0; i < vn_weights_count(w); i++) {
        const vn_weight *weight = vn_weights_at(w, i);
        if (weight->frozen) continue;
        keep_worst(&e, compare_gradient(g, weight, r.grads, floor), weight->name);
    }
    for (int i = 0; i < r.arrays; i++)
        keep_worst(&e, compare_array(g, &r, i, floor), r.array[i]->name);
    vn_free(r.grads);
    vn_program_close(&r.program);
    vn_graph_close(&r.graph);
    return e;
}

double vn_golden_compare_runner(const vn_golden *g, const vn_device_row *row,
                                vn_thread_pool *pool) {
    vn_shape out = {0};
    float *expected = vn_golden_read(g, "output", &out);
    const size_t count = (size_t)vn_shape_count(&out);
    float *y = vn_alloc(count, sizeof *y);
    assert_true(expected && y);
    vn_feed in[VN_MAX_PORTS] = {0};
    vn_net_spec spec = {0};
    const int inputs = feeds_of(g, in, &spec.extent);
    const char *name = vn_net_get_io(g->net)->output[0].name;
    vn_runner *runner = NULL;
    CHECK(vn_runner_open(g->net, &(vn_device){row, NULL, pool}, g->values, &runner, &err));
    CHECK(vn_runner_run(runner, &spec, inputs, in, 1, &(vn_fetch){name, y}, &err));
    const double error = relative(y, expected, count, 0);
    vn_runner_close(&runner);
    vn_free(expected);
    vn_free(y);
    return error;
}
