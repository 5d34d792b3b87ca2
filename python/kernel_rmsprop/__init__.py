"""RMSprop, Adam and AdamW for PyTorch on CPUs, with the same bits on every CPU.

- :class:`RMSprop`, :class:`Adam` and :class:`AdamW` replace torch.optim's classes of these names.
- :func:`update` is one step of RMSProp on NumPy arrays.
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
    from ._adam import Adam, AdamW
    from ._torch import RMSprop

    __version__: str

__all__ = ["Adam", "AdamW", "RMSprop", "isa", "isas", "set_isa", "update"]

_MODULES = {"Adam": "._adam", "AdamW": "._adam", "RMSprop": "._torch"}  # those that import torch


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("kernel-rmsprop")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
