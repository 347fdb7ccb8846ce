/* cache.c - features of data that are kept between calls: one .safetensors a set and kind of
 * features, whose name is made of both. What is there is taken only where it says that it is the
 * same; what cannot be read or written is told, and costs time alone. */
#include <string.h>

#include "metric/internal.h"

/* DIR/features-KEY-HASH.safetensors; new string or NULL. */
static char *path_of(const vn_measuring *m, const vn_set *set) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = vn_extractor_name(m->o->features); *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    char name[160];
    vn_snprintf(name, sizeof name, "features-%s-%016llx.safetensors", set->key,
                (unsigned long long)hash);
    return vn_path_join(m->o->cache, name);
}

bool vn_features_cached(const vn_measuring *m, const vn_set *set) {
    return m->o->cache && set->key[0] && m->o->features && !m->raw && !m->pairs &&
           m->o->features->self;
}

static bool same(const vn_safetensors *st, const char *key, const char *text) {
    const char *found = vn_safetensors_metadata_text(st, key);
    return found && !strcmp(found, text);
}

bool vn_features_load(const vn_measuring *m, const vn_set *set, vn_features *out) {
    char *path = path_of(m, set);
    vn_safetensors *st = NULL;
    vn_err err = {0};
    bool there = false;
    if (path && vn_is_file(path)) {
        if (vn_safetensors_open(path, &st, &err) == VN_OK) {
            const vn_array *t = vn_safetensors_find(st, "features");
            const vn_shape shape = VN_SHAPE(out->n, out->d);
            there = t && t->dtype == VN_F32 && vn_shape_equal(&t->shape, &shape) &&
                    same(st, "key", set->key) &&
                    same(st, "features", vn_extractor_name(m->o->features));
            if (there) vn_array_read_f32(t, out->x);
        } else {
            vn_log(m->o->watch, VN_LOG_WARNING, "kept features are computed again: %s", err.text);
        }
    }
    vn_safetensors_close(&st);
    vn_free(path);
    return there;
}

void vn_features_save(const vn_measuring *m, const vn_set *set, const vn_features *f) {
    char *path = path_of(m, set);
    vn_err err = {0};
    json_t *metadata =
        json_pack("{s:s, s:s}", "key", set->key, "features", vn_extractor_name(m->o->features));
    const vn_array array = {
        .name = "features", .dtype = VN_F32, .shape = VN_SHAPE(f->n, f->d), .data = f->x};
    vn_status status = path && metadata ? vn_make_dirs(m->o->cache, &err) : vn_no_memory(&err);
    if (!status) status = vn_safetensors_write(path, &array, 1, metadata, &err);
    if (status) vn_log(m->o->watch, VN_LOG_WARNING, "features are not kept: %s", err.text);
    json_decref(metadata);
    vn_free(path);
}
