/* data.h - labelled or captioned data in, batches out. A source (a folder of pictures, an IDX pair,
 * an .npz, CIFAR batches, toy points) is opened once; then any batch can be asked for by its
 * position in an endless sequence, so a run that goes on from position p gets exactly what it would
 * have got had it never stopped.
 *
 *   vn_data *data;
 *   vn_data_open("photos/", &options, &data, err);
 *   vn_data_batch(data, VN_DATA_TRAIN, step * batch, batch, x, labels, err);
 *
 * A sample at a position depends on (source, seed, validate, position) and on nothing else: not on
 * threads, batch size or what was asked before. Asking in order is fast: pictures of a folder are
 * decoded ahead by background threads. */
#ifndef VN_DATA_H
#define VN_DATA_H

#include "base/base.h"
#include "path/path.h"

typedef struct vn_data vn_data;

typedef struct vn_data_options {
    uint64_t seed;   /* of the order, the held-out split, flips and toy points */
    double validate; /* held-out part, in [0, 0.5] */
    /* folders: pictures become size x size (centred square, resampled); 0: as they are if they all
     * have one size of up to 64 a side, else chosen; -1: as they are */
    int64_t size;
    bool grey; /* folders: one channel; false: three if any file has colour */
    bool flip; /* images: random left-right flips in VN_DATA_TRAIN */
    /* images: they are moved by up to so many pixels in VN_DATA_TRAIN, less than half a side; what
     * comes in repeats the edge. Not of samples that bring noise */
    int64_t shift;
    int threads; /* folders: decoding threads; 0: one */
    /* folders: bytes for decoded pictures; 0: 1 GiB, or less; see vn_data_info.memory */
    size_t memory;
    /* folders: decode every picture while opening, where that takes seconds: see VN_CHECK_WORK */
    bool check;
    /* folders: go on without pictures that cannot be read, each named in the log. Without it such
     * a picture fails the opening or, if it is found out later, the batch that it belongs to */
    bool skip_bad;
    /* where captions come from: a row of vn_caption_rows, or "none"; NULL: what is found there */
    const char *captions;
    /* folders: a run's list of files (vn_data_save_list), which the folder must hold. Pictures that
     * the log has named unreadable may have been repaired or removed; the list is kept up to date.
     * NULL: none */
    const char *list;
    /* folders: [C,H,W] that samples are made to be, as a run made them; NULL: found by `size` */
    const vn_shape *shape;
    /* [class_count] what labels mean: the classes of a run or model, among which the data's are
     * found by name. NULL: the data's own, those without samples left out */
    const char *const *classes;
    int32_t class_count;
    const vn_watch *watch; /* log, progress and cancel while opening; may be NULL */
} vn_data_options;

/* Pixels, and so many for each file, that are decoded beforehand: some seconds on one core. */
#define VN_CHECK_WORK     ((int64_t)400 << 20)
#define VN_CHECK_PER_FILE 3000

typedef struct vn_data_info {
    const char *source; /* the row's name: "idx", "folder", ... */
    vn_shape sample;    /* images [C,H,W], points [D] */
    int32_t classes;    /* K; labels are 0 .. K-1; 0: unlabelled */
    int64_t count;      /* all samples: train + held */
    int64_t skipped;    /* folders: pictures that cannot be read and are passed over */
    int64_t named; /* folders: pictures that failed a batch, and are to be repaired or removed */
    int64_t train, held;
    /* points: root mean square distance of a coordinate from its mean; images, and samples of a
     * program's own: 0 */
    double deviation;
    bool brings_noise; /* each sample: vn_data_pairs */
    /* most bytes that samples and decoding will hold: for folders the decoded pictures kept or made
     * ahead (within options.memory), and the largest file and picture once for each thread */
    size_t memory;
    /* changes when samples, labels, names, captions or shape do (folders: file names and sizes) */
    uint32_t fingerprint;
} vn_data_info;

/* Opens `source` by what it is (table below). size, grey and flip are refused where they would have
 * no effect. Errors name the file. VN_IO, VN_BAD_FILE, VN_BAD_ARGUMENT, VN_CANCELLED,
 * VN_NO_MEMORY. */
vn_status vn_data_open(const char *source, const vn_data_options *options, vn_data **out,
                       vn_err *err);
/* Samples of a program's own (vane.h), which are used until the data is closed; the struct itself
 * is copied. info.source is "arrays" or "callback". Errors name rows->name, or that. Options of
 * files are refused. */
vn_status vn_data_open_rows(const vn_train_data *rows, const vn_data_options *options,
                            vn_data **out, vn_err *err);
/* The name by which messages call such samples. */
const char *vn_data_rows_name(const vn_train_data *rows);
void vn_data_close(vn_data **data); /* stops and joins the threads */
/* Whether it would be opened as a folder of pictures, where every folder inside is a class. */
bool vn_data_is_folder(const char *source);
const vn_data_info *vn_data_get_info(const vn_data *data);
/* owned by data; NULL if out of range */
const char *vn_data_class_name(const vn_data *data, int32_t label);
/* Folders: writes the list of their files for a run (vn_data_options.list), and keeps it up to date
 * from then on. A list that has been moved is kept up to date where it is now by vn_data_keep_list.
 * Other sources have none: nothing is done. */
vn_status vn_data_save_list(vn_data *data, const char *path, vn_err *err);
vn_status vn_data_keep_list(vn_data *data, const char *path, vn_err *err);
/* Whether the folder holds the first file of a run's list. Without a list that can be read: whether
 * its name is absolute, and so means the same folder wherever it is read. */
bool vn_data_has_first(const char *source, const char *list);
/* What the data is, for people and programs: kind, samples, classes with their counts and, of a
 * folder, sizes, colours, what cannot be read and what is passed over. An object, json_decref by
 * the caller. */
vn_status vn_data_describe(const vn_data *data, json_t **out, vn_err *err);
/* Whether one of the rows below would open it. */
bool vn_data_is_known(const char *source);
/* Whether the file is a packed folder, by its ending: something to unpack first. */
bool vn_data_is_archive(const char *source);
/* "3.6.2": that of libarchive's header, as the library is loaded only when it is needed. */
const char *vn_data_archive_version(void);
/* Names of the classes that no sample has, and that therefore are not among info.classes. Owned by
 * data. */
const char *const *vn_data_left_out(const vn_data *data, int32_t *count);
/* The distribution that the points were drawn from, with the data's classes, where it is known
 * exactly: of world files and of toys that are mixtures of Gaussians. NULL: it is not. Owned by
 * data. */
const vn_world *vn_data_world(const vn_data *data);

typedef enum vn_data_part {
    VN_DATA_TRAIN, /* endless: epoch after epoch, each a new permutation of the train part; flips */
    /* the held-out part in a fixed order, over and over; no flips. Empty: VN_BAD_ARGUMENT */
    VN_DATA_HELD,
    VN_DATA_ALL /* every sample in the source's own order, over and over; no flips */
} vn_data_part;

/* Samples at positions [position, position + n) of a part. x receives images [n,H,W,C] in [-1,1] or
 * points [n,D] as they are; labels [n] (-1 where K is 0; may be NULL). Fails when a picture turns
 * out to be damaged (names it). One caller at a time. Epoch of a train position: position /
 * info.train. */
vn_status vn_data_batch(vn_data *data, vn_data_part part, uint64_t position, int64_t n, float *x,
                        int32_t *labels, vn_err *err);
/* The same with the noise that each sample brings, in x's layout, where info.brings_noise; noise
 * NULL: not wanted. */
vn_status vn_data_pairs(vn_data *data, vn_data_part part, uint64_t position, int64_t n, float *x,
                        float *noise, int32_t *labels, vn_err *err);

/* What is wanted of each of n samples; NULL: it is not. */
typedef struct vn_data_samples {
    float *x;          /* [n,H,W,C] or [n,D] */
    float *noise;      /* in x's layout, where info.brings_noise */
    int32_t *labels;   /* [n], -1 where K is 0 */
    int32_t *captions; /* [n] numbers of vn_data_caption, -1: none, the null condition */
} vn_data_samples;
/* The same with all that samples have. x must be wanted. */
vn_status vn_data_read(vn_data *data, vn_data_part part, uint64_t position, int64_t n,
                       const vn_data_samples *out, vn_err *err);

/* What is read in the place of each picture: numbers that were made of it, such as latents. */
typedef struct vn_data_coder {
    vn_shape sample; /* [C,H,W] of them */
    /* x [H,W,C] of sample i of the source's own order, or of its mirror image; what is drawn for it
     * is keyed by (index, step). One caller at a time. */
    vn_status (*read)(void *self, int64_t i, bool mirrored, uint64_t index, uint64_t step, float *x,
                      vn_err *err);
    void *self;
} vn_data_coder;
/* From now on samples are read by the coder, which is copied, and info.sample is of its shape;
 * order, labels and captions stay, and vn_data_at gives pictures still. Nothing is decoded ahead
 * any more. The data must be images that bring no noise. */
void vn_data_set_coder(vn_data *data, const vn_data_coder *coder);

/* Sample i in the source's own order, as it is: for those who read a few of many. label may be
 * NULL. */
vn_status vn_data_at(vn_data *data, int64_t i, float *x, int32_t *label, vn_err *err);
/* [info.count], owned by data; NULL where K is 0 */
const int32_t *vn_data_labels(const vn_data *data);

/* ---- captions -------------------------------------------------------------------------------- */

/* Where data has captions these are its condition, and it has no classes (K is 0). A sample may
 * have several, of which each time one is drawn: in VN_DATA_TRAIN by (seed, position), so that
 * epochs see others, in the other parts by (seed, sample), so that each round is like the last;
 * batch, threads and what was asked before do not matter. An empty caption is none. A sample
 * without captions has the number -1: it is trained without a condition, as one whose condition
 * was dropped. */
typedef struct vn_caption_info {
    const char *from;     /* the row of vn_caption_rows */
    int64_t captions;     /* of all samples together */
    int32_t distinct;     /* numbers are 0 .. distinct-1 */
    int64_t longest;      /* bytes, without the 0 at its end */
    int64_t without;      /* samples that have none */
    uint32_t fingerprint; /* changes when a caption of a sample does */
} vn_caption_info;

/* NULL: the data has no captions. Owned by data. */
const vn_caption_info *vn_data_captions(const vn_data *data);
/* The text of a distinct caption: UTF-8, never empty; NULL: out of range. Owned by data, the same
 * until that is closed; any number of threads may ask. */
const char *vn_data_caption(const vn_data *data, int32_t number);
/* The number that vn_data_read gives for sample i of the source's own order where it stands at
 * this position of a part (of VN_DATA_HELD and VN_DATA_ALL the position does not matter); -1:
 * none. Any number of threads may ask. */
int32_t vn_data_draw_caption(const vn_data *data, vn_data_part part, uint64_t position, int64_t i);

/* Writes a hash of each sample's captions, for a run; and holds them against such a file:
 * VN_BAD_ARGUMENT names a sample whose captions are others now, and says how many there are.
 * Samples that are not read any more are passed over. Without captions nothing is done. */
vn_status vn_data_save_captions(const vn_data *data, const char *path, vn_err *err);
vn_status vn_data_check_captions(const vn_data *data, const char *path, const char *source,
                                 vn_err *err);

/* Where captions may come from; begin with their vn_row. */
extern const vn_table vn_caption_table;

/* ---- .npy files of samples ------------------------------------------------------------------- */

/* An array of floats, [N,...], that is read by row. The file is untrusted: its size is checked.
 * Closed with vn_npy_file_close. */
typedef struct vn_npy_file vn_npy_file;
vn_status vn_npy_file_open(const char *path, vn_npy_file **out, vn_err *err);
void vn_npy_file_close(vn_npy_file **f); /* safe on NULL */
vn_shape vn_npy_file_shape(const vn_npy_file *f);
vn_status vn_npy_file_row(const vn_npy_file *f, int64_t row, float *x, vn_err *err);

/* ---- tables ---------------------------------------------------------------------------------- */

struct vn_source; /* inside the room */

/* A kind of source. The first row whose `detect` says yes opens it. */
typedef struct vn_data_row {
    vn_row row;
    bool (*detect)(const char *source);
    vn_status (*open)(const char *source, const vn_data_options *options, struct vn_source *out,
                      vn_err *err);
    bool pictures; /* of files of pictures: they are resized, made grey and may have captions */
    bool class_folders;  /* every folder inside is a class */
    bool array_captions; /* captions are an array beside the others */
} vn_data_row;

extern const vn_data_row vn_data_rows[];
extern const size_t vn_data_row_count;

/* The toys of "points:NAME:key=value,...": a point and its class from uniform and normal
 * numbers. */
typedef struct vn_toy_row {
    vn_row row;
    int32_t classes;
    const char *const *names;
    /* u: uniform [0,1) [4]; z: normal [2]; values: of row.params; xy receives the point; returns
     * its class. */
    int32_t (*draw)(const float *u, const float *z, const double *values, float *xy);
    /* the same as a world file (NULL: memory); NULL: no mixture of Gaussians */
    json_t *(*world)(const double *values);
} vn_toy_row;

extern const vn_toy_row vn_toy_rows[];
extern const size_t vn_toy_row_count;

#endif
