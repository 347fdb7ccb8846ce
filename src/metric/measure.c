/* measure.c - reads the sets, keeps their features, and asks each metric for its numbers: of all
 * samples, and where that is asked for of each class. */
#include <math.h>
#include <string.h>

#include "metric/internal.h"

enum { CHUNK = 64 }; /* samples that are read at a time */

static int count_parts(const vn_measure_options *o) {
    int parts = (o->samples != NULL) + (o->data != NULL) + (o->training != NULL);
    for (size_t i = 0; i < o->metrics->count; i++) {
        const vn_metric_row *row = (const vn_metric_row *)o->metrics->choice[i].row;
        parts += 1 + (row->needs & VN_METRIC_LIKELIHOOD && o->truth);
    }
    return parts;
}

/* ---- what is kept of a set ------------------------------------------------------------------- */

/* What is kept of all samples has to fit into memory. */
static vn_status check_memory(const vn_set *set, int64_t numbers, vn_err *err) {
    const double bytes = (double)set->count * (double)numbers * sizeof(float),
                 memory = (double)vn_memory_total();
    char takes[32], has[32];
    if (bytes <= memory) return VN_OK;
    return vn_fail(err, VN_NO_MEMORY,
                   "%s: %lld samples of %lld features each would take %s, and there are %s of "
                   "memory",
                   set->name, (long long)set->count, (long long)numbers,
                   vn_bytes_text(bytes, takes), vn_bytes_text(memory, has));
}

static vn_status open_features(const vn_measuring *m, const vn_set *set, bool logits,
                               vn_features *out, vn_err *err) {
    const vn_extractor *e = m->o->features;
    const size_t n = (size_t)set->count;
    *out = (vn_features){.n = set->count};
    const vn_status status = check_memory(set, e ? e->d + (logits ? e->classes : 0) : 0, err);
    if (status) return status;
    if (e) {
        out->d = e->d;
        out->x = vn_alloc(n, (size_t)e->d * sizeof(float));
    }
    if (set->labels && (out->labels = vn_alloc(n, sizeof(int32_t))))
        memcpy(out->labels, set->labels, n * sizeof(int32_t));
    if (logits) {
        out->classes = e->classes;
        out->logits = vn_alloc(n, (size_t)e->classes * sizeof(float));
    }
    const bool ok = (!e || out->x) && (!set->labels || out->labels) && (!logits || out->logits);
    return ok ? VN_OK : vn_no_memory(err);
}

static vn_status check_finite(const vn_set *set, int64_t first, int64_t n, const float *x,
                              vn_err *err) {
    for (int64_t i = 0; i < n * set->size; i++)
        if (!isfinite(x[i]))
            return vn_fail(err, VN_NOT_FINITE, "%s: sample %lld of %lld is not finite", set->name,
                           (long long)(first + i / set->size), (long long)set->count);
    return VN_OK;
}

/* Reads samples [first, first + n), and keeps what is to be kept of them. f: NULL: nothing. */
static vn_status take(vn_measuring *m, const vn_set *set, int64_t first, int64_t n, float *x,
                      vn_features *f, vn_err *err) {
    vn_status status = set->read(set->self, first, n, x, err);
    if (!status) status = check_finite(set, first, n, x, err);
    if (!status && m->raw && set == m->o->data)
        memcpy(m->raw + first * set->size, x, (size_t)(n * set->size) * sizeof *x);
    if (status || !f || !f->x) return status;
    return vn_extractor_run(m->o->features, n, x, f->x + first * f->d,
                            f->logits ? f->logits + first * f->classes : NULL, err);
}

static bool is_pair(const vn_measuring *m, size_t i) {
    return ((const vn_metric_row *)m->o->metrics->choice[i].row)->pair != NULL;
}

static void take_pairs(vn_measuring *m, int64_t first, int64_t n, const float *a, const float *b,
                       double *work) {
    const vn_set *set = m->o->samples;
    for (size_t k = 0; k < m->o->metrics->count; k++)
        for (int64_t i = 0; is_pair(m, k) && i < n; i++)
            m->pairs[k][first + i] =
                ((const vn_metric_row *)m->o->metrics->choice[k].row)
                    ->pair(&set->sample, a + i * set->size, b + i * set->size, work);
}

/* All of one set, or with `other` of two in pairs. */
static vn_status read_set(vn_measuring *m, const vn_set *set, vn_features *f, const vn_set *other,
                          vn_features *of_other, vn_err *err) {
    const int64_t piece = set->piece ? set->piece : CHUNK;
    float *x = vn_alloc((size_t)piece, (size_t)set->size * sizeof *x),
          *y = other ? vn_alloc((size_t)piece, (size_t)other->size * sizeof *y) : NULL;
    double *work = other ? vn_alloc(1, vn_pair_work(&set->sample) * sizeof *work) : NULL;
    vn_status status = x && (!other || (y && work)) ? VN_OK : vn_no_memory(err);
    vn_metric_part(m, set->reading);
    for (int64_t i = 0; i < set->count && !status; i += piece) {
        const int64_t n = set->count - i < piece ? set->count - i : piece;
        if (!set->reports) status = vn_metric_report(m, i, set->count, err);
        if (!status) status = take(m, set, i, n, x, f, err);
        if (!status && other) status = take(m, other, i, n, y, of_other, err);
        if (!status && other) take_pairs(m, i, n, x, y, work);
    }
    vn_free(x);
    vn_free(y);
    vn_free(work);
    return status;
}

/* All of a set, or what was kept of it. f: NULL: nothing is. */
static vn_status read_kept(vn_measuring *m, const vn_set *set, vn_features *f, vn_err *err) {
    const bool kept = f && vn_features_cached(m, set);
    if (kept && vn_features_load(m, set, f)) {
        vn_metric_part(m, set->reading);
        return VN_OK;
    }
    const vn_status status = read_set(m, set, f, NULL, NULL, err);
    if (!status && kept) vn_features_save(m, set, f);
    return status;
}

/* ---- what is refused ------------------------------------------------------------------------- */

static vn_status check_pairs(const vn_measuring *m, const char *metric, vn_err *err) {
    const vn_set *a = m->o->samples, *b = m->o->data;
    if (a->count == b->count) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s compares samples one by one: %s has %lld of them and %s %lld", metric,
                   a->name, (long long)a->count, b->name, (long long)b->count);
}

static vn_status check_labels(const vn_measuring *m, const char *metric, vn_err *err) {
    const vn_set *set = m->o->samples;
    const int64_t classes = vn_extractor_classes(m->o->features);
    if (!set->labels)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s has no labels", metric, set->name);
    for (int64_t i = 0; i < set->count; i++)
        if (set->labels[i] < 0 || set->labels[i] >= classes)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "%s: sample %lld of %s is of class %d, and the classifier knows %lld",
                           metric, (long long)i, set->name, (int)set->labels[i],
                           (long long)classes);
    return VN_OK;
}

static vn_status check_metric(const vn_measuring *m, const vn_metric_row *row, vn_err *err) {
    const char *name = row->row.name;
    const vn_set *set = row->needs & VN_METRIC_LIKELIHOOD ? m->o->data : m->o->samples;
    vn_status status = VN_OK;
    if (row->needs & VN_METRIC_PAIRS && !vn_shape_is_image(&set->sample))
        status =
            vn_fail(err, VN_BAD_ARGUMENT, "%s is of images, and %s has points", name, set->name);
    if (!status && row->check) status = row->check(&set->sample, err);
    if (!status && row->needs & VN_METRIC_POINTS && vn_shape_is_image(&set->sample))
        status =
            vn_fail(err, VN_BAD_ARGUMENT, "%s is of points, and %s has images", name, set->name);
    if (!status && row->needs & VN_METRIC_PAIRS) status = check_pairs(m, name, err);
    if (!status && row->needs & VN_METRIC_LOGITS && !vn_extractor_classes(m->o->features))
        status =
            vn_fail(err, VN_BAD_ARGUMENT, "%s needs a classifier as `features`, and %s is none",
                    name, vn_extractor_name(m->o->features));
    if (!status && row->needs & VN_METRIC_LABELS) status = check_labels(m, name, err);
    return status;
}

/* Samples of each class; classes beyond are not counted. */
static void count_classes(const vn_set *set, int32_t classes, int64_t *count) {
    memset(count, 0, (size_t)classes * sizeof *count);
    for (int64_t i = 0; i < set->count; i++)
        if (set->labels[i] >= 0 && set->labels[i] < classes) count[set->labels[i]]++;
}

/* A class that one set has and the other lacks, where by the first one's share it would have had
 * ten: this is no chance. */
static vn_status check_classes(const vn_measuring *m, vn_err *err) {
    enum { SURELY = 10 };
    const vn_set *a = m->o->samples, *b = m->o->data;
    const int32_t classes = m->o->classes;
    if (!a || !b || !a->labels || !b->labels || classes == 0) return VN_OK;
    int64_t *count = vn_alloc(2 * (size_t)classes, sizeof *count), *other = count + classes;
    if (!count) return vn_no_memory(err);
    count_classes(a, classes, count);
    count_classes(b, classes, other);
    int64_t labelled[2] = {0};
    for (int32_t k = 0; k < classes; k++) {
        labelled[0] += count[k];
        labelled[1] += other[k];
    }
    vn_status status = VN_OK;
    for (int32_t k = 0; k < classes && labelled[0] && labelled[1] && !status; k++) {
        const bool lacks = (!other[k] && count[k] * labelled[1] >= SURELY * labelled[0]) ||
                           (!count[k] && other[k] * labelled[0] >= SURELY * labelled[1]);
        if (lacks)
            status = vn_fail(err, VN_BAD_ARGUMENT,
                             "the classes differ: of class %d %s has %lld samples and %s %lld",
                             (int)k, a->name, (long long)count[k], b->name, (long long)other[k]);
    }
    vn_free(count);
    return status;
}

static vn_status check_shapes(const vn_set *a, const vn_set *b, vn_err *err) {
    char one[128], other[128];
    if (!a || !b || vn_shape_equal(&a->sample, &b->sample)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "samples have another shape: those of %s are %s, those of %s %s", a->name,
                   vn_shape_text(&a->sample, one), b->name, vn_shape_text(&b->sample, other));
}

static vn_status check(const vn_measuring *m, vn_err *err) {
    const vn_measure_options *o = m->o;
    vn_status status = check_shapes(o->samples, o->data, err);
    if (!status) status = check_shapes(o->training, o->data, err);
    if (!status) status = check_classes(m, err);
    for (size_t i = 0; i < o->metrics->count && !status; i++)
        status = check_metric(m, (const vn_metric_row *)o->metrics->choice[i].row, err);
    return status;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static vn_status read_all(vn_measuring *m, vn_err *err) {
    const vn_measure_options *o = m->o;
    const unsigned needs = o->metrics->needs;
    const bool pairs = needs & VN_METRIC_PAIRS, data = needs & VN_METRIC_DATA;
    vn_status status = VN_OK;
    if (needs & VN_METRIC_LIKELIHOOD) {
        m->raw = vn_alloc((size_t)o->data->count, (size_t)o->data->size * sizeof *m->raw);
        if (!m->raw) return vn_no_memory(err);
    }
    if (pairs) {
        m->pairs = vn_calloc(o->metrics->count, sizeof *m->pairs);
        for (size_t i = 0; m->pairs && i < o->metrics->count && !status; i++)
            if (is_pair(m, i) &&
                !(m->pairs[i] = vn_alloc((size_t)o->samples->count, sizeof(double))))
                status = vn_no_memory(err);
        if (!m->pairs) status = vn_no_memory(err);
    }
    if (!status && o->samples)
        status = open_features(m, o->samples, needs & VN_METRIC_LOGITS, &m->samples, err);
    if (!status && data) status = open_features(m, o->data, false, &m->data, err);
    if (!status && o->training) status = open_features(m, o->training, false, &m->training, err);
    if (!status && o->data && !pairs) status = read_kept(m, o->data, data ? &m->data : NULL, err);
    if (!status && o->training) status = read_kept(m, o->training, &m->training, err);
    if (!status && o->samples)
        status = read_set(m, o->samples, &m->samples, pairs ? o->data : NULL,
                          data ? &m->data : NULL, err);
    return status;
}

static vn_status measure_one(vn_measuring *m, size_t i, vn_err *err) {
    const vn_choice *choice = &m->o->metrics->choice[i];
    const vn_metric_row *row = (const vn_metric_row *)choice->row;
    if (row->measure) return row->measure(m, choice, err);
    return vn_metric_add_mean(m, row->row.name, row->row.name, row->unit, 0, m->pairs[i],
                              m->samples.n, err);
}

/* The rows of a class. Nothing is kept where there are none. */
static vn_status restrict_to(const vn_features *f, int32_t label, vn_features *out, vn_err *err) {
    *out = (vn_features){.d = f->d, .classes = f->classes};
    for (int64_t i = 0; f->labels && i < f->n; i++) out->n += f->labels[i] == label;
    const size_t n = (size_t)out->n;
    out->x = f->x ? vn_alloc(n, (size_t)f->d * sizeof *f->x) : NULL;
    out->logits = f->logits ? vn_alloc(n, (size_t)f->classes * sizeof *f->logits) : NULL;
    out->labels = vn_alloc(n, sizeof *out->labels);
    if ((f->x && !out->x) || (f->logits && !out->logits) || !out->labels) return vn_no_memory(err);
    int64_t k = 0;
    for (int64_t i = 0; f->labels && i < f->n; i++) {
        if (f->labels[i] != label) continue;
        if (f->x) memcpy(out->x + k * f->d, f->x + i * f->d, (size_t)f->d * sizeof *f->x);
        if (f->logits)
            memcpy(out->logits + k * f->classes, f->logits + i * f->classes,
                   (size_t)f->classes * sizeof *f->logits);
        out->labels[k++] = label;
    }
    return VN_OK;
}

/* The numbers of pairs whose sample is of the class. */
static vn_status restrict_pairs(const vn_measuring *all, vn_measuring *m, vn_err *err) {
    const size_t count = all->o->metrics->count;
    if (!all->pairs) return VN_OK;
    m->pairs = vn_calloc(count, sizeof *m->pairs);
    if (!m->pairs) return vn_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (!all->pairs[i]) continue;
        if (!(m->pairs[i] = vn_alloc((size_t)m->samples.n, sizeof(double))))
            return vn_no_memory(err);
        int64_t k = 0;
        for (int64_t j = 0; j < all->samples.n; j++)
            if (all->samples.labels[j] == m->label) m->pairs[i][k++] = all->pairs[i][j];
    }
    return VN_OK;
}

static void close_measuring(vn_measuring *m) {
    vn_features_close(&m->samples);
    vn_features_close(&m->data);
    vn_features_close(&m->training);
    for (size_t i = 0; m->pairs && i < m->o->metrics->count; i++) vn_free(m->pairs[i]);
    vn_free(m->pairs);
    vn_free(m->raw);
}

/* Of a class what can be measured; what cannot, such as a covariance of few samples, is told. */
static vn_status measure_class(const vn_measuring *all, int32_t label, vn_err *err) {
    vn_measuring m = *all;
    m.samples = m.data = m.training = (vn_features){0};
    m.pairs = NULL;
    m.raw = NULL;
    m.label = label;
    const unsigned needs = all->o->metrics->needs;
    vn_status status = restrict_to(&all->samples, label, &m.samples, err);
    if (!status && needs & VN_METRIC_DATA) status = restrict_to(&all->data, label, &m.data, err);
    if (!status) status = restrict_pairs(all, &m, err);
    const bool any = m.samples.n > 0 && (!(needs & VN_METRIC_DATA) || m.data.n > 0);
    for (size_t i = 0; any && i < all->o->metrics->count && !status; i++) {
        const vn_metric_row *row = (const vn_metric_row *)all->o->metrics->choice[i].row;
        vn_err why = {0};
        if (row->needs & (VN_METRIC_LIKELIHOOD | VN_METRIC_TRAINING)) continue;
        m.metric = row->row.name;
        const size_t before = m.out->count;
        status = measure_one(&m, i, &why);
        if (status == VN_BAD_ARGUMENT) {
            m.out->count = before;
            vn_log(m.o->watch, VN_LOG_WARNING, "class %d is left out: %s", (int)label, why.text);
            status = VN_OK;
        } else if (status) {
            *err = why;
        }
    }
    close_measuring(&m);
    return status;
}

vn_status vn_metric_measure(const vn_measure_options *options, vn_measured *out, vn_err *err) {
    vn_measuring m = {.o = options, .label = VN_LABEL_ALL, .out = out};
    m.parts = count_parts(options);
    vn_status status = check(&m, err);
    if (!status) status = read_all(&m, err);
    for (size_t i = 0; i < options->metrics->count && !status; i++) {
        vn_metric_part(&m, options->metrics->choice[i].row->name);
        status = measure_one(&m, i, err);
    }
    for (int32_t k = 0; options->per_class && k < options->classes && !status; k++)
        status = measure_class(&m, k, err);
    close_measuring(&m);
    return status;
}
