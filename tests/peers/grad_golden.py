#!/usr/bin/env python3
"""Golden gradients: PyTorch autograd in float64 for every built-in loss on the small fixtures of
tests/lua/fixtures.lua. Needs PyTorch and SciPy (distances); the result is committed, so the tests do not.

    python tests/peers/grad_golden.py > tests/lua/ref_golden_grad.lua
"""
import math

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

IGNORE = 255
T1 = [(2, 1, 1), (2, 1, 1), (1, 2, 1), (2, 1, 1)]
SAME = [(2, 1, 1)] * 4


def plane(pixels):
    return [[[math.log(pixels[2 * y + x][c]) for x in range(2)] for y in range(2)] for c in range(3)]


def random_fixture(seed, n, classes, h, w):
    """F.random of fixtures.lua: minimal standard generator."""
    state = seed

    def uniform():
        nonlocal state
        state = state * 16807 % 2147483647
        return state / 2147483647

    logits, labels = [], []
    for _ in range(n):
        y = [[0] * w for _ in range(h)]
        for i in range(h):
            for j in range(w):
                y[i][j] = IGNORE if uniform() < 0.1 else None
                if y[i][j] is None:
                    u = uniform()
                    y[i][j] = min(math.floor(u * u * classes), classes - 1)
        x = [[[0.0] * w for _ in range(h)] for _ in range(classes)]
        for c in range(classes):
            for i in range(h):
                for j in range(w):
                    x[c][i][j] = 6 * uniform() - 3 + (2 if y[i][j] == c else 0)
        labels.append(y)
        logits.append(x)
    return logits, labels


FIXTURES = {
    "T1": ([plane(T1)], [[[0, 0], [1, 2]]]),
    "T2": ([plane(T1), plane(SAME)], [[[0, 0], [1, 2]], [[0, 0], [0, 0]]]),
    "T1i": ([plane(T1)], [[[0, 0], [1, IGNORE]]]),
    "random": random_fixture(11, 2, 3, 2, 3),
}


def parts(x, y):
    """p, one-hot, mask; ignored pixels have neither."""
    m = (y != IGNORE).double()
    hot = F.one_hot(torch.where(y == IGNORE, 0, y), x.shape[1]).movedim(-1, 1).double() * m[:, None]
    return torch.softmax(x, 1), hot, m


def pixel_mean(values, m):
    return (values * m).sum() / m.sum()


def ce(x, y, weight=None, smoothing=0.0):
    w = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    per = F.cross_entropy(x, y, weight=w, ignore_index=IGNORE, label_smoothing=smoothing, reduction="none")
    return per.sum() / (y != IGNORE).sum()


def ce_weighted_mean(x, y, weight):
    return F.cross_entropy(x, y, weight=torch.tensor(weight, dtype=torch.float64), ignore_index=IGNORE)


def focal(x, y, gamma, weight=None):
    p, hot, m = parts(x, y)
    l = F.cross_entropy(x, y, ignore_index=IGNORE, reduction="none")
    u = torch.where(m > 0, 1 - (p * hot).sum(1), 0.5)
    l = u ** gamma * l
    if weight:
        l = l * (hot * torch.tensor(weight, dtype=torch.float64).view(1, -1, 1, 1)).sum(1)
    return pixel_mean(l, m)


def focal_sigmoid(x, y, gamma, alpha=None):
    _, hot, m = parts(x, y)
    p = torch.sigmoid(x)
    bce = F.binary_cross_entropy_with_logits(x, hot, reduction="none")
    l = (1 - (p * hot + (1 - p) * (1 - hot))) ** gamma * bce
    if alpha is not None:
        l = (alpha * hot + (1 - alpha) * (1 - hot)) * l
    return pixel_mean(l.sum(1), m)


def class_mean(x, y, per_class, unit="dataset", weight=None, present_only=True):
    """per_class(p, hot, dims) -> values by class for one unit; the mean over classes with pixels."""
    p, hot, m = parts(x, y)
    p = p * m[:, None]
    units = [slice(None)] if unit == "dataset" else [slice(i, i + 1) for i in range(x.shape[0])]
    values = []
    for s in units:
        n = hot[s].sum((0, 2, 3))
        v = per_class((p[s] * hot[s]).sum((0, 2, 3)), p[s], n)
        w = (n > 0).double() if present_only else torch.ones_like(n)
        if weight:
            w = w * torch.tensor(weight, dtype=torch.float64)
        values.append((v * w).sum() / w.sum())
    return torch.stack(values).mean()


def dice(x, y, smooth=0.0, squared=False, log=False, **kw):
    def f(tp, p, n):
        mass = (p * p if squared else p).sum((0, 2, 3))
        d = (2 * tp + smooth) / (mass + n + smooth)
        return -torch.log(torch.clamp(d, min=1e-7)) if log else 1 - d
    return class_mean(x, y, f, **kw)


def jaccard(x, y, smooth=0.0, **kw):
    def f(tp, p, n):
        return 1 - (tp + smooth) / (p.sum((0, 2, 3)) + n - tp + smooth)
    return class_mean(x, y, f, **kw)


def tversky(x, y, alpha, beta, smooth=0.0, gamma=1.0, **kw):
    def f(tp, p, n):
        fp, fn = p.sum((0, 2, 3)) - tp, n - tp
        return (1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)) ** gamma
    return class_mean(x, y, f, **kw)


def gdl(x, y, power=2):
    p, hot, m = parts(x, y)
    p = p * m[:, None]
    n = hot.sum((0, 2, 3))
    w = torch.where(n > 0, torch.where(n > 0, n, 1.0) ** -power, 0.0)
    w = torch.where(n > 0, w, w.max())
    return 1 - 2 * (w * (p * hot).sum((0, 2, 3))).sum() / (w * (p.sum((0, 2, 3)) + n)).sum()


# -- Losses that sort: units are images ({batch = 2} and "dataset": all of them, in one row).

def unit_rows(x, y, unit):
    """logits {C, pixels} and labels {pixels} of each unit, ignored pixels left out."""
    units = [range(x.shape[0])] if unit == "dataset" else [[i] for i in range(x.shape[0])]
    for u in units:
        xs = torch.cat([x[i].flatten(1) for i in u], 1)
        ys = torch.cat([y[i].flatten() for i in u])
        yield xs[:, ys != IGNORE], ys[ys != IGNORE]


def lovasz_grad(g):
    """As published (Berman et al. 2018, Algorithm 1), not in the form of losses.lua."""
    total = g.sum()
    inter, union = total - g.cumsum(0), total + (1 - g).cumsum(0)
    j = 1 - inter / union
    return torch.cat([j[:1], j[1:] - j[:-1]])


def lovasz(x, y, errors, unit="image", weight=None):
    values = []
    for xs, ys in unit_rows(x, y, unit):
        total = norm = 0
        for c in range(xs.shape[0]):
            g = (ys == c).double()
            if g.sum() == 0:
                continue
            e, order = torch.sort(errors(xs, g, c), descending=True, stable=True)
            w = weight[c] if weight else 1.0
            total, norm = total + w * torch.dot(e, lovasz_grad(g[order])), norm + w
        values.append(total / norm)
    return torch.stack(values).mean()


def softmax_errors(xs, g, c):
    return (g - torch.softmax(xs, 0)[c]).abs()


def hinge_errors(xs, g, c):
    return torch.relu(1 - (2 * g - 1) * xs[c])


def hardest(x, y, keep, unit="image"):
    """Mean of ce over what keep(pt ascending) says of each unit."""
    values = []
    for xs, ys in unit_rows(x, y, unit):
        l = F.cross_entropy(xs.T, ys, reduction="none")
        order = torch.sort(torch.exp(-l).detach(), stable=True).indices
        values.append(l[order][keep(torch.exp(-l).detach()[order])].mean())
    return torch.stack(values).mean()


def topk(x, y, k, **kw):
    return hardest(x, y, lambda pt: torch.arange(len(pt)) < max(1, math.floor(k * len(pt))), **kw)


def ohem(x, y, threshold, min_kept):
    return hardest(x, y, lambda pt: (torch.arange(len(pt)) < min_kept) | (pt < threshold))


# -- Losses that measure distances: ignored pixels neither count nor stop a distance.

def distance(mask, valid):
    """To the nearest valid pixel outside the mask, at valid pixels of it; 0 where there is none."""
    outside = valid & ~mask
    if not outside.any():
        return torch.zeros(mask.shape, dtype=torch.float64)
    return torch.from_numpy(distance_transform_edt(~outside.numpy())) * (mask & valid)


def foreground_mean(x, y, f):
    """f(p, g, mask of the class, valid) at each pixel; mean over valid pixels, then classes but 0, then images."""
    values = []
    for xs, ys in zip(x, y):
        valid, p = ys != IGNORE, torch.softmax(xs, 0)
        for c in range(1, x.shape[1]):
            g = (ys == c) & valid
            values.append(torch.where(valid, f(p[c], g.double(), g, valid), 0.0).sum() / valid.sum())
    return torch.stack(values).mean()


def boundary(x, y):
    def f(p, g, mask, valid):
        outside, inside = distance(~mask & valid, valid), distance(mask, valid)
        return p * (outside - (inside - 1) * (inside > 0))
    return foreground_mean(x, y, f)


def hausdorff(x, y, alpha=2.0):
    def field(mask, valid):
        return (distance(mask, valid) + distance(~mask & valid, valid)) ** alpha
    return foreground_mean(x, y, lambda p, g, mask, valid: (p - g) ** 2 * (field((p > 0.5).detach() & valid, valid) + field(mask, valid)))


W = [1.0, 2.0, 4.0]
LOSSES = [
    ("L.cross_entropy{}", lambda x, y: ce(x, y)),
    ("L.cross_entropy{weight = {1, 2, 4}}", lambda x, y: ce(x, y, W)),
    ('L.cross_entropy{weight = {1, 2, 4}, reduction = "weighted_mean"}', lambda x, y: ce_weighted_mean(x, y, W)),
    ("L.cross_entropy{label_smoothing = 0.1}", lambda x, y: ce(x, y, None, 0.1)),
    ("L.cross_entropy{label_smoothing = 0.1, weight = {1, 2, 4}}", lambda x, y: ce(x, y, W, 0.1)),
    ("L.focal{gamma = 0}", lambda x, y: focal(x, y, 0.0)),
    ("L.focal{gamma = 0.5}", lambda x, y: focal(x, y, 0.5)),
    ("L.focal{gamma = 2}", lambda x, y: focal(x, y, 2.0)),
    ("L.focal{gamma = 5}", lambda x, y: focal(x, y, 5.0)),
    ("L.focal{gamma = 2, alpha = {1, 2, 4}}", lambda x, y: focal(x, y, 2.0, W)),
    ("L.focal_sigmoid{gamma = 2}", lambda x, y: focal_sigmoid(x, y, 2.0)),
    ("L.focal_sigmoid{gamma = 1, alpha = 0.25}", lambda x, y: focal_sigmoid(x, y, 1.0, 0.25)),
    ("L.dice{}", lambda x, y: dice(x, y)),
    ("L.dice{smooth = 1}", lambda x, y: dice(x, y, 1.0)),
    ("L.dice{squared = true}", lambda x, y: dice(x, y, squared=True)),
    ("L.dice{log = true}", lambda x, y: dice(x, y, log=True)),
    ("L.dice{weight = {1, 2, 4}}", lambda x, y: dice(x, y, weight=W)),
    ('L.dice{unit = "image"}', lambda x, y: dice(x, y, unit="image")),
    ("L.jaccard{}", lambda x, y: jaccard(x, y)),
    ("L.tversky{alpha = 0.3, beta = 0.7}", lambda x, y: tversky(x, y, 0.3, 0.7)),
    ("L.focal_tversky{alpha = 0.3, beta = 0.7, gamma = 0.75}", lambda x, y: tversky(x, y, 0.3, 0.7, 0.0, 0.75)),
    ("L.focal_tversky{gamma = 2, smooth = 1}", lambda x, y: tversky(x, y, 0.5, 0.5, 1.0, 2.0)),
    ("L.generalized_dice{}", lambda x, y: gdl(x, y)),
    ('L.generalized_dice{weight_type = "simple"}', lambda x, y: gdl(x, y, 1)),
    ("L.dice_ce{}", lambda x, y: dice(x, y) + ce(x, y)),
    ("L.dice_focal{focal = {gamma = 3}, lambda_dice = 0.5}", lambda x, y: 0.5 * dice(x, y) + focal(x, y, 3.0)),
    ("L.gdice_focal{}", lambda x, y: gdl(x, y) + focal(x, y, 2.0)),
    ("L.lovasz_softmax{}", lambda x, y: lovasz(x, y, softmax_errors)),
    ('L.lovasz_softmax{unit = "dataset"}', lambda x, y: lovasz(x, y, softmax_errors, "dataset")),
    ("L.lovasz_softmax{unit = {batch = 2}, weight = {1, 2, 4}}", lambda x, y: lovasz(x, y, softmax_errors, "dataset", W)),
    ("L.lovasz_hinge{}", lambda x, y: lovasz(x, y, hinge_errors)),
    ("L.lovasz_softmax{} + 0.5 * L.ce{}", lambda x, y: lovasz(x, y, softmax_errors) + 0.5 * ce(x, y)),
    ("L.topk_ce{k = 0.5}", lambda x, y: topk(x, y, 0.5)),
    ('L.topk_ce{k = 0.3, unit = "dataset"}', lambda x, y: topk(x, y, 0.3, unit="dataset")),
    ("L.ohem_ce{threshold = 0.4, min_kept = 1}", lambda x, y: ohem(x, y, 0.4, 1)),
    ("L.ohem_ce{threshold = 0.1, min_kept = 3}", lambda x, y: ohem(x, y, 0.1, 3)),
    ("L.boundary{}", boundary),
    ("L.hausdorff_dt{}", hausdorff),
    ("L.hausdorff_dt{alpha = 1}", lambda x, y: hausdorff(x, y, 1.0)),
]


def main():
    print("-- Made by tests/peers/grad_golden.py with PyTorch %s: losses and gradients in float64,"
          % torch.__version__.split("+")[0])
    print("-- flat {image, class, y, x}.")
    print("return {")
    for name, (logits, labels) in FIXTURES.items():
        print("  %s = {" % name)
        for text, f in LOSSES:
            x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
            y = torch.tensor(labels, dtype=torch.int64)
            value = f(x, y)
            value.backward()
            print("    [ [[%s]] ] = {\n      value = %.17g," % (text, value.item()))
            numbers = ["%.17g" % (v + 0.0) for v in x.grad.flatten().tolist()]
            line = "     "
            for v in numbers:
                if len(line) + len(v) > 96:
                    print(line)
                    line = "     "
                line += " " + v + ","
            print(line + "},")
        print("  },")
    print("}")


if __name__ == "__main__":
    main()
