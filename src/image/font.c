/* font.c - a small typeface of our own, as pen strokes, so that text stays smooth at every size.
 *
 * A glyph is a list of strokes separated by ';'. A stroke is points "x,y" joined by lines; a point marked '*' is the control
 * point of a quadratic curve between its neighbours; a single point is a dot. Units: capitals stand 24 high on the base line
 * y = 0, small letters 16, tails reach to -8. The pen is round and BEARING of space follows each glyph. */
#include "image/internal.h"

#include <string.h>

enum { CAPITAL = 24, BEARING = 6, SPACE = 9, MAX_SEGMENTS = 96, CURVE_STEPS = 8 };
static const float pen = 1.45f; /* radius */

static const char *const glyphs[] = {
    // clang-format off
    [' '] = "",
    ['!'] = "0,24 0,8;0,1",
    ['"'] = "0,24 0,17;6,24 6,17",
    ['#'] = "6,24 3,0;14,24 11,0;1,16 17,16;0,8 16,8",
    ['$'] = "14,19 *12,22 8,22 *1,22 1,17 *1,13 8,12 *15,11 15,6 *15,2 8,2 *2,2 0,5;8,26 8,-2",
    ['%'] = "17,24 3,0;4,24 *0,24 0,19 *0,14 4,14 *8,14 8,19 *8,24 4,24;16,10 *12,10 12,5 *12,0 16,0 *20,0 20,5 *20,10 16,10",
    ['&'] = "18,0 4,16 *1,24 7,24 *13,24 12,18 *11,15 5,12 *0,10 0,6 *0,0 7,0 *14,0 17,11",
    ['\''] = "0,24 0,17",
    ['('] = "5,27 *0,20 0,10 *0,0 5,-6",
    [')'] = "0,27 *5,20 5,10 *5,0 0,-6",
    ['*'] = "6,24 6,12;1,21 11,15;11,21 1,15",
    ['+'] = "0,10 14,10;7,17 7,3",
    [','] = "2,1 0,-5",
    ['-'] = "0,9 8,9",
    ['.'] = "2,1",
    ['/'] = "0,-3 10,25",
    ['0'] = "7,24 *0,24 0,12 *0,0 7,0 *14,0 14,12 *14,24 7,24",
    ['1'] = "2,19 8,24 8,0",
    ['2'] = "0,18 *1,24 7,24 *14,24 14,17 *14,13 8,8 0,0 14,0",
    ['3'] = "1,20 *3,24 7,24 *13,24 13,18 *13,13 6,13;6,13 *14,13 14,6 *14,0 7,0 *1,0 0,5",
    ['4'] = "11,0 11,24 0,7 15,7",
    ['5'] = "13,24 2,24 1,13 *4,15 7,15 *14,15 14,8 *14,0 7,0 *2,0 0,4",
    ['6'] = "12,22 *10,24 8,24 *0,24 0,9 *0,0 7,0 *14,0 14,8 *14,15 7,15 *1,15 0,8",
    ['7'] = "0,24 14,24 5,0",
    ['8'] = "7,13 *1,13 1,18 *1,24 7,24 *13,24 13,18 *13,13 7,13 *0,13 0,6 *0,0 7,0 *14,0 14,6 *14,13 7,13",
    ['9'] = "2,2 *4,0 6,0 *14,0 14,15 *14,24 7,24 *0,24 0,16 *0,9 7,9 *13,9 14,16",
    [':'] = "0,1;0,14",
    [';'] = "2,14;2,1 0,-5",
    ['<'] = "13,17 0,10 13,3",
    ['='] = "0,13 14,13;0,7 14,7",
    ['>'] = "0,17 13,10 0,3",
    ['?'] = "0,19 *1,24 6,24 *12,24 12,18 *12,14 8,11 *6,9 6,7;6,1",
    ['@'] = "15,14 15,7 *15,4 18,4 *22,4 22,12 *22,22 12,22 *0,22 0,9 *0,-4 12,-4 *16,-4 19,-2;15,10 *15,15 11,15 *6,15 6,9 *6,4 10,4 *15,4 15,10",
    ['A'] = "0,0 10,24 20,0;4,9 16,9",
    ['B'] = "0,0 0,24 7,24 *14,24 14,18 *14,13 7,13 0,13;7,13 *16,13 16,6 *16,0 8,0 0,0",
    ['C'] = "17,19 *15,24 10,24 *0,24 0,12 *0,0 10,0 *15,0 17,5",
    ['D'] = "0,0 0,24 6,24 *17,24 17,12 *17,0 6,0 0,0",
    ['E'] = "14,24 0,24 0,0 14,0;0,13 12,13",
    ['F'] = "13,24 0,24 0,0;0,12 11,12",
    ['G'] = "17,19 *15,24 10,24 *0,24 0,12 *0,0 10,0 *18,0 18,8 18,11 11,11",
    ['H'] = "0,0 0,24;16,0 16,24;0,13 16,13",
    ['I'] = "0,0 0,24",
    ['J'] = "10,24 10,6 *10,0 5,0 *0,0 0,6",
    ['K'] = "0,0 0,24;15,24 0,9;5,14 16,0",
    ['L'] = "0,24 0,0 12,0",
    ['M'] = "0,0 0,24 10,6 20,24 20,0",
    ['N'] = "0,0 0,24 16,0 16,24",
    ['O'] = "10,24 *0,24 0,12 *0,0 10,0 *20,0 20,12 *20,24 10,24",
    ['P'] = "0,0 0,24 8,24 *15,24 15,17 *15,10 8,10 0,10",
    ['Q'] = "10,24 *0,24 0,12 *0,0 10,0 *20,0 20,12 *20,24 10,24;12,6 19,-2",
    ['R'] = "0,0 0,24 8,24 *15,24 15,17 *15,10 8,10 0,10;8,10 16,0",
    ['S'] = "15,20 *13,24 8,24 *1,24 1,18 *1,13 8,12 *16,11 16,6 *16,0 8,0 *1,0 0,5",
    ['T'] = "0,24 16,24;8,24 8,0",
    ['U'] = "0,24 0,8 *0,0 8,0 *16,0 16,8 16,24",
    ['V'] = "0,24 9,0 18,24",
    ['W'] = "0,24 6,0 13,24 20,0 26,24",
    ['X'] = "0,24 16,0;16,24 0,0",
    ['Y'] = "0,24 8,12 16,24;8,12 8,0",
    ['Z'] = "0,24 15,24 0,0 15,0",
    ['['] = "5,27 0,27 0,-6 5,-6",
    ['\\'] = "0,25 10,-3",
    [']'] = "0,27 5,27 5,-6 0,-6",
    ['^'] = "0,15 6,24 12,15",
    ['_'] = "0,-4 14,-4",
    ['`'] = "0,25 4,20",
    ['a'] = "1,14 *3,16 6,16 *12,16 12,10 12,0;12,9 5,9 *0,8 0,4 *0,0 5,0 *10,0 12,5",
    ['b'] = "0,24 0,0;0,8 *0,16 7,16 *13,16 13,8 *13,0 7,0 *0,0 0,8",
    ['c'] = "12,13 *10,16 7,16 *0,16 0,8 *0,0 7,0 *10,0 12,3",
    ['d'] = "13,24 13,0;13,8 *13,16 6,16 *0,16 0,8 *0,0 6,0 *13,0 13,8",
    ['e'] = "0,8 13,8 *13,16 7,16 *0,16 0,8 *0,0 7,0 *11,0 13,3",
    ['f'] = "9,24 *4,25 4,19 4,0;0,16 8,16",
    ['g'] = "13,16 13,-2 *13,-8 6,-8 *2,-8 1,-5;13,8 *13,16 6,16 *0,16 0,8 *0,0 6,0 *13,0 13,8",
    ['h'] = "0,24 0,0;0,9 *1,16 7,16 *12,16 12,10 12,0",
    ['i'] = "0,16 0,0;0,22",
    ['j'] = "4,16 4,-4 *4,-8 0,-8;4,22",
    ['k'] = "0,24 0,0;11,16 0,6;4,10 12,0",
    ['l'] = "0,24 0,4 *0,0 4,0",
    ['m'] = "0,16 0,0;0,9 *1,16 6,16 *10,16 10,10 10,0;10,9 *11,16 16,16 *20,16 20,10 20,0",
    ['n'] = "0,16 0,0;0,9 *1,16 7,16 *12,16 12,10 12,0",
    ['o'] = "7,16 *0,16 0,8 *0,0 7,0 *14,0 14,8 *14,16 7,16",
    ['p'] = "0,16 0,-8;0,8 *0,16 7,16 *13,16 13,8 *13,0 7,0 *0,0 0,8",
    ['q'] = "13,16 13,-8;13,8 *13,16 6,16 *0,16 0,8 *0,0 6,0 *13,0 13,8",
    ['r'] = "0,16 0,0;0,9 *1,16 8,16",
    ['s'] = "11,13 *10,16 6,16 *1,16 1,12 *1,9 6,8 *12,7 12,4 *12,0 6,0 *1,0 0,3",
    ['t'] = "4,22 4,5 *4,0 9,0;0,16 9,16",
    ['u'] = "0,16 0,6 *0,0 5,0 *11,0 12,7;12,16 12,0",
    ['v'] = "0,16 6,0 12,16",
    ['w'] = "0,16 5,0 10,16 15,0 20,16",
    ['x'] = "0,16 11,0;11,16 0,0",
    ['y'] = "0,16 6,1;12,16 5,-5 *4,-8 0,-8",
    ['z'] = "0,16 11,16 0,0 11,0",
    ['{'] = "7,27 *3,27 3,22 3,14 *3,10 0,10 *3,10 3,6 3,-1 *3,-6 7,-6",
    ['|'] = "0,27 0,-6",
    ['}'] = "0,27 *4,27 4,22 4,14 *4,10 7,10 *4,10 4,6 4,-1 *4,-6 0,-6",
    ['~'] = "0,8 *3,14 7,10 *11,6 14,12",
    // clang-format on
};

/* ---- a glyph's strokes as segments ------------------------------------------------------------------ */

typedef struct point {
    float x, y;
} point;

typedef struct outline {
    vn_segment segment[MAX_SEGMENTS];
    size_t count;
    float scale, x, y; /* where the glyph's origin goes */
} outline;

static float read_number(const char **text) {
    const float sign = **text == '-' ? -1.0f : 1.0f;
    float value = 0.0f;
    if (**text == '-') (*text)++;
    while (**text >= '0' && **text <= '9') value = 10.0f * value + (float)(*(*text)++ - '0');
    return sign * value;
}

static point read_point(const char **text) {
    point p;
    p.x = read_number(text);
    (*text)++; /* the comma */
    p.y = read_number(text);
    return p;
}

static void add_line(outline *o, point a, point b) {
    if (o->count == MAX_SEGMENTS) return;
    o->segment[o->count++] =
        (vn_segment){o->x + o->scale * a.x, o->y - o->scale * a.y, o->x + o->scale * b.x, o->y - o->scale * b.y};
}

static void add_curve(outline *o, point a, point control, point b) {
    point from = a;
    for (int i = 1; i <= CURVE_STEPS; i++) {
        const float t = (float)i / CURVE_STEPS, u = 1.0f - t;
        const point to = {u * u * a.x + 2.0f * u * t * control.x + t * t * b.x,
                          u * u * a.y + 2.0f * u * t * control.y + t * t * b.y};
        add_line(o, from, to);
        from = to;
    }
}

/* Reads one stroke and leaves *text at its end. */
static void add_stroke(outline *o, const char **text) {
    point at = read_point(text);
    if (**text != ' ') add_line(o, at, at);
    while (**text == ' ') {
        (*text)++;
        const point start = at;
        if (**text == '*') {
            (*text)++;
            const point control = read_point(text);
            (*text)++; /* the space */
            at = read_point(text);
            add_curve(o, start, control, at);
        } else {
            at = read_point(text);
            add_line(o, start, at);
        }
    }
}

static void add_glyph(outline *o, char letter) {
    const char *text = glyphs[(unsigned char)letter];
    while (*text != '\0') {
        add_stroke(o, &text);
        if (*text == ';') text++;
    }
}

static float advance(char letter) {
    float widest = 0.0f;
    if (letter == ' ') return SPACE;
    for (const char *text = glyphs[(unsigned char)letter]; *text != '\0';) {
        const point p = read_point(&text);
        if (p.x > widest) widest = p.x;
        while (*text == ' ' || *text == '*' || *text == ';') text++;
    }
    return widest + BEARING;
}

/* ---- text ------------------------------------------------------------------------------------------- */

/* The next character as one that the table has; skips the continuation bytes of others. */
static char next_letter(const char **text) {
    const unsigned char c = (unsigned char)*(*text)++;
    if (c >= ' ' && c <= '~') return (char)c;
    while (((unsigned char)**text & 0xc0) == 0x80) (*text)++;
    return '?';
}

float vn_font_width(const char *text, float size) {
    float width = 0.0f;
    while (*text != '\0') width += advance(next_letter(&text));
    return width * size / CAPITAL;
}

static float draw(vn_image *canvas, float x, float y, char letter, float size, vn_ink ink) {
    outline o = {.scale = size / CAPITAL, .x = x, .y = y};
    add_glyph(&o, letter);
    vn_paint_segments(canvas, o.segment, o.count, pen * o.scale, ink);
    return o.scale * advance(letter);
}

void vn_font_draw(vn_image *canvas, float x, float y, const char *text, float size, float max_width, vn_ink ink) {
    const bool cut = max_width > 0.0f && vn_font_width(text, size) > max_width;
    const float end = x + max_width - (cut ? vn_font_width("...", size) : 0.0f);
    while (*text != '\0') {
        const char letter = next_letter(&text);
        if (cut && x + advance(letter) * size / CAPITAL > end) break;
        x += draw(canvas, x, y, letter, size, ink);
    }
    for (int i = 0; cut && i < 3; i++) x += draw(canvas, x, y, '.', size, ink);
}
