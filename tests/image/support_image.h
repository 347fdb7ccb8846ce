/* support_image.h - for the tests of pictures: comparing them, and PNGs of every kind written
 * straight through libpng. */
#ifndef VN_TEST_IMAGE_SUPPORT_H
#define VN_TEST_IMAGE_SUPPORT_H

#include "image/image.h"

#define GOLDEN(name)  VN_SOURCE_DIR "/tests/golden/images/" name
#define PICTURE(name) VN_SOURCE_DIR "/tests/golden/pictures/" name

/* Largest difference of two pictures' values; 256 when their shapes differ. */
int image_difference(const vn_image *a, const vn_image *b);
/* Reads a picture that must be readable. */
vn_image image_must_read(const char *path);

typedef struct png_kind {
    int colour_type, depth; /* as libpng names them */
    bool interlaced;
    bool transparent; /* with tRNS: the grey or colour of value `clear`, or palette entry `clear` */
    int clear;
} png_kind;

/* The raw value of channel c at (x, y), below 1 << depth; what every written PNG holds. */
int png_value(const png_kind *kind, int x, int y, int c);
/* Colour k of palettes. */
int png_palette(int entry, int c);
void png_make(const char *path, const png_kind *kind, int width, int height);

#endif
