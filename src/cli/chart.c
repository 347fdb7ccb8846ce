/* chart.c - see chart.h. A curve is first a number for each column of dots, the mean of its points
 * there; neighbours are then joined by dots. */
#include "cli/chart.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/text.h"

enum { ROWS = 12, MAX_COLUMNS = 200, LABEL = 10, DOTS_HIGH = 4, DOTS_WIDE = 2, PLAIN_WIDTH = 80 };
static const char marks[] = "*o+x#@%&";
/* far apart: the axis is logarithmic */
static const double far_apart = 20;

typedef struct chart {
    FILE *to;
    bool braille, colour;
    int columns;        /* characters of the drawing */
    int wide, high;     /* dots to a character */
    double left, right; /* of x */
    double bottom, top; /* of y, or of its logarithm */
    bool logarithmic;
    uint8_t dots[ROWS][MAX_COLUMNS];  /* bits of braille, or not 0 */
    uint8_t owner[ROWS][MAX_COLUMNS]; /* which curve was drawn there last */
} chart;

/* ---- the terminal ---------------------------------------------------------------------------- */

static bool shows_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    const char *value = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && (!value || value[0] == '\0'); i++)
        value = getenv(names[i]);
    const char *set = value ? strchr(value, '.') : NULL;
    return set != NULL && (strcasecmp(set, ".UTF-8") == 0 || strcasecmp(set, ".UTF8") == 0);
}

static void look_at_terminal(chart *c) {
    struct winsize size;
    const int fd = fileno(c->to);
    const bool terminal = isatty(fd) != 0;
    int width = PLAIN_WIDTH;
    if (terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 2 * LABEL)
        width = size.ws_col;
    const char *no_colour = getenv("NO_COLOR");
    c->colour = terminal && (!no_colour || no_colour[0] == '\0');
    c->braille = terminal && shows_utf8();
    c->wide = c->braille ? DOTS_WIDE : 1;
    c->high = c->braille ? DOTS_HIGH : 1;
    c->columns = width - LABEL - 2;
    if (c->columns > MAX_COLUMNS) c->columns = MAX_COLUMNS;
}

/* ---- axes ------------------------------------------------------------------------------------ */

static bool find_ranges(chart *c, const cli_curve *curves, size_t count) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    c->left = HUGE_VAL;
    c->right = -HUGE_VAL;
    for (size_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < curves[k].count; i++) {
            if (!isfinite(curves[k].y[i])) continue;
            low = fmin(low, curves[k].y[i]);
            high = fmax(high, curves[k].y[i]);
            c->left = fmin(c->left, curves[k].x[i]);
            c->right = fmax(c->right, curves[k].x[i]);
        }
    }
    if (low > high) return false;
    c->logarithmic = low > 0 && high > far_apart * low;
    c->bottom = c->logarithmic ? log(low) : low;
    c->top = c->logarithmic ? log(high) : high;
    if (!(c->top > c->bottom)) { /* one value */
        c->bottom -= fmax(fabs(c->bottom), 1e-9) / 2;
        c->top += fmax(fabs(c->top), 1e-9) / 2;
    }
    if (!(c->right > c->left)) c->right = c->left + 1;
    return true;
}

static double value_at(const chart *c, double part) {
    const double y = c->bottom + part * (c->top - c->bottom);
    return c->logarithmic ? exp(y) : y;
}

/* ---- curves ---------------------------------------------------------------------------------- */

static void set_dot(chart *c, int x, int y, size_t owner) {
    static const uint8_t bits[DOTS_HIGH][DOTS_WIDE] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    const int row = y / c->high, column = x / c->wide;
    /* a character has one colour, and one letter: that of the later curve */
    if (c->owner[row][column] != owner && c->dots[row][column] != 0 && !c->colour)
        c->dots[row][column] = 0;
    c->owner[row][column] = (uint8_t)owner;
    c->dots[row][column] |= c->braille ? bits[y % DOTS_HIGH][x % DOTS_WIDE] : 1;
}

/* The row of dots, counted from the top. */
static int row_of(const chart *c, double y) {
    const double at = c->logarithmic ? log(y) : y;
    const int last = ROWS * c->high - 1;
    const double row = (double)last * (c->top - at) / (c->top - c->bottom);
    return (int)fmin(fmax(floor(row + 0.5), 0), last);
}

static void draw_curve(chart *c, const cli_curve *curve, size_t owner) {
    double sum[MAX_COLUMNS * DOTS_WIDE] = {0};
    int64_t n[MAX_COLUMNS * DOTS_WIDE] = {0};
    const int width = c->columns * c->wide;
    for (int64_t i = 0; i < curve->count; i++) {
        if (!isfinite(curve->y[i])) continue;
        const double part = (curve->x[i] - c->left) / (c->right - c->left);
        const int x = (int)fmin(fmax(floor(part * (width - 1) + 0.5), 0), width - 1);
        sum[x] += curve->y[i];
        n[x]++;
    }
    for (int x = 0, before = -1, y_before = 0; x < width; x++) {
        if (n[x] == 0) continue;
        const int y = row_of(c, sum[x] / (double)n[x]);
        const int steps =
            before < 0 ? 1 : (x - before > abs(y - y_before) ? x - before : abs(y - y_before));
        for (int s = before < 0 ? 0 : 1; s <= steps && before >= 0; s++) {
            const double part = (double)s / steps;
            set_dot(c, before + (int)floor(part * (x - before) + 0.5),
                    y_before + (int)floor(part * (y - y_before) + 0.5), owner);
        }
        set_dot(c, x, y, owner);
        before = x;
        y_before = y;
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

static void begin_colour(const chart *c, size_t curve) {
    static const int codes[CLI_MAX_CURVES] = {36, 33, 35, 32, 34, 31, 96, 93};
    if (c->colour) fprintf(c->to, "\033[%dm", codes[curve]);
}

static void end_colour(const chart *c) {
    if (c->colour) fputs("\033[0m", c->to);
}

static void print_character(const chart *c, int row, int column) {
    const uint8_t dots = c->dots[row][column];
    if (dots == 0) {
        fputc(' ', c->to);
        return;
    }
    const size_t owner = c->owner[row][column];
    begin_colour(c, owner);
    if (c->braille) /* U+2800 and the bits, in UTF-8 */
        fprintf(c->to, "\xE2%c%c", 0xA0 | dots >> 6, 0x80 | (dots & 0x3F));
    else
        fputc(marks[owner], c->to);
    end_colour(c);
}

static void print_rows(const chart *c) {
    for (int row = 0; row < ROWS; row++) {
        char label[32] = "";
        if (row == 0 || row == ROWS - 1 || row == ROWS / 2)
            snprintf(label, sizeof label, "%.4g", value_at(c, 1 - (double)row / (ROWS - 1)));
        fprintf(c->to, "%*s %s", LABEL - 1, label, c->braille ? "\xE2\x94\x82" : "|");
        int last = c->columns - 1;
        while (last >= 0 && c->dots[row][last] == 0) last--;
        for (int column = 0; column <= last; column++) print_character(c, row, column);
        fputc('\n', c->to);
    }
}

static void print_x_axis(const chart *c, const char *name) {
    char left[32], right[32];
    snprintf(left, sizeof left, "%.10g", c->left);
    snprintf(right, sizeof right, "%.10g", c->right);
    const int used = (int)(strlen(left) + strlen(right) + strlen(name));
    const int gap = c->columns > used + 2 ? c->columns - used : 2;
    fprintf(c->to, "%*s %s%*s%s%*s%s\n", LABEL - 1, "", left, gap / 2, "", name, gap - gap / 2, "",
            right);
}

static void print_legend(const chart *c, const cli_curve *curves, size_t count) {
    fprintf(c->to, "%*s ", LABEL, "");
    for (size_t k = 0; k < count; k++) {
        begin_colour(c, k);
        if (c->braille)
            fputs("\xE2\x94\x81\xE2\x94\x81", c->to);
        else
            fputc(marks[k], c->to);
        end_colour(c);
        cli_print(c->to, " %s%s", curves[k].name, k + 1 < count ? "   " : "");
    }
    fputs(c->logarithmic ? "   (logarithmic)\n" : "\n", c->to);
}

void cli_print_chart(FILE *to, const cli_curve *curves, size_t count, const char *x_name) {
    chart c = {.to = to};
    look_at_terminal(&c);
    if (!find_ranges(&c, curves, count)) return;
    if (c.braille && !c.colour && count > 1) { /* then only letters tell curves apart */
        c.braille = false;
        c.wide = c.high = 1;
    }
    for (size_t k = 0; k < count; k++) draw_curve(&c, &curves[k], k);
    print_rows(&c);
    print_x_axis(&c, x_name);
    print_legend(&c, curves, count);
}
