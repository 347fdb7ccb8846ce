/* idx.c - the IDX pair of MNIST and its successors: images [N, H, W] and labels [N], unsigned
 * bytes, often gzipped. Images in a folder without any file of labels have no classes; labels of
 * another part beside them, or under another name, mean that theirs are missing.
 *
 * The format has no class names. A `labels.txt` beside the pair gives them, one a line;
 * Fashion-MNIST is recognised by the checksum of its labels, whatever the folder is called;
 * otherwise the classes are "0", "1", ... */
#include "data/internal.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { MAGIC_LABELS = 0x0801, MAGIC_IMAGES = 0x0803, CHUNK = 1 << 20 };

/* ---- finding the pair ------------------------------------------------------------------------ */

/* Names differ in one letter between distributions. */
static const char *const image_names[] = {"train-images-idx3-ubyte", "train-images-idx3-ubyte.gz",
                                          "train-images.idx3-ubyte", "train-images.idx3-ubyte.gz"};

/* Replaces the last `from` in text by `to`, which is as long. */
static void replace_last(char *text, const char *from, const char *to) {
    char *found = NULL;
    for (char *at = text; (at = strstr(at, from)); at++) found = at;
    while (found && *to != '\0') *found++ = *to++;
}

static bool is_pair_name(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return (strstr(name, "idx3-ubyte") != NULL && strstr(name, "images")) ||
           (strstr(name, "idx1-ubyte") != NULL && strstr(name, "labels"));
}

static const char *find_images(const char *folder) {
    for (size_t i = 0; i < VN_COUNT(image_names); i++)
        if (vn_source_has(folder, image_names[i])) return image_names[i];
    return NULL;
}

bool vn_idx_detect(const char *source) {
    return vn_is_dir(source) ? find_images(source) != NULL : is_pair_name(source);
}

static const char *const words[2][2] = {{"images", "labels"}, {"idx3", "idx1"}};

/* New string: `path` as part 0 (images) or 1 (labels) of its pair, gzipped if `path` is, or if
 * `other` the other way round. */
static char *partner_named(const char *path, int part, bool other) {
    const bool packed = vn_ends_with(path, ".gz");
    const int plain = (int)strlen(path) - (packed ? 3 : 0);
    char *partner = vn_format("%.*s%s", plain, path, packed != other ? ".gz" : "");
    for (int i = 0; partner != NULL && i < 2; i++)
        replace_last(partner, words[i][1 - part], words[i][part]);
    return partner;
}

/* The partner of one file of a pair: gzipped or not, whichever is there; if neither is, the one
 * that should be. */
static char *partner_of(const char *path, int part) {
    for (int other = 0; other < 2; other++) {
        char *partner = partner_named(path, part, other != 0);
        if (!partner || vn_is_file(partner)) return partner;
        vn_free(partner);
    }
    return partner_named(path, part, false);
}

static char *images_of(const char *source) {
    const char *slash = strrchr(source, '/');
    if (vn_is_dir(source)) return vn_path_join(source, find_images(source));
    return strstr(slash ? slash : source, "idx3") ? vn_strdup(source) : partner_of(source, 0);
}

static bool is_labels_name(const char *name) {
    return strstr(name, "idx1-ubyte") != NULL;
}

/* Whether the folder that `file` lies in holds a file of labels, whatever of. One that cannot be
 * read may. */
static vn_status labels_beside(const char *file, bool *out, vn_err *err) {
    const char *slash = strrchr(file, '/');
    char *folder = slash ? vn_format("%.*s", (int)(slash - file + 1), file) : vn_strdup(".");
    DIR *dir = folder ? opendir(folder) : NULL;
    *out = !dir;
    for (const struct dirent *e; dir && !*out && (e = readdir(dir));)
        *out = is_labels_name(e->d_name);
    if (dir) closedir(dir);
    const bool memory = folder != NULL;
    vn_free(folder);
    return memory ? VN_OK : vn_no_memory(err);
}

/* ---- one file -------------------------------------------------------------------------------- */

/* An open file, gzipped or plain (zlib reads both). Errors do not carry its name: the caller adds
 * it. */
typedef struct packed {
    gzFile file;
    uint64_t bytes; /* on disk */
    vn_reading reading;
} packed;

static vn_status packed_open(packed *p, const char *path, vn_err *err) {
    struct stat info;
    if (stat(path, &info) != 0) return vn_fail_errno(err, "cannot be read");
    if (S_ISDIR(info.st_mode)) return vn_fail(err, VN_IO, "is a folder");
    if (!S_ISREG(info.st_mode)) return vn_fail(err, VN_IO, "is not a regular file");
    p->bytes = (uint64_t)info.st_size;
    errno = ENOMEM; /* gzopen does not set it when its own memory runs out */
    p->file = gzopen(path, "rbe");
    if (!p->file) return vn_fail_errno(err, "cannot be read");
    return VN_OK;
}

static vn_status packed_error(const packed *p, vn_err *err) {
    int code = Z_OK;
    const char *text = gzerror(p->file, &code);
    if (code == Z_MEM_ERROR) return vn_no_memory(err);
    if (code == Z_ERRNO) return vn_fail_errno(err, "cannot be read");
    if (code == Z_OK || code == Z_BUF_ERROR || code == Z_STREAM_END)
        return vn_fail(err, VN_BAD_FILE, "the file ends too early");
    return vn_fail(err, VN_BAD_FILE, "damaged gzip data (%s)", text);
}

static vn_status packed_read(packed *p, uint8_t *to, size_t size, vn_err *err) {
    while (size > 0) {
        const unsigned part = size < CHUNK ? (unsigned)size : CHUNK;
        const int got = gzread(p->file, to, part);
        if (got < 0 || (unsigned)got < part) return packed_error(p, err);
        const vn_status status = vn_reading_advance(&p->reading, part, err);
        if (status) return status;
        to += part;
        size -= part;
    }
    return VN_OK;
}

/* Nothing may follow, and of gzipped data the checksum must be there and right. */
static vn_status packed_end(packed *p, vn_err *err) {
    uint8_t more;
    int code = Z_OK;
    if (gzread(p->file, &more, 1) > 0)
        return vn_fail(err, VN_BAD_FILE, "holds more bytes than its header says");
    gzerror(p->file, &code);
    return code == Z_OK || code == Z_STREAM_END ? VN_OK : packed_error(p, err);
}

static uint32_t big_endian(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Magic and sizes; the product of the sizes must be something that the file can hold. */
static vn_status read_header(packed *p, uint32_t magic, int rank, int64_t *dim, vn_err *err) {
    uint8_t head[16];
    vn_status status = packed_read(p, head, 4 + 4 * (size_t)rank, err);
    if (status) return status;
    if (big_endian(head) != magic)
        return vn_fail(err, VN_BAD_FILE, "not an IDX file of %s (magic number %08x, expected %08x)",
                       magic == MAGIC_IMAGES ? "images" : "labels", big_endian(head), magic);
    uint64_t total = 1;
    bool overflow = false;
    for (int i = 0; i < rank; i++) {
        dim[i] = big_endian(head + 4 + 4 * i);
        overflow = overflow || __builtin_mul_overflow(total, (uint64_t)dim[i], &total);
    }
    if (overflow) return vn_fail(err, VN_BAD_FILE, "claims more data than there can be");
    if (total == 0) return vn_fail(err, VN_BAD_FILE, "claims to hold nothing");
    if (total / VN_DEFLATE_RATIO > p->bytes || (gzdirect(p->file) && total > p->bytes))
        return vn_fail(err, VN_BAD_FILE,
                       "claims %llu bytes of data, more than a file of %llu bytes can hold",
                       (unsigned long long)total, (unsigned long long)p->bytes);
    p->reading.total = total;
    const double pixels = magic == MAGIC_IMAGES ? (double)dim[1] * (double)dim[2] : 0;
    return vn_source_fits(dim[0], pixels, err);
}

/* The whole file: *data receives dim[0] * ... bytes, vn_free'd by the caller. */
static vn_status read_array(const char *path, uint32_t magic, int rank, const vn_watch *watch,
                            int64_t *dim, uint8_t **data, vn_err *err) {
    packed p = {0};
    size_t total = 1;
    vn_reading_begin(&p.reading, watch, 0);
    vn_status status = packed_open(&p, path, err);
    if (!status) status = read_header(&p, magic, rank, dim, err);
    if (!status) {
        for (int i = 0; i < rank; i++) total *= (size_t)dim[i];
        *data = vn_alloc(total, 1);
        status = *data ? packed_read(&p, *data, total, err) : vn_no_memory(err);
    }
    if (!status) status = packed_end(&p, err);
    if (p.file) gzclose_r(p.file);
    if (status) vn_fail_in(err, "%s", path);
    return status;
}

/* ---- the pair -------------------------------------------------------------------------------- */

static const char *const fashion_names[] = {"T-shirt/top", "Trouser",   "Pullover", "Dress",
                                            "Coat",        "Sandal",    "Shirt",    "Sneaker",
                                            "Bag",         "Ankle boot"};

/* Label files of known sets, by count and CRC-32 of the labels. */
static const struct {
    int64_t count;
    uint32_t crc;
    int32_t classes;
    const char *const *names;
} known_labels[] = {
    {60000, 0x2ed6e46a, 10, fashion_names}, /* Fashion-MNIST, train */
    {10000, 0x242bc73f, 10, fashion_names}, /* Fashion-MNIST, test */
};

static vn_status name_classes(vn_source *out, const char *path, const uint8_t *labels, int32_t used,
                              vn_err *err) {
    const char *slash = strrchr(path, '/');
    const int folder = slash ? (int)(slash - path + 1) : 0;
    char *beside = vn_format("%.*slabels.txt", folder, path);
    if (!beside) return vn_no_memory(err);
    vn_status status = VN_OK;
    if (vn_is_file(beside)) {
        status = vn_source_read_names(out, beside, 0, err);
        if (!status && out->classes < used)
            status = vn_fail(err, VN_BAD_FILE, "%s: label %d, but %s names %d classes", path,
                             (int)used - 1, beside, (int)out->classes);
        vn_free(beside);
        return status;
    }
    vn_free(beside);
    const uint32_t crc = (uint32_t)crc32_z(crc32_z(0, NULL, 0), labels, (size_t)out->count);
    for (size_t i = 0; i < VN_COUNT(known_labels); i++)
        if (known_labels[i].count == out->count && known_labels[i].crc == crc)
            return vn_source_copy_names(out, known_labels[i].names, known_labels[i].classes, err);
    return vn_source_number_names(out, used, err);
}

static vn_status take_labels(vn_source *out, const char *path, const uint8_t *labels, vn_err *err) {
    int32_t used = 0;
    out->labels = vn_alloc((size_t)out->count, sizeof *out->labels);
    if (!out->labels) return vn_no_memory(err);
    for (int64_t i = 0; i < out->count; i++) {
        out->labels[i] = labels[i];
        if (labels[i] >= used) used = labels[i] + 1;
    }
    return name_classes(out, path, labels, used, err);
}

static vn_status read_images(const char *images, const vn_watch *watch, vn_source *out,
                             vn_err *err) {
    int64_t size[3] = {0};
    const vn_status status = read_array(images, MAGIC_IMAGES, 3, watch, size, &out->pixels, err);
    if (status) return status;
    out->sample.rank = 3;
    out->sample.dim[0] = 1;
    out->sample.dim[1] = size[1];
    out->sample.dim[2] = size[2];
    out->count = size[0];
    return VN_OK;
}

static vn_status read_pair(const char *images, const char *labels, const vn_watch *watch,
                           vn_source *out, vn_err *err) {
    int64_t count = 0;
    uint8_t *label = NULL;
    vn_status status = read_array(labels, MAGIC_LABELS, 1, watch, &count, &label, err);
    if (!status) status = read_images(images, watch, out, err);
    if (!status && out->count != count)
        status = vn_fail(err, VN_BAD_FILE, "%s holds %lld images, but %s holds %lld labels", images,
                         (long long)out->count, labels, (long long)count);
    if (!status) status = take_labels(out, labels, label, err);
    vn_free(label);
    return status;
}

/* Images alone, which a line says: labels may have been forgotten. */
static vn_status read_unlabelled(const char *images, const char *labels, const vn_watch *watch,
                                 vn_source *out, vn_err *err) {
    const vn_status status = read_images(images, watch, out, err);
    if (status) return status;
    vn_log(watch, VN_LOG_INFO, "%s: images without classes, as there is no %s", images, labels);
    return VN_OK;
}

vn_status vn_idx_open(const char *source, const vn_data_options *options, vn_source *out,
                      vn_err *err) {
    bool labelled = true;
    char *images = images_of(source), *labels = images ? partner_of(images, 1) : NULL;
    vn_status status = labels ? VN_OK : vn_no_memory(err);
    /* a file of labels that is named must be there */
    const bool named = status || (!vn_is_dir(source) && strcmp(source, images) != 0);
    if (!named && vn_is_file(images) && !vn_is_file(labels))
        status = labels_beside(images, &labelled, err);
    if (!status) {
        vn_status (*read)(const char *, const char *, const vn_watch *, vn_source *, vn_err *) =
            labelled ? read_pair : read_unlabelled;
        status = read(images, labels, options->watch, out, err);
    }
    vn_free(images);
    vn_free(labels);
    return status;
}
