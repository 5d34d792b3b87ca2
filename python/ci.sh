#!/usr/bin/env bash
# Builds the Python package in a virtual environment and runs its tests:
#
#     bash python/ci.sh              with the newest torch of PyPI
#     OLDEST=1 bash python/ci.sh     and then with the oldest that is claimed
#
# The environments are kept in KERNEL_PYTHON, by default ~/.cache/kernel-python, since
# torch is some gigabytes. They are brought up to date in each run. If PyPI cannot be
# reached, or is slow, what is there is used, and what is not there is left out.
# PYTHON and PYTHON_OLDEST name the interpreters.
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
	timeout 300 "$python" -m pip install -q --disable-pip-version-check --upgrade "setuptools>=77" pytest expecttest "$@" || status=$?
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

# tests NAME INTERPRETER REQUIREMENT...: in an environment.
tests() {
	local start=$SECONDS
	say "$*"
	mkdir -p "$home"
	if ! environment "$@"; then
		loudly "LEFT OUT: the Python package with torch, $1: $missing"
		return
	fi
	"$python" -m pip wheel -q --no-deps --no-build-isolation --disable-pip-version-check -w "$work/$1" ./python
	"$python" -m pip install -q --no-deps --force-reinstall --disable-pip-version-check "$work/$1"/*.whl
	"$python" -c 'import sys, torch, numpy; print("CPython", sys.version.split()[0], "torch", torch.__version__, "NumPy", numpy.__version__)'
	timeout -k 10 1200 "$python" -m pytest -q -p no:cacheprovider python/tests
	say "$1: took $((SECONDS - start)) s"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "gofmt, go vet"
unformatted=$(gofmt -l python/capi)
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted"; exit 1; }
(cd python/capi && CGO_ENABLED=1 go vet ./...)

tests newest "${PYTHON:-python3}" --upgrade-strategy=eager numpy torch
if [ -n "${OLDEST:-}" ]; then
	tests oldest "${PYTHON_OLDEST:-python3.10}" "numpy<2" "torch==$oldest_torch"
fi
