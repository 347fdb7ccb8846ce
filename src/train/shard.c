/* shard.c - how a part's arrays are dealt to ranks (ZeRO, Rajbhandari et al., arXiv 1910.02054,
 * stage 1): each rank has the moments and the average of a share of the weights alone, and makes
 * their update.
 *
 * An array is cut into blocks, the same for any number of ranks, and a rank has whole ones, so that
 * the gradient's norm is added block by block in one order. Where an optimiser takes whole matrices
 * each of them is a block, and what lies between is cut: the largest block goes to the rank that
 * has least so far. AdamW's array is cut into BLOCKS equal ones wherever that is, and the ranks
 * have equal runs of them. */
#include "train/internal.h"

#include <string.h>

enum { BLOCKS = 64 };

typedef struct block {
    size_t at, n, second; /* VN_NO_SECOND of a matrix */
    int64_t matrix;       /* the weight that is one, -1 */
    int rank;
} block;

typedef struct blocks {
    block *one; /* [n] in the order of their places */
    int n;
    size_t *load; /* [ranks] floats of moments and averages that it has so far */
} blocks;

static size_t aligned(size_t floats) {
    return (floats + 15) / 16 * 16;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void add(blocks *b, size_t at, size_t n, size_t second, int64_t matrix) {
    if (n > 0) b->one[b->n++] = (block){.at = at, .n = n, .second = second, .matrix = matrix};
}

/* A run that may be cut anywhere, into blocks of at most so many floats. */
static void add_run(blocks *b, size_t at, size_t end, size_t second, size_t most) {
    for (; at < end; at += most, second += most)
        add(b, at, end - at < most ? end - at : most, second, -1);
}

static bool is_single(const vn_dealing *d, const vn_weight *w) {
    return (d->takes && d->takes(w)) || (d->whole && !strcmp(d->whole, w->name));
}

static bool has_single(const vn_dealing *d) {
    for (size_t i = 0; i < vn_weights_count(d->weights); i++)
        if (is_single(d, vn_weights_at(d->weights, i))) return true;
    return false;
}

/* Blocks of which some are weights as a whole. */
static void cut_at_weights(const vn_dealing *d, blocks *b) {
    const size_t count = vn_weights_count(d->weights), floats = vn_weights_floats(d->weights),
                 most = aligned((floats + BLOCKS - 1) / BLOCKS);
    size_t run = 0, second = 0; /* where the run of other weights begins, and in moment2 */
    for (size_t i = 0; i < count; i++) {
        const vn_weight *w = vn_weights_at(d->weights, i);
        const size_t end = i + 1 < count ? vn_weights_at(d->weights, i + 1)->offset : floats;
        if (!is_single(d, w)) continue;
        const bool matrix = d->takes && d->takes(w);
        add_run(b, run, w->offset, second, most);
        second += w->offset - run;
        add(b, w->offset, end - w->offset, matrix ? VN_NO_SECOND : second,
            matrix ? (int64_t)i : -1);
        if (!matrix) second += end - w->offset;
        run = end;
    }
    add_run(b, run, floats, second, most);
}

static void cut_equally(const vn_dealing *d, blocks *b) {
    const size_t floats = vn_weights_floats(d->weights);
    for (size_t i = 0; i < BLOCKS; i++) {
        const size_t at = floats * i / BLOCKS;
        add(b, at, floats * (i + 1) / BLOCKS - at, at, -1);
        if (b->n > 0) b->one[b->n - 1].rank = (int)(i * (size_t)d->ranks / BLOCKS);
    }
}

/* Floats that a rank keeps of it. */
static size_t load_of(const vn_dealing *d, const block *one) {
    return one->n * (size_t)((one->second == VN_NO_SECOND ? 1 : 2) + d->averages);
}

static void deal(const vn_dealing *d, blocks *b) {
    for (int i = 0; i < b->n; i++) b->one[i].rank = -1;
    for (int dealt = 0; dealt < b->n; dealt++) {
        int largest = -1, least = 0;
        for (int i = 0; i < b->n; i++)
            if (b->one[i].rank < 0 &&
                (largest < 0 || load_of(d, &b->one[i]) > load_of(d, &b->one[largest])))
                largest = i;
        for (int k = 1; k < d->ranks; k++)
            if (b->load[k] < b->load[least]) least = k;
        b->one[largest].rank = least;
        b->load[least] += load_of(d, &b->one[largest]);
    }
}

/* ---- runs ------------------------------------------------------------------------------------ */

static bool joins(const vn_shard_run *run, const block *one) {
    return run->rank == one->rank && run->at + run->n == one->at && run->matrix < 0 &&
           one->matrix < 0;
}

/* Blocks of one rank that lie together. used, used_second [ranks]: zeros. */
static void join(vn_shard *s, const blocks *b, int rank, size_t *used, size_t *used_second) {
    vn_shard_run *last = NULL;
    for (int i = 0; i < b->n; i++) {
        const block *one = &b->one[i];
        if (last && joins(last, one)) {
            last->n += one->n;
            continue;
        }
        if (last) used[last->rank] = last->own + aligned(last->n);
        if (last && last->second != VN_NO_SECOND)
            used_second[last->rank] = last->second_own + aligned(last->n);
        last = &s->run[s->runs++];
        *last = (vn_shard_run){.at = one->at,
                               .n = one->n,
                               .rank = one->rank,
                               .own = used[one->rank],
                               .second = one->second,
                               .second_own = used_second[one->rank],
                               .matrix = one->matrix};
    }
    if (last) used[last->rank] = last->own + aligned(last->n);
    if (last && last->second != VN_NO_SECOND)
        used_second[last->rank] = last->second_own + aligned(last->n);
    s->floats = used[rank];
    s->second_floats = used_second[rank];
}

/* What the ranks send each other of arrays, and the blocks that this one adds up. */
static void list(vn_shard *s, const blocks *b, int rank) {
    for (int i = 0; i < s->runs; i++) {
        const vn_shard_run *run = &s->run[i];
        s->owned[i] = (vn_owned){run->at, run->n, run->rank};
        if (run->second != VN_NO_SECOND)
            s->second[s->seconds++] = (vn_owned){run->second, run->n, run->rank};
    }
    s->blocks = b->n;
    for (int i = 0; i < b->n; i++) {
        if (b->one[i].rank != rank) continue;
        s->block_number[s->own_blocks] = i;
        s->own_block[s->own_blocks++] = (vn_span){b->one[i].at, b->one[i].n};
    }
}

static void weigh(vn_shard *s, const vn_dealing *d, const size_t *used, const size_t *used_second) {
    for (int i = 0; i < d->ranks; i++) {
        const size_t floats = used[i] * (size_t)(1 + d->averages) + used_second[i];
        if (floats > s->most) s->most = floats;
    }
}

static vn_status fill(vn_shard *s, const vn_dealing *d, blocks *b, vn_err *err) {
    const size_t n = (size_t)b->n + 1, ranks = (size_t)d->ranks;
    size_t *used = vn_calloc(2 * ranks, sizeof *used);
    s->run = vn_calloc(n, sizeof *s->run);
    s->owned = vn_calloc(n, sizeof *s->owned);
    s->second = vn_calloc(n, sizeof *s->second);
    s->own_block = vn_calloc(n, sizeof *s->own_block);
    s->block_number = vn_calloc(n, sizeof *s->block_number);
    const bool ok = used && s->run && s->owned && s->second && s->own_block && s->block_number;
    if (ok) {
        join(s, b, d->rank, used, used + ranks);
        list(s, b, d->rank);
        weigh(s, d, used, used + ranks);
    }
    vn_free(used);
    return ok ? VN_OK : vn_no_memory(err);
}

vn_status vn_shard_open(vn_shard *s, const vn_dealing *d, vn_err *err) {
    blocks b = {
        .one = vn_calloc(2 * vn_weights_count(d->weights) + 2 * BLOCKS, sizeof *b.one),
        .load = vn_calloc((size_t)d->ranks, sizeof *b.load),
    };
    vn_status status = b.one && b.load ? VN_OK : vn_no_memory(err);
    *s = (vn_shard){.rank = d->rank};
    if (!status && has_single(d)) {
        cut_at_weights(d, &b);
        deal(d, &b);
    } else if (!status) {
        cut_equally(d, &b);
    }
    if (!status) status = fill(s, d, &b, err);
    vn_free(b.one);
    vn_free(b.load);
    if (status) vn_shard_close(s);
    return status;
}

void vn_shard_close(vn_shard *s) {
    vn_free(s->run);
    vn_free(s->owned);
    vn_free(s->second);
    vn_free(s->own_block);
    vn_free(s->block_number);
    *s = (vn_shard){0};
}

/* ---- a part of a training -------------------------------------------------------------------- */

int vn_part_averages(const vn_train_setup *s, int part) {
    const bool averages = !s->part[part].no_average;
    return averages + (averages && s->snapshots);
}

bool vn_averages_are_whole(const vn_train_setup *s) {
    return vn_objective_calls_averages(s->objective);
}

/* Of them those that are dealt. */
static int dealt_averages(const vn_train_setup *s, int part) {
    const int averages = vn_part_averages(s, part);
    return averages - (averages > 0 && vn_averages_are_whole(s));
}

vn_status vn_shard_of_part(vn_shard *out, const vn_train_setup *s, int part, vn_err *err) {
    const vn_tending *tending = part == 0 ? vn_objective_tending(s->objective) : NULL;
    const vn_dealing d = {.weights = vn_net_weights(s->part[part].net),
                          .takes = vn_optimizer_row_of(&s->part[part])->takes,
                          .whole = tending ? tending->weight : NULL,
                          .averages = dealt_averages(s, part),
                          .rank = s->ranks ? s->ranks->rank : 0,
                          .ranks = s->ranks ? s->ranks->count : 1};
    return vn_shard_open(out, &d, err);
}

double vn_shard_bytes(const vn_shard *shard, const vn_train_setup *s, int part, bool most) {
    const int dealt = dealt_averages(s, part);
    const size_t own = shard->floats * (size_t)(1 + dealt) + shard->second_floats,
                 whole = vn_part_averages(s, part) > dealt
                             ? vn_weights_floats(vn_net_weights(s->part[part].net))
                             : 0;
    return sizeof(float) * (double)((most ? shard->most : own) + whole);
}

vn_status vn_shards_measure(const vn_train_setup *s, double *bytes, vn_err *err) {
    vn_status status = VN_OK;
    *bytes = 0;
    for (int i = 0; i < s->parts && !status; i++) {
        vn_shard shard = {0};
        if (s->part[i].frozen) continue;
        status = vn_shard_of_part(&shard, s, i, err);
        if (!status) *bytes += vn_shard_bytes(&shard, s, i, false);
        vn_shard_close(&shard);
    }
    return status;
}

vn_status vn_optimizers_measure(const vn_train_setup *s, size_t *bytes, vn_err *err) {
    vn_status status = VN_OK;
    *bytes = 0;
    for (int i = 0; i < s->parts && !status; i++) {
        size_t one = 0;
        const vn_train_part *part = &s->part[i];
        if (part->frozen || !vn_optimizer_row_of(part)->measure) continue;
        const vn_choice choice = vn_optimizer_of(part);
        vn_shard shard = {0};
        status = vn_shard_of_part(&shard, s, i, err);
        if (!status)
            status = vn_optimizer_row_of(part)->measure(
                &choice, s->device, vn_net_weights(part->net), &shard, &one, err);
        vn_shard_close(&shard);
        *bytes += one;
    }
    return status;
}
