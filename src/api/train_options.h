/* train_options.h - what training does with its options besides their table (options.h): standard
 * values, vane.json, and what a resume may change. */
#ifndef VN_API_TRAIN_OPTIONS_H
#define VN_API_TRAIN_OPTIONS_H

#include "api/structs.h"
#include "nn/nn.h"

/* Checks ranges, and that what was given has an effect; gives what was not asked for its standard
 * value. */
vn_status vn_train_options_settle(vn_train_options *o, vn_err *err);
/* In how many parts a step's samples are scored where nothing is asked for: parts are computed at
 * the same time, so that a small network gains by threads. They decide in which order numbers are
 * added, so they may depend on nothing but the run. */
int64_t vn_train_microbatches(int64_t batch);
/* Settled options with a network's habits in the place of what was not requested. */
void vn_train_options_adopt(vn_train_options *o, const vn_train_options *requested,
                            const vn_net_habits *habits);
/* An object with every option; strings that are NULL are left out. NULL: memory. */
json_t *vn_train_options_to_json(const vn_train_options *o);
/* The same of a run's object in vane.json for people: without what was left to others to decide.
 * NULL: memory. */
json_t *vn_train_options_describe(const json_t *stored);
/* What a run was trained with, from vane.json's object, whose strings *o borrows, settled. On top
 * of it comes what `requested` asks for: allowed for how long and how often, refused for what would
 * make it another run. */
vn_status vn_train_options_resume(const json_t *stored, const vn_train_options *requested,
                                  vn_train_options *o, vn_err *err);

#endif
