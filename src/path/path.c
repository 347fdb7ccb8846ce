/* path.c - opens a path from its text, and computes its levels and straight coordinates. The curves
 * themselves are in ddpm.c (discrete) and curves.c (closed forms); the table is in table.c. */
#include "path/internal.h"

#include <math.h>
#include <string.h>

const vn_level vn_level_clean = {.t = 0, .alpha = 1, .sigma = 0, .dalpha = 0, .dsigma = 0};

double vn_level_ratio(const vn_level *l) {
    return l->sigma / l->alpha;
}

double vn_level_rate(const vn_level *l) {
    return -l->dalpha / l->alpha;
}

double vn_level_diffusion(const vn_level *l) {
    return 2 * l->sigma * (l->dsigma + vn_level_rate(l) * l->sigma);
}

/* In x/alpha the SDE has no drift and g^2/alpha^2 dt = d(sigma/alpha)^2; the result is alpha^2
 * times that integral. */
double vn_step_variance(const vn_level *from, const vn_level *to) {
    const double kept = from->alpha / to->alpha * to->sigma;
    return fmax((from->sigma - kept) * (from->sigma + kept), 0);
}

double vn_step_ratio(const vn_level *from, const vn_level *to) {
    return from->alpha * to->sigma / (to->alpha * from->sigma);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* "ddpm:cosine,T=500" -> "ddpm:schedule=cosine,T=500": a first word without '=' is the value of the
 * row's first parameter, if that is a choice. */
static char *full_text(const char *text) {
    const char *colon = strchr(text, ':');
    if (!colon || !colon[1] || colon[1 + strcspn(colon + 1, "=,")] == '=') return vn_strdup(text);
    size_t name = (size_t)(colon - text);
    for (size_t i = 0; i < vn_path_row_count; i++) {
        const vn_row *row = &vn_path_rows[i].row;
        if (strlen(row->name) == name && strncmp(row->name, text, name) == 0 && row->params &&
            row->params[0].choices)
            return vn_format("%s:%s=%s", row->name, row->params[0].name, colon + 1);
    }
    return vn_strdup(text);
}

/* One text for one path: a value that equals its default counts as not given, except that of a
 * first choice, which is part of the name. */
static void make_canonical(vn_choice *c) {
    const vn_param *params = c->row->params;
    for (int i = 0; params && params[i].name; i++)
        c->given[i] = c->value[i] != params[i].value || (i == 0 && params[i].choices);
}

vn_status vn_path_open(const char *text, vn_path **out, vn_err *err) {
    char *full = full_text(text);
    vn_path *p = vn_calloc(1, sizeof *p);
    vn_status status = VN_OK;
    if (!full || !p) status = vn_no_memory(err);
    if (!status)
        status = vn_choice_parse(full, VN_TABLE("path", vn_path_rows, vn_path_row_count),
                                 &p->choice, err);
    if (!status) {
        p->row = &vn_path_rows[p->choice.index];
        make_canonical(&p->choice);
        if (p->row->open) status = p->row->open(p, err);
    }
    if (status) vn_path_close(&p);
    vn_free(full);
    *out = p;
    return status;
}

void vn_path_close(vn_path **p) {
    if (!*p) return;
    vn_free((*p)->table);
    vn_free(*p);
    *p = NULL;
}

char *vn_path_text(const vn_path *p) {
    const vn_param *params = p->row->row.params;
    char *text = vn_choice_text(&p->choice);
    if (!text || !params || !params[0].choices) return text;
    char *name = strchr(text, ':') + 1; /* "ddpm:schedule=cosine" -> "ddpm:cosine" */
    memmove(name, strchr(name, '=') + 1, strlen(strchr(name, '=')));
    return text;
}

/* ---- levels ---------------------------------------------------------------------------------- */

vn_level vn_path_level(const vn_path *p, double t) {
    vn_level l = {.t = t};
    p->row->level(p, t, &l);
    return l;
}

/* The path's slopes at the t where sigma/alpha = s, with exactly this alpha and sigma. */
static vn_level level_at(const vn_path *p, double s, double alpha, double sigma) {
    vn_level l = vn_path_level(p, p->row->time_of_ratio(p, s));
    l.alpha = alpha;
    l.sigma = sigma;
    return l;
}

vn_level vn_path_level_of_sigma(const vn_path *p, double sigma) {
    if (sigma <= 0) return vn_level_clean;
    double alpha = p->row->alpha_of_sigma(sigma);
    return level_at(p, sigma / alpha, alpha, sigma);
}

vn_level vn_path_level_of_ratio(const vn_path *p, double ratio) {
    if (ratio <= 0) return vn_level_clean;
    double alpha = p->row->alpha_of_ratio(ratio);
    if (isinf(ratio)) return vn_path_level(p, 1);
    return level_at(p, ratio, alpha, ratio * alpha);
}

vn_level vn_path_level_of_step(const vn_path *p, double step) {
    return vn_path_level(p, (step + 1) / p->steps);
}

double vn_path_network_time(const vn_path *p, const vn_level *l) {
    return p->row->network_time(p, l);
}

double vn_path_snap(const vn_path *p, double t) {
    if (!p->steps) return t;
    double step = ceil(t * p->steps - 1e-9);
    return fmin(fmax(step, 1), p->steps) / p->steps;
}

/* ---- straight coordinates -------------------------------------------------------------------- */

double vn_path_scale(const vn_path *p, const vn_level *l) {
    return l->alpha + p->row->straight_k * l->sigma;
}

double vn_path_clock(const vn_path *p, const vn_level *l) {
    return l->sigma / vn_path_scale(p, l);
}

vn_level vn_path_level_of_clock(const vn_path *p, double clock) {
    if (!p->row->straight_k) return vn_path_level_of_ratio(p, clock);
    return vn_path_level_of_ratio(p, clock < 1 ? clock / (1 - clock) : (double)INFINITY);
}

/* ---- routes ---------------------------------------------------------------------------------- */

vn_status vn_route_insert(vn_route *r, int at, int count, const vn_level *levels, vn_err *err) {
    vn_level *level = vn_realloc(r->level, (size_t)r->steps + 1 + (size_t)count, sizeof *level);
    if (!level) return vn_no_memory(err);
    memmove(level + at + count, level + at, (size_t)(r->steps + 1 - at) * sizeof *level);
    memcpy(level + at, levels, (size_t)count * sizeof *level);
    r->level = level;
    r->steps += count;
    return VN_OK;
}

void vn_route_begin_at(vn_route *r, double t) {
    int first = 0;
    t = vn_path_snap(r->path, t);
    while (first < r->steps && r->level[first].t > t) first++;
    if (!first) return; /* it begins there, or below */
    if (r->level[first].t < t) r->level[--first] = vn_path_level(r->path, t);
    r->steps -= first;
    memmove(r->level, r->level + first, (size_t)(r->steps + 1) * sizeof *r->level);
}
