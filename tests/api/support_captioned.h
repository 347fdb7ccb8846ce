/* support_captioned.h - what the tests of training on captions share: pictures whose captions say
 * how bright they are, pretrained encoders of texts with random weights, options of short runs, and
 * what comes of them. */
#ifndef VN_TEST_SUPPORT_CAPTIONED_H
#define VN_TEST_SUPPORT_CAPTIONED_H

#include "api/support_context.h"

enum { CAPTIONED_SIDE = 8, CAPTIONED_PICTURES = 24 };

/* CAPTIONED_PICTURES grey pictures in a new folder, by turns black and white, with the captions of
 * that: 00.png and 00.txt, 01.png and 01.txt, ... */
void make_captioned(const char *folder, const char *const captions[2]);
/* The caption of picture i. */
void write_caption(const char *folder, int i, const char *text);

/* A folder with the network of a config, as diffusers or transformers name its weights, which are
 * by a seed; and one with the tokenizer of
 * tests/golden/text that is called so. Folders may be there already. */
void make_network(const char *folder, const char *config, uint64_t seed);
void make_tokenizer(const char *folder, const char *kind);
/* Configs of small encoders, for the tokenizers "clip" and "t5". */
extern const char captioned_clip[], captioned_t5[];

/* Options of a run of so many steps that takes a moment, without a text encoder of its own. */
vn_train_options captioned_options(const char *model, int64_t steps);
/* Goes on with a run up to so many steps. */
void go_on(const char *data, const char *run, int64_t steps);
/* Whether a file of one run is that of another. */
bool same_part(const char *a, const char *b, const char *part);
/* The mean pixel of samples that are drawn for a prompt, in [-1,1]. */
double mean_of(vn_model *m, const char *prompt);
/* Samples of "it is black" and "it is white" are about as bright as the pictures. */
void expect_black_and_white(vn_model *m);

#endif
