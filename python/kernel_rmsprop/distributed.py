"""Gradients with the same bits for any number of ranks.

An ordinary all-reduce adds the ranks' gradients in an order that depends on how many
ranks there are, and rounds otherwise with each. Here a batch is divided into a fixed
number of virtual shards, and the gradients of these are added along one binary tree,
wherever the shards are computed::

    for batch in batches:
        mine = shards_of_rank(batch)             # of 4 shards: 4, 2 or 1 of them
        losses = (loss_of(model, shard) for shard in mine)
        fixed_order_all_reduce(model.parameters(), losses, shards=4)
        optimizer.step()

Together with :class:`kernel_rmsprop.RMSprop` training on 1, 2 and 4 ranks then ends in
the same bits, and can go on with another number of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["fixed_order_all_reduce"]


def fixed_order_all_reduce(
    params: Iterable[Tensor],
    losses: Iterable[Tensor],
    shards: int,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Sets ``grad`` of ``params`` to the mean over all shards, the same bits on all ranks.

    Shards are numbered from 0, and rank r of R computes shards r*shards/R up to
    (r+1)*shards/R. This takes the place of DistributedDataParallel, whose hooks reduce
    what one backward pass has left: the model is not wrapped.

    Args:
        params: what to train, in the same order on all ranks.
        losses: the losses of this rank's shards, in order; best a generator, so that one
            shard's graph is in memory at a time.
        shards: how many there are on all ranks together. A power of two, as is the
            number of ranks.
        group: the ranks, or None for all. Without torch.distributed there is one.

    Returns:
        the mean of all shards' losses, as a tensor of one element.

    Raises:
        ValueError: names the argument; nothing was sent, and no grad was set.

    Limits: the forward and backward pass of a shard must have the same bits on all ranks,
    which asks for one version of torch, ATEN_CPU_CAPABILITY set alike, as many threads, and
    random numbers (dropout) seeded by the shard. Normalization over a batch is over a shard.
    A parameter which a shard does not use counts as having a gradient of 0. All tensors are
    dense, on one device, and of one type. Each rank sends all gradients log2(R) times, which
    is 1, 2 and 3 times the amount for 2, 4 and 8 ranks, where a ring sends 1, 1.5 and 1.75,
    and nothing is sent while the backward pass runs. log2(shards/R) + 2 sets of gradients are in memory.
    """
    params = [p for p in params if p.requires_grad]
    if not params:
        raise ValueError("params: none requires a gradient")
    if any(p.dtype != params[0].dtype or p.device != params[0].device for p in params):
        raise ValueError("params: must be of one type and on one device")
    distributed = dist.is_available() and dist.is_initialized()
    ranks = dist.get_world_size(group) if distributed else 1
    rank = dist.get_rank(group) if distributed else 0
    if ranks & (ranks - 1):
        raise ValueError(f"group: has {ranks} ranks: must be a power of two")
    if shards < ranks or shards & (shards - 1):
        raise ValueError(f"shards = {shards}: must be a power of two, and not less than the {ranks} ranks")

    # The tree over this rank's shards: complete subtrees, largest first, two of one
    # size merged as soon as they are there.
    subtrees: list[tuple[int, Tensor]] = []
    count = 0
    for loss in losses:
        count += 1
        if count > shards // ranks:
            raise ValueError(f"losses: more than the {shards // ranks} of this rank's shards")
        size, total = 1, _flat_gradients(loss, params)
        while subtrees and subtrees[-1][0] == size:
            total = subtrees.pop()[1].add_(total)
            size *= 2
        subtrees.append((size, total))
    if count != shards // ranks:
        raise ValueError(f"losses: {count}, and this rank has {shards // ranks} shards")
    total = subtrees[0][1]

    # The tree over ranks: neighbours first. Both add the same two numbers, so that
    # both have the same sum.
    other = torch.empty_like(total)
    distance = 1
    while distance < ranks:
        peer = rank ^ distance
        if group is not None:
            peer = dist.get_global_rank(group, peer)
        for work in dist.batch_isend_irecv(
            [dist.P2POp(dist.isend, total, peer, group), dist.P2POp(dist.irecv, other, peer, group)]
        ):
            work.wait()
        total.add_(other)  # in either order
        distance *= 2
    total /= shards

    for p, g in zip(params, torch.split(total[:-1], [p.numel() for p in params])):
        p.grad = torch.empty_like(p, requires_grad=False).copy_(g.view(p.shape))
    return total[-1:].clone()


def _flat_gradients(loss: Tensor, params: list[Tensor]) -> Tensor:
    """Returns all gradients, and their loss."""
    grads = torch.autograd.grad(loss, params, allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads)]
    return torch.cat([*(part.reshape(-1) for part in parts), loss.detach().to(params[0].dtype).reshape(1)])
