"""RMSprop for PyTorch and NumPy on CPUs, with the same bits on every CPU.

- :class:`RMSprop` replaces :class:`torch.optim.RMSprop`.
- :func:`update` is one step on NumPy arrays.
- :func:`isa` and :func:`set_isa` return and select the implementation.
- :mod:`kernel_rmsprop.distributed` reduces gradients in a fixed order.

``python -m kernel_rmsprop.demo`` trains a network, ``python -m
kernel_rmsprop.bench`` measures. PyTorch is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._library import isa, isas, set_isa
from ._numpy import update

if TYPE_CHECKING:
    from ._torch import RMSprop

    __version__: str

__all__ = ["RMSprop", "isa", "isas", "set_isa", "update"]


def __getattr__(name: str) -> object:
    if name == "RMSprop":
        return import_module("._torch", __name__).RMSprop
    if name == "__version__":
        return import_module("importlib.metadata").version("kernel-rmsprop")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
