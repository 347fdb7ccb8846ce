/* cores.c - how many cores this process may use: those it is bound to, or fewer where a control
 * group (a container, a batch system) grants less time than that. Oversubscribed threads wait for
 * each other at the end of every kernel, so guessing too many costs far more than guessing too
 * few. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "cpu/cpu.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Cores that one cpu.max ("QUOTA PERIOD", or "max PERIOD") grants; 0: no limit here. */
static int quota_in(const char *group) {
    char path[1024];
    int length = snprintf(path, sizeof path, CGROUP_ROOT "%s/cpu.max", group);
    if (length < 0 || (size_t)length >= sizeof path) return 0;
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    long long quota = 0, period = 0;
    int read = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (read != 2 || quota <= 0 || period <= 0 || quota / period > 4096) return 0;
    return (int)((quota + period - 1) / period);
}

/* This process's group in the unified hierarchy, from the line "0::/a/b"; "" for the root or when
 * there is none. */
static void own_group(char *group, size_t size) {
    group[0] = '\0';
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f) return;
    char line[900];
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::/", 4) != 0) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(group, size, "%s", strcmp(line + 3, "/") == 0 ? "" : line + 3);
    }
    fclose(f);
}

/* Cores this process is bound to, or else all. */
static int bound_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                       : (int)sysconf(_SC_NPROCESSORS_ONLN);
}

int vn_cpu_cores(void) {
    int cores = bound_cores();
    char group[900];
    own_group(group, sizeof group);
    for (;;) { /* a limit holds for all groups below it */
        int quota = quota_in(group);
        if (quota > 0 && quota < cores) cores = quota;
        char *slash = strrchr(group, '/');
        if (!slash) break;
        *slash = '\0';
    }
    return cores > 0 ? cores : 1;
}
