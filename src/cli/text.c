/* text.c - see text.h. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

/* ---- characters ------------------------------------------------------------------------------ */

/* Length of the UTF-8 character at `text`, and the character; 0: there is none. */
static int character(const char *text, uint32_t *code) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
    const int length = p[0] < 0x80   ? 1
                       : p[0] < 0xC0 ? 0
                       : p[0] < 0xE0 ? 2
                       : p[0] < 0xF0 ? 3
                       : p[0] < 0xF8 ? 4
                                     : 0;
    *code = length < 2 ? p[0] : p[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (p[i] & 0x3Fu);
    }
    const bool valid =
        *code >= least[length] && *code <= 0x10FFFF && (*code < 0xD800 || *code > 0xDFFF);
    return valid ? length : 0;
}

/* Controls, line ends, and what changes the direction of the text around it. */
static bool is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x061C || code == 0x200E ||
           code == 0x200F || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
}

/* Prints at most `bytes` bytes of the text; returns how many columns that took, a character
 * each. */
static int put(FILE *to, const char *text, size_t bytes) {
    int columns = 0;
    for (const char *end = text + strnlen(text, bytes); text < end; columns++) {
        uint32_t code;
        const int length = character(text, &code);
        if (length == 0 || text + length > end || is_control(code))
            fputc(length != 0 && strchr("\n\t\r", (int)code) && code != 0 ? ' ' : '?', to);
        else
            fwrite(text, 1, (size_t)length, to);
        text += length > 0 ? length : 1;
    }
    return columns;
}

void cli_put(FILE *to, const char *text) {
    put(to, text, SIZE_MAX);
}

void cli_put_json(FILE *to, const char *json) {
    while (*json != '\0') {
        uint32_t code;
        const int length = character(json, &code);
        if (length > 0 && code >= 0x7F && is_control(code))
            fprintf(to, "\\u%04X", (unsigned)code);
        else
            fwrite(json, 1, (size_t)(length > 0 ? length : 1), to);
        json += length > 0 ? length : 1;
    }
}

/* ---- formats --------------------------------------------------------------------------------- */

/* One conversion of a format: "%-*.3s". */
typedef struct conversion {
    char text[16];        /* as fprintf takes it, width and precision as '*' */
    int width, precision; /* precision -1: none */
    bool left;
    int longs; /* 'l's; -1: z */
    char kind;
} conversion;

static int read_number(const char **at, va_list *args) {
    if (**at == '*') {
        ++*at;
        return va_arg(*args, int);
    }
    int number = 0;
    while (**at >= '0' && **at <= '9') number = 10 * number + (*(*at)++ - '0');
    return number;
}

static conversion read_conversion(const char **at, va_list *args) {
    conversion c = {.text = "%", .precision = -1};
    size_t used = 1;
    for (; strchr("-+ #0", **at); ++*at) {
        c.left = c.left || **at == '-';
        if (used < 6) c.text[used++] = **at;
    }
    c.width = read_number(at, args);
    if (c.width < 0) {
        c.left = true;
        c.width = -c.width;
        if (used < 6) c.text[used++] = '-';
    }
    c.text[used++] = '*';
    if (**at == '.') {
        ++*at;
        c.precision = read_number(at, args);
    }
    memcpy(c.text + used, ".*", 2);
    used += 2;
    for (; **at == 'l' || **at == 'z'; ++*at) {
        c.longs = **at == 'z' ? -1 : c.longs + 1;
        c.text[used++] = **at;
    }
    c.kind = *(*at)++;
    c.text[used] = c.kind;
    return c;
}

static void put_padded(FILE *to, const conversion *c, const char *text) {
    const size_t most = c->precision < 0 ? SIZE_MAX : (size_t)c->precision;
    int columns = 0;
    uint32_t code;
    const char *end = text + strnlen(text, most);
    for (const char *p = text; p < end; columns++) {
        const int length = character(p, &code);
        p += length > 0 ? length : 1;
    }
    for (int i = columns; !c->left && i < c->width; i++) fputc(' ', to);
    put(to, text, most);
    for (int i = columns; c->left && i < c->width; i++) fputc(' ', to);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* checked where cli_print is called */
#pragma GCC diagnostic ignored "-Wformat-security"
static void put_number(FILE *to, const conversion *c, va_list *args) {
    switch (c->kind) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
        if (c->longs == 2) /* NOLINTNEXTLINE(bugprone-branch-clone): of other types */
            fprintf(to, c->text, c->width, c->precision, va_arg(*args, long long));
        else if (c->longs == 1)
            fprintf(to, c->text, c->width, c->precision, va_arg(*args, long));
        else if (c->longs == -1)
            fprintf(to, c->text, c->width, c->precision, va_arg(*args, size_t));
        else
            fprintf(to, c->text, c->width, c->precision, va_arg(*args, int));
        break;
    case 'c': fputc(va_arg(*args, int), to); break;
    default: fprintf(to, c->text, c->width, c->precision, va_arg(*args, double)); break;
    }
}
#pragma GCC diagnostic pop

void cli_print(FILE *to, const char *format, ...) {
    va_list args;
    va_start(args, format);
    while (*format != '\0') {
        if (*format != '%') {
            fputc(*format++, to);
        } else if (format[1] == '%') {
            fputc('%', to);
            format += 2;
        } else {
            format++;
            const conversion c = read_conversion(&format, &args);
            if (c.kind == 's')
                put_padded(to, &c, va_arg(args, const char *));
            else
                put_number(to, &c, &args);
        }
    }
    va_end(args);
}

char *cli_shell_word(const char *word) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:@,%";
    if (word[0] && word[0] != '-' && !word[strspn(word, plain)]) return strdup(word);
    char *quoted = malloc(4 * strlen(word) + sizeof "'./'"), *to = quoted;
    if (!quoted) return NULL;
    to = stpcpy(to, word[0] == '-' ? "'./" : "'"); /* no flag */
    for (; *word; word++) {
        if (*word == '\'') to = stpcpy(to, "'\\'");
        *to++ = *word;
    }
    stpcpy(to, "'");
    return quoted;
}

/* ---- options --------------------------------------------------------------------------------- */

/* How long "`name`" or "`name=value`" at `text` is; 0: it is neither. */
static size_t option_length(const char *text) {
    const size_t name = 1 + strspn(text + 1, "abcdefghijklmnopqrstuvwxyz_");
    const size_t n = text[name] == '=' ? name + strcspn(text + name, "` ") : name;
    return name > 1 && text[n] == '`' ? n + 1 : 0;
}

void cli_write_flags(char *text) {
    for (char *c = text; (c = strchr(c, '`')); c++) {
        const size_t n = option_length(c);
        if (n == 0) continue;
        memmove(c + 2, c + 1, n - 2);
        c[0] = c[1] = '-';
        for (char *name = c + 2; name < c + n && *name != '='; name++)
            if (*name == '_') *name = '-';
        char *equals = memchr(c, '=', n);
        if (equals) *equals = ' ';
    }
}
