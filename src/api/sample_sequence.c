/* sample_sequence.c - a drawing from a sequence model: tokens one after another (sequence.h), and
 * what is made of them. What belongs to noise and its levels is refused by name. */
#include "api/internal.h"

#include <math.h>

/* Options that a sequence has no use for. */
static const char *without_effect(const vn_sample_options *o) {
    const struct {
        const char *name;
        bool given;
    } all[] = {{"steps", o->steps != 0},
               {"sampler", o->sampler},
               {"grid", o->grid},
               {"begin", o->begin},
               {"sigmas", o->sigmas},
               {"path", o->path},
               {"cache", o->cache},
               {"noise", o->noise},
               {"noise_file", o->noise_file},
               {"weak", o->weak},
               {"trace", o->trace != 0},
               {"reward", o->reward},
               {"restore", o->restore},
               {"forward_operator", o->forward_operator || o->user_operator},
               {"observed_file", o->observed_file || o->observed},
               {"noise_level", o->noise_level > 0},
               {"init_file", o->init_file || o->init},
               {"strength", o->strength > 0},
               {"invert", o->invert > 0},
               {"classifier", o->classifier}};
    for (size_t i = 0; i < VN_COUNT(all); i++)
        if (all[i].given) return all[i].name;
    return NULL;
}

vn_status vn_drawing_check_tokens(const vn_model *m, const vn_sample_options *o, vn_err *err) {
    const char *name = m->row->sequence      ? without_effect(o)
                       : o->temperature != 1 ? "temperature"
                       : o->top_k            ? "top_k"
                       : o->top_p < 1        ? "top_p"
                                             : NULL;
    if (!name) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT, "`%s` has no effect: %s %s", name, m->source,
                   m->row->sequence ? "is a sequence model, which has tokens and no noise"
                                    : "is no sequence model, and has no tokens");
}

vn_status vn_drawing_open_sequence(vn_drawing *d, bool together, vn_err *err) {
    vn_model *m = d->m;
    vn_sample_options *o = &d->o;
    if (together)
        return vn_fail(err, VN_UNSUPPORTED,
                       "%s: a sequence model, which is not sampled step by step; vn_sample draws "
                       "from it",
                       m->source);
    if (isnan(o->guidance)) o->guidance = m->sampling.guidance;
    const vn_sequence *sequence = m->row->sequence(m);
    const vn_sequence_options options = {.sequence = sequence,
                                         .guide = o->guide,
                                         .guidance = o->guidance,
                                         .temperature = o->temperature,
                                         .top_k = o->top_k,
                                         .top_p = o->top_p,
                                         .seed = o->seed,
                                         .capacity = d->batch,
                                         .none = o->negative ? &d->negative : NULL};
    const vn_status status = vn_sequence_open(&options, &d->sequence, err);
    if (status) return status;
    d->codes = vn_alloc((size_t)d->batch, (size_t)sequence->tokens * sizeof *d->codes);
    return d->codes ? VN_OK : vn_no_memory(err);
}

void vn_drawing_close_sequence(vn_drawing *d) {
    vn_sequence_close(&d->sequence);
    vn_free(d->codes);
    d->codes = NULL;
}

static vn_status tell(const vn_draw_progress *p, int64_t token, int64_t tokens, vn_err *err) {
    const double done = (double)p->done + (double)p->n * (double)token / (double)tokens;
    const double rate = done / fmax(vn_now() - p->began, 1e-9);
    const vn_progress samples = {.what = "sampling",
                                 .unit = "samples",
                                 .done = (int64_t)done,
                                 .total = p->total,
                                 .rate = rate,
                                 .seconds_left = ((double)p->total - done) / rate,
                                 .loss = (double)NAN};
    if (!vn_report(p->watch, &samples)) return VN_OK;
    return vn_fail(err, VN_CANCELLED, "stopped at token %lld of %lld", (long long)token,
                   (long long)tokens);
}

static vn_status draw_batch(vn_drawing *d, int64_t first, int64_t i, const vn_drawn_rows *out,
                            vn_draw_progress *progress, vn_err *err) {
    const int64_t tokens = d->m->row->sequence(d->m)->tokens;
    bool done = false;
    vn_status status =
        vn_sequence_begin(d->sequence, progress->n, d->o.first + (uint64_t)(first + i),
                          out->labels + i, d->codes, err);
    for (int64_t t = 1; !status && !done; t++) {
        status = vn_sequence_step(d->sequence, &done, err);
        if (!status) status = tell(progress, t, tokens, err);
    }
    const int64_t passes = (int64_t)ceil(vn_sequence_passes(d->sequence));
    if (passes > d->passes) d->passes = passes;
    return !status
               ? d->m->row->from_codes(d->m, progress->n, d->codes, out->data + i * d->m->size, err)
               : status;
}

vn_status vn_drawing_sequence_rows(vn_drawing *d, int64_t first, int64_t n,
                                   const vn_drawn_rows *out, vn_draw_progress *progress,
                                   vn_err *err) {
    vn_status status = VN_OK;
    if (progress->began <= 0) progress->began = vn_now();
    for (int64_t i = 0; i < n; i++) out->labels[i] = vn_drawing_label(d, first + i);
    for (int64_t i = 0; i < n && !status; i += progress->n) {
        progress->n = n - i < d->batch ? n - i : d->batch;
        status = draw_batch(d, first, i, out, progress, err);
        if (!status) progress->done += progress->n;
    }
    return status;
}
