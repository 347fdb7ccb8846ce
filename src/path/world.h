/* world.h - worlds: mixtures of Gaussians, given by a file, that serve as ground truth, because all
 * that a network predicts is known of them in closed form. */
#ifndef VN_WORLD_H
#define VN_WORLD_H

#include "path/denoiser.h"

typedef struct vn_world vn_world;

/* Reads a world file. It is untrusted: VN_BAD_FILE names file and key of what is not valid. */
vn_status vn_world_open(const char *file, vn_world **out, vn_err *err);
vn_status vn_world_from_json(const json_t *json, vn_world **out, vn_err *err);
void vn_world_close(vn_world **w);
vn_world *vn_world_share(vn_world *w);    /* w, with one more owner, who closes it too */
int64_t vn_world_size(const vn_world *w); /* D */
int32_t vn_world_classes(const vn_world *w);
const char *vn_world_class_name(const vn_world *w, int32_t label);
double vn_world_prior(const vn_world *w, int32_t label); /* p(label) */
bool vn_world_has_weak(const vn_world *w);

/* The functions below compute exactly, in double, at x [D] and a level (alpha, sigma); label may be
 * VN_CONDITION_NULL. `work` holds vn_world_work(w) doubles and is overwritten. */
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

/* An exact sample x [D] of a class, or of p(x) for VN_CONDITION_NULL; by (seed, index) alone. */
void vn_world_draw(const vn_world *w, int32_t label, uint64_t seed, uint64_t index, float *x);

/* A denoiser made of the world, on any path, with any prediction. predict NULL: "v", from which
 * both x0 and eps follow without loss of digits at every level (from float32 eps at alpha = 1e-4,
 * x0 would lose four digits). pool NULL: one thread. Close it with vn_world_denoiser_close before
 * the world, the path and the thread pool, which stay the caller's. */
vn_status vn_world_denoiser(const vn_world *w, const vn_path *path, const vn_prediction *predict,
                            vn_thread_pool *pool, vn_denoiser *out, vn_err *err);
void vn_world_denoiser_close(vn_denoiser *d);

/* ---- symmetric matrices (eigen.c) ------------------------------------------------------------ */

/* Symmetric a [n,n] -> eigenvalues value [n] and eigenvectors in the rows of vector [n,n]; a is
 * destroyed. */
void vn_eigen(size_t n, double *a, double *value, double *vector);

#endif
