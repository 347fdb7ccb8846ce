/* scorer.c - a loss of one batch: the networks, as often as the loss calls them, as a planned
 * graph, and the arrays of its inputs. Training and the held-out loss are the same with and without
 * gradients. */
#include "train/internal.h"

#include <string.h>

static int64_t row_size(const vn_data_info *info) {
    int64_t size = 1;
    for (int i = 0; i < info->sample.rank; i++) size *= info->sample.dim[i];
    return size;
}

/* ---- calls of networks ----------------------------------------------------------------------- */

/* The network that is called, a part's or a half of it; NULL: the graph has failed. */
static const vn_net *net_of(vn_scorer *c, const vn_loss_call *call, int part) {
    static const char *const halves[] = {
        [VN_HALF_ENCODER] = VN_LOSS_ENCODER, [VN_HALF_DECODER] = VN_LOSS_DECODER};
    const vn_net *whole = c->s->part[part].net;
    vn_err err = {0};
    size_t i = 0;
    if (!call->half) return whole;
    while (i < VN_COUNT(halves) && strcmp(halves[i], call->half) != 0) i++;
    if (i == VN_COUNT(halves)) {
        vn_graph_fail(c->graph, VN_BAD_ARGUMENT, "the loss calls a half \"%s\"", call->half);
        return NULL;
    }
    vn_net **half = &c->half[part][i];
    if (!*half && vn_net_open_half(whole, (vn_half)i, half, &err))
        vn_graph_fail(c->graph, err.status, "%s", err.text);
    return *half;
}

/* Whether a part can be called so; fails the graph otherwise. */
static bool can_call(const vn_scorer *c, const vn_loss_call *call, int part, const vn_net *net) {
    const vn_train_part *p = part >= 0 ? &c->s->part[part] : NULL;
    if (!p)
        vn_graph_fail(c->graph, VN_BAD_ARGUMENT, "the loss calls a part \"%s\", and there is none",
                      call->part);
    else if (call->average && !vn_averages_are_whole(c->s))
        vn_graph_fail(c->graph, VN_BAD_ARGUMENT,
                      "the loss calls %s with averages, and its objective's row does not say so",
                      vn_part_folder(p, part));
    else if (call->average && (p->frozen || p->no_average))
        vn_graph_fail(c->graph, VN_BAD_ARGUMENT, "%s: no average of its weights is kept",
                      vn_part_folder(p, part));
    for (int i = 0; p && net && i < call->n; i++)
        if (!vn_net_input(vn_net_get_io(net), call->given[i].port))
            vn_graph_fail(c->graph, VN_UNSUPPORTED, "a network without an input \"%s\"",
                          call->given[i].port);
    return vn_graph_status(c->graph, NULL) == VN_OK;
}

/* What an optional input of one number a sample is where it is left out. */
static vn_node *zeros_for(vn_graph *g, const vn_port *port, int64_t batch) {
    if (port->dtype != VN_I32) return vn_fill(g, VN_SHAPE(batch), 0);
    int32_t *zeros = vn_calloc((size_t)batch, sizeof *zeros);
    if (!zeros) return vn_graph_fail(g, VN_NO_MEMORY, "out of memory");
    vn_node *node = vn_const(g, VN_I32, VN_SHAPE(batch), zeros);
    vn_free(zeros);
    return node;
}

/* What the text encoder makes of the batch's texts, with its weights or their average: tokens or,
 * for `whole`, what stands for each text. */
static vn_node *words_of(vn_scorer *c, bool average, bool whole) {
    const vn_train_text *text = c->s->text;
    const vn_train_part *p = &c->s->part[text->part];
    const vn_net_io *io = vn_net_get_io(p->net);
    vn_net_spec how = c->spec;
    vn_net_nodes nodes = {0};
    average = average && !p->frozen && !p->no_average;
    if (c->words[average]) return whole ? c->wholes[average] : c->words[average];
    how.train = c->training && !p->frozen;
    for (int i = 0; i < io->inputs; i++) {
        const char *name = io->input[i].name;
        if (!strcmp(name, "input_ids"))
            nodes.in[i] = c->ids;
        else if (!strcmp(name, "attention_mask"))
            nodes.in[i] = vn_net_in(c->s->part[0].net, &c->batch_nodes, VN_TEXT_MASK);
    }
    vn_graph_set_values(c->graph, average ? VN_AVERAGE_SET(text->part) : VN_OWN_SET(text->part));
    vn_net_build_on(p->net, c->graph, &how, &nodes, NULL);
    vn_graph_set_values(c->graph, 0);
    c->words[average] = vn_net_out(p->net, &nodes, "last_hidden_state");
    c->wholes[average] = vn_net_out(p->net, &nodes, "pooler_output");
    return whole ? c->wholes[average] : c->words[average];
}

/* The inputs of a call: what is given, else the batch's of the same name, and the lengths that go
 * with them. False: the graph has failed. */
static bool take_inputs(vn_scorer *c, const vn_loss_call *call, int part, const vn_net *net,
                        vn_net_nodes *nodes, vn_extent *extent) {
    const vn_net *first = c->s->part[0].net;
    const vn_net_io *io = vn_net_get_io(net);
    for (int i = 0; i < io->inputs; i++) {
        const vn_port *port = &io->input[i];
        const vn_port *same = vn_net_input(vn_net_get_io(first), port->name);
        if (same && same->below == port->below)
            nodes->in[i] = vn_net_in(first, &c->batch_nodes, port->name);
        if (c->ids && !strcmp(port->name, VN_TEXT_STATES))
            nodes->in[i] = words_of(c, call->average, false);
        else if (c->ids && !strcmp(port->name, VN_TEXT_POOLED))
            nodes->in[i] = words_of(c, call->average, true);
        for (int k = 0; k < call->n; k++)
            if (vn_net_input(io, call->given[k].port) == port) {
                nodes->in[i] = call->given[k].node;
                if (nodes->in[i]) vn_extent_take(extent, port, nodes->in[i]);
            }
        if (!nodes->in[i] && port->optional && port->shape.rank == 1)
            nodes->in[i] = zeros_for(c->graph, port, extent->batch);
        if (!nodes->in[i] && vn_graph_status(c->graph, NULL) == VN_OK)
            vn_graph_fail(c->graph, VN_BAD_ARGUMENT, "%s: the loss gives nothing for its input %s",
                          vn_part_folder(&c->s->part[part], part), port->name);
    }
    return vn_graph_status(c->graph, NULL) == VN_OK;
}

/* The batch's time is that of a path; some networks count it in other units. */
static void scale_time(const vn_scorer *c, const vn_net_io *io, vn_net_nodes *nodes) {
    for (int i = 0; i < io->inputs && io->time_unit > 0; i++)
        if (!strcmp(io->input[i].name, "timestep"))
            nodes->in[i] = vn_affine(c->graph, nodes->in[i], io->time_unit, 0);
}

/* The network on its inputs, unless it was just called on them, and is a half, or
 * frozen, or wanted so. */
static void build_call(vn_scorer *c, const vn_loss_call *call, int part, const vn_net *net,
                       const vn_net_spec *how, vn_net_nodes *nodes) {
    const bool keeps = call->half || c->s->part[part].frozen;
    const vn_net *before = c->latest[!keeps].net;
    if ((keeps || call->again) && before == net && c->latest[!keeps].average == call->average &&
        !memcmp(c->latest[!keeps].nodes.in, nodes->in, sizeof nodes->in)) {
        *nodes = c->latest[!keeps].nodes;
        return;
    }
    const uint32_t next = vn_graph_site(c->graph);
    if (!c->called[part]) c->site[part] = next;
    c->called[part] = true;
    if (call->same_dropout) vn_graph_set_site(c->graph, c->site[part]);
    vn_graph_set_values(c->graph, call->average ? VN_AVERAGE_SET(part) : VN_OWN_SET(part));
    vn_net_build_on(net, c->graph, how, nodes, NULL);
    vn_graph_set_values(c->graph, 0);
    if (vn_graph_site(c->graph) < next) vn_graph_set_site(c->graph, next);
    c->latest[!keeps].net = net;
    c->latest[!keeps].average = call->average;
    c->latest[!keeps].nodes = *nodes;
}

/* A network once more, for the loss (vn_loss.network): self is the scorer. */
static vn_node *network(void *self, const vn_loss_call *call) {
    vn_scorer *c = self;
    const int part = vn_part_find(c->s, call->part);
    const vn_net *net = part >= 0 ? net_of(c, call, part) : NULL;
    vn_net_nodes nodes = {0};
    vn_net_spec how = c->spec;
    if (!can_call(c, call, part, net) || !take_inputs(c, call, part, net, &nodes, &how.extent))
        return NULL;
    const vn_train_part *p = &c->s->part[part];
    const char *name = call->output ? call->output : "sample";
    how.train = c->training && !p->frozen;
    scale_time(c, vn_net_get_io(net), &nodes);
    build_call(c, call, part, net, &how, &nodes);
    vn_node *out = strcmp(name, VN_LOSS_HIDDEN) ? vn_net_out(net, &nodes, name) : nodes.hidden;
    if (out || vn_graph_status(c->graph, NULL) != VN_OK) return out;
    vn_graph_label(c->graph, "%s", "");
    if (!strcmp(name, VN_LOSS_HIDDEN))
        return vn_graph_fail(
            c->graph, VN_BAD_ARGUMENT,
            "the network names no inner features for the objective (`dispersive`); "
            "unet2d and dit do");
    return vn_graph_fail(c->graph, VN_UNSUPPORTED, "%s: has no output \"%s\"",
                         vn_part_folder(p, part), name);
}

/* Whether there is such a part, with such an output (vn_loss.has). */
static bool has_output(void *self, const char *part, const char *output) {
    const vn_scorer *c = self;
    const int i = vn_part_find(c->s, part);
    return i >= 0 && vn_net_output(vn_net_get_io(c->s->part[i].net), output);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* What the loss trains. */
static void want_parts(vn_scorer *c, int loss) {
    c->by.sets = 0;
    for (int i = 0; i < c->s->parts; i++)
        if (vn_part_loss_of(c->s, i) == loss)
            c->wanted[c->by.sets++] = (vn_weight_set){.weights = vn_net_weights(c->s->part[i].net),
                                                      .set = VN_OWN_SET(i),
                                                      .base = vn_part_base(c->s, i)};
    c->by.set = c->wanted;
}

/* The batch's samples where the network does not take them as they are, but tokens of them. */
static vn_node *picture_of(const vn_scorer *c, const vn_data_info *info) {
    const int64_t *d = info->sample.dim;
    return vn_input(c->graph, VN_F32, VN_SHAPE(c->batch, d[1], d[2], d[0]));
}

/* One of the losses; with train the gradients of it by every weight that it trains, each with its
 * place. */
static vn_status build(vn_scorer *c, const vn_train_setup *s, int loss, int64_t batch, bool train,
                       vn_recompute how, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(s->data);
    const vn_net *first = s->part[0].net;
    c->s = s;
    c->batch = batch;
    c->training = train;
    c->spec = (vn_net_spec){.extent = vn_extent_of(batch, &info->sample), .train = train};
    c->spec.extent.tokens = s->text ? s->text->length : 0;
    c->spec.extent.patches =
        vn_net_patches(vn_net_get_io(first), info->sample.dim[1], info->sample.dim[2]);
    vn_status status = vn_graph_open(&c->graph, err);
    const bool sequence = vn_net_get_row(first)->role == VN_ROLE_SEQUENCE;
    if (!status && !sequence)
        status = vn_net_make_inputs(first, c->graph, &c->spec, &c->batch_nodes, err);
    if (status) return status;
    if (s->text && !s->text->frozen)
        c->ids = vn_input(c->graph, VN_I32, VN_SHAPE(batch, s->text->length));
    const vn_port *logits = vn_net_output(vn_net_get_io(first), "logits");
    c->parts =
        (vn_loss){.g = c->graph,
                  .x = sequence ? picture_of(c, info) : vn_net_in(first, &c->batch_nodes, "sample"),
                  .tokens = sequence ? logits->shape.dim[2] : 0,
                  .text = sequence ? c->ids : NULL,
                  .words = sequence && c->ids ? vn_text_size(s->text->tokenizer) : 0,
                  .time = vn_net_in(first, &c->batch_nodes, "timestep"),
                  .network = network,
                  .has = has_output,
                  .held = !train,
                  .self = c};
    c->loss = vn_objective_build(s->objective, loss, &c->parts);
    status = vn_graph_status(c->graph, err);
    c->by = (vn_gradients){.recompute = how};
    want_parts(c, loss);
    return !status && train ? vn_gradients_open(&c->by, c->loss, NULL, err) : status;
}

/* The loss and, of held-out samples, what is measured beside it. */
static vn_program_options options_of(const vn_scorer *c, const vn_train_setup *s,
                                     vn_node *outputs[2]) {
    outputs[0] = c->loss;
    outputs[1] = c->parts.measured;
    return (vn_program_options){.device = c->device ? c->device : s->device,
                                .n_outputs = c->training || !c->parts.measured ? 1 : 2,
                                .outputs = outputs,
                                .n_grads = c->by.n,
                                .grads = c->by.node,
                                .grad_offset = c->by.offset};
}

vn_status vn_scorer_measure(const vn_train_setup *s, int loss, int64_t batch, bool train,
                            vn_recompute how, size_t *bytes, double *flops, vn_err *err) {
    vn_scorer c = {0};
    vn_footprint f = {0};
    vn_status status = build(&c, s, loss, batch, train, how, err);
    vn_node *outputs[2];
    const vn_program_options options = options_of(&c, s, outputs);
    if (!status) status = vn_footprint_open(c.graph, &options, &f, err);
    *bytes = f.bytes;
    *flops = f.cost.flops;
    vn_footprint_close(&f);
    vn_scorer_close(&c);
    return status;
}

/* Of the batch's texts. */
static vn_status open_texts(vn_scorer *c, vn_err *err) {
    const vn_train_text *text = c->s->text;
    const size_t n = (size_t)c->batch;
    if (!text) return VN_OK;
    const vn_train_states *f = text->frozen;
    const bool pooled = f && vn_net_input(vn_net_get_io(c->s->part[0].net), VN_TEXT_POOLED);
    c->tokens = vn_alloc(2 * n * (size_t)text->length, sizeof *c->tokens);
    if (f) c->states = vn_alloc(n * (size_t)(text->length * f->width), sizeof *c->states);
    if (pooled) c->pooled = vn_alloc(n * (size_t)f->pooled, sizeof *c->pooled);
    return c->tokens && (!f || c->states) && (!pooled || c->pooled) ? VN_OK : vn_no_memory(err);
}

/* Of a network that takes images as rows of patches. */
static vn_status open_patches(vn_scorer *c, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(c->s->data);
    const vn_net_io *io = vn_net_get_io(c->s->part[0].net);
    const int64_t patches = c->spec.extent.patches;
    if (!patches) return VN_OK;
    c->image = vn_alloc((size_t)row_size(info), sizeof *c->image);
    if (vn_net_input(io, VN_PATCH_IDS)) {
        c->ids_of_patches = vn_alloc((size_t)(VN_PATCH_AXES * patches), sizeof(float));
        if (!c->ids_of_patches) return vn_no_memory(err);
        vn_patch_ids(info->sample.dim[1] / io->packing, info->sample.dim[2] / io->packing,
                     c->ids_of_patches);
    }
    return c->image ? VN_OK : vn_no_memory(err);
}

static vn_status open_arrays(vn_scorer *c, vn_err *err) {
    const size_t n = (size_t)c->batch, size = (size_t)row_size(vn_data_get_info(c->s->data));
    const bool reads = !c->reader, measures = !c->training && c->parts.measured;
    const bool blind = !vn_program_map(c->program, c->parts.x);
    if (reads) c->x0 = vn_alloc_aligned(n * size, sizeof(float));
    const bool pairs = vn_data_get_info(c->s->data)->brings_noise;
    if (reads && pairs) c->noise = vn_alloc_aligned(n * size, sizeof(float));
    if (reads) c->labels = vn_alloc(n, sizeof(int32_t));
    if (blind) c->x = vn_alloc_aligned(n * size, sizeof(float));
    if (measures)
        c->measured = vn_alloc((size_t)vn_shape_count(&c->parts.measured->shape), sizeof(float));
    c->time = vn_alloc(n, sizeof(float));
    c->given = vn_alloc(n, sizeof(int32_t));
    c->level = vn_alloc(n, sizeof(vn_level));
    return (!reads || (c->x0 && c->labels && (c->noise || !pairs))) && (!blind || c->x) &&
                   (!measures || c->measured) && c->time && c->given && c->level
               ? VN_OK
               : vn_no_memory(err);
}

vn_status vn_scorer_open(vn_scorer *c, const vn_train_setup *s, int loss, int64_t batch, bool train,
                         vn_err *err) {
    vn_status status = build(c, s, loss, batch, train, s->recompute, err);
    vn_node *outputs[2];
    const vn_program_options options = options_of(c, s, outputs);
    if (!status) status = vn_program_open(c->graph, &options, &c->program, err);
    if (!status) status = open_arrays(c, err);
    if (!status) status = open_texts(c, err);
    return status ? status : open_patches(c, err);
}

void vn_scorer_close(vn_scorer *c) {
    vn_program_close(&c->program);
    vn_gradients_close(&c->by);
    vn_graph_close(&c->graph);
    for (int i = 0; i < VN_TRAIN_PARTS; i++)
        for (int k = 0; k < VN_HALF_COUNT; k++) vn_net_close(&c->half[i][k]);
    vn_free(c->x0);
    vn_free(c->noise);
    vn_free(c->x);
    vn_free(c->measured);
    vn_free(c->time);
    vn_free(c->labels);
    vn_free(c->given);
    vn_free(c->tokens);
    vn_free(c->states);
    vn_free(c->pooled);
    vn_free(c->image);
    vn_free(c->ids_of_patches);
    vn_free(c->level);
    *c = (vn_scorer){0};
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* Images [H,W,C] become rows of patches [P,C p p], as src/model/packing.c has them. What a loss
 * does with the numbers of a sample does not depend on their order. */
static void pack(vn_scorer *c, int64_t count, float *x) {
    const vn_shape *sample = &vn_data_get_info(c->s->data)->sample;
    const int64_t channels = sample->dim[0], height = sample->dim[1], width = sample->dim[2],
                  size = channels * height * width, p = vn_net_get_io(c->s->part[0].net)->packing;
    for (int64_t n = 0; n < count; n++, x += size) {
        memcpy(c->image, x, (size_t)size * sizeof *x);
        for (int64_t i = 0; i < size; i++) {
            const int64_t channel = i % channels, column = i / channels % width,
                          row = i / channels / width, patch = row / p * (width / p) + column / p;
            x[((patch * channels + channel) * p + row % p) * p + column % p] = c->image[i];
        }
    }
}

static vn_status read_samples(vn_scorer *c, vn_data_part part, uint64_t position, int64_t n,
                              const vn_whole *to, vn_err *err) {
    const vn_data_samples out = {.x = to->x0,
                                 .noise = to->noise,
                                 .labels = c->s->text ? NULL : to->labels,
                                 .captions = c->s->text ? to->labels : NULL};
    const vn_status status = vn_data_read(c->s->data, part, position, n, &out, err);
    if (!status && c->image) pack(c, n, to->x0);
    if (!status && c->image && to->noise) pack(c, n, to->noise);
    return status;
}

vn_status vn_whole_read(vn_whole *w, vn_scorer *c, const vn_scored *which, vn_err *err) {
    return read_samples(c, which->part, which->position - (uint64_t)which->first, which->total, w,
                        err);
}

/* The batch's samples, out of the step's or by themselves. */
static vn_status read_batch(vn_scorer *c, const vn_scored *which, vn_err *err) {
    const vn_whole own = {.x0 = c->x0, .noise = c->noise, .labels = c->labels}, *w = which->whole;
    if (!w) return read_samples(c, which->part, which->position, c->batch, &own, err);
    const size_t n = (size_t)c->batch, size = n * (size_t)row_size(vn_data_get_info(c->s->data)),
                 at = (size_t)which->first * (size / n);
    memcpy(own.x0, w->x0 + at, size * sizeof *own.x0);
    if (own.noise) memcpy(own.noise, w->noise + at, size * sizeof *own.noise);
    memcpy(own.labels, w->labels + which->first, n * sizeof *own.labels);
    return VN_OK;
}

/* The tokens of the batch's texts, of which those that are dropped are empty. */
static vn_status fill_tokens(vn_scorer *c, vn_err *err) {
    const vn_train_text *text = c->s->text;
    const int64_t length = text->length;
    vn_status status = VN_OK;
    for (int64_t i = 0; i < c->batch && !status; i++) {
        const char *caption = c->given[i] < 0 ? NULL : vn_data_caption(c->s->data, c->given[i]);
        status =
            vn_text_fill(text->tokenizer, caption ? caption : "", length, c->tokens + i * length,
                         c->tokens + (c->batch + i) * length, NULL, err);
        if (status && status != VN_NO_MEMORY)
            vn_fail_in(err, "caption \"%.60s\"", caption ? caption : "");
    }
    if (!status && vn_program_map(c->program, c->ids))
        vn_program_write(c->program, c->ids, c->tokens);
    return status;
}

/* What a frozen encoder makes of them. */
static vn_status read_states(vn_scorer *c, vn_err *err) {
    const vn_train_text *text = c->s->text;
    const vn_train_states *f = text->frozen;
    const int64_t length = text->length;
    vn_status status = VN_OK;
    for (int64_t i = 0; i < c->batch && !status; i++)
        status = f->read(f->self, c->given[i] < 0 ? -1 : c->given[i],
                         c->states + i * length * f->width, c->tokens + (c->batch + i) * length,
                         c->pooled ? c->pooled + i * f->pooled : NULL, err);
    return status;
}

/* What the network takes of a batch beside its samples. */
enum { FEEDS = 6 };
static int feed_batch(vn_scorer *c, vn_feed in[FEEDS]) {
    const vn_net_io *io = vn_net_get_io(c->s->part[0].net);
    const vn_train_text *text = c->s->text;
    const vn_shape rows = VN_SHAPE(c->batch);
    int n = 1;
    in[0] = (vn_feed){.array = {"timestep", VN_F32, rows, c->time}};
    if (vn_net_labels(io) > 0)
        in[n++] = (vn_feed){.array = {"class_labels", VN_I32, rows, c->given}};
    if (text && vn_net_input(io, VN_TEXT_MASK))
        in[n++] = (vn_feed){.array = {VN_TEXT_MASK, VN_I32, VN_SHAPE(c->batch, text->length),
                                      c->tokens + c->batch * text->length}};
    if (c->states)
        in[n++] =
            (vn_feed){.array = {VN_TEXT_STATES, VN_F32,
                                VN_SHAPE(c->batch, text->length, text->frozen->width), c->states}};
    if (c->pooled)
        in[n++] = (vn_feed){
            .array = {VN_TEXT_POOLED, VN_F32, VN_SHAPE(c->batch, text->frozen->pooled), c->pooled}};
    if (c->ids_of_patches)
        in[n++] = (vn_feed){.array = {VN_PATCH_IDS, VN_F32,
                                      VN_SHAPE(c->spec.extent.patches, VN_PATCH_AXES),
                                      c->ids_of_patches}};
    return n;
}

vn_status vn_scorer_fill(vn_scorer *c, const vn_scored *which, vn_err *err) {
    const vn_train_setup *s = c->s;
    const vn_net *first = s->part[0].net;
    const vn_scorer *from = c->reader ? c->reader : c;
    vn_status status = VN_OK;
    if (!c->reader) status = read_batch(c, which, err);
    if (status) return status;
    const bool labelled = vn_net_labels(vn_net_get_io(first)) > 0;
    vn_objective_batch batch = {
        .n = c->batch,
        .size = row_size(vn_data_get_info(s->data)),
        .step = which->draw,
        .first = (uint64_t)which->first,
        .total = which->total,
        .x0 = from->x0,
        .noise = from->noise,
        .labels =
            labelled || s->text || vn_objective_classifies(s->objective) ? from->labels : NULL,
        .level = c->level,
        .x = c->x ? c->x : vn_program_map(c->program, c->parts.x),
        .time = c->time,
        .network_labels = c->given,
        .pool = s->device->pool};
    if (which->whole) {
        batch.all.x0 = which->whole->x0;
        batch.all.noise = which->whole->noise;
        batch.all.labels = which->whole->labels;
    }
    for (int i = 0; i < c->parts.inputs; i++)
        batch.input[i] = vn_program_map(c->program, c->parts.input[i].node);
    status = vn_objective_fill(s->objective, &c->parts, &batch, err);
    if (!status && c->ids) status = fill_tokens(c, err);
    if (!status && c->states) status = read_states(c, err);
    vn_feed in[FEEDS];
    const int fed = feed_batch(c, in);
    if (!status && !c->parts.tokens)
        status = vn_net_fill(first, c->program, &c->batch_nodes, fed, in, s->device->pool, err);
    return status;
}

vn_status vn_scorer_compute(vn_scorer *c, const vn_scored *which,
                            const vn_values *const sets[VN_SETS], float *grads, float *loss,
                            vn_err *err) {
    const vn_run run = {.values = sets[0],
                        .more = sets + 1,
                        .grads = grads,
                        .seed = c->s->seed,
                        .step = which->draw,
                        .first_sample = (uint64_t)which->first,
                        .watch = c->watch};
    vn_program_run(c->program, &run);
    const vn_status status = vn_program_wait(c->program, err);
    if (!status) vn_program_read(c->program, c->loss, loss);
    if (!status && c->measured) vn_program_read(c->program, c->parts.measured, c->measured);
    return status;
}

vn_status vn_scorer_run(vn_scorer *c, const vn_scored *which, const vn_values *const sets[VN_SETS],
                        float *grads, float *loss, vn_err *err) {
    const vn_status status = vn_scorer_fill(c, which, err);
    return status ? status : vn_scorer_compute(c, which, sets, grads, loss, err);
}
