/* support_image.c - see support_image.h. */
#include "support_image.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

static void require(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "%s\n", what);
    exit(99);
}

int image_difference(const vn_image *a, const vn_image *b) {
    if (a->width != b->width || a->height != b->height || a->channels != b->channels) return 256;
    int most = 0;
    for (size_t i = 0; i < (size_t)a->width * (size_t)a->height * (size_t)a->channels; i++) {
        const int d = abs((int)a->pixels[i] - (int)b->pixels[i]);
        if (d > most) most = d;
    }
    return most;
}

vn_image image_must_read(const char *path) {
    vn_image image;
    vn_err err = {0};
    require(vn_image_read(path, &image, &err) == VN_OK, err.text);
    return image;
}

int png_value(const png_kind *kind, int x, int y, int c) {
    const unsigned mixed = (unsigned)(x * 31 + y * 57 + c * 101 + x * y * 13) * 2654435761u;
    return (int)(mixed >> 8 & ((1u << kind->depth) - 1));
}

int png_palette(int entry, int c) {
    return (entry * 37 + c * 91) & 255;
}

static int channels_of(int colour_type) {
    return (colour_type == PNG_COLOR_TYPE_RGB || colour_type == PNG_COLOR_TYPE_RGBA ? 3 : 1) +
           ((colour_type & PNG_COLOR_MASK_ALPHA) != 0);
}

static void set_colours(png_structp png, png_infop info, const png_kind *kind) {
    png_color palette[256];
    png_byte alpha[256];
    const png_color_16 clear = {.gray = (png_uint_16)kind->clear,
                                .red = (png_uint_16)png_value(kind, 0, 0, 0),
                                .green = (png_uint_16)png_value(kind, 0, 0, 1),
                                .blue = (png_uint_16)png_value(kind, 0, 0, 2)};
    for (int i = 0; i < 256; i++) {
        palette[i] = (png_color){(png_byte)png_palette(i, 0), (png_byte)png_palette(i, 1),
                                 (png_byte)png_palette(i, 2)};
        alpha[i] = i == kind->clear ? 0 : 255;
    }
    if (kind->colour_type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, 1 << kind->depth);
    if (kind->transparent) png_set_tRNS(png, info, alpha, 1 << kind->depth, &clear);
}

static void write_rows(png_structp png, const png_kind *kind, int width, int height) {
    const int channels = channels_of(kind->colour_type), passes = png_set_interlace_handling(png);
    png_byte *row = calloc((size_t)width * 8, 1);
    require(row != NULL, "memory");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < height; y++) {
            memset(row, 0, (size_t)width * 8);
            for (int i = 0; i < width * channels; i++) {
                const int value = png_value(kind, i / channels, y, i % channels);
                if (kind->depth == 16) {
                    row[2 * i] = (png_byte)(value >> 8);
                    row[2 * i + 1] = (png_byte)value;
                } else {
                    row[i * kind->depth / 8] |=
                        (png_byte)(value << (8 - kind->depth - i * kind->depth % 8));
                }
            }
            png_write_row(png, row);
        }
    free(row);
}

void png_make(const char *path, const png_kind *kind, int width, int height) {
    FILE *f = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    require(f && png && info, path);
    png_init_io(png, f);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, kind->depth, kind->colour_type,
                 kind->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    set_colours(png, info, kind);
    png_write_info(png, info);
    write_rows(png, kind, width, height);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    require(fclose(f) == 0, path);
}
