/* pipeline_flux.c - FluxPipeline: a transformer over patches of 2 x 2 latents (packing.c) is given
 * T5's states and what CLIP makes of the text as a whole. Flux.1-dev takes how strongly to guide as
 * an input, and makes one pass; Flux.1-schnell guides itself as it was taught, and takes none. */
#include "model/pipeline.h"

static void join(const vn_model *m, const vn_encoded *e, vn_joined *out) {
    (void)m;
    float *states = vn_joined_add(out, "encoder_hidden_states", VN_SHAPE(e[1].length, e[1].width));
    if (states) vn_place_columns(states, e[1].width, 0, e[1].states, e[1].length, e[1].width);
    float *whole = vn_joined_add(out, "pooled_projections", VN_SHAPE(e[0].whole_width));
    if (whole) vn_place_columns(whole, e[0].whole_width, 0, e[0].whole, 1, e[0].whole_width);
}

const vn_pipeline_row vn_flux_pipeline = {
    .row = {"FluxPipeline", "Flux.1: transformer, CLIP, T5", "2506.15742", NULL},
    .text = {{"text_encoder", "tokenizer", "last_hidden_state", "pooler_output", 0, false},
             {"text_encoder_2", "tokenizer_2", "last_hidden_state", NULL, 512, false}},
    .guidance = 3.5,
    .steps = 28,
    .own_times = true,
    .guides_itself = true,
    .join = join,
};
