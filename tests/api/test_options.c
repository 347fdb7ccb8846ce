/* test_options.c - the tables of options, walked: each row sets, reads and refuses its member, and
 * what vn_NAME_init gives is what the row says. */
#include "api/support_context.h"

#include <math.h>
#include <string.h>

#include "support/scratch.h"

typedef union any {
    vn_context_options context;
    vn_model_options model;
    vn_sample_options sample;
    vn_train_options train;
    vn_likelihood_settings likelihood;
    vn_eval_options eval;
    vn_bench_options bench;
    vn_bench_sampling_options bench_sampling;
    vn_token_options token;
    vn_sweep_options sweep;
    vn_autoencoder_options autoencoder;
} any;

/* With vn_NAME_init. */
static any initial(int kind) {
    any a;
    memset(&a, 0xa5, sizeof a);
    switch (kind) {
    case VN_OPTIONS_CONTEXT: vn_context_options_init(&a.context, sizeof a.context); break;
    case VN_OPTIONS_MODEL: vn_model_options_init(&a.model, sizeof a.model); break;
    case VN_OPTIONS_SAMPLE: vn_sample_options_init(&a.sample, sizeof a.sample); break;
    case VN_OPTIONS_TRAIN: vn_train_options_init(&a.train, sizeof a.train); break;
    case VN_OPTIONS_LIKELIHOOD:
        vn_likelihood_settings_init(&a.likelihood, sizeof a.likelihood);
        break;
    case VN_OPTIONS_EVAL: vn_eval_options_init(&a.eval, sizeof a.eval); break;
    case VN_OPTIONS_BENCH: vn_bench_options_init(&a.bench, sizeof a.bench); break;
    case VN_OPTIONS_TOKEN: vn_token_options_init(&a.token, sizeof a.token); break;
    case VN_OPTIONS_AUTOENCODER:
        vn_autoencoder_options_init(&a.autoencoder, sizeof a.autoencoder);
        break;
    case VN_OPTIONS_SWEEP: vn_sweep_options_init(&a.sweep, sizeof a.sweep); break;
    default: vn_bench_sampling_options_init(&a.bench_sampling, sizeof a.bench_sampling);
    }
    return a;
}

typedef void (*row_fn)(int kind, const vn_option *o);

static void each_row(row_fn visit) {
    size_t rows = 0;
    for (int kind = 0; vn_option_kind_name(kind); kind++)
        for (size_t i = 0; i < vn_option_count(kind); i++, rows++)
            visit(kind, vn_option_at(kind, i));
    assert_true(rows > 60);
}

static bool is_number(const vn_option *o) {
    return o->type == VN_OPTION_INT || o->type == VN_OPTION_INT64 || o->type == VN_OPTION_UINT64 ||
           o->type == VN_OPTION_DOUBLE;
}

static void default_is_the_row_s(int kind, const vn_option *o) {
    const any a = initial(kind);
    const char *member = (const char *)&a + o->offset;
    double value = 0;
    if (o->type == VN_OPTION_TEXT) assert_null(*(const char *const *)member);
    if (o->type == VN_OPTION_INT || o->type == VN_OPTION_FLAG) value = *(const int *)member;
    if (o->type == VN_OPTION_LABEL) value = *(const int32_t *)member;
    if (o->type == VN_OPTION_INT64) value = (double)*(const int64_t *)member;
    if (o->type == VN_OPTION_UINT64) value = (double)(int64_t) * (const uint64_t *)member;
    if (o->type == VN_OPTION_DOUBLE) value = *(const double *)member;
    if (value != o->value && !(isnan(value) && isnan(o->value)))
        fail_msg("%s is %g, not %g", o->name, value, o->value);
    assert_true(o->help && o->help[0] && o->word);
    if (o->table) assert_true(vn_kind_find(o->table) < vn_kind_count());
}

static void the_default_of_each_is_that_of_its_row(void **state) {
    (void)state;
    each_row(default_is_the_row_s);
    vn_sample_options o = vn_sample_options_default();
    assert_int_equal(o.label, VN_LABEL_ALL);
    assert_true(isnan(o.guidance) && !o.labels && !o.weak);
    vn_train_options t = vn_train_options_default();
    assert_true(t.drop == -1 && t.batch == -1 && t.seed == UINT64_MAX && t.size == 0);
    vn_bench_options b = vn_bench_options_default();
    assert_true(b.train == 1 && b.batch == 64 && b.steps == 10 && !b.profile);
}

/* A value that is not the default. */
static const char *some_value(const vn_option *o, char text[64]) {
    if (o->type == VN_OPTION_FLAG) return o->value != 0 ? "false" : "true";
    if (o->type == VN_OPTION_LABEL) return "null";
    if (o->choices) {
        snprintf(text, 64, "%.*s", (int)strcspn(o->choices, "|"), o->choices);
        return text;
    }
    if (o->table) return vn_kind_row(vn_kind_find(o->table), 0)->name;
    if (o->type == VN_OPTION_TEXT) return "words";
    if (o->type == VN_OPTION_DOUBLE) return o->max < 1 ? "0.0625" : "0.125";
    return "7";
}

static void set_is_read(int kind, const vn_option *o) {
    char text[64], *back;
    any a = initial(kind), b = initial(kind);
    const char *value = some_value(o, text);
    expect_ok(vn, vn_option_set(vn, kind, &a, o->name, value));
    expect_ok(vn, vn_option_get(vn, kind, &a, o->name, &back));
    assert_string_equal(back, value);
    vn_text_free(&back);

    expect_ok(vn, vn_option_set(vn, kind, &a, o->name, NULL));
    expect_ok(vn, vn_option_get(vn, kind, &a, o->name, &back));
    if (o->type == VN_OPTION_TEXT || o->otherwise) assert_null(back);
    vn_text_free(&back);
    default_is_the_row_s(kind, o);
    for (size_t i = 0; i < vn_option_count(kind); i++) { /* and no other member was touched */
        char *of_a, *of_b;
        const char *name = vn_option_at(kind, i)->name;
        expect_ok(vn, vn_option_get(vn, kind, &a, name, &of_a));
        expect_ok(vn, vn_option_get(vn, kind, &b, name, &of_b));
        assert_true(of_a ? of_b && !strcmp(of_a, of_b) : !of_b);
        vn_text_free(&of_a);
        vn_text_free(&of_b);
    }
}

static void what_is_set_by_name_is_read_by_name(void **state) {
    (void)state;
    each_row(set_is_read);
    vn_train_options t = vn_train_options_default();
    expect_ok(vn, vn_option_set(NULL, VN_OPTIONS_TRAIN, &t, "weight-decay", "1e-2"));
    assert_true(t.weight_decay == 0.01);
    expect_ok(vn, vn_option_set(vn, VN_OPTIONS_TRAIN, &t, "seed", "9007199254740993"));
    assert_true(t.seed == 9007199254740993u);
    vn_sample_options o = vn_sample_options_default();
    expect_ok(vn, vn_option_set(vn, VN_OPTIONS_SAMPLE, &o, "seed", "18446744073709551615"));
    assert_true(o.seed == UINT64_MAX);
    expect_ok(vn, vn_option_set(vn, VN_OPTIONS_SAMPLE, &o, "label", "all"));
    assert_int_equal(o.label, VN_LABEL_ALL);
}

static void refuse(int kind, const vn_option *o, double value) {
    char text[64], words[128];
    any a = initial(kind);
    const any before = a;
    snprintf(text, sizeof text, o->type == VN_OPTION_DOUBLE ? "%g" : "%.0f", value);
    snprintf(words, sizeof words, "`%s` %s is outside [", o->name, text);
    expect_refused(vn_option_set(vn, kind, &a, o->name, text), VN_BAD_ARGUMENT, words);
    assert_memory_equal(&a, &before, sizeof a);
    snprintf(words, sizeof words, o->type == VN_OPTION_DOUBLE ? ", %g]" : ", %.0f]", o->max);
    if (!strstr(vn_error_text(vn), words)) fail_msg("%s", vn_error_text(vn));
}

static void outside_is_refused(int kind, const vn_option *o) {
    any a = initial(kind);
    if (!is_number(o)) return;
    expect_refused(vn_option_set(vn, kind, &a, o->name, "many"), VN_BAD_ARGUMENT,
                   o->type == VN_OPTION_DOUBLE ? "expected a number" : "expected a whole number");
    if (!isfinite(o->max)) return;
    refuse(kind, o, o->type == VN_OPTION_DOUBLE ? o->min - 0.5 : o->min - 1);
    refuse(kind, o, o->type == VN_OPTION_DOUBLE || o->max > 1e15 ? o->max * 4 : o->max + 1);
    if (o->otherwise && o->value >= o->min)
        expect_refused(vn_option_set(vn, kind, &a, o->name, "0"), VN_BAD_ARGUMENT,
                       "stands for \"not given\"");
}

static void what_is_outside_is_refused_with_name_and_bounds(void **state) {
    (void)state;
    each_row(outside_is_refused);
}

static void unknown_names_are_refused_with_the_nearest(void **state) {
    (void)state;
    vn_train_options t = vn_train_options_default();
    expect_refused(vn_option_set(vn, VN_OPTIONS_TRAIN, &t, "weigth_decay", "1"), VN_BAD_ARGUMENT,
                   "train has no option 'weigth_decay'; did you mean 'weight_decay'?");
    expect_refused(vn_option_set(vn, VN_OPTIONS_TRAIN, &t, "schedule", "cosin"), VN_BAD_ARGUMENT,
                   "unknown `schedule` 'cosin'; did you mean 'cosine'?");
    vn_sample_options s = vn_sample_options_default();
    expect_refused(vn_option_set(vn, VN_OPTIONS_SAMPLE, &s, "sampler", "eulr"), VN_BAD_ARGUMENT,
                   "unknown sampler 'eulr'; did you mean 'euler'?");
    assert_null(s.sampler);
    expect_refused(vn_option_set(vn, 77, &t, "steps", "1"), VN_BAD_ARGUMENT, "77 is no kind");
    expect_refused(vn_option_set(vn, VN_OPTIONS_TRAIN, &t, "flip", "yes"), VN_BAD_ARGUMENT,
                   "`flip`: expected true or false, not 'yes'");
    assert_null(vn_option_kind_name(77));
    assert_null(vn_option_at(-1, 0));
    assert_int_equal(vn_option_count(77), 0);
}

static void a_member_beyond_the_callers_struct_is_not_written(void **state) {
    (void)state;
    vn_train_options t = vn_train_options_default();
    t.struct_size = offsetof(vn_train_options, steps);
    char *text = NULL;
    expect_ok(vn, vn_option_set(vn, VN_OPTIONS_TRAIN, &t, "drop", "0.5"));
    expect_refused(vn_option_set(vn, VN_OPTIONS_TRAIN, &t, "steps", "1"), VN_UNSUPPORTED,
                   "`steps`");
    expect_refused(vn_option_get(vn, VN_OPTIONS_TRAIN, &t, "steps", &text), VN_UNSUPPORTED,
                   "`steps`");
    assert_true(t.drop == 0.5 && t.steps == 0);
    t.struct_size = 0;
    expect_refused(vn_option_set(vn, VN_OPTIONS_TRAIN, &t, "drop", "0"), VN_BAD_ARGUMENT,
                   "struct_size");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_of_each_is_that_of_its_row),
        cmocka_unit_test(what_is_set_by_name_is_read_by_name),
        cmocka_unit_test(what_is_outside_is_refused_with_name_and_bounds),
        cmocka_unit_test(unknown_names_are_refused_with_the_nearest),
        cmocka_unit_test(a_member_beyond_the_callers_struct_is_not_written),
    };
    return cmocka_run_group_tests(tests, context_enter_once, context_leave);
}
