/* options.h - options as tables (options_table.c): defaults, ranges, and members by name. A struct
 * here is the library's own, with all members, unless it says the caller's. */
#ifndef VN_API_OPTIONS_H
#define VN_API_OPTIONS_H

#include "api/structs.h"

/* The rows of one struct. */
typedef struct vn_option_table {
    const char *name; /* "train" */
    const char *of;   /* "vn_train_options" */
    const vn_option *rows;
    size_t count;
} vn_option_table;

extern const vn_option_table vn_option_tables[]; /* by VN_OPTIONS_... */
extern const size_t vn_option_table_count;

/* The caller's struct of `size` bytes becomes the defaults: members that are in no row, and what
 * lies beyond those known here, are 0. Does nothing where size is less than a size_t. */
void vn_options_init(int kind, void *options, size_t size);
/* Refuses numbers outside their bounds and texts that are none of the choices; a default is always
 * right, and labels are for a model to judge. VN_BAD_ARGUMENT names the option. */
vn_status vn_options_check(int kind, const void *options, vn_err *err);

/* Whether the member is another than the default. */
bool vn_option_given(const vn_option *o, const void *options);
/* Whether the default stands for "not given", and so cannot be given. */
bool vn_option_may_miss(const vn_option *o);
/* The same value in both; texts by their letters. */
bool vn_option_same(const vn_option *o, const void *a, const void *b);
void vn_option_copy(const vn_option *o, void *to, const void *from);
const char *vn_option_text(const vn_option *o, const void *options); /* of a text */
int64_t vn_option_whole(const vn_option *o, const void *options); /* of whole numbers and flags */
double vn_option_number(const vn_option *o, const void *options); /* 0 of a text */
/* Goes on with a hash (base.h) by all of a struct's options. */
uint64_t vn_options_hash(int kind, const void *options, uint64_t hash);
/* The nearest number of the type; a text becomes NULL. */
void vn_option_set_number(const vn_option *o, void *options, double value);

#endif
