/* scratch.h - files for tests: a folder of the program's own to work in, and whole files read and
 * written in one call. */
#ifndef VN_TEST_SCRATCH_H
#define VN_TEST_SCRATCH_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch_path[256];

/* Any failure here ends the test program. */
static inline void scratch_require(bool ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(99);
}

/* cmocka fixtures: make and enter a new folder; leave and remove it. In memory where that can be:
 * the tests of files wait for the disk a thousand times. */
static inline int scratch_enter(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    if (!tmp) tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(scratch_path, sizeof scratch_path, "%s/vane-test-XXXXXX", tmp);
    scratch_require(mkdtemp(scratch_path) && chdir(scratch_path) == 0, scratch_path);
    return 0;
}

static inline void scratch_remove(const char *path) {
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inside[1024];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        int n = snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        scratch_require(n > 0 && (size_t)n < sizeof inside, path);
        struct stat info;
        if (lstat(inside, &info) == 0 && S_ISDIR(info.st_mode))
            scratch_remove(inside);
        else
            unlink(inside);
    }
    if (d) closedir(d);
    rmdir(path);
}

static inline int scratch_leave(void **state) {
    (void)state;
    scratch_require(chdir("/") == 0, "/");
    scratch_remove(scratch_path);
    return 0;
}

static inline void scratch_write(const char *path, const void *bytes, size_t size) {
    /* a file cut to nothing and written again is flushed to the disk by some file systems */
    unlink(path);
    FILE *f = fopen(path, "wb");
    scratch_require(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, path);
}

static inline void scratch_write_text(const char *path, const char *text) {
    scratch_write(path, text, strlen(text));
}

/* The whole file, with a 0 after it; freed by the caller. */
static inline char *scratch_read(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    scratch_require(f && fseek(f, 0, SEEK_END) == 0, path);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size + 1);
    scratch_require(bytes && fread(bytes, 1, *size, f) == *size, path);
    bytes[*size] = 0;
    fclose(f);
    return bytes;
}

static inline void expect_same_file(const char *a, const char *b) {
    size_t a_size, b_size;
    char *a_bytes = scratch_read(a, &a_size), *b_bytes = scratch_read(b, &b_size);
    bool same = a_size == b_size && memcmp(a_bytes, b_bytes, a_size) == 0;
    free(a_bytes);
    free(b_bytes);
    if (!same) fail_msg("%s and %s differ", a, b);
}

/* Names in a folder, "." and ".." not counted. */
static inline int scratch_count(const char *path) {
    int count = -2;
    DIR *d = opendir(path);
    scratch_require(d, path);
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

#endif
