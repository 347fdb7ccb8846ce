/* folder.h - a folder of pictures at work, as its files share it: find.c lists it and finds the
 * classes, unreadable.c finds what cannot be read, match.c holds the folder against the files that
 * a run began with, folder.c makes a source of it. */
#ifndef VN_DATA_FOLDER_H
#define VN_DATA_FOLDER_H

#include "data/internal.h"
#include "data/listing.h"

#define VN_FOLDER_ENDINGS "PNG, JPEG and WebP files count (" VN_IMAGE_ENDINGS ")"

struct vn_folder {
    char *root;
    vn_listing listing;
    vn_entries files;
    vn_entries skipped; /* that cannot be read, and have no place among the files */
    bool dirty;         /* a state is not yet in the run's list */
    int64_t unlisted;   /* pictures that dataset.json does not name */
    int size;           /* pictures become size x size; 0: they are all width x height */
    int width, height, channels;
    vn_image least, most; /* headers of the smallest and the largest picture */
    bool differ;          /* in size */
    size_t work_bytes;
};

/* Fills f->files, each with its label, and the names of the source's classes. */
vn_status vn_folder_find(vn_folder *f, const vn_watch *watch, vn_source *out, vn_err *err);
/* What else there is, in a line of the log. */
vn_status vn_folder_tell_passed(const vn_folder *f, const vn_watch *watch, vn_err *err);

/* Puts the files in the places that they have in the list of a run (match.c): see
 * vn_data_options.list. */
vn_status vn_folder_match_list(vn_folder *f, const vn_data_options *options, vn_err *err);
/* Reads every header into the files and, with options->check, every picture where that takes
 * seconds. What cannot be read is told in the log and then refused, skipped, or becomes a hole: see
 * vn_data_options.skip_bad. */
vn_status vn_folder_read_files(vn_folder *f, const vn_data_options *options, vn_err *err);
/* Remembers and logs why file i cannot be read. */
vn_status vn_folder_blame(vn_folder *f, size_t i, const vn_err *why, const vn_watch *watch,
                          vn_err *err);

#endif
