/* test_hostile.c - damaged sources of every kind, and failing allocations: refused in one line that
 * names the file, or read; never a crash or a leak, and no thread left behind. Run under the
 * sanitizers by ./check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/sanitized.h"
#include "support/alloc.h"
#include "support/mutate.h"
#include "support_data.h"

enum { MUTATIONS = 400 };

static const char *opened; /* the source that a damaged file belongs to */

/* Opens `opened` with the damaged file in it, and reads what it claims to hold. */
static void read_or_refuse(const char *damaged) {
    vn_data *data = NULL;
    vn_err err = {0};
    vn_status status = vn_data_open(
        opened, &(vn_data_options){.seed = 1, .validate = 0.1, .threads = 2}, &data, &err);
    if (!status) {
        const vn_data_info *info = vn_data_get_info(data);
        const int64_t n = info->count < 64 ? info->count : 64;
        const size_t size = sample_size(data);
        assert_true(n > 0 && size > 0);
        float *x = malloc((size_t)n * size * sizeof *x);
        int32_t *labels = malloc((size_t)n * sizeof *labels);
        assert_true(x != NULL && labels);
        status = vn_data_batch(data, VN_DATA_ALL, 0, n, x, labels, &err);
        for (int64_t i = 0; !status && i < n; i++)
            assert_true(labels[i] >= -1 && labels[i] < info->classes);
        free(x);
        free(labels);
    }
    if (status) {
        assert_true(status == VN_BAD_FILE || status == VN_UNSUPPORTED || status == VN_IO);
        assert_true(strstr(err.text, damaged) != NULL || strstr(err.text, opened));
        assert_null(strchr(err.text, '\n'));
    }
    vn_data_close(&data);
}

static void refuse_cut(const char *damaged) {
    vn_data *data = NULL;
    vn_err err = {0};
    const vn_status status = vn_data_open(opened, &(vn_data_options){.seed = 1}, &data, &err);
    assert_true(status != VN_OK && status != VN_NO_MEMORY);
    assert_non_null(strstr(err.text, damaged));
    assert_null(data);
}

static void damage(const char *valid, const char *damaged, const char *source, bool cuts) {
    opened = source;
    mutate_each(valid, damaged, MUTATIONS, read_or_refuse);
    if (cuts) mutate_truncations(valid, damaged, refuse_cut);
    unlink(damaged);
}

static void survives_damaged_idx(void **state) {
    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        const char *const end = packed ? ".gz" : "";
        char valid[64], damaged[64];
        mkdir("idx", 0777);
        make_idx("idx/train", 12, 3, 3, packed);
        make_idx("valid", 12, 3, 3, packed);
        snprintf(valid, sizeof valid, "valid-images-idx3-ubyte%s", end);
        snprintf(damaged, sizeof damaged, "idx/train-images-idx3-ubyte%s", end);
        damage(valid, damaged, damaged, true);
        make_idx("idx/train", 12, 3, 3, packed);
        snprintf(valid, sizeof valid, "valid-labels-idx1-ubyte%s", end);
        snprintf(damaged, sizeof damaged, "idx/train-labels-idx1-ubyte%s", end);
        damage(valid, damaged, damaged, true);
        scratch_remove("idx");
    }
}

static void survives_damaged_npz(void **state) {
    (void)state;
    static const char *const valid[] = {ARRAYS("grey"),     ARRAYS("colour"),
                                        ARRAYS("planar"),   ARRAYS("points64"),
                                        ARRAYS("captions"), ARRAYS("captions-several")};
    for (size_t i = 0; i < VN_COUNT(valid); i++)
        damage(valid[i], "damaged.npz", "damaged.npz", true);
}

static void survives_damaged_cifar(void **state) {
    (void)state;
    static uint8_t batch[2 * 3073];
    mkdir("cifar", 0777);
    batch[0] = 9;
    scratch_write("valid.bin", batch, sizeof batch);
    damage("valid.bin", "cifar/data_batch_1.bin", "cifar", false);
    scratch_write("cifar/data_batch_1.bin", batch, sizeof batch);
    scratch_write_text("valid.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    damage("valid.txt", "cifar/batches.meta.txt", "cifar", false);
}

static void survives_damaged_folders(void **state) {
    (void)state;
    make_classes("tree", 2, 6, 5, 3);
    make_picture("valid.png", 9, 6, 5, 3);
    damage("valid.png", "tree/bee/000.png", "tree", false);
}

/* FOLDER with pictures N.png, each with a file N.ENDING of this text beside it. */
static void make_told(const char *folder, int count, const char *ending, const char *text) {
    char path[64];
    mkdir(folder, 0777);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%d.png", folder, i);
        make_picture(path, i, 6, 5, 3);
        snprintf(path, sizeof path, "%s/%d%s", folder, i, ending);
        if (ending[0]) scratch_write_text(path, text);
    }
}

#define JSON_CAPTION                                                                               \
    "{\"caption\": [\"a fox \\u00e9\", \"zwei F\xC3\xBC"                                           \
    "chse\"], \"width\": 4}"
#define LISTED                                                                                     \
    "{\"file_name\": \"0.png\", \"text\": \"a fox\"}\r\n{\"file_name\": \"./1.png\", \"text\": "   \
    "[\"one\", \"zwei \\ud83d\\udc4d\"]}\n\n{\"text\": \"\", \"file_name\": \"2.png\"}"

static void survives_damaged_captions(void **state) {
    (void)state;
    make_told("told", 3, ".txt",
              "\xEF\xBB\xBFone\r\n zwei F\xC3\xBC"
              "chse \n\xF0\x9F\x91\x8D\n");
    scratch_write("valid.txt", "one\r\n\xE5\x9B\xB3 \n\xF0\x9F\x91\x8D", 13);
    damage("valid.txt", "told/1.txt", "told", false);
    make_told("jsons", 3, ".json", JSON_CAPTION);
    scratch_write_text("valid.json", JSON_CAPTION);
    damage("valid.json", "jsons/0.json", "jsons", false);
    make_told("listed", 3, "", NULL);
    scratch_write_text("valid.jsonl", LISTED);
    damage("valid.jsonl", "listed/metadata.jsonl", "listed", false);
}

/* ---- allocations ----------------------------------------------------------------------------- */

typedef struct source_case {
    const char *source;
    vn_status usual;
    bool threads;
    int lost; /* blocks that libzip 1.7 loses when an allocation fails in its zip_fopen */
    const char *list;
    int64_t skipped; /* pictures that cannot be read; a lack of memory is no fault of theirs */
} source_case;

static vn_status open_and_read(const source_case *c, vn_err *err) {
    static float x[8 * 64 * 48];
    const vn_data_options options = {
        .validate = 0.2, .threads = 1, .check = true, .skip_bad = true, .list = c->list};
    vn_data *data = NULL;
    json_t *described = NULL;
    vn_status status = vn_data_open(c->source, &options, &data, err);
    /* not last, as stdio reads without a buffer where there is no memory for one */
    if (!status) status = vn_data_save_captions(data, "saved-captions", err);
    if (!status) status = vn_data_check_captions(data, "saved-captions", c->source, err);
    if (!status) status = vn_data_describe(data, &described, err);
    if (!status) status = vn_data_batch(data, VN_DATA_TRAIN, 0, 8, x, NULL, err);
    if (!status) status = vn_data_save_list(data, "saved", err);
    if (!status) assert_int_equal(vn_data_get_info(data)->skipped, c->skipped);
    json_decref(described);
    vn_data_close(&data);
    return status;
}

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKS_ARE_NOT_OURS(on) ((on) ? __lsan_disable() : __lsan_enable())
#else
#define LEAKS_ARE_NOT_OURS(on) ((void)(on))
#endif

static void fail_each_allocation(const source_case *c, int mode) {
    vn_err err = {0};
    for (int64_t n = 0;; n++) {
        const int64_t live = alloc_live();
        alloc_fail(n, mode);
        const vn_status status = open_and_read(c, &err);
        if (!alloc_fail_end()) return;
        /* fewer: libc lets go what it kept of an earlier call */
        assert_true(alloc_live() <= live + c->lost);
        /* Once: stdio does without a buffer, a header is read another way, a later picture is not
         * needed. */
        if (status != VN_NO_MEMORY && !(!status && mode == ALLOC_ONCE))
            fail_msg("%s, allocation %lld, mode %d: %d %s", c->source, (long long)n, mode,
                     (int)status, err.text);
    }
}

static void says_when_memory_is_out(void **state) {
    (void)state;
    static uint8_t batch[4 * 3073];
    static const source_case cases[] = {
        {"points:moons:count=20", VN_OK, false, 0, NULL, 0},
        {"idx", VN_OK, false, 0, NULL, 0},
        {"idx-gz/train-labels-idx1-ubyte.gz", VN_OK, false, 0, NULL, 0},
        {ARRAYS("colour"), VN_OK, false, 1, NULL, 0},
        {ARRAYS("points64"), VN_OK, false, 1, NULL, 0},
        {"cifar", VN_OK, false, 0, NULL, 0},
        {"tree", VN_OK, true, 0, NULL, 0},
        {"spoilt", VN_OK, true, 0, NULL, 2},
        {"spoilt", VN_OK, true, 0, "files", 2},
        {VN_SOURCE_DIR "/tests/cases/edm_dataset", VN_OK, true, 0, NULL, 0},
        {ARRAYS("captions-several"), VN_OK, false, 1, NULL, 0},
        {"told", VN_OK, true, 0, NULL, 0},
        {"jsons", VN_OK, true, 0, NULL, 0},
        {"listed", VN_OK, true, 0, NULL, 0},
        {"nowhere", VN_IO, false, 0, NULL, 0}};
    make_told("told", 3, ".txt", "one\ntwo");
    make_told("jsons", 3, ".json", JSON_CAPTION);
    make_told("listed", 3, "", NULL);
    scratch_write_text("listed/metadata.jsonl", LISTED);
    mkdir("idx", 0777);
    mkdir("idx-gz", 0777);
    mkdir("cifar", 0777);
    make_idx("idx/train", 9, 3, 3, false);
    make_idx("idx-gz/train", 9, 3, 3, true);
    scratch_write("cifar/data_batch_1.bin", batch, sizeof batch);
    make_classes("tree", 2, 6, 5, 3);
    make_classes("spoilt", 3, 6, 5, 3);
    scratch_write_text("spoilt/bee/001.png", "");
    scratch_write_text("spoilt/cat/002.png", "no picture");
    vn_data *spoilt = must_open("spoilt", &(vn_data_options){.skip_bad = true});
    assert_int_equal(vn_data_save_list(spoilt, "files", NULL), VN_OK);
    vn_data_close(&spoilt);
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        vn_err err = {0};
        /* the sanitizers themselves need memory where a thread starts */
        if (cases[i].threads && SANITIZED) continue;
        assert_int_equal(open_and_read(&cases[i], &err), cases[i].usual);
        if (cases[i].lost > 0) LEAKS_ARE_NOT_OURS(true);
        for (int mode = ALLOC_ONCE; mode <= ALLOC_FROM_THEN_ON; mode++)
            fail_each_allocation(&cases[i], mode);
        if (cases[i].lost > 0) LEAKS_ARE_NOT_OURS(false);
    }
}

#define HOSTILE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_enter, scratch_leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(survives_damaged_idx),      HOSTILE_TEST(survives_damaged_npz),
        HOSTILE_TEST(survives_damaged_cifar),    HOSTILE_TEST(survives_damaged_folders),
        HOSTILE_TEST(survives_damaged_captions), HOSTILE_TEST(says_when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
