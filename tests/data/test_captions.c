/* test_captions.c - captions of pictures: text files beside them, in many scripts and shapes; which
 * of several is drawn, whatever the batch, the threads and what was asked before; what is not
 * UTF-8, missing, empty or too long; and the memory they take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "data/captions.h"
#include "image/image.h"
#include "support/scratch.h"
#include "support_data.h"

enum { SIDE = 4, COUNT = 8 };

static const vn_data_options plain = {.seed = 3, .threads = 2};

/* One caption of each of several scripts, and one with several lines. */
static const char *const captions[COUNT] = {
    "a red circle left of a blue square",
    "ein Käfer über dem Wasser",
    "красный круг слева от синего квадрата",
    "青い四角の左に赤い丸",
    "دائرة حمراء على يسار مربع أزرق",
    "👩‍👩‍👧 e\xCC\x81 ขอบคุณ हिन्दी",
    "one\ntwo\nthree\nfour",
    "a red circle left of a blue square",
};

/* pictures/N.png with captions, half of them in folders. */
static void path_of(char path[64], int i, const char *ending) {
    snprintf(path, 64, "pictures/%s%d%s", i % 2 ? "deep/er/" : "", i, ending);
}

static int make(void **state) {
    char path[64];
    scratch_enter(state);
    mkdir("pictures", 0777);
    mkdir("pictures/deep", 0777);
    mkdir("pictures/deep/er", 0777);
    for (int i = 0; i < COUNT; i++) {
        path_of(path, i, ".png");
        make_picture(path, i, SIDE, SIDE, 1);
        path_of(path, i, ".txt");
        scratch_write_text(path, captions[i]);
    }
    return 0;
}

/* All lines of the log. */
typedef struct heard {
    char text[4096];
    size_t used;
} heard;

static void hear(void *user, vn_log_level level, const char *line) {
    heard *h = user;
    (void)level;
    h->used += (size_t)snprintf(h->text + h->used, sizeof h->text - h->used, "%s\n", line);
    assert_true(h->used < sizeof h->text);
}

/* The number of the picture that stands at place k of the source's own order, by its pixels. */
static int picture_at(const float *x, int k) {
    for (int i = 0; i < COUNT; i++) {
        bool same = true;
        for (int p = 0; same && p < SIDE * SIDE; p++)
            same = x[k * SIDE * SIDE + p] == (float)data_pixel(i, p) / 127.5f - 1.0f;
        if (same) return i;
    }
    fail_msg("no picture made here");
    return -1;
}

static void reads_text_beside_pictures(void **state) {
    (void)state;
    float x[COUNT * SIDE * SIDE];
    int32_t numbers[COUNT], labels[COUNT];
    vn_err err = {0};
    vn_data *data = must_open("pictures", &plain);
    const vn_caption_info *info = vn_data_captions(data);
    assert_non_null(info);
    assert_string_equal(info->from, "text");
    assert_int_equal(vn_data_get_info(data)->classes, 0);
    assert_int_equal(info->captions, COUNT + 3);
    assert_int_equal(info->distinct, COUNT + 3 - 1);
    assert_int_equal(info->longest, strlen(captions[2]));
    assert_int_equal(info->without, 0);
    const vn_data_samples out = {.x = x, .labels = labels, .captions = numbers};
    assert_int_equal(vn_data_read(data, VN_DATA_ALL, 0, COUNT, &out, &err), VN_OK);
    for (int k = 0; k < COUNT; k++) {
        const int i = picture_at(x, k);
        const char *text = vn_data_caption(data, numbers[k]);
        assert_non_null(text);
        assert_int_equal(labels[k], VN_LABEL_NULL);
        if (strchr(captions[i], '\n'))
            assert_non_null(strstr(captions[i], text));
        else
            assert_string_equal(text, captions[i]);
    }
    assert_null(vn_data_caption(data, -1));
    assert_null(vn_data_caption(data, info->distinct));
    vn_data_close(&data);
}

/* The captions of `steps` batches. */
static void draw(const vn_data_options *options, vn_data_part part, int64_t batch, int steps,
                 int32_t *numbers) {
    float x[COUNT * COUNT * SIDE * SIDE];
    vn_err err = {0};
    vn_data *data = must_open("pictures", options);
    for (int s = steps - 1; s >= 0; s--) { /* backwards: what was asked before does not matter */
        const vn_data_samples out = {.x = x, .captions = numbers + s * batch};
        assert_int_equal(vn_data_read(data, part, (uint64_t)(s * batch), batch, &out, &err), VN_OK);
    }
    vn_data_close(&data);
}

static void draws_by_seed_and_position(void **state) {
    (void)state;
    enum { ALL = 192 };
    int32_t one[ALL], other[ALL], of_four = 0;
    vn_data_options options = {.seed = 5, .threads = 1};
    draw(&options, VN_DATA_TRAIN, 1, ALL, one);
    options.threads = 4;
    draw(&options, VN_DATA_TRAIN, 48, ALL / 48, other);
    assert_memory_equal(one, other, sizeof one);
    options.memory = 5 * SIDE * SIDE; /* nothing kept */
    draw(&options, VN_DATA_TRAIN, 3, ALL / 3, other);
    assert_memory_equal(one, other, sizeof one);
    options.seed = 6;
    draw(&options, VN_DATA_TRAIN, 48, ALL / 48, other);
    assert_memory_not_equal(one, other, sizeof one);
    /* each of the four captions of one picture comes in its turn: 24 draws leave one of them out
     * with probability below 4 (3/4)^24 = 0.4% for a random seed, and this one is fixed */
    vn_data *data = must_open("pictures", &plain);
    for (int k = 0; k < 4; k++) {
        static const char *const each[] = {"one", "two", "three", "four"};
        int times = 0;
        for (int i = 0; i < ALL; i++) times += strcmp(vn_data_caption(data, one[i]), each[k]) == 0;
        of_four += times;
        assert_true(times >= 1);
    }
    assert_int_equal(of_four, ALL / COUNT);
    vn_data_close(&data);
}

/* Other parts go round and round, each time the same. */
static void held_out_captions_stay(void **state) {
    (void)state;
    int32_t one[4 * COUNT];
    const vn_data_options options = {.seed = 5, .validate = 0.5};
    draw(&options, VN_DATA_HELD, COUNT / 2, 2, one);
    assert_memory_equal(one, one + COUNT / 2, COUNT / 2 * sizeof *one);
    draw(&options, VN_DATA_ALL, COUNT, 2, one);
    assert_memory_equal(one, one + COUNT, COUNT * sizeof *one);
    vn_data *data = must_open("pictures", &options);
    for (int64_t i = 0; i < COUNT; i++)
        assert_int_equal(vn_data_draw_caption(data, VN_DATA_ALL, 77, i), one[i]);
    vn_data_close(&data);
}

/* Blanks, line ends of other systems, a byte order mark, and endings in capitals. */
static void trims_lines(void **state) {
    (void)state;
    remove("pictures/0.txt");
    scratch_write_text("pictures/0.TXT", "\xEF\xBB\xBF \t a  cat \r\n\r\n\n  \r\na dog\r\n");
    vn_data *data = must_open("pictures", &plain);
    const vn_caption_info *info = vn_data_captions(data);
    assert_int_equal(info->captions, COUNT + 4);
    int found = 0;
    for (int32_t k = 0; k < info->distinct; k++)
        found += strcmp(vn_data_caption(data, k), "a  cat") == 0 ||
                 strcmp(vn_data_caption(data, k), "a dog") == 0;
    assert_int_equal(found, 2);
    vn_data_close(&data);
    scratch_write_text("pictures/0.txt", "another");
    must_refuse("pictures", &plain, VN_BAD_FILE, "caption the same picture");
}

/* A missing text and an empty one are the null condition, and are told. */
static void none_is_the_null_condition(void **state) {
    (void)state;
    float x[COUNT * SIDE * SIDE];
    int32_t numbers[COUNT];
    vn_err err = {0};
    remove("pictures/2.txt");
    scratch_write_text("pictures/4.txt", " \n\n");
    scratch_write_text("pictures/lost.txt", "of no picture");
    heard log = {0};
    const vn_watch watch = {.log = hear, .user = &log};
    vn_data_options options = plain;
    options.watch = &watch;
    vn_data *data = must_open("pictures", &options);
    assert_int_equal(vn_data_captions(data)->without, 2);
    const vn_data_samples out = {.x = x, .captions = numbers};
    assert_int_equal(vn_data_read(data, VN_DATA_ALL, 0, COUNT, &out, &err), VN_OK);
    for (int k = 0; k < COUNT; k++) {
        const int i = picture_at(x, k);
        assert_int_equal(numbers[k] == -1, i == 2 || i == 4);
    }
    assert_non_null(strstr(log.text, "pictures: 8 images with 9 captions, 8 distinct, the longest "
                                     "of 60 bytes; 2 without (first 2.png)"));
    assert_non_null(strstr(log.text, "1 .txt file has no picture of the same name: lost.txt"));
    vn_data_close(&data);
}

/* What is no UTF-8 is told with its file and byte, and passed over like a picture that cannot be
 * read. */
static void refuses_what_is_not_utf8(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"caf\xE9 noir", "pictures/2.txt: byte 0xE9 at offset 3 is not UTF-8"},
        {"\xFF\xFE"
         "a",
         "pictures/2.txt: is UTF-16, which has to be saved as UTF-8"},
        {"a\xFF\xFE", "byte 0xFF at offset 1 is not UTF-8"},
        {"line\nab\xC0\xAF", "byte 0xC0 at offset 7 is not UTF-8"}, /* overlong */
        {"\xED\xA0\x80", "byte 0xED at offset 0 is not UTF-8"},     /* a surrogate */
        {"cut \xE2\x82", "byte 0xE2 at offset 4 is not UTF-8"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        scratch_write_text("pictures/2.txt", bad[k].text);
        must_refuse("pictures", &plain, VN_BAD_FILE, bad[k].words);
    }
    scratch_write("pictures/2.txt", "a\0b", 3);
    must_refuse("pictures", &plain, VN_BAD_FILE,
                "pictures/2.txt: the byte at offset 1 is 0, so it is no text");
    scratch_write_text("pictures/4.txt", "\x80");
    must_refuse("pictures", &plain, VN_BAD_FILE, "2 of 8 files cannot be read: 2.txt: ");
    vn_data_options options = plain;
    options.skip_bad = true;
    vn_data *data = must_open("pictures", &options);
    assert_int_equal(vn_data_get_info(data)->count, COUNT - 2);
    assert_int_equal(vn_data_get_info(data)->skipped, 2);
    assert_int_equal(vn_data_captions(data)->captions, COUNT + 3 - 2);
    vn_data_close(&data);
}

static void refuses_what_is_too_long(void **state) {
    (void)state;
    const size_t most = VN_CAPTION_MAX_BYTES;
    char *text = malloc(VN_CAPTION_MAX_FILE + 1);
    assert_non_null(text);
    memset(text, 'a', VN_CAPTION_MAX_FILE + 1);
    scratch_write("pictures/2.txt", text, most + 1);
    must_refuse("pictures", &plain, VN_BAD_FILE, "pictures/2.txt: a caption of 65537 bytes");
    scratch_write("pictures/2.txt", text, VN_CAPTION_MAX_FILE + 1);
    must_refuse("pictures", &plain, VN_BAD_FILE, "2.txt: larger than 1048576 bytes");
    scratch_write("pictures/2.txt", text, most);
    vn_data *data = must_open("pictures", &plain);
    assert_int_equal(vn_data_captions(data)->longest, most);
    vn_data_close(&data);
    free(text);
}

/* What lies beside few of the pictures is no caption unless that is asked for. */
static void few_captions_are_doubted(void **state) {
    (void)state;
    char path[64];
    for (int i = 0; i < COUNT - 2; i++) {
        path_of(path, i, ".txt");
        remove(path);
    }
    must_refuse("pictures", &plain, VN_BAD_FILE, "holds both pictures (0.png) and a folder");
    heard log = {0};
    const vn_watch watch = {.log = hear, .user = &log};
    vn_data_options options = plain;
    options.watch = &watch;
    vn_data *data = must_open("pictures/deep", &options);
    assert_null(vn_data_captions(data));
    assert_int_equal(vn_data_get_info(data)->classes, 1);
    vn_data_close(&data);
    options.captions = "text";
    data = must_open("pictures/deep", &options);
    assert_int_equal(vn_data_captions(data)->captions, 1);
    assert_int_equal(vn_data_get_info(data)->classes, 0);
    vn_data_close(&data);
    options.captions = "none";
    data = must_open("pictures/deep", &options);
    assert_null(vn_data_captions(data));
    vn_data_close(&data);
    options.captions = "txt";
    must_refuse("pictures/deep", &options, VN_BAD_ARGUMENT, "did you mean 'text'");
}

static void fingerprint_knows_captions(void **state) {
    (void)state;
    vn_data *data = must_open("pictures", &plain);
    const uint32_t before = vn_data_get_info(data)->fingerprint;
    vn_data_close(&data);
    scratch_write_text("pictures/0.txt", "a red circle left of a blue squarE");
    data = must_open("pictures", &plain);
    assert_int_not_equal(vn_data_get_info(data)->fingerprint, before);
    vn_data_close(&data);
}

/* The captions of each picture i, one of which is drawn at each position. */
static void expect_drawn(const char *source, const vn_data_options *o, const char *from,
                         const char *const expected[COUNT]) {
    float x[COUNT * SIDE * SIDE];
    int32_t numbers[COUNT];
    vn_err err = {0};
    vn_data *data = must_open(source, o);
    assert_string_equal(vn_data_captions(data)->from, from);
    const vn_data_samples out = {.x = x, .captions = numbers};
    assert_int_equal(vn_data_read(data, VN_DATA_ALL, 0, COUNT, &out, &err), VN_OK);
    for (int k = 0; k < COUNT; k++) {
        const char *text = numbers[k] < 0 ? "" : vn_data_caption(data, numbers[k]);
        const char *all = expected[picture_at(x, k)];
        if (!text[0] != !all[0] || !strstr(all, text)) fail_msg("%s of %s", text, all);
    }
    vn_data_close(&data);
}

/* As img2dataset writes it: beside other things a caption, a list, or none; a .txt counts first. */
static void reads_json_beside_pictures(void **state) {
    (void)state;
    static const char *const files[COUNT] = {
        "{\"caption\": \"a fox\", \"width\": 4}",
        "\xEF\xBB\xBF{\"text\": \"zwei F\\u00fcchse\"}\r\n",
        "{\"caption\": [\"one\", \" two \"], \"text\": \"three\"}",
        "{\"caption\": null}",
        "{\"width\": 4}",
        "{\"text\": [\"\", \"five\"]}",
        "{\"caption\": \"\"}",
        "{\"caption\": \"a fox\"}",
    };
    static const char *const expected[COUNT] = {
        "a fox", "zwei F\u00FCchse", "one two", "", "", "five", "", "a fox"};
    char path[64];
    for (int i = 0; i < COUNT; i++) {
        path_of(path, i, i % 2 ? ".JSON" : ".json");
        scratch_write_text(path, files[i]);
    }
    scratch_write_text("pictures/notes.json", "what is no JSON");
    expect_drawn("pictures", &plain, "text", captions); /* and no complaint of two kinds */
    vn_data_options o = plain;
    o.captions = "json";
    expect_drawn("pictures", &o, "json", expected);
    for (int i = 0; i < COUNT; i++) {
        path_of(path, i, ".txt");
        assert_int_equal(unlink(path), 0);
    }
    expect_drawn("pictures", &plain, "json", expected);
    path_of(path, 2, ".json");
    scratch_write_text(path, "{\"caption\": 7}");
    must_refuse("pictures", &plain, VN_BAD_FILE,
                "pictures/2.json: its caption is neither a string nor a list of them");
    scratch_write_text(path, "{\"caption\": \"x\"");
    must_refuse("pictures", &plain, VN_BAD_FILE, "pictures/2.json: line 1");
    /* what says nothing of captions leaves classes classes */
    for (int i = 0; i < COUNT; i++) {
        path_of(path, i, i % 2 ? ".JSON" : ".json");
        scratch_write_text(path, "{\"width\": 4}");
    }
    must_refuse("pictures", &plain, VN_BAD_FILE, "holds both pictures");
}

/* A run that goes on knows whose captions are others, and passes over what is not read any more. */
static void a_run_remembers_captions(void **state) {
    (void)state;
    char path[64];
    vn_err err = {0};
    vn_data *data = must_open("pictures", &plain);
    assert_int_equal(vn_data_save_captions(data, "record", &err), VN_OK);
    assert_int_equal(vn_data_check_captions(data, "record", "pictures", &err), VN_OK);
    vn_data_close(&data);
    for (int i = 0; i < 2; i++) {
        path_of(path, i, ".txt");
        scratch_write_text(path, "another");
        data = must_open("pictures", &plain);
        assert_int_equal(vn_data_check_captions(data, "record", "pictures", &err), VN_BAD_ARGUMENT);
        assert_non_null(strstr(err.text, i ? "of 2 samples are others, first of 0.png"
                                           : "of 1 sample are others, of 0.png"));
        vn_data_close(&data);
    }
    /* the same words in other order are others; blanks around them are not */
    path_of(path, 0, ".txt");
    scratch_write_text(path, captions[0]);
    path_of(path, 1, ".txt");
    scratch_write_text(path, captions[1]);
    path_of(path, 6, ".txt");
    scratch_write_text(path, " one\r\ntwo\nthree\n\nfour ");
    data = must_open("pictures", &plain);
    assert_int_equal(vn_data_check_captions(data, "record", "pictures", &err), VN_OK);
    size_t size;
    char *record = scratch_read("record", &size);
    for (size_t cut = 0; cut < size; cut++) {
        scratch_write("record", record, cut);
        assert_int_equal(vn_data_check_captions(data, "record", "pictures", &err), VN_BAD_FILE);
    }
    free(record);
    vn_data_close(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_text_beside_pictures, make, scratch_leave),
        cmocka_unit_test_setup_teardown(draws_by_seed_and_position, make, scratch_leave),
        cmocka_unit_test_setup_teardown(held_out_captions_stay, make, scratch_leave),
        cmocka_unit_test_setup_teardown(trims_lines, make, scratch_leave),
        cmocka_unit_test_setup_teardown(none_is_the_null_condition, make, scratch_leave),
        cmocka_unit_test_setup_teardown(refuses_what_is_not_utf8, make, scratch_leave),
        cmocka_unit_test_setup_teardown(refuses_what_is_too_long, make, scratch_leave),
        cmocka_unit_test_setup_teardown(few_captions_are_doubted, make, scratch_leave),
        cmocka_unit_test_setup_teardown(fingerprint_knows_captions, make, scratch_leave),
        cmocka_unit_test_setup_teardown(reads_json_beside_pictures, make, scratch_leave),
        cmocka_unit_test_setup_teardown(a_run_remembers_captions, make, scratch_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
