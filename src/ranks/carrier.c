/* carrier.c - see internal.h. A call of MPI may wait for ever for a process that has died or hangs,
 * and must come from the thread that MPI was begun by. So one thread does nothing but such calls,
 * and whoever needs an exchange waits for that thread, until a time-out. */
#include <pthread.h>
#include <time.h>

#include "ranks/internal.h"

typedef enum carrying { CARRY_NOTHING, CARRY_OPEN, CARRY_MESSAGES, CARRY_CLOSE } carrying;

struct vn_carrier {
    const vn_transport *transport;
    const vn_watch *watch;
    double timeout;
    bool patient;
    bool alone; /* when it is closed */
    int64_t step;
    int rank, count;
    int lost; /* a rank that did not answer; -1: unknown which; or VN_NONE_LOST */
    vn_err why;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked, done;
    carrying work; /* CARRY_NOTHING when it is done */
    int n;
    const vn_message *messages;
    vn_exchange_state state;
    int failed;
    char text[VN_TRANSPORT_WHY];
};

/* ---- the thread ------------------------------------------------------------------------------ */

static int carry(vn_carrier *c, carrying work) {
    switch (work) {
    case CARRY_OPEN: return c->transport->open(&c->rank, &c->count, c->text);
    case CARRY_MESSAGES: return c->transport->exchange(c->n, c->messages, &c->state, c->text);
    case CARRY_CLOSE: c->transport->close(c->alone); return 0;
    case CARRY_NOTHING: break;
    }
    return 0;
}

static void *carry_all(void *context) {
    vn_carrier *c = context;
    carrying work = CARRY_NOTHING;
    while (work != CARRY_CLOSE) {
        pthread_mutex_lock(&c->lock);
        while (c->work == CARRY_NOTHING) pthread_cond_wait(&c->asked, &c->lock);
        work = c->work;
        pthread_mutex_unlock(&c->lock);
        const int failed = carry(c, work);
        pthread_mutex_lock(&c->lock);
        c->failed = failed;
        c->work = CARRY_NOTHING;
        pthread_cond_signal(&c->done);
        pthread_mutex_unlock(&c->lock);
    }
    return NULL;
}

/* ---- waiting for it -------------------------------------------------------------------------- */

#define START_SECONDS  60  /* that a process may take to begin, at least */
#define STOP_SECONDS   2   /* that the thread may take to give up */
#define LOOK_SECONDS   0.2 /* between looks at the clock */
#define CANCEL_SECONDS 0.5 /* after which a wait is told to who wants to end */

static struct timespec after(double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const int64_t nanoseconds = t.tv_nsec + (int64_t)(1e9 * seconds);
    t.tv_sec += (time_t)(nanoseconds / 1000000000);
    t.tv_nsec = (long)(nanoseconds % 1000000000);
    return t;
}

/* " in step 8"; "" */
static const char *step_text(const vn_carrier *c, char text[32]) {
    text[0] = '\0';
    if (c->step >= 0) snprintf(text, 32, " in step %lld", (long long)c->step);
    return text;
}

static vn_status lose(vn_carrier *c, double waited) {
    char step[32];
    const int missing = atomic_load(&c->state.missing);
    c->lost = missing;
    if (missing >= 0)
        return vn_fail(&c->why, VN_IO, "rank %d of %d has not answered for %.3g s%s", missing,
                       c->count, waited, step_text(c, step));
    return vn_fail(&c->why, VN_IO, "the other processes have not answered for %.3g s%s", waited,
                   step_text(c, step));
}

static vn_status break_off(vn_carrier *c) {
    char step[32];
    const int missing = atomic_load(&c->state.missing);
    c->lost = missing;
    if (missing >= 0)
        return vn_fail(&c->why, VN_IO, "rank %d of %d is lost%s: %s", missing, c->count,
                       step_text(c, step), c->text);
    return vn_fail(&c->why, VN_IO, "%s%s: %s", c->transport->name, step_text(c, step), c->text);
}

/* A launcher that loses a process ends the others, some of them after a moment: then it is good to
 * know for whom they waited. */
static void tell_wait(const vn_carrier *c, double waited) {
    char step[32];
    const int missing = atomic_load(&c->state.missing);
    if (missing >= 0)
        vn_log(c->watch, VN_LOG_WARNING, "rank %d of %d has not answered for %.1f s%s", missing,
               c->count, waited, step_text(c, step));
}

/* Until it has come out, the thread may write where messages were to go, which their owner may free
 * next. A thread that hangs in the transport does not write either. */
static void stop_thread(vn_carrier *c) {
    const struct timespec end = after(STOP_SECONDS);
    atomic_store(&c->state.stop, true);
    while (c->work != CARRY_NOTHING && pthread_cond_timedwait(&c->done, &c->lock, &end) == 0) {
    }
}

/* Gives the thread something to do, and waits for it. seconds 0: without end. */
static vn_status ask(vn_carrier *c, carrying work, double seconds, vn_err *err) {
    const double began = vn_now();
    bool told = false;
    if (c->lost != VN_NONE_LOST && work != CARRY_CLOSE) {
        *err = c->why;
        return err->status;
    }
    pthread_mutex_lock(&c->lock);
    c->work = work;
    pthread_cond_signal(&c->asked);
    while (c->work != CARRY_NOTHING) {
        const struct timespec look = after(LOOK_SECONDS);
        pthread_cond_timedwait(&c->done, &c->lock, &look);
        const double waited = vn_now() - began;
        if (c->work == CARRY_NOTHING) break;
        if (seconds > 0 && waited > seconds) break;
        if (!told && work == CARRY_MESSAGES && waited > CANCEL_SECONDS && c->watch &&
            c->watch->cancel && *c->watch->cancel) {
            tell_wait(c, waited);
            told = true;
        }
    }
    const bool over = c->work == CARRY_NOTHING, failed = over && c->failed;
    vn_status status = VN_OK;
    if (!over) {
        status = lose(c, vn_now() - began);
        stop_thread(c);
    } else if (failed) {
        status = break_off(c);
    }
    pthread_mutex_unlock(&c->lock);
    if (status) *err = c->why;
    return status;
}

vn_status vn_carrier_exchange(vn_carrier *c, int n, const vn_message *m, vn_err *err) {
    if (c->lost == VN_NONE_LOST) { /* else it may be busy with the last ones still */
        c->n = n;
        c->messages = m;
        atomic_store(&c->state.missing, -1);
    }
    return ask(c, CARRY_MESSAGES, c->patient ? 0 : c->timeout, err);
}

/* ---- life ------------------------------------------------------------------------------------ */

vn_status vn_carrier_open(const vn_transport *t, const vn_ranks_options *o, vn_carrier **out,
                          vn_err *err) {
    pthread_condattr_t monotonic;
    vn_carrier *c = vn_calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return vn_no_memory(err);
    c->transport = t;
    c->watch = o->watch;
    c->timeout = o->timeout;
    c->lost = VN_NONE_LOST;
    c->step = -1;
    c->count = 1;
    atomic_init(&c->state.missing, -1);
    atomic_init(&c->state.stop, false);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->asked, NULL);
    pthread_cond_init(&c->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!vn_thread_begin(&c->thread, carry_all, c)) {
        pthread_cond_destroy(&c->asked);
        pthread_cond_destroy(&c->done);
        pthread_mutex_destroy(&c->lock);
        vn_free(c);
        return vn_fail(err, VN_IO, "no thread for messages between processes can be begun");
    }
    /* launchers do not start all at the same moment */
    const double patience =
        c->timeout > START_SECONDS || c->timeout <= 0 ? c->timeout : START_SECONDS;
    const vn_status status = ask(c, CARRY_OPEN, patience, err);
    *out = c;
    if (status) vn_carrier_close(out, false);
    return status;
}

/* The thread may hang in a call of a transport whose ranks are lost: then it is left alone, with
 * what it uses. */
void vn_carrier_close(vn_carrier **out, bool together) {
    vn_carrier *c = *out;
    vn_err err = {0};
    *out = NULL;
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    const bool busy = c->work != CARRY_NOTHING;
    pthread_mutex_unlock(&c->lock);
    c->alone = !together || c->lost != VN_NONE_LOST;
    const double patience = c->lost != VN_NONE_LOST ? 2 : c->timeout;
    if (busy || ask(c, CARRY_CLOSE, patience, &err)) {
        pthread_detach(c->thread);
        return;
    }
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->asked);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
    vn_free(c);
}

int vn_carrier_rank(const vn_carrier *c) {
    return c->rank;
}

int vn_carrier_count(const vn_carrier *c) {
    return c->count;
}

void vn_carrier_set_patient(vn_carrier *c, bool patient) {
    c->patient = patient;
}

void vn_carrier_set_step(vn_carrier *c, int64_t step) {
    c->step = step;
}

int vn_carrier_lost(const vn_carrier *c) {
    return c->lost;
}
