#!/usr/bin/env python3
"""Writes autoencoder/*.safetensors: small autoencoders of every class that between them use every option, in unet2d.py's format.

    autoencoder.py [FOLDER]

Beside what is decoded ("output") a file has what the encoder gives ("latents", or "mean" and "logvar"), "codes" where there are some,
and where diffusers runs large images in overlapping parts of "tile" pixels: "tiled", what it decodes of "large" latents, and
"tiled_latents", what it encodes of "large_sample" (moments, of AutoencoderKL). Needs what unet_case.py needs. tests/nn/test_golden.c and test_autoencoder.c hold vane to them.
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
    "tiny-four": (
        "tiny",
        dict(encoder_block_out_channels=[4] * 4, decoder_block_out_channels=[4] * 4, num_encoder_blocks=[1, 0, 0, 1],
             num_decoder_blocks=[1, 0, 0, 0]),
        1, 8, 16,
    ),
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
        out |= in_parts(model, seed)
    return out


def in_parts(model, seed):
    kind, c = type(model).__name__, model.config
    if kind == "AutoencoderKL" and len(c.block_out_channels) > 1:
        factor, tile, sides = 2, model.tile_sample_min_size, (9, 6)
    elif kind == "AutoencoderTiny" and len(c.num_encoder_blocks) == 4:
        # diffusers has four channels of latents and a factor of 8 there, whatever the config says; smaller parts than its 512 pixels
        factor, tile, sides = 8, 128, (17, 3)
        model.tile_sample_min_size, model.tile_latent_min_size = tile, tile // factor
    else:
        return {}
    g = torch.Generator().manual_seed(seed)
    large = torch.randn(1, c.latent_channels, *sides, generator=g)
    sample = torch.randn(1, c.in_channels, *(factor * side for side in sides), generator=g)
    model.enable_tiling()
    latents = model.encode(sample)
    latents = latents.latent_dist.parameters if kind == "AutoencoderKL" else latents.latents
    out = {"large": large, "tiled": model.decode(large).sample, "large_sample": sample, "tiled_latents": latents}
    model.disable_tiling()
    return out | {"tile": torch.tensor([tile])}


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
    for seed, (name, (kind, config, batch, height, width)) in enumerate(CASES.items(), 540):
        model = unet_case.build(config, seed, autoencoder_case.KINDS[kind])
        write(os.path.join(folder, name + ".safetensors"), model, autoencoder_case.inputs(model, batch, height, width, seed), seed)


if __name__ == "__main__":
    main()
