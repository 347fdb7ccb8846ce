/* population.c - resampling for sequential Monte Carlo among the samples of a batch. The samples of
 * one condition are one population; a guide keeps their log weights, and here copies of samples
 * with large weights replace those with small ones:
 *
 *     ESS = (sum of w)^2 / sum of w^2, out of K         how many equal samples these are worth
 *     sample i survives floor or ceil of K w_i times    systematic resampling (Carpenter et al.
 *                                                       1999)
 *
 * A sample that survives keeps its own place, so that resampling equal weights moves nothing. One
 * random number is drawn for a population, keyed by (seed, index of its first sample, step). */
#include "guide/internal.h"

#include <math.h>

typedef struct particle_weights {
    int64_t count, first;  /* samples, and the first of them */
    double top, sum, sum2; /* the largest log weight; sums of exp(log weight - top), and squares */
} particle_weights;

static particle_weights weigh(const vn_guide_at *at, const double *log_weight, int32_t label) {
    particle_weights w = {.top = (double)-INFINITY};
    for (int64_t i = 0; i < at->n; i++)
        if (at->condition[i] == label) {
            if (!w.count++) w.first = i;
            w.top = fmax(w.top, log_weight[i]);
        }
    for (int64_t i = 0; i < at->n; i++)
        if (at->condition[i] == label) {
            const double one = exp(log_weight[i] - w.top);
            w.sum += one;
            w.sum2 += one * one;
        }
    return w;
}

/* places[i]: how many places sample i gets. The samples lie one after another on a line of length
 * K, each as long as K w_i; places[i] counts the points u, u + 1, .. that lie in sample i. */
static void share_out(const vn_guide_at *at, const particle_weights *w, int32_t label,
                      const double *log_weight, int32_t *places) {
    const double u = vn_random_double(at->seed, VN_STREAM_SELECT, at->first + (uint64_t)w->first,
                                      (uint64_t)at->step);
    double end = 0;
    int64_t given = 0, left = w->count;
    for (int64_t i = 0; i < at->n; i++) {
        if (at->condition[i] != label) continue;
        end += exp(log_weight[i] - w->top) / w->sum * (double)w->count;
        const int64_t upto =
            --left ? (int64_t)fmin(fmax(ceil(end - u), 0), (double)w->count) : w->count;
        places[i] = (int32_t)(upto - given);
        given = upto;
    }
}

/* Copies of samples with several places go to the places of those with none. */
static void fill_places(const vn_guide_at *at, int32_t label, int32_t *places, int64_t *ancestor) {
    int64_t heavy = 0;
    for (int64_t i = 0; i < at->n; i++) {
        if (at->condition[i] != label || places[i]) continue;
        while (at->condition[heavy] != label || places[heavy] < 2) heavy++;
        places[heavy]--;
        ancestor[i] = heavy;
    }
}

/* Refuses weights that are not finite: they would leave one sample in all places. */
static bool check_weights(vn_guide *g, const vn_guide_at *at) {
    for (int64_t i = 0; i < at->n && !g->status; i++)
        if (!isfinite(g->log_weight[i]))
            g->status = vn_fail(&g->err, VN_NOT_FINITE, "the weight of sample %llu is not finite",
                                (unsigned long long)at->first + (unsigned long long)i);
    return !g->status;
}

/* Whether a row before this one has its condition. n^2/2 comparisons for a batch of n conditions
 * that all differ, which is little beside n passes through a network. */
static bool seen_before(const vn_guide_at *at, int64_t row) {
    for (int64_t i = 0; i < row; i++)
        if (at->condition[i] == at->condition[row]) return true;
    return false;
}

void vn_population_resample(vn_guide *g, vn_population *p, double ess) {
    const vn_guide_at *at = p->at;
    if (!check_weights(g, at)) return;
    for (int64_t first = 0; first < at->n; first++) {
        const vn_condition label = at->condition[first];
        if (seen_before(at, first)) continue;
        const particle_weights w = weigh(at, g->log_weight, label);
        if (w.sum * w.sum >= ess * (double)w.count * w.sum2) continue;
        share_out(at, &w, label, g->log_weight, g->condition);
        fill_places(at, label, g->condition, p->ancestor);
        for (int64_t i = 0; i < at->n; i++)
            if (at->condition[i] == label) g->log_weight[i] = 0;
    }
}

bool vn_population_ends(const vn_population *p) {
    return p->at->step == p->at->steps - 1;
}
