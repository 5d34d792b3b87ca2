"""The optimizer for PyTorch."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable
from functools import partial
from itertools import chain
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

_is_compiling = torch.compiler.is_compiling

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

    # What torch's own step begins with.
    _health_check = getattr(
        torch.optim.RMSprop, "_accelerator_graph_capture_health_check", None
    ) or torch.optim.RMSprop._cuda_graph_capture_health_check  # until 2.7 or so

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step, and returns what ``closure`` has.

        Args:
            closure: computes the loss and the gradients anew.
        """
        if _is_compiling() or self.defaults["differentiable"]:
            return _torch_step(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step()
        return loss

    # Where torch computes, it does under no_grad; to go under it in every step would
    # cost more than the checks of a tensor do.

    def _step(self) -> None:
        lists = [*map(_params_of, self.param_groups)]
        params = lists[0] if len(lists) == 1 else [*chain.from_iterable(lists)]
        grads = [*map(_grad_of, params)]
        if type(None) in map(type, grads):
            lists = [[p for p in params if p.grad is not None] for params in lists]
            params = [*chain.from_iterable(lists)]
            grads = [*map(_grad_of, params)]
        counts = [len(params)] if len(lists) == 1 else [*map(len, lists)]
        plan = self._plan
        if plan is None or plan.counts != counts or not all(map(is_, plan.params, params)):
            plan = self._plan = (self._plans or {}).get((*counts, *map(id, params)))
        if plan is None or not plan.follow(self, grads):
            plan = self._new_plan(params, grads, counts, frozenset())
        if not plan.run(self, grads):
            # Tensors that the kernel does not take go to torch, which takes one after the other.
            plan = self._new_plan(params, grads, counts, plan.excluded | plan.unfit())
            if not plan.run(self, grads):
                raise RuntimeError("the parameters changed during the step")

    @torch.no_grad()
    def _new_plan(
        self, params: list[Tensor], grads: list[Tensor], counts: list[int], excluded: frozenset[int]
    ) -> _Plan:
        plan = _Plan(self, [*params], counts, excluded)
        if not plan.follow(self, grads):
            raise RuntimeError("the parameters changed during the step")
        # Those that are of no use any more would keep their states in memory.
        plans = {key: other for key, other in (self._plans or {}).items() if other.knows(self.state)}
        key = (*counts, *map(id, params))
        plans.pop(key, None)
        while len(plans) >= _PLANS:
            del plans[next(iter(plans))]
        self._plans = plans
        self._plan = plans[key] = plan
        return plan


class _Plan:
    """All that a step on a set of parameters needs, and that the next one on it can use.

    The parameters are those that have a gradient, in the order of the groups, which have
    so many of them. Their addresses are looked at in every step.
    """

    def __init__(self, optimizer: RMSprop, params: list[Tensor], counts: list[int], excluded: frozenset[int]) -> None:
        self.library = library()
        number = self.library.c.kernel_optimizer_new()
        weakref.finalize(self, _free, self.library, number).atexit = False
        self.number = number
        self.params = params
        self.counts = counts
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

        self.values = [_values(group) for group in groups]
        self.kinds = [_kind(values) for values in self.values]
        self.options = (Options * len(groups))()
        for i, values in enumerate(self.values):
            self._set_options(i, values)
        self.settings = Settings()

        # Divide the parameters between the kernel and torch.
        mine: list[int] = []  # places in params
        of_group: list[int] = []
        self.rest: list[tuple[int, list[int], bool]] = []  # by group
        local: list[Tensor] = []
        place = 0
        for i, lists in enumerate(of_groups):
            rest = []
            for p, grad in zip(lists[0], lists[1]):
                if grad.shape != p.shape:
                    shapes = f"a parameter of shape {tuple(p.shape)} has a grad of shape {tuple(grad.shape)}"
                    raise ValueError(f"param_groups[{i}]: {shapes}")
                theta = None
                if self.kinds[i][-1] and place not in excluded:
                    theta = _theta(p, grad, optimizer.state[p], self.kinds[i])
                if theta is None:
                    rest.append(place)
                else:
                    mine.append(place)
                    of_group.append(i)
                    local.append(theta)
                place += 1
            if rest:
                self.rest.append((i, rest, complexes[i]))
        self.known = _values_of(optimizer.state)
        self.mine = mine
        self.select = None if len(mine) == len(params) else mine
        self.thetas = [params[i] for i in mine]
        self.distributed = any(type(p) not in _PLAIN for p in self.thetas)
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
        numels = [*map(Tensor.numel, local)]
        self.table[:, _library.LENGTH] = [n << c for n, c in zip(numels, complex_)]
        self.table[:, _library.OPTIONS] = of_group
        # What is to stay where it is: the parameters, then the columns of their states.
        self.watched = [*self.thetas]
        self.addresses = [*map(Tensor.data_ptr, local)]
        self.table[:, _library.THETA] = self.addresses
        states = [optimizer.state[p] for p in self.thetas]
        for name, column in (
            ("square_avg", _library.MEAN_SQUARE),
            ("grad_avg", _library.MEAN_GRAD),
            ("momentum_buffer", _library.MOMENTUM),
        ):
            rows = [r for r, i in enumerate(of_group) if name in _state_names(self.kinds[i])]
            self._add_column(column, rows, [states[r][name] for r in rows])
        # How large these are, and the gradients after them.
        self.arrays = len(self.watched)
        self.numels = [*map(Tensor.numel, _locals(self.watched)), *numels]
        self.written = [*self.watched]
        if self.distributed:
            self.written += [p for p in local if type(p) in _PLAIN]
        counted = [r for r, s in enumerate(states) if _is_counter(s["step"])]
        self._add_column(_library.STEP, counted, [states[r]["step"] for r in counted])
        self.uncounted = [self.thetas[r] for r in sorted(set(range(len(mine))) - set(counted))]

        # Calls take what they pass as C has it: to convert it each time takes as long as
        # a small step.
        function = self.library.c["kernel_step"]  # one of its own, without argtypes
        function.restype = self.library.c.kernel_step.restype
        self.message = _library.message_buffer()
        arguments = (
            number, ctypes.addressof(self.settings), ctypes.addressof(self.options), len(self.options),
            self.table.ctypes.data, len(mine), None, self.message, len(self.message),
        )  # fmt: skip
        types = self.library.c.kernel_step.argtypes
        self.call = partial(function, *(t.from_param(a) for t, a in zip(types, arguments, strict=True)))

    def _add_column(self, column: int, rows: list[int], tensors: list[Tensor]) -> None:
        addresses = [*map(Tensor.data_ptr, _locals(tensors))]
        self.table[rows, column] = addresses
        self.watched += tensors
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

    def knows(self, state: dict) -> bool:
        """Tells whether the states are still the ones that it was made for."""
        found = _values_of(state)
        return len(found) == len(self.known) and all(map(is_, found, self.known))

    def follow(self, optimizer: RMSprop, grads: list[Tensor]) -> bool:
        """Takes over what may change from step to step. False: more has changed.

        Whatever is compared here could make a step read or write what is not its own.
        """
        if self.library is not _library._library:  # forked
            return False
        if not self.knows(optimizer.state):
            return False
        for i, group in enumerate(optimizer.param_groups):
            values = _values(group)
            if values != self.values[i]:
                if _kind(values) != self.kinds[i]:
                    return False
                self.values[i] = values
                self._set_options(i, values)
        if self.rest and any(grads[i].is_sparse for _, places, _ in self.rest for i in places):
            return False  # for torch's error
        if not self.mine:
            return True

        if self.select is not None:
            grads = [grads[i] for i in self.select]
        thetas, watched = self.thetas, self.watched
        if self.distributed:
            if not all(map(_alike, thetas, grads)):
                return False
            watched, grads = _locals(watched), _locals(grads)
            thetas = watched[: len(thetas)]
        if not _PLAIN.issuperset(map(type, grads)):
            return False
        try:
            if (
                [*map(Tensor.data_ptr, watched)] != self.addresses
                or [*map(Tensor.numel, watched[: self.arrays] + grads)] != self.numels
                or [*map(_dtype_of, grads)] != self.dtypes
            ):
                return False
            if (
                not self._in_order(thetas + grads)
                or any(map(Tensor.is_neg, grads))
                or self.any_complex
                and any(map(Tensor.is_conj, grads))
            ):
                if not self._in_order(thetas):
                    return False
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
        return [*map(Tensor.stride, tensors)] == self.strides * (len(tensors) // len(self.strides))

    def run(self, optimizer: RMSprop, grads: list[Tensor]) -> bool:
        """Takes the step. False: some tensors are unfit for the kernel, and nothing was written."""
        if self.mine:
            self.settings.workers = torch.get_num_threads()
            code = self.call()
            if code != OK:
                if code == INVALID and self.unfit():
                    return False
                _library.check(code, self.message)
            self.grads = []
            _increment_version(self.written)
        if self.uncounted or self.rest:
            self._leave_to_torch(optimizer, grads)
        return True

    @torch.no_grad()
    def _leave_to_torch(self, optimizer: RMSprop, grads: list[Tensor]) -> None:
        """Counts the steps of tensors whose counter is none for C, and takes those of the rest."""
        for p in self.uncounted:
            optimizer.state[p]["step"] += 1
        if self.rest:
            optimizer._health_check()
        for of_group, places, has_complex in self.rest:
            group = optimizer.param_groups[of_group]
            params = [self.params[i] for i in places]
            states = [optimizer.state[p] for p in params]
            rmsprop(
                params,
                [grads[i] for i in places],
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

    def unfit(self) -> frozenset[int]:
        """Returns the places of the tensors that the kernel refuses.

        They share memory with others, where one is written, or their gradient is not aligned.
        """
        found: set[int] = set()
        spans = []
        for row, place in zip(self.table.tolist(), self.mine):
            if row[_library.GRAD] % 4:
                found.add(place)
            for column in range(_library.STEP):
                if row[column] and row[_library.LENGTH]:
                    spans.append((row[column], row[column] + 4 * row[_library.LENGTH], column != _library.GRAD, place))
        spans.sort()
        open_: list[tuple] = []
        for span in spans:
            open_ = [o for o in open_ if o[1] > span[0]]
            for other in open_:
                if other[2] or span[2]:
                    found |= {other[3], span[3]}
            open_.append(span)
        return frozenset(found)


def _free(of: Library, number: int) -> None:
    if of is _library._library:  # or its runtime is that of another process
        of.c.kernel_optimizer_free(number)


# ---- Groups ----

_NAMES = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize", "capturable", "differentiable")
_of_group = itemgetter(*_NAMES)
_params_of = itemgetter("params")


def _values(group: dict) -> tuple:
    values = _of_group(group)
    if type(values[0]) is not float and isinstance(values[0], Tensor):
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
_grad_of = attrgetter("grad")
_dtype_of = attrgetter("dtype")


def _values_of(state: dict) -> list[Any]:
    """Returns all that the states of an optimizer have."""
    return [*chain.from_iterable(map(dict.values, state.values()))]


def _theta(p: Tensor, grad: Tensor, state: dict, kind: tuple[bool, bool, bool]) -> Tensor | None:
    """Returns the local part of a parameter, or None if it is not for the kernel.

    States in another memory order are put into the parameter's.
    """
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
    return theta


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


@torch.no_grad()
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


@torch.no_grad()
def _locals(tensors: list[Any]) -> list[Tensor]:
    return [*map(_local, tensors)]


def _alike(p: Any, t: Any) -> bool:
    """Tells whether two tensors are distributed alike, or not at all."""
    if type(p) in _PLAIN:
        return type(t) in _PLAIN
    return type(p) is type(t) is _dtensor() and t.placements == p.placements and t.device_mesh == p.device_mesh


# ---- Versions ----


def _increment_each(tensors: list[Tensor]) -> None:
    for t in tensors:
        torch.autograd.graph.increment_version(t)


# Not by way of torch.autograd.graph, which takes as long again to find out that it is a list.
_increment_version: Callable[[list[Tensor]], None] = torch._C._increment_version
try:
    _increment_version([torch.empty(0)])
except Exception:  # before 2.5 it takes one tensor
    _increment_version = _increment_each
