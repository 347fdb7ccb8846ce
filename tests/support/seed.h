/* seed.h - the seeds of property tests:
 *
 *     vn_random_normal(x, n, test_seed(11), VN_STREAM_TEST, 0, 0);      in place of a seed of 11
 *
 * Without VANE_TEST_SEED, or with 0, it is the test's own number, so that a run of ctest is the
 * same every time. `./check --explore` picks another number for each of its runs, says so at its
 * end, and tests then draw other shapes, inputs and damages. What fails is drawn again with
 * VANE_TEST_SEED=NUMBER in the environment; each program prints the number that it ran with.
 *
 * A bound on what is drawn must hold for any seed: it comes from an estimate of the error of the
 * worst draw, not from the draws of one seed. */
#ifndef VN_TEST_SEED_H
#define VN_TEST_SEED_H

#include <stdbool.h>
#include <stdint.h>

/* Unlike `own` give unlike seeds, near ones too. Ends the program with 99 where VANE_TEST_SEED is
 * no whole number. */
uint64_t test_seed(uint64_t own);

/* Whether test_seed has been called. */
bool test_seed_used(void);

#endif
