"""What the optimizers for PyTorch have in common: they take the place of torch's.

A class names its options and states (:class:`Formula`). Everything else is here: groups,
closures, memory orders, complex and distributed tensors, threads and forks.
"""

from __future__ import annotations

import ctypes
import math
import sys
import weakref
from collections.abc import Callable
from functools import partial
from itertools import chain
from operator import attrgetter, is_, itemgetter
from threading import RLock
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from . import _library
from ._library import INVALID, OK, Library, Options, Report, Settings, library

T = TypeVar("T")

_is_compiling = torch.compiler.is_compiling

MAX_RATE = 2.0**64
MAX_FLOAT32 = 3.4028234663852886e38
BELOW_ONE = 1 - 2.0**-25  # a share from here on is 1 in float32
_PLANS = 8  # sets of parameters that an optimizer remembers


class Placement(NamedTuple):
    """Where a step computes a parameter: see :meth:`Fused.placement`."""

    group: int  # which of param_groups
    param: int  # which of the group's params
    shape: tuple[int, ...]
    dtype: torch.dtype
    kernel: bool  # False: torch
    reason: str  # why torch; empty for the kernel


class Reading(NamedTuple):
    """The options of a group, as the kernel takes them."""

    numbers: dict[str, float]  # fields of kernel_options
    flags: int
    states: tuple[tuple[str, int], ...]  # names in optimizer.state, and their columns of kernel_tensor
    reason: str  # why the group is torch's; empty for the kernel
    ours: tuple[str, ...]  # the options that torch does not have and that are on


COMMON = ("loss_scale", "clip_norm", "skip_nonfinite")  # options of ours that concern all groups together
_OFF = {"loss_scale": (None, 1)}  # what an option is when it is off: by default None or False


def _is_on(name: str, value: Any) -> bool:
    return value not in _OFF.get(name, (None, False))


class Formula:
    """What is different from optimizer to optimizer."""

    torchs: tuple[str, ...]  # the options of a group that a step goes by, without foreach
    ours: tuple[str, ...] = COMMON  # those that torch does not have: off if a group does not have them
    by_step = False  # whether the kernel goes by a tensor's counter of steps


    def __init__(self) -> None:
        self.names = self.torchs + self.ours
        self.of_group: Callable[[dict[str, Any]], tuple[Any, ...]] = itemgetter(*self.torchs)

    def read(self, values: dict[str, Any]) -> Reading:
        """Returns what the values mean: floats and bools, with NaN for what is neither."""
        raise NotImplementedError

    def ours_that_are_on(self, values: dict[str, Any]) -> tuple[str, ...]:
        return tuple(name for name in self.ours if _is_on(name, values[name]))

    def init_group(self, optimizer: Any, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> bool:
        """Makes a group's missing states, as torch does it. Adds to params and grads, and reports whether one is complex."""
        has_complex: bool = optimizer._init_group(group, params, grads, [], [], [], [])
        return has_complex

    def leave_to_torch(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[Any], has_complex: bool
    ) -> None:
        """Takes torch's own step, without what is around it."""
        raise NotImplementedError


def without_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns what torch's step does itself. The hooks around it run around our step already."""
    while getattr(step, "hooked", False):
        step = step.__wrapped__  # type: ignore[attr-defined]
    return step


class Fused(torch.optim.Optimizer):
    """A base of classes that derive from an optimizer of torch after it.

    Such a class sets ``_formula`` and ``_torch_step``, the step of torch's without its hooks.
    """

    _formula: Formula
    _torch_step: Callable[..., Any]
    _session: _Session | None = None

    # What torch's own steps begin with.
    _health_check: Callable[..., Any] = getattr(
        torch.optim.Optimizer, "_accelerator_graph_capture_health_check", None
    ) or getattr(torch.optim.Optimizer, "_cuda_graph_capture_health_check")  # until 2.7 or so

    grad_norm: float | None = None
    """The norm of all gradients of the last step, over loss_scale; None unless
    clip_norm or skip_nonfinite is on."""

    skipped: bool = False
    """Whether the last step was skipped: it wrote nothing."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], T]) -> T: ...

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step, and returns what ``closure`` returns.

        Args:
            closure: computes the loss and the gradients again.
        """
        if _is_compiling() or self.defaults["differentiable"]:
            self._refuse_ours("a step that is differentiable or compiled")
            return self._torch_step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step()
        return loss

    def placement(self) -> list[Placement]:
        """Returns for each parameter whether its step is the kernel's or torch's, and why.

        It goes by the options, gradients and states as they are now, and changes
        nothing. A parameter without a gradient is judged as if it had a dense one.
        """
        return _placement(self)

    def _add_defaults(self, **ours: Any) -> None:
        """Adds options that torch does not have to the groups, if they are on."""
        self._check_common(ours)
        on = {name: value for name, value in ours.items() if _is_on(name, value)}
        self.defaults.update(on)
        for group in self.param_groups:
            for name, value in on.items():
                group.setdefault(name, value)
        if self.defaults["differentiable"]:
            self._refuse_ours("a step that is differentiable")

    @staticmethod
    def _check_common(ours: dict[str, Any]) -> None:
        loss_scale, clip_norm = ours.get("loss_scale"), ours.get("clip_norm")
        if loss_scale is not None and not 2.0**-126 <= loss_scale <= 2.0**126:
            raise ValueError(f"Invalid loss_scale value: {loss_scale}")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"Invalid clip_norm value: {clip_norm}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name in self._formula.ours:
                if name in self.defaults:
                    group.setdefault(name, self.defaults[name])

    def _common(self, name: str) -> Any:
        group = self.param_groups[0] if self.param_groups else self.defaults
        return group.get(name)

    def _set_common(self, name: str, value: Any) -> None:
        self._check_common({name: value})
        for group in (self.defaults, *self.param_groups):
            if _is_on(name, value):
                group[name] = value
            else:
                group.pop(name, None)

    @property
    def loss_scale(self) -> float:
        """What the loss was multiplied by, and the gradients are divided by."""
        scale = self._common("loss_scale")
        return 1.0 if scale is None else float(scale)

    @loss_scale.setter
    def loss_scale(self, value: float) -> None:
        self._set_common("loss_scale", value)

    @property
    def clip_norm(self) -> float | None:
        """The limit of the norm of all gradients together, or None."""
        limit = self._common("clip_norm")
        return None if limit is None else float(limit)

    @clip_norm.setter
    def clip_norm(self, value: float | None) -> None:
        self._set_common("clip_norm", value)

    @property
    def skip_nonfinite(self) -> bool:
        """Whether a step with a NaN or an infinity in a gradient is skipped."""
        return bool(self._common("skip_nonfinite"))

    @skip_nonfinite.setter
    def skip_nonfinite(self, value: bool) -> None:
        self._set_common("skip_nonfinite", value)

    def _refuse_ours(self, what: str) -> None:
        for i, group in enumerate(self.param_groups):
            ours = _reading(self._formula, _values(self._formula, group)).ours
            if ours:
                raise RuntimeError(f"param_groups[{i}]: {what} is left to torch, which has no {', '.join(ours)}")

    # Where torch computes, it does under no_grad; to go under it in every step would
    # cost more than the checks of a tensor do.

    def _step(self) -> None:
        session = self._session
        if session is None or session.library is not library():
            session = self._new_session()
        with session.lock:
            if session.busy:  # a step within a step, as in the handler of a signal: a session of its own
                session = _Session(session.library)
            session.busy = True
            try:
                self._step_in(session)
            finally:
                session.busy = False

    def _new_session(self) -> _Session:
        current = library()
        with _library.lock():
            session = self._session
            if session is None or session.library is not current:
                session = self._session = _Session(current)
            return session

    def _step_in(self, session: _Session) -> None:
        lists = [*map(_params_of, self.param_groups)]
        params = lists[0] if len(lists) == 1 else [*chain.from_iterable(lists)]
        grads = [*map(_grad_of, params)]
        if type(None) in map(type, grads):
            have = iter([g is not None for g in grads])
            lists = [[p for p in of_group if next(have)] for of_group in lists]
            params = [*chain.from_iterable(lists)]
            grads = [g for g in grads if g is not None]
        counts = [len(params)] if len(lists) == 1 else [*map(len, lists)]
        plan = session.plan
        if plan is None or plan.counts != counts or not all(map(is_, plan.params, params)):
            plan = session.plan = session.plans.get((*counts, *map(id, params)))
        if plan is None or not plan.follow(self, grads):
            plan = self._new_plan(session, params, grads, counts, frozenset())
        if not plan.run(self, grads):
            # Tensors that the kernel does not take go to torch, which takes one after the other.
            plan = self._new_plan(session, params, grads, counts, plan.excluded | plan.unfit())
            if not plan.run(self, grads):
                raise RuntimeError("the parameters changed during the step")

    @torch.no_grad()
    def _new_plan(
        self,
        session: _Session,
        params: list[Tensor],
        grads: list[Tensor],
        counts: list[int],
        excluded: frozenset[int],
    ) -> _Plan:
        plan = _Plan(session.library, self, [*params], grads, counts, excluded)
        if not plan.follow(self, grads):
            raise RuntimeError("the parameters changed during the step")
        # Those that are of no use any more would keep their states in memory.
        plans = {key: other for key, other in session.plans.items() if other.knows(self.state)}
        key = (*counts, *map(id, params))
        plans.pop(key, None)
        while len(plans) >= _PLANS:
            del plans[next(iter(plans))]
        session.plans = plans
        session.plan = plans[key] = plan
        return plan


class _Session:
    """What an optimizer knows in one process. One thread at a time has it.

    C reads a plan's table and the memory of its tensors without the GIL: another thread's
    step must not change the one or free the other.
    """

    def __init__(self, of: Library) -> None:
        self.library = of
        self.lock = RLock()
        self.busy = False
        self.plans: dict[tuple[int, ...], _Plan] = {}  # by their parameters
        self.plan: _Plan | None = None  # the last one


class _Plan:
    """All that a step on a set of parameters needs, and that the next one on it can use.

    The parameters are those that have a gradient, in the order of the groups, with the
    number of each group's. Every step compares their addresses.
    """

    def __init__(
        self,
        of: Library,
        optimizer: Fused,
        params: list[Tensor],
        grads: list[Tensor],
        counts: list[int],
        excluded: frozenset[int],
    ) -> None:
        self.library = of
        self.params = params
        self.counts = counts
        self.excluded = excluded

        # torch makes the states, and raises what is wrong with a gradient, before
        # anything is written.
        groups = optimizer.param_groups
        formula = self.formula = optimizer._formula
        self.values = [_values(formula, group) for group in groups]
        self.readings = [_reading(formula, values) for values in self.values]
        self.copies = [*map(_plain_copy, groups)]
        self.options = (Options * len(groups))()
        for i, reading in enumerate(self.readings):
            self._set_options(i, reading)
        tables = _tables(counts, params, grads, self.readings)
        complexes = _init_groups(formula, optimizer, counts, params, grads, tables, self.readings)
        self.settings = Settings()
        self.report = Report()
        self._set_common(optimizer)

        # Divide the parameters between the kernel and torch.
        mine: list[int] = []  # places in params
        of_group: list[int] = []
        self.rest: list[tuple[int, list[int], bool]] = []  # by group
        local: list[Tensor] = []
        place = 0
        for i, count in enumerate(counts):
            rest = []
            reading = self.readings[i]
            for place in range(place, place + count):
                p, grad = params[place], grads[place]
                if grad.shape != p.shape:
                    shapes = f"a parameter of shape {tuple(p.shape)} has a grad of shape {tuple(grad.shape)}"
                    raise ValueError(f"param_groups[{i}]: {shapes}")
                reason = reading.reason
                if place in excluded:
                    reason = _SHARED
                if not reason:
                    dense = None if place in tables else grad
                    found = _theta(p, dense, optimizer.state[p], [name for name, _ in reading.states])
                    if isinstance(found, str):
                        reason = found
                    elif formula.by_step and not _is_counter(optimizer.state[p]["step"]):
                        reason = _NO_COUNTER
                    else:
                        mine.append(place)
                        of_group.append(i)
                        local.append(found)
                if reason:
                    rest.append(place)
                    if place in tables:
                        raise RuntimeError(f"param_groups[{i}]: a sparse gradient is for the kernel alone: {reason}")
                    _check_alone(i, p, reason, reading.ours)
                elif _is_distributed(p) and self.reports:
                    raise ValueError(
                        f"param_groups[{i}]: a distributed parameter of shape {tuple(p.shape)}: clip_norm and "
                        "skip_nonfinite would go by this rank's part of the gradients alone"
                    )
            place += bool(count)
            if rest:
                self.rest.append((i, rest, complexes[i]))
        self.known = _values_of(optimizer.state)
        self.mine = mine
        self.tables = [r for r, place in enumerate(mine) if place in tables]
        self.select = None if len(mine) == len(params) else mine
        self.thetas = [params[i] for i in mine]
        self.distributed = any(map(_is_distributed, self.thetas))
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
        for r in self.tables:
            self.table[r, _library.WIDTH] = math.prod(local[r].shape[1:])
        # What is to stay where it is: the parameters, then their states.
        self.watched = [*self.thetas]
        self.addresses = [*map(Tensor.data_ptr, local)]
        self.table[:, _library.THETA] = self.addresses
        states = [optimizer.state[p] for p in self.thetas]
        self.states: list[tuple[Tensor, str, Any]] = []  # whose, its name, and what it was
        for name, column in dict.fromkeys(chain.from_iterable(r.states for r in self.readings)):
            rows = [r for r, i in enumerate(of_group) if (name, column) in self.readings[i].states]
            self._add_column(name, column, rows, states)
        # How large these are, and the gradients after them.
        self.arrays = len(self.watched)
        self.numels = [*map(Tensor.numel, _locals(self.watched)), *numels]
        self.written = [*self.watched]
        if self.distributed:
            self.written += [p for p in local if type(p) in _PLAIN]
        counted = [r for r, s in enumerate(states) if _is_counter(s["step"])]
        self._add_column("step", _library.STEP, counted, states)
        self.uncounted = [self.thetas[r] for r in sorted(set(range(len(mine))) - set(counted))]

        number = of.c.kernel_optimizer_new()
        weakref.finalize(self, of.c.kernel_optimizer_free, number).atexit = False
        self.number = number
        # Calls take what they pass as C has it: to convert it each time takes as long as
        # a small step.
        function = of.c["kernel_step"]  # one of its own, without argtypes
        function.restype = of.c.kernel_step.restype
        self.message = _library.message_buffer()
        arguments = (
            number, ctypes.addressof(self.settings), ctypes.addressof(self.options), len(self.options),
            self.table.ctypes.data, len(mine), ctypes.addressof(self.report), self.message, len(self.message),
        )  # fmt: skip
        types = of.c.kernel_step.argtypes
        self.call = partial(function, *(t.from_param(a) for t, a in zip(types, arguments, strict=True)))

    def _add_column(self, name: str, column: int, rows: list[int], states: list[Any]) -> None:
        tensors = [states[r][name] for r in rows]
        self.states += [(self.thetas[r], name, t) for r, t in zip(rows, tensors)]
        addresses = [*map(Tensor.data_ptr, _locals(tensors))]
        self.table[rows, column] = addresses
        self.watched += tensors
        self.addresses += addresses

    def _set_options(self, i: int, reading: Reading) -> None:
        o = self.options[i]
        if reading.reason:
            return  # no tensor refers to them
        for name, number in reading.numbers.items():
            setattr(o, name, number)
        o.flags = reading.flags

    def _set_common(self, optimizer: Fused) -> None:
        """Sets what all groups have in common."""
        first, *others = (values[-len(COMMON) :] for values in self.values)
        for i, values in enumerate(others, 1):
            for name, value, want in zip(COMMON, values, first):
                if value != want:
                    raise ValueError(
                        f"param_groups[{i}][{name!r}] = {value}, param_groups[0][{name!r}] = {want}: must be equal"
                    )
        loss_scale, clip_norm, skip = first
        self.settings.loss_scale = loss_scale or 0
        self.settings.clip_norm = clip_norm or 0
        self.settings.flags = _library.SKIP_NON_FINITE if skip else 0
        self.reports = bool(clip_norm or skip)
        if not self.reports:
            optimizer.grad_norm, optimizer.skipped = None, False

    def knows(self, state: dict[Any, Any]) -> bool:
        """Reports whether the states are still the ones that it was made for."""
        found = _values_of(state)
        if len(found) == len(self.known) and all(map(is_, found, self.known)):
            return True
        # Something else may have changed: another parameter's, or what torch does not know.
        for p, name, value in self.states:
            of_p = state.get(p)
            if not isinstance(of_p, dict) or of_p.get(name) is not value:
                return False
        if self.rest or self.uncounted:
            for p in self.params:
                if p not in state:
                    return False
        self.known = found
        return True

    def follow(self, optimizer: Fused, grads: list[Tensor]) -> bool:
        """Takes over what may change from step to step. False: more has changed.

        Whatever is compared here could make a step read or write what is not its own.
        """
        if not self.knows(optimizer.state):
            return False
        changed = False
        for i, group in enumerate(optimizer.param_groups):
            try:
                if group == self.copies[i]:
                    continue
            except Exception:  # arrays and tensors are not merely equal or not
                pass
            self.copies[i] = _plain_copy(group)
            values = _values(self.formula, group)
            if values != self.values[i]:
                before, reading = self.readings[i], _reading(self.formula, values)
                if (before.states, before.reason, before.ours) != (reading.states, reading.reason, reading.ours):
                    return False
                self.values[i], self.readings[i] = values, reading
                self._set_options(i, reading)
                changed = True
        if changed:
            self._set_common(optimizer)
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
        sparse: list[tuple[int, Tensor, Tensor]] = []
        if self.tables:
            grads = [*grads]
            for r in self.tables:
                grad = grads[r]
                if _why_no_table(thetas[r], grad):
                    return False
                # A table has no dense gradient: the check below sees its parameter instead.
                grads[r] = thetas[r]
                sparse.append((r, grad._values().detach().resolve_neg().contiguous(), grad._indices().contiguous()))
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
        for r, of_rows, indices in sparse:
            addresses[r] = of_rows.data_ptr()
            self.table[r, _library.ROWS :] = indices.data_ptr(), indices.shape[1]
            self.grads += [of_rows, indices]
        if addresses != self.grad_addresses:
            self.grad_addresses = addresses
            self.grad_column[:] = addresses
        return True

    def _in_order(self, tensors: list[Tensor]) -> bool:
        """Reports whether they lie in memory as the parameters did when the plan was made."""
        if self.contiguous:  # which takes less time to find out
            return all(map(Tensor.is_contiguous, tensors))
        return [*map(Tensor.stride, tensors)] == self.strides * (len(tensors) // len(self.strides))

    def run(self, optimizer: Fused, grads: list[Tensor]) -> bool:
        """Takes the step. False: some tensors are unfit for the kernel, and nothing was written."""
        if self.mine:
            self.settings.workers = torch.get_num_threads()
            code = self.call()
            if code != OK:
                if code == INVALID and self.unfit():
                    return False
                _library.check(code, self.message)
            self.grads = []
            if self.reports:
                optimizer.grad_norm, optimizer.skipped = self.report.norm, bool(self.report.skipped)
                if optimizer.skipped:
                    return True
            _increment_version(self.written)
        if self.uncounted or self.rest:
            self._leave_to_torch(optimizer, grads)
        return True

    @torch.no_grad()
    def _leave_to_torch(self, optimizer: Fused, grads: list[Tensor]) -> None:
        """Counts the steps of tensors whose counter is none for C, and takes those of the rest."""
        for p in self.uncounted:
            optimizer.state[p]["step"] += 1
        if self.rest:
            optimizer._health_check()
        for of_group, places, has_complex in self.rest:
            params = [self.params[i] for i in places]
            states = [optimizer.state[p] for p in params]
            of_places = [grads[i] for i in places]
            self.formula.leave_to_torch(optimizer.param_groups[of_group], params, of_places, states, has_complex)

    def unfit(self) -> frozenset[int]:
        """Returns the places of the tensors that the kernel refuses.

        They share memory with others of which one is written, or their gradient is not aligned.
        """
        odd = {place for row, place in zip(self.table.tolist(), self.mine) if row[_library.GRAD] % 4}
        spans = []
        for row, place in zip(self.table.tolist(), self.mine):
            for column in range(_library.STEP):
                length = row[_library.LENGTH]
                if column == _library.GRAD and row[_library.WIDTH]:
                    length = row[_library.WIDTH] * row[_library.ROWS_COUNT]
                spans.append((row[column], row[column] + 4 * length, column != _library.GRAD, place))
        return frozenset(odd | _overlapping(spans))


def _tables(
    counts: list[int], params: list[Tensor], grads: list[Tensor], readings: list[Reading]
) -> frozenset[int]:
    """Returns the places of the parameters whose gradient is sparse and that the kernel takes."""
    if not any(g.is_sparse for g in grads):
        return frozenset()
    of_places = chain.from_iterable([reading] * count for reading, count in zip(readings, counts))
    return frozenset(
        place
        for place, (p, grad, reading) in enumerate(zip(params, grads, of_places))
        if grad.is_sparse and not reading.reason and not _why_no_table(p, grad)
    )


def _why_no_table(p: Tensor, grad: Tensor) -> str:
    """Returns why the kernel does not take a sparse gradient, or nothing."""
    if type(p) not in _PLAIN or type(grad) not in _PLAIN or not p.is_cpu or not grad.is_cpu:
        return "a sparse gradient is for plain tensors of the CPU"
    if grad.layout != torch.sparse_coo or grad.sparse_dim() != 1 or grad.shape != p.shape:
        return "a sparse gradient must hold whole rows (torch.sparse_coo with sparse_dim() 1)"
    if p.dtype != torch.float32 or grad.dtype != torch.float32 or not p.is_contiguous() or not p.numel():
        return "a parameter with a sparse gradient must be contiguous torch.float32, and not empty"
    return ""


def _init_groups(
    formula: Formula,
    optimizer: Any,
    counts: list[int],
    params: list[Tensor],
    grads: list[Tensor],
    tables: frozenset[int],
    readings: list[Reading],
) -> list[bool]:
    """Makes the missing states, and returns for each group whether it has a complex parameter.

    torch makes them for all but the tables, and raises what is wrong with a gradient.
    """
    complexes = []
    place = 0
    for group, reading, count in zip(optimizer.param_groups, readings, counts):
        lists: tuple[list[Tensor], list[Tensor]] = ([], [])
        places = range(place, place + count)
        place += count
        of_group = [i for i in places if i not in tables]
        if len(of_group) == count:
            has_complex = formula.init_group(optimizer, group, *lists)
        else:
            has_complex = formula.init_group(optimizer, {**group, "params": [params[i] for i in of_group]}, *lists)
            for i in tables.intersection(places):
                p, state = params[i], optimizer.state[params[i]]
                if len(state) == 0:
                    state["step"] = torch.zeros(())
                    for name, _ in reading.states:
                        state[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        complexes.append(has_complex)
        for mine, torchs in ((params, lists[0]), (grads, lists[1])):
            if len(torchs) != len(of_group) or not all(map(is_, torchs, (mine[i] for i in of_group))):
                raise RuntimeError("the parameters changed during the step")
    return complexes


def _overlapping(spans: list[tuple[int, int, bool, int]]) -> set[int]:
    """Returns the owners of spans that share memory if one of two is written: (start, end, written, owner)."""
    found: set[int] = set()
    open_: list[tuple[int, int, bool, int]] = []
    for span in sorted(span for span in spans if span[0] and span[0] < span[1]):
        open_ = [o for o in open_ if o[1] > span[0]]
        for other in open_:
            if other[2] or span[2]:
                found |= {other[3], span[3]}
        open_.append(span)
    return found


def _check_alone(i: int, p: Tensor, reason: str, ours: tuple[str, ...]) -> None:
    """Raises if a parameter is torch's though options are on that torch does not have."""
    if ours:
        raise ValueError(
            f"param_groups[{i}]: a parameter of shape {tuple(p.shape)} is left to torch, "
            f"which has no {', '.join(ours)}: {reason}"
        )


# ---- Groups ----

_params_of = itemgetter("params")

_PLAIN_VALUES = frozenset({float, int, bool, type(None)})
_PLAIN_OR_TUPLE = _PLAIN_VALUES | {tuple}


def _values(formula: Formula, group: dict[str, Any]) -> tuple[Any, ...]:
    """Returns the options of a group by their values: a tensor or an array may change in place."""
    values = (*formula.of_group(group), *map(group.get, formula.ours))
    if _PLAIN_VALUES.issuperset(map(type, values)):
        return values
    return tuple(map(_plain, values))


def _plain(value: Any) -> float | None:
    """Returns a number, NaN for anything that is none."""
    if value is None or isinstance(value, (bool, int, float)) and type(value) in _PLAIN_VALUES:
        return value
    try:
        if isinstance(value, Tensor):
            return float(value.item())
        return math.nan if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan


def _plain_copy(group: dict[str, Any]) -> dict[str, Any] | None:
    """Returns a copy that shows whether anything changes, or None if a value may change in place."""
    values = [value for name, value in group.items() if name != "params"]
    within = chain.from_iterable(value for value in values if type(value) is tuple)  # betas
    plain = _PLAIN_OR_TUPLE.issuperset(map(type, values)) and _PLAIN_VALUES.issuperset(map(type, within))
    return dict(group) if plain else None


def _reading(formula: Formula, values: tuple[Any, ...]) -> Reading:
    return formula.read(dict(zip(formula.names, values)))


# ---- Tensors ----

_PLAIN = {Tensor, torch.nn.Parameter}
_grad_of = attrgetter("grad")
_dtype_of = attrgetter("dtype")
_SHARED = "it shares memory with another tensor, or its gradient is not aligned"
_NO_COUNTER = "its step is not a torch.float32 number on the CPU"


def _values_of(state: dict[Any, Any]) -> list[Any]:
    """Returns all that the states of an optimizer have."""
    try:
        return [*chain.from_iterable(map(dict.values, state.values()))]
    except TypeError:  # some are no dicts: someone else's
        return [*chain.from_iterable(s.values() for s in state.values() if isinstance(s, dict))]


def _theta(p: Tensor, grad: Tensor | None, state: Any, names: list[str], move: bool = True) -> Tensor | str:
    """Returns the local part of a parameter, or why it is not for the kernel.

    States in another memory order are put into the parameter's, if move says so.
    """
    if not isinstance(state, dict):
        return f"its state is a {type(state).__name__}, not a dict"
    names = [name for name in names if move or name in state]
    whole: dict[str, Any] = {"it": p, **({} if grad is None else {"its gradient": grad})}
    whole |= {f"its {name}": state[name] for name in names}
    local: dict[str, Tensor] = {}
    for name, t in whole.items():
        if not isinstance(t, Tensor):
            return f"{name} is a {type(t).__name__}"
        if not _alike(p, t):
            odd = p if type(p) not in _PLAIN and type(p) is not _dtensor() else t
            return f"{name} is a {type(odd).__name__}" + (", distributed otherwise than it" if odd is t else "")
        local[name] = t = _local(t)
        if type(t) not in _PLAIN:
            return f"{name} is a {type(t).__name__}"
        if t.layout != torch.strided:
            return f"{name} is of layout {t.layout}"
        if not t.is_cpu:
            return f"{name} is on {t.device}"
        theta = local["it"]
        if theta.dtype not in (torch.float32, torch.complex64):
            return f"it is {theta.dtype}: the kernel takes torch.float32 and torch.complex64"
        if t.dtype != theta.dtype:
            return f"{name} is {t.dtype}"
        if t.shape != theta.shape:
            return f"{name} has the shape {tuple(t.shape)}"
        if name != "its gradient" and (t.is_neg() or t.is_conj()):
            return f"{name} is a negated or conjugated view"
        if name != "its gradient" and t.data_ptr() % 4:
            return f"{name} is not aligned"
    theta = local["it"]
    if not _dense(theta):
        return f"it is not dense in memory: strides {theta.stride()} of shape {tuple(theta.shape)}"
    for name in names:
        t = local[f"its {name}"]
        if _order(t) != _order(theta):
            if t is not state[name]:
                return f"its {name} is in another memory order"
            if move:
                state[name] = torch.empty_like(theta, requires_grad=False).copy_(t)
    return theta


def _placement(optimizer: Fused) -> list[Placement]:
    found: list[Placement] = []
    spans: list[tuple[int, int, bool, int]] = []
    for i, group in enumerate(optimizer.param_groups):
        reading = _reading(optimizer._formula, _values(optimizer._formula, group))
        names = [name for name, _ in reading.states]
        for k, p in enumerate(group["params"]):
            state = optimizer.state.get(p, {})
            grad = p.grad
            fits: Tensor | str = reading.reason
            if not fits and grad is not None and grad.is_sparse:
                fits = _why_no_table(p, grad)
                grad = None
            fits = fits or _theta(p, grad, state, names, move=False)
            if optimizer._formula.by_step and isinstance(state, dict) and "step" in state and not _is_counter(state["step"]):
                fits = fits if isinstance(fits, str) else _NO_COUNTER
            reason = ""
            if isinstance(fits, str):
                reason = fits
            else:
                arrays = {"": fits, **{name: _local(state[name]) for name in names if name in state}}
                if grad is not None:
                    arrays["grad"] = _local(grad)
                    if arrays["grad"].data_ptr() % 4:
                        reason = _SHARED
                for name, t in arrays.items():
                    start, length = t.data_ptr(), t.numel() * t.element_size()
                    spans.append((start, start + length, name != "grad", len(found)))
            found.append(Placement(i, k, tuple(p.shape), p.dtype, not reason, reason))
    shared = _overlapping(spans)
    return [f._replace(kernel=False, reason=_SHARED) if i in shared else f for i, f in enumerate(found)]


def _dense(t: Tensor) -> bool:
    """Reports whether the elements are all of a piece of memory, each once."""
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
    """Returns the gradient in the memory order of its parameter, copied if necessary."""
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


def _is_distributed(p: Any) -> bool:
    return type(p) not in _PLAIN


def _local(t: Any) -> Tensor:
    local: Tensor = t if type(t) in _PLAIN else t.to_local()
    return local


@torch.no_grad()
def _locals(tensors: list[Any]) -> list[Tensor]:
    return [*map(_local, tensors)]


def _alike(p: Any, t: Any) -> bool:
    """Reports whether two tensors are distributed alike, or not at all."""
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
