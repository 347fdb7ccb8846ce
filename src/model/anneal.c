/* anneal.c - noise on what a condition feeds to a network, more of it where x has more: CADS
 * (2310.17347). The moments that are kept are those of one sample's array: the paper's code takes
 * them of the whole batch, on which a sample would then depend. */
#include "model/internal.h"

#include <math.h>
#include <string.h>

double vn_anneal_kept(const vn_anneal *a, double t) {
    if (t <= a->from) return 1;
    return t >= a->to ? 0 : (a->to - t) / (a->to - a->from);
}

bool vn_is_annealed(const vn_port *p) {
    static const char *const names[] = {"encoder_hidden_states", "pooled_projections",
                                        "text_embeds", "class_labels"};
    for (size_t i = 0; i < VN_COUNT(names); i++)
        if (!strcmp(p->name, names[i])) return !p->below && p->dtype != VN_I32 && p->shape.rank > 1;
    return false;
}

typedef struct moments {
    double mean, deviation;
} moments;

static moments moments_of(const float *y, size_t n) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += (double)y[i];
    const double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += ((double)y[i] - mean) * ((double)y[i] - mean);
    return (moments){mean, sqrt(squares / (double)n)};
}

void vn_anneal_array(const vn_anneal *a, double kept, const float *noise, size_t n, float *y) {
    if (kept >= 1) return;
    const moments before = moments_of(y, n);
    const double signal = sqrt(kept), amount = a->scale * sqrt(1 - kept);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(signal * (double)y[i] + amount * (double)noise[i]);
    const moments after = moments_of(y, n);
    if (!(after.deviation > 0)) return;
    const double stretch = before.deviation / after.deviation;
    for (size_t i = 0; i < n; i++) {
        const double moved = ((double)y[i] - after.mean) * stretch + before.mean;
        y[i] = (float)((double)y[i] + a->mix * (moved - (double)y[i]));
    }
}
