#!/usr/bin/env python3
"""Writes dit/*.safetensors: small DiTTransformer2DModels that between them use every option, and what vane's class adds
to diffusers', in unet2d.py's format.

    dit.py [FOLDER]

Needs what unet_case.py needs. tests/nn/test_golden.c holds vane to them.
"""

import os
import sys

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel
from diffusers.models.attention_processor import Attention, HunyuanAttnProcessor2_0
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.normalization import RMSNorm
from diffusers.models.transformers.transformer_flux import FluxPosEmbed

import unet2d
import unet_case

OWN = ["block_norm", "qk_norm", "rope_theta", "num_register_tokens"]

# name: config, batch, side
CASES = {
    "plain": (
        dict(num_attention_heads=2, attention_head_dim=4, in_channels=1, num_layers=2, sample_size=8, patch_size=2,
             num_embeds_ada_norm=5),
        3, 8,
    ),
    "variance": (  # learned; more patches than the positions were made for
        dict(num_attention_heads=1, attention_head_dim=8, in_channels=2, out_channels=4, num_layers=1, sample_size=8,
             patch_size=2, activation_fn="geglu", num_embeds_ada_norm=3, norm_elementwise_affine=True, norm_eps=1e-3),
        2, 12,
    ),
    "patch": (  # one class, the null row; sample_size is no multiple of the patch
        dict(num_attention_heads=4, attention_head_dim=3, in_channels=3, out_channels=2, num_layers=1, sample_size=10,
             patch_size=3, activation_fn="swiglu", num_embeds_ada_norm=0, attention_bias=False, dropout=0.1),
        2, 6,
    ),
    "pixel": (
        dict(num_attention_heads=2, attention_head_dim=6, in_channels=2, num_layers=1, sample_size=4, patch_size=1,
             activation_fn="geglu-approximate", num_embeds_ada_norm=2, upcast_attention=True, norm_num_groups=None),
        2, 4,
    ),
    "large-patch": (
        dict(num_attention_heads=1, attention_head_dim=4, in_channels=1, num_layers=1, sample_size=16, patch_size=8,
             activation_fn="linear-silu", num_embeds_ada_norm=2),
        2, 16,
    ),
    "gelu": (
        dict(num_attention_heads=2, attention_head_dim=2, in_channels=1, num_layers=1, sample_size=6, patch_size=3,
             activation_fn="gelu", num_embeds_ada_norm=2),
        1, 6,
    ),
    "rms": (
        dict(num_attention_heads=2, attention_head_dim=4, in_channels=2, num_layers=2, sample_size=6, patch_size=2,
             num_embeds_ada_norm=3, block_norm="rms_norm", norm_elementwise_affine=True, norm_eps=1e-4),
        2, 6,
    ),
    "rms-plain": (
        dict(num_attention_heads=1, attention_head_dim=8, in_channels=1, num_layers=1, sample_size=6, patch_size=2,
             num_embeds_ada_norm=2, block_norm="rms_norm", norm_eps=1e-3),
        2, 6,
    ),
    "qk-rms": (
        dict(num_attention_heads=3, attention_head_dim=4, in_channels=1, num_layers=2, sample_size=8, patch_size=2,
             num_embeds_ada_norm=3, qk_norm="rms_norm"),
        2, 8,
    ),
    "qk-layer": (
        dict(num_attention_heads=2, attention_head_dim=6, in_channels=1, num_layers=1, sample_size=8, patch_size=2,
             num_embeds_ada_norm=3, qk_norm="layer_norm", attention_bias=False),
        2, 8,
    ),
    "rope": (
        dict(num_attention_heads=2, attention_head_dim=8, in_channels=1, num_layers=2, sample_size=8, patch_size=2,
             num_embeds_ada_norm=3, rope_theta=100),
        2, 8,
    ),
    "registers": (
        dict(num_attention_heads=2, attention_head_dim=4, in_channels=2, num_layers=2, sample_size=8, patch_size=2,
             num_embeds_ada_norm=3, num_register_tokens=3),
        2, 8,
    ),
    "own": (  # all at once, at another size than the network was made for
        dict(num_attention_heads=2, attention_head_dim=8, in_channels=2, num_layers=2, sample_size=8, patch_size=2,
             num_embeds_ada_norm=4, activation_fn="swiglu", block_norm="rms_norm", qk_norm="rms_norm",
             rope_theta=10000, num_register_tokens=4),
        3, 12,
    ),
}  # fmt: skip


class VaneDiT(DiTTransformer2DModel):
    """What src/nn/dit.c adds to DiTTransformer2DModel, of diffusers' own pieces: RMSNorm; Attention's qk_norm with the eps
    that Flux and Stable Diffusion 3 give it; FluxPosEmbed of (row, column), by the processor that calls apply_rotary_emb;
    register tokens without a place, which Flux's position (0, 0) is."""

    def __init__(self, block_norm="layer_norm", qk_norm=None, rope_theta=None, num_register_tokens=0, **rest):
        super().__init__(**rest)
        self.register_to_config(
            block_norm=block_norm, qk_norm=qk_norm, rope_theta=rope_theta, num_register_tokens=num_register_tokens
        )
        c, width = self.config, self.inner_dim
        if num_register_tokens:
            self.register_tokens = torch.nn.Parameter(0.02 * torch.randn(1, num_register_tokens, width))
        if block_norm == "rms_norm":
            self.norm_out = RMSNorm(width, 1e-6, elementwise_affine=False)
        for block in self.transformer_blocks:
            if block_norm == "rms_norm":
                block.norm1.norm = RMSNorm(width, 1e-6, elementwise_affine=False)
                block.norm3 = RMSNorm(width, c.norm_eps, elementwise_affine=c.norm_elementwise_affine)
            block.attn1 = Attention(
                width, heads=c.num_attention_heads, dim_head=c.attention_head_dim, dropout=c.dropout,
                bias=c.attention_bias, upcast_attention=c.upcast_attention, qk_norm=qk_norm, eps=1e-6,
                processor=HunyuanAttnProcessor2_0(),
            )  # fmt: skip

    def rotation(self, side, like):
        if self.config.rope_theta is None:
            return None
        half, made_for = self.config.attention_head_dim // 2, self.config.sample_size // self.config.patch_size
        place = torch.arange(side, dtype=torch.float32) / (side / made_for)
        patches = torch.cartesian_prod(place, place)  # (row, column)
        ids = torch.cat([torch.zeros(self.config.num_register_tokens, 2), patches])
        return tuple(x.to(like.dtype) for x in FluxPosEmbed(self.config.rope_theta, [half, half])(ids))

    def forward(self, hidden_states, timestep, class_labels):
        side, patch = hidden_states.shape[-1] // self.patch_size, self.patch_size
        x, registers = self.pos_embed(hidden_states), self.config.num_register_tokens
        if registers:
            x = torch.cat([self.register_tokens.expand(len(x), -1, -1), x], 1)
        told = {"image_rotary_emb": self.rotation(side, x)}
        for block in self.transformer_blocks:
            x = block(x, timestep=timestep, class_labels=class_labels, cross_attention_kwargs=told)
        c = self.transformer_blocks[0].norm1.emb(timestep, class_labels, hidden_dtype=x.dtype)
        shift, scale = self.proj_out_1(F.silu(c)).chunk(2, dim=1)
        x = self.proj_out_2(self.norm_out(x[:, registers:]) * (1 + scale[:, None]) + shift[:, None])
        x = x.reshape(-1, side, side, patch, patch, self.out_channels)
        x = torch.einsum("nhwpqc->nchpwq", x).reshape(-1, self.out_channels, side * patch, side * patch)
        return Transformer2DModelOutput(sample=x)


def kind(config):
    return VaneDiT if any(key in config for key in OWN) else DiTTransformer2DModel


def build(config, seed):
    return unet_case.build(config, seed, kind(config))


def inputs(model, batch, side, seed):
    """Whole times and times in between by turns; every class and the null row."""
    g = torch.Generator().manual_seed(seed + 1)
    c = model.config
    return {
        "sample": torch.randn(batch, c.in_channels, side, side, generator=g),
        "timestep": 999 * torch.rand(batch, generator=g) if seed % 2 else torch.randint(0, 1000, (batch,), generator=g),
        "class_labels": torch.randint(0, c.num_embeds_ada_norm + 1, (batch,), generator=g),
    }


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "dit")
    os.makedirs(folder, exist_ok=True)
    for seed, (name, (config, batch, side)) in enumerate(CASES.items()):
        model = build(config, 200 + seed)
        unet2d.write(os.path.join(folder, name + ".safetensors"), model, inputs(model, batch, side, 200 + seed))


if __name__ == "__main__":
    main()
