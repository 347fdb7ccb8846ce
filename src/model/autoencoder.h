/* autoencoder.h - what the files of autoencoders share: the autoencoder itself, and one half of it
 * on a batch (autoencoder_half.c). */
#ifndef VN_MODEL_AUTOENCODER_H
#define VN_MODEL_AUTOENCODER_H

#include "model/internal.h"

struct vn_autoencoder {
    vn_context *vn;
    vn_engine engine;
    char *source;
    vn_net *net;
    vn_values *values;
    bool borrowed;               /* the two are somebody else's */
    vn_net *half[VN_HALF_COUNT]; /* opened on first use, and their runners */
    vn_runner *runner[VN_HALF_COUNT];
    float *outputs; /* of the latest call */
};

const vn_latents *vn_autoencoder_latents(const vn_autoencoder *a);

/* What a half is run on, and what is taken of it. */
typedef struct vn_half_call {
    vn_autoencoder *a;
    vn_half half;
    const vn_array *in;    /* [n,..] */
    int64_t rows, columns; /* of the input */
    int fetches;
    vn_fetch out[2];
    int64_t floats[2]; /* of one sample, of each output */
} vn_half_call;

/* Opens the half's network and its runner, on first use. */
vn_status vn_half_open(vn_autoencoder *a, vn_half half, vn_err *err);
/* Refuses parts of a size that does not fit; 0 and -1 are none. */
vn_status vn_half_check_tile(const vn_autoencoder *a, int64_t tile, vn_err *err);
/* Opens the half and holds an array to its input. */
vn_status vn_half_check_input(vn_autoencoder *a, vn_half half, const vn_array *in, vn_err *err);
/* Runs it on an input that was checked; tile: as vn_coding has it. */
vn_status vn_half_run(vn_half_call *r, int64_t tile, vn_err *err);

#endif
