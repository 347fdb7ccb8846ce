/* describe_data.c - vn_describe of data: what it is, what training would make of it, and the
 * command to type. */
#include "api/internal.h"
#include "data/data.h"

#include <string.h>

/* The name that a run of this data might have: the last part of its path, without an ending, other
 * characters of ASCII as '-'. New string or NULL. */
static char *run_name(const char *source) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t end = strlen(source);
    while (end > 0 && source[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && source[begin - 1] != '/' && source[begin - 1] != ':') begin--;
    size_t length = strcspn(source + begin, ".:=");
    if (begin + length > end) length = end - begin;
    if (length == 0) return vn_strdup("runs/first");
    char *name = vn_format("runs/%.*s", (int)length, source + begin);
    for (char *c = name ? name + strlen("runs/") : NULL; c && *c; c++) {
        if ((unsigned char)*c < 0x80 && !strchr(plain, *c)) *c = '-';
    }
    return name;
}

static json_t *command(const char *source, int64_t unreadable) {
    char *name = run_name(source), *data = vn_shell_word(source),
         *run = name ? vn_shell_word(name) : NULL;
    json_t *text = data && run ? json_sprintf("vane train %s --out %s --minutes 30%s", data, run,
                                              unreadable > 0 ? " --skip-bad" : "")
                               : NULL;
    if (!text && data && run) { /* the name is not UTF-8 */
        char *raw = vn_format("vane train %s --out %s --minutes 30%s", data, run,
                              unreadable > 0 ? " --skip-bad" : "");
        text = raw ? vn_json_string(raw) : NULL;
        vn_free(raw);
    }
    vn_free(name);
    vn_free(data);
    vn_free(run);
    return text;
}

/* What a training run without choices is given: {"size": "32x32", "channels": 3}, or {"dimension":
 * 2}. */
static json_t *trained_as(const vn_data_info *info) {
    if (!vn_shape_is_image(&info->sample))
        return json_pack("{s:I}", "dimension", (json_int_t)info->sample.dim[0]);
    return json_pack(
        "{s:o, s:I}", "size",
        json_sprintf("%lldx%lld", (long long)info->sample.dim[2], (long long)info->sample.dim[1]),
        "channels", (json_int_t)info->sample.dim[0]);
}

json_t *vn_describe_data(vn_context *vn, const char *path, vn_err *err) {
    const vn_watch quiet = {
        .progress = vn->watch.progress, .user = vn->watch.user, .cancel = vn->watch.cancel};
    const vn_data_options options = {.threads = vn_thread_pool_threads(vn->pool),
                                     .check = true,
                                     .skip_bad = true,
                                     .watch = &quiet};
    vn_data *data = NULL;
    json_t *what = NULL, *out = NULL;
    vn_status status = vn_data_open(path, &options, &data, err);
    if (!status) status = vn_data_describe(data, &what, err);
    if (!status) {
        const vn_data_info *info = vn_data_get_info(data);
        out = json_pack("{s:s}", "is", "data");
        const bool ok = out && json_object_update(out, what) == 0 &&
                        json_object_set_new(out, "training_takes", trained_as(info)) == 0 &&
                        json_object_set_new(out, "train_with", command(path, info->skipped)) == 0;
        if (!ok) json_decref(out);
        if (!ok) out = NULL;
        if (!ok) vn_no_memory(err);
    }
    json_decref(what);
    vn_data_close(&data);
    return out;
}

/* ---- tensors of samples ---------------------------------------------------------------------- */

/* How many samples each label has, in the order of the labels. */
static json_t *count_labels(const int32_t *labels, int64_t n) {
    enum { MAX_LABELS = 65536 };
    json_t *list = json_array();
    /* the first are those without a class */
    int64_t *samples = vn_calloc(MAX_LABELS + 1, sizeof *samples);
    bool ok = list && samples;
    for (int64_t i = 0; ok && i < n; i++)
        if (labels[i] >= -1 && labels[i] < MAX_LABELS) samples[labels[i] + 1]++;
    for (int32_t k = 0; ok && k <= MAX_LABELS; k++)
        if (samples[k] > 0)
            ok = json_array_append_new(
                     list, json_pack("{s:o, s:I}", "name",
                                     k > 0 ? json_sprintf("%d", (int)k - 1) : json_string("none"),
                                     "count", (json_int_t)samples[k])) == 0;
    vn_free(samples);
    if (ok) return list;
    json_decref(list);
    return NULL;
}

vn_status vn_describe_samples(const vn_safetensors *st, json_t *out, vn_err *err) {
    const vn_array *samples = vn_safetensors_find(st, "samples"),
                   *labels = vn_safetensors_find(st, "labels");
    if (!samples || samples->shape.rank < 2) return VN_OK;
    const int64_t n = samples->shape.dim[0];
    if (json_object_set_new(out, "count", json_integer((json_int_t)n)) != 0)
        return vn_no_memory(err);
    if (!labels || labels->shape.rank != 1 || labels->shape.dim[0] != n || n == 0) return VN_OK;
    int32_t *values = vn_alloc((size_t)n, sizeof *values);
    vn_status status = values ? vn_array_read_i32(labels, values, err) : vn_no_memory(err);
    if (!status && json_object_set_new(out, "classes", count_labels(values, n)) != 0)
        status = vn_no_memory(err);
    vn_free(values);
    return status;
}
