/* consistency.h - what losses of consistency share: where the network says that the ODE through
 * x_t ends is to be where it says so of an earlier point, the same weights held constant. */
#ifndef VN_OBJECTIVE_CONSISTENCY_H
#define VN_OBJECTIVE_CONSISTENCY_H

#include "objective/internal.h"

/* The numbers of a sample: the end is OF_X x + OF_RAW output, for the network's x and output at t,
 * and at r; and the weight. */
enum {
    VN_END_OF_X,
    VN_END_OF_RAW,
    VN_EARLIER_OF_X,
    VN_EARLIER_OF_RAW,
    VN_END_WEIGHT,
    VN_END_NUMBERS
};

/* The mean of weight (sqrt(mean square + c^2) - c) of the two ends. earlier_x: x_r as the network
 * sees it, the same shape as l->x; time: fills the network's time of r. */
vn_node *vn_consistency_loss(vn_loss *l, double c, vn_node *earlier_x, vn_loss_fill *numbers,
                             vn_loss_fill *time);
/* Fills x_r, as the network sees it, from the teacher's answer of row i: its DDIM step to r. */
void vn_consistency_step(const vn_loss_batch *b, int64_t i, const vn_level *r, float *x);

#endif
