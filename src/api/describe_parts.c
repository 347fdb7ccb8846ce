/* describe_parts.c - what a model of several parts is that denoises latents: its class where it is
 * a pipeline, the latents, and of each part its kind, its weights and what a pass of it takes. All
 * parts and the memory of their passes are held while samples are drawn. */
#include "api/internal.h"

json_t *vn_size_list(const int64_t *dim, int rank) {
    json_t *list = json_array();
    for (int i = 0; list && i < rank; i++) {
        if (json_array_append_new(list, json_integer(dim[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *part_json(const vn_part_plan *p) {
    const vn_weights *w = vn_net_weights(p->net);
    json_t *one = json_pack(
        "{s:s, s:s, s:I, s:o, s:f, s:f}", "part", p->name, "kind", vn_net_get_row(p->net)->row.name,
        "parameters", (json_int_t)vn_weights_parameters(w), "dtype", vn_dtypes_json(w),
        "weights_mb", 1e-6 * (double)vn_weights_bytes(w), "pass_mb", 1e-6 * (double)p->pass);
    if (one && p->tile && json_object_set_new(one, "in_parts_of", json_integer(p->tile)) != 0) {
        json_decref(one);
        return NULL;
    }
    return one;
}

vn_status vn_describe_parts(vn_model *m, json_t *out, vn_err *err) {
    json_t *parts = json_array();
    double bytes = 0;
    vn_status status = parts ? VN_OK : vn_no_memory(err);
    for (int i = 0; i < m->parts && !status; i++) {
        vn_part_plan plan;
        status = vn_model_plan_part(m, i, &plan, err);
        if (!status && json_array_append_new(parts, part_json(&plan)) != 0)
            status = vn_no_memory(err);
        if (!status) bytes += (double)(vn_weights_bytes(vn_net_weights(plan.net)) + plan.pass);
    }
    json_t *all = status ? NULL
                         : json_pack("{s:s*, s:o, s:O, s:f}", "pipeline", vn_model_pipeline(m),
                                     "latents", vn_size_list(m->sample.dim, m->sample.rank),
                                     "parts", parts, "memory_mb", 1e-6 * bytes);
    if (!status && (!all || json_object_update(out, all) != 0)) status = vn_no_memory(err);
    json_decref(all);
    json_decref(parts);
    return status;
}
