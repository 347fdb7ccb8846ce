/* forward.c - vn_forward: a network run once on tensors from a file, and its gradients; what makes
 * a network comparable with another program's. */
#include "api/internal.h"

#include <string.h>

/* One forward run and what it holds. */
typedef struct pass {
    vn_context *vn;
    const char *dir, *out, *grad;
    vn_net *net;
    const vn_net_io *io;
    vn_weights *weights;
    vn_values *values;
    float *grads;         /* flat, in the device's memory */
    vn_safetensors *file; /* of the inputs */
    int inputs;           /* that it has, of the network's */
    vn_feed in[VN_MAX_PORTS];
    vn_net_spec spec;
    vn_graph *graph;
    vn_program *program;
    vn_net_nodes nodes;
    vn_node *cotangent;              /* of the first output, with grad */
    vn_gradients by;                 /* likewise */
    vn_node *arrays[VN_MAX_PORTS];   /* the inputs beside the sample that have a gradient */
    const char *array[VN_MAX_PORTS]; /* their names */
} pass;

/* ---- the network ----------------------------------------------------------------------------- */

static vn_status open_values(pass *p, const vn_model_dir *dir, vn_err *err) {
    const vn_engine engine = vn_context_engine(p->vn);
    return vn_model_dir_values(dir, p->dir, &engine, p->net, &p->values, err);
}

static vn_status open_net(pass *p, vn_err *err) {
    vn_model_dir dir = {0};
    vn_status status = vn_model_dir_open(p->dir, &dir, err);
    if (status) return status;
    const char *file = NULL;
    status = vn_net_open(dir.config, &p->net, err);
    if (status) vn_fail_in(err, "%s/config.json", p->dir);
    if (!status) status = vn_model_dir_weights(&dir, &file, err);
    if (!status && (vn_same_file(p->out, file) || (p->grad && vn_same_file(p->grad, file))))
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s holds the weights of the network: they would be written over", file);
    if (!status) {
        p->io = vn_net_get_io(p->net);
        p->weights = vn_net_weights(p->net);
        const size_t bytes = vn_weights_floats(p->weights) * sizeof(float);
        void *grads = NULL;
        status = vn_weights_fit(p->grad ? 2 * bytes : bytes, p->dir, err);
        if (!status) status = open_values(p, &dir, err);
        if (!status && p->grad) status = vn_device_zeros(&p->vn->device, bytes, &grads, err);
        p->grads = grads;
    }
    vn_model_dir_close(&dir);
    return status;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Names the file that an error is about. */
static vn_status in_file(const pass *p, vn_status status, vn_err *err) {
    if (!status || status == VN_NO_MEMORY) return status;
    return vn_fail_in(err, "%s", vn_safetensors_path(p->file));
}

/* The file's tensors that are inputs of the network, and the lengths that they give. */
static vn_status match(pass *p, vn_err *err) {
    for (int i = 0; i < p->io->inputs; i++) {
        const char *name = p->io->input[i].name;
        const vn_array *t = vn_safetensors_find(p->file, name);
        if (t) p->in[p->inputs++].array = *t;
        if (!t && !p->io->input[i].optional) return vn_safetensors_get(p->file, name, &t, err);
    }
    const vn_status status = vn_net_match(p->net, &p->spec.extent, p->inputs, p->in, err);
    if (status == VN_BAD_ARGUMENT) err->status = VN_BAD_FILE;
    return in_file(p, status, err);
}

static vn_status build(pass *p, bool gradients, vn_err *err) {
    vn_status status = vn_graph_open(&p->graph, err);
    if (!status) status = in_file(p, vn_net_build(p->net, p->graph, &p->spec, &p->nodes, err), err);
    if (status || !gradients) return status;
    p->cotangent = vn_input(p->graph, VN_F32, p->nodes.out[0]->shape);
    return vn_graph_status(p->graph, err);
}

/* The outputs that are given without being asked for are the first ones. */
static int count_outputs(const pass *p) {
    int n = 0;
    while (n < p->io->outputs && !p->io->output[n].optional) n++;
    return n;
}

/* What each sample has more than one number of, beside the sample itself and masks: texts,
 * vectors. */
static void find_arrays(pass *p) {
    for (int i = 0; i < p->io->inputs; i++) {
        const vn_port *port = &p->io->input[i];
        if (port->dtype != VN_F32 || port->below || port->missing || port->shape.rank < 2 ||
            port->shape.dim[0] != VN_DIM_BATCH || !strcmp(port->name, "sample"))
            continue;
        p->array[p->by.inputs] = port->name;
        p->arrays[p->by.inputs++] = p->nodes.in[i];
    }
    p->by.input = p->arrays;
}

static vn_status plan(pass *p, bool gradients, vn_err *err) {
    p->by = (vn_gradients){
        .weights = p->weights, .frozen = true, .x = vn_net_in(p->net, &p->nodes, "sample")};
    if (gradients) find_arrays(p);
    vn_status status =
        gradients ? vn_gradients_open(&p->by, p->nodes.out[0], p->cotangent, err) : VN_OK;
    if (status) return status;
    vn_node *outputs[2 * VN_MAX_PORTS + 1];
    int n = count_outputs(p);
    memcpy(outputs, p->nodes.out, (size_t)n * sizeof *outputs);
    if (p->by.by_x) outputs[n++] = p->by.by_x;
    for (int i = 0; i < p->by.inputs; i++) outputs[n++] = p->by.by_input[i];
    const vn_program_options options = {.device = &p->vn->device,
                                        .n_outputs = n,
                                        .outputs = outputs,
                                        .n_grads = p->by.n,
                                        .grads = p->by.node,
                                        .grad_offset = p->by.offset};
    return vn_program_open(p->graph, &options, &p->program, err);
}

static vn_status put_cotangent(pass *p, vn_err *err) {
    const vn_array *t = NULL;
    vn_status status = vn_safetensors_get(p->file, "cotangent", &t, err);
    if (status) return status;
    const vn_shape expected = vn_net_file_shape(p->cotangent);
    char found[128], text[128];
    if (!vn_shape_equal(&t->shape, &expected))
        return vn_fail(err, VN_BAD_FILE, "%s: cotangent has shape %s, expected %s",
                       vn_safetensors_path(p->file), vn_shape_text(&t->shape, found),
                       vn_shape_text(&expected, text));
    float *numbers = vn_alloc((size_t)vn_shape_count(&expected), sizeof(float));
    if (!numbers) return vn_no_memory(err);
    vn_array_read_f32(t, numbers);
    vn_net_write_node(p->program, p->cotangent, numbers, NULL, p->vn->pool);
    vn_free(numbers);
    return VN_OK;
}

static vn_status put_inputs(pass *p, vn_err *err) {
    const vn_status status = in_file(
        p, vn_net_fill(p->net, p->program, &p->nodes, p->inputs, p->in, p->vn->pool, err), err);
    return !status && p->cotangent ? put_cotangent(p, err) : status;
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* A node of the program as a tensor with memory of its own, which is NULL if there is none. */
static vn_array take(const pass *p, const char *name, const vn_node *node) {
    float *numbers = vn_alloc((size_t)vn_shape_count(&node->shape), sizeof(float));
    if (numbers) vn_net_read_node(p->program, node, numbers, NULL, p->vn->pool);
    return (vn_array){
        .name = name, .dtype = VN_F32, .shape = vn_net_file_shape(node), .data = numbers};
}

static vn_status write_outputs(const pass *p, const char *path, vn_err *err) {
    vn_array out[VN_MAX_PORTS + 1];
    const int count = count_outputs(p);
    const bool classifies = vn_net_get_row(p->net)->role == VN_ROLE_CLASSIFIER;
    bool ok = true;
    for (int i = 0; i < count; i++) {
        out[i] = take(p, p->io->output[i].name, p->nodes.out[i]);
        ok &= out[i].data != NULL;
    }
    out[count] = out[0];
    out[count].name = "sample"; /* as what a network answers is called where nothing else is said */
    const vn_status status =
        ok ? vn_safetensors_write(path, out, (size_t)(count + classifies), NULL, err)
           : vn_no_memory(err);
    for (int i = 0; i < count; i++) vn_free((void *)out[i].data);
    return status;
}

/* "grad.NAME"; NULL: out of memory. */
static const char *grad_name(vn_arena *arena, const char *of) {
    const size_t length = strlen(of) + sizeof "grad.";
    char *name = vn_arena_alloc(arena, length);
    if (name) snprintf(name, length, "grad.%s", of);
    return name;
}

/* The gradients by the inputs: by the sample, if there is one (texts have none), and by arrays. */
static int take_input_grads(const pass *p, vn_arena *arena, vn_array *out, bool *ok) {
    int n = 0;
    if (p->by.by_x) out[n++] = take(p, "grad.sample", p->by.by_x);
    for (int i = 0; i < p->by.inputs && *ok; i++) {
        const char *name = grad_name(arena, p->array[i]);
        *ok = name != NULL;
        if (*ok) out[n++] = take(p, name, p->by.by_input[i]);
    }
    for (int i = 0; i < n; i++) *ok = *ok && out[i].data;
    return n;
}

static vn_status write_grads(const pass *p, const char *path, vn_err *err) {
    const size_t count = vn_weights_count(p->weights), floats = vn_weights_floats(p->weights);
    vn_arena arena = {0};
    vn_array *tensors = vn_calloc(count + VN_MAX_PORTS, sizeof *tensors);
    float *inside = vn_alloc(floats, sizeof(float)), *numbers = vn_alloc(floats, sizeof(float));
    bool ok = tensors && inside && numbers;
    const int inputs = ok ? take_input_grads(p, &arena, tensors + count, &ok) : 0;
    const vn_device *d = &p->vn->device;
    if (ok) d->row->read(d->self, inside, p->grads, floats * sizeof(float));
    for (size_t i = 0; ok && i < count; i++) {
        const vn_weight *w = vn_weights_at(p->weights, i);
        const char *name = grad_name(&arena, w->name);
        ok = name != NULL;
        if (!ok) break;
        vn_weight_to_file(w, inside + w->offset, numbers + w->offset);
        tensors[i] = (vn_array){
            .name = name, .dtype = VN_F32, .shape = w->file, .data = numbers + w->offset};
    }
    const vn_status status =
        ok ? vn_safetensors_write(path, tensors, count + (size_t)inputs, NULL, err)
           : vn_no_memory(err);
    for (int i = 0; i < inputs; i++) vn_free((void *)tensors[count + (size_t)i].data);
    vn_arena_free(&arena);
    vn_free(tensors);
    vn_free(inside);
    vn_free(numbers);
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
    if (!status) status = vn_safetensors_open(in, &p->file, err);
    if (!status) status = match(p, err);
    if (!status) status = build(p, grad != NULL, err);
    if (!status) status = plan(p, grad != NULL, err);
    if (!status) status = put_inputs(p, err);
    if (status) return status;
    const vn_run r = {.values = p->values, .grads = p->grads};
    vn_program_run(p->program, &r);
    status = vn_program_wait(p->program, err);
    if (!status) status = write_outputs(p, out, err);
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
    vn_safetensors_close(&p.file);
    vn_values_close(&p.values);
    vn_device_give(&vn->device, p.grads);
    vn_net_close(&p.net);
    return status;
}
