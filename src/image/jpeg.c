/* jpeg.c - JPEG through libjpeg-turbo. Its errors arrive by longjmp, so everything that must
 * survive one is in a struct outside the function that sets the trap. What libjpeg only warns of
 * (data that ends early or makes no sense: the rest would be grey) is an error here. */
#include "image/internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

/* A progressive file may claim any number of scans over a large picture; libjpeg would decode them
 * all. MAX_SEGMENTS: before the first scan, when EXIF is looked for. */
enum { MAX_SCANS = 200, MAX_SEGMENTS = 1 << 16 };

typedef struct jpeg_reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf trap;
    vn_bytes bytes;
    bool header_only;
    vn_image *image;
    vn_err *err;
} jpeg_reader;

bool vn_jpeg_is(vn_bytes bytes) {
    return bytes.left >= 3 && memcmp(bytes.at, "\xff\xd8\xff", 3) == 0;
}

/* A segment is 0xFF (any number of them), a marker and, but for a few, its length and data. EXIF is
 * in an APP1 of this name, which must stand before the first scan. */
bool vn_jpeg_find_exif(const vn_span *file, vn_part *exif) {
    enum { APP1 = 0xe1, SCAN = 0xda, END = 0xd9 };
    uint8_t head[10];
    uint64_t at = 2;
    for (int segments = 0; segments < MAX_SEGMENTS && vn_span_read(file, at, head, 4); segments++) {
        if (head[0] != 0xff || head[1] == SCAN || head[1] == END) return false;
        const unsigned size = (unsigned)head[2] << 8 | head[3];
        if (head[1] == 0xff) { /* filling */
            at++;
            continue;
        }
        *exif = (vn_part){at + 10, size - 8};
        if (head[1] == APP1 && size >= 8 && vn_span_read(file, at, head, 10) &&
            memcmp(head + 4, "Exif\0", 6) == 0)
            return true;
        at += 2 + (uint64_t)size;
    }
    return false;
}

static _Noreturn void fail(j_common_ptr jpeg) {
    jpeg_reader *r = jpeg->client_data;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    if (jpeg->err->msg_code == JERR_OUT_OF_MEMORY)
        vn_no_memory(r->err);
    else
        vn_fail(r->err, VN_BAD_FILE, "JPEG: %s", text);
    longjmp(r->trap, 1);
}

static void on_message(j_common_ptr jpeg, int level) {
    const int code = jpeg->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_JFIF_MAJOR) fail(jpeg);
}

static void on_progress(j_common_ptr jpeg) {
    jpeg_reader *r = jpeg->client_data;
    if (r->jpeg.input_scan_number <= MAX_SCANS) return;
    vn_fail(r->err, VN_BAD_FILE, "JPEG: more than %d scans", MAX_SCANS);
    longjmp(r->trap, 1);
}

static _Noreturn void refuse(jpeg_reader *r, vn_status status, const char *text) {
    vn_fail(r->err, status, "JPEG: %s", text);
    longjmp(r->trap, 1);
}

static void choose_colour(jpeg_reader *r) {
    switch (r->jpeg.jpeg_color_space) {
    case JCS_GRAYSCALE: r->jpeg.out_color_space = JCS_GRAYSCALE; return;
    case JCS_YCbCr:
    case JCS_RGB: r->jpeg.out_color_space = JCS_RGB; return;
    case JCS_CMYK:
    case JCS_YCCK: r->jpeg.out_color_space = JCS_CMYK; return;
    default: refuse(r, VN_UNSUPPORTED, "unknown colour space");
    }
}

/* One row of inks to colours, in place. Files hold what is left of the paper's white, 255 for no
 * ink, as Adobe's programs began to write them and readers take them since. Rounded as Pillow
 * does. */
static void inks_to_rgb(uint8_t *row, size_t width) {
    for (size_t i = 0; i < width; i++) {
        const unsigned black = row[4 * i + 3];
        for (size_t k = 0; k < 3; k++)
            row[3 * i + k] = (uint8_t)((row[4 * i + k] * black + 127u) / 255u);
    }
}

static void read_rows(jpeg_reader *r) {
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    const size_t width = jpeg->output_width, stride = width * (size_t)r->image->channels;
    const bool inks = jpeg->out_color_space == JCS_CMYK;
    uint8_t *wide =
        inks ? (*jpeg->mem->alloc_small)((j_common_ptr)jpeg, JPOOL_IMAGE, 4 * width) : NULL;
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *to = r->image->pixels + (size_t)jpeg->output_scanline * stride;
        JSAMPROW row = inks ? wide : to;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (!inks) continue;
        inks_to_rgb(wide, width);
        memcpy(to, wide, stride);
    }
}

/* Where a picture comes in several scans, libjpeg keeps the coefficients of all of it. */
static double coefficient_bytes(const struct jpeg_decompress_struct *jpeg) {
    double blocks = 0;
    for (int i = 0; i < jpeg->num_components; i++)
        blocks += (double)jpeg->comp_info[i].width_in_blocks *
                  (double)jpeg->comp_info[i].height_in_blocks;
    return blocks * sizeof(JBLOCK);
}

static void run(jpeg_reader *r) {
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->client_data = r;
    jpeg->progress = &r->progress;
    jpeg_mem_src(jpeg, r->bytes.at, r->bytes.left);
    jpeg_read_header(jpeg, TRUE);
    choose_colour(r);
    vn_image *image = r->image;
    const int channels = jpeg->out_color_space == JCS_GRAYSCALE ? 1 : 3;
    const double kept = jpeg_has_multiple_scans(jpeg) ? coefficient_bytes(jpeg) : 0;
    if (vn_image_check_size(jpeg->image_width, jpeg->image_height, channels, kept, r->err) != VN_OK)
        longjmp(r->trap, 1);
    if (r->header_only) {
        *image = (vn_image){(int)jpeg->image_width, (int)jpeg->image_height, channels, NULL};
        return;
    }
    if (vn_image_make(image, (int)jpeg->image_width, (int)jpeg->image_height, channels, r->err) !=
        VN_OK)
        longjmp(r->trap, 1);
    jpeg_start_decompress(jpeg);
    read_rows(r);
    jpeg_finish_decompress(jpeg);
}

static vn_status run_trapped(jpeg_reader *r) {
    if (setjmp(r->trap) != 0) {
        vn_image_free(r->image);
        return r->err->status;
    }
    run(r);
    return VN_OK;
}

vn_status vn_jpeg_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err) {
    vn_err own = {0};
    jpeg_reader r = {.bytes = bytes, .header_only = header_only, .image = image, .err = &own};
    r.jpeg.err = jpeg_std_error(&r.errors);
    r.jpeg.client_data = &r;
    r.errors.error_exit = fail;
    r.errors.emit_message = on_message;
    r.progress.progress_monitor = on_progress;
    const vn_status status = run_trapped(&r);
    jpeg_destroy_decompress(&r.jpeg);
    if (status && err) *err = own;
    return status;
}
