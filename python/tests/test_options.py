"""What RMSprop has beside torch's options, and what it says of itself."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from test_optimizer import in_kernel, parameters, set_grads

import kernel_rmsprop
from kernel_rmsprop import RMSprop

OURS = dict(
    eps_inside=True, lr_in_momentum=True, decoupled_decay=True, loss_scale=64.0, clip_norm=0.5, skip_nonfinite=True
)


def formula(theta, grads, lrs, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False,
            eps_inside=False, lr_in_momentum=False, decoupled_decay=False, loss_scale=1.0, clip_norm=None,
            skip_nonfinite=False):  # fmt: skip
    """In float64, as the documentation has it."""
    theta, s, m, b = theta.astype(float), 0.0, 0.0, 0.0
    for g, lr in zip(grads, lrs):
        g = g.astype(float) / loss_scale
        if clip_norm is not None:
            g = g * min(1, clip_norm / (np.sqrt((g * g).sum()) + 1e-6))
        if not decoupled_decay:
            g = g + weight_decay * theta
        s = alpha * s + (1 - alpha) * g * g
        m = alpha * m + (1 - alpha) * g
        v = s - m * m if centered else s
        u = g / (np.sqrt(v + eps) if eps_inside else np.sqrt(v) + eps)
        inside = lr if lr_in_momentum else 1
        b = momentum * b + inside * u
        if decoupled_decay:
            theta = theta - lr * weight_decay * theta
        theta = theta - lr / inside * b
    return theta


@pytest.mark.parametrize("option", [*OURS, "all", "none"])
def test_options(option):
    """With numbers that let each of them show."""
    ours = OURS if option == "all" else {option: OURS[option]} if option in OURS else {}
    lrs = 0.125, 0.5, 0.25, 0.0625
    torchs = dict(alpha=0.75, eps=0.25, weight_decay=0.25, momentum=0.5, centered=True)
    (p,) = parameters((40,))
    theta = p.detach().numpy().copy()
    o = RMSprop([p], **torchs, **ours)
    grads = []
    for step in range(4):
        set_grads([p], step)
        grads.append(p.grad.numpy().copy())
        o.param_groups[0]["lr"] = lrs[step]
        o.step()
        np.testing.assert_array_equal(p.grad.numpy(), grads[-1])
    want = formula(theta, grads, lrs, **torchs, **ours)
    np.testing.assert_allclose(p.detach().numpy(), want, rtol=2e-5, atol=2e-6)
    if option in OURS and option != "skip_nonfinite":
        assert np.abs(want - formula(theta, grads, lrs, **torchs)).max() > 1e-3, "the option changes too little to be seen"
    assert in_kernel(o) == (1, 0)


def test_norm_is_that_of_clip_grad_norm():
    params = parameters((300,), (20, 30))
    o = RMSprop([{"params": params[:1]}, {"params": params[1:]}], clip_norm=0.25, loss_scale=8.0)
    assert o.grad_norm is None
    set_grads(params, 0)
    o.step()
    want = math.sqrt(sum(float(p.grad.double().square().sum()) for p in params)) / 8
    assert o.grad_norm == pytest.approx(want, rel=1e-12) and not o.skipped
    o.clip_norm = math.inf  # only measures
    set_grads(params, 1)
    o.step()
    assert o.grad_norm > 1
    o.clip_norm = None
    before = o.grad_norm
    o.step()
    assert o.grad_norm is None and before is not None


@pytest.mark.parametrize("option", ["skip_nonfinite", "clip_norm"])
def test_skipped(option):
    params = parameters((30,), (4,))
    o = RMSprop(params, **{option: OURS[option]}, momentum=0.9)
    set_grads(params, 0)
    o.step()
    before = copy.deepcopy((params, o.state_dict()))
    versions = [p._version for p in params]
    set_grads(params, 1)
    params[1].grad[2] = math.inf
    o.step()
    assert o.skipped and math.isinf(o.grad_norm) and versions == [p._version for p in params]
    assert all(torch.equal(p, q) for p, q in zip(params, before[0]))
    for i, state in o.state_dict()["state"].items():
        assert all(torch.equal(value, before[1]["state"][i][name]) for name, value in state.items())
    params[1].grad[2] = 0
    o.step()
    assert not o.skipped and o.state[params[0]]["step"] == 2


def test_state_dict_is_torchs_when_they_are_off():
    params = parameters((3,))
    ours, torchs = RMSprop(params, clip_norm=None, loss_scale=1), torch.optim.RMSprop(params)
    assert ours.state_dict() == torchs.state_dict()
    ours.clip_norm, ours.loss_scale, ours.skip_nonfinite = 1.0, 2.0, True
    assert ours.state_dict() != torchs.state_dict()
    ours.clip_norm, ours.loss_scale, ours.skip_nonfinite = None, 1.0, False
    assert ours.state_dict() == torchs.state_dict() and ours.defaults == torchs.defaults


def test_state_dict_carries_them():
    params = parameters((30,))
    o = RMSprop(params, momentum=0.5, weight_decay=0.1, **OURS)
    for step in range(3):
        set_grads(params, step)
        o.step()
    file = io.BytesIO()
    torch.save(o.state_dict(), file)
    file.seek(0)
    again = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = RMSprop(again, momentum=0.5)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert {name: other.param_groups[0][name] for name in OURS} == OURS
    assert (other.loss_scale, other.clip_norm, other.skip_nonfinite) == (64.0, 0.5, True)
    pickled = pickle.loads(pickle.dumps(o))
    copied = copy.deepcopy(o)
    for step in range(3, 6):
        for x in (o, other, pickled, copied):
            set_grads(x.param_groups[0]["params"], step)
            x.step()
            assert torch.equal(x.param_groups[0]["params"][0], params[0]) or x is not o
    for x in (other, pickled, copied):
        assert torch.equal(x.param_groups[0]["params"][0], params[0])


def test_checkpoint_of_torch_leaves_them_on():
    params = parameters((3,))
    torchs = torch.optim.RMSprop(params, lr=0.5)
    set_grads(params, 0)
    torchs.step()
    o = RMSprop(params, **OURS)
    o.load_state_dict(torchs.state_dict())
    assert {name: o.param_groups[0][name] for name in OURS} == OURS and o.param_groups[0]["lr"] == 0.5
    o.step()
    assert in_kernel(o) == (1, 0)


def test_groups_may_differ():
    a, b = parameters((30,), (30,), seed=1)
    theta = a.detach().numpy().copy(), b.detach().numpy().copy()
    o = RMSprop([{"params": [a], "eps_inside": True}, {"params": [b]}], lr=0.1, eps=0.5)
    o.add_param_group({"params": parameters((2,)), "decoupled_decay": True})
    set_grads([a, b], 0)
    o.step()
    for p, t, inside in ((a, theta[0], True), (b, theta[1], False)):
        want = formula(t, [p.grad.numpy()], [0.1], eps=0.5, eps_inside=inside)
        np.testing.assert_allclose(p.detach().numpy(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["loss_scale", "clip_norm", "skip_nonfinite"])
def test_groups_must_agree(name):
    a, b = parameters((3,), (4,))
    o = RMSprop([{"params": [a]}, {"params": [b], name: OURS[name]}])
    set_grads([a, b], 0)
    before = copy.deepcopy([a, b])
    with pytest.raises(ValueError, match=rf"param_groups\[1\]\['{name}'\] = .*must be equal"):
        o.step()
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])
    setattr(o, name, OURS[name])
    o.step()
    o.param_groups[0].pop(name)
    with pytest.raises(ValueError, match=name):
        o.step()


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("why", ["type", "shared", "compiled", "capturable"])
def test_what_torch_cannot_do_is_refused(name, why):
    a, b = parameters((3,), (4,))
    if why == "type":
        b = torch.nn.Parameter(b.detach().double())
    if why == "shared":
        whole = torch.ones(8)
        a, b = torch.nn.Parameter(whole[:5]), torch.nn.Parameter(whole[3:])
    o = RMSprop([a, b], **{name: OURS[name]})
    if why == "capturable":
        o.param_groups[0]["capturable"] = True
    set_grads([a, b], 0)
    before = copy.deepcopy([a, b])
    reason = {"type": "torch.float64", "shared": "shares memory", "compiled": "compiled", "capturable": "capturable is on"}[why]
    step = torch.compile(o.step, backend="eager") if why == "compiled" else o.step
    with pytest.raises((ValueError, RuntimeError), match=f"(?s)left to torch, which has no {name}.*{reason}|{reason}.*no {name}"):
        step()
    torch._dynamo.reset()
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])


def test_refuses():
    (p,) = parameters((3,))
    for name, values in {"loss_scale": (0, -1.0, math.nan, math.inf), "clip_norm": (0, -1.0, math.nan)}.items():
        for value in values:
            with pytest.raises(ValueError, match=f"Invalid {name} value"):
                RMSprop([p], **{name: value})
            o = RMSprop([p])
            with pytest.raises(ValueError, match=f"Invalid {name} value"):
                setattr(o, name, value)
            assert name not in o.param_groups[0]
    with pytest.raises(RuntimeError, match="eps_inside"):
        RMSprop([p], differentiable=True, eps_inside=True)
    with pytest.raises(TypeError):
        RMSprop([p], 0.1, 0.9, 1e-8, 0, 0, False, False, None, False, False, True)  # keywords only


# ---- Values ----


@pytest.mark.parametrize("name,first,then", [
    ("lr", 0.1, 0.01), ("alpha", 0.9, 0.5), ("eps", 1e-3, 1e-1), ("weight_decay", 0.1, 0.5), ("momentum", 0.5, 0.9),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["array", "tensor", "float64"])
def test_options_changed_in_place(name, first, then, kind):
    """Whatever torch takes for a number is read in each step: compared with plain numbers."""
    results = []
    for boxed in (False, True):
        (p,) = parameters((50,))
        o = RMSprop([p], lr=0.05, momentum=0.3)
        box = {
            "array": lambda: np.array(first),
            "tensor": lambda: torch.tensor(first, dtype=torch.float64),
            "float64": lambda: np.float64(first),
        }[kind]()
        o.param_groups[0][name] = box if boxed else first
        for step in range(6):
            if step == 3:
                if not boxed:
                    o.param_groups[0][name] = then
                elif kind == "float64":
                    o.param_groups[0][name] = np.float64(then)
                else:
                    box[...] = then
            set_grads([p], step)
            o.step()
        assert in_kernel(o) == (1, 0)
        results.append(p.detach())
    assert torch.equal(*results)


@pytest.mark.parametrize("name", ["centered", "maximize"])
@pytest.mark.parametrize("value", [1, np.True_, torch.tensor(True), "yes"])
def test_switches_of_any_type(name, value):
    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        (p,) = parameters((5,))
        o = cls([p], foreach=False)
        o.param_groups[0][name] = value
        for step in range(3):
            set_grads([p], step)
            o.step()
        results.append(p.detach())
    torch.testing.assert_close(*results)


def test_options_that_are_no_numbers_are_torchs():
    (p,) = parameters((5,))
    o = RMSprop([p], foreach=False)
    o.param_groups[0]["eps"] = torch.full((5,), 0.5)  # which torch adds element by element
    set_grads([p], 0)
    o.step()
    assert in_kernel(o) == (0, 1)
    o.param_groups[0]["eps"] = "0.5"
    with pytest.raises(TypeError):
        o.step()


def test_odd_things_in_the_state():
    """They are left alone, and cost no new plan in each step."""
    (p,) = parameters((5,))
    o = RMSprop([p], momentum=0.5)
    o.state["note"] = 3
    o.state["other"] = {"x": 1}
    o.state[7] = None
    plans = set()
    for step in range(5):
        set_grads([p], step)
        o.step()
        plans.add(id(o._session.plan))
        o.state["other"]["x"] += 1000 * step
        o.state[p]["mine"] = [step]
    assert o.state["note"] == 3 and o.state[7] is None and o.state["other"]["x"] == 10001
    assert len(plans) == 1 and o.state[p]["step"] == 5
    o.state[p]["momentum_buffer"] = torch.full((5,), 100.0)
    o.step()
    assert o._session.plan.states[1][2] is o.state[p]["momentum_buffer"]
    assert in_kernel(o) == (1, 0) and (o.state[p]["momentum_buffer"] > 40).all()


def test_state_that_is_no_dict_is_torchs():
    from collections import UserDict

    params = [*parameters((5,)), *parameters((6,))]
    o = RMSprop(params)
    set_grads(params, 0)
    o.step()
    o.state[params[0]] = UserDict(o.state[params[0]])
    for _ in range(2):
        o.step()
    assert in_kernel(o) == (1, 1) and o.state[params[0]]["step"] == 3


# ---- To be seen ----


def test_placement():
    whole = torch.ones(20)
    params = [
        *parameters((4, 3)),
        torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        torch.nn.Parameter(whole[:12]),
        torch.nn.Parameter(whole[8:]),
        torch.nn.Parameter(torch.ones(4, 6)[:, ::2]),
        torch.nn.Parameter(torch.ones(3, device="meta")),
        *parameters((5,)),
    ]
    o = RMSprop([{"params": params}, {"params": parameters((2,)), "capturable": True}, {"params": parameters((2,)), "lr": 1e30}])
    params[-1].grad = torch.ones(5)
    before = copy.deepcopy(o.state_dict())
    found = o.placement()
    assert [f.kernel for f in found] == [True, False, False, False, False, False, True, False, False]
    for f, word in zip(found, ["", "bfloat16", "shares memory", "shares memory", "not dense", "on meta", "", "capturable", "lr = 1e"]):
        assert word in f.reason and bool(f.reason) != f.kernel
    assert found[0][:4] == (0, 0, (4, 3), torch.float32) and found[-1][:2] == (2, 0)
    assert o.state_dict() == before and not o.state


def test_placement_is_what_a_step_does():
    params = [*parameters((4, 3), (5,), (6,)), *parameters((2,), dtype=torch.float64), *parameters((3,), dtype=torch.complex64)]
    o = RMSprop(params, momentum=0.5)
    set_grads(params, 0)
    o.step()
    params[1].grad.data = torch.ones(5).double()
    o.state[params[2]]["momentum_buffer"] = torch.zeros(6).double()
    found = o.placement()
    assert [f.kernel for f in found] == [True, False, False, False, True]
    assert "its gradient is torch.float64" in found[1].reason and "its momentum_buffer is torch.float64" in found[2].reason
    params[2].grad = None  # torch would refuse its state
    o.step()
    assert in_kernel(o) == (2, 2)


def test_version():
    import importlib.metadata

    assert kernel_rmsprop.__version__ == importlib.metadata.version("kernel-rmsprop")
    library = kernel_rmsprop._library.library()
    assert library.c.kernel_version().decode() == kernel_rmsprop.__version__
