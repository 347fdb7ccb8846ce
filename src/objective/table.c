/* table.c - the objectives, and the methods of distillation. */
#include "objective/internal.h"

#define OBJECTIVE(name) &vn_##name##_objective,
static const vn_objective_row *const objectives[] = {VN_OBJECTIVES(OBJECTIVE)};
static const vn_word words[] = {{"mse", "dsm"},           {"l2", "dsm"}, {"simple", "dsm"},
                                {"flow-matching", "cfm"}, {"fm", "cfm"}, {"trigflow", "scm"},
                                {"sct", "scm"},           {NULL, NULL}};
const vn_table vn_objectives = {"objective", objectives, 0, VN_COUNT(objectives), words, NULL};

#define METHOD(name) &vn_##name##_method,
static const vn_objective_row *const methods[] = {VN_METHODS(METHOD)};
static const vn_word method_words[] = {
    {"guided", "guidance"}, {"cd", "consistency"}, {"multistep-consistency", "multistep"},
    {"trigflow", "scm"},    {"scd", "scm"},        {NULL, NULL}};
const vn_table vn_methods = {"method", methods, 0, VN_COUNT(methods), method_words, NULL};
