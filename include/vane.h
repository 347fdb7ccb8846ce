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
 * Read this header from top to bottom and stop when you have what you need: 1 status and context, 2
 * models, 3 sampling, 4 training, 5 running a network once, 6 likelihood and metrics, 7 speed and
 * descriptions, 8 the tables, 9 options by name.
 *
 * Conventions. Every call that can fail returns a vn_status; the words are in vn_error_text, where
 * names of options stand in backquotes (`skip_bad`, `size=64`). Nothing here prints, exits or
 * aborts. Handles are opaque; a close function takes the handle's address, frees it and clears it,
 * and does nothing on NULL; what a call tells of a NULL handle is 0 or NULL. Time t runs from 0
 * (data) to 1 (noise). `guidance` is gamma: 0 unconditional, 1 conditional, above 1 amplified; the
 * w of "(1+w) c - w u" is gamma - 1. Numbers
 * in texts and files have a decimal point, whatever locale your program has set; your callbacks
 * run in that locale. Strings are UTF-8 (names of files may be any bytes) and are only read during
 * the call. One context may be used by one thread at a time; different contexts are independent.
 * VANE_MEMORY in the environment ("24G") says how much memory there is, where that is not to be
 * asked of the system (docs/formats.md); where it is no such number no context is opened.
 *
 * Structs that grow. Options and results begin with `struct_size`, the bytes that your compiler
 * knew of them, which vn_NAME_default sets; begin with it: `vn_model_info info =
 * vn_model_info_default()`. A library that knows more members takes the defaults of those, and
 * gives you none of them, so a program goes on running with newer libraries of the same SONAME. One
 * that knows fewer members takes yours as long as those beyond its own are 0, as vn_NAME_init left
 * them, and else says VN_UNSUPPORTED. A struct_size of 0 is VN_BAD_ARGUMENT. In an array all have
 * the size of the first. Structs without one are made by the library alone and handed out by
 * address; they too may get further members at their end.
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
/* Of this header, 0.1.0 being 100; vn_version_number says the library's. */
#define VN_VERSION_NUMBER (10000 * VN_VERSION_MAJOR + 100 * VN_VERSION_MINOR + VN_VERSION_PATCH)

/* ---- 1. Status and context ------------------------------------------------------------------- */

typedef enum vn_status {
    VN_OK = 0,
    VN_NO_MEMORY,    /* an allocation failed; nothing was changed */
    VN_BAD_ARGUMENT, /* an argument, option or option value that makes no sense; names it */
    /* a file that was read is damaged, of the wrong kind or does not fit; names it */
    VN_BAD_FILE,
    VN_IO,          /* the system refused: no such file, no permission, disk full */
    VN_UNSUPPORTED, /* valid, but this build does not do it; names what */
    VN_NOT_FINITE,  /* numbers became NaN or infinite: training diverged, or a model is broken */
    VN_CANCELLED    /* the progress callback asked to stop; what was to be saved is saved */
} vn_status;

typedef enum vn_log_level { VN_LOG_INFO = 0, VN_LOG_WARNING } vn_log_level;

/* How far a long call has come. `rate` is `unit` a second; `seconds_left` < 0 and `loss` NaN when
 * unknown. */
typedef struct vn_progress {
    const char *what; /* "training", "sampling", "reading" */
    const char *unit; /* "images", "samples", "steps", "files" */
    int64_t done, total;
    double rate, seconds_left, loss;
} vn_progress;

/* One line; control characters in what it quotes (names of files, classes) are replaced, as in
 * vn_error_text. */
typedef void (*vn_log_fn)(void *user, vn_log_level level, const char *text);
/* Called often, from the thread that made the call. Return nonzero to stop: the call saves what it
 * should and returns VN_CANCELLED. */
typedef int (*vn_progress_fn)(void *user, const vn_progress *progress);

typedef struct vn_context_options {
    size_t struct_size;
    int threads; /* 0: one per available core. Results do not depend on it. */
    /* NULL or "auto": the best kernels this CPU runs; or "avx512", "avx2", "portable" */
    const char *cpu;
    vn_log_fn log;           /* NULL: silent */
    vn_progress_fn progress; /* NULL: none */
    void *user;              /* handed to both */
    char *error;             /* [error_size] receives why it could not be opened; NULL: nowhere */
    size_t error_size;       /* 256 hold any such line */
    /* Of several processes that a launcher (mpirun, srun) started with the same program, nonzero:
     * each calls vn_train or vn_sample_to with the same arguments, and they share the work, by the
     * same bits as one would. The first alone writes, and calls log and progress. */
    int distributed;
    double timeout; /* seconds after which a process that does not answer is given up; 0: 600 */
    /* What the products of networks multiply: NULL or "float32"; "bf16", numbers rounded to
     * bfloat16, with sums, weights, norms and losses in float32; or "auto", bf16 where this CPU
     * multiplies it faster (AVX512-BF16). Results of bf16 are as exact as its 8 bits allow, and
     * depend on threads and batch as little as those of float32: not at all. */
    const char *precision;
} vn_context_options;

VN_API void vn_context_options_init(vn_context_options *o, size_t size);
static inline vn_context_options vn_context_options_default(void) {
    vn_context_options o;
    vn_context_options_init(&o, sizeof o);
    return o;
}

typedef struct vn_context vn_context;

/* *out receives the context, to be closed with vn_context_close after all that was opened with it.
 * options may be NULL. Fails, in words in options->error, with VN_NO_MEMORY, VN_BAD_ARGUMENT
 * (threads not in 0 .. 1024, unknown cpu or precision) or VN_UNSUPPORTED (a cpu this machine does
 * not have; several processes without the module that lets them train together), or VN_IO (one of
 * them does not answer). */
VN_API vn_status vn_context_open(vn_context **out, const vn_context_options *options);
VN_API void vn_context_close(vn_context **vn);
/* Of processes that train together one writes the run, reports, and says what went wrong: nonzero
 * for it, and for a process alone. It is the first; the second where the first is lost. vn may be
 * NULL: then it is what the launcher says. */
VN_API int vn_context_leads(const vn_context *vn);
/* How many share the work of the context; 1: nobody else. vn NULL: that the launcher has
 * started. */
VN_API int vn_context_processes(const vn_context *vn);
/* Why the latest call on this context failed, in one line; "" if none has. Owned by the context,
 * valid until its next call. vn may be NULL (then: "out of memory"). */
VN_API const char *vn_error_text(const vn_context *vn);
VN_API const char *vn_status_name(vn_status status); /* "ok", "no memory", ... */
VN_API const char *vn_version(void);                 /* "0.1.0" */
VN_API int vn_version_number(void);                  /* VN_VERSION_NUMBER of the library */

/* ---- arrays ---------------------------------------------------------------------------------- */

/* Kinds of numbers, by safetensors' names. vane computes with F32 and I32; the others are what
 * files and weights may be kept in. */
typedef enum vn_dtype {
    VN_F32,
    VN_I32,
    VN_BF16,
    VN_F16,
    VN_U8,
    VN_I64,
    VN_F64,
    VN_BOOL,
    VN_I8,
    VN_I16,
    VN_U16,
    VN_U32,
    VN_U64,
    VN_F8_E4M3,
    VN_F8_E5M2,
    VN_DTYPE_COUNT
} vn_dtype;

enum { VN_MAX_RANK = 6 };

typedef struct vn_shape {
    int rank; /* 0: one number */
    int64_t dim[VN_MAX_RANK];
} vn_shape;

/* Dense, row-major, little-endian. Borrowed: who lends it says for how long. Of fixed size: it will
 * not grow. */
typedef struct vn_array {
    const char *name;
    vn_dtype dtype;
    vn_shape shape;
    const void *data; /* at any address */
} vn_array;

/* ---- 2. Models ------------------------------------------------------------------------------- */

typedef struct vn_model vn_model;

typedef struct vn_model_info {
    size_t struct_size;
    const char *kind;    /* row of the models table, "world" or "callback" */
    const char *path;    /* the path it was trained on, e.g. "rectified" */
    const char *predict; /* what its output means, e.g. "velocity" */
    int rank;            /* 3 for images (channels, height, width), 1 for points (dimension) */
    int64_t shape[3];    /* one sample's size, without the batch */
    int32_t classes;     /* K; labels are 0 .. K-1; 0: an unconditional model */
    /* nonzero if it knows the null condition, which most guides need at guidance other than 1 */
    int has_null;
    int64_t parameters; /* count of trained numbers */
    int64_t steps;      /* training steps behind it; 0 if unknown */
    /* what it is sampled with unless told otherwise: 1, or what its run says; and so many steps */
    double guidance;
    int64_t sampling_steps;
    /* likewise the guide and the sampler; NULL: as every model. And what this was chosen by, in
     * words: "sweep: fd 7.2 of 500 samples"; NULL: nothing was measured */
    const char *guide, *sampler, *sampling_by;
    int64_t takes_prompts; /* nonzero if vn_sample_options.prompts are for it */
    /* nonzero if it tells classes, for guidance and for measuring: samples are not drawn from it */
    int64_t classifies;
    /* of a pipeline of diffusers, its class; NULL: it is none */
    const char *pipeline;
    /* of a pipeline, and of a run that was trained on latents: its samples are denoised as latents
     * of this shape, which noise, traces and the states of a sampling have, and then decoded to
     * `shape`; 0: samples are what is denoised */
    int64_t latent_shape[3];
} vn_model_info;

VN_API void vn_model_info_init(vn_model_info *o, size_t size);
static inline vn_model_info vn_model_info_default(void) {
    vn_model_info o;
    vn_model_info_init(&o, sizeof o);
    return o;
}

/* Opens a run directory of vane, a diffusers model directory (or one of several files of weights in
 * it, beside a config.json), a pipeline of diffusers with its text encoders and autoencoder
 * (`vane list pipelines`), or a world file (an exact mixture of Gaussians, in JSON). A
 * classifier's run opens too, for guidance and for measuring: samples are not drawn from it
 * (VN_UNSUPPORTED). The files are untrusted: sizes are checked before they are used. *out is closed
 * with vn_model_close. Fails with VN_IO, VN_BAD_FILE, VN_UNSUPPORTED, VN_NO_MEMORY or, where
 * several files of weights are there, VN_BAD_ARGUMENT. */
VN_API vn_status vn_model_open(vn_context *vn, const char *source, vn_model **out);

/* What the files of a model may leave open. */
typedef struct vn_model_options {
    size_t struct_size;
    /* The row of a network's class table that is the null condition, where no file says it: a
     * diffusers UNet2DModel has classes only, all rows of its table. Labels then count the other
     * rows, and each is named by its row. -1, the default: none. VN_BAD_ARGUMENT where there is no
     * such row, or where the model says itself which is null. */
    int64_t null_class;
    /* Of the images that it draws, in pixels: "512", or height x width, "512x768". NULL: the
     * model's own, as its files say. VN_BAD_ARGUMENT where the model cannot draw such images, and
     * says of what sides are multiples. */
    const char *size;
} vn_model_options;

VN_API void vn_model_options_init(vn_model_options *o, size_t size);
static inline vn_model_options vn_model_options_default(void) {
    vn_model_options o;
    vn_model_options_init(&o, sizeof o);
    return o;
}

/* vn_model_open with options, which may be NULL. Fails also with VN_BAD_ARGUMENT (names the
 * option). */
VN_API vn_status vn_model_open_with(vn_context *vn, const char *source,
                                    const vn_model_options *options, vn_model **out);
/* Another handle of a model, for the context `vn`, which may be the model's own or another one: it
 * answers the same bits and shares the weights, which are in memory once. Handles of different
 * contexts may be used at once, each by its context's thread; while this call runs nothing else may
 * use `model`. The handle begins with the texts and conditions that `model` knows; those that
 * either is asked for later are its own, so that each thread may draw what it likes. Each is closed
 * by vn_model_close, in any order and by any thread; the context that the model was opened with
 * stays open until the last is closed. A callback is called for each of them, so perhaps by several
 * threads at once. Fails, in the words of `vn`, with VN_BAD_ARGUMENT or VN_NO_MEMORY. */
VN_API vn_status vn_model_share(vn_model *model, vn_context *vn, vn_model **out);
/* vn_model_open for a world whose JSON is in memory. Fails with VN_BAD_FILE (names the key) or
 * VN_NO_MEMORY. */
VN_API vn_status vn_model_from_world(vn_context *vn, const char *json, vn_model **out);
VN_API void vn_model_close(vn_model **model);
/* The strings are owned by the model. VN_BAD_ARGUMENT where info has no struct_size. */
VN_API vn_status vn_model_get_info(const vn_model *model, vn_model_info *info);
/* "unet2d-0123456789abcdef": the same for two models with the same weights, or two worlds with the
 * same numbers, wherever their files are. Samples carry it as the setting `model`. Owned by the
 * model; NULL for a callback, or without memory or the world's file. */
VN_API const char *vn_model_fingerprint(vn_model *model);
/* Name of class `label`, owned by the model; NULL if out of range. */
VN_API const char *vn_model_label_name(const vn_model *model, int32_t label);
/* What a sample is conditioned on: a class, or what vn_model_add_condition added. A number that is
 * only copied and compared; vn_sample_options.label, labels and cycle take it, and guides take its
 * name ("negative:class=grey sky"). */
typedef int32_t vn_condition;
/* Adds a condition to a network that takes more than a class: [n] arrays for its inputs, by
 * diffusers' names ("class_labels" where the network takes a vector as its class,
 * "encoder_hidden_states"), each the network's shape without the batch axis. They are copied. The
 * same name with the same arrays is the same condition, and *out its number. The name "null" says
 * what VN_LABEL_NULL means. Conditions with unlike numbers of tokens may be sampled together.
 * It is added to this handle alone, and to those that vn_model_share makes of it from then on.
 * VN_BAD_ARGUMENT names the input, VN_UNSUPPORTED a model that takes none. */
VN_API vn_status vn_model_add_condition(vn_model *model, const char *name, int n,
                                        const vn_array *arrays, vn_condition *out);
/* "boot", "9" -> *label; "null" -> VN_LABEL_NULL; "all" -> VN_LABEL_ALL. VN_BAD_ARGUMENT names the
 * nearest or, where several have the name, their numbers. */
VN_API vn_status vn_model_find_label(const vn_model *model, const char *text, int32_t *label);

/* A denoiser of your own: anything that can say what noisy samples look like without their noise.
 * Every path, sampler and guide works with it. Row i is x[i] = alpha[i] x0 + sigma[i] noise; answer
 * what `prediction` says of it under labels[i]. */
typedef struct vn_predict_query {
    /* rows; each has its own level and label, for guides mix them */
    int64_t n;
    const float *x;                  /* [n, one sample]; images channels first */
    const double *t, *alpha, *sigma; /* [n] each */
    const int32_t *labels;           /* [n] a class, or VN_LABEL_NULL if has_null or K = 0 */
    int weak;                        /* nonzero only if has_weak: the lesser model is asked */
    /* not NULL only if has_vjp: then out is not the answer but the gradient of sum(cotangent *
     * answer) by x; [n, one sample] */
    const float *cotangent;
    /* not NULL only if has_jvp: then out is what the answer changes by along tangent [n, one
     * sample] */
    const float *tangent;
    /* [n] each, not NULL only if takes_to: where the step goes, for answers that are averages over
     * it (a velocity, from t to to_t), as the sampler `flow-map` takes them; others want the
     * velocity itself, to_t = t */
    const double *to_t, *to_alpha, *to_sigma;
    /* [n], not NULL only if takes_guidance: how strongly to guide itself (the guide `embedded`);
     * NaN: as it likes */
    const float *guidance;
} vn_predict_query;

typedef struct vn_callback_model {
    size_t struct_size;
    const char *name; /* for messages and settings; NULL: "callback" */
    /* a row of the paths table; NULL: any, chosen by vn_sample_options.path */
    const char *path;
    /* what it answers: a row of the predictions table, "eps", "velocity", ...; default "x0" */
    const char *prediction;
    /* 3 or 1, and the size of one sample, as in vn_model_info; default one number */
    int rank;
    int64_t shape[3];
    int32_t classes;                /* K; 0: unconditional */
    const char *const *class_names; /* [classes]; NULL: "0", "1", ... */
    int has_null, has_weak, has_vjp;
    /* Fills out [n, one sample]. Called from the thread that samples, never twice at once. Anything
     * but VN_OK ends the call with that status; a number that is not finite ends it with
     * VN_NOT_FINITE. */
    vn_status (*predict)(void *user, const vn_predict_query *query, float *out);
    void *user;
    /* see vn_predict_query; reserved is 0 */
    int has_jvp, takes_to, takes_guidance, reserved;
} vn_callback_model;

VN_API void vn_callback_model_init(vn_callback_model *o, size_t size);
static inline vn_callback_model vn_callback_model_default(void) {
    vn_callback_model o;
    vn_callback_model_init(&o, sizeof o);
    return o;
}

/* Two hundred samples of a Gaussian of mean 2 and deviation 0.5 from its own denoiser:
 *
 * [example]
 *     #include <math.h>
 *     #include <stdio.h>
 *     #include <vane.h>
 *
 *     // E[x0|x] for x0 ~ N(2, 0.25)
 *     static vn_status denoise(void *user, const vn_predict_query *q, float *out) {
 *         (void)user;
 *         for (int64_t i = 0; i < q->n; i++) {
 *             double a = q->alpha[i], s = q->sigma[i], gain = 0.25 * a / (0.25 * a * a + s * s);
 *             out[i] = (float)(2 + gain * (q->x[i] - 2 * a));
 *         }
 *         return VN_OK;
 *     }
 *
 *     int main(void) {
 *         vn_context *vn = NULL;
 *         vn_model *model = NULL;
 *         vn_samples *out = NULL;
 *         vn_callback_model spec = vn_callback_model_default();
 *         spec.predict = denoise;
 *         vn_sample_options o = vn_sample_options_default();
 *         o.count = 200;
 *         if (vn_context_open(&vn, NULL) != VN_OK) return 1;
 *         vn_status s = vn_model_from_callback(vn, &spec, &model);
 *         if (s == VN_OK) s = vn_sample(model, &o, &out);
 *         if (s != VN_OK) fprintf(stderr, "%s\n", vn_error_text(vn));
 *         double sum = 0, squares = 0;
 *         for (int64_t i = 0; s == VN_OK && i < o.count; i++) {
 *             const double x = vn_samples_data(out)[i];
 *             sum += x / (double)o.count;
 *             squares += x * x / (double)o.count;
 *         }
 *         if (s == VN_OK) printf("mean %.1f, deviation %.1f\n", sum, sqrt(squares - sum * sum));
 *         vn_samples_close(&out);
 *         vn_model_close(&model);
 *         vn_context_close(&vn);
 *         return s != VN_OK;
 *     }
 * [/example]
 *
 * The struct and its strings are copied; `user` is yours and must outlive the model.
 * VN_BAD_ARGUMENT names the member that makes no sense. */
VN_API vn_status vn_model_from_callback(vn_context *vn, const vn_callback_model *spec,
                                        vn_model **out);

/* ---- 3. Sampling ----------------------------------------------------------------------------- */

/* A linear operator A of your own, for restoration from an observation y = A x + noise: what is
 * seen of one sample. Both functions are tested on random vectors before the first sample is drawn:
 * a transpose that is not that of what `apply` does is VN_BAD_ARGUMENT, with the numbers. */
typedef struct vn_callback_operator {
    size_t struct_size;
    const char *name; /* for messages and settings; NULL: "callback" */
    /* 3 or 1, and the size of y, as in vn_model_info; default one number */
    int rank;
    int64_t shape[3];
    /* Of one sample x (channels first): y = A x; x = A^T y. Called from the thread that samples.
     * Anything but VN_OK ends the call with that status. */
    vn_status (*apply)(void *user, const float *x, float *y);
    vn_status (*transpose)(void *user, const float *y, float *x);
    /* x = A^+ y; NULL: found by conjugate gradients */
    vn_status (*pseudo_inverse)(void *user, const float *y, float *x);
    void *user;
} vn_callback_operator;

VN_API void vn_callback_operator_init(vn_callback_operator *o, size_t size);
static inline vn_callback_operator vn_callback_operator_default(void) {
    vn_callback_operator o;
    vn_callback_operator_init(&o, sizeof o);
    return o;
}

#define VN_LABEL_NULL (-1) /* no condition: a sample of p(x) */
#define VN_LABEL_ALL  (-2) /* sample i gets class i mod K */

typedef struct vn_samples vn_samples;

typedef struct vn_sample_options {
    size_t struct_size;
    int64_t count; /* how many; default 0: 16, or as many as noise_file holds */
    /* a class, VN_LABEL_NULL or VN_LABEL_ALL; default VN_LABEL_ALL (null if K = 0) */
    int32_t label;
    /* or one for each sample, [count], each a class or VN_LABEL_NULL; else NULL */
    const int32_t *labels;
    /* or several in turn, [cycle_count], each a class or VN_LABEL_NULL: sample i gets cycle[i mod
     * cycle_count], where the first sample is number `first`; else NULL */
    const int32_t *cycle;
    size_t cycle_count;
    double guidance; /* gamma; default NaN: the model's own, vn_model_info.guidance */
    /* >= 1; default 0: the model's own, vn_model_info.sampling_steps, which is 32 where nothing
     * else is said. Refused together with sigmas */
    int steps;
    /* What is NULL of these four is as the model's scheduler_config.json says (a pipeline of
     * diffusers); without one, or beside a vane.json, as the last word of each says. A scheduler's
     * clipping of x0 stays beside any guide that does not clip: ask for "clip:range=0" to be
     * without. VN_UNSUPPORTED names what the scheduler wants of a part that is NULL and vane cannot
     * do. */
    /* a row of the guides table, or several with commas; "cfg". A class in it is written by name or
     * number; a name with a comma in it in double quotes */
    const char *guide;
    const char *sampler; /* a row of the samplers table, with parameters; the path's own choice */
    const char *grid;    /* a row of the grids table, with parameters; the path's own choice */
    /* what the noise is times: "scaled", sigma(t) of the first level, or "unit", 1 (where alpha is
     * 1 on the whole path, the deviation of data of unit variance with that noise); "scaled" */
    const char *begin;
    /* or the path's sigma(t) at each level, falling, the last one 0; [sigma_count] */
    const double *sigmas;
    size_t sigma_count;
    /* NULL: the model's own. Only for models without one, such as worlds ("rectified") */
    const char *path;
    uint64_t seed; /* noise of sample i depends on (seed, i) and on nothing else */
    /* index of the first sample: draw 0..9 now and 10..19 later. default 0 */
    uint64_t first;
    /* or unit-variance noise to begin with, [count, one sample], channels first; of a model that
     * denoises latents [count, latents] */
    const float *noise;
    /* or a safetensors file that holds it as `noise`; its first size is count */
    const char *noise_file;
    /* samples in one forward pass; 0: chosen, all of them for guides that select among samples.
     * Does not change the samples of any other guide */
    int64_t batch;
    /* for guides that ask for one (autoguidance): a lesser model of the same shape, classes, path
     * and prediction, in the same context; NULL: the model's own, if it has one */
    vn_model *weak;
    int trace; /* nonzero: every state is kept, see vn_samples_trace */
    /* of images as PNG files: each pixel becomes scale x scale, 1 to 64; 0: chosen in one picture
     * of all, 1 in a folder */
    int scale;
    /* For guides that ask for a reward (or, minus it, an energy): value[i] of sample x0[i] [n, one
     * sample] and, unless it is NULL, its gradient by x0 [n, one sample]. Anything but VN_OK ends
     * the call with that status. */
    vn_status (*reward)(void *user, int64_t n, const float *x0, const int32_t *labels, float *value,
                        float *gradient);
    void *reward_user;

    /* Restoration: samples of p(x|y) where y = A x + noise was observed. `restore` is a row of the
     * restorers table with parameters ("mmps:iterations=5"), `forward_operator` A, a row of the
     * operators table, or `user_operator` one of the program's. Rules change what the model
     * predicts, so classes, guidance, samplers and grids stay as they are; what cannot go together
     * is VN_BAD_ARGUMENT, by name. Of a model that denoises latents A is of what these are decoded
     * to, and the rule dps, psld, daps or red-diff, or, of a mask, replacement, repaint or ddnm. */
    const char *restore;                       /* NULL: nothing is restored */
    const char *forward_operator;              /* "mask:file=m.png", "downsample:factor=4", ... */
    const vn_callback_operator *user_operator; /* or this; else NULL */
    /* the mask [H,W] or [C,H,W] or the matrix [m, one sample] of the operator, in the place of its
     * file; NULL: the file */
    const vn_array *operator_array;
    /* y: a PNG, or a .safetensors with `observed` [count or 1, what A gives of one sample] */
    const char *observed_file;
    const vn_array *observed; /* or an array of the same; else NULL */
    double noise_level;       /* standard deviation of y's noise; default 0 */

    /* SDEdit (2108.01073): samples begin as these, noised to t = `strength`, and not as noise
     * alone. A picture or a .safetensors with `samples`, [count or 1, one sample], which a model
     * that denoises latents encodes */
    const char *init_file;
    const vn_array *init; /* or an array of the same; else NULL */
    double strength;      /* in (0, 1]; default 0: 0.6, and with invert 1 */
    /* n > 0: the noise is not drawn but found: the init's own, by DDIM inversion (2105.05233), with
     * n evaluations at each level, of which those after the first make the step the exact inverse
     * of ddim's (fixed-point iteration, 2309.04907); vn_samples_round_trip says how well */
    int64_t invert;

    /* For guides that follow the gradient of log p(class|x_t) (classifier, classifier-gradient): a
     * classifier's run, or a world, of the same path, shape and classes, in the same context. A
     * model that knows no classes has those of its classifier: labels, cycle and names are then
     * the classifier's. NULL: the model's own (a world has one) */
    vn_model *classifier;

    /* Texts that samples are drawn for, in UTF-8, of models that take them
     * (vn_model_info.takes_prompts), in turn: sample i gets prompts[i mod prompt_count], where the
     * first sample is number `first`; labels, cycle and label are then not given. "" is the null
     * condition, but for pipelines that take zeros for it (vn_sample_options.negative). A model
     * keeps what its encoder makes of a text; a text of more tokens than it takes is cut, which the
     * log says. The samples' labels are the model's numbers of its texts, and their names the
     * texts. NULL: captions that the model's run gives as examples, where label is VN_LABEL_ALL; a
     * pipeline has none, and needs prompts. A guide names a text as it names a class, best in
     * double quotes. */
    const char *const *prompts;
    size_t prompt_count;
    /* A text that takes the place of the null condition in guidance; NULL: the null condition,
     * which of a pipeline is the empty text, or zeros where it says so
     * (force_zeros_for_empty_prompt) */
    const char *negative;

    /* What a network that takes guidance as an input (Flux.1-dev) is told where the guide is not
     * `embedded`, which tells it `guidance`. Default NaN: 3.5. Refused where it has no effect */
    double embedded_guidance;

    /* Of sequence models alone, whose tokens are drawn one after another from guided logits, which
     * are divided by the temperature; default 1; 0: always the likeliest token */
    double temperature;
    int64_t top_k; /* of the likeliest tokens alone; default 0: of all */
    double top_p;  /* of the fewest likeliest that have this probability; default 1: of all */

    /* A row of the caches table, with parameters: passes that are not run, as those of steps before
     * say nearly what they would give; samples change by that. Default NULL: every pass is run */
    const char *cache;
} vn_sample_options;

VN_API void vn_sample_options_init(vn_sample_options *o, size_t size);
static inline vn_sample_options vn_sample_options_default(void) {
    vn_sample_options o;
    vn_sample_options_init(&o, sizeof o);
    return o;
}

/* Draws samples. *out is closed with vn_samples_close. Fails with VN_BAD_ARGUMENT (names the
 * option), VN_UNSUPPORTED, VN_NOT_FINITE, VN_CANCELLED or VN_NO_MEMORY. */
VN_API vn_status vn_sample(vn_model *model, const vn_sample_options *options, vn_samples **out);
VN_API int64_t vn_samples_count(const vn_samples *samples);
/* returns the rank: 3 or 1 */
VN_API int vn_samples_shape(const vn_samples *samples, int64_t shape[3]);
/* Of a pipeline or a run on latents, the latents that the samples were decoded from, [count,
 * latents], as its network sees them, and the shape of one; NULL: samples are what was denoised.
 * Owned by the samples. */
VN_API const float *vn_samples_latents(const vn_samples *samples, int64_t shape[3]);
/* [count, channels, height, width] as sampling ended: black is -1, white 1, and values beyond
 * occur; or [count, dimension]. */
VN_API const float *vn_samples_data(const vn_samples *samples);
/* [count]; VN_LABEL_NULL: none */
VN_API const int32_t *vn_samples_labels(const vn_samples *samples);
/* [count] the guidance each was drawn with: the bands in the order they were appended. Owned by the
 * samples. */
VN_API const double *vn_samples_guidance(const vn_samples *samples);
/* Network passes that were run for each sample: 2 a step under guidance, 1 where guidance has no
 * effect. A derivative counts as one. */
VN_API int64_t vn_samples_passes(const vn_samples *samples);
/* With options.invert: the root mean square of what samples differ by from the init that they were
 * inverted from, over all their numbers, or those of latents; else NaN. */
VN_API double vn_samples_round_trip(const vn_samples *samples);
/* With options.cache: how far off what the cache keeps would have been where passes were run after
 * all, as a part of what they gave (root mean squares over all of them): what it has left out is
 * nearer, as it was kept for less long. NaN: nothing was compared. */
VN_API double vn_samples_cache_error(const vn_samples *samples);
/* With options.trace: the states of all samples at every level, from noise to data, [levels, count,
 * one sample]; the last are the samples. NULL if no trace was kept. Owned by the samples. */
VN_API const float *vn_samples_trace(const vn_samples *samples, int64_t *levels);
/* [levels] t of each, falling; or NULL */
VN_API const double *vn_samples_trace_times(const vn_samples *samples);
/* Appends all samples of `more` (same shape and same levels of a trace, else VN_BAD_ARGUMENT):
 * bands of a picture, one a guidance value. */
VN_API vn_status vn_samples_append(vn_samples *samples, const vn_samples *more);

/* A sampling that its caller drives, step by step: to show states, to mix in what is known of the
 * samples, to stop early, to do other things in between. All samples go together, whatever
 * options.batch says of the passes through the network; they have the bits that vn_sample gives
 * with the same options. */
typedef struct vn_sampling vn_sampling;

/* Opens it, with the noise of all samples made. *out is closed with vn_sampling_close, before the
 * model, which can do nothing else that asks its network as long as it is open (VN_BAD_ARGUMENT),
 * nor can options->weak and options->classifier. What options point to is used until then. Errors
 * as vn_sample; of guides that select among samples, also a `batch` below their count is
 * VN_BAD_ARGUMENT. */
VN_API vn_status vn_sampling_open(vn_model *model, const vn_sample_options *options,
                                  vn_sampling **out);
/* One step of all samples. *done (or done NULL) becomes 1 when it was the last, else 0. Reports
 * progress as vn_sample does, and can be cancelled; a cancel that comes too late for one step stops
 * the next. VN_NOT_FINITE, VN_CANCELLED, VN_NO_MEMORY and what the model's callback says end the
 * sampling, of which only vn_sampling_close is left; a step after the last is VN_BAD_ARGUMENT. */
VN_API vn_status vn_sampling_step(vn_sampling *sampling, int *done);

typedef struct vn_sampling_state {
    size_t struct_size;
    int64_t count; /* samples */
    /* [count, one sample] x = alpha x0 + sigma noise, as far as it is. Owned by the sampling, valid
     * until vn_sampling_samples or its end; what is written into it between two steps is where the
     * next goes on from. NULL: the samples were given out */
    float *x;
    const int32_t *labels;  /* [count], as vn_samples_labels */
    int64_t step, steps;    /* made, and in all */
    double t, alpha, sigma; /* the level that x is at: t falls to 0 */
} vn_sampling_state;

VN_API void vn_sampling_state_init(vn_sampling_state *o, size_t size);
static inline vn_sampling_state vn_sampling_state_default(void) {
    vn_sampling_state o;
    vn_sampling_state_init(&o, sizeof o);
    return o;
}

VN_API vn_status vn_sampling_get_state(vn_sampling *sampling, vn_sampling_state *state);
/* After the last step: *out receives the samples, the caller's from then on (vn_samples_close).
 * VN_BAD_ARGUMENT before, and the second time. */
VN_API vn_status vn_sampling_samples(vn_sampling *sampling, vn_samples **out);
VN_API void vn_sampling_close(vn_sampling **sampling);

/* What becomes of samples that are in a folder already. (A picture or a tensor file is replaced
 * whatever is said here; files that vane did not write are never touched.) */
typedef enum vn_existing {
    VN_EXISTING_REFUSE = 0, /* a folder that holds samples is refused: VN_BAD_ARGUMENT */
    VN_EXISTING_REPLACE,    /* the samples in it are removed when the first new ones are ready */
    VN_EXISTING_APPEND      /* indices go on after the highest in it; only for folders */
} vn_existing;

/* Saves by the path's ending: ".png" one grid with class names (settings in its text chunks),
 * ".safetensors" (samples, labels, guidance and, if kept, trace and trace_t) or ".npy" tensors,
 * otherwise a folder with one PNG a sample, named by index and class ("000003-boot.png", of several
 * guidance values "000003-g2-boot.png") and with the sample's own settings in its text chunks;
 * endings of other files (".jpg", ".npz") are refused. Class names keep their letters; separators
 * and control characters become '-', long names are cut. Atomic. A folder that holds samples of
 * vane is refused, and one that another process samples into (VN_IO); so is anything in a model's
 * folder but a run's previews, and pictures among the model's data or beside only others. */
VN_API vn_status vn_samples_save(const vn_samples *samples, const char *path);
/* The same, and what becomes of those samples. */
VN_API vn_status vn_samples_save_as(const vn_samples *samples, const char *path,
                                    vn_existing existing);
/* The bytes of the file that vn_samples_save would write, in memory: format "png", "safetensors" or
 * "npy". *bytes [*size] is freed with vn_bytes_free; NULL and 0 after a failure: VN_BAD_ARGUMENT,
 * VN_UNSUPPORTED (no such picture can be made of these samples), VN_NO_MEMORY. */
VN_API vn_status vn_samples_encode(const vn_samples *samples, const char *format, void **bytes,
                                   size_t *size);
VN_API void vn_bytes_free(void **bytes);
/* Whether samples of the model could be saved there by vn_samples_save: that they are what such a
 * file shows, and that it can be written. vn_sample_check knows more. Leaves nothing behind. */
VN_API vn_status vn_samples_can_save(const vn_model *model, const char *path);

/* What vn_sample_to wrote of one band. */
typedef struct vn_written {
    size_t struct_size;
    int64_t count;  /* samples */
    uint64_t first; /* index of the first; the others follow */
    int64_t passes; /* as vn_samples_passes */
    /* as vn_samples_round_trip */
    double round_trip;
    /* as vn_samples_cache_error; of several processes, of the samples that the first drew */
    double cache_error;
} vn_written;

VN_API void vn_written_init(vn_written *o, size_t size);
static inline vn_written vn_written_default(void) {
    vn_written o;
    vn_written_init(&o, sizeof o);
    return o;
}

/* Draws and saves: the samples of each of `count` options, all of one model, as bands one after the
 * other, in the same bits as vn_sample and vn_samples_append would give. Tensors and folders are
 * written as they are drawn, so that memory does not grow with the count: some 16 MiB of samples
 * are held, or one batch if that is more. Pictures need all of them, and so do guides that select
 * among samples, for their band. With VN_EXISTING_APPEND each `first` that is 0 becomes the index
 * after the highest in the folder, for new noise; another must not be below it. written (or NULL)
 * receives what became of each band: [count], each begun with vn_written_default. After a failure
 * or a stop there is no file, but a folder keeps the whole pictures that were done. Errors as
 * vn_sample and vn_samples_save; all that can be known is refused before the first sample. */
VN_API vn_status vn_sample_to(vn_model *model, const vn_sample_options *bands, size_t count,
                              const char *path, vn_existing existing, vn_written *written);
/* Only the refusals: whether these options draw samples of this model, and whether so many of them,
 * under these names and in these bands, can be saved there. Leaves nothing behind. */
VN_API vn_status vn_sample_check(vn_model *model, const vn_sample_options *bands, size_t count,
                                 const char *path, vn_existing existing);
VN_API void vn_samples_close(vn_samples **samples);

/* ---- 4. Training ----------------------------------------------------------------------------- */

typedef struct vn_train_options {
    size_t struct_size;
    /* a row of the models table with parameters ("unet2d:channels=32"), or a config.json; NULL:
     * unet2d for images (with colours a larger one where there is time), mlp for points */
    const char *model;
    const char *path;      /* row of the paths table; NULL: "rectified" */
    const char *predict;   /* NULL: the path's own, e.g. "velocity" */
    const char *objective; /* row of the objectives table; NULL: the prediction's own */
    /* how t is drawn: "uniform", "stratified", "logit-normal", "edm"; NULL: the path's own */
    const char *times;
    /* Below, -1 means "not asked for"; then what stands first is used, or, of a resumed run, its
     * own. */
    double drop;   /* 0.1: probability of replacing the class by null */
    int64_t batch; /* 64, of unet2d and text-dit 32, of autoencoders 16: samples in a step */
    /* 1e-3, of unet2d, text-dit and autoencoders 4e-3, and a quarter of it for what goes on from a
     * run's weights: peak learning rate */
    double lr;
    int64_t warmup;      /* 50: steps of linear warm-up, but no more than 5% of a run by minutes */
    double weight_decay; /* 0: decoupled, as AdamW's */
    double clip;         /* 1: bound on the gradient's global norm; 0: none */
    /* EDM2's power function, which averages over a fixed share of the run so far (2312.02696); else
     * the decay of the weights' moving average, in [0, 1) */
    double ema;
    double dropout;    /* the model's own: dropout in the network */
    double validate;   /* 0.02: held-out part of the data, in [0, 0.5] */
    int64_t log_every; /* 10: steps between lines of log.jsonl */
    /* 0: of weights, data order, noise and all else; at most 9.2e18, but for -1 */
    uint64_t seed;
    /* And these are 0 or NULL unless asked for. */
    /* "cosine" (to 0) or "constant"; NULL: cosine by minutes, constant by steps, so that a finished
     * run may be given more of them and ends as if it had had them at once */
    const char *schedule;
    int64_t steps;  /* 0: by minutes */
    double minutes; /* 0: by steps */
    /* class folders: images become size x size; -1: as they are; 0: as they are if they all have
     * one size of up to 64 pixels a side, else 32 */
    int64_t size;
    int grey; /* class folders: 1 grey, 0 as the files are, */
    int flip; /* random left-right flips */
    /* class folders: go on without pictures that cannot be read, each named in the log. Without it
     * they fail the run: before the first step, all of them named, where decoding the data takes
     * seconds; else when their turn comes. A resumed run may ask for it, and keeps it */
    int skip_bad;
    /* less memory for more time: the network's blocks are computed again on the way back, instead
     * of kept (1604.06174). Changes no bit of the result, so a resumed run may ask for it or not */
    int recompute;
    int64_t save_every; /* steps between checkpoints; 0: by time, about once a minute */
    /* steps between previews/NNNNNN.png; 0: after 20 seconds, then every minute; -1: none */
    int64_t preview_every;
    int resume;    /* go on with the run in `out`: options that would change it are refused */
    int overwrite; /* replace the run in `out` */
    /* parts of equal size in which a step's batch is passed through the network: at the same time,
     * as many as there are threads, and one after another for less memory; 0: 2 of an even batch of
     * 16 or more, else 1. What is learned is the same but for rounding */
    int64_t microbatches;
    /* where captions of the data are: a row of the kind "captions", or "none"; NULL: what is found
     * beside the pictures, if anything. A resumed run goes on with what it began with */
    const char *captions;
    /* a pretrained text encoder, which is not trained, for a model that takes texts: a folder with
     * transformers' CLIPTextModel, CLIPTextModelWithProjection or T5EncoderModel and its tokenizer,
     * a pipeline's folder, or a run of vane's. The run has a copy of it, and keeps what it makes of
     * every caption. NULL: an encoder is trained with the model */
    const char *text_encoder;
    /* how gradients change weights: a row of the kind "optimizers" with parameters
     * ("muon:momentum=0.9"); NULL: "adamw", of text-dit and autoencoders
     * "muon". A resumed run goes on with its own */
    const char *optimizer;
    /* an autoencoder, its folder, a run or a pipeline: the model is trained on latents of pictures,
     * or a sequence model on codes (of vq and fsq). The run has a copy of it, which decodes what is
     * drawn to pictures and which vn_autoencoder_open opens; and the run of a denoiser keeps the
     * latents of every picture. NULL: the model sees the pictures themselves, and a sequence model
     * patches of them */
    const char *latents;
    /* autoencoders: features by which pictures are compared too: "random", or a run of a classifier
     * of clean pictures (classifier:time=no), of which the run has a copy; NULL: none */
    const char *perceptual;
    /* a finished run (or model directory) of one network: training begins with its weights, and
     * with its network, path and prediction, on data of the same classes. NULL: from nothing or,
     * with a teacher that is a run, from that */
    const char *init_from;
    /* a model that is learned from, a run of one network or a world, on data of its classes:
     * objective is then a row of the kind "methods" with parameters ("consistency:guidance=2").
     * vane.json keeps its name, and a run is resumed with the same one. NULL: there is none */
    const char *teacher;
    /* snapshots that the run keeps, at most, of two averages of the weights, for vn_run_average:
     * RUN/state/ema, each of twice the weights' size. They need the average by the power function.
     * 0: none */
    int64_t ema_snapshots;
    /* a few steps are made and timed, in a folder for temporary files that is removed; `out` is not
     * touched. The log says what was chosen, and the result what the time would give */
    int dry_run;
    int64_t shift; /* images: moved by up to so many pixels at random, edges repeated; 0: not */
} vn_train_options;

VN_API void vn_train_options_init(vn_train_options *o, size_t size);
static inline vn_train_options vn_train_options_default(void) {
    vn_train_options o;
    vn_train_options_init(&o, sizeof o);
    return o;
}

typedef enum vn_train_end {
    VN_TRAIN_NOT_BEGUN = 0, /* no step was made: the call failed before */
    VN_TRAIN_DONE,          /* all steps, or all minutes, were there */
    VN_TRAIN_CANCELLED,     /* stopped by progress or vn_context_cancel */
    VN_TRAIN_FAILED         /* an error came after a step */
} vn_train_end;

/* What a run has come to. */
typedef struct vn_train_result {
    size_t struct_size;
    int64_t steps;         /* of the whole run, those before a resume included */
    double seconds;        /* spent on them, likewise */
    double loss;           /* smoothed over the latest steps; NaN before the first */
    double held_loss;      /* of the held-out part, when last taken; NaN: not yet, or none */
    int64_t planned_bytes; /* memory of a step, weights and data */
    int64_t end;           /* a vn_train_end */
    /* of a dry run, else NaN and 0: seconds of a step; how many steps the whole run would be, and
     * how often it would see each sample that is not held out */
    double step_seconds;
    int64_t expected_steps;
    double expected_epochs;
} vn_train_result;

VN_API void vn_train_result_init(vn_train_result *o, size_t size);
static inline vn_train_result vn_train_result_default(void) {
    vn_train_result o;
    vn_train_result_init(&o, sizeof o);
    return o;
}

/* Trains on `data` (a folder of class folders, an IDX folder or file, an .npz, CIFAR batches,
 * "points:NAME") into the run directory `out`. Stopped by progress callback or signal-safe
 * vn_context_cancel it saves and returns VN_CANCELLED; resumed, it ends in the same bits as if
 * never stopped. A picture that was named as unreadable may have been repaired or removed by then;
 * all others must be as they were. An error after the first step, too, saves what was reached,
 * where that can be and unless it is VN_NOT_FINITE, and its text says which step is on the disk.
 * `out` is locked while it is trained: for another process to resume or overwrite it then is VN_IO.
 * A run in which an error came before the first step is removed again. result (or NULL) receives
 * what it came to, also of a call that failed. */
VN_API vn_status vn_train(vn_context *vn, const char *data, const char *out,
                          const vn_train_options *options, vn_train_result *result);

/* Samples of a program's own to train on: all in an array, or made one by one by a callback.
 *
 * What it points to stays the program's and is neither changed nor freed; arrays, callback and user
 * are used until the call returns, and not after it. Images of 1 or 3 channels whose numbers lie
 * in [-1, 1], as samples of vane do, can be looked at as pictures; any other shape and range is
 * trained on as it is. What is held out (vn_train_options.validate) is drawn from the N samples by
 * the seed, as of any data. */
typedef struct vn_train_data {
    size_t struct_size;
    const char *name;     /* for messages and vane.json; NULL: "arrays" or "callback" */
    int64_t count;        /* N */
    vn_shape sample;      /* of one: {3, {C, H, W}} of images, {1, {D}} of points */
    const float *samples; /* [N,C,H,W] or [N,D]; NULL: read gives them */
    /* Writes sample i, 0 <= i < N, to out [C,H,W] or [D], and its noise, if has_noise, to noise,
     * which is NULL otherwise: the same numbers each time, as every epoch and a resumed run ask
     * again, in any order. Called from the thread that trains, never twice at once. Anything but
     * VN_OK ends the call with that status, as an error of a step does. */
    vn_status (*read)(void *user, int64_t i, float *out, float *noise);
    void *user;
    /* With read, which cannot be compared: a number that stands for what it gives. A run is resumed
     * with the same one. */
    uint64_t key;
    const int32_t *labels;          /* [N] 0 .. classes - 1; NULL: there are no classes */
    const char *const *class_names; /* [classes]; NULL: "0", "1", ... */
    int32_t classes;                /* with labels: K */
    int32_t has_noise;              /* with read: it gives noise too */
    /* Like samples: the noise, of unit variance, that each sample is mixed with when it is trained
     * on (a coupling, such as the pairs of rectified flow's second round, 2209.03003); NULL: noise
     * is drawn anew each time. */
    const float *noise;
} vn_train_data;

VN_API void vn_train_data_init(vn_train_data *o, size_t size);
static inline vn_train_data vn_train_data_default(void) {
    vn_train_data o;
    vn_train_data_init(&o, sizeof o);
    return o;
}

/* vn_train on samples of the program's own. With options->resume they must be those that the run
 * was trained on: shape, count, labels, names and the bits of the arrays, or the callback's key;
 * else VN_BAD_ARGUMENT. So is a member that makes no sense, a number that is not finite, and an
 * option that is for files (`size`, `grey`, `skip_bad`). Memory is not taken for the samples. */
VN_API vn_status vn_train_on(vn_context *vn, const vn_train_data *data, const char *out,
                             const vn_train_options *options, vn_train_result *result);

/* Asks the running call to stop as soon as it can; where none runs, the next that can be stopped:
 * vn_train, vn_train_on, vn_sample, vn_sample_to, vn_sampling_step, vn_eval, vn_sweep,
 * vn_log_likelihood, vn_bench and vn_bench_sample. The request is over when that call returns,
 * whatever it returns, also where it came too late for it (of vn_sampling_step: for the last step).
 * Calls that read large files (vn_model_open, vn_describe, ...) may be stopped by it too, and it is
 * over if one was: it returned VN_CANCELLED. No other call looks at it or ends it. Lock-free: safe
 * in a signal handler and from other threads, until vn_context_close. */
VN_API void vn_context_cancel(vn_context *vn);

/* The log of a run: the lines of its log.jsonl as columns of numbers. */
typedef struct vn_run_log vn_run_log;

/* Reads the log of the run directory, which may be of a run that is being trained. Lines that are
 * no object with a whole number `step` are left out and told to the context's log. *out is closed
 * with vn_run_log_close, before the context. VN_IO where there is none, VN_BAD_FILE (more than 256
 * keys), VN_NO_MEMORY. */
VN_API vn_status vn_run_log_open(vn_context *vn, const char *run, vn_run_log **out);
VN_API int64_t vn_run_log_count(const vn_run_log *log); /* lines */
/* Names of the columns, owned by the log: "step", "loss", ... in the file's order; a number within
 * an object or a list has '/' in its name ("accuracy/0"). NULL past the end. */
VN_API const char *vn_run_log_key(const vn_run_log *log, size_t i);
/* [count], owned by the log; NaN where a line does not have the key. NULL: there is no such key. */
VN_API const double *vn_run_log_values(const vn_run_log *log, const char *key);
/* Writes all columns as an event file of TensorBoard into the folder, which is made if need be. A
 * log that has grown replaces its file by one that begins with the same bytes, so that a
 * TensorBoard which reads it goes on. VN_IO, VN_NO_MEMORY. */
VN_API vn_status vn_run_log_save_events(vn_run_log *log, const char *folder);
VN_API void vn_run_log_close(vn_run_log **log);

/* The weights of a run that was trained with ema_snapshots become the average that training would
 * have kept with another width, its standard deviation over the steps as a part of their number,
 * in [0.005, 0.28]: training itself keeps that of 0.1 (2312.02696, section 3). Only the files of
 * weights are written; a resumed run goes on as if nothing had been. *left, or NULL: what the
 * snapshots cannot meet, the norm of the difference of the averages' functions of the step as a
 * part of the wanted one's. VN_BAD_ARGUMENT: a width outside, or no snapshots; VN_IO where there
 * is no run, or where it is being trained; VN_BAD_FILE, VN_NO_MEMORY. */
VN_API vn_status vn_run_average(vn_context *vn, const char *run, double width, double *left);

/* Writes a copy of a run, or of a model in diffusers' or transformers' layout, whose matrices and
 * kernels are of another number type: "bf16" or "f16", half the size, or "f32". Biases and norms
 * stay as they are, but with "f32" everything becomes that. The copy is a model, without what a
 * training would go on from, and appears whole or not at all. In memory its matrices stay as small.
 * VN_BAD_ARGUMENT: another type, `source` is no folder, or `out` exists or lies in it; VN_BAD_FILE:
 * no weights in safetensors files, or one that f16 cannot hold; VN_IO, VN_NO_MEMORY. */
VN_API vn_status vn_export(vn_context *vn, const char *source, const char *dtype, const char *out);

/* ---- 5. Running a network once --------------------------------------------------------------- */

/* Runs the model's network on arrays under diffusers' names: "sample" [n,C,H,W] or [n,D],
 * "timestep" [n] or one number for all, "class_labels" [n], ...; floats of any type, or whole
 * numbers. Of out[i] the name is given ("sample") and dtype (F32), shape and data are filled in;
 * data is owned by the model, until its next vn_forward_arrays. The network is kept planned for
 * these shapes. VN_BAD_ARGUMENT names the array that is missing, unknown or does not fit;
 * VN_UNSUPPORTED: the model is no network; VN_NO_MEMORY. */
VN_API vn_status vn_forward_arrays(vn_model *model, size_t n_in, const vn_array *in, size_t n_out,
                                   vn_array *out);
/* Runs the model in `dir` (config.json and diffusion_pytorch_model.safetensors, or a run) on the
 * tensors of the safetensors file `in`, under diffusers' names, and writes `sample` to `out`. With
 * `grad` (or NULL) the file must hold `cotangent`, and grad.sample, grad.<parameter> and
 * grad.<input>, of other inputs that are arrays for each sample, of sum(cotangent * sample) are
 * written there. Three different files, and those that are written not in the folder of a model.
 * Text encoders of transformers (`input_ids` and model.safetensors) and autoencoders have outputs
 * of other names, all of which are written; docs/formats.md lists them. */
VN_API vn_status vn_forward(vn_context *vn, const char *dir, const char *in, const char *out,
                            const char *grad);

/* ---- images as latents ----------------------------------------------------------------------- */

/* An autoencoder: images to latents that are `factor` times smaller on each side, and back, as
 * diffusers' AutoencoderKL, AutoencoderTiny and VQModel, and VaneFSQModel, vane's own. */
typedef struct vn_autoencoder vn_autoencoder;

typedef struct vn_autoencoder_info {
    size_t struct_size;
    const char *kind;     /* "autoencoder-kl": its row of `vane list autoencoders` */
    int64_t parameters;   /* weights */
    int64_t in_channels;  /* of images that are encoded */
    int64_t out_channels; /* of those that are decoded */
    int64_t latent_channels, factor;
    int64_t codes; /* what a pixel of the latents can become; 0: they are not quantised */
    int64_t tile;  /* pixels on a side of the parts of a large image; 0: it is never run in parts */
    double scale, shift; /* the config's scaling_factor and shift_factor */
} vn_autoencoder_info;

VN_API void vn_autoencoder_info_init(vn_autoencoder_info *o, size_t size);
static inline vn_autoencoder_info vn_autoencoder_info_default(void) {
    vn_autoencoder_info o;
    vn_autoencoder_info_init(&o, sizeof o);
    return o;
}

/* How images are encoded and latents decoded. */
typedef struct vn_autoencoder_options {
    size_t struct_size;
    /* Pixels on a side of the overlapping parts that an image larger than one of them is run in,
     * with diffusers' numbers: a multiple of 4 `factor` (AutoencoderTiny: 16). 0, the default: an
     * image is run whole where a pass takes at most half of the memory there is, else in parts of
     * info.tile. -1: whole always. */
    int64_t tile;
    /* nonzero: latents are as a diffusion model sees them, (z - shift_factor - latents_mean)
     * scaling_factor / latents_std; 0, the default: as the autoencoder has them */
    int scaled;
    /* nonzero: "latents" are drawn from the normal distribution that AutoencoderKL gives, that of
     * image i by seed and first + i alone; 0, the default: its mean */
    int draw;
    uint64_t seed, first;
} vn_autoencoder_options;

VN_API void vn_autoencoder_options_init(vn_autoencoder_options *o, size_t size);
static inline vn_autoencoder_options vn_autoencoder_options_default(void) {
    vn_autoencoder_options o;
    vn_autoencoder_options_init(&o, sizeof o);
    return o;
}

/* Opens the folder of an autoencoder (config.json and diffusion_pytorch_model.safetensors), or that
 * of a pipeline in its vae/ or vqvae/. The files are untrusted. *out is closed with
 * vn_autoencoder_close, before its context. Fails as vn_model_open, and with VN_UNSUPPORTED where
 * there is no autoencoder. */
VN_API vn_status vn_autoencoder_open(vn_context *vn, const char *source, vn_autoencoder **out);
VN_API void vn_autoencoder_close(vn_autoencoder **autoencoder);
/* The strings are owned by the autoencoder. */
VN_API vn_status vn_autoencoder_get_info(const vn_autoencoder *autoencoder,
                                         vn_autoencoder_info *info);
/* Encodes images [n,C,H,W] in [-1,1], floats of any type, H and W multiples of `factor`. Of out[i]
 * the name is given and dtype, shape and data are filled in: "latents" F32 [n,c,H/f,W/f], which of
 * a quantised autoencoder are not rounded yet; "mean" and "logvar" of AutoencoderKL; "codes" I32
 * [n,H/f,W/f] of a quantised one. data is owned by the autoencoder until its next call has
 * returned, which may take it. options may be NULL. VN_BAD_ARGUMENT names what does not fit, with
 * both numbers; VN_NO_MEMORY. */
VN_API vn_status vn_autoencoder_encode(vn_autoencoder *autoencoder,
                                       const vn_autoencoder_options *options,
                                       const vn_array *images, size_t n_out, vn_array *out);
/* Decodes `in`, which is called "latents" [n,c,h,w] or, of a quantised autoencoder, "codes" (whole
 * numbers [n,h,w]), to *out, "decoded" F32 [n,C,h f,w f], not clamped, owned as above. */
VN_API vn_status vn_autoencoder_decode(vn_autoencoder *autoencoder,
                                       const vn_autoencoder_options *options, const vn_array *in,
                                       vn_array *out);

/* ---- texts as numbers ------------------------------------------------------------------------ */

/* A tokenizer: makes of a text the numbers that a text encoder takes as `input_ids`. */
typedef struct vn_tokenizer vn_tokenizer;

/* source: "bytes" (a token for each byte, no files), or a folder with the tokenizer.json that
 * Hugging Face's `tokenizers` writes (of kind BPE or Unigram), or with CLIP's vocab.json and
 * merges.txt; its tokenizer_config.json and special_tokens_map.json are read too. It gives the ids
 * of transformers' fast tokenizers. Files are untrusted. *out is closed with vn_tokenizer_close.
 * Fails with VN_IO, VN_BAD_FILE, VN_UNSUPPORTED (a part that is not known, by its name) or
 * VN_NO_MEMORY. */
VN_API vn_status vn_tokenizer_open(vn_context *vn, const char *source, vn_tokenizer **out);
VN_API void vn_tokenizer_close(vn_tokenizer **tokenizer);
/* A row of the tokenizers table: "bytes", "bpe", "unigram". */
VN_API const char *vn_tokenizer_kind(const vn_tokenizer *tokenizer);
/* Ids are 0 .. size - 1; an encoder has at least so many rows. */
VN_API int32_t vn_tokenizer_size(const vn_tokenizer *tokenizer);
/* A token as its file writes it ("cat</w>"), owned by the tokenizer; NULL: no token has the id. */
VN_API const char *vn_tokenizer_token(const vn_tokenizer *tokenizer, int64_t id);

typedef struct vn_token_options {
    size_t struct_size;
    /* ids of each text: shorter ones are padded, longer ones truncated, but the special tokens that
     * begin and end them kept; 0: as many as the longest text has, and none is truncated */
    int64_t length;
} vn_token_options;

VN_API void vn_token_options_init(vn_token_options *o, size_t size);
static inline vn_token_options vn_token_options_default(void) {
    vn_token_options o;
    vn_token_options_init(&o, sizeof o);
    return o;
}

typedef struct vn_tokens {
    size_t struct_size;
    int64_t n, length;
    const int64_t *ids; /* [n,length] */
    /* [n] how many of them are no padding; and how many there would be without truncation */
    const int64_t *used, *whole;
} vn_tokens;

VN_API void vn_tokens_init(vn_tokens *o, size_t size);
static inline vn_tokens vn_tokens_default(void) {
    vn_tokens o;
    vn_tokens_init(&o, sizeof o);
    return o;
}

/* The ids of texts [n], each UTF-8 of at most 1 MiB; what *out points to is owned by the tokenizer,
 * until its next call. options may be NULL. Special tokens in a text count as such. VN_BAD_ARGUMENT
 * says which text is none, or names `length`; VN_BAD_FILE: the files have no pad token where one is
 * needed, or none for what is unknown. */
VN_API vn_status vn_tokenizer_encode(vn_tokenizer *tokenizer, int64_t n, const char *const *texts,
                                     const vn_token_options *options, vn_tokens *out);
/* The same of the lines of a file, which end at \n alone, an empty line being the empty text; the
 * ids are written to the safetensors file `out` as `ids`, int64 [n,length]. */
VN_API vn_status vn_tokenizer_encode_file(vn_tokenizer *tokenizer, const char *in, const char *out,
                                          const vn_token_options *options, vn_tokens *tokens);

/* ---- 6. Likelihood and metrics --------------------------------------------------------------- */

/* log p(x) of a model by its probability-flow ODE (2011.13456), integrated from data to noise with
 * step control. */
typedef struct vn_likelihood_settings {
    size_t struct_size;
    const char *path; /* as in vn_sample_options */
    int exact;        /* nonzero: the divergence is computed, by a pass for each coordinate */
    /* or estimated with so many random vectors (Hutchinson); default -1: computed up to 16
     * dimensions, else estimated with 1 */
    int probes;
    double rtol, atol; /* of the integration; default 1e-5 */
    uint64_t seed;     /* of the probes */
} vn_likelihood_settings;

VN_API void vn_likelihood_settings_init(vn_likelihood_settings *o, size_t size);
static inline vn_likelihood_settings vn_likelihood_settings_default(void) {
    vn_likelihood_settings o;
    vn_likelihood_settings_init(&o, sizeof o);
    return o;
}

/* log_p[i] of x[i] [n, one sample] under labels[i] (each a class or VN_LABEL_NULL), in nats.
 * evaluations (or NULL) receives how often the model was asked for each. The model must be
 * differentiable: networks, worlds, callbacks with has_vjp. VN_BAD_ARGUMENT, VN_UNSUPPORTED,
 * VN_NOT_FINITE, VN_CANCELLED. */
VN_API vn_status vn_log_likelihood(vn_model *model, const vn_likelihood_settings *settings,
                                   int64_t n, const float *x, const int32_t *labels, double *log_p,
                                   int64_t *evaluations);

/* Metrics are rows of the metrics table. nll asks the model for the likelihood of the data; all
 * others compare samples with the data: samples that vn_eval draws from the model, or samples that
 * exist (vn_eval_samples). */
typedef struct vn_eval_options {
    size_t struct_size;
    const char *metric; /* rows of the metrics table, several with commas: "fd,precision:k=5" */
    /* what vn_train reads, a .safetensors with `samples` and perhaps `labels`, a .npy of samples,
     * or a run: the part of its data that was held out; NULL: exact draws of a world */
    const char *data;
    /* so many of the data, drawn by seed, of each class its share, and as many samples; 0: of a
     * model at most 1000, of samples that exist all of both sets */
    int64_t count;
    /* VN_LABEL_ALL: each sample under its own class, as the data says, and the samples that are
     * drawn have the classes of the data. A class: only what is of it is compared. A class or
     * VN_LABEL_NULL: the condition of all that the model is asked for */
    int32_t label;
    uint64_t seed; /* of what is drawn, of probes, directions and the bootstrap */
    /* for nll; NULL: the defaults. Its seed is not used */
    const vn_likelihood_settings *likelihood;
    /* how vn_eval draws samples; NULL: the defaults. Its count, seed and labels are not used. Where
     * it has no prompts, a model that takes texts is asked for those of the data: the caption of
     * each, else the name of its class; and where the data has neither for examples of its run */
    const vn_sample_options *sample;
    /* for vn_eval_samples: what is compared with the data; the same kinds of files, or an
     * autoencoder, whose reconstructions of the data they are, each beside its picture */
    const char *samples;
    /* what samples are compared by: a row of the features table with parameters, or the directory
     * of a classifier; NULL: "raw" for points, "random" for images */
    const char *features;
    /* for memorisation: the data that the model was trained on, of which `data` is no part; a run:
     * the part of its data that it was trained on */
    const char *training;
    /* so many of the data where they are to be more or fewer than the samples; 0: as many; -1:
     * all */
    int64_t data_count;
    /* of the bootstrap, for 95% intervals; default 200; 0: none, low and high are NaN */
    int64_t resamples;
    int per_class; /* nonzero: each class by itself too, in rows of its own */
    int reserved;  /* 0 */
    /* a folder that features of the data are kept in and taken from, made where there is none;
     * NULL: they are computed */
    const char *cache;
} vn_eval_options;

VN_API void vn_eval_options_init(vn_eval_options *o, size_t size);
static inline vn_eval_options vn_eval_options_default(void) {
    vn_eval_options o;
    vn_eval_options_init(&o, sizeof o);
    return o;
}

/* One number of a metric, with a 95% interval where it has one (else low and high are NaN). This
 * struct and the count of them in a result stay as they are. */
typedef struct vn_measure {
    const char *name, *unit; /* "negative log-likelihood", "nats" */
    double value, low, high;
} vn_measure;

/* The same with the names that programs look for. Made by the library alone. */
typedef struct vn_eval_row {
    const char *metric;      /* "fd", "fd-infinity", "nll": a key, one for each kind of number */
    const char *name;        /* "Frechet distance" */
    const char *unit;        /* "" : none */
    int32_t label;           /* the class that it is of; VN_LABEL_ALL: of all */
    int64_t count;           /* samples it is made of */
    double value, low, high; /* low and high NaN: no interval */
} vn_eval_row;

enum { VN_MAX_MEASURES = 16 };
typedef struct vn_eval_result {
    size_t struct_size;
    int64_t count; /* samples */
    size_t measures;
    vn_measure measure[VN_MAX_MEASURES];
    /* they were drawn of so many in the data; 0: of a world, by its own density */
    int64_t available;
    int32_t classes; /* of the model, where the data has labels; else 0 */
    /* [2 classes]: how many samples of each class were drawn, then how many of it there are. Owned
     * by the model until its next vn_eval; NULL where classes is 0 */
    const int64_t *drawn;
    /* All numbers, in the order in which metrics were named; `measure` has the first of those that
     * are of all classes. Owned by the context until its next vn_eval or vn_eval_samples */
    size_t rows;
    const vn_eval_row *row;
    /* what the samples were compared by: "raw", "random:seed=0", "classifier-0123456789abcdef";
     * NULL where nothing was compared. Owned as `row` */
    const char *features;
    int64_t data_count; /* of the data, for metrics that compare; count is of the samples then */
    /* of a model that takes texts, whence those came that its samples were drawn for: "options"
     * (they were given), "captions" of the data, each sample that of one of the data, "classes"
     * (the names of the data's classes, likewise), "run" (examples that the run keeps) or "none"
     * (the null condition); and how many differ. NULL: it takes none */
    const char *prompts_from;
    int64_t prompts;
} vn_eval_result;

VN_API void vn_eval_result_init(vn_eval_result *o, size_t size);
static inline vn_eval_result vn_eval_result_default(void) {
    vn_eval_result o;
    vn_eval_result_init(&o, sizeof o);
    return o;
}

/* VN_BAD_ARGUMENT names the option, or what does not fit with both numbers (too few samples for a
 * covariance, classes of one set alone); VN_BAD_FILE a file; VN_NOT_FINITE the sample that is not
 * finite; VN_UNSUPPORTED, VN_IO, VN_CANCELLED, VN_NO_MEMORY. */
VN_API vn_status vn_eval(vn_model *model, const vn_eval_options *options, vn_eval_result *result);
/* The same for two sets that exist, options->samples and options->data, without a model. Of the
 * results `drawn` is NULL. */
VN_API vn_status vn_eval_samples(vn_context *vn, const vn_eval_options *options,
                                 vn_eval_result *result);

/* Which settings of sampling are best: all combinations of guides, guidance, samplers and steps,
 * each a point that vn_eval measures. */

/* A point that was measured. Made by the library alone. */
typedef struct vn_sweep_point {
    const char *guide, *sampler; /* sampler NULL: the model's own */
    double guidance;
    int64_t steps; /* 0: of a sequence model, which takes none */
    int64_t count; /* samples that were measured */
    size_t rows;
    const vn_eval_row *row; /* [rows] name and unit "" */
    double passes;          /* of the network, a sample; NaN: not known */
    double seconds;         /* that drawing a sample took; NaN: not known */
    const char *error;      /* why it could not be measured; NULL: it was */
} vn_sweep_point;

typedef void (*vn_sweep_point_fn)(void *user, const vn_sweep_point *point);

typedef struct vn_sweep_options {
    size_t struct_size;
    /* what is varied, [count] each; NULL: one value, or of guidance 1, 1.5, 2 and 3 where the model
     * knows the null condition */
    const double *guidance;
    size_t guidance_count;
    /* rows, as in vn_sample_options; NULL: "cfg", of pictures with classes in an interval */
    const char *const *guides;
    size_t guide_count;
    const char *const *samplers; /* NULL: the path's own */
    size_t sampler_count;
    const int *steps; /* NULL: 32 */
    size_t step_count;
    const char *data; /* as in vn_eval_options; likewise the next five */
    /* NULL: "fd,precision,recall" and, where features are a classifier's, "accuracy" */
    const char *metric;
    const char *features;
    int64_t count; /* samples of a point; default 0: 1000 */
    uint64_t seed;
    int64_t resamples;
    int64_t batch; /* as in vn_sample_options; likewise `weak` and `path` */
    vn_model *weak;
    const char *path;
    const char *objective; /* the metric that is to be best; NULL: the first */
    /* "grid": every point from all samples. "halving": from few, of which the best quarter go on to
     * four times as many (successive halving, 1502.07943). "auto", the default NULL: halving of
     * more than 16 points */
    const char *search;
    int keep; /* nonzero: the run's own settings stay as they are */
    int reserved;
    /* called when a point was measured, or was found; NULL: nobody */
    vn_sweep_point_fn point;
    void *point_user;
    /* as in vn_sample_options. It and `weak` are beside the points whose guides use them; one that
     * no guide uses is refused */
    vn_model *classifier;
    /* as in vn_sample_options, of all points; without them as vn_eval does */
    const char *const *prompts;
    size_t prompt_count;
    const char *negative;
} vn_sweep_options;

VN_API void vn_sweep_options_init(vn_sweep_options *o, size_t size);
static inline vn_sweep_options vn_sweep_options_default(void) {
    vn_sweep_options o;
    vn_sweep_options_init(&o, sizeof o);
    return o;
}

typedef struct vn_sweep_result {
    size_t struct_size;
    /* all points that were measured, in order; owned by the context until its next vn_sweep */
    size_t points;
    const vn_sweep_point *point;
    size_t found; /* of those, so many had been measured before */
    /* that with the best objective; and that to sample with, the cheapest of those whose objective
     * lies within the best one's interval. NULL: none could be measured */
    const vn_sweep_point *best, *recommended;
    int64_t written; /* nonzero: the run says so now */
} vn_sweep_result;

VN_API void vn_sweep_result_init(vn_sweep_result *o, size_t size);
static inline vn_sweep_result vn_sweep_result_default(void) {
    vn_sweep_result o;
    vn_sweep_result_init(&o, sizeof o);
    return o;
}

/* Measures what is missing in the folder `out`, which is made or, where a sweep of the same model,
 * data and measures was stopped, gone on with: other guides, guidance, samplers and steps may be
 * added. Writes results.jsonl, a line when a point is done, and report.html, a page that needs no
 * other file; and, where the model is a run, the recommended settings into its vane.json, which
 * sampling then uses. A point whose numbers are not finite is told and left out. Stopped, it keeps
 * the points that are done (VN_CANCELLED). VN_BAD_ARGUMENT: an option, a point that this model
 * cannot do, or a folder of another sweep; errors as vn_eval besides. */
VN_API vn_status vn_sweep(vn_model *model, const char *out, const vn_sweep_options *options,
                          vn_sweep_result *result);

/* ---- 7. Speed and descriptions --------------------------------------------------------------- */

/* Where the time of a step goes: to all calls of one op or, with a place, to those at one place in
 * the network. */
typedef struct vn_bench_op {
    const char *op; /* "linear", "conv2d_grad_w", ...; "adamw" */
    /* a layer, as its weights are named ("mid_block.resnets.0.conv1"); NULL: the whole network */
    const char *place;
    int64_t calls; /* in a step */
    double ms;     /* a step, on average */
    double share;  /* of the step's time, in [0, 1] */
    double gflops; /* its arithmetic in that time, 1e9 flop/s */
    double gbs;    /* its arrays, each once, in that time, 1e9 byte/s */
} vn_bench_op;

typedef void (*vn_bench_op_fn)(void *user, const vn_bench_op *op);

typedef struct vn_bench_options {
    size_t struct_size;
    int train;     /* 0: forward; 1: forward, backward and AdamW */
    int64_t batch; /* default 64 */
    int64_t steps; /* timed steps, after two that are not; default 10 */
    int recompute; /* as in vn_train_options; with train alone */
    /* Called after the last step: for each op, the slowest first; then for each op at each place,
     * the slowest first. NULL: the ops are not timed, which takes a little time of its own. The
     * texts live until it returns. */
    vn_bench_op_fn profile;
    void *profile_user;
    /* as in vn_train_options, and what a training has where nothing is asked for; with train alone.
     * Where several are computed at the same time, the profile is of the first that does so */
    int64_t microbatches;
} vn_bench_options;

VN_API void vn_bench_options_init(vn_bench_options *o, size_t size);
static inline vn_bench_options vn_bench_options_default(void) {
    vn_bench_options o;
    vn_bench_options_init(&o, sizeof o);
    return o;
}

typedef struct vn_bench_result {
    size_t struct_size;
    double min_ms, median_ms, images_per_s; /* of a step */
    /* arithmetic of a step at its minimum time, 1e9 flop/s */
    double gflops;
    /* this machine now: largest matrix product, memory copy */
    double gemm_gflops, memory_gbs;
    double peak_rss_mb; /* of the process */
    double arena_mb;    /* of the plan */
    /* and without options.recompute; the same if that was not asked for */
    double arena_kept_mb;
    /* arithmetic that it adds, as a part of a step's: 0.3 is 30% more */
    double recomputed;
    int64_t parameters;
    int64_t microbatches; /* of a step; without training, the equal passes that it is */
} vn_bench_result;

VN_API void vn_bench_result_init(vn_bench_result *o, size_t size);
static inline vn_bench_result vn_bench_result_default(void) {
    vn_bench_result o;
    vn_bench_result_init(&o, sizeof o);
    return o;
}

VN_API vn_status vn_bench(vn_context *vn, const char *dir, const vn_bench_options *options,
                          vn_bench_result *result);

/* What a step of sampling costs: its passes through the network, and the arithmetic of sampler and
 * guides around them. */
typedef struct vn_bench_sampling_options {
    size_t struct_size;
    /* a row with parameters; NULL: the path's own; "all": each row of the table in turn */
    const char *sampler;
    const char *guide; /* NULL: "cfg"; "all": each row in turn */
    const char *path;  /* for models without one; default NULL: "rectified" */
    double guidance;   /* default 2 */
    int steps;         /* of a sampling run; default 10 */
    int64_t batch;     /* samples of a sampling run; default 64 */
    /* a row of the restorers table, around the model with the observation of a whole sample; then
     * sampler NULL is the rule's own. default NULL: none */
    const char *restore;
    /* what tells the classes to guides that follow a classifier, as a path; then its time is
     * counted too. default NULL: one that costs nothing is lent to them */
    const char *classifier;
} vn_bench_sampling_options;

VN_API void vn_bench_sampling_options_init(vn_bench_sampling_options *o, size_t size);
static inline vn_bench_sampling_options vn_bench_sampling_options_default(void) {
    vn_bench_sampling_options o;
    vn_bench_sampling_options_init(&o, sizeof o);
    return o;
}

typedef struct vn_bench_sampling {
    const char *sampler, *guide;
    /* why the two do not go together with this model; else NULL and all that follows is set */
    const char *refused;
    /* rows through the network, a step and sample; a gradient counts what it costs */
    double passes;
    double min_ms, median_ms; /* of a step */
    double denoiser_ms;       /* of it in the network, at its least time */
    double arithmetic_ms;     /* of it around the network, at its least time */
    double arithmetic_share;  /* arithmetic_ms / denoiser_ms */
    double unguided_ms;       /* of one pass of all samples through the network, at its least time:
                               * a step without guidance */
    /* With options.classifier, else 0. Of a step in the classifier, at its least time; that in its
     * passes forward; and how often a sample asks for a gradient, a pass forward and one back. */
    double classifier_ms, classifier_passes, gradients;
} vn_bench_sampling;

typedef void (*vn_bench_sampling_fn)(void *user, const vn_bench_sampling *walk);

/* Times the network alone and each sampling run around a stand-in that answers at once, and reports
 * each combination as it is done. machine (or NULL) receives what vn_bench says of the network's
 * pass forward of `batch` samples. */
VN_API vn_status vn_bench_sample(vn_context *vn, const char *dir,
                                 const vn_bench_sampling_options *options,
                                 vn_bench_sampling_fn report, void *user, vn_bench_result *machine);
/* What a file or directory is: a run, model, world, safetensors file, picture, or data that
 * vn_train takes (its kind, classes with their counts, sizes, what cannot be read, what is passed
 * over, the command that trains on it). JSON text, freed with vn_text_free. */
VN_API vn_status vn_describe(vn_context *vn, const char *path, char **json);
/* What this library is: its version and compiler, the sets of kernels that it holds and the one
 * that the context uses, the versions of the libraries it runs with. JSON text, freed with
 * vn_text_free; for reports of faults. */
VN_API vn_status vn_describe_build(vn_context *vn, char **json);
/* What steps of `batch` samples of a network take, planned without taking it: bytes of weights and
 * of all that is made from them, arithmetic, what fills memory when it is fullest; forward,
 * training, and training with recompute. dir as in vn_bench; JSON text, freed with vn_text_free. */
VN_API vn_status vn_describe_plan(vn_context *vn, const char *dir, int64_t batch, char **json);
VN_API void vn_text_free(char **text);

/* ---- 8. The tables --------------------------------------------------------------------------- */

enum {
    VN_PARAM_REAL = 0,
    VN_PARAM_WHOLE = 1, /* whole numbers only */
    /* one of the model's conditions, written by name or number: "negative:class=boot" */
    VN_PARAM_CONDITION = 2,
    /* any text, in double quotes where it holds a comma; `choices` is its default, NULL: none */
    VN_PARAM_TEXT = 3
};

/* One parameter of a row. A number's value is an index into `choices` ("a|b|c") where that is
 * set. */
typedef struct vn_param {
    const char *name;
    const char *summary;
    double value;    /* default */
    double min, max; /* inclusive */
    int kind;        /* VN_PARAM_* */
    const char *choices;
} vn_param;

/* What a table of vane holds: each kind (models, paths, grids, objectives, samplers, guides,
 * metrics, data, ...) is one table of these. */
typedef struct vn_row {
    const char *name;
    const char *summary;
    const char *source;     /* arXiv number or program */
    const vn_param *params; /* walked by vn_row_param */
} vn_row;

VN_API size_t vn_kind_count(void);
VN_API const char *vn_kind_name(size_t kind);            /* "models", ...; NULL past the end */
VN_API const vn_row *vn_kind_row(size_t kind, size_t i); /* NULL past the end */
VN_API const vn_param *vn_row_param(const vn_row *row, size_t i); /* NULL past the end */
/* By name: the kind's number, vn_kind_count() if there is none such; the row, NULL if the kind has
 * none such. A name may be a row of several kinds ("edm" is a path, a prediction, ...). */
VN_API size_t vn_kind_find(const char *name);
VN_API const vn_row *vn_kind_find_row(size_t kind, const char *name);

/* ---- 9. Options by name ---------------------------------------------------------------------- */

/* The structs of options whose members can be walked, set and read by name: for flags, JSON,
 * keyword arguments and forms. Members that are neither numbers nor texts (labels of each sample,
 * callbacks, a weak model, ...) are set in C alone. */
enum {
    VN_OPTIONS_CONTEXT = 0,    /* "context": vn_context_options */
    VN_OPTIONS_MODEL,          /* "model": vn_model_options */
    VN_OPTIONS_SAMPLE,         /* "sample": vn_sample_options */
    VN_OPTIONS_TRAIN,          /* "train": vn_train_options */
    VN_OPTIONS_LIKELIHOOD,     /* "likelihood": vn_likelihood_settings */
    VN_OPTIONS_EVAL,           /* "eval": vn_eval_options */
    VN_OPTIONS_BENCH,          /* "bench": vn_bench_options */
    VN_OPTIONS_BENCH_SAMPLING, /* "bench-sampling": vn_bench_sampling_options */
    VN_OPTIONS_TOKEN,          /* "tokens": vn_token_options */
    VN_OPTIONS_SWEEP,          /* "sweep": vn_sweep_options */
    VN_OPTIONS_AUTOENCODER     /* "autoencoder": vn_autoencoder_options */
};

enum {
    VN_OPTION_TEXT = 0, /* const char * */
    VN_OPTION_FLAG,     /* int; written "true" or "false", and read as 1 or 0 too */
    VN_OPTION_INT,      /* int */
    VN_OPTION_INT64,    /* int64_t */
    VN_OPTION_UINT64,   /* uint64_t */
    VN_OPTION_DOUBLE,   /* double */
    VN_OPTION_LABEL     /* int32_t; written as a class's number, "null" or "all" */
};

/* One option. Its default may stand for "not given": then `fallback` or `otherwise` says what is
 * done. */
typedef struct vn_option {
    const char *name; /* of the member: "weight_decay" */
    int type;         /* VN_OPTION_TEXT, ... */
    size_t offset;    /* of the member in its struct, bytes */
    double value;     /* the default; a text's is NULL */
    /* the number that is used where the default stands for "not given"; else as value */
    double fallback;
    double min, max; /* of what is given, inclusive; 0 of texts and flags */
    /* what is done where it is not given, in words: "the path's own"; "": nothing to say. NULL:
     * `fallback` says it */
    const char *otherwise;
    const char *choices; /* of a text: "cosine|constant"; NULL: any */
    const char *table;   /* of a text: the kind of the tables whose rows it takes; or NULL */
    const char *unit;    /* of a number: "steps"; NULL: none */
    const char *word;    /* stands for the value in a usage line: "N"; "" for a flag */
    const char *help;    /* one sentence */
} vn_option;

VN_API const char *vn_option_kind_name(int kind);         /* "context", ...; NULL past the end */
VN_API size_t vn_option_count(int kind);                  /* 0 for what is no kind */
VN_API const vn_option *vn_option_at(int kind, size_t i); /* NULL past the end */
/* A '-' in the name counts as '_'. NULL: there is none such. */
VN_API const vn_option *vn_option_find(int kind, const char *name);
/* Sets a member of `options`, the kind's struct, by the words of its value; NULL: back to the
 * default. A text is kept by its address and has to live as long as options. VN_BAD_ARGUMENT names
 * the option with its bounds or choices, the nearest of an unknown one, or what is wrong with a
 * choice of a table; options stay as they were. vn receives the words and may be NULL. */
VN_API vn_status vn_option_set(vn_context *vn, int kind, void *options, const char *name,
                               const char *text);
/* *text receives the value as vn_option_set takes it, freed with vn_text_free; NULL: not given. */
VN_API vn_status vn_option_get(vn_context *vn, int kind, const void *options, const char *name,
                               char **text);

#ifdef __cplusplus
}
#endif
#endif
