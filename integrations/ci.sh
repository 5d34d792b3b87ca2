#!/usr/bin/env bash
# What must pass in each module here: bash integrations/ci.sh
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# directive FILE: the go directive of a go.mod.
directive() { sed -n 's/^go //p' "$1"; }

for mod in */go.mod; do
	module=$(dirname "$mod")
	echo "integrations/$module"
	cd "$module"

	# Users of a module need the Go of its directive. The directive cannot be lower than those
	# of the modules that it requires. Indirect requirements may be newer than needed, so the
	# lowest version is found without them. go vet, which first checks all types, shows that
	# this Go is enough.
	{
		sed '/\/\/ indirect/d; s/^go .*/go 1.17/' go.mod
		grep '^replace' go.work # go mod does without go.work
	} >"$work/go.mod"
	cp go.sum "$work/go.sum"
	GOWORK=off go mod tidy -modfile="$work/go.mod" 2>"$work/tidy" || { cat "$work/tidy"; exit 1; }
	lowest=$(directive "$work/go.mod")
	if [ "$(directive go.mod)" != "$lowest" ]; then
		echo "its go directive is $(directive go.mod), but go $lowest is enough if no indirect requirement is newer than needed"
		exit 1
	fi
	release=$lowest
	[[ $release == *.*.* ]] || release+=.0
	GOTOOLCHAIN=go$release go vet ./...

	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go vet ./...
	go vet -tags purego ./...
	go test ./...
	go test -tags purego ./...
	cd ..
done
