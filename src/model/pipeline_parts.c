/* pipeline_parts.c - what model_index.json says of the parts of a pipeline. */
#include "model/pipeline.h"

bool vn_pipeline_has(const json_t *index, const char *part) {
    return json_is_string(json_array_get(json_object_get(index, part), 1));
}

const char *vn_pipeline_class(const json_t *index) {
    const char *name = json_string_value(json_object_get(index, "_class_name"));
    return name ? name : "";
}

vn_status vn_pipeline_need(const vn_model *m, const json_t *index, const char *part, vn_err *err) {
    if (vn_pipeline_has(index, part)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: model_index.json has no %s, which a %s needs", m->source,
                   part, vn_pipeline_class(index));
}
