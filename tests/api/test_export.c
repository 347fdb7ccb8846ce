/* test_export.c - copies of a model in another number type: matrices are the nearest numbers of it
 * and all else is as it was, what is sampled follows, and what cannot be is refused. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "store/store.h"
#include "support/scratch.h"

#define WEIGHTS "/model/diffusion_pytorch_model.safetensors"

static void learn_run(void) {
    vn_train_options o = points_options(NULL, 20);
    o.model = "mlp:width=16,layers=1";
    o.overwrite = 1;
    expect_ok(vn, vn_train(vn, "points:moons", "run", &o, NULL));
}

static vn_safetensors *opened(const char *path) {
    vn_err err = {0};
    vn_safetensors *st = NULL;
    if (vn_safetensors_open(path, &st, &err)) fail_msg("%s", err.text);
    return st;
}

static float *numbers_of(const vn_array *t) {
    float *x = vn_alloc((size_t)vn_shape_count(&t->shape), sizeof *x);
    assert_non_null(x);
    vn_array_read_f32(t, x);
    return x;
}

/* Each tensor of the copy beside the run's: half a unit of its last place away at most, `digits`
 * after the first bit; a vector as it was. */
static void expect_copy(const char *copy, vn_dtype type, int digits) {
    char *path = vn_format("%s" WEIGHTS, copy);
    vn_safetensors *before = opened("run" WEIGHTS), *after = opened(path);
    int differ = 0;
    assert_int_equal(vn_safetensors_count(before), vn_safetensors_count(after));
    for (size_t i = 0; i < vn_safetensors_count(before); i++) {
        const vn_array *a = vn_safetensors_at(before, i), *b = vn_safetensors_find(after, a->name);
        const bool matrix = a->shape.rank >= 2;
        assert_non_null(b);
        assert_true(vn_shape_equal(&a->shape, &b->shape));
        assert_int_equal(b->dtype, matrix ? type : VN_F32);
        float *x = numbers_of(a), *y = numbers_of(b);
        for (int64_t k = 0; k < vn_shape_count(&a->shape); k++) {
            const float unit = matrix ? ldexpf(1, ilogbf(x[k]) - digits) : 0;
            assert_true(fabsf(x[k] - y[k]) <= unit / 2);
            differ += x[k] != y[k];
        }
        vn_free(x);
        vn_free(y);
    }
    assert_true(type == VN_F32 ? differ == 0 : differ > 0);
    vn_safetensors_close(&before);
    vn_safetensors_close(&after);
    vn_free(path);
}

static void expect_same_samples(const char *one, const char *other, bool same) {
    const char *const sources[2] = {one, other};
    vn_samples *drawn[2] = {NULL};
    for (int i = 0; i < 2; i++) {
        vn_model *m = NULL;
        vn_sample_options o = vn_sample_options_default();
        o.count = 16;
        o.steps = 4;
        expect_ok(vn, vn_model_open(vn, sources[i], &m));
        expect_ok(vn, vn_sample(m, &o, &drawn[i]));
        vn_model_close(&m);
    }
    const size_t bytes = 16 * 2 * sizeof(float);
    assert_true((memcmp(vn_samples_data(drawn[0]), vn_samples_data(drawn[1]), bytes) == 0) == same);
    for (int i = 0; i < 2; i++) vn_samples_close(&drawn[i]);
}

/* A copy of a copy in float32 has the rounded numbers: what is sampled with two bytes a number is
 * what is sampled with them. */
static void matrices_are_rounded_and_all_else_stays(void **state) {
    (void)state;
    learn_run();
    expect_ok(vn, vn_export(vn, "run", "f32", "same"));
    expect_copy("same", VN_F32, 23);
    expect_same_samples("run", "same", true);
    expect_ok(vn, vn_export(vn, "run", "bf16", "upper"));
    expect_copy("upper", VN_BF16, 7);
    expect_ok(vn, vn_export(vn, "run", "F16", "half"));
    expect_copy("half", VN_F16, 10);
    expect_ok(vn, vn_export(vn, "upper", "f32", "wide"));
    expect_same_samples("upper", "wide", true);
    expect_same_samples("run", "upper", false);
    assert_false(vn_is_dir("upper/state"));
    assert_true(vn_is_dir("run/state"));
    expect_same_file("run/vane.json", "upper/vane.json");
}

/* Two shards with an index whose total is that of the new files. */
static void shards_are_copied_with_their_index(void **state) {
    (void)state;
    learn_run();
    vn_err err = {0};
    vn_safetensors *st = opened("run" WEIGHTS);
    const size_t n = vn_safetensors_count(st);
    vn_array *all = vn_alloc(n, sizeof *all);
    json_t *map = json_object(), *index = NULL, *made = NULL;
    assert_non_null(all);
    assert_int_equal(vn_make_dirs("sharded", &err), VN_OK);
    for (size_t i = 0; i < n; i++) {
        all[i] = *vn_safetensors_at(st, i);
        json_object_set_new(map, all[i].name,
                            json_string(i < 2 ? "a.safetensors" : "b.safetensors"));
    }
    assert_int_equal(vn_safetensors_write("sharded/a.safetensors", all, 2, NULL, &err), VN_OK);
    assert_int_equal(vn_safetensors_write("sharded/b.safetensors", all + 2, n - 2, NULL, &err),
                     VN_OK);
    assert_int_equal(vn_copy_file("run/model/config.json", "sharded/config.json", &err), VN_OK);
    index = json_pack("{s:{s:i}, s:o}", "metadata", "total_size", 12345, "weight_map", map);
    assert_int_equal(
        vn_json_write("sharded/diffusion_pytorch_model.safetensors.index.json", index, &err),
        VN_OK);
    expect_ok(vn, vn_export(vn, "sharded", "bf16", "small"));
    assert_int_equal(
        vn_json_read("small/diffusion_pytorch_model.safetensors.index.json", &made, &err), VN_OK);
    int64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += vn_shape_count(&all[i].shape) * (all[i].shape.rank >= 2 ? 2 : 4);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(made, "metadata"), "total_size")),
        bytes);
    expect_ok(vn, vn_export(vn, "run", "bf16", "one"));
    vn_safetensors *one = opened("one" WEIGHTS),
                   *shard[2] = {opened("small/a.safetensors"), opened("small/b.safetensors")};
    for (size_t i = 0; i < n; i++) {
        const vn_array *a = vn_safetensors_find(one, all[i].name),
                       *b = vn_safetensors_find(shard[i < 2 ? 0 : 1], all[i].name);
        assert_non_null(a);
        assert_non_null(b);
        assert_int_equal(a->dtype, b->dtype);
        assert_memory_equal(a->data, b->data,
                            (size_t)vn_shape_count(&a->shape) * vn_dtype_size(a->dtype));
    }
    for (int i = 0; i < 2; i++) vn_safetensors_close(&shard[i]);
    vn_safetensors_close(&one);
    json_decref(index);
    json_decref(made);
    vn_free(all);
    vn_safetensors_close(&st);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    learn_run();
    expect_refused(vn_export(vn, "run", "int4", "new"), VN_BAD_ARGUMENT, "number type int4");
    expect_refused(vn_export(vn, "run", "bf16", "run"), VN_BAD_ARGUMENT, "run exists: name");
    expect_refused(vn_export(vn, "run", "bf16", "run/copy"), VN_BAD_ARGUMENT, "lies in run");
    expect_refused(vn_export(vn, "nothing", "bf16", "new"), VN_BAD_ARGUMENT, "no folder");
    assert_int_equal(vn_export(vn, NULL, "bf16", "new"), VN_BAD_ARGUMENT);
    assert_int_equal(vn_export(NULL, "run", "bf16", "new"), VN_BAD_ARGUMENT);
    vn_err err = {0};
    const float large[4] = {1, 2, 70000, 4};
    const vn_array t = {.name = "large", .dtype = VN_F32, .shape = {2, {2, 2}}, .data = large};
    assert_int_equal(vn_make_dirs("wild", &err), VN_OK);
    assert_int_equal(vn_copy_file("run/model/config.json", "wild/config.json", &err), VN_OK);
    expect_refused(vn_export(vn, "wild", "bf16", "new"), VN_BAD_FILE, "no weights");
    assert_int_equal(vn_safetensors_write("wild/model.safetensors", &t, 1, NULL, &err), VN_OK);
    expect_refused(vn_export(vn, "wild", "f16", "new"), VN_BAD_FILE, "'large' has 70000");
    assert_false(vn_is_dir("new"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_are_rounded_and_all_else_stays),
        cmocka_unit_test(shards_are_copied_with_their_index),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, context_enter_once, context_leave);
}
