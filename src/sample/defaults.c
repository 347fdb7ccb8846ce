/* defaults.c - see defaults.h.
 *
 * Why 1.5: between 1.25, where the demo's U-Net on Fashion-MNIST has its smallest Frechet distance,
 * and 2 there is the trade of quality against diversity; at 1.5 samples are taken for their class
 * as often as real pictures are (bench/LOG.md, docs/training.md). Points are drawn as trained, for
 * what one looks at there is the distribution, which guidance changes. */
#include "sample/sample.h"

#include <math.h>
#include <string.h>

enum { STEPS = 32 };
static const double as_trained = 1, of_pictures = 1.5, in_interval = 2, max_guidance = 1e6;
#define LEAST_NOISE 0.2
#define MOST_NOISE  0.1 /* for each pixel of the shorter side */

vn_sampling_defaults vn_sampling_defaults_as_trained(void) {
    return (vn_sampling_defaults){.guidance = as_trained, .steps = STEPS};
}

int vn_sampling_defaults_steps_on(const vn_sampling_defaults *s, const vn_path *path) {
    return path->steps && path->steps < s->steps ? path->steps : s->steps;
}

bool vn_sampling_interval(const vn_sampling_kind *kind, double *lo, double *hi) {
    const vn_shape *s = kind->sample;
    if (!vn_shape_is_image(s) || !kind->classes || !kind->drops) return false;
    *lo = LEAST_NOISE;
    *hi = MOST_NOISE * (double)(s->dim[1] < s->dim[2] ? s->dim[1] : s->dim[2]);
    return *lo < *hi;
}

vn_sampling_defaults vn_sampling_defaults_choose(const vn_sampling_kind *kind,
                                                 const vn_path *path) {
    vn_sampling_defaults s = vn_sampling_defaults_as_trained();
    const bool pictures = vn_shape_is_image(kind->sample);
    double lo, hi;
    if (pictures && kind->drops) s.guidance = of_pictures;
    if (vn_sampling_interval(kind, &lo, &hi)) {
        s.guidance = in_interval;
        vn_snprintf(s.guide, sizeof s.guide, "cfg,interval:lo=%g,hi=%g", lo, hi);
    }
    if (pictures) s.steps = path->row->steps;
    s.steps = vn_sampling_defaults_steps_on(&s, path);
    return s;
}

json_t *vn_sampling_defaults_to_json(const vn_sampling_defaults *s) {
    json_t *steps = s->steps > 0 ? json_integer(s->steps) : NULL; /* sequences take none */
    if (s->steps > 0 && !steps) return NULL;
    return json_pack("{s:f, s:o*, s:s*, s:s*, s:o*, s:s*}", "guidance", s->guidance, "steps", steps,
                     "guide", s->guide[0] ? s->guide : NULL, "sampler",
                     s->sampler[0] ? s->sampler : NULL, "consistency",
                     s->consistency ? json_true() : NULL, "by", s->by[0] ? s->by : NULL);
}

static vn_status read_text(const char *key, const json_t *value, char out[VN_SAMPLING_TEXT],
                           vn_err *err) {
    const char *text = json_string_value(value);
    if (!text || json_string_length(value) >= VN_SAMPLING_TEXT)
        return vn_fail(err, VN_BAD_FILE, "sampling: %s is not a text of at most %d bytes", key,
                       VN_SAMPLING_TEXT - 1);
    snprintf(out, VN_SAMPLING_TEXT, "%s", text);
    return VN_OK;
}

static vn_status read_key(const char *key, const json_t *value, vn_sampling_defaults *out,
                          vn_err *err) {
    const double number = json_number_value(value);
    if (!strcmp(key, "guidance")) {
        out->guidance = number;
        if (json_is_number(value) && fabs(number) <= max_guidance) return VN_OK;
        return vn_fail(err, VN_BAD_FILE, "sampling: guidance is not a number");
    }
    if (!strcmp(key, "steps")) {
        out->steps = (int)fmin(fmax(number, 0), VN_MAX_STEPS);
        if (json_is_integer(value) && number >= 1 && number <= VN_MAX_STEPS) return VN_OK;
        return vn_fail(err, VN_BAD_FILE, "sampling: steps is not a whole number from 1 to %d",
                       VN_MAX_STEPS);
    }
    if (!strcmp(key, "consistency")) {
        out->consistency = json_is_true(value);
        if (json_is_boolean(value)) return VN_OK;
        return vn_fail(err, VN_BAD_FILE, "sampling: consistency is neither true nor false");
    }
    if (!strcmp(key, "guide")) return read_text(key, value, out->guide, err);
    if (!strcmp(key, "sampler")) return read_text(key, value, out->sampler, err);
    if (!strcmp(key, "by")) return read_text(key, value, out->by, err);
    return vn_fail(err, VN_BAD_FILE, "sampling: unknown key \"%.80s\"", key);
}

vn_status vn_sampling_defaults_from_json(const json_t *stored, vn_sampling_defaults *out,
                                         vn_err *err) {
    *out = vn_sampling_defaults_as_trained();
    if (!stored) return VN_OK;
    if (!json_is_object(stored)) return vn_fail(err, VN_BAD_FILE, "sampling is not an object");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)stored, key, value) {
        const vn_status status = read_key(key, value, out, err);
        if (status) return status;
    }
    return VN_OK;
}
