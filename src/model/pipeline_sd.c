/* pipeline_sd.c - StableDiffusionPipeline, 1.x and 2.x (2112.10752): a U-Net is given the states of
 * CLIP's last layer, after its final norm, and is led away from those of the empty text. */
#include "model/pipeline.h"

/* Its program corrects two keys that the first configs had wrong, whatever they say. */
static bool schedule(json_t *scheduler) {
    return !json_object_set_new(scheduler, "steps_offset", json_integer(1)) &&
           !json_object_set_new(scheduler, "clip_sample", json_false());
}

static void join(const vn_model *m, const vn_encoded *e, vn_joined *out) {
    (void)m;
    float *states = vn_joined_add(out, "encoder_hidden_states", VN_SHAPE(e[0].length, e[0].width));
    if (states) vn_place_columns(states, e[0].width, 0, e[0].states, e[0].length, e[0].width);
}

const vn_pipeline_row vn_stable_diffusion = {
    .row = {"StableDiffusionPipeline", "Stable Diffusion 1.x and 2.x: U-Net, CLIP", "2112.10752",
            NULL},
    .text = {{"text_encoder", "tokenizer", "last_hidden_state", NULL, 0, false}},
    .not_run = "safety_checker",
    .guidance = 7.5,
    .steps = 50,
    .schedule = schedule,
    .join = join,
};
