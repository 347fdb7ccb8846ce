/* denoise.c - A = I: the sample itself, with noise. */
#include "restore/internal.h"

#include <string.h>

static vn_status open_denoise(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    o->observed = o->sample;
    o->gram = vn_alloc((size_t)o->size, sizeof *o->gram);
    if (!o->gram) return vn_no_memory(err);
    for (int64_t i = 0; i < o->size; i++) o->gram[i] = 1;
    return VN_OK;
}

static void copy(vn_operator *o, const double *in, double *out) {
    memcpy(out, in, (size_t)o->size * sizeof *out);
}

const vn_operator_row vn_denoise_operator = {
    .row = {"denoise", "the sample itself, with noise", "2201.11793", NULL},
    .open = open_denoise,
    .apply = copy,
    .transpose = copy,
};
