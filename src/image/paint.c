/* paint.c - the few shapes that grids and plots are drawn with, on grey or colour pictures. */
#include "image/internal.h"

#include <math.h>
#include <string.h>

static uint8_t mix(uint8_t under, uint8_t over, float cover) {
    return (uint8_t)lrintf((float)under + cover * ((float)over - (float)under));
}

static void put(vn_image *canvas, int64_t x, int64_t y, vn_ink ink, float cover) {
    uint8_t *p = canvas->pixels + ((size_t)y * (size_t)canvas->width + (size_t)x) * (size_t)canvas->channels;
    if (canvas->channels == 1) {
        *p = mix(*p, (uint8_t)((ink.r + 2 * ink.g + ink.b) / 4), cover);
        return;
    }
    p[0] = mix(p[0], ink.r, cover);
    p[1] = mix(p[1], ink.g, cover);
    p[2] = mix(p[2], ink.b, cover);
}

static int64_t clamp(double x, int64_t low, int64_t high) {
    return x < (double)low ? low : x > (double)high ? high : (int64_t)x;
}

void vn_paint_clear(vn_image *canvas, uint8_t value) {
    memset(canvas->pixels, value, (size_t)canvas->width * (size_t)canvas->height * (size_t)canvas->channels);
}

void vn_paint_rect(vn_image *canvas, int64_t x, int64_t y, int64_t width, int64_t height, vn_ink ink) {
    const int64_t right = clamp((double)(x + width), 0, canvas->width),
                  bottom = clamp((double)(y + height), 0, canvas->height);
    for (int64_t j = y < 0 ? 0 : y; j < bottom; j++)
        for (int64_t i = x < 0 ? 0 : x; i < right; i++) put(canvas, i, j, ink, 1.0f);
}

static float distance(const vn_segment *s, float x, float y) {
    const float dx = s->x1 - s->x0, dy = s->y1 - s->y0, length2 = dx * dx + dy * dy;
    float t = length2 > 0.0f ? ((x - s->x0) * dx + (y - s->y0) * dy) / length2 : 0.0f;
    t = t < 0.0f ? 0.0f : t > 1.0f ? 1.0f : t;
    return hypotf(x - s->x0 - t * dx, y - s->y0 - t * dy);
}

void vn_paint_segments(vn_image *canvas, const vn_segment *segments, size_t count, float radius, vn_ink ink) {
    if (count == 0) return;
    float box[4] = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    for (size_t k = 0; k < count; k++) {
        const vn_segment *s = &segments[k];
        box[0] = fminf(box[0], fminf(s->x0, s->x1));
        box[1] = fminf(box[1], fminf(s->y0, s->y1));
        box[2] = fmaxf(box[2], fmaxf(s->x0, s->x1));
        box[3] = fmaxf(box[3], fmaxf(s->y0, s->y1));
    }
    const double edge = (double)radius + 1.0;
    const int64_t left = clamp((double)box[0] - edge, 0, canvas->width),
                  right = clamp((double)box[2] + edge + 1.0, 0, canvas->width);
    const int64_t top = clamp((double)box[1] - edge, 0, canvas->height),
                  bottom = clamp((double)box[3] + edge + 1.0, 0, canvas->height);
    for (int64_t y = top; y < bottom; y++)
        for (int64_t x = left; x < right; x++) {
            float nearest = INFINITY;
            for (size_t k = 0; k < count; k++)
                nearest = fminf(nearest, distance(&segments[k], (float)x + 0.5f, (float)y + 0.5f));
            const float cover = radius + 0.5f - nearest;
            if (cover > 0.0f) put(canvas, x, y, ink, fminf(cover, 1.0f));
        }
}

void vn_paint_tile(vn_image *canvas, int64_t x, int64_t y, const vn_image *tile, int scale) {
    const size_t c = (size_t)tile->channels;
    for (int64_t j = 0; j < (int64_t)tile->height * scale; j++)
        for (int64_t i = 0; i < (int64_t)tile->width * scale; i++) {
            const uint8_t *p = tile->pixels + ((size_t)(j / scale) * (size_t)tile->width + (size_t)(i / scale)) * c;
            if (x + i < 0 || y + j < 0 || x + i >= canvas->width || y + j >= canvas->height) continue;
            put(canvas, x + i, y + j, c == 1 ? (vn_ink){p[0], p[0], p[0]} : (vn_ink){p[0], p[1], p[2]}, 1.0f);
        }
}
