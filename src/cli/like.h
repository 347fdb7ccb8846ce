/* like.h - `--like x.png`: the settings that a picture or tensor file of vane's holds, as if they
 * had been typed. */
#ifndef CLI_LIKE_H
#define CLI_LIKE_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/options.h"

/* Gives the flags of `vane sample` that were not typed what the file holds, and says so on stderr
 * unless `quiet`. *settings receives the object whose texts the flags point to, to be released when
 * they are used no more: also on failure, when the words are on stderr. */
vn_status cli_like(cli_parser *p, const char *file, bool quiet, json_t **settings);
/* Whether a model of this fingerprint (or NULL) and so many training steps is the one that the
 * settings are of; if not, says so. */
bool cli_like_fits(const json_t *settings, const char *file, const char *source,
                   const char *fingerprint, int64_t steps);

#endif
