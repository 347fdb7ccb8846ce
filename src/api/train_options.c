/* train_options.c - see the header. */
#include "api/train_options.h"

#include <math.h>
#include <string.h>

typedef enum field_type { TEXT, REAL, WHOLE, FLAG } field_type;

typedef struct field {
    const char *name;
    field_type type;
    size_t offset;
    double unset;    /* what vn_train_options_default gives: nothing was asked for; TEXT: NULL */
    double standard; /* what then is used; the same where that is for others to decide */
    double min, max; /* of what is asked for */
    bool may_change; /* by a resume: it does not change what is trained */
    bool added;      /* runs of older versions do not store it */
} field;

#define FIELD(name, type) #name, type, offsetof(vn_train_options, name)
#define MAX_STEPS         16000000.0 /* random streams number 2^24 steps */

/* clang-format off */
static const field fields[] = {
    {FIELD(model, TEXT),          0,  0,     0, 0,         false, false},
    {FIELD(path, TEXT),           0,  0,     0, 0,         false, false},
    {FIELD(predict, TEXT),        0,  0,     0, 0,         false, false},
    {FIELD(objective, TEXT),      0,  0,     0, 0,         false, false},
    {FIELD(times, TEXT),          0,  0,     0, 0,         false, false},
    {FIELD(drop, REAL),          -1,  0.1,   0, 1,         false, false},
    {FIELD(batch, WHOLE),        -1,  64,    1, 65536,     false, false},
    {FIELD(lr, REAL),            -1,  1e-3,  0, 1e6,       false, false},
    {FIELD(schedule, TEXT),       0,  0,     0, 0,         false, false},
    {FIELD(warmup, WHOLE),       -1,  50,    0, MAX_STEPS, false, false},
    {FIELD(weight_decay, REAL),  -1,  0,     0, 1e6,       false, false},
    {FIELD(clip, REAL),          -1,  1,     0, 1e30,      false, false},
    {FIELD(ema, REAL),           -1, -1,     0, 1,         false, false},
    {FIELD(dropout, REAL),       -1, -1,     0, 1,         false, false},
    {FIELD(seed, WHOLE),         -1,  0,     0, 9.2e18,    false, false},
    {FIELD(steps, WHOLE),         0,  0,     1, MAX_STEPS, true, false},
    {FIELD(minutes, REAL),        0,  0,     0, 1e7,       true, false},
    {FIELD(size, WHOLE),          0,  0,    -1, 4096,      false, false},
    {FIELD(grey, FLAG),           0,  0,     0, 1,         false, false},
    {FIELD(flip, FLAG),           0,  0,     0, 1,         false, false},
    {FIELD(skip_bad, FLAG),       0,  0,     0, 1,         true, false},
    {FIELD(validate, REAL),      -1,  0.02,  0, 0.5,       false, false},
    {FIELD(log_every, WHOLE),    -1,  10,    1, MAX_STEPS, true, false},
    {FIELD(save_every, WHOLE),    0,  0,     1, MAX_STEPS, true, false},
    {FIELD(preview_every, WHOLE), 0,  0,    -1, MAX_STEPS, true, false},
    {FIELD(microbatches, WHOLE),  0,  1,     1, 65536,     false, true},
};
/* clang-format on */

static const void *at(const vn_train_options *o, const field *f) {
    return (const char *)o + f->offset;
}

static const char *text_of(const vn_train_options *o, const field *f) {
    return *(const char *const *)at(o, f);
}

static double number_of(const vn_train_options *o, const field *f) {
    if (f->type == REAL) return *(const double *)at(o, f);
    return f->type == FLAG ? *(const int *)at(o, f) : (double)*(const int64_t *)at(o, f);
}

static void set_number(vn_train_options *o, const field *f, double value) {
    void *to = (char *)o + f->offset;
    if (f->type == REAL) *(double *)to = value;
    if (f->type == WHOLE) *(int64_t *)to = (int64_t)value;
    if (f->type == FLAG) *(int *)to = value != 0;
}

static bool is_unset(const vn_train_options *o, const field *f) {
    return f->type == TEXT ? !text_of(o, f) : number_of(o, f) == f->unset;
}

void vn_train_options_init(vn_train_options *o, size_t size) {
    vn_train_options initial = {0};
    for (size_t i = 0; i < VN_COUNT(fields); i++) set_number(&initial, &fields[i], fields[i].unset);
    vn_struct_init(o, size, &initial, sizeof initial);
}

static bool same(const vn_train_options *a, const vn_train_options *b, const field *f) {
    if (f->type == REAL) return number_of(a, f) == number_of(b, f);
    if (f->type == FLAG) return *(const int *)at(a, f) == *(const int *)at(b, f);
    if (f->type == WHOLE) return *(const int64_t *)at(a, f) == *(const int64_t *)at(b, f);
    const char *x = text_of(a, f), *y = text_of(b, f);
    return x == y || (x && y && !strcmp(x, y));
}

static void copy(vn_train_options *to, const vn_train_options *from, const field *f) {
    static const size_t sizes[] = {[TEXT] = sizeof(char *),
                                   [REAL] = sizeof(double),
                                   [WHOLE] = sizeof(int64_t),
                                   [FLAG] = sizeof(int)};
    memcpy((char *)to + f->offset, at(from, f), sizes[f->type]);
}

/* Whole numbers are shown whole: rounded, one that is outside would look as the bound does. */
static vn_status refuse(const vn_train_options *o, const field *f, double value, vn_err *err) {
    if (f->type != WHOLE)
        return vn_fail(err, VN_BAD_ARGUMENT, "`%s`: %g is outside [%g, %g]", f->name, value, f->min,
                       f->max);
    return vn_fail(err, VN_BAD_ARGUMENT, "`%s`: %lld is outside [%.0f, %.0f]", f->name,
                   (long long)*(const int64_t *)at(o, f), f->min, f->max);
}

static vn_status check(const vn_train_options *o, vn_err *err) {
    for (size_t i = 0; i < VN_COUNT(fields); i++) {
        const field *f = &fields[i];
        const double value = f->type == TEXT ? 0 : number_of(o, f);
        if (!is_unset(o, f) && !(value >= f->min && value <= f->max))
            return refuse(o, f, value, err);
    }
    if (o->ema >= 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "`ema`: 1 would never move; give less than 1");
    if (o->lr == 0) return vn_fail(err, VN_BAD_ARGUMENT, "`lr`: 0 would train nothing");
    if (o->steps && o->minutes > 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "`steps` and `minutes` exclude each other");
    if (!o->steps && !(o->minutes > 0))
        return vn_fail(err, VN_BAD_ARGUMENT, "say how long to train: `steps=N` or `minutes=M`");
    if (o->schedule && strcmp(o->schedule, "cosine") != 0 && strcmp(o->schedule, "constant") != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "unknown `schedule` '%s'; known: cosine, constant",
                       o->schedule);
    return VN_OK;
}

vn_status vn_train_options_settle(vn_train_options *o, vn_err *err) {
    const vn_status status = check(o, err);
    for (size_t i = 0; !status && i < VN_COUNT(fields); i++)
        if (is_unset(o, &fields[i])) set_number(o, &fields[i], fields[i].standard);
    /* A rate that falls to 0 needs an end; a run by steps may be given more of them and go on as if
     * that had been so from the beginning. */
    if (!o->schedule) o->schedule = o->minutes > 0 ? "cosine" : "constant";
    return status;
}

static json_t *value_of(const vn_train_options *o, const field *f) {
    if (f->type == TEXT) return vn_json_string(text_of(o, f));
    if (f->type == REAL) return json_real(number_of(o, f));
    return f->type == FLAG ? json_boolean(*(const int *)at(o, f))
                           : json_integer(*(const int64_t *)at(o, f));
}

json_t *vn_train_options_to_json(const vn_train_options *o) {
    json_t *out = json_object();
    for (size_t i = 0; out && i < VN_COUNT(fields); i++) {
        if (fields[i].type == TEXT && !text_of(o, &fields[i])) continue;
        if (json_object_set_new(out, fields[i].name, value_of(o, &fields[i])) == 0) continue;
        json_decref(out);
        out = NULL;
    }
    return out;
}

/* The numbers that stand for "not asked for" still after settling, and for "none", are no numbers
 * to show. */
json_t *vn_train_options_describe(const json_t *stored) {
    json_t *out = vn_json_copy(stored);
    for (size_t i = 0; out && i < VN_COUNT(fields); i++) {
        const field *f = &fields[i];
        const json_t *value = json_object_get(out, f->name);
        if (f->type == TEXT || !json_is_number(value)) continue;
        if (json_number_value(value) == f->unset && f->unset == f->standard)
            json_object_del(out, f->name);
        else if (json_number_value(value) < 0 &&
                 json_object_set_new(out, f->name, json_string("none")) != 0) {
            json_decref(out);
            out = NULL;
        }
    }
    return out;
}

static bool take(vn_train_options *o, const field *f, const json_t *value) {
    void *to = (char *)o + f->offset;
    if (f->type == TEXT && json_is_string(value))
        *(const char **)to = json_string_value(value);
    else if (f->type == REAL && json_is_number(value))
        *(double *)to = json_number_value(value);
    else if (f->type == WHOLE && json_is_integer(value))
        *(int64_t *)to = json_integer_value(value);
    else if (f->type == FLAG && json_is_boolean(value))
        *(int *)to = json_is_true(value);
    else
        return !value && (f->type == TEXT || f->type == FLAG || f->added);
    return true;
}

vn_status vn_train_options_resume(const json_t *stored, const vn_train_options *requested,
                                  vn_train_options *o, vn_err *err) {
    *o = vn_train_options_default();
    for (size_t i = 0; i < VN_COUNT(fields); i++)
        if (!take(o, &fields[i], json_object_get(stored, fields[i].name)))
            return vn_fail(err, VN_BAD_FILE, "vane.json: train.%s is missing or of the wrong kind",
                           fields[i].name);
    /* A wish for one way to end replaces the other. */
    if (requested->steps) o->minutes = 0;
    if (requested->minutes > 0) o->steps = 0;
    for (size_t i = 0; i < VN_COUNT(fields); i++) {
        const field *f = &fields[i];
        if (is_unset(requested, f) || same(requested, o, f)) continue;
        if (!f->may_change)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "`%s`: resuming goes on with what the run began with; leave it out",
                           f->name);
        copy(o, requested, f);
    }
    o->recompute = requested->recompute; /* of the machine rather than of the run: not stored */
    return vn_train_options_settle(o, err);
}
