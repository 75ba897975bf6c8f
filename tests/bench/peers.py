"""The rivals' side of tests/bench/run: the same work in PyTorch, eager and compiled, timed in this process.

    python tests/bench/peers.py --classes 19 --size 2x512x1024 --threads 2 --json out.json

Every figure is [min, median] of repeated runs in ms. Logits float32 [N,C,H,W], labels int64, one scalar out, as a user would
write it; the sweep is 20 gammas x 5 alpha vectors, as a loop of calls and as the careful version that sums by class once per
gamma. Needs torch; the compiled figures need a C++ compiler.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

ap = argparse.ArgumentParser()
ap.add_argument("--classes", type=int, default=19)
ap.add_argument("--size", default="2x512x1024")
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--reps", type=int, default=7)
ap.add_argument("--grad", action="store_true", help="also value + gradient")
ap.add_argument("--json")
a = ap.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(0)
N, H, W = map(int, a.size.split("x"))
C = a.classes
x = torch.randn(N, C, H, W) * 2
y = torch.randint(0, C, (N, H // 16, W // 16)).repeat_interleave(16, 1).repeat_interleave(16, 2)
x.scatter_add_(1, y[:, None], torch.full((N, 1, H, W), 3.0))
w = torch.rand(C) + 0.5


def ce(x, y):
    return F.cross_entropy(x, y, weight=w)


def focal(x, y):
    lp = F.log_softmax(x, 1).gather(1, y[:, None])[:, 0]
    return (w[y] * (1 - lp.exp()) ** 2.0 * -lp).mean()


def dice(x, y):
    p = F.softmax(x, 1)
    t = F.one_hot(y, C).permute(0, 3, 1, 2).float()
    i = (p * t).sum((0, 2, 3))
    return 1 - ((2 * i + 1) / ((p + t).sum((0, 2, 3)) + 1)).mean()


def generalized_dice(x, y):
    p = F.softmax(x, 1)
    t = F.one_hot(y, C).permute(0, 3, 1, 2).float()
    k = 1 / t.sum((2, 3)).square().clamp(min=1)
    i = ((p * t).sum((2, 3)) * k).sum(1)
    return (1 - 2 * i / ((p + t).sum((2, 3)) * k).sum(1)).mean()


def dice_focal(x, y):
    return 0.5 * focal(x, y) + 0.5 * dice(x, y)


def lovasz(x, y):
    """Per image, all classes sorted in one call."""
    t = F.one_hot(y, C).permute(0, 3, 1, 2).float().flatten(2)
    e, order = (t - F.softmax(x, 1).flatten(2)).abs().sort(-1, descending=True)
    g = t.gather(-1, order)
    n = g.sum(-1, keepdim=True)
    j = 1 - (n - g.cumsum(-1)) / (n + (1 - g).cumsum(-1))
    j = torch.cat([j[..., :1], j[..., 1:] - j[..., :-1]], -1)
    present = n[..., 0] > 0
    return ((e * j).sum(-1) * present).sum(1).div(present.sum(1)).mean()


def topk(x, y):
    l = F.cross_entropy(x, y, reduction="none").flatten(1)
    return l.topk(l.shape[1] // 10, 1, sorted=False).values.mean()


GAMMAS = torch.linspace(0, 5, 20)
ALPHAS = [torch.rand(C) + 0.5 for _ in range(5)]


def per_class_sums(x, y):
    """What a careful user writes: one sum by class per gamma, the alphas applied afterwards."""
    lp = F.log_softmax(x, 1).gather(1, y[:, None])[:, 0].flatten()
    u, z = 1 - lp.exp(), y.flatten()
    s = torch.stack([torch.bincount(z, u ** g * -lp, minlength=C) for g in GAMMAS])
    return [s @ k for k in ALPHAS]


def timed(f, reps):
    f()
    ts = []
    for _ in range(reps):
        t = time.perf_counter()
        f()
        ts.append((time.perf_counter() - t) * 1e3)
    return [min(ts), statistics.median(ts)]


def with_gradient(f):
    xg = x.clone().requires_grad_()

    def run():
        xg.grad = None
        f(xg, y).backward()
    return run


out = {}
for f in (ce, focal, dice, generalized_dice, dice_focal, lovasz, topk):
    name = f.__name__
    with torch.no_grad():
        out[name] = {"eager": timed(lambda: f(x, y), a.reps)}
    torch._dynamo.reset()
    c = torch.compile(f)
    with torch.no_grad():
        out[name]["compiled"] = timed(lambda: c(x, y), a.reps)
    if a.grad:
        out[name + "+grad"] = {"eager": timed(with_gradient(f), max(3, a.reps // 2))}
        torch._dynamo.reset()
        c = torch.compile(f)
        out[name + "+grad"]["compiled"] = timed(with_gradient(c), max(3, a.reps // 2))
best = min(out["focal"]["eager"][0], out["focal"]["compiled"][0])
out["sweep100 loop"] = {"compiled": [100 * best, 100 * best]}
with torch.no_grad():
    out["sweep100 per-class sums"] = {"eager": timed(lambda: per_class_sums(x, y), 3)}
    torch._dynamo.reset()
    c = torch.compile(per_class_sums)
    try:
        out["sweep100 per-class sums"]["compiled"] = timed(lambda: c(x, y), 3)
    except Exception as e:
        print("the compiled sweep failed:", str(e)[:200])
for k, v in out.items():
    print(f"{k:28s}", "  ".join(f"{m} {t[0]:9.2f} ms" for m, t in v.items()), flush=True)
if a.json:
    with open(a.json, "w") as fh:
        json.dump(out, fh)
