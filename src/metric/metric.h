/* metric.h - how good samples are: numbers with intervals, for two sets of samples or for a model
 * and data.
 *
 * A metric is a row of vn_metrics: what it needs, and a function that makes numbers of it. Sets of
 * samples are read once, piece by piece (vn_set), and what is kept of them is their features, n
 * rows of d numbers, in which all metrics that compare sets look at them. What features are is a
 * row of a table too (vn_feature_kinds): the numbers themselves, or what a network makes of them.
 *
 *     vn_metric_list_parse     "fd,precision:k=5" -> rows with their parameters
 *     vn_extractor_open        what features are
 *     vn_metric_measure        reads, extracts, measures: rows of a vn_measured
 *
 * All sums are made in a fixed order, so that the numbers do not depend on the threads. Intervals
 * are of 95%. */
#ifndef VN_METRIC_H
#define VN_METRIC_H

#include "base/base.h"
#include "model/model.h"

/* ---- sets of samples ------------------------------------------------------------------------- */

/* Samples that are read in their order, piece by piece. */
typedef struct vn_set {
    const char *name; /* for messages */
    vn_shape sample;  /* [C,H,W] or [D] */
    int64_t size;     /* numbers in it */
    int64_t count;
    const int32_t *labels; /* [count] a class or VN_LABEL_NULL; NULL: none has one */
    void *self;
    /* Samples [first, first + n) into x [n,size], images channels first. Called in order, each
     * sample once. */
    vn_status (*read)(void *self, int64_t first, int64_t n, float *x, vn_err *err);
    /* What the numbers are, for caches: equal keys, equal numbers. "": not known */
    char key[64];
    int64_t piece;       /* samples that are best read at a time; 0: it does not matter */
    const char *reading; /* what is done in `read`, for its progress: "reading", "sampling" */
    bool reports;        /* `read` tells of its progress itself */
} vn_set;

/* index [count] receives which of `available` samples are looked at, ascending: of each label its
 * share, by the seed (select.c). labels [available], or NULL. */
vn_status vn_metric_select(const int32_t *labels, int64_t available, int64_t count, uint64_t seed,
                           int64_t *index, vn_err *err);

/* ---- features -------------------------------------------------------------------------------- */

/* What is kept of a set. */
typedef struct vn_features {
    int64_t n, d;
    float *x;        /* [n,d] */
    int32_t *labels; /* [n], or NULL */
    int64_t classes; /* of a classifier; 0: there are no logits */
    float *logits;   /* [n,classes], or NULL */
} vn_features;
void vn_features_close(vn_features *f); /* safe on a zeroed one */

/* What makes features of samples. */
typedef struct vn_extractor vn_extractor;
/* text: a row of vn_feature_kinds with parameters, or the directory of a classifier. For samples of
 * this shape; VN_BAD_ARGUMENT and VN_BAD_FILE say why it does not fit. Closed with
 * vn_extractor_close. */
vn_status vn_extractor_open(const char *text, const vn_shape *sample, const vn_engine *engine,
                            vn_extractor **out, vn_err *err);
void vn_extractor_close(vn_extractor **e);
/* "raw", "random:seed=0", "classifier-0123456789abcdef". */
const char *vn_extractor_name(const vn_extractor *e);
/* Numbers that it makes of a sample. */
int64_t vn_extractor_size(const vn_extractor *e);
/* Classes it knows; 0: it is no classifier. */
int64_t vn_extractor_classes(const vn_extractor *e);
int64_t vn_extractor_width(const vn_extractor *e); /* numbers of a sample's features */
/* x [n,size], images channels first, to features [n,width] and logits [n,classes] (NULL: not
 * wanted). VN_NOT_FINITE, VN_NO_MEMORY. */
vn_status vn_extractor_run(vn_extractor *e, int64_t n, const float *x, float *features,
                           float *logits, vn_err *err);

/* The kind of features that samples of this shape are compared by where nobody says. */
const char *vn_features_usual(const vn_shape *sample);

typedef struct vn_feature_row {
    vn_row row;
    vn_status (*open)(vn_extractor *e, const vn_choice *choice, const vn_engine *engine,
                      vn_err *err);
    /* n samples [n,size] to features [n,d] and, of a classifier, logits [n,classes] */
    vn_status (*extract)(vn_extractor *e, int64_t n, const float *x, float *features, float *logits,
                         vn_err *err);
    void (*close)(vn_extractor *e);
} vn_feature_row;
extern const vn_table vn_feature_kinds; /* of vn_feature_row */

/* ---- metrics --------------------------------------------------------------------------------- */

/* What a metric needs. */
enum {
    VN_METRIC_SAMPLES = 1,     /* features of the samples */
    VN_METRIC_DATA = 2,        /* features of the data */
    VN_METRIC_LABELS = 4,      /* of the samples: each a class */
    VN_METRIC_LOGITS = 8,      /* of the samples, by a classifier */
    VN_METRIC_TRAINING = 16,   /* features of the training data */
    VN_METRIC_PAIRS = 32,      /* samples and data in pairs of images, by no features */
    VN_METRIC_POINTS = 64,     /* samples are points, compared by their own numbers */
    VN_METRIC_LIKELIHOOD = 128 /* the model's density of the data */
};

struct vn_measuring; /* inside the room */

typedef struct vn_metric_row {
    vn_row row;
    const char *unit;
    unsigned needs;
    /* Adds its numbers. NULL: `pair` is the metric. */
    vn_status (*measure)(struct vn_measuring *m, const vn_choice *choice, vn_err *err);
    /* The number of one pair of images, channels first; work: [vn_pair_work]. The metric is its
     * mean. */
    double (*pair)(const vn_shape *image, const float *a, const float *b, double *work);
    /* Whether such images can be compared; NULL: all can. */
    vn_status (*check)(const vn_shape *image, vn_err *err);
} vn_metric_row;

extern const vn_table vn_metrics; /* of vn_metric_row */

enum { VN_MAX_METRICS = 16 };
typedef struct vn_metric_list {
    size_t count;
    vn_choice choice[VN_MAX_METRICS]; /* choice.row is a vn_metric_row's first member */
    unsigned needs;                   /* of all of them */
} vn_metric_list;
/* VN_BAD_ARGUMENT: unknown, named twice, too many. */
vn_status vn_metric_list_parse(const char *text, vn_metric_list *out, vn_err *err);

/* ---- measuring ------------------------------------------------------------------------------- */

/* The density of samples [n,size] under labels [n], in nats, and how often the model was asked for
 * each; `what` names it in progress. */
typedef vn_status (*vn_metric_density)(void *self, const char *what, int64_t n, const float *x,
                                       const int32_t *labels, double *log_p, int64_t *evaluations,
                                       vn_err *err);

typedef struct vn_measure_options {
    const vn_metric_list *metrics;
    const vn_set *samples, *data, *training; /* NULL: no metric needs it */
    vn_extractor *features;                  /* NULL: no metric needs them */
    vn_thread_pool *pool;
    const vn_watch *watch;
    uint64_t seed;
    int64_t resamples; /* of the bootstrap; 0: no intervals */
    const char *cache; /* folder of kept features of data and training; NULL: none */
    int32_t classes;   /* numbers of classes in labels are below it; for rows by class */
    bool per_class;
    vn_metric_density density; /* for the likelihood */
    void *density_self;
    bool discrete; /* it is a probability of the samples' codes, not a density of their numbers */
    const vn_world *truth; /* the exact density beside it; NULL: not known */
} vn_measure_options;

/* What was measured. */
typedef struct vn_measured {
    size_t count, capacity;
    vn_eval_row *row; /* its texts are constants */
} vn_measured;
void vn_measured_close(vn_measured *m); /* safe on a zeroed one */

/* Reads all sets, and measures. *out, zeroed before, is closed by the caller, after a failure
 * too. */
vn_status vn_metric_measure(const vn_measure_options *options, vn_measured *out, vn_err *err);

#endif
