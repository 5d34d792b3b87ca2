import shutil
import subprocess
from pathlib import Path

import pytest
import torch

CAPI = Path(__file__).resolve().parents[1] / "capi"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def build_library(path: Path, *flags: str) -> Path:
    """Builds the C library with other flags than the package's."""
    if shutil.which("go") is None:
        pytest.skip("there is no go")
    subprocess.run(
        ["go", "build", "-buildmode=c-shared", "-buildvcs=false", *flags, "-o", path, "."],
        cwd=CAPI, check=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="session")
def purego(tmp_path_factory) -> Path:
    """The library without assembly."""
    return build_library(tmp_path_factory.mktemp("purego") / "libkernel_rmsprop.so", "-tags", "purego")


_reported = pytest.StashKey[list]()


@pytest.fixture
def report(request):
    """Shows a line at the end of the tests."""
    return request.config.stash.setdefault(_reported, []).append


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(_reported, []):
        terminalreporter.write_line(line)
