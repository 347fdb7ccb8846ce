/* support_score.c - a world, an objective on it, the arrays of a step and a small network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "objective/support_score.h"
#include "support/loss.h"

static const char world_text[] =
    "{\"classes\": [{\"components\": [{\"mean\": [1, -0.5], \"cov\": [[0.5, 0.3], [0.3, 0.4]]}]},"
    " {\"components\": [{\"mean\": [-0.6, 0.8], \"std\": 0.4}]}], \"class_weights\": [0.7, 0.3]}";

void score_open(score_setting *s, const char *path, const char *prediction, const char *objective,
                const char *times, double drop) {
    *s = (score_setting){.truth = bench_open(world_text, path, prediction)};
    vn_err err = {0};
    const vn_objective_options o = {.path = s->truth.path,
                                    .prediction = &s->truth.prediction,
                                    .objective = objective,
                                    .times = times,
                                    .drop = drop,
                                    .null_label = 2,
                                    .seed = 8,
                                    .asked[VN_ASK_TRUTH] = &s->truth.denoiser};
    if (vn_objective_open(&o, &s->objective, &err))
        fail_msg("%s, %s, %s: %s", path, prediction, objective, err.text);
}

void score_close(score_setting *s) {
    vn_objective_close(&s->objective);
    bench_close(&s->truth);
}

void score_fill(const score_setting *s, score_arrays *a, const vn_loss *loss, int n, uint64_t step,
                bool one_class) {
    for (int i = 0; i < n; i++) {
        a->labels[i] = one_class ? 0 : i % 2;
        vn_world_draw(s->truth.world, a->labels[i], 77, step * MAX_ROWS + (uint64_t)i,
                      a->x0 + i * SIZE);
    }
    vn_objective_batch b = {.n = n,
                            .size = SIZE,
                            .step = step,
                            .x0 = a->x0,
                            .labels = a->labels,
                            .level = a->level,
                            .x = a->x,
                            .time = a->time,
                            .network_labels = a->network_labels};
    loss_bind(loss, &b, "target", a->target);
    loss_bind(loss, &b, "weight", a->weight);
    loss_bind(loss, &b, "probe", a->probe);
    loss_bind(loss, &b, "noise", a->noise);
    vn_err err = {0};
    if (vn_objective_fill(s->objective, loss, &b, &err)) fail_msg("%s", err.text);
}

void score_feed(ref_graph *r, const vn_loss *loss, const score_arrays *a) {
    static const char *const name[] = {"target", "weight", "probe", "noise"};
    const float *from[] = {a->target, a->weight, a->probe, a->noise};
    ref_set_f32(r, loss->x, a->x);
    for (size_t i = 0; i < VN_COUNT(name); i++)
        if (loss_input(loss, name[i])) ref_set_f32(r, loss_node(loss, name[i]), from[i]);
}

static vn_node *small_network(void *self, const vn_loss_call *call) {
    const score_net *t = self;
    (void)call;
    vn_node *h = vn_linear(t->g, t->parts.x, t->part[0], t->part[1], true);
    return vn_linear(t->g, vn_unary(t->g, h, VN_FN_TANH), t->part[2], t->part[3], true);
}

void score_build(score_net *t, const score_setting *s, int n) {
    vn_err err = {0};
    *t = (score_net){0};
    assert_int_equal(vn_graph_open(&t->g, &err), VN_OK);
    const vn_shape shapes[] = {VN_SHAPE(WIDTH, SIZE), VN_SHAPE(WIDTH), VN_SHAPE(SIZE, WIDTH),
                               VN_SHAPE(SIZE)};
    for (int i = 0; i < 4; i++) t->part[i] = vn_input(t->g, VN_F32, shapes[i]);
    t->parts = (vn_loss){.g = t->g,
                         .x = vn_input(t->g, VN_F32, VN_SHAPE(n, SIZE)),
                         .network = small_network,
                         .self = t};
    t->loss = vn_objective_loss(s->objective, &t->parts);
    if (vn_graph_status(t->g, &err) ||
        vn_graph_gradient(t->g, t->loss, NULL, 4, t->part, t->grad, &err))
        fail_msg("%s", err.text);
}

const struct score_form score_forms[SCORE_FORMS] = {
    {"ism", 1, false},
    {"ism:projections=3", 3, false},
    {"ism:exact=1", 0, false},
    {"ssm", 1, true},
    {"ssm:projections=3,directions=signs", 3, true},
    {"ssm:reduced=yes", 1, false},
};
