"""RMSprop in the place of torch.optim.RMSprop."""

import copy
import gc
import io
import pickle
import weakref

import numpy as np
import pytest
import torch
from torch.testing._internal.common_optimizers import optim_error_inputs_func_rmsprop, optim_inputs_func_rmsprop

import kernel_rmsprop
from kernel_rmsprop import RMSprop
from kernel_rmsprop import _fused as module

INPUTS = {i.desc: i.kwargs for i in optim_inputs_func_rmsprop("cpu")}
MIXED = dict(lr=1e-3, momentum=0.9, centered=True, weight_decay=0.01)


def parameters(*shapes, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=g, dtype=dtype)) for s in shapes]


def set_grads(params, seed):
    g = torch.Generator().manual_seed(1000 + seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=g, dtype=p.dtype)


def both(make_params, steps=20, prepare=None, **kwargs):
    """Trains by torch and by ours, and compares. prepare(optimizer, params, step) sets the gradients."""
    found = []
    for cls in (torch.optim.RMSprop, RMSprop):
        params = make_params()
        optimizer = cls(params, **kwargs)
        for step in range(steps):
            set_grads(params, step)
            if prepare:
                prepare(optimizer, params, step)
            optimizer.step()
        found.append((params, optimizer))
    (want, torchs), (got, ours) = found
    for a, b in zip(want, got):
        close(b, a)
        assert torchs.state[a].keys() == ours.state[b].keys()
        for name, value in torchs.state[a].items():
            close(ours.state[b][name], value)
    return ours


def close(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape
    if want.numel():
        scale = want.detach().abs().max()
        assert torch.isfinite(torch.view_as_real(got.detach()) if got.is_complex() else got.detach()).all()
        assert (got - want).abs().max() <= 2e-5 * scale + 1e-30


def in_kernel(optimizer):
    """How many tensors the last plans gave to the kernel, and how many to torch."""
    plan = list(optimizer._session.plans.values())[-1]
    return len(plan.mine), sum(len(places) for _, places, _ in plan.rest)


SHAPES = [(10, 3), (7,), (), (0,), (1, 1, 5), (2, 3, 4, 5)]


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("desc", INPUTS)
def test_parity(desc, foreach):
    ours = both(lambda: parameters(*SHAPES), steps=100, foreach=foreach, **INPUTS[desc])
    assert in_kernel(ours) == (len(SHAPES), 0)


@pytest.mark.parametrize("desc", INPUTS)
def test_parity_complex(desc):
    ours = both(lambda: parameters((5, 3), (), dtype=torch.complex64), **INPUTS[desc])
    assert in_kernel(ours) == (2, 0)


@pytest.mark.parametrize("error", optim_error_inputs_func_rmsprop("cpu", torch.float32), ids=lambda e: e.optimizer_error_input.desc)
def test_refuses_what_torch_refuses(error):
    given = error.optimizer_error_input
    expect = pytest.warns if issubclass(error.error_type, Warning) else pytest.raises
    with expect(error.error_type, match=error.error_regex):
        optimizer = RMSprop(given.params or parameters((2,)), **given.kwargs)
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex128])
def test_other_types_are_torchs(dtype):
    def make():
        return [*parameters((4, 3), dtype=torch.float32), *parameters((6,), dtype=dtype)]

    params = [make(), make()]
    torchs, ours = torch.optim.RMSprop(params[0], **MIXED), RMSprop(params[1], **MIXED)
    for step in range(5):
        for o, ps in zip((torchs, ours), params):
            set_grads(ps, step)
            o.step()
    assert in_kernel(ours) == (1, 1)
    assert torch.equal(params[0][1], params[1][1])
    close(params[1][0], params[0][0])


@pytest.mark.parametrize("option", ["differentiable", "momentum", "alpha", "lr", "signs"])
def test_options_that_are_torchs(option):
    kwargs = {
        "differentiable": dict(differentiable=True),
        "momentum": dict(momentum=1.0),
        "alpha": dict(alpha=1.01),
        "lr": dict(lr=1e30),
        "signs": dict(alpha=0, eps=0),
    }[option]
    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        p = torch.full((3,), 2.0, requires_grad=True)
        theta = p.clone() if option == "differentiable" else p
        o = cls([torch.nn.Parameter(torch.ones(3))] if option == "differentiable" else [theta], **kwargs)
        if option == "differentiable":
            o.param_groups[0]["params"] = [theta]
        for _ in range(3):
            theta.grad = torch.ones(3) if option != "differentiable" else p * 2
            o.step()
        if option == "differentiable":
            theta.sum().backward()
            results.append(p.grad)
        else:
            results.append(theta.detach())
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


def test_negative_lr_of_a_group_is_torchs():
    def prepare(optimizer, params, step):
        optimizer.param_groups[0]["lr"] = -0.01 if step > 2 else 0.01

    ours = both(lambda: parameters((4,)), steps=6, prepare=prepare)
    assert in_kernel(ours) == (0, 1)


@pytest.mark.parametrize("source", [torch.optim.RMSprop, RMSprop])
@pytest.mark.parametrize("target", [torch.optim.RMSprop, RMSprop])
@pytest.mark.parametrize("kwargs", [{}, MIXED], ids=["plain", "mixed"])
def test_state_dict(source, target, kwargs):
    params = parameters(*SHAPES)
    first = source(params, **kwargs)
    for step in range(5):
        set_grads(params, step)
        first.step()
    file = io.BytesIO()
    torch.save({"params": params, "optimizer": first.state_dict()}, file)
    file.seek(0)
    with torch.serialization.safe_globals([torch.nn.Parameter]) if hasattr(torch.serialization, "safe_globals") else io.BytesIO():
        loaded = torch.load(file, weights_only=True)
    again = [torch.nn.Parameter(p) for p in loaded["params"]]
    second = target(again, lr=123.0, momentum=kwargs.get("momentum", 0), centered=kwargs.get("centered", False))
    set_grads(again, 99)
    second.step()  # so that there is something to replace
    with torch.no_grad():
        for p, q in zip(again, params):
            p.copy_(q)
    second.load_state_dict(loaded["optimizer"])
    for step in range(5, 10):
        for o, ps in ((first, params), (second, again)):
            set_grads(ps, step)
            o.step()
    for p, q in zip(params, again):
        (torch.equal if source is target else close)(p, q)
        if source is target:
            assert torch.equal(p, q)
        assert float(second.state[q]["step"]) == 10


def test_resumed_in_the_same_bits():
    params, other = parameters(*SHAPES), None
    o = RMSprop(params, **MIXED)
    for step in range(20):
        if step == 7:
            saved = copy.deepcopy((params, o.state_dict()))
        set_grads(params, step)
        o.step()
    other = saved[0]
    resumed = RMSprop(other, lr=0)
    resumed.load_state_dict(saved[1])
    for step in range(7, 20):
        set_grads(other, step)
        resumed.step()
    assert all(torch.equal(p, q) for p, q in zip(params, other))


def test_param_groups():
    def make():
        return parameters((3, 4), (5,), (2, 2), (6,))

    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        params = make()
        o = cls(
            [{"params": params[:1], "momentum": 0.5}, {"params": params[1:2], "centered": True, "lr": 1e-2}],
            lr=1e-3,
            weight_decay=0.1,
        )
        for step in range(12):
            if step == 5:
                o.add_param_group({"params": params[2:], "maximize": True, "alpha": 0.5})
            if step == 8:
                o.param_groups[1]["lr"] = 1e-4
                o.param_groups[0]["weight_decay"] = 0
            set_grads(params, step)
            o.step()
        results.append(params)
    for a, b in zip(*results):
        close(b, a)


def test_parameters_that_come_and_go():
    a, b, c = [parameters((4,), (5,), seed=s) for s in (1, 1, 1)]
    torchs, ours = torch.optim.RMSprop(a), RMSprop(b)
    for step in range(10):
        for o, ps in ((torchs, a), (ours, b)):
            set_grads(ps, step)
            kept = ps[step % 2 : step % 2 + 1] if step > 4 else ps
            o.param_groups[0]["params"] = kept
            o.step()
    for p, q, r in zip(a, b, c):
        close(q, p)
        assert not torch.equal(q, r)


def test_group_that_is_another_dict():
    """Steps left to torch also use it."""

    def prepare(optimizer, params, step):
        optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 0.1 / (1 + step)}

    def make():
        return parameters((3,)) + parameters((4,), dtype=torch.float64)

    assert in_kernel(both(make, prepare=prepare)) == (1, 1)


@pytest.mark.parametrize("change", ["group added", "moved", "exchanged", "left", "parted"])
def test_groups_that_change(change):
    """With the same parameters that have gradients, in the same order: others only belong to other groups."""
    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        a, b, c, d = params = parameters((4,), (5,), (6,), (7,))
        o = cls([{"params": [a, b], "lr": 0.1}, {"params": [c, d], "lr": 1e-3, "momentum": 0.5}])
        for step in range(6):
            set_grads(params, step)
            if change in ("exchanged", "parted", "left"):
                c.grad = None
            if step == 3:
                first, second = o.param_groups
                if change == "group added":
                    o.add_param_group({"params": parameters((3,))})
                elif change == "moved":
                    first["params"], second["params"] = [a], [b, c, d]
                    o.state[b]["momentum_buffer"] = torch.zeros(5)
                elif change == "exchanged":
                    first["params"], second["params"] = [a, c], [b, d]
                    o.state[b]["momentum_buffer"] = torch.zeros(5)
                elif change == "left":
                    second["params"] = [d]
                elif change == "parted":
                    first["params"] = [a]
                    o.add_param_group({"params": [b], "lr": 1.0})
                    o.param_groups[1:] = o.param_groups[:0:-1]  # before the second
            o.step()
        results.append(params)
    for p, q in zip(*results):
        close(q, p)


def test_momentum_switched_on_raises_as_torch():
    for cls in (torch.optim.RMSprop, RMSprop):
        params = parameters((3,))
        o = cls(params)
        set_grads(params, 0)
        o.step()
        before = params[0].detach().clone()
        o.param_groups[0]["momentum"] = 0.9
        with pytest.raises(KeyError, match="momentum_buffer"):
            o.step()
        assert torch.equal(params[0], before)
        o.param_groups[0]["momentum"] = 0
        o.step()
        assert not torch.equal(params[0], before)


def test_schedulers():
    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        params = parameters((20,))
        o = cls(params, lr=0.1, momentum=0.9)
        schedulers = [
            torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
            torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
        ]
        for step in range(20):
            set_grads(params, step)
            o.step()
            schedulers[0].step()
            schedulers[1].step(1.0)
        results.append(params[0])
    close(results[1], results[0])


def test_lr_tensor():
    lr = [torch.tensor(0.01), torch.tensor(0.01)]
    params = [parameters((5,)), parameters((5,))]
    for cls, ps, rate in zip((torch.optim.RMSprop, RMSprop), params, lr):
        o = cls(ps, lr=rate, foreach=False)
        for step in range(6):
            if step == 3:
                o.param_groups[0]["lr"].fill_(0.5)
            set_grads(ps, step)
            o.step()
    close(params[1][0], params[0][0])


@pytest.mark.parametrize("set_to_none", [True, False])
def test_loop_as_people_write_it(set_to_none):
    """GradScaler, clip_grad_norm_, zero_grad."""
    results = []
    x = torch.randn(8, 6)
    for cls in (torch.optim.RMSprop, RMSprop):
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
        o = cls(model.parameters(), lr=1e-3, momentum=0.5)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        for step in range(15):
            o.zero_grad(set_to_none=set_to_none)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=step % 2 == 0):
                loss = model(x).square().mean()
            scaler.scale(loss).backward()
            if step == 7:
                next(model.parameters()).grad[0, 0] = float("inf")
            scaler.unscale_(o)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            scaler.step(o)
            scaler.update()
        results.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
        assert float(o.state[next(model.parameters())]["step"]) == 14
    close(results[1], results[0])


def test_grad_scaler_skips_what_has_overflowed():
    params = parameters((4,))
    o = RMSprop(params)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    before = params[0].detach().clone()
    scaler.scale((params[0] * float("inf")).sum()).backward()
    scaler.step(o)
    scaler.update()
    assert torch.equal(params[0], before) and scaler.get_scale() == 2.0


def test_grad_none_in_some_steps():
    def prepare(optimizer, params, step):
        for i, p in enumerate(params):
            if (step + i) % 3 == 0:
                p.grad = None

    ours = both(lambda: parameters(*SHAPES), steps=30, prepare=prepare, **MIXED)
    assert len(ours._session.plans) == 3


def test_no_grads_at_all():
    params = parameters((3,))
    o = RMSprop(params)
    before = params[0].detach().clone()
    assert o.step() is None and o.step(lambda: 5) == 5
    assert torch.equal(params[0], before) and not o.state
    assert RMSprop([{"params": []}]).step() is None


def test_closure():
    def closure():
        assert torch.is_grad_enabled()
        o.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    p = torch.nn.Parameter(torch.ones(3))
    o = RMSprop([p])
    with torch.no_grad():
        assert float(o.step(closure)) == 3
        assert not torch.is_grad_enabled()
    assert (p != 1).all()


@pytest.mark.parametrize("layout", ["transposed", "channels_last", "strided", "expanded", "sliced"])
def test_memory_orders(layout):
    def make():
        t = parameters((4, 3, 2, 5))[0].detach()
        t = {
            "transposed": lambda: t.permute(3, 1, 0, 2),
            "channels_last": lambda: t.to(memory_format=torch.channels_last),
            "strided": lambda: t.repeat(1, 1, 1, 2)[..., ::2],
            "expanded": lambda: t,
            "sliced": lambda: torch.cat([t, t])[1:5],
        }[layout]()
        return [torch.nn.Parameter(t)]

    def prepare(optimizer, params, step):
        if layout == "expanded":
            params[0].grad = params[0].grad[:1].expand_as(params[0])

    ours = both(make, prepare=prepare, **MIXED)
    assert in_kernel(ours) == ((0, 1) if layout == "strided" else (1, 0))


def test_gradient_in_another_order():
    def prepare(optimizer, params, step):
        p = params[0]
        if step % 2:
            p.grad = torch.empty(p.grad.t().shape).copy_(p.grad.t()).t()
        if step % 3 == 0:
            p.grad = torch._neg_view(-p.grad)
            assert p.grad.is_neg()

    ours = both(lambda: parameters((6, 5)), prepare=prepare, **MIXED)
    assert in_kernel(ours) == (1, 0)


def test_gradient_of_another_type():
    def prepare(optimizer, params, step):
        if step > 2:
            params[0].grad.data = params[0].grad.double()
            assert params[0].grad.dtype == torch.float64

    assert in_kernel(both(lambda: parameters((5,)), steps=6, prepare=prepare)) == (0, 1)


def test_gradient_at_an_odd_address():
    memory = bytearray(4 * 5 + 1)

    def prepare(optimizer, params, step):
        odd = torch.frombuffer(memory, dtype=torch.float32, offset=1)
        assert odd.data_ptr() % 4 != 0
        odd.copy_(params[1].grad)
        params[1].grad = odd

    assert in_kernel(both(lambda: parameters((4,), (5,)), prepare=prepare)) == (1, 1)


def test_gradient_that_has_a_gradient():
    """As backward(create_graph=True) leaves it: nothing is recorded."""
    p = torch.nn.Parameter(torch.randn(3, 4))
    o = RMSprop([p], **MIXED)
    for transposed in (False, True):
        grad = (p * 2).t().contiguous().t() if transposed else p * 2
        p.grad = grad
        assert p.grad.requires_grad
        o.step()
        assert torch.is_grad_enabled() and p.is_leaf and not any(s.requires_grad for s in o.state[p].values())
    assert in_kernel(o) == (1, 0)


def test_conjugate_gradient():
    def prepare(optimizer, params, step):
        conjugate = params[0].grad.conj()
        params[0].grad = conjugate if isinstance(optimizer, RMSprop) else conjugate.resolve_conj()

    assert in_kernel(both(lambda: parameters((6,), dtype=torch.complex64), prepare=prepare)) == (1, 0)


def test_state_in_another_order():
    def prepare(optimizer, params, step):
        if step == 3:
            params[0].data = params[0].data.to(memory_format=torch.channels_last)

    ours = both(lambda: parameters((4, 3, 2, 5)), steps=8, prepare=prepare, **MIXED)
    assert in_kernel(ours) == (1, 0)


@pytest.mark.parametrize("change", ["copied", "transposed", "turned", "shorter", "longer", "double"])
def test_data_exchanged_between_steps(change):
    """The gradient, the state or both then have other shapes: as with torch, an error, or the same result."""

    def prepare(optimizer, params, step):
        p = params[0]
        if step != 3:
            return
        if change == "copied":
            p.data = p.data.clone()
        elif change == "transposed":
            p.data = p.data.t().contiguous().t()
        elif change == "turned":  # where it is
            p.data = p.data.t()

    if change in ("copied", "transposed", "turned"):
        both(lambda: parameters((6, 6)), steps=6, prepare=prepare)
        return
    whole = torch.randn(12)
    p = torch.nn.Parameter(whole[:6])
    o = RMSprop([p])
    p.grad = torch.ones(6)
    o.step()
    before = whole.clone()
    p.data = {"shorter": whole[:4], "longer": whole[:12], "double": whole[:6].double()}[change]
    if change == "double":  # torch takes it as it comes
        o.step()
    else:
        with pytest.raises(ValueError, match="grad of shape"):
            o.step()
        p.grad = torch.ones_like(p)
        with pytest.raises(RuntimeError):
            o.step()  # the state has its old shape: torch's error
    assert torch.equal(whole, before)


def test_state_exchanged_between_steps():
    params = [parameters((50,)), parameters((50,))]
    for cls, ps in zip((torch.optim.RMSprop, RMSprop), params):
        o = cls(ps, **MIXED)
        for step in range(8):
            set_grads(ps, step)
            state = o.state[ps[0]] if step else {}
            if step == 2:
                state["square_avg"] = torch.full((50,), 4.0)
            if step == 3:
                state["momentum_buffer"].zero_()
            if step == 4:
                o.state[ps[0]] = {k: v.clone() for k, v in state.items()}
            if step == 5:
                state["step"] = torch.tensor(77.0)
            if step == 6:
                state["grad_avg"].data = torch.zeros(50)
            o.step()
        assert float(o.state[ps[0]]["step"]) == 80
    close(params[1][0], params[0][0])


@pytest.mark.parametrize("name", ["square_avg", "grad_avg", "momentum_buffer"])
def test_state_that_becomes_shorter_where_it_is(name):
    params = parameters((6,))
    o = RMSprop(params, **MIXED)
    for step in range(2):
        set_grads(params, step)
        o.step()
    state = o.state[params[0]][name]
    whole = state.data
    before = whole.clone()
    state.data = whole[:4]
    with pytest.raises(RuntimeError):
        o.step()  # torch's error
    assert torch.equal(whole[4:], before[4:])


@pytest.mark.parametrize("how", ["loaded", "cleared"])
def test_old_states_are_let_go(how):
    params = parameters((5,), (6,))
    o = RMSprop(params)
    for live in ((0, 1), (0,), (1,)) * 2:
        set_grads(params, 0)
        for i in {0, 1} - {*live}:
            params[i].grad = None
        o.step()
    assert len(o._session.plans) == 3
    old = [weakref.ref(s["square_avg"]) for s in o.state.values()]
    o.load_state_dict(copy.deepcopy(o.state_dict())) if how == "loaded" else o.state.clear()
    o.step()
    assert len(o._session.plans) == 1 and not any(s() for s in old)


def test_freed_without_the_collector():
    params = parameters((5,), (6,)) + parameters((4,), dtype=torch.float64)
    o = RMSprop(params)
    for step in range(2):
        set_grads(params, step)
        o.step()
    left = [weakref.ref(o._session.plan), *(weakref.ref(s["square_avg"]) for s in o.state.values())]
    gc.disable()
    try:
        del o
        assert not any(r() for r in left)
    finally:
        gc.enable()


def test_states_cleared_between_steps():
    def prepare(optimizer, params, step):
        if step == 3:
            optimizer.state.clear()

    ours = both(lambda: parameters((5,), (6,)), steps=5, prepare=prepare, **MIXED)
    assert all(float(s["step"]) == 2 for s in ours.state.values())


def test_step_counters_of_another_type():
    default = torch.get_default_dtype()
    params = parameters((5,))
    try:
        torch.set_default_dtype(torch.float64)
        o = RMSprop(params)
        set_grads(params, 0)
        params[0].grad = params[0].grad.float()
        for _ in range(3):
            o.step()
    finally:
        torch.set_default_dtype(default)
    assert o.state[params[0]]["step"].dtype == torch.float64 and float(o.state[params[0]]["step"]) == 3
    assert in_kernel(o) == (1, 0)


def test_tensors_that_share_memory():
    def make():
        whole = torch.randn(12, generator=torch.Generator().manual_seed(5))
        apart = parameters((3,))
        return [torch.nn.Parameter(whole[:8]), torch.nn.Parameter(whole[4:]), *apart]

    ours = both(make)
    assert in_kernel(ours) == (1, 2)


def test_gradient_in_the_memory_of_its_parameter():
    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        p = torch.nn.Parameter(torch.arange(1.0, 5.0))
        p.grad = p.data
        cls([p]).step()
        results.append(p.detach())
    assert torch.equal(*results)


def test_gradient_shared_by_parameters():
    def prepare(optimizer, params, step):
        params[1].grad = params[0].grad

    assert in_kernel(both(lambda: parameters((5,), (5,)), prepare=prepare)) == (2, 0)


def test_tied_weights():
    results = []
    for cls in (torch.optim.RMSprop, RMSprop):
        torch.manual_seed(2)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
        model[1].weight = model[0].weight
        o = cls(model.parameters())
        for _ in range(5):
            o.zero_grad()
            model(torch.ones(2, 4)).square().sum().backward()
            o.step()
        results.append(model[0].weight.detach())
    close(results[1], results[0])


def test_sparse_gradient_raises_before_anything_is_written():
    """One of another type than the kernel's: test_sparse.py has the others."""
    dtype = torch.float64
    params = [*parameters((3,)), *parameters((4, 2), dtype=dtype)]
    o = RMSprop([{"params": params[:1]}, {"params": params[1:]}])
    set_grads(params, 0)
    o.step()
    before = [p.detach().clone() for p in params]
    params[1].grad = torch.sparse_coo_tensor([[1]], [[1.0, 1.0]], (4, 2), dtype=dtype, check_invariants=True)
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        o.step()
    assert all(torch.equal(p, b) for p, b in zip(params, before))


def test_subclasses_are_torchs():
    class Mine(torch.Tensor):
        pass

    p = torch.nn.Parameter(torch.ones(3).as_subclass(Mine))
    o = RMSprop([p])
    p.grad = torch.ones(3).as_subclass(Mine)
    o.step()
    assert in_kernel(o) == (0, 1) and (p != 1).all()
    q = torch.nn.Parameter(torch.ones(3))
    o = RMSprop([q])
    for grad, where in ((torch.ones(3), (1, 0)), (torch.ones(3).as_subclass(Mine), (0, 1))):
        q.grad = grad
        o.step()
        assert in_kernel(o) == where


def test_autograd_notices_what_was_written():
    p = torch.nn.Parameter(torch.ones(3))
    o = RMSprop([p], momentum=0.9, centered=True)
    p.grad = torch.ones(3)
    loss = p.square().sum()
    versions = p._version
    o.step()
    assert p._version > versions
    versions = [t._version for name, t in o.state[p].items() if name != "step"]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    p.grad = torch.ones(3)
    o.step()
    assert all(t._version > v for t, v in zip([t for n, t in o.state[p].items() if n != "step"], versions))


def test_hooks_run_once():
    calls = []
    torch.optim.RMSprop(parameters((2,)))  # hooks torch's own step
    params = parameters((2,), (2,))
    o = RMSprop(params)
    o.register_step_pre_hook(lambda *_: calls.append("before"))
    o.register_step_post_hook(lambda *_: calls.append("after"))
    set_grads(params, 0)
    o.step()
    o = RMSprop(params, differentiable=False)
    assert calls == ["before", "after"]


def test_deepcopy_and_pickle():
    params = parameters((6,), (2, 3))
    o = RMSprop(params, **MIXED)
    for step in range(3):
        set_grads(params, step)
        o.step()
    for again in (copy.deepcopy(o), pickle.loads(pickle.dumps(o))):
        theirs = again.param_groups[0]["params"]
        mine = copy.deepcopy(o)
        for step in range(3, 6):
            for x in (again, mine):
                set_grads(x.param_groups[0]["params"], step)
                x.step()
        for p, q in zip(theirs, mine.param_groups[0]["params"]):
            assert torch.equal(p, q)
            assert not any(p is x for x in params)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_give_the_same_bits(threads):
    results = []
    for n in (1, threads):
        torch.set_num_threads(n)
        params = parameters((300_001,), (70_000,), (5,))
        o = RMSprop(params, **MIXED)
        for step in range(3):
            set_grads(params, step)
            o.step()
        assert o._session.plan.settings.workers == n
        results.append(params)
    assert all(torch.equal(p, q) for p, q in zip(*results))


@pytest.mark.parametrize("isa", kernel_rmsprop.isas())
def test_instruction_sets_give_the_same_bits(isa):
    before = kernel_rmsprop.isa()
    results = []
    try:
        for name in (isa, "generic"):
            kernel_rmsprop.set_isa(name)
            params = parameters((10_001,), (5,))
            o = RMSprop(params, **MIXED)
            for step in range(20):
                set_grads(params, step)
                o.step()
            results.append(params)
    finally:
        kernel_rmsprop.set_isa(before)
    assert all(torch.equal(p, q) for p, q in zip(*results))


def test_compiled_step():
    import torch._dynamo

    def prepare(optimizer, params, step):
        if step == 0:
            optimizer.compiled = torch.compile(lambda: optimizer.step(), backend="eager")

    results = []
    for compiled in (False, True):
        params = parameters((5,), (3, 2))
        o = RMSprop(params, lr=torch.tensor(0.01), momentum=0.9) if compiled else RMSprop(params, lr=0.01, momentum=0.9)
        step = torch.compile(o.step, backend="eager") if compiled else o.step
        for i in range(5):
            set_grads(params, i)
            step()
        results.append(params)
    torch._dynamo.reset()
    for a, b in zip(*results):
        close(b, a)


def test_compiled_model_around():
    model = torch.nn.Linear(4, 3)
    o = RMSprop(model.parameters())
    compiled = torch.compile(model, backend="eager")
    before = model.weight.detach().clone()
    for _ in range(3):
        o.zero_grad()
        compiled(torch.ones(2, 4)).sum().backward()
        o.step()
    assert not torch.equal(model.weight, before) and in_kernel(o) == (2, 0)
    torch._dynamo.reset()


def test_plans_are_few():
    params = parameters(*[(2,)] * 12)
    o = RMSprop(params)
    for i in range(12):
        set_grads(params, i)
        params[i].grad = None
        o.step()
    assert len(o._session.plans) == module._PLANS


def test_data_are_no_errors():
    params = parameters((6,))
    o = RMSprop(params)
    params[0].grad = torch.tensor([float("nan"), float("inf"), -float("inf"), 0, 1e-30, 1e30])
    o.step()
    assert params[0].isnan().tolist() == [True, True, True, False, False, False]


def test_shape_of_the_gradient():
    p = torch.nn.Parameter(torch.ones(4))
    q = torch.nn.Parameter(torch.ones(2))
    o = RMSprop([p, q])
    p.grad, q.grad = torch.ones(4), torch.ones(2)
    q.data = torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"param_groups\[0\].*\(1, 2\).*\(2,\)"):
        o.step()
    assert torch.equal(p, torch.ones(4))


@pytest.mark.parametrize("n", [2, 6])
def test_gradient_exchanged_within(n):
    """Its size changes without its parameter: torch also raises."""
    params = parameters((4,), (5,))
    o = RMSprop(params)
    set_grads(params, 0)
    o.step()
    before = copy.deepcopy(params)
    params[1].grad.data = torch.ones(n)
    with pytest.raises(ValueError, match=rf"\(5,\).*\({n},\)"):
        o.step()
    assert all(torch.equal(p, b) for p, b in zip(params, before))


def test_numpy_and_torch_agree():
    """update has eps inside the root: with eps = 0 both are one formula."""
    p = parameters((100,))[0]
    theta, s = p.detach().numpy().copy(), np.zeros(100, np.float32)
    o = RMSprop([p], lr=0.25, alpha=0.5, eps=0)
    p.grad = torch.randn(100)
    o.step()
    kernel_rmsprop.update(theta, p.grad.numpy(), s, 0.25, 0.5, 0)
    np.testing.assert_allclose(p.detach().numpy(), theta, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(o.state[p]["square_avg"].numpy(), s)


def test_step_within_a_step(monkeypatch):
    """As the handler of a signal may take one: the outer step goes on with its own gradients."""

    def optimizer():
        p = torch.nn.Parameter(torch.ones(30, 20))
        return p, RMSprop([p], lr=0.1)

    def grad(value):
        return torch.full((20, 30), value).t()  # of which C gets a copy

    want, o = optimizer()
    for value in (2.0, 5.0, 3.0):
        want.grad = grad(value)
        o.step()

    p, o = optimizer()
    p.grad = grad(2.0)
    o.step()
    run, nested = module._Plan.run, []

    def run_after_another(plan, *arguments):
        if not nested:
            nested.append(True)
            outer, p.grad = p.grad, grad(5.0)
            o.step()
            p.grad = outer
        return run(plan, *arguments)

    monkeypatch.setattr(module._Plan, "run", run_after_another)
    p.grad = grad(3.0)
    o.step()
    assert nested and torch.equal(p, want)
