/* internal.h - what the files of path share: the functions of the paths' rows, and worlds. */
#ifndef VN_PATH_INTERNAL_H
#define VN_PATH_INTERNAL_H

#include "path/path.h"

/* A row's path functions, all of one shape: vn_NAME_level and so on. */
#define VN_PATH_FUNCTIONS(name)                                                                    \
    void vn_##name##_level(const vn_path *p, double t, vn_level *out);                             \
    double vn_##name##_time_of_ratio(const vn_path *p, double s);                                  \
    double vn_##name##_network_time(const vn_path *p, const vn_level *l);                          \
    double vn_##name##_min_time(const vn_path *p);

VN_PATH_FUNCTIONS(ddpm)
VN_PATH_FUNCTIONS(vp)
VN_PATH_FUNCTIONS(sub_vp)
VN_PATH_FUNCTIONS(ve)
VN_PATH_FUNCTIONS(edm)
VN_PATH_FUNCTIONS(rectified)
VN_PATH_FUNCTIONS(polynomial)
VN_PATH_FUNCTIONS(trigonometric)
#undef VN_PATH_FUNCTIONS

vn_status vn_ddpm_open(vn_path *p, vn_err *err);
vn_status vn_vp_open(vn_path *p, vn_err *err); /* vp, sub-vp: refuses beta_min > beta_max */
vn_status vn_sigma_range_open(vn_path *p,
                              vn_err *err); /* ve, edm: refuses sigma_min >= sigma_max */

/* alpha as a function of sigma or of sigma/alpha, for the four relations between them:
 * alpha^2 + sigma^2 = 1, alpha^2 + sigma = 1, alpha = 1, alpha + sigma = 1. */
double vn_preserving_of_sigma(double sigma);
double vn_preserving_of_ratio(double s);
double vn_sub_preserving_of_sigma(double sigma);
double vn_sub_preserving_of_ratio(double s);
double vn_exploding_of_sigma(double sigma);
double vn_exploding_of_ratio(double s);
double vn_rectified_of_sigma(double sigma);
double vn_rectified_of_ratio(double s);

/* The rows' parameters, by their place in choice.value. */
enum {
    VN_DDPM_SCHEDULE,
    VN_DDPM_STEPS,
    VN_DDPM_BETA_START,
    VN_DDPM_BETA_END,
    VN_DDPM_ZERO_SNR,
    VN_DDPM_START,
    VN_DDPM_END,
    VN_DDPM_TAU
};
enum { VN_VP_BETA_MIN, VN_VP_BETA_MAX }; /* vp and sub-vp */
enum { VN_POLYNOMIAL_N, VN_POLYNOMIAL_OF };
enum { VN_SIGMA_MIN, VN_SIGMA_MAX }; /* ve and edm */
enum { VN_EDM_SIGMA_DATA };          /* of the edm prediction */
enum { VN_LINEAR, VN_SCALED_LINEAR, VN_COSINE, VN_SIGMOID, VN_SIGMOID_BAR, VN_EXP, VN_LAPLACE };

/* ---- worlds ---------------------------------------------------------------------------------- */

/* One Gaussian, as mean and eigen-decomposition of its covariance. */
typedef struct vn_component {
    double log_weight;    /* of the mixture, normalised */
    const double *mean;   /* [D] */
    const double *value;  /* [D] eigenvalues, > 0 */
    const double *vector; /* [D,D] rows are eigenvectors; NULL: the axes */
} vn_component;

typedef struct vn_mixture {
    size_t count;
    vn_component *component;
} vn_mixture;

/* The mixtures of the main or the weak model: of each class, and that of the null condition. */
typedef struct vn_world_mixtures {
    vn_mixture *of_class; /* [classes] */
    vn_mixture null;
} vn_world_mixtures;

struct vn_world {
    vn_arena arena;
    atomic_int shared; /* owners besides the first */
    size_t size;
    int32_t classes;
    size_t max_components; /* of the largest mixture */
    const char **name;
    double *log_prior; /* [classes] */
    bool has_weak;
    vn_world_mixtures model[VN_NETWORK_COUNT];
};

#endif
