/* mixture.c - the exact predictions of a mixture of Gaussians. With x0 ~ sum of w_k N(m_k, S_k) and
 * x = alpha x0 + sigma eps,
 *
 *     p(x) = sum of w_k N(alpha m_k, alpha^2 S_k + sigma^2 I)
 *
 * so in the eigenvectors of S_k everything is one division per coordinate. y_k = V_k (x - alpha
 * m_k) and the variances alpha^2 lambda + sigma^2 give density, E[x0|x], E[eps|x], its derivative
 * and p(class|x). All in double. */
#include "path/internal.h"

#include <math.h>

static const vn_mixture *mixture_of(const vn_world *w, vn_network which, int32_t label) {
    const vn_world_mixtures *model = &w->model[which];
    return label < 0 ? &model->null : &model->of_class[label];
}

/* Work space for M = max_components: y [M,D], log weights [M], c [M], z [D], back [D]. */
typedef struct workspace {
    double *y, *log_w, *c, *z, *back;
} workspace;

size_t vn_world_work(const vn_world *w) {
    return w->max_components * (w->size + 2) + 2 * w->size;
}

static workspace scratch_of(const vn_world *w, double *work) {
    double *after = work + w->max_components * w->size;
    return (workspace){work, after, after + w->max_components, after + 2 * w->max_components,
                       after + 2 * w->max_components + w->size};
}

/* out = V (x - scale * mean) */
static void into_axes(const vn_component *k, size_t size, const double *x, double scale,
                      double *out) {
    if (!k->vector) {
        for (size_t i = 0; i < size; i++) out[i] = x[i] - scale * k->mean[i];
        return;
    }
    for (size_t i = 0; i < size; i++) {
        const double *v = k->vector + i * size;
        double sum = 0;
        for (size_t j = 0; j < size; j++) sum += v[j] * (x[j] - scale * k->mean[j]);
        out[i] = sum;
    }
}

/* out += w V^T y */
static void add_from_axes(const vn_component *k, size_t size, double w, const double *y,
                          double *out) {
    for (size_t i = 0; i < size; i++) {
        if (!k->vector) {
            out[i] += w * y[i];
            continue;
        }
        const double *v = k->vector + i * size;
        for (size_t j = 0; j < size; j++) out[j] += w * y[i] * v[j];
    }
}

static double variance(const vn_component *k, size_t i, double alpha, double sigma) {
    return alpha * alpha * k->value[i] + sigma * sigma;
}

/* Fills y and log_w; returns log p(x), and makes log_w the log of p(component|x). */
static double weigh(const vn_mixture *m, size_t size, double alpha, double sigma, const double *x,
                    const workspace *r) {
    double top = (double)-INFINITY, sum = 0;
    for (size_t k = 0; k < m->count; k++) {
        const vn_component *c = &m->component[k];
        double *y = r->y + k * size, q = 0;
        into_axes(c, size, x, alpha, y);
        for (size_t i = 0; i < size; i++) {
            double var = variance(c, i, alpha, sigma);
            q += y[i] * y[i] / var + log(var);
        }
        r->log_w[k] = c->log_weight - 0.5 * q;
        top = fmax(top, r->log_w[k]);
    }
    for (size_t k = 0; k < m->count; k++) sum += exp(r->log_w[k] - top);
    double log_sum = top + log(sum);
    for (size_t k = 0; k < m->count; k++) r->log_w[k] -= log_sum;
    return log_sum - 0.5 * (double)size * log(2 * acos(-1.0));
}

double vn_world_log_density(const vn_world *w, vn_network which, int32_t label, double alpha,
                            double sigma, const double *x, double *work) {
    workspace r = scratch_of(w, work);
    return weigh(mixture_of(w, which, label), w->size, alpha, sigma, x, &r);
}

/* E[x0|x] = sum of w_k (m_k + V^T alpha lambda/var y), E[eps|x] = sum of w_k V^T sigma/var y. */
void vn_world_denoise(const vn_world *w, vn_network which, int32_t label, double alpha,
                      double sigma, const double *x, double *x0, double *eps, double *work) {
    const vn_mixture *m = mixture_of(w, which, label);
    const size_t size = w->size;
    workspace r = scratch_of(w, work);
    weigh(m, size, alpha, sigma, x, &r);
    for (size_t i = 0; i < size; i++) x0[i] = eps[i] = 0;
    for (size_t k = 0; k < m->count; k++) {
        const vn_component *c = &m->component[k];
        double weight = exp(r.log_w[k]), *y = r.y + k * size;
        if (weight == 0) continue;
        for (size_t i = 0; i < size; i++) {
            double over = y[i] / variance(c, i, alpha, sigma);
            x0[i] += weight * c->mean[i];
            y[i] = alpha * c->value[i] * over;
            r.z[i] = sigma * over;
        }
        add_from_axes(c, size, weight, y, x0);
        add_from_axes(c, size, weight, r.z, eps);
    }
}

/* With mu_k the mean of x0 in component k and s_k its score: J^T v = sum of w_k (G_k v + s_k
 * (mu_k.v - x0.v)), where G_k = V^T diag(alpha lambda/var) V. */
void vn_world_vjp(const vn_world *w, vn_network which, int32_t label, double alpha, double sigma,
                  const double *x, const double *v, double *out, double *work) {
    const vn_mixture *m = mixture_of(w, which, label);
    const size_t size = w->size;
    workspace r = scratch_of(w, work);
    weigh(m, size, alpha, sigma, x, &r);
    double mean = 0; /* x0.v */
    for (size_t k = 0; k < m->count; k++) {
        const vn_component *c = &m->component[k];
        double dot = 0;
        into_axes(c, size, v, 0, r.z);
        for (size_t i = 0; i < size; i++)
            dot += c->mean[i] * v[i] +
                   alpha * c->value[i] / variance(c, i, alpha, sigma) * r.y[k * size + i] * r.z[i];
        r.c[k] = dot;
        mean += exp(r.log_w[k]) * dot;
    }
    for (size_t i = 0; i < size; i++) out[i] = 0;
    for (size_t k = 0; k < m->count; k++) {
        const vn_component *c = &m->component[k];
        into_axes(c, size, v, 0, r.z);
        for (size_t i = 0; i < size; i++)
            r.back[i] = (alpha * c->value[i] * r.z[i] - r.y[k * size + i] * (r.c[k] - mean)) /
                        variance(c, i, alpha, sigma);
        add_from_axes(c, size, exp(r.log_w[k]), r.back, out);
    }
}

void vn_world_posterior(const vn_world *w, double alpha, double sigma, const double *x, double *out,
                        double *work) {
    double top = (double)-INFINITY, sum = 0;
    for (int32_t y = 0; y < w->classes; y++) {
        out[y] =
            w->log_prior[y] + vn_world_log_density(w, VN_NETWORK_MAIN, y, alpha, sigma, x, work);
        top = fmax(top, out[y]);
    }
    for (int32_t y = 0; y < w->classes; y++) sum += out[y] = exp(out[y] - top);
    for (int32_t y = 0; y < w->classes; y++) out[y] /= sum;
}
