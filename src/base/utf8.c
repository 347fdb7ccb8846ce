/* utf8.c - text character by character: what names and messages need to know of Unicode. */
#include "base/base.h"

uint32_t vn_utf8_next(const char **text) {
    /* what a sequence of so many bytes is needed for */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)*text;
    const int length = p[0] < 0x80             ? 1
                       : (p[0] & 0xE0) == 0xC0 ? 2
                       : (p[0] & 0xF0) == 0xE0 ? 3
                       : (p[0] & 0xF8) == 0xF0 ? 4
                                               : 0;
    uint32_t code = length < 2 ? p[0] : p[0] & (0x7Fu >> length);
    int i = 1;
    for (; i < length && (p[i] & 0xC0) == 0x80; i++) code = code << 6 | (p[i] & 0x3Fu);
    const bool valid = length && i == length && code >= least[length] && code <= 0x10FFFF &&
                       (code < 0xD800 || code > 0xDFFF);
    if (p[0]) *text += valid ? length : 1; /* stays at the end */
    return valid ? code : VN_NOT_UTF8;
}

void vn_clean_line(char *line) {
    char *to = line;
    for (const char *at = line, *begin; *(begin = at);) {
        if (vn_is_control(vn_utf8_next(&at)))
            *to++ = '?';
        else
            while (begin < at) *to++ = *begin++;
    }
    *to = 0;
}

bool vn_is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) || /* C0, DEL, C1 */
           code == 0x061C || code == 0x200E || code == 0x200F ||
           (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 &&
            code <= 0x2069) || /* line ends, and what turns the direction of the text around it */
           code == 0xFEFF ||
           code == VN_NOT_UTF8;
}
