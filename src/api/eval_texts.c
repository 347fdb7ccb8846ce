/* eval_texts.c - which texts a model of texts is asked for while it is measured: those that the
 * caller gives, in turn; else of each sample of the data its caption or, where the data has
 * classes, the name of its class; else examples that the model's run keeps. */
#include <string.h>

#include "api/eval.h"

static const vn_texts_origin of_options = {"options", "the prompts given, in turn"},
                             of_captions = {"captions", "the captions of the data"},
                             of_classes = {"classes", "the names of the data's classes"},
                             of_run = {"run", "captions that its run keeps, in turn"};
const vn_texts_origin vn_no_texts = {"none", "nothing"};

void vn_eval_texts_close(vn_eval_texts *t) {
    vn_free(t->text);
    *t = (vn_eval_texts){0};
}

static int by_text(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* Sorted copies lie beside each other. */
static vn_status count_distinct(vn_eval_texts *t, vn_err *err) {
    const size_t n = (size_t)t->count;
    const char **sorted = vn_alloc(n, sizeof *sorted);
    if (!sorted) return vn_no_memory(err);
    memcpy(sorted, t->text, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 0; i < n; i++)
        t->distinct += sorted[i][0] && (i == 0 || strcmp(sorted[i - 1], sorted[i]) != 0);
    vn_free(sorted);
    return VN_OK;
}

/* What sample i of the set is called: "" where it has no caption; NULL: the set has no texts. */
static vn_status text_of(vn_eval_set *data, int64_t i, const char **out, vn_err *err) {
    int32_t number = -1;
    vn_status status = VN_OK;
    *out = NULL;
    if (!data || !data->data) return VN_OK;
    if (vn_data_captions(data->data)) {
        const vn_data_samples one = {.x = data->last, .captions = &number};
        if (data->parted)
            status = vn_data_read(data->data, data->part, (uint64_t)data->index[i], 1, &one, err);
        else
            number = vn_data_draw_caption(data->data, VN_DATA_ALL, 0, data->index[i]);
        *out = number < 0 ? "" : vn_data_caption(data->data, number);
    } else if (data->of_all && data->labels[i] >= 0) {
        *out = vn_data_class_name(data->data, data->labels[i]);
    }
    return status;
}

/* One text for each sample of the set. */
static vn_status take_data(vn_eval_texts *t, vn_eval_set *data, vn_err *err) {
    for (int64_t i = 0; i < t->count; i++) {
        const vn_status status = text_of(data, i, &t->text[i], err);
        if (status || !t->text[i]) return status;
    }
    t->labelled = !vn_data_captions(data->data);
    t->from = t->labelled ? &of_classes : &of_captions;
    return VN_OK;
}

vn_status vn_eval_texts_of_data(vn_eval_texts *t, vn_eval_set *data, vn_err *err) {
    *t = (vn_eval_texts){.count = data->set.count};
    t->text = vn_calloc((size_t)t->count, sizeof *t->text);
    if (!t->text) return vn_no_memory(err);
    const vn_status status = take_data(t, data, err);
    if (status || t->from) return status ? status : count_distinct(t, err);
    vn_eval_texts_close(t);
    return VN_OK;
}

/* Those of the data for `count` samples, in its order: sample i is number `first` + i, and gets the
 * text at that number modulo the count. */
static vn_status spread(vn_eval_texts *t, int64_t count, uint64_t first, vn_err *err) {
    const char **all = vn_alloc((size_t)count, sizeof *all);
    if (!all) return vn_no_memory(err);
    for (int64_t i = 0; i < count; i++)
        all[(first + (uint64_t)i) % (uint64_t)count] = t->text[i * t->count / count];
    vn_free(t->text);
    t->text = all;
    t->count = count;
    return VN_OK;
}

static vn_status copy(vn_eval_texts *t, const vn_texts_origin *from, int64_t count,
                      const char *(*text)(const void *of, int64_t i), const void *of, vn_err *err) {
    *t = (vn_eval_texts){.from = from, .count = count};
    t->text = vn_alloc((size_t)count, sizeof *t->text);
    if (!t->text) return vn_no_memory(err);
    for (int64_t i = 0; i < count; i++) t->text[i] = text(of, i);
    return count_distinct(t, err);
}

static const char *given(const void *of, int64_t i) {
    return ((const vn_sample_options *)of)->prompts[i];
}

static const char *example(const void *of, int64_t i) {
    return vn_model_example(of, (int)i);
}

vn_status vn_eval_texts_choose(vn_eval_texts *t, const vn_model *m, vn_eval_set *data,
                               const vn_sample_options *o, int64_t count, vn_err *err) {
    *t = (vn_eval_texts){0};
    vn_status status = vn_prompts_check(o, err);
    if (status) return status;
    if (o->prompt_count) return copy(t, &of_options, (int64_t)o->prompt_count, given, o, err);
    status = data ? vn_eval_texts_of_data(t, data, err) : VN_OK;
    if (!status && t->from) status = spread(t, count, o->first, err);
    if (status || t->from) return status;
    const int examples = vn_model_examples(m);
    if (examples > 0) return copy(t, &of_run, examples, example, m, err);
    t->from = &vn_no_texts;
    return VN_OK;
}
