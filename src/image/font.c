/* font.c - a small typeface of our own, as pen strokes, so that text stays smooth at every size.
 *
 * A glyph is a list of strokes separated by ';'. A stroke is points "x,y" joined by lines; a point
 * marked '*' is the control point of a quadratic curve between its neighbours; a single point is a
 * dot. Units: capitals stand 24 high on the base line y = 0, small letters 16, tails reach to -8.
 * The pen is round and BEARING of space follows each glyph.
 *
 * It has ASCII, the letters of Latin (with the marks of European languages, Vietnamese and Pinyin),
 * Greek and Cyrillic, and some punctuation. Scripts that join, stack or have thousands of
 * characters need a shaper and a font file, which a picture's labels are not worth: who draws them
 * asks vn_font_has, and shows a number instead, or has a box drawn for each such character. */
#include "image/internal.h"

#include <math.h>
#include <string.h>

enum { CAPITAL = 24, SMALL = 16, BEARING = 6, SPACE = 9, MARK = 7 /* of a mark under another */ };
#define THINNEST 1.35           /* pixels: thinner strokes turn grey */
static const double pen = 1.45; /* radius */

static const char *const glyphs[] = {
    /* clang-format off */
    [' '] = "",
    ['!'] = "0,24 0,8;0,1",
    ['"'] = "0,24 0,17;6,24 6,17",
    ['#'] = "6,24 3,0;14,24 11,0;1,16 17,16;0,8 16,8",
    ['$'] = "14,19 *12,22 8,22 *1,22 1,17 *1,13 8,12 *15,11 15,6 *15,2 8,2 *2,2 0,5;8,26 8,-2",
    ['%'] = ("17,24 3,0;4,24 *0,24 0,19 *0,14 4,14 *8,14 8,19 *8,24 4,24;16,10 *12,10 12,5 *12,0 "
            "16,0 *20,0 20,5 *20,10 16,10"),
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
    ['8'] = ("7,13 *1,13 1,18 *1,24 7,24 *13,24 13,18 *13,13 7,13 *0,13 0,6 *0,0 7,0 *14,0 14,6 "
            "*14,13 7,13"),
    ['9'] = "2,2 *4,0 6,0 *14,0 14,15 *14,24 7,24 *0,24 0,16 *0,9 7,9 *13,9 14,16",
    [':'] = "0,1;0,14",
    [';'] = "2,14;2,1 0,-5",
    ['<'] = "13,17 0,10 13,3",
    ['='] = "0,13 14,13;0,7 14,7",
    ['>'] = "0,17 13,10 0,3",
    ['?'] = "0,19 *1,24 6,24 *12,24 12,18 *12,14 8,11 *6,9 6,7;6,1",
    ['@'] = ("15,14 15,7 *15,4 18,4 *22,4 22,12 *22,22 12,22 *0,22 0,9 *0,-4 12,-4 *16,-4 "
            "19,-2;15,10 *15,15 11,15 *6,15 6,9 *6,4 10,4 *15,4 15,10"),
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
    /* clang-format on */
};

/* Characters beyond ASCII: strokes, or "=" and what they look like: a character, and after it
 * marks. In the order of their codes. */
static const struct {
    uint16_t code;
    const char *as;
} others[] = {
    /* clang-format off */
    {0xA0, "= "}, {0xA1, "0,16 0,-8;0,22"},
    {0xA2, "12,13 *10,16 7,16 *0,16 0,8 *0,0 7,0 *10,0 12,3;7,20 7,-4"},
    {0xA3, "14,20 *12,24 9,24 *4,24 4,18 4,6 *4,2 0,0 14,0;0,12 11,12"},
    {0xA5, "0,24 8,12 16,24;8,12 8,0;2,11 14,11;2,5 14,5"},
    {0xA7, "11,21 *10,24 6,24 *1,24 1,20 *1,17 6,15 *12,12 12,9 *12,6 8,5;1,-1 *2,-4 6,-4 *11,-4 "
           "11,0 *11,3 6,5 *0,8 0,11 *0,14 4,15"},
    {0xA8, "=\""},
    {0xA9, "10,22 *0,22 0,12 *0,2 10,2 *20,2 20,12 *20,22 10,22;14,15 *13,17 10,17 *5,17 5,12 *5,7 "
           "10,7 *13,7 14,9"},
    {0xAB, "6,14 0,8 6,2;13,14 7,8 13,2"}, {0xAD, ""},
    {0xAE, "10,22 *0,22 0,12 *0,2 10,2 *20,2 20,12 *20,22 10,22;7,6 7,18 11,18 *14,18 14,15 *14,12 "
           "11,12 7,12;11,12 14,6"},
    {0xB0, "4,24 *0,24 0,20 *0,16 4,16 *8,16 8,20 *8,24 4,24"},
    {0xB1, "0,12 14,12;7,19 7,5;0,0 14,0"}, {0xB2, "0,21 *1,24 4,24 *8,24 8,20 *8,18 0,12 8,12"},
    {0xB3, "0,22 *1,24 4,24 *8,24 8,21 *8,18 3,18;3,18 *8,18 8,15 *8,12 4,12 *0,12 0,14"},
    {0xB4, "0,20 4,25"}, {0xB5, "=\u03BC"}, {0xB7, "2,10"}, {0xB9, "0,21 4,24 4,12"},
    {0xBB, "0,14 6,8 0,2;7,14 13,8 7,2"},
    {0xBF, "12,-3 *11,-8 6,-8 *0,-8 0,-2 *0,2 4,5 *6,7 6,9;6,15"}, {0xD7, "1,16 13,4;13,16 1,4"},
    {0xF7, "0,10 14,10;7,16;7,4"}, {0x1A0, "=O>"}, {0x1A1, "=o>"}, {0x1AF, "=U>"}, {0x1B0, "=u>"},
    {0x1CD, "=Av"}, {0x1CE, "=av"}, {0x1CF, "=Iv"}, {0x1D0, "=iv"}, {0x1D1, "=Ov"}, {0x1D2, "=ov"},
    {0x1D3, "=Uv"}, {0x1D4, "=uv"}, {0x1D5, "=U\"-"}, {0x1D6, "=u\"-"}, {0x1D7, "=U\"'"},
    {0x1D8, "=u\"'"}, {0x1D9, "=U\"v"}, {0x1DA, "=u\"v"}, {0x1DB, "=U\"`"}, {0x1DC, "=u\"`"},
    {0x1E6, "=Gv"}, {0x1E7, "=gv"}, {0x1F4, "=G'"}, {0x1F5, "=g'"}, {0x1F8, "=N`"}, {0x1F9, "=n`"},
    {0x218, "=S,"}, {0x219, "=s,"}, {0x21A, "=T,"}, {0x21B, "=t,"}, {0x226, "=A."}, {0x227, "=a."},
    {0x22E, "=O."}, {0x22F, "=o."}, {0x232, "=Y-"}, {0x233, "=y-"},
    /* Greek */
    {0x37E, "=;"}, {0x386, "=A'"}, {0x387, "=\u00B7"}, {0x388, "=E'"}, {0x389, "=H'"},
    {0x38A, "=I'"}, {0x38C, "=O'"}, {0x38E, "=Y'"}, {0x38F, "=\u03A9'"}, {0x390, "=\u03B9\"'"},
    {0x391, "=A"}, {0x392, "=B"}, {0x393, "0,0 0,24 13,24"}, {0x394, "0,0 10,24 20,0 0,0"},
    {0x395, "=E"}, {0x396, "=Z"}, {0x397, "=H"},
    {0x398, "10,24 *0,24 0,12 *0,0 10,0 *20,0 20,12 *20,24 10,24;5,12 15,12"}, {0x399, "=I"},
    {0x39A, "=K"}, {0x39B, "0,0 10,24 20,0"}, {0x39C, "=M"}, {0x39D, "=N"},
    {0x39E, "0,24 14,24;2,12 12,12;0,0 14,0"}, {0x39F, "=O"}, {0x3A0, "0,0 0,24 16,24 16,0"},
    {0x3A1, "=P"}, {0x3A3, "14,24 0,24 9,12 0,0 14,0"}, {0x3A4, "=T"}, {0x3A5, "=Y"},
    {0x3A6, "11,24 11,0;11,20 *0,20 0,12 *0,4 11,4 *22,4 22,12 *22,20 11,20"}, {0x3A7, "=X"},
    {0x3A8, "10,24 10,0;0,24 0,16 *0,8 10,8 *20,8 20,16 20,24"},
    {0x3A9, "0,0 6,0 *0,6 0,14 *0,24 10,24 *20,24 20,14 *20,6 14,0 20,0"}, {0x3AA, "=I\""},
    {0x3AB, "=Y\""}, {0x3AC, "=\u03B1'"}, {0x3AD, "=\u03B5'"}, {0x3AE, "=\u03B7'"},
    {0x3AF, "=\u03B9'"}, {0x3B0, "=\u03C5\"'"},
    {0x3B1, "14,16 *12,0 6,0 *0,0 0,8 *0,16 6,16 *12,16 13,2 *14,0 16,0"},
    {0x3B2, "0,-8 0,17 *0,24 6,24 *11,24 11,19 *11,14 4,14;4,14 *13,14 13,7 *13,0 6,0 *2,0 0,3"},
    {0x3B3, "0,13 *1,16 3,16 *6,16 7,4;14,16 *10,8 7,2 *6,-2 6,-5 *6,-8 8,-8 *10,-8 9,-4 *8,0 7,4"},
    {0x3B4, "12,22 *10,24 7,24 *3,24 3,20 *3,17 8,15 *14,12 14,7 *14,0 7,0 *0,0 0,7 *0,14 7,14"},
    {0x3B5, "11,13 *9,16 6,16 *1,16 1,12 *1,8 7,8;7,8 *0,8 0,4 *0,0 6,0 *10,0 12,3"},
    {0x3B6, "1,24 11,24 *0,14 0,6 *0,1 6,0 *11,-1 10,-5 *10,-7 7,-8"},
    {0x3B7, "0,16 0,0;0,9 *1,16 7,16 *12,16 12,10 12,-8"},
    {0x3B8, "6,24 *0,24 0,12 *0,0 6,0 *12,0 12,12 *12,24 6,24;0,12 12,12"},
    {0x3B9, "0,16 0,4 *0,0 4,0"}, {0x3BA, "0,16 0,0;11,16 0,6;4,10 12,0"},
    {0x3BB, "0,24 *3,24 5,18 12,0;7,12 0,0"},
    {0x3BC, "0,16 0,-8;0,6 *0,0 5,0 *11,0 12,7;12,16 12,3 *12,0 15,0"}, {0x3BD, "=v"},
    {0x3BE,
     "11,24 1,24;7,24 *1,23 1,19 *1,15 8,15;8,15 *0,15 0,8 *0,1 6,0 *11,-1 10,-5 *10,-7 7,-8"},
    {0x3BF, "=o"}, {0x3C0, "0,14 *1,16 3,16 15,16;4,16 4,0;11,16 11,3 *11,0 15,0"},
    {0x3C1, "0,-8 0,8 *0,16 7,16 *13,16 13,8 *13,0 7,0 *1,0 0,6"},
    {0x3C2, "11,13 *9,16 6,16 *0,16 0,8 *0,1 6,0 *11,-1 10,-5 *10,-7 7,-8"},
    {0x3C3, "15,16 7,16 *0,16 0,8 *0,0 7,0 *14,0 14,8 *14,13 9,16"},
    {0x3C4, "0,13 *0,16 3,16 12,16;6,16 6,4 *6,0 10,0"},
    {0x3C5, "0,16 0,6 *0,0 6,0 *12,0 12,8 *12,14 10,16"},
    {0x3C6, "5,15 *0,13 0,7 *0,0 9,0 *18,0 18,8 *18,16 13,16 *9,16 9,10 9,-8"},
    {0x3C7, "0,16 *4,16 6,8 *8,-8 14,-8;13,16 0,-8"},
    {0x3C8, "9,16 9,-8;0,16 0,7 *0,0 9,0 *18,0 18,8 *18,14 16,16"},
    {0x3C9, "3,16 *0,13 0,7 *0,0 4,0 *9,0 9,8 *9,0 14,0 *18,0 18,7 *18,13 15,16"},
    {0x3CA, "=\u03B9\""}, {0x3CB, "=\u03C5\""}, {0x3CC, "=o'"}, {0x3CD, "=\u03C5'"},
    {0x3CE, "=\u03C9'"},
    /* Cyrillic */
    {0x400, "=E`"}, {0x401, "=E\""},
    {0x402, "0,24 14,24;6,24 6,0;6,13 *8,15 11,15 *17,15 17,8 *17,-2 11,-4"}, {0x403, "=\u0393'"},
    {0x404, "17,19 *15,24 10,24 *0,24 0,12 *0,0 10,0 *15,0 17,5;0,12 11,12"}, {0x405, "=S"},
    {0x406, "=I"}, {0x407, "=I\""}, {0x408, "=J"},
    {0x409, "0,0 *5,2 5,12 5,24 14,24 14,0 19,0 *25,0 25,7 *25,13 19,13 14,13"},
    {0x40A, "0,0 0,24;13,24 13,0 18,0 *24,0 24,7 *24,13 18,13 0,13"},
    {0x40B, "0,24 14,24;6,24 6,0;6,13 *8,15 11,15 *17,15 17,9 17,0"}, {0x40C, "=K'"},
    {0x40D, "=\u0418`"}, {0x40E, "=\u0423u"}, {0x40F, "0,24 0,0 16,0 16,24;8,0 8,-5"},
    {0x410, "=A"}, {0x411, "13,24 0,24 0,0 8,0 *15,0 15,7 *15,14 8,14 0,14"}, {0x412, "=B"},
    {0x413, "=\u0393"}, {0x414, "0,-5 0,0 19,0 19,-5;3,0 *6,8 6,24 16,24 16,0"}, {0x415, "=E"},
    {0x416, "13,24 13,0;0,24 11,12 0,0;26,24 15,12 26,0;11,12 15,12"}, {0x417, "=3"},
    {0x418, "0,24 0,0 16,24 16,0"}, {0x419, "=\u0418u"}, {0x41A, "=K"},
    {0x41B, "0,0 *5,2 5,12 5,24 16,24 16,0"}, {0x41C, "=M"}, {0x41D, "=H"}, {0x41E, "=O"},
    {0x41F, "=\u03A0"}, {0x420, "=P"}, {0x421, "=C"}, {0x422, "=T"},
    {0x423, "0,24 8,8;16,24 8,6 *6,0 2,0"}, {0x424, "=\u03A6"}, {0x425, "=X"},
    {0x426, "0,24 0,0 18,0 18,-5;15,24 15,0"},
    {0x427, "0,24 0,16 *0,11 6,11 *11,11 14,13;14,24 14,0"},
    {0x428, "0,24 0,0 22,0 22,24;11,24 11,0"}, {0x429, "0,24 0,0 25,0 25,-5;11,24 11,0;22,24 22,0"},
    {0x42A, "0,24 5,24 5,0 11,0 *18,0 18,7 *18,14 11,14 5,14"},
    {0x42B, "0,24 0,0 6,0 *13,0 13,7 *13,14 6,14 0,14;19,24 19,0"},
    {0x42C, "0,24 0,0 7,0 *14,0 14,7 *14,14 7,14 0,14"},
    {0x42D, "0,19 *2,24 7,24 *17,24 17,12 *17,0 7,0 *2,0 0,5;6,12 17,12"},
    {0x42E, "0,24 0,0;0,12 6,12;16,24 *6,24 6,12 *6,0 16,0 *26,0 26,12 *26,24 16,24"},
    {0x42F, "15,0 15,24 7,24 *0,24 0,17 *0,10 7,10 15,10;7,10 0,0"}, {0x430, "=a"},
    {0x431, "13,24 *12,22 7,21 *0,20 0,9 *0,0 7,0 *14,0 14,7 *14,14 8,14 *1,14 0,7"},
    {0x432, "0,0 0,16 6,16 *11,16 11,12 *11,8 6,9 0,9;6,9 *13,9 13,4 *13,0 6,0 0,0"},
    {0x433, "0,0 0,16 9,16"}, {0x434, "0,-4 0,0 15,0 15,-4;2,0 *5,5 5,16 12,16 12,0"},
    {0x435, "=e"}, {0x436, "10,16 10,0;0,16 8,8 0,0;20,16 12,8 20,0;8,8 12,8"},
    {0x437, "0,13 *2,16 6,16 *11,16 11,12 *11,9 5,9;5,9 *12,9 12,4 *12,0 6,0 *1,0 0,3"},
    {0x438, "0,16 0,0 12,16 12,0"}, {0x439, "=\u0438u"}, {0x43A, "=\u03BA"},
    {0x43B, "0,0 *4,1 4,9 4,16 12,16 12,0"}, {0x43C, "0,0 0,16 7,4 14,16 14,0"},
    {0x43D, "0,0 0,16;12,0 12,16;0,8 12,8"}, {0x43E, "=o"}, {0x43F, "0,0 0,16 12,16 12,0"},
    {0x440, "=p"}, {0x441, "=c"}, {0x442, "0,16 12,16;6,16 6,0"}, {0x443, "=y"},
    {0x444, "9,24 9,-8;9,16 *0,16 0,8 *0,0 9,0 *18,0 18,8 *18,16 9,16"}, {0x445, "=x"},
    {0x446, "0,16 0,0 14,0 14,-4;11,16 11,0"}, {0x447, "0,16 0,11 *0,7 5,7 *9,7 11,9;11,16 11,0"},
    {0x448, "0,16 0,0 18,0 18,16;9,16 9,0"}, {0x449, "0,16 0,0 20,0 20,-4;9,16 9,0;18,16 18,0"},
    {0x44A, "0,16 4,16 4,0 9,0 *15,0 15,5 *15,9 9,9 4,9"},
    {0x44B, "0,16 0,0 5,0 *11,0 11,5 *11,9 5,9 0,9;16,16 16,0"},
    {0x44C, "0,16 0,0 6,0 *12,0 12,5 *12,9 6,9 0,9"},
    {0x44D, "0,13 *2,16 5,16 *12,16 12,8 *12,0 5,0 *2,0 0,3;5,8 12,8"},
    {0x44E, "0,16 0,0;0,8 5,8;12,16 *5,16 5,8 *5,0 12,0 *19,0 19,8 *19,16 12,16"},
    {0x44F, "12,0 12,16 6,16 *0,16 0,11 *0,7 6,7 12,7;6,7 0,0"}, {0x450, "=e`"}, {0x451, "=e\""},
    {0x452, "=\u045B"}, {0x453, "=\u0433'"},
    {0x454, "12,13 *10,16 7,16 *0,16 0,8 *0,0 7,0 *10,0 12,3;0,8 7,8"}, {0x455, "=s"},
    {0x456, "=i"}, {0x457, "0,16 0,0;-4,22;4,22"}, {0x458, "=j"},
    {0x459, "0,0 *4,1 4,9 4,16 11,16 11,0 15,0 *20,0 20,5 *20,9 15,9 11,9"},
    {0x45A, "0,0 0,16;10,16 10,0 14,0 *19,0 19,5 *19,9 14,9 0,9"},
    {0x45B, "3,24 3,0;0,20 9,20;3,9 *4,16 10,16 *15,16 15,10 15,0"}, {0x45C, "=\u03BA'"},
    {0x45D, "=\u0438`"}, {0x45E, "=yu"}, {0x45F, "0,16 0,0 12,0 12,16;6,0 6,-4"},
    {0x490, "0,0 0,24 13,24 13,28"}, {0x491, "0,0 0,16 9,16 9,20"},
    /* punctuation */
    {0x1E9E, "=\u00DF"}, {0x2010, "=-"}, {0x2011, "=-"}, {0x2012, "=\u2013"}, {0x2013, "0,9 13,9"},
    {0x2014, "0,9 22,9"}, {0x2018, "2,18 *0,20 2,24"}, {0x2019, "0,18 *2,21 1,24"}, {0x201A, "=,"},
    {0x201C, "2,18 *0,20 2,24;8,18 *6,20 8,24"}, {0x201D, "0,18 *2,21 1,24;6,18 *8,21 7,24"},
    {0x201E, "2,1 0,-5;8,1 6,-5"}, {0x2022, "3,10 3,9"}, {0x2026, "2,1;9,1;16,1"},
    {0x2032, "=\u00B4"}, {0x2039, "6,14 0,8 6,2"}, {0x203A, "0,14 6,8 0,2"},
    {0x20AC, "17,20 *15,24 11,24 *3,24 3,12 *3,0 11,0 *15,0 17,4;0,14 12,14;0,10 11,10"},
    {0x2212, "0,10 14,10"},
    /* clang-format on */
};

/* ---- letters with marks ---------------------------------------------------------------------- */

/* U+00C0 .. U+017F as a letter and its mark, or as two letters. */
static const char accented[] =
    /* clang-format off */
    "A`A'A^A~A\"AoAEC,E`E'E^E\"I`I'I^I\"D-N~O`O'O^O~O\"x_O/U`U'U^U\"Y'Thssa`a'a^a~a\"aoaec,"
    "e`e'e^e\"i`i'i^i\"d-n~o`o'o^o~o\"/_o/u`u'u^u\"y'thy\"A-a-AuauA;a;C'c'C^c^C.c.CvcvDvdv"
    "D-d-E-e-EueuE.e.E;e;EvevG^g^GuguG.g.G,g,H^h^H-h-I~i~I-i-IuiuI;i;I.i_IJijJ^j^K,k,"
    "k_L'l'L,l,LvlvL.l.L!l/N'n'N,n,Nvnvn'NgngO-o-OuouO=o=OEoeR'r'R,r,RvrvS's'S^s^S,s,"
    "SvsvT,t,TvtvT-t-U~u~U-u-UuuuUouoU=u=U;u;W^w^Y^y^Y\"Z'z'Z.z.Zvzvs_";
/* clang-format on */
_Static_assert(sizeof accented == 2 * (0x180 - 0xC0) + 1, "two characters for each letter");

/* U+1E00 .. U+1EFF as a letter and two marks or one; blank: none. Unicode's decompositions. */
static const char twice_accented[] =
    /* clang-format off */
    "      B. b. B_ b_ B< b< C,'c,'D. d. D_ d_ D< d< D, d,       E-`e-`E-'e-'"
    "            E,ue,uF. f. G- g- H. h. H_ h_ H\" h\" H, h,             I\"'i\"'"
    "K' k' K_ k_ K< k< L_ l_ L_-l_-L< l<       M' m' M. m. M_ m_ N. n. N_ n_ "
    "N< n<       O~'o~'O~\"o~\"O-`o-`O-'o-'P' p' P. p. R. r. R_ r_ R_-r_-R< r< "
    "S. s. S_ s_ S'.s'.Sv.sv.S_.s_.T. t. T_ t_ T< t<                         "
    "U~'u~'U-\"u-\"V~ v~ V_ v_ W` w` W' w' W\" w\" W. w. W_ w_ X. x. X\" x\" Y. y. "
    "Z^ z^ Z_ z_ Z< z< h< t\" wo yo                   A_ a_ A? a? A^'a^'A^`a^`"
    "A^?a^?A^~a^~A_^a_^Au'au'Au`au`Au?au?Au~au~A_ua_uE_ e_ E? e? E~ e~ E^'e^'"
    "E^`e^`E^?e^?E^~e^~E_^e_^I? i? I_ i_ O_ o_ O? o? O^'o^'O^`o^`O^?o^?O^~o^~"
    "O_^o_^O>'o>'O>`o>`O>?o>?O>~o>~O>_o>_U_ u_ U? u? U>'u>'U>`u>`U>?u>?U>~u>~"
    "U>_u>_Y` y` Y_ y_ Y? y? Y~ y~                   ";
/* clang-format on */
_Static_assert(sizeof twice_accented == 3 * 0x100 + 1, "three characters for each letter");

/* Strokes of a mark; x from the letter's middle, y from a little above the letter, or from the base
 * line for what hangs or goes through. */
static const struct {
    char mark;
    bool above;
    const char *strokes;
} marks[] = {
    {'`', true, "-3,5 1,0"},
    {'\'', true, "3,5 -1,0"},
    {'^', true, "-5,0 0,5 5,0"},
    {'v', true, "-5,5 0,0 5,5"},
    {'~', true, "-6,1 *-3,5 0,2 *3,-1 6,3"},
    {'"', true, "-4,2;4,2"},
    {'=', true, "0,5 -4,0;6,5 2,0"},
    {'o', true, "0,0 *-3,0 -3,3 *-3,6 0,6 *3,6 3,3 *3,0 0,0"},
    {'u', true, "-5,5 *-4,0 0,0 *4,0 5,5"},
    {'-', true, "-6,2 6,2"},
    {'.', true, "0,2"},
    {',', false, "1,-2 *4,-5 0,-7"},
    {';', false, "2,0 *-2,-6 4,-6"},
    {'/', false, "-8,1 8,15"},
    {'!', false, "-10,7 0,14"},
    {'_', false, "0,-6"},
    {'<', false, "-5,-6 5,-6"},
    {'?', true, "-2,6 *3,7 3,4 *3,2 0,2 0,0"},
    {'>', true, "4,-4 *9,-3 8,3"},
};

/* Combining marks, as file systems and Unicode's decomposed form have them, and which of the above
 * they are. */
static const struct {
    uint16_t code;
    char mark;
} combining[] = {{0x300, '`'}, {0x301, '\''}, {0x302, '^'}, {0x303, '~'}, {0x304, '-'},
                 {0x306, 'u'}, {0x307, '.'},  {0x308, '"'}, {0x309, '?'}, {0x30A, 'o'},
                 {0x30B, '='}, {0x30C, 'v'},  {0x31B, '>'}, {0x323, '_'}, {0x326, ','},
                 {0x327, ','}, {0x328, ';'},  {0x331, '<'}};

/* A character as it is drawn: strokes with up to two marks, or two letters' strokes. */
typedef struct letter {
    const char *glyph, *second; /* glyph NULL: there is none */
    char mark[2];               /* 0: none */
    bool low;                   /* marks stand over a small letter */
} letter;

static bool is_mark(char c) {
    for (size_t i = 0; i < VN_COUNT(marks); i++)
        if (marks[i].mark == c) return true;
    return false;
}

static letter plain(char c) {
    return (letter){.glyph = glyphs[(unsigned char)c],
                    .low = c >= 'a' && c <= 'z' && !strchr("bdfhiklt", c)};
}

static letter from_pair(const char *pair) {
    letter l = plain(pair[0]);
    if (is_mark(pair[1]) && pair[1] != '_')
        l.mark[0] = pair[1];
    else if (pair[1] != '_')
        l.second = glyphs[(unsigned char)pair[1]];
    return l;
}

static letter from_triple(const char *triple) {
    letter l = plain(triple[0]);
    if (triple[0] == ' ') return (letter){0};
    for (int i = 0; i < 2 && triple[1 + i] != ' '; i++) l.mark[i] = triple[1 + i];
    return l;
}

/* Greek and Cyrillic. */
static bool is_small(uint32_t code) {
    return (code >= 0x3AC && code <= 0x3CE) || (code >= 0x430 && code <= 0x45F);
}

static letter letter_of(uint32_t code);

/* What the row of `others` says. */
static letter another(uint32_t code, const char *as) {
    if (*as != '=') return (letter){.glyph = as, .low = is_small(code)};
    as++;
    letter l = letter_of(vn_utf8_next(&as));
    for (int i = 0; i < 2 && *as; i++) l.mark[i] = *as++;
    return l;
}

static letter letter_of(uint32_t code) {
    if (code >= ' ' && code <= '~') return plain((char)code);
    for (size_t i = 0; i < VN_COUNT(others); i++)
        if (others[i].code == code) return another(code, others[i].as);
    if (code >= 0xC0 && code < 0x180) return from_pair(accented + 2 * (code - 0xC0));
    if (code >= 0x1E00 && code < 0x1F00) return from_triple(twice_accented + 3 * (code - 0x1E00));
    return (letter){0};
}

/* Gives the letter the combining marks that follow; false where one cannot be drawn. */
static bool take_marks(letter *l, const char **text) {
    for (;;) {
        const char *next = *text;
        const uint32_t code = vn_utf8_next(&next);
        if (code < 0x300 || code > 0x36F) return true;
        char mark = 0;
        for (size_t i = 0; i < VN_COUNT(combining); i++)
            if (combining[i].code == code) mark = combining[i].mark;
        *text = next;
        if (!mark || l->mark[1] || l->second) return false;
        l->mark[l->mark[0] != 0] = mark;
    }
}

/* i and j lose their dot under a mark. */
static void take_dot(letter *l) {
    bool above = false;
    for (size_t i = 0; i < VN_COUNT(marks); i++)
        above = above || (l->mark[0] == marks[i].mark && marks[i].above);
    if (!above) return;
    if (l->glyph == glyphs['i']) *l = (letter){"0,16 0,0", NULL, {l->mark[0], l->mark[1]}, true};
    if (l->glyph == glyphs['j'])
        *l = (letter){"4,16 4,-4 *4,-8 0,-8", NULL, {l->mark[0], l->mark[1]}, true};
}

/* The next letter of the text; without a glyph where it cannot be drawn. */
static letter read_letter(const char **text) {
    letter l = letter_of(vn_utf8_next(text));
    if (!take_marks(&l, text)) l.glyph = NULL;
    take_dot(&l);
    return l;
}

/* The same, with a box for what there is no glyph for. */
static letter next_letter(const char **text) {
    static const letter box = {.glyph = "0,0 0,22 12,22 12,0 0,0"};
    const letter l = read_letter(text);
    return l.glyph ? l : box;
}

bool vn_font_has(const char *text) {
    bool has = *text != '\0';
    while (has && *text != '\0') has = read_letter(&text).glyph != NULL;
    return has;
}

/* ---- strokes --------------------------------------------------------------------------------- */

typedef struct point {
    double x, y;
} point;

static double read_number(const char **text) {
    const double sign = **text == '-' ? -1 : 1;
    double value = 0;
    if (**text == '-') (*text)++;
    while (**text >= '0' && **text <= '9') value = 10 * value + (*(*text)++ - '0');
    return sign * value;
}

static point read_point(const char **text) {
    point p;
    p.x = read_number(text);
    (*text)++; /* the comma */
    p.y = read_number(text);
    return p;
}

/* Draws one stroke and leaves *text at its end. */
static void draw_stroke(vn_canvas *c, const char **text) {
    point at = read_point(text);
    vn_pen_move(c, at.x, at.y);
    if (**text != ' ') vn_pen_line(c, at.x, at.y);
    while (**text == ' ') {
        (*text)++;
        const bool curve = **text == '*';
        if (curve) (*text)++;
        const point control = read_point(text);
        if (curve) {
            (*text)++; /* the space */
            at = read_point(text);
            vn_pen_curve(c, control.x, control.y, at.x, at.y);
        } else {
            vn_pen_line(c, control.x, control.y);
        }
    }
}

static void draw_strokes(vn_canvas *c, const char *text) {
    while (*text != '\0') {
        draw_stroke(c, &text);
        if (*text == ';') text++;
    }
}

static double glyph_width(const char *glyph) {
    double widest = 0;
    if (glyph == glyphs[' ']) return SPACE - BEARING;
    for (const char *text = glyph; *text != '\0';) {
        const point p = read_point(&text);
        if (p.x > widest) widest = p.x;
        while (*text == ' ' || *text == '*' || *text == ';') text++;
    }
    return widest;
}

static double advance(letter l) {
    return glyph_width(l.glyph) + BEARING + (l.second ? glyph_width(l.second) + BEARING : 0);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Draws the mark, `rise` above where it would stand alone; returns how high the next one is. */
static double draw_mark(vn_canvas *c, letter l, char mark, double rise) {
    for (size_t i = 0; i < VN_COUNT(marks); i++) {
        if (marks[i].mark != mark) continue;
        const double x = glyph_width(l.glyph) / 2 * c->scale_x;
        const double y =
            (!marks[i].above ? 0 : rise + (l.low ? SMALL + 4 : CAPITAL + 3)) * c->scale_y;
        vn_pen_place(c, c->left + x, c->top + y, c->scale_x, c->scale_y);
        draw_strokes(c, marks[i].strokes);
        vn_pen_place(c, c->left - x, c->top - y, c->scale_x, c->scale_y);
        if (marks[i].above && mark != '>') rise += MARK;
    }
    return rise;
}

/* Draws a letter and moves on to where the next one goes. */
static void draw_letter(vn_canvas *c, letter l) {
    double rise = 0;
    draw_strokes(c, l.glyph);
    for (int i = 0; i < 2 && l.mark[i]; i++) rise = draw_mark(c, l, l.mark[i], rise);
    vn_pen_place(c, c->left + (glyph_width(l.glyph) + BEARING) * c->scale_x, c->top, c->scale_x,
                 c->scale_y);
    if (l.second) draw_letter(c, (letter){.glyph = l.second});
}

double vn_font_width(const char *text, double size) {
    double width = 0;
    while (*text != '\0') width += advance(next_letter(&text));
    return width * size / CAPITAL;
}

void vn_font_draw(vn_canvas *c, double x, double y, const char *text, double size, double max_width,
                  vn_ink ink) {
    const bool cut = max_width > 0 && vn_font_width(text, size) > max_width;
    double left =
        cut ? (max_width - vn_font_width("...", size)) * CAPITAL / size : (double)INFINITY;
    vn_pen_place(c, x, y, size / CAPITAL, -size / CAPITAL);
    while (*text != '\0') {
        const letter l = next_letter(&text);
        left -= advance(l);
        if (left < 0) break;
        draw_letter(c, l);
    }
    for (int i = 0; cut && i < 3; i++) draw_letter(c, plain('.'));
    vn_pen_place(c, 0, 0, 1, 1);
    vn_pen_stroke(c, fmax(2 * pen * size / CAPITAL, THINNEST), ink, 1);
}
