/* parts.c - the networks that a model has beside the one that denoises, each in a folder of its
 * own. */
#include "model/internal.h"

vn_status vn_model_open_part(const vn_model *m, const char *name, vn_role role, vn_model_part *part,
                             vn_err *err) {
    vn_model_dir dir = {0};
    /* of a file of weights that is named: beside the folder that it is in */
    char *whole = vn_is_dir(m->source) ? vn_strdup(m->source) : vn_model_dir_around(m->source),
         *folder = whole ? vn_path_join(whole, name) : NULL;
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
    vn_free(whole);
    return status;
}

int vn_model_add_part(vn_model *m, vn_model_part *part) {
    m->part[m->parts] = *part;
    *part = (vn_model_part){0};
    return m->parts++;
}

void vn_model_close_part(vn_model_part *part) {
    vn_free(part->name);
    vn_values_close(&part->values);
    vn_net_close(&part->net);
}
