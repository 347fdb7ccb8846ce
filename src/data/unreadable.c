/* unreadable.c - files of a folder that cannot be read, found before the first step where that
 * takes seconds, so that all of them can be named at once.
 *
 * Whether pixels are decoded beforehand depends on the sizes in the headers and not on the clock:
 * what a run skips must be the same on every machine. */
#include "data/folder.h"

#include <math.h>
#include <string.h>

enum { REPORT_EVERY = 64, MESSAGE = 400 /* bytes of a message for names */ };

bool vn_is_files_fault(vn_status status) {
    return status != VN_OK && status != VN_NO_MEMORY && status != VN_CANCELLED;
}

vn_status vn_folder_blame(vn_folder *f, size_t i, const vn_err *why, const vn_watch *watch,
                          vn_err *err) {
    char *copy = vn_arena_alloc(&f->listing.arena, strlen(why->text) + 1);
    if (!copy) return vn_no_memory(err);
    f->files.at[i].why = strcpy(copy, why->text);
    vn_log(watch, VN_LOG_WARNING, "%s", why->text);
    return VN_OK;
}

vn_status vn_folder_report(const vn_folder *f, const char *what, size_t done, double start,
                           const vn_watch *watch, vn_err *err) {
    const double rate = (double)done / (vn_now() - start + 1e-9);
    const vn_progress progress = {.what = what,
                                  .unit = "files",
                                  .done = (int64_t)done,
                                  .total = (int64_t)f->files.count,
                                  .rate = rate,
                                  .seconds_left = (double)(f->files.count - done) / rate,
                                  .loss = (double)NAN};
    return vn_report(watch, &progress)
               ? vn_fail(err, VN_CANCELLED, "%s: reading was cancelled", f->root)
               : VN_OK;
}

/* ---- headers --------------------------------------------------------------------------------- */

static vn_status read_header(const vn_folder *f, vn_entry *e, vn_err *err) {
    vn_image head;
    const vn_status status = vn_folder_image(f, e, true, &head, err);
    e->width = head.width;
    e->height = head.height;
    e->channels = (int16_t)head.channels;
    return status;
}

static vn_status read_headers(vn_folder *f, const vn_watch *watch, vn_err *err) {
    const double start = vn_now();
    for (size_t i = 0; i < f->files.count; i++) {
        vn_entry *e = &f->files.at[i];
        vn_err why = {0};
        vn_status status = e->state != VN_FILE_HOLE && !e->why ? read_header(f, e, &why) : VN_OK;
        if (vn_is_files_fault(status))
            status = vn_folder_blame(f, i, &why, watch, err);
        else if (status)
            *err = why;
        if (!status && (i + 1) % REPORT_EVERY == 0)
            status = vn_folder_report(f, "reading", i + 1, start, watch, err);
        if (status) return status;
    }
    return VN_OK;
}

/* ---- pixels ---------------------------------------------------------------------------------- */

/* What decoding everything takes, in pixels. */
static int64_t work_of(const vn_folder *f) {
    int64_t work = 0;
    for (size_t i = 0; i < f->files.count; i++)
        work += VN_CHECK_PER_FILE + (int64_t)f->files.at[i].width * f->files.at[i].height;
    return work;
}

typedef struct checking {
    const vn_folder *f;
    size_t first;
    vn_err why[REPORT_EVERY];
} checking;

static void check_one(void *context, int64_t index, int thread) {
    checking *c = context;
    const vn_entry *e = &c->f->files.at[c->first + (size_t)index];
    vn_err *why = &c->why[index];
    vn_image image = {0};
    (void)thread;
    *why = (vn_err){0};
    if (e->state == VN_FILE_HOLE || e->why) return;
    vn_folder_image(c->f, e, false, &image, why);
    vn_image_free(&image);
}

static vn_status check_pixels(vn_folder *f, vn_thread_pool *pool, const vn_watch *watch,
                              vn_err *err) {
    const double start = vn_now();
    checking *c = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    c->f = f;
    vn_status status = VN_OK;
    for (; !status && c->first < f->files.count; c->first += REPORT_EVERY) {
        const size_t left = f->files.count - c->first,
                     n = left < REPORT_EVERY ? left : REPORT_EVERY;
        vn_thread_pool_run(pool, (int64_t)n, check_one, c);
        for (size_t i = 0; !status && i < n; i++) {
            if (vn_is_files_fault(c->why[i].status))
                status = vn_folder_blame(f, c->first + i, &c->why[i], watch, err);
            else if (c->why[i].status)
                status = vn_fail(err, c->why[i].status, "%s", c->why[i].text);
        }
        if (!status && n == REPORT_EVERY)
            status = vn_folder_report(f, "checking", c->first + n, start, watch, err);
    }
    vn_free(c);
    return status;
}

/* ---- what follows from it -------------------------------------------------------------------- */

static int64_t count_bad(const vn_folder *f) {
    int64_t bad = 0;
    for (size_t i = 0; i < f->files.count; i++) bad += f->files.at[i].why != NULL;
    return bad;
}

/* What is said of a file, without the folder that it begins with. */
static const char *below_root(const vn_folder *f, const char *why) {
    const size_t length = strlen(f->root);
    return strncmp(why, f->root, length) == 0 && why[length] == '/' ? why + length + 1 : why;
}

/* "photos/a/17.png: PNG: ...", or "photos: 14 of 5000 files cannot be read: ... and 11 more". */
static vn_status refuse_bad(const vn_folder *f, int64_t bad, const vn_data_options *options,
                            vn_err *err) {
    char names[MESSAGE + 1024];
    size_t used = 0;
    int64_t named = 0, gone = 0;
    for (size_t i = 0; i < f->files.count; i++) gone += f->files.at[i].gone;
    for (size_t i = 0; i < f->files.count && used < MESSAGE; i++) {
        const char *why = f->files.at[i].why;
        if (!why) continue;
        const char *text = bad > 1 ? below_root(f, why) : why;
        if (named > 0 && used + strlen(text) > MESSAGE) break;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", named > 0 ? ", " : "",
                                 text);
        named++;
    }
    if (bad == 1)
        vn_fail(err, VN_BAD_FILE, "%s", names);
    else if (named == bad)
        vn_fail(err, VN_BAD_FILE, "%s: %lld of %zu files cannot be read: %s", f->root,
                (long long)bad, f->files.count, names);
    else
        vn_fail(err, VN_BAD_FILE, "%s: %lld of %zu files cannot be read: %s and %lld more", f->root,
                (long long)bad, f->files.count, names, (long long)(bad - named));
    const char *it = bad == 1 ? "it" : "them";
    vn_fail_after(err, gone == bad ? "put %s back" : "repair or remove %s", it);
    const size_t length = strlen(err->text);
    if (options->check)
        snprintf(err->text + length, sizeof err->text - length,
                 ", or go on without %s (`skip_bad`)", it);
    return err->status;
}

/* Of a fresh start: the bad files leave the list. */
static vn_status skip(vn_folder *f, vn_err *err) {
    size_t kept = 0;
    vn_status status = VN_OK;
    for (size_t i = 0; !status && i < f->files.count; i++) {
        if (f->files.at[i].why)
            status = vn_entries_append(&f->skipped, f->files.at[i], err);
        else
            f->files.at[kept++] = f->files.at[i];
    }
    if (!status) f->files.count = kept;
    return status;
}

/* Of a run that goes on: they keep their places. What is gone without ever having been named is to
 * be put back. */
static void mark(vn_folder *f, bool hole) {
    for (size_t i = 0; i < f->files.count; i++)
        if (f->files.at[i].why && (hole || !f->files.at[i].gone))
            vn_folder_mark(f, (int64_t)i, hole);
}

static vn_status settle(vn_folder *f, const vn_data_options *options, vn_err *err) {
    const int64_t bad = count_bad(f);
    if (bad == 0) return VN_OK;
    if (!options->skip_bad) {
        if (options->list) mark(f, false);
        if (options->list) vn_folder_save_list(f, NULL, options->list, NULL);
        return refuse_bad(f, bad, options, err);
    }
    vn_log(options->watch, VN_LOG_WARNING, "%s: %lld of %zu files cannot be read and %s skipped",
           f->root, (long long)bad, f->files.count, bad == 1 ? "is" : "are");
    if (bad == (int64_t)f->files.count)
        return vn_fail(err, VN_BAD_FILE, "%s: none of its %lld pictures can be read", f->root,
                       (long long)bad);
    if (!options->list) return skip(f, err);
    mark(f, true);
    return VN_OK;
}

vn_status vn_folder_read_files(vn_folder *f, const vn_data_options *options, vn_err *err) {
    vn_thread_pool *pool = NULL;
    vn_status status = read_headers(f, options->watch, err);
    if (!status) status = vn_folder_read_captions(f, options, err);
    if (!status && options->check && work_of(f) <= VN_CHECK_WORK) {
        status = vn_thread_pool_open(options->threads > 0 ? options->threads : 1, &pool, err);
        if (!status) status = check_pixels(f, pool, options->watch, err);
        vn_thread_pool_close(&pool);
    }
    return !status ? settle(f, options, err) : status;
}

bool vn_folder_is_hole(const vn_folder *folder, int64_t i) {
    return folder->files.at[i].state == VN_FILE_HOLE;
}

void vn_folder_mark(vn_folder *folder, int64_t i, bool hole) {
    vn_entry *e = &folder->files.at[i];
    if (e->state == VN_FILE_HOLE) return;
    e->state = hole ? VN_FILE_HOLE : VN_FILE_NAMED;
    folder->dirty = true;
}

int64_t vn_folder_skipped(const vn_folder *folder) {
    int64_t holes = 0;
    for (size_t i = 0; i < folder->files.count; i++)
        holes += folder->files.at[i].state == VN_FILE_HOLE;
    return holes + (int64_t)folder->skipped.count;
}

bool vn_folder_is_there(const vn_folder *folder) {
    return folder->tars.count > 0 ? vn_is_dir(folder->root) || vn_is_file(folder->root)
                                  : vn_is_dir(folder->root);
}
