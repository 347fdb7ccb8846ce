/* pipeline_sdxl.c - StableDiffusionXLPipeline (2307.01952): a U-Net is given the states of the last
 * layer but one of two CLIP encoders side by side, without their final norms; what the second makes
 * of the text as a whole; and six numbers: the size that the picture is to be taken for, where it
 * is cut out, and its size. Where nobody says otherwise it is led away from zeros. */
#include "model/pipeline.h"

enum { TIME_IDS = 6 };

static void add_states(const vn_encoded *e, vn_joined *out) {
    const int64_t width = e[0].width + e[1].width;
    float *states = vn_joined_add(out, "encoder_hidden_states", VN_SHAPE(e[1].length, width));
    if (!states) return;
    if (e[0].there) vn_place_columns(states, width, 0, e[0].states, e[0].length, e[0].width);
    vn_place_columns(states, width, e[0].width, e[1].states, e[1].length, e[1].width);
}

/* original_size, crops_coords_top_left and target_size, in pixels. */
static void add_sizes(const vn_model *m, vn_joined *out) {
    float *ids = vn_joined_add(out, "time_ids", VN_SHAPE(TIME_IDS));
    for (int i = 0; i < 2 && ids; i++) ids[i] = ids[4 + i] = (float)m->shown.dim[1 + i];
}

static void join(const vn_model *m, const vn_encoded *e, vn_joined *out) {
    add_states(e, out);
    float *whole = vn_joined_add(out, "text_embeds", VN_SHAPE(e[1].whole_width));
    if (whole) vn_place_columns(whole, e[1].whole_width, 0, e[1].whole, 1, e[1].whole_width);
    add_sizes(m, out);
}

const vn_pipeline_row vn_stable_diffusion_xl = {
    .row = {"StableDiffusionXLPipeline", "Stable Diffusion XL: U-Net, two CLIPs", "2307.01952",
            NULL},
    .text = {{"text_encoder", "tokenizer", "penultimate", NULL, 0, true},
             {"text_encoder_2", "tokenizer_2", "penultimate", "text_embeds", 0, false}},
    .guidance = 5,
    .steps = 50,
    .zeros_key = "force_zeros_for_empty_prompt",
    .join = join,
};
