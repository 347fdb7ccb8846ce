/* internal.h - the parts of a tokenizer and what they hand to each other. */
#ifndef VN_TEXT_INTERNAL_H
#define VN_TEXT_INTERNAL_H

#include "text/text.h"

/* ---- pieces.c: strings and lists that grow; the first failure is kept ------------------------ */

/* Bytes, without a 0 at the end. */
typedef struct vn_string {
    char *at;
    size_t size, capacity;
    bool failed;
} vn_string;

void vn_string_add(vn_string *b, const char *from, size_t size);
void vn_string_add_code(vn_string *b, uint32_t code); /* as UTF-8 */
void vn_string_free(vn_string *b);

/* A part of a text: a token already, or what becomes of letters. */
typedef struct vn_piece {
    size_t begin, size; /* in the text of the list */
    int32_t id;         /* -1: letters */
    bool first;         /* whether it is what the text begins with */
} vn_piece;

typedef struct vn_pieces {
    vn_string text; /* .failed stands for the list too */
    vn_piece *piece;
    size_t count, capacity;
} vn_pieces;

void vn_pieces_clear(vn_pieces *p);
/* Copies the letters; letters that are none are left out. */
void vn_pieces_add(vn_pieces *p, const char *text, size_t size, bool first);
void vn_pieces_add_token(vn_pieces *p, int32_t id);
void vn_pieces_free(vn_pieces *p);

/* ---- letters.c: what characters are, and stretches of text that patterns find ---------------- */

bool vn_is_white(uint32_t code);  /* Unicode's White_Space */
bool vn_is_letter(uint32_t code); /* \p{L} */
bool vn_is_digit(uint32_t code);  /* \p{N} */
bool vn_is_mark(uint32_t code);   /* \p{M} */
bool vn_is_word(uint32_t code);   /* \w */

/* Where a pattern was found: text[begin, end). */
typedef struct vn_match {
    size_t begin, end;
} vn_match;

/* The regular expressions that are known. */
typedef struct vn_pattern {
    const char *regex;
    /* Bytes of the match at text[at], 0: none begins there. */
    size_t (*match)(const char *text, size_t size, size_t at);
} vn_pattern;

const vn_pattern *vn_pattern_find(const char *regex); /* NULL: not known */
extern const vn_pattern vn_byte_level_pattern;        /* GPT-2's */
/* The first match that begins at `from` or later; false: there is none. */
bool vn_pattern_next(const vn_pattern *p, const char *text, size_t size, size_t from,
                     vn_match *out);
/* {"Regex": R} or {"String": S}: *pattern, or else *literal, which is owned by the JSON. */
vn_status vn_pattern_read(const json_t *json, const vn_pattern **pattern, const char **literal,
                          vn_err *err);

/* ---- charsmap.c: sentencepiece's compiled normalization -------------------------------------- */

typedef struct vn_charsmap vn_charsmap;
/* From base64. */
vn_status vn_charsmap_open(const char *base64, vn_charsmap **out, vn_err *err);
void vn_charsmap_close(vn_charsmap **m);
void vn_charsmap_run(const vn_charsmap *m, const char *text, size_t size, vn_string *out);

/* ---- steps: normalizers (normalise.c) and pre-tokenizers (split.c) --------------------------- */

enum { VN_SPLIT_REMOVED, VN_SPLIT_ISOLATED, VN_SPLIT_PREVIOUS, VN_SPLIT_NEXT, VN_SPLIT_CONTIGUOUS };

typedef struct vn_text_step {
    const struct vn_text_step_row *row;
    const vn_pattern *pattern; /* or: */
    const char *literal;       /* both owned by the JSON, as is: */
    const char *content;
    int option;   /* of utf8proc; VN_SPLIT_...; when a step prepends */
    bool flag[2]; /* left and right; inverted; prefix and pattern; split */
    vn_charsmap *map;
} vn_text_step;

typedef struct vn_text_step_row {
    const char *type;        /* tokenizer.json's */
    const char *const *keys; /* besides "type"; ends with NULL */
    int option;              /* the step's, to begin with */
    vn_status (*open)(const json_t *json, vn_text_step *step, vn_err *err); /* NULL: no keys */
    /* Adds what becomes of letters; memory may fail, which the list keeps. */
    void (*run)(const vn_text_step *step, const char *text, size_t size, bool first,
                vn_pieces *out);
} vn_text_step_row;

/* A kind of step and its rows. */
typedef struct vn_text_step_kind {
    const char *what; /* "normalizer" */
    const char *list; /* the key of a Sequence's list: "normalizers" */
    const vn_text_step_row *rows;
    size_t count;
} vn_text_step_kind;
extern const vn_text_step_kind vn_normalizers, vn_pre_tokenizers;

/* The character that stands for a byte in ByteLevel's words (GPT-2's). */
uint32_t vn_byte_letter(unsigned char byte);

/* The first match of the step's pattern or literal from `from` on; false: there is none. */
bool vn_match_next(const vn_text_step *step, const char *text, size_t size, size_t from,
                   vn_match *out);

#define VN_TEXT_STEPS 16
typedef struct vn_text_steps {
    int count;
    vn_text_step step[VN_TEXT_STEPS];
} vn_text_steps;

/* Appends the steps of a JSON object, or none of null. */
vn_status vn_text_steps_read(const vn_text_step_kind *kind, const json_t *json,
                             vn_text_steps *steps, vn_err *err);
/* What letters among *p become; tokens stay. `spare` is another list to work with. */
void vn_text_steps_run(const vn_text_steps *steps, vn_pieces *p, vn_pieces *spare);
void vn_text_steps_close(vn_text_steps *steps);

/* ---- vocabulary.c: tokens by their letters --------------------------------------------------- */

#define VN_TEXT_MAX_TOKENS (1 << 22) /* ids are below */

typedef struct vn_vocabulary_entry {
    const char *text; /* owned by the JSON */
    size_t size;
    int32_t id;
} vn_vocabulary_entry;

typedef struct vn_vocabulary {
    vn_vocabulary_entry *sorted; /* [count] by their bytes, then by id */
    size_t count, longest;
    const char **by_id; /* [size]; NULL in gaps */
    int32_t size;
} vn_vocabulary;

/* Of so many entries, which are set next, in any order. */
vn_status vn_vocabulary_open(vn_vocabulary *v, size_t count, vn_err *err);
/* After they are set: sorts them. VN_BAD_FILE: an id is out of range, or names two tokens. */
vn_status vn_vocabulary_close_list(vn_vocabulary *v, vn_err *err);
void vn_vocabulary_free(vn_vocabulary *v);
/* The last one of these letters; -1: there is none. */
int32_t vn_vocabulary_find(const vn_vocabulary *v, const char *text, size_t size);
/* A search for all tokens that a text begins with: a byte more each time. */
typedef struct vn_prefix {
    size_t low, high, depth;
} vn_prefix;
/* Goes on by a byte; false: no token begins so. *id: of the token that ends here, or -1. */
bool vn_vocabulary_next(const vn_vocabulary *v, vn_prefix *p, unsigned char byte, int32_t *id);

/* ---- models ---------------------------------------------------------------------------------- */

typedef struct vn_text_model {
    vn_row row;
    const char *type;        /* tokenizer.json's; NULL: no file has it */
    const char *const *keys; /* besides "type"; ends with NULL */
    /* The model of a tokenizer whose JSON outlives it; json NULL for a type of NULL. */
    vn_status (*open)(const json_t *json, vn_text *t, vn_err *err);
    void (*close)(vn_text *t);
    /* Appends the tokens of a word. */
    vn_status (*run)(vn_text *t, const char *text, size_t size, vn_ids *out, vn_err *err);
} vn_text_model;

#define VN_TEXT_MODELS(ROW) ROW(bytes) ROW(bpe) ROW(unigram)
#define VN_DECLARE(name)    extern const vn_text_model vn_##name##_model;
VN_TEXT_MODELS(VN_DECLARE)
#undef VN_DECLARE

/* ---- added.c: tokens that texts hold by name ------------------------------------------------- */

typedef struct vn_added {
    const char *content; /* owned by the JSON */
    char *normalised;    /* what is looked for in texts that are; NULL: in texts as they are */
    int32_t id;
    bool word, left, right; /* single_word, lstrip, rstrip */
} vn_added;

#define VN_TEXT_MAX_ADDED 16384

typedef struct vn_added_list {
    vn_added *token; /* [count] */
    size_t count;
    /* of each of two kinds, looked for in texts as they are and in normalised ones: the tokens'
     * indices by their letters, and the lengths that they have, the longest first */
    struct vn_added_index {
        size_t *sorted, count, *length, lengths;
    } index[2];
} vn_added_list;

/* Adds or changes the token of one object of "added_tokens". Its id is the model's, or the next
 * that is free; VN_BAD_FILE where `id` is another one. id < 0: not said. */
vn_status vn_added_add(vn_text *t, const json_t *json, const char *content, int64_t id,
                       vn_err *err);
/* After all are there. */
vn_status vn_added_index(vn_text *t, vn_err *err);
/* Cuts the tokens of one kind out of the letters of *p. */
void vn_added_cut(const vn_text *t, bool normalised, const vn_pieces *p, vn_pieces *out);
int32_t vn_added_find(const vn_text *t, const char *content); /* -1: none */
void vn_added_free(vn_added_list *l);

/* ---- post.c: the post-processor, which adds special tokens around a text --------------------- */

#define VN_TEXT_FRAME 16
/* The special tokens that every text is given: CLS and SEP, or begin and end of text. */
typedef struct vn_frame {
    int before, after; /* how many of each there are */
    int32_t begin[VN_TEXT_FRAME], end[VN_TEXT_FRAME];
} vn_frame;

vn_status vn_frame_read(const json_t *json, vn_text *t, vn_err *err); /* of null: nothing */

/* ---- the tokenizer --------------------------------------------------------------------------- */

struct vn_text {
    const vn_text_model *model;
    void *self; /* the model's own */
    vn_vocabulary vocabulary;
    vn_text_steps normalize, split;
    vn_added_list added;
    vn_frame frame;
    int32_t pad; /* -1: none */
    bool pad_left, cut_left;
    json_t *json, *config, *special; /* what all texts above are owned by */
    vn_pieces pieces[2];             /* to work with */
    vn_ids ids;
};

/* The words and tokens of a text: in t->pieces[0]. */
vn_status vn_text_cut(vn_text *t, const char *text, size_t size, vn_err *err);

/* The token of these letters, of the model or added; -1: none. */
int32_t vn_text_find(const vn_text *t, const char *content);
/* An id that no token has. */
int32_t vn_text_new_id(const vn_text *t);

/* ---- read.c ---------------------------------------------------------------------------------- */

/* Reads the files of a folder. */
vn_status vn_text_read(vn_text *t, const char *folder, vn_err *err);
/* Reads what tokenizer.json would hold. */
vn_status vn_text_read_json(vn_text *t, json_t *json, vn_err *err);

/* ---- keys.c: members of JSON objects --------------------------------------------------------- */

/* Refuses a key of an object that is in neither list; what: "BPE". */
vn_status vn_text_check_keys(const json_t *json, const char *what, const char *const *keys,
                             vn_err *err);
/* Members, `initial` where they are missing or null. VN_BAD_FILE: of another type. */
vn_status vn_text_get_bool(const json_t *json, const char *key, bool initial, bool *out,
                           vn_err *err);
vn_status vn_text_get_text(const json_t *json, const char *key, const char *initial,
                           const char **out, vn_err *err);
/* "what 'name' is not one of a, b" */
vn_status vn_text_unknown(const char *what, const char *name, const char *const *known,
                          size_t count, vn_err *err);

#endif
