/* test_bound.c - small files that stand for much memory are refused before they are unpacked, with
 * what they would take and what they may; and a long read ends when it is told to. Files are made
 * here; VANE_MEMORY makes the bound small. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#include "support/scratch.h"
#include "support_data.h"

/* ---- files of zeros -------------------------------------------------------------------------- */

static void big_endian(uint8_t *to, uint32_t number) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(number >> (24 - 8 * i));
}

/* An IDX file of n items of size x size (labels: size 0), packed. */
static void make_gz(const char *path, uint32_t n, uint32_t size) {
    static uint8_t zeros[1 << 16];
    uint8_t head[16] = {0, 0, 8, size > 0 ? 3 : 1};
    big_endian(head + 4, n);
    big_endian(head + 8, size);
    big_endian(head + 12, size);
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    gzwrite(f, head, size > 0 ? 16 : 8);
    for (size_t left = (size_t)n * (size > 0 ? size * size : 1); left > 0;) {
        const unsigned part = left < sizeof zeros ? (unsigned)left : sizeof zeros;
        gzwrite(f, zeros, part);
        left -= part;
    }
    assert_int_equal(gzclose(f), Z_OK);
}

static void make_pair(uint32_t n, uint32_t size) {
    mkdir("idx", 0777);
    make_gz("idx/train-images-idx3-ubyte.gz", n, size);
    make_gz("idx/train-labels-idx1-ubyte.gz", n, 0);
}

/* An archive with one array of zeros. */
static void make_npz(const char *path, const char *name, const char *descr, const char *shape,
                     size_t bytes) {
    char head[128] = "\x93NUMPY\x01\0\x76\0";
    memset(head + 10, ' ', 118);
    const int n = snprintf(
        head + 10, 118, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    head[10 + n] = ' ';
    head[127] = '\n';
    uint8_t *data = calloc(1, sizeof head + bytes);
    assert_non_null(data);
    memcpy(data, head, sizeof head);
    unlink(path);
    zip_t *zip = zip_open(path, ZIP_CREATE, NULL);
    assert_non_null(zip);
    zip_source_t *source = zip_source_buffer(zip, data, sizeof head + bytes, 0);
    assert_true(zip_file_add(zip, name, source, ZIP_FL_OVERWRITE) >= 0);
    assert_int_equal(zip_close(zip), 0);
    free(data);
}

static void make_cifar(int64_t records) {
    mkdir("cifar", 0777);
    const int fd = open("cifar/data_batch_1.bin", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0 && ftruncate(fd, records * 3073) == 0);
    close(fd);
}

static const char world[] = "{\"classes\": [{\"name\": \"a\", \"components\": [{\"weight\": 1, "
                            "\"mean\": [0, 0], \"std\": 1}]}]}";

/* ---- too much -------------------------------------------------------------------------------- */

static int64_t disk_bytes(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (int64_t)info.st_blocks * 512;
}

static void what_would_take_too_much_memory_is_refused_with_both_numbers(void **state) {
    (void)state;
    const vn_data_options plain = {0};
    setenv("VANE_MEMORY", "64M", 1);
    make_pair(3000000, 1);
    assert_true(disk_bytes("idx/train-images-idx3-ubyte.gz") < 32768);
    must_refuse("idx", &plain, VN_BAD_FILE,
                "idx/train-labels-idx1-ubyte.gz: its 3000000 samples would take 66 MB in memory "
                "with their labels and "
                "order, and 34 MB is what data may take (VANE_MEMORY=1G in the environment would "
                "allow it)");
    make_pair(100, 1000);
    must_refuse("idx", &plain, VN_BAD_FILE,
                "train-images-idx3-ubyte.gz: its 100 samples would take 100 MB in memory");
    make_npz("b.npz", "images.npy", "|u1", "3000000, 1, 1", 3000000);
    assert_true(disk_bytes("b.npz") < 32768);
    must_refuse("b.npz", &plain, VN_BAD_FILE,
                "b.npz: images.npy: its 3000000 samples would take 69 MB in memory");
    make_npz("b.npz", "points.npy", "<f8", "1500000, 1", 12000000);
    must_refuse("b.npz", &plain, VN_BAD_FILE,
                "b.npz: points.npy: its 1500000 samples would take 39 MB in memory");
    make_cifar(12000);
    assert_true(disk_bytes("cifar/data_batch_1.bin") < 32768);
    must_refuse("cifar", &plain, VN_BAD_FILE,
                "cifar/data_batch_1.bin: its 12000 samples would take 37 MB in memory");
    scratch_write_text("world.json", world);
    must_refuse("world.json:count=2000000", &plain, VN_BAD_ARGUMENT,
                "its 2000000 samples would take 60 MB in memory");
    must_refuse("points:moons:count=2000000", &plain, VN_BAD_ARGUMENT,
                "its 2000000 samples would take 60 MB in memory");
    unsetenv("VANE_MEMORY");
}

static void what_fits_is_read(void **state) {
    (void)state;
    setenv("VANE_MEMORY", "64M", 1);
    make_npz("b.npz", "images.npy", "|u1", "1000000, 1, 1", 1000000);
    vn_data *data = must_open("b.npz", &(vn_data_options){0});
    assert_int_equal(vn_data_get_info(data)->count, 1000000);
    vn_data_close(&data);
    unsetenv("VANE_MEMORY");
}

/* ---- stopped --------------------------------------------------------------------------------- */

typedef struct stopper {
    int left; /* reports until it stops */
    int64_t done, total;
} stopper;

static int stop(void *user, const vn_progress *progress) {
    stopper *s = user;
    s->done = progress->done;
    s->total = progress->total;
    return s->left-- <= 0;
}

/* At the first report, at the second, fourth and so on: whichever part of opening it falls in, it
 * ends there and leaves nothing over. */
static void must_stop(const char *source, int least) {
    for (int n = 0;; n += n > 0 ? n : 1) {
        stopper s = {.left = n};
        const vn_watch watch = {.progress = stop, .user = &s};
        vn_data *data = NULL;
        vn_err err = {0};
        const vn_status status =
            vn_data_open(source, &(vn_data_options){.watch = &watch}, &data, &err);
        vn_data_close(&data);
        if (!status) {
            if (n <= least) fail_msg("%s: reported no more than %d times", source, n);
            return;
        }
        assert_int_equal(status, VN_CANCELLED);
        assert_non_null(strstr(err.text, "reading was cancelled"));
        assert_true(n > 0 || s.done < s.total || s.total <= 5);
    }
}

static void reading_ends_when_it_is_told_to(void **state) {
    (void)state;
    make_pair(20, 1000);
    must_stop("idx", 4); /* 20 MB: read, and their checksum */
    make_npz("b.npz", "images.npy", "|u1", "20, 1000, 1000", 20000000);
    must_stop("b.npz", 4);
    make_npz("b.npz", "points.npy", "<f8", "1000, 2000", 16000000);
    must_stop("b.npz", 4);
    make_cifar(6000);
    must_stop("cifar", 4);
    must_stop("points:moons:count=1100000", 2); /* made, ordered, measured */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_would_take_too_much_memory_is_refused_with_both_numbers, scratch_enter,
            scratch_leave),
        cmocka_unit_test_setup_teardown(what_fits_is_read, scratch_enter, scratch_leave),
        cmocka_unit_test_setup_teardown(reading_ends_when_it_is_told_to, scratch_enter,
                                        scratch_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
