"""The C interface, used by a C program."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import CAPI, build_library

from kernel_rmsprop import _library

SOURCE = Path(__file__).with_name("program.c")


def compile_program(directory, library, *flags):
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    program = directory / "program"
    subprocess.run(
        ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror", "-Wno-unused-value", "-ffp-contract=off", "-frounding-math", "-pthread", *flags,
         "-I", CAPI, "-o", program, SOURCE, library, f"-Wl,-rpath,{Path(library).parent}", "-lm"],
        check=True,
    )  # fmt: skip
    return program


def run(*command, timeout=120):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "all passed" in done.stdout
    return done


def test_program(tmp_path):
    run(compile_program(tmp_path, _library._path()))


def test_program_without_assembly(tmp_path, purego):
    assert "generic of generic" in run(compile_program(tmp_path, purego)).stdout


def errors_in_kernels(report):
    """Those of valgrind's errors that happened in the kernels, on memory that is not Go's.

    Go's stacks and heap are no blocks of malloc's: of them valgrind does not know what is in use.
    """
    blocks = re.split(r"^==\d+== *\n", report, flags=re.M)
    in_kernels = re.compile(r"^==\d+==    at 0x\w+: github.com/seed57504d97/kernel\.", flags=re.M)
    return [b for b in blocks if in_kernels.search(b) and "anonymous segment" not in b]


def test_program_under_valgrind(tmp_path):
    """Each array is an allocation of its own: nothing is read or written beyond it."""
    if shutil.which("valgrind") is None:
        pytest.skip("there is no valgrind")
    program = compile_program(tmp_path, build_library(tmp_path / "libkernel_rmsprop.so"))
    valgrind = ("valgrind", "--leak-check=no", "--undef-value-errors=no", "-q", program)
    assert errors_in_kernels(run(*valgrind).stderr) == []
    done = subprocess.run([*valgrind, "beyond"], capture_output=True, text=True, timeout=120)
    assert "Invalid read" in errors_in_kernels(done.stderr)[0]


def test_codes_are_exceptions():
    message = _library.message_buffer()
    message.value = "why: ä".encode()
    _library.check(0, message)
    for code, kind in ((1, ValueError), (2, RuntimeError), (77, RuntimeError)):
        with pytest.raises(kind, match="^why: ä$") as raised:
            _library.check(code, message)
        assert raised.type is kind


def test_header_is_cplusplus(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    (tmp_path / "header.cc").write_text("#include <kernel.h>\nint main() { return kernel_isa() == nullptr; }\n")
    subprocess.run(
        ["g++", "-Wall", "-Werror", "-I", CAPI, "-o", tmp_path / "header", tmp_path / "header.cc", _library._path(),
         f"-Wl,-rpath,{os.path.dirname(_library._path())}"],
        check=True,
    )  # fmt: skip
    subprocess.run([tmp_path / "header"], check=True)


def test_library_has_every_function():
    """Their types the compiler compares: process.c includes kernel.h."""
    declared = re.findall(r"^[a-z].*?\b(kernel_\w+)\(", (CAPI / "kernel.h").read_text(), flags=re.M)
    assert len(declared) == 10
    for name in declared:
        assert hasattr(_library.library().c, name)


def test_signals(tmp_path):
    """Handlers without SA_ONSTACK that need more of a stack than a thread of Go has, every millisecond."""
    assert "signals seen" in run(compile_program(tmp_path, _library._path()), "signals").stdout


def test_limits(tmp_path):
    program = compile_program(tmp_path, _library._path())
    done = run("sh", "-c", f"ulimit -Sn 777; {program} limits")
    assert "open files: 777" in done.stdout
