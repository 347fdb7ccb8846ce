/* teacher.c - see the header. */
#include "objective/teacher.h"

#include <string.h>

void vn_teacher_close(vn_teacher_rows *r) {
    void *const all[] = {r->gamma, r->at, r->x0, r->eps, r->x, r->raw, r->level, r->condition};
    for (size_t i = 0; i < VN_COUNT(all); i++) vn_free(all[i]);
    *r = (vn_teacher_rows){0};
}

vn_status vn_teacher_reserve(const vn_loss_batch *b, vn_err *err) {
    const size_t n = (size_t)b->n, row = (size_t)b->size * sizeof(float);
    vn_teacher_rows *r = b->rows;
    if (b->n <= r->n && b->size == r->size) return VN_OK;
    vn_teacher_close(r);
    *r = (vn_teacher_rows){.n = b->n,
                           .size = b->size,
                           .gamma = vn_alloc(n, sizeof(float)),
                           .at = vn_alloc(n, sizeof *r->at),
                           .x0 = vn_alloc(n, row),
                           .eps = vn_alloc(n, row),
                           .x = vn_alloc(2 * n, row),
                           .raw = vn_alloc(2 * n, row),
                           .level = vn_alloc(2 * n, sizeof *r->level),
                           .condition = vn_alloc(2 * n, sizeof *r->condition)};
    if (r->gamma && r->at && r->x0 && r->eps && r->x && r->raw && r->level && r->condition)
        return VN_OK;
    vn_teacher_close(r);
    return vn_no_memory(err);
}

vn_status vn_teacher_ask_at(const vn_loss_batch *b, int first, const float *x,
                            const vn_level *level, vn_err *err) {
    const double *value = b->choice->value + first;
    for (int64_t i = 0; i < b->n; i++)
        b->rows->gamma[i] = vn_guided_at(value + 1, &level[i]) ? (float)value[0] : 1;
    return vn_teacher_ask(b->rows, b, x, level, err);
}

vn_status vn_teacher_ask_guided(const vn_loss_batch *b, int first, vn_err *err) {
    const vn_status status = vn_teacher_reserve(b, err);
    return status ? status : vn_teacher_ask_at(b, first, b->x, b->level, err);
}

static void put(vn_teacher_rows *r, int64_t row, const float *x, const vn_level *level,
                vn_condition condition, int64_t size) {
    memcpy(r->x + row * size, x, (size_t)size * sizeof *x);
    r->level[row] = *level;
    r->condition[row] = condition;
}

/* raw of the condition becomes null + gamma (conditional - null). */
static void guide(float gamma, const float *restrict null, float *restrict raw, int64_t size) {
    for (int64_t j = 0; j < size; j++) raw[j] = null[j] + gamma * (raw[j] - null[j]);
}

/* Whether the row is guided from outside. */
static bool is_guided(const vn_teacher_rows *r, const vn_loss_batch *b, int64_t i) {
    return !(b->asked[VN_ASK_TEACHER]->can & VN_TAKES_GUIDANCE) &&
           b->condition[i] != VN_CONDITION_NULL && r->gamma[i] != 1;
}

/* n rows and, without conditions, those of them that are guided. How many these are differs with
 * the batch, and a network keeps a program for each number of rows that it has seen: their number
 * is rounded up to quarters of n, with rows that nobody reads. */
static int64_t put_rows(vn_teacher_rows *r, const vn_loss_batch *b, const float *x,
                        const vn_level *level) {
    const int64_t quarter = (b->n + 3) / 4;
    int64_t rows = b->n;
    for (int64_t i = 0; i < b->n; i++)
        put(r, i, x + i * b->size, &level[i], b->condition[i], b->size);
    for (int64_t i = 0; i < b->n; i++)
        if (is_guided(r, b, i))
            put(r, rows++, x + i * b->size, &level[i], VN_CONDITION_NULL, b->size);
    while ((rows - b->n) % quarter && rows < 2 * b->n)
        put(r, rows++, x, &level[0], VN_CONDITION_NULL, b->size);
    return rows;
}

vn_status vn_teacher_ask(vn_teacher_rows *r, const vn_loss_batch *b, const float *x,
                         const vn_level *level, vn_err *err) {
    const vn_denoiser *t = b->asked[VN_ASK_TEACHER];
    const int64_t size = b->size;
    const vn_query q = {.n = put_rows(r, b, x, level),
                        .x = r->x,
                        .level = r->level,
                        .condition = r->condition,
                        .guidance = t->can & VN_TAKES_GUIDANCE ? r->gamma : NULL};
    const float *null = r->raw + b->n * size;
    const vn_status status = t->predict(t->self, &q, r->raw, err);
    if (status) return status;
    for (int64_t i = 0; i < b->n; i++) {
        float *raw = r->raw + i * size;
        if (is_guided(r, b, i)) {
            guide(r->gamma[i], null, raw, size);
            null += size;
        }
        vn_prediction_to_estimate(&t->prediction, &level[i], (size_t)size, x + i * size, raw,
                                  r->x0 + i * size, r->eps + i * size);
    }
    return VN_OK;
}
