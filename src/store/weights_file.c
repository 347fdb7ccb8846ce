/* weights_file.c - which file of a folder holds a network's weights. diffusers writes the
 * following, and transformers the same with "model" for "diffusion_pytorch_model":
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

#define ENDING   ".safetensors"
#define INDEX    ".index.json"
#define LISTED   6   /* files that a message names */
#define MAX_NAME 255 /* of a file's name */

enum { DIFFUSERS, TRANSFORMERS };
static const char *const libraries[] = {"diffusers", "transformers"};
static const char *const stems[] = {"diffusion_pytorch_model", "model"};
static const char *const plain_files[] = {VN_WEIGHTS_FILE, "model" ENDING};

/* Whether `text` begins with `from`, ends in `to`, and has one word without dots between; shards'
 * words are none. */
static bool is_between(const char *text, const char *from, const char *to) {
    const size_t n = strlen(text), a = strlen(from), b = strlen(to);
    if (n <= a + b || strncmp(text, from, a) != 0 || strcmp(text + n - b, to) != 0) return false;
    const char *dot = memchr(text + a, '.', n - a - b), *of = strstr(text, "-of-");
    return !dot && !of;
}

static bool is_variant_of(const char *stem, const char *name) {
    static const char *const between[][2] = {
        {".", ENDING}, {ENDING ".index.", ".json"}, {ENDING ".", INDEX}};
    bool is = false;
    for (size_t k = 0; k < VN_COUNT(between) && !is; k++) {
        char from[64];
        snprintf(from, sizeof from, "%s%s", stem, between[k][0]);
        is = is_between(name, from, between[k][1]);
    }
    return is;
}

static bool is_diffusers_variant(const char *name) {
    return is_variant_of(stems[DIFFUSERS], name);
}

static bool is_transformers_variant(const char *name) {
    return is_variant_of(stems[TRANSFORMERS], name);
}

static bool (*const is_variant[])(const char *name) = {
    [DIFFUSERS] = is_diffusers_variant, [TRANSFORMERS] = is_transformers_variant};

/* Whose config it is: transformers does not say _class_name. */
static int library_of(const json_t *config) {
    return json_object_get(config, "architectures") && !json_object_get(config, "_class_name")
               ? TRANSFORMERS
               : DIFFUSERS;
}

char *vn_store_weights_path(const char *dir, const char *folder, const json_t *config) {
    return vn_format("%s%s%s/%s", dir, folder[0] ? "/" : "", folder,
                     plain_files[library_of(config)]);
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
    bool is = is_diffusers_variant(name) || is_transformers_variant(name);
    for (size_t i = 0; i < VN_COUNT(endings) && !is; i++) is = vn_ends_with(name, endings[i]);
    return is && !strstr(name, "-of-");
}

/* The names in a folder that `wanted` holds for, sorted: `count` of them, of which the first LISTED
 * are kept. */
typedef struct name_list {
    size_t count;
    char name[LISTED][MAX_NAME + 1];
} name_list;

static vn_status list_names(const char *folder, bool (*wanted)(const char *name), name_list *out,
                            vn_err *err) {
    out->count = 0;
    DIR *d = opendir(folder);
    if (!d) return vn_fail_errno(err, "%s", folder);
    for (struct dirent *e; (e = readdir(d));) {
        if (!wanted(e->d_name) || strlen(e->d_name) > MAX_NAME) continue;
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

vn_status vn_store_find_weights(const char *folder, const json_t *config, char **file,
                                bool *variant, vn_err *err) {
    const int library = library_of(config);
    static const char *const endings[] = {"", INDEX};
    name_list variants;
    *file = NULL;
    *variant = false;
    for (size_t i = 0; i < VN_COUNT(endings); i++) {
        char *path = vn_format("%s/%s%s", folder, plain_files[library], endings[i]);
        if (!path) return vn_no_memory(err);
        if (vn_is_file(path)) {
            *file = path;
            return VN_OK;
        }
        vn_free(path);
    }
    const vn_status status = list_names(folder, is_variant[library], &variants, err);
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

vn_status vn_store_refuse_weights(const char *folder, const json_t *config, vn_err *err) {
    const int library = library_of(config);
    const json_t *name = library == DIFFUSERS
                             ? json_object_get(config, "_class_name")
                             : json_array_get(json_object_get(config, "architectures"), 0);
    const char *class_name = json_is_string(name) ? json_string_value(name) : "ModelMixin",
               *plain = plain_files[library];
    char text[600] = "";
    name_list list;
    vn_status status = list_names(folder, is_variant[library], &list, err);
    if (status) return status;
    write_names(&list, text, sizeof text);
    if (list.count > 1)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: has no %s but several variants; name one of these files: %s", folder,
                       plain, text);
    status = list_names(folder, may_hold_weights, &list, err);
    if (status) return status;
    if (list.count == 0) return vn_fail(err, VN_BAD_FILE, "%s: has no %s", folder, plain);
    bool readable = false, pickles = true;
    for (size_t i = 0; i < list.count && i < LISTED; i++) {
        readable = readable || vn_store_is_weights(list.name[i]);
        pickles = pickles && is_pickle(list.name[i]);
    }
    write_names(&list, text, sizeof text);
    if (readable)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s: has no %s; name the file that holds the weights: %s", folder, plain,
                       text);
    return vn_fail(err, VN_UNSUPPORTED,
                   "%s: has no %s but %s%s. To write one, in Python: %s.%s.from_pretrained(\"%s\")"
                   ".save_pretrained(\"%s\", safe_serialization=True)",
                   folder, plain, text,
                   pickles ? ", pickled, which can run code as it is read"
                           : ", which vane does not read",
                   libraries[library], class_name, folder, folder);
}
