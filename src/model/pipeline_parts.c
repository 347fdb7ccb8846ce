/* pipeline_parts.c - the networks of a pipeline, each in a folder that model_index.json names. */
#include "model/pipeline.h"

bool vn_pipeline_has(const json_t *index, const char *part) {
    return json_is_string(json_array_get(json_object_get(index, part), 1));
}

const char *vn_pipeline_class(const json_t *index) {
    const char *name = json_string_value(json_object_get(index, "_class_name"));
    return name ? name : "";
}

vn_status vn_pipeline_open_part(const vn_model *m, const char *name, vn_role role,
                                vn_model_part *part, vn_err *err) {
    vn_model_dir dir = {0};
    char *folder = vn_path_join(m->source, name);
    part->name = folder ? vn_strdup(name) : NULL;
    vn_status status = part->name ? vn_model_dir_open(folder, &dir, err) : vn_no_memory(err);
    if (!status && (status = vn_net_open(dir.config, &part->net, err)))
        vn_fail_in(err, "%s/config.json", folder);
    if (!status && vn_net_get_row(part->net)->role != role)
        status = vn_fail(err, VN_BAD_FILE, "%s: %s is no %s", folder,
                         vn_net_get_row(part->net)->row.name,
                         role == VN_ROLE_ENCODER ? "text encoder" : "autoencoder");
    if (!status)
        status = vn_model_dir_values(&dir, folder, &m->engine, part->net, &part->values, err);
    vn_model_dir_close(&dir);
    vn_free(folder);
    return status;
}

vn_status vn_pipeline_need(const vn_model *m, const json_t *index, const char *part, vn_err *err) {
    if (vn_pipeline_has(index, part)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: model_index.json has no %s, which a %s needs", m->source,
                   part, vn_pipeline_class(index));
}

int vn_pipeline_add_part(vn_model *m, vn_model_part *part) {
    m->part[m->parts] = *part;
    *part = (vn_model_part){0};
    return m->parts++;
}

void vn_pipeline_close_part(vn_model_part *part) {
    vn_free(part->name);
    vn_values_close(&part->values);
    vn_net_close(&part->net);
}
