/* support_pictures.h - a model of small pictures, by a callback: brighter under one class, and
 * shaped by the noise. Its samples are drawn in milliseconds, and a test knows how often it was
 * asked. */
#ifndef SUPPORT_PICTURES_H
#define SUPPORT_PICTURES_H

#include "api/support_api.h"

enum { SIDE = 4, SIZE = SIDE * SIDE };

typedef struct fixture {
    vn_context *vn;
    vn_model *model;
} fixture;

extern int64_t asked; /* how often a model was */

/* Pictures [1,SIDE,SIDE] of these classes, and null. */
vn_model *open_pictures(vn_context *vn, const char *const *names, int32_t classes);
fixture begin(const char *const *names, int32_t classes);
void end(fixture *f);
extern const char *const shoes[2];

/* Options of a short run on the rectified path. */
vn_sample_options few(int64_t count, double guidance, const char *guide);
vn_samples *draw(const fixture *f, vn_sample_options o);
/* Samples of all options, as bands. */
vn_samples *draw_bands(const fixture *f, const vn_sample_options *o, int count);

/* Fails the test unless the call had this status, with these words. */
void expect_refused_by(const fixture *f, vn_status status, vn_status expected, const char *words);

#endif
