/* internal.h - what the files of train share: the state of a training run. */
#ifndef VN_TRAIN_INTERNAL_H
#define VN_TRAIN_INTERNAL_H

#include "train/train.h"

/* What stands for a part's weights in a graph is a set of values (vn_graph_set_values): its own,
 * and their average. */
/* What networks call the text of a sample: its tokens, which of them are there, and the whole. */
#define VN_TEXT_STATES "encoder_hidden_states"
#define VN_TEXT_MASK   "encoder_attention_mask"
#define VN_TEXT_POOLED "pooled_projections"
#define VN_PATCH_IDS   "img_ids" /* of networks that take images as rows of patches */

#define VN_OWN_SET(part)     (2 * (part))
#define VN_AVERAGE_SET(part) (2 * (part) + 1)
#define VN_SETS              (2 * VN_TRAIN_PARTS)

/* A graph that scores a batch, planned, with the places of its inputs. It stays where it is. */
typedef struct vn_scorer {
    const vn_train_setup *s;
    const vn_device *device; /* that computes it, set before it is opened; NULL: the setup's */
    int64_t batch;
    bool training;
    vn_graph *graph;
    vn_program *program;
    vn_net_spec spec;
    vn_net_nodes batch_nodes; /* the first network's inputs of the batch */
    vn_node *ids;             /* INPUT i32 [batch,length] of the texts; NULL: there are none */
    vn_node *words[2];        /* what the encoder makes of them, by its weights and their average */
    vn_node *wholes[2];       /* and of the texts as wholes */
    vn_net *half[VN_TRAIN_PARTS][VN_HALF_COUNT]; /* of autoencoders, opened when they are called */
    /* the latest call of a half or a frozen part, and of another; net NULL: there is none */
    struct {
        const vn_net *net;
        bool average;
        vn_net_nodes nodes;
    } latest[2];
    uint32_t site[VN_TRAIN_PARTS];
    bool called[VN_TRAIN_PARTS]; /* in the graph, from site on */
    vn_loss parts;               /* what the loss is made of */
    vn_node *loss;
    float *measured; /* [batch,..] of parts.measured, where that is asked for; else NULL */
    vn_weight_set wanted[VN_TRAIN_PARTS]; /* weights whose gradients are taken */
    vn_gradients by;                      /* with training */
    const struct vn_scorer *reader;       /* of the same batches: it has read x0 and labels */
    const vn_run_watch *watch;            /* of the next run; or NULL */
    float *x0;                            /* [batch,size] data; NULL with a reader */
    float *noise; /* [batch,size] that the data bring; NULL with a reader, or where they do not */
    float *x;     /* [batch,size] where the loss does without the network's sample; else NULL */
    float *time;  /* [batch] */
    int32_t *labels; /* [batch] of the data, or numbers of captions; NULL with a reader */
    int32_t *given;  /* [batch] the network's labels or captions: null where dropped */
    int32_t *tokens; /* [2,batch,length] ids and masks of the texts; NULL: there are none */
    /* of a frozen text encoder: [batch,length,width], and [batch,pooled] where the network takes
     * that; else NULL */
    float *states, *pooled;
    float *image;          /* [size] one sample, while it is put in the order of patches; or NULL */
    float *ids_of_patches; /* [P,VN_PATCH_AXES]; NULL: the network takes none */
    vn_level *level;       /* [batch] */
} vn_scorer;

/* The samples of a whole step, for objectives that contrast them across its microbatches. */
typedef struct vn_whole {
    float *x0, *noise; /* [total,size]; noise NULL: they bring none */
    int32_t *labels;   /* [total] */
} vn_whole;

/* log.jsonl, open to append to. */
typedef struct vn_train_log {
    int fd;
    int64_t end; /* of the last whole line */
    FILE *line;  /* in `text`, where a line is made */
    char text[1024];
} vn_train_log;

/* ---- shards: what a rank has of arrays ------------------------------------------------------- */

#define VN_NO_SECOND SIZE_MAX

/* A run of a part's flat arrays that one rank has the moments and averages of. */
typedef struct vn_shard_run {
    size_t at, n; /* of the weights' places, gaps included */
    int rank;
    size_t own;        /* where it begins in the rank's arrays, a multiple of 16 floats */
    size_t second;     /* and in moment2 as a whole; VN_NO_SECOND: it has none */
    size_t second_own; /* and in the rank's */
    int64_t matrix;    /* the weight that it is as a whole, by the optimiser's own rule; -1 */
} vn_shard_run;

/* How the arrays of a part are dealt. One rank has all, at the weights' own places. */
typedef struct vn_shard {
    int rank; /* this one */
    int runs;
    vn_shard_run *run;            /* [runs] of all ranks, in the order of their places */
    vn_owned *owned;              /* [runs] the same, for messages */
    vn_owned *second;             /* [seconds] places in moment2 as a whole */
    int seconds;                  /* of them */
    size_t floats, second_floats; /* of this rank's arrays */
    size_t most;                  /* floats of all arrays of the rank that has most */
    /* What the gradient's norm is added from: the places of this rank's blocks, and their numbers
     * among all */
    int blocks, own_blocks;
    vn_span *own_block; /* [own_blocks] */
    int *block_number;  /* [own_blocks] */
} vn_shard;

/* Whose arrays are dealt, and how. */
typedef struct vn_dealing {
    const vn_weights *weights;
    bool (*takes)(const vn_weight *w); /* weights that stay whole and have no moment2; or NULL */
    const char *whole;                 /* another that stays whole; or NULL */
    int averages;                      /* that are kept */
    int rank, ranks;
} vn_dealing;
vn_status vn_shard_open(vn_shard *s, const vn_dealing *d, vn_err *err);
void vn_shard_close(vn_shard *s); /* safe on a zeroed one */
/* Of a part of a training that is not frozen. */
vn_status vn_shard_of_part(vn_shard *out, const vn_train_setup *s, int part, vn_err *err);
/* Averages that are kept of a part: 0, 1 or 2. */
int vn_part_averages(const vn_train_setup *s, int part);
/* Whether all ranks have the whole average, which a loss calls networks by. */
bool vn_averages_are_whole(const vn_train_setup *s);
/* Bytes of moments and averages that this rank, or the one with most, has of a part; and of all. */
double vn_shard_bytes(const vn_shard *shard, const vn_train_setup *s, int part, bool most);
vn_status vn_shards_measure(const vn_train_setup *s, double *bytes, vn_err *err);

/* ---- optimisers: what a step does with gradients --------------------------------------------- */

/* Every optimiser: a row NAME is vn_NAME_optimizer, in a file of its own. To add one, write its row
 * and name it here. */
#define VN_OPTIMIZERS(ROW) ROW(adamw) ROW(muon)

/* One update of what a rank has of a part. Arrays are flat, in the device's memory: live and grads
 * of all weights, the others the rank's own. */
typedef struct vn_update {
    const vn_device *device;
    const vn_choice *choice; /* the optimiser with its parameters */
    const vn_weights *weights;
    const vn_shard *shard;
    float *live, *grads, *moment1, *moment2;
    float *average;     /* NULL: none is kept */
    bool average_whole; /* it is of all weights, too */
    double rate, weight_decay;
    double grad_scale; /* gradients are multiplied by it */
    double ema;        /* decay of the average */
    int64_t step;      /* 1 for the first */
} vn_update;

/* Where the average of a run is; NULL: none is kept. */
static inline float *vn_average_of(const vn_update *u, const vn_shard_run *run) {
    return u->average ? u->average + (u->average_whole ? run->at : run->own) : NULL;
}

/* An optimiser. Weights that it has no rule of its own for are AdamW's, and they alone have a
 * second moment. */
typedef struct vn_optimizer_row {
    vn_row row;
    bool (*takes)(const vn_weight *w); /* by its own rule; NULL: it is AdamW itself */
    /* What it needs beside the arrays, for the shard's weights and gradients that lie there; NULL:
     * nothing. measure says how many bytes of the device's that takes, without taking them. */
    vn_status (*open)(const vn_choice *c, const vn_device *d, vn_weights *w, const vn_shard *shard,
                      const float *grads, void **self, vn_err *err);
    vn_status (*measure)(const vn_choice *c, const vn_device *d, vn_weights *w,
                         const vn_shard *shard, size_t *bytes, vn_err *err);
    void (*close)(void *self); /* safe on NULL */
    /* Moves the shard's live weights and their average; the gradients are its own to change. */
    void (*update)(void *self, const vn_update *u);
} vn_optimizer_row;

#define VN_DECLARE_OPTIMIZER(name) extern const vn_optimizer_row vn_##name##_optimizer;
VN_OPTIMIZERS(VN_DECLARE_OPTIMIZER)
#undef VN_DECLARE_OPTIMIZER

/* The last parameters of every row, and their places from the first of them on. */
enum { VN_BETA1, VN_BETA2, VN_EPS };
/* clang-format off */
#define VN_ADAMW_PARAMS \
    {"beta1", "AdamW: decay of the mean of gradients", 0.9, 0, 0.999999, 0, NULL}, \
    {"beta2", "AdamW: decay of the mean of their squares", 0.999, 0, 0.999999, 0, NULL}, \
    {"eps", "AdamW: added to the root of that mean", 1e-8, 0, 1, 0, NULL}
/* clang-format on */
/* AdamW's update of the weights that have a second moment, by the parameters from `first` on. */
void vn_update_by_adamw(const vn_update *u, size_t first);

/* The optimiser of a part. */
const vn_optimizer_row *vn_optimizer_row_of(const vn_train_part *part);
vn_choice vn_optimizer_of(const vn_train_part *part);
/* Its weights that have a second moment, to be closed; NULL: all. */
vn_status vn_optimizer_second(const vn_train_part *part, vn_weights **out, vn_err *err);
/* Whether it takes the weight by its own rule, so that there is no second moment of it. */
bool vn_optimizer_takes(const vn_train_part *part, const vn_weight *w);
/* Refuses what would have no effect on any part. */
vn_status vn_optimizers_check(const vn_train_setup *s, vn_err *err);
/* Bytes of what the optimisers of all parts need beside arrays. */
vn_status vn_optimizers_measure(const vn_train_setup *s, size_t *bytes, vn_err *err);

/* muon.c: x [R,C] with all its singular values near 1, by `iterations` of Newton and Schulz. */
vn_node *vn_orthogonal(vn_graph *g, vn_node *x, int iterations);

/* ---- parts ----------------------------------------------------------------------------------- */

/* A part while it is trained. Arrays are in the device's memory; a frozen part has none. */
typedef struct vn_part_state {
    size_t floats, base;      /* of all weights; where its gradients begin in grads */
    int loss;                 /* which trains it */
    vn_shard shard;           /* what this rank has of the following arrays, but for live */
    float *live, *average;    /* the weights and their average, NULL: none is kept */
    bool average_whole;       /* all ranks have all of it */
    float *narrow;            /* a second one, for snapshots; or NULL */
    float *moment1, *moment2; /* the optimiser's */
    vn_choice choice;         /* the optimiser */
    vn_weights *second;       /* that moment2 is of; NULL: all */
    void *optimizer;          /* what it needs beside arrays; or NULL */
    vn_values *own_values;    /* live or, of a frozen part, the file's, as programs see them */
    /* NULL: none. Of one that is not whole here: over its place in grads (gather.c) */
    vn_values *average_values;
    vn_checkpoint_part *saved_as; /* what the host sees of the arrays; NULL: frozen */
} vn_part_state;

/* The weight that the objective tends, of the first part. */
typedef struct vn_tender {
    const vn_weight *weight; /* NULL: there is none */
    float *copy;             /* [4,rows,width] of a device's arrays; NULL: the host has them */
} vn_tender;

/* One of those that compute microbatches at the same time (workers.c). It stays where it is. */
enum { VN_MOST_SUMS = 64 }; /* vn_tree_depth of any number */
typedef struct vn_worker {
    vn_device device;   /* the setup's, with a group of its threads */
    int64_t first, own; /* its microbatches: a branch of this process's tree */
    vn_scorer train[VN_OBJECTIVE_LOSSES];
    float *grads; /* [vn_tree_depth(own),floats] partial sums of gradients, */
    float loss[VN_MOST_SUMS][VN_OBJECTIVE_LOSSES]; /* and of losses */
    int top;                                       /* the newest of them */
    vn_err err;
} vn_worker;

typedef struct vn_trainer {
    const vn_train_setup *s;
    vn_part_state part[VN_TRAIN_PARTS];
    /* [sums,floats] the workers' partial sums of gradients; the first is the step's */
    float *grads;
    size_t floats; /* of all parts */
    int sums;
    size_t optimizer_bytes; /* of what optimisers need beside arrays */
    float *shared;  /* [floats] the host's copy for ranks; NULL: the host follows the device's */
    double *totals; /* [ranks,totals_width] squares of the gradients' blocks, and losses */
    size_t totals_width;
    double *squares; /* [blocks] of one part */
    /* the steps made, and what the host sees of the arrays: themselves, or copies as of the latest
     * save */
    vn_checkpoint at;
    vn_state_pieces pieces; /* of it, where arrays are dealt to ranks */
    int losses;
    int workers;
    vn_worker *worker;          /* [workers] */
    vn_thread_groups *groups;   /* of their threads; NULL: there is one worker */
    struct vn_overlap *overlap; /* NULL: ranks send when nothing is computed, or are none */
    bool unshared; /* each rank has the new weights of its own shard alone, until they are shared */
    vn_scorer held;                     /* held.program NULL: nothing is held out */
    const vn_values *training[VN_SETS]; /* sets of values: of a step, */
    const vn_values *shown[VN_SETS];    /* and of the held-out loss, averages where there are */

    double before, started; /* seconds spent before this call; when it began */
    double clock;           /* seconds spent when the latest step ended, agreed by all ranks */
    int64_t first;          /* step it began with */
    double loss, grad_norm; /* of the latest step, its first loss */
    double more[VN_OBJECTIVE_LOSSES]; /* the others, when last taken; NaN: not yet */
    double smooth;                    /* running mean of the loss; NaN before the first step */
    double held_loss;                 /* NaN: unknown */
    void *held_state;                 /* of the objective's measure, beside held_loss; or NULL */
    double saved, previewed;          /* when */
    double preview_seconds;           /* what the latest preview took */
    int64_t saved_step;               /* of the checkpoint on disk */
    bool save_failed;                 /* the latest save */
    char warned[256];                 /* why the latest preview failed; "": it did not */
    vn_tender tender;
    vn_whole whole; /* its x0 NULL: microbatches are read by themselves */
    vn_train_log log;
} vn_trainer;

/* Whether more than one rank has its share of the arrays. */
static inline bool vn_trainer_is_shared(const vn_trainer *t) {
    return t->s->ranks && t->s->ranks->count > 1;
}

/* trainer.c */
vn_status vn_trainer_open(vn_trainer *t, const vn_train_setup *s, vn_err *err);
void vn_trainer_close(vn_trainer *t);
/* Their memory goes before the rest. */
void vn_trainer_close_scorers(vn_trainer *t);
/* VN_NOT_FINITE where a weight is not a number any more: the checkpoint on the disk is better. */
vn_status vn_trainer_save(vn_trainer *t, vn_err *err);
/* The host sees the arrays as they are now. */
void vn_trainer_read(vn_trainer *t);
/* Whether this process writes files and reports. */
bool vn_trainer_leads(const vn_trainer *t);
/* schedule.c: seconds of computing, those before a resume included. */
double vn_trainer_seconds(const vn_trainer *t);

/* scorer.c: one of the objective's losses. With train, gradients go to the offset of every weight
 * that the loss trains, from the base of its part on. s stays. */
vn_status vn_scorer_open(vn_scorer *c, const vn_train_setup *s, int loss, int64_t batch, bool train,
                         vn_err *err);
/* What it would take when so much is computed again: its plan, and its arithmetic. */
vn_status vn_scorer_measure(const vn_train_setup *s, int loss, int64_t batch, bool train,
                            vn_recompute how, size_t *bytes, double *flops, vn_err *err);
/* Which samples a scorer takes. */
typedef struct vn_scored {
    vn_data_part part;
    uint64_t position; /* of the first, in the part */
    uint64_t draw;     /* step number of what is drawn for them */
    int64_t first;     /* of the samples of this draw, which are `total`; 0: they are all */
    int64_t total;
    const vn_whole *whole; /* of all of them; NULL: each scorer reads its own */
} vn_scored;

/* whole.c: whether a step of this setup needs them; how many bytes; made, and read for the step of
 * which the scorer takes `which`; freed. */
bool vn_whole_is_needed(const vn_train_setup *s);
size_t vn_whole_bytes(const vn_train_setup *s);
vn_status vn_whole_open(vn_whole *w, const vn_train_setup *s, vn_err *err);
vn_status vn_whole_read(vn_whole *w, vn_scorer *c, const vn_scored *which, vn_err *err);
void vn_whole_close(vn_whole *w);

/* Samples in a batch of the held-out loss; 0: nothing is held out. */
int64_t vn_held_batch(const vn_train_setup *s);
void vn_scorer_close(vn_scorer *c);
/* Of a batch in two calls: fill reads it, draws what is drawn for it and writes the inputs, with
 * the setup's threads, one scorer after another; compute runs the program, with the scorer's
 * threads, and may do so beside other scorers. The loss is a float, with these sets of values. */
vn_status vn_scorer_fill(vn_scorer *c, const vn_scored *which, vn_err *err);
vn_status vn_scorer_compute(vn_scorer *c, const vn_scored *which,
                            const vn_values *const sets[VN_SETS], float *grads, float *loss,
                            vn_err *err);
/* Both. */
vn_status vn_scorer_run(vn_scorer *c, const vn_scored *which, const vn_values *const sets[VN_SETS],
                        float *grads, float *loss, vn_err *err);

/* microbatches.c: the parts of a step, and samples in one. */
int64_t vn_microbatches(const vn_train_setup *s);
int64_t vn_micro_batch(const vn_train_setup *s);
/* Those of this process: the number of the first, and how many. */
void vn_own_microbatches(const vn_train_setup *s, int64_t *first, int64_t *own);
/* Refuses what cannot be dealt equally. */
vn_status vn_microbatches_check(const vn_train_setup *s, vn_err *err);
/* Those of worker w of this process, and all workers' partial sums of gradients. */
void vn_worker_share(const vn_train_setup *s, int w, int64_t *first, int64_t *own);
int vn_workers_sums(const vn_train_setup *s);

/* workers.c: those that compute the microbatches of a step at the same time, with their sums in
 * t->grads. */
vn_status vn_workers_open(vn_trainer *t, vn_err *err);
void vn_workers_close(vn_trainer *t);
size_t vn_workers_bytes(const vn_trainer *t); /* of their programs */
/* The sums of the gradients, in t->grads, and of the losses of the microbatches of this process,
 * for what is due. */
vn_status vn_workers_score(vn_trainer *t, float loss[VN_OBJECTIVE_LOSSES], vn_err *err);

/* sums.c: of the worker's partial sums, `sum` is added to the one below; the workers' are joined in
 * the first. A run is of t->grads, which every sum has. */
void vn_join_sums(const vn_trainer *t, vn_worker *w, int sum, const vn_span *run);
void vn_join_losses(const vn_trainer *t, vn_worker *w, int sum);
void vn_join_workers(const vn_trainer *t, const vn_device *d, const vn_span *run);
void vn_join_workers_losses(const vn_trainer *t);

/* exchange.c: gradients of all ranks are summed, each rank's shard there; weights, and where losses
 * call networks by them averages, go to all. */
vn_status vn_reduce_gradients(const vn_trainer *t, vn_err *err);
vn_status vn_share_weights(const vn_trainer *t, vn_err *err);
/* What lies between weights in [begin,end) of a part's gradients becomes zeros, where other arrays
 * have been that came together there (gather.c): blocks have it too. */
void vn_clear_gaps(const vn_trainer *t, const vn_part_state *p, size_t begin, size_t end);

/* overlap.c: *out NULL where it would not do: one process, or another device than the host. */
typedef struct vn_overlap vn_overlap;
vn_status vn_overlap_open(vn_trainer *t, vn_overlap **out, vn_err *err);
void vn_overlap_close(vn_overlap **o); /* safe on NULL */
/* When a round of microbatches is filled, or has failed to be: fails on all ranks where it does on
 * one. */
vn_status vn_overlap_begin(vn_overlap *o, bool first, bool last, vn_status filled, vn_err *err);
/* Of the run of a worker's microbatch; NULL without an overlap. */
const vn_run_watch *vn_overlap_watch(vn_overlap *o, const vn_worker *w, bool last);
/* After the last round: all weights have come, and all gradients are summed. */
vn_status vn_overlap_end(vn_overlap *o, vn_err *err);

/* parts.c: what a setup says of its parts. */
vn_status vn_parts_check(const vn_train_setup *s, vn_err *err);
/* The folder of part i in the run. */
const char *vn_part_folder(const vn_train_part *part, int i);
/* The part that losses call so, NULL: the first; -1: there is none. */
int vn_part_find(const vn_train_setup *s, const char *name);
/* Which loss trains it; -1: none, it is frozen. */
int vn_part_loss_of(const vn_train_setup *s, int i);
/* Numbers of the parts before it that are trained: where its gradients begin. */
size_t vn_part_base(const vn_train_setup *s, int i);
/* Weights of frozen parts get the number types of their files, before graphs are built. */
vn_status vn_parts_read_types(const vn_train_setup *s, vn_err *err);
/* Bytes of the weights of all parts and of `sums` gradients. */
double vn_parts_bytes(const vn_train_setup *s, int sums);

/* step.c: one step of training, from a batch to new weights. Fails on all ranks where it does on
 * one. */
vn_status vn_trainer_step(vn_trainer *t, double rate, vn_err *err);

/* gather.c: what all ranks come to before a step: its status, or that another has failed, and
 * whether any wants to stop. Meanwhile they give the first rank what it asks for, with: */
vn_status vn_trainer_agree(vn_trainer *t, vn_status status, bool *stop, vn_err *err);
/* Of the first rank, as vn_state_pieces has them: self is the trainer. */
vn_status vn_trainer_bring(void *self, int part, vn_state_array which, vn_err *err);
void vn_trainer_keep(void *self, int part, vn_state_array which);
/* Averages as a whole, to score or draw with. */
vn_status vn_trainer_show(vn_trainer *t, vn_err *err);
/* *finite: whether all that any rank has of a checkpoint is. */
vn_status vn_trainer_check_finite(vn_trainer *t, bool *finite, vn_err *err);
/* Whether no rank is lost. */
bool vn_trainer_is_complete(const vn_trainer *t);

/* snapshots.c: one of the averages, where it is due; and the narrow average of a part that was
 * updated so many times before. */
vn_status vn_trainer_snapshot(vn_trainer *t, vn_err *err);
void vn_trainer_track_narrow(const vn_trainer *t, const vn_part_state *p, int64_t made);

/* tend.c: between two steps, what the objective does to a weight that gradients do not do. */
vn_status vn_tender_open(vn_tender *w, const vn_train_setup *s, vn_err *err);
void vn_tender_close(vn_tender *w);
/* step: of which the update was made. */
void vn_trainer_tend(const vn_trainer *t, int64_t step);

/* schedule.c */
double vn_train_rate(const vn_train_setup *s, int64_t step, double progress);
double vn_train_ema(const vn_train_setup *s, int64_t step);
/* Whether a loss is taken in the coming step, and a part trained. */
bool vn_trainer_loss_due(const vn_trainer *t, int loss);
bool vn_trainer_part_due(const vn_trainer *t, int part);

/* log.c: log.jsonl, one object a line. Opening drops the lines after the checkpoint's step, which a
 * killed run may have left. A line is whole or not there, and with `durable` on the disk: so it is
 * before a checkpoint, which must not be ahead of the log. */
vn_status vn_train_log_open(vn_trainer *t, vn_err *err);
vn_status vn_train_log_line(vn_trainer *t, double rate, bool durable, vn_err *err);
void vn_train_log_close(vn_trainer *t);

#endif
