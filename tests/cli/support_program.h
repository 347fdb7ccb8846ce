/* support_program.h - running the program as a user would: commands in, exit status and words out.
 * For test programs that work in a folder of their own (support/scratch.h). They look at words,
 * files and statuses, and at bytes that two runs give alike; numbers that depend on the kernel set
 * are tested in tests/api, and the program runs here under the best one. */
#ifndef SUPPORT_PROGRAM_H
#define SUPPORT_PROGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct outcome {
    int status; /* exit status; 128 + signal where one ended it */
    char *out, *err;
    double seconds;
} outcome;

/* `vane` and these words, through the shell. The outcome is valid until the next call. */
const outcome *run_vane(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, which must end in this status; a failure shows the words. */
const outcome *expect_status(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Starts it, silent, without waiting; wait_vane gives its status. */
pid_t start_vane(const char *format, ...) __attribute__((format(printf, 1, 2)));
int wait_vane(pid_t pid);
void sleep_ms(int milliseconds);

/* stderr must be one line that contains `words`, and stdout nothing. */
void expect_complaint(const outcome *o, const char *words);
/* stdout as JSON, to be released; a text that is none is a failure. */
json_t *expect_json(const outcome *o);

bool exists(const char *path);

/* Makes the folder with an IDX pair: `count` pictures of 8 x 8, three classes that a network can
 * tell apart. */
void make_idx(const char *folder, int count);
/* Writes tiny.json: the config of a U-Net for them, of some thousand parameters. */
void make_config(void);
/* Writes world.json: two classes of points in the plane, "left" and "right". */
void make_world(void);

#endif
