/* bench.c - vn_bench: steps of a network, timed, beside what this machine can do at all. */
#include "api/internal.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { UNTIMED = 2 };

void vn_bench_options_init(vn_bench_options *o, size_t size) {
    vn_options_init(VN_OPTIONS_BENCH, o, size);
}

void vn_bench_result_init(vn_bench_result *r, size_t size) {
    static const vn_bench_result initial = {0};
    vn_struct_init(r, size, &initial, sizeof initial);
}

typedef struct bench {
    vn_context *vn;
    vn_net *net;
    vn_weights *weights;
    size_t floats;
    vn_values *values;
    float *live, *grads, *moment1, *moment2; /* to train: flat, in the device's memory */
    vn_net_step s;
    vn_program *program;
    int64_t step;
    double in_adamw; /* seconds */
} bench;

static float *zeros(size_t count) {
    float *x = vn_alloc_aligned(count, sizeof(float));
    for (size_t i = 0; x && i < count; i++) x[i] = 0;
    return x;
}

static vn_status open_to_infer(bench *b, const vn_model_dir *d, const char *dir, vn_err *err) {
    const vn_engine engine = vn_context_engine(b->vn);
    if (d->weights) return vn_model_dir_values(d, dir, &engine, b->net, &b->values, err);
    vn_status status = vn_weights_fit(vn_weights_bytes(b->weights), dir, err);
    if (!status) status = vn_values_open(b->weights, &b->vn->device, NULL, &b->values, err);
    return !status ? vn_values_init(b->values, 0, err) : status;
}

/* The weights' first values, by way of the host where that does not see the device's memory. */
static vn_status fill_live(bench *b, const vn_model_dir *d, vn_err *err) {
    const vn_device *device = &b->vn->device;
    float *host = device->row->host_memory ? b->live : zeros(b->floats);
    vn_status status = host ? VN_OK : vn_no_memory(err);
    if (!status && d->weights)
        status = vn_store_load_weights(d->weights, b->weights, host, NULL, err);
    if (!status && !d->weights) vn_weights_init(b->weights, host, 0);
    if (host == b->live) return status;
    if (!status) device->row->write(device->self, b->live, host, b->floats * sizeof *host);
    vn_free(host);
    return status;
}

static vn_status open_to_train(bench *b, const vn_model_dir *d, const char *dir, vn_err *err) {
    float **const arrays[] = {&b->live, &b->grads, &b->moment1, &b->moment2};
    const size_t bytes = b->floats * sizeof(float);
    vn_status status = vn_weights_fit(VN_COUNT(arrays) * bytes, dir, err);
    for (size_t i = 0; i < VN_COUNT(arrays) && !status; i++) {
        void *at = NULL;
        status = vn_device_zeros(&b->vn->device, bytes, &at, err);
        *arrays[i] = at;
    }
    if (!status) status = fill_live(b, d, err);
    return !status ? vn_values_over(b->weights, &b->vn->device, b->live, &b->values, err) : status;
}

/* The machine is measured before the network takes memory, so that the most in use is the
 * network's. */
static vn_status open_net(bench *b, const char *dir, bool train, vn_bench_result *r, vn_err *err) {
    vn_model_dir d = {0};
    vn_status status = vn_model_dir_open(dir, &d, err);
    if (status) return status;
    status = vn_net_open(d.config, &b->net, err);
    if (status) vn_fail_in(err, "%s", dir);
    if (!status) {
        const vn_device_row *row = b->vn->device.row; /* another device's kernels need its memory */
        vn_cpu_measure(row->host_memory ? row : vn_cpu_row_at(0), b->vn->pool, &r->gemm_gflops,
                       &r->memory_gbs);
        b->weights = vn_net_weights(b->net);
        b->floats = vn_weights_floats(b->weights);
        status = train ? open_to_train(b, &d, dir, err) : open_to_infer(b, &d, dir, err);
    }
    vn_model_dir_close(&d);
    return status;
}

static vn_net_spec spec_of(const bench *b, const vn_bench_options *o) {
    const vn_extent extent = {.batch = o->batch};
    return (vn_net_spec){.extent = vn_net_usual(vn_net_get_io(b->net), &extent),
                         .train = o->train != 0};
}

static vn_status build(bench *b, const vn_bench_options *o, vn_err *err) {
    const vn_recompute how = o->recompute ? VN_RECOMPUTE_BLOCKS : VN_RECOMPUTE_CHEAP;
    const vn_net_spec spec = spec_of(b, o);
    vn_status status = vn_net_step_open(&b->s, b->net, &spec, how, err);
    vn_program_options options = vn_net_step_options(&b->s, b->vn);
    options.profile = o->profile != NULL;
    return !status ? vn_program_open(b->s.graph, &options, &b->program, err) : status;
}

/* What the step takes without options.recompute. */
static vn_status measure_plain(const bench *b, const vn_bench_options *o, vn_bench_result *r,
                               vn_err *err) {
    vn_net_step s;
    vn_footprint plain = {0};
    vn_net_spec spec = spec_of(b, o);
    spec.train = true;
    vn_status status = vn_net_step_open(&s, b->net, &spec, VN_RECOMPUTE_CHEAP, err);
    const vn_program_options options = vn_net_step_options(&s, b->vn);
    if (!status) status = vn_footprint_open(s.graph, &options, &plain, err);
    if (!status) {
        r->arena_kept_mb = 1e-6 * (double)plain.bytes;
        r->recomputed = vn_program_cost(b->program).flops / plain.cost.flops - 1;
    }
    vn_footprint_close(&plain);
    vn_net_step_close(&s);
    return status;
}

/* Arrays of normal numbers; of one number a sample, and rows of tables, whole ones. Of an array
 * that may be left out, what stands for it. */
static void fill_node(bench *b, const vn_node *node, const vn_port *port, uint64_t stream) {
    void *to = node ? vn_program_map(b->program, node) : NULL;
    const int64_t count = node ? vn_shape_count(&node->shape) : 0, below = port ? port->below : 0;
    if (to && port && port->optional && node->dtype == VN_F32) {
        for (int64_t i = 0; i < count; i++) ((float *)to)[i] = (float)port->missing;
        return;
    }
    if (to && node->dtype == VN_F32 && node->shape.rank > 1) {
        vn_random_normal(to, (size_t)count, 0, VN_STREAM_NOISE, stream, 0);
        return;
    }
    for (int64_t i = 0; i < count && to; i++) {
        const int64_t whole = i * 37 % (below ? below : 1000);
        if (node->dtype == VN_F32)
            ((float *)to)[i] = (float)whole;
        else
            ((int32_t *)to)[i] = (int32_t)whole;
    }
}

static void fill(bench *b) {
    const vn_net_io *io = vn_net_get_io(b->net);
    for (int i = 0; i < io->inputs; i++) fill_node(b, b->s.nodes.in[i], &io->input[i], (uint64_t)i);
    fill_node(b, b->s.target, NULL, VN_MAX_PORTS);
}

static void step(bench *b) {
    const vn_run run = {.values = b->values, .grads = b->grads, .step = (uint64_t)b->step};
    vn_program_run(b->program, &run);
    vn_program_wait(b->program, NULL);
    b->step++;
    if (!b->grads) return;
    const vn_adamw o = {.lr = 1e-4, VN_ADAMW_DEFAULTS, .step = b->step, .grad_scale = 1};
    const double began = vn_now();
    const vn_device *d = &b->vn->device;
    d->row->adamw(d, &o, b->floats, b->live, b->grads, b->moment1, b->moment2, NULL);
    b->in_adamw += vn_now() - began;
}

/* ---- where the time goes --------------------------------------------------------------------- */

/* A line of the program's profile, of a step of `total` seconds, told. */
static void tell(const vn_bench_options *o, const vn_profile_line *l, double total) {
    const double seconds = l->seconds > 0 ? l->seconds : 1e-12;
    const vn_bench_op op = {.op = l->op,
                            .place = l->label,
                            .calls = l->steps,
                            .ms = 1e3 * l->seconds,
                            .share = total > 0 ? l->seconds / total : 0,
                            .gflops = 1e-9 * l->cost.flops / seconds,
                            .gbs = 1e-9 * l->cost.bytes / seconds};
    o->profile(o->profile_user, &op);
}

/* The optimiser among the ops: values and moments in and out, gradients in; a dozen operations
 * each. */
static vn_profile_line adamw_line(const bench *b, int64_t steps) {
    const double n = (double)b->floats;
    return (vn_profile_line){
        "adamw", NULL, 1, b->in_adamw / (double)steps, {12 * n, 7 * sizeof(float) * n}};
}

static vn_status tell_profile(const bench *b, const vn_bench_options *o, vn_err *err) {
    const vn_profile_line adamw = adamw_line(b, o->steps);
    vn_status status = VN_OK;
    for (int by_place = 0; by_place < 2 && !status; by_place++) {
        vn_profile_line *lines = NULL;
        int n = 0;
        double total = adamw.seconds;
        bool told = !b->grads || by_place;
        status = vn_program_profile(b->program, by_place, &lines, &n, err);
        for (int i = 0; i < n; i++) total += lines[i].seconds;
        for (int i = 0; i < n; i++) {
            if (by_place && !lines[i].label) continue; /* between the layers */
            if (!told && lines[i].seconds < adamw.seconds) tell(o, &adamw, total);
            told = told || lines[i].seconds < adamw.seconds;
            tell(o, &lines[i], total);
        }
        if (!told) tell(o, &adamw, total);
        vn_free(lines);
    }
    return status;
}

/* ---- timing ---------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void vn_least_and_median(double *seconds, int64_t n, double *least, double *median) {
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    *least = seconds[0];
    *median = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
}

static vn_status measure(bench *b, const vn_bench_options *o, vn_bench_result *r, vn_err *err) {
    double *seconds = vn_alloc((size_t)o->steps, sizeof *seconds);
    if (!seconds) return vn_no_memory(err);
    bool stop = false;
    for (int64_t i = -UNTIMED; i < o->steps && !stop; i++) {
        if (i == 0) {
            vn_program_forget_times(b->program);
            b->in_adamw = 0;
        }
        const double began = vn_now();
        step(b);
        if (i >= 0) seconds[i] = vn_now() - began;
        const vn_progress progress = {.what = "timing",
                                      .unit = "steps",
                                      .done = i + 1 > 0 ? i + 1 : 0,
                                      .total = o->steps,
                                      .seconds_left = -1,
                                      .loss = (double)NAN};
        stop = vn_report(&b->vn->watch, &progress);
    }
    double least, median;
    vn_least_and_median(seconds, o->steps, &least, &median);
    r->min_ms = 1e3 * least;
    r->median_ms = 1e3 * median;
    r->images_per_s = (double)o->batch / least;
    r->gflops = 1e-9 * vn_program_cost(b->program).flops / least;
    r->arena_mb = 1e-6 * (double)vn_program_bytes(b->program);
    r->parameters = vn_weights_parameters(b->weights);
    r->arena_kept_mb = r->arena_mb;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    r->peak_rss_mb = (double)usage.ru_maxrss * 1024e-6;
    vn_free(seconds);
    if (stop) return vn_fail(err, VN_CANCELLED, "stopped");
    return o->profile ? tell_profile(b, o, err) : VN_OK;
}

static vn_status check(const vn_bench_options *o, vn_err *err) {
    const vn_status status = vn_options_check(VN_OPTIONS_BENCH, o, err);
    if (status) return status;
    if (o->recompute && !o->train)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "recompute: a forward pass keeps nothing that could be computed again");
    return VN_OK;
}

vn_status vn_bench_network(vn_context *vn, const char *dir, const vn_bench_options *o,
                           vn_bench_result *r, vn_err *err) {
    bench b = {.vn = vn};
    vn_status status = check(o, err);
    if (!status) status = open_net(&b, dir, o->train != 0, r, err);
    if (!status) status = build(&b, o, err);
    if (!status) fill(&b);
    if (!status) status = measure(&b, o, r, err);
    if (!status && o->recompute) status = measure_plain(&b, o, r, err);
    vn_program_close(&b.program);
    vn_net_step_close(&b.s);
    vn_values_close(&b.values);
    vn_device_give(&vn->device, b.live);
    vn_device_give(&vn->device, b.grads);
    vn_device_give(&vn->device, b.moment1);
    vn_device_give(&vn->device, b.moment2);
    vn_net_close(&b.net);
    return status;
}

vn_status vn_bench(vn_context *vn, const char *dir, const vn_bench_options *options,
                   vn_bench_result *result) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    vn_bench_options o = vn_bench_options_default();
    vn_bench_result r = vn_bench_result_default();
    vn_status status = dir && result
                           ? vn_struct_check(result, "vn_bench_result", err)
                           : vn_fail(err, VN_BAD_ARGUMENT, "vn_bench: dir and result are needed");
    if (status) return vn_end(vn, status);
    status = vn_struct_take(&o, sizeof o, options, "vn_bench_options", err);
    if (!status) status = vn_bench_network(vn, dir, &o, &r, err);
    vn_struct_give(result, &r, sizeof r);
    return vn_end(vn, status);
}
