/* safetensors: what the reference writer wrote is read to the last bit of every type, and written
 * again to the last byte; whatever else a file may hold is refused in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "store/store.h"
#include "support/alloc.h"
#include "support/mutate.h"

static const char golden[] = VN_SOURCE_DIR "/tests/golden/store/dtypes.safetensors";

/* Writes a file of this header and `data` zeros. */
static void write_file(const char *path, const char *header, size_t data) {
    uint64_t length = strlen(header);
    char *bytes = calloc(1, sizeof length + length + data);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + sizeof length, header, length);
    scratch_write(path, bytes, sizeof length + length + data);
    free(bytes);
}

/* ---- what the reference wrote ---------------------------------------------------------------- */

static const vn_array *of_dtype(const vn_safetensors *st, const char *prefix, int dtype) {
    char name[32];
    const vn_array *t;
    snprintf(name, sizeof name, "%s%s", prefix, vn_dtype_name((vn_dtype)dtype));
    assert_int_equal(vn_safetensors_get(st, name, &t, NULL), VN_OK);
    return t;
}

static void every_type_is_read_as_floats(void **state) {
    (void)state;
    vn_safetensors *st;
    assert_int_equal(vn_safetensors_open(golden, &st, NULL), VN_OK);
    for (int dtype = 0; dtype < VN_DTYPE_COUNT; dtype++) {
        const vn_array *x = of_dtype(st, "x.", dtype), *f = of_dtype(st, "f.", dtype);
        assert_int_equal(x->dtype, dtype);
        assert_true(vn_shape_equal(&x->shape, &f->shape));
        size_t count = (size_t)vn_shape_count(&x->shape);
        float found[1024], expected[1024];
        assert_in_range(count, 1, 1024);
        vn_array_read_f32(x, found);
        vn_array_read_f32(f, expected);
        for (size_t i = 0; i < count; i++) {
            if (isnan(expected[i]))
                assert_true(isnan(found[i]));
            else
                assert_memory_equal(&found[i], &expected[i], sizeof *found);
        }
    }
    vn_safetensors_close(&st);
    assert_null(st);
}

static void integers_are_read_as_integers(void **state) {
    (void)state;
    vn_safetensors *st;
    int64_t wide[256];
    int32_t narrow[256];
    vn_err err = {0};
    assert_int_equal(vn_safetensors_open(golden, &st, NULL), VN_OK);
    assert_int_equal(vn_array_read_i64(of_dtype(st, "x.", VN_I64), wide, NULL), VN_OK);
    assert_true(wide[1] == -1 && wide[2] == INT64_MAX && wide[3] == INT64_MIN &&
                wide[4] == 16777217);
    assert_int_equal(vn_array_read_i64(of_dtype(st, "x.", VN_U32), wide, NULL), VN_OK);
    assert_true(wide[2] == 4294967295);
    assert_int_equal(vn_array_read_i32(of_dtype(st, "x.", VN_I8), narrow, NULL), VN_OK);
    assert_true(narrow[127] == 127 && narrow[128] == -128 && narrow[255] == -1);
    assert_int_equal(vn_array_read_i32(of_dtype(st, "x.", VN_BOOL), narrow, NULL), VN_OK);
    assert_true(narrow[0] == 1 && narrow[1] == 0 && narrow[2] == 1);

    assert_int_equal(vn_array_read_i32(of_dtype(st, "x.", VN_U32), narrow, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "tensor 'x.U32': element 2 is out of range");
    assert_int_equal(vn_array_read_i64(of_dtype(st, "x.", VN_U64), wide, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "tensor 'x.U64': element 2 is out of range");
    assert_int_equal(vn_array_read_i64(of_dtype(st, "x.", VN_F16), wide, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "tensor 'x.F16' is F16, not integers");
    vn_safetensors_close(&st);
}

static void tensors_are_found_by_name(void **state) {
    (void)state;
    vn_safetensors *st;
    const vn_array *t;
    vn_err err = {0};
    assert_int_equal(vn_safetensors_open(golden, &st, NULL), VN_OK);
    assert_int_equal(vn_safetensors_count(st), 2 * VN_DTYPE_COUNT + 3);
    for (size_t i = 0; i < vn_safetensors_count(st); i++)
        assert_ptr_equal(vn_safetensors_find(st, vn_safetensors_at(st, i)->name),
                         vn_safetensors_at(st, i));
    assert_null(vn_safetensors_at(st, vn_safetensors_count(st)));
    assert_null(vn_safetensors_find(st, "__metadata__"));
    assert_int_equal(vn_safetensors_find(st, "scalar")->shape.rank, 0);
    assert_int_equal(vn_shape_count(&vn_safetensors_find(st, "empty")->shape), 0);
    assert_non_null(vn_safetensors_find(st, "na\"me \xE2\x82\xAC"));
    assert_string_equal(vn_safetensors_metadata_text(st, "format"), "pt");
    assert_null(vn_safetensors_metadata_text(st, "nothing"));
    assert_int_equal(vn_safetensors_get(st, "scalr", &t, &err), VN_BAD_FILE);
    assert_non_null(strstr(err.text, "dtypes.safetensors: has no tensor 'scalr'; it has 'scalar'"));
    vn_safetensors_close(&st);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* All tensors of st, in reverse, so that the writer has something to sort. Freed by the caller. */
static vn_array *tensors_of(const vn_safetensors *st) {
    size_t count = vn_safetensors_count(st);
    vn_array *all = vn_alloc(count, sizeof *all);
    for (size_t i = 0; i < count; i++) all[i] = *vn_safetensors_at(st, count - 1 - i);
    return all;
}

static void a_file_is_written_as_the_reference_does(void **state) {
    (void)state;
    vn_safetensors *st;
    assert_int_equal(vn_safetensors_open(golden, &st, NULL), VN_OK);
    vn_array *all = tensors_of(st);
    assert_int_equal(vn_safetensors_write("again", all, vn_safetensors_count(st),
                                          vn_safetensors_metadata(st), NULL),
                     VN_OK);
    expect_same_file("again", golden);
    vn_free(all);
    vn_safetensors_close(&st);
}

static void a_file_may_hold_nothing(void **state) {
    (void)state;
    vn_safetensors *st;
    assert_int_equal(vn_safetensors_write("nothing", NULL, 0, NULL, NULL), VN_OK);
    assert_int_equal(vn_safetensors_open("nothing", &st, NULL), VN_OK);
    assert_int_equal(vn_safetensors_count(st), 0);
    assert_null(vn_safetensors_find(st, "a"));
    assert_null(vn_safetensors_metadata(st));
    vn_safetensors_close(&st);
}

static void impossible_tensors_are_not_written(void **state) {
    (void)state;
    const float one = 1;
    const vn_shape scalar = {0}, huge = {3, {INT64_MAX, INT64_MAX, 4}};
    const vn_array twice[] = {{"a", VN_F32, scalar, &one}, {"a", VN_F32, scalar, &one}};
    const vn_array reserved = {"__metadata__", VN_F32, scalar, &one};
    const vn_array nameless = {"\xFF", VN_F32, scalar, &one}, large = {"b", VN_F32, huge, &one};
    vn_err err = {0};
    assert_int_equal(vn_safetensors_write("new", twice, 2, NULL, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "new: two tensors would be called 'a'");
    assert_int_equal(vn_safetensors_write("new", &reserved, 1, NULL, NULL), VN_BAD_ARGUMENT);
    assert_int_equal(vn_safetensors_write("new", &nameless, 1, NULL, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "new: a tensor's name is not UTF-8");
    assert_int_equal(vn_safetensors_write("new", &large, 1, NULL, &err), VN_BAD_ARGUMENT);
    assert_string_equal(err.text, "tensor 'b' is too large");
    assert_false(vn_is_file("new"));
}

/* ---- hostile files --------------------------------------------------------------------------- */

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

/* Each with `data` bytes after the header. */
static const struct {
    const char *header;
    size_t data;
    const char *words;
} refused[] = {
    {" {}", 0, "f: the header does not begin with '{' (is it a safetensors file?)"},
    {"", 0, "f: the header does not begin with '{' (is it a safetensors file?)"},
    {"[]", 0, "f: the header does not begin with '{' (is it a safetensors file?)"},
    {"{", 0, "f: line 1: ends where a key in quotes should be"},
    {"{} x", 0, "f: line 1: the end expected, not 'x'"},
    {"{" A "," A "}", 8, "f: line 1: key 'a' is there twice"},
    {"{\"\xFF\":{}}", 0, "f: line 1: a string is not UTF-8"},
    {"{\"a\":3}", 0, "f: tensor 'a': has no dtype"},
    {"{\"a\":{}}", 0, "f: tensor 'a': has no dtype"},
    {ENTRY("3", "[2]", "[0,8]"), 8, "f: tensor 'a': has no dtype"},
    {ENTRY("\"f32\"", "[2]", "[0,8]"), 8, "f: tensor 'a': dtype 'f32' is not known"},
    {ENTRY("\"F4\"", "[2]", "[0,1]"), 1, "f: tensor 'a': dtype 'F4' is not known"},
    {ENTRY("\"F32\"", "2", "[0,8]"), 8, "f: tensor 'a': shape is not a list"},
    {ENTRY("\"F32\"", "[-2]", "[0,8]"), 8,
     "f: tensor 'a': a size in shape is not a whole number of 0 or more"},
    {ENTRY("\"F32\"", "[2.0]", "[0,8]"), 8,
     "f: tensor 'a': a size in shape is not a whole number of 0 or more"},
    {ENTRY("\"F32\"", "[[2]]", "[0,8]"), 8,
     "f: tensor 'a': a size in shape is not a whole number of 0 or more"},
    {ENTRY("\"F32\"", "[1,1,1,1,1,1,2]", "[0,8]"), 8, "f: tensor 'a': 7 axes; vane reads up to 6"},
    {ENTRY("\"F32\"", "[2]", "[0]"), 8,
     "f: tensor 'a': data_offsets is not a pair of whole numbers"},
    {ENTRY("\"F32\"", "[2]", "[0,8,8]"), 8,
     "f: tensor 'a': data_offsets is not a pair of whole numbers"},
    {ENTRY("\"F32\"", "[2]", "\"08\""), 8,
     "f: tensor 'a': data_offsets is not a pair of whole numbers"},
    {ENTRY("\"F32\"", "[2]", "[-8,0]"), 8,
     "f: tensor 'a': data_offsets [-8, 0] are outside the 8 bytes of data"},
    {ENTRY("\"F32\"", "[2]", "[8,0]"), 8,
     "f: tensor 'a': data_offsets [8, 0] are outside the 8 bytes of data"},
    {ENTRY("\"F32\"", "[2]", "[0,8]"), 7,
     "f: tensor 'a': data_offsets [0, 8] are outside the 7 bytes of data"},
    {ENTRY("\"F32\"", "[2]", "[0,9223372036854775807]"), 8,
     "f: tensor 'a': data_offsets [0, 9223372036854775807] are outside the 8 bytes of data"},
    {ENTRY("\"F32\"", "[2]", "[0,18446744073709551616]"), 8,
     "f: tensor 'a': data_offsets is not a pair of whole numbers"},
    {ENTRY("\"F32\"", "[3]", "[0,8]"), 8, "f: tensor 'a': 8 bytes do not hold shape [3] of F32"},
    {ENTRY("\"F64\"", "[2]", "[0,8]"), 8, "f: tensor 'a': 8 bytes do not hold shape [2] of F64"},
    {ENTRY("\"F32\"", "[4294967296,4294967296,2]", "[0,8]"), 8,
     "f: tensor 'a': 8 bytes do not hold shape [4294967296, 4294967296, 2] of F32"},
    {ENTRY("\"F32\"", "[4611686018427387904,4,0]", "[0,8]"), 8,
     "f: tensor 'a': 8 bytes do not hold shape [4611686018427387904, 4, 0] of F32"},
    {ENTRY("\"F32\"", "[2]", "[0,8],\"more\":1"), 8,
     "f: tensor 'a': has more than dtype, shape and data_offsets"},
    {ENTRY("\"F32\"", "[2]", "[4,12]"), 12, "f: tensor 'a' comes after bytes that belong to none"},
    {"{" A "}", 9, "f: 1 bytes after the last tensor"},
    {"{}", 1, "f: 1 bytes after the last tensor"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[7,11]}}", 11,
     "f: tensor 'b' overlaps another"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8,
     "f: tensor 'b' overlaps another"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]}}", 10,
     "f: tensor 'b' comes after bytes that belong to none"},
    {"{\"__metadata__\":3}", 0, "f: __metadata__ does not hold strings only"},
    {"{\"__metadata__\":{\"a\":3}}", 0, "f: __metadata__ does not hold strings only"},
};

static void hostile_headers_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_safetensors *st;
        vn_err err = {0};
        write_file("f", refused[i].header, refused[i].data);
        vn_status status = vn_safetensors_open("f", &st, &err);
        assert_string_equal(err.text, refused[i].words);
        assert_true(status == VN_BAD_FILE || status == VN_UNSUPPORTED);
        assert_null(st);
    }
}

static void hostile_lengths_are_refused(void **state) {
    (void)state;
    static const uint64_t lengths[] = {
        3, 9, 100000000, 100000001, INT64_MAX, UINT64_MAX - 8, UINT64_MAX - 7, UINT64_MAX};
    vn_safetensors *st;
    for (size_t i = 0; i < VN_COUNT(lengths); i++) {
        char bytes[10];
        memcpy(bytes, &lengths[i], 8);
        memcpy(bytes + 8, "{}", 2);
        scratch_write("f", bytes, sizeof bytes);
        vn_err err = {0};
        assert_int_equal(vn_safetensors_open("f", &st, &err), VN_BAD_FILE);
        assert_non_null(strstr(err.text, "does not fit"));
    }
    for (size_t size = 0; size < 8; size++) {
        scratch_write("f", "\0\0\0\0\0\0\0", size);
        assert_int_equal(vn_safetensors_open("f", &st, NULL), VN_BAD_FILE);
    }
}

static void other_things_than_files_are_refused(void **state) {
    (void)state;
    vn_safetensors *st;
    vn_err err = {0};
    assert_int_equal(vn_safetensors_open("nowhere", &st, &err), VN_IO);
    assert_string_equal(err.text, "nowhere: No such file or directory");
    assert_int_equal(vn_safetensors_open(".", &st, &err), VN_IO);
    assert_string_equal(err.text, ".: is a folder");
}

/* A file that opens must be readable to its last byte. */
static void read_everything(const vn_safetensors *st) {
    for (size_t i = 0; i < vn_safetensors_count(st); i++) {
        const vn_array *t = vn_safetensors_at(st, i);
        size_t count = (size_t)vn_shape_count(&t->shape);
        float *f = vn_alloc(count, sizeof *f);
        int64_t *n = vn_alloc(count, sizeof *n);
        assert_true(f && n);
        vn_array_read_f32(t, f);
        vn_array_read_i64(t, n, NULL);
        vn_free(f);
        vn_free(n);
        assert_ptr_equal(vn_safetensors_find(st, t->name), t);
    }
}

static int opened;

static void check_damaged(const char *path) {
    vn_safetensors *st;
    vn_err err = {0};
    vn_status status = vn_safetensors_open(path, &st, &err);
    if (!status) {
        opened++;
        read_everything(st);
        vn_safetensors_close(&st);
        return;
    }
    assert_true(status == VN_BAD_FILE || status == VN_UNSUPPORTED);
    assert_memory_equal(err.text, "damaged: ", 9);
}

/* A small file: the golden one is mostly numbers, whose damage no reader could notice. */
static void write_small(const char *path) {
    static const float f[6] = {1, 2, 3, 4, 5, 6};
    static const int64_t n[2] = {7, 8};
    const vn_array tensors[] = {{"conv.weight", VN_F32, {2, {2, 3}}, f},
                                {"labels", VN_I64, {1, {2}}, n},
                                {"none", VN_U8, {2, {0, 5}}, f}};
    json_t *metadata = json_pack("{ss}", "format", "pt");
    assert_int_equal(vn_safetensors_write(path, tensors, VN_COUNT(tensors), metadata, NULL), VN_OK);
    json_decref(metadata);
}

static void damaged_files_are_refused_or_whole(void **state) {
    (void)state;
    write_small("small");
    mutate_each("small", "damaged", 5000, check_damaged);
    mutate_each(golden, "damaged", 500, check_damaged);
    assert_in_range(opened, 100, 5000); /* what damages only numbers is not found */
    opened = 0;
    mutate_truncations("small", "damaged", check_damaged);
    assert_int_equal(opened, 0);
}

/* ---- memory running out ---------------------------------------------------------------------- */

static vn_status open_and_close(void) {
    vn_safetensors *st;
    vn_status status = vn_safetensors_open("small", &st, NULL);
    vn_safetensors_close(&st);
    return status;
}

static vn_status open_and_write(void) {
    vn_safetensors *st;
    vn_status status = vn_safetensors_open("small", &st, NULL);
    if (status) return status;
    vn_array tensors[3];
    for (size_t i = 0; i < 3; i++) tensors[i] = *vn_safetensors_at(st, i);
    status = vn_safetensors_write("again", tensors, 3, vn_safetensors_metadata(st), NULL);
    vn_safetensors_close(&st);
    return status;
}

static void fail_each_allocation(vn_status (*call)(void), const char *written) {
    assert_int_equal(call(), VN_OK);
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        alloc_hit(&t, call());
        if (written) expect_same_file(written, "small");
    }
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    write_small("small");
    vn_safetensors *st;
    alloc_fail(0, ALLOC_ONCE);
    vn_status status = vn_safetensors_open("small", &st, NULL);
    assert_true(alloc_fail_end());
    assert_int_equal(status, VN_NO_MEMORY);
    fail_each_allocation(open_and_close, NULL);
    fail_each_allocation(open_and_write, "again");
}

/* ---- numpy ----------------------------------------------------------------------------------- */

static void arrays_are_written_for_numpy(void **state) {
    (void)state;
    static const float f[6] = {1, 2, 3, 4, 5, 6};
    static const int64_t n[2] = {7, -8};
    const vn_shape matrix = {2, {2, 3}}, row = {1, {2}}, scalar = {0};
    const struct {
        vn_dtype dtype;
        const vn_shape *shape;
        const void *data;
        const char *header;
    } cases[] = {
        {VN_F32, &matrix, f, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"},
        {VN_I64, &row, n, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }"},
        {VN_F32, &scalar, f, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }"},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        size_t size, data = (size_t)vn_shape_count(cases[i].shape) * vn_dtype_size(cases[i].dtype);
        assert_int_equal(vn_npy_write("a.npy", cases[i].dtype, cases[i].shape, cases[i].data, NULL),
                         VN_OK);
        char *bytes = scratch_read("a.npy", &size);
        assert_int_equal(size, 128 + data);
        assert_memory_equal(bytes, "\x93NUMPY\x01\x00\x76\x00", 10);
        assert_memory_equal(bytes + 10, cases[i].header, strlen(cases[i].header));
        for (size_t k = 10 + strlen(cases[i].header); k < 127; k++) assert_int_equal(bytes[k], ' ');
        assert_int_equal(bytes[127], '\n');
        assert_memory_equal(bytes + 128, cases[i].data, data);
        free(bytes);
    }
    vn_err err = {0};
    assert_int_equal(vn_npy_write("b.npy", VN_BF16, &row, n, &err), VN_UNSUPPORTED);
    assert_string_equal(err.text, "b.npy: .npy of BF16");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read_as_floats),
        cmocka_unit_test(integers_are_read_as_integers),
        cmocka_unit_test(tensors_are_found_by_name),
        cmocka_unit_test(a_file_is_written_as_the_reference_does),
        cmocka_unit_test(a_file_may_hold_nothing),
        cmocka_unit_test(impossible_tensors_are_not_written),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(hostile_lengths_are_refused),
        cmocka_unit_test(other_things_than_files_are_refused),
        cmocka_unit_test(damaged_files_are_refused_or_whole),
        cmocka_unit_test(failed_allocations_are_reported),
        cmocka_unit_test(arrays_are_written_for_numpy),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
