/* train_tokens.c - see the header. */
#include "api/train_tokens.h"

#include <string.h>

/* The folder of the codes in a run or a pipeline; the path itself where it is none. New string. */
static char *folder_of(const char *path) {
    char *index = vn_path_join(path, "model_index.json");
    char *inside = index && vn_is_file(index) ? vn_path_join(path, VN_CODES_PART) : NULL;
    const bool run = inside && vn_is_dir(inside);
    vn_free(index);
    if (run) return inside;
    vn_free(inside);
    return vn_strdup(path);
}

static vn_status check_codes(const vn_train_codes *c, const char *path, vn_err *err) {
    const vn_net_row *row = vn_net_get_row(c->net);
    if (row->role != VN_ROLE_AUTOENCODER)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s is no autoencoder", path, row->row.name);
    if (vn_net_get_io(c->net)->latents.codes > 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "%s: %s has no codes, of which a sequence is made; autoencoders of the kinds vq "
                   "and fsq have",
                   path, row->row.name);
}

vn_status vn_train_codes_open(vn_train_codes *c, const vn_engine *engine, const char *path,
                              vn_err *err) {
    char *folder = folder_of(path);
    vn_status status = folder ? vn_model_dir_open(folder, &c->dir, err) : vn_no_memory(err);
    if (!status && (status = vn_net_open(c->dir.config, &c->net, err)))
        vn_fail_in(err, "%s/config.json", folder);
    if (!status) status = check_codes(c, folder, err);
    if (!status) status = vn_model_dir_values(&c->dir, folder, engine, c->net, &c->values, err);
    if (!status) status = vn_net_open_half(c->net, VN_HALF_ENCODER, &c->encoder, err);
    if (!status) c->codes = vn_net_get_io(c->net)->latents.codes;
    vn_free(folder);
    return status;
}

static vn_status fill_codebook(vn_train_codes *c, const vn_engine *engine, vn_data *data,
                               int64_t patch, uint64_t seed, vn_err *err) {
    const vn_weights *w = vn_net_weights(c->net);
    float *table = vn_alloc(vn_weights_at(w, 0)->count, sizeof *table);
    vn_status status =
        table ? vn_values_open(w, engine->device, NULL, &c->values, err) : vn_no_memory(err);
    if (!status)
        status = vn_train_codebook(engine->device, data, patch, c->codes, seed, table, err);
    if (!status) vn_values_write(c->values, 0, table);
    vn_free(table);
    return status;
}

static int64_t preset(const vn_choice *model, const char *name) {
    const vn_param *p = model->row->params;
    size_t i = 0;
    while (strcmp(p[i].name, name) != 0) i++;
    return (int64_t)model->value[i];
}

vn_status vn_train_codes_make(vn_train_codes *c, const vn_engine *engine, vn_data *data,
                              const vn_choice *model, uint64_t seed, vn_err *err) {
    enum { LEVELS = 16, PATCHES = 1024 };
    const vn_shape *sample = &vn_data_get_info(data)->sample;
    const int64_t patch = preset(model, "patch"), codes = preset(model, "codes");
    if (!vn_shape_is_image(sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "gpt is for images; for points use mlp");
    if (sample->dim[1] % patch || sample->dim[2] % patch)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "gpt: images of %lldx%lld are not divisible by patch=%lld",
                       (long long)sample->dim[2], (long long)sample->dim[1], (long long)patch);
    c->codes = codes ? codes : patch == 1 && sample->dim[0] == 1 ? LEVELS : PATCHES;
    json_t *config =
        vn_patch_codes_config(sample->dim[0], sample->dim[1], sample->dim[2], patch, c->codes, err);
    vn_status status = config ? vn_net_open(config, &c->net, err) : err->status;
    json_decref(config);
    if (!status) status = vn_net_open_half(c->net, VN_HALF_ENCODER, &c->encoder, err);
    return !status ? fill_codebook(c, engine, data, patch, seed, err) : status;
}

vn_status vn_train_codes_fit(vn_train_codes *c, const vn_data_info *data, const char *source,
                             vn_err *err) {
    const vn_net_io *io = vn_net_get_io(c->net);
    const vn_shape *s = &data->sample;
    const char *name = vn_net_get_row(c->net)->row.name;
    if (!vn_shape_is_image(s))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: gpt is for images, and these are points", source);
    if (vn_net_sample(io).dim[0] != s->dim[0])
        return vn_fail(err, VN_BAD_ARGUMENT, "%s takes %lld channels; %s has %lld", name,
                       (long long)vn_net_sample(io).dim[0], source, (long long)s->dim[0]);
    if (s->dim[1] % io->latents.factor || s->dim[2] % io->latents.factor)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s makes codes of %lldx%lld pixels, which do not divide the %lldx%lld of "
                       "%s",
                       name, (long long)io->latents.factor, (long long)io->latents.factor,
                       (long long)s->dim[2], (long long)s->dim[1], source);
    c->rows = s->dim[1] / io->latents.factor;
    c->columns = s->dim[2] / io->latents.factor;
    return VN_OK;
}

int64_t vn_train_codes_tokens(const vn_train_codes *c) {
    return c->rows * c->columns;
}

/* The codebook, the only weight. */
static vn_status save_codebook(const vn_train_codes *c, const char *run, vn_err *err) {
    const vn_weight *w = vn_weights_at(vn_net_weights(c->net), 0);
    char *path = vn_store_weights_path(run, VN_CODES_PART, vn_net_config(c->net));
    float *table = vn_alloc(w->count, sizeof *table);
    vn_status status = path && table ? vn_values_read(c->values, 0, table, err) : vn_no_memory(err);
    const vn_array array = {.name = w->name, .dtype = VN_F32, .shape = w->file, .data = table};
    if (!status) status = vn_safetensors_write(path, &array, 1, NULL, err);
    vn_free(path);
    vn_free(table);
    return status;
}

vn_status vn_train_codes_save(const vn_train_codes *c, const char *run, vn_err *err) {
    if (!c->dir.weights) return save_codebook(c, run, err);
    char *folder = vn_path_join(run, VN_CODES_PART);
    const vn_status status =
        folder ? vn_store_copy_weights(c->dir.weights, folder, err) : vn_no_memory(err);
    vn_free(folder);
    return status;
}

void vn_train_codes_close(vn_train_codes *c) {
    vn_values_close(&c->values);
    vn_net_close(&c->encoder);
    vn_net_close(&c->net);
    vn_model_dir_close(&c->dir);
    *c = (vn_train_codes){0};
}
