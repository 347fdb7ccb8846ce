/* scheduler_reader.h - a scheduler_config.json while it is read: its keys, the sampler and the grid
 * that they lead to so far, and what of them is not supported. */
#ifndef VN_SCHEDULER_READER_H
#define VN_SCHEDULER_READER_H

#include "sample/internal.h"

typedef struct vn_scheduler_reader {
    const json_t *config;
    const vn_path *path;
    const vn_scheduler_use *use;
    const char *name; /* of the class */
    vn_scheduler *out;
    vn_choice sampler, grid; /* as read so far */
    vn_err *err;
    vn_status status; /* of the first failure */
} vn_scheduler_reader;

/* The value of a key; NULL where it is missing or null. */
const json_t *vn_key_value(const vn_scheduler_reader *r, const char *key);
/* The same as a number, a flag or a text; `missing` where it is missing, null or of another type,
 * which also sets the status. */
double vn_key_number(vn_scheduler_reader *r, const char *key, double missing);
bool vn_key_flag(vn_scheduler_reader *r, const char *key, bool missing);
const char *vn_key_text(vn_scheduler_reader *r, const char *key, const char *missing);

/* Begins the sampler or the grid with the row of this name and its defaults. */
void vn_scheduler_use_sampler(vn_scheduler_reader *r, const char *name);
void vn_scheduler_use_grid(vn_scheduler_reader *r, const char *name);
bool vn_scheduler_grid_is(const vn_scheduler_reader *r, const char *name);
/* Sets a parameter of the sampler or the grid. A value that the row does not allow is noted as not
 * supported. */
void vn_scheduler_set(vn_scheduler_reader *r, vn_choice *c, const char *param, double value);
/* Notes that something of the sampler or the grid is not supported; the first note is kept. */
void vn_scheduler_refuse(vn_scheduler_reader *r, vn_scheduler_aspect aspect, const char *format,
                         ...) VN_PRINTF(3, 4);
/* The sampler or grid as text, row and parameters. */
void vn_scheduler_write(vn_scheduler_reader *r, const vn_choice *c, char *to, size_t size);

#endif
