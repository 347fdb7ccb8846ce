/* internal.h - what a reader hands over, and what data.c makes of it: an order, and for folders a
 * feed of pictures decoded ahead. */
#ifndef VN_DATA_INTERNAL_H
#define VN_DATA_INTERNAL_H

#include "data/captions.h"
#include "data/data.h"
#include "image/image.h"

/* Sources other than folders are held in memory: 4 GiB of it, or half of all (vn_memory_total)
 * where that is less or VANE_MEMORY is given. What does not fit with labels and order is
 * VN_BAD_FILE, with both numbers, before memory is taken for it. */
size_t vn_source_bound(void);
vn_status vn_source_fits(int64_t count, double sample_bytes, vn_err *err);

/* A long read, reported to the watch every few megabytes. */
typedef struct vn_reading {
    const vn_watch *watch;
    uint64_t total, done, reported; /* bytes */
    double start;
} vn_reading;
void vn_reading_begin(vn_reading *r, const vn_watch *watch, uint64_t total);
/* So many bytes more are read; VN_CANCELLED when the caller wants to stop. */
vn_status vn_reading_advance(vn_reading *r, uint64_t bytes, vn_err *err);

/* The most bytes that zlib can make of one: a file that claims more is damaged. */
#define VN_DEFLATE_RATIO 1032

typedef struct vn_folder vn_folder;
typedef struct vn_rows vn_rows;

/* What was read. A reader fills it from zero; on failure it may stay half filled: vn_source_close
 * frees what is there. */
typedef struct vn_source {
    vn_shape sample; /* [C,H,W] or [D] */
    int64_t count;
    int32_t classes;
    const char **names; /* [classes], in the arena */
    /* [left_out_count] classes that no sample has: see vn_source_settle_classes */
    const char **left_out;
    int32_t left_out_count;
    int32_t *labels;           /* [count]; NULL when classes is 0 */
    uint8_t *pixels;           /* [count, H, W, C], or */
    float *points;             /* [count, D], or images [count, H, W, C] of floats, or */
    vn_folder *folder;         /* pictures decoded when they are needed, or */
    vn_rows *rows;             /* samples of a program's own */
    bool brings_noise;         /* with each sample: rows do, or */
    float *noise;              /* like points */
    vn_captions *captions;     /* NULL: none, or */
    const char *captions_from; /* the name of their row */
    /* what points were drawn from, where that is a mixture of Gaussians; else NULL */
    vn_world *world;
    vn_arena arena;
} vn_source;

void vn_source_close(vn_source *s);
size_t vn_source_sample_size(const vn_source *s); /* numbers in one sample */
/* Class names: capacity for all, then one after the other. Copied; what is not UTF-8 is taken for
 * Latin-1. */
vn_status vn_source_room_for_names(vn_source *s, int32_t classes, vn_err *err);
vn_status vn_source_set_name(vn_source *s, int32_t label, const char *text, size_t length,
                             vn_err *err);
vn_status vn_source_copy_names(vn_source *s, const char *const *names, int32_t classes,
                               vn_err *err);
/* Class names "0", "1", ... */
vn_status vn_source_number_names(vn_source *s, int32_t classes, vn_err *err);
/* Class names from a text file, one a line; `classes` of them, or any number if that is 0. */
vn_status vn_source_read_names(vn_source *s, const char *path, int32_t classes, vn_err *err);
/* Leaves out the classes that no sample has, which would never be trained; a log line says which.
 * With options->classes the classes are those, and the data's are found among them by name. */
vn_status vn_source_settle_classes(vn_source *s, const vn_data_options *options, const char *source,
                                   vn_err *err);
/* Captions of the names of the classes, which are then none any more. */
vn_status vn_source_caption_classes(vn_source *s, const char *source, vn_err *err);
/* Sets *c where there are captions, and tells of them (caption_record.c); VN_BAD_FILE: all are
 * empty. The others: vn_data_save_captions, vn_data_check_captions. */
vn_status vn_source_tell_captions(const vn_source *s, const char *source, vn_caption_info *c,
                                  const vn_watch *watch, vn_err *err);
vn_status vn_source_save_captions(const vn_source *s, const char *path, vn_err *err);
vn_status vn_source_check_captions(const vn_source *s, const char *path, const char *source,
                                   vn_err *err);
/* Whether a folder holds a file of that name. Takes no memory. */
bool vn_source_has(const char *folder, const char *name);
/* describe.c */
vn_status vn_source_describe(const vn_source *s, const char *kind, json_t **out, vn_err *err);
vn_status vn_source_fingerprint(const vn_source *s, const vn_watch *watch, uint32_t *out,
                                vn_err *err);

/* ---- readers: see the table in data.c -------------------------------------------------------- */

bool vn_points_detect(const char *source);
bool vn_npz_detect(const char *source);
bool vn_idx_detect(const char *source);
bool vn_cifar_detect(const char *source);
bool vn_folder_detect(const char *source);
bool vn_tar_detect(const char *source);
bool vn_world_data_detect(const char *source);
vn_status vn_points_open(const char *source, const vn_data_options *options, vn_source *out,
                         vn_err *err);
vn_status vn_npz_open(const char *source, const vn_data_options *options, vn_source *out,
                      vn_err *err);
vn_status vn_idx_open(const char *source, const vn_data_options *options, vn_source *out,
                      vn_err *err);
vn_status vn_cifar_open(const char *source, const vn_data_options *options, vn_source *out,
                        vn_err *err);
vn_status vn_folder_open(const char *source, const vn_data_options *options, vn_source *out,
                         vn_err *err);
vn_status vn_tar_open(const char *source, const vn_data_options *options, vn_source *out,
                      vn_err *err);
vn_status vn_world_data_open(const char *source, const vn_data_options *options, vn_source *out,
                             vn_err *err);
extern const vn_param vn_world_data_params[];

/* ---- .npy: the arrays inside an .npz --------------------------------------------------------- */

enum {
    VN_NPY_MAX_RANK = 4,
    VN_NPY_MAX_TEXT = 256,        /* letters of a name */
    VN_NPY_MAX_LETTERS = 64 << 10 /* of any text */
};

typedef struct vn_npy {
    char kind; /* 'u' 'i' 'f' 'S' 'U' as numpy writes it */
    int bytes; /* of one element; U: 4 a character */
    bool swap; /* big-endian */
    int rank;
    int64_t dim[VN_NPY_MAX_RANK];
    size_t count; /* elements */
} vn_npy;

/* Parses the header's text (the dictionary, without magic and length). */
vn_status vn_npy_parse(const char *text, size_t length, vn_npy *out, vn_err *err);
double vn_npy_float(const vn_npy *a, const uint8_t *element); /* kind f */
/* kinds u, i; what does not fit is INT64_MAX */
int64_t vn_npy_int(const vn_npy *a, const uint8_t *element);
/* the same in digits, whatever its size */
void vn_npy_int_text(const vn_npy *a, const uint8_t *element, char text[32]);
/* Kinds S, U; utf8 has room for 4 * VN_NPY_MAX_TEXT + 1. */
void vn_npy_text(const vn_npy *a, const uint8_t *element, char *utf8);
/* The same, but bytes (S) are UTF-8, and what is no text is VN_BAD_FILE; utf8 has room for a->bytes
 * + 1. */
vn_status vn_npy_caption(const vn_npy *a, const uint8_t *element, char *utf8, size_t *size,
                         vn_err *err);

/* ---- a folder of pictures -------------------------------------------------------------------- */

void vn_folder_close(vn_folder **folder);
/* Decodes picture i to [H, W, C]. Safe from several threads. Errors name the file. */
vn_status vn_folder_decode(const vn_folder *folder, int64_t i, uint8_t *pixels, vn_err *err);
const char *vn_folder_path(const vn_folder *folder, int64_t i); /* below the folder's root */
int64_t vn_folder_file_bytes(const vn_folder *folder, int64_t i);
/* The most that decoding one picture holds at a time. */
size_t vn_folder_work_bytes(const vn_folder *folder);
/* Whether a failure is the file's fault, rather than the machine's or the caller's. */
bool vn_is_files_fault(vn_status status);
int64_t vn_folder_skipped(const vn_folder *folder);
/* Whether picture i has a place but is not read any more. */
bool vn_folder_is_hole(const vn_folder *folder, int64_t i);
/* That picture i cannot be read: it becomes a hole or, until it is repaired or removed, is
 * remembered as named. */
void vn_folder_mark(vn_folder *folder, int64_t i, bool hole);
/* The list of a run (match.c). labels [count] of the files; NULL: all 0. */
vn_status vn_folder_save_list(vn_folder *folder, const int32_t *labels, const char *path,
                              vn_err *err);
bool vn_folder_list_changed(const vn_folder *folder);
/* The labels that the list said, against the folder's: VN_BAD_ARGUMENT names the first that is
 * another. */
vn_status vn_folder_check_labels(const vn_folder *folder, const int32_t *labels, vn_err *err);
/* Adds what a folder has to tell of its pictures to the object; false: no memory. */
bool vn_folder_describe(const vn_folder *folder, json_t *out);
/* Whether the folder itself is still there: else its files are not to be blamed. */
bool vn_folder_is_there(const vn_folder *folder);

/* ---- samples of a program's own -------------------------------------------------------------- */

/* "arrays" or "callback" */
const char *vn_rows_kind(const vn_train_data *rows);
vn_status vn_rows_open(const vn_train_data *data, const vn_watch *watch, vn_source *out,
                       vn_err *err);
void vn_rows_close(vn_rows **rows);
/* Sample i, [H,W,C] or [D], and its noise likewise (NULL: not wanted). One caller at a time. */
vn_status vn_rows_read(const vn_rows *r, int64_t i, float *x, float *noise, vn_err *err);
/* What a fingerprint is of: arrays as they were given, NULL of a callback, and its key. */
const float *vn_rows_array(const vn_rows *r);
const float *vn_rows_noise(const vn_rows *r);
uint64_t vn_rows_key(const vn_rows *r);

/* ---- which sample stands at a position ------------------------------------------------------- */

typedef struct vn_order {
    int64_t count, train, held;
    uint64_t seed;
    int64_t *train_index, *held_index; /* ascending */
    int64_t *shuffled;                 /* [train], the permutation of `epoch` */
    uint64_t epoch;
    bool have_epoch;
} vn_order;

vn_status vn_order_open(vn_order *o, int64_t count, double validate, uint64_t seed,
                        const vn_watch *watch, vn_err *err);
void vn_order_close(vn_order *o);
/* Not const: keeps the permutation of the epoch asked for last. */
int64_t vn_order_at(vn_order *o, vn_data_part part, uint64_t position);
/* The sample after `index` in a part, in the source's order, and after the last the first: it
 * stands in where index cannot be read. */
int64_t vn_order_next(const vn_order *o, vn_data_part part, int64_t index);

/* ---- pictures decoded ahead ------------------------------------------------------------------ */

typedef struct vn_prefetch vn_prefetch;

typedef struct vn_prefetch_options {
    const vn_folder *folder;
    vn_order *order; /* used by the feed alone while it is open */
    int64_t count;
    size_t sample_bytes;
    size_t memory; /* for pictures kept and made ahead */
    int threads;
    /* another stands in for a picture that cannot be read: the next in its part that can */
    bool skip_bad;
} vn_prefetch_options;

/* A picture that could not be read, found on the way. */
typedef struct vn_spoilt {
    int64_t index;
    vn_err err;
} vn_spoilt;

/* shift.c: an image [H,W,C] moved down by dy and right by dx, each less than its side; a draw of
 * both, from -most to most, by the seed and the position; and whether samples can be shifted. */
void vn_shift_picture(const vn_shape *sample, int64_t dy, int64_t dx, float *x);
void vn_draw_shift(int64_t most, uint64_t seed, uint64_t position, int64_t *dy, int64_t *dx);
vn_status vn_shift_check(const vn_shape *sample, bool brings_noise, int64_t shift, vn_err *err);

vn_status vn_prefetch_open(const vn_prefetch_options *options, vn_prefetch **out, vn_err *err);
void vn_prefetch_close(vn_prefetch **feed);
size_t vn_prefetch_bytes(const vn_prefetch *feed);
/* Takes one of those that another picture stands in for, each once; false: there is none that was
 * not taken. */
bool vn_prefetch_spoilt(vn_prefetch *feed, vn_spoilt *out);
/* The picture at a position and its index, also of one that fails. Pixels stay valid until
 * vn_prefetch_done, which must follow success. */
vn_status vn_prefetch_take(vn_prefetch *feed, vn_data_part part, uint64_t position,
                           const uint8_t **pixels, int64_t *index, vn_err *err);
void vn_prefetch_done(vn_prefetch *feed);

/* ---- open data (data.c), and its samples (batch.c) ------------------------------------------ */

struct vn_data {
    vn_data_info info;
    vn_caption_info captions;
    vn_source source;
    vn_order order;
    vn_prefetch *feed; /* folders */
    char *list;        /* of a run, kept up to date; or NULL */
    const vn_watch *watch;
    vn_data_coder coder; /* read NULL: there is none */
    uint64_t seed;
    bool flip;
    int64_t shift;
    float level[256]; /* byte to [-1, 1] */
};

#endif
