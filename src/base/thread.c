/* thread.c - threads of the library's own. */
#include "base/base.h"

#include <pthread.h>
#include <signal.h>

bool vn_thread_begin(pthread_t *thread, void *(*run)(void *), void *of) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a thread begins with its maker's */
    const bool began = pthread_create(thread, NULL, run, of) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return began;
}
