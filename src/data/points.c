/* points.c - points in the plane with classes, for worlds small enough to be looked at:
 * "points:moons:noise=0.1".
 *
 * Point i is a function of (seed, i) alone. All toys lie about the origin with a spread of roughly
 * one half in each coordinate, like images in [-1, 1]. */
#include "data/internal.h"

#include <math.h>
#include <string.h>

static const char prefix[] = "points:";
static const float pi = 3.14159265358979f;

/* Every toy has these two; `noise` differs in its default. */
#define COUNT                                                                                      \
    { "count", "number of points", 10000, 1, 1e7, 1, NULL }
#define NOISE(value)                                                                               \
    { "noise", "standard deviation across the shape", value, 0, 1, 0, NULL }
enum { PARAM_COUNT, PARAM_NOISE };

static int32_t pick(float u, int32_t k) {
    const int32_t i = (int32_t)(u * (float)k);
    return i < k ? i : k - 1;
}

static int32_t draw_moons(const float *u, const float *z, const double *values, float *xy) {
    const int32_t k = pick(u[0], 2);
    const float angle = pi * u[1], noise = (float)values[PARAM_NOISE], side = k == 0 ? 1.0f : -1.0f;
    xy[0] = 0.6f * (side * cosf(angle) - 0.5f * side) + noise * z[0];
    xy[1] = 0.6f * (side * sinf(angle) - 0.25f * side) + noise * z[1];
    return k;
}

static int32_t draw_circles(const float *u, const float *z, const double *values, float *xy) {
    const int32_t k = pick(u[0], 2);
    const float angle = 2.0f * pi * u[1], noise = (float)values[PARAM_NOISE],
                radius = k == 0 ? 0.45f : 0.9f;
    xy[0] = radius * cosf(angle) + noise * z[0];
    xy[1] = radius * sinf(angle) + noise * z[1];
    return k;
}

static int32_t draw_spirals(const float *u, const float *z, const double *values, float *xy) {
    const int32_t k = pick(u[0], 2);
    const float along = sqrtf(u[1]), angle = 3.0f * pi * along + (float)k * pi,
                noise = (float)values[PARAM_NOISE];
    xy[0] = along * cosf(angle) + noise * z[0];
    xy[1] = along * sinf(angle) + noise * z[1];
    return k;
}

/* The 8 dark squares of a 4 x 4 board on [-1, 1]^2; the class is the column. */
static int32_t draw_checkerboard(const float *u, const float *z, const double *values, float *xy) {
    const int32_t column = pick(u[0], 4), row = 2 * pick(u[1], 2) + column % 2;
    const float noise = (float)values[PARAM_NOISE];
    xy[0] = ((float)column + u[2]) / 2.0f - 1.0f + noise * z[0];
    xy[1] = ((float)row + u[3]) / 2.0f - 1.0f + noise * z[1];
    return column;
}

static float gaussians_x(int32_t k) {
    return 0.8f * cosf((float)k * pi / 4.0f);
}

static float gaussians_y(int32_t k) {
    return 0.8f * sinf((float)k * pi / 4.0f);
}

static int32_t draw_gaussians(const float *u, const float *z, const double *values, float *xy) {
    const int32_t k = pick(u[0], 8);
    const float noise = (float)values[PARAM_NOISE];
    xy[0] = gaussians_x(k) + noise * z[0];
    xy[1] = gaussians_y(k) + noise * z[1];
    return k;
}

static json_t *world_of_gaussians(const double *values) {
    json_t *classes = json_array();
    for (int32_t k = 0; k < 8; k++)
        if (json_array_append_new(classes, json_pack("{s:[{s:[ff], s:f}]}", "components", "mean",
                                                     (double)gaussians_x(k), (double)gaussians_y(k),
                                                     "std", values[PARAM_NOISE])) != 0) {
            json_decref(classes);
            return NULL;
        }
    return json_pack("{s:o}", "classes", classes);
}

/* One arm from 1.5 pi to 4.5 pi; the class is the third of its length (by angle). */
static int32_t draw_swiss_roll(const float *u, const float *z, const double *values, float *xy) {
    const float turn = 1.0f + 2.0f * u[0], angle = 1.5f * pi * turn,
                noise = (float)values[PARAM_NOISE];
    xy[0] = turn / 3.0f * cosf(angle) + noise * z[0];
    xy[1] = turn / 3.0f * sinf(angle) + noise * z[1];
    return pick(u[0], 3);
}

/* Five blades: a radial Gaussian, bent by an angle that grows with the radius. */
static int32_t draw_pinwheel(const float *u, const float *z, const double *values, float *xy) {
    const int32_t k = pick(u[0], 5);
    const float radius = 0.65f + 0.2f * z[0], across = (float)values[PARAM_NOISE] * z[1];
    const float angle = 2.0f * pi * (float)k / 5.0f + 1.5f * (radius - 0.65f);
    xy[0] = radius * cosf(angle) - across * sinf(angle);
    xy[1] = radius * sinf(angle) + across * cosf(angle);
    return k;
}

static const vn_param moons_params[] = {COUNT, NOISE(0.05), {0}};
static const vn_param circles_params[] = {COUNT, NOISE(0.04), {0}};
static const vn_param spirals_params[] = {COUNT, NOISE(0.02), {0}};
static const vn_param checkerboard_params[] = {COUNT, NOISE(0), {0}};
static const vn_param gaussians_params[] = {COUNT, NOISE(0.06), {0}};
static const vn_param swiss_roll_params[] = {COUNT, NOISE(0.03), {0}};
static const vn_param pinwheel_params[] = {COUNT, NOISE(0.05), {0}};

static const char *const two_moons[] = {"upper", "lower"};
static const char *const two_circles[] = {"inner", "outer"};
static const char *const numbers[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
static const char *const thirds[] = {"inner", "middle", "outer"};

/* clang-format off */
const vn_toy_row vn_toy_rows[] = {
    {{"moons", "two half circles that clasp", "scikit-learn", moons_params},
     2, two_moons, draw_moons, NULL},
    {{"circles", "a circle in a circle", "scikit-learn", circles_params},
     2, two_circles, draw_circles, NULL},
    {{"spirals", "two arms around each other", "vane", spirals_params},
     2, numbers, draw_spirals, NULL},
    {{"checkerboard", "eight squares; the class is the column", "arXiv 1810.01367",
      checkerboard_params},
     4, numbers, draw_checkerboard, NULL},
    {{"gaussians", "eight bumps on a circle", "arXiv 1810.01367", gaussians_params},
     8, numbers, draw_gaussians, world_of_gaussians},
    {{"swiss-roll", "one long arm in three parts", "scikit-learn", swiss_roll_params},
     3, thirds, draw_swiss_roll, NULL},
    {{"pinwheel", "five bent blades", "arXiv 1603.06277", pinwheel_params},
     5, numbers, draw_pinwheel, NULL},
};
/* clang-format on */
const size_t vn_toy_row_count = VN_COUNT(vn_toy_rows);

/* Bumps without width have no density, and worlds say so below a deviation of 1e-6. */
static vn_status open_world(const vn_toy_row *toy, const double *values, vn_world **out,
                            vn_err *err) {
    if (!toy->world || values[PARAM_NOISE] < 1e-6) return VN_OK;
    json_t *json = toy->world(values);
    const vn_status status = json ? vn_world_from_json(json, out, err) : vn_no_memory(err);
    json_decref(json);
    return status;
}

bool vn_points_detect(const char *source) {
    return strncmp(source, prefix, sizeof prefix - 1) == 0;
}

vn_status vn_points_open(const char *source, const vn_data_options *options, vn_source *out,
                         vn_err *err) {
    vn_choice choice;
    vn_status status =
        vn_choice_parse(source + sizeof prefix - 1,
                        VN_TABLE("points", vn_toy_rows, vn_toy_row_count), &choice, err);
    if (status) return status;
    const vn_toy_row *toy = &vn_toy_rows[choice.index];
    status = vn_source_copy_names(out, toy->names, toy->classes, err);
    if (!status) status = open_world(toy, choice.value, &out->world, err);
    if (status) return status;
    out->sample.rank = 1;
    out->sample.dim[0] = 2;
    out->count = (int64_t)choice.value[PARAM_COUNT];
    if (vn_source_fits(out->count, 2 * sizeof(float), err) != VN_OK)
        return err->status = VN_BAD_ARGUMENT;
    out->points = vn_alloc(2 * (size_t)out->count, sizeof *out->points);
    out->labels = vn_alloc((size_t)out->count, sizeof *out->labels);
    if (!out->points || !out->labels) return vn_no_memory(err);
    vn_reading reading;
    vn_reading_begin(&reading, options->watch, (uint64_t)out->count * 2 * sizeof(float));
    for (int64_t i = 0; !status && i < out->count; i++) {
        float u[4], z[2];
        vn_random_uniform(u, 4, options->seed, VN_STREAM_DATA, (uint64_t)i, 0);
        vn_random_normal(z, 2, options->seed, VN_STREAM_DATA, (uint64_t)i, 1);
        out->labels[i] = toy->draw(u, z, choice.value, out->points + 2 * i);
        status = vn_reading_advance(&reading, 2 * sizeof(float), err);
    }
    return status;
}
