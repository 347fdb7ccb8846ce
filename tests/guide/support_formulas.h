/* support_formulas.h - for the tests that write a rule's formula out in double: one batch of states
 * at one level of an exact world of three classes and a weak model, and what its denoiser says. */
#ifndef VN_TEST_FORMULAS_H
#define VN_TEST_FORMULAS_H

#include "support/bench.h"
#include "support_rules.h"

#define N         6
#define D         3
#define F         (N * D)
#define TOLERANCE 8e-7 /* six roundings of 6e-8 each, and twice that; measured 3.1e-7 */

extern const char formulas_world[];
extern vn_path *path; /* vp */
extern vn_denoiser denoiser;
extern vn_level level, next; /* t = 0.5 and 0.4 */
extern float x[F];
extern const int32_t labels[N], none[N]; /* sample 3 has no condition */

int set_up(void **state);
int tear_down(void **state);

typedef struct rows {
    float x0[F], eps[F];
} rows;
vn_estimate pair_of(rows *r);

/* One guided prediction at `level`; its passes. */
double run(const char *list, double gamma, rows *out);
/* What the denoiser says of a state; of x under a condition; under one class for all that have
 * one. */
rows ask_at(vn_network network, const int32_t *condition, const float *at, const vn_level *l);
rows ask(const int32_t *condition);
rows ask_class(int32_t label);

void same_rows(const char *what, const rows *got, const rows *want);
/* x0 and eps belong together, as those of all rules but CFG++ do. */
void consistent(const char *what, const rows *r);
/* a + w (b - a), of x0 and eps. */
rows mix(const rows *a, const rows *b, double w);

#endif
