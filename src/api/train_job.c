/* train_job.c - opens what a run is made of, by its options: data, path, network and objective. */
#include "api/train_defaults.h"
#include "api/train_from.h"
#include "api/train_memory.h"
#include "api/train_net.h"
#include "api/train_reflow.h"
#include "api/train_options.h"

#include <string.h>

vn_status vn_job_check_outside(const vn_train_job *j, vn_err *err) {
    if (!vn_job_is_folder(j) || !vn_run_dir_inside(j->out, j->source)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s lies in the data, %s, where a folder is a class",
                   j->out, j->source);
}

vn_status vn_job_open_data(vn_train_job *j, vn_err *err) {
    const vn_data_options options = {.seed = j->o.seed,
                                     .validate = j->o.validate,
                                     .size = j->o.size,
                                     .grey = j->o.grey != 0,
                                     .flip = j->o.flip != 0,
                                     .shift = j->o.shift,
                                     .threads = vn_thread_pool_threads(j->vn->pool),
                                     .check = true,
                                     .skip_bad = j->o.skip_bad != 0,
                                     .captions = j->o.captions      ? j->o.captions
                                                 : j->o.resume != 0 ? "none"
                                                                    : NULL,
                                     .list = j->list,
                                     .shape = j->sample.rank ? &j->sample : NULL,
                                     .classes = j->known,
                                     .class_count = j->known_count,
                                     .watch = &j->vn->watch};
    vn_status status = j->rows ? vn_data_open_rows(j->rows, &options, &j->data, err)
                               : vn_data_open(j->source, &options, &j->data, err);
    if (status) return status;
    const vn_data_info *info = vn_data_get_info(j->data);
    if (info->train < 1) return vn_fail(err, VN_BAD_FILE, "%s: no samples to train on", j->source);
    /* a run goes on with the kind that was found, whatever lies there later */
    const vn_caption_info *captions = vn_data_captions(j->data);
    if (captions) j->o.captions = captions->from;
    j->names = vn_calloc((size_t)info->classes + 1, sizeof(*j->names));
    if (!j->names) return vn_no_memory(err);
    for (int32_t i = 0; i < info->classes; i++) j->names[i] = vn_data_class_name(j->data, i);
    return VN_OK;
}

vn_status vn_job_open_path(vn_train_job *j, vn_err *err) {
    const char *predict = j->o.predict;
    vn_status status = vn_path_open(j->o.path ? j->o.path : "rectified", &j->path, err);
    if (status) return status;
    if (!predict)
        predict = j->classifies                    ? "edm"
                  : j->reconstructs || j->sequence ? "x0"
                                                   : j->path->row->prediction;
    status = vn_prediction_parse(predict, &j->prediction, err);
    /* A classifier predicts nothing of a sample; its input is scaled as EDM's. */
    if (!status && j->classifies && vn_prediction_deviation(&j->prediction) == 0)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "`predict` %s: a classifier answers with classes; edm:sigma_data=S alone "
                         "has a meaning for one, the deviation of its data",
                         predict);
    if (!status) status = vn_path_allows(j->path, &j->prediction, err);
    if (status) return status;
    j->path_text = vn_path_text(j->path);
    return j->path_text ? VN_OK : vn_no_memory(err);
}

static vn_status open_objective(vn_train_job *j, vn_err *err) {
    vn_status status = VN_OK;
    const vn_world *world = vn_data_world(j->data);
    if (world)
        status = vn_world_denoiser(world, j->path, &j->prediction, j->vn->pool, &j->truth, err);
    const vn_denoiser *teacher = NULL;
    if (!status && j->teacher) status = vn_model_denoise(j->teacher, j->path_text, &teacher, err);
    if (status) return status;
    const vn_objective_options options = {
        .table = j->teacher ? &vn_methods : NULL,
        .path = j->path,
        .prediction = &j->prediction,
        .objective = j->o.objective,
        .times = j->o.times,
        .drop = j->o.drop,
        /* of captions too it is -1 */
        .null_label = vn_data_get_info(j->data)->classes ? vn_data_get_info(j->data)->classes : -1,
        .trains = j->classifies     ? VN_TRAINS_CLASSIFIERS
                  : j->reconstructs ? VN_TRAINS_AUTOENCODERS
                  : j->sequence     ? VN_TRAINS_SEQUENCES
                                    : VN_TRAINS_DENOISERS,
        .network = j->net ? vn_net_get_row(j->net)->row.name : NULL,
        .seed = j->o.seed,
        .asked[VN_ASK_TRUTH] = world ? &j->truth : NULL,
        .asked[VN_ASK_TEACHER] = teacher};
    return vn_objective_open(&options, &j->objective, err);
}

/* A U-Net halves its images as often as their sides allow, which may be less than it would. */
static void tell_levels(const vn_train_job *j, const vn_choice *choice, const json_t *config) {
    const vn_shape *sample = &vn_data_get_info(j->data)->sample;
    const int made = (int)json_array_size(json_object_get(config, "block_out_channels"));
    const vn_param *p = choice->row->params;
    for (size_t i = 0; p && p[i].name && made && vn_shape_is_image(sample); i++)
        if (!strcmp(p[i].name, "levels") && made < (int)choice->value[i])
            vn_log(&j->vn->watch, VN_LOG_INFO,
                   "%s: %d level%s instead of %d, as %lldx%lld does not halve evenly more often",
                   choice->row->name, made, made == 1 ? "" : "s", (int)choice->value[i],
                   (long long)sample->dim[2], (long long)sample->dim[1]);
}

/* A config written for the data by a row of the models table. */
static vn_status make_config(vn_train_job *j, const vn_data_info *info, json_t **config,
                             vn_err *err) {
    const vn_choice choice = j->model;
    const vn_net_row *row = (const vn_net_row *)choice.row;
    if (!row->config)
        return vn_fail(err, VN_UNSUPPORTED,
                       "model %s: only files have such networks; there is no preset of it to be "
                       "trained",
                       row->row.name);
    const unsigned gives = j->objective ? vn_objective_gives(j->objective) : 0;
    const vn_net_data data = {
        .sample = info->sample,
        .labels = info->classes ? info->classes + 1 : 0,
        .dropout = j->o.dropout,
        .learns_variance = j->objective && vn_objective_learns_variance(j->objective),
        .clean = j->o.times && vn_times_are_clean(j->o.times),
        .captions = j->texts,
        .text_width = j->words.pretrained.read.width,
        .text_pooled = j->words.pretrained.read.pooled,
        .vocabulary =
            j->codes.codes + (j->texts ? vn_text_size(j->words.tokenizer) : info->classes + 1),
        .tokens = vn_train_codes_tokens(&j->codes) + (j->texts ? j->words.length - 1 : 0),
        .step_end = gives & VN_GIVES_STEP_END,
        .guidance = gives & VN_GIVES_GUIDANCE,
        .slow_time = gives & VN_GIVES_SLOW_TIME};
    *config = row->config(&choice, &data, err);
    if (!*config) return err->status;
    tell_levels(j, &choice, *config);
    return VN_OK;
}

static bool is_config(const char *model) {
    return model && vn_ends_with(model, ".json");
}

/* The network of a config that the user names. */
static vn_status open_config(vn_train_job *j, vn_err *err) {
    json_t *config = NULL;
    if (j->o.dropout >= 0) return vn_fail(err, VN_BAD_ARGUMENT, "dropout: %s says it", j->o.model);
    vn_status status = vn_json_read(j->o.model, &config, err);
    if (!status && (status = vn_net_open(config, &j->net, err)) != VN_OK)
        vn_fail_in(err, "%s", j->o.model);
    json_decref(config);
    return status;
}

vn_status vn_job_find_role(vn_train_job *j, vn_err *err) {
    if (!j->o.model) return VN_OK;
    vn_status status = is_config(j->o.model)
                           ? open_config(j, err)
                           : vn_choice_parse(j->o.model, &vn_trained_models, &j->model, err);
    if (status) return status;
    const vn_net *net = j->net ? j->net : j->from ? vn_model_net(j->from) : NULL;
    const vn_net_row *row = net ? vn_net_get_row(net) : (const vn_net_row *)j->model.row;
    if (row->role == VN_ROLE_ENCODER)
        return vn_fail(err, VN_UNSUPPORTED,
                       "model %s is for texts: it cannot be trained to denoise", j->o.model);
    j->classifies = row->role == VN_ROLE_CLASSIFIER;
    j->reconstructs = row->role == VN_ROLE_AUTOENCODER;
    j->sequence = row->role == VN_ROLE_SEQUENCE;
    if (j->sequence) return vn_train_sequence_options(&j->o, err);
    if (j->reconstructs) return vn_train_autoencoder_options(&j->o, err);
    return j->classifies ? vn_train_classifier_options(&j->o, err) : VN_OK;
}

static void find_texts(vn_train_job *j) {
    const bool has = vn_data_captions(j->data) != NULL;
    const vn_net_row *row = (const vn_net_row *)j->model.row;
    const bool takes = j->sequence ? true
                       : j->net
                           ? vn_net_input(vn_net_get_io(j->net), "encoder_hidden_states") != NULL
                       : row ? row->takes_texts
                             : vn_shape_is_image(&vn_data_get_info(j->data)->sample);
    j->texts = has && takes;
    if (has && !takes)
        vn_log(&j->vn->watch, VN_LOG_INFO,
               "%s: its captions are left out: %s takes no texts (`captions=none` would look for "
               "classes)",
               j->source, j->o.model ? j->o.model : "mlp");
}

/* Weights that have been trained are taken on by smaller steps. */
#define GENTLER 4

vn_status vn_job_find_model(vn_train_job *j, const vn_train_options *requested, vn_err *err) {
    find_texts(j);
    const vn_data_info *info = vn_data_get_info(j->data);
    const vn_train_budget budget = {.sample = info->sample,
                                    .count = info->count,
                                    .texts = j->texts,
                                    .latents = j->latents.autoencoder != NULL,
                                    .minutes = j->o.minutes,
                                    .threads = vn_thread_pool_threads(j->vn->pool)};
    const vn_train_default *usual = vn_train_default_for(&budget);
    const bool unnamed = !j->net && !j->model.row, chosen = unnamed && !j->from;
    const vn_status status =
        unnamed ? vn_choice_parse(usual->model, &vn_trained_models, &j->model, err) : VN_OK;
    if (status) return status;
    if (chosen && usual->why)
        vn_log(&j->vn->watch, VN_LOG_INFO, "model %s: %s (`model` names another)", usual->model,
               usual->why);
    const vn_net *net = j->net ? j->net : j->from ? vn_model_net(j->from) : NULL;
    const vn_net_row *row = net ? vn_net_get_row(net) : (const vn_net_row *)j->model.row;
    vn_net_habits habits = row->habits;
    if (chosen && usual->lr > 0) habits.lr = usual->lr;
    if (chosen && usual->batch > 0) habits.batch = usual->batch;
    vn_train_options_adopt(&j->o, requested, &habits);
    if (j->from && requested->lr < 0) j->o.lr /= GENTLER;
    return vn_choice_parse(j->o.optimizer, &vn_optimizers, &j->optimizer, err);
}

vn_status vn_job_open_encoder(vn_train_job *j, vn_err *err) {
    const vn_engine engine = vn_context_engine(j->vn);
    if (!j->o.text_encoder) return VN_OK;
    return vn_train_encoder_open(&j->words.pretrained, &engine, j->o.text_encoder, err);
}

vn_status vn_job_open_latents(vn_train_job *j, vn_err *err) {
    if (!j->o.latents || j->sequence) return VN_OK;
    if (j->reconstructs)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`latents` has no effect on an autoencoder: it is one");
    if (j->o.skip_bad)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`skip_bad`: latents are made of every picture; repair or remove those that "
                       "cannot be read");
    return vn_train_latents_open(&j->latents, j->vn, j->o.latents, err);
}

vn_status vn_job_take_latents(vn_train_job *j, vn_err *err) {
    const bool latents = j->latents.autoencoder;
    j->seen = latents ? vn_format("latents of %s", j->source) : vn_strdup(j->source);
    if (!j->seen) return vn_no_memory(err);
    if (!latents) return VN_OK;
    if (j->o.shift)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "shift has no effect on latents, which are kept of each picture");
    const vn_status status = vn_train_latents_take(&j->latents, j->data, j->source, j->o.seed, err);
    return !status && j->dir.vane ? vn_train_latents_check(&j->latents, j->dir.vane, j->out, err)
                                  : status;
}

vn_status vn_job_check_encoder(const vn_train_job *j, vn_err *err) {
    const bool captions = vn_data_captions(j->data) != NULL;
    const char *model = j->o.model ? j->o.model : "mlp";
    if (!j->o.text_encoder || (j->texts && !j->sequence)) return VN_OK;
    if (j->texts)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`text_encoder` %s has no effect: %s reads the captions' tokens itself",
                       j->o.text_encoder, model);
    return vn_fail(err, VN_BAD_ARGUMENT, "`text_encoder` %s has no effect: %s %s",
                   j->o.text_encoder, captions ? model : j->source,
                   captions ? "takes no texts" : "has no captions");
}

vn_status vn_job_open_codes(vn_train_job *j, vn_err *err) {
    const vn_engine engine = vn_context_engine(j->vn);
    if (!j->sequence) return VN_OK;
    const bool goes_on = j->dir.config != NULL;
    char *own = goes_on ? vn_path_join(j->out, VN_CODES_PART) : NULL;
    if (goes_on && !own) return vn_no_memory(err);
    const char *from = own ? own : j->o.latents;
    vn_status status = VN_OK;
    if (from)
        status = vn_train_codes_open(&j->codes, &engine, from, err);
    else if (j->net)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "model %s: say what its codes are of: `latents=AE`, an autoencoder's run",
                         j->o.model);
    else
        status = vn_train_codes_make(&j->codes, &engine, j->data, &j->model, j->o.seed, err);
    if (!status) status = vn_train_codes_fit(&j->codes, vn_data_get_info(j->data), j->source, err);
    vn_free(own);
    return status;
}

static vn_status open_net(vn_train_job *j, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(j->data);
    const vn_engine engine = vn_context_engine(j->vn);
    const vn_choice *model = j->model.row ? &j->model : NULL;
    json_t *config = json_incref(j->dir.config); /* of a run that goes on */
    vn_status status = VN_OK;
    if (j->texts)
        status = config ? vn_train_words_read(&j->words, j->out, j->dir.vane, j->data, &engine, err)
                        : vn_train_words_make(&j->words, model, j->out, j->data, &engine, err);
    if (!status && !config && j->from && !(config = vn_job_config_from(j, err)))
        status = err->status;
    if (!status && !j->net && !config) status = make_config(j, info, &config, err);
    if (!status && !j->net && (status = vn_net_open(config, &j->net, err)) && j->o.model)
        vn_fail_in(err, "%s", j->o.model);
    const vn_train_net checked = {
        .net = j->net,
        .data = info,
        .name = j->o.model,
        .source = j->seen,
        .texts = j->texts,
        .codes = j->codes.codes,
        .words = !status && j->texts ? vn_text_size(j->words.tokenizer) : 0,
        .gives = j->objective ? vn_objective_gives(j->objective) : 0,
        .variance = j->objective && vn_objective_learns_variance(j->objective)};
    if (!status) status = vn_train_check_net(&checked, err);
    if (!status && j->texts && !j->sequence && !j->words.encoder &&
        !vn_train_words_frozen(&j->words))
        status = vn_train_words_make_encoder(&j->words, j->net, model, j->o.dropout, err);
    if (!status && j->classifies) status = vn_train_classifier_times(&j->o, j->net, err);
    json_decref(config);
    return status;
}

/* The part that learns how large the loss is, where it does. */
static vn_status open_uncertainty(vn_train_job *j, vn_err *err) {
    if (!vn_objective_estimates(j->objective)) return VN_OK;
    json_t *config = vn_uncertainty_config(err);
    if (!config) return err->status;
    const vn_status status = vn_net_open_row(&vn_uncertainty_net, config, &j->uncertainty, err);
    json_decref(config);
    return status;
}

/* What an autoencoder is trained against, where it is. */
static vn_status open_discriminator(vn_train_job *j, vn_err *err) {
    const vn_shape *sample = &vn_data_get_info(j->data)->sample;
    vn_adversary a;
    if (!vn_objective_adversary(j->objective, &a)) return VN_OK;
    if (j->o.steps > 0 && a.start >= j->o.steps)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "the discriminator has no effect: it begins at step %lld (disc_start of "
                       "the objective), and the run has %lld",
                       (long long)a.start, (long long)j->o.steps);
    json_t *config = vn_discriminator_config(sample, a.channels, a.layers, err);
    if (!config) return err->status;
    const vn_status status = vn_net_open_row(&vn_discriminator_net, config, &j->discriminator, err);
    json_decref(config);
    return status;
}

/* The objective says what a denoiser has to answer; a classifier says at which times it learns, and
 * an autoencoder which objective is for it. */
vn_status vn_job_open_learning(vn_train_job *j, vn_err *err) {
    const bool first = j->classifies || j->reconstructs;
    vn_status status = first ? open_net(j, err) : open_objective(j, err);
    if (!status) status = first ? open_objective(j, err) : open_net(j, err);
    if (!status) status = open_uncertainty(j, err);
    return status ? status : open_discriminator(j, err);
}

vn_train_networks vn_job_networks(const vn_train_job *j) {
    const bool frozen = vn_train_words_frozen(&j->words);
    if (j->sequence)
        return (vn_train_networks){
            .count = 2,
            .part = {{.net = j->net, .optimizer = &j->optimizer},
                     {.name = VN_CODES_PART,
                      .net = j->codes.encoder,
                      .frozen = true,
                      .values = j->codes.values}},
            .text = {.tokenizer = j->words.tokenizer, .length = j->words.length}};
    const bool features = j->features.net;
    vn_train_networks all = {.count = features || (j->texts && !frozen) ? 2 : 1,
                             .part = {{.net = j->net,
                                       .optimizer = &j->optimizer,
                                       .weights = j->from ? j->from_weights : NULL,
                                       .weights_of = j->from ? vn_model_net(j->from) : NULL},
                                      features ? j->features
                                               : (vn_train_part){.name = VN_TRAIN_ENCODER,
                                                                 .net = j->words.encoder,
                                                                 .optimizer = &j->optimizer}},
                             .text = {.frozen = frozen ? &j->words.pretrained.read : NULL,
                                      .part = 1,
                                      .tokenizer = j->words.tokenizer,
                                      .length = j->words.length}};
    if (j->uncertainty)
        all.part[all.count++] = (vn_train_part){.name = VN_LOSS_UNCERTAINTY,
                                                .net = j->uncertainty,
                                                .optimizer = &j->optimizer,
                                                .no_average = true};
    if (j->discriminator)
        all.part[all.count++] = (vn_train_part){.name = VN_LOSS_DISCRIMINATOR,
                                                .net = j->discriminator,
                                                .optimizer = &j->optimizer,
                                                .no_average = true};
    return all;
}

vn_status vn_job_check_memory(vn_train_job *j, vn_err *err) {
    const vn_train_networks all = vn_job_networks(j);
    vn_train_setup setup = {.device = &j->vn->device,
                            .parts = all.count,
                            .part = all.part,
                            .data = j->data,
                            .objective = j->objective,
                            .text = j->texts ? &all.text : NULL,
                            .batch = j->o.batch,
                            .snapshots = j->o.ema_snapshots,
                            .microbatches = j->o.microbatches,
                            .ranks = j->vn->ranks,
                            .recompute = j->o.recompute ? VN_RECOMPUTE_BLOCKS : VN_RECOMPUTE_CHEAP};
    const bool may_resize = !j->o.resume && vn_job_is_folder(j);
    const vn_status status = vn_train_check_memory(&setup, may_resize, j->source, err);
    j->workers = setup.workers;
    return status;
}

void vn_job_close(vn_train_job *j) {
    vn_objective_close(&j->objective);
    vn_job_close_from(j);
    vn_world_denoiser_close(&j->truth);
    vn_path_close(&j->path);
    vn_train_words_close(&j->words);
    vn_train_codes_close(&j->codes);
    vn_train_close_frozen(&j->features);
    vn_net_close(&j->net);
    vn_net_close(&j->uncertainty);
    vn_net_close(&j->discriminator);
    vn_data_close(&j->data);
    vn_train_latents_close(&j->latents);
    vn_free(j->seen);
    vn_job_close_pairs(j);
    vn_model_dir_close(&j->dir);
    vn_free(j->names);
    vn_free(j->known);
    vn_free(j->list);
    vn_free(j->path_text);
}
