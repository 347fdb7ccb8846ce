/* test_tar.c - pictures and captions in .tar archives: written here byte by byte, so that the
 * reader is held to the format and not to a library; the same as a folder of the same files;
 * hostile names, links, sizes and cuts; and archives damaged at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "data/captions.h"
#include "support/scratch.h"
#include "support_data.h"

enum { SIDE = 4, COUNT = 6, BLOCK = 512, MOST = 1 << 20 };

static const vn_data_options plain = {.seed = 3, .threads = 2, .check = true};

/* ---- writing --------------------------------------------------------------------------------- */

/* An archive that is being made. */
typedef struct made {
    char *bytes; /* [MOST] */
    size_t size;
} made;

/* A header of ustar: octal numbers, and a sum of all bytes with blanks for itself. */
static void put_header(made *t, const char *name, char type, size_t size, const char *link) {
    unsigned char *h = (unsigned char *)t->bytes + t->size;
    unsigned sum = 0;
    memset(h, 0, BLOCK);
    memcpy(h, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(h + 100, "0000644", 8);
    memcpy(h + 108, "0000000", 8);
    memcpy(h + 116, "0000000", 8);
    snprintf((char *)h + 124, 12, "%011zo", size);
    memcpy(h + 136, "00000000000", 12);
    h[156] = (unsigned char)type;
    memcpy(h + 157, link, strlen(link));
    memcpy(h + 257, "ustar\00000", 8);
    memset(h + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++) sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
    t->size += BLOCK;
}

static void put_bytes(made *t, const void *bytes, size_t size) {
    const size_t padded = (size + BLOCK - 1) / BLOCK * BLOCK;
    assert_true(t->size + padded + 4 * BLOCK < MOST);
    memset(t->bytes + t->size, 0, padded);
    memcpy(t->bytes + t->size, bytes, size);
    t->size += padded;
}

static void put_entry(made *t, const char *name, const void *bytes, size_t size) {
    put_header(t, name, '0', size, "");
    put_bytes(t, bytes, size);
}

static void put_text(made *t, const char *name, const char *text) {
    put_entry(t, name, text, strlen(text));
}

static void put_picture(made *t, const char *name, int i) {
    size_t size;
    make_picture("one.png", i, SIDE, SIDE, 3);
    char *bytes = scratch_read("one.png", &size);
    put_entry(t, name, bytes, size);
    free(bytes);
    remove("one.png");
}

static void finish(made *t, const char *path) {
    memset(t->bytes + t->size, 0, 2 * BLOCK);
    scratch_write(path, t->bytes, t->size + 2 * BLOCK);
    t->size = 0;
}

/* Six pictures, of which the last is called for by an extended header's longer name. */
static void put_all(made *t) {
    char name[64], text[64];
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "./set/%03d.png", i);
        put_picture(t, name, i);
        snprintf(name, sizeof name, "set/%03d.txt", i);
        snprintf(text, sizeof text, "picture %d\nnumber %d 図", i, i);
        put_text(t, name, text);
    }
    put_text(t, "set/000.json", "{}");
}

static made tar;

static int make(void **state) {
    scratch_enter(state);
    tar = (made){.bytes = malloc(MOST)};
    assert_non_null(tar.bytes);
    return 0;
}

static int clear(void **state) {
    free(tar.bytes);
    return scratch_leave(state);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The same numbers and texts in the same order, at each position of training. */
static void expect_same(vn_data *a, vn_data *b) {
    enum { SIZE = SIDE * SIDE * 3 };
    float x[2][SIZE];
    int32_t number[2];
    vn_err err = {0};
    assert_int_equal(vn_data_get_info(a)->count, vn_data_get_info(b)->count);
    for (uint64_t i = 0; i < 3 * COUNT; i++) {
        for (int k = 0; k < 2; k++) {
            const vn_data_samples out = {.x = x[k], .captions = &number[k]};
            assert_int_equal(vn_data_read(k ? b : a, VN_DATA_TRAIN, i, 1, &out, &err), VN_OK);
        }
        assert_memory_equal(x[0], x[1], sizeof x[0]);
        assert_string_equal(vn_data_caption(a, number[0]), vn_data_caption(b, number[1]));
    }
}

static void is_as_a_folder(void **state) {
    (void)state;
    char path[64], text[64];
    put_all(&tar);
    finish(&tar, "all.tar");
    mkdir("files", 0777);
    mkdir("files/set", 0777);
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof path, "files/set/%03d.png", i);
        make_picture(path, i, SIDE, SIDE, 3);
        snprintf(path, sizeof path, "files/set/%03d.txt", i);
        snprintf(text, sizeof text, "picture %d\nnumber %d 図", i, i);
        scratch_write_text(path, text);
    }
    vn_data *a = must_open("all.tar", &plain), *b = must_open("files", &plain);
    assert_string_equal(vn_data_get_info(a)->source, "tar");
    assert_int_equal(vn_data_captions(a)->captions, 2 * COUNT);
    assert_int_equal(vn_data_captions(a)->distinct, 2 * COUNT);
    expect_same(a, b);
    vn_data_close(&a);
    mkdir("shards", 0777);
    put_all(&tar);
    finish(&tar, "shards/000.tar");
    put_picture(&tar, "more.png", 7);
    put_text(&tar, "more.txt", "in the second");
    finish(&tar, "shards/001.tar");
    scratch_write_text("shards/stats.json", "{}");
    a = must_open("shards", &plain);
    assert_int_equal(vn_data_get_info(a)->count, COUNT + 1);
    assert_int_equal(vn_data_captions(a)->distinct, 2 * COUNT + 1);
    vn_data_close(&a);
    vn_data_close(&b);
}

/* Captions in .json, in folders of the archive, whatever else lies beside them. */
static void reads_json(void **state) {
    (void)state;
    char name[64], text[64];
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "a/%d/%03d.png", i % 2, i);
        put_picture(&tar, name, i);
        snprintf(name, sizeof name, "a/%d/%03d.json", i % 2, i);
        snprintf(text, sizeof text, "{\"caption\": \"picture %d 図\", \"key\": \"%03d\"}", i, i);
        put_text(&tar, name, text);
    }
    put_text(&tar, "a/stats.json", "no JSON");
    finish(&tar, "json.tar");
    vn_data *data = must_open("json.tar", &plain);
    assert_string_equal(vn_data_captions(data)->from, "json");
    assert_int_equal(vn_data_captions(data)->distinct, COUNT);
    assert_int_equal(vn_data_captions(data)->without, 0);
    assert_string_equal(vn_data_caption(data, 0), "picture 0 図");
    assert_string_equal(vn_data_caption(data, COUNT / 2), "picture 1 図");
    vn_data_close(&data);
}

/* What breaks off says so, where what comes before is used as well. */
static void says_that_it_breaks_off(void **state) {
    (void)state;
    vn_data_options skipping = plain;
    skipping.skip_bad = true;
    put_text(&tar, "a.txt", "first");
    put_picture(&tar, "a.png", 0);
    const size_t whole = tar.size;
    put_picture(&tar, "b.png", 1);
    scratch_write("cut.tar", tar.bytes, whole + 300); /* within the second picture's header */
    must_refuse("cut.tar", &plain, VN_BAD_FILE, "cut.tar: ");
    vn_data *data = must_open("cut.tar", &skipping);
    json_t *told = NULL;
    assert_int_equal(vn_data_get_info(data)->count, 1);
    assert_int_equal(vn_data_describe(data, &told, NULL), VN_OK);
    const char *breaks = json_string_value(json_object_get(told, "breaks_off"));
    assert_true(breaks && strncmp(breaks, "cut.tar: ", 9) == 0);
    json_decref(told);
    vn_data_close(&data);
    scratch_write("cut.tar", tar.bytes, BLOCK + BLOCK + 100);
    must_refuse("cut.tar", &skipping, VN_BAD_FILE, "before there are any pictures");
}

/* Long names, of GNU's tar and of pax, the latter in UTF-8. */
static void reads_long_names(void **state) {
    (void)state;
    char name[301], record[400];
    memset(name, 'n', 296);
    memcpy(name + 296, ".png", 5);
    put_header(&tar, "././@LongLink", 'L', 301, "");
    put_bytes(&tar, name, 301);
    put_picture(&tar, "cut.png", 0);
    memcpy(name + 296, ".txt", 5);
    put_header(&tar, "././@LongLink", 'L', 301, "");
    put_bytes(&tar, name, 301);
    put_text(&tar, "cut.txt", "a long name");
    static const char *const paths[] = {"27 path=絵/大きな絵.png\n", "27 path=絵/大きな絵.txt\n"};
    for (int i = 0; i < 2; i++) {
        snprintf(record, sizeof record, "%s", paths[i]);
        snprintf(record, sizeof record, "%zu%s", strlen(paths[i]), paths[i] + 2);
        put_header(&tar, "PaxHeader", 'x', strlen(record), "");
        put_bytes(&tar, record, strlen(record));
        if (i == 0)
            put_picture(&tar, "x.png", 1);
        else
            put_text(&tar, "x.txt", "大きな絵");
    }
    finish(&tar, "long.tar");
    vn_data *data = must_open("long.tar", &plain);
    assert_int_equal(vn_data_get_info(data)->count, 2);
    assert_int_equal(vn_data_captions(data)->without, 0);
    assert_string_equal(vn_data_caption(data, 0), "a long name");
    assert_string_equal(vn_data_caption(data, 1), "大きな絵");
    vn_data_close(&data);
}

/* ---- hostile --------------------------------------------------------------------------------- */

static void refuses_what_is_no_plain_file(void **state) {
    (void)state;
    static const struct {
        const char *name, *words;
        char type;
    } bad[] = {
        {"/etc/passwd.png", "its name leads out of the archive", '0'},
        {"../out.png", "../out.png: its name leads out of the archive", '0'},
        {"a/../../out.png", "its name leads out of the archive", '0'},
        {"link.png", "link.png: is a link", '2'},
        {"hard.png", "hard.png: is a hard link", '1'},
        {"pipe.png", "pipe.png: is no regular file", '6'},
        {"device.png", "device.png: is no regular file", '3'},
    };
    vn_data_options skipping = plain;
    skipping.skip_bad = true;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        put_all(&tar);
        put_header(&tar, bad[k].name, bad[k].type, 0, bad[k].type == '0' ? "" : "/etc/passwd");
        finish(&tar, "bad.tar");
        must_refuse("bad.tar", &plain, VN_BAD_FILE, bad[k].words);
        vn_data *data = must_open("bad.tar", &skipping);
        assert_int_equal(vn_data_get_info(data)->count, COUNT);
        vn_data_close(&data);
    }
    put_all(&tar);
    put_picture(&tar, "set/003.png", 9);
    finish(&tar, "bad.tar");
    must_refuse("bad.tar", &plain, VN_BAD_FILE, "has set/003.png twice");
}

static void refuses_sizes_beyond_the_file(void **state) {
    (void)state;
    static const size_t sizes[] = {100000, (size_t)1 << 32, ((size_t)1 << 33) - 1};
    vn_data_options skipping = plain;
    skipping.skip_bad = true;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        put_all(&tar);
        put_header(&tar, "huge.png", '0', sizes[k], "");
        scratch_write("huge.tar", tar.bytes, tar.size);
        tar.size = 0;
        vn_data *data = NULL;
        vn_err err = {0};
        assert_int_equal(vn_data_open("huge.tar", &plain, &data, &err), VN_BAD_FILE);
        assert_non_null(strstr(err.text, "huge.tar"));
        data = must_open("huge.tar", &skipping);
        assert_int_equal(vn_data_get_info(data)->count, COUNT);
        vn_data_close(&data);
    }
}

static void names_what_packs_an_archive(void **state) {
    (void)state;
    scratch_write("packed.tar", "\x1F\x8B\x08\0\0\0\0\0\0\0", 10);
    must_refuse("packed.tar", &plain, VN_BAD_FILE, "packed.tar: packed by gzip");
    scratch_write("none.tar", "", 0);
    must_refuse("none.tar", &plain, VN_BAD_FILE, "holds no pictures");
    scratch_write("no.tar", "neither an archive nor anything like one", 40);
    must_refuse("no.tar", &plain, VN_BAD_FILE, "no.tar: ");
}

/* Cut after every quarter of a block, and with random bytes changed: words or samples, never a
 * crash, nothing held. */
static void survives_damage(void **state) {
    (void)state;
    vn_data_options options = plain;
    put_all(&tar);
    finish(&tar, "whole.tar");
    size_t size;
    char *whole = scratch_read("whole.tar", &size);
    for (size_t k = 0; k < 2 * size / 128; k++) {
        const bool cut = k < size / 128;
        char *bytes = malloc(size);
        assert_non_null(bytes);
        memcpy(bytes, whole, size);
        for (size_t i = 0; !cut && i < 1 + k % 4; i++) {
            uint32_t bits[2];
            vn_random_bits(bits, 2, 77, VN_STREAM_TEST, k, i);
            bytes[bits[0] % size] = (char)bits[1];
        }
        scratch_write("damaged.tar", bytes, cut ? k * 128 : size);
        free(bytes);
        options.skip_bad = k % 2 == 1;
        vn_data *data = NULL;
        vn_err err = {0};
        const vn_status status = vn_data_open("damaged.tar", &options, &data, &err);
        assert_true(status == VN_OK || (err.text[0] != '\0' && !data));
        vn_data_close(&data);
    }
    free(whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_as_a_folder, make, clear),
        cmocka_unit_test_setup_teardown(reads_json, make, clear),
        cmocka_unit_test_setup_teardown(says_that_it_breaks_off, make, clear),
        cmocka_unit_test_setup_teardown(reads_long_names, make, clear),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_plain_file, make, clear),
        cmocka_unit_test_setup_teardown(refuses_sizes_beyond_the_file, make, clear),
        cmocka_unit_test_setup_teardown(names_what_packs_an_archive, make, clear),
        cmocka_unit_test_setup_teardown(survives_damage, make, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
