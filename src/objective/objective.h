/* objective.h - what training minimises: how t is drawn, what a batch is made of, and a loss that
 * is a function of the network.
 *
 * A loss is graph. It calls the network that is trained, with its weights or their average, and the
 * other parts of the training by their names, as often as it likes; it names the inputs that it
 * needs, each with a function that fills it on the host. Every draw is keyed by (seed, step,
 * sample), so a batch is the same whatever the thread count and after a resume. */
#ifndef VN_OBJECTIVE_H
#define VN_OBJECTIVE_H

#include "path/path.h"
#include "tensor/tensor.h"

/* ---- how t is drawn -------------------------------------------------------------------------- */

typedef struct vn_times_row {
    vn_row row;
    /* u covers [0,1) evenly over the batch; else as the row's parameter "stratified" says, if it
     * has one */
    bool stratified;
    /* t from u in (0,1); NULL: all samples are clean, t = 0, which is for classifiers alone */
    double (*quantile)(const vn_choice *c, const vn_path *p, double u);
} vn_times_row;

extern const vn_times_row vn_times_rows[];
extern const size_t vn_times_row_count;

/* ---- objectives ------------------------------------------------------------------------------ */

typedef struct vn_objective vn_objective;

/* Denoisers that a loss may ask on the host, for what its inputs are filled with. They have the
 * objective's path and prediction. (Networks as they are, and averages of weights, are called in
 * the graph: vn_loss_call.) */
typedef enum vn_asked {
    VN_ASK_TRUTH,   /* the exact one of the data */
    VN_ASK_TEACHER, /* a frozen one, perhaps guided, that is learned from */
    VN_ASK_COUNT
} vn_asked;

/* What draws are keyed by. */
typedef struct vn_draw_key {
    uint64_t seed, sample, step;
} vn_draw_key;

/* One sample of a batch, as those who fill an input see it. */
typedef struct vn_loss_sample {
    const vn_choice *choice; /* the objective's */
    const vn_path *path;
    const vn_prediction *prediction;
    const vn_level *level;
    const vn_coefficients *m; /* of the prediction, at the level */
    int64_t size;
    const float *x0, *eps;       /* [size]: x_t = alpha x0 + sigma eps */
    int32_t label;               /* of the data, though it be dropped; VN_LABEL_NULL: none */
    int32_t given;               /* what the network is told: the label, or the null label */
    int64_t row;                 /* numbers in the input's row that is filled */
    uint64_t seed, sample, step; /* what draws are keyed by */
    /* where the objective contrasts: another sample of the step, which has the number `other`, and
     * the noise that it brings, NULL: it is drawn. other_x0 NULL: there is none for this one. */
    const float *other_x0, *other_noise; /* [size] */
    uint64_t other;
} vn_loss_sample;

/* A batch once all of it is drawn, as those who ask a denoiser see it. */
typedef struct vn_loss_batch {
    const vn_choice *choice;
    const vn_path *path;
    const vn_prediction *prediction;
    const vn_denoiser *const *asked; /* [VN_ASK_COUNT]; those that the row asks are there */
    int64_t n, size;
    const float *x0, *x; /* [n,size]: data, x_t */
    const vn_level *level;
    const vn_condition *condition; /* [n] of the network: VN_CONDITION_NULL where dropped */
    uint64_t seed, first, step;    /* row i is sample first + i */
    struct vn_teacher_rows *rows;  /* arrays that are kept from batch to batch (teacher.h) */
} vn_loss_batch;

/* Write one row of an input; or all of it [n,..]. */
typedef void vn_loss_fill(const vn_loss_sample *s, float *row);
typedef vn_status vn_loss_ask(const vn_loss_batch *b, float *out, vn_err *err);

typedef struct vn_loss_input {
    const char *name;   /* "target", "weight" */
    vn_node *node;      /* INPUT, f32 [N,..] */
    vn_loss_fill *fill; /* for each sample, by several threads; or NULL: */
    vn_loss_ask *ask;
} vn_loss_input;

/* An input of the network that is not the batch's own. */
typedef struct vn_given {
    const char *port; /* "sample", "timestep", or another of the network's */
    vn_node *node;
} vn_given;

/* Halves of an autoencoder, which losses may call by themselves. */
#define VN_LOSS_ENCODER "encoder"
#define VN_LOSS_DECODER "decoder"
/* The part whose outputs "map0", "map1", .. pictures are compared by, beside their numbers. */
#define VN_LOSS_FEATURES "perceptual"
/* The part that tells pictures from what they are decoded to, by its output "logits". */
#define VN_LOSS_DISCRIMINATOR "discriminator"
/* The part that learns how large the loss is at each time, and its output [N,1]. */
#define VN_LOSS_UNCERTAINTY  "uncertainty"
#define VN_LOSS_LOG_VARIANCE "log_variance"
/* The output of a network that answers from an inner place too; and, of any call, the features
 * [N,..] that the network names for losses. */
#define VN_LOSS_INTERNAL "internal"
#define VN_LOSS_HIDDEN   "hidden"

/* Which network is called, and how. No gradient goes to the weights of a frozen part, to averages,
 * or to a part that another of the objective's losses trains; it does go through their inputs, so
 * that a target wants vn_stop_gradient. A half or a frozen part that is called again for another
 * output, with all else as in the call before, is not computed again. */
typedef struct vn_loss_call {
    /* a part of the training by name ("teacher"); NULL: the network that is trained on the batch */
    const char *part;
    const char *half;   /* of an autoencoder, one of the above; NULL: the whole network */
    bool average;       /* with the running average of its weights; at step 0 it is the weights */
    const char *output; /* NULL: "sample" */
    bool again; /* another output of what was just called with the same inputs, not built again */
    /* inputs that are given; the others are the batch's of that name */
    int n;
    const vn_given *given;
    /* Dropout draws masks of its own in each call, or those of the part's first. Frozen parts have
     * none. */
    bool same_dropout;
} vn_loss_call;

/* The part that makes codes of pictures, for sequence models; its folder in a run. */
#define VN_CODES_PART "vqvae"

#define VN_LOSS_INPUTS 8

/* A loss while it is built. The caller sets what stands first. */
typedef struct vn_loss {
    vn_graph *g;
    vn_node *x;     /* INPUT [N,..] the network's "sample" of this batch */
    vn_node *time;  /* INPUT [N] its "timestep"; NULL: it takes none */
    int64_t tokens; /* kinds of tokens that the network knows; 0: it is no sequence model */
    /* of such a model whose samples have texts, their tokens, INPUT i32 [N,L], and how many kinds
     * of these there are; NULL, 0: there are none */
    vn_node *text;
    int64_t words;
    /* The output [N,..]; "sample" of a network that learns a variance has twice the channels: the
     * prediction, then v. */
    vn_node *(*network)(void *self, const vn_loss_call *call);
    /* Whether there is a part of this name, with this output; NULL: there is none. */
    bool (*has)(void *self, const char *part, const char *output);
    void *self;
    bool held; /* held-out samples are scored, and nothing learns */

    /* the objective's, set by vn_objective_loss */
    const vn_path *path;
    const vn_prediction *prediction;
    int32_t null_label;
    bool drops; /* some conditions are the null one */
    int inputs;
    vn_loss_input input[VN_LOSS_INPUTS];
    vn_node *measured; /* [N,..] what the row's `measure` looks at; NULL: nothing */
} vn_loss;

/* For losses. Inputs of a batch: f32, the batch axis first. */
vn_node *vn_loss_filled(vn_loss *l, const char *name, vn_shape shape, vn_loss_fill *fill);
vn_node *vn_loss_asked(vn_loss *l, const char *name, vn_shape shape, vn_loss_ask *ask);
/* The network on the batch as it is. */
vn_node *vn_loss_output(vn_loss *l);

/* A loss of a part of its own, which is trained at every k-th step: an adversary, say, or the score
 * of what a generator makes (2311.18828). */
typedef struct vn_part_loss {
    const char *part;                                 /* NULL ends a list */
    int64_t every;                                    /* steps b, b + k, b + 2k, .. */
    vn_node *(*loss)(const vn_choice *c, vn_loss *l); /* rank 0 */
    /* b; NULL: 0; negative: not at all, and there is no such loss, nor any after it */
    int64_t (*from)(const vn_choice *c);
} vn_part_loss;

/* The network that an autoencoder is trained against: the step that it begins at, and its size. */
typedef struct vn_adversary {
    int64_t start, channels, layers;
} vn_adversary;

/* What is measured on held-out samples beside the loss. */
typedef struct vn_held_measure {
    size_t bytes;    /* of a state, which is all zeros before the first sample */
    int64_t samples; /* that it wants, at most */
    /* Adds a sample of the label, at the level: its numbers of vn_loss.measured [size]. */
    void (*add)(void *state, const float *numbers, int64_t size, int32_t label,
                const vn_level *level);
    /* Writes them as members of a JSON object, each after a comma. */
    void (*write)(const void *state, FILE *to);
} vn_held_measure;

/* A weight of the first part after some step, for what gradients do not do. */
typedef struct vn_tended {
    int64_t rows, width;
    /* [rows,width] each, of the host, to be changed in place: the weight, its average (NULL: none
     * is kept), and Adam's m and v of it */
    float *live, *average, *moment1, *moment2;
    uint64_t seed, step; /* what draws are keyed by; the steps that were made */
} vn_tended;

typedef struct vn_tending {
    const char *weight; /* of two axes */
    /* after each step that it divides; 0: never */
    int64_t (*every)(const vn_choice *c);
    void (*tend)(const vn_choice *c, const vn_tended *w);
} vn_tending;

/* What kind of network an objective trains. */
typedef enum vn_trains {
    VN_TRAINS_DENOISERS,
    VN_TRAINS_CLASSIFIERS,
    VN_TRAINS_AUTOENCODERS, /* and what follows: of clean samples alone */
    VN_TRAINS_SEQUENCES
} vn_trains;

/* Inputs [N] of a network beside the batch's own that a loss gives it, and that it has to take:
 * where the step ends, as a time; and how strongly to guide itself. And no input, but a time that
 * is counted slowly: the loss takes the derivative of the network by it. */
enum { VN_GIVES_STEP_END = 1, VN_GIVES_GUIDANCE = 2, VN_GIVES_SLOW_TIME = 4 };
#define VN_LOSS_STEP_END "r_timestep"
#define VN_LOSS_GUIDANCE "guidance"

/* How what is trained is sampled; 0 or NULL: as every denoiser is. */
typedef struct vn_sampled {
    const char *sampler, *guide; /* with parameters */
    int steps;
    bool guided;      /* guidance is inside: there is none to add */
    bool consistency; /* its x0 is a sample (VN_X0_IS_SAMPLE) */
} vn_sampled;

typedef struct vn_objective_row {
    vn_row row;
    const char *predictions; /* what it can train: "x0|eps|v" */
    unsigned asks;           /* sum of 1 << vn_asked */
    unsigned gives;          /* VN_GIVES_* */
    bool learns_variance;    /* it trains networks that learn the variance of a step */
    bool trains_head;        /* and those that answer from an inner place too */
    vn_trains trains;
    const char
        *networks;     /* the rows of the networks that it trains: "a|b"; NULL: any of the kind */
    const char *times; /* how t is drawn where the user does not say; NULL: the path's own */
    /* t where this was drawn; NULL: t itself */
    double (*time)(const vn_choice *c, double t, const vn_draw_key *draw);
    void (*sampled)(const vn_choice *c, vn_sampled *out); /* NULL: as every denoiser is */
    /* Refuses what cannot be, and sets what follows from the prediction; NULL: nothing to do. */
    vn_status (*check)(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                       vn_err *err);
    /* Rank 0. */
    vn_node *(*loss)(const vn_choice *c, vn_loss *l);
    /* Whether it holds other samples of the step against each; NULL: no. */
    bool (*contrasts)(const vn_choice *c);
    /* Whether it compares samples of one microbatch with each other; NULL: no. */
    bool (*compares)(const vn_choice *c);
    bool averages; /* whether it calls networks with the averages of their weights */
    /* Whether it calls the part VN_LOSS_UNCERTAINTY, which it trains; NULL: no. */
    bool (*estimates)(const vn_choice *c);
    /* Whether it calls the part VN_LOSS_DISCRIMINATOR, and how large that is; NULL: no. */
    bool (*adversary)(const vn_choice *c, vn_adversary *out);
    /* Parts that have losses of their own; the loss above trains all others. NULL: none has. */
    const vn_part_loss *more;
    const vn_held_measure *measure; /* NULL: the loss says all */
    const vn_tending *tending;      /* NULL: gradients do all */
} vn_objective_row;

extern const vn_table vn_objectives; /* of vn_objective_row */
extern const vn_table vn_methods;    /* likewise: those that learn from a teacher */
/* The parameter of a method that says how strongly the teacher is guided; and those, also of
 * objectives with guidance inside, of the noise that guidance is at: sigma/alpha in (lo, hi]. */
#define VN_TEACHER_GUIDANCE "guidance"
#define VN_GUIDED_ABOVE     "lo"
#define VN_GUIDED_UP_TO     "hi"
/* The method whose data are pairs that the teacher makes, and its parameters. */
#define VN_PAIRS_METHOD "reflow"
#define VN_PAIRS_COUNT  "pairs"
#define VN_PAIRS_STEPS  "steps"

typedef struct vn_objective_options {
    const vn_table *table;           /* of vn_objective_row; NULL: vane's own objectives */
    const vn_path *path;             /* outlives the objective */
    const vn_prediction *prediction; /* copied */
    const char *objective;           /* NULL: the prediction's own */
    const char *times;               /* NULL: the path's own */
    double drop;                     /* probability of the null label, in [0,1] */
    int32_t null_label;              /* K; < 0: no labels */
    vn_trains trains;                /* what the network is */
    const char *network;             /* its row's name, by which an autoencoder's is chosen */
    uint64_t seed;
    /* with the same path and prediction; must outlive the objective. NULL: there is none */
    const vn_denoiser *asked[VN_ASK_COUNT];
} vn_objective_options;

/* Whether the names and their parameters are known ones, before there is any data; NULL: nothing to
 * check. table: NULL: vn_objectives. */
vn_status vn_objective_check(const vn_table *table, const char *objective, const char *times,
                             vn_err *err);
vn_status vn_objective_open(const vn_objective_options *options, vn_objective **out, vn_err *err);
void vn_objective_close(vn_objective **o);
/* Whether it trains networks that learn a variance, and no others (vn_net_io). */
bool vn_objective_learns_variance(const vn_objective *o);
/* VN_GIVES_*; VN_GIVES_SLOW_TIME only on paths whose time goes to thousands. */
unsigned vn_objective_gives(const vn_objective *o);
/* How it draws t: a row of vn_times_rows. */
const char *vn_objective_times(const vn_objective *o);
/* Whether a sample's inputs follow from other samples of its step too. */
bool vn_objective_contrasts(const vn_objective *o);
bool vn_objective_compares(const vn_objective *o);
/* Whether it calls networks with the averages of their weights. */
bool vn_objective_calls_averages(const vn_objective *o);
/* Whether a part VN_LOSS_UNCERTAINTY has to be there. */
bool vn_objective_estimates(const vn_objective *o);
/* Whether a part VN_LOSS_DISCRIMINATOR has to be there, and how large. */
bool vn_objective_adversary(const vn_objective *o, vn_adversary *out);
/* How what it trains is sampled. */
vn_sampled vn_objective_sampled(const vn_objective *o);
/* Whether batches have labels though the network takes none: where it trains classifiers or
 * sequence models. */
bool vn_objective_classifies(const vn_objective *o);
/* NULL: there is no weight to tend, ever. */
const vn_tending *vn_objective_tending(const vn_objective *o);
/* Whether it is due once so many steps are made; and does it. */
bool vn_objective_tends(const vn_objective *o, int64_t steps);
void vn_objective_tend(const vn_objective *o, const vn_tended *w);
/* NULL: nothing is measured. */
const vn_held_measure *vn_objective_measure(const vn_objective *o);
/* Whether the text names times at which all samples are clean. */
bool vn_times_are_clean(const char *text);

/* One batch; arrays are the caller's. Any layout of a sample's numbers will do, if all arrays have
 * it. */
typedef struct vn_objective_batch {
    int64_t n, size;
    uint64_t step; /* of training, < 2^24 */
    /* row i is sample first + i of all rows of this step (several workers) */
    uint64_t first;
    int64_t total;         /* rows of this step in all; 0: n */
    const float *x0;       /* [n,size] data */
    const float *noise;    /* [n,size] eps that the data bring with x0 (a coupling); NULL: drawn */
    const int32_t *labels; /* [n]; NULL: none */
    /* [total,size], [total]: the same of all rows of this step, for objectives that contrast. x0
     * NULL: the step has no others than those above. */
    struct {
        const float *x0, *noise;
        const int32_t *labels;
    } all;
    vn_level *level; /* out [n] */
    float *x;        /* out [n,size] network input */
    float *time;     /* out [n] network time */
    /* out [n]: the label, or null_label where it was dropped or there is none */
    int32_t *network_labels;
    float *input[VN_LOSS_INPUTS]; /* out: those of the loss, in its order; NULL: not needed */
    vn_thread_pool *pool;         /* NULL: one thread */
} vn_objective_batch;

/* loss: what vn_objective_loss made. Fails only as a denoiser does that is asked. One at a time of
 * an objective. */
vn_status vn_objective_fill(const vn_objective *o, const vn_loss *loss, const vn_objective_batch *b,
                            vn_err *err);
/* The loss of a network, rank 0, and its inputs. For regressions the mean over samples of weight
 * times mean square error. Errors are the graph's. */
vn_node *vn_objective_loss(const vn_objective *o, vn_loss *l);

#define VN_OBJECTIVE_LOSSES 4

/* How many losses it has: loss 0 is that of vn_objective_loss, the others are of parts. */
int vn_objective_losses(const vn_objective *o);
/* Which loss trains a part: 0, but for parts with one of their own. */
int vn_objective_loss_of(const vn_objective *o, const char *part);
/* Whether a loss is taken in the step 0, 1, ..; and in how many steps before. */
bool vn_objective_loss_due(const vn_objective *o, int loss, int64_t step);
int64_t vn_objective_loss_taken(const vn_objective *o, int loss, int64_t step);
/* As vn_objective_loss, of any of them. */
vn_node *vn_objective_build(const vn_objective *o, int loss, vn_loss *l);
/* The part of loss 1, 2, .., for messages. */
const char *vn_objective_loss_part(const vn_objective *o, int loss);

/* ---- how well a classifier tells classes (class_quality.c) ----------------------------------- */

#define VN_CLASS_BINS 10

/* Sums over samples; all zeros: there were none. */
typedef struct vn_class_quality {
    double count, right, nll;
    double bin_right[VN_CLASS_BINS], bin_confidence[VN_CLASS_BINS]; /* by confidence */
} vn_class_quality;

/* Adds a sample of the label by its logits [classes]; without a label it does not count. */
void vn_class_quality_add(vn_class_quality *q, const float *logits, int64_t classes, int32_t label);
/* Adds the samples of `more`. */
void vn_class_quality_join(vn_class_quality *q, const vn_class_quality *more);
/* The part that is right; minus log p(label), in nats; the expected calibration error, in bins of
 * equal width. NaN without samples. */
double vn_class_accuracy(const vn_class_quality *q);
double vn_class_nll(const vn_class_quality *q);
double vn_class_ece(const vn_class_quality *q);

/* ---- how well pictures are reconstructed (reconstruction.c) ---------------------------------- */

/* The signal-to-noise ratio in dB of a picture whose numbers are from -1 to 1. */
double vn_picture_psnr(double mean_square_error);

/* How many codes are in use, and the number of equally frequent ones that would have the same
 * entropy; 0 where none was counted. */
typedef struct vn_code_usage {
    int64_t used;
    double perplexity;
} vn_code_usage;
vn_code_usage vn_count_codes(const uint32_t *used, int64_t codes);

#endif
