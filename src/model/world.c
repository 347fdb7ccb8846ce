/* world.c - a model that is exact: a mixture of Gaussians (path/world.h), right on every path. */
#include "model/internal.h"

static const char *world_name(const void *world, int32_t i) {
    return vn_world_class_name(world, i);
}

/* Makes the world the model's own. */
static vn_status take(vn_model *m, vn_world *world, vn_err *err) {
    m->truth = m->self = world;
    m->size = vn_world_size(world);
    m->sample = VN_SHAPE(m->size);
    m->has_null = true;
    return vn_model_copy_names(m, vn_world_classes(world), world_name, world, err);
}

/* Refuses a file of a model, such as its config.json, and names the model. */
static vn_status open(vn_model *m, const vn_model_source *source, vn_err *err) {
    static const char *const parts[] = {"config.json", "model_index.json", "vane.json",
                                        ".safetensors"};
    bool part = false;
    for (size_t i = 0; i < VN_COUNT(parts); i++) part = part || vn_ends_with(m->source, parts[i]);
    char *dir = part && vn_is_file(m->source) ? vn_model_dir_around(m->source) : NULL;
    vn_status status = VN_OK;
    if (dir) {
        status = vn_fail(err, VN_BAD_FILE, "%s: is a part of the model %s; name that folder",
                         m->source, dir);
    } else {
        vn_world *world = NULL;
        status = vn_world_open(m->source, &world, err);
        if (!status) status = take(m, world, err);
    }
    vn_free(dir);
    if (!status && source->null_class >= 0)
        status = vn_fail(err, VN_BAD_ARGUMENT, "`null_class` %d has no effect on a world",
                         (int)source->null_class);
    if (!status && source->size)
        status =
            vn_fail(err, VN_BAD_ARGUMENT, "`size` %.40s has no effect on a world", source->size);
    return status;
}

static bool detect(const char *path) {
    (void)path;
    return true; /* what nothing else is; its reader says what is wrong with it */
}

static vn_status make_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err) {
    return vn_world_denoiser(m->self, path, NULL, m->engine.pool, out, err);
}

static void close_denoiser(vn_model *m) {
    vn_world_denoiser_close(&m->denoiser);
}

/* Reads the file again, which may be gone. */
static bool fingerprint(vn_model *m, uint64_t *out) {
    json_t *world = NULL;
    vn_err unreadable = {0};
    const bool ok = !vn_json_read(m->source, &world, &unreadable) && vn_hash_world(world, out);
    json_decref(world);
    return ok;
}

static vn_status share(vn_model *m, const vn_model *of, vn_err *err) {
    (void)err;
    m->truth = m->self = vn_world_share(of->self);
    return VN_OK;
}

static void close(vn_model *m) {
    vn_world *world = m->self;
    vn_world_close(&world);
}

const vn_model_row vn_world_model = {
    .row = {"world", "an exact mixture of Gaussians", "", NULL},
    .detect = detect,
    .open = open,
    .denoiser = make_denoiser,
    .close_denoiser = close_denoiser,
    .fingerprint = fingerprint,
    .share = share,
    .close = close,
    .any_path = true,
};

vn_status vn_model_of_world(vn_context *vn, const vn_engine *engine, const json_t *json,
                            vn_model **out, vn_err *err) {
    vn_world *world = NULL;
    uint64_t hash;
    *out = NULL;
    vn_model *m = NULL;
    vn_status status = vn_model_new(vn, engine, &vn_world_model, "world", &m, err);
    if (!status) status = vn_world_from_json(json, &world, err);
    if (!status) status = take(m, world, err);
    if (!status && vn_hash_world(json, &hash)) vn_model_keep_fingerprint(m, hash);
    if (status) vn_model_close(&m);
    *out = m;
    return status;
}
