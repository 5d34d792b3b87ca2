"""Replicas on unlike CPUs: real processes over gloo, each with an instruction set of its own."""

import os
import signal

import pytest
import torch
import torch.distributed as dist
from processes import Child, results
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

import kernel_rmsprop
from kernel_rmsprop import AdamW, RMSprop
from kernel_rmsprop.distributed import fixed_order_all_reduce
from kernel_rmsprop.drift import drift

try:
    from torch.distributed.fsdp import fully_shard
except ImportError:  # before 2.6
    fully_shard = None

STEPS = 200
OPTIONS = dict(lr=1e-3, alpha=0.9, momentum=0.9, centered=True, weight_decay=1e-3)


# ---- In the processes ----


def join(file, rank, ranks):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=ranks)


def leave(*values):
    """Writes a rank's result, at once when all have come so far: else one that ends may break another's connection."""
    print(*values, kernel_rmsprop.isa(), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def make_model():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 6 * 6, 33),
        torch.nn.ReLU(),
        torch.nn.Linear(33, 10),
    )


def batch(step, rank, n=8):
    g = torch.Generator().manual_seed(1000 * step + rank)
    return torch.randn(n, 1, 8, 8, generator=g), torch.randint(10, (n,), generator=g)


def loss_of(model, images, labels):
    return torch.nn.functional.cross_entropy(model(images), labels)


def take(model, optimizer, step, rank):
    optimizer.zero_grad()
    loss_of(model, *batch(step, rank)).backward()
    optimizer.step()


def whole(t):
    return t.full_tensor() if hasattr(t, "full_tensor") else t


def digest(*tensors):
    import hashlib

    h = hashlib.sha256()
    for t in tensors:
        assert t.isfinite().all()
        h.update(whole(t.detach()).contiguous().numpy().tobytes())
    return h.hexdigest()


def digest_of(model, optimizer):
    names = "square_avg", "grad_avg", "momentum_buffer"
    return digest(*model.parameters(), *(optimizer.state[p][name] for p in model.parameters() for name in names))


def all_in_the_kernel(optimizer):
    (plan,) = optimizer._session.plans.values()
    return not plan.rest and len(plan.mine) > 0


def ddp(file, rank, ranks, checkpoint, die_at=None):
    """Trains, from the checkpoint where there is one, and writes one in step 100."""
    join(file, rank, ranks)
    model = make_model()
    optimizer = RMSprop(model.parameters(), **OPTIONS)
    first = 0
    if os.path.exists(checkpoint):
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    wrapped = DistributedDataParallel(model)
    for step in range(first, STEPS):
        if step == 100 and first == 0 and rank == 0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, checkpoint)
        if step == die_at:
            dist.barrier()  # the checkpoint is there
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        take(wrapped, optimizer, step, rank)
    assert all_in_the_kernel(optimizer)
    leave(digest_of(model, optimizer))


def zero(file, rank, ranks):
    join(file, rank, ranks)
    model = make_model()
    optimizer = ZeroRedundancyOptimizer(model.parameters(), RMSprop, **OPTIONS)
    wrapped = DistributedDataParallel(model)
    for step in range(STEPS):
        take(wrapped, optimizer, step, rank)
    assert type(optimizer.optim) is RMSprop and all_in_the_kernel(optimizer.optim)
    assert len(optimizer.optim.state) < len([*model.parameters()])
    optimizer.consolidate_state_dict(to=0)
    states = "-"
    if rank == 0:
        alone = RMSprop(model.parameters(), **OPTIONS)
        alone.load_state_dict(optimizer.state_dict())
        states = digest_of(model, alone)
    leave(states, digest(*model.parameters()))


def fsdp(file, rank, ranks):
    join(file, rank, ranks)
    model = make_model()
    for layer in model:
        if [*layer.parameters()]:
            fully_shard(layer)
    fully_shard(model)
    optimizer = RMSprop(model.parameters(), **OPTIONS)
    for step in range(STEPS):
        take(model, optimizer, step, rank)
    assert all_in_the_kernel(optimizer) and all(hasattr(p, "full_tensor") for p in model.parameters())
    leave(digest_of(model, optimizer))


def adamw(file, rank, ranks, sharded):
    join(file, rank, ranks)
    model = make_model()
    wrapped = fully_shard(model) if sharded else DistributedDataParallel(model)
    optimizer = AdamW(model.parameters(), lr=1e-3)
    for step in range(STEPS):
        take(wrapped, optimizer, step, rank)
    (plan,) = optimizer._session.plans.values()
    assert all_in_the_kernel(optimizer) and plan.distributed == sharded
    states = [optimizer.state[p][name] for p in model.parameters() for name in ("exp_avg", "exp_avg_sq")]
    leave(digest(*model.parameters(), *states))


SHARDS = 4


def fixed_order(file, rank, ranks):
    if ranks > 1:
        join(file, rank, ranks)
    model = make_model()
    optimizer = RMSprop(model.parameters(), **OPTIONS)
    for step in range(STEPS):
        images, labels = batch(step, 0, 16)
        mine = [*zip(images.chunk(SHARDS), labels.chunk(SHARDS))][rank * SHARDS // ranks : (rank + 1) * SHARDS // ranks]
        loss = fixed_order_all_reduce(model.parameters(), (loss_of(model, *m) for m in mine), SHARDS)
        optimizer.step()
    result = digest_of(model, optimizer), digest(loss)
    if ranks > 1:
        leave(*result)
    else:
        print(*result, kernel_rmsprop.isa())


def subgroup(file, rank, ranks):
    """Ranks 1 and 3 of four."""
    join(file, rank, ranks)
    group = dist.new_group([1, 3])
    p = torch.nn.Parameter(torch.ones(2))
    if rank in (1, 3):
        loss = fixed_order_all_reduce([p], [(p * rank).sum()], 2, group)
        assert loss.tolist() == [4.0] and p.grad.tolist() == [2.0, 2.0]
    leave("done")


def wrong_calls(file, rank, ranks):
    join(file, rank, ranks)
    p = torch.nn.Parameter(torch.ones(2))

    def losses(n):
        return (p.sum() for _ in range(n))

    for shards, n, word in ((1, 1, "shards"), (6, 3, "shards"), (0, 0, "shards"), (4, 1, "losses"), (4, 3, "losses")):
        with pytest.raises(ValueError, match=word):
            fixed_order_all_reduce([p], losses(n), shards)
        assert p.grad is None
    with pytest.raises(ValueError, match="params"):
        fixed_order_all_reduce([], losses(1), 2)
    with pytest.raises(ValueError, match="params"):
        fixed_order_all_reduce([p, torch.nn.Parameter(torch.ones(2).double())], losses(1), 2)
    fixed_order_all_reduce([p], losses(2), 4)  # nothing was sent before
    leave(*p.grad.tolist())


# ---- The tests ----


@pytest.fixture
def kinds(purego):
    """What ranks 0, 1, … run on: no two neighbours the same."""
    best = kernel_rmsprop.isas()[0]
    return [
        ({"KERNEL_ISA": best}, best),
        ({"KERNEL_ISA": "generic"}, "generic"),
        ({"KERNEL_RMSPROP_LIBRARY": str(purego)}, "generic"),
        ({"KERNEL_ISA": best}, best),
    ]


def start(function, ranks, directory, kinds, *arguments):
    file = directory / f"rendezvous{len(list(directory.iterdir()))}"
    file.touch()
    os.unlink(file)
    return [
        Child(function, file, rank, ranks, *arguments, GLOO_SOCKET_IFNAME="lo", **kinds[rank][0])
        for rank in range(ranks)
    ]


def run(function, ranks, directory, kinds, *arguments):
    """Returns what each rank says, without the instruction set, which is as it was to be."""
    # The last line: torch may warn before it.
    said = [out.splitlines()[-1].split() for out in results(start(function, ranks, directory, kinds, *arguments))]
    assert [words.pop() for words in said] == [name for _, name in kinds[:ranks]]
    return said


@pytest.mark.parametrize("ranks", [2, 4])
def test_ddp_and_zero(tmp_path, kinds, ranks):
    """All ranks end in the same bits, and ZeRO's are those of DDP."""
    said = run(ddp, ranks, tmp_path, kinds, tmp_path / "checkpoint.pt")
    assert len({words[0] for words in said}) == 1
    owners = run(zero, ranks, tmp_path, kinds)
    assert len({words[1] for words in owners}) == 1
    assert owners[0][0] == said[0][0]


@pytest.mark.skipif(fully_shard is None, reason="this torch has no fully_shard")
def test_fsdp(tmp_path, kinds):
    mixed = run(fsdp, 2, tmp_path, kinds)
    alike = run(fsdp, 2, tmp_path, [kinds[2]] * 2)
    assert len({words[0] for words in mixed + alike}) == 1


@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_adamw(tmp_path, kinds, sharded):
    if sharded and fully_shard is None:
        pytest.skip("this torch has no fully_shard")
    assert len({words[0] for words in run(adamw, 2, tmp_path, kinds, sharded)}) == 1


def test_a_rank_is_killed(tmp_path, kinds):
    """All go on from the checkpoint, on other instruction sets, and end as if nothing had happened."""
    want = run(ddp, 2, tmp_path, kinds, tmp_path / "not killed.pt")
    checkpoint = tmp_path / "checkpoint.pt"
    children = start(ddp, 2, tmp_path, kinds, checkpoint, 130)
    children[1].result(exitcode=-signal.SIGKILL)
    children[0].process.kill()  # unless it has noticed
    children[0].result(exitcode=None)
    assert run(ddp, 2, tmp_path, kinds[1:], checkpoint) == want


def test_fixed_order(tmp_path, kinds):
    """The same bits on 1, 2 and 4 ranks."""
    said = [words for ranks in (1, 2, 4) for words in run(fixed_order, ranks, tmp_path, kinds)]
    assert len(said) == 7 and len({tuple(words) for words in said}) == 1


def test_fixed_order_in_a_group(tmp_path, kinds):
    run(subgroup, 4, tmp_path, kinds)


def test_fixed_order_refuses(tmp_path, kinds):
    assert run(wrong_calls, 2, tmp_path, kinds) == [["1.0", "1.0"]] * 2


def test_fixed_order_is_the_mean():
    """Of the gradients, and 0 where one is not used; frozen parameters are left alone."""
    model, frozen = make_model(), torch.nn.Parameter(torch.ones(2), requires_grad=False)
    unused = torch.nn.Parameter(torch.ones(3, 2).t())
    images, labels = batch(0, 0, 16)
    want = torch.autograd.grad(loss_of(model, images, labels), [*model.parameters()])
    shards = zip(images.chunk(4), labels.chunk(4))
    loss = fixed_order_all_reduce([*model.parameters(), frozen, unused], (loss_of(model, *s) for s in shards), 4)
    for p, g in zip(model.parameters(), want):
        torch.testing.assert_close(p.grad, g)
    torch.testing.assert_close(loss, loss_of(model, images, labels).detach().reshape(1))
    assert frozen.grad is None and torch.equal(unused.grad, torch.zeros(2, 3)) and unused.grad.stride() == (1, 2)


def test_drift(report):
    """torch's replicas are reported: whether they stay together is up to torch."""
    for which, name in (("torch", "torch.optim.RMSprop"), ("ours", "kernel_rmsprop.RMSprop")):
        ((size, differ, most),) = drift(which, [50])
        report(f"{name}: after 50 steps {differ} of {size} parameters differ between two ranks, by at most {most:.1e}")
        assert size == 85002
    assert differ == 0
