/* save.h - what the forms of saved samples share: a form is a row of save_forms.c's table and a
 * file save_*.c. */
#ifndef VN_API_SAVE_H
#define VN_API_SAVE_H

#include "api/internal.h"

struct vn_saver {
    const struct vn_form *form;
    const vn_samples *of;
    const char *path;
    vn_memory_file
        *to; /* the file is one in memory, and path its name in messages; NULL: at path */
    vn_existing existing;
    int64_t done; /* samples put */
    void *self;   /* the form's own */
};

typedef struct vn_form {
    const char *ending;
    /* of points, at most; -1: any, and images of any channels */
    int dimensions;
    bool whole; /* all samples come in one put */
    /* what was put stays when the rest does not come */
    bool keeps;
    bool traces, point_traces;                   /* holds the trace of any samples; of points */
    vn_status (*open)(vn_saver *s, vn_err *err); /* to be closed even when it fails */
    vn_status (*put)(vn_saver *s, int64_t first, int64_t n, const vn_drawn_rows *rows, vn_err *err);
    vn_status (*commit)(vn_saver *s, vn_err *err); /* NULL: nothing is left to do */
    void (*close)(vn_saver *s);
} vn_form;

/* The form of a path, by its ending (save_forms.c). */
const vn_form *vn_form_of(const char *path);
/* The same, if samples of this shape can have it. */
vn_status vn_form_find(const char *path, const vn_shape *sample, const vn_form **out, vn_err *err);
extern const vn_form vn_form_picture, vn_form_safetensors, vn_form_npy, vn_form_folder;

/* What the bands do not have in common. */
typedef struct vn_differences {
    bool guidance, guide;
} vn_differences;
vn_differences vn_bands_differ(const vn_samples *s);
const char *vn_band_setting(const vn_samples_band *band, const char *key);

/* A picture with its settings (an object of strings) in its text chunks. fresh: a file that is
 * there stays, and is an error. to: into memory, not to a file; else NULL. */
vn_status vn_picture_write(const vn_image *image, const json_t *settings, const char *path,
                           bool fresh, vn_memory_file *to, vn_err *err);

/* Refuses a path at which pictures would lie among a model's files, or among data (save_place.c).
 * trained_on: the folder of the model's own data; NULL: none. */
vn_status vn_saver_check_place(const vn_form *form, const char *path, const char *trained_on,
                               vn_err *err);
/* Whether vane wrote the picture, with this setting in it; what cannot be read it did not. */
vn_status vn_picture_is_own(const char *path, const char *key, bool *own, vn_err *err);

/* ---- names of files (save_names.c) ----------------------------------------------------------- */

/* The parts of names in a folder: for each band and each class a word of its own. */
typedef struct vn_file_names {
    char **tag;  /* [bands] "g2-", or "" */
    char **word; /* [classes + 1] "boot"; the last is of samples without a class */
    size_t tags, words;
} vn_file_names;
/* to be closed even when it fails */
vn_status vn_file_names_open(vn_file_names *n, const vn_samples *s, vn_err *err);
void vn_file_names_close(vn_file_names *n);
/* "000003-g2-boot.png"; new string or NULL. */
char *vn_file_name_of(const vn_file_names *n, uint64_t index, size_t band, int32_t label);
/* Whether a file's name begins as these do; then its index. */
bool vn_file_name_index(const char *name, uint64_t *index);

#endif
