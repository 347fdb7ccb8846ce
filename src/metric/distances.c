/* distances.c - sums over the numbers of two rows, in double and in a fixed order: eight partial
 * sums, which a compiler may keep in vectors. */
#include "metric/internal.h"

enum { LANES = 8 };

static double total(const double *lane) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

double vn_squared_distance(const float *a, const float *b, int64_t d) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= d; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const double difference = (double)a[i + k] - (double)b[i + k];
            lane[k] += difference * difference;
        }
    for (int k = 0; i < d; i++, k++) {
        const double difference = (double)a[i] - (double)b[i];
        lane[k] += difference * difference;
    }
    return total(lane);
}

double vn_inner_product(const float *a, const float *b, int64_t d) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= d; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += (double)a[i + k] * (double)b[i + k];
    for (int k = 0; i < d; i++, k++) lane[k] += (double)a[i] * (double)b[i];
    return total(lane);
}

/* A range of a loop of tasks. */
typedef struct task_range {
    vn_task task;
    void *context;
    int64_t first;
} task_range;

static void run_range(void *context, int64_t index, int thread) {
    const task_range *p = context;
    p->task(p->context, p->first + index, thread);
}

vn_status vn_metric_run(const vn_measuring *m, int64_t count, vn_task task, void *context,
                        vn_err *err) {
    enum { PIECE = 16 };
    vn_status status = vn_metric_report(m, 0, count, err);
    for (int64_t first = 0; first < count && !status; first += PIECE) {
        task_range p = {task, context, first};
        const int64_t n = count - first < PIECE ? count - first : PIECE;
        vn_thread_pool_run(m->o->pool, n, run_range, &p);
        status = vn_metric_report(m, first + n, count, err);
    }
    return status;
}
