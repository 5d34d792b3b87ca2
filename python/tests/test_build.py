"""The build hook, what it builds, and what it does if something is missing."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def setup(*arguments, cwd=ROOT, **environment):
    pytest.importorskip("setuptools", minversion="77")
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **environment},
    )  # fmt: skip


def build(tmp_path, **environment):
    return setup("build_py", "--build-lib", tmp_path, **environment)


def test_without_go(tmp_path):
    done = build(tmp_path, PATH="")
    assert done.returncode != 0 and "there is no go in PATH: install it from https://go.dev/dl" in done.stderr


def test_without_a_compiler(tmp_path):
    done = build(tmp_path, CC="no-such-compiler")
    assert done.returncode != 0 and "go build failed, see above. It needs a C compiler" in done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel that is built from the source distribution, away from the repository."""
    if shutil.which("go") is None:
        pytest.skip("there is no go")
    directory = tmp_path_factory.mktemp("wheel")
    done = setup("egg_info", "-e", directory, "sdist", "-d", directory)
    assert done.returncode == 0, done.stderr
    (source,) = directory.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(directory, filter="data")
    unpacked = source.with_name(source.name.removesuffix(".tar.gz"))
    assert not list(unpacked.rglob("*_test.go")) and not list(unpacked.rglob("*.so"))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", directory, unpacked],
        capture_output=True, text=True, timeout=300, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("*.whl")
    return built


def test_wheel_is_manylinux(wheel):
    assert re.search(r"-py3-none-manylinux_2_\d+_\w+\.whl$", wheel.name)
    pytest.importorskip("auditwheel")
    done = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", wheel], capture_output=True, text=True, timeout=60
    )
    platform = wheel.stem.rsplit("-", 1)[1]
    assert f'is consistent with the following platform tag: "{platform}"' in " ".join(done.stdout.split()), done.stdout + done.stderr


USE = """
import numpy as np, sys
from importlib import metadata
import kernel_rmsprop
x = np.ones(5, np.float32)
kernel_rmsprop.update(x, x.copy(), x * 0, 0.1, 0.9, 0)
assert x[0] < 1
about = metadata.metadata("kernel-rmsprop")
assert kernel_rmsprop.__version__ == about["Version"] == kernel_rmsprop._library.library().c.kernel_version().decode()
assert {line.split(",")[0] for line in about.get_all("Project-URL")} >= {"Repository", "Changelog"}
print("fine", *sys.version_info[:2])
"""


@pytest.mark.parametrize("python", os.environ.get("KERNEL_PYTHONS", sys.executable).split(os.pathsep))
def test_wheel_works_without_a_compiler(wheel, tmp_path, python):
    """In environments that have NumPy and nothing else, and without a PATH: ci.sh makes them."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path, wheel],
        check=True, timeout=120, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    done = subprocess.run(
        [python, "-c", USE], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/nonexistent"},
    )  # fmt: skip
    assert done.stdout.startswith("fine"), done.stderr


def test_archive(wheel):
    """The system's loader does not look into a zip file."""
    done = subprocess.run(
        [sys.executable, "-c", "import kernel_rmsprop; kernel_rmsprop.isa()"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(wheel)},
    )  # fmt: skip
    assert done.returncode != 0 and "is in an archive" in done.stderr and "unpack it" in done.stderr
