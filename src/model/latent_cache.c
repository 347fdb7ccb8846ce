/* latent_cache.c - what an autoencoder makes of the pictures of a training, computed once and kept
 * in a file beside the run, as training sees each picture many times and the autoencoder says the
 * same of it each time. The file, in the byte order of the machine, is
 *
 *     mark, key, pictures, numbers, hash     5 words of 64 bits
 *     numbers                                float32, so many for each picture, and as many for its
 *                                            mirror image where pictures are flipped: latents
 *                                            [h,w,c], or their means and then log variances
 *
 * The key is of the autoencoder's weights and config and of the data, so that a file of other
 * pictures or another autoencoder is made anew; so is one whose hash is not that of its bytes. It
 * is read by position, not mapped: a file that is cut short while it is used fails a read and ends
 * nothing. Pictures that do not fit within the bound are encoded whenever they are drawn. */
#include "model/internal.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK UINT64_C(0x31746c61656e6176) /* "vanealt1" */

enum { BATCH = 16 };

typedef struct head {
    uint64_t mark, key, pictures, numbers, hash;
} head;

struct vn_latent_cache {
    vn_latent_cache_setup s;
    char *path; /* its */
    head head;
    const vn_latents *latents;
    bool normal;      /* rows have means and log variances */
    int64_t size;     /* numbers in latents */
    int64_t variants; /* of a picture: itself, and its mirror image */
    int fd;
    float *last, *first; /* [BATCH] pictures, [H,W,C] and [C,H,W] */
    float *rows;         /* [BATCH,numbers] */
    float *row;          /* [numbers] of the latest that was read */
};

static uint64_t file_size(const head *h) {
    return sizeof *h + h->pictures * h->numbers * sizeof(float);
}

/* ---- what the file is to be ------------------------------------------------------------------ */

static vn_status begin(vn_latent_cache *c, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(vn_autoencoder_net(c->s.autoencoder));
    const int64_t *d = c->s.picture.dim;
    c->latents = &io->latents;
    c->normal = vn_net_output(io, "logvar") != NULL;
    c->size = c->latents->channels * (d[1] / c->latents->factor) * (d[2] / c->latents->factor);
    c->variants = c->s.flips ? 2 : 1;
    const int64_t numbers = c->size * (c->normal ? 2 : 1) * c->variants;
    const int64_t words[] = {d[0], d[1], d[2], c->s.count, c->variants, (int64_t)c->s.fingerprint};
    uint64_t *key = &c->head.key;
    *key = vn_hash_words(vn_hash_begin, words, (sizeof words) / (sizeof(uint32_t)));
    if (!vn_autoencoder_hash(c->s.autoencoder, key)) return vn_no_memory(err);
    c->head.mark = MARK;
    c->head.numbers = (uint64_t)numbers;
    const uint64_t most = c->s.most > sizeof(head) ? c->s.most - sizeof(head) : 0,
                   fits = most / ((uint64_t)numbers * sizeof(float));
    c->head.pictures = fits < (uint64_t)c->s.count ? fits : (uint64_t)c->s.count;
    const size_t picture = (size_t)(d[0] * d[1] * d[2]);
    c->last = vn_alloc(BATCH * picture, sizeof(float));
    c->first = vn_alloc(BATCH * picture, sizeof(float));
    c->rows = vn_alloc(BATCH * (size_t)numbers, sizeof(float));
    c->row = vn_alloc((size_t)numbers, sizeof(float));
    return c->last && c->first && c->rows && c->row ? VN_OK : vn_no_memory(err);
}

/* ---- a file that is there -------------------------------------------------------------------- */

/* Whether the file is of these pictures, or of the first of them, and whole; *h: its head. */
static bool is_planned(const vn_latent_cache *c, int fd, head *h) {
    struct stat info;
    uint64_t hash;
    return fstat(fd, &info) == 0 && vn_cache_read_at(fd, h, sizeof *h, 0) && h->mark == MARK &&
           h->key == c->head.key && h->numbers == c->head.numbers &&
           h->pictures <= (uint64_t)c->s.count && (uint64_t)info.st_size == file_size(h) &&
           vn_cache_hash(fd, sizeof *h, file_size(h), &hash) && hash == h->hash;
}

/* fd stays -1 where there is no such file, or another. */
static void open_found(vn_latent_cache *c) {
    int fd;
    head h;
    if (!vn_is_file(c->path) || vn_file_open(c->path, &fd, NULL) != VN_OK) return;
    if (is_planned(c, fd, &h)) {
        c->fd = fd;
        c->head = h;
        return;
    }
    close(fd);
    vn_log(c->s.watch, VN_LOG_INFO,
           "%s: is not whole, or of other pictures or another autoencoder; made anew", c->path);
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Left and right of n pictures [H,W,C] exchanged. */
static void mirror(const vn_latent_cache *c, int64_t n) {
    const int64_t k = c->s.picture.dim[0], h = c->s.picture.dim[1], w = c->s.picture.dim[2];
    for (int64_t row = 0; row < n * h; row++)
        for (int64_t i = 0; i < w / 2; i++)
            for (int64_t j = 0; j < k; j++) {
                float *a = &c->last[(row * w + i) * k + j],
                      *b = &c->last[(row * w + w - 1 - i) * k + j];
                const float kept = *a;
                *a = *b;
                *b = kept;
            }
}

/* One variant of n pictures, which are in c->last, to their places in c->rows. */
static vn_status encode_variant(vn_latent_cache *c, int64_t n, int64_t variant, vn_err *err) {
    const int64_t *d = c->s.picture.dim, channels = c->latents->channels;
    const int outputs = c->normal ? 2 : 1;
    const vn_coding how = {0};
    vn_array z[2] = {{.name = c->normal ? "mean" : "latents"}, {.name = "logvar"}};
    vn_channels_first(c->first, c->last, n, d[0], d[1] * d[2], NULL, NULL);
    const vn_array in = {"sample", VN_F32, VN_SHAPE(n, d[0], d[1], d[2]), c->first};
    const vn_status status =
        vn_autoencoder_encode_arrays(c->s.autoencoder, &how, &in, (size_t)outputs, z, err);
    for (int64_t i = 0; i < n && !status; i++)
        for (int k = 0; k < outputs; k++) {
            float *to = c->rows + i * (int64_t)c->head.numbers + (variant * outputs + k) * c->size;
            const float *from = (const float *)z[k].data + i * c->size;
            vn_channels_last(to, from, 1, channels, c->size / channels, NULL, NULL);
        }
    return status;
}

/* Pictures first .. first+n-1 to c->rows. */
static vn_status encode(vn_latent_cache *c, int64_t first, int64_t n, vn_err *err) {
    const int64_t *d = c->s.picture.dim, size = d[0] * d[1] * d[2];
    vn_status status = VN_OK;
    for (int64_t i = 0; i < n && !status; i++)
        status = c->s.read(c->s.from, first + i, c->last + i * size, err);
    if (!status) status = encode_variant(c, n, 0, err);
    if (status || c->variants == 1) return status;
    mirror(c, n);
    return encode_variant(c, n, 1, err);
}

/* ---- a file that is made --------------------------------------------------------------------- */

static vn_status report(const vn_latent_cache *c, uint64_t done, double start, vn_err *err) {
    const double rate = (double)done / (vn_now() - start + 1e-9);
    const vn_progress progress = {.what = "encoding",
                                  .unit = "pictures",
                                  .done = (int64_t)done,
                                  .total = (int64_t)c->head.pictures,
                                  .rate = rate,
                                  .seconds_left = (double)(c->head.pictures - done) / rate,
                                  .loss = (double)NAN};
    if (!vn_report(c->s.watch, &progress)) return VN_OK;
    return vn_fail(err, VN_CANCELLED, "encoding of the pictures was cancelled");
}

static vn_status write_pictures(vn_latent_cache *c, vn_writer *w, vn_err *err) {
    const double start = vn_now();
    vn_status status = VN_OK;
    for (uint64_t first = 0; first < c->head.pictures && !status; first += BATCH) {
        const uint64_t left = c->head.pictures - first;
        const int64_t n = left < BATCH ? (int64_t)left : BATCH;
        const size_t numbers = (size_t)n * (size_t)c->head.numbers;
        status = encode(c, (int64_t)first, n, err);
        if (status) return status;
        for (size_t i = 0; i < numbers; i++)
            if (!isfinite(c->rows[i]))
                return vn_fail(err, VN_NOT_FINITE,
                               "the autoencoder makes numbers that are not finite of picture %llu",
                               (unsigned long long)(first + i / c->head.numbers));
        fwrite(c->rows, sizeof(float), numbers, w->file); /* errors show at the commit */
        c->head.hash = vn_hash_words(c->head.hash, c->rows, numbers);
        status = report(c, first + (uint64_t)n, start, err);
    }
    return status;
}

static vn_status make(vn_latent_cache *c, vn_err *err) {
    vn_writer w;
    char size[32];
    vn_status status = vn_check_space(c->path, file_size(&c->head), err);
    if (!status) status = vn_writer_open(&w, c->path, err);
    if (status) return status;
    c->head.hash = vn_hash_begin;
    fwrite(&c->head, sizeof c->head, 1, w.file);
    status = write_pictures(c, &w, err);
    if (!status && fseeko(w.file, 0, SEEK_SET) == 0) fwrite(&c->head, sizeof c->head, 1, w.file);
    if (status)
        vn_writer_abandon(&w);
    else
        status = vn_writer_commit(&w, err);
    if (!status) status = vn_file_open(c->path, &c->fd, err);
    if (!status)
        vn_log(c->s.watch, VN_LOG_INFO, "%s: latents of %llu pictures%s, %s", c->path,
               (unsigned long long)c->head.pictures,
               c->variants == 2 ? " and of their mirror images" : "",
               vn_bytes_text((double)file_size(&c->head), size));
    return status;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void tell_rest(const vn_latent_cache *c) {
    char most[32];
    const uint64_t rest = (uint64_t)c->s.count - c->head.pictures;
    if (rest > 0)
        vn_log(c->s.watch, VN_LOG_WARNING,
               "%s: %llu of %lld pictures are not in it, as it may take %s: they are encoded "
               "whenever they are drawn, which takes longer",
               c->path, (unsigned long long)rest, (long long)c->s.count,
               vn_bytes_text((double)c->s.most, most));
}

vn_status vn_latent_cache_open(const vn_latent_cache_setup *setup, vn_latent_cache **out,
                               vn_err *err) {
    vn_latent_cache *c = *out = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    c->s = *setup;
    c->fd = -1;
    c->path = vn_strdup(setup->path);
    vn_status status = c->path ? begin(c, err) : vn_no_memory(err);
    if (!status) {
        open_found(c);
        if (c->fd < 0) status = make(c, err);
    }
    if (!status) tell_rest(c);
    if (status) vn_latent_cache_close(out);
    return status;
}

void vn_latent_cache_close(vn_latent_cache **cache) {
    vn_latent_cache *c = *cache;
    if (!c) return;
    if (c->fd >= 0) close(c->fd);
    vn_free(c->path);
    vn_free(c->last);
    vn_free(c->first);
    vn_free(c->rows);
    vn_free(c->row);
    vn_free(c);
    *cache = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

vn_status vn_latent_cache_read(vn_latent_cache *c, int64_t i, bool mirrored, const vn_draw *draw,
                               float *x, vn_err *err) {
    const vn_latents *l = c->latents;
    const size_t numbers = (size_t)c->size * (c->normal ? 2 : 1);
    const float *row = c->row;
    const int64_t variant = mirrored && c->variants == 2;
    if ((uint64_t)i >= c->head.pictures) { /* not kept */
        const vn_status status = encode(c, i, 1, err);
        if (status) return status;
        row = c->rows + (size_t)variant * numbers;
    } else {
        const uint64_t at = ((uint64_t)i * c->head.numbers + (uint64_t)variant * numbers);
        if (!vn_cache_read_at(c->fd, c->row, numbers * sizeof(float),
                              sizeof(head) + at * sizeof(float)))
            return vn_fail(err, VN_IO, "%s: cannot be read, or has become shorter", c->path);
    }
    if (c->normal)
        vn_random_normal(x, (size_t)c->size, draw->seed, VN_STREAM_LATENT, draw->index, draw->step);
    for (int64_t k = 0; k < c->size; k++) {
        const int64_t channel = k % l->channels;
        const double by = l->scale / (l->deviation ? l->deviation[channel] : 1),
                     from = l->shift + (l->mean ? l->mean[channel] : 0);
        double z = (double)row[k];
        if (c->normal) z += exp((double)row[c->size + k] / 2) * (double)x[k];
        x[k] = (float)((z - from) * by);
    }
    return VN_OK;
}
