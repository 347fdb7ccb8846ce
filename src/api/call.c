/* call.c - what every public call begins and ends with, and which library it is. */
#include "api/internal.h"

#define VN_TEXT_EXPANDED(x) #x
#define VN_TEXT(x)          VN_TEXT_EXPANDED(x)

vn_err *vn_begin(vn_context *vn) {
    vn->err.status = VN_OK;
    vn->err.text[0] = 0;
    return &vn->err;
}

vn_status vn_end(vn_context *vn, vn_status status) {
    vn->cancel = 0;
    return status;
}

vn_status vn_end_reading(vn_context *vn, vn_status status) {
    if (status == VN_CANCELLED) vn->cancel = 0;
    return status;
}

const char *vn_version(void) {
    return VN_TEXT(VN_VERSION_MAJOR) "." VN_TEXT(VN_VERSION_MINOR) "." VN_TEXT(VN_VERSION_PATCH);
}

int vn_version_number(void) {
    return VN_VERSION_NUMBER;
}
