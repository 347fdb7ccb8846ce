/* train_files.c - a run's folder: written at step 0 from what the run is made of, and read when it
 * goes on. vane.json has all of it in words, state/files the list of the data's files. */
#include <string.h>

#include "api/train_job.h"
#include "api/train_net.h"
#include "api/train_options.h"
#include "api/train_reflow.h"

/* ---- written --------------------------------------------------------------------------------- */

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
static json_t *describe(const vn_train_job *j) {
    const vn_data_info *info = vn_data_get_info(j->data);
    json_t *shape = json_array(),
           *skipped = info->skipped > 0 ? json_integer((json_int_t)info->skipped) : NULL;
    const bool denoises = !j->reconstructs;
    char *predict = denoises ? vn_choice_text(&j->prediction.choice) : NULL;
    for (int i = 0; shape && i < info->sample.rank; i++)
        if (json_array_append_new(shape, json_integer(info->sample.dim[i])) != 0) {
            json_decref(shape);
            shape = NULL;
        }
    if (denoises && !predict) return NULL;
    json_t *out = json_pack(
        "{s:s, s:s, s:s*, s:s*, s:s*, s:I, s:o, s:o*, s:{s:o, s:s, s:o, s:I, s:o*, s:I, s:I}, s:o}",
        "vane", vn_version(), "model", vn_net_get_row(j->net)->row.name, "path",
        denoises ? j->path_text : NULL, "predict", predict, "precision",
        j->vn->device.row->exact ? j->vn->device.row->precision : NULL, "seed",
        (json_int_t)j->o.seed, "classes", text_list(j->names, info->classes), "sampling",
        j->classifies || !denoises ? NULL : vn_sampling_defaults_to_json(&j->sampling), "data",
        j->rows ? "name" : "source", vn_json_string(j->source), "kind", info->source, "shape",
        shape, "count", (json_int_t)info->count, "skipped", skipped, "held", (json_int_t)info->held,
        "fingerprint", (json_int_t)info->fingerprint, "train", vn_train_options_to_json(&j->o));
    vn_free(predict);
    return out;
}

/* What the run keeps of its data: a folder's files, and whose captions are which. */
static vn_status save_list(const vn_train_job *j, vn_err *err) {
    char *path = vn_path_join(j->run.aside, VN_RUN_FILES),
         *captions = vn_path_join(j->run.aside, VN_RUN_CAPTIONS);
    vn_status status = path && captions ? vn_data_save_list(j->data, path, err) : vn_no_memory(err);
    if (!status && j->texts) status = vn_data_save_captions(j->data, captions, err);
    vn_free(path);
    vn_free(captions);
    return status;
}

/* Where the list is now that the run has its name. */
static vn_status keep_list(const vn_train_job *j, vn_err *err) {
    char *path = vn_path_join(j->run.out, VN_RUN_FILES);
    const vn_status status = path ? vn_data_keep_list(j->data, path, err) : vn_no_memory(err);
    vn_free(path);
    return status;
}

/* A sequence has no noise and no steps, but tokens. */
static json_t *describe_sequence(const vn_train_job *j, json_t *vane) {
    json_t *tokens = json_pack("{s:I, s:I, s:I}", "codes", (json_int_t)j->codes.codes, "rows",
                               (json_int_t)j->codes.rows, "columns", (json_int_t)j->codes.columns),
           *sampling = json_pack("{s:f}", "guidance", j->sampling.guidance);
    json_object_del(vane, "path");
    json_object_del(vane, "predict");
    const bool ok = json_object_set_new(vane, "sequence", tokens) == 0;
    if (json_object_set_new(vane, "sampling", sampling) == 0 && ok) return vane;
    json_decref(vane);
    return NULL;
}

/* And what it is sampled with where it takes texts, or sees latents. */
static json_t *describe_all(const vn_train_job *j) {
    json_t *vane = describe(j);
    const bool latents = j->latents.autoencoder;
    if (vane && j->teacher) {
        json_t *teacher = json_pack("{s:o, s:s*}", "source", vn_json_string(j->teacher->source),
                                    "fingerprint", vn_model_fingerprint(j->teacher));
        if (json_object_set_new(vane, "teacher", teacher) != 0) {
            json_decref(vane);
            return NULL;
        }
    }
    if (vane && j->sequence) vane = describe_sequence(j, vane);
    if (vane &&
        (!j->texts || json_object_set_new(vane, "text", vn_train_words_json(&j->words)) == 0) &&
        (!latents || json_object_set_new(vane, "latents", vn_train_latents_json(&j->latents)) == 0))
        return vane;
    json_decref(vane);
    return NULL;
}

/* The folder of such a part in the run. The model's index does not name it: it is no part of what
 * is sampled. */
static vn_status make_folder(const vn_train_job *j, const char *part, vn_err *err) {
    char *folder = vn_path_join(j->run.aside, part);
    const vn_status status = folder ? vn_make_dirs(folder, err) : vn_no_memory(err);
    vn_free(folder);
    return status;
}

vn_status vn_job_create(vn_train_job *j, vn_err *err) {
    vn_status status = vn_run_dir_make(&j->run, err);
    if (status) return status;
    const bool frozen = vn_train_words_frozen(&j->words);
    json_t *vane = describe_all(j), *scheduler = NULL;
    if (!j->reconstructs && !j->sequence)
        scheduler = vn_path_scheduler(j->path, &j->prediction,
                                      vn_net_output(vn_net_get_io(j->net), "variance"));
    if (!vane || (!scheduler && !j->reconstructs && !j->sequence)) status = vn_no_memory(err);
    if (!status) {
        vn_model_other others[3];
        int count = 0;
        if (j->texts && !j->sequence)
            others[count++] =
                (vn_model_other){VN_TRAIN_ENCODER, frozen ? j->words.pretrained.dir.config
                                                          : vn_net_config(j->words.encoder)};
        if (j->sequence)
            others[count++] = (vn_model_other){VN_CODES_PART, vn_net_config(j->codes.net)};
        if (j->latents.autoencoder)
            others[count++] = (vn_model_other){vn_train_latents_folder(&j->latents),
                                               vn_train_latents_config(&j->latents)};
        if (j->features.weights)
            others[count++] = (vn_model_other){VN_LOSS_FEATURES, vn_net_config(j->features.net)};
        const vn_model_parts parts = {.pipeline = j->classifies            ? "VaneClassifier"
                                                  : j->reconstructs        ? "VaneAutoencoder"
                                                  : j->sequence            ? "VaneSequencePipeline"
                                                  : j->texts               ? "VaneTextPipeline"
                                                  : j->latents.autoencoder ? "VaneLatentPipeline"
                                                                           : "DDPMPipeline",
                                      .others = count,
                                      .other = others,
                                      .folder = vn_net_get_row(j->net)->folder,
                                      .config = vn_net_config(j->net),
                                      .scheduler = scheduler,
                                      .vane = vane};
        status = vn_store_save_model(j->run.aside, &parts, err);
        if (!status) status = vn_train_words_save(&j->words, j->run.aside, err);
    }
    if (!status && j->sequence) status = vn_train_codes_save(&j->codes, j->run.aside, err);
    if (!status && frozen) status = vn_train_encoder_copy(&j->words.pretrained, j->run.aside, err);
    if (!status && j->latents.autoencoder)
        status = vn_train_latents_copy(&j->latents, j->run.aside, err);
    if (!status) status = vn_job_copy_features(j, err);
    if (!status && j->uncertainty) status = make_folder(j, VN_LOSS_UNCERTAINTY, err);
    if (!status && j->discriminator) status = make_folder(j, VN_LOSS_DISCRIMINATOR, err);
    const vn_train_networks all = vn_job_networks(j);
    if (!status)
        status = vn_train_create(j->run.aside, all.count, all.part, j->o.ema_snapshots != 0,
                                 j->o.seed, err);
    if (!status) status = save_list(j, err);
    if (!status) status = vn_job_save_pairs(j, err);
    json_decref(vane);
    json_decref(scheduler);
    if (status) return vn_run_dir_fail(&j->run, err);
    status = vn_run_dir_name(&j->run, err);
    return !status ? keep_list(j, err) : status;
}

/* ---- read when it goes on -------------------------------------------------------------------- */

/* The classes of a run that goes on. */
static vn_status read_names(vn_train_job *j, vn_err *err) {
    const json_t *list = json_object_get(j->dir.vane, "classes");
    j->known = vn_calloc(json_array_size(list) + 1, sizeof(*j->known));
    if (!j->known) return vn_no_memory(err);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!(j->known[j->known_count++] = json_string_value(json_array_get(list, i))))
            return vn_fail(err, VN_BAD_FILE, "%s/vane.json: class %zu has no name", j->out, i);
    return VN_OK;
}

/* What the data's samples are, where they are pictures. */
static void read_shape(vn_train_job *j) {
    const json_t *shape = vn_run_data_shape(j->dir.vane);
    for (size_t i = 0; json_array_size(shape) == 3 && i < 3; i++)
        j->sample.dim[i] = json_integer_value(json_array_get(shape, i));
    j->sample.rank = j->sample.dim[0] > 0 ? 3 : 0;
}

/* The run's list of files: runs of older versions, and of other data than folders, have none. */
static vn_status find_list(vn_train_job *j, vn_err *err) {
    j->list = vn_path_join(j->out, VN_RUN_FILES);
    if (!j->list) return vn_no_memory(err);
    if (vn_is_file(j->list)) return VN_OK;
    vn_free(j->list);
    j->list = NULL;
    return VN_OK;
}

/* What the size was chosen to be stays so, whatever would be chosen now. */
static void keep_size(vn_train_job *j) {
    const json_t *shape = vn_run_data_shape(j->dir.vane);
    if (j->o.size != 0 || json_array_size(shape) != 3 || !vn_job_is_folder(j)) return;
    const int64_t height = json_integer_value(json_array_get(shape, 1)),
                  width = json_integer_value(json_array_get(shape, 2));
    j->o.size = height == width ? height : -1;
}

/* A run goes on with the numbers that it began with. */
static vn_status check_precision(const vn_train_job *j, vn_err *err) {
    const vn_device_row *row = j->vn->device.row;
    const char *now = row->exact ? row->precision : "float32",
               *began = json_string_value(json_object_get(j->dir.vane, "precision"));
    if (!began) began = "float32";
    if (strcmp(began, now) == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "`precision`: the run began with %s and would go on with %s; resume it with "
                   "`precision=%s`",
                   began, now, began);
}

vn_status vn_job_read(vn_train_job *j, const vn_train_options *requested, vn_err *err) {
    const json_t *vane = j->dir.vane, *stored = json_object_get(vane, "train");
    if (!json_is_object(stored) || !vn_store_has_checkpoint(j->out))
        return vn_fail(err, VN_BAD_FILE, "%s: not a run of vane that could go on", j->out);
    vn_status status = check_precision(j, err);
    if (!status) status = vn_train_options_resume(stored, requested, &j->o, err);
    if (status) return vn_fail_in(err, "%s", j->out);
    j->o.model = NULL; /* the run's config.json says it */
    j->classifies = vn_train_is_classifier(json_string_value(json_object_get(vane, "model")));
    j->reconstructs = vn_train_is_autoencoder(json_string_value(json_object_get(vane, "model")));
    j->sequence = json_is_object(json_object_get(vane, "sequence"));
    j->texts = json_is_object(json_object_get(vane, "text"));
    keep_size(j);
    read_shape(j);
    status = vn_sampling_defaults_from_json(json_object_get(vane, "sampling"), &j->sampling, err);
    if (status) return vn_fail_in(err, "%s/vane.json", j->out);
    status = read_names(j, err);
    return !status ? find_list(j, err) : status;
}

/* Whether the captions are those that the run began with; older runs have no list of them. */
static vn_status check_captions(const vn_train_job *j, vn_err *err) {
    char *path = vn_path_join(j->out, VN_RUN_CAPTIONS);
    vn_status status = path ? VN_OK : vn_no_memory(err);
    if (!status && vn_is_file(path)) status = vn_data_check_captions(j->data, path, j->source, err);
    vn_free(path);
    return status;
}

vn_status vn_job_check_data(const vn_train_job *j, vn_err *err) {
    const vn_status status = check_captions(j, err);
    if (status) return status;
    const json_t *data = json_object_get(j->dir.vane, "data");
    const json_int_t was = json_integer_value(json_object_get(data, "fingerprint")),
                     is = (json_int_t)vn_data_get_info(j->data)->fingerprint;
    if (j->list || was == is) return VN_OK; /* with a list each file was looked at */
    return vn_fail(err, VN_BAD_ARGUMENT, "%s is not the data that %s was trained on", j->source,
                   j->out);
}
