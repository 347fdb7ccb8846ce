#!/bin/bash
# tools/faults.sh [WHAT [N]]: faults that take too long for the tests, with what came of them. WHAT is one of
#   kills     a training is killed N times (100) at random moments and goes on after each, to the bits of one that never stopped
#   signals   the same with SIGINT, SIGTERM and SIGHUP, which save
#   replace   `train --overwrite` is killed N times (100) at random moments; RUN is always the old run or the new one
#   full      a training on disks of N sizes (40), from too small to large enough; needs root, or namespaces of users
#   calls     every system call that changes a file: killed before it, and made to fail (build/test_cli_faults)
#   memory    every allocation of a training and a sampling run fails in turn (build/test_api_memory)
#   fuzz      N damaged copies (300) of a file of each kind are opened: words and a status, never a signal or a minute
# or all of them but memory, which takes an hour. The program is build/vane, or $VANE. Exits with 1 if anything did not hold.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
vane=${VANE:-$root/build/vane}
what=${1:-all}
count=${2:-}
[ -w /dev/shm ] && export TMPDIR=${TMPDIR:-/dev/shm} # a disk is waited for at each of thousands of saves
work=$(mktemp -d) || exit 1
trap 'umount "$work/disk" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
bad=0

wrong() {
    echo "  WRONG: $*"
    bad=$((bad + 1))
}

figures() { # figures TEXT: what came of it
    printf '%-9s %s\n' "$what" "$1"
}

weights=model/diffusion_pytorch_model.safetensors
data="world.json:count=200 --threads 1"
train="train $data --model mlp:width=32,layers=2 --batch 16 --log-every 1 --save-every 3 --quiet"
cat >world.json <<'END'
{"classes": [{"name": "left", "components": [{"weight": 1, "mean": [-1, 0.5], "std": 0.2}]},
             {"name": "right", "components": [{"weight": 1, "mean": [1, 0], "std": 0.4}]}]}
END

# A training of so many steps that nothing happened to, and how long it takes.
steps=400
straight() {
    [ -d straight ] && return
    local began=$EPOCHREALTIME
    $vane $train --out straight --steps $steps --preview-every 50 >/dev/null || exit 1
    took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN {print b - a}')
}

pause() { # a random part of the time that the whole takes
    sleep "$(awk -v t="$took" -v r="$RANDOM" 'BEGIN {print t * r / 32768}')"
}

one_line_a_step() { # one_line_a_step RUN
    local last
    last=$(wc -l <"$1/log.jsonl")
    sed -E 's/^\{"step": ([0-9]+),.*\}$/\1/' "$1/log.jsonl" | cmp -s - <(seq "$last") || wrong "$1/log.jsonl has not each step once"
}

nothing_aside() {
    local left
    left=$(find . -name '*.vane-*' | head -n 3)
    [ -z "$left" ] || wrong "left aside: $left"
}

# ends SIGNALS...: a training meets one of the signals N times at random moments, and goes on.
ends() {
    local ended=0 whole=0 runs=0
    straight
    while [ $ended -lt "$count" ]; do
        rm -rf run
        runs=$((runs + 1))
        while :; do
            local how=--resume
            [ -d run ] || how="--model mlp:width=32,layers=2 --batch 16"
            $vane train $data $how --out run --steps $steps --preview-every 50 --log-every 1 --save-every 3 --quiet >/dev/null 2>words &
            local pid=$!
            pause
            local signals=("$@")
            kill -"${signals[RANDOM % $#]}" $pid 2>/dev/null
            wait $pid 2>/dev/null
            local status=$?
            case $status in
            0) break ;;
            130 | 137 | 143 | 129) ended=$((ended + 1)) ;;
            *) wrong "status $status: $(cat words)" && break ;;
            esac
            [ -d run ] && { $vane info run >/dev/null || wrong "run does not open"; whole=$((whole + 1)); }
        done
        cmp -s run/$weights straight/$weights || wrong "other weights after all"
        one_line_a_step run
        nothing_aside
    done
    figures "$ended signals in $runs trainings of $steps steps: $whole runs opened, the rest had no name yet; all ended in the same bits"
}

kills() { count=${count:-100}; ends KILL; }
signals() { count=${count:-60}; ends INT TERM HUP; }

replace() {
    count=${count:-100}
    local old=0 new=0 killed=0
    $vane $train --out first --steps 1 --seed 9 --preview-every -1 >/dev/null || exit 1
    took=9
    for ((i = 0; i < 5; i++)); do # the least time of it, so that the kills come before it ends
        rm -rf run && cp -r first run
        local began=$EPOCHREALTIME
        $vane $train --out run --steps 2 --overwrite --preview-every -1 >/dev/null
        took=$(awk -v a="$began" -v b="$EPOCHREALTIME" -v t="$took" 'BEGIN {print b - a < t ? b - a : t}')
    done
    for ((i = 0; i < count; i++)); do
        rm -rf run run.vane-*
        cp -r first run
        $vane $train --out run --steps 2 --overwrite --preview-every -1 >/dev/null 2>&1 &
        local pid=$!
        pause
        kill -KILL $pid 2>/dev/null && killed=$((killed + 1))
        wait $pid 2>/dev/null
        [ -d run ] || { wrong "run is missing"; continue; }
        $vane info run >/dev/null || wrong "run does not open"
        if cmp -s run/vane.json first/vane.json; then
            old=$((old + 1))
            cmp -s run/$weights first/$weights || wrong "a run with other weights"
        else
            new=$((new + 1))
        fi
        $vane train $data --out run --resume --steps 3 --preview-every -1 --quiet >/dev/null || wrong "run does not go on"
        nothing_aside
    done
    figures "$killed kills: RUN was the old run $old times and the new one $new times, never missing or part of one"
}

full() {
    count=${count:-40}
    if [ "$(id -u)" != 0 ]; then
        [ -n "${VANE_UNSHARED-}" ] || exec unshare -rm env VANE_UNSHARED=1 "$root/tools/faults.sh" full "$count"
    fi
    straight
    local refused=0 saved=0 lost=0 done=0
    mkdir -p disk
    local size
    size=$(du -sk straight | cut -f1)
    for ((i = 1; i <= count; i++)); do
        mount -t tmpfs -o size=$((4 + size * 2 * i / count))k none disk || { echo "no tmpfs may be mounted here"; return; }
        $vane $train --out disk/run --steps $steps --preview-every 50 >/dev/null 2>words
        local status=$?
        if [ $status = 0 ]; then
            done=$((done + 1))
        else
            [ $status = 1 ] && grep -q 'No space left on device' words && [ "$(wc -l <words)" = 1 ] || wrong "status $status: $(cat words)"
            if [ ! -d disk/run ]; then
                refused=$((refused + 1))
                [ -z "$(ls -A disk)" ] || wrong "something is left: $(ls -A disk)"
            else
                grep -q 'saved at step' words && saved=$((saved + 1)) || lost=$((lost + 1))
                rm -rf run && cp -r disk/run run
                $vane train $data --out run --resume --steps $steps --quiet >/dev/null || wrong "does not go on after: $(cat words)"
                cmp -s run/$weights straight/$weights || wrong "other weights after: $(cat words)"
                one_line_a_step run
            fi
        fi
        umount disk
    done
    figures "$count disks: $refused too small for a run (nothing left), $saved saved all before they ended, $lost kept the checkpoint before, $done large enough; all went on to the same bits"
}

calls() {
    VANE_TEST_EVERY_CALL=1 "$root/build/test_cli_faults" >words 2>&1 || wrong "$(grep -E 'ERROR|FAILED' words)"
    figures "$(grep -c ' OK ' words) tests, with every call"
}

memory() {
    VANE_TEST_EVERY_ALLOCATION=1 "$root/build/test_api_memory" >words 2>&1 || wrong "$(grep -E 'ERROR|FAILED' words)"
    figures "$(grep -c ' OK ' words) tests, with every allocation"
}

# damage FILE: one to eight random bytes of it change, or it is cut.
damage() {
    local size
    size=$(stat -c %s "$1")
    if [ $((RANDOM % 8)) = 0 ]; then
        truncate -s $(((RANDOM * 32768 + RANDOM) % size)) "$1"
        return
    fi
    for ((k = RANDOM % 8; k >= 0; k--)); do
        local at=$(((RANDOM * 32768 + RANDOM) % (RANDOM % 2 ? size : size < 256 ? size : 256)))
        printf "\\x$(printf %02x $((RANDOM % 256)))" | dd of="$1" bs=1 seek=$at conv=notrunc status=none
    done
}

# open_damaged FILE COMMAND...: N copies of FILE, damaged, each put in its place (%) of the command.
open_damaged() {
    local file=$1 ok=0 refused=0
    shift
    for ((i = 0; i < count; i++)); do
        cp "$file" "damaged.${file##*.}" && damage "damaged.${file##*.}"
        timeout 60 "$vane" ${*//%/damaged.${file##*.}} >/dev/null 2>words
        local status=$?
        case $status in
        0) ok=$((ok + 1)) ;;
        1 | 2) refused=$((refused + 1)) && [ -s words ] || wrong "no words: $*" ;;
        *) cp "damaged.${file##*.}" "$root/build/wrong.${file##*.}" && wrong "status $status of $*; kept as build/wrong.${file##*.}" ;;
        esac
    done
    figures "$(printf '%-12s %d damaged copies: %d refused with words, %d opened' "${file##*.}" "$count" $refused $ok)"
}

fuzz() {
    count=${count:-300}
    straight
    $vane sample straight -n 4 --steps 2 --out a.safetensors --quiet >/dev/null
    $vane sample straight -n 4 --steps 2 --out a.png --quiet >/dev/null
    cp straight/vane.json state.json
    cp "$root"/tests/golden/images/*.jpg photo.jpg 2>/dev/null || cp "$(ls "$root"/tests/golden/images/*.jp* | head -n 1)" photo.jpg
    cp "$root/tests/golden/arrays/unlabelled.npz" a.npz
    open_damaged world.json sample % -n 1 --steps 1 --out x.npy --quiet
    open_damaged a.safetensors info %
    open_damaged a.png info %
    open_damaged photo.jpg info %
    open_damaged a.npz train % --out none --overwrite --steps 1 --batch 2 --quiet
    cp straight/state/train.safetensors train.safetensors
    for ((i = 0; i < count; i++)); do # a run's own state
        rm -rf run && cp -r straight run && damage run/state/train.safetensors
        timeout 60 $vane train $data --out run --resume --steps $((steps + 1)) --quiet >/dev/null 2>words
        local status=$?
        [ $status -le 2 ] || wrong "status $status of a resume"
    done
    figures "state        $count damaged copies of a run's state: opened or refused"
}

if [ "$what" = all ]; then
    for what in kills signals replace full calls fuzz; do
        count=
        $what
    done
else
    case $what in kills | signals | replace | full | calls | memory | fuzz) $what ;; *) sed -n '2,11s/^# \?//p' "$root/tools/faults.sh" && exit 2 ;; esac
fi
[ $bad = 0 ]
