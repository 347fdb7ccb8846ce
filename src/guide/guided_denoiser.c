/* guided_denoiser.c - a list of guides as a denoiser, such as a frozen teacher that is guided.
 * Guidance acts at one level at a time, so a batch is split into groups of neighbouring rows at one
 * level: one row at a time where all levels differ. */
#include "guide/internal.h"

typedef struct guided {
    vn_guidance *guidance;
    vn_prediction prediction;
    int64_t size, capacity;
    vn_estimate estimate; /* [capacity,size] */
} guided;

static bool same_level(const vn_level *a, const vn_level *b) {
    return a->t == b->t && a->alpha == b->alpha && a->sigma == b->sigma;
}

/* How many rows from `row` on make a group. */
static int64_t group_of(const guided *g, const vn_query *q, int64_t row) {
    int64_t n = 1;
    while (n < g->capacity && row + n < q->n && same_level(&q->level[row], &q->level[row + n]) &&
           (!q->to || same_level(&q->to[row], &q->to[row + n])))
        n++;
    return n;
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    guided *g = self;
    vn_status status = VN_OK;
    for (int64_t row = 0, n; row < q->n && !status; row += n) {
        n = group_of(g, q, row);
        const vn_request request = {
            .x = q->x + row * g->size, .level = &q->level[row], .to = q->to ? &q->to[row] : NULL};
        vn_guidance_begin(g->guidance, n, (uint64_t)row, q->condition + row);
        vn_guidance_step(g->guidance, 0, 1, 0, q->to ? &q->to[row] : &vn_level_clean);
        status = vn_guidance_predict(g->guidance, &request, g->estimate, err);
        if (!status)
            vn_prediction_from_estimate(&g->prediction, &q->level[row], (size_t)(n * g->size),
                                        g->estimate.x0, g->estimate.eps, raw + row * g->size);
    }
    return status;
}

static void close_guided(guided *g) {
    vn_guidance_close(&g->guidance);
    vn_free(g->estimate.x0);
    vn_free(g->estimate.eps);
    vn_free(g);
}

static vn_status open_guided(guided *g, const vn_guidance_options *options, vn_err *err) {
    const vn_denoiser *d = options->denoiser;
    *g = (guided){.prediction = d->prediction, .size = d->size, .capacity = options->capacity};
    if (options->guide && vn_guides_select(options->guide))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "the guides %s select among samples between steps; a denoiser has none",
                       options->guide);
    vn_status status = vn_guidance_open(options, &g->guidance, err);
    if (!status) status = vn_guidance_check_sampler(g->guidance, "a denoiser", 0, err);
    if (status) return status;
    const size_t numbers =
        (size_t)(g->capacity * g->size); /* no overflow: the guidance has taken more */
    g->estimate.x0 = vn_alloc_aligned(numbers, sizeof(float));
    g->estimate.eps = vn_alloc_aligned(numbers, sizeof(float));
    return g->estimate.x0 && g->estimate.eps ? VN_OK : vn_no_memory(err);
}

vn_status vn_guided_denoiser(const vn_guidance_options *options, vn_denoiser *out, vn_err *err) {
    const vn_denoiser *d = options->denoiser;
    guided *g = vn_calloc(1, sizeof *g);
    if (!g) return vn_no_memory(err);
    const vn_status status = open_guided(g, options, err);
    if (status) {
        close_guided(g);
        return status;
    }
    *out = (vn_denoiser){.path = d->path,
                         .prediction = d->prediction,
                         .sample = d->sample,
                         .size = d->size,
                         .tokens = d->tokens,
                         .conditions = d->conditions,
                         .self = g,
                         .predict = predict};
    return VN_OK;
}

void vn_guided_denoiser_close(vn_denoiser *d) {
    if (d->self) close_guided(d->self);
    *d = (vn_denoiser){0};
}
