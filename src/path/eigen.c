/* eigen.c - eigenvalues and eigenvectors of a symmetric matrix by Jacobi's rotations. Slower than
 * tridiagonal methods by a few times, but short, and small eigenvalues come out accurate. A
 * covariance is taken apart once, when a world is opened. */
#include "path/internal.h"

#include <math.h>

#define SWEEPS 60 /* some 6 to 10 are used */

/* Rows i and j of m [.,n] turn by the angle with this cosine and sine. */
static void turn_rows(size_t n, double *m, size_t i, size_t j, double c, double s) {
    double *a = m + i * n, *b = m + j * n;
    for (size_t k = 0; k < n; k++) {
        double x = a[k], y = b[k];
        a[k] = c * x - s * y;
        b[k] = s * x + c * y;
    }
}

static void turn_columns(size_t n, double *m, size_t i, size_t j, double c, double s) {
    for (size_t k = 0; k < n; k++) {
        double x = m[k * n + i], y = m[k * n + j];
        m[k * n + i] = c * x - s * y;
        m[k * n + j] = s * x + c * y;
    }
}

/* Makes a[i][j] zero; keeps a = vector^T (what a has become) vector. */
static void rotate(size_t n, double *a, double *vector, size_t i, size_t j) {
    double half = (a[j * n + j] - a[i * n + i]) / (2 * a[i * n + j]);
    /* tangent of the smaller angle */
    double t = (half < 0 ? -1 : 1) / (fabs(half) + sqrt(half * half + 1));
    double c = 1 / sqrt(t * t + 1);
    turn_rows(n, a, i, j, c, t * c);
    turn_columns(n, a, i, j, c, t * c);
    turn_rows(n, vector, i, j, c, t * c);
}

void vn_eigen(size_t n, double *a, double *value, double *vector) {
    for (size_t i = 0; i < n * n; i++) vector[i] = i % (n + 1) == 0;
    bool changed = true;
    for (int sweep = 0; sweep < SWEEPS && changed; sweep++) {
        changed = false;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t j = i + 1; j < n; j++) {
                double size = sqrt(fabs(a[i * n + i] * a[j * n + j]));
                if (fabs(a[i * n + j]) <= 1e-17 * size) continue;
                rotate(n, a, vector, i, j);
                changed = true;
            }
    }
    for (size_t i = 0; i < n; i++) value[i] = a[i * n + i];
}
