"""Builds the Go library into the wheel: what pyproject.toml cannot say."""

import os
import pathlib
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
DIGITS = HERE.parent / "internal" / "digits" / "digits.csv.gz"
LIBRARY = "libkernel_rmsprop.so"


class BuildLibrary(build_py):
    def run(self):
        super().run()
        # An editable install runs the package from the source tree.
        target = HERE if self.editable_mode else pathlib.Path(self.build_lib).resolve()
        target = target / "kernel_rmsprop"
        self.mkpath(str(target))
        go_build(target / LIBRARY, self.distribution.get_version())
        shutil.copyfile(DIGITS, target / DIGITS.name)

    def get_outputs(self, include_bytecode=True):
        package = os.path.join(self.build_lib, "kernel_rmsprop")
        return super().get_outputs(include_bytecode) + [
            os.path.join(package, name) for name in (LIBRARY, DIGITS.name)
        ]


def go_build(target, version):
    if not DIGITS.exists():
        raise SystemExit(
            f"kernel_rmsprop is built from a clone of its repository: {HERE.parent} is none. "
            "Use pip 21.3 or newer, which builds in the clone."
        )
    go = shutil.which("go")
    if go is None:
        raise SystemExit(
            "kernel_rmsprop is built with Go, and there is no go in PATH: install it from https://go.dev/dl"
        )
    command = [go, "build", "-buildmode=c-shared", "-buildvcs=false", "-trimpath", "-mod=readonly"]
    command += ["-ldflags", f"-s -w -X main.version={version}", "-o", str(target), "."]
    # go.work has it built with the clone's Go package, whatever the user's settings are.
    environment = {**os.environ, "CGO_ENABLED": "1", "GOWORK": str(HERE / "capi" / "go.work")}
    try:
        subprocess.run(command, cwd=HERE / "capi", check=True, env=environment)
    except subprocess.CalledProcessError:
        raise SystemExit(
            "kernel_rmsprop: go build failed, see above. It needs a C compiler, such as gcc, and what go.mod asks for."
        ) from None
    target.with_suffix(".h").unlink(missing_ok=True)  # capi/kernel.h is the header


class Platform(bdist_wheel):
    """The library needs a platform, but no version of Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    def has_ext_modules(self):
        return True


setup(distclass=WithLibrary, cmdclass={"build_py": BuildLibrary, "bdist_wheel": Platform})
