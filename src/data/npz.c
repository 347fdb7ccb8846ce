/* npz.c - numpy's archive: `images` (uint8, or floats in [-1, 1]; [N,H,W], [N,H,W,C] or [N,C,H,W])
 * or `points` (float, [N,D]), `labels` (whole numbers, [N]), `class_names` (text, [K]), `captions`
 * (text, [N], or several of each sample, [N,K]) and `noise` (float, as images or points), which may
 * be missing. Stored or compressed, through libzip.
 *
 * What the archive says of a member's size is believed only as far as its compressed bytes can
 * carry it, so memory is never taken on a small file's word alone. Arrays are streamed: nothing is
 * held twice. */
#include "data/folder.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

enum {
    CHUNK = 4096,
    PIECE = 1 << 20,
    MAX_CLASSES = 65536,
    MAX_DIMENSION = 65536,
    MAX_HEADER = 65536
};

typedef struct member {
    zip_file_t *file;
    uint64_t left; /* bytes not yet read */
    vn_npy array;
    vn_reading reading;
} member;

/* ---- members --------------------------------------------------------------------------------- */

/* libzip tells some failed allocations as other errors ("not a zip archive"); malloc's errno gives
 * them away. */
static vn_status zip_failed(zip_error_t *e, vn_err *err) {
    const int code = zip_error_code_zip(e);
    const bool system = code == ZIP_ER_NOENT || zip_error_system_type(e) == ZIP_ET_SYS;
    if (code == ZIP_ER_MEMORY || errno == ENOMEM) return vn_no_memory(err);
    return vn_fail(err, system ? VN_IO : VN_BAD_FILE, "%s", zip_error_strerror(e));
}

static vn_status member_read(member *m, void *to, size_t size, vn_err *err) {
    if (size > m->left) return vn_fail(err, VN_BAD_FILE, "ends too early");
    uint8_t *at = to;
    while (size > 0) {
        const zip_int64_t got = zip_fread(m->file, at, size < PIECE ? size : PIECE);
        if (got < 0) return zip_failed(zip_file_get_error(m->file), err);
        if (got == 0) return vn_fail(err, VN_BAD_FILE, "ends too early");
        at += got;
        size -= (size_t)got;
        m->left -= (uint64_t)got;
        const vn_status status = vn_reading_advance(&m->reading, (uint64_t)got, err);
        if (status) return status;
    }
    return VN_OK;
}

/* Reading past the end is what makes libzip compare the checksum. */
static vn_status member_end(member *m, vn_err *err) {
    uint8_t more;
    const zip_int64_t got = zip_fread(m->file, &more, 1);
    if (got < 0) return zip_failed(zip_file_get_error(m->file), err);
    return got == 0 ? VN_OK : vn_fail(err, VN_BAD_FILE, "holds more bytes than its shape says");
}

static vn_status read_header(member *m, vn_err *err) {
    uint8_t head[12];
    char text[MAX_HEADER];
    vn_status status = member_read(m, head, 8, err);
    if (status) return status;
    const int version = head[6], length_bytes = version == 1 ? 2 : 4;
    if (memcmp(head, "\x93NUMPY", 6) != 0 || version < 1 || version > 3)
        return vn_fail(err, VN_BAD_FILE, "is not a numpy array");
    status = member_read(m, head + 8, (size_t)length_bytes, err);
    if (status) return status;
    uint32_t length = 0;
    for (int i = 0; i < length_bytes; i++) length |= (uint32_t)head[8 + i] << (8 * i);
    if (length > sizeof text) return vn_fail(err, VN_BAD_FILE, "has a header of %u bytes", length);
    status = member_read(m, text, length, err);
    if (!status) status = vn_npy_parse(text, length, &m->array, err);
    if (!status && m->array.count * (size_t)m->array.bytes != m->left)
        status = vn_fail(err, VN_BAD_FILE, "has %llu bytes of data where its shape says %zu",
                         (unsigned long long)m->left, m->array.count * (size_t)m->array.bytes);
    return status;
}

static vn_status check_size(const zip_stat_t *info, vn_err *err) {
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
    if ((info->valid & needed) != needed) return vn_fail(err, VN_BAD_FILE, "has no size");
    if (info->size / VN_DEFLATE_RATIO > info->comp_size)
        return vn_fail(err, VN_BAD_FILE,
                       "claims %llu bytes, more than its %llu compressed bytes can hold",
                       (unsigned long long)info->size, (unsigned long long)info->comp_size);
    return VN_OK;
}

/* *found tells whether the archive has the member; only then is there something to close. */
static vn_status member_open(zip_t *zip, const char *name, const vn_watch *watch, member *m,
                             bool *found, vn_err *err) {
    zip_stat_t info;
    *m = (member){0};
    const zip_int64_t index = zip_name_locate(zip, name, 0);
    *found = index >= 0;
    if (!*found)
        return zip_error_code_zip(zip_get_error(zip)) == ZIP_ER_MEMORY ? vn_no_memory(err) : VN_OK;
    if (zip_stat_index(zip, (zip_uint64_t)index, 0, &info) != 0)
        return zip_failed(zip_get_error(zip), err);
    vn_status status = check_size(&info, err);
    if (status) return status;
    m->file = zip_fopen_index(zip, (zip_uint64_t)index, 0);
    if (!m->file) return zip_failed(zip_get_error(zip), err);
    m->left = info.size;
    vn_reading_begin(&m->reading, watch, info.size);
    return read_header(m, err);
}

static void member_close(member *m) {
    if (m->file) zip_fclose(m->file);
    m->file = NULL;
}

/* ---- what is in them ------------------------------------------------------------------------- */

static bool is_channels(int64_t n) {
    return n == 1 || n == 3;
}

/* Sets the shape; *planar when each image is [C, H, W]. Where both readings fit, channels are
 * last. */
static vn_status image_shape(const vn_npy *a, vn_source *out, bool *planar, vn_err *err) {
    if (a->kind != 'f' && (a->kind != 'u' || a->bytes != 1))
        return vn_fail(err, VN_UNSUPPORTED, "images must be uint8, or floats in [-1, 1]");
    const bool has_channels = a->rank == 4; /* else one, without an axis */
    if (!has_channels && a->rank != 3)
        return vn_fail(err, VN_BAD_FILE,
                       "images must be [N,H,W], [N,H,W,C] or [N,C,H,W], not of %d axes", a->rank);
    *planar = has_channels && !is_channels(a->dim[3]);
    const int64_t channels = has_channels ? a->dim[*planar ? 1 : 3] : 1;
    if (!is_channels(channels))
        return vn_fail(err, VN_UNSUPPORTED, "images must have 1 or 3 channels");
    if (a->count == 0) return vn_fail(err, VN_BAD_FILE, "images of no size");
    out->sample.rank = 3;
    out->count = a->dim[0];
    out->sample.dim[0] = channels;
    out->sample.dim[1] = a->dim[*planar ? 2 : 1];
    out->sample.dim[2] = a->dim[*planar ? 3 : 2];
    return VN_OK;
}

/* Floats of samples, [N,..] of `numbers` each; planar: each is [C,H,W] there, [H,W,C] in `to`. */
static vn_status read_floats(member *m, bool planar, size_t channels, size_t numbers, float *to,
                             vn_err *err) {
    uint8_t chunk[CHUNK * 8];
    const vn_npy *a = &m->array;
    const size_t plane = numbers / channels;
    for (size_t first = 0; first < a->count; first += CHUNK) {
        const size_t n = a->count - first < CHUNK ? a->count - first : CHUNK;
        const vn_status status = member_read(m, chunk, n * (size_t)a->bytes, err);
        if (status) return status;
        for (size_t i = 0; i < n; i++) {
            const size_t at = first + i, within = at % numbers;
            const float x = (float)vn_npy_float(a, chunk + i * (size_t)a->bytes);
            if (!isfinite(x))
                return vn_fail(err, VN_BAD_FILE, "row %zu holds %g", at / numbers, (double)x);
            to[planar ? at - within + within % plane * channels + within / plane : at] = x;
        }
    }
    return VN_OK;
}

/* [C, H, W] to [H, W, C] through `work`. */
static void interleave(uint8_t *image, uint8_t *work, size_t channels, size_t plane) {
    memcpy(work, image, channels * plane);
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < plane; i++) image[i * channels + c] = work[c * plane + i];
}

static vn_status read_images(member *m, vn_source *out, vn_err *err) {
    bool planar = false;
    vn_status status = image_shape(&m->array, out, &planar, err);
    if (status) return status;
    const size_t channels = (size_t)out->sample.dim[0],
                 plane = (size_t)(out->sample.dim[1] * out->sample.dim[2]);
    const size_t numbers = m->array.count / (size_t)out->count;
    const bool floats = m->array.kind == 'f';
    status = vn_source_fits(out->count, (double)numbers * (floats ? sizeof(float) : 1), err);
    if (status) return status;
    if (floats) {
        out->points = vn_alloc(m->array.count, sizeof *out->points);
        return out->points ? read_floats(m, planar, channels, numbers, out->points, err)
                           : vn_no_memory(err);
    }
    uint8_t *work = vn_alloc(channels, plane);
    out->pixels = vn_alloc(m->array.count, 1);
    status = work != NULL && out->pixels ? member_read(m, out->pixels, m->array.count, err)
                                         : vn_no_memory(err);
    for (int64_t i = 0; planar && !status && i < out->count; i++)
        interleave(out->pixels + (size_t)i * channels * plane, work, channels, plane);
    vn_free(work);
    return status;
}

/* Streams all elements of whole numbers through `take`. */
static vn_status each_chunk(member *m,
                            vn_status (*take)(const vn_npy *, const uint8_t *, size_t, size_t,
                                              vn_source *, vn_err *),
                            vn_source *out, vn_err *err) {
    uint8_t chunk[CHUNK * 8];
    const vn_npy *a = &m->array;
    vn_status status = VN_OK;
    for (size_t first = 0; !status && first < a->count; first += CHUNK) {
        const size_t n = a->count - first < CHUNK ? a->count - first : CHUNK;
        status = member_read(m, chunk, n * (size_t)a->bytes, err);
        if (!status) status = take(a, chunk, first, n, out, err);
    }
    return status;
}

static vn_status read_points(member *m, vn_source *out, vn_err *err) {
    const vn_npy *a = &m->array;
    if (a->kind != 'f') return vn_fail(err, VN_UNSUPPORTED, "points must be float32 or float64");
    if (a->rank != 2)
        return vn_fail(err, VN_BAD_FILE, "points must be [N,D], not of %d axes", a->rank);
    if (a->dim[1] < 1 || a->dim[1] > MAX_DIMENSION)
        return vn_fail(err, VN_BAD_FILE, "points of dimension %lld", (long long)a->dim[1]);
    out->sample.rank = 1;
    out->count = a->dim[0];
    out->sample.dim[0] = a->dim[1];
    const vn_status status =
        vn_source_fits(out->count, (double)a->dim[1] * sizeof *out->points, err);
    if (status) return status;
    out->points = vn_alloc(a->count, sizeof *out->points);
    return out->points ? read_floats(m, false, 1, (size_t)a->dim[1], out->points, err)
                       : vn_no_memory(err);
}

/* Like the images or points, which were read before. */
static vn_status read_noise(member *m, vn_source *out, vn_err *err) {
    const vn_npy *a = &m->array;
    const size_t numbers = vn_source_sample_size(out);
    const bool image = vn_shape_is_image(&out->sample);
    vn_source like = {0};
    bool planar = false;
    if (a->kind != 'f') return vn_fail(err, VN_UNSUPPORTED, "noise must be float32 or float64");
    vn_status status = image ? image_shape(a, &like, &planar, err) : VN_OK;
    if (status) return status;
    if (image ? like.count != out->count || !vn_shape_equal(&like.sample, &out->sample)
              : a->rank != 2 || a->dim[0] != out->count || a->dim[1] != out->sample.dim[0])
        return vn_fail(err, VN_BAD_FILE, "has not the shape of the %s",
                       image ? "images" : "points");
    const size_t beside = out->points ? sizeof(float) : 1;
    status = vn_source_fits(out->count, (double)numbers * (double)(beside + sizeof(float)), err);
    if (status) return status;
    out->noise = vn_alloc(a->count, sizeof *out->noise);
    if (!out->noise) return vn_no_memory(err);
    out->brings_noise = true;
    return read_floats(m, planar, image ? (size_t)out->sample.dim[0] : 1, numbers, out->noise, err);
}

/* Grows out->classes to hold the labels; a fixed number of classes is checked afterwards. */
static vn_status take_labels(const vn_npy *a, const uint8_t *chunk, size_t first, size_t n,
                             vn_source *out, vn_err *err) {
    for (size_t i = 0; i < n; i++) {
        const int64_t label = vn_npy_int(a, chunk + i * (size_t)a->bytes);
        if (label < 0 || label >= MAX_CLASSES) {
            char text[32];
            vn_npy_int_text(a, chunk + i * (size_t)a->bytes, text);
            return vn_fail(err, VN_BAD_FILE, "label %s of sample %zu is not in [0, %d)", text,
                           first + i, MAX_CLASSES);
        }
        out->labels[first + i] = (int32_t)label;
        if (label >= out->classes) out->classes = (int32_t)label + 1;
    }
    return VN_OK;
}

static vn_status read_labels(member *m, vn_source *out, vn_err *err) {
    const vn_npy *a = &m->array;
    if (a->kind != 'u' && a->kind != 'i')
        return vn_fail(err, VN_UNSUPPORTED, "labels must be whole numbers");
    if (a->rank != 1)
        return vn_fail(err, VN_BAD_FILE, "labels must be [N], not of %d axes", a->rank);
    if (a->dim[0] != out->count)
        return vn_fail(err, VN_BAD_FILE, "%lld labels for %lld samples", (long long)a->dim[0],
                       (long long)out->count);
    out->labels = vn_alloc(a->count, sizeof *out->labels);
    return out->labels ? each_chunk(m, take_labels, out, err) : vn_no_memory(err);
}

static vn_status read_names(member *m, vn_source *out, vn_err *err) {
    const vn_npy *a = &m->array;
    const int32_t used = out->classes;
    if ((a->kind != 'U' && a->kind != 'S') || a->rank != 1)
        return vn_fail(err, VN_UNSUPPORTED, "must be texts [K]");
    if (!out->labels) return vn_fail(err, VN_BAD_FILE, "without labels");
    if (a->bytes > VN_NPY_MAX_TEXT * (a->kind == 'U' ? 4 : 1))
        return vn_fail(err, VN_UNSUPPORTED, "names of up to %d letters are supported",
                       VN_NPY_MAX_TEXT);
    if (a->dim[0] < used || a->dim[0] > MAX_CLASSES)
        return vn_fail(err, VN_BAD_FILE, "%lld names, but label %d occurs", (long long)a->dim[0],
                       (int)used - 1);
    uint8_t element[4 * VN_NPY_MAX_TEXT];
    char text[4 * VN_NPY_MAX_TEXT + 1];
    vn_status status = vn_source_room_for_names(out, (int32_t)a->dim[0], err);
    for (int32_t k = 0; !status && k < out->classes; k++) {
        status = member_read(m, element, (size_t)a->bytes, err);
        if (status) break;
        vn_npy_text(a, element, text);
        status = vn_source_set_name(out, k, text, strlen(text), err);
    }
    return status;
}

/* Reads a member, if there is one. */
static vn_status read_member(zip_t *zip, const char *name,
                             vn_status (*read)(member *, vn_source *, vn_err *),
                             const vn_watch *watch, vn_source *out, bool *found, vn_err *err) {
    member m;
    vn_status status = member_open(zip, name, watch, &m, found, err);
    if (!status && *found) status = read(&m, out, err);
    if (!status && *found) status = member_end(&m, err);
    member_close(&m);
    if (status) vn_fail_in(err, "%s", name);
    return status;
}

/* ---- captions -------------------------------------------------------------------------------- */

const vn_caption_row vn_array_captions = {
    {"array", "`captions` of an .npz: a text for each sample, or several", "numpy", NULL},
    "`captions` of an .npz",
    NULL,
    NULL};

/* [N] or [N,K]; an empty text is none. */
static vn_status read_captions(member *m, vn_source *out, vn_err *err) {
    const vn_npy *a = &m->array;
    if ((a->kind != 'U' && a->kind != 'S') || (a->rank != 1 && a->rank != 2))
        return vn_fail(err, VN_UNSUPPORTED,
                       "must be texts, one for each sample [N] or several [N,K]");
    if (a->dim[0] != out->count)
        return vn_fail(err, VN_BAD_FILE, "texts of %lld samples, and there are %lld",
                       (long long)a->dim[0], (long long)out->count);
    const int64_t each = a->rank == 2 ? a->dim[1] : 1;
    const size_t bytes = (size_t)a->bytes;
    uint8_t *element = vn_alloc(bytes, 1);
    char *text = vn_alloc(bytes + 1, 1); /* UTF-8 is no longer than UTF-32 */
    int32_t *lists = vn_calloc((size_t)out->count, sizeof *lists);
    vn_status status =
        element && text && lists ? vn_captions_open(&out->captions, err) : vn_no_memory(err);
    for (int64_t i = 0; !status && i < out->count; i++) {
        for (int64_t k = 0; !status && k < each; k++) {
            size_t size = 0;
            status = member_read(m, element, bytes, err);
            if (status) break;
            status = vn_npy_caption(a, element, text, &size, err);
            if (!status)
                status = vn_captions_add_trimmed(out->captions, &lists[i], text, size, err);
            if (status) vn_fail_in(err, "sample %lld", (long long)i);
        }
    }
    if (!status) status = vn_captions_settle(out->captions, lists, out->count, err);
    vn_free(element);
    vn_free(text);
    vn_free(lists);
    out->captions_from = vn_array_captions.row.name;
    return status;
}

/* Captions stand in the place of classes. */
static void forget_labels(vn_source *s) {
    vn_free(s->labels);
    s->labels = NULL;
    s->classes = 0;
}

/* By options->captions, or what is there. */
static vn_status choose_captions(zip_t *zip, const vn_data_options *o, vn_source *out,
                                 vn_err *err) {
    const bool named = o->captions && strcmp(o->captions, vn_array_captions.row.name) == 0;
    bool found = false;
    if (o->captions && !named) return VN_OK;
    if (!named && !vn_shape_is_image(&out->sample)) {
        if (zip_name_locate(zip, "captions.npy", 0) >= 0)
            vn_log(o->watch, VN_LOG_INFO,
                   "captions of points are left aside; `captions=array` "
                   "takes them");
        return VN_OK;
    }
    const vn_status status =
        read_member(zip, "captions.npy", read_captions, o->watch, out, &found, err);
    if (!status && found) forget_labels(out);
    if (status || found || !named) return status;
    return vn_fail(err, VN_BAD_FILE, "holds no \"captions\"");
}

/* ---- the archive ----------------------------------------------------------------------------- */

static vn_status read_archive(zip_t *zip, const vn_data_options *options, vn_source *out,
                              vn_err *err) {
    const vn_watch *watch = options->watch;
    bool images = false, points = false, labels = false, names = false, noise = false;
    if (zip_name_locate(zip, "images.npy", 0) >= 0 && zip_name_locate(zip, "points.npy", 0) >= 0)
        return vn_fail(err, VN_BAD_FILE, "holds both \"images\" and \"points\"");
    vn_status status = read_member(zip, "images.npy", read_images, watch, out, &images, err);
    if (!status && !images)
        status = read_member(zip, "points.npy", read_points, watch, out, &points, err);
    if (!status && !images && !points)
        status = vn_fail(err, VN_BAD_FILE, "holds neither \"images\" nor \"points\"");
    if (!status) status = read_member(zip, "labels.npy", read_labels, watch, out, &labels, err);
    if (!status) status = read_member(zip, "class_names.npy", read_names, watch, out, &names, err);
    if (!status) status = read_member(zip, "noise.npy", read_noise, watch, out, &noise, err);
    if (!status && labels && !names) status = vn_source_number_names(out, out->classes, err);
    return !status ? choose_captions(zip, options, out, err) : status;
}

bool vn_npz_detect(const char *source) {
    return vn_ends_with(source, ".npz");
}

vn_status vn_npz_open(const char *source, const vn_data_options *options, vn_source *out,
                      vn_err *err) {
    int code = 0, fd;
    /* what libzip would wait for, or call "not supported" */
    vn_status status = vn_file_open(source, &fd, err);
    if (status) return status;
    close(fd);
    errno = 0;
    zip_t *zip = zip_open(source, ZIP_RDONLY, &code);
    if (!zip) {
        zip_error_t e;
        zip_error_init_with_code(&e, code);
        zip_failed(&e, err);
        zip_error_fini(&e);
        return vn_fail_in(err, "%s", source);
    }
    status = read_archive(zip, options, out, err);
    zip_discard(zip);
    if (status) vn_fail_in(err, "%s", source);
    return status;
}
