/* text_cache.c - what a frozen text encoder makes of the texts of a training, computed once and
 * kept in a file beside the run: an encoder is often larger than what is trained, and says the same
 * of a text each time. The file, in the byte order of the machine, is
 *
 *     mark, key, texts, numbers, hash        5 words of 64 bits
 *     begin, end, at                         for each text: which of its tokens are its own and not
 *                                            there to fill it up, and where its numbers begin
 *     numbers                                float32: states of the tokens, and the whole text's
 *
 * The key is of the encoder's weights and config and of every text's tokens, so that a file of
 * other captions, another tokenizer or another encoder is made anew; so is one whose hash is not
 * that of its bytes. Texts are read by position, not mapped: a file that is cut short while it is
 * used fails a read and ends nothing. */
#include "model/internal.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK UINT64_C(0x3174786574656e76) /* "vnetext1" */

enum { BATCH = 16, TOLD = 64 };

typedef struct head {
    uint64_t mark, key, texts, numbers, hash;
} head;

/* The tokens of a text are begin .. end-1, which are kept, or all where they are not `masked`. */
typedef struct entry {
    uint32_t begin, end;
    uint64_t at;
} entry;

struct vn_text_cache {
    vn_text_cache_setup s;
    char *path; /* its */
    int64_t length, width, pooled;
    head head;        /* of the file: texts are the first so many */
    entry *entry;     /* [s.count + 1] the empty text, then text 0, 1, ... */
    uint64_t numbers; /* of all of them */
    int fd;
    /* of BATCH texts */
    int32_t *ids, *mask;
    float *states, *whole;
};

static const char *text_at(const vn_text_cache *c, uint64_t i) {
    return i == 0 ? "" : c->s.text(c->s.from, (int32_t)(i - 1));
}

static uint64_t all_texts(const vn_text_cache *c) {
    return (uint64_t)c->s.count + 1;
}

/* Of states that are kept. */
static size_t tokens_in(const vn_text_cache *c, const entry *e) {
    return c->s.masked ? e->end - e->begin : (size_t)c->length;
}

static size_t first_in(const vn_text_cache *c, const entry *e) {
    return c->s.masked ? e->begin : 0;
}

static size_t numbers_in(const vn_text_cache *c, const entry *e) {
    return tokens_in(c, e) * (size_t)c->width + (size_t)c->pooled;
}

/* Of the first so many texts. */
static uint64_t numbers_before(const vn_text_cache *c, uint64_t texts) {
    return texts < all_texts(c) ? c->entry[texts].at : c->numbers;
}

static uint64_t file_size(const head *h) {
    return sizeof *h + h->texts * sizeof(entry) + h->numbers * sizeof(float);
}

/* ---- what the file is to be ------------------------------------------------------------------ */

/* Which of a text's tokens are its own: they lie together. */
static entry tokens_of(const vn_text_cache *c, const int32_t *mask) {
    entry e = {.end = (uint32_t)c->length};
    while (e.begin < e.end && !mask[e.begin]) e.begin++;
    while (e.end > e.begin && !mask[e.end - 1]) e.end--;
    return e;
}

static vn_status begin_key(vn_text_cache *c, vn_err *err) {
    const int64_t sizes[] = {c->length, c->width, c->pooled, c->s.masked, c->s.count};
    char *config = vn_json_text(vn_net_config(c->s.encoder->net), JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t *key = &c->head.key;
    if (!config) return vn_no_memory(err);
    *key = vn_hash_words(vn_hash_begin, sizes, (sizeof sizes) / (sizeof(uint32_t)));
    *key = vn_hash_text(*key, config);
    vn_free(config);
    return vn_hash_part(c->s.encoder, key) ? VN_OK : vn_no_memory(err);
}

/* The key, and an entry for each text. */
static vn_status plan(vn_text_cache *c, vn_err *err) {
    uint64_t *key = &c->head.key;
    vn_status status = begin_key(c, err);
    c->entry = vn_alloc((size_t)all_texts(c), sizeof *c->entry);
    if (!status && !c->entry) status = vn_no_memory(err);
    for (uint64_t i = 0; i < all_texts(c) && !status; i++) {
        status = vn_prompter_tokens(c->s.prompter, text_at(c, i), c->ids, c->mask, NULL, err);
        if (status) return status == VN_NO_MEMORY ? status : vn_fail_in(err, "a caption");
        *key = vn_hash_words(*key, c->ids, (size_t)c->length);
        *key = vn_hash_words(*key, c->mask, (size_t)c->length);
        c->entry[i] = tokens_of(c, c->mask);
        c->entry[i].at = c->numbers;
        c->numbers += numbers_in(c, &c->entry[i]);
    }
    return status;
}

/* A file of as many texts as may be in it, the first ones. */
static void fit(vn_text_cache *c) {
    uint64_t low = 0, high = all_texts(c);
    while (low < high) {
        const uint64_t texts = low + (high - low + 1) / 2;
        const head h = {.texts = texts, .numbers = numbers_before(c, texts)};
        if (file_size(&h) <= c->s.most)
            low = texts;
        else
            high = texts - 1;
    }
    c->head.texts = low;
    c->head.numbers = numbers_before(c, low);
}

/* ---- a file that is there -------------------------------------------------------------------- */

/* Whether the file is of these texts, or of the first of them, and whole; *h: its head. */
static bool is_planned(const vn_text_cache *c, int fd, head *h) {
    struct stat info;
    uint64_t hash;
    if (fstat(fd, &info) != 0 || !vn_cache_read_at(fd, h, sizeof *h, 0) || h->mark != MARK ||
        h->key != c->head.key || h->texts > all_texts(c) ||
        h->numbers != numbers_before(c, h->texts) || (uint64_t)info.st_size != file_size(h))
        return false;
    const size_t entries = (size_t)h->texts * sizeof(entry);
    entry *found = vn_alloc((size_t)h->texts, sizeof *found);
    const bool is = found && vn_cache_read_at(fd, found, entries, sizeof *h) &&
                    memcmp(found, c->entry, entries) == 0 &&
                    vn_cache_hash(fd, sizeof *h, file_size(h), &hash) && hash == h->hash;
    vn_free(found);
    return is;
}

/* fd stays -1 where there is no such file, or another. */
static void open_found(vn_text_cache *c) {
    int fd;
    head h;
    if (!vn_is_file(c->s.path) || vn_file_open(c->s.path, &fd, NULL) != VN_OK) return;
    if (is_planned(c, fd, &h)) {
        c->fd = fd;
        c->head = h;
        return;
    }
    close(fd);
    vn_log(c->s.watch, VN_LOG_INFO,
           "%s: is not whole, or of other captions or another text encoder; made anew", c->s.path);
}

/* ---- a file that is made --------------------------------------------------------------------- */

static void write_words(vn_text_cache *c, vn_writer *w, const void *from, size_t bytes) {
    fwrite(from, 1, bytes, w->file); /* errors show at the commit */
    c->head.hash = vn_hash_words(c->head.hash, from, bytes / sizeof(uint32_t));
}

/* Texts first .. first+n-1. */
static vn_status encode(vn_text_cache *c, uint64_t first, int64_t n, vn_err *err) {
    vn_status status = VN_OK;
    for (int64_t i = 0; i < n && !status; i++)
        status = vn_prompter_tokens(c->s.prompter, text_at(c, first + (uint64_t)i),
                                    c->ids + i * c->length, c->mask + i * c->length, NULL, err);
    if (status) return status;
    return vn_prompter_run(c->s.prompter, n, c->ids, c->mask, c->states, c->whole, err);
}

static vn_status report(const vn_text_cache *c, uint64_t done, double start, vn_err *err) {
    const double rate = (double)done / (vn_now() - start + 1e-9);
    const vn_progress progress = {.what = "encoding",
                                  .unit = "captions",
                                  .done = (int64_t)done,
                                  .total = (int64_t)c->head.texts,
                                  .rate = rate,
                                  .seconds_left = (double)(c->head.texts - done) / rate,
                                  .loss = (double)NAN};
    if (!vn_report(c->s.watch, &progress)) return VN_OK;
    return vn_fail(err, VN_CANCELLED, "encoding of the captions was cancelled");
}

static bool all_finite(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static vn_status write_texts(vn_text_cache *c, vn_writer *w, vn_err *err) {
    const double start = vn_now();
    vn_status status = VN_OK;
    for (uint64_t first = 0; first < c->head.texts && !status; first += BATCH) {
        const uint64_t left = c->head.texts - first;
        const int64_t n = left < BATCH ? (int64_t)left : BATCH;
        status = encode(c, first, n, err);
        for (int64_t i = 0; i < n && !status; i++) {
            const entry *e = &c->entry[first + (uint64_t)i];
            const float *states = c->states + (i * c->length + (int64_t)first_in(c, e)) * c->width,
                        *whole = c->whole + i * c->pooled;
            const int64_t numbers = (int64_t)tokens_in(c, e) * c->width;
            if (!all_finite(states, numbers) || !all_finite(whole, c->pooled))
                return vn_fail(err, VN_NOT_FINITE,
                               "the text encoder makes numbers that are not finite of \"%.*s\"",
                               TOLD, text_at(c, first + (uint64_t)i));
            write_words(c, w, states, (size_t)numbers * sizeof(float));
            write_words(c, w, whole, (size_t)c->pooled * sizeof(float));
        }
        if (!status) status = report(c, first + (uint64_t)n, start, err);
    }
    return status;
}

static vn_status make(vn_text_cache *c, vn_err *err) {
    vn_writer w;
    char size[32];
    fit(c);
    c->head.mark = MARK;
    vn_status status = vn_check_space(c->s.path, file_size(&c->head), err);
    if (!status) status = vn_writer_open(&w, c->s.path, err);
    if (status) return status;
    c->head.hash = vn_hash_begin;
    fwrite(&c->head, sizeof c->head, 1, w.file);
    write_words(c, &w, c->entry, (size_t)c->head.texts * sizeof *c->entry);
    status = write_texts(c, &w, err);
    if (!status && fseeko(w.file, 0, SEEK_SET) == 0) fwrite(&c->head, sizeof c->head, 1, w.file);
    if (status)
        vn_writer_abandon(&w);
    else
        status = vn_writer_commit(&w, err);
    if (!status) status = vn_file_open(c->s.path, &c->fd, err);
    if (!status)
        vn_log(c->s.watch, VN_LOG_INFO, "%s: what the text encoder makes of %llu captions, %s",
               c->s.path, (unsigned long long)(c->head.texts ? c->head.texts - 1 : 0),
               vn_bytes_text((double)file_size(&c->head), size));
    return status;
}

/* ---- life ------------------------------------------------------------------------------------ */

static vn_status open_arrays(vn_text_cache *c, vn_err *err) {
    const size_t n = BATCH * (size_t)c->length;
    c->ids = vn_alloc(n, sizeof *c->ids);
    c->mask = vn_alloc(n, sizeof *c->mask);
    c->states = vn_alloc(n * (size_t)c->width, sizeof *c->states);
    c->whole = vn_alloc(BATCH * (size_t)c->pooled, sizeof *c->whole);
    return c->ids && c->mask && c->states && c->whole ? VN_OK : vn_no_memory(err);
}

static void tell_rest(const vn_text_cache *c) {
    char most[32];
    const uint64_t rest = all_texts(c) - c->head.texts;
    if (rest > 0)
        vn_log(c->s.watch, VN_LOG_WARNING,
               "%s: %llu of %llu captions are not in it, as it may take %s: they are encoded "
               "whenever they are drawn, which takes longer",
               c->s.path, (unsigned long long)rest, (unsigned long long)c->s.count,
               vn_bytes_text((double)c->s.most, most));
}

vn_status vn_text_cache_open(const vn_text_cache_setup *setup, vn_text_cache **out, vn_err *err) {
    vn_text_cache *c = *out = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    c->s = *setup;
    c->s.path = c->path = vn_strdup(setup->path);
    c->fd = -1;
    c->length = vn_prompter_length(setup->prompter);
    c->width = vn_prompter_width(setup->prompter);
    c->pooled = vn_prompter_pooled(setup->prompter);
    vn_status status = c->path ? open_arrays(c, err) : vn_no_memory(err);
    if (!status) status = plan(c, err);
    if (!status) {
        open_found(c);
        if (c->fd < 0) status = make(c, err);
    }
    if (!status) tell_rest(c);
    if (status) vn_text_cache_close(out);
    return status;
}

void vn_text_cache_close(vn_text_cache **cache) {
    vn_text_cache *c = *cache;
    if (!c) return;
    if (c->fd >= 0) close(c->fd);
    vn_free(c->path);
    vn_free(c->entry);
    vn_free(c->ids);
    vn_free(c->mask);
    vn_free(c->states);
    vn_free(c->whole);
    vn_free(c);
    *cache = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

vn_status vn_text_cache_read(vn_text_cache *c, int32_t i, float *states, int32_t *mask,
                             float *pooled, vn_err *err) {
    const uint64_t number = (uint64_t)((int64_t)i + 1);
    const size_t width = (size_t)c->width, whole = (size_t)c->pooled * sizeof(float);
    if (number >= c->head.texts) { /* not kept */
        const vn_status status = encode(c, number, 1, err);
        if (status) return status;
    }
    const entry e = number < c->head.texts ? c->entry[number] : tokens_of(c, c->mask);
    const size_t first = first_in(c, &e) * width, numbers = tokens_in(c, &e) * width;
    const uint64_t at = sizeof(head) + c->head.texts * sizeof(entry) + e.at * sizeof(float);
    memset(states, 0, (size_t)c->length * width * sizeof *states);
    if (number >= c->head.texts) {
        memcpy(states + first, c->states + first, numbers * sizeof *states);
        if (pooled) memcpy(pooled, c->whole, whole);
    } else if (!vn_cache_read_at(c->fd, states + first, numbers * sizeof *states, at) ||
               (pooled && !vn_cache_read_at(c->fd, pooled, whole, at + numbers * sizeof *states))) {
        return vn_fail(err, VN_IO, "%s: cannot be read, or has become shorter", c->s.path);
    }
    for (int64_t t = 0; mask && t < c->length; t++) mask[t] = t >= e.begin && t < e.end;
    return VN_OK;
}
