/* defaults.h - how a model is sampled where nobody says: what a run records of it in vane.json,
 * which its previews, vn_sample and `vane info` all follow, so that they show the same. */
#ifndef VN_SAMPLING_DEFAULTS_H
#define VN_SAMPLING_DEFAULTS_H

#include "base/base.h"

struct vn_path;

typedef struct vn_sampling_defaults {
    double guidance; /* gamma */
    int steps;
} vn_sampling_defaults;

/* As trained: what every model has that does not say otherwise. */
vn_sampling_defaults vn_sampling_defaults_plain(void);
/* For a new run. `pictures`: images rather than points; `drops`: the class is hidden in training
 * now and then. */
vn_sampling_defaults vn_sampling_defaults_choose(bool pictures, bool drops,
                                                 const struct vn_path *path);
/* No more steps than a discrete path has. */
int vn_sampling_defaults_steps_on(const vn_sampling_defaults *s, const struct vn_path *path);
/* The object "sampling" of vane.json: new reference, NULL: memory. */
json_t *vn_sampling_defaults_to_json(const vn_sampling_defaults *s);
/* Reads it; stored NULL (a run of an older vane, a model of another program): plain. VN_BAD_FILE
 * names the key. */
vn_status vn_sampling_defaults_from_json(const json_t *stored, vn_sampling_defaults *out,
                                         vn_err *err);

#endif
