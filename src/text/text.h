/* text.h - tokenizers: a text as numbers that a text encoder has rows for. They are read from the
 * files that Hugging Face's `tokenizers` writes (tokenizer.json, or CLIP's vocab.json and
 * merges.txt) and give its numbers, one for one; and there is one of bytes, which needs no file.
 *
 * A text passes through these parts, each a table of kinds:
 *
 *     added tokens     what stands for a token by itself, such as <|endoftext|>, is cut out
 *     normalizers      NFC, lower case, ...: one text from another (normalise.c, charsmap.c)
 *     pre-tokenizers   words, no token reaches from one to the next (split.c, pattern.c)
 *     model            tokens of a word: BPE (bpe.c), Unigram (unigram.c), bytes (bytes.c)
 *     post-processor   the tokens that begin and end every text (post.c)
 *
 * Files are untrusted: each number is checked before it is used, and what is not known is refused
 * by name. */
#ifndef VN_TEXT_H
#define VN_TEXT_H

#include "base/base.h"

/* What `vane list tokenizers` shows: each begins with its vn_row. */
extern const vn_table vn_text_models;

/* Bytes of the longest text. */
#define VN_TEXT_MAX_BYTES (1 << 20)

typedef struct vn_text vn_text;

/* "bytes", or a folder with tokenizer.json, or vocab.json and merges.txt, and perhaps
 * tokenizer_config.json. Close with vn_text_close. VN_BAD_FILE, VN_UNSUPPORTED, VN_IO and
 * VN_NO_MEMORY name the file. */
vn_status vn_text_open(const char *source, vn_text **out, vn_err *err);
/* Of what a tokenizer.json holds. */
vn_status vn_text_open_json(json_t *json, vn_text **out, vn_err *err);
void vn_text_close(vn_text **t);

/* Texts by number, each UTF-8. */
typedef struct vn_texts {
    const void *self;
    const char *(*text)(const void *self, int32_t i);
    int32_t count;
} vn_texts;

/* Tokens of a tokenizer that is learned, at least and at most. */
enum { VN_TEXT_LEARN_LEAST = 259, VN_TEXT_LEARN_MOST = 8192 };
/* A tokenizer.json of at most `size` tokens, of byte-pair encoding, which is learned from texts
 * (learn.c). The same texts in the same order give the same. NULL with err set. */
json_t *vn_text_learn(const vn_texts *texts, int32_t size, vn_err *err);

/* The names of the files that a folder's tokenizer is read from, of which not all need be there;
 * NULL past the last. */
const char *vn_text_file(size_t i);

/* The row of its model. */
const vn_row *vn_text_row(const vn_text *t);
/* Ids are 0 .. size - 1, perhaps with gaps. */
int32_t vn_text_size(const vn_text *t);
/* The token's letters as its file has them, owned by the tokenizer; NULL: there is none. */
const char *vn_text_token(const vn_text *t, int32_t id);
/* The id of the padding token, -1 if no file says one; *left: whether it goes before a text. */
int32_t vn_text_pad(const vn_text *t, bool *left);
/* How many special tokens every text is given, at its beginning and its end together. */
int64_t vn_text_framing(const vn_text *t);

/* Ids that grow; zero-initialise to open. */
typedef struct vn_ids {
    int32_t *at;
    size_t count, capacity;
    bool failed; /* no memory */
} vn_ids;
void vn_ids_add(vn_ids *ids, int32_t id);
void vn_ids_free(vn_ids *ids);

/* Appends the tokens of a text, UTF-8, to *out. length > 0: at most so many, those that begin and
 * end a text kept; it is at least vn_text_framing. *whole (or NULL): how many there are without it.
 * One thread at a time. VN_BAD_ARGUMENT: no UTF-8, or too long; VN_BAD_FILE: the files have no
 * token for a part of the text, nor one for what is unknown. */
vn_status vn_text_encode(vn_text *t, const char *text, int64_t length, vn_ids *out, int64_t *whole,
                         vn_err *err);

/* The text as exactly `length` ids, at least vn_text_framing: cut, or filled up. mask [length] is 1
 * for tokens of the text, else 0; it may be NULL. Fails as vn_text_encode, and with VN_BAD_FILE
 * where no file says which token fills up. */
vn_status vn_text_fill(vn_text *t, const char *text, int64_t length, int32_t *ids, int32_t *mask,
                       int64_t *whole, vn_err *err);

#endif
