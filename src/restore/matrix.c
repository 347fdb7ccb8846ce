/* matrix.c - any linear operator, as a matrix [m, numbers of a sample], channels first; and a
 * random one, the projection on m orthonormal directions. */
#include "restore/internal.h"

#include <math.h>
#include <string.h>

/* numbers: the matrix [count,size] */
static void apply(vn_operator *o, const double *x, double *y) {
    const double *row = o->numbers;
    for (int64_t i = 0; i < o->count; i++, row += o->size) {
        y[i] = 0;
        for (int64_t j = 0; j < o->size; j++) y[i] += row[j] * x[j];
    }
}

static void transpose(vn_operator *o, const double *y, double *x) {
    const double *row = o->numbers;
    memset(x, 0, (size_t)o->size * sizeof *x);
    for (int64_t i = 0; i < o->count; i++, row += o->size)
        for (int64_t j = 0; j < o->size; j++) x[j] += row[j] * y[i];
}

static vn_status take_rows(vn_operator *o, int64_t rows, vn_err *err) {
    size_t n;
    o->observed = VN_SHAPE(rows);
    if (!vn_mul_overflows((size_t)rows, (size_t)o->size, &n))
        o->numbers = vn_alloc(n, sizeof *o->numbers);
    return o->numbers ? VN_OK : vn_no_memory(err);
}

static const vn_param matrix_params[] = {
    {"file", "a .safetensors with `matrix` [m, numbers of a sample]", 0, 0, 0, VN_PARAM_TEXT, NULL},
    {0},
};

static vn_status open_matrix(vn_operator *o, const vn_array *given, vn_err *err) {
    char shape[128];
    if (given->shape.rank != 2 || given->shape.dim[1] != o->size || given->shape.dim[0] < 1)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "a matrix of size %s does not act on samples of %lld numbers: it has a row "
                       "for each observed number and a column for each of the sample",
                       vn_shape_text(&given->shape, shape), (long long)o->size);
    vn_status status = take_rows(o, given->shape.dim[0], err);
    const int64_t n = given->shape.dim[0] * o->size;
    float *numbers = vn_alloc((size_t)n, sizeof *numbers);
    if (!status && !numbers) status = vn_no_memory(err);
    if (!status) vn_array_read_f32(given, numbers);
    for (int64_t i = 0; i < n && !status; i++) {
        o->numbers[i] = (double)numbers[i];
        if (!isfinite(numbers[i]))
            status = vn_fail(err, VN_BAD_ARGUMENT, "number %lld of the matrix is not finite",
                             (long long)i);
    }
    vn_free(numbers);
    return status;
}

const vn_operator_row vn_matrix_operator = {
    .row = {"matrix", "any linear operator, as a matrix", "vane", matrix_params},
    .array = "matrix",
    .open = open_matrix,
    .apply = apply,
    .transpose = transpose,
};

/* ---- a random projection --------------------------------------------------------------------- */

enum { ROWS, SEED };
static const vn_param projection_params[] = {
    {"rows", "numbers that are observed", 1, 1, 1e6, VN_PARAM_WHOLE, NULL},
    {"seed", "of the directions", 0, 0, 1e9, VN_PARAM_WHOLE, NULL},
    {0},
};

/* Random directions are made orthonormal by Gram and Schmidt's rule, twice, for rounding. */
static void make_orthonormal(int64_t rows, int64_t size, double *a) {
    for (int64_t i = 0; i < rows; i++) {
        double *row = a + i * size;
        for (int again = 0; again < 2; again++) {
            for (int64_t k = 0; k < i; k++) {
                const double *other = a + k * size;
                double dot = 0;
                for (int64_t j = 0; j < size; j++) dot += row[j] * other[j];
                for (int64_t j = 0; j < size; j++) row[j] -= dot * other[j];
            }
            double length = 0;
            for (int64_t j = 0; j < size; j++) length += row[j] * row[j];
            for (int64_t j = 0; j < size; j++) row[j] /= sqrt(length);
        }
    }
}

static vn_status open_projection(vn_operator *o, const vn_array *given, vn_err *err) {
    (void)given;
    const int64_t rows = (int64_t)o->choice.value[ROWS];
    if (rows > o->size)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "projection: %lld rows of samples of %lld numbers are not independent",
                       (long long)rows, (long long)o->size);
    vn_status status = take_rows(o, rows, err);
    float *random = vn_alloc((size_t)o->size, sizeof *random);
    o->gram = vn_alloc((size_t)rows, sizeof *o->gram);
    if (!status && (!random || !o->gram)) status = vn_no_memory(err);
    for (int64_t i = 0; i < rows && !status; i++) {
        vn_random_normal(random, (size_t)o->size, (uint64_t)o->choice.value[SEED],
                         VN_STREAM_DIRECTION, (uint64_t)i, 0);
        for (int64_t j = 0; j < o->size; j++) o->numbers[i * o->size + j] = (double)random[j];
        o->gram[i] = 1;
    }
    if (!status) make_orthonormal(rows, o->size, o->numbers);
    vn_free(random);
    return status;
}

const vn_operator_row vn_projection_operator = {
    .row = {"projection", "random directions of the sample, orthonormal: compressed sensing",
            "2212.00490", projection_params},
    .open = open_projection,
    .apply = apply,
    .transpose = transpose,
};
