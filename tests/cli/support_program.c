/* support_program.c - see support_program.h. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/idx.h"

/* ---- files ----------------------------------------------------------------------------------- */

bool exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

/* ---- running --------------------------------------------------------------------------------- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void sleep_ms(int milliseconds) {
    struct timespec t = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static int exit_status(int waited) {
    return WIFEXITED(waited) ? WEXITSTATUS(waited) : 128 + WTERMSIG(waited);
}

static char command[2048]; /* the latest, for messages */

static const outcome *run_words(const char *format, va_list words) {
    static outcome latest;
    int used = snprintf(command, sizeof command, "exec >out.txt 2>err.txt; exec %s ", VN_PROGRAM);
    vsnprintf(command + used, sizeof command - (size_t)used, format, words);
    size_t size;
    double began = now();
    int waited = system(command);
    free(latest.out);
    free(latest.err);
    latest = (outcome){.status = exit_status(waited), .seconds = now() - began};
    latest.out = scratch_read("out.txt", &size);
    latest.err = scratch_read("err.txt", &size);
    return &latest;
}

const outcome *run_vane(const char *format, ...) {
    va_list words;
    va_start(words, format);
    const outcome *o = run_words(format, words);
    va_end(words);
    return o;
}

const outcome *expect_status(int status, const char *format, ...) {
    va_list words;
    va_start(words, format);
    const outcome *o = run_words(format, words);
    va_end(words);
    if (o->status != status)
        fail_msg("%s: status %d, not %d\n%s%s", command, o->status, status, o->out, o->err);
    return o;
}

pid_t start_vane(const char *format, ...) {
    va_list words;
    va_start(words, format);
    int used = snprintf(command, sizeof command, "exec %s ", VN_PROGRAM);
    vsnprintf(command + used, sizeof command - (size_t)used, format, words);
    va_end(words);
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("started.txt", "w", stderr)) _exit(126);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

int wait_vane(pid_t pid) {
    int waited;
    assert_int_equal(waitpid(pid, &waited, 0), pid);
    return exit_status(waited);
}

void expect_complaint(const outcome *o, const char *words) {
    const char *end = strchr(o->err, '\n');
    if (!strstr(o->err, words)) fail_msg("stderr does not say '%s': %s", words, o->err);
    if (!end || end[1] != '\0') fail_msg("stderr is not one line: %s", o->err);
    assert_string_equal(o->out, "");
}

json_t *expect_json(const outcome *o) {
    json_error_t error;
    json_t *object = json_loads(o->out, JSON_REJECT_DUPLICATES, &error);
    if (!object) fail_msg("no JSON: %s: %s", error.text, o->out);
    assert_true(json_is_object(object));
    return object;
}

/* ---- things to run on ------------------------------------------------------------------------ */

void make_idx(const char *folder, int count) {
    enum { side = 8, pixels = side * side, classes = 3, most = 100 };
    static uint8_t images[most * pixels], labels[most];
    char prefix[300];
    assert_true(count <= most);
    for (int i = 0; i < count; i++) {
        labels[i] = (uint8_t)(i % classes);
        /* class c: bright in the c-th third, less so from picture to picture */
        for (int p = 0; p < pixels; p++) {
            bool bright = p / side * classes / side == i % classes;
            images[i * pixels + p] = (uint8_t)(bright ? 255 - i % 50 : i % 20);
        }
    }
    mkdir(folder, 0777);
    snprintf(prefix, sizeof prefix, "%s/train", folder);
    idx_write(prefix, "", (int[]){count, side, side}, images, labels, scratch_write);
}

void make_config(void) {
    static const char config[] = "{\"_class_name\": \"UNet2DModel\", \"sample_size\": 8, "
                                 "\"in_channels\": 1, \"out_channels\": 1,\n"
                                 " \"block_out_channels\": [8, 16], \"layers_per_block\": 1, "
                                 "\"norm_num_groups\": 4, \"num_class_embeds\": 4,\n"
                                 " \"down_block_types\": [\"DownBlock2D\", \"DownBlock2D\"], "
                                 "\"up_block_types\": [\"UpBlock2D\", "
                                 "\"UpBlock2D\"],\n"
                                 " \"attention_head_dim\": 8, \"add_attention\": false}\n";
    scratch_write_text("tiny.json", config);
}

void make_world(void) {
    static const char world[] = "{\"classes\": [{\"name\": \"left\", \"components\": [{\"weight\": "
                                "1, \"mean\": [-1, 0.5], \"std\": 0.2}]},\n"
                                "              {\"name\": \"right\", \"components\": [{\"weight\": "
                                "2, \"mean\": [1, 0], \"cov\": [[0.1, 0], "
                                "[0, "
                                "0.2]]}]}],\n"
                                " \"class_weights\": [0.5, 0.5]}\n";
    scratch_write_text("world.json", world);
}
