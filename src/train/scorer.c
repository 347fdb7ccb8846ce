/* scorer.c - the loss of one batch: the network, as often as the loss calls it, as a planned graph,
 * and the arrays of its inputs. Training and the held-out loss are the same with and without
 * gradients. */
#include "train/internal.h"

static int64_t row_size(const vn_data_info *info) {
    int64_t size = 1;
    for (int i = 0; i < info->sample.rank; i++) size *= info->sample.dim[i];
    return size;
}

/* The network once more, for the loss (vn_loss.network): self is the scorer. */
static vn_node *network(void *self, int n, const vn_given *given, bool same_dropout) {
    vn_scorer *c = self;
    const vn_net_io *io = vn_net_get_io(c->net);
    const uint32_t next = vn_graph_site(c->graph);
    vn_net_nodes nodes = c->batch_nodes;
    for (int i = 0; i < n; i++) {
        const vn_port *port = vn_net_input(io, given[i].port);
        if (!port)
            return vn_graph_fail(c->graph, VN_UNSUPPORTED, "a network without an input \"%s\"",
                                 given[i].port);
        nodes.in[port - io->input] = given[i].node;
    }
    if (same_dropout) vn_graph_set_site(c->graph, 0); /* the first call began there */
    vn_net_build_on(c->net, c->graph, &c->call, &nodes, NULL);
    if (vn_graph_site(c->graph) < next) vn_graph_set_site(c->graph, next);
    return vn_net_out(c->net, &nodes, "sample");
}

/* The loss of the network; with train the gradients of it by every weight that trains, each with
 * its place. */
static vn_status build(vn_scorer *c, const vn_train_setup *s, int64_t batch, bool train,
                       vn_recompute how, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(s->data);
    c->batch = batch;
    c->net = s->net;
    c->call = (vn_net_call){.extent = vn_extent_of(batch, &info->sample), .train = train};
    vn_status status = vn_graph_open(&c->graph, err);
    if (!status) status = vn_net_make_inputs(s->net, c->graph, &c->call, &c->batch_nodes, err);
    if (status) return status;
    c->parts = (vn_loss){.g = c->graph,
                         .x = vn_net_in(s->net, &c->batch_nodes, "sample"),
                         .time = vn_net_in(s->net, &c->batch_nodes, "timestep"),
                         .network = network,
                         .self = c};
    c->loss = vn_objective_loss(s->objective, &c->parts);
    status = vn_graph_status(c->graph, err);
    c->by = (vn_gradients){.weights = vn_net_weights(s->net), .recompute = how};
    return !status && train ? vn_gradients_open(&c->by, c->loss, NULL, err) : status;
}

static vn_program_options options_of(const vn_scorer *c, const vn_train_setup *s) {
    return (vn_program_options){.device = s->device,
                                .n_outputs = 1,
                                .outputs = &c->loss,
                                .n_grads = c->by.n,
                                .grads = c->by.node,
                                .grad_offset = c->by.offset};
}

vn_status vn_scorer_measure(const vn_train_setup *s, int64_t batch, bool train, vn_recompute how,
                            size_t *bytes, double *flops, vn_err *err) {
    vn_scorer c = {0};
    vn_footprint f = {0};
    vn_status status = build(&c, s, batch, train, how, err);
    const vn_program_options options = options_of(&c, s);
    if (!status) status = vn_footprint_open(c.graph, &options, &f, err);
    *bytes = f.bytes;
    *flops = f.cost.flops;
    vn_footprint_close(&f);
    vn_scorer_close(&c);
    return status;
}

vn_status vn_scorer_open(vn_scorer *c, const vn_train_setup *s, int64_t batch, bool train,
                         vn_err *err) {
    vn_status status = build(c, s, batch, train, s->recompute, err);
    const vn_program_options options = options_of(c, s);
    if (!status) status = vn_program_open(c->graph, &options, &c->program, err);
    if (status) return status;

    const size_t n = (size_t)batch;
    c->x0 = vn_alloc_aligned(n * (size_t)row_size(vn_data_get_info(s->data)), sizeof(float));
    c->time = vn_alloc(n, sizeof(float));
    c->labels = vn_alloc(n, sizeof(int32_t));
    c->given = vn_alloc(n, sizeof(int32_t));
    c->level = vn_alloc(n, sizeof(vn_level));
    return c->x0 && c->time && c->labels && c->given && c->level ? VN_OK : vn_no_memory(err);
}

void vn_scorer_close(vn_scorer *c) {
    vn_program_close(&c->program);
    vn_gradients_close(&c->by);
    vn_graph_close(&c->graph);
    vn_free(c->x0);
    vn_free(c->time);
    vn_free(c->labels);
    vn_free(c->given);
    vn_free(c->level);
    *c = (vn_scorer){0};
}

vn_status vn_scorer_run(vn_scorer *c, const vn_train_setup *s, const vn_scored *which,
                        const vn_values *values, float *grads, float *loss, vn_err *err) {
    vn_status status =
        vn_data_batch(s->data, which->part, which->position, c->batch, c->x0, c->labels, err);
    if (status) return status;
    const bool labelled = vn_net_labels(vn_net_get_io(s->net)) > 0;
    vn_objective_batch batch = {.n = c->batch,
                                .size = row_size(vn_data_get_info(s->data)),
                                .step = which->draw,
                                .first = (uint64_t)which->first,
                                .total = which->total,
                                .x0 = c->x0,
                                .labels = labelled ? c->labels : NULL,
                                .level = c->level,
                                .x = vn_program_map(c->program, c->parts.x),
                                .time = c->time,
                                .network_labels = c->given,
                                .pool = s->device->pool};
    for (int i = 0; i < c->parts.inputs; i++)
        batch.input[i] = vn_program_map(c->program, c->parts.input[i].node);
    status = vn_objective_fill(s->objective, &c->parts, &batch, err);
    const vn_feed in[] = {{.array = {"timestep", VN_F32, VN_SHAPE(c->batch), c->time}},
                          {.array = {"class_labels", VN_I32, VN_SHAPE(c->batch), c->given}}};
    if (!status)
        status = vn_net_fill(s->net, c->program, &c->batch_nodes, 1 + labelled, in, s->device->pool,
                             err);
    if (status) return status;
    const vn_run run = {.values = values,
                        .grads = grads,
                        .seed = s->seed,
                        .step = which->draw,
                        .first_sample = (uint64_t)which->first};
    vn_program_run(c->program, &run);
    status = vn_program_wait(c->program, err);
    if (!status) vn_program_read(c->program, c->loss, loss);
    return status;
}
