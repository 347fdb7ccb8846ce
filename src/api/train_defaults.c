/* train_defaults.c - see the header. The first row that fits is taken: rows go from much computing
 * to little, and the last of each kind fits always.
 *
 * Minutes are times threads, so that half an hour on two threads is an hour of one. A run by steps
 * has the small model: how long its steps may take is not known, and it is to be the same run on
 * every machine. */
#include "api/train_defaults.h"

#define ANY INT64_MAX

typedef enum kind { POINTS, TEXTS, COLOUR, GREY, OTHER } kind; /* OTHER: latents */

/* clang-format off */
static const struct {
    kind kind;
    int64_t pixels;    /* at most */
    int64_t samples;   /* at least: a large network learns few pictures by heart */
    double minutes;    /* at least, times threads */
    vn_train_default is;
} rows[] = {
    {POINTS, ANY,     0,    0,   {"mlp", 0, 0, NULL}},
    {TEXTS,  ANY,     0,    0,   {"text-dit", 0, 0, NULL}},
    {OTHER,  ANY,     0,    0,   {"unet2d", 0, 0, NULL}},
    {GREY,   32 * 32, 20000, 55, {"unet2d:channels=24", 0, 0,
                                  "the pictures are many, and there is time for it"}},
    {GREY,   ANY,     0,    0,   {"unet2d", 0, 0, NULL}},
    {COLOUR, 32 * 32, 2000, 40,  {"unet2d:channels=32,layers=2,attention=2", 0, 0,
                                  "the pictures have colours, and there is time for it"}},
    {COLOUR, 32 * 32, 2000, 20,  {"unet2d:channels=32", 0, 0,
                                  "the pictures have colours, and there is time for it"}},
    {COLOUR, 64 * 64, 2000, 60,  {"unet2d:channels=32,levels=4,attention=2", 0, 0,
                                  "the pictures have colours, and there is time for it"}},
    {COLOUR, ANY,     0,    0,   {"unet2d", 0, 0, NULL}},
};
/* clang-format on */

static kind kind_of(const vn_train_budget *b) {
    if (!vn_shape_is_image(&b->sample)) return POINTS;
    if (b->texts) return TEXTS;
    if (b->latents) return OTHER;
    return b->sample.dim[0] == 3 ? COLOUR : b->sample.dim[0] == 1 ? GREY : OTHER;
}

const vn_train_default *vn_train_default_for(const vn_train_budget *b) {
    const kind is = kind_of(b);
    const int64_t pixels = is == POINTS ? 0 : b->sample.dim[1] * b->sample.dim[2];
    size_t i = 0;
    while (rows[i].kind != is || pixels > rows[i].pixels || b->count < rows[i].samples ||
           b->minutes * b->threads < rows[i].minutes)
        i++;
    return &rows[i].is;
}
