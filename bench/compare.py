#!/usr/bin/env python3
"""Example: python3 bench/compare.py --config unet,dit-128 --mode train

Times vane and PyTorch, eager and compiled, on the same networks and prints the ratios of their times and memory as a
table. They take turns: each round is a few steps of vane, then of PyTorch eager, then of PyTorch compiled, so that
whatever else the machine does meets all of them. PyTorch's processes live on between rounds, so that it compiles once.

The first run needs an environment with PyTorch, diffusers and transformers: --install makes one in bench/.venv, --python
PATH takes another. torch.compile needs g++. Run it on an idle machine, and not at a lowered priority.
"""
import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
VENV = BENCH / ".venv"
PACKAGES = "torch==2.13.0", "diffusers==0.42.1", "transformers==5.24.0"

DIT = {"_class_name": "DiTTransformer2DModel", "in_channels": 1, "sample_size": 28, "patch_size": 2, "num_embeds_ada_norm": 10}
CONFIGS = {
    "unet": {
        "_class_name": "UNet2DModel", "sample_size": 28, "in_channels": 1, "out_channels": 1, "layers_per_block": 2,
        "block_out_channels": [32, 64, 128], "num_class_embeds": 11,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
    "dit-128": {**DIT, "num_layers": 6, "num_attention_heads": 4, "attention_head_dim": 32},
    "dit-256": {**DIT, "num_layers": 8, "num_attention_heads": 4, "attention_head_dim": 64},
    "dit-384": {
        **DIT, "num_layers": 12, "num_attention_heads": 6, "attention_head_dim": 64,
        "sample_size": 32, "in_channels": 4, "patch_size": 4,
    },
    "sd3": {
        "_class_name": "SD3Transformer2DModel", "sample_size": 32, "in_channels": 4, "out_channels": 4, "num_layers": 6,
        "num_attention_heads": 4, "attention_head_dim": 64, "caption_projection_dim": 256, "joint_attention_dim": 256,
        "pooled_projection_dim": 256, "pos_embed_max_size": 24, "qk_norm": "rms_norm", "dual_attention_layers": [0, 1],
    },
    "flux": {
        "_class_name": "FluxTransformer2DModel", "in_channels": 16, "num_layers": 3, "num_single_layers": 6,
        "num_attention_heads": 4, "attention_head_dim": 64, "joint_attention_dim": 256, "pooled_projection_dim": 256,
        "guidance_embeds": True, "axes_dims_rope": [16, 24, 24],
    },
}  # fmt: skip
CONFIGS["sd1-quarter"] = {  # Stable Diffusion 1.x at a quarter of its width
    "_class_name": "UNet2DConditionModel", "sample_size": 32, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": [80, 160, 320, 320], "norm_num_groups": 16, "attention_head_dim": 8, "cross_attention_dim": 192,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip
CONFIGS["kl"] = {  # encodes and decodes, as `vane train --model autoencoder` makes it
    "_class_name": "AutoencoderKL", "sample_size": 32, "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 1,
    "block_out_channels": [32, 64, 128], "norm_num_groups": 16,
    "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3,
}  # fmt: skip
CONFIGS["sd1-vae-quarter"] = {  # Stable Diffusion's at a quarter of its width
    **CONFIGS["kl"], "layers_per_block": 2, "block_out_channels": [32, 64, 128, 128],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
CONFIGS["gpt"] = {  # as `vane train --model gpt` makes it, of 77 tokens, every one of which is read
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 1035, "hidden_size": 128, "intermediate_size": 352,
    "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False,
}  # fmt: skip
MODES = "train", "infer"
PEERS = "eager", "compiled"
TOKENS, PATCHES = 77, 256  # of a text, and of an image that comes as a row of patches: as vane bench takes them
UNTIMED = 2  # steps before each round's timed ones, as many as vane bench takes

# What holds PyTorch's own kernels, oneDNN's and MKL's to AVX2.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- PyTorch, in a process of its own -----------------------------------------------------------------------------


def peak_mb():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6


def training_step(torch, output, weights, target):
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        (output() - target).square().mean().backward()
        optimizer.step()

    return step


def class_of(config):
    return config.get("_class_name") or config["architectures"][0]


def inputs_of(torch, config, batch):
    """The sample, the other inputs and the shape of the output."""
    inputs = {"timestep": torch.arange(batch) * 37 % 1000}
    if config.get("num_class_embeds") or config.get("num_embeds_ada_norm"):
        inputs["class_labels"] = torch.zeros(batch, dtype=torch.int64)
    if "joint_attention_dim" in config:
        inputs["encoder_hidden_states"] = torch.randn(batch, TOKENS, config["joint_attention_dim"])
        inputs["pooled_projections"] = torch.randn(batch, config["pooled_projection_dim"])
    if "cross_attention_dim" in config:
        inputs["encoder_hidden_states"] = torch.randn(batch, TOKENS, config["cross_attention_dim"])
    if class_of(config) == "FluxTransformer2DModel":
        axes = len(config["axes_dims_rope"])
        inputs["img_ids"], inputs["txt_ids"] = torch.randn(PATCHES, axes), torch.zeros(TOKENS, axes)
        inputs["timestep"] = torch.rand(batch)
        if config.get("guidance_embeds"):
            inputs["guidance"] = torch.ones(batch)
        sample = torch.randn(batch, PATCHES, config["in_channels"])
        return sample, inputs, (batch, PATCHES, config.get("out_channels") or config["in_channels"])
    if class_of(config) == "LlamaForCausalLM":
        ids = torch.randint(config["vocab_size"], (batch, TOKENS), generator=torch.Generator().manual_seed(0))
        return ids, {"use_cache": False}, (batch, TOKENS, config["vocab_size"])
    side = config["sample_size"]
    if class_of(config) == "AutoencoderKL":  # decoded from the mean, as in vane
        sample = torch.randn(batch, config["in_channels"], side, side)
        return sample, {"sample_posterior": False}, sample.shape
    height, width = side if isinstance(side, list) else (side, side)
    sample = torch.randn(batch, config["in_channels"], height, width)  # a U-Net's sample, a transformer's hidden_states
    return sample, inputs, (batch, config.get("out_channels") or config["in_channels"], height, width)


def make(config):
    """Of diffusers, or of transformers where the config has no _class_name."""
    if "_class_name" not in config:
        import transformers

        kind = getattr(transformers, class_of(config))
        return kind(kind.config_class(**config))
    import diffusers

    return getattr(diffusers, config["_class_name"]).from_config(config)


def network(spec):
    """The step to time, and the number of the network's parameters."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(spec["threads"])
    if spec["cpu"] == "avx2":
        import torch._inductor.config as inductor

        inductor.cpp.march = "x86-64-v3"  # else the compiler vectorises for this machine
    config, batch, train = spec["config"], spec["batch"], spec["mode"] == "train"
    model = make(config).train(train)
    images, inputs, shape = inputs_of(torch, config, batch)
    net = torch.compile(model) if spec["peer"] == "compiled" else model
    count = sum(p.numel() for p in model.parameters())
    output = "logits" if class_of(config) == "LlamaForCausalLM" else "sample"
    if train:
        target = torch.randn(shape)
        return training_step(torch, lambda: getattr(net(images, **inputs), output), model.parameters(), target), count
    return torch.inference_mode()(lambda: net(images, **inputs)), count


def worker(spec):
    """Answers each line of stdin, a number of steps, with a line of their times. The first line out says that it is ready."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print
    import diffusers  # noqa: F401 - its memory counts as the libraries'
    import torch

    if "_class_name" not in spec["config"]:
        import transformers  # noqa: F401 - likewise

    libraries = peak_mb()
    step, parameters = network(spec)
    step()  # which compiles
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        seconds = []
        for i in range(-UNTIMED, int(line)):
            began = time.perf_counter()
            step()
            if i >= 0:
                seconds.append(time.perf_counter() - began)
        told = dict(min_ms=1e3 * min(seconds), median_ms=1e3 * statistics.median(seconds), peak_rss_mb=peak_mb(),
                    libraries_mb=libraries, parameters=parameters, torch=torch.__version__)  # fmt: skip
        print(json.dumps(told), file=answers, flush=True)


class Peer:
    def __init__(self, python, spec):
        self.name, self.log = spec["peer"], tempfile.TemporaryFile("w+")
        threads = str(spec["threads"])
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment.update(AVX2 if spec["cpu"] == "avx2" else {})
        command = [python, str(Path(__file__).resolve()), "--worker", json.dumps(spec)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env=environment)  # fmt: skip
        self.answer()  # imports and compiles while nobody is timed

    def round(self, steps):
        with contextlib.suppress(BrokenPipeError):
            print(steps, file=self.process.stdin, flush=True)
        return json.loads(self.answer())

    def answer(self):
        line = self.process.stdout.readline()
        if line:
            return line
        self.log.seek(0)
        lines = [line for line in self.log.read().splitlines() if line.strip()]
        sys.exit(f"compare: PyTorch {self.name} failed: {lines[-1] if lines else 'no word of why'}")

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.log.close()


# ---- vane ---------------------------------------------------------------------------------------------------------


def vane_round(args, folder, mode):
    command = [args.vane, "bench", folder, "--mode", mode, "--batch", str(args.batch), "--steps", str(args.steps),
               "--threads", str(args.threads), "--cpu", args.cpu, "--quiet", "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip() or f"compare: vane bench ended with status {done.returncode}")
    return json.loads(done.stdout)


# ---- rounds and table ---------------------------------------------------------------------------------------------


def summary(rounds):
    """The least time, the median of the rounds' medians, and the most of everything else: rates, memory, versions."""
    how = {"min_ms": min, "median_ms": statistics.median}
    return {key: how.get(key, max)([r[key] for r in rounds]) for key in rounds[0]}


def compare(args, name, mode, config):
    """One row: the rounds of vane and of its peers, by turns."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as peers:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        turns = {"vane": lambda: vane_round(args, folder, mode)}
        for peer in args.against:
            spec = dict(peer=peer, config=config, mode=mode, batch=args.batch, threads=args.threads, cpu=args.cpu)
            other = Peer(args.python, spec)
            peers.callback(other.close)
            turns[peer] = lambda other=other: other.round(args.steps)
        rounds = {who: [] for who in turns}
        for i in range(args.rounds):
            for who, turn in turns.items():
                rounds[who].append(turn())
            times = ", ".join(f"{who} {r[-1]['min_ms']:.0f} ms" for who, r in rounds.items())
            say(f"{name} {mode}, round {i + 1} of {args.rounds}: {times}")
    row = {"network": name, "mode": mode, **{who: summary(r) for who, r in rounds.items()}}
    for peer in args.against:
        args.torch = row[peer]["torch"]
        tables = (config.get("pos_embed_max_size") or 0) ** 2 * config.get("caption_projection_dim", 0)  # SD3's, not a parameter there
        if row[peer]["parameters"] + tables != row["vane"]["parameters"]:
            sys.exit(f"compare: {name} has {row['vane']['parameters']} parameters in vane, {row[peer]['parameters']} in PyTorch")
    return row


def ratio(row, peer, *keys):
    return " / ".join(f"{row[peer][key] / row['vane'][key]:.2f}" if peer in row else "–" for key in keys)


def table(rows):
    print("| network | mode | vane, ms | eager | compiled | memory, MB | eager | compiled | GF/s | of GEMM |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        vane = row["vane"]
        cells = [row["network"], row["mode"], f"{vane['min_ms']:.0f} / {vane['median_ms']:.0f}"]
        cells += [ratio(row, peer, "min_ms", "median_ms") for peer in PEERS]
        cells += [f"{vane['peak_rss_mb']:.0f}", *(ratio(row, peer, "peak_rss_mb") for peer in PEERS)]
        cells += [f"{vane['gflops']:.0f}", f"{100 * vane['gflops'] / vane['gemm_gflops']:.0f}%"]
        print("| " + " | ".join(cells) + " |")
    print("\nTimes are the least / the median; beneath a peer's name stand its time and its memory over vane's.")
    libraries = [row[peer]["libraries_mb"] for row in rows for peer in PEERS if peer in row]
    if libraries:
        print(f"Of PyTorch's memory the libraries alone, before there is a network, take {max(libraries):.0f} MB.")


def machine(args, load):
    names, flags = [platform.processor() or platform.machine()], ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")] or names
        flags = next((line for line in lines if line.startswith("flags")), "").split()
    widest = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    vane = subprocess.run([args.vane, "--version"], capture_output=True, text=True).stdout.partition("\n")[0]
    return {
        "cpu": names[0], "cores": os.cpu_count(), "isa": widest, "held_to": None if args.cpu == "auto" else args.cpu,
        "threads": args.threads, "load": load, "vane": vane, "torch": args.torch, "batch": args.batch,
        "rounds": args.rounds, "steps": args.steps,
    }  # fmt: skip


def machine_line(m):
    held = f" (all held to {m['held_to'].upper()})" if m["held_to"] else ""
    return (f"{m['cpu']}, {m['cores']} cores, {m['isa']}{held}, {m['threads']} threads, load {m['load']:.1f} before the run; "
            f"{m['vane']}, PyTorch {m['torch']}; batch {m['batch']}, {m['rounds']} rounds of {m['steps']} steps.")  # fmt: skip


# ---- the command --------------------------------------------------------------------------------------------------


def install():
    """torch first, so that diffusers takes it as it is."""
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install"]
    for command in [sys.executable, "-m", "venv", str(VENV)], *([*pip, package] for package in PACKAGES):
        say(" ".join(command))
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            sys.exit(f"compare: could not make {VENV}")


def read_config(name):
    if name in CONFIGS:
        return name, CONFIGS[name]
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    try:
        return path.resolve().parent.name, json.loads(path.read_text())
    except (OSError, ValueError) as e:
        sys.exit(f"compare: {name} is neither one of {', '.join(CONFIGS)} nor a config.json: {e}")


def parse():
    about, _, rest = __doc__.partition("\n\n")
    p = argparse.ArgumentParser(description=f"{about}\n\n{rest}", formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: text.split(",")  # noqa: E731
    p.add_argument("--config", type=listed, default=[*CONFIGS], metavar="NAME,…",
                   help=f"networks: {', '.join(CONFIGS)} (default all), or a model's folder or config.json")  # fmt: skip
    p.add_argument("--mode", type=listed, default=MODES, help="train (forward, backward, AdamW), infer (forward); default both")
    p.add_argument("--against", type=listed, default=PEERS, help="eager, compiled; default both")
    p.add_argument("--batch", type=int, default=64, help="images in a step (64)")
    p.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    p.add_argument("--steps", type=int, default=3, help="timed steps in a turn (3)")
    p.add_argument("--threads", type=int, help="of each (default: one a core that this process may use)")
    p.add_argument("--cpu", choices=["auto", "avx2"], default="auto", help="avx2 holds all of them to AVX2")
    p.add_argument("--vane", default=str(BENCH.parent / "build" / "vane"), help="the program (build/vane)")
    p.add_argument("--python", help="an interpreter that has torch, diffusers and transformers (bench/.venv)")
    p.add_argument("--install", action="store_true", help=f"first make bench/.venv with {', '.join(PACKAGES)}")
    p.add_argument("--json", action="store_true", help="print the result as one JSON object")
    p.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    args = p.parse_args()
    for flag, values, known in (("--mode", args.mode, MODES), ("--against", args.against, PEERS)):
        for value in set(values) - set(known):
            p.error(f"{flag}: {value or 'nothing'} is none of {', '.join(known)}")
    for flag in "batch", "rounds", "steps", "threads":
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            p.error(f"--{flag} is at least 1")
    return args


def main():
    args = parse()
    if args.worker:
        return worker(args.worker)
    if args.install:
        install()
    args.torch = None
    args.python = args.python or str(VENV / "bin" / "python")
    args.threads = args.threads or len(os.sched_getaffinity(0))
    if not shutil.which(args.python):
        sys.exit(f"compare: there is no {args.python}: --install makes it, or --python names one with torch, diffusers and transformers")
    if not shutil.which(args.vane):
        sys.exit(f"compare: there is no {args.vane}: build vane first, or name it with --vane")
    if "compiled" in args.against and not shutil.which(os.environ.get("CXX", "g++")):
        say("compare: torch.compile needs g++, which is not here: eager only")
        args.against = [peer for peer in args.against if peer != "compiled"]
    load = os.getloadavg()[0]
    configs = [read_config(name) for name in args.config]
    rows = [compare(args, name, mode, config) for name, config in configs for mode in args.mode]
    about = machine(args, load)
    if args.json:
        print(json.dumps({"machine": about, "rows": rows}, indent=1))
    else:
        table(rows)
        print(machine_line(about))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
