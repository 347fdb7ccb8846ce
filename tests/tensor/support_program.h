/* support_program.h - a graph, its program and its values, opened or the test fails. */
#ifndef SUPPORT_PROGRAM_H
#define SUPPORT_PROGRAM_H

#include "tensor/tensor.h"

vn_graph *open_graph(void);
vn_program *open_program(vn_graph *g, vn_program_options o, const vn_device *device);
/* Initial values of all weights, by the seed. */
vn_values *random_values(const vn_weights *w, const vn_device *device, uint64_t seed);

#endif
