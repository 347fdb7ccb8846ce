/* internal.h - what the files of restore share: the rows, and what rules do alike. */
#ifndef VN_RESTORE_INTERNAL_H
#define VN_RESTORE_INTERNAL_H

#include "restore/restore.h"

/* Every operator and every rule by its row's name with _ for -: a row NAME is vn_NAME_operator or
 * vn_NAME_restorer, in its file. To add one, write its file and name it here. */
/* clang-format off */
#define VN_OPERATORS(ROW) \
    ROW(mask) ROW(downsample) ROW(blur) ROW(grey) ROW(denoise) ROW(matrix) ROW(projection)
#define VN_RESTORERS(ROW) \
    ROW(mmps) ROW(tmpd) ROW(dps) ROW(pigdm) ROW(ddnm) ROW(diffpir) \
    ROW(replacement) ROW(repaint) ROW(daps) ROW(tds) ROW(red_diff) ROW(pnp_flow) ROW(psld)
/* clang-format on */

#define VN_DECLARE_OPERATOR(name) extern const vn_operator_row vn_##name##_operator;
#define VN_DECLARE_RESTORER(name) extern const struct vn_restorer_row vn_##name##_restorer;
VN_OPERATORS(VN_DECLARE_OPERATOR)
VN_RESTORERS(VN_DECLARE_RESTORER)
#undef VN_DECLARE_OPERATOR
#undef VN_DECLARE_RESTORER

/* The user's, which is in no table. */
extern const vn_operator_row vn_callback_operator_row;
/* Another one on what samples are decoded to (decoded.c). */
extern const vn_operator_row vn_decoded_operator_row;

/* ---- rules ----------------------------------------------------------------------------------- */

/* What a rule needs. */
enum {
    VN_RULE_VJP = 1,   /* of the denoiser */
    VN_RULE_NOISE = 2, /* a noise level above 0: it divides by it */
    /* one pass a step: it keeps a state of each sample, or draws x0 at random */
    VN_RULE_ONE_PASS = 4,
    /* not a need: it follows a gradient alone, so that what is observed may be any smooth function
     * of samples (vn_operator.inner) */
    VN_RULE_SMOOTH = 8,
    /* nor that: it puts what is known in its place, which under a mask may be latents too */
    VN_RULE_REPLACES = 16
};

/* Rows of one query, each with its own level. */
typedef struct vn_restoring {
    vn_restoration *r;
    const vn_query *q; /* its sample, to and step; not its x and level, but: */
    int64_t n;
    const float *x;        /* [n,size] */
    const vn_level *level; /* [n], alpha > 0 */
    float *x0;             /* [n,size] in: E[x0|x_t]; out: E[x0|x_t,y] */
} vn_restoring;

enum { VN_MAX_BASIS = 16, VN_RULE_SLOTS = 4 };

typedef struct vn_restorer_row {
    vn_row row;
    unsigned needs; /* VN_RULE_* */
    /* the sampler where the user names none, NULL: any; only: it alone is valid */
    const char *sampler;
    bool only;
    bool selects; /* samples of one condition are particles */
    bool queries; /* `restore` queries the denoiser itself; else it is given x0 */
    int slots;    /* arrays [capacity,size] kept from step to step, 0 when a batch begins */
    int basis;    /* arrays [rows,size]: vectors of a Krylov space, or scratch */
    vn_status (*check)(const vn_restoration *r, vn_err *err); /* NULL: all is fine */
    /* NULL: the prediction stays as it is */
    vn_status (*restore)(const vn_restoring *s, vn_err *err);
    /* as in vn_between; NULL: it does not act between steps */
    vn_status (*route)(const vn_choice *c, vn_route *route, vn_err *err);
    vn_status (*after)(vn_restoration *r, vn_step *s, const vn_condition *condition,
                       int64_t *ancestor, vn_err *err);
} vn_restorer_row;

struct vn_restoration {
    const vn_restorer_row *row;
    vn_choice choice;
    const vn_denoiser *inner;
    vn_operator *op;
    const double *observed;
    int64_t observations;
    uint64_t first, seed;
    double noise;
    vn_denoiser denoiser;
    vn_prediction prediction; /* of the denoiser: v, from which x0 and eps follow at every level */
    vn_between between;
    /* of the batch: how many samples, and the index of the first; and how many rows went through
     * the network since it began, forward and back */
    int64_t capacity, n;
    uint64_t batch_first;
    int64_t passes, derivatives;
    /* the slots; and numbers kept of each sample, [capacity] */
    float *slot[VN_RULE_SLOTS];
    double *per_sample[2];
    vn_condition *condition; /* [capacity] scratch */
    bool known;              /* tds: the slots hold a prediction */
    /* of a query, [rows,size]: */
    int64_t rows;
    float *x, *x0, *eps, *raw, *direction, *derivative;
    float *basis[VN_MAX_BASIS];
    vn_level *level;      /* [rows] of r->x */
    vn_level *free_level; /* [rows] scratch of rules */
    uint64_t *sample;     /* [rows] scratch of rules */
    /* [rows,count] */
    double *residual, *p, *q, *v;
    double *row_work[3]; /* [rows] scratch */
    double *lanczos;     /* [rows,2 VN_MAX_BASIS] the tridiagonal matrices of rules with a basis */
    double *x_work[2], *y_work[2]; /* scratch of one row: samples [size], observations [count] */
};

double vn_dot(int64_t n, const double *a, const double *b);
/* The observation of the sample of a row. */
const double *vn_observed(const vn_restoration *r, uint64_t sample);
/* r->residual [n,count] = y - A x0; and of row i alone. */
void vn_find_residual(const vn_restoring *s);
void vn_find_residual_of(const vn_restoring *s, int64_t i);
/* out [size] = A^T v, as float. */
void vn_transpose_row(vn_restoration *r, const double *v, float *out);
/* x0 of row `row` += amount times the vector [size]. */
void vn_shift_row(const vn_restoring *s, int64_t row, double amount, const double *by);
/* x0 += amount[row] r->derivative. */
void vn_shift_by_derivative(const vn_restoring *s, const double *amount);
/* The same, and then vn_limit_shift by the lengths of r->residual. */
void vn_shift_within(const vn_restoring *s, const double *amount);
/* Copies x0 to r->eps, for vn_limit_shift. */
void vn_keep_x0(const vn_restoring *s);
/* Moves x0 back towards what vn_keep_x0 kept where A x0 has moved by more than `length` [n]. The
 * posterior mean of a Gaussian moves by no more than the residual. A network's Jacobian at high
 * noise is small and inexact, and multiplied by sigma^2/alpha it can move x0 further. */
void vn_limit_shift(const vn_restoring *s, const double *length);
/* Query the denoiser: for x0 [n,size] at x and levels; and for r->derivative = J^T r->direction at
 * s->x, where J = dx0/dx. */
vn_status vn_query_x0(const vn_restoring *s, const float *x, const vn_level *level, float *x0,
                      vn_err *err);
vn_status vn_query_vjp(const vn_restoring *s, vn_err *err);
/* Sets r->x [n,size] and r->level to those of a query. Where alpha is 0 they are those of a level
 * with a finite noise-to-signal ratio. */
void vn_place_query(vn_restoration *r, const vn_query *q);
/* gamma = sigma^2/alpha: the covariance of x0 given x is gamma J. */
double vn_covariance_scale(const vn_level *l);
/* Which sample of the batch a row belongs to. */
uint64_t vn_sample_row(const vn_restoring *s, int64_t row);
/* Level `to` of the query's row; the clean one where it is not known. */
const vn_level *vn_restoring_to(const vn_restoring *s, int64_t row);
/* dx'/dx0 in an ancestral step (ddpm): alpha' (1 - (s'/s)^2) with s = sigma/alpha. */
double vn_ancestral_share(const vn_level *from, const vn_level *to);
/* N(0,1), by (seed, sample, step, draw). */
void vn_rule_noise(const vn_restoration *r, uint64_t sample, uint64_t step, int draw, size_t n,
                   float *out);
/* v [n,count] of (noise^2 + gamma A J^T A^T) v = r->residual by conjugate gradients, of so many
 * products; r->v = v, and with x0 != NULL what is added to x0: gamma J^T A^T v (mmps.c). */
vn_status vn_solve_posterior(const vn_restoring *s, int iterations, float *x0, vn_err *err);
/* The Gaussian approximation of p(y|x_t), a twist, in which x0 given x_t has the covariance r^2 I,
 * r^2 = sigma^2/(alpha^2 + sigma^2), of data of unit variance (pigdm.c). Sets r->direction
 * = A^T (A A^T + c)^-1 (y - A x0) with c = noise^2/r^2, and `twist` [n] (or NULL) to log N(y; A x0,
 * noise^2 + r^2 A A^T) but for what does not depend on x. */
void vn_unit_twist(const vn_restoring *s, double *twist);
double vn_unit_variance(const vn_level *l); /* r^2 */
/* decoded.c: out [size] = minus the gradient by x of scale |y - A D(x)| + gamma |E(D + A^+ (y - A
 * D)) - x|, at the x that o, with an inner one, was applied to last; residual = y - A D(x). */
void vn_decoded_glue(vn_operator *o, const double *residual, double scale, double gamma,
                     double *out);
/* Puts what is known into x at a level: A x becomes alpha y + noise (replacement.c). */
vn_status vn_replace_known(vn_restoration *r, vn_step *s, const vn_condition *condition,
                           int64_t *ancestor, vn_err *err);

#endif
