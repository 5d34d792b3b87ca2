"""The C library: how it is loaded, its functions and structures as in kernel.h."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import threading
from ctypes import c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any

OK, INVALID = 0, 1
CENTERED, DECOUPLED_DECAY, MAXIMIZE, EPS_OUTSIDE, LR_OUTSIDE, STEP_CORRECTION = 2, 4, 8, 16, 32, 128
SKIP_NON_FINITE = 1


class Options(ctypes.Structure):
    _fields_ = [
        ("lr", c_double),
        ("rho", c_double),
        ("eps", c_double),
        ("momentum", c_double),
        ("weight_decay", c_double),
        ("clip_value", c_double),
        ("first_moment", c_double),
        ("flags", c_int64),
    ]


class Settings(ctypes.Structure):
    _fields_ = [("workers", c_int64), ("loss_scale", c_double), ("clip_norm", c_double), ("flags", c_int64)]


class Report(ctypes.Structure):
    _fields_ = [("norm", c_double), ("skipped", c_int64)]


# kernel_tensor is these words, written by the column.
THETA, GRAD, MEAN_SQUARE, MEAN_GRAD, MOMENTUM, STEP, LENGTH, OPTIONS, WIDTH, ROWS, ROWS_COUNT = range(11)
TENSOR_WORDS = 11


_NEEDS = "it needs glibc (musl cannot load a Go library at run time), address space and permission to start threads"


class Library:
    """A copy of the library, with a Go runtime of its own."""

    def __init__(self, path: str) -> None:
        try:
            c = ctypes.CDLL(path)
        except OSError as error:
            raise ImportError(f"{path} cannot be loaded: {error}; {_NEEDS}") from error
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
            (c.kernel_forked, c_int32, []),
        ]
        for function, result, arguments in functions:
            function.restype, function.argtypes = result, arguments
        self.c = c
        self.mark = _this_process().mark

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


# ---- Processes ----
#
# The child of a fork has the memory of its parent's Go runtime, but none of its threads:
# a call could wait forever, and so could whoever waits for a lock that another thread of
# the parent held. Not every fork is Python's, so that hooks do not suffice.


class _Process:
    """One process, as it was forked or started. Its children have one of their own."""

    def __init__(self) -> None:
        self.mark = _mark()  # whose first element is true in this process only
        self.lock = threading.RLock()  # held while the library is loaded
        self.next: dict[None, _Process] = {}  # in a child: that of the child


class _Number:
    """Goes by the number of the process, which may come again in another namespace."""

    def __init__(self) -> None:
        self.number = os.getpid()

    def __getitem__(self, _: int) -> bool:
        return os.getpid() == self.number


def _mark() -> mmap.mmap | _Number:
    try:
        memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(18)  # MADV_WIPEONFORK: a child finds zeros
    except (AttributeError, OSError, TypeError, ValueError):  # not Linux, or before 4.14
        return _Number()
    memory[0] = 1
    return memory


_process = _Process()


def _this_process() -> _Process:
    global _process
    while not _process.mark[0]:
        _process = _process.next.setdefault(None, _Process())  # one, whichever thread is first
    return _process


def lock() -> threading.RLock:
    """Returns this process's lock."""
    return _this_process().lock


if hasattr(os, "register_at_fork"):  # while Python forks, no thread is half through with loading
    os.register_at_fork(before=lambda: lock().acquire(), after_in_parent=lambda: lock().release())

_library: Library | None = None
_chosen: str | None = None  # by set_isa, here or in an ancestor
_opener: _Process | None = None  # who began to load the package's file
_copies = 0  # how many copies of the file this process and its ancestors loaded


def library() -> Library:
    """Returns the library, which the first call of a process loads."""
    loaded = _library
    if loaded is not None and loaded.mark[0]:
        return loaded
    return _load()


def _load() -> Library:
    global _library, _opener
    process = _this_process()
    with process.lock:
        before = _library
        if before is not None and before.mark[0]:
            return before
        loaded = None
        if _opener in (None, process):
            _opener = process
            loaded = Library(_path())
        if loaded is None or loaded.c.kernel_forked():
            loaded = _load_copy()  # the loader knows the file itself already
        # Also by os.environ: Go sees the environment as it was when the process
        # started. A name that this CPU does not have is passed over.
        names = os.environ.get("KERNEL_ISA", "").split(",")
        if _chosen is not None:
            names = [_chosen]
        available = loaded.c.kernel_isas().decode().split(",")
        for name in names:
            if name.strip() in available:
                loaded.call(loaded.c.kernel_set_isa, name.strip().encode())
                break
        _library = loaded
        return loaded


def _path() -> str:
    """Returns the file: the one in the package, or that of KERNEL_RMSPROP_LIBRARY."""
    path = os.environ.get("KERNEL_RMSPROP_LIBRARY")
    package = Path(__file__).parent
    if not path and not package.is_dir():
        raise ImportError(f"{package} is in an archive, which the system cannot load a library from: unpack it")
    path = path or str(package / "libkernel_rmsprop.so")
    if not os.path.exists(path):
        raise ImportError(f"{path} is missing: install kernel_rmsprop with pip, which builds it")
    return path


def _load_copy() -> Library:
    global _copies
    _copies += 1
    data = Path(_path()).read_bytes()
    try:
        with open(os.memfd_create("libkernel_rmsprop.so"), "wb") as copy:
            copy.write(data)
            copy.flush()
            # The loader goes by names first: this one is none of an ancestor's copies.
            return Library(f"/proc/self/fd/{'./' * _copies}{copy.fileno()}")
    except (AttributeError, OSError, ImportError):  # no memfd_create or no /proc
        with tempfile.NamedTemporaryFile(suffix=".so") as file:
            file.write(data)
            file.flush()
            return Library(file.name)


# ---- Instruction sets ----


def isa() -> str:
    """Returns the instruction set in use: avx512, avx2, neon, or generic for plain Go."""
    name: bytes = library().c.kernel_isa()
    return name.decode()


def isas() -> list[str]:
    """Returns those that this CPU can run, best first."""
    names: bytes = library().c.kernel_isas()
    return names.decode().split(",")


def set_isa(name: str) -> None:
    """Makes every later call of this process use one of :func:`isas`.

    With the empty name the library chooses again, as it does by default. The bits are the same
    with all of them. The environment variable KERNEL_ISA does the same for a process:
    the first of its list, such as avx512,avx2, that the CPU has. Raises TypeError or
    ValueError, and changes nothing, for any other name.
    """
    global _chosen
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError("name: must not have a zero byte")
    lib = library()
    lib.call(lib.c.kernel_set_isa, name.encode())
    _chosen = name or None
