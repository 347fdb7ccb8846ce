/* world_draw.c - exact samples of a world: a component by its weight, then a normal number along
 * each eigenvector. */
#include "path/internal.h"

#include <math.h>

static const vn_component *choose(const vn_mixture *m, double u) {
    for (size_t k = 0; k + 1 < m->count; k++) {
        u -= exp(m->component[k].log_weight);
        if (u < 0) return &m->component[k];
    }
    return &m->component[m->count - 1];
}

void vn_world_draw(const vn_world *w, int32_t label, uint64_t seed, uint64_t index, float *x) {
    const vn_world_mixtures *model = &w->model[VN_NETWORK_MAIN];
    const vn_component *c = choose(label < 0 ? &model->null : &model->of_class[label],
                                   vn_random_double(seed, VN_STREAM_DATA, index, 0));
    for (size_t i = 0; i < w->size; i++) x[i] = (float)c->mean[i];
    for (size_t i = 0; i < w->size; i++) {
        float z;
        vn_random_normal(&z, 1, seed, VN_STREAM_DATA, index, i + 1);
        const double along = sqrt(c->value[i]) * (double)z;
        if (!c->vector) x[i] += (float)along;
        for (size_t j = 0; c->vector && j < w->size; j++)
            x[j] += (float)(along * c->vector[i * w->size + j]);
    }
}
