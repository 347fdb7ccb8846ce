/* train_memory.c - whether a run fits in memory, before anything of it is made: what a step takes
 * is planned, and where it is more than there is, a size, number of parts or batch that would fit
 * is named. */
#include "api/train_memory.h"
#include "api/train_options.h"

#include <stdio.h>

enum { GOOD_SIDE = 64, SMALL_SIDE = 32 };

static vn_status measure(const vn_train_setup *s, int64_t batch, double *bytes, vn_err *err) {
    vn_train_setup with = *s;
    with.batch = batch;
    return vn_train_measure(&with, bytes, err);
}

/* The most that fit at the same time, at least one. */
static vn_status bound_workers(vn_train_setup *s, double memory, double *bytes, vn_err *err) {
    vn_status status = measure(s, s->batch, bytes, err);
    while (!status && *bytes > memory && vn_train_workers(s) > 1) {
        s->workers = vn_train_workers(s) / 2;
        status = measure(s, s->batch, bytes, err);
    }
    return status;
}

/* The largest power of two below the batch that fits; 0: none does. In as many microbatches, unless
 * they are what the batch has where none are asked for. */
static vn_status find_batch(const vn_train_setup *s, double memory, int64_t *batch, vn_err *err) {
    const bool usual = s->microbatches == vn_train_microbatches(s->batch);
    vn_train_setup with = *s;
    vn_status status = VN_OK;
    for (*batch = 65536; !status && *batch > 0; *batch /= 2) {
        double bytes = 0;
        if (usual) with.microbatches = vn_train_microbatches(*batch);
        if (*batch >= s->batch || (with.microbatches && *batch % with.microbatches)) continue;
        status = measure(&with, *batch, &bytes, err);
        if (!status && bytes <= memory) return VN_OK;
    }
    return status;
}

/* The fewest microbatches, by doubling, that fit; 0: none do. */
static vn_status find_parts(const vn_train_setup *s, double memory, int64_t *parts, vn_err *err) {
    vn_train_setup with = *s;
    for (*parts = s->microbatches ? s->microbatches : 1; s->batch % (2 * *parts) == 0;) {
        double bytes = 0;
        with.microbatches = *parts *= 2;
        const vn_status status = vn_train_measure(&with, &bytes, err);
        if (status || bytes <= memory) return status;
    }
    *parts = 0;
    return VN_OK;
}

/* A side that folders' pictures could be made, from what a step takes for each pixel; 0: none is
 * smaller and fits. */
static int find_side(const vn_train_setup *s, double bytes, double memory) {
    const vn_data_info *info = vn_data_get_info(s->data);
    const double frozen = s->text && s->text->frozen ? (double)s->text->frozen->bytes : 0;
    const double weights =
        frozen + 5.0 * sizeof(float) * (double)vn_weights_floats(vn_net_weights(s->part[0].net));
    const double pixel =
        (bytes - weights) / ((double)info->sample.dim[1] * (double)info->sample.dim[2]);
    for (int side = GOOD_SIDE; side >= SMALL_SIDE; side /= 2)
        if (side < info->sample.dim[1] && side < info->sample.dim[2] &&
            weights + pixel * side * side <= memory)
            return side;
    return 0;
}

vn_status vn_train_check_memory(vn_train_setup *s, bool may_resize, const char *source,
                                vn_err *err) {
    const vn_data_info *info = vn_data_get_info(s->data);
    const int together = s->ranks && s->ranks->local ? s->ranks->local : 1; /* which share it */
    const double memory = (double)vn_memory_total() / together;
    double bytes = 0;
    int64_t batch = 0, parts = 0;
    char takes[32], has[32], size[64] = "", word[3][48];
    vn_status status = bound_workers(s, memory, &bytes, err);
    if (status || bytes <= memory) return status;
    status = find_batch(s, memory, &batch, err);
    if (!status) status = find_parts(s, memory, &parts, err);
    if (status) return status;
    const int side =
        may_resize && vn_shape_is_image(&info->sample) ? find_side(s, bytes, memory) : 0;
    if (vn_shape_is_image(&info->sample))
        snprintf(size, sizeof size, " at %lldx%lld", (long long)info->sample.dim[2],
                 (long long)info->sample.dim[1]);
    int words = 0;
    if (side > 0) snprintf(word[words++], sizeof word[0], "`size=%d`", side);
    if (parts > 0) snprintf(word[words++], sizeof word[0], "`microbatches=%lld`", (long long)parts);
    if (batch > 0) snprintf(word[words++], sizeof word[0], "`batch=%lld`", (long long)batch);
    const char *none =
        s->recompute == VN_RECOMPUTE_BLOCKS ? "a smaller model" : "a smaller model, or `recompute`";
    return vn_fail(err, VN_NO_MEMORY,
                   "%s: training%s would take %s with %lld sample%s in a step, and there are %s of "
                   "memory: use %s%s%s%s%s",
                   source, size, vn_bytes_text(bytes, takes), (long long)s->batch,
                   s->batch == 1 ? "" : "s", vn_bytes_text(memory, has), words ? word[0] : none,
                   words > 2 ? ", " : "", words > 2 ? word[1] : "", words > 1 ? " or " : "",
                   words > 1 ? word[words - 1] : "");
}
