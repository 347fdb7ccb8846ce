/* checkpoint.c - saving a training so that a kill at any instant costs at most the steps since the
 * last save. store.h says why the order of the files makes it so. */
#include "store/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_FOLDER "state"
#define INFO_KEY     "vane.info"
#define OPTIMIZER    "vane.optimizer" /* left out for the first that there was */
#define FIRST        "adamw"
#define MAX_ARRAYS   (VN_STATE_ARRAYS * VN_CHECKPOINT_PARTS)

/* The arrays of a checkpoint, under their prefixes. */
typedef struct array_list {
    size_t count;
    vn_weight_array array[MAX_ARRAYS];
    char prefix[MAX_ARRAYS][80];
} array_list;

/* An array of part i; its values are NULL where there is none. */
static vn_weight_array array_of(const vn_checkpoint *c, int i, vn_state_array which) {
    const vn_checkpoint_part *p = &c->part[i];
    float *const values[VN_STATE_ARRAYS] = {[VN_STATE_LIVE] = p->live,
                                            [VN_STATE_AVERAGE] = p->average,
                                            [VN_STATE_NARROW] = p->narrow,
                                            [VN_STATE_MOMENT1] = p->moment1,
                                            [VN_STATE_MOMENT2] = p->moment2};
    return (vn_weight_array){.prefix = "",
                             .weights =
                                 which == VN_STATE_MOMENT2 ? vn_checkpoint_second(p) : p->weights,
                             .values = values[which],
                             .pieces = c->pieces,
                             .part = i,
                             .which = which};
}

/* snapshot: the averages alone. */
static vn_status add_part(array_list *list, const vn_checkpoint *c, int part, bool snapshot,
                          vn_err *err) {
    static const char *const names[VN_STATE_ARRAYS] = {[VN_STATE_LIVE] = "live",
                                                       [VN_STATE_AVERAGE] = "average",
                                                       [VN_STATE_NARROW] = "narrow",
                                                       [VN_STATE_MOMENT1] = "moment1",
                                                       [VN_STATE_MOMENT2] = "moment2"};
    const char *folder = part > 0 ? c->part[part].folder : "";
    for (vn_state_array i = 0; i < VN_STATE_ARRAYS; i++) {
        const bool averages = i == VN_STATE_AVERAGE || i == VN_STATE_NARROW;
        vn_weight_array array = array_of(c, part, i);
        if (!array.values || (snapshot && !averages)) continue;
        char *prefix = list->prefix[list->count];
        const size_t room = sizeof list->prefix[0];
        const int n = snprintf(prefix, room, "%s%s%s.", folder, part > 0 ? "/" : "", names[i]);
        if (n < 0 || (size_t)n >= room)
            return vn_fail(err, VN_BAD_ARGUMENT, "the folder's name is too long: %.100s", folder);
        array.prefix = prefix;
        list->array[list->count++] = array;
    }
    return VN_OK;
}

static vn_status list_arrays(const vn_checkpoint *c, bool snapshot, array_list *list, vn_err *err) {
    vn_status status = VN_OK;
    list->count = 0;
    for (int i = 0; i < c->parts && !status; i++) status = add_part(list, c, i, snapshot, err);
    return status;
}

bool vn_store_has_checkpoint(const char *dir) {
    char path[4096]; /* not allocated, so that the answer is never "out of memory" */
    int n = snprintf(path, sizeof path, "%s/%s", dir, VN_STATE_FILE);
    return n > 0 && (size_t)n < sizeof path && vn_is_file(path);
}

vn_status vn_store_checkpoint_step(const char *dir, int64_t *step, vn_err *err) {
    char *path = vn_path_join(dir, VN_STATE_FILE);
    if (!path) return vn_no_memory(err);
    const vn_status status = vn_store_weights_step(path, step, err);
    vn_free(path);
    return status;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static const char *optimizer_of(const vn_checkpoint_part *p) {
    return p->optimizer ? p->optimizer : FIRST;
}

/* Under which the state says the optimiser of part i. */
static char *optimizer_key(const vn_checkpoint *c, int i) {
    return i == 0 ? vn_strdup(OPTIMIZER) : vn_format("%s/%s", c->part[i].folder, OPTIMIZER);
}

/* Says the optimiser of part i, but for the first that there was. */
static bool add_optimizer(const vn_checkpoint *c, int i, json_t *metadata) {
    const char *name = optimizer_of(&c->part[i]);
    if (strcmp(name, FIRST) == 0) return true;
    char *key = optimizer_key(c, i);
    const bool ok = key && json_object_set_new(metadata, key, json_string(name)) == 0;
    vn_free(key);
    return ok;
}

static json_t *state_metadata(const vn_checkpoint *c) {
    char step[24];
    snprintf(step, sizeof step, "%lld", (long long)c->step);
    char *info = vn_json_text(c->info, JSON_COMPACT);
    json_t *metadata = info ? json_pack("{ss ss}", VN_STEP_KEY, step, INFO_KEY, info) : NULL;
    vn_free(info);
    for (int i = 0; i < c->parts && metadata; i++) {
        if (add_optimizer(c, i, metadata)) continue;
        json_decref(metadata);
        metadata = NULL;
    }
    return metadata;
}

/* Not with the directory above it: one that was removed while it was trained is not to come back as
 * a part. */
static vn_status make_folder(const char *dir, const char *name, vn_err *err) {
    char *folder = vn_path_join(dir, name);
    vn_status status = folder ? VN_OK : vn_no_memory(err);
    if (!status && mkdir(folder, 0777) != 0 && errno != EEXIST)
        status = vn_fail_errno(err, "%s: cannot be made", folder);
    vn_free(folder);
    return status;
}

static vn_status save_arrays(char *path, const vn_checkpoint *c, bool snapshot, json_t *metadata,
                             vn_err *err) {
    array_list list = {0};
    vn_status status = path && metadata ? list_arrays(c, snapshot, &list, err) : vn_no_memory(err);
    if (!status) status = vn_store_save_arrays(path, list.array, list.count, metadata, err);
    json_decref(metadata);
    vn_free(path);
    return status;
}

static vn_status save_state(const char *dir, const vn_checkpoint *c, vn_err *err) {
    const vn_status status = make_folder(dir, STATE_FOLDER, err);
    return status ? status
                  : save_arrays(vn_path_join(dir, VN_STATE_FILE), c, false, state_metadata(c), err);
}

char *vn_store_snapshot_path(const char *dir, int64_t step) {
    return vn_format("%s/" VN_SNAPSHOTS_FOLDER "/%lld.safetensors", dir, (long long)step);
}

vn_status vn_store_save_snapshot(const char *dir, const vn_checkpoint *c, vn_err *err) {
    vn_status status = make_folder(dir, STATE_FOLDER, err);
    if (!status) status = make_folder(dir, VN_SNAPSHOTS_FOLDER, err);
    if (status) return status;
    char step[24];
    snprintf(step, sizeof step, "%lld", (long long)c->step);
    return save_arrays(vn_store_snapshot_path(dir, c->step), c, true,
                       json_pack("{ss}", VN_STEP_KEY, step), err);
}

/* What people sample from. */
static vn_weight_array shown_of(const vn_checkpoint *c, int part) {
    return array_of(c, part, c->part[part].average ? VN_STATE_AVERAGE : VN_STATE_LIVE);
}

static vn_status save_shown(const char *dir, const vn_checkpoint *c, int part,
                            const vn_weight_array *shown, vn_err *err) {
    char *path = vn_store_weights_path(dir, c->part[part].folder, c->part[part].config);
    if (!path) return vn_no_memory(err);
    const vn_status status = vn_store_save_network(path, shown, c->step, err);
    vn_free(path);
    return status;
}

vn_status vn_store_save_checkpoint(const char *dir, const vn_checkpoint *c, vn_err *err) {
    vn_status status = save_state(dir, c, err);
    for (int i = 0; i < c->parts && !status; i++) {
        const vn_weight_array shown = shown_of(c, i);
        status = save_shown(dir, c, i, &shown, err);
    }
    return status;
}

/* ---- loading --------------------------------------------------------------------------------- */

static vn_status load_info(const vn_safetensors *st, vn_checkpoint *c, vn_err *err) {
    const char *path = vn_safetensors_path(st), *text = vn_safetensors_metadata_text(st, INFO_KEY);
    c->step = vn_store_step_of(st);
    if (!text || c->step < 0)
        return vn_fail(err, VN_BAD_FILE, "%s: is not a training state of vane", path);
    return vn_json_parse(text, strlen(text), path, &c->info, err);
}

/* Moments of another optimiser mean something else. */
static vn_status check_optimizers(const vn_safetensors *st, const vn_checkpoint *c, vn_err *err) {
    for (int i = 0; i < c->parts; i++) {
        char *key = optimizer_key(c, i);
        if (!key) return vn_no_memory(err);
        const char *saved = vn_safetensors_metadata_text(st, key);
        vn_free(key);
        if (strcmp(saved ? saved : FIRST, optimizer_of(&c->part[i])) == 0) continue;
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: is a training by %.60s, which %s cannot go on with",
                       vn_safetensors_path(st), saved ? saved : FIRST, optimizer_of(&c->part[i]));
    }
    return VN_OK;
}

static vn_status load_state(const char *path, vn_checkpoint *c, vn_err *err) {
    array_list list;
    vn_safetensors *st;
    vn_status status = list_arrays(c, false, &list, err);
    if (status) return status;
    status = vn_safetensors_open(path, &st, err);
    if (!status) status = check_optimizers(st, c, err);
    if (!status) status = vn_store_load_arrays(&st, 1, list.array, list.count, NULL, err);
    if (!status) status = load_info(st, c, err);
    vn_safetensors_close(&st);
    return status;
}

/* Writes a part's weights out of the state's arrays, of which the latest that was read may lie
 * where they were. */
static vn_status write_again(const char *dir, const char *state, const vn_checkpoint *c, int part,
                             vn_err *err) {
    array_list list;
    vn_safetensors *st;
    vn_weight_array shown = shown_of(c, part);
    shown.pieces = NULL;
    if (!c->pieces) return save_shown(dir, c, part, &shown, err);
    vn_status status = list_arrays(c, false, &list, err);
    for (size_t i = 0; i < list.count && !status; i++)
        if (list.array[i].part == part && list.array[i].which == shown.which)
            shown.prefix = list.array[i].prefix;
    if (!status) status = vn_safetensors_open(state, &st, err);
    if (status) return status;
    status = vn_store_load_array(st, &shown, err);
    vn_safetensors_close(&st);
    shown.prefix = "";
    return status ? status : save_shown(dir, c, part, &shown, err);
}

/* Writes a part's weights again if they are not those of the state's step. */
static vn_status repair(const char *dir, const char *state, const vn_checkpoint *c, int part,
                        vn_err *err) {
    char *path = vn_store_weights_path(dir, c->part[part].folder, c->part[part].config);
    if (!path) return vn_no_memory(err);
    int64_t step = -1;
    vn_err ignored;
    vn_status status = vn_store_weights_step(path, &step, &ignored);
    vn_free(path);
    if (status == VN_NO_MEMORY) return vn_no_memory(err);
    if ((!status && step == c->step) || (c->pieces && !c->pieces->repairs)) return VN_OK;
    return write_again(dir, state, c, part, err);
}

vn_status vn_store_load_checkpoint(const char *dir, vn_checkpoint *c, vn_err *err) {
    c->info = NULL;
    char *path = vn_path_join(dir, VN_STATE_FILE);
    if (!path) return vn_no_memory(err);
    vn_status status = load_state(path, c, err);
    for (int i = 0; i < c->parts && !status; i++) status = repair(dir, path, c, i, err);
    vn_free(path);
    if (status) {
        json_decref(c->info);
        c->info = NULL;
    }
    return status;
}

/* ---- removing -------------------------------------------------------------------------------- */

vn_status vn_store_remove_file(char *path, vn_err *err) {
    if (!path) return vn_no_memory(err);
    vn_status status = unlink(path) == 0 || errno == ENOENT
                           ? VN_OK
                           : vn_fail_errno(err, "%s: cannot be removed", path);
    vn_free(path);
    return status;
}

vn_status vn_store_remove_checkpoint(const char *dir, const vn_checkpoint *c, vn_err *err) {
    vn_status status = vn_store_remove_file(vn_path_join(dir, VN_STATE_FILE), err);
    for (int i = 0; i < c->parts && !status; i++)
        status = vn_store_remove_file(
            vn_store_weights_path(dir, c->part[i].folder, c->part[i].config), err);
    return status;
}
