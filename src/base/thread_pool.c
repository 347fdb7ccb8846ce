/* thread_pool.c - threads that share loops.
 *
 * Why not the compiler's: gcc's run-time library allocates in every region that has one thread,
 * ends the program when it gets no memory, and waits for every thread at the end of a loop, also
 * for one that the system has suspended. Here a loop is done when its tasks are done: a thread that
 * was suspended when the last task was taken is not waited for, which is common on a busy machine.
 *
 * All that threads agree on is one word, the gate: the number of the loop, whether it is closed,
 * and how many threads entered. A thread enters by adding one to an open gate; the caller closes it
 * when no task is left and waits for those that entered.
 *
 * A group is a pool without threads of its own. Those of the pool that it is a part of come and go:
 * one runs the group's task and is the caller of its loops, the others help until that is done. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/base.h"

#define CLOSED    ((uint64_t)1 << 31)
#define NEXT_LOOP ((uint64_t)1 << 32)
#define ENTERED   (CLOSED - 1)

/* How long a thread looks for a new loop before it sleeps: longer than the pauses between the loops
 * of one pass through a network. */
#define SPINS 20000

/* One of the threads that are not the caller's. */
typedef struct worker {
    vn_thread_pool *pool;
    int index; /* 1 .. threads-1; the caller is 0 */
    pthread_t thread;
} worker;

struct vn_thread_pool {
    int threads; /* the caller's included */
    int caller;  /* the index of the thread that runs loops */
    int started;
    worker *worker; /* [threads] of which the first `started` run */

    _Atomic uint64_t gate;
    _Atomic int64_t next;  /* task to be taken */
    _Atomic uint64_t left; /* threads that entered and are done */
    _Atomic int sleeping;  /* threads waiting at `wake` */
    _Atomic bool quit;     /* no more loops are to come; of a group, until its next task */
    pthread_mutex_t lock;
    pthread_cond_t wake;

    vn_task task;
    void *context;
    int64_t count, chunk;
};

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void take_tasks(vn_thread_pool *t, int thread) {
    for (;;) {
        const int64_t begin = atomic_fetch_add(&t->next, t->chunk);
        if (begin >= t->count) return;
        const int64_t end = begin + t->chunk < t->count ? begin + t->chunk : t->count;
        for (int64_t i = begin; i < end; i++) t->task(t->context, i, thread);
    }
}

/* Enters the loop the gate shows if it is open and not `seen`. */
static bool enter(vn_thread_pool *t, uint64_t *seen) {
    uint64_t gate = atomic_load(&t->gate);
    while (!(gate & CLOSED) && gate / NEXT_LOOP != *seen) {
        if (!atomic_compare_exchange_weak(&t->gate, &gate, gate + 1)) continue;
        *seen = gate / NEXT_LOOP;
        return true;
    }
    return false;
}

static void sleep_until_called(vn_thread_pool *t, uint64_t seen) {
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->sleeping, 1);
    for (;;) {
        const uint64_t gate = atomic_load(&t->gate);
        if (atomic_load(&t->quit) || (!(gate & CLOSED) && gate / NEXT_LOOP != seen)) break;
        pthread_cond_wait(&t->wake, &t->lock);
    }
    atomic_fetch_sub(&t->sleeping, 1);
    pthread_mutex_unlock(&t->lock);
}

/* Takes part in loops until no more are to come. */
static void help(vn_thread_pool *t, int thread) {
    uint64_t seen = 0;
    while (!atomic_load(&t->quit)) {
        bool entered = false;
        for (int spin = 0; spin < SPINS && !(entered = enter(t, &seen)); spin++) pause_briefly();
        if (!entered) {
            sleep_until_called(t, seen);
            continue;
        }
        take_tasks(t, thread);
        atomic_fetch_add(&t->left, 1);
    }
}

static void *work(void *given) {
    const worker *self = given;
    help(self->pool, self->index);
    return NULL;
}

static void set_up(vn_thread_pool *t, int threads) {
    t->threads = threads;
    t->gate = CLOSED;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
}

static void call_off(vn_thread_pool *t) {
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->quit, true);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

static void tear_down(vn_thread_pool *t) {
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
}

vn_status vn_thread_pool_open(int threads, vn_thread_pool **out, vn_err *err) {
    *out = NULL;
    vn_thread_pool *t = vn_calloc(1, sizeof *t);
    if (!t) return vn_no_memory(err);
    set_up(t, threads < 1 ? 1 : threads);
    t->worker = vn_calloc((size_t)t->threads, sizeof *t->worker);
    vn_status status = t->worker ? VN_OK : vn_no_memory(err);
    for (int i = 1; i < t->threads && !status; i++) {
        worker *w = &t->worker[t->started];
        w->pool = t;
        w->index = i;
        if (vn_thread_begin(&w->thread, work, w))
            t->started++;
        else
            status = vn_fail(err, VN_NO_MEMORY, "thread %d of %d could not be started", i + 1,
                             t->threads);
    }
    if (status) {
        vn_thread_pool_close(&t);
        return status;
    }
    *out = t;
    return VN_OK;
}

void vn_thread_pool_close(vn_thread_pool **pool) {
    if (!pool || !*pool) return;
    vn_thread_pool *t = *pool;
    call_off(t);
    for (int i = 0; i < t->started; i++) pthread_join(t->worker[i].thread, NULL);
    tear_down(t);
    vn_free(t->worker);
    vn_free(t);
    *pool = NULL;
}

int vn_thread_pool_threads(const vn_thread_pool *t) {
    return t ? t->threads : 1;
}

/* Waits for the threads that entered; they are at their last tasks. */
static void wait_for(vn_thread_pool *t, uint64_t entered) {
    const struct timespec moment = {.tv_nsec = 50000};
    for (int spin = 0; atomic_load(&t->left) != entered; spin++) {
        if (spin < SPINS)
            pause_briefly();
        else
            nanosleep(&moment, NULL);
    }
}

void vn_thread_pool_run(vn_thread_pool *t, int64_t count, vn_task task, void *context) {
    if (!t || t->threads == 1 || count < 2) {
        for (int64_t i = 0; i < count; i++) task(context, i, t ? t->caller : 0);
        return;
    }
    t->task = task;
    t->context = context;
    t->count = count;
    t->chunk = count / (16 * t->threads) + 1; /* many short tasks are taken several at a time */
    atomic_store(&t->next, 0);
    atomic_store(&t->left, 0);
    atomic_store(&t->gate, (atomic_load(&t->gate) / NEXT_LOOP + 1) * NEXT_LOOP);
    if (atomic_load(&t->sleeping) > 0) {
        pthread_mutex_lock(&t->lock);
        pthread_cond_broadcast(&t->wake);
        pthread_mutex_unlock(&t->lock);
    }
    take_tasks(t, t->caller);
    wait_for(t, atomic_fetch_or(&t->gate, CLOSED) & ENTERED);
}

/* ---- groups ---------------------------------------------------------------------------------- */

struct vn_thread_groups {
    vn_thread_pool *pool;
    int count;
    vn_thread_pool *group; /* [count] */
    vn_task task;
    void *context;
};

vn_status vn_thread_groups_open(vn_thread_pool *pool, int count, vn_thread_groups **out,
                                vn_err *err) {
    vn_thread_groups *g = *out = vn_calloc(1, sizeof *g);
    if (!g) return vn_no_memory(err);
    g->pool = pool;
    g->group = vn_calloc((size_t)count, sizeof *g->group);
    if (!g->group) {
        vn_thread_groups_close(out);
        return vn_no_memory(err);
    }
    for (; g->count < count; g->count++) set_up(&g->group[g->count], vn_thread_pool_threads(pool));
    return VN_OK;
}

void vn_thread_groups_close(vn_thread_groups **groups) {
    vn_thread_groups *g = *groups;
    if (!g) return;
    for (int i = 0; i < g->count; i++) tear_down(&g->group[i]);
    vn_free(g->group);
    vn_free(g);
    *groups = NULL;
}

vn_thread_pool *vn_thread_groups_pool(vn_thread_groups *g, int i) {
    return &g->group[i];
}

/* The first tasks are the groups' own, so that all of them are begun before a thread helps, and it
 * never waits for one that nobody runs. In every group a thread has the index that it has in the
 * pool, which no other has. */
static void take_part(void *context, int64_t i, int thread) {
    vn_thread_groups *g = context;
    if (i < g->count) {
        vn_thread_pool *own = &g->group[i];
        own->caller = thread;
        g->task(g->context, i, thread);
        call_off(own);
        return;
    }
    for (int k = 0; k < g->count; k++) help(&g->group[(i + k) % g->count], thread);
}

void vn_thread_groups_run(vn_thread_groups *g, vn_task task, void *context) {
    g->task = task;
    g->context = context;
    for (int i = 0; i < g->count; i++) atomic_store(&g->group[i].quit, false);
    vn_thread_pool_run(g->pool, g->count + vn_thread_pool_threads(g->pool), take_part, g);
}
