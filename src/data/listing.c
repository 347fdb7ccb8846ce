/* listing.c - see listing.h. */
#include "data/listing.h"
#include "image/image.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 32 };

/* ---- entries --------------------------------------------------------------------------------- */

vn_status vn_entries_append(vn_entries *list, vn_entry e, vn_err *err) {
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        vn_entry *grown = vn_realloc(list->at, capacity, sizeof *grown);
        if (!grown) return vn_no_memory(err);
        list->at = grown;
        list->capacity = capacity;
    }
    list->at[list->count++] = e;
    return VN_OK;
}

int vn_entries_compare(const void *a, const void *b) {
    return strcmp(((const vn_entry *)a)->path, ((const vn_entry *)b)->path);
}

void vn_entries_sort(vn_entries *list) {
    if (list->count > 0) qsort(list->at, list->count, sizeof *list->at, vn_entries_compare);
}

bool vn_tidy_path(char *out, const char *path) {
    bool inside = path[0] != '/' && path[0] != '\\' && path[0] != '\0';
    size_t used = 0;
    for (const char *at = path; *at != '\0';) {
        const size_t length = strcspn(at, "/\\");
        const bool here = length == 0 || (length == 1 && at[0] == '.');
        if (length == 2 && strncmp(at, "..", 2) == 0) inside = false;
        if (!here && used > 0) out[used++] = '/';
        if (!here) memcpy(out + used, at, length);
        if (!here) used += length;
        at += length + (at[length] != '\0');
    }
    out[used] = '\0';
    return inside && used > 0;
}

/* ---- kinds of files -------------------------------------------------------------------------- */

/* What systems and programs leave in folders without being asked. Names with a dot in front are
 * hidden anyway. */
static const char *const litter[] = {"__MACOSX",     "Thumbs.db",       "ehthumbs.db",
                                     "desktop.ini",  "@eaDir",          "#recycle",
                                     "$RECYCLE.BIN", "lost+found",      "System Volume Information",
                                     "Icon\r",       "ZbThumbnail.info"};

static bool is_litter(const char *name) {
    for (size_t i = 0; i < VN_COUNT(litter); i++)
        if (vn_same_but_for_case(name, litter[i])) return true;
    return name[0] == '.';
}

/* Files that hold labels or captions of the pictures beside them, as Hugging Face's imagefolder and
 * others have them. */
static const char *const sidecars[] = {"metadata.csv",     "metadata.parquet",
                                       "labels.csv",       "train.csv",
                                       "annotations.json", "_annotations.coco.json"};

static bool is_sidecar(const char *name) {
    for (size_t i = 0; i < VN_COUNT(sidecars); i++)
        if (vn_same_but_for_case(name, sidecars[i])) return true;
    return false;
}

static const struct {
    const char *name;
    const char *endings; /* each between blanks */
} kinds[VN_LISTING_KINDS] = {
    {"GIF", " .gif "},
    {"BMP", " .bmp .dib "},
    {"TIFF", " .tif .tiff "},
    {"HEIC", " .heic .heif "},
    {"AVIF", " .avif "},
    {"JPEG XL", " .jxl "},
    {"JPEG 2000", " .jp2 .j2k .jpx "},
    {"PNM", " .pnm .pbm .pgm .ppm .pam "},
    {"TGA", " .tga "},
    {"SVG", " .svg .svgz "},
    {"PDF", " .pdf .ps .eps "},
    {"PSD", " .psd .xcf "},
    {"raw photograph", " .dng .cr2 .cr3 .nef .arw .raf .orf .rw2 .srw .pef "},
    {"video", " .mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .3gp "},
    {"sound", " .mp3 .wav .flac .ogg .m4a .aac "},
    {"archive", " .zip .tar .gz .tgz .bz2 .xz .7z .rar .zst "},
    {"text", " .txt .md .csv .tsv .json .jsonl .xml .yaml .yml .html .caption .log .ini .toml "},
    {"array", " .npy .npz .mat .pkl .pickle .pt .h5 .hdf5 .safetensors .parquet .tfrecord "},
    {"picture(s) with another ending", " "}, /* told by their first bytes */
    {"other", ""},
};

const char *vn_listing_kind(size_t kind) {
    return kind < VN_LISTING_KINDS ? kinds[kind].name : NULL;
}

/* The last row, "other", is the kind of what no row names. */
static size_t kind_named(const char *name) {
    size_t k = 0;
    while (kinds[k].endings[0] != '\0' && strcmp(kinds[k].name, name) != 0) k++;
    return k;
}

/* What the first bytes of a file say, where its name says nothing. */
static size_t kind_inside(const char *path) {
    unsigned char head[32];
    int fd;
    if (vn_file_open(path, &fd, NULL) != VN_OK) return kind_named("other");
    const ssize_t size = read(fd, head, sizeof head);
    close(fd);
    const vn_image_kind *kind = size > 0 ? vn_image_kind_of(head, (size_t)size) : NULL;
    if (!kind) return kind_named("other");
    return kind_named(kind->reads ? "picture(s) with another ending" : kind->name);
}

/* By the ending; what no row names is "other". */
static size_t kind_by_name(const char *name) {
    char ending[16];
    const char *dot = strrchr(name, '.');
    const int n = dot ? snprintf(ending, sizeof ending, " %s ", dot) : 0;
    size_t k = 0;
    for (int i = 0; n > 0 && i < n && i < (int)sizeof ending; i++)
        if (ending[i] >= 'A' && ending[i] <= 'Z') ending[i] = (char)(ending[i] - 'A' + 'a');
    for (; kinds[k].endings[0] != '\0'; k++)
        if (n > 0 && n < (int)sizeof ending && strstr(kinds[k].endings, ending)) break;
    return k;
}

static size_t kind_of(const char *name, const char *path) {
    const size_t k = kind_by_name(name);
    return kinds[k].endings[0] != '\0' ? k : kind_inside(path);
}

void vn_listing_pass(vn_listing *l, const char *name) {
    l->passed[kind_by_name(name)]++;
}

void vn_listing_pass_texts(vn_listing *l, const vn_entries *texts) {
    for (size_t i = 0; i < texts->count; i++)
        if (texts->at[i].state != VN_FILE_USED) l->passed[kind_named("text")]++;
}

char *vn_listing_passed(const vn_listing *l) {
    char text[1024];
    size_t used = 0;
    text[0] = '\0';
    for (size_t k = 0; k < VN_LISTING_KINDS; k++)
        if (l->passed[k] > 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld %s",
                                     used > 0 ? ", " : "", (long long)l->passed[k], kinds[k].name);
    if (l->passed_folders > 0)
        snprintf(text + used, sizeof text - used, "%s%lld folder%s too deep or met before",
                 used > 0 ? ", " : "", (long long)l->passed_folders,
                 l->passed_folders == 1 ? "" : "s");
    return vn_strdup(text);
}

/* ---- one folder ------------------------------------------------------------------------------ */

/* The list of labels in the root is read (dataset_json.h). */
static void count_other(vn_listing *l, const char *path, const char *name, const char *full) {
    if (strcmp(path, "dataset.json") == 0) return;
    if (is_sidecar(name))
        l->sidecar = l->sidecar ? l->sidecar : path;
    else
        l->passed[kind_of(name, full)]++;
}

bool vn_listing_is_text(const char *name) {
    const size_t n = strlen(name);
    return n > 4 && vn_same_but_for_case(name + n - 4, ".txt");
}

bool vn_listing_is_json(const char *name) {
    const size_t n = strlen(name);
    return n > 5 && vn_same_but_for_case(name + n - 5, ".json") && !is_sidecar(name);
}

/* Adds one name of the folder `below` to what it is. A picture's name that leads to no file stays:
 * reading it will tell why. */
static vn_status add_name(vn_listing *l, const char *below, const char *name, vn_entries *folders,
                          vn_entries *files, vn_err *err) {
    struct stat info;
    const size_t length = strlen(below) + 1 + strlen(name) + 1;
    char *path = vn_arena_alloc(&l->arena, length);
    if (!path) return vn_no_memory(err);
    snprintf(path, length, "%s%s%s", below, below[0] != '\0' ? "/" : "", name);
    char *full = vn_path_join(l->root, path);
    if (!full) return vn_no_memory(err);
    const bool there = stat(full, &info) == 0;
    vn_status status = VN_OK;
    if (there && S_ISDIR(info.st_mode))
        status = vn_entries_append(folders, (vn_entry){.path = path}, err);
    else if (vn_listing_is_text(name))
        status = vn_entries_append(&l->texts, (vn_entry){.path = path}, err);
    else if (vn_listing_is_json(name) && strcmp(path, "dataset.json") != 0)
        status = vn_entries_append(&l->jsons, (vn_entry){.path = path}, err);
    else if (strcmp(name, "metadata.jsonl") == 0)
        status = vn_entries_append(&l->lists, (vn_entry){.path = path}, err);
    else if (vn_image_named(name))
        status = vn_entries_append(
            files, (vn_entry){.path = path, .bytes = there ? (int64_t)info.st_size : 0}, err);
    else
        count_other(l, path, name, full);
    vn_free(full);
    return status;
}

static vn_status read_names(vn_listing *l, DIR *dir, const char *below, vn_entries *folders,
                            vn_entries *files, vn_err *err) {
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d) return errno == 0 ? VN_OK : vn_fail_errno(err, "%s/%s", l->root, below);
        if (is_litter(d->d_name)) continue;
        const vn_status status = add_name(l, below, d->d_name, folders, files, err);
        if (status) return status;
    }
}

/* Folders sorted, files as they come. */
static vn_status read_folder(vn_listing *l, const char *below, vn_entries *folders,
                             vn_entries *files, vn_err *err) {
    char *full = below[0] != '\0' ? vn_path_join(l->root, below) : vn_strdup(l->root);
    if (!full) return vn_no_memory(err);
    DIR *dir = opendir(full);
    const vn_status status =
        dir ? read_names(l, dir, below, folders, files, err) : vn_fail_errno(err, "%s", full);
    if (dir) closedir(dir);
    vn_free(full);
    vn_entries_sort(folders);
    return status;
}

vn_status vn_listing_read(vn_listing *l, const char *below, vn_entries *folders, vn_entries *files,
                          vn_err *err) {
    const vn_status status = read_folder(l, below, folders, files, err);
    vn_entries_sort(files);
    return status;
}

/* ---- a tree ---------------------------------------------------------------------------------- */

/* A folder by what it is rather than by its name. */
typedef struct folder_id {
    dev_t device;
    ino_t node;
} folder_id;

typedef struct folder_ids {
    folder_id *at; /* ascending */
    size_t count, capacity;
} folder_ids;

static int compare_places(const folder_id *a, const folder_id *b) {
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    return a->node < b->node ? -1 : a->node > b->node;
}

/* *met: whether the place was there already; if not, it is now. */
static vn_status meet_place(folder_id here, folder_ids *seen, bool *met, vn_err *err) {
    size_t low = 0, high = seen->count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (compare_places(&seen->at[middle], &here) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *met = low < seen->count && compare_places(&seen->at[low], &here) == 0;
    if (*met) return VN_OK;
    if (seen->count == seen->capacity) {
        const size_t capacity = seen->capacity > 0 ? 2 * seen->capacity : 16;
        folder_id *grown = vn_realloc(seen->at, capacity, sizeof *grown);
        if (!grown) return vn_no_memory(err);
        seen->at = grown;
        seen->capacity = capacity;
    }
    memmove(&seen->at[low + 1], &seen->at[low], (seen->count - low) * sizeof *seen->at);
    seen->at[low] = here;
    seen->count++;
    return VN_OK;
}

static vn_status meet(const vn_listing *l, const char *below, folder_ids *seen, bool *met,
                      vn_err *err) {
    struct stat info;
    char *full = vn_path_join(l->root, below);
    if (!full) return vn_no_memory(err);
    const vn_status status = stat(full, &info) == 0 ? VN_OK : vn_fail_errno(err, "%s", full);
    vn_free(full);
    return !status ? meet_place((folder_id){info.st_dev, info.st_ino}, seen, met, err) : status;
}

/* The folders that the root lies in count as met, and with `itself` the root does: links to them
 * would lead in a circle. */
static vn_status meet_ancestors(const vn_listing *l, bool itself, folder_ids *seen, vn_err *err) {
    struct stat info;
    bool met = false;
    vn_status status = VN_OK;
    char *at = vn_strdup(l->root);
    for (int i = 0; !status && at && !met && stat(at, &info) == 0; i++) {
        if (i > 0 || itself)
            status = meet_place((folder_id){info.st_dev, info.st_ino}, seen, &met, err);
        char *up = vn_path_join(at, "..");
        vn_free(at);
        at = up;
    }
    if (!at) status = vn_no_memory(err);
    vn_free(at);
    return status;
}

static vn_status walk(vn_listing *l, const char *below, int depth, folder_ids *seen,
                      vn_entries *files, vn_err *err) {
    vn_entries folders = {0};
    bool met = false;
    vn_status status = meet(l, below, seen, &met, err);
    if (!status && (met || depth > MAX_DEPTH))
        l->passed_folders++;
    else if (!status)
        status = read_folder(l, below, &folders, files, err);
    for (size_t i = 0; !status && i < folders.count; i++)
        status = walk(l, folders.at[i].path, depth + 1, seen, files, err);
    vn_free(folders.at);
    return status;
}

vn_status vn_listing_walk(vn_listing *l, const char *below, vn_entries *files, vn_err *err) {
    vn_entries found = {0};
    folder_ids seen = {0};
    vn_status status = meet_ancestors(l, below[0] != '\0', &seen, err);
    if (!status) status = walk(l, below, 0, &seen, &found, err);
    vn_entries_sort(&found);
    for (size_t i = 0; !status && i < found.count; i++)
        status = vn_entries_append(files, found.at[i], err);
    vn_free(found.at);
    vn_free(seen.at);
    return status;
}
