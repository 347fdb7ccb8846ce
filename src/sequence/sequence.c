/* sequence.c - a run: guided logits of the next token, and a draw from them for each sequence. */
#include "sequence/sequence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct vn_sequence_run {
    vn_sequence_options o;
    vn_path *path;
    vn_denoiser denoiser; /* what guides take the model for */
    vn_guidance *guidance;
    int64_t n, position;
    uint64_t first;
    int32_t *codes;
    vn_level level, next;
    float *x;     /* [capacity,codes] zeros: a state that tells nothing */
    float *x0;    /* [capacity,codes] guided logits */
    float *eps;   /* [capacity,codes] */
    double *room; /* [codes] */
    int32_t *order;
    int64_t *row; /* [row_count] */
    int64_t row_count;
};

/* ---- the model as guides see it -------------------------------------------------------------- */

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    vn_sequence_run *r = self;
    if (q->n > r->row_count) {
        int64_t *longer = vn_realloc(r->row, (size_t)q->n, sizeof *longer);
        if (!longer) return vn_no_memory(err);
        r->row = longer;
        r->row_count = q->n;
    }
    for (int64_t i = 0; i < q->n; i++) r->row[i] = (int64_t)(q->sample[i] - r->first);
    const vn_next next = {.n = q->n,
                          .position = r->position,
                          .row = r->row,
                          .condition = q->condition,
                          .codes = r->codes};
    const vn_sequence *s = r->o.sequence;
    return s->next(s->self, &next, raw, err);
}

/* t of the token at a position. */
static vn_level level_at(const vn_sequence_run *r, int64_t position) {
    const int64_t tokens = r->o.sequence->tokens;
    return vn_path_level(r->path, (double)(tokens - position) / (double)tokens);
}

/* Refuses guides whose rules are of noisy images. */
static vn_status check_guides(const char *text, vn_err *err) {
    const char *other = vn_guides_not_linear(text);
    char known[512] = "";
    if (!other) return VN_OK;
    for (size_t i = 0; i < vn_guides.count; i++) {
        const vn_guide_row *row = (const vn_guide_row *)vn_table_row(&vn_guides, i);
        const size_t used = strlen(known);
        if (row->linear)
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", row->row.name);
    }
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the guide %s is of images with noise; of sequences there are %s", other, known);
}

static vn_status open_guidance(vn_sequence_run *r, vn_err *err) {
    const vn_sequence *s = r->o.sequence;
    vn_status status = vn_path_open("rectified", &r->path, err);
    if (!status) status = vn_prediction_parse("x0", &r->denoiser.prediction, err);
    if (status) return status;
    r->denoiser.path = r->path;
    r->denoiser.sample = VN_SHAPE(s->codes);
    r->denoiser.size = s->codes;
    r->denoiser.tokens = s->tokens;
    r->denoiser.conditions = s->conditions;
    r->denoiser.self = r;
    r->denoiser.predict = predict;
    const vn_guidance_options options = {.guide = r->o.guide,
                                         .gamma = r->o.guidance,
                                         .seed = r->o.seed,
                                         .denoiser = &r->denoiser,
                                         .capacity = r->o.capacity,
                                         .none = r->o.none};
    return vn_guidance_open(&options, &r->guidance, err);
}

/* ---- life ------------------------------------------------------------------------------------ */

static vn_status open_arrays(vn_sequence_run *r, vn_err *err) {
    const size_t codes = (size_t)r->o.sequence->codes, n = (size_t)r->o.capacity;
    r->x = vn_calloc(n, codes * sizeof(float));
    r->x0 = vn_alloc(n, codes * sizeof(float));
    r->eps = vn_alloc(n, codes * sizeof(float));
    r->room = vn_alloc(codes, sizeof(double));
    r->order = vn_alloc(codes, sizeof(int32_t));
    return r->x && r->x0 && r->eps && r->room && r->order ? VN_OK : vn_no_memory(err);
}

vn_status vn_sequence_open(const vn_sequence_options *options, vn_sequence_run **out, vn_err *err) {
    *out = NULL;
    vn_status status = check_guides(options->guide, err);
    if (status) return status;
    vn_sequence_run *r = vn_calloc(1, sizeof *r);
    if (!r) return vn_no_memory(err);
    r->o = *options;
    status = open_guidance(r, err);
    if (!status) status = open_arrays(r, err);
    if (!status)
        *out = r;
    else
        vn_sequence_close(&r);
    return status;
}

void vn_sequence_close(vn_sequence_run **at) {
    vn_sequence_run *r = *at;
    if (!r) return;
    vn_guidance_close(&r->guidance);
    vn_path_close(&r->path);
    vn_free(r->x);
    vn_free(r->x0);
    vn_free(r->eps);
    vn_free(r->room);
    vn_free(r->order);
    vn_free(r->row);
    vn_free(r);
    *at = NULL;
}

/* ---- a draw ---------------------------------------------------------------------------------- */

static int32_t likeliest(int64_t codes, const float *logits) {
    int32_t best = 0;
    for (int32_t i = 1; i < (int32_t)codes; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Makes a heap [n] of codes one again whose entry `at` is wrong: the likelier first, of equal ones
 * the lesser number. */
static void sift(int32_t *heap, int64_t at, int64_t n, const float *logits) {
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        const bool right = child + 1 < n;
        if (right &&
            (logits[heap[child + 1]] > logits[heap[child]] ||
             (logits[heap[child + 1]] == logits[heap[child]] && heap[child + 1] < heap[child])))
            child++;
        if (logits[heap[at]] > logits[heap[child]] ||
            (logits[heap[at]] == logits[heap[child]] && heap[at] < heap[child]))
            return;
        const int32_t code = heap[at];
        heap[at] = heap[child];
        heap[child] = code;
    }
}

/* The next likeliest code of a heap of *left codes, which goes behind it. */
static int32_t take(int32_t *heap, int64_t *left, const float *logits) {
    const int32_t code = heap[0];
    heap[0] = heap[--*left];
    heap[*left] = code;
    sift(heap, 0, *left, logits);
    return code;
}

/* Moves the likeliest codes, top_k of them, and of those the fewest that have the part top_p, to
 * the end of order [codes]; returns how many. p [codes] is by code. */
static int64_t keep_likeliest(const vn_sequence_options *o, int64_t codes, const float *logits,
                              const double *p, int32_t *order) {
    const int64_t most = o->top_k > 0 && o->top_k < codes ? o->top_k : codes;
    double kept = 0, all = 0;
    int64_t left = codes, n = 0;
    for (int64_t i = 0; i < codes; i++) order[i] = (int32_t)i;
    for (int64_t i = codes / 2 - 1; i >= 0; i--) sift(order, i, codes, logits);
    for (; n < most; n++) all += p[take(order, &left, logits)];
    if (o->top_p >= 1) return n;
    for (int64_t i = 0; i < n; i++)
        if ((kept += p[order[codes - 1 - i]]) >= o->top_p * all) return i + 1;
    return n;
}

int32_t vn_draw_code(const vn_sequence_options *o, int64_t codes, const float *logits, double u,
                     double *room, int32_t *order) {
    const int32_t best = likeliest(codes, logits);
    if (o->temperature == 0 || o->top_k == 1) return best;
    double all = 0, sum = 0;
    for (int64_t i = 0; i < codes; i++)
        all += room[i] = exp(((double)logits[i] - (double)logits[best]) / o->temperature);
    if ((o->top_k > 0 && o->top_k < codes) || o->top_p < 1) {
        const int64_t n = keep_likeliest(o, codes, logits, room, order);
        /* in the order of codes, so that a bound that leaves all of them changes nothing */
        for (int64_t i = 0; i < codes - n; i++) room[order[i]] = 0;
        all = 0;
        for (int64_t i = 0; i < codes; i++) all += room[i];
    }
    int32_t code = best;
    for (int64_t i = 0; i < codes; i++) {
        if (!(room[i] > 0)) continue;
        code = (int32_t)i;
        if ((sum += room[i]) > u * all) break;
    }
    return code;
}

/* ---- a run ----------------------------------------------------------------------------------- */

vn_status vn_sequence_begin(vn_sequence_run *r, int64_t n, uint64_t first,
                            const vn_condition *condition, int32_t *codes, vn_err *err) {
    r->n = n;
    r->position = 0;
    r->first = first;
    r->codes = codes;
    vn_guidance_begin(r->guidance, n, first, condition);
    return r->o.sequence->begin(r->o.sequence->self, n, err);
}

static vn_status check_finite(const vn_sequence_run *r, vn_err *err) {
    const int64_t codes = r->o.sequence->codes;
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t k = 0; k < codes; k++)
            if (isnan(r->x0[i * codes + k]) || r->x0[i * codes + k] == HUGE_VALF)
                return vn_fail(
                    err, VN_NOT_FINITE, "token %lld of sample %llu: its logits are not finite",
                    (long long)r->position, (unsigned long long)(r->first + (uint64_t)i));
    return VN_OK;
}

vn_status vn_sequence_step(vn_sequence_run *r, bool *done, vn_err *err) {
    const vn_sequence *s = r->o.sequence;
    r->level = level_at(r, r->position);
    r->next = level_at(r, r->position + 1);
    vn_guidance_step(r->guidance, (int)r->position, (int)s->tokens, 0, &r->next);
    const vn_request request = {.x = r->x, .level = &r->level};
    vn_status status =
        vn_guidance_predict(r->guidance, &request, (vn_estimate){r->x0, r->eps}, err);
    if (!status) status = check_finite(r, err);
    if (status) return status;
    for (int64_t i = 0; i < r->n; i++) {
        const double u = vn_random_double(r->o.seed, VN_STREAM_TOKEN, r->first + (uint64_t)i,
                                          (uint64_t)r->position);
        r->codes[i * s->tokens + r->position] =
            vn_draw_code(&r->o, s->codes, r->x0 + i * s->codes, u, r->room, r->order);
    }
    *done = ++r->position == s->tokens;
    return VN_OK;
}

double vn_sequence_passes(const vn_sequence_run *r) {
    return vn_guidance_passes(r->guidance);
}

/* ---- likelihood ------------------------------------------------------------------------------ */

static double log_part(int64_t codes, const float *logits, int32_t code) {
    const int32_t best = likeliest(codes, logits);
    double sum = 0;
    for (int64_t i = 0; i < codes; i++) sum += exp((double)logits[i] - (double)logits[best]);
    return (double)logits[code] - (double)logits[best] - log(sum);
}

static vn_status add_token(const vn_sequence *s, const vn_next *q, float *logits, double *log_p,
                           vn_err *err) {
    const vn_status status = s->next(s->self, q, logits, err);
    for (int64_t i = 0; i < q->n && !status; i++)
        log_p[i] +=
            log_part(s->codes, logits + i * s->codes, q->codes[i * s->tokens + q->position]);
    return status;
}

vn_status vn_sequence_log_p(const vn_sequence *s, int64_t n, const vn_condition *condition,
                            const int32_t *codes, double *log_p, vn_err *err) {
    int64_t *row = vn_alloc((size_t)n, sizeof *row);
    float *logits = vn_alloc((size_t)n, (size_t)s->codes * sizeof *logits);
    vn_status status = row && logits ? s->begin(s->self, n, err) : vn_no_memory(err);
    for (int64_t i = 0; i < n && !status; i++) {
        row[i] = i;
        log_p[i] = 0;
    }
    for (int64_t t = 0; t < s->tokens && !status; t++) {
        const vn_next q = {
            .n = n, .position = t, .row = row, .condition = condition, .codes = codes};
        status = add_token(s, &q, logits, log_p, err);
    }
    vn_free(row);
    vn_free(logits);
    return status;
}
