/* sequence.c - models of sequences. A run of vane's that was trained on codes is a network that
 * says which code comes next, in transformer/, and what makes pictures of codes, in vqvae/; its
 * vane.json has
 *
 *     "sequence": {"codes": 1024, "rows": 7, "columns": 7}
 *
 * and a table of chains (sequence/chains.c) is exact: a file of JSON with "chains", whose samples
 * are the codes themselves. */
#include "model/internal.h"

#include <string.h>

#define CODES_FOLDER "vqvae"

enum { LINES = 32 };                     /* sequences that are decoded at once */
#define CACHE_BYTES ((int64_t)256 << 20) /* of keys and values, for the choice of a batch */

/* ---- a network as a sequence ----------------------------------------------------------------- */

/* Keys and values of one sequence under one condition. */
typedef struct line {
    vn_condition condition;
    int64_t taken; /* tokens */
    int64_t next;  /* line of the same sequence under another condition; -1: none */
} line;

typedef struct net_sequence {
    vn_sequence sequence;
    const vn_model *m;
    vn_autoencoder *decoder; /* of codes to pictures */
    vn_decoder *network;
    int64_t columns, rows; /* of codes in a picture */
    int64_t vocabulary;
    int64_t lines, room; /* in use, and allocated: caches of LINES each */
    line *line;
    vn_decoder_cache **cache;
    int64_t sequences; /* of the run */
    int64_t *first;    /* [sequences] their first lines; -1: none yet */
    int64_t *wanted;   /* [room] which row of the query each line answers; -1: none */
    float *logits;     /* [LINES,vocabulary] */
} net_sequence;

static void close_caches(net_sequence *s) {
    for (int64_t i = 0; i < s->room / LINES; i++) vn_decoder_cache_close(&s->cache[i]);
    vn_free(s->cache);
    vn_free(s->line);
    vn_free(s->wanted);
    s->cache = NULL;
    s->line = NULL;
    s->wanted = NULL;
    s->room = s->lines = 0;
}

static vn_status begin(void *self, int64_t rows, vn_err *err) {
    net_sequence *s = self;
    const vn_model_part *part = &s->m->part[0];
    if (!s->network) {
        const vn_status status = vn_decoder_open(part->net, s->m->engine.device, part->values,
                                                 LINES, s->sequence.tokens, &s->network, err);
        if (status) return status;
    }
    if (rows > s->sequences) {
        int64_t *longer = vn_realloc(s->first, (size_t)rows, sizeof *longer);
        if (!longer) return vn_no_memory(err);
        s->first = longer;
    }
    s->sequences = rows;
    s->lines = 0;
    for (int64_t i = 0; i < rows; i++) s->first[i] = -1;
    return VN_OK;
}

/* Room for LINES more. */
static vn_status grow(net_sequence *s, vn_err *err) {
    const size_t caches = (size_t)(s->room / LINES) + 1, lines = caches * LINES;
    line *more = vn_realloc(s->line, lines, sizeof *more);
    if (more) s->line = more;
    int64_t *wanted = more ? vn_realloc(s->wanted, lines, sizeof *wanted) : NULL;
    if (wanted) s->wanted = wanted;
    vn_decoder_cache **cache = wanted ? vn_realloc(s->cache, caches, sizeof(void *)) : NULL;
    if (!cache) return vn_no_memory(err);
    s->cache = cache;
    const vn_status status = vn_decoder_cache_open(s->network, &s->cache[caches - 1], err);
    if (!status) s->room += LINES;
    return status;
}

/* The line of a sequence under a condition, a new one where there is none. */
static vn_status find_line(net_sequence *s, int64_t row, vn_condition condition, int64_t *out,
                           vn_err *err) {
    for (*out = s->first[row]; *out >= 0; *out = s->line[*out].next)
        if (s->line[*out].condition == condition) return VN_OK;
    if (s->lines == s->room) {
        const vn_status status = grow(s, err);
        if (status) return status;
    }
    *out = s->lines++;
    s->line[*out] = (line){.condition = condition, .next = s->first[row]};
    s->first[row] = *out;
    return VN_OK;
}

/* The token that a line takes at a position: of its condition, then the codes. */
static int32_t token_of(const net_sequence *s, const vn_next *q, int64_t at, int64_t position) {
    const vn_condition c = s->line[at].condition;
    if (position > 0) return q->codes[q->row[s->wanted[at]] * s->sequence.tokens + position - 1];
    return (int32_t)(s->sequence.codes + (c < 0 ? s->sequence.conditions.classes : c));
}

/* One token of the lines of a cache that are at this position; of the last, the logits. */
static vn_status step(net_sequence *s, const vn_next *q, int64_t cache, int64_t position,
                      float *logits, vn_err *err) {
    int32_t ids[LINES] = {0};
    bool wanted[LINES] = {false}, any = false;
    for (int64_t i = 0; i < LINES; i++) {
        const int64_t k = cache * LINES + i;
        wanted[i] = k < s->lines && s->wanted[k] >= 0 &&
                    (s->line[k].taken == position || position == q->position);
        if (!wanted[i]) continue;
        ids[i] = token_of(s, q, k, position);
        any = true;
    }
    if (!any) return VN_OK;
    const vn_status status =
        vn_decoder_step(s->network, s->cache[cache], position, wanted, ids, s->logits, err);
    for (int64_t i = 0; i < LINES && !status; i++) {
        const int64_t k = cache * LINES + i;
        if (!wanted[i]) continue;
        s->line[k].taken = position + 1;
        if (position == q->position)
            memcpy(logits + s->wanted[k] * s->sequence.codes, s->logits + i * s->vocabulary,
                   (size_t)s->sequence.codes * sizeof *logits);
    }
    return status;
}

/* Lines that were not asked for a while, as under guidance in an interval, take what they have
 * missed. A line that is asked for twice answers the latter row; rows that are the same were made
 * one by the guides. */
static vn_status next(void *self, const vn_next *q, float *logits, vn_err *err) {
    net_sequence *s = self;
    vn_status status = VN_OK;
    for (int64_t i = 0; i < s->lines; i++) s->wanted[i] = -1;
    int64_t *of = vn_alloc((size_t)q->n, sizeof *of);
    if (!of) return vn_no_memory(err);
    for (int64_t i = 0; i < q->n && !status; i++) {
        status = find_line(s, q->row[i], q->condition[i], &of[i], err);
        if (!status) s->wanted[of[i]] = i;
    }
    for (int64_t c = 0; c * LINES < s->lines && !status; c++)
        for (int64_t t = 0; t <= q->position && !status; t++)
            status = step(s, q, c, t, logits, err);
    for (int64_t i = 0; i < q->n && !status; i++)
        if (s->wanted[of[i]] != i)
            memcpy(logits + i * s->sequence.codes, logits + s->wanted[of[i]] * s->sequence.codes,
                   (size_t)s->sequence.codes * sizeof *logits);
    vn_free(of);
    return status;
}

/* ---- opened ---------------------------------------------------------------------------------- */

static const json_t *sequence_of(const json_t *vane) {
    const json_t *sequence = json_object_get(vane, "sequence");
    return json_is_object(sequence) ? sequence : NULL;
}

static bool detect(const char *path) {
    vn_model_dir dir = {0};
    if (!vn_network_model.detect(path)) return false;
    const bool is = vn_model_dir_open(path, &dir, NULL) == VN_OK && sequence_of(dir.vane);
    vn_model_dir_close(&dir);
    return is;
}

static const char *class_name(const void *from, int32_t i) {
    return json_string_value(json_array_get(from, (size_t)i));
}

/* What vane.json says of samples and classes. */
static vn_status read_vane(vn_model *m, vn_err *err) {
    const json_t *shape = json_object_get(json_object_get(m->vane, "data"), "shape"),
                 *names = json_object_get(m->vane, "classes");
    m->size = 1;
    m->sample.rank = 3;
    for (int i = 0; i < 3; i++) {
        m->sample.dim[i] = json_integer_value(json_array_get(shape, (size_t)i));
        if (m->sample.dim[i] < 1 || m->sample.dim[i] > VN_MAX_SIDE)
            return vn_fail(err, VN_BAD_FILE, "%s: vane.json does not give the size of a sample",
                           m->source);
        m->size *= m->sample.dim[i];
    }
    if (m->size > VN_MAX_SAMPLE)
        return vn_fail(err, VN_BAD_FILE, "%s: a sample of %lld numbers; at most %d are possible",
                       m->source, (long long)m->size, VN_MAX_SAMPLE);
    m->has_null = true;
    vn_status status =
        vn_model_copy_names(m, (int32_t)json_array_size(names), class_name, names, err);
    if (!status)
        status =
            vn_sampling_defaults_from_json(json_object_get(m->vane, "sampling"), &m->sampling, err);
    m->sampling.steps = 0; /* it has none */
    return status ? vn_fail_in(err, "%s/vane.json", m->source) : VN_OK;
}

/* Whether network, codes and sizes agree. */
static vn_status check_fit(const vn_model *m, const net_sequence *s, vn_err *err) {
    const vn_latents *l = &vn_net_get_io(vn_autoencoder_net(s->decoder))->latents;
    const vn_port *logits = vn_net_output(vn_net_get_io(vn_model_net(m)), "logits");
    const long long needs = s->sequence.codes + m->classes + 1;
    if (!vn_net_get_row(vn_model_net(m)) ||
        vn_net_get_row(vn_model_net(m))->role != VN_ROLE_SEQUENCE)
        return vn_fail(err, VN_BAD_FILE, "%s: vane.json has a sequence, and its network is %s",
                       m->source, vn_net_get_row(vn_model_net(m))->row.name);
    if (logits->shape.dim[2] != needs)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: the network knows %lld tokens, and %lld codes, %d classes and null are "
                       "%lld",
                       m->source, (long long)logits->shape.dim[2], (long long)s->sequence.codes,
                       (int)m->classes, needs);
    if (l->codes != s->sequence.codes)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: a sequence of %lld codes, and " CODES_FOLDER " has %lld", m->source,
                       (long long)s->sequence.codes, (long long)l->codes);
    if (s->rows * l->factor == m->sample.dim[1] && s->columns * l->factor == m->sample.dim[2])
        return VN_OK;
    return vn_fail(err, VN_BAD_FILE,
                   "%s: %lldx%lld codes of %lld pixels a side are no pictures of %lldx%lld",
                   m->source, (long long)s->columns, (long long)s->rows, (long long)l->factor,
                   (long long)m->sample.dim[2], (long long)m->sample.dim[1]);
}

/* m->self of a model that has its parts. */
static vn_status open_self(vn_model *m, vn_err *err) {
    net_sequence *s = m->self = vn_calloc(1, sizeof *s);
    if (!s) return vn_no_memory(err);
    const json_t *says = sequence_of(m->vane);
    char *codes = vn_path_join(m->source, CODES_FOLDER);
    vn_status status = codes
                           ? vn_autoencoder_open_source(m->vn, &m->engine, codes, &s->decoder, err)
                           : vn_no_memory(err);
    vn_free(codes);
    if (status) return status;
    s->m = m;
    s->rows = json_integer_value(json_object_get(says, "rows"));
    s->columns = json_integer_value(json_object_get(says, "columns"));
    s->sequence = (vn_sequence){.codes = json_integer_value(json_object_get(says, "codes")),
                                .conditions = {.classes = m->classes,
                                               .has_null = true,
                                               .names = (const char *const *)m->names},
                                .self = s,
                                .begin = begin,
                                .next = next};
    if (s->rows < 1 || s->columns < 1 || s->rows > VN_MAX_SIDE || s->columns > VN_MAX_SIDE)
        return vn_fail(err, VN_BAD_FILE, "%s: vane.json has %lldx%lld codes", m->source,
                       (long long)s->columns, (long long)s->rows);
    m->tokens = s->sequence.tokens = s->rows * s->columns;
    status = check_fit(m, s, err);
    if (status) return status;
    s->vocabulary = s->sequence.codes + m->classes + 1;
    s->logits = vn_alloc((size_t)(LINES * s->vocabulary), sizeof *s->logits);
    return s->logits ? VN_OK : vn_no_memory(err);
}

static vn_status open(vn_model *m, const vn_model_source *source, vn_err *err) {
    vn_model_dir dir = {0};
    vn_status status = vn_model_dir_open(m->source, &dir, err);
    if (status) return status;
    vn_model_part *part = &m->part[m->parts++];
    m->vane = json_incref(dir.vane);
    if (source->null_class >= 0)
        status = vn_fail(err, VN_BAD_ARGUMENT, "`null_class` %d has no effect on a sequence model",
                         (int)source->null_class);
    if (!status && !(part->name = vn_strdup(dir.folder))) status = vn_no_memory(err);
    if (!status && (status = vn_net_open(dir.config, &part->net, err)))
        vn_fail_in(err, "%s/%s/config.json", m->source, dir.folder);
    if (!status) m->kind = vn_net_get_row(part->net)->row.name;
    if (!status) status = read_vane(m, err);
    if (!status)
        status = vn_model_dir_values(&dir, m->source, &m->engine, part->net, &part->values, err);
    if (!status) status = vn_store_weights_step(dir.weights, &m->steps, err);
    if (m->steps < 0) m->steps = 0;
    if (!status) status = open_self(m, err);
    vn_model_dir_close(&dir);
    return status;
}

static void close(vn_model *m) {
    net_sequence *s = m->self;
    if (!s) return;
    close_caches(s);
    vn_decoder_close(&s->network);
    vn_autoencoder_free(&s->decoder);
    vn_free(s->first);
    vn_free(s->logits);
    vn_free(s);
    m->self = NULL;
}

static vn_status share(vn_model *m, const vn_model *of, vn_err *err) {
    (void)of;
    return open_self(m, err);
}

static const vn_sequence *sequence(vn_model *m) {
    return &((net_sequence *)m->self)->sequence;
}

static vn_status decode(vn_model *m, int64_t n, const int32_t *codes, float *x, vn_err *err) {
    const net_sequence *s = m->self;
    const vn_array in = {
        .name = "codes", .dtype = VN_I32, .shape = VN_SHAPE(n, s->rows, s->columns), .data = codes};
    vn_array out = {0};
    const vn_status status =
        vn_autoencoder_decode_array(s->decoder, &(vn_coding){0}, &in, &out, err);
    if (!status) vn_array_read_f32(&out, x);
    return status;
}

static vn_status encode(vn_model *m, int64_t n, const float *x, int32_t *codes, vn_err *err) {
    const net_sequence *s = m->self;
    const vn_array in = {.name = "images",
                         .dtype = VN_F32,
                         .shape = VN_SHAPE(n, m->sample.dim[0], m->sample.dim[1], m->sample.dim[2]),
                         .data = x};
    vn_array out = {.name = "codes"};
    const vn_status status =
        vn_autoencoder_encode_arrays(s->decoder, &(vn_coding){0}, &in, 1, &out, err);
    if (!status) memcpy(codes, out.data, (size_t)(n * s->sequence.tokens) * sizeof *codes);
    return status;
}

/* Those of classes and null at once, within CACHE_BYTES. */
static int64_t batch(const vn_model *m) {
    const net_sequence *s = m->self;
    const json_t *config = vn_net_config(vn_model_net(m));
    const int64_t width = json_integer_value(json_object_get(config, "hidden_size")),
                  layers = json_integer_value(json_object_get(config, "num_hidden_layers")),
                  each = 2 * 2 * (int64_t)sizeof(float) * s->sequence.tokens *
                         (width > 0 ? width : 1) * (layers > 0 ? layers : 1);
    const int64_t n = CACHE_BYTES / each / LINES * LINES;
    return n < LINES ? LINES : n > 4 * LINES ? 4 * LINES : n;
}

static bool fingerprint(vn_model *m, uint64_t *out) {
    *out = vn_hash_begin;
    return vn_hash_part(&m->part[0], out);
}

/* What asks for a denoiser: likelihoods by an ODE, restoration, timing. */
static vn_status make_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err) {
    (void)path, (void)out;
    return vn_fail(err, VN_UNSUPPORTED, "%s: is a sequence model: it has tokens, and no noise",
                   m->source);
}

const vn_model_row vn_sequence_model = {
    .row = {"sequence", "a network that says which code of a picture comes next", "", NULL},
    .detect = detect,
    .open = open,
    .denoiser = make_denoiser,
    .batch = batch,
    .fingerprint = fingerprint,
    .share = share,
    .sequence = sequence,
    .from_codes = decode,
    .to_codes = encode,
    .close = close,
};

/* ---- a table of chains ----------------------------------------------------------------------- */

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
    .denoiser = make_denoiser,
    .share = share_chains,
    .sequence = sequence_of_chains,
    .from_codes = as_numbers,
    .to_codes = as_codes,
    .close = close_chains,
};
