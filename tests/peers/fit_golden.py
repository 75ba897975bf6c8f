#!/usr/bin/env python3
"""Golden fits: a temperature and one bias per class under every built-in loss, minimised by SciPy's L-BFGS-B
with PyTorch's float64 gradients: on a fixture of tests/lua/fixtures.lua and, with a folder that has them, on
the first pictures of two real dumps. Needs PyTorch, SciPy, h5py; the result is committed, so the tests do not.

    python tests/peers/fit_golden.py [FOLDER] > tests/lua/ref_golden_fit.lua

What is minimised: loss(t * logits + b) + l2 / 2 * |loss(logits)| * ((log t)^2 + sum of b^2), l2 = 1e-4.
"""
import os
import sys

import numpy as np
import scipy.optimize
import torch

from grad_golden import ce, ce_weighted_mean, dice, focal, focal_sigmoid, gdl, jaccard, random_fixture, tversky, IGNORE

L2 = 1e-4
DUMPS = [("fit_dubai.h5", 32), ("camvid_val.h5", 8)]


def losses(classes):
    w = [1.0 + c for c in range(classes)]
    text = ", ".join(str(1 + c) for c in range(classes))
    return [
        ("L.cross_entropy{}", lambda x, y: ce(x, y)),
        ("L.cross_entropy{weight = {%s}}" % text, lambda x, y: ce(x, y, w)),
        ('L.cross_entropy{weight = {%s}, reduction = "weighted_mean"}' % text, lambda x, y: ce_weighted_mean(x, y, w)),
        ("L.cross_entropy{label_smoothing = 0.1}", lambda x, y: ce(x, y, None, 0.1)),
        ("L.focal{gamma = 0.5}", lambda x, y: focal(x, y, 0.5)),
        ("L.focal{gamma = 2}", lambda x, y: focal(x, y, 2.0)),
        ("L.focal{gamma = 5}", lambda x, y: focal(x, y, 5.0)),
        ("L.focal_sigmoid{gamma = 2}", lambda x, y: focal_sigmoid(x, y, 2.0)),
        ("L.dice{}", lambda x, y: dice(x, y)),
        ("L.dice{smooth = 1}", lambda x, y: dice(x, y, 1.0)),
        ("L.dice{squared = true}", lambda x, y: dice(x, y, squared=True)),
        ("L.jaccard{}", lambda x, y: jaccard(x, y)),
        ("L.tversky{alpha = 0.3, beta = 0.7}", lambda x, y: tversky(x, y, 0.3, 0.7)),
        ("L.focal_tversky{alpha = 0.3, beta = 0.7, gamma = 0.75}", lambda x, y: tversky(x, y, 0.3, 0.7, 0.0, 0.75)),
        ("L.generalized_dice{}", lambda x, y: gdl(x, y)),
        ('L.generalized_dice{weight_type = "simple"}', lambda x, y: gdl(x, y, 1)),
        ("L.dice_ce{}", lambda x, y: dice(x, y) + ce(x, y)),
        ("L.dice_focal{}", lambda x, y: dice(x, y) + focal(x, y, 2.0)),
        ("L.gdice_focal{}", lambda x, y: gdl(x, y) + focal(x, y, 2.0)),
    ]


def minimise(f, x, y):
    """(start, value, log t, b, largest |gradient| relative to the start)."""
    start = f(x, y).item()

    def objective(v):
        v = torch.tensor(v, requires_grad=True)
        z = torch.exp(v[0]) * x + v[1:].view(1, -1, 1, 1)
        value = f(z, y) + 0.5 * L2 * abs(start) * (v * v).sum()
        value.backward()
        return value.item() / abs(start), v.grad.numpy() / abs(start)

    best = np.zeros(1 + x.shape[1])
    for _ in range(5):      # a new start forgets what the memory had wrong
        best = scipy.optimize.minimize(objective, best, jac=True, method="L-BFGS-B",
                                       options=dict(maxcor=30, maxiter=5000, maxfun=20000, ftol=0, gtol=1e-11)).x
    v = torch.tensor(best)
    value = f(torch.exp(v[0]) * x + v[1:].view(1, -1, 1, 1), y).item()
    return start, value, best[0], best[1:], abs(objective(best)[1]).max()


def fixture(name, x, y):
    print("  [%r] = {" % name)
    for text, f in losses(x.shape[1]):
        start, value, log_t, b, slope = minimise(f, x, y)
        print("    [ [[%s]] ] = {start = %.17g, value = %.17g, log_t = %.12g,\n      b = {%s}},"
              % (text, start, value, log_t, ", ".join("%.12g" % v for v in b)))
        print("%s: %s: largest derivative %.1e" % (name, text, slope), file=sys.stderr, flush=True)
    print("  },")


def main():
    print("-- Made by tests/peers/fit_golden.py with PyTorch %s and SciPy %s, in float64."
          % (torch.__version__.split("+")[0], scipy.__version__))
    print("return {")
    logits, labels = random_fixture(7, 4, 4, 20, 20)
    fixture("random", torch.tensor(logits, dtype=torch.float64), torch.tensor(labels, dtype=torch.int64))
    for name, count in DUMPS if len(sys.argv) > 1 else []:
        import h5py
        with h5py.File(os.path.join(sys.argv[1], name)) as file:
            x = torch.tensor(file["logits"][:count].astype(np.float64))
            y = torch.tensor(file["labels"][:count].astype(np.int64))
        y[(y < 0) | (y >= x.shape[1])] = IGNORE
        fixture(name, x, y)
    print("}")


if __name__ == "__main__":
    main()
