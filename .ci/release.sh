#!/usr/bin/env bash
# Uses each module as strangers do once it is tagged, each in an empty folder, with an empty
# module cache, from a module proxy that serves this checkout (proxy.sh): go get, go run, and the
# C library. consumer.sh goes further for the root module. The steps that CONTRIBUTING.md lists
# for a release are also tried here.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(sed -n 's/^module //p' go.mod)

work=$(mktemp -d "${TMPDIR:-/tmp}/kernel-release.XXXXXX")
trap 'rm -rf "$work"' EXIT
version=$(.ci/proxy.sh "$work/proxy")

fail() { echo "release.sh: $*" >&2; exit 1; }
# empty NAME COMMAND...: in an empty folder.
empty() {
	local name=$1
	shift
	echo "$name: $*"
	mkdir -p "$work/$name"
	(cd "$work/$name" && "$@") >"$work/log" 2>&1 || { cat "$work/log"; fail "$name: $*"; }
}

mapfile -t nested < <(git ls-files '*/go.mod' | xargs dirname)
for dir in "${nested[@]}"; do
	! grep -q '^replace\|^	*[^ ]* => ' "$dir/go.mod" || fail "$dir/go.mod: go run and go install refuse modules with replace directives"
done

# -trimpath: what was built before, in another folder, need not be built again.
export GOPROXY="file://$work/proxy,file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
export GOMODCACHE=$work/cache GONOSUMDB=$module GOFLAGS="-modcacherw -trimpath" GOWORK=off

empty digits go run "$module/examples/digits@$version" -epochs 1
empty bench go run "$module/bench@$version" -sizes 1Ki -time 1ms

for dir in "${nested[@]}"; do
	[ "$dir" != bench ] || continue # a command only
	empty "$dir" go mod init example.com/stranger
	empty "$dir" go get "$module/$dir@$version" # without naming the root
	grep -q "^	$module $version // indirect" "$work/$dir/go.mod" || { cat "$work/$dir/go.mod"; fail "$dir: the root is not $version"; }
	if [ "$dir" != python/capi ]; then
		printf 'package main\n\nimport _ "%s"\n\nfunc main() {}\n' "$module/$dir" >"$work/$dir/main.go"
		empty "$dir" go run .
	fi
done

cat >"$work/python/capi/program.c" <<'C'
#include <kernel.h>
#include <stdio.h>

int main(void) { return puts(kernel_isa()) < 0; }
C
header=$(cd "$work/python/capi" && go list -m -f '{{.Dir}}' "$module/python/capi")
empty python/capi env CGO_ENABLED=1 go build -buildmode=c-shared -o libkernel_rmsprop.so "$module/python/capi"
empty python/capi cc program.c -I "$header" ./libkernel_rmsprop.so -o program
empty python/capi ./program

# A release: once the root is tagged, go mod tidy adds its hashes to the nested modules, and no
# more; then they do without their go.work. If their go.sum has hashes already, the root that
# is here must be what was tagged.
for dir in "${nested[@]}"; do
	mkdir -p "$work/tidy"
	git ls-files -z "$dir" | xargs -0 cp --parents -t "$work/tidy"
	empty "tidy/$dir" go mod tidy
	changed=$(diff "$dir/go.mod" "$work/tidy/$dir/go.mod"; diff "$dir/go.sum" "$work/tidy/$dir/go.sum" | grep '^[<>]' | grep -v "^> $module $version") || true
	[ -z "$changed" ] || fail "$dir is not tidy:"$'\n'"$changed"
	empty "tidy/$dir" go list -deps -test ./... # all hashes are there
done
echo "every module works as $version"
