"""peers.py: the work of tests/gpu/bench.lua in PyTorch on the same GPU, eager and compiled; run by tests/gpu/run.sh:

    python3 tests/gpu/peers.py --figures bench.tsv --out peers.tsv [--device cuda] [--seconds 150]

bench.tsv, of bench.lua, says how large each dump is. Logits in the GPU's memory before the clock starts, float16 or float32,
labels int64, losses as a user would write them, computed in float32; one value out. "gradient": loss.backward(), the gradient in
the GPU's memory, in the type of the logits. The sweep is 100 gammas: a loop of calls (10 of them timed, times ten) and
the careful way: softmax and gather once, then powers of what is left, many gammas in one operation. Times: the GPU's events,
median. Where memory is short half of the images are taken, and half of that, and the time is multiplied: the last column says so.

Columns, tab-separated: classes, type, work, eager or compiled, ms, images over the dump's images. --device cpu only shows that
it runs to its end.
"""
import argparse
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("no torch")
    sys.exit(77)

ap = argparse.ArgumentParser()
ap.add_argument("--figures", required=True)
ap.add_argument("--out", required=True)
ap.add_argument("--device", default="cuda")
ap.add_argument("--seconds", type=float, default=150)
ap.add_argument("--no-compile", action="store_true")
args = ap.parse_args()
START = time.monotonic()
OUT_OF_MEMORY = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
GPU = args.device != "cpu"
if GPU and not torch.cuda.is_available():
    print("torch sees no GPU")
    sys.exit(77)
GAMMAS = torch.linspace(0, 5, 100, device=args.device)
out = open(args.out, "w")


def class_weights(classes):
    return torch.tensor([0.5 + c * 7 % 10 / 10 for c in range(classes)], device=args.device)


def ce(x, y, w):
    return F.cross_entropy(x.float(), y, weight=w)


def focal(x, y, w, gamma=2.0):
    lp = F.log_softmax(x.float(), 1).gather(1, y[:, None])[:, 0]
    return (w[y] * (1 - lp.exp()) ** gamma * -lp).mean()


def dice(x, y, w):
    p = F.softmax(x.float(), 1)
    t = F.one_hot(y, x.shape[1]).permute(0, 3, 1, 2).float()
    i = (p * t).sum((0, 2, 3))
    return 1 - ((2 * i + 1) / ((p + t).sum((0, 2, 3)) + 1)).mean()


def dice_focal(x, y, w):
    return 0.5 * focal(x, y, w) + 0.5 * dice(x, y, w)


def careful(x, y, w, chunk):
    lp = F.log_softmax(x.float(), 1).gather(1, y[:, None])[:, 0].flatten()
    u, v = 1 - lp.exp(), w[y].flatten() * -lp
    return torch.cat([(u ** g[:, None] * v).mean(1) for g in GAMMAS.split(chunk)])


def dump(n, classes, height, width, dtype):
    """As core.synthetic makes it: deviation 2, the label's logit raised by 3; one image, repeated."""
    g = torch.Generator(device=args.device).manual_seed(0)
    y = torch.randint(0, classes, (1, -(-height // 45), -(-width // 45)), device=args.device, generator=g)
    y = y.repeat_interleave(45, 1).repeat_interleave(45, 2)[:, :height, :width]
    x = torch.randn(1, classes, height, width, device=args.device, generator=g) * 2
    x.scatter_add_(1, y[:, None], torch.full((1, 1, height, width), 3.0, device=args.device))
    return x.to(dtype).repeat(n, 1, 1, 1), y.repeat(n, 1, 1)


def timed(f, most=9, seconds=1.5):
    """Median milliseconds after two calls that are not counted; at most this many, and no new one after so many seconds."""
    f(), f()
    times, begin = [], time.monotonic()
    while len(times) < most and (len(times) < 2 or time.monotonic() - begin < seconds):
        if GPU:
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            f()
            b.record()
            b.synchronize()
            times.append(a.elapsed_time(b))
        else:
            t = time.monotonic()
            f()
            times.append((time.monotonic() - t) * 1e3)
    return sorted(times)[len(times) // 2]


def value(f, x, y, w):
    def run():
        with torch.no_grad():
            return f(x, y, w)
    return timed(run)


def gradient(f, x, y, w):
    x = x.detach().requires_grad_()

    def run():
        x.grad = None
        f(x, y, w).backward()
    return timed(run)


def loop(f, x, y, w):
    def run():
        with torch.no_grad():
            for g in GAMMAS[::10]:
                f(x, y, w, g)
    return 10 * timed(run, 3)


def sweep(f, x, y, w):
    chunk = 10 if f is careful else 100         # eager operations write what they compute, compiled ones need not

    def run():
        with torch.no_grad():
            return f(x, y, w, chunk)
    return timed(run, 3)


WORKS = {
    "cross entropy": (value, ce), "focal": (value, focal), "Dice": (value, dice), "Dice + focal": (value, dice_focal),
    "cross entropy, gradient": (gradient, ce), "focal, gradient": (gradient, focal),
    "Dice + focal, gradient": (gradient, dice_focal), "100 gammas, loop": (loop, focal), "100 gammas, careful": (sweep, careful),
}
FIRST = ("cross entropy", "Dice + focal", "Dice + focal, gradient")
# In order of interest: what is left when time is up is not measured. (classes, type, works, also compiled)
PLAN = [
    (19, "float16", list(WORKS), True), (19, "float32", FIRST, True), (2, "float16", FIRST, True), (150, "float16", FIRST, True),
    (19, "float32", [k for k in WORKS if k not in FIRST], False),
]


def left():
    return args.seconds - (time.monotonic() - START)


def measure(how, work, data, n):
    """Milliseconds and the part of the images that was used."""
    timer, f = WORKS[work]
    x, y, w = data
    # (with 4.2e9 logits, seen on an H100, the backward of torch 2.11's cross_entropy gave "an illegal memory access", after which nothing ran: fewer than 2^31 here)
    part = min(n, (2**31 - 1) // x[0].numel()) if timer is gradient else n
    while True:
        try:
            if how == "compiled":
                torch._dynamo.reset()
                f = torch.compile(WORKS[work][1], dynamic=False)
            return timer(f, x[:part], y[:part], w) * n / part, part / n
        except OUT_OF_MEMORY:
            if part < 2:
                raise
            part //= 2
        finally:
            if GPU:
                torch.cuda.empty_cache()


def put(classes, dtype, work, how, data, n):
    note = ""
    try:
        if left() < (20 if how == "compiled" else 3):
            raise TimeoutError("out of time")
        ms, part = measure(how, work, data, n)
        note = f"{part:.3g}"
    except Exception as e:          # noqa: BLE001, the others are to be measured all the same
        ms, note = "", f"{type(e).__name__}: {str(e)[:120]}".replace("\t", " ").replace("\n", " ").replace("|", "/")
    line = f"{classes}\t{dtype}\t{work}\t{how}\t{ms}\t{note}"
    print(line, file=out, flush=True)
    print(f"{line}\t{time.monotonic() - START:.0f} s", flush=True)


def main():
    sizes = {}
    with open(args.figures) as f:
        for line in f:
            classes, dtype, _, _, _, n, h, w = line.rstrip("\n").split("\t")
            sizes[int(classes), dtype] = int(n), int(h), int(w)
    gpu = torch.cuda.get_device_name() if GPU else "CPU"
    print(f"torch {torch.__version__}, {gpu}", flush=True)
    print(f"# torch {torch.__version__}", file=out, flush=True)
    for classes, dtype, works, compiled in PLAN:
        if (classes, dtype) not in sizes:
            continue
        n, h, w = sizes[classes, dtype]
        data = dump(n, classes, h, w, getattr(torch, dtype)) + (class_weights(classes),)
        for work in works:
            put(classes, dtype, work, "eager", data, n)
            if compiled and not args.no_compile:
                put(classes, dtype, work, "compiled", data, n)
        del data


main()
