/* module.c - finds the module for the MPI that the launcher belongs to. */
#include "loader/loader.h"
#include "ranks/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct module_functions {
    vn_transport_fn *module;
} module_functions;

static const char *const names[] = {"vn_transport_module"};

/* Where modules are, as the dynamic linker takes $ORIGIN: the folder of what calls it, which is the
 * program or the library. In the build folder they lie beside both. VN_MODULES: from where programs
 * are installed to where modules are. */
static const char *const folders[] = {"$ORIGIN", "$ORIGIN/vane", ("$ORIGIN/" VN_MODULES)};

static vn_status load_file(const char *file, const vn_transport **out, vn_err *err) {
    module_functions f = {0};
    vn_library library = {.purpose = "training one model together",
                          .file = file,
                          .names = names,
                          .count = VN_COUNT(names),
                          .functions = &f};
    const vn_status status = vn_library_load(&library, err);
    if (status) return status;
    *out = f.module();
    if ((*out)->version == VN_TRANSPORT_VERSION) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED, "%s is a module of another version of vane", file);
}

/* In any of the folders. What stands in the way of a module that is there says more than that it is
 * not elsewhere. */
static vn_status load_name(const char *name, const vn_transport **out, vn_err *err) {
    char missing[64];
    snprintf(missing, sizeof missing, "%s: cannot open", name);
    vn_fail(err, VN_UNSUPPORTED,
            "%s, by which they would train one together, is not installed: vane was built without "
            "this MPI",
            name);
    for (size_t i = 0; i < VN_COUNT(folders); i++) {
        vn_err why = {0};
        char *file = vn_format("%s/%s", folders[i], name);
        const vn_status status = file ? load_file(file, out, &why) : vn_no_memory(&why);
        vn_free(file);
        if (!status) *err = (vn_err){0};
        if (!status) return VN_OK;
        if (!strstr(why.text, missing)) {
            *err = why;
            break;
        }
    }
    return err->status;
}

/* VANE_MPI names another module, such as one for an MPI that vane was not built with. */
static vn_status load(const vn_launch *l, const vn_transport **out, vn_err *err) {
    static const char *const modules[] = {"vane-openmpi.so", "vane-mpich.so"};
    const char *named = getenv("VANE_MPI");
    vn_err second = {0};
    if (named && *named) return load_file(named, out, err);
    vn_status status = load_name(modules[l->mpich], out, err);
    /* srun does not say which of them it starts */
    if (status == VN_UNSUPPORTED && !strcmp(l->by, "srun"))
        status = load_name(modules[!l->mpich], out, &second);
    return status;
}

/* An MPI that the launcher is not of takes each process for the only one. */
static vn_status check_count(const vn_launch *l, const vn_transport *t, const vn_ranks *r,
                             vn_err *err) {
    if (r->count == l->count) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED,
                   "%s started %d processes and %s finds %d: the launcher belongs to another MPI, "
                   "or gives no way to find the others (srun: --mpi=pmix or --mpi=pmi2)",
                   l->by, l->count, t->name, r->count);
}

vn_status vn_ranks_open(const vn_ranks_options *o, vn_ranks **out, vn_err *err) {
    const vn_launch l = vn_launched();
    const vn_transport *t = NULL;
    *out = NULL;
    if (l.count == 1) return VN_OK;
    vn_status status = load(&l, &t, err);
    if (!status) {
        status = vn_ranks_open_over(t, o, out, err);
        if (status) return status;
        (*out)->local = l.local;
        status = check_count(&l, t, *out, err);
    }
    if (!status) return VN_OK;
    vn_ranks_close(out);
    if (status == VN_NO_MEMORY) return status;
    return vn_fail_in(err, "%d processes would each train a run of their own, or draw all samples",
                      l.count);
}
