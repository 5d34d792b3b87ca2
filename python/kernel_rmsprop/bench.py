"""Measures the step of an optimizer against that of torch.optim's.

    python -m kernel_rmsprop.bench
    python -m kernel_rmsprop.bench --optimizer adamw --threads 1 --options plain
    python -m kernel_rmsprop.bench --cases 1M,ResNet-50 --threads 1 --json times.json --png times.png
    python -m kernel_rmsprop.bench --threads 1 --compiled

Each time is that of a whole optimizer.step(), the shortest of some rounds in which the
contenders take turns. The speed-up is torch's time over ours. A compiled step is
torch.compile of torch's, by its foreach variant. torch.optim.Adam and AdamW have a fused
variant, in C++.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import kernel_rmsprop

from ._arguments import counts


def resnet50() -> list[tuple[int, ...]]:
    """Returns the shapes of ResNet-50's 161 parameters, 25,557,032 numbers."""
    shapes: list[tuple[int, ...]] = []

    def convolution(inputs: int, outputs: int, size: int) -> None:
        shapes.extend([(outputs, inputs, size, size), (outputs,), (outputs,)])  # and its normalization

    convolution(3, 64, 7)
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            convolution(inputs, width, 1)
            convolution(width, width, 3)
            convolution(width, 4 * width, 1)
            if block == 0:
                convolution(inputs, 4 * width, 1)
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


CASES: dict[str, list[tuple[int, ...]]] = {
    "1x1": [(1,)],  # what a step costs beside the arithmetic
    "1000x1": [(1,)] * 1000,
    "1000x1000": [(1000,)] * 1000,
    "1M": [(1 << 20,)],
    "16M": [(1 << 24,)],
    "ResNet-50": resnet50(),
}
OPTIMIZERS = {"rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "rmsprop": {"plain": {}, "all": dict(momentum=0.9, centered=True, weight_decay=1e-4)},
    "adam": {"plain": {}, "all": dict(weight_decay=1e-4, maximize=True)},
    "adamw": {"plain": {}, "all": dict(maximize=True)},
}
COMPILED = "1x1,1M,16M,ResNet-50"  # to compile a step on 1,000 tensors takes too long
# Read or written once by a step: theta, s and its kind twice, grad once.
ARRAYS = {"rmsprop": {"plain": 5, "all": 9}, "adam": {"plain": 7, "all": 7}, "adamw": {"plain": 7, "all": 7}}
OURS = "ours"
Make = Callable[[list[Any], dict[str, Any]], Callable[[], object]]


def contenders(optimizer: str, compiled: bool) -> dict[str, Make]:
    """Returns what makes the step of each, by name."""
    name = OPTIMIZERS[optimizer]

    def torchs(**variant: bool) -> Make:
        return lambda params, options: getattr(torch.optim, name)(params, **variant, **options).step

    found: dict[str, Make] = {
        OURS: lambda params, options: getattr(kernel_rmsprop, name)(params, **options).step,
        "for-loop": torchs(foreach=False),
        "foreach": torchs(foreach=True),
    }
    if optimizer != "rmsprop":
        found["fused"] = torchs(fused=True)
    if compiled:
        # Anew: with too many optimizers before, torch would run this one as it is.
        torch.compiler.reset()

        def compiled_step(params: list[Any], options: dict[str, Any]) -> Callable[[], object]:
            step: Callable[[], object] = torch.compile(torchs(foreach=True)(params, options))
            return step

        found["compiled"] = compiled_step
    return found


def measure(optimizer: str, case: str, options: str, compiled: bool, seconds: float) -> dict[str, Any]:
    """Returns the shortest time of a step of each contender, and how long the first ones took."""
    times: dict[str, float] = {}
    first: dict[str, float] = {}
    steps: dict[str, Callable[[], object]] = {}
    grads = [torch.randn(shape) for shape in CASES[case]]
    for name, make in contenders(optimizer, compiled).items():
        params = [torch.nn.Parameter(torch.randn(shape)) for shape in CASES[case]]
        for p, g in zip(params, grads):
            p.grad = g
        steps[name] = make(params, OPTIONS[optimizer][options])
        start = time.perf_counter()
        for _ in range(3):  # by then all is made and compiled
            steps[name]()
        first[name] = time.perf_counter() - start
    rounds = 5
    for _ in range(rounds):
        for name, step in steps.items():
            end = time.perf_counter() + seconds / rounds
            while True:
                start = time.perf_counter()
                step()
                now = time.perf_counter()
                times[name] = min(times.get(name, float("inf")), now - start)
                if now > end:
                    break
    elements = sum(g.numel() for g in grads)
    return {
        "optimizer": optimizer,
        "case": case,
        "tensors": len(grads),
        "elements": elements,
        "options": options,
        "threads": torch.get_num_threads(),
        "seconds": times,
        "first": first,
        "gigabytes_per_second": 4e-9 * ARRAYS[optimizer][options] * elements / times[OURS],
    }


def duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} µs"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def contenders_of(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the names of all but ours. Some rows may not have all of them."""
    return [*dict.fromkeys(name for row in rows for name in row["seconds"] if name != OURS)]


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as Markdown."""
    names = contenders_of(rows)
    head = ["case", "options", "threads", OURS, *names, *(f"{n} / {OURS}" for n in names), "GB/s"]
    body = []
    for row in rows:
        t = row["seconds"]
        body.append([
            row["case"], row["options"], str(row["threads"]),
            duration(t[OURS]), *(duration(t[n]) if n in t else "" for n in names),
            *(f"{t[n] / t[OURS]:.2f}" if n in t else "" for n in names),
            f"{row['gigabytes_per_second']:.1f}" if row["elements"] > 1e5 else "",
        ])  # fmt: skip
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *body]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in lines)


def picture(rows: list[dict[str, Any]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = contenders_of(rows)
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.5 * len(rows)), layout="constrained")
    height = 0.8 / len(names)
    for k, name in enumerate(names):
        times = [row["seconds"] for row in rows]
        ratios = {i: t[name] / t[OURS] for i, t in enumerate(times) if name in t}
        bars = axes.barh([i + k * height for i in ratios], [*ratios.values()], height, label=name)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    threads = "{} thread{}".format
    axes.set_yticks(
        [i + 0.4 - height / 2 for i in range(len(rows))],
        [f"{r['case']}, {r['options']}, {threads(r['threads'], 's' * (r['threads'] > 1))}" for r in rows],
    )
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"time of torch.optim.{OPTIMIZERS[rows[0]['optimizer']]}'s step over ours")
    axes.legend()
    figure.savefig(path, dpi=120)


def machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu,
        "isa": kernel_rmsprop.isa(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kernel_rmsprop.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = torch.get_num_threads()
    parser.add_argument("--cases", default=",".join(CASES), help="of %(default)s")
    parser.add_argument("--optimizer", default="rmsprop", choices=OPTIMIZERS, help="which one (%(default)s)")
    parser.add_argument("--options", default="plain,all", help="plain, all: momentum, centered and decay, or decay and maximize")
    parser.add_argument("--threads", default=f"1,{every}" if every > 1 else "1", help="default %(default)s")
    parser.add_argument("--time", type=float, default=1, help="seconds for each contender (%(default)s)")
    parser.add_argument(
        "--compiled", nargs="?", default="", const=COMPILED,
        help="also measure a compiled step in these cases; compiling takes up to minutes and needs a C++ compiler (%(const)s)",
    )  # fmt: skip
    parser.add_argument("--json", help="a file for the times")
    parser.add_argument("--png", help="a file for a picture, by matplotlib")
    args = parser.parse_args()
    cases, options = args.cases.split(","), args.options.split(",")
    compiled = args.compiled.split(",") if args.compiled else []
    for given, known in ((cases, CASES), (options, OPTIONS[args.optimizer]), (compiled, CASES)):
        for name in given:
            if name not in known:
                parser.error(f"{name!r}: must be of {', '.join(known)}")
    threads = counts(parser, "threads", args.threads)
    if not args.time > 0:
        parser.error("time: must be positive")

    about = machine()
    print(f"{about['cpu']}, {about['isa']}; CPython {about['python']}, PyTorch {about['torch']}\n")
    work = [(n, case, o) for n in dict.fromkeys(threads) for case in cases for o in options]
    rows = []
    for i, (n, case, o) in enumerate(work, 1):
        print(f"\r{i}/{len(work)}: {case}, {o}, threads {n}" + " " * 20, end="", file=sys.stderr, flush=True)
        torch.set_num_threads(n)
        rows.append(measure(args.optimizer, case, o, case in compiled, args.time))
    print(file=sys.stderr)
    print(table(rows))
    times = {row["first"]["compiled"]: row for row in rows if "compiled" in row["first"]}
    if times:
        slowest = times[max(times)]
        print(f"\nTo compile took up to {duration(max(times))} ({slowest['case']}, {slowest['options']}).")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": about, "rows": rows}, file, indent=1)
    if args.png:
        picture(rows, args.png)


if __name__ == "__main__":
    main()
