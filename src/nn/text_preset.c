/* text_preset.c - what the presets of networks that take texts share. Each has the parameters
 * text_width, text_depth, text_length and text_tokens, which are those of the text encoder that is
 * trained with the network; where that is given, its width is what counts. */
#include "nn/internal.h"

#define DIVISOR 4 /* of a token's width: heads of the encoder */

vn_status vn_preset_text(const vn_choice *preset, const vn_net_data *data, int64_t *width,
                         vn_err *err) {
    const char *name = preset->row->name;
    bool wide, deep, learned;
    *width = (int64_t)vn_preset(preset, "text_width", &wide);
    vn_preset(preset, "text_depth", &deep);
    vn_preset(preset, "text_tokens", &learned);
    if (!vn_shape_is_image(&data->sample))
        return vn_fail(err, VN_BAD_ARGUMENT, "%s is for images; for points use mlp", name);
    if (!data->captions)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s is for images with captions, and these have none",
                       name);
    if (!data->text_width && *width % DIVISOR)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: text_width=%lld is not divisible by %d", name,
                       (long long)*width, DIVISOR);
    if (!data->text_width) return VN_OK;
    if (deep || learned)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: %s has no effect: the text encoder is given",
                       name, deep ? "text_depth" : "text_tokens");
    if (wide && *width != data->text_width)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s: text_width=%lld, and the text encoder's is %lld",
                       name, (long long)*width, (long long)data->text_width);
    *width = data->text_width;
    return VN_OK;
}
