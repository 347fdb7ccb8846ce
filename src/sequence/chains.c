/* chains.c - classes of sequences that are Markov chains of categories, so that everything that
 * sampling should give is known in closed form: the ground truth of sequences, as mixtures of
 * Gaussians are that of images.
 *
 * Under a class, the next code depends on the last one alone. Under the null condition the class is
 * unknown, and what was drawn tells of it: p(next | before) = sum over classes of p(class | before)
 * p(next | last, class), which depends on all codes before. */
#include "sequence/sequence.h"

#include <math.h>
#include <string.h>

#define MOST_CODES   4096
#define MOST_TOKENS  4096
#define MOST_CLASSES 1024

typedef struct chain {
    char *name;
    double weight; /* all of them add up to 1 */
    double *first; /* [codes] */
    double *next;  /* [codes,codes] */
} chain;

struct vn_chains {
    int64_t tokens, codes;
    int32_t classes;
    chain *chain;       /* [classes] */
    const char **names; /* [classes] */
    double *weight;     /* [classes] work space */
    double *p;          /* [codes] work space */
};

/* ---- a file ---------------------------------------------------------------------------------- */

bool vn_chains_detect(const json_t *json) {
    return json_object_get(json, "chains") != NULL;
}

/* Probabilities [codes] that add up to 1. */
static vn_status read_row(const json_t *list, int64_t codes, const char *what, int32_t i,
                          double *to, vn_err *err) {
    double sum = 0;
    if (!json_is_array(list) || json_array_size(list) != (size_t)codes)
        return vn_fail(err, VN_BAD_FILE, "chain %d: %s is not a list of %lld probabilities", (int)i,
                       what, (long long)codes);
    for (size_t k = 0; k < (size_t)codes; k++) {
        const json_t *p = json_array_get(list, k);
        to[k] = json_number_value(p);
        if (!json_is_number(p) || !(to[k] >= 0 && to[k] <= 1))
            return vn_fail(err, VN_BAD_FILE, "chain %d: %s has an entry outside [0, 1]", (int)i,
                           what);
        sum += to[k];
    }
    if (fabs(sum - 1) > 1e-6)
        return vn_fail(err, VN_BAD_FILE, "chain %d: %s adds up to %g, not 1", (int)i, what, sum);
    for (size_t k = 0; k < (size_t)codes; k++) to[k] /= sum;
    return VN_OK;
}

static vn_status read_chain(vn_chains *c, int32_t i, const json_t *json, vn_err *err) {
    static const char *const known[] = {"name", "weight", "first", "next"};
    chain *to = &c->chain[i];
    const size_t codes = (size_t)c->codes;
    const char *key, *name = json_string_value(json_object_get(json, "name"));
    json_t *value;
    const json_t *weight = json_object_get(json, "weight"), *next = json_object_get(json, "next");
    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        bool found = false;
        for (size_t k = 0; k < VN_COUNT(known); k++) found = found || !strcmp(known[k], key);
        if (!found)
            return vn_fail(err, VN_BAD_FILE, "chain %d: unknown key \"%.40s\"", (int)i, key);
    }
    to->name = name ? vn_strdup(name) : vn_format("%d", (int)i);
    to->weight = weight ? json_number_value(weight) : 1;
    to->first = vn_alloc(codes, sizeof(double));
    to->next = vn_alloc(codes * codes, sizeof(double));
    if (!to->name || !to->first || !to->next) return vn_no_memory(err);
    c->names[i] = to->name;
    if (!(to->weight > 0 && to->weight < 1e15))
        return vn_fail(err, VN_BAD_FILE, "chain %d: weight is not a number above 0", (int)i);
    if (json_array_size(next) != codes)
        return vn_fail(err, VN_BAD_FILE, "chain %d: next has %zu rows, and there are %zu codes",
                       (int)i, json_array_size(next), codes);
    vn_status status =
        read_row(json_object_get(json, "first"), c->codes, "first", i, to->first, err);
    for (size_t k = 0; k < codes && !status; k++)
        status = read_row(json_array_get(next, k), c->codes, "a row of next", i,
                          to->next + k * codes, err);
    return status;
}

static vn_status read_sizes(vn_chains *c, const json_t *json, vn_err *err) {
    const json_t *list = json_object_get(json, "chains"), *tokens = json_object_get(json, "tokens");
    const size_t classes = json_array_size(list),
                 codes = json_array_size(json_object_get(json_array_get(list, 0), "first"));
    if (classes < 1 || classes > MOST_CLASSES)
        return vn_fail(err, VN_BAD_FILE, "chains is not a list of 1 to %d", MOST_CLASSES);
    if (codes < 1 || codes > MOST_CODES)
        return vn_fail(err, VN_BAD_FILE, "chain 0: first is not a list of 1 to %d probabilities",
                       MOST_CODES);
    c->tokens = json_integer_value(tokens);
    if (c->tokens < 1 || c->tokens > MOST_TOKENS)
        return vn_fail(err, VN_BAD_FILE, "tokens is not a whole number from 1 to %d", MOST_TOKENS);
    c->codes = (int64_t)codes;
    c->classes = (int32_t)classes;
    c->chain = vn_calloc(classes, sizeof *c->chain);
    c->names = vn_calloc(classes, sizeof *c->names);
    c->weight = vn_alloc(classes, sizeof *c->weight);
    c->p = vn_alloc(codes, sizeof *c->p);
    return c->chain && c->names && c->weight && c->p ? VN_OK : vn_no_memory(err);
}

vn_status vn_chains_open(const json_t *json, vn_chains **out, vn_err *err) {
    vn_chains *c = *out = vn_calloc(1, sizeof *c);
    if (!c) return vn_no_memory(err);
    vn_status status = read_sizes(c, json, err);
    const json_t *list = json_object_get(json, "chains");
    double all = 0;
    for (int32_t i = 0; i < c->classes && !status; i++) {
        status = read_chain(c, i, json_array_get(list, (size_t)i), err);
        all += c->chain[i].weight;
    }
    for (int32_t i = 0; i < c->classes && !status; i++) c->chain[i].weight /= all;
    if (status) vn_chains_close(out);
    return status;
}

void vn_chains_close(vn_chains **at) {
    vn_chains *c = *at;
    if (!c) return;
    for (int32_t i = 0; c->chain && i < c->classes; i++) {
        vn_free(c->chain[i].name);
        vn_free(c->chain[i].first);
        vn_free(c->chain[i].next);
    }
    vn_free(c->chain);
    vn_free(c->names);
    vn_free(c->weight);
    vn_free(c->p);
    vn_free(c);
    *at = NULL;
}

const char *vn_chains_name(const vn_chains *c, int32_t i) {
    return i >= 0 && i < c->classes ? c->chain[i].name : NULL;
}

/* ---- what is known of them ------------------------------------------------------------------- */

/* The codes after those before. */
static const double *row_of(const vn_chains *c, int32_t i, int64_t position, const int32_t *codes) {
    const chain *of = &c->chain[i];
    return position ? of->next + codes[position - 1] * c->codes : of->first;
}

static double log_p_of(const vn_chains *c, int32_t i, int64_t length, const int32_t *codes) {
    double sum = 0;
    for (int64_t k = 0; k < length; k++) sum += log(row_of(c, i, k, codes)[codes[k]]);
    return sum;
}

/* The classes' parts of log p(codes), the largest 0, in weight [classes]; the largest is
 * returned. */
static double parts(const vn_chains *c, int64_t length, const int32_t *codes, double *weight) {
    double most = -HUGE_VAL;
    for (int32_t i = 0; i < c->classes; i++) {
        weight[i] = log(c->chain[i].weight) + log_p_of(c, i, length, codes);
        if (weight[i] > most) most = weight[i];
    }
    for (int32_t i = 0; i < c->classes; i++) weight[i] = most > -HUGE_VAL ? weight[i] - most : 0;
    return most;
}

double vn_chains_log_p(const vn_chains *c, vn_condition condition, const int32_t *codes) {
    double sum = 0;
    if (condition >= 0) return log_p_of(c, condition, c->tokens, codes);
    const double most = parts(c, c->tokens, codes, c->weight);
    if (most == -HUGE_VAL) return most;
    for (int32_t i = 0; i < c->classes; i++) sum += exp(c->weight[i]);
    return most + log(sum);
}

void vn_chains_next(const vn_chains *c, vn_condition condition, int64_t position,
                    const int32_t *codes, double *p) {
    if (condition >= 0) {
        memcpy(p, row_of(c, condition, position, codes), (size_t)c->codes * sizeof *p);
        return;
    }
    double all = 0;
    parts(c, position, codes, c->weight);
    memset(p, 0, (size_t)c->codes * sizeof *p);
    for (int32_t i = 0; i < c->classes; i++) {
        const double weight = exp(c->weight[i]), *row = row_of(c, i, position, codes);
        for (int64_t k = 0; k < c->codes; k++) p[k] += weight * row[k];
        all += weight;
    }
    for (int64_t k = 0; k < c->codes; k++) p[k] /= all;
}

/* ---- as a sequence --------------------------------------------------------------------------- */

/* log p of what cannot be; guides take differences of logits, which infinities have not. */
#define IMPOSSIBLE (-1e9)

static vn_status begin(void *self, int64_t rows, vn_err *err) {
    (void)self, (void)rows, (void)err;
    return VN_OK;
}

static vn_status next(void *self, const vn_next *q, float *logits, vn_err *err) {
    const vn_chains *c = self;
    (void)err;
    for (int64_t i = 0; i < q->n; i++, logits += c->codes) {
        vn_chains_next(c, q->condition[i], q->position, q->codes + q->row[i] * c->tokens, c->p);
        for (int64_t k = 0; k < c->codes; k++)
            logits[k] = (float)(c->p[k] > 0 ? log(c->p[k]) : IMPOSSIBLE);
    }
    return VN_OK;
}

vn_sequence vn_chains_sequence(vn_chains *c) {
    return (vn_sequence){.tokens = c->tokens,
                         .codes = c->codes,
                         .conditions = {.classes = c->classes, .has_null = true, .names = c->names},
                         .self = c,
                         .begin = begin,
                         .next = next};
}
