/* model.h - what can be sampled from: parts, and the row that knows how they make a denoiser.
 *
 * A model is a row of vn_model_kinds and what it opened: a world is exact, a callback asks the
 * user, a network has weights. Whoever draws, measures or describes asks the model and never its
 * kind. A new kind (a pipeline of several networks) is one file and one row.
 *
 *     vn_model_open_source   by what the source is; or vn_model_of_world, vn_model_of_callback
 *     vn_model_denoise       its denoiser on a path, opened on first use and kept
 *     vn_model_close
 */
#ifndef VN_MODEL_H
#define VN_MODEL_H

#include "base/base.h"
#include "nn/nn.h"
#include "path/path.h"
#include "sample/sample.h"
#include "store/store.h"

/* What a model works with: its context's, which outlive it. */
typedef struct vn_engine {
    const vn_device *device;
    vn_thread_pool *pool;
    const vn_watch *watch;
} vn_engine;

/* A network of a model and its weights. */
typedef struct vn_model_part {
    char *name; /* its folder, as model_index.json has it; "" for a bare one */
    vn_net *net;
    vn_values *values;
} vn_model_part;

enum { VN_MAX_PARTS = 8 };

/* How a source is to be opened. */
typedef struct vn_model_source {
    const char *path;
    int32_t
        null_class; /* the row of the class table that is null, as the user says; -1: not said */
    bool random;    /* random weights where there are none */
} vn_model_source;

typedef struct vn_model_row {
    vn_row row;
    /* Whether a path is one of these; NULL: it is made by a call of its own. */
    bool (*detect)(const char *path);
    vn_status (*open)(vn_model *m, const vn_model_source *source, vn_err *err);
    /* On a path that its prediction allows. Once at a time; closed before the next. */
    vn_status (*denoiser)(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err);
    void (*close_denoiser)(vn_model *m);
    /* Samples that a sampling run should hold, and how many of them one pass does; NULL: many, and
     * passes hold what they are given. requested: the user's, or 0. */
    int64_t (*batch)(const vn_model *m);
    void (*set_batch)(vn_model *m, int64_t requested);
    /* A number made of what answers; false: there is none, or no memory. NULL: never. */
    bool (*fingerprint)(vn_model *m, uint64_t *out);
    /* Sets m->self of a model that shares what `of` has; NULL: it begins as NULL. */
    vn_status (*share)(vn_model *m, const vn_model *of, vn_err *err);
    void (*close)(vn_model *m); /* what is in self */
    bool any_path;              /* it is right on every path, whose own prediction it takes */
    bool needs_path; /* where its files say no path the user must; others take the rectified one */
} vn_model_row;

extern const vn_table vn_model_kinds; /* of vn_model_row; found by detect, in this order */

struct vn_model {
    vn_context *vn; /* of the calls that made it; nothing here looks into it */
    vn_engine engine;
    const vn_model_row *row;
    void *self; /* the row's own */

    /* The model whose parts, names and texts these are, which does not change once it is open, and
     * how many models have them, itself included. It lasts until the last of them is closed. */
    vn_model *shared; /* NULL: this one */
    atomic_int holders;

    char *source;
    const char *kind; /* the row's name, or that of its network's class */
    vn_shape sample;  /* [C,H,W] or [D] */
    int64_t size;     /* numbers in it */
    int64_t tokens;   /* that a sample is to a network; else 0 */
    int64_t steps;    /* training steps behind it */

    int parts;
    vn_model_part part[VN_MAX_PARTS]; /* the first is what denoises */

    int32_t classes;
    /* classes, then the conditions that were added (conditions.c) */
    int32_t named_count;
    char **names; /* [named_count] */
    int added_count;
    struct vn_condition_entry *added; /* [added_count] */
    bool has_null;
    int32_t null_row; /* of a network's class table; -1: none of its rows is null */
    /* labels are not the numbers that classes are named by, as null lies between them */
    bool named_by_row;
    int32_t asked_null; /* which the user called null; -1: none was named */

    vn_path *path; /* NULL: not known (a world, a bare network) */
    char *path_text;
    vn_prediction prediction;
    bool says; /* its prediction is known though its path is not */
    /* how it is sampled where nobody says: by diffusers' config (name "": it has none, or vane.json
     * says more), and by vane.json */
    vn_scheduler scheduler;
    vn_sampling_defaults sampling;
    json_t *vane; /* its vane.json; NULL: it has none */

    vn_world *truth; /* the exact distribution of its samples; NULL: not known. The row's */

    /* Opened on first use and kept, with all that it has planned, until another path is named. */
    vn_path *requested;   /* by the user, where the model has no path */
    vn_denoiser denoiser; /* self NULL: not open */
    bool held;            /* by a sampling that goes on after its call: nobody else may have it */

    /* of vn_forward_arrays: NULL before the first */
    vn_runner *runner;
    float *outputs;

    /* kept for those who ask */
    char *fingerprint;
    char *trained_on; /* the folder of pictures that it was trained on; NULL: none, or not known */
    int64_t *drawn;   /* vn_eval_result.drawn of the latest vn_eval; NULL: none */
};

#define VN_LARGEST_SIDE 65536 /* of a sample's axes */
/* Numbers in one, so that those of many can be counted. */
#define VN_LARGEST_SAMPLE INT32_MAX

/* Opens what source->path is. Closed with vn_model_close. */
vn_status vn_model_open_source(vn_context *vn, const vn_engine *engine,
                               const vn_model_source *source, vn_model **out, vn_err *err);
/* A model that answers as `of` does and shares its parts, with a denoiser of its own, for another
 * context: the two may be used at once, by two threads. */
vn_status vn_model_share_with(vn_context *vn, const vn_engine *engine, vn_model *of, vn_model **out,
                              vn_err *err);
vn_status vn_model_of_world(vn_context *vn, const vn_engine *engine, const json_t *world,
                            vn_model **out, vn_err *err);
/* The callback is the user's, in vane.h's terms. */
vn_status vn_model_of_callback(vn_context *vn, const vn_engine *engine,
                               const vn_callback_model *spec, vn_model **out, vn_err *err);

/* The model's denoiser, on its own path, which `path` may only confirm, or on `path` where it has
 * none of its own. Owned by the model. */
vn_status vn_model_denoise(vn_model *model, const char *path, const vn_denoiser **out, vn_err *err);

/* Samples that one sampling run should hold, where nobody says. */
int64_t vn_model_batch(const vn_model *m);
/* How many samples a pass of its network should hold; 0: as it likes. */
void vn_model_set_batch(vn_model *m, int64_t batch);
/* The network that denoises; NULL: it has none. */
const vn_net *vn_model_net(const vn_model *m);

/* The conditions there are now, as samplers and guides see them. */
vn_conditions vn_model_conditions(const vn_model *m);
/* Adds a condition made of arrays for the network's input ports ("class_labels" where it takes a
 * vector, "encoder_hidden_states", ...), each without a batch axis, copied. The same name with the
 * same arrays is the same condition; "null" says what none means. Denoisers opened before know only
 * the conditions there were. */
vn_status vn_model_keep_condition(vn_model *m, const char *name, int n, const vn_array *arrays,
                                  vn_condition *out, vn_err *err);
/* Frees all of them, with their names and those of classes. */
void vn_model_drop_conditions(vn_model *m);
/* What the condition feeds to an input port; NULL: nothing. */
const vn_array *vn_model_condition_array(const void *model, vn_condition c, const char *port);

/* VN_BAD_ARGUMENT unless the label is one of the model's classes and conditions, or VN_LABEL_NULL
 * where that means something. */
vn_status vn_model_check_label(const vn_model *m, int32_t label, vn_err *err);
/* What vn_model_read_label takes for the label: NULL where the names of classes leave nothing. */
const char *vn_label_word(char *const *names, int32_t classes, int32_t label,
                          char number[VN_NAMES_NUMBER]);
/* The label that a person's text means: a name, a number, "null" or "all". */
vn_status vn_model_read_label(const vn_model *m, const char *text, int32_t *label, vn_err *err);

/* VN_NO_MEMORY, with both numbers, when so many bytes of weights are more than there is
 * (vn_memory_total). */
vn_status vn_weights_fit(size_t bytes, const char *source, vn_err *err);
/* The number types of a network's weights, "BF16" or "F32, F16"; a new string of JSON. */
json_t *vn_dtypes_json(const vn_weights *w);
/* A network's weights, of the file that its directory names, in the file's number types, which the
 * network's list is told. dir->weights NULL: fails, saying why there is none. */
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
    const char *answer;      /* the output that is the prediction */
    const vn_model *source;  /* whose conditions' arrays are fed; NULL: classes alone */
    void *fed[VN_MAX_PORTS]; /* rows of them, by input port */
    size_t fed_bytes[VN_MAX_PORTS];
    int32_t null_row; /* of the class table, for VN_LABEL_NULL; labels count the others; -1: none */
    /* most rows of one forward pass; a gradient takes a part of it, as it keeps the activations */
    int64_t chunk, usual; /* usual: where nobody asks for a batch */
    int64_t capacity;     /* rows the arrays hold, at most a chunk */
    float *scale;         /* [capacity] of the input */
    float *time;          /* [capacity] */
    int32_t *labels;      /* [capacity] */
} vn_net_denoiser;

/* In an array of a query's or batch's samples: keeps a network's activations within a few hundred
 * MB. */
#define VN_BATCH_FLOATS (128 * 784)

/* sample: the shape of one. values are shared with it; net and path outlive it. null_row: of the
 * class table; -1: all its rows are classes. source: whose added conditions it knows; NULL:
 * none. */
vn_status vn_net_denoiser_open(vn_net_denoiser *d, const vn_engine *engine, const vn_net *net,
                               vn_values *values, const vn_path *path,
                               const vn_prediction *prediction, const vn_shape *sample,
                               int32_t null_row, const vn_model *source, vn_denoiser *out,
                               vn_err *err);
/* How many samples one forward pass should hold; 0: as many as VN_BATCH_FLOATS, or fewer where
 * their plan would take more than 1 GiB. */
void vn_net_denoiser_batch(vn_net_denoiser *d, int64_t batch);
void vn_net_denoiser_close(vn_net_denoiser *d);

/* ---- callbacks (callback.c) ------------------------------------------------------------------ */

/* The words for a function of the user's that returned something else than VN_OK. */
vn_status vn_call_failed(const char *who, vn_status status, vn_err *err);

/* ---- two models as one (pair.c) -------------------------------------------------------------- */

/* A denoiser whose weak network is another model's main one. */
typedef struct vn_pair_denoiser {
    const vn_denoiser *main, *weak;
} vn_pair_denoiser;

/* VN_BAD_ARGUMENT names what keeps `weak` from being a lesser model of the same thing. All outlive
 * *out. */
vn_status vn_pair_open(vn_pair_denoiser *d, const vn_model *main, const vn_denoiser *of_main,
                       const vn_model *weak, const vn_denoiser *of_weak, vn_denoiser *out,
                       vn_err *err);

#endif
