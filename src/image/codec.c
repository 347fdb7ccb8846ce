/* codec.c - the kinds of picture files, and reading one: its kind is what its first bytes say,
 * whatever it is called, and it is turned upright. Kinds that vane does not read have rows too, so
 * that a message can name them. */
#include "image/internal.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool begins(vn_bytes b, const char *with, size_t n) {
    return b.left >= n && memcmp(b.at, with, n) == 0;
}

static bool gif_is(vn_bytes b) {
    return begins(b, "GIF87a", 6) || begins(b, "GIF89a", 6);
}

static bool bmp_is(vn_bytes b) {
    return begins(b, "BM", 2);
}

static bool tiff_is(vn_bytes b) {
    return begins(b, "II*\0", 4) || begins(b, "MM\0*", 4);
}

static bool jxl_is(vn_bytes b) {
    return begins(b, "\xff\x0a", 2) || begins(b, "\0\0\0\x0cJXL \r\n\x87\n", 12);
}

/* ISO's base media format names its brand behind the first box's head. */
static bool brand_is(vn_bytes b, const char *brands) {
    if (b.left < 12 || memcmp(b.at + 4, "ftyp", 4) != 0) return false;
    for (; *brands != '\0'; brands += 4)
        if (memcmp(b.at + 8, brands, 4) == 0) return true;
    return false;
}

static bool avif_is(vn_bytes b) {
    return brand_is(b, "avifavis");
}

static bool heic_is(vn_bytes b) {
    return brand_is(b, "heicheixhevcheimheismif1msf1");
}

/* clang-format off */
const vn_codec vn_codecs[] = {
    {{"PNG",     ".png ",                  true},  vn_png_is,  vn_png_decode,  vn_png_find_exif,
     vn_png_describe},
    {{"JPEG",    ".jpg .jpeg .jpe .jfif ", true},  vn_jpeg_is, vn_jpeg_decode, vn_jpeg_find_exif,
     NULL},
    {{"WebP",    ".webp ",                 true},  vn_webp_is, vn_webp_decode, vn_webp_find_exif,
     NULL},
    {{"GIF",     ".gif ",                  false}, gif_is,     NULL,           NULL, NULL},
    {{"BMP",     ".bmp .dib ",             false}, bmp_is,     NULL,           NULL, NULL},
    {{"TIFF",    ".tif .tiff ",            false}, tiff_is,    NULL,           NULL, NULL},
    {{"HEIC",    ".heic .heif ",           false}, heic_is,    NULL,           NULL, NULL},
    {{"AVIF",    ".avif ",                 false}, avif_is,    NULL,           NULL, NULL},
    {{"JPEG XL", ".jxl ",                  false}, jxl_is,     NULL,           NULL, NULL},
};
/* clang-format on */
const size_t vn_codec_count = VN_COUNT(vn_codecs);

/* ---- kinds ----------------------------------------------------------------------------------- */

static const vn_codec *codec_of(vn_bytes bytes) {
    for (size_t i = 0; i < vn_codec_count; i++)
        if (vn_codecs[i].is(bytes)) return &vn_codecs[i];
    return NULL;
}

const vn_image_kind *vn_image_kind_of(const void *bytes, size_t size) {
    const vn_codec *codec = codec_of((vn_bytes){bytes, size});
    return codec ? &codec->kind : NULL;
}

/* Whether `name` ends in one of them, with something before it. */
static bool has_ending(const char *name, const char *endings) {
    const size_t length = strlen(name);
    for (const char *end; (end = strchr(endings, ' ')); endings = end + 1) {
        const size_t n = (size_t)(end - endings);
        if (length > n && name[length - n - 1] != '/' &&
            vn_begins_but_for_case(endings, name + length - n))
            return true;
    }
    return false;
}

const vn_image_kind *vn_image_kind_named(const char *path) {
    for (size_t i = 0; i < vn_codec_count; i++)
        if (has_ending(path, vn_codecs[i].kind.endings)) return &vn_codecs[i].kind;
    return NULL;
}

bool vn_image_named(const char *path) {
    const vn_image_kind *kind = vn_image_kind_named(path);
    return kind != NULL && kind->reads;
}

/* ---- reading --------------------------------------------------------------------------------- */

static vn_status decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err) {
    const vn_codec *codec = codec_of(bytes);
    *image = (vn_image){0};
    if (!codec)
        return vn_fail(err, VN_BAD_FILE,
                       bytes.left == 0 ? "empty file"
                                       : "no picture of a known kind (" VN_IMAGE_KINDS ")");
    if (!codec->decode)
        return vn_fail(err, VN_UNSUPPORTED,
                       "a %s file, which vane does not read: convert it to " VN_IMAGE_KINDS,
                       codec->kind.name);
    return codec->decode(bytes, header_only, image, err);
}

static int orientation_of(const vn_span *file) {
    uint8_t first[32];
    vn_part exif;
    const size_t n = file->size < sizeof first ? (size_t)file->size : sizeof first;
    const vn_codec *codec = vn_span_read(file, 0, first, n) ? codec_of((vn_bytes){first, n}) : NULL;
    if (!codec || !codec->find_exif || !codec->find_exif(file, &exif)) return 1;
    return vn_exif_orientation(file, &exif);
}

vn_status vn_image_decode(const void *bytes, size_t size, vn_image *image, vn_err *err) {
    vn_status status = decode((vn_bytes){bytes, size}, false, image, err);
    if (!status)
        status = vn_image_orient(image, orientation_of(&(vn_span){bytes, -1, size, 0}), err);
    if (status) vn_image_free(image);
    return status;
}

vn_status vn_image_read(const char *path, vn_image *image, vn_err *err) {
    char *data = NULL;
    size_t size = 0;
    *image = (vn_image){0};
    vn_status status = vn_read_file(path, vn_image_bound(), &data, &size, err);
    if (status) return status;
    status = vn_image_decode(data, size, image, err);
    vn_free(data);
    if (status) vn_fail_in(err, "%s", path);
    return status;
}

/* Nearly every header lies in the file's first 16 KiB; where it does not (thumbnails and colour
 * profiles come first), or where something is wrong, more and more of the file is read. */
static vn_status read_header(const vn_span *file, vn_image *image, vn_err *err) {
    uint8_t *bytes = NULL;
    vn_status status = VN_OK;
    for (uint64_t want = 1 << 14;; want *= 16) {
        const size_t n = want < file->size ? (size_t)want : (size_t)file->size;
        uint8_t *grown = vn_realloc(bytes, n, 1);
        if (!grown) status = vn_no_memory(err);
        if (!grown) break;
        bytes = grown;
        status = vn_span_read(file, 0, bytes, n) ? decode((vn_bytes){bytes, n}, true, image, err)
                                                 : vn_fail_errno(err, "cannot be read");
        if (!status || status == VN_NO_MEMORY || n == file->size) break;
    }
    vn_free(bytes);
    return status;
}

vn_status vn_image_probe_part(int fd, uint64_t at, uint64_t size, vn_image *image, vn_err *err) {
    const vn_span part = {.fd = fd, .size = size, .begin = at};
    *image = (vn_image){0};
    vn_status status =
        size <= vn_image_bound()
            ? read_header(&part, image, err)
            : vn_fail(err, VN_BAD_FILE, "larger than %zu bytes, which is too large for a picture",
                      vn_image_bound());
    if (!status) status = vn_image_orient(image, orientation_of(&part), err);
    return status;
}

vn_status vn_image_probe(const char *path, vn_image *image, vn_err *err) {
    vn_span file = {0};
    struct stat info;
    *image = (vn_image){0};
    vn_status status = vn_file_open(path, &file.fd, err);
    if (status) return status;
    if (fstat(file.fd, &info) != 0)
        status = vn_fail_errno(err, "cannot be read");
    else if ((uint64_t)info.st_size > vn_image_bound())
        status =
            vn_fail(err, VN_BAD_FILE, "larger than %zu bytes, which is too large for a picture",
                    vn_image_bound());
    file.size = !status ? (uint64_t)info.st_size : 0;
    if (!status) status = read_header(&file, image, err);
    if (!status) status = vn_image_orient(image, orientation_of(&file), err);
    close(file.fd);
    if (status) vn_fail_in(err, "%s", path);
    return status;
}

/* ---- describing ------------------------------------------------------------------------------ */

static vn_status codec_of_file(const char *path, const vn_codec **codec, vn_err *err) {
    uint8_t first[32];
    vn_span file = {.size = sizeof first};
    const vn_status status = vn_file_open(path, &file.fd, err);
    if (status) return status;
    *codec = vn_span_read(&file, 0, first, sizeof first) ? codec_of((vn_bytes){first, sizeof first})
                                                         : NULL;
    close(file.fd);
    return VN_OK;
}

vn_status vn_image_describe(const char *path, json_t **out, vn_err *err) {
    vn_image image;
    const vn_codec *codec = NULL;
    json_t *own = NULL;
    *out = NULL;
    vn_status status = vn_image_read(path, &image, err);
    if (!status) status = codec_of_file(path, &codec, err);
    if (!status && codec && codec->describe) status = codec->describe(path, &own, err);
    if (!status) {
        *out = json_pack("{s:s, s:i, s:i, s:i}", "format", codec ? codec->kind.name : "", "width",
                         image.width, "height", image.height, "channels", image.channels);
        json_t *text = json_object_get(own, "text");
        if (!*out || (text != NULL && json_object_set(*out, "text", text) != 0))
            status = vn_no_memory(err);
    }
    if (status) json_decref(*out);
    if (status) *out = NULL;
    json_decref(own);
    vn_image_free(&image);
    return status;
}
