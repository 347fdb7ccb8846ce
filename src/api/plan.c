/* plan.c - vn_describe_plan: what steps of a network take, as their plans say, in JSON. */
#include "api/internal.h"
#include "api/train_words.h"

#include <math.h>
#include <string.h>

enum { MAX_ARRAYS = 5, OPS = 8 }; /* lines that are told of each plan */

/* Bytes as MB with two decimals, which is as much as anyone reads. */
static double mb(size_t bytes) {
    return round(1e-4 * (double)bytes) / 100;
}

/* False when memory ran out: then row is NULL. */
static bool append(json_t *list, json_t *row) {
    return json_array_append_new(list, row) == 0;
}

/* What is alive at the fullest step, by the op that made it, the most first. */
static json_t *by_op(const vn_footprint *f) {
    size_t bytes[VN_OP_COUNT] = {0};
    int count[VN_OP_COUNT] = {0};
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int i = 0; i < f->arrays; i++) {
        bytes[f->array[i].node->op] += f->array[i].bytes;
        count[f->array[i].node->op]++;
    }
    for (int line = 0; line < OPS && ok; line++) {
        int most = 0;
        for (int op = 1; op < VN_OP_COUNT; op++)
            if (bytes[op] > bytes[most]) most = op;
        if (!bytes[most]) break;
        ok = append(list, json_pack("{s:s, s:i, s:f}", "op", vn_op_get((vn_op)most)->name, "arrays",
                                    count[most], "mb", mb(bytes[most])));
        bytes[most] = 0;
    }
    if (ok) return list;
    json_decref(list);
    return NULL;
}

static json_t *largest(const vn_footprint *f) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int i = 0; i < f->arrays && i < MAX_ARRAYS && ok; i++) {
        const vn_node *n = f->array[i].node;
        ok = append(list, json_pack("{s:s, s:f, s:s}", "op", vn_op_get(n->op)->name, "mb",
                                    mb(f->array[i].bytes), "place", n->label ? n->label : ""));
    }
    if (ok) return list;
    json_decref(list);
    return NULL;
}

/* weights: bytes of all arrays as long as the weights that a step needs, among them those of a text
 * encoder beside the network, if there is one. */
static json_t *footprint_json(const vn_footprint *f, int64_t batch, size_t weights,
                              size_t encoder) {
    json_t *out = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "memory_mb", mb(weights + f->bytes), "weights_mb",
        mb(weights), "arena_mb", mb(f->bytes), "alive_mb", mb(f->alive_bytes), "gflop_per_image",
        1e-9 * f->cost.flops / (double)batch, "alive_by_op", by_op(f), "largest", largest(f));
    if (!out || !encoder ||
        json_object_set_new(out, "text_encoder_mb", json_real(mb(encoder))) == 0)
        return out;
    json_decref(out);
    return NULL;
}

/* The three kinds of steps. Training has the weights' average, gradients and two moments beside
 * them. */
static const struct {
    const char *name;
    bool train;
    vn_recompute recompute;
    int arrays;
} kinds[] = {
    {"forward", false, VN_RECOMPUTE_CHEAP, 1},
    {"train", true, VN_RECOMPUTE_CHEAP, 5},
    {"train_recompute", true, VN_RECOMPUTE_BLOCKS, 5},
};

/* What is planned: a network, and the bytes of a text encoder's weights as they are in its file,
 * and of one array of floats for each where it is trained; 0: there is none, or none is trained. */
typedef struct planned {
    const vn_net *net;
    size_t encoder, encoder_floats;
} planned;

static vn_status add_kind(const vn_context *vn, const planned *p, const vn_extent *extent, size_t k,
                          json_t *out, vn_err *err) {
    const vn_net *net = p->net;
    const vn_net_spec spec = {.extent = vn_net_usual(vn_net_get_io(net), extent),
                              .train = kinds[k].train};
    vn_net_step s;
    vn_footprint f = {0};
    vn_status status = vn_net_step_open(&s, net, &spec, kinds[k].recompute, err);
    const vn_program_options options = vn_net_step_options(&s, vn);
    if (!status) status = vn_footprint_open(s.graph, &options, &f, err);
    if (!status) {
        /* to run they are as in the file, to train floats */
        const vn_weights *w = vn_net_weights(net);
        const size_t arrays = (size_t)kinds[k].arrays,
                     own = kinds[k].train ? vn_weights_floats(w) * sizeof(float)
                                          : vn_weights_bytes(w),
                     encoder = kinds[k].train && p->encoder_floats ? arrays * p->encoder_floats
                                                                   : p->encoder;
        if (json_object_set_new(
                out, kinds[k].name,
                footprint_json(&f, extent->batch, arrays * own + encoder, encoder)) != 0)
            status = vn_no_memory(err);
    }
    vn_footprint_close(&f);
    vn_net_step_close(&s);
    return status;
}

/* Of a run's images, whose size a network of any size leaves open; else the config's. */
static vn_extent extent_of(const vn_model_dir *dir, int64_t batch) {
    const json_t *shape = json_object_get(json_object_get(dir->vane, "data"), "shape");
    const int64_t height = json_integer_value(json_array_get(shape, 1)),
                  width = json_integer_value(json_array_get(shape, 2));
    const bool known = json_array_size(shape) == 3 && height >= 1 && height <= VN_MAX_SIDE &&
                       width >= 1 && width <= VN_MAX_SIDE;
    return (vn_extent){.batch = batch, .height = known ? height : 0, .width = known ? width : 0};
}

/* The text encoder of a run that has texts. */
static vn_status measure_encoder(const vn_context *vn, const vn_model_dir *run, planned *p,
                                 vn_err *err) {
    const json_t *text = json_object_get(run->vane, "text");
    vn_model_dir dir = {0};
    vn_net *net = NULL;
    /* a part by itself, or a sequence model, which reads texts by itself */
    if (!run->index || !json_is_object(text) || json_object_get(run->vane, "sequence"))
        return VN_OK;
    char *folder = vn_path_join(run->path, VN_TRAIN_ENCODER);
    vn_status status = folder ? vn_model_dir_open(folder, &dir, err) : vn_no_memory(err);
    if (!status) status = vn_net_open(dir.config, &net, err);
    if (!status && dir.weights)
        status = vn_store_read_types(dir.weights, vn_net_weights(net), vn->device.row, err);
    if (!status) p->encoder = vn_weights_bytes(vn_net_weights(net));
    if (!status && !json_is_true(json_object_get(text, "frozen")))
        p->encoder_floats = vn_weights_floats(vn_net_weights(net)) * sizeof(float);
    vn_net_close(&net);
    vn_model_dir_close(&dir);
    vn_free(folder);
    return status;
}

static vn_status describe(vn_context *vn, const char *path, int64_t batch, json_t **out,
                          vn_err *err) {
    vn_model_dir dir = {0};
    vn_net *net = NULL;
    planned p = {0};
    vn_status status = vn_model_dir_open(path, &dir, err);
    if (status) return status;
    status = vn_net_open(dir.config, &net, err);
    vn_weights *weights = status ? NULL : vn_net_weights(net);
    if (!status && dir.weights)
        status = vn_store_read_types(dir.weights, weights, vn->device.row, err);
    if (!status) {
        *out =
            json_pack("{s:I, s:I, s:o}", "batch", (json_int_t)batch, "parameters",
                      (json_int_t)vn_weights_parameters(weights), "dtype", vn_dtypes_json(weights));
        if (!*out) status = vn_no_memory(err);
    }
    if (!status) status = measure_encoder(vn, &dir, &p, err);
    const vn_extent extent = extent_of(&dir, batch);
    p.net = net;
    for (size_t k = 0; k < VN_COUNT(kinds) && !status; k++) {
        for (size_t i = 0; kinds[k].train && i < vn_weights_count(weights); i++)
            vn_weights_set_dtype(weights, i, VN_F32);
        status = add_kind(vn, &p, &extent, k, *out, err);
    }
    /* the batch fits: what does not is the model */
    if (status == VN_BAD_ARGUMENT) status = err->status = VN_BAD_FILE;
    if (status && status != VN_NO_MEMORY) vn_fail_in(err, "%s", path);
    vn_net_close(&net);
    vn_model_dir_close(&dir);
    return status;
}

vn_status vn_describe_plan(vn_context *vn, const char *dir, int64_t batch, char **json) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!dir || !json)
        return vn_fail(err, VN_BAD_ARGUMENT, "vn_describe_plan: dir and json are needed");
    *json = NULL;
    if (batch < 1 || batch > 65536)
        return vn_fail(err, VN_BAD_ARGUMENT, "batch: %lld is outside [1, 65536]", (long long)batch);
    json_t *object = NULL;
    vn_status status = describe(vn, dir, batch, &object, err);
    if (!status && !(*json = vn_json_text(object, JSON_INDENT(2)))) status = vn_no_memory(err);
    json_decref(object);
    return status;
}
