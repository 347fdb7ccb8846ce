/* test_files.c - what else than files may stand where the program reads or writes one: pipes that
 * nobody is at, devices, sockets, links. Each is told by its kind, at once, and what is beside an
 * output stays as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

enum { SECONDS = 60 }; /* until something that hangs is ended by SIGALRM */

static void make_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void expect_text(const char *path, const char *text) {
    size_t size;
    char *found = scratch_read(path, &size);
    assert_string_equal(found, text);
    free(found);
}

static int prepare(void **state) {
    if (scratch_enter(state) != 0) return -1;
    make_idx("data", 60);
    make_config();
    make_world();
    assert_int_equal(
        system("mkfifo pipe pipe.png pipe.npz pipe.json pipe.safetensors && mkdir -p pictures/a && "
               "mkfifo pictures/a/0.png"),
        0);
    make_socket("sock");
    make_socket("sock.png");
    alarm(SECONDS);
    return 0;
}

static int leave(void **state) {
    alarm(0);
    return scratch_leave(state);
}

static void test_what_is_no_file_is_told_by_its_kind(void **state) {
    (void)state;
    static const struct {
        const char *words, *complaint;
    } cases[] = {
        {"info pipe", "info: pipe: is a pipe, not a regular file"},
        {"info sock", "info: sock: is a socket, not a regular file"},
        {"info sock.png", "info: sock.png: is a socket, not a regular file"},
        {"info /dev/null", "info: /dev/null: is a device, not a regular file"},
        {"info pipe.png", "info: pipe.png: is a pipe, not a regular file"},
        {"info pipe.json", "info: pipe.json: is a pipe, not a regular file"},
        {"info pipe.safetensors", "info: pipe.safetensors: is a pipe, not a regular file"},
        {"info absent", "info: absent: No such file or directory"},
        {"train pipe --out run --steps 1 --quiet", "train: pipe: is a pipe, not a regular file"},
        {"train /dev/zero --out run --steps 1 --quiet",
         "train: /dev/zero: is a device, not a regular file"},
        {"train pipe.npz --out run --steps 1 --quiet",
         "train: pipe.npz: is a pipe, not a regular file"},
        {"train pipe.json --out run --steps 1 --quiet",
         "train: pipe.json: is a pipe, not a regular file"},
        {"train data --model pipe.json --out run --steps 1 --quiet",
         "pipe.json: is a pipe, not a regular file"},
        {"sample pipe --out x.npy --quiet", "sample: pipe: is a pipe, not a regular file"},
        {"sample /dev/zero --out x.npy --quiet",
         "sample: /dev/zero: is a device, not a regular file"},
        {"sample world.json --out full.npy --quiet",
         "sample: full.npy: is a device, not a regular file"},
        {"sample world.json --out pipe.npy --quiet",
         "sample: pipe.npy: is a pipe, not a regular file"},
        {"sample world.json --noise pipe.safetensors --out x.npy --quiet",
         "pipe.safetensors: is a pipe"},
        {"bench pipe", "bench: pipe: is a pipe, not a regular file"},
        {"forward pipe --in pipe.safetensors --out x.safetensors",
         "forward: pipe: is a pipe, not a regular file"},
    };
    assert_int_equal(mkfifo("pipe.npy", 0666) | symlink("/dev/full", "full.npy"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const outcome *o = run_vane("%s", cases[i].words);
        if (o->status != 1 && o->status != 2) fail_msg("%s: status %d", cases[i].words, o->status);
        expect_complaint(o, cases[i].complaint);
    }
    assert_false(exists("run") || exists("x.npy") || exists("x.safetensors"));
}

/* Under names that the program was known to use, or could be thought to. */
static void test_names_beside_an_output_are_left_alone(void **state) {
    (void)state;
    static const char *const outs[] = {"a.png", "a.npy", "a.safetensors"};
    scratch_write_text("dear", "kept");
    for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++) {
        char pipe[64], hard[64], soft[64];
        struct stat info;
        snprintf(pipe, sizeof pipe, "%s.vane-tmp", outs[i]);
        snprintf(hard, sizeof hard, "%s.tmp", outs[i]);
        snprintf(soft, sizeof soft, "%s.part", outs[i]);
        assert_int_equal(mkfifo(pipe, 0666) | link("dear", hard) | symlink("dear", soft), 0);
        expect_status(0, "sample world.json -n 4 --steps 2 --out %s --quiet", outs[i]);
        assert_int_equal(lstat(pipe, &info), 0);
        assert_true(S_ISFIFO(info.st_mode));
    }
    expect_text("dear", "kept");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_file_is_told_by_its_kind),
        cmocka_unit_test(test_names_beside_an_output_are_left_alone),
    };
    return cmocka_run_group_tests(tests, prepare, leave);
}
