/* options.h - the flags of a verb are a table of rows. Parsing, `--help` and every message walk the
 * table, so a flag that is accepted is also described, and one that is described is also accepted.
 *
 * A row says where its value goes: `offset` into the verb's own struct, which holds the defaults
 * before the command line is read. That is how the help knows them without their being written
 * twice. Options of the library's structs are the library's own rows (vn_option_at): here stands
 * only where they go. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "vane.h"

typedef enum cli_type {
    CLI_HEADING, /* no flag: a title in the help */
    CLI_OPTION,  /* what the row of the library says, at its place in the struct at `offset` */
    CLI_TEXT,    /* const char * */
    CLI_FLAG,    /* int: 1 when given; takes no value */
    CLI_INT,     /* int */
    CLI_INT64,   /* int64_t */
    CLI_UINT64,  /* uint64_t */
    CLI_DOUBLE,  /* double */
    CLI_CHOICE,  /* int: index into `value`, which is "a|b|c" */
    CLI_NUMBERS, /* cli_numbers: numbers with commas between them, or from:to:step */
    CLI_TEXTS    /* cli_texts: the flag or argument may be given more than once */
} cli_type;

/* Numbers from the command line; freed by the verb with cli_numbers_free. */
typedef struct cli_numbers {
    double *value;
    size_t count;
} cli_numbers;

/* What a flag was given each time; freed by the verb with cli_texts_free. The texts are the command
 * line's own. */
typedef struct cli_texts {
    const char **text;
    size_t count;
} cli_texts;

typedef struct cli_option {
    /* without its dashes; in capitals it is an argument without a flag; or the heading */
    const char *name;
    cli_type type;
    size_t offset;     /* of the value in the verb's struct */
    const char *value; /* what stands for the value in the help: "N"; "" where there is none */
    const char *help;  /* one sentence */
    /* the number in the struct stands for "not given"; the help says this instead */
    const char *unset;
    const double *fallback; /* likewise, and this number is then used; NULL: none */
    const char *kind;       /* a table of the library whose rows are the values */
    /* "a|b": of the choices of the row `mode` those beside which it has an effect; NULL: all */
    const char *modes;
    /* with `unset`: what a number must be, where it is not "above 0" or "from 0 up" */
    const char *bounds;
    /* option `option` of the library's table `options` says what is empty above */
    const char *option;
    int options;
    const char *more; /* words behind its help */
    char letter;      /* "-n" */
    bool required;
} cli_option;

/* Rows and the struct that their values go to. */
typedef struct cli_table {
    const cli_option *rows;
    size_t count;
    void *into;
} cli_table;

#define CLI_TABLE(array, struct_pointer)                                                           \
    ((cli_table){(array), sizeof(array) / sizeof((array)[0]), (struct_pointer)})
/* A row for a member of the verb's struct, which is called `args`. After the help may come .unset,
 * .kind, ... */
#define CLI_ROW(flag, kind_of_value, member, stands_for, ...)                                      \
    {                                                                                              \
        .name = (flag), .type = (kind_of_value), .offset = offsetof(args, member),                 \
        .value = (stands_for), .help = __VA_ARGS__                                                 \
    }
/* An option of a library's struct that is a member of args; the flag has its name, with '-'. After
 * the name may come what the row says itself. */
#define CLI_OPTION_ROW(of, member, ...)                                                            \
    { .type = CLI_OPTION, .offset = offsetof(args, member), CLI_SAID(of, __VA_ARGS__) }
/* In a row of the program's own: the option says what the row does not. */
#define CLI_SAID(of, ...) .options = VN_OPTIONS_##of, .option = __VA_ARGS__
#define CLI_SECTION(title)                                                                         \
    { .name = (title), .type = CLI_HEADING }

#define CLI_MAX_OPTIONS 64 /* rows of one verb, all tables together */

/* Rows in which what is the library's is filled in. */
typedef struct cli_rows {
    cli_option row[CLI_MAX_OPTIONS];
    char name[CLI_MAX_OPTIONS][32];
} cli_rows;
/* The table of those; it lasts as long as *to. */
cli_table cli_fill(const cli_table *table, cli_rows *to);

/* A command line that is being read. */
typedef struct cli_parser cli_parser;
/* Whether the flag or argument was typed. */
bool cli_given(const cli_parser *p, const char *name);
/* Gives a flag or argument, unless it was typed, the value that this text has: as if it had been
 * typed. `from` says where the text is from. False: the text is none of the row's, or the verb has
 * no such row; the words are on stderr. The text stays the caller's. */
bool cli_give(cli_parser *p, const char *name, const char *text, const char *from);
/* A verb's last word on its values, after the words are read and before one is missed. Where it
 * fails, the words are on stderr. */
typedef vn_status (*cli_complete_fn)(void *into, cli_parser *p);

/* Reads argv[0..argc-1], the words after the verb, into the tables' structs; complete (or NULL) is
 * given the first table's. Fails after saying on stderr in one line what is wrong; an unknown flag
 * is named with what may have been meant. */
vn_status cli_parse(const char *verb, int argc, char **argv, const cli_table *tables,
                    size_t table_count, cli_complete_fn complete);
/* The flags and arguments, one a paragraph, under their headings. */
void cli_print_options(FILE *to, const cli_table *tables, size_t table_count);
/* DATA --out RUN: what a command needs at least. */
void cli_print_usage(FILE *to, const char *verb, const cli_table *tables, size_t table_count);

/* Whether the row is an argument rather than a flag: its name is in capitals. */
bool cli_is_argument(const cli_option *option);
void cli_numbers_free(cli_numbers *list);
void cli_texts_free(cli_texts *list);
/* Words of `text` in lines of at most `width` columns, those after the first indented by
 * `indent`. */
void cli_print_wrapped(FILE *to, const char *text, int column, int indent, int width);

#endif
