/* internal.h - what the files of this room share: the two decoders, and drawing on a picture. */
#ifndef VN_IMAGE_INTERNAL_H
#define VN_IMAGE_INTERNAL_H

#include "image/image.h"

/* ---- decoders: told apart by the first bytes -------------------------------------------------------- */

typedef struct vn_bytes {
    const uint8_t *at;
    size_t left;
} vn_bytes;

bool vn_png_is(vn_bytes bytes);
bool vn_jpeg_is(vn_bytes bytes);
/* Decode all, or with `header_only` just width, height and channels. `image` is zeroed on entry and after failure. */
vn_status vn_png_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err);
vn_status vn_jpeg_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err);
/* The limits of image.h, for sizes that a file claims: VN_BAD_FILE. */
vn_status vn_image_check_size(int64_t width, int64_t height, int channels, vn_err *err);

/* ---- drawing: coordinates in pixels from the top left; what lies outside the picture is left out ----- */

typedef struct vn_ink {
    uint8_t r, g, b;
} vn_ink;

typedef struct vn_segment {
    float x0, y0, x1, y1;
} vn_segment;

void vn_paint_clear(vn_image *canvas, uint8_t value);
void vn_paint_rect(vn_image *canvas, int64_t x, int64_t y, int64_t width, int64_t height, vn_ink ink);
/* Lines with round ends, drawn as one shape: antialiased, overlaps are not darker. Equal ends make a dot. */
void vn_paint_segments(vn_image *canvas, const vn_segment *segments, size_t count, float radius, vn_ink ink);
/* Copies `tile` (same channels, or grey onto colour) magnified by a whole number. */
void vn_paint_tile(vn_image *canvas, int64_t x, int64_t y, const vn_image *tile, int scale);

/* Text: `size` is the height of a capital letter in pixels; y is the base line. Printable ASCII; any other character of
 * the UTF-8 text shows as one '?'. */
float vn_font_width(const char *text, float size);
/* Draws text cut to max_width with "..." if it is wider; max_width <= 0: never cut. */
void vn_font_draw(vn_image *canvas, float x, float y, const char *text, float size, float max_width, vn_ink ink);

/* Bands within the samples, labels within the classes: else VN_BAD_ARGUMENT. */
vn_status vn_show_check(const vn_show *show, vn_err *err);

#endif
