/* internal.h - what the files of api share: the context, the model and the samples behind the public handles, and how a
 * room's result becomes the context's error text. */
#ifndef VN_API_INTERNAL_H
#define VN_API_INTERNAL_H

#include "base/base.h"
#include "cpu/cpu.h"
#include "image/image.h"
#include "nn/nn.h"
#include "path/path.h"
#include "store/store.h"

struct vn_context {
    const vn_backend *backend;
    vn_crew *crew;
    vn_err err;
    volatile int cancel; /* set by vn_context_cancel from any thread or signal handler; cleared when a call begins */
    vn_watch watch;
};

/* Begins a public call: clears the error and a cancel that came before it. */
vn_err *vn_begin(vn_context *vn);

/* ---- networks as denoisers (denoiser.c) -------------------------------------------------------------- */

/* A network behind the denoiser's interface: its runner and the arrays of one query. */
typedef struct vn_net_denoiser {
    const vn_net *net;
    vn_runner *runner;
    const vn_path *path;
    vn_prediction prediction;
    int64_t size, height, width;
    int32_t null_label; /* the row of the class table for VN_LABEL_NULL; < 0: none */
    int64_t capacity;   /* rows the arrays hold */
    float *input;       /* [capacity,size] */
    float *time;        /* [capacity] */
    int32_t *labels;    /* [capacity] */
} vn_net_denoiser;

/* shape: one sample's. values, net and path outlive it. `classes`: labels a user may name. */
vn_status vn_net_denoiser_open(vn_net_denoiser *d, vn_context *vn, const vn_net *net, const float *values,
                               const vn_path *path, const vn_prediction *prediction, const int64_t shape[3],
                               int32_t classes, vn_denoiser *out, vn_err *err);
void vn_net_denoiser_close(vn_net_denoiser *d);

/* ---- models (model.c) ---------------------------------------------------------------------------------- */

struct vn_model {
    vn_context *vn;
    char *source;
    const char *kind;
    char **names; /* [classes] */
    int32_t classes;
    bool has_null;
    int rank;
    int64_t shape[3], size;
    int64_t steps; /* training steps behind it */

    vn_path *path; /* NULL: not known (a world, a bare network) */
    char *path_text;
    vn_prediction prediction;

    vn_world *world; /* or a network: */
    vn_net *net;
    float *values;

    /* What it is sampled with: opened on first use and kept, with all that it has planned, until another path is named. */
    vn_path *chosen; /* by the user, where the model has no path */
    vn_net_denoiser net_denoiser;
    vn_denoiser denoiser; /* self NULL: not open */
};

/* The model's denoiser, on its own path or on `path` where that may be chosen. Owned by the model. */
vn_status vn_model_denoise(vn_model *model, const char *path, const vn_denoiser **out, vn_err *err);

/* ---- samples (samples.c) ------------------------------------------------------------------------------- */

struct vn_samples {
    vn_context *vn;
    int64_t count;
    int rank;
    int64_t shape[3], size;
    float *data;     /* [count,size] */
    int32_t *labels; /* [count] */
    int64_t passes;
    char **names; /* [classes] */
    int32_t classes;
    json_t *settings; /* object of strings, in the order they are shown */
    json_t *bands;    /* array of {title, first, count} */
};

#endif
