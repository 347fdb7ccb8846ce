/* options.c - one place for what is done with options of any struct: their defaults, their ranges
 * and the words that refuse them, and setting and reading them by name. All walks the rows of
 * options_table.c. */
#include "api/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

/* ---- the tables ------------------------------------------------------------------------------ */

static const vn_option_table *table_of(int kind) {
    return kind >= 0 && (size_t)kind < vn_option_table_count ? &vn_option_tables[kind] : NULL;
}

const char *vn_option_kind_name(int kind) {
    const vn_option_table *table = table_of(kind);
    return table ? table->name : NULL;
}

size_t vn_option_count(int kind) {
    const vn_option_table *table = table_of(kind);
    return table ? table->count : 0;
}

const vn_option *vn_option_at(int kind, size_t i) {
    return i < vn_option_count(kind) ? &table_of(kind)->rows[i] : NULL;
}

static bool same_name(const char *a, const char *b) {
    while (*a && (*a == *b || (*a == '-' && *b == '_'))) a++, b++;
    return *a == *b;
}

const vn_option *vn_option_find(int kind, const char *name) {
    const vn_option *o = NULL;
    for (size_t i = 0; name && (o = vn_option_at(kind, i)); i++)
        if (same_name(name, o->name)) return o;
    return NULL;
}

/* ---- members --------------------------------------------------------------------------------- */

static size_t size_of(const vn_option *o) {
    static const size_t sizes[] = {
        [VN_OPTION_TEXT] = sizeof(char *),    [VN_OPTION_FLAG] = sizeof(int),
        [VN_OPTION_INT] = sizeof(int),        [VN_OPTION_INT64] = sizeof(int64_t),
        [VN_OPTION_UINT64] = sizeof(int64_t), [VN_OPTION_DOUBLE] = sizeof(double),
        [VN_OPTION_LABEL] = sizeof(int32_t)};
    return sizes[o->type];
}

static const void *at(const vn_option *o, const void *options) {
    return (const char *)options + o->offset;
}

static void *into(const vn_option *o, void *options) {
    return (char *)options + o->offset;
}

const char *vn_option_text(const vn_option *o, const void *options) {
    return *(const char *const *)at(o, options);
}

/* Of a UINT64 its bits. */
int64_t vn_option_whole(const vn_option *o, const void *options) {
    if (o->type == VN_OPTION_LABEL) return *(const int32_t *)at(o, options);
    if (o->type == VN_OPTION_FLAG) return *(const int *)at(o, options) != 0;
    return size_of(o) == sizeof(int) ? *(const int *)at(o, options)
                                     : *(const int64_t *)at(o, options);
}

double vn_option_number(const vn_option *o, const void *options) {
    if (o->type == VN_OPTION_TEXT) return 0;
    if (o->type == VN_OPTION_DOUBLE) return *(const double *)at(o, options);
    if (o->type == VN_OPTION_UINT64) return (double)*(const uint64_t *)at(o, options);
    return (double)vn_option_whole(o, options);
}

static void set_whole(const vn_option *o, void *options, int64_t value) {
    if (o->type == VN_OPTION_LABEL)
        *(int32_t *)into(o, options) = (int32_t)value;
    else if (size_of(o) == sizeof(int))
        *(int *)into(o, options) = (int)value;
    else
        *(int64_t *)into(o, options) = value;
}

void vn_option_set_number(const vn_option *o, void *options, double value) {
    if (o->type == VN_OPTION_TEXT)
        *(const char **)into(o, options) = NULL;
    else if (o->type == VN_OPTION_DOUBLE)
        *(double *)into(o, options) = value;
    else
        set_whole(o, options, (int64_t)value);
}

static bool same_number(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

bool vn_option_same(const vn_option *o, const void *a, const void *b) {
    if (o->type == VN_OPTION_DOUBLE)
        return same_number(vn_option_number(o, a), vn_option_number(o, b));
    if (o->type != VN_OPTION_TEXT) return vn_option_whole(o, a) == vn_option_whole(o, b);
    const char *x = vn_option_text(o, a), *y = vn_option_text(o, b);
    return x == y || (x && y && !strcmp(x, y));
}

void vn_option_copy(const vn_option *o, void *to, const void *from) {
    memcpy(into(o, to), at(o, from), size_of(o));
}

bool vn_option_given(const vn_option *o, const void *options) {
    if (o->type == VN_OPTION_TEXT) return vn_option_text(o, options) != NULL;
    if (o->type == VN_OPTION_DOUBLE) return !same_number(vn_option_number(o, options), o->value);
    return vn_option_whole(o, options) != (int64_t)o->value;
}

bool vn_option_may_miss(const vn_option *o) {
    return o->otherwise || !same_number(o->fallback, o->value);
}

uint64_t vn_options_hash(int kind, const void *options, uint64_t hash) {
    for (size_t i = 0; i < vn_option_count(kind); i++) {
        const vn_option *o = vn_option_at(kind, i);
        const char *text = o->type == VN_OPTION_TEXT ? vn_option_text(o, options) : NULL;
        const double number = o->type == VN_OPTION_DOUBLE ? vn_option_number(o, options) : 0;
        const int64_t whole = o->type == VN_OPTION_DOUBLE || o->type == VN_OPTION_TEXT
                                  ? text != NULL
                                  : vn_option_whole(o, options);
        hash = vn_hash_text(hash, text ? text : "");
        hash = vn_hash_words(hash, &number, sizeof number / sizeof(uint32_t));
        hash = vn_hash_words(hash, &whole, sizeof whole / sizeof(uint32_t));
    }
    return hash;
}

/* ---- defaults -------------------------------------------------------------------------------- */

void vn_options_init(int kind, void *options, size_t size) {
    if (!options || size < sizeof size) return;
    memset(options, 0, size);
    memcpy(options, &size, sizeof size);
    const vn_option *o = NULL;
    for (size_t i = 0; (o = vn_option_at(kind, i)); i++)
        if (o->offset + size_of(o) <= size) vn_option_set_number(o, options, o->value);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static bool is_whole(const vn_option *o) {
    return o->type != VN_OPTION_TEXT && o->type != VN_OPTION_DOUBLE;
}

static bool has_bounds(const vn_option *o) {
    return isfinite(o->min) || isfinite(o->max);
}

/* Whole numbers are shown whole: rounded, one that is outside would look as the bound does. */
static vn_status outside(const vn_option *o, const char *text, vn_err *err) {
    char min[32], max[32];
    if (!has_bounds(o))
        return vn_fail(err, VN_BAD_ARGUMENT, "`%s` %.40s is not finite", o->name, text);
    if (is_whole(o))
        return vn_fail(err, VN_BAD_ARGUMENT, "`%s` %.40s is outside [%.0f, %.0f]", o->name, text,
                       o->min, o->max);
    vn_number_text(min, o->min);
    vn_number_text(max, o->max);
    return vn_fail(err, VN_BAD_ARGUMENT, "`%s` %.40s is outside [%s, %s]", o->name, text, min, max);
}

/* A number as it is written; labels too. */
static void number_text(char text[32], const vn_option *o, const void *options) {
    if (o->type == VN_OPTION_DOUBLE)
        vn_number_text(text, vn_option_number(o, options));
    else if (o->type == VN_OPTION_UINT64)
        vn_snprintf(text, 32, "%llu", (unsigned long long)vn_option_whole(o, options));
    else
        vn_snprintf(text, 32, "%lld", (long long)vn_option_whole(o, options));
}

static vn_status check_bounds(const vn_option *o, const void *options, vn_err *err) {
    const double value = vn_option_number(o, options);
    char text[32];
    if (has_bounds(o) ? value >= o->min && value <= o->max : isfinite(value)) return VN_OK;
    number_text(text, o, options);
    return outside(o, text, err);
}

/* The choices one by one: *from is moved on; false past the last. */
static bool next_choice(const char **from, char *name, size_t size) {
    const size_t n = strcspn(*from, "|");
    if (n == 0) return false;
    snprintf(name, size, "%.*s", (int)n, *from);
    *from += n + ((*from)[n] == '|');
    return true;
}

static vn_status check_choice(const vn_option *o, const char *text, vn_err *err) {
    enum { most = 8, longest = 32 };
    char name[most][longest];
    const char *names[most], *from = o->choices;
    size_t count = 0;
    while (from && count < most && next_choice(&from, name[count], longest)) {
        if (!strcmp(text, name[count])) return VN_OK;
        names[count] = name[count];
        count++;
    }
    if (!o->choices) return VN_OK;
    vn_err message;
    vn_fail(&message, VN_BAD_ARGUMENT, "unknown `%s` '%.40s'", o->name, text);
    vn_add_hint(&message, text, names, count);
    return vn_fail(err, VN_BAD_ARGUMENT, "%s", message.text);
}

vn_status vn_options_check(int kind, const void *options, vn_err *err) {
    vn_status status = VN_OK;
    const vn_option *o = NULL;
    for (size_t i = 0; !status && (o = vn_option_at(kind, i)); i++) {
        if (o->type == VN_OPTION_FLAG || o->type == VN_OPTION_LABEL) continue;
        if (!vn_option_given(o, options)) continue;
        status = o->type == VN_OPTION_TEXT ? check_choice(o, vn_option_text(o, options), err)
                                           : check_bounds(o, options, err);
    }
    return status;
}

/* ---- by name --------------------------------------------------------------------------------- */

static vn_status expected(const vn_option *o, const char *what, const char *text, vn_err *err) {
    return vn_fail(err, VN_BAD_ARGUMENT, "`%s`: expected %s, not '%.40s'", o->name, what, text);
}

static vn_status take_flag(const vn_option *o, void *options, const char *text, vn_err *err) {
    const bool yes = !strcmp(text, "true") || !strcmp(text, "1");
    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
        return expected(o, "true or false", text, err);
    set_whole(o, options, yes);
    return VN_OK;
}

/* Of *value: within the bounds, and not what stands for "not given". */
static vn_status check_number(const vn_option *o, double value, const char *text, vn_err *err) {
    if (has_bounds(o) && !(value >= o->min && value <= o->max)) return outside(o, text, err);
    if (!vn_option_may_miss(o) || value != o->value) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "`%s` %.40s stands for \"not given\": leave it out",
                   o->name, text);
}

static vn_status take_double(const vn_option *o, void *options, const char *text, vn_err *err) {
    double value;
    if (!vn_parse_double(text, &value)) return expected(o, "a number", text, err);
    const vn_status status = check_number(o, value, text, err);
    if (!status) *(double *)into(o, options) = value;
    return status;
}

static vn_status take_whole(const vn_option *o, void *options, const char *text, vn_err *err) {
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    if (!digits[0] || digits[strspn(digits, "0123456789")])
        return expected(o, "a whole number", text, err);
    const bool large = o->type == VN_OPTION_UINT64 && text[0] != '-';
    errno = 0;
    const unsigned long long positive = large ? strtoull(text, NULL, 10) : 0;
    const long long value = large ? (long long)positive : strtoll(text, NULL, 10);
    if (errno) return outside(o, text, err);
    const vn_status status = check_number(o, large ? (double)positive : (double)value, text, err);
    if (!status) set_whole(o, options, value);
    return status;
}

static vn_status take_label(const vn_option *o, void *options, const char *text, vn_err *err) {
    const bool null = !strcmp(text, "null");
    if (!null && strcmp(text, "all") != 0) return take_whole(o, options, text, err);
    set_whole(o, options, null ? VN_LABEL_NULL : VN_LABEL_ALL);
    return VN_OK;
}

static vn_status take_text(const vn_option *o, void *options, const char *text, vn_err *err) {
    vn_status status = check_choice(o, text, err);
    if (!status && o->table) status = vn_kind_check(o->table, text, err);
    if (!status) *(const char **)into(o, options) = text;
    return status;
}

static vn_status take(const vn_option *o, void *options, const char *text, vn_err *err) {
    static vn_status (*const takes[])(const vn_option *, void *, const char *, vn_err *) = {
        [VN_OPTION_TEXT] = take_text,    [VN_OPTION_FLAG] = take_flag,
        [VN_OPTION_INT] = take_whole,    [VN_OPTION_INT64] = take_whole,
        [VN_OPTION_UINT64] = take_whole, [VN_OPTION_DOUBLE] = take_double,
        [VN_OPTION_LABEL] = take_label};
    return takes[o->type](o, options, text, err);
}

static vn_status unknown(int kind, const char *name, vn_err *err) {
    enum { most = 64 };
    const char *names[most];
    size_t count = 0;
    const vn_option *o = NULL;
    while (count < most && (o = vn_option_at(kind, count))) names[count++] = o->name;
    vn_err message;
    vn_fail(&message, VN_BAD_ARGUMENT, "%s has no option '%.60s'", table_of(kind)->name, name);
    vn_add_hint(&message, name, names, count);
    return vn_fail(err, VN_BAD_ARGUMENT, "%s", message.text);
}

/* The row of a member that the caller's struct has. */
static vn_status find(int kind, const void *options, const char *name, const vn_option **out,
                      vn_err *err) {
    const vn_option_table *table = table_of(kind);
    if (!table) return vn_fail(err, VN_BAD_ARGUMENT, "%d is no kind of options", kind);
    if (!options || !name)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: options and name are needed", table->name);
    const vn_status status = vn_struct_check(options, table->of, err);
    if (status) return status;
    *out = vn_option_find(kind, name);
    if (!*out) return unknown(kind, name, err);
    size_t size;
    memcpy(&size, options, sizeof size);
    if ((*out)->offset + size_of(*out) <= size) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED, "`%s`: the program was compiled before there was one",
                   (*out)->name);
}

vn_status vn_option_set(vn_context *vn, int kind, void *options, const char *name,
                        const char *text) {
    vn_err unheard = {0}, *err = vn ? vn_begin(vn) : &unheard;
    const vn_option *o = NULL;
    const vn_status status = find(kind, options, name, &o, err);
    if (status || !o) return status;
    if (text) return take(o, options, text, err);
    vn_option_set_number(o, options, o->value);
    return VN_OK;
}

static char *text_of(const vn_option *o, const void *options) {
    char text[32];
    if (o->type == VN_OPTION_TEXT) return vn_strdup(vn_option_text(o, options));
    number_text(text, o, options);
    if (o->type == VN_OPTION_FLAG) return vn_strdup(vn_option_whole(o, options) ? "true" : "false");
    if (o->type == VN_OPTION_LABEL && vn_option_whole(o, options) < 0)
        return vn_strdup(vn_option_whole(o, options) == VN_LABEL_ALL ? "all" : "null");
    return vn_strdup(text);
}

vn_status vn_option_get(vn_context *vn, int kind, const void *options, const char *name,
                        char **text) {
    vn_err unheard = {0}, *err = vn ? vn_begin(vn) : &unheard;
    const vn_option *o = NULL;
    if (!text) return vn_fail(err, VN_BAD_ARGUMENT, "vn_option_get: text is needed");
    *text = NULL;
    const vn_status status = find(kind, options, name, &o, err);
    if (status || !o) return status;
    const bool missing = o->type == VN_OPTION_TEXT || vn_option_may_miss(o);
    if (missing && !vn_option_given(o, options)) return VN_OK;
    *text = text_of(o, options);
    return *text ? VN_OK : vn_no_memory(err);
}
