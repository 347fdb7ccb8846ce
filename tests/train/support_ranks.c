/* support_ranks.c - ranks that are processes of this machine, which add in shared memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "train/support_ranks.h"

static float sum_of(const rank_seat *s, size_t k) {
    float part[8];
    int top = -1;
    for (int i = 0; i < s->count; i++) {
        part[++top] = s->table->x[i][k];
        for (int joins = vn_tree_joins(i, s->count); joins > 0; joins--, top--)
            part[top - 1] += part[top];
    }
    return part[0];
}

static vn_status reduce(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    const rank_seat *s = self;
    (void)err;
    for (int i = 0; i < n; i++) {
        assert_true(run[i].at + run[i].n <= MAX_FLOATS);
        memcpy(s->table->x[s->rank] + run[i].at, x + run[i].at, run[i].n * sizeof *x);
    }
    pthread_barrier_wait(&s->table->barrier);
    for (int i = 0; i < n; i++)
        for (size_t k = run[i].at; k < run[i].at + run[i].n; k++)
            x[k] = run[i].rank == s->rank ? sum_of(s, k) : NAN; /* as it is undefined */
    pthread_barrier_wait(&s->table->barrier);
    return VN_OK;
}

/* Each rank's runs to all, or to the first. */
static vn_status spread(const rank_seat *s, float *x, int n, const vn_owned *run, bool all) {
    for (int i = 0; i < n; i++)
        if (run[i].rank == s->rank)
            memcpy(s->table->x[s->rank] + run[i].at, x + run[i].at, run[i].n * sizeof *x);
    pthread_barrier_wait(&s->table->barrier);
    for (int i = 0; i < n && (all || s->rank == 0); i++)
        memcpy(x + run[i].at, s->table->x[run[i].rank] + run[i].at, run[i].n * sizeof *x);
    pthread_barrier_wait(&s->table->barrier);
    return VN_OK;
}

static vn_status share(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    (void)err;
    return spread(self, x, n, run, true);
}

static vn_status collect(void *self, float *x, int n, const vn_owned *run, vn_err *err) {
    (void)err;
    return spread(self, x, n, run, false);
}

static vn_status gather(void *self, void *rows, size_t bytes, vn_err *err) {
    const rank_seat *s = self;
    (void)err;
    assert_true(bytes <= sizeof s->table->x[0]);
    memcpy(s->table->x[s->rank], (char *)rows + (size_t)s->rank * bytes, bytes);
    pthread_barrier_wait(&s->table->barrier);
    for (int i = 0; i < s->count; i++)
        memcpy((char *)rows + (size_t)i * bytes, s->table->x[i], bytes);
    pthread_barrier_wait(&s->table->barrier);
    return VN_OK;
}

static vn_status agree(void *self, int64_t *least, vn_err *err) {
    const rank_seat *s = self;
    (void)err;
    s->table->number[s->rank] = *least;
    pthread_barrier_wait(&s->table->barrier);
    for (int i = 0; i < s->count; i++)
        if (s->table->number[i] < *least) *least = s->table->number[i];
    pthread_barrier_wait(&s->table->barrier);
    return VN_OK;
}

rank_table *rank_table_open(int ranks) {
    rank_table *t =
        mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t shared;
    assert_true(t != MAP_FAILED);
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    assert_int_equal(pthread_barrier_init(&t->barrier, &shared, (unsigned)ranks), 0);
    pthread_barrierattr_destroy(&shared);
    return t;
}

void rank_table_close(rank_table *t) {
    munmap(t, sizeof *t);
}

vn_ranks ranks_of(rank_seat *s) {
    return (vn_ranks){.rank = s->rank,
                      .count = s->count,
                      .self = s,
                      .reduce = reduce,
                      .share = share,
                      .collect = collect,
                      .agree = agree,
                      .gather = gather};
}

void train_by_ranks(int ranks, vn_status (*train)(void *self, const vn_ranks *r), void *self) {
    rank_table *t = rank_table_open(ranks);
    for (int i = 0; i < ranks; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            rank_seat s = {t, i, ranks};
            const vn_ranks r = ranks_of(&s);
            _exit((int)train(self, &r));
        }
    }
    for (int i = 0; i < ranks; i++) {
        int status = 0;
        assert_true(wait(&status) > 0 && WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), VN_OK);
    }
    rank_table_close(t);
}
