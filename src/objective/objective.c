/* objective.c - opens an objective from its texts, and turns data into the inputs of a training
 * step. */
#include "objective/internal.h"
#include "objective/teacher.h"

#include <math.h>
#include <string.h>

#define TIMES    VN_TABLE("distribution of times", vn_times_rows, vn_times_row_count)
#define MIN_TIME 1e-5 /* score_sde's; no target is infinite there */
/* From data to noise: sinusoids of such a time turn much faster than the path moves. */
#define LONG_TIME 100

struct vn_objective {
    const vn_path *path;
    vn_prediction prediction;
    const vn_objective_row *row;
    const vn_times_row *times;
    vn_choice choice, times_choice;
    const vn_denoiser *asked[VN_ASK_COUNT];
    bool stratified;
    double drop;
    int32_t null_label;
    vn_trains trains;
    uint64_t seed;
    vn_teacher_rows *rows;
};

/* ---- opening --------------------------------------------------------------------------------- */

/* Whether `name` is one of "a|b|c". */
static bool among(const char *name, const char *list) {
    size_t n = strlen(name);
    for (; list; list = strchr(list, '|') ? strchr(list, '|') + 1 : NULL)
        if (strcspn(list, "|") == n && strncmp(list, name, n) == 0) return true;
    return false;
}

static const char *const lacking[VN_ASK_COUNT] = {
    [VN_ASK_TRUTH] = "data whose score is known: points:gaussians or a world file",
    [VN_ASK_TEACHER] = "a teacher",
};

static const char *const kinds[] = {
    [VN_TRAINS_DENOISERS] = "denoiser",
    [VN_TRAINS_CLASSIFIERS] = "classifier",
    [VN_TRAINS_AUTOENCODERS] = "autoencoder",
    [VN_TRAINS_SEQUENCES] = "sequence model",
};

/* What trains such a network where nothing else is asked for. */
static const char *own_objective(const vn_objective_options *o) {
    const vn_table *table = o->table ? o->table : &vn_objectives;
    if (o->trains == VN_TRAINS_DENOISERS) return o->prediction->row->objective;
    for (size_t i = 0; i < table->count; i++) {
        const vn_objective_row *row = (const vn_objective_row *)vn_table_row(table, i);
        if (row->trains == o->trains &&
            (!row->networks || (o->network && among(o->network, row->networks))))
            return row->row.name;
    }
    return o->prediction->row->objective;
}

/* Whether it is for the kind of network, and for this one. */
static vn_status check_network(const vn_objective *o, const vn_objective_options *options,
                               vn_err *err) {
    const char *name = o->row->row.name, *own = own_objective(options);
    if (o->trains != o->row->trains && o->row->trains != VN_TRAINS_DENOISERS)
        return vn_fail(err, VN_BAD_ARGUMENT, "the objective %s trains %ss: name one as the model",
                       name, kinds[o->row->trains]);
    if (o->trains != o->row->trains)
        return vn_fail(err, VN_BAD_ARGUMENT, "the objective %s trains denoisers; %s is for %ss",
                       name, own, kinds[o->trains]);
    if (!o->row->networks || !options->network || among(options->network, o->row->networks))
        return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "the objective %s trains %s; %s is for %s", name,
                   o->row->networks, own, options->network);
}

static vn_status choose_objective(vn_objective *o, const vn_objective_options *options,
                                  vn_err *err) {
    const vn_table *table = options->table ? options->table : &vn_objectives;
    const char *text = options->objective ? options->objective : own_objective(options);
    vn_status status = vn_choice_parse(text, table, &o->choice, err);
    if (status) return status;
    o->row = (const vn_objective_row *)o->choice.row;
    const char *prediction = o->prediction.row->row.name;
    status = check_network(o, options, err);
    if (status) return status;
    if (!among(prediction, o->row->predictions))
        return vn_fail(err, VN_BAD_ARGUMENT, "the objective %s trains %s, not %s", o->row->row.name,
                       o->row->predictions, prediction);
    for (int i = 0; i < VN_ASK_COUNT; i++)
        if ((o->row->asks & 1U << i) && !o->asked[i])
            return vn_fail(err, VN_BAD_ARGUMENT, "the objective %s needs %s", o->row->row.name,
                           lacking[i]);
    if (vn_objective_losses(o) > VN_OBJECTIVE_LOSSES)
        return vn_fail(err, VN_UNSUPPORTED, "the objective %s has more than %d losses",
                       o->row->row.name, VN_OBJECTIVE_LOSSES);
    for (int i = 1; i < vn_objective_losses(o); i++)
        if (o->row->more[i - 1].every < 1)
            return vn_fail(err, VN_BAD_ARGUMENT, "the objective %s trains %s every %lld steps",
                           o->row->row.name, vn_objective_loss_part(o, i),
                           (long long)o->row->more[i - 1].every);
    return o->row->check ? o->row->check(&o->choice, o->path, &o->prediction, err) : VN_OK;
}

static vn_status choose_times(vn_objective *o, const char *text, vn_err *err) {
    vn_status status = vn_choice_parse(text, TIMES, &o->times_choice, err);
    if (status) return status;
    o->times = &vn_times_rows[o->times_choice.index];
    o->stratified = o->times->stratified;
    if (!o->times->quantile && o->trains == VN_TRAINS_DENOISERS)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "times %s: only classifiers and autoencoders learn of clean samples",
                       o->times->row.name);
    if (o->times->quantile && o->trains >= VN_TRAINS_AUTOENCODERS)
        return vn_fail(err, VN_BAD_ARGUMENT, "times %s: %s learns of clean samples",
                       o->times->row.name,
                       o->trains == VN_TRAINS_SEQUENCES ? "a sequence model" : "an autoencoder");
    const vn_param *params = o->times->row.params;
    for (int i = 0; params && params[i].name; i++)
        if (strcmp(params[i].name, "stratified") == 0)
            o->stratified = o->times_choice.value[i] != 0;
    return VN_OK;
}

vn_status vn_objective_check(const vn_table *table, const char *objective, const char *times,
                             vn_err *err) {
    vn_choice choice;
    vn_status status =
        objective ? vn_choice_parse(objective, table ? table : &vn_objectives, &choice, err)
                  : VN_OK;
    if (!status && times) status = vn_choice_parse(times, TIMES, &choice, err);
    return status;
}

vn_status vn_objective_open(const vn_objective_options *options, vn_objective **out, vn_err *err) {
    *out = NULL;
    if (!(options->drop >= 0 && options->drop <= 1))
        return vn_fail(err, VN_BAD_ARGUMENT, "drop %g is outside [0, 1]", options->drop);
    vn_objective *o = vn_calloc(1, sizeof *o);
    if (!o) return vn_no_memory(err);
    if (!(o->rows = vn_calloc(1, sizeof *o->rows))) {
        vn_free(o);
        return vn_no_memory(err);
    }
    o->path = options->path;
    o->prediction = *options->prediction;
    o->drop = options->drop;
    o->null_label = options->null_label;
    o->seed = options->seed;
    memcpy(o->asked, options->asked, sizeof o->asked);
    o->trains = options->trains;
    vn_status status = choose_objective(o, options, err);
    const char *times = options->trains >= VN_TRAINS_AUTOENCODERS ? "clean"
                        : o->row && o->row->times                 ? o->row->times
                                                                  : o->path->row->times;
    if (!status) status = choose_times(o, options->times ? options->times : times, err);
    if (status) vn_objective_close(&o);
    *out = o;
    return status;
}

void vn_objective_close(vn_objective **o) {
    if (!*o) return;
    vn_teacher_close((*o)->rows);
    vn_free((*o)->rows);
    vn_free(*o);
    *o = NULL;
}

bool vn_objective_learns_variance(const vn_objective *o) {
    return o->row->learns_variance;
}

unsigned vn_objective_gives(const vn_objective *o) {
    if (!(o->row->gives & VN_GIVES_SLOW_TIME)) return o->row->gives;
    const vn_level first = vn_path_level(o->path, o->path->row->min_time(o->path)),
                   last = vn_path_level(o->path, 1);
    const double time =
        vn_path_network_time(o->path, &last) - vn_path_network_time(o->path, &first);
    return fabs(time) > LONG_TIME ? o->row->gives : o->row->gives & ~(unsigned)VN_GIVES_SLOW_TIME;
}

const char *vn_objective_times(const vn_objective *o) {
    return o->times->row.name;
}

bool vn_objective_contrasts(const vn_objective *o) {
    return o->row->contrasts && o->row->contrasts(&o->choice);
}

bool vn_objective_calls_averages(const vn_objective *o) {
    return o->row->averages;
}

bool vn_objective_compares(const vn_objective *o) {
    return o->row->compares && o->row->compares(&o->choice);
}

bool vn_objective_estimates(const vn_objective *o) {
    return o->row->estimates && o->row->estimates(&o->choice);
}

bool vn_objective_adversary(const vn_objective *o, vn_adversary *out) {
    *out = (vn_adversary){0};
    return o->row->adversary && o->row->adversary(&o->choice, out);
}

vn_sampled vn_objective_sampled(const vn_objective *o) {
    vn_sampled s = {0};
    if (o->row->sampled) o->row->sampled(&o->choice, &s);
    return s;
}

bool vn_objective_classifies(const vn_objective *o) {
    return o->row->trains == VN_TRAINS_CLASSIFIERS || o->row->trains == VN_TRAINS_SEQUENCES;
}

const vn_tending *vn_objective_tending(const vn_objective *o) {
    return o->row->tending;
}

bool vn_objective_tends(const vn_objective *o, int64_t steps) {
    const int64_t every = o->row->tending ? o->row->tending->every(&o->choice) : 0;
    return every > 0 && steps % every == 0;
}

void vn_objective_tend(const vn_objective *o, const vn_tended *w) {
    o->row->tending->tend(&o->choice, w);
}

const vn_held_measure *vn_objective_measure(const vn_objective *o) {
    return o->row->measure;
}

bool vn_times_are_clean(const char *text) {
    vn_choice choice;
    return !vn_choice_parse(text, TIMES, &choice, NULL) && !vn_times_rows[choice.index].quantile;
}

/* ---- a batch --------------------------------------------------------------------------------- */

static double draw_time(const vn_objective *o, const vn_objective_batch *b, uint64_t sample) {
    const int64_t total = b->total ? b->total : b->n;
    double u = vn_random_double(o->seed, VN_STREAM_TIME, o->stratified ? 0 : sample, b->step);
    if (o->stratified) u = fmod(u + (double)sample / (double)total, 1);
    u = fmin(fmax(u, 1e-12), 1 - 1e-12);
    double t = o->times->quantile(&o->times_choice, o->path, u);
    if (o->row->time) t = o->row->time(&o->choice, t, &(vn_draw_key){o->seed, sample, b->step});
    return vn_path_snap(o->path, fmin(fmax(t, MIN_TIME), 1));
}

static vn_level draw_level(const vn_objective *o, const vn_objective_batch *b, uint64_t sample) {
    return o->times->quantile ? vn_path_level(o->path, draw_time(o, b, sample)) : vn_level_clean;
}

static int32_t draw_label(const vn_objective *o, const vn_objective_batch *b, int64_t i,
                          uint64_t sample) {
    const bool dropped = vn_random_double(o->seed, VN_STREAM_DROP, sample, b->step) < o->drop;
    return dropped || !b->labels || b->labels[i] < 0 ? VN_LABEL_NULL : b->labels[i];
}

/* The sample of the step that stands against this one: none where the condition is the null one,
 * though there is another to be told. */
static void choose_other(const vn_objective *o, const vn_objective_batch *b, int64_t i,
                         vn_loss_sample *s) {
    const bool whole = b->all.x0 != NULL, labels = b->labels != NULL;
    const int64_t total = whole ? b->total : b->n, own = whole ? (int64_t)b->first + i : i;
    if (!vn_objective_contrasts(o) || (labels && b->network_labels[i] < 0)) return;
    const double u = vn_random_double(o->seed, VN_STREAM_CONTRAST, s->sample, s->step);
    const int64_t k = vn_contrast_partner(!labels ? NULL
                                          : whole ? b->all.labels
                                                  : b->labels,
                                          total, own, u);
    if (k < 0) return;
    const float *noise = whole ? b->all.noise : b->noise;
    s->other_x0 = (whole ? b->all.x0 : b->x0) + k * b->size;
    s->other_noise = noise ? noise + k * b->size : NULL;
    s->other = whole ? (uint64_t)k : b->first + (uint64_t)k;
}

/* The inputs of one sample, while x holds its eps. */
static void fill_inputs(const vn_objective *o, const vn_loss *loss, const vn_objective_batch *b,
                        int64_t i, const vn_coefficients *m) {
    vn_loss_sample s = {.choice = &o->choice,
                        .path = o->path,
                        .prediction = &o->prediction,
                        .level = &b->level[i],
                        .m = m,
                        .size = b->size,
                        .x0 = b->x0 + i * b->size,
                        .eps = b->x + i * b->size,
                        .label = b->labels ? b->labels[i] : VN_LABEL_NULL,
                        .given = b->network_labels[i] < 0 ? o->null_label : b->network_labels[i],
                        .seed = o->seed,
                        .sample = b->first + (uint64_t)i,
                        .step = b->step};
    choose_other(o, b, i, &s);
    for (int k = 0; k < loss->inputs; k++) {
        const vn_loss_input *in = &loss->input[k];
        const int64_t row = vn_shape_count(&in->node->shape) / in->node->shape.dim[0];
        s.row = row;
        if (in->fill && b->input[k]) in->fill(&s, b->input[k] + i * row);
    }
}

/* x: eps, which is drawn unless the data bring it. */
static void draw_noise(const vn_objective *o, const vn_objective_batch *b, int64_t i) {
    const size_t size = (size_t)b->size;
    float *x = b->x + i * b->size;
    if (b->noise)
        memcpy(x, b->noise + i * b->size, size * sizeof *x);
    else
        vn_random_normal(x, size, o->seed, VN_STREAM_TRAIN_NOISE, b->first + (uint64_t)i, b->step);
}

/* x: from eps to x_t. */
static void mix(const vn_objective_batch *b, int64_t i) {
    const float alpha = (float)b->level[i].alpha, sigma = (float)b->level[i].sigma;
    const float *restrict x0 = b->x0 + i * b->size;
    float *restrict x = b->x + i * b->size;
    for (int64_t j = 0; j < b->size; j++) x[j] = alpha * x0[j] + sigma * x[j];
}

static void fill_row(const vn_objective *o, const vn_loss *loss, const vn_objective_batch *b,
                     int64_t i) {
    const uint64_t sample = b->first + (uint64_t)i;
    const vn_level l = b->level[i] = draw_level(o, b, sample);
    const vn_coefficients m = vn_prediction_coefficients(&o->prediction, &l);
    b->network_labels[i] = draw_label(o, b, i, sample);
    draw_noise(o, b, i);
    fill_inputs(o, loss, b, i, &m);
    mix(b, i);
    b->time[i] = (float)vn_path_network_time(o->path, &l);
}

/* The inputs that denoisers are asked for, of the whole batch. */
static vn_status ask_inputs(const vn_objective *o, const vn_loss *loss, const vn_objective_batch *b,
                            vn_err *err) {
    const vn_loss_batch all = {.choice = &o->choice,
                               .path = o->path,
                               .prediction = &o->prediction,
                               .asked = o->asked,
                               .n = b->n,
                               .size = b->size,
                               .x0 = b->x0,
                               .x = b->x,
                               .level = b->level,
                               .condition = b->network_labels,
                               .seed = o->seed,
                               .first = b->first,
                               .step = b->step,
                               .rows = o->rows};
    vn_status status = VN_OK;
    for (int k = 0; k < loss->inputs && !status; k++)
        if (loss->input[k].ask && b->input[k]) status = loss->input[k].ask(&all, b->input[k], err);
    return status;
}

/* Until here x is x_t, and the null label is VN_LABEL_NULL, as for denoisers; the network's input
 * is scaled, and its null label has another number. */
static void finish_row(const vn_objective *o, const vn_objective_batch *b, int64_t i) {
    const float scale = (float)vn_prediction_coefficients(&o->prediction, &b->level[i]).input;
    float *x = b->x + i * b->size;
    for (int64_t j = 0; scale != 1 && j < b->size; j++) x[j] *= scale;
    if (b->network_labels[i] == VN_LABEL_NULL) b->network_labels[i] = o->null_label;
}

typedef struct filling {
    const vn_objective *objective;
    const vn_loss *loss;
    const vn_objective_batch *batch;
} filling;

static void fill_task(void *context, int64_t i, int thread) {
    const filling *f = context;
    (void)thread;
    fill_row(f->objective, f->loss, f->batch, i);
}

vn_status vn_objective_fill(const vn_objective *o, const vn_loss *loss, const vn_objective_batch *b,
                            vn_err *err) {
    vn_thread_pool_run(b->pool, b->n, fill_task, &(filling){o, loss, b});
    const vn_status status = ask_inputs(o, loss, b, err);
    for (int64_t i = 0; i < b->n && !status; i++) finish_row(o, b, i);
    return status;
}

/* ---- the loss -------------------------------------------------------------------------------- */

/* The step that a part's loss begins with; < 0: never. */
static int64_t loss_from(const vn_objective *o, const vn_part_loss *more) {
    return more->from ? more->from(&o->choice) : 0;
}

int vn_objective_losses(const vn_objective *o) {
    int n = 0;
    while (o->row->more && o->row->more[n].part && loss_from(o, &o->row->more[n]) >= 0) n++;
    return 1 + n;
}

int vn_objective_loss_of(const vn_objective *o, const char *part) {
    for (int i = 1; i < vn_objective_losses(o); i++)
        if (part && strcmp(vn_objective_loss_part(o, i), part) == 0) return i;
    return 0;
}

const char *vn_objective_loss_part(const vn_objective *o, int loss) {
    return o->row->more[loss - 1].part;
}

int64_t vn_objective_loss_taken(const vn_objective *o, int loss, int64_t step) {
    if (loss == 0) return step;
    const vn_part_loss *more = &o->row->more[loss - 1];
    const int64_t since = step - loss_from(o, more);
    return since > 0 ? (since + more->every - 1) / more->every : 0;
}

bool vn_objective_loss_due(const vn_objective *o, int loss, int64_t step) {
    return vn_objective_loss_taken(o, loss, step + 1) > vn_objective_loss_taken(o, loss, step);
}

vn_node *vn_objective_build(const vn_objective *o, int loss, vn_loss *l) {
    l->path = o->path;
    l->prediction = &o->prediction;
    l->null_label = o->null_label;
    l->drops = o->drop > 0 && o->null_label >= 0;
    l->inputs = 0;
    l->measured = NULL;
    if (!l->x) return NULL;
    if (!loss && !o->row->trains_head && vn_loss_has_head(l))
        return vn_graph_fail(l->g, VN_UNSUPPORTED,
                             "the objective %s does not train the network's internal head",
                             o->row->row.name);
    return (loss ? o->row->more[loss - 1].loss : o->row->loss)(&o->choice, l);
}

vn_node *vn_objective_loss(const vn_objective *o, vn_loss *l) {
    return vn_objective_build(o, 0, l);
}

static vn_node *add_input(vn_loss *l, const vn_loss_input *input, vn_shape shape) {
    if (l->inputs == VN_LOSS_INPUTS)
        return vn_graph_fail(l->g, VN_UNSUPPORTED, "a loss of more than %d inputs", VN_LOSS_INPUTS);
    vn_node *node = vn_input(l->g, VN_F32, shape);
    if (!node) return NULL;
    l->input[l->inputs] = *input;
    l->input[l->inputs++].node = node;
    return node;
}

vn_node *vn_loss_filled(vn_loss *l, const char *name, vn_shape shape, vn_loss_fill *fill) {
    return add_input(l, &(vn_loss_input){.name = name, .fill = fill}, shape);
}

vn_node *vn_loss_asked(vn_loss *l, const char *name, vn_shape shape, vn_loss_ask *ask) {
    return add_input(l, &(vn_loss_input){.name = name, .ask = ask}, shape);
}

bool vn_loss_has_head(const vn_loss *l) {
    return l->has && l->has(l->self, NULL, VN_LOSS_INTERNAL);
}

vn_node *vn_loss_output(vn_loss *l) {
    return l->network(l->self, &(vn_loss_call){0});
}

/* ---- what losses share ----------------------------------------------------------------------- */

vn_shape vn_sample_shape(const vn_shape *x) {
    vn_shape one = {.rank = x->rank, .dim = {x->dim[0]}};
    for (int i = 1; i < one.rank; i++) one.dim[i] = 1;
    return one;
}

vn_node *vn_per_sample(vn_graph *g, vn_node *numbers, const vn_node *x) {
    return vn_reshape(g, numbers, vn_sample_shape(&x->shape));
}

vn_node *vn_number_of(vn_graph *g, vn_node *numbers, int i, const vn_node *x) {
    return vn_per_sample(g, vn_slice(g, numbers, 1, i, 1), x);
}
