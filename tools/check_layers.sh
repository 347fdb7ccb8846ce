#!/bin/sh
# Fails when a room of src/ includes a room that it must not know, another room's inside, or, in the program,
# anything of vane but vane.h. The rule is the list of vane_room(ROOM WHAT IT MAY USE...) in CMakeLists.txt, so that
# what may be included is what may be linked.
set -u
cd "$(dirname "$0")/.." || exit 1

allowed() { # the rooms and libraries that room $1 may use besides itself
    [ "$1" = cli ] && return
    grep -q "^vane_room($1[ )]" CMakeLists.txt || { echo "src/$1 has no vane_room() in CMakeLists.txt" >&2; exit 1; }
    sed -n "s/^vane_room($1 *\(.*\))/\1/p" CMakeLists.txt
}

includes() { # one "FILE INCLUDED" a line, for the files of room $1
    grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]+"' src/"$1"/*.[ch] | sed 's/:[^"]*"/ /; s/"$//'
}

breach() {
    echo "$1 includes \"$2\": $3" >&2
    breaches=$((breaches + 1))
}

breaches=0
for directory in src/*/; do
    room=$(basename "$directory")
    ls "$directory"*.[ch] >/dev/null 2>&1 || continue
    may=$(allowed "$room") || exit 1
    list=$(includes "$room")
    while read -r file included; do
        other=${included%%/*}
        case $included in
        '' | vane.h | "$room"/*) continue ;;
        "$other/$other.h") ;;
        */*) breach "$file" "$included" "another room is entered by its $other/$other.h" ;;
        *) breach "$file" "$included" "write \"$room/$included\"" && continue ;;
        esac
        case " $may " in
        *" $other "*) ;;
        *) breach "$file" "$included" "$room may include: ${may:-nothing of vane but vane.h}" ;;
        esac
    done <<EOF
$list
EOF
done

[ "$breaches" -eq 0 ] && echo "ok - every include is allowed"
[ "$breaches" -eq 0 ]
