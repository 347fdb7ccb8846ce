/* trainer.c - the life of a run: its first checkpoint; arrays, graphs and log opened from one;
 * saved; closed. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* ---- checkpoints ----------------------------------------------------------------------------- */

static float *zeros(size_t count) {
    float *x = vn_alloc_aligned(count, sizeof(float));
    for (size_t i = 0; x && i < count; i++) x[i] = 0;
    return x;
}

static vn_status open_host(vn_checkpoint_part *p, bool snapshots, vn_err *err) {
    float **const arrays[] = {&p->live, &p->average, &p->moment1, &p->narrow};
    for (size_t i = 0; i < VN_COUNT(arrays) - !snapshots; i++)
        if (!(*arrays[i] = zeros(vn_weights_floats(p->weights)))) return vn_no_memory(err);
    p->moment2 = zeros(vn_weights_floats(vn_checkpoint_second(p)));
    return p->moment2 ? VN_OK : vn_no_memory(err);
}

static void close_host(vn_checkpoint_part *p) {
    vn_free(p->live);
    vn_free(p->average);
    vn_free(p->narrow);
    vn_free(p->moment1);
    vn_free(p->moment2);
}

/* The parts that are trained, as a checkpoint has them, without arrays and lists of their own. */
static vn_checkpoint checkpoint_of(int parts, const vn_train_part *part) {
    vn_checkpoint c = {0};
    for (int i = 0; i < parts; i++)
        if (!part[i].frozen)
            c.part[c.parts++] =
                (vn_checkpoint_part){.folder = vn_part_folder(&part[i], i),
                                     .config = vn_net_config(part[i].net),
                                     .weights = vn_net_weights(part[i].net),
                                     .optimizer = vn_optimizer_of(&part[i]).row->name};
    return c;
}

static size_t second_floats(const vn_checkpoint_part *p) {
    return vn_weights_floats(vn_checkpoint_second(p));
}

static vn_status take_floats(const vn_trainer *t, size_t floats, float **out, vn_err *err) {
    void *memory = NULL;
    const vn_status status = vn_device_zeros(t->s->device, floats * sizeof(float), &memory, err);
    *out = memory;
    return status;
}

/* What the host sees of a part's arrays: themselves, or copies; of arrays that are dealt to ranks
 * the place where they come together. */
static vn_status open_seen(const vn_trainer *t, vn_part_state *p, vn_err *err) {
    const bool host = t->s->device->row->host_memory, shared = vn_trainer_is_shared(t);
    vn_checkpoint_part *at = p->saved_as;
    float *place = t->shared ? t->shared + p->base : t->grads + p->base;
    if (!host && !shared) {
        const vn_status status = open_host(at, p->narrow != NULL, err);
        if (status || p->average) return status;
        vn_free(at->average);
        at->average = NULL;
        return VN_OK;
    }
    at->live = host ? p->live : place;
    at->average = p->average && !(host && p->average_whole) && shared ? place : p->average;
    at->narrow = p->narrow && shared ? place : p->narrow;
    at->moment1 = shared ? place : p->moment1;
    at->moment2 = shared ? place : p->moment2;
    return VN_OK;
}

/* The device's arrays of a part that is trained. */
static vn_status open_part(vn_trainer *t, int i, vn_err *err) {
    const vn_train_setup *s = t->s;
    vn_part_state *p = &t->part[i];
    const int averages = vn_part_averages(s, i);
    vn_status status = vn_optimizer_second(&s->part[i], &p->second, err);
    if (!status) status = vn_shard_of_part(&p->shard, s, i, err);
    if (status) return status;
    p->saved_as->second = p->second;
    p->average_whole = vn_averages_are_whole(s);
    status = take_floats(t, p->floats, &p->live, err);
    if (!status) status = take_floats(t, p->shard.floats, &p->moment1, err);
    if (!status) status = take_floats(t, p->shard.second_floats, &p->moment2, err);
    if (!status && averages > 0)
        status = take_floats(t, p->average_whole ? p->floats : p->shard.floats, &p->average, err);
    if (!status && averages > 1) status = take_floats(t, p->shard.floats, &p->narrow, err);
    return status;
}

/* What programs see of them, once there are gradients too. */
static vn_status open_values(vn_trainer *t, int i, vn_err *err) {
    const vn_device *d = t->s->device;
    vn_part_state *p = &t->part[i];
    const vn_weights *w = p->saved_as->weights;
    const bool whole = p->average_whole || !vn_trainer_is_shared(t);
    vn_status status = vn_values_over(w, d, p->live, &p->own_values, err);
    if (!status && p->average)
        status =
            vn_values_over(w, d, whole ? p->average : t->grads + p->base, &p->average_values, err);
    return status ? status : open_seen(t, p, err);
}

/* They change the step's gradients, which are the first of the sums. */
static vn_status open_optimizers(vn_trainer *t, vn_err *err) {
    const vn_train_setup *s = t->s;
    vn_status status = vn_optimizers_measure(s, &t->optimizer_bytes, err);
    for (int i = 0; i < s->parts && !status; i++) {
        vn_part_state *p = &t->part[i];
        p->choice = vn_optimizer_of(&s->part[i]);
        const vn_optimizer_row *row = (const vn_optimizer_row *)p->choice.row;
        if (!s->part[i].frozen && row->open)
            status = row->open(&p->choice, s->device, vn_net_weights(s->part[i].net), &p->shard,
                               t->grads + p->base, &p->optimizer, err);
    }
    return status;
}

/* The values of a frozen part: those that it shares, those of its file, or random ones. */
static vn_status open_frozen(vn_trainer *t, int i, vn_err *err) {
    const vn_train_part *p = &t->s->part[i];
    vn_weights *w = vn_net_weights(p->net);
    vn_values **values = &t->part[i].own_values;
    if (p->values) {
        *values = vn_values_share(p->values);
        return VN_OK;
    }
    if (p->weights)
        return vn_store_open_values(p->weights, w, t->s->device, t->s->watch, values, err);
    const vn_status status = vn_values_open(w, t->s->device, NULL, values, err);
    return status ? status : vn_values_init(*values, p->seed, err);
}

/* What a step's norms and losses are added from, a row of each rank. */
static vn_status open_totals(vn_trainer *t, vn_err *err) {
    const size_t ranks = t->s->ranks ? (size_t)t->s->ranks->count : 1;
    t->totals_width = VN_OBJECTIVE_LOSSES;
    for (int i = 0; i < t->s->parts; i++) t->totals_width += (size_t)t->part[i].shard.blocks;
    t->totals = vn_calloc(ranks * t->totals_width, sizeof *t->totals);
    t->squares = vn_calloc(t->totals_width, sizeof *t->squares);
    return t->totals && t->squares ? VN_OK : vn_no_memory(err);
}

static vn_status open_arrays(vn_trainer *t, vn_err *err) {
    const vn_train_setup *s = t->s;
    const vn_device *d = s->device;
    vn_status status = VN_OK;
    for (int i = 0; i < s->parts && !status; i++)
        status = s->part[i].frozen ? open_frozen(t, i, err) : open_part(t, i, err);
    if (status) return status;
    status = take_floats(t, (size_t)t->sums * t->floats, &t->grads, err);
    if (!status) status = open_optimizers(t, err);
    if (status) return status;
    if (!d->row->host_memory && vn_trainer_is_shared(t) && !(t->shared = zeros(t->floats)))
        return vn_no_memory(err);
    for (int i = 0; i < s->parts && !status; i++)
        if (!s->part[i].frozen) status = open_values(t, i, err);
    if (!status) status = open_totals(t, err);
    if (status) return status;
    for (int i = 0; i < s->parts; i++) {
        const vn_part_state *p = &t->part[i];
        t->training[VN_OWN_SET(i)] = p->own_values;
        t->training[VN_AVERAGE_SET(i)] = p->average_values;
        t->shown[VN_OWN_SET(i)] = p->average_values ? p->average_values : p->own_values;
        t->shown[VN_AVERAGE_SET(i)] = p->average_values;
    }
    return VN_OK;
}

static void close_arrays(vn_trainer *t) {
    const vn_device *d = t->s->device;
    for (int i = 0; i < VN_TRAIN_PARTS; i++) {
        vn_part_state *p = &t->part[i];
        float *const arrays[] = {p->live, p->average, p->narrow, p->moment1, p->moment2};
        const vn_optimizer_row *row = (const vn_optimizer_row *)p->choice.row;
        if (row && row->close) row->close(p->optimizer);
        vn_shard_close(&p->shard);
        vn_weights_close(&p->second);
        vn_values_close(&p->own_values);
        vn_values_close(&p->average_values);
        for (size_t k = 0; k < VN_COUNT(arrays); k++) vn_device_give(d, arrays[k]);
    }
    vn_device_give(d, t->grads);
    for (int i = 0; i < t->at.parts && !d->row->host_memory && !vn_trainer_is_shared(t); i++)
        close_host(&t->at.part[i]);
    vn_free(t->shared);
    vn_free(t->totals);
    vn_free(t->squares);
}

/* Between the device's arrays and what the host sees of them. Those that are dealt to ranks come
 * one by one (gather.c). */
static void exchange(vn_trainer *t, bool to_device) {
    const vn_device *d = t->s->device;
    for (int i = 0; i < VN_TRAIN_PARTS && !vn_trainer_is_shared(t); i++) {
        const vn_part_state *p = &t->part[i];
        const vn_checkpoint_part *at = p->saved_as;
        if (!at) continue;
        float *const there[] = {p->live, p->average, p->moment1, p->moment2, p->narrow};
        float *const here[] = {at->live, at->average, at->moment1, at->moment2, at->narrow};
        for (size_t k = 0; k < VN_COUNT(there); k++) {
            const size_t floats = k == 3 ? second_floats(at) : p->floats;
            if (here[k] == there[k])
                continue;
            else if (to_device)
                d->row->write(d->self, there[k], here[k], floats * sizeof(float));
            else
                d->row->read(d->self, here[k], there[k], floats * sizeof(float));
        }
    }
}

static vn_status write(vn_checkpoint *c, const char *run, double seconds, double smooth,
                       vn_err *err) {
    c->info = json_pack("{s:f}", "seconds", seconds);
    if (!c->info) return vn_no_memory(err);
    vn_status status = VN_OK;
    if (isfinite(smooth) && json_object_set_new(c->info, "loss_mean", json_real(smooth)) != 0)
        status = vn_no_memory(err);
    if (!status) status = vn_store_save_checkpoint(run, c, err);
    json_decref(c->info);
    c->info = NULL;
    return status;
}

/* The weights of the file of another network, by their names. */
static vn_status load_from(const vn_train_part *part, const vn_weights *w, float *live,
                           vn_err *err) {
    const vn_weights *from = vn_net_weights(part->weights_of);
    float *values = zeros(vn_weights_floats(from));
    if (!values) return vn_no_memory(err);
    vn_status status = vn_store_load_weights(part->weights, from, values, NULL, err);
    for (size_t i = 0; i < vn_weights_count(from) && !status; i++) {
        const vn_weight *a = vn_weights_at(from, i), *b = vn_weights_find(w, a->name);
        if (b && vn_shape_equal(&a->shape, &b->shape))
            memcpy(live + b->offset, values + a->offset, a->count * sizeof *live);
        else
            status = vn_fail(err, VN_BAD_FILE, "%s: %s is no weight of the network that is begun",
                             part->weights, a->name);
    }
    vn_free(values);
    return status ? status : vn_net_refit_time(part->weights_of, part->net, live, err);
}

/* What a part begins with. */
static vn_status begin(vn_checkpoint_part *c, const vn_train_part *part, bool snapshots,
                       uint64_t seed, vn_err *err) {
    vn_status status = open_host(c, snapshots, err);
    if (!status && part->weights_of) {
        vn_weights_init(c->weights, c->live, seed);
        status = load_from(part, c->weights, c->live, err);
    } else if (!status && part->weights)
        status = vn_store_load_weights(part->weights, c->weights, c->live, NULL, err);
    else if (!status)
        vn_weights_init(c->weights, c->live, seed);
    if (status) return status;
    memcpy(c->average, c->live, vn_weights_floats(c->weights) * sizeof(float));
    if (c->narrow) memcpy(c->narrow, c->live, vn_weights_floats(c->weights) * sizeof(float));
    return VN_OK;
}

vn_status vn_train_create(const char *run, int parts, const vn_train_part *part, bool snapshots,
                          uint64_t seed, vn_err *err) {
    vn_checkpoint c = checkpoint_of(parts, part), shown;
    vn_status status = VN_OK;
    vn_weights *second[VN_TRAIN_PARTS] = {NULL};
    for (int i = 0, k = 0; i < parts && !status; i++) {
        if (part[i].frozen) continue;
        status = vn_optimizer_second(&part[i], &second[k], err);
        c.part[k].second = second[k];
        if (!status)
            status = begin(&c.part[k++], &part[i], snapshots && !part[i].no_average,
                           seed + (uint64_t)i, err);
    }
    shown = c;
    for (int i = 0, k = 0; i < parts; i++)
        if (!part[i].frozen && part[i].no_average)
            shown.part[k++].average = NULL;
        else if (!part[i].frozen)
            k++;
    if (!status) status = write(&shown, run, 0, (double)NAN, err);
    for (int i = 0; i < c.parts; i++) {
        close_host(&c.part[i]);
        vn_weights_close(&second[i]);
    }
    return status;
}

void vn_trainer_read(vn_trainer *t) {
    exchange(t, false);
}

vn_status vn_trainer_save(vn_trainer *t, vn_err *err) {
    bool finite = false;
    exchange(t, false);
    const vn_status status = vn_trainer_check_finite(t, &finite, err);
    if (status) return status;
    if (!finite)
        return vn_fail(err, VN_NOT_FINITE,
                       "training diverged: the weights of step %lld are not finite (a smaller "
                       "learning rate than %g may help)",
                       (long long)t->at.step, t->s->lr);
    return write(&t->at, t->s->run, vn_trainer_seconds(t), t->smooth, err);
}

static vn_status load(vn_trainer *t, vn_err *err) {
    const vn_status status = vn_store_load_checkpoint(t->s->run, &t->at, err);
    if (status) return status;
    exchange(t, true);
    const json_t *smooth = json_object_get(t->at.info, "loss_mean");
    t->before = json_number_value(json_object_get(t->at.info, "seconds"));
    if (smooth) t->smooth = json_number_value(smooth);
    json_decref(t->at.info);
    t->at.info = NULL;
    return VN_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t vn_held_batch(const vn_train_setup *s) {
    return min_i64(min_i64(s->batch, vn_data_get_info(s->data)->held), 64);
}

bool vn_trainer_leads(const vn_trainer *t) {
    return !t->s->ranks || t->s->ranks->rank == 0;
}

/* An objective that holds samples against each other has to have some. */
static vn_status check_company(const vn_train_setup *s, vn_err *err) {
    if (s->batch < 2 && vn_objective_contrasts(s->objective))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "contrast has no effect with one sample in a step: `batch` has to be 2 at "
                       "least");
    if (s->batch < 2 * vn_microbatches(s) && vn_objective_compares(s->objective))
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "dispersive has no effect with one sample in a microbatch: %lld in a step of "
            "%lld microbatches",
            (long long)s->batch, (long long)vn_microbatches(s));
    return VN_OK;
}

/* What is checked before anything is opened, after which graphs may be built. */
static vn_status prepare(const vn_train_setup *s, vn_err *err) {
    vn_status status = vn_microbatches_check(s, err);
    if (!status) status = check_company(s, err);
    if (!status) status = vn_parts_check(s, err);
    return status ? status : vn_parts_read_types(s, err);
}

vn_status vn_train_measure(const vn_train_setup *s, double *bytes, vn_err *err) {
    const int64_t held = vn_held_batch(s);
    size_t step = 0;
    double flops;
    vn_status status = prepare(s, err);
    double shards = 0;
    *bytes = 0;
    if (status) return status;
    status = vn_optimizers_measure(s, &step, err);
    if (!status) status = vn_shards_measure(s, &shards, err);
    *bytes = (double)step + shards + vn_parts_bytes(s, vn_workers_sums(s)) +
             (double)vn_data_get_info(s->data)->memory + (double)vn_whole_bytes(s);
    step = 0;
    for (int i = 0; i < vn_objective_losses(s->objective) && !status; i++) {
        status = vn_scorer_measure(s, i, vn_micro_batch(s), true, s->recompute, &step, &flops, err);
        *bytes += vn_train_workers(s) * (double)step;
    }
    if (!status && held > 0) {
        status = vn_scorer_measure(s, 0, held, false, s->recompute, &step, &flops, err);
        *bytes += (double)step;
    }
    return status;
}

static vn_status open_scorers(vn_trainer *t, vn_err *err) {
    const vn_train_setup *s = t->s;
    const int64_t held = vn_held_batch(s);
    vn_status status = vn_workers_open(t, err);
    if (!status) status = vn_overlap_open(t, &t->overlap, err);
    const vn_held_measure *measure = vn_objective_measure(s->objective);
    if (status || held == 0) return status;
    if (measure && !(t->held_state = vn_calloc(1, measure->bytes))) return vn_no_memory(err);
    return vn_scorer_open(&t->held, s, 0, held, false, err);
}

static void place_parts(vn_trainer *t) {
    const vn_train_setup *s = t->s;
    t->at = checkpoint_of(s->parts, s->part);
    for (int i = 0, k = 0; i < s->parts; i++) {
        if (s->part[i].frozen) continue;
        t->part[i] = (vn_part_state){.floats = vn_weights_floats(vn_net_weights(s->part[i].net)),
                                     .base = t->floats,
                                     .loss = vn_part_loss_of(s, i),
                                     .saved_as = &t->at.part[k++]};
        t->floats += t->part[i].floats;
    }
}

vn_status vn_trainer_open(vn_trainer *t, const vn_train_setup *s, vn_err *err) {
    *t = (vn_trainer){.s = s, .smooth = (double)NAN, .held_loss = (double)NAN, .log.fd = -1};
    for (int i = 0; i < VN_OBJECTIVE_LOSSES; i++) t->more[i] = (double)NAN;
    t->started = t->saved = t->previewed = vn_now();
    vn_status status = prepare(s, err);
    if (status) return status;
    t->losses = vn_objective_losses(s->objective);
    t->sums = vn_workers_sums(s);
    place_parts(t);
    t->pieces = (vn_state_pieces){.self = t,
                                  .bring = vn_trainer_bring,
                                  .keep = vn_trainer_keep,
                                  .repairs = vn_trainer_leads(t)};
    if (vn_trainer_is_shared(t)) t->at.pieces = &t->pieces;
    status = open_arrays(t, err);
    if (!status) status = open_scorers(t, err);
    if (!status && vn_whole_is_needed(s)) status = vn_whole_open(&t->whole, s, err);
    if (!status) status = vn_tender_open(&t->tender, s, err);
    if (!status) status = load(t, err);
    if (!status && vn_trainer_leads(t)) status = vn_train_log_open(t, err);
    t->first = t->saved_step = t->at.step;
    t->clock = t->before;
    t->started = t->saved = t->previewed = vn_now();
    return status;
}

void vn_trainer_close_scorers(vn_trainer *t) {
    vn_overlap_close(&t->overlap);
    vn_workers_close(t);
    vn_scorer_close(&t->held);
}

void vn_trainer_close(vn_trainer *t) {
    vn_trainer_close_scorers(t);
    vn_whole_close(&t->whole);
    vn_free(t->held_state);
    vn_tender_close(&t->tender);
    close_arrays(t);
    vn_train_log_close(t);
    *t = (vn_trainer){0};
}
