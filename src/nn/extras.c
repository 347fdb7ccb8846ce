/* extras.c - what vane's networks may be told beside the level and the class: where the step ends
 * (flow maps, MeanFlow 2505.13447), and how strongly to guide themselves (2210.03142). Each enters
 * the embedding of the time through layers of its own, which begin at zero: a network that is given
 * such an input begins as the one that it was made from.
 *
 * A flow map is differentiated by its time (objective/mean_flow.c), and sinusoids of a time that
 * goes to 1000 turn a thousand times as fast as the path moves: there the derivative would be that
 * of the sinusoids. So a network that takes the end of the step counts its time to 10, or by the
 * time_scale of its config, which objectives that differentiate by the time alone set to the same
 * (objective/continuous_consistency.c). */
#include "nn/internal.h"

#include <string.h>

enum { FEATURES = 64 };
#define UNIT 0.01 /* of thousandths of the way to noise */

void vn_net_add_extras(vn_net_io *io, bool step_end, bool guidance) {
    if (step_end)
        vn_net_add_input(io, (vn_port){.name = VN_STEP_END, .shape = VN_SHAPE(VN_DIM_BATCH)});
    if (guidance)
        vn_net_add_input(io, (vn_port){.name = "guidance", .shape = VN_SHAPE(VN_DIM_BATCH)});
}

bool vn_has_extras(bool step_end, bool guidance, double time_scale) {
    return step_end || guidance || (time_scale > 0 && time_scale != 1);
}

size_t vn_extras_left_out(const vn_net_data *data) {
    const size_t extras = vn_has_extras(data->step_end, data->guidance, 0) ? 1 : VN_EXTRAS;
    return data->slow_time ? 0 : extras;
}

double vn_extras_time_scale(const vn_net_data *data) {
    return data->slow_time ? UNIT : 0;
}

double vn_time_scale(bool step_end, double time_scale) {
    const double usual = step_end ? UNIT : 1;
    return time_scale > 0 ? time_scale : usual;
}

vn_node *vn_scope_time(const vn_scope *s, double time_scale) {
    vn_node *time = vn_scope_input(s, "timestep");
    const double scale = vn_time_scale(vn_scope_input(s, VN_STEP_END) != NULL, time_scale);
    return scale == 1 ? time : vn_affine(s->g, time, scale, 0);
}

static vn_node *embed(const vn_scope *s, const char *name, vn_node *number, int64_t width) {
    const vn_scope at = vn_scope_in(s, "%s", name);
    vn_scope last = at;
    last.init = VN_LAYER_INIT_ZERO;
    vn_node *features = vn_time_sinusoids(s, number, FEATURES, true, 0);
    return vn_layer_linear(
        &last, "linear_2",
        vn_layer_linear_act(&at, "linear_1", features, FEATURES, width, VN_FN_SILU), width, width);
}

vn_node *vn_extras(const vn_scope *s, int64_t width) {
    vn_node *end = vn_scope_input(s, VN_STEP_END), *strength = vn_scope_input(s, "guidance");
    vn_node *of_step = NULL, *of_strength = NULL;
    if (end) {
        vn_node *step = vn_sub(s->g, vn_scope_input(s, "timestep"), end);
        of_step = embed(s, "step_embedding", vn_affine(s->g, step, UNIT, 0), width);
    }
    if (strength) of_strength = embed(s, "guidance_embedding", strength, width);
    return of_step && of_strength ? vn_add(s->g, of_step, of_strength)
           : of_step              ? of_step
                                  : of_strength;
}

vn_node *vn_add_extras(const vn_scope *s, vn_node *e, int64_t width) {
    vn_node *extras = vn_extras(s, width);
    return extras ? vn_add(s->g, e, extras) : e;
}

json_t *vn_net_config_with(const json_t *config, bool step_end, bool guidance, bool slow_time,
                           vn_err *err) {
    const char *name = json_string_value(json_object_get(config, "_class_name"));
    const vn_net_row *row = NULL;
    size_t i = 0;
    while ((row = vn_net_row_at(i)) &&
           !(name &&
             (!strcmp(name, row->class_name) || (row->own_class && !strcmp(name, row->own_class)))))
        i++;
    if (!row || !row->extras) {
        vn_fail(err, VN_UNSUPPORTED,
                "a network %s takes neither the end of a step nor guidance as an input, nor a "
                "time that is counted slowly",
                name ? name : "without a name");
        return NULL;
    }
    json_t *out = vn_json_copy(config);
    int bad = !out;
    if (out && row->own_class) {
        bad |= json_object_set_new(out, "_class_name", json_string(row->own_class));
        json_object_del(out, "_diffusers_version");
    }
    if (step_end) bad |= json_object_set_new(out, "takes_step_end", json_true());
    if (guidance) bad |= json_object_set_new(out, "takes_guidance", json_true());
    if (slow_time) bad |= json_object_set_new(out, "time_scale", json_real(UNIT));
    if (!bad) return out;
    json_decref(out);
    vn_no_memory(err);
    return NULL;
}
