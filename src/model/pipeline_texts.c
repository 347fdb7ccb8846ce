/* pipeline_texts.c - a text as a pipeline's condition: its encoders read it, each with its own
 * tokenizer and length, and its row joins what they say for the network. */
#include "model/pipeline.h"

#include <string.h>

enum { CLIP_LENGTH = 77, MOST_LENGTH = VN_PROMPT_LONGEST };

/* ---- encoders -------------------------------------------------------------------------------- */

/* How many tokens the tokenizer gives every text. */
static vn_status read_length(const vn_model *m, const vn_pipeline_text *text, int64_t *length,
                             vn_err *err) {
    json_t *config = NULL;
    char *file = vn_format("%s/%s/tokenizer_config.json", m->source, text->tokenizer);
    if (!file) return vn_no_memory(err);
    const vn_status status = vn_is_file(file) ? vn_json_read(file, &config, err) : VN_OK;
    const double most = json_number_value(json_object_get(config, "model_max_length"));
    *length = text->length                       ? text->length
              : most >= 1 && most <= MOST_LENGTH ? (int64_t)most
                                                 : CLIP_LENGTH;
    json_decref(config);
    vn_free(file);
    return status;
}

static vn_status check_outputs(const vn_model *m, const vn_pipeline_text *text, const vn_net *net,
                               vn_err *err) {
    const char *const names[] = {text->states, text->whole};
    for (size_t i = 0; i < VN_COUNT(names); i++)
        if (names[i] && !vn_net_output(vn_net_get_io(net), names[i]))
            return vn_fail(err, VN_BAD_FILE, "%s/%s: %s gives no %s, which a %s needs", m->source,
                           text->encoder, vn_net_get_row(net)->row.name, names[i],
                           m->pipeline->row->row.name);
    return VN_OK;
}

static vn_status open_encoders(vn_model *m, const json_t *index, vn_err *err) {
    vn_pipeline *p = m->pipeline;
    vn_status status = VN_OK;
    for (int i = 0; i < VN_PIPELINE_TEXTS && p->row->text[i].encoder && !status; i++) {
        const vn_pipeline_text *text = &p->row->text[i];
        vn_model_part part = {0};
        p->length[i] = text->length;
        if (text->optional && !vn_pipeline_has(index, text->encoder)) continue;
        status = vn_pipeline_need(m, index, text->encoder, err);
        if (!status) status = vn_pipeline_need(m, index, text->tokenizer, err);
        if (!status) status = vn_model_open_part(m, text->encoder, VN_ROLE_ENCODER, &part, err);
        if (!status) status = check_outputs(m, text, part.net, err);
        if (!status) status = read_length(m, text, &p->length[i], err);
        if (!status)
            p->part[i] = vn_model_add_part(m, &part);
        else
            vn_model_close_part(&part);
    }
    return status;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* What the encoders give, of zeros. */
static void encode_zeros(const vn_model *m, vn_encoded e[VN_PIPELINE_TEXTS]) {
    const vn_pipeline *p = m->pipeline;
    memset(e, 0, VN_PIPELINE_TEXTS * sizeof *e);
    for (int i = 0; i < VN_PIPELINE_TEXTS; i++) {
        const vn_pipeline_text *text = &p->row->text[i];
        e[i].length = p->length[i];
        if (p->part[i] < 0) continue;
        const vn_net_io *io = vn_net_get_io(m->part[p->part[i]].net);
        e[i].there = true;
        e[i].width = vn_net_output(io, text->states)->shape.dim[2];
        e[i].whole_width = text->whole ? vn_net_output(io, text->whole)->shape.dim[1] : 0;
    }
}

static vn_status open_prompter(vn_model *m, int i, vn_err *err) {
    vn_pipeline *p = m->pipeline;
    const vn_pipeline_text *text = &p->row->text[i];
    const vn_model_part *part = &m->part[p->part[i]];
    if (p->prompter[i]) return VN_OK;
    char *folder = vn_path_join(m->source, text->tokenizer);
    if (!folder) return vn_no_memory(err);
    vn_status status = vn_prompter_open(&m->engine, folder, part->net, part->values, p->length[i],
                                        &p->prompter[i], err);
    if (!status) status = vn_prompter_take(p->prompter[i], text->states, err);
    if (status) vn_fail_in(err, "%s", folder);
    vn_free(folder);
    return status;
}

static vn_status open_prompters(vn_model *m, vn_err *err) {
    vn_status status = VN_OK;
    for (int i = 0; i < VN_PIPELINE_TEXTS && !status; i++)
        if (m->pipeline->part[i] >= 0) status = open_prompter(m, i, err);
    return status;
}

static vn_status encode(vn_model *m, const char *text, vn_encoded e[VN_PIPELINE_TEXTS],
                        vn_err *err) {
    vn_pipeline *p = m->pipeline;
    vn_status status = open_prompters(m, err);
    for (int i = 0; i < VN_PIPELINE_TEXTS && !status; i++) {
        vn_array arrays[VN_PROMPT_ARRAYS];
        if (p->part[i] < 0) continue;
        status = vn_prompter_answer(p->prompter[i], m->engine.watch, p->row->text[i].encoder, text,
                                    arrays, err);
        e[i].states = arrays[VN_PROMPT_STATES].data;
        if (p->row->text[i].whole) e[i].whole = arrays[VN_PROMPT_POOLED].data;
    }
    return status;
}

vn_status vn_pipeline_keep(vn_model *m, const char *text, bool null, vn_condition *out,
                           vn_err *err) {
    vn_encoded e[VN_PIPELINE_TEXTS];
    vn_joined joined = {0};
    vn_status status = VN_OK;
    encode_zeros(m, e);
    if (!null || !m->pipeline->null_is_zeros) status = encode(m, text, e, err);
    if (!status) m->pipeline->row->join(m, e, &joined);
    if (!status && joined.failed) status = vn_no_memory(err);
    if (!status) status = vn_model_keep_as(m, text, null, joined.count, joined.array, out, err);
    vn_joined_free(&joined);
    return status;
}

vn_status vn_pipeline_keep_null(vn_model *m, vn_err *err) {
    vn_condition null;
    if (vn_model_condition_array(m, VN_CONDITION_NULL, "encoder_hidden_states")) return VN_OK;
    return vn_pipeline_keep(m, "", true, &null, err);
}

/* ---- what does not fit together -------------------------------------------------------------- */

static vn_status unlike(const vn_model *m, const char *what, int64_t gives, int64_t takes,
                        vn_err *err) {
    return vn_fail(err, VN_BAD_FILE,
                   "%s: its text encoders give %s of %lld numbers, and its network takes %lld",
                   m->source, what, (long long)gives, (long long)takes);
}

/* Whether the network takes the array, as far as its ports and its sums of them say. */
static vn_status check_array(const vn_model *m, const vn_array *a, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(vn_model_net(m));
    const vn_port *port = vn_net_input(io, a->name);
    const int64_t gives = a->shape.dim[a->shape.rank - 1];
    if (!port)
        return vn_fail(err, VN_BAD_FILE, "%s: its network takes no %s, which a %s gives it",
                       m->source, a->name, m->pipeline->row->row.name);
    const int64_t last = port->shape.dim[port->shape.rank - 1],
                  takes = last == VN_DIM_POOLED ? io->usual_pooled
                          : last == VN_DIM_IDS  ? io->usual_ids
                                                : last;
    if (takes < 0 || takes == gives) return VN_OK;
    return unlike(m, a->shape.rank > 1 ? "tokens" : "a text", gives, takes, err);
}

static vn_status check_texts(vn_model *m, vn_err *err) {
    vn_encoded e[VN_PIPELINE_TEXTS];
    vn_joined joined = {0};
    vn_status status = VN_OK;
    encode_zeros(m, e);
    m->pipeline->row->join(m, e, &joined);
    if (joined.failed) status = vn_no_memory(err);
    for (int i = 0; i < joined.count && !status; i++)
        status = check_array(m, &joined.array[i], err);
    vn_joined_free(&joined);
    return status ? status : open_prompters(m, err);
}

bool vn_pipeline_takes_texts(const vn_pipeline_row *row) {
    return row->join != NULL;
}

vn_status vn_pipeline_open_texts(vn_model *m, const json_t *index, vn_err *err) {
    vn_status status = open_encoders(m, index, err);
    if (!status && vn_pipeline_takes_texts(m->pipeline->row)) status = check_texts(m, err);
    return status;
}

int64_t vn_model_tokens(const vn_model *m) {
    vn_encoded e[VN_PIPELINE_TEXTS];
    vn_joined joined = {0};
    int64_t tokens = 0;
    if (!m->pipeline || !vn_pipeline_takes_texts(m->pipeline->row)) return 0;
    encode_zeros(m, e);
    m->pipeline->row->join(m, e, &joined);
    for (int i = 0; i < joined.count; i++)
        if (joined.array[i].shape.rank == 2) tokens = joined.array[i].shape.dim[0];
    vn_joined_free(&joined);
    return tokens;
}
