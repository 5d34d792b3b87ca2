"""RMSprop for PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.rmsprop import rmsprop

from . import _library
from ._fused import BELOW_ONE, COMMON, MAX_FLOAT32, MAX_RATE, Formula, Fused, Reading, without_hooks

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT


class _RMSprop(Formula):
    torchs = (
        "lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize", "capturable", "differentiable",
    )  # fmt: skip
    ours = ("eps_inside", "lr_in_momentum", "decoupled_decay", *COMMON)

    def read(self, values: dict[str, Any]) -> Reading:
        lr, alpha, eps, weight_decay, momentum, centered, maximize, capturable, differentiable = (
            values[name] for name in self.torchs
        )
        decoupled = bool(values["decoupled_decay"])
        flags = 0 if values["eps_inside"] else _library.EPS_OUTSIDE
        flags |= 0 if values["lr_in_momentum"] else _library.LR_OUTSIDE
        flags |= _library.CENTERED if centered else 0
        flags |= _library.MAXIMIZE if maximize else 0
        flags |= _library.DECOUPLED_DECAY if decoupled else 0
        states = [("square_avg", _library.MEAN_SQUARE)]
        if momentum > 0:
            states.append(("momentum_buffer", _library.MOMENTUM))
        if centered:
            states.append(("grad_avg", _library.MEAN_GRAD))
        reason = ""
        for fits, text in (
            (not capturable, "capturable is on"),
            (not differentiable, "differentiable is on"),
            (0 <= lr <= MAX_RATE, f"lr = {lr}: the kernel takes numbers in [0, 2^64]"),
            (0 <= alpha <= 1, f"alpha = {alpha}: the kernel takes numbers in [0, 1]"),
            (0 <= eps <= MAX_FLOAT32, f"eps = {eps}: the kernel takes numbers that float32 has, 0 or more"),
            (
                0 <= weight_decay <= MAX_FLOAT32 and not (decoupled and lr * weight_decay > MAX_FLOAT32),
                f"weight_decay = {weight_decay}: the kernel takes numbers that float32 has, 0 or more",
            ),
            (alpha > 0 or eps > 0, "alpha and eps are 0: the kernel takes one of them above 0"),
            (0 <= momentum < BELOW_ONE, f"momentum = {momentum}: the kernel takes numbers in [0, 1)"),
        ):
            if not fits:
                reason = text
                break
        numbers = dict(lr=lr, rho=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        return Reading(numbers, flags, tuple(states), reason, self.ours_that_are_on(values))

    def leave_to_torch(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[Any], has_complex: bool
    ) -> None:
        rmsprop(
            params,
            grads,
            [s["square_avg"] for s in states],
            [s["grad_avg"] for s in states] if group["centered"] else [],
            [s["momentum_buffer"] for s in states] if group["momentum"] > 0 else [],
            [s["step"] for s in states],
            has_complex=has_complex,
            **{name: group[name] for name in (*self.torchs, "foreach")},
        )


class RMSprop(Fused, torch.optim.RMSprop):
    """Replaces :class:`torch.optim.RMSprop`, with its arguments, groups and state.

    A step on dense float32 and complex64 tensors of the CPU is one pass over memory, on
    as many threads as :func:`torch.get_num_threads` says, and gives the same bits on
    every CPU and with any number of threads. It follows torch's formula to a few units in
    the last place, with the difference that a gradient or a mean which would become a
    subnormal number counts as zero, and that a variance (``centered``) is never negative.

    Everything else is left to torch: other types and devices, ``capturable``,
    ``differentiable``, tensors that share memory, numbers outside of what the kernel takes
    (a negative lr, a momentum from 1, an alpha above 1), and a step inside of torch.compile.
    ``foreach`` concerns that part alone. :meth:`placement` says which tensors that are.

    ``state_dict`` is that of torch.optim.RMSprop, both ways. A state that lies in memory in
    another order than its parameter, as after one became channels_last, is put into the
    parameter's order by the next step.

    Any number of threads may step one optimizer: the steps wait for each other.

    The keyword arguments below are not torch's. They are in ``param_groups`` and in
    ``state_dict`` where they are on, and only there. A checkpoint without them leaves them
    as they were given here. A step with one of them raises ValueError, and writes nothing, if a tensor would
    be left to torch, which does not have them.

    Args:
        eps_inside: ``sqrt(s + eps)`` instead of ``sqrt(s) + eps``, as TensorFlow and optax have it.
        lr_in_momentum: the momentum buffer holds steps times lr, as TensorFlow's.
        decoupled_decay: weight decay shrinks the parameter by ``lr * weight_decay`` of
            itself instead of going into the gradient, as in AdamW.
        loss_scale: divides the gradients, which are those of a loss times it. The
            attribute of this name changes it. All groups have the same.
        clip_norm: limits the norm of all gradients together, as
            :func:`torch.nn.utils.clip_grad_norm_`, and leaves the gradients as they are. The
            norm is in ``grad_norm`` after the step. ``inf`` only measures. A step with a norm that is not
            finite is skipped. Under ZeroRedundancyOptimizer, which gives each rank a part
            of the parameters, it would be the norm of that part.
        skip_nonfinite: skips a step with a NaN or an infinity in any gradient: ``skipped`` is then True.
    """

    _formula = _RMSprop()

    _torch_step = without_hooks(torch.optim.RMSprop.step)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        eps_inside: bool = False,
        lr_in_momentum: bool = False,
        decoupled_decay: bool = False,
        loss_scale: float = 1.0,
        clip_norm: float | None = None,
        skip_nonfinite: bool = False,
    ) -> None:
        super().__init__(
            params, lr, alpha, eps, weight_decay, momentum, centered, capturable, foreach, maximize, differentiable
        )
        self._add_defaults(
            eps_inside=eps_inside,
            lr_in_momentum=lr_in_momentum,
            decoupled_decay=decoupled_decay,
            loss_scale=loss_scale,
            clip_norm=clip_norm,
            skip_nonfinite=skip_nonfinite,
        )
