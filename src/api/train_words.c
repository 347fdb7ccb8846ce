/* train_words.c - see the header. */
#include "api/train_words.h"

#include <string.h>

/* Of a run's vane.json: one that needs no file, or the one that is in its folder. */
static const char bytes[] = VN_TRAIN_BYTES, own[] = "own";

#define FILE_NAME "tokenizer.json"

/* Sizes where no preset says them: of an encoder of a network that the user's config describes. */
enum { DEPTH = 2, TOKENS = 1024, LONGEST = 64, STRIDE = 8, SHORTEST = 4 };
/* The longest of a pretrained encoder that takes any. */
#define LONGEST_FROZEN 128

/* Captions of different numbers, the first and then evenly, to be shown. */
static void take_examples(vn_train_words *w, const vn_data *data) {
    const int32_t distinct = vn_data_captions(data)->distinct;
    w->examples = distinct < VN_TRAIN_EXAMPLES ? (int)distinct : VN_TRAIN_EXAMPLES;
    for (int i = 0; i < w->examples; i++)
        w->example[i] = vn_data_caption(data, (int32_t)((int64_t)i * distinct / w->examples));
}

/* ---- how long texts are ---------------------------------------------------------------------- */

/* Tokens of the longest caption, and how many captions have more than `length`. */
static vn_status measure(const vn_train_words *w, const vn_data *data, int64_t length,
                         int64_t *longest, int64_t *cut, vn_err *err) {
    const int32_t distinct = vn_data_captions(data)->distinct;
    vn_ids ids = {0};
    vn_status status = VN_OK;
    *longest = *cut = 0;
    for (int32_t i = 0; i < distinct && !status; i++) {
        int64_t whole = 0;
        ids.count = 0;
        status = vn_text_encode(w->tokenizer, vn_data_caption(data, i), 0, &ids, &whole, err);
        if (whole > *longest) *longest = whole;
        *cut += whole > length;
    }
    vn_ids_free(&ids);
    return status;
}

bool vn_train_words_frozen(const vn_train_words *w) {
    return w->pretrained.part.net != NULL;
}

static int64_t longest_of(const vn_train_words *w) {
    if (!vn_train_words_frozen(w)) return LONGEST;
    const int64_t most = vn_net_get_io(w->pretrained.part.net)->max_tokens;
    return most ? most : LONGEST_FROZEN;
}

/* As many tokens as the longest caption needs, up to what is usual. */
static vn_status choose_length(vn_train_words *w, const vn_data *data, int64_t requested,
                               vn_err *err) {
    int64_t longest, cut;
    w->length = requested;
    if (requested) return VN_OK;
    const vn_status status = measure(w, data, 0, &longest, &cut, err);
    w->length = (longest + STRIDE - 1) / STRIDE * STRIDE;
    if (w->length > longest_of(w)) w->length = longest_of(w);
    return status;
}

static vn_status tell(const vn_train_words *w, const vn_data *data, const vn_watch *watch,
                      vn_err *err) {
    const vn_caption_info *info = vn_data_captions(data);
    int64_t longest, cut;
    char without[64] = "", over[64] = "";
    const vn_status status = measure(w, data, w->length, &longest, &cut, err);
    if (status) return status;
    if (info->without)
        snprintf(without, sizeof without, "; %lld sample%s without", (long long)info->without,
                 VN_S(info->without));
    if (cut) snprintf(over, sizeof over, ", %lld of them cut", (long long)cut);
    vn_log(
        watch, VN_LOG_INFO,
        "%lld caption%s (%s), %d distinct, of %d different tokens, the longest of %lld; texts of "
        "%lld tokens%s%s",
        (long long)info->captions, VN_S(info->captions), info->from, (int)info->distinct,
        (int)vn_text_size(w->tokenizer), (long long)longest, (long long)w->length, over, without);
    return VN_OK;
}

/* ---- a new run ------------------------------------------------------------------------------- */

/* A preset's number; `otherwise` where the model is none that has it. */
static int64_t preset(const vn_choice *model, const char *name, int64_t otherwise) {
    const vn_param *p = model && model->row ? model->row->params : NULL;
    for (size_t i = 0; p && p[i].name; i++)
        if (!strcmp(p[i].name, name)) return (int64_t)model->value[i];
    return otherwise;
}

static const char *caption_of(const void *data, int32_t i) {
    return vn_data_caption(data, i);
}

/* One of the captions' own words, or of bytes. */
static vn_status make_tokenizer(vn_train_words *w, int64_t tokens, const char *run,
                                const vn_data *data, vn_err *err) {
    const vn_texts captions = {data, caption_of, vn_data_captions(data)->distinct};
    w->kind = tokens ? own : bytes;
    w->source = tokens ? vn_path_join(run, VN_TRAIN_TOKENIZER) : vn_strdup(bytes);
    if (!w->source) return vn_no_memory(err);
    if (!tokens) return vn_text_open(bytes, &w->tokenizer, err);
    if (tokens < VN_TEXT_LEARN_LEAST)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "text_tokens=%lld: 0, or at least %d, as each byte has a token",
                       (long long)tokens, VN_TEXT_LEARN_LEAST);
    w->learned = vn_text_learn(&captions, (int32_t)tokens, err);
    return w->learned ? vn_text_open_json(w->learned, &w->tokenizer, err) : err->status;
}

vn_status vn_train_words_make_encoder(vn_train_words *w, const vn_net *net, const vn_choice *model,
                                      double dropout, vn_err *err) {
    const vn_port *words = vn_net_input(vn_net_get_io(net), "encoder_hidden_states");
    bool left;
    const vn_text_encoder_size size = {.tokens = vn_text_size(w->tokenizer),
                                       .pad = vn_text_pad(w->tokenizer, &left),
                                       .length = w->length,
                                       .width = words->shape.dim[2],
                                       .depth = preset(model, "text_depth", DEPTH),
                                       .dropout = dropout < 0 ? 0 : dropout};
    json_t *config = vn_text_encoder_config(&size, err);
    if (!config) return err->status;
    const vn_status status = vn_net_open(config, &w->encoder, err);
    json_decref(config);
    return status;
}

/* That of a pretrained encoder. */
static vn_status take_tokenizer(vn_train_words *w, vn_err *err) {
    const char *source = w->pretrained.tokenizer;
    w->kind = strcmp(source, bytes) != 0 ? own : bytes;
    w->source = vn_strdup(source);
    return w->source ? vn_text_open(source, &w->tokenizer, err) : vn_no_memory(err);
}

vn_status vn_train_words_make(vn_train_words *w, const vn_choice *model, const char *run,
                              const vn_data *data, const vn_engine *engine, vn_err *err) {
    const bool frozen = vn_train_words_frozen(w);
    vn_status status =
        frozen ? take_tokenizer(w, err)
               : make_tokenizer(w, preset(model, "text_tokens", TOKENS), run, data, err);
    if (!status) status = choose_length(w, data, preset(model, "text_length", 0), err);
    if (!status && w->length < SHORTEST) w->length = SHORTEST;
    if (!status && frozen)
        status = vn_train_encoder_set_length(&w->pretrained, engine, w->length, err);
    if (status) return status;
    take_examples(w, data);
    return tell(w, data, engine->watch, err);
}

json_t *vn_train_words_json(const vn_train_words *w) {
    json_t *text = vn_model_text_json(w->kind, w->length, w->examples, w->example);
    if (!text || !vn_train_words_frozen(w) || json_object_set_new(text, "frozen", json_true()) == 0)
        return text;
    json_decref(text);
    return NULL;
}

vn_status vn_train_words_save(const vn_train_words *w, const char *run, vn_err *err) {
    if (!w->learned) return VN_OK;
    char *folder = vn_path_join(run, VN_TRAIN_TOKENIZER);
    char *path = folder ? vn_path_join(folder, FILE_NAME) : NULL;
    vn_status status = path ? vn_make_dirs(folder, err) : vn_no_memory(err);
    if (!status) status = vn_json_write(path, w->learned, err);
    vn_free(path);
    vn_free(folder);
    return status;
}

/* ---- a run that goes on ---------------------------------------------------------------------- */

static vn_status read_tokenizer(vn_train_words *w, const char *run, const json_t *text,
                                vn_err *err) {
    const char *name = json_string_value(json_object_get(text, "tokenizer"));
    if (!name) return vn_fail(err, VN_BAD_FILE, "%s/vane.json: no tokenizer", run);
    w->kind = !strcmp(name, bytes) ? bytes : own;
    w->source = w->kind == own ? vn_path_join(run, VN_TRAIN_TOKENIZER) : vn_strdup(bytes);
    return w->source ? vn_text_open(w->source, &w->tokenizer, err) : vn_no_memory(err);
}

/* The encoder that is trained. */
static vn_status read_encoder(vn_train_words *w, const char *run, const json_t *text, vn_err *err) {
    char *folder = vn_path_join(run, VN_TRAIN_ENCODER);
    vn_model_dir dir = {0};
    vn_status status = folder ? vn_model_dir_open(folder, &dir, err) : vn_no_memory(err);
    if (!status) status = vn_net_open(dir.config, &w->encoder, err);
    if (!status) status = read_tokenizer(w, run, text, err);
    vn_model_dir_close(&dir);
    vn_free(folder);
    return status;
}

static vn_status read_pretrained(vn_train_words *w, const char *run, const vn_engine *engine,
                                 vn_err *err) {
    vn_status status = vn_train_encoder_open(&w->pretrained, engine, run, err);
    if (!status) status = take_tokenizer(w, err);
    return !status ? vn_train_encoder_set_length(&w->pretrained, engine, w->length, err) : status;
}

vn_status vn_train_words_read(vn_train_words *w, const char *run, const json_t *vane,
                              const vn_data *data, const vn_engine *engine, vn_err *err) {
    const json_t *text = json_object_get(vane, "text");
    w->length = json_integer_value(json_object_get(text, "length"));
    if (w->length < SHORTEST || w->length > VN_PROMPT_LONGEST)
        return vn_fail(err, VN_BAD_FILE, "%s/vane.json: texts of %lld tokens", run,
                       (long long)w->length);
    const vn_status status =
        json_is_object(json_object_get(vane, "sequence")) ? read_tokenizer(w, run, text, err)
        : json_is_true(json_object_get(text, "frozen"))   ? read_pretrained(w, run, engine, err)
                                                          : read_encoder(w, run, text, err);
    if (!status) take_examples(w, data);
    return status;
}

void vn_train_words_close(vn_train_words *w) {
    vn_train_encoder_close(&w->pretrained);
    vn_net_close(&w->encoder);
    vn_text_close(&w->tokenizer);
    json_decref(w->learned);
    vn_free(w->source);
    *w = (vn_train_words){0};
}
