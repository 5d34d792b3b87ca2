#!/usr/bin/env bash
# Reports whether other CPUs compute the same bits: runs the golden test natively, on the
# emulators of .ci/emulators, and in Bochs, which has AVX-512 and takes minutes.
#
#	bash bench/cross.sh [NAME...]     native, 386, bochs, or a name in .ci/emulators
#
# Emulators that are not installed are left out with a warning. It fails if bits differ, or if a
# machine ran no implementation.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(go env GOHOSTARCH)
i386=qemu-i386-static
[ "$host" != amd64 ] || i386=env # runs both
list=$(
	echo "native $host golden env"
	echo "386 386 golden $i386"
	grep -v '^#' .ci/emulators
	echo "bochs amd64 golden .ci/bochs.sh"
)
for name; do
	grep -q "^$name " <<<"$list" || { echo "cross.sh: $name, want one of" $(cut -d ' ' -f 1 <<<"$list") >&2; exit 2; }
done
status=0
while read -r name arch _ emulator; do
	program=${emulator%% *}
	[ "$name" != bochs ] || program=bochs # which the script would install
	if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
		continue
	elif ! command -v "$program" >/dev/null; then
		echo "$name is left out: no $program" >&2
		continue
	fi
	bits=same goos=linux # whose system calls the emulators know
	[ "$program" != env ] || goos=$(go env GOHOSTOS)
	out=$(GOOS=$goos GOARCH=$arch CGO_ENABLED=0 \
		go test -count=1 -timeout=10m -run='^TestGolden$' -v -exec "$emulator" . 2>&1 </dev/null) || bits=FAILS
	isas=$(sed -n 's|^ *--- PASS: TestGolden/\([a-z0-9]*\) .*|\1|p' <<<"$out")
	if [ $bits = FAILS ] || [ -z "$isas" ]; then
		bits=FAILS status=1
		echo "$out" >&2
	fi
	printf '%-8s %-8s %-32s %s  %s\n' "$name" "$arch" "$emulator" $bits "${isas//$'\n'/ }"
done <<<"$list"
exit $status
