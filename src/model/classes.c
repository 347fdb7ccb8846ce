/* classes.c - which rows of a network's class table are classes and which is null, what they are
 * called, and how a label is found by what a person writes.
 *
 * A run of vane's has the null row last, as it was trained; so has every DiT, by its class. A
 * UNet2DModel of diffusers' own has classes only, unless somebody says which row was trained as
 * null: vane.json's "null_class", or the user. */
#include "model/internal.h"

#include <string.h>

/* ---- of a network ---------------------------------------------------------------------------- */

/* Which row of the class table is null: the last one in a run of vane and in classes of networks
 * that say so; else vane.json's null_class, or the user's, or none. */
static vn_status find_null_row(vn_model *m, const vn_model_dir *dir, int32_t asked, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(vn_model_net(m));
    const int64_t rows = vn_net_labels(io);
    const json_t *said = json_object_get(dir->vane, "null_class");
    const bool known = rows > 0 && (io->null_row || dir->vane);
    m->null_row = known ? (int32_t)rows - 1 : asked;
    if (json_is_null(said)) m->null_row = -1;
    if (json_is_integer(said) && json_integer_value(said) >= 0 && json_integer_value(said) < rows)
        m->null_row = (int32_t)json_integer_value(said);
    else if (said && !json_is_null(said))
        return vn_fail(err, VN_BAD_FILE,
                       "%s: null_class in vane.json is no row of the class table, which has %lld",
                       m->source, (long long)rows);
    if (asked < 0) return VN_OK;
    if (known)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`null_class` %d: %s says itself which row of its class table is null",
                       (int)asked, m->source);
    if (asked < rows) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "`null_class` %d: the class table of %s has %lld row%s",
                   (int)asked, m->source, (long long)rows, rows == 1 ? "" : "s");
}

/* The names of classes: those that vane.json gives, or model_index.json as diffusers' DiTPipeline
 * does, by their rows; else the numbers of the rows. */
typedef struct class_names {
    const json_t *given, *by_row; /* or NULL */
    int32_t null_row;
    char *number; /* [NUMBER] */
} class_names;

enum { NUMBER = 16, MAX_TEXT = 80 };

static const char *class_name(const void *from, int32_t i) {
    const class_names *n = from;
    if (n->given) return json_string_value(json_array_get(n->given, (size_t)i));
    snprintf(n->number, NUMBER, "%d", (int)(i + (n->null_row >= 0 && i >= n->null_row)));
    const char *name = json_string_value(json_object_get(n->by_row, n->number));
    return name ? name : n->number;
}

vn_status vn_model_read_classes(vn_model *m, const vn_model_dir *dir, int32_t null_class,
                                vn_err *err) {
    const vn_net_io *io = vn_net_get_io(vn_model_net(m));
    const vn_port *told = m->row->classifies ? vn_net_output(io, "logits") : NULL;
    const int64_t rows = told ? told->shape.dim[1] : vn_net_labels(io);
    if (rows > INT32_MAX)
        return vn_fail(err, VN_BAD_FILE, "%s: %lld classes", m->source, (long long)rows);
    vn_status status = told ? VN_OK : find_null_row(m, dir, null_class, err);
    m->has_null = !told && (m->null_row >= 0 || !vn_net_input(io, "class_labels"));
    if (status || rows == 0) return status;
    const int32_t classes = (int32_t)rows - (m->null_row >= 0);
    const json_t *names = json_object_get(dir->vane, "classes");
    if (names && json_array_size(names) != (size_t)classes)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: vane.json names %zu classes, the network has rows for %d%s", m->source,
                       json_array_size(names), (int)classes, m->null_row >= 0 ? " and null" : "");
    char number[NUMBER];
    m->named_by_row = !names && !json_object_get(dir->index, "id2label") && m->null_row >= 0 &&
                      m->null_row < classes;
    const class_names from = {names, json_object_get(dir->index, "id2label"), m->null_row, number};
    return vn_model_copy_names(m, classes, class_name, &from, err);
}

/* ---- labels ---------------------------------------------------------------------------------- */

const char *vn_label_word(char *const *names, int32_t classes, int32_t label,
                          char number[VN_NAMES_NUMBER]) {
    const vn_names list = {(const char *const *)names, (size_t)classes};
    char several[VN_NAMES_SHARED];
    int64_t index;
    if (label >= 0) return vn_names_word(&list, label, number);
    const char *word = label == VN_LABEL_ALL ? "all" : "null";
    const bool taken =
        vn_names_find(&list, word, &index) || vn_names_shared(&list, word, several) != NULL;
    return taken ? NULL : word; /* classes may be called so */
}

/* "classes 0 to 9", "one class, 0", "no classes": the labels there are; returns text. */
static const char *labels_text(const vn_model *m, char text[MAX_TEXT]) {
    if (m->row && m->row->prompt)
        snprintf(text, MAX_TEXT, "samples of texts, not of classes; prompts say which");
    else if (m->classes < 2)
        snprintf(text, MAX_TEXT, "%s", m->classes ? "one class, 0" : "no classes");
    else
        snprintf(text, MAX_TEXT, "classes 0 to %d", (int)m->classes - 1);
    return text;
}

/* The same, of what a person may write. */
static const char *classes_text(const vn_model *m, char text[MAX_TEXT]) {
    if (!m->named_by_row) return labels_text(m, text);
    snprintf(text, MAX_TEXT, "the rows 0 to %d for classes, and %d is null", (int)m->classes,
             (int)m->null_row);
    return text;
}

vn_status vn_model_check_label(const vn_model *m, int32_t label, vn_err *err) {
    char text[MAX_TEXT];
    if (label >= 0 && label < m->named_count) return VN_OK;
    if (label != VN_LABEL_NULL)
        return vn_fail(err, VN_BAD_ARGUMENT, "class %d: %s has %s", (int)label, m->source,
                       labels_text(m, text));
    if (m->has_null || m->classes == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "class null: %s has no null condition, only %s%s",
                   m->source, labels_text(m, text),
                   vn_model_net(m) ? "; if one of them is null, say which (`null_class`)" : "");
}

vn_status vn_model_read_label(const vn_model *m, const char *text, int32_t *label, vn_err *err) {
    const vn_names classes = {(const char *const *)m->names, (size_t)m->named_count};
    char several[VN_NAMES_SHARED];
    int64_t index = 0;
    if (vn_names_shared(&classes, text, several))
        return vn_fail(err, VN_BAD_ARGUMENT, "class %.80s: %s has several called so, %s", text,
                       m->source, several);
    if (vn_names_find(&classes, text, &index)) {
        char range[MAX_TEXT];
        if (index < 0 || index >= m->named_count)
            return vn_fail(err, VN_BAD_ARGUMENT, "class %s: %s has %s%s", text, m->source,
                           classes_text(m, range),
                           m->has_null && m->classes ? "; null is the word for none" : "");
        *label = (int32_t)index;
    } else if (strcmp(text, "null") == 0) {
        *label = VN_LABEL_NULL;
    } else if (strcmp(text, "all") == 0) {
        *label = VN_LABEL_ALL;
    } else if (m->named_by_row && vn_parse_int(text, &index) && index == m->null_row) {
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "class %s: this row of %s is null; null is the word for none", text,
                       m->source);
    } else {
        char range[MAX_TEXT];
        if (m->row && m->row->prompt)
            return vn_fail(err, VN_BAD_ARGUMENT, "class %.80s: %s has %s", text, m->source,
                           labels_text(m, range));
        const char *near = vn_names_nearest(&classes, text);
        if (near)
            return vn_fail(err, VN_BAD_ARGUMENT, "unknown class '%s'; did you mean '%s'?", text,
                           near);
        vn_err message;
        vn_fail(&message, VN_BAD_ARGUMENT, "unknown class '%.80s'", text);
        vn_add_hint(&message, text, classes.names, classes.count);
        return vn_fail(err, VN_BAD_ARGUMENT, "%s", message.text);
    }
    return VN_OK;
}
