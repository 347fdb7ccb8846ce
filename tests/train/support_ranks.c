/* support_ranks.c - ranks that are processes of this machine, which add in shared memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "train/support_ranks.h"

static vn_status sum(void *self, float *x, size_t n, vn_err *err) {
    const rank_seat *s = self;
    float part[8];
    (void)err;
    assert_true(n <= MAX_FLOATS);
    memcpy(s->table->x[s->rank], x, n * sizeof *x);
    pthread_barrier_wait(&s->table->barrier);
    for (size_t k = 0; k < n; k++) {
        int top = -1;
        for (int i = 0; i < s->count; i++) {
            part[++top] = s->table->x[i][k];
            for (int joins = vn_tree_joins(i, s->count); joins > 0; joins--, top--)
                part[top - 1] += part[top];
        }
        x[k] = part[0];
    }
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
    return (vn_ranks){.rank = s->rank, .count = s->count, .self = s, .sum = sum, .agree = agree};
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
