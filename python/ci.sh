#!/usr/bin/env bash
# Builds the Python package in a virtual environment and runs its tests:
#
#     bash python/ci.sh              with the newest torch of PyPI
#     OLDEST=1 bash python/ci.sh     and then with the oldest that is claimed
#
# The environments are kept in KERNEL_PYTHON, by default ~/.cache/kernel-python, because
# torch has some gigabytes. Each run updates them. If PyPI cannot be reached, or is slow, the
# script uses existing environments and leaves out what is missing.
# PYTHON, PYTHON_OLDEST and PYTHON_NEWEST name the interpreters. The wheel is tried with the
# last two, in environments without torch, Go and a compiler. uWSGI and vmprof, if they
# can be built, fork and send signals as programs in C do.
set -euo pipefail
cd "$(dirname "$0")/.."
home=${KERNEL_PYTHON:-${XDG_CACHE_HOME:-$HOME/.cache}/kernel-python}
oldest_torch=2.4.0

say() { printf '\n== python: %s (%d s)\n' "$*" "$SECONDS"; }
loudly() { printf '\n%s\n' '******************************************************************' "$@" '******************************************************************'; }

# environment NAME INTERPRETER REQUIREMENT...: makes it, or brings it up to date.
# Fails, and says why in missing, if something that it needs is not here.
environment() {
	local name=$1 interpreter=$2 status=0
	shift 2
	python=$home/$name/bin/python
	if ! [ -x "$python" ]; then
		if ! "$interpreter" -c 'import venv, ensurepip' 2>/dev/null; then
			missing="no $interpreter with venv (Debian's packages python3 and python3-venv)"
			return 1
		fi
		"$interpreter" -m venv "$home/$name" || exit 1
	fi
	timeout 300 "$python" -m pip install -q --disable-pip-version-check --upgrade "setuptools>=77" pytest expecttest auditwheel mypy "$@" || status=$?
	if [ $status != 0 ]; then
		if [ $status != 124 ] && timeout 60 "$python" -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps -d "$work/$name.probe" pip; then
			echo "pip FAILS, though PyPI can be reached"
			exit 1
		fi
		missing="PyPI CANNOT BE REACHED"
		"$python" -c 'import setuptools, pytest, torch' 2>/dev/null || return 1
		loudly "$missing: with the packages that were here before."
	fi
}

# find_python VERSION: prints an interpreter, pyenv's included.
find_python() {
	local found
	for found in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
		"$found" -c '' 2>/dev/null && { echo "$found"; return; }
	done
	return 1
}

# with_numpy INTERPRETER: prints the python of an environment that has NumPy alone.
with_numpy() {
	local version
	version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || return 1
	local python=$home/numpy-$version/bin/python
	[ -x "$python" ] || "$1" -m venv "$home/numpy-$version"
	"$python" -c 'import numpy' 2>/dev/null ||
		timeout 300 "$python" -m pip install -q --disable-pip-version-check numpy || return 1
	echo "$python"
}

# tests NAME INTERPRETER REQUIREMENT...: in an environment.
tests() {
	local start=$SECONDS
	say "$*"
	mkdir -p "$home"
	if ! environment "$@"; then
		loudly "LEFT OUT: the Python package with torch, $1: $missing"
		return
	fi
	for program in uwsgi vmprof; do
		timeout 300 "$python" -m pip install -q --disable-pip-version-check "$program" >"$work/$program.log" 2>&1 ||
			loudly "LEFT OUT: the tests with $program, which cannot be built here."
	done
	"$python" -m pip wheel -q --no-deps --no-build-isolation --disable-pip-version-check -w "$work/$1" ./python
	"$python" -m pip install -q --no-deps --force-reinstall --disable-pip-version-check "$work/$1"/*.whl
	"$python" -c 'import sys, torch, numpy; print("CPython", sys.version.split()[0], "torch", torch.__version__, "NumPy", numpy.__version__)'
	(cd "$work" && "$python" -m mypy --strict -p kernel_rmsprop)
	"$python" -m mypy --strict --cache-dir "$work/mypy" python/tests/use_of_types.py
	KERNEL_PYTHONS=$pythons timeout -k 10 1500 "$python" -m pytest -q -p no:cacheprovider python/tests
	say "$1: took $((SECONDS - start)) s"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "gofmt, go vet"
unformatted=$(gofmt -l python/capi)
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted"; exit 1; }
(cd python/capi && CGO_ENABLED=1 go vet ./...)

oldest=${PYTHON_OLDEST:-$(find_python 3.10 || true)}
pythons=
for interpreter in "$oldest" "${PYTHON_NEWEST:-$(find_python 3.13 || true)}"; do
	if [ -n "$interpreter" ] && found=$(with_numpy "$interpreter"); then
		pythons+=${pythons:+:}$found
	else
		loudly "LEFT OUT: the wheel with the oldest or the newest Python (${interpreter:-none found})."
	fi
done
[ -n "$pythons" ] || pythons=$(command -v "${PYTHON:-python3}")

tests newest "${PYTHON:-python3}" --upgrade-strategy=eager numpy torch
if [ -n "${OLDEST:-}" ]; then
	tests oldest "$oldest" "numpy<2" "torch==$oldest_torch"
fi
