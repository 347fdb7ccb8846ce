/* train_guided.h - the guidance that an objective learns to have inside, where the user leaves it
 * open; kept in the objective's words, so that the run goes on with what it began with. */
#ifndef VN_API_TRAIN_GUIDED_H
#define VN_API_TRAIN_GUIDED_H

#include "api/train_job.h"

/* What the samples of a new run are, for how they are drawn. */
vn_sampling_kind vn_job_sampling_kind(const vn_train_job *j);
/* Of a method: the strength and the interval that its teacher is sampled with. */
vn_status vn_job_settle_teacher(vn_train_job *j, vn_err *err);
/* Of another objective with guidance inside: the interval that such data is sampled with. */
vn_status vn_job_settle_interval(vn_train_job *j, vn_err *err);

#endif
