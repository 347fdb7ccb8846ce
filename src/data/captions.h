/* captions.h - the captions of a source's samples, held in memory: each distinct caption once, in
 * one array of text, and for each sample the numbers of its captions. A million captions are a
 * handful of arrays that grow, not a million allocations; of the files they come from nothing is
 * held. What a thread reads while training is never changed after opening, so that drawing a
 * caption takes no lock.
 *
 *     collect    vn_captions_add for each caption that a reader finds, in any order of samples
 *     settle     vn_captions_settle: samples get their places, distinct captions their numbers
 *     use        vn_captions_draw, vn_captions_text
 *
 * Each kind of captions that lies beside pictures is a row of vn_caption_rows: how many pictures
 * it captions, and reading them. */
#ifndef VN_DATA_CAPTIONS_H
#define VN_DATA_CAPTIONS_H

#include "data/data.h"

/* Bytes of one caption, and of a file with the captions of one picture. */
#define VN_CAPTION_MAX_BYTES ((size_t)64 << 10)
#define VN_CAPTION_MAX_FILE  ((size_t)1 << 20)

typedef struct vn_captions vn_captions;

vn_status vn_captions_open(vn_captions **out, vn_err *err);
void vn_captions_close(vn_captions **c); /* safe on NULL */

/* ---- collecting ------------------------------------------------------------------------------ */

/* Adds a caption of `length` bytes, which is checked text, to a sample's list; an empty list is 0.
 * An empty caption is none. VN_BAD_FILE: it is too long; VN_NO_MEMORY: they do not fit. */
vn_status vn_captions_add(vn_captions *c, int32_t *list, const char *text, size_t length,
                          vn_err *err);
/* The same without the blanks around it. */
vn_status vn_captions_add_trimmed(vn_captions *c, int32_t *list, const char *text, size_t size,
                                  vn_err *err);
/* Adds the captions of a text, one a line; blanks around a caption and empty lines do not count,
 * nor does a byte order mark. text[size] is 0. VN_BAD_FILE tells the offset of what is not UTF-8;
 * then nothing is added. */
vn_status vn_captions_add_lines(vn_captions *c, int32_t *list, const char *text, size_t size,
                                vn_err *err);
/* Whether all of a text, ended by 0 after `size` bytes, is UTF-8 without a 0 in it; else
 * VN_BAD_FILE with the offset. */
vn_status vn_caption_check(const char *text, size_t size, vn_err *err);

/* Ends collecting: sample i has the captions of lists[i], in the order in which they were added.
 * Captions of no list are forgotten. */
vn_status vn_captions_settle(vn_captions *c, const int32_t *lists, int64_t count, vn_err *err);

/* ---- use, once settled ----------------------------------------------------------------------- */

/* A number, 0 .. distinct-1, of a sample's caption; -1: it has none. Of several the one that
 * (seed, key, step) draws. */
int32_t vn_captions_draw(const vn_captions *c, int64_t sample, uint64_t seed, uint64_t key,
                         uint64_t step);
const char *vn_captions_text(const vn_captions *c, int32_t number); /* NULL: out of range */
uint32_t vn_captions_hash(const vn_captions *c, int64_t sample);    /* of a sample's captions */
/* All but `from`. */
vn_caption_info vn_captions_info(const vn_captions *c);
/* The first sample without a caption; -1: all have one. */
int64_t vn_captions_first_without(const vn_captions *c);
size_t vn_captions_bytes(const vn_captions *c); /* held */

#endif
