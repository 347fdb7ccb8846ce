/* structs.h - structs of the public header that carry their size: of a caller's that was compiled
 * with another vane.h, only what both sides know is taken and given. */
#ifndef VN_API_STRUCTS_H
#define VN_API_STRUCTS_H

#include "base/base.h"

/* The caller's struct of `size` bytes becomes what `initial` [known bytes] holds; what it has
 * beyond is 0, and its first member says size. Does nothing where that is less than a size_t. */
void vn_struct_init(void *to, size_t size, const void *initial, size_t known);
/* *to [known bytes] holds the defaults and receives what the caller's `from` covers; NULL: nothing.
 * VN_BAD_ARGUMENT where `from` has no size, VN_UNSUPPORTED where it sets what is not known here.
 * `name` is the struct's, for messages. */
vn_status vn_struct_take(void *to, size_t known, const void *from, const char *name, vn_err *err);
/* VN_BAD_ARGUMENT unless the caller's struct says a size. */
vn_status vn_struct_check(const void *of, const char *name, vn_err *err);
/* The caller's struct, which was checked, receives of `from` [known bytes] what it covers. */
void vn_struct_give(void *to, const void *from, size_t known);

#endif
