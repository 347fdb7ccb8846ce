/* keys.c - members of the JSON objects that a tokenizer is read from. */
#include "text/internal.h"

#include <string.h>

vn_status vn_text_unknown(const char *what, const char *name, const char *const *known,
                          size_t count, vn_err *err) {
    vn_err message;
    vn_fail(&message, VN_UNSUPPORTED, "%s '%.40s' is not known", what, name);
    vn_add_hint(&message, name, known, count);
    return vn_fail(err, VN_UNSUPPORTED, "%s", message.text);
}

vn_status vn_text_check_keys(const json_t *json, const char *what, const char *const *keys,
                             vn_err *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0) i++;
        if (!keys[i] && strcmp(key, "type") != 0)
            return vn_fail(err, VN_UNSUPPORTED, "%s has a key '%.40s', which is not known", what,
                           key);
    }
    return VN_OK;
}

vn_status vn_text_get_bool(const json_t *json, const char *key, bool initial, bool *out,
                           vn_err *err) {
    const json_t *value = json_object_get(json, key);
    *out = value && !json_is_null(value) ? json_is_true(value) : initial;
    if (!value || json_is_null(value) || json_is_boolean(value)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s is neither true nor false", key);
}

vn_status vn_text_get_text(const json_t *json, const char *key, const char *initial,
                           const char **out, vn_err *err) {
    const json_t *value = json_object_get(json, key);
    *out = json_is_string(value) ? json_string_value(value) : initial;
    if (!value || json_is_null(value) || json_is_string(value)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s is no text", key);
}
