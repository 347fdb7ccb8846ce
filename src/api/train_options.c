/* train_options.c - see the header. */
#include "api/train_options.h"

#include <string.h>

#include "api/options.h"
#include "api/structs.h"

enum { KIND = VN_OPTIONS_TRAIN };

#define OPTIMIZER "adamw" /* unless another is named; older runs had no other */

static bool among(const char *name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(names[i], name)) return true;
    return false;
}

/* Of a call rather than of the run: not stored. */
static bool is_of_call(const vn_option *o) {
    static const char *const names[] = {"recompute", "resume", "overwrite", "dry_run"};
    return among(o->name, names, VN_COUNT(names));
}

/* By a resume: it does not change what is trained. */
static bool may_change(const vn_option *o) {
    static const char *const names[] = {"steps",     "minutes",    "skip_bad",
                                        "log_every", "save_every", "preview_every"};
    return among(o->name, names, VN_COUNT(names));
}

/* Row number *i, or the next after it that is stored; NULL past the end. */
static const vn_option *stored_row(size_t *i) {
    const vn_option *o;
    while ((o = vn_option_at(KIND, *i)) && is_of_call(o)) ++*i;
    return o;
}

void vn_train_data_init(vn_train_data *o, size_t size) {
    static const vn_train_data initial = {0};
    vn_struct_init(o, size, &initial, sizeof initial);
}

void vn_train_options_init(vn_train_options *o, size_t size) {
    vn_options_init(KIND, o, size);
}

static vn_status check(const vn_train_options *o, vn_err *err) {
    const vn_status status = vn_options_check(KIND, o, err);
    if (status) return status;
    if (o->ema >= 1)
        return vn_fail(err, VN_BAD_ARGUMENT, "`ema`: 1 would never move; give less than 1");
    if (o->ema_snapshots && o->ema >= 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`ema_snapshots`: averages of other widths are made of those by the power "
                       "function; leave out `ema`");
    if (o->lr == 0) return vn_fail(err, VN_BAD_ARGUMENT, "`lr`: 0 would train nothing");
    if (o->steps && o->minutes > 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "`steps` and `minutes` exclude each other");
    if (!o->steps && !(o->minutes > 0))
        return vn_fail(err, VN_BAD_ARGUMENT, "say how long to train: `steps=N` or `minutes=M`");
    return VN_OK;
}

vn_status vn_train_options_settle(vn_train_options *o, vn_err *err) {
    const vn_status status = check(o, err);
    const vn_option *row;
    for (size_t i = 0; !status && (row = vn_option_at(KIND, i)); i++)
        if (!vn_option_given(row, o)) vn_option_set_number(row, o, row->fallback);
    /* A rate that falls to 0 needs an end; a run by steps may be given more of them and go on as if
     * that had been so from the beginning. */
    if (!o->schedule) o->schedule = o->minutes > 0 ? "cosine" : "constant";
    if (!o->optimizer) o->optimizer = OPTIMIZER;
    return status;
}

enum { FEW_SAMPLES = 8 }; /* too few for a microbatch: products would have few rows */

int64_t vn_train_microbatches(int64_t batch) {
    return batch % 2 == 0 && batch >= 2 * FEW_SAMPLES ? 2 : 1;
}

void vn_train_options_adopt(vn_train_options *o, const vn_train_options *requested,
                            const vn_net_habits *habits) {
    if (!requested->optimizer && habits->optimizer) o->optimizer = habits->optimizer;
    if (!requested->schedule && habits->schedule) o->schedule = habits->schedule;
    if (requested->lr < 0 && habits->lr > 0) o->lr = habits->lr;
    if (requested->batch < 0 && habits->batch > 0) o->batch = habits->batch;
    if (requested->weight_decay < 0 && habits->weight_decay > 0)
        o->weight_decay = habits->weight_decay;
    if (!requested->microbatches) o->microbatches = vn_train_microbatches(o->batch);
}

static json_t *value_of(const vn_train_options *o, const vn_option *row) {
    if (row->type == VN_OPTION_TEXT) return vn_json_string(vn_option_text(row, o));
    if (row->type == VN_OPTION_DOUBLE) return json_real(vn_option_number(row, o));
    const int64_t value = vn_option_whole(row, o);
    return row->type == VN_OPTION_FLAG ? json_boolean(value) : json_integer(value);
}

json_t *vn_train_options_to_json(const vn_train_options *o) {
    json_t *out = json_object();
    const vn_option *row;
    for (size_t i = 0; out && (row = stored_row(&i)); i++) {
        if (row->type == VN_OPTION_TEXT && !vn_option_text(row, o)) continue;
        if (json_object_set_new(out, row->name, value_of(o, row)) == 0) continue;
        json_decref(out);
        out = NULL;
    }
    return out;
}

/* The numbers that stand for "not given" still after settling, and for "none", are no numbers to
 * show. */
json_t *vn_train_options_describe(const json_t *stored) {
    json_t *out = vn_json_copy(stored);
    const vn_option *row;
    for (size_t i = 0; out && (row = stored_row(&i)); i++) {
        const json_t *value = json_object_get(out, row->name);
        if (row->type == VN_OPTION_TEXT || !json_is_number(value)) continue;
        if (json_number_value(value) == row->value && row->value == row->fallback)
            json_object_del(out, row->name);
        else if (json_number_value(value) < 0 &&
                 json_object_set_new(out, row->name, json_string("none")) != 0) {
            json_decref(out);
            out = NULL;
        }
    }
    return out;
}

/* Runs of older versions do not store all options. */
static bool may_be_absent(const vn_option *row) {
    static const char *const added[] = {"microbatches", "ema_snapshots", "shift"};
    return row->type == VN_OPTION_TEXT || row->type == VN_OPTION_FLAG ||
           among(row->name, added, VN_COUNT(added));
}

static bool is_whole(const vn_option *row) {
    return row->type == VN_OPTION_INT64 || row->type == VN_OPTION_UINT64;
}

static bool take(vn_train_options *o, const vn_option *row, const json_t *value) {
    void *to = (char *)o + row->offset;
    if (row->type == VN_OPTION_TEXT && json_is_string(value))
        *(const char **)to = json_string_value(value);
    else if (row->type == VN_OPTION_DOUBLE && json_is_number(value))
        *(double *)to = json_number_value(value);
    else if (is_whole(row) && json_is_integer(value))
        *(int64_t *)to = json_integer_value(value);
    else if (row->type == VN_OPTION_FLAG && json_is_boolean(value))
        *(int *)to = json_is_true(value);
    else
        return !value && may_be_absent(row);
    return true;
}

vn_status vn_train_options_resume(const json_t *stored, const vn_train_options *requested,
                                  vn_train_options *o, vn_err *err) {
    *o = vn_train_options_default();
    const vn_option *row;
    for (size_t i = 0; (row = stored_row(&i)); i++)
        if (!take(o, row, json_object_get(stored, row->name)))
            return vn_fail(err, VN_BAD_FILE, "vane.json: train.%s is missing or of the wrong kind",
                           row->name);
    if (!o->optimizer) o->optimizer = OPTIMIZER;
    /* A wish for one way to end replaces the other. */
    if (requested->steps) o->minutes = 0;
    if (requested->minutes > 0) o->steps = 0;
    for (size_t i = 0; (row = stored_row(&i)); i++) {
        if (!vn_option_given(row, requested) || vn_option_same(row, requested, o)) continue;
        if (!may_change(row))
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "`%s`: resuming goes on with what the run began with; leave it out",
                           row->name);
        vn_option_copy(row, o, requested);
    }
    o->recompute = requested->recompute; /* of the machine rather than of the run: not stored */
    return vn_train_options_settle(o, err);
}
