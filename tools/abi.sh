#!/bin/bash
# abi.sh check|update: vane.h against the one that is kept in tests/abi/VERSION (the version in the SONAME), as programs that were
# compiled with that one see it: layout of structs, types and names of functions. check fails where such a program could break.
# Further functions break nothing, nor do further members at the end of structs (which carry their size, or are made by the
# library alone). update keeps the present header, for a change that breaks on purpose: once 0.1.0 is released such a change takes a
# new minor version, and after 1.0 a new major one.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^project(vane VERSION \([0-9]*\.[0-9]*\)\..*/\1/p' CMakeLists.txt)
kept=tests/abi/$version/vane.h
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# probe NAME HEADER: NAME.so, whose debugging information has each function's type, and through them all structs.
probe() {
    mkdir "$work/$1"
    cp "$2" "$work/$1/vane.h"
    {
        echo '#include "vane.h"'
        tr '\n' ' ' <"$2" | grep -oE 'VN_API [^;(]*\(' | grep -oE 'vn_[a-z0-9_]+\(' | tr -d '(' |
            sed 's/.*/__typeof__(\&&) type_of_&;/'
    } >"$work/$1/probe.c"
    cc -g -O0 -shared -fPIC "$work/$1/probe.c" -o "$work/$1/probe.so"
}

case ${1-} in
update)
    mkdir -p "$(dirname "$kept")"
    cp include/vane.h "$kept"
    ;;
check)
    [ -f "$kept" ] || { echo "error: $kept is not there; run: tools/abi.sh update"; exit 1; }
    probe kept "$kept"
    probe now include/vane.h
    cat >"$work/grows" <<'END'
[suppress_type]
  type_kind = struct
  name_regexp = ^vn_
  has_data_member_inserted_at = end
END
    abidiff --no-added-syms --suppressions "$work/grows" "$work/kept/probe.so" "$work/now/probe.so"
    ;;
*) echo "usage: tools/abi.sh check|update" >&2 && exit 2 ;;
esac
