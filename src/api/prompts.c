/* prompts.c - texts that samples are drawn for: each becomes a condition of the model, which keeps
 * it, and then they are labels in turn, as classes are. */
#include "api/internal.h"

#include <string.h>

vn_status vn_prompts_check(const vn_sample_options *o, vn_err *err) {
    if (!o->prompts != !o->prompt_count)
        return vn_fail(err, VN_BAD_ARGUMENT, "prompts have a count, and it has prompts");
    if (o->prompt_count > INT32_MAX)
        return vn_fail(err, VN_BAD_ARGUMENT, "prompt_count %zu is more than %d", o->prompt_count,
                       INT32_MAX);
    for (size_t i = 0; i < o->prompt_count; i++)
        if (!o->prompts[i]) return vn_fail(err, VN_BAD_ARGUMENT, "prompt %zu is NULL", i + 1);
    return VN_OK;
}

/* What a person may not combine. */
static vn_status check(const vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    const vn_status status = vn_prompts_check(o, err);
    if (status) return status;
    if (o->prompts && (o->labels || o->cycle || o->label != VN_LABEL_ALL))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "prompts and classes exclude each other: a sample has one condition");
    if (o->classifier && d->m->row->prompt)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: it tells classes, and the samples of %s are of texts",
                       d->m->source);
    return VN_OK;
}

/* Captions of the model's data, where the user gives nothing. */
static vn_status take_examples(vn_drawing *d, vn_err *err) {
    vn_sample_options *o = &d->o;
    const int count = vn_model_examples(d->m);
    if (count < 1 || o->prompts || o->labels || o->cycle || o->label != VN_LABEL_ALL) return VN_OK;
    d->examples = vn_calloc((size_t)count, sizeof *d->examples);
    if (!d->examples) return vn_no_memory(err);
    for (int i = 0; i < count; i++) d->examples[i] = vn_model_example(d->m, i);
    o->prompts = d->examples;
    o->prompt_count = (size_t)count;
    return VN_OK;
}

/* A pipeline draws what a text says: without one nobody knows what. */
static vn_status check_asked(const vn_drawing *d, vn_err *err) {
    const vn_sample_options *o = &d->o;
    if (!vn_model_pipeline(d->m) || !d->m->row->prompt || o->prompts || o->labels || o->cycle ||
        o->label != VN_LABEL_ALL)
        return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s draws what a text says; give it one (`prompts`)",
                   d->m->source);
}

/* The condition of a text; a weak model is asked under the same number. */
static vn_status ask(const vn_drawing *d, const char *text, vn_condition *out, vn_err *err) {
    vn_condition other;
    vn_status status = vn_model_prompt(d->m, text, out, err);
    if (status || !d->o.weak) return status;
    status = vn_model_prompt(d->o.weak, text, &other, err);
    if (status) return vn_fail_in(err, "weak");
    if (other == *out) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "weak: %s was asked for other texts before than %s: open both anew",
                   d->o.weak->source, d->m->source);
}

static vn_status ask_for_guide(void *drawing, const char *text, vn_err *err) {
    vn_condition number;
    const vn_status status = ask(drawing, text, &number, err);
    return status == VN_BAD_ARGUMENT ? vn_fail_in(err, "guide") : status;
}

/* In a list it is said which one is wrong. */
static vn_status ask_for_prompt(vn_drawing *d, size_t i, vn_err *err) {
    const vn_status status = ask(d, d->o.prompts[i], &d->prompt[i], err);
    if (status != VN_BAD_ARGUMENT) return status;
    return d->o.prompt_count > 1 ? vn_fail_in(err, "prompt %zu", i + 1) : vn_fail_in(err, "prompt");
}

vn_status vn_prompting_open(vn_drawing *d, vn_err *err) {
    vn_sample_options *o = &d->o;
    vn_status status = check(d, err);
    if (!status) status = take_examples(d, err);
    if (!status) status = check_asked(d, err);
    if (!status && o->prompt_count) {
        d->prompt = vn_alloc(o->prompt_count, sizeof *d->prompt);
        if (!d->prompt) status = vn_no_memory(err);
    }
    for (size_t i = 0; i < o->prompt_count && !status; i++) status = ask_for_prompt(d, i, err);
    if (!status && o->negative && (status = ask(d, o->negative, &d->negative, err)))
        vn_fail_in(err, "negative");
    if (!status && o->guide && d->m->row->prompt)
        status = vn_guides_conditions(o->guide, ask_for_guide, d, err);
    if (status || !o->prompt_count) return status;
    o->cycle = d->prompt;
    o->cycle_count = o->prompt_count;
    return VN_OK;
}

void vn_prompting_close(vn_drawing *d) {
    vn_free(d->prompt);
    vn_free(d->examples);
}

/* A prompt by itself, or a list of several as JSON. */
bool vn_prompting_note(const vn_drawing *d, json_t *to) {
    const vn_sample_options *o = &d->o;
    bool ok = !o->negative || !json_object_set_new(to, "negative", json_string(o->negative));
    if (!ok || !o->prompt_count) return ok;
    if (o->prompt_count == 1) return !json_object_set_new(to, "prompt", json_string(o->prompts[0]));
    json_t *list = json_array();
    for (size_t i = 0; i < o->prompt_count && ok; i++)
        ok = list && !json_array_append_new(list, json_string(o->prompts[i]));
    char *text = ok && list ? vn_json_text(list, JSON_COMPACT) : NULL;
    ok = text && !json_object_set_new(to, "prompts-in-turn", json_string(text));
    vn_free(text);
    json_decref(list);
    return ok;
}
