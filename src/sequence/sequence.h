/* sequence.h - sampling of sequences, one token after another: the next token is drawn from what a
 * model says of it, given those before it, and taken by every pass of the next.
 *
 * Guidance is that of images (guide.h). The logits of the next token are the x0 of a denoiser, and
 * t, of which guides make intervals and schedules, is the part of the sequence that is still to
 * come: 1 at the first token. Guides that are linear in their passes (vn_guide_row.linear) give
 * guided logits, u + gamma (c - u) as in 2301.00704 and 2406.06525; others, whose rules are of
 * images with noise, are refused by name. What the passes of a sample are given is the same tokens:
 * those that were drawn from the guided logits.
 *
 * Guiding each token by itself is not guiding the sequence: docs/what-guidance-samples.md. */
#ifndef VN_SEQUENCE_H
#define VN_SEQUENCE_H

#include "guide/guide.h"

/* A batch of passes, all of which are at one token. */
typedef struct vn_next {
    int64_t n;
    int64_t position;              /* how many codes were drawn before */
    const int64_t *row;            /* [n] which sequence of the run each goes on with */
    const vn_condition *condition; /* [n] */
    const int32_t *codes;          /* [rows of the run, tokens] what was drawn, up to position */
} vn_next;

/* Anything that says which code comes next: a network, a table of chains. Its maker fills the
 * struct, which must stay as it is while runs use it. */
typedef struct vn_sequence {
    int64_t tokens, codes; /* of a sequence; of a token: 0 .. codes-1 */
    vn_conditions conditions;
    void *self;
    /* A run of so many sequences begins, of which nothing is known: what was kept of the one before
     * goes. */
    vn_status (*begin)(void *self, int64_t rows, vn_err *err);
    /* log p(code | codes before it), up to a constant for each row: logits [n,codes]. Rows may come
     * in any order, and may leave positions out. */
    vn_status (*next)(void *self, const vn_next *q, float *logits, vn_err *err);
} vn_sequence;

typedef struct vn_sequence_options {
    const vn_sequence *sequence; /* outlives the run */
    const char *guide;           /* as vn_guidance_options; NULL: "cfg" */
    double guidance;             /* gamma */
    double temperature;          /* logits are divided by it; 0: always the likeliest */
    int64_t top_k;               /* of the likeliest alone (1805.04833); 0: all */
    double top_p; /* of the fewest likeliest that have this probability (1904.09751); 1: all */
    uint64_t seed;
    int64_t capacity;         /* sequences of the largest batch */
    const vn_condition *none; /* as vn_guidance_options */
} vn_sequence_options;

typedef struct vn_sequence_run vn_sequence_run;

/* VN_BAD_ARGUMENT names a guide that is not for sequences. Closed with vn_sequence_close. */
vn_status vn_sequence_open(const vn_sequence_options *options, vn_sequence_run **out, vn_err *err);
void vn_sequence_close(vn_sequence_run **r); /* safe on NULL */
/* Begins n <= capacity sequences, of which `first` is the index of the first; condition [n] and
 * codes [n,tokens], which receives them, stay where they are. The codes of sequence i depend on the
 * seed, i and its condition alone. */
vn_status vn_sequence_begin(vn_sequence_run *r, int64_t n, uint64_t first,
                            const vn_condition *condition, int32_t *codes, vn_err *err);
/* The next token of all; *done: that was the last. */
vn_status vn_sequence_step(vn_sequence_run *r, bool *done, vn_err *err);
/* Passes of the model for each sequence since vn_sequence_begin. */
double vn_sequence_passes(const vn_sequence_run *r);

/* log p(codes [n,tokens] | condition [n]) in nats, exactly: the sum over the tokens of what the
 * model says of each, given those before it. */
vn_status vn_sequence_log_p(const vn_sequence *s, int64_t n, const vn_condition *condition,
                            const int32_t *codes, double *log_p, vn_err *err);

/* A token from logits [codes], by a number u in [0,1); codes may be overwritten. room [codes] and
 * order [codes] are work space. */
int32_t vn_draw_code(const vn_sequence_options *o, int64_t codes, const float *logits, double u,
                     double *room, int32_t *order);

/* ---- a table of chains, which is exact (chains.c) -------------------------------------------- */

/* A class of sequences, each token of which depends on the one before it alone. */
typedef struct vn_chains vn_chains;

/* {"chains": [{"name": "a", "weight": 1, "first": [p, ...], "next": [[p, ...], ...]}, ...],
 * "tokens": T}: of each class its part of the data, the probabilities of the first code, and of the
 * code after each. The null condition is the mixture of the classes. Closed with
 * vn_chains_close. */
vn_status vn_chains_open(const json_t *json, vn_chains **out, vn_err *err);
void vn_chains_close(vn_chains **c); /* safe on NULL */
bool vn_chains_detect(const json_t *json);
/* As what says which code comes next; names [classes] are the chains'. */
vn_sequence vn_chains_sequence(vn_chains *c);
const char *vn_chains_name(const vn_chains *c, int32_t i);
/* log p(codes [tokens] | condition), in nats; -infinity: impossible. */
double vn_chains_log_p(const vn_chains *c, vn_condition condition, const int32_t *codes);
/* p(code | codes [position] before it, condition), of all codes, in double. */
void vn_chains_next(const vn_chains *c, vn_condition condition, int64_t position,
                    const int32_t *codes, double *p);

#endif
