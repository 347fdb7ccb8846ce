/* classes.c - which classes a source has in the end. Labels may leave gaps (they may begin at 1, a
 * file may hold one class of a hundred, a folder may be empty): a class without samples would be a
 * row of the network that nothing trains, and sampling "all" would draw from it. So such classes
 * are left out, and the others keep their names.
 *
 * Where a run or model says which classes there are, the data's are found among them by name. */
#include "data/internal.h"

#include <string.h>

enum { NAMED = 8 }; /* in a message */

/* "0, 4, 7 and 20 more". New string or NULL. */
static char *name_some(const char *const *names, int32_t count) {
    char *text = vn_strdup("");
    for (int32_t i = 0; text != NULL && i < count && i < NAMED; i++) {
        char *longer = vn_format("%s%s%s", text, i > 0 ? ", " : "", names[i]);
        vn_free(text);
        text = longer;
    }
    if (!text || count <= NAMED) return text;
    char *longer = vn_format("%s and %d more", text, (int)(count - NAMED));
    vn_free(text);
    return longer;
}

static vn_status count_samples(const vn_source *s, int64_t **out, vn_err *err) {
    *out = vn_calloc((size_t)s->classes, sizeof **out);
    if (!*out) return vn_no_memory(err);
    for (int64_t i = 0; i < s->count; i++) (*out)[s->labels[i]]++;
    return VN_OK;
}

static void relabel(vn_source *s, const int32_t *to) {
    for (int64_t i = 0; i < s->count; i++) s->labels[i] = to[s->labels[i]];
}

/* ---- the data's own classes ------------------------------------------------------------------ */

static vn_status tell_left_out(const vn_source *s, const char *source, const vn_watch *watch,
                               vn_err *err) {
    const int32_t n = s->left_out_count;
    if (n == 0) return VN_OK;
    char *names = name_some(s->left_out, n);
    if (!names) return vn_no_memory(err);
    if (n == 1)
        vn_log(watch, VN_LOG_WARNING, "%s: class %s has no samples and is left out", source, names);
    else
        vn_log(watch, VN_LOG_WARNING, "%s: %d of %d classes have no samples and are left out: %s",
               source, (int)n, (int)(n + s->classes), names);
    vn_free(names);
    return VN_OK;
}

/* `to` [classes] receives the new labels. */
static vn_status leave_out(vn_source *s, const int64_t *samples, int32_t *to, vn_err *err) {
    const char **kept = vn_arena_alloc(&s->arena, (size_t)s->classes * sizeof *kept);
    s->left_out = vn_arena_alloc(&s->arena, (size_t)s->classes * sizeof *s->left_out);
    if (!kept || !s->left_out) return vn_no_memory(err);
    int32_t used = 0;
    for (int32_t k = 0; k < s->classes; k++) {
        to[k] = used;
        if (samples[k] > 0)
            kept[used++] = s->names[k];
        else
            s->left_out[s->left_out_count++] = s->names[k];
    }
    relabel(s, to);
    s->names = kept;
    s->classes = used;
    return VN_OK;
}

/* A world knows its classes by number, so none of its own can go. */
static void tell_undrawn(const vn_source *s, const int64_t *samples, const char *source,
                         const vn_watch *watch) {
    for (int32_t k = 0; k < s->classes; k++)
        if (samples[k] == 0)
            vn_log(watch, VN_LOG_WARNING, "%s: no point is of class %s, which will not be trained",
                   source, s->names[k]);
}

/* ---- the classes of a model ------------------------------------------------------------------ */

static bool is_number(const char *name, int32_t number) {
    char text[16];
    snprintf(text, sizeof text, "%d", (int)number);
    return strcmp(name, text) == 0;
}

/* Whether these are the names that classes have which were given none. */
static bool are_numbers(const char *const *names, int32_t count) {
    for (int32_t k = 0; k < count; k++)
        if (!is_number(names[k], k)) return false;
    return true;
}

/* The label of class k by name; of several of one name each in its turn. -1: there is none. */
static int32_t find(const vn_source *s, const int64_t *samples, int32_t k,
                    const char *const *classes, int32_t count) {
    int32_t before = 0;
    for (int32_t i = 0; i < k; i++)
        before += samples[i] > 0 && strcmp(s->names[i], s->names[k]) == 0;
    for (int32_t i = 0; i < count; i++)
        if (strcmp(classes[i], s->names[k]) == 0 && before-- == 0) return i;
    return -1;
}

static vn_status refuse_class(const char *name, const char *source, const char *const *classes,
                              int32_t count, vn_err *err) {
    char *names = name_some(classes, count);
    if (!names) return vn_no_memory(err);
    const bool number = name[strspn(name, "0123456789")] == '\0'; /* which is near to any other */
    const char *near = number ? NULL : vn_nearest(name, classes, (size_t)count);
    vn_fail(err, VN_BAD_ARGUMENT, "%s: class %s is none of the model's, which are %s", source, name,
            names);
    if (near) vn_fail_after(err, "did you mean %s?", near);
    vn_free(names);
    return VN_BAD_ARGUMENT;
}

static vn_status match(vn_source *s, const int64_t *samples, const vn_data_options *o,
                       const char *source, int32_t *to, vn_err *err) {
    int32_t found = 0, missing = -1;
    for (int32_t k = 0; k < s->classes; k++) {
        if (samples[k] == 0) continue;
        to[k] = find(s, samples, k, o->classes, o->class_count);
        if (to[k] >= 0) found++;
        if (to[k] < 0 && missing < 0) missing = k;
    }
    if (missing < 0) return VN_OK;
    const bool unnamed = are_numbers(s->names, s->classes) && s->classes <= o->class_count,
               nameless = are_numbers(o->classes, o->class_count) && s->classes == o->class_count;
    if (found > 0 || !(unnamed || nameless))
        return refuse_class(s->names[missing], source, o->classes, o->class_count, err);
    vn_log(o->watch, VN_LOG_INFO, "%s: classes are matched by number, as %s has no names for them",
           source, unnamed ? "it" : "the model");
    for (int32_t k = 0; k < s->classes; k++) to[k] = k;
    return VN_OK;
}

static vn_status take_classes(vn_source *s, const int64_t *samples, const vn_data_options *o,
                              const char *source, int32_t *to, vn_err *err) {
    const vn_status status = match(s, samples, o, source, to, err);
    if (status) return status;
    relabel(s, to);
    return vn_source_copy_names(s, o->classes, o->class_count, err);
}

vn_status vn_source_settle_classes(vn_source *s, const vn_data_options *o, const char *source,
                                   vn_err *err) {
    int64_t *samples = NULL;
    if (!s->labels) return VN_OK;
    int32_t *to = vn_calloc((size_t)s->classes, sizeof *to);
    vn_status status = to ? count_samples(s, &samples, err) : vn_no_memory(err);
    if (!status && o->class_count > 0) {
        status = take_classes(s, samples, o, source, to, err);
    } else if (!status && s->world) {
        tell_undrawn(s, samples, source, o->watch);
    } else if (!status) {
        status = leave_out(s, samples, to, err);
        if (!status) status = tell_left_out(s, source, o->watch, err);
    }
    vn_free(samples);
    vn_free(to);
    return status;
}
