"""How to make a dump with h5py: the ten lines that go behind your evaluation loop.

    python write_dump.py out.h5        writes a small made-up dump, to try the format

logits: the network's output before the softmax, [N,C,H,W] (or [N,C,D,H,W]); labels: [N,H,W].
"""
import sys

import h5py
import numpy as np


def write_dump(path, batches, n, class_names, ignore_index=None):
    """batches yields (logits [B,C,H,W], labels [B,H,W]) as arrays; n images in all."""
    with h5py.File(path, "w") as f:
        f.attrs["class_names"] = class_names
        first = 0
        for logits, labels in batches:
            if first == 0:
                opts = dict(compression="gzip", compression_opts=4, shuffle=True)
                z = f.create_dataset("logits", (n, *logits.shape[1:]), "f2",
                                     chunks=(1, *logits.shape[1:]), **opts)
                y = f.create_dataset("labels", (n, *labels.shape[1:]), labels.dtype,
                                     chunks=(1, *labels.shape[1:]), **opts)
                z.attrs["layout"] = "NCDHW" if logits.ndim == 5 else "NCHW"
                if ignore_index is not None:
                    y.attrs["ignore_index"] = ignore_index
            z[first:first + len(logits)] = logits    # torch: logits.half().cpu().numpy()
            y[first:first + len(labels)] = labels
            first += len(logits)
        assert first == n, f"{first} images came, {n} were announced"


def made_up(n=8, classes=3, size=64, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(n // 2):
        labels = rng.integers(0, classes, (2, size // 8, size // 8)).repeat(8, 1).repeat(8, 2)
        logits = rng.normal(size=(2, classes, size, size))
        logits += 2.0 * (labels[:, None] == np.arange(classes)[:, None, None])
        labels[:, :2] = 255    # a border that nobody labelled
        yield logits.astype("f2"), labels.astype("u1")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_dump(sys.argv[1], made_up(), 8, ["sky", "road", "car"], ignore_index=255)
