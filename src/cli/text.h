/* text.h - text on its way to a terminal. What the program prints may come from anywhere: a class
 * name, the text chunks of a picture, the name of a file. In such text controls are orders to the
 * terminal (move, recolour, answer, set the title), a line end begins a line that the program did
 * not write, and a change of direction shows letters in another order than they have.
 *
 * All of the program's output of text that it did not make goes through here. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdio.h>

/* Prints the text as part of a line: a blank for a line end or tab, '?' for every other control
 * (C0, DEL, C1, changes of direction) and for bytes that are no UTF-8. */
void cli_put(FILE *to, const char *text);
/* As fprintf, but each %s goes through cli_put; the format is the program's own and may have line
 * ends. Knows s, d, i, u, x, f, g and c with flags, width and precision. */
void cli_print(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The word of a command to be typed, in quotes where a shell would take it apart: new string, or
 * NULL without memory. */
char *cli_shell_word(const char *word);
/* In place: the library's names of options, `skip_bad` and `size=64` in backquotes, as the
 * program's flags, --skip-bad and --size 64, which are as long. */
void cli_write_flags(char *text);
/* Prints JSON; such characters in its strings become \uXXXX, which says the same. */
void cli_put_json(FILE *to, const char *json);

#endif
