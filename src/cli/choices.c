/* choices.c - texts that choose from tables (samplers, guides, paths, ...) are judged before
 * weights or data are read, which may take long. What only a model can tell, such as whether it has
 * a class of that name, is left to the call that is made of it. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

vn_status cli_check_choice(cli_session *s, int kind, const void *options, const char *name,
                           const char *text) {
    size_t size;
    memcpy(&size, options, sizeof size); /* structs of options begin with their size */
    void *copy = malloc(size);
    if (!copy) return VN_NO_MEMORY;
    memcpy(copy, options, size);
    const vn_status status = vn_option_set(s->vn, kind, copy, name, text);
    free(copy);
    return status;
}

vn_status cli_check_choices(cli_session *s, int kind, const void *options) {
    vn_status status = VN_OK;
    const vn_option *o;
    for (size_t i = 0; !status && (o = vn_option_at(kind, i)); i++) {
        char *text = NULL;
        if (o->type != VN_OPTION_TEXT || !o->table) continue;
        status = vn_option_get(s->vn, kind, options, o->name, &text);
        if (!status && text) status = cli_check_choice(s, kind, options, o->name, text);
        vn_text_free(&text);
    }
    return status;
}
