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

/* Whether each rank gets a branch of the tree, which is as large as the others'. */
static bool can_deal(int64_t all, int64_t ranks) {
    const int64_t own = all / ranks;
    return ranks == 1 || (own > 0 && all % ranks == 0 && (own & (own - 1)) == 0);
}

/* With what would do instead. A run's microbatches stay what they are. */
static vn_status refuse_ranks(const vn_train_setup *s, int64_t all, int64_t ranks, vn_err *err) {
    int64_t fewer = ranks, more = ranks;
    while (!can_deal(all, fewer)) fewer--;
    while (more < all) more *= 2;
    vn_fail(err, VN_BAD_ARGUMENT,
            "a step's %lld microbatch%s cannot be dealt to %lld processes, each of which makes as "
            "many, 1, 2, 4 or another power of two: start %lld",
            (long long)all, all == 1 ? "" : "es", (long long)ranks, (long long)fewer);
    if (s->batch % more == 0)
        vn_fail_after(err, "or make a new run with `microbatches=%lld`", (long long)more);
    return err->status;
}

vn_status vn_microbatches_check(const vn_train_setup *s, vn_err *err) {
    const int64_t all = vn_microbatches(s), ranks = s->ranks ? s->ranks->count : 1;
    if (s->batch % all)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a batch of %lld cannot be split into %lld equal microbatches",
                       (long long)s->batch, (long long)all);
    if (!can_deal(all, ranks)) return refuse_ranks(s, all, ranks, err);
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
