#include "api/support_context.h"

#include <string.h>

#include "api/internal.h"
#include "support/kernels.h"
#include "support/scratch.h"

vn_context *vn;

int context_enter(void **state) {
    vn_context_options o = vn_context_options_default();
    o.cpu = kernels->name;
    scratch_enter(state);
    return vn_context_open(&vn, &o) != VN_OK;
}

int context_enter_once(void **state) {
    scratch_enter(state);
    return vn_context_open(&vn, NULL) != VN_OK;
}

int context_leave(void **state) {
    vn_context_close(&vn);
    return scratch_leave(state);
}

void expect_refused(vn_status got, vn_status status, const char *word) {
    assert_int_equal(got, status);
    if (!strstr(vn_error_text(vn), word))
        fail_msg("'%s' does not say '%s'", vn_error_text(vn), word);
}

vn_train_options points_options(const char *objective, int64_t steps) {
    vn_train_options o = vn_train_options_default();
    o.model = "mlp:width=64,layers=2";
    o.objective = objective;
    o.times = "stratified";
    o.lr = 5e-3;
    o.schedule = "cosine";
    o.steps = steps;
    o.seed = 3;
    o.preview_every = -1;
    o.save_every = o.log_every = 1000;
    return o;
}

const vn_denoiser *train_and_open(const char *data, const char *run, const vn_train_options *o,
                                  vn_model **m) {
    const vn_denoiser *d;
    vn_err err = {0};
    expect_ok(vn, vn_train(vn, data, run, o, NULL));
    expect_ok(vn, vn_model_open(vn, run, m));
    assert_int_equal(vn_model_denoise(*m, NULL, &d, &err), VN_OK);
    return d;
}

vn_model_info info_of(const vn_model *model) {
    vn_model_info info = vn_model_info_default();
    assert_int_equal(vn_model_get_info(model, &info), VN_OK);
    return info;
}
