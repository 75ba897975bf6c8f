#!/usr/bin/env python3
"""Golden rank correlations and low-discrepancy points, from SciPy. The result is committed, so the tests need no Python.

    python tests/peers/stats_golden.py > tests/lua/ref_golden_stats.lua
"""
import math

import numpy as np
import scipy
from scipy import stats
from scipy.stats import qmc


def numbers(values):
    return "{" + ", ".join("0/0" if math.isnan(v) else repr(float(v)) for v in values) + "}"


def cases():
    rng = np.random.default_rng(5)
    yield "two", [1.0, 2.0], [2.0, 1.0]
    yield "same", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]
    yield "constant", [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]
    for n in (5, 17, 100):
        x = rng.normal(size=n)
        yield f"plain {n}", x, 0.6 * x + rng.normal(size=n)
        yield f"ties {n}", rng.integers(0, 4, n).astype(float), rng.integers(0, 6, n).astype(float)
        yield f"ties in one {n}", rng.integers(0, 3, n).astype(float), rng.normal(size=n)
        big = rng.normal(size=n)
        yield f"scales {n}", np.exp(40 * big), -np.exp(30 * big + 5 * rng.normal(size=n))
    x, y = rng.normal(size=20), rng.integers(0, 5, 20).astype(float)
    x[3] = y[7] = x[11] = y[11] = math.nan
    yield "nan", x, y


print(f"-- Made by tests/peers/stats_golden.py with SciPy {scipy.__version__}.\nlocal G = {{pairs = {{}}}}")
for name, x, y in cases():
    x, y = np.asarray(x), np.asarray(y)
    keep = ~(np.isnan(x) | np.isnan(y))
    with np.errstate(all="ignore"):
        tau = stats.kendalltau(x[keep], y[keep]).statistic
        rho = stats.spearmanr(x[keep], y[keep]).statistic if len(set(x[keep])) > 1 else math.nan
    print(f'G.pairs[#G.pairs + 1] = {{name = "{name}",\n  x = {numbers(x)},\n  y = {numbers(y)},')
    print(f"  tau = {numbers([tau])[1:-1]}, rho = {numbers([rho])[1:-1]}}}")
for name, points in (("sobol", qmc.Sobol(8, scramble=False).random(64)), ("halton", qmc.Halton(8, scramble=False).random(40))):
    print(f"G.{name} = {{")
    for p in points:
        print("  " + numbers(p) + ",")
    print("}")
print("return G")
