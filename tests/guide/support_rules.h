/* support_rules.h - for the tests of rules that combine predictions: a denoiser that answers what
 * it is told, one guided prediction in a call, and comparisons. */
#ifndef VN_TEST_RULES_H
#define VN_TEST_RULES_H

#include "guide/guide.h"

#define MAX_FLOATS 2048 /* of a batch */

/* Answers row i of n under condition k with row i of raw[k]; null and the weak network are
 * conditions too. */
enum { ANSWER_NULL = 4, ANSWER_WEAK, ANSWERS };
typedef struct parrot {
    int64_t n, size;
    const float *raw[ANSWERS]; /* [n,size]; NULL: refused */
    int queries;               /* made so far */
} parrot;
/* Four classes, null and weak, whatever raw holds. */
vn_denoiser parrot_denoiser(parrot *p, const vn_path *path, const char *prediction);

/* Guides of `list`, at step 5 of 28. Fails the test with the reason if they do not open. */
vn_guidance *open_guides(const char *list, double gamma, const vn_denoiser *d, int64_t capacity);
/* One walk of one prediction at `level`, the step ending at `next`; returns its passes. */
double guided(const char *list, double gamma, const vn_denoiser *d, int64_t n,
              const int32_t *labels, const float *x, const vn_level *level, const vn_level *next,
              vn_estimate out);
/* The same at another step than 5 of 28. */
double guided_at(const char *list, double gamma, const vn_denoiser *d, int64_t n,
                 const int32_t *labels, const float *x, const vn_level *level, const vn_level *next,
                 int step, int steps, vn_estimate out);
/* What the denoiser itself says; all rows of q are at `level`. */
void unguided(const vn_denoiser *d, vn_query q, const vn_level *level, vn_estimate out);
/* Refused with a message that has `words` in it. */
void refused(const char *list, double gamma, const vn_denoiser *d, const char *words);

/* Largest |a - b| over the largest |b|. */
double error_of(size_t n, const float *a, const float *b);
/* Fails the test where that is not below `tolerance`. */
void near(const char *what, size_t n, const float *a, const float *b, double tolerance);
bool all_finite(size_t n, const float *a);

#endif
