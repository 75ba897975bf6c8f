"""The rows of tests/bench/sweeps.lua in NumPy, from kept sums, as one would write them by hand: broadcast over s x t x alpha x
beta for each mix. Sums are random: times only. Run by tests/bench/run-sweeps: free_axes.py N CLASSES"""
import resource
import sys
import time

import numpy as np

n, classes = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
ce, count, tp, ps = (rng.random(classes) + 0.1 for _ in range(4))
w = rng.random(classes) + 0.5
s, t = np.linspace(0, 1, n), np.geomspace(0.5, 2, n)
alpha, beta, mix = np.linspace(0.1, 0.9, n), np.linspace(0.1, 0.9, n), np.linspace(0, 1, n)


def rows(m):
    a = ((w ** s[:, None]) * ce).sum(-1) / count.sum()
    index = (tp + 1) / (tp + alpha[:, None, None] * (ps - tp) + beta[:, None] * (count - tp) + 1)
    weight = t[:, None] * w
    b = ((1 - index) * weight[:, None, None]).sum(-1) / weight.sum(-1)[:, None, None]
    return m * a[:, None, None, None] + (1 - m) * b


start = time.perf_counter()
best = []
for i, m in enumerate(mix):
    v = rows(m).ravel()
    first = np.argpartition(v, 10)[:10]
    best = sorted(best + [(v[k], i * v.size + k) for k in first])[:10]
print(f"  NumPy: all rows and the best ten                 {time.perf_counter() - start:8.3f} s")
print(f"  NumPy: memory, at its peak                       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8.1f} MiB")
