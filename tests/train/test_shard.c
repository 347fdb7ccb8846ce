/* test_shard.c - how arrays are dealt to ranks: all of them once, matrices and blocks as a
 * whole, the same blocks whatever the number of ranks, and to each rank little more than its
 * share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "train/internal.h"

enum { AVERAGES = 1, MOST_RANKS = 70 };

static const char dit[] =
    "{\"_class_name\": \"DiTTransformer2DModel\", \"sample_size\": 32, \"in_channels\": 3, "
    "\"patch_size\": 4, \"num_layers\": 6, \"num_attention_heads\": 4, \"attention_head_dim\": 64, "
    "\"num_embeds_ada_norm\": 11}";
static const char unet[] =
    "{\"_class_name\": \"UNet2DModel\", \"sample_size\": 32, \"in_channels\": 3, "
    "\"out_channels\": 3, \"block_out_channels\": [32, 64, 128], \"layers_per_block\": 2, "
    "\"norm_num_groups\": 8, \"num_class_embeds\": 11, \"down_block_types\": [\"DownBlock2D\", "
    "\"AttnDownBlock2D\", \"AttnDownBlock2D\"], \"up_block_types\": [\"AttnUpBlock2D\", "
    "\"AttnUpBlock2D\", \"UpBlock2D\"], \"attention_head_dim\": 32}";
static const char mlp[] =
    "{\"_class_name\": \"VaneMLP\", \"dimension\": 2, \"width\": 30, \"layers\": 2, "
    "\"time_features\": 16, \"num_class_embeds\": 3}";
static const char *const configs[] = {dit, unet, mlp};

static vn_net *net_of(const char *config) {
    json_t *parsed = NULL;
    vn_net *net = NULL;
    vn_err err = {0};
    vn_status status = vn_json_parse(config, strlen(config), "config", &parsed, &err);
    if (!status) status = vn_net_open(parsed, &net, &err);
    if (status) fail_msg("%s", err.text);
    json_decref(parsed);
    return net;
}

static vn_dealing dealing_of(const vn_net *net, const char *optimizer) {
    vn_choice choice = {0};
    assert_int_equal(vn_choice_parse(optimizer, &vn_optimizers, &choice, NULL), VN_OK);
    return (vn_dealing){.weights = vn_net_weights(net),
                        .takes = ((const vn_optimizer_row *)choice.row)->takes,
                        .averages = AVERAGES,
                        .ranks = 1};
}

static vn_shard shard_of(vn_dealing d, int rank, int ranks) {
    vn_shard s;
    vn_err err = {0};
    d.rank = rank;
    d.ranks = ranks;
    if (vn_shard_open(&s, &d, &err)) fail_msg("%s", err.text);
    return s;
}

/* Calls `check` for each network and optimiser. */
static void for_each(void (*check)(const vn_dealing *d)) {
    static const char *const optimizers[] = {"adamw", "muon"};
    for (size_t i = 0; i < VN_COUNT(configs); i++)
        for (size_t k = 0; k < VN_COUNT(optimizers); k++) {
            vn_net *net = net_of(configs[i]);
            const vn_dealing d = dealing_of(net, optimizers[k]);
            check(&d);
            vn_net_close(&net);
        }
}

/* ---- one rank -------------------------------------------------------------------------------- */

/* Its arrays are those of the weights, which checkpoints take as they are. */
static void check_alone(const vn_dealing *d) {
    vn_shard s = shard_of(*d, 0, 1);
    vn_weights *second = NULL;
    if (d->takes) assert_int_equal(vn_weights_without(d->weights, d->takes, &second, NULL), VN_OK);
    assert_int_equal(s.floats, vn_weights_floats(d->weights));
    assert_int_equal(s.second_floats, vn_weights_floats(second ? second : d->weights));
    for (int i = 0; i < s.runs; i++) {
        const vn_shard_run *run = &s.run[i];
        assert_int_equal(run->own, run->at);
        if (run->second != VN_NO_SECOND) assert_int_equal(run->second_own, run->second);
        for (size_t k = 0; k < vn_weights_count(d->weights) && second; k++) {
            const vn_weight *w = vn_weights_at(d->weights, k),
                            *same = vn_weights_find(second, w->name);
            if (w->offset < run->at || w->offset >= run->at + run->n) continue;
            assert_int_equal(same == NULL, run->matrix == (int64_t)k);
            if (same) assert_int_equal(run->second + (w->offset - run->at), same->offset);
        }
    }
    vn_weights_close(&second);
    vn_shard_close(&s);
}

static void one_rank_has_the_arrays_as_they_are(void **state) {
    (void)state;
    for_each(check_alone);
}

/* ---- several --------------------------------------------------------------------------------- */

/* The runs of all ranks lie one after the other without a gap, and so do those of moment2. */
static void check_runs(const vn_shard *s, const vn_dealing *d) {
    size_t at = 0, second = 0;
    for (int i = 0; i < s->runs; i++) {
        const vn_shard_run *run = &s->run[i];
        assert_int_equal(run->at, at);
        assert_in_range(run->rank, 0, d->ranks - 1);
        assert_int_equal(run->own % 16, 0);
        at += run->n;
        if (run->matrix >= 0) {
            const vn_weight *w = vn_weights_at(d->weights, (size_t)run->matrix);
            assert_true(d->takes(w) && run->at == w->offset && run->n >= w->count);
            assert_true(run->second == VN_NO_SECOND);
        } else {
            assert_int_equal(run->second, second);
            second += run->n;
        }
    }
    assert_int_equal(at, vn_weights_floats(d->weights));
}

/* Its own runs do not overlap in its arrays, which are no longer than they need to be. */
static void check_own(const vn_shard *s) {
    size_t own = 0, second = 0;
    for (int i = 0; i < s->runs; i++) {
        const vn_shard_run *run = &s->run[i];
        if (run->rank != s->rank) continue;
        assert_true(run->own >= own && run->own < own + 16);
        own = run->own + run->n;
        if (run->second == VN_NO_SECOND) continue;
        assert_true(run->second_own >= second && run->second_own < second + 16);
        second = run->second_own + run->n;
    }
    assert_true(s->floats >= own && s->floats < own + 16);
    assert_true(s->second_floats >= second && s->second_floats < second + 16);
    const size_t all = s->floats * (1 + AVERAGES) + s->second_floats;
    assert_true(all <= s->most);
}

/* Every block is one rank's, where it has the weights, and is that of one rank alone. */
static void check_blocks(const vn_shard *s, const vn_shard *alone, int *times) {
    assert_int_equal(s->blocks, alone->blocks);
    for (int i = 0; i < s->own_blocks; i++) {
        const vn_span *span = &s->own_block[i], *same = &alone->own_block[s->block_number[i]];
        bool inside = false;
        assert_true(span->at == same->at && span->n == same->n);
        for (int k = 0; k < s->runs; k++)
            inside = inside || (s->run[k].rank == s->rank && s->run[k].at <= span->at &&
                                span->at + span->n <= s->run[k].at + s->run[k].n);
        assert_true(inside);
        times[s->block_number[i]]++;
    }
}

static void check_together(const vn_dealing *d) {
    static const int counts[] = {2, 3, 4, 8, MOST_RANKS};
    vn_shard alone = shard_of(*d, 0, 1);
    for (size_t i = 0; i < VN_COUNT(counts); i++) {
        int *times = calloc((size_t)alone.blocks, sizeof *times);
        vn_dealing with = *d;
        with.ranks = counts[i];
        assert_non_null(times);
        for (int rank = 0; rank < counts[i]; rank++) {
            vn_shard s = shard_of(*d, rank, counts[i]);
            check_runs(&s, &with);
            check_own(&s);
            check_blocks(&s, &alone, times);
            vn_shard_close(&s);
        }
        for (int k = 0; k < alone.blocks; k++) assert_int_equal(times[k], 1);
        free(times);
    }
    vn_shard_close(&alone);
}

static void several_ranks_have_each_a_part(void **state) {
    (void)state;
    for_each(check_together);
}

/* What is kept whole is one rank's, though the optimiser has no rule of its own for it. */
static void a_weight_can_be_kept_whole(void **state) {
    (void)state;
    vn_net *net = net_of(dit);
    vn_dealing d = dealing_of(net, "adamw");
    const vn_weight *largest = vn_weights_at(d.weights, 0);
    for (size_t i = 0; i < vn_weights_count(d.weights); i++)
        if (vn_weights_at(d.weights, i)->count > largest->count)
            largest = vn_weights_at(d.weights, i);
    d.whole = largest->name;
    vn_shard s = shard_of(d, 0, 8);
    int has = 0;
    for (int i = 0; i < s.runs; i++)
        has += s.run[i].at <= largest->offset &&
               largest->offset + largest->count <= s.run[i].at + s.run[i].n;
    assert_int_equal(has, 1);
    d.ranks = 8;
    check_runs(&s, &d);
    check_own(&s);
    vn_shard_close(&s);
    vn_net_close(&net);
}

/* ---- balance --------------------------------------------------------------------------------- */

/* A quarter is what four ranks would have at best. */
static void four_ranks_have_little_more_than_a_quarter(void **state) {
    (void)state;
    static const char *const optimizers[] = {"adamw", "muon"};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < VN_COUNT(optimizers); k++) {
            vn_net *net = net_of(configs[i]);
            const vn_dealing d = dealing_of(net, optimizers[k]);
            vn_shard all = shard_of(d, 0, 1), quarter = shard_of(d, 0, 4);
            const double part = (double)quarter.most / (double)all.most;
            print_message("%s, %s: %.4f\n", i ? "unet" : "dit", optimizers[k], part);
            assert_true(part >= 0.25 && part <= 0.27);
            vn_shard_close(&all);
            vn_shard_close(&quarter);
            vn_net_close(&net);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_has_the_arrays_as_they_are),
        cmocka_unit_test(several_ranks_have_each_a_part),
        cmocka_unit_test(a_weight_can_be_kept_whole),
        cmocka_unit_test(four_ranks_have_little_more_than_a_quarter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
