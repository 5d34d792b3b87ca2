"""Measures fixed_order_all_reduce against the ordinary all-reduce.

    python -m kernel_rmsprop.reduce --ranks 2,4 --elements 1000000,10000000

Processes on this machine reduce a gradient over gloo on loopback: the ordinary way, after
backward(), and in the fixed order, with as many shards as ranks. Each time is the shortest
of some rounds, and includes the backward pass of a loss that costs next to nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ._arguments import counts
from ._ranks import join, launch, leave

ROUNDS = 20


def rank(rank_of: str, elements: int, directory: str) -> None:
    """Is one process. Rank 0 saves the times."""
    import torch
    import torch.distributed as dist

    from .distributed import fixed_order_all_reduce

    number, ranks = join(rank_of, directory)
    p = torch.nn.Parameter(torch.ones(elements))
    weight = torch.randn(elements)

    def ordinary() -> None:
        (grad,) = torch.autograd.grad(torch.dot(p, weight), [p])
        dist.all_reduce(grad)
        p.grad = grad.div_(ranks)

    def fixed_order() -> None:
        fixed_order_all_reduce([p], [torch.dot(p, weight)], ranks)

    def shortest(reduce: Callable[[], None]) -> float:
        times = []
        for _ in range(ROUNDS):
            dist.barrier()
            start = time.perf_counter()
            reduce()
            times.append(time.perf_counter() - start)
        return min(times)

    times = [shortest(ordinary), shortest(fixed_order)]
    if number == 0:
        Path(directory, "times").write_text(json.dumps(times))
    leave()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kernel_rmsprop.reduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", default="2,4", help="powers of two (%(default)s)")
    parser.add_argument("--elements", default="1000000,10000000", help="of the gradient (%(default)s)")
    parser.add_argument("--rank", help=argparse.SUPPRESS)  # for the processes
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        rank(args.rank, int(args.elements), args.directory)
        return
    all_ranks, sizes = counts(parser, "--ranks", args.ranks), counts(parser, "--elements", args.elements)
    if any(n & (n - 1) for n in all_ranks):
        parser.error(f"--ranks {args.ranks!r}: must be powers of two")
    print("| ranks | elements | all-reduce | fixed order | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for ranks in all_ranks:
        for elements in sizes:
            with tempfile.TemporaryDirectory() as directory:
                arguments = ["--elements", str(elements), "--directory", directory]
                launch("kernel_rmsprop.reduce", [{}] * ranks, *arguments)
                ordinary, fixed = json.loads(Path(directory, "times").read_text())
            times = f"{1e3 * ordinary:.1f} ms | {1e3 * fixed:.1f} ms | {fixed / ordinary:.2f}"
            print(f"| {ranks} | {elements:,} | {times} |", flush=True)


if __name__ == "__main__":
    main()
