/* fingerprint.c - which model it is: a number made of a network's weights or a world's JSON. Not
 * against malice: FNV-1a, 64 bits (draft-eastlake-fnv), over words of 32 bits. */
#include "api/internal.h"

#include <string.h>

static const uint64_t fnv_offset = 0xcbf29ce484222325u, fnv_prime = 0x100000001b3u;

static uint64_t add_floats(uint64_t hash, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, x + i, sizeof word);
        hash = (hash ^ word) * fnv_prime;
    }
    return hash;
}

static uint64_t add_text(uint64_t hash, const char *text) {
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * fnv_prime;
    return hash;
}

/* Arrays one after the other, without what may lie between them. */
static uint64_t of_network(const vn_model *m) {
    const vn_weights *weights = vn_net_weights(m->net);
    uint64_t hash = fnv_offset;
    for (size_t i = 0; i < vn_weights_count(weights); i++) {
        const vn_weight *w = vn_weights_at(weights, i);
        hash = add_floats(hash, m->values + w->offset, w->count);
    }
    return hash;
}

static void set(vn_model *m, uint64_t hash) {
    m->fingerprint = vn_format("%s-%016llx", m->kind, (unsigned long long)hash);
}

/* However it is laid out. */
void vn_model_set_fingerprint(vn_model *m, const json_t *world) {
    char *text = vn_json_text(world, JSON_COMPACT | JSON_SORT_KEYS);
    if (text && !m->fingerprint) set(m, add_text(fnv_offset, text));
    vn_free(text);
}

const char *vn_model_fingerprint(vn_model *m) {
    if (!m) return NULL;
    if (m->fingerprint || m->callback.predict) return m->fingerprint;
    json_t *world = NULL;
    vn_err unreadable = {0};
    if (m->net)
        set(m, of_network(m));
    else if (vn_json_read(m->source, &world, &unreadable) == VN_OK)
        vn_model_set_fingerprint(m, world);
    json_decref(world);
    return m->fingerprint;
}
