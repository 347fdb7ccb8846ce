/* internal.h - what the files of guide share: the functions behind the table's rows, and opening with another table. */
#ifndef VN_GUIDE_INTERNAL_H
#define VN_GUIDE_INTERNAL_H

#include "guide/guide.h"

void vn_cfg_plan(vn_guide *g, const vn_guide_at *at, vn_plan *plan);
void vn_cfg_combine(vn_guide *g, const vn_guide_at *at, vn_plan *plan, vn_pair *out);

vn_status vn_interval_check(const vn_choice *c, vn_err *err);
double vn_interval_strength(const vn_choice *c, const vn_level *l, double gamma);

vn_status vn_schedule_check(const vn_choice *c, vn_err *err);
double vn_schedule_strength(const vn_choice *c, const vn_level *l, double gamma);

/* The rows' parameters, by their place in choice.value. */
enum { VN_INTERVAL_LO, VN_INTERVAL_HI };
enum { VN_SCHEDULE_SHAPE, VN_SCHEDULE_POWER };
enum { VN_SHAPE_CONSTANT, VN_SHAPE_LINEAR, VN_SHAPE_COSINE, VN_SHAPE_POWER };

/* vn_guidance_open with rows of the caller's: tests run guides of their own with it. rows[0] is the rule if none is named. */
vn_status vn_guidance_open_rows(const vn_guide_row *rows, size_t row_count, const char *text, double gamma,
                                const vn_denoiser *denoiser, int64_t capacity, vn_guidance **out, vn_err *err);

#endif
