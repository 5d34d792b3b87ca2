"""One step on NumPy arrays."""

from __future__ import annotations

from numbers import Real

import numpy as np
import numpy.typing as npt

from ._library import library


def update(
    theta: npt.NDArray[np.float32],
    grad: npt.NDArray[np.float32],
    s: npt.NDArray[np.float32],
    lr: float,
    rho: float,
    eps: float,
) -> None:
    """Takes one RMSProp step, in place::

        s     = rho * s + (1 - rho) * grad**2
        theta = theta - lr / np.sqrt(s + eps) * grad

    ``s`` is the optimizer's state: it starts at zero and goes into every call. The
    bits are those of these two lines on float32 arrays, without their temporaries,
    except that a gradient or a mean which would become a subnormal number counts as
    zero.

    The arrays have one shape and are float32 in native byte order, aligned, and all
    contiguous in C's order or all in Fortran's. ``theta`` and ``s`` are written. They
    must not overlap in memory. ``lr`` is in [0, 2^64], ``rho`` in [0, 1] and ``eps``
    not negative.

    Raises TypeError or ValueError, which names the argument, before anything is
    written. NaN and infinities in the arrays are data, and no error. The GIL is
    released.
    """
    arrays = {"theta": theta, "grad": grad, "s": s}
    for name, x in arrays.items():
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{name} must be a numpy.ndarray, not {type(x).__name__}")
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(f"{name} must not be masked: the step would ignore the mask")
        if x.dtype != np.float32:  # in another byte order it is another
            raise TypeError(f"{name} must be float32 in native byte order, not {x.dtype!r}")
        if x.shape != theta.shape:
            raise ValueError(f"{name}.shape = {x.shape}, theta.shape = {theta.shape}: must be equal")
        if name != "grad" and not x.flags.writeable:
            raise ValueError(f"{name}: is read-only")
    if not all(x.flags.c_contiguous for x in arrays.values()) and not all(
        x.flags.f_contiguous for x in arrays.values()
    ):
        orders = ", ".join(f"{name} {_order(x)}" for name, x in arrays.items())
        raise ValueError(f"theta, grad, s: must be contiguous, all in C's order or all in Fortran's; {orders}")
    numbers: list[float] = []
    for name, number in (("lr", lr), ("rho", rho), ("eps", eps)):
        if not isinstance(number, Real):
            raise TypeError(f"{name} must be a real number, not {type(number).__name__}")
        try:
            numbers.append(float(number))
        except OverflowError:
            raise ValueError(f"{name}: is beyond all numbers of type float") from None
    lib = library()
    lib.call(
        lib.c.kernel_update,
        theta.ctypes.data,
        grad.ctypes.data,
        s.ctypes.data,
        theta.size,
        *numbers,
    )


def _order(x: npt.NDArray[np.float32]) -> str:
    if x.flags.c_contiguous:
        return "is in C's"
    return "is in Fortran's" if x.flags.f_contiguous else "is not contiguous"
