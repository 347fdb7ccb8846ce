/* chains_model.c - a table of chains (sequence/chains.c) as a model: a file of JSON with "chains",
 * which is exact, and whose samples are the codes themselves. */
#include "model/internal.h"

typedef struct chain_model {
    vn_chains *chains;
    vn_sequence sequence;
} chain_model;

static bool detect_chains(const char *path) {
    json_t *json = NULL;
    if (!vn_ends_with(path, ".json") || !vn_is_file(path)) return false;
    const bool is = vn_json_read(path, &json, NULL) == VN_OK && vn_chains_detect(json);
    json_decref(json);
    return is;
}

static const char *chain_name(const void *chains, int32_t i) {
    return vn_chains_name(chains, i);
}

static vn_status read_chains(vn_model *m, vn_err *err) {
    chain_model *c = m->self = vn_calloc(1, sizeof *c);
    json_t *json = NULL;
    if (!c) return vn_no_memory(err);
    vn_status status = vn_json_read(m->source, &json, err);
    if (!status && (status = vn_chains_open(json, &c->chains, err)))
        vn_fail_in(err, "%s", m->source);
    if (!status) c->sequence = vn_chains_sequence(c->chains);
    json_decref(json);
    return status;
}

static vn_status open_chains(vn_model *m, const vn_model_source *source, vn_err *err) {
    if (source->null_class >= 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "`null_class` %d has no effect on a world",
                       (int)source->null_class);
    vn_status status = read_chains(m, err);
    if (status) return status;
    const chain_model *c = m->self;
    m->tokens = m->size = c->sequence.tokens;
    m->sample = VN_SHAPE(m->size);
    m->has_null = true;
    return vn_model_copy_names(m, c->sequence.conditions.classes, chain_name, c->chains, err);
}

static vn_status share_chains(vn_model *m, const vn_model *of, vn_err *err) {
    (void)of;
    return read_chains(m, err);
}

static void close_chains(vn_model *m) {
    chain_model *c = m->self;
    if (c) vn_chains_close(&c->chains);
    vn_free(c);
    m->self = NULL;
}

static const vn_sequence *sequence_of_chains(vn_model *m) {
    return &((chain_model *)m->self)->sequence;
}

/* Codes are what is looked at. */
static vn_status as_numbers(vn_model *m, int64_t n, const int32_t *codes, float *x, vn_err *err) {
    (void)err;
    for (int64_t i = 0; i < n * m->size; i++) x[i] = (float)codes[i];
    return VN_OK;
}

static vn_status as_codes(vn_model *m, int64_t n, const float *x, int32_t *codes, vn_err *err) {
    const int64_t known = ((chain_model *)m->self)->sequence.codes;
    for (int64_t i = 0; i < n * m->size; i++) {
        codes[i] = x[i] >= 0 && x[i] < (float)known ? (int32_t)x[i] : -1;
        if ((float)codes[i] != x[i])
            return vn_fail(err, VN_BAD_ARGUMENT, "%g is no code: there are 0 to %lld", (double)x[i],
                           (long long)known - 1);
    }
    return VN_OK;
}

const vn_model_row vn_chains_model = {
    .row = {"chains", "an exact table of Markov chains of categories", "", NULL},
    .detect = detect_chains,
    .open = open_chains,
    .denoiser = vn_sequence_refuse_denoiser,
    .share = share_chains,
    .sequence = sequence_of_chains,
    .from_codes = as_numbers,
    .to_codes = as_codes,
    .close = close_chains,
};
