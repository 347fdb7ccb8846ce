/* contrast.c - contrastive flow matching (2506.05350): a prediction shall not only be near its own
 * sample's target, but also far from that of another sample, of another class if there is one:
 *
 *     |f(x_t) - u|^2 - contrast |f(x_t) - u'|^2
 *
 * u' is the target that the other sample, with its own noise, has at the same level. The minimum is
 * (E[u|x_t] - contrast E[u'])/(1 - contrast): what all classes have in common is taken away, as
 * guidance does. So the null condition, which is what they have in common, is trained without.
 *
 * The other sample is drawn from all of the step's samples by (seed, sample, step), so that
 * microbatches and processes do not matter. */
#include "objective/internal.h"

#include <string.h>

/* Whether sample k may stand against sample i: of another class, if `other`. */
static bool may_stand(const int32_t *labels, int64_t i, int64_t k, bool other) {
    return k != i && (!other || labels[k] != labels[i]);
}

static int64_t count_others(const int32_t *labels, int64_t total, int64_t i, bool other) {
    int64_t count = 0;
    for (int64_t k = 0; k < total; k++) count += may_stand(labels, i, k, other);
    return count;
}

int64_t vn_contrast_partner(const int32_t *labels, int64_t total, int64_t i, double u) {
    bool other = labels != NULL;
    int64_t count = count_others(labels, total, i, other);
    if (!count && other) count = count_others(labels, total, i, other = false);
    int64_t left = (int64_t)(u * (double)count);
    for (int64_t k = 0; k < total && count; k++)
        if (may_stand(labels, i, k, other) && left-- == 0) return k;
    return -1;
}

/* The other sample's target at this sample's level; zeros where there is none. */
static void fill_other(const vn_loss_sample *s, float *restrict row) {
    const float raw_x0 = (float)s->m->raw_x0, raw_eps = (float)s->m->raw_eps;
    const float *restrict x0 = s->other_x0;
    const size_t size = (size_t)s->size;
    if (!x0) {
        memset(row, 0, size * sizeof *row);
        return;
    }
    if (s->other_noise)
        memcpy(row, s->other_noise, size * sizeof *row);
    else
        vn_random_normal(row, size, s->seed, VN_STREAM_TRAIN_NOISE, s->other, s->step);
    for (size_t j = 0; j < size; j++) row[j] = raw_x0 * x0[j] + raw_eps * row[j];
}

static void fill_share(const vn_loss_sample *s, float *row) {
    const double weight = vn_weight_of(s->choice, s->prediction, s->level);
    *row = s->other_x0 ? (float)(s->choice->value[VN_CONTRAST] * weight) : 0;
}

vn_node *vn_contrast_loss(vn_loss *l, vn_node *prediction) {
    vn_graph *g = l->g;
    vn_node *other = vn_loss_filled(l, "other", l->x->shape, fill_other);
    vn_node *share = vn_loss_filled(l, "contrast", VN_SHAPE(l->x->shape.dim[0]), fill_share);
    vn_node *error = vn_unary(g, vn_sub(g, prediction, other), VN_FN_SQUARE);
    return vn_mean(g, vn_mul(g, error, vn_per_sample(g, share, l->x)));
}
