#!/usr/bin/env python3
"""Writes mmdit/*.safetensors: small SD3Transformer2DModels and FluxTransformer2DModels that between them use every option, in
unet2d.py's format, with gradients by the texts too.

    mmdit.py [FOLDER]

Needs what unet_case.py needs. tests/nn/test_golden.c holds vane to them.
"""

import os
import sys

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

import unet2d
import unet_case

SD3 = dict(sample_size=8, patch_size=2, in_channels=2, num_layers=2, attention_head_dim=4, num_attention_heads=2,
           joint_attention_dim=5, caption_projection_dim=8, pooled_projection_dim=6, out_channels=2, pos_embed_max_size=6)  # fmt: skip
FLUX = dict(in_channels=8, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=5,
            pooled_projection_dim=6, axes_dims_rope=[2, 4, 2])  # fmt: skip

# name: config, batch, height and width (Flux: rows and columns of patches), tokens
SD3_CASES = {
    "sd3": (SD3, 2, 8, 12, 3),
    "sd3-dual": (SD3 | dict(num_layers=3, dual_attention_layers=[0, 2], qk_norm="rms_norm", out_channels=4), 2, 4, 4, 5),
    "sd3-free": (SD3 | dict(pos_embed_max_size=None, qk_norm="layer_norm", patch_size=1, sample_size=5, out_channels=None), 1, 3, 7, 1),
    "sd3-plain-norm": (SD3 | dict(qk_norm="fp32_layer_norm", num_layers=1), 1, 4, 6, 2),
}
FLUX_CASES = {
    "flux": (FLUX, 2, 3, 4, 3),
    "flux-guided": (FLUX | dict(guidance_embeds=True, num_layers=2, num_single_layers=2), 2, 2, 2, 4),
    "flux-axes": (FLUX | dict(axes_dims_rope=[6, 2], num_single_layers=2, patch_size=2, out_channels=3), 1, 5, 1, 2),
}  # fmt: skip


def text_inputs(c, batch, tokens, g):
    return {
        "encoder_hidden_states": torch.randn(batch, tokens, c.joint_attention_dim, generator=g),
        "pooled_projections": torch.randn(batch, c.pooled_projection_dim, generator=g),
    }


def sd3_inputs(model, batch, height, width, tokens, seed):
    g, c = torch.Generator().manual_seed(seed + 1), model.config
    return {
        "sample": torch.randn(batch, c.in_channels, height, width, generator=g),
        "timestep": 999 * torch.rand(batch, generator=g) if seed % 2 else torch.randint(0, 1000, (batch,), generator=g),
        **text_inputs(c, batch, tokens, g),
    }


def flux_inputs(model, batch, rows, columns, tokens, seed):
    """Ids as FluxPipeline makes them; of other numbers of axes, any."""
    g, c = torch.Generator().manual_seed(seed + 1), model.config
    axes = len(c.axes_dims_rope)
    ids = torch.zeros(rows, columns, axes)
    if axes == 3:
        ids[..., 1], ids[..., 2] = torch.arange(rows)[:, None], torch.arange(columns)[None]
    else:
        ids = torch.randint(0, 9, ids.shape, generator=g).float()
    given = {
        "sample": torch.randn(batch, rows * columns, c.in_channels, generator=g),
        "timestep": torch.rand(batch, generator=g),
        **text_inputs(c, batch, tokens, g),
        "img_ids": ids.reshape(rows * columns, axes),
        "txt_ids": torch.zeros(tokens, axes) if seed % 3 else torch.randint(0, 5, (tokens, axes), generator=g).float(),
    }
    if c.guidance_embeds:
        given["guidance"] = (1 if seed % 2 else 6) * torch.rand(batch, generator=g)
    return given


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "mmdit")
    os.makedirs(folder, exist_ok=True)
    cases = [(SD3Transformer2DModel, sd3_inputs, SD3_CASES), (FluxTransformer2DModel, flux_inputs, FLUX_CASES)]
    for kind, inputs, of in cases:
        for seed, (name, (config, batch, height, width, tokens)) in enumerate(of.items()):
            model = unet_case.build(config, 300 + seed, kind)
            unet2d.write(os.path.join(folder, name + ".safetensors"), model, inputs(model, batch, height, width, tokens, 300 + seed))


if __name__ == "__main__":
    main()
