/* support_setting.h - what the tests of objectives share: an objective on a path with a prediction,
 * and the graph of its loss. */
#ifndef SUPPORT_SETTING_H
#define SUPPORT_SETTING_H

#include "objective/internal.h"

typedef struct objective_setting {
    vn_path *path;
    vn_prediction prediction;
    vn_objective *objective;
    vn_graph *g;
    vn_node *output; /* of the network, an input of the graph */
    vn_loss loss;
    vn_node *value; /* of the loss, for whom builds it */
} objective_setting;

/* The objective that `o` says but for path and prediction, which it need not; there is no graph
 * yet. Fails the test where it cannot be. */
void setting_open(objective_setting *s, const char *path, const char *prediction,
                  const vn_objective_options *o);
/* The graph, its inputs, and the loss of a network whose input and answer have this shape. */
void setting_build(objective_setting *s, vn_shape shape);
void setting_close(objective_setting *s);

#endif
