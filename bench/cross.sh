#!/usr/bin/env bash
# Tells whether CPUs that are not here compute the same bits: the golden test under
# emulators. Haswell has AVX2, Nehalem has not; Bochs, which takes minutes, has
# AVX-512.
#
#	bash bench/cross.sh [how a line of the list begins, such as arm64]
#
# What is not installed is left out with a warning. Other bits, or no implementation
# that ran, are an error.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(go env GOHOSTARCH)
i386=qemu-i386-static
[ "$host" != amd64 ] || i386=env # it takes both
status=0
while read -r arch emulator; do
	program=${emulator%% *}
	[ "$program" != .ci/bochs.sh ] || program=bochs # which it would install
	if [[ "$arch $emulator" != "${1:-}"* ]]; then
		continue
	elif ! command -v "$program" >/dev/null; then
		echo "$arch is left out: no $program" >&2
		continue
	fi
	bits=same goos=linux # whose system calls the emulators know
	[ "$program" != env ] || goos=$(go env GOHOSTOS)
	out=$(GOOS=$goos GOARCH=$arch CGO_ENABLED=0 \
		go test -count=1 -timeout=10m -run='^TestGolden$' -v -exec "$emulator" . 2>&1) || bits=FAILS
	isas=$(sed -n 's|^ *--- PASS: TestGolden/\([a-z0-9]*\) .*|\1|p' <<<"$out")
	if [ $bits = FAILS ] || [ -z "$isas" ]; then
		bits=FAILS status=1
		echo "$out" >&2
	fi
	printf '%-8s %-32s %s  %s\n' "$arch" "$emulator" $bits "${isas//$'\n'/ }"
done <<END
$host env
386 $i386
amd64 .ci/bochs.sh
amd64 qemu-x86_64-static -cpu Haswell
amd64 qemu-x86_64-static -cpu Nehalem
arm qemu-arm-static
arm64 qemu-aarch64-static
loong64 qemu-loongarch64-static
ppc64le qemu-ppc64le-static
riscv64 qemu-riscv64-static
s390x qemu-s390x-static
END
exit $status
