"""A random config against diffusers: outputs, gradients, and that both refuse the same ones.

Shared by unet_random.py, unet_condition_random.py, dit_random.py, mmdit_random.py and autoencoder_random.py. A case writes a model directory, runs
`PROGRAM forward DIR --in .. --out .. --grad ..` and compares. `torch` beside an error is PyTorch's own, against itself in
double precision. A case is wrong past the family's 1e-5 (output) or 1e-4 (any gradient) and past four times PyTorch's own error, or if
vane runs what diffusers cannot or the other way round.
"""

import argparse
import inspect
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Callable

import torch
from safetensors.torch import load_file, save_file

import unet_case


@dataclass
class Family:
    name: str  # with which vane's complaints begin
    draw: Callable  # of a random.Random: a config and the images' height and width
    kind: Callable  # of a config: its model's class
    inputs: Callable  # of a model, a batch, height, width and a seed
    defaults: dict  # of the config's keys
    run: Callable = unet_case.run  # of a model and inputs: its outputs and gradients
    output: float = 1e-5  # what an output may be off by, and a gradient
    gradient: float = 1e-4


def defaults_of(kind):
    return {k: p.default for k, p in inspect.signature(kind.__init__).parameters.items()}


def some_keys(family, model, r):
    """The config without some of the keys that have their default value: a reader must know them."""
    config = json.loads(unet_case.config_text(model))
    default = family.defaults
    same = [k for k in config if k in default and json.dumps(config[k]) == json.dumps(default[k])]
    return {k: v for k, v in config.items() if k not in same or r.random() < 0.5}


def forward(program, folder, config, weights, given, *options):
    """`PROGRAM forward` of a model directory that is made for it in the folder, beside what it reads and writes."""
    model = os.path.join(folder, "model")
    os.mkdir(model)
    with open(os.path.join(model, "config.json"), "w") as f:
        json.dump(config, f)
    save_file(weights, os.path.join(model, "diffusion_pytorch_model.safetensors"))
    save_file(given, os.path.join(folder, "in.safetensors"))
    command = [program, "forward", model, "--in", os.path.join(folder, "in.safetensors"), *options]
    return subprocess.run(command, capture_output=True, text=True)


def narrowed(model, dtype, r):
    """The model's weights in a number type of 16 bits, a few of them still in 32 as some files have them; the model gets
    what they are rounded to, so that it stays the reference of what is computed with them."""
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    for k, v in state.items():
        if v.is_floating_point() and r.random() < 0.9:
            state[k] = v.to(dtype)
            v.copy_(state[k])
    return state


def run_vane(program, config, state, given):
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as away:
        out, grad = (os.path.join(away, k + ".safetensors") for k in ("out", "grad"))
        done = forward(program, folder, config, state, given, "--out", out, "--grad", grad)
        if done.returncode:
            return None, done.stderr.strip()
        return {**load_file(out), **load_file(grad)}, ""


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
    outputs = [k for k in expected if not k.startswith("grad.") and k != "cotangent"]
    return max(unet_case.relative(found[k], expected[k]) for k in outputs), errors[name], name


def torch_errors(family, model, given, single):
    """PyTorch's own: single against double precision. diffusers cannot embed a class as a time in double."""
    try:
        double = family.run(model, given, single["cotangent"], torch.float64)
        return worst(single, double)[:2]
    except RuntimeError:
        return 0.0, 0.0
    finally:
        model.float()


def one(program, family, seed, dtype=torch.float32):
    """A line for the case, whether it is right, and the errors of output and gradients. dtype: of the weights in the file."""
    r = random.Random(seed)
    config, size = family.draw(r)
    text = " ".join(f"{k}={v}" for k, v in config.items())
    try:
        model = unet_case.build(config, seed, family.kind(config))
        state = narrowed(model, dtype, random.Random(seed))
        given = family.inputs(model, r.choice([1, 2, 3]), *size, seed)
        expected = family.run(model, given)
    except (ValueError, RuntimeError, TypeError, IndexError, ZeroDivisionError, NameError, AssertionError, AttributeError) as e:
        return refused(program, family, config, size, f"{type(e).__name__}: {str(e).partition(chr(10))[0][:80]}")
    own = torch_errors(family, model, given, expected)
    given["cotangent"] = expected.pop("cotangent")
    found, error = run_vane(program, some_keys(family, model, r), state, given)
    if found is None:
        return f"REFUSED  {error}\n    {text}", False, (0, 0)
    if set(expected) - set(found):
        return f"MISSING  {sorted(set(expected) - set(found))[:4]}\n    {text}", False, (0, 0)
    out, grad, name = worst(found, expected)
    good = out < max(family.output, 4 * own[0]) and grad < max(family.gradient, 4 * own[1])
    line = f"{'ok' if good else 'WRONG':8} out {out:.1e} (torch {own[0]:.1e})  grad {grad:.1e} (torch {own[1]:.1e})"
    return f"{line} {name}" + ("" if good else "\n    " + text), good, (out, grad)


def refused(program, family, config, size, why):
    """diffusers cannot: vane must not either. Without weights there is nothing to run, but the config says enough."""
    named = {"_class_name": family.kind(config).__name__, **config}
    given = {"sample": torch.zeros(1, config["in_channels"], *size)}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as away:
        done = forward(program, folder, named, {"none": torch.zeros(1)}, given, "--out", os.path.join(away, "out.safetensors"))
    message = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
    good = done.returncode in (1, 2) and family.name + ":" in message
    return f"{'ok' if good else 'RUNS'}       both refuse: {message}   [{why}]", good, (0, 0)


def main(doc, family, **others):
    """others: the families that options of their names ask for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forward", required=True, metavar="PROGRAM")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", help="of the weights in the file: float16 or bfloat16")
    parser.set_defaults(family=family)
    for name, other in others.items():
        parser.add_argument(f"--{name}", dest="family", action="store_const", const=other)
    a = parser.parse_args()
    torch.set_num_threads(2)
    bad, largest = 0, [0.0, 0.0]
    for seed in range(a.seed, a.seed + a.count):
        line, good, errors = one(a.forward, a.family, seed, getattr(torch, a.dtype))
        bad += not good
        largest = [max(pair) for pair in zip(largest, errors)]
        print(f"{seed:5} {line}", flush=True)
    print(f"{a.count - bad} of {a.count} right; output off by {largest[0]:.1e} at most, gradients by {largest[1]:.1e}")
    sys.exit(bad > 0)
