/* listing.h - what lies in a folder of pictures: the files that are pictures by their names, at any
 * depth, in an order that depends on the names alone, and how many other files there are of which
 * kind. */
#ifndef VN_DATA_LISTING_H
#define VN_DATA_LISTING_H

#include "base/base.h"

/* What has become of a file; the letters stand in a run's list of files (record.h). */
typedef enum vn_file_state {
    VN_FILE_USED = 'u',  /* it is read */
    VN_FILE_NAMED = 'n', /* it was told that it cannot be read: it may be repaired, or removed */
    /* has its place in the order, but is not read any more: another stands in for it */
    VN_FILE_HOLE = 'h',
    VN_FILE_SKIPPED = 's', /* could not be read when the run began: has no place in the order */
} vn_file_state;

typedef struct vn_entry {
    const char *path; /* below the root, in the listing's arena */
    int64_t bytes;
    int64_t at;  /* in an archive: where its bytes begin, */
    int32_t tar; /* and in which */
    int32_t label;
    int32_t width, height; /* of the picture, by its header */
    int16_t channels;
    char state;       /* vn_file_state; 0: used */
    bool gone;        /* in a run's list, but not in the folder */
    int32_t captions; /* a list of vn_captions_add; 0: empty */
    int32_t listed;   /* label in a run's list */
    /* it cannot be read; NULL: it can, as far as is known. In the listing's arena */
    const char *why;
} vn_entry;

typedef struct vn_entries {
    vn_entry *at;
    size_t count, capacity;
} vn_entries;

/* The path that a file names, with '/' between its parts and without "."; out has room for all of
 * it. False: it leads out of the folder that it is below of. */
bool vn_tidy_path(char *out, const char *path);

vn_status vn_entries_append(vn_entries *list, vn_entry e, vn_err *err);
void vn_entries_sort(vn_entries *list);               /* by path */
int vn_entries_compare(const void *a, const void *b); /* of two entries, likewise */

/* Files that are no pictures by name, by kind: "GIF", "text", ..., "other". */
enum { VN_LISTING_KINDS = 23 };
const char *vn_listing_kind(size_t kind); /* its name; NULL past the end */

typedef struct vn_listing {
    const char *root;
    vn_arena arena;
    int64_t passed[VN_LISTING_KINDS]; /* how many files of each kind are passed over */
    /* folders below the deepest that is looked into, or met a second time */
    int64_t passed_folders;
    vn_entries texts; /* files that end in .txt, which do not count as passed over */
    vn_entries jsons; /* that end in .json, but for those of other names, likewise */
    vn_entries lists; /* files named metadata.jsonl, likewise */
    /* a file that tells something of the pictures which vane does not use; or NULL */
    const char *sidecar;
} vn_listing;

/* What is in one folder `below` the root ("" for the root), sorted: folders, and files that are
 * pictures by name. Names of the system's own (hidden ones, __MACOSX, Thumbs.db, ...) do not count
 * at all; other files are counted. */
vn_status vn_listing_read(vn_listing *l, const char *below, vn_entries *folders, vn_entries *files,
                          vn_err *err);
/* Appends all pictures in `below` and the folders in it, at any depth, sorted by path. A folder met
 * twice, through a link, is read once. */
vn_status vn_listing_walk(vn_listing *l, const char *below, vn_entries *files, vn_err *err);
/* Whether a name ends like a text's that may hold captions; a file that is passed over, by its
 * name. */
bool vn_listing_is_text(const char *name);
bool vn_listing_is_json(const char *name);
void vn_listing_pass(vn_listing *l, const char *name);
/* Counts the texts, of l, that are in no use (their state) among what is passed over. Once. */
void vn_listing_pass_texts(vn_listing *l, const vn_entries *texts);
/* "3 GIF, 2 BMP, 1 text"; "" when nothing was passed over. New string or NULL. */
char *vn_listing_passed(const vn_listing *l);

#endif
