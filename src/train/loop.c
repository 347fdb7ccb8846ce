/* loop.c - the training loop: step, log, save, preview. Whatever ends it, the state is saved where
 * that is possible, and the error says which step is on the disk. */
#include "train/internal.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* The held-out loss is taken over so many samples, always with the same noise and levels, so that
 * two values compare. */
#define HELD_SAMPLES 512
/* Step numbers of the held-out draws: the last that streams have, out of training's reach. */
#define HELD_DRAW ((uint64_t)(1 << 24) - HELD_SAMPLES)

/* Below so many the held-out loss says little. */
#define FEW_HELD 20

#define SAVE_SECONDS          60.0
#define PREVIEW_SECONDS       60.0
#define FIRST_PREVIEW_SECONDS 20.0
#define PREVIEW_SHARE         0.05 /* of the time, at most, goes into previews */

static double progress(const vn_trainer *t) {
    const vn_train_setup *s = t->s;
    return s->steps ? (double)t->at.step / (double)s->steps : t->clock / s->seconds;
}

static bool finished(const vn_trainer *t) {
    return progress(t) >= 1;
}

/* What the objective measures of the batch that was scored. */
static void measure_held(const vn_trainer *t, const vn_held_measure *measure) {
    const vn_scorer *c = &t->held;
    const int64_t size = vn_shape_count(&c->parts.measured->shape) / c->batch;
    for (int64_t i = 0; i < c->batch; i++)
        measure->add(t->held_state, c->measured + i * size, size, c->labels[i], &c->level[i]);
}

static vn_status score_held(vn_trainer *t, vn_err *err) {
    if (!t->held.program) return VN_OK;
    vn_status status = vn_trainer_show(t, err);
    if (status) return status;
    const vn_held_measure *measure = t->held_state ? vn_objective_measure(t->s->objective) : NULL;
    const int64_t held = vn_data_get_info(t->s->data)->held,
                  wanted = measure ? measure->samples : HELD_SAMPLES;
    const int64_t samples = held < wanted ? held : wanted;
    if (measure) memset(t->held_state, 0, measure->bytes);
    double sum = 0;
    int64_t batches = 0;
    for (int64_t at = 0; at < samples; at += t->held.batch, batches++) {
        float loss = 0;
        const vn_scored which = {
            .part = VN_DATA_HELD, .position = (uint64_t)at, .draw = HELD_DRAW + (uint64_t)batches};
        status = vn_scorer_run(&t->held, &which, t->shown, NULL, &loss, err);
        if (status) return status;
        sum += (double)loss;
        if (measure) measure_held(t, measure);
    }
    t->held_loss = sum / (double)batches;
    return VN_OK;
}

/* Saves; again where that failed, as a signal or a file system far away can fail a write that then
 * succeeds. */
static vn_status save(vn_trainer *t, vn_err *err) {
    vn_err first = {0};
    vn_status status = vn_trainer_leads(t) ? vn_trainer_save(t, &first) : VN_OK;
    if (status && status != VN_NOT_FINITE && vn_trainer_is_complete(t)) {
        status = vn_trainer_save(t, err);
        if (!status) vn_log(t->s->watch, VN_LOG_WARNING, "%s; a second try succeeded", first.text);
    } else if (status) {
        *err = first;
    }
    if (!status) t->saved_step = t->at.step;
    t->save_failed = status != VN_OK;
    return status;
}

/* Adds to an error which step is on the disk. A save that failed may have written the half of it
 * that counts. */
static vn_status tell_saved(vn_trainer *t, vn_err *err) {
    int64_t step = -1;
    if (vn_store_checkpoint_step(t->s->run, &step, NULL) != VN_OK || step < 0)
        return vn_fail_after(err, "no checkpoint is left in %s", t->s->run);
    t->saved_step = step;
    if (step == t->at.step && err->status != VN_NOT_FINITE)
        return vn_fail_after(err, "saved at step %lld: go on with `resume`", (long long)step);
    return vn_fail_after(err, "the checkpoint of step %lld is kept", (long long)step);
}

/* Saves the state when the run has failed, unless it was saving that failed, the weights may be
 * invalid, or a rank is lost with its share of them. */
static vn_status save_before_failing(vn_trainer *t, vn_err *err) {
    if (t->at.step == t->first) return err->status;
    if (err->status == VN_NO_MEMORY) { /* saving takes some */
        vn_trainer_close_scorers(t);
    }
    vn_err second = {0};
    if (err->status != VN_NOT_FINITE && !t->save_failed && t->at.step != t->saved_step &&
        vn_trainer_is_complete(t) && save(t, &second) != VN_OK)
        vn_fail_after(err, "saving failed too (%s)", second.text);
    return tell_saved(t, err);
}

static vn_status draw_preview(vn_trainer *t, const char *folder, const char *path, vn_err *err) {
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return vn_fail_errno(err, "%s: cannot be made", folder);
    const vn_status status = vn_trainer_show(t, err);
    if (status) return status;
    vn_values *shown[VN_TRAIN_PARTS] = {NULL};
    for (int i = 0; i < t->s->parts; i++) {
        const vn_part_state *part = &t->part[i];
        shown[i] = part->average_values ? part->average_values : part->own_values;
    }
    return t->s->preview(t->s->user, shown, t->at.step, path, err);
}

/* A preview that fails is a warning, once for each reason in a row. */
static void preview(vn_trainer *t) {
    const double began = vn_now();
    vn_err err = {0};
    char *folder = vn_path_join(t->s->run, "previews");
    char *path = folder ? vn_format("%s/%06lld.png", folder, (long long)t->at.step) : NULL;
    const vn_status status = path ? draw_preview(t, folder, path, &err) : vn_no_memory(&err);
    const size_t length = path ? strlen(path) : 0;
    const char *why = path && !strncmp(err.text, path, length)
                          ? err.text + length
                          : err.text; /* path differs each time */
    if (status && strncmp(why, t->warned, sizeof t->warned - 1) != 0)
        vn_log(t->s->watch, VN_LOG_WARNING, "no preview of step %lld: %s; training goes on",
               (long long)t->at.step, err.text);
    t->previewed = vn_now();
    t->preview_seconds = t->previewed - began;
    snprintf(t->warned, sizeof t->warned, "%.255s", status ? why : "");
    vn_free(path);
    vn_free(folder);
}

static bool due(int64_t every, int64_t at_step, double last, double seconds) {
    return every > 0 ? at_step % every == 0 : every == 0 && vn_now() - last >= seconds;
}

/* Tells the watcher; true when it wants to stop. */
static bool report(const vn_trainer *t) {
    const vn_train_setup *s = t->s;
    const double part = fmin(progress(t), 1), here = vn_now() - t->started;
    const int64_t made = t->at.step - t->first;
    const double images = (double)made * (double)s->batch;
    const int64_t total = s->steps   ? s->steps
                          : part > 0 ? (int64_t)ceil((double)t->at.step / part)
                                     : 0;
    const double left = !s->steps  ? s->seconds - vn_trainer_seconds(t)
                        : made > 0 ? here / (double)made * (double)(s->steps - t->at.step)
                                   : -1;
    const vn_progress p = {.what = "training",
                           .unit = "images",
                           .done = t->at.step * s->batch,
                           .total = total * s->batch,
                           .rate = here > 0 ? images / here : 0,
                           .seconds_left = left,
                           .loss = t->smooth};
    return vn_report(s->watch, &p);
}

/* From a finished step to the next: log, save and preview where they are due. The line is written
 * before the checkpoint, so that a resumed run has every line up to it, and those of later steps
 * are dropped when it resumes. */
static vn_status after_step(vn_trainer *t, double rate, vn_err *err) {
    const vn_train_setup *s = t->s;
    const bool last = finished(t);
    vn_status status = VN_OK;
    if (!vn_trainer_leads(t)) return VN_OK;
    const bool saving = last || due(s->save_every, t->at.step, t->saved, SAVE_SECONDS);
    if (saving) {
        t->saved = vn_now();
        status = score_held(t, err);
    }
    if (!status && (saving || t->at.step % s->log_every == 0))
        status = vn_train_log_line(t, rate, saving, err);
    if (!status) status = vn_trainer_snapshot(t, err);
    if (!status && saving) status = save(t, err);
    if (!last) t->held_loss = (double)NAN; /* a line has it when it was measured there */
    if (!status && s->preview && s->preview_every >= 0 &&
        (last || due(s->preview_every, t->at.step, t->previewed,
                     fmax(PREVIEW_SECONDS, t->preview_seconds / PREVIEW_SHARE))))
        preview(t);
    return status;
}

/* ---- what is said of it ---------------------------------------------------------------------- */

/* Of moments and averages that this rank has, or the one with most. */
static double shards_bytes(const vn_trainer *t, bool most) {
    double bytes = 0;
    for (int i = 0; i < t->s->parts; i++)
        if (t->part[i].saved_as) bytes += vn_shard_bytes(&t->part[i].shard, t->s, i, most);
    return bytes;
}

static size_t planned_bytes(const vn_trainer *t) {
    double bytes = vn_parts_bytes(t->s, t->sums) + (double)vn_data_get_info(t->s->data)->memory +
                   shards_bytes(t, false) + (double)t->optimizer_bytes +
                   (double)vn_workers_bytes(t) + (double)vn_whole_bytes(t->s);
    return (size_t)bytes + (t->held.program ? vn_program_bytes(t->held.program) : 0);
}

static void say_plan(const vn_trainer *t) {
    const vn_train_setup *s = t->s;
    const vn_data_info *info = vn_data_get_info(s->data);
    char with[64] = "";
    int64_t parameters = 0;
    for (int i = 0; i < t->at.parts; i++)
        parameters += vn_weights_parameters(t->at.part[i].weights);
    if (s->parts > 1)
        snprintf(with, sizeof with, " and %d other network%s", s->parts - 1,
                 s->parts > 2 ? "s" : "");
    vn_log(s->watch, VN_LOG_INFO,
           "%s%s, %lld parameters, %.0f MB planned, batch %lld; %lld %s, %lld held out",
           vn_net_get_row(s->part[0].net)->row.name, with, (long long)parameters,
           ceil(1e-6 * (double)planned_bytes(t)), (long long)s->batch, (long long)info->count,
           vn_shape_is_image(&info->sample) ? "images" : "points", (long long)info->held);
    if (info->held < FEW_HELD)
        vn_log(s->watch, VN_LOG_INFO,
               info->held > 0 ? "the held-out loss is rough: it is of so few"
                              : "the held-out loss is not measured: none are held out");
}

/* What ranks have of moments and averages. */
static void say_shards(const vn_trainer *t) {
    double all = 0;
    const double most = shards_bytes(t, true);
    for (int i = 0; i < t->at.parts; i++) {
        const vn_checkpoint_part *p = &t->at.part[i];
        const double arrays = 1.0 + (p->average != NULL) + (p->narrow != NULL);
        all += sizeof(float) * (arrays * (double)vn_weights_floats(p->weights) +
                                (double)vn_weights_floats(vn_checkpoint_second(p)));
    }
    if (vn_trainer_is_shared(t))
        vn_log(t->s->watch, VN_LOG_INFO,
               "moments and averages: %.1f MB of %.1f in each process at most, %.3f of them",
               1e-6 * most, 1e-6 * all, most / all);
}

/* What computing blocks again saves, and what it costs. */
static vn_status say_recompute(const vn_trainer *t, vn_err *err) {
    size_t kept = 0;
    double flops = 0;
    const vn_scorer *first = &t->worker[0].train[0];
    const vn_status status =
        vn_scorer_measure(t->s, 0, first->batch, true, VN_RECOMPUTE_CHEAP, &kept, &flops, err);
    if (status) return status;
    const double takes = 1e-6 * (double)vn_program_bytes(first->program),
                 instead = 1e-6 * (double)kept;
    const int digits = instead < 10; /* small networks differ after the point */
    vn_log(t->s->watch, VN_LOG_INFO,
           "recompute: a step takes %.*f MB instead of %.*f, for %.0f%% more arithmetic", digits,
           takes, digits, instead, 100 * (vn_program_cost(first->program).flops / flops - 1));
    return VN_OK;
}

/* Of a run that goes on by minutes: they are those of the whole run, not of this call. */
static void say_time(const vn_trainer *t) {
    if (!t->s->steps && t->before > 0)
        vn_log(t->s->watch, VN_LOG_INFO,
               "%.3g of %.3g minutes are over: minutes count the whole run", t->before / 60,
               t->s->seconds / 60);
}

static void say_end(const vn_trainer *t) {
    if (t->at.step == t->first)
        vn_log(t->s->watch, VN_LOG_INFO, "nothing to do: the run is at step %lld already",
               (long long)t->at.step);
    else if (isnan(t->held_loss))
        vn_log(t->s->watch, VN_LOG_INFO, "step %lld: loss %.4f", (long long)t->at.step, t->smooth);
    else
        vn_log(t->s->watch, VN_LOG_INFO, "step %lld: loss %.4f, held-out loss %.4f",
               (long long)t->at.step, t->smooth, t->held_loss);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Asked to stop before the end. */
static vn_status stop_early(vn_trainer *t, vn_err *err) {
    const vn_status status = t->at.step != t->saved_step ? save(t, err) : VN_OK;
    if (status) return status;
    return vn_fail(err, VN_CANCELLED, "stopped at step %lld; all of it is saved",
                   (long long)t->at.step);
}

/* Whether all of a trial's steps are made. */
static bool tried(const vn_trainer *t) {
    return t->s->trial && t->at.step - t->first >= t->s->trial;
}

/* What the whole run would be. began: when the first step was made, which reads and warms up. */
static void foresee(const vn_trainer *t, double began, vn_trained *out) {
    const vn_train_setup *s = t->s;
    const int64_t made = t->at.step - t->first;
    const double all = made > 1 ? (t->clock - began) / (double)(made - 1) : t->clock;
    const double seconds = fmax(all, 1e-6);
    out->step_seconds = seconds;
    out->expected_steps = s->steps ? s->steps : (int64_t)(s->seconds / seconds);
    out->expected_epochs =
        (double)out->expected_steps * (double)s->batch / (double)vn_data_get_info(s->data)->train;
}

/* The others wait until the first has what it saves. */
static void wait_for_first(vn_trainer *t) {
    bool stop = false;
    vn_err ignored = {0};
    if (vn_trainer_is_complete(t)) vn_trainer_agree(t, VN_OK, &stop, &ignored);
}

/* What follows the last step, or what went wrong. */
static vn_status end(vn_trainer *t, vn_status status, bool stop, vn_err *err) {
    const bool stops = !status && stop && !finished(t);
    if (t->s->trial)
        return stops ? vn_fail(err, VN_CANCELLED, "stopped; nothing is kept of a dry run") : status;
    if (stops) status = stop_early(t, err);
    if (status && status != VN_CANCELLED) status = save_before_failing(t, err);
    wait_for_first(t);
    if (!status || status == VN_CANCELLED) say_end(t);
    return status;
}

vn_status vn_train_run(const vn_train_setup *s, vn_trained *result, vn_err *err) {
    vn_trainer t;
    bool stop = false;
    vn_status status = vn_trainer_open(&t, s, err);
    if (!status) say_plan(&t);
    if (!status) say_shards(&t);
    if (!status) say_time(&t);
    if (!status && s->recompute == VN_RECOMPUTE_BLOCKS) status = say_recompute(&t, err);
    const size_t bytes = !status ? planned_bytes(&t) : 0;
    double began = 0;
    t.previewed -= PREVIEW_SECONDS - FIRST_PREVIEW_SECONDS;
    while (!(status = vn_trainer_agree(&t, status, &stop, err)) && !stop && !finished(&t) &&
           !tried(&t)) {
        const double rate = vn_train_rate(s, t.at.step, progress(&t));
        status = vn_trainer_step(&t, rate, err);
        if (t.at.step == t.first + 1) began = vn_trainer_seconds(&t);
        if (!status && !s->trial) status = after_step(&t, rate, err);
        if (!status) stop = report(&t);
    }
    status = end(&t, status, stop, err);
    if (result)
        *result = (vn_trained){.step = t.at.step,
                               .seconds = t.at.parts ? vn_trainer_seconds(&t) : 0,
                               .loss = t.smooth,
                               .held_loss = t.held_loss,
                               .bytes = bytes,
                               .step_seconds = (double)NAN,
                               .expected_epochs = (double)NAN};
    if (result && !status && s->trial) foresee(&t, began, result);
    vn_trainer_close(&t);
    return status;
}
