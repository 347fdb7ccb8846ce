#!/bin/sh
# Fails when files of a room need each other in a circle that docs/architecture.md does not name. Usage:
# tools/check_circles.sh [BUILD] (default build), after a build without link-time optimisation. A file needs another when its
# object uses a symbol that the other defines. docs/architecture.md names, room by room, the files that circles go through
# (its lines "- `room`: `file`, `file`: why"); without these there may be no circle, and each of them must be in one. A network and
# its NAME_preset.c count as one file.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}

named() { # the files of room $1 that the document names, without .c
    sed -n "s/^- \`$1\`: \(\`[^:]*\`\):.*/\1/p" docs/architecture.md | tr -d '`,'
}

edges() { # one "FILE NEEDED" a line, of the objects of room $1, for symbols that one of them defines
    for object in "$build"/CMakeFiles/vane_"$1".dir/src/"$1"/*.o; do
        nm -g "$object" | awk -v file="$(basename "$object" .c.o | sed 's/_preset$//')" 'NF == 2 {print "needs", file, $2} NF == 3 {print "has", file, $3}'
    done | awk '$1 == "has" {owner[$3] = $2} $1 == "needs" {file[++n] = $2; symbol[n] = $3}
        END {for (i = 1; i <= n; i++) if (symbol[i] in owner && owner[symbol[i]] != file[i]) print file[i], owner[symbol[i]]}' | sort -u
}

circle() { # the files of a circle among the edges of stdin, but for the files in $1: files that nothing needs, or that need nothing, go
    awk -v out="$1" 'BEGIN {k = split(out, name, " "); for (i = 1; i <= k; i++) gone[name[i]] = 1}
        NF == 2 {from[++n] = $1; to[n] = $2}
        END {
            do {
                split("", needs); split("", needed); less = 0
                for (i = 1; i <= n; i++) if (!(from[i] in gone) && !(to[i] in gone)) {needs[from[i]] = 1; needed[to[i]] = 1}
                for (f in needs) if (!(f in needed)) {gone[f] = 1; less = 1}
                for (f in needed) if (!(f in needs)) {gone[f] = 1; less = 1}
            } while (less)
            for (f in needs) print f
        }' | sort | tr '\n' ' '
}

bad=0 seen=0
for directory in src/*/; do
    room=$(basename "$directory")
    ls "$build"/CMakeFiles/vane_"$room".dir/src/"$room"/*.o >/dev/null 2>&1 || continue
    seen=$((seen + 1))
    found=$(edges "$room")
    files=$(named "$room")
    left=$(echo "$found" | circle "$files")
    [ -z "$left" ] || { echo "src/$room: a circle among $left" >&2; bad=1; }
    for file in $files; do
        others=$(for other in $files; do [ "$other" = "$file" ] || printf '%s ' "$other"; done)
        [ -n "$(echo "$found" | circle "$others")" ] && continue
        echo "src/$room/$file.c is named in docs/architecture.md, but no circle needs it to be" >&2
        bad=1
    done
done
[ "$seen" -gt 1 ] || { echo "$build has no objects of the rooms: build it first" >&2; bad=1; }
[ "$bad" -eq 0 ] && echo "ok - every circle of files is named"
[ "$bad" -eq 0 ]
