/* A network's weights in files: shapes and names of PyTorch outside, vane's layout inside, and
 * nothing that does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "store/support_network.h"
#include "support/alloc.h"
#include "support/mutate.h"

static vn_weights *network;
static float *values, *loaded; /* [vn_weights_floats] */

static int open_all(void **state) {
    scratch_enter(state);
    network = open_network();
    values = number_values(network, 1);
    loaded = vn_alloc(vn_weights_floats(network), sizeof *loaded);
    return 0;
}

static int close_all(void **state) {
    vn_free(loaded);
    vn_free(values);
    vn_weights_close(&network);
    return scratch_leave(state);
}

static void assert_loads(const char *path) {
    memset(loaded, 0xFF, vn_weights_floats(network) * sizeof *loaded);
    vn_err err = {0};
    vn_status status = vn_store_load_weights(path, network, loaded, NULL, &err);
    if (status) print_error("%s\n", err.text);
    assert_int_equal(status, VN_OK);
    assert_memory_equal(loaded, values, vn_weights_floats(network) * sizeof *loaded);
}

static void weights_come_back(void **state) {
    (void)state;
    int64_t step;
    assert_int_equal(vn_store_save_weights("w", network, values, 1200, NULL), VN_OK);
    assert_loads("w");
    assert_int_equal(vn_store_weights_step("w", &step, NULL), VN_OK);
    assert_int_equal(step, 1200);
    assert_int_equal(vn_store_save_weights("w", network, values, -1, NULL), VN_OK);
    assert_int_equal(vn_store_weights_step("w", &step, NULL), VN_OK);
    assert_int_equal(step, -1);
}

/* The file is PyTorch's: a convolution is [O,I,kh,kw] there and [kh,kw,I,O] inside. */
static void files_have_the_shapes_of_pytorch(void **state) {
    (void)state;
    vn_safetensors *st;
    float file[48];
    assert_int_equal(vn_store_save_weights("w", network, values, 0, NULL), VN_OK);
    assert_int_equal(vn_safetensors_open("w", &st, NULL), VN_OK);
    assert_int_equal(vn_safetensors_count(st), 3);
    assert_string_equal(vn_safetensors_metadata_text(st, "format"), "pt");
    const vn_array *t = vn_safetensors_find(st, "conv.weight");
    const vn_shape expected = VN_SHAPE(4, 3, 2, 2);
    assert_true(t->dtype == VN_F32 && vn_shape_equal(&t->shape, &expected));
    vn_array_read_f32(t, file);
    const float *inside = values + vn_weights_find(network, "conv.weight")->offset;
    for (int o = 0; o < 4; o++)
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 4; k++)
                assert_true(file[(o * 3 + i) * 4 + k] == inside[(k * 3 + i) * 4 + o]);
    vn_safetensors_close(&st);
}

/* ---- files that do not fit ------------------------------------------------------------------- */

/* The network's tensors as a file has them; a test changes what it likes and writes them. */
typedef struct parts {
    float data[48];
    vn_array tensor[4];
} parts;

static void fill_parts(parts *p) {
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < 3; i++) {
        const vn_weight *w = vn_weights_at(network, i);
        p->tensor[i] = (vn_array){w->name, VN_F32, w->file, p->data};
    }
    p->tensor[3] = (vn_array){"more", VN_F32, VN_SHAPE(1), p->data};
}

static void assert_refused(const parts *p, size_t count, const char *words) {
    vn_err err = {0};
    assert_int_equal(vn_safetensors_write("f", p->tensor, count, NULL, NULL), VN_OK);
    assert_int_equal(vn_store_load_weights("f", network, loaded, NULL, &err), VN_BAD_FILE);
    assert_string_equal(err.text, words);
}

static void what_does_not_fit_is_named(void **state) {
    (void)state;
    parts p;
    fill_parts(&p);
    assert_refused(&p, 2, "f: tensor 'linear.bias' is missing");
    assert_refused(&p, 4, "f: tensor 'more' is not part of this model");
    p.tensor[1].shape = VN_SHAPE(5, 3);
    assert_refused(&p, 3, "f: tensor 'linear.weight' has shape [5, 3], expected [3, 5]");
    p.tensor[1].shape = VN_SHAPE(15);
    assert_refused(&p, 3, "f: tensor 'linear.weight' has shape [15], expected [3, 5]");
    fill_parts(&p);
    p.tensor[2].dtype = VN_I32;
    assert_refused(&p, 3, "f: tensor 'linear.bias' is I32, expected a float type");
}

static void other_float_types_are_converted(void **state) {
    (void)state;
    parts p;
    fill_parts(&p);
    const uint16_t halves[] = {0x3C00, 0xC000, 0x3800}; /* 1, -2, 0.5 */
    p.tensor[2].dtype = VN_F16;
    p.tensor[2].data = halves;
    assert_int_equal(vn_safetensors_write("f", p.tensor, 3, NULL, NULL), VN_OK);
    assert_int_equal(vn_store_load_weights("f", network, loaded, NULL, NULL), VN_OK);
    const float *bias = loaded + vn_weights_find(network, "linear.bias")->offset;
    assert_true(bias[0] == 1 && bias[1] == -2 && bias[2] == 0.5F);
}

/* ---- shards ---------------------------------------------------------------------------------- */

/* The weights of `values` in two files and an index, as diffusers splits what is large. */
static void write_shards(void) {
    vn_safetensors *st;
    assert_int_equal(vn_store_save_weights("w", network, values, -1, NULL), VN_OK);
    assert_int_equal(vn_safetensors_open("w", &st, NULL), VN_OK);
    const vn_array first[] = {*vn_safetensors_find(st, "conv.weight"),
                              *vn_safetensors_find(st, "linear.bias")};
    const vn_array second[] = {*vn_safetensors_find(st, "linear.weight")};
    assert_int_equal(vn_safetensors_write("s-00001-of-00002.safetensors", first, 2, NULL, NULL),
                     VN_OK);
    assert_int_equal(vn_safetensors_write("s-00002-of-00002.safetensors", second, 1, NULL, NULL),
                     VN_OK);
    vn_safetensors_close(&st);
    scratch_write_text("s.safetensors.index.json",
                       "{\"metadata\": {\"total_size\": 264}, \"weight_map\": {"
                       "\"conv.weight\": \"s-00001-of-00002.safetensors\","
                       "\"linear.bias\": \"s-00001-of-00002.safetensors\","
                       "\"linear.weight\": \"s-00002-of-00002.safetensors\"}}");
}

static void shards_are_loaded_together(void **state) {
    (void)state;
    int64_t step;
    write_shards();
    assert_loads("s.safetensors.index.json");
    assert_int_equal(mkdir("inside", 0777), 0);
    assert_int_equal(rename("s-00001-of-00002.safetensors", "inside/s-00001-of-00002.safetensors"),
                     0);
    assert_int_equal(rename("s-00002-of-00002.safetensors", "inside/s-00002-of-00002.safetensors"),
                     0);
    assert_int_equal(rename("s.safetensors.index.json", "inside/s.safetensors.index.json"), 0);
    assert_loads("inside/s.safetensors.index.json");
    assert_int_equal(vn_store_weights_step("inside/s.safetensors.index.json", &step, NULL), VN_OK);
    assert_int_equal(step, -1);
}

static void broken_shards_are_named(void **state) {
    (void)state;
    static const struct {
        const char *index, *words;
    } refused[] = {
        {"{}", "i.json: has no weight_map"},
        {"[]", "i.json: has no weight_map"},
        {"{\"weight_map\": {}}", "i.json: has no weight_map"},
        {"{\"weight_map\": {\"a\": 3}}",
         "i.json: a shard is not the name of a file beside the index"},
        {"{\"weight_map\": {\"a\": \"\"}}",
         "i.json: a shard is not the name of a file beside the index"},
        {"{\"weight_map\": {\"a\": \"../w\"}}",
         "i.json: a shard is not the name of a file beside the index"},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}",
         "i.json: a shard is not the name of a file beside the index"},
        {"{\"weight_map\": {\"a\": \"nowhere\"}}", "nowhere: No such file or directory"},
        {"{\"weight_map\": {\"a\": \"s-00002-of-00002.safetensors\"}}",
         "s-00002-of-00002.safetensors: tensor 'conv.weight' is missing"},
        {"{\"weight_map\": {\"a\": \"w\", \"b\": \"s-00002-of-00002.safetensors\"}}",
         "w: a tensor is in more than one shard"},
    };
    write_shards();
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        vn_err err = {0};
        scratch_write_text("i.json", refused[i].index);
        vn_status status = vn_store_load_weights("i.json", network, loaded, NULL, &err);
        assert_string_equal(err.text, refused[i].words);
        assert_true(status == VN_BAD_FILE || status == VN_IO);
    }
}

/* ---- damage and want ------------------------------------------------------------------------- */

static void check_damaged(const char *path) {
    vn_err err = {0};
    vn_status status = vn_store_load_weights(path, network, loaded, NULL, &err);
    assert_true(!status || status == VN_BAD_FILE || status == VN_UNSUPPORTED);
    if (status) assert_memory_equal(err.text, "damaged: ", 9);
}

static void damaged_files_are_refused_or_fit(void **state) {
    (void)state;
    assert_int_equal(vn_store_save_weights("w", network, values, 3, NULL), VN_OK);
    mutate_each("w", "damaged", 2000, check_damaged);
}

static vn_status save(void) {
    return vn_store_save_weights("w", network, values, 3, NULL);
}

static vn_status load(void) {
    return vn_store_load_weights("w", network, loaded, NULL, NULL);
}

static vn_status load_shards(void) {
    return vn_store_load_weights("s.safetensors.index.json", network, loaded, NULL, NULL);
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    vn_status (*const calls[])(void) = {save, load, load_shards};
    write_shards();
    for (size_t i = 0; i < VN_COUNT(calls); i++)
        for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
            vn_status status = calls[i]();
            alloc_hit(&t, status);
            assert_false(t.n == 0 && !status);
        }
    assert_loads("w");
}

static int64_t read_so_far; /* millions of numbers, as the last report said */

static int stop_in_the_middle(void *user, const vn_progress *p) {
    (void)user;
    assert_string_equal(p->what, "loading");
    assert_int_equal(p->total, 18);
    read_so_far = p->done;
    return p->done >= 9;
}

static void loading_of_large_weights_can_be_stopped(void **state) {
    (void)state;
    const vn_watch watch = {.progress = stop_in_the_middle};
    vn_weights *large;
    vn_graph *g;
    vn_err err = {0};
    assert_int_equal(vn_weights_open(&large, NULL), VN_OK);
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.weight", i);
        vn_param_node(g, large, name, VN_SHAPE(3000, 3000), VN_LAYOUT_PLAIN,
                      (vn_init){VN_INIT_ZEROS, 0});
    }
    vn_graph_close(&g);
    float *numbers = vn_calloc(vn_weights_floats(large), sizeof *numbers);
    assert_non_null(numbers);
    assert_int_equal(vn_store_save_weights("large", large, numbers, 0, NULL), VN_OK);
    assert_int_equal(vn_store_load_weights("large", large, numbers, &watch, &err), VN_CANCELLED);
    assert_int_equal(read_so_far, 9);
    assert_int_equal(vn_store_load_weights("large", large, numbers, NULL, NULL), VN_OK);
    unlink("large");
    vn_free(numbers);
    vn_weights_close(&large);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_come_back),
        cmocka_unit_test(files_have_the_shapes_of_pytorch),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(other_float_types_are_converted),
        cmocka_unit_test(shards_are_loaded_together),
        cmocka_unit_test(broken_shards_are_named),
        cmocka_unit_test(damaged_files_are_refused_or_fit),
        cmocka_unit_test(failed_allocations_are_reported),
        cmocka_unit_test(loading_of_large_weights_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
