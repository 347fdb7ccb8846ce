/* microbatches.c - the parts of a step's batch, and whose they are: of a rank, and of those that
 * work at the same time in its process. */
#include "train/internal.h"

int64_t vn_microbatches(const vn_train_setup *s) {
    return s->microbatches ? s->microbatches : 1;
}

int64_t vn_micro_batch(const vn_train_setup *s) {
    return s->batch / vn_microbatches(s);
}

void vn_own_microbatches(const vn_train_setup *s, int64_t *first, int64_t *own) {
    *own = vn_microbatches(s) / (s->ranks ? s->ranks->count : 1);
    *first = s->ranks ? s->ranks->rank * *own : 0;
}

vn_status vn_microbatches_check(const vn_train_setup *s, vn_err *err) {
    const int64_t all = vn_microbatches(s), ranks = s->ranks ? s->ranks->count : 1;
    const int64_t own = all / ranks;
    if (s->batch % all)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a batch of %lld cannot be split into %lld equal microbatches",
                       (long long)s->batch, (long long)all);
    if (ranks > 1 && (own < 1 || all % ranks || (own & (own - 1))))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%lld microbatches cannot be dealt to %lld processes: each makes as many, "
                       "1, 2, 4, 8 or another power of two",
                       (long long)all, (long long)ranks);
    return VN_OK;
}

/* ---- workers --------------------------------------------------------------------------------- */

/* Microbatches of each worker but the last, which may have fewer. */
static int64_t each_of(const vn_train_setup *s) {
    const vn_device *d = s->device;
    int64_t first, own, most = d->row->host_memory ? vn_thread_pool_threads(d->pool) : 1;
    vn_own_microbatches(s, &first, &own);
    if (s->workers && s->workers < most) most = s->workers;
    return vn_tree_branch(own, most);
}

int vn_train_workers(const vn_train_setup *s) {
    int64_t first, own;
    const int64_t each = each_of(s);
    vn_own_microbatches(s, &first, &own);
    return (int)((own + each - 1) / each);
}

void vn_worker_share(const vn_train_setup *s, int w, int64_t *first, int64_t *own) {
    const int64_t each = each_of(s);
    int64_t begin, all;
    vn_own_microbatches(s, &begin, &all);
    *first = begin + w * each;
    *own = all - w * each < each ? all - w * each : each;
}

int vn_workers_sums(const vn_train_setup *s) {
    int sums = 0;
    for (int w = 0; w < vn_train_workers(s); w++) {
        int64_t first, own;
        vn_worker_share(s, w, &first, &own);
        sums += vn_tree_depth(own);
    }
    return sums;
}
