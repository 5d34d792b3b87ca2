"""The optimizer for PyTorch."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable
from operator import attrgetter, is_, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.rmsprop import rmsprop

from . import _library
from ._library import INVALID, OK, Library, Options, Settings, library

# What torch.optim.RMSprop does itself, without the hooks around it: those run around
# our step already.
_torch_step: Any = torch.optim.RMSprop.step
while getattr(_torch_step, "hooked", False):
    _torch_step = _torch_step.__wrapped__

_MAX_RATE = 2.0**64
_MAX_FLOAT32 = 3.4028234663852886e38
_BELOW_ONE = 1 - 2.0**-25  # a momentum from here on is 1 in float32
_PLANS = 8  # sets of parameters that an optimizer remembers


class RMSprop(torch.optim.RMSprop):
    """Takes the place of :class:`torch.optim.RMSprop`, with its arguments, groups and state.

    A step on dense float32 and complex64 tensors of the CPU is one pass over memory, on
    as many threads as :func:`torch.get_num_threads` says, and gives the same bits on
    every CPU and with any number of threads. It follows torch's formula to a few units in
    the last place, with the difference that a gradient or a mean which would become a
    subnormal number counts as zero, and that a variance (``centered``) is never negative.

    Everything else is left to torch: other types and devices, ``capturable``,
    ``differentiable``, tensors that share memory, numbers outside of what the kernel takes
    (a negative lr, a momentum from 1, an alpha above 1), and a step inside of torch.compile.
    ``foreach`` concerns that part alone.

    ``state_dict`` is that of torch.optim.RMSprop, both ways. A state that lies in memory in
    another order than its parameter, as after one became channels_last, is put into the
    parameter's order by the next step.
    """

    _plans: dict[tuple, _Plan] | None = None  # by their parameters
    _plan: _Plan | None = None  # the last one

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step, and returns what ``closure`` has.

        Args:
            closure: computes the loss and the gradients anew.
        """
        if torch.compiler.is_compiling() or self.defaults["differentiable"]:
            return _torch_step(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Not with torch.no_grad(): this takes half as long.
        before = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            self._step()
        finally:
            torch._C._set_grad_enabled(before)
        return loss

    def _step(self) -> None:
        lists = [group["params"] for group in self.param_groups]
        params = lists[0] if len(lists) == 1 else [p for params in lists for p in params]
        grads = [p.grad for p in params]
        live = [g for g in grads if g is not None]
        if len(live) < len(grads):
            params = [p for p, g in zip(params, grads) if g is not None]
        plan = self._plan_of(params, [*map(len, lists)])
        if plan is None or not plan.follow(self, live):
            plan = self._new_plan(params, live, frozenset())
        if not plan.run(live):
            # Tensors that share memory go to torch, which takes one after the other.
            plan = self._new_plan(params, live, plan.excluded | plan.overlapping())
            if not plan.run(live):
                raise RuntimeError("the parameters changed during the step")

    def _plan_of(self, params: list[Tensor], counts: list[int]) -> _Plan | None:
        """Returns the plan for these parameters in groups of so many, if there is one."""
        plan = self._plan
        if plan and plan.counts == counts and len(plan.params) == len(params) and all(map(is_, plan.params, params)):
            return plan
        self._plan = (self._plans or {}).get((*map(id, params), *counts))
        return self._plan

    def _new_plan(self, params: list[Tensor], grads: list[Tensor], excluded: frozenset[int]) -> _Plan:
        plans = self._plans = self._plans or {}
        plan = _Plan(self, [*params], excluded)
        if not plan.follow(self, grads):
            raise RuntimeError("the parameters changed during the step")
        key = (*map(id, params), *plan.counts)
        plans.pop(key, None)
        while len(plans) >= _PLANS:
            del plans[next(iter(plans))]
        self._plan = plans[key] = plan
        return plan


class _Plan:
    """All that a step on a set of parameters needs, and that the next one on it can use.

    The parameters are those that have a gradient, in the order of the groups. Their
    addresses are looked at in every step.
    """

    def __init__(self, optimizer: RMSprop, params: list[Tensor], excluded: frozenset[int]) -> None:
        self.library = library()
        number = self.library.c.kernel_optimizer_new()
        weakref.finalize(self, _free, self.library, number).atexit = False
        self.number = number
        self.params = params
        self.counts = [len(group["params"]) for group in optimizer.param_groups]
        self.excluded = excluded

        # torch makes the states, and raises what is wrong with a gradient, before
        # anything is written.
        groups = optimizer.param_groups
        of_groups: list[tuple[list[Tensor], ...]] = []
        complexes = []
        for group in groups:
            lists: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
            complexes.append(optimizer._init_group(group, *lists))
            of_groups.append(lists)
        self.states = list(optimizer.state.values())

        self.values = [_values(group) for group in groups]
        self.kinds = [_kind(values) for values in self.values]
        self.options = (Options * len(groups))()
        for i, values in enumerate(self.values):
            self._set_options(i, values)
        self.settings = Settings()
        self.health_check = getattr(
            optimizer, "_accelerator_graph_capture_health_check", None
        ) or optimizer._cuda_graph_capture_health_check  # until 2.7 or so

        # Divide the parameters between the kernel and torch.
        mine: list[int] = []  # places in params
        of_group: list[int] = []
        self.rest: list[tuple[dict, list[int], bool]] = []
        tensors: list[tuple[Tensor, ...]] = []
        place = 0
        for i, (group, lists) in enumerate(zip(groups, of_groups)):
            rest = []
            for p, grad in zip(lists[0], lists[1]):
                if grad.shape != p.shape:
                    raise ValueError(
                        f"param_groups[{i}]: a parameter of shape {tuple(p.shape)} has a grad of shape {tuple(grad.shape)}"
                    )
                found = None
                if self.kinds[i][-1] and place not in excluded:
                    found = _tensors(p, grad, optimizer.state[p], self.kinds[i])
                if found is None:
                    rest.append(place)
                else:
                    mine.append(place)
                    of_group.append(i)
                    tensors.append(found)
                place += 1
            if rest:
                self.rest.append((group, rest, complexes[i]))
        self.mine = mine
        self.select = None if len(mine) == len(params) else mine
        self.all_dicts = [optimizer.state[p] for p in params]
        self.dicts = [self.all_dicts[i] for i in mine]
        self.thetas = [params[i] for i in mine]
        self.distributed = any(type(p) not in _PLAIN for p in self.thetas)
        local = [t[0] for t in tensors]
        self.numels = [*map(Tensor.numel, local)]
        self.dtypes = [p.dtype for p in local]
        self.contiguous = all(map(Tensor.is_contiguous, local))
        self.strides = [*map(Tensor.stride, local)]
        complex_ = [p.is_complex() for p in local]
        self.any_complex = any(complex_)

        # The table of kernel_tensor: a row for each tensor.
        self.table = np.zeros((len(mine), _library.TENSOR_WORDS), np.int64)
        self.grad_column = self.table[:, _library.GRAD]
        self.grad_addresses: list[int] = []
        self.grads: list[Tensor] = []
        self.table[:, _library.LENGTH] = [n << c for n, c in zip(self.numels, complex_)]
        self.table[:, _library.OPTIONS] = of_group
        # What is to stay where it is: the parameters, then the columns of their states.
        self.watched = [*self.thetas]
        self.addresses = [*map(Tensor.data_ptr, local)]
        self.table[:, _library.THETA] = self.addresses
        self.columns: list[tuple[Callable, list[dict], list[Tensor]]] = []
        for name, column in (
            ("square_avg", _library.MEAN_SQUARE),
            ("grad_avg", _library.MEAN_GRAD),
            ("momentum_buffer", _library.MOMENTUM),
        ):
            self._add_column(name, column, [r for r, i in enumerate(of_group) if name in _state_names(self.kinds[i])])
        self.written = [*self.watched]
        if self.distributed:
            self.written += [p for p in local if type(p) in _PLAIN]
        counted = [r for r, d in enumerate(self.dicts) if _is_counter(d["step"])]
        self._add_column("step", _library.STEP, counted)
        self.uncounted = sorted(set(range(len(mine))) - set(counted))
        self.arguments = (
            number, ctypes.addressof(self.settings), ctypes.addressof(self.options), len(self.options),
            self.table.ctypes.data, len(mine), None,
        )  # fmt: skip

    def _add_column(self, name: str, column: int, rows: list[int]) -> None:
        dicts = [self.dicts[r] for r in rows]
        found = [d[name] for d in dicts]
        addresses = [_local(t).data_ptr() for t in found]
        self.table[rows, column] = addresses
        self.columns.append((itemgetter(name), dicts, found))
        self.watched += found
        self.addresses += addresses

    def _set_options(self, i: int, values: tuple) -> None:
        if not self.kinds[i][-1]:
            return  # no tensor refers to them
        o = self.options[i]
        o.lr, o.rho, o.eps, o.weight_decay, o.momentum, centered, maximize, *_ = values
        o.flags = _library.PYTORCH
        if centered:
            o.flags |= _library.CENTERED
        if maximize:
            o.flags |= _library.MAXIMIZE

    def follow(self, optimizer: RMSprop, grads: list[Tensor]) -> bool:
        """Takes over what may change from step to step. False: more has changed.

        Whatever is compared here could make a step read or write what is not its own.
        """
        if self.library is not _library._library:  # forked
            return False
        states = optimizer.state.values()
        if len(states) != len(self.states) or not all(map(is_, states, self.states)):
            return False
        for i, group in enumerate(optimizer.param_groups):
            values = _values(group)
            if values != self.values[i]:
                if _kind(values) != self.kinds[i]:
                    return False
                self.values[i] = values
                self._set_options(i, values)
        if any(grads[i].is_sparse for _, places, _ in self.rest for i in places):
            return False  # for torch's error
        if not self.mine:
            return True

        for get, dicts, tensors in self.columns:
            if not all(map(is_, map(get, dicts), tensors)):
                return False
        if self.select is not None:
            grads = [grads[i] for i in self.select]
        thetas, watched = self.thetas, self.watched
        if self.distributed:
            if not all(map(_alike, thetas, grads)):
                return False
            watched, grads = [*map(_local, watched)], [*map(_local, grads)]
            thetas = watched[: len(thetas)]
        if not _PLAIN.issuperset(map(type, grads)):
            return False
        try:
            if (
                [*map(Tensor.data_ptr, watched)] != self.addresses
                or [*map(Tensor.numel, thetas)] != self.numels
                or not self._in_order(thetas)
                or [*map(Tensor.numel, grads)] != self.numels
                or [*map(_dtype, grads)] != self.dtypes
            ):
                return False
            if (
                any(map(Tensor.is_neg, grads))
                or self.any_complex and any(map(Tensor.is_conj, grads))
                or not self._in_order(grads)
            ):
                grads = [*map(_like, grads, thetas)]
            addresses = [*map(Tensor.data_ptr, grads)]
        except RuntimeError:  # a sparse tensor, or another that has no address
            return False
        self.grads = grads  # kept until they were used: some are copies
        if addresses != self.grad_addresses:
            self.grad_addresses = addresses
            self.grad_column[:] = addresses
        return True

    def _in_order(self, tensors: list[Tensor]) -> bool:
        """Tells whether they lie in memory as the parameters did when the plan was made."""
        if self.contiguous:  # which takes less time to find out
            return all(map(Tensor.is_contiguous, tensors))
        return [*map(Tensor.stride, tensors)] == self.strides

    def run(self, grads: list[Tensor]) -> bool:
        """Takes the step. False: tensors share memory, and nothing was written."""
        if self.mine:
            self.settings.workers = torch.get_num_threads()
            code = self.library.c.kernel_step(*self.arguments, None, 0)
            if code != OK:
                if code == INVALID and self.overlapping():
                    return False
                # Once more for the message: nothing was written, and nothing will be.
                self.library.call(self.library.c.kernel_step, *self.arguments)
            self.grads = []
            _increment_version(self.written)
            for r in self.uncounted:
                self.dicts[r]["step"] += 1
        for group, places, has_complex in self.rest:
            self.health_check()
            self._leave_to_torch(group, places, [grads[i] for i in places], has_complex)
        return True

    def _leave_to_torch(self, group: dict, places: list[int], grads: list[Tensor], has_complex: bool) -> None:
        params = [self.params[i] for i in places]
        states = [self.all_dicts[i] for i in places]
        rmsprop(
            params,
            grads,
            [s["square_avg"] for s in states],
            [s["grad_avg"] for s in states] if group["centered"] else [],
            [s["momentum_buffer"] for s in states] if group["momentum"] > 0 else [],
            [s["step"] for s in states],
            has_complex=has_complex,
            **{
                name: group[name]
                for name in (
                    "foreach", "maximize", "differentiable", "capturable",
                    "lr", "alpha", "eps", "weight_decay", "momentum", "centered",
                )
            },
        )  # fmt: skip

    def overlapping(self) -> frozenset[int]:
        """Returns the places of the tensors that share memory with others, where one is written."""
        spans = []
        for row, place in zip(self.table.tolist(), self.mine):
            for column in range(_library.STEP):
                if row[column] and row[_library.LENGTH]:
                    spans.append((row[column], row[column] + 4 * row[_library.LENGTH], column != _library.GRAD, place))
        spans.sort()
        shared: set[int] = set()
        open_: list[tuple] = []
        for span in spans:
            open_ = [o for o in open_ if o[1] > span[0]]
            for other in open_:
                if other[2] or span[2]:
                    shared |= {other[3], span[3]}
            open_.append(span)
        return frozenset(shared)


def _free(of: Library, number: int) -> None:
    if of is _library._library:  # or its runtime is that of another process
        of.c.kernel_optimizer_free(number)


# ---- Groups ----

_NAMES = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize", "capturable", "differentiable")
_of_group = itemgetter(*_NAMES)


def _values(group: dict) -> tuple:
    values = _of_group(group)
    if isinstance(values[0], Tensor):
        values = (values[0].item(), *values[1:])
    return values


def _kind(values: tuple) -> tuple[bool, bool, bool]:
    """Returns whether there is a momentum, whether it is centered, and whether it is for the kernel."""
    lr, alpha, eps, weight_decay, momentum, centered, _, capturable, differentiable = values
    fits = (
        not capturable
        and not differentiable
        and 0 <= lr <= _MAX_RATE
        and 0 <= alpha <= 1
        and 0 <= eps <= _MAX_FLOAT32
        and 0 <= weight_decay <= _MAX_FLOAT32
        and 0 <= momentum < _BELOW_ONE
    )
    return momentum > 0, bool(centered), fits


def _state_names(kind: tuple[bool, bool, bool]) -> list[str]:
    momentum, centered, _ = kind
    return ["square_avg"] + ["momentum_buffer"] * momentum + ["grad_avg"] * centered


# ---- Tensors ----

_PLAIN = {Tensor, torch.nn.Parameter}
_dtype = attrgetter("dtype")


def _tensors(p: Tensor, grad: Tensor, state: dict, kind: tuple[bool, bool, bool]) -> tuple[Tensor, ...] | None:
    """Returns the local parts of a parameter, its gradient and its states, or None if they are not for the kernel."""
    names = _state_names(kind)
    whole = [p, grad, *[state[name] for name in names]]
    if not all(_alike(p, t) for t in whole):
        return None
    theta, *others = local = [*map(_local, whole)]
    for t in local:
        if type(t) not in _PLAIN or t.layout != torch.strided or not t.is_cpu:
            return None
        if t.dtype != theta.dtype or t.shape != theta.shape:
            return None
    if theta.dtype not in (torch.float32, torch.complex64) or not _dense(theta):
        return None
    for i, t in enumerate(local):
        if i != 1 and (t.is_neg() or t.is_conj() or t.data_ptr() % 4):
            return None
    for name, t in zip(names, others[1:]):
        if _order(t) != _order(theta):
            if t is not state[name]:
                return None
            state[name] = torch.empty_like(theta, requires_grad=False).copy_(t)
    return tuple(local)


def _dense(t: Tensor) -> bool:
    """Tells whether the elements are all of a piece of memory, each once."""
    want = 1
    for stride, size in sorted(_order(t)):
        if stride != want:
            return False
        want *= size
    return True


def _order(t: Tensor) -> list[tuple[int, int]]:
    """Returns the strides and sizes that matter."""
    if t.numel() == 0:
        return []
    return [(stride, size) for stride, size in zip(t.stride(), t.shape) if size != 1]


def _like(grad: Tensor, p: Tensor) -> Tensor:
    """Returns the gradient in the memory order of its parameter, a copy where it has to be."""
    if _order(grad) == _order(p) and not grad.is_neg() and not grad.is_conj():
        return grad
    return torch.empty_like(p, requires_grad=False).copy_(grad)


def _is_counter(step: Any) -> bool:
    return type(step) is Tensor and step.dtype == torch.float32 and step.is_cpu and step.dim() == 0


def _dtensor() -> Any:
    """Returns torch's DTensor if anything has imported it."""
    for name in ("torch.distributed.tensor", "torch.distributed._tensor"):
        found = getattr(sys.modules.get(name), "DTensor", None)
        if found is not None:
            return found
    return None


def _local(t: Any) -> Tensor:
    return t if type(t) in _PLAIN else t.to_local()


def _alike(p: Any, t: Any) -> bool:
    """Tells whether two tensors are distributed alike, or not at all."""
    if type(p) in _PLAIN:
        return type(t) in _PLAIN
    return type(p) is type(t) is _dtensor() and t.placements == p.placements and t.device_mesh == p.device_mesh


# ---- Versions ----


def _increment_each(tensors: list[Tensor]) -> None:
    for t in tensors:
        torch.autograd.graph.increment_version(t)


_increment_version: Callable[[list[Tensor]], None] = torch.autograd.graph.increment_version
try:
    _increment_version([torch.empty(0)])
except Exception:  # before 2.5 it takes one tensor
    _increment_version = _increment_each
