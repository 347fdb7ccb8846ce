#!/usr/bin/env python3
"""Random UNet2DModel configs against diffusers: outputs, gradients, and that both refuse the same ones.

    unet_random.py --forward build/vane --count 40 [--seed 0]

A case writes a model directory, runs `PROGRAM forward DIR --in .. --out .. --grad ..` and compares. `torch` beside an
error is PyTorch's own, against itself in double precision. Exit status 1 if any case is past 1e-5 (output) or 1e-4 (any
gradient) and past four times PyTorch's own error, or if vane runs what diffusers cannot or the other way round.
"""

import argparse
import inspect
import json
import os
import random
import subprocess
import sys
import tempfile

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

import unet_case

PLAIN_DOWN = ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
PLAIN_UP = ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]
SKIP_DOWN = ["SkipDownBlock2D", "AttnSkipDownBlock2D"]
SKIP_UP = ["SkipUpBlock2D", "AttnSkipUpBlock2D"]


def random_config(r):
    """Mostly runnable; now and then not, which both sides must notice."""
    family = r.choices(["plain", "skip", "k", "any"], [6, 2, 2, 1])[0]
    levels = r.choice([1, 2, 2, 3, 3, 4])
    unit = {"plain": r.choice([4, 5, 7, 8, 12, 16]), "skip": 32, "k": 32, "any": 32}[family]
    channels = [unit * r.choice([1, 1, 2, 3]) for _ in range(levels)]
    groups = r.choice([g for g in (1, 2, 3, 4, 5, 7, 8) if unit % g == 0])
    down = {"plain": PLAIN_DOWN, "skip": SKIP_DOWN, "k": ["KDownBlock2D"]}
    up = {"plain": PLAIN_UP, "skip": SKIP_UP, "k": ["KUpBlock2D"]}
    down["any"], up["any"] = sum(down.values(), []), sum(up.values(), [])
    c = {
        "sample_size": r.choice([None, 8, (8, 16)]),
        "in_channels": 3 if family in ("skip", "any") else r.choice([1, 2, 3, 5]),
        "out_channels": 3 if family in ("skip", "any") else r.choice([1, 3, 4]),
        "center_input_sample": r.random() < 0.3,
        "time_embedding_type": r.choice(["positional", "positional", "fourier", "learned"]),
        "time_embedding_dim": r.choice([None, None, 24, 33]),
        "freq_shift": r.choice([0, 0, 1, -1]),
        "flip_sin_to_cos": r.random() < 0.5,
        "down_block_types": [r.choice(down[family]) for _ in range(levels)],
        "mid_block_type": r.choice(["UNetMidBlock2D", "UNetMidBlock2D", None]),
        "up_block_types": [r.choice(up[family]) for _ in range(levels)],
        "block_out_channels": channels,
        "layers_per_block": r.choice([0, 1, 1, 1, 2, 3]),
        "mid_block_scale_factor": r.choice([1, 1, 2**0.5, 0.7]),
        "downsample_padding": r.choice([0, 1, 1]),
        "downsample_type": r.choice(["conv", "resnet"]),
        "upsample_type": r.choice(["conv", "resnet"]),
        "dropout": r.choice([0.0, 0.1]),
        "act_fn": r.choice(["silu", "swish", "mish", "gelu", "relu", "SiLU"]),
        "attention_head_dim": r.choice([None, 1, 3, 4, 8]),
        "norm_num_groups": groups if family in ("plain", "any") else r.choice([groups, None]),
        "attn_norm_num_groups": r.choice([None, None, 1, groups]),
        "norm_eps": r.choice([1e-5, 1e-6, 1e-3]),
        "resnet_time_scale_shift": r.choice(["default", "scale_shift"]),
        "add_attention": r.random() < 0.8,
        "num_train_timesteps": r.choice([None, 50]),
        **random_class(r),
    }
    if c["time_embedding_type"] == "learned":
        c["num_train_timesteps"] = 50
    if r.random() < 0.2:
        c["down_block_types"][0] = "UNetRes" + c["down_block_types"][0]
    return c


def random_class(r):
    return r.choice(
        [
            {},
            {"num_class_embeds": 7},
            {"class_embed_type": "timestep"},
            {"class_embed_type": "identity"},
            {"class_embed_type": "timestep", "num_class_embeds": 3},
        ]
    )


def some_keys(model, r):
    """The config without some of the keys that have diffusers' default value: a reader must know them."""
    config = json.loads(unet_case.config_text(model))
    default = {k: p.default for k, p in inspect.signature(UNet2DModel.__init__).parameters.items()}
    same = [k for k in config if k in default and json.dumps(config[k]) == json.dumps(default[k])]
    return {k: v for k, v in config.items() if k not in same or r.random() < 0.5}


def run_vane(program, folder, config, model, given, cotangent):
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    paths = {k: os.path.join(folder, k + ".safetensors") for k in ("in", "out", "grad")}
    save_file({**given, "cotangent": cotangent}, paths["in"])
    command = [program, "forward", folder, "--in", paths["in"], "--out", paths["out"], "--grad", paths["grad"]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip()
    return {**load_file(paths["out"]), **load_file(paths["grad"])}, ""


def worst(found, expected):
    """Errors of the output and of the worst gradient, and its name. Many are zero but for rounding (attention does
    not see the key's bias, nor a norm what it takes away): small ones are held to a thousandth of the largest."""
    largest = max(v.norm().item() for k, v in expected.items() if k.startswith("grad."))
    errors = {}
    for name, e in expected.items():
        if name.startswith("grad."):
            scale = max(e.norm().item(), 1e-3 * largest)
            errors[name] = (found[name].double() - e.double()).norm().item() / scale
    name = max(errors, key=errors.get)
    return unet_case.relative(found["sample"], expected["sample"]), errors[name], name


def torch_errors(model, given, single):
    """PyTorch's own: single against double precision. diffusers cannot embed a class as a time in double."""
    try:
        double = unet_case.run(model, given, single["cotangent"], torch.float64)
        return worst(single, double)[:2]
    except RuntimeError:
        return 0.0, 0.0
    finally:
        model.float()


def one(program, seed):
    """A line for the case, and whether it is right."""
    r = random.Random(seed)
    config = random_config(r)
    levels = len(config["block_out_channels"])
    unit = 2 ** (levels - 1)
    size = unit * r.choice([2, 3, 4]), unit * r.choice([2, 3, 4])
    text = " ".join(f"{k}={v}" for k, v in config.items())
    try:
        model = unet_case.build(config, seed)
        given = unet_case.inputs(model, r.choice([1, 2, 3]), *size, seed)
        expected = unet_case.run(model, given)
    except (ValueError, RuntimeError, TypeError, IndexError, ZeroDivisionError, AssertionError) as e:
        return refused(program, config, seed, size, f"{type(e).__name__}: {str(e).partition(chr(10))[0][:80]}")
    own = torch_errors(model, given, expected)
    with tempfile.TemporaryDirectory() as folder:
        found, error = run_vane(program, folder, some_keys(model, r), model, given, expected.pop("cotangent"))
    if found is None:
        return f"REFUSED  {error}\n    {text}", False
    if set(expected) - set(found):
        return f"MISSING  {sorted(set(expected) - set(found))[:4]}\n    {text}", False
    out, grad, name = worst(found, expected)
    good = out < max(1e-5, 4 * own[0]) and grad < max(1e-4, 4 * own[1])
    line = f"{'ok' if good else 'WRONG':8} out {out:.1e} (torch {own[0]:.1e})  grad {grad:.1e} (torch {own[1]:.1e})"
    return f"{line} {name}" + ("" if good else "\n    " + text), good


def refused(program, config, seed, size, why):
    """diffusers cannot: vane must not either. Without weights there is nothing to run, but the config says enough."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump({"_class_name": "UNet2DModel", **config}, f)
        save_file({"none": torch.zeros(1)}, os.path.join(folder, "diffusion_pytorch_model.safetensors"))
        save_file({"sample": torch.zeros(1, config["in_channels"], *size)}, os.path.join(folder, "in.safetensors"))
        command = [program, "forward", folder, "--in", os.path.join(folder, "in.safetensors"), "--out", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True)
    message = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
    good = done.returncode in (1, 2) and "unet2d:" in message
    return f"{'ok' if good else 'RUNS'}       both refuse: {message}   [{why}]", good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forward", required=True, metavar="PROGRAM")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(2)
    bad = 0
    for seed in range(a.seed, a.seed + a.count):
        line, good = one(a.forward, seed)
        bad += not good
        print(f"{seed:5} {line}", flush=True)
    print(f"{a.count - bad} of {a.count} right")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
