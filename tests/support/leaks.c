/* leaks.c - linked into every test program. A check that fails leaves its test by a jump, past what
 * would have freed its memory; so after a failure the sanitizer does not look for leaks, and the
 * failure is all that is reported. */
#include <stdlib.h>

static int failed;

int __lsan_is_turned_off(void); /* the sanitizer asks for it by this name */

int __lsan_is_turned_off(void) {
    return failed;
}

static void note(int status, void *unused) {
    (void)unused;
    failed = status != 0;
}

__attribute__((constructor)) static void watch(void) {
    on_exit(note, NULL);
}
