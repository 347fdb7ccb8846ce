/* chart.h - curves in the terminal: in braille, eight dots to a character, where the terminal shows
 * it, else in letters. */
#ifndef CLI_CHART_H
#define CLI_CHART_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct cli_curve {
    const char *name;
    const double *x, *y; /* [count] x rises; a y that is not finite is no point */
    int64_t count;
} cli_curve;

enum { CLI_MAX_CURVES = 8 };
/* At most CLI_MAX_CURVES curves with the same axes and a legend of their names. The vertical axis
 * is logarithmic where all values are above 0 and lie far apart. As wide as the terminal that `to`
 * is, or 80 columns, without colours, where it is none. Nothing where no curve has a point. */
void cli_print_chart(FILE *to, const cli_curve *curves, size_t count, const char *x_name);

#endif
