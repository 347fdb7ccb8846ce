/* internal.h - what the files of train share: the state of a training run. */
#ifndef VN_TRAIN_INTERNAL_H
#define VN_TRAIN_INTERNAL_H

#include "train/train.h"

/* A graph that scores a batch, planned, with the places of its inputs. It stays where it is. */
typedef struct vn_scorer {
    int64_t batch;
    vn_graph *graph;
    vn_program *program;
    const vn_net *net;
    vn_net_call call;
    vn_net_nodes batch_nodes; /* the network's inputs of the batch */
    vn_loss parts;            /* what the loss is made of */
    vn_node *loss;
    vn_gradients by; /* with train */
    float *x0;       /* [batch,size] data */
    float *time;     /* [batch] */
    int32_t *labels; /* [batch] of the data */
    int32_t *given;  /* [batch] the network's labels: null where dropped */
    vn_level *level; /* [batch] */
} vn_scorer;

/* log.jsonl, open to append to. */
typedef struct vn_train_log {
    int fd;
    int64_t end; /* of the last whole line */
    FILE *line;  /* in `text`, where a line is made */
    char text[1024];
} vn_train_log;

typedef struct vn_trainer {
    const vn_train_setup *s;
    /* In the device's memory: the weights, their average, the optimiser's moments. */
    float *live, *average, *moment1, *moment2;
    float *grads;  /* [sums,floats] partial sums of gradients; the first is the step's */
    size_t floats; /* length of each of these arrays */
    vn_values *live_values, *average_values; /* the first two, as programs see them */
    int sums;
    float *shared; /* [floats] the host's copy for ranks; NULL: the host follows the device's */
    /* the steps made, and what the host sees of the arrays: themselves, or copies as of the latest
     * save */
    vn_checkpoint at;
    vn_scorer train, held; /* held.program NULL: nothing is held out */

    double before, started;  /* seconds spent before this call; when it began */
    double clock;            /* seconds spent when the latest step ended, agreed by all ranks */
    int64_t first;           /* step it began with */
    double loss, grad_norm;  /* of the latest step */
    double smooth;           /* running mean of the loss; NaN before the first step */
    double held_loss;        /* NaN: unknown */
    double saved, previewed; /* when */
    double preview_seconds;  /* what the latest preview took */
    int64_t saved_step;      /* of the checkpoint on disk */
    bool save_failed;        /* the latest save */
    char warned[256];        /* why the latest preview failed; "": it did not */
    vn_train_log log;
} vn_trainer;

/* trainer.c */
vn_status vn_trainer_open(vn_trainer *t, const vn_train_setup *s, vn_err *err);
void vn_trainer_close(vn_trainer *t);
/* VN_NOT_FINITE where a weight is not a number any more: the checkpoint on the disk is better. */
vn_status vn_trainer_save(vn_trainer *t, vn_err *err);
double vn_trainer_seconds(const vn_trainer *t);

/* scorer.c: with train, gradients go to every trained weight's offset. */
vn_status vn_scorer_open(vn_scorer *c, const vn_train_setup *s, int64_t batch, bool train,
                         vn_err *err);
/* What it would take when so much is computed again: its plan, and its arithmetic. */
vn_status vn_scorer_measure(const vn_train_setup *s, int64_t batch, bool train, vn_recompute how,
                            size_t *bytes, double *flops, vn_err *err);
/* Which samples a scorer takes. */
typedef struct vn_scored {
    vn_data_part part;
    uint64_t position; /* of the first, in the part */
    uint64_t draw;     /* step number of what is drawn for them */
    int64_t first;     /* of the samples of this draw, which are `total`; 0: they are all */
    int64_t total;
} vn_scored;

/* Samples in a microbatch, and in a batch of the held-out loss; 0: nothing is held out. */
int64_t vn_micro_batch(const vn_train_setup *s);
int64_t vn_held_batch(const vn_train_setup *s);
/* Microbatches of a step, and the number of this process's first, which it has `own` of. */
int64_t vn_microbatches(const vn_train_setup *s);
void vn_own_microbatches(const vn_train_setup *s, int64_t *first, int64_t *own);
void vn_scorer_close(vn_scorer *c);
/* The loss of a batch, which is a float. */
vn_status vn_scorer_run(vn_scorer *c, const vn_train_setup *s, const vn_scored *which,
                        const vn_values *values, float *grads, float *loss, vn_err *err);

/* step.c: one step of training, from a batch to new weights. Fails on all ranks where it does on
 * one. */
vn_status vn_trainer_step(vn_trainer *t, double rate, vn_err *err);
/* Whether this process writes files and reports. */
bool vn_trainer_leads(const vn_trainer *t);
/* What all ranks come to before a step: its status, or that another has failed, and whether any
 * wants to stop. */
vn_status vn_trainer_agree(const vn_trainer *t, vn_status status, bool *stop, vn_err *err);

/* schedule.c */
double vn_train_rate(const vn_train_setup *s, int64_t step, double progress);
double vn_train_ema(const vn_train_setup *s, int64_t step);

/* log.c: log.jsonl, one object a line. Opening drops the lines after the checkpoint's step, which a
 * killed run may have left. A line is whole or not there, and with `durable` on the disk: so it is
 * before a checkpoint, which must not be ahead of the log. */
vn_status vn_train_log_open(vn_trainer *t, vn_err *err);
vn_status vn_train_log_line(vn_trainer *t, double rate, bool durable, vn_err *err);
void vn_train_log_close(vn_trainer *t);

#endif
