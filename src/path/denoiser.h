/* denoiser.h - the one interface between samplers, guides and likelihoods on one side and anything
 * that denoises on the other: a network, an exact world, a callback of the user's.
 *
 * A query is a batch of rows, each with its own level and condition, so that the passes of several
 * guides can share one forward pass. The kind of the raw output is the denoiser's prediction. */
#ifndef VN_DENOISER_H
#define VN_DENOISER_H

#include "path/condition.h"
#include "path/path.h"
#include "path/prediction.h"

typedef enum vn_network {
    VN_NETWORK_MAIN,
    VN_NETWORK_WEAK, /* for autoguidance: a worse model of the same data */
    VN_NETWORK_COUNT
} vn_network;

/* Noise on conditions, more of it where x has more (CADS 2310.17347): in place of y the network is
 * given y' = sqrt(g) y + scale sqrt(1 - g) n, where g falls from 1 at t = from to 0 at t = to,
 * moved by the part `mix` to the mean and deviation of y. n is a sample's own, another in each
 * step. */
typedef struct vn_anneal {
    double from, to, scale, mix;
    uint64_t seed;
    vn_condition none; /* stays without noise, as VN_CONDITION_NULL does */
} vn_anneal;

typedef struct vn_query {
    int64_t n;
    vn_network network;
    vn_perturb perturb;    /* of these rows, as a guide's perturbed pass has it */
    vn_perturb always;     /* a second one, the same in every pass of a sampling run (PLADIS) */
    const float *x;        /* [n,size] */
    const vn_level *level; /* [n] */
    /* [n] the level that the step goes to, for networks that take it (VN_TAKES_TO): velocity is
     * then the average over the step. NULL: each row's own level, where it is the velocity */
    const vn_level *to;
    /* [n] the level that the sampler's step goes to, whatever is asked for on the way
     * (VN_TAKES_NEXT); NULL: not known */
    const vn_level *next;
    /* [n] gamma, or NULL: for networks that take it as an input (VN_TAKES_GUIDANCE). NaN: the
     * denoiser's default */
    const float *guidance;
    const vn_condition *condition; /* [n] */
    const vn_anneal *anneal;       /* NULL: none (VN_CAN_ANNEAL) */
    /* [n] index of the sample that each row is a state of, and the step of the sampling run: for
     * denoisers that know more of a sample than its x. sample NULL: not known */
    const uint64_t *sample;
    uint64_t step;
    vn_want want;           /* the raw output, or a product with its Jacobian by x */
    const float *direction; /* [n,size]; NULL for VN_ANSWER */
    float *variance;        /* NULL, or [n,size]: receives the learned v (VN_CAN_VARIANCE) */
} vn_query;

/* A query to a classifier of noisy samples: log p(condition|x_t), and its gradient by x_t. */
typedef struct vn_classify {
    int64_t n;
    const float *x;                /* [n,size] */
    const vn_level *level;         /* one for all rows */
    const vn_condition *condition; /* [n], none of them VN_CONDITION_NULL */
    float *log_probability;        /* out [n]; or NULL */
    /* out [n,size]: sigma^2/alpha times the gradient, by which guidance shifts x0; at alpha = 0 its
     * limit, or 0 where that is not known; or NULL */
    float *shift;
} vn_classify;

/* What a denoiser can answer, and what it takes besides x, level and condition. */
enum {
    VN_CAN_VJP = 1,
    VN_CAN_JVP = 2,
    VN_CAN_WEAK = 4, /* VN_NETWORK_WEAK */
    /* Its main network answers queries for a variance: with v the variance of the reverse step is
     * exp(f log beta + (1 - f) log beta~), f = (v + 1)/2, where beta is that of the forward step
     * and beta~ that of the reverse step for known x0 (2102.09672). On discrete paths. */
    VN_CAN_VARIANCE = 8,
    VN_TAKES_TO = 16, /* query.to: velocity is the average over the step (MeanFlow, shortcut) */
    VN_TAKES_GUIDANCE = 32, /* query.guidance: guidance-distilled networks (2210.03142) */
    VN_CAN_ANNEAL = 64,     /* query.anneal: its conditions are arrays of numbers */
    /* its x0 is a sample and no mean, so that there is no ODE to follow: consistency models */
    VN_X0_IS_SAMPLE = 128,
    VN_TAKES_NEXT = 256 /* query.next: restoration */
};

/* Anything that denoises: a network, a world, a callback. Its maker fills the struct, which must
 * stay as it is while samplers use it. */
typedef struct vn_denoiser {
    const vn_path *path;
    vn_prediction prediction;
    vn_shape sample; /* of one row: [C,H,W] or [D] */
    int64_t size;    /* numbers in a row: the shape's count */
    int64_t tokens;  /* how many tokens a sample is to its network; 0: not known */
    vn_conditions conditions;
    unsigned can;           /* VN_CAN_* and VN_TAKES_* */
    unsigned perturbations; /* sum of the vn_perturbation kinds that it supports */
    int layers, middle;     /* how many layers can be perturbed; which one is by default */
    void *self;
    /* raw [n,size] out. The query and its arrays are valid during the call only. */
    vn_status (*predict)(void *self, const vn_query *q, float *raw, vn_err *err);
    /* The main network's prediction for one sample in double: x0 [size] and eps [size] at x [size].
     * NULL: it computes in float32 only. */
    vn_status (*exact)(void *self, vn_condition c, const vn_level *level, const double *x,
                       double *x0, double *eps, vn_err *err);
    /* p(condition|x_t) beside the denoiser; NULL: it has none. */
    vn_status (*classify)(void *self, const vn_classify *q, vn_err *err);
    /* its network takes no condition: `conditions` are the classes that `classify` tells */
    bool unconditional;
} vn_denoiser;

#endif
