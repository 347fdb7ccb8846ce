/* vane.h - train and sample guided generative models p(x|y): diffusion, score and flow, in C.
 *
 * A complete program. It opens a model that `vane train` wrote, draws eight samples of class 3 with
 * guidance 2 and saves them as one picture:
 *
 * [example]
 *     #include <stdio.h>
 *     #include <vane.h>
 *
 *     int main(int argc, char **argv) {
 *         vn_context *vn = NULL;
 *         vn_model *model = NULL;
 *         vn_samples *out = NULL;
 *         if (vn_context_open(&vn, NULL) != VN_OK) return 1;
 *         vn_sample_options o = vn_sample_options_default();
 *         o.count = 8;
 *         o.label = 3;
 *         o.guidance = 2;
 *         o.seed = 7;
 *         vn_status s = vn_model_open(vn, argc > 1 ? argv[1] : "runs/fashion-mnist", &model);
 *         if (s == VN_OK) s = vn_sample(model, &o, &out);
 *         if (s == VN_OK) s = vn_samples_save(out, argc > 2 ? argv[2] : "class-3.png");
 *         if (s != VN_OK) fprintf(stderr, "%s\n", vn_error_text(vn));
 *         vn_samples_close(&out);
 *         vn_model_close(&model);
 *         vn_context_close(&vn);
 *         return s != VN_OK;
 *     }
 * [/example]
 *
 * Build it with: cc app.c $(pkg-config --cflags --libs vane)
 *
 * Read this header from top to bottom and stop when you have what you need: 1 status and context,
 * 2 models, 3 sampling, 4 training, 5 running a network once, 6 measuring, 7 the tables.
 *
 * Conventions. Every call that can fail returns a vn_status; the words are in vn_error_text. Nothing here
 * prints, exits or aborts. Handles are opaque; a close function takes the handle's address, frees it and
 * clears it, and does nothing on NULL. Time t runs from 0 (data) to 1 (noise). `guidance` is gamma:
 * 0 unconditional, 1 conditional, above 1 amplified; the w of "(1+w) c - w u" is gamma - 1.
 * Strings are UTF-8 and are only read during the call. One context may be used by one thread at a time;
 * different contexts are independent.
 */
#ifndef VANE_H
#define VANE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VN_API __attribute__((visibility("default")))
#else
#define VN_API
#endif

#define VN_VERSION_MAJOR 0
#define VN_VERSION_MINOR 1
#define VN_VERSION_PATCH 0

/* ---- 1. Status and context ------------------------------------------------------------------------- */

typedef enum vn_status {
    VN_OK = 0,
    VN_NO_MEMORY,    /* an allocation failed; nothing was changed */
    VN_BAD_ARGUMENT, /* an argument, option or option value that makes no sense; names it */
    VN_BAD_FILE,     /* a file that was read is damaged, of the wrong kind or does not fit; names it */
    VN_IO,           /* the system refused: no such file, no permission, disk full */
    VN_UNSUPPORTED,  /* valid, but this build does not do it; names what */
    VN_NOT_FINITE,   /* numbers became NaN or infinite: training diverged, or a model is broken */
    VN_CANCELLED     /* the progress callback asked to stop; what was to be saved is saved */
} vn_status;

typedef enum vn_log_level { VN_LOG_INFO = 0, VN_LOG_WARNING } vn_log_level;

/* How far a long call has come. `rate` is `unit` a second; `seconds_left` < 0 and `loss` NaN when unknown. */
typedef struct vn_progress {
    const char *what; /* "training", "sampling", "reading" */
    const char *unit; /* "images", "steps", "files" */
    int64_t done, total;
    double rate, seconds_left, loss;
} vn_progress;

typedef void (*vn_log_fn)(void *user, vn_log_level level, const char *text);
/* Called often, from the thread that made the call. Return nonzero to stop: the call saves what it should
 * and returns VN_CANCELLED. */
typedef int (*vn_progress_fn)(void *user, const vn_progress *progress);

typedef struct vn_context_options {
    int threads;             /* 0: one per available core. Results do not depend on it. */
    const char *cpu;         /* NULL or "auto": the best kernels this CPU runs; or "avx512", "avx2", "portable" */
    vn_log_fn log;           /* NULL: silent */
    vn_progress_fn progress; /* NULL: none */
    void *user;              /* handed to both */
} vn_context_options;

typedef struct vn_context vn_context;

VN_API vn_context_options vn_context_options_default(void);
/* *out receives the context, to be closed with vn_context_close after all that was opened with it.
 * options may be NULL. Fails with VN_NO_MEMORY, VN_BAD_ARGUMENT (threads < 0, unknown cpu) or
 * VN_UNSUPPORTED (a cpu this machine does not have). */
VN_API vn_status vn_context_open(vn_context **out, const vn_context_options *options);
VN_API void vn_context_close(vn_context **vn);
/* Why the latest call on this context failed, in one line; "" if none has. Owned by the context, valid
 * until its next call. vn may be NULL (then: "out of memory"). */
VN_API const char *vn_error_text(const vn_context *vn);
VN_API const char *vn_status_name(vn_status status); /* "ok", "no memory", ... */
VN_API const char *vn_version(void);                 /* "0.1.0" */

/* ---- 2. Models ------------------------------------------------------------------------------------- */

typedef struct vn_model vn_model;

typedef struct vn_model_info {
    const char *kind;    /* row of the models table, "world" or "callback" */
    const char *path;    /* the path it was trained on, e.g. "rectified" */
    const char *predict; /* what its output means, e.g. "velocity" */
    int rank;            /* 3 for images (channels, height, width), 1 for points (dimension) */
    int64_t shape[3];    /* one sample's size, without the batch */
    int32_t classes;     /* K; labels are 0 .. K-1; 0: an unconditional model */
    int has_null;        /* nonzero if it knows the null condition, which guidance other than 1 needs */
    int64_t parameters;  /* count of trained numbers */
    int64_t steps;       /* training steps behind it; 0 if unknown */
} vn_model_info;

/* Opens a run directory of vane, a diffusers model directory, or a world file (an exact mixture of
 * Gaussians, in JSON). The files are untrusted: sizes are checked before they are used. *out is closed
 * with vn_model_close. Fails with VN_IO, VN_BAD_FILE, VN_UNSUPPORTED or VN_NO_MEMORY. */
VN_API vn_status vn_model_open(vn_context *vn, const char *source, vn_model **out);
VN_API void vn_model_close(vn_model **model);
VN_API vn_model_info vn_model_get_info(const vn_model *model); /* strings are owned by the model */
/* Name of class `label`, owned by the model; NULL if out of range. */
VN_API const char *vn_model_label_name(const vn_model *model, int32_t label);
/* "boot", "9" -> *label; "null" -> VN_LABEL_NULL; "all" -> VN_LABEL_ALL. VN_BAD_ARGUMENT names the nearest. */
VN_API vn_status vn_model_find_label(const vn_model *model, const char *text, int32_t *label);

/* ---- 3. Sampling ----------------------------------------------------------------------------------- */

#define VN_LABEL_NULL (-1) /* no condition: a sample of p(x) */
#define VN_LABEL_ALL  (-2) /* sample i gets class i mod K */

typedef struct vn_samples vn_samples;

typedef struct vn_sample_options {
    int64_t count;         /* how many; default 16 */
    int32_t label;         /* a class, VN_LABEL_NULL or VN_LABEL_ALL; default VN_LABEL_ALL (null if K = 0) */
    const int32_t *labels; /* or one for each sample, [count], each a class or VN_LABEL_NULL; else NULL */
    double guidance;       /* gamma; default 1 */
    const char *guide;     /* a row of the guides table, or several with commas; NULL: "cfg" */
    const char *sampler;   /* a row of the samplers table, with parameters; NULL: the path's own choice */
    int steps;             /* >= 1; default 32. Refused together with sigmas. 0: the default */
    const char *grid;      /* a row of the grids table; NULL: the path's own choice */
    const double *sigmas;  /* or the path's sigma(t) at each level, falling, the last one 0; [sigma_count] */
    size_t sigma_count;
    const char *path;       /* NULL: the model's own. Needed only by worlds (default "rectified") */
    uint64_t seed;          /* noise of sample i depends on (seed, i) and on nothing else */
    uint64_t first;         /* index of the first sample: draw 0..9 now and 10..19 later. default 0 */
    const float *noise;     /* or unit-variance noise to begin with, [count, one sample], channels first */
    const char *noise_file; /* or a safetensors file that holds it as `noise`; count 0 then means its first size */
    int64_t batch;          /* samples in one forward pass; 0: chosen. Does not change the samples */
} vn_sample_options;

VN_API vn_sample_options vn_sample_options_default(void);
/* Draws samples. *out is closed with vn_samples_close. Fails with VN_BAD_ARGUMENT (names the option),
 * VN_UNSUPPORTED, VN_NOT_FINITE, VN_CANCELLED or VN_NO_MEMORY. */
VN_API vn_status vn_sample(vn_model *model, const vn_sample_options *options, vn_samples **out);
VN_API int64_t vn_samples_count(const vn_samples *samples);
VN_API int vn_samples_shape(const vn_samples *samples, int64_t shape[3]); /* returns the rank: 3 or 1 */
/* [count, channels, height, width] in about [-1, 1], or [count, dimension]; owned by the samples. */
VN_API const float *vn_samples_data(const vn_samples *samples);
VN_API const int32_t *vn_samples_labels(const vn_samples *samples); /* [count]; VN_LABEL_NULL: none */
/* Network passes that were run for each sample: 2 a step under guidance, 1 where guidance has no effect. */
VN_API int64_t vn_samples_passes(const vn_samples *samples);
/* Appends all samples of `more` (same shape, else VN_BAD_ARGUMENT): bands of a picture, one a guidance value. */
VN_API vn_status vn_samples_append(vn_samples *samples, const vn_samples *more);
/* Saves by the path's ending: ".png" one grid with class names (settings in its text chunks),
 * ".safetensors" or ".npy" tensors, otherwise a folder with one PNG a sample. Atomic. */
VN_API vn_status vn_samples_save(const vn_samples *samples, const char *path);
VN_API void vn_samples_close(vn_samples **samples);

/* ---- 4. Training ----------------------------------------------------------------------------------- */

typedef struct vn_train_options {
    const char *model;     /* a row of the models table with parameters ("unet2d:channels=32"), or a config.json;
                              NULL: unet2d for images, mlp for points */
    const char *path;      /* row of the paths table; NULL: "rectified" */
    const char *predict;   /* NULL: the path's own, e.g. "velocity" */
    const char *objective; /* row of the objectives table; NULL: the prediction's own */
    const char *times;     /* how t is drawn: "uniform", "stratified", "logit-normal", "edm"; NULL: the path's own */
    double drop;           /* probability of replacing the class by null; default 0.1 */
    int64_t batch;         /* default 128 */
    double lr;             /* peak learning rate; default 1e-3 */
    const char *schedule;  /* "cosine" (to 0) or "constant"; NULL: cosine by minutes, constant by steps, so that a
                              finished run may be given more of them and ends as if it had had them at once */
    int64_t warmup;        /* steps of linear warm-up; -1: 50 */
    double weight_decay;   /* AdamW; default 0 */
    double clip;           /* bound on the gradient's global norm; 0: none; default 1 */
    double ema;            /* decay of the weights' moving average, in [0, 1); -1: EDM2's power function, which
                              averages over a fixed share of the run so far (2312.02696) */
    double dropout;        /* in the network; -1: the model's own */
    uint64_t seed;
    int64_t steps;         /* 0: by minutes */
    double minutes;        /* 0: by steps */
    int64_t size;          /* class folders: images become size x size; 0: as they are (all of one size) */
    int grey;              /* class folders: 1 grey, 0 as the files are, */
    int flip;              /* random left-right flips */
    double validate;       /* held-out part of the data, in [0, 0.5]; default 0.02 */
    int64_t log_every;     /* steps between lines of log.jsonl; default 10 */
    int64_t save_every;    /* steps between checkpoints; 0: by time, about once a minute */
    int64_t preview_every; /* steps between previews/NNNNNN.png; 0: by time; -1: none */
    int resume;            /* go on with the run in `out`: options that would change it are refused */
    int overwrite;         /* replace the run in `out` */
} vn_train_options;

VN_API vn_train_options vn_train_options_default(void);
/* Trains on `data` (a folder of class folders, an IDX folder or file, an .npz, CIFAR batches, "points:NAME")
 * into the run directory `out`. Stopped by progress callback or signal-safe vn_context_cancel it saves and returns
 * VN_CANCELLED; resumed, it ends in the same bits as if never stopped. */
VN_API vn_status vn_train(vn_context *vn, const char *data, const char *out, const vn_train_options *options);
/* Asks the running call to stop as soon as it can. Safe in a signal handler and from other threads. */
VN_API void vn_context_cancel(vn_context *vn);

/* ---- 5. Running a network once --------------------------------------------------------------------- */

/* Runs the model in `dir` (config.json and diffusion_pytorch_model.safetensors, or a run) on the tensors of the
 * safetensors file `in`, under diffusers' names, and writes `sample` to `out`. With `grad` (or NULL) the file must hold
 * `cotangent`, and grad.sample and grad.<parameter> of sum(cotangent * sample) are written there. */
VN_API vn_status vn_forward(vn_context *vn, const char *dir, const char *in, const char *out, const char *grad);

/* ---- 6. Measuring ---------------------------------------------------------------------------------- */

typedef struct vn_bench_options {
    int train;     /* 0: forward; 1: forward, backward and AdamW */
    int64_t batch; /* default 64 */
    int64_t steps; /* timed steps, after two that are not; default 10 */
} vn_bench_options;

typedef struct vn_bench_result {
    double min_ms, median_ms, images_per_s; /* of a step */
    double gflops;                          /* arithmetic of a step at its minimum time, 1e9 flop/s */
    double gemm_gflops, memory_gbs;         /* this machine now: largest matrix product, memory copy */
    double peak_rss_mb;                     /* of the process */
    double arena_mb;                        /* of the plan */
    int64_t parameters;
} vn_bench_result;

VN_API vn_bench_options vn_bench_options_default(void);
VN_API vn_status vn_bench(vn_context *vn, const char *dir, const vn_bench_options *options, vn_bench_result *result);
/* What a file or directory is (run, model, world, safetensors, PNG): JSON text, freed with vn_text_free. */
VN_API vn_status vn_describe(vn_context *vn, const char *path, char **json);
VN_API void vn_text_free(char **text);

/* ---- 7. The tables --------------------------------------------------------------------------------- */

/* One parameter of a row. Numbers unless `choices` ("a|b|c") is set, when values are an index into it. */
typedef struct vn_param {
    const char *name;
    const char *summary;
    double value;    /* default */
    double min, max; /* inclusive */
    int integer;     /* nonzero: whole numbers only */
    const char *choices;
} vn_param;

/* What a table of vane holds: each kind (models, paths, grids, objectives, samplers, guides, data, ...) is
 * one table of these. */
typedef struct vn_row {
    const char *name;
    const char *summary;
    const char *source;     /* arXiv number or program */
    const vn_param *params; /* ends with a NULL name; NULL: none */
} vn_row;

VN_API size_t vn_kind_count(void);
VN_API const char *vn_kind_name(size_t kind);            /* "models", ...; NULL past the end */
VN_API const vn_row *vn_kind_row(size_t kind, size_t i); /* NULL past the end */

#ifdef __cplusplus
}
#endif
#endif
