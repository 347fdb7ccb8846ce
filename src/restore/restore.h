/* restore.h - inverse problems: samples of p(x|y), where y = A x + noise was observed.
 *
 *     operator     A, a row of vn_operators with its parameters: mask, downsample, blur, matrix, ..
 *     restorer     a rule, a row of vn_restorers: how an observation changes a prediction
 *     restoration  both around a denoiser: a denoiser again, whose x0 stands for E[x0|x_t,y]
 *
 * Samplers, guides and grids meet the restoration as they meet any denoiser, so that classes and
 * guidance work as they are. A rule that also acts between steps, or draws a sample in the place of
 * a mean, says which samplers it is valid with. What belongs to one sample (its residual, the norm
 * of it, its step length) is computed of that sample alone, in double: bits do not depend on the
 * batch. */
#ifndef VN_RESTORE_H
#define VN_RESTORE_H

#include "path/path.h"
#include "sample/sample.h"

/* ---- operators ------------------------------------------------------------------------------- */

typedef struct vn_operator vn_operator;

typedef struct vn_operator_row {
    vn_row row;
    bool pictures;     /* it is for images alone */
    const char *array; /* what it is given beside its parameters: "mask", "matrix"; NULL: nothing */
    /* Sets observed, and gram and numbers where it has them. given: NULL unless `array` is set. */
    vn_status (*open)(vn_operator *o, const vn_array *given, vn_err *err);
    void (*apply)(vn_operator *o, const double *x, double *y);     /* y [count] = A x */
    void (*transpose)(vn_operator *o, const double *y, double *x); /* x [size] = A^T y */
    /* x [size] = A^+ y; NULL: A^T (A A^T)^-1 y, by the diagonal or by conjugate gradients */
    void (*pseudo_inverse)(vn_operator *o, const double *y, double *x);
    /* Turns an observation that people give into y, in place; NULL: it is y. */
    void (*take)(const vn_operator *o, double *y);
} vn_operator_row;

/* What is observed is not of samples themselves but of what they are decoded to. All functions are
 * of one sample; out = J^T direction, J the derivative of decode at x, or of encode at shown. */
typedef struct vn_decoding {
    vn_shape shown;
    vn_status (*decode)(void *self, const float *x, float *shown, vn_err *err);
    vn_status (*vjp)(void *self, const float *x, const float *direction, float *out, vn_err *err);
    /* NULL: it is not known how to, which psld and red-diff need */
    vn_status (*encode)(void *self, const float *shown, float *x, vn_err *err);
    vn_status (*encode_vjp)(void *self, const float *shown, const float *direction, float *out,
                            vn_err *err);
    void *self;
} vn_decoding;

struct vn_operator {
    const vn_operator_row *row;
    vn_choice choice;
    vn_shape sample, observed; /* of one sample x and its y */
    int64_t size, count;       /* numbers in them */
    double *gram;              /* [count]: A A^T where it is diagonal; NULL: it is not */
    /* added to A A^T where less noise would be: for operators with singular values near 0 */
    double floor;
    double *numbers; /* the row's own */
    const vn_callback_operator *user;
    float *as_float[2]; /* of a callback: [size], [count] */
    /* of decoded samples: what is applied to these; apply is then no linear function, and transpose
     * is that of its derivative at the x that was applied to last. NULL: it is linear */
    vn_operator *inner;
    vn_decoding decoding;
    double *work; /* [4 count + size], of the two functions below that solve */
    /* set where a callback failed, with the reason in err; vn_operator_status clears it */
    vn_status status;
    vn_err err;
};

extern const vn_table vn_operators; /* of vn_operator_row */

typedef struct vn_operator_options {
    const char *text;                 /* "downsample:factor=4" */
    const vn_callback_operator *user; /* or the user's own, which outlives it; else NULL */
    const vn_array *given;            /* a mask [H,W] or [C,H,W], or a matrix [m,size]; or NULL */
    vn_shape sample;                  /* [C,H,W] or [D] */
    const vn_decoding *decoding;      /* it is of what samples are decoded to; NULL: of them */
} vn_operator_options;

/* Tests it on random vectors: VN_BAD_ARGUMENT, with both numbers, where <A u, v> is not <u, A^T v>.
 * Closed with vn_operator_close. */
vn_status vn_operator_open(const vn_operator_options *options, vn_operator **out, vn_err *err);
void vn_operator_close(vn_operator **o);
/* v [count] of (A A^T + c I) v = r; r may be v. */
void vn_operator_solve(vn_operator *o, double c, const double *r, double *v);
void vn_operator_pseudo_inverse(vn_operator *o, const double *y, double *x);
/* A mask for samples [c,h,w] out of one, `given`, of what they are decoded to, shown [C,H,W]: a
 * latent is as well known as the least known of the pixels that it is for. whole receives the mask
 * of shown, and of_latents [h,w]. */
vn_status vn_mask_reduce(const vn_array *given, const vn_shape *shown, const vn_shape *sample,
                         float *whole, float *of_latents, vn_err *err);
/* What a callback said since the last time. */
vn_status vn_operator_status(vn_operator *o, vn_err *err);
/* The parameter `file` of the operator that a text chooses; "" where it has none, or was not given
 * one. VN_BAD_ARGUMENT: it is no operator. file [VN_MAX_CHOICE_TEXT] */
vn_status vn_operator_file(const char *text, const vn_operator_row **row, char *file, vn_err *err);

/* ---- restorers ------------------------------------------------------------------------------- */

extern const vn_table vn_restorers; /* of vn_restorer_row, which is this room's */

/* The sampler that a rule is made for, where the user names none; NULL: any. only: no other one is
 * valid. Text that is no rule has none. */
const char *vn_restorer_sampler(const char *text, bool *only);
/* Whether the rule puts what is known in its place, and so does with latents under a mask. */
bool vn_restorer_replaces(const char *text);
/* Whether the rule makes particles of the samples of one condition: all should be one batch. */
bool vn_restorer_selects(const char *text);

typedef struct vn_restoration vn_restoration;

typedef struct vn_restoration_options {
    const char *rule;            /* "mmps:iterations=5" */
    const vn_denoiser *denoiser; /* outlives it */
    vn_operator *operator;       /* likewise */
    const double *observed;      /* [observations, operator->count], finite; likewise */
    int64_t observations;        /* 1: of all samples; else of one each */
    uint64_t first;              /* index of the sample whose observation is the first one */
    double noise;                /* deviation of y's noise, >= 0 */
    bool guided; /* guidance takes more than one pass: refused by rules that keep a state */
    uint64_t seed;
    int64_t capacity; /* samples of the largest batch */
} vn_restoration_options;

/* VN_BAD_ARGUMENT names what the rule, the operator and the denoiser do not have in common. Closed
 * with vn_restoration_close. Only the first query of a new size takes memory. */
vn_status vn_restoration_open(const vn_restoration_options *options, vn_restoration **out,
                              vn_err *err);
void vn_restoration_close(vn_restoration **r);
/* Both are the restoration's. */
const vn_denoiser *vn_restoration_denoiser(const vn_restoration *r);
const vn_between *vn_restoration_between(const vn_restoration *r);
/* Passes through the network for each of n samples since the batch began, and derivatives. */
void vn_restoration_cost(const vn_restoration *r, int64_t n, double *passes, double *derivatives);

#endif
