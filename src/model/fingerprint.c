/* fingerprint.c - which model it is: a number made of a network's weights or a world's JSON. Not
 * against malice. */
#include "model/internal.h"

bool vn_hash_part(const vn_model_part *part, uint64_t *hash) {
    const vn_weights *weights = vn_net_weights(part->net);
    size_t largest = 0;
    for (size_t i = 0; i < vn_weights_count(weights); i++)
        if (vn_weights_at(weights, i)->count > largest) largest = vn_weights_at(weights, i)->count;
    float *one = vn_alloc(largest, sizeof *one);
    bool ok = one != NULL;
    for (size_t i = 0; i < vn_weights_count(weights) && ok; i++) {
        ok = vn_values_read(part->values, i, one, NULL) == VN_OK;
        if (ok) *hash = vn_hash_words(*hash, one, vn_weights_at(weights, i)->count);
    }
    vn_free(one);
    return ok;
}

bool vn_hash_world(const json_t *world, uint64_t *out) {
    char *text = vn_json_text(world, JSON_COMPACT | JSON_SORT_KEYS);
    if (text) *out = vn_hash_text(vn_hash_begin, text);
    vn_free(text);
    return text != NULL;
}

void vn_model_keep_fingerprint(vn_model *m, uint64_t hash) {
    m->fingerprint = vn_format("%s-%016llx", m->kind, (unsigned long long)hash);
}

const char *vn_model_fingerprint(vn_model *m) {
    uint64_t hash;
    if (!m) return NULL;
    if (!m->fingerprint && m->row->fingerprint && m->row->fingerprint(m, &hash))
        vn_model_keep_fingerprint(m, hash);
    return m->fingerprint;
}
