/* table.c - the objectives. */
#include "objective/internal.h"

#define OBJECTIVE(name) &vn_##name##_objective,
static const vn_objective_row *const objectives[] = {VN_OBJECTIVES(OBJECTIVE)};
static const vn_word words[] = {{"mse", "dsm"},           {"l2", "dsm"}, {"simple", "dsm"},
                                {"flow-matching", "cfm"}, {"fm", "cfm"}, {NULL, NULL}};
const vn_table vn_objectives = {"objective", objectives, 0, VN_COUNT(objectives), words, NULL};
