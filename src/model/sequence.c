/* sequence.c - models of sequences. A run of vane's that was trained on codes is a network that
 * says which code of a picture comes next, in transformer/, and what makes pictures of codes, in
 * vqvae/. Its vane.json has
 *
 *     "sequence": {"codes": 1024, "rows": 7, "columns": 7}
 *
 * and, if it was trained on captions, "text" as other runs have it (text_model.c). A sequence
 * begins with a token of its class, which is codes + class, the last of them null; or with the
 * tokens of its text, codes + id, always so many, those of the empty text being the null
 * condition. */
#include "model/internal.h"

#include "text/text.h"

#include <string.h>

#define CODES_FOLDER "vqvae"
#define TOKENIZER    "tokenizer"
#define IDS          "input_ids"

enum { LINES = 32 };                     /* sequences that are decoded at once */
#define CACHE_BYTES ((int64_t)256 << 20) /* of keys and values, for the choice of a batch */

/* ---- a network as a sequence ----------------------------------------------------------------- */

/* Keys and values of one sequence under one condition. */
typedef struct line {
    vn_condition condition;
    const int32_t *text; /* [prefix] what it begins with; NULL: a class */
    int64_t taken;       /* tokens */
    int64_t next;        /* line of the same sequence under another condition; -1: none */
} line;

typedef struct net_sequence {
    vn_sequence sequence;
    const vn_model *m;
    vn_text *text;           /* NULL: a sequence begins with a class */
    int64_t prefix;          /* tokens that it begins with */
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
        const vn_status status =
            vn_decoder_open(part->net, s->m->engine.device, part->values, LINES,
                            s->prefix + s->sequence.tokens - 1, &s->network, err);
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

/* What a new line begins with. A program may have added any condition. */
static vn_status begin_line(const net_sequence *s, line *l, vn_err *err) {
    const vn_array *ids = vn_model_condition_array(s->m, l->condition, IDS);
    if (!s->text && l->condition < s->sequence.conditions.classes) return VN_OK;
    if (s->text && ids && ids->shape.dim[0] == s->prefix) {
        l->text = ids->data;
        return VN_OK;
    }
    return s->text ? vn_fail(err, VN_UNSUPPORTED,
                             "%s: a sequence begins with the %lld tokens of a text, and condition "
                             "%d has others",
                             s->m->source, (long long)s->prefix, (int)l->condition)
                   : vn_fail(err, VN_UNSUPPORTED,
                             "%s: a sequence begins with a class, and condition %d is none",
                             s->m->source, (int)l->condition);
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
    line new = {.condition = condition, .next = s->first[row]};
    const vn_status status = begin_line(s, &new, err);
    if (status) return status;
    *out = s->lines++;
    s->line[*out] = new;
    s->first[row] = *out;
    return VN_OK;
}

/* The token that a line takes at a position: of its condition, then the codes. */
static int32_t token_of(const net_sequence *s, const vn_next *q, int64_t at, int64_t position) {
    const line *l = &s->line[at];
    if (position >= s->prefix)
        return q->codes[q->row[s->wanted[at]] * s->sequence.tokens + position - s->prefix];
    if (l->text) return l->text[position];
    const vn_condition classes = s->sequence.conditions.classes;
    return (int32_t)(s->sequence.codes + (l->condition < 0 ? classes : l->condition));
}

/* Where the code that is asked for is said: at the token before it. */
static int64_t last_of(const net_sequence *s, const vn_next *q) {
    return s->prefix - 1 + q->position;
}

/* One token of the lines of a cache that are at this position; of the last, the logits. */
static vn_status step(net_sequence *s, const vn_next *q, int64_t cache, int64_t position,
                      float *logits, vn_err *err) {
    int32_t ids[LINES] = {0};
    bool wanted[LINES] = {false}, any = false;
    const bool last = position == last_of(s, q);
    for (int64_t i = 0; i < LINES; i++) {
        const int64_t k = cache * LINES + i;
        wanted[i] = k < s->lines && s->wanted[k] >= 0 && (s->line[k].taken == position || last);
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
        if (last)
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
        for (int64_t t = 0; t <= last_of(s, q) && !status; t++)
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

static const json_t *text_of(const json_t *vane) {
    const json_t *text = json_object_get(vane, "text");
    return json_is_object(text) ? text : NULL;
}

static bool is_sequence(const char *path, bool of_texts) {
    vn_model_dir dir = {0};
    if (!vn_network_model.detect(path)) return false;
    const bool is = vn_model_dir_open(path, &dir, NULL) == VN_OK && sequence_of(dir.vane) &&
                    (text_of(dir.vane) != NULL) == of_texts;
    vn_model_dir_close(&dir);
    return is;
}

static bool detect_classes(const char *path) {
    return is_sequence(path, false);
}

static bool detect_texts(const char *path) {
    return is_sequence(path, true);
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
    const long long words = s->text ? vn_text_size(s->text) : m->classes + 1,
                    needs = s->sequence.codes + words;
    if (vn_net_get_row(vn_model_net(m))->role != VN_ROLE_SEQUENCE)
        return vn_fail(err, VN_BAD_FILE, "%s: vane.json has a sequence, and its network is %s",
                       m->source, vn_net_get_row(vn_model_net(m))->row.name);
    if (logits->shape.dim[2] != needs)
        return vn_fail(err, VN_BAD_FILE,
                       "%s: the network knows %lld tokens, and %lld codes and %lld tokens of %s "
                       "are %lld",
                       m->source, (long long)logits->shape.dim[2], (long long)s->sequence.codes,
                       words, s->text ? "texts" : "classes and null", needs);
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

/* What s has without files: its rows, columns and codes are set, and its parts. */
static vn_status finish(vn_model *m, net_sequence *s, vn_err *err) {
    s->sequence.conditions = vn_model_conditions(m);
    s->sequence.self = s;
    s->sequence.begin = begin;
    s->sequence.next = next;
    m->tokens = s->sequence.tokens = s->rows * s->columns;
    const vn_status status = check_fit(m, s, err);
    if (status) return status;
    s->vocabulary = vn_net_output(vn_net_get_io(vn_model_net(m)), "logits")->shape.dim[2];
    s->logits = vn_alloc((size_t)(LINES * s->vocabulary), sizeof *s->logits);
    return s->logits ? VN_OK : vn_no_memory(err);
}

static vn_status open_text(vn_model *m, net_sequence *s, const json_t *says, vn_err *err) {
    const char *name = json_string_value(json_object_get(says, "tokenizer"));
    const bool bytes = name && !strcmp(name, "bytes");
    char *folder = bytes ? vn_strdup(name) : vn_path_join(m->source, TOKENIZER);
    vn_status status = folder ? vn_text_open(folder, &s->text, err) : vn_no_memory(err);
    vn_free(folder);
    if (status) return status;
    s->prefix = json_integer_value(json_object_get(says, "length"));
    if (s->prefix >= 1 && s->prefix >= vn_text_framing(s->text) && s->prefix <= VN_PROMPT_LONGEST)
        return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "%s: vane.json has texts of %lld tokens", m->source,
                   (long long)s->prefix);
}

/* m->self of a model that has its parts. */
static vn_status open_self(vn_model *m, vn_err *err) {
    net_sequence *s = m->self = vn_calloc(1, sizeof *s);
    if (!s) return vn_no_memory(err);
    const json_t *says = sequence_of(m->vane), *text = text_of(m->vane);
    char *codes = vn_path_join(m->source, CODES_FOLDER);
    vn_status status = codes
                           ? vn_autoencoder_open_source(m->vn, &m->engine, codes, &s->decoder, err)
                           : vn_no_memory(err);
    vn_free(codes);
    s->m = m;
    s->prefix = 1;
    if (!status && text) status = open_text(m, s, text, err);
    if (status) return status;
    s->rows = json_integer_value(json_object_get(says, "rows"));
    s->columns = json_integer_value(json_object_get(says, "columns"));
    s->sequence.codes = json_integer_value(json_object_get(says, "codes"));
    if (s->rows < 1 || s->columns < 1 || s->rows > VN_MAX_SIDE || s->columns > VN_MAX_SIDE)
        return vn_fail(err, VN_BAD_FILE, "%s: vane.json has %lldx%lld codes", m->source,
                       (long long)s->columns, (long long)s->rows);
    return finish(m, s, err);
}

/* The tokens of a text, kept as what the network takes. */
static vn_status keep_text(vn_model *m, const char *text, vn_condition *out, vn_err *err) {
    const net_sequence *s = m->self;
    int32_t *ids = vn_alloc((size_t)s->prefix, sizeof *ids);
    if (!ids) return vn_no_memory(err);
    vn_status status = vn_prompt_fill(s->text, m->engine.watch, text, s->prefix, ids, err);
    for (int64_t i = 0; i < s->prefix && !status; i++) ids[i] += (int32_t)s->sequence.codes;
    const vn_array array = {IDS, VN_I32, VN_SHAPE(s->prefix), ids};
    if (!status) status = vn_model_keep_as(m, text, !text[0], 1, &array, out, err);
    vn_free(ids);
    return status;
}

static vn_status open_sequence(vn_model *m, const vn_model_source *source, vn_err *err) {
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

static vn_status open_texts(vn_model *m, const vn_model_source *source, vn_err *err) {
    vn_condition null;
    const vn_status status = open_sequence(m, source, err);
    return status ? status : keep_text(m, "", &null, err);
}

static void close(vn_model *m) {
    net_sequence *s = m->self;
    if (!s) return;
    close_caches(s);
    vn_text_close(&s->text);
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

/* Texts that were asked for since are conditions too. */
static const vn_sequence *sequence(vn_model *m) {
    net_sequence *s = m->self;
    s->sequence.conditions = vn_model_conditions(m);
    if (s->text && !s->sequence.conditions.count) s->sequence.conditions.count = 1;
    return &s->sequence;
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
                  each = 2 * 2 * (int64_t)sizeof(float) * (s->prefix + s->sequence.tokens) *
                         (width > 0 ? width : 1) * (layers > 0 ? layers : 1);
    const int64_t n = CACHE_BYTES / each / LINES * LINES;
    return n < LINES ? LINES : n > 4 * LINES ? 4 * LINES : n;
}

static bool fingerprint(vn_model *m, uint64_t *out) {
    *out = vn_hash_begin;
    return vn_hash_part(&m->part[0], out);
}

vn_status vn_sequence_refuse_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out,
                                      vn_err *err) {
    (void)path, (void)out;
    return vn_fail(err, VN_UNSUPPORTED, "%s: is a sequence model: it has tokens, and no noise",
                   m->source);
}

#define WHAT_BOTH_ARE                                                                              \
    .denoiser = vn_sequence_refuse_denoiser, .batch = batch, .fingerprint = fingerprint,           \
    .share = share, .sequence = sequence, .from_codes = decode, .to_codes = encode, .close = close

const vn_model_row vn_sequence_model = {
    .row = {"sequence", "a network that says which code of a picture comes next, after its class",
            "", NULL},
    .detect = detect_classes,
    .open = open_sequence,
    WHAT_BOTH_ARE,
};

const vn_model_row vn_text_sequence_model = {
    .row = {"text-sequence", "a network that says which code of a picture comes next, after a text",
            "", NULL},
    .detect = detect_texts,
    .open = open_texts,
    .prompt = keep_text,
    WHAT_BOTH_ARE,
};

/* ---- for weights that are still trained ------------------------------------------------------ */

static const char *name_at(const void *names, int32_t i) {
    return ((const char *const *)names)[i];
}

static vn_status take_parts(vn_model *m, const vn_sequence_parts *p, vn_err *err) {
    net_sequence *s = m->self = vn_calloc(1, sizeof *s);
    if (!s) return vn_no_memory(err);
    s->m = m;
    m->sample = p->sample;
    m->size = vn_shape_count(&p->sample);
    m->has_null = true;
    m->part[0] = (vn_model_part){.net = p->net, .values = p->values};
    m->parts = 1;
    vn_status status = vn_model_copy_names(m, p->classes, name_at, p->names, err);
    if (!status)
        status = vn_autoencoder_on(m->vn, &m->engine, CODES_FOLDER, p->codes, p->codes_values,
                                   &s->decoder, err);
    if (!status && p->tokenizer) status = vn_text_open(p->tokenizer, &s->text, err);
    if (status) return status;
    s->prefix = p->tokenizer ? p->length : 1;
    s->rows = p->rows;
    s->columns = p->columns;
    s->sequence.codes = vn_net_get_io(p->codes)->latents.codes;
    return finish(m, s, err);
}

vn_status vn_model_of_sequence(vn_context *vn, const vn_engine *engine, const vn_sequence_parts *p,
                               vn_model **out, vn_err *err) {
    const vn_model_row *row = p->tokenizer ? &vn_text_sequence_model : &vn_sequence_model;
    vn_condition null;
    *out = NULL;
    vn_status status = vn_model_new(vn, engine, row, "the run", out, err);
    if (!status) status = take_parts(*out, p, err);
    if (!status && p->tokenizer) status = keep_text(*out, "", &null, err);
    return status;
}

void vn_model_of_sequence_close(vn_model **m) {
    if (*m) (*m)->parts = 0;
    vn_model_close(m);
}
