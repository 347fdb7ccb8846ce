/* bound.c - see bound.h. */
#define _GNU_SOURCE /* program_invocation_short_name */
#include "support/bound.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/kernels.h"
#include "support/seed.h"

/* The call of a name and kernel set that came nearest to its bound. */
typedef struct margin {
    char *what;
    const char *set; /* NULL: none */
    double measured, bound;
    struct margin *next;
} margin;

static margin *first, **last = &first;
static pid_t owner; /* what it forks says nothing */

static double ratio(double measured, double bound) {
    if (isnan(measured) || isnan(bound)) return HUGE_VAL;
    return measured == 0 ? 0 : measured / bound;
}

static void say_margins(void) {
    const char *path = getenv("VANE_TEST_MARGINS");
    FILE *file = path && getpid() == owner ? fopen(path, "a") : NULL;
    if (path && getpid() == owner && !file)
        fprintf(stderr, "VANE_TEST_MARGINS: %s cannot be written\n", path);
    if (file) setvbuf(file, NULL, _IOFBF, 1 << 20); /* one write: programs run at the same time */
    for (const margin *m = first; m && getpid() == owner; m = m->next) {
        printf("%s%s%s: measured %.3g, bound %.3g\n", m->what, m->set ? ", " : "",
               m->set ? m->set : "", m->measured, m->bound);
        if (file)
            fprintf(file, "%.4g\t%s\t%s\t%.3g\t%.3g\t%s\t%s\n", ratio(m->measured, m->bound),
                    program_invocation_short_name, m->set ? m->set : "-", m->measured, m->bound,
                    test_seed_used() ? "drawn" : "fixed", m->what);
    }
    if (file) fclose(file);
}

static margin *margin_of(const char *what, const char *set) {
    for (margin *m = first; m; m = m->next)
        if (m->set == set && strcmp(m->what, what) == 0) return m;
    margin *m = calloc(1, sizeof *m);
    if (!m || !(m->what = strdup(what))) abort();
    if (!first && atexit(say_margins) == 0) owner = getpid();
    m->set = set;
    m->measured = -HUGE_VAL;
    m->bound = 1;
    *last = m;
    last = &m->next;
    return m;
}

void expect_below_at(const char *what, double measured, double bound, const char *file, int line) {
    const char *set = kernels ? kernels->name : NULL;
    margin *m = margin_of(what, set);
    if (ratio(measured, bound) > ratio(m->measured, m->bound)) {
        m->measured = measured;
        m->bound = bound;
    }
    if (measured <= bound) return;
    print_error("%s%s%s: measured %.9g, bound %.9g\n", what, set ? ", " : "", set ? set : "",
                measured, bound);
    _fail(file, line);
}
