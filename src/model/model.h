/* model.h - what can be sampled from. A model is a row of vn_model_kinds and what that row opened:
 * a world, which is exact, a callback, which is a function of the user's, or a network and its
 * weights. Other rooms call the functions below, whatever the kind is. A new kind, such as a
 * pipeline of several networks, is one file and one row.
 *
 *     vn_model_open_source   by what the source is; or vn_model_of_world, vn_model_of_callback
 *     vn_model_denoise       its denoiser on a path, opened on first use and kept
 *     vn_model_close
 * */
#ifndef VN_MODEL_H
#define VN_MODEL_H

#include "base/base.h"
#include "nn/nn.h"
#include "path/path.h"
#include "sample/sample.h"
#include "sequence/sequence.h"
#include "store/store.h"

/* What a model computes with: its context's, which outlive it. */
typedef struct vn_engine {
    const vn_device *device;
    vn_thread_pool *pool;
    const vn_watch *watch;
} vn_engine;

/* What makes conditions of texts (prompts.c). */
typedef struct vn_prompter vn_prompter;
/* What a pipeline of several parts has beside them (pipeline.c). */
typedef struct vn_pipeline vn_pipeline;

/* A part of a model: a network and its weights. */
typedef struct vn_model_part {
    char *name; /* its folder, as model_index.json has it; "" for a bare one */
    vn_net *net;
    vn_values *values;
} vn_model_part;

enum { VN_MAX_PARTS = 8 };

/* How a source is to be opened. */
typedef struct vn_model_source {
    const char *path;
    int32_t null_class; /* the row of the class table that the user says is null; -1: not said */
    bool random;        /* random weights where there are none */
    const char *size;   /* of the images that are drawn, "S" or "HxW"; NULL: the model's own */
} vn_model_source;

typedef struct vn_model_row {
    vn_row row;
    /* Whether what lies at the path is of this kind. NULL: such models are made by a call of their
     * own. */
    bool (*detect)(const char *path);
    vn_status (*open)(vn_model *m, const vn_model_source *source, vn_err *err);
    /* Opens its denoiser on a path that its prediction allows. There is one at a time: it is closed
     * before the next is opened. */
    vn_status (*denoiser)(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err);
    void (*close_denoiser)(vn_model *m);
    /* How many samples a sampling run should hold; NULL: as many as the caller likes. */
    int64_t (*batch)(const vn_model *m);
    /* Sets how many samples one pass holds: what the user requested, or 0 for the row's choice.
     * NULL: a pass holds all that it is given. */
    void (*set_batch)(vn_model *m, int64_t requested);
    /* Sets what a network that takes guidance is told where guides do not say; NaN: its usual one.
     * NULL: it takes none. */
    void (*set_guidance)(vn_model *m, double guidance);
    /* n of its samples x to what is shown of them [n, m->shown]; NULL: they are shown as they are.
     */
    vn_status (*decode)(vn_model *m, int64_t n, const float *x, float *shown, vn_err *err);
    /* And what is shown to samples, of rows that decode; NULL: it is not known how. */
    vn_status (*encode)(vn_model *m, int64_t n, const float *shown, float *x, vn_err *err);
    /* J^T direction of one sample x, J the derivative of what is shown of it: direction [m->shown],
     * out of the shape of x. Of rows that decode; NULL: there is none. */
    vn_status (*decode_vjp)(vn_model *m, const float *x, const float *direction, float *out,
                            vn_err *err);
    /* The same of encoding: shown and out [m->shown], direction of the shape of a sample. */
    vn_status (*encode_vjp)(vn_model *m, const float *shown, const float *direction, float *out,
                            vn_err *err);
    /* A hash of what determines its predictions, such as the weights; false: there is none, or no
     * memory. NULL: there is never one. */
    bool (*fingerprint)(vn_model *m, uint64_t *out);
    /* Adds the condition of a text that the model does not know yet; "": the null condition. NULL:
     * it takes no texts. */
    vn_status (*prompt)(vn_model *m, const char *text, vn_condition *out, vn_err *err);
    /* Sets m->self of a new model m that shares what `of` has. NULL: it stays NULL until a denoiser
     * is opened. */
    vn_status (*share)(vn_model *m, const vn_model *of, vn_err *err);
    /* Of models of sequences, NULL of others: what says which code comes next, owned by the model;
     * and between the codes [n,tokens] of samples and what is looked at, x [n, one sample]. */
    const vn_sequence *(*sequence)(vn_model *m);
    vn_status (*from_codes)(vn_model *m, int64_t n, const int32_t *codes, float *x, vn_err *err);
    vn_status (*to_codes)(vn_model *m, int64_t n, const float *x, int32_t *codes, vn_err *err);
    void (*close)(vn_model *m); /* frees what is in self */
    bool any_path;              /* it is right on every path, with any prediction */
    /* where its files name no path, the user has to; else such a model is on the rectified path */
    bool needs_path;
    bool classifies; /* its denoiser has `classify` alone: nothing is drawn from it */
} vn_model_row;

extern const vn_table vn_model_kinds; /* of vn_model_row; found by detect, in this order */

struct vn_model {
    vn_context *vn; /* its context, kept for the public calls */
    vn_engine engine;
    const vn_model_row *row;
    void *self; /* the row's own */

    /* A model made by vn_model_share_with: the model that owns the parts and texts, which stay as
     * they are. NULL: this one owns them. */
    vn_model *shared;
    atomic_int
        holders; /* of an owner: how many models have them, itself included; the last frees */

    char *source;
    const char *kind; /* the row's name, or that of its network's class */
    vn_shape sample;  /* [C,H,W] or [D]: what is denoised */
    int64_t size;     /* numbers in it */
    vn_shape shown;   /* what a sample is decoded to; rank 0: it is shown as it is */
    int64_t tokens;   /* how many tokens a sample is to its network; 0: not known */
    int64_t steps;    /* how many steps it was trained for */

    int parts;
    vn_model_part part[VN_MAX_PARTS]; /* the first is what denoises */

    int32_t classes;
    int32_t named_count; /* classes, and the conditions that were added (conditions.c) after them */
    char **names;        /* [named_count] */
    int added_count;
    struct vn_condition_entry **added; /* [added_count] those that models share are held by each */
    bool has_null;
    int32_t null_row; /* of a network's class table; -1: none of its rows is null */
    /* classes are named by their row of the class table, which is not their label, because the null
     * row lies before some of them */
    bool named_by_row;
    int32_t asked_null; /* the row that the user called null; -1: none was named */
    bool asked_size;    /* the user said of what size its images are */

    vn_path *path; /* NULL: not known (a world, a bare network) */
    char *path_text;
    vn_prediction prediction;
    bool has_prediction; /* its prediction is known even where its path is not */
    /* how it is sampled where the user does not say: by diffusers' scheduler_config.json (name "":
     * it has none, or has a vane.json, which counts instead), and by vane.json */
    vn_scheduler scheduler;
    vn_sampling_defaults sampling;
    json_t *vane; /* its vane.json; NULL: it has none */

    vn_world *truth; /* the exact distribution of its samples, owned by the row; NULL: not known */

    /* Its denoiser, opened on first use and kept, with the programs that it has planned, until
     * another path is requested. */
    vn_path *requested;   /* the user's path, where the model has none */
    vn_denoiser denoiser; /* self NULL: not open */
    bool held;            /* a sampling that the caller drives has it, and no other call may */

    vn_prompter *prompter; /* of a model that takes texts, opened on first use */
    vn_pipeline *pipeline; /* NULL: it is none */
    int decoder;           /* the part that decodes what is denoised; 0: there is none */
    struct vn_autoencoder *autoencoder; /* that part, opened on first use */
    bool empty_text;                    /* the empty text is another condition than null */

    /* of vn_forward_arrays: NULL before the first */
    vn_runner *runner;
    float *outputs;

    /* found once and kept */
    char *fingerprint;
    char *trained_on; /* the folder of pictures that it was trained on; NULL: none, or not known */
    int64_t *drawn;   /* vn_eval_result.drawn of the latest vn_eval; NULL: none */
};

#define VN_MAX_SIDE 65536 /* of a sample's axes */
/* Numbers in a sample, so that those of a batch can be counted. */
#define VN_MAX_SAMPLE INT32_MAX

/* Opens source->path by the first row that detects it. Closed with vn_model_close. */
vn_status vn_model_open_source(vn_context *vn, const vn_engine *engine,
                               const vn_model_source *source, vn_model **out, vn_err *err);
/* A model with the parts of `of`, which they share, and a denoiser of its own, for another context:
 * the two may be used by two threads at once. It begins with the conditions of `of`; those that
 * either adds later are its own. */
vn_status vn_model_share_with(vn_context *vn, const vn_engine *engine, vn_model *of, vn_model **out,
                              vn_err *err);
vn_status vn_model_of_world(vn_context *vn, const vn_engine *engine, const json_t *world,
                            vn_model **out, vn_err *err);
/* A denoiser that is a function of the user's (vane.h). */
vn_status vn_model_of_callback(vn_context *vn, const vn_engine *engine,
                               const vn_callback_model *spec, vn_model **out, vn_err *err);

/* The model's denoiser, owned by the model. A model that has a path is on that one, and `path` is
 * NULL or the same; one that has none is on `path`. */
vn_status vn_model_denoise(vn_model *model, const char *path, const vn_denoiser **out, vn_err *err);

/* Likewise what it has to say of classes: a denoiser with `classify`, and perhaps with nothing
 * else. VN_UNSUPPORTED where it tells no classes. */
vn_status vn_model_classifier(vn_model *model, const char *path, const vn_denoiser **out,
                              vn_err *err);
/* logits [n,classes] of x [n, one sample] at a level, of a classifier's run. */
vn_status vn_model_logits(vn_model *m, int64_t n, const float *x, const vn_level *level,
                          float *logits, vn_err *err);

/* How many samples one sampling run should hold, where the user does not say. */
int64_t vn_model_batch(const vn_model *m);
/* Sets how many samples a pass of its network should hold; 0: the model chooses. */
void vn_model_set_batch(vn_model *m, int64_t batch);
/* Sets what its network is told of guidance where guides leave it to the model; NaN: the usual. */
void vn_model_set_guidance(vn_model *m, double guidance);
/* The shape of what is shown of a sample, and what n samples are shown as. */
const vn_shape *vn_model_shown(const vn_model *m);
vn_status vn_model_decode(vn_model *m, int64_t n, const float *x, float *shown, vn_err *err);
/* And back: what n samples are that are shown so; and products with the derivatives of encoding
 * and decoding one. For models with m->shown. */
vn_status vn_model_encode(vn_model *m, int64_t n, const float *shown, float *x, vn_err *err);
vn_status vn_model_encode_vjp(vn_model *m, const float *shown, const float *direction, float *out,
                              vn_err *err);
vn_status vn_model_decode_vjp(vn_model *m, const float *x, const float *direction, float *out,
                              vn_err *err);
/* diffusers' class of a pipeline; NULL: the model is none. */
const char *vn_model_pipeline(const vn_model *m);
/* Tokens of its texts; 0: not known before there is one. */
int64_t vn_model_tokens(const vn_model *m);
/* What drawing takes of a part of a pipeline. */
typedef struct vn_part_plan {
    const char *name;
    const vn_net *net;
    size_t pass;  /* bytes of its pass: of a text, a sample under guidance, or a decoded image */
    int64_t tile; /* pixels on a side of the parts that an image is decoded in; 0: it is whole */
} vn_part_plan;
vn_status vn_model_plan_part(vn_model *m, int part, vn_part_plan *out, vn_err *err);
extern const vn_table vn_pipelines; /* of rows that begin with a vn_row: the classes */
/* The network that denoises; NULL: it has none. */
const vn_net *vn_model_net(const vn_model *m);

/* The model's classes and conditions, as samplers and guides see them. */
vn_conditions vn_model_conditions(const vn_model *m);
/* Adds a condition made of arrays for the network's input ports ("class_labels" where it takes a
 * vector, "encoder_hidden_states", ...), each without a batch axis, copied. The same name with the
 * same arrays is the same condition; the one named "null" is the null condition. A denoiser that
 * was opened before knows only the conditions that there were then. */
vn_status vn_model_keep_condition(vn_model *m, const char *name, int n, const vn_array *arrays,
                                  vn_condition *out, vn_err *err);
/* Frees all of them, with their names and those of classes. */
void vn_model_drop_conditions(vn_model *m);
/* What the condition feeds to an input port; NULL: nothing. */
const vn_array *vn_model_condition_array(const void *model, vn_condition c, const char *port);

/* The condition of a text, which is kept; "" is the null one. A text that is longer than the
 * model takes is cut, which the log says. VN_UNSUPPORTED: it takes no texts; VN_BAD_ARGUMENT: no
 * UTF-8. */
vn_status vn_model_prompt(vn_model *m, const char *text, vn_condition *out, vn_err *err);

/* VN_BAD_ARGUMENT unless the label is one of the model's classes and conditions, or VN_LABEL_NULL
 * and the model has a null condition or no classes at all. */
vn_status vn_model_check_label(const vn_model *m, int32_t label, vn_err *err);
/* A text that vn_model_read_label reads as this label: a name, a number (written to `number`),
 * "null" or "all". NULL: there is none, because classes have these names. */
const char *vn_label_word(char *const *names, int32_t classes, int32_t label,
                          char number[VN_NAMES_NUMBER]);
/* The label of a text: the name or number of a class or condition, "null" or "all". */
vn_status vn_model_read_label(const vn_model *m, const char *text, int32_t *label, vn_err *err);

/* VN_NO_MEMORY, with both numbers, where weights of so many bytes are more than the machine's
 * memory (vn_memory_total). */
vn_status vn_weights_fit(size_t bytes, const char *source, vn_err *err);
/* The number types of a network's weights, "BF16" or "F32, F16"; a new string of JSON. */
json_t *vn_dtypes_json(const vn_weights *w);
/* Reads the weights of a network from the file that its directory names, in the file's number
 * types, which the network's list of weights (vn_net_weights) takes over. Where dir->weights is
 * NULL it fails and says why there are none. */
vn_status vn_model_dir_values(const vn_model_dir *dir, const char *source, const vn_engine *engine,
                              vn_net *net, vn_values **out, vn_err *err);

/* ---- networks as denoisers (net_denoiser.c) -------------------------------------------------- */

/* A network behind the denoiser's interface: its runner and the arrays of one query. */
typedef struct vn_net_denoiser {
    const vn_net_io *io;
    vn_runner *runner;
    const vn_path *path;
    vn_prediction prediction;
    vn_shape sample;
    int64_t size;
    const char *output;      /* the name of the output that is the prediction */
    const vn_model *source;  /* the model whose added conditions it knows; NULL: classes alone */
    void *fed[VN_MAX_PORTS]; /* by input port: the arrays of a batch's conditions, row by row */
    size_t fed_bytes[VN_MAX_PORTS];
    float *noise; /* on one condition */
    size_t noise_bytes;
    int32_t null_row; /* the class table's row for VN_LABEL_NULL, which labels skip; -1: none */
    double guidance;  /* what the network is told where a query does not say; NaN: the usual: */
    double usual_guidance;
    /* rows of one forward pass at most; a derivative takes fewer, as it keeps the activations */
    int64_t chunk;
    int64_t usual;    /* the chunk where the user requests no batch */
    int64_t capacity; /* rows that the arrays below hold, at most a chunk */
    float *scale;     /* [capacity] of the input */
    float *time;      /* [capacity] */
    float *end;       /* [capacity] times where steps end, of networks that take them */
    float *strength;  /* [capacity] guidance, of networks that take it */
    int32_t *labels;  /* [capacity] */
    /* of networks that take rows of patches (packing.c): x, a direction and an answer, [capacity,
     * size] each, and the ids of the patches */
    float *packed_x, *packed_direction, *packed_raw, *ids;
    int64_t patches;
} vn_net_denoiser;

/* Numbers in the samples of a batch: keeps a network's activations within a few hundred MB. */
#define VN_BATCH_FLOATS (128 * 784)

/* sample: the shape of one. values are shared with it; net, path and source outlive it. null_row:
 * the null row of the class table; -1: all its rows are classes. source: the model whose added
 * conditions it knows; NULL: none. */
vn_status vn_net_denoiser_open(vn_net_denoiser *d, const vn_engine *engine, const vn_net *net,
                               vn_values *values, const vn_path *path,
                               const vn_prediction *prediction, const vn_shape *sample,
                               int32_t null_row, const vn_model *source, vn_denoiser *out,
                               vn_err *err);
/* How many samples one forward pass should hold; 0: as many as VN_BATCH_FLOATS, or fewer where
 * their plan would take more than 1 GiB. */
void vn_net_denoiser_batch(vn_net_denoiser *d, int64_t batch);
void vn_net_denoiser_close(vn_net_denoiser *d);

/* ---- texts as conditions (prompts.c) --------------------------------------------------------- */

#define VN_PROMPT_LONGEST 8192 /* tokens of a text */

/* tokenizer: as vn_text_open takes it. Each text has `length` tokens, filled up. The encoder and
 * its values outlive it. VN_BAD_FILE: they do not fit together. Closed with vn_prompter_close. */
vn_status vn_prompter_open(const vn_engine *engine, const char *tokenizer, const vn_net *encoder,
                           vn_values *values, int64_t length, vn_prompter **out, vn_err *err);
void vn_prompter_close(vn_prompter **p); /* safe on NULL */
/* As pipelines of diffusers use their encoders: the states of tokens are this output, and the
 * encoder sees the tokens that fill a text up. */
vn_status vn_prompter_take(vn_prompter *p, const char *states, vn_err *err);
int64_t vn_prompter_length(const vn_prompter *p); /* tokens of each text */
int64_t vn_prompter_width(const vn_prompter *p);  /* numbers in a token */
/* Numbers in what stands for a text as a whole: the encoder's text_embeds or, without these, its
 * pooler_output or, without that, the mean of the text's tokens. */
int64_t vn_prompter_pooled(const vn_prompter *p);
/* What the text is to a denoiser: encoder_hidden_states [length,width], encoder_attention_mask
 * [length] and pooled_projections [pooled], the prompter's until it encodes again. *whole: how many
 * tokens the text has. */
enum { VN_PROMPT_STATES, VN_PROMPT_MASK, VN_PROMPT_POOLED, VN_PROMPT_ARRAYS };
vn_status vn_prompter_encode(vn_prompter *p, const char *text, vn_array out[VN_PROMPT_ARRAYS],
                             int64_t *whole, vn_err *err);
/* Keeps it as a condition of the model, named by the text; "" as the null one. */
vn_status vn_prompter_keep(vn_prompter *p, vn_model *m, const char *text, vn_condition *out,
                           vn_err *err);
/* ---- the texts of a training, encoded once (text_cache.c) ------------------------------------ */

typedef struct vn_text_cache vn_text_cache;

typedef struct vn_text_cache_setup {
    vn_prompter *prompter;        /* outlives the cache */
    const vn_model_part *encoder; /* the prompter's */
    const char *path;             /* of the file */
    int32_t count;                /* of texts, the empty one not counted */
    const char *(*text)(const void *from, int32_t i);
    const void *from;
    bool masked; /* nobody looks at tokens that only fill a text up: they are not kept */
    uint64_t
        most; /* bytes of the file: texts after those that fit are encoded when they are read */
    const vn_watch *watch;
} vn_text_cache_setup;

/* Opens the file, if it is whole and of these texts and this encoder, else makes it, which takes as
 * long as encoding them all; it may be stopped (VN_CANCELLED). The log says what was done. */
vn_status vn_text_cache_open(const vn_text_cache_setup *setup, vn_text_cache **out, vn_err *err);
void vn_text_cache_close(vn_text_cache **c); /* safe on NULL */
/* What vn_prompter_encode makes of text i, -1: of the empty one, into states [length,width], mask
 * [length] and pooled; NULL: not wanted. Where `masked`, states of tokens that fill up are 0. One
 * thread at a time. */
vn_status vn_text_cache_read(vn_text_cache *c, int32_t i, float *states, int32_t *mask,
                             float *pooled, vn_err *err);

/* The texts that a model is sampled with where none are given: captions of its data. */
int vn_model_examples(const vn_model *m);
const char *vn_model_example(const vn_model *m, int i);
/* What vane.json says of texts ("text"): a new object; NULL: out of memory. */
json_t *vn_model_text_json(const char *tokenizer, int64_t length, int examples,
                           const char *const *example);

/* A model without a path of its own, whose conditions are of a denoiser's and a text encoder's
 * ports: for who draws with weights that are still trained. The network is the caller's, and taken
 * back (parts = 0) before the model is closed. */
vn_status vn_model_of_ports(vn_context *vn, const vn_engine *engine, vn_net *denoiser,
                            vn_model **out, vn_err *err);
/* The same of a sequence model. All that it is made of outlives it; closed with
 * vn_model_of_sequence_close, which is safe on NULL. */
typedef struct vn_sequence_parts {
    vn_net *net; /* that says which code comes next */
    vn_values *values;
    vn_net *codes; /* the autoencoder whose codes they are */
    vn_values *codes_values;
    int64_t rows, columns; /* of codes in a picture */
    vn_shape sample;       /* a picture [C,H,W] */
    int32_t classes;
    const char *const *names; /* [classes] */
    const char *tokenizer;    /* of texts, as vn_text_open takes it; NULL: it has classes */
    int64_t length;           /* tokens of each text */
} vn_sequence_parts;
vn_status vn_model_of_sequence(vn_context *vn, const vn_engine *engine, const vn_sequence_parts *p,
                               vn_model **out, vn_err *err);
void vn_model_of_sequence_close(vn_model **m);
/* Forgets the conditions, whose numbers are given anew. */
void vn_model_forget_conditions(vn_model *m);

/* ---- callbacks (callback.c) ------------------------------------------------------------------ */

/* The error where a function of the user's, `who`, did not return VN_OK. Returns its status, or
 * VN_BAD_ARGUMENT where that is none. */
vn_status vn_call_failed(const char *who, vn_status status, vn_err *err);

/* ---- two models as one (pair.c) -------------------------------------------------------------- */

/* A denoiser whose weak network is another model's main one. */
typedef struct vn_pair_denoiser {
    const vn_denoiser *main, *weak;
} vn_pair_denoiser;

/* VN_BAD_ARGUMENT unless both models are of the same shape, classes, path and prediction. All
 * outlive *out. */
vn_status vn_pair_open(vn_pair_denoiser *d, const vn_model *main, const vn_denoiser *of_main,
                       const vn_model *weak, const vn_denoiser *of_weak, vn_denoiser *out,
                       vn_err *err);

/* ---- a model and a classifier as one (classified.c) ------------------------------------------ */

typedef struct vn_classified_denoiser {
    vn_denoiser main;
    const vn_denoiser *classifier;
    bool unconditional; /* main knows no classes */
    int64_t capacity;
    vn_condition *null; /* [capacity] VN_CONDITION_NULL */
} vn_classified_denoiser;

/* VN_BAD_ARGUMENT names what keeps the classifier from telling the classes of the model's samples,
 * with the values of both. The classifier and the models outlive *out; main is copied. Close with
 * vn_classified_close, also after a failure. */
vn_status vn_classified_open(vn_classified_denoiser *d, const vn_denoiser *main,
                             const vn_model *of_main, const vn_denoiser *classifier,
                             const vn_model *of_classifier, vn_denoiser *out, vn_err *err);
void vn_classified_close(vn_classified_denoiser *d); /* safe on a zeroed one */

/* ---- autoencoders (autoencoder.c, tiles.c) --------------------------------------------------- */

typedef struct vn_autoencoder vn_autoencoder;

/* path: a folder of one, or a pipeline that has one, in vae/ or vqvae/. Closed with
 * vn_autoencoder_free. */
vn_status vn_autoencoder_open_source(vn_context *vn, const vn_engine *engine, const char *path,
                                     vn_autoencoder **out, vn_err *err);
/* On a network and its values that outlive it; source: for messages. */
vn_status vn_autoencoder_on(vn_context *vn, const vn_engine *engine, const char *source,
                            vn_net *net, vn_values *values, vn_autoencoder **out, vn_err *err);
void vn_autoencoder_free(vn_autoencoder **a);
const vn_net *vn_autoencoder_net(const vn_autoencoder *a);
vn_context *vn_autoencoder_context(const vn_autoencoder *a);

/* The folder of its config and weights. */
const char *vn_autoencoder_folder(const vn_autoencoder *a);
/* Adds its config and weights to a hash (fingerprint.c); false: out of memory. */
bool vn_autoencoder_hash(const vn_autoencoder *a, uint64_t *hash);

/* How it is run. */
typedef struct vn_coding {
    int64_t tile; /* pixels on a side of a part; 0: parts only if memory asks for them, -1: none */
    bool scaled;  /* latents are as a diffusion model sees them */
    bool draw;    /* latents are drawn, sample i by (seed, first + i), not their mean */
    uint64_t seed, first;
} vn_coding;

enum { VN_ENCODED = 4 }; /* kinds of outputs, of which no more can be asked for */

/* Images [n,C,H,W] to outputs of these names: "latents", "codes" (I32), "mean", "logvar". Arrays
 * are the autoencoder's, until its next call. */
vn_status vn_autoencoder_encode_arrays(vn_autoencoder *a, const vn_coding *how,
                                       const vn_array *images, size_t n_out, vn_array *out,
                                       vn_err *err);
/* What decoding latents [1,c,rows,columns] takes, and the parts that it is done in (0: whole). */
vn_status vn_autoencoder_plan(vn_autoencoder *a, int64_t rows, int64_t columns, size_t *bytes,
                              int64_t *tile, vn_err *err);
/* "latents" [n,c,h,w] or "codes" [n,h,w] to images. */
vn_status vn_autoencoder_decode_array(vn_autoencoder *a, const vn_coding *how, const vn_array *in,
                                      vn_array *out, vn_err *err);

/* Whether what vane.json has of a run's latents is so of its autoencoder. */
vn_status vn_latents_check(const json_t *latents, const vn_net *autoencoder, const char *source,
                           vn_err *err);

/* out = J^T direction of one sample: J the derivative of decoding "latents" [1,c,h,w], scaled as
 * `how` says; direction of the shape of what is decoded. VN_UNSUPPORTED: latents are rounded to
 * codes, so that there is none. */
vn_status vn_autoencoder_decode_vjp(vn_autoencoder *a, const vn_coding *how, const vn_array *in,
                                    const float *direction, float *out, vn_err *err);

/* The same of encoding a picture "sample" [1,C,H,W], to the mean of its latents where they are a
 * distribution; direction [c,h,w], out [C,H,W]. */
vn_status vn_autoencoder_encode_vjp(vn_autoencoder *a, const vn_coding *how, const vn_array *in,
                                    const float *direction, float *out, vn_err *err);

/* ---- the pictures of a training, encoded once (latent_cache.c) ------------------------------- */

typedef struct vn_latent_cache vn_latent_cache;

typedef struct vn_latent_cache_setup {
    vn_autoencoder *autoencoder; /* outlives the cache */
    const char *path;            /* of the file */
    vn_shape picture;            /* [C,H,W] */
    int64_t count;
    bool flips;           /* their mirror images are read too */
    uint64_t fingerprint; /* of the data: a file of other data is not read */
    /* Picture i [H,W,C]. */
    vn_status (*read)(void *from, int64_t i, float *x, vn_err *err);
    void *from;
    uint64_t
        most; /* bytes of the file: pictures after those that fit are encoded when they are read */
    const vn_watch *watch;
} vn_latent_cache_setup;

/* Opens the file, if it is whole and of these pictures and this autoencoder, else makes it, which
 * takes as long as encoding them all; it may be stopped (VN_CANCELLED). The log says what was
 * done. */
vn_status vn_latent_cache_open(const vn_latent_cache_setup *setup, vn_latent_cache **out,
                               vn_err *err);
void vn_latent_cache_close(vn_latent_cache **c); /* safe on NULL */

/* By what latents that are a distribution are drawn (VN_STREAM_LATENT). */
typedef struct vn_draw {
    uint64_t seed, index, step;
} vn_draw;
/* The latents of picture i, or of its mirror image, as a diffusion model sees them: [h,w,c]. One
 * thread at a time. */
vn_status vn_latent_cache_read(vn_latent_cache *c, int64_t i, bool mirrored, const vn_draw *draw,
                               float *x, vn_err *err);

#endif
