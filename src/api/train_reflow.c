/* train_reflow.c - see the header. Pairs are drawn once, before the first step, and kept in the run
 * as state/pairs.safetensors, `pairs` times two samples large: a run that goes on has the same. */
#include "api/train_reflow.h"

#include <string.h>

#define PAIRS_FILE "state/pairs.safetensors"

bool vn_job_makes_pairs(const vn_train_job *j) {
    const size_t n = strlen(VN_PAIRS_METHOD);
    const char *method = j->o.teacher ? j->o.objective : NULL;
    return method && !strncmp(method, VN_PAIRS_METHOD, n) && (!method[n] || method[n] == ':');
}

bool vn_job_is_folder(const vn_train_job *j) {
    return !j->rows && !vn_job_makes_pairs(j) && vn_data_is_folder(j->source);
}

/* ---- drawn ----------------------------------------------------------------------------------- */

static double value_of(const vn_choice *c, const char *name) {
    const vn_param *p = c->row->params;
    int i = 0;
    while (strcmp(p[i].name, name) != 0) i++;
    return c->value[i];
}

static vn_status take_memory(vn_train_job *j, int64_t count, vn_err *err) {
    const vn_model *m = j->teacher;
    const double bytes = 2.0 * (double)count * (double)m->size * sizeof(float);
    char takes[32], has[32];
    if (bytes > 0.5 * (double)vn_memory_total())
        return vn_fail(
            err, VN_NO_MEMORY,
            "%lld pairs take %s, and there are %s of memory: draw fewer (reflow:pairs=N)",
            (long long)count, vn_bytes_text(bytes, takes),
            vn_bytes_text((double)vn_memory_total(), has));
    j->pair_samples = vn_alloc((size_t)count, (size_t)m->size * sizeof(float));
    j->pair_noise = vn_alloc((size_t)count, (size_t)m->size * sizeof(float));
    j->pair_labels = vn_alloc((size_t)count, sizeof(int32_t));
    return j->pair_samples && j->pair_noise && j->pair_labels ? VN_OK : vn_no_memory(err);
}

/* The classes in turn, by Heun's rule from the noise of each index; the noise is drawn again. */
static vn_status draw(vn_train_job *j, const vn_choice *c, int64_t count, vn_err *err) {
    vn_model *m = j->teacher;
    vn_sample_options o = vn_sample_options_default();
    vn_draw_progress progress = {.watch = &j->vn->watch, .total = count};
    const vn_drawn_rows rows = {.data = j->pair_samples, .labels = j->pair_labels};
    vn_drawing d;
    o.count = count;
    o.label = VN_LABEL_ALL;
    o.seed = j->o.seed;
    o.sampler = "heun";
    o.path = m->path ? NULL : j->o.path;
    o.steps = (int)value_of(c, VN_PAIRS_STEPS);
    o.guidance = value_of(c, VN_TEACHER_GUIDANCE);
    char guide[VN_SAMPLING_TEXT];
    vn_snprintf(guide, sizeof guide, "cfg,interval:lo=%.17g,hi=%.17g", value_of(c, VN_GUIDED_ABOVE),
                value_of(c, VN_GUIDED_UP_TO));
    if (value_of(c, VN_GUIDED_UP_TO) > 0) o.guide = guide;
    vn_status status = vn_drawing_open(&d, m, &o, false, err);
    if (!status) status = vn_drawing_rows(&d, 0, count, &rows, &progress, err);
    vn_drawing_close(&d);
    for (int64_t i = 0; i < count && !status; i++)
        vn_random_normal(j->pair_noise + i * m->size, (size_t)m->size, o.seed, VN_STREAM_NOISE,
                         (uint64_t)i, 0);
    return status;
}

/* ---- read ------------------------------------------------------------------------------------ */

static vn_status copy(const vn_safetensors *st, const char *name, int64_t numbers, void *to,
                      bool whole, vn_err *err) {
    const vn_array *a = NULL;
    const vn_status status = vn_safetensors_get(st, name, &a, err);
    if (status) return status;
    if (vn_shape_count(&a->shape) != numbers || vn_dtype_is_float(a->dtype) == whole)
        return vn_fail(err, VN_BAD_FILE, "%s: %s is not what the run wrote",
                       vn_safetensors_path(st), name);
    if (whole) return vn_array_read_i32(a, to, err);
    vn_array_read_f32(a, to);
    return VN_OK;
}

static vn_status read_pairs(vn_train_job *j, int64_t count, vn_err *err) {
    const int64_t numbers = count * j->teacher->size;
    char *path = vn_path_join(j->out, PAIRS_FILE);
    vn_safetensors *st = NULL;
    vn_status status = path ? vn_safetensors_open(path, &st, err) : vn_no_memory(err);
    if (!status) status = copy(st, "samples", numbers, j->pair_samples, false, err);
    if (!status) status = copy(st, "noise", numbers, j->pair_noise, false, err);
    if (!status) status = copy(st, "labels", count, j->pair_labels, true, err);
    vn_safetensors_close(&st);
    vn_free(path);
    return status;
}

/* ---- as data --------------------------------------------------------------------------------- */

vn_status vn_job_open_pairs(vn_train_job *j, vn_err *err) {
    vn_choice c;
    if (!vn_job_makes_pairs(j)) return VN_OK;
    if (j->rows)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`objective` %s: its data are pairs that the teacher "
                       "makes, not a program's own",
                       VN_PAIRS_METHOD);
    if (j->o.dry_run)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "dry_run is not for %s, of whose work the pairs are most: vane bench %s "
                       "--mode sample says how long a sample takes",
                       VN_PAIRS_METHOD, j->o.teacher);
    if (j->from && vn_net_output(vn_net_get_io(vn_model_net(j->from)), VN_INTERNAL))
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s has an internal head, which the objective %s does not train",
                       j->from->source, VN_PAIRS_METHOD);
    const vn_model *m = j->teacher;
    vn_status status = vn_choice_parse(j->o.objective, &vn_methods, &c, err);
    if (status) return status;
    const int64_t count = (int64_t)value_of(&c, VN_PAIRS_COUNT);
    status = take_memory(j, count, err);
    if (!status && !j->o.resume)
        vn_log(&j->vn->watch, VN_LOG_INFO,
               "%s is not read: the data are %lld pairs that %s makes first", j->source,
               (long long)count, m->source);
    if (!status) status = j->o.resume ? read_pairs(j, count, err) : draw(j, &c, count, err);
    if (status == VN_CANCELLED)
        vn_fail_after(err, "there is no run before all pairs are made: begin again");
    if (status) return status;
    j->pairs = vn_train_data_default();
    j->pairs.name = j->source;
    j->pairs.count = count;
    j->pairs.sample = m->sample;
    j->pairs.samples = j->pair_samples;
    j->pairs.noise = j->pair_noise;
    if (m->classes) {
        j->pairs.labels = j->pair_labels;
        j->pairs.class_names = (const char *const *)m->names;
        j->pairs.classes = m->classes;
    }
    j->rows = &j->pairs;
    return VN_OK;
}

vn_status vn_job_save_pairs(const vn_train_job *j, vn_err *err) {
    if (!vn_job_makes_pairs(j)) return VN_OK;
    const vn_shape rows = VN_SHAPE(j->pairs.count, j->teacher->size);
    const vn_array all[] = {{"labels", VN_I32, VN_SHAPE(j->pairs.count), j->pair_labels},
                            {"noise", VN_F32, rows, j->pair_noise},
                            {"samples", VN_F32, rows, j->pair_samples}};
    char *path = vn_path_join(j->run.aside, PAIRS_FILE);
    const vn_status status =
        path ? vn_safetensors_write(path, all, VN_COUNT(all), NULL, err) : vn_no_memory(err);
    vn_free(path);
    return status;
}

void vn_job_close_pairs(vn_train_job *j) {
    vn_free(j->pair_samples);
    vn_free(j->pair_noise);
    vn_free(j->pair_labels);
}
