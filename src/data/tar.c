/* tar.c - pictures and their captions in a .tar, or in a folder of them, as WebDataset has them:
 * key.png and key.txt or key.json, in any order. Opening lists the entries and where their bytes
 * lie; these are read from the archive when they are needed, so that nothing is unpacked and
 * nothing is kept. libarchive reads the headers, with the formats and their extensions for long
 * names.
 *
 * An archive is untrusted. Names are never used as paths; those that would lead out of a folder,
 * and entries that are no plain files, are refused like pictures that cannot be read. Bytes that
 * an entry claims must lie within the file. */
#include "data/folder.h"
#include "loader/loader.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 1 << 16, REPORT_EVERY = 1024 };

/* ---- libarchive, which is loaded when an archive is first opened ----------------------------- */

/* clang-format off */
#define FUNCTIONS(ROW) \
    ROW(archive_entry_filetype) \
    ROW(archive_entry_hardlink) \
    ROW(archive_entry_pathname) \
    ROW(archive_entry_pathname_utf8) \
    ROW(archive_entry_size) \
    ROW(archive_entry_size_is_set) \
    ROW(archive_entry_sparse_count) \
    ROW(archive_errno) \
    ROW(archive_error_string) \
    ROW(archive_filter_bytes) \
    ROW(archive_read_free) \
    ROW(archive_read_new) \
    ROW(archive_read_next_header) \
    ROW(archive_read_open2) \
    ROW(archive_read_support_format_empty) \
    ROW(archive_read_support_format_tar) \
    ROW(archive_set_error)
/* clang-format on */
static VN_LIBRARY_FUNCTIONS(FUNCTIONS) la;
static const char *const names[] = {FUNCTIONS(VN_LIBRARY_NAME)};
static vn_library library = {.purpose = "reading a .tar",
                             .file = VN_LIBARCHIVE,
                             .names = names,
                             .count = VN_COUNT(names),
                             .functions = &la};

const char *vn_data_archive_version(void) {
    return ARCHIVE_VERSION_ONLY_STRING;
}

/* ---- libarchive reads a file ----------------------------------------------------------------- */

typedef struct tar {
    int fd;
    int64_t size;
    char *block; /* [BLOCK] */
} tar;

static la_ssize_t read_block(struct archive *a, void *context, const void **block) {
    const tar *t = context;
    ssize_t n;
    do n = read(t->fd, t->block, BLOCK);
    while (n < 0 && errno == EINTR);
    if (n < 0) la.archive_set_error(a, errno, "cannot be read");
    *block = t->block;
    return n;
}

/* Passes over the bytes of an entry without reading them, as far as the file goes. */
static la_int64_t skip_bytes(struct archive *a, void *context, la_int64_t bytes) {
    const tar *t = context;
    const int64_t at = (int64_t)lseek(t->fd, 0, SEEK_CUR), left = t->size - at;
    (void)a;
    if (at < 0 || left <= 0) return 0;
    const int64_t step = bytes < left ? bytes : left;
    return lseek(t->fd, (off_t)step, SEEK_CUR) < 0 ? 0 : step;
}

/* What a packed archive is packed by; NULL: nothing that is known. */
static const char *packer_of(const unsigned char *first) {
    return memcmp(first, "\x1F\x8B", 2) == 0           ? "gzip"
           : memcmp(first, "\x28\xB5\x2F\xFD", 4) == 0 ? "zstd"
           : memcmp(first, "BZh", 3) == 0              ? "bzip2"
           : memcmp(first,
                    "\xFD"
                    "7zXZ",
                    5) == 0
               ? "xz"
               : NULL;
}

static vn_status check_packing(const tar *t, vn_err *err) {
    unsigned char first[8] = {0};
    const ssize_t n = pread(t->fd, first, sizeof first, 0);
    const char *packer = n > 0 ? packer_of(first) : NULL;
    if (!packer) return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "packed by %s, and pictures are read at their places: unpack "
                   "the .tar that is in it",
                   packer);
}

/* ---- one entry ------------------------------------------------------------------------------- */

typedef struct scan {
    vn_folder *f;
    const char *prefix; /* of paths: "00000.tar/" in a folder of archives, else "" */
    int32_t number;     /* of the archive */
    const vn_watch *watch;
    int64_t met;
    double start;
} scan;

static const char *type_of(const struct archive_entry *e) {
    const mode_t type = la.archive_entry_filetype((struct archive_entry *)e);
    return la.archive_entry_hardlink((struct archive_entry *)e) ? "a hard link"
           : type == AE_IFLNK                                   ? "a link"
           : type == AE_IFREG                                   ? NULL
                                                                : "no regular file";
}

/* Why an entry is not read; NULL: it may be. `at`: where its bytes begin. */
static char *why_not(const tar *t, struct archive_entry *e, const char *name, int64_t at) {
    char tidy[4096];
    const char *type = type_of(e);
    const int64_t size = la.archive_entry_size_is_set(e) ? (int64_t)la.archive_entry_size(e) : -1;
    if (type) return vn_format("is %s", type);
    if (strlen(name) >= sizeof tidy || !vn_tidy_path(tidy, name))
        return vn_strdup("its name leads out of the archive");
    if (la.archive_entry_sparse_count(e) > 0) return vn_strdup("is a sparse file");
    if (size < 0 || at < 0 || at > t->size || size > t->size - at)
        return vn_format("is cut short: %lld bytes, of which the archive has %lld", (long long)size,
                         (long long)(at < t->size ? t->size - at : 0));
    return NULL;
}

/* Lists that entry e cannot be read. */
static vn_status blame(const scan *s, vn_entry *e, char *why, vn_err *err) {
    char *text = vn_format("%s/%s: %s", s->f->root, e->path, why);
    char *kept = text ? vn_arena_alloc(&s->f->listing.arena, strlen(text) + 1) : NULL;
    if (kept) e->why = strcpy(kept, text);
    if (kept) vn_log(s->watch, VN_LOG_WARNING, "%s", text);
    vn_free(text);
    return kept ? VN_OK : vn_no_memory(err);
}

static vn_status take_file(const scan *s, const tar *t, struct archive_entry *entry,
                           const char *name, int64_t at, vn_err *err) {
    vn_listing *l = &s->f->listing;
    vn_entries *list = vn_image_named(name)       ? &s->f->files
                       : vn_listing_is_text(name) ? &l->texts
                       : vn_listing_is_json(name) ? &l->jsons
                                                  : NULL;
    if (!list) {
        vn_listing_pass(l, name);
        return VN_OK;
    }
    const size_t prefix = strlen(s->prefix), length = prefix + strlen(name) + 1;
    char *path = vn_arena_alloc(&l->arena, length);
    if (!path) return vn_no_memory(err);
    memcpy(path, s->prefix, prefix);
    /* of the name without "./", which archivers put before it */
    char *why = why_not(t, entry, name, at);
    if (why || !vn_tidy_path(path + prefix, name)) memcpy(path + prefix, name, length - prefix);
    vn_entry e = {
        .path = path, .bytes = (int64_t)la.archive_entry_size(entry), .at = at, .tar = s->number};
    vn_status status = why ? blame(s, &e, why, err) : VN_OK;
    vn_free(why);
    return !status ? vn_entries_append(list, e, err) : status;
}

/* Names in the archive's own letters, or in UTF-8 where it says that they are. */
static const char *name_of(struct archive_entry *e) {
    const char *name = la.archive_entry_pathname(e);
    return name ? name : la.archive_entry_pathname_utf8(e);
}

static vn_status take_entry(scan *s, const tar *t, struct archive *a, struct archive_entry *entry,
                            vn_err *err) {
    const char *name = name_of(entry);
    if (!name) return vn_fail(err, VN_BAD_FILE, "entry %lld has no name", (long long)s->met + 1);
    if (la.archive_entry_filetype(entry) == AE_IFDIR) return VN_OK;
    vn_status status = take_file(s, t, entry, name, (int64_t)la.archive_filter_bytes(a, 0), err);
    if (!status && ++s->met % REPORT_EVERY == 0) {
        const vn_progress progress = {.what = "listing",
                                      .unit = "files",
                                      .done = s->met,
                                      .rate = (double)s->met / (vn_now() - s->start + 1e-9)};
        if (vn_report(s->watch, &progress))
            status = vn_fail(err, VN_CANCELLED, "reading was cancelled");
    }
    return status;
}

/* ---- an archive ------------------------------------------------------------------------------ */

static vn_status fail_archive(struct archive *a, vn_err *err) {
    const char *words = la.archive_error_string(a);
    if (la.archive_errno(a) == ENOMEM) return vn_no_memory(err);
    return vn_fail(err, VN_BAD_FILE, "%s", words ? words : "cannot be read");
}

/* What comes before the place where an archive breaks off is used, and that it does is kept. */
static vn_status keep_before(const scan *s, const char *why, vn_err *err) {
    const char *name = s->f->tars.at[s->number].path;
    char *text = vn_format("%s%s%s: %s", s->f->root, name[0] != '\0' ? "/" : "", name, why);
    char *kept = text ? vn_arena_alloc(&s->f->listing.arena, strlen(text) + 1) : NULL;
    if (kept) s->f->broken = strcpy(kept, text);
    if (kept) vn_log(s->watch, VN_LOG_WARNING, "%s; what comes before is used", text);
    vn_free(text);
    return kept ? VN_OK : vn_no_memory(err);
}

/* An archive that breaks off, or goes on in another format, fails; where bad pictures are skipped
 * what came before is used. */
static vn_status list_entries(scan *s, const tar *t, struct archive *a, bool skip_bad,
                              vn_err *err) {
    for (;;) {
        struct archive_entry *entry;
        vn_err why = {0};
        const int code = la.archive_read_next_header(a, &entry);
        if (code == ARCHIVE_EOF) return VN_OK;
        if (code == ARCHIVE_RETRY) continue; /* the next one may be whole */
        vn_status status =
            code == ARCHIVE_FATAL ? fail_archive(a, &why) : take_entry(s, t, a, entry, &why);
        if (code == ARCHIVE_FATAL && skip_bad && s->met > 0 && vn_is_files_fault(status))
            return keep_before(s, why.text, err);
        if (status) *err = why;
        if (status) return status;
    }
}

static vn_status list_open(scan *s, tar *t, bool skip_bad, vn_err *err) {
    struct archive *a = la.archive_read_new();
    t->block = vn_alloc(BLOCK, 1);
    vn_status status = a && t->block ? check_packing(t, err) : vn_no_memory(err);
    if (!status && (la.archive_read_support_format_tar(a) != ARCHIVE_OK ||
                    la.archive_read_support_format_empty(a) != ARCHIVE_OK ||
                    la.archive_read_open2(a, t, NULL, read_block, skip_bytes, NULL) != ARCHIVE_OK))
        status = fail_archive(a, err);
    if (!status) status = list_entries(s, t, a, skip_bad, err);
    if (a) la.archive_read_free(a);
    vn_free(t->block);
    return status;
}

static vn_status list_tar(scan *s, const char *path, bool skip_bad, vn_err *err) {
    tar t = {.fd = -1};
    struct stat info;
    vn_status status = vn_file_open(path, &t.fd, err);
    if (status) return status;
    if (fstat(t.fd, &info) != 0) status = vn_fail_errno(err, "%s", path);
    t.size = !status ? (int64_t)info.st_size : 0;
    if (!status) {
        status = list_open(s, &t, skip_bad, err);
        if (status) vn_fail_in(err, "%s", path);
    }
    close(t.fd);
    return status;
}

/* ---- the pictures ---------------------------------------------------------------------------- */

static vn_status list_tars(vn_folder *f, const vn_data_options *options, vn_err *err) {
    scan s = {.f = f, .watch = options->watch, .start = vn_now(), .prefix = ""};
    vn_status status = VN_OK;
    for (size_t k = 0; !status && k < f->tars.count; k++) {
        const char *name = f->tars.at[k].path;
        char *path = name[0] != '\0' ? vn_path_join(f->root, name) : vn_strdup(f->root),
             *prefix = vn_format("%s%s", name, name[0] != '\0' ? "/" : "");
        s.number = (int32_t)k;
        s.prefix = prefix;
        status = path && prefix ? list_tar(&s, path, options->skip_bad, err) : vn_no_memory(err);
        vn_free(path);
        vn_free(prefix);
    }
    return status;
}

/* A name that an archive has twice: which one is meant cannot be known. */
static vn_status check_twice(const vn_folder *f, vn_err *err) {
    for (size_t i = 1; i < f->files.count; i++)
        if (strcmp(f->files.at[i - 1].path, f->files.at[i].path) == 0)
            return vn_fail(err, VN_BAD_FILE, "%s: has %s twice", f->root, f->files.at[i].path);
    return VN_OK;
}

static vn_status find(vn_folder *f, const vn_data_options *options, vn_err *err) {
    static const vn_entries none = {0};
    vn_status status = list_tars(f, options, err);
    vn_entries_sort(&f->files);
    if (!status) status = check_twice(f, err);
    if (!status) status = vn_folder_choose_captions(f, &none, options, err);
    if (!status && f->caption_row != &vn_text_captions)
        vn_listing_pass_texts(&f->listing, &f->listing.texts);
    if (status || f->files.count > 0) return status;
    return f->broken
               ? vn_fail(err, VN_BAD_FILE, "%s, before there are any pictures", f->broken)
               : vn_fail(err, VN_BAD_FILE, "%s: holds no pictures; " VN_FOLDER_ENDINGS, f->root);
}

/* ---- what is one ----------------------------------------------------------------------------- */

static bool is_tar(const char *name) {
    const size_t n = strlen(name);
    return n > 4 && vn_same_but_for_case(name + n - 4, ".tar");
}

/* A folder with archives and neither pictures nor folders in it. */
static bool holds_tars_alone(const char *folder) {
    DIR *dir = opendir(folder);
    const struct dirent *d;
    bool tars = false, others = false;
    while (dir && !others && (d = readdir(dir))) {
        if (d->d_name[0] == '.') continue;
        tars = tars || is_tar(d->d_name);
        struct stat info;
        others = vn_image_named(d->d_name) ||
                 (!is_tar(d->d_name) && fstatat(dirfd(dir), d->d_name, &info, 0) == 0 &&
                  S_ISDIR(info.st_mode));
    }
    if (dir) closedir(dir);
    return tars && !others;
}

bool vn_tar_detect(const char *source) {
    return vn_is_dir(source) ? holds_tars_alone(source) : is_tar(source) && vn_is_file(source);
}

static vn_status add_tars(vn_folder *f, vn_err *err) {
    vn_status status = VN_OK;
    DIR *dir = opendir(f->root);
    const struct dirent *d;
    if (!dir) return vn_fail_errno(err, "%s", f->root);
    while (!status && (d = readdir(dir))) {
        if (d->d_name[0] == '.' || !is_tar(d->d_name)) continue;
        char *name = vn_arena_alloc(&f->listing.arena, strlen(d->d_name) + 1);
        status = name
                     ? vn_entries_append(&f->tars, (vn_entry){.path = strcpy(name, d->d_name)}, err)
                     : vn_no_memory(err);
    }
    closedir(dir);
    vn_entries_sort(&f->tars);
    return status;
}

vn_status vn_tar_open(const char *source, const vn_data_options *options, vn_source *out,
                      vn_err *err) {
    vn_folder *f = NULL; /* stays so where it fails */
    vn_status status = vn_library_load(&library, err);
    if (status) return vn_fail_in(err, "%s", source);
    status = vn_folder_new(source, options, out, &f, err);
    if (!f) return status;
    status = vn_is_dir(source) ? add_tars(f, err)
                               : vn_entries_append(&f->tars, (vn_entry){.path = ""}, err);
    if (!status) status = find(f, options, err);
    return !status ? vn_folder_take_found(f, options, out, err) : status;
}
