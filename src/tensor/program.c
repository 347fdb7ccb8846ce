/* program.c - a plan with its memory on a device: run without allocating, and timed op by op when
 * asked. */
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

struct vn_program {
    vn_program_plan plan;
    vn_device device;
    vn_program_arena own, *arena; /* arrays, then work space; own unless one is given */
    void **constant;              /* [plan.constants] addresses */
    /* Where the host does not see the device's memory: */
    char *stage; /* what the host sees of inputs and outputs, one after the other */
    bool *due;   /* by input: to be sent with the next run; behind them by output: to be fetched */
    /* With options.profile: */
    double *seconds; /* of each step, over all runs; NULL without */
    int64_t runs;
};

static size_t bytes_of(const vn_node *n) {
    return (size_t)vn_shape_count(&n->shape) * vn_dtype_size(n->dtype);
}

static size_t aligned(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* Constants are the host's where the device sees that. */
static vn_status take_constants(vn_program *p, vn_err *err) {
    const vn_device *d = &p->device;
    vn_status status = VN_OK;
    p->constant = vn_calloc((size_t)p->plan.constants, sizeof(void *));
    if (!p->constant) return vn_no_memory(err);
    for (int i = 0; i < p->plan.constants && !status; i++) {
        const vn_node *n = p->plan.constant[i];
        if (d->row->host_memory) {
            p->constant[i] = (void *)n->from.data; /* only read */
            continue;
        }
        status = d->row->take(d->self, bytes_of(n), &p->constant[i], err);
        if (!status) d->row->write(d->self, p->constant[i], n->from.data, bytes_of(n));
    }
    return status;
}

static vn_status take_stage(vn_program *p, vn_err *err) {
    size_t bytes = 0;
    if (p->device.row->host_memory) return VN_OK;
    for (int i = 0; i < p->plan.inputs; i++) bytes += aligned(bytes_of(p->plan.input[i].node));
    for (int i = 0; i < p->plan.outputs; i++) bytes += aligned(bytes_of(p->plan.output[i].node));
    p->stage = vn_alloc_aligned(bytes, 1);
    p->due = vn_calloc((size_t)(p->plan.inputs + p->plan.outputs), sizeof *p->due);
    return p->stage && p->due ? VN_OK : vn_no_memory(err);
}

/* The new memory comes before the old goes, so that a failure leaves the arena's programs whole. */
static vn_status reserve(vn_program_arena *arena, const vn_device *device, size_t bytes,
                         vn_err *err) {
    if (bytes <= arena->bytes && arena->memory) return VN_OK;
    void *memory = NULL;
    const vn_status status = device->row->take(device->self, bytes, &memory, err);
    if (status) return status;
    vn_program_arena_close(arena);
    *arena = (vn_program_arena){*device, memory, bytes};
    return VN_OK;
}

void vn_program_arena_close(vn_program_arena *arena) {
    if (arena->memory) vn_device_give(&arena->device, arena->memory);
    *arena = (vn_program_arena){0};
}

static vn_status take_memory(vn_program *p, const vn_program_options *options, vn_err *err) {
    vn_status status = reserve(p->arena, options->device, vn_program_bytes(p), err);
    if (!status) status = take_constants(p, err);
    if (!status) status = take_stage(p, err);
    if (!status && options->profile) {
        p->seconds = vn_calloc((size_t)p->plan.steps, sizeof *p->seconds);
        if (!p->seconds) status = vn_no_memory(err);
    }
    return status;
}

vn_status vn_program_open(vn_graph *g, const vn_program_options *options, vn_program **out,
                          vn_err *err) {
    *out = NULL;
    vn_program *p = vn_calloc(1, sizeof *p);
    if (!p) return vn_no_memory(err);
    p->device = *options->device;
    p->arena = options->arena ? options->arena : &p->own;
    vn_status status = vn_program_plan_open(&p->plan, g, options, err);
    if (!status) status = take_memory(p, options, err);
    if (!status)
        *out = p;
    else
        vn_program_close(&p);
    return status;
}

void vn_program_close(vn_program **out) {
    vn_program *p = *out;
    if (!p) return;
    for (int i = 0; p->constant && !p->device.row->host_memory && i < p->plan.constants; i++)
        vn_device_give(&p->device, p->constant[i]);
    vn_program_arena_close(&p->own);
    vn_program_plan_close(&p->plan);
    vn_free(p->constant);
    vn_free(p->stage);
    vn_free(p->due);
    vn_free(p->seconds);
    vn_free(p);
    *out = NULL;
}

size_t vn_program_bytes(const vn_program *p) {
    return p->plan.arena_bytes + p->plan.work_bytes;
}

static void *locate(const vn_program *p, const vn_run *run, const vn_location *place) {
    switch (place->home) {
    case VN_IN_VALUES:
        return (char *)vn_values_at(place->set ? run->more[place->set - 1] : run->values,
                                    (size_t)place->index) +
               place->offset;
    case VN_IN_GRADS: return (char *)run->grads + place->offset;
    case VN_IN_CONSTANTS: return (char *)p->constant[place->index] + place->offset;
    default: return (char *)p->arena->memory + place->offset;
    }
}

/* ---- inputs and outputs ---------------------------------------------------------------------- */

/* The i-th of inputs, then outputs. */
static const vn_program_port *port_at(const vn_program *p, int i) {
    return i < p->plan.inputs ? &p->plan.input[i] : &p->plan.output[i - p->plan.inputs];
}

/* Which port a node is, and where it begins on the stage; -1: none. */
static int find_port(const vn_program *p, const vn_node *node, size_t *stage) {
    *stage = 0;
    for (int i = 0; i < p->plan.inputs + p->plan.outputs; i++) {
        if (port_at(p, i)->node == node) return i;
        *stage += aligned(bytes_of(port_at(p, i)->node));
    }
    return -1;
}

/* Ports lie in the arena or are constants, so no run is needed to find them. */
static void *address_of(const vn_program *p, int port) {
    return locate(p, NULL, &port_at(p, port)->place);
}

void vn_program_write(vn_program *p, const vn_node *input, const void *from) {
    size_t stage;
    const int port = find_port(p, input, &stage);
    if (port < 0 || port >= p->plan.inputs) return;
    p->device.row->write(p->device.self, address_of(p, port), from, bytes_of(input));
    if (p->due) p->due[port] = false;
}

void vn_program_read(vn_program *p, const vn_node *output, void *to) {
    size_t stage;
    const int port = find_port(p, output, &stage);
    if (port < 0) return;
    if (p->due && port < p->plan.inputs && p->due[port]) {
        memcpy(to, p->stage + stage, bytes_of(output));
        return;
    }
    p->device.row->read(p->device.self, to, address_of(p, port), bytes_of(output));
}

void *vn_program_map(vn_program *p, const vn_node *node) {
    size_t stage;
    const int port = find_port(p, node, &stage);
    if (port < 0) return NULL;
    if (!p->stage) return address_of(p, port);
    if (port < p->plan.inputs)
        p->due[port] = true;
    else if (p->due[port]) {
        p->device.row->read(p->device.self, p->stage + stage, address_of(p, port), bytes_of(node));
        p->due[port] = false;
    }
    return p->stage + stage;
}

/* What was mapped goes to the device; what is computed is to be fetched. */
static void send_inputs(vn_program *p) {
    const char *from = p->stage;
    for (int i = 0; i < p->plan.inputs + p->plan.outputs; i++) {
        const size_t bytes = bytes_of(port_at(p, i)->node);
        if (i < p->plan.inputs && p->due[i])
            p->device.row->write(p->device.self, address_of(p, i), from, bytes);
        p->due[i] = i >= p->plan.inputs;
        from += aligned(bytes);
    }
}

/* ---- run ------------------------------------------------------------------------------------- */

static void run_step(const vn_program *p, const vn_program_step *step, const vn_run *run) {
    const vn_device *d = &p->device;
    if (step->node->op == VN_OP_VIEW) {
        d->row->copy(d->self, locate(p, run, &step->out), locate(p, run, &step->in[0]),
                     bytes_of(step->node));
        return;
    }
    vn_kernel_args a = {.node = step->node,
                        .out = locate(p, run, &step->out),
                        .work = (char *)p->arena->memory + p->plan.arena_bytes,
                        .self = d->self,
                        .pool = d->pool,
                        .run = run};
    for (int i = 0; i < step->node->inputs; i++) a.in[i] = locate(p, run, &step->in[i]);
    d->row->kernel[step->node->op](&a);
}

void vn_program_run(vn_program *p, const vn_run *run) {
    if (p->stage) send_inputs(p);
    for (int s = 0; s < p->plan.steps; s++) {
        double begin = p->seconds ? vn_now() : 0;
        if (run->watch) run->watch->before(run->watch->self, s);
        run_step(p, &p->plan.step[s], run);
        if (run->watch) run->watch->after(run->watch->self, s);
        if (!p->seconds) continue;
        vn_program_wait(p, NULL);
        p->seconds[s] += vn_now() - begin;
    }
    p->runs++;
}

/* Whether the place, of so many bytes, has any of these. */
static bool has_bytes(const vn_program *p, const vn_run *run, const vn_location *place, size_t size,
                      const void *at, size_t bytes) {
    if (place->home != VN_IN_VALUES && place->home != VN_IN_GRADS) return false;
    const uintptr_t begin = (uintptr_t)locate(p, run, place), from = (uintptr_t)at;
    return begin < from + bytes && from < begin + size;
}

void vn_program_uses(const vn_program *p, const vn_run *run, const void *at, size_t bytes,
                     int *first, int *last) {
    *first = *last = -1;
    for (int s = 0; s < p->plan.steps; s++) {
        const vn_program_step *step = &p->plan.step[s];
        bool uses = has_bytes(p, run, &step->out, bytes_of(step->node), at, bytes);
        for (int i = 0; i < step->node->inputs && !uses; i++)
            uses = has_bytes(p, run, &step->in[i], bytes_of(step->node->in[i]), at, bytes);
        if (!uses) continue;
        if (*first < 0) *first = s;
        *last = s;
    }
}

vn_status vn_program_wait(const vn_program *p, vn_err *err) {
    return p->device.row->wait(p->device.self, err);
}

/* ---- cost and profile ------------------------------------------------------------------------ */

vn_cost vn_program_step_cost(const vn_program_step *step) {
    double copied = 2 * (double)bytes_of(step->node);
    return step->node->op == VN_OP_VIEW ? (vn_cost){0, copied} : vn_node_cost(step->node);
}

vn_cost vn_program_cost(const vn_program *p) {
    vn_cost sum = {0, 0};
    for (int s = 0; s < p->plan.steps; s++) {
        vn_cost c = vn_program_step_cost(&p->plan.step[s]);
        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}

static int by_seconds(const void *a, const void *b) {
    const vn_profile_line *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static bool same_label(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Gathers the steps into lines[steps]; returns how many there are. O(steps * lines), once. */
static int gather(const vn_program *p, bool by_place, vn_profile_line *lines) {
    int n = 0;
    for (int s = 0; s < p->plan.steps; s++) {
        const vn_program_step *step = &p->plan.step[s];
        const char *label = by_place ? step->node->label : NULL;
        const char *op = step->node->op == VN_OP_VIEW ? "copy" : vn_op_get(step->node->op)->name;
        int i = 0;
        while (i < n && (lines[i].op != op || !same_label(lines[i].label, label))) i++;
        if (i == n) lines[n++] = (vn_profile_line){.op = op, .label = label};
        vn_cost c = vn_program_step_cost(step);
        lines[i].steps++;
        lines[i].seconds += p->seconds[s] / (double)p->runs;
        lines[i].cost.flops += c.flops;
        lines[i].cost.bytes += c.bytes;
    }
    return n;
}

vn_status vn_program_profile(const vn_program *p, bool by_place, vn_profile_line **lines, int *n,
                             vn_err *err) {
    *lines = NULL;
    *n = 0;
    if (!p->seconds || !p->runs)
        return vn_fail(err, VN_BAD_ARGUMENT, "the program was not run to be profiled");
    *lines = vn_alloc((size_t)p->plan.steps, sizeof **lines);
    if (!*lines) return vn_no_memory(err);
    *n = gather(p, by_place, *lines);
    qsort(*lines, (size_t)*n, sizeof **lines, by_seconds);
    return VN_OK;
}

void vn_program_forget_times(vn_program *p) {
    for (int s = 0; p->seconds && s < p->plan.steps; s++) p->seconds[s] = 0;
    p->runs = 0;
}
