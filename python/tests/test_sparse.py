"""Sparse gradients: some rows of a table, as torch.nn.Embedding(sparse=True) has them."""

import copy
import math

import numpy as np
import pytest
import torch
from test_optimizer import in_kernel, parameters, set_grads
from test_options import OURS, formula

import kernel_rmsprop
from kernel_rmsprop import RMSprop

ROWS, SHAPE = 40, (6, 2)


def table(seed=0):
    return parameters((ROWS, *SHAPE), seed=seed)[0]


def sparse(rows, seed=0, p=None):
    g = torch.Generator().manual_seed(100 + seed)
    shape = (ROWS, *SHAPE) if p is None else p.shape
    values = torch.randn(len(rows), *shape[1:], generator=g)
    return torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), values, shape, check_invariants=False)


def sums(rows, grad):
    """The gradient of each row by itself: float32 sums in the order of the list."""
    found = {}
    for row, value in zip(rows, grad._values().numpy()):
        found[row] = found[row] + value if row in found else value.copy()
    return found


@pytest.mark.parametrize("ours", [False, True], ids=["torch's options", "ours"])
def test_formula(ours):
    """Each row goes by the steps that it is in: its means and momentum do not decay in others."""
    options = dict(alpha=0.75, eps=0.25, weight_decay=0.25, momentum=0.5, centered=True)
    if ours:
        options |= {name: value for name, value in OURS.items() if name not in ("clip_norm", "skip_nonfinite")}
    p, dense = table(), *parameters((5,), seed=3)
    start = p.detach().numpy().copy()
    o = RMSprop([p, dense], lr=0.125, **options)
    history = {}
    for step, rows in enumerate([[3, 7, 3, 0], [39], [7, 3], [], [3, 3, 3]]):
        p.grad = sparse(rows, step)
        set_grads([dense], step)
        for row, g in sums(rows, p.grad).items():
            history.setdefault(row, []).append(g)
        o.step()
    assert in_kernel(o) == (2, 0) and o.state[p]["step"] == 5
    for row in range(ROWS):
        grads = history.get(row, [])
        want = formula(start[row], grads, [0.125] * len(grads), **options)
        np.testing.assert_allclose(p.detach().numpy()[row], want, rtol=2e-5, atol=2e-6)
        if not grads:
            assert np.array_equal(p.detach().numpy()[row], start[row])
            assert all(not o.state[p][name][row].any() for name in ("square_avg", "grad_avg", "momentum_buffer"))


def test_bits_are_those_of_the_rows_alone():
    """On any number of threads and instruction set, and in whatever order the rows are."""
    results = set()
    before = kernel_rmsprop.isa()
    rows = [int(r) for r in np.random.default_rng(0).integers(0, 500, 700)]
    try:
        for isa in kernel_rmsprop.isas():
            for threads in (1, 2):
                kernel_rmsprop.set_isa(isa)
                torch.set_num_threads(threads)
                p = parameters((500, 90))[0]
                o = RMSprop([p], momentum=0.5)
                for step in range(3):
                    p.grad = sparse(rows, step, p)
                    o.step()
                results.add(p.detach().numpy().tobytes())
        once = sorted(set(rows))
        q = torch.nn.Parameter(parameters((500, 90))[0].detach()[once])
        o = RMSprop([q], momentum=0.5)
        for step in range(3):
            of_rows = sums(rows, sparse(rows, step, p))
            q.grad = torch.from_numpy(np.stack([of_rows[r] for r in once]))
            o.step()
    finally:
        kernel_rmsprop.set_isa(before)
    assert len(results) == 1 and torch.equal(p.detach()[once], q.detach())


def test_embedding():
    """A model with both kinds of gradients, clipped by the norm of them all."""
    model = torch.nn.Sequential(torch.nn.Embedding(30, 4, sparse=True), torch.nn.Flatten(), torch.nn.Linear(12, 1))
    o = RMSprop(model.parameters(), lr=0.01, clip_norm=math.inf)
    words = torch.tensor([[1, 2, 1], [5, 1, 29]])
    losses = []
    for _ in range(50):
        o.zero_grad()
        loss = (model(words) - torch.tensor([[1.0], [-1.0]])).square().mean()
        loss.backward()
        o.step()
        losses.append(loss.item())
        squares = sum(p.grad.to_dense().double().square().sum() for p in model.parameters())
        assert o.grad_norm == pytest.approx(math.sqrt(float(squares)), rel=1e-5)
    assert losses[-1] < 0.01 * losses[0] and in_kernel(o) == (3, 0)
    assert all(place.kernel for place in o.placement())


def test_sparse_and_dense_in_turns():
    p, q = table(), table()
    a, b = RMSprop([p], momentum=0.5), RMSprop([q], momentum=0.5)
    everything = list(range(ROWS))
    for step in range(6):
        grad = sparse(everything, step)
        p.grad = None  # torch keeps .grad of one kind
        p.grad = grad if step % 2 else grad.to_dense()
        q.grad = grad.to_dense()
        a.step()
        b.step()
    assert torch.equal(p, q) and all(torch.equal(a.state[p][n], b.state[q][n]) for n in ("square_avg", "momentum_buffer"))


def test_skipped():
    p = table()
    o = RMSprop([p], skip_nonfinite=True)
    p.grad = sparse([1, 2])
    p.grad._values()[1, 3, 1] = math.nan
    before = copy.deepcopy(p)
    o.step()
    assert o.skipped and torch.equal(p, before) and o.state[p]["step"] == 0


@pytest.mark.parametrize("rows", [[1, ROWS], [-1], [2**62]])
def test_rows_that_there_are_not(rows):
    p = table()
    o = RMSprop([p])
    before = p.detach().clone()
    p.grad = sparse([0])
    o.step()
    after = p.detach().clone()
    p.grad = sparse(rows)
    with pytest.raises(ValueError, match=rf"rows\[{len(rows) - 1}\] = {rows[-1]}, want a row of theta, in \[0, {ROWS}\)"):
        o.step()
    assert torch.equal(p, after) and not torch.equal(after, before)


@pytest.mark.parametrize("why", ["type", "order", "scattered", "capturable", "shared"])
def test_what_the_kernel_does_not_take_is_torchs_error(why):
    p, other = table(), *parameters((3,))
    grad = sparse([1, 2])
    if why == "type":
        p, grad = torch.nn.Parameter(p.detach().double()), grad.double()
    if why == "order":
        p = torch.nn.Parameter(p.detach().permute(1, 0, 2).contiguous().permute(1, 0, 2))
    if why == "scattered":
        grad = grad.to_dense().to_sparse()
    if why == "shared":
        other = torch.nn.Parameter(p.detach()[0, 0])
    o = RMSprop([other, p])
    if why == "capturable":
        o.param_groups[0]["capturable"] = True
    p.grad = grad
    set_grads([other], 0)
    before = copy.deepcopy([p, other])
    if why != "shared":
        assert not o.placement()[1].kernel
    with pytest.raises(RuntimeError, match="sparse gradient"):
        o.step()
    assert torch.equal(p, before[0]) and torch.equal(other, before[1])


def test_coalesced_and_odd_gradients():
    """As they come: coalesced, negated, with indices and values that are not contiguous."""
    rows = [3, 9, 3]
    results = []
    for kind in ("plain", "coalesced", "negated", "strided"):
        p = table()
        grad = sparse(rows)
        values, indices = grad._values(), grad._indices()
        if kind == "coalesced":
            grad = grad.coalesce()
        if kind == "negated":
            grad = torch.sparse_coo_tensor(indices, torch._neg_view(-values), grad.shape)
        if kind == "strided":
            grad = torch.sparse_coo_tensor(
                indices.repeat_interleave(2, 1)[:, ::2], values.repeat_interleave(2, 0)[::2], grad.shape
            )
        p.grad = grad
        RMSprop([p]).step()
        results.append(p.detach())
    assert all(torch.equal(r, results[0]) for r in results)
