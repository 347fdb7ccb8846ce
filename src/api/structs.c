/* structs.c - see the header. */
#include "api/structs.h"

#include <string.h>

static size_t size_of(const void *of) {
    size_t size;
    memcpy(&size, of, sizeof size);
    return size;
}

/* Copies what both sides have, and leaves to's size as it is. */
static void copy(void *to, size_t to_size, const void *from, size_t from_size) {
    const size_t head = sizeof(size_t), n = to_size < from_size ? to_size : from_size;
    memcpy((char *)to + head, (const char *)from + head, n - head);
}

void vn_struct_init(void *to, size_t size, const void *initial, size_t known) {
    if (!to || size < sizeof size) return;
    memset(to, 0, size);
    memcpy(to, &size, sizeof size);
    copy(to, size, initial, known);
}

vn_status vn_struct_check(const void *of, const char *name, vn_err *err) {
    const size_t size = size_of(of);
    if (size >= sizeof size && size % sizeof size == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s: struct_size %zu is none; begin with %s_default()",
                   name, size, name);
}

vn_status vn_struct_take(void *to, size_t known, const void *from, const char *name, vn_err *err) {
    if (!from) return VN_OK;
    const size_t size = size_of(from);
    const vn_status status = vn_struct_check(from, name, err);
    if (status) return status;
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)from)[i])
            return vn_fail(err, VN_UNSUPPORTED,
                           "%s: a member is set that this library, %s, does not know", name,
                           vn_version());
    copy(to, known, from, size);
    return VN_OK;
}

void vn_struct_give(void *to, const void *from, size_t known) {
    vn_struct_init(to, size_of(to), from, known);
}
