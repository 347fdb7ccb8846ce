#!/usr/bin/env python3
"""Writes unet2d/*.safetensors: small UNet2DModels that between them use every block type and every option.

    unet2d.py [FOLDER]

A file holds "weight.<name>" (exact in half precision), the inputs, "cotangent", diffusers' "output" in single precision
and its gradients of sum(cotangent * output): "grad.sample" whole, "grad.<name>" every n-th number, so that at most 400
remain. The metadata holds config.json. tests/nn/test_golden.c holds vane to them.
"""

import os
import sys

import torch
from safetensors.torch import save_file

import unet_case

KEPT = 400

# name: config, batch, height, width
CASES = {
    "plain": (
        dict(
            sample_size=(8, 4),
            in_channels=1,
            out_channels=1,
            down_block_types=["DownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "UpBlock2D"],
            block_out_channels=[8, 16],
            layers_per_block=1,
            attention_head_dim=None,
            norm_num_groups=4,
            num_class_embeds=5,
        ),
        2, 8, 4,
    ),
    "shift": (
        dict(
            in_channels=2,
            out_channels=4,
            center_input_sample=True,
            time_embedding_dim=13,
            freq_shift=1,
            flip_sin_to_cos=False,
            down_block_types=["AttnDownBlock2D", "ResnetDownsampleBlock2D", "UNetResDownBlock2D"],
            up_block_types=["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
            block_out_channels=[7, 4, 4],
            layers_per_block=1,
            mid_block_scale_factor=1.7,
            downsample_type="resnet",
            upsample_type="resnet",
            act_fn="mish",
            attention_head_dim=3,
            norm_num_groups=1,
            attn_norm_num_groups=2,
            norm_eps=1e-3,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="timestep",
            num_class_embeds=3,
        ),
        1, 8, 12,
    ),
    "padding": (
        dict(
            in_channels=3,
            out_channels=2,
            time_embedding_type="learned",
            num_train_timesteps=20,
            down_block_types=["DownBlock2D", "DownBlock2D"],
            up_block_types=["ResnetUpsampleBlock2D", "UpBlock2D"],
            block_out_channels=[4, 8],
            layers_per_block=2,
            mid_block_type=None,
            downsample_padding=0,
            act_fn="gelu",
            norm_num_groups=2,
            class_embed_type="identity",
        ),
        2, 4, 8,
    ),
    "learned": (
        dict(
            in_channels=1,
            out_channels=1,
            time_embedding_type="learned",
            num_train_timesteps=20,
            down_block_types=["AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D"],
            block_out_channels=[6],
            layers_per_block=1,
            add_attention=False,
            attention_head_dim=4,
            norm_num_groups=3,
            class_embed_type="timestep",
        ),
        3, 3, 5,
    ),
    "skip": (
        dict(
            time_embedding_type="fourier",
            down_block_types=["SkipDownBlock2D", "SkipDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "SkipUpBlock2D", "SkipUpBlock2D"],
            block_out_channels=[4, 8, 8],
            layers_per_block=1,
            act_fn="relu",
            norm_num_groups=2,
            attention_head_dim=None,
        ),
        2, 8, 8,
    ),
    "skip-attention": (
        dict(
            time_embedding_type="fourier",
            time_embedding_dim=4,
            down_block_types=["AttnSkipDownBlock2D", "SkipDownBlock2D"],
            up_block_types=["AttnSkipUpBlock2D", "AttnSkipUpBlock2D"],
            block_out_channels=[32, 32],
            layers_per_block=0,
            mid_block_type=None,
            attention_head_dim=8,
            norm_num_groups=None,
            class_embed_type="timestep",
        ),
        1, 4, 8,
    ),
    "attention-skip": (
        dict(
            down_block_types=["AttnSkipDownBlock2D"],
            up_block_types=["SkipUpBlock2D"],
            block_out_channels=[32],
            time_embedding_dim=4,
            layers_per_block=1,
            mid_block_type=None,
            norm_num_groups=None,
        ),
        1, 4, 4,
    ),
    "k": (
        dict(
            down_block_types=["KDownBlock2D", "KDownBlock2D"],
            up_block_types=["KUpBlock2D", "KUpBlock2D"],
            block_out_channels=[32, 32],
            time_embedding_dim=4,
            layers_per_block=1,
            mid_block_type=None,
            act_fn="gelu",
            norm_num_groups=None,
        ),
        1, 4, 8,
    ),
}


def save(folder, name, seed):
    config, batch, height, width = CASES[name]
    model = unet_case.build(config, seed)
    write(os.path.join(folder, name + ".safetensors"), model, unet_case.inputs(model, batch, height, width, seed))


def write(path, model, given, run=unet_case.run):
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(value.half().float())
    result = run(model, given)
    tensors = {**given, "cotangent": result.pop("cotangent"), "output": result.pop("sample")}
    tensors["grad.sample"] = result.pop("grad.sample")
    for key, value in result.items():
        flat = value.flatten()
        tensors[key] = flat[:: -(-flat.numel() // KEPT)].clone()
    for key, value in model.state_dict().items():
        tensors["weight." + key] = value.half()
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"config": unet_case.config_text(model)})
    print(f"{os.path.getsize(path):8} {path}, {sum(p.numel() for p in model.parameters())} parameters")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "unet2d")
    os.makedirs(folder, exist_ok=True)
    for seed, name in enumerate(CASES):
        save(folder, name, 100 + seed)


if __name__ == "__main__":
    main()
