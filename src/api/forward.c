/* forward.c - vn_forward: a network run once on tensors from a file, and its gradients; what makes
 * a network comparable with another program's. */
#include "api/internal.h"

#include <string.h>

/* One forward run and what it holds. */
typedef struct pass {
    vn_context *vn;
    const char *dir, *out, *grad;
    vn_net *net;
    vn_weights *weights;
    float *values, *grads;
    vn_safetensors *in;
    int64_t batch, channels; /* channels: of the output */
    vn_graph *graph;
    vn_program *program;
    vn_net_inputs inputs;
    vn_node *output, *cotangent;
    vn_gradients by; /* with grad */
} pass;

/* ---- the network ----------------------------------------------------------------------------- */

static vn_status open_net(pass *p, vn_err *err) {
    vn_model_dir dir = {0};
    vn_status status = vn_model_dir_open(p->dir, &dir, err);
    if (status) return status;
    const char *file = NULL;
    if (dir.variant)
        vn_log(&p->vn->watch, VN_LOG_INFO, "%s is taken, as there are no other weights",
               dir.weights);
    status = vn_net_open(dir.config, &p->net, err);
    if (status) vn_fail_in(err, "%s/config.json", p->dir);
    if (!status) status = vn_weights_fit(p->net, 2, p->dir, err);
    if (!status) status = vn_model_dir_weights(&dir, &file, err);
    if (!status && (vn_same_file(p->out, file) || (p->grad && vn_same_file(p->grad, file))))
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s holds the weights of the network: they would be written over", file);
    if (!status) {
        p->weights = vn_net_weights(p->net);
        p->values = vn_alloc_aligned(vn_weights_floats(p->weights), sizeof(float));
        p->grads = vn_alloc_aligned(vn_weights_floats(p->weights), sizeof(float));
        status = p->values && p->grads
                     ? vn_store_load_weights(file, p->weights, p->values, &p->vn->watch, err)
                     : vn_no_memory(err);
    }
    vn_model_dir_close(&dir);
    return status;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static vn_status bad_shape(const pass *p, const vn_array *t, const char *expected, vn_err *err) {
    char text[128];
    return vn_fail(err, VN_BAD_FILE, "%s: %s has shape %s, expected %s", vn_safetensors_path(p->in),
                   t->name, vn_shape_text(&t->shape, text), expected);
}

/* Shape of the sample decides the graph's. */
static vn_status build(pass *p, bool gradients, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(p->net);
    const vn_array *sample = NULL;
    vn_status status = vn_safetensors_get(p->in, "sample", &sample, err);
    if (status) return status;
    const vn_shape *shape = &sample->shape;
    char expected[64];
    snprintf(expected, sizeof expected, io->rank == 3 ? "[B, %lld, H, W]" : "[B, %lld]",
             (long long)io->in_channels);
    if (shape->rank != io->rank + 1 || shape->dim[1] != io->in_channels)
        return bad_shape(p, sample, expected, err);
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] < 1 || shape->dim[i] > 1 << 20)
            return bad_shape(p, sample, expected, err);
    const bool images = io->rank == 3;
    p->batch = shape->dim[0];
    p->channels = io->out_channels;

    status = vn_graph_open(&p->graph, err);
    if (status) return status;
    p->output = vn_net_build(p->net, p->graph, p->batch, images ? shape->dim[2] : 0,
                             images ? shape->dim[3] : 0, false, &p->inputs);
    if (p->output && gradients) p->cotangent = vn_input(p->graph, VN_F32, p->output->shape);
    return vn_graph_status(p->graph, err);
}

static vn_status plan(pass *p, bool gradients, vn_err *err) {
    p->by = (vn_gradients){.weights = p->weights, .frozen = true, .x = p->inputs.sample};
    vn_status status = gradients ? vn_gradients_open(&p->by, p->output, p->cotangent, err) : VN_OK;
    if (status) return status;
    vn_node *const outputs[] = {p->output, p->by.by_x};
    const vn_program_options options = {.device = &p->vn->device,
                                        .n_outputs = gradients ? 2 : 1,
                                        .outputs = outputs,
                                        .n_grads = p->by.n,
                                        .grads = p->by.node,
                                        .grad_offset = p->by.offset};
    return vn_program_open(p->graph, &options, &p->program, err);
}

/* Pixels of one channel: those of an image, else 1 (points, a classifier's logits). */
static int64_t pixels_of(const vn_node *node) {
    return node->shape.rank == 4 ? node->shape.dim[1] * node->shape.dim[2] : 1;
}

/* The shape of what a node holds in the file's channels-first order. */
static vn_shape file_shape(const vn_node *node) {
    vn_shape s = node->shape;
    if (s.rank == 4) s = VN_SHAPE(s.dim[0], s.dim[3], s.dim[1], s.dim[2]);
    return s;
}

/* A tensor of the file into an input of the program. */
static vn_status put_image(pass *p, const char *name, const vn_node *input, vn_err *err) {
    const vn_array *t = NULL;
    vn_status status = vn_safetensors_get(p->in, name, &t, err);
    if (status) return status;
    const vn_shape expected = file_shape(input);
    char text[128];
    if (!vn_shape_equal(&t->shape, &expected))
        return bad_shape(p, t, vn_shape_text(&expected, text), err);
    const int64_t count = vn_shape_count(&expected), channels = expected.dim[1];
    float *numbers = vn_alloc((size_t)count, sizeof(float));
    if (!numbers) return vn_no_memory(err);
    vn_array_read_f32(t, numbers);
    vn_channels_last(vn_program_map(p->program, input), numbers, p->batch, channels,
                     pixels_of(input), p->vn->pool);
    vn_free(numbers);
    return status;
}

/* timestep and class_labels: [B] or one number for all. */
static vn_status read_numbers(pass *p, const char *name, float *out, vn_err *err) {
    const vn_array *t = NULL;
    vn_status status = vn_safetensors_get(p->in, name, &t, err);
    if (status) return status;
    const int64_t count = vn_shape_count(&t->shape);
    if (count != 1 && count != p->batch) return bad_shape(p, t, "[B]", err);
    vn_array_read_f32(t, out);
    for (int64_t i = 1; count == 1 && i < p->batch; i++) out[i] = out[0];
    return status;
}

static vn_status read_labels(pass *p, int32_t *out, vn_err *err) {
    const vn_array *t = NULL;
    vn_status status = vn_safetensors_get(p->in, "class_labels", &t, err);
    if (status) return status;
    if (t->shape.rank != 1 || t->shape.dim[0] != p->batch) return bad_shape(p, t, "[B]", err);
    return vn_array_read_i32(t, out, err);
}

/* Class conditions that are numbers or vectors go in as they are. */
static vn_status put_class_numbers(pass *p, vn_err *err) {
    const vn_node *input = p->inputs.class_labels;
    const vn_array *t = NULL;
    vn_status status = vn_safetensors_get(p->in, "class_labels", &t, err);
    if (status) return status;
    if (!vn_shape_equal(&t->shape, &input->shape)) {
        char text[128];
        return bad_shape(p, t, vn_shape_text(&input->shape, text), err);
    }
    vn_array_read_f32(t, vn_program_map(p->program, input));
    return VN_OK;
}

static vn_status put_inputs(pass *p, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(p->net);
    float *time = vn_alloc((size_t)p->batch, sizeof(float));
    int32_t *labels = vn_alloc((size_t)p->batch, sizeof(int32_t));
    vn_status status =
        time && labels ? put_image(p, "sample", p->inputs.sample, err) : vn_no_memory(err);
    const bool index = io->class_kind == VN_CLASS_INDEX;
    vn_net_inputs in = p->inputs;
    if (!status && in.timestep) status = read_numbers(p, "timestep", time, err);
    if (!status && index) status = read_labels(p, labels, err);
    if (!status && in.class_labels && !index) {
        status = put_class_numbers(p, err);
        in.class_labels = NULL;
    }
    if (!status)
        status = vn_net_write_inputs(p->net, p->program, &in, in.timestep ? time : NULL,
                                     index ? labels : NULL, err);
    if (status && status != VN_NO_MEMORY && !strstr(err->text, vn_safetensors_path(p->in)))
        vn_fail_in(err, "%s", vn_safetensors_path(p->in));
    if (!status && p->cotangent) status = put_image(p, "cotangent", p->cotangent, err);
    vn_free(time);
    vn_free(labels);
    return status;
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* An image node of the program in the file's order; new array or NULL. */
static float *take_image(const pass *p, const vn_node *node, int64_t channels) {
    float *numbers = vn_alloc((size_t)vn_shape_count(&node->shape), sizeof(float));
    if (numbers)
        vn_channels_first(numbers, vn_program_map(p->program, node), p->batch, channels,
                          pixels_of(node), p->vn->pool);
    return numbers;
}

static vn_status write_output(const pass *p, const char *path, vn_err *err) {
    float *numbers = take_image(p, p->output, p->channels);
    if (!numbers) return vn_no_memory(err);
    const vn_array t = {
        .name = "sample", .dtype = VN_F32, .shape = file_shape(p->output), .data = numbers};
    const vn_status status = vn_safetensors_write(path, &t, 1, NULL, err);
    vn_free(numbers);
    return status;
}

static vn_status write_grads(const pass *p, const char *path, vn_err *err) {
    const size_t count = vn_weights_count(p->weights);
    vn_arena arena = {0};
    vn_array *tensors = vn_calloc(count + 1, sizeof *tensors);
    float *numbers = vn_alloc(vn_weights_floats(p->weights), sizeof(float));
    float *sample = take_image(p, p->by.by_x, vn_net_get_io(p->net)->in_channels);
    bool ok = tensors && numbers && sample;
    for (size_t i = 0; ok && i < count; i++) {
        const vn_weight *w = vn_weights_at(p->weights, i);
        const size_t length = strlen(w->name) + sizeof "grad.";
        char *name = vn_arena_alloc(&arena, length);
        ok = name != NULL;
        if (!ok) break;
        snprintf(name, length, "grad.%s", w->name);
        vn_weight_to_file(w, p->grads + w->offset, numbers + w->offset);
        tensors[i] = (vn_array){
            .name = name, .dtype = VN_F32, .shape = w->file, .data = numbers + w->offset};
    }
    if (ok)
        tensors[count] = (vn_array){.name = "grad.sample",
                                    .dtype = VN_F32,
                                    .shape = file_shape(p->by.by_x),
                                    .data = sample};
    const vn_status status =
        ok ? vn_safetensors_write(path, tensors, count + 1, NULL, err) : vn_no_memory(err);
    vn_arena_free(&arena);
    vn_free(tensors);
    vn_free(numbers);
    vn_free(sample);
    return status;
}

/* ---- the public call ------------------------------------------------------------------------- */

static vn_status check_place(const char *path, vn_err *err) {
    const vn_status status = vn_check_no_model(path, "name a file that is outside of it", err);
    return status ? status : vn_check_file(path, err);
}

static vn_status run(pass *p, const char *in, const char *out, const char *grad, vn_err *err) {
    /* both, so that one is not written without the other */
    vn_status status = check_place(out, err);
    if (!status && grad) status = check_place(grad, err);
    if (!status) status = open_net(p, err);
    if (!status) status = vn_safetensors_open(in, &p->in, err);
    if (!status) status = build(p, grad != NULL, err);
    if (!status) status = plan(p, grad != NULL, err);
    if (!status) status = put_inputs(p, err);
    if (status) return status;
    const vn_run r = {.values = p->values, .grads = p->grads};
    vn_program_run(p->program, &r);
    status = write_output(p, out, err);
    if (!status && grad) status = write_grads(p, grad, err);
    return status;
}

vn_status vn_forward(vn_context *vn, const char *dir, const char *in, const char *out,
                     const char *grad) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!dir || !in || !out)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_forward: dir, in and out are needed");
    if (vn_same_file(in, out) || (grad && (vn_same_file(grad, in) || vn_same_file(grad, out))))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s is named twice: one file would write over the other",
                       vn_same_file(in, out) ? out : grad);
    pass p = {.vn = vn, .dir = dir, .out = out, .grad = grad};
    const vn_status status = run(&p, in, out, grad, err);
    vn_program_close(&p.program);
    vn_gradients_close(&p.by);
    vn_graph_close(&p.graph);
    vn_safetensors_close(&p.in);
    vn_free(p.values);
    vn_free(p.grads);
    vn_net_close(&p.net);
    return status;
}
