/* history.c - log.jsonl as columns of numbers. The file is for people and scripts, who may have
 * done anything with it: what is no line of a log is counted and left out. */
#include "report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 256, DEEPEST = 4 };

const vn_column *vn_history_find(const vn_history *h, const char *name) {
    for (size_t i = 0; i < h->count; i++)
        if (!strcmp(h->columns[i].name, name)) return &h->columns[i];
    return NULL;
}

void vn_history_close(vn_history *h) {
    for (size_t i = 0; i < h->count; i++) {
        vn_free(h->columns[i].name);
        vn_free(h->columns[i].value);
    }
    vn_free(h->columns);
    *h = (vn_history){0};
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Capacity for one more line in every column. */
static bool grow(vn_history *h) {
    if (h->lines < h->capacity) return true;
    const size_t capacity = h->capacity ? 2 * h->capacity : 256;
    for (size_t i = 0; i < h->count; i++) {
        double *longer = vn_realloc(h->columns[i].value, capacity, sizeof *longer);
        if (!longer) return false;
        h->columns[i].value = longer;
    }
    h->capacity = capacity;
    return true;
}

static vn_column *add_column(vn_history *h, const char *name, vn_err *err) {
    if (h->count == VN_HISTORY_COLUMNS) {
        vn_fail(err, VN_BAD_FILE, "has more than %d keys", VN_HISTORY_COLUMNS);
        return NULL;
    }
    vn_column *longer = vn_realloc(h->columns, h->count + 1, sizeof *longer);
    if (longer) h->columns = longer;
    vn_column c = {vn_strdup(name), vn_alloc(h->capacity, sizeof(double))};
    if (!longer || !c.name || !c.value) {
        vn_free(c.name);
        vn_free(c.value);
        vn_no_memory(err);
        return NULL;
    }
    for (size_t i = 0; i <= h->lines; i++) c.value[i] = (double)NAN;
    h->columns[h->count] = c;
    return &h->columns[h->count++];
}

/* ---- lines ----------------------------------------------------------------------------------- */

static vn_status take(vn_history *h, const char *name, const json_t *value, int depth, vn_err *err);

static vn_status take_member(vn_history *h, const char *within, const char *key,
                             const json_t *value, int depth, vn_err *err) {
    char name[MAX_NAME];
    const int n = vn_snprintf(name, sizeof name, "%s%s%s", within, within[0] ? "/" : "", key);
    return n < MAX_NAME ? take(h, name, value, depth + 1, err) : VN_OK;
}

/* The numbers in it go to the columns of line h->lines. */
static vn_status take(vn_history *h, const char *name, const json_t *value, int depth,
                      vn_err *err) {
    const char *key;
    json_t *member;
    size_t i;
    double number;
    vn_status status = VN_OK;
    if (depth > DEEPEST) return VN_OK;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member) {
            if (!status) status = take_member(h, name, key, member, depth, err);
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, member) {
            char index[24];
            vn_snprintf(index, sizeof index, "%zu", i);
            if (!status) status = take_member(h, name, index, member, depth, err);
        }
    } else if (vn_json_number(value, &number)) {
        const vn_column *c = vn_history_find(h, name);
        if (!c) c = add_column(h, name, err);
        if (!c) return err->status;
        c->value[h->lines] = number;
    }
    return status;
}

static vn_status take_line(void *self, const char *line, size_t size, size_t number, vn_err *err) {
    vn_history *h = self;
    vn_err damage = {0};
    json_t *object = NULL;
    vn_status status = vn_json_parse(line, size, "log", &object, &damage);
    if (status == VN_NO_MEMORY) return vn_no_memory(err);
    if (!status && json_is_integer(json_object_get(object, "step"))) {
        if (!grow(h)) status = vn_no_memory(err);
        for (size_t i = 0; !status && i < h->count; i++)
            h->columns[i].value[h->lines] = (double)NAN;
        if (!status) status = take(h, "", object, 0, err);
        if (!status) h->lines++;
    } else {
        if (!h->damaged++) h->first_damaged = number;
        status = VN_OK;
    }
    json_decref(object);
    return status;
}

vn_status vn_history_read(vn_history *h, const char *path, vn_err *err) {
    return vn_file_lines(path, take_line, h, err);
}
