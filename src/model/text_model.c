/* text_model.c - a denoiser that is conditioned on texts, with its text encoder and tokenizer: a
 * run of vane's that was trained on captions. Its vane.json has
 *
 *     "text": {"tokenizer": "own", "length": 48, "examples": ["a red circle", ...]}
 *
 * the tokenizer "bytes" or, as any other word, the files in tokenizer/; the tokens of each text;
 * and captions of its data, which it is sampled with where none are given. The encoder is in
 * text_encoder/. All else is as of any network (network.c), with an autoencoder where the run was
 * trained on latents (latents.c). The empty text is the null condition,
 * as it was in training. */
#include "model/internal.h"

#include <string.h>

#define ENCODER "text_encoder"

static const json_t *text_of(const json_t *vane) {
    const json_t *text = json_object_get(vane, "text");
    return json_is_object(text) ? text : NULL;
}

static bool detect(const char *path) {
    vn_model_dir dir = {0};
    if (!vn_network_model.detect(path)) return false;
    const bool is = vn_model_dir_open(path, &dir, NULL) == VN_OK && text_of(dir.vane);
    vn_model_dir_close(&dir);
    return is;
}

/* ---- the text encoder ------------------------------------------------------------------------ */

static vn_status check_encoder(const vn_model *m, vn_err *err) {
    const vn_port *takes = vn_net_input(vn_net_get_io(vn_model_net(m)), "encoder_hidden_states"),
                  *gives = vn_net_output(vn_net_get_io(m->part[1].net), "last_hidden_state");
    if (!takes)
        return vn_fail(err, VN_BAD_FILE, "%s: vane.json has texts, and its network takes none",
                       m->source);
    if (gives && gives->shape.dim[2] == takes->shape.dim[2]) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: the network takes texts of %lld numbers a token, and the text encoder "
                   "gives %lld",
                   m->source, (long long)takes->shape.dim[2],
                   (long long)(gives ? gives->shape.dim[2] : 0));
}

static vn_status open_encoder(vn_model *m, vn_err *err) {
    vn_model_dir dir = {0};
    vn_model_part *part = &m->part[m->parts];
    char *folder = vn_path_join(m->source, ENCODER);
    vn_status status = folder ? vn_model_dir_open(folder, &dir, err) : vn_no_memory(err);
    if (!status && !(part->name = vn_strdup(ENCODER))) status = vn_no_memory(err);
    m->parts += part->name != NULL;
    if (!status && (status = vn_net_open(dir.config, &part->net, err)))
        vn_fail_in(err, "%s/config.json", folder);
    if (!status)
        status = vn_model_dir_values(&dir, folder, &m->engine, part->net, &part->values, err);
    if (!status) status = check_encoder(m, err);
    vn_model_dir_close(&dir);
    vn_free(folder);
    return status;
}

/* Opened on first use, by each of the models that share the parts. */
static vn_status open_prompter(vn_model *m, vn_err *err) {
    if (m->prompter) return VN_OK;
    const json_t *text = text_of(m->vane);
    const char *name = json_string_value(json_object_get(text, "tokenizer"));
    const bool bytes = name && !strcmp(name, "bytes");
    char *folder = bytes ? NULL : vn_path_join(m->source, "tokenizer");
    if (!bytes && !folder) return vn_no_memory(err);
    const vn_status status =
        vn_prompter_open(&m->engine, bytes ? name : folder, m->part[1].net, m->part[1].values,
                         json_integer_value(json_object_get(text, "length")), &m->prompter, err);
    vn_free(folder);
    return status ? vn_fail_in(err, "%s", m->source) : VN_OK;
}

static vn_status prompt(vn_model *m, const char *text, vn_condition *out, vn_err *err) {
    const vn_status status = open_prompter(m, err);
    return status ? status : vn_prompter_keep(m->prompter, m, text, out, err);
}

/* ---- the model ------------------------------------------------------------------------------- */

static vn_status open(vn_model *m, const vn_model_source *source, vn_err *err) {
    vn_condition null;
    vn_model_part autoencoder = {0};
    vn_status status = vn_latents_open_run(m, source, &autoencoder, err);
    if (!status) status = open_encoder(m, err);
    if (!status) vn_latents_add_autoencoder(m, &autoencoder);
    vn_model_close_part(&autoencoder);
    return status ? status : prompt(m, "", &null, err);
}

const vn_model_row vn_text_model = {
    .row = {"text", "a run that was trained on captions: a denoiser and its text encoder", "",
            NULL},
    .detect = detect,
    .open = open,
    .denoiser = vn_network_denoiser,
    .close_denoiser = vn_network_close_denoiser,
    .batch = vn_network_batch,
    .set_batch = vn_network_set_batch,
    .set_guidance = vn_network_set_guidance,
    VN_LATENTS_CODING,
    .fingerprint = vn_network_fingerprint,
    .prompt = prompt,
    .close = vn_network_close,
    .needs_path = true,
};

/* ---- for weights that are still trained ------------------------------------------------------ */

vn_status vn_model_of_ports(vn_context *vn, const vn_engine *engine, vn_net *denoiser,
                            vn_model **out, vn_err *err) {
    const vn_status status = vn_model_new(vn, engine, &vn_text_model, "the run", out, err);
    if (status) return status;
    vn_model *m = *out;
    m->part[0].net = denoiser;
    m->parts = 1;
    return VN_OK;
}

json_t *vn_model_text_json(const char *tokenizer, int64_t length, int examples,
                           const char *const *example) {
    json_t *list = json_array(), *all = NULL;
    bool ok = list != NULL;
    for (int i = 0; i < examples && ok; i++)
        ok = json_array_append_new(list, json_string(example[i])) == 0;
    if (ok)
        all = json_pack("{s:s, s:I, s:O}", "tokenizer", tokenizer, "length", (json_int_t)length,
                        "examples", list);
    json_decref(list);
    return all;
}

int vn_model_examples(const vn_model *m) {
    return m->row->prompt ? (int)json_array_size(json_object_get(text_of(m->vane), "examples")) : 0;
}

const char *vn_model_example(const vn_model *m, int i) {
    const json_t *list = json_object_get(text_of(m->vane), "examples");
    const char *text = json_string_value(json_array_get(list, (size_t)i));
    return text ? text : "";
}
