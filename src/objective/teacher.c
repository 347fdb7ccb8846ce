/* teacher.c - see the header. */
#include "objective/teacher.h"

#include <string.h>

vn_status vn_teacher_open(vn_teacher_rows *r, const vn_loss_batch *b, vn_err *err) {
    const size_t n = (size_t)b->n, row = (size_t)b->size * sizeof(float);
    *r = (vn_teacher_rows){.gamma = vn_alloc(n, sizeof(float)),
                           .x0 = vn_alloc(n, row),
                           .eps = vn_alloc(n, row),
                           .x = vn_alloc(2 * n, row),
                           .raw = vn_alloc(2 * n, row),
                           .level = vn_alloc(2 * n, sizeof *r->level),
                           .condition = vn_alloc(2 * n, sizeof *r->condition)};
    return r->gamma && r->x0 && r->eps && r->x && r->raw && r->level && r->condition
               ? VN_OK
               : vn_no_memory(err);
}

void vn_teacher_close(vn_teacher_rows *r) {
    void *const all[] = {r->gamma, r->x0, r->eps, r->x, r->raw, r->level, r->condition};
    for (size_t i = 0; i < VN_COUNT(all); i++) vn_free(all[i]);
    *r = (vn_teacher_rows){0};
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

vn_status vn_teacher_ask(vn_teacher_rows *r, const vn_loss_batch *b, const float *x,
                         const vn_level *level, vn_err *err) {
    const vn_denoiser *t = b->asked[VN_ASK_TEACHER];
    const bool itself = t->can & VN_TAKES_GUIDANCE;
    const int64_t size = b->size;
    int64_t rows = b->n;
    for (int64_t i = 0; i < b->n; i++) put(r, i, x + i * size, &level[i], b->condition[i], size);
    for (int64_t i = 0; i < b->n && !itself; i++)
        if (b->condition[i] != VN_CONDITION_NULL && r->gamma[i] != 1)
            put(r, rows++, x + i * size, &level[i], VN_CONDITION_NULL, size);
    const vn_query q = {.n = rows,
                        .x = r->x,
                        .level = r->level,
                        .condition = r->condition,
                        .guidance = itself ? r->gamma : NULL};
    const vn_status status = t->predict(t->self, &q, r->raw, err);
    if (status) return status;
    for (int64_t i = 0, next = b->n; i < b->n; i++) {
        float *raw = r->raw + i * size;
        if (!itself && b->condition[i] != VN_CONDITION_NULL && r->gamma[i] != 1)
            guide(r->gamma[i], r->raw + next++ * size, raw, size);
        vn_prediction_to_estimate(&t->prediction, &level[i], (size_t)size, x + i * size, raw,
                                  r->x0 + i * size, r->eps + i * size);
    }
    return VN_OK;
}
