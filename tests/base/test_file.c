/* Files: whole or not at all, whatever happens in between - abandoning, a full disk, a kill, memory
 * running out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/base.h"
#include "support/alloc.h"
#include "support/scratch.h"

static void assert_holds(const char *path, const char *text) {
    size_t size;
    char *found = scratch_read(path, &size);
    assert_string_equal(found, text);
    assert_int_equal(size, strlen(text));
    free(found);
}

static vn_status write_text(const char *path, const char *text, vn_err *err) {
    vn_writer w;
    vn_status status = vn_writer_open(&w, path, err);
    if (status) return status;
    fputs(text, w.file);
    return vn_writer_commit(&w, err);
}

/* Every test has a folder of its own in the scratch folder. */
static int enter(void **state) {
    (void)state;
    return mkdir("each", 0777) || chdir("each");
}

static int leave(void **state) {
    (void)state;
    if (chdir("..")) return 1;
    scratch_remove("each");
    return 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void files_appear_at_commit(void **state) {
    (void)state;
    vn_writer w;
    assert_int_equal(vn_writer_open(&w, "a", NULL), VN_OK);
    fputs("new", w.file);
    fflush(w.file);
    assert_false(vn_is_file("a"));
    assert_int_equal(vn_writer_commit(&w, NULL), VN_OK);
    assert_holds("a", "new");
    assert_int_equal(scratch_count("."), 1);
    vn_writer_abandon(&w); /* safe after commit */
    assert_holds("a", "new");
}

static void an_old_file_stays_until_commit(void **state) {
    (void)state;
    scratch_write_text("a", "old");
    vn_writer w;
    assert_int_equal(vn_writer_open(&w, "a", NULL), VN_OK);
    fputs("new", w.file);
    fflush(w.file);
    assert_holds("a", "old");
    vn_writer_abandon(&w);
    assert_holds("a", "old");
    assert_int_equal(scratch_count("."), 1);
    assert_int_equal(write_text("a", "new", NULL), VN_OK);
    assert_holds("a", "new");
}

/* Two writers at once: each writes a file of its own, and the later one is what stays. */
static void two_writers_do_not_mix(void **state) {
    (void)state;
    vn_writer first, second;
    assert_int_equal(vn_writer_open(&first, "a", NULL), VN_OK);
    assert_int_equal(vn_writer_open(&second, "a", NULL), VN_OK);
    fputs("first", first.file);
    fputs("second", second.file);
    assert_int_equal(vn_writer_commit(&second, NULL), VN_OK);
    assert_holds("a", "second");
    assert_int_equal(vn_writer_commit(&first, NULL), VN_OK);
    assert_holds("a", "first");
    assert_int_equal(scratch_count("."), 1);
}

/* What is there at the commit stays: a file, a folder, a link to nothing. */
static void a_new_file_takes_no_name_that_something_has(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        vn_writer w;
        vn_err err = {0};
        assert_int_equal(vn_writer_open_new(&w, "a", NULL), VN_OK);
        fputs("new", w.file);
        if (kind == 0) scratch_write_text("a", "theirs");
        if (kind == 1) assert_int_equal(mkdir("a", 0777), 0);
        if (kind == 2) assert_int_equal(symlink("nowhere", "a"), 0);
        if (kind == 3) {
            assert_int_equal(vn_writer_commit(&w, &err), VN_OK);
            assert_holds("a", "new");
        } else {
            assert_int_equal(vn_writer_commit(&w, &err), VN_IO);
            assert_string_equal(err.text, "a: cannot be written: File exists");
            if (kind == 0) assert_holds("a", "theirs");
        }
        assert_int_equal(scratch_count("."), 1);
        remove("a");
    }
}

static void a_path_is_followed_as_far_as_it_exists(void **state) {
    (void)state;
    static const struct {
        const char *path, *real;
    } cases[] = {{".", ""},
                 {"a", "/a"},
                 {"a/../b", "/b"},
                 {"b/c", "/b/c"},
                 {"l/c", "/a/c"},
                 {"./b//", "/b"},
                 {"a/x//y", "/a/x//y"},
                 {"to-b", "/b"},
                 {".hidden/x", "/.hidden/x"}};
    char *here = vn_real_path(".");
    assert_non_null(here);
    assert_int_equal(mkdir("a", 0777), 0);
    assert_int_equal(symlink("a", "l"), 0);
    assert_int_equal(symlink("b", "to-b"), 0);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        char *real = vn_real_path(cases[i].path);
        assert_non_null(real);
        assert_memory_equal(real, here, strlen(here));
        assert_string_equal(real + strlen(here), cases[i].real);
        vn_free(real);
    }
    vn_free(here);
    char *root = vn_real_path("/no-such/folder");
    assert_string_equal(root, "/no-such/folder");
    vn_free(root);
}

static void a_folder_is_locked_once(void **state) {
    (void)state;
    int first, second;
    vn_err err = {0};
    assert_int_equal(vn_lock_folder("absent", "absent", "read", &first, &err), VN_IO);
    assert_int_equal(mkdir("folder", 0777), 0);
    assert_int_equal(vn_lock_folder("folder", "it", "read", &first, NULL), VN_OK);
    assert_int_equal(vn_lock_folder("folder", "it", "read", &second, &err), VN_IO);
    assert_string_equal(err.text, "it is being read by another process");
    close(first);
    assert_int_equal(vn_lock_folder("folder", "it", "read", &second, NULL), VN_OK);
    close(second);
    assert_int_equal(scratch_count("folder"), 0);
}

static void names_aside_cannot_be_guessed(void **state) {
    (void)state;
    enum { WRITERS = 50 };
    char seen[WRITERS][64];
    assert_int_equal(mkdir("folder", 0777), 0);
    for (int i = 0; i < WRITERS; i++) {
        static const char before[] = "folder/.vane-tmp-";
        vn_writer w;
        assert_int_equal(vn_writer_open(&w, "folder/a", NULL), VN_OK);
        assert_memory_equal(w.aside, before, strlen(before));
        assert_true(vn_is_unguessable(w.aside + strlen(before)));
        snprintf(seen[i], sizeof seen[i], "%s", w.aside);
        for (int k = 0; k < i; k++) assert_string_not_equal(seen[i], seen[k]);
        vn_writer_abandon(&w);
    }
    assert_true(vn_is_unguessable("0123456789abcdef"));
    assert_false(vn_is_unguessable("0123456789abcde") || vn_is_unguessable("0123456789abcdef0") ||
                 vn_is_unguessable("0123456789abcdeF"));
}

/* A pipe nobody reads and a link to something dear, under the names that a writer could be thought
 * to use. */
static void what_stands_beside_the_output_is_neither_waited_for_nor_followed(void **state) {
    (void)state;
    static const char *const asides[] = {"a.vane-tmp", "a.tmp", ".vane-tmp-0", ".a.vane-tmp"};
    scratch_write_text("dear", "kept");
    for (int kind = 0; kind < 3; kind++) {
        for (size_t i = 0; i < VN_COUNT(asides); i++) {
            if (kind == 0) assert_int_equal(mkfifo(asides[i], 0666), 0);
            if (kind == 1) assert_int_equal(link("dear", asides[i]), 0);
            if (kind == 2) assert_int_equal(symlink("dear", asides[i]), 0);
        }
        alarm(20);
        assert_int_equal(write_text("a", "new", NULL), VN_OK);
        assert_int_equal(vn_check_file("a", NULL) | vn_check_folder(".", NULL), VN_OK);
        alarm(0);
        assert_holds("a", "new");
        assert_holds("dear", "kept");
        for (size_t i = 0; i < VN_COUNT(asides); i++) assert_int_equal(unlink(asides[i]), 0);
    }
    assert_int_equal(scratch_count("."), 2);
}

/* What is removed from a folder is only what a killed writer left: of the form of its names, a file
 * or an empty folder, and not held by a writer that is at work. */
static void what_killed_writers_left_is_removed(void **state) {
    (void)state;
    static const char *const kept[] = {".vane-tmp-0123456789abcde", ".vane-tmp-0123456789abcdeg",
                                       "a.vane-tmp", "vane-tmp-0123456789abcdef",
                                       ".vane-tmp-0123456789abcdef0"};
    for (size_t i = 0; i < VN_COUNT(kept); i++) scratch_write_text(kept[i], "not ours");
    scratch_write_text("dear", "kept");
    assert_int_equal(symlink("dear", ".vane-tmp-0000000000000001"), 0);
    assert_int_equal(mkfifo(".vane-tmp-0000000000000002", 0666), 0);
    assert_int_equal(mkdir(".vane-tmp-0000000000000003", 0777), 0);
    scratch_write_text(".vane-tmp-0000000000000003/full", "kept");
    assert_int_equal(mkdir(".vane-tmp-0000000000000004", 0777), 0);
    scratch_write_text(".vane-tmp-0000000000000005", "left");
    vn_writer w;
    assert_int_equal(vn_writer_open(&w, "a", NULL), VN_OK);
    fputs("new", w.file);
    const int before = scratch_count(".");
    alarm(20);
    vn_remove_stale(".");
    alarm(0);
    assert_int_equal(scratch_count("."), before - 2);
    assert_int_equal(access(".vane-tmp-0000000000000004", F_OK) &
                         access(".vane-tmp-0000000000000005", F_OK),
                     -1);
    /* it was not taken away from under the writer */
    assert_int_equal(vn_writer_commit(&w, NULL), VN_OK);
    assert_holds("a", "new");
    vn_remove_stale("nowhere");
}

/* By whoever looks whether it can write there, before it does. */
static void looking_removes_what_is_stale(void **state) {
    (void)state;
    assert_int_equal(mkdir("folder", 0777), 0);
    for (int file = 0; file < 2; file++) {
        scratch_write_text("folder/.vane-tmp-0000000000000005", "left");
        assert_int_equal(file ? vn_check_file("folder/a", NULL) : vn_check_folder("folder", NULL),
                         VN_OK);
        assert_int_equal(scratch_count("folder"), 0);
    }
}

static void links_stay_links(void **state) {
    (void)state;
    assert_int_equal(mkdir("there", 0777), 0);
    scratch_write_text("there/a", "old");
    assert_int_equal(symlink("there/a", "link"), 0);
    assert_int_equal(write_text("link", "new", NULL), VN_OK);
    assert_holds("there/a", "new");
    struct stat info;
    assert_int_equal(lstat("link", &info), 0);
    assert_true(S_ISLNK(info.st_mode));

    assert_int_equal(symlink("there/b", "dangling") | symlink("../link", "there/first"), 0);
    assert_int_equal(write_text("dangling", "of a link to nothing yet", NULL), VN_OK);
    assert_holds("there/b", "of a link to nothing yet");
    assert_int_equal(write_text("there/first", "of two links", NULL), VN_OK);
    assert_holds("there/a", "of two links");
    assert_int_equal(scratch_count(".") + scratch_count("there"), 6);
    assert_int_equal(symlink("round", "round"), 0);
    vn_err err = {0};
    assert_int_equal(write_text("round", "new", &err), VN_IO);
    assert_string_equal(err.text, "round: cannot be written: Too many levels of symbolic links");
}

static void permissions_are_what_the_umask_leaves(void **state) {
    (void)state;
    static const mode_t masks[] = {0, 022, 027, 077};
    for (size_t i = 0; i < VN_COUNT(masks); i++) {
        struct stat info;
        const mode_t old = umask(masks[i]);
        assert_int_equal(write_text("a", "new", NULL), VN_OK);
        umask(old);
        assert_int_equal(stat("a", &info), 0);
        assert_int_equal(info.st_mode & 07777, 0666 & ~masks[i]);
    }
}

static void impossible_targets_are_named(void **state) {
    (void)state;
    char long_name[301];
    memset(long_name, 'x', 300);
    long_name[300] = 0;
    assert_int_equal(mkdir("folder", 0777), 0);
    assert_int_equal(mkfifo("pipe", 0666), 0);
    const struct {
        const char *path, *words;
    } refused[] = {
        {"folder", "folder: is a folder"},
        {"pipe", "pipe: is a pipe, not a regular file"},
        {"/dev/full", "/dev/full: is a device, not a regular file"},
        {"nowhere/a", "nowhere/a: cannot be written: No such file or directory"},
        {long_name, "xxxx"},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_err err = {0};
        assert_int_equal(write_text(refused[i].path, "new", &err), VN_IO);
        assert_memory_equal(err.text, refused[i].words, strlen(refused[i].words));
    }
    assert_int_equal(scratch_count("."), 2);
}

/* A disk that is full, as far as a process can tell: writing beyond the limit fails. It is met in
 * the middle of a large fwrite, at the flush of a small one, and anywhere between. */
static void a_full_disk_leaves_the_old_file(void **state) {
    (void)state;
    static const size_t sizes[] = {8193, 12000, 65536, 1 << 20};
    static char bytes[1 << 20];
    signal(SIGXFSZ, SIG_IGN);
    scratch_write_text("a", "old");
    for (size_t i = 0; i < VN_COUNT(sizes); i++)
        for (size_t piece = 100; piece <= sizes[i]; piece *= 50) {
            struct rlimit limit, kept;
            getrlimit(RLIMIT_FSIZE, &kept);
            limit = kept;
            limit.rlim_cur = 8192;
            vn_writer w;
            vn_err err = {0};
            assert_int_equal(vn_writer_open(&w, "a", NULL), VN_OK);
            setrlimit(RLIMIT_FSIZE, &limit);
            for (size_t done = 0; done < sizes[i]; done += piece) fwrite(bytes, 1, piece, w.file);
            vn_status status = vn_writer_commit(&w, &err);
            setrlimit(RLIMIT_FSIZE, &kept);
            assert_int_equal(status, VN_IO);
            assert_non_null(strstr(err.text, "a: cannot be written: File too large"));
            assert_holds("a", "old");
            assert_int_equal(scratch_count("."), 1);
        }
}

/* kill -9 after each of many small steps of a writer: the file is the old or the new one, and the
 * next writer works. */
static void a_kill_leaves_old_or_new(void **state) {
    (void)state;
    enum { PIECES = 40 };
    bool seen_old = false, seen_new = false;
    for (int kill_after = 0; kill_after <= PIECES + 1; kill_after++) {
        assert_int_equal(write_text("a", "old", NULL), VN_OK);
        pid_t child = fork();
        if (child == 0) {
            vn_writer w;
            if (vn_writer_open(&w, "a", NULL)) _exit(1);
            for (int i = 0; i < PIECES; i++) {
                if (i == kill_after) raise(SIGKILL);
                fputs("new ", w.file);
                fflush(w.file);
            }
            if (kill_after == PIECES) raise(SIGKILL);
            vn_writer_commit(&w, NULL);
            raise(SIGKILL);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        size_t size;
        char *text = scratch_read("a", &size);
        bool is_new = strncmp(text, "new", 3) == 0;
        assert_int_equal(size, is_new ? 4 * PIECES : 3);
        seen_new = seen_new || is_new;
        seen_old = seen_old || !is_new;
        free(text);
        assert_in_range(scratch_count("."), 1, 2);
        vn_remove_stale(".");
        assert_int_equal(scratch_count("."), 1);
    }
    assert_true(seen_old && seen_new);
}

/* stdio works without a buffer of its own, so one failure of many is no failure; then the file must
 * be right. */
static void failed_writes_leave_the_old_file(void **state) {
    (void)state;
    scratch_write_text("a", "old");
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        vn_err err = {0};
        alloc_hit(&t, write_text("a", "new", &err));
        assert_int_equal(scratch_count("."), 1);
    }
    assert_holds("a", "new");
}

/* ---- reading --------------------------------------------------------------------------------- */

static void files_are_read_whole(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000};
    for (size_t i = 0; i < VN_COUNT(sizes); i++) {
        char *bytes = vn_alloc(sizes[i], 1), *data;
        size_t size;
        for (size_t k = 0; k < sizes[i]; k++) bytes[k] = (char)(k * 7);
        scratch_write("a", bytes, sizes[i]);
        assert_int_equal(vn_read_file("a", sizes[i], &data, &size, NULL), VN_OK);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(data, bytes, size);
        assert_int_equal(data[size], 0);
        vn_free(data);
        vn_free(bytes);
    }
}

static void larger_files_are_refused(void **state) {
    (void)state;
    char *data;
    size_t size;
    vn_err err = {0};
    scratch_write_text("a", "12345");
    assert_int_equal(vn_read_file("a", 4, &data, &size, &err), VN_BAD_FILE);
    assert_string_equal(err.text,
                        "a: larger than 4 bytes, which is too large for what it should be");
    assert_null(data);
    /* says it has no bytes */
    assert_int_equal(vn_read_file("/proc/self/status", 20, &data, &size, &err), VN_BAD_FILE);
    assert_null(data);
}

/* A pipe that nobody writes to would keep us waiting, a device might never end. */
static void only_regular_files_are_read(void **state) {
    (void)state;
    static const struct {
        const char *path, *words;
    } refused[] = {{"pipe", "pipe: is a pipe, not a regular file"},
                   {"socket", "socket: is a socket, not a regular file"},
                   {"link", "link: is a pipe, not a regular file"},
                   {"/dev/zero", "/dev/zero: is a device, not a regular file"},
                   {".", ".: is a folder"},
                   {"nowhere", "nowhere: No such file or directory"}};
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    const int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(sock, (const struct sockaddr *)&address, sizeof address), 0);
    close(sock);
    assert_int_equal(mkfifo("pipe", 0666) | symlink("pipe", "link"), 0);
    alarm(20);
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        char *data;
        size_t size;
        vn_err err = {0};
        assert_int_equal(vn_read_file(refused[i].path, 1 << 20, &data, &size, &err), VN_IO);
        assert_string_equal(err.text, refused[i].words);
        assert_null(data);
        err = (vn_err){0};
        assert_int_equal(vn_check_regular(refused[i].path, &err), VN_IO);
        assert_string_equal(err.text, refused[i].words);
    }
    alarm(0);
}

static void failed_reads_give_nothing(void **state) {
    (void)state;
    scratch_write_text("a", "text");
    int64_t live = alloc_live();
    char *data;
    size_t size;
    alloc_fail(0, ALLOC_ONCE);
    vn_status status = vn_read_file("a", 100, &data, &size, NULL);
    assert_true(alloc_fail_end());
    assert_int_equal(status, VN_NO_MEMORY);
    assert_null(data);
    assert_int_equal(alloc_live(), live);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void directories_are_made(void **state) {
    (void)state;
    vn_err err = {0};
    assert_int_equal(vn_make_dirs("x/y//z/", NULL), VN_OK);
    assert_true(vn_is_dir("x/y/z"));
    assert_int_equal(vn_make_dirs("x/y/z", NULL), VN_OK);
    assert_int_equal(vn_make_dirs("./x/../w", NULL), VN_OK);
    assert_true(vn_is_dir("w"));
    scratch_write_text("file", "");
    assert_int_equal(vn_make_dirs("file", &err), VN_IO);
    assert_string_equal(err.text, "file: cannot be made: Not a directory");
    assert_int_equal(vn_make_dirs("file/x", &err), VN_IO);
    assert_string_equal(err.text, "file/x: cannot be made: Not a directory");
}

static void kinds_of_files_are_told(void **state) {
    (void)state;
    scratch_write_text("file", "");
    assert_true(vn_is_file("file") && !vn_is_dir("file"));
    assert_true(vn_is_dir(".") && !vn_is_file("."));
    assert_false(vn_is_dir("nowhere") || vn_is_file("nowhere"));
}

/* By where writing would put them, whether they are there or not. */
static void same_files_are_told(void **state) {
    (void)state;
    scratch_write_text("file", "");
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(vn_make_dirs("folder", NULL), VN_OK);
    assert_int_equal(symlink("folder", "other"), 0);
    assert_true(vn_same_file("file", "./file") && vn_same_file("link", "file") &&
                vn_same_file("folder/../link", "file"));
    assert_true(vn_same_file("new", "./new") && vn_same_file("folder/new", "other/new"));
    assert_true(vn_same_file("nowhere/new", "nowhere/new"));
    assert_false(vn_same_file("file", "new") || vn_same_file("folder/new", "new") ||
                 vn_same_file("a", "nowhere/a"));
}

static void expect_unwritable(vn_status status, const vn_err *err) {
    assert_int_equal(status, VN_IO);
    assert_non_null(strstr(err->text, ": cannot be written: "));
}

/* As another user, where the tests are run by root, to whom everything is open. */
static void what_cannot_be_written_is_known_before(void **state) {
    (void)state;
    static const char *const folders[] = {"closed", "closed/a/b", "file/a"};
    scratch_write_text("file", "no folder");
    assert_int_equal(mkdir("closed", 0555) | mkdir("open", 0777) | chmod("open", 0777), 0);
    assert_int_equal(chmod("..", 0755) | chmod(".", 0755), 0);
    const bool root = geteuid() == 0;
    assert_true(!root || seteuid(65534) == 0);
    for (size_t i = 0; i < VN_COUNT(folders); i++) {
        vn_err err = {0};
        expect_unwritable(vn_check_folder(folders[i], &err), &err);
    }
    vn_err err = {0};
    expect_unwritable(vn_check_file("closed/x", &err), &err);
    const vn_status made = vn_check_folder("open/a/b/c", NULL), in = vn_check_folder("open", NULL),
                    file = vn_check_file("open/x", NULL);
    assert_true(!root || seteuid(0) == 0);
    assert_true(!made && !in && !file);
    assert_int_equal(scratch_count("open"), 0); /* nothing is left of finding out */
}

static void paths_are_joined(void **state) {
    (void)state;
    static const struct {
        const char *a, *b, *joined;
    } cases[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        char *path = vn_path_join(cases[i].a, cases[i].b);
        assert_string_equal(path, cases[i].joined);
        vn_free(path);
    }
    assert_true(vn_ends_with("a.png", ".png") && vn_ends_with("a", "") && vn_ends_with("", ""));
    assert_false(vn_ends_with("png", ".png") || vn_ends_with("a.PNG", ".png"));
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, enter, leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(files_appear_at_commit),
        EACH(an_old_file_stays_until_commit),
        EACH(two_writers_do_not_mix),
        EACH(a_new_file_takes_no_name_that_something_has),
        EACH(a_path_is_followed_as_far_as_it_exists),
        EACH(a_folder_is_locked_once),
        EACH(names_aside_cannot_be_guessed),
        EACH(what_stands_beside_the_output_is_neither_waited_for_nor_followed),
        EACH(what_killed_writers_left_is_removed),
        EACH(looking_removes_what_is_stale),
        EACH(links_stay_links),
        EACH(permissions_are_what_the_umask_leaves),
        EACH(impossible_targets_are_named),
        EACH(a_full_disk_leaves_the_old_file),
        EACH(a_kill_leaves_old_or_new),
        EACH(failed_writes_leave_the_old_file),
        EACH(files_are_read_whole),
        EACH(larger_files_are_refused),
        EACH(only_regular_files_are_read),
        EACH(failed_reads_give_nothing),
        EACH(directories_are_made),
        EACH(kinds_of_files_are_told),
        EACH(same_files_are_told),
        EACH(what_cannot_be_written_is_known_before),
        EACH(paths_are_joined),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
