/* Model directories: what vane writes it finds again, what diffusers writes it finds too, and the
 * rest has a name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "store/support_network.h"
#include "support/alloc.h"
#include "support/mutate.h"

static json_t *config, *scheduler, *vane;
static vn_model_parts parts;

static int open_all(void **state) {
    config = json_pack("{ss ss si}", "_class_name", "UNet2DModel", "_diffusers_version", "0.42.1",
                       "in_channels", 1);
    scheduler = json_pack("{ss ss sf}", "_class_name", "DDPMScheduler", "_diffusers_version",
                          "0.42.1", "beta_start", 1e-4);
    vane = json_pack("{ss s[ss]}", "path", "rectified", "classes", "boot", "bag");
    parts = (vn_model_parts){"DDPMPipeline", "unet", config, scheduler, vane, 0, NULL};
    return scratch_enter(state);
}

static int close_all(void **state) {
    json_decref(config);
    json_decref(scheduler);
    json_decref(vane);
    return scratch_leave(state);
}

static void assert_json(const char *path, const char *text) {
    json_t *found, *expected = json_loads(text, 0, NULL);
    assert_int_equal(vn_json_read(path, &found, NULL), VN_OK);
    assert_true(expected && json_equal(found, expected));
    json_decref(found);
    json_decref(expected);
}

static void what_is_written_is_found(void **state) {
    (void)state;
    vn_model_dir d;
    const char *weights;
    vn_err err = {0};
    assert_int_equal(vn_store_save_model("run/deep", &parts, NULL), VN_OK);
    assert_int_equal(vn_model_dir_open("run/deep", &d, NULL), VN_OK);
    assert_string_equal(d.folder, "unet");
    assert_true(json_equal(d.config, config) && json_equal(d.scheduler, scheduler) &&
                json_equal(d.vane, vane));
    assert_null(d.weights);
    assert_int_equal(vn_model_dir_weights(&d, &weights, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "run/deep/unet: has no diffusion_pytorch_model.safetensors");
    vn_model_dir_close(&d);

    char *path = vn_store_weights_path("run/deep", "unet", NULL);
    scratch_write_text(path, "");
    assert_int_equal(vn_model_dir_open("run/deep", &d, NULL), VN_OK);
    assert_int_equal(vn_model_dir_weights(&d, &weights, NULL), VN_OK);
    assert_string_equal(weights, path);
    vn_model_dir_close(&d);
    vn_model_dir_close(&d); /* safe */
    vn_free(path);
}

/* As DDPMPipeline.save_pretrained writes it; a part that is not diffusers' is vane's. */
static void the_index_is_diffusers(void **state) {
    (void)state;
    assert_int_equal(vn_store_save_model("indexed", &parts, NULL), VN_OK);
    assert_json("indexed/model_index.json",
                "{\"_class_name\": \"DDPMPipeline\", \"_diffusers_version\": \"0.42.1\","
                " \"scheduler\": [\"diffusers\", \"DDPMScheduler\"], \"unet\": [\"diffusers\", "
                "\"UNet2DModel\"]}");
    json_t *own = json_pack("{ss}", "_class_name", "VaneMLP");
    const vn_model_other other = {"adversary", own};
    const vn_model_parts points = {"VanePipeline", "model", own, NULL, NULL, 1, &other};
    assert_int_equal(vn_store_save_model("points", &points, NULL), VN_OK);
    assert_json("points/model_index.json",
                "{\"_class_name\": \"VanePipeline\", \"_diffusers_version\": \"0.42.1\","
                " \"model\": [\"vane\", \"VaneMLP\"], \"adversary\": [\"vane\", "
                "\"VaneMLP\"]}");
    assert_json("points/adversary/config.json", "{\"_class_name\": \"VaneMLP\"}");
    assert_false(vn_is_dir("points/scheduler") || vn_is_file("points/vane.json"));
    json_decref(own);
}

static void other_layouts_are_found(void **state) {
    (void)state;
    vn_model_dir d;
    assert_int_equal(vn_store_save_model("other", &parts, NULL), VN_OK);
    const char *const plain[] = {"other/unet", "other/unet/config.json"};
    for (size_t i = 0; i < VN_COUNT(plain); i++) {
        assert_int_equal(vn_model_dir_open(plain[i], &d, NULL), VN_OK);
        assert_string_equal(d.path, "other/unet");
        assert_string_equal(d.folder, "");
        assert_true(json_equal(d.config, config));
        assert_null(d.index);
        vn_model_dir_close(&d);
    }
    scratch_write_text("other/unet/diffusion_pytorch_model.safetensors.index.json", "{}");
    assert_int_equal(vn_model_dir_open("other", &d, NULL), VN_OK);
    assert_string_equal(d.weights, "other/unet/diffusion_pytorch_model.safetensors.index.json");
    vn_model_dir_close(&d);
    assert_int_equal(chdir("other/unet"), 0);
    assert_int_equal(vn_model_dir_open("config.json", &d, NULL), VN_OK);
    assert_string_equal(d.path, ".");
    vn_model_dir_close(&d);
    assert_int_equal(chdir("../.."), 0);
}

static void assert_refused(const char *path, vn_status status, const char *words) {
    vn_model_dir d;
    vn_err err = {0};
    assert_int_equal(vn_model_dir_open(path, &d, &err), status);
    assert_string_equal(err.text, words);
    assert_null(d.path);
}

static void what_is_no_model_is_named(void **state) {
    (void)state;
    vn_model_dir d;
    const char *weights;
    vn_err err = {0};
    assert_refused("nowhere", VN_IO, "nowhere: No such file or directory");
    assert_int_equal(mkdir("no", 0777), 0);
    assert_refused("no", VN_BAD_FILE,
                   "no: holds neither model_index.json nor config.json, so it is no model");
    scratch_write_text("no/notes.txt", "{}");
    assert_refused("no/notes.txt", VN_BAD_FILE,
                   "no/notes.txt: is neither a model directory nor a config.json");
    scratch_write_text("no/config.json", "[]");
    assert_refused("no", VN_BAD_FILE, "no/config.json: is not a JSON object");
    scratch_write_text("no/config.json", "{");
    assert_refused("no", VN_BAD_FILE,
                   "no/config.json: line 1: ends where a key in quotes should be");
    scratch_write_text("no/model_index.json",
                       "{\"_class_name\": \"FluxPipeline\", \"flux\": [\"a\", \"b\"]}");
    assert_refused("no", VN_UNSUPPORTED,
                   "no: vane knows no network in a pipeline of class 'FluxPipeline'");
    scratch_write_text("no/model_index.json", "{\"unet\": [\"diffusers\", \"UNet2DModel\"]}");
    assert_int_equal(unlink("no/config.json"), 0);
    assert_refused("no", VN_BAD_FILE, "no/unet: has no config.json");
    assert_int_equal(mkdir("no/unet", 0777), 0);
    scratch_write_text("no/unet/config.json", "{}");
    scratch_write_text("no/unet/diffusion_pytorch_model.bin", "");
    assert_int_equal(vn_model_dir_open("no", &d, NULL), VN_OK);
    assert_int_equal(vn_model_dir_weights(&d, &weights, &err), VN_UNSUPPORTED);
    assert_string_equal(
        err.text, "no/unet: has no diffusion_pytorch_model.safetensors but "
                  "diffusion_pytorch_model.bin, pickled, "
                  "which can run code as it is read. To write one, in Python: "
                  "diffusers.ModelMixin.from_pretrained(\"no/unet\").save_pretrained(\"no/unet\", "
                  "safe_serialization=True)");
    vn_model_dir_close(&d);
}

static void check_damaged(const char *path) {
    vn_model_dir d;
    vn_err err = {0};
    vn_status status = vn_model_dir_open("damaged", &d, &err);
    assert_true(!status || status == VN_BAD_FILE || status == VN_UNSUPPORTED);
    if (status) assert_memory_equal(err.text, "damaged", 7);
    assert_string_equal(path, "damaged/model_index.json");
    vn_model_dir_close(&d);
}

static void damaged_indexes_are_refused_or_right(void **state) {
    (void)state;
    assert_int_equal(vn_store_save_model("damaged", &parts, NULL), VN_OK);
    assert_int_equal(vn_store_save_model("valid", &parts, NULL), VN_OK);
    mutate_each("valid/model_index.json", "damaged/model_index.json", 1000, check_damaged);
}

static vn_status save_and_open(void) {
    vn_model_dir d;
    vn_status status = vn_store_save_model("want", &parts, NULL);
    if (!status) status = vn_model_dir_open("want", &d, NULL);
    if (!status) vn_model_dir_close(&d);
    return status;
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    assert_int_equal(save_and_open(), VN_OK);
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        vn_status status = save_and_open();
        alloc_hit(&t, status);
        assert_false(t.n == 0 && !status);
    }
}

/* What lies beside the index: opened whole, or refused as memory is out. */
static void failed_allocations_hide_nothing(void **state) {
    (void)state;
    assert_int_equal(vn_store_save_model("beside", &parts, NULL), VN_OK);
    assert_int_equal(rename("beside/unet", "beside/unet_ema"), 0);
    scratch_write_text("beside/unet_ema/diffusion_pytorch_model.fp16.safetensors", "");
    scratch_write_text("beside/unet_ema/diffusion_pytorch_model.bf16.safetensors", "");
    static const char *const files[] = {"", "/diffusion_pytorch_model.fp16.safetensors"};
    for (size_t i = 0; i < VN_COUNT(files); i++)
        for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
            vn_model_dir d;
            char path[128];
            snprintf(path, sizeof path, "beside/unet_ema%s", files[i]);
            const vn_status status = vn_model_dir_open(path, &d, NULL);
            const bool whole = !status && d.scheduler && !d.variant && !d.weights == !files[i][0];
            if (!status) vn_model_dir_close(&d);
            alloc_hit(&t, status);
            assert_true(status || whole);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_found),
        cmocka_unit_test(the_index_is_diffusers),
        cmocka_unit_test(other_layouts_are_found),
        cmocka_unit_test(what_is_no_model_is_named),
        cmocka_unit_test(damaged_indexes_are_refused_or_right),
        cmocka_unit_test(failed_allocations_are_reported),
        cmocka_unit_test(failed_allocations_hide_nothing),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
