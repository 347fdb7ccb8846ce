/* loader.h - shared libraries that are loaded when something of them is first needed. What reads
 * archives and what finds eigenvalues bring fifteen libraries with them, which take longer to load
 * than most commands take to run, and few commands need them. */
#ifndef VN_LOADER_H
#define VN_LOADER_H

#include "base/base.h"

/* A library and what is used of it, which a list of its functions makes:
 *
 *     #define FUNCTIONS(ROW) ROW(archive_read_new) ROW(archive_read_free)
 *     static VN_LIBRARY_FUNCTIONS(FUNCTIONS) la;
 *     static const char *const names[] = {FUNCTIONS(VN_LIBRARY_NAME)};
 *     static vn_library library = {
 *         .purpose = "reading a .tar", .file = "libarchive.so.13",
 *         .names = names, .count = VN_COUNT(names), .functions = &la};
 *
 * After vn_library_load(&library, err) la.archive_read_new() is the library's. */
#define VN_LIBRARY_FUNCTIONS(list)                                                                 \
    struct {                                                                                       \
        list(VN_LIBRARY_MEMBER)                                                                    \
    }
#define VN_LIBRARY_MEMBER(function) __typeof__(&function) function;
#define VN_LIBRARY_NAME(function)   #function,

typedef struct vn_library {
    const char *purpose;      /* for messages: "reading a .tar" */
    const char *file;         /* as the dynamic linker finds it */
    const char *const *names; /* [count] */
    size_t count;
    void *functions; /* [count] pointers, in the order of the names */
    bool loaded;
} vn_library;

/* Loads it, unless it is loaded; it stays until the process ends. From any thread. VN_UNSUPPORTED
 * where the system has no such library or it lacks a function: one line says which. */
vn_status vn_library_load(vn_library *library, vn_err *err);

#endif
