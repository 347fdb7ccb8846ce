/* list_options.h - `vane list options`: the library's options, which all flags, JSON and keyword
 * arguments are made from. */
#ifndef CLI_LIST_OPTIONS_H
#define CLI_LIST_OPTIONS_H

#include <stdbool.h>

#include "vane.h"

/* The options of one struct by its name ("train"), or of all for NULL, for people or as JSON.
 * *usage: there is none such; the words are on stderr. */
vn_status cli_list_options(const char *name, bool json, bool *usage);

#endif
