/* Convolution and its two gradients: kernels, strides and paddings of all kinds, on sizes around
 * the tiles' edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cpu/support_kernel.h"

typedef struct conv_size {
    int64_t n, h, w, inputs, outputs, kh, kw;
    int stride, pad[4];
} conv_size;

/* The three ops of one geometry. */
static void check_conv(const conv_size *s) {
    const vn_attr attr = {
        .conv = {.stride = s->stride, .pad = {s->pad[0], s->pad[1], s->pad[2], s->pad[3]}}};
    const vn_shape x = VN_SHAPE(s->n, s->h, s->w, s->inputs),
                   w = VN_SHAPE(s->kh, s->kw, s->inputs, s->outputs);
    const vn_shape in[] = {x, w, VN_SHAPE(s->outputs)};
    const vn_shape y = product_check(VN_OP_CONV2D, attr, 3, in, NULL);
    product_check(VN_OP_CONV2D, attr, 2, in, NULL);
    product_check(VN_OP_CONV2D_GRAD_X, attr, 2, (vn_shape[]){y, w}, &x);
    product_check(VN_OP_CONV2D_GRAD_W, attr, 2, (vn_shape[]){x, y}, &w);
}

static void the_usual_ones(void **state) {
    (void)state;
    /* clang-format off */
    const conv_size sizes[] = {
        {2, 8, 8, 16, 32, 3, 3, 1, {1, 1, 1, 1}},
        {3, 7, 7, 33, 17, 3, 3, 1, {1, 1, 1, 1}},
        {2, 9, 6, 16, 16, 3, 3, 2, {1, 1, 1, 1}},
        {2, 8, 8, 8, 24, 3, 3, 2, {0, 1, 0, 1}},  /* UNet2DModel's down-sampling */
        {2, 8, 8, 40, 50, 1, 1, 1, {0, 0, 0, 0}},
        {2, 8, 8, 8, 40, 1, 1, 2, {0, 0, 0, 0}},
        {2, 28, 28, 1, 32, 3, 3, 1, {1, 1, 1, 1}},
        {2, 28, 28, 32, 1, 3, 3, 1, {1, 1, 1, 1}},
        {1, 16, 16, 3, 64, 4, 4, 4, {0, 0, 0, 0}}, /* patches */
        {17, 5, 5, 4, 20, 3, 3, 1, {1, 1, 1, 1}},
    };
    /* clang-format on */
    for (size_t i = 0; i < VN_COUNT(sizes); i++) check_conv(&sizes[i]);
}

/* Large enough for more than one thread, several strips and several chunks. */
static void large_ones(void **state) {
    (void)state;
    check_conv(&(conv_size){5, 14, 14, 32, 48, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){3, 40, 30, 24, 20, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){4, 28, 28, 20, 24, 3, 3, 2, {1, 1, 1, 1}});
    check_conv(&(conv_size){1, 14, 14, 64, 33, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){3, 14, 14, 100, 40, 1, 1, 1, {0, 0, 0, 0}});
    check_conv(&(conv_size){20, 28, 28, 32, 1, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){20, 28, 28, 1, 32, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){2, 5, 5, 150, 100, 3, 3, 1, {1, 1, 1, 1}});
}

/* Sizes that kernel_winograd.c takes, on all instruction sets or on those of shorter vectors: odd
 * and even ones, padding of all kinds, a part of a block and several, panels and pieces that are
 * not full, one chunk and several. */
static void by_winograd(void **state) {
    (void)state;
    /* clang-format off */
    const conv_size sizes[] = {
        {2, 14, 14, 64, 64, 3, 3, 1, {1, 1, 1, 1}},
        {3, 7, 7, 32, 48, 3, 3, 1, {1, 1, 1, 1}},
        {1, 28, 28, 32, 32, 3, 3, 1, {1, 1, 1, 1}},
        {5, 11, 10, 48, 80, 3, 3, 1, {0, 0, 0, 0}},
        {2, 9, 11, 36, 40, 3, 3, 1, {2, 1, 0, 2}},
        {3, 10, 7, 80, 32, 3, 3, 1, {0, 2, 3, 0}},
        {2, 6, 5, 40, 48, 3, 3, 1, {2, 4, 3, 5}}, /* windows that miss the image */
        {1, 4, 31, 96, 144, 3, 3, 1, {1, 1, 1, 1}},
        {2, 1, 70, 32, 32, 3, 3, 1, {2, 2, 1, 1}},
        {0, 14, 14, 32, 32, 3, 3, 1, {1, 1, 1, 1}},
        {11, 14, 15, 32, 32, 3, 3, 1, {1, 1, 1, 1}},
        {1, 8, 8, 272, 256, 3, 3, 1, {1, 1, 1, 1}}, /* weights that fit no cache */
        {1, 8, 8, 2080, 32, 3, 3, 1, {1, 1, 1, 1}},
    };
    /* clang-format on */
    for (size_t i = 0; i < VN_COUNT(sizes); i++) check_conv(&sizes[i]);
}

/* x and w, or dy and w, of `count` images; the result is as large as x. */
static void convolve_images(const vn_device_row *b, vn_op op, int64_t count, float *x, float *w,
                            float *out, int threads) {
    kernel_case c;
    const vn_shape image = VN_SHAPE(count, 9, 14, 48), in[] = {image, VN_SHAPE(3, 3, 48, 48)};
    kernel_open(&c, op, (vn_attr){.conv = {.stride = 1, .pad = {1, 1, 1, 1}}}, 2, in, &image);
    kernel_run(b, &c.node, (float *[]){x, w}, out, threads, NULL);
}

/* Five images in one batch and alone: the same bits, although tiles of several images share a
 * product. */
static void images_do_not_meet(void **state) {
    (void)state;
    const int64_t images = 5, image = 9 * 14 * 48, weights = 9 * 48 * 48;
    float *x = kernel_array_open(images * image), *w = kernel_array_open(weights);
    float *together = kernel_array_open(images * image), *alone = kernel_array_open(image);
    vn_random_normal(x, (size_t)(images * image), 2, VN_STREAM_TEST, 0, 0);
    vn_random_normal(w, (size_t)weights, 2, VN_STREAM_TEST, 1, 0);
    for (size_t k = 0; vn_cpu_row_at(k); k++)
        for (vn_op op = VN_OP_CONV2D; op <= VN_OP_CONV2D_GRAD_X; op++) {
            convolve_images(vn_cpu_row_at(k), op, images, x, w, together, 2);
            for (int64_t i = 0; i < images; i++) {
                convolve_images(vn_cpu_row_at(k), op, 1, x + i * image, w, alone, 1 + (int)(i % 4));
                assert_memory_equal(alone, together + i * image, (size_t)image * sizeof(float));
            }
        }
    kernel_array_close(x, images * image);
    kernel_array_close(w, weights);
    kernel_array_close(together, images * image);
    kernel_array_close(alone, image);
}

static void one_pixel_or_one_channel(void **state) {
    (void)state;
    check_conv(&(conv_size){1, 1, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0}});
    check_conv(&(conv_size){1, 1, 1, 5, 6, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){1, 1, 9, 2, 3, 1, 5, 1, {0, 0, 2, 2}});
    check_conv(&(conv_size){5, 2, 1, 1, 19, 2, 1, 3, {0, 0, 0, 0}});
}

static void a_stride_beyond_the_kernel_and_padding_beyond_it(void **state) {
    (void)state;
    check_conv(&(conv_size){2, 10, 11, 3, 9, 2, 1, 3, {0, 0, 0, 0}});
    check_conv(&(conv_size){2, 5, 4, 3, 20, 2, 3, 1, {4, 3, 5, 2}});
    check_conv(&(conv_size){2, 5, 4, 3, 20, 1, 1, 2, {3, 0, 0, 3}});
}

static void of_nothing(void **state) {
    (void)state;
    check_conv(&(conv_size){0, 4, 4, 3, 5, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){2, 4, 4, 0, 5, 3, 3, 1, {1, 1, 1, 1}});
    check_conv(&(conv_size){2, 4, 4, 3, 0, 3, 3, 2, {1, 1, 1, 1}});
}

static void of_random_sizes(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        conv_size s = {
            .n = product_draw(1, 4), .inputs = product_draw(1, 20), .outputs = product_draw(1, 40)};
        s.kh = product_draw(1, 4);
        s.kw = product_draw(1, 4);
        s.h = product_draw(s.kh, 12);
        s.w = product_draw(s.kw, 12);
        s.stride = (int)product_draw(1, 3);
        for (int k = 0; k < 4; k++) s.pad[k] = (int)product_draw(0, 2);
        check_conv(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_usual_ones),
        cmocka_unit_test(one_pixel_or_one_channel),
        cmocka_unit_test(of_random_sizes),
        cmocka_unit_test(a_stride_beyond_the_kernel_and_padding_beyond_it),
        cmocka_unit_test(large_ones),
        cmocka_unit_test(of_nothing),
        cmocka_unit_test(by_winograd),
        cmocka_unit_test(images_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
