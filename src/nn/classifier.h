/* classifier.h - what the files of the classifier share: the keys of its config. */
#ifndef VN_NN_CLASSIFIER_H
#define VN_NN_CLASSIFIER_H

#include "nn/internal.h"

enum { VN_CLASSIFIER_IMAGE, VN_CLASSIFIER_POINTS };
enum { VN_CLASSIFIER_POOL_ATTENTION, VN_CLASSIFIER_POOL_MEAN };

typedef struct vn_classifier_keys {
    int64_t input, in_channels, sample_size[2], num_classes;
    vn_config_ints block_out_channels; /* points: one entry, the width */
    int64_t layers_per_block, norm_num_groups;
    /* levels with attention, from the smallest image up; channels of a head, there and in the
     * pool */
    int64_t attention_levels, attention_head_dim;
    int64_t pool;
    double dropout;
    bool time; /* whether it takes one */
} vn_classifier_keys;

extern const vn_field vn_classifier_fields[];
extern const size_t vn_classifier_field_count;

/* classifier_preset.c */
extern const vn_param vn_classifier_presets[];
json_t *vn_classifier_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);

#endif
