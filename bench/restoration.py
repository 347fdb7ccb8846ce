#!/usr/bin/env python3
"""Example: python3 bench/restoration.py build/vane runs/fashion-mnist --out restored

Restores held-out pictures of Fashion-MNIST (its test set, which `vane train` of the other set has
not seen) and prints for each rule, by `vane eval`, PSNR, SSIM and the Frechet distance (times 1000)
to the true pictures, and the seconds it took. As the pictures are the same, the distance has none of
the luck of which were drawn: it says whether what came out is as varied and as sharp as what was there.
The folder has what was observed, what came out, every command, and a picture for each task: from the
top the truth, what was observed (A^T y, A^+ y), and each rule.
"""
import argparse
import gzip
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

NOISE = 0.05
FEATURES = "random:channels=2"  # 14 numbers, of which 64 pictures have a covariance
RULES = [("dps:scale=%g", "--steps 100"), ("pigdm", "--sampler ddim --steps 32"),
         ("mmps:iterations=1", "--sampler ddim --steps 32"), ("mmps", "--sampler ddim --steps 32"), ("diffpir", "--sampler ddim:eta=0.85 --steps 40"),
         ("ddnm", "--sampler ddim:eta=0.85 --steps 40"), ("daps:center=mean,covariance=unit,kernel=exact", "--steps 40")]


def held_out(folder, n):
    with gzip.open(Path(folder) / "t10k-images-idx3-ubyte.gz") as f:
        pixels = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:n]
    return (pixels / 127.5 - 1).astype(np.float32)


def blur(x, sigma):
    d = np.minimum(np.arange(28), 28 - np.arange(28))
    kernel = np.exp(-(d**2) / (2 * sigma**2))
    spectrum = np.fft.fft(kernel / kernel.sum())
    both = spectrum[:, None] * spectrum[None, :]
    return np.fft.ifft2(np.fft.fft2(x) * both).real


def observe(truth, folder):
    """Writes y of each task; returns operator, file, a picture of y in the size of x, dps's scale."""
    noise = lambda shape: NOISE * np.random.default_rng(0).standard_normal(shape)
    n = len(truth)
    mask = np.full((28, 28), 255, np.uint8)
    mask[8:20, 8:20] = 0
    Image.fromarray(mask).save(folder / "mask.png")
    hole = truth + noise(truth.shape)
    small = truth.reshape(n, 1, 7, 4, 7, 4).mean((3, 5))
    small = small + noise(small.shape)
    soft = blur(truth, 1.5) + noise(truth.shape)
    tasks = {"inpaint": (f"mask:file={folder}/mask.png", hole, np.where(mask > 0, hole, 0), 0.5),
             "enlarge": ("downsample:factor=4", small, small.repeat(4, 2).repeat(4, 3), 0.5),
             "deblur": ("blur:sigma=1.5", soft, soft, 0.5)}
    for name, (_, y, _, _) in tasks.items():
        save_file({"observed": y.astype(np.float32)}, folder / f"{name}.safetensors")
    return tasks


def run(command):
    print("  ", shlex.join(command), file=sys.stderr)
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{shlex.join(command)}: {ran.stderr.strip()}")
    return ran.stdout


def measure(program, samples, data, *flags):
    said = json.loads(run([program, "eval", "--samples", str(samples), "--data", str(data), *flags, "--json"]))
    return {name: m["value"] for name, m in said["metrics"].items()}


def distance(program, samples, truth):
    return 1000 * measure(program, samples, truth, "--metric", "fd", "--features", FEATURES, "--resamples",
                          "0")["fd"]


def strip(images, columns):
    rows = np.clip(np.concatenate([np.concatenate(list(x[:columns, 0]), 1) for x in images]), -1, 1)
    return Image.fromarray(np.uint8(np.rint(127.5 * (rows + 1)))).resize(
        (2 * 28 * columns, 2 * 28 * len(images)), Image.NEAREST)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("run")
    p.add_argument("--out", required=True)
    p.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    p.add_argument("-n", type=int, default=64)
    p.add_argument("--task", action="append")
    a = p.parse_args()
    folder = Path(a.out)
    folder.mkdir(parents=True, exist_ok=True)
    truth = held_out(a.data, a.n)
    save_file({"samples": truth}, folder / "truth.safetensors")
    for task, (operator, _, shown, scale) in observe(truth, folder).items():
        if a.task and task not in a.task:
            continue
        pictures = [truth, shown]
        for k, (rule, flags) in enumerate(RULES):
            rule = rule % scale if "%" in rule else rule
            out = folder / f"{task}-{k}-{rule.split(':')[0]}.safetensors"
            began = time.time()
            run([a.program, "sample", a.run, "-n", str(a.n), "--class", "null", "--observe",
                 str(folder / f"{task}.safetensors"), "--operator", operator, "--noise-level",
                 str(NOISE), "--restore", rule, *flags.split(), "--out", str(out), "--quiet"])
            took = time.time() - began
            m = measure(a.program, out, folder / "truth.safetensors", "--metric", "psnr,ssim")
            fd = distance(a.program, out, folder / "truth.safetensors")
            print(f"| {task} | `{rule}` | {m['psnr']:.2f} | {m['ssim']:.3f} | {fd:.2f} | {took / a.n:.2f} |", flush=True)
            pictures.append(load_file(out)["samples"])
        strip(pictures, min(a.n, 12)).save(folder / f"{task}.png")


if __name__ == "__main__":
    main()
