/* bench_sampling.c - vn_bench_sampling: what sampler and guides cost beside the network. The
 * network takes so much longer that its fluctuation hides the rest; so it is timed by itself, and
 * the sampling run is made with a denoiser in its place that answers at once. That denoiser sweeps
 * the caches, as a network would, so that the arithmetic finds its arrays where it would find them
 * in earnest. */
#include "api/internal.h"
#include "sample/sample.h"

#include <math.h>
#include <string.h>

enum { UNTIMED = 1, TIMED = 5, MOST_TIMED = 50, SWEEP = 32 << 20 };
#define CALLS_SECONDS 1 /* that short calls are timed for, as often as they fit in */

void vn_bench_sampling_options_init(vn_bench_sampling_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_BENCH_SAMPLING, o, size);
}

/* Least and median seconds of a row. */
typedef struct timing {
    double least, median;
} timing;

/* What a step calls. A gradient of the classifier is a pass forward and one back. */
typedef enum call {
    FORWARD,  /* of the network */
    BACK,     /* its vector-Jacobian product: forward and back */
    TELL,     /* log p(class|x), by the classifier */
    GRADIENT, /* and its gradient */
    CALLS
} call;

typedef struct sampling_bench {
    const vn_bench_sampling_options *o;
    vn_context *vn;
    vn_model *classifier; /* of options.classifier; NULL: none */
    vn_classified_denoiser classified;
    vn_denoiser real;     /* with the classifier beside it */
    vn_denoiser denoiser; /* the stand-in */
    double in_stand_in;   /* seconds */
    int64_t rows[CALLS];
    timing cost[CALLS]; /* least 0: not timed */
    char *sweep;
    float *x, *out;        /* [batch,size] */
    int32_t *labels;       /* [batch] */
    vn_level *level;       /* [batch] */
    vn_operator *identity; /* with options.restore, and what it observed */
    double *zeros;
} sampling_bench;

/* ---- the network, and the classifier --------------------------------------------------------- */

static vn_status make_call(sampling_bench *b, call kind, vn_err *err) {
    const vn_denoiser *d = &b->real;
    const int64_t n = b->o->batch;
    const bool gives = kind == TELL;
    const vn_query q = {.n = n,
                        .x = b->x,
                        .level = b->level,
                        .condition = b->labels,
                        .want = kind == BACK ? VN_VJP : VN_ANSWER,
                        .direction = kind == BACK ? b->x : NULL};
    const vn_classify c = {.n = n,
                           .x = b->x,
                           .level = b->level,
                           .condition = b->labels,
                           .log_probability = gives ? b->out : NULL,
                           .shift = gives ? NULL : b->out};
    return kind < TELL ? d->predict(d->self, &q, b->out, err) : d->classify(d->self, &c, err);
}

/* Makes each call that is wanted once; seconds: of each. */
static vn_status make_calls(sampling_bench *b, const bool want[CALLS], double seconds[CALLS],
                            vn_err *err) {
    vn_status status = VN_OK;
    for (call k = FORWARD; k < CALLS && !status; k++) {
        if (!want[k]) continue;
        const double began = vn_now();
        status = make_call(b, k, err);
        seconds[k] = vn_now() - began;
    }
    return status;
}

/* Times all calls that are wanted, by turns, so that what else the machine does meets each of them
 * alike. */
static vn_status time_calls(sampling_bench *b, const bool want[CALLS], vn_err *err) {
    const int64_t n = b->o->batch;
    double seconds[CALLS][MOST_TIMED], once[CALLS] = {0}, began = vn_now();
    int timed = 0;
    for (int64_t i = 0; i < n; i++) b->level[i] = vn_path_level(b->real.path, 0.5);
    vn_random_normal(b->x, (size_t)(n * b->real.size), 0, VN_STREAM_NOISE, 0, 0);
    vn_status status = VN_OK;
    for (int i = 0; i < UNTIMED && !status; i++) status = make_calls(b, want, once, err);
    for (; !status && timed < MOST_TIMED; timed++) {
        if (timed >= TIMED && vn_now() - began > CALLS_SECONDS) break;
        status = make_calls(b, want, once, err);
        for (call k = FORWARD; k < CALLS; k++) seconds[k][timed] = once[k] / (double)n;
    }
    for (call k = FORWARD; k < CALLS && !status; k++)
        if (want[k]) vn_least_and_median(seconds[k], timed, &b->cost[k].least, &b->cost[k].median);
    return status;
}

/* Times what the latest sampling run has called, unless all of it is known: a pass forward of what
 * was differentiated is timed beside it. A classifier that is lent costs nothing. */
static vn_status time_called(sampling_bench *b, vn_err *err) {
    bool want[CALLS] = {[FORWARD] = true}, known = b->cost[FORWARD].least > 0;
    for (call k = BACK; k < CALLS; k++) {
        const bool called = b->rows[k] > 0 && (k == BACK || b->classifier);
        known = known && (!called || b->cost[k].least > 0);
        want[k] = called || b->cost[k].least > 0;
    }
    want[TELL] = want[TELL] || want[GRADIENT];
    return known ? VN_OK : time_calls(b, want, err);
}

/* ---- the stand-in ---------------------------------------------------------------------------- */

/* Nearly x itself, a little less without the class, so that guides have a difference to work on. */
static vn_status answer(void *self, const vn_query *q, float *raw, vn_err *err) {
    sampling_bench *b = self;
    const double began = vn_now();
    const float *from = q->direction ? q->direction : q->x;
    const int64_t size = b->real.size;
    (void)err;
    for (int64_t i = 0; i < q->n; i++) {
        const float gain = q->condition[i] == VN_LABEL_NULL ? 0.99F : 1;
        for (int64_t j = i * size; j < (i + 1) * size; j++) raw[j] = gain * from[j];
    }
    memset(b->sweep, (int)b->rows[FORWARD], SWEEP);
    b->rows[q->direction ? BACK : FORWARD] += q->n;
    b->in_stand_in += vn_now() - began;
    return VN_OK;
}

/* A classifier and a reward are lent to guides that ask for one; their own time is not counted, but
 * that of options.classifier. */
static vn_status classify(void *self, const vn_classify *q, vn_err *err) {
    sampling_bench *b = self;
    const double began = vn_now();
    const int64_t size = b->real.size;
    (void)err;
    for (int64_t i = 0; i < q->n; i++) {
        if (q->log_probability) q->log_probability[i] = -0.01F * q->x[i * size];
        if (q->shift)
            for (int64_t j = i * size; j < (i + 1) * size; j++) q->shift[j] = 0.01F * q->x[j];
    }
    if (q->log_probability) b->rows[TELL] += q->n;
    if (q->shift) b->rows[GRADIENT] += q->n;
    b->in_stand_in += vn_now() - began;
    return VN_OK;
}

static vn_status reward(void *self, int64_t n, const float *x0, const int32_t *labels, float *value,
                        float *gradient, vn_err *err) {
    sampling_bench *b = self;
    const double began = vn_now();
    const int64_t size = b->real.size;
    (void)labels, (void)err;
    for (int64_t i = 0; i < n; i++) value[i] = -0.01F * x0[i * size];
    for (int64_t j = 0; gradient && j < n * size; j++) gradient[j] = -0.01F * x0[j];
    b->in_stand_in += vn_now() - began;
    return VN_OK;
}

static vn_status open_bench(sampling_bench *b, vn_err *err) {
    const size_t n = (size_t)b->o->batch, size = (size_t)b->real.size;
    b->sweep = vn_alloc(SWEEP, 1);
    b->x = vn_alloc(n, size * sizeof *b->x);
    b->out = vn_alloc(n, size * sizeof *b->out);
    b->labels = vn_alloc(n, sizeof *b->labels);
    b->level = vn_alloc(n, sizeof *b->level);
    if (!b->sweep || !b->x || !b->out || !b->labels || !b->level) return vn_no_memory(err);
    b->denoiser = b->real;
    b->denoiser.self = b;
    b->denoiser.predict = answer;
    b->denoiser.exact = NULL; /* what float32 costs is measured */
    b->denoiser.classify = classify;
    b->denoiser.can |= VN_CAN_WEAK; /* of the same cost */
    for (int32_t i = 0; i < (int32_t)n; i++)
        b->labels[i] = b->real.conditions.classes ? i % b->real.conditions.classes : VN_LABEL_NULL;
    const vn_operator_options identity = {.text = "denoise", .sample = b->real.sample};
    if (b->o->restore && vn_operator_open(&identity, &b->identity, err)) return err->status;
    if (b->o->restore && !(b->zeros = vn_calloc(size, sizeof *b->zeros))) return vn_no_memory(err);
    return VN_OK;
}

static void close_bench(sampling_bench *b) {
    vn_free(b->sweep);
    vn_free(b->x);
    vn_free(b->out);
    vn_free(b->labels);
    vn_free(b->level);
    vn_operator_close(&b->identity);
    vn_free(b->zeros);
}

/* ---- a sampling run -------------------------------------------------------------------------- */

/* Seconds of a step outside the stand-in, on average over one sampling run. */
static vn_status run_trajectory(sampling_bench *b, vn_trajectory *trajectory, double *arithmetic,
                                vn_err *err) {
    const vn_trajectory_batch batch = {.n = b->o->batch, .condition = b->labels, .x = b->x};
    vn_status status = vn_trajectory_begin(trajectory, &batch, err);
    const double began = vn_now();
    b->in_stand_in = 0;
    memset(b->rows, 0, sizeof b->rows);
    for (bool done = false; !done && !status;) status = vn_trajectory_step(trajectory, &done, err);
    *arithmetic = (vn_now() - began - b->in_stand_in) / vn_trajectory_steps(trajectory);
    return status;
}

/* What the calls from `first` to `last` cost a step. */
static timing add_calls(const sampling_bench *b, call first, call last, double steps) {
    timing sum = {0};
    for (call k = first; k <= last; k++) {
        sum.least += (double)b->rows[k] / steps * b->cost[k].least;
        sum.median += (double)b->rows[k] / steps * b->cost[k].median;
    }
    return sum;
}

static vn_status time_walk(sampling_bench *b, vn_trajectory *trajectory, vn_bench_sampling *r,
                           vn_err *err) {
    double seconds[TIMED];
    timing arithmetic;
    vn_status status = VN_OK;
    for (int i = -UNTIMED; i < TIMED && !status; i++)
        status = run_trajectory(b, trajectory, &seconds[i < 0 ? 0 : i], err);
    if (!status) status = time_called(b, err);
    if (status) return status;
    vn_least_and_median(seconds, TIMED, &arithmetic.least, &arithmetic.median);
    const double steps = vn_trajectory_steps(trajectory);
    const timing network = add_calls(b, FORWARD, BACK, steps),
                 classifier = add_calls(b, TELL, GRADIENT, steps);
    r->unguided_ms = 1e3 * b->cost[FORWARD].least * (double)b->o->batch;
    r->passes = 1e3 * network.least / r->unguided_ms;
    r->min_ms = 1e3 * (network.least + classifier.least + arithmetic.least);
    r->median_ms = 1e3 * (network.median + classifier.median + arithmetic.median);
    r->denoiser_ms = 1e3 * network.least;
    r->arithmetic_ms = 1e3 * arithmetic.least;
    r->arithmetic_share = arithmetic.least / network.least;
    if (classifier.least == 0) return VN_OK;
    r->classifier_ms = 1e3 * classifier.least;
    r->classifier_passes = classifier.least / (b->cost[TELL].least * (double)b->o->batch);
    r->gradients = (double)b->rows[GRADIENT] / steps / (double)b->o->batch;
    return VN_OK;
}

/* The rule around the stand-in: a whole sample was observed, of zeros. */
static vn_status open_restoration(sampling_bench *b, vn_restoration **out, vn_err *err) {
    const vn_restoration_options options = {.rule = b->o->restore,
                                            .denoiser = &b->denoiser,
                                            .operator= b->identity,
                                            .observed = b->zeros,
                                            .observations = 1,
                                            .noise = 0.1,
                                            .guided = b->o->guidance != 0 && b->o->guidance != 1,
                                            .capacity = b->o->batch};
    return vn_restoration_open(&options, out, err);
}

/* What refuses to go together is reported as such, unless it was all that was asked for. */
static vn_status measure(sampling_bench *b, const char *sampler, const char *guide, bool alone,
                         vn_bench_sampling *r, vn_err *err) {
    vn_trajectory *trajectory = NULL;
    vn_restoration *restoration = NULL;
    const vn_reward lent = {.evaluate = reward, .self = b};
    *r = (vn_bench_sampling){.sampler = sampler, .guide = guide};
    vn_status status = b->o->restore ? open_restoration(b, &restoration, err) : VN_OK;
    const vn_trajectory_options options = {
        .denoiser = restoration ? vn_restoration_denoiser(restoration) : &b->denoiser,
        .between = restoration ? vn_restoration_between(restoration) : NULL,
        .reward = &lent,
        .sampler = sampler,
        .steps = b->o->steps,
        .guide = guide,
        .guidance = b->o->guidance,
        .capacity = b->o->batch};
    if (!status) status = vn_trajectory_open(&options, &trajectory, err);
    if (!status) status = time_walk(b, trajectory, r, err);
    vn_trajectory_close(&trajectory);
    vn_restoration_close(&restoration);
    if (alone || status == VN_NO_MEMORY) return status;
    if (status) r->refused = err->text;
    return VN_OK;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Row i of the table if `text` asks for all, else `text` itself once; NULL when there is no
 * more. */
static const char *choice_at(const char *text, bool all, const vn_table *table, size_t i) {
    if (!all) return i == 0 ? text : NULL;
    return i < table->count ? vn_table_row(table, i)->name : NULL;
}

static vn_status run(sampling_bench *b, vn_bench_sampling_fn report, void *user, vn_err *err) {
    bool only = false;
    const char *own = b->o->restore ? vn_restorer_sampler(b->o->restore, &only) : NULL;
    if (!own) own = b->real.path->row->sampler;
    if (only && b->o->sampler && strcmp(b->o->sampler, own) != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "the restorer %s is valid with the sampler %s",
                       b->o->restore, own);
    const char *sampler = b->o->sampler ? b->o->sampler : own, *guide = NULL;
    const char *rule = b->o->guide ? b->o->guide : vn_table_row(&vn_guides, 0)->name;
    const bool samplers = !strcmp(sampler, "all"), guides = !strcmp(rule, "all");
    const int64_t total =
        (int64_t)((samplers ? vn_samplers.count : 1) * (guides ? vn_guides.count : 1));
    vn_progress p = {
        .what = "timing", .unit = "runs", .total = total, .seconds_left = -1, .loss = (double)NAN};
    const char *name;
    for (size_t i = 0; (name = choice_at(sampler, samplers, &vn_samplers, i)); i++)
        for (size_t k = 0; (guide = choice_at(rule, guides, &vn_guides, k)); k++) {
            vn_bench_sampling r;
            const vn_status status = measure(b, name, guide, total == 1, &r, err);
            if (status) return status;
            report(user, &r);
            *err = (vn_err){0}; /* a refusal is no failure */
            p.done++;
            if (vn_report(&b->vn->watch, &p)) return vn_fail(err, VN_CANCELLED, "stopped");
        }
    return VN_OK;
}

/* Refuses a classifier that no guide looks at. */
static vn_status check_classifier(const vn_bench_sampling_options *o, vn_err *err) {
    const unsigned looks = VN_NEEDS_CLASSIFIER | VN_TAKES_CLASSIFIER;
    const char *guide = o->guide ? o->guide : vn_table_row(&vn_guides, 0)->name;
    if (!o->classifier || !strcmp(guide, "all") || vn_guides_need(guide) & looks) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "a classifier has no effect on the guide %s: `guide` classifier follows it",
                   guide);
}

static vn_status open_classifier(sampling_bench *b, const vn_model *main, vn_err *err) {
    const vn_denoiser unclassified = b->real, *classifier = NULL;
    vn_status status = vn_model_open_random(b->vn, b->o->classifier, &b->classifier, err);
    char *path = status ? NULL : vn_path_text(b->real.path);
    if (!status && !path) status = vn_no_memory(err);
    if (!status)
        status =
            vn_model_classifier(b->classifier, b->classifier->path ? NULL : path, &classifier, err);
    if (!status)
        status = vn_classified_open(&b->classified, &unclassified, main, classifier, b->classifier,
                                    &b->real, err);
    vn_free(path);
    return status;
}

static vn_status open_models(sampling_bench *b, const char *dir, vn_model **out, vn_err *err) {
    const vn_denoiser *main = NULL;
    vn_status status = vn_model_open_random(b->vn, dir, out, err);
    vn_model *m = *out;
    if (!status && m->row->classifies)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: is a classifier, from which no samples are drawn: it is timed as the "
                       "`classifier` of a model, or by itself as any network",
                       m->source);
    const char *path = b->o->path ? b->o->path : status || m->path ? NULL : "rectified";
    if (!status) status = vn_model_denoise(m, path, &main, err);
    if (status) return status;
    vn_model_set_batch(m, b->o->batch);
    b->real = *main;
    return b->o->classifier ? open_classifier(b, m, err) : VN_OK;
}

/* Times all that is asked for, and reports it. */
static vn_status measure_all(vn_context *vn, const char *dir, const vn_bench_sampling_options *o,
                             vn_bench_sampling_fn report, void *user, vn_err *err) {
    vn_model *m = NULL;
    sampling_bench b = {.vn = vn, .o = o};
    vn_status status = vn_options_check(VN_OPTIONS_BENCH_SAMPLING, o, err);
    if (!status) status = check_classifier(o, err);
    if (!status) status = open_models(&b, dir, &m, err);
    if (!status) status = open_bench(&b, err);
    if (!status) status = run(&b, report, user, err);
    close_bench(&b);
    vn_classified_close(&b.classified);
    vn_model_close(&b.classifier);
    vn_model_close(&m);
    return status;
}

vn_status vn_bench_sample(vn_context *vn, const char *dir, const vn_bench_sampling_options *options,
                          vn_bench_sampling_fn report, void *user, vn_bench_result *machine) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    vn_bench_sampling_options o = vn_bench_sampling_options_default();
    vn_status status = VN_OK;
    if (!dir || !report)
        status = vn_fail(err, VN_BAD_ARGUMENT, "vn_bench_sample: dir and report are needed");
    if (!status) status = vn_struct_take(&o, sizeof o, options, "vn_bench_sampling_options", err);
    if (!status && machine) status = vn_struct_check(machine, "vn_bench_result", err);
    if (!status) status = measure_all(vn, dir, &o, report, user, err);
    if (!status && machine) {
        const vn_bench_options forward = {.batch = o.batch, .steps = TIMED};
        vn_bench_result r = vn_bench_result_default();
        status = vn_bench_network(vn, dir, &forward, &r, err);
        vn_struct_give(machine, &r, sizeof r);
    }
    return vn_end(vn, status);
}
