#!/usr/bin/env bash
# Uses the package as a stranger does, in a temporary module: go get from a module proxy, go
# mod vendor, build, run. It fails if that raises the module's go directive, or if the module
# gets other dependencies than the README names.
#
#	.ci/consumer.sh              with the installed Go
#	.ci/consumer.sh go1.24.13    with that version
#
# proxy.sh serves the package.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(go list -m)
directive=1.24.0
modules="$module github.com/klauspost/cpuid/v2 golang.org/x/sys"

fail() { echo "consumer.sh: $*" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/kernel-consumer.XXXXXX")
trap 'rm -rf "$work"' EXIT
go=$(GOTOOLCHAIN="${1:-auto}" go env GOROOT)/bin/go

version=$(.ci/proxy.sh "$work/proxy")
for name in $modules; do
	[ "$name" = "$module" ] || grep -q "${name%/v[0-9]}" README.md || fail "README.md does not name $name"
done

# A module cache of its own, because the same version will have other contents tomorrow.
# With GOTOOLCHAIN=local, a module that needs a newer Go is an error.
export GOPROXY="file://$work/proxy,file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
export GOMODCACHE=$work/cache GONOSUMDB=$module GOFLAGS=-modcacherw GOTOOLCHAIN=local GOWORK=off
mkdir "$work/consumer"
cd "$work/consumer"
cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/seed57504d97/kernel"
)

func main() {
	theta, grad, s := []float32{1}, []float32{2}, []float32{0}
	kernel.Update(theta, grad, s, 0.5, 0.75, 0)
	fmt.Println(theta, s, kernel.ISA())
}
GO
cat >go.mod <<MOD
module example.com/consumer

go $directive
MOD
"$go" get "$module@$version"
"$go" mod tidy
"$go" mod vendor
cat go.mod
grep -qx "go $directive" go.mod || fail "go.mod's directive is no longer $directive"
! grep -q toolchain go.mod || fail "go.mod asks for a toolchain"
got=$(sed -n 's/^# \([^ ]*\) .*/\1/p' vendor/modules.txt | sort | xargs)
[ "$got" = "$(printf '%s\n' $modules | sort | xargs)" ] || fail "vendored: $got; want: $modules"
got=$(cut -d' ' -f1 go.sum | sort -u | xargs)
[ "$got" = "$(printf '%s\n' $modules | sort | xargs)" ] || fail "in go.sum: $got; want: $modules"

export GOPROXY=off GOFLAGS=-mod=vendor
CGO_ENABLED=0 GOARCH=arm64 "$go" build -o "$work/binary" . # go mod vendor also copied its assembly
CGO_ENABLED=0 "$go" build -o "$work/binary" .
out=$("$work/binary")
echo "$out"
# s = 0.25 * 2², theta = 1 - 0.5/sqrt(1)*2
case $out in
"[0] [1] "*) ;;
*) fail "Update's result is wrong: $out" ;;
esac
