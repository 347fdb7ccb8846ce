/* read.c - a tokenizer's files: tokenizer.json, or CLIP's vocab.json and merges.txt, which become
 * the tokenizer.json that transformers would make of them; and what tokenizer_config.json and
 * special_tokens_map.json say of special tokens and of the sides at which texts are padded and
 * truncated. */
#include "text/internal.h"

#include <string.h>

#define MAX_MERGES ((size_t)64 << 20)

/* ---- tokenizer.json -------------------------------------------------------------------------- */

/* Files of old versions do not say the type. */
static const char *type_of(const json_t *model) {
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type) return type;
    return json_object_get(model, "merges")                 ? "BPE"
           : json_is_array(json_object_get(model, "vocab")) ? "Unigram"
                                                            : "?";
}

static vn_status read_model(vn_text *t, const json_t *model, vn_err *err) {
    const char *known[8], *type = type_of(model);
    size_t count = 0;
    for (size_t i = 0; i < vn_text_models.count; i++) {
        const vn_text_model *row = (const vn_text_model *)vn_table_row(&vn_text_models, i);
        if (!row->type) continue;
        known[count++] = row->type;
        if (strcmp(row->type, type) != 0) continue;
        vn_status status = vn_text_check_keys(model, type, row->keys, err);
        t->model = row;
        if (!status) status = row->open(model, t, err);
        if (status && status != VN_NO_MEMORY) vn_fail_in(err, "%s", type);
        return status;
    }
    return vn_text_unknown("model", type, known, count, err);
}

static vn_status read_added(vn_text *t, const json_t *list, vn_err *err) {
    vn_status status = VN_OK;
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *token = json_array_get(list, i), *id = json_object_get(token, "id");
        const char *content = json_string_value(json_object_get(token, "content"));
        if (!content || !json_is_integer(id) || json_integer_value(id) < 0)
            return vn_fail(err, VN_BAD_FILE, "added_tokens: entry %zu has no content or no id", i);
        status = vn_added_add(t, token, content, json_integer_value(id), err);
    }
    return status;
}

static vn_status read_padding(vn_text *t, const json_t *json, vn_err *err) {
    const json_t *padding = json_object_get(json, "padding"),
                 *truncation = json_object_get(json, "truncation"),
                 *id = json_object_get(padding, "pad_id");
    const char *side;
    vn_status status = vn_text_get_text(padding, "direction", "Right", &side, err);
    t->pad_left = !status && !strcmp(side, "Left");
    if (!status) status = vn_text_get_text(truncation, "direction", "Right", &side, err);
    t->cut_left = !status && !strcmp(side, "Left");
    if (status || !json_is_integer(id)) return status;
    if (json_integer_value(id) < 0 || json_integer_value(id) >= VN_TEXT_MAX_TOKENS)
        return vn_fail(err, VN_BAD_FILE, "padding: pad_id is outside of [0, %d]",
                       VN_TEXT_MAX_TOKENS - 1);
    t->pad = (int32_t)json_integer_value(id);
    return VN_OK;
}

static vn_status read_tokenizer(vn_text *t, vn_err *err) {
    const json_t *json = t->json;
    if (!json_is_object(json_object_get(json, "model")))
        return vn_fail(err, VN_BAD_FILE, "there is no model in it: not a tokenizer");
    vn_status status = read_model(t, json_object_get(json, "model"), err);
    if (!status)
        status = vn_text_steps_read(&vn_normalizers, json_object_get(json, "normalizer"),
                                    &t->normalize, err);
    if (!status)
        status = vn_text_steps_read(&vn_pre_tokenizers, json_object_get(json, "pre_tokenizer"),
                                    &t->split, err);
    if (!status) status = read_added(t, json_object_get(json, "added_tokens"), err);
    if (!status) status = vn_frame_read(json_object_get(json, "post_processor"), t, err);
    return status ? status : read_padding(t, json, err);
}

/* ---- vocab.json and merges.txt --------------------------------------------------------------- */

/* What transformers' CLIPTokenizer is, but for its tokens. */
static const char clip_parts[] =
    "{\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\"},"
    " \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"},"
    "  {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"},"
    "  {\"type\": \"Lowercase\"}]},"
    " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\","
    "  \"pattern\": {\"Regex\": \"<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|"
    "'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"},"
    "  \"behavior\": \"Removed\", \"invert\": true},"
    "  {\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}}";

/* Lines "a b" as a list; "#version: 0.2" and empty lines are none. */
static vn_status read_merges(const char *path, json_t **out, vn_err *err) {
    char *text = NULL;
    size_t size = 0;
    vn_status status = vn_read_file(path, MAX_MERGES, &text, &size, err);
    if (status) return status;
    if (memchr(text, 0, size)) status = vn_fail(err, VN_BAD_FILE, "%s: holds a byte 0", path);
    bool ok = (*out = json_array()) != NULL;
    for (char *line = text, *end; ok && !status && *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        const size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\r') line[n - 1] = 0;
        if (!*line || !strncmp(line, "#version", 8)) continue;
        if (!vn_is_utf8(line))
            status = vn_fail(err, VN_BAD_FILE, "%s: is not UTF-8", path);
        else
            ok = json_array_append_new(*out, json_string(line)) == 0;
    }
    vn_free(text);
    return status ? status : ok ? VN_OK : vn_no_memory(err);
}

/* What the files say of a special token: special_tokens_map.json stands before the config, unless
 * that is of today's form, with all tokens in added_tokens_decoder. NULL: nothing. */
static const json_t *special_value(const vn_text *t, const char *key) {
    const json_t *own = json_object_get(t->config, key), *map = json_object_get(t->special, key);
    if (map && !json_object_get(t->config, "added_tokens_decoder")) own = map;
    return own && !json_is_null(own) ? own : NULL;
}

/* A token's letters: it is these, or an object that has them. NULL: it is neither. */
static const char *letters_of(const json_t *token) {
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* The same, or what CLIP's tokenizer has. */
static const char *special_name(const vn_text *t, const char *key, const char *initial) {
    const char *letters = letters_of(special_value(t, key));
    return letters ? letters : initial;
}

/* ["<|endoftext|>", 49407] */
static json_t *pair_of(const json_t *vocab, const char *name) {
    return json_pack("[s, O?]", name, json_object_get(vocab, name));
}

static vn_status check_class(const vn_text *t, vn_err *err) {
    const char *known = json_string_value(json_object_get(t->config, "tokenizer_class"));
    if (!known || !strcmp(known, "CLIPTokenizer") || !strcmp(known, "CLIPTokenizerFast"))
        return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED,
                   "vocab.json and merges.txt of a %.40s: only CLIPTokenizer's are known without a "
                   "tokenizer.json",
                   known);
}

/* Fills in what the files say. vocab and merges are taken. */
static vn_status make_clip(vn_text *t, json_t *vocab, json_t *merges, vn_err *err) {
    json_t *model = json_object_get(t->json, "model");
    const char *unknown = special_name(t, "unk_token", "<|endoftext|>");
    json_t *post = json_pack("{s:s, s:o, s:o}", "type", "RobertaProcessing", "sep",
                             pair_of(vocab, special_name(t, "eos_token", "<|endoftext|>")), "cls",
                             pair_of(vocab, special_name(t, "bos_token", "<|startoftext|>")));
    bool ok = json_object_set_new(model, "unk_token", json_string(unknown)) == 0;
    ok = json_object_set_new(t->json, "post_processor", post) == 0 && ok;
    ok = json_object_set_new(model, "vocab", vocab) == 0 && ok;
    ok = json_object_set_new(model, "merges", merges) == 0 && ok;
    return ok ? VN_OK : vn_no_memory(err);
}

static vn_status read_clip(vn_text *t, const char *vocab_path, const char *merges_path,
                           vn_err *err) {
    json_t *vocab = NULL, *merges = NULL;
    vn_status status = check_class(t, err);
    if (!status) status = vn_json_read(vocab_path, &vocab, err);
    if (!status) status = read_merges(merges_path, &merges, err);
    if (!status) status = vn_json_parse(clip_parts, sizeof clip_parts - 1, "CLIP's", &t->json, err);
    if (!status) return make_clip(t, vocab, merges, err);
    json_decref(vocab);
    json_decref(merges);
    return status;
}

/* ---- what the config says -------------------------------------------------------------------- */

/* "added_tokens_decoder": {"0": {...}, ...}, in the order of their ids. */
static vn_status read_decoder(vn_text *t, vn_err *err) {
    const json_t *decoder = json_object_get(t->config, "added_tokens_decoder");
    const size_t count = json_object_size(decoder);
    vn_status status = VN_OK;
    const char *key;
    json_t *token;
    int64_t last = -1;
    for (size_t i = 0; i < count && !status && count <= VN_TEXT_MAX_ADDED; i++) {
        int64_t next = INT64_MAX, id; /* the least above the last */
        const json_t *found = NULL;
        json_object_foreach((json_t *)decoder, key, token) {
            if (!vn_parse_int(key, &id) || id <= last || id >= next) continue;
            next = id;
            found = token;
        }
        const char *content = json_string_value(json_object_get(found, "content"));
        if (!content)
            return vn_fail(err, VN_BAD_FILE,
                           "added_tokens_decoder has an entry without number or content");
        last = next;
        status = vn_added_add(t, found, content, -1, err);
    }
    return status;
}

/* In transformers' order. Without files that say so, CLIP's have CLIP's. */
static const struct {
    const char *key, *of_clip;
} special_tokens[] = {
    {"bos_token", "<|startoftext|>"},
    {"eos_token", "<|endoftext|>"},
    {"unk_token", "<|endoftext|>"},
    {"sep_token", NULL},
    {"pad_token", "<|endoftext|>"},
    {"cls_token", NULL},
    {"mask_token", NULL},
};

/* A special token as a file gives it: letters, or an object that has them and more. */
typedef struct special {
    const char *letters;
    const json_t *object; /* or NULL */
} special;

/* Those that are added beside what the tokenizer had already. */
typedef struct newcomers {
    size_t before; /* how many it had */
    special token[VN_COUNT(special_tokens)];
    size_t count;
} newcomers;

static special special_of(const json_t *value) {
    return (special){letters_of(value), json_is_object(value) ? value : NULL};
}

static bool same_special(const special *a, const special *b) {
    return !strcmp(a->letters, b->letters) && !a->object == !b->object &&
           (!a->object || json_equal(a->object, b->object));
}

/* A token is added once in each form in which it comes, and the last form stands: "<|endoftext|>"
 * by itself, as a pad token, is looked for in texts as they are, whatever eos_token said of it. */
static vn_status add_special(vn_text *t, newcomers *n, special token, vn_err *err) {
    if (!token.letters) return VN_OK;
    for (size_t i = 0; i < n->before; i++)
        if (!strcmp(t->added.token[i].content, token.letters)) return VN_OK;
    for (size_t i = 0; i < n->count; i++)
        if (same_special(&n->token[i], &token)) return VN_OK;
    if (n->count < VN_COUNT(n->token)) n->token[n->count++] = token;
    return vn_added_add(t, token.object, token.letters, -1, err);
}

static vn_status read_special(vn_text *t, bool clip, vn_err *err) {
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    vn_status status = read_decoder(t, err);
    newcomers n = {.before = t->added.count};
    for (size_t i = 0; i < VN_COUNT(special_tokens) && !status; i++) {
        const json_t *value = special_value(t, special_tokens[i].key);
        special token = special_of(value);
        if (!value && clip) token.letters = special_tokens[i].of_clip;
        status = add_special(t, &n, token, err);
    }
    n.before = t->added.count; /* what is in a list only has to be there */
    for (size_t i = 0; i < VN_COUNT(lists); i++) {
        const json_t *list = json_object_get(t->config, lists[i]);
        for (size_t k = 0; k < json_array_size(list) && !status; k++)
            status = add_special(t, &n, special_of(json_array_get(list, k)), err);
    }
    return status;
}

static vn_status read_side(const vn_text *t, const char *key, bool *left, vn_err *err) {
    static const char *const sides[] = {"left", "right"};
    const char *side;
    const vn_status status = vn_text_get_text(t->config, key, *left ? "left" : "right", &side, err);
    if (status) return status;
    *left = !strcmp(side, sides[0]);
    return *left || !strcmp(side, sides[1]) ? VN_OK : vn_text_unknown(key, side, sides, 2, err);
}

/* The padding token: the config's, else tokenizer.json's, else T5's and BERT's, else
 * CLIP's. */
static void choose_pad(vn_text *t, bool clip) {
    static const char *const usual[] = {"<pad>", "[PAD]", "<|endoftext|>"};
    const char *name = special_name(t, "pad_token", clip ? "<|endoftext|>" : NULL);
    if (name) t->pad = vn_text_find(t, name);
    for (size_t i = 0; i < VN_COUNT(usual) && t->pad < 0; i++) t->pad = vn_text_find(t, usual[i]);
}

static vn_status read_config(vn_text *t, bool clip, vn_err *err) {
    vn_status status = read_special(t, clip, err);
    if (!status) status = read_side(t, "padding_side", &t->pad_left, err);
    if (!status) status = read_side(t, "truncation_side", &t->cut_left, err);
    if (!status) choose_pad(t, clip);
    return status;
}

/* ---- the folder ------------------------------------------------------------------------------ */

enum { TOKENIZER, VOCAB, MERGES, CONFIG, SPECIAL, SENTENCEPIECE, FILES };
static const char *const file_names[FILES] = {
    "tokenizer.json",          "vocab.json",  "merges.txt", "tokenizer_config.json",
    "special_tokens_map.json", "spiece.model"};

const char *vn_text_file(size_t i) {
    return i < SENTENCEPIECE ? file_names[i] : NULL;
}

static vn_status no_tokenizer(const char *folder, char *const *path, vn_err *err) {
    if (vn_is_file(path[SENTENCEPIECE]))
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: has spiece.model alone; transformers' T5TokenizerFast makes the "
                       "tokenizer.json that is read",
                       folder);
    if (!vn_is_dir(folder))
        return vn_fail(err, VN_IO, "%s: is neither a folder nor \"bytes\"", folder);
    vn_fail(err, VN_BAD_FILE,
            "%s: holds neither tokenizer.json nor vocab.json and merges.txt, so it is no tokenizer",
            folder);
    char *part = vn_path_join(folder, "tokenizer"); /* of a pipeline */
    if (part && vn_is_dir(part)) vn_fail_after(err, "%s may be one", part);
    vn_free(part);
    return VN_BAD_FILE;
}

/* An object, if there is the file. */
static vn_status read_object(const char *path, json_t **out, vn_err *err) {
    if (!vn_is_file(path)) return VN_OK;
    const vn_status status = vn_json_read(path, out, err);
    if (status || json_is_object(*out)) return status;
    return vn_fail(err, VN_BAD_FILE, "%s: is not a JSON object", path);
}

static vn_status read_files(vn_text *t, const char *folder, char *const *path, vn_err *err) {
    const bool whole = vn_is_file(path[TOKENIZER]);
    if (!whole && !(vn_is_file(path[VOCAB]) && vn_is_file(path[MERGES])))
        return no_tokenizer(folder, path, err);
    vn_status status = read_object(path[CONFIG], &t->config, err);
    if (!status) status = read_object(path[SPECIAL], &t->special, err);
    if (!status && whole) status = read_object(path[TOKENIZER], &t->json, err);
    if (!status && !whole) {
        status = read_clip(t, path[VOCAB], path[MERGES], err);
        if (status == VN_UNSUPPORTED) vn_fail_in(err, "%s", folder);
    }
    if (status) return status;
    const char *file = path[whole ? TOKENIZER : VOCAB];
    status = read_tokenizer(t, err);
    if (!status) {
        file = path[CONFIG];
        status = read_config(t, !whole, err);
    }
    if (status && status != VN_NO_MEMORY) vn_fail_in(err, "%s", file);
    return status;
}

vn_status vn_text_read_json(vn_text *t, json_t *json, vn_err *err) {
    t->json = json_incref(json);
    const vn_status status = read_tokenizer(t, err);
    return status ? status : read_config(t, false, err);
}

vn_status vn_text_read(vn_text *t, const char *folder, vn_err *err) {
    char *path[FILES] = {NULL};
    bool ok = true;
    for (int i = 0; i < FILES; i++) {
        path[i] = vn_path_join(folder, file_names[i]);
        ok = ok && path[i];
    }
    const vn_status status = ok ? read_files(t, folder, path, err) : vn_no_memory(err);
    for (int i = 0; i < FILES; i++) vn_free(path[i]);
    return status;
}
