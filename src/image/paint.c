/* paint.c - a sheet and a pen: lines with round ends, dots, rectangles and tiles, antialiased, in
 * plain 8-bit colour. Own, because cairo 1.16 jumps into a frame that has returned when it runs out
 * of memory in the midst of a shape. */
#include "image/internal.h"

#include <math.h>
#include <string.h>

enum { CURVE_STEPS = 8 };

vn_status vn_canvas_open(vn_canvas *c, int64_t width, int64_t height, int channels, vn_err *err) {
    *c = (vn_canvas){.scale_x = 1, .scale_y = 1, .clip = {0, 0, (double)width, (double)height}};
    vn_status status = vn_image_alloc(&c->image, width, height, channels, err);
    if (status) return status;
    c->mask = vn_calloc((size_t)width, (size_t)height);
    if (!c->mask) {
        vn_canvas_close(c);
        return vn_no_memory(err);
    }
    memset(c->image.pixels, 255, (size_t)width * (size_t)height * (size_t)channels);
    return VN_OK;
}

vn_status vn_canvas_take(vn_canvas *c, vn_image *out, vn_err *err) {
    *out = (vn_image){0};
    const vn_status status = c->failed ? vn_no_memory(err) : VN_OK;
    if (!status) {
        *out = c->image;
        c->image = (vn_image){0};
    }
    vn_canvas_close(c);
    return status;
}

void vn_canvas_close(vn_canvas *c) {
    vn_free(c->segment);
    vn_free(c->mask);
    vn_image_free(&c->image);
    *c = (vn_canvas){0};
}

/* ---- pixels ---------------------------------------------------------------------------------- */

static uint8_t mix(uint8_t under, uint8_t over, double cover) {
    return (uint8_t)lrint((double)under + cover * ((double)over - (double)under));
}

void vn_paint_tint(vn_canvas *c, int64_t x, int64_t y, vn_ink ink, double alpha) {
    uint8_t *p = c->image.pixels +
                 ((size_t)y * (size_t)c->image.width + (size_t)x) * (size_t)c->image.channels;
    const uint8_t over[3] = {ink.r, ink.g, ink.b};
    if (c->image.channels == 1)
        *p = mix(*p, (uint8_t)((ink.r + 2 * ink.g + ink.b) / 4), alpha);
    else
        for (int k = 0; k < 3; k++) p[k] = mix(p[k], over[k], alpha);
}

/* The whole pixels of a box that lie on the sheet and within the clip: x in [x0, x1), y in [y0,
 * y1). */
typedef struct box {
    int64_t x0, y0, x1, y1;
} box;

static int64_t within(double value, double low, double high) {
    return (int64_t)(value > low ? value < high ? value : high : low);
}

static box box_of(const vn_canvas *c, double x0, double y0, double x1, double y1) {
    const vn_rectangle *clip = &c->clip;
    return (box){within(floor(x0), clip->x0, clip->x1), within(floor(y0), clip->y0, clip->y1),
                 within(ceil(x1), clip->x0, clip->x1), within(ceil(y1), clip->y0, clip->y1)};
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void add_segment(vn_canvas *c, double x, double y) {
    if (c->count == c->capacity) {
        const size_t capacity = c->capacity ? 2 * c->capacity : 64;
        vn_segment *segment = vn_realloc(c->segment, capacity, sizeof *segment);
        if (!segment) {
            c->failed = true;
            return;
        }
        c->segment = segment;
        c->capacity = capacity;
    }
    c->segment[c->count++] = (vn_segment){c->x, c->y, x, y};
    c->x = x;
    c->y = y;
}

void vn_pen_move(vn_canvas *c, double x, double y) {
    c->x = c->left + c->scale_x * x;
    c->y = c->top + c->scale_y * y;
}

void vn_pen_line(vn_canvas *c, double x, double y) {
    add_segment(c, c->left + c->scale_x * x, c->top + c->scale_y * y);
}

void vn_pen_curve(vn_canvas *c, double control_x, double control_y, double x, double y) {
    const double ax = c->x, ay = c->y, bx = c->left + c->scale_x * control_x,
                 by = c->top + c->scale_y * control_y;
    const double cx = c->left + c->scale_x * x, cy = c->top + c->scale_y * y;
    for (int i = 1; i <= CURVE_STEPS; i++) {
        const double t = (double)i / CURVE_STEPS, u = 1 - t;
        add_segment(c, u * u * ax + 2 * u * t * bx + t * t * cx,
                    u * u * ay + 2 * u * t * by + t * t * cy);
    }
}

static double distance(const vn_segment *s, double x, double y) {
    const double dx = s->x1 - s->x0, dy = s->y1 - s->y0, length2 = dx * dx + dy * dy;
    double t = length2 > 0 ? ((x - s->x0) * dx + (y - s->y0) * dy) / length2 : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return hypot(x - s->x0 - t * dx, y - s->y0 - t * dy);
}

static box segment_box(const vn_canvas *c, const vn_segment *s, double reach) {
    return box_of(c, fmin(s->x0, s->x1) - reach, fmin(s->y0, s->y1) - reach,
                  fmax(s->x0, s->x1) + reach, fmax(s->y0, s->y1) + reach);
}

/* How much of each pixel the line covers goes into the mask, the most of all lines. */
static void cover(vn_canvas *c, const vn_segment *s, double radius) {
    const box b = segment_box(c, s, radius + 1);
    for (int64_t y = b.y0; y < b.y1; y++)
        for (int64_t x = b.x0; x < b.x1; x++) {
            const double part = radius + 0.5 - distance(s, (double)x + 0.5, (double)y + 0.5);
            uint8_t *mask = &c->mask[(size_t)y * (size_t)c->image.width + (size_t)x];
            const uint8_t level = part <= 0 ? 0 : part >= 1 ? 255 : (uint8_t)(255 * part);
            if (level > *mask) *mask = level;
        }
}

/* What is in the mask under a line is painted, and cleared: so each pixel is painted once. */
static void paint_mask(vn_canvas *c, const vn_segment *s, double radius, vn_ink ink, double alpha) {
    const box b = segment_box(c, s, radius + 1);
    for (int64_t y = b.y0; y < b.y1; y++)
        for (int64_t x = b.x0; x < b.x1; x++) {
            uint8_t *mask = &c->mask[(size_t)y * (size_t)c->image.width + (size_t)x];
            if (*mask) vn_paint_tint(c, x, y, ink, alpha * *mask / 255);
            *mask = 0;
        }
}

void vn_pen_stroke(vn_canvas *c, double width, vn_ink ink, double alpha) {
    for (size_t i = 0; i < c->count; i++) cover(c, &c->segment[i], width / 2);
    for (size_t i = 0; i < c->count; i++) paint_mask(c, &c->segment[i], width / 2, ink, alpha);
    c->count = 0;
}

void vn_pen_place(vn_canvas *c, double left, double top, double scale_x, double scale_y) {
    c->left = left;
    c->top = top;
    c->scale_x = scale_x;
    c->scale_y = scale_y;
}

void vn_canvas_clip(vn_canvas *c, double left, double top, double width, double height) {
    c->clip = (vn_rectangle){fmax(left, 0), fmax(top, 0), fmin(left + width, c->image.width),
                             fmin(top + height, c->image.height)};
}

/* ---- shapes ---------------------------------------------------------------------------------- */

void vn_paint_rect(vn_canvas *c, double x, double y, double width, double height, vn_ink ink,
                   double alpha) {
    const box b = box_of(c, x, y, x + width, y + height);
    for (int64_t j = b.y0; j < b.y1; j++)
        for (int64_t i = b.x0; i < b.x1; i++) {
            const double across = fmin((double)i + 1, x + width) - fmax((double)i, x);
            const double down = fmin((double)j + 1, y + height) - fmax((double)j, y);
            vn_paint_tint(c, i, j, ink, alpha * fmax(across, 0) * fmax(down, 0));
        }
}

void vn_paint_dot(vn_canvas *c, double x, double y, double radius, vn_ink ink, double alpha) {
    const vn_segment dot = {x, y, x, y};
    cover(c, &dot, radius);
    paint_mask(c, &dot, radius, ink, alpha);
}

void vn_paint_tile(vn_canvas *c, int64_t left, int64_t top, const vn_image *tile, int scale) {
    const size_t channels = (size_t)tile->channels;
    const box b =
        box_of(c, (double)left, (double)top, (double)(left + (int64_t)tile->width * scale),
               (double)(top + (int64_t)tile->height * scale));
    for (int64_t y = b.y0; y < b.y1; y++)
        for (int64_t x = b.x0; x < b.x1; x++) {
            const int64_t i = (x - left) / scale, j = (y - top) / scale;
            const uint8_t *p =
                tile->pixels + ((size_t)j * (size_t)tile->width + (size_t)i) * channels;
            vn_paint_tint(c, x, y,
                          channels == 1 ? (vn_ink){p[0], p[0], p[0]} : (vn_ink){p[0], p[1], p[2]},
                          1);
        }
}
