/* classes.h - `--class` as it is typed: once or several times, each a class or several with commas
 * between them. */
#ifndef CLI_CLASSES_H
#define CLI_CLASSES_H

#include "cli/options.h"
#include "vane.h"

typedef struct cli_classes {
    int32_t *label; /* [count] */
    size_t count;
} cli_classes;

/* VN_BAD_ARGUMENT: the context's words say which name is unknown, or, where *refused is set, they
 * are on stderr. */
vn_status cli_find_classes(vn_model *model, const cli_texts *texts, cli_classes *out,
                           bool *refused);
void cli_classes_free(cli_classes *list);

#endif
