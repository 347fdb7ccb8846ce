/* save_bands.c - what the bands of samples differ in. */
#include "api/save.h"

#include <string.h>

const char *vn_band_setting(const vn_samples_band *band, const char *key) {
    return json_string_value(json_object_get(band->settings, key));
}

vn_differences vn_bands_differ(const vn_samples *s) {
    vn_differences differ = {0};
    for (size_t i = 1; i < s->band_count; i++) {
        const char *one = vn_band_setting(&s->bands[0], "guide"),
                   *other = vn_band_setting(&s->bands[i], "guide");
        differ.guidance = differ.guidance || s->bands[i].guidance != s->bands[0].guidance;
        differ.guide = differ.guide || strcmp(one, other) != 0;
    }
    return differ;
}
