#!/bin/bash
# ranks.sh BUILD [ROUNDS]: what several processes cost a training, on a machine of two cores that does nothing else. Seconds of a step, least and
# median, of 1 process of 2 threads and of 2 processes of 1, by turns; and where network namespaces can be made (root, iproute2, Open MPI),
# of two processes that send each other everything over 1 Gbit/s. OTHER=BUILD times another build there too, such as one before a change.
set -u
build=$(cd "$1" && pwd)
rounds=${2:-3}
other=${OTHER:+$(cd "$OTHER" && pwd)}
data=${DATA:-/usr/share/datasets/fashion-mnist}
work=$(mktemp -d) || exit 1
here=vane-here-$$ there=vane-there-$$ # network namespaces
trap 'ip netns del $here 2>/dev/null; ip netns del $there 2>/dev/null; rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

cat >"$work/dit.json" <<'END'
{"_class_name": "DiTTransformer2DModel", "sample_size": 28, "in_channels": 1, "patch_size": 2, "num_layers": 8,
 "num_attention_heads": 4, "attention_head_dim": 64, "num_embeds_ada_norm": 10}
END

steps() { # steps NAME BUILD COUNT FLAGS... -- LAUNCHER...: appends the seconds of each step but the first and the last to a file
    local name=$1 vane=$2/vane count=$3 flags=()
    shift 3
    while [ "$1" != -- ]; do flags+=("$1"); shift; done
    shift
    rm -rf "$work/run"
    "$@" "$vane" train "$data" --out "$work/run" --batch 64 --microbatches 2 --steps "$count" --save-every 1000000 --preview-every -1 \
        --log-every 1 --validate 0 --quiet "${flags[@]}" >"$work/words" 2>&1 || cat "$work/words"
    grep -o '"seconds": [0-9.]*' "$work/run/log.jsonl" | awk '{print $2}' | sed '$d' | awk 'NR > 1 {print $1 - before} {before = $1}' >>"$work/$name"
}

report() { sort -n "$work/$1" | awk -v name="$1" '{x[NR] = $1} END {printf "%-28s least %.3f s, median %.3f s, of %d steps\n", name, x[1], x[int((NR + 1) / 2)], NR}'; }

mpirun="mpirun.openmpi --quiet --bind-to none"
for ((round = 0; round < rounds; round++)); do
    for net in dit unet; do
        [ $net = dit ] && flags=(--model "$work/dit.json") && count=7
        [ $net = unet ] && flags=() && count=80
        steps $net.threads "$build" $count --threads 2 "${flags[@]}" -- env
        steps $net.processes "$build" $count --threads 1 "${flags[@]}" -- $mpirun --oversubscribe -n 2
    done
done
for net in dit unet; do report $net.threads; report $net.processes; done

ip netns add $here 2>/dev/null && ip netns add $there || { echo "no network namespaces can be made here: nothing is sent over 1 Gbit/s"; exit 0; }
ip link add va netns $here type veth peer name vb netns $there
ip -n $here addr add 10.77.0.1/24 dev va
ip -n $there addr add 10.77.0.2/24 dev vb
for end in "$here va" "$there vb"; do
    set -- $end
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up
    tc -n "$1" qdisc add dev "$2" root tbf rate 1gbit burst 512kb latency 50ms
done
printf '#!/bin/bash\nshift\nexec ip netns exec %s unshare --uts sh -c "hostname there; $*"\n' $there >"$work/agent"
chmod +x "$work/agent"
over="ip netns exec $here $mpirun --host 10.77.0.1:1,10.77.0.2:1 --mca plm_rsh_agent $work/agent --mca btl tcp,self
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 -n 2"
for ((round = 0; round < rounds; round++)); do
    steps dit.over-1-gbit "$build" 7 --threads 1 --model "$work/dit.json" -- $over
    [ -z "$other" ] || steps dit.other-over-1-gbit "$other" 7 --threads 1 --model "$work/dit.json" -- $over
    steps dit.beside "$build" 7 --threads 1 --model "$work/dit.json" -- $mpirun --oversubscribe -n 2
done
for name in dit.over-1-gbit ${other:+dit.other-over-1-gbit} dit.beside; do report "$name"; done
