/* train_encoder.h - a pretrained text encoder that a training takes as it is: found, opened, copied
 * into the run, and run once on every caption. */
#ifndef VN_API_TRAIN_ENCODER_H
#define VN_API_TRAIN_ENCODER_H

#include "api/internal.h"
#include "data/data.h"
#include "train/train.h"

/* Zero-initialise; closed with vn_train_encoder_close. */
typedef struct vn_train_encoder {
    char *folder, *tokenizer; /* where they are; the tokenizer may be "bytes" */
    vn_model_dir dir;         /* of the encoder */
    vn_model_part part;       /* the network NULL: there is none */
    const vn_port *states;    /* what it gives */
    vn_prompter *prompter;
    vn_text_cache *cache;
    vn_train_states read; /* what the training reads; without `read` until the cache is there */
} vn_train_encoder;

/* Opens what `source` holds: a folder with an encoder and a tokenizer, a pipeline's folder, or an
 * encoder's in one (text_encoder_2, with tokenizer_2 beside it). Errors name it. */
vn_status vn_train_encoder_open(vn_train_encoder *e, const vn_engine *engine, const char *source,
                                vn_err *err);
/* Texts have so many tokens. */
vn_status vn_train_encoder_set_length(vn_train_encoder *e, const vn_engine *engine, int64_t length,
                                      vn_err *err);
/* The weights and the tokenizer's files into a run, whose config.json of the encoder is there. */
vn_status vn_train_encoder_copy(const vn_train_encoder *e, const char *run, vn_err *err);
/* Encodes the captions of the data for this network, or finds that done. `run` has its name. */
vn_status vn_train_encoder_encode(vn_train_encoder *e, const char *run, const vn_data *data,
                                  const vn_net *net, const vn_watch *watch, vn_err *err);
void vn_train_encoder_close(vn_train_encoder *e);

#endif
