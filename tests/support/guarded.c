/* guarded.c - see guarded.h. Each array is a mapping of its own, without access; a function of the
 * row opens them all for as long as it runs. */
#include "support/guarded.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_ARRAYS = 256 };

typedef struct guarded {
    struct {
        void *at;
        size_t bytes;
    } array[MAX_ARRAYS];
    int arrays;
    bool broken;
} guarded;

static const vn_device_row *inner;

static void protect(guarded *g, int protection) {
    for (int i = 0; i < g->arrays; i++)
        if (mprotect(g->array[i].at, g->array[i].bytes, protection) != 0) abort();
}

static vn_status open_device(const char *which, void **self, vn_err *err) {
    (void)which;
    *self = vn_calloc(1, sizeof(guarded));
    return *self ? VN_OK : vn_no_memory(err);
}

static void close_device(void *self) {
    vn_free(self);
}

static vn_status take(void *self, size_t bytes, void **at, vn_err *err) {
    guarded *g = self;
    bytes = (bytes / 4096 + 1) * 4096;
    void *new = g->arrays < MAX_ARRAYS
                    ? mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                    : MAP_FAILED;
    if (new == MAP_FAILED) return vn_no_memory(err);
    g->array[g->arrays].at = *at = new;
    g->array[g->arrays++].bytes = bytes;
    return VN_OK;
}

static void give(void *self, void *at) {
    guarded *g = self;
    for (int i = 0; i < g->arrays; i++)
        if (g->array[i].at == at) {
            munmap(at, g->array[i].bytes);
            g->array[i] = g->array[--g->arrays];
            return;
        }
}

static void copy(void *self, void *to, const void *from, size_t bytes) {
    protect(self, PROT_READ | PROT_WRITE);
    memcpy(to, from, bytes);
    protect(self, PROT_NONE);
}

static void clear(void *self, void *at, size_t bytes) {
    protect(self, PROT_READ | PROT_WRITE);
    memset(at, 0, bytes);
    protect(self, PROT_NONE);
}

static vn_status wait(void *self, vn_err *err) {
    guarded *g = self;
    if (!g->broken) return VN_OK;
    g->broken = false;
    return vn_fail(err, VN_IO, "the device broke");
}

static void run(const vn_kernel_args *a) {
    protect(a->self, PROT_READ | PROT_WRITE);
    inner->kernel[a->node->op](a);
    protect(a->self, PROT_NONE);
}

static void adamw(const vn_device *d, const vn_adamw *o, size_t n, float *value, const float *grad,
                  float *m, float *v, float *ema) {
    protect(d->self, PROT_READ | PROT_WRITE);
    inner->adamw(d, o, n, value, grad, m, v, ema);
    protect(d->self, PROT_NONE);
}

static void momentum(const vn_device *d, const vn_momentum *o, size_t n, float *grad, float *m) {
    protect(d->self, PROT_READ | PROT_WRITE);
    inner->momentum(d, o, n, grad, m);
    protect(d->self, PROT_NONE);
}

static void descend(const vn_device *d, const vn_descent *o, size_t n, float *value,
                    const float *direction, float *ema) {
    protect(d->self, PROT_READ | PROT_WRITE);
    inner->descend(d, o, n, value, direction, ema);
    protect(d->self, PROT_NONE);
}

static void sum_squares(const vn_device *d, int n, const vn_span *span, const float *x,
                        double *sum) {
    protect(d->self, PROT_READ | PROT_WRITE);
    inner->sum_squares(d, n, span, x, sum);
    protect(d->self, PROT_NONE);
}

static void accumulate(const vn_device *d, size_t n, float *x, const float *y) {
    protect(d->self, PROT_READ | PROT_WRITE);
    inner->accumulate(d, n, x, y);
    protect(d->self, PROT_NONE);
}

vn_device_row guarded_row(const vn_device_row *like, int n, const vn_op *lacking) {
    vn_device_row row = *like;
    inner = like;
    row.name = "guarded";
    row.host_memory = false;
    row.open = open_device;
    row.close = close_device;
    row.take = take;
    row.give = give;
    row.write = row.read = row.copy = copy;
    row.clear = clear;
    row.wait = wait;
    row.adamw = adamw;
    row.momentum = momentum;
    row.descend = descend;
    row.sum_squares = sum_squares;
    row.accumulate = accumulate;
    for (int op = 0; op < VN_OP_COUNT; op++)
        if (row.kernel[op]) row.kernel[op] = run;
    for (int i = 0; i < n; i++) row.kernel[lacking[i]] = NULL;
    return row;
}

int guarded_arrays(const vn_device *d) {
    return ((const guarded *)d->self)->arrays;
}

void guarded_break(const vn_device *d) {
    ((guarded *)d->self)->broken = true;
}
