#!/bin/bash
# commands.sh BUILD: runs every `vane ...` line of README.md and docs/, in order and as it stands, where what it names is there:
# photos (ten classes), RUN, INNER with an internal head, captioned and a run of it, WORDS, a text encoder, clip-vit-large, picture.png, small.png and mask.png, world.json, noise.safetensors, pairs.npz and the docs' own tilt.json and chains.json. A stand-in for the program
# cuts only what takes long: steps and minutes of training, batches, one large network, and thousands of samples. Where a text
# leaves a value open (G, O) one is taken.
set -u
program=$1/vane
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

# ---- what the commands name --------------------------------------------------------------------------------------

octets() { # octets N...: a byte for each
    local n
    for n in "$@"; do printf '%b' "\\0$(printf %o "$n")"; done
}

idx() { # idx FOLDER: twenty pictures of 8 x 8 in ten classes
    local i pixel
    mkdir -p "$1"
    octets 0 0 8 3 0 0 0 20 0 0 0 8 0 0 0 8 >"$1/train-images-idx3-ubyte"
    octets 0 0 8 1 0 0 0 20 >"$1/train-labels-idx1-ubyte"
    for i in {0..19}; do
        pixel=$(octets $((100 + 5 * i)))
        for _ in {1..64}; do printf '%s' "$pixel"; done >>"$1/train-images-idx3-ubyte"
        octets $((i % 10)) >>"$1/train-labels-idx1-ubyte"
    done
}

prepare() {
    idx fashion-mnist &&
        "$program" train fashion-mnist --out drawing --steps 1 --batch 4 --preview-every -1 --model unet2d:channels=8,levels=2 --quiet || return 1
    local i=0 class
    for class in top trouser pullover dress coat sandal shirt sneaker bag 'ankle boot'; do # the docs' RUN knows these
        "$program" sample drawing -n 2 --class $((i++)) --steps 1 --quiet --out "photos/$class" || return 1
    done
    sed -n '/^    {"classes"/,/^$/p' "$source/docs/what-guidance-samples.md" >tilt.json
    sed -n '/^    {"tokens"/,/^$/p' "$source/docs/what-guidance-samples.md" >chains.json
    cp tilt.json world.json
    local header='{"noise":{"dtype":"F32","shape":[2,1,8,8],"data_offsets":[0,512]}}'
    { octets ${#header} 0 0 0 0 0 0 0 && printf %s "$header" && head -c 512 /dev/zero; } >noise.safetensors
    cp "$source/tests/golden/arrays/pairs-points.npz" pairs.npz
    cp "$(find photos -name '*.png' | sort | head -n 1)" picture.png && cp picture.png mask.png
    echo iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR42mNsYGBiYAAAApIAhOoU7S4AAAAASUVORK5CYII= |
        base64 -d >small.png # 2 x 2 pixels
    mkdir captioned && i=0
    for class in photos/*; do # and WORDS knows these
        for picture in "$class"/*.png; do
            cp "$picture" captioned/$i.png && printf 'a %s\n' "${class##*/}" >captioned/$((i++)).txt
        done
    done
    "$program" train captioned --out WORDS --steps 1 --batch 4 --preview-every -1 --quiet \
        --model text-dit:depth=2,width=16,heads=2,text_depth=1,text_width=16 || return 1
    cp -r WORDS clip-vit-large # a run is a text encoder as any other
    "$program" train photos --out RUN --steps 1 --batch 4 --preview-every -1 --model dit:depth=4,width=16,heads=2 --quiet &&
        "$program" train photos --out INNER --steps 1 --batch 4 --preview-every -1 --model dit:depth=4,width=16,heads=2,internal=2 --quiet
}

# ---- running -----------------------------------------------------------------------------------------------------

# The program with less to do.
vane() {
    local verb=$1 last='' word words=() trains=no goes_on=no counted=no
    shift
    [ "$verb" = train ] || [ "$verb" = distill ] && trains=yes
    for word in "$@"; do
        [ "$word" = --resume ] && goes_on=yes
        case "$trains $last" in
        'yes --steps' | 'yes --minutes') words=("${words[@]:0:${#words[@]}-1}") && last='' && continue ;;
        esac
        case "$trains $last $word" in
        *' --batch '*) word=4 ;;
        *' -n '*) word=20 counted=yes ;;
        'yes --out RUN') word=toy ;; # RUN goes on drawing pictures
        esac
        case $word in
        /usr/share/datasets/fashion-mnist) word=fashion-mnist ;;
        dit:depth=12,width=384,heads=6) word=dit:depth=4,width=48,heads=6 ;;
        reflow:pairs=*) word=reflow:pairs=20 ;;
        G) word=2 ;;
        O) word=ism ;;
        esac
        words+=("$word")
        last=$word
    done
    [ $trains = yes ] && words+=(--steps 4)
    if [ $trains = yes ] && [ $goes_on = no ]; then
        words+=(--overwrite --preview-every -1)
        [[ " ${words[*]} " != *" --batch "* ]] && words+=(--batch 4)
    fi
    [ "$verb" = sample ] && [ $counted = no ] && words+=(-n 2)
    if [ "$verb" = sweep ]; then # of twenty pictures
        [[ " ${words[*]} " != *" --steps "* ]] && words+=(--steps 2)
        words+=(-n 20 --resamples 0 --metric kd)
    fi
    if [ "$verb" = bench ]; then
        words+=(--steps 2)
        [[ " ${words[*]} " != *" --batch "* ]] && words+=(--batch 4)
    fi
    "$program" "$verb" "${words[@]}"
}

commands() { # those of a page, a line each; not forms (vane VERB ...), messages
# (vane train: ...), nor forward, whose tensors tests/cli makes
    sed -n -e ':more' -e '/^    .*\\$/{N;s/\\\n *//;b more' -e '}' -e '/^    vane /s/^    //p' "$1" | grep -vE 'VERB|SOURCE|^vane forward|^vane [a-z]+:'
}

prepare >log 2>&1 || { cat log; echo "not ok - what the commands name can be made"; exit 1; }
for page in README.md docs/training.md docs/sampling.md docs/guidance.md docs/formats.md docs/measuring.md \
    $(cd "$source" && ls docs/*.md | grep -vE 'docs/(training|sampling|guidance|formats|measuring)\.md'); do
    while read -r command; do
        if (eval "$command") </dev/null >log 2>&1; then
            echo "ok - $page: $command"
        else
            echo "not ok - $page: $command"
            sed 's/^/    /' log
            failed=1
        fi
    done < <(commands "$source/$page")
done
exit $failed
