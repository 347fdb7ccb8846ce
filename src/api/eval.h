/* eval.h - what metrics share: the samples they look at. */
#ifndef VN_API_EVAL_H
#define VN_API_EVAL_H

#include "api/internal.h"

typedef struct vn_eval_data {
    int64_t count;
    float *x;          /* [count, one sample], images channels first */
    int32_t *labels;   /* [count] each a class of the model or VN_LABEL_NULL */
    int64_t available; /* they were drawn of so many; 0: of a world */
    /* [2 classes] how many of them are of each class of the model, and of how many; NULL: not
     * known */
    int64_t *of_class;
} vn_eval_data;

/* index [count] receives which of `available` samples are looked at, ascending: of each label its
 * share (eval_draw.c). labels [available], or NULL. */
vn_status vn_eval_draw(const int32_t *labels, int64_t available, int64_t count, uint64_t seed,
                       int64_t *index, vn_err *err);

/* The parts that a measurement has, for its progress: reading or drawing, the metric, and for
 * worlds the exact density. */
int vn_eval_parts(const vn_model *m);
/* "nll 2 of 3". */
const char *vn_eval_part(const vn_model *m, const char *what, int number, char text[64]);

/* By options->data, ->count, ->label and ->seed. Closed also where it failed. */
vn_status vn_eval_data_open(vn_eval_data *d, const vn_model *m, const vn_eval_options *o,
                            vn_err *err);
void vn_eval_data_close(vn_eval_data *d);
/* Tells every 64th sample; true when the caller should stop. */
bool vn_eval_report(const vn_model *m, const char *what, int64_t done, int64_t total, double began);

/* A metric: measures `data` and adds its numbers to the result. */
typedef struct vn_metric_row {
    vn_row row;
    vn_status (*measure)(vn_model *m, const vn_eval_options *o, const vn_eval_data *data,
                         vn_eval_result *r, vn_err *err);
} vn_metric_row;

extern const vn_metric_row vn_metric_rows[];
extern const size_t vn_metric_row_count;

/* likelihood.c: vn_log_likelihood within another call, whose progress calls it `what`. */
vn_status vn_model_likelihood(vn_model *m, const vn_likelihood_settings *s, const char *what,
                              int64_t n, const float *x, const int32_t *labels, double *log_p,
                              int64_t *evaluations, vn_err *err);

#endif
