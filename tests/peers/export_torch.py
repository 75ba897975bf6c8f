"""export_torch.py FOLDER [--compile BACKEND]: runs what export_cases.lua wrote into FOLDER. Prints TAP.

For each loss: the file's own self-test, then value and gradient on the larger dump in double (1e-9) and in float32
(1e-6), with NaN logits at ignored pixels, as it is and compiled into one graph, against segx's numbers in double
precision. TORCHINDUCTOR_CACHE_DIR should be an empty folder, else earlier compilations are used again.
"""
import argparse
import contextlib
import importlib.util
import io
import json
import os
import sys

import torch


def load(folder, name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def errors(value, gradient, case, shape):
    want = torch.tensor(case["gradient"], dtype=torch.float64).reshape(shape)
    scale = max(want.abs().max().item(), 1e-30)
    return (abs(value - case["value"]) / max(abs(case["value"]), 1e-30),
            (gradient.double() - want).abs().max().item() / scale)


def run(loss, data, case, dtype):
    logits = torch.tensor(data["logits"], dtype=torch.float64)
    labels = torch.tensor(data["labels"])
    ignored = (labels < 0).unsqueeze(1).expand_as(logits)
    logits = logits.masked_fill(ignored, float("nan")).to(dtype).requires_grad_()
    fields = [torch.tensor(data[case["field"]], dtype=dtype)] if case["field"] else []
    value = loss(logits, labels, *fields)
    value.backward()
    if (logits.grad[ignored] != 0).any():
        return float("nan"), float("nan")
    return errors(value.item(), logits.grad, case, logits.shape)


def check(folder, case, data, backend):
    """List of what is wrong."""
    wrong = []
    module = load(folder, case["name"])
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            status = module.self_test()
        if status != 0 or not said.getvalue().startswith("PASS"):
            wrong.append("self-test: " + said.getvalue().strip())
        torch.set_default_dtype(torch.float64)
        exact = module.Loss()
        torch.set_default_dtype(torch.float32)
        single = module.Loss()
        runs = [("double", exact, torch.float64, 1e-9), ("single", single, torch.float32, 1e-6)]
        if backend:
            torch._dynamo.reset()
            for what, loss, dtype, limit in list(runs):
                whole = not hasattr(module, "edt")            # which stops as soon as no distance can shrink
                compiled = torch.compile(loss, fullgraph=whole, backend=backend)
                runs.append((what + ", compiled", compiled, dtype, limit))
        for what, loss, dtype, limit in runs:
            value, gradient = run(loss, data, case, dtype)
            if not (value <= limit and gradient <= limit):
                wrong.append(f"{what}: value {value:.1e}, gradient {gradient:.1e}")
    except Exception as e:   # noqa: BLE001, the next loss is to run all the same
        wrong.append(f"{type(e).__name__}: {e}")
    finally:
        torch.set_default_dtype(torch.float32)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--compile", default="", help="backend of torch.compile; default: not compiled")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with open(os.path.join(args.folder, "cases.json")) as f:
        stored = json.load(f)
    passed = failed = 0
    cases = [c for c in stored["cases"] if args.only in c["name"]]
    for k, case in enumerate(cases, 1):
        wrong = check(args.folder, case, stored[case["data"]], args.compile)
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {k} - {case['name']}: {case['text']}", flush=True)
        for line in wrong:
            print("#   " + line[:1500].replace("\n", "\n#   "))
    if stored["failed"]:
        failed += stored["failed"]
        print(f"not ok {len(cases) + 1} - every loss was exported ({stored['failed']} were not)")
    print(f"# {passed} passed, {failed} failed; torch {torch.__version__}"
          + (f", compiled by {args.compile}" if args.compile else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
