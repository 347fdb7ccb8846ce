/* test_encoders.c - vn_forward of text encoders in directories as transformers saves them, those of
 * earlier versions too: what is written, under which names, and what is refused. That the numbers
 * are right for each kernel set is tests/nn's to say. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "store/store.h"
#include "support/kernels.h"
#include "support/scratch.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/encoders/"
enum { MAX_TENSORS = 80 };

static vn_safetensors *golden;
static char names[MAX_TENSORS][160];

static void open_golden(const char *name) {
    char path[512];
    vn_err err = {0};
    snprintf(path, sizeof path, GOLDEN "%s.safetensors", name);
    if (vn_safetensors_open(path, &golden, &err)) fail_msg("%s", err.text);
}

/* The golden file's weights, each called prefix + its name, and one more tensor (NULL: none), as
 * model/model.safetensors; and the config. */
static void write_model(const char *prefix, const vn_array *more) {
    static const char of_weight[] = "weight.";
    vn_array tensors[MAX_TENSORS + 1];
    size_t n = 0;
    vn_err err = {0};
    for (size_t i = 0; i < vn_safetensors_count(golden); i++) {
        const vn_array *t = vn_safetensors_at(golden, i);
        if (strncmp(t->name, of_weight, sizeof of_weight - 1) != 0) continue;
        assert_true(n < MAX_TENSORS);
        snprintf(names[n], sizeof names[n], "%s%s", prefix, t->name + sizeof of_weight - 1);
        tensors[n] = *t;
        tensors[n].name = names[n];
        n++;
    }
    if (more) tensors[n++] = *more;
    mkdir("model", 0777);
    const char *config = vn_safetensors_metadata_text(golden, "config");
    scratch_write("model/config.json", config, strlen(config));
    if (vn_safetensors_write("model/model.safetensors", tensors, n, NULL, &err))
        fail_msg("%s", err.text);
}

/* The golden file's inputs, as in.safetensors. */
static void write_inputs(void) {
    static const char *const inputs[] = {"input_ids", "attention_mask", "cotangent"};
    vn_array tensors[VN_COUNT(inputs)];
    size_t n = 0;
    vn_err err = {0};
    for (size_t i = 0; i < VN_COUNT(inputs); i++) {
        const vn_array *t = vn_safetensors_find(golden, inputs[i]);
        if (t) tensors[n++] = *t;
    }
    assert_int_equal(vn_safetensors_write("in.safetensors", tensors, n, NULL, &err), VN_OK);
}

/* Holds a tensor of a file to the golden file's out.NAME. */
static void expect_output(const vn_array *t) {
    char name[160];
    snprintf(name, sizeof name, "out.%s", t->name);
    const vn_array *expected = vn_safetensors_find(golden, name);
    if (!expected) fail_msg("%s is no output", t->name);
    assert_true(vn_shape_equal(&t->shape, &expected->shape));
    const size_t count = (size_t)vn_shape_count(&t->shape);
    float *x = vn_alloc(count, sizeof *x), *y = vn_alloc(count, sizeof *y);
    assert_true(x && y);
    vn_array_read_f32(t, x);
    vn_array_read_f32(expected, y);
    for (size_t i = 0; i < count; i++) assert_true(fabsf(x[i] - y[i]) < 1e-4f);
    vn_free(x);
    vn_free(y);
}

static void expect_forward(size_t outputs) {
    vn_safetensors *file = NULL;
    vn_err err = {0};
    size_t weights = 0;
    expect_ok(vn, vn_forward(vn, "model", "in.safetensors", "out.safetensors", "grad.safetensors"));
    assert_int_equal(vn_safetensors_open("out.safetensors", &file, &err), VN_OK);
    assert_int_equal(vn_safetensors_count(file), outputs);
    for (size_t i = 0; i < outputs; i++) expect_output(vn_safetensors_at(file, i));
    vn_safetensors_close(&file);
    assert_int_equal(vn_safetensors_open("grad.safetensors", &file, &err), VN_OK);
    for (size_t i = 0; i < vn_safetensors_count(golden); i++) {
        const char *name = vn_safetensors_at(golden, i)->name;
        if (strncmp(name, "grad.", 5) != 0) continue;
        if (!vn_safetensors_find(file, name)) fail_msg("no %s", name);
        weights++;
    }
    assert_int_equal(vn_safetensors_count(file), weights); /* ids have no gradient */
    vn_safetensors_close(&file);
}

static void clip_is_read_as_both_versions_save_it(void **state) {
    (void)state;
    static const int64_t positions[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    const vn_array ids = {"text_model.embeddings.position_ids", VN_I64, VN_SHAPE(1, 9), positions};
    open_golden("clip");
    write_inputs();
    write_model("", NULL);
    expect_forward(3);
    write_model("text_model.", NULL);
    expect_forward(3);
    write_model("text_model.", &ids);
    expect_forward(3);
    write_model("other.", NULL);
    expect_refused(vn_forward(vn, "model", "in.safetensors", "out.safetensors", NULL), VN_BAD_FILE,
                   "is missing");
    const vn_array more = {"embeddings.more", VN_I64, VN_SHAPE(1, 9), positions};
    write_model("", &more);
    expect_refused(vn_forward(vn, "model", "in.safetensors", "out.safetensors", NULL), VN_BAD_FILE,
                   "tensor 'embeddings.more' is not part of this model");
    vn_safetensors_close(&golden);
}

static void a_projection_is_an_output(void **state) {
    (void)state;
    open_golden("clip-projection");
    write_inputs();
    write_model("", NULL);
    expect_forward(3);
    expect_refused(
        vn_forward(vn, "model/model.safetensors", "in.safetensors", "o.safetensors", NULL),
        VN_BAD_FILE, "name that folder");
    vn_safetensors_close(&golden);
}

static void t5_may_have_its_embedding_twice(void **state) {
    (void)state;
    open_golden("t5");
    write_inputs();
    write_model("", NULL);
    expect_forward(1);
    vn_array twice = *vn_safetensors_find(golden, "weight.shared.weight");
    twice.name = "encoder.embed_tokens.weight";
    write_model("", &twice);
    expect_forward(1);
    vn_safetensors_close(&golden);
}

static void encoders_are_no_denoisers(void **state) {
    (void)state;
    vn_model *m = NULL;
    vn_bench_options b = vn_bench_options_default();
    vn_bench_result r = vn_bench_result_default();
    open_golden("t5");
    write_model("", NULL);
    expect_refused(vn_model_open(vn, "model", &m), VN_UNSUPPORTED,
                   "a text encoder; samples are drawn from denoisers");
    b.train = 0;
    b.batch = 2;
    b.steps = 1;
    expect_ok(vn, vn_bench(vn, "model", &b, &r));
    unlink("model/model.safetensors");
    scratch_write("model/pytorch_model.bin", "", 0);
    write_inputs();
    expect_refused(vn_forward(vn, "model", "in.safetensors", "out.safetensors", NULL),
                   VN_UNSUPPORTED,
                   "model: has no model.safetensors but pytorch_model.bin, pickled, which can run "
                   "code as it is read. To write one, in Python: transformers.T5EncoderModel");
    vn_safetensors_close(&golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clip_is_read_as_both_versions_save_it),
        cmocka_unit_test(a_projection_is_an_output),
        cmocka_unit_test(t5_may_have_its_embedding_twice),
        cmocka_unit_test(encoders_are_no_denoisers),
    };
    return run_under_each_kernel_set(tests, context_enter, context_leave);
}
