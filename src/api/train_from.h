/* train_from.h - what a training begins from: the weights of a finished run, and a teacher whose
 * guided predictions it learns. */
#ifndef VN_API_TRAIN_FROM_H
#define VN_API_TRAIN_FROM_H

#include "api/train_job.h"

/* Opens o.teacher and o.init_from; where nothing else was asked for, a run begins from its teacher,
 * with the path and prediction of what it begins from, and of its classes. */
vn_status vn_job_open_from(vn_train_job *j, vn_err *err);
/* The same of a run that goes on: the teacher alone, which has to be as it was. */
vn_status vn_job_open_teacher_again(vn_train_job *j, vn_err *err);
/* Refuses a path or a prediction that is not that of what the run begins from. */
vn_status vn_job_check_from(const vn_train_job *j, vn_err *err);
/* A new config of the network to begin from, with the inputs that the objective gives; NULL with
 * err set. */
json_t *vn_job_config_from(const vn_train_job *j, vn_err *err);
/* How the run is sampled where its objective says so. */
void vn_job_adopt_sampled(vn_train_job *j);
void vn_job_close_from(vn_train_job *j);

#endif
