/* legacy.c - rewrites configs of earlier versions and training scripts of diffusers as today's. It
 * changes a copy, before the network reads it.
 *
 * A DiT was once saved as Transformer2DModel, one class for many transformers; diffusers 0.42.1
 * opens one of norm_type ada_norm_zero as DiTTransformer2DModel (model_loading_utils.py,
 * _CLASS_REMAPPING_DICT). Its other keys distinguish those transformers: in a DiT they are off, and
 * one that is not is refused. EMAModel.save_pretrained adds its own keys to a network's, always all
 * of them; they do not describe the network and are removed. A config of transformers gets a
 * _class_name. */
#include "nn/internal.h"

#include <string.h>

#define LEGACY_DIT "Transformer2DModel"

/* ---- Transformer2DModel ---------------------------------------------------------------------- */

/* Keys that do not apply to a DiT, and the value that they have in one's config; null is accepted
 * too. */
static const struct {
    const char *key, *off;
} unused[] = {
    {"cross_attention_dim", NULL},       {"num_vector_embeds", NULL},
    {"use_linear_projection", NULL},     {"only_cross_attention", NULL},
    {"double_self_attention", NULL},     {"attention_type", "default"},
    {"caption_channels", NULL},          {"interpolation_scale", NULL},
    {"use_additional_conditions", NULL},
};

static bool is_off(const json_t *value, const char *off) {
    const char *text = json_string_value(value);
    return json_is_null(value) || json_is_false(value) || (text && off && strcmp(text, off) == 0);
}

static vn_status update_dit(json_t *config, vn_err *err) {
    const char *norm = json_string_value(json_object_get(config, "norm_type"));
    if (!norm || strcmp(norm, "ada_norm_zero") != 0)
        return vn_fail(err, VN_UNSUPPORTED,
                       "a " LEGACY_DIT
                       " of norm_type \"%.64s\"; vane knows those of \"ada_norm_zero\", which are "
                       "DiTTransformer2DModel today",
                       norm ? norm : "layer_norm");
    for (size_t i = 0; i < VN_COUNT(unused); i++) {
        const json_t *value = json_object_get(config, unused[i].key);
        if (!value) continue;
        if (!is_off(value, unused[i].off))
            return vn_fail(err, VN_UNSUPPORTED, "dit: a " LEGACY_DIT " with %s is no DiT",
                           unused[i].key);
        json_object_del(config, unused[i].key);
    }
    if (json_object_set_new(config, "_class_name", json_string("DiTTransformer2DModel")) == 0)
        return VN_OK;
    return vn_no_memory(err);
}

/* ---- EMAModel -------------------------------------------------------------------------------- */

static const char *const ema_keys[] = {
    "decay",     "min_decay", "optimization_step", "update_after_step", "use_ema_warmup",
    "inv_gamma", "power",     "collected_params", /* in earlier versions */
};

static void drop_ema_record(json_t *config) {
    if (!json_object_get(config, "optimization_step") || !json_object_get(config, "decay")) return;
    for (size_t i = 0; i < VN_COUNT(ema_keys); i++) json_object_del(config, ema_keys[i]);
}

/* ---- transformers ---------------------------------------------------------------------------- */

/* transformers names the class in a list of one. */
static vn_status name_class(json_t *config, vn_err *err) {
    const json_t *list = json_object_get(config, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    if (!name || json_array_size(list) != 1 || json_object_get(config, "_class_name")) return VN_OK;
    return json_object_set_new(config, "_class_name", json_string(name)) == 0 ? VN_OK
                                                                              : vn_no_memory(err);
}

vn_status vn_config_update(json_t *config, vn_err *err) {
    const vn_status status = name_class(config, err);
    if (status) return status;
    const char *class_name = json_string_value(json_object_get(config, "_class_name"));
    drop_ema_record(config);
    return class_name && strcmp(class_name, LEGACY_DIT) == 0 ? update_dit(config, err) : VN_OK;
}
