/* config.c - reads and writes a network's config by a table of its keys. Read, every key is checked
 * for its type and range, an unknown one is refused with the nearest that exists, and a missing one
 * keeps its default: configs are untrusted files. Written, every key is there. */
#include "nn/internal.h"

#include <string.h>

vn_status vn_config_refuse(const char *net, const char *key, const char *text,
                           const char *const *known, size_t count, vn_err *err) {
    char list[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", known[i]);
    const char *near = vn_nearest(text, known, count);
    return vn_fail(err, VN_BAD_FILE, "%s: %s: \"%.64s\" is not one of %s%s%s%s", net, key, text,
                   list, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* A value that is being read: its field, its destination and its names for messages. */
typedef struct config_reader {
    const char *net;
    const vn_field *field;
    vn_err *err;
} config_reader;

static vn_status refuse_type(const config_reader *r, const char *expected) {
    return vn_fail(r->err, VN_BAD_FILE, "%s: %s must be %s", r->net, r->field->name, expected);
}

static vn_status read_number(const config_reader *r, const json_t *value, double *out) {
    if (!json_is_number(value)) return refuse_type(r, "a number");
    double x = json_number_value(value);
    if (!(x >= r->field->min && x <= r->field->max))
        return vn_fail(r->err, VN_BAD_FILE, "%s: %s is %g; it must be in [%g, %g]", r->net,
                       r->field->name, x, r->field->min, r->field->max);
    *out = x;
    return VN_OK;
}

static vn_status read_int(const config_reader *r, const json_t *value, int64_t *out) {
    if (!json_is_integer(value)) return refuse_type(r, "a whole number");
    double x = 0;
    vn_status status = read_number(r, value, &x);
    if (!status) *out = (int64_t)json_integer_value(value);
    return status;
}

static vn_status read_choice(const config_reader *r, const json_t *value, int64_t *out) {
    if (!json_is_string(value)) return refuse_type(r, "a string");
    const char *text = json_string_value(value);
    size_t count = 0;
    for (; r->field->choices[count]; count++)
        if (vn_same_but_for_case(text, r->field->choices[count])) {
            *out = (int64_t)count;
            return VN_OK;
        }
    return vn_config_refuse(r->net, r->field->name, text, r->field->choices, count, r->err);
}

static vn_status check_list(const config_reader *r, const json_t *value) {
    if (!json_is_array(value) || json_array_size(value) == 0) return refuse_type(r, "a list");
    if (json_array_size(value) > VN_CONFIG_MAX_LIST)
        return vn_fail(r->err, VN_UNSUPPORTED, "%s: %s has %zu entries; at most %d are supported",
                       r->net, r->field->name, json_array_size(value), VN_CONFIG_MAX_LIST);
    return VN_OK;
}

static vn_status read_ints(const config_reader *r, const json_t *value, vn_config_ints *out) {
    vn_status status = check_list(r, value);
    size_t count = !status ? json_array_size(value) : 0;
    for (size_t i = 0; i < count && !status; i++)
        status = read_int(r, json_array_get(value, i), &out->at[i]);
    if (!status) out->count = count;
    return status;
}

static vn_status read_numbers(const config_reader *r, const json_t *value, vn_config_numbers *out) {
    const size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0) return refuse_type(r, "a list of numbers");
    if (count > VN_CONFIG_MAX_NUMBERS)
        return vn_fail(r->err, VN_UNSUPPORTED, "%s: %s has %zu entries; at most %d are supported",
                       r->net, r->field->name, count, VN_CONFIG_MAX_NUMBERS);
    vn_status status = VN_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = read_number(r, json_array_get(value, i), &out->at[i]);
    if (!status) out->count = count;
    return status;
}

static vn_status read_names(const config_reader *r, const json_t *value, vn_config_names *out) {
    vn_status status = check_list(r, value);
    if (status) return status;
    out->count = json_array_size(value);
    for (size_t i = 0; i < out->count; i++) {
        out->at[i] = json_string_value(json_array_get(value, i));
        if (!out->at[i]) return refuse_type(r, "a list of strings");
    }
    return VN_OK;
}

static vn_status read_layers(const config_reader *r, const json_t *value, vn_config_layers *out) {
    vn_status status = json_is_array(value) ? VN_OK : refuse_type(r, "a list of layers");
    *out = (vn_config_layers){{false}};
    for (size_t i = 0; i < json_array_size(value) && !status; i++) {
        int64_t layer = 0;
        status = read_int(r, json_array_get(value, i), &layer);
        if (!status) out->has[layer] = true;
    }
    return status;
}

/* One level: a number or a flag, or the list of its layers. */
static vn_status read_level(const config_reader *r, const json_t *value, vn_config_ints *out) {
    out->count = 0;
    if (r->field->kind == VN_FIELD_FLAGS) {
        out->at[0] = json_is_true(value);
        return json_is_boolean(value) ? VN_OK : refuse_type(r, "true or false");
    }
    return json_is_array(value) && r->field->kind == VN_FIELD_NESTED ? read_ints(r, value, out)
                                                                     : read_int(r, value, out->at);
}

static vn_status read_levels(const config_reader *r, const json_t *value, vn_config_levels *out) {
    out->count = 0;
    if (!json_is_array(value)) return read_level(r, value, &out->level[0]);
    vn_status status = check_list(r, value);
    const size_t count = !status ? json_array_size(value) : 0;
    for (size_t i = 0; i < count && !status; i++)
        status = read_level(r, json_array_get(value, i), &out->level[i]);
    if (!status) out->count = count;
    return status;
}

static vn_status read_size(const config_reader *r, const json_t *value, int64_t out[2]) {
    if (!json_is_array(value)) {
        vn_status status = read_int(r, value, &out[0]);
        out[1] = out[0];
        return status;
    }
    if (json_array_size(value) != 2) return refuse_type(r, "a number or a pair of them");
    vn_status status = read_int(r, json_array_get(value, 0), &out[0]);
    return !status ? read_int(r, json_array_get(value, 1), &out[1]) : status;
}

static vn_status read_null(const config_reader *r, void *member) {
    if (!r->field->nullable && r->field->kind != VN_FIELD_BOOL)
        return refuse_type(r, "given: it cannot be null");
    switch (r->field->kind) {
    case VN_FIELD_INT: *(int64_t *)member = 0; break;
    case VN_FIELD_BOOL: *(bool *)member = false; break;
    case VN_FIELD_CHOICE: *(int64_t *)member = r->field->none; break;
    case VN_FIELD_SIZE: memset(member, 0, 2 * sizeof(int64_t)); break;
    case VN_FIELD_NUMBER: *(double *)member = 0; break;
    case VN_FIELD_NUMBERS: ((vn_config_numbers *)member)->count = 0; break;
    case VN_FIELD_LEVELS:
    case VN_FIELD_NESTED:
    case VN_FIELD_FLAGS:
        memset(member, 0, sizeof(vn_config_levels));
        ((vn_config_levels *)member)->level[0].at[0] = r->field->none;
        break;
    case VN_FIELD_INTS:
    case VN_FIELD_NAMES:
    case VN_FIELD_LAYERS: break; /* no table has these nullable */
    }
    return VN_OK;
}

static vn_status read_field(const config_reader *r, const json_t *value, void *member) {
    if (json_is_null(value)) return read_null(r, member);
    switch (r->field->kind) {
    case VN_FIELD_INT: return read_int(r, value, member);
    case VN_FIELD_NUMBER: return read_number(r, value, member);
    case VN_FIELD_BOOL:
        if (!json_is_boolean(value)) return refuse_type(r, "true or false");
        *(bool *)member = json_is_true(value);
        return VN_OK;
    case VN_FIELD_CHOICE: return read_choice(r, value, member);
    case VN_FIELD_INTS: return read_ints(r, value, member);
    case VN_FIELD_NUMBERS: return read_numbers(r, value, member);
    case VN_FIELD_NAMES: return read_names(r, value, member);
    case VN_FIELD_LAYERS: return read_layers(r, value, member);
    case VN_FIELD_LEVELS:
    case VN_FIELD_NESTED:
    case VN_FIELD_FLAGS: return read_levels(r, value, member);
    case VN_FIELD_SIZE: break;
    }
    return read_size(r, value, member);
}

#define MAX_FIELDS 64

static vn_status refuse_key(const char *net, const char *key, const vn_field *fields, size_t count,
                            vn_err *err) {
    const char *known[MAX_FIELDS];
    for (size_t i = 0; i < count && i < MAX_FIELDS; i++) known[i] = fields[i].name;
    const char *near = vn_nearest(key, known, count);
    return vn_fail(err, VN_BAD_FILE, "%s: unknown key \"%.64s\"%s%s%s", net, key,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

vn_status vn_config_read(const json_t *config, const char *net, const vn_field *fields,
                         size_t count, void *into, vn_err *err) {
    const char *key = NULL;
    json_t *value = NULL;
    /* jansson's iterator is not const, and does not change it */
    json_object_foreach((json_t *)config, key, value) {
        if (key[0] == '_') continue;
        size_t i = 0;
        while (i < count && strcmp(fields[i].name, key)) i++;
        if (i == count) return refuse_key(net, key, fields, count, err);
        config_reader r = {net, &fields[i], err};
        vn_status status = read_field(&r, value, (char *)into + fields[i].offset);
        if (status) return status;
    }
    return VN_OK;
}

vn_status vn_config_open(const json_t *config, const vn_config_kind *kind, void **self,
                         vn_err *err) {
    void *made = *self = vn_calloc(1, kind->size);
    if (!made) return vn_no_memory(err);
    memcpy(made, kind->defaults, kind->known);
    vn_status status = vn_config_read(config, kind->net, kind->fields, kind->count, made, err);
    if (!status && kind->check) status = kind->check(made, err);
    if (status) {
        vn_free(made);
        *self = NULL;
    }
    return status;
}

double vn_preset(const vn_choice *preset, const char *name, bool *given) {
    for (size_t i = 0; preset->row->params && preset->row->params[i].name; i++)
        if (!strcmp(preset->row->params[i].name, name)) {
            if (given) *given = preset->given[i];
            return preset->value[i];
        }
    if (given) *given = false;
    /* not reached: a name that the row lacks is a misspelling in this room, which the presets'
     * tests find */
    return 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

static json_t *write_ints(const vn_config_ints *ints) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < ints->count; i++) {
        if (json_array_append_new(list, json_integer(ints->at[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *write_numbers(const vn_config_numbers *numbers) {
    json_t *list = numbers->count ? json_array() : json_null();
    for (size_t i = 0; list && i < numbers->count; i++) {
        if (json_array_append_new(list, json_real(numbers->at[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *write_level(const vn_field *f, const vn_config_ints *level) {
    if (level->count) return write_ints(level);
    return f->kind == VN_FIELD_FLAGS ? json_boolean(level->at[0] != 0) : json_integer(level->at[0]);
}

static json_t *write_levels(const vn_field *f, const vn_config_levels *levels) {
    const vn_config_ints *first = &levels->level[0];
    if (levels->count == 0 && f->nullable && !first->count && first->at[0] == f->none)
        return json_null();
    if (levels->count == 0) return write_level(f, first);
    json_t *list = json_array();
    for (size_t i = 0; list && i < levels->count; i++) {
        if (json_array_append_new(list, write_level(f, &levels->level[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

int64_t vn_config_level(const vn_config_levels *levels, size_t level) {
    return levels->level[levels->count ? level : 0].at[0];
}

static json_t *write_list(const vn_field *f, const void *member) {
    const vn_config_ints *ints = member;
    const vn_config_names *names = member;
    if (f->kind == VN_FIELD_INTS) return write_ints(ints);
    json_t *list = json_array();
    for (size_t i = 0; list && i < names->count; i++) {
        if (json_array_append_new(list, json_string(names->at[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *write_layers(const vn_config_layers *layers) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < VN_CONFIG_MAX_LAYERS; i++) {
        if (!layers->has[i] || json_array_append_new(list, json_integer((json_int_t)i)) == 0)
            continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *write_field(const vn_field *f, const void *member) {
    const int64_t *whole = member;
    const double *number = member;
    const char *text = NULL;
    switch (f->kind) {
    case VN_FIELD_INT: return f->nullable && !*whole ? json_null() : json_integer(*whole);
    case VN_FIELD_NUMBER: return f->nullable && *number == 0 ? json_null() : json_real(*number);
    case VN_FIELD_BOOL: return json_boolean(*(const bool *)member);
    case VN_FIELD_CHOICE: text = f->choices[*whole]; return text ? json_string(text) : json_null();
    case VN_FIELD_SIZE:
        return whole[0] ? json_pack("[I, I]", (json_int_t)whole[0], (json_int_t)whole[1])
                        : json_null();
    case VN_FIELD_LAYERS: return write_layers(member);
    case VN_FIELD_NUMBERS: return write_numbers(member);
    case VN_FIELD_LEVELS:
    case VN_FIELD_NESTED:
    case VN_FIELD_FLAGS: return write_levels(f, member);
    case VN_FIELD_INTS:
    case VN_FIELD_NAMES: break;
    }
    return write_list(f, member);
}

json_t *vn_config_write(const char *class_name, bool diffusers, const vn_field *fields,
                        size_t count, const void *from, vn_err *err) {
    json_t *config = json_object();
    int bad = json_object_set_new(config, "_class_name", json_string(class_name));
    if (diffusers) bad |= json_object_set_new(config, "_diffusers_version", json_string("0.42.1"));
    for (size_t i = 0; i < count; i++)
        bad |= json_object_set_new(config, fields[i].name,
                                   write_field(&fields[i], (const char *)from + fields[i].offset));
    if (!bad) return config;
    json_decref(config);
    vn_no_memory(err);
    return NULL;
}

vn_config_ints vn_config_growing(int64_t n, int64_t first, int64_t growth) {
    vn_config_ints list = {.count = (size_t)n};
    for (int64_t i = 0; i < n; i++, first *= growth) list.at[i] = first;
    return list;
}
