/* error.c - the text of an error. It is always one printable line: what it quotes may come from a
 * hostile file, so control characters (utf8.c) are replaced, and a text that is too long is cut
 * between two UTF-8 characters. */
#include "base/base.h"

#include <errno.h>
#include <string.h>

#define MAX_TEXT sizeof(((vn_err *)0)->text)

/* Formats into text, which the arguments may point into. */
static void write_line(char text[MAX_TEXT], const char *format, va_list args) {
    /* one more than fits, to see whether the cut goes through a character */
    char line[MAX_TEXT + 1];
    if (vn_vsnprintf(line, sizeof line, format, args) < 0)
        snprintf(line, sizeof line, "(message could not be formatted)");
    size_t n = strlen(line);
    if (n >= MAX_TEXT) {
        n = MAX_TEXT - 1;
        for (int i = 0; i < 3 && ((unsigned char)line[n] & 0xC0) == 0x80; i++) n--;
    }
    line[n] = 0;
    memcpy(text, line, n + 1);
    vn_clean_line(text);
}

vn_status vn_fail(vn_err *err, vn_status status, const char *format, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, format);
    write_line(err->text, format, args);
    va_end(args);
    err->status = status;
    return status;
}

vn_status vn_no_memory(vn_err *err) {
    return vn_fail(err, VN_NO_MEMORY, "out of memory");
}

vn_status vn_fail_in(vn_err *err, const char *format, ...) {
    if (!err) return VN_OK;
    char prefix[MAX_TEXT];
    va_list args;
    va_start(args, format);
    write_line(prefix, format, args);
    va_end(args);
    return vn_fail(err, err->status, "%s: %s", prefix, err->text);
}

vn_status vn_fail_after(vn_err *err, const char *format, ...) {
    if (!err) return VN_OK;
    char more[MAX_TEXT];
    va_list args;
    va_start(args, format);
    write_line(more, format, args);
    va_end(args);
    return vn_fail(err, err->status, "%s; %s", err->text, more);
}

vn_status vn_fail_errno(vn_err *err, const char *format, ...) {
    int code = errno;
    vn_status status = code == ENOMEM ? VN_NO_MEMORY : VN_IO;
    if (!err) return status;
    char what[MAX_TEXT], reason[128];
    va_list args;
    va_start(args, format);
    write_line(what, format, args);
    va_end(args);
    vn_strerror(code, reason, sizeof reason);
    return vn_fail(err, status, "%s: %s", what, reason);
}

const char *vn_status_name(vn_status status) {
    static const char *const names[] = {"ok", "no memory",   "bad argument", "bad file",
                                        "io", "unsupported", "not finite",   "cancelled"};
    return (size_t)status < VN_COUNT(names) ? names[status] : "unknown status";
}
