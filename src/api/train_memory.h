/* train_memory.h - see train_memory.c. */
#ifndef VN_API_TRAIN_MEMORY_H
#define VN_API_TRAIN_MEMORY_H

#include "train/train.h"

/* VN_NO_MEMORY, in words, when the run would take more than there is (vn_memory_total). may_resize:
 * whether --size has an effect. Bounds setup->workers to as many as fit. */
vn_status vn_train_check_memory(vn_train_setup *setup, bool may_resize, const char *source,
                                vn_err *err);

#endif
