/* folder.h - a folder of pictures at work, as its files share it: find.c or, of archives, tar.c
 * lists it and finds the classes, entry.c reads one of its files, unreadable.c finds what cannot be
 * read, match.c holds the folder against the files that a run began with, folder.c makes a source
 * of it. */
#ifndef VN_DATA_FOLDER_H
#define VN_DATA_FOLDER_H

#include "data/internal.h"
#include "data/listing.h"

#define VN_FOLDER_ENDINGS "PNG, JPEG and WebP files count (" VN_IMAGE_ENDINGS ")"

typedef struct vn_caption_row vn_caption_row;

struct vn_folder {
    char *root;
    vn_listing listing;
    vn_entries tars; /* archives below the root ("": the root itself); none: of files */
    /* an archive that breaks off, and why, where what comes before is used; NULL: none does. In the
     * listing's arena */
    const char *broken;
    vn_entries files;
    vn_entries skipped; /* that cannot be read, and have no place among the files */
    bool dirty;         /* a state is not yet in the run's list */
    int64_t unlisted;   /* pictures that dataset.json does not name */
    int size;           /* pictures become size x size; 0: they are all width x height */
    int width, height, channels;
    vn_image least, most; /* headers of the smallest and the largest picture */
    bool differ;          /* in size */
    size_t work_bytes;
    const vn_caption_row *caption_row; /* NULL: no captions that lie beside pictures */
    vn_captions *captions;             /* until it is the source's */
};

/* A kind of captions: where they are found and how they are read. */
struct vn_caption_row {
    vn_row row;
    const char *in; /* where they lie, for messages: ".txt files" */
    /* How many of these files have captions of the kind; *example receives where one is from.
     * NULL: they do not lie beside pictures */
    vn_status (*find)(vn_folder *f, const vn_entries *files, int64_t *captioned,
                      const char **example, vn_err *err);
    /* Adds the captions of f->files to f->captions. What cannot be read is blamed on the picture
     * (vn_folder_blame). */
    vn_status (*read)(vn_folder *f, const vn_data_options *options, vn_err *err);
};
extern const vn_caption_row vn_text_captions, vn_json_captions, vn_metadata_captions,
    vn_array_captions, vn_class_captions;

/* Which kind of captions the files found so far and `more` have, by options->captions or by what
 * is there: sets f->caption_row. */
vn_status vn_folder_choose_captions(vn_folder *f, const vn_entries *more,
                                    const vn_data_options *options, vn_err *err);
/* Reads them, and hands them over once the files have their places. */
vn_status vn_folder_read_captions(vn_folder *f, const vn_data_options *options, vn_err *err);
vn_status vn_folder_give_captions(vn_folder *f, vn_source *out, vn_err *err);

/* What readers of files and of archives begin with: a new folder in the source; and what they end
 * with, once f->files are found: they are read, and become the source's samples. */
vn_status vn_folder_new(const char *source, const vn_data_options *options, vn_source *out,
                        vn_folder **folder, vn_err *err);
vn_status vn_folder_take_found(vn_folder *f, const vn_data_options *options, vn_source *out,
                               vn_err *err);
/* A picture of the folder or of its archives, or only its header; and the bytes of any file, with a
 * 0 after them, at most so many. Messages name the file. */
vn_status vn_folder_image(const vn_folder *f, const vn_entry *e, bool header_only, vn_image *image,
                          vn_err *err);
vn_status vn_folder_bytes(const vn_folder *f, const vn_entry *e, size_t most, char **bytes,
                          size_t *size, vn_err *err);

/* Fills f->files, each with its label, and the names of the source's classes. */
vn_status vn_folder_find(vn_folder *f, const vn_data_options *options, vn_source *out, vn_err *err);
/* What else there is, in a line of the log. */
vn_status vn_folder_tell_passed(vn_folder *f, const vn_watch *watch, vn_err *err);

/* Puts the files in the places that they have in the list of a run (match.c): see
 * vn_data_options.list. */
vn_status vn_folder_match_list(vn_folder *f, const vn_data_options *options, vn_err *err);
/* Reads every header into the files and, with options->check, every picture where that takes
 * seconds. What cannot be read is told in the log and then refused, skipped, or becomes a hole: see
 * vn_data_options.skip_bad. */
vn_status vn_folder_read_files(vn_folder *f, const vn_data_options *options, vn_err *err);
/* Reports that so many files of all are done; VN_CANCELLED where the caller wants to stop. */
vn_status vn_folder_report(const vn_folder *f, const char *what, size_t done, double start,
                           const vn_watch *watch, vn_err *err);
/* Remembers and logs why file i cannot be read. */
vn_status vn_folder_blame(vn_folder *f, size_t i, const vn_err *why, const vn_watch *watch,
                          vn_err *err);

#endif
