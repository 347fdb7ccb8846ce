/* pipeline.h - what the files of pipelines share. A pipeline of diffusers is a folder whose
 * model_index.json names a class and its parts: a network that denoises latents, an autoencoder
 * that they are latents of, and, where it is conditioned on texts, encoders and tokenizers. A class
 * is a row, which says what its own program does with these parts: which outputs of the encoders
 * are taken, how they are joined for the network, and how it is sampled. A further class is one
 * file and one row of the table in pipeline.c. Source: diffusers 0.42.1. */
#ifndef VN_PIPELINE_H
#define VN_PIPELINE_H

#include "model/internal.h"

enum { VN_PIPELINE_TEXTS = 3 };

/* A text encoder of a class, and what is taken of it. */
typedef struct vn_pipeline_text {
    const char *encoder, *tokenizer; /* their folders; NULL: the class has no more */
    const char *states;              /* the output that has its tokens' states */
    const char *whole; /* the output that stands for a text as a whole; NULL: not taken */
    /* tokens of every text; 0: so many as tokenizer_config.json says (model_max_length) */
    int64_t length;
    bool optional; /* model_index.json may have null for it */
} vn_pipeline_text;

/* What an encoder makes of one text. */
typedef struct vn_encoded {
    bool there; /* the pipeline has this encoder */
    int64_t length, width, whole_width;
    const float *states; /* [length,width]; NULL: zeros */
    const float *whole;  /* [whole_width]; NULL: zeros */
} vn_encoded;

/* What a text is to the network: arrays for its ports, whose numbers are freed with
 * vn_joined_free. Zero-initialise to open. */
typedef struct vn_joined {
    int count;
    vn_array array[VN_MAX_PORTS];
    bool failed; /* no memory */
} vn_joined;

/* Adds an array of zeros to be filled; NULL: no memory, which vn_joined remembers. */
float *vn_joined_add(vn_joined *j, const char *port, vn_shape shape);
void vn_joined_free(vn_joined *j);
/* Copies rows [n,width], NULL: nothing, into the columns of to [n,stride] from `column` on. */
void vn_place_columns(float *to, int64_t stride, int64_t column, const float *from, int64_t n,
                      int64_t width);

typedef struct vn_pipeline_row {
    vn_row row;                               /* diffusers' class, what it is */
    vn_pipeline_text text[VN_PIPELINE_TEXTS]; /* none of a class without texts */
    const char *not_run; /* a part that it may have and that vane does not run; NULL: none */
    double guidance;     /* of its program, where nobody says */
    int steps;
    /* guidance is what its network is told, in one pass; a network that is told none makes one */
    bool guides_itself;
    bool own_times; /* vn_scheduler_use */
    /* a key of model_index.json: null is zeros and not the empty text, where it is true or missing;
     * NULL: it is the empty text */
    const char *zeros_key;
    /* Changes a copy of the scheduler's config as its program does; false: no memory. NULL: it
     * takes it as it is. */
    bool (*schedule)(json_t *scheduler);
    /* Joins what the encoders made of a text. NULL: it is conditioned on classes. */
    void (*join)(const vn_model *m, const vn_encoded e[VN_PIPELINE_TEXTS], vn_joined *out);
} vn_pipeline_row;

extern const vn_pipeline_row vn_stable_diffusion, vn_stable_diffusion_xl, vn_stable_diffusion_3,
    vn_flux_pipeline, vn_dit_pipeline;

/* What a model that is a pipeline has beside what every model has. */
struct vn_pipeline {
    const vn_pipeline_row *row;
    int part[VN_PIPELINE_TEXTS]; /* the model's part that is the encoder; -1: it has none */
    int64_t length[VN_PIPELINE_TEXTS];
    vn_prompter *prompter[VN_PIPELINE_TEXTS]; /* opened on first use */
    bool null_is_zeros;
    vn_denoiser inner;
};

/* ---- parts (pipeline_parts.c) ---------------------------------------------------------------- */

/* The class that the index names; "": none. */
const char *vn_pipeline_class(const json_t *index);
/* Whether the index has the part: an entry [library, class] that is not of nulls. */
bool vn_pipeline_has(const json_t *index, const char *part);
vn_status vn_pipeline_need(const vn_model *m, const json_t *index, const char *part, vn_err *err);

/* ---- texts (pipeline_texts.c) ---------------------------------------------------------------- */

/* Whether the class is conditioned on texts. */
bool vn_pipeline_takes_texts(const vn_pipeline_row *row);
/* Opens the encoders, once the network is open, and holds what they give to what it takes. */
vn_status vn_pipeline_open_texts(vn_model *m, const json_t *index, vn_err *err);
/* Keeps what the text is to the network; null: as the null condition. */
vn_status vn_pipeline_keep(vn_model *m, const char *text, bool null, vn_condition *out,
                           vn_err *err);
/* The null condition, unless it is kept already. */
vn_status vn_pipeline_keep_null(vn_model *m, vn_err *err);

/* ---- joining (joined.c) ---------------------------------------------------------------------- */

/* How many numbers a token of the network's texts has. */
int64_t vn_pipeline_text_width(const vn_model *m);

#endif
