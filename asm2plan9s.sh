#!/bin/sh
# asm2plan9s.sh FILE...: encodes each line of each FILE that reads
#     <tab>WORD $0x........ // instruction in GNU syntax
#     #define NAME(...) WORD $(0x........ | ...) // instruction in GNU syntax
# from its comment, for the arm64 instructions that Go's assembler lacks. A line of a
# macro may have its backslash before the comment; one that takes registers by number
# has register 0 for each in its comment. A WORD without a comment is an error.
#
# asm2plan9s knows one architecture, its own. On amd64 it is built for arm64
# and run by qemu, beside the cross assembler (Debian: qemu-user-static and
# binutils-aarch64-linux-gnu); on arm64 it needs the assembler alone.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

if [ "$(go env GOHOSTARCH)" = arm64 ]; then
	as=as run=
else
	as=aarch64-linux-gnu-as run=qemu-aarch64-static
fi
ln -s "$(command -v $as)" "$tmp/as"
CGO_ENABLED=0 GOARCH=arm64 go build -o "$tmp/asm2plan9s" github.com/minio/asm2plan9s

# It passes over a comment in any column but its own, silently, and drops a
# macro's backslash: so it gets the instructions alone, and only the bytes that
# it finds go back into FILE.
for file; do
	if grep -n 'WORD [$]' "$file" | grep -v ' // '; then
		echo "$file: these WORDs have no comment" >&2
		exit 1
	fi
	sed -n 's|^.*\(WORD [$]\).* // |\t\10x00000000 // |p' "$file" >"$tmp/words.s"
	PATH="$tmp:$PATH" $run "$tmp/asm2plan9s" "$tmp/words.s" >"$tmp/log" || {
		cat "$tmp/log" >&2
		exit 1
	}
	awk -v words="$tmp/words.s" '
		/WORD [$].* \/\/ / { getline w < words; sub(/0x[0-9a-f]+/, substr(w, 8, 10)) }
		{ print }' "$file" >"$tmp/new.s"
	cmp -s "$tmp/new.s" "$file" || cat "$tmp/new.s" >"$file"
done
