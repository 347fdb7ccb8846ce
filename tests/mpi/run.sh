#!/bin/bash
# run.sh BUILD: several processes that train one model, by each MPI that is here with its module: the same bits for 1, 2, 4 and 8
# processes and however a run is stopped and gone on with; what is refused; one that is killed or hangs. Where no MPI is, nothing is tested.
set -u
build=$(cd "$1" && pwd)
vane=$build/vane
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
unset VANE_MPI
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # of a test in a container

holds() { # holds WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok - $what"
    else
        echo "not ok - $what"
        sed 's/^/    /' "$work/log"
        failed=1
    fi
}

# launch MPI R COMMAND...: the words of Open MPI's own would come amid a line of vane's
launch() {
    local mpi=$1 count=$2
    shift 2
    case $mpi in
    openmpi) timeout 180 mpirun.openmpi --quiet --oversubscribe -n "$count" "$@" ;;
    mpich) timeout 180 mpirun.mpich -n "$count" "$@" ;;
    esac
}

# The numbers of a safetensors file, without its header, which has the time it took.
numbers() { tail -c +$((9 + $(od -An -t u8 -N 8 "$1"))) "$1"; }

# What a log has but for times.
steps() { sed 's/, "images_per_s.*//' "$1/log.jsonl"; }

same() { # same RUN RUN: weights, snapshots of averages, all that resuming needs, and the log
    local file
    cmp <(steps "$1") <(steps "$2") || return 1
    [ "$(find "$1" -name '*.safetensors' | wc -l)" -ge 2 ] || return 1
    for file in $(cd "$1" && find . -name '*.safetensors'); do
        cmp <(numbers "$1/$file") <(numbers "$2/$file") || return 1
    done
}

says() { # says STATUS WORDS COMMAND...: fails so, with these words in one line of its own and no more
    local status=$1 words=$2
    shift 2
    "$@" >says.log 2>&1
    local is=$?
    cat says.log
    [ "$is" -eq "$status" ] && grep -qF -- "$words" says.log && [ "$(grep -c '^vane' says.log)" -eq 1 ]
}

# ---- data and networks ----------------------------------------------------------------------------------------

mkdir pictures
{ printf '\000\000\010\003\000\000\000\100\000\000\000\010\000\000\000\010'; head -c 4096 "$vane"; } >pictures/train-images-idx3-ubyte
{ printf '\000\000\010\001\000\000\000\100'; for i in $(seq 64); do printf "\\00$((i % 3))"; done; } >pictures/train-labels-idx1-ubyte
cat >unet.json <<'END'
{"_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 16],
 "layers_per_block": 1, "norm_num_groups": 4, "num_class_embeds": 4, "down_block_types": ["DownBlock2D", "DownBlock2D"],
 "up_block_types": ["UpBlock2D", "UpBlock2D"], "attention_head_dim": 8, "add_attention": false}
END
cat >dit.json <<'END'
{"_class_name": "DiTTransformer2DModel", "sample_size": 8, "in_channels": 1, "patch_size": 2, "num_layers": 2,
 "num_attention_heads": 2, "attention_head_dim": 8, "num_embeds_ada_norm": 3}
END
cat >late <<'END'
#!/bin/sh
# late COMMAND...: the first process begins after the others
[ "${OMPI_COMM_WORLD_RANK-$PMI_RANK}" != 0 ] || sleep 0.7
exec "$@"
END
chmod +x late
rest="--batch 16 --microbatches 8 --validate 0.1 --clip 0.5 --save-every 3 --preview-every -1 --quiet"
pictures="pictures --model unet.json $rest"
patches="pictures --model dit.json $rest --optimizer muon --precision bf16 --ema-snapshots 3"
points="points:moons --model mlp:width=64 --batch 64 --microbatches 8 --clip 0.5 --save-every 4 --ema-snapshots 3 --preview-every -1 --quiet --optimizer muon"

holds "one process trains on pictures" "$vane" train $pictures --steps 8 --out unet.1 --threads 1
holds "one process trains a transformer" "$vane" train $patches --steps 6 --out dit.1 --threads 1
holds "one process trains on points" "$vane" train $points --steps 12 --out mlp.1 --threads 2

samples="-n 70 --guidance 1,2 --batch 8 --steps 4 --seed 9"
holds "one process draws samples" "$vane" sample mlp.1 $samples --out one.safetensors
holds "one process draws pictures" "$vane" sample unet.1 -n 5 --steps 2 --seed 3 --out folder

# ---- each MPI -------------------------------------------------------------------------------------------------

try() { # try MPI
    local mpi=$1 count
    for count in 2 8; do
        holds "$mpi: $count processes train on pictures" launch "$mpi" $count "$vane" train $pictures --steps 8 --out "$mpi.unet.$count" --threads 1
        holds "$mpi: their weights are those of one" same unet.1 "$mpi.unet.$count"
    done
    holds "$mpi: 4 processes train a transformer" launch "$mpi" 4 "$vane" train $patches --steps 6 --out "$mpi.dit" --threads 1
    holds "$mpi: its weights are those of one" same dit.1 "$mpi.dit"
    holds "$mpi: 2 begin one in bf16 and stop" launch "$mpi" 2 "$vane" train $patches --steps 3 --out "$mpi.dit.stopped" --threads 1
    holds "$mpi: 4 go on in bf16" launch "$mpi" 4 "$vane" train $patches --steps 6 --out "$mpi.dit.stopped" --resume --threads 1
    holds "$mpi: as if never stopped, in bf16" same dit.1 "$mpi.dit.stopped"
    holds "$mpi: 2 processes train on points" launch "$mpi" 2 "$vane" train $points --steps 4 --out "$mpi.mlp" --threads 2
    holds "$mpi: 4 go on" launch "$mpi" 4 "$vane" train $points --steps 8 --out "$mpi.mlp" --resume --threads 1
    holds "$mpi: and one" "$vane" train $points --steps 12 --out "$mpi.mlp" --resume --threads 1
    holds "$mpi: as if never stopped" same mlp.1 "$mpi.mlp"

    holds "$mpi: 3 processes draw samples" launch "$mpi" 3 "$vane" sample mlp.1 $samples --out "$mpi.safetensors"
    holds "$mpi: and tensors are those of one" cmp one.safetensors "$mpi.safetensors"
    holds "$mpi: 2 draw pictures" launch "$mpi" 2 "$vane" sample unet.1 -n 5 --steps 2 --seed 3 --out "$mpi.folder"
    holds "$mpi: and files are those of one" diff -r folder "$mpi.folder"
    holds "$mpi: a folder that is there is refused" says 2 "holds samples already" launch "$mpi" 2 "$vane" sample unet.1 -n 5 --out folder
    holds "$mpi: and what one process alone draws" says 1 "such samples are drawn by one process" \
        launch "$mpi" 2 "$vane" sample mlp.1 -n 4 --trace --out trace.safetensors

    holds "$mpi: other options of one are told" says 2 "rank 1 of 2 has other options" \
        launch "$mpi" 1 "$vane" sample mlp.1 -n 4 --out mixed.safetensors : -n 1 "$vane" sample mlp.1 -n 4 --steps 3 --out mixed.safetensors
    holds "$mpi: in training too" says 2 "rank 1 of 2 has other data, options" \
        launch "$mpi" 1 "$vane" train points:moons --steps 2 --out mixed : -n 1 "$vane" train points:moons --steps 2 --lr 0.1 --out mixed

    holds "$mpi: a number that does not divide is refused" says 2 "start 2; or make a new run with --microbatches 4" \
        launch "$mpi" 4 "$vane" train points:moons --steps 2 --out none
    holds "$mpi: a mistake is said once" says 2 "unknown flag --stepz" launch "$mpi" 3 ./late "$vane" train points:moons --stepz 2 --out none
    holds "$mpi: nothing was made" test ! -e none
    holds "$mpi: what is not shared is refused" says 2 "2 processes would each do the same work: start one" \
        launch "$mpi" 2 "$vane" eval mlp.1 --data points:moons --metric mmd
    holds "$mpi: averages too" says 2 "2 processes would each do the same work" launch "$mpi" 2 "$vane" ema mlp.1 ema.out
    holds "$mpi: what only reads is not" launch "$mpi" 2 "$vane" info mlp.1
    mkdir -p alone && cp "$vane" alone/vane
    holds "$mpi: without the module nobody trains alone" says 1 "2 processes would each train a run of their own" \
        launch "$mpi" 2 alone/vane train points:moons --steps 2 --out none
}

# One of three hangs; the others end in time and name it, or the one that waits for it; the run goes on with another number.
hang() { # hang MPI
    local mpi=$1 pid= count=0
    launch "$mpi" 3 "$vane" train points:moons --model mlp:width=64 --batch 48 --microbatches 3 --steps 1000000 --save-every 10 \
        --preview-every -1 --threads 1 --timeout 8 --out "$mpi.hung" >hang.log 2>&1 &
    local launcher=$!
    while ! { [ -e "$mpi.hung/log.jsonl" ] && [ "$(wc -l <"$mpi.hung/log.jsonl")" -ge 2 ]; } && [ $count -lt 900 ]; do
        sleep 0.1
        count=$((count + 1))
    done
    for pid in $(pgrep -x vane); do # of ours by its arguments, and the last by its environment
        grep -qz -- "$mpi.hung" "/proc/$pid/cmdline" 2>/dev/null &&
            tr '\0' '\n' <"/proc/$pid/environ" | grep -qE '^(OMPI_COMM_WORLD_RANK|PMI_RANK)=2$' && kill -STOP "$pid"
    done
    wait "$launcher"
    local status=$?
    cat hang.log
    [ $status -ne 0 ] && [ $status -ne 124 ] && grep -qE '^vane train: rank [12] of 3 has not answered for .* in step [0-9]+;' hang.log
}

modules=0
for mpi in openmpi mpich; do
    if [ -e "$build/vane-$mpi.so" ] && command -v "mpirun.$mpi" >/dev/null; then
        modules=$((modules + 1))
        try "$mpi"
        holds "$mpi: one that hangs is named" hang "$mpi"
        holds "$mpi: and the run goes on" "$vane" train points:moons --out "$mpi.hung" --resume --quiet \
            --steps $(($(sed -n 's/^{"step": \([0-9]*\).*/\1/p' "$mpi.hung/log.jsonl" | tail -n 1) + 300))
    else
        echo "skipped: $mpi is not here"
    fi
done
if [ $modules -gt 0 ]; then
    holds "the program needs no MPI" sh -c "! ldd '$vane' | grep -i mpi"
fi
exit $failed
