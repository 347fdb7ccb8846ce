/* tree.h - the tree by which the terms of a step are added.
 *
 * A step has a fixed number M of microbatches. Their gradients and losses are added as a tree in
 * the order of their numbers, whoever computes which: neighbours are joined, (0 1)(2 3) .., then
 * pairs of neighbours, and at the end what is left over, from the right. Each of R ranks makes M/R
 * microbatches that follow each other, and M/R is a power of two, so that they are a whole branch
 * of the tree: the weights are the same bits for every such R. One process alone may have any M. */
#ifndef VN_RANKS_TREE_H
#define VN_RANKS_TREE_H

#include "base/base.h"

/* How often the newest partial sum is added to the one before it once term i of n, 0 <= i < n, has
 * become the newest; after the last term one sum is left. */
int vn_tree_joins(int64_t i, int64_t n);
/* Terms of a branch of the tree, a power of two, with which n terms are no more than `most`
 * branches, of which the last may have fewer. */
int64_t vn_tree_branch(int64_t n, int64_t most);
/* The most partial sums that there are at one time. */
int vn_tree_depth(int64_t n);

#endif
