/* train.c - vn_train: opens what a run is made of (train_job.h), fresh from the options or again
 * from the run's own files, and hands it to the loop. */
#include "api/classifier_plot.h"
#include "api/preview.h"
#include "api/options.h"
#include "api/train_autoencoder.h"
#include "api/train_from.h"
#include "api/train_guided.h"
#include "api/train_options.h"
#include "api/train_reflow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRIAL = 4 }; /* steps of a dry run, of which all but the first are timed */

/* ---- a fresh run, and one that goes on ------------------------------------------------------- */

/* What is wrong with a name shows before the data is read, which may take minutes. */
static vn_status check_names(vn_train_job *j, vn_err *err) {
    vn_status status = vn_job_open_path(j, err);
    if (!status) status = vn_choice_parse(j->o.optimizer, &vn_optimizers, &j->optimizer, err);
    if (!status)
        status =
            vn_objective_check(j->o.teacher ? &vn_methods : NULL, j->o.objective, j->o.times, err);
    return status ? status : vn_job_check_from(j, err);
}

static vn_status start(vn_train_job *j, const vn_train_options *requested, vn_err *err) {
    j->o = *requested;
    vn_status status = vn_job_find_role(j, err);
    if (!status) status = vn_train_options_settle(&j->o, err);
    if (!status) status = vn_job_check_outside(j, err);
    if (!status) status = vn_job_open_from(j, err);
    if (!status) status = check_names(j, err);
    if (!status) status = vn_run_dir_begin(&j->run, j->out, j->o.overwrite != 0, err);
    if (!status) status = vn_job_open_encoder(j, err);
    if (!status) status = vn_job_open_latents(j, err);
    if (!status) status = vn_job_open_pairs(j, err);
    if (!status) status = vn_job_open_data(j, err);
    if (!status) status = vn_job_take_latents(j, err);
    if (!status) status = vn_job_open_features(j, err);
    if (!status) status = vn_job_find_model(j, requested, err);
    if (!status) status = vn_job_check_encoder(j, err);
    if (!status) status = vn_job_open_codes(j, err);
    if (!status &&
        (j->classifies || j->reconstructs || !(vn_data_get_info(j->data)->classes || j->texts)))
        j->o.drop = 0;
    if (!status) status = vn_job_settle_interval(j, err);
    if (!status) status = vn_job_open_learning(j, err);
    if (!status) status = vn_job_check_memory(j, err);
    if (!status) {
        const vn_sampling_kind kind = vn_job_sampling_kind(j);
        j->sampling = vn_sampling_defaults_choose(&kind, j->path);
    }
    if (!status) vn_job_adopt_sampled(j);
    if (!status) status = vn_job_create(j, err);
    return status;
}

/* Of several processes all but the first join the run that it has made or opened. */
static bool joins(const vn_train_job *j) {
    return j->vn->ranks && j->vn->ranks->rank > 0;
}

static vn_status resume(vn_train_job *j, const vn_train_options *requested, vn_err *err) {
    if (requested->overwrite)
        return vn_fail(err, VN_BAD_ARGUMENT, "resume and overwrite exclude each other");
    vn_status status = vn_job_check_outside(j, err);
    if (!status)
        status = joins(j) ? vn_run_dir_join(&j->run, j->out, err)
                          : vn_run_dir_open(&j->run, j->out, err);
    if (!status) status = vn_model_dir_open(j->out, &j->dir, err);
    if (!status) status = vn_job_read(j, requested, err);
    if (!status) status = vn_choice_parse(j->o.optimizer, &vn_optimizers, &j->optimizer, err);
    if (!status && json_object_get(j->dir.vane, "latents"))
        status = vn_train_latents_open(&j->latents, j->vn, j->out, err);
    if (!status) status = vn_job_open_teacher_again(j, err);
    if (!status) status = vn_job_open_pairs(j, err);
    if (!status) status = vn_job_open_data(j, err);
    if (!status) status = vn_job_take_latents(j, err);
    if (!status) status = vn_job_open_features(j, err);
    if (!status) status = vn_job_check_data(j, err);
    if (!status) status = vn_job_open_path(j, err);
    if (!status) status = vn_job_open_codes(j, err);
    if (!status) status = vn_job_open_learning(j, err);
    if (!status) status = vn_job_check_memory(j, err);
    return status;
}

/* ---- the public call ------------------------------------------------------------------------- */

/* "data: 10 classes; path rectified, predicts velocity". */
static void say_task(const vn_train_job *j, const vn_data_info *info) {
    char classes[32];
    const vn_latents *l = &vn_net_get_io(j->net)->latents;
    if (j->reconstructs) {
        const long long factor = l->factor, width = info->sample.dim[2],
                        height = info->sample.dim[1];
        vn_log(&j->vn->watch, VN_LOG_INFO,
               "%s: pictures of %lldx%lld, to be encoded to %lldx%lld pixels of %lld numbers",
               j->source, width, height, width / factor, height / factor, (long long)l->channels);
        return;
    }
    snprintf(classes, sizeof classes, "%s", j->texts ? "captions" : "no classes");
    if (info->classes)
        snprintf(classes, sizeof classes, "%d class%s", (int)info->classes,
                 info->classes == 1 ? "" : "es");
    if (j->latents.autoencoder)
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: %lldx%lld pixels of %lld numbers", j->seen,
               (long long)info->sample.dim[2], (long long)info->sample.dim[1],
               (long long)info->sample.dim[0]);
    if (j->sequence)
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: %s; sequences of %lldx%lld tokens of %lld codes%s",
               j->source, classes, (long long)j->codes.columns, (long long)j->codes.rows,
               (long long)j->codes.codes, j->texts ? ", after those of a text" : "");
    else if (j->classifies)
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: %s to tell apart; path %s%s", j->source, classes,
               j->path_text,
               j->o.times && vn_times_are_clean(j->o.times) ? ", at t = 0: clean samples alone"
                                                            : "");
    else
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: %s; path %s, predicts %s", j->source, classes,
               j->path_text, j->prediction.row->row.name);
}

/* What the autoencoder and a pretrained text encoder make of the data, once for the run. */
static vn_status encode(vn_train_job *j, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(j->data);
    vn_status status = VN_OK;
    say_task(j, info);
    if (info->brings_noise)
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: each sample brings its noise", j->source);
    if (vn_train_words_frozen(&j->words))
        status = vn_train_encoder_encode(&j->words.pretrained, j->out, j->data, j->net,
                                         &j->vn->watch, err);
    if (!status && j->latents.autoencoder)
        status = vn_train_latents_encode(&j->latents, j->out, j->o.flip != 0, &j->vn->watch, err);
    return status;
}

static vn_status open_run(vn_train_job *j, const vn_train_options *o, vn_err *err) {
    const vn_status status = o->resume ? resume(j, o, err) : start(j, o, err);
    return status ? status : encode(j, err);
}

/* Processes that see other data, or were given other options, would not train one model. */
static vn_status check_same(const vn_train_job *j, const vn_train_options *o, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(j->data);
    const int64_t own[] = {(int64_t)vn_options_hash(VN_OPTIONS_TRAIN, o, vn_hash_begin),
                           info->count, (int64_t)info->fingerprint, vn_version_number()};
    const vn_ranks *r = j->vn->ranks;
    int other;
    const vn_status status = vn_ranks_compare(r, own, sizeof own, &other, err);
    if (status || other < 0) return status;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "rank %d of %d has other data, options or another version of vane", other,
                   r->count);
}

/* The first process makes the run, or opens it to go on. Then the others join it, whatever that
 * took: they read from its files what it is made of. */
static vn_status open_together(vn_train_job *j, const vn_train_options *o, vn_err *err) {
    vn_ranks *r = j->vn->ranks;
    vn_train_options joining = o->resume ? *o : vn_train_options_default();
    vn_status status = VN_OK;
    if (!r) return open_run(j, o, err);
    joining.resume = 1;
    joining.recompute = o->recompute;
    vn_ranks_be_patient(r, true);
    if (!joins(j)) status = open_run(j, o, err);
    status = vn_ranks_settle(r, status, err);
    if (!status && joins(j)) status = open_run(j, &joining, err);
    status = vn_ranks_settle(r, status, err);
    if (!status) status = vn_ranks_settle(r, check_same(j, o, err), err);
    vn_ranks_be_patient(r, false);
    if (!status)
        vn_log(&j->vn->watch, VN_LOG_INFO, "%d processes, each of %lld of the %lld microbatches",
               r->count, (long long)(j->o.microbatches / r->count), (long long)j->o.microbatches);
    return status;
}

/* What a dry run says of what was chosen. */
static vn_status say_choices(const vn_train_job *j, vn_err *err) {
    char *model = j->model.row ? vn_choice_text(&j->model) : NULL,
         *optimizer = vn_choice_text(&j->optimizer);
    if (optimizer && (model || !j->model.row)) {
        vn_log(&j->vn->watch, VN_LOG_INFO,
               "model %s; optimizer %s, learning rate %g (%s, %lld steps of warm-up), weight decay "
               "%g",
               model        ? model
               : j->o.model ? j->o.model
                            : vn_net_get_row(j->net)->row.name,
               optimizer, j->o.lr, j->o.schedule, (long long)j->o.warmup, j->o.weight_decay);
        vn_log(&j->vn->watch, VN_LOG_INFO,
               "%lld samples in a step, in %lld part%s; times %s; conditions dropped %g%s",
               (long long)j->o.batch, (long long)(j->o.microbatches ? j->o.microbatches : 1),
               j->o.microbatches > 1 ? "s" : "", vn_objective_times(j->objective), j->o.drop,
               j->o.flip ? "; flipped" : "");
    }
    const bool ok = optimizer && (model || !j->model.row);
    vn_free(model);
    vn_free(optimizer);
    return ok ? VN_OK : vn_no_memory(err);
}

/* What previews of a sequence model are drawn with. */
static vn_token_preview token_preview(const vn_train_job *j) {
    const vn_data_info *info = vn_data_get_info(j->data);
    return (vn_token_preview){.vn = j->vn,
                              .parts = {.net = j->net,
                                        .codes = j->codes.net,
                                        .codes_values = j->codes.values,
                                        .rows = j->codes.rows,
                                        .columns = j->codes.columns,
                                        .sample = info->sample,
                                        .classes = info->classes,
                                        .names = j->names,
                                        .tokenizer = j->texts ? j->words.source : NULL,
                                        .length = j->words.length},
                              .seed = j->o.seed,
                              .guidance = j->sampling.guidance,
                              .run = j->out,
                              .text = j->words.example,
                              .texts = j->texts ? j->words.examples : 0};
}

static vn_status run(vn_train_job *j, vn_trained *result, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(j->data);
    vn_preview preview = {.vn = j->vn,
                          .net = j->net,
                          .path = j->path,
                          .prediction = &j->prediction,
                          .sample = &info->sample,
                          .names = j->names,
                          .classes = info->classes,
                          .seed = j->o.seed,
                          .sampling = j->sampling,
                          .decoder = j->latents.autoencoder,
                          .run = j->out};
    preview.sampling.steps = vn_sampling_defaults_steps_on(&j->sampling, j->path);
    const bool draws =
        vn_preview_possible(j->latents.autoencoder ? &j->latents.picture : &info->sample);
    vn_pairs pairs = {
        .vn = j->vn, .net = j->net, .data = j->data, .seed = j->o.seed, .run = j->out};
    vn_token_preview tokens = j->sequence ? token_preview(j) : (vn_token_preview){0};
    const vn_train_networks all = vn_job_networks(j);
    if (j->texts) {
        preview.encoder = j->words.encoder;
        preview.frozen = j->words.pretrained.prompter;
        preview.tokenizer = j->words.source;
        preview.length = j->words.length;
        preview.text = j->words.example;
        preview.texts = j->words.examples;
    }
    const vn_train_setup setup = {
        .device = &j->vn->device,
        .watch = &j->vn->watch,
        .parts = all.count,
        .part = all.part,
        .data = j->data,
        .objective = j->objective,
        .text = j->texts ? &all.text : NULL,
        .run = j->out,
        .seed = j->o.seed,
        .batch = j->o.batch,
        .microbatches = j->o.microbatches,
        .workers = j->workers,
        .ranks = j->vn->ranks,
        .steps = j->o.steps,
        .seconds = 60 * j->o.minutes,
        .lr = j->o.lr,
        .weight_decay = j->o.weight_decay,
        .clip = j->o.clip,
        .rate = !strcmp(j->o.schedule, "cosine") ? VN_RATE_COSINE : VN_RATE_CONSTANT,
        .warmup = j->o.warmup,
        .ema = j->o.ema,
        .snapshots = j->o.ema_snapshots,
        .recompute = j->o.recompute ? VN_RECOMPUTE_BLOCKS : VN_RECOMPUTE_CHEAP,
        .trial = j->o.dry_run ? TRIAL : 0,
        .log_every = j->o.log_every,
        .save_every = j->o.save_every,
        .preview_every = j->o.preview_every,
        .preview = j->o.preview_every < 0 ? NULL
                   : j->classifies        ? vn_classifier_plot
                   : j->reconstructs      ? (draws ? vn_pairs_draw : NULL)
                   : j->sequence
                       ? (vn_token_preview_possible(&tokens) ? vn_token_preview_draw : NULL)
                   : draws ? vn_preview_draw
                           : NULL,
        .user = j->classifies     ? (void *)(uintptr_t)j->out
                : j->reconstructs ? (void *)&pairs
                : j->sequence     ? (void *)&tokens
                                  : &preview};
    vn_status status = j->o.dry_run ? say_choices(j, err) : VN_OK;
    if (!status) status = vn_train_run(&setup, result, err);
    status = vn_ranks_settle(j->vn->ranks, status, err);
    if (vn_data_get_info(j->data)->named > 0 && result->step > 0)
        vn_fail_after(err, "`resume` goes on after that");
    vn_preview_close(&preview);
    vn_pairs_close(&pairs);
    vn_token_preview_close(&tokens);
    if (j->reconstructs && !joins(j) && !j->o.dry_run && (!status || status == VN_CANCELLED)) {
        vn_err measured = {0};
        if (vn_train_measure_coding(j->vn, j->out, j->data, &measured)) {
            if (status) return status;
            *err = measured;
            return err->status;
        }
    }
    return status;
}

void vn_train_result_init(vn_train_result *r, size_t size) {
    static const vn_train_result initial = {.loss = (double)NAN,
                                            .held_loss = (double)NAN,
                                            .step_seconds = (double)NAN,
                                            .expected_epochs = (double)NAN};
    vn_struct_init(r, size, &initial, sizeof initial);
}

static vn_train_result result_of(const vn_trained *t, vn_status status) {
    vn_train_result r = vn_train_result_default();
    if (t->step == 0) return r;
    r.steps = t->step;
    r.seconds = t->seconds;
    r.loss = t->loss;
    r.held_loss = t->held_loss;
    r.planned_bytes = (int64_t)t->bytes;
    r.step_seconds = t->step_seconds;
    r.expected_steps = t->expected_steps;
    r.expected_epochs = t->expected_epochs;
    r.end = !status ? VN_TRAIN_DONE : status == VN_CANCELLED ? VN_TRAIN_CANCELLED : VN_TRAIN_FAILED;
    return r;
}

/* A folder for the run of a dry run, after the checks of what its `out` would be. */
static char *make_folder(const vn_train_job *j, const vn_train_options *o, vn_err *err) {
    const char *at = getenv("TMPDIR");
    vn_run_dir wanted = {0};
    if (j->vn->ranks) {
        vn_fail(err, VN_BAD_ARGUMENT,
                "dry_run is for one process: %d would each make steps of their own",
                j->vn->ranks->count);
        return NULL;
    }
    if (o->resume) {
        vn_fail(err, VN_BAD_ARGUMENT,
                "resume and dry_run exclude each other: the run's log says how fast it is");
        return NULL;
    }
    vn_status status = vn_job_check_outside(j, err);
    if (!status) status = vn_run_dir_begin(&wanted, j->out, o->overwrite != 0, err);
    vn_run_dir_close(&wanted, false);
    if (status) return NULL;
    char *folder = vn_format("%s/vane-dry-run-XXXXXX", at && *at ? at : "/tmp");
    if (!folder)
        vn_no_memory(err);
    else if (!mkdtemp(folder)) {
        vn_fail_errno(err, "%s: cannot be made", folder);
        vn_free(folder);
        folder = NULL;
    }
    return folder;
}

/* The same as `train`, of which nothing is left. */
static vn_status train_dry(vn_train_job *j, const vn_train_options *o, vn_trained *trained,
                           vn_err *err) {
    vn_train_options tried = *o;
    char *folder = make_folder(j, o, err), *run_of = folder ? vn_path_join(folder, "run") : NULL;
    if (!folder) return err->status;
    tried.overwrite = 0;
    tried.preview_every = -1;
    j->out = run_of;
    vn_status status = run_of ? open_run(j, &tried, err) : vn_no_memory(err);
    if (!status) status = run(j, trained, err);
    vn_job_close(j);
    vn_run_dir_close(&j->run, false);
    rmdir(folder);
    vn_free(run_of);
    vn_free(folder);
    return status;
}

/* All of a call, with its struct of options as the library knows it. */
static vn_status train(vn_context *vn, const char *source, const vn_train_data *rows,
                       const char *out, const vn_train_options *o, vn_trained *trained,
                       vn_err *err) {
    vn_train_job j = {.vn = vn, .source = source, .rows = rows, .out = out};
    if (o->dry_run) return train_dry(&j, o, trained, err);
    vn_status status = open_together(&j, o, err);
    if (!status) status = run(&j, trained, err);
    vn_job_close(&j);
    vn_run_dir_close(&j.run, !status || status == VN_CANCELLED || trained->step > 0);
    return status;
}

/* Of vn_train and vn_train_on: `rows` or, if that is NULL, `source`. */
static vn_status train_on(vn_context *vn, const char *source, const vn_train_data *rows,
                          const char *out, const vn_train_options *options, vn_train_result *result,
                          vn_err *err) {
    vn_train_options o = vn_train_options_default();
    vn_train_data known_rows = vn_train_data_default();
    vn_trained trained = {0};
    vn_status status = result ? vn_struct_check(result, "vn_train_result", err) : VN_OK;
    if (status) return status;
    status = vn_struct_take(&o, sizeof o, options, "vn_train_options", err);
    if (!status)
        status = vn_struct_take(&known_rows, sizeof known_rows, rows, "vn_train_data", err);
    if (!status)
        status = train(vn, rows ? vn_data_rows_name(&known_rows) : source,
                       rows ? &known_rows : NULL, out, &o, &trained, err);
    const vn_train_result known = result_of(&trained, status);
    if (result) vn_struct_give(result, &known, sizeof known);
    return status;
}

vn_status vn_train(vn_context *vn, const char *data, const char *out,
                   const vn_train_options *options, vn_train_result *result) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!data || !out || !options)
        return vn_end(vn,
                      vn_fail(err, VN_BAD_ARGUMENT, "vn_train: data, out and options are needed"));
    return vn_end(vn, train_on(vn, data, NULL, out, options, result, err));
}

vn_status vn_train_on(vn_context *vn, const vn_train_data *data, const char *out,
                      const vn_train_options *options, vn_train_result *result) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!data || !out || !options)
        return vn_end(
            vn, vn_fail(err, VN_BAD_ARGUMENT, "vn_train_on: data, out and options are needed"));
    return vn_end(vn, train_on(vn, NULL, data, out, options, result, err));
}
