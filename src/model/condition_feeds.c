/* condition_feeds.c - a network's conditions as arrays of a batch: for each input port that is
 * neither the sample, the time nor how strong guidance is, the arrays of the rows' conditions, one
 * after another. Rows with different numbers of tokens cannot be in one batch; net_denoiser.c runs
 * them in groups. Behind a row's text lies the one that it is led away from, where it is (nag). */
#include "model/internal.h"

#include <string.h>

bool vn_is_class_table(const vn_port *p) {
    return p->below > 0 && p->shape.rank == 1 && !strcmp(p->name, "class_labels");
}

bool vn_is_condition(const vn_port *p) {
    static const char *const others[] = {"sample", "timestep", "guidance"};
    for (size_t i = 0; i < VN_COUNT(others); i++)
        if (!strcmp(p->name, others[i])) return false;
    return p->shape.dim[0] == VN_DIM_BATCH;
}

static bool is_fed(const vn_port *p) {
    return vn_is_condition(p) && !vn_is_class_table(p);
}

static const vn_array *array_of(const vn_net_denoiser *d, vn_condition c, const char *port) {
    return d->source ? vn_model_condition_array(d->source, c, port) : NULL;
}

int64_t vn_condition_tokens(const vn_net_denoiser *d, vn_condition c) {
    for (int i = 0; i < d->io->inputs; i++) {
        const vn_port *p = &d->io->input[i];
        const vn_array *a = is_fed(p) ? array_of(d, c, p->name) : NULL;
        for (int k = 0; a && k < a->shape.rank; k++)
            if (p->shape.dim[k + 1] == VN_DIM_TOKENS) return a->shape.dim[k];
    }
    return 0;
}

void vn_condition_feeds_close(vn_net_denoiser *d) {
    for (int i = 0; i < VN_MAX_PORTS; i++) {
        vn_free(d->fed[i]);
        d->fed[i] = NULL;
        d->fed_bytes[i] = 0;
    }
    vn_free(d->noise);
    d->noise = NULL;
    d->noise_bytes = 0;
}

static vn_status no_array(const vn_net_denoiser *d, vn_condition c, const vn_port *p, vn_err *err) {
    (void)d;
    if (c == VN_CONDITION_NULL)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "the network takes %s, and no condition named \"null\" says what it is for none",
            p->name);
    return vn_fail(err, VN_BAD_ARGUMENT, "the network takes %s, and condition %d has none", p->name,
                   (int)c);
}

/* The condition whose text row i is led away from; where it stands for none, or the row is not led,
 * its own. */
static vn_condition negative_of(const vn_query *q, int64_t i) {
    const vn_condition c = q->condition[i];
    const vn_perturb *by = &q->always;
    const bool led = by->kind == VN_ATTENTION_NORMALIZED && c != VN_CONDITION_NULL && c != by->none;
    return led ? by->against : c;
}

vn_row_tokens vn_tokens_of(const vn_net_denoiser *d, const vn_query *q, int64_t i) {
    vn_row_tokens t = {.own = vn_condition_tokens(d, q->condition[i])};
    if (t.own < 1) t.own = 1; /* of zeros, where the row has none */
    if (q->always.kind == VN_ATTENTION_NORMALIZED) {
        t.negative = vn_condition_tokens(d, negative_of(q, i));
        if (t.negative < 1) t.negative = 1;
    }
    return t;
}

static bool has_tokens(const vn_port *p) {
    for (int k = 1; k < p->shape.rank; k++)
        if (p->shape.dim[k] == VN_DIM_TOKENS) return true;
    return false;
}

/* An array that some row has for the port; NULL: none has. */
static const vn_array *array_of_any(const vn_net_denoiser *d, const vn_port *p, const vn_query *q,
                                    int64_t first, int64_t n) {
    const vn_array *a = NULL;
    for (int64_t i = first; i < first + n && !a; i++) {
        a = array_of(d, q->condition[i], p->name);
        if (!a && has_tokens(p)) a = array_of(d, negative_of(q, i), p->name);
    }
    return a;
}

/* The port's shape for n rows, which are alike: lengths that are free are those of their arrays,
 * and 1 where no row has any. */
static vn_shape shape_of(const vn_port *p, const vn_array *a, int64_t n, int64_t tokens) {
    vn_shape shape = p->shape;
    shape.dim[0] = n;
    for (int k = 1; k < shape.rank; k++) {
        if (shape.dim[k] == VN_DIM_TOKENS) shape.dim[k] = tokens;
        if (shape.dim[k] < 0) shape.dim[k] = a ? a->shape.dim[k - 1] : 1;
    }
    return shape;
}

/* What stands for an array that a row has not. */
static void fill_missing(const vn_port *p, void *to, size_t bytes) {
    const float number = (float)p->missing;
    const void *one = p->dtype == VN_I32 ? (const void *)&p->missing : &number;
    for (size_t i = 0; i < bytes; i += sizeof number) memcpy((char *)to + i, one, sizeof number);
}

static vn_status write_array(const vn_net_denoiser *d, const vn_port *p, vn_condition c, char *to,
                             size_t bytes, vn_err *err) {
    const vn_array *a = array_of(d, c, p->name);
    if (!a && !p->optional) return no_array(d, c, p, err);
    if (a)
        memcpy(to, a->data, bytes);
    else
        fill_missing(p, to, bytes);
    return VN_OK;
}

static bool grow(void **memory, size_t *have, size_t bytes) {
    if (bytes <= *have) return true;
    vn_free(*memory);
    *memory = vn_alloc_aligned(bytes, 1);
    *have = *memory ? bytes : 0;
    return *memory != NULL;
}

/* Noise on what row i of the query is fed, y [n]: of its sample and the step, and of each port its
 * own. */
static vn_status add_noise(vn_net_denoiser *d, int port, const vn_query *q, int64_t i, float *y,
                           size_t n, vn_err *err) {
    const vn_anneal *a = q->anneal;
    const vn_condition c = q->condition[i];
    const double kept = vn_anneal_kept(a, q->level[i].t);
    void *memory = d->noise;
    if (c == VN_CONDITION_NULL || c == a->none || kept >= 1) return VN_OK;
    const bool ok = grow(&memory, &d->noise_bytes, n * sizeof *d->noise);
    d->noise = memory;
    if (!ok) return vn_no_memory(err);
    vn_random_normal(d->noise, n, a->seed, VN_STREAM_CONDITION,
                     q->sample ? q->sample[i] : (uint64_t)i,
                     q->step * VN_MAX_PORTS + (uint64_t)port);
    vn_anneal_array(a, kept, d->noise, n, y);
    return VN_OK;
}

/* One port's rows; *fed: whether any row has something for it. */
static vn_status feed_port(vn_net_denoiser *d, int port, const vn_query *q, int64_t first,
                           int64_t n, vn_feed *out, bool *fed, vn_err *err) {
    const vn_port *p = &d->io->input[port];
    const vn_array *any = array_of_any(d, p, q, first, n);
    const vn_row_tokens tokens = vn_tokens_of(d, q, first);
    const int64_t sum = tokens.own + tokens.negative;
    const vn_shape shape = shape_of(p, any, n, sum);
    const size_t all = 4 * (size_t)vn_shape_count(&shape), row = all / (size_t)n,
                 own = has_tokens(p) ? row / (size_t)sum * (size_t)tokens.own : row;
    const bool noisy = q->anneal && vn_is_annealed(p);
    vn_status status = VN_OK;
    *fed = !p->optional || any;
    if (!*fed) return VN_OK;
    if (!grow(&d->fed[port], &d->fed_bytes[port], all)) return vn_no_memory(err);
    for (int64_t i = 0; i < n && !status; i++) {
        char *to = (char *)d->fed[port] + (size_t)i * row;
        status = write_array(d, p, q->condition[first + i], to, own, err);
        if (!status && noisy)
            status = add_noise(d, port, q, first + i, (float *)(void *)to, own / 4, err);
        if (!status && own < row)
            status = write_array(d, p, negative_of(q, first + i), to + own, row - own, err);
    }
    *out = (vn_feed){.array = {p->name, p->dtype == VN_I32 ? VN_I32 : VN_F32, shape, d->fed[port]}};
    return status;
}

vn_status vn_condition_feeds(vn_net_denoiser *d, const vn_query *q, int64_t first, int64_t n,
                             vn_feed *out, int *count, vn_err *err) {
    vn_status status = VN_OK;
    *count = 0;
    for (int i = 0; i < d->io->inputs && !status; i++) {
        bool fed = false;
        if (!is_fed(&d->io->input[i])) continue;
        status = feed_port(d, i, q, first, n, &out[*count], &fed, err);
        *count += fed;
    }
    return status;
}
