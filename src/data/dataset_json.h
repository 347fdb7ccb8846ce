/* dataset_json.h - the labels of a data set as StyleGAN's and EDM's tools write it: pictures in
 * numbered folders that mean nothing, and beside them a dataset.json: {"labels":
 * [["00000/img00000000.png", 6], ...]}, or null for pictures without classes. */
#ifndef VN_DATA_DATASET_JSON_H
#define VN_DATA_DATASET_JSON_H

#include "data/listing.h"

#define VN_DATASET_JSON "dataset.json"

typedef enum vn_labels_kind {
    VN_LABELS_NONE, /* there is no such file, or it is of another kind: it says nothing of labels */
    VN_LABELS_NULL, /* the pictures have no classes */
    VN_LABELS_LIST
} vn_labels_kind;

/* What the file in l->root says. list receives each picture once with its label, sorted by path;
 * *classes the largest label + 1. Labels are whole numbers or one-hot; anything else, two labels
 * for one picture, and paths that lead out of the folder are refused. *foreign: the file is there,
 * but has no "labels". */
vn_status vn_dataset_json_read(vn_listing *l, vn_labels_kind *kind, vn_entries *list,
                               int32_t *classes, bool *foreign, vn_err *err);

#endif
