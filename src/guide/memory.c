/* memory.c - the running average of predictions over the steps of a sampling run. It is of each
 * sample alone, begins anew with each run, and where a run goes back to more noise. */
#include "guide/internal.h"

#include <string.h>

const float *vn_average_before(const vn_average *a, vn_guide *g, const vn_guide_at *at,
                               const float *now) {
    const size_t n = (size_t)(at->n * g->denoiser->size);
    const float keep = (float)a->keep;
    float *mean = g->slot[a->mean], *last = g->slot[a->last];
    if (at->request == 0 && at->history == 1) memcpy(mean, last, n * sizeof *mean);
    if (at->request == 0 && at->history > 1)
        for (size_t i = 0; i < n; i++) mean[i] = last[i] + keep * (mean[i] - last[i]);
    if (at->request == 0) memcpy(last, now, n * sizeof *last);
    return at->history > 0 ? mean : NULL;
}
