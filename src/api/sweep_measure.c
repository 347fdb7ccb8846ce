/* sweep_measure.c - one point of a sweep: vn_eval with its settings, a few samples to look at, and
 * progress that tells of the whole sweep. */
#include <math.h>
#include <string.h>

#include "api/sweep.h"

enum { EACH_CLASS = 2, MAX_EXAMPLES = 20, POINTS = 500 };

/* ---- progress -------------------------------------------------------------------------------- */

/* How long drawing takes is seen from the progress of vn_eval: from the report before the first of
 * "sampling" to its last. */
static void note_sampling(vn_sweeping *s, const vn_progress *p) {
    const double now = vn_now();
    if (p->what && strstr(p->what, "sampling")) {
        if (!s->sampled) s->sampling_from = s->latest;
        s->sampling_to = now;
        if (p->done > s->sampled) s->sampled = p->done; /* the example is drawn after the rest */
    }
    s->latest = now;
}

/* Seconds that are left, from the work of this call so far; -1: not known yet. */
static double seconds_left(const vn_sweeping *s) {
    const double part = s->to_sample > 0 ? (double)s->sampled / (double)s->to_sample : 0,
                 done = s->state->work_done + fmin(part, 1) * s->work,
                 seconds = vn_now() - s->began;
    if (!(done > 0) || !(seconds > 1)) return -1;
    return fmax(s->state->work_all - done, 0) * seconds / done;
}

static int on_progress(void *user, const vn_progress *p) {
    vn_sweeping *s = user;
    note_sampling(s, p);
    if (!s->outer.progress) return 0;
    const vn_progress whole = {.what = s->what,
                               .unit = "points",
                               .done = (int64_t)s->state->done,
                               .total = (int64_t)s->state->total,
                               .seconds_left = seconds_left(s),
                               .loss = (double)NAN};
    return s->outer.progress(s->outer.user, &whole);
}

static void on_log(void *user, vn_log_level level, const char *text) {
    const vn_sweeping *s = user;
    /* what is said of the data is the same at each point */
    if (s->outer.log && (level == VN_LOG_WARNING || s->folder.count == 0))
        s->outer.log(s->outer.user, level, text);
}

/* ---- samples to look at ---------------------------------------------------------------------- */

/* named: whose classes they are drawn under. */
static int64_t example_count(const vn_model *m, const vn_model *named) {
    if (!vn_shape_is_image(vn_model_shown(m))) return POINTS;
    const int64_t count = named->classes ? (int64_t)EACH_CLASS * named->classes : MAX_EXAMPLES;
    return count < MAX_EXAMPLES ? count : MAX_EXAMPLES;
}

static bool shows(const vn_model *m) {
    return vn_shape_is_image(vn_model_shown(m))
               ? vn_model_shown(m)->dim[0] == 1 || vn_model_shown(m)->dim[0] == 3
               : vn_model_shown(m)->dim[0] <= 2;
}

static vn_status save_example(const vn_sweeping *s, const vn_model *named,
                              const vn_samples *samples, const char *path, vn_err *err) {
    const vn_shape *shape = vn_model_shown(s->m);
    const bool images = vn_shape_is_image(shape);
    const int64_t count = vn_samples_count(samples);
    const int columns = named->classes > 0 && named->classes < MAX_EXAMPLES / 2
                            ? (int)named->classes
                            : MAX_EXAMPLES / 2;
    const vn_show show = {.samples = vn_samples_data(samples),
                          .count = count,
                          .channels = images ? (int)shape->dim[0] : 0,
                          .height = images ? (int)shape->dim[1] : 0,
                          .width = images ? (int)shape->dim[2] : 0,
                          .dimension = images ? 0 : (int)shape->dim[0],
                          .labels = images ? NULL : vn_samples_labels(samples),
                          .names = (const char *const *)named->names,
                          .classes = named->classes,
                          .columns = images ? columns : 0,
                          .scale = images ? 1 : 0};
    vn_image image = {0};
    vn_status status =
        images ? vn_show_grid(&show, &image, err) : vn_show_points(&show, &image, err);
    if (!status) status = vn_png_write(path, &image, NULL, 0, err);
    vn_image_free(&image);
    return status;
}

/* The picture of this point that an earlier rung drew; NULL: there is none. */
static const char *earlier_example(const vn_sweeping *s, const vn_point *p, double *passes) {
    for (size_t i = 0; i < s->folder.count; i++) {
        const vn_point_result *r = &s->folder.result[i];
        if (r->example && vn_sweep_find(&s->folder, p, r->count) == r) {
            *passes = r->passes;
            return r->example;
        }
    }
    return NULL;
}

static vn_status draw_example(vn_sweeping *s, const vn_point *p, vn_point_result *out,
                              vn_err *err) {
    vn_sample_options o = vn_sweeping_options(s, p);
    vn_samples *samples = NULL;
    char name[32];
    const vn_model *named = vn_model_of_classes(s->m, o.classifier);
    o.count = example_count(s->m, named);
    if (vn_sweeping_is_blind(s, &o)) o.label = VN_LABEL_NULL;
    vn_status status = vn_sample(s->m, &o, &samples);
    if (!status) out->passes = (double)vn_samples_passes(samples);
    if (!status && shows(s->m)) {
        vn_snprintf(name, sizeof name, "samples-%03zu.png", s->folder.count + 1);
        char *path = vn_path_join(s->out, name);
        out->example = vn_strdup(name);
        status =
            path && out->example ? save_example(s, named, samples, path, err) : vn_no_memory(err);
        vn_free(path);
    }
    vn_samples_close(&samples);
    return status;
}

/* ---- the point ------------------------------------------------------------------------------- */

/* What a metric tells of itself besides its number: how far that is from the one of infinitely many
 * samples. Points are compared from equal counts, where it is the same. */
static bool is_remark(const char *metric) {
    return vn_ends_with(metric, "-bias");
}

static vn_status take_numbers(const vn_eval_result *r, vn_point_result *out, vn_err *err) {
    for (size_t i = 0; i < r->rows; i++) {
        const vn_eval_row *row = &r->row[i];
        if (row->label != VN_LABEL_ALL || is_remark(row->metric)) continue;
        if (out->numbers == VN_POINT_NUMBERS)
            return vn_fail(err, VN_BAD_ARGUMENT, "more than %d numbers of a point",
                           VN_POINT_NUMBERS);
        vn_point_number *n = &out->number[out->numbers++];
        vn_snprintf(n->metric, sizeof n->metric, "%s", row->metric);
        n->value = row->value;
        n->low = row->low;
        n->high = row->high;
    }
    return VN_OK;
}

static vn_status evaluate(vn_sweeping *s, const vn_point *p, int64_t count, vn_point_result *out,
                          vn_err *err) {
    const vn_sample_options sample = vn_sweeping_options(s, p);
    vn_eval_options o = vn_eval_options_default();
    vn_eval_result r = vn_eval_result_default();
    o.metric = s->o.metric;
    o.data = s->o.data;
    o.features = s->o.features;
    o.count = count;
    o.seed = s->o.seed;
    o.resamples = s->o.resamples;
    o.sample = &sample;
    o.cache = s->cache;
    const vn_status status = vn_eval(s->m, &o, &r);
    if (!status && s->sampled > 0)
        out->seconds = (s->sampling_to - s->sampling_from) / (double)s->sampled;
    return !status ? take_numbers(&r, out, err) : status;
}

static void begin_point(vn_sweeping *s, const vn_point *p, int64_t count,
                        const vn_sweep_state *state) {
    vn_point_text(p, s->what, sizeof s->what);
    s->state = state;
    s->work = vn_point_work(p, count);
    s->sampled = 0;
    s->to_sample = count;
    s->latest = vn_now();
    s->vn->watch = (vn_watch){.log = on_log, .progress = on_progress, .user = s};
    s->vn->watch.cancel = s->outer.cancel;
}

vn_status vn_sweeping_measure(void *user, const vn_point *p, int64_t count,
                              const vn_sweep_state *state, vn_point_result *out, vn_err *err) {
    vn_sweeping *s = user;
    char text[256];
    begin_point(s, p, count, state);
    vn_status status = evaluate(s, p, count, out, err);
    const char *earlier = earlier_example(s, p, &out->passes);
    if (!status && earlier && !(out->example = vn_strdup(earlier))) status = vn_no_memory(err);
    if (!status && !earlier) status = draw_example(s, p, out, err);
    s->vn->watch = s->outer;
    vn_point_text(p, text, sizeof text);
    if (status == VN_NOT_FINITE)
        vn_log(&s->outer, VN_LOG_WARNING, "%s: %s; the point is left out", text, err->text);
    if (!status || status == VN_NOT_FINITE) vn_sweeping_tell_point(s, out);
    return status;
}
