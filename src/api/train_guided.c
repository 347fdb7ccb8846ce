/* train_guided.c - see the header. */
#include "api/train_guided.h"

#include <string.h>

/* The place of a parameter; -1: the row has none of that name. */
static int place_of(const vn_choice *c, const char *name) {
    const vn_param *p = c->row->params;
    for (int i = 0; p && p[i].name; i++)
        if (!strcmp(p[i].name, name)) return i;
    return -1;
}

static void settle(vn_choice *c, const char *name, double value) {
    const int i = place_of(c, name);
    if (i < 0 || c->given[i]) return;
    c->value[i] = value;
    c->given[i] = true;
}

static bool is_given(const vn_choice *c, const char *name) {
    const int i = place_of(c, name);
    return i >= 0 && c->given[i];
}

/* Unless one end of it was asked for. */
static void settle_interval(vn_choice *c, double lo, double hi) {
    if (is_given(c, VN_GUIDED_ABOVE) || is_given(c, VN_GUIDED_UP_TO)) return;
    settle(c, VN_GUIDED_ABOVE, lo);
    settle(c, VN_GUIDED_UP_TO, hi);
}

static vn_status keep(vn_train_job *j, const vn_choice *c, vn_err *err) {
    j->method = vn_choice_text(c);
    j->o.objective = j->method;
    return j->method ? VN_OK : vn_no_memory(err);
}

vn_sampling_kind vn_job_sampling_kind(const vn_train_job *j) {
    const vn_data_info *info = vn_data_get_info(j->data);
    return (vn_sampling_kind){.sample = &info->sample,
                              .drops = j->o.drop > 0,
                              .classes = info->classes > 0 && !j->texts && !j->sequence &&
                                         !j->latents.autoencoder};
}

vn_status vn_job_settle_teacher(vn_train_job *j, vn_err *err) {
    const vn_sampling_defaults *teacher = &j->teacher->sampling;
    double lo, hi;
    vn_choice c;
    const vn_status status = vn_choice_parse(j->o.objective, &vn_methods, &c, err);
    if (status) return status;
    settle(&c, VN_TEACHER_GUIDANCE, teacher->guidance);
    if (vn_guides_interval(teacher->guide, &lo, &hi)) settle_interval(&c, lo, hi);
    return keep(j, &c, err);
}

vn_status vn_job_settle_interval(vn_train_job *j, vn_err *err) {
    const vn_sampling_kind kind = vn_job_sampling_kind(j);
    double lo, hi;
    vn_choice c;
    if (j->teacher || !j->o.objective || !vn_sampling_interval(&kind, &lo, &hi)) return VN_OK;
    const vn_status status = vn_choice_parse(j->o.objective, &vn_objectives, &c, err);
    if (status || place_of(&c, VN_GUIDED_UP_TO) < 0) return status;
    settle_interval(&c, lo, hi);
    return keep(j, &c, err);
}
