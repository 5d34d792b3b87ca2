"""Shows whether replicas on unlike CPUs stay together.

    python -m kernel_rmsprop.drift --steps 50,1000

Two processes train one network by DistributedDataParallel over gloo, on this machine: once
with torch.optim.RMSprop, which runs by AVX2 in one process (ATEN_CPU_CAPABILITY=avx2) and by
the default code in the other, as on CPUs without and with AVX2, and once with ours, which
runs by the best instruction set in one process and by plain Go in the other. Both get the
same gradients. What is printed is how many of the parameters differ between the two.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from ._arguments import counts
from ._ranks import join, launch, leave

RANKS = {
    "torch": [{"ATEN_CPU_CAPABILITY": "avx2"}, {"ATEN_CPU_CAPABILITY": "default"}],
    "ours": [{"KERNEL_ISA": ""}, {"KERNEL_ISA": "generic"}],
}


def train(which: str, rank_of: str, steps: list[int], directory: str) -> None:
    """Is one process: saves its parameters after each of the steps."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    import kernel_rmsprop

    rank, _ = join(rank_of, directory)
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
    )
    optimizer_class = torch.optim.RMSprop if which == "torch" else kernel_rmsprop.RMSprop
    optimizer = optimizer_class(model.parameters(), lr=1e-3, alpha=0.9, momentum=0.9, centered=True)
    wrapped = DistributedDataParallel(model)
    draw = torch.Generator().manual_seed(rank)
    for step in range(1, max(steps) + 1):
        images = torch.rand(32, 64, generator=draw)
        labels = (images.view(32, 4, 16).sum(2) * 1e4).long().sum(1) % 10
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(wrapped(images), labels))
        optimizer.step()
        if step in steps:
            theta = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
            np.save(Path(directory) / f"{rank}-{step}.npy", theta)
    leave()


def drift(which: str, steps: list[int]) -> list[tuple[int, int, float]]:
    """Returns for each of the steps how many parameters there are, how many differ, and by how much at most."""
    with tempfile.TemporaryDirectory() as directory:
        arguments = ["--steps", ",".join(map(str, steps)), "--which", which, "--directory", directory]
        launch("kernel_rmsprop.drift", RANKS[which], *arguments)
        found = []
        for step in steps:
            a, b = (np.load(Path(directory) / f"{rank}-{step}.npy") for rank in range(2))
            found.append((a.size, int(np.sum(a.view(np.int32) != b.view(np.int32))), float(np.abs(a - b).max())))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kernel_rmsprop.drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", default="50,1000", help="after how many to compare (%(default)s)")
    for name in ("--rank", "--which", "--directory"):  # for the processes
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    steps = sorted({*counts(parser, "steps", args.steps)})
    if args.rank:
        train(args.which, args.rank, steps, args.directory)
        return
    print("| optimizer | after | parameters that differ | by at most |")
    print("| --- | --- | --- | --- |")
    for which, name in (("torch", "torch.optim.RMSprop"), ("ours", "kernel_rmsprop.RMSprop")):
        for step, (size, differ, most) in zip(steps, drift(which, steps)):
            share = f"{differ:,} of {size:,} ({100 * differ / size:.1f} %)"
            print(f"| {name} | {step} steps | {share} | {most:.1e} |", flush=True)


if __name__ == "__main__":
    main()
