/* train.c - vn_train: opens what a run is made of (data, network, path, objective), fresh from the
 * options or again from the run's own files, and hands it to the loop. */
#include "api/classifier_plot.h"
#include "api/internal.h"
#include "api/preview.h"
#include "api/run_dir.h"
#include "api/train_memory.h"
#include "api/train_net.h"
#include "api/train_options.h"
#include "api/train_words.h"
#include "data/data.h"
#include "objective/objective.h"
#include "train/train.h"

#include <math.h>
#include <string.h>

/* All the parts of a run. */
typedef struct job {
    vn_context *vn;
    const char *source, *out;
    const vn_train_data
        *rows; /* samples of the program's own, which source names; NULL: a source */
    vn_train_options o;
    vn_run_dir run;   /* locked */
    vn_model_dir dir; /* what it holds, when resumed */
    vn_data *data;
    vn_net *net;
    vn_path *path;
    vn_prediction prediction;
    vn_denoiser truth; /* of data that is drawn from a world */
    vn_objective *objective;
    bool classifies; /* the model is a classifier */
    bool texts;      /* it takes the captions of its data */
    vn_train_words words;
    vn_choice model;    /* row NULL: a config or a run says what it is */
    const char **names; /* [classes] */
    const char **known; /* [known_count] classes of the run that is resumed, in dir; else NULL */
    int32_t known_count;
    vn_shape sample; /* of its data, where they are images; else of rank 0 */
    char *list;      /* its list of the data's files, when it is resumed and has one; else NULL */
    char *path_text;
    vn_sampling_defaults sampling; /* how the run is sampled unless told otherwise */
} job;

/* ---- the parts ------------------------------------------------------------------------------- */

static bool is_folder(const job *j) {
    return !j->rows && vn_data_is_folder(j->source);
}

/* Before anything is tried in OUT. */
static vn_status check_outside(const job *j, vn_err *err) {
    if (!is_folder(j) || !vn_run_dir_inside(j->out, j->source)) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s lies in the data, %s, where a folder is a class",
                   j->out, j->source);
}

/* The classes of a run that goes on. */
static vn_status read_names(job *j, vn_err *err) {
    const json_t *list = json_object_get(j->dir.vane, "classes");
    j->known = vn_calloc(json_array_size(list) + 1, sizeof(*j->known));
    if (!j->known) return vn_no_memory(err);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!(j->known[j->known_count++] = json_string_value(json_array_get(list, i))))
            return vn_fail(err, VN_BAD_FILE, "%s/vane.json: class %zu has no name", j->out, i);
    return VN_OK;
}

/* What the run's samples are, where they are pictures. */
static void read_shape(job *j) {
    const json_t *shape = json_object_get(json_object_get(j->dir.vane, "data"), "shape");
    for (size_t i = 0; json_array_size(shape) == 3 && i < 3; i++)
        j->sample.dim[i] = json_integer_value(json_array_get(shape, i));
    j->sample.rank = j->sample.dim[0] > 0 ? 3 : 0;
}

/* The run's list of files: runs of older versions, and of other data than folders, have none. */
static vn_status find_list(job *j, vn_err *err) {
    j->list = vn_path_join(j->out, VN_RUN_FILES);
    if (!j->list) return vn_no_memory(err);
    if (vn_is_file(j->list)) return VN_OK;
    vn_free(j->list);
    j->list = NULL;
    return VN_OK;
}

static vn_status open_data(job *j, vn_err *err) {
    const vn_data_options options = {.seed = j->o.seed,
                                     .validate = j->o.validate,
                                     .size = j->o.size,
                                     .grey = j->o.grey != 0,
                                     .flip = j->o.flip != 0,
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

static vn_status open_path(job *j, vn_err *err) {
    const char *predict = j->o.predict;
    vn_status status = vn_path_open(j->o.path ? j->o.path : "rectified", &j->path, err);
    if (status) return status;
    if (!predict) predict = j->classifies ? "edm" : j->path->row->prediction;
    status = vn_prediction_parse(predict, &j->prediction, err);
    /* A classifier predicts nothing of a sample; its input is scaled as EDM's. */
    if (!status && j->classifies && strcmp(j->prediction.row->row.name, "edm") != 0)
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "`predict` %s: a classifier answers with classes; edm:sigma_data=S alone "
                         "has a meaning for one, the deviation of its data",
                         predict);
    if (!status) status = vn_path_allows(j->path, &j->prediction, err);
    if (status) return status;
    j->path_text = vn_path_text(j->path);
    return j->path_text ? VN_OK : vn_no_memory(err);
}

static vn_status open_objective(job *j, vn_err *err) {
    vn_status status = VN_OK;
    const vn_world *world = vn_data_world(j->data);
    if (world)
        status = vn_world_denoiser(world, j->path, &j->prediction, j->vn->pool, &j->truth, err);
    if (status) return status;
    const vn_objective_options options = {
        .path = j->path,
        .prediction = &j->prediction,
        .objective = j->o.objective,
        .times = j->o.times,
        .drop = j->o.drop,
        /* of captions too it is -1 */
        .null_label = vn_data_get_info(j->data)->classes ? vn_data_get_info(j->data)->classes : -1,
        .classifier = j->classifies,
        .seed = j->o.seed,
        .asked[VN_ASK_TRUTH] = world ? &j->truth : NULL};
    return vn_objective_open(&options, &j->objective, err);
}

/* A U-Net halves its images as often as their sides allow, which may be less than it would. */
static void tell_levels(const job *j, const vn_choice *choice, const json_t *config) {
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
static vn_status make_config(job *j, const vn_data_info *info, json_t **config, vn_err *err) {
    vn_choice choice = j->model;
    const char *name = !vn_shape_is_image(&info->sample) ? "mlp" : j->texts ? "text-dit" : "unet2d";
    vn_status status = choice.row ? VN_OK : vn_choice_parse(name, &vn_trained_models, &choice, err);
    if (status) return status;
    j->model = choice;
    const vn_net_row *row = (const vn_net_row *)choice.row;
    if (!row->config)
        return vn_fail(err, VN_UNSUPPORTED,
                       "model %s: only files have such networks; there is no preset of it to be "
                       "trained",
                       name);
    const vn_net_data data = {.sample = info->sample,
                              .labels = info->classes ? info->classes + 1 : 0,
                              .dropout = j->o.dropout,
                              .learns_variance =
                                  j->objective && vn_objective_learns_variance(j->objective),
                              .clean = j->o.times && vn_times_are_clean(j->o.times),
                              .captions = j->texts,
                              .text_width = j->words.pretrained.read.width,
                              .text_pooled = j->words.pretrained.read.pooled};
    *config = row->config(&choice, &data, err);
    if (!*config) return err->status;
    tell_levels(j, &choice, *config);
    return VN_OK;
}

static bool is_config(const char *model) {
    return model && vn_ends_with(model, ".json");
}

/* The network of a config that the user names. */
static vn_status open_config(job *j, vn_err *err) {
    json_t *config = NULL;
    if (j->o.dropout >= 0) return vn_fail(err, VN_BAD_ARGUMENT, "dropout: %s says it", j->o.model);
    vn_status status = vn_json_read(j->o.model, &config, err);
    if (!status && (status = vn_net_open(config, &j->net, err)) != VN_OK)
        vn_fail_in(err, "%s", j->o.model);
    json_decref(config);
    return status;
}

/* What is wrong with a name shows before the data is read, which may take minutes. */
static vn_status check_names(job *j, vn_err *err) {
    vn_status status = open_path(j, err);
    return !status ? vn_objective_check(j->o.objective, j->o.times, err) : status;
}

/* Which kind of model it is, before its options are settled: a classifier has defaults of its
 * own. */
static vn_status find_role(job *j, vn_err *err) {
    if (!j->o.model) return VN_OK;
    vn_status status = is_config(j->o.model)
                           ? open_config(j, err)
                           : vn_choice_parse(j->o.model, &vn_trained_models, &j->model, err);
    if (status) return status;
    const vn_net_row *row = j->net ? vn_net_get_row(j->net) : (const vn_net_row *)j->model.row;
    if (row->role == VN_ROLE_ENCODER)
        return vn_fail(err, VN_UNSUPPORTED,
                       "model %s is for texts: it cannot be trained to denoise", j->o.model);
    j->classifies = row->role == VN_ROLE_CLASSIFIER;
    return j->classifies ? vn_train_classifier_options(&j->o, err) : VN_OK;
}

/* Whether the model takes captions, and the data has some. */
static void find_texts(job *j) {
    const bool has = vn_data_captions(j->data) != NULL;
    const vn_net_row *row = (const vn_net_row *)j->model.row;
    const bool takes = j->net ? vn_net_input(vn_net_get_io(j->net), "encoder_hidden_states") != NULL
                       : row  ? row->takes_texts
                              : vn_shape_is_image(&vn_data_get_info(j->data)->sample);
    j->texts = has && takes;
    if (has && !takes)
        vn_log(&j->vn->watch, VN_LOG_INFO,
               "%s: its captions are left out: %s takes no texts (`captions=none` would look for "
               "classes)",
               j->source, j->o.model ? j->o.model : "mlp");
}

/* What is wrong with it shows before the data is read. */
static vn_status open_encoder(job *j, vn_err *err) {
    const vn_engine engine = vn_context_engine(j->vn);
    if (!j->o.text_encoder) return VN_OK;
    return vn_train_encoder_open(&j->words.pretrained, &engine, j->o.text_encoder, err);
}

/* A pretrained text encoder is for texts. */
static vn_status check_encoder(const job *j, vn_err *err) {
    const bool captions = vn_data_captions(j->data) != NULL;
    const char *model = j->o.model ? j->o.model : "mlp";
    if (!j->o.text_encoder || j->texts) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "`text_encoder` %s has no effect: %s %s",
                   j->o.text_encoder, captions ? model : j->source,
                   captions ? "takes no texts" : "has no captions");
}

static vn_status open_net(job *j, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(j->data);
    const vn_engine engine = vn_context_engine(j->vn);
    json_t *config = json_incref(j->dir.config); /* of a run that goes on */
    vn_status status = VN_OK;
    if (!j->net && !config) status = make_config(j, info, &config, err);
    if (!status && !j->net && (status = vn_net_open(config, &j->net, err)) && j->o.model)
        vn_fail_in(err, "%s", j->o.model);
    const vn_train_net checked = {.net = j->net,
                                  .data = info,
                                  .name = j->o.model,
                                  .source = j->source,
                                  .texts = j->texts,
                                  .variance =
                                      j->objective && vn_objective_learns_variance(j->objective)};
    if (!status) status = vn_train_check_net(&checked, err);
    if (!status && j->texts)
        status = j->dir.config
                     ? vn_train_words_read(&j->words, j->out, j->dir.vane, j->data, &engine, err)
                     : vn_train_words_make(&j->words, j->net, j->model.row ? &j->model : NULL,
                                           j->o.dropout, j->out, j->data, &engine, err);
    if (!status && j->classifies) status = vn_train_classifier_times(&j->o, j->net, err);
    json_decref(config);
    return status;
}

/* The objective says what a denoiser has to answer, and a classifier at which times it learns. */
static vn_status open_learning(job *j, vn_err *err) {
    vn_status status = j->classifies ? open_net(j, err) : open_objective(j, err);
    if (!status) status = j->classifies ? open_objective(j, err) : open_net(j, err);
    return status;
}

/* The networks: the first is what is trained on the batch. */
typedef struct networks {
    int count;
    vn_train_part part[2];
    vn_train_text text;
} networks;

static networks networks_of(const job *j) {
    const bool frozen = vn_train_words_frozen(&j->words);
    return (networks){
        .count = j->texts && !frozen ? 2 : 1,
        .part = {{.net = j->net}, {.name = VN_TRAIN_ENCODER, .net = j->words.encoder}},
        .text = {.frozen = frozen ? &j->words.pretrained.read : NULL,
                 .part = 1,
                 .tokenizer = j->words.tokenizer,
                 .length = j->words.length}};
}

/* Before anything of the run's size is made. */
static vn_status check_memory(job *j, vn_err *err) {
    const networks all = networks_of(j);
    const vn_train_setup setup = {.device = &j->vn->device,
                                  .parts = all.count,
                                  .part = all.part,
                                  .data = j->data,
                                  .objective = j->objective,
                                  .text = j->texts ? &all.text : NULL,
                                  .batch = j->o.batch,
                                  .microbatches = j->o.microbatches,
                                  .recompute =
                                      j->o.recompute ? VN_RECOMPUTE_BLOCKS : VN_RECOMPUTE_CHEAP};
    const bool may_resize = !j->o.resume && is_folder(j);
    return vn_train_check_memory(&setup, may_resize, j->source, err);
}

static void close_job(job *j) {
    vn_objective_close(&j->objective);
    vn_world_denoiser_close(&j->truth);
    vn_path_close(&j->path);
    vn_train_words_close(&j->words);
    vn_net_close(&j->net);
    vn_data_close(&j->data);
    vn_model_dir_close(&j->dir);
    vn_free(j->names);
    vn_free(j->known);
    vn_free(j->list);
    vn_free(j->path_text);
}

/* ---- a fresh run ----------------------------------------------------------------------------- */

static json_t *text_list(const char *const *names, int32_t count) {
    json_t *list = json_array();
    for (int32_t i = 0; list && i < count; i++) {
        if (json_array_append_new(list, json_string(names[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

/* vane.json: all that the run is, in words that a resume and a reader understand. */
static json_t *describe(const job *j) {
    const vn_data_info *info = vn_data_get_info(j->data);
    json_t *shape = json_array(),
           *skipped = info->skipped > 0 ? json_integer((json_int_t)info->skipped) : NULL;
    char *predict = vn_choice_text(&j->prediction.choice); /* NULL: json_pack fails */
    for (int i = 0; shape && i < info->sample.rank; i++)
        if (json_array_append_new(shape, json_integer(info->sample.dim[i])) != 0) {
            json_decref(shape);
            shape = NULL;
        }
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:o, s:o*, s:{s:o, s:s, s:o, s:I, s:o*, s:I, s:I}, s:o}", "vane",
        vn_version(), "model", vn_net_get_row(j->net)->row.name, "path", j->path_text, "predict",
        predict, "seed", (json_int_t)j->o.seed, "classes", text_list(j->names, info->classes),
        "sampling", j->classifies ? NULL : vn_sampling_defaults_to_json(&j->sampling), "data",
        j->rows ? "name" : "source", vn_json_string(j->source), "kind", info->source, "shape",
        shape, "count", (json_int_t)info->count, "skipped", skipped, "held", (json_int_t)info->held,
        "fingerprint", (json_int_t)info->fingerprint, "train", vn_train_options_to_json(&j->o));
    vn_free(predict);
    return out;
}

/* What the run keeps of its data: a folder's files, and whose captions are which. */
static vn_status save_list(const job *j, vn_err *err) {
    char *path = vn_path_join(j->run.aside, VN_RUN_FILES),
         *captions = vn_path_join(j->run.aside, VN_RUN_CAPTIONS);
    vn_status status = path && captions ? vn_data_save_list(j->data, path, err) : vn_no_memory(err);
    if (!status && j->texts) status = vn_data_save_captions(j->data, captions, err);
    vn_free(path);
    vn_free(captions);
    return status;
}

/* Whether the captions are those that the run began with; older runs have no list of them. */
static vn_status check_captions(const job *j, vn_err *err) {
    char *path = vn_path_join(j->out, VN_RUN_CAPTIONS);
    vn_status status = path ? VN_OK : vn_no_memory(err);
    if (!status && vn_is_file(path)) status = vn_data_check_captions(j->data, path, j->source, err);
    vn_free(path);
    return status;
}

/* Where the list is now that the run has its name. */
static vn_status keep_list(const job *j, vn_err *err) {
    char *path = vn_path_join(j->run.out, VN_RUN_FILES);
    const vn_status status = path ? vn_data_keep_list(j->data, path, err) : vn_no_memory(err);
    vn_free(path);
    return status;
}

/* And what it is sampled with where it takes texts. */
static json_t *describe_all(const job *j) {
    json_t *vane = describe(j);
    if (!vane || !j->texts) return vane;
    if (json_object_set_new(vane, "text", vn_train_words_json(&j->words)) == 0) return vane;
    json_decref(vane);
    return NULL;
}

/* Everything of the run at step 0, complete before it takes its name. */
static vn_status create(job *j, vn_err *err) {
    vn_status status = vn_run_dir_make(&j->run, err);
    if (status) return status;
    const bool frozen = vn_train_words_frozen(&j->words);
    json_t *vane = describe_all(j),
           *scheduler = vn_path_scheduler(j->path, &j->prediction,
                                          vn_net_output(vn_net_get_io(j->net), "variance"));
    if (!vane || !scheduler) status = vn_no_memory(err);
    if (!status) {
        const vn_model_other encoder = {VN_TRAIN_ENCODER, !j->texts ? NULL
                                                          : frozen
                                                              ? j->words.pretrained.dir.config
                                                              : vn_net_config(j->words.encoder)};
        const vn_model_parts parts = {.pipeline = j->classifies ? "VaneClassifier"
                                                  : j->texts    ? "VaneTextPipeline"
                                                                : "DDPMPipeline",
                                      .others = j->texts,
                                      .other = &encoder,
                                      .folder = vn_net_get_row(j->net)->folder,
                                      .config = vn_net_config(j->net),
                                      .scheduler = scheduler,
                                      .vane = vane};
        status = vn_store_save_model(j->run.aside, &parts, err);
        if (!status) status = vn_train_words_save(&j->words, j->run.aside, err);
    }
    if (!status && frozen) status = vn_train_encoder_copy(&j->words.pretrained, j->run.aside, err);
    const networks all = networks_of(j);
    if (!status) status = vn_train_create(j->run.aside, all.count, all.part, j->o.seed, err);
    if (!status) status = save_list(j, err);
    json_decref(vane);
    json_decref(scheduler);
    if (status) return vn_run_dir_fail(&j->run, err);
    status = vn_run_dir_name(&j->run, err);
    return !status ? keep_list(j, err) : status;
}

static vn_status start(job *j, const vn_train_options *requested, vn_err *err) {
    j->o = *requested;
    vn_status status = find_role(j, err);
    if (!status) status = vn_train_options_settle(&j->o, err);
    if (!status) status = check_outside(j, err);
    if (!status) status = check_names(j, err);
    if (!status) status = vn_run_dir_begin(&j->run, j->out, j->o.overwrite != 0, err);
    if (!status) status = open_encoder(j, err);
    if (!status) status = open_data(j, err);
    if (!status) find_texts(j);
    if (!status) status = check_encoder(j, err);
    if (!status && (j->classifies || !(vn_data_get_info(j->data)->classes || j->texts)))
        j->o.drop = 0;
    if (!status) status = open_learning(j, err);
    if (!status) status = check_memory(j, err);
    if (!status)
        j->sampling = vn_sampling_defaults_choose(
            vn_shape_is_image(&vn_data_get_info(j->data)->sample), j->o.drop > 0, j->path);
    if (!status) status = create(j, err);
    return status;
}

/* ---- a run that goes on ---------------------------------------------------------------------- */

/* What the size was chosen to be stays so, whatever would be chosen now. */
static void keep_size(job *j) {
    const json_t *data = json_object_get(j->dir.vane, "data"),
                 *shape = json_object_get(data, "shape");
    if (j->o.size != 0 || json_array_size(shape) != 3 || !is_folder(j)) return;
    const int64_t height = json_integer_value(json_array_get(shape, 1)),
                  width = json_integer_value(json_array_get(shape, 2));
    j->o.size = height == width ? height : -1;
}

static vn_status resume(job *j, const vn_train_options *requested, vn_err *err) {
    if (requested->overwrite)
        return vn_fail(err, VN_BAD_ARGUMENT, "resume and overwrite exclude each other");
    vn_status status = check_outside(j, err);
    if (!status) status = vn_run_dir_open(&j->run, j->out, err);
    if (!status) status = vn_model_dir_open(j->out, &j->dir, err);
    if (status) return status;
    const json_t *stored = json_object_get(j->dir.vane, "train");
    if (!json_is_object(stored) || !vn_store_has_checkpoint(j->out))
        return vn_fail(err, VN_BAD_FILE, "%s: not a run of vane that could go on", j->out);
    status = vn_train_options_resume(stored, requested, &j->o, err);
    if (status) return vn_fail_in(err, "%s", j->out);
    j->o.model = NULL; /* the run's config.json says it */
    j->classifies =
        vn_train_is_classifier(json_string_value(json_object_get(j->dir.vane, "model")));
    keep_size(j);
    read_shape(j);
    status = read_names(j, err);
    if (!status) status = find_list(j, err);
    if (!status) status = open_data(j, err);
    if (!status) status = check_captions(j, err);
    if (status) return status;
    const json_int_t fingerprint =
        json_integer_value(json_object_get(json_object_get(j->dir.vane, "data"), "fingerprint"));
    if (!j->list && fingerprint != (json_int_t)vn_data_get_info(j->data)->fingerprint)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s is not the data that %s was trained on", j->source,
                       j->out);
    status =
        vn_sampling_defaults_from_json(json_object_get(j->dir.vane, "sampling"), &j->sampling, err);
    if (status) return vn_fail_in(err, "%s/vane.json", j->out);
    j->texts = json_is_object(json_object_get(j->dir.vane, "text"));
    status = open_path(j, err);
    if (!status) status = open_learning(j, err);
    if (!status) status = check_memory(j, err);
    return status;
}

/* ---- the public call ------------------------------------------------------------------------- */

/* "data: 10 classes; path rectified, predicts velocity". */
static void say_task(const job *j, const vn_data_info *info) {
    char classes[32];
    snprintf(classes, sizeof classes, "%s", j->texts ? "captions" : "no classes");
    if (info->classes)
        snprintf(classes, sizeof classes, "%d class%s", (int)info->classes,
                 info->classes == 1 ? "" : "es");
    if (j->classifies)
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: %s to tell apart; path %s%s", j->source, classes,
               j->path_text,
               j->o.times && vn_times_are_clean(j->o.times) ? ", at t = 0: clean samples alone"
                                                            : "");
    else
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: %s; path %s, predicts %s", j->source, classes,
               j->path_text, j->prediction.row->row.name);
}

static vn_status run(job *j, vn_trained *result, vn_err *err) {
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
                          .run = j->out};
    preview.sampling.steps = vn_sampling_defaults_steps_on(&j->sampling, j->path);
    const bool draws = vn_preview_possible(vn_net_get_io(j->net));
    const networks all = networks_of(j);
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
        .steps = j->o.steps,
        .seconds = 60 * j->o.minutes,
        .lr = j->o.lr,
        .weight_decay = j->o.weight_decay,
        .clip = j->o.clip,
        .rate = !strcmp(j->o.schedule, "cosine") ? VN_RATE_COSINE : VN_RATE_CONSTANT,
        .warmup = j->o.warmup,
        .ema = j->o.ema,
        .recompute = j->o.recompute ? VN_RECOMPUTE_BLOCKS : VN_RECOMPUTE_CHEAP,
        .log_every = j->o.log_every,
        .save_every = j->o.save_every,
        .preview_every = j->o.preview_every,
        .preview = j->o.preview_every < 0 ? NULL
                   : j->classifies        ? vn_classifier_plot
                   : draws                ? vn_preview_draw
                                          : NULL,
        .user = j->classifies ? (void *)(uintptr_t)j->out : &preview};
    say_task(j, info);
    if (info->brings_noise)
        vn_log(&j->vn->watch, VN_LOG_INFO, "%s: each sample brings its noise", j->source);
    vn_status status = VN_OK;
    if (vn_train_words_frozen(&j->words))
        status = vn_train_encoder_encode(&j->words.pretrained, j->out, j->data, j->net,
                                         &j->vn->watch, err);
    if (!status) status = vn_train_run(&setup, result, err);
    if (vn_data_get_info(j->data)->named > 0 && result->step > 0)
        vn_fail_after(err, "`resume` goes on after that");
    vn_preview_close(&preview);
    return status;
}

void vn_train_result_init(vn_train_result *r, size_t size) {
    static const vn_train_result initial = {.loss = (double)NAN, .held_loss = (double)NAN};
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
    r.end = !status ? VN_TRAIN_DONE : status == VN_CANCELLED ? VN_TRAIN_CANCELLED : VN_TRAIN_FAILED;
    return r;
}

/* All of a call, with its struct of options as the library knows it. */
static vn_status train(vn_context *vn, const char *source, const vn_train_data *rows,
                       const char *out, const vn_train_options *o, vn_trained *trained,
                       vn_err *err) {
    job j = {.vn = vn, .source = source, .rows = rows, .out = out};
    vn_status status = o->resume ? resume(&j, o, err) : start(&j, o, err);
    if (!status) status = run(&j, trained, err);
    close_job(&j);
    vn_run_dir_close(&j.run, !status || status == VN_CANCELLED || trained->step > 0);
    return status;
}

void vn_train_data_init(vn_train_data *o, size_t size) {
    static const vn_train_data initial = {0};
    vn_struct_init(o, size, &initial, sizeof initial);
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
