/* decoder.c - a sequence model one token at a time. What attention needs of the tokens before, the
 * keys and values of each layer, is kept, so that a token costs one row of each product and not as
 * many as there are tokens before it.
 *
 * The bits are those of the whole network on all tokens. Products give every row the same bits
 * however many there are; attention sums over the keys one after another; and a key that is not
 * there yet has a score of nothing, which adds exactly 0, as one after a causal query does. So the
 * keys of a cache are as many as the longest sequence has, and one plan does for all positions.
 *
 * A layer cannot attend before its new keys lie beside the old, so the network is cut there: a
 * stage is what follows attention in one layer and goes before it in the next. The cache of a layer
 * is a set of weights to its stage (vn_graph_set_values), which is read where it lies. */
#include "nn/llama.h"

#include <math.h>

enum { CACHE_SET = 1 };
enum { KEYS, VALUES, KEPT };

/* What a stage hands on: the stream of tokens, and queries, keys and values; or the logits. */
enum { STREAM, QUERIES, NEW_KEYS, NEW_VALUES, OUTPUTS };

typedef struct stage {
    vn_graph *graph;
    vn_program *program;
    vn_node *ids;                  /* of the first */
    vn_node *stream, *queries;     /* of the others */
    vn_node *bias, *cosine, *sine; /* NULL where a stage has none */
    int outputs;
    vn_node *out[OUTPUTS];
} stage;

struct vn_decoder {
    const vn_net *net;
    const vn_llama *llama;
    vn_device device;
    vn_values *values;
    int64_t rows, tokens;
    int stages;
    stage *stage;     /* [stages] one more than layers */
    vn_weights *kept; /* of one layer: keys and values [rows,tokens,heads of keys head_dim] */
    vn_program_arena arena;
    float *between[OUTPUTS]; /* what goes from stage to stage */
    float *bias;             /* [tokens] */
    float *cosine, *sine;    /* [head_dim] */
};

struct vn_decoder_cache {
    const vn_decoder *decoder;
    int layers;
    vn_values **layer; /* [layers] */
    void **memory;     /* [layers] */
};

static int64_t key_width(const vn_llama *l) {
    return l->key_heads * l->head_dim;
}

static int64_t query_width(const vn_llama *l) {
    return l->config.num_attention_heads * l->head_dim;
}

/* ---- stages ---------------------------------------------------------------------------------- */

static vn_node *cached(const vn_decoder *d, vn_graph *g, const char *name) {
    vn_graph_set_values(g, CACHE_SET);
    vn_node *node =
        vn_param_frozen(g, d->kept, name, VN_SHAPE(d->rows, d->tokens, key_width(d->llama)),
                        (vn_init){VN_INIT_ZEROS, 0});
    vn_graph_set_values(g, 0);
    return node;
}

/* What the layer before attends to, and what follows that. */
static vn_node *finish_layer(const vn_decoder *d, const vn_scope *s, int layer, stage *t) {
    const vn_llama *l = d->llama;
    const vn_scope at = vn_llama_layer(s, layer);
    t->stream = vn_input(s->g, VN_F32, VN_SHAPE(d->rows, 1, l->config.hidden_size));
    t->queries = vn_input(s->g, VN_F32, VN_SHAPE(d->rows, 1, query_width(l)));
    t->bias = vn_input(s->g, VN_F32, VN_SHAPE(1, 1, 1, d->tokens));
    const vn_llama_heads heads = {.q = t->queries,
                                  .k = cached(d, s->g, "keys"),
                                  .v = cached(d, s->g, "values"),
                                  .bias = t->bias};
    return vn_llama_attend(&at, l, t->stream, heads);
}

static void begin_layer(const vn_decoder *d, const vn_scope *s, int layer, vn_node *x, stage *t) {
    const vn_llama *l = d->llama;
    const vn_scope at = vn_llama_layer(s, layer);
    t->cosine = vn_input(s->g, VN_F32, VN_SHAPE(1, 1, 1, l->head_dim));
    t->sine = vn_input(s->g, VN_F32, VN_SHAPE(1, 1, 1, l->head_dim));
    const vn_rope rope = {.cosine = t->cosine, .sine = t->sine, .halves = true};
    const vn_llama_heads h = vn_llama_project(&at, l, x, &rope);
    t->out[STREAM] = x;
    t->out[QUERIES] = h.q;
    t->out[NEW_KEYS] = h.k;
    t->out[NEW_VALUES] = h.v;
    t->outputs = OUTPUTS;
}

static void build_stage(const vn_decoder *d, int i, stage *t) {
    const vn_llama *l = d->llama;
    const vn_perturb none[VN_NET_PERTURBS] = {{0}};
    const vn_scope s = {.g = t->graph,
                        .w = vn_net_weights(d->net),
                        .init = VN_LAYER_INIT_SMALL,
                        .net = vn_net_get_row(d->net)->row.name,
                        .io = vn_net_get_io(d->net),
                        .perturb = none};
    const bool first = i == 0, last = i == d->stages - 1;
    vn_node *table = first || (last && l->tied) ? vn_llama_table(&s, l) : NULL, *x = NULL;
    if (first) {
        t->ids = vn_input(s.g, VN_I32, VN_SHAPE(d->rows, 1));
        x = vn_embedding(s.g, table, t->ids);
    } else {
        x = finish_layer(d, &s, i - 1, t);
    }
    if (!last) {
        begin_layer(d, &s, i, x, t);
    } else {
        t->out[0] = vn_llama_logits(&s, l, table, x);
        t->outputs = 1;
    }
}

static vn_status open_stage(vn_decoder *d, int i, vn_err *err) {
    stage *t = &d->stage[i];
    vn_status status = vn_graph_open(&t->graph, err);
    if (status) return status;
    build_stage(d, i, t);
    status = vn_graph_status(t->graph, err);
    const vn_program_options options = {
        .device = &d->device, .arena = &d->arena, .n_outputs = t->outputs, .outputs = t->out};
    return !status ? vn_program_open(t->graph, &options, &t->program, err) : status;
}

/* ---- life ------------------------------------------------------------------------------------ */

static vn_status open_arrays(vn_decoder *d, vn_err *err) {
    const vn_llama *l = d->llama;
    const int64_t widths[OUTPUTS] = {l->config.hidden_size, query_width(l), key_width(l),
                                     key_width(l)};
    bool ok = true;
    for (int i = 0; i < OUTPUTS; i++)
        ok = (d->between[i] = vn_alloc((size_t)(d->rows * widths[i]), sizeof(float))) && ok;
    d->bias = vn_alloc((size_t)d->tokens, sizeof *d->bias);
    d->cosine = vn_alloc((size_t)l->head_dim, sizeof *d->cosine);
    d->sine = vn_alloc((size_t)l->head_dim, sizeof *d->sine);
    d->stage = vn_calloc((size_t)d->stages, sizeof *d->stage);
    return ok && d->bias && d->cosine && d->sine && d->stage ? VN_OK : vn_no_memory(err);
}

vn_status vn_decoder_open(const vn_net *net, const vn_device *device, vn_values *values,
                          int64_t rows, int64_t tokens, vn_decoder **out, vn_err *err) {
    const vn_llama *l = vn_llama_of(net);
    *out = NULL;
    if (!l)
        return vn_fail(err, VN_UNSUPPORTED, "%s is no sequence model",
                       vn_net_get_row(net)->row.name);
    vn_decoder *d = vn_calloc(1, sizeof *d);
    if (!d) return vn_no_memory(err);
    d->net = net;
    d->llama = l;
    d->device = *device;
    d->values = vn_values_share(values);
    d->rows = rows;
    d->tokens = tokens;
    d->stages = (int)l->config.num_hidden_layers + 1;
    vn_status status = vn_weights_open(&d->kept, err);
    if (!status) status = open_arrays(d, err);
    for (int i = 0; i < d->stages && !status; i++) status = open_stage(d, i, err);
    if (!status)
        *out = d;
    else
        vn_decoder_close(&d);
    return status;
}

void vn_decoder_close(vn_decoder **at) {
    vn_decoder *d = *at;
    if (!d) return;
    for (int i = 0; d->stage && i < d->stages; i++) {
        vn_program_close(&d->stage[i].program);
        vn_graph_close(&d->stage[i].graph);
    }
    vn_program_arena_close(&d->arena);
    vn_weights_close(&d->kept);
    vn_values_close(&d->values);
    for (int i = 0; i < OUTPUTS; i++) vn_free(d->between[i]);
    vn_free(d->bias);
    vn_free(d->cosine);
    vn_free(d->sine);
    vn_free(d->stage);
    vn_free(d);
    *at = NULL;
}

vn_status vn_decoder_cache_open(const vn_decoder *d, vn_decoder_cache **out, vn_err *err) {
    vn_decoder_cache *c = *out = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    c->decoder = d;
    c->layers = d->stages - 1;
    c->layer = vn_calloc((size_t)c->layers + 1, sizeof(vn_values *));
    c->memory = vn_calloc((size_t)c->layers + 1, sizeof(void *));
    vn_status status = c->layer && c->memory ? VN_OK : vn_no_memory(err);
    const size_t floats = vn_weights_floats(d->kept);
    for (int i = 0; i < c->layers && !status; i++) {
        /* zeros, as keys that are not there yet must be numbers */
        status = vn_device_zeros(&d->device, floats * sizeof(float), &c->memory[i], err);
        if (!status) status = vn_values_over(d->kept, &d->device, c->memory[i], &c->layer[i], err);
    }
    if (status) vn_decoder_cache_close(out);
    return status;
}

void vn_decoder_cache_close(vn_decoder_cache **at) {
    vn_decoder_cache *c = *at;
    if (!c) return;
    for (int i = 0; i < c->layers; i++) {
        if (c->layer) vn_values_close(&c->layer[i]);
        if (c->memory) vn_device_give(&c->decoder->device, c->memory[i]);
    }
    vn_free(c->layer);
    vn_free(c->memory);
    vn_free(c);
    *at = NULL;
}

/* ---- a token --------------------------------------------------------------------------------- */

/* A layer's new keys and values beside those that the rows have. */
static void keep(const vn_decoder *d, const vn_decoder_cache *c, int layer, int64_t position,
                 const bool *wanted) {
    const int64_t width = key_width(d->llama);
    const vn_device_row *device = d->device.row;
    for (int k = 0; k < KEPT; k++) {
        const float *from = d->between[NEW_KEYS + k];
        float *to = (float *)vn_values_at(c->layer[layer], (size_t)k);
        for (int64_t i = 0; i < d->rows; i++)
            if (!wanted || wanted[i])
                device->write(d->device.self, to + (i * d->tokens + position) * width,
                              from + i * width, (size_t)width * sizeof(float));
    }
}

static vn_status run_stage(vn_decoder *d, const vn_decoder_cache *c, int i, const int32_t *ids,
                           vn_err *err) {
    const stage *t = &d->stage[i];
    if (t->ids) vn_program_write(t->program, t->ids, ids);
    if (t->stream) vn_program_write(t->program, t->stream, d->between[STREAM]);
    if (t->queries) vn_program_write(t->program, t->queries, d->between[QUERIES]);
    if (t->bias) vn_program_write(t->program, t->bias, d->bias);
    if (t->cosine) vn_program_write(t->program, t->cosine, d->cosine);
    if (t->sine) vn_program_write(t->program, t->sine, d->sine);
    const vn_values *const more[] = {i ? c->layer[i - 1] : NULL};
    vn_program_run(t->program, &(vn_run){.values = d->values, .more = i ? more : NULL});
    return vn_program_wait(t->program, err);
}

vn_status vn_decoder_step(vn_decoder *d, vn_decoder_cache *c, int64_t position, const bool *wanted,
                          const int32_t *ids, float *logits, vn_err *err) {
    if (position < 0 || position >= d->tokens)
        return vn_fail(err, VN_BAD_ARGUMENT, "token %lld of a sequence of at most %lld",
                       (long long)position, (long long)d->tokens);
    for (int64_t i = 0; i < d->tokens; i++) d->bias[i] = i <= position ? 0 : -HUGE_VALF;
    vn_llama_angles(d->llama, position, d->cosine, d->sine);
    for (int i = 0; i < d->stages; i++) {
        const stage *t = &d->stage[i];
        const vn_status status = run_stage(d, c, i, ids, err);
        if (status) return status;
        if (i == d->stages - 1)
            vn_program_read(t->program, t->out[0], logits);
        else
            for (int k = 0; k < OUTPUTS; k++) vn_program_read(t->program, t->out[k], d->between[k]);
        if (i < d->stages - 1) keep(d, c, i, position, wanted);
    }
    return VN_OK;
}
