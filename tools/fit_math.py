"""Fits the polynomials of src/cpu/kernel_math.h: minimax in relative error by the Remez exchange, in 60 digits.

Prints each fit's coefficients as C floats (lowest power first) and its largest relative error before rounding to float.
Needs mpmath."""
from mpmath import mp, mpf, cos, erfc, exp, log, lu_solve, matrix, pi, sqrt, tanh

mp.dps = 60


def remez(f, lo, hi, degree, rounds=12, grid=4000):
    """p of `degree` with the smallest max |p/f - 1| on [lo, hi]."""
    n = degree + 2
    xs = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * i / (n - 1)) for i in range(n)]
    points = [lo + (hi - lo) * i / grid for i in range(grid + 1)]
    values = [f(x) for x in points]
    for _ in range(rounds):
        rows = [[x**k for k in range(degree + 1)] + [(-1) ** i * f(x)] for i, x in enumerate(xs)]
        solution = lu_solve(matrix(rows), matrix([f(x) for x in xs]))
        c = [solution[k] for k in range(degree + 1)]
        error = [sum(c[k] * x**k for k in range(degree + 1)) / y - 1 for x, y in zip(points, values)]
        # the largest error between sign changes is where the next round is pinned
        runs, start = [], 0
        for i in range(1, len(points) + 1):
            if i == len(points) or error[i] * error[start] < 0:
                runs.append(max(range(start, i), key=lambda j: abs(error[j])))
                start = i
        if len(runs) != n:
            break
        xs = [points[j] for j in runs]
    return c, max(abs(e) for e in error)


def show(name, f, lo, hi, degree):
    c, error = remez(f, mpf(lo), mpf(hi), degree)
    print(f"{name}: {float(error):.1e}")
    print("    " + ", ".join(f"{float(x):.9g}f" for x in c))


ln2 = log(mpf(2))

show("exp: (e^r - 1 - r)/r^2, |r| <= ln(2)/2", lambda r: (exp(r) - 1 - r) / r**2 if r else mpf(1) / 2, -ln2 / 2, ln2 / 2, 4)
show("log: (log(1+f) - f + f^2/2)/f^3, sqrt(1/2) <= 1+f <= sqrt(2)",
     lambda r: (log(1 + r) - r + r * r / 2) / r**3 if r else mpf(1) / 3, sqrt(mpf(1) / 2) - 1, sqrt(mpf(2)) - 1, 8)
show("tanh: (tanh(x)/x - 1)/z, z = x^2 <= 0.55^2",
     lambda z: (tanh(sqrt(z)) / sqrt(z) - 1) / z if z else -mpf(1) / 3, 0, mpf("0.55") ** 2, 4)
show("sin: (sin(r)/r - 1)/z, z = r^2 <= (pi/4)^2",
     lambda z: (mp.sin(sqrt(z)) / sqrt(z) - 1) / z if z else -mpf(1) / 6, 0, (pi / 4) ** 2, 2)
show("cos: (cos(r) - 1 + z/2)/z^2, z = r^2 <= (pi/4)^2",
     lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2 if z else mpf(1) / 24, 0, (pi / 4) ** 2, 2)
K, MIDDLE = mpf("0.33"), mpf("0.6")  # centred, so that the terms do not cancel


def mills(u):
    a = (1 / (u + MIDDLE) - 1) / K
    return erfc(a / sqrt(mpf(2))) / 2 * exp(a * a / 2)


show("normal tail: Phi(-a) e^(a^2/2), u = 1/(1 + 0.33 a) - 0.6, 0 <= a <= 14", mills, 1 / (1 + K * 14) - MIDDLE, 1 - MIDDLE, 9)
