/* train_latents.h - the autoencoder whose latents a training sees in the place of pictures: opened,
 * copied into the run, and run once on every picture. */
#ifndef VN_API_TRAIN_LATENTS_H
#define VN_API_TRAIN_LATENTS_H

#include "api/internal.h"
#include "data/data.h"

/* Zero-initialise; closed with vn_train_latents_close. */
typedef struct vn_train_latents {
    vn_autoencoder *autoencoder; /* NULL: training sees pictures */
    vn_model_dir dir;            /* of the autoencoder */
    vn_latent_cache *cache;
    vn_data *data;
    vn_shape picture, sample; /* of the data; of its latents */
    uint64_t seed;
} vn_train_latents;

/* The autoencoder in `source`, its folder or that of a run or pipeline that has one. */
vn_status vn_train_latents_open(vn_train_latents *l, vn_context *vn, const char *source,
                                vn_err *err);
/* Makes the data be read as latents. Refuses, with both numbers, data of other channels than the
 * autoencoder's or whose sides its factor does not divide. name: of the data. */
vn_status vn_train_latents_take(vn_train_latents *l, vn_data *data, const char *name, uint64_t seed,
                                vn_err *err);
/* Encodes all pictures, or finds that done. `run` has its name. */
vn_status vn_train_latents_encode(vn_train_latents *l, const char *run, bool flips,
                                  const vn_watch *watch, vn_err *err);
/* Its folder in a run, and its config, which is the caller's to write there; its weights into that
 * folder. */
const char *vn_train_latents_folder(const vn_train_latents *l);
const json_t *vn_train_latents_config(const vn_train_latents *l);
vn_status vn_train_latents_copy(const vn_train_latents *l, const char *run, vn_err *err);
/* What vane.json says of them ("latents"): a new object; NULL: out of memory. And whether the run's
 * autoencoder is that one still. */
json_t *vn_train_latents_json(const vn_train_latents *l);
vn_status vn_train_latents_check(const vn_train_latents *l, const json_t *vane, const char *run,
                                 vn_err *err);
void vn_train_latents_close(vn_train_latents *l);

/* What vane.json says of the shape of its data's samples; a run on latents has that beside the
 * shape of these. NULL: nothing. */
const json_t *vn_run_data_shape(const json_t *vane);

#endif
