"""Builds the Go library into the wheel: what pyproject.toml cannot say."""

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
# The repository, or what a source distribution has of it.
ROOT = HERE / "go" if (HERE / "go").is_dir() else HERE.parent
DIGITS = "internal/digits/digits.csv.gz"
DATA = DIGITS, "LICENSE"  # that go into the package
LIBRARY = "libkernel_rmsprop.so"


class BuildLibrary(build_py):
    def run(self):
        super().run()
        # An editable install runs the package from the source tree.
        target = HERE if self.editable_mode else pathlib.Path(self.build_lib).resolve()
        target = target / "kernel_rmsprop"
        self.mkpath(str(target))
        go_build(target / LIBRARY, self.distribution.get_version())
        for path in DATA:
            shutil.copyfile(ROOT / path, target / pathlib.Path(path).name)

    def get_outputs(self, include_bytecode=True):
        package = os.path.join(self.build_lib, "kernel_rmsprop")
        return super().get_outputs(include_bytecode) + [
            os.path.join(package, name) for name in (LIBRARY, *(pathlib.Path(path).name for path in DATA))
        ]


def go_build(target, version):
    if not (ROOT / DIGITS).exists():
        raise SystemExit(
            f"kernel_rmsprop is built from a clone of its repository or a source distribution: {HERE.parent} is neither. "
            "Use pip 21.3 or newer, which builds in the clone."
        )
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        raise SystemExit(
            "kernel_rmsprop needs glibc: musl cannot load a Go library into a running program (golang/go#54805)."
        )
    go = shutil.which("go")
    if go is None:
        raise SystemExit(
            "kernel_rmsprop is built with Go, and there is no go in PATH: install it from https://go.dev/dl"
        )
    command = [go, "build", "-buildmode=c-shared", "-buildvcs=false", "-trimpath", "-mod=readonly"]
    command += ["-ldflags", f"-s -w -X main.version={version}", "-o", str(target), "."]
    capi = ROOT / "python" / "capi"
    environment = {**os.environ, "CGO_ENABLED": "1"}
    if (capi / "go.work").exists():  # with the Go package that is here, whatever the user's settings are
        environment["GOWORK"] = str(capi / "go.work")
    try:
        subprocess.run(command, cwd=capi, check=True, env=environment)
    except subprocess.CalledProcessError:
        raise SystemExit(
            "kernel_rmsprop: go build failed, see above. It needs a C compiler, such as gcc, and the modules that go.mod requires."
        ) from None
    target.with_suffix(".h").unlink(missing_ok=True)  # capi/kernel.h is the header


class Wheel(bdist_wheel):
    """The library needs a platform, but no version of Python."""

    def get_tag(self):
        tag = super().get_tag()[2]
        if tag.startswith("linux_"):
            # The library links to glibc alone: it runs where that is as new as its newest symbol
            # (PEP 600). auditwheel says the same.
            library = pathlib.Path(self.bdist_dir, "kernel_rmsprop", LIBRARY)
            if library.exists():
                major, minor = max(
                    (int(major), int(minor)) for major, minor in re.findall(rb"\0GLIBC_(\d+)\.(\d+)", library.read_bytes())
                )
                tag = f"manylinux_{major}_{minor}_{tag.removeprefix('linux_')}"
        return "py3", "none", tag


class Source(sdist):
    """What the library is built from lies outside of this directory."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        go = pathlib.Path(base_dir, "go")
        for path in sorted(sources()):
            (go / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, go / path)


def sources():
    """Returns the files that the library is built from, relative to ROOT."""
    yield from (pathlib.Path(name) for name in (*DATA, "CHANGELOG.md"))
    for folder in (ROOT, ROOT / "internal", ROOT / "python" / "capi"):
        for path in folder.iterdir() if folder != ROOT / "internal" else folder.rglob("*"):
            name = path.name
            if path.is_file() and name.endswith((".go", ".s", ".h", ".c", "go.mod", "go.sum", "go.work")) and not name.endswith("_test.go"):
                yield path.relative_to(ROOT)


def version():
    """Returns the repository's version: the first of its changelog."""
    return re.search(r"^## v(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M).group(1)


class WithLibrary(Distribution):
    def has_ext_modules(self):
        return True


setup(
    version=version(),
    distclass=WithLibrary,
    cmdclass={"build_py": BuildLibrary, "bdist_wheel": Wheel, "sdist": Source},
)
