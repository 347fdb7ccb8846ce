/* defaults.h - guidance and steps of a model where the user names none. A run records them in its
 * vane.json, and its previews, vn_sample and `vane info` all follow them, so that they agree. */
#ifndef VN_SAMPLING_DEFAULTS_H
#define VN_SAMPLING_DEFAULTS_H

#include "base/base.h"

struct vn_path;

#define VN_SAMPLING_TEXT 256
typedef struct vn_sampling_defaults {
    double guidance; /* gamma */
    int steps;
    /* rows with parameters; "": as every model is sampled */
    char guide[VN_SAMPLING_TEXT], sampler[VN_SAMPLING_TEXT];
    /* it is a consistency model (VN_X0_IS_SAMPLE) */
    bool consistency;
    /* what the above was chosen by, in words: "sweep: fd 7.2 of 500 samples"; "": nothing was
     * measured */
    char by[VN_SAMPLING_TEXT];
} vn_sampling_defaults;

/* Guidance 1, which samples what was trained: for models that record nothing. */
vn_sampling_defaults vn_sampling_defaults_as_trained(void);
/* What a new run's samples are. */
typedef struct vn_sampling_kind {
    const vn_shape *sample; /* an image [C,H,W], or points */
    bool drops;             /* training replaces some conditions by the null one */
    bool classes;           /* the conditions are classes, and the images are pixels */
} vn_sampling_kind;
vn_sampling_defaults vn_sampling_defaults_choose(const vn_sampling_kind *kind,
                                                 const struct vn_path *path);
/* Whether such samples are guided in an interval of noise, and which: sigma/alpha in (lo, hi]. */
bool vn_sampling_interval(const vn_sampling_kind *kind, double *lo, double *hi);
/* s->steps, but no more than a discrete path has. */
int vn_sampling_defaults_steps_on(const vn_sampling_defaults *s, const struct vn_path *path);
/* The object "sampling" of vane.json. A new reference, or NULL: out of memory. */
json_t *vn_sampling_defaults_to_json(const vn_sampling_defaults *s);
/* Reads it. stored NULL (a run of an older vane, a model of another program): as trained.
 * VN_BAD_FILE names the key. */
vn_status vn_sampling_defaults_from_json(const json_t *stored, vn_sampling_defaults *out,
                                         vn_err *err);

#endif
