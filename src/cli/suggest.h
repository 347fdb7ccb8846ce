/* suggest.h - what may have been meant by a word that is not known. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

/* Writes "did you mean --guidance or --guide?": the names that begin with the word; if there are
 * none, the one nearest to it. `before` ("--") stands before each name. Capitals and underscores
 * count as small letters and dashes. False: nothing is near. */
bool cli_suggest(const char *word, const char *before, const char *const *names, size_t count,
                 char *out, size_t size);

/* The words of other programs for what vane has, or lacks, in one line: "vane says --guidance for
 * --cfg-scale: ...". `shown` is the word with its dashes; names are the verb's own flags and
 * arguments. False: the word is not in the table. */
bool cli_foreign(const char *verb, const char *shown, const char *const *names, size_t count,
                 char *out, size_t size);
/* The same for a verb: "generate" -> "sample"; NULL: not in the table. */
const char *cli_foreign_verb(const char *word);

#endif
