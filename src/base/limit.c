/* limit.c - how much memory this process may have, so that what would not fit is refused before it
 * is built. A successful allocation does not show that: most systems promise more memory than they
 * have, and end the process when it is used.
 *
 * It is the least of the machine's memory, the limits of the control groups that the process is in
 * (containers) and its limit of address space (ulimit -v). VANE_MEMORY in the environment, a number
 * of bytes or one with K, M, G or T, stands for all of these. */
#include "base/base.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define VARIABLE "VANE_MEMORY"

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

/* "24G"; 0: not given, or no such number, which vn_memory_check refuses. */
static size_t asked_for(void) {
    const char *text = getenv(VARIABLE);
    if (!text || *text < '0' || *text > '9') return 0;
    char *end;
    const unsigned long long number = strtoull(text, &end, 10);
    static const char units[] = "KMGT";
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (*end && (!unit || end[1])) return 0;
    const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    return number <= SIZE_MAX >> shift ? (size_t)number << shift : SIZE_MAX;
}

bool vn_memory_given(void) {
    return asked_for() > 0;
}

vn_status vn_memory_check(vn_err *err) {
    const char *text = getenv(VARIABLE);
    if (!text || !*text || asked_for() > 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   VARIABLE " in the environment is \"%.40s\": a number of bytes above 0, or one "
                            "with K, M, G or T, such as 600M",
                   text);
}

/* ---- what there is --------------------------------------------------------------------------- */

static size_t of_machine(void) {
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX;
}

static size_t of_address_space(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY
               ? (size_t)limit.rlim_cur
               : SIZE_MAX;
}

#if defined(__linux__)

/* The beginning of a file as text, without taking memory; "" when there is none. */
static void read_text(const char *path, char *text, size_t size) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, text, size - 1) : 0;
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
}

/* The number that a file of the control groups holds; none, or "max": no limit. */
static size_t number_in(const char *path) {
    char text[64];
    read_text(path, text, sizeof text);
    return *text >= '0' && *text <= '9' ? (size_t)strtoull(text, NULL, 10) : SIZE_MAX;
}

/* The least limit of the group at `group` under `root` and of those above it. A container may see
 * its own group as the root. */
static size_t of_groups(const char *root, const char *group, const char *file) {
    char path[1024];
    size_t limit = SIZE_MAX;
    for (size_t n = strlen(group);; n--) {
        if (n == 0 || group[n] == '/' || !group[n]) {
            const int length = snprintf(path, sizeof path, "%s%.*s/%s", root, (int)n, group, file);
            if (length > 0 && (size_t)length < sizeof path) limit = least(limit, number_in(path));
        }
        if (n == 0) return limit;
    }
}

/* A line of /proc/self/cgroup is "number:controllers:path"; of version 2 the controllers are
 * empty. */
static size_t of_control_groups(void) {
    char text[4096], *rest = NULL;
    size_t limit = SIZE_MAX;
    read_text("/proc/self/cgroup", text, sizeof text);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        if (strcmp(controllers, ":") == 0)
            limit = least(limit, of_groups("/sys/fs/cgroup", group, "memory.max"));
        else if (strcmp(controllers, ":memory") == 0)
            limit =
                least(limit, of_groups("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
    return limit;
}

#else

static size_t of_control_groups(void) {
    return SIZE_MAX;
}

#endif

size_t vn_memory_total(void) {
    const size_t asked = asked_for();
    return asked ? asked : least(of_machine(), least(of_address_space(), of_control_groups()));
}

/* ---- for messages ---------------------------------------------------------------------------- */

const char *vn_bytes_text(double bytes, char text[32]) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    size_t unit = 0;
    for (; bytes >= 999.5 && unit + 1 < VN_COUNT(units); unit++) bytes /= 1000;
    const int digits = unit > 0 && bytes < 9.95;
    /* A decimal point whatever the locale: as whole numbers. */
    const long long tenths = (long long)(bytes * 10 + 0.5), whole = (long long)(bytes + 0.5);
    if (digits)
        snprintf(text, 32, "%lld.%lld %s", tenths / 10, tenths % 10, units[unit]);
    else
        snprintf(text, 32, "%lld %s", whole, units[unit]);
    return text;
}
