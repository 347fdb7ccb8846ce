/* A sequence model one token at a time: to the bit what the whole network says, on every kernel set
 * that runs here, and much cheaper. */
#include "nn/nn.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/thread_pool.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        vn_err err = {0};                                                                          \
        if ((call) != VN_OK) fail_msg("%s", err.text);                                             \
    } while (0)

typedef struct fixture {
    vn_net *net;
    vn_values *values;
    vn_runner *runner;
    vn_device device;
    int64_t vocab;
} fixture;

static fixture open_fixture(const char *more) {
    fixture f = {.device = {kernels, NULL, crew_of(2)}};
    char text[512];
    snprintf(text, sizeof text,
             "{\"architectures\":[\"LlamaForCausalLM\"],\"vocab_size\":37,\"hidden_size\":48,"
             "\"intermediate_size\":80,\"num_hidden_layers\":3,\"num_attention_heads\":6%s}",
             more);
    json_t *config = json_loads(text, 0, NULL);
    assert_non_null(config);
    CHECK(vn_net_open(config, &f.net, &err));
    json_decref(config);
    CHECK(vn_values_open(vn_net_weights(f.net), &f.device, NULL, &f.values, &err));
    CHECK(vn_values_init(f.values, 3, &err));
    CHECK(vn_runner_open(f.net, &f.device, f.values, &f.runner, &err));
    f.vocab = 37;
    return f;
}

static void close_fixture(fixture *f) {
    vn_runner_close(&f->runner);
    vn_values_close(&f->values);
    vn_net_close(&f->net);
}

/* The whole network's logits of `tokens` of ids [n,stride], [n,tokens,vocab]. */
static void whole(const fixture *f, int64_t n, int64_t tokens, int64_t stride, const int32_t *ids,
                  float *logits) {
    int32_t *given = malloc((size_t)(n * tokens) * sizeof *given);
    assert_non_null(given);
    for (int64_t i = 0; i < n; i++)
        memcpy(given + i * tokens, ids + i * stride, (size_t)tokens * sizeof *given);
    const vn_feed in = {.array = {"input_ids", VN_I32, VN_SHAPE(n, tokens), given}};
    CHECK(vn_runner_run(f->runner, &(vn_net_spec){.extent = {.batch = n, .tokens = tokens}}, 1, &in,
                        1, &(vn_fetch){"logits", logits}, &err));
    free(given);
}

enum { ROWS = 5, TOKENS = 70 };

static void make_ids(int32_t *ids, int64_t n, int64_t vocab) {
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)((i * i * 31 + 7 * i) % vocab);
}

/* Every token of sequences longer than a block of attention, with keys of their own and shared, and
 * whatever the number of tokens and rows that the whole network is given at once. */
static void tokens_are_to_the_bit_those_of_the_whole_network(void **state) {
    (void)state;
    static const char *const configs[] = {
        "", ",\"num_key_value_heads\":2,\"attention_bias\":true",
        ",\"num_key_value_heads\":1,\"head_dim\":10,\"tie_word_embeddings\":true"};
    static const int64_t lengths[] = {1, 2, 15, 16, 17, 33, 64, 65, TOKENS};
    int32_t ids[ROWS * TOKENS];
    for (size_t k = 0; k < VN_COUNT(configs); k++) {
        fixture f = open_fixture(configs[k]);
        vn_decoder *d = NULL;
        vn_decoder_cache *c = NULL;
        const size_t row = (size_t)f.vocab;
        float *expected = malloc(ROWS * TOKENS * row * sizeof *expected),
              *part = malloc(ROWS * TOKENS * row * sizeof *part),
              *found = malloc(ROWS * row * sizeof *found);
        assert_true(expected && part && found);
        make_ids(ids, ROWS * TOKENS, f.vocab);
        whole(&f, ROWS, TOKENS, TOKENS, ids, expected);
        CHECK(vn_decoder_open(f.net, &f.device, f.values, ROWS, TOKENS, &d, &err));
        CHECK(vn_decoder_cache_open(d, &c, &err));
        for (int64_t t = 0; t < TOKENS; t++) {
            int32_t now[ROWS];
            for (int64_t i = 0; i < ROWS; i++) now[i] = ids[i * TOKENS + t];
            CHECK(vn_decoder_step(d, c, t, NULL, now, found, &err));
            for (int64_t i = 0; i < ROWS; i++)
                assert_memory_equal(found + (size_t)i * row,
                                    expected + (size_t)(i * TOKENS + t) * row, row * sizeof *found);
        }
        for (size_t j = 0; j < VN_COUNT(lengths); j++) {
            const int64_t n = lengths[j];
            whole(&f, 1, n, TOKENS, ids, part);
            assert_memory_equal(part + (size_t)(n - 1) * row, expected + (size_t)(n - 1) * row,
                                row * sizeof *part);
        }
        vn_decoder_cache_close(&c);
        vn_decoder_close(&d);
        close_fixture(&f);
        free(expected);
        free(part);
        free(found);
    }
}

/* Rows that are not wanted stay where they are; two caches do not meet. */
static void rows_go_on_by_themselves(void **state) {
    (void)state;
    fixture f = open_fixture("");
    vn_decoder *d = NULL;
    vn_decoder_cache *c[2] = {NULL, NULL};
    float logits[2][2][37], alone[2][37];
    static const int32_t ids[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    static const bool first[2] = {true, false}, second[2] = {false, true};
    CHECK(vn_decoder_open(f.net, &f.device, f.values, 2, 4, &d, &err));
    for (int i = 0; i < 2; i++) CHECK(vn_decoder_cache_open(d, &c[i], &err));
    for (int64_t t = 0; t < 3; t++)
        CHECK(vn_decoder_step(d, c[0], t, NULL, ids[t], *logits[0], &err));
    for (int64_t t = 0; t < 3; t++)
        CHECK(vn_decoder_step(d, c[1], t, first, ids[t], *logits[1], &err));
    memcpy(alone[0], logits[1][0], sizeof alone[0]);
    for (int64_t t = 0; t < 3; t++)
        CHECK(vn_decoder_step(d, c[1], t, second, ids[t], *logits[1], &err));
    memcpy(alone[1], logits[1][1], sizeof alone[1]);
    assert_memory_equal(alone, logits[0], sizeof alone);
    vn_err why = {0};
    assert_int_equal(vn_decoder_step(d, c[0], 4, NULL, ids[0], *logits[0], &why), VN_BAD_ARGUMENT);
    assert_string_equal(why.text, "token 4 of a sequence of at most 4");
    for (int i = 0; i < 2; i++) vn_decoder_cache_close(&c[i]);
    vn_decoder_close(&d);
    close_fixture(&f);
}

/* Seconds of one thread, whatever else the machine does. */
static double seconds_of(clock_t began) {
    return (double)(clock() - began) / CLOCKS_PER_SEC;
}

/* 64 tokens that are made one by one, by blocks of the preset's size: at least 5 times as fast as
 * without a cache. (A query by itself fills one lane of attention's vectors: where blocks are
 * smaller, that is most of what is left of the cost.) */
static void a_cache_is_worth_it(void **state) {
    (void)state;
    enum { LONG = 64, MANY = 16, TRIES = 3 };
    fixture f = open_fixture(",\"hidden_size\":128,\"intermediate_size\":352,"
                             "\"num_hidden_layers\":2,\"num_attention_heads\":4");
    vn_decoder *d = NULL;
    vn_decoder_cache *c = NULL;
    const size_t row = (size_t)f.vocab;
    int32_t ids[MANY * LONG];
    float *logits = malloc(MANY * LONG * row * sizeof *logits);
    double uncached = 0, cached = 0;
    assert_non_null(logits);
    vn_runner_close(&f.runner);
    f.device.pool = NULL;
    CHECK(vn_runner_open(f.net, &f.device, f.values, &f.runner, &err));
    make_ids(ids, MANY * LONG, f.vocab);
    CHECK(vn_decoder_open(f.net, &f.device, f.values, MANY, LONG, &d, &err));
    CHECK(vn_decoder_cache_open(d, &c, &err));
    for (int64_t t = 1; t <= LONG; t++) {
        whole(&f, MANY, t, LONG, ids, logits); /* planned */
        const clock_t began = clock();
        whole(&f, MANY, t, LONG, ids, logits);
        uncached += seconds_of(began);
    }
    for (int i = 0; i < TRIES; i++) {
        const clock_t began = clock();
        for (int64_t t = 0; t < LONG; t++) {
            int32_t now[MANY];
            for (int64_t k = 0; k < MANY; k++) now[k] = ids[k * LONG + t];
            CHECK(vn_decoder_step(d, c, t, NULL, now, logits, &err));
        }
        cached = i ? fmin(cached, seconds_of(began)) : seconds_of(began);
    }
    print_message("64 tokens: %.1f ms uncached, %.1f ms cached: %.1f times as fast\n",
                  1e3 * uncached, 1e3 * cached, uncached / cached);
    assert_true(uncached >= 5 * cached);
    vn_decoder_cache_close(&c);
    vn_decoder_close(&d);
    close_fixture(&f);
    free(logits);
}

static void other_networks_are_refused(void **state) {
    (void)state;
    json_t *config = json_pack("{s:s}", "_class_name", "VaneTextEncoder");
    vn_net *net = NULL;
    vn_decoder *d = NULL;
    vn_err why = {0};
    assert_non_null(config);
    CHECK(vn_net_open(config, &net, &err));
    json_decref(config);
    const vn_device device = {kernels, NULL, NULL};
    vn_values *values = NULL;
    CHECK(vn_values_open(vn_net_weights(net), &device, NULL, &values, &err));
    assert_int_equal(vn_decoder_open(net, &device, values, 1, 2, &d, &why), VN_UNSUPPORTED);
    assert_string_equal(why.text, "text is no sequence model");
    vn_values_close(&values);
    vn_net_close(&net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_to_the_bit_those_of_the_whole_network),
        cmocka_unit_test(rows_go_on_by_themselves),
        cmocka_unit_test(a_cache_is_worth_it),
        cmocka_unit_test(other_networks_are_refused),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
