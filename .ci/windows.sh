#!/usr/bin/env bash
# Runs tests built for Windows under Wine:
#
#	.ci/windows.sh -short ./...
#
# The arguments are go test's. Needs Debian's wine64 and, for Wine 8, binutils-mingw-w64-x86-64.
# Wine 8 lacks what os.RemoveAll calls since Go 1.25: GOTOOLCHAIN=go1.24.13 tests with an older Go.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=/usr/lib/wine # Debian's, which is not in PATH
wine=$(PATH=$PATH:$folder command -v wine64)
server=$(PATH=$PATH:$folder command -v wineserver64 || PATH=$PATH:$folder command -v wineserver)

export WINEDEBUG=-all WINEPREFIX
WINEPREFIX=$(mktemp -d "${TMPDIR:-/tmp}/kernel-wine.XXXXXX")
trap '"$server" -k || true; rm -rf "$WINEPREFIX"' EXIT
"$wine" wineboot --init >"$WINEPREFIX/log" 2>&1 || { cat "$WINEPREFIX/log" >&2; exit 1; }

# Go's runtime gets random numbers from a DLL that Wine 8 lacks. This one forwards to Wine's.
dll=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
if [ ! -e "$dll" ]; then
	printf 'LIBRARY bcryptprimitives.dll\nEXPORTS ProcessPrng = advapi32.SystemFunction036\n' >"$WINEPREFIX/prng.def"
	x86_64-w64-mingw32-ld -shared -e 0 -o "$dll" "$WINEPREFIX/prng.def"
fi
GOOS=windows GOARCH=amd64 go test -exec "$wine" "$@"
