/* tables.c - the kinds of things vane has, as the public header shows them: each a name and the rows of one room's table. */
#include "api/internal.h"
#include "data/data.h"
#include "guide/guide.h"
#include "objective/objective.h"
#include "sample/sample.h"

typedef struct table {
    const char *name;
    const void *rows;
    const size_t *count;
    size_t stride;
} table;

#define TABLE(name, rows, count)                                                                                       \
    { name, rows, &count, sizeof((rows)[0]) }

static const table tables[] = {
    TABLE("models", vn_net_rows, vn_net_row_count),
    TABLE("paths", vn_path_rows, vn_path_row_count),
    TABLE("predictions", vn_prediction_rows, vn_prediction_row_count),
    TABLE("objectives", vn_objective_rows, vn_objective_row_count),
    TABLE("times", vn_times_rows, vn_times_row_count),
    TABLE("grids", vn_grid_rows, vn_grid_row_count),
    TABLE("samplers", vn_sampler_rows, vn_sampler_row_count),
    TABLE("guides", vn_guide_rows, vn_guide_row_count),
    TABLE("data", vn_data_rows, vn_data_row_count),
    TABLE("points", vn_toy_rows, vn_toy_row_count),
};

size_t vn_kind_count(void) {
    return VN_COUNT(tables);
}

const char *vn_kind_name(size_t kind) {
    return kind < VN_COUNT(tables) ? tables[kind].name : NULL;
}

/* Every row of every table begins with its vn_row. */
const vn_row *vn_kind_row(size_t kind, size_t i) {
    if (kind >= VN_COUNT(tables) || i >= *tables[kind].count) return NULL;
    return (const vn_row *)((const char *)tables[kind].rows + i * tables[kind].stride);
}
