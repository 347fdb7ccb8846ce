/* data.c - data while it is open: finds the kind of a source, splits it, and says what it is.
 * batch.c serves its samples. */
#include "data/folder.h"
#include "data/internal.h"

#include <math.h>
#include <string.h>

enum { MAX_MEMORY = 1 << 30 };

/* clang-format off */
const vn_data_row vn_data_rows[] = {
    {.row = {"points", "points:NAME, 2-D toys made from the seed", "vane", NULL},
     .detect = vn_points_detect, .open = vn_points_open},
    {.row = {"world",
             "FILE.json, a mixture of Gaussians; points are drawn from it: FILE.json:count=50000",
             "vane", vn_world_data_params},
     .detect = vn_world_data_detect, .open = vn_world_data_open},
    {.row = {"npz",
             "FILE.npz with images (uint8, or floats in [-1, 1]) or points (float), labels, "
             "class_names, captions, noise",
             "numpy", NULL},
     .detect = vn_npz_detect, .open = vn_npz_open, .array_captions = true},
    {.row = {"idx",
             "a folder with train-images-idx3-ubyte(.gz) and its labels (none: no classes), or one "
             "file of such a pair",
             "MNIST, Fashion-MNIST", NULL},
     .detect = vn_idx_detect, .open = vn_idx_open},
    {.row = {"cifar",
             "a folder with CIFAR-10's or CIFAR-100's binary batches, or one of the files",
             "CIFAR", NULL},
     .detect = vn_cifar_detect, .open = vn_cifar_open},
    {.row = {"tar",
             "FILE.tar, or a folder of them, with pictures and, beside each, a .txt or .json with "
             "its captions",
             "WebDataset", NULL},
     .detect = vn_tar_detect, .open = vn_tar_open, .pictures = true},
    {.row = {"folder",
             "a folder of class folders with PNG, JPEG or WebP files, of such files alone (no "
             "classes), or with StyleGAN's dataset.json",
             "vane", NULL},
     .detect = vn_folder_detect, .open = vn_folder_open, .pictures = true, .class_folders = true},
};
/* clang-format on */
const size_t vn_data_row_count = VN_COUNT(vn_data_rows);

/* ---- opening --------------------------------------------------------------------------------- */

static const vn_data_row *find_row(const char *source) {
    for (size_t i = 0; i < vn_data_row_count; i++)
        if (vn_data_rows[i].detect(source)) return &vn_data_rows[i];
    return NULL;
}

bool vn_data_is_known(const char *source) {
    return find_row(source) != NULL;
}

vn_status vn_data_describe(const vn_data *data, json_t **out, vn_err *err) {
    return vn_source_describe(&data->source, data->info.source, out, err);
}

bool vn_data_is_folder(const char *source) {
    const vn_data_row *row = find_row(source);
    return row && row->class_folders;
}

bool vn_data_is_archive(const char *source) {
    static const char *const endings[] = {".zip",     ".tar",    ".tar.gz",  ".tgz",
                                          ".tar.bz2", ".tar.xz", ".tar.zst", ".7z",
                                          ".rar",     ".tbz2",   ".txz"};
    const size_t n = strlen(source);
    bool archive = false;
    for (size_t i = 0; i < VN_COUNT(endings) && !archive; i++) {
        const size_t m = strlen(endings[i]);
        archive = n > m && vn_same_but_for_case(source + n - m, endings[i]);
    }
    return archive;
}

static vn_status refuse_unknown(const char *source, vn_err *err) {
    for (size_t i = 0; i < vn_toy_row_count; i++)
        if (strcmp(source, vn_toy_rows[i].row.name) == 0)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "%s: no such file or folder; did you mean \"points:%s\"?", source,
                           source);
    if (!vn_is_dir(source)) {
        const vn_status status = vn_check_regular(source, err);
        if (status) return status;
    }
    if (vn_data_is_archive(source))
        return vn_fail(err, VN_BAD_FILE, "%s: an archive: unpack it, and name the folder", source);
    if (vn_ends_with(source, ".safetensors"))
        return vn_fail(err, VN_BAD_FILE,
                       "%s: data are not read from .safetensors; put its arrays into an .npz, or "
                       "hand them over from a program",
                       source);
    return vn_fail(err, VN_BAD_FILE,
                   "%s: not a known kind of data (a folder of class folders, an IDX pair, an .npz, "
                   "CIFAR batches, a "
                   "world file, or points:NAME)",
                   source);
}

/* options->captions, which is not "none". */
static vn_status check_captions(const vn_data_options *o, const vn_data_row *row,
                                const char *source, vn_err *err) {
    vn_choice choice;
    const vn_status status = vn_choice_parse(o->captions, &vn_caption_table, &choice, err);
    if (status) return status;
    const bool array = choice.row == &vn_array_captions.row;
    if (choice.row == &vn_class_captions.row ||
        (row && (array ? row->array_captions : row->pictures)))
        return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "captions=%s has no effect on %s: only %s have them",
                   o->captions, source, array ? ".npz files" : "folders of pictures");
}

/* row NULL: samples of a program's own. */
static vn_status check_options(const vn_data_options *o, const vn_data_row *row, const char *source,
                               vn_err *err) {
    const bool pictures = row && row->pictures;
    if (!(o->validate >= 0.0 && o->validate <= 0.5))
        return vn_fail(err, VN_BAD_ARGUMENT, "validate must lie in [0, 0.5], not %g", o->validate);
    if (o->size < -1 || o->size > VN_IMAGE_MAX_SIDE)
        return vn_fail(err, VN_BAD_ARGUMENT, "size must lie in [-1, %d], not %lld",
                       VN_IMAGE_MAX_SIDE, (long long)o->size);
    if (o->threads < 0) return vn_fail(err, VN_BAD_ARGUMENT, "threads must not be negative");
    if (!pictures && o->size != 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "size has no effect on %s: only folders of pictures are resized", source);
    if (!pictures && o->grey)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "grey has no effect on %s: only folders of pictures are converted", source);
    if (o->captions && strcmp(o->captions, "none") != 0) {
        const vn_status status = check_captions(o, row, source, err);
        if (status) return status;
    }
    if (!row && o->skip_bad)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`skip_bad` has no effect on %s: only files are passed over", source);
    return VN_OK;
}

/* Numbers of images that are floats are taken as they are, so that their range is told. */
static vn_status tell_range(const vn_source *s, const float *x, const char *source,
                            const vn_watch *watch, vn_err *err) {
    enum { BYTES_LIKELY = 16 };
    const size_t n = (size_t)s->count * vn_source_sample_size(s);
    float least = x[0], most = x[0];
    for (size_t i = 1; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    if (most > BYTES_LIKELY && !s->rows)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: images of floats hold numbers up to %g: they are to lie in [-1, 1]",
                       source, (double)most);
    vn_log(watch, VN_LOG_INFO, "%s: the images' numbers lie in [%.3g, %.3g]%s", source,
           (double)least, (double)most,
           least >= 0 ? "; pictures of [-1, 1] have negative ones" : "");
    return VN_OK;
}

static vn_status check_source(const vn_source *s, const vn_data_options *options,
                              const char *source, vn_err *err) {
    if (s->count < 1) return vn_fail(err, VN_BAD_FILE, "%s: holds no samples", source);
    for (int i = 0; vn_shape_is_image(&s->sample) && i < 3; i++)
        if (s->sample.dim[i] < 1 || s->sample.dim[i] > VN_IMAGE_MAX_SIDE)
            return vn_fail(err, VN_BAD_FILE, "%s: pictures of %lldx%lld", source,
                           (long long)s->sample.dim[2], (long long)s->sample.dim[1]);
    if (!vn_shape_is_image(&s->sample) && options->flip)
        return vn_fail(err, VN_BAD_ARGUMENT, "flip has no effect on points");
    const vn_status status = vn_shift_check(&s->sample, s->brings_noise, options->shift, err);
    if (status) return status;
    for (size_t i = 0, n = (size_t)s->count * vn_source_sample_size(s); s->points != NULL && i < n;
         i++)
        if (!isfinite(s->points[i]))
            return vn_fail(err, VN_BAD_FILE, "%s: point %lld is not finite", source,
                           (long long)(i / (size_t)s->sample.dim[0]));
    const float *floats = s->rows ? vn_rows_array(s->rows) : s->points;
    return vn_shape_is_image(&s->sample) && floats
               ? tell_range(s, floats, source, options->watch, err)
               : VN_OK;
}

/* Root mean square distance of a coordinate from its own mean. */
static vn_status deviation(const vn_source *s, const vn_watch *watch, double *out, vn_err *err) {
    double sum = 0.0;
    const int64_t dim = s->sample.dim[0];
    vn_reading reading;
    vn_reading_begin(&reading, watch, (uint64_t)(s->count * dim) * sizeof *s->points);
    for (int64_t d = 0; d < dim; d++) {
        double mean = 0.0;
        for (int64_t i = 0; i < s->count; i++) mean += (double)s->points[i * dim + d];
        mean /= (double)s->count;
        for (int64_t i = 0; i < s->count; i++) {
            const double x = (double)s->points[i * dim + d] - mean;
            sum += x * x;
        }
        const vn_status status =
            vn_reading_advance(&reading, (uint64_t)s->count * sizeof *s->points, err);
        if (status) return status;
    }
    *out = sqrt(sum / ((double)s->count * (double)dim));
    return VN_OK;
}

static vn_status open_feed(vn_data *d, const vn_data_options *options, vn_err *err) {
    const size_t share = vn_memory_total() / 4, work = vn_folder_work_bytes(d->source.folder);
    int threads = options->threads > 0 ? options->threads : 1;
    while (threads > 1 && work > share / (size_t)threads) threads--; /* each holds a picture */
    const vn_prefetch_options feed = {.folder = d->source.folder,
                                      .order = &d->order,
                                      .count = d->source.count,
                                      .sample_bytes = vn_source_sample_size(&d->source),
                                      .memory = options->memory > 0  ? options->memory
                                                : share < MAX_MEMORY ? share
                                                                     : MAX_MEMORY,
                                      .threads = threads,
                                      .skip_bad = options->skip_bad};
    const vn_status status = vn_prefetch_open(&feed, &d->feed, err);
    if (status) return status;
    d->info.memory += vn_prefetch_bytes(d->feed) + (size_t)threads * work;
    return VN_OK;
}

static vn_status fill_info(vn_data *d, const char *kind, const vn_watch *watch, vn_err *err) {
    const vn_source *s = &d->source;
    double spread = 0.0;
    uint32_t fingerprint = 0;
    const bool points = s->points && !vn_shape_is_image(&s->sample);
    const size_t numbers = (size_t)s->count * vn_source_sample_size(s);
    vn_status status = points ? deviation(s, watch, &spread, err) : VN_OK;
    if (!status) status = vn_source_fingerprint(s, watch, &fingerprint, err);
    d->info = (vn_data_info){.source = kind,
                             .sample = s->sample,
                             .classes = s->classes,
                             .count = s->count,
                             .skipped = s->folder ? vn_folder_skipped(s->folder) : 0,
                             .train = d->order.train,
                             .held = d->order.held,
                             .deviation = spread,
                             .brings_noise = s->brings_noise,
                             .memory = (s->captions ? vn_captions_bytes(s->captions) : 0) +
                                       (s->rows || s->folder ? 0 : numbers) *
                                           (s->points ? sizeof *s->points : sizeof *s->pixels) +
                                       (s->noise ? numbers : 0) * sizeof *s->noise,
                             .fingerprint = fingerprint};
    return status;
}

/* What was found out about files while opening goes into the run's list. */
static vn_status hold_to_list(vn_data *d, const vn_data_options *options, vn_err *err) {
    if (!d->source.folder)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: is of folders, and the data is none",
                       options->list);
    const vn_status status = vn_folder_check_labels(d->source.folder, d->source.labels, err);
    if (status || !vn_folder_list_changed(d->source.folder)) return status;
    return vn_folder_save_list(d->source.folder, d->source.labels, options->list, err);
}

/* What follows once the source is read. */
static vn_status settle(vn_data *d, const char *kind, const char *source,
                        const vn_data_options *options, vn_err *err) {
    vn_status status = check_source(&d->source, options, source, err);
    if (!status) status = vn_source_settle_classes(&d->source, options, source, err);
    if (!status && options->captions && strcmp(options->captions, "class") == 0)
        status = vn_source_caption_classes(&d->source, source, err);
    if (!status)
        status = vn_source_tell_captions(&d->source, source, &d->captions, options->watch, err);
    if (!status && options->list) status = hold_to_list(d, options, err);
    if (!status)
        status = vn_order_open(&d->order, d->source.count, options->validate, options->seed,
                               options->watch, err);
    if (!status) status = fill_info(d, kind, options->watch, err);
    if (status) return status;
    return d->source.folder ? open_feed(d, options, err) : VN_OK;
}

static vn_data *new_data(const vn_data_options *options) {
    vn_data *d = vn_calloc(1, sizeof *d);
    if (!d) return NULL;
    d->seed = options->seed;
    d->flip = options->flip;
    d->shift = options->shift;
    d->watch = options->watch;
    for (int i = 0; i < 256; i++) d->level[i] = (float)i / 127.5f - 1.0f;
    return d;
}

vn_status vn_data_open(const char *source, const vn_data_options *options, vn_data **out,
                       vn_err *err) {
    vn_err own = {0}; /* readers put file names before each other's words, so there must be words */
    *out = NULL;
    const vn_data_row *row = find_row(source);
    vn_status status =
        row ? check_options(options, row, source, &own) : refuse_unknown(source, &own);
    vn_data *d = !status ? new_data(options) : NULL;
    if (!status && !d) status = vn_no_memory(&own);
    if (d) {
        status = row->open(source, options, &d->source, &own);
        if (!status) status = settle(d, row->row.name, source, options, &own);
        if (!status && options->list) status = vn_data_keep_list(d, options->list, &own);
    }
    if (status) vn_data_close(&d);
    if (status && err) *err = own;
    *out = d;
    return status;
}

vn_status vn_data_open_rows(const vn_train_data *rows, const vn_data_options *options,
                            vn_data **out, vn_err *err) {
    const char *name = vn_data_rows_name(rows);
    vn_status status = check_options(options, NULL, name, err);
    *out = NULL;
    if (status) return status;
    vn_data *d = new_data(options);
    if (!d) return vn_no_memory(err);
    status = vn_rows_open(rows, options->watch, &d->source, err);
    if (!status) status = settle(d, vn_rows_kind(rows), name, options, err);
    if (status) vn_data_close(&d);
    *out = d;
    return status;
}

void vn_data_close(vn_data **data) {
    vn_data *d = *data;
    if (!d) return;
    vn_prefetch_close(&d->feed);
    vn_order_close(&d->order);
    vn_source_close(&d->source);
    vn_free(d->list);
    vn_free(d);
    *data = NULL;
}

const vn_data_info *vn_data_get_info(const vn_data *data) {
    return &data->info;
}

const char *vn_data_class_name(const vn_data *data, int32_t label) {
    return label >= 0 && label < data->source.classes ? data->source.names[label] : NULL;
}

vn_status vn_data_keep_list(vn_data *data, const char *path, vn_err *err) {
    if (!data->source.folder) return VN_OK;
    char *copy = vn_strdup(path);
    if (!copy) return vn_no_memory(err);
    vn_free(data->list);
    data->list = copy;
    return VN_OK;
}

vn_status vn_data_save_list(vn_data *data, const char *path, vn_err *err) {
    if (!data->source.folder) return VN_OK;
    const vn_status status =
        vn_folder_save_list(data->source.folder, data->source.labels, path, err);
    return !status ? vn_data_keep_list(data, path, err) : status;
}

const char *const *vn_data_left_out(const vn_data *data, int32_t *count) {
    *count = data->source.left_out_count;
    return data->source.left_out;
}

const vn_world *vn_data_world(const vn_data *data) {
    return data->source.world;
}

void vn_data_set_coder(vn_data *data, const vn_data_coder *coder) {
    if (data->feed) data->info.memory -= vn_prefetch_bytes(data->feed);
    vn_prefetch_close(&data->feed);
    data->coder = *coder;
    data->info.sample = coder->sample;
}

const int32_t *vn_data_labels(const vn_data *data) {
    return data->source.labels;
}

/* ---- captions -------------------------------------------------------------------------------- */

const vn_caption_info *vn_data_captions(const vn_data *data) {
    return data->source.captions ? &data->captions : NULL;
}

const char *vn_data_caption(const vn_data *data, int32_t number) {
    return data->source.captions ? vn_captions_text(data->source.captions, number) : NULL;
}

int32_t vn_data_draw_caption(const vn_data *data, vn_data_part part, uint64_t position, int64_t i) {
    const bool train = part == VN_DATA_TRAIN;
    if (!data->source.captions) return VN_LABEL_NULL;
    return vn_captions_draw(data->source.captions, i, data->seed, train ? position : (uint64_t)i,
                            train ? 0 : 1);
}

vn_status vn_data_save_captions(const vn_data *data, const char *path, vn_err *err) {
    return vn_source_save_captions(&data->source, path, err);
}

vn_status vn_data_check_captions(const vn_data *data, const char *path, const char *source,
                                 vn_err *err) {
    return vn_source_check_captions(&data->source, path, source, err);
}
