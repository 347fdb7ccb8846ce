/* plan.c - the passes of one guided prediction, each named once. */
#include "guide/guidance.h"

#include <string.h>

static bool same_conditions(const vn_condition *a, const vn_condition *b, int64_t n) {
    return a == b || !memcmp(a, b, (size_t)n * sizeof *a);
}

bool vn_pass_same_but_conditions(const vn_pass *a, const vn_pass *b) {
    return a->network == b->network && vn_perturb_equal(&a->perturb, &b->perturb) &&
           a->perturbs == b->perturbs && a->x == b->x && a->level == b->level &&
           a->want == b->want && a->direction == b->direction && a->guidance == b->guidance;
}

bool vn_pass_same(const vn_pass *a, const vn_pass *b, int64_t n) {
    return vn_pass_same_but_conditions(a, b) && same_conditions(a->condition, b->condition, n);
}

const vn_estimate *vn_plan_pass(vn_plan *plan, const vn_pass *pass) {
    for (int i = 0; i < plan->count; i++)
        if (vn_pass_same(&plan->pass[i], pass, plan->n))
            return i < plan->done ? &plan->estimate[i] : NULL;
    if (plan->count == plan->max)
        plan->full = true;
    else
        plan->pass[plan->count++] = *pass;
    return NULL;
}
