/* text.c - numbers printed and read with a decimal point. The C library's printf and strtod use
 * that of the locale, which belongs to the program that uses us: after its setlocale(LC_ALL,
 * "de_DE.UTF-8") a file would hold 1,5 and 1.5 would be read as 1. So all that prints or reads a
 * number with a fraction goes through here, where the calling thread is in the C locale for the
 * moment (POSIX's uselocale; no other thread sees it). tools/check_numbers.sh finds what does
 * not. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

vn_c_locale vn_c_locale_enter(void) {
    vn_c_locale l = {/* of the C library itself: takes no memory in glibc */
                     .c = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    if (l.c) l.before = uselocale(l.c);
    return l;
}

void vn_c_locale_leave(vn_c_locale l) {
    if (!l.c) return;
    uselocale(l.before);
    freelocale(l.c);
}

int vn_vsnprintf(char *text, size_t size, const char *format, va_list args) {
    const vn_c_locale l = vn_c_locale_enter();
    const int length = vsnprintf(text, size, format, args);
    vn_c_locale_leave(l);
    return length;
}

int vn_snprintf(char *text, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int length = vn_vsnprintf(text, size, format, args);
    va_end(args);
    return length;
}

int vn_fprintf(FILE *to, const char *format, ...) {
    const vn_c_locale l = vn_c_locale_enter();
    va_list args;
    va_start(args, format);
    const int length = vfprintf(to, format, args);
    va_end(args);
    vn_c_locale_leave(l);
    return length;
}

double vn_strtod(const char *text, char **end) {
    const vn_c_locale l = vn_c_locale_enter();
    const double value = strtod(text, end);
    vn_c_locale_leave(l);
    return value;
}

void vn_strerror(int code, char *text, size_t size) {
    const vn_c_locale l = vn_c_locale_enter();
    if (strerror_r(code, text, size) != 0) snprintf(text, size, "error %d", code);
    vn_c_locale_leave(l);
}

char vn_small_letter(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool vn_begins_but_for_case(const char *text, const char *beginning) {
    for (; *beginning; text++, beginning++)
        if (vn_small_letter(*text) != vn_small_letter(*beginning)) return false;
    return true;
}

bool vn_same_but_for_case(const char *a, const char *b) {
    return vn_begins_but_for_case(a, b) && strlen(a) == strlen(b);
}
