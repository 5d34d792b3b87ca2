#!/usr/bin/env bash
# Runs the package's tests on a CPU with AVX-512 that Bochs emulates:
#
#	.ci/bochs.sh -test.run TestGolden -test.v
#	go test -exec "$PWD/.ci/bochs.sh" -run TestGolden -v .
#
# Arguments are those of a test binary. If the first one is not a test binary, as go
# test -exec passes it, the script builds one from the folder above. The tests get the
# variables that begin with KERNEL_. They run in a Linux of their own, in a copy of the
# current folder's files and testdata, some hundred times as slowly as elsewhere. The exit
# status is that of the tests, or 125 if they did not finish, at the latest after
# $BOCHS_TIMEOUT seconds (900).
#
# Needs Debian or a similar system on amd64, and installs missing packages. The kernel is
# downloaded to $XDG_CACHE_HOME/kernel-bochs.
set -euo pipefail

fail() { echo "bochs.sh: $*" >&2; exit 125; }

source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/kernel-bochs.XXXXXX")
emulator=
cleanup() {
	if [ -n "$emulator" ]; then
		kill "$emulator" 2>/dev/null || true
		wait "$emulator" || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 125' INT TERM QUIT HUP

# ---- What it needs ----

packages=()
for file in bochs:/usr/bin/bochs bochs-term:/usr/share/doc/bochs-term \
	bochsbios:/usr/share/bochs/BIOS-bochs-latest vgabios:/usr/share/vgabios/vgabios.bin \
	isolinux:/usr/lib/ISOLINUX/isolinux.bin syslinux-common:/usr/lib/syslinux/modules/bios/ldlinux.c32 \
	genisoimage:/usr/bin/genisoimage cpio:/usr/bin/cpio; do
	[ -e "${file#*:}" ] || packages+=("${file%%:*}")
done
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kernel-bochs
if [ ${#packages[@]} -gt 0 ] || [ ! -e "$cache/vmlinuz" ]; then
	command -v apt-get >/dev/null || fail "no apt-get to install ${packages[*]} and a kernel with"
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	{
		$sudo apt-get update -q
		if [ ${#packages[@]} -gt 0 ]; then
			$sudo apt-get install -qy --no-install-recommends "${packages[@]}"
		fi
	} >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fail "not installed: ${packages[*]}"; }
fi
if [ ! -e "$cache/vmlinuz" ]; then
	mkdir "$work/image"
	(
		cd "$work/image"
		# The package without a version needs the newest one that has its version in its name.
		apt-get download "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')"
		dpkg -x ./*.deb .
	) >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fail "no linux-image-cloud-amd64"; }
	mkdir -p "$cache"
	cp "$work"/image/boot/vmlinuz-* "$cache/vmlinuz.$$"
	mv "$cache/vmlinuz.$$" "$cache/vmlinuz"
fi

# ---- The machine: a CD with a kernel and all files in an initramfs ----

root=$work/root disc=$work/disc
mkdir -p "$root/package" "$disc"
case ${1:-} in
[!-]*)
	cp "$1" "$root/test"
	shift
	;;
*)
	cd "$source/.."
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go test -c -o "$root/test" .
	;;
esac
CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -ldflags='-s -w' -o "$root/init" "$source/bochs/init.go"
printf '%s\0' "$@" >"$root/args"
env -0 | { grep -z '^KERNEL_' || true; } >"$root/env"
find . -maxdepth 1 -type f -exec cp {} "$root/package" \;
if [ -d testdata ]; then cp -r testdata "$root/package"; fi
(cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$disc/initrd"

cp "$cache/vmlinuz" /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$disc"
# clearcpuid switches XSAVES and XSAVEC off. With them Linux finds the CPU's sizes
# inconsistent and does not use AVX. The other parameters: no missing hardware, no waiting
# for it, no messages of the kernel among the tests' lines.
cat >"$disc/isolinux.cfg" <<'CFG'
default linux
label linux
	kernel vmlinuz
	append initrd=initrd console=ttyS0 loglevel=1 panic=-1 reboot=t nokaslr mitigations=off lpj=1000000 tsc=reliable nosmp noapic random.trust_cpu=on clearcpuid=323,321 cryptomgr.notests initcall_blacklist=load_system_certificate_list,trace_eval_init
CFG
genisoimage -quiet -o "$work/cd.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$disc"

mkfifo "$work/serial"
# The CPU's clock counts instructions (sync=none), 50 million a second. A reset
# is a triple fault, and ends Bochs.
cat >"$work/bochsrc" <<RC
megs: 512
cpu: model=corei7_skylake_x, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$work/cd.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
display_library: rfb, options="timeout=0"
sound: waveoutdrv=dummy
speaker: enabled=0
panic: action=fatal
clock: sync=none
log: $work/bochs.log
RC
echo c >"$work/continue" # Debian's Bochs starts in its debugger

# ---- The run ----

limit=${BOCHS_TIMEOUT:-900}
# Its open serial port holds the loop below.
timeout "$limit" bochs -q -f "$work/bochsrc" -rc "$work/continue" </dev/null >"$work/out" 2>&1 9>"$work/serial" &
emulator=$!
status=
while IFS= read -r line; do
	line=${line%$'\r'}
	case $line in
	'init: exit status '*) status=${line##* } ;;
	*) [ -n "$status" ] || printf '%s\n' "$line" ;; # what follows is the kernel's
	esac
done <"$work/serial"
ended=0
wait "$emulator" || ended=$?
emulator=
if [ -z "$status" ]; then
	tail -n 20 "$work/out" "$work/bochs.log" >&2 || true
	[ "$ended" != 124 ] || fail "the tests did not end within $limit s"
	fail "the machine ended before the tests"
fi
exit "$status"
