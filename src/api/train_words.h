/* train_words.h - what a training on captions has beside its network: a tokenizer and, unless that
 * is a sequence model, a text encoder that is trained with it, or a pretrained one that is not. */
#ifndef VN_API_TRAIN_WORDS_H
#define VN_API_TRAIN_WORDS_H

#include "api/internal.h"
#include "api/train_encoder.h"
#include "data/data.h"
#include "text/text.h"
#include "train/train.h"

#define VN_TRAIN_ENCODER   "text_encoder" /* its name and folder */
#define VN_TRAIN_TOKENIZER "tokenizer"    /* folder */
#define VN_TRAIN_BYTES     "bytes"        /* the tokenizer that needs none */

enum { VN_TRAIN_EXAMPLES = 8 };

/* Zero-initialise; closed with vn_train_words_close. */
typedef struct vn_train_words {
    vn_net *encoder;             /* that is trained; NULL: */
    vn_train_encoder pretrained; /* one that is not, or none */
    vn_text *tokenizer;
    const char *kind; /* "bytes", or "own": the one in the run's folder, */
    char *source;     /* and what opens it there */
    json_t *learned;  /* its file, of a new run */
    int64_t length;   /* tokens of each text */
    int examples;
    const char *example[VN_TRAIN_EXAMPLES]; /* captions of the data, which owns them */
} vn_train_words;

/* Of a new run: the tokenizer of the pretrained encoder, if that is open, or one that is learned
 * from the captions, or one of bytes, and how many tokens a text has; of `model`, a choice of the
 * models table or NULL, are their sizes. Says how many captions there are, and how many are cut. */
vn_status vn_train_words_make(vn_train_words *w, const vn_choice *model, const char *run,
                              const vn_data *data, const vn_engine *engine, vn_err *err);
/* And an encoder that is to be trained with the network, whose tokens are what that takes. */
vn_status vn_train_words_make_encoder(vn_train_words *w, const vn_net *net, const vn_choice *model,
                                      double dropout, vn_err *err);
/* Writes the files of a tokenizer that was learned into a run's folder. */
vn_status vn_train_words_save(const vn_train_words *w, const char *run, vn_err *err);
/* Of a run that goes on, by its files. */
vn_status vn_train_words_read(vn_train_words *w, const char *run, const json_t *vane,
                              const vn_data *data, const vn_engine *engine, vn_err *err);
bool vn_train_words_frozen(const vn_train_words *w);
/* What vane.json says of texts: a new object; NULL: out of memory. */
json_t *vn_train_words_json(const vn_train_words *w);
void vn_train_words_close(vn_train_words *w);

#endif
