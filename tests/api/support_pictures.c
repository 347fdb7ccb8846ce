#include "api/support_pictures.h"

#include <math.h>
#include <string.h>

int64_t asked;

static vn_status denoise(void *user, const vn_predict_query *q, float *out) {
    (void)user;
    asked++;
    for (int64_t i = 0; i < q->n * SIZE; i++)
        out[i] = 0.25f * (float)(q->labels[i / SIZE] + 1) + 0.4f * tanhf(q->x[i]);
    return VN_OK;
}

vn_model *open_pictures(vn_context *vn, const char *const *names, int32_t classes) {
    vn_callback_model spec = vn_callback_model_default();
    spec.rank = 3;
    spec.shape[0] = 1;
    spec.shape[1] = spec.shape[2] = SIDE;
    spec.classes = classes;
    spec.class_names = names;
    spec.has_null = 1;
    spec.predict = denoise;
    vn_model *model = NULL;
    expect_ok(vn, vn_model_from_callback(vn, &spec, &model));
    return model;
}

fixture begin(const char *const *names, int32_t classes) {
    fixture f = {0};
    assert_int_equal(vn_context_open(&f.vn, NULL), VN_OK);
    f.model = open_pictures(f.vn, names, classes);
    return f;
}

void end(fixture *f) {
    vn_model_close(&f->model);
    vn_context_close(&f->vn);
}

const char *const shoes[] = {"sandal", "boot"};

vn_sample_options few(int64_t count, double guidance, const char *guide) {
    vn_sample_options o = vn_sample_options_default();
    o.count = count;
    o.steps = 4;
    o.seed = 3;
    o.guidance = guidance;
    o.guide = guide;
    o.path = "rectified";
    return o;
}

vn_samples *draw(const fixture *f, vn_sample_options o) {
    vn_samples *out = NULL;
    expect_ok(f->vn, vn_sample(f->model, &o, &out));
    return out;
}

vn_samples *draw_bands(const fixture *f, const vn_sample_options *o, int count) {
    vn_samples *all = draw(f, o[0]);
    for (int i = 1; i < count; i++) {
        vn_samples *more = draw(f, o[i]);
        expect_ok(f->vn, vn_samples_append(all, more));
        vn_samples_close(&more);
    }
    return all;
}

void expect_refused_by(const fixture *f, vn_status status, vn_status expected, const char *words) {
    if (status != expected || !strstr(vn_error_text(f->vn), words))
        fail_msg("%s: \"%s\" lacks \"%s\"", vn_status_name(status), vn_error_text(f->vn), words);
}
