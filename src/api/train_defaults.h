/* train_defaults.h - which model is trained where the user names none: one table that sees what the
 * data is, how many samples there are, and how much computing there is for them. */
#ifndef VN_API_TRAIN_DEFAULTS_H
#define VN_API_TRAIN_DEFAULTS_H

#include "base/base.h"

/* What is known before a model is chosen. */
typedef struct vn_train_budget {
    vn_shape sample; /* [C,H,W] or [D] */
    int64_t count;   /* of the data */
    bool texts;      /* it has captions */
    bool latents;    /* it is made of pictures by an autoencoder */
    double minutes;  /* of the run; 0: it is by steps, of which nobody knows how long they are */
    int threads;
} vn_train_budget;

typedef struct vn_train_default {
    const char *model; /* a choice of vn_trained_models */
    double lr;         /* 0: the model's own */
    int64_t batch;     /* likewise */
    const char *why;   /* for the log; NULL: it is the usual one */
} vn_train_default;

/* Never NULL; lives as long as the program. */
const vn_train_default *vn_train_default_for(const vn_train_budget *b);

#endif
