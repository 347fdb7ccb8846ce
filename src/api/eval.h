/* eval.h - the sets of samples that vn_eval compares: exact draws of a world, tensors that somebody
 * made, data that could be trained on, or samples that are drawn from a model as they are
 * measured. */
#ifndef VN_API_EVAL_H
#define VN_API_EVAL_H

#include "api/internal.h"
#include "data/data.h"

/* What a set is to be. */
typedef struct vn_eval_ask {
    vn_context *vn;
    const char *path;
    const char *source; /* what it is compared with, for messages */
    /* the shape that it is to have; NULL: its own */
    const vn_shape *sample;
    /* [classes] that labels are to mean; NULL: its own */
    const char *const *names;
    int32_t classes;
    int64_t count; /* 0: all, but at most `usual` */
    int64_t usual; /* 0: no bound */
    int32_t of;    /* only samples of this class; VN_LABEL_ALL: all */
    bool training; /* of a run: what it was trained on, else what it never saw */
    bool texts;    /* captions are wanted, and not the classes of data that has both */
    bool tell;     /* count the classes, for vn_eval_result.drawn */
    uint64_t seed;
} vn_eval_ask;

/* A set and what is behind it. Stays where it is opened. */
typedef struct vn_eval_set {
    vn_set set;
    int64_t available; /* they were drawn of so many; 0: of a world or model */
    /* [2 classes] how many of them are of each class, and of how many; NULL: not known */
    int64_t *of_class;
    int32_t *labels;    /* [count] */
    int32_t *of_all;    /* [available] labels of all; NULL: there are none */
    int64_t *index;     /* [count] which of all they are */
    vn_safetensors *st; /* one of these four is behind it */
    const vn_array *array;
    vn_npy_file *npy;
    vn_data *data;
    bool parted; /* it is a run's, of which a part is looked at */
    vn_data_part part;
    uint64_t split; /* a number made of how it was parted */
    const vn_world *world;
    uint64_t seed;
    float *last;                  /* one sample, channels last */
    vn_autoencoder *autoencoder;  /* or the reconstructions of another set: */
    const struct vn_eval_set *of; /* the caller's */
    bool drawn;
    vn_drawing drawing;
    vn_draw_progress progress;
    int32_t *scratch; /* labels that are written while drawing */
} vn_eval_set;

/* A file or data, by its ending or by what vn_data_open takes it for. Closed also where it
 * failed. */
vn_status vn_eval_set_open(vn_eval_set *s, const vn_eval_ask *ask, vn_err *err);
/* Exact draws of the model's world: of class `label`, or of all in turn. */
vn_status vn_eval_set_of_world(vn_eval_set *s, const vn_model *m, int32_t label, int64_t count,
                               uint64_t seed, vn_err *err);
/* Where texts come from: vn_eval_result.prompts_from, and in words. */
typedef struct vn_texts_origin {
    const char *name, *told;
} vn_texts_origin;
extern const vn_texts_origin vn_no_texts;
/* The texts that a model is asked for (eval_texts.c), owned by the options, the data or the model.
 * Closed with vn_eval_texts_close. */
typedef struct vn_eval_texts {
    const char **text; /* [count], in turn; NULL: none */
    int64_t count;
    const vn_texts_origin *from; /* NULL: there are none */
    int64_t distinct;            /* texts that differ, the empty one not counted */
    bool labelled;               /* they are the names of the data's classes */
} vn_eval_texts;
/* One for each sample of the set, in its order; from NULL: it has none. */
vn_status vn_eval_texts_of_data(vn_eval_texts *t, vn_eval_set *data, vn_err *err);
/* For `count` samples that are drawn as `o` says. data: what they are compared with, or NULL. */
vn_status vn_eval_texts_choose(vn_eval_texts *t, const vn_model *m, vn_eval_set *data,
                               const vn_sample_options *o, int64_t count, vn_err *err);
void vn_eval_texts_close(vn_eval_texts *t); /* safe on a zeroed one */

/* Samples that the model draws under `labels` [count], which become the set's, or for texts, and
 * labels are then what the samples are told to be of. sample: how; NULL: the defaults. */
vn_status vn_eval_set_of_model(vn_eval_set *s, vn_model *m, const vn_sample_options *sample,
                               int64_t count, int32_t *labels, const vn_eval_texts *texts,
                               uint64_t seed, vn_err *err);
/* eval_reconstructed.c: whether an autoencoder lies there; opens it into a set, with the shape of
 * the pictures that it was trained on (of rank 0: not known); and the set becomes the
 * reconstructions of another, or says why they do not fit. */
bool vn_eval_is_autoencoder(const char *path);
vn_status vn_eval_autoencoder_open(vn_eval_set *s, vn_context *vn, const char *path,
                                   vn_shape *pictures, vn_err *err);
vn_status vn_eval_set_reconstructed(vn_eval_set *s, const vn_eval_set *of, vn_err *err);
void vn_eval_set_close(vn_eval_set *s);
/* eval_run.c: the data of a run, opened as it opened it, and how many samples of it were held out,
 * or trained on; *split: a number made of how. VN_BAD_FILE where the data has changed since. */
vn_status vn_eval_run_data(vn_context *vn, const char *run, bool training, vn_data **out,
                           int64_t *count, uint64_t *split, vn_err *err);

/* likelihood.c: vn_log_likelihood within another call, whose progress calls it `what`. */
vn_status vn_model_likelihood(vn_model *m, const vn_likelihood_settings *s, const char *what,
                              int64_t n, const float *x, const int32_t *labels, double *log_p,
                              int64_t *evaluations, vn_err *err);

#endif
