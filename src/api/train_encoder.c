/* train_encoder.c - see the header. A run holds its encoder and tokenizer, so that it can be
 * sampled and go on without the folder that they came from; and in state/texts what the encoder
 * makes of every caption. */
#include "api/train_encoder.h"

#include "api/train_words.h"

#include <string.h>

/* The most that state/texts takes, and of the disk's free space. */
#define MOST_BYTES ((uint64_t)8 << 30)
#define MOST_SHARE 2
#define TEXTS      "state/texts"

/* ---- where they are -------------------------------------------------------------------------- */

static bool holds(const char *folder, const char *name) {
    char *path = vn_path_join(folder, name);
    const bool is = path && vn_is_file(path);
    vn_free(path);
    return is;
}

static bool holds_tokenizer(const char *folder) {
    return holds(folder, "tokenizer.json") || holds(folder, "vocab.json") ||
           holds(folder, "spiece.model");
}

/* Of a pipeline's text_encoder_2 the folder tokenizer_2 beside it; NULL: it is not called so. */
static char *beside(const char *folder) {
    const char *slash = strrchr(folder, '/'), *name = slash ? slash + 1 : folder;
    const size_t length = sizeof VN_TRAIN_ENCODER - 1;
    if (strncmp(name, VN_TRAIN_ENCODER, length) != 0) return NULL;
    return vn_format("%.*s%s%s", (int)(name - folder), folder, VN_TRAIN_TOKENIZER, name + length);
}

static vn_status find_folders(vn_train_encoder *e, const char *source, vn_err *err) {
    size_t length = strlen(source);
    while (length > 1 && source[length - 1] == '/') length--;
    char *whole = vn_format("%.*s", (int)length, source);
    char *inner = whole ? vn_path_join(whole, VN_TRAIN_ENCODER) : NULL;
    vn_status status = inner ? VN_OK : vn_no_memory(err);
    if (!status && holds(whole, "config.json")) {
        e->folder = vn_strdup(whole);
        e->tokenizer = holds_tokenizer(whole) ? vn_strdup(whole) : beside(whole);
    } else if (!status && holds(inner, "config.json")) {
        e->folder = vn_strdup(inner);
        e->tokenizer = vn_path_join(whole, VN_TRAIN_TOKENIZER);
    } else if (!status) {
        status = vn_is_dir(source) ? vn_fail(err, VN_BAD_FILE,
                                             "%s: holds neither config.json nor " VN_TRAIN_ENCODER
                                             "/config.json, so it is no text encoder",
                                             source)
                                   : vn_fail(err, VN_IO, "%s: is no folder", source);
    }
    vn_free(whole);
    vn_free(inner);
    return status || e->folder ? status : vn_no_memory(err);
}

/* vane's own encoder is of bytes, and needs no files. */
static vn_status settle_tokenizer(vn_train_encoder *e, vn_err *err) {
    const char *own = vn_net_get_row(e->part.net)->tokenizer;
    if (e->tokenizer && holds_tokenizer(e->tokenizer)) return VN_OK;
    if (own) {
        vn_free(e->tokenizer);
        e->tokenizer = vn_strdup(own);
        return e->tokenizer ? VN_OK : vn_no_memory(err);
    }
    return vn_fail(err, VN_BAD_FILE,
                   "%s: has no tokenizer (tokenizer.json, or vocab.json and merges.txt)%s%s",
                   e->folder, e->tokenizer ? ", nor has " : "", e->tokenizer ? e->tokenizer : "");
}

/* ---- opening --------------------------------------------------------------------------------- */

static vn_status open_net(vn_train_encoder *e, vn_err *err) {
    vn_status status = vn_model_dir_open(e->folder, &e->dir, err);
    if (status) return status;
    status = vn_net_open(e->dir.config, &e->part.net, err);
    if (status) return vn_fail_in(err, "%s", e->folder);
    const vn_net_io *io = vn_net_get_io(e->part.net);
    e->states = vn_net_output(io, "last_hidden_state");
    if (e->states && vn_net_input(io, "input_ids")) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s is no text encoder", e->folder,
                   vn_net_get_row(e->part.net)->row.name);
}

vn_status vn_train_encoder_open(vn_train_encoder *e, const vn_engine *engine, const char *source,
                                vn_err *err) {
    vn_status status = find_folders(e, source, err);
    if (!status) status = open_net(e, err);
    if (!status) status = settle_tokenizer(e, err);
    if (!status)
        status = vn_model_dir_values(&e->dir, e->folder, engine, e->part.net, &e->part.values, err);
    if (status) return status;
    const vn_net_io *io = vn_net_get_io(e->part.net);
    const vn_port *embeds = vn_net_output(io, "text_embeds"),
                  *whole = embeds ? embeds : vn_net_output(io, "pooler_output");
    e->read.width = e->states->shape.dim[2];
    e->read.pooled = whole ? whole->shape.dim[1] : e->read.width;
    e->read.bytes = vn_weights_bytes(vn_net_weights(e->part.net));
    return VN_OK;
}

vn_status vn_train_encoder_set_length(vn_train_encoder *e, const vn_engine *engine, int64_t length,
                                      vn_err *err) {
    const vn_status status = vn_prompter_open(engine, e->tokenizer, e->part.net, e->part.values,
                                              length, &e->prompter, err);
    return status ? vn_fail_in(err, "%s", e->folder) : VN_OK;
}

void vn_train_encoder_close(vn_train_encoder *e) {
    vn_text_cache_close(&e->cache);
    vn_prompter_close(&e->prompter);
    vn_values_close(&e->part.values);
    vn_net_close(&e->part.net);
    vn_model_dir_close(&e->dir);
    vn_free(e->folder);
    vn_free(e->tokenizer);
    *e = (vn_train_encoder){0};
}

/* ---- copies ---------------------------------------------------------------------------------- */

static vn_status copy_tokenizer(const vn_train_encoder *e, const char *folder, vn_err *err) {
    const char *name;
    vn_status status = vn_make_dirs(folder, err);
    for (size_t i = 0; (name = vn_text_file(i)) && !status; i++) {
        char *from = vn_path_join(e->tokenizer, name), *to = vn_path_join(folder, name);
        if (!from || !to)
            status = vn_no_memory(err);
        else if (vn_is_file(from))
            status = vn_copy_file(from, to, err);
        vn_free(from);
        vn_free(to);
    }
    return status;
}

vn_status vn_train_encoder_copy(const vn_train_encoder *e, const char *run, vn_err *err) {
    char *encoder = vn_path_join(run, VN_TRAIN_ENCODER),
         *tokenizer = vn_path_join(run, VN_TRAIN_TOKENIZER);
    vn_status status = encoder && tokenizer ? VN_OK : vn_no_memory(err);
    if (!status) status = vn_store_copy_weights(e->dir.weights, encoder, err);
    if (!status && strcmp(e->tokenizer, VN_TRAIN_BYTES) != 0)
        status = copy_tokenizer(e, tokenizer, err);
    vn_free(encoder);
    vn_free(tokenizer);
    return status;
}

/* ---- every caption once ---------------------------------------------------------------------- */

static const char *caption_of(const void *data, int32_t i) {
    return vn_data_caption(data, i);
}

static vn_status read_states(void *self, int32_t caption, float *states, int32_t *mask,
                             float *pooled, vn_err *err) {
    return vn_text_cache_read(self, caption, states, mask, pooled, err);
}

vn_status vn_train_encoder_encode(vn_train_encoder *e, const char *run, const vn_data *data,
                                  const vn_net *net, const vn_watch *watch, vn_err *err) {
    char *path = vn_path_join(run, TEXTS);
    if (!path) return vn_no_memory(err);
    const uint64_t share = vn_free_space(path) / MOST_SHARE;
    const vn_text_cache_setup setup = {
        .prompter = e->prompter,
        .encoder = &e->part,
        .path = path,
        .count = vn_data_captions(data)->distinct,
        .text = caption_of,
        .from = data,
        .masked = vn_net_input(vn_net_get_io(net), "encoder_attention_mask"),
        .most = share < MOST_BYTES ? share : MOST_BYTES,
        .watch = watch};
    const vn_status status = vn_text_cache_open(&setup, &e->cache, err);
    vn_free(path);
    e->read.read = read_states;
    e->read.self = e->cache;
    return status;
}
