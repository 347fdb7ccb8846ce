/* classes.c - see classes.h. A class's own name may have commas ("great white shark, white shark"),
 * so that all of a text is tried as one name before it is cut. */
#include <stdlib.h>
#include <string.h>

#include "cli/classes.h"
#include "cli/cli.h"

static vn_status add(cli_classes *list, int32_t label) {
    int32_t *longer = realloc(list->label, (list->count + 1) * sizeof *longer);
    if (!longer) return VN_NO_MEMORY;
    list->label = longer;
    list->label[list->count++] = label;
    return VN_OK;
}

/* Whether all of the text is the name of some class: of several, the refusal says so. */
static bool is_name(const vn_model *model, const char *text) {
    const char *name = vn_model_label_name(model, 0);
    for (int32_t k = 0; name; name = vn_model_label_name(model, ++k))
        if (strcmp(name, text) == 0) return true;
    return false;
}

static vn_status add_name(vn_model *model, const char *name, cli_classes *list) {
    int32_t label;
    const vn_status status = vn_model_find_label(model, name, &label);
    return !status ? add(list, label) : status;
}

/* The names between commas, without the spaces around them; `text` is cut to pieces. */
static vn_status add_pieces(vn_model *model, char *text, cli_classes *list) {
    vn_status status = VN_OK;
    for (char *at = text, *next; at != NULL && !status; at = next) {
        next = strchr(at, ',');
        if (next) *next++ = '\0';
        at += strspn(at, " ");
        for (size_t n = strlen(at); n > 0 && at[n - 1] == ' ';) at[--n] = '\0';
        status = add_name(model, at, list);
    }
    return status;
}

vn_status cli_find_classes(vn_model *model, const cli_texts *texts, cli_classes *out,
                           bool *refused) {
    vn_status status = VN_OK;
    for (size_t i = 0; i < texts->count && !status; i++) {
        status = add_name(model, texts->text[i], out);
        if (status != VN_BAD_ARGUMENT || !strchr(texts->text[i], ',') ||
            is_name(model, texts->text[i]))
            continue;
        char *copy = strdup(texts->text[i]);
        status = copy ? add_pieces(model, copy, out) : VN_NO_MEMORY;
        free(copy);
    }
    for (size_t i = 0; i < out->count && !status && out->count > 1; i++)
        if (out->label[i] == VN_LABEL_ALL) {
            *refused =
                !cli_misuse("sample", "--class all stands alone, for it is all classes in turn");
            status = VN_BAD_ARGUMENT;
        }
    return status;
}

void cli_classes_free(cli_classes *list) {
    free(list->label);
    *list = (cli_classes){0};
}
