/* internal.h - what the files of this room share: the codecs, and drawing on a picture. */
#ifndef VN_IMAGE_INTERNAL_H
#define VN_IMAGE_INTERNAL_H

#include "image/image.h"

/* ---- codecs: told apart by the first bytes --------------------------------------------------- */

typedef struct vn_bytes {
    const uint8_t *at;
    size_t left;
} vn_bytes;

/* A file's bytes, in memory or, where `bytes` is NULL, read from an open file as they are asked
 * for. */
typedef struct vn_span {
    const uint8_t *bytes;
    int fd;
    uint64_t size;
    uint64_t begin; /* where in the open file it begins */
} vn_span;
/* span.c: n bytes from `at` on; false when the file has not so many there. */
bool vn_span_read(const vn_span *s, uint64_t at, void *to, size_t n);

/* Where something lies in a file. */
typedef struct vn_part {
    uint64_t at, size;
} vn_part;

/* A kind of picture file: to add one is a file and a row of vn_codecs. */
typedef struct vn_codec {
    vn_image_kind kind;
    bool (*is)(vn_bytes bytes); /* by what it begins with */
    /* Decodes all, or with `header_only` just width, height and channels. `image` is zeroed on
     * entry and after failure. Failure with header_only may only mean that the bytes end too early.
     * NULL: a kind that is not read. */
    vn_status (*decode)(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err);
    /* Where its EXIF data lies; false: it has none. */
    bool (*find_exif)(const vn_span *file, vn_part *exif);
    /* What such a file says of itself, as vn_png_describe; NULL: nothing that is read. */
    vn_status (*describe)(const char *path, json_t **out, vn_err *err);
} vn_codec;

extern const vn_codec vn_codecs[];
extern const size_t vn_codec_count;

bool vn_png_is(vn_bytes bytes);
bool vn_jpeg_is(vn_bytes bytes);
bool vn_webp_is(vn_bytes bytes);
vn_status vn_png_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err);
vn_status vn_jpeg_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err);
vn_status vn_webp_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err);
bool vn_png_find_exif(const vn_span *file, vn_part *exif);
bool vn_jpeg_find_exif(const vn_span *file, vn_part *exif);
bool vn_webp_find_exif(const vn_span *file, vn_part *exif);
/* The limits of image.h, for pictures that are made: VN_BAD_ARGUMENT. */
vn_status vn_image_fits(int64_t width, int64_t height, int channels, vn_err *err);
/* The limits of reading, for what a file claims before memory is taken for it; more: bytes that its
 * decoder takes beside the pixels. VN_BAD_FILE. */
vn_status vn_image_check_size(int64_t width, int64_t height, int channels, double more,
                              vn_err *err);
/* A picture of a size that was checked. Pixels are not cleared. */
vn_status vn_image_make(vn_image *image, int width, int height, int channels, vn_err *err);
/* White shows through: from `channels` + 1 values a pixel, the last of them alpha, to `channels`,
 * in place. */
void vn_image_flatten(vn_image *image);
/* The orientation 1 .. 8 that EXIF data gives; 1 when it gives none, or makes no sense. */
int vn_exif_orientation(const vn_span *file, const vn_part *exif);
/* What is stored so, upright: pixels are moved (when there are some), width and height follow. */
vn_status vn_image_orient(vn_image *image, int orientation, vn_err *err);

/* ---- drawing: coordinates in pixels from the top left; nothing is drawn outside the picture -- */

typedef struct vn_ink {
    uint8_t r, g, b;
} vn_ink;

typedef struct vn_segment {
    double x0, y0, x1, y1;
} vn_segment;

typedef struct vn_rectangle {
    double x0, y0, x1, y1;
} vn_rectangle;

/* A white sheet to draw on, and a pen. What fails, for lack of memory, shows when the picture is
 * taken. */
typedef struct vn_canvas {
    vn_image image;    /* what it becomes */
    uint8_t *mask;     /* [height,width] of the shape being painted; else 0 */
    vn_rectangle clip; /* whole pixels */
    /* the pen */
    double left, top, scale_x, scale_y; /* its coordinates on the sheet */
    double x, y;                        /* where it is, in pixels */
    vn_segment *segment;                /* what it has drawn since the last stroke */
    size_t count, capacity;
    bool failed;
} vn_canvas;
vn_status vn_canvas_open(vn_canvas *c, int64_t width, int64_t height, int channels, vn_err *err);
vn_status vn_canvas_take(vn_canvas *c, vn_image *out, vn_err *err); /* and closes */
void vn_canvas_close(vn_canvas *c);
void vn_canvas_clip(vn_canvas *c, double left, double top, double width, double height);

/* The pen draws in coordinates of its own, pixels unless placed otherwise; a stroke paints all of
 * it as one shape, overlaps no darker, with round ends. */
void vn_pen_place(vn_canvas *c, double left, double top, double scale_x, double scale_y);
void vn_pen_move(vn_canvas *c, double x, double y);
void vn_pen_line(vn_canvas *c, double x, double y);
void vn_pen_curve(vn_canvas *c, double control_x, double control_y, double x, double y);
void vn_pen_stroke(vn_canvas *c, double width, vn_ink ink, double alpha);

void vn_paint_rect(vn_canvas *c, double x, double y, double width, double height, vn_ink ink,
                   double alpha);
void vn_paint_dot(vn_canvas *c, double x, double y, double radius, vn_ink ink, double alpha);
/* Copies `tile` magnified by a whole number, byte for byte. */
void vn_paint_tile(vn_canvas *c, int64_t left, int64_t top, const vn_image *tile, int scale);
/* one pixel, which must lie inside */
void vn_paint_tint(vn_canvas *c, int64_t x, int64_t y, vn_ink ink, double alpha);

/* Text: `size` is the height of a capital letter in pixels; y is the base line. UTF-8. A character
 * without a glyph (font.c says which have one) shows as one '?'. */
bool vn_font_has(const char *text); /* glyphs for all of it; false of "" */
double vn_font_width(const char *text, double size);
/* Draws text cut to max_width with "..." if it is wider; max_width <= 0: never cut. */
void vn_font_draw(vn_canvas *c, double x, double y, const char *text, double size, double max_width,
                  vn_ink ink);

/* ---- plots (axes.c) -------------------------------------------------------------------------- */

#define VN_PLOT_TEXT 9.0 /* height of a capital letter, of numbers and names */
extern const vn_ink vn_plot_dark;
vn_ink vn_plot_colour(size_t i); /* of class or curve i; they come round */

typedef struct vn_range {
    double low, high, tick;
} vn_range;
vn_range vn_range_between(double low, double high); /* with some five ticks */

/* One panel: where it is and what its axes show. */
typedef struct vn_panel {
    vn_canvas *canvas;
    double left, top, width, height;
    vn_range x, y;
} vn_panel;
/* Pixels of a value. */
double vn_panel_x(const vn_panel *p, double value);
double vn_panel_y(const vn_panel *p, double value);
/* The lines of ticks and their numbers, along x or y; the frame; both, numbers below the panel
 * where that is asked for. */
void vn_panel_ticks(const vn_panel *p, bool upright);
void vn_panel_frame(const vn_panel *p);
void vn_panel_axes(const vn_panel *p, bool numbers_below);
/* What is drawn from here on stays inside the panel, or again anywhere. */
void vn_panel_clip(const vn_panel *p);
void vn_panel_unclip(const vn_panel *p);

/* The size of the picture; images and points. */
vn_status vn_show_grid_size(const vn_show *show, int64_t *width, int64_t *height, vn_err *err);
void vn_show_points_size(const vn_show *show, int64_t *width, int64_t *height);
/* What stands for a class: its name, or "#3" where the font has not all of its characters, or its
 * number where there are no names. */
const char *vn_show_name(const vn_show *show, int32_t label, char number[16]);
/* Bands within the samples, labels within the classes: else VN_BAD_ARGUMENT. */
vn_status vn_show_check(const vn_show *show, vn_err *err);

#endif
