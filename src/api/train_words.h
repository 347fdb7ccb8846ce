/* train_words.h - what a training on captions has beside its denoiser: a text encoder that is
 * trained with it, and a tokenizer. */
#ifndef VN_API_TRAIN_WORDS_H
#define VN_API_TRAIN_WORDS_H

#include "api/internal.h"
#include "data/data.h"
#include "text/text.h"
#include "train/train.h"

#define VN_TRAIN_ENCODER "text_encoder" /* its name and folder */

enum { VN_TRAIN_EXAMPLES = 8 };

/* Zero-initialise; closed with vn_train_words_close. */
typedef struct vn_train_words {
    vn_net *encoder;
    vn_text *tokenizer;
    int64_t length; /* tokens of each text */
    int examples;
    const char *example[VN_TRAIN_EXAMPLES]; /* captions of the data, which owns them */
} vn_train_words;

/* Of a new run: an encoder whose tokens are what the network takes; of `model`, a choice of the
 * models table or NULL, are its sizes. Says how many captions there are, and how many are cut. */
vn_status vn_train_words_make(vn_train_words *w, const vn_net *net, const vn_choice *model,
                              double dropout, const vn_data *data, const vn_watch *watch,
                              vn_err *err);
/* Of a run that goes on, by its files. */
vn_status vn_train_words_read(vn_train_words *w, const char *run, const json_t *vane,
                              const vn_data *data, vn_err *err);
void vn_train_words_close(vn_train_words *w);

#endif
