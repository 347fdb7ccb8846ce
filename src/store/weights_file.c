/* weights_file.c - which file of a folder holds a network's weights. diffusers writes
 *
 *     diffusion_pytorch_model.safetensors                   the plain file, or in shards
 *     diffusion_pytorch_model.safetensors.index.json        an index that names them
 *     diffusion_pytorch_model.fp16.safetensors              a variant: fp16, non_ema, ...
 *     diffusion_pytorch_model.safetensors.index.fp16.json   its index; older versions wrote
 *                                                           ...safetensors.fp16.index.json
 *
 * The plain file is taken, else the variant if there is one alone; of several the user names one.
 * Everything else that a folder may hold weights in (pickles above all) is refused by its name,
 * with what to do. */
#include "store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#define STEM    "diffusion_pytorch_model"
#define ENDING  ".safetensors"
#define PLAIN   STEM ENDING
#define INDEX   PLAIN ".index.json"
#define LISTED  6   /* files that a message names */
#define LONGEST 255 /* of a file's name */

/* Whether `text` begins with `from`, ends in `to`, and has one word without dots between; shards'
 * words are none. */
static bool is_between(const char *text, const char *from, const char *to) {
    const size_t n = strlen(text), a = strlen(from), b = strlen(to);
    if (n <= a + b || strncmp(text, from, a) != 0 || strcmp(text + n - b, to) != 0) return false;
    const char *dot = memchr(text + a, '.', n - a - b), *of = strstr(text, "-of-");
    return !dot && !of;
}

static bool is_variant(const char *name) {
    return is_between(name, STEM ".", ENDING) || is_between(name, PLAIN ".index.", ".json") ||
           is_between(name, PLAIN ".", ".index.json");
}

bool vn_store_is_weights(const char *name) {
    const char *slash = strrchr(name, '/');
    name = slash ? slash + 1 : name;
    return vn_ends_with(name, ENDING) || (strstr(name, ENDING ".") && vn_ends_with(name, ".json"));
}

/* What of a folder's files a message names: weights of whatever kind, shards aside. */
static bool may_hold_weights(const char *name) {
    static const char *const endings[] = {ENDING,     ".bin",  ".pt",   ".pth",       ".ckpt",
                                          ".msgpack", ".gguf", ".onnx", ".index.json"};
    bool is = is_variant(name);
    for (size_t i = 0; i < VN_COUNT(endings) && !is; i++) is = vn_ends_with(name, endings[i]);
    return is && !strstr(name, "-of-");
}

/* The names in a folder that `wanted` holds for, sorted: `count` of them, of which the first LISTED
 * are kept. */
typedef struct name_list {
    size_t count;
    char name[LISTED][LONGEST + 1];
} name_list;

static vn_status list_names(const char *folder, bool (*wanted)(const char *name), name_list *out,
                            vn_err *err) {
    out->count = 0;
    DIR *d = opendir(folder);
    if (!d) return vn_fail_errno(err, "%s", folder);
    for (struct dirent *e; (e = readdir(d));) {
        if (!wanted(e->d_name) || strlen(e->d_name) > LONGEST) continue;
        size_t at = out->count < LISTED ? out->count : LISTED;
        while (at > 0 && strcmp(out->name[at - 1], e->d_name) > 0) {
            if (at < LISTED) memcpy(out->name[at], out->name[at - 1], sizeof out->name[at]);
            at--;
        }
        if (at < LISTED) snprintf(out->name[at], sizeof out->name[at], "%s", e->d_name);
        out->count++;
    }
    closedir(d);
    return VN_OK;
}

vn_status vn_store_find_weights(const char *folder, char **file, bool *variant, vn_err *err) {
    static const char *const plain[] = {PLAIN, INDEX};
    name_list variants;
    *file = NULL;
    *variant = false;
    for (size_t i = 0; i < VN_COUNT(plain); i++) {
        char *path = vn_path_join(folder, plain[i]);
        if (!path) return vn_no_memory(err);
        if (vn_is_file(path)) {
            *file = path;
            return VN_OK;
        }
        vn_free(path);
    }
    const vn_status status = list_names(folder, is_variant, &variants, err);
    if (status || variants.count != 1) return status;
    *variant = true;
    *file = vn_path_join(folder, variants.name[0]);
    return *file ? VN_OK : vn_no_memory(err);
}

/* "a, b, c and 4 more" */
static void write_names(const name_list *list, char *text, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < list->count && i < LISTED && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", list->name[i]);
    if (list->count > LISTED && used < size)
        snprintf(text + used, size - used, " and %zu more", list->count - LISTED);
}

static bool is_pickle(const char *name) {
    return vn_ends_with(name, ".bin") || vn_ends_with(name, ".bin.index.json") ||
           vn_ends_with(name, ".pt") || vn_ends_with(name, ".pth") || vn_ends_with(name, ".ckpt");
}

vn_status vn_store_refuse_weights(const char *folder, const char *class_name, vn_err *err) {
    char text[600] = "";
    name_list list;
    vn_status status = list_names(folder, is_variant, &list, err);
    if (status) return status;
    write_names(&list, text, sizeof text);
    if (list.count > 1)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: has no " PLAIN " but several variants; name one of these files: %s",
                       folder, text);
    status = list_names(folder, may_hold_weights, &list, err);
    if (status) return status;
    if (list.count == 0) return vn_fail(err, VN_BAD_FILE, "%s: has no " PLAIN, folder);
    bool readable = false, pickles = true;
    for (size_t i = 0; i < list.count && i < LISTED; i++) {
        readable = readable || vn_store_is_weights(list.name[i]);
        pickles = pickles && is_pickle(list.name[i]);
    }
    write_names(&list, text, sizeof text);
    if (readable)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: has no " PLAIN "; name the file that holds the weights: %s", folder,
                       text);
    return vn_fail(err, VN_UNSUPPORTED,
                   "%s: has no " PLAIN
                   " but %s%s. To write one, in Python: diffusers.%s.from_pretrained(\"%s\")"
                   ".save_pretrained(\"%s\", safe_serialization=True)",
                   folder, text,
                   pickles ? ", pickled, which can run code as it is read"
                           : ", which vane does not read",
                   class_name, folder, folder);
}
