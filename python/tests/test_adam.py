"""Adam and AdamW in the place of torch's.

What they share with RMSprop, such as memory orders and forks, test_optimizer.py and
test_hazards.py test.
"""

import copy
import inspect
import io
import math
import os
import pickle
import threading

import numpy as np
import pytest
import torch
from processes import Child
from test_optimizer import SHAPES, in_kernel, parameters, set_grads
from test_sparse import sparse, sums, table
from torch.testing._internal.common_optimizers import optim_error_inputs_func_adam, optim_inputs_func_adam

import exact
import kernel_rmsprop
from kernel_rmsprop import Adam, AdamW
from kernel_rmsprop._fused import without_hooks

TORCHS = {Adam: torch.optim.Adam, AdamW: torch.optim.AdamW}
OURS = dict(eps_inside=True, loss_scale=64.0, clip_norm=0.5, skip_nonfinite=True)
INPUTS = {i.desc: i.kwargs for i in optim_inputs_func_adam("cpu")} | {
    "betas": dict(betas=(0.5, 0.75)),
    "slow betas": dict(betas=(0.99, 0.99999)),
    "beta1 = 0": dict(betas=(0.0, 0.9)),
    "beta2 = 0": dict(betas=(0.9, 0.0)),
    "eps": dict(eps=0.1, weight_decay=0.5),
    "lr": dict(lr=0.1, weight_decay=0.1, maximize=True),
    "fused": dict(fused=True),
    "foreach": dict(foreach=True, weight_decay=0.1),
    "lr tensor": dict(lr=torch.tensor(0.01), weight_decay=0.1, foreach=False),
}
if "decoupled_weight_decay" in inspect.signature(torch.optim.Adam).parameters:  # from torch 2.6 or so
    INPUTS["decoupled"] = dict(decoupled_weight_decay=True, weight_decay=0.1)

both_classes = pytest.mark.parametrize("cls", TORCHS, ids=lambda c: c.__name__)


def distance(got, want):
    """Relative to the largest element."""
    got, want = (torch.view_as_real(t.detach()) if t.is_complex() else t.detach() for t in (got, want))
    assert got.shape == want.shape and got.isfinite().all()
    got, want = got.double(), want.double()
    return float((got - want).abs().max() / want.abs().max().clamp(min=2.0**-126)) if want.numel() else 0.0


def train(cls, params, steps, prepare=None, **kwargs):
    optimizer = cls(params, **kwargs)
    go_on(optimizer, params, range(steps), prepare)
    return params, optimizer


def go_on(optimizer, params, steps, prepare=None):
    for step in steps:
        for i, p in enumerate(params):
            g = torch.Generator().manual_seed(1000 * step + i)
            dtype = torch.complex64 if p.is_complex() else torch.float32
            p.grad = torch.randn(p.shape, generator=g, dtype=dtype).to(p.dtype)  # of doubles the same
        if prepare:
            prepare(optimizer, params, step)
        optimizer.step()


def double(params):
    return [torch.nn.Parameter(p.detach().to(torch.complex128 if p.is_complex() else torch.float64)) for p in params]


def compare(cls, make, steps=100, prepare=None, **kwargs):
    """Trains by torch and by ours, and compares both with torch in float64.

    A step rounds theta once, or twice where the decay is decoupled. This second rounding, of
    up to 2^-24 of theta, hardly changes from step to step, and so adds up. Torch's does as well.
    """
    torchs, at_torch = train(TORCHS[cls], make(), steps, prepare, **kwargs)
    in_double = {name: value.double() if isinstance(value, torch.Tensor) else value for name, value in kwargs.items()}
    exacts, at_exact = train(TORCHS[cls], double(make()), steps, prepare, **{**in_double, "fused": None})
    ours, at_ours = train(cls, make(), steps, prepare, **kwargs)
    limit = 100 * 2.0**-24 if cls is AdamW or kwargs.get("decoupled_weight_decay") else 1.2e-6
    for p, q, r in zip(ours, torchs, exacts):
        assert distance(p, r) < limit and distance(p, q) < 2 * limit
        of_p, of_q, of_r = at_ours.state[p], at_torch.state[q], at_exact.state[r]
        assert of_p.keys() == of_q.keys()
        for name in of_q:
            assert of_p[name].dtype == of_q[name].dtype and distance(of_p[name], of_r[name]) < 3e-6
    return at_ours


@both_classes
@pytest.mark.parametrize("desc", INPUTS)
def test_parity(cls, desc):
    kwargs = INPUTS[desc]
    if cls is AdamW and desc == "decoupled":
        pytest.skip("AdamW always is")
    ours = compare(cls, lambda: parameters(*SHAPES), **kwargs)
    assert in_kernel(ours) == ((0, len(SHAPES)) if kwargs.get("amsgrad") else (len(SHAPES), 0))


@both_classes
@pytest.mark.parametrize("desc", ["default", "nonzero weight_decay", "maximize", "amsgrad"])
def test_parity_complex(cls, desc):
    ours = compare(cls, lambda: parameters((5, 3), (), dtype=torch.complex64), **INPUTS[desc])
    assert in_kernel(ours) == ((0, 2) if desc == "amsgrad" else (2, 0))


def test_betas_as_tensors():
    if "to_scalar" not in inspect.getsource(torch.optim.Adam.__init__):
        pytest.skip("this torch takes none")
    betas = torch.tensor([[0.9]]), torch.tensor([0.99])
    ours = compare(Adam, lambda: parameters((7,)), lr=torch.tensor(0.01), betas=betas, foreach=False)
    assert in_kernel(ours) == (1, 0)


@both_classes
@pytest.mark.parametrize(
    "error", optim_error_inputs_func_adam("cpu", torch.float32), ids=lambda e: e.optimizer_error_input.desc
)
def test_refuses_what_torch_refuses(cls, error):
    given = error.optimizer_error_input
    expect = pytest.warns if issubclass(error.error_type, Warning) else pytest.raises
    with expect(error.error_type, match=error.error_regex):
        cls(given.params or parameters((2,)), **given.kwargs).step()


@both_classes
@pytest.mark.parametrize("source", ["torch", "ours"])
@pytest.mark.parametrize("target", ["torch", "ours"])
def test_state_dict(cls, source, target):
    classes = {"torch": TORCHS[cls], "ours": cls}
    options = dict(lr=0.01, weight_decay=0.1)
    params, first = train(classes[source], parameters(*SHAPES), 5, **options)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    again, second = train(classes[target], [torch.nn.Parameter(p.detach().clone()) for p in params], 1, lr=123.0, betas=(0.0, 0.0))
    with torch.no_grad():
        for p, q in zip(again, params):
            p.copy_(q)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.state_dict()["param_groups"] == first.state_dict()["param_groups"]
    for o, ps in ((first, params), (second, again)):
        go_on(o, ps, range(5, 15))
    for p, q in zip(params, again):
        assert float(second.state[q]["step"]) == 15
        assert torch.equal(p, q) if source == target else distance(q, p) < 1e-6


@both_classes
@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copied", "pickled"])
def test_resumed_in_the_same_bits(cls, how):
    params, o = train(cls, parameters(*SHAPES), 7, clip_norm=1.0)
    others, other = how((params, o))
    assert other.clip_norm == 1.0
    for ps, x in ((params, o), (others, other)):
        go_on(x, ps, range(7, 20))
    assert all(torch.equal(p, q) for p, q in zip(params, others))


def test_param_groups():
    """Their options change, one comes later, and parameters without gradients fall behind."""

    def prepare(o, params, step):
        first = o.param_groups[0]
        if step == 0:
            o.param_groups[:] = [
                {**first, "params": params[:2], "lr": 0.05},
                {**first, "params": params[2:4], "weight_decay": 0.3, "betas": (0.8, 0.9)},
            ]
        if step == 5:
            o.add_param_group({"params": params[4:], "maximize": True, "eps": 0.1})
        if step == 8:
            o.param_groups[1]["betas"] = (0.5, 0.99)
            o.param_groups[0]["lr"] = 1e-4
        for i, p in enumerate(params):
            if step and (step + i) % 3 == 0:
                p.grad = None

    ours = compare(AdamW, lambda: parameters((3, 4), (5,), (2, 2), (6,), (3,)), steps=30, prepare=prepare)
    steps = {float(s["step"]) for s in ours.state.values()}
    assert len(steps) > 2 and all(not plan.rest for plan in ours._session.plans.values())


def test_counters_that_are_exchanged():
    def prepare(o, params, step):
        if step == 3:
            o.state[params[0]]["step"] = torch.tensor(70.0)
        if step == 5:
            o.state[params[1]]["step"].fill_(1)
        if step == 6:
            o.state[params[1]]["exp_avg"] = torch.full((6,), 0.5, dtype=params[1].dtype)

    ours = compare(Adam, lambda: parameters((5,), (6,)), steps=10, prepare=prepare)
    assert in_kernel(ours) == (2, 0)


@both_classes
def test_schedulers(cls):
    """lr passes 0, and OneCycleLR moves betas."""
    results = []
    for which in (TORCHS[cls], cls):
        params = parameters((20,))
        o = which(params, lr=0.1)
        cycle = torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=30)
        plans = set()
        for step in range(30):
            if step in (10, 11):
                o.param_groups[0]["lr"] = 0.0
            set_grads(params, step)
            o.step()
            plans.add(id(getattr(getattr(o, "_session", None), "plan", None)))
            cycle.step()
        assert len(plans) == 1
        if which is cls:
            assert None not in o._session.plan.copies, "groups like this one are compared as they are"
        results.append((params[0], o.state[params[0]]["exp_avg"]))
    for got, want in zip(results[1], results[0]):
        assert distance(got, want) < 1e-6


@pytest.mark.parametrize("lr", [0.0, 1e-42, 1e-30])
def test_steps_at_a_learning_rate_of_zero_keep_the_means(lr):
    def prepare(o, params, step):
        o.param_groups[0]["lr"] = lr if 2 <= step < 5 else 0.01

    assert in_kernel(compare(AdamW, lambda: parameters((300_001,), (5,)), steps=8, prepare=prepare)) == (2, 0)


def test_lr_tensor_that_changes_in_place():
    def prepare(o, params, step):
        if step == 0:
            o.param_groups[0]["lr"] = torch.tensor(0.01, dtype=torch.float64)
        if step == 3:
            o.param_groups[0]["lr"].fill_(0.5)

    assert in_kernel(compare(Adam, lambda: parameters((5,)), steps=6, prepare=prepare, foreach=False)) == (1, 0)


@both_classes
def test_closure(cls):
    def closure():
        assert torch.is_grad_enabled()
        o.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    p = torch.nn.Parameter(torch.ones(3))
    o = cls([p])
    with torch.no_grad():
        assert float(o.step(closure)) == 3 and not torch.is_grad_enabled()
    assert (p != 1).all()


@pytest.mark.parametrize("fused", [None, True])
def test_grad_scaler(fused):
    """With fused=True torch's step unscales: ours does not, and says so."""
    results = []
    for cls in (torch.optim.AdamW, AdamW):
        params = parameters((6, 5))
        o = cls(params, lr=0.1, eps=0.1, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        for step in range(9):
            o.zero_grad()
            loss = (params[0] * torch.arange(30.0).view(6, 5).sub(step)).square().sum()
            scaler.scale(loss * (math.inf if step == 4 else 1)).backward()
            scaler.step(o)
            scaler.update()
        assert float(o.state[params[0]]["step"]) == 8
        results.append(params[0])
    assert distance(results[1], results[0]) < 2e-6


# ---- The same bits ----


STEPS = 50
GOLDEN = "dc18e04af6a58c24de91280714cdf4bb8f9ba57d014a38d72606479c96935d70"


@pytest.mark.parametrize("isa", kernel_rmsprop.isas())
@pytest.mark.parametrize("threads", [1, 2])
def test_bits(isa, threads):
    """They are the same on every CPU, of any kind: this is what they were when this was written."""
    before = kernel_rmsprop.isa()
    torch.set_num_threads(threads)
    try:
        kernel_rmsprop.set_isa(isa)
        assert exact.digest(exact.adamw(STEPS)) == GOLDEN
    finally:
        kernel_rmsprop.set_isa(before)


def test_bits_by_the_environment():
    assert Child(exact.say, STEPS, KERNEL_ISA="generic").result().split() == ["generic", GOLDEN]


def test_bits_after_a_fork():
    """The child steps the optimizer of its parent, which goes on as well."""
    o = exact.adamw(STEPS // 2)
    read, write = os.pipe()

    def rest():
        return exact.digest(exact.train(o, range(STEPS // 2, STEPS)))

    child = os.fork()
    if child == 0:
        try:
            os.write(write, rest().encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1000).decode() == GOLDEN == rest()
    os.close(read), os.close(write)


def test_threads_that_step_one_optimizer():
    p, q = parameters((20_000,))[0], parameters((20_000,))[0]
    o = Adam([p])
    p.grad = torch.ones(20_000)
    threads = [threading.Thread(target=lambda: [o.step() for _ in range(10)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    alone = Adam([q])
    q.grad = p.grad
    for _ in range(40):
        alone.step()
    assert torch.equal(p, q) and o.state[p]["step"] == 40


# ---- What torch does not have ----


def formula(theta, grads, lr=0.125, betas=(0.75, 0.5), eps=0.25, weight_decay=0.25, decoupled=True,
            eps_inside=False, loss_scale=1.0, clip_norm=None, skip_nonfinite=False, first=1):  # fmt: skip
    """In float64, as the documentation has it."""
    theta, m, s = theta.astype(float), 0.0, 0.0
    for t, g in enumerate(grads, first):
        g = g.astype(float) / loss_scale
        if clip_norm is not None:
            g = g * min(1, clip_norm / (np.sqrt((g * g).sum()) + 1e-6))
        if not decoupled:
            g = g + weight_decay * theta
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * g * g
        c = s / (1 - betas[1] ** t)
        u = m / (1 - betas[0] ** t) / (np.sqrt(c + eps) if eps_inside else np.sqrt(c) + eps)
        theta = theta - lr * u - (lr * weight_decay * theta if decoupled else 0)
    return theta


@both_classes
@pytest.mark.parametrize("option", [*OURS, "all", "none"])
def test_options(cls, option):
    ours = OURS if option == "all" else {option: OURS[option]} if option in OURS else {}
    torchs = dict(lr=0.125, betas=(0.75, 0.5), eps=0.25, weight_decay=0.25)
    (p,) = parameters((40,))
    theta, grads = p.detach().numpy().copy(), []
    o = cls([p], **torchs, **ours)
    for step in range(4):
        set_grads([p], step)
        grads.append(p.grad.numpy().copy())
        o.step()
    want = formula(theta, grads, decoupled=cls is AdamW, **ours)
    np.testing.assert_allclose(p.detach().numpy(), want, rtol=2e-5, atol=2e-6)
    if option in OURS and option != "skip_nonfinite":
        assert np.abs(want - formula(theta, grads, decoupled=cls is AdamW)).max() > 1e-3, "the option changes too little to be seen"
    assert in_kernel(o) == (1, 0) and {name: o.state_dict()["param_groups"][0][name] for name in ours} == ours


def test_skipped_steps_are_not_counted():
    params, o = train(AdamW, parameters((4,)), 3, skip_nonfinite=True)
    before = copy.deepcopy((params, o.state_dict()["state"]))
    params[0].grad = torch.tensor([1.0, math.nan, 1, 1])
    o.step()
    assert o.skipped and torch.equal(params[0], before[0][0]) and o.state[params[0]]["step"] == 3
    go_on(o, params, range(3, 4))
    assert not o.skipped and o.state[params[0]]["step"] == 4


def test_options_that_torch_does_not_have_are_refused_where_it_computes():
    params = parameters((3,))
    o = Adam(params, amsgrad=True, clip_norm=1.0)
    set_grads(params, 0)
    with pytest.raises(ValueError, match="no clip_norm: amsgrad is on"):
        o.step()
    with pytest.raises(RuntimeError, match="eps_inside"):
        AdamW(params, differentiable=True, eps_inside=True)


def test_sparse_rows():
    """Each row's means go by the steps that it is in, their correction by the table's steps."""
    p = table()
    start = p.detach().numpy().copy()
    o = AdamW([p], lr=0.125, betas=(0.75, 0.5), eps=0.25, weight_decay=0.25)
    for step, rows in enumerate([[3, 7, 3, 0], [39], [], [7, 3]]):
        p.grad = sparse(rows, step)
        if step == 0:
            first = sums(rows, p.grad)
        if step == 1:
            second = sums(rows, p.grad)
        o.step()
    assert in_kernel(o) == (1, 0) and o.state[p]["step"] == 4
    got = p.detach().numpy()
    np.testing.assert_allclose(got[0], formula(start[0], [first[0]]), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(got[39], formula(start[39], [second[39]], first=2), rtol=2e-5, atol=2e-6)
    assert np.array_equal(got[1], start[1]) and not o.state[p]["exp_avg"][1].any()


def test_sparse_is_sparse_adam():
    """With an eps that does not matter: SparseAdam does not scale it."""
    results = []
    for cls in (torch.optim.SparseAdam, Adam):
        p = table()
        o = cls([p], lr=0.01, eps=1e-20)
        for step, rows in enumerate([[3, 7, 3, 0], [39], [7, 3], [3, 3, 3]]):
            p.grad = sparse(rows, step)
            o.step()
        results.append(p)
    assert distance(results[1], results[0]) < 1e-6


# ---- What torch does ----


def test_placement():
    def group(**kwargs):
        return {"params": parameters((2,)), **kwargs}

    reasons = [
        ({}, ""),
        (dict(betas=(0.0, 0.9)), ""),
        (dict(amsgrad=True), "amsgrad is on"),
        (dict(capturable=True), "capturable is on"),
        (dict(lr=1e20), "lr = 1e+20"),
        (dict(lr=1.8e19), "lr = 1.8e+19"),
        (dict(betas=(-0.5, 0.9)), "betas[0] = -0.5"),
        (dict(betas=(0.9, 1.0)), "betas[1] = 1.0"),
        (dict(betas=(0.9, "0.9")), "betas[1] = nan"),
        (dict(betas=(0.9, 0.0), eps=0), "betas[1] and eps are 0"),
        (dict(eps=1e39), "eps = 1e+39"),
        (dict(weight_decay=1e38, betas=(0.9, 1 - 2.0**-50)), "weight_decay = 1e+38"),
    ]
    o = AdamW([group(**kwargs) for kwargs, _ in reasons])
    before = copy.deepcopy(o.state_dict())
    found = o.placement()
    for place, (kwargs, reason) in zip(found, reasons):
        assert place.reason.startswith(reason) and place.kernel == (not reason) == (not place.reason), kwargs
    assert o.state_dict() == before and not o.state


def test_placement_is_what_a_step_does():
    """A counter of another type is torch's, and so are parameters of another type."""
    params = [*parameters((3,), (4,)), *parameters((2,), dtype=torch.float64)]
    torchs, ours = torch.optim.Adam(copy.deepcopy(params)), Adam(params)
    results = []
    for o in (torchs, ours):
        ps = o.param_groups[0]["params"]
        for step in range(4):
            set_grads(ps, step)
            o.step()
            if step == 1:
                o.state[ps[1]]["step"] = o.state[ps[1]]["step"].double()
        results.append(ps)
    places = ours.placement()
    assert [p.kernel for p in places] == [True, False, False] and in_kernel(ours) == (1, 2)
    assert "its step is not a torch.float32" in places[1].reason and "torch.float64" in places[2].reason
    for p, q in zip(*results):
        assert distance(q, p) < 1e-6 and torchs.state[p]["step"] == ours.state[q]["step"] == 4


def test_counters_that_are_none():
    params, o = train(Adam, parameters((3,)), 1)
    before = params[0].detach().clone()
    for step in (0.5, -1.0, math.nan):
        o.state[params[0]]["step"].fill_(step)
        with pytest.raises(ValueError, match=r"tensors\[0\].step"):
            o.step()
    assert torch.equal(params[0], before)
    o.state[params[0]]["step"].fill_(2.0**24)  # where torch's stays as well
    o.step()
    assert o.state[params[0]]["step"] == 2**24 and not torch.equal(params[0], before)


@pytest.mark.parametrize("how", ["compiled", "differentiable"])
def test_steps_that_are_torchs(how):
    results = []
    for cls in (torch.optim.Adam, Adam):
        p = torch.full((3,), 2.0, requires_grad=True)
        theta = p.clone() if how == "differentiable" else torch.nn.Parameter(p.detach().clone())
        o = cls([torch.nn.Parameter(torch.ones(3))], lr=torch.tensor(0.1), foreach=False, differentiable=how == "differentiable")
        o.param_groups[0]["params"] = [theta]
        step = torch.compile(o.step, backend="eager") if how == "compiled" else o.step
        for _ in range(3):
            theta.grad = p * 2 if how == "differentiable" else torch.ones(3)
            step()
        if how == "differentiable":
            theta.sum().backward()
        results.append(p.grad if how == "differentiable" else theta.detach())
    torch._dynamo.reset()
    assert torch.equal(*results)


@both_classes
def test_hooks_run_once(cls):
    calls = []
    TORCHS[cls](parameters((2,)))  # hooks torch's own step
    assert TORCHS[cls].step.hooked and not hasattr(without_hooks(TORCHS[cls].step), "hooked")
    params = parameters((2,))
    o = cls(params)
    o.register_step_pre_hook(lambda *_: calls.append("before"))
    o.register_step_post_hook(lambda *_: calls.append("after"))
    set_grads(params, 0)
    o.step()
    assert calls == ["before", "after"] and isinstance(o, TORCHS[cls])
