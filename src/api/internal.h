/* internal.h - what the files of api share: the context, the model and the samples behind the
 * public handles, and how a room's result becomes the context's error text. */
#ifndef VN_API_INTERNAL_H
#define VN_API_INTERNAL_H

#include "api/sampling.h"
#include "api/structs.h"
#include "base/base.h"
#include "cpu/cpu.h"
#include "image/image.h"
#include "nn/nn.h"
#include "path/path.h"
#include "sample/sample.h"
#include "store/store.h"

struct vn_context {
    vn_device device; /* that networks run on */
    vn_thread_pool *pool;
    vn_err err;
    /* set by vn_context_cancel from any thread or signal handler; vn_end clears it */
    atomic_int cancel;
    vn_watch watch;
};

/* Begins a public call: clears the error. A cancel that came before it is for this call. */
vn_err *vn_begin(vn_context *vn);
/* Ends a public call that looks at cancel, which was for it even if it came too late; returns
 * status. Others leave a cancel to the next that does look. */
vn_status vn_end(vn_context *vn, vn_status status);

/* ---- networks as denoisers (denoiser.c) ------------------------------------------------------ */

/* A network behind the denoiser's interface: its runner and the arrays of one query. */
typedef struct vn_net_denoiser {
    const vn_net *net;
    vn_runner *runner;
    const vn_path *path;
    vn_prediction prediction;
    int64_t size, height, width;
    int32_t null_row; /* of the class table, for VN_LABEL_NULL; labels count the others; -1: none */
    /* most rows of one forward pass; a gradient takes a part of it, for what it remembers */
    int64_t chunk;
    int64_t capacity; /* rows the arrays hold, at most a chunk */
    float *input;     /* [capacity,size] */
    float *time;      /* [capacity] */
    int32_t *labels;  /* [capacity] */
} vn_net_denoiser;

/* shape: one sample's. values, net and path outlive it. null_row: of the class table; -1: all its
 * rows are classes. */
vn_status vn_net_denoiser_open(vn_net_denoiser *d, vn_context *vn, const vn_net *net,
                               const float *values, const vn_path *path,
                               const vn_prediction *prediction, const vn_shape *sample,
                               int32_t null_row, vn_denoiser *out, vn_err *err);
/* How many samples one forward pass should hold; 0: chosen. */
void vn_net_denoiser_batch(vn_net_denoiser *d, int64_t batch);
void vn_net_denoiser_close(vn_net_denoiser *d);

/* ---- callbacks as denoisers (callback.c) ----------------------------------------------------- */

typedef struct vn_callback {
    const char *name;
    int64_t size;
    bool has_weak, has_vjp;
    vn_status (*predict)(void *user, const vn_predict_query *query, float *out);
    void *user;
    int64_t capacity; /* rows the arrays hold */
    double *t, *alpha, *sigma;
} vn_callback;

void vn_callback_denoiser(vn_callback *c, const vn_model *m, const vn_path *path, vn_denoiser *out);
void vn_callback_close(vn_callback *c);
/* The words for a function of the user's that returned something else than VN_OK. */
vn_status vn_call_failed(const char *who, vn_status status, vn_err *err);
/* The first of n rows with a number that is not finite; -1: none. */
int64_t vn_row_not_finite(int64_t n, int64_t size, const float *x);

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

/* ---- models (model.c) ------------------------------------------------------------------------ */

struct vn_model {
    vn_context *vn;
    char *source;
    const char *kind;
    char **names; /* [classes] */
    int32_t classes;
    bool has_null;
    int32_t null_row; /* of a network's class table; -1: none of its rows is null */
    /* labels are not the numbers that classes are named by, as null lies between them */
    bool named_by_row;
    int32_t asked_null; /* which the user called null; -1: none was named */
    vn_shape sample;    /* [C,H,W] or [D] */
    int64_t size;       /* numbers in it */
    int64_t steps;      /* training steps behind it */
    int64_t tokens;     /* that a sample is to a network; else 0 */
    int64_t *drawn;     /* vn_eval_result.drawn of the latest vn_eval; NULL: none */
    char *fingerprint;  /* once it was asked for */
    char *trained_on;   /* the folder of pictures, where it is still there; NULL: none */
    vn_sampling sampling;

    vn_path *path; /* NULL: not known (a world, a bare network) */
    char *path_text;
    vn_prediction prediction;
    bool says; /* its prediction is known though its path is not */
    /* how diffusers' config says that it is sampled; name "": it has none, or vane.json says
     * more */
    vn_scheduler scheduler;

    vn_world *world;      /* one of these three: */
    vn_callback callback; /* predict NULL: is none */
    vn_net *net;
    float *values;

    /* What it is sampled with: opened on first use and kept, with all that it has planned, until
     * another path is named. */
    vn_path *chosen; /* by the user, where the model has no path */
    vn_net_denoiser net_denoiser;
    vn_denoiser denoiser; /* self NULL: not open */
};

/* Which files a folder of pictures had, and what has become of them since: vn_data_save_list. */
#define VN_RUN_FILES "state/files"

/* In an array of a query's or batch's samples: keeps a network's activations within a few hundred
 * MB. */
#define VN_BATCH_FLOATS (128 * 784)

#define VN_LARGEST_SIDE 65536
/* Numbers in one, so that those of many can be counted. */
#define VN_LARGEST_SAMPLE INT32_MAX

/* An empty model, to be closed with vn_model_close. */
vn_status vn_model_new(vn_context *vn, const char *source, vn_model **out, vn_err *err);
/* names[i] = name(from, i), or its number where that is NULL. */
vn_status vn_model_copy_names(vn_model *m, int32_t classes,
                              const char *(*name)(const void *from, int32_t i), const void *from,
                              vn_err *err);
/* VN_NO_MEMORY, with both numbers, when so many arrays of a network's weights are more than there
 * is (vn_memory_total). */
vn_status vn_weights_fit(const vn_net *net, int arrays, const char *source, vn_err *err);
/* vn_model_open_with within another call; null_class: -1: none. */
vn_status vn_model_load(vn_context *vn, const char *source, int64_t null_class, vn_model **out,
                        vn_err *err);
vn_model_info vn_model_describe(const vn_model *m); /* strings are owned by the model */
/* A network as vn_model_open opens it, but with random weights where the directory, or config.json,
 * has none. */
vn_status vn_model_open_random(vn_context *vn, const char *source, vn_model **out, vn_err *err);
/* The model's denoiser, on its own path or on `path` where that may be chosen. Owned by the
 * model. */
vn_status vn_model_denoise(vn_model *model, const char *path, const vn_denoiser **out, vn_err *err);

/* ---- descriptions (describe_run.c) ----------------------------------------------------------- */

/* The word as a shell takes it for one: new string or NULL. */
char *vn_shell_word(const char *word);
/* Adds `sampling` and, of a run, `trained`; vane is its vane.json or NULL. */
vn_status vn_describe_run(const vn_model *m, const json_t *vane, json_t *out, vn_err *err);
/* Data that could be trained on (describe_data.c); NULL: err says why not. */
json_t *vn_describe_data(vn_context *vn, const char *path, vn_err *err);
/* Of tensors named as samples are: how many there are, and of which classes. */
vn_status vn_describe_samples(const vn_safetensors *st, json_t *out, vn_err *err);

/* ---- classes (classes.c) --------------------------------------------------------------------- */

/* The classes of a network that is being opened; null_class: the row that the user calls null, or
 * -1. */
vn_status vn_model_read_classes(vn_model *m, const vn_model_dir *dir, int32_t null_class,
                                vn_err *err);
/* What vn_model_find_label takes for the label: NULL where the names of classes leave nothing. */
const char *vn_label_word(char *const *names, int32_t classes, int32_t label,
                          char number[VN_NAMES_NUMBER]);
/* VN_BAD_ARGUMENT unless the label is one of the model's classes, or VN_LABEL_NULL where that means
 * something. */
vn_status vn_model_check_label(const vn_model *m, int32_t label, vn_err *err);

/* ---- which model it is (fingerprint.c) ------------------------------------------------------- */

/* Of a world's JSON, which is gone later; does nothing without memory. */
void vn_model_set_fingerprint(vn_model *m, const json_t *world);

/* ---- a step of a network (step.c) ------------------------------------------------------------ */

typedef struct vn_net_step {
    vn_graph *graph;
    vn_net_inputs in;
    vn_node *output, *target; /* target: input, of the output's shape; NULL without train */
    vn_node *result;          /* the mean squared error; without train the output */
    vn_gradients by;
} vn_net_step;

/* size: height and width; NULL: the config's. Closed with vn_net_step_close, after a failure
 * too. */
vn_status vn_net_step_open(vn_net_step *s, const vn_net *net, int64_t batch, const int64_t *size,
                           bool train, vn_recompute recompute, vn_err *err);
/* s stays where it is */
vn_program_options vn_net_step_options(const vn_net_step *s, const vn_context *vn);
void vn_net_step_close(vn_net_step *s);

/* ---- timing (bench.c) ------------------------------------------------------------------------ */

/* vn_bench within another call. */
vn_status vn_bench_network(vn_context *vn, const char *dir, const vn_bench_options *o,
                           vn_bench_result *r, vn_err *err);
/* Sorts seconds [n]. */
void vn_least_and_median(double *seconds, int64_t n, double *least, double *median);

/* ---- samples (samples.c, save.c) ------------------------------------------------------------- */

/* Samples that one call drew. */
typedef struct vn_samples_band {
    int64_t first, count; /* samples [first, first + count) */
    uint64_t index;       /* the first one's noise: vn_sample_options.first */
    double guidance;
    bool alone;       /* each can be drawn again without the others */
    json_t *settings; /* object of strings, in the order they are shown; shared, never changed */
} vn_samples_band;

struct vn_samples {
    vn_context *vn;
    int64_t count;
    vn_shape sample;  /* [C,H,W] or [D] */
    int64_t size;     /* numbers in it */
    float *data;      /* [count,size] */
    int32_t *labels;  /* [count] */
    double *guidance; /* [count] */
    int64_t passes;
    float *trace;    /* [levels,count,size]; NULL: not kept */
    double *trace_t; /* [levels] */
    int64_t levels;
    char **names; /* [classes] */
    int32_t classes;
    int scale;        /* of pictures; 0: chosen */
    char *trained_on; /* vn_model.trained_on */
    vn_world *world;  /* that they were drawn from, for pictures; NULL: none */
    json_t *settings; /* of all: object of strings, in the order they are shown */
    vn_samples_band *bands;
    size_t band_count;
};

/* Adds count, bands and settings of `more`; what is drawn is the caller's to add. VN_BAD_ARGUMENT
 * where they cannot be joined. */
vn_status vn_samples_join(vn_samples *s, const vn_samples *more, vn_err *err);

/* ---- what a path is (what.c) ----------------------------------------------------------------- */

bool vn_is_model_dir(const char *path);
/* Refuses what is plainly something else than a model, and says what it is. */
vn_status vn_refuse_source(const char *path, vn_err *err);
/* The names of the models' folders in a folder, sorted; *out NULL: there are none. */
vn_status vn_runs_in(const char *path, json_t **out, vn_err *err);
/* Adds them to an error. */
vn_status vn_tell_runs(const char *path, vn_err *err);

/* ---- drawing (sample.c) ---------------------------------------------------------------------- */

/* The user's reward, as guides ask for it. */
typedef struct vn_user_reward {
    const vn_sample_options *o;
    int64_t size;
} vn_user_reward;

/* The options of one call, checked, and all that draws by them. Stays where it is opened: its parts
 * point to each other. */
typedef struct vn_drawing {
    vn_model *m;
    vn_sample_options o; /* what was left open is the model's by now */
    /* its text, where the model's scheduler has a part in it; NULL: the user's */
    char *guide;
    vn_first_noise begin;
    int64_t count; /* samples in all */
    int64_t batch; /* samples of one sampling run */
    bool selects;  /* a guide selects among the samples: all are drawn at once */
    int64_t levels;
    int64_t passes;        /* a sample, so far */
    vn_safetensors *noise; /* options.noise_file; NULL: none */
    vn_array noise_rows;   /* of it */
    float *scratch;        /* [batch,size] of them */
    vn_user_reward user_reward;
    vn_reward reward;
    vn_denoiser denoiser;
    vn_pair_denoiser pair;
    vn_trajectory *trajectory;
} vn_drawing;

/* Where samples go. */
typedef struct vn_rows {
    float *data;     /* [n,size] */
    int32_t *labels; /* [n] */
    float *trace;    /* [levels,n,size] with options.trace, else NULL */
} vn_rows;

/* How far sampling has come, over several drawings. */
typedef struct vn_draw_progress {
    const vn_watch *watch;
    int64_t done, total; /* samples */
    double began;        /* 0: not yet */
    /* of the batch that is drawn */
    int64_t n;
} vn_draw_progress;

/* What o points to outlives it. To be closed even when it fails. */
vn_status vn_drawing_open(vn_drawing *d, vn_model *m, const vn_sample_options *o, vn_err *err);
void vn_drawing_close(vn_drawing *d);
/* Everything about the samples but the samples: all members but data, labels, guidance, trace and
 * passes. */
vn_status vn_drawing_describe(const vn_drawing *d, vn_samples *s, vn_err *err);
int32_t vn_drawing_label(const vn_drawing *d, int64_t i);
/* Draws samples [first, first + n), whose bits do not depend on how all are divided into such
 * calls. */
vn_status vn_drawing_rows(vn_drawing *d, int64_t first, int64_t n, const vn_rows *out,
                          vn_draw_progress *progress, vn_err *err);

/* Refuses a path, of a file or a folder, that lies in a model's folder, but for a run's previews;
 * instead: what to do, for the message (save_place.c). */
vn_status vn_check_no_model(const char *path, const char *instead, vn_err *err);

/* ---- folders that samples go into (save_claim.c) --------------------------------------------- */

/* A folder that no other process writes samples into as long as it is held. Of a path that stands
 * for a file nothing is held. Zero-initialise to open. */
typedef struct vn_claim {
    bool held;
    int lock;   /* a descriptor, where it is held */
    char *made; /* the path, where the folder was made; and how much of it was there before */
    size_t there;
} vn_claim;
/* Holds the folder if it exists: before it is looked at. VN_IO: another process does. */
vn_status vn_claim_hold(vn_claim *c, const char *path, vn_err *err);
/* Makes and holds the folder that did not exist: when nothing else can be refused. */
vn_status vn_claim_make(vn_claim *c, const char *path, vn_err *err);
/* A folder that was made is removed again if it is empty. */
void vn_claim_leave(vn_claim *c);

/* ---- saving (save.c and save_*.c) ------------------------------------------------------------ */

/* Something that samples are written to, piece by piece. */
typedef struct vn_saver vn_saver;

/* Whether the path's ending stands for something that takes all samples in one put, as a picture
 * does. */
bool vn_saver_whole(const char *path);
/* Whether it stands for a folder. */
bool vn_saver_is_folder(const char *path);
/* Whether the trace of such samples is part of what is saved there. */
bool vn_saver_traces(const char *path, const vn_shape *sample);
/* Whether what was put is kept when the rest does not come: then there is no reason to hold it
 * back. */
bool vn_saver_keeps(const vn_saver *s);
/* The index that samples appended to the folder would begin with: 0 where there are none. */
vn_status vn_saver_next(const char *path, uint64_t *next, vn_err *err);
/* VN_BAD_ARGUMENT for what is no vn_existing, or makes no sense for such a path. */
vn_status vn_saver_check_existing(const char *path, vn_existing existing, vn_err *err);
/* Refuses all that could be known to fail later. `of` says what the samples are, before there are
 * any (vn_drawing_describe); its labels must be known to a picture. of and path outlive the
 * saver. */
vn_status vn_saver_open(const vn_samples *of, const char *path, vn_existing existing,
                        vn_saver **out, vn_err *err);
/* Samples [first, first + n) of `of`; in the order of samples, and never across two bands except
 * where all come at once. */
vn_status vn_saver_put(vn_saver *s, int64_t first, int64_t n, const vn_rows *rows, vn_err *err);
vn_status vn_saver_commit(vn_saver **s, vn_err *err); /* closes, whatever comes of it */
/* Closes; a file is not there then. Returns how many samples are kept. Safe on NULL. */
int64_t vn_saver_abandon(vn_saver **s);

#endif
