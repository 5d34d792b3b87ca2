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

	# A program that requires a module needs the Go version of its go directive, which
	# cannot be lower than those of the modules that it requires. Requirements marked
	# indirect may be newer than needed: without them go mod tidy finds the lowest
	# version. go vet, which checks all types first, shows that this version suffices.
	go mod tidy -diff
	sed '/\/\/ indirect/d; s/^go .*/go 1.17/' go.mod >"$work/go.mod"
	cp go.sum "$work/go.sum"
	go mod tidy -modfile="$work/go.mod" 2>"$work/tidy" || { cat "$work/tidy"; exit 1; }
	lowest=$(directive "$work/go.mod")
	if [ "$(directive go.mod)" != "$lowest" ]; then
		echo "its go directive is $(directive go.mod), but go $lowest suffices if no indirect requirement is newer than needed"
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
