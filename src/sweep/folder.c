/* folder.c - a sweep on the disk: sweep.json and results.jsonl, one JSON object a line. A line is
 * there when its point is done and not before, so a sweep that was killed goes on after it. */
#include "sweep/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a result as JSON ------------------------------------------------------------------------ */

static json_t *number_json(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *metrics_json(const vn_point_result *r) {
    json_t *all = json_object();
    for (size_t i = 0; all && i < r->numbers; i++) {
        const vn_point_number *n = &r->number[i];
        json_t *one = json_pack("{s:o, s:o, s:o}", "value", number_json(n->value), "low",
                                number_json(n->low), "high", number_json(n->high));
        if (json_object_set_new(all, n->metric, one) == 0) continue;
        json_decref(all);
        all = NULL;
    }
    return all;
}

static json_t *result_json(const vn_point_result *r) {
    return json_pack("{s:s, s:f, s:s?, s:i, s:I, s:o, s:o, s:o, s:s?, s:s?}", "guide",
                     r->point.guide, "guidance", r->point.guidance, "sampler", r->point.sampler,
                     "steps", r->point.steps, "count", (json_int_t)r->count, "metrics",
                     metrics_json(r), "passes", number_json(r->passes), "seconds",
                     number_json(r->seconds), "example", r->example, "error", r->error);
}

static double number_of(const json_t *value) {
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void read_metrics(vn_point_result *r, const json_t *all) {
    const char *key;
    json_t *one;
    json_object_foreach((json_t *)(uintptr_t)all, key, one) {
        if (r->numbers == VN_POINT_NUMBERS) return;
        vn_point_number *n = &r->number[r->numbers++];
        vn_snprintf(n->metric, sizeof n->metric, "%s", key);
        n->value = number_of(json_object_get(one, "value"));
        n->low = number_of(json_object_get(one, "low"));
        n->high = number_of(json_object_get(one, "high"));
    }
}

/* Its texts are the object's. False: it is no result. */
static bool read_result(const json_t *object, vn_point_result *r) {
    const json_t *guidance = json_object_get(object, "guidance"),
                 *steps = json_object_get(object, "steps"),
                 *count = json_object_get(object, "count"),
                 *metrics = json_object_get(object, "metrics");
    *r = (vn_point_result){
        .point = {.guide = json_string_value(json_object_get(object, "guide")),
                  .sampler = json_string_value(json_object_get(object, "sampler")),
                  .guidance = json_number_value(guidance),
                  .steps = (int)json_integer_value(steps)},
        .count = json_integer_value(count),
        .passes = number_of(json_object_get(object, "passes")),
        .seconds = number_of(json_object_get(object, "seconds")),
        .example = (char *)(uintptr_t)json_string_value(json_object_get(object, "example")),
        .error = (char *)(uintptr_t)json_string_value(json_object_get(object, "error"))};
    read_metrics(r, metrics);
    return r->point.guide && json_is_number(guidance) && json_is_integer(steps) &&
           json_is_integer(count) && json_is_object(metrics);
}

/* ---- results in memory ----------------------------------------------------------------------- */

static void free_result(vn_point_result *r) {
    vn_free((void *)(uintptr_t)r->point.guide);
    vn_free((void *)(uintptr_t)r->point.sampler);
    vn_free(r->example);
    vn_free(r->error);
}

/* With texts of its own. */
static bool copy_result(vn_point_result *to, const vn_point_result *r) {
    *to = *r;
    to->point.guide = vn_strdup(r->point.guide);
    to->point.sampler = r->point.sampler ? vn_strdup(r->point.sampler) : NULL;
    to->example = r->example ? vn_strdup(r->example) : NULL;
    to->error = r->error ? vn_strdup(r->error) : NULL;
    if (to->point.guide && !r->point.sampler == !to->point.sampler && !r->example == !to->example &&
        !r->error == !to->error)
        return true;
    free_result(to);
    return false;
}

static vn_status keep(vn_sweep_folder *s, const vn_point_result *r, vn_err *err) {
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 16;
        vn_point_result *longer = vn_realloc(s->result, capacity, sizeof *longer);
        if (!longer) return vn_no_memory(err);
        s->result = longer;
        s->capacity = capacity;
    }
    if (!copy_result(&s->result[s->count], r)) return vn_no_memory(err);
    s->count++;
    return VN_OK;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && !strcmp(a, b));
}

const vn_point_result *vn_sweep_find(const vn_sweep_folder *s, const vn_point *p, int64_t count) {
    for (size_t i = 0; i < s->count; i++) {
        const vn_point_result *r = &s->result[i];
        if (r->count == count && r->point.steps == p->steps && r->point.guidance == p->guidance &&
            same_text(r->point.guide, p->guide) && same_text(r->point.sampler, p->sampler))
            return r;
    }
    return NULL;
}

/* ---- results.jsonl --------------------------------------------------------------------------- */

/* Keeps a line's result; s->end is where the lines end that were read. */
static vn_status read_line(void *self, const char *line, size_t size, size_t number, vn_err *err) {
    vn_sweep_folder *s = self;
    char name[64];
    json_t *object = NULL;
    vn_point_result r = {0};
    vn_snprintf(name, sizeof name, "line %zu", number);
    vn_err damage = {0};
    vn_status status = vn_json_parse(line, size, name, &object, &damage);
    if (status == VN_NO_MEMORY) return vn_no_memory(err);
    if (status || !read_result(object, &r))
        status =
            vn_fail(err, VN_BAD_FILE,
                    "line %zu is no result; remove it, and that point is measured again", number);
    if (!status) status = keep(s, &r, err);
    s->end += (int64_t)size;
    json_decref(object);
    return status;
}

static vn_status read_results(vn_sweep_folder *s, const char *path, vn_err *err) {
    return vn_is_file(path) ? vn_file_lines(path, read_line, s, err) : VN_OK;
}

static vn_status open_results(vn_sweep_folder *s, vn_err *err) {
    char *path = vn_path_join(s->dir, "results.jsonl");
    if (!path) return vn_no_memory(err);
    vn_status status = read_results(s, path, err);
    s->found = s->count;
    if (!status) {
        s->file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (s->file < 0 || ftruncate(s->file, s->end) != 0 ||
            lseek(s->file, s->end, SEEK_SET) != s->end)
            status = vn_fail_errno(err, "%s: cannot be written", path);
    }
    vn_free(path);
    return status;
}

/* All of it, or nothing. */
static bool write_line(vn_sweep_folder *s, const char *text, size_t size) {
    size_t done = 0;
    ssize_t n = 0;
    for (; done < size && n >= 0; done += n > 0 ? (size_t)n : 0) do
            n = write(s->file, text + done, size - done);
        while (n < 0 && errno == EINTR);
    if (done == size && (fdatasync(s->file) == 0 || errno == EINVAL || errno == ENOTSUP)) {
        s->end += (int64_t)size;
        return true;
    }
    const int code = errno;
    if (ftruncate(s->file, s->end) == 0) lseek(s->file, s->end, SEEK_SET);
    errno = code;
    return false;
}

vn_status vn_sweep_append(vn_sweep_folder *s, const vn_point_result *r, vn_err *err) {
    json_t *object = result_json(r);
    char *text = object ? vn_json_text(object, JSON_COMPACT) : NULL;
    char *line = text ? vn_format("%s\n", text) : NULL;
    vn_status status = line ? keep(s, r, err) : vn_no_memory(err);
    if (!status && !write_line(s, line, strlen(line))) {
        status = vn_fail_errno(err, "%s/results.jsonl: cannot be written", s->dir);
        free_result(&s->result[--s->count]);
    }
    vn_free(line);
    vn_free(text);
    json_decref(object);
    return status;
}

/* ---- sweep.json ------------------------------------------------------------------------------ */

/* Nothing is in it but kept features (cache/), which a sweep whose first point failed leaves. */
static bool is_empty(const char *dir) {
    DIR *d = opendir(dir);
    bool empty = true;
    for (const struct dirent *e; d && empty && (e = readdir(d));)
        empty = e->d_name[0] == '.' || strcmp(e->d_name, "cache") == 0;
    if (d) closedir(d);
    return empty;
}

static vn_status fail_other(const vn_sweep_folder *s, const char *key, const json_t *there,
                            const json_t *here, vn_err *err) {
    char *a = there ? vn_json_text(there, JSON_ENCODE_ANY) : vn_strdup("none"),
         *b = here ? vn_json_text(here, JSON_ENCODE_ANY) : vn_strdup("none");
    const vn_status status =
        a && b ? vn_fail(err, VN_BAD_ARGUMENT,
                         "%s is a sweep of another %s: %.200s there, %.200s here; give another "
                         "folder, or the same settings to go on",
                         s->dir, key, a, b)
               : vn_no_memory(err);
    vn_free(a);
    vn_free(b);
    return status;
}

static vn_status compare_settings(const vn_sweep_folder *s, const json_t *there, vn_err *err) {
    const char *key;
    json_t *value;
    json_object_foreach(s->settings, key, value) {
        const json_t *other = json_object_get(there, key);
        if (!json_equal(value, (json_t *)(uintptr_t)other))
            return fail_other(s, key, other, value, err);
    }
    json_object_foreach((json_t *)(uintptr_t)there, key, value) {
        if (!json_object_get(s->settings, key)) return fail_other(s, key, value, NULL, err);
    }
    return VN_OK;
}

static vn_status check_settings(const vn_sweep_folder *s, vn_err *err) {
    char *path = vn_path_join(s->dir, "sweep.json");
    json_t *there = NULL;
    if (!path) return vn_no_memory(err);
    vn_status status = VN_OK;
    if (vn_is_file(path)) {
        status = vn_json_read(path, &there, err);
        if (!status && !json_is_object(there))
            status = vn_fail(err, VN_BAD_FILE, "%s: is not a JSON object", path);
        if (!status) status = compare_settings(s, there, err);
    } else if (!is_empty(s->dir)) {
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s holds other files and is no sweep, so it stays: name another", s->dir);
    } else {
        status = vn_json_write(path, s->settings, err);
    }
    json_decref(there);
    vn_free(path);
    return status;
}

/* ---- opening and closing --------------------------------------------------------------------- */

vn_status vn_sweep_open(vn_sweep_folder *s, const char *dir, const json_t *settings, vn_err *err) {
    *s = (vn_sweep_folder){.lock = -1, .file = -1};
    s->dir = vn_strdup(dir);
    s->settings = vn_json_copy(settings);
    vn_status status = s->dir && s->settings ? VN_OK : vn_no_memory(err);
    s->made = !vn_is_dir(dir);
    if (!status) status = vn_make_dirs(dir, err);
    if (!status) status = vn_lock_folder(dir, dir, "swept", &s->lock, err);
    if (!status) status = check_settings(s, err);
    if (!status) status = open_results(s, err);
    return status;
}

void vn_sweep_close(vn_sweep_folder *s) {
    for (size_t i = 0; i < s->count; i++) free_result(&s->result[i]);
    vn_free(s->result);
    vn_free(s->dir);
    json_decref(s->settings);
    if (s->file > 0) close(s->file);
    if (s->lock > 0) close(s->lock);
    *s = (vn_sweep_folder){0};
}

void vn_sweep_abandon(vn_sweep_folder *s) {
    static const char *const files[] = {"results.jsonl", "sweep.json"};
    char *dir = s->made && s->count == 0 && s->lock >= 0 ? vn_strdup(s->dir) : NULL;
    for (size_t i = 0; dir && i < VN_COUNT(files); i++) {
        char *path = vn_path_join(dir, files[i]);
        if (path) unlink(path);
        vn_free(path);
    }
    vn_sweep_close(s);
    if (dir) rmdir(dir);
    vn_free(dir);
}
