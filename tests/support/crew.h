/* crew.h - crews of 2, 3, .. threads for tests: opened when first asked for, closed when the program ends. */
#ifndef VN_TEST_CREW_H
#define VN_TEST_CREW_H

#include <stdlib.h>

#include "base/base.h"

#define CREW_MOST 4

static vn_crew *crews[CREW_MOST + 1];

static void crews_close(void) {
    for (int i = 0; i <= CREW_MOST; i++) vn_crew_close(&crews[i]);
}

/* threads <= CREW_MOST; 1: no crew, NULL. */
static inline vn_crew *crew_of(int threads) {
    static bool closes;
    if (!closes) closes = atexit(crews_close) == 0;
    if (threads > 1 && !crews[threads] && vn_crew_open(threads, &crews[threads], NULL) != VN_OK) abort();
    return threads > 1 ? crews[threads] : NULL;
}

#endif
