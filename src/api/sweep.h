/* sweep.h - what the files of vn_sweep share: one call of it, how a point is measured, and what is
 * told in the end. */
#ifndef VN_API_SWEEP_H
#define VN_API_SWEEP_H

#include "api/internal.h"
#include "report/report.h"
#include "sweep/sweep.h"

/* One call. Stays where it is: the search and the progress point into it. */
typedef struct vn_sweeping {
    vn_context *vn;
    vn_model *m;
    const char *out;
    vn_sweep_options o; /* what was left open is chosen by now */
    const char *objective;
    vn_sweep_folder folder;
    vn_sweep_search search;
    /* what its grid points to where the caller names none */
    vn_sampling_defaults usual;
    const char *usual_guide, *usual_sampler;
    char *cache; /* a folder for features of the data */

    /* of the point that is being measured, for its progress */
    vn_watch outer; /* the caller's */
    const vn_sweep_state *state;
    char what[256];
    double began, work; /* of this call's first point; of this point */
    double sampling_from, sampling_to, latest;
    int64_t sampled, to_sample;
} vn_sweeping;

/* As vn_sample_options of a point; count 0. */
vn_sample_options vn_sweeping_options(const vn_sweeping *s, const vn_point *p);
/* Whether samples so drawn have no condition: neither classes nor texts. */
bool vn_sweeping_is_blind(const vn_sweeping *s, const vn_sample_options *o);
/* For vn_sweep_search.measure (sweep_measure.c). */
vn_status vn_sweeping_measure(void *user, const vn_point *p, int64_t count,
                              const vn_sweep_state *state, vn_point_result *out, vn_err *err);
/* The result, the page and the run's own settings (sweep_told.c). */
vn_status vn_sweeping_tell(vn_sweeping *s, vn_sweep_result *out, vn_err *err);
/* One point as the caller's callback is told. */
void vn_sweeping_tell_point(const vn_sweeping *s, const vn_point_result *r);

#endif
