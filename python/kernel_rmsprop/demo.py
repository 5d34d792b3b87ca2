"""Trains a network on handwritten digits, with torch.optim.RMSprop and with ours.

    python -m kernel_rmsprop.demo

prints the losses of both, the time that they took in step, and the speed-up.

The images are *Optical Recognition of Handwritten Digits* by E. Alpaydin and C. Kaynak,
1998, https://archive.ics.uci.edu/dataset/80, licensed under CC BY 4.0.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from importlib import resources

import torch

import kernel_rmsprop


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns 1,797 images of 64 pixels in [0, 1], and the digits that they show."""
    packed = resources.files("kernel_rmsprop").joinpath("digits.csv.gz").read_bytes()
    rows = torch.tensor([[float(v) for v in row] for row in csv.reader(gzip.decompress(packed).decode().splitlines())])
    return rows[:, :64] / 16, rows[:, 64].long()


def train(optimizer_class: type, hidden: int, epochs: int) -> tuple[list[float], float, float]:
    """Returns the mean loss of each epoch, the seconds in step, and the share of test images read right."""
    torch.manual_seed(1)
    images, labels = digits()
    order = torch.randperm(len(images))
    test, rest = order[: len(order) // 5], order[len(order) // 5 :]
    model = torch.nn.Sequential(
        torch.nn.Linear(64, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, 10),
    )
    optimizer = optimizer_class(model.parameters(), lr=1e-3, alpha=0.9)
    losses, in_step = [], 0.0
    for _ in range(epochs):
        total = 0.0
        for batch in torch.split(rest[torch.randperm(len(rest))], 32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
            torch.autograd.backward(loss)
            start = time.perf_counter()
            optimizer.step()
            in_step += time.perf_counter() - start
            total += loss.item() * len(batch)
        losses.append(total / len(rest))
    with torch.no_grad():
        right = (model(images[test]).argmax(1) == labels[test]).float().mean().item()
    return losses, in_step, right


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m kernel_rmsprop.demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=512, help="units of each of the two hidden layers")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if min(args.epochs, args.hidden, args.threads) < 1:
        parser.error("epochs, hidden and threads must be positive")
    torch.set_num_threads(args.threads)

    n = 65 * args.hidden + (args.hidden + 1) * args.hidden + (args.hidden + 1) * 10
    print(f"1,797 images of 8x8 pixels; network 64-{args.hidden}-{args.hidden}-10, {n:,} parameters; batch 32")
    print(f"PyTorch {torch.__version__}, {args.threads} thread{'s'[: args.threads > 1]}; kernel {kernel_rmsprop.isa()}")
    torchs, ours = (train(c, args.hidden, args.epochs) for c in (torch.optim.RMSprop, kernel_rmsprop.RMSprop))
    print("epoch   torch.optim.RMSprop   kernel_rmsprop.RMSprop")
    for epoch, (a, b) in enumerate(zip(torchs[0], ours[0]), 1):
        print(f"{epoch:5}   loss {a:14.4f}   loss {b:17.4f}")
    print(f"test accuracy {100 * torchs[2]:8.2f} %   {100 * ours[2]:20.2f} %")
    print(f"in step {1e3 * torchs[1]:13.0f} ms   {1e3 * ours[1]:19.0f} ms   {torchs[1] / ours[1]:.1f} times as fast")


if __name__ == "__main__":
    main()
