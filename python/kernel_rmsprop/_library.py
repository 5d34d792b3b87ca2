"""The C library: how it is loaded, its functions and structures as in kernel.h."""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any

OK, INVALID = 0, 1
NESTEROV, CENTERED, DECOUPLED_DECAY, MAXIMIZE = 1, 2, 4, 8
PYTORCH = 16 | 32  # eps and lr outside


class Options(ctypes.Structure):
    _fields_ = [
        ("lr", c_double),
        ("rho", c_double),
        ("eps", c_double),
        ("momentum", c_double),
        ("weight_decay", c_double),
        ("loss_scale", c_double),
        ("clip_value", c_double),
        ("flags", c_int64),
    ]


class Settings(ctypes.Structure):
    _fields_ = [("workers", c_int64), ("clip_norm", c_double), ("flags", c_int64)]


# kernel_tensor is eight words, written by the column.
THETA, GRAD, MEAN_SQUARE, MEAN_GRAD, MOMENTUM, STEP, LENGTH, OPTIONS = range(8)
TENSOR_WORDS = 8


class Library:
    """A copy of the library, with a Go runtime of its own."""

    def __init__(self, path: str) -> None:
        c = ctypes.CDLL(path)
        message: list[Any] = [c_char_p, c_int64]
        functions: list[tuple[Any, Any, list[Any]]] = [
            (c.kernel_update, c_int32, [c_void_p] * 3 + [c_int64] + [c_double] * 3 + message),
            (c.kernel_optimizer_new, c_uint64, []),
            (c.kernel_optimizer_free, None, [c_uint64]),
            (
                c.kernel_step,
                c_int32,
                [c_uint64, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_void_p, *message],
            ),
            (c.kernel_isa, c_char_p, []),
            (c.kernel_isas, c_char_p, []),
            (c.kernel_set_isa, c_int32, [c_char_p, *message]),
            (c.kernel_version, c_char_p, []),
        ]
        for function, result, arguments in functions:
            function.restype, function.argtypes = result, arguments
        self.c = c

    def call(self, function: Any, *arguments: Any) -> None:
        """Calls a function that returns a code, and raises what the code says."""
        message = message_buffer()
        check(function(*arguments, message, len(message)), message)


def message_buffer() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(4096)


def check(code: int, message: ctypes.Array[ctypes.c_char]) -> None:
    """Raises what a code and its message say."""
    if code != OK:
        kind = ValueError if code == INVALID else RuntimeError
        raise kind(message.value.decode(errors="replace"))


_library: Library | None = None
_lock = threading.RLock()  # held where the library is loaded, and over a fork
_forked_with: str | None = None  # the instruction set of the parent


def library() -> Library:
    """Returns the library, which the first call loads."""
    return _library or _load()


def _load() -> Library:
    global _library
    with _lock:
        if _library is None:
            loaded = Library(_path()) if _forked_with is None else _load_private_copy()
            # By os.environ, too: Go sees the environment as it was when the process
            # started. A name that this CPU does not have is passed over.
            names = os.environ.get("KERNEL_ISA", "").split(",")
            if _forked_with is not None:
                names = [_forked_with]
            available = loaded.c.kernel_isas().decode().split(",")
            for name in names:
                if name.strip() in available:
                    loaded.call(loaded.c.kernel_set_isa, name.strip().encode())
                    break
            _library = loaded
        return _library


def _path() -> str:
    """Returns the file: the one in the package, or that of KERNEL_RMSPROP_LIBRARY."""
    path = os.environ.get("KERNEL_RMSPROP_LIBRARY") or str(Path(__file__).with_name("libkernel_rmsprop.so"))
    if not os.path.exists(path):
        raise ImportError(f"{path} is missing: install kernel_rmsprop with pip, which builds it")
    return path


# ---- Fork ----
#
# The child of a fork has the memory of Go's runtime but none of its threads, so that
# a call may wait for ever. It loads a copy of the file, with a runtime that has them:
# a copy, since the loader knows the file itself already.


def _load_private_copy() -> Library:
    if not hasattr(os, "memfd_create"):
        raise RuntimeError("kernel_rmsprop was used before this process was forked: use multiprocessing's spawn")
    with open(os.memfd_create("libkernel_rmsprop.so"), "wb") as copy:
        copy.write(Path(_path()).read_bytes())
        copy.flush()
        # By a name that no other process before the fork can have given: the loader knows those, too.
        return Library(f"/proc/{os.getpid()}/fd/{copy.fileno()}")


def _before_fork() -> None:
    global _isa_at_fork
    _lock.acquire()  # no other thread is half through with loading
    _isa_at_fork = _library.c.kernel_isa().decode() if _library else None


def _after_fork_in_parent() -> None:
    _lock.release()


def _after_fork_in_child() -> None:
    global _library, _lock, _forked_with
    _lock = threading.RLock()
    if _library is not None:
        _forked_with = _isa_at_fork
        _library = None


_isa_at_fork: str | None = None
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


# ---- Instruction sets ----


def isa() -> str:
    """Returns the instruction set in use: avx512, avx2, neon, or generic for plain Go."""
    return library().c.kernel_isa().decode()


def isas() -> list[str]:
    """Returns those that this CPU can run, best first."""
    return library().c.kernel_isas().decode().split(",")


def set_isa(name: str) -> None:
    """Makes every later call of this process use one of :func:`isas`.

    The bits are the same with all of them. The environment variable KERNEL_ISA does
    the same for a process: the first of its list, such as avx512,avx2, that the CPU
    has. Raises TypeError or ValueError, and changes nothing, for any other name.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError("name: must not have a zero byte")
    lib = library()
    lib.call(lib.c.kernel_set_isa, name.encode())
