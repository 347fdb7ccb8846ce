/* TensorBoard's event files: the bytes that TensorBoard's own writer gives for the same events, and
 * the log that they are made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "report/report.h"
#include "support/alloc.h"
#include "support/scratch.h"

static const char log_text[] =
    "{\"step\": 10, \"loss\": 0.25, \"seconds\": 0.5}\n"
    "{\"step\": 300, \"loss\": -1.5, \"held\": {\"a\": 1e30, \"b\": \"word\"}, "
    "\"seconds\": 3}\n";

/* tensorboard 2.21: RecordWriter over event_pb2.Event, wall_time 1700000000 and the line's seconds,
 * the values in the order of the columns. */
static const char golden[] =
    "\x18\x00\x00\x00\x00\x00\x00\x00\xa3\x7f\x4b\x22\x09\x00\x00\x00\x40\xfc\x54\xd9"
    "\x41\x1a\x0d\x62\x72\x61\x69\x6e\x2e\x45\x76\x65\x6e\x74\x3a\x32\xec\xed\x8f\x9d"
    "\x2a\x00\x00\x00\x00\x00\x00\x00\xae\x8d\x91\xf5\x09\x00\x00\x20\x40\xfc\x54\xd9"
    "\x41\x10\x0a\x2a\x1d\x0a\x0b\x0a\x04\x6c\x6f\x73\x73\x15\x00\x00\x80\x3e\x0a\x0e"
    "\x0a\x07\x73\x65\x63\x6f\x6e\x64\x73\x15\x00\x00\x00\x3f\x68\x19\x0f\x9b\x3a\x00"
    "\x00\x00\x00\x00\x00\x00\x12\x95\xea\xe2\x09\x00\x00\xc0\x40\xfc\x54\xd9\x41\x10"
    "\xac\x02\x2a\x2c\x0a\x0b\x0a\x04\x6c\x6f\x73\x73\x15\x00\x00\xc0\xbf\x0a\x0e\x0a"
    "\x07\x73\x65\x63\x6f\x6e\x64\x73\x15\x00\x00\x40\x40\x0a\x0d\x0a\x06\x68\x65\x6c"
    "\x64\x2f\x61\x15\xca\xf2\x49\x71\xe5\x35\x7b\xe7";

static void read_text(vn_history *h, const char *text) {
    vn_err err = {0};
    scratch_write_text("log.jsonl", text);
    *h = (vn_history){0};
    if (vn_history_read(h, "log.jsonl", &err)) fail_msg("%s", err.text);
}

/* RFC 3720, B.4: 32 bytes of 0; and the check value of the catalogue of CRCs. Masked as TFRecord's
 * format says. */
static void the_crc_is_castagnoli(void **state) {
    (void)state;
    const char zero[32] = {0};
    static const uint32_t of_zero = 0x8A9136AAu, of_digits = 0xE3069283u;
    assert_int_equal(vn_masked_crc32c(zero, 32), (of_zero >> 15 | of_zero << 17) + 0xA282EAD8u);
    assert_int_equal(vn_masked_crc32c("123456789", 9),
                     (of_digits >> 15 | of_digits << 17) + 0xA282EAD8u);
}

static void bytes_are_those_of_tensorboard(void **state) {
    (void)state;
    vn_history h;
    read_text(&h, log_text);
    assert_int_equal(vn_events_write("events", &h, 1.7e9, NULL), VN_OK);
    size_t size;
    char *bytes = scratch_read("events", &size);
    assert_int_equal(size, sizeof golden - 1);
    assert_memory_equal(bytes, golden, size);
    free(bytes);
    double began = 0;
    assert_true(vn_events_began("events", &began));
    assert_true(began == 1.7e9);
    vn_history_close(&h);
}

/* A file of another program's, one cut short, none at all. */
static void only_own_files_have_a_beginning(void **state) {
    (void)state;
    double began;
    assert_false(vn_events_began("nothing", &began));
    scratch_write_text("other", "no events, but long enough to hold the first of them, one hopes");
    assert_false(vn_events_began("other", &began));
    scratch_write("short", golden, 30);
    assert_false(vn_events_began("short", &began));
}

static void keys_become_columns(void **state) {
    (void)state;
    vn_history h;
    read_text(&h, log_text);
    assert_int_equal(h.lines, 2);
    assert_int_equal(h.count, 4);
    static const char *const names[] = {"step", "loss", "seconds", "held/a"};
    for (size_t i = 0; i < 4; i++) assert_string_equal(h.columns[i].name, names[i]);
    assert_true(vn_history_find(&h, "loss")->value[1] == -1.5);
    assert_true(isnan(vn_history_find(&h, "held/a")->value[0]));
    assert_true(vn_history_find(&h, "held/a")->value[1] == 1e30);
    assert_null(vn_history_find(&h, "held/b"));
    assert_int_equal(h.damaged, 0);
    vn_history_close(&h);
}

/* What is no line of a log is counted; a last line without its end is being written. */
static void damage_is_counted(void **state) {
    (void)state;
    vn_history h;
    read_text(&h, "{\"step\": 1, \"loss\": [2, 3]}\nno json\n[1]\n{\"loss\": 2}\n"
                  "{\"step\": 2, \"loss\": NaN}\n{\"step\": 3, \"lo");
    assert_int_equal(h.lines, 2);
    assert_int_equal(h.damaged, 3);
    assert_int_equal(h.first_damaged, 2);
    assert_true(vn_history_find(&h, "loss/1")->value[0] == 3);
    assert_true(isnan(vn_history_find(&h, "loss")->value[1]));
    vn_history_close(&h);
    read_text(&h, "");
    assert_int_equal(h.lines, 0);
    vn_history_close(&h);
}

static void too_many_keys_are_refused(void **state) {
    (void)state;
    char text[8192] = "{\"step\": 1, \"x\": [0";
    for (int i = 0; i < 400; i++) strcat(text, ", 0");
    strcat(text, "]}\n");
    scratch_write_text("log.jsonl", text);
    vn_history h = {0};
    vn_err err = {0};
    assert_int_equal(vn_history_read(&h, "log.jsonl", &err), VN_BAD_FILE);
    assert_string_equal(err.text, "log.jsonl: has more than 256 keys");
    vn_history_close(&h);
}

static void many_lines_are_kept(void **state) {
    (void)state;
    FILE *f = fopen("log.jsonl", "w");
    for (int i = 0; i < 3000; i++) {
        fprintf(f, "{\"step\": %d, \"a\": %d", i, 2 * i);
        fprintf(f, i % 1000 == 999 ? ", \"b\": %d}\n" : "}\n", i);
    }
    fclose(f);
    vn_history h = {0};
    assert_int_equal(vn_history_read(&h, "log.jsonl", NULL), VN_OK);
    assert_int_equal(h.lines, 3000);
    for (int i = 0; i < 3000; i++) {
        assert_true(vn_history_find(&h, "a")->value[i] == 2 * i);
        const double b = vn_history_find(&h, "b")->value[i];
        assert_true(i % 1000 == 999 ? b == i : isnan(b));
    }
    vn_history_close(&h);
}

/* Each allocation fails in turn: it is said, and nothing is lost or left. */
static void memory_may_run_out(void **state) {
    (void)state;
    scratch_write_text("log.jsonl", log_text);
    vn_history h = {0};
    if (!vn_history_read(&h, "log.jsonl", NULL)) vn_events_write("failing", &h, 1.7e9, NULL);
    vn_history_close(&h);
    /* a stream goes without its buffer */
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        vn_err err = {0};
        vn_status status = vn_history_read(&h, "log.jsonl", &err);
        if (!status) status = vn_events_write("failing", &h, 1.7e9, &err);
        const size_t lines = h.lines;
        vn_history_close(&h);
        if (!alloc_hit(&t, status)) assert_in_range(t.n, 20, 1000);
        if (!status) assert_int_equal(lines, 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_crc_is_castagnoli),
        cmocka_unit_test(bytes_are_those_of_tensorboard),
        cmocka_unit_test(only_own_files_have_a_beginning),
        cmocka_unit_test(keys_become_columns),
        cmocka_unit_test(damage_is_counted),
        cmocka_unit_test(too_many_keys_are_refused),
        cmocka_unit_test(many_lines_are_kept),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
