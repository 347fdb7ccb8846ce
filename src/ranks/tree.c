/* tree.c - see the header. The tree is a binary counter: a partial sum of 2^k terms is joined with
 * the one before it as soon as that has 2^k terms too. */
#include "ranks/tree.h"

int vn_tree_joins(int64_t i, int64_t n) {
    int ones = 0, trailing = 0; /* sums before term i; those of them that it completes */
    for (int64_t rest = i; rest; rest /= 2) ones += rest % 2;
    for (int64_t rest = i + 1; rest % 2 == 0; rest /= 2) trailing++;
    return i == n - 1 ? ones : trailing;
}

int64_t vn_tree_branch(int64_t n, int64_t most) {
    int64_t terms = 1;
    while ((n + terms - 1) / terms > most) terms *= 2;
    return terms;
}

int vn_tree_depth(int64_t n) {
    int depth = 0;
    for (; n; n /= 2) depth++;
    return depth;
}
