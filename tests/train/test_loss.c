/* test_loss.c - a loss is a function of the network: one that calls it several times, with other
 * inputs and the same dropout, stops a gradient, takes a derivative along a direction and asks a
 * teacher on the host. Held to differences of itself in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "support/bench.h"
#include "support/bound.h"
#include "support/kernels.h"
#include "support/reference.h"
#include "train/internal.h"

/* ---- losses of the test ---------------------------------------------------------------------- */

/* Nodes that the losses below leave for the test. */
static vn_node *student, *teacher, *again, *change;

/* The batch's samples at half their time: x, and the network's time. */
static void fill_earlier(const vn_loss_sample *s, float *row) {
    const vn_level l = vn_path_level(s->path, s->level->t / 2);
    for (int64_t i = 0; i < s->size; i++)
        row[i] = (float)(l.alpha * (double)s->x0[i] + l.sigma * (double)s->eps[i]);
}

static void fill_time(const vn_loss_sample *s, float *row) {
    const vn_level l = vn_path_level(s->path, s->level->t / 2);
    *row = (float)vn_path_network_time(s->path, &l);
}

/* d x_t / dt for the x0 and eps of a sample */
static void fill_velocity(const vn_loss_sample *s, float *row) {
    for (int64_t i = 0; i < s->size; i++)
        row[i] =
            (float)(s->level->dalpha * (double)s->x0[i] + s->level->dsigma * (double)s->eps[i]);
}

static vn_status ask_teacher(const vn_loss_batch *b, float *out, vn_err *err) {
    const vn_denoiser *d = b->asked[VN_ASK_TEACHER];
    const vn_query q = {.n = b->n, .x = b->x, .level = b->level, .condition = b->condition};
    return d->predict(d->self, &q, out, err);
}

static vn_node *square(vn_graph *g, vn_node *a, vn_node *b) {
    return vn_mean(g, vn_unary(g, vn_sub(g, a, b), VN_FN_SQUARE));
}

/* |student - stopped(student at half the time, same dropout)|^2 + |student - teacher's answer|^2
 * + 0.1 |d student/dt along the sample's path|^2, the gradient of which goes through a second
 * derivative. */
static vn_node *loss_several(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    const vn_shape n = VN_SHAPE(l->x->shape.dim[0]);
    (void)c;
    student = vn_loss_output(l);
    const vn_given earlier[] = {
        {"sample", vn_loss_filled(l, "earlier", l->x->shape, fill_earlier)},
        {"timestep", vn_loss_filled(l, "time", n, fill_time)},
    };
    teacher = vn_stop_gradient(
        g, l->network(l->self, &(vn_loss_call){.n = 2, .given = earlier, .same_dropout = true}));
    vn_node *answer = vn_loss_asked(l, "answer", l->x->shape, ask_teacher);
    vn_node *const wrt[] = {l->x, l->time};
    vn_node *const along[] = {vn_loss_filled(l, "velocity", l->x->shape, fill_velocity),
                              vn_fill(g, n, 1000)};
    vn_graph_jvp(g, student, 2, wrt, along, &change, NULL);
    vn_node *sum = vn_add(g, square(g, student, teacher), square(g, student, answer));
    return vn_add(g, sum, vn_affine(g, vn_mean(g, vn_unary(g, change, VN_FN_SQUARE)), 0.1, 0));
}

/* The network twice on the same inputs, with masks of its own and with those of the first. */
static vn_node *loss_twice(const vn_choice *c, vn_loss *l) {
    (void)c;
    student = vn_loss_output(l);
    teacher = l->network(l->self, &(vn_loss_call){.same_dropout = true});
    again = l->network(l->self, &(vn_loss_call){0});
    return vn_add(l->g, square(l->g, student, teacher), square(l->g, student, again));
}

static vn_node *loss_unknown_port(const vn_choice *c, vn_loss *l) {
    (void)c;
    return l->network(l->self, &(vn_loss_call){.n = 1, .given = &(vn_given){"to", l->time}});
}

static vn_node *loss_wrong_shape(const vn_choice *c, vn_loss *l) {
    (void)c;
    return l->network(l->self, &(vn_loss_call){.n = 1, .given = &(vn_given){"timestep", l->x}});
}

static void fill_nothing(const vn_loss_sample *s, float *row) {
    (void)s, (void)row;
}

static vn_node *loss_hungry(const vn_choice *c, vn_loss *l) {
    (void)c;
    for (int i = 0; i <= VN_LOSS_INPUTS; i++) vn_loss_filled(l, "more", l->x->shape, fill_nothing);
    return vn_mean(l->g, vn_loss_output(l));
}

#define ROW(name, asked)                                                                           \
    {                                                                                              \
        .row = {#name, "", "", NULL}, .predictions = "velocity", .asks = (asked),                  \
        .loss = loss_##name                                                                        \
    }
static const vn_objective_row row_several = ROW(several, 1 << VN_ASK_TEACHER),
                              row_twice = ROW(twice, 0), row_unknown_port = ROW(unknown_port, 0),
                              row_wrong_shape = ROW(wrong_shape, 0), row_hungry = ROW(hungry, 0);
extern const vn_objective_row vn_earlier_objective; /* of docs/extending.md */
extern const vn_objective_row vn_dsm_objective;
static const vn_objective_row *const rows[] = {&row_several,     &row_twice,  &row_unknown_port,
                                               &row_wrong_shape, &row_hungry, &vn_earlier_objective,
                                               &vn_dsm_objective};
static const vn_table table = {"objective", rows, 0, VN_COUNT(rows), NULL, NULL};

/* ---- a trainer's scorer with one ------------------------------------------------------------- */

static const char config_text[] =
    "{\"_class_name\": \"VaneMLP\", \"dimension\": 2, \"width\": 6, \"layers\": 1, "
    "\"time_features\": 4, \"num_class_embeds\": 3, \"dropout\": 0.3}";
static const char world_text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"std\": 0.5}]},"
    " {\"components\": [{\"mean\": [-0.6, 0.8], \"std\": 0.4}]}]}";

typedef struct job {
    bench world; /* the teacher */
    vn_device device;
    vn_net *net;
    vn_data *data;
    vn_objective *objective;
    vn_train_part part;
    vn_train_setup setup;
    vn_scorer scorer;
    float *values;   /* of the weights, flat */
    vn_values *seen; /* by programs */
} job;

static vn_status open_for(job *j, const char *prediction, const char *objective, int64_t batch,
                          bool taught, vn_err *err) {
    json_t *config = NULL;
    *j = (job){.world = bench_open(world_text, "rectified", prediction)};
    assert_int_equal(vn_device_open(kernels, NULL, NULL, &j->device, err), VN_OK);
    assert_int_equal(vn_json_parse(config_text, strlen(config_text), "config", &config, err),
                     VN_OK);
    assert_int_equal(vn_net_open(config, &j->net, err), VN_OK);
    json_decref(config);
    const vn_data_options options = {.seed = 3};
    assert_int_equal(vn_data_open("points:moons:count=100", &options, &j->data, err), VN_OK);
    const vn_objective_options o = {.table = &table,
                                    .path = j->world.path,
                                    .prediction = &j->world.prediction,
                                    .objective = objective,
                                    .drop = 0.2,
                                    .null_label = 2,
                                    .seed = 9,
                                    .asked[VN_ASK_TEACHER] = taught ? &j->world.denoiser : NULL};
    const vn_status status = vn_objective_open(&o, &j->objective, err);
    if (status) return status;
    j->part = (vn_train_part){.net = j->net};
    j->setup = (vn_train_setup){.device = &j->device,
                                .parts = 1,
                                .part = &j->part,
                                .data = j->data,
                                .objective = j->objective,
                                .seed = 4};
    const size_t floats = vn_weights_floats(vn_net_weights(j->net));
    j->values = vn_alloc_aligned(floats, sizeof(float));
    assert_non_null(j->values);
    vn_weights_init(vn_net_weights(j->net), j->values, 6);
    for (size_t i = 0; i < floats; i++) j->values[i] += 0.1f * (float)((int)(i * 7 % 11) - 5);
    const vn_status seen =
        vn_values_over(vn_net_weights(j->net), &j->device, j->values, &j->seen, err);
    return seen ? seen : vn_scorer_open(&j->scorer, &j->setup, 0, batch, true, err);
}

static vn_status open(job *j, const char *objective, int64_t batch, bool taught, vn_err *err) {
    return open_for(j, "velocity", objective, batch, taught, err);
}

static void close(job *j) {
    vn_scorer_close(&j->scorer);
    vn_values_close(&j->seen);
    vn_free(j->values);
    vn_objective_close(&j->objective);
    vn_data_close(&j->data);
    vn_net_close(&j->net);
    vn_device_close(&j->device);
    bench_close(&j->world);
}

static const vn_scored which = {.part = VN_DATA_TRAIN, .position = 8, .draw = 2};

/* The loss of a batch by the trainer's scorer; its gradients to grads, all numbers of weights. */
static double score(job *j, float *grads) {
    vn_err err = {0};
    float loss = 0;
    const vn_values *const sets[VN_SETS] = {j->seen};
    if (vn_scorer_run(&j->scorer, &which, sets, grads, &loss, &err)) fail_msg("%s", err.text);
    return (double)loss;
}

static float *room_for_gradients(const job *j) {
    float *grads = vn_calloc(vn_weights_floats(vn_net_weights(j->net)), sizeof(float));
    assert_non_null(grads);
    return grads;
}

/* The same graph in double, fed with what the scorer's program was. */
static ref_graph in_double(job *j, vn_run *run) {
    const vn_scorer *c = &j->scorer;
    ref_graph r = ref_open(c->graph);
    ref_set_f32(&r, c->parts.x, vn_program_map(c->program, c->parts.x));
    ref_set_f32(&r, c->parts.time, c->time);
    ref_set_i32(&r, vn_net_in(j->net, &c->batch_nodes, "class_labels"), c->given);
    for (int i = 0; i < c->parts.inputs; i++)
        ref_set_f32(&r, c->parts.input[i].node, vn_program_map(c->program, c->parts.input[i].node));
    *run = (vn_run){.values = j->seen, .seed = j->setup.seed, .step = which.draw};
    return r;
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* The node of the weight whose gradient is number k. */
static vn_node *weight_of(const job *j, int k) {
    vn_weights *all = vn_net_weights(j->net);
    size_t i = 0;
    while (vn_weights_at(all, i)->offset != j->scorer.by.offset[k]) i++;
    const vn_weight *w = vn_weights_at(all, i);
    return vn_param_node(j->scorer.graph, all, w->name, w->file, w->layout, w->init);
}

/* Of every weight some numbers: with the stopped node held, the loss's slope in double is the
 * gradient's, and the device's gradient is it but for rounding. */
static void gradients_are_those_of_the_loss(void **state) {
    (void)state;
    job j;
    vn_err err = {0};
    vn_run run;
    if (open(&j, "several", 5, true, &err)) fail_msg("%s", err.text);
    float *grads = room_for_gradients(&j);
    const double loss = score(&j, grads);
    ref_graph r = in_double(&j, &run);
    ref_run(&r, &run);
    expect_small(fabs(ref_get(&r, j.scorer.loss)[0] - loss), 1e-5 * (1 + loss));
    double held[5 * 2], off = 0, off_float = 0;
    memcpy(held, ref_get(&r, teacher), sizeof held);
    ref_set(&r, teacher, held);
    int met = 0;
    for (int k = 0; k < j.scorer.by.n; k++) {
        const vn_node *gradient = j.scorer.by.node[k], *weight = weight_of(&j, k);
        const int64_t count = vn_shape_count(&gradient->shape);
        double *number = r.value[weight->id];
        r.set[weight->id] = true;
        for (int64_t i = 0; i < count; i += 1 + count / 8, met++) {
            const double keep = number[i], h = 1e-5;
            double side[2];
            ref_run(&r, &run);
            const double got = ref_get(&r, gradient)[i];
            for (int s = 0; s < 2; s++) {
                number[i] = keep + (s ? h : -h);
                ref_run(&r, &run);
                side[s] = ref_get(&r, j.scorer.loss)[0];
            }
            number[i] = keep;
            const double slope = (side[1] - side[0]) / (2 * h);
            const double single = (double)grads[j.scorer.by.offset[k] + (size_t)i];
            off = fmax(off, fabs(got - slope) / (1 + fabs(slope)));
            off_float = fmax(off_float, fabs(single - got) / (1 + fabs(got)));
        }
    }
    print_message("%d numbers: gradient and slope differ by %.1e, float32 by %.1e\n", met, off,
                  off_float);
    assert_true(met > 60);
    expect_small(off, 1e-7);
    expect_small(off_float, 1e-4);
    vn_free(grads);
    ref_close(&r);
    close(&j);
}

/* The teacher's inputs, the derivative along the path by differences of the network, and the
 * answers that were asked for. */
static void its_parts_are_what_they_say(void **state) {
    (void)state;
    enum { N = 5 };
    const double step = 1e-8; /* of t: the network has sinusoids of 1000 t */
    job j;
    vn_err err = {0};
    vn_run run;
    if (open(&j, "several", N, true, &err)) fail_msg("%s", err.text);
    float *grads = room_for_gradients(&j);
    score(&j, grads);
    ref_graph r = in_double(&j, &run);
    ref_run(&r, &run);
    double got[2 * N], side[2][2 * N], x[2 * N], time[N];
    memcpy(got, ref_get(&r, change), sizeof got);
    memcpy(x, ref_get(&r, j.scorer.parts.x), sizeof x);
    memcpy(time, ref_get(&r, j.scorer.parts.time), sizeof time);
    const double *velocity = ref_get(&r, j.scorer.parts.input[3].node),
                 *answer = ref_get(&r, j.scorer.parts.input[2].node);
    for (int s = 0; s < 2; s++) {
        const double h = s ? step : -step;
        double there[2 * N], then[N];
        for (int i = 0; i < 2 * N; i++) there[i] = x[i] + h * velocity[i];
        for (int i = 0; i < N; i++) then[i] = time[i] + h * 1000;
        ref_set(&r, j.scorer.parts.x, there);
        ref_set(&r, j.scorer.parts.time, then);
        ref_run(&r, &run);
        memcpy(side[s], ref_get(&r, student), sizeof side[s]);
    }
    for (int i = 0; i < 2 * N; i++) {
        const double slope = (side[1][i] - side[0][i]) / (2 * step);
        expect_small(fabs(got[i] - slope), 1e-5 * (1 + fabs(slope)));
    }
    float want[2 * N], xt[2 * N];
    vn_condition condition[N];
    for (int i = 0; i < 2 * N; i++) xt[i] = (float)x[i];
    for (int i = 0; i < N; i++)
        condition[i] = j.scorer.given[i] == 2 ? VN_CONDITION_NULL : j.scorer.given[i];
    const vn_query q = {.n = N, .x = xt, .level = j.scorer.level, .condition = condition};
    assert_int_equal(j.world.denoiser.predict(j.world.denoiser.self, &q, want, &err), VN_OK);
    for (int i = 0; i < 2 * N; i++) assert_true(answer[i] == (double)want[i]);
    vn_free(grads);
    ref_close(&r);
    close(&j);
}

static void calls_share_dropout_where_asked(void **state) {
    (void)state;
    enum { N = 16 };
    job j;
    vn_err err = {0};
    vn_run run;
    if (open(&j, "twice", N, false, &err)) fail_msg("%s", err.text);
    float *grads = room_for_gradients(&j);
    score(&j, grads);
    ref_graph r = in_double(&j, &run);
    ref_run(&r, &run);
    double shared = 0, own = 0;
    for (int i = 0; i < 2 * N; i++) {
        shared = fmax(shared, fabs(ref_get(&r, student)[i] - ref_get(&r, teacher)[i]));
        own = fmax(own, fabs(ref_get(&r, student)[i] - ref_get(&r, again)[i]));
    }
    assert_true(shared == 0 && own > 0.01);
    vn_free(grads);
    ref_close(&r);
    close(&j);
}

static double loss_of_x0(const char *objective) {
    job j;
    vn_err err = {0};
    if (open_for(&j, "x0", objective, 16, false, &err)) fail_msg("%s", err.text);
    float *grads = room_for_gradients(&j);
    const double loss = score(&j, grads);
    vn_free(grads);
    close(&j);
    return loss;
}

/* Where all of x0 is known it is regression on the data; at ratio 1 the two predictions are the
 * same, as dropout is; between them it is neither. */
static void the_example_is_a_consistency_loss(void **state) {
    (void)state;
    const double regression = loss_of_x0("dsm"), known = loss_of_x0("earlier:least=1,ratio=0.9");
    expect_small(fabs(known - regression), 1e-6 * regression);
    assert_true(loss_of_x0("earlier:least=0,ratio=1") == 0);
    const double between = loss_of_x0("earlier:least=0,ratio=0.5");
    assert_true(between > 0 && fabs(between - regression) > 1e-3 * regression);
}

static void what_cannot_be_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *objective, *word;
        vn_status status;
    } bad[] = {
        {"several", "the objective several needs a teacher", VN_BAD_ARGUMENT},
        {"unknown_port", "without an input \"to\"", VN_UNSUPPORTED},
        {"wrong_shape", "mlp: what is given for timestep", VN_BAD_ARGUMENT},
        {"hungry", "more than 8 inputs", VN_UNSUPPORTED},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        job j;
        vn_err err = {0};
        assert_int_equal(open(&j, bad[i].objective, 4, false, &err), bad[i].status);
        if (!strstr(err.text, bad[i].word)) fail_msg("%s: %s", bad[i].objective, err.text);
        close(&j);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(its_parts_are_what_they_say),
        cmocka_unit_test(calls_share_dropout_where_asked),
        cmocka_unit_test(the_example_is_a_consistency_loss),
        cmocka_unit_test(what_cannot_be_is_refused_by_name),
    };
    return run_under_each_kernel_set(tests, NULL, NULL);
}
