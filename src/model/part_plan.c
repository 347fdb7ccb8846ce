/* part_plan.c - what drawing takes of each part of a model that has several. */
#include "model/pipeline.h"

/* A sample takes two rows where its guidance does. */
static vn_extent extent_of_network(const vn_model *m) {
    vn_extent e =
        vn_extent_of(m->sampling.guidance == 1 || m->sampling.guide[0] ? 1 : 2, &m->sample);
    e.patches = vn_net_patches(vn_net_get_io(vn_model_net(m)), e.height, e.width);
    e.tokens = vn_model_tokens(m);
    return e;
}

/* Of a text. */
static vn_extent extent_of_encoder(const vn_model *m, int part) {
    const vn_pipeline *p = m->pipeline;
    vn_extent e = {.batch = 1};
    if (m->prompter) e.tokens = vn_prompter_length(m->prompter);
    for (int i = 0; p && i < VN_PIPELINE_TEXTS; i++)
        if (p->part[i] == part) e.tokens = p->length[i];
    return e;
}

vn_status vn_model_plan_part(vn_model *m, int part, vn_part_plan *out, vn_err *err) {
    *out = (vn_part_plan){.name = m->part[part].name, .net = m->part[part].net};
    if (m->decoder && part == m->decoder) {
        const vn_status status = vn_latents_open_autoencoder(m, err);
        return status ? status
                      : vn_autoencoder_plan(m->autoencoder, m->sample.dim[1], m->sample.dim[2],
                                            &out->pass, &out->tile, err);
    }
    const vn_extent extent = part == 0 ? extent_of_network(m) : extent_of_encoder(m, part),
                    usual = vn_net_usual(vn_net_get_io(out->net), &extent);
    return vn_net_pass_bytes(out->net, m->engine.device, &usual, &out->pass, err);
}
