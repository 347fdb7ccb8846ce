#!/bin/bash
# Checksums of what vane computes: weights after some training steps of each model, path and objective, and samples of
# each sampler and guide, on an exact world and on a small network. Two programs that compute the same print the same
# lines, so that a change that was to alter no bit can be held to it, and one that was meant to shows where it did:
#     tools/bits.sh OLD/vane > old; tools/bits.sh build/vane > new; diff old new
# Bits depend on the kernels (--cpu) and on the machine's mathematical library, so both runs belong on one machine.
# Needs dataset-fashion-mnist, as ./demo does. Half a minute; --quick leaves out most of the training.
set -u
quick=no
[ "${1-}" = --quick ] && quick=yes && shift
vane=$(realpath "${1:?usage: tools/bits.sh [--quick] VANE}")
images=/usr/share/datasets/fashion-mnist
[ -d "$images" ] || images=$(dirname "$(dpkg -L dataset-fashion-mnist | grep train-images | head -n 1)")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

cat >world.json <<'END'
{"classes": [
  {"name": "a", "components": [{"weight": 0.7, "mean": [-1, 0.4], "cov": [[0.1, 0.03], [0.03, 0.2]]},
                               {"weight": 0.3, "mean": [0.5, 1.2], "std": 0.3}]},
  {"name": "b", "components": [{"weight": 1, "mean": [1, -0.6], "cov": [[0.2, -0.05], [-0.05, 0.1]]}]}],
 "weak": {"classes": [{"name": "a", "components": [{"weight": 1, "mean": [-0.5, 0.6], "std": 0.6}]},
                      {"name": "b", "components": [{"weight": 1, "mean": [0.8, -0.4], "std": 0.6}]}]}}
END

# sum NAME FILE COMMAND...: the checksum of what the command writes to FILE (a pattern), or that it refused.
sum() {
    local name=$1 file=$2
    shift 2
    rm -f out.npy
    if "$@" --quiet >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        printf '%s  %s\n' "$(sha256sum $file | cut -c 1-16)" "$name"
    else
        printf '%-16s  %s\n' refused "$name"
    fi
}

names() { "$vane" list "$1" | sed -nE 's/^([a-z0-9+-]+) .*/\1/p'; }

train() { # train NAME DATA FLAG...: 200 steps, or 40 of images
    local run=run-$1 name=$1
    shift
    sum "train $name" "$run/*/diffusion_pytorch_model.safetensors" \
        "$vane" train "$@" --out "$run" --overwrite --preview-every -1 --seed 3
}

train unet "$images" --steps 40 --batch 16 --model unet2d:channels=8
train dit "$images" --steps 40 --batch 16 --model dit:depth=2,width=32,patch=4
train points points:moons --steps 200
if [ "$quick" = no ]; then
    train unet-validated "$images" --steps 40 --batch 16 --model unet2d:channels=8 --validate 0.1 --dropout 0.2 --flip
    train dit-rms "$images" --steps 40 --batch 16 --model dit:depth=2,width=32,patch=4,norm=rms,qk_norm=rms,rope=10000,registers=2
    for path in $(names paths); do train "points-$path" points:moons --path "$path" --steps 200; done
    for objective in $(names objectives); do
        train "world-$objective" world.json --path ddpm --predict score --objective "$objective" --steps 100
    done
    train learned points:moons --path ddpm --objective hybrid --steps 100
fi

for sampler in $(names samplers); do
    for path in ddpm rectified edm; do
        sum "world $path $sampler" out.npy \
            "$vane" sample world.json -n 16 --path $path --sampler "$sampler" --steps 8 --guidance 2 --seed 5 --out out.npy
    done
    sum "unet $sampler" out.npy "$vane" sample run-unet -n 4 --sampler "$sampler" --steps 4 --guidance 2 --seed 5 --out out.npy
done
for guide in $(names guides); do
    label=$guide
    [ "$guide" = compose ] && label=also # its name before 0.2, so that older lists of checksums compare
    for source in world.json run-unet run-dit; do
        sum "$source $label" out.npy \
            "$vane" sample $source -n 4 --guide "$guide" --steps 6 --guidance 3 --seed 5 --out out.npy
    done
done
for grid in $(names grids); do
    for path in ddpm rectified edm; do
        sum "grid $path $grid" out.npy \
            "$vane" sample world.json -n 8 --path $path --grid "$grid" --steps 8 --guidance 2 --seed 5 --out out.npy
    done
done
for source in run-unet run-points; do
    sum "defaults $source" out.npy "$vane" sample $source -n 4 --guidance 1 --out out.npy
done
