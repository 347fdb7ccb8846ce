/* kernels.c - see kernels.h. */
#include "support/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const vn_device_row *kernels;

/* Sanitizers look at memory, and the kernels' own tests (tests/cpu) look at that of each set; here
 * they would take minutes. */
#if defined(__SANITIZE_ADDRESS__)
static const bool best_alone = true;
#else
static const bool best_alone = false;
#endif

int kernels_run(const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
                CMFixtureFunction teardown) {
    const char *only = getenv("VANE_TEST_KERNELS");
    int failed = 0;
    vn_err err = {0};
    if (only && !vn_cpu_row(only, &err)) {
        fprintf(stderr, "VANE_TEST_KERNELS: %s\n", err.text);
        return 99;
    }
    for (size_t i = 0; (kernels = vn_cpu_row_at(i)) && (i == 0 || !best_alone || only); i++)
        if (!only || vn_cpu_row(only, NULL) == kernels) {
            print_message("kernels: %s\n", kernels->name);
            failed += _cmocka_run_group_tests(kernels->name, tests, count, setup, teardown);
        }
    return failed;
}
