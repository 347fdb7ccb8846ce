/* train_tokens.h - what makes tokens of pictures for a sequence model: an autoencoder with
 * codes, or a codebook of patches that is made of the data. The run holds it. */
#ifndef VN_API_TRAIN_TOKENS_H
#define VN_API_TRAIN_TOKENS_H

#include "data/data.h"
#include "model/model.h"
#include "train/train.h"

/* 0 before it is opened; closed with vn_train_codes_close. */
typedef struct vn_train_codes {
    vn_model_dir dir;      /* of an autoencoder that exists; empty: made of the data */
    vn_net *net, *encoder; /* the whole, and its half */
    vn_values *values;
    int64_t codes; /* kinds of tokens */
    int64_t rows, columns;
} vn_train_codes;

/* path: an autoencoder, or a run or pipeline that has one. */
vn_status vn_train_codes_open(vn_train_codes *c, const vn_engine *engine, const char *path,
                              vn_err *err);
/* Of the data, as the model's presets `patch` and `codes` say. */
vn_status vn_train_codes_make(vn_train_codes *c, const vn_engine *engine, vn_data *data,
                              const vn_choice *model, uint64_t seed, vn_err *err);
/* Whether it is for such pictures; sets rows and columns. */
vn_status vn_train_codes_fit(vn_train_codes *c, const vn_data_info *data, const char *source,
                             vn_err *err);
int64_t vn_train_codes_tokens(const vn_train_codes *c);
/* Its weights into a run's folder, in which config.json is. */
vn_status vn_train_codes_save(const vn_train_codes *c, const char *run, vn_err *err);
void vn_train_codes_close(vn_train_codes *c);

#endif
