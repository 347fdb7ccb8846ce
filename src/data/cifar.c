/* cifar.c - CIFAR-10 and CIFAR-100 in their binary version: records of label bytes and 3 x 32 x 32
 * pixels, one colour plane after the other. */
#include "data/internal.h"

#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, MAX_FILES = 5 };

typedef struct record_format {
    /* training files: those that are there are read, in this order */
    const char *train[MAX_FILES + 1];
    const char *test;
    size_t label_bytes, label_at; /* CIFAR-100: the coarse label first, then the fine one */
    int32_t classes;
    const char *names; /* file with the class names */
} record_format;

static const record_format layouts[] = {
    {{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
      "data_batch_5.bin"},
     "test_batch.bin",
     1,
     0,
     10,
     "batches.meta.txt"},
    {{"train.bin"}, "test.bin", 2, 1, 100, "fine_label_names.txt"},
};

/* ---- which files ----------------------------------------------------------------------------- */

static bool names_file(const record_format *l, const char *name) {
    for (size_t i = 0; l->train[i]; i++)
        if (strcmp(name, l->train[i]) == 0) return true;
    return strcmp(name, l->test) == 0;
}

static bool fits(const record_format *l, const char *source) {
    if (vn_is_dir(source)) return vn_source_has(source, l->train[0]);
    const char *slash = strrchr(source, '/');
    return names_file(l, slash ? slash + 1 : source);
}

static const record_format *find_layout(const char *source) {
    for (size_t i = 0; i < VN_COUNT(layouts); i++)
        if (fits(&layouts[i], source)) return &layouts[i];
    return NULL;
}

bool vn_cifar_detect(const char *source) {
    return find_layout(source) != NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The records of one file, counted before anything is read. */
static vn_status count_records(const record_format *l, const char *path, int64_t *records,
                               vn_err *err) {
    const int64_t record = (int64_t)l->label_bytes + 3 * PLANE;
    struct stat info;
    if (stat(path, &info) != 0) return vn_fail_errno(err, "%s", path);
    if (!S_ISREG(info.st_mode)) return vn_fail(err, VN_IO, "%s: is not a file", path);
    if (info.st_size == 0 || info.st_size % record != 0)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: %lld bytes are not a whole number of records of %lld bytes", path,
                       (long long)info.st_size, (long long)record);
    *records = info.st_size / record;
    return VN_OK;
}

static vn_status take_record(const record_format *l, const uint8_t *record, vn_source *out,
                             vn_err *err) {
    const int64_t i = out->count++;
    const uint8_t *planes = record + l->label_bytes;
    uint8_t *pixels = out->pixels + i * 3 * PLANE;
    if (record[l->label_at] >= l->classes)
        return vn_fail(err, VN_BAD_FILE, "label %d of record %lld is not below %d",
                       record[l->label_at], (long long)i, (int)l->classes);
    out->labels[i] = record[l->label_at];
    for (int k = 0; k < PLANE; k++)
        for (int c = 0; c < 3; c++) pixels[3 * k + c] = planes[c * PLANE + k];
    return VN_OK;
}

/* Appends the records of one file; room for them is there. */
static vn_status read_records(const record_format *l, const char *path, int64_t records,
                              const vn_watch *watch, vn_source *out, vn_err *err) {
    uint8_t record[2 + 3 * PLANE];
    const size_t size = l->label_bytes + 3 * PLANE;
    vn_reading reading;
    int fd;
    vn_reading_begin(&reading, watch, (uint64_t)records * size);
    vn_status status = vn_file_open(path, &fd, err);
    if (status) return status;
    FILE *f = fdopen(fd, "rb");
    if (!f) {
        status = vn_fail_errno(err, "%s", path);
        close(fd);
        return status;
    }
    for (int64_t i = 0; !status && i < records; i++) {
        if (fread(record, size, 1, f) == 1)
            status = take_record(l, record, out, err);
        else
            status = vn_fail(err, VN_IO, "cannot be read to its end");
        if (!status) status = vn_reading_advance(&reading, size, err);
    }
    fclose(f);
    if (status) vn_fail_in(err, "%s", path);
    return status;
}

static vn_status grow(vn_source *out, int64_t records, vn_err *err) {
    const size_t count = (size_t)(out->count + records);
    const vn_status status = vn_source_fits((int64_t)count, 3 * PLANE, err);
    if (status) return status;
    uint8_t *pixels = vn_realloc(out->pixels, count, 3 * PLANE);
    if (!pixels) return vn_no_memory(err);
    out->pixels = pixels;
    int32_t *labels = vn_realloc(out->labels, count, sizeof *labels);
    if (!labels) return vn_no_memory(err);
    out->labels = labels;
    return VN_OK;
}

static vn_status read_file(const record_format *l, const char *path, const vn_watch *watch,
                           vn_source *out, vn_err *err) {
    int64_t records = 0;
    vn_status status = count_records(l, path, &records, err);
    if (!status && grow(out, records, err) != VN_OK) status = vn_fail_in(err, "%s", path);
    if (!status) status = read_records(l, path, records, watch, out, err);
    return status;
}

static vn_status read_folder(const record_format *l, const char *folder, const vn_watch *watch,
                             vn_source *out, vn_err *err) {
    vn_status status = VN_OK;
    for (size_t i = 0; !status && l->train[i]; i++) {
        if (!vn_source_has(folder, l->train[i])) continue;
        char *path = vn_path_join(folder, l->train[i]);
        status = path ? read_file(l, path, watch, out, err) : vn_no_memory(err);
        vn_free(path);
    }
    return status;
}

static vn_status name_classes(const record_format *l, const char *source, vn_source *out,
                              vn_err *err) {
    const char *slash = strrchr(source, '/');
    const int folder = vn_is_dir(source) ? (int)strlen(source) : slash ? (int)(slash - source) : 0;
    char *path = vn_format("%.*s%s%s", folder, source, folder > 0 ? "/" : "", l->names);
    if (!path) return vn_no_memory(err);
    const vn_status status = vn_is_file(path) ? vn_source_read_names(out, path, l->classes, err)
                                              : vn_source_number_names(out, l->classes, err);
    vn_free(path);
    return status;
}

vn_status vn_cifar_open(const char *source, const vn_data_options *options, vn_source *out,
                        vn_err *err) {
    const record_format *l = find_layout(source);
    out->sample.rank = 3;
    out->sample.dim[0] = 3;
    out->sample.dim[1] = out->sample.dim[2] = SIDE;
    vn_status status = name_classes(l, source, out, err);
    if (!status)
        status = vn_is_dir(source) ? read_folder(l, source, options->watch, out, err)
                                   : read_file(l, source, options->watch, out, err);
    return status;
}
