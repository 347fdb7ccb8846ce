/* bench.c - vn_bench: steps of a network, timed, beside what this machine can do at all. */
#include "api/internal.h"
#include "api/train_options.h"
#include "train/train.h"

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

/* What computes passes through the network beside others that do. */
typedef struct worker {
    vn_device device; /* the context's, with a group of its threads */
    vn_net_step s;
    vn_program *program;
    int64_t passes;       /* of a step: its microbatches, one after another */
    float *grads, *again; /* of the first, and of each after it; or NULL */
} worker;

typedef struct bench {
    vn_context *vn;
    vn_net *net;
    vn_weights *weights;
    size_t floats;
    vn_values *values;
    float *live, *grads, *moment1, *moment2; /* to train: flat, in the device's memory */
    int64_t microbatches;                    /* of a step; without training, its passes */
    int workers;
    worker *worker;           /* [workers] */
    vn_thread_groups *groups; /* of their threads; NULL: there is one worker */
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
    const vn_extent extent = {.batch = o->batch / b->microbatches};
    return (vn_net_spec){.extent = vn_net_usual(vn_net_get_io(b->net), &extent),
                         .train = o->train != 0};
}

/* A batch is computed in equal passes of as many rows as sampling would take at once, or of more
 * where its divisors leave only passes of less than half as many. */
static vn_status split_passes(bench *b, const vn_bench_options *o, vn_err *err) {
    const vn_net_spec whole = spec_of(b, o);
    int64_t rows = 0;
    if (o->train) return VN_OK;
    const vn_status status = vn_net_rows_a_pass(b->net, &b->vn->device, &whole.extent, &rows, err);
    for (int64_t n = 2; !status && n <= o->batch && o->batch > rows * b->microbatches; n++)
        if (o->batch % n == 0 && 2 * (o->batch / n) > rows) b->microbatches = n;
    return status;
}

/* Gradients of a worker's own: the first worker's are the step's. */
static vn_status open_grads(const bench *b, worker *w, vn_err *err) {
    float **const arrays[] = {&w->grads, &w->again};
    const bool wanted[] = {w != b->worker, w->passes > 1};
    vn_status status = VN_OK;
    if (w == b->worker) w->grads = b->grads;
    for (size_t i = 0; i < VN_COUNT(arrays) && b->grads && !status; i++) {
        void *at = NULL;
        if (!wanted[i]) continue;
        status = vn_device_zeros(&b->vn->device, b->floats * sizeof(float), &at, err);
        *arrays[i] = at;
    }
    return status;
}

static vn_status open_worker(const bench *b, worker *w, const vn_bench_options *o, vn_err *err) {
    const vn_recompute how = o->recompute ? VN_RECOMPUTE_BLOCKS : VN_RECOMPUTE_CHEAP;
    const vn_net_spec spec = spec_of(b, o);
    vn_status status = vn_net_step_open(&w->s, b->net, &spec, how, err);
    vn_program_options options = vn_net_step_options(&w->s, b->vn);
    options.device = &w->device;
    options.profile = o->profile != NULL;
    if (!status) status = open_grads(b, w, err);
    return !status ? vn_program_open(w->s.graph, &options, &w->program, err) : status;
}

/* The workers, as a training has them. */
static vn_status build(bench *b, const vn_bench_options *o, vn_err *err) {
    const vn_device *d = &b->vn->device;
    const int64_t most = d->row->host_memory ? vn_thread_pool_threads(d->pool) : 1,
                  each = o->train ? vn_tree_branch(b->microbatches, most) : b->microbatches;
    vn_status status = VN_OK;
    b->workers = (int)((b->microbatches + each - 1) / each);
    b->worker = vn_calloc((size_t)b->workers, sizeof *b->worker);
    if (!b->worker) return vn_no_memory(err);
    if (b->workers > 1) status = vn_thread_groups_open(d->pool, b->workers, &b->groups, err);
    for (int i = 0; i < b->workers && !status; i++) {
        worker *w = &b->worker[i];
        const int64_t left = b->microbatches - i * each;
        w->device = *d;
        w->passes = left < each ? left : each;
        if (b->groups) w->device.pool = vn_thread_groups_pool(b->groups, i);
        status = open_worker(b, w, o, err);
    }
    return status;
}

static void close_workers(bench *b) {
    for (int i = 0; i < b->workers && b->worker; i++) {
        worker *w = &b->worker[i];
        vn_program_close(&w->program);
        vn_net_step_close(&w->s);
        if (i > 0) vn_device_give(&b->vn->device, w->grads);
        vn_device_give(&b->vn->device, w->again);
    }
    vn_thread_groups_close(&b->groups);
    vn_free(b->worker);
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
        r->arena_kept_mb = 1e-6 * (double)plain.bytes * b->workers;
        r->recomputed = vn_program_cost(b->worker[0].program).flops / plain.cost.flops - 1;
    }
    vn_footprint_close(&plain);
    vn_net_step_close(&s);
    return status;
}

/* Arrays of normal numbers; of one number a sample, and rows of tables, whole ones. Of an array
 * that may be left out, what stands for it. */
static void fill_node(const worker *w, const vn_node *node, const vn_port *port, uint64_t stream) {
    void *to = node ? vn_program_map(w->program, node) : NULL;
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

static void fill(const bench *b) {
    const vn_net_io *io = vn_net_get_io(b->net);
    for (int k = 0; k < b->workers; k++) {
        const worker *w = &b->worker[k];
        for (int i = 0; i < io->inputs; i++)
            fill_node(w, w->s.nodes.in[i], &io->input[i], (uint64_t)i);
        fill_node(w, w->s.target, NULL, VN_MAX_PORTS);
    }
}

static void pass_all(void *context, int64_t i, int thread) {
    const bench *b = context;
    const worker *w = &b->worker[i];
    (void)thread;
    for (int64_t k = 0; k < w->passes; k++) {
        const vn_run run = {
            .values = b->values, .grads = k == 0 ? w->grads : w->again, .step = (uint64_t)b->step};
        vn_program_run(w->program, &run);
        if (k > 0 && w->again) w->device.row->accumulate(&w->device, b->floats, w->grads, w->again);
    }
    vn_program_wait(w->program, NULL);
}

static void step(bench *b) {
    const vn_device *d = &b->vn->device;
    if (b->groups)
        vn_thread_groups_run(b->groups, pass_all, b);
    else
        pass_all(b, 0, 0);
    for (int i = 1; i < b->workers && b->grads; i++)
        d->row->accumulate(d, b->floats, b->grads, b->worker[i].grads);
    b->step++;
    if (!b->grads) return;
    const vn_adamw o = {
        .lr = 1e-4, VN_ADAMW_DEFAULTS, .step = b->step, .grad_scale = 1 / (double)b->microbatches};
    const double began = vn_now();
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

/* Of one worker, whose passes are its part of a step. */
static vn_status tell_profile(const bench *b, const vn_bench_options *o, vn_err *err) {
    const int64_t passes = b->worker[0].passes;
    const vn_profile_line adamw = adamw_line(b, o->steps);
    vn_status status = VN_OK;
    for (int by_place = 0; by_place < 2 && !status; by_place++) {
        vn_profile_line *lines = NULL;
        int n = 0;
        double total = adamw.seconds;
        bool told = !b->grads || by_place;
        status = vn_program_profile(b->worker[0].program, by_place, &lines, &n, err);
        for (int i = 0; i < n; i++) {
            lines[i].steps *= (int)passes;
            lines[i].seconds *= (double)passes;
            lines[i].cost.flops *= (double)passes;
            lines[i].cost.bytes *= (double)passes;
        }
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
            for (int k = 0; k < b->workers; k++) vn_program_forget_times(b->worker[k].program);
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
    const vn_program *first = b->worker[0].program;
    r->gflops = 1e-9 * vn_program_cost(first).flops * (double)b->microbatches / least;
    r->arena_mb = 1e-6 * (double)vn_program_bytes(first) * b->workers;
    r->microbatches = b->microbatches;
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
    if (o->microbatches && !o->train)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`microbatches`: a step of training has them; a forward pass is one");
    if (o->microbatches && o->batch % o->microbatches)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a batch of %lld cannot be split into %lld equal microbatches",
                       (long long)o->batch, (long long)o->microbatches);
    return VN_OK;
}

vn_status vn_bench_network(vn_context *vn, const char *dir, const vn_bench_options *o,
                           vn_bench_result *r, vn_err *err) {
    bench b = {.vn = vn, .microbatches = 1};
    vn_status status = check(o, err);
    if (o->train) b.microbatches = vn_train_microbatches(o->batch);
    if (o->microbatches) b.microbatches = o->microbatches;
    if (!status) status = open_net(&b, dir, o->train != 0, r, err);
    if (!status) status = split_passes(&b, o, err);
    if (!status) status = build(&b, o, err);
    if (!status) fill(&b);
    if (!status) status = measure(&b, o, r, err);
    if (!status && o->recompute) status = measure_plain(&b, o, r, err);
    close_workers(&b);
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
