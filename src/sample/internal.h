/* internal.h - what the files of sample share: the rows of the tables, and what several samplers do
 * alike. */
#ifndef VN_SAMPLE_INTERNAL_H
#define VN_SAMPLE_INTERNAL_H

#include "sample/sample.h"

/* Every sampler and grid by its row's name with _ for -: a row NAME is vn_NAME_sampler or
 * vn_NAME_grid, in its file. To add one, write its file and name it here. */
/* clang-format off */
#define VN_SAMPLERS(ROW) \
    ROW(ddpm) ROW(ddim) \
    ROW(euler) \
    ROW(heun) \
    ROW(euler_a) ROW(dpm2) ROW(dpm2_a) ROW(dpmpp_2s_a) \
    ROW(dpmpp_sde) ROW(dpmpp_2m_sde) ROW(dpmpp_3m_sde) \
    ROW(sa_solver) ROW(er_sde) ROW(restart) \
    ROW(consistency) ROW(lcm) ROW(scm) ROW(tcd) ROW(flow_map) \
    ROW(midpoint) ROW(rk4) ROW(dopri5) ROW(dpm_adaptive) \
    ROW(euler_maruyama) ROW(flow_sde) ROW(langevin) ROW(pc) ROW(pcg) \
    ROW(dpmpp) ROW(dpmpp_2m) ROW(dpmpp_3m) ROW(dpm) \
    ROW(dpmpp_s) ROW(dpmpp_2s) ROW(dpm_s) \
    ROW(unipc) ROW(deis) ROW(lms) ROW(pndm) ROW(plms) ROW(ipndm) ROW(res)
#define VN_GRIDS(ROW) \
    ROW(leading) ROW(linspace) ROW(trailing) \
    ROW(uniform) ROW(dynamic) ROW(linear_quadratic) \
    ROW(karras) ROW(exponential) ROW(beta) ROW(lu_lambda) \
    ROW(ays)
/* clang-format on */

#define VN_DECLARE_SAMPLER(name) extern const vn_sampler_row vn_##name##_sampler;
#define VN_DECLARE_GRID(name)    extern const vn_grid_row vn_##name##_grid;
VN_SAMPLERS(VN_DECLARE_SAMPLER)
VN_GRIDS(VN_DECLARE_GRID)
#undef VN_DECLARE_SAMPLER
#undef VN_DECLARE_GRID

/* ---- what samplers share --------------------------------------------------------------------- */

/* The DDIM step: the state becomes alpha x0 + sigma eps at s->to, which is exact if x0 and eps are
 * constant over the step. It is also Euler's rule in the straight coordinates of any path. */
void vn_step_ddim(vn_step *s, vn_estimate p);
/* EDM's churn, by the row's parameters vn_churn_params: adds noise to x, and returns the level that
 * x then has. scratch [n,size] is overwritten. */
vn_level vn_step_churn(vn_step *s, float *scratch);
extern const vn_param vn_churn_params[];
/* A row's `check` for these parameters. */
vn_status vn_churn_check(const vn_choice *c, const vn_denoiser *d, vn_err *err);
/* Heun's step from `level`, which x has, to s->to; overwrites slots 0 to 3. */
vn_status vn_step_heun(vn_step *s, const vn_level *level, vn_err *err);
/* The parameter `spacing` of samplers on discrete paths, which is not vn_spacing: whether a step
 * ends on the grid's next level or T/N steps below s->from, whatever the next level is, as in
 * diffusers' DDIM and PNDM. On the grid `leading` the two are the same. */
enum { VN_TARGET_NEXT, VN_TARGET_EVEN };
/* clang-format off */
#define VN_TARGET_PARAM \
    {"spacing", "on the next level, or T/N steps down whatever that is, as diffusers does; the " \
                "same on leading", VN_TARGET_NEXT, \
     0, 1, 1, "next|even"}
/* clang-format on */
/* The level that the step ends on, by the value of that parameter; below step 0 it is the sampling
 * run's last level. */
vn_level vn_step_target(const vn_step *s, int spacing);
/* VN_BAD_ARGUMENT: `spacing`, which is c->value[param], on a continuous path. */
vn_status vn_target_check(const vn_choice *c, int param, const vn_denoiser *d, vn_err *err);
/* log(alpha/sigma): +inf at data, -inf at pure noise. */
double vn_level_lambda(const vn_level *l);

/* ---- samplers that draw noise (renoise.c) ---------------------------------------------------- */

/* A step to x' = alpha' x0 + down eps + up z, with new noise z and down^2 + up^2 = sigma'^2. */
typedef struct vn_renoise {
    double down, up;
} vn_renoise;
/* Two rules, whose formulas are in renoise.c: for eta 0 both are the ODE, for eta 1 the reverse
 * SDE. */
vn_renoise vn_renoise_ancestral(const vn_level *from, const vn_level *to, double eta);
vn_renoise vn_renoise_sde(const vn_level *from, const vn_level *to, double eta);
/* The parameters of rows that draw noise, the first two of the row. */
/* clang-format off */
#define VN_NOISE_PARAMS \
    {"eta", "share of the reverse SDE's noise; 0: the ODE", 1, 0, 1, 0, NULL}, \
    {"noise", "standard deviation of that noise", 1, 0, 2, 0, NULL}
/* clang-format on */
/* These two alone, and a row's `check` for them. */
extern const vn_param vn_noise_params[];
vn_status vn_noise_check(const vn_choice *c, const vn_denoiser *d, vn_err *err);
/* out = a x + b y, all [n,size]; out may be x or y. */
void vn_step_blend(const vn_step *s, double a, const float *x, double b, const float *y,
                   float *out);
/* The state becomes alpha' x0 + down eps + noise up z; z [n,size] receives the noise, and may be
 * eps, which is then overwritten. */
void vn_step_renoise(vn_step *s, vn_estimate p, const vn_renoise *r, double noise, float *z);
/* The deterministic part alone, x' = alpha' x0 + down eps, written in x and x0 where eps = (x -
 * alpha x0)/sigma: the state becomes down/sigma x + (alpha' - alpha down/sigma) x0. */
void vn_step_toward_x0(const vn_step *s, double down, const float *x0);
/* x += deviation z; z [n,size] receives the noise, drawn by (seed, sample, step, draw). */
void vn_step_add_noise(const vn_step *s, double deviation, int draw, float *x, float *z);

/* ---- multistep and exponential solvers (adams.c) --------------------------------------------- */

#define VN_MAX_PAST 4

/* phi_0 = e^z, phi_{k+1}(z) = (phi_k(z) - 1/k!)/z. */
double vn_phi(int k, double z);
/* i! phi_{i+1}(z), i = 1 .. n: the integral of e^{z (1 - tau)} tau^i over [0, 1]. */
void vn_adams_moments(int n, double z, double *moment);
/* weight[k] with sum_k weight[k] node[k]^i = moment[i-1] for i = 1 .. n <= VN_MAX_PAST. Nodes are
 * different and not 0. */
void vn_adams_weights(int n, const double *node, const double *moment, double *weight);
/* The order that a step can have: `order`, but at most the number of predictions that there are
 * and, with `lower_final`, of steps that are left. */
int vn_step_order(const vn_step *s, int order, bool lower_final);
/* The order of DPM-Solver's and DEIS's steps by the parameter `lower_final` (diffusers'
 * lower_order_final and euler_at_final):
 *   few    with fewer than 15 steps the last is of order 1 and the one before at most of order 2
 *   no     the order does not fall
 *   last   the last step is of order 1
 *   both   few with fewer than 15 steps, last with more
 * A step to sigma = 0 is always of order 1. */
#define VN_FEW_STEPS 15
enum { VN_LOWER_FEW, VN_LOWER_NO, VN_LOWER_LAST, VN_LOWER_BOTH };
/* clang-format off */
#define VN_LOWER_FINAL_PARAM(value) \
    {"lower_final", "to lower order in the last two of fewer than 15 steps, never, in the last " \
                    "one, or few and last both", value, \
     0, 3, 1, "few|no|last|both"}
/* clang-format on */
int vn_step_order_by(const vn_step *s, int order, int lower_final);
/* node[k] = (past[k] - from)/(to - from), all in one time variable, for k = 0, 1, ... below `max`,
 * up to the first past[k] that is not finite; returns how many. */
int vn_step_nodes(int max, double from, double to, const double *past, double *node);
/* The same for the levels before s->from, in lambda. */
int vn_step_lambda_nodes(const vn_step *s, int max, double *node);
/* x += scale sum_k weight[k] (value[k] - now), k = 0 .. n-1, each [n,size]: the difference that n
 * earlier values make to the step of a constant integrand. The second computes the weights from
 * nodes and moments. */
void vn_step_correct(vn_step *s, double scale, int n, const double *weight, float *const *value,
                     const float *now);
void vn_step_adams(vn_step *s, double scale, int n, const double *node, const double *moment,
                   float *const *value, const float *now);
/* Puts slot[now] before the `count` slots from `first` on, which hold earlier values, the latest
 * first. The oldest of them becomes slot[now], to be overwritten. */
void vn_step_record(vn_step *s, int now, int first, int count);
/* DPM-Solver's order and solver, the first two parameters of a row, and a row's `check` for
 * them. */
#define VN_DPM_PARAMS                                                                              \
    {"order", "of the solver", 2, 1, 3, 1, NULL}, {                                                \
        "solver", "how order 2 integrates its slope: by the midpoint, or exactly", 0, 0, 1, 1,     \
            "midpoint|heun"                                                                        \
    }
vn_status vn_dpm_check(const vn_choice *c, const vn_denoiser *d, vn_err *err);

/* ---- Runge-Kutta (runge_kutta.c) ------------------------------------------------------------- */

#define VN_STAGES 7
typedef struct vn_tableau {
    int stages, order;
    double node[VN_STAGES], a[VN_STAGES][VN_STAGES];
    double weight[VN_STAGES];
    double error[VN_STAGES]; /* weights less those of the embedded lower order */
} vn_tableau;
extern const vn_tableau vn_midpoint, vn_rk4, vn_rk4_three_eighths, vn_dopri5;

/* The ODE dy/dclock = slope(y, clock), and beside it the integral of a rate(y, clock), on which y
 * does not depend. */
typedef struct vn_ode {
    const vn_tableau *tableau;
    size_t n; /* numbers in y */
    /* slope [n] and *rate at y [n] and the clock */
    vn_status (*find_slope)(void *self, double clock, const float *y, float *slope, double *rate,
                            vn_err *err);
    void *self;
    /* [n] each, and the rates, one for every stage. The caller sets the first of both to those at
     * y before a step */
    float *slope[VN_STAGES];
    double rate[VN_STAGES];
    float *stage; /* [n] y at the stage that is evaluated */
    double integral;
    int64_t evaluations; /* made so far */
    /* steps that choose their length (vn_ode_run, vn_ode_next): */
    double rtol, atol;
    int64_t max_evaluations;
    double clock, to, h; /* where it is, where it ends, the step that is tried */
    int at;              /* the stage that is to be evaluated; 0: between steps */
} vn_ode;
/* A step of given length in two parts: the slopes of its later stages, which leaves y as it is;
 * then y and the integral after the step. */
vn_status vn_ode_stages(vn_ode *o, double from, double to, const float *y, vn_err *err);
void vn_ode_advance(vn_ode *o, double h, float *y);
/* Integrates from one clock to another in steps that keep to the tolerance, with the tableau
 * vn_dopri5. VN_BAD_ARGUMENT: more evaluations than o->max_evaluations; VN_NOT_FINITE: no step is
 * short enough. */
vn_status vn_ode_run(vn_ode *o, double from, double to, float *y, vn_err *err);
/* The same for callers that evaluate many ODEs at once: vn_ode_begin; then, as long as vn_ode_next
 * sets *more, the caller computes slope[at] and rate[at] at o->stage and *clock, and calls
 * vn_ode_evaluated. */
void vn_ode_begin(vn_ode *o, double from, double to);
vn_status vn_ode_next(vn_ode *o, const float *y, bool *more, double *clock, vn_err *err);
void vn_ode_evaluated(vn_ode *o, float *y);

typedef struct vn_tolerance {
    double rtol, atol;
    int64_t max_evaluations;
} vn_tolerance;
#define VN_DOPRI5_SLOTS 10 /* that the row has */
/* Moves one row of s->x from level to level by dopri5; time in straight coordinates is finite at
 * both. Slots 0 and 1 hold its x0 and eps at `from`, and are overwritten. */
vn_status vn_step_dopri5(vn_step *s, int64_t row, const vn_level *from, const vn_level *to,
                         const vn_tolerance *by, vn_err *err);

/* estimate.eps becomes the slope eps - k x0 of the straight coordinates. n floats. */
void vn_flow_slope(const vn_path *p, size_t n, vn_estimate estimate);
void vn_step_scale(size_t n, double by, float *x);

/* ---- samplers with levels of their own (continuous.c) ---------------------------------------- */

/* A step on the ODE that evaluates it between the grid's levels too: moves x from level to level.
 * Slots 0 and 1 hold x0 and eps at `from`, of all samples. */
typedef vn_status (*vn_inner_step)(vn_step *s, const vn_level *from, const vn_level *to,
                                   vn_err *err);
/* Makes the step by `inner`, except where the ODE is singular. There Euler's rule takes over: from
 * the path's smallest t to sigma = 0, and from alpha = 0 to the level with sigma/alpha = max_ratio
 * (infinite: `inner` begins at alpha = 0 too). */
vn_status vn_step_continuous(vn_step *s, double max_ratio, vn_inner_step inner, vn_err *err);
/* The max_ratio of a step: infinite where straight coordinates are finite at alpha = 0, else
 * `finite`, such as VN_MAX_RATIO. */
double vn_step_max_ratio(const vn_step *s, double finite);
#define VN_MAX_RATIO 1e3
/* An inner step of one sample, and one of all samples that is made of such: it reports progress
 * after each. */
typedef vn_status (*vn_row_step)(vn_step *s, int64_t row, const vn_level *from, const vn_level *to,
                                 vn_err *err);
vn_status vn_step_rows(vn_step *s, const vn_level *from, const vn_level *to, vn_row_step step,
                       vn_err *err);

/* ---- levels (levels.c) ----------------------------------------------------------------------- */

/* The levels of a grid: level [steps + 1], checked to fall. */
vn_status vn_grid_levels(const char *text, const vn_path *p, vn_spacing spacing, int steps,
                         vn_level *level, vn_err *err);
#define VN_FLUX_TOKENS 4096 /* of an image of 1024 x 1024 pixels, to Flux and SD3 */
/* The same for samples of `tokens` tokens; 0: not known, then VN_FLUX_TOKENS. */
vn_status vn_grid_levels_of(const char *text, int64_t tokens, const vn_path *p, vn_spacing spacing,
                            int steps, vn_level *level, vn_err *err);
/* The levels of a list of sigma(t): level [count], checked to fall to 0 within the path. */
vn_status vn_sigma_levels(const double *sigmas, size_t count, const vn_path *p, vn_spacing spacing,
                          vn_level *level, vn_err *err);
/* Sets the time that the network is given at this level to that of a step, whole or not. */
void vn_level_set_step(const vn_path *p, vn_level *l, double step);
/* The parameter `timestep` of a grid: the network is given t as it is, or at a level between two
 * steps that of the nearest one or of the one below. On the rectified path a step is 1/1000. */
enum { VN_TIME_EXACT, VN_TIME_NEAREST, VN_TIME_CUT };
/* Sets the time that the network is given at this level by that parameter. */
void vn_level_set_time(const vn_path *p, vn_level *l, int how);
/* clang-format off */
#define VN_TIMESTEP_PARAM \
    {"timestep", "t that the network is given: as it is, or that of the nearest step or the one " \
                 "below (a step of a flow is 1/1000)", VN_TIME_EXACT, 0, 2, \
     1, "exact|rounded|cut"}
/* clang-format on */
/* The parameter `end` of a grid, its last level: no noise at all, the path's first step, or the
 * level before it again. */
enum { VN_END_ZERO, VN_END_FIRST, VN_END_LAST };
/* What takes the place of sigma/alpha at pure noise, where it is infinite, on paths whose time in
 * straight coordinates is infinite there: for noise grids, and for samplers that are not
 * VN_SPACING_WHOLE. It is sigma/alpha at alpha-bar = 2^-24, as in diffusers' classes that work on
 * x/alpha. */
#define VN_PURE_NOISE_RATIO 4095.9998779296857

/* ---- grids ----------------------------------------------------------------------------------- */

/* The i-th of n evenly spaced values from a to b, both included. */
double vn_linspace(double a, double b, int i, int n);
double vn_shifted(double t, double shift); /* shift t / (1 + (shift - 1) t) */
/* The quantile: x with I_x(a,b) = p, for a and b in [0.1, 10]. */
double vn_beta_quantile(double a, double b, double p);

#endif
