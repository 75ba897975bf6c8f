"""The rival's side of tests/bench/run-fits: one configuration after the other, torch.optim.LBFGS (strong Wolfe) over a
compiled value + gradient, float32, the same objective.

    python tests/bench/fits.py DUMP --json OUT

Ten of the 100 configurations, spread evenly; time does not depend on which much. Compiling is not counted: parameters are
tensors, so that it is compiled once. Eager and compiled are both tried on one configuration, the faster one is taken.
Needs torch, h5py, numpy.
"""
import argparse
import json
import time

import h5py
import numpy as np
import torch
import torch.nn.functional as F

ap = argparse.ArgumentParser()
ap.add_argument("dump")
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--count", type=int, default=10)
ap.add_argument("--json", required=True)
a = ap.parse_args()
torch.set_num_threads(a.threads)
L2 = 1e-4

with h5py.File(a.dump) as file:
    x = torch.tensor(file["logits"][:].astype(np.float32))
    y = torch.tensor(file["labels"][:].astype(np.int64))
C = x.shape[1]
x = x.movedim(1, -1).reshape(-1, C)
y = y.flatten()
x, y = x[y < C].contiguous(), y[y < C].contiguous()


def focal(z, y, gamma):
    lp = F.log_softmax(z, 1).gather(1, y[:, None])[:, 0]
    return ((1 - lp.exp()) ** gamma * -lp).mean()


def dice(z, y):
    p = F.softmax(z, 1)
    t = F.one_hot(y, C).float()
    n = t.sum(0)
    d = 1 - 2 * (p * t).sum(0) / (p.sum(0) + n)
    return torch.where(n > 0, d, 0.0).sum() / (n > 0).sum()


def case_focal(z, y, k):
    return focal(z, y, k)


def case_dice_focal(z, y, k):
    return k * focal(z, y, 2.0) + (1 - k) * dice(z, y)


def fit(objective, k):
    """value of the loss where it ends, evaluations."""
    k = torch.tensor(k)
    v = torch.zeros(1 + C, requires_grad=True)
    with torch.no_grad():
        start = objective(v, k).item()
    count = 0
    opt = torch.optim.LBFGS([v], max_iter=500, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-6 * start,
                            tolerance_change=0)

    def closure():
        nonlocal count
        count += 1
        opt.zero_grad()
        loss = objective(v, k) + 0.5 * L2 * start * (v * v).sum()
        loss.backward()
        return loss

    opt.step(closure)
    with torch.no_grad():
        return objective(v, k).item(), count


def timed(objective, k):
    begin = time.perf_counter()
    out = fit(objective, k)
    return time.perf_counter() - begin, out


out = {}
for name, loss, ks in [("focal", case_focal, [k / 20 for k in range(1, 101)]), ("dice_focal", case_dice_focal, [k / 100 for k in range(1, 101)])]:
    def plain(v, k, loss=loss):
        return loss(torch.exp(v[0]) * x + v[1:], y, k)

    compiled = torch.compile(plain)
    timed(compiled, ks[49])
    eager_s, compiled_s = timed(plain, ks[49])[0], timed(compiled, ks[49])[0]
    best, how = (compiled, "compiled") if compiled_s < eager_s else (plain, "eager")
    positions = [1 + i * 100 // a.count for i in range(a.count)]
    begin, values, evaluations = time.perf_counter(), [], 0
    for p in positions:
        value, n = fit(best, ks[p - 1])
        values.append(value)
        evaluations += n
    out[name] = dict(how=how, positions=positions, values=values, seconds=time.perf_counter() - begin,
                     evaluations=evaluations / len(positions), one=dict(eager=eager_s, compiled=compiled_s))
json.dump(out, open(a.json, "w"))
