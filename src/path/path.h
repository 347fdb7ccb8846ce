/* path.h - noise: alpha(t), sigma(t), the coefficients of a network's prediction, and the denoiser,
 * through which samplers and guides use anything that denoises.
 *
 *     x_t = alpha(t) x0 + sigma(t) eps        t = 0 is data, t = 1 is noise
 *
 *     path        a row of vn_path_rows with its parameters: "rectified", "ddpm:cosine",
 *                 "edm:sigma_max=80"
 *     level       one point of a path, (alpha, sigma) at one t; samplers step from level to level
 *     prediction  what a raw output predicts: x0, eps, v, score, velocity, edm
 *     denoiser    gives the raw output for a batch of rows, each with its own level and condition
 *     world       a mixture of Gaussians: a denoiser that is exact, as ground truth for tests
 *
 * `ratio` is sigma/alpha, the noise-to-signal ratio: EDM's sigma, and exp(-lambda) with lambda half
 * the log-SNR. It orders the levels of every path, and is infinite at pure noise (alpha = 0).
 *
 * Straight coordinates. For fixed (x0, eps) the ODE of a path is solved by a straight line if the
 * state is y = x/m and time is c = sigma/m, where m = alpha + k sigma. k = 0 is EDM's choice, y =
 * x/alpha against sigma/alpha; k = 1 is that of flow matching, y = x/(alpha + sigma) against c in
 * [0, 1], also finite at alpha = 0. In code c is the `clock`, k is the path's `straight_k`. Rules
 * for ODEs (Euler, Heun, Runge-Kutta, Adams) work in these coordinates.
 *
 * All formulas are in (alpha, sigma) and stay finite where either is 0. */
#ifndef VN_PATH_H
#define VN_PATH_H

#include "base/base.h"

/* ---- levels ---------------------------------------------------------------------------------- */

/* A point of a path, made by vn_path_level or by a grid. Samplers use only what is here: a grid
 * that interpolates a discrete path as another program does may give (alpha, sigma) that are not
 * exactly on the path's curve. */
typedef struct vn_level {
    double t;
    double alpha, sigma;
    double dalpha, dsigma; /* dalpha/dt, dsigma/dt; dsigma may be infinite at t = 0 (vp) */
    /* added to t to make the time that the network is given, where diffusers rounds that to a step;
     * else 0 */
    double rounding;
} vn_level;

/* The noise-to-signal ratio sigma/alpha, EDM's sigma; infinite where alpha = 0. */
double vn_level_ratio(const vn_level *l);
/* Where every sampling run ends: t = 0, alpha = 1, sigma = 0. */
extern const vn_level vn_level_clean;
/* -(dalpha/dt)/alpha, the rate of the drift of the forward SDE dx = -rate x dt + g dw; infinite at
 * alpha = 0. */
double vn_level_rate(const vn_level *l);
/* g^2 = 2 sigma dsigma/dt + 2 rate sigma^2, of the same SDE; infinite at alpha = 0. */
double vn_level_diffusion(const vn_level *l);
/* The variance that the forward process adds between the less noisy level `to` (x', alpha') and
 * `from` (x, alpha): x = (alpha/alpha') x' + sqrt(this) eps. It is the integral of g^2 dt, scaled
 * to the level `from`. Finite: sigma^2 at alpha = 0. */
double vn_step_variance(const vn_level *from, const vn_level *to);
/* s'/s with s = sigma/alpha at `from` and s' at `to`: the part of the noise-to-signal ratio that a
 * step leaves. 0 from pure noise, where s is infinite. */
double vn_step_ratio(const vn_level *from, const vn_level *to);

/* ---- paths ----------------------------------------------------------------------------------- */

typedef struct vn_path vn_path;

typedef struct vn_path_row {
    vn_row row;
    /* what goes with this path where the user does not say: rows of other tables; times: how
     * training draws t; steps: of pictures with that sampler */
    const char *prediction, *sampler;
    int steps;
    const char *grid, *times;
    /* Checks the parameters, and fills p->table of a discrete path. NULL: nothing to do. */
    vn_status (*open)(vn_path *p, vn_err *err);
    void (*level)(const vn_path *p, double t, vn_level *out);
    /* inverse of s = sigma/alpha, clamped to the path's range */
    double (*time_of_ratio)(const vn_path *p, double s);
    double (*alpha_of_sigma)(double sigma); /* alpha where sigma(t) = sigma */
    /* alpha where sigma/alpha = s; s may be infinite */
    double (*alpha_of_ratio)(double s);
    double (*network_time)(const vn_path *p, const vn_level *l); /* a network's input for t */
    /* the smallest t that grids and training use, but for 0 */
    double (*min_time)(const vn_path *p);
    /* k of the straight coordinates (see the head of this file) */
    int straight_k;
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

/* text: "vp", "ddpm:schedule=linear,T=500"; "ddpm:cosine" is short for "ddpm:schedule=cosine".
 * Close with vn_path_close. */
vn_status vn_path_open(const char *text, vn_path **out, vn_err *err);
void vn_path_close(vn_path **p);
/* The path as a text that vn_path_open takes; equal paths give equal text, however they were
 * written. A new string, freed with vn_free, or NULL: out of memory. */
char *vn_path_text(const vn_path *p);

vn_level vn_path_level(const vn_path *p, double t); /* t in [0, 1] */
/* The level with this sigma, or this sigma/alpha. Its alpha and sigma are exact; its t, by the
 * path's inverse, is clamped to [0, 1]. */
vn_level vn_path_level_of_sigma(const vn_path *p, double sigma);
vn_level vn_path_level_of_ratio(const vn_path *p, double ratio);
/* The level of a step of a discrete path, in [0, T-1], whole or not. */
vn_level vn_path_level_of_step(const vn_path *p, double step);
double vn_path_network_time(const vn_path *p, const vn_level *l);
/* t of the step nearest to t from above, at least step 0; t itself on continuous paths. */
double vn_path_snap(const vn_path *p, double t);

/* Straight coordinates: with k = row->straight_k, m = alpha + k sigma and time c = sigma/m, the
 * state y = x/m is y = (1 - k c) x0 + c eps, a straight line in c for fixed (x0, eps), with the
 * slope eps - k x0. */
double vn_path_scale(const vn_path *p, const vn_level *l); /* m */
double vn_path_clock(const vn_path *p, const vn_level *l); /* c */
vn_level vn_path_level_of_clock(const vn_path *p, double clock);

/* ---- routes ---------------------------------------------------------------------------------- */

/* The levels that a sampling run visits, from noise to data. A sampler or guide that goes back to
 * more noise inserts levels: where a level is noisier than the one before it, the sampling run adds
 * noise by the forward process instead of making a step. */
typedef struct vn_route {
    const vn_path *path;
    int steps;
    vn_level *level; /* [steps + 1]; vn_free'd by the owner */
} vn_route;
/* Inserts count levels before level[at]. */
vn_status vn_route_insert(vn_route *r, int at, int count, const vn_level *levels, vn_err *err);
/* Leaves out the levels above t, in (0, 1), and begins at t itself: on a path with steps, on the
 * one nearest to it from above. */
void vn_route_begin_at(vn_route *r, double t);

/* All of the room is included by this one header. */
#include "path/condition.h"
#include "path/denoiser.h"
#include "path/prediction.h"
#include "path/scheduler.h"
#include "path/world.h"

#endif
