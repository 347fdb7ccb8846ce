#!/usr/bin/env python3
"""Writes unet_condition/*.safetensors: small UNet2DConditionModels that between them use every option, in unet2d.py's
format, with the gradients by the conditions ("grad.encoder_hidden_states").

    unet_condition.py [FOLDER]

Needs what unet_case.py needs. tests/nn/test_golden.c holds vane to them.
"""

import os
import sys

import torch
from diffusers import UNet2DConditionModel

import unet2d
import unet_case

CONDITIONS = ["encoder_hidden_states", "text_embeds", "time_ids", "timestep_cond"]
ADDED = ["text_embeds", "time_ids"]

SMALL = dict(in_channels=2, out_channels=2, layers_per_block=1, norm_num_groups=2)

# name: config, batch, height, width
CASES = {
    "sd1": (  # Stable Diffusion 1.x: projections by convolutions, one number of heads
        dict(
            SMALL,
            sample_size=8,
            down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
            block_out_channels=[6, 8],
            cross_attention_dim=5,
            attention_head_dim=2,
            time_cond_proj_dim=3,
        ),
        2, 8, 4,
    ),
    "sdxl": (  # linear projections, deeper in the middle, text_embeds and time_ids
        dict(
            SMALL,
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
            block_out_channels=[4, 8],
            cross_attention_dim=6,
            attention_head_dim=[1, 2],
            transformer_layers_per_block=[1, 2],
            use_linear_projection=True,
            upcast_attention=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=25,
            time_embedding_dim=12,
        ),
        3, 4, 4,
    ),
    "lists": (  # what may be a list is one; a text that is projected first
        dict(
            SMALL,
            layers_per_block=[1, 2],
            down_block_types=["CrossAttnDownBlock2D", "AttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "AttnUpBlock2D"],
            block_out_channels=[4, 6],
            only_cross_attention=[True, False],
            cross_attention_dim=4,
            encoder_hid_dim=3,
            transformer_layers_per_block=[[1], [2, 1]],
            reverse_transformer_layers_per_block=[[1, 0, 2], [1, 1]],
            attention_head_dim=[2, 3],
            act_fn="gelu",
            resnet_time_scale_shift="scale_shift",
            class_embed_type="projection",
            projection_class_embeddings_input_dim=5,
            class_embeddings_concat=True,
            time_embedding_type="fourier",
            time_embedding_act_fn="silu",
            timestep_post_act="mish",
            conv_in_kernel=1,
            conv_out_kernel=5,
            downsample_padding=0,
            flip_sin_to_cos=False,
        ),
        2, 4, 8,
    ),
    "added-keys": (  # as DeepFloyd's: text and pixels in one softmax, a pooled text, residual blocks that resize
        dict(
            SMALL,
            down_block_types=["SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"],
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=["ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"],
            block_out_channels=[4, 4],
            cross_attention_dim=4,
            cross_attention_norm="layer_norm",
            attention_head_dim=2,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            class_embed_type="timestep",
            resnet_skip_time_act=True,
            resnet_out_scale_factor=1.4,
            time_embedding_dim=6,
            center_input_sample=True,
        ),
        2, 4, 4,
    ),
    "plain-middle": (
        dict(
            SMALL,
            down_block_types=["CrossAttnDownBlock2D"],
            mid_block_type="UNetMidBlock2D",
            up_block_types=["CrossAttnUpBlock2D"],
            block_out_channels=[4],
            cross_attention_dim=3,
            attention_head_dim=4,
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=3,
            mid_block_scale_factor=1.5,
        ),
        1, 3, 4,
    ),
}  # fmt: skip


def tokens_of(model, seed):
    return 1 + seed % 7


def addition_of(c, batch, g, seed):
    """text_embeds and time_ids: six ids or five, and what is left of the width for the text."""
    if c.addition_embed_type != "text_time":
        return {}
    ids = 6 if seed % 3 else 5
    width = c.projection_class_embeddings_input_dim - ids * c.addition_time_embed_dim
    return {
        "text_embeds": torch.randn(batch, width, generator=g),
        "time_ids": torch.randint(0, 100, (batch, ids), generator=g).float(),
    }


def inputs(model, batch, height, width, seed):
    g = torch.Generator().manual_seed(seed + 1)
    c, tokens = model.config, tokens_of(model, seed)
    dims = c.cross_attention_dim if isinstance(c.cross_attention_dim, (list, tuple)) else [c.cross_attention_dim]
    given = {
        "sample": torch.randn(batch, c.in_channels, height, width, generator=g),
        "timestep": 0.01 + 990 * torch.rand(batch, generator=g) ** 3 if seed % 2 else torch.randint(1, 1000, (batch,), generator=g),
        "encoder_hidden_states": torch.randn(batch, tokens, c.encoder_hid_dim or dims[0], generator=g),
        **addition_of(c, batch, g, seed),
    }
    if c.time_embedding_type == "fourier":  # of so large an angle nothing is left in single precision
        given["timestep"] = torch.rand(batch, generator=g)
    if c.class_embed_type in ("projection", "simple_projection"):
        given["class_labels"] = torch.randn(batch, c.projection_class_embeddings_input_dim, generator=g)
    elif c.class_embed_type == "identity":
        given["class_labels"] = torch.randn(batch, model.time_embedding.linear_2.out_features, generator=g)
    elif c.class_embed_type == "timestep":
        given["class_labels"] = torch.rand(batch, generator=g) * (1 if c.time_embedding_type == "fourier" else 50)
    elif c.num_class_embeds is not None:
        given["class_labels"] = torch.randint(0, c.num_class_embeds, (batch,), generator=g)
    if c.time_cond_proj_dim is not None and seed % 4:
        given["timestep_cond"] = torch.randn(batch, c.time_cond_proj_dim, generator=g)
    simple = any("Simple" in (name or "") for name in [*c.down_block_types, c.mid_block_type, *c.up_block_types])
    if seed % 3 == 0 and not simple:  # diffusers pads the mask of added keys as if there were as many of them as pixels
        given["encoder_attention_mask"] = torch.randint(0, 2, (batch, tokens), generator=g).float()
    return given


def run(model, given, cotangent=None, dtype=torch.float32):
    """unet_case.run with the gradients by the conditions too."""
    model = model.to(dtype)
    for p in model.parameters():
        p.grad = None
    for module in model.modules():  # whose sinusoids are always single
        if type(module).__name__ == "TimestepEmbedding" and not module._forward_pre_hooks:
            module.register_forward_pre_hook(lambda m, x: (x[0].to(m.linear_1.weight.dtype), *x[1:]))
    given = {k: v for k, v in given.items() if k != "cotangent"}
    for k, v in given.items():
        floats = v.is_floating_point()
        given[k] = v.detach().clone().to(dtype).requires_grad_(k in CONDITIONS or k == "sample") if floats else v
    rest = dict(given)
    added = {k: rest.pop(k) for k in ADDED if k in rest}
    y = model(rest.pop("sample"), **rest, added_cond_kwargs=added or None).sample
    if cotangent is None:
        cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(7))
    (y * cotangent.to(dtype)).sum().backward()
    out = {"cotangent": cotangent, "sample": y.detach(), "grad.sample": given["sample"].grad}
    for name in CONDITIONS:
        if name in given and given[name].grad is not None:
            out["grad." + name] = given[name].grad
    for name, p in model.named_parameters():
        if p.requires_grad:
            out["grad." + name] = torch.zeros_like(p) if p.grad is None else p.grad
    return {k: v.float().clone() if k != "cotangent" else v for k, v in out.items()}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "unet_condition")
    os.makedirs(folder, exist_ok=True)
    for seed, (name, (config, batch, height, width)) in enumerate(CASES.items()):
        model = unet_case.build(config, 300 + seed, UNet2DConditionModel)
        given = inputs(model, batch, height, width, 300 + seed)
        unet2d.write(os.path.join(folder, name + ".safetensors"), model, given, run)


if __name__ == "__main__":
    main()
