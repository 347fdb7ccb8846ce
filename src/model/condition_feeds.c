/* condition_feeds.c - a network's conditions as arrays of a batch: for each input port that is
 * neither the sample, the time nor how strong guidance is, the arrays of the rows' conditions, one
 * after another. Rows with different numbers of tokens cannot be in one batch; net_denoiser.c runs
 * them in groups. */
#include "model/internal.h"

#include <string.h>

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

/* The port's shape for rows of these conditions, which are alike: lengths that are free are those
 * of their arrays, and 1 where no row has any. */
static vn_shape shape_of(const vn_net_denoiser *d, const vn_port *p, const vn_condition *c,
                         int64_t n, int64_t tokens) {
    const vn_array *a = NULL;
    vn_shape shape = p->shape;
    for (int64_t i = 0; i < n && !a; i++) a = array_of(d, c[i], p->name);
    shape.dim[0] = n;
    for (int k = 1; k < shape.rank; k++) {
        if (shape.dim[k] == VN_DIM_TOKENS) shape.dim[k] = tokens ? tokens : 1;
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

/* One port's rows; *fed: whether any row has something for it. */
static vn_status feed_port(vn_net_denoiser *d, int port, const vn_condition *c, int64_t n,
                           int64_t tokens, vn_feed *out, bool *fed, vn_err *err) {
    const vn_port *p = &d->io->input[port];
    const vn_shape shape = shape_of(d, p, c, n, tokens);
    *fed = !p->optional;
    for (int64_t i = 0; i < n && !*fed; i++) *fed = array_of(d, c[i], p->name) != NULL;
    if (!*fed) return VN_OK;
    const size_t all = 4 * (size_t)vn_shape_count(&shape), row = all / (size_t)n;
    if (all > d->fed_bytes[port]) {
        vn_free(d->fed[port]);
        d->fed_bytes[port] = 0;
        if (!(d->fed[port] = vn_alloc_aligned(all, 1))) return vn_no_memory(err);
        d->fed_bytes[port] = all;
    }
    for (int64_t i = 0; i < n; i++) {
        const vn_array *a = array_of(d, c[i], p->name);
        char *to = (char *)d->fed[port] + (size_t)i * row;
        if (!a && !p->optional) return no_array(d, c[i], p, err);
        if (a)
            memcpy(to, a->data, row);
        else
            fill_missing(p, to, row);
    }
    *out = (vn_feed){.array = {p->name, p->dtype == VN_I32 ? VN_I32 : VN_F32, shape, d->fed[port]}};
    return VN_OK;
}

vn_status vn_condition_feeds(vn_net_denoiser *d, const vn_condition *c, int64_t n, vn_feed *out,
                             int *count, vn_err *err) {
    const int64_t tokens = vn_condition_tokens(d, c[0]);
    vn_status status = VN_OK;
    *count = 0;
    for (int i = 0; i < d->io->inputs && !status; i++) {
        bool fed = false;
        if (!is_fed(&d->io->input[i])) continue;
        status = feed_port(d, i, c, n, tokens, &out[*count], &fed, err);
        *count += fed;
    }
    return status;
}
