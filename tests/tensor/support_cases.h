/* support_cases.h - small graphs around every op, walked by the tests: an op without a case fails
 * them. */
#ifndef SUPPORT_CASES_H
#define SUPPORT_CASES_H

#include "support/reference.h"
#include "tensor/internal.h"

typedef struct op_case {
    vn_op op;
    vn_node *(*build)(vn_graph *g, int variant); /* a node of this op over inputs of its own */
    int variants;
} op_case;

extern const op_case op_cases[];
extern const size_t op_case_count;

/* How often the case can be differentiated, up to twice. */
int op_case_smoothness(const op_case *c, int variant);
/* Integers in -1..2 (-1 chooses no row); floats of 0.3 to 1.5 in size (no function has a kink or a
 * pole there), of either sign or positive. */
/* A five-point stencil, 8 (y(h) - y(-h)) - (y(2h) - y(-2h)) over 12 h, and what it may be off by.
 * Its own error goes with h^4, so with h doubled it is 16 times as large: that difference is 15
 * times the error. Values are rounded, the larger the more, and the step divides that: 256
 * roundings of double of what the values and the slope are. */
#define STENCIL_STEP 3e-4
#define STENCIL_AT                                                                                 \
    { 1, -1, 2, -2, 4, -4 } /* times the step: where values are wanted */
typedef struct stencil {
    double slope, bound;
} stencil;
stencil stencil_of(const double value[6]);

void fill_input(const vn_node *n, double *value, bool positive, uint64_t seed);
/* Gives every input of the graph such values. Integers and signs depend on the node's id only. */
/* Of the weight that a case has: 1, 2, 3, 0, 0, 0. */
const vn_values *op_case_values(void);
void fill_inputs(ref_graph *r, bool positive, uint64_t seed);

#endif
