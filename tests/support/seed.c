/* seed.c - see seed.h. */
#include "support/seed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static bool known; /* the seed of this run */

static uint64_t of_this_run(void) {
    static uint64_t seed;
    if (known) return seed;
    const char *text = getenv("VANE_TEST_SEED");
    char *end = NULL;
    errno = 0;
    if (text) seed = strtoull(text, &end, 10);
    if (text && (end == text || *end || errno || *text == '-')) {
        fprintf(stderr, "VANE_TEST_SEED: %s is no whole number\n", text);
        exit(99);
    }
    printf("seed: %" PRIu64 "\n", seed);
    known = true;
    return seed;
}

uint64_t test_seed(uint64_t own) {
    return own + of_this_run() * UINT64_C(0xd1342543de82ef95);
}

bool test_seed_used(void) {
    return known;
}
