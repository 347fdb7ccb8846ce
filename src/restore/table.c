/* table.c - the operators and the rules. */
#include "restore/internal.h"

#define ROW(name) &vn_##name##_operator,
static const vn_operator_row *const operators[] = {VN_OPERATORS(ROW)};
#undef ROW
static const vn_word operator_words[] = {
    {"inpaint", "mask"},  {"inpainting", "mask"},  {"super-resolution", "downsample"},
    {"deblur", "blur"},   {"gaussian", "blur"},    {"gray", "grey"},
    {"colorize", "grey"}, {"identity", "denoise"}, {NULL, NULL}};
const vn_table vn_operators = {"operator", operators, 0, VN_COUNT(operators), operator_words, NULL};

#define ROW(name) &vn_##name##_restorer,
static const vn_restorer_row *const restorers[] = {VN_RESTORERS(ROW)};
static const vn_word restorer_words[] = {
    {"pseudoinverse-guided", "pigdm"}, {"pgdm", "pigdm"},  {"moment-matching", "mmps"},
    {"posterior-sampling", "dps"},     {"twisted", "tds"}, {NULL, NULL}};
const vn_table vn_restorers = {"restorer", restorers, 0, VN_COUNT(restorers), restorer_words, NULL};
