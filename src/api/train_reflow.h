/* train_reflow.h - pairs of noise and the sample that a teacher makes of it, as the data of a
 * training (objective/reflow.c). */
#ifndef VN_API_TRAIN_REFLOW_H
#define VN_API_TRAIN_REFLOW_H

#include "api/train_job.h"

/* Whether the run's method learns from such pairs. */
bool vn_job_makes_pairs(const vn_train_job *j);
/* Whether the data is a folder of pictures, where a folder is a class: neither pairs nor rows. */
bool vn_job_is_folder(const vn_train_job *j);
/* Draws them or, of a run that goes on, reads those that it has; nothing where there are none.
 * From then on j->rows are they. */
vn_status vn_job_open_pairs(vn_train_job *j, vn_err *err);
/* Keeps them in the run's folder. */
vn_status vn_job_save_pairs(const vn_train_job *j, vn_err *err);
void vn_job_close_pairs(vn_train_job *j);

#endif
