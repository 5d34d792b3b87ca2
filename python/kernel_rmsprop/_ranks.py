"""Processes of torch.distributed on this machine, for the measurements."""

from __future__ import annotations

import os
import subprocess
import sys


def launch(module: str, environments: list[dict[str, str]], *arguments: str) -> None:
    """Runs a module in a process for each environment, with the arguments and --rank RANK/RANKS."""
    count = len(environments)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--rank", f"{rank}/{count}"],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", **environment},
        )
        for rank, environment in enumerate(environments)
    ]
    codes = [p.wait() for p in processes]
    if any(codes):
        raise RuntimeError(f"the processes ended with {codes}")


def join(rank_of: str, directory: str) -> tuple[int, int]:
    """Joins the others by a file in the directory, and returns which of how many this one is."""
    import torch
    import torch.distributed as dist

    rank, ranks = map(int, rank_of.split("/"))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=ranks)
    return rank, ranks


def leave() -> None:
    """Waits for the others, and ends the connections."""
    import torch.distributed as dist

    dist.barrier()
    dist.destroy_process_group()
