/* internal.h - what the files of api share: the context, the model and the samples behind the
 * public handles, and how a room's result becomes the context's error text. */
#ifndef VN_API_INTERNAL_H
#define VN_API_INTERNAL_H

#include "api/options.h"
#include "base/base.h"
#include "cpu/cpu.h"
#include "image/image.h"
#include "metric/metric.h"
#include "model/model.h"
#include "nn/nn.h"
#include "path/path.h"
#include "ranks/ranks.h"
#include "restore/restore.h"
#include "sample/sample.h"
#include "store/store.h"

struct vn_context {
    vn_device device; /* that networks run on */
    vn_thread_pool *pool;
    vn_err err;
    /* set by vn_context_cancel from any thread or signal handler; vn_end clears it */
    atomic_int cancel;
    vn_watch watch;
    vn_ranks *ranks;      /* of those that train together; NULL: this process is alone */
    vn_measured measured; /* by the latest vn_eval or vn_eval_samples */
    char *measured_by;    /* the name of the features; NULL: none */
    vn_arena swept;       /* what the latest vn_sweep told */
};

/* Refuses a text that chooses no row of the kind ("samplers", ...), as far as that can be said
 * without a model (tables.c). */
vn_status vn_kind_check(const char *kind, const char *text, vn_err *err);

/* Begins a public call: clears the error. A cancel that came before it is for this call. */
vn_err *vn_begin(vn_context *vn);
/* Ends a public call that looks at cancel, which was for it even if it came too late; returns
 * status. Others leave a cancel to the next that does look. */
vn_status vn_end(vn_context *vn, vn_status status);
/* Ends one that looks at cancel only where it reads much: a cancel is over if it stopped the
 * call. */
vn_status vn_end_reading(vn_context *vn, vn_status status);

/* ---- models (model.c) ------------------------------------------------------------------------ */

/* Which files a folder of pictures had, and what has become of them since: vn_data_save_list. */
#define VN_RUN_CAPTIONS "state/captions" /* vn_data_save_captions */
#define VN_RUN_FILES    "state/files"

/* What models of this context work with. */
vn_engine vn_context_engine(vn_context *vn);
/* vn_model_open_with within another call. */
vn_status vn_model_load(vn_context *vn, const char *source, const vn_model_options *options,
                        vn_model **out, vn_err *err);
vn_model_info vn_model_describe(const vn_model *m); /* strings are owned by the model */
/* A network as vn_model_open opens it, but with random weights where the directory, or config.json,
 * has none. */
vn_status vn_model_open_random(vn_context *vn, const char *source, vn_model **out, vn_err *err);

/* ---- descriptions (describe_run.c) ----------------------------------------------------------- */

/* The word as a shell takes it for one: new string or NULL. */
char *vn_shell_word(const char *word);
/* Adds `sampling` and, of a run, `trained`; vane is its vane.json or NULL. */
vn_status vn_describe_run(const vn_model *m, const json_t *vane, json_t *out, vn_err *err);
/* What is known of a run besides its files. */
typedef struct vn_run_facts {
    const char *source, *kind;
    int64_t parameters, steps;
    int32_t classes; /* -1: classes are nothing to it */
} vn_run_facts;
/* Adds `trained`, where vane.json says that it is a run. */
vn_status vn_describe_training(const vn_run_facts *r, const json_t *vane, json_t *out, vn_err *err);
/* An autoencoder by itself (describe_autoencoder.c), a folder's or a run's: whether the config is
 * one's, and what it is; NULL: err says why not. */
bool vn_is_autoencoder(const json_t *config);
json_t *vn_describe_autoencoder(vn_context *vn, const vn_model_dir *dir, vn_err *err);
/* [dim] as a list; NULL: no memory. */
json_t *vn_size_list(const int64_t *dim, int rank);
/* Of a pipeline, its class, its latents and its parts, with the memory that each takes
 * (describe_parts.c). */
vn_status vn_describe_parts(vn_model *m, json_t *out, vn_err *err);
/* Data that could be trained on (describe_data.c); NULL: err says why not. */
json_t *vn_describe_data(vn_context *vn, const char *path, vn_err *err);
/* Of tensors named as samples are: how many there are, and of which classes. */
vn_status vn_describe_samples(const vn_safetensors *st, json_t *out, vn_err *err);

/* ---- a step of a network (step.c) ------------------------------------------------------------ */

typedef struct vn_net_step {
    vn_graph *graph;
    vn_net_nodes nodes;
    vn_node *target; /* input, of the first output's shape; NULL without train */
    vn_node *result; /* the mean squared error; without train the first output */
    vn_gradients by;
} vn_net_step;

/* call.train: with the gradients. Closed with vn_net_step_close, after a failure too. */
vn_status vn_net_step_open(vn_net_step *s, const vn_net *net, const vn_net_spec *spec,
                           vn_recompute recompute, vn_err *err);
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
    vn_shape sample; /* [C,H,W] or [D] */
    int64_t size;    /* numbers in it */
    /* what was denoised, where samples were decoded from it; else as `sample`, and latents NULL */
    vn_shape state;
    int64_t state_size;
    bool decoded;
    float *data;      /* [count,size] */
    float *latents;   /* [count,state_size] */
    int32_t *labels;  /* [count] */
    double *guidance; /* [count] */
    int64_t passes;
    double round_trip;              /* NaN: nothing was inverted */
    double cache_off, cache_length; /* vn_guidance_cache_error */
    float *trace;                   /* [levels,count,state_size]; NULL: not kept */
    double *trace_t;                /* [levels] */
    int64_t levels;
    char **names; /* [classes] */
    int32_t classes;
    bool texts;       /* names are prompts */
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

/* What was observed of the samples, and what they begin from (restore.c). */
typedef struct vn_observing {
    vn_operator *operator;
    double *observed; /* [observations, what the operator gives] */
    /* a mask of what is shown, where latents are put in place under it; NULL: they are not */
    float *mask;
    int64_t observations;
    vn_restoration *restoration;
    vn_callback_operator user;
    float *init; /* [inits, one sample]; NULL: noise */
    int64_t inits;
    float *scratch; /* [batch, one sample] of it */
    double square;  /* what inverted samples differ by from it, summed */
    int64_t numbers;
} vn_observing;

/* Whose classes the samples of m are drawn under: its own, or its classifier's (NULL: it has none)
 * where it knows no classes. */
static inline const vn_model *vn_model_of_classes(const vn_model *m, const vn_model *classifier) {
    return classifier && !m->classes ? classifier : m;
}
/* Whether the guides of this text (NULL: cfg) make use of a weak model; and of a classifier, where
 * there is no reward of the user's. */
bool vn_guide_uses_weak(const char *guide);
bool vn_guide_uses_classifier(const char *guide, bool has_reward);

/* Where samples go. */
typedef struct vn_drawn_rows {
    float *data;     /* [n, what is shown of one] */
    int32_t *labels; /* [n] */
    float *trace;    /* [levels,n, one state] with options.trace, else NULL */
    float *latents;  /* [n, one state] of samples that are decoded; NULL: not asked for */
} vn_drawn_rows;

/* The options of one call, checked, and all that draws by them. Stays where it is opened: its parts
 * point to each other. */
typedef struct vn_drawing {
    vn_model *m;
    const vn_model *named; /* whose classes the labels are (vn_model_of_classes) */
    vn_sample_options o;   /* what was left open is the model's by now */
    /* the conditions of its prompts, [o.prompt_count], and of `negative` */
    vn_condition *prompt, negative;
    const char **examples; /* o.prompts, where the model's own are taken; else NULL */
    /* its text, where the model's scheduler has a part in it; NULL: the user's */
    char *guide;
    vn_first_noise begin;
    int64_t count;       /* samples in all */
    int64_t count_given; /* as observations or inits say; else 0 */
    int64_t batch;       /* samples of one sampling run */
    bool selects;        /* a guide selects among the samples: all are drawn at once */
    int64_t levels;
    int64_t passes;                 /* a sample, so far */
    double cache_off, cache_length; /* vn_guidance_cache_error, so far */
    vn_safetensors *noise;          /* options.noise_file; NULL: none */
    vn_array noise_rows;            /* of it */
    float *scratch;                 /* [batch,size] of them */
    float *states; /* [batch,size] where what is denoised is decoded and not asked for */
    vn_user_reward user_reward;
    vn_reward reward;
    vn_observing observing;
    vn_denoiser denoiser;
    vn_pair_denoiser pair;
    vn_denoiser unclassified; /* what the classifier stands beside */
    vn_classified_denoiser classified;
    vn_sequence_run *sequence; /* of a sequence model, in the place of a trajectory; else NULL */
    int32_t *codes;            /* [batch,tokens] of it */
    vn_trajectory *trajectory;
    vn_trajectory_batch whole; /* of vn_drawing_begin */
    vn_drawn_rows rows;        /* likewise */
} vn_drawing;

/* How far sampling has come, over several drawings. */
typedef struct vn_draw_progress {
    const vn_watch *watch;
    int64_t done, total; /* samples */
    double began;        /* 0: not yet */
    /* of the batch that is drawn: how many, and who hears of its steps */
    int64_t n;
    vn_watch steps;
} vn_draw_progress;

/* What o points to outlives it. together: all samples are one batch, for vn_drawing_begin. To be
 * closed even when it fails. */
vn_status vn_drawing_open(vn_drawing *d, vn_model *m, const vn_sample_options *o, bool together,
                          vn_err *err);
void vn_drawing_close(vn_drawing *d);
/* Everything about the samples but the samples: all members but data, labels, guidance, trace and
 * passes. */
vn_status vn_drawing_describe(const vn_drawing *d, vn_samples *s, vn_err *err);
/* A step cache's error by these sums; NaN: there was nothing to compare. */
double vn_cache_error_of(double off, double length);
int32_t vn_drawing_label(const vn_drawing *d, int64_t i);
/* Draws samples [first, first + n), whose bits do not depend on how all are divided into such
 * calls. */
vn_status vn_drawing_rows(vn_drawing *d, int64_t first, int64_t n, const vn_drawn_rows *out,
                          vn_draw_progress *progress, vn_err *err);
/* Or all of them at once, step by step: the noise of all, and then a step of all; *done when the
 * last was made. out and progress stay where they are until then. */
vn_status vn_drawing_begin(vn_drawing *d, const vn_drawn_rows *out, vn_draw_progress *progress,
                           vn_err *err);
vn_status vn_drawing_step(vn_drawing *d, bool *done, vn_err *err);

/* ---- sequences (sample_sequence.c) ----------------------------------------------------------- */

/* Refuses options that such a model has no use for. */
vn_status vn_drawing_check_tokens(const vn_model *m, const vn_sample_options *o, vn_err *err);
/* Parts of vn_drawing_open, _close and _rows. */
vn_status vn_drawing_open_sequence(vn_drawing *d, bool together, vn_err *err);
void vn_drawing_close_sequence(vn_drawing *d);
vn_status vn_drawing_sequence_rows(vn_drawing *d, int64_t first, int64_t n,
                                   const vn_drawn_rows *out, vn_draw_progress *progress,
                                   vn_err *err);

/* ---- prompts (prompts.c) --------------------------------------------------------------------- */

/* VN_BAD_ARGUMENT: a list without a count, or the reverse; too many; or one that is NULL. */
vn_status vn_prompts_check(const vn_sample_options *o, vn_err *err);
/* Makes conditions of the options' prompts, which take the place of labels, of `negative` and of
 * texts that guides name. */
vn_status vn_prompting_open(vn_drawing *d, vn_err *err);
void vn_prompting_close(vn_drawing *d);
/* What `settings` say of it; false: out of memory. */
bool vn_prompting_note(const vn_drawing *d, json_t *to);

/* ---- restoration (restore.c) ----------------------------------------------------------------- */

/* Refuses options that make no sense together. */
vn_status vn_observing_check(const vn_sample_options *o, vn_err *err);
/* Reads what was observed and what samples begin from; their number, where it is not 1, becomes
 * d->count. Fills in the sampler that the rule is made for. */
vn_status vn_observing_open(vn_drawing *d, vn_err *err);
/* Once the denoiser and the batch are known. */
vn_status vn_observing_restore(vn_drawing *d, vn_err *err);
void vn_observing_close(vn_observing *r);
/* The denoiser that is sampled from. */
const vn_denoiser *vn_drawing_denoiser(const vn_drawing *d);
/* What samples [first, first + n) begin from; NULL: noise. */
const float *vn_observing_init(vn_drawing *d, int64_t first, int64_t n);
/* Counts what inverted samples differ by from it; and the root mean square of all, or NaN. */
void vn_observing_compare(vn_drawing *d, const vn_trajectory_batch *batch);
double vn_observing_round_trip(const vn_drawing *d);
bool vn_observing_note(const vn_drawing *d, json_t *to);

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
vn_status vn_saver_put(vn_saver *s, int64_t first, int64_t n, const vn_drawn_rows *rows,
                       vn_err *err);
vn_status vn_saver_commit(vn_saver **s, vn_err *err); /* closes, whatever comes of it */
/* Closes; a file is not there then. Returns how many samples are kept. Safe on NULL. */
int64_t vn_saver_abandon(vn_saver **s);

#endif
