/* eval.c - vn_eval and vn_eval_samples: which sets are compared, by what, and what is told of it.
 * The numbers are made in metric/. */
#include <math.h>
#include <string.h>

#include "api/eval.h"

enum { USUAL_COUNT = 1000 };

void vn_eval_options_init(vn_eval_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_EVAL, o, size);
}

void vn_eval_result_init(vn_eval_result *r, size_t size) {
    static const vn_eval_result initial = {0};
    vn_struct_init(r, size, &initial, sizeof initial);
}

/* All of one call. Stays where it is: its parts point to each other. */
typedef struct evaluation {
    vn_context *vn;
    vn_model *m; /* NULL: of samples that exist */
    vn_eval_options o;
    vn_likelihood_settings likelihood;
    vn_metric_list metrics;
    bool compares;   /* a metric compares samples with the data */
    bool needs_data; /* a metric looks at the data */
    vn_eval_set samples, data, training;
    bool reconstructs;     /* samples are what an autoencoder makes of the data: */
    vn_shape pictures;     /* of the data that it was trained on; of rank 0: not known */
    vn_sample_options how; /* o.sample, or the defaults */
    vn_eval_texts texts;   /* of a model of texts */
    vn_extractor *features;
} evaluation;

/* ---- what is refused ------------------------------------------------------------------------- */

#define OF_SAMPLES  (VN_METRIC_SAMPLES | VN_METRIC_PAIRS)
#define OF_DATA     (VN_METRIC_DATA | VN_METRIC_PAIRS | VN_METRIC_LIKELIHOOD)
#define BY_FEATURES (VN_METRIC_SAMPLES | VN_METRIC_DATA | VN_METRIC_TRAINING)

static vn_status no_effect(const char *option, const char *why, vn_err *err) {
    return vn_fail(err, VN_BAD_ARGUMENT, "`%s` has no effect: %s", option, why);
}

static vn_status check_effects(const evaluation *e, vn_err *err) {
    const vn_eval_options *o = &e->o;
    const unsigned needs = e->metrics.needs;
    if (e->m && o->samples) return no_effect("samples", "they are drawn from the model", err);
    if (o->features && !(needs & BY_FEATURES))
        return no_effect("features", "no metric here compares by any", err);
    if (o->training && !(needs & VN_METRIC_TRAINING))
        return no_effect("training", "only memorisation looks at it", err);
    if (o->per_class && !e->compares)
        return no_effect("per_class", "no metric here compares samples", err);
    if (e->reconstructs && !e->compares)
        return no_effect("samples", "no metric here compares them with the data", err);
    if (e->reconstructs && o->data_count)
        return no_effect("data_count", "a reconstruction is compared with its picture", err);
    if (!o->training && needs & VN_METRIC_TRAINING)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "memorisation: `training` is needed, the data that the model was trained "
                       "on");
    return VN_OK;
}

static bool takes_texts(const evaluation *e) {
    return e->m && e->m->row->prompt;
}

/* In the words that drawing for them would end in. */
static vn_status refuse_prompts(vn_model *m, vn_err *err) {
    vn_condition number;
    return vn_model_prompt(m, "", &number, err);
}

/* Whose classes the samples are drawn under; NULL: there is no model. */
static const vn_model *named(const evaluation *e) {
    const vn_sample_options *how = e->o.sample;
    return e->m ? vn_model_of_classes(e->m, how ? how->classifier : NULL) : NULL;
}

static vn_status check(evaluation *e, vn_err *err) {
    const vn_eval_options *o = &e->o;
    if (!o->metric) return vn_fail(err, VN_BAD_ARGUMENT, "a metric is needed");
    vn_status status = vn_options_check(VN_OPTIONS_EVAL, o, err);
    if (!status && e->m && !takes_texts(e) && e->how.prompts) return refuse_prompts(e->m, err);
    if (!status && o->label >= 0 && takes_texts(e))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "label %d: samples of %s are of texts, not of classes; `prompts` of the "
                       "sampling say which",
                       (int)o->label, e->m->source);
    if (!status && o->label != VN_LABEL_ALL && e->m)
        status = vn_model_check_label(o->label == VN_LABEL_NULL ? e->m : named(e), o->label, err);
    if (!status) status = vn_metric_list_parse(o->metric, &e->metrics, err);
    if (status) return status;
    e->reconstructs = !e->m && vn_eval_is_autoencoder(o->samples);
    e->compares = e->metrics.needs & OF_SAMPLES;
    e->needs_data = e->metrics.needs & OF_DATA;
    if (!e->m && e->metrics.needs & VN_METRIC_LIKELIHOOD)
        return vn_fail(err, VN_BAD_ARGUMENT, "nll is of a model, and these are samples");
    if (e->m && e->m->shown.rank && e->metrics.needs & VN_METRIC_LIKELIHOOD)
        return vn_fail(err, VN_UNSUPPORTED,
                       "nll: %s denoises latents, and has no density of the pictures that are "
                       "decoded from them",
                       e->m->source);
    return check_effects(e, err);
}

/* ---- sets ------------------------------------------------------------------------------------ */

/* The texts of the data as conditions: of samples without one the null condition. */
static vn_status set_texts(evaluation *e, vn_err *err) {
    vn_eval_set *d = &e->data;
    vn_eval_texts texts = {0};
    vn_status status = e->o.label == VN_LABEL_ALL ? vn_eval_texts_of_data(&texts, d, err) : VN_OK;
    for (int64_t i = 0; i < d->set.count && !status; i++) {
        d->labels[i] = VN_LABEL_NULL;
        if (texts.text) status = vn_model_prompt(e->m, texts.text[i], &d->labels[i], err);
    }
    d->set.labels = d->labels;
    vn_eval_texts_close(&texts);
    return status;
}

/* Labels under which the model is asked for the density of the data. */
static vn_status set_conditions(evaluation *e, vn_err *err) {
    const vn_model *m = e->m;
    vn_eval_set *d = &e->data;
    if (takes_texts(e)) return set_texts(e, err);
    for (int64_t i = 0; i < d->set.count; i++) {
        if (e->o.label != VN_LABEL_ALL) d->labels[i] = e->o.label;
        if (m->classes == 0) d->labels[i] = VN_LABEL_NULL;
        if (vn_model_check_label(m, d->labels[i], err) == VN_OK) continue;
        err->status = VN_BAD_FILE;
        return vn_fail_in(err, "%s: sample %lld", d->set.name, (long long)i);
    }
    d->set.labels = d->labels;
    return VN_OK;
}

/* What pictures of a folder are made, which other data is not. */
static const vn_shape *of_folder(const evaluation *e) {
    return e->pictures.rank && vn_data_is_folder(e->o.data) ? &e->pictures : NULL;
}

static vn_status open_data(evaluation *e, vn_err *err) {
    const vn_eval_options *o = &e->o;
    const vn_model *m = e->m, *classes = named(e);
    if (!o->data && m)
        return vn_eval_set_of_world(&e->data, m, o->label, o->count ? o->count : USUAL_COUNT,
                                    o->seed, err);
    if (!o->data) return vn_fail(err, VN_BAD_ARGUMENT, "`data` is needed: what samples are to be");
    const bool own = o->label == VN_LABEL_ALL || (e->compares && o->label >= 0);
    const vn_eval_ask ask = {
        .vn = e->vn,
        .path = o->data,
        .source = m ? m->source : o->samples,
        .sample = m                 ? vn_model_shown(m)
                  : e->reconstructs ? of_folder(e)
                  : e->compares     ? &e->samples.set.sample
                                    : NULL,
        .names = m && own && classes->classes > 0 ? (const char *const *)classes->names : NULL,
        .classes = m ? classes->classes : 0,
        .count = o->data_count > 0     ? o->data_count
                 : o->data_count == -1 ? 0
                                       : o->count,
        .usual = (m || e->reconstructs) && o->data_count == 0 ? USUAL_COUNT : 0,
        .of = e->compares ? o->label : VN_LABEL_ALL,
        .tell = o->label == VN_LABEL_ALL,
        .texts = takes_texts(e),
        .seed = o->seed};
    return vn_eval_set_open(&e->data, &ask, err);
}

/* Conditions of the samples that are drawn: the classes of the data in their order, or where it has
 * none all in turn. */
static int32_t condition_of(const evaluation *e, int64_t i, int64_t count) {
    const vn_model *m = named(e);
    const vn_set *d = &e->data.set;
    if (m->classes == 0) return VN_LABEL_NULL;
    if (e->o.label != VN_LABEL_ALL) return e->o.label;
    if (e->needs_data && d->labels) return d->labels[i * d->count / count];
    return (int32_t)(i % m->classes);
}

/* Classes of samples that are drawn for the names of the data's classes. */
static int32_t class_of(const evaluation *e, int64_t i, int64_t count) {
    const vn_set *d = &e->data.set;
    return e->texts.labelled ? d->labels[i * d->count / count] : VN_LABEL_NULL;
}

static vn_status choose_texts(evaluation *e, int64_t count, vn_err *err) {
    const bool none = e->o.label == VN_LABEL_NULL;
    vn_eval_texts *t = &e->texts;
    if (none && !e->how.prompt_count) {
        t->from = &vn_no_texts;
        return VN_OK;
    }
    const vn_status status =
        vn_eval_texts_choose(t, e->m, e->needs_data ? &e->data : NULL, &e->how, count, err);
    if (status) return status;
    if (none) return vn_fail(err, VN_BAD_ARGUMENT, "prompts and label null exclude each other");
    if (e->metrics.needs & VN_METRIC_LABELS && !t->labelled)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "accuracy is of classes, and samples of %s are of texts; where `data` has "
                       "classes and no captions, they are drawn for the names of classes",
                       e->m->source);
    if (e->o.per_class && !t->labelled)
        return no_effect("per_class", "samples are of texts, and have no classes", err);
    vn_log(&e->vn->watch, VN_LOG_INFO, "%s is asked for %s: %lld distinct", e->m->source,
           t->from->told, (long long)t->distinct);
    return VN_OK;
}

static vn_status draw_samples(evaluation *e, vn_err *err) {
    const int64_t few = e->needs_data && !e->o.data_count ? e->data.set.count : USUAL_COUNT,
                  count = e->o.count ? e->o.count : few;
    vn_status status = takes_texts(e) ? choose_texts(e, count, err) : VN_OK;
    if (status) return status;
    int32_t *labels = vn_alloc((size_t)count, sizeof *labels);
    if (!labels) return vn_no_memory(err);
    for (int64_t i = 0; i < count; i++)
        labels[i] = e->texts.text ? class_of(e, i, count) : condition_of(e, i, count);
    return vn_eval_set_of_model(&e->samples, e->m, e->o.sample, count, labels, &e->texts, e->o.seed,
                                err);
}

static vn_status open_samples(evaluation *e, vn_err *err) {
    const vn_eval_ask ask = {.vn = e->vn,
                             .path = e->o.samples,
                             .count = e->o.count,
                             .of = e->o.label,
                             .seed = e->o.seed};
    if (!e->o.samples)
        return vn_fail(err, VN_BAD_ARGUMENT, "`samples` is needed: what is to be measured");
    return vn_eval_set_open(&e->samples, &ask, err);
}

static vn_status open_training(evaluation *e, vn_err *err) {
    const vn_eval_ask ask = {.vn = e->vn,
                             .path = e->o.training,
                             .source = e->data.set.name,
                             .sample = &e->data.set.sample,
                             .training = true,
                             .of = e->o.label,
                             .seed = e->o.seed};
    return vn_eval_set_open(&e->training, &ask, err);
}

static vn_status open_features(evaluation *e, vn_err *err) {
    const vn_shape *sample = &e->samples.set.sample;
    const vn_engine engine = vn_context_engine(e->vn);
    const char *usual = vn_features_usual(sample);
    return vn_extractor_open(e->o.features ? e->o.features : usual, sample, &engine, &e->features,
                             err);
}

/* An autoencoder's samples, and the data that they are made of. */
static vn_status open_reconstructed(evaluation *e, vn_err *err) {
    vn_status status =
        vn_eval_autoencoder_open(&e->samples, e->vn, e->o.samples, &e->pictures, err);
    if (!status) status = open_data(e, err);
    return !status ? vn_eval_set_reconstructed(&e->samples, &e->data, err) : status;
}

static vn_status open_sets(evaluation *e, vn_err *err) {
    const unsigned needs = e->metrics.needs;
    vn_status status = VN_OK;
    if (e->reconstructs) {
        status = open_reconstructed(e, err);
    } else {
        if (!e->m) status = open_samples(e, err);
        if (!status && e->needs_data) status = open_data(e, err);
    }
    if (!status && needs & VN_METRIC_LIKELIHOOD) status = set_conditions(e, err);
    if (!status && e->m && e->compares) status = draw_samples(e, err);
    if (!status && needs & VN_METRIC_TRAINING) status = open_training(e, err);
    if (!status && needs & BY_FEATURES) status = open_features(e, err);
    return status;
}

static void close_sets(evaluation *e) {
    vn_eval_set_close(&e->samples);
    vn_eval_set_close(&e->data);
    vn_eval_set_close(&e->training);
    vn_extractor_close(&e->features);
    vn_eval_texts_close(&e->texts);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static vn_status density(void *self, const char *what, int64_t n, const float *x,
                         const int32_t *labels, double *log_p, int64_t *evaluations, vn_err *err) {
    const evaluation *e = self;
    return vn_model_likelihood(e->m, &e->likelihood, what, n, x, labels, log_p, evaluations, err);
}

/* One more than the highest label of the sets. */
static int32_t count_classes(const evaluation *e) {
    const vn_set *sets[] = {&e->samples.set, &e->data.set};
    int32_t most = e->m ? named(e)->classes - 1 : -1;
    for (size_t k = 0; k < VN_COUNT(sets); k++)
        for (int64_t i = 0; sets[k]->labels && i < sets[k]->count; i++)
            if (sets[k]->labels[i] > most) most = sets[k]->labels[i];
    return most + 1;
}

static vn_status measure(evaluation *e, vn_err *err) {
    const unsigned needs = e->metrics.needs;
    const vn_measure_options options = {.metrics = &e->metrics,
                                        .samples = e->compares ? &e->samples.set : NULL,
                                        .data = e->needs_data ? &e->data.set : NULL,
                                        .training =
                                            needs & VN_METRIC_TRAINING ? &e->training.set : NULL,
                                        .features = e->features,
                                        .pool = e->vn->pool,
                                        .watch = &e->vn->watch,
                                        .seed = e->o.seed,
                                        .resamples = e->o.resamples,
                                        .cache = e->o.cache,
                                        .classes = count_classes(e),
                                        .per_class = e->o.per_class != 0,
                                        .density = density,
                                        .density_self = e,
                                        .discrete = e->m && e->m->row->sequence,
                                        .truth = e->m ? e->m->truth : NULL};
    return vn_metric_measure(&options, &e->vn->measured, err);
}

/* What the caller is told; its arrays are the context's and the model's. */
static vn_status tell(evaluation *e, vn_eval_result *r, vn_err *err) {
    vn_context *vn = e->vn;
    const vn_measured *measured = &vn->measured;
    r->count = e->compares ? e->samples.set.count : e->data.set.count;
    r->data_count = e->compares ? e->data.set.count : 0;
    r->available = e->data.available;
    if (e->m) {
        r->drawn = e->data.of_class;
        r->classes = e->data.of_class ? named(e)->classes : 0;
        vn_free(e->m->drawn);
        e->m->drawn = e->data.of_class; /* owned by the model from here on */
        e->data.of_class = NULL;
    }
    r->prompts_from = e->texts.from ? e->texts.from->name : NULL;
    r->prompts = e->texts.distinct;
    r->rows = measured->count;
    r->row = measured->row;
    for (size_t i = 0; i < measured->count && r->measures < VN_MAX_MEASURES; i++) {
        const vn_eval_row *row = &measured->row[i];
        if (row->label == VN_LABEL_ALL)
            r->measure[r->measures++] =
                (vn_measure){row->name, row->unit, row->value, row->low, row->high};
    }
    if (!e->features) return VN_OK;
    vn->measured_by = vn_strdup(vn_extractor_name(e->features));
    r->features = vn->measured_by;
    return vn->measured_by ? VN_OK : vn_no_memory(err);
}

static vn_status evaluate(evaluation *e, vn_eval_result *r, vn_err *err) {
    vn_measured_close(&e->vn->measured);
    vn_free(e->vn->measured_by);
    e->vn->measured_by = NULL;
    vn_status status =
        vn_struct_take(&e->how, sizeof e->how, e->o.sample, "vn_sample_options", err);
    if (!status) status = check(e, err);
    if (!status)
        status = vn_struct_take(&e->likelihood, sizeof e->likelihood, e->o.likelihood,
                                "vn_likelihood_settings", err);
    e->likelihood.seed = e->o.seed;
    if (!status) status = open_sets(e, err);
    if (!status) status = measure(e, err);
    if (!status) status = tell(e, r, err);
    close_sets(e);
    return status;
}

/* ---- the public part ------------------------------------------------------------------------- */

static vn_status run(vn_context *vn, vn_model *m, const char *call, const vn_eval_options *options,
                     vn_eval_result *result) {
    vn_err *err = vn_begin(vn);
    evaluation e = {.vn = vn,
                    .m = m,
                    .o = vn_eval_options_default(),
                    .how = vn_sample_options_default(),
                    .likelihood = vn_likelihood_settings_default()};
    vn_eval_result r = vn_eval_result_default();
    vn_status status = options && result ? vn_struct_check(result, "vn_eval_result", err)
                                         : vn_fail(err, VN_BAD_ARGUMENT,
                                                   "%s: options and result are needed", call);
    if (status) return vn_end(vn, status);
    status = vn_struct_take(&e.o, sizeof e.o, options, "vn_eval_options", err);
    if (!status) status = evaluate(&e, &r, err);
    vn_struct_give(result, &r, sizeof r);
    return vn_end(vn, status);
}

vn_status vn_eval(vn_model *m, const vn_eval_options *options, vn_eval_result *result) {
    return m ? run(m->vn, m, "vn_eval", options, result) : VN_BAD_ARGUMENT;
}

vn_status vn_eval_samples(vn_context *vn, const vn_eval_options *options, vn_eval_result *result) {
    return vn ? run(vn, NULL, "vn_eval_samples", options, result) : VN_BAD_ARGUMENT;
}
