/* step.c - a step of a network as a graph: forward alone, or with the gradients of a squared error
 * by every weight that trains. What vn_bench runs and vn_describe_plan plans. */
#include "api/internal.h"

vn_status vn_net_step_open(vn_net_step *s, const vn_net *net, const vn_net_spec *spec,
                           vn_recompute recompute, vn_err *err) {
    *s = (vn_net_step){.by = {.weights = vn_net_weights(net), .recompute = recompute}};
    vn_status status = vn_graph_open(&s->graph, err);
    if (!status) status = vn_net_build(net, s->graph, spec, &s->nodes, err);
    vn_node *output = s->result = s->nodes.out[0];
    if (status || !spec->train) return status;
    s->target = vn_input(s->graph, VN_F32, output->shape);
    vn_node *difference = vn_sub(s->graph, output, s->target);
    s->result = vn_mean(s->graph, vn_unary(s->graph, difference, VN_FN_SQUARE));
    status = vn_graph_status(s->graph, err);
    return !status ? vn_gradients_open(&s->by, s->result, NULL, err) : status;
}

vn_program_options vn_net_step_options(const vn_net_step *s, const vn_context *vn) {
    return (vn_program_options){.device = &vn->device,
                                .n_outputs = 1,
                                .outputs = &s->result,
                                .n_grads = s->by.n,
                                .grads = s->by.node,
                                .grad_offset = s->by.offset};
}

void vn_net_step_close(vn_net_step *s) {
    vn_gradients_close(&s->by);
    vn_graph_close(&s->graph);
}
