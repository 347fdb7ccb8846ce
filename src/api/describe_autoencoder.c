/* describe_autoencoder.c - what a person wants to know of an autoencoder: how much smaller latents
 * are than pictures, how they are scaled, and how well pictures are reconstructed, which was
 * measured when its training ended. */
#include "api/internal.h"
#include "api/train_options.h"

#include <string.h>

bool vn_is_autoencoder(const json_t *config) {
    const char *name = json_string_value(json_object_get(config, "_class_name"));
    const vn_net_row *row;
    for (size_t i = 0; name && (row = vn_net_row_at(i)); i++)
        if (row->role == VN_ROLE_AUTOENCODER && !strcmp(row->class_name, name)) return true;
    return false;
}

static bool put(json_t *to, const char *key, json_t *value) {
    return json_object_set_new(to, key, value) == 0;
}

/* What its config and weights say. */
static json_t *network_of(const vn_autoencoder *a, const vn_model_dir *dir) {
    const vn_net *net = vn_autoencoder_net(a);
    const vn_net_io *io = vn_net_get_io(net);
    const vn_latents *l = &io->latents;
    const vn_net_row *row = vn_net_get_row(net);
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:f, s:f}", "is", "autoencoder", "kind",
        row->row.name, "class", row->class_name, "channels", (json_int_t)vn_net_sample(io).dim[0],
        "factor", (json_int_t)l->factor, "latents", (json_int_t)l->channels, "parameters",
        (json_int_t)vn_weights_parameters(vn_net_weights(net)), "dtype",
        vn_dtypes_json(vn_net_weights(net)), "scaling_factor", l->scale, "shift_factor", l->shift);
    const json_t *size = json_object_get(dir->config, "sample_size");
    const bool ok = out && (!l->codes || put(out, "codes", json_integer((json_int_t)l->codes))) &&
                    (!size || put(out, "sample_size", vn_json_copy(size)));
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* What its run says, if it is one. */
static vn_status add_run(const vn_autoencoder *a, const vn_model_dir *dir, json_t *out,
                         vn_err *err) {
    const vn_net *net = vn_autoencoder_net(a);
    vn_run_facts facts = {.source = dir->path,
                          .kind = vn_net_get_row(net)->row.name,
                          .parameters = vn_weights_parameters(vn_net_weights(net)),
                          .classes = -1};
    json_t *train = json_object_get(dir->vane, "train"), *data = json_object_get(dir->vane, "data"),
           *measured = json_object_get(dir->vane, "measured");
    vn_status status = vn_store_weights_step(dir->weights, &facts.steps, err);
    if (facts.steps < 0) facts.steps = 0;
    if (!status) status = vn_describe_training(&facts, dir->vane, out, err);
    if (status) return status;
    const bool ok =
        (!measured || json_object_set(out, "measured", measured) == 0) &&
        (!json_is_object(train) || put(out, "train", vn_train_options_describe(train))) &&
        (!data || json_object_set(out, "data", data) == 0);
    return ok ? VN_OK : vn_no_memory(err);
}

json_t *vn_describe_autoencoder(vn_context *vn, const vn_model_dir *dir, vn_err *err) {
    const vn_engine engine = vn_context_engine(vn);
    vn_autoencoder *a = NULL;
    json_t *out = NULL;
    vn_status status = vn_autoencoder_open_source(vn, &engine, dir->path, &a, err);
    if (!status && !(out = network_of(a, dir))) status = vn_no_memory(err);
    if (!status) status = add_run(a, dir, out, err);
    vn_autoencoder_free(&a);
    if (!status) return out;
    json_decref(out);
    return NULL;
}
