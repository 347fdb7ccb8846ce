#!/bin/bash
# tools/margins.sh [-b BUILD] [-n SEEDS] [-f FIRST] [TEST...]: how near the tests' numbers come to their bounds (tests/support/bound.h).
# Runs the tests of BUILD (build), all or those named, under every kernel set; those that draw by VANE_TEST_SEED with SEEDS
# seeds (8) from FIRST (0) on. Prints the worst measured error of each check as a share of its bound, with the kernel set,
# and last how many are above a half, which is how far any may go. The exit status is 0 if there are none and no test failed.
set -u
cd "$(dirname "$0")/.." || exit 1
build=build seeds=8 first=0
while getopts b:n:f: option; do
    case "$option" in
    b) build=$OPTARG ;;
    n) seeds=$OPTARG ;;
    f) first=$OPTARG ;;
    *) echo "usage: tools/margins.sh [-b BUILD] [-n SEEDS] [-f FIRST] [TEST...]" >&2 && exit 2 ;;
    esac
done
shift $((OPTIND - 1))
pattern=$(IFS='|' && echo "$*")

margins=$(mktemp) output=$(mktemp) failed=0
trap 'rm -f "$margins" "$output"' EXIT
export VANE_TEST_MARGINS=$margins
for ((seed = first; seed < first + seeds; seed++)); do
    if ! VANE_TEST_SEED=$seed ctest --test-dir "$build" -j "$(nproc)" -R "^(${pattern:-.*})\$" >"$output" 2>&1; then
        echo "with VANE_TEST_SEED=$seed:" && grep -E '[0-9]+ - .*\((Failed|Timeout|Not Run|.*Exception.*)\)|No tests' "$output"
        failed=1
    fi >&2
    # again only those that draw by it
    pattern=$(awk -F '\t' '$6 == "drawn" { print $2 }' "$margins" | sort -u | paste -sd '|')
    [ -n "$pattern" ] || break
done
printf 'share\ttest\tkernels\tmeasured\tbound\tseed\twhat\n'
sort -t $'\t' -k 1,1gr "$margins" | awk -F '\t' '!seen[$2, $7]++ { print; bad += $1 > 0.5; n++ }
    END { printf "%d checks, %d above half of their bound\n", n, bad; exit bad > 0 }' && [ "$failed" -eq 0 ]
