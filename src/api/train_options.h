/* train_options.h - training options as a table: one walk each for defaults, ranges, vane.json and what a resume may change. */
#ifndef VN_API_TRAIN_OPTIONS_H
#define VN_API_TRAIN_OPTIONS_H

#include "base/base.h"

/* Ranges, and that what was given has an effect. */
vn_status vn_train_options_check(const vn_train_options *o, vn_err *err);
/* An object with every option; strings that are NULL are left out. NULL: memory. */
json_t *vn_train_options_to_json(const vn_train_options *o);
/* What a run was trained with, from vane.json's object, whose strings *o borrows. On top of it comes what `wish` sets other than the
 * default: allowed for how long and how often, refused for what would make it another run. */
vn_status vn_train_options_resume(const json_t *stored, const vn_train_options *wish, vn_train_options *o, vn_err *err);

#endif
