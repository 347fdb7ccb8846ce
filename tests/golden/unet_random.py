#!/usr/bin/env python3
"""Random UNet2DModel configs against diffusers: outputs, gradients, and that both refuse the same ones.

    unet_random.py --forward build/vane --count 40 [--seed 0]

What a case is and when it is right: random_case.py. Exit status 1 if any is wrong.
"""

from diffusers import UNet2DModel

import random_case
import unet_case

PLAIN_DOWN = ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
PLAIN_UP = ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]
SKIP_DOWN = ["SkipDownBlock2D", "AttnSkipDownBlock2D"]
SKIP_UP = ["SkipUpBlock2D", "AttnSkipUpBlock2D"]


def random_config(r):
    """Mostly runnable; now and then not, which both sides must notice."""
    family = r.choices(["plain", "skip", "k", "any"], [6, 2, 2, 1])[0]
    levels = r.choice([1, 2, 2, 3, 3, 4])
    unit = {"plain": r.choice([4, 5, 7, 8, 12, 16]), "skip": 32, "k": 32, "any": 32}[family]
    channels = [unit * r.choice([1, 1, 2, 3]) for _ in range(levels)]
    groups = r.choice([g for g in (1, 2, 3, 4, 5, 7, 8) if unit % g == 0])
    down = {"plain": PLAIN_DOWN, "skip": SKIP_DOWN, "k": ["KDownBlock2D"]}
    up = {"plain": PLAIN_UP, "skip": SKIP_UP, "k": ["KUpBlock2D"]}
    down["any"], up["any"] = sum(down.values(), []), sum(up.values(), [])
    c = {
        "sample_size": r.choice([None, 8, (8, 16)]),
        "in_channels": 3 if family in ("skip", "any") else r.choice([1, 2, 3, 5]),
        "out_channels": 3 if family in ("skip", "any") else r.choice([1, 3, 4]),
        "center_input_sample": r.random() < 0.3,
        "time_embedding_type": r.choice(["positional", "positional", "fourier", "learned"]),
        "time_embedding_dim": r.choice([None, None, 24, 33]),
        "freq_shift": r.choice([0, 0, 1, -1]),
        "flip_sin_to_cos": r.random() < 0.5,
        "down_block_types": [r.choice(down[family]) for _ in range(levels)],
        "mid_block_type": r.choice(["UNetMidBlock2D", "UNetMidBlock2D", None]),
        "up_block_types": [r.choice(up[family]) for _ in range(levels)],
        "block_out_channels": channels,
        "layers_per_block": r.choice([0, 1, 1, 1, 2, 3]),
        "mid_block_scale_factor": r.choice([1, 1, 2**0.5, 0.7]),
        "downsample_padding": r.choice([0, 1, 1]),
        "downsample_type": r.choice(["conv", "resnet"]),
        "upsample_type": r.choice(["conv", "resnet"]),
        "dropout": r.choice([0.0, 0.1]),
        "act_fn": r.choice(["silu", "swish", "mish", "gelu", "relu", "SiLU"]),
        "attention_head_dim": r.choice([None, 1, 3, 4, 8]),
        "norm_num_groups": groups if family in ("plain", "any") else r.choice([groups, None]),
        "attn_norm_num_groups": r.choice([None, None, 1, groups]),
        "norm_eps": r.choice([1e-5, 1e-6, 1e-3]),
        "resnet_time_scale_shift": r.choice(["default", "scale_shift"]),
        "add_attention": r.random() < 0.8,
        "num_train_timesteps": r.choice([None, 50]),
        **random_class(r),
    }
    if c["time_embedding_type"] == "learned":
        c["num_train_timesteps"] = 50
    if r.random() < 0.2:
        c["down_block_types"][0] = "UNetRes" + c["down_block_types"][0]
    return c


def random_class(r):
    return r.choice(
        [
            {},
            {"num_class_embeds": 7},
            {"class_embed_type": "timestep"},
            {"class_embed_type": "identity"},
            {"class_embed_type": "timestep", "num_class_embeds": 3},
        ]
    )


def draw(r):
    config = random_config(r)
    unit = 2 ** (len(config["block_out_channels"]) - 1)
    return config, (unit * r.choice([2, 3, 4]), unit * r.choice([2, 3, 4]))


if __name__ == "__main__":
    defaults = random_case.defaults_of(UNet2DModel)
    random_case.main(
        __doc__, random_case.Family("unet2d", draw, lambda config: UNet2DModel, unet_case.inputs, defaults)
    )
