/* prediction.h - what a network's raw output predicts: x0, eps, v, score, velocity or EDM's F. Each
 * is a row of coefficients at a level, so that samplers and guides work on (x0, eps) alone. */
#ifndef VN_PREDICTION_H
#define VN_PREDICTION_H

#include "path/path.h"

/* The coefficients of a prediction at a level: what the raw output is in terms of x0 and eps, and
 * the other way round. */
typedef struct vn_coefficients {
    /* x0  = x0_x x  + x0_raw raw; 0, 0 where x0 does not follow (eps or score at alpha = 0) */
    double x0_x, x0_raw;
    /* eps = eps_x x + eps_raw raw; 0, 0 where eps does not follow (x0 at sigma = 0) */
    double eps_x, eps_raw;
    double raw_x0, raw_eps; /* raw = raw_x0 x0 + raw_eps eps: the target in training */
    double input;           /* the network sees input * x */
    /* an error in raw, times this, is the error in eps: |x0_raw| alpha / sigma, or its limit where
     * that is 0/0 */
    double eps_error;
    /* the usual weight of raw's squared error in training: 1, and sigma^2 for score (2011.13456) */
    double weight;
} vn_coefficients;

typedef struct vn_prediction_row {
    vn_row row;
    const char *objective; /* row of the objectives table that trains it */
    void (*coefficients)(const vn_choice *c, const vn_level *l, vn_coefficients *out);
} vn_prediction_row;

extern const vn_prediction_row vn_prediction_rows[];
extern const size_t vn_prediction_row_count;

typedef struct vn_prediction {
    const vn_prediction_row *row;
    vn_choice choice;
} vn_prediction;

vn_status vn_prediction_parse(const char *text, vn_prediction *out, vn_err *err);
/* The deviation of the data by which the network's input is scaled; 0: it is not scaled. */
double vn_prediction_deviation(const vn_prediction *p);
/* VN_BAD_ARGUMENT names what cannot be sampled: eps or score on a discrete path whose last step is
 * pure noise (ddpm:zero_snr=1), because x0 does not follow from them there. To be called wherever a
 * path and a prediction are combined. */
vn_status vn_path_allows(const vn_path *p, const vn_prediction *predict, vn_err *err);
vn_coefficients vn_prediction_coefficients(const vn_prediction *p, const vn_level *l);

/* A prediction in both forms. Most rules keep them consistent, x = alpha x0 + sigma eps; CFG++ does
 * not. */
typedef struct vn_estimate {
    float *x0, *eps; /* [n,size] */
} vn_estimate;

/* One row of size floats: x0 and eps by raw. raw may be the array x0 or eps. */
void vn_prediction_to_estimate(const vn_prediction *p, const vn_level *l, size_t size,
                               const float *x, const float *raw, float *x0, float *eps);
/* One row: raw by x0 and eps. */
void vn_prediction_from_estimate(const vn_prediction *p, const vn_level *l, size_t size,
                                 const float *x0, const float *eps, float *raw);

#endif
