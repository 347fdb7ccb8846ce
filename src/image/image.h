/* image.h - pictures in and out: PNG, JPEG and WebP to bytes, resizing, and the labelled grids that
 * samples are shown in.
 *
 * A picture is 8-bit [height, width, channels], one channel (grey) or three (RGB), rows without
 * gaps. Files are untrusted: sizes are checked before memory is taken, and what a decoder would
 * only warn about (a file cut short) is an error. Nothing here knows what a model is. */
#ifndef VN_IMAGE_H
#define VN_IMAGE_H

#include "base/base.h"

/* Limits of a picture that is made. */
#define VN_IMAGE_MAX_SIDE  16384
#define VN_IMAGE_MAX_BYTES ((size_t)256 << 20)
/* The limit of one that is read; vn_image_bound limits the memory that reading it takes. */
#define VN_IMAGE_READ_SIDE 65535

typedef struct vn_image {
    int width, height, channels; /* channels: 1 or 3 */
    uint8_t *pixels;             /* [height, width, channels], owned; vn_image_free */
} vn_image;

/* Pixels are not cleared. VN_BAD_ARGUMENT beyond the limits above, VN_NO_MEMORY. */
vn_status vn_image_alloc(vn_image *image, int64_t width, int64_t height, int channels, vn_err *err);
void vn_image_free(vn_image *image); /* and clears it; safe on a zeroed one */

/* ---- reading --------------------------------------------------------------------------------- */

/* Bytes that reading one picture may take, its file and every copy of its pixels together: a
 * quarter of the memory (vn_memory_total), and at most 2 GiB unless VANE_MEMORY is given. */
size_t vn_image_bound(void);
/* Reads a PNG (any colour type, depth and interlacing), JPEG (grey, colour or CMYK) or WebP, told
 * apart by content, and turns it upright as EXIF's orientation says. 16-bit depths are scaled to 8;
 * transparency is composited on white; of an animated picture the first frame is read; CMYK becomes
 * RGB without a profile; colour profiles and gamma are ignored. On failure the message names the
 * file, and `image` is left zeroed. */
vn_status vn_image_read(const char *path, vn_image *image, vn_err *err);
/* The same from memory; messages have no file name. */
vn_status vn_image_decode(const void *bytes, size_t size, vn_image *image, vn_err *err);
/* Only the header: sets width and height (upright) and channels of `image`, pixels NULL. Cheap. */
vn_status vn_image_probe(const char *path, vn_image *image, vn_err *err);

/* The same of a file's part, of `size` bytes from `at` on; messages have no file name. */
vn_status vn_image_probe_part(int fd, uint64_t at, uint64_t size, vn_image *image, vn_err *err);

/* Reads all of it and says what it is: {"format": "JPEG", "width", "height", "channels"}, and of a
 * PNG {"text": {key: value, ...}}. json_decref by the caller. */
vn_status vn_image_describe(const char *path, json_t **out, vn_err *err);

/* A kind of picture file. Those that are not read are known by name, so that it can be said what
 * they are. */
typedef struct vn_image_kind {
    const char *name;    /* "JPEG" */
    const char *endings; /* of names, in lower case, each with a blank behind it: ".jpg .jpeg " */
    bool reads;          /* whether vn_image_read does */
} vn_image_kind;
/* By the end of a name, in any case, and by the first bytes of a file (32 of them suffice); NULL:
 * no picture's. */
const vn_image_kind *vn_image_kind_named(const char *path);
const vn_image_kind *vn_image_kind_of(const void *bytes, size_t size);
/* Whether the name ends like a file that vn_image_read may know, and those endings for messages. */
bool vn_image_named(const char *path);
#define VN_IMAGE_KINDS   "PNG, JPEG or WebP"
#define VN_IMAGE_ENDINGS ".png, .jpg, .jpeg, .jpe, .jfif and .webp"

/* ---- writing --------------------------------------------------------------------------------- */

/* One text chunk of a PNG: key of 1..79 printable ASCII characters, value in UTF-8. */
typedef struct vn_setting {
    const char *key, *value;
} vn_setting;

/* Atomic (vn_writer). settings may be NULL when count is 0. */
vn_status vn_png_write(const char *path, const vn_image *image, const vn_setting *settings,
                       size_t count, vn_err *err);
/* The same for a file that is not there yet: what is there stays, and is VN_IO. */
vn_status vn_png_write_new(const char *path, const vn_image *image, const vn_setting *settings,
                           size_t count, vn_err *err);
/* The same bytes in memory. */
vn_status vn_png_encode(vn_memory_file *out, const vn_image *image, const vn_setting *settings,
                        size_t count, vn_err *err);
/* What a PNG says of itself: {"width", "height", "channels", "text": {key: value, ...}}.
 * json_decref by the caller. */
vn_status vn_png_describe(const char *path, json_t **out, vn_err *err);

/* ---- changing -------------------------------------------------------------------------------- */

/* Resamples to width x height with a triangle filter as wide as the output pixel (at least one
 * input pixel): area-weighted averaging without aliases when shrinking, bilinear when growing.
 * Fixed-point, so the same bytes on every machine. */
vn_status vn_image_resize(const vn_image *image, int width, int height, vn_image *out, vn_err *err);
/* The largest centred square, resampled to size x size. */
vn_status vn_image_square(const vn_image *image, int size, vn_image *out, vn_err *err);
/* In place: each pixel becomes scale x scale, scale >= 1. */
vn_status vn_image_enlarge(vn_image *image, int scale, vn_err *err);
/* In place to 1 channel (luma of BT.601) or to 3 (grey repeated). */
vn_status vn_image_set_channels(vn_image *image, int channels, vn_err *err);
/* One sample [channels, height, width] in [-1, 1] to bytes: round(127.5 (x + 1)), clamped; NaN is
 * black. */
vn_status vn_image_from_sample(const float *sample, int channels, int height, int width,
                               vn_image *out, vn_err *err);

/* ---- showing samples ------------------------------------------------------------------------- */

/* A part of the samples under a title: samples that were drawn with one guidance value. */
typedef struct vn_band {
    const char *title;    /* "guidance 2"; NULL: none */
    int64_t first, count; /* samples [first, first + count) */
} vn_band;

/* Samples to be shown. Zero-initialise, then set what is known; what is NULL or 0 is chosen or left
 * out. */
typedef struct vn_show {
    /* images [N, channels, height, width] in [-1, 1], or points [N, dimension] */
    const float *samples;
    int64_t count;               /* N */
    int channels, height, width; /* images: channels 1 or 3 */
    /* [N], each -1 (no class) or 0 .. classes-1; NULL: no labels are drawn */
    const int32_t *labels;
    const char *const *names; /* [classes], UTF-8; NULL: numbers */
    int32_t classes;
    /* names are texts: shown in several lines where there is space, with a box for each character
     * that the typeface lacks; names of classes are one line, and a number where it lacks any */
    bool texts;
    const vn_band *bands; /* NULL: all samples, untitled */
    size_t band_count;

    /* of points */
    int dimension; /* 1 or 2 */
    /* p(x|label), -1: p(x); or NULL */
    double (*density)(void *self, int32_t label, const double *x);
    void *self;
    /* [trace_levels, N, dimension] the states from noise to data; or NULL */
    const float *trace;
    const double *trace_times; /* [trace_levels] t of each */
    int64_t trace_levels;
    float *scratch; /* vn_show_points' own */

    /* of images */
    int columns; /* samples side by side in a band; 0: chosen */
    int scale;   /* whole-number magnification; 0: chosen, so that small images become visible */
} vn_show;

#define VN_SHOW_MAX ((int64_t)64 << 20) /* samples in a picture */
/* Whether the picture can be drawn: VN_BAD_ARGUMENT where it would pass the limits above. The
 * samples are not looked at. */
vn_status vn_show_fits(const vn_show *show, vn_err *err);
/* Images as one picture: a band for each guidance value, in it a row (or several) for each class
 * with the class's name beside it, a sample in each column in their order. Bands stand side by side
 * or one below the other, whichever gives the better shape. VN_BAD_ARGUMENT when the picture would
 * pass the limits above. */
vn_status vn_show_grid(const vn_show *show, vn_image *out, vn_err *err);
/* Points as one picture: a panel for each band, all with the same axes, a colour for each class. In
 * the plane the samples over their density's regions of highest mass; on the line their histogram
 * under it. */
vn_status vn_show_points(const vn_show *show, vn_image *out, vn_err *err);

/* ---- curves ---------------------------------------------------------------------------------- */

/* y over x, [n]; a y that is not finite is left out. */
typedef struct vn_curve {
    const char *name;
    size_t n;
    const double *x, *y;
} vn_curve;

/* Curves in one panel, from y = low up to where the highest of them reaches, at least `high`. */
typedef struct vn_curve_panel {
    const char *title;
    double low, high;
    size_t count;
    const vn_curve *curve;
} vn_curve_panel;

/* Panels side by side, all over the same x, which x_name names; curve i has one colour in all of
 * them, and its name beside them. VN_BAD_ARGUMENT without a point. */
vn_status vn_show_curves(const vn_curve_panel *panels, size_t count, const char *x_name,
                         vn_image *out, vn_err *err);

#endif
