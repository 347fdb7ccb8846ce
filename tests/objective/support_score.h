/* support_score.h - what the tests of score matching share: a world whose score is known, an
 * objective on it, the arrays of a step, a small network, and the forms of implicit losses. */
#ifndef SUPPORT_SCORE_H
#define SUPPORT_SCORE_H

#include "objective/internal.h"
#include "support/bench.h"
#include "support/reference.h"

enum { MAX_ROWS = 4096, SIZE = 2, PROBES = 3 };

typedef struct score_setting {
    bench truth;
    vn_objective *objective;
} score_setting;

/* Of a world with two classes, one Gaussian each, far from round. */
void score_open(score_setting *s, const char *path, const char *prediction, const char *objective,
                const char *times, double drop);
void score_close(score_setting *s);

typedef struct score_arrays {
    float x0[MAX_ROWS * SIZE], x[MAX_ROWS * SIZE], target[MAX_ROWS * SIZE], time[MAX_ROWS],
        weight[MAX_ROWS];
    float probe[MAX_ROWS * PROBES * SIZE], noise[MAX_ROWS * 3];
    int32_t labels[MAX_ROWS], network_labels[MAX_ROWS];
    vn_level level[MAX_ROWS];
} score_arrays;

/* Samples of the world's classes in turn, or of class 0 alone, and what the objective makes of
 * them. */
void score_fill(const score_setting *s, score_arrays *a, const vn_loss *loss, int n, uint64_t step,
                bool one_class);
/* Puts the arrays where the loss reads them. */
void score_feed(ref_graph *r, const vn_loss *loss, const score_arrays *a);

/* out = c tanh(a x + b) + d, with numbers that are inputs of the graph. */
enum {
    WIDTH = 4,
    A = 0,
    B = A + WIDTH * SIZE,
    C = B + WIDTH,
    D = C + SIZE * WIDTH,
    NUMBERS = D + SIZE
};

typedef struct score_net {
    vn_graph *g;
    vn_loss parts;
    vn_node *part[4], *grad[4], *loss;
} score_net;

/* The loss of the network on n rows, and its gradient by the network's numbers. */
void score_build(score_net *t, const score_setting *s, int n);

enum { SCORE_FORMS = 6 };
extern const struct score_form {
    const char *objective;
    int directions; /* 0: the unit vectors */
    bool sliced;
} score_forms[SCORE_FORMS];

#endif
