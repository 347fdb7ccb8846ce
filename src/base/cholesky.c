/* cholesky.c - systems of linear equations whose matrix is symmetric and positive definite, of some
 * hundreds of unknowns. */
#include "base/base.h"

#include <math.h>

static double dot(const double *a, int64_t step_a, const double *b, int64_t step_b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i * step_a] * b[i * step_b];
    return sum;
}

bool vn_cholesky(double *a, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k <= i; k++) {
            const double left = a[i * n + k] - dot(a + i * n, 1, a + k * n, 1, k);
            if (i == k && !(left > 0)) return false;
            a[i * n + k] = i == k ? sqrt(left) : left / a[k * n + k];
        }
    return true;
}

void vn_cholesky_solve(const double *l, int64_t n, double *b, int64_t columns) {
    for (int64_t c = 0; c < columns; c++) {
        double *x = b + c;
        for (int64_t i = 0; i < n; i++)
            x[i * columns] = (x[i * columns] - dot(l + i * n, 1, x, columns, i)) / l[i * n + i];
        for (int64_t i = n - 1; i >= 0; i--) {
            const double later =
                dot(l + (i + 1) * n + i, n, x + (i + 1) * columns, columns, n - 1 - i);
            x[i * columns] = (x[i * columns] - later) / l[i * n + i];
        }
    }
}
