/* eval_run.c - the data of a run as a set: the part that it never saw, or the one that it was
 * trained on. It is opened as the run opened it, so that the parts are the same. */
#include <string.h>

#include "api/eval.h"
#include "api/train_latents.h"
#include "api/train_options.h"

/* The run's own options, and what its samples are. */
static vn_status read_options(const char *run, const json_t *vane, vn_train_options *o,
                              vn_shape *sample, vn_err *err) {
    const vn_train_options usual = vn_train_options_default();
    const json_t *shape = vn_run_data_shape(vane);
    const vn_status status =
        vn_train_options_resume(json_object_get(vane, "train"), &usual, o, err);
    if (status) return vn_fail_in(err, "%s/vane.json", run);
    *sample = (vn_shape){0};
    for (size_t i = 0; json_array_size(shape) == 3 && i < 3; i++)
        sample->dim[i] = json_integer_value(json_array_get(shape, i));
    sample->rank = sample->dim[0] > 0 ? 3 : 0;
    return VN_OK;
}

/* [*count] names of the run's classes, borrowed from vane; the list is freed by the caller. */
static vn_status read_classes(const json_t *vane, const char ***names, int32_t *count,
                              vn_err *err) {
    const json_t *list = json_object_get(vane, "classes");
    *count = (int32_t)json_array_size(list);
    *names = vn_calloc((size_t)*count + 1, sizeof **names);
    if (!*names) return vn_no_memory(err);
    for (int32_t i = 0; i < *count; i++)
        if (!((*names)[i] = json_string_value(json_array_get(list, (size_t)i))))
            return vn_fail(err, VN_BAD_FILE, "vane.json: class %d has no name", (int)i);
    return VN_OK;
}

static vn_status open_data(vn_context *vn, const char *run, const json_t *vane, vn_data **out,
                           uint64_t *split, vn_err *err) {
    const json_t *data = json_object_get(vane, "data");
    const char *source = json_string_value(json_object_get(data, "source")), **names = NULL;
    char *list = vn_path_join(run, VN_RUN_FILES);
    int32_t classes = 0;
    vn_train_options o = vn_train_options_default();
    vn_shape sample = {0};
    vn_status status = list ? VN_OK : vn_no_memory(err);
    if (!status && !source)
        status =
            vn_fail(err, VN_BAD_ARGUMENT, "%s: does not say which data it was trained on", run);
    if (!status) status = read_options(run, vane, &o, &sample, err);
    if (!status) status = read_classes(vane, &names, &classes, err);
    const vn_data_options options = {.seed = o.seed,
                                     .validate = o.validate,
                                     .size = o.size,
                                     .grey = o.grey != 0,
                                     .skip_bad = o.skip_bad != 0,
                                     .captions = o.captions ? o.captions : "none",
                                     .list = list && vn_is_file(list) ? list : NULL,
                                     .shape = sample.rank ? &sample : NULL,
                                     .classes = names,
                                     .class_count = classes,
                                     .watch = &vn->watch};
    if (!status) status = vn_data_open(source, &options, out, err);
    if (status == VN_IO) vn_fail_in(err, "the data of %s", run);
    vn_free(names);
    vn_free(list);
    if (status) return status;
    memcpy(split, &o.validate, sizeof *split);
    *split ^= o.seed * 0x9e3779b97f4a7c15u;
    const int64_t was = json_integer_value(json_object_get(data, "fingerprint")),
                  is = (int64_t)vn_data_get_info(*out)->fingerprint;
    if (was == is) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: %s is no longer what it was trained on (%08llx, and was %08llx)", run,
                   source, (unsigned long long)is, (unsigned long long)was);
}

vn_status vn_eval_run_data(vn_context *vn, const char *run, bool training, vn_data **out,
                           int64_t *count, uint64_t *split, vn_err *err) {
    char *path = vn_path_join(run, "vane.json");
    json_t *vane = NULL;
    vn_status status = path ? vn_json_read(path, &vane, err) : vn_no_memory(err);
    if (!status) status = open_data(vn, run, vane, out, split, err);
    vn_free(path);
    json_decref(vane);
    if (status) return status;
    const vn_data_info *info = vn_data_get_info(*out);
    *count = training ? info->train : info->held;
    if (*count > 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: nothing was held out of its data", run);
}
