/* whole.c - the samples of a whole step, where an objective holds samples against each other that
 * different microbatches, or processes, score. */
#include "train/internal.h"

bool vn_whole_is_needed(const vn_train_setup *s) {
    return vn_objective_contrasts(s->objective) && vn_microbatches(s) > 1;
}

static size_t numbers(const vn_train_setup *s) {
    return (size_t)(s->batch * vn_shape_count(&vn_data_get_info(s->data)->sample));
}

size_t vn_whole_bytes(const vn_train_setup *s) {
    const size_t arrays = vn_data_get_info(s->data)->brings_noise ? 2 : 1;
    if (!vn_whole_is_needed(s)) return 0;
    return arrays * numbers(s) * sizeof(float) + (size_t)s->batch * sizeof(int32_t);
}

vn_status vn_whole_open(vn_whole *w, const vn_train_setup *s, vn_err *err) {
    const bool brings = vn_data_get_info(s->data)->brings_noise;
    w->x0 = vn_alloc_aligned(numbers(s), sizeof *w->x0);
    if (brings) w->noise = vn_alloc_aligned(numbers(s), sizeof *w->noise);
    w->labels = vn_alloc((size_t)s->batch, sizeof *w->labels);
    return w->x0 && w->labels && (w->noise || !brings) ? VN_OK : vn_no_memory(err);
}

void vn_whole_close(vn_whole *w) {
    vn_free(w->x0);
    vn_free(w->noise);
    vn_free(w->labels);
    *w = (vn_whole){0};
}
