/* train_from.c - see the header. */
#include "api/train_from.h"
#include "api/train_guided.h"
#include "api/train_reflow.h"

#include <string.h>

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_network(const vn_model *m) {
    return m->parts == 1 && m->path && !m->pipeline && !m->row->prompt && !m->row->sequence;
}

static vn_status open_model(vn_train_job *j, const char *source, const char *option, vn_model **out,
                            vn_err *err) {
    const vn_status status = vn_model_load(j->vn, source, NULL, out, err);
    return status ? vn_fail_in(err, "`%s`", option) : VN_OK;
}

static vn_status open_teacher(vn_train_job *j, vn_err *err) {
    vn_status status = VN_OK;
    if (!j->o.objective)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a teacher, but no method of learning from it; vane list methods has them");
    status = open_model(j, j->o.teacher, "teacher", &j->teacher, err);
    if (status) return status;
    const vn_model *m = j->teacher;
    if (m->row->prompt || m->row->sequence || m->pipeline || m->shown.rank)
        return vn_fail(err, VN_UNSUPPORTED,
                       "`teacher` %s: teachers are runs of one network, and worlds", m->source);
    return VN_OK;
}

/* The run's names, which the data's have to be. */
static vn_status take_classes(vn_train_job *j, vn_err *err) {
    const vn_model *m = j->from;
    if (!m->classes) return VN_OK;
    j->known = vn_calloc((size_t)m->classes + 1, sizeof(*j->known));
    if (!j->known) return vn_no_memory(err);
    for (; j->known_count < m->classes; j->known_count++)
        j->known[j->known_count] = m->names[j->known_count];
    return VN_OK;
}

static vn_status take_settings(vn_train_job *j, vn_err *err) {
    const vn_model *m = j->from;
    if (!j->o.path) j->o.path = m->path_text;
    if (!j->o.predict && !(j->from_predict = vn_choice_text(&m->prediction.choice)))
        return vn_no_memory(err);
    if (!j->o.predict) j->o.predict = j->from_predict;
    vn_model_dir dir;
    const char *file = NULL;
    vn_status status = vn_model_dir_open(m->source, &dir, err);
    if (status) return status;
    status = vn_model_dir_weights(&dir, &file, err);
    if (!status && !(j->from_weights = vn_strdup(file))) status = vn_no_memory(err);
    vn_model_dir_close(&dir);
    if (status) return status;
    if (!j->o.size && vn_job_is_folder(j) && vn_shape_is_image(&m->sample))
        j->o.size = m->sample.dim[1] == m->sample.dim[2] ? m->sample.dim[1] : -1;
    return take_classes(j, err);
}

static vn_status open_begin(vn_train_job *j, vn_err *err) {
    if (!j->o.init_from) {
        if (j->teacher && is_network(j->teacher) && !j->o.model) j->from = j->teacher;
        return VN_OK;
    }
    if (j->o.model)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`model` and `init_from` exclude each other: the network is the run's");
    const vn_status status = open_model(j, j->o.init_from, "init_from", &j->began, err);
    if (status) return status;
    if (!is_network(j->began))
        return vn_fail(
            err, VN_UNSUPPORTED,
            "`init_from` %s: it is no run of one network, which alone can be gone on from",
            j->o.init_from);
    j->from = j->began;
    return VN_OK;
}

vn_status vn_job_open_from(vn_train_job *j, vn_err *err) {
    vn_status status = j->o.teacher ? open_teacher(j, err) : VN_OK;
    if (!status && j->o.teacher) status = vn_job_settle_teacher(j, err);
    if (!status) status = open_begin(j, err);
    return !status && j->from ? take_settings(j, err) : status;
}

vn_status vn_job_open_teacher_again(vn_train_job *j, vn_err *err) {
    if (!j->o.teacher) return VN_OK;
    const vn_status status = open_teacher(j, err);
    const json_t *was = json_object_get(json_object_get(j->dir.vane, "teacher"), "fingerprint");
    const char *is = status ? NULL : vn_model_fingerprint(j->teacher);
    if (status || !is || !json_is_string(was) || !strcmp(json_string_value(was), is)) return status;
    return vn_fail(err, VN_BAD_ARGUMENT, "%s is not the teacher that %s was begun with",
                   j->o.teacher, j->out);
}

/* ---- what follows from it -------------------------------------------------------------------- */

vn_status vn_job_check_from(const vn_train_job *j, vn_err *err) {
    const vn_model *m = j->from;
    if (!m) return VN_OK;
    if (strcmp(m->path_text, j->path_text) != 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "`path` %s: %s is on %s, and goes on there",
                       j->path_text, m->source, m->path_text);
    if (m->prediction.row != j->prediction.row)
        return vn_fail(err, VN_BAD_ARGUMENT, "`predict` %s: the network of %s predicts %s",
                       j->prediction.row->row.name, m->source, m->prediction.row->row.name);
    return VN_OK;
}

json_t *vn_job_config_from(const vn_train_job *j, vn_err *err) {
    const vn_net *net = vn_model_net(j->from);
    const vn_net_io *io = vn_net_get_io(net);
    const unsigned gives = vn_objective_gives(j->objective);
    const bool end = gives & VN_GIVES_STEP_END, strength = gives & VN_GIVES_GUIDANCE;
    if (vn_net_input(io, "guidance") && !strength) {
        vn_fail(err, VN_UNSUPPORTED,
                "%s takes guidance as an input, which the objective does not give: name as "
                "`init_from` the run that it was made of",
                j->from->source);
        return NULL;
    }
    if (vn_net_input(io, VN_STEP_END) && !end) {
        vn_fail(err, VN_UNSUPPORTED,
                "%s takes the end of a step, and the objective does not give it: it cannot be "
                "begun from",
                j->from->source);
        return NULL;
    }
    const bool lacks_end = end && !vn_net_input(io, VN_STEP_END),
               lacks_strength = strength && !vn_net_input(io, "guidance"),
               too_fast = (gives & VN_GIVES_SLOW_TIME) && io->time.scale == 1;
    json_t *config =
        lacks_end || lacks_strength || too_fast
            ? vn_net_config_with(vn_net_config(net), lacks_end, lacks_strength, too_fast, err)
            : vn_json_copy(vn_net_config(net));
    if (!config) {
        if (!err->status) vn_no_memory(err);
        return NULL;
    }
    if (j->o.dropout >= 0 && json_object_get(config, "dropout") &&
        json_object_set_new(config, "dropout", json_real(j->o.dropout)) != 0) {
        json_decref(config);
        vn_no_memory(err);
        return NULL;
    }
    return config;
}

void vn_job_adopt_sampled(vn_train_job *j) {
    const vn_sampled s = vn_objective_sampled(j->objective);
    vn_sampling_defaults *out = &j->sampling;
    if (s.sampler) vn_snprintf(out->sampler, sizeof out->sampler, "%s", s.sampler);
    if (s.guide || s.guided)
        vn_snprintf(out->guide, sizeof out->guide, "%s", s.guide ? s.guide : "");
    if (s.steps) out->steps = s.steps;
    if (s.guided) out->guidance = 1;
    out->consistency = s.consistency;
    if (s.guide && j->teacher) out->guidance = j->teacher->sampling.guidance;
}

void vn_job_close_from(vn_train_job *j) {
    vn_model_close(&j->teacher);
    vn_model_close(&j->began);
    j->from = NULL;
    vn_free(j->method);
    vn_free(j->from_predict);
    vn_free(j->from_weights);
}
