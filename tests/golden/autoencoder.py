#!/usr/bin/env python3
"""Writes autoencoder/*.safetensors: small autoencoders of every class that between them use every option, in unet2d.py's format.

    autoencoder.py [FOLDER]

Beside what is decoded ("output") a file has what the encoder gives ("latents", or "mean" and "logvar"), "codes" where there are some,
and of AutoencoderKL "tiled", what diffusers decodes of "large" latents in overlapping parts, and the moments that it encodes of a large
image, "tiled_moments" of "large_sample". Needs what unet_case.py needs. tests/nn/test_golden.c and test_autoencoder.c hold vane to them.
"""

import os
import sys

import torch
from safetensors.torch import save_file

import autoencoder_case
import unet2d
import unet_case

TWO = dict(
    down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
    up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
    block_out_channels=[4, 8],
    norm_num_groups=2,
    sample_size=8,
)
SPATIAL = dict(
    down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
    block_out_channels=[32, 32],
    layers_per_block=0,
    norm_num_groups=4,
    norm_type="spatial",
)
TINY = dict(encoder_block_out_channels=[4, 4, 4], decoder_block_out_channels=[5, 5], num_encoder_blocks=[1, 0, 1], num_decoder_blocks=[1, 1])

# name: class, config, batch, height, width
CASES = {
    "kl": ("kl", TWO, 2, 8, 12),
    "kl-plain": (
        "kl",
        dict(in_channels=1, out_channels=2, block_out_channels=[6], norm_num_groups=3, latent_channels=2, layers_per_block=2, act_fn="mish",
             mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.25),
        1, 5, 3,
    ),  # fmt: skip
    "kl-statistics": ("kl", TWO | dict(latent_channels=2, latents_mean=[0.5, -1.5], latents_std=[2.0, 0.75], scaling_factor=0.5), 1, 4, 4),
    "tiny": ("tiny", TINY | dict(latent_channels=3, upsampling_scaling_factor=4), 1, 8, 12),
    "vq": ("vq", TWO | dict(num_vq_embeddings=11, vq_embed_dim=2), 2, 8, 4),
    "vq-spatial": ("vq", SPATIAL | dict(num_vq_embeddings=7, latent_channels=2), 1, 4, 8),
    "fsq": ("fsq", TWO | dict(levels=[4, 3, 2, 5, 5, 8, 3]), 1, 8, 8),
}  # fmt: skip


def extras(model, given, seed):
    """What the encoder gives, whole; and what is decoded in parts."""
    with torch.no_grad():
        out = autoencoder_case.encode(model, given["sample"])
        first = next(iter(out.values()))
        numbers = autoencoder_case.codes(model, first)
        if numbers is not None:
            out["codes"] = numbers.int()
        if type(model).__name__ != "AutoencoderKL" or len(model.config.block_out_channels) == 1:
            return out
        g = torch.Generator().manual_seed(seed)
        out["large"] = torch.randn(1, model.config.latent_channels, 9, 6, generator=g)
        out["large_sample"] = torch.randn(1, model.config.in_channels, 18, 12, generator=g)
        model.enable_tiling()
        out["tiled"] = model.decode(out["large"]).sample
        out["tiled_moments"] = model.encode(out["large_sample"]).latent_dist.parameters
        model.disable_tiling()
    return out


def write(path, model, given, seed):
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(value.half().float())
    result = autoencoder_case.run(model, given)
    tensors = {**given, "cotangent": result["cotangent"], "output": result["decoded"], "grad.sample": result["grad.sample"]}
    for key, value in result.items():
        if key.startswith("grad.") and key not in tensors:
            flat = value.flatten()
            tensors[key] = flat[:: -(-flat.numel() // unet2d.KEPT)].clone()
    tensors |= extras(model, given, seed)
    for key, value in model.state_dict().items():
        tensors["weight." + key] = value.half()
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path, {"config": unet_case.config_text(model)})
    print(f"{os.path.getsize(path):8} {path}, {sum(p.numel() for p in model.parameters())} parameters")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "autoencoder")
    os.makedirs(folder, exist_ok=True)
    for seed, (name, (kind, config, batch, height, width)) in enumerate(CASES.items(), 520):
        model = unet_case.build(config, seed, autoencoder_case.KINDS[kind])
        write(os.path.join(folder, name + ".safetensors"), model, autoencoder_case.inputs(model, batch, height, width, seed), seed)


if __name__ == "__main__":
    main()
