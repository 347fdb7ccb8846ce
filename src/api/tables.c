/* tables.c - the kinds of things vane has, as the public header shows them: each a name and the
 * rows of one room's table. */
#include "api/internal.h"
#include "data/data.h"
#include "guide/guide.h"
#include "objective/objective.h"
#include "restore/restore.h"
#include "sample/sample.h"
#include "text/text.h"
#include "train/train.h"

#include <string.h>

/* Whether a text may be a choice of the kind, as far as can be said without a model. */
static vn_status is_path(const char *text, vn_err *err) {
    vn_path *path = NULL;
    const vn_status status = vn_path_open(text, &path, err);
    vn_path_close(&path);
    return status;
}

static vn_status is_prediction(const char *text, vn_err *err) {
    vn_prediction prediction;
    return vn_prediction_parse(text, &prediction, err);
}

static vn_status is_sampler(const char *text, vn_err *err) {
    vn_choice c;
    return vn_choice_parse(text, &vn_samplers, &c, err);
}

static vn_status is_grid(const char *text, vn_err *err) {
    vn_choice c;
    return vn_choice_parse(text, &vn_grids, &c, err);
}

static vn_status is_optimizer(const char *text, vn_err *err) {
    vn_choice c;
    return vn_choice_parse(text, &vn_optimizers, &c, err);
}

static vn_status is_restorer(const char *text, vn_err *err) {
    vn_choice c;
    return vn_choice_parse(text, &vn_restorers, &c, err);
}

static vn_status is_operator(const char *text, vn_err *err) {
    vn_choice c;
    return vn_choice_parse(text, &vn_operators, &c, err);
}

#define ROWS(name, rows, count, check)                                                             \
    { name, NULL, rows, &count, sizeof((rows)[0]), check }

static const struct {
    const char *name;
    const vn_table *table; /* or an array of rows: */
    const void *rows;
    const size_t *count;
    size_t stride;
    vn_status (*check)(const char *text, vn_err *err); /* NULL: only its user can tell */
} kinds[] = {
    {.name = "models", .table = &vn_trained_models},
    {.name = "encoders", .table = &vn_models[VN_ROLE_ENCODER]},
    {.name = "autoencoders", .table = &vn_models[VN_ROLE_AUTOENCODER]},
    {.name = "pipelines", .table = &vn_pipelines},
    ROWS("paths", vn_path_rows, vn_path_row_count, is_path),
    ROWS("predictions", vn_prediction_rows, vn_prediction_row_count, is_prediction),
    {.name = "objectives", .table = &vn_objectives},
    {.name = "methods", .table = &vn_methods},
    ROWS("times", vn_times_rows, vn_times_row_count, NULL),
    {.name = "optimizers", .table = &vn_optimizers, .check = is_optimizer},
    {.name = "grids", .table = &vn_grids, .check = is_grid},
    {.name = "samplers", .table = &vn_samplers, .check = is_sampler},
    {.name = "guides", .table = &vn_guides, .check = vn_guides_check},
    {.name = "caches", .table = &vn_caches, .check = vn_cache_check},
    {.name = "operators", .table = &vn_operators, .check = is_operator},
    {.name = "restorers", .table = &vn_restorers, .check = is_restorer},
    {.name = "tokenizers", .table = &vn_text_models},
    {.name = "metrics", .table = &vn_metrics},
    {.name = "features", .table = &vn_feature_kinds},
    ROWS("data", vn_data_rows, vn_data_row_count, NULL),
    ROWS("points", vn_toy_rows, vn_toy_row_count, NULL),
    {.name = "captions", .table = &vn_caption_table},
};

size_t vn_kind_count(void) {
    return VN_COUNT(kinds);
}

const char *vn_kind_name(size_t kind) {
    return kind < VN_COUNT(kinds) ? kinds[kind].name : NULL;
}

/* Every row of every table begins with its vn_row. */
const vn_row *vn_kind_row(size_t kind, size_t i) {
    if (kind >= VN_COUNT(kinds)) return NULL;
    const vn_table rows = {.rows = kinds[kind].rows, .stride = kinds[kind].stride};
    const vn_table *table = kinds[kind].table ? kinds[kind].table : &rows;
    const size_t count = kinds[kind].table ? table->count : *kinds[kind].count;
    return i < count ? vn_table_row(table, i) : NULL;
}

const vn_param *vn_row_param(const vn_row *row, size_t i) {
    size_t n = 0;
    while (row && row->params && n <= i && row->params[n].name) n++;
    return n > i ? &row->params[i] : NULL;
}

size_t vn_kind_find(const char *name) {
    size_t kind = 0;
    while (kind < VN_COUNT(kinds) && (!name || strcmp(kinds[kind].name, name) != 0)) kind++;
    return kind;
}

vn_status vn_kind_check(const char *name, const char *text, vn_err *err) {
    const size_t kind = vn_kind_find(name);
    return kind < VN_COUNT(kinds) && kinds[kind].check ? kinds[kind].check(text, err) : VN_OK;
}

const vn_row *vn_kind_find_row(size_t kind, const char *name) {
    const vn_row *row;
    size_t index;
    if (name && kind < VN_COUNT(kinds) && kinds[kind].table)
        return vn_table_find(kinds[kind].table, name, &index);
    for (size_t i = 0; name && (row = vn_kind_row(kind, i)); i++)
        if (!strcmp(row->name, name)) return row;
    return NULL;
}
