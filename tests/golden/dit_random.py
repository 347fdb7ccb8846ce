#!/usr/bin/env python3
"""Random DiTTransformer2DModel configs against diffusers: outputs, gradients, and that both refuse the same ones.

    dit_random.py --forward build/vane --count 40 [--seed 0] [--own]

With --own each config has some of the keys that vane adds, and dit.py's module stands for diffusers'.

As unet_random.py, by which it works: a case is a model directory, run by `PROGRAM forward` and compared. Exit status 1 if
any case is past 1e-5 (output) or 1e-4 (any gradient) and past four times PyTorch's own error, or if vane runs what
diffusers cannot or the other way round.
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
from diffusers import DiTTransformer2DModel
from safetensors.torch import save_file

import dit
import unet_case
import unet_random

ACTIVATIONS = ["gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu"]


def random_config(r):
    """Mostly runnable; now and then not, which both sides must notice."""
    channels, patch = r.choice([1, 2, 3, 4]), r.choice([1, 2, 2, 3, 4, 5, 6, 7, 8])
    config = {
        "num_attention_heads": r.choice([1, 2, 3, 4, 6]),
        "attention_head_dim": r.choice([4, 4, 8, 12, 16, 20, 3, 6]),
        "in_channels": channels,
        "out_channels": r.choice([None, channels, 2 * channels, 5]),
        "num_layers": r.choice([1, 2, 3, 4]),
        "dropout": r.choice([0.0, 0.1]),
        "norm_num_groups": r.choice([32, 7]),
        "attention_bias": r.random() < 0.7,
        "sample_size": patch * r.choice([1, 2, 3, 4]) + r.choice([0, 0, patch - 1]),
        "patch_size": patch,
        "activation_fn": r.choice(ACTIVATIONS),
        "num_embeds_ada_norm": r.choice([0, 1, 10, 1000]),
        "upcast_attention": r.random() < 0.3,
        "norm_elementwise_affine": r.random() < 0.3,
        "norm_eps": r.choice([1e-5, 1e-6, 1e-3]),
    }
    if r.random() < 0.1:
        key, value = r.choice(
            [("num_layers", 0), ("norm_type", "layer_norm"), ("num_embeds_ada_norm", None), ("sample_size", patch - 1),
             ("activation_fn", "relu"), ("in_channels", 0)]
        )  # fmt: skip
        config[key] = value
    return config


def random_own(r):
    """At least one of vane's own keys."""
    own = {
        "block_norm": r.choice(["layer_norm", "rms_norm"]),
        "qk_norm": r.choice([None, "layer_norm", "rms_norm"]),
        "rope_theta": r.choice([None, 100, 10000.0]),
        "num_register_tokens": r.choice([0, 1, 4, 7]),
    }
    if own == {"block_norm": "layer_norm", "qk_norm": None, "rope_theta": None, "num_register_tokens": 0}:
        own["qk_norm"] = "rms_norm"
    return own


def some_keys(model, r):
    """The config without some of the keys that have diffusers' default value: a reader must know them."""
    config = json.loads(unet_case.config_text(model))
    default = {k: p.default for k, p in inspect.signature(DiTTransformer2DModel.__init__).parameters.items()}
    default |= {"block_norm": "layer_norm", "qk_norm": None, "rope_theta": None, "num_register_tokens": 0}
    same = [k for k in config if k in default and config[k] == default[k]]
    return {k: v for k, v in config.items() if k not in same or r.random() < 0.5}


def one(program, seed, own):
    """A line for the case, whether it is right, and the errors of output and gradients."""
    r = random.Random(seed)
    config = random_config(r) | (random_own(r) if own else {})
    side = config["patch_size"] * r.choice([1, 2, 3, 4])
    text = " ".join(f"{k}={v}" for k, v in config.items())
    try:
        model = dit.build(config, seed)
        given = dit.inputs(model, r.choice([1, 2, 3]), side, seed)
        expected = unet_case.run(model, given)
    except (ValueError, RuntimeError, TypeError, IndexError, ZeroDivisionError, NameError, AssertionError) as e:
        return refused(program, config, f"{type(e).__name__}: {str(e).partition(chr(10))[0][:80]}")
    own = unet_random.torch_errors(model, given, expected)
    with tempfile.TemporaryDirectory() as folder:
        cotangent = expected.pop("cotangent")
        found, error = unet_random.run_vane(program, folder, some_keys(model, r), model, given, cotangent)
    if found is None:
        return f"REFUSED  {error}\n    {text}", False, (0, 0)
    if set(expected) - set(found):
        return f"MISSING  {sorted(set(expected) - set(found))[:4]}\n    {text}", False, (0, 0)
    out, grad, name = unet_random.worst(found, expected)
    good = out < max(1e-5, 4 * own[0]) and grad < max(1e-4, 4 * own[1])
    line = f"{'ok' if good else 'WRONG':8} out {out:.1e} (torch {own[0]:.1e})  grad {grad:.1e} (torch {own[1]:.1e})"
    return f"{line} {name}" + ("" if good else "\n    " + text), good, (out, grad)


def refused(program, config, why):
    """diffusers cannot: vane must not either, and the config alone says so."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config.json")
        with open(path, "w") as f:
            json.dump({"_class_name": dit.kind(config).__name__, **config}, f)
        save_file({"none": torch.zeros(1)}, os.path.join(folder, "diffusion_pytorch_model.safetensors"))
        done = subprocess.run([program, "forward", folder, "--in", path, "--out", os.devnull],
                              capture_output=True, text=True)  # fmt: skip
    message = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
    good = done.returncode in (1, 2) and "dit:" in message
    return f"{'ok' if good else 'RUNS'}       both refuse: {message}   [{why}]", good, (0, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forward", required=True, metavar="PROGRAM")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--own", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(2)
    bad, largest = 0, [0.0, 0.0]
    for seed in range(a.seed, a.seed + a.count):
        line, good, errors = one(a.forward, seed, a.own)
        bad += not good
        largest = [max(pair) for pair in zip(largest, errors)]
        print(f"{seed:5} {line}", flush=True)
    print(f"{a.count - bad} of {a.count} right; output off by {largest[0]:.1e} at most, gradients by {largest[1]:.1e}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
