/* path.h - noise: alpha(t), sigma(t), what a network's output means, and the one interface through
 * which samplers and guides meet anything that denoises.
 *
 *     x_t = alpha(t) x0 + sigma(t) eps        t = 0 is data, t = 1 is noise
 *
 *     path        a row of vn_path_rows with its parameters: "rectified", "ddpm:cosine", "edm:sigma_max=80"
 *     level       one point of a path; what samplers move between
 *     prediction  what a raw output means: x0, eps, v, score, velocity, edm
 *     denoiser    raw output for a batch of rows, each with its own level and condition
 *     world       a denoiser that is exact: a mixture of Gaussians
 *
 * All formulas are in (alpha, sigma) and stay finite where either is 0. */
#ifndef VN_PATH_H
#define VN_PATH_H

#include "base/base.h"

/* ---- levels ---------------------------------------------------------------------------------- */

/* A point of a path. Made by vn_path_level and by grids, which may put (alpha, sigma) beside the
 * path's own curve when they interpolate a discrete path as some program does: samplers use only
 * what is here. */
typedef struct vn_level {
    double t;
    double alpha, sigma;
    double dalpha, dsigma; /* by t; dsigma may be infinite at t = 0 (vp) */
    /* added to t before a network is told of it, where another program rounds it to a step; else
     * 0 */
    double rounding;
} vn_level;

/* sigma/alpha, EDM's sigma; infinite where alpha = 0. */
double vn_level_ratio(const vn_level *l);
/* Where every sampling run ends: t = 0, alpha = 1, sigma = 0. */
extern const vn_level vn_level_clean;
/* -a' / a: by how much of itself x shrinks with t, the drift of the forward SDE dx = -rate x dt + g
 * dw; infinite at alpha = 0. */
double vn_level_rate(const vn_level *l);
/* g^2 = 2 sigma sigma' + 2 rate sigma^2, of the same SDE; infinite at alpha = 0. */
double vn_level_diffusion(const vn_level *l);
/* The integral of g^2 dt from `from` down to the less noisy `to`, for noise and scores at `from`:
 * added there, it is what the forward process adds on its way from `to`: x = (alpha/alpha') x' +
 * sqrt(this) eps. Finite: sigma^2 at alpha = 0. */
double vn_step_variance(const vn_level *from, const vn_level *to);

/* ---- paths ----------------------------------------------------------------------------------- */

typedef struct vn_path vn_path;

typedef struct vn_path_row {
    vn_row row;
    /* What to use with this path when the user does not say: rows of other tables. */
    const char *prediction, *sampler, *grid, *times;
    /* Fills the path's table, if it has one. NULL: none. */
    vn_status (*open)(vn_path *p, vn_err *err);
    void (*level)(const vn_path *p, double t, vn_level *out);
    /* inverse of s = sigma/alpha, clamped to the path's range */
    double (*time_of_ratio)(const vn_path *p, double s);
    double (*alpha_of_sigma)(double sigma); /* alpha where sigma(t) = sigma */
    /* alpha where sigma/alpha = s; s may be infinite */
    double (*alpha_of_ratio)(double s);
    double (*network_time)(const vn_path *p, const vn_level *l); /* what a network is told for t */
    /* t of the least noise that grids and training use */
    double (*least)(const vn_path *p);
    /* The coordinates in which ODE rules of higher order work (see vn_path_straight): 0 x/alpha by
     * sigma/alpha, as EDM and k-diffusion; 1 x/(alpha+sigma) by sigma/(alpha+sigma), as flow
     * matching; finite at alpha = 0. */
    int straight;
} vn_path_row;

extern const vn_path_row vn_path_rows[];
extern const size_t vn_path_row_count;

struct vn_path {
    const vn_path_row *row;
    vn_choice choice;
    /* T of a discrete path, whose steps 0 .. T-1 lie at t = (k+1)/T; 0: continuous */
    int steps;
    double *table; /* discrete: alpha-bar[T] */
};

/* text: "vp", "ddpm:cosine", "ddpm:schedule=linear,T=500"; a first word without '=' sets a first
 * choice. */
vn_status vn_path_open(const char *text, vn_path **out, vn_err *err);
void vn_path_close(vn_path **p);
/* Parses to the same path, and is the same text for equal paths, however they were spelled. New
 * string or NULL. */
char *vn_path_text(const vn_path *p);

vn_level vn_path_level(const vn_path *p, double t); /* t in [0, 1] */
/* The level whose sigma(t) (or sigma/alpha) is this: t by the path's inverse, clamped; alpha and
 * sigma exact. */
vn_level vn_path_level_of_sigma(const vn_path *p, double sigma);
vn_level vn_path_level_of_ratio(const vn_path *p, double ratio);
/* Level of step k + fraction of a discrete path, k in [0, T-1]. */
vn_level vn_path_level_of_step(const vn_path *p, double step);
double vn_path_network_time(const vn_path *p, const vn_level *l);
/* t of the step nearest to t from above, at least step 0; t itself on continuous paths. */
double vn_path_snap(const vn_path *p, double t);

/* Straight coordinates: with k = row->straight, m = alpha + k sigma, clock c = sigma/m, the state y
 * = x/m obeys y = (1 - k c) x0 + c eps, a straight line in c for fixed (x0, eps); its slope is eps
 * - k x0. */
double vn_path_scale(const vn_path *p, const vn_level *l); /* m */
double vn_path_clock(const vn_path *p, const vn_level *l); /* c */
vn_level vn_path_level_of_clock(const vn_path *p, double clock);

/* ---- predictions ----------------------------------------------------------------------------- */

/* What a raw output means, as coefficients at a level. */
typedef struct vn_coefficients {
    /* x0  = x0_x x  + x0_raw raw; 0, 0 where raw says nothing of x0 (eps or score, alpha = 0) */
    double x0_x, x0_raw;
    /* eps = eps_x x + eps_raw raw; 0, 0 where raw says nothing of eps (x0, sigma = 0) */
    double eps_x, eps_raw;
    double raw_x0, raw_eps; /* raw = raw_x0 x0 + raw_eps eps: the target in training */
    double input;           /* the network sees input * x */
    /* |x0_raw| alpha / sigma, by its limit where that is 0/0: raw's error in units of noise */
    double noise;
    /* customary weight of raw's squared error: 1, and sigma^2 for score (2011.13456) */
    double weight;
} vn_coefficients;

typedef struct vn_prediction_row {
    vn_row row;
    const char *objective; /* row of the objectives table that trains it */
    void (*coefficients)(const vn_choice *c, const vn_level *l, vn_coefficients *out);
} vn_prediction_row;

extern const vn_prediction_row vn_prediction_rows[];
extern const size_t vn_prediction_row_count;

typedef struct vn_prediction {
    const vn_prediction_row *row;
    vn_choice choice;
} vn_prediction;

vn_status vn_prediction_parse(const char *text, vn_prediction *out, vn_err *err);
/* Refuses by name what can not be sampled: eps or score on steps whose last is pure noise
 * (ddpm:zero_snr=1), where they say nothing of x0. To be asked wherever a path and a prediction are
 * put together. */
vn_status vn_path_allows(const vn_path *p, const vn_prediction *predict, vn_err *err);
vn_coefficients vn_prediction_coefficients(const vn_prediction *p, const vn_level *l);

/* Two answers of a denoiser that most rules keep consistent (x = alpha x0 + sigma eps) and CFG++
 * sets apart. */
typedef struct vn_estimate {
    float *x0, *eps; /* [n,size] */
} vn_estimate;

/* One row of size floats: raw -> x0, eps. raw may be x0 or eps. */
void vn_prediction_to_estimate(const vn_prediction *p, const vn_level *l, size_t size,
                               const float *x, const float *raw, float *x0, float *eps);
/* One row: the raw output that means (x0, eps). */
void vn_prediction_from_estimate(const vn_prediction *p, const vn_level *l, size_t size,
                                 const float *x0, const float *eps, float *raw);

/* ---- diffusers' scheduler_config.json -------------------------------------------------------- */

/* A new object that diffusers opens as this path and prediction, and as steps whose variance the
 * network learns (vane's own class name where it has none). NULL: memory. */
json_t *vn_path_scheduler(const vn_path *p, const vn_prediction *predict, bool learns_variance);
/* The path and prediction that a scheduler config describes. What changes the path and is not known
 * here is refused by name (VN_UNSUPPORTED); what only steers sampling (timestep_spacing,
 * clip_sample, ...) is for vn_scheduler_read. */
vn_status vn_path_from_scheduler(const json_t *config, vn_path **path, vn_prediction *predict,
                                 vn_err *err);

/* ---- denoisers ------------------------------------------------------------------------------- */

typedef enum vn_network {
    VN_NETWORK_MAIN,
    VN_NETWORK_WEAK, /* autoguidance: a lesser model of the same thing */
    VN_NETWORK_COUNT
} vn_network;

/* A part of the network put out of action for one pass. */
/* One forward pass. Each row has its own level and condition, so a guide may mix them. A condition
 * is a number that the denoiser knows: a class, or VN_LABEL_NULL for none. */
typedef struct vn_query {
    int64_t n;
    vn_network network;
    vn_perturb perturb;    /* of this pass alone */
    vn_perturb always;     /* of every pass through this network */
    const float *x;        /* [n,size] */
    const vn_level *level; /* [n] */
    const int32_t *label;  /* [n] */
    /* NULL: the raw output. [n,size]: its vector-Jacobian product by x instead */
    const float *cotangent;
    /* NULL, or [n,size] where the answer has room for the learned v (vn_denoiser) */
    float *variance;
} vn_query;

/* What a classifier of noisy samples is asked: log p(label|x_t), and its gradient by x_t. */
typedef struct vn_classify {
    int64_t n;
    const float *x;         /* [n,size] */
    const vn_level *level;  /* one for all rows */
    const int32_t *label;   /* [n], none of them VN_LABEL_NULL */
    float *log_probability; /* out [n]; or NULL */
    /* out [n,size]: sigma^2/alpha times the gradient, which is what x0 moves by and stays finite at
     * alpha = 0; or NULL */
    float *shift;
} vn_classify;

/* Anything that denoises. Plain struct: fill it, keep it while samplers use it. */
typedef struct vn_denoiser {
    const vn_path *path;
    vn_prediction prediction;
    vn_shape sample;          /* of one row: [C,H,W] or [D] */
    int64_t size;             /* numbers in a row: the shape's count */
    int64_t tokens;           /* that a sample is to its network; 0: not known */
    int32_t classes;          /* labels are 0 .. classes-1 */
    const char *const *names; /* [classes] what guides may call them; NULL: by number only */
    bool has_null;            /* knows VN_LABEL_NULL */
    bool has_weak;            /* answers VN_NETWORK_WEAK */
    bool has_vjp;             /* answers queries with a cotangent */
    unsigned perturbations;   /* sum of the vn_perturbation it knows */
    int layers, middle;       /* how many can be perturbed; which is taken where none is named */
    /* Its main network answers queries for a variance: v, by which the reverse step has the
     * variance exp(f log beta + (1 - f) log beta~), f = (v + 1)/2, with beta that of the step
     * forward and beta~ that of the step back for known x0 (2102.09672). On paths with steps. */
    bool learns_variance;
    void *self;
    /* raw [n,size]. Must not keep the query. */
    vn_status (*predict)(void *self, const vn_query *q, float *raw, vn_err *err);
    /* The main network's answer for one sample in double: x0 [size] and eps [size] at x [size].
     * NULL: float32 is all it has. */
    vn_status (*exact)(void *self, int32_t label, const vn_level *level, const double *x,
                       double *x0, double *eps, vn_err *err);
    /* p(label|x_t) beside the denoiser; NULL: it has none. */
    vn_status (*classify)(void *self, const vn_classify *q, vn_err *err);
} vn_denoiser;

/* ---- routes ---------------------------------------------------------------------------------- */

/* The levels that a sampling run visits, from noise to data. Rows that go back to more noise put their
 * detours in: where a level is noisier than the one before it, the sampling run adds noise instead of
 * making a step. */
typedef struct vn_route {
    const vn_path *path;
    int steps;
    vn_level *level; /* [steps + 1]; vn_free'd by the owner */
} vn_route;
/* Inserts count levels before level[at]. */
vn_status vn_route_insert(vn_route *r, int at, int count, const vn_level *levels, vn_err *err);

/* ---- worlds: exact mixtures of Gaussians ----------------------------------------------------- */

typedef struct vn_world vn_world;

/* Reads a world file. Untrusted: refused with the file and key unless every number makes sense. */
vn_status vn_world_open(const char *file, vn_world **out, vn_err *err);
vn_status vn_world_from_json(const json_t *json, vn_world **out, vn_err *err);
void vn_world_close(vn_world **w);
vn_world *vn_world_share(vn_world *w);    /* w, with one more owner, who closes it too */
int64_t vn_world_size(const vn_world *w); /* D */
int32_t vn_world_classes(const vn_world *w);
const char *vn_world_class_name(const vn_world *w, int32_t label);
double vn_world_prior(const vn_world *w, int32_t label); /* p(label) */
bool vn_world_has_weak(const vn_world *w);

/* Exact answers, in double, at x [D] on (alpha, sigma); label may be VN_LABEL_NULL. `work` holds
 * vn_world_work(w) doubles. */
size_t vn_world_work(const vn_world *w);
double vn_world_log_density(const vn_world *w, vn_network which, int32_t label, double alpha,
                            double sigma, const double *x, double *work);
/* x0 [D] = E[x0|x]; eps [D] = E[eps|x] = -sigma times the score; both finite for sigma > 0 or alpha
 * > 0. */
void vn_world_denoise(const vn_world *w, vn_network which, int32_t label, double alpha,
                      double sigma, const double *x, double *x0, double *eps, double *work);
/* out [D] = (d x0 / d x)^T v. sigma > 0. */
void vn_world_vjp(const vn_world *w, vn_network which, int32_t label, double alpha, double sigma,
                  const double *x, const double *v, double *out, double *work);
/* out [classes] = p(class | x). */
void vn_world_posterior(const vn_world *w, double alpha, double sigma, const double *x, double *out,
                        double *work);

/* An exact sample x [D] of a class, or of p(x) for VN_LABEL_NULL; by (seed, index) alone. */
void vn_world_draw(const vn_world *w, int32_t label, uint64_t seed, uint64_t index, float *x);

/* A denoiser over the world, on any path, with any prediction; NULL: "v", from which x0 and eps
 * come without loss at every level (float32 eps at alpha = 1e-4 would cost x0 four digits). Closed
 * with vn_world_denoiser_close before the world, the path and the thread pool (NULL: one thread). */
vn_status vn_world_denoiser(const vn_world *w, const vn_path *path, const vn_prediction *predict,
                            vn_thread_pool *pool, vn_denoiser *out, vn_err *err);
void vn_world_denoiser_close(vn_denoiser *d);

#endif
