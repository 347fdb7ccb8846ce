/* train_job.h - all that a training run is made of: its data, path, network, objective and options.
 * train_job.c opens them, train_files.c keeps them in the run's folder and finds them there again,
 * train.c begins with them or goes on, and runs. */
#ifndef VN_API_TRAIN_JOB_H
#define VN_API_TRAIN_JOB_H

#include "api/internal.h"
#include "api/run_dir.h"
#include "api/train_latents.h"
#include "api/train_tokens.h"
#include "api/train_words.h"
#include "data/data.h"
#include "objective/objective.h"
#include "train/train.h"

/* 0 but for vn, source, rows and out; closed with vn_job_close. */
typedef struct vn_train_job {
    vn_context *vn;
    const char *source, *out;
    const vn_train_data
        *rows; /* samples of the program's own, which source names; NULL: a source */
    vn_train_options o;
    vn_run_dir run;   /* locked */
    vn_model_dir dir; /* what it holds, when resumed */
    vn_data *data;
    vn_net *net;
    vn_path *path;
    vn_prediction prediction;
    vn_denoiser truth;    /* of data that is drawn from a world */
    vn_model *teacher;    /* NULL: there is none */
    vn_model *began;      /* of o.init_from; NULL: not given */
    const vn_model *from; /* whose network it begins from, one of these two; NULL: from nothing */
    char *method, *from_predict; /* texts of options that they have settled; or NULL */
    char *from_weights;          /* the file of its weights */
    /* of reflow, whose data are pairs that the teacher makes; else NULL */
    float *pair_samples, *pair_noise;
    int32_t *pair_labels;
    vn_train_data pairs;
    vn_objective *objective;
    bool classifies;   /* the model is a classifier */
    bool reconstructs; /* or an autoencoder */
    bool sequence;     /* or a sequence model */
    bool texts;        /* it takes the captions of its data */
    vn_train_words words;
    vn_train_codes codes;     /* of a sequence model */
    vn_net *uncertainty;      /* of a loss that estimates its own size; or NULL */
    vn_net *discriminator;    /* that an autoencoder is trained against; or NULL */
    vn_train_part features;   /* of an autoencoder's perceptual loss; net NULL: there is none */
    vn_train_latents latents; /* autoencoder NULL: the model sees pictures */
    char *seen;               /* what messages call its samples: the data, or latents of it */
    vn_choice model;          /* row NULL: a config or a run says what it is */
    vn_choice optimizer;
    const char **names; /* [classes] */
    const char **known; /* [known_count] classes of the run that is resumed, in dir; else NULL */
    int32_t known_count;
    vn_shape sample; /* of its data, where they are images; else of rank 0 */
    char *list;      /* its list of the data's files, when it is resumed and has one; else NULL */
    char *path_text;
    int workers;                   /* that fit in memory (vn_train_setup) */
    vn_sampling_defaults sampling; /* how the run is sampled unless told otherwise */
} vn_train_job;

/* ---- the parts (train_job.c) ----------------------------------------------------------------- */

/* Refuses an OUT inside such data; before anything is tried in OUT. */
vn_status vn_job_check_outside(const vn_train_job *j, vn_err *err);
/* Which kind of model o.model is, before the data is read. A config.json is opened as j->net. */
vn_status vn_job_find_role(vn_train_job *j, vn_err *err);
vn_status vn_job_open_path(vn_train_job *j, vn_err *err);
/* The data and the names of its classes; with j->known, sample and list that of a run. */
vn_status vn_job_open_data(vn_train_job *j, vn_err *err);
/* Of a new run: whether its model takes captions and the data has some, which model that is unless
 * one was asked for, and how it is trained where nothing was asked for. */
vn_status vn_job_find_model(vn_train_job *j, const vn_train_options *requested, vn_err *err);
/* Of a sequence model: what makes tokens of the data. */
vn_status vn_job_open_codes(vn_train_job *j, vn_err *err);
/* Opens a pretrained text encoder: what is wrong with it shows before the data is read. */
vn_status vn_job_open_encoder(vn_train_job *j, vn_err *err);
/* Opens the autoencoder of a new run, and then makes the data be read as its latents. */
vn_status vn_job_open_latents(vn_train_job *j, vn_err *err);
vn_status vn_job_take_latents(vn_train_job *j, vn_err *err);
/* The features of a perceptual loss (train_features.c), of a new run or of one that goes on; copied
 * into a new run. */
vn_status vn_job_open_features(vn_train_job *j, vn_err *err);
vn_status vn_job_copy_features(const vn_train_job *j, vn_err *err);
/* Refuses one where there are no texts for it. */
vn_status vn_job_check_encoder(const vn_train_job *j, vn_err *err);
/* The objective, the network and, of captions, what makes arrays of them. */
vn_status vn_job_open_learning(vn_train_job *j, vn_err *err);
/* Whether a step fits in memory, before anything of the run's size is made, and with how many
 * workers. */
vn_status vn_job_check_memory(vn_train_job *j, vn_err *err);
void vn_job_close(vn_train_job *j); /* all but j->run */

/* The networks: the first is what is trained on the batch. */
typedef struct vn_train_networks {
    int count;
    vn_train_part part[4];
    vn_train_text text;
} vn_train_networks;
vn_train_networks vn_job_networks(const vn_train_job *j);

/* ---- its files (train_files.c) --------------------------------------------------------------- */

/* Everything of the run at step 0, complete before it takes its name. */
vn_status vn_job_create(vn_train_job *j, vn_err *err);
/* What the files of j->dir say of a run that goes on, with the options that were requested. */
vn_status vn_job_read(vn_train_job *j, const vn_train_options *requested, vn_err *err);
/* Whether the data is that of the run. */
vn_status vn_job_check_data(const vn_train_job *j, vn_err *err);

#endif
