/* train.h - the training loop: batches in, weights out, and a run directory that survives anything.
 *
 * What is trained are parts: one network, or several with an optimiser each, beside which others
 * may be frozen. A loss calls any of them by its name (objective.h). All losses of a step see the
 * weights that it began with.
 *
 * A step draws its samples, noise, levels and dropped conditions from (seed, step) alone, so a run
 * that stopped at any step and goes on ends in the same bits as one that never stopped. Its batch
 * may be split into microbatches, and these dealt to threads and to processes (ranks.h). Everything
 * a step needs is planned before the first one; a step allocates nothing.
 *
 * The one exception is a run by --minutes: its learning rate falls with the time spent, and time is
 * not the same twice. */
#ifndef VN_TRAIN_H
#define VN_TRAIN_H

#include "base/base.h"
#include "data/data.h"
#include "nn/nn.h"
#include "objective/objective.h"
#include "ranks/ranks.h"
#include "store/store.h"
#include "tensor/tensor.h"
#include "text/text.h"
#include "train/posthoc.h"

typedef enum vn_rate { VN_RATE_CONSTANT, VN_RATE_COSINE } vn_rate;

#define VN_TRAIN_PARTS VN_CHECKPOINT_PARTS

extern const vn_table vn_optimizers; /* how gradients change weights */

/* A network of a training. The first is what the batch is for: it is trained, and its folder in the
 * run is its row's (vn_net_row.folder). The others' folders are their names. */
typedef struct vn_train_part {
    const char *name; /* by which losses call it; of the first, NULL: they call it without */
    vn_net *net;
    /* Not trained and not in the run: its weights are read from the file each time, in the number
     * types that they have there. */
    bool frozen;
    /* A .safetensors or its index: of a frozen part; or what one that is trained begins with.
     * NULL: by its inits; of a frozen part, if it is to be random, by `seed`. */
    const char *weights;
    /* The network whose file that is, where it lacks inputs of this one: what it does not have
     * begins by its init. NULL: the file is the part's own */
    const vn_net *weights_of;
    vn_values *values; /* of a frozen part, in the place of a file, shared; or NULL */
    bool random;
    uint64_t seed;
    double lr;                  /* factor of the learning rate; 0: 1 */
    const vn_choice *optimizer; /* of vn_optimizers, which stays; NULL: adamw */
    bool no_average;            /* none is kept; what people see of it is what is trained */
} vn_train_part;

/* What a text encoder that is not trained makes of captions, known without running it. */
typedef struct vn_train_states {
    int64_t width, pooled; /* numbers in a token, and in what stands for a text as a whole */
    /* Of a caption, -1: of the empty text: states [length,width], mask [length] and pooled, which
     * may be NULL: not wanted. One thread at a time. */
    vn_status (*read)(void *self, int32_t caption, float *states, int32_t *mask, float *pooled,
                      vn_err *err);
    void *self;
    size_t bytes; /* of the encoder's weights, which are in memory beside what is trained */
} vn_train_states;

/* Where samples have captions. Either a part makes of each the "encoder_hidden_states" of the first
 * part, in the same graph, so that it learns with it; or the encoder is frozen, and no part; or the
 * first part is a sequence model, which takes the texts' tokens themselves. A sample whose caption
 * is dropped, or that has none, has the empty text. */
typedef struct vn_train_text {
    const vn_train_states *frozen; /* NULL: a part is trained: */
    /* takes "input_ids", gives "last_hidden_state"; of a sequence model 0: it has none */
    int part;
    vn_text *tokenizer; /* which one thread uses at a time */
    int64_t length;     /* tokens of each text, filled up or cut */
} vn_train_text;

typedef struct vn_train_setup {
    const vn_device *device;
    const vn_watch *watch;
    int parts; /* at least one */
    const vn_train_part *part;
    vn_data *data;
    const vn_objective *objective;
    const vn_train_text *text; /* NULL: the first part takes no texts */
    /* the run directory, with a checkpoint to go on from: vn_train_create writes the first */
    const char *run;

    uint64_t seed;
    int64_t batch; /* samples of a step */
    /* in which they are scored, a divisor of batch; 0: 1. A worker scores one after another: it
     * takes the memory of one, and a gradient more for each doubling (ranks.h) */
    int64_t microbatches;
    int workers; /* at most so many score at the same time, which changes no bit; 0: any number */
    const vn_ranks *ranks; /* who makes them; NULL: this process alone */
    int64_t steps;         /* of the whole run, those before a resume included; 0: by seconds */
    double seconds;        /* of the whole run */
    double lr, weight_decay;
    double clip; /* bound on the gradient's norm; 0: none */
    vn_rate rate;
    int64_t warmup;
    /* decay; < 0: the power function of EDM2 (2312.02696), which suits any length */
    double ema;
    /* kept at most, of this average and a narrow one, to make averages of other widths from
     * (posthoc.h); ema is then the power function. 0: none */
    int64_t snapshots;
    vn_recompute recompute; /* what is computed again in the backward pass */
    /* after so many steps it ends, and neither logs nor saves nor previews: they are timed; 0: it
     * is a whole run */
    int64_t trial;
    int64_t log_every, save_every, preview_every; /* in steps; 0: by time; preview -1: none */

    /* Draws a preview with these weights, values[i] of part i, of so many steps, to a PNG; NULL:
     * none. */
    vn_status (*preview)(void *user, vn_values *const *values, int64_t step, const char *path,
                         vn_err *err);
    void *user;
} vn_train_setup;

/* What a run has come to. */
typedef struct vn_trained {
    int64_t step;
    double seconds, loss, held_loss; /* loss: smoothed; held_loss NaN without a held-out part */
    size_t bytes;                    /* planned memory */
    /* of a trial, else NaN and 0: seconds of a step but the first, how many the whole run would be,
     * and how often it would see each sample */
    double step_seconds, expected_epochs;
    int64_t expected_steps;
} vn_trained;

/* The network of a model directory as a frozen part. name, and the directory's weights, stay; the
 * part is closed with vn_train_close_frozen, after the setup is done with. */
vn_status vn_train_open_frozen(const char *dir, const char *name, vn_train_part *out, vn_err *err);
void vn_train_close_frozen(vn_train_part *part); /* safe on a zeroed one */
/* A codebook [codes, patch patch C] of the data's patches (VN_PATCH_CODEBOOK): of single grey
 * pixels levels at equal distances, else means of patches, found by the seed. */
vn_status vn_train_codebook(const vn_device *device, vn_data *data, int64_t patch, int64_t codes,
                            uint64_t seed, float *table, vn_err *err);
/* Writes the checkpoint of step 0 into a model directory, in which the folders of the parts are:
 * initial weights by seed, of part i by seed + i. snapshots: whether any will be kept. */
vn_status vn_train_create(const char *run, int parts, const vn_train_part *part, bool snapshots,
                          uint64_t seed, vn_err *err);
/* How many score microbatches at the same time: no more than there are threads. */
int vn_train_workers(const vn_train_setup *setup);
/* Bytes that vn_train_run takes with this setup, of which device to batch and recompute are read:
 * weights and what is made from them, a step, the held-out loss, and the data. Planned without
 * taking them. */
vn_status vn_train_measure(const vn_train_setup *setup, double *bytes, vn_err *err);
/* Trains from the checkpoint in setup->run to the end, or until cancelled (VN_CANCELLED, saved).
 * result may be NULL. */
vn_status vn_train_run(const vn_train_setup *setup, vn_trained *result, vn_err *err);

#endif
