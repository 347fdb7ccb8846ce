/* teacher.h - what a teacher says of a batch: its guided estimates, by classifier-free guidance
 * with a strength for each row. */
#ifndef VN_OBJECTIVE_TEACHER_H
#define VN_OBJECTIVE_TEACHER_H

#include "objective/internal.h"

/* clang-format off */
/* The last parameters of a method whose guidance is one number; where they are not given the caller
 * sets what the teacher is sampled with. */
#define VN_TEACHER_PARAMS \
    {VN_TEACHER_GUIDANCE, "strength of the teacher's guidance, which is inside then", 1, -1e3, \
     1e3, 0, NULL}, \
    VN_GUIDED_PARAMS
/* clang-format on */

/* [n] and [n,size] of a batch, and the query's arrays, of twice as many rows. The objective keeps
 * them from step to step. */
typedef struct vn_teacher_rows {
    int64_t n, size; /* there is memory for so many */
    float *gamma;    /* [n] the strength, which the caller fills in */
    vn_level *at;    /* [n] the caller's own */
    float *x0, *eps; /* [n,size] the answer */
    float *x, *raw;
    vn_level *level;
    vn_condition *condition;
} vn_teacher_rows;

/* b->rows, with memory for the batch. */
vn_status vn_teacher_reserve(const vn_loss_batch *b, vn_err *err);
void vn_teacher_close(vn_teacher_rows *rows); /* safe on a zeroed one */
/* Asks at x [n,size], each row at its level, in one query: null + gamma (conditional - null) of two
 * passes of the rows that are guided, or one pass of a teacher that takes guidance as an input. */
vn_status vn_teacher_ask(vn_teacher_rows *rows, const vn_loss_batch *b, const float *x,
                         const vn_level *level, vn_err *err);
/* The same with the strength that the method's VN_TEACHER_PARAMS, which begin at `first`, say of
 * the levels. */
vn_status vn_teacher_ask_at(const vn_loss_batch *b, int first, const float *x,
                            const vn_level *level, vn_err *err);
/* And at the batch's own x_t, with memory for it. */
vn_status vn_teacher_ask_guided(const vn_loss_batch *b, int first, vn_err *err);
/* The check of a row whose student is sampled on a grid that is even in t, and on no other: the
 * path's own has to be that. */
vn_status vn_even_grid_check(vn_choice *c, const vn_path *path, const vn_prediction *prediction,
                             vn_err *err);

#endif
