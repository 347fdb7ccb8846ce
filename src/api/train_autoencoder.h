/* train_autoencoder.h - what the training of an autoencoder shows of it, and what is measured of
 * it when it ends. */
#ifndef VN_API_TRAIN_AUTOENCODER_H
#define VN_API_TRAIN_AUTOENCODER_H

#include "api/internal.h"
#include "data/data.h"

/* Pictures of the held-out part, or of the data where nothing is held out, each beside what it is
 * decoded to. Fill the first part; the rest opens with the first picture. Closed with
 * vn_pairs_close. */
typedef struct vn_pairs {
    vn_context *vn;
    const vn_net *net; /* the whole autoencoder */
    vn_data *data;
    uint64_t seed;
    const char *run; /* its folder, for the text chunks */

    vn_runner *runner;
    int64_t count, size; /* of pictures; numbers in one */
    float *pictures;     /* [count,C,H,W] */
    float *decoded;      /* [count,C,H,W] */
    float *shown;        /* [2 count,C,H,W] in pairs */
} vn_pairs;

/* Draws with values[0], which must be at the same place each time. For vn_train_setup.preview. */
vn_status vn_pairs_draw(void *pairs, vn_values *const *values, int64_t step, const char *path,
                        vn_err *err);
void vn_pairs_close(vn_pairs *p);

/* Measures a trained autoencoder, as it is saved in its run: the mean and the standard deviation of
 * latents of the training data, by which a diffusion model is to shift and scale them, go into its
 * config.json as diffusers has them; and how well held-out pictures are reconstructed, which goes
 * with them into vane.json ("measured"). Says what it found. */
vn_status vn_train_measure_coding(vn_context *vn, const char *run, vn_data *data, vn_err *err);

#endif
