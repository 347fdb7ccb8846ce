/* stream.c - vn_sample_to: samples are written as they are drawn, so that memory does not grow with
 * their count. All that could be refused is refused before the first of them. */
#include "api/internal.h"
#include "api/options.h"

#include <math.h>
#include <string.h>

#define HELD_FLOATS ((int64_t)4 << 20) /* samples, and their traces, between drawing and writing */

typedef struct stream {
    vn_model *m;
    vn_sample_options *bands; /* [count] a copy: what is appended begins later */
    size_t count;
    const char *path;
    vn_existing existing;
    vn_claim claim;
    vn_samples *of; /* all bands, without what will be drawn */
    vn_saver *saver;
    void *written; /* [count] the caller's, of `stride` bytes each; NULL: not asked for */
    size_t stride;
} stream;

/* ---- the caller's arrays --------------------------------------------------------------------- */

/* All of an array have the size of the first. */
static vn_status check_sizes(const void *array, size_t count, const char *name, size_t *stride,
                             vn_err *err) {
    const vn_status status = vn_struct_check(array, name, err);
    if (status) return status;
    memcpy(stride, array, sizeof *stride);
    for (size_t i = 1; i < count; i++)
        if (memcmp((const char *)array + i * *stride, stride, sizeof *stride) != 0)
            return vn_fail(err, VN_BAD_ARGUMENT, "%s %zu is not of the size of the first", name, i);
    return VN_OK;
}

static vn_status take_bands(stream *s, const void *bands, vn_err *err) {
    size_t stride = 0;
    vn_status status = check_sizes(bands, s->count, "vn_sample_options", &stride, err);
    if (status) return status;
    s->bands = vn_alloc(s->count, sizeof *s->bands);
    if (!s->bands) return vn_no_memory(err);
    for (size_t i = 0; i < s->count && !status; i++) {
        s->bands[i] = vn_sample_options_default();
        status = vn_struct_take(&s->bands[i], sizeof s->bands[i], (const char *)bands + i * stride,
                                "vn_sample_options", err);
    }
    return status;
}

static void tell(const stream *s, size_t band, const vn_drawing *d) {
    const vn_written w = {.count = d->count,
                          .first = s->bands[band].first,
                          .passes = d->passes,
                          .round_trip = vn_observing_round_trip(d),
                          .cache_error = vn_cache_error_of(d->cache_off, d->cache_length)};
    if (s->written) vn_struct_give((char *)s->written + band * s->stride, &w, sizeof w);
}

void vn_written_init(vn_written *w, size_t size) {
    static const vn_written initial = {.round_trip = (double)NAN, .cache_error = (double)NAN};
    vn_struct_init(w, size, &initial, sizeof initial);
}

/* ---- several processes ----------------------------------------------------------------------- */

/* Of processes that share the samples the first alone writes them. */
static bool writes(const stream *s) {
    return !s->m->vn->ranks || s->m->vn->ranks->rank == 0;
}

/* What is drawn of each sample by itself can be shared. */
static vn_status check_shared(const stream *s, const vn_drawing *d, vn_err *err) {
    const char *what = d->selects    ? d->o.guide
                       : d->o.invert ? "`invert`"
                       : d->o.trace  ? "`trace`"
                                     : NULL;
    if (!s->m->vn->ranks || !what) return VN_OK;
    return vn_fail(err, VN_UNSUPPORTED,
                   "%s: such samples are drawn by one process, and several were started", what);
}

/* Processes that were asked for different samples would give a mixture. */
static vn_status check_same(const stream *s, vn_err *err) {
    const vn_ranks *r = s->m->vn->ranks;
    int other = -1;
    if (!r) return VN_OK;
    uint64_t hash = vn_hash_begin;
    for (size_t i = 0; i < s->count; i++)
        hash = vn_options_hash(VN_OPTIONS_SAMPLE, &s->bands[i], hash);
    const int64_t own[] = {s->of->count, (int64_t)s->count, (int64_t)hash, s->of->size,
                           (int64_t)s->existing};
    const vn_status status = vn_ranks_compare(r, own, sizeof own, &other, err);
    if (status || other < 0) return status;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "rank %d of %d has other options, or draws samples of another model", other,
                   r->count);
}

/* Samples [first, first + n): each process draws a share, and the first gets all. */
static vn_status draw_rows(const stream *s, vn_drawing *d, int64_t first, int64_t n,
                           const vn_drawn_rows *out, vn_draw_progress *progress, vn_err *err) {
    const vn_ranks *r = s->m->vn->ranks;
    const int64_t size = s->of->size, state = s->of->state_size, before = progress->done;
    int64_t begin, own;
    if (!r) return vn_drawing_rows(d, first, n, out, progress, err);
    vn_ranks_deal(r, n, &begin, &own);
    const vn_drawn_rows mine = {.data = out->data + begin * size,
                                .labels = out->labels + begin,
                                .latents = out->latents ? out->latents + begin * state : NULL};
    vn_status status = vn_drawing_rows(d, first + begin, own, &mine, progress, err);
    status = vn_ranks_settle(r, status, err);
    if (!status) status = vn_ranks_collect(r, out->data, n, (size_t)size * sizeof(float), err);
    if (!status) status = vn_ranks_collect(r, out->labels, n, sizeof *out->labels, err);
    if (!status && out->latents)
        status = vn_ranks_collect(r, out->latents, n, (size_t)state * sizeof(float), err);
    progress->done = before + n;
    return status;
}

/* The most that any process counted. */
static vn_status agree_on_passes(const stream *s, vn_drawing *d, vn_err *err) {
    const vn_ranks *r = s->m->vn->ranks;
    int64_t least = -d->passes;
    const vn_status status = r ? r->agree(r->self, &least, err) : VN_OK;
    d->passes = -least;
    return status;
}

/* ---- what will be drawn ---------------------------------------------------------------------- */

/* Appended samples are drawn from noise that those in the folder were not. */
static vn_status go_on(stream *s, vn_err *err) {
    uint64_t next = 0;
    if (s->existing != VN_EXISTING_APPEND) return VN_OK;
    const vn_status status = vn_saver_next(s->path, &next, err);
    for (size_t i = 0; i < s->count && !status; i++) {
        if (s->bands[i].first > 0 && s->bands[i].first < next)
            return vn_fail(
                err, VN_BAD_ARGUMENT,
                "`first` %llu: %s holds samples up to %llu, and `append` goes on after them",
                (unsigned long long)s->bands[i].first, s->path, (unsigned long long)next - 1);
        if (s->bands[i].first == 0) s->bands[i].first = next;
    }
    return status;
}

/* The labels of the band's samples, for what is shown class by class. */
static vn_status add_labels(vn_samples *of, const vn_drawing *d, int64_t before, vn_err *err) {
    int32_t *labels = vn_realloc(of->labels, (size_t)(before + d->count), sizeof *labels);
    if (!labels) return vn_no_memory(err);
    of->labels = labels;
    for (int64_t i = 0; i < d->count; i++) labels[before + i] = vn_drawing_label(d, i);
    return VN_OK;
}

/* Adds the band to the description of all, for which the whole sampling run is opened: what is
 * wrong with it shows now. */
static vn_status add_band(stream *s, const vn_sample_options *o, vn_err *err) {
    vn_drawing d;
    vn_samples *of = vn_calloc(1, sizeof *of);
    if (!of) return vn_no_memory(err);
    const int64_t before = s->of ? s->of->count : 0;
    vn_status status = vn_drawing_open(&d, s->m, o, false, err);
    if (!status) status = check_shared(s, &d, err);
    if (!status) status = vn_drawing_describe(&d, of, err);
    if (!status && s->of) status = vn_samples_join(s->of, of, err);
    if (!status && !s->of) {
        s->of = of;
        of = NULL;
    }
    if (!status && s->of->levels > 0 && !vn_saver_traces(s->path, &s->of->sample))
        status = vn_fail(err, VN_BAD_ARGUMENT,
                         "%s holds no trace: a .safetensors and a picture of points do", s->path);
    if (!status && vn_saver_whole(s->path)) {
        if (s->of->count > VN_SHOW_MAX)
            status = vn_fail(err, VN_BAD_ARGUMENT, "%s: %lld samples are too many for a picture",
                             s->path, (long long)s->of->count);
        else
            status = add_labels(s->of, &d, before, err);
    }
    vn_drawing_close(&d);
    vn_samples_close(&of);
    return status;
}

/* asks: nothing will be written. */
static vn_status prepare(stream *s, const vn_sample_options *bands, bool asks, vn_err *err) {
    if (!s->path || !s->path[0])
        return vn_fail(err, VN_BAD_ARGUMENT, "a path to save samples at is needed");
    if (!bands || !s->count)
        return vn_fail(err, VN_BAD_ARGUMENT, "options of at least one band are needed");
    vn_status status = vn_saver_check_existing(s->path, s->existing, err);
    if (!status) status = take_bands(s, bands, err);
    if (!status && writes(s)) status = vn_claim_hold(&s->claim, s->path, err);
    if (!status) status = go_on(s, err);
    for (size_t i = 0; i < s->count && !status; i++) status = add_band(s, &s->bands[i], err);
    if (!status && writes(s)) status = vn_saver_open(s->of, s->path, s->existing, &s->saver, err);
    if (!status && writes(s) && !asks) status = vn_claim_make(&s->claim, s->path, err);
    return status;
}

/* Returns how many samples are kept of what was not finished. */
static int64_t finish(stream *s) {
    const int64_t kept = vn_saver_abandon(&s->saver);
    vn_claim_leave(&s->claim);
    vn_samples_close(&s->of);
    vn_free(s->bands);
    return kept;
}

/* ---- drawing --------------------------------------------------------------------------------- */

static void rows_close(vn_drawn_rows *rows) {
    vn_free(rows->data);
    vn_free(rows->labels);
    vn_free(rows->trace);
    vn_free(rows->latents);
}

static vn_status rows_open(vn_drawn_rows *rows, int64_t n, const vn_samples *of, vn_err *err) {
    const size_t state = (size_t)of->state_size * sizeof(float), levels = (size_t)of->levels;
    size_t states = 0;
    *rows = (vn_drawn_rows){.data = vn_alloc((size_t)n, (size_t)of->size * sizeof(float)),
                            .labels = vn_alloc((size_t)n, sizeof(int32_t)),
                            .latents = of->decoded ? vn_alloc((size_t)n, state) : NULL};
    if (levels && !vn_mul_overflows(levels, (size_t)n, &states))
        rows->trace = vn_alloc(states, state);
    const bool ok =
        rows->data && rows->labels && (!levels || rows->trace) && (!of->decoded || rows->latents);
    return ok ? VN_OK : vn_no_memory(err);
}

/* Samples drawn between two writes: whole batches within the bound, or one batch where what is
 * written is safe. */
static int64_t choose_held(const vn_drawing *d, const stream *s) {
    const vn_ranks *r = s->m->vn->ranks;
    const int64_t each = d->batch * (r ? r->count : 1);
    int64_t n = HELD_FLOATS / (s->of->size * (1 + s->of->levels)) / each * each;
    if (r || vn_saver_keeps(s->saver)) n = 0; /* the others do not know how the first saves */
    if (n < each) n = each;
    return n < d->count ? n : d->count;
}

static vn_status draw_band(stream *s, size_t band, vn_draw_progress *progress, vn_err *err) {
    vn_drawing d;
    vn_drawn_rows rows = {0};
    int64_t held = 0;
    vn_status status = vn_drawing_open(&d, s->m, &s->bands[band], false, err);
    if (!status) held = choose_held(&d, s);
    if (held * s->of->size > HELD_FLOATS && d.selects)
        vn_log(&s->m->vn->watch, VN_LOG_INFO,
               "%s selects among samples: all %lld are held, %.4g MB", d.o.guide, (long long)held,
               1e-6 * (double)sizeof(float) * (double)held * (double)s->of->size);
    if (!status) status = rows_open(&rows, held, s->of, err);
    status = vn_ranks_settle(s->m->vn->ranks, status, err);
    const int64_t first = s->of->bands[band].first;
    for (int64_t i = 0, n; i < d.count && !status; i += n) {
        n = d.count - i < held ? d.count - i : held;
        status = draw_rows(s, &d, i, n, &rows, progress, err);
        if (!status && writes(s)) status = vn_saver_put(s->saver, first + i, n, &rows, err);
        status = vn_ranks_settle(s->m->vn->ranks, status, err);
    }
    if (!status) status = agree_on_passes(s, &d, err);
    tell(s, band, &d);
    rows_close(&rows);
    vn_drawing_close(&d);
    return status;
}

/* All bands into one array, for a picture. */
static vn_status draw_whole(stream *s, vn_draw_progress *progress, vn_err *err) {
    vn_drawn_rows all = {0};
    const int64_t size = s->of->size, state = s->of->state_size, levels = s->of->levels;
    vn_status status = rows_open(&all, s->of->count, s->of, err);
    status = vn_ranks_settle(s->m->vn->ranks, status, err);
    for (size_t b = 0; b < s->count && !status; b++) {
        vn_drawing d;
        vn_drawn_rows rows = {0};
        const int64_t first = s->of->bands[b].first;
        status = vn_drawing_open(&d, s->m, &s->bands[b], false, err);
        if (!status) status = rows_open(&rows, levels ? d.count : 0, s->of, err);
        const vn_drawn_rows to = {all.data + first * size, all.labels + first, rows.trace,
                                  all.latents ? all.latents + first * state : NULL};
        status = vn_ranks_settle(s->m->vn->ranks, status, err);
        if (!status) status = draw_rows(s, &d, 0, d.count, &to, progress, err);
        for (int64_t level = 0; level < levels && !status; level++)
            memcpy(all.trace + (level * s->of->count + first) * state,
                   rows.trace + level * d.count * state, (size_t)(d.count * state) * sizeof(float));
        if (!status) status = agree_on_passes(s, &d, err);
        tell(s, b, &d);
        rows_close(&rows);
        vn_drawing_close(&d);
    }
    if (!status && writes(s)) status = vn_saver_put(s->saver, 0, s->of->count, &all, err);
    rows_close(&all);
    return status;
}

static vn_status draw(stream *s, vn_err *err) {
    vn_draw_progress progress = {.watch = &s->m->vn->watch, .total = s->of->count};
    vn_status status = VN_OK;
    if (vn_saver_whole(s->path)) status = draw_whole(s, &progress, err);
    for (size_t b = 0; b < s->count && !status && !vn_saver_whole(s->path); b++)
        status = draw_band(s, b, &progress, err);
    return !status && writes(s) ? vn_saver_commit(&s->saver, err) : status;
}

/* ---- the public calls ------------------------------------------------------------------------ */

vn_status vn_sample_check(vn_model *m, const vn_sample_options *bands, size_t count,
                          const char *path, vn_existing existing) {
    if (!m) return VN_BAD_ARGUMENT;
    stream s = {.m = m, .count = count, .path = path, .existing = existing};
    vn_err *err = vn_begin(m->vn);
    const vn_status status = vn_ranks_settle(m->vn->ranks, prepare(&s, bands, true, err), err);
    finish(&s);
    return status;
}

vn_status vn_sample_to(vn_model *m, const vn_sample_options *bands, size_t count, const char *path,
                       vn_existing existing, vn_written *written) {
    if (!m) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(m->vn);
    stream s = {.m = m, .count = count, .path = path, .existing = existing, .written = written};
    vn_status status = prepare(&s, bands, false, err);
    if (!status && written) status = check_sizes(written, count, "vn_written", &s.stride, err);
    if (m->vn->ranks) vn_ranks_be_patient(m->vn->ranks, true); /* samples may take long */
    status = vn_ranks_settle(m->vn->ranks, status, err);
    if (!status) status = vn_ranks_settle(m->vn->ranks, check_same(&s, err), err);
    if (!status) status = vn_ranks_settle(m->vn->ranks, draw(&s, err), err);
    if (m->vn->ranks) vn_ranks_be_patient(m->vn->ranks, false);
    const int64_t all = s.of ? s.of->count : 0, kept = finish(&s);
    if (status && kept > 0)
        vn_fail_after(err, "%lld of %lld samples are in %s", (long long)kept, (long long)all, path);
    return vn_end(m->vn, status);
}
