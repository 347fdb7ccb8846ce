/* loader.c - loads a library, once, by dlopen. */
#include "loader/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

static vn_status refuse(const vn_library *l, vn_err *err) {
    const char *why = dlerror();
    if (errno == ENOMEM) return vn_no_memory(err);
    return vn_fail(err, VN_UNSUPPORTED, "%s takes %s, which cannot be loaded: %s", l->purpose,
                   l->file, why ? why : "no reason is given");
}

/* It is never closed: threads may be in its functions, and libraries of Fortran or C++ do not
 * always leave what they began with. */
static vn_status load(vn_library *l, vn_err *err) {
    errno = 0;
    void *handle = dlopen(l->file, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return refuse(l, err);
    for (size_t i = 0; i < l->count; i++) {
        void *found = dlsym(handle, l->names[i]);
        if (!found) {
            const vn_status status = refuse(l, err);
            dlclose(handle);
            return status;
        }
        /* POSIX has functions in such pointers; ISO C has no cast from one to the other */
        memcpy((char *)l->functions + i * sizeof found, &found, sizeof found);
    }
    l->loaded = true;
    return VN_OK;
}

vn_status vn_library_load(vn_library *l, vn_err *err) {
    pthread_mutex_lock(&loading);
    const vn_status status = l->loaded ? VN_OK : load(l, err);
    pthread_mutex_unlock(&loading);
    return status;
}
