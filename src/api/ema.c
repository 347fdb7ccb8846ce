/* ema.c - vn_run_average: the weights of a run become an average of another width, of the snapshots
 * that it kept (train/posthoc.h). All tensors of the run's networks that were trained are sums of
 * the snapshots' tensors of the same names, so no network is opened. */
#include "api/internal.h"
#include "api/run_dir.h"
#include "store/store.h"
#include "train/train.h"

#include <string.h>

/* What is not met of the function, above which it is told. */
#define TOLD 0.05

/* A kept average: tensors "average.NAME" or "narrow.NAME" of a file. */
typedef struct kept {
    const vn_safetensors *file;
    const char *prefix;
} kept;

typedef struct averages {
    const char *run; /* as its user calls it */
    vn_model_dir dir;
    size_t files, count;   /* count: 2 files */
    vn_safetensors **file; /* [files] the snapshots', and the state's at last */
    vn_ema_kept *of;       /* [count] */
    kept *at;              /* [count] */
    double *share;         /* [count] */
} averages;

/* ---- what there is --------------------------------------------------------------------------- */

static vn_status take_file(averages *a, char *path, double step, vn_err *err) {
    vn_status status =
        path ? vn_safetensors_open(path, &a->file[a->files], err) : vn_no_memory(err);
    vn_free(path);
    if (status) return status;
    const vn_safetensors *file = a->file[a->files++];
    a->of[a->count] = (vn_ema_kept){step, VN_EMA_USUAL};
    a->at[a->count++] = (kept){file, "average."};
    a->of[a->count] = (vn_ema_kept){step, VN_EMA_NARROW};
    a->at[a->count++] = (kept){file, "narrow."};
    return VN_OK;
}

static vn_status take_memory(averages *a, size_t files, vn_err *err) {
    a->file = vn_calloc(files, sizeof(*a->file));
    a->of = vn_calloc(2 * files, sizeof *a->of);
    a->at = vn_calloc(2 * files, sizeof *a->at);
    a->share = vn_calloc(2 * files, sizeof *a->share);
    return a->file && a->of && a->at && a->share ? VN_OK : vn_no_memory(err);
}

/* The snapshots before the state, which is the latest. */
static vn_status open_averages(averages *a, vn_err *err) {
    int64_t *step = NULL, at = -1;
    size_t n = 0;
    if (!vn_store_has_checkpoint(a->run))
        return vn_fail(err, VN_IO, "%s: has no state/train.safetensors, so it is no run of vane",
                       a->run);
    vn_status status = vn_model_dir_open(a->run, &a->dir, err);
    if (!status) status = vn_store_checkpoint_step(a->run, &at, err);
    if (!status) status = vn_store_list_snapshots(a->run, &step, &n, err);
    if (!status && !n)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s: keeps no snapshots of averages; `ema_snapshots` of training asks for "
                         "them",
                         a->run);
    if (!status) status = take_memory(a, n + 1, err);
    for (size_t i = 0; i < n && !status; i++)
        if (step[i] < at)
            status = take_file(a, vn_store_snapshot_path(a->run, step[i]), (double)step[i], err);
    if (!status) status = take_file(a, vn_path_join(a->run, VN_STATE_FILE), (double)at, err);
    vn_free(step);
    return status;
}

static void close_averages(averages *a) {
    for (size_t i = 0; i < a->files; i++) vn_safetensors_close(&a->file[i]);
    vn_model_dir_close(&a->dir);
    vn_free(a->file);
    vn_free(a->of);
    vn_free(a->at);
    vn_free(a->share);
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* The sum of one tensor, "FOLDER/average.NAME" or, of the first network, "average.NAME". */
static vn_status add_tensor(const averages *a, const char *folder, const vn_array *like, float *out,
                            vn_err *err) {
    const size_t n = (size_t)vn_shape_count(&like->shape);
    float *one = vn_alloc(n + 1, sizeof *one);
    double *sum = vn_calloc(n + 1, sizeof *sum);
    vn_status status = one && sum ? VN_OK : vn_no_memory(err);
    for (size_t i = 0; i < a->count && !status; i++) {
        const vn_array *t = NULL;
        char *name = vn_format("%s%s%s%s", folder ? folder : "", folder ? "/" : "", a->at[i].prefix,
                               like->name);
        status = name ? vn_safetensors_get(a->at[i].file, name, &t, err) : vn_no_memory(err);
        if (!status && (!vn_shape_equal(&t->shape, &like->shape) || !vn_dtype_is_float(t->dtype)))
            status = vn_fail(err, VN_BAD_FILE, "%s: %s is not what the run wrote",
                             vn_safetensors_path(a->at[i].file), name);
        if (!status) vn_array_read_f32(t, one);
        for (size_t k = 0; k < n && !status; k++) sum[k] += a->share[i] * (double)one[k];
        vn_free(name);
    }
    for (size_t k = 0; k < n && !status; k++) out[k] = (float)sum[k];
    vn_free(one);
    vn_free(sum);
    return status;
}

/* All tensors of a file of weights, written in its place with its metadata. */
static vn_status write_folder(const averages *a, const char *folder, const char *path,
                              vn_err *err) {
    vn_safetensors *st = NULL;
    vn_status status = vn_safetensors_open(path, &st, err);
    if (status) return status;
    const size_t count = vn_safetensors_count(st);
    vn_array *all = vn_calloc(count + 1, sizeof *all);
    float **data = vn_calloc(count + 1, sizeof(*data));
    if (!all || !data) status = vn_no_memory(err);
    for (size_t i = 0; i < count && !status; i++) {
        all[i] = *vn_safetensors_at(st, i);
        data[i] = vn_alloc((size_t)vn_shape_count(&all[i].shape) + 1, sizeof(float));
        status = data[i] ? add_tensor(a, folder, &all[i], data[i], err) : vn_no_memory(err);
        all[i].dtype = VN_F32;
        all[i].data = data[i];
    }
    if (!status) status = vn_safetensors_write(path, all, count, vn_safetensors_metadata(st), err);
    for (size_t i = 0; i < count && data; i++) vn_free(data[i]);
    vn_free(data);
    vn_free(all);
    vn_safetensors_close(&st);
    return status;
}

/* A network that was trained beside the first: the state has its tensors under its folder. */
static vn_status write_other(const averages *a, const char *folder, vn_err *err) {
    char *config_path = vn_format("%s/%s/config.json", a->run, folder), *path = NULL;
    json_t *config = NULL;
    vn_status status = config_path ? vn_json_read(config_path, &config, err) : vn_no_memory(err);
    if (!status && !(path = vn_store_weights_path(a->run, folder, config)))
        status = vn_no_memory(err);
    if (!status) status = write_folder(a, folder, path, err);
    json_decref(config);
    vn_free(config_path);
    vn_free(path);
    return status;
}

static vn_status write_others(const averages *a, vn_err *err) {
    const vn_safetensors *state = a->file[a->files - 1];
    char latest[80] = "";
    vn_status status = VN_OK;
    for (size_t i = 0; i < vn_safetensors_count(state) && !status; i++) {
        const char *name = vn_safetensors_at(state, i)->name, *rest = strstr(name, "/narrow.");
        const size_t length = rest ? (size_t)(rest - name) : 0;
        if (!length || length >= sizeof latest || memchr(name, '.', length)) continue;
        if (strlen(latest) == length && !strncmp(latest, name, length)) continue;
        vn_snprintf(latest, sizeof latest, "%.*s", (int)length, name);
        status = write_other(a, latest, err);
    }
    return status;
}

/* ---- the public call ------------------------------------------------------------------------- */

static vn_status make(vn_context *vn, averages *a, double width, double *left, vn_err *err) {
    const char *path = NULL;
    vn_status status = open_averages(a, err);
    if (status) return status;
    const vn_ema_kept wanted = {a->of[a->count - 1].step, vn_ema_gamma(width)};
    status = vn_ema_fit(a->count, a->of, wanted, a->share, left, err);
    if (!status) status = vn_model_dir_weights(&a->dir, &path, err);
    if (!status) status = write_folder(a, NULL, path, err);
    if (!status) status = write_others(a, err);
    if (!status && *left > TOLD)
        vn_log(&vn->watch, VN_LOG_WARNING,
               "%s: its %zu snapshots make an average of width %g but for %.0f%%: more of them, or "
               "a width nearer to 0.05 and 0.1, are met better",
               a->run, a->files - 1, width, 100 * *left);
    return status;
}

vn_status vn_run_average(vn_context *vn, const char *run, double width, double *left) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    double ignored = 0;
    if (!run) return vn_end(vn, vn_fail(err, VN_BAD_ARGUMENT, "vn_run_average: run is needed"));
    if (!(width >= VN_EMA_LEAST_WIDTH && width <= VN_EMA_MOST_WIDTH))
        return vn_end(vn, vn_fail(err, VN_BAD_ARGUMENT,
                                  "the width %g of an average is outside [%g, %g]", width,
                                  VN_EMA_LEAST_WIDTH, VN_EMA_MOST_WIDTH));
    averages a = {.run = run};
    vn_run_dir lock;
    vn_status status = vn_run_dir_open(&lock, run, err);
    if (!status) status = make(vn, &a, width, left ? left : &ignored, err);
    close_averages(&a);
    vn_run_dir_close(&lock, true);
    return vn_end(vn, status);
}
