/* prompts.c - see prompts.h. */
#include "cli/prompts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { MOST_BYTES = 1 << 28 };

static bool refuse(const char *verb, const char *path, const char *why) {
    return cli_misuse(verb, "--prompts %s: %s", path, why);
}

/* All of the file, with a 0 behind it; NULL: the words are printed. */
static char *read_all(const char *verb, const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    char *all = NULL;
    size_t capacity = 0;
    *size = 0;
    for (bool more = f != NULL; more;) {
        if (*size + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 4096;
            char *longer = capacity <= MOST_BYTES ? realloc(all, capacity) : NULL;
            if (!longer) {
                refuse(verb, path, "it is too large");
                break;
            }
            all = longer;
        }
        const size_t n = fread(all + *size, 1, capacity - *size - 1, f);
        *size += n;
        all[*size] = '\0';
        more = n > 0;
        if (more) continue;
        if (!ferror(f)) {
            fclose(f);
            return all;
        }
        refuse(verb, path, strerror(errno));
    }
    if (!f) refuse(verb, path, strerror(errno));
    if (f) fclose(f);
    free(all);
    return NULL;
}

bool cli_prompts_read(const char *verb, const char *path, cli_prompts *out) {
    size_t size, lines = 0;
    out->file = read_all(verb, path, &size);
    if (!out->file) return false;
    if (memchr(out->file, '\0', size)) return refuse(verb, path, "it is no text");
    for (size_t i = 0; i < size; i++) lines += out->file[i] == '\n';
    lines += size > 0 && out->file[size - 1] != '\n';
    if (lines == 0) return refuse(verb, path, "it has no line");
    out->text = malloc(lines * sizeof *out->text);
    if (!out->text) return refuse(verb, path, "it is too large");
    for (char *at = out->file; out->count < lines;) {
        char *end = strchr(at, '\n');
        out->text[out->count++] = at;
        if (end) *end = '\0';
        at = end ? end + 1 : at;
    }
    return true;
}

bool cli_prompts_take(const char *verb, const cli_texts *typed, const char *file,
                      cli_prompts *lines, const char *const **prompts, size_t *count) {
    *prompts = NULL;
    *count = 0;
    if (typed->count > 0 && file)
        return cli_misuse(verb, "--prompt and --prompts exclude each other");
    if (file && !cli_prompts_read(verb, file, lines)) return false;
    if (file || typed->count > 0) {
        *prompts = file ? lines->text : typed->text;
        *count = file ? lines->count : typed->count;
    }
    return true;
}

void cli_prompts_free(cli_prompts *p) {
    free(p->text);
    free(p->file);
    *p = (cli_prompts){0};
}
