"""Adam and AdamW for PyTorch."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from . import _library
from ._fused import BELOW_ONE, COMMON, MAX_FLOAT32, MAX_RATE, Formula, Fused, Reading, without_hooks

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT

# What stands for a beta1 of 0, with which the kernel would keep no exp_avg: the smallest share
# that is no subnormal number. It leaves exp_avg at the gradient unless that is below 1e-30.
_NO_SHARE = 2.0**-126


class _Adam(Formula):
    torchs = (
        "lr", "beta1", "beta2", "eps", "weight_decay", "decoupled_weight_decay", "maximize",
        "amsgrad", "capturable", "differentiable",
    )  # fmt: skip
    ours = ("eps_inside", *COMMON)
    by_step = True

    def __init__(self, decoupled: bool) -> None:
        super().__init__()
        self.decoupled = decoupled  # AdamW's groups do not say so before torch 2.6 or so
        self.of_group = self._of_group
        torchs = torch.optim.AdamW if decoupled else torch.optim.Adam
        init_group = torchs._init_group  # type: ignore[attr-defined, unused-ignore]
        self.takes_amsgrad = "amsgrad" in inspect.signature(init_group).parameters

    def _of_group(self, group: dict[str, Any]) -> tuple[Any, ...]:
        beta1, beta2 = group["betas"]
        decoupled = group.get("decoupled_weight_decay", self.decoupled)
        return (
            group["lr"], beta1, beta2, group["eps"], group["weight_decay"], decoupled, group["maximize"],
            group["amsgrad"], group["capturable"], group["differentiable"],
        )  # fmt: skip

    def read(self, values: dict[str, Any]) -> Reading:
        lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, capturable, differentiable = (
            values[name] for name in self.torchs
        )
        flags = _library.STEP_CORRECTION
        flags |= 0 if values["eps_inside"] else _library.EPS_OUTSIDE
        flags |= _library.DECOUPLED_DECAY if decoupled else 0
        flags |= _library.MAXIMIZE if maximize else 0
        states = (("exp_avg", _library.MEAN_GRAD), ("exp_avg_sq", _library.MEAN_SQUARE))
        reason = ""
        for fits, text in (
            (not amsgrad, "amsgrad is on"),
            (not capturable, "capturable is on"),
            (not differentiable, "differentiable is on"),
            (0 <= beta1 < BELOW_ONE, f"betas[0] = {beta1}: the kernel takes numbers in [0, 1)"),
            (0 <= beta2 < 1, f"betas[1] = {beta2}: the kernel takes numbers in [0, 1)"),
            # The corrections of the first step are the largest.
            (0 <= lr <= MAX_RATE * (1 - beta1), f"lr = {lr}: the kernel takes numbers in [0, 2^64 * (1 - beta1)]"),
            (0 <= eps <= MAX_FLOAT32, f"eps = {eps}: the kernel takes numbers that float32 has, 0 or more"),
            (
                0 <= weight_decay <= MAX_FLOAT32 * (math.sqrt(1 - beta2) if decoupled and beta2 < 1 else 1)
                and not (decoupled and lr * weight_decay > MAX_FLOAT32),
                f"weight_decay = {weight_decay}: the kernel takes numbers that float32 has, 0 or more",
            ),
            (beta2 > 0 or eps > 0, "betas[1] and eps are 0: the kernel takes one of them above 0"),
        ):
            if not fits:
                reason = text
                break
        numbers = dict(lr=lr, rho=beta2, eps=eps, weight_decay=weight_decay, first_moment=max(beta1, _NO_SHARE))
        return Reading(numbers, flags, states, reason, self.ours_that_are_on(values))

    def init_group(self, optimizer: Any, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> bool:
        others: tuple[Any, ...] = ([], [], [], [])
        if self.takes_amsgrad:  # AdamW's before torch 2.6 or so
            others = (group["amsgrad"], *others)
        has_complex: bool = optimizer._init_group(group, params, grads, *others)
        return has_complex

    def leave_to_torch(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[Any], has_complex: bool
    ) -> None:
        beta1, beta2 = group["betas"]
        names = ("lr", "eps", "weight_decay", "maximize", "amsgrad", "foreach", "capturable", "differentiable", "fused")
        options = {name: group[name] for name in names}
        function: Any = adamw if self.decoupled else adam
        if "decoupled_weight_decay" in group:
            function, options["decoupled_weight_decay"] = adam, group["decoupled_weight_decay"]
        function(
            params,
            grads,
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [s["max_exp_avg_sq"] for s in states] if group["amsgrad"] else [],
            [s["step"] for s in states],
            beta1=beta1,
            beta2=beta2,
            has_complex=has_complex,
            **options,
        )


class Adam(Fused, torch.optim.Adam):
    """Takes the place of :class:`torch.optim.Adam`, with its arguments, groups and state.

    A step on dense float32 and complex64 tensors of the CPU is one pass over memory, on
    as many threads as :func:`torch.get_num_threads` says. It gives the same bits on every CPU
    and with any number of threads, and follows torch's formula to a few units in
    the last place. A gradient or a mean that would become a subnormal number counts as zero.

    ``exp_avg`` and ``exp_avg_sq`` are torch's: the means before their correction. So the
    step is corrected instead, for each tensor by its counter t::

        lr'  = lr * sqrt(1 - beta2^t) / (1 - beta1^t)
        eps' = eps * sqrt(1 - beta2^t)

    Both are computed in float64, without the C library's pow, and rounded to float32 once.
    The Go package's ``kernel.Adam()`` keeps the corrected means instead. It takes the same
    steps except for rounding, so its bits differ.

    Everything else is left to torch: other types and devices, ``amsgrad``, ``capturable``,
    ``differentiable``, tensors that share memory, counters that are not float32 tensors on the CPU,
    numbers outside of what the kernel takes, and a step inside of torch.compile. ``foreach``
    and ``fused`` concern that part alone. :meth:`placement` returns which tensors these are.

    A sparse gradient, as of ``torch.nn.Embedding(sparse=True)``, which torch.optim.Adam refuses,
    updates the rows that it holds and leaves all others alone, as torch.optim.SparseAdam
    does: their means do not decay, and the correction goes by the whole tensor's counter.

    ``state_dict`` is that of torch.optim.Adam, both ways. Threads, memory orders, and where the
    options below are kept, are as with :class:`RMSprop`.

    Args:
        eps_inside: ``sqrt(s + eps)`` instead of ``sqrt(s) + eps``, where s is the corrected
            mean; optax calls it eps_root.
        loss_scale: divides the gradients; see :class:`RMSprop`.
        clip_norm: limits the norm of all gradients together; see :class:`RMSprop`.
        skip_nonfinite: skips a step with a NaN or an infinity in any gradient: ``skipped`` is then True.
    """

    _formula = _Adam(decoupled=False)
    _torch_step = without_hooks(torch.optim.Adam.step)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        eps_inside: bool = False,
        loss_scale: float = 1.0,
        clip_norm: float | None = None,
        skip_nonfinite: bool = False,
    ) -> None:
        # Only where it is on: torch before 2.6 or so does not have it.
        decoupled: dict[str, Any] = {"decoupled_weight_decay": True} if decoupled_weight_decay else {}
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused, **decoupled,
        )  # fmt: skip
        _let_grad_scaler_unscale(self)
        self._add_defaults(
            eps_inside=eps_inside, loss_scale=loss_scale, clip_norm=clip_norm, skip_nonfinite=skip_nonfinite
        )


class AdamW(Fused, torch.optim.AdamW):
    """Takes the place of :class:`torch.optim.AdamW`: :class:`Adam` with decoupled weight decay.

    The decay takes ``lr * weight_decay`` of a parameter, without the correction. A step rounds
    the parameter twice, after the decay and after the update, as torch's does: each may add
    2^-24 of the parameter to what the two differ by. All else is as with :class:`Adam`, including the
    arguments that torch does not have.
    """

    _formula = _Adam(decoupled=True)
    _torch_step = without_hooks(torch.optim.AdamW.step)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        eps_inside: bool = False,
        loss_scale: float = 1.0,
        clip_norm: float | None = None,
        skip_nonfinite: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, foreach=foreach,
            capturable=capturable, differentiable=differentiable, fused=fused,
        )  # fmt: skip
        _let_grad_scaler_unscale(self)
        self._add_defaults(
            eps_inside=eps_inside, loss_scale=loss_scale, clip_norm=clip_norm, skip_nonfinite=skip_nonfinite
        )


def _let_grad_scaler_unscale(optimizer: torch.optim.Optimizer) -> None:
    """Removes the mark that fused=True sets, by which GradScaler leaves the unscaling to the step."""
    vars(optimizer).pop("_step_supports_amp_scaling", None)
