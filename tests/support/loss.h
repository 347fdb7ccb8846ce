/* loss.h - losses without a network's class: a node that answers for the network, and the inputs
 * that a loss declared, by name. */
#ifndef VN_TEST_LOSS_H
#define VN_TEST_LOSS_H

#include <string.h>

#include "objective/objective.h"

/* vn_loss.network of a network whose output is a node: self is the node's address. */
static inline vn_node *loss_answer(void *self, const vn_loss_call *call) {
    (void)call;
    return *(vn_node *const *)self;
}

/* NULL: the loss has no input of this name. */
static inline const vn_loss_input *loss_input(const vn_loss *l, const char *name) {
    for (int i = 0; i < l->inputs; i++)
        if (strcmp(l->input[i].name, name) == 0) return &l->input[i];
    return NULL;
}

static inline vn_node *loss_node(const vn_loss *l, const char *name) {
    const vn_loss_input *input = loss_input(l, name);
    return input ? input->node : NULL;
}

/* The batch fills the loss's input of this name, if it has one, into `to`. */
static inline void loss_bind(const vn_loss *l, vn_objective_batch *b, const char *name, float *to) {
    const vn_loss_input *input = loss_input(l, name);
    if (input) b->input[input - l->input] = to;
}

#endif
