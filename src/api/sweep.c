/* sweep.c - vn_sweep: what is swept, and what is refused before anything is measured. */
#include "api/sweep.h"

#include <math.h>
#include <string.h>

enum { USUAL_COUNT = 1000, LARGE = 16, MIN_COUNT = 200 };

void vn_sweep_options_init(vn_sweep_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_SWEEP, o, size);
}

void vn_sweep_result_init(vn_sweep_result *r, size_t size) {
    static const vn_sweep_result initial = {0};
    vn_struct_init(r, size, &initial, sizeof initial);
}

/* ---- what was left open ---------------------------------------------------------------------- */

/* The sampler that a model was made for, where no other does as well; NULL: there is none. */
static const char *made_for(const vn_model *m) {
    const bool network = m->parts == 1 && !m->row->sequence;
    if (m->sampling.consistency) return "consistency:sigma_min=0";
    return network && vn_net_input(vn_net_get_io(vn_model_net(m)), VN_STEP_END) ? "flow-map" : NULL;
}

/* Values that do not follow what the run says of its sampling: a sweep that is gone on with after
 * its recommendation was written is the same sweep. */
static void choose_grid(vn_sweeping *s) {
    static const double strengths[] = {1, 1.5, 2, 3}, as_trained[] = {1};
    static const int few[] = {1, 2, 4}, of_tokens[] = {0};
    const vn_model *m = s->m;
    vn_sweep_grid *g = &s->search.grid;
    const bool own = m->path && !m->scheduler.name[0];
    const char *made = made_for(m);
    s->usual_sampler = made ? made : own ? m->path->row->sampler : NULL;
    const vn_sampling_kind kind = {.sample = &m->sample,
                                   .drops = m->has_null,
                                   .classes = m->classes > 0 && !m->row->prompt && !m->shown.rank};
    s->usual =
        m->path ? vn_sampling_defaults_choose(&kind, m->path) : (vn_sampling_defaults){.steps = 0};
    s->usual_guide = s->usual.guide[0] && own && !made ? s->usual.guide : "cfg";
    const bool guided =
        !made && (s->o.classifier || (m->has_null && (m->classes > 0 || m->row->prompt)));
    *g = (vn_sweep_grid){.guides = s->o.guides ? s->o.guides : &s->usual_guide,
                         .guide_count = s->o.guides ? s->o.guide_count : 1,
                         .samplers = s->o.samplers ? s->o.samplers : &s->usual_sampler,
                         .sampler_count = s->o.samplers ? s->o.sampler_count : 1,
                         .steps = s->o.steps         ? s->o.steps
                                  : m->row->sequence ? of_tokens
                                  : made             ? few
                                                     : &s->usual.steps,
                         .step_count = s->o.steps ? s->o.step_count
                                       : made     ? VN_COUNT(few)
                                                  : 1,
                         .guidance = s->o.guidance ? s->o.guidance
                                     : guided      ? strengths
                                                   : as_trained,
                         .guidance_count = s->o.guidance ? s->o.guidance_count
                                           : guided      ? VN_COUNT(strengths)
                                                         : 1};
}

/* Whether a metric gives a number of this key: its own name or, as "fd-infinity", one that begins
 * so. */
static bool is_measured(const vn_metric_list *metrics, const char *key) {
    for (size_t i = 0; i < metrics->count; i++) {
        const char *name = metrics->choice[i].row->name;
        const size_t n = strlen(name);
        if (strncmp(key, name, n) == 0 && (!key[n] || key[n] == '-')) return true;
    }
    return false;
}

/* Without one, the first metric, without its parameters. */
static vn_status choose_objective(vn_sweeping *s, vn_err *err) {
    vn_metric_list metrics;
    const vn_status status = vn_metric_list_parse(s->o.metric, &metrics, err);
    if (status) return status;
    const char *metric = s->o.objective ? s->o.objective : s->o.metric;
    char *key = vn_arena_alloc(&s->vn->swept, strlen(metric) + 1);
    if (!key) return vn_no_memory(err);
    memcpy(key, metric, strcspn(metric, s->o.objective ? "" : ",:"));
    s->objective = key;
    if (is_measured(&metrics, key)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "`objective` '%s' is not among what is measured: %s", key,
                   s->o.metric);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static vn_status check_lists(const vn_sweep_options *o, vn_err *err) {
    const struct {
        const char *name;
        bool there;
        size_t count;
    } lists[] = {{"guidance", o->guidance != NULL, o->guidance_count},
                 {"guides", o->guides != NULL, o->guide_count},
                 {"samplers", o->samplers != NULL, o->sampler_count},
                 {"steps", o->steps != NULL, o->step_count}};
    enum { MAX_VALUES = 1000 };
    for (size_t i = 0; i < VN_COUNT(lists); i++)
        if (lists[i].there != (lists[i].count > 0) || lists[i].count > MAX_VALUES)
            return vn_fail(err, VN_BAD_ARGUMENT, "`%s`: %zu values; a list has 1 to %d",
                           lists[i].name, lists[i].count, MAX_VALUES);
    return VN_OK;
}

/* A weak model and a classifier are each used by some guide. */
static vn_status check_helpers(const vn_sweeping *s, vn_err *err) {
    const vn_sweep_grid *g = &s->search.grid;
    bool weak = !s->o.weak, classifier = !s->o.classifier;
    for (size_t i = 0; i < g->guide_count; i++) {
        weak = weak || vn_guide_uses_weak(g->guides[i]);
        classifier = classifier || vn_guide_uses_classifier(g->guides[i], false);
    }
    if (!weak)
        return vn_fail(err, VN_BAD_ARGUMENT, "a weak model has no effect: no `guide` here uses it");
    if (!classifier)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a classifier has no effect: no `guide` here follows it");
    return VN_OK;
}

/* Each point is one that the model can do, before the first is measured. */
static vn_status check_points(vn_sweeping *s, vn_err *err) {
    char text[256];
    vn_status status = VN_OK;
    for (size_t i = 0; !status && i < vn_grid_points(&s->search.grid); i++) {
        const vn_point p = vn_grid_point(&s->search.grid, i);
        vn_sample_options o = vn_sweeping_options(s, &p);
        vn_drawing d = {0};
        o.count = s->o.count;
        if (vn_sweeping_is_blind(s, &o)) o.label = VN_LABEL_NULL;
        status = vn_options_check(VN_OPTIONS_SAMPLE, &o, err);
        if (!status) status = vn_drawing_open(&d, s->m, &o, false, err);
        vn_drawing_close(&d);
        vn_point_text(&p, text, sizeof text);
        if (status && vn_grid_points(&s->search.grid) > 1) vn_fail_in(err, "%s", text);
    }
    return status;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* What samples are compared by; and with how many samples it can be done at least. */
static vn_status choose_features(vn_sweeping *s, char **name, vn_err *err) {
    const vn_engine engine = vn_context_engine(s->vn);
    vn_extractor *e = NULL;
    if (!s->o.features) s->o.features = vn_features_usual(vn_model_shown(s->m));
    const vn_status status =
        vn_extractor_open(s->o.features, vn_model_shown(s->m), &engine, &e, err);
    if (status) return status;
    if (!s->o.metric)
        s->o.metric =
            vn_extractor_classes(e) > 0 && vn_model_of_classes(s->m, s->o.classifier)->classes > 0
                ? "fd,precision,recall,accuracy"
                : "fd,precision,recall";
    const int64_t size = vn_extractor_size(e);
    s->search.least = size + 1 > MIN_COUNT ? size + 1 : MIN_COUNT; /* a covariance needs as many */
    *name = vn_strdup(vn_extractor_name(e));
    vn_extractor_close(&e);
    return *name ? VN_OK : vn_no_memory(err);
}

/* "3 prompts, 0123456789abcdef": the same for the same texts in the same order. */
static void name_prompts(const vn_sweep_options *o, char *out, size_t size) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < o->prompt_count; i++)
        for (const char *c = o->prompts[i]; c; c = *c ? c + 1 : NULL)
            hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    vn_snprintf(out, size, "%zu prompt%s, %016llx", o->prompt_count, VN_S(o->prompt_count),
                (unsigned long long)hash);
}

static json_t *make_settings(const vn_sweeping *s, const char *features) {
    const char *model = vn_model_fingerprint(s->m),
               *weak = s->o.weak ? vn_model_fingerprint(s->o.weak) : NULL,
               *classifier = s->o.classifier ? vn_model_fingerprint(s->o.classifier) : NULL;
    char prompts[64] = "";
    if (s->o.prompt_count) name_prompts(&s->o, prompts, sizeof prompts);
    return json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s, s:s, s:I, s:I, s:I}", "model",
                     model ? model : s->m->source, "weak", weak, "classifier", classifier, "path",
                     s->o.path, "prompts", prompts[0] ? prompts : NULL, "negative", s->o.negative,
                     "data", s->o.data, "metric", s->o.metric, "features", features, "count",
                     (json_int_t)s->o.count, "resamples", (json_int_t)s->o.resamples, "seed",
                     (json_int_t)s->o.seed);
}

static vn_status open_folder(vn_sweeping *s, const char *features, vn_err *err) {
    json_t *settings = make_settings(s, features);
    vn_status status = vn_check_no_model(s->out, "name a folder outside of it", err);
    if (!status && !settings) status = vn_no_memory(err);
    if (!status) status = vn_sweep_open(&s->folder, s->out, settings, err);
    json_decref(settings);
    return status;
}

/* ---- the call -------------------------------------------------------------------------------- */

static vn_status prepare(vn_sweeping *s, vn_err *err) {
    char *features = NULL;
    vn_status status = vn_options_check(VN_OPTIONS_SWEEP, &s->o, err);
    if (!status) status = check_lists(&s->o, err);
    if (!status && s->m->held)
        status = vn_fail(err, VN_BAD_ARGUMENT, "%s: a sampling of it is open; close that first",
                         s->m->source);
    if (status) return status;
    if (!s->o.count) s->o.count = USUAL_COUNT;
    choose_grid(s);
    const char *search = s->o.search ? s->o.search : "auto";
    s->search.halving = !strcmp(search, "halving") ||
                        (!strcmp(search, "auto") && vn_grid_points(&s->search.grid) > LARGE);
    status = check_helpers(s, err);
    if (!status) status = check_points(s, err);
    if (!status) status = choose_features(s, &features, err);
    if (!status) status = choose_objective(s, err);
    if (!status) status = open_folder(s, features, err);
    if (!status && !(s->cache = vn_path_join(s->out, "cache"))) status = vn_no_memory(err);
    vn_free(features);
    return status;
}

static vn_status sweep(vn_sweeping *s, vn_sweep_result *out, vn_err *err) {
    vn_arena_free(&s->vn->swept);
    vn_status status = prepare(s, err);
    s->search.count = s->o.count;
    s->search.objective = s->objective;
    s->search.measure = vn_sweeping_measure;
    s->search.user = s;
    s->began = s->latest = vn_now();
    for (size_t i = 0; !status && i < s->folder.count; i++)
        vn_sweeping_tell_point(s, &s->folder.result[i]);
    if (!status) status = vn_sweep_run(&s->folder, &s->search, err);
    if (!status) status = vn_sweeping_tell(s, out, err);
    if (status)
        vn_sweep_abandon(&s->folder);
    else
        vn_sweep_close(&s->folder);
    vn_free(s->cache);
    return status;
}

vn_status vn_sweep(vn_model *m, const char *out, const vn_sweep_options *options,
                   vn_sweep_result *result) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    vn_sweeping s = {.vn = m->vn, .m = m, .out = out, .o = vn_sweep_options_default()};
    vn_sweep_result r = vn_sweep_result_default();
    vn_status status = out && result
                           ? vn_struct_check(result, "vn_sweep_result", err)
                           : vn_fail(err, VN_BAD_ARGUMENT, "vn_sweep: out and result are needed");
    if (!status) status = vn_struct_take(&s.o, sizeof s.o, options, "vn_sweep_options", err);
    if (!status) {
        s.outer = m->vn->watch;
        status = sweep(&s, &r, err);
        m->vn->watch = s.outer;
        vn_struct_give(result, &r, sizeof r);
    }
    return vn_end(m->vn, status);
}
