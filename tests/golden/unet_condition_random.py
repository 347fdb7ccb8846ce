#!/usr/bin/env python3
"""Random UNet2DConditionModel configs against diffusers: outputs, gradients, and that both refuse the same ones.

    unet_condition_random.py --forward build/vane --count 40 [--seed 0]

What a case is and when it is right: random_case.py. Exit status 1 if any is wrong.
"""

from diffusers import UNet2DConditionModel

import random_case
import unet_condition

DOWN = ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
UP = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]
MID = ["UNetMidBlock2DCrossAttn", "UNetMidBlock2DCrossAttn", "UNetMidBlock2D", "UNetMidBlock2DSimpleCrossAttn", None]
ACTIVATIONS = ["silu", "silu", "swish", "mish", "gelu", "relu"]


def depths(r, layers, levels):
    """transformer_layers_per_block and, where that has lists, its reverse."""
    kind = r.choice(["one", "one", "list", "nested", "reverse"])
    if kind == "one":
        return {"transformer_layers_per_block": r.choice([1, 1, 2])}
    if kind == "list":
        return {"transformer_layers_per_block": [r.choice([0, 1, 2]) for _ in range(levels)]}
    forth = [[r.choice([1, 2]) for _ in range(n)] or [1] for n in layers]
    back = [[r.choice([1, 2]) for _ in range(n + 1)] for n in reversed(layers)]
    return {
        "transformer_layers_per_block": forth if kind == "nested" else 1,
        "reverse_transformer_layers_per_block": back,
    }


def random_class(r, width):
    return r.choice(
        [
            {},
            {},
            {"num_class_embeds": 7},
            {"num_class_embeds": 7, "class_embeddings_concat": True},
            {"class_embed_type": "timestep"},
            {"class_embed_type": "identity"},
            {"class_embed_type": "projection", "projection_class_embeddings_input_dim": width},
            {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": width},
        ]
    )


def random_addition(r, width):
    return r.choice(
        [
            {},
            {},
            {"addition_embed_type": "text", "addition_embed_type_num_heads": r.choice([1, 2, 3])},
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 4,
                "projection_class_embeddings_input_dim": width,
            },
        ]
    )


def random_config(r):
    """Mostly runnable; now and then not, which both sides must notice."""
    levels, family = r.choice([1, 2, 2, 3]), r.choices(["plain", "simple", "k"], [10, 2, 1])[0]
    unit = 32 if family == "k" else r.choice([4, 6, 8, 12])
    channels = [unit * r.choice([1, 1, 2]) for _ in range(levels)]
    layers = [r.choice([1, 1, 2]) for _ in range(levels)]
    text, width = r.choice([6, 12, 18]), r.choice([32, 33, 40])
    down, up, mid = DOWN, UP, MID
    if family == "simple":
        down, up, mid = ["SimpleCrossAttnDownBlock2D"], ["SimpleCrossAttnUpBlock2D"], ["UNetMidBlock2DSimpleCrossAttn"]
    if family == "k":
        down, up, mid, layers = ["KDownBlock2D"], ["KUpBlock2D"], ["UNetMidBlock2D", None], [2] * levels
    only = r.choice([False, False, True, [r.random() < 0.5 for _ in range(levels)]])
    heads = r.choice([1, 2, [r.choice([1, 2]) for _ in range(levels)]])
    hidden = r.choice([None, None, 6, 12])
    c = {
        "sample_size": r.choice([None, 8, (8, 16)]),
        "in_channels": r.choice([1, 3, 4]),
        "out_channels": r.choice([1, 3, 4]),
        "center_input_sample": r.random() < 0.3,
        "flip_sin_to_cos": r.random() < 0.5,
        "freq_shift": r.choice([0, 0, 1]),
        "down_block_types": [r.choice(down) for _ in range(levels)],
        "mid_block_type": r.choice(mid),
        "up_block_types": [r.choice(up) for _ in range(levels)],
        "only_cross_attention": only,
        "block_out_channels": channels,
        "layers_per_block": layers if r.random() < 0.7 else layers[0],
        "downsample_padding": r.choice([0, 1, 1]),
        "mid_block_scale_factor": r.choice([1, 1, 0.7]),
        "dropout": r.choice([0.0, 0.1]),
        "act_fn": r.choice(ACTIVATIONS),
        "norm_num_groups": r.choice([1, 2, unit]) if family != "k" else None,
        "norm_eps": r.choice([1e-5, 1e-3]),
        "cross_attention_dim": text if r.random() < 0.8 or hidden else [text] * levels,
        "encoder_hid_dim": hidden,
        "encoder_hid_dim_type": "text_proj" if hidden and r.random() < 0.5 else None,
        "attention_head_dim": heads,
        "use_linear_projection": r.random() < 0.5,
        "upcast_attention": r.random() < 0.3,
        "resnet_time_scale_shift": r.choice(["default", "scale_shift"]),
        "resnet_skip_time_act": r.random() < 0.3,
        "resnet_out_scale_factor": r.choice([1.0, 1.0, 1.3]),
        "time_embedding_type": r.choice(["positional", "positional", "fourier"]),
        "time_embedding_dim": r.choice([None, None, 24, 33]),
        "time_embedding_act_fn": r.choice([None, None, "gelu"]),
        "timestep_post_act": r.choice([None, None, "silu"]),
        "time_cond_proj_dim": r.choice([None, None, 5]),
        "conv_in_kernel": r.choice([3, 3, 1, 5]),
        "conv_out_kernel": r.choice([3, 3, 1]),
        "mid_block_only_cross_attention": r.choice([None, None, True, False]),
        "cross_attention_norm": r.choice([None, None, "layer_norm"]),
        **random_class(r, width),
        **random_addition(r, width),
    }
    c |= depths(r, layers if isinstance(c["layers_per_block"], list) else [layers[0]] * levels, levels)
    if r.random() < 0.1:
        key, value = r.choice(
            [("dual_cross_attention", True), ("num_attention_heads", 2), ("mid_block_type", "Mid"),
             ("attention_head_dim", [1] * (levels + 1)), ("layers_per_block", [1] * (levels + 1)), ("in_channels", 0),
             ("transformer_layers_per_block", [[1, 1, 1]] * levels)]
        )  # fmt: skip
        if key == "dual_cross_attention":
            return c
        c[key] = value
    return c


def draw(r):
    config = random_config(r)
    unit = 2 ** (len(config["block_out_channels"]) - 1)
    return config, (unit * r.choice([2, 3, 4]), unit * r.choice([2, 3, 4]))


if __name__ == "__main__":
    defaults = random_case.defaults_of(UNet2DConditionModel)
    random_case.main(
        __doc__,
        random_case.Family(
            "unet2d-condition", draw, lambda config: UNet2DConditionModel, unet_condition.inputs, defaults, unet_condition.run
        ),
    )
