#!/usr/bin/env python3
"""What vane trains is what diffusers and transformers open: networks of random configs are trained for two steps on pictures with
captions, opened with from_pretrained, and answer as `vane forward` does; autoencoders of `--model autoencoder:kind=...` too, whose
scaling_factor and shift_factor are those of their latents; and sequence models of `--model gpt`, on classes and on captions.

    round_trip.py --vane build/vane [--count 4] [--seed 0]

Exit status 1 where Python misses a tensor, finds one it does not know, or answers otherwise (by more than 1e-4 of the norm).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

import mmdit
import unet_case
import unet_condition

SIDE = 16
WORDS = 32  # numbers in a token of the text encoder that is trained beside the network


def pictures(folder, captions):
    """Squares of three colours, in class folders or with captions."""
    for i in range(12):
        name, colour = [("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255))][i % 3]
        at = os.path.join(folder, str(i)) if captions else os.path.join(folder, name, str(i))
        os.makedirs(os.path.dirname(at), exist_ok=True)
        Image.new("RGB", (SIDE, SIDE), colour).save(at + ".png")
        if captions:
            with open(at + ".txt", "w") as f:
                f.write(f"a {name} square")


def condition_config(r):
    levels = r.choice([1, 2])
    return dict(
        sample_size=SIDE, in_channels=3, out_channels=3, block_out_channels=[8 * r.choice([1, 2]) for _ in range(levels)],
        norm_num_groups=4, down_block_types=[r.choice(["CrossAttnDownBlock2D", "DownBlock2D"]) for _ in range(levels)],
        up_block_types=[r.choice(["CrossAttnUpBlock2D", "UpBlock2D"]) for _ in range(levels)], layers_per_block=r.choice([1, 2]),
        cross_attention_dim=WORDS, attention_head_dim=r.choice([1, 2]), use_linear_projection=r.random() < 0.5,
    )  # fmt: skip


def unet_config(r):
    return dict(
        sample_size=SIDE, in_channels=3, out_channels=3, block_out_channels=[8, 8 * r.choice([1, 2])], norm_num_groups=4,
        layers_per_block=1, down_block_types=["DownBlock2D", r.choice(["AttnDownBlock2D", "DownBlock2D"])],
        up_block_types=[r.choice(["AttnUpBlock2D", "UpBlock2D"]), "UpBlock2D"], attention_head_dim=4, num_class_embeds=4,
        resnet_time_scale_shift=r.choice(["default", "scale_shift"]),
    )  # fmt: skip


def dit_config(r):
    return dict(
        sample_size=SIDE, patch_size=r.choice([2, 4]), in_channels=3, out_channels=3, num_layers=r.choice([1, 2]), num_attention_heads=2,
        attention_head_dim=r.choice([4, 8]), num_embeds_ada_norm=3, activation_fn=r.choice(["gelu-approximate", "geglu"]),
    )  # fmt: skip


def sd3_config(r):
    heads, dim, patch = r.choice([1, 2]), r.choice([4, 8]), r.choice([2, 4])
    return dict(
        sample_size=SIDE, patch_size=patch, in_channels=3, out_channels=3, num_layers=r.choice([1, 2]), num_attention_heads=heads,
        attention_head_dim=dim, caption_projection_dim=heads * dim, joint_attention_dim=WORDS, pooled_projection_dim=WORDS,
        pos_embed_max_size=SIDE // patch + r.choice([0, 2]), qk_norm=r.choice([None, "rms_norm"]),
    )  # fmt: skip


def flux_config(r):
    axes = r.choice([[4, 2, 2], [2, 4, 4]])
    return dict(
        in_channels=12, num_layers=r.choice([0, 1, 2]), num_single_layers=r.choice([1, 2]), attention_head_dim=sum(axes),
        num_attention_heads=r.choice([1, 2]), joint_attention_dim=WORDS, pooled_projection_dim=WORDS, axes_dims_rope=axes,
    )  # fmt: skip


# class: its config, its inputs, whether it is trained on captions
KINDS = {
    UNet2DConditionModel: (condition_config, unet_condition.inputs, True),
    UNet2DModel: (unet_config, unet_case.inputs, False),
    DiTTransformer2DModel: (dit_config, None, False),
    SD3Transformer2DModel: (sd3_config, lambda model, n, height, width, seed: mmdit.sd3_inputs(model, n, height, width, 5, seed), True),
    FluxTransformer2DModel: (
        flux_config, lambda model, n, height, width, seed: mmdit.flux_inputs(model, n, height // 2, width // 2, 5, seed), True,
    ),
}  # fmt: skip


def dit_inputs(model, batch, height, width, seed):
    g = torch.Generator().manual_seed(seed)
    given = {"sample": torch.randn(batch, 3, height, width, generator=g), "timestep": torch.randint(0, 1000, (batch,), generator=g)}
    return {**given, "class_labels": torch.randint(0, 4, (batch,), generator=g)}


def one(vane, kind, seed):
    make, inputs, captions = KINDS[kind]
    config = {"_class_name": kind.__name__, **make(random.Random(seed))}
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        pictures(at("pictures"), captions)
        with open(at("net.json"), "w") as f:
            json.dump(config, f)
        run = lambda *words: subprocess.run([vane, *words], capture_output=True, text=True)
        done = run("train", at("pictures"), "--model", at("net.json"), "--out", at("run"), "--steps", "2", "--batch", "2")
        if done.returncode:
            return f"{kind.__name__} {config}: {done.stderr.strip().splitlines()[-1]}"
        part = "transformer" if os.path.isdir(at("run/transformer")) else "unet"
        model, info = kind.from_pretrained(at("run/" + part), output_loading_info=True, low_cpu_mem_usage=False)
        odd = [k for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]]
        given = (inputs or dit_inputs)(model, 2, SIDE, SIDE, seed)
        save_file(given, at("in.safetensors"))
        done = run("forward", at("run"), "--in", at("in.safetensors"), "--out", at("out.safetensors"))
        if odd or done.returncode:
            return f"{kind.__name__} {config}: {[info[k] for k in odd]} {done.stderr.strip()}"
        with torch.no_grad():
            expected = model.eval()(given.pop("sample"), **given).sample
        error = unet_case.relative(load_file(at("out.safetensors"))["sample"], expected)
    return "" if error < 1e-4 else f"{kind.__name__} {config}: {error:.1e}"


# class: its presets, with numbers to choose from
CODERS = {
    AutoencoderKL: "kind=kl,channels={width},factor={factor},layers={layers}",
    AutoencoderTiny: "kind=tiny,channels={width},factor={factor},layers={layers}",
    VQModel: "kind=vq,channels={width},factor={factor},layers={layers},codes={codes}",
}


def deviation_of(model, x):
    """Of all numbers of the latents; of a distribution that of what is drawn from it."""
    if isinstance(model, AutoencoderKL):
        d = model.encode(x).latent_dist
        return (d.mean.double().var(unbiased=False) + d.var.double().mean()).sqrt().item()
    return model.encode(x).latents.double().std(unbiased=False).item()


def one_coder(vane, kind, seed):
    r = random.Random(seed)
    preset = CODERS[kind].format(width=8 * r.choice([1, 2]), factor=r.choice([2, 4]), layers=r.choice([1, 2]), codes=r.choice([8, 32]))
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        pictures(at("pictures"), False)
        run = lambda *words: subprocess.run([vane, *words], capture_output=True, text=True)
        options = ["--steps", "2", "--batch", "4", "--size", str(SIDE), "--validate", "0"]
        done = run("train", at("pictures"), "--model", "autoencoder:" + preset, "--out", at("run"), *options)
        if done.returncode:
            return f"{preset}: {done.stderr.strip().splitlines()[-1]}"
        part = "vqvae" if kind is VQModel else "vae"
        model, info = kind.from_pretrained(at("run"), subfolder=part, output_loading_info=True, low_cpu_mem_usage=False)
        odd = [k for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]]
        x = torch.stack([torch.full((3, SIDE, SIDE), -1.0) for _ in range(3)])
        for i in range(3):
            x[i, i] = 1  # the pictures: squares of one colour
        save_file({"sample": x}, at("in.safetensors"))
        done = run("forward", at("run"), "--in", at("in.safetensors"), "--out", at("out.safetensors"))
        if odd or done.returncode:
            return f"{preset}: {[info[k] for k in odd]} {done.stderr.strip()}"
        model = model.eval()
        with torch.no_grad():
            z = model.encode(x)
            z = z.latent_dist.mode() if isinstance(model, AutoencoderKL) else z.latents
            expected = model.decode(z).sample
            # vane measured what it drew for 12 pictures: 768 numbers or more, 2.6% where they are noise
            deviation = deviation_of(model, x) * model.config.scaling_factor
        error = unet_case.relative(load_file(at("out.safetensors"))["decoded"], expected)
    if error < 1e-4 and abs(deviation - 1) < 0.1:
        return ""
    return f"{preset}: {error:.1e}, deviation {deviation:.3f}"


def one_sequence(vane, seed):
    r = random.Random(seed)
    heads = r.choice([1, 2, 4])
    preset = f"gpt:depth={r.choice([1, 2])},width={heads * 8},heads={heads},key_heads={r.choice([1, heads])},patch=4,codes={r.choice([4, 9])}"
    captions = r.random() < 0.5
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        pictures(at("pictures"), captions)
        run = lambda *words: subprocess.run([vane, *words], capture_output=True, text=True)
        done = run("train", at("pictures"), "--model", preset, "--out", at("run"), "--steps", "2", "--batch", "4", "--size", str(SIDE))
        if done.returncode:
            return f"{preset}: {done.stderr.strip().splitlines()[-1]}"
        model, info = LlamaForCausalLM.from_pretrained(at("run"), subfolder="transformer", output_loading_info=True)
        odd = [k for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]]
        tokens = model.config.max_position_embeddings
        ids = torch.randint(model.config.vocab_size, (3, tokens), generator=torch.Generator().manual_seed(seed))
        save_file({"input_ids": ids}, at("in.safetensors"))
        done = run("forward", at("run"), "--in", at("in.safetensors"), "--out", at("out.safetensors"))
        if odd or done.returncode:
            return f"{preset}: {[info[k] for k in odd]} {done.stderr.strip()}"
        with torch.no_grad():
            expected = model.eval()(ids).logits
        error = unet_case.relative(load_file(at("out.safetensors"))["logits"], expected)
    return "" if error < 1e-4 else f"{preset}: {error:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vane", required=True)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    diffusers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    bad = 0
    for seed in range(a.seed, a.seed + a.count):
        for kind in KINDS:
            said = one(a.vane, kind, seed)
            bad += bool(said)
            print(f"{seed:4} {kind.__name__:24} {said or 'ok'}", flush=True)
        for kind in CODERS:
            said = one_coder(a.vane, kind, seed)
            bad += bool(said)
            print(f"{seed:4} {kind.__name__:24} {said or 'ok'}", flush=True)
        said = one_sequence(a.vane, seed)
        bad += bool(said)
        print(f"{seed:4} {LlamaForCausalLM.__name__:24} {said or 'ok'}", flush=True)
    print(f"{bad} of {a.count * (len(KINDS) + len(CODERS) + 1)} wrong")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
