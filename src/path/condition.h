/* condition.h - what a prediction is conditioned on. To guides, samplers and objectives a condition
 * is a number that they copy, compare and pass on; only the denoiser knows what the number stands
 * for: a row of a class table, or named arrays (an embedding, a prompt's tokens, a picture, a
 * mask). */
#ifndef VN_CONDITION_H
#define VN_CONDITION_H

#include "base/base.h"

/* vn_condition is vane.h's. */
#define VN_CONDITION_NULL VN_LABEL_NULL /* none: the unconditional prediction */

/* The conditions of a denoiser, which owns the names. */
typedef struct vn_conditions {
    vn_condition classes; /* 0 .. classes-1 are classes */
    vn_condition count;   /* classes .. count-1 were added by the user; 0: none were */
    bool has_null;        /* VN_CONDITION_NULL is one of them */
    /* [vn_conditions_count] by which text may name them; NULL: by number only */
    const char *const *names;
} vn_conditions;

/* All of them but the null condition. */
static inline vn_condition vn_conditions_count(const vn_conditions *set) {
    return set->count > set->classes ? set->count : set->classes;
}
/* Whether c is one of the set; a denoiser without any condition has only the null one. */
static inline bool vn_conditions_hold(const vn_conditions *set, vn_condition c) {
    const vn_condition count = vn_conditions_count(set);
    return c == VN_CONDITION_NULL ? set->has_null || !count : c >= 0 && c < count;
}

#endif
