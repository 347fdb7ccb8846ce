/* png.c - PNG through libpng. Its errors arrive by longjmp, so everything that must survive one
 * is in a struct outside the function that sets the trap. Memory is taken through vn_alloc, so
 * that running out of it is told from a bad file. */
#include "image/internal.h"

#include <setjmp.h>
#include <string.h>
#include <png.h>

/* Of text and the like; pixels are bounded by the picture's size. MAX_WALK: of all chunks, when
 * EXIF is looked for. */
enum { MAX_CHUNK = 8 << 20, MAX_CHUNKS = 1000, MAX_TEXT = 64 << 20, MAX_WALK = 1 << 16 };

typedef struct session {
    png_structp png;
    png_infop info;
    jmp_buf trap;
    bool out_of_memory, too_much;
    /* what libpng may still take in all; a chunk of a few bytes can hold megabytes of text */
    size_t left;
    vn_err *err;
} session;

bool vn_png_is(vn_bytes bytes) {
    return bytes.left >= 8 && memcmp(bytes.at, "\x89PNG\r\n\x1a\n", 8) == 0;
}

/* A chunk is its length, four letters, its data and a checksum. EXIF may stand behind the pixels,
 * where ImageMagick puts it. */
bool vn_png_find_exif(const vn_span *file, vn_part *exif) {
    uint8_t head[8];
    uint64_t at = 8;
    for (int chunks = 0; chunks < MAX_WALK && vn_span_read(file, at, head, sizeof head); chunks++) {
        const uint32_t size =
            (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
        *exif = (vn_part){at + 8, size};
        if (memcmp(head + 4, "eXIf", 4) == 0) return true;
        at += 12 + (uint64_t)size;
    }
    return false;
}

/* ---- what libpng calls ----------------------------------------------------------------------- */

static void *take(png_structp png, png_alloc_size_t size) {
    session *p = png_get_mem_ptr(png);
    p->too_much = p->too_much || size > p->left;
    if (p->too_much) return NULL;
    p->left -= size;
    void *memory = vn_alloc(1, size);
    if (!memory) p->out_of_memory = true;
    return memory;
}

static void give(png_structp png, void *memory) {
    (void)png;
    vn_free(memory);
}

/* What libpng went on without, or told in words of its own; VN_OK: nothing. */
static vn_status lacked(const session *p) {
    if (p->out_of_memory) return vn_no_memory(p->err);
    return p->too_much
               ? vn_fail(p->err, VN_BAD_FILE, "PNG: more than %d MB of text", MAX_TEXT >> 20)
               : VN_OK;
}

static _Noreturn void on_error(png_structp png, const char *text) {
    session *p = png_get_error_ptr(png);
    if (lacked(p) == VN_OK) vn_fail(p->err, VN_BAD_FILE, "PNG: %s", text);
    longjmp(p->trap, 1);
}

/* libpng warns of what it can do without (a bad profile, an unknown time); pixels are not
 * concerned. */
static void on_warning(png_structp png, const char *text) {
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep to, size_t size) {
    vn_bytes *bytes = png_get_io_ptr(png);
    if (size > bytes->left) png_error(png, "the file ends too early");
    memcpy(to, bytes->at, size);
    bytes->at += size;
    bytes->left -= size;
}

static void write_bytes(png_structp png, png_bytep from, size_t size) {
    session *p = png_get_error_ptr(png);
    if (fwrite(from, 1, size, png_get_io_ptr(png)) == size) return;
    vn_fail_errno(p->err, "writing");
    longjmp(p->trap, 1);
}

static void flush_bytes(png_structp png) {
    (void)png; /* vn_writer_commit flushes */
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct png_reader {
    session p;
    vn_bytes bytes;
    vn_image *image;
    bool alpha; /* rows have one more channel than the picture */
    bool words; /* text is wanted, not the pixels alone */
} png_reader;

static void reader_close(png_reader *r) {
    png_destroy_read_struct(&r->p.png, &r->p.info, NULL);
}

/* To be closed even when it fails. */
static vn_status reader_open(png_reader *r, vn_bytes bytes, vn_image *image, vn_err *err) {
    *r = (png_reader){.bytes = bytes, .image = image, .p = {.left = SIZE_MAX, .err = err}};
    r->p.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &r->p, on_error, on_warning, &r->p,
                                        take, give);
    if (r->p.png) r->p.info = png_create_info_struct(r->p.png);
    if (!r->p.info) return vn_no_memory(err);
    png_set_read_fn(r->p.png, &r->bytes, read_bytes);
    return VN_OK;
}

static void set_limits(png_structp png) {
    /* vn_image_check_size has the words for it */
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_malloc_max(png, MAX_CHUNK);
    png_set_chunk_cache_max(png, MAX_CHUNKS);
}

/* What is of no use for pixels is not even unpacked. */
static void leave_out_words(png_structp png) {
    static const png_byte chunks[] = "tEXt\0zTXt\0iTXt\0iCCP\0sPLT\0hIST\0eXIf";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, chunks, (int)sizeof chunks / 5);
}

static void read_header(png_reader *r) {
    set_limits(r->p.png);
    if (!r->words) leave_out_words(r->p.png);
    png_read_info(r->p.png, r->p.info);
    r->image->width = (int)png_get_image_width(r->p.png, r->p.info);
    r->image->height = (int)png_get_image_height(r->p.png, r->p.info);
    r->image->channels = png_get_color_type(r->p.png, r->p.info) & PNG_COLOR_MASK_COLOR ? 3 : 1;
}

static void read_pixels(png_reader *r) {
    png_structp png = r->p.png;
    vn_image *image = r->image;
    r->alpha = (png_get_color_type(png, r->p.info) & PNG_COLOR_MASK_ALPHA) != 0 ||
               png_get_valid(png, r->p.info, PNG_INFO_tRNS) != 0;
    png_set_expand(png); /* palette to RGB, fewer than 8 bits to 8, tRNS to alpha */
    png_set_scale_16(png);
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, r->p.info);
    const size_t stride = (size_t)image->width * (size_t)(image->channels + r->alpha);
    if (png_get_rowbytes(png, r->p.info) != stride) png_error(png, "unexpected row size");
    image->pixels = vn_alloc((size_t)image->height, stride);
    if (!image->pixels) {
        r->p.out_of_memory = true;
        png_error(png, "out of memory");
    }
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < image->height; y++)
            png_read_row(png, image->pixels + (size_t)y * stride, NULL);
    png_read_end(png, r->p.info); /* text may follow the pixels */
    if (r->alpha) vn_image_flatten(image);
}

static vn_status read_trapped(png_reader *r, bool header_only) {
    if (setjmp(r->p.trap) != 0) return r->p.err->status;
    read_header(r);
    const vn_status status =
        vn_image_check_size(r->image->width, r->image->height, r->image->channels, 0, r->p.err);
    if (!status && !header_only) read_pixels(r);
    return !status ? lacked(&r->p) : status;
}

vn_status vn_png_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err) {
    vn_err own = {0};
    png_reader r;
    vn_status status = reader_open(&r, bytes, image, &own);
    if (!status) status = read_trapped(&r, header_only);
    reader_close(&r);
    if (status) vn_image_free(image);
    if (status && err) *err = own;
    return status;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Bytes of the UTF-8 character at `s`; 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t left) {
    /* shorter ones must not be written longer */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t n = s[0] < 0x80       ? 1
                     : s[0] >> 5 == 6  ? 2
                     : s[0] >> 4 == 14 ? 3
                     : s[0] >> 3 == 30 ? 4
                                       : 0;
    if (n <= 1 || n > left) return n > left ? 0 : n;
    uint32_t c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* Plain chunks are Latin-1; international ones should be UTF-8, and have '?' where they are not. */
static json_t *text_value(const char *text, size_t length, bool utf8) {
    char *copy = vn_alloc(2 * length + 1, 1), *to = copy;
    if (!copy) return NULL;
    for (size_t i = 0, n; i < length; i += n) {
        const unsigned char *at = (const unsigned char *)text + i;
        n = utf8 || *at < 0x80 ? utf8_length(at, length - i) : 0;
        memcpy(to, at, n);
        to += n;
        if (n > 0) continue;
        n = 1;
        if (!utf8) *to++ = (char)(0xc0 | *at >> 6);
        *to++ = (char)(utf8 ? '?' : 0x80 | (*at & 0x3f));
    }
    json_t *value = json_stringn(copy, (size_t)(to - copy));
    vn_free(copy);
    return value;
}

static json_t *text_object(const png_reader *r) {
    png_textp text = NULL;
    const int count = png_get_text(r->p.png, r->p.info, &text, NULL);
    json_t *object = json_object();
    for (int i = 0; object != NULL && i < count; i++) {
        const bool utf8 = text[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        const size_t length = utf8 ? text[i].itxt_length : text[i].text_length;
        json_t *key = text_value(text[i].key, strlen(text[i].key), false);
        json_t *value = text_value(!text[i].text ? "" : text[i].text, length, utf8);
        const bool ok =
            key != NULL && value && json_object_set(object, json_string_value(key), value) == 0;
        json_decref(key);
        json_decref(value);
        if (!ok) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

static vn_status describe(vn_bytes bytes, json_t **out, vn_err *err) {
    vn_image image = {0};
    png_reader r;
    if (!vn_png_is(bytes)) return vn_fail(err, VN_BAD_FILE, "not a PNG");
    vn_status status = reader_open(&r, bytes, &image, err);
    r.p.left = MAX_TEXT;
    r.words = true;
    if (!status) status = read_trapped(&r, false);
    if (!status) {
        json_t *text = text_object(&r);
        *out = !text ? NULL
                     : json_pack("{s:i, s:i, s:i, s:o}", "width", image.width, "height",
                                 image.height, "channels", image.channels, "text", text);
        if (!*out) status = vn_no_memory(err);
    }
    reader_close(&r);
    vn_image_free(&image);
    return status;
}

vn_status vn_png_describe(const char *path, json_t **out, vn_err *err) {
    char *data = NULL;
    size_t size = 0;
    vn_err own = {0};
    *out = NULL;
    vn_status status = vn_read_file(path, vn_image_bound(), &data, &size, &own);
    if (!status) {
        status = describe((vn_bytes){(const uint8_t *)data, size}, out, &own);
        if (status) vn_fail_in(&own, "%s", path);
        vn_free(data);
    }
    if (status && err) *err = own;
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct output {
    session p;
    png_textp text; /* [count] */
    size_t count;
} output;

static bool is_ascii(const char *text) {
    while (*text != '\0' && (unsigned char)*text < 0x80) text++;
    return *text == '\0';
}

static bool key_ok(const char *key) {
    const size_t length = strlen(key);
    for (const char *k = key; *k != '\0'; k++)
        if (*k < ' ' || *k > '~') return false;
    return length >= 1 && length <= 79 && key[0] != ' ' && key[length - 1] != ' ' &&
           !strstr(key, "  ");
}

static vn_status set_text(output *o, const vn_setting *settings, size_t count) {
    o->text = vn_calloc(count, sizeof *o->text);
    if (!o->text) return vn_no_memory(o->p.err);
    for (size_t i = 0; i < count; i++) {
        if (!key_ok(settings[i].key))
            return vn_fail(o->p.err, VN_BAD_ARGUMENT, "\"%s\" cannot be the key of a PNG text",
                           settings[i].key);
        o->text[i].compression =
            is_ascii(settings[i].value) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
        o->text[i].key = (char *)(uintptr_t)settings[i].key; /* libpng copies */
        o->text[i].text = (char *)(uintptr_t)settings[i].value;
        o->text[i].text_length = strlen(settings[i].value);
    }
    o->count = count;
    return VN_OK;
}

static vn_status write_trapped(output *o, const vn_image *image, FILE *file) {
    if (setjmp(o->p.trap) != 0) return o->p.err->status;
    png_structp png = o->p.png;
    const int colour = image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY;
    const size_t stride = (size_t)image->width * (size_t)image->channels;
    png_set_write_fn(png, file, write_bytes, flush_bytes);
    png_set_user_limits(png, VN_IMAGE_MAX_SIDE, VN_IMAGE_MAX_SIDE);
    png_set_IHDR(png, o->p.info, (png_uint_32)image->width, (png_uint_32)image->height, 8, colour,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_text(png, o->p.info, o->text, (int)o->count);
    png_write_info(png, o->p.info);
    for (int y = 0; y < image->height; y++) png_write_row(png, image->pixels + (size_t)y * stride);
    png_write_end(png, o->p.info);
    return o->p.out_of_memory ? vn_no_memory(o->p.err) : VN_OK;
}

static vn_status encode(const vn_image *image, const vn_setting *settings, size_t count, FILE *file,
                        vn_err *err) {
    output o = {.p = {.left = SIZE_MAX, .err = err}};
    vn_status status = set_text(&o, settings, count);
    if (!status) {
        o.p.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &o.p, on_error, on_warning, &o.p,
                                            take, give);
        if (o.p.png) o.p.info = png_create_info_struct(o.p.png);
        status = o.p.info ? write_trapped(&o, image, file) : vn_no_memory(err);
        png_destroy_write_struct(&o.p.png, &o.p.info);
    }
    vn_free(o.text);
    return status;
}

/* Closes w, whose opening ended with `status` and the words in *own. */
static vn_status write_png(vn_writer *w, const char *path, const vn_image *image,
                           const vn_setting *settings, size_t count, vn_status status, vn_err *own,
                           vn_err *err) {
    if (!status) {
        status = encode(image, settings, count, w->file, own);
        if (!status)
            status = vn_writer_commit(w, own);
        else
            vn_fail_in(own, "%s", path);
        vn_writer_abandon(w);
    }
    if (status && err) *err = *own;
    return status;
}

vn_status vn_png_write(const char *path, const vn_image *image, const vn_setting *settings,
                       size_t count, vn_err *err) {
    vn_writer w;
    vn_err own = {0};
    const vn_status status = vn_writer_open(&w, path, &own);
    return write_png(&w, path, image, settings, count, status, &own, err);
}

vn_status vn_png_write_new(const char *path, const vn_image *image, const vn_setting *settings,
                           size_t count, vn_err *err) {
    vn_writer w;
    vn_err own = {0};
    const vn_status status = vn_writer_open_new(&w, path, &own);
    return write_png(&w, path, image, settings, count, status, &own, err);
}

vn_status vn_png_encode(vn_memory_file *out, const vn_image *image, const vn_setting *settings,
                        size_t count, vn_err *err) {
    vn_writer w;
    vn_err own = {0};
    const vn_status status = vn_writer_open_memory(&w, "a PNG", out, &own);
    return write_png(&w, "a PNG", image, settings, count, status, &own, err);
}
