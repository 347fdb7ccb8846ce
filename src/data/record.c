/* record.c - see record.h. A first line says what the file is; then for each file a state, its
 * label, its bytes and its path, ended by a zero, as names of files may hold any other byte. */
#include "data/data.h"
#include "data/record.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char head[] = "vane files 1\n";
#define MAX_BYTES ((size_t)1 << 30)

/* ---- reading --------------------------------------------------------------------------------- */

/* A whole number that ends in a blank; NULL: it is none. */
static const char *take_number(const char *at, int64_t most, int64_t *out) {
    char *end;
    if (*at < '0' || *at > '9') return NULL;
    const long long value = strtoll(at, &end, 10);
    *out = (int64_t)value;
    return *end == ' ' && value >= 0 && value <= most ? end + 1 : NULL;
}

/* One file of the list; returns whether it makes sense. */
static bool take_file(const char *at, vn_entry *e) {
    int64_t label = 0;
    e->state = at[0];
    if (at[0] == '\0' || !strchr("unhs", at[0]) || at[1] != ' ') return false;
    const char *next = take_number(at + 2, INT32_MAX, &label);
    if (next) next = take_number(next, INT64_MAX, &e->bytes);
    if (!next || next[0] == '\0' || next[0] == '/') return false;
    e->listed = (int32_t)label;
    e->path = next;
    return true;
}

static vn_status take_files(const char *text, size_t size, vn_arena *arena, vn_entries *files,
                            vn_entries *skipped, vn_err *err) {
    vn_status status = VN_OK;
    const char *const end = text + size;
    if (size < sizeof head - 1 || memcmp(text, head, sizeof head - 1) != 0 ||
        (size > 0 && end[-1] != '\0'))
        if (size != sizeof head - 1) return vn_fail(err, VN_BAD_FILE, "is not a list of files");
    for (const char *at = text + sizeof head - 1; !status && at < end; at += strlen(at) + 1) {
        vn_entry e = {0};
        if (!take_file(at, &e)) return vn_fail(err, VN_BAD_FILE, "is damaged");
        char *path = vn_arena_alloc(arena, strlen(e.path) + 1);
        if (!path) return vn_no_memory(err);
        e.path = strcpy(path, e.path);
        status = vn_entries_append(e.state == VN_FILE_SKIPPED ? skipped : files, e, err);
    }
    return status;
}

vn_status vn_record_read(const char *path, vn_arena *arena, vn_entries *files, vn_entries *skipped,
                         vn_err *err) {
    char *text = NULL;
    size_t size = 0;
    vn_status status = vn_read_file(path, MAX_BYTES, &text, &size, err);
    if (status) return status;
    status = take_files(text, size, arena, files, skipped, err);
    vn_free(text);
    return !status ? VN_OK : vn_fail_in(err, "%s", path);
}

bool vn_data_has_first(const char *source, const char *list) {
    char text[1 << 13] = "";
    vn_err ignored = {0};
    vn_entry e = {0};
    int fd;
    ssize_t n = 0;
    if (vn_file_open(list, &fd, &ignored) == VN_OK) {
        n = read(fd, text, sizeof text - 1);
        close(fd);
    }
    text[n > 0 ? n : 0] = 0;
    if (strncmp(text, head, sizeof head - 1) != 0 || !take_file(text + sizeof head - 1, &e))
        return source[0] == '/';
    char *path = vn_path_join(source, e.path);
    const bool there = path && vn_is_file(path);
    vn_free(path);
    return there;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put(FILE *to, const vn_entries *list, const int32_t *labels, char state) {
    for (size_t i = 0; i < list->count; i++) {
        const vn_entry *e = &list->at[i];
        const char own = e->state != 0 ? e->state : VN_FILE_USED;
        fprintf(to, "%c %lld %lld %s", state != 0 ? state : own,
                (long long)(labels ? labels[i] : e->listed), (long long)e->bytes, e->path);
        fputc('\0', to);
    }
}

vn_status vn_record_write(const char *path, const vn_entries *files, const int32_t *labels,
                          const vn_entries *skipped, vn_err *err) {
    vn_writer w;
    const vn_status status = vn_writer_open(&w, path, err);
    if (status) return status;
    fputs(head, w.file);
    put(w.file, files, labels, 0);
    put(w.file, skipped, NULL, VN_FILE_SKIPPED);
    return vn_writer_commit(&w, err);
}
