/* paths.c - names of files and folders: joined, taken apart, and followed where they are links. */
#include "base/base.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool vn_ends_with(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return m <= n && memcmp(text + n - m, ending, m) == 0;
}

char *vn_path_join(const char *a, const char *b) {
    bool slash = !a[0] || vn_ends_with(a, "/") || b[0] == '/';
    return vn_format("%s%s%s", a, slash ? "" : "/", b);
}

char *vn_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? vn_format("%.*s", slash == path ? 1 : (int)(slash - path), path)
                 : vn_strdup(".");
}

/* Where the link at `path` points to, as seen from here; new string or NULL. */
static char *link_target(const char *path) {
    char target[PATH_MAX];
    const ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) return NULL;
    target[n] = 0;
    if (target[0] == '/') return vn_strdup(target);
    char *folder = vn_folder_of(path), *out = folder ? vn_path_join(folder, target) : NULL;
    vn_free(folder);
    return out;
}

static bool is_link(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

char *vn_follow_links(const char *path) {
    enum { MAX_LINKS = 40 }; /* the kernel's */
    char *at = vn_strdup(path);
    for (int i = 0; at && i < MAX_LINKS && is_link(at); i++) {
        char *next = link_target(at);
        vn_free(at);
        at = next;
    }
    return at;
}

char *vn_real_path(const char *path) {
    char *whole = vn_follow_links(path), *real = NULL;
    size_t n = whole ? strlen(whole) : 0; /* of it, as much as exists; none: the current folder */
    while (n > 1 && whole[n - 1] == '/') whole[--n] = 0;
    for (bool more = whole != NULL; more;) {
        char *at = n ? vn_format("%.*s", (int)n, whole) : vn_strdup(".");
        real = at ? realpath(at, NULL) : NULL;
        more = at && !real && n && errno != ENOMEM;
        vn_free(at);
        while (more && n && whole[n - 1] != '/') n--;
        while (more && n > 1 && whole[n - 1] == '/') n--;
    }
    const char *rest = whole ? whole + n : "";
    rest += strspn(rest, "/");
    char *out = !real ? NULL : rest[0] ? vn_path_join(real, rest) : vn_strdup(real);
    free(real);
    vn_free(whole);
    return out;
}
