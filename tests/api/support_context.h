/* support_context.h - for tests that need one context and a folder to work in. */
#ifndef VN_TEST_SUPPORT_CONTEXT_H
#define VN_TEST_SUPPORT_CONTEXT_H

#include "api/support_api.h"

extern vn_context *vn;

/* Fixtures: a folder of the program's own, and in it the context. */
int context_enter(void **state);
/* Of tests that are not run by each set of kernels: by the processor's own. */
int context_enter_once(void **state);
int context_leave(void **state);

/* Fails the test unless the status is that one and the context's words have `word` in them. */
void expect_refused(vn_status got, vn_status status, const char *word);

/* Options of a run that learns points in the plane: a small network with cosine steps. */
vn_train_options points_options(const char *objective, int64_t steps);
/* Trains on `data` into the folder `run`; the model it gave, closed by the caller, and its
 * denoiser. */
const struct vn_denoiser *train_and_open(const char *data, const char *run,
                                         const vn_train_options *o, vn_model **m);

/* What the model says of itself. */
vn_model_info info_of(const vn_model *model);

#endif
