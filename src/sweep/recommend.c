/* recommend.c - points by name and rank: which of two is better, and which one to sample with. */
#include "sweep/sweep.h"

#include <math.h>
#include <string.h>

const vn_point_number *vn_point_find(const vn_point_result *r, const char *metric) {
    for (size_t i = 0; i < r->numbers; i++)
        if (!strcmp(r->number[i].metric, metric)) return &r->number[i];
    return NULL;
}

bool vn_metric_higher_is_better(const char *metric) {
    static const char *const rising[] = {"accuracy", "precision", "recall", "density",
                                         "coverage", "psnr",      "ssim"};
    for (size_t i = 0; i < VN_COUNT(rising); i++)
        if (!strcmp(metric, rising[i])) return true;
    return false;
}

void vn_point_text(const vn_point *p, char *text, size_t size) {
    char guidance[32];
    vn_number_text(guidance, p->guidance);
    const size_t n = (size_t)vn_snprintf(text, size, "%s, guidance %s%s%s", p->guide, guidance,
                                         p->sampler ? ", " : "", p->sampler ? p->sampler : "");
    if (p->steps > 0 && n < size)
        vn_snprintf(text + n, size - n, ", %d step%s", p->steps, VN_S(p->steps));
}

/* Network passes; where they are not known, the steps. */
static double cost(const vn_point_result *r) {
    return isfinite(r->passes) ? r->passes : (double)r->point.steps;
}

/* Whether r is a candidate, and its objective so turned that less is better. */
static bool take(const vn_point_result *r, const char *objective, int64_t count, double *value,
                 double *bound) {
    const vn_point_number *n = r->count == count && !r->error ? vn_point_find(r, objective) : NULL;
    if (!n || !isfinite(n->value)) return false;
    const bool rises = vn_metric_higher_is_better(objective);
    *value = rises ? -n->value : n->value;
    *bound = rises ? -n->low : n->high;
    if (!isfinite(*bound)) *bound = *value;
    return true;
}

const vn_point_result *vn_sweep_recommend(const vn_sweep_folder *s, const char *objective,
                                          int64_t count, const vn_point_result **best) {
    const vn_point_result *first = NULL, *chosen = NULL;
    double value, bound, least = HUGE_VAL, limit = HUGE_VAL, of_chosen = HUGE_VAL;
    for (size_t i = 0; i < s->count; i++) {
        if (!take(&s->result[i], objective, count, &value, &bound) || !(value < least)) continue;
        first = &s->result[i];
        least = value;
        limit = bound;
    }
    for (size_t i = 0; i < s->count; i++) {
        const vn_point_result *r = &s->result[i];
        if (!take(r, objective, count, &value, &bound) || value > limit) continue;
        if (chosen && (cost(r) > cost(chosen) || (cost(r) == cost(chosen) && value >= of_chosen)))
            continue;
        chosen = r;
        of_chosen = value;
    }
    if (best) *best = first;
    return chosen;
}
