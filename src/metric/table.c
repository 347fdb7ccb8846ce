/* table.c - the metrics, and lists of them in text. */
#include "metric/internal.h"

#include <string.h>

#define ROW(name) &vn_##name##_metric,
static const vn_metric_row *const rows[] = {VN_METRIC_ROWS(ROW)};
static const vn_word words[] = {
    {"fid", "fd"},         {"frechet", "fd"}, {"frechet-distance", "fd"},
    {"kid", "kd"},         {"mmd2", "mmd"},   {"wasserstein", "w2"},
    {"likelihood", "nll"}, {"bpd", "nll"},    {"memorization", "memorisation"},
    {NULL, NULL}};
const vn_table vn_metrics = {"metric", rows, 0, VN_COUNT(rows), words, NULL};

static vn_status add(vn_metric_list *list, const char *text, vn_err *err) {
    if (list->count == VN_MAX_METRICS)
        return vn_fail(err, VN_BAD_ARGUMENT, "more than %d metrics", VN_MAX_METRICS);
    vn_choice *one = &list->choice[list->count];
    const vn_status status = vn_choice_parse(text, &vn_metrics, one, err);
    if (status) return status;
    for (size_t i = 0; i < list->count; i++)
        if (list->choice[i].row == one->row)
            return vn_fail(err, VN_BAD_ARGUMENT, "the metric %s is named twice", one->row->name);
    list->needs |= ((const vn_metric_row *)one->row)->needs;
    list->count++;
    return VN_OK;
}

vn_status vn_metric_list_parse(const char *text, vn_metric_list *out, vn_err *err) {
    vn_status status = VN_OK;
    out->count = 0;
    out->needs = 0;
    for (bool more = true; more && !status;) {
        const size_t length = vn_choice_length(text);
        char *one = vn_format("%.*s", (int)length, text);
        status = one ? add(out, one, err) : vn_no_memory(err);
        vn_free(one);
        more = text[length] == ',';
        text += length + 1;
    }
    return status;
}
