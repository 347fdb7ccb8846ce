/* pipeline_sd3.c - StableDiffusion3Pipeline (2403.03206): a transformer is given the states of the
 * last layer but one of two CLIP encoders side by side, filled up with zeros to T5's width, and
 * behind them those of T5; and what both CLIPs make of the text as a whole, one after the other.
 * T5 may be missing: then zeros stand in its place. */
#include "model/pipeline.h"

static void add_states(const vn_model *m, const vn_encoded *e, vn_joined *out) {
    const int64_t width = e[2].there ? e[2].width : vn_pipeline_text_width(m), clip = e[0].length;
    if (width < e[0].width + e[1].width) { /* its shape says what does not fit */
        vn_joined_add(out, "encoder_hidden_states", VN_SHAPE(clip, e[0].width + e[1].width));
        return;
    }
    float *states =
        vn_joined_add(out, "encoder_hidden_states", VN_SHAPE(clip + e[2].length, width));
    if (!states) return;
    vn_place_columns(states, width, 0, e[0].states, clip, e[0].width);
    vn_place_columns(states, width, e[0].width, e[1].states, clip, e[1].width);
    vn_place_columns(states + clip * width, width, 0, e[2].states, e[2].length, e[2].width);
}

static void join(const vn_model *m, const vn_encoded *e, vn_joined *out) {
    const int64_t width = e[0].whole_width + e[1].whole_width;
    add_states(m, e, out);
    float *whole = vn_joined_add(out, "pooled_projections", VN_SHAPE(width));
    if (!whole) return;
    vn_place_columns(whole, width, 0, e[0].whole, 1, e[0].whole_width);
    vn_place_columns(whole, width, e[0].whole_width, e[1].whole, 1, e[1].whole_width);
}

const vn_pipeline_row vn_stable_diffusion_3 = {
    .row = {"StableDiffusion3Pipeline", "Stable Diffusion 3: transformer, two CLIPs, T5",
            "2403.03206", NULL},
    .text = {{"text_encoder", "tokenizer", "penultimate", "text_embeds", 0, false},
             {"text_encoder_2", "tokenizer_2", "penultimate", "text_embeds", 0, false},
             {"text_encoder_3", "tokenizer_3", "last_hidden_state", NULL, 256, true}},
    .guidance = 7,
    .steps = 28,
    .join = join,
};
