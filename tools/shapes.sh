#!/bin/bash
# From nothing to pictures of what a sentence says: shapes with exact captions (shapes.py), a text model trained on them, held-out
# captions drawn at several guidance values, and a judge that says how many pictures are right.
#     tools/shapes.sh VANE FOLDER [MINUTES]
# MINUTES (20) are those of training. What is in FOLDER already is used again: data that is there, and a run that goes on. Further
# flags for `vane train` may be in TRAIN, guidance values in GUIDANCE, the number of captions in COUNT.
set -eu
[ $# -ge 2 ] || { echo "usage: tools/shapes.sh VANE FOLDER [MINUTES]" >&2; exit 2; }
vane=$(realpath "$1")
tools=$(realpath "$(dirname "$0")")
minutes=${3:-20}
mkdir -p "$2"
cd "$2"
[ -d data ] || { python3 "$tools/shapes.py" make making --count 12000; mv making data; }
python3 "$tools/shapes.py" held --count "${COUNT:-240}" >held.txt
resume=
[ -d run ] && resume=--resume
# shellcheck disable=SC2086
"$vane" train data --out run --minutes "$minutes" $resume ${TRAIN:-}
"$vane" sample run --prompts held.txt -n "${COUNT:-240}" --guidance "${GUIDANCE:-1,2,3,5}" --out held.safetensors
"$vane" sample run --prompts <(sed -n 1,12p held.txt) -n 48 --guidance 2 --out held.png
python3 "$tools/shapes.py" judge held.safetensors | tee judged.txt
