/* prompts.h - texts from the command line and from a file, one a line. */
#ifndef CLI_PROMPTS_H
#define CLI_PROMPTS_H

#include "cli/options.h"

typedef struct cli_prompts {
    const char **text;
    size_t count;
    char *file; /* what those of a file are in */
} cli_prompts;

/* The lines of a file: each ends at \n alone, and an empty one is the empty text. Where it cannot
 * be read, or holds no line, the words are on stderr. Freed with cli_prompts_free. */
bool cli_prompts_read(const char *verb, const char *path, cli_prompts *out);
/* --prompt TEXT, again for several, or --prompts FILE (NULL: not given), as a library's options
 * have them: *count of *prompts, NULL and 0 where neither is given. Where both are, the words are
 * on stderr. `lines` holds what is read of the file. */
bool cli_prompts_take(const char *verb, const cli_texts *typed, const char *file,
                      cli_prompts *lines, const char *const **prompts, size_t *count);
void cli_prompts_free(cli_prompts *p);

#endif
