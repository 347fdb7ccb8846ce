/* support_api.h - what the tests of the public header share: tiny data, a tiny run, a world. */
#ifndef VN_TEST_SUPPORT_API_H
#define VN_TEST_SUPPORT_API_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vane.h"

/* Two classes of 8x8 pictures, `count` of them, as an IDX pair in `folder`. */
void make_data(const char *folder, int count);
/* A world of two classes in the plane. */
void make_world(const char *file);
/* Options of a run of so many steps that takes a moment. */
vn_train_options tiny_options(int64_t steps);
/* A context of the kernel set under test (support/kernels.h). */
vn_status open_tested(vn_context **vn);
/* Fails the test with the context's words unless status is VN_OK. */
void expect_ok(const vn_context *vn, vn_status status);

#endif
