/* preview.h - pictures of a run while it trains: of a denoiser (preview.c), and of a sequence model
 * (preview_tokens.c). */
#ifndef VN_API_PREVIEW_H
#define VN_API_PREVIEW_H

#include "api/internal.h"

/* What a preview is drawn with. Fill the first part; the rest opens with the first picture. */
typedef struct vn_preview {
    vn_context *vn;
    const vn_net *net;
    const vn_path *path;
    const vn_prediction *prediction;
    const vn_shape *sample;
    const char *const *names;
    int32_t classes;
    uint64_t seed;
    vn_sampling_defaults sampling; /* as the run says */
    vn_autoencoder *decoder; /* samples are latents, which it decodes; NULL: they are shown as they
                                are */
    const char *run;         /* its folder, for the text chunks */
    /* where the network takes texts: part 1, its tokenizer, and what is drawn; else NULL, 0 */
    const vn_net *encoder;
    vn_prompter *frozen; /* in the place of an encoder that is trained; NULL: there is none */
    const char *tokenizer;
    int64_t length; /* tokens of each text */
    const char *const *text;
    int texts;

    vn_model *model; /* whose conditions the texts are */
    vn_prompter *prompter;
    vn_net_denoiser net_denoiser;
    vn_denoiser denoiser;
    struct vn_trajectory *trajectory;
    int64_t count, size;
    float *samples;
    int32_t *labels;
} vn_preview;

/* Whether such samples can be shown at all: images of 1 or 3 channels, points in the plane. */
bool vn_preview_possible(const vn_shape *shown);
/* Draws with `values`, the weights of the parts after so many training steps, which must be at the
 * same place each time; the picture says how, on it and in its text chunks. For
 * vn_train_setup.preview. */
vn_status vn_preview_draw(void *preview, vn_values *const *values, int64_t step, const char *path,
                          vn_err *err);
void vn_preview_close(vn_preview *p);

/* The same of a sequence model. */
typedef struct vn_token_preview {
    vn_context *vn;
    vn_sequence_parts parts; /* but for `values`, which come with the first picture */
    uint64_t seed;
    double guidance;
    const char *run;         /* its folder, for the text chunks */
    const char *const *text; /* [texts] what is drawn, where it takes texts */
    int texts;

    vn_model *model;
    vn_sequence_run *sequence;
    int64_t count;
    float *samples;
    int32_t *labels, *codes;
} vn_token_preview;

/* Whether its pictures can be shown at all. */
bool vn_token_preview_possible(const vn_token_preview *p);
vn_status vn_token_preview_draw(void *preview, vn_values *const *values, int64_t step,
                                const char *path, vn_err *err);
void vn_token_preview_close(vn_token_preview *p);

/* ---- as a picture (preview_write.c) ---------------------------------------------------------- */

/* What its text chunks say. */
typedef struct vn_preview_words {
    const char *run; /* its folder */
    uint64_t seed;
    int64_t count, step; /* step: of training */
    double guidance;
    const char *guide;                 /* NULL or "": cfg */
    const char *sampler, *path, *grid; /* NULL, and steps 0: of tokens, which have none */
    int steps;
    int32_t classes;
    const char *const *text; /* [texts] what is drawn, where it takes texts */
    int texts;
} vn_preview_words;

vn_status vn_preview_write(const vn_preview_words *w, const vn_image *image, const char *path,
                           vn_err *err);

#endif
