/* test_values.c - weights for programs that only read them: they keep the file's number type, lie
 * in the mapped file where they can, are the same numbers that loading gives, and take no more
 * memory than they must. */
#include "support/kernels.h"

#include "store/internal.h"
#include "store/support_network.h"
#include "support/guarded.h"
#include "support/scratch.h"

static vn_weights *network;
static vn_device cpu;

static int open_all(void **state) {
    scratch_enter(state);
    network = open_network();
    cpu = (vn_device){kernels, NULL, NULL};
    return 0;
}

static int close_all(void **state) {
    vn_weights_close(&network);
    return scratch_leave(state);
}

/* Tensors of one type whose k-th number is the type's number of bits first + k. */
static void write_bits(const char *path, vn_dtype dtype, uint16_t first, bool conv_f32) {
    static uint16_t bits[3][64];
    static const float ones[48] = {1, 2, 3};
    vn_array tensor[3];
    for (size_t i = 0; i < 3; i++) {
        const vn_weight *w = vn_weights_at(network, i);
        for (size_t k = 0; k < w->count; k++) bits[i][k] = (uint16_t)(first + 100 * i + k);
        tensor[i] = (vn_array){w->name, dtype, w->file, bits[i]};
    }
    if (conv_f32) tensor[0] = (vn_array){tensor[0].name, VN_F32, tensor[0].shape, ones};
    assert_int_equal(vn_safetensors_write(path, tensor, 3, NULL, NULL), VN_OK);
}

/* Values have the numbers that loading as floats gives. */
static void assert_as_loaded(const char *path, const vn_values *v) {
    float *loaded = vn_calloc(vn_weights_floats(network), sizeof *loaded), one[64];
    assert_non_null(loaded);
    assert_int_equal(vn_store_load_weights(path, network, loaded, NULL, NULL), VN_OK);
    for (size_t i = 0; i < vn_weights_count(network); i++) {
        const vn_weight *w = vn_weights_at(network, i);
        assert_int_equal(vn_values_read(v, i, one, NULL), VN_OK);
        assert_memory_equal(one, loaded + w->offset, w->count * sizeof *one);
    }
    vn_free(loaded);
}

static vn_values *open_values(const char *path, const vn_device *d) {
    vn_values *v = NULL;
    vn_err err = {0};
    if (vn_store_open_values(path, network, d, NULL, &v, &err) != VN_OK) fail_msg("%s", err.text);
    return v;
}

static void values_keep_the_type_of_the_file(void **state) {
    (void)state;
    static const vn_dtype types[] = {VN_BF16, VN_F16};
    for (size_t k = 0; k < VN_COUNT(types); k++) {
        write_bits("w", types[k], 0x3C00, false);
        vn_values *v = open_values("w", &cpu);
        for (size_t i = 0; i < 3; i++) assert_int_equal(vn_weights_at(network, i)->dtype, types[k]);
        assert_as_loaded("w", v);
        assert_int_equal(vn_weights_bytes(network), 128 + 64 + 64);
        /* the convolution alone lies otherwise inside; the others are the file's own */
        assert_int_equal(vn_values_bytes(v), 128);
        vn_values_close(&v);
        write_bits("w", types[k], 0x3C00, true);
        v = open_values("w", &cpu);
        assert_int_equal(vn_weights_at(network, 0)->dtype, VN_F32);
        assert_int_equal(vn_weights_at(network, 1)->dtype, types[k]);
        assert_as_loaded("w", v);
        vn_values_close(&v);
    }
}

static void types_that_programs_do_not_read_become_floats(void **state) {
    (void)state;
    vn_device_row lesser = *kernels;
    lesser.kernel[VN_OP_CAST] = NULL;
    write_bits("w", VN_F16, 0x3C00, false);
    vn_values *v = open_values("w", &(vn_device){&lesser, NULL, NULL});
    for (size_t i = 0; i < 3; i++) assert_int_equal(vn_weights_at(network, i)->dtype, VN_F32);
    assert_as_loaded("w", v);
    vn_values_close(&v);
}

static void another_device_has_them_in_its_memory(void **state) {
    (void)state;
    const vn_device_row row = guarded_row(kernels, 0, NULL);
    vn_device device;
    assert_int_equal(vn_device_open(&row, NULL, NULL, &device, NULL), VN_OK);
    write_bits("w", VN_BF16, 0x3F80, false);
    vn_values *v = open_values("w", &device), *shared = vn_values_share(v);
    assert_int_equal(vn_values_bytes(v), vn_weights_bytes(network));
    vn_values_close(&v);
    assert_null(v);
    assert_as_loaded("w", shared);
    assert_int_equal(guarded_arrays(&device), 1);
    vn_values_close(&shared);
    assert_int_equal(guarded_arrays(&device), 0);
    vn_device_close(&device);
}

/* ---- what is computed with them -------------------------------------------------------------- */

/* y of a convolution and a linear layer with the values. */
static void run_network(const vn_values *v, float y[12]) {
    vn_graph *g = NULL;
    vn_program *p = NULL;
    vn_err err = {0};
    const vn_init init = {VN_INIT_ZEROS, 0};
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    vn_node *x = vn_input(g, VN_F32, VN_SHAPE(1, 2, 2, 3));
    vn_node *conv =
        vn_param_node(g, network, "conv.weight", VN_SHAPE(4, 3, 2, 2), VN_LAYOUT_CONV, init);
    vn_node *h = vn_conv2d(g, x, conv, NULL, false, 1, (int[4]){0});
    h = vn_concat(g, 1, 2,
                  (vn_node *[]){vn_reshape(g, h, VN_SHAPE(1, 4)), vn_fill(g, VN_SHAPE(1, 1), 1)});
    vn_node *linear =
        vn_param_node(g, network, "linear.weight", VN_SHAPE(3, 5), VN_LAYOUT_PLAIN, init);
    vn_node *bias = vn_param_node(g, network, "linear.bias", VN_SHAPE(3), VN_LAYOUT_PLAIN, init);
    h = vn_linear(g, h, linear, bias, true);
    const vn_program_options o = {.device = &cpu, .n_outputs = 1, .outputs = &h};
    if (vn_graph_status(g, &err) || vn_program_open(g, &o, &p, &err)) fail_msg("%s", err.text);
    float numbers[12];
    for (int i = 0; i < 12; i++) numbers[i] = (float)(i - 5) / 4;
    vn_program_write(p, x, numbers);
    vn_program_run(p, &(vn_run){.values = v});
    vn_program_read(p, h, y);
    vn_program_close(&p);
    vn_graph_close(&g);
}

/* A program with weights of 16 bits has the bits of one with the same numbers in 32. */
static void programs_read_weights_of_sixteen_bits(void **state) {
    (void)state;
    static const vn_dtype types[] = {VN_BF16, VN_F16};
    for (size_t k = 0; k < VN_COUNT(types); k++) {
        float half[12] = {0}, whole[12] = {0};
        write_bits("w", types[k], 0x3C00, false);
        vn_values *v = open_values("w", &cpu), *floats = NULL;
        run_network(v, half);
        float *flat = vn_calloc(vn_weights_floats(network), sizeof *flat);
        assert_non_null(flat);
        assert_int_equal(vn_store_load_weights("w", network, flat, NULL, NULL), VN_OK);
        for (size_t i = 0; i < 3; i++) vn_weights_set_dtype(network, i, VN_F32);
        assert_int_equal(vn_values_over(network, &cpu, flat, &floats, NULL), VN_OK);
        run_network(floats, whole);
        assert_memory_equal(half, whole, sizeof half);
        assert_true(half[0] != 0);
        vn_values_close(&v);
        vn_values_close(&floats);
        vn_free(flat);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void what_does_not_fit_is_named(void **state) {
    (void)state;
    vn_values *v = NULL;
    vn_err err = {0};
    const float number[48] = {0};
    vn_array tensor[4];
    for (size_t i = 0; i < 3; i++)
        tensor[i] = (vn_array){vn_weights_at(network, i)->name, VN_F32,
                               vn_weights_at(network, i)->file, number};
    tensor[3] = (vn_array){"more", VN_F32, VN_SHAPE(1), number};
    assert_int_equal(vn_safetensors_write("f", tensor, 4, NULL, NULL), VN_OK);
    assert_int_equal(vn_store_open_values("f", network, &cpu, NULL, &v, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "f: tensor 'more' is not part of this model");
    assert_int_equal(vn_safetensors_write("f", tensor, 2, NULL, NULL), VN_OK);
    assert_int_equal(vn_store_open_values("f", network, &cpu, NULL, &v, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "f: tensor 'linear.bias' is missing");
    assert_int_equal(vn_store_read_types("f", network, cpu.row, &err), VN_BAD_FILE);
    assert_string_equal(err.text, "f: tensor 'linear.bias' is missing");
    assert_null(v);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Bytes of this process that are in memory. */
static double resident(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

enum { SIDE = 3072 }; /* of a linear weight; a convolution has as many numbers */

static vn_weights *open_large(void) {
    vn_weights *w = NULL;
    vn_graph *g = NULL;
    const vn_init init = {VN_INIT_ZEROS, 0};
    assert_int_equal(vn_weights_open(&w, NULL), VN_OK);
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    vn_param_node(g, w, "conv", VN_SHAPE(1024, 1024, 3, 3), VN_LAYOUT_CONV, init);
    vn_param_node(g, w, "linear", VN_SHAPE(SIDE, SIDE), VN_LAYOUT_PLAIN, init);
    assert_int_equal(vn_graph_status(g, NULL), VN_OK);
    vn_graph_close(&g);
    return w;
}

/* Once loaded, and once all is read, a model of 16 bits takes the bytes of its file. */
static void a_model_of_sixteen_bits_is_not_doubled(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* its memory is not what a program takes */
#endif
    const size_t count = (size_t)SIDE * SIDE, bytes = 2 * count * sizeof(uint16_t);
    vn_weights *w = open_large();
    uint16_t *numbers = vn_calloc(count, sizeof *numbers);
    assert_non_null(numbers);
    for (size_t i = 0; i < count; i++) numbers[i] = (uint16_t)(0x3F00 + i % 256);
    const vn_array tensor[] = {{"conv", VN_BF16, VN_SHAPE(1024, 1024, 3, 3), numbers},
                               {"linear", VN_BF16, VN_SHAPE(SIDE, SIDE), numbers}};
    assert_int_equal(vn_safetensors_write("large", tensor, 2, NULL, NULL), VN_OK);
    vn_free(numbers);
    vn_values *v = NULL;
    const double before = resident();
    assert_int_equal(vn_store_open_values("large", w, &cpu, NULL, &v, NULL), VN_OK);
    const double loaded = resident() - before;
    uint64_t sum = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < count; i++) sum += ((const uint16_t *)vn_values_at(v, k))[i];
    const double read = resident() - before;
    assert_true(sum > count);
    print_message("file %.1f MB; loaded %.1f MB, read %.1f MB, own %.1f MB\n", 1e-6 * (double)bytes,
                  1e-6 * loaded, 1e-6 * read, 1e-6 * (double)vn_values_bytes(v));
    assert_int_equal(vn_weights_bytes(w), bytes);
    assert_int_equal(vn_values_bytes(v), bytes / 2);
    assert_true(loaded < 0.55 * (double)bytes && read < 1.05 * (double)bytes);
    vn_values_close(&v);
    vn_weights_close(&w);
    unlink("large");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_keep_the_type_of_the_file),
        cmocka_unit_test(types_that_programs_do_not_read_become_floats),
        cmocka_unit_test(another_device_has_them_in_its_memory),
        cmocka_unit_test(programs_read_weights_of_sixteen_bits),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(a_model_of_sixteen_bits_is_not_doubled),
    };
    return run_under_each_kernel_set(tests, open_all, close_all);
}
