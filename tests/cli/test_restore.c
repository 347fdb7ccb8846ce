/* test_restore.c - restoration by the program: flags, files, what is printed and what is refused
 * before anything is written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/support_program.h"
#include "support/scratch.h"

/* A .safetensors of one F32 tensor. */
static void write_tensor(const char *file, const char *name, const char *shape,
                         const float *numbers, size_t n) {
    char header[256] = {0};
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%zu]}}", name, shape,
             n * sizeof *numbers);
    size_t length = strlen(header);
    while (length % 8) header[length++] = ' ';
    const uint64_t size = length;
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    fwrite(&size, 8, 1, f);
    fwrite(header, length, 1, f);
    fwrite(numbers, sizeof *numbers, n, f);
    fclose(f);
}

static void make_files(void) {
    static const float row[2] = {1, 0}, wide[3] = {1, 0, 0}, seen[2] = {0.2F, 0.1F};
    const float none = (float)NAN;
    make_world();
    write_tensor("A.safetensors", "matrix", "[1,2]", row, 2);
    write_tensor("A3.safetensors", "matrix", "[1,3]", wide, 3);
    write_tensor("y.safetensors", "observed", "[1,1]", seen, 1);
    write_tensor("y2.safetensors", "observed", "[1,2]", seen, 2);
    write_tensor("nan.safetensors", "observed", "[1,1]", &none, 1);
    write_tensor("both.safetensors", "observed", "[2]", seen, 2);
    write_tensor("x.safetensors", "samples", "[2]", seen, 2);
    write_tensor("mask.safetensors", "mask", "[2]", row, 2);
}

#define WORLD "sample world.json -n 6 --class null --quiet "

static void restores_and_draws_again(void **state) {
    (void)state;
    make_files();
    expect_status(0, WORLD "--observe y.safetensors --operator matrix:file=A.safetensors "
                           "--noise-level 0.3 --restore mmps --out a.png");
    expect_status(0, "sample --like a.png --quiet --out b.png");
    expect_status(0, WORLD "--observe both.safetensors --operator mask:file=mask.safetensors "
                           "--restore ddnm --out c.npy --json");
    assert_true(exists("c.npy"));
    size_t n = 0, m = 0;
    char *a = scratch_read("a.png", &n), *b = scratch_read("b.png", &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

static void editing_prints_its_round_trip(void **state) {
    (void)state;
    make_files();
    const outcome *o =
        expect_status(0, "sample world.json -n 4 --init x.safetensors --invert 5 --out d.npy");
    assert_non_null(strstr(o->out, "round trip off by "));
    json_t *said = expect_json(expect_status(
        0, "sample world.json -n 4 --init x.safetensors --invert 5 --json --out e.npy"));
    assert_true(json_real_value(json_array_get(json_object_get(said, "round_trip"), 0)) < 0.01);
    json_decref(said);
    expect_status(0, "sample world.json -n 4 --quiet --init x.safetensors --strength 0.4 "
                     "--out f.npy");
}

static void mistakes_leave_nothing(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *words, *complaint;
    } typed[] = {
        {2, "--observe nan.safetensors --operator matrix:file=A.safetensors --restore mmps",
         "nan.safetensors: number 0 is NaN"},
        {2, "--observe y.safetensors --operator matrix:file=A3.safetensors --restore mmps",
         "size [1, 3] does not act on samples of 2 numbers"},
        {2, "--observe y2.safetensors --operator matrix:file=A.safetensors --restore mmps",
         "has the size [1, 2]; what the operator gives has [1]"},
        {2, "--observe y.safetensors --operator matrix:file=A.safetensors --restore tds",
         "tds divides by the noise level, which is 0"},
        {2, "--observe y.safetensors --operator blur --restore dps", "is for images"},
        {2, "--observe y.safetensors --operator matrix --restore dps", "needs a matrix"},
        {2, "--observe y.safetensors --restore dps", "needs an operator"},
        {2, "--operator denoise --restore dps", "needs an observation"},
        {2, "--operator denoise", "an operator has no effect without a rule: --restore"},
        {2, "--noise-level 0.1", "a noise level has no effect without a rule: --restore"},
        {2, "--strength 0.5", "strength has no effect without an init"},
        {2, "--init x.safetensors --strength 1.5", "--strength 1.5 is outside"},
        {2, "--observe y.safetensors --operator denoise --restore dsp", "did you mean 'dps'?"},
        {2, "--observe y.safetensors --operator matrx --restore dps", "did you mean 'matrix'?"},
        {1, "--observe none.png --operator denoise --restore dps", "none.png"},
        {1, "--observe x.safetensors --operator denoise --restore dps", "no tensor 'observed'"},
        {2, "--mask m.png", "vane says --operator for --mask"},
    };
    make_files();
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        const outcome *o = expect_status(typed[i].status, WORLD "%s --out bad.png", typed[i].words);
        expect_complaint(o, typed[i].complaint);
        assert_false(exists("bad.png"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restores_and_draws_again),
        cmocka_unit_test(editing_prints_its_round_trip),
        cmocka_unit_test(mistakes_leave_nothing),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
