/* likelihood.h - log p(x|condition) of a denoiser, by its probability-flow ODE. */
#ifndef VN_LIKELIHOOD_H
#define VN_LIKELIHOOD_H

#include "path/path.h"

/* How the divergence of the ODE's slope is found at each evaluation. */
typedef enum vn_divergence {
    /* size vector-Jacobian products, with the unit vectors: for few dimensions */
    VN_DIVERGENCE_EXACT,
    /* Hutchinson's: the mean of v.Jv over probes v of random signs, the same along a trajectory */
    VN_DIVERGENCE_RADEMACHER,
    VN_DIVERGENCE_NORMAL /* ... or of normal numbers, whose estimates have more variance */
} vn_divergence;

typedef struct vn_likelihood_options {
    const vn_denoiser *denoiser; /* that can VN_CAN_VJP */
    vn_divergence divergence;
    int probes;        /* >= 1 for Hutchinson's estimate; ignored by the exact one */
    double rtol, atol; /* of dopri5 */
    double ratio;      /* sigma/alpha where the ODE begins; 0: that of the path's smallest t */
    uint64_t seed;     /* of the probes */
    /* Called before each batch of evaluations with how many rows are done, an estimated fraction
     * for those that have begun included, and how many evaluations there were; NULL: not called.
     * True ends the call with VN_CANCELLED. */
    bool (*evaluated)(void *user, double done, int64_t evaluations);
    void *user;
} vn_likelihood_options;

/* 1e-5 and 1e-5, one Rademacher probe, as 2011.13456. */
vn_likelihood_options vn_likelihood_default(const vn_denoiser *d);

/* Any number of rows, which do not depend on each other. */
typedef struct vn_likelihood_batch {
    int64_t n;
    uint64_t first;                /* index of row 0, for its probes */
    const float *x;                /* [n,size] data */
    const vn_condition *condition; /* [n] a class or VN_CONDITION_NULL */
    double *log_p;                 /* out [n], nats */
    /* out [n] evaluations of the slope (each a prediction and a divergence); or NULL */
    int64_t *evaluations;
} vn_likelihood_batch;

/* log_p is the log density, at x, of data to which noise of deviation `ratio` is added: the ODE is
 * singular at the data themselves, whose log density is infinite as a rule. VN_BAD_ARGUMENT names a
 * bad option, or the sample with a condition that the denoiser does not know or that takes too many
 * evaluations; VN_UNSUPPORTED: the denoiser has no derivatives; VN_NOT_FINITE names the sample
 * whose numbers are no longer finite; VN_CANCELLED: `evaluated` returned true. */
vn_status vn_likelihood(const vn_likelihood_options *options, const vn_likelihood_batch *batch,
                        vn_err *err);

#endif
