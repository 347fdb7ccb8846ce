/* support_faults.h - one system call of the program made to fail, or its last: the n-th of those
 * that change files. For test programs that work in a folder of their own. Built on the kernel's
 * seccomp notifications, so it meets every call of every library, stdio's writes among them, and
 * needs no tool. */
#ifndef SUPPORT_FAULTS_H
#define SUPPORT_FAULTS_H

#include <stdbool.h>

typedef struct fault {
    long at;      /* which call, from 0; < 0: none */
    int error;    /* what it fails with; 0: the program is killed just before it */
    bool twice;   /* the next call that counts fails too */
    bool all;     /* every call from then on fails */
    int call;     /* only calls of this number (SYS_write) count; 0: all that change files */
    bool refuses; /* every call of `call` fails with `error`, and others count */
} fault;

typedef struct faulty {
    int status;         /* exit status; 128 + signal */
    long calls;         /* that counted */
    bool hit;           /* the fault came */
    const char *failed; /* name of the call it came to */
} faulty;

/* False where the kernel or a container does not allow it: such a test is skipped. */
bool faults_work(void);
/* `vane` and these words, split at blanks, with its output thrown away; stderr goes to err.txt. */
faulty run_faulty(fault f, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
