"""The build hook, where something is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def build(tmp_path, **environment):
    pytest.importorskip("setuptools", minversion="77")
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


def test_without_go(tmp_path):
    done = build(tmp_path, PATH="")
    assert done.returncode != 0 and "there is no go in PATH: install it from https://go.dev/dl" in done.stderr


def test_without_a_compiler(tmp_path):
    done = build(tmp_path, CC="no-such-compiler")
    assert done.returncode != 0 and "go build failed, see above. It needs a C compiler" in done.stderr
