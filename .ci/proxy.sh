#!/usr/bin/env bash
# Serves the modules of this repository as if they were tagged:
#
#	.ci/proxy.sh FOLDER
#
# writes a module proxy, for GOPROXY=file://FOLDER, and prints the version that it has of each
# module: the one that the nested modules require of the root. It holds the last commit, and
# later changes to files that git knows.
set -euo pipefail
folder=$1
cd "$(dirname "$0")/.."
module=$(sed -n 's/^module //p' go.mod)
mapfile -t nested < <(git ls-files '*/go.mod' | xargs dirname)

mapfile -t versions < <(sed -nE "s,^(require|\t) ?$module (v[^ ]+)\$,\2,p" "${nested[@]/%//go.mod}" | sort | uniq -c)
case "${#versions[@]} ${versions[*]}" in
"1 "*" ${#nested[@]} v"*) version=${versions[0]##* } ;;
*) echo "proxy.sh: the nested modules (${nested[*]}) must all require the same version of $module: ${versions[*]}" >&2; exit 1 ;;
esac

git update-index -q --refresh >/dev/null || true # else a new time of a file makes the next command fail
commit=$(git -c user.name=ci -c user.email=ci@localhost stash create)
for dir in . "${nested[@]}"; do
	path=$module
	[ "$dir" = . ] || path+=/$dir
	files=$folder/$path/@v/$version
	mkdir -p "$(dirname "$files")"
	excluded=() # a module's zip has no folder with a go.mod of its own
	[ "$dir" != . ] || excluded=("${nested[@]/#/:!}")
	git archive --format=zip --prefix="$path@$version/" -o "$files.zip" "${commit:-HEAD}:${dir#.}" -- . "${excluded[@]}"
	git show "${commit:-HEAD}:./$dir/go.mod" >"$files.mod"
	echo "{\"Version\":\"$version\"}" >"$files.info"
	echo "$version" >"${files%/*}/list"
done
echo "$version"
