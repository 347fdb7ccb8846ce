/* support_setting.c - see the header. */
#include "objective/support_setting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/bound.h"
#include "support/loss.h"

void setting_open(objective_setting *s, const char *path, const char *prediction,
                  const vn_objective_options *o) {
    vn_objective_options all = *o;
    vn_err err = {0};
    *s = (objective_setting){0};
    vn_status status = vn_path_open(path, &s->path, &err);
    if (!status) status = vn_prediction_parse(prediction, &s->prediction, &err);
    all.path = s->path;
    all.prediction = &s->prediction;
    if (!status) status = vn_objective_open(&all, &s->objective, &err);
    if (status)
        fail_msg("%s, %s, %s, %s: %s", path, prediction, o->objective ? o->objective : "",
                 o->times ? o->times : "", err.text);
}

void setting_build(objective_setting *s, vn_shape shape) {
    vn_err err = {0};
    assert_int_equal(vn_graph_open(&s->g, &err), VN_OK);
    s->output = vn_input(s->g, VN_F32, shape);
    s->loss = (vn_loss){
        .g = s->g, .x = vn_input(s->g, VN_F32, shape), .network = loss_answer, .self = &s->output};
}

void setting_close(objective_setting *s) {
    vn_graph_close(&s->g);
    vn_objective_close(&s->objective);
    vn_path_close(&s->path);
}
