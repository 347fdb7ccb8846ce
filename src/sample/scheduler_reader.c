/* scheduler_reader.c - the keys of a scheduler_config.json, and the rows of vane's tables that they
 * are turned into. The first key of a wrong type ends the reading. */
#include "sample/scheduler_reader.h"

#include <math.h>
#include <string.h>

const json_t *vn_key_value(const vn_scheduler_reader *r, const char *key) {
    const json_t *value = json_object_get(r->config, key);
    return value && !json_is_null(value) ? value : NULL;
}

static void wrong_type(vn_scheduler_reader *r, const char *key, const char *expected) {
    if (!r->status) r->status = vn_fail(r->err, VN_BAD_FILE, "%s is not %s", key, expected);
}

double vn_key_number(vn_scheduler_reader *r, const char *key, double missing) {
    const json_t *value = vn_key_value(r, key);
    double out = missing;
    if (value && !vn_json_number(value, &out)) wrong_type(r, key, "a number");
    return out;
}

bool vn_key_flag(vn_scheduler_reader *r, const char *key, bool missing) {
    const json_t *value = vn_key_value(r, key);
    if (value && !json_is_boolean(value)) wrong_type(r, key, "true or false");
    return value ? json_is_true(value) : missing;
}

const char *vn_key_text(vn_scheduler_reader *r, const char *key, const char *missing) {
    const json_t *value = vn_key_value(r, key);
    if (value && !json_is_string(value)) wrong_type(r, key, "a string");
    return json_is_string(value) ? json_string_value(value) : missing;
}

void vn_scheduler_refuse(vn_scheduler_reader *r, vn_scheduler_aspect aspect, const char *format,
                         ...) {
    char *to = r->out->unsupported[aspect];
    if (*to) return;
    va_list args;
    va_start(args, format);
    vn_vsnprintf(to, sizeof r->out->unsupported[aspect], format, args);
    va_end(args);
}

static void begin(vn_scheduler_reader *r, vn_choice *c, const vn_table *table, const char *name) {
    if (!r->status) r->status = vn_choice_parse(name, table, c, r->err);
}

void vn_scheduler_use_sampler(vn_scheduler_reader *r, const char *name) {
    begin(r, &r->sampler, &vn_samplers, name);
}

void vn_scheduler_use_grid(vn_scheduler_reader *r, const char *name) {
    begin(r, &r->grid, &vn_grids, name);
}

bool vn_scheduler_grid_is(const vn_scheduler_reader *r, const char *name) {
    return !r->status && strcmp(r->grid.row->name, name) == 0;
}

void vn_scheduler_set(vn_scheduler_reader *r, vn_choice *c, const char *param, double value) {
    if (r->status) return;
    size_t i = 0;
    while (strcmp(c->row->params[i].name, param) != 0) i++;
    const vn_param *p = &c->row->params[i];
    c->value[i] = value;
    c->given[i] = value != p->value;
    if (value >= p->min && value <= p->max && (p->kind != VN_PARAM_WHOLE || value == floor(value)))
        return;
    vn_scheduler_refuse(r, c == &r->sampler ? VN_SCHEDULER_SAMPLER : VN_SCHEDULER_GRID,
                        "%s=%g, which is outside what %s takes,", param, value, c->row->name);
}

void vn_scheduler_write(vn_scheduler_reader *r, const vn_choice *c, char *to, size_t size) {
    char *row = r->status ? NULL : vn_choice_text(c);
    if (!r->status && !row) r->status = vn_no_memory(r->err);
    if (row) snprintf(to, size, "%s", row);
    vn_free(row);
}
